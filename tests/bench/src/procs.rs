//! What /proc says of a tree of processes.

use std::collections::HashMap;
use std::fs;

/// CPU time in clock ticks of 10 ms.
const TICK_MS: f64 = 10.0;

/// A process and all that live below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|f| f.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = vec![root];
    let mut at = 0;
    while at < all.len() {
        all.extend(children.get(&all[at]).into_iter().flatten());
        at += 1;
    }
    all
}

/// The fields of /proc/PID/stat after the name: state is 0, ppid is 1.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(')')?.1;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// CPU time of the tree in ms: each live process with the children that it has reaped.
pub fn cpu_ms(root: u32) -> f64 {
    tree(root)
        .into_iter()
        .filter_map(stat)
        .map(|f| {
            f[11..15]
                .iter()
                .filter_map(|t| t.parse::<f64>().ok())
                .sum::<f64>()
                * TICK_MS
        })
        .sum()
}

/// Proportional set size of the tree in kB: shared pages are counted once.
pub fn pss_kb(root: u32) -> u64 {
    tree(root).into_iter().map(pss_of).sum()
}

pub fn pss_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text
        .lines()
        .find(|l| l.starts_with("Pss:"))
        .unwrap_or_default();
    line.split_ascii_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Voluntary context switches of all threads of a process: how often it has gone to sleep.
pub fn sleeps(pid: u32) -> u64 {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = text
            .lines()
            .find(|l| l.starts_with("voluntary_ctxt_switches"))
            .unwrap_or_default();
        total += line
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0);
    }
    total
}
