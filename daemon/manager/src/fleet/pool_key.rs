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
/// Of the same plugins: those of their checks that block others. The numbers below are plugins' own.
pub const APART: u8 = u8::MAX;

impl PoolKey {
    /// Where its plugins belong.
    pub fn of_plugins(self) -> PoolKey {
        let group = match self.group {
            APART => SHARED,
            group => group,
        };
        PoolKey { group, ..self }
    }
}
