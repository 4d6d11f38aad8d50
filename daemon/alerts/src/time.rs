//! The two clocks, at one instant.

use std::time::Duration;

/// Waiting, retrying and repeating go by the monotonic clock; windows and what people read go by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_MONOTONIC, ns.
    pub mono: u64,
    /// CLOCK_REALTIME, ns.
    pub wall: u64,
}

impl Now {
    /// When the monotonic clock will show what the wall clock will then show as `wall`, if nobody sets it.
    pub(crate) fn mono_of(self, wall: u64) -> u64 {
        self.mono.saturating_add(wall.saturating_sub(self.wall))
    }

    /// How the monotonic clock stood at `wall`; the beginning of time at the earliest.
    pub(crate) fn mono_before(self, wall: u64) -> u64 {
        self.mono.saturating_sub(self.wall.saturating_sub(wall))
    }
}

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;

pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
