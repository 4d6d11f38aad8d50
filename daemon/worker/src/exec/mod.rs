//! Children of checks (`hd.exec/1`): started in a process group of their own, watched by pidfd, their output
//! capped, the whole group ended with the run whatever became of it.
//!
//! Runs in: the reactor of an exec worker. Never blocks on a child or on what it holds open.
//!
//! The end of a child: it exits, its output is read until nobody holds it any more (or for `DRAIN_NS`), its group is
//! killed, it is collected. Or its run's time is up: SIGTERM, after its grace SIGKILL, and if it lives on after that,
//! because it may not be killed by us or hangs in the kernel, its run ends without it and the manager is told.

mod start;
mod stray;
mod stream;

pub use start::spawn;

use crate::services::{Posted, shared};
use crate::side::{CHILD, Side};
use healthd_loader::{Event, ExecDone};
use healthd_scoreboard::worker_map::WorkerMap;
use healthd_sys::clock;
use healthd_sys::process::{self, Exit};
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::Signal;
use slab::Slab;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Child;
use stream::Stream;

/// How long a program that has ended may have its output written by what it has started, from the last word on.
const DRAIN_NS: u64 = 1_000_000_000;
/// What does not die of SIGKILL within this does not die of it.
const KILL_NS: u64 = 500_000_000;

const STREAM: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLET);

#[derive(Default)]
pub struct Children {
    map: Option<&'static WorkerMap>,
    slab: Slab<Running>,
    /// Each program gets a domain of its own, and can send signals to nobody else.
    alone: bool,
    /// How many were started: the number of the next.
    started: u64,
    /// When to look next for what checks' children left behind; 0: there is nothing.
    strays_at: u64,
}

struct Running {
    task: u64,
    token: u32,
    pid: u32,
    /// None: its end has been seen.
    pidfd: Option<OwnedFd>,
    /// Its place in the worker's map, for whoever must end it if we die.
    place: Option<usize>,
    stdin: Option<(File, Vec<u8>)>,
    out: Stream<File>,
    err: Stream<File>,
    cap: usize,
    /// In the environment of all that belong to it.
    mark: String,
    /// By the kernel's clock, in ticks.
    began: Option<u64>,
    started_ns: u64,
    grace_ns: u64,
    leave_children: bool,
    /// The plugin is told of the deadline, with what was said until then.
    tells: bool,
    /// The last signal that it got from us.
    sent: Option<Signal>,
    /// When something must be done about it; 0: nothing.
    next_at: u64,
    /// The run is over; only the corpse is waited for.
    abandoned: bool,
    /// Its end was told before it came.
    told: Option<Told>,
    _child: Child,
}

/// That it does not end.
struct Told;

/// What becomes of a run at its deadline.
#[derive(Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Its program was told to end; the plugin hears of its end soon.
    Ends { starved: Option<Starved> },
    /// It has ended, and its output is complete enough.
    Ended,
}

/// It had too little of the processors: so much in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starved {
    pub had_ns: u64,
    pub ran_ns: u64,
}

impl Children {
    pub fn set_map(&mut self, map: &'static WorkerMap) {
        self.map = Some(map);
    }

    pub fn start_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// How many processes of programs want a processor now, up to `most`.
    pub fn computing(&self, most: usize) -> usize {
        let running = self.slab.iter().filter(|(_, c)| c.pidfd.is_some());
        running
            .flat_map(|(_, child)| process::with_descendants(child.pid))
            .filter(|pid| process::Stat::of(*pid).is_some_and(|s| s.state == 'R'))
            .take(most)
            .count()
    }

    /// Something happened on one of the fds of this child.
    pub fn ready(side: &mut Side, key: usize, fd: i32) {
        let Some(child) = side.children.slab.get_mut(key) else {
            return;
        };
        if child.pidfd.as_ref().is_some_and(|p| p.as_raw_fd() == fd) {
            return Self::exited(side, key);
        }
        child.feed();
        let more_out = child.out.drain(child.cap).then(|| child.out.fd());
        let more_err = child.err.drain(child.cap).then(|| child.err.fd());
        if child.pidfd.is_none() {
            if child.is_drained() {
                return Self::complete(side, key);
            }
            child.next_at = clock::monotonic_ns() + DRAIN_NS;
        }
        for fd in [more_out, more_err].into_iter().flatten().flatten() {
            // Edge-triggered: watched anew, it says again that it is ready.
            side.watch(fd, CHILD | key as u64, STREAM);
        }
    }

    /// The task was dropped: at its deadline, by a cancel, or because the plugin had enough. True: a child of
    /// it is still to be collected.
    pub fn abandon(&mut self, task: u64) -> bool {
        let mut any = false;
        for (_, child) in &mut self.slab {
            if child.task == task && !child.abandoned && child.told.is_none() {
                child.abandoned = true;
                child.stdin = None;
                child.out.from = None;
                child.err.from = None;
                child.end(clock::monotonic_ns());
                any = true;
            }
        }
        any
    }

    /// The time of this task is up. None: it has no child whose end its plugin wants to hear of.
    pub fn deadline(side: &mut Side, task: u64, now: u64) -> Option<Deadline> {
        let (key, child) = side
            .children
            .slab
            .iter_mut()
            .find(|(_, c)| c.task == task && c.tells && !c.abandoned && c.told.is_none())?;
        if child.pidfd.is_none() {
            Self::complete(side, key);
            return Some(Deadline::Ended);
        }
        let starved = child
            .began
            .and_then(|began| start::starved(child.pid, began, child.started_ns, now));
        child.end(now);
        Some(Deadline::Ends { starved })
    }

    /// What is due: signals, ends of waiting, orphans.
    pub fn turn(side: &mut Side, now: u64) {
        let due = |c: &Running| c.next_at != 0 && c.next_at <= now;
        let keys: Vec<usize> = side
            .children
            .slab
            .iter()
            .filter(|(_, c)| due(c))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let child = &mut side.children.slab[key];
            match (&child.pidfd, child.sent) {
                (None, _) => Self::complete(side, key),
                (Some(_), Some(Signal::SIGKILL)) => child.lives_on(),
                (Some(_), _) => child.kill(now),
            }
        }
        side.children.collect_strays(now);
    }

    pub fn wake_at(&self) -> Option<u64> {
        let children = self.slab.iter().map(|(_, c)| c.next_at);
        children.chain([self.strays_at]).filter(|at| *at != 0).min()
    }

    /// For the end of the worker.
    pub fn kill_all(&mut self) {
        for (_, child) in &self.slab {
            process::kill_group(child.pid);
        }
        for pid in process::children() {
            if !process::is_left_alone(pid) {
                process::kill_one(pid);
            }
        }
    }

    /// Not collected yet: as long as it is not, nobody else can have the number of its group.
    fn exited(side: &mut Side, key: usize) {
        let child = &mut side.children.slab[key];
        if let Some(pidfd) = child.pidfd.take() {
            side.unwatch(pidfd.as_raw_fd(), CHILD | key as u64);
        }
        let child = &mut side.children.slab[key];
        child.out.drain(child.cap);
        child.err.drain(child.cap);
        // What was killed had its time, and so had what it started.
        if child.is_drained() || child.abandoned || child.sent == Some(Signal::SIGKILL) {
            return Self::complete(side, key);
        }
        child.next_at = clock::monotonic_ns() + DRAIN_NS;
    }

    /// It has exited, and nobody waits for more output: what it left running in its group ends with it, as a check has
    /// no business after its result.
    fn complete(side: &mut Side, key: usize) {
        let now = clock::monotonic_ns();
        let child = &side.children.slab[key];
        let left = match child.abandoned {
            true => String::new(),
            false => side.children.left_by(&child.mark, child.pid),
        };
        // Asked before those end that hold it. What was killed was not waited for.
        let open = child.out.from.is_some() && child.sent.is_none();
        if !child.leave_children || child.sent.is_some() {
            process::kill_group(child.pid);
        }
        let Some((exit, cpu_ns)) = process::reap_with_bill(child.pid) else {
            return;
        };
        let mut child = side.children.slab.remove(key);
        let owner = CHILD | key as u64;
        for fd in child.stream_fds() {
            side.unwatch(fd, owner);
        }
        if let (Some(map), Some(place)) = (side.children.map, child.place) {
            map.remove_group(place);
        }
        side.children.strays_at = now;
        side.children.collect_strays(now);
        if child.told.is_some() {
            shared().post(Posted::Say(
                healthd_core::wire::worker::ToManager::ChildGone { pid: child.pid },
            ));
        }
        if child.abandoned || child.told.is_some() {
            let task = child.task;
            return shared().post(Posted::Killed { task, cpu_ns });
        }
        child.out.drain(child.cap);
        child.err.drain(child.cap);
        let (exit_code, term_signal) = match exit {
            Exit::Code(code) => (code, 0),
            Exit::Signal { signal, .. } => (-1, signal),
        };
        let ended = match child.sent {
            Some(_) => healthd_abi::EXEC_DEADLINE,
            None => healthd_abi::EXEC_ENDED,
        };
        let done = ExecDone {
            exit_code,
            term_signal,
            cpu_ns,
            left,
            open,
            ..child.said(ended, now)
        };
        shared().post(Posted::Task {
            task: child.task,
            event: Event::Exec(Box::new(done)),
        });
    }
}

pub fn why_it_lives_on(forbidden: bool) -> &'static str {
    match forbidden {
        true => "the daemon's user may not kill it (sudo, setuid)",
        false => "it hangs in the kernel",
    }
}

impl Running {
    fn stream_fds(&self) -> Vec<i32> {
        let stdin = self.stdin.as_ref().map(|(s, _)| s.as_raw_fd());
        [stdin, self.out.fd(), self.err.fd()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Nobody can write any more.
    fn is_drained(&self) -> bool {
        self.out.from.is_none() && self.err.from.is_none()
    }

    fn feed(&mut self) {
        while let Some((stdin, rest)) = &mut self.stdin {
            match stdin.write(rest) {
                Ok(n) if n < rest.len() => drop(rest.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // All written, or the child does not want it.
                _ => self.stdin = None,
            }
        }
    }

    /// SIGTERM, and SIGKILL after its grace.
    fn end(&mut self, now: u64) {
        if self.pidfd.is_none() {
            // Only what it started is waited for.
            self.next_at = now;
        } else if self.grace_ns == 0 {
            self.kill(now);
        } else if self.sent.is_none() {
            let _ = process::signal_group(self.pid, Signal::SIGTERM);
            // One that was stopped could not even hear it.
            let _ = process::signal_group(self.pid, Signal::SIGCONT);
            self.sent = Some(Signal::SIGTERM);
            self.next_at = now + self.grace_ns;
        }
    }

    fn kill(&mut self, now: u64) {
        let _ = process::signal_group(self.pid, Signal::SIGKILL);
        self.sent = Some(Signal::SIGKILL);
        self.next_at = now + KILL_NS;
    }

    /// Neither SIGTERM nor SIGKILL has ended it: its run ends without it, and it stays in the books until it is gone.
    fn lives_on(&mut self) {
        let now = clock::monotonic_ns();
        self.next_at = 0;
        self.told = Some(Told);
        let again = process::signal_group(self.pid, Signal::SIGKILL);
        let forbidden = again == Err(nix::errno::Errno::EPERM);
        shared().post(Posted::LivesOn {
            task: self.task,
            pid: self.pid,
            forbidden,
        });
        if !self.abandoned {
            let done = ExecDone {
                exit_code: -1,
                left: why_it_lives_on(forbidden).to_owned(),
                ..self.said(healthd_abi::EXEC_LIVES_ON, now)
            };
            shared().post(Posted::Task {
                task: self.task,
                event: Event::Exec(Box::new(done)),
            });
        }
        self.stdin = None;
        self.out.from = None;
        self.err.from = None;
    }

    /// What it has written until now.
    fn said(&mut self, ended: u32, now: u64) -> ExecDone {
        ExecDone {
            token: self.token,
            out_cut: self.out.dropped > 0,
            err_cut: self.err.dropped > 0,
            dropped: self.out.dropped + self.err.dropped,
            out: std::mem::take(&mut self.out.kept),
            err: std::mem::take(&mut self.err.kept),
            ended,
            signal_sent: self.sent.map_or(0, |s| s as i32),
            ran_ns: now.saturating_sub(self.started_ns),
            pid: self.pid,
            ..ExecDone::default()
        }
    }
}
