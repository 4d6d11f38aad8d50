//! What becomes of a check whose run has killed a worker, or may have: suspected, held, alone, released.

use super::quarantine::CONFIRM_NS;
use crate::director::Manager;
use crate::fleet::crash_record::{CrashRecord, TO_BE_FREE};
use crate::fleet::postmortem::Blame;
use crate::journal::Fact;
use crate::schedule::stage::InFlight;
use healthd_core::check::fault::Fault;
use healthd_core::wire::events::EventKind;
use healthd_sys::clock;

impl Manager {
    /// The culprit's result: UNKNOWN, an attempt, and a hold so that it cannot kill a worker every second.
    pub(super) fn end_by_crash(&mut self, id: u32, flight: Option<InFlight>, blame: &Blame) {
        let fault = match blame.stalled {
            true => Fault::Stalled,
            false => Fault::Crash,
        };
        self.conclude(id, fault, blame.message.clone(), flight);
        self.hold_culprit(id, blame, "its run has killed a worker");
    }

    /// It is held, and after too many of these it runs alone.
    pub(super) fn hold_culprit(&mut self, id: u32, blame: &Blame, why: &str) {
        let now = clock::monotonic_ns();
        let hash = self.plugin_hash(id);
        self.books.charge_death(&mut self.checks, id, blame.stalled);
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        let entered = check
            .standing
            .crashes
            .crashed(&blame.short, clock::realtime_ns(), hash);
        self.hold_check(id, why);
        if let Some(check) = self.checks.get(id).filter(|_| entered) {
            let text = check.quarantine_info(now).map_or(String::new(), |q| q.text);
            let fact = Fact::new(EventKind::Quarantined)
                .check(&check.spec.name)
                .why(text);
            self.books.journal.record(fact);
        }
        // A restart must not make it begin anew.
        self.books.saving.news(id);
    }

    /// Its run has ended well enough, but a chunk of it has killed the worker that helped.
    pub fn hold_for_chunk(&mut self, id: u32) {
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let blame = Blame {
            run_id: check.last.run_id,
            plugin: check.spec.plugin.clone(),
            message: check.last.message.clone(),
            short: "in a chunk of its run".into(),
            stalled: false,
        };
        self.hold_culprit(id, &blame, "a chunk of its run has killed a worker");
    }

    /// No run of it for a while.
    pub(super) fn hold_check(&mut self, id: u32, why: &str) {
        let now = clock::monotonic_ns();
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        let length = check.hold(now);
        let fact = Fact::new(EventKind::Held)
            .check(&check.spec.name)
            .lasts(length)
            .why(why);
        let until = now + length;
        if check.plan.next_due < until {
            self.plan(id, until);
        }
        self.books.journal.record(fact);
        self.publish(id);
    }

    /// A worker has died while a call of it was in progress, and nobody knows why. True: it is the culprit.
    pub fn suspect(&mut self, id: u32, was_solo: bool) -> bool {
        let hash = self.plugin_hash(id);
        let Some(check) = self.checks.get_mut(id) else {
            return false;
        };
        let guilty = check.standing.crashes.suspected(was_solo, hash);
        if was_solo && !guilty && check.is_planned() {
            let soon = clock::monotonic_ns() + CONFIRM_NS;
            if check.plan.next_due > soon {
                self.plan(id, soon);
            }
        }
        guilty
    }

    /// A run of it has ended, and its worker lives. `blocked`: a call of it took the event loop for too long.
    pub fn survived(&mut self, id: u32, was_solo: bool, blocked: bool) {
        if !was_solo {
            self.note_blocked(id, blocked);
        }
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        if check.standing.crashes.survived(was_solo) {
            let fact = Fact::new(EventKind::Released)
                .check(&check.spec.name)
                .why(format!("{TO_BE_FREE} runs in a row survived"));
            self.books.journal.record(fact);
            self.books.saving.news(id);
        }
    }

    /// A person says that it is well. False: nothing was held against it.
    pub fn release(&mut self, id: u32) -> bool {
        let now = clock::monotonic_ns();
        let Some(check) = self.checks.get_mut(id) else {
            return false;
        };
        let was_apart = self.fleet.apart.contains(id);
        if check.standing.crashes.is_clean() && check.standing.hold.is_none() && !was_apart {
            return false;
        }
        self.fleet.apart.forget(id);
        check.standing.crashes = CrashRecord::default();
        check.standing.hold = None;
        let fact = Fact::new(EventKind::Released)
            .check(&check.spec.name)
            .titled("check released")
            .why("a client has released it");
        if check.is_planned() && check.stage.run().is_none() && check.stage.waiting().is_none() {
            self.plan(id, now);
        }
        self.books.journal.record(fact);
        self.publish(id);
        true
    }

    /// Where the plugin's bytes are others than those that have killed workers, a check begins anew.
    pub fn review_crashes(&mut self) {
        for id in self.checks.order().to_vec() {
            let hash = self.plugin_hash(id);
            let Some(check) = self.checks.get_mut(id) else {
                continue;
            };
            if check.standing.crashes.is_clean() || check.target.is_none() {
                continue;
            }
            // 0: whoever noted it died before that was on disk.
            if check.standing.crashes.plugin == hash
                || std::mem::replace(&mut check.standing.crashes.plugin, hash) == 0
            {
                continue;
            }
            let fact = Fact::new(EventKind::Released)
                .check(&check.spec.name)
                .why("its plugin is another");
            let was_alone = check.standing.crashes.quarantine.is_some();
            check.standing.crashes = CrashRecord::default();
            check.standing.hold = None;
            if was_alone {
                self.books.journal.record(fact);
            }
            self.publish(id);
        }
    }

    /// Of the bytes that its plugin has now; 0: none can be used.
    fn plugin_hash(&self, id: u32) -> u64 {
        let target = self.checks.get(id).and_then(|c| c.target);
        target
            .and_then(|t| self.rollout.plugins.get(usize::from(t.plugin)))
            .map_or(0, |p| p.hash)
    }
}
