//! A process that does not end: what its run held goes to a leftover, and is free when that is gone.

use super::leftovers::{Leftover, LivesOn};
use crate::director::Manager;
use crate::time;
use healthd_core::check::fault::Fault;
use healthd_sys::clock;
use std::collections::{BTreeMap, HashMap};

impl Manager {
    /// What these runs of a dead worker hold goes to leftovers. The checks whose groups are among it.
    pub(super) fn leave_behind(
        &mut self,
        slot: u32,
        pid: u32,
        runs: &HashMap<u64, u32>,
    ) -> Vec<u32> {
        let mut left_behind = Vec::new();
        for (run_id, id) in runs {
            let name = self
                .checks
                .get(*id)
                .map_or("?".into(), |c| c.spec.name.clone());
            let leftover = self.fleet.leftovers.make(slot, pid, None, name);
            let in_groups = self.schedule.groups.rename(*id, leftover);
            if in_groups {
                left_behind.push(*id);
            }
            if !self.lock_goes_to_leftover(slot, *run_id, leftover) && !in_groups {
                self.fleet.leftovers.all.remove(&leftover);
            }
        }
        left_behind
    }

    /// The program of a run that ends now does not.
    pub(super) fn child_lives_on(&mut self, slot: u32, run_id: u64, child: LivesOn) {
        let Some(id) = self
            .fleet
            .slots
            .get(&slot)
            .and_then(|s| s.work.runs.get(&run_id))
        else {
            return;
        };
        let id = *id;
        if let Some(flight) = self.checks.get_mut(id).and_then(|c| c.stage.flight_mut())
            && flight.run_id == run_id
        {
            flight.lives_on = Some(child);
        }
    }

    /// What that run holds goes to a leftover.
    pub fn leave_behind_one(&mut self, slot: u32, id: u32, child: LivesOn) {
        let pid = self.fleet.slots.get(&slot).map_or(0, |s| s.process.pid);
        let name = self
            .checks
            .get(id)
            .map_or("?".into(), |c| c.spec.name.clone());
        let leftover = self.fleet.leftovers.make(slot, pid, Some(child), name);
        self.schedule.groups.rename(id, leftover);
    }

    pub(super) fn child_gone(&mut self, slot: u32, child: u32) {
        self.free(|g| g.slot == slot && g.child.is_some_and(|c| c.pid == child));
    }

    /// Says so instead of a run if the program of an earlier one is still there. True: it was.
    pub fn still_runs(&mut self, id: u32) -> bool {
        let name = self.checks.get(id).map(|c| c.spec.name.as_str());
        let Some((LivesOn { pid, forbidden }, since)) =
            name.and_then(|n| self.fleet.leftovers.program_of(n))
        else {
            return false;
        };
        let why = match forbidden {
            true => "the daemon's user may not kill it (sudo, setuid)",
            false => "it hangs in the kernel",
        };
        let text = format!(
            "not started: the program of an earlier run still runs (pid {pid}), {} after SIGKILL: {why}",
            time::span(clock::monotonic_ns().saturating_sub(since))
        );
        self.conclude(id, Fault::Timeout, text, None);
        true
    }

    /// Nothing of that worker is left.
    pub fn worker_buried(&mut self, slot: u32, pid: u32) {
        self.free(|g| (g.slot, g.pid) == (slot, pid));
    }

    /// These are gone, and what they held is free.
    fn free(&mut self, is_gone: impl Fn(&Leftover) -> bool) {
        let (gone, stay) = std::mem::take(&mut self.fleet.leftovers.all)
            .into_iter()
            .partition(|(_, g)| is_gone(g));
        self.fleet.leftovers.all = stay;
        for leftover in BTreeMap::into_keys(gone) {
            self.schedule.groups.leave(leftover);
            self.leftover_unlocks(leftover);
        }
    }
}
