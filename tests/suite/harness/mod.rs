//! What every test of the suite stands on: a daemon of its own, and ways to wait for what it does.
//!
//! Nothing here sleeps. Each wait is for an event and has one generous deadline; a test that fails prints its
//! daemon's log.

pub mod ctl;
pub mod gate;
pub mod plugins;
pub mod site;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What takes longer than this never comes. Far above what a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn poll_readable(fd: BorrowedFd<'_>, time: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let time = PollTimeout::try_from(time).expect("less than weeks");
    loop {
        match poll(&mut fds, time) {
            Ok(n) => return n > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}

/// Says that a test was not done, and why.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        eprintln!("SKIPPED {}: {}", std::thread::current().name().unwrap_or("?"), format_args!($($why)*));
        return;
    }};
}
