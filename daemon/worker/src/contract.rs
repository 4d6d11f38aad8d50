//! What a plugin does against the contract of the header beyond what it returns: it leaves a limit, an alarm, a handler
//! behind. That is put back, named, and nobody's verdict: its run is UNKNOWN, and so is that of a neighbour which may
//! have suffered from it.
//!
//! Runs in: pool threads around each call, and the reactor around the calls of a step-lane run.

use crate::verdict::End;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::wire::worker::Ending;
use healthd_sys::leftovers::{Before, signals_back};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// The worker itself changes its limit of open files while it starts programs.
static CHANGES_FILES: AtomicBool = AtomicBool::new(false);
/// What could not be put back: until this worker is replaced, what is not well in it may be so for that.
static BROKEN: OnceLock<String> = OnceLock::new();
/// Calls that were entered, and that are under way.
static ENTERED: AtomicU64 = AtomicU64::new(0);
static INSIDE: AtomicU64 = AtomicU64::new(0);

pub fn starts_programs() {
    CHANGES_FILES.store(true, SeqCst);
}

/// What steps have done to the handlers of signals; once a second.
pub fn handlers_back() {
    let changed: Vec<&str> = signals_back().collect();
    if !changed.is_empty() {
        log::warn!(
            "a plugin breaks its contract: it left other handlers for {} behind; put back",
            changed.join(", ")
        );
    }
}

pub fn is_broken() -> bool {
    BROKEN.get().is_some()
}

/// A call under way.
pub struct Watched {
    before: Before,
    number: u64,
    alone: bool,
}

/// What was found after it.
#[derive(Debug)]
pub struct Breach {
    pub what: String,
    /// No other call was under way, so it was this one.
    pub certain: bool,
    /// The process cannot go on as it is.
    pub stays: bool,
}

impl Watched {
    /// A call on a thread of its own.
    pub fn call() -> Watched {
        Watched::enter(Before::look(!CHANGES_FILES.load(SeqCst)))
    }

    /// A step, of which there are many: handlers of signals are looked at once a second.
    pub fn step() -> Watched {
        Watched::enter(Before::glance(!CHANGES_FILES.load(SeqCst)))
    }

    fn enter(before: Before) -> Watched {
        Watched {
            alone: INSIDE.fetch_add(1, SeqCst) == 0,
            number: ENTERED.fetch_add(1, SeqCst),
            before,
        }
    }

    pub fn leave(self) -> Option<Breach> {
        let left = self.before.put_back();
        let alone = self.alone && ENTERED.load(SeqCst) == self.number + 1;
        INSIDE.fetch_sub(1, SeqCst);
        let Some(left) = left else {
            return BROKEN.get().map(|what| Breach {
                what: what.clone(),
                certain: false,
                stays: false,
            });
        };
        let what = left.to_string();
        if left.stays {
            let _ = BROKEN.set(what.clone());
        }
        Some(Breach {
            what,
            certain: alone,
            stays: left.stays,
        })
    }
}

impl Breach {
    /// How a run ends in or beside which that happened.
    pub fn end(&self, plugin: &str, call: &str, end: End) -> End {
        if self.certain {
            let why = format!(
                "plugin `{plugin}` left {} behind in {call}, which its contract forbids",
                self.what
            );
            return End::fault(Fault::PluginError, why);
        }
        match end {
            // What went well in spite of it is well.
            End {
                status: Status::Ok, ..
            } => end,
            End {
                ending: Ending::Returned | Ending::Fault(Fault::Timeout),
                ..
            } => {
                let text = format!("a plugin left {} behind, here or beside it", self.what);
                End::own(Fault::Resources, &text)
            }
            end => end,
        }
    }
}
