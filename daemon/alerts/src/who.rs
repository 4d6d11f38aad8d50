//! `alerts who NAME`: which routes would be told of a check's problem, and why the others would not.

use crate::engine::Engine;
use crate::holds::{Hold, Scope, Until};
use crate::route::{Config, Route};
use healthd_core::check::outcome::Verdict;
use healthd_core::matching::Match;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub route: Arc<str>,
    pub because: Because,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Because {
    /// It is told, so long after the problem has begun.
    Told {
        after: Duration,
    },
    /// Only when the routes that it stands in for fail.
    BackupOf(Vec<Arc<str>>),
    Disabled,
    /// Its `match` does not fit.
    NoMatch(String),
    /// Not of this verdict.
    On,
    /// Its `when` is closed; open again then, if ever (CLOCK_REALTIME, ns).
    Closed {
        until: Option<u64>,
    },
    /// The reason of the maintenance that is on.
    Maintenance(String),
    /// The reason of a silence.
    Silenced(String),
    /// The note of who has the problem.
    Acknowledged(String),
}

impl Engine {
    /// By the config and the silences that are in force; `at`: CLOCK_REALTIME, ns.
    pub fn who(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        verdict: Verdict,
        at: u64,
    ) -> Vec<Answer> {
        let lasts = |hold: &Hold| !matches!(hold.until, Until::Time(until) if until <= at);
        let given = self.holds().given().filter(|(_, hold)| lasts(hold));
        let held: Vec<(Match, Because)> = given
            .filter_map(|(_, hold)| {
                let reason = hold.reason.clone();
                Some(match &hold.scope {
                    Scope::Matching(text) if hold.planned => {
                        (Match::parse(text).ok()?, Because::Maintenance(reason))
                    }
                    Scope::Matching(text) => (Match::parse(text).ok()?, Because::Silenced(reason)),
                    Scope::Problem(name) => (Match::name(name), Because::Acknowledged(reason)),
                })
            })
            .collect();
        who(self.config(), &held, name, labels, verdict, at)
    }
}

/// `at`: CLOCK_REALTIME, ns. `held`: a `match` each, and what holds back the problems that fit.
pub fn who(
    config: &Config,
    held: &[(Match, Because)],
    name: &str,
    labels: &BTreeMap<String, String>,
    verdict: Verdict,
    at: u64,
) -> Vec<Answer> {
    let held = (config.maintenance.iter())
        .find(|m| m.matches.fits(name, labels) && m.when.is_open(at))
        .map(|m| Because::Maintenance(m.reason.clone()))
        .or_else(|| {
            let by_hand = held.iter().find(|(m, _)| m.fits(name, labels));
            by_hand.map(|(_, because)| because.clone())
        });
    let by_itself = |route: &Route| {
        if !route.enabled {
            return Because::Disabled;
        }
        if !route.matches.fits(name, labels) {
            return Because::NoMatch(route.matches.as_str().to_owned());
        }
        if !route.on.has(verdict) {
            return Because::On;
        }
        if let Some(held) = &held {
            return held.clone();
        }
        if let Some(when) = route.when.as_ref().filter(|when| !when.is_open(at)) {
            return Because::Closed {
                until: when.next_change(at),
            };
        }
        Because::Told {
            after: route.after + route.wait,
        }
    };
    let answers: Vec<Because> = config.routes.iter().map(|r| by_itself(r)).collect();
    let told = |because: &Because| matches!(because, Because::Told { .. });
    (config.routes.iter().zip(&answers))
        .map(|(route, because)| {
            let of: Vec<Arc<str>> = (config.routes.iter().zip(&answers))
                .filter(|(r, b)| told(b) && r.backup.as_ref() == Some(&route.name))
                .map(|(r, _)| r.name.clone())
                .collect();
            let stands_in = !told(because) && route.enabled && !of.is_empty();
            Answer {
                route: route.name.clone(),
                because: if stands_in {
                    Because::BackupOf(of)
                } else {
                    because.clone()
                },
            }
        })
        .collect()
}
