//! Counting by a rate.

pub use healthd_core::check::rate::Rate;

use std::collections::VecDeque;

use crate::time::ns;

/// The last times at which something happened: never more than are counted.
#[derive(Clone, Debug, Default)]
pub struct Times(VecDeque<u64>);

impl Times {
    pub fn add(&mut self, at: u64, rate: Rate) {
        while self.0.len() >= rate.count as usize {
            self.0.pop_front();
        }
        self.0.push_back(at);
    }

    /// Whether it has happened `count` times within `per` before `now`.
    pub fn are_full(&self, rate: Rate, now: u64) -> bool {
        self.full_until(rate).is_some_and(|until| now < until)
    }

    /// From then on they are not full, if nothing is added.
    pub fn full_until(&self, rate: Rate) -> Option<u64> {
        let first = self.0.len().checked_sub(rate.count as usize)?;
        Some(self.0.get(first)?.saturating_add(ns(rate.per)))
    }

    /// From then on none of them counts any more.
    pub fn over_at(&self, rate: Rate) -> Option<u64> {
        Some(self.0.back()?.saturating_add(ns(rate.per)))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_are_counted_are_kept() {
        let rate = Rate::parse("2/10s").expect("a rate");
        let s = |n: u64| n * 1_000_000_000;
        let mut times = Times::default();
        times.add(s(0), rate);
        assert!(!times.are_full(rate, s(1)));
        times.add(s(4), rate);
        assert!(times.are_full(rate, s(9)));
        assert!(!times.are_full(rate, s(10)));
        times.add(s(11), rate);
        assert_eq!(times.full_until(rate), Some(s(14)));
        assert_eq!(times.over_at(rate), Some(s(21)));
        assert_eq!(times.0.len(), 2);
    }
}
