//! Ctrl-C and its like, as something one can wait for beside the socket.

use crate::error::CtlError;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
}
