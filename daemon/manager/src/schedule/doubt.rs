//! Whether a result may be judged yet, and who waits for the word of a needed check.

use super::dependency::{Doubted, PATIENCE_NS, Word, not_judged};
use super::stage::{InFlight, Stage};
use crate::check::{Check, ns};
use crate::director::{Manager, Phase};
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::wire::worker::{Ending, Finished};
use healthd_sys::clock;

impl Manager {
    /// Settles whether a result may be judged. None: it waits.
    pub fn decided(
        &mut self,
        f: Finished,
        flight: InFlight,
        worker: Option<(u32, u32)>,
    ) -> Option<(Finished, InFlight)> {
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
            Word::NotOk(why) => Some((not_judged(f, &why), flight)),
            Word::Ask(_) if self.phase != Phase::Running => {
                Some((not_judged(f, "it cannot be asked any more"), flight))
            }
            Word::Ask(needed) => {
                let id = f.check;
                let doubted = Doubted {
                    finished: f,
                    flight,
                    worker,
                    since_ns: clock::monotonic_ns(),
                };
                if let Some(check) = self.checks.get_mut(id) {
                    check.stage = Stage::Doubted(Box::new(doubted));
                }
                self.schedule.dependents.add(needed, id);
                self.ask(needed);
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
                (Word::Ask(needed), Word::Judge) => word = Word::Ask(needed),
                _ => {}
            }
        }
        word
    }

    fn word_of(&self, check: &Check, needs: &str, status: Status, finished_ns: u64) -> Word {
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
        let began_after = n.last.run_id != 0 && n.last.started_ns >= finished_ns;
        let own_fault = n.state.is_unjudged();
        match n.state.status() {
            Some(s) if s != Status::Ok && !own_fault => Word::NotOk(format!(
                "`{needs}`, which it needs, is {s}: {}",
                n.last.message
            )),
            // It lies behind another itself, and that one is not ok.
            Some(_) if n.lies_behind() && self.checks.root(n).is_some() => {
                let root = self.checks.root(n);
                let (name, said) = root.map_or(("", ""), |r| (&r.spec.name, &r.last.message));
                let is = root.and_then(|r| r.state.status());
                let is = is.map_or("unknown", |s| s.as_str());
                Word::NotOk(format!(
                    "`{needs}`, which it needs, lies behind `{name}`, which is {is}: {said}"
                ))
            }
            // Fresh and ok; or it could not be judged itself, and so says nothing.
            Some(_) if began_after && !n.lies_behind() => Word::Judge,
            _ => {
                let known = check.verdict() == Verdict::from(status)
                    && !check.state.is_soft(check.spec.attempts);
                match known {
                    true => Word::Judge,
                    false => Word::Ask(needed),
                }
            }
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
        let timeout = self.checks.get(needed).map_or(0, |c| ns(c.spec.timeout));
        now.saturating_sub(since_ns) > timeout.saturating_mul(2) + PATIENCE_NS
    }

    /// True: it is judged.
    fn settle_one(&mut self, id: u32, now: u64) -> bool {
        let Some(doubted) = self.checks.get(id).and_then(|c| c.stage.doubted()) else {
            return false;
        };
        let (f, since) = (&doubted.finished, doubted.since_ns);
        let why = match self.word(id, f.status, f.finished_ns) {
            Word::Judge => None,
            Word::NotOk(why) => Some(why),
            Word::Ask(_) if self.phase != Phase::Running => {
                Some("it cannot be asked any more".to_owned())
            }
            Word::Ask(needed) if self.is_over(needed, since, now) => None,
            Word::Ask(needed) => {
                self.schedule.dependents.add(needed, id);
                self.ask(needed);
                return false;
            }
        };
        let Some(doubted) = self.checks.get_mut(id).and_then(|c| c.stage.settle()) else {
            return false;
        };
        let finished = match why {
            Some(why) => not_judged(doubted.finished, &why),
            None => doubted.finished,
        };
        self.judge_result(finished, doubted.flight, doubted.worker);
        true
    }
}
