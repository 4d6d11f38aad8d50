//! Was it the kernel, out of memory? It does not say so of a process that it killed; but it counts.

use std::fs;
use std::path::{Path, PathBuf};

/// How far back a count may have moved and still speak of the death at hand.
const FRESH_NS: u64 = 10_000_000_000;

pub struct OomWatch {
    /// `memory.events` of our control group. None: this machine has no such groups (v2), or does not show them.
    events: Option<PathBuf>,
    seen: Counts,
    seen_ns: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    /// Processes of our group that the kernel killed, whoever had taken the memory.
    group: u64,
    /// How often our group was at its limit.
    at_limit: u64,
    /// Processes that it killed anywhere, in a container at its own limit too.
    machine: u64,
}

impl OomWatch {
    pub fn new(now: u64) -> OomWatch {
        let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let events = group
            .lines()
            .find_map(|l| l.strip_prefix("0::/"))
            .map(|g| {
                PathBuf::from("/sys/fs/cgroup")
                    .join(g)
                    .join("memory.events")
            })
            .filter(|p| p.exists());
        let mut watch = OomWatch {
            events,
            seen: Counts::default(),
            seen_ns: now,
        };
        watch.seen = watch.counts();
        watch
    }

    /// Now and then, so that an old kill of somebody else is not taken for a new one.
    pub fn look(&mut self, now: u64) {
        if now.saturating_sub(self.seen_ns) >= FRESH_NS {
            self.seen = self.counts();
            self.seen_ns = now;
        }
    }

    /// Whether the kernel has killed for want of memory since the last look, and where.
    pub fn has_struck(&mut self, now: u64) -> Option<&'static str> {
        let counts = self.counts();
        let before = std::mem::replace(&mut self.seen, counts);
        self.seen_ns = now;
        if counts.group > before.group {
            return Some(match counts.at_limit > before.at_limit {
                true => "out of memory: healthd's control group is at its limit",
                false => "out of memory: the machine has none left",
            });
        }
        let elsewhere = self.events.is_none() && counts.machine > before.machine;
        elsewhere.then_some("out of memory, as it seems: the kernel has killed for want of it")
    }

    fn counts(&self) -> Counts {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let group = self.events.as_deref().map(text).unwrap_or_default();
        Counts {
            group: count_of("oom_kill", &group),
            at_limit: count_of("oom", &group),
            machine: count_of("oom_kill", &text("/proc/vmstat".as_ref())),
        }
    }
}

fn count_of(name: &str, text: &str) -> u64 {
    text.lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read() {
        let events = "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(count_of("oom_kill", events), 1);
        assert_eq!(count_of("oom", events), 2);
        assert_eq!(count_of("oom_kill", ""), 0);
        assert_eq!(count_of("oom_kill", "oom_kill x"), 0);
    }

    #[test]
    fn only_what_moved_in_our_group_since_the_last_look_counts() {
        let path = std::env::temp_dir().join(format!("healthd-oom-{}", std::process::id()));
        let say = |at_limit: u64, killed: u64| {
            fs::write(&path, format!("oom {at_limit}\noom_kill {killed}\n")).expect("our own file");
        };
        say(5, 5);
        let mut watch = OomWatch::new(0);
        watch.events = Some(path.clone());
        watch.seen = watch.counts();
        say(6, 6);
        let limit = watch.has_struck(2);
        assert!(limit.is_some_and(|w| w.contains("control group")));
        say(6, 7);
        let machine = watch.has_struck(3);
        assert!(machine.is_some_and(|w| w.contains("machine")));
        say(6, 8);
        watch.look(FRESH_NS + 4);
        assert_eq!(watch.has_struck(FRESH_NS + 5), None);
        // A container at its own limit is none of ours.
        watch.seen.machine = 0;
        assert_eq!(watch.has_struck(FRESH_NS + 6), None);
        fs::remove_file(&path).expect("our own file");
    }
}
