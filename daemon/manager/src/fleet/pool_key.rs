//! Which workers may take a run: those of a class, and in it of one group of plugins.

use healthd_core::wire::supervisor::WorkerClass;

/// A pool of workers, of the generation that is meant beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    pub class: WorkerClass,
    /// [`SHARED`], or the number of those plugins.
    pub group: u8,
}

/// The group of the plugins that came with healthd.
pub const SHARED: u8 = 0;
