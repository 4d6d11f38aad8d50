//! The reaper: knows our children, collects who has ended, and ends what a dead one left behind.
//!
//! Runs in: supervisor. Never waits: a death is a readable pidfd or a SIGCHLD, and each look is WNOHANG.

use crate::roles;
use healthd_core::wire::roles::Reader;
use healthd_core::wire::supervisor::Death;
use healthd_scoreboard::worker_map::WorkerView;
use healthd_sys::process::{self, Exit};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid, getpgrp};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Manager,
    Worker { slot: u32 },
    Reader(Reader),
}

#[derive(Debug, Default)]
pub struct Reaper {
    children: BTreeMap<u32, Child>,
}

#[derive(Debug)]
struct Child {
    kind: Kind,
    pidfd: OwnedFd,
}

/// A child of ours that has ended and was collected.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub pid: u32,
    pub kind: Kind,
    pub exit: Exit,
}

impl Reaper {
    /// Takes a new child in. An error means that it cannot be watched: it has been killed.
    pub fn watch(&mut self, pid: u32, kind: Kind, epoll: &Epoll, token: u64) -> io::Result<()> {
        let watched = process::pidfd_open(pid).and_then(|pidfd| {
            epoll.add(&pidfd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => {
                self.children.insert(pid, Child { kind, pidfd });
                Ok(())
            }
            Err(e) => {
                // Nobody but us collects it, so the number is still its own.
                process::kill_one(pid);
                Err(e)
            }
        }
    }

    pub fn kill(&self, pid: u32) {
        if let Some(child) = self.children.get(&pid) {
            // It may have ended already: then there is nothing to do.
            let _ = process::pidfd_kill(&child.pidfd, Signal::SIGKILL as i32);
        }
    }

    /// All, each in the way of its role.
    pub fn end_all(&self) {
        for child in self.children.values() {
            let signal = roles::row(child.kind).ends_by;
            let _ = process::pidfd_kill(&child.pidfd, signal as i32);
        }
    }

    pub fn end(&self, kind: Kind, signal: Signal) {
        for child in self.children.values().filter(|c| c.kind == kind) {
            let _ = process::pidfd_kill(&child.pidfd, signal as i32);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Is no manager left, and no worker?
    pub fn has_readers_only(&self) -> bool {
        let is_reader = |c: &Child| matches!(c.kind, Kind::Reader(_));
        self.children.values().all(is_reader)
    }

    /// What a child of ours is, in words.
    pub fn who(&self, pid: u32) -> String {
        match self.children.get(&pid).map(|c| c.kind) {
            Some(Kind::Manager) => "the manager".into(),
            Some(Kind::Worker { slot }) => format!("the worker of slot {slot}"),
            Some(Kind::Reader(role)) => format!("the {} process", role.as_str()),
            None => "what a dead worker has left behind".into(),
        }
    }

    pub fn workers(&self) -> Vec<u32> {
        self.children
            .iter()
            .filter(|(_, c)| matches!(c.kind, Kind::Worker { .. }))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Collects everything that has ended: ours, and orphans that were left to us.
    pub fn collect(&mut self, epoll: &Epoll) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(pid) = process::peek_dead() {
            let Some(exit) = process::reap(pid) else {
                break;
            };
            if let Some(child) = self.children.remove(&pid) {
                // A child that is between fork and exec holds a copy of the fd, so closing is not enough.
                let _ = epoll.delete(&child.pidfd);
                ended.push(Ended {
                    pid,
                    kind: child.kind,
                    exit,
                });
            }
        }
        ended
    }

    /// Children that we did not start: what dead ones left to us. As PID 1 of a container these may be
    /// orphans of a program that was started into it by hand; they count as ours.
    fn adopted(&self) -> Vec<u32> {
        let mut children = process::children();
        children.retain(|pid| !self.children.contains_key(pid) && !process::is_left_alone(*pid));
        children
    }

    /// Kills what was left to us, and says what there was: each pass may bring to light what those had below
    /// them.
    pub fn end_adopted(&self) -> Vec<u32> {
        let adopted = self.adopted();
        let own_group = getpgrp();
        for &pid in &adopted {
            let child = Pid::from_raw(pid as i32);
            if getpgid(Some(child)) == Ok(child) && child != own_group {
                process::kill_group(pid);
            }
            process::kill_one(pid);
        }
        adopted
    }

    /// Who could not be ended, and why. None: nobody is left.
    pub fn left(&self) -> Option<String> {
        let left: Vec<u32> = process::children()
            .into_iter()
            .filter(|pid| !process::is_left_alone(*pid))
            .collect();
        let first = *left.first()?;
        let why = match process::may_kill(first) {
            true => "it hangs in the kernel",
            false => "the daemon's user may not kill it (sudo, setuid)",
        };
        Some(format!("pids={left:?} why=\"{why}\""))
    }

    /// Is any child left, even one that /proc does not show?
    pub fn anybody_left(&self) -> bool {
        !self.children.is_empty() || process::has_child()
    }
}

/// Kills a dead worker's own process group and those that its map names. The worker may have written anything there,
/// so only groups count in which a child was left to us, and never ours.
pub fn end_groups(runtime_dir: &Path, slot: u32, pid: u32) {
    // It may have died before it made its map.
    let named =
        WorkerView::open(runtime_dir, slot, pid).map_or_else(|_| Vec::new(), |v| v.groups());
    let own_group = getpgrp().as_raw() as u32;
    for group in named.into_iter().chain([pid]) {
        if group != own_group && process::has_child_in_group(group) {
            process::kill_group(group);
        }
    }
}

pub fn death(exit: Exit) -> Death {
    match exit {
        Exit::Code(code) => Death::Exited { code },
        Exit::Signal { signal, core } => Death::Signaled { signal, core },
    }
}
