//! The checks beside a fault: who was in flight in the process that died, and who was marked though not to blame.

use super::Row;
use healthd_core::wire::maps::StateSnapshot;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of the checks of the load from the fault on.
#[derive(Default)]
pub struct Victims {
    /// Runs and name of those that were in flight in the dead worker.
    pub pending: BTreeMap<String, u64>,
    count: usize,
    late_ns: u64,
    pub marked: BTreeSet<String>,
}

impl Victims {
    pub fn of(state: &StateSnapshot, slots: &[u32]) -> Victims {
        let flying = state.checks.iter().map(|(_, c)| c).filter(|c| {
            c.name.starts_with("good/") && c.in_flight != 0 && slots.contains(&c.in_flight_slot)
        });
        let pending: BTreeMap<_, _> = flying.map(|c| (c.name.to_string(), c.runs)).collect();
        Victims {
            count: pending.len(),
            pending,
            ..Victims::default()
        }
    }

    /// A victim's run has begun again at `last_run`: how long after the detection.
    pub fn look(&mut self, state: &StateSnapshot, detected_wall: u64) {
        for (whole, check) in &state.checks {
            if !whole || !check.name.starts_with("good/") {
                continue;
            }
            let well = matches!(check.verdict, 0 | 4) && matches!(check.status, 0 | 255);
            if !well {
                self.marked
                    .insert(format!("{}: {}", check.name, check.message));
            }
            let begun_again = |runs: &u64| check.runs > *runs;
            if self
                .pending
                .get(check.name.as_ref())
                .is_some_and(begun_again)
            {
                self.pending.remove(check.name.as_ref());
                self.late_ns = self
                    .late_ns
                    .max(check.last_run.saturating_sub(detected_wall));
            }
        }
    }

    pub fn tell(&self, row: &mut Row, culprit: Option<&str>) {
        row.victims = self.count;
        row.late_ms = (self.count > 0).then(|| self.late_ns as f64 / 1e6);
        row.affected = culprit.unwrap_or("none").to_owned();
        for marked in &self.marked {
            row.wrong
                .push(format!("a check that is not to blame was marked: {marked}"));
        }
        if !self.pending.is_empty() {
            row.wrong
                .push(format!("{} victims had no result", self.pending.len()));
        }
    }
}
