//! What the config says: routes, and planned maintenance.

use crate::rate::Rate;
use crate::when::When;
use healthd_core::check::outcome::Verdict;
use healthd_core::matching::Match;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Config {
    pub routes: Vec<Arc<Route>>,
    pub maintenance: Vec<Maintenance>,
}

/// One `[[notify]]`, as far as it decides who is told when. What its plugin needs is the caller's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Route {
    pub name: Arc<str>,
    pub plugin: String,
    /// A route that is not tells of no new problem; what it has told it ends.
    pub enabled: bool,
    pub matches: Match,
    pub on: On,
    /// Problems are collected for so long from the first one on.
    pub wait: Duration,
    /// Only what is still bad and not acknowledged by then.
    pub after: Duration,
    /// None: never.
    pub repeat: Option<Duration>,
    /// None: always.
    pub when: Option<When>,
    pub by: By,
    /// Beyond it problems join the next message.
    pub limit: Option<Rate>,
    /// This route is told as well when this one has failed for some minutes.
    pub backup: Option<Arc<str>>,
    /// So many messages a week are enough: beyond that it is said which checks they are about.
    #[serde(default)]
    pub budget: Option<u32>,
    /// A sign of life is sent so often, while no delivery of any route is overdue.
    pub alive: Option<Duration>,
}

impl Route {
    /// With every default.
    pub fn new(name: &str, plugin: &str) -> Route {
        Route {
            name: name.into(),
            plugin: plugin.to_owned(),
            enabled: true,
            matches: Match::all(),
            on: On::default(),
            wait: Duration::from_secs(10),
            after: Duration::ZERO,
            repeat: None,
            when: None,
            by: By::None,
            limit: None,
            backup: None,
            budget: None,
            alive: None,
        }
    }
}

/// The problems that a route tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct On {
    pub warning: bool,
    pub critical: bool,
    pub unknown: bool,
}

impl Default for On {
    fn default() -> On {
        On {
            warning: true,
            critical: true,
            unknown: true,
        }
    }
}

impl On {
    pub fn has(self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Warning => self.warning,
            Verdict::Critical => self.critical,
            Verdict::Unknown => self.unknown,
            Verdict::Ok | Verdict::Pending => false,
        }
    }
}

/// Which problems share a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// All.
    None,
    /// None does.
    Check,
    /// Those with the same value of this label.
    Label(String),
}

/// One `[[maintenance]]`: silent, and not counted as downtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Maintenance {
    pub matches: Match,
    pub when: When,
    pub reason: String,
}
