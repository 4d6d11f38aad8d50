//! No answer, or one that cannot be judged, and why.

use healthd_client::http::Fault;
use healthd_plugin::{Status, failure};
use std::{fmt, io};

#[derive(Clone, Debug)]
pub struct Failed {
    pub status: Status,
    pub why: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Failed {
    pub fn critical(why: String) -> Failed {
        Failed {
            status: Status::Critical,
            why,
        }
    }

    /// The target could not be judged.
    pub fn unknown(why: String) -> Failed {
        Failed {
            status: Status::Unknown,
            why,
        }
    }

    pub fn io(phase: &str, error: &io::Error) -> Failed {
        let (status, why) = failure(phase, error);
        Failed { status, why }
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        match fault {
            Fault::Io(phase, e) => Failed::io(phase, &e),
            Fault::Malformed(phase, why) => Failed::critical(format!("{phase}: {why}")),
        }
    }
}
