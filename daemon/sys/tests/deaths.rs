//! Children and their deaths. They belong to the whole process, so this is its only test: another one with a
//! child of its own would see it collected here.

use healthd_sys::process::{Exit, has_child, has_child_in_group, peek_dead, pidfd_open, reap};
use std::process::Command;

#[test]
fn deaths_are_told_apart_and_none_is_lost() {
    let start = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let pid = command.spawn().expect("sh exists").id();
        let died = pidfd_open(pid).expect("it is not yet collected");
        let mut fds = [nix::poll::PollFd::new(
            std::os::fd::AsFd::as_fd(&died),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, 60_000u16).expect("poll");
        assert_eq!(peek_dead(), Some(pid), "{script}");
        assert!(has_child());
        let exit = reap(pid).expect("it has ended");
        assert_eq!(reap(pid), None, "only once");
        exit
    };
    assert_eq!(start("exit 3"), Exit::Code(3));
    let signal = |signal| Exit::Signal {
        signal,
        core: false,
    };
    assert_eq!(start("kill -9 $$"), signal(9));
    // A real-time signal has no name.
    assert_eq!(start("kill -40 $$"), signal(40));
    assert_eq!(peek_dead(), None);
    assert!(!has_child());
    assert!(!has_child_in_group(std::process::id()));
}
