//! Checks about this machine, many kinds in one library. Options, metrics and verdicts of each kind are described in a
//! page beside this crate: DISK.md, MEMORY.md, ...
//!
//! Runs in: the run lane of an io worker; what only waits, in the step lane; what starts programs, in an exec worker. Each kind is a module and a cargo
//! feature; what several kinds need stands beside them.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "default"),
    allow(
        dead_code,
        reason = "with kinds left out, not all of what kinds share is used"
    )
)]

#[cfg(test)]
mod fuse;
mod glob;
mod kernel;
#[cfg(any(feature = "journal", feature = "log"))]
mod matching;
mod mountinfo;
#[cfg(any(feature = "journal", feature = "log"))]
mod place;
#[cfg(any(feature = "journal", feature = "smart", feature = "updates"))]
mod program;
mod report;
mod stuck;

#[cfg(feature = "clock")]
mod clock;
#[cfg(feature = "container")]
mod container;
#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "interface")]
mod interface;
#[cfg(feature = "journal")]
mod journal;
#[cfg(feature = "load")]
mod load;
#[cfg(feature = "log")]
mod log;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "mount")]
mod mount;
#[cfg(feature = "process")]
mod process;
#[cfg(feature = "raid")]
mod raid;
#[cfg(feature = "sensors")]
mod sensors;
#[cfg(feature = "smart")]
mod smart;
#[cfg(feature = "systemd")]
mod systemd;
#[cfg(test)]
mod tests;
#[cfg(feature = "updates")]
mod updates;

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
        flags: healthd_plugin::abi::F_INSTANCE_MT | healthd_plugin::abi::F_NEEDS_PROC,
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
    #[cfg(feature = "systemd")]
    step systemd::Systemd {
        name: "systemd",
        summary: "units of systemd: state, restarts, memory, timers, and how many have failed",
    }
    #[cfg(feature = "mount")]
    run mount::Mounts {
        name: "mount",
        summary: "mount points: mounted or not, type, options, and whether the file system answers",
    }
    #[cfg(feature = "raid")]
    run raid::Raid {
        name: "raid",
        summary: "Linux software RAID: degraded arrays, failed disks, rebuilds",
    }
    #[cfg(feature = "sensors")]
    run sensors::Sensors {
        name: "sensors",
        summary: "temperatures, fans, voltages, each against its own limits",
    }
    #[cfg(feature = "clock")]
    run clock::SystemClock {
        name: "clock",
        summary: "this machine's time of day: whether somebody keeps it right, and how far it may be off",
    }
    #[cfg(feature = "smart")]
    exec smart::Smart {
        name: "smart",
        summary: "what disks say of their own health: failing, worn out, hot, bad sectors",
    }
    #[cfg(feature = "updates")]
    exec updates::Updates {
        name: "updates",
        summary: "updates that wait, those for security, the age of the lists, a reboot that is wanted",
    }
    #[cfg(feature = "container")]
    step container::Container {
        name: "container",
        summary: "containers of Docker and podman: state, health, restarts, memory, the image's age",
    }
    #[cfg(feature = "log")]
    run log::Log {
        name: "log",
        summary: "follows a log file over rotation and counts the lines that match",
    }
    #[cfg(feature = "journal")]
    exec journal::Journal {
        name: "journal",
        summary: "follows the systemd journal and counts the entries that match",
    }
}
