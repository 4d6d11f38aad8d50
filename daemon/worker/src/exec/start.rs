//! The start of a child: its arguments, limits and surroundings, and who watches it.

use super::stray::MARK;
use super::stream::Stream;
use super::{Running, STREAM, Starved};
use crate::side::{CHILD, Side};
use healthd_core::starvation::{Share, Suspicion};
use healthd_loader::ExecSpec;
use healthd_sys::process::{self, Stat};
use healthd_sys::threads::WorksFor;
use healthd_sys::{clock, limits};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::EpollFlags;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Called by a plugin, inside its step. 0 or -errno.
pub fn spawn(side: &mut Side, task: u64, spec: ExecSpec) -> i32 {
    if side
        .children
        .slab
        .iter()
        .any(|(_, c)| c.task == task && !c.abandoned && c.told.is_none())
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
    side.children.started += 1;
    let mark = format!("{}-{}", std::process::id(), side.children.started);
    command.env(MARK, &mark);
    if spec.leave_children {
        command.env(process::LEFT_ALONE.0, process::LEFT_ALONE.1);
    }
    command.current_dir(if spec.cwd.is_empty() {
        os(b"/")
    } else {
        os(&spec.cwd)
    });
    // A pipe costs no number above the soft limit that holds while the program starts.
    let (input, stdin) = match spec.input.is_empty() {
        true => (Stdio::from(File::open("/dev/null")?), None),
        false => {
            let (reader, writer) = pipe()?;
            (Stdio::from(reader), Some((File::from(writer), spec.input)))
        }
    };
    let (out, output) = pipe()?;
    let (err, errors) = pipe()?;
    command
        .stdin(input)
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .process_group(0);
    // A plugin may have opened something without O_CLOEXEC.
    process::keep_fds_to_ourselves();
    let mut start = || match spec.limits.files {
        0 => limits::with_soft_files(soft_files(), || command.spawn()),
        _ => command.spawn(),
    };
    let mut child = match side.children.alone {
        true => {
            // The thread is ours, not the plugin's that asked for the start.
            let _nobody = WorksFor::nobody();
            healthd_sandbox::alone::start(start)
        }
        false => start(),
    }?;
    // Else our copies of the child's ends would keep its output open.
    drop(command);
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
    let running = Running {
        task,
        token: spec.token,
        pid,
        pidfd: Some(pidfd),
        place: side.children.map.and_then(|map| map.add_group(pid)),
        stdin,
        out: Stream::new(Some(File::from(out))),
        err: Stream::new(Some(File::from(err))),
        cap: spec.max_output,
        mark,
        began: Stat::of(pid).map(|s| s.began),
        started_ns: clock::monotonic_ns(),
        grace_ns: spec.kill_grace_ns,
        leave_children: spec.leave_children,
        tells: spec.tells,
        sent: None,
        next_at: 0,
        abandoned: false,
        told: None,
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

/// Reading and writing end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
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

/// The soft limit of open files that healthd was started with; the daemon has raised its own.
fn soft_files() -> u64 {
    static SOFT: OnceLock<u64> = OnceLock::new();
    *SOFT.get_or_init(|| {
        let told = std::env::var(limits::SOFT_FILES).ok();
        told.and_then(|n| n.parse().ok()).unwrap_or(0)
    })
}

/// Did it, or one of those below it, wait for a processor for most of the time since it began?
pub(super) fn starved(pid: u32, began: u64, started_ns: u64, now: u64) -> Option<Starved> {
    let mut lacked = 0;
    let mut ran_ns = 0;
    for member in process::with_descendants(pid) {
        let (Some(stat), Ok((time, state))) =
            (Stat::of(member), process::time_of_thread(member, member))
        else {
            continue;
        };
        let Some(share) = Share::parse(now, &time, &state) else {
            continue;
        };
        let later_ns = stat.began.saturating_sub(began) * process::TICK_NS;
        let mut suspicion = Suspicion::new(Share {
            at_ns: started_ns + later_ns,
            ..Share::default()
        });
        lacked = lacked.max(suspicion.look(share));
        ran_ns += share.ran_ns;
    }
    let had_ns = now.saturating_sub(started_ns);
    (lacked > had_ns / 4 * 3).then_some(Starved { had_ns, ran_ns })
}
