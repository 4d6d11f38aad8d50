//! Which run goes where, and when. Decided here and nowhere else, so no lock is shared.

use super::stage::{Again, InFlight, Stage, Waiting};
use crate::check::{Check, ns};
use crate::director::{Manager, Phase};
use crate::fleet::chunks::RunChunks;
use crate::fleet::crash_record::Place;
use crate::fleet::pool_key::PoolKey;
use crate::fleet::slots::SlotState;
use crate::time::MS;
use healthd_core::check::fault::Fault;
use healthd_core::check::schedule;
use healthd_core::wire::worker::{Run, ToWorker};
use healthd_sys::clock;

/// Runs due within this time leave together, and the worker starts each at its own moment; so the manager
/// wakes ten times a second and not once a check.
pub const LOOK_AHEAD_NS: u64 = 100 * MS;
/// A message needs this long to be there before its first run is due.
const LEAD_NS: u64 = 10 * MS;

impl Manager {
    /// When the loop must wake for the due wheel, which turns only while runs are sent.
    pub fn due_wake(&self) -> Option<u64> {
        if self.phase != Phase::Running {
            return None;
        }
        let at = self.schedule.due.next_wake()?.saturating_mul(MS);
        Some(at.saturating_sub(LEAD_NS))
    }

    /// Everything due within the look-ahead goes out.
    pub fn dispatch_due(&mut self, now: u64, fired: &mut Vec<u32>) {
        self.schedule.due.advance((now + LOOK_AHEAD_NS) / MS, fired);
        for id in fired.drain(..) {
            self.due_now(id, now);
        }
    }

    /// Plans the next run; the timer that was set is replaced.
    pub fn plan(&mut self, id: u32, due_ns: u64) {
        if let Some(check) = self.checks.get_mut(id) {
            self.schedule.plan(check, id, due_ns);
        }
    }

    pub fn unplan(&mut self, id: u32) {
        if let Some(check) = self.checks.get_mut(id)
            && let Some(timer) = check.plan.timer.take()
        {
            self.schedule.due.cancel(timer);
        }
    }

    fn due_now(&mut self, id: u32, now: u64) {
        if self.phase != Phase::Running {
            return;
        }
        let (stood, spread) = (self.clockwork.stood, ns(self.model.daemon.start_spread));
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        check.plan.timer = None;
        if !check.is_planned() {
            return;
        }
        let due = check.plan.next_due;
        if let Some(hold) = check.standing.hold.filter(|h| h.until_ns > due.max(now)) {
            self.plan(id, hold.until_ns);
            self.publish(id);
            return;
        }
        let (hash, interval) = (check.identity.hash, check.interval_ns());
        let was_put_off = std::mem::take(&mut check.plan.put_off);
        if check.stage.is_busy() {
            check.counts.skipped += 1;
        } else if let Some(later) =
            schedule::put_off(hash, due, was_put_off, stood, interval, spread)
        {
            check.plan.put_off = true;
            self.plan(id, later.max(now));
            return self.publish(id);
        } else {
            self.request_run(id, due);
        }
        if let Some(check) = self.checks.get(id) {
            let next = schedule::next_due(check.identity.hash, due.max(now), check.interval_ns());
            self.plan(id, next);
        }
        self.publish(id);
    }

    /// Starts a run at `due_ns`, or queues it until its groups and a worker have room.
    pub fn request_run(&mut self, id: u32, due_ns: u64) {
        if self.still_runs(id) {
            return;
        }
        if self.enter_groups(id, due_ns) {
            self.find_worker(id, due_ns);
        }
    }

    /// It is in its groups, if it has any.
    fn find_worker(&mut self, id: u32, due_ns: u64) {
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let Some(target) = check.target else { return };
        if check.place() != Place::Pool {
            return self.wait_for_solo(id, due_ns);
        }
        match self.choose(check.identity.hash, target.pool) {
            Some(slot) => self.send(id, slot, due_ns, 1, Vec::new()),
            None => {
                if let Some(check) = self.checks.get_mut(id) {
                    check.stage.wait(due_ns);
                }
                self.schedule.enqueue(target.pool, id);
            }
        }
    }

    /// Its home worker, or the next in its own order of preference that has room.
    fn choose(&self, hash: u64, pool: PoolKey) -> Option<u32> {
        self.choose_of(hash, pool, self.rollout.generation)
    }

    pub fn choose_of(&self, hash: u64, pool: PoolKey, generation: u64) -> Option<u32> {
        let cap = self.fleet.cap(pool.class, &self.model.pool);
        self.fleet
            .slots
            .values()
            .filter(|s| {
                s.pool() == Some(pool) && s.spec.generation == generation && s.credit(cap) > 0
            })
            .max_by_key(|s| schedule::rendezvous(hash, s.place))
            .map(|s| s.spec.slot)
    }

    fn send(&mut self, id: u32, slot: u32, due_ns: u64, attempt: u8, lost: Vec<String>) {
        let run_id = self.books.next_run;
        self.books.next_run += 1;
        self.send_as(id, slot, due_ns, run_id, attempt, lost);
    }

    fn send_as(
        &mut self,
        id: u32,
        slot: u32,
        due_ns: u64,
        run_id: u64,
        attempt: u8,
        lost: Vec<String>,
    ) {
        let now = clock::monotonic_ns();
        let cap = self
            .fleet
            .slots
            .get(&slot)
            .map_or(0, |s| self.fleet.cap(s.spec.class, &self.model.pool));
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        // Where room is scarce a result that waits for company would keep the next run out.
        let scarce = s.group.solo().is_some() || (s.work.runs.len() + 1) * 4 >= cap * 3;
        let Some(link) = &mut s.process.link else {
            return;
        };
        let run = Run {
            run_id,
            check: id,
            epoch: check.identity.epoch,
            attempt,
            start_ns: due_ns,
            last_status: check.state.status().map_or(255, |s| s as u8),
            // So does one of a group, if it waits while others wait for its end.
            urgent: check.wanted || scarce || !check.spec.groups.is_empty(),
        };
        if check.is_carrier()
            && let Some((notice, json)) = self.alerts.letter(id, run_id)
        {
            link.queue_with(&ToWorker::Notice(notice), Some(json));
        }
        link.queue_run(&run, || check.define(id));
        s.work.runs.insert(run_id, id);
        s.accounts.dispatched += 1;
        s.process.held.sent += 1;
        check.plan.again = false;
        check.stage = Stage::Flying(InFlight {
            run_id,
            epoch: check.identity.epoch,
            attempt,
            slot,
            due_ns,
            dispatched_ns: now,
            lost,
            chunks: RunChunks::default(),
            lives_on: None,
        });
    }

    /// A run that died with its worker goes elsewhere, once. False: it has been tried twice.
    pub fn send_again(&mut self, id: u32, old: &InFlight, why: String) -> bool {
        if old.attempt >= 2 {
            return false;
        }
        let mut lost = old.lost.clone();
        lost.push(why);
        let Some(check) = self.checks.get(id) else {
            return true;
        };
        let Some(target) = check.target.filter(|_| check.may_run()) else {
            self.leave_queue(id);
            return true;
        };
        let now = clock::monotonic_ns();
        let home = match check.standing.crashes.place(true) {
            Place::Pool => self.choose(check.identity.hash, target.pool),
            Place::Solo | Place::RatherSolo => None,
        };
        if let Some(slot) = home {
            self.send_as(id, slot, now, old.run_id, old.attempt + 1, lost);
            return true;
        }
        if let Some(check) = self.checks.get_mut(id) {
            check.stage = Stage::Waiting(Waiting {
                since_ns: now,
                in_line: false,
                again: Some(Again {
                    run_id: old.run_id,
                    attempt: old.attempt + 1,
                    lost,
                }),
            });
            if check.place() != Place::Pool {
                self.wait_for_solo(id, now);
                return true;
            }
        }
        self.schedule.enqueue(target.pool, id);
        true
    }

    /// Sends the run that waits.
    pub fn send_waiting(&mut self, id: u32, slot: u32, since: u64) {
        let check = self.checks.get_mut(id);
        let waiting = check.and_then(|c| c.stage.stop_waiting());
        match waiting.and_then(|w| w.again) {
            Some(a) => self.send_as(id, slot, since, a.run_id, a.attempt, a.lost),
            None => self.send(id, slot, since, 1, Vec::new()),
        }
    }

    /// It is not to run any more, so it waits no longer; a client that waits for it is told as it is.
    pub fn leave_queue(&mut self, id: u32) {
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        check.stage.stop_waiting();
        let idle = check.stage.flight().is_none();
        if !check.stage.is_busy() && std::mem::take(&mut check.wanted) {
            self.clients.run_finished(id);
        }
        if idle {
            self.leave_groups(id);
        }
    }

    /// Room has come up: the oldest waiting runs go first.
    pub fn drain_queues(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.admit_to_groups();
        let mut last = None;
        while let Some(pool) = self.schedule.next_line(last) {
            last = Some(pool);
            while let Some(id) = self.schedule.next_in_line(pool) {
                if !self.serve_next(pool, id) {
                    self.schedule.enqueue_first(pool, id);
                    break;
                }
            }
        }
    }

    /// False: no worker of the pool has room, and it stays the first in line.
    fn serve_next(&mut self, pool: PoolKey, id: u32) -> bool {
        let Some(check) = self.checks.get(id).filter(|c| waits_for_a_worker(c)) else {
            return true;
        };
        let since = check.stage.waiting().map_or(0, |w| w.since_ns);
        // It has been put into quarantine while it waited.
        if check.place() == Place::Solo {
            self.wait_for_solo(id, since);
            return true;
        }
        // A reload may have given it another plugin, or none that can be used.
        match check.target {
            Some(target) if target.pool == pool => {}
            Some(target) => {
                self.schedule.enqueue(target.pool, id);
                return true;
            }
            None => {
                self.leave_queue(id);
                return true;
            }
        }
        let Some(slot) = self.choose(check.identity.hash, pool) else {
            return false;
        };
        if check.comes_too_late(self.clockwork.stood, clock::monotonic_ns()) {
            let text = format!(
                "no {} worker had room for it within its interval",
                self.fleet.pool_name(pool, self.rollout.generation)
            );
            self.own_fault(id, Fault::Overload, &text);
        } else {
            self.send_waiting(id, slot, since);
            self.publish(id);
        }
        true
    }

    /// Runs that no worker will ever take: said, rather than left to look fresh.
    pub fn expire_queues(&mut self, now: u64) {
        let mut last = None;
        while let Some(pool) = self.schedule.next_line(last) {
            last = Some(pool);
            let ready = self.fleet.slots.values().any(|s| {
                s.pool() == Some(pool)
                    && s.spec.generation == self.rollout.generation
                    && s.state == SlotState::Ready
            });
            let queue = self.schedule.queues.remove(&pool).unwrap_or_default();
            for id in queue {
                let check = self.checks.get(id);
                let Some(check) = check.filter(|c| waits_for_a_worker(c)) else {
                    continue;
                };
                // Who asked for a run waits as long as it takes, if only it comes.
                let overdue = check.waits_too_long(self.clockwork.stood, now);
                if !overdue || (ready && check.wanted) {
                    self.schedule.enqueue(pool, id);
                } else {
                    let fault = match ready {
                        true => Fault::Overload,
                        false => Fault::NoWorker,
                    };
                    let text = self
                        .fleet
                        .why_not_taken(pool, self.rollout.generation, ready);
                    self.own_fault(id, fault, &text);
                }
            }
        }
    }
}

fn waits_for_a_worker(check: &Check) -> bool {
    check.stage.waiting().is_some_and(|w| !w.in_line)
}
