//! What programs leave behind: orphans come to this process, which is their next reaper, and are collected here.
//!
//! Whose they are is told by a word in their environment. One rule, whoever runs beside it: what a program has started
//! ends with its run, unless its check has `leave_children`.

use super::Children;
use healthd_sys::process::{self, Stat};

/// Names the run, for its program and all that it starts.
pub const MARK: &str = "HEALTHD_RUN";
/// Between two looks for those that were killed, and for those that may stay.
const KILLED_NS: u64 = 20_000_000;
const OTHERS_NS: u64 = 1_000_000_000;
/// Of those that are named in a result.
const NAMED: usize = 5;

impl Children {
    /// Ends the orphans of runs that have ended, and collects the dead. Dying takes a moment, so a turn may call this
    /// again and again.
    pub fn collect_strays(&mut self, now: u64) {
        if self.strays_at == 0 || now < self.strays_at {
            return;
        }
        let mut next = 0;
        for pid in self.strays() {
            if process::reap(pid).is_some() {
                continue;
            }
            let wait = match self.may_live(pid) {
                true => OTHERS_NS,
                false => {
                    // Its group first: it may lead one of its own.
                    if Stat::of(pid).is_some_and(|s| s.group == pid) {
                        process::kill_group(pid);
                    }
                    process::kill_one(pid);
                    KILLED_NS
                }
            };
            if next == 0 || wait < next {
                next = wait;
            }
        }
        self.strays_at = if next == 0 { 0 } else { now + next };
    }

    fn strays(&self) -> Vec<u32> {
        let mut all = process::children();
        all.retain(|pid| !self.slab.iter().any(|(_, child)| child.pid == *pid));
        all
    }

    /// Its run is not over, or it is left alone.
    fn may_live(&self, pid: u32) -> bool {
        if process::is_left_alone(pid) {
            return true;
        }
        match process::environment_of(pid, MARK) {
            Some(mark) => self
                .slab
                .iter()
                .any(|(_, c)| c.mark == mark && c.told.is_none()),
            // It has another environment: older than all that runs, it belongs to none of it.
            None => Stat::of(pid).is_some_and(|stray| {
                let older = |c: &super::Running| c.began.is_some_and(|began| began <= stray.began);
                self.slab.iter().any(|(_, c)| older(c) && c.told.is_none())
            }),
        }
    }

    /// What is left of a run whose program has ended, for people: "sleep (pid 12), 3 more". Empty: nothing.
    pub(super) fn left_by(&self, mark: &str, group: u32) -> String {
        let of_run = |pid: &u32| {
            // What is in its group ends with it, as everybody knows.
            Stat::of(*pid).is_some_and(|s| s.group != group && s.state != 'Z')
                && process::environment_of(*pid, MARK).is_some_and(|m| m == mark)
        };
        let left: Vec<u32> = self.strays().into_iter().filter(of_run).collect();
        let mut named: Vec<String> = left
            .iter()
            .take(NAMED)
            .filter_map(|pid| Some(format!("{} (pid {pid})", Stat::of(*pid)?.name)))
            .collect();
        if left.len() > NAMED {
            named.push(format!("{} more", left.len() - NAMED));
        }
        named.join(", ")
    }
}
