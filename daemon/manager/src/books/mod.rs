//! What is written down: the rows in `state.map`, the counters, the journal, and the state on disk.

pub mod disk;
pub mod recall;
pub mod record_log;
mod remember;
pub mod samples;
pub mod saved;
pub mod store;
pub mod traces;

use crate::journal::Journal;
use crate::verdict::cost::Costs;
use healthd_core::check::outcome::Metric;
use healthd_core::wire::samples::{LastRun, Run};
use healthd_scoreboard::metrics_map::MetricsMap;
use healthd_scoreboard::samples_map::SamplesMap;
use healthd_scoreboard::state_map::StateMap;
use healthd_scoreboard::traces_map::TracesMap;
use recall::Past;
use store::Saving;

pub struct Books {
    pub map: StateMap,
    /// Mode of the maps: the control socket's.
    map_mode: u32,
    pub journal: Journal,
    /// None: there was no room for it.
    samples: Option<SamplesMap>,
    /// None: nobody wants to know, or there was no room for it.
    metrics: Option<MetricsMap>,
    /// The same.
    pub traces: Option<TracesMap>,
    pub saving: Saving,
    pub costs: Costs,
    pub next_run: u64,
    /// Of all runs since the start of this manager.
    pub finished: u64,
}

impl Books {
    pub fn new(
        map: StateMap,
        map_mode: u32,
        journal: Journal,
        (samples, metrics, traces): (Option<SamplesMap>, Option<MetricsMap>, Option<TracesMap>),
        saving: Saving,
        past: &Past,
    ) -> Books {
        Books {
            map,
            map_mode,
            journal,
            samples,
            metrics,
            traces,
            saving,
            costs: Costs::default(),
            next_run: past.next_run,
            finished: past.finished,
        }
    }

    /// One more run has ended.
    pub fn count(&self, index: u64, run: &Run) {
        if let Some(samples) = &self.samples {
            samples.add(index as usize, run);
        }
    }

    /// The oldest first; none, if there was no room for them.
    pub fn last_runs(&self, index: u64) -> Vec<LastRun> {
        let record = self.samples.as_ref().and_then(|s| s.read(index as usize));
        record.map(|record| record.last).unwrap_or_default()
    }

    /// What the last run of a check measured.
    pub fn measured(&self, index: u64, metrics: &[Metric]) {
        if let Some(map) = &self.metrics {
            map.write(index as usize, metrics);
        }
    }

    pub fn map_mode(&self) -> u32 {
        self.map_mode
    }
}
