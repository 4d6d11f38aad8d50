//! State over a restart: of the manager (from `state.map`), and of the daemon (from disk).

use crate::books::saved::{self, Ahead, Saved, SavedCheck};
use crate::check::ns;
use crate::fleet::pool_key::PoolKey;
use crate::fleet::quarantine::SavedStanding;
use crate::schedule::pause::Paused;
use healthd_core::check::outcome::Verdict;
use healthd_core::config::CheckSpec;
use healthd_core::wire::maps::{self, CheckRecord, StateSnapshot};
use healthd_scoreboard::samples_map::{self, Left};
use healthd_sys::files;
use std::collections::HashMap;
use std::path::Path;

/// A saved run id may be behind the ones that were given after it was saved.
const RUN_ID_JUMP: u64 = 1 << 20;

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
    /// What it had counted.
    pub counted: Left,
}

/// `counted`: the samples of a manager that died.
pub fn recall(state_dir: &Path, runtime_dir: &Path, counted: Left) -> Past {
    let mut past = Past {
        next_run: 1,
        counted,
        ..Past::default()
    };
    let mut saved_next = 1;
    if let Some(saved) = saved::recall(state_dir) {
        saved_next = saved.next_run;
        past.next_run = saved.next_run.saturating_add(RUN_ID_JUMP);
        past.checks = saved
            .checks
            .into_iter()
            .map(|c| (c.name.clone(), c))
            .collect();
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

impl Past {
    /// For a daemon that ends before it has begun: what was known stays known.
    pub fn saved(&self, next_run: u64) -> Saved {
        Saved {
            next_run,
            checks: self.checks.values().cloned().collect(),
        }
    }

    /// The slots that workers of this pool had, those of the newest generation first.
    pub fn slots_of(&self, pool: PoolKey) -> Vec<u32> {
        let of_pool =
            |s: &maps::SlotRecord| s.class == pool.class as u8 && s.group == pool.group && !s.jail;
        let mut slots: Vec<_> = self.slots.iter().filter(|(_, s)| of_pool(s)).collect();
        slots.sort_by_key(|(slot, s)| (std::cmp::Reverse(s.generation), *slot));
        slots.into_iter().map(|(slot, _)| *slot).collect()
    }

    /// What was known of this check, if it is still the same plugin's.
    pub(super) fn of(&self, spec: &CheckSpec) -> Option<&SavedCheck> {
        self.checks
            .get(&spec.name)
            .filter(|s| s.plugin == spec.plugin)
    }

    /// Its row while the workers come up: a manager that dies meanwhile hands on what it was handed.
    pub fn record<'a>(&'a self, spec: &'a CheckSpec, now: u64) -> CheckRecord<'a> {
        let mut record = CheckRecord {
            name: spec.name.as_str().into(),
            title: spec.title.as_str().into(),
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
            record.next_run = saved.ahead.next_due;
            record.in_flight = saved.ahead.in_flight;
            record.is_due = saved.ahead.is_due;
            record.latency_ns = saved.latency_ns;
            record.worker = saved.worker.unwrap_or(u32::MAX);
            record.runs = saved.runs;
            record.skipped = saved.skipped;
            record.message = saved.message.as_str().into();
            record.fault = saved.fault;
            record.standing = saved
                .standing
                .as_ref()
                .map(SavedStanding::record)
                .unwrap_or_default();
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
        let standing =
            SavedStanding::of(&record.standing, on_disk.and_then(|c| c.standing.as_ref()));
        let last_ok = samples_map::last_ok_in(&past.counted, &record.name);
        let saved = SavedCheck {
            last_ok: last_ok.max(on_disk.map_or(0, |c| c.last_ok)),
            standing,
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
            ahead: Ahead {
                next_due: record.next_run,
                in_flight: record.in_flight,
                is_due: record.is_due,
            },
        };
        past.checks.insert(record.name.into_owned(), saved);
    }
}

/// About a millisecond of work.
pub(super) const ROWS_A_TURN: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::check::outcome::Status;

    #[test]
    fn run_ids_go_on_by_the_map_and_jump_without_it() {
        let dir = std::env::temp_dir().join(format!("healthd-recall-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        let saved = Past::default().saved(1000);
        crate::books::disk::Disk::new(&dir)
            .all(&saved)
            .expect("room");
        let recalled = || recall(&dir, &dir, Left::new());
        assert_eq!(recalled().next_run, 1000 + RUN_ID_JUMP);
        let mut map = healthd_scoreboard::state_map::StateMap::prepare(
            &dir,
            2,
            [("web", "")].into_iter(),
            0o600,
        )
        .expect("map");
        map.header(maps::state_header::NEXT_RUN, 1234);
        map.reveal().expect("reveal");
        assert_eq!(recalled().next_run, 1234);
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn what_was_known_is_saved_by_a_daemon_that_never_began() {
        let mut past = Past::default();
        let web =
            crate::books::saved::tests::check(Verdict::Critical, Some(Status::Critical), 3, None);
        past.checks.insert("web".into(), web);
        let again = past.saved(7);
        assert_eq!((again.next_run, again.checks.len()), (7, 1));
        assert_eq!(again.checks[0].verdict, Verdict::Critical);
    }
}
