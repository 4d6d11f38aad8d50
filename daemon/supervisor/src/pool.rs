//! The worker slots: which exist, who lives in each, and when an empty one is filled again.
//!
//! Pure: the event loop starts and kills, and says here what came of it. There is never more than one
//! worker in a slot: its name is the slot's number.

use crate::respawn::{Life, Pause, Record, WORKER};
use healthd_core::wire::supervisor::SlotSpec;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Pool {
    slots: BTreeMap<u32, Slot>,
}

#[derive(Debug)]
struct Slot {
    spec: SlotSpec,
    /// False: the manager no longer names it, so it goes with its worker.
    wanted: bool,
    state: State,
    record: Record,
}

#[derive(Debug)]
enum State {
    Empty { start_at: u64 },
    Starting { pid: u32, birth: u64 },
    Ready { pid: u32, birth: u64, since: u64 },
}

impl Pool {
    /// The slots that are to be from now on; all times are CLOCK_MONOTONIC, ns.
    pub fn want(&mut self, specs: Vec<SlotSpec>, now: u64) {
        for slot in self.slots.values_mut() {
            slot.wanted = false;
        }
        for spec in specs {
            match self.slots.get_mut(&spec.slot) {
                Some(slot) => {
                    // Other plugins, another class: the old record says nothing about the new worker.
                    if slot.spec.birth != spec.birth {
                        slot.record.cleared();
                        if let State::Empty { start_at } = &mut slot.state {
                            *start_at = now;
                        }
                    }
                    slot.spec = spec;
                    slot.wanted = true;
                }
                None => {
                    let slot = Slot {
                        wanted: true,
                        state: State::Empty { start_at: now },
                        record: Record::default(),
                        spec,
                    };
                    self.slots.insert(slot.spec.slot, slot);
                }
            }
        }
        self.slots
            .retain(|_, s| s.wanted || !matches!(s.state, State::Empty { .. }));
    }

    /// May programs of checks be running?
    pub fn has_programs(&self) -> bool {
        let exec = |s: &Slot| s.spec.class.row().starts_programs;
        self.slots.values().any(exec)
    }

    /// Slots to be filled now.
    pub fn due(&self, now: u64) -> Vec<SlotSpec> {
        self.empty()
            .filter(|(_, start_at)| *start_at <= now)
            .map(|(slot, _)| slot.spec.clone())
            .collect()
    }

    pub fn next_start(&self) -> Option<u64> {
        self.empty().map(|(_, start_at)| start_at).min()
    }

    fn empty(&self) -> impl Iterator<Item = (&Slot, u64)> {
        self.slots.values().filter_map(|slot| match slot.state {
            State::Empty { start_at } => Some((slot, start_at)),
            State::Starting { .. } | State::Ready { .. } => None,
        })
    }

    pub fn started(&mut self, slot: u32, pid: u32) {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.state = State::Starting {
                pid,
                birth: slot.spec.birth,
            };
        }
    }

    /// It could not even be forked.
    pub fn not_started(&mut self, slot: u32, now: u64) -> Option<Pause> {
        let slot = self.slots.get_mut(&slot)?;
        let pause = slot.record.died(&WORKER, Life::NeverReady);
        let start_at = now + pause.wait.as_nanos() as u64;
        slot.state = State::Empty { start_at };
        Some(pause)
    }

    pub fn ready(&mut self, slot: u32, pid: u32, now: u64) -> bool {
        match self.slots.get_mut(&slot) {
            Some(slot) => match slot.state {
                State::Starting { pid: p, birth } if p == pid => {
                    slot.state = State::Ready {
                        pid,
                        birth,
                        since: now,
                    };
                    true
                }
                _ => false,
            },
            None => false,
        }
    }

    /// Is this the worker that lives there now?
    pub fn holds(&self, slot: u32, pid: u32) -> bool {
        self.slots.get(&slot).is_some_and(|s| match s.state {
            State::Starting { pid: p, .. } | State::Ready { pid: p, .. } => p == pid,
            State::Empty { .. } => false,
        })
    }

    /// When its slot is filled again. None: it is not.
    pub fn died(&mut self, slot: u32, pid: u32, now: u64) -> Option<Pause> {
        if !self.holds(slot, pid) {
            return None;
        }
        let here = self.slots.get_mut(&slot)?;
        let of_now = match here.state {
            State::Starting { birth, .. } | State::Ready { birth, .. } => birth == here.spec.birth,
            State::Empty { .. } => true,
        };
        if !here.wanted || (here.spec.once && of_now) {
            self.slots.remove(&slot);
            return None;
        }
        if !of_now {
            // It lived here before the slot was given to another, which has waited for this.
            here.record.cleared();
            here.state = State::Empty { start_at: now };
            return None;
        }
        let life = match here.state {
            State::Ready { since, .. } => {
                Life::Ready(std::time::Duration::from_nanos(now.saturating_sub(since)))
            }
            State::Starting { .. } | State::Empty { .. } => Life::NeverReady,
        };
        let pause = here.record.died(&WORKER, life);
        let start_at = now + pause.wait.as_nanos() as u64;
        here.state = State::Empty { start_at };
        Some(pause)
    }

    /// The manager is gone, and with it every slot: the next one names its own.
    pub fn clear(&mut self) {
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::supervisor::WorkerClass;
    use std::time::Duration;

    /// Each generation has slots of its own.
    fn spec(slot: u32, generation: u64) -> SlotSpec {
        SlotSpec {
            slot,
            class: WorkerClass::Io,
            generation,
            threads: 4,
            birth: generation * 1000 + u64::from(slot),
            once: false,
            plugins: Vec::new(),
        }
    }

    fn due(pool: &Pool, now: u64) -> Vec<u32> {
        pool.due(now).iter().map(|s| s.slot).collect()
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn a_ready_worker_is_replaced_at_once_and_an_early_death_backs_off() {
        let mut pool = Pool::default();
        pool.want(vec![spec(0, 1), spec(1, 1)], 5);
        assert_eq!(due(&pool, 5), [0, 1]);
        pool.started(0, 100);
        pool.started(1, 101);
        assert_eq!(pool.next_start(), None);
        assert!(pool.ready(0, 100, 10));
        let pause = pool.died(0, 100, 20).expect("it is wanted");
        assert_eq!(pause.wait, Duration::ZERO);
        assert_eq!(due(&pool, 20), [0]);

        pool.died(1, 101, 20);
        pool.started(1, 102);
        let pause = pool.died(1, 102, 20).expect("it is wanted");
        assert_eq!(pause.wait, Duration::from_millis(100));
        assert_eq!(due(&pool, 20), [0]);
        assert_eq!(due(&pool, 20 + 100 * MS), [0, 1]);
    }

    #[test]
    fn a_slot_that_is_no_longer_named_ends_with_its_worker() {
        let mut pool = Pool::default();
        pool.want(vec![spec(0, 1), spec(1, 1)], 0);
        pool.started(0, 100);
        pool.want(vec![spec(2, 2)], 1);
        // Slot 1 had nobody in it; slot 0's worker drains and ends.
        assert_eq!(due(&pool, 1), [2]);
        assert!(pool.holds(0, 100));
        assert_eq!(pool.died(0, 100, 2), None);
        assert_eq!(due(&pool, 2), [2]);
    }

    #[test]
    fn a_new_generation_starts_with_a_clean_record() {
        let mut pool = Pool::default();
        pool.want(vec![spec(0, 1)], 0);
        for pid in 100..110 {
            pool.started(0, pid);
            pool.died(0, pid, 0);
        }
        assert!(due(&pool, 1000 * MS).is_empty());
        pool.want(vec![spec(0, 1)], 5);
        assert!(
            due(&pool, 1000 * MS).is_empty(),
            "the same again is no news"
        );
        pool.want(vec![spec(0, 2)], 5);
        assert_eq!(due(&pool, 5), [0]);
    }

    #[test]
    fn a_slot_for_once_goes_with_its_worker() {
        let mut pool = Pool::default();
        let jail = SlotSpec {
            once: true,
            ..spec(3, 1)
        };
        pool.want(vec![jail.clone()], 0);
        pool.started(3, 100);
        assert_eq!(pool.died(3, 100, 5), None);
        assert!(due(&pool, 5).is_empty());
        // It may be named again as long as the word of its death is under way, and that changes nothing.
        pool.want(vec![spec(0, 1)], 6);
        assert_eq!(due(&pool, 6), [0]);
    }

    #[test]
    fn a_number_that_is_used_anew_is_filled_once_the_old_worker_is_gone() {
        for once in [false, true] {
            let mut pool = Pool::default();
            let first = SlotSpec {
                once: true,
                ..spec(3, 1)
            };
            pool.want(vec![first], 0);
            pool.started(3, 100);
            let second = SlotSpec { once, ..spec(3, 2) };
            pool.want(vec![second], 1);
            assert!(due(&pool, 1).is_empty(), "the old one lives");
            assert_eq!(pool.died(3, 100, 2), None);
            assert_eq!(due(&pool, 2), [3]);
        }
    }

    #[test]
    fn word_of_an_older_worker_changes_nothing() {
        let mut pool = Pool::default();
        pool.want(vec![spec(0, 1)], 0);
        pool.started(0, 100);
        pool.died(0, 100, 0);
        pool.started(0, 101);
        assert!(!pool.ready(0, 100, 1));
        assert_eq!(pool.died(0, 100, 1), None);
        assert!(pool.holds(0, 101));
        assert!(!pool.holds(7, 101));
    }
}
