//! Processes: who I am, who has died, what ends with whom.

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An fd that becomes readable when the process ends; it never means another process of the same number.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this fd for us (with CLOEXEC set), and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn pidfd_kill(fd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed; the rest are numbers.
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if r == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Kills a whole process group; that it has gone already is no error.
pub fn kill_group(group: u32) {
    if group > 1 {
        let _ = nix::sys::signal::killpg(Pid::from_raw(group as i32), nix::sys::signal::SIGKILL);
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal { signal: i32, core: bool },
}

/// The next child that has ended, left where it is. None: no child has ended (or there is none).
pub fn peek_dead() -> Option<u32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::All, flags) {
        Ok(status) => status.pid().map(|p| p.as_raw() as u32),
        Err(_) => None,
    }
}

/// Collects a child that has ended; None while it runs or when it is no child of ours.
pub fn reap(pid: u32) -> Option<Exit> {
    match waitpid(Pid::from_raw(pid as i32), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
        Ok(WaitStatus::Signaled(_, signal, core)) => Some(Exit::Signal {
            signal: signal as i32,
            core,
        }),
        _ => None,
    }
}

/// Dies with the parent: set last and from the main thread (setuid clears it; it fires when the forking
/// *thread* ends), then compares the parent with the one that was meant, since it may be gone already.
pub fn die_with_parent(expected_parent: u32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL)?;
    if nix::unistd::getppid().as_raw() as u32 != expected_parent {
        return Err(io::Error::other("the supervisor is gone"));
    }
    Ok(())
}

pub fn set_name(name: &CStr) {
    let _ = nix::sys::prctl::set_name(name);
}

/// Orphans below us become our children, so that we can end and reap them.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// The children of this process, by /proc: what a dying worker left to us.
pub fn children() -> Vec<u32> {
    let path = format!("/proc/self/task/{}/children", std::process::id());
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

pub fn gettid() -> u32 {
    nix::unistd::gettid().as_raw() as u32
}

/// Ends the process at once: no destructors, no buffers. For a forked child that must not go on.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}
