//! The graceful end: no new runs, the ones in flight finish or are cancelled, everything is written.

use crate::director::{Chore, Manager, Phase};
use crate::journal::Fact;
use crate::time::MS;
use healthd_core::wire::events::EventKind;
use healthd_core::wire::maps::STATE_FILE;
use healthd_core::wire::objects_map;
use healthd_core::wire::samples::SAMPLES_FILE;
use healthd_core::wire::supervisor::ToSupervisor;
use healthd_sys::clock;

impl Manager {
    pub fn begin_stop(&mut self, grace_ms: u64) {
        if matches!(self.phase, Phase::Stopping | Phase::Done) {
            return;
        }
        let fields = format!("in_flight={} grace={grace_ms}ms", self.in_flight());
        let stopping = Fact::new(EventKind::Stopping).fields(fields);
        self.books.journal.record(stopping);
        self.phase = Phase::Stopping;
        self.settle_all(clock::monotonic_ns());
        let at = (clock::monotonic_ns() / MS).saturating_add(grace_ms);
        self.clockwork.chores.insert(at, Chore::StopDeadline);
        self.schedule.clear_queues();
        self.empty_solo_queue();
        self.stop_progress();
    }

    pub fn in_flight(&self) -> u64 {
        self.fleet
            .slots
            .values()
            .map(|s| s.work.runs.len() as u64)
            .sum()
    }

    /// Called after every turn while stopping.
    pub fn stop_progress(&mut self) {
        if self.phase == Phase::Stopping && self.in_flight() == 0 {
            self.close_books();
        }
    }

    pub fn tell_draining(&mut self) {
        let in_flight = self.in_flight();
        self.fleet
            .supervisor
            .say(&ToSupervisor::Draining { in_flight });
    }

    /// The grace is over: what is in flight is cancelled, not failed.
    pub fn stop_now(&mut self) {
        if self.phase == Phase::Done {
            return;
        }
        let cut = self.in_flight();
        if cut > 0 {
            log::warn!("stopping with runs in flight: cancelled, without a result  runs={cut}");
        }
        for slot in self.fleet.slots.values_mut() {
            slot.accounts.lost_cancelled += slot.work.runs.len() as u64;
            slot.accounts.chunks.lost += std::mem::take(&mut slot.work.chunks).len() as u64;
            for (_, id) in slot.work.runs.drain() {
                if let Some(check) = self.checks.get_mut(id) {
                    check.stage.land(|_| true);
                }
            }
        }
        self.close_books();
    }

    fn close_books(&mut self) {
        self.phase = Phase::Done;
        let saved = match self.rollout.not_begun() {
            // Nothing is in force yet: what the last one knew must not be lost by it.
            Some(past) => past.saved(self.books.next_run),
            None => self.saved(),
        };
        self.books.saving.finish(saved);
        self.alerts.finish();
        self.services.states.finish();
        self.end_events();
        self.clients.say_goodbye();
        self.books.journal.close();
        // What is on disk is newer now than the map; a map that is left speaks of a daemon that crashed.
        for file in [STATE_FILE, objects_map::FILE, SAMPLES_FILE] {
            let _ = std::fs::remove_file(self.args.runtime_dir.join(file));
        }
        for slot in self.fleet.slots.values() {
            slot.remove_map(&self.args.runtime_dir);
        }
        log::info!("stopped  runs={}", self.books.finished);
    }
}
