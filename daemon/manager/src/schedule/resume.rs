//! The end of a pause: by its time, or by a client.

use crate::director::{Chore, Manager};
use crate::journal::Fact;
use crate::time::MS;
use healthd_core::text::field;
use healthd_core::wire::events::EventKind;
use healthd_sys::clock;

impl Manager {
    /// Sees to it that a pause with an end has one.
    pub fn time_pause(&mut self, id: u32) {
        let until = self
            .checks
            .get(id)
            .and_then(|c| Some(c.paused.as_ref()?.until));
        let Some(until) = until.filter(|until| *until > 0) else {
            return;
        };
        let left = until.saturating_sub(clock::realtime_ns());
        let at = (clock::monotonic_ns() + left).div_ceil(MS);
        self.clockwork.chores.insert(at, Chore::PauseEnds { id });
    }

    /// Its time is over, unless it was resumed, paused anew, or the wall clock was set back.
    pub fn end_pause(&mut self, id: u32) {
        let paused = self.checks.get(id).and_then(|c| c.paused.clone());
        let Some(paused) = paused.filter(|p| p.until > 0) else {
            return;
        };
        if paused.until > clock::realtime_ns() {
            return self.time_pause(id);
        }
        self.resume_check(id, clock::monotonic_ns());
        self.store_now(&[id]);
        let name = self.checks.get(id).map(|c| c.spec.name.clone());
        let name = name.unwrap_or_default();
        log::info!("the time of a pause is over  check={}", field(&name));
    }

    /// Runs by itself again, if it was paused.
    pub fn resume_check(&mut self, id: u32, now: u64) {
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        if check.paused.take().is_some() {
            let fact = Fact::new(EventKind::Resumed).check(&check.spec.name);
            self.plan_anew(id, now);
            self.books.journal.record(fact);
        }
        self.publish(id);
    }
}
