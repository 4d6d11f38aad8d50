//! What is written down: the rows in `state.map`, the counters, the journal, and the state on disk.

pub mod disk;
pub mod recall;
pub mod record_log;
pub mod samples;
pub mod saved;
pub mod store;

use crate::journal::{ClockWatch, Journal};
use crate::verdict::cost::Costs;
use healthd_scoreboard::samples_map::SamplesMap;
use healthd_scoreboard::state_map::StateMap;
use store::Saving;

pub struct Books {
    pub map: StateMap,
    /// Mode of the maps: the control socket's.
    pub map_mode: u32,
    pub journal: Journal,
    /// None: there was no room for it.
    pub samples: Option<SamplesMap>,
    pub saving: Saving,
    pub costs: Costs,
    pub clock_watch: ClockWatch,
    pub next_run: u64,
    /// Of all runs since the start of this manager.
    pub finished: u64,
}
