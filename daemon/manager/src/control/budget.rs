//! What a user may cost the manager: a share of its time, and a fee for each request and connection.
//!
//! A client whose user has spent it waits, and nobody else does. Root is not counted: it could do anything anyway.

use crate::time::MS;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct Budgets(HashMap<u32, Budget>);

#[derive(Clone, Copy, Debug)]
struct Budget {
    /// Time of the manager that may be spent, ns; less than none: more was spent than there was.
    left: i64,
    /// CLOCK_MONOTONIC, ns: what was earned until then is in `left`.
    at: u64,
}

impl Budgets {
    /// May a client of this user be served now?
    pub fn has_left(&mut self, uid: u32, now: u64) -> bool {
        uid == 0 || self.of(uid, now).left > 0
    }

    pub fn spend(&mut self, uid: u32, ns: u64, now: u64) {
        if uid != 0 {
            self.of(uid, now).left -= i64::try_from(ns).unwrap_or(i64::MAX);
        }
    }

    /// Who has all that he can have needs no entry.
    pub fn forget(&mut self, now: u64) {
        self.0.retain(|_, b| b.earned(now).left < MOST);
    }

    fn of(&mut self, uid: u32, now: u64) -> &mut Budget {
        let budget = self.0.entry(uid).or_insert(Budget {
            left: MOST,
            at: now,
        });
        *budget = budget.earned(now);
        budget
    }
}

impl Budget {
    fn earned(self, now: u64) -> Budget {
        let ns = now.saturating_sub(self.at) / ONE_OF;
        let left = self.left.saturating_add_unsigned(ns).min(MOST);
        Budget { left, at: now }
    }
}

/// Of the manager's time a user may have one part in so many, once the first second is spent.
const ONE_OF: u64 = 5;
const MOST: i64 = 1_000 * MS as i64;
/// 400 a second, where they cost nothing else.
pub const FEE: u64 = MS / 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_spent_it_waits_and_earns_it_again() {
        let mut budgets = Budgets::default();
        budgets.spend(7, 1_100 * MS, 0);
        assert!(!budgets.has_left(7, 0), "100 ms too much");
        assert!(budgets.has_left(8, 0), "another user");
        assert!(!budgets.has_left(7, 499 * MS));
        assert!(budgets.has_left(7, 501 * MS));
        budgets.forget(4_000 * MS);
        assert_eq!(budgets.0.len(), 1);
        budgets.forget(6_000 * MS);
        assert!(budgets.0.is_empty());
    }

    #[test]
    fn requests_that_cost_nothing_are_counted_and_root_is_not() {
        let mut budgets = Budgets::default();
        for _ in 0..2_000 {
            budgets.spend(7, FEE, 0);
            budgets.spend(0, FEE, 0);
        }
        assert!(!budgets.has_left(7, 0));
        assert!(budgets.has_left(0, 0));
    }
}
