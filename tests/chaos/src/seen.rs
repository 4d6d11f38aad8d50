//! A pair of eyes on `state.map`, twenty-five times a second, whatever happens to the daemon meanwhile.

use healthd_core::check::fault::Fault;
use healthd_core::wire::maps::{self, CheckRecord, StateSnapshot};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const EVERY_MS: u64 = 40;
const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// What is known of one check.
#[derive(Clone, Debug)]
pub struct Row {
    runs: u64,
    /// When its last result came.
    pub changed: Instant,
    /// It is to run by itself.
    pub planned: bool,
    pub last: CheckRecord<'static>,
}

#[derive(Default)]
pub struct Seen {
    pub rows: HashMap<String, Row>,
    pub looks: u64,
    /// Results that came, as far as two looks could tell; a daemon that was started again counts from none.
    pub results: u64,
    /// Looks at the accounts of one slot.
    pub slots: u64,
    /// Looks at the verdict and status of one check.
    pub verdicts: u64,
    pub lies: Vec<String>,
    /// A fault is on that may break the process of a good check: UNKNOWN is honest then.
    pub excused: bool,
}

pub struct Eyes {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    map: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Eyes {
    pub fn open(runtime_dir: &Path) -> Eyes {
        let map = runtime_dir.join(maps::STATE_FILE);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (ours, halt, file) = (seen.clone(), stop.clone(), map.clone());
        let thread = std::thread::spawn(move || {
            while !halt.load(Relaxed) {
                if let Some(state) = read(&file) {
                    let unbalanced = unbalanced(&file, &state);
                    let mut seen = ours.lock().unwrap_or_else(|e| e.into_inner());
                    seen.take(&state);
                    seen.lies.extend(unbalanced);
                }
                crate::pause(EVERY_MS);
            }
        });
        Eyes {
            seen,
            stop,
            map,
            thread: Some(thread),
        }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn state(&self) -> Option<StateSnapshot> {
        read(&self.map)
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(map: &Path) -> Option<StateSnapshot> {
    maps::read_state(&std::fs::read(map).ok()?).ok()
}

/// Slots whose accounts do not balance. A copy of a live map may have half a line: only what is wrong in
/// every one of several copies is wrong.
fn unbalanced(map: &Path, state: &StateSnapshot) -> Vec<String> {
    let wrong = |state: &StateSnapshot| -> HashMap<u32, String> {
        let slots = state.slots.iter();
        slots
            .filter(|(_, s)| s.dispatched != s.finished + s.in_flight + s.lost())
            .map(|(slot, s)| {
                (
                    *slot,
                    format!("the accounts of slot {slot} do not balance: {s:?}"),
                )
            })
            .collect()
    };
    let mut suspects = wrong(state);
    for _ in 0..5 {
        if suspects.is_empty() {
            break;
        }
        crate::pause(1);
        let Some(state) = read(map) else { break };
        let still = wrong(&state);
        suspects.retain(|slot, _| still.contains_key(slot));
    }
    suspects.into_values().collect()
}

impl Seen {
    fn take(&mut self, state: &StateSnapshot) {
        let now = Instant::now();
        self.looks += 1;
        self.slots += state.slots.len() as u64;
        let mut lies = Vec::new();
        for (whole, check) in &state.checks {
            if !whole || check.name.is_empty() {
                continue;
            }
            self.verdicts += 1;
            if let Some(lie) = lie(check, self.excused) {
                lies.push(lie);
            }
            let planned = check.next_run != 0 && !check.paused && !check.disabled;
            let row = self
                .rows
                .entry(check.name.to_string())
                .or_insert_with(|| Row {
                    runs: check.runs,
                    changed: now,
                    planned,
                    last: check.clone(),
                });
            if row.runs != check.runs {
                self.results += check.runs.checked_sub(row.runs).unwrap_or(check.runs);
                row.runs = check.runs;
                row.changed = now;
            }
            row.planned = planned;
            row.last = check.clone();
        }
        let names: std::collections::HashSet<&str> =
            state.checks.iter().map(|(_, c)| c.name.as_ref()).collect();
        self.rows.retain(|name, _| names.contains(name.as_str()));
        lies.truncate(20);
        self.lies.extend(lies);
    }

    /// Planned checks that have had no result since `then`.
    pub fn silent_since(&self, then: Instant) -> Vec<(String, Duration)> {
        let rows = self.rows.iter();
        rows.filter(|(name, row)| row.planned && !is_culprit(name) && row.changed <= then)
            .map(|(name, row)| (name.clone(), row.changed.elapsed()))
            .collect()
    }
}

/// A check of a plugin that misbehaves: it may be held back, and be UNKNOWN.
pub fn is_culprit(name: &str) -> bool {
    name.starts_with("bad/") || name.starts_with("drop/")
}

/// Why this record is not the truth.
fn lie(check: &CheckRecord<'_>, excused: bool) -> Option<String> {
    let (kind, _) = check.name.split_once('/')?;
    let shown = [check.verdict, check.status];
    let own = check.fault.is_some_and(Fault::is_own);
    let wrong = match kind {
        "good" | "slow" | "extra" => {
            let unknown = check.verdict == UNKNOWN || check.status == UNKNOWN && !own;
            shown.contains(&CRITICAL) || shown.contains(&WARNING) || unknown && !excused
        }
        "dead" | "hang" => shown.contains(&OK),
        "bad" | "drop" => shown.contains(&CRITICAL),
        _ => false,
    };
    wrong.then(|| {
        let word = |code: u8| {
            ["ok", "warning", "critical", "unknown", "pending"]
                .get(usize::from(code))
                .copied()
        };
        format!(
            "`{}` is shown as verdict {}, status {}: {}",
            check.name,
            word(check.verdict).unwrap_or("none"),
            word(check.status).unwrap_or("none"),
            check.message
        )
    })
}
