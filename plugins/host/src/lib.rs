//! Checks about this machine, many kinds in one library. Options, metrics and verdicts of each kind are described in a
//! page beside this crate: DISK.md, MEMORY.md, ...
//!
//! Runs in: the run lane of an io worker; what starts programs, in an exec worker. Each kind is a module and a cargo
//! feature; what several kinds need stands beside them.

#![forbid(unsafe_code)]
// Some kinds can be left out, and with them the use of what kinds share.
#![allow(dead_code)]

mod glob;
mod kernel;
mod mountinfo;
mod report;
mod stuck;

#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "memory")]
mod memory;
#[cfg(test)]
mod tests;

healthd_plugin::plugins! {
    #[cfg(feature = "disk")]
    run disk::Disk {
        name: "disk",
        summary: "free space and inodes of file systems, read-only ones, and when they will be full",
    }
    #[cfg(feature = "memory")]
    run memory::Memory {
        name: "memory",
        summary: "available memory, swap, memory pressure and the OOM killer",
    }
}
