//! Programs start only as far as the processors can serve them (`max_parallel = "auto"`): who comes while all are busy
//! waits, and its time has not begun. One that waits for the network costs nobody anything, and does not count.
//!
//! Runs in: the reactor of an exec worker.

use crate::reactor::{MS, Reactor};
use crate::side;
use crate::verdict::{End, seconds};
use healthd_core::check::fault::Fault;
use healthd_loader::{Results, Workload};
use std::collections::VecDeque;

/// Between two looks at what the programs do.
const LOOK_NS: u64 = 5 * MS;
/// So long a run waits at least before it is given up, or its timeout if that is longer.
const PATIENCE_NS: u64 = 60_000 * MS;

#[derive(Default)]
pub struct Pace {
    /// How many may compute at once; 0: nobody is held back.
    most: usize,
    /// Keys of runs, and since when they wait.
    waiting: VecDeque<(u64, u64)>,
}

impl Pace {
    pub fn start(&mut self) {
        self.most = std::thread::available_parallelism().map_or(1, usize::from);
    }

    /// When to look again; None: nobody waits.
    pub fn wake_at(&self, now: u64) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(now + LOOK_NS)
    }

    fn has_room(&self) -> bool {
        side::with(|s| s.children.computing(self.most)).is_none_or(|n| n < self.most)
    }
}

impl Reactor {
    /// True: its time has come, but it waits for a processor first.
    pub(crate) fn waits_for_processor(&mut self, key: u64, now: u64) -> bool {
        if self.pace.most == 0 {
            return false;
        }
        let Some(at) = self.find(key) else {
            return false;
        };
        let plugin = self
            .def(self.active[at].run.check)
            .map(|d| usize::from(d.plugin));
        let loaded = plugin.and_then(|p| self.plugins.get(p)?.as_ref());
        let is_program = loaded.is_some_and(|l| l.plugin.descriptor.workload == Workload::Exec);
        if !is_program || (self.pace.waiting.is_empty() && self.pace.has_room()) {
            return false;
        }
        self.pace.waiting.push_back((key, now));
        true
    }

    /// Once a turn: whose turn has come begins.
    pub(crate) fn let_programs_start(&mut self, now: u64) {
        while let Some((key, since)) = self.pace.waiting.front().copied() {
            let waited = now.saturating_sub(since);
            let timeout = self
                .find(key)
                .and_then(|at| self.def(self.active[at].run.check))
                .map_or(0, |d| d.timeout_ns);
            if waited > timeout.max(PATIENCE_NS) {
                self.pace.waiting.pop_front();
                let text = format!(
                    "no processor was free for it within {}; programs compute all the time, see max_parallel of [pool.exec]",
                    seconds(waited)
                );
                self.finish(key, End::own(Fault::Overload, &text), Results::default());
            } else if self.pace.has_room() {
                self.pace.waiting.pop_front();
                self.begin_now(key, now);
            } else {
                return;
            }
        }
    }
}
