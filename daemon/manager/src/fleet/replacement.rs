//! One worker takes the place of another without losing a run.
//!
//! The next one is started first, beside it, and takes over its place when it is ready; the old one gets no
//! more runs, ends those it has, and goes. One of a pool at a time.

use crate::check::ns;
use crate::director::{Chore, Manager, Phase};
use crate::fleet::slots::{Condemned, Slot, SlotState};
use crate::journal::Fact;
use crate::rollout::generation::MAX_SLOTS;
use crate::time::MS;
use healthd_core::wire::events::EventKind;
use healthd_core::wire::supervisor::{SlotSpec, ToSupervisor};
use healthd_core::wire::worker::ToWorker;
use healthd_sys::clock;

/// An old worker may drain for at least so long.
const DRAIN_LEAST_NS: u64 = 10_000 * MS;

impl Manager {
    /// Starts another worker that is to take this one's place. False: not now.
    pub(super) fn start_replacement(&mut self, slot: u32, why: &str) -> bool {
        if self.phase != Phase::Running || self.rollout.is_coming_up() {
            return false;
        }
        let Some(s) = self.fleet.slots.get(&slot) else {
            return false;
        };
        // A solo worker is short-lived, and nobody else's.
        let Some(pool) = s.pool() else {
            return false;
        };
        let one_at_a_time = self.fleet.slots.values().any(|o| {
            o.pool() == Some(pool) && (o.succession.replaces.is_some() || o.succession.retiring)
        });
        if s.state != SlotState::Ready
            || s.process.condemned.is_some()
            || s.spec.generation != self.rollout.generation
            || one_at_a_time
        {
            return false;
        }
        let Some(free) = (0..MAX_SLOTS as u32).find(|n| !self.fleet.slots.contains_key(n)) else {
            return false;
        };
        let spec = SlotSpec {
            slot: free,
            birth: self.fleet.births + 1,
            ..s.spec.clone()
        };
        let mut new = Slot::new(spec, s.place, s.group);
        new.succession.replaces = Some(slot);
        new.succession.note = format!("took the place of pid {}: {why}", s.process.pid);
        let fields = format!(
            "slot={slot} class={} pid={} replacement={free} why=\"{why}\"",
            pool.class.as_str(),
            s.process.pid
        );
        let leaving = Fact::new(EventKind::WorkerLeaving)
            .titled("worker is to be recycled")
            .level(log::Level::Info)
            .slot(slot)
            .pid(s.process.pid)
            .why(why)
            .fields(fields);
        self.books.journal.record(leaving);
        if let Some(s) = self.fleet.slots.get_mut(&slot) {
            s.succession.note = format!("is to be replaced: {why}");
        }
        self.fleet.births += 1;
        self.fleet.slots.insert(free, new);
        self.tell_slots();
        true
    }

    /// A replacement is ready: from now on it has the place, and the old worker drains.
    pub(super) fn take_over(&mut self, new: u32) {
        let now = clock::monotonic_ns();
        let Some(s) = self.fleet.slots.get_mut(&new) else {
            return;
        };
        let (Some(old), note) = (s.succession.replaces.take(), s.succession.note.clone()) else {
            return;
        };
        let patience = self.longest_run(old).saturating_mul(2).max(DRAIN_LEAST_NS);
        let Some(o) = self.fleet.slots.get_mut(&old) else {
            return;
        };
        o.succession.retiring = true;
        if !matches!(o.state, SlotState::Ready) {
            // It has come to its end by another way meanwhile.
            self.tell_slots();
            return self.settle_retired(old);
        }
        o.state = SlotState::Draining;
        o.process.condemned = Some(Condemned {
            reason: o.succession.note.clone(),
            culprit: None,
            killed: false,
            fence: false,
            drained: Some(0),
        });
        let pid = o.process.pid;
        if let Some(link) = &mut o.process.link {
            link.queue(&ToWorker::Drain);
        }
        self.clockwork
            .chores
            .insert((now + patience) / MS, Chore::Replace { slot: old, pid });
        let fields = format!("slot={old} pid={pid} replacement={new} note=\"{note}\"");
        let replaced = Fact::new(EventKind::WorkerReplaced).slot(old).pid(pid);
        self.books.journal.record(replaced.why(note).fields(fields));
        self.tell_slots();
        self.publish_slot(old);
    }

    /// The longest time-out of its runs in flight.
    pub fn longest_run(&self, slot: u32) -> u64 {
        let runs = self.fleet.slots.get(&slot).map(|s| s.work.runs.values());
        runs.into_iter()
            .flatten()
            .filter_map(|id| self.checks.get(*id))
            .map(|c| ns(c.spec.timeout))
            .max()
            .unwrap_or(0)
    }

    /// The replacement did not come up: the old worker goes on.
    pub fn abandon_replacement(&mut self, new: u32, why: &str) {
        let Some(s) = self.fleet.slots.get(&new) else {
            return;
        };
        let (Some(old), pid, Some(pool)) = (s.succession.replaces, s.process.pid, s.pool()) else {
            return;
        };
        log::warn!(
            "worker is not recycled, as its replacement does not come up  slot={old} why=\"{why}\""
        );
        if pid != 0 && s.state != SlotState::Dead {
            let reason = "it cannot take another's place".into();
            self.fleet.supervisor.say(&ToSupervisor::Kill {
                slot: new,
                pid,
                reason,
            });
        }
        self.retire_slot(new);
        self.tell_slots();
        let now = clock::monotonic_ns();
        let pace = self.fleet.backoffs.entry(pool).or_default();
        pace.replaced(0, now);
        if let Some(o) = self.fleet.slots.get_mut(&old) {
            o.succession.note = format!("could not be replaced: {why}");
        }
    }

    /// A worker of this slot has died. True: its slot goes with it, as its place is or will be another's.
    pub(super) fn leaves_its_slot(&mut self, slot: u32) -> bool {
        let heir = self
            .fleet
            .slots
            .iter()
            .find(|(_, s)| s.succession.replaces == Some(slot))
            .map(|(n, _)| *n);
        if let Some(heir) = heir {
            // It died before its time: the place is the other's at once.
            if let Some(s) = self.fleet.slots.get_mut(&heir) {
                s.succession.replaces = None;
            }
            if let Some(s) = self.fleet.slots.get_mut(&slot) {
                s.succession.retiring = true;
            }
            self.tell_slots();
        }
        self.fleet
            .slots
            .get(&slot)
            .is_some_and(|s| s.succession.retiring)
    }

    /// A retired slot whose worker is gone: its account goes on in that of its heir.
    pub(super) fn settle_retired(&mut self, slot: u32) {
        let Some(s) = self.fleet.slots.get(&slot) else {
            return;
        };
        if !s.succession.retiring || !s.work.runs.is_empty() {
            return;
        }
        let (accounts, spec, place, pool) = (s.accounts, s.spec.clone(), s.place, s.pool());
        let heir = self.fleet.slots.values_mut().find(|h| {
            !h.succession.retiring
                && h.pool() == pool
                && h.spec.generation == spec.generation
                && h.place == place
                && h.spec.slot != slot
        });
        if let Some(heir) = heir {
            heir.accounts.add(&accounts);
        }
        self.retire_slot(slot);
    }
}
