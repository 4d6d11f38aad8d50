//! How much a worker asks: a bound that only one meets which goes around its own host.

/// So much may one worker ask in a second. Its own host lets through a fraction of that, so one that asks more goes around
/// it, and costs us more than it may.
pub(super) const ASKS_A_SECOND: u32 = 50_000;
const SECOND_NS: u64 = 1_000_000_000;

/// How much a worker has asked lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    since_ns: u64,
    count: u32,
}

impl Asked {
    /// False: it is too much.
    pub(super) fn once_more(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.since_ns) > SECOND_NS {
            *self = Asked {
                since_ns: now,
                count: 0,
            };
        }
        self.count += 1;
        self.count <= ASKS_A_SECOND
    }
}
