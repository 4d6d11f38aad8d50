//! `alerts`: what programs get of open notices, routes and silences. Others build on these shapes.

use crate::check::outcome::Status;
use serde::{Deserialize, Serialize};

/// Times are RFC 3339, ids are texts: some are larger than what JavaScript takes for a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertsReport {
    pub notices: Vec<NoticeRow>,
    pub routes: Vec<RouteRow>,
    pub silences: Vec<SilenceRow>,
}

/// What the receiver of a route is told of some checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoticeRow {
    pub id: String,
    pub route: String,
    /// `collecting`, `sending`, `refused`, `told`, `ending`.
    pub state: String,
    /// Of the message that is due or on its way; null: none is.
    pub kind: Option<String>,
    pub since: Option<String>,
    pub checks: Vec<String>,
    pub told_at: Option<String>,
    pub next_try: Option<String>,
    /// Why the last try did not get through.
    pub refusal: Option<String>,
    /// What the receiver said when it took the last message.
    pub receipt: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteRow {
    pub name: String,
    pub plugin: String,
    pub enabled: bool,
    /// Notices that have something to say that has not got through.
    pub pending: u64,
    /// For how long the oldest of them has been failing.
    pub oldest_pending_s: f64,
    pub last_ok: Option<String>,
    pub last_error: Option<String>,
    /// Deliveries by how they ended, since the manager's start, and how long they took together.
    pub accepted: u64,
    pub refused: u64,
    pub unknown: u64,
    pub took_s: f64,
    /// Messages within a week, tests and signs of life left out, and how many are enough.
    pub week: u64,
    pub budget: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SilenceRow {
    pub id: String,
    /// `silence`, `maintenance` or `ack`.
    pub kind: String,
    /// A `match`, or the check whose problem is acknowledged.
    #[serde(rename = "match")]
    pub matches: String,
    /// Null: until it is taken back, or the problem is over.
    pub until: Option<String>,
    pub reason: String,
    pub author: String,
    pub since: Option<String>,
}

/// What `silence` asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SilenceAsk {
    /// Which checks, as in a route.
    #[serde(rename = "match")]
    pub matches: String,
    #[serde(default)]
    pub reason: String,
    /// None: until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// A maintenance: not counted as downtime.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub planned: bool,
}

/// What became of a message of `alerts_test`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tested {
    pub route: String,
    /// `accepted`, `refused`, or `unknown`: it may have arrived.
    pub outcome: String,
    /// The receipt, or why there is none.
    pub said: String,
}

/// Whether a route would be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WhoRow {
    pub route: String,
    pub told: bool,
    pub why: String,
}

/// What `heartbeat` says: a job has begun, or has ended, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// A check whose plugin is `heartbeat`.
    pub name: String,
    pub event: BeatEvent,
    /// Of `exit`: 0 is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// What the job has to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BeatEvent {
    Ok,
    Start,
    Fail,
    Exit,
}

/// What `submit` says: a result that somebody else has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// A check whose plugin is `passive`.
    pub name: String,
    pub status: Status,
    /// As a Nagios plugin prints it: behind `|` metrics, in further lines the details.
    #[serde(default)]
    pub text: String,
}
