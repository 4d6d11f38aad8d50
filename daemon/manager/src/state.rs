//! State over a restart: of the manager (from `state.map`), and of the daemon (from disk).

use crate::book::Manager;
use crate::check::ns;
use crate::pause::Paused;
use crate::quarantine::SavedRap;
use crate::store::STATE_FILE;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::check::tracker::Tracker;
use healthd_core::config::CheckSpec;
use healthd_core::wire::maps::{self, CheckRecord, StateSnapshot};
use healthd_sys::{clock, files};
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
    /// Results in a row against it, which `attempt` (1 while there are none) does not tell by itself. None: an
    /// older healthd has saved it.
    #[serde(default)]
    pub against: Option<u32>,
    #[serde(default)]
    pub runs: u64,
    #[serde(default)]
    pub skipped: u64,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    pub last_run: u64,
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    #[serde(default)]
    pub latency_ns: u64,
    /// Slot of the worker that ran it last.
    #[serde(default)]
    pub worker: Option<u32>,
    /// Paused, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// What speaks against it, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rap: Option<SavedRap>,
    /// From the map only: CLOCK_MONOTONIC of the next run, and whether one was in flight.
    #[serde(skip)]
    pub next_due: u64,
    #[serde(skip)]
    pub in_flight: u64,
}

impl SavedCheck {
    fn against(&self) -> u32 {
        if let Some(against) = self.against {
            return against;
        }
        let own_fault = self.fault.is_some_and(Fault::is_own);
        let problem = self.status.is_some_and(|s| s != Status::Ok) && !own_fault;
        let hard = !matches!(self.verdict, Verdict::Ok | Verdict::Pending);
        match self.attempt {
            0 | 1 => u32::from(hard || problem),
            n => n,
        }
    }
}

/// What an earlier manager or daemon knew.
#[derive(Debug, Default)]
pub struct Past {
    pub next_run: u64,
    pub checks: HashMap<String, SavedCheck>,
    /// Of a manager that died.
    pub generation: u64,
    pub finished: u64,
    /// Its slots: their accounts go on.
    pub slots: Vec<(u32, maps::SlotRecord)>,
}

pub fn recall(state_dir: &Path, runtime_dir: &Path) -> Past {
    let mut past = Past {
        next_run: 1,
        ..Past::default()
    };
    let mut saved_next = 1;
    let path = state_dir.join(STATE_FILE);
    match read_saved(&path) {
        Ok(saved) => {
            saved_next = saved.next_run;
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
    match files::read_sized(&map, maps::STATE_HEAD, maps::state_size)
        .map_err(|e| e.to_string())
        .and_then(|b| maps::read_state(&b))
    {
        Ok(snapshot) => from_map(&mut past, snapshot, saved_next),
        Err(e) if map.symlink_metadata().is_ok() => log::warn!(
            "the state map cannot be used  file={} why=\"{e}\"",
            map.display()
        ),
        Err(_) => {}
    }
    past
}

/// Some kilobytes a check.
const SAVED_MOST: u64 = 1 << 30;

fn read_saved(path: &Path) -> io::Result<Saved> {
    let bytes = files::read(path, SAVED_MOST)?;
    let saved: Saved = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    if saved.version != VERSION {
        return Err(io::Error::other(format!(
            "version {} (this healthd reads {VERSION})",
            saved.version
        )));
    }
    Ok(saved)
}

impl Saved {
    fn new(next_run: u64, checks: Vec<SavedCheck>) -> Saved {
        Saved {
            version: VERSION,
            next_run,
            checks,
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Past {
    /// For a daemon that ends before it has begun: what was known stays known.
    pub fn saved(&self, next_run: u64) -> Saved {
        Saved::new(next_run, self.checks.values().cloned().collect())
    }

    /// The slots that workers of this class had, those of the newest generation first.
    pub fn slots_of(&self, class: u8) -> Vec<u32> {
        let mut slots: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| s.class == class && !s.jail)
            .collect();
        slots.sort_by_key(|(slot, s)| (std::cmp::Reverse(s.generation), *slot));
        slots.into_iter().map(|(slot, _)| *slot).collect()
    }

    /// What was known of this check, if it is still the same plugin's.
    fn of(&self, spec: &CheckSpec) -> Option<&SavedCheck> {
        self.checks
            .get(&spec.name)
            .filter(|s| s.plugin == spec.plugin)
    }

    /// Its row while the workers come up: a manager that dies meanwhile hands on what it was handed.
    pub fn record<'a>(&'a self, spec: &'a CheckSpec, now: u64) -> CheckRecord<'a> {
        let mut record = CheckRecord {
            name: spec.name.as_str().into(),
            plugin: spec.plugin.as_str().into(),
            verdict: Verdict::Pending.code(),
            status: maps::NO_STATUS,
            disabled: !spec.enabled,
            attempts: spec.attempts,
            worker: u32::MAX,
            valid_until: now + ns(spec.interval) + ns(spec.timeout),
            fingerprint: spec.fingerprint(),
            ..CheckRecord::default()
        };
        if let Some(saved) = self.of(spec) {
            record.verdict = saved.verdict.code();
            record.status = saved.status.map_or(maps::NO_STATUS, |s| s as u8);
            record.paused = saved.paused.is_some();
            record.reason = saved
                .paused
                .as_ref()
                .map_or("", |p| p.reason.as_str())
                .into();
            record.attempt = saved.attempt;
            record.against = saved.against();
            record.since = saved.since;
            record.last_run = saved.last_run;
            record.next_run = saved.next_due;
            record.in_flight = saved.in_flight;
            record.latency_ns = saved.latency_ns;
            record.worker = saved.worker.unwrap_or(u32::MAX);
            record.runs = saved.runs;
            record.skipped = saved.skipped;
            record.message = saved.message.as_str().into();
            record.fault = saved.fault;
            record.rap = saved.rap.as_ref().map(SavedRap::record).unwrap_or_default();
        }
        record
    }
}

/// The map is newer than the disk wherever it is whole.
fn from_map(past: &mut Past, snapshot: StateSnapshot, saved_next: u64) {
    // It has counted every run, so nothing has to be jumped over.
    past.next_run = snapshot.next_run.max(saved_next);
    past.generation = snapshot.generation;
    past.finished = snapshot.finished;
    past.slots = snapshot.slots;
    for (whole, record) in snapshot.checks {
        let (true, Some(verdict)) = (whole, record.verdict()) else {
            continue;
        };
        // The map has room for the beginning of a reason, which is newer; the disk has it in full.
        let paused = record.paused.then(|| {
            past.checks
                .get(record.name.as_ref())
                .and_then(|c| c.paused.clone())
                .filter(|full| full.reason.starts_with(record.reason.as_ref()))
                .unwrap_or_else(|| Paused {
                    reason: record.reason.to_string(),
                    ..Paused::default()
                })
        });
        let on_disk = past.checks.get(record.name.as_ref());
        let rap = SavedRap::of(&record.rap, on_disk.and_then(|c| c.rap.as_ref()));
        let saved = SavedCheck {
            rap,
            name: record.name.to_string(),
            plugin: record.plugin.to_string(),
            verdict,
            status: record.status(),
            attempt: record.attempt,
            against: Some(record.against),
            runs: record.runs,
            skipped: record.skipped,
            since: record.since,
            last_run: record.last_run,
            message: record.message.to_string(),
            fault: record.fault,
            latency_ns: record.latency_ns,
            worker: (record.worker != u32::MAX).then_some(record.worker),
            paused,
            next_due: record.next_run,
            in_flight: record.in_flight,
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
        let Some(saved) = past.of(&check.spec) else {
            return;
        };
        check.tracker = Tracker::restore(saved.verdict, saved.against());
        check.status = saved.status;
        check.since = saved.since;
        check.last.started_wall = saved.last_run;
        check.last.message = saved.message.clone();
        check.last.fault = saved.fault;
        // Not when it was, only how long it took: that is all that is shown of it.
        check.last.finished_ns = saved.latency_ns;
        check.last.worker = saved.worker;
        check.paused = saved.paused.clone();
        check.runs = saved.runs;
        check.skipped = saved.skipped;
        if let Some(rap) = &saved.rap {
            check.remember_rap(rap);
        }
        self.time_pause(id);
    }

    /// All at once, for the end.
    pub fn saved(&self) -> Saved {
        let rows = self.order.iter().filter_map(|id| self.saved_row(*id));
        Saved::new(self.next_run, rows.collect())
    }

    fn saved_row(&self, id: u32) -> Option<SavedCheck> {
        let c = self.check(id)?;
        (c.status.is_some() || c.paused.is_some()).then(|| SavedCheck {
            rap: c.saved_rap(),
            name: c.spec.name.clone(),
            plugin: c.spec.plugin.clone(),
            verdict: c.verdict(),
            status: c.status,
            attempt: c.tracker.attempt(),
            against: Some(c.tracker.against()),
            runs: c.runs,
            skipped: c.skipped,
            since: c.since,
            last_run: c.last.started_wall,
            message: c.last.message.clone(),
            fault: c.last.fault,
            latency_ns: c.latency_ns(),
            worker: c.last.worker,
            paused: c.paused.clone(),
            next_due: 0,
            in_flight: 0,
        })
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
        if self.sweep.is_none()
            && (self.dirty || self.urgent)
            && now.saturating_sub(self.last_store) >= wait
        {
            self.last_store = now;
            // What changes from here on may be too late for this one.
            self.dirty = false;
            self.urgent = false;
            self.sweep = Some(Sweep::default());
            self.sweep_on();
        }
    }

    /// A part of the rows for the disk a turn: there may be 100,000. True: there is more to do.
    pub fn sweep_on(&mut self) -> bool {
        let Some(mut sweep) = self.sweep.take() else {
            return false;
        };
        let end = (sweep.at + ROWS_A_TURN).min(self.order.len());
        let ids = self.order.get(sweep.at..end).unwrap_or_default();
        let rows = ids.iter().filter_map(|id| self.saved_row(*id));
        sweep.rows.extend(rows);
        sweep.at = end;
        if end < self.order.len() {
            self.sweep = Some(sweep);
            return true;
        }
        if !self.store.write(Saved::new(self.next_run, sweep.rows)) {
            self.dirty = true;
        }
        false
    }
}

/// The state on its way to the disk.
#[derive(Default)]
pub struct Sweep {
    /// The place in the order of the config that it has come to.
    at: usize,
    rows: Vec<SavedCheck>,
}

/// About a millisecond of work.
const ROWS_A_TURN: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(
        verdict: Verdict,
        status: Option<Status>,
        attempt: u32,
        fault: Option<Fault>,
    ) -> SavedCheck {
        SavedCheck {
            name: "web".into(),
            plugin: "http".into(),
            verdict,
            status,
            attempt,
            against: None,
            runs: 0,
            skipped: 0,
            since: 0,
            last_run: 0,
            message: "as it was".into(),
            fault,
            latency_ns: 0,
            worker: None,
            paused: None,
            rap: None,
            next_due: 0,
            in_flight: 0,
        }
    }

    #[test]
    fn a_restart_neither_adds_nor_forgets_an_attempt() {
        use Status::{Critical, Ok, Unknown};
        let own = Some(Fault::Overload);
        for (verdict, status, attempt, fault, against) in [
            (Verdict::Pending, None, 1, None, 0),
            (Verdict::Ok, Some(Ok), 1, None, 0),
            (Verdict::Ok, Some(Critical), 1, None, 1),
            (Verdict::Ok, Some(Critical), 2, None, 2),
            (Verdict::Ok, Some(Critical), 1, Some(Fault::Timeout), 1),
            (Verdict::Pending, Some(Critical), 1, None, 1),
            // Our own fault was no attempt before, and is none after.
            (Verdict::Ok, Some(Unknown), 1, own, 0),
            (Verdict::Ok, Some(Unknown), 2, own, 2),
            (Verdict::Critical, Some(Critical), 1, None, 1),
            (Verdict::Unknown, Some(Unknown), 1, Some(Fault::NoPlugin), 1),
            (Verdict::Critical, Some(Critical), 3, None, 3),
        ] {
            let check = saved(verdict, status, attempt, fault);
            assert_eq!(check.against(), against, "{check:?}");
        }
    }

    #[test]
    fn run_ids_go_on_by_the_map_and_jump_without_it() {
        let dir = std::env::temp_dir().join(format!("healthd-recall-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        std::fs::write(
            dir.join(STATE_FILE),
            Saved::new(1000, Vec::new()).to_bytes(),
        )
        .expect("our own file");
        assert_eq!(recall(&dir, &dir).next_run, 1000 + RUN_ID_JUMP);
        let mut map =
            healthd_scoreboard::state_map::StateMap::prepare(&dir, 2, 1, 0o600).expect("map");
        map.header(maps::state_header::NEXT_RUN, 1234);
        map.reveal().expect("reveal");
        assert_eq!(recall(&dir, &dir).next_run, 1234);
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn what_was_known_is_saved_by_a_daemon_that_never_began() {
        let mut past = Past::default();
        let web = saved(Verdict::Critical, Some(Status::Critical), 3, None);
        past.checks.insert("web".into(), web);
        let again: Saved = serde_json::from_slice(&past.saved(7).to_bytes()).expect("our own JSON");
        assert_eq!((again.next_run, again.checks.len()), (7, 1));
        assert_eq!(again.checks[0].verdict, Verdict::Critical);
    }
}
