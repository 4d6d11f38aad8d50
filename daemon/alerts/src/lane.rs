//! What is going on on one route: deliveries in flight, who waits for a place, and how it has gone lately.

use crate::rate::Times;
use crate::time::{MINUTE, SECOND};
use crate::when::Watch;
use std::collections::VecDeque;

#[derive(Clone, Debug, Default)]
pub struct Lane {
    pub flying: usize,
    /// Notices that would send, in the order in which they came.
    pub waiting: VecDeque<u64>,
    /// Messages that count for `limit`.
    pub sent: Times,
    pub window: Watch,
    /// CLOCK_REALTIME, ns.
    pub last_ok: Option<u64>,
    pub last_error: Option<String>,
    pub ends: Ends,
}

/// How deliveries of a route have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub accepted: u64,
    pub refused: u64,
    pub unknown: u64,
    /// All of them together, ns.
    pub took: u64,
}

/// So many deliveries of one route at once.
pub const FLYING_MOST: usize = 4;

/// A message that has not got through: how often it was tried, and when it is tried next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    pub tries: u32,
    /// The monotonic clock's.
    pub since: u64,
    pub next: u64,
}

impl Trouble {
    pub fn again(self, now: u64, retry_after: Option<u64>) -> Trouble {
        let wait = (FIRST_RETRY << self.tries.min(7)).min(LAST_RETRY);
        let wait = retry_after.map_or(wait, |after| after.clamp(SECOND, RETRY_AFTER_MOST));
        Trouble {
            tries: self.tries + 1,
            since: if self.tries == 0 { now } else { self.since },
            next: now.saturating_add(wait),
        }
    }
}

const FIRST_RETRY: u64 = 5 * SECOND;
const LAST_RETRY: u64 = 10 * MINUTE;
/// A receiver may ask for more; but then it may also have got its units wrong.
const RETRY_AFTER_MOST: u64 = 60 * MINUTE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_from_5_s_to_10_min_and_the_receiver_may_say_otherwise() {
        let mut trouble = Trouble::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            trouble = trouble.again(0, None);
            waits.push(trouble.next / SECOND);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(trouble.again(SECOND, Some(7 * SECOND)).next, 8 * SECOND);
        assert_eq!(trouble.again(0, Some(0)).next, SECOND);
        assert_eq!(trouble.again(0, Some(u64::MAX)).next, 3600 * SECOND);
        assert_eq!(Trouble::default().again(3, None).again(9, None).since, 3);
    }
}
