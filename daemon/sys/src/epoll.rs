//! Registering an fd that a plugin owns: nix's safe methods want a borrow, which there is none of.

use nix::sys::epoll::{Epoll, EpollFlags};
use std::os::fd::{AsRawFd, RawFd};

/// Adds `fd`, or changes what it is watched for if it is there already. 0 or -errno.
pub fn watch_raw(epoll: &Epoll, fd: RawFd, flags: EpollFlags, data: u64) -> i32 {
    let mut event = libc::epoll_event {
        events: flags.bits() as u32,
        u64: data,
    };
    let mut control = |op| {
        // SAFETY: `event` lives through the call; an fd that is not open fails with EBADF and does nothing.
        let r = unsafe { libc::epoll_ctl(epoll.0.as_raw_fd(), op, fd, &mut event) };
        if r == 0 {
            0
        } else {
            -nix::errno::Errno::last_raw()
        }
    };
    match control(libc::EPOLL_CTL_ADD) {
        r if r == -libc::EEXIST => control(libc::EPOLL_CTL_MOD),
        r => r,
    }
}
