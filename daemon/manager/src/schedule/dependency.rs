//! A check that needs another (`needs`): while that one is not ok, its problems say nothing about its target.
//!
//! A problem counts only if the needed check was ok in a run that began after it. So it is run at once
//! when a problem would change anything, and the result waits for it: what fails a moment before the uplink is
//! seen to be down is not mistaken for a problem of its own.

use super::stage::InFlight;
use crate::time::MS;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::wire::worker::{Ending, Finished};
use std::collections::{HashMap, VecDeque};

/// Beyond twice its time-out the needed check is not waited for: it may wait for room itself.
pub(super) const PATIENCE_NS: u64 = 5_000 * MS;

/// A result that waits for a word of the check that it needs.
pub struct Doubted {
    pub finished: Finished,
    pub flight: InFlight,
    pub worker: Option<(u32, u32)>,
    pub since_ns: u64,
}

/// The checks with a doubted result, by the check that each needs: the longest waiting first. An outage puts
/// thousands behind one.
#[derive(Default)]
pub struct Dependents(pub(super) HashMap<u32, VecDeque<u32>>);

impl Dependents {
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

/// What the needed check says about a problem.
pub(super) enum Word {
    /// It was ok, or says nothing: the problem counts.
    Judge,
    /// It is not ok, and this is why.
    NotOk(String),
    /// It has to be asked first.
    Ask(u32),
}

/// Our own fault, as far as this check is concerned.
pub(super) fn not_judged(f: Finished, why: &str) -> Finished {
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
