//! The message that is delivered, out of its JSON. What is not there has a default, so that an older host is understood.

use healthd_plugin::serde_json;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Message {
    pub id: String,
    pub notice: String,
    pub kind: Kind,
    pub route: String,
    pub host: String,
    /// RFC 3339, as all times here.
    pub time: String,
    /// All checks of the notice, also those that `checks` has no room for.
    pub count: usize,
    /// Those of them that are bad.
    pub bad: usize,
    /// Bad ones first.
    pub checks: Vec<Check>,
    /// Checks that are not judged because they need one of those.
    pub behind: Vec<String>,
    pub behind_count: usize,
    /// Other checks that became bad at about the same time.
    pub near: Vec<String>,
    /// When the first problem began, and when the last was over.
    pub from: String,
    pub to: Option<String>,
    /// Of a recovery: nobody knows whether the problem was told.
    pub unsure: bool,
    pub instead_of: Option<InsteadOf>,
    /// Where its page is.
    pub url: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Problem,
    Worse,
    Update,
    Repeat,
    Recovery,
    Test,
    Alive,
    /// Of `on_change`.
    Change,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Check {
    pub name: String,
    pub verdict: String,
    pub was: String,
    pub message: String,
    pub since: String,
    pub labels: BTreeMap<String, String>,
    pub runbook: Option<String>,
    /// Its own page.
    pub url: Option<String>,
    /// A sign for each of the last runs.
    pub recent: Option<String>,
    pub took_ms: Option<f64>,
    /// Results in a row that are a problem, and how many of them make a verdict.
    pub attempt: Option<u32>,
    pub attempts: Option<u32>,
    /// It is no verdict yet.
    pub soft: bool,
    pub last_ok: Option<String>,
    /// The story of its last run.
    pub why: Vec<Step>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Step {
    pub at: Option<String>,
    pub what: String,
    pub text: String,
}

/// The route that cannot reach its receiver, and why.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct InsteadOf {
    pub route: String,
    pub reason: String,
}

impl Message {
    pub fn read(json: &str) -> Result<Message, String> {
        serde_json::from_str(json).map_err(|e| format!("the message: {e}"))
    }

    /// The worst verdict in it.
    pub fn worst(&self) -> &str {
        let rank = |verdict: &str| match verdict {
            "critical" => 3,
            "unknown" => 2,
            "warning" => 1,
            _ => 0,
        };
        let verdicts = self.checks.iter().map(|c| c.verdict.as_str());
        verdicts.max_by_key(|v| rank(v)).unwrap_or("ok")
    }

    pub fn is_over(&self) -> bool {
        self.kind == Kind::Recovery
    }
}
