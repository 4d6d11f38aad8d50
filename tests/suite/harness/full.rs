//! A process of the daemon without a descriptor to spare.

use healthd_test_support::procs;
use std::fs;
use std::process::Command;

/// A process that gets no descriptor more.
pub struct Full {
    pid: u32,
    soft: u64,
}

impl Full {
    pub fn of(pid: u32) -> Full {
        let soft = procs::open_files_limit(pid).expect("it lives");
        // The lowest number that is free is the next that it would get.
        let next = (0..soft).find(|n| !fs::exists(format!("/proc/{pid}/fd/{n}")).expect("/proc"));
        assert!(limit(pid, next.expect("not all are taken")), "prlimit");
        Full { pid, soft }
    }

    /// What becomes free does not make room for another.
    pub fn to(&self, soft: u64) {
        assert!(limit(self.pid, soft), "prlimit");
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        limit(self.pid, self.soft);
    }
}

fn limit(pid: u32, soft: u64) -> bool {
    Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")])
        .status()
        .is_ok_and(|s| s.success())
}
