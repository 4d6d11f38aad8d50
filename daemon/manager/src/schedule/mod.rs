//! When and where: what is due, who waits for what, and which worker a run goes to.

pub mod dependency;
pub mod dispatch;
mod doubt;
pub mod groups;
pub mod pause;
mod resume;
pub mod stage;

use dependency::Dependents;
use healthd_core::check::semaphore::Semaphores;
use healthd_core::check::wheel::Wheel;
use healthd_core::wire::supervisor::WorkerClass;
use std::collections::VecDeque;

pub struct Schedule {
    /// Milliseconds of CLOCK_MONOTONIC, ahead of now by the look-ahead.
    due: Wheel<u32>,
    /// Checks that are due while no worker of their class has room, by class.
    queues: [VecDeque<u32>; WorkerClass::ALL.len()],
    /// Who of the checks with groups is running, and who waits for its turn.
    pub groups: Semaphores<u32>,
    dependents: Dependents,
}

impl Schedule {
    pub fn new(now_ms: u64) -> Schedule {
        Schedule {
            due: Wheel::new(now_ms),
            queues: Default::default(),
            groups: Semaphores::default(),
            dependents: Dependents::default(),
        }
    }

    /// It waits for room in a worker of this class, behind those that wait already.
    pub fn enqueue(&mut self, class: WorkerClass, id: u32) {
        self.queues[class as usize].push_back(id);
    }

    /// Nothing is sent any more.
    pub fn clear_queues(&mut self) {
        self.queues.iter_mut().for_each(VecDeque::clear);
    }
}
