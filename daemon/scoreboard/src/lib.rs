//! The shared maps: files of 64-bit words in the runtime directory, each written by one process only and
//! readable by anyone, even when every process of the daemon stands still.
//!
//! What a word means is said in `healthd_core::wire::maps`. No lock, no pointer: a writer may be killed at
//! any instruction and leaves nothing that would need repair.

pub mod crash;
pub mod map;
pub mod objects_map;
pub mod state_map;
pub mod worker_map;
