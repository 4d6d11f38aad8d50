//! Children of checks (`hd.exec/1`): started in a process group of their own, watched by pidfd, their output
//! capped, the whole group killed at the end of the run whatever became of it.
//!
//! Runs in: the reactor of an exec worker. Never blocks on a child or on what it holds open.

use crate::services::{Posted, shared};
use crate::side::{CHILD, Side};
use healthd_loader::{Event, ExecDone, ExecSpec};
use healthd_scoreboard::worker_map::WorkerMap;
use healthd_sys::process::{self, Exit};
use healthd_sys::{clock, limits};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::EpollFlags;
use slab::Slab;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

/// Between two looks for what checks' children left behind.
const STRAYS_NS: u64 = 20_000_000;

/// Bytes of one stream that are read before others have their turn.
const DRAIN_A_TURN: usize = 256 << 10;
const STREAM: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLET);

#[derive(Default)]
pub struct Children {
    map: Option<&'static WorkerMap>,
    slab: Slab<Running>,
    /// When to look next for what checks' children left behind; 0: there is nothing.
    strays_at: u64,
}

struct Running {
    task: u64,
    token: u32,
    pid: u32,
    pidfd: OwnedFd,
    /// Its place in the worker's map, for whoever must end it if we die.
    place: Option<usize>,
    stdin: Option<(ChildStdin, Vec<u8>)>,
    out: Stream<ChildStdout>,
    err: Stream<ChildStderr>,
    cap: usize,
    /// The run is over; only the corpse is waited for.
    abandoned: bool,
    _child: Child,
}

struct Stream<S> {
    from: Option<S>,
    kept: Vec<u8>,
    dropped: u64,
}

impl<S: Read + AsRawFd> Stream<S> {
    /// Reads what there is now, but no more than a turn can bear: a child may write without end. True: there
    /// may be more.
    fn drain(&mut self, cap: usize) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut left = DRAIN_A_TURN;
        while let Some(from) = &mut self.from {
            if left == 0 {
                return true;
            }
            match from.read(&mut buffer) {
                Ok(0) => self.from = None,
                Ok(n) => {
                    let keep = n.min(cap.saturating_sub(self.kept.len()));
                    self.kept.extend_from_slice(&buffer[..keep]);
                    self.dropped += (n - keep) as u64;
                    left = left.saturating_sub(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.from = None,
            }
        }
        false
    }

    fn fd(&self) -> Option<i32> {
        self.from.as_ref().map(AsRawFd::as_raw_fd)
    }
}

impl Children {
    pub fn set_map(&mut self, map: &'static WorkerMap) {
        self.map = Some(map);
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Something happened on one of the fds of this child.
    pub fn ready(side: &mut Side, key: usize, fd: i32) {
        let Some(child) = side.children.slab.get_mut(key) else {
            return;
        };
        if child.pidfd.as_raw_fd() == fd {
            Self::ended(side, key);
            return;
        }
        child.feed();
        let more_out = child.out.drain(child.cap).then(|| child.out.fd());
        let more_err = child.err.drain(child.cap).then(|| child.err.fd());
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
            if child.task == task && !child.abandoned {
                child.abandoned = true;
                process::kill_group(child.pid);
                child.stdin = None;
                child.out.from = None;
                child.err.from = None;
                any = true;
            }
        }
        any
    }

    /// For the end of the worker.
    pub fn kill_all(&mut self) {
        for (_, child) in &self.slab {
            process::kill_group(child.pid);
        }
        process::children().into_iter().for_each(|pid| {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::SIGKILL,
            );
        });
    }

    /// What a check's child left behind comes to us, as its next reaper: collected once it is dead. While no check
    /// runs, one that lives has slipped out of its group, and is ended. Dying takes a moment, so a turn may call this
    /// again and again.
    pub fn collect_strays(&mut self, now: u64) {
        if self.strays_at == 0 || now < self.strays_at {
            return;
        }
        let own = |pid: u32| self.slab.iter().any(|(_, child)| child.pid == pid);
        let mut left = false;
        for pid in process::children().into_iter().filter(|pid| !own(*pid)) {
            if self.slab.is_empty() {
                let pid = nix::unistd::Pid::from_raw(pid as i32);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
            }
            left |= process::reap(pid).is_none();
        }
        self.strays_at = if left { now + STRAYS_NS } else { 0 };
    }

    /// When `collect_strays` has something to do.
    pub fn strays_at(&self) -> Option<u64> {
        (self.strays_at != 0).then_some(self.strays_at)
    }

    fn ended(side: &mut Side, key: usize) {
        // Whatever it left running in its group ends with it: a check has no business after its result. As
        // long as it is not collected nobody else can have the number of its group.
        process::kill_group(side.children.slab[key].pid);
        let Some((exit, cpu_ns)) = process::reap_with_bill(side.children.slab[key].pid) else {
            return;
        };
        let mut child = side.children.slab.remove(key);
        let owner = CHILD | key as u64;
        side.unwatch(child.pidfd.as_raw_fd(), owner);
        for fd in child.stream_fds() {
            side.unwatch(fd, owner);
        }
        if let (Some(map), Some(place)) = (side.children.map, child.place) {
            map.remove_group(place);
        }
        side.children.strays_at = clock::monotonic_ns();
        side.children.collect_strays(side.children.strays_at);
        if child.abandoned {
            let task = child.task;
            return shared().post(Posted::Killed { task, cpu_ns });
        }
        child.out.drain(child.cap);
        child.err.drain(child.cap);
        let (exit_code, term_signal) = match exit {
            Exit::Code(code) => (code, 0),
            Exit::Signal { signal, .. } => (-1, signal),
        };
        let done = ExecDone {
            token: child.token,
            exit_code,
            term_signal,
            out_cut: child.out.dropped > 0,
            err_cut: child.err.dropped > 0,
            dropped: child.out.dropped + child.err.dropped,
            out: child.out.kept,
            err: child.err.kept,
            cpu_ns,
        };
        shared().post(Posted::Task {
            task: child.task,
            event: Event::Exec(Box::new(done)),
        });
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
}

/// Called by a plugin, inside its step. 0 or -errno.
pub fn spawn(side: &mut Side, task: u64, spec: ExecSpec) -> i32 {
    if side
        .children
        .slab
        .iter()
        .any(|(_, c)| c.task == task && !c.abandoned)
    {
        return -libc::EBUSY;
    }
    match try_spawn(side, task, spec) {
        Ok(()) => 0,
        Err(e) => -e.raw_os_error().unwrap_or(libc::EINVAL),
    }
}

fn try_spawn(side: &mut Side, task: u64, spec: ExecSpec) -> io::Result<()> {
    let os = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let mut command = Command::new(os(&spec.argv[0]));
    command
        .args(spec.argv[1..].iter().map(|a| os(a)))
        .env_clear();
    for entry in &spec.env {
        if let Some(at) = entry.iter().position(|&b| b == b'=') {
            command.env(os(&entry[..at]), os(&entry[at + 1..]));
        }
    }
    command.current_dir(if spec.cwd.is_empty() {
        os(b"/")
    } else {
        os(&spec.cwd)
    });
    command.stdin(if spec.input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    });
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    // A plugin may have opened something without O_CLOEXEC.
    process::keep_fds_to_ourselves();
    let mut child = command.spawn()?;
    let pid = child.id();
    // The limits reach it a moment after its start (prlimit): what a program can do before its own main
    // is within what we allow ourselves.
    let limited = spec.limits.apply(pid);
    let _ = limits::set_oom_score(Some(pid), 1000);
    let pidfd = match limited.and_then(|()| watched_pidfd(side, pid)) {
        Ok(pidfd) => pidfd,
        Err(e) => {
            // Nobody would see its end.
            process::kill_group(pid);
            let _ = child.wait();
            return Err(e);
        }
    };
    let stdin = child.stdin.take().map(|s| (s, spec.input));
    let running = Running {
        task,
        token: spec.token,
        pid,
        pidfd,
        place: side.children.map.and_then(|map| map.add_group(pid)),
        stdin,
        out: Stream {
            from: child.stdout.take(),
            kept: Vec::new(),
            dropped: 0,
        },
        err: Stream {
            from: child.stderr.take(),
            kept: Vec::new(),
            dropped: 0,
        },
        cap: spec.max_output,
        abandoned: false,
        _child: child,
    };
    let streams = running.stream_fds();
    nonblocking(&running);
    let key = side.children.slab.insert(running);
    for fd in streams {
        // Not watched it is still read at the end.
        side.watch(fd, CHILD | key as u64, STREAM);
    }
    if let Some(child) = side.children.slab.get_mut(key) {
        child.feed();
    }
    Ok(())
}

/// Its end wakes whoever has the next place in the slab.
fn watched_pidfd(side: &mut Side, pid: u32) -> io::Result<OwnedFd> {
    let pidfd = process::pidfd_open(pid)?;
    let owner = CHILD | side.children.slab.vacant_key() as u64;
    match side.watch(pidfd.as_raw_fd(), owner, EpollFlags::EPOLLIN) {
        0 => Ok(pidfd),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn nonblocking(running: &Running) {
    let set = |fd: std::os::fd::BorrowedFd<'_>| {
        let _ = fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    };
    if let Some((stdin, _)) = &running.stdin {
        set(stdin.as_fd());
    }
    if let Some(out) = &running.out.from {
        set(out.as_fd());
    }
    if let Some(err) = &running.err.from {
        set(err.as_fd());
    }
}
