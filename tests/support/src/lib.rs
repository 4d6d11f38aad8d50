//! What the process-level tests, the benchmarks and the chaos runs have in common.
#![forbid(unsafe_code)]

pub mod compile;
mod hole;
pub mod procs;
pub mod receiver;
mod small;

pub use hole::black_hole;
pub use small::{ReadOnly, Small, unmount_below};
