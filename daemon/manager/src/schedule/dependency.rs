//! A check that needs another (`needs`): while that one is not ok, its problems say nothing about its target.
//!
//! A problem counts only if the needed check was ok in a run that began after it. So it is run at once
//! when a problem would change anything, and the result waits for it: what fails a moment before the uplink is
//! seen to be down is not mistaken for a problem of its own.

use super::stage::InFlight;
use crate::check::Check;
use crate::time::MS;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::check::verdict::CheckState;
use healthd_core::wire::report::Report;
use healthd_core::wire::worker::Ending;
use std::collections::{HashMap, VecDeque};

/// Beyond twice its time-out the needed check is not waited for: it may wait for room itself.
pub(super) const PATIENCE_NS: u64 = 5_000 * MS;

/// A result that waits for a word of the check that it needs.
pub struct Doubted {
    pub finished: Report<'static>,
    pub flight: InFlight,
    pub worker: Option<(u32, u32)>,
    pub since_ns: u64,
}

/// The checks with a doubted result, by the check that each needs: the longest waiting first. An outage puts
/// thousands behind one.
#[derive(Default)]
pub struct Dependents(pub(super) HashMap<u32, VecDeque<u32>>);

impl Dependents {
    pub(super) fn wait_for(&self, needed: u32) -> bool {
        self.0.contains_key(&needed)
    }

    pub(super) fn add(&mut self, needed: u32, id: u32) {
        self.0.entry(needed).or_default().push_back(id);
    }

    pub(super) fn take(&mut self, needed: u32) -> VecDeque<u32> {
        self.0.remove(&needed).unwrap_or_default()
    }

    pub(super) fn needed(&self) -> Vec<u32> {
        self.0.keys().copied().collect()
    }

    pub(super) fn longest_waiting(&self, needed: u32) -> Option<u32> {
        self.0.get(&needed)?.front().copied()
    }
}

/// What is to become of a problem, by the words of all that its check needs.
pub(super) enum Word {
    Judge,
    /// One is not ok, and this is why.
    NotOk(String),
    /// It has to be asked first. `again`: it was, and its run ended by our own fault.
    Ask {
        needed: u32,
        again: bool,
    },
}

/// A check that is needed, and its last run.
#[derive(Clone, Copy)]
pub(super) struct Needed<'a> {
    pub name: &'a str,
    pub state: CheckState,
    pub message: &'a str,
    pub began_ns: u64,
}

/// What that run says of a problem.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Ok,
    NotOk(String),
    /// It began too early; or it could not be evaluated, by our own fault: that neither condemns nor excuses it.
    Nothing {
        again: bool,
    },
}

impl<'a> Needed<'a> {
    pub fn of(check: &'a Check) -> Needed<'a> {
        Needed {
            name: &check.spec.name,
            state: check.state,
            message: &check.last.message,
            began_ns: check.last.started_ns,
        }
    }

    /// `root`: where it lies behind another check itself, the one that is not ok. `seen_ns`: when the problem was.
    pub fn says(self, root: Option<Needed<'_>>, seen_ns: u64) -> Said {
        let is_ours = self.state.is_unjudged();
        let began_after = self.began_ns >= seen_ns;
        match (self.state.status(), root) {
            (Some(Status::Ok), _) if began_after => Said::Ok,
            (Some(status), _) if status != Status::Ok && !is_ours => Said::NotOk(format!(
                "`{}`, which it needs, is {status}: {}",
                self.name, self.message
            )),
            (Some(_), Some(root)) => {
                let is = root.state.status().map_or("unknown", Status::as_str);
                Said::NotOk(format!(
                    "`{}`, which it needs, lies behind `{}`, which is {is}: {}",
                    self.name, root.name, root.message
                ))
            }
            _ => Said::Nothing {
                again: began_after && is_ours,
            },
        }
    }

    /// It was waited for in vain: why nothing is known of the check that waited either.
    pub fn silence(self) -> String {
        match self.state.is_unjudged() {
            true => format!(
                "`{}`, which it needs, could not be evaluated: {}",
                self.name, self.message
            ),
            false => format!(
                "`{}`, which it needs, was asked how it is, and has not said it in time",
                self.name
            ),
        }
    }
}

/// Our own fault, as far as this check is concerned.
pub(super) fn not_judged<'a>(f: Report<'a>, fault: Fault, why: &str) -> Report<'a> {
    let said = match f.message.is_empty() {
        true => String::new(),
        false => format!("; it said {}: {}", f.status, f.message),
    };
    Report {
        status: Status::Unknown,
        ending: Ending::Fault(fault),
        message: fault.message(&format!("{why}{said}")).into(),
        ..f
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::check::outcome::Verdict;

    const SEEN: u64 = 100;

    fn needed(
        status: Option<Status>,
        fault: Option<Fault>,
        message: &str,
        began_ns: u64,
    ) -> Needed<'_> {
        Needed {
            name: "uplink",
            state: CheckState::restore(Verdict::Ok, 0, status, fault, 7, 0),
            message,
            began_ns,
        }
    }

    fn not_ok(why: &str) -> Said {
        Said::NotOk(why.to_owned())
    }

    #[test]
    fn only_a_run_that_began_after_the_problem_excuses_it_and_a_bad_one_always_does() {
        let said = |status, fault, began| needed(status, fault, "cut", began).says(None, SEEN);
        let again = |again| Said::Nothing { again };
        assert_eq!(said(Some(Status::Ok), None, SEEN), Said::Ok);
        assert_eq!(said(Some(Status::Ok), None, SEEN - 1), again(false));
        // As after a restart: no run is known.
        assert_eq!(said(Some(Status::Ok), None, 0), again(false));
        assert_eq!(said(None, None, 0), again(false));
        for began in [SEEN - 1, SEEN] {
            let why = "`uplink`, which it needs, is critical: cut";
            assert_eq!(said(Some(Status::Critical), None, began), not_ok(why));
            // Of the plugin, or of the target.
            for fault in [Fault::Timeout, Fault::Crash] {
                let why = "`uplink`, which it needs, is unknown: cut";
                assert_eq!(said(Some(Status::Unknown), Some(fault), began), not_ok(why));
            }
        }
    }

    #[test]
    fn our_own_fault_neither_condemns_nor_excuses_what_is_needed() {
        for fault in Fault::ALL.into_iter().filter(|f| f.is_own()) {
            let said =
                |began| needed(Some(Status::Unknown), Some(fault), "x", began).says(None, SEEN);
            assert_eq!(said(SEEN), Said::Nothing { again: true }, "{fault}");
            assert_eq!(said(SEEN - 1), Said::Nothing { again: false }, "{fault}");
        }
    }

    #[test]
    fn what_lies_behind_another_says_what_that_one_says() {
        let behind = Some(Fault::Dependency);
        let root = needed(Some(Status::Warning), None, "cut", 3);
        let root = Needed {
            name: "gateway",
            ..root
        };
        for began in [SEEN - 1, SEEN] {
            let said = needed(Some(Status::Unknown), behind, "x", began).says(Some(root), SEEN);
            let why = "`uplink`, which it needs, lies behind `gateway`, which is warning: cut";
            assert_eq!(said, not_ok(why));
        }
    }

    #[test]
    fn who_waited_in_vain_is_told_for_what() {
        let silence = |status, fault| needed(Some(status), fault, "self: x", 5).silence();
        assert_eq!(
            silence(Status::Unknown, Some(Fault::WorkerDied)),
            "`uplink`, which it needs, could not be evaluated: self: x"
        );
        // Its last word is an old one, and it has not run since.
        assert_eq!(
            silence(Status::Ok, None),
            "`uplink`, which it needs, was asked how it is, and has not said it in time"
        );
    }
}
