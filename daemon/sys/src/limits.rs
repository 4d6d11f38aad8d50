//! Resource limits: our own and those of a child.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// Raises the soft limit of open files to the hard one; returns what holds now.
pub fn raise_open_files() -> u64 {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        },
        Ok((soft, _)) => soft,
        Err(_) => 1024,
    }
}

/// In the environment of our own processes: the soft limit of open files from before it was raised, for the programs
/// that are started.
pub const SOFT_FILES: &str = "HEALTHD_SOFT_FILES";

/// Does something under another soft limit of open files, which what is started in it inherits; 0: under ours. Other
/// threads are under it too for that moment.
pub fn with_soft_files<R>(soft: u64, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    let (ours, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft == 0 || soft >= ours {
        return f();
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    let done = f();
    setrlimit(Resource::RLIMIT_NOFILE, ours, hard)?;
    done
}

/// Whatever this process dies of, it leaves no core: its memory holds secrets.
pub fn no_core() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}

/// The soft limit as it is now: somebody may have changed it from outside.
pub fn open_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft)
}

/// Sets limits of a process that already runs (prlimit(2)); 0 leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChildLimits {
    pub memory: u64,
    pub cpu_s: u64,
    pub files: u64,
    pub processes: u64,
}

impl ChildLimits {
    pub fn apply(&self, pid: u32) -> io::Result<()> {
        for (resource, value) in [
            (libc::RLIMIT_AS, self.memory),
            (libc::RLIMIT_CPU, self.cpu_s),
            (libc::RLIMIT_NOFILE, self.files),
            (libc::RLIMIT_NPROC, self.processes),
        ] {
            if value == 0 {
                continue;
            }
            let limit = libc::rlimit {
                rlim_cur: value,
                rlim_max: value,
            };
            // SAFETY: `limit` lives through the call; no old value is asked for.
            let r = unsafe {
                libc::prlimit(pid as libc::pid_t, resource, &limit, std::ptr::null_mut())
            };
            if r != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Lowers the scheduling priority of one thread (Linux: a thread has its own nice value).
pub fn nice_thread(tid: u32, nice: i32) -> io::Result<()> {
    // SAFETY: setpriority takes numbers only.
    let r = unsafe { libc::setpriority(libc::PRIO_PROCESS, tid, nice) };
    if r == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How readily the kernel kills a process when memory is short: 1000 first, -1000 never.
pub fn set_oom_score(pid: Option<u32>, score: i32) -> io::Result<()> {
    let path = match pid {
        Some(pid) => format!("/proc/{pid}/oom_score_adj"),
        None => "/proc/self/oom_score_adj".into(),
    };
    std::fs::write(path, score.to_string())
}
