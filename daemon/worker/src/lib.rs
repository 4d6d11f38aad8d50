//! The worker role: loads the plugins of its class and runs checks; nothing else.
//!
//! One thread is the reactor: it talks to the manager, keeps all timers and steps the tasks of the step
//! lane. The run lane is a pool of threads beside it, for plugins that block or compute. Any plugin may
//! kill this process at any moment, so nothing here is worth keeping.
#![forbid(unsafe_code)]

mod active;
mod asks;
mod bill;
mod caches;
mod contract;
mod counters;
mod deadline;
mod destroy;
mod exec;
mod fanout;
mod give_way;
mod inbox;
mod load;
mod notice;
mod outbox;
mod pace;
mod pool;
mod probe;
mod reactor;
mod role;
mod run_lane;
mod services;
mod side;
mod step_lane;
mod trial;
mod trial_watch;
mod tryout;
mod verdict;
mod waited;

pub use probe::probe_main;
pub use role::main;
pub use trial::try_main;
pub use tryout::tryout_main;
