//! Signals: blocked over fork and exec, turned into readable fds by signal-hook, or caught and dropped.

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// All signals that can be blocked, for the time until this process's handlers stand.
pub fn block_all() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
}

pub fn unblock_all() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Each arrival of `signal` makes this readable. Arrivals may merge, as signals do.
pub fn readable(signal: i32) -> io::Result<UnixStream> {
    let (ours, handlers) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    handlers.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, handlers)?;
    Ok(ours)
}

/// The supervisor alone acts on these. Caught rather than ignored, because what is ignored stays ignored in
/// every program that a check starts, and what is caught does not (execve(2)).
pub fn disregard(signals: &[i32]) -> io::Result<()> {
    for &signal in signals {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}
