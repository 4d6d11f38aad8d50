//! What must hold after each step, and at the end.

use crate::plan::Step;
use crate::service::MARK;
use crate::world::World;
use healthd_core::wire::maps::worker_file;
use healthd_test_support::procs;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// Two shared cores, other programs beside us: on top of every bound.
pub const SLACK: Duration = Duration::from_secs(10);
/// What a process may hold more than at the beginning: links and maps of generations that are still going, clients.
const MORE_FDS: usize = 12;
/// Anonymous memory that supervisor and manager may have more than at the beginning, in kB, whatever they went
/// through; a leak of 100 bytes a second would need ten hours to hide in it, one of a kilobyte a run two minutes.
const MORE_KB: [(&str, u64); 2] = [("supervisor", 1024), ("manager", 8192)];

/// How often each invariant was looked at.
#[derive(Default)]
pub struct Counts(pub BTreeMap<&'static str, u64>);

impl Counts {
    pub fn add(&mut self, what: &'static str, n: u64) {
        *self.0.entry(what).or_default() += n;
    }
}

/// A role's processes at rest.
#[derive(Clone, Debug, Default)]
pub struct Baseline(BTreeMap<String, (usize, u64)>);

/// How late the last check came after a step, and which.
pub struct Worst {
    pub after: Duration,
    pub name: String,
}

impl World {
    /// After a step: everything that is planned has run within its bound, nothing lied, nothing is left over.
    pub fn settle(
        &self,
        step: Option<&Step>,
        mark: u64,
        counts: &mut Counts,
    ) -> Result<Worst, Vec<String>> {
        let allowance = step.map_or(Duration::from_secs(5), Step::allowance) + self.announced(mark);
        let worst = self.all_ran(allowance, counts)?;
        let mut wrong = self.lies(counts);
        wrong.extend(self.none_stale(counts).err());
        wrong.extend(self.no_orphan(counts).err());
        wrong.extend(self.no_file_left(counts).err());
        if wrong.is_empty() {
            Ok(worst)
        } else {
            Err(wrong)
        }
    }

    /// What the supervisor itself has said that it waits before it starts a manager again.
    fn announced(&self, mark: u64) -> Duration {
        let log = self.service.log_since(mark);
        let waits = log.lines().filter(|l| l.contains("manager died"));
        waits
            .filter_map(|l| parse_duration(l.split_once("next_in=")?.1.trim()))
            .sum()
    }

    /// Each planned check has had a result since now, at most one interval, its own time and the allowance later.
    fn all_ran(&self, allowance: Duration, counts: &mut Counts) -> Result<Worst, Vec<String>> {
        let since = Instant::now();
        let bound = |name: &str| {
            let own = match name.split('/').next() {
                Some("hang") => 1000,
                Some("hostile") => crate::hostile::TIMEOUT_MS + 500,
                _ => 500,
            };
            self.interval(name) + Duration::from_millis(own) + allowance + SLACK
        };
        let mut last = Vec::new();
        loop {
            let seen = self.eyes.seen();
            let silent = seen.silent_since(since);
            let planned = seen.rows.values().filter(|r| r.planned).count() as u64;
            drop(seen);
            if silent.is_empty() && planned > 0 {
                counts.add("a check ran within its bound", planned);
                let name = last
                    .first()
                    .map(|(name, _): &(String, Duration)| name.clone());
                return Ok(Worst {
                    after: since.elapsed(),
                    name: name.unwrap_or_default(),
                });
            }
            let late: Vec<String> = (silent.iter())
                .filter(|(name, _)| since.elapsed() > bound(name))
                .map(|(name, quiet)| {
                    format!(
                        "`{name}` has had no result for {quiet:?}; its bound is {:?}",
                        bound(name)
                    )
                })
                .collect();
            if !late.is_empty() || since.elapsed() > Duration::from_secs(120) {
                return Err(late);
            }
            last = silent;
            crate::pause(20);
        }
    }

    /// What the eyes have seen meanwhile: false verdicts, accounts that do not balance.
    pub fn lies(&self, counts: &mut Counts) -> Vec<String> {
        let mut seen = self.eyes.seen();
        counts.add("a verdict is no lie", std::mem::take(&mut seen.verdicts));
        counts.add(
            "accounts of a slot balance",
            std::mem::take(&mut seen.slots),
        );
        let mut lies = std::mem::take(&mut seen.lies);
        lies.dedup();
        lies.truncate(10);
        lies
    }

    /// A daemon that is well answers, and no row of what has just run is stale.
    fn none_stale(&self, counts: &mut Counts) -> Result<(), String> {
        let rows = self.ask("status", json!({"names": ["good/*", "dead/*", "slow/*"]}))?;
        counts.add("a fresh row is not stale", rows.len() as u64);
        match rows
            .iter()
            .find(|r| r["stale"] == true && r["paused"] != true)
        {
            Some(row) => Err(format!("a row of a daemon that is well is stale: {row}")),
            None => Ok(()),
        }
    }

    /// Every process of ours hangs below the supervisor, and no copy of a worker that a plugin forked lives on.
    fn no_orphan(&self, counts: &mut Counts) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let root = self.service.pid();
            let below: HashSet<u32> = procs::tree(root).into_iter().collect();
            let roles: HashSet<u32> = procs::children(root).into_iter().collect();
            let mut ours = procs::with_variable(MARK, &self.service.mark);
            ours.extend(procs::in_directory(self.targets.marker()));
            let stray = |pid: &u32| {
                let copy = procs::role(*pid).is_some() && *pid != root && !roles.contains(pid);
                // A zombie or one that has just ended is nobody.
                (!below.contains(pid) || copy) && procs::state(*pid).is_some_and(|s| s != 'Z')
            };
            let left: Vec<u32> = ours.iter().copied().filter(|p| stray(p)).collect();
            if left.is_empty() {
                counts.add("a process has its parent", ours.len() as u64);
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                let named: Vec<String> = left
                    .iter()
                    .map(|p| format!("{} {p}", procs::name(*p)))
                    .collect();
                return Err(format!("left over: {named:?}"));
            }
            crate::pause(50);
        }
    }

    /// In the runtime folder there is what lives, and nothing half made.
    fn no_file_left(&self, counts: &mut Counts) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let Some(state) = self.eyes.state() else {
                return Err("there is no state map".into());
            };
            let mut known: HashSet<String> = (state.slots.iter())
                .map(|(slot, s)| worker_file(*slot, s.pid))
                .collect();
            for pid in self.service.role("worker") {
                known.extend((0..700).map(|slot| worker_file(slot, pid)));
            }
            let mut files = 0;
            let mut left = Vec::new();
            let folder = std::fs::read_dir(self.dir.join("run"));
            for file in folder.map_err(|e| e.to_string())?.flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                files += 1;
                let stray = name.starts_with("worker.") && !known.contains(&name);
                if stray || name.contains(".new") {
                    left.push(name);
                }
            }
            if left.is_empty() {
                counts.add("a file has its process", files);
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                return Err(format!("left in the runtime folder: {left:?}"));
            }
            crate::pause(50);
        }
    }

    /// Descriptors and memory of each role, the least of several looks: what comes and goes is no leak.
    pub fn at_rest(&self) -> Baseline {
        let mut least: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for _ in 0..10 {
            let mut most: BTreeMap<String, (usize, u64)> = BTreeMap::new();
            let mut look = |role: String, pid: u32| {
                let now = (
                    procs::fds(pid).unwrap_or(0),
                    procs::anonymous_kb(pid).unwrap_or(0),
                );
                let held = most.entry(role).or_default();
                *held = (held.0.max(now.0), held.1.max(now.1));
            };
            look("supervisor".into(), self.service.pid());
            for pid in procs::children(self.service.pid()) {
                if let Some(role) = procs::role(pid) {
                    look(role, pid);
                }
            }
            for (role, now) in most {
                let held = least.entry(role).or_insert(now);
                *held = (held.0.min(now.0), held.1.min(now.1));
            }
            crate::pause(50);
        }
        Baseline(least)
    }

    /// Against the beginning: no descriptor leaked, nothing grew.
    pub fn no_growth(
        &self,
        baseline: &Baseline,
        counts: &mut Counts,
    ) -> Result<String, Vec<String>> {
        let begun = Instant::now();
        loop {
            let now = self.at_rest();
            let mut wrong = Vec::new();
            let mut said = Vec::new();
            for (role, (fds, kb)) in &now.0 {
                let Some((fds_then, kb_then)) = baseline.0.get(role) else {
                    continue;
                };
                counts.add("descriptors of a role", 1);
                said.push(format!(
                    "{role}: {fds_then} -> {fds} fds, {kb_then} -> {kb} kB"
                ));
                if *fds > fds_then + MORE_FDS {
                    wrong.push(format!(
                        "{role} has {fds} descriptors, {fds_then} at the beginning"
                    ));
                }
                let more = MORE_KB.iter().find(|m| m.0 == role).map(|m| m.1);
                if let Some(more) = more {
                    counts.add("memory of a role", 1);
                    if *kb > kb_then + more {
                        wrong.push(format!(
                            "{role} has {kb} kB of its own, {kb_then} at the beginning"
                        ));
                    }
                }
            }
            if wrong.is_empty() {
                return Ok(said.join("; "));
            }
            // A worker that was written off may still have its last runs.
            if begun.elapsed() > Duration::from_secs(15) {
                return Err(wrong);
            }
            crate::pause(200);
        }
    }
}

/// As `{:?}` writes one: "0ns", "100ms", "1.6s".
fn parse_duration(text: &str) -> Option<Duration> {
    let word = text.split_ascii_whitespace().next()?;
    let at = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = word[..at].parse().ok()?;
    let unit = match &word[at..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "ns" => 1e-9,
        _ => 1e-6,
    };
    Some(Duration::from_secs_f64(number * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_supervisor_announces_is_understood() {
        for d in [0, 100_000_000, 1_600_000_000, 30_000_000_000, 1_500] {
            let d = Duration::from_nanos(d);
            assert_eq!(parse_duration(&format!("{d:?}")), Some(d));
        }
        assert_eq!(parse_duration("soon"), None);
    }
}
