//! What the process-level tests, the benchmarks and the chaos runs have in common.
#![forbid(unsafe_code)]

pub mod compile;
pub mod procs;
mod small;

pub use small::Small;
