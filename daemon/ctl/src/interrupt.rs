//! Ctrl-C and its like, as something one can wait for beside the socket.

use crate::error::CtlError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Readable once one of SIGINT, SIGTERM, SIGHUP has come. The second one ends the process as it would
/// have without us, should we be stuck in a write.
#[derive(Debug)]
pub struct Interrupt {
    pub readable: UnixStream,
}

impl Interrupt {
    pub fn new() -> Result<Interrupt, CtlError> {
        let (readable, writable) = UnixStream::pair().map_err(CtlError::Interrupt)?;
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag unset and then sets it.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&again))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&again)))
                .and_then(|_| writable.try_clone())
                .and_then(|end| signal_hook::low_level::pipe::register(signal, end))
                .map_err(CtlError::Interrupt)?;
        }
        Ok(Interrupt { readable })
    }

    /// Waits a moment before healthd is asked again. True: interrupted while waiting.
    pub fn pause_before_reconnect(&self) -> Result<bool, CtlError> {
        let time = Timespec::try_from(RECONNECT_EVERY).expect("a second fits");
        let mut fds = [PollFd::new(&self.readable, PollFlags::IN)];
        match poll(&mut fds, Some(&time)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(CtlError::Interrupt(error.into())),
        }
    }
}

const RECONNECT_EVERY: Duration = Duration::from_secs(1);
