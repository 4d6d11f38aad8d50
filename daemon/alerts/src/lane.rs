//! What is going on on one route: deliveries in flight, who waits for a place, and how it has gone lately.

use crate::delivery::Outcome;
use crate::rate::Times;
use crate::record::SavedRoute;
use crate::time::{MINUTE, Now, SECOND, ns};
use crate::when::Watch;
use healthd_core::text::cut;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

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
    /// CLOCK_MONOTONIC: its receiver has asked for nothing more before that.
    not_before: u64,
}

/// How deliveries of a route have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ends {
    pub accepted: u64,
    pub refused: u64,
    pub unknown: u64,
    /// All of them together, ns.
    pub took: u64,
}

impl Lane {
    /// A delivery is over, after so many ns.
    pub fn end(&mut self, outcome: &Outcome, took: u64, now: Now) {
        self.flying = self.flying.saturating_sub(1);
        self.ends.took += took;
        let count = match outcome {
            Outcome::Accepted { .. } => &mut self.ends.accepted,
            Outcome::Refused { .. } | Outcome::Held { .. } => &mut self.ends.refused,
            Outcome::Unknown { .. } => &mut self.ends.unknown,
        };
        *count += 1;
        match outcome {
            Outcome::Accepted { .. } => {
                self.last_ok = Some(now.wall);
                self.last_error = None;
                self.not_before = 0;
            }
            Outcome::Refused {
                reason,
                retry_after,
            }
            | Outcome::Unknown {
                reason,
                retry_after,
            } => {
                self.last_error = Some(reason.clone());
                if let Some(after) = retry_after {
                    self.not_before = now.mono.saturating_add(asked_for(ns(*after)));
                }
            }
            Outcome::Held { reason, .. } => self.last_error = Some(reason.clone()),
        }
    }

    /// The receiver has asked for a while without messages.
    pub fn held(&self, now: Now) -> Option<Outcome> {
        let left = self.not_before.checked_sub(now.mono).filter(|ns| *ns > 0)?;
        Some(Outcome::Held {
            reason: self.last_error.clone().unwrap_or_default(),
            left: Duration::from_nanos(left),
        })
    }

    pub fn saved(&self, name: &Arc<str>) -> SavedRoute {
        SavedRoute {
            name: name.clone(),
            last_ok: self.last_ok,
            last_error: self
                .last_error
                .as_ref()
                .map(|why| cut(why, SAID_MAX).to_owned()),
            ends: self.ends,
        }
    }

    /// By a config that may have another calendar and another receiver.
    pub fn renewed(self) -> Lane {
        Lane {
            window: Watch::default(),
            not_before: 0,
            ..self
        }
    }

    pub fn restored(saved: SavedRoute) -> Lane {
        Lane {
            last_ok: saved.last_ok,
            last_error: saved.last_error,
            ends: saved.ends,
            ..Lane::default()
        }
    }
}

/// So many bytes of what a receiver says are written down.
pub const SAID_MAX: usize = 500;

/// So many deliveries of one route at once.
pub const FLYING_MOST: usize = 4;

/// A message that is due and has not got through: since when, how often it was tried, and when it is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub tries: u32,
    /// The monotonic clock's. 0: only the other one knows.
    pub since: u64,
    pub next: u64,
    /// The wall clock's.
    pub since_wall: u64,
}

impl Trouble {
    /// It would be sent now.
    pub fn due(now: Now) -> Trouble {
        Trouble {
            tries: 0,
            since: now.mono,
            next: now.mono,
            since_wall: now.wall,
        }
    }

    /// As another manager has left it: it is tried at once.
    pub fn restored(since_wall: u64) -> Trouble {
        Trouble {
            tries: 1,
            since: 0,
            next: 0,
            since_wall,
        }
    }

    pub fn again(self, now: Now, retry_after: Option<u64>) -> Trouble {
        let wait = (FIRST_RETRY << self.tries.min(7)).min(LAST_RETRY);
        let wait = retry_after.map_or(wait, asked_for);
        Trouble {
            tries: self.tries + 1,
            next: now.mono.saturating_add(wait),
            ..self
        }
    }
}

const FIRST_RETRY: u64 = 5 * SECOND;
const LAST_RETRY: u64 = 10 * MINUTE;
/// A receiver may ask for more; but then it may also have got its units wrong.
const RETRY_AFTER_MOST: u64 = 60 * MINUTE;

fn asked_for(retry_after: u64) -> u64 {
    retry_after.clamp(SECOND, RETRY_AFTER_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono: u64) -> Now {
        let wall = 1_000 + mono;
        Now { mono, wall }
    }

    #[test]
    fn retries_double_from_5_s_to_10_min_and_the_receiver_may_say_otherwise() {
        let mut trouble = Trouble::due(at(0));
        let mut waits = Vec::new();
        for _ in 0..9 {
            trouble = trouble.again(at(0), None);
            waits.push(trouble.next / SECOND);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        let after = |now, after| trouble.again(at(now), Some(after)).next;
        assert_eq!(after(SECOND, 7 * SECOND), 8 * SECOND);
        assert_eq!(after(0, 0), SECOND);
        assert_eq!(after(0, u64::MAX), 3600 * SECOND);
        let twice = Trouble::due(at(3)).again(at(5), None).again(at(9), None);
        assert_eq!((twice.since, twice.since_wall), (3, 1_003));
    }
}
