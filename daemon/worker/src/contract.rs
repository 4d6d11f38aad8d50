//! What a plugin does against the contract of the header beyond what it returns: it leaves a limit, an alarm, a handler
//! behind. That is put back, named, and nobody's verdict: its run is UNKNOWN, and so is that of a neighbour which may
//! have suffered from it.
//!
//! A call on a thread is watched by itself, the steps of a turn of the reactor together: each look is some system calls,
//! and a step is short. Once a turn was found to leave something, and nobody knows which of its runs it was, each step is.
//!
//! Runs in: pool threads around each call, and the reactor.

use crate::verdict::{End, join};
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::wire::worker::{Ending, Finished};
use healthd_sys::leftovers::{Before, signals_back, threads};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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

/// By plugin: what its calls have left running.
static THREADS: Mutex<BTreeMap<u16, Threads>> = Mutex::new(BTreeMap::new());

/// A runtime makes its threads in its first calls, and keeps them. Who leaves some in so many calls in a row makes them for
/// each, and when there are so many of them the worker is replaced.
const IN_A_ROW: u32 = 4;
const MOST: u64 = 64;
/// What was joined or told to end may take so long to be gone.
const DYING: Duration = Duration::from_millis(50);

/// A call under way.
pub struct Watched {
    /// How many there were; None: nobody looks.
    threads: Option<u64>,
    before: Before,
    number: u64,
    alone: bool,
}

/// What was found after it.
#[derive(Clone, Debug)]
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
        let threads = threads();
        Watched::enter(Before::look(!CHANGES_FILES.load(SeqCst)), threads)
    }

    /// Steps, of which there are many: handlers of signals are looked at once a second.
    pub fn steps() -> Watched {
        Watched::enter(Before::glance(!CHANGES_FILES.load(SeqCst)), None)
    }

    fn enter(before: Before, threads: Option<u64>) -> Watched {
        Watched {
            threads,
            alone: INSIDE.fetch_add(1, SeqCst) == 0,
            number: ENTERED.fetch_add(1, SeqCst),
            before,
        }
    }

    pub fn leave(self, plugin: u16) -> Option<Breach> {
        let left = self.before.put_back();
        // Else they may be anybody's.
        let is_alone = || self.alone && ENTERED.load(SeqCst) == self.number + 1;
        let running = match self.threads.filter(|_| is_alone()) {
            Some(before) => left_running(plugin, before),
            None => None,
        };
        let alone = is_alone();
        INSIDE.fetch_sub(1, SeqCst);
        let Some(left) = left else {
            if let Some(breach) = running.filter(|_| alone) {
                return Some(breach);
            }
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

/// What the calls of one plugin have left running.
#[derive(Debug, Default, PartialEq, Eq)]
struct Threads {
    in_a_row: u32,
    /// All that they have left, less those that have ended.
    left: u64,
    /// Of the process, after the last call.
    then: u64,
}

impl Threads {
    /// A call has been made; so many threads there were before it, and after it.
    fn called(&mut self, before: u64, after: u64) {
        self.left = self.left.saturating_sub(self.then.saturating_sub(before));
        let more = after.saturating_sub(before);
        self.in_a_row = if more > 0 { self.in_a_row + 1 } else { 0 };
        self.left += more;
        self.then = after;
    }

    fn is_too_many(&self) -> bool {
        self.in_a_row >= IN_A_ROW && self.left >= u64::from(IN_A_ROW)
    }
}

fn left_running(plugin: u16, before: u64) -> Option<Breach> {
    let mut all = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = all.entry(plugin).or_default();
    let mut after = threads()?;
    if after > before && known.in_a_row + 1 >= IN_A_ROW {
        let until = Instant::now() + DYING;
        while after > before && Instant::now() < until {
            std::thread::yield_now();
            after = threads()?;
        }
    }
    known.called(before, after);
    known.is_too_many().then(|| Breach {
        what: format!(
            "{} more threads ({} so far)",
            after.saturating_sub(before),
            known.left
        ),
        certain: true,
        stays: known.left > MOST,
    })
}

/// The steps of a turn.
#[derive(Default)]
pub struct Steps {
    watched: Option<Watched>,
    /// The run that was stepped, and the call; of several the first.
    first: Option<(u64, &'static str)>,
    several: bool,
    /// Which of several it was could not be told once.
    each: bool,
}

/// What the steps of a turn have left behind.
pub struct LeftByTurn {
    pub breach: Breach,
    /// The run that it was, and the call, if only one was stepped.
    pub by: Option<(u64, &'static str)>,
}

impl Steps {
    /// A step is about to be made. Some: it is watched by itself.
    pub fn enter(&mut self, key: u64, call: &'static str) -> Option<Watched> {
        if self.each {
            return Some(Watched::steps());
        }
        self.watched.get_or_insert_with(Watched::steps);
        match self.first {
            Some((first, _)) if first != key => self.several = true,
            _ => self.first = Some((key, call)),
        }
        None
    }

    /// The turn is over.
    pub fn leave(&mut self) -> Option<LeftByTurn> {
        let by = self.first.take().filter(|_| !self.several);
        self.several = false;
        let mut breach = self.watched.take()?.leave(u16::MAX)?;
        breach.certain &= by.is_some();
        self.each |= by.is_none();
        Some(LeftByTurn { breach, by })
    }
}

impl Breach {
    /// The same for a run whose result is made, and not on its way. True: it is another now.
    pub fn amend(&self, finished: &mut Finished, plugin: &str, call: &str) -> bool {
        let end = self.end(
            plugin,
            call,
            End {
                status: finished.status,
                ending: finished.ending,
                why: String::new(),
            },
        );
        if end.why.is_empty() {
            return false;
        }
        (finished.status, finished.ending) = (end.status, end.ending);
        finished.message = join(end.why, std::mem::take(&mut finished.message));
        true
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_keeps_its_threads_and_a_leak_goes_on() {
        let mut runtime = Threads::default();
        for (before, after) in [(5, 12), (12, 13), (13, 14), (14, 14), (14, 15), (15, 15)] {
            runtime.called(before, after);
            assert!(!runtime.is_too_many(), "{runtime:?}");
        }
        let mut leak = Threads::default();
        for n in 0..3 {
            leak.called(5 + n, 6 + n);
            assert!(!leak.is_too_many(), "{leak:?}");
        }
        leak.called(8, 9);
        assert!(leak.is_too_many(), "{leak:?}");
        // One that each call leaves for a while is not many.
        let mut slow = Threads::default();
        for _ in 0..10 {
            slow.called(5, 6);
            assert!(!slow.is_too_many(), "{slow:?}");
        }
    }
}
