//! Fork, then exec this same program: every process starts with a fresh heap, fresh ASLR and no inherited
//! lock, from the very file that the supervisor was started from, even if its path holds another one now.

use super::privileges::Identity;
use nix::fcntl::{AtFlags, FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Pid, dup3_raw, execveat};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Proof that this process has one thread: the only state in which `fork` may be called.
pub struct SingleThreaded(());

impl SingleThreaded {
    pub fn check() -> io::Result<SingleThreaded> {
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads == 1 {
            Ok(SingleThreaded(()))
        } else {
            Err(io::Error::other(format!(
                "{threads} threads where one was expected"
            )))
        }
    }
}

/// This program's own file, kept open from the start.
pub struct SelfExe {
    file: OwnedFd,
    /// Set in the environment of whoever is started, over what is inherited.
    env: Vec<(OsString, OsString)>,
}

/// What another process does not have from us.
#[derive(Clone, Copy, Default)]
pub struct Apart<'a> {
    /// Another user than ours.
    pub user: Option<&'a Identity>,
    /// Variables of the environment, a NUL behind each.
    pub without: &'a [u8],
}

impl SelfExe {
    pub fn open(env: Vec<(OsString, OsString)>) -> io::Result<SelfExe> {
        let file = open(
            "/proc/self/exe",
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(SelfExe { file, env })
    }

    /// Starts it with `args`, all signals blocked, in a process group of its own; of our fds it gets `pass`, under the same numbers
    /// as here, `errors` as 2 (None: ours), and `null` (an open /dev/null) as 0 and 1.
    /// Returns its pid.
    pub fn start(
        &self,
        _proof: &SingleThreaded,
        args: &[OsString],
        pass: &[BorrowedFd<'_>],
        null: BorrowedFd<'_>,
        errors: Option<BorrowedFd<'_>>,
        apart: Apart<'_>,
    ) -> io::Result<u32> {
        let of_user = apart
            .user
            .map_or_else(Vec::new, |u| u.account.environment());
        // All memory is taken before the fork, so that the child only makes system calls.
        let argv = args
            .iter()
            .map(|a| CString::new(a.as_encoded_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let envp: Vec<CString> = std::env::vars_os()
            .filter(|(name, _)| {
                let replaced = |env: &[(OsString, OsString)]| env.iter().any(|(n, _)| n == name);
                let replaced = replaced(&self.env) || replaced(&of_user);
                let secret = apart
                    .without
                    .split(|b| *b == 0)
                    .any(|n| n == name.as_encoded_bytes());
                !replaced && !secret && !NOT_INHERITED.iter().any(|n| name == n)
            })
            .chain(
                self.env
                    .iter()
                    .filter(|(name, _)| !of_user.iter().any(|(n, _)| n == name))
                    .cloned(),
            )
            .chain(of_user.iter().cloned())
            .filter_map(|(k, v)| {
                let mut entry = std::os::unix::ffi::OsStringExt::into_vec(k);
                entry.push(b'=');
                entry.extend(std::os::unix::ffi::OsStringExt::into_vec(v));
                CString::new(entry).ok()
            })
            .collect();
        let mut before = nix::sys::signal::SigSet::empty();
        nix::sys::signal::sigprocmask(
            nix::sys::signal::SigmaskHow::SIG_SETMASK,
            Some(&nix::sys::signal::SigSet::all()),
            Some(&mut before),
        )?;
        // SAFETY: `_proof` shows that no other thread exists, so no lock is held across the fork; the child
        // does nothing but system calls until it execs.
        let forked = unsafe { nix::unistd::fork() };
        if let Ok(ForkResult::Child) = forked {
            let failed = || -> nix::Result<()> {
                // What it sends to its own group, by kill(0, ...) in a plugin, reaches nobody else.
                nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                let standard = [(Some(null), 0), (Some(null), 1), (errors, 2)];
                for (fd, number) in standard {
                    let Some(fd) = fd else { continue };
                    // SAFETY: fds 0 to 2 are nobody's OwnedFd; the child replaces its own copies.
                    let copy = unsafe { dup3_raw(fd, number, OFlag::empty()) }?;
                    // It stays open for the program.
                    let _ = copy.into_raw_fd();
                }
                // Of what we were started with nothing goes on: not from us, nor from those that we start.
                super::process::keep_fds_to_ourselves();
                for fd in pass {
                    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
                }
                if let Some(user) = apart.user {
                    user.take_on()?;
                }
                execveat(&self.file, c"", &argv, &envp, AtFlags::AT_EMPTY_PATH)?;
                Ok(())
            }();
            let _ = failed;
            super::process::exit_now(127);
        }
        nix::sys::signal::sigprocmask(
            nix::sys::signal::SigmaskHow::SIG_SETMASK,
            Some(&before),
            None,
        )?;
        match forked? {
            ForkResult::Parent { child } => Ok(child.as_raw() as u32),
            ForkResult::Child => unreachable!("the child has gone to exec above"),
        }
    }
}

/// The service manager's words to the supervisor alone: whoever inherited them could speak in its name.
const NOT_INHERITED: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
];

/// Takes over an fd whose number was given in argv. Marks it close-on-exec again.
pub fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with a number that may be stale fails with EBADF and does nothing.
    let flags = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (checked), and by the convention of `SelfExe::start` it was passed to this role
    // alone; each number is adopted once, at start.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// For argv: the number under which the child will know this fd.
pub fn number(fd: &impl AsRawFd) -> String {
    fd.as_raw_fd().to_string()
}
