//! Signals: blocked over fork and exec, read with their sender from a fd, or caught and dropped.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// For a role, once its handlers stand: it was started with all signals blocked.
pub fn unblock_all() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// All signals of this process, but for those by which it fails, is debugged, or is stopped from a terminal.
pub struct Signals(SignalFd);

/// One of them; those of one number merge while nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub number: i32,
    pub sender: Sender,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A terminal, a timer.
    Kernel,
    /// By the kernel's word. `pid` 0: it is outside of our pid namespace.
    Process { pid: u32, uid: u32 },
    /// sigqueue(3): the sender has written its number itself.
    Claimed { pid: u32 },
}

impl Arrived {
    /// SIGTERM: to end in order.
    pub fn is_term(&self) -> bool {
        self.number == libc::SIGTERM
    }
}

impl Signals {
    /// Blocks them for the whole process: call it while there is one thread.
    pub fn take() -> io::Result<Signals> {
        let mut all = SigSet::all();
        for signal in LEFT_ALONE {
            all.remove(signal);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Signals(SignalFd::with_flags(&all, flags)?))
    }

    /// Until one has arrived.
    pub fn wait(&self) {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        // Interrupted: whoever waits looks again.
        let _ = poll(&mut fds, PollTimeout::NONE);
    }

    /// None: no more has arrived.
    pub fn next(&self) -> Option<Arrived> {
        let info = self.0.read_signal().ok()??;
        let (pid, uid) = (info.ssi_pid, info.ssi_uid);
        let sender = match info.ssi_code {
            libc::SI_USER | libc::SI_TKILL => Sender::Process { pid, uid },
            // signal(7): the kernel lets nobody choose a code above these.
            code if code > 0 => Sender::Kernel,
            _ => Sender::Claimed { pid },
        };
        let number = i32::try_from(info.ssi_signo).ok()?;
        Some(Arrived { number, sender })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const LEFT_ALONE: [Signal; 10] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGSYS,
    Signal::SIGTRAP,
    // The service manager's watchdog ends us by it.
    Signal::SIGABRT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGCONT,
];

/// For a role: the supervisor alone acts on signals, and one that was sent to everybody ends nobody. Caught rather than ignored, because what is ignored stays ignored in
/// every program that a check starts, and what is caught does not (execve(2)).
pub fn disregard() -> io::Result<()> {
    for signal in DISREGARDED {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

const DISREGARDED: [i32; 11] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
];

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, getpid, getuid};

    #[test]
    fn a_signal_is_read_with_its_sender() {
        // SAFETY: the child makes system calls only and ends by _exit.
        match unsafe { nix::unistd::fork() }.expect("fork") {
            ForkResult::Child => {
                let right = || -> Option<bool> {
                    let signals = Signals::take().ok()?;
                    raise(Signal::SIGUSR1).ok()?;
                    let sender = Sender::Process {
                        pid: getpid().as_raw() as u32,
                        uid: getuid().as_raw(),
                    };
                    let number = libc::SIGUSR1;
                    let mut right = signals.next()? == Arrived { number, sender };
                    let value = libc::sigval {
                        sival_ptr: std::ptr::null_mut(),
                    };
                    let own = getpid().as_raw();
                    // SAFETY: the call takes numbers only, and the value is not followed.
                    unsafe { libc::sigqueue(own, libc::SIGTERM, value) };
                    let term = signals.next()?;
                    right &= term.is_term() && matches!(term.sender, Sender::Claimed { .. });
                    Some(right && signals.next().is_none())
                };
                crate::process::exit_now(if right() == Some(true) { 0 } else { 1 });
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
    }
}
