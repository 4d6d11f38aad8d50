//! Whether a result may be judged yet, and who waits for the word of a needed check.

use super::dependency::{Doubted, Needed, PATIENCE_NS, Said, Word, not_judged};
use super::stage::{InFlight, Stage};
use crate::check::{Check, ns};
use crate::director::{Manager, Phase};
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::wire::report::Report;
use healthd_core::wire::worker::Ending;
use healthd_sys::clock;

impl Manager {
    /// Settles whether a result may be judged. None: it waits.
    pub fn decided<'a>(
        &mut self,
        f: Report<'a>,
        flight: InFlight,
        worker: Option<(u32, u32)>,
    ) -> Option<(Report<'a>, InFlight)> {
        // What a worker reports of the target; not what became of a plugin or of a worker.
        let of_target = worker.is_some()
            && f.status != Status::Ok
            && matches!(
                f.ending,
                Ending::Returned | Ending::Fault(Fault::Timeout | Fault::Overrun)
            );
        if !of_target {
            return Some((f, flight));
        }
        match self.word(f.check, f.status, f.finished_ns) {
            Word::Judge => Some((f, flight)),
            Word::NotOk(why) => Some((not_judged(f, Fault::Dependency, &why), flight)),
            Word::Ask { .. } if self.phase != Phase::Running => {
                Some((not_judged(f, Fault::Needed, NOT_ASKED), flight))
            }
            Word::Ask { needed, again } => {
                let id = f.check;
                let doubted = Doubted {
                    finished: f.into_owned(),
                    flight,
                    worker,
                    since_ns: clock::monotonic_ns(),
                };
                if let Some(check) = self.checks.get_mut(id) {
                    check.stage = Stage::Doubted(Box::new(doubted));
                }
                self.wait_for_word(needed, id, again);
                self.publish(id);
                None
            }
        }
    }

    /// One that is not ok speaks for all; else each that has to be asked is.
    fn word(&self, id: u32, status: Status, finished_ns: u64) -> Word {
        let Some(check) = self.checks.get(id) else {
            return Word::Judge;
        };
        let mut word = Word::Judge;
        for needs in &check.spec.needs {
            match (self.word_of(check, needs, status, finished_ns), &word) {
                (Word::NotOk(why), _) => return Word::NotOk(why),
                (ask @ Word::Ask { .. }, Word::Judge) => word = ask,
                _ => {}
            }
        }
        word
    }

    fn word_of(&self, check: &Check, needs: &str, status: Status, seen_ns: u64) -> Word {
        let Some((needed, n)) = self
            .checks
            .find(needs)
            .and_then(|id| Some((id, self.checks.get(id)?)))
        else {
            return Word::Judge;
        };
        if !n.may_speak() {
            return Word::Judge;
        }
        let root = n.lies_behind().then(|| self.checks.root(n)).flatten();
        let is_known =
            check.verdict() == Verdict::from(status) && !check.state.is_soft(check.spec.attempts);
        match Needed::of(n).says(root.map(Needed::of), seen_ns) {
            Said::NotOk(why) => Word::NotOk(why),
            Said::Ok => Word::Judge,
            // It would change nothing.
            Said::Nothing { .. } if is_known => Word::Judge,
            Said::Nothing { again } => Word::Ask { needed, again },
        }
    }

    /// `again`: it was asked a moment ago, and is when time has passed.
    fn wait_for_word(&mut self, needed: u32, id: u32, again: bool) {
        self.schedule.dependents.add(needed, id);
        if !again {
            self.ask(needed);
        }
    }

    /// Has the needed check run as soon as it can.
    fn ask(&mut self, needed: u32) {
        let Some(check) = self.checks.get_mut(needed) else {
            return;
        };
        check.wanted = true;
        if !check.stage.is_busy() {
            self.request_run(needed, clock::monotonic_ns());
            self.publish(needed);
        }
    }

    /// The needed check has a result: who waited for it?
    pub fn settle(&mut self, needed: u32, now: u64) {
        // After most results nobody waits for the check.
        if !self.schedule.dependents.wait_for(needed) {
            return;
        }
        let mut heard = vec![needed];
        while let Some(needed) = heard.pop() {
            for id in self.schedule.dependents.take(needed) {
                if self.settle_one(id, now) {
                    // Others may wait for this one in turn.
                    heard.push(id);
                }
            }
        }
    }

    /// What is needed may be another check from here on, or can be asked no more.
    pub fn settle_all(&mut self, now: u64) {
        for needed in self.schedule.dependents.needed() {
            self.settle(needed, now);
        }
    }

    /// Time has passed. A needed check that cannot speak any more lets all go that wait for it; one that takes too long,
    /// those that have waited longest.
    pub fn look_at_dependents(&mut self, now: u64) {
        for needed in self.schedule.dependents.needed() {
            let may_speak = self.checks.get(needed).is_some_and(Check::may_speak);
            if !may_speak {
                self.settle(needed, now);
                continue;
            }
            while let Some(id) = self.schedule.dependents.longest_waiting(needed) {
                let since = self.checks.get(id).and_then(|c| c.stage.doubted());
                if since.is_some_and(|u| !self.is_over(needed, u.since_ns, now)) {
                    break;
                }
                if let Some(waiting) = self.schedule.dependents.0.get_mut(&needed) {
                    waiting.pop_front();
                }
                if self.settle_one(id, now) {
                    self.settle(id, now);
                }
            }
            match self.schedule.dependents.longest_waiting(needed) {
                Some(_) => self.ask(needed),
                None => drop(self.schedule.dependents.take(needed)),
            }
        }
    }

    fn is_over(&self, needed: u32, since_ns: u64, now: u64) -> bool {
        let Some(check) = self.checks.get(needed) else {
            return true;
        };
        // One that waits for a word itself does so no longer than it may.
        let patience = ns(check.spec.timeout).saturating_mul(2) + PATIENCE_NS;
        check.stage.doubted().is_none() && now.saturating_sub(since_ns) > patience
    }

    /// The needed check was waited for long enough. None: the problem counts. What is no problem yet does not become one
    /// because we were too late: it could not be evaluated either, and ages as anything does of which that is true.
    fn heard_nothing(&self, id: u32, needed: u32) -> Option<(Fault, String)> {
        match self.checks.get(id)?.verdict() {
            Verdict::Ok | Verdict::Pending => {
                let needed = self.checks.get(needed)?;
                Some((Fault::Needed, Needed::of(needed).silence()))
            }
            _ => None,
        }
    }

    /// True: it is judged, or runs again.
    fn settle_one(&mut self, id: u32, now: u64) -> bool {
        let Some(check) = self.checks.get(id) else {
            return false;
        };
        let Some(doubted) = check.stage.doubted() else {
            return false;
        };
        let (f, since) = (&doubted.finished, doubted.since_ns);
        let word = match check.is_another_since(&doubted.flight) {
            // Whatever it said counts no more.
            true => Word::Judge,
            false => self.word(id, f.status, f.finished_ns),
        };
        let why = match word {
            Word::Judge => None,
            Word::NotOk(why) => Some((Fault::Dependency, why)),
            Word::Ask { .. } if self.phase != Phase::Running => {
                Some((Fault::Needed, NOT_ASKED.to_owned()))
            }
            Word::Ask { needed, .. } if self.is_over(needed, since, now) => {
                self.heard_nothing(id, needed)
            }
            Word::Ask { needed, again } => {
                self.wait_for_word(needed, id, again);
                return false;
            }
        };
        let Some(doubted) = self.checks.get_mut(id).and_then(|c| c.stage.settle()) else {
            return false;
        };
        let finished = match why {
            Some((fault, why)) => not_judged(doubted.finished, fault, &why),
            None => doubted.finished,
        };
        self.judge_waited(finished, doubted.flight, doubted.worker);
        true
    }
}

const NOT_ASKED: &str = "the check that it needs cannot be asked any more";
