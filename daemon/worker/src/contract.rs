//! What a plugin does against the contract of the header beyond what it returns: it leaves a limit, an alarm, a handler
//! behind. That is put back, named, and nobody's verdict: its run is UNKNOWN, and so is that of a neighbour which may
//! have suffered from it.
//!
//! A call on a thread is watched by itself, the steps of a turn of the reactor together: each look is some system calls,
//! and a step is short. Only a plugin's first steps are looked at one by one, and so is each once something was found. Threads that steps make are counted where they are made, which costs next to nothing.
//!
//! Runs in: pool threads around each call, and the reactor.

use crate::bill::Ended;
use crate::verdict::{End, join};
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::wire::worker::Ending;
use healthd_sys::leftovers::{Before, handlers_back, threads};
use healthd_sys::threads::{self as whose, WorksFor};
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

    /// One step by itself: its threads are counted where they are made.
    fn step() -> Watched {
        Watched::enter(Before::look(!CHANGES_FILES.load(SeqCst)), None)
    }

    /// Steps, of which there are many: the rest of what they may leave is looked at once a second.
    fn steps() -> Watched {
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

/// So many steps of each plugin are watched by themselves.
const FIRST_STEPS: u8 = 8;
/// What a run's threads need at most to end after it. Only what lasts for longer has stayed.
const WINDOW_NS: u64 = 100_000_000;

/// The threads that the steps of one plugin have made and that live. Those of runs under way may be needed, and those of a
/// run that has just ended may be about to end. So the fewest count that there were beyond them, of some time each.
#[derive(Debug, Default)]
struct Growing {
    /// As many as one run has made.
    a_run: u32,
    since_ns: u64,
    fewest: Option<u32>,
    before: u32,
    in_a_row: u32,
}

impl Growing {
    /// A run has ended that has made so many; so many live, and other runs are under way.
    fn ended(&mut self, now_ns: u64, made: u32, live: u32, running: u32) {
        self.a_run = self.a_run.max(made);
        let beyond = live.saturating_sub(self.a_run.saturating_mul(running));
        let fewest = self.fewest.map_or(beyond, |fewest| fewest.min(beyond));
        self.fewest = Some(fewest);
        if now_ns.saturating_sub(self.since_ns) >= WINDOW_NS {
            let more = fewest > self.before;
            self.in_a_row = if more { self.in_a_row + 1 } else { 0 };
            self.before = fewest;
            self.fewest = None;
            self.since_ns = now_ns;
        }
    }

    fn is_too_many(&self) -> bool {
        self.in_a_row >= IN_A_ROW && self.before >= IN_A_ROW
    }
}

/// Threads that are made from here on are the plugin's.
pub fn works_for(plugin: u16) -> WorksFor {
    WorksFor::owner(plugin.wrapping_add(1))
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
    /// By plugin: how many of its steps were watched by themselves.
    seen: Vec<u8>,
    /// Of this thread, when all plugins were loaded.
    loaded: Option<Before>,
    growing: BTreeMap<u16, Growing>,
}

/// What the steps of a turn have left behind.
pub struct LeftByTurn {
    pub breach: Breach,
    /// The run that it was, and the call, if only one was stepped.
    pub by: Option<(u64, &'static str)>,
}

impl Steps {
    /// All plugins are loaded: so the process is to stay.
    pub fn loaded(&mut self) {
        self.loaded = Some(Before::look(!CHANGES_FILES.load(SeqCst)));
    }

    /// A step is about to be made. Some: it is watched by itself.
    pub fn enter(&mut self, key: u64, call: &'static str, plugin: u16) -> Option<Watched> {
        if self.each || self.is_one_of_the_first(plugin) {
            return Some(Watched::step());
        }
        self.watched.get_or_insert_with(Watched::steps);
        match self.first {
            Some((first, _)) if first != key => self.several = true,
            _ => self.first = Some((key, call)),
        }
        None
    }

    fn is_one_of_the_first(&mut self, plugin: u16) -> bool {
        let at = usize::from(plugin);
        if self.seen.len() <= at {
            self.seen.resize(at + 1, 0);
        }
        let seen = &mut self.seen[at];
        let is_first = *seen < FIRST_STEPS;
        *seen += u8::from(is_first);
        is_first
    }

    /// Something was found: from now on each step is watched by itself.
    pub fn found(&mut self) {
        self.each = true;
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

    /// What steps have done that a glance does not show; once a second, between turns. While a call is under way it may
    /// do with limits what it likes. Some: why this process must go.
    pub fn all_back(&mut self) -> Option<String> {
        let whole = self.loaded.as_ref().filter(|_| INSIDE.load(SeqCst) == 0);
        let left = match whole {
            Some(loaded) => loaded.put_back(),
            None => handlers_back(),
        };
        let left = left?;
        self.each = true;
        let what = left.to_string();
        log::warn!("a plugin breaks its contract: it left {what} behind");
        if !left.stays {
            return None;
        }
        let _ = BROKEN.set(what.clone());
        Some(format!("a plugin left {what} behind"))
    }

    /// A run has ended whose steps have made so many threads, with so many other runs of its plugin under way. Some: they
    /// make more with each run.
    pub fn ended(&mut self, plugin: u16, made: u32, running: u32, now_ns: u64) -> Option<Breach> {
        let live = whose::live(plugin.wrapping_add(1));
        if live == 0 {
            return None;
        }
        let growing = self.growing.entry(plugin).or_default();
        growing.ended(now_ns, made, live, running);
        let so_far = growing.before;
        (made > 0 && growing.is_too_many()).then(|| Breach {
            what: format!("{made} more threads ({so_far} so far)"),
            certain: true,
            stays: u64::from(so_far) > MOST,
        })
    }
}

impl Breach {
    /// The same for a run whose result is made, and not on its way. True: it is another now, and news.
    pub(crate) fn amend(&self, ended: &mut Ended, plugin: &str, call: &str) -> bool {
        let end = self.end(
            plugin,
            call,
            End {
                status: ended.end.status,
                ending: ended.end.ending,
                why: String::new(),
            },
        );
        if end.why.is_empty() {
            return false;
        }
        (ended.end.status, ended.end.ending) = (end.status, end.ending);
        ended.said.message = join(end.why, std::mem::take(&mut ended.said.message));
        ended.leave_by = 0;
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

    #[test]
    fn what_runs_under_way_need_is_no_leak_of_steps() {
        // More runs at once each time, each with two threads that end shortly after it.
        let mut busy = Growing::default();
        for round in 1..50 {
            let at_once = 1 + round % 9;
            for ended in 0..at_once {
                let under_way = at_once - ended - 1;
                let now = u64::from(round) * WINDOW_NS;
                busy.ended(now, 2, 2 * (under_way + 1), under_way);
                assert!(!busy.is_too_many(), "{busy:?}");
            }
        }
        // A runtime has made its threads in its first run, and keeps them.
        let mut runtime = Growing::default();
        for round in 1..50 {
            runtime.ended(round * WINDOW_NS, u32::from(round == 1) * 8, 8, 0);
            assert!(!runtime.is_too_many(), "{runtime:?}");
        }
        let mut leak = Growing::default();
        for round in 1..=3 {
            leak.ended(u64::from(round) * WINDOW_NS, 2, 2 * round, 0);
            assert!(!leak.is_too_many(), "{leak:?}");
        }
        // However many end within the time of one.
        for live in 7..20 {
            leak.ended(3 * WINDOW_NS + 1, 2, live, 0);
            assert!(!leak.is_too_many(), "{leak:?}");
        }
        leak.ended(4 * WINDOW_NS, 2, 22, 0);
        assert!(leak.is_too_many(), "{leak:?}");
    }
}
