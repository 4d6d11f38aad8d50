//! What did not work before a protocol began.

use healthd_plugin::{Cx, Status, failure};
use std::io;

/// `phase` may say more than the phase: of whom, to which socket.
#[derive(Debug)]
pub struct Failure {
    pub phase: String,
    pub error: io::Error,
}

impl Failure {
    pub fn at(phase: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        |error| Failure {
            phase: phase.into(),
            error,
        }
    }

    /// The outcome of the run, with its message set.
    pub fn tell(&self, cx: Cx<'_>) -> Status {
        cx.fail(&self.phase, &self.error)
    }

    pub fn status_and_text(&self) -> (Status, String) {
        failure(&self.phase, &self.error)
    }
}
