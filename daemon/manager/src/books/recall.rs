//! State over a restart: of the manager (from `state.map`), and of the daemon (from disk).

use crate::books::saved::{self, News, Saved, SavedCheck};
use crate::books::store::Due;
use crate::check::ns;
use crate::director::Manager;
use crate::fleet::quarantine::SavedStanding;
use crate::schedule::pause::Paused;
use healthd_core::check::outcome::Verdict;
use healthd_core::check::verdict::CheckState;
use healthd_core::config::CheckSpec;
use healthd_core::wire::maps::{self, CheckRecord, StateSnapshot};
use healthd_sys::{clock, files};
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
}

pub fn recall(state_dir: &Path, runtime_dir: &Path) -> Past {
    let mut past = Past {
        next_run: 1,
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
            record.next_run = saved.next_due;
            record.in_flight = saved.in_flight;
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
        let saved = SavedCheck {
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
            next_due: record.next_run,
            in_flight: record.in_flight,
        };
        past.checks.insert(record.name.into_owned(), saved);
    }
}

impl Manager {
    /// Gives a check back what was known of it, if it is still the same plugin's.
    pub fn remember(&mut self, id: u32, past: &Past) {
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        let Some(saved) = past.of(&check.spec) else {
            return;
        };
        check.state = CheckState::restore(
            saved.verdict,
            saved.against(),
            saved.status,
            saved.fault,
            saved.since,
        );
        check.last.started_wall = saved.last_run;
        check.last.message = saved.message.clone();
        // Not when it was, only how long it took: that is all that is shown of it.
        check.last.finished_ns = saved.latency_ns;
        check.last.worker = saved.worker;
        check.paused = saved.paused.clone();
        check.counts.runs = saved.runs;
        check.counts.skipped = saved.skipped;
        if let Some(standing) = &saved.standing {
            check.remember_standing(standing);
        }
        self.time_pause(id);
    }

    /// All at once, for the end.
    pub fn saved(&self) -> Saved {
        let rows = self
            .checks
            .order()
            .iter()
            .filter_map(|id| self.saved_row(*id));
        Saved {
            next_run: self.books.next_run,
            checks: rows.collect(),
        }
    }

    fn saved_row(&self, id: u32) -> Option<SavedCheck> {
        let c = self.checks.get(id)?;
        (c.state.status().is_some() || c.paused.is_some()).then(|| SavedCheck {
            standing: c.saved_standing(),
            name: c.spec.name.clone(),
            plugin: c.spec.plugin.clone(),
            verdict: c.verdict(),
            status: c.state.status(),
            attempt: c.state.attempt(),
            against: Some(c.state.against()),
            runs: c.counts.runs,
            skipped: c.counts.skipped,
            since: c.state.since(),
            last_run: c.last.started_wall,
            message: c.last.message.clone(),
            fault: c.state.fault(),
            latency_ns: c.latency_ns(),
            worker: c.last.worker,
            paused: c.paused.clone(),
            next_due: 0,
            in_flight: 0,
        })
    }

    /// What a person has said of these is written without waiting: nothing would say it again.
    pub fn store_now(&mut self, ids: &[u32]) {
        self.books.saving.at_once(ids);
        self.store_if_due(clock::monotonic_ns());
    }

    pub fn store_if_due(&mut self, now: u64) {
        if self.rollout.not_begun().is_some() {
            // Nothing is in force yet: what the last one knew stays on disk.
            return;
        }
        match self.books.saving.due(now) {
            Due::Nothing => {}
            Due::News(ids) => {
                let mut news = News {
                    next_run: self.books.next_run,
                    ..News::default()
                };
                for id in &ids {
                    match (self.saved_row(*id), self.checks.get(*id)) {
                        (Some(row), _) => news.checks.push(row),
                        (None, Some(check)) => news.gone.push(check.spec.name.clone()),
                        (None, None) => {}
                    }
                }
                self.books.saving.write_news(ids, news);
            }
            Due::Sweep => {
                self.sweep_on();
            }
        }
    }

    /// A part of the rows for the disk a turn: there may be 100,000. True: there is more to do.
    pub fn sweep_on(&mut self) -> bool {
        let Some(mut sweep) = self.books.saving.take_sweep() else {
            return false;
        };
        let end = (sweep.at + ROWS_A_TURN).min(self.checks.order().len());
        let ids = self.checks.order().get(sweep.at..end).unwrap_or_default();
        let rows = ids.iter().filter_map(|id| self.saved_row(*id));
        sweep.rows.extend(rows);
        sweep.at = end;
        let whole = end == self.checks.order().len();
        self.books
            .saving
            .swept(sweep, whole.then_some(self.books.next_run));
        !whole
    }
}

/// About a millisecond of work.
const ROWS_A_TURN: usize = 2_000;

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
        assert_eq!(recall(&dir, &dir).next_run, 1000 + RUN_ID_JUMP);
        let mut map = healthd_scoreboard::state_map::StateMap::prepare(
            &dir,
            2,
            [("web", "")].into_iter(),
            0o600,
        )
        .expect("map");
        map.header(maps::state_header::NEXT_RUN, 1234);
        map.reveal().expect("reveal");
        assert_eq!(recall(&dir, &dir).next_run, 1234);
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
