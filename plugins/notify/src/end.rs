//! How a delivery ends, in the words of `hd.notice/1`.

use healthd_client::Failure;
use healthd_plugin::secrets::Secrets;
use healthd_plugin::{Cx, Metric, Status, failure};
use std::io;

/// What became of a message that was not accepted.
#[derive(Debug, PartialEq)]
pub struct NotTaken {
    /// The receiver does not have it, for certain.
    pub surely: bool,
    pub why: String,
    pub retry_after: Option<u64>,
    /// Our own machine has no room: nobody's word.
    pub own: bool,
}

impl NotTaken {
    pub fn surely(why: impl Into<String>) -> NotTaken {
        NotTaken {
            surely: true,
            why: why.into(),
            retry_after: None,
            own: false,
        }
    }

    pub fn perhaps(why: impl Into<String>) -> NotTaken {
        NotTaken {
            surely: false,
            ..NotTaken::surely(why)
        }
    }

    /// An error before anything of the message had left.
    pub fn before(phase: &str, e: &io::Error) -> NotTaken {
        let (status, why) = failure(phase, e);
        NotTaken {
            own: status == Status::Resources,
            ..NotTaken::surely(why)
        }
    }

    /// And after.
    pub fn after(phase: &str, e: &io::Error) -> NotTaken {
        NotTaken::perhaps(failure(phase, e).1)
    }
}

/// Before anything of the message had left.
impl From<Failure> for NotTaken {
    fn from(failed: Failure) -> NotTaken {
        NotTaken::before(&failed.phase, &failed.error)
    }
}

/// The receipt, or why there is none. None of the secrets is in it.
pub fn end(cx: Cx<'_>, secrets: &Secrets, outcome: Result<String, NotTaken>) -> Status {
    let not = match outcome {
        Ok(receipt) => return cx.ok(secrets.mask(&receipt)),
        Err(not) => NotTaken {
            why: secrets.mask(&not.why).into_owned(),
            ..not
        },
    };
    if let Some(seconds) = not.retry_after {
        cx.metric(Metric::new("retry_after", seconds as f64).unit("s"));
    }
    match not {
        NotTaken { own: true, why, .. } => {
            cx.message(why);
            Status::Resources
        }
        NotTaken {
            surely: true, why, ..
        } => cx.critical(why),
        NotTaken { why, .. } => cx.unknown(why),
    }
}
