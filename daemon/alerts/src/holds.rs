//! Silence, acknowledgement, maintenance: one thing that holds back problems, in three words. A silence speaks of
//! checks until some time, an acknowledgement of one check until its problem is over, a maintenance by the calendar.

use crate::route::Maintenance;
use crate::time::Now;
use crate::when::Watch;
use healthd_core::matching::Match;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Given by a person over the control socket, and kept over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    pub scope: Scope,
    pub until: Until,
    pub reason: String,
    /// As the socket's credentials say.
    pub author: String,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    /// Not counted as downtime.
    pub planned: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A `match`.
    Matching(String),
    /// The problem that this check has now.
    Problem(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// CLOCK_REALTIME, ns.
    Time(u64),
    /// Somebody takes it back, or the problem is over.
    Further,
}

#[derive(Debug, Default)]
pub struct Holds {
    given: BTreeMap<u64, Given>,
    calendar: Vec<(Maintenance, Watch)>,
}

#[derive(Debug)]
struct Given {
    hold: Hold,
    matches: Option<Match>,
}

impl Holds {
    pub fn set_calendar(&mut self, calendar: Vec<Maintenance>) {
        let watched = calendar.into_iter().map(|m| (m, Watch::default()));
        self.calendar = watched.collect();
    }

    /// False: its `match` cannot be read, and it holds nothing back.
    pub fn give(&mut self, id: u64, hold: Hold) -> bool {
        let matches = match &hold.scope {
            Scope::Matching(text) => match Match::parse(text) {
                Ok(matches) => Some(matches),
                Err(_) => return false,
            },
            Scope::Problem(_) => None,
        };
        self.given.insert(id, Given { hold, matches });
        true
    }

    pub fn take_back(&mut self, id: u64) -> bool {
        self.given.remove(&id).is_some()
    }

    /// Takes away what is over by time, and looks at the calendar. Those taken away, and whether anything changed.
    pub fn turn(&mut self, now: Now) -> (Vec<u64>, bool) {
        let over = |given: &Given| matches!(given.hold.until, Until::Time(t) if t <= now.wall);
        let ended: Vec<u64> = (self.given.iter())
            .filter(|(_, given)| over(given))
            .map(|(id, _)| *id)
            .collect();
        for id in &ended {
            self.given.remove(id);
        }
        let mut changed = !ended.is_empty();
        for (maintenance, watch) in &mut self.calendar {
            changed |= watch.turn(&maintenance.when, now.wall);
        }
        (ended, changed)
    }

    /// The wall clock's next time at which `turn` finds something.
    pub fn next(&self) -> Option<u64> {
        let ends = self
            .given
            .values()
            .filter_map(|given| match given.hold.until {
                Until::Time(t) => Some(t),
                Until::Further => None,
            });
        let calendar = self.calendar.iter().filter_map(|(_, watch)| watch.next());
        ends.chain(calendar).min()
    }

    pub fn holds(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let given = |given: &Given| given.covers(name, labels);
        self.given.values().any(given) || self.maintenance(name, labels).is_some()
    }

    /// Its time is not to be counted as downtime: the reason.
    pub fn planned(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<&str> {
        let mut given = self.given.values();
        let given = given.find(|given| given.hold.planned && given.covers(name, labels));
        let given = given.map(|given| given.hold.reason.as_str());
        given.or_else(|| self.maintenance(name, labels).map(|m| m.reason.as_str()))
    }

    fn maintenance(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<&Maintenance> {
        let on =
            |(m, watch): &&(Maintenance, Watch)| watch.is_open() && m.matches.fits(name, labels);
        self.calendar.iter().find(on).map(|(m, _)| m)
    }

    /// Anything that makes time planned.
    pub fn plans(&self) -> bool {
        let is_open = |(_, watch): &(Maintenance, Watch)| watch.is_open();
        self.given.values().any(|given| given.hold.planned) || self.calendar.iter().any(is_open)
    }

    /// Who has taken the problem of this check, and what they say.
    pub fn ack_of(&self, name: &str) -> Option<(String, String)> {
        let id = self.of_problem(name).into_iter().next()?;
        let hold = &self.given.get(&id)?.hold;
        Some((hold.author.clone(), hold.reason.clone()))
    }

    /// The acknowledgements of a check's problem.
    pub fn of_problem(&self, name: &str) -> Vec<u64> {
        let of = |given: &Given| matches!(&given.hold.scope, Scope::Problem(n) if &**n == name);
        let ids = self.given.iter().filter(|(_, given)| of(given));
        ids.map(|(id, _)| *id).collect()
    }

    pub fn given(&self) -> impl Iterator<Item = (u64, &Hold)> {
        self.given.iter().map(|(id, given)| (*id, &given.hold))
    }
}

impl Given {
    fn covers(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match (&self.hold.scope, &self.matches) {
            (Scope::Problem(of), _) => &**of == name,
            (Scope::Matching(_), Some(matches)) => matches.fits(name, labels),
            (Scope::Matching(_), None) => false,
        }
    }
}
