//! What each check's runs were like, in numbers: kept in `samples.map`, which goes on when a manager dies.

use super::{Books, traces};
use crate::role::MAP_MODE;
use crate::time;
use healthd_core::config::Model;
use healthd_core::wire::control::{LastRun, Samples};
use healthd_core::wire::samples::{BUCKETS, Outcome, SampleRecord, bucket_upper_ns};
use healthd_scoreboard::metrics_map::MetricsMap;
use healthd_scoreboard::samples_map::{self, Left, SamplesMap};
use healthd_sys::clock;
use std::io;
use std::path::Path;

/// What the manager before us had counted.
pub fn left(dir: &Path) -> Left {
    samples_map::left_in(dir).unwrap_or_else(|e| {
        if e.kind() != io::ErrorKind::NotFound {
            log::warn!("runs are counted anew: what was counted before cannot be read: {e}");
        }
        Left::new()
    })
}

/// Without room for it checks run all the same, and nobody counts.
pub fn create(dir: &Path, model: &Model, left: &Left) -> Option<SamplesMap> {
    let names = model.checks.iter().map(|c| c.name.as_str());
    let map = SamplesMap::create(dir, names, left, clock::realtime_ns(), MAP_MODE);
    map.inspect_err(|e| log::error!("runs are not counted: {e}"))
        .ok()
}

/// What runs measure, where a reader wants it.
pub fn create_metrics(dir: &Path, model: &Model) -> Option<MetricsMap> {
    if !model.wants_metrics() {
        MetricsMap::remove(dir);
        return None;
    }
    let names = model.checks.iter().map(|c| c.name.as_str());
    let map = MetricsMap::create(dir, names, MAP_MODE);
    map.inspect_err(|e| log::error!("metrics of plugins are not told: {e}"))
        .ok()
}

impl Books {
    /// Another model: the counters of the checks that stay go on, in the new order.
    pub fn renew_samples(&mut self, dir: &Path, model: &Model) {
        let old = self.samples.take();
        let left = old.as_ref().map_or_else(Left::new, SamplesMap::left);
        self.samples = create(dir, model, &left);
        self.metrics = create_metrics(dir, model);
        traces::renew(&mut self.traces, dir, model, self.map_mode);
        if let Some(old) = old {
            old.supersede();
        }
    }

    pub fn samples_of(&self, index: u64) -> Option<Samples> {
        let record = self.samples.as_ref()?.read(index as usize)?;
        Some(shown(&record))
    }
}

/// The last bucket has no bound.
fn bounded(bucket: usize) -> Option<f64> {
    (bucket < BUCKETS - 1).then(|| bucket_upper_ns(bucket) as f64 / 1e6)
}

fn shown(record: &SampleRecord) -> Samples {
    let runs = |outcome: Outcome| record.runs[outcome as usize];
    let quantile = |part| record.quantile_ns(part).map(|ns| ns as f64 / 1e6);
    let last = record.last.iter().map(|run| LastRun {
        outcome: run.outcome.as_str().to_owned(),
        up_to_ms: bounded(2 * usize::from(run.octave) + 1),
    });
    Samples {
        since: time::rfc3339(record.since),
        ok: runs(Outcome::Ok),
        warning: runs(Outcome::Warning),
        critical: runs(Outcome::Critical),
        unknown: runs(Outcome::Unknown),
        own_fault: runs(Outcome::Own),
        sum_ms: record.sum_ns as f64 / 1e6,
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        last: last.collect(),
    }
}
