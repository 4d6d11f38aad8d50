//! When and where: what is due, who waits for what, and which worker a run goes to.

pub mod dependency;
pub mod dispatch;
mod doubt;
pub mod groups;
pub mod pause;
mod resume;
pub mod stage;

use crate::check::Check;
use crate::fleet::pool_key::PoolKey;
use crate::time::MS;
use dependency::Dependents;
use healthd_core::check::semaphore::Semaphores;
use healthd_core::check::wheel::Wheel;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

pub struct Schedule {
    /// Milliseconds of CLOCK_MONOTONIC, ahead of now by the look-ahead.
    due: Wheel<u32>,
    /// Checks that are due while no worker of their pool has room. One that is empty is not in it.
    queues: BTreeMap<PoolKey, VecDeque<u32>>,
    /// Who of the checks with groups is running, and who waits for its turn.
    pub groups: Semaphores<u32>,
    dependents: Dependents,
}

impl Schedule {
    pub fn new(now_ms: u64) -> Schedule {
        Schedule {
            due: Wheel::new(now_ms),
            queues: BTreeMap::new(),
            groups: Semaphores::default(),
            dependents: Dependents::default(),
        }
    }

    /// Plans its next run; the timer that was set is replaced.
    pub fn plan(&mut self, check: &mut Check, id: u32, due_ns: u64) {
        if let Some(timer) = check.plan.timer.take() {
            self.due.cancel(timer);
        }
        check.plan.next_due = due_ns;
        if check.is_planned() {
            check.plan.timer = Some(self.due.insert(due_ns.div_ceil(MS), id));
        }
    }

    /// It waits for room in a worker of this pool, behind those that wait already.
    pub fn enqueue(&mut self, pool: PoolKey, id: u32) {
        self.queues.entry(pool).or_default().push_back(id);
    }

    /// The next pool after this one for which checks wait.
    fn next_line(&self, last: Option<PoolKey>) -> Option<PoolKey> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut lines = self.queues.range((after, Bound::Unbounded));
        lines.next().map(|(pool, _)| *pool)
    }

    fn next_in_line(&mut self, pool: PoolKey) -> Option<u32> {
        let queue = self.queues.get_mut(&pool)?;
        let next = queue.pop_front();
        if next.is_none() {
            self.queues.remove(&pool);
        }
        next
    }

    fn enqueue_first(&mut self, pool: PoolKey, id: u32) {
        self.queues.entry(pool).or_default().push_front(id);
    }

    /// Nothing is sent any more.
    pub fn clear_queues(&mut self) {
        self.queues.clear();
    }
}
