//! What a run held alone while a process of it does not end: it hangs in the kernel, or it may not be killed by us. Its
//! worker has died, or goes on without it. The run has its end, but its groups and locks are held by a *leftover* until the
//! supervisor, or the worker, says that the process is gone: so nothing runs beside it, and no second copy of it.

use healthd_sys::clock;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Leftovers {
    made: u32,
    pub(super) all: BTreeMap<u32, Leftover>,
}

/// A program that neither SIGTERM nor SIGKILL has ended.
#[derive(Clone, Copy, Debug)]
pub struct LivesOn {
    pub pid: u32,
    /// We may not kill it; else it hangs in the kernel.
    pub forbidden: bool,
}

pub(super) struct Leftover {
    pub(super) slot: u32,
    /// Of the worker.
    pub(super) pid: u32,
    /// The process, where it is known.
    pub(super) child: Option<LivesOn>,
    check: String,
    since_ns: u64,
}

impl Leftovers {
    /// A new one, in the place of a check: numbers of checks count from below, these from above.
    pub(super) fn make(
        &mut self,
        slot: u32,
        pid: u32,
        child: Option<LivesOn>,
        check: String,
    ) -> u32 {
        self.made = self.made.wrapping_add(1);
        let id = u32::MAX - self.made % (u32::MAX / 2);
        let leftover = Leftover {
            slot,
            pid,
            child,
            check,
            since_ns: clock::monotonic_ns(),
        };
        self.all.insert(id, leftover);
        id
    }

    /// The program of an earlier run of this check that does not end, and since when.
    pub(super) fn program_of(&self, check: &str) -> Option<(LivesOn, u64)> {
        let of_check = |g: &&Leftover| g.check == check;
        let leftover = self.all.values().find(of_check)?;
        Some((leftover.child?, leftover.since_ns))
    }

    /// The check whose run it was.
    pub fn check_of(&self, id: u32) -> Option<&str> {
        self.all.get(&id).map(|g| g.check.as_str())
    }
}
