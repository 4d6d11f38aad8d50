//! Locks of plugins: names that one run holds at a time, all that it asks for at once.
//!
//! A lock is a lease of a run. It ends when the run gives it back, when the run ends, or when its worker dies; a manager's
//! death ends the workers, and with them every lock.

use crate::director::{Chore, Manager};
use crate::time;
use crate::time::MS;
use healthd_core::check::semaphore::{Semaphores, Shown, Want};
use healthd_core::wire::asks::LockAsk;
use healthd_core::wire::control::ObjectUser;
use healthd_core::wire::objects_map::NAME_MAX;
use healthd_core::wire::worker::ToWorker;
use healthd_sys::clock;
use std::collections::HashMap;

/// Slot, and the ask of its worker.
pub type LockKey = (u32, u64);

/// In the place of a slot: the other number is a leftover's.
const GHOST: u32 = u32::MAX;

#[derive(Default)]
pub struct Locks {
    gate: Semaphores<LockKey>,
    leases: HashMap<LockKey, Lease>,
    /// The one ask that a run may have, by slot and run.
    of_run: HashMap<(u32, u64), u64>,
}

struct Lease {
    run_id: u64,
    check: u32,
}

const NAMES_MAX: usize = 16;

impl Locks {
    pub fn shown(&self) -> Vec<Shown<LockKey>> {
        self.gate.shown()
    }
}

impl Manager {
    pub fn lock_asked(&mut self, slot: u32, ask: &LockAsk) {
        if !self.may_ask(slot) {
            return;
        }
        let key = (slot, ask.ask);
        match self.try_lock(key, ask) {
            Ok(true) => self.tell_lock(key, 0),
            // A later turn tells.
            Ok(false) => {}
            Err(errno) => self.tell_lock(key, errno),
        }
    }

    fn try_lock(&mut self, key: LockKey, ask: &LockAsk) -> Result<bool, i32> {
        let run = (key.0, ask.run_id);
        let named = |n: &String| {
            !n.is_empty() && n.len() <= NAME_MAX && n.bytes().all(|b| b.is_ascii_graphic())
        };
        if ask.names.is_empty() || ask.names.len() > NAMES_MAX || !ask.names.iter().all(named) {
            return Err(-libc::EINVAL);
        }
        // Only a run that is there can end, and so give it back.
        let check = self
            .fleet
            .slots
            .get(&run.0)
            .and_then(|s| s.work.runs.get(&run.1));
        let check = *check.ok_or(-libc::ESRCH)?;
        if self.services.locks.of_run.contains_key(&run) {
            return Err(-libc::EDEADLK);
        }
        let want = |name: &String| Want {
            place: name.as_str().into(),
            most: 1,
        };
        let now = clock::monotonic_ns();
        let wants = ask.names.iter().map(want).collect();
        let entered = self.services.locks.gate.enter(key, wants, now);
        let held = entered.map_err(|_| -libc::EDEADLK)?;
        if !held && ask.timeout_ns == 0 {
            self.services.locks.gate.leave(key);
            return Err(-libc::ETIMEDOUT);
        }
        self.services.locks.of_run.insert(run, key.1);
        let lease = Lease {
            run_id: ask.run_id,
            check,
        };
        self.services.locks.leases.insert(key, lease);
        if !held {
            let at = now.saturating_add(ask.timeout_ns).div_ceil(MS);
            let (slot, ask) = key;
            self.clockwork
                .chores
                .insert(at, Chore::LockTimeout { slot, ask });
        }
        Ok(held)
    }

    fn tell_lock(&mut self, (slot, ask): LockKey, error: i32) {
        super::answer(&mut self.fleet, slot, &ToWorker::Lock { ask, error });
    }

    /// Given back, or not waited for any longer.
    pub fn unlock(&mut self, key: LockKey) {
        self.services.locks.gate.leave(key);
        if let Some(lease) = self.services.locks.leases.remove(&key) {
            self.services.locks.of_run.remove(&(key.0, lease.run_id));
        }
    }

    pub fn lock_timeout(&mut self, key: LockKey) {
        if let Some((false, _)) = self.services.locks.gate.find(key) {
            self.unlock(key);
            self.tell_lock(key, -libc::ETIMEDOUT);
        }
    }

    /// The lease ends with the run.
    pub fn unlock_run(&mut self, slot: u32, run_id: u64) {
        if let Some(ask) = self.services.locks.of_run.get(&(slot, run_id)) {
            self.unlock((slot, *ask));
        }
    }

    /// Its worker is dead.
    pub fn unlock_slot(&mut self, slot: u32) {
        let of_slot: Vec<LockKey> = self
            .services
            .locks
            .gate
            .holders()
            .filter(|k| k.0 == slot)
            .collect();
        of_slot.into_iter().for_each(|key| self.unlock(key));
    }

    /// The lease of a run whose worker has left a process behind. False: it has none, or waits.
    pub fn lock_goes_to_leftover(&mut self, slot: u32, run_id: u64, leftover: u32) -> bool {
        let Some(ask) = self.services.locks.of_run.get(&(slot, run_id)).copied() else {
            return false;
        };
        let (key, new) = ((slot, ask), (GHOST, u64::from(leftover)));
        if !self.services.locks.gate.rename(key, new) {
            return false;
        }
        self.services.locks.of_run.remove(&(slot, run_id));
        if let Some(lease) = self.services.locks.leases.remove(&key) {
            self.services.locks.leases.insert(new, lease);
        }
        true
    }

    pub fn leftover_unlocks(&mut self, leftover: u32) {
        self.unlock((GHOST, u64::from(leftover)));
    }

    /// Those whose turn has come are told.
    pub fn admit_to_locks(&mut self) {
        if self.services.locks.gate.is_empty() {
            return;
        }
        for key in self.services.locks.gate.admit(clock::monotonic_ns()) {
            self.tell_lock(key, 0);
        }
    }

    pub fn lock_user(&self, (key, since): &(LockKey, u64)) -> ObjectUser {
        let check = self
            .services
            .locks
            .leases
            .get(key)
            .and_then(|l| self.checks.get(l.check));
        ObjectUser {
            check: check.map_or_else(|| "?".into(), |c| c.spec.name.clone()),
            worker: (key.0 != GHOST).then_some(key.0),
            since: time::rfc3339(time::wall(*since)),
        }
    }
}
