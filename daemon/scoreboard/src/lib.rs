//! The shared maps: files of 64-bit words in the runtime directory, each written by one process only and
//! readable by anyone, even when every process of the daemon stands still.
//!
//! What a word means is said in `healthd_core::wire::maps`. No lock, no pointer: a writer may be killed at
//! any instruction and leaves nothing that would need repair.

//!
//! What must hold between threads is in `word`, `record` and `line`, which touch nothing but words; loom
//! tries every order of their steps (`models`, run by `tests/loom`). There the files below do not exist.

#![cfg_attr(loom, allow(dead_code, reason = "the models do not need all of it"))]

mod line;
mod record;
mod sync;
mod word;

#[cfg(not(loom))]
pub mod crash;
#[cfg(not(loom))]
pub mod events_map;
#[cfg(not(loom))]
pub mod map;
#[cfg(not(loom))]
pub mod metrics_map;
#[cfg(not(loom))]
pub mod objects_map;
#[cfg(not(loom))]
pub mod samples_map;
#[cfg(not(loom))]
pub mod state_map;
#[cfg(not(loom))]
pub mod traces_map;
#[cfg(not(loom))]
pub mod worker_map;

#[cfg(all(test, loom))]
mod models;
