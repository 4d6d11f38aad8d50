//! A check that needs another (`needs`): while that one is not ok, its problems say nothing about its target.
//!
//! A problem is believed only if the needed check was ok in a run that began after it. So it is run at once
//! when a problem would change anything, and the result waits for it: what fails a moment before the uplink is
//! seen to be down is not mistaken for a problem of its own.

use crate::book::{MS, Manager, Phase};
use crate::check::{Check, InFlight, ns};
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::wire::worker::{Ending, Finished};
use healthd_sys::clock;

/// Beyond twice its time-out the needed check is not waited for: it may wait for room itself.
const PATIENCE_NS: u64 = 5_000 * MS;

/// A result that waits for a word of the check that it needs.
pub struct Doubt {
    pub finished: Finished,
    pub flight: InFlight,
    pub worker: Option<(u32, u32)>,
    pub since_ns: u64,
}

/// What the needed check says about a problem.
enum Word {
    /// It was ok, or says nothing: the problem counts.
    Judge,
    /// It is not ok, and this is why.
    NotOk(String),
    /// It has to be asked first.
    Ask(u32),
}

impl Check {
    /// A run of it is under way, waits for room, or waits for a word of another check.
    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some() || self.waiting_since.is_some() || self.doubt.is_some()
    }
}

impl Manager {
    /// Settles whether a result may be judged. None: it waits.
    pub fn believe(
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
            Word::NotOk(why) => Some((disbelieved(f, &why), flight)),
            Word::Ask(_) if self.phase != Phase::Running => {
                Some((disbelieved(f, "it cannot be asked any more"), flight))
            }
            Word::Ask(needed) => {
                let id = f.check;
                let doubt = Doubt {
                    finished: f,
                    flight,
                    worker,
                    since_ns: clock::monotonic_ns(),
                };
                if let Some(check) = self.check_mut(id) {
                    check.doubt = Some(Box::new(doubt));
                }
                self.doubts.push(id);
                self.ask(needed);
                self.publish(id);
                None
            }
        }
    }

    fn word(&self, id: u32, status: Status, finished_ns: u64) -> Word {
        let Some(check) = self.check(id) else {
            return Word::Judge;
        };
        let Some(needs) = &check.spec.needs else {
            return Word::Judge;
        };
        let Some((needed, n)) = self
            .by_name
            .get(needs)
            .and_then(|id| Some((*id, self.check(*id)?)))
        else {
            return Word::Judge;
        };
        if !n.is_planned() || n.hold.is_some() {
            return Word::Judge;
        }
        let began_after = n.last.run_id != 0 && n.last.started_ns >= finished_ns;
        let own_fault = n.last.fault.is_some_and(Fault::is_own);
        match n.status {
            Some(s) if s != Status::Ok && !own_fault => Word::NotOk(format!(
                "`{needs}`, which it needs, is {s}: {}",
                n.last.message
            )),
            // Fresh and ok; or it could not be judged itself, and so says nothing.
            Some(_) if began_after => Word::Judge,
            _ => {
                let known = check.verdict() == Verdict::from(status)
                    && !check.tracker.is_soft(check.spec.attempts);
                match known {
                    true => Word::Judge,
                    false => Word::Ask(needed),
                }
            }
        }
    }

    /// Has the needed check run as soon as it can.
    fn ask(&mut self, needed: u32) {
        let Some(check) = self.check_mut(needed) else {
            return;
        };
        check.wanted = true;
        if !check.is_busy() {
            self.request_run(needed, clock::monotonic_ns());
            self.publish(needed);
        }
    }

    /// A result has come in, or time has passed: who waited for it?
    pub fn settle_doubts(&mut self, now: u64) {
        for id in std::mem::take(&mut self.doubts) {
            let Some(doubt) = self.check(id).and_then(|c| c.doubt.as_deref()) else {
                continue;
            };
            let (f, since) = (&doubt.finished, doubt.since_ns);
            let settled = match self.word(id, f.status, f.finished_ns) {
                Word::Judge => None,
                Word::NotOk(why) => Some(why),
                Word::Ask(_) if self.phase != Phase::Running => {
                    Some("it cannot be asked any more".to_owned())
                }
                Word::Ask(needed) => {
                    let patience = self.check(needed).map_or(0, |c| ns(c.spec.timeout));
                    if now.saturating_sub(since) <= patience.saturating_mul(2) + PATIENCE_NS {
                        self.doubts.push(id);
                        self.ask(needed);
                        continue;
                    }
                    None
                }
            };
            let Some(doubt) = self.check_mut(id).and_then(|c| c.doubt.take()) else {
                continue;
            };
            let finished = match settled {
                Some(why) => disbelieved(doubt.finished, &why),
                None => doubt.finished,
            };
            self.judge_result(finished, doubt.flight, doubt.worker);
        }
    }
}

/// Our own fault, as far as this check is concerned.
fn disbelieved(f: Finished, why: &str) -> Finished {
    let said = match f.message.is_empty() {
        true => String::new(),
        false => format!("; it said {}: {}", f.status, f.message),
    };
    Finished {
        status: Status::Unknown,
        ending: Ending::Fault(Fault::Dependency),
        message: Fault::Dependency.message(&format!("{why}{said}")),
        ..f
    }
}
