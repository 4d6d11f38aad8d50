//! State over a restart: of the manager (from `state.map`), and of the daemon (from disk).

use crate::book::Manager;
use crate::store::STATE_FILE;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::check::tracker::Tracker;
use healthd_core::wire::maps::{self, StateSnapshot};
use healthd_sys::clock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::path::Path;

const VERSION: u32 = 1;
/// A saved run id may be behind the ones that were given after it was saved.
const RUN_ID_JUMP: u64 = 1 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    pub next_run: u64,
    pub checks: Vec<SavedCheck>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedCheck {
    pub name: String,
    pub plugin: String,
    pub verdict: Verdict,
    pub status: Option<Status>,
    pub attempt: u32,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    pub last_run: u64,
    #[serde(default)]
    pub message: String,
    /// Paused, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// From the map only: CLOCK_MONOTONIC of the next run, and whether one was in flight.
    #[serde(skip)]
    pub next_due: u64,
    #[serde(skip)]
    pub was_in_flight: bool,
}

/// What an earlier manager or daemon knew.
#[derive(Debug, Default)]
pub struct Past {
    pub next_run: u64,
    pub checks: HashMap<String, SavedCheck>,
    /// Slots of a manager that died: their accounts go on.
    pub slots: Vec<(u32, maps::SlotRecord)>,
}

pub fn recall(state_dir: &Path, runtime_dir: &Path) -> Past {
    let mut past = Past {
        next_run: 1,
        ..Past::default()
    };
    let path = state_dir.join(STATE_FILE);
    match read_saved(&path) {
        Ok(saved) => {
            past.next_run = saved.next_run.saturating_add(RUN_ID_JUMP);
            past.checks = saved
                .checks
                .into_iter()
                .map(|c| (c.name.clone(), c))
                .collect();
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => {
            // Kept beside, so that nothing is lost and the next start does not meet it again.
            let aside = path.with_extension("json.broken");
            let kept = std::fs::rename(&path, &aside).is_ok();
            log::error!(
                "the saved state cannot be used: every check starts as pending  file={} why=\"{e}\"{}",
                path.display(),
                if kept {
                    format!(" kept_as={}", aside.display())
                } else {
                    String::new()
                }
            );
        }
    }
    let map = runtime_dir.join(maps::STATE_FILE);
    match std::fs::read(&map)
        .map_err(|e| e.to_string())
        .and_then(|b| maps::read_state(&b))
    {
        Ok(snapshot) => from_map(&mut past, snapshot),
        Err(e) if map.exists() => log::warn!(
            "the state map cannot be used  file={} why=\"{e}\"",
            map.display()
        ),
        Err(_) => {}
    }
    past
}

fn read_saved(path: &Path) -> io::Result<Saved> {
    let bytes = std::fs::read(path)?;
    let saved: Saved = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    if saved.version != VERSION {
        return Err(io::Error::other(format!(
            "version {} (this healthd reads {VERSION})",
            saved.version
        )));
    }
    Ok(saved)
}

/// The map is newer than the disk wherever it is whole.
fn from_map(past: &mut Past, snapshot: StateSnapshot) {
    past.next_run = past.next_run.max(snapshot.next_run);
    past.slots = snapshot.slots;
    for (whole, record) in snapshot.checks {
        let (true, Some(verdict)) = (whole, record.verdict()) else {
            continue;
        };
        let paused = record.paused.then(|| {
            past.checks
                .get(record.name.as_ref())
                .and_then(|c| c.paused.clone())
                .unwrap_or_default()
        });
        let saved = SavedCheck {
            name: record.name.to_string(),
            plugin: record.plugin.to_string(),
            verdict,
            status: record.status(),
            attempt: record.attempt,
            since: record.since,
            last_run: record.last_run,
            message: record.message.to_string(),
            paused,
            next_due: record.next_run,
            was_in_flight: record.in_flight != 0,
        };
        past.checks.insert(record.name.into_owned(), saved);
    }
}

impl Manager {
    /// Gives a check back what was known of it, if it is still the same plugin's.
    pub fn remember(&mut self, id: u32, past: &Past) {
        let Some(check) = self.check_mut(id) else {
            return;
        };
        let Some(saved) = past
            .checks
            .get(&check.spec.name)
            .filter(|s| s.plugin == check.spec.plugin)
        else {
            return;
        };
        // An attempt of 1 means "none against it", except before the first verdict.
        let soft = saved.status.is_some_and(|s| s != Status::Ok)
            && saved.verdict != Verdict::Unknown
            || saved.attempt > 1;
        check.tracker = Tracker::restore(saved.verdict, if soft { saved.attempt } else { 0 });
        check.status = saved.status;
        check.since = saved.since;
        check.last.started_wall = saved.last_run;
        check.last.message = saved.message.clone();
        check.paused = saved.paused.clone();
    }

    pub fn saved(&self) -> Vec<u8> {
        let checks = self
            .order
            .iter()
            .filter_map(|id| self.check(*id))
            .filter(|c| c.status.is_some() || c.paused.is_some())
            .map(|c| SavedCheck {
                name: c.spec.name.clone(),
                plugin: c.spec.plugin.clone(),
                verdict: c.verdict(),
                status: c.status,
                attempt: c.tracker.attempt(),
                since: c.since,
                last_run: c.last.started_wall,
                message: c.last.message.clone(),
                paused: c.paused.clone(),
                next_due: 0,
                was_in_flight: false,
            })
            .collect();
        let saved = Saved {
            version: VERSION,
            next_run: self.next_run,
            checks,
        };
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    /// What a person has said is written without waiting: nothing would say it again.
    pub fn store_now(&mut self) {
        self.dirty = true;
        self.urgent = true;
        self.last_store = 0;
        self.store_if_due(clock::monotonic_ns());
    }

    /// On a change of verdict at once (but once a second at most), else every half minute.
    pub fn store_if_due(&mut self, now: u64) {
        const OFTEN: u64 = 1_000_000_000;
        const SELDOM: u64 = 30_000_000_000;
        let wait = if self.urgent { OFTEN } else { SELDOM };
        if (self.dirty || self.urgent) && now.saturating_sub(self.last_store) >= wait {
            self.last_store = now;
            if self.store.write(self.saved()) {
                self.dirty = false;
                self.urgent = false;
            }
        }
    }
}
