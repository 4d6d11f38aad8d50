//! When and where: what is due, who waits for what, and which worker a run goes to.

pub mod dependency;
pub mod dispatch;
pub mod groups;
pub mod pause;
pub mod stage;

use crate::fleet::leftovers::Leftovers;
use dependency::Dependents;
use healthd_core::check::semaphore::Semaphores;
use healthd_core::check::wheel::Wheel;
use healthd_core::wire::supervisor::WorkerClass;
use std::collections::VecDeque;

pub struct Schedule {
    /// Milliseconds of CLOCK_MONOTONIC, ahead of now by the look-ahead.
    pub due: Wheel<u32>,
    /// Checks that are due while no worker of their class has room, by class.
    pub queues: [VecDeque<u32>; WorkerClass::ALL.len()],
    /// Who of the checks with groups is running, and who waits for its turn.
    pub groups: Semaphores<u32>,
    /// What processes hold that do not end.
    pub leftovers: Leftovers,
    pub dependents: Dependents,
}

impl Schedule {
    pub fn new(now_ms: u64) -> Schedule {
        Schedule {
            due: Wheel::new(now_ms),
            queues: Default::default(),
            groups: Semaphores::default(),
            leftovers: Leftovers::default(),
            dependents: Dependents::default(),
        }
    }
}
