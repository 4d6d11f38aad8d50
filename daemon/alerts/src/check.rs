//! One check, as alerts see it: what is believed of it, since when, and in which notices it is.

use crate::flap::Flap;
use crate::rate::Rate;
use crate::time::{Now, SECOND};
use healthd_core::check::outcome::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;

pub type Labels = Arc<BTreeMap<String, String>>;

/// How a check stands: what the caller says of it, whenever its verdict flips.
#[derive(Clone, Debug)]
pub struct Standing {
    pub verdict: Verdict,
    /// What it was before, for a check of which nothing was heard until now.
    pub was: Verdict,
    pub message: String,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    pub labels: Labels,
    /// The check that this one needs, if that is why it is bad: then it is no problem of its own.
    pub behind: Option<Arc<str>>,
    /// So many flips in so long, and it flaps. None: it never does.
    pub flap: Option<Rate>,
}

#[derive(Clone, Debug)]
pub struct Check {
    pub now: Heard,
    /// What it was before, and is said to have been.
    pub was: Verdict,
    pub message: String,
    pub labels: Labels,
    pub behind: Option<Arc<str>>,
    /// The one below which the engine has it in its list.
    pub listed: Option<Arc<str>>,
    /// The wall clock's, of `now`.
    pub since: u64,
    /// When the problem that it has, or had, began: by the wall clock, and by the monotonic one.
    pub bad_since: u64,
    pub bad_from: u64,
    /// The monotonic clock's, of the last change.
    pub changed: u64,
    flap_rate: Option<Rate>,
    flap: Flap,
    /// It is ok, and flaps: until then that is not believed.
    settles: Option<u64>,
    /// By route.
    pub notices: Vec<(Arc<str>, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nobody has said anything since the start.
    Nothing,
    Verdict(Verdict),
    /// It is not there any more.
    Removed,
}

impl Check {
    pub fn unheard() -> Check {
        Check {
            now: Heard::Nothing,
            was: Verdict::Pending,
            message: String::new(),
            labels: Labels::default(),
            behind: None,
            listed: None,
            since: 0,
            bad_since: 0,
            bad_from: 0,
            changed: 0,
            flap_rate: None,
            flap: Flap::default(),
            settles: None,
            notices: Vec::new(),
        }
    }

    pub fn hear(&mut self, standing: Standing, now: Now) {
        let was_bad = self.is_bad();
        let old = match self.now {
            Heard::Verdict(v) => v,
            Heard::Nothing | Heard::Removed => standing.was,
        };
        let lay_behind = self.behind.is_some() || standing.behind.is_some();
        self.labels = standing.labels;
        self.behind = standing.behind;
        self.flap_rate = standing.flap;
        self.message = standing.message;
        if self.now == Heard::Verdict(standing.verdict) || standing.verdict == Verdict::Pending {
            return;
        }
        let first = matches!(self.now, Heard::Nothing | Heard::Removed);
        self.was = old;
        self.since = standing.since;
        self.changed = now.mono;
        self.now = Heard::Verdict(standing.verdict);
        let well = standing.verdict == Verdict::Ok;
        // What it needs flips, and not the check itself.
        if !first && !lay_behind && well != (old == Verdict::Ok) {
            self.flap.flipped(self.flap_rate, now.mono);
        }
        if well {
            let held = (was_bad && !first)
                .then(|| self.flap.believe_at(self.flap_rate, now.mono))
                .flatten();
            self.settles = held;
            // What is not believed yet is the problem that it was.
            return;
        }
        if self.settles.take().is_some() {
            self.flap.was_in_vain();
        } else if !was_bad {
            self.bad_since = standing.since;
            self.bad_from = now.mono_before(standing.since);
        }
    }

    pub fn remove(&mut self, now: Now) {
        if let Heard::Verdict(v) = self.now {
            self.was = v;
        }
        self.now = Heard::Removed;
        self.settles = None;
        self.behind = None;
        self.since = now.wall;
        self.message = "the check was removed from the config".to_owned();
    }

    /// True: it was ok long enough, and is believed.
    pub fn settle(&mut self, now: u64) -> bool {
        let settled = self.settles.is_some_and(|at| at <= now);
        if settled {
            self.settles = None;
            self.flap.settled();
        }
        let over = self.flap.over_at(self.flap_rate);
        if self.settles.is_none() && over.is_some_and(|at| at <= now) {
            self.flap.settled();
        }
        settled
    }

    /// The problem that it has; a check that flaps keeps the one that it had.
    pub fn problem(&self) -> Option<Verdict> {
        match self.now {
            Heard::Verdict(Verdict::Ok) if self.settles.is_some() => Some(self.was),
            Heard::Verdict(v @ (Verdict::Warning | Verdict::Critical | Verdict::Unknown)) => {
                Some(v)
            }
            Heard::Verdict(Verdict::Ok | Verdict::Pending) | Heard::Nothing | Heard::Removed => {
                None
            }
        }
    }

    pub fn is_bad(&self) -> bool {
        self.problem().is_some()
    }

    pub fn is_over(&self) -> bool {
        !self.is_bad() && !matches!(self.now, Heard::Nothing)
    }

    /// It is well: from then on it has been so for twice as long as it was bad, or it is ten seconds since that began. None: it
    /// never flaps. So who is told at once of what goes up and down is not told of each time.
    pub fn calm_at(&self) -> Option<u64> {
        let is_well = self.now == Heard::Verdict(Verdict::Ok);
        self.flap_rate.filter(|_| is_well)?;
        let was_bad = self.changed.saturating_sub(self.bad_from);
        let twice = self.changed.saturating_add(2 * was_bad);
        Some(twice.min(self.bad_from.saturating_add(CALM)))
    }

    pub fn flaps(&self) -> bool {
        self.settles.is_some()
    }

    pub fn next(&self) -> Option<u64> {
        self.settles.or_else(|| self.flap.over_at(self.flap_rate))
    }

    /// Nothing about it has to be remembered.
    pub fn is_forgettable(&self) -> bool {
        self.notices.is_empty() && !self.is_bad() && self.flap.is_still()
    }

    pub fn notice_on(&self, route: &str) -> Option<u64> {
        let here = self.notices.iter().find(|(name, _)| &**name == route);
        here.map(|(_, id)| *id)
    }
}

/// What was bad for so long is over as soon as it is well.
const CALM: u64 = 10 * SECOND;
