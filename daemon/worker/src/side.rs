//! What plugins reach from inside a step: the epoll set, their timers, their children. It lives beside the
//! reactor in the same thread, so that a call from a plugin finds it while the reactor holds its own state.

use crate::exec::Children;
use healthd_abi as abi;
use healthd_names::Told;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::cell::RefCell;
use std::os::fd::BorrowedFd;

thread_local! {
    static SIDE: RefCell<Option<Side>> = const { RefCell::new(None) };
}

pub struct Side {
    pub epoll: Epoll,
    fds: Vec<Watch>,
    /// Timers that tasks asked for during their step: (task, when; 0 clears).
    pub timers: Vec<(u64, u64)>,
    /// Names that tasks asked for, and whose addresses were at hand.
    pub told: Vec<Told>,
    pub children: Children,
}

/// Who waits for an fd. The stamp tells this use of the number from an earlier one, whose events may
/// still come.
#[derive(Clone, Copy, Default)]
struct Watch {
    owner: u64,
    stamp: u32,
}

pub const NOBODY: u64 = u64::MAX;
/// Set in an owner that is a child of the exec lane, not a task.
pub const CHILD: u64 = 1 << 63;

pub fn install() -> nix::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let side = Side {
        epoll,
        fds: Vec::new(),
        timers: Vec::new(),
        told: Vec::new(),
        children: Children::default(),
    };
    SIDE.set(Some(side));
    Ok(())
}

/// None: not the reactor's thread.
pub fn with<R>(f: impl FnOnce(&mut Side) -> R) -> Option<R> {
    SIDE.with(|side| side.try_borrow_mut().ok()?.as_mut().map(f))
}

/// Each of what plugins have left in this list, which keeps its room. More may come meanwhile, and stays there.
pub fn each<T>(list: fn(&mut Side) -> &mut Vec<T>, f: impl FnMut(T)) {
    let taken = with(|side| {
        let list = list(side);
        (!list.is_empty()).then(|| std::mem::take(list))
    });
    let Some(mut taken) = taken.flatten() else {
        return;
    };
    taken.drain(..).for_each(f);
    taken.shrink_to(KEPT);
    with(|side| match list(side) {
        list if list.is_empty() => *list = taken,
        _ => {}
    });
}

/// Of what a burst has left.
const KEPT: usize = 1024;

impl Side {
    /// Edge-triggered, so one epoll_ctl serves an fd for as long as the same is waited for.
    pub fn watch(&mut self, fd: i32, owner: u64, flags: EpollFlags) -> i32 {
        let Ok(place) = usize::try_from(fd) else {
            return -libc::EBADF;
        };
        let before = self.fds.get(place).map_or(0, |w| w.stamp);
        let stamp = before.wrapping_add(1) & STAMP_MASK;
        let data = u64::from(stamp) << 32 | u64::from(fd as u32);
        let watched = healthd_sys::epoll::watch_raw(&self.epoll, fd, flags, data);
        // Room only for a number that is an fd: what a plugin says may be anything.
        if watched == 0 && self.fds.len() <= place {
            self.fds.resize(
                place + 1,
                Watch {
                    owner: NOBODY,
                    stamp: 0,
                },
            );
        }
        if let Some(watch) = self.fds.get_mut(place) {
            let owner = if watched == 0 { owner } else { NOBODY };
            *watch = Watch { owner, stamp };
        }
        watched
    }

    /// No system call: the fd is about to be closed, and until then, or until it is watched again, its events find nobody.
    pub fn unwatch(&mut self, fd: i32, owner: u64) {
        if let Some(watch) = usize::try_from(fd)
            .ok()
            .and_then(|place| self.fds.get_mut(place))
            && watch.owner == owner
        {
            watch.owner = NOBODY;
            watch.stamp = watch.stamp.wrapping_add(1) & STAMP_MASK;
        }
    }

    /// The owner of the fd that an event speaks of.
    pub fn owner(&self, data: u64) -> Option<(u64, i32)> {
        let fd = data as u32;
        let watch = self.fds.get(fd as usize)?;
        (watch.owner != NOBODY && u64::from(watch.stamp) == data >> 32)
            .then_some((watch.owner, fd as i32))
    }
}

/// Stamps stay below `OWN`, which marks the reactor's own fds.
const STAMP_MASK: u32 = 0x7fff_ffff;
pub const OWN: u64 = 1 << 63;

/// What a plugin waits for, as epoll says it.
pub fn plugin_flags(mask: u32) -> EpollFlags {
    let mut flags = EpollFlags::EPOLLET;
    if mask & abi::IO_READ != 0 {
        flags |= EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
    }
    if mask & abi::IO_WRITE != 0 {
        flags |= EpollFlags::EPOLLOUT;
    }
    flags
}

/// What of an epoll event a plugin is told.
pub fn ready_mask(flags: EpollFlags) -> u32 {
    let mut ready = 0;
    if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP) {
        ready |= abi::IO_READ;
    }
    if flags.contains(EpollFlags::EPOLLOUT) {
        ready |= abi::IO_WRITE;
    }
    if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
        ready |= abi::IO_READ | abi::IO_WRITE;
    }
    ready
}

/// The reactor's own fds, level or edge as it likes.
pub fn add_own(fd: BorrowedFd<'_>, token: u64, flags: EpollFlags) -> nix::Result<()> {
    with(|side| side.epoll.add(fd, EpollEvent::new(flags, OWN | token)))
        .unwrap_or(Err(nix::errno::Errno::EINVAL))
}
