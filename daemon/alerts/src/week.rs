//! How many messages each route has sent within a week, and about which checks. Nothing is held back: who is told too
//! often should know by whom.

use crate::record::SavedSent;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Weeks(BTreeMap<Arc<str>, Week>);

/// What a route has sent lately.
#[derive(Clone, Debug, Default)]
struct Week {
    /// The oldest first.
    sent: VecDeque<Sent>,
    /// CLOCK_REALTIME: when it was said last that there were too many. None: not within a week.
    said: Option<u64>,
}

#[derive(Clone, Debug)]
struct Sent {
    /// CLOCK_REALTIME, ns.
    at: u64,
    /// The first of its checks.
    check: Option<Arc<str>>,
}

/// A route has sent more than is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    pub route: Arc<str>,
    pub why: String,
}

impl Weeks {
    /// A receiver has accepted a message. Some: it is one too many, and that is said once a week.
    pub fn accepted(
        &mut self,
        route: &Arc<str>,
        check: Option<Arc<str>>,
        budget: Option<u32>,
        now: u64,
    ) -> (SavedSent, Option<OverBudget>) {
        let week = self.0.entry(route.clone()).or_default();
        week.add(now, check.clone());
        let over = week.over(budget, now);
        let record = SavedSent {
            route: route.clone(),
            at: now,
            check,
            said: over.is_some(),
        };
        let over = over.map(|why| OverBudget {
            route: route.clone(),
            why,
        });
        (record, over)
    }

    /// As it was written down.
    pub fn restore(&mut self, sent: SavedSent) {
        let week = self.0.entry(sent.route).or_default();
        week.add(sent.at, sent.check);
        if sent.said {
            week.said = Some(sent.at);
        }
    }

    pub fn saved(&self) -> impl Iterator<Item = SavedSent> {
        self.0.iter().flat_map(|(route, week)| {
            week.sent.iter().map(|sent| SavedSent {
                route: route.clone(),
                at: sent.at,
                check: sent.check.clone(),
                said: week.said == Some(sent.at),
            })
        })
    }

    pub fn count(&self, route: &str, now: u64) -> u64 {
        let sent = self.0.get(route).map(|week| &week.sent);
        sent.map_or(0, |sent| {
            sent.iter().filter(|s| !is_old(s.at, now)).count() as u64
        })
    }

    pub fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|route, _| is_there(route));
    }
}

impl Week {
    fn add(&mut self, at: u64, check: Option<Arc<str>>) {
        self.sent.push_back(Sent { at, check });
        while self.sent.front().is_some_and(|s| is_old(s.at, at)) || self.sent.len() > MOST {
            self.sent.pop_front();
        }
    }

    fn over(&mut self, budget: Option<u32>, now: u64) -> Option<String> {
        let budget = budget.filter(|budget| self.sent.len() > *budget as usize)?;
        if self.said.is_some_and(|at| !is_old(at, now)) {
            return None;
        }
        self.said = Some(now);
        Some(format!(
            "{} messages in a week, budget {budget}; most of them about {}",
            self.sent.len(),
            self.noisiest()
        ))
    }

    /// "db (20), web (3)"
    fn noisiest(&self) -> String {
        let mut counts: HashMap<&Arc<str>, usize> = HashMap::new();
        for check in self.sent.iter().filter_map(|sent| sent.check.as_ref()) {
            *counts.entry(check).or_default() += 1;
        }
        let mut counts: Vec<(&Arc<str>, usize)> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let shown = counts.iter().take(SHOWN);
        let shown: Vec<String> = shown.map(|(name, n)| format!("{name} ({n})")).collect();
        shown.join(", ")
    }
}

fn is_old(at: u64, now: u64) -> bool {
    now.saturating_sub(at) >= WEEK
}

const WEEK: u64 = 7 * 86_400 * 1_000_000_000;
const SHOWN: usize = 5;
/// More than anybody reads; no budget is larger.
const MOST: usize = BUDGET_MOST as usize + 1;
pub const BUDGET_MOST: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = WEEK / 7;

    fn send(weeks: &mut Weeks, name: &str, at: u64) -> (SavedSent, Option<String>) {
        let (saved, over) = weeks.accepted(&"mail".into(), Some(name.into()), Some(3), at * DAY);
        (saved, over.map(|over| over.why))
    }

    #[test]
    fn the_noisiest_are_named_once_a_week() {
        let mut weeks = Weeks::default();
        for (name, at) in [("a", 10), ("b", 11), ("a", 12)] {
            assert_eq!(send(&mut weeks, name, at).1, None);
        }
        let said = "4 messages in a week, budget 3; most of them about a (2), b (1), c (1)";
        assert_eq!(send(&mut weeks, "c", 13).1.as_deref(), Some(said));
        assert_eq!(send(&mut weeks, "c", 14).1, None, "it was said");
        // The first two are a week old.
        assert_eq!(send(&mut weeks, "c", 18).1, None);
        assert_eq!(send(&mut weeks, "c", 20).1, None, "not too many any more");
        assert!(send(&mut weeks, "c", 20).1.is_some());
        assert_eq!(weeks.count("mail", 20 * DAY), 4);
        assert_eq!(weeks.count("mail", 40 * DAY), 0);
        assert_eq!(weeks.count("none", 0), 0);
    }

    /// By each message as it came, and by all of them at once.
    #[test]
    fn what_was_written_down_counts_as_before() {
        let (mut weeks, mut again) = (Weeks::default(), Weeks::default());
        for n in 0..5 {
            again.restore(send(&mut weeks, "a", 10 + n).0);
        }
        let mut once_more = Weeks::default();
        weeks.saved().for_each(|sent| once_more.restore(sent));
        for mut weeks in [weeks, again, once_more] {
            assert_eq!(weeks.count("mail", 15 * DAY), 5);
            assert_eq!(send(&mut weeks, "a", 15).1, None, "it was said");
            weeks.keep(|route| route != "mail");
            assert_eq!(weeks.saved().count(), 0);
        }
    }
}
