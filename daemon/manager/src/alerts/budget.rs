//! How many messages a route has sent within a week, and about which checks. Nothing is held back: who is told too often
//! should know by whom. Counted since the manager's start.

use crate::journal::Fact;
use healthd_core::wire::events::EventKind;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

#[derive(Default)]
pub struct Budgets(BTreeMap<Arc<str>, Week>);

/// What a route has sent lately.
#[derive(Default)]
struct Week {
    /// CLOCK_MONOTONIC, and the first check of each message, the oldest first.
    sent: VecDeque<(u64, Option<Arc<str>>)>,
    /// When it was said last that there were too many. None: never.
    said: Option<u64>,
}

impl Budgets {
    /// A receiver has accepted a message. Some: it is one too many, and that is said once a week.
    pub fn accepted(
        &mut self,
        route: &Arc<str>,
        check: Option<Arc<str>>,
        budget: Option<u32>,
        now: u64,
    ) -> Option<Fact> {
        let week = self.0.entry(route.clone()).or_default();
        week.sent.push_back((now, check));
        week.forget(now);
        let budget = budget?;
        let is_over = week.sent.len() > budget as usize;
        if !is_over || week.said.is_some_and(|at| now.saturating_sub(at) < WEEK) {
            return None;
        }
        week.said = Some(now);
        let why = format!(
            "{} messages in a week, budget {budget}; most of them about {}",
            week.sent.len(),
            week.noisiest()
        );
        Some(Fact::new(EventKind::OverBudget).cause(route).why(why))
    }

    pub fn count(&mut self, route: &str, now: u64) -> u64 {
        let Some(week) = self.0.get_mut(route) else {
            return 0;
        };
        week.forget(now);
        week.sent.len() as u64
    }
}

impl Week {
    fn forget(&mut self, now: u64) {
        let old = |at: u64| now.saturating_sub(at) >= WEEK;
        while self.sent.front().is_some_and(|(at, _)| old(*at)) || self.sent.len() > MOST {
            self.sent.pop_front();
        }
    }

    /// "db (20), web (3)"
    fn noisiest(&self) -> String {
        let mut counts: HashMap<&Arc<str>, usize> = HashMap::new();
        for check in self.sent.iter().filter_map(|(_, check)| check.as_ref()) {
            *counts.entry(check).or_default() += 1;
        }
        let mut counts: Vec<(&Arc<str>, usize)> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let shown = counts.iter().take(SHOWN);
        let shown: Vec<String> = shown.map(|(name, n)| format!("{name} ({n})")).collect();
        shown.join(", ")
    }
}

const WEEK: u64 = 7 * 86_400 * 1_000_000_000;
const SHOWN: usize = 5;
/// More than anybody reads.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noisiest_are_named_once_a_week() {
        let mut budgets = Budgets::default();
        let route: Arc<str> = "mail".into();
        let mut send = |name: &str, at: u64| {
            let fact = budgets.accepted(&route, Some(name.into()), Some(3), at);
            fact.map(|f| f.into_event().message)
        };
        let day = WEEK / 7;
        for (name, at) in [("a", 0), ("b", 1), ("a", 2)] {
            assert_eq!(send(name, at * day), None);
        }
        let said = "4 messages in a week, budget 3; most of them about a (2), b (1), c (1)";
        assert_eq!(send("c", 3 * day).as_deref(), Some(said));
        assert_eq!(send("c", 4 * day), None, "it was said");
        // The first two are a week old.
        assert_eq!(send("c", 8 * day), None);
        assert_eq!(send("c", 10 * day), None, "not too many any more");
        assert!(send("c", 10 * day).is_some());
        assert_eq!(budgets.count("mail", 10 * day), 4);
        assert_eq!(budgets.count("mail", 30 * day), 0);
        assert_eq!(budgets.count("none", 0), 0);
    }
}
