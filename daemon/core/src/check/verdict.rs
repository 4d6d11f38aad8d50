//! From a result to a verdict: one pure function. What is believed of a check goes in with the result, and what is
//! believed from then on comes out, with what of it is news.
//!
//! A result by our own fault says nothing about the target, so it changes no verdict. But it ages: after `attempts` of
//! them in a row, over `attempts` intervals, nothing is known any more, and the verdict is UNKNOWN.

use super::fault::Fault;
use super::outcome::{Status, Verdict};
use super::tracker::{Change, Tracker};

/// What is mended sooner, as workers that were killed are, makes nobody's verdict old.
const HEALS_NS: u64 = 2_000_000_000;

/// What is believed of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CheckState {
    tracker: Tracker,
    /// Of the last run.
    status: Option<Status>,
    /// It ended by this, and not by the plugin's own word.
    fault: Option<Fault>,
    /// CLOCK_REALTIME: the verdict flipped. 0: never.
    since: u64,
    age: Age,
    /// Oks in a row, while it has a problem.
    oks: u32,
    /// CLOCK_REALTIME: the last run that was ok. 0: none is known.
    last_ok: u64,
}

/// For how long nobody could judge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Age {
    /// Results in a row.
    unjudged: u32,
    /// CLOCK_MONOTONIC: the first of them. 0: there is none.
    from_ns: u64,
    /// CLOCK_MONOTONIC: since then nothing is known. 0: it is.
    lapsed_ns: u64,
    /// CLOCK_MONOTONIC: the last of them that a needed check has explained, which is not ok. 0: none.
    behind_ns: u64,
}

/// What a run said, or what is said in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    pub fault: Option<Fault>,
    /// CLOCK_MONOTONIC: it was due and begun.
    pub began_ns: u64,
}

/// What the config says about its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub attempts: u32,
    pub interval_ns: u64,
    pub retry_ns: u64,
    /// Oks in a row until a problem is over.
    pub recover: u32,
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub monotonic_ns: u64,
    pub realtime_ns: u64,
}

/// What is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Flipped(Change),
    /// A run ended by our own fault, and the one before it did not by the same.
    NotJudged(Fault),
}

/// What comes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub state: CheckState,
    pub news: Option<News>,
    /// A problem not yet sure is looked at again by then. CLOCK_MONOTONIC.
    pub retry_ns: Option<u64>,
}

pub fn judge(before: CheckState, outcome: Outcome, rules: Rules, now: Moment) -> Judged {
    let mut state = before;
    state.status = Some(outcome.status);
    state.fault = outcome.fault;
    let own = outcome.fault.filter(|f| f.is_own());
    let change = match own {
        Some(fault) => state.unjudged(fault, rules, now.monotonic_ns),
        None => {
            state.age = Age::default();
            match state.counts(outcome.status, rules.recover) {
                true => state.tracker.observe(outcome.status, rules.attempts),
                false => None,
            }
        }
    };
    if change.is_some() {
        state.since = now.realtime_ns;
    }
    if own.is_none() && outcome.status == Status::Ok {
        state.last_ok = now.realtime_ns;
    }
    let begins = own.filter(|fault| Some(*fault) != before.fault);
    let news = change.map(News::Flipped);
    let is_soft = own.is_none() && state.tracker.is_soft(rules.attempts);
    Judged {
        state,
        news: news.or(begins.map(News::NotJudged)),
        retry_ns: is_soft.then(|| outcome.began_ns.saturating_add(rules.retry_ns)),
    }
}

impl CheckState {
    /// An ok that does not is one of those that are still too few: the verdict and its attempts stay as they are.
    fn counts(&mut self, status: Status, recover: u32) -> bool {
        if status != Status::Ok {
            self.oks = 0;
            return true;
        }
        self.oks = self.oks.saturating_add(1);
        let is_well = matches!(self.verdict(), Verdict::Ok | Verdict::Pending);
        is_well || self.tracker.is_assumed() || self.oks >= recover
    }

    fn unjudged(&mut self, fault: Fault, rules: Rules, now: u64) -> Option<Change> {
        let age = &mut self.age;
        age.unjudged = age.unjudged.saturating_add(1);
        if age.from_ns == 0 {
            age.from_ns = now;
        }
        if fault == Fault::Dependency {
            age.behind_ns = now;
        }
        let bound = rules.interval_ns.saturating_mul(u64::from(rules.attempts));
        let bound = bound.max(HEALS_NS);
        let is_over = age.unjudged >= rules.attempts && now.saturating_sub(age.from_ns) >= bound;
        if !is_over {
            return None;
        }
        if age.lapsed_ns == 0 {
            age.lapsed_ns = now;
        }
        // Behind an uplink that is down a check keeps its verdict: the uplink's own says what is the matter. Its row is stale.
        // So the time behind it makes no later fault of ours old either.
        match now.saturating_sub(age.behind_ns.max(age.from_ns)) >= bound {
            true => self.tracker.give_up(),
            false => None,
        }
    }

    /// As it was saved. What was not judged then counts from here on anew.
    pub fn restore(
        verdict: Verdict,
        against: u32,
        status: Option<Status>,
        fault: Option<Fault>,
        since: u64,
        last_ok: u64,
    ) -> CheckState {
        let is_own = fault.is_some_and(Fault::is_own);
        let tracker = Tracker::restore(verdict, against, is_own);
        CheckState {
            age: Age {
                lapsed_ns: u64::from(tracker.is_assumed()),
                ..Age::default()
            },
            tracker,
            status,
            fault,
            since,
            oks: 0,
            last_ok,
        }
    }

    pub fn verdict(&self) -> Verdict {
        self.tracker.verdict()
    }

    pub fn status(&self) -> Option<Status> {
        self.status
    }

    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The last run ended by our own fault.
    pub fn is_unjudged(&self) -> bool {
        self.fault.is_some_and(Fault::is_own)
    }

    pub fn since(&self) -> u64 {
        self.since
    }

    /// CLOCK_REALTIME.
    pub fn last_ok(&self) -> Option<u64> {
        (self.last_ok != 0).then_some(self.last_ok)
    }

    /// 1 while ok; else the number of the last attempt.
    pub fn attempt(&self) -> u32 {
        self.tracker.attempt()
    }

    /// Results in a row that speak against it.
    pub fn against(&self) -> u32 {
        self.tracker.against()
    }

    /// A problem was seen that is not yet the verdict.
    pub fn is_soft(&self, attempts: u32) -> bool {
        self.tracker.is_soft(attempts)
    }

    /// CLOCK_MONOTONIC: nothing is known since then, as nobody could judge. None: it is known.
    pub fn lapsed_ns(&self) -> Option<u64> {
        (self.age.lapsed_ns != 0).then_some(self.age.lapsed_ns)
    }

    /// Results in a row that nobody could judge.
    pub fn unjudged_runs(&self) -> u32 {
        self.age.unjudged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    #[test]
    fn a_problem_ends_after_so_many_oks_in_a_row() {
        let rules = Rules {
            attempts: 1,
            recover: 3,
            ..RULES
        };
        let mut state = CheckState::default();
        let mut told = Vec::new();
        use Status::{Critical, Ok};
        for (n, status) in [Ok, Critical, Ok, Ok, Critical, Ok, Ok, Ok, Critical]
            .into_iter()
            .enumerate()
        {
            let n = n as u64 + 1;
            let outcome = Outcome {
                status,
                fault: None,
                began_ns: n * S,
            };
            let moment = Moment {
                monotonic_ns: n * S,
                realtime_ns: n * S,
            };
            let judged = judge(state, outcome, rules, moment);
            state = judged.state;
            if let Some(News::Flipped(change)) = judged.news {
                told.push((n, change.to));
            }
        }
        let expected = [
            (1, Verdict::Ok),
            (2, Verdict::Critical),
            (8, Verdict::Ok),
            (9, Verdict::Critical),
        ];
        assert_eq!(told, expected);
    }

    const RULES: Rules = Rules {
        attempts: 3,
        interval_ns: 10 * S,
        retry_ns: 2 * S,
        recover: 1,
    };

    fn result(status: Status, fault: Option<Fault>, at: u64) -> (Outcome, Moment) {
        let outcome = Outcome {
            status,
            fault,
            began_ns: at,
        };
        let now = Moment {
            monotonic_ns: at,
            realtime_ns: 1_000_000 * S + at,
        };
        (outcome, now)
    }

    fn feed(state: &mut CheckState, status: Status, fault: Option<Fault>, at: u64) -> Judged {
        let (outcome, now) = result(status, fault, at);
        let judged = judge(*state, outcome, RULES, now);
        *state = judged.state;
        judged
    }

    fn ours(state: &mut CheckState, at: u64) -> Option<News> {
        feed(state, Status::Unknown, Some(Fault::NoWorker), at).news
    }

    fn flipped(from: Verdict, to: Verdict) -> Option<News> {
        Some(News::Flipped(Change { from, to }))
    }

    #[test]
    fn our_own_fault_is_told_once_and_ages_into_unknown() {
        let mut state = CheckState::default();
        feed(&mut state, Status::Ok, None, 100 * S);
        assert_eq!(
            ours(&mut state, 110 * S),
            Some(News::NotJudged(Fault::NoWorker))
        );
        assert_eq!(ours(&mut state, 120 * S), None);
        assert_eq!(ours(&mut state, 130 * S), None);
        assert_eq!((state.verdict(), state.lapsed_ns()), (Verdict::Ok, None));
        assert_eq!(
            ours(&mut state, 140 * S),
            flipped(Verdict::Ok, Verdict::Unknown)
        );
        assert_eq!(state.lapsed_ns(), Some(140 * S));
        assert_eq!(state.since(), 1_000_140 * S);
        assert_eq!(state.fault(), Some(Fault::NoWorker));
        assert_eq!(ours(&mut state, 145 * S), None, "that is known");
        assert_eq!(state.lapsed_ns(), Some(140 * S));
        let well = feed(&mut state, Status::Ok, None, 150 * S);
        assert_eq!(well.news, flipped(Verdict::Unknown, Verdict::Ok));
        assert_eq!(state.lapsed_ns(), None);
    }

    #[test]
    fn many_runs_in_a_moment_do_not_age() {
        let mut state = CheckState::default();
        feed(&mut state, Status::Ok, None, 100 * S);
        for n in 1..100 {
            ours(&mut state, 100 * S + n);
        }
        assert_eq!((state.verdict(), state.lapsed_ns()), (Verdict::Ok, None));
        // A result that is judged begins anew.
        feed(&mut state, Status::Critical, None, 129 * S);
        ours(&mut state, 131 * S);
        assert_eq!(state.lapsed_ns(), None);
    }

    #[test]
    fn what_heals_at_once_makes_no_verdict_old() {
        let hasty = Rules {
            attempts: 1,
            interval_ns: S / 10,
            retry_ns: S / 10,
            recover: 1,
        };
        let mut state = CheckState::default();
        feed(&mut state, Status::Ok, None, 100 * S);
        for (at, verdict) in [(101, Verdict::Ok), (103, Verdict::Unknown)] {
            let (outcome, now) = result(Status::Unknown, Some(Fault::WorkerDied), at * S);
            state = judge(state, outcome, hasty, now).state;
            assert_eq!(state.verdict(), verdict);
        }
    }

    #[test]
    fn one_that_was_never_judged_ages_from_its_first_run_on() {
        let mut state = CheckState::default();
        for at in [10, 20, 30] {
            ours(&mut state, at * S);
            assert_eq!(state.verdict(), Verdict::Pending);
        }
        assert_eq!(
            ours(&mut state, 40 * S),
            flipped(Verdict::Pending, Verdict::Unknown)
        );
    }

    #[test]
    fn behind_an_uplink_the_verdict_is_kept_and_the_row_is_stale() {
        let mut state = CheckState::default();
        feed(&mut state, Status::Ok, None, 100 * S);
        for at in [110, 120, 130, 140] {
            feed(&mut state, Status::Unknown, Some(Fault::Dependency), at * S);
        }
        assert_eq!(state.verdict(), Verdict::Ok);
        assert_eq!(state.lapsed_ns(), Some(140 * S));
    }

    #[test]
    fn the_time_behind_an_uplink_makes_no_fault_of_ours_old() {
        let mut state = CheckState::default();
        feed(&mut state, Status::Ok, None, 100 * S);
        for at in [110, 120, 130, 140, 150] {
            feed(&mut state, Status::Unknown, Some(Fault::Dependency), at * S);
        }
        for at in [160, 170, 179] {
            ours(&mut state, at * S);
            let stale = (state.verdict(), state.lapsed_ns());
            assert_eq!(stale, (Verdict::Ok, Some(140 * S)));
        }
        assert_eq!(
            ours(&mut state, 180 * S),
            flipped(Verdict::Ok, Verdict::Unknown)
        );
    }

    #[test]
    fn a_problem_not_yet_sure_is_looked_at_again_sooner() {
        let mut state = CheckState::default();
        let soft = feed(&mut state, Status::Critical, None, 100 * S);
        assert_eq!((soft.news, soft.retry_ns), (None, Some(102 * S)));
        assert_eq!(feed(&mut state, Status::Ok, None, 102 * S).retry_ns, None);
        // Our own fault is no attempt.
        feed(&mut state, Status::Critical, None, 110 * S);
        let ours = feed(&mut state, Status::Unknown, Some(Fault::Starved), 112 * S);
        assert_eq!((ours.retry_ns, state.against()), (None, 1));
        feed(&mut state, Status::Critical, None, 114 * S);
        let sure = feed(&mut state, Status::Critical, None, 116 * S);
        assert_eq!(sure.news, flipped(Verdict::Ok, Verdict::Critical));
        assert_eq!(sure.retry_ns, None);
    }

    #[test]
    fn a_plugins_fault_counts_as_a_result() {
        let mut state = CheckState::default();
        for at in [1, 2, 3] {
            feed(&mut state, Status::Unknown, Some(Fault::Crash), at * S);
        }
        assert_eq!(
            (state.verdict(), state.lapsed_ns()),
            (Verdict::Unknown, None)
        );
    }

    #[test]
    fn what_is_not_known_is_not_known_after_a_restart_either() {
        let restored = |verdict, fault| CheckState::restore(verdict, 0, None, fault, 7, 0);
        let ours = Some(Fault::WorkerDied);
        assert!(restored(Verdict::Unknown, ours).lapsed_ns().is_some());
        for (verdict, fault) in [
            (Verdict::Unknown, Some(Fault::Crash)),
            (Verdict::Unknown, None),
            (Verdict::Ok, ours),
        ] {
            assert_eq!(restored(verdict, fault).lapsed_ns(), None);
        }
        let mut state = restored(Verdict::Unknown, ours);
        feed(&mut state, Status::Critical, None, 10 * S);
        assert_eq!(state.verdict(), Verdict::Unknown, "one of three attempts");
    }
}
