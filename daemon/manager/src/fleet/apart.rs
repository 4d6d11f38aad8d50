//! Checks whose calls block the event loop of their worker again and again: they are moved to a worker apart, where they
//! hurt each other only. It is a pool like any other, whose group is [`APART`]: its worker loads what those of the shared
//! one load, is started when the first check needs it, and ends when none does any more.
//!
//! Only in class io: there one thread serves all. A plugin file of others has workers of its own already.
//!
//! Pure: `solo.rs` starts and ends the worker.

use std::collections::BTreeMap;

/// So many runs with a call that blocked, without `CALM` others between two of them, and it goes.
pub const BLOCKED: u8 = 3;
const CALM: u8 = 10;
/// So many runs in a row without one, and it comes back.
pub const TO_COME_BACK: u8 = 30;
/// By check: those that have blocked a worker lately.
#[derive(Default)]
pub struct Apart(BTreeMap<u32, Calls>);

/// How the calls of a check were lately.
#[derive(Debug, Default, PartialEq, Eq)]
struct Calls {
    blocked: u8,
    /// Runs since the last that blocked.
    calm: u8,
    goes_apart: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Move {
    Away,
    Back,
}

impl Calls {
    fn ran(&mut self, blocked: bool) -> Option<Move> {
        if blocked {
            self.calm = 0;
            self.blocked = self.blocked.saturating_add(1);
            if self.blocked < BLOCKED || std::mem::replace(&mut self.goes_apart, true) {
                return None;
            }
            return Some(Move::Away);
        }
        self.calm = self.calm.saturating_add(1);
        let enough = if self.goes_apart { TO_COME_BACK } else { CALM };
        if self.calm < enough {
            return None;
        }
        self.blocked = 0;
        std::mem::take(&mut self.goes_apart).then_some(Move::Back)
    }
}

impl Apart {
    /// A run of it has ended.
    pub(super) fn ran(&mut self, id: u32, blocked: bool) -> Option<Move> {
        // Nearly no check is in here.
        let calls = match blocked {
            true => self.0.entry(id).or_default(),
            false => self.0.get_mut(&id)?,
        };
        let moved = calls.ran(blocked);
        if calls.blocked == 0 {
            self.0.remove(&id);
        }
        moved
    }

    pub(super) fn forget(&mut self, id: u32) {
        self.0.remove(&id);
    }

    /// Those that are looked at.
    pub(super) fn known(&self) -> Vec<u32> {
        self.0.keys().copied().collect()
    }

    /// For people; None: it runs with the others.
    pub fn why(&self, id: u32) -> Option<String> {
        let calls = self.0.get(&id).filter(|c| c.goes_apart)?;
        Some(format!(
            "its calls blocked the event loop of its worker for more than 50 ms, again and again: it runs in a worker \
             apart, with others like it; {} of {TO_COME_BACK} runs in a row did not",
            calls.calm
        ))
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.get(&id).is_some_and(|c| c.goes_apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_blocks_again_and_again_goes_and_who_stops_it_comes_back() {
        let mut apart = Apart::default();
        assert_eq!(apart.ran(7, false), None);
        assert!(apart.0.is_empty(), "nobody who is well costs anything");
        for _ in 0..BLOCKED - 1 {
            assert_eq!(apart.ran(7, true), None);
            for _ in 0..CALM - 1 {
                assert_eq!(apart.ran(7, false), None);
            }
        }
        assert!(!apart.contains(7));
        assert_eq!(apart.ran(7, true), Some(Move::Away));
        assert!(apart.contains(7) && !apart.contains(8));
        for _ in 0..TO_COME_BACK - 1 {
            assert_eq!(apart.ran(7, false), None);
        }
        assert_eq!(apart.ran(7, true), None, "it is there already");
        for _ in 0..TO_COME_BACK - 1 {
            assert_eq!(apart.ran(7, false), None);
        }
        assert_eq!(apart.ran(7, false), Some(Move::Back));
        assert!(apart.0.is_empty());
    }

    #[test]
    fn once_in_a_while_is_nothing() {
        let mut apart = Apart::default();
        for _ in 0..20 {
            assert_eq!(apart.ran(1, true), None);
            for _ in 0..CALM {
                assert_eq!(apart.ran(1, false), None);
            }
            assert!(apart.0.is_empty());
        }
    }
}
