//! What `top` knows: read from the maps once a second. A stopped daemon has left them as they were.

use crate::maps::{Clock, MapError, directory, real, state};
use healthd_core::wire::control::CheckRow;
use healthd_core::wire::maps::{CLASSES, SLOT_STATES, SlotRecord, WORD, words_at};
use healthd_core::wire::samples::{
    LastRun, SAMPLE_WORDS, SAMPLES_FILE, SampleRecord, sample_offset,
};
use healthd_sys::files;
use jiff::Timestamp;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The manager turns twice a second; so long without is one that hangs, is stopped, or dead.
const SILENT: u64 = 5_000_000_000;

pub struct Facts {
    dir: PathBuf,
    pub rows: Vec<CheckRow>,
    pub slots: Vec<(u32, SlotRecord)>,
    /// Runs finished, and how many a second.
    finished: u64,
    read_at: u64,
    pub rate: Option<f64>,
    /// Since the manager's last turn, ns.
    pub beat_age: u64,
    samples: Option<File>,
}

impl Facts {
    pub fn new(socket: &Path) -> Facts {
        Facts {
            dir: directory(socket),
            rows: Vec::new(),
            slots: Vec::new(),
            finished: 0,
            read_at: 0,
            rate: None,
            beat_age: 0,
            samples: None,
        }
    }

    pub fn read(&mut self) -> Result<(), MapError> {
        let (state, stable) = state(&self.dir)?;
        let clock = Clock::now(Timestamp::now());
        let took = clock.monotonic.saturating_sub(self.read_at);
        let ran = state.finished.checked_sub(self.finished);
        self.rate = ran
            .filter(|_| self.read_at > 0 && took > 0)
            .map(|ran| ran as f64 * 1e9 / took as f64);
        self.finished = state.finished;
        self.read_at = clock.monotonic;
        self.beat_age = clock.monotonic.saturating_sub(state.beat);
        let silent = self.is_silent();
        let records = state.checks.iter().zip(&stable.checks).enumerate();
        self.rows = records
            .filter(|(_, ((_, record), _))| !record.name.is_empty())
            .map(|(index, ((_, record), stable))| {
                let row = record.row(index, *stable, real, |ns| clock.of_monotonic(ns));
                let old = record.valid_until != 0 && clock.monotonic > record.valid_until;
                CheckRow {
                    stale: silent || old || !*stable,
                    ..row
                }
            })
            .collect();
        self.slots = state.slots;
        self.samples = files::open(&self.dir.join(SAMPLES_FILE)).ok();
        Ok(())
    }

    pub fn is_silent(&self) -> bool {
        self.beat_age > SILENT
    }

    pub fn sample(&self, index: u64) -> Option<SampleRecord> {
        let file = self.samples.as_ref()?;
        let at = (sample_offset(usize::try_from(index).ok()?) * WORD) as u64;
        let mut bytes = vec![0; SAMPLE_WORDS * WORD];
        file.read_exact_at(&mut bytes, at).ok()?;
        Some(SampleRecord::from_words(&words_at(&bytes, 0)?))
    }

    pub fn last(&self, index: u64) -> Vec<LastRun> {
        self.sample(index).map_or(Vec::new(), |s| s.last)
    }

    /// What the checks of each plugin have cost, most CPU first.
    pub fn plugins(&self) -> Vec<Plugin> {
        let mut all: Vec<Plugin> = Vec::new();
        for row in &self.rows {
            let at = all.iter().position(|p| p.name == row.plugin);
            let at = at.unwrap_or_else(|| {
                all.push(Plugin {
                    name: row.plugin.clone(),
                    ..Plugin::default()
                });
                all.len() - 1
            });
            let plugin = &mut all[at];
            plugin.checks += 1;
            if let Some(sample) = self.sample(row.index) {
                let runs = sample
                    .runs
                    .iter()
                    .fold(0u64, |sum, n| sum.saturating_add(*n));
                plugin.runs = plugin.runs.saturating_add(runs);
                plugin.cpu_ns = plugin.cpu_ns.saturating_add(sample.cpu_ns);
                plugin.late_ns = plugin.late_ns.saturating_add(sample.late_sum_ns);
                plugin.crashes = plugin.crashes.saturating_add(sample.crashes);
            }
        }
        all.sort_by_key(|p| std::cmp::Reverse(p.cpu_ns));
        all
    }
}

#[derive(Default)]
pub struct Plugin {
    pub name: String,
    pub checks: u64,
    pub runs: u64,
    pub cpu_ns: u64,
    pub late_ns: u64,
    pub crashes: u64,
}

pub fn class(slot: &SlotRecord) -> &'static str {
    CLASSES.get(usize::from(slot.class)).copied().unwrap_or("?")
}

pub fn slot_state(slot: &SlotRecord) -> &'static str {
    SLOT_STATES
        .get(usize::from(slot.state))
        .copied()
        .unwrap_or("?")
}
