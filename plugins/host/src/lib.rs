//! Checks about this machine, many kinds in one library. Options, metrics and verdicts of each kind are described in a
//! page beside this crate: DISK.md, MEMORY.md, ...
//!
//! Runs in: the run lane of an io worker; what starts programs, in an exec worker. Each kind is a module and a cargo
//! feature; what several kinds need stands beside them.

#![forbid(unsafe_code)]
// With kinds that are left out goes the use of some of what they share.
#![cfg_attr(not(feature = "default"), allow(dead_code))]

mod glob;
mod kernel;
mod mountinfo;
mod report;
mod stuck;

#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "interface")]
mod interface;
#[cfg(feature = "load")]
mod load;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "process")]
mod process;
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
    #[cfg(feature = "load")]
    run load::Load {
        name: "load",
        summary: "load averages, use of the processors, and how long work waited for them",
    }
    #[cfg(feature = "process")]
    run process::Processes {
        name: "process",
        summary: "how many processes there are, in which state, and what they use",
    }
    #[cfg(feature = "file")]
    run file::File {
        name: "file",
        summary: "files: there or not, age, size, growth, number, owner, mode and content",
    }
    #[cfg(feature = "interface")]
    run interface::Interface {
        name: "interface",
        summary: "network interfaces: carrier, speed, traffic, errors and drops",
    }
}
