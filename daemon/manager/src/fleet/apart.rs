//! Checks whose calls block the event loop of their worker again and again: they are moved to a worker apart, where they
//! hurt each other only. It is a pool like any other, whose group is [`APART`]: its worker loads what those of the shared
//! one load, is started when the first check needs it, and ends when none does any more.
//!
//! Only in class io: there one thread serves all. A plugin file of others has workers of its own already.

use crate::director::{Chore, Manager, Phase};
use crate::fleet::pool_key::{APART, PoolKey, SHARED};
use crate::fleet::slots::{Condemned, Group, Slot, SlotState};
use crate::journal::Fact;
use crate::rollout::generation::MAX_SLOTS;
use crate::rollout::worker_plan::settings;
use crate::time::MS;
use healthd_core::wire::events::EventKind;
use healthd_core::wire::supervisor::{SlotSpec, WorkerClass};
use healthd_core::wire::worker::ToWorker;
use std::collections::BTreeMap;

/// So many runs with a call that blocked, without `CALM` others between two of them, and it goes.
const BLOCKED: u8 = 3;
const CALM: u8 = 10;
/// So many runs in a row without one, and it comes back.
const TO_COME_BACK: u8 = 30;
/// The worker has so long to end its last runs.
const DRAIN_NS: u64 = 60_000 * MS;

const POOL: PoolKey = PoolKey {
    class: WorkerClass::Io,
    group: APART,
};

/// By check: those that have blocked a worker lately.
#[derive(Default)]
pub struct Apart(BTreeMap<u32, Calls>);

/// How the calls of a check were lately.
#[derive(Debug, Default, PartialEq, Eq)]
struct Calls {
    blocked: u8,
    /// Runs since the last that blocked.
    calm: u8,
    goes_apart: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Move {
    Away,
    Back,
}

impl Calls {
    fn ran(&mut self, blocked: bool) -> Option<Move> {
        if blocked {
            self.calm = 0;
            self.blocked = self.blocked.saturating_add(1);
            if self.blocked < BLOCKED || std::mem::replace(&mut self.goes_apart, true) {
                return None;
            }
            return Some(Move::Away);
        }
        self.calm = self.calm.saturating_add(1);
        let enough = if self.goes_apart { TO_COME_BACK } else { CALM };
        if self.calm < enough {
            return None;
        }
        self.blocked = 0;
        std::mem::take(&mut self.goes_apart).then_some(Move::Back)
    }
}

impl Apart {
    fn ran(&mut self, id: u32, blocked: bool) -> Option<Move> {
        // Nearly no check is in here.
        let calls = match blocked {
            true => self.0.entry(id).or_default(),
            false => self.0.get_mut(&id)?,
        };
        let moved = calls.ran(blocked);
        if calls.blocked == 0 {
            self.0.remove(&id);
        }
        moved
    }

    pub(super) fn forget(&mut self, id: u32) {
        self.0.remove(&id);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.get(&id).is_some_and(|c| c.goes_apart)
    }
}

impl Manager {
    /// A run of it has ended; `blocked`: calls of it that took the event loop for too long.
    pub fn note_blocked(&mut self, id: u32, blocked: u32) {
        let of_loop = |pool: PoolKey| {
            pool == POOL
                || pool
                    == (PoolKey {
                        group: SHARED,
                        ..POOL
                    })
        };
        let Some(check) = self.checks.get(id).filter(|c| {
            let target = c.target;
            target.is_some_and(|t| of_loop(t.pool))
        }) else {
            return;
        };
        let (name, plugin) = (check.spec.name.clone(), check.spec.plugin.clone());
        let fact = match self.fleet.apart.ran(id, blocked > 0) {
            None => return,
            Some(Move::Away) => Fact::new(EventKind::Quarantined)
                .titled("check runs apart")
                .why(format!(
                    "calls of plugin `{plugin}` blocked its worker for more than 50 ms in {BLOCKED} of its last runs"
                )),
            Some(Move::Back) => Fact::new(EventKind::Released)
                .titled("check runs with the others again")
                .why(format!(
                    "{TO_COME_BACK} runs in a row did not block their worker"
                )),
        };
        self.books.journal.record(fact.check(&name));
    }

    /// For people; None: it runs with the others.
    pub fn why_apart(&self, id: u32) -> Option<String> {
        let calls = self.fleet.apart.0.get(&id).filter(|c| c.goes_apart)?;
        Some(format!(
            "its calls blocked the event loop of its worker for more than 50 ms, again and again: it runs in a worker \
             apart, with others like it; {} of {TO_COME_BACK} runs in a row did not",
            calls.calm
        ))
    }

    /// Now and then: the worker is there when it is needed, and who belongs to it is sent there once it is ready.
    pub fn look_at_apart(&mut self, now: u64) {
        if self.phase != Phase::Running || self.rollout.is_coming_up() {
            return;
        }
        let slot = self.slot_apart();
        if self.fleet.apart.0.is_empty() && slot.is_none() {
            return;
        }
        let known: Vec<u32> = self.fleet.apart.0.keys().copied().collect();
        let is_wanted = known.iter().any(|id| self.belongs_apart(*id));
        let Some(slot) = slot else {
            if is_wanted {
                self.open_apart(now);
            }
            return;
        };
        if !is_wanted {
            self.close_apart(slot, now);
        }
        let is_there = is_wanted
            && self.fleet.slots.get(&slot).is_some_and(|s| {
                // It is at work, or was a moment ago.
                s.state == SlotState::Ready || (s.accounts.dispatched > 0 && s.given_up.is_none())
            });
        let all = match is_there {
            true => known,
            // Whoever was there comes back.
            false => self.checks.order().to_vec(),
        };
        for id in all {
            let goes = is_there && self.belongs_apart(id);
            if let Some(target) = self.checks.get_mut(id).and_then(|c| c.target.as_mut())
                && target.pool.class == POOL.class
                && matches!(target.pool.group, SHARED | APART)
            {
                target.pool.group = if goes { APART } else { SHARED };
            }
        }
    }

    fn belongs_apart(&self, id: u32) -> bool {
        let target = self.checks.get(id).and_then(|c| c.target);
        self.fleet.apart.contains(id) && target.is_some_and(|t| t.pool.class == POOL.class)
    }

    /// That of the generation in force, if it is not about to end.
    fn slot_apart(&self) -> Option<u32> {
        let of_now = |s: &&Slot| {
            s.pool() == Some(POOL)
                && s.spec.generation == self.rollout.generation
                && !s.succession.retiring
        };
        let mut slots = self.fleet.slots.values().filter(of_now);
        slots.next().map(|s| s.spec.slot)
    }

    fn open_apart(&mut self, now: u64) {
        let Some(free) = (0..MAX_SLOTS as u32).find(|n| !self.fleet.slots.contains_key(n)) else {
            return;
        };
        let spec = SlotSpec {
            slot: free,
            class: POOL.class,
            generation: self.rollout.generation,
            threads: u32::from(settings(&self.model.pool, POOL.class).threads),
            birth: self.next_birth(),
            once: false,
            plugins: Vec::new(),
        };
        let mut slot = Slot::new(spec, 0, Group::Pool(APART));
        slot.process.started_ns = now;
        self.fleet.slots.insert(free, slot);
        log::info!("worker for checks that block others is started  slot={free}");
        self.publish_slot(free);
        self.tell_slots();
    }

    fn close_apart(&mut self, slot: u32, now: u64) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        log::info!(
            "worker for checks that block others is ended: there are none  slot={slot} pid={}",
            s.process.pid
        );
        s.state = SlotState::Draining;
        s.succession.retiring = true;
        s.process.condemned = Some(Condemned {
            reason: "no check needs it any more".into(),
            culprit: None,
            killed: false,
            fence: false,
        });
        let pid = s.process.pid;
        match &mut s.process.link {
            Some(link) => {
                link.queue(&ToWorker::Drain);
                let at = (now + DRAIN_NS) / MS;
                self.clockwork
                    .chores
                    .insert(at, Chore::Replace { slot, pid });
                self.publish_slot(slot);
            }
            // Not even started.
            None => self.retire_slot(slot),
        }
        self.tell_slots();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_blocks_again_and_again_goes_and_who_stops_it_comes_back() {
        let mut apart = Apart::default();
        assert_eq!(apart.ran(7, false), None);
        assert!(apart.0.is_empty(), "nobody who is well costs anything");
        for _ in 0..BLOCKED - 1 {
            assert_eq!(apart.ran(7, true), None);
            for _ in 0..CALM - 1 {
                assert_eq!(apart.ran(7, false), None);
            }
        }
        assert!(!apart.contains(7));
        assert_eq!(apart.ran(7, true), Some(Move::Away));
        assert!(apart.contains(7) && !apart.contains(8));
        for _ in 0..TO_COME_BACK - 1 {
            assert_eq!(apart.ran(7, false), None);
        }
        assert_eq!(apart.ran(7, true), None, "it is there already");
        for _ in 0..TO_COME_BACK - 1 {
            assert_eq!(apart.ran(7, false), None);
        }
        assert_eq!(apart.ran(7, false), Some(Move::Back));
        assert!(apart.0.is_empty());
    }

    #[test]
    fn once_in_a_while_is_nothing() {
        let mut apart = Apart::default();
        for _ in 0..20 {
            assert_eq!(apart.ran(1, true), None);
            for _ in 0..CALM {
                assert_eq!(apart.ran(1, false), None);
            }
            assert!(apart.0.is_empty());
        }
    }
}
