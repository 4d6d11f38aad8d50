//! Solo workers: they hold one check each, and one run at a time. Whatever ends such a worker, it was that check.
//!
//! There for suspects, of whom nobody knows which one has killed a worker, and for checks in quarantine. A solo worker is started
//! when it is needed, dies with its check or when that is free, and is never given to another check: so the pool's
//! workers are as many as before, and an idle daemon has none.

use crate::director::{Chore, Manager, Phase};
use crate::fleet::apart::{BLOCKED, Move, TO_COME_BACK};
use crate::fleet::crash_record::Place;
use crate::fleet::pool_key::{APART, PoolKey, SHARED};
use crate::fleet::slots::{Condemned, Group, Slot, SlotState, Solo};
use crate::journal::Fact;
use crate::rollout::generation::MAX_SLOTS;
use crate::rollout::worker_plan::settings;
use crate::time::MS;
use healthd_core::check::fault::Fault;
use healthd_core::text::field;
use healthd_core::wire::events::EventKind;
use healthd_core::wire::supervisor::{SlotSpec, WorkerClass};
use healthd_core::wire::worker::ToWorker;
use healthd_sys::clock;

/// Solo workers at the same time. More would let a plugin that kills every worker take the machine.
pub const MAX_SOLO: usize = 4;
/// A suspect waits so long for a solo worker to be free: then it runs like any other, rather than late...
const PATIENCE_NS: u64 = 150 * MS;
/// ...and so long for its own to come up, which on a machine that is not drowning takes some 20 ms.
const COMING_NS: u64 = 5_000 * MS;
/// A solo worker whose check runs again so soon is not started anew for it.
const LINGER_NS: u64 = 5_000 * MS;
/// A solo worker that is told to end has so long.
const DRAIN_NS: u64 = 2_000 * MS;

impl Manager {
    /// It runs as soon as a solo worker has room for it, and at `due_ns` at the earliest.
    pub fn wait_for_solo(&mut self, id: u32, due_ns: u64) {
        let now = clock::monotonic_ns();
        if let Some(check) = self.checks.get_mut(id) {
            check.stage.wait(due_ns);
        }
        self.fleet.solo.queue.push_back(id);
        let at = due_ns.max(now) + PATIENCE_NS;
        self.clockwork.chores.insert(at.div_ceil(MS), Chore::Solo);
    }

    pub fn empty_solo_queue(&mut self) {
        self.fleet.solo.queue.clear();
    }

    /// After every turn: who waits gets a solo worker, or room in the pool; a solo worker that nobody needs ends.
    pub fn drain_solo(&mut self) {
        if self.phase != Phase::Running
            || (self.fleet.solo.queue.is_empty() && self.fleet.solo.slots.is_empty())
        {
            return;
        }
        let now = clock::monotonic_ns();
        for id in std::mem::take(&mut self.fleet.solo.queue) {
            if self.still_waits(id, now) {
                self.fleet.solo.queue.push_back(id);
            }
        }
        for slot in self.fleet.solo.slots.clone() {
            if !self.is_needed(slot, now) {
                self.close_solo(slot, now);
            }
        }
    }

    /// Sends it if it can be sent. True: it waits on.
    fn still_waits(&mut self, id: u32, now: u64) -> bool {
        let waits = self
            .checks
            .get(id)
            .filter(|c| !c.stage.is_in_line() && !c.removed)
            .and_then(|c| {
                let waiting = c.stage.waiting()?;
                let again = waiting.again.is_some();
                Some((
                    waiting.since_ns,
                    c.target,
                    c.place(),
                    again,
                    !c.wanted && c.waits_too_long(self.clockwork.stood, now),
                ))
            });
        let Some((since, target, place, again, overdue)) = waits else {
            return false;
        };
        let Some(target) = target else {
            self.leave_queue(id);
            return false;
        };
        if place != Place::Pool && self.solo_of(id).is_none() {
            self.open_solo(id, now);
        }
        let own = self.solo_of(id);
        let has_room = |slot: &u32| self.fleet.slots.get(slot).is_some_and(|s| s.credit(1) > 0);
        if let Some(slot) = own.filter(has_room).filter(|_| place != Place::Pool) {
            self.send_waiting(id, slot, since);
            self.look_closely(slot, 0);
            self.publish(id);
            return false;
        }
        let waited_ns = now.saturating_sub(self.clockwork.stood.since(since));
        if is_sent_to_the_pool(place, again, own.is_some(), waited_ns) {
            self.schedule.enqueue(target.pool, id);
            return false;
        }
        if overdue {
            let text = match self.solo_of(id) {
                Some(_) => "its solo worker does not come up",
                None => "every solo worker is taken",
            };
            self.own_fault(id, Fault::Overload, text);
        }
        !overdue
    }

    /// The solo worker that holds this check with the plugin that it has now.
    fn solo_of(&self, id: u32) -> Option<u32> {
        let held = Group::Solo(Solo {
            check: Some(id),
            plugin: self.checks.get(id)?.target?.plugin,
        });
        self.fleet.solo.slots.iter().copied().find(|slot| {
            self.fleet.slots.get(slot).is_some_and(|s| {
                s.spec.generation == self.rollout.generation
                    && matches!(s.state, SlotState::Starting | SlotState::Ready)
                    && s.process.condemned.is_none()
                    && s.group == held
            })
        })
    }

    fn open_solo(&mut self, id: u32, now: u64) {
        let Some(target) = self.checks.get(id).and_then(|c| c.target) else {
            return;
        };
        let alive = |slot: &&u32| {
            self.fleet
                .slots
                .get(slot)
                .is_some_and(|s| s.state != SlotState::Draining)
        };
        if self.fleet.solo.slots.iter().filter(alive).count() >= MAX_SOLO
            || self.fleet.solo.slots.len() >= 2 * MAX_SOLO
        {
            // One that lingers makes room.
            let idle = self.fleet.solo.slots.iter().copied().find(|slot| {
                self.fleet.slots.get(slot).is_some_and(|s| {
                    s.state == SlotState::Ready && s.work.runs.is_empty() && !self.is_awaited(s)
                })
            });
            if let Some(idle) = idle {
                self.close_solo(idle, now);
            }
            return;
        }
        let Some(free) = (0..MAX_SLOTS as u32).find(|n| !self.fleet.slots.contains_key(n)) else {
            return;
        };
        let plugin = self.rollout.plugins.get(usize::from(target.plugin));
        let plugins = plugin.map(|p| p.name.clone()).into_iter().collect();
        let spec = SlotSpec {
            slot: free,
            class: target.pool.class,
            generation: self.rollout.generation,
            threads: 1,
            birth: self.next_birth(),
            once: true,
            plugins,
        };
        let held = Solo {
            check: Some(id),
            plugin: target.plugin,
        };
        let mut slot = Slot::new(spec, 0, Group::Solo(held));
        slot.process.started_ns = now;
        self.fleet.slots.insert(free, slot);
        self.fleet.solo.slots.push(free);
        let name = self.checks.get(id).map_or("?", |c| c.spec.name.as_str());
        log::info!("solo worker started  slot={free} check={}", field(name));
        self.publish_slot(free);
        self.tell_slots();
    }

    fn is_awaited(&self, slot: &Slot) -> bool {
        let solo = slot.group.solo().and_then(|p| self.checks.get(p.check?));
        solo.is_some_and(|c| c.stage.waiting().is_some())
    }

    fn is_needed(&self, slot: u32, now: u64) -> bool {
        let Some(s) = self.fleet.slots.get(&slot) else {
            return false;
        };
        // It ends by itself.
        if s.process.condemned.is_some()
            || s.state == SlotState::Draining
            || !s.work.runs.is_empty()
        {
            return true;
        }
        let Some(solo) = s.group.solo() else {
            return true;
        };
        let Some(check) = solo.check.and_then(|id| self.checks.get(id)) else {
            return false;
        };
        // Its plugin is another one by now, or it needs no solo worker any more.
        if check.target.is_none_or(|t| t.plugin != solo.plugin)
            || s.spec.generation != self.rollout.generation
            || check.place() == Place::Pool
        {
            return false;
        }
        check.stage.waiting().is_some()
            || (check.standing.crashes.quarantine.is_some()
                && check.is_planned()
                && !s.tainted
                && check.plan.next_due < now + LINGER_NS)
    }

    fn close_solo(&mut self, slot: u32, now: u64) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return self.fleet.solo.slots.retain(|j| *j != slot);
        };
        log::info!("solo worker ended  slot={slot} pid={}", s.process.pid);
        s.state = SlotState::Draining;
        s.process.condemned = Some(Condemned {
            reason: "no check needs it any more".into(),
            culprit: None,
            killed: false,
            fence: false,
            drained: Some(0),
        });
        let pid = s.process.pid;
        match &mut s.process.link {
            Some(link) => {
                link.queue(&ToWorker::Drain);
                self.clockwork
                    .chores
                    .insert((now + DRAIN_NS) / MS, Chore::Replace { slot, pid });
                self.publish_slot(slot);
            }
            // Not even started: should it come up after all, it finds its link closed.
            None => self.retire_slot(slot),
        }
        // Not named any more, so that no other is started in its place.
        self.tell_slots();
    }

    /// A slot is gone, whatever it was.
    pub fn solo_retired(&mut self, slot: u32) {
        self.fleet.solo.slots.retain(|j| *j != slot);
    }

    /// This check is no more; its number may be another's at once.
    pub fn release_solo(&mut self, id: u32) {
        self.fleet.apart.forget(id);
        for slot in &self.fleet.solo.slots {
            if let Some(Group::Solo(p)) = self.fleet.slots.get_mut(slot).map(|s| &mut s.group)
                && p.check == Some(id)
            {
                p.check = None;
            }
        }
    }

    /// It could not be started, or could not load its plugin: our own fault, and no word about the check.
    pub fn solo_failed(&mut self, slot: u32, why: &str) {
        let solo = self
            .fleet
            .slots
            .get(&slot)
            .and_then(|s| s.group.solo()?.check);
        let now = clock::monotonic_ns();
        if let Some(id) = solo
            && self
                .checks
                .get(id)
                .is_some_and(|c| c.stage.waiting().is_some())
        {
            self.own_fault(
                id,
                Fault::NoWorker,
                &format!("its solo worker cannot run it: {why}"),
            );
        }
        self.close_solo(slot, now);
    }

    pub fn next_birth(&mut self) -> u64 {
        self.fleet.births += 1;
        self.fleet.births
    }
}

/// Whether one that waits for a solo worker waits no longer. `again`: its run was cut off; `has_one`: a solo worker of its own is
/// up, or comes up.
fn is_sent_to_the_pool(place: Place, again: bool, has_one: bool, waited_ns: u64) -> bool {
    match (place, has_one) {
        // Released.
        (Place::Pool, _) => true,
        (Place::Solo, _) => false,
        (Place::RatherSolo, true) => waited_ns >= COMING_NS,
        // All are taken, perhaps for long.
        (Place::RatherSolo, false) => !again || waited_ns >= PATIENCE_NS,
    }
}

/// Room in `state.map` for solo workers, ending ones too.
pub const SOLO_SLOTS: usize = 2 * MAX_SOLO;

/// The worker of checks that block others, see `apart.rs`.
const APART_POOL: PoolKey = PoolKey {
    class: WorkerClass::Io,
    group: APART,
};
/// It has so long to end its last runs.
const APART_DRAIN_NS: u64 = 60_000 * MS;

impl Manager {
    pub(super) fn note_blocked(&mut self, id: u32, blocked: bool) {
        let of_loop = |pool: PoolKey| {
            pool == APART_POOL
                || pool
                    == (PoolKey {
                        group: SHARED,
                        ..APART_POOL
                    })
        };
        let Some(check) = self.checks.get(id).filter(|c| {
            let target = c.target;
            target.is_some_and(|t| of_loop(t.pool))
        }) else {
            return;
        };
        let (name, plugin) = (&check.spec.name, &check.spec.plugin);
        let fact = match self.fleet.apart.ran(id, blocked) {
            // Nearly always, at the end of each run.
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
        self.books.journal.record(fact.check(name));
    }

    /// Now and then: the worker is there when it is needed, and who belongs to it is sent there once it is ready.
    pub(super) fn look_at_apart(&mut self, now: u64) {
        if self.phase != Phase::Running || self.rollout.is_coming_up() {
            return;
        }
        let slot = self.slot_apart();
        if self.fleet.apart.known().is_empty() && slot.is_none() {
            return;
        }
        let known = self.fleet.apart.known();
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
                && target.pool.class == APART_POOL.class
                && matches!(target.pool.group, SHARED | APART)
            {
                target.pool.group = if goes { APART } else { SHARED };
            }
        }
    }

    fn belongs_apart(&self, id: u32) -> bool {
        let target = self.checks.get(id).and_then(|c| c.target);
        self.fleet.apart.contains(id) && target.is_some_and(|t| t.pool.class == APART_POOL.class)
    }

    /// That of the generation in force, if it is not about to end.
    fn slot_apart(&self) -> Option<u32> {
        let of_now = |s: &&Slot| {
            s.pool() == Some(APART_POOL)
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
            class: APART_POOL.class,
            generation: self.rollout.generation,
            threads: u32::from(settings(&self.model.pool, APART_POOL.class).threads),
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
            drained: Some(0),
        });
        let pid = s.process.pid;
        match &mut s.process.link {
            Some(link) => {
                link.queue(&ToWorker::Drain);
                let at = (now + APART_DRAIN_NS) / MS;
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
    fn a_suspect_whose_solo_worker_comes_up_waits_for_it_however_late_it_is_looked_at() {
        let rather = |again, has_one, waited_ms: u64| {
            is_sent_to_the_pool(Place::RatherSolo, again, has_one, waited_ms * MS)
        };
        // A manager that was kept from its work for a moment.
        assert!(!rather(true, true, 400) && !rather(false, true, 400));
        assert!(rather(true, true, 5_000));
        assert!(!rather(true, false, 100) && rather(true, false, 150));
        assert!(rather(false, false, 0));
        for has_one in [true, false] {
            assert!(!is_sent_to_the_pool(
                Place::Solo,
                true,
                has_one,
                60_000 * MS
            ));
            assert!(is_sent_to_the_pool(Place::Pool, true, has_one, 0));
        }
    }
}
