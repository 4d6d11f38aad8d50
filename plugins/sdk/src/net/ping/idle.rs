//! Sockets of runs that have ended, for those that begin. To open one and set it up takes as long as a whole ping.
//!
//! What comes late to a socket from its last run is told from the answers to the next by payload and address.

use crate::net::source::is_quiet;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// More than these are in use at once only where thousands of hosts take their time; then some are opened anew.
const MOST: usize = 64;

thread_local! {
    /// Of IPv4 and of IPv6, none with options of its own. The last one back is the first one out: its memory is warm.
    /// A thread's own, since a thread may have a network of its own.
    static IDLE: RefCell<[Vec<OwnedFd>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// A socket that is kept when it is dropped, if it is as others want it.
pub(super) struct Fd {
    /// Some until it is dropped.
    fd: Option<OwnedFd>,
    is_v6: bool,
    keep: Cell<bool>,
}

impl Fd {
    /// An idle one for this family, to which nothing has come since: an answer needs the room that this takes.
    pub fn idle(to: IpAddr) -> Option<Fd> {
        let is_v6 = to.is_ipv6();
        let fd =
            std::iter::from_fn(|| with(|idle| idle[usize::from(is_v6)].pop())?).find(is_quiet)?;
        Some(Fd {
            fd: Some(fd),
            is_v6,
            keep: Cell::new(true),
        })
    }

    /// `is_usual`: it has the options that the idle ones have.
    pub fn new(fd: OwnedFd, to: IpAddr, is_usual: bool) -> Fd {
        Fd {
            fd: Some(fd),
            is_v6: to.is_ipv6(),
            keep: Cell::new(is_usual),
        }
    }

    /// It said something that is not understood: no other run gets it.
    pub fn spoilt(&self) {
        self.keep.set(false);
    }
}

fn with<R>(f: impl FnOnce(&mut [Vec<OwnedFd>; 2]) -> R) -> Option<R> {
    IDLE.try_with(|idle| Some(f(&mut *idle.try_borrow_mut().ok()?)))
        .ok()
        .flatten()
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take().filter(|_| self.keep.get()) else {
            return;
        };
        with(|idle| {
            let idle = &mut idle[usize::from(self.is_v6)];
            if idle.len() < MOST {
                idle.push(fd);
            }
        });
    }
}
