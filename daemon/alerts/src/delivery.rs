//! A message on its way: what a notifier is handed, and what becomes of it.

use crate::check::Labels;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What a message is about. One message is never two of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Problem,
    /// A problem that was told has become a worse one, or has come back.
    Worse,
    /// Some of those that were told are well again.
    Update,
    Repeat,
    Recovery,
    Test,
    Alive,
    /// Of `on_change`: a check is not as it was. No route is told that.
    Change,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Problem => "problem",
            Kind::Worse => "worse",
            Kind::Update => "update",
            Kind::Repeat => "repeat",
            Kind::Recovery => "recovery",
            Kind::Test => "test",
            Kind::Alive => "alive",
            Kind::Change => "change",
        }
    }
}

/// A delivery to be started. The same `id` stands for the same message, however often it is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub id: u64,
    /// The same for a problem, its updates and its recovery; 0 for a message that belongs to none.
    pub notice: u64,
    pub kind: Kind,
    pub route: Arc<str>,
    /// Only of a recovery: what its receiver knows of the problem.
    pub sure: Sure,
    /// All members of the notice, bad ones first.
    pub checks: Vec<Line>,
    /// How many of them are bad.
    pub bad: usize,
    /// Checks that are not judged because they need one of those; the first of them, and how many there are.
    pub behind: Vec<Arc<str>>,
    pub behind_count: usize,
    /// Other checks that became bad at about the same time; the first of them.
    pub near: Vec<Arc<str>>,
    /// CLOCK_REALTIME, ns: when the first of its problems began.
    pub from: u64,
    /// And when the last was over.
    pub to: Option<u64>,
    /// Other routes whose receivers have been told of some of it.
    pub also: Vec<Arc<str>>,
    /// Another route that cannot reach its receiver, and why.
    pub instead_of: Option<(Arc<str>, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sure {
    /// It was told.
    Told,
    /// Nobody knows whether the problem arrived, or it is known that it did not: the message has to say both.
    Not,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub name: Arc<str>,
    pub verdict: Word,
    pub was: Word,
    pub message: String,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    pub labels: Labels,
    /// It is ok at this moment, and was so too often.
    pub flaps: bool,
    /// Who has taken the problem, and what they say.
    pub ack: Option<(String, String)>,
}

/// A verdict, or that there is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Ok,
    Warning,
    Critical,
    Unknown,
    Pending,
    Removed,
}

impl Word {
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Ok => "ok",
            Word::Warning => "warning",
            Word::Critical => "critical",
            Word::Unknown => "unknown",
            Word::Pending => "pending",
            Word::Removed => "removed",
        }
    }
}

impl From<healthd_core::check::outcome::Verdict> for Word {
    fn from(verdict: healthd_core::check::outcome::Verdict) -> Word {
        use healthd_core::check::outcome::Verdict;
        match verdict {
            Verdict::Ok => Word::Ok,
            Verdict::Warning => Word::Warning,
            Verdict::Critical => Word::Critical,
            Verdict::Unknown => Word::Unknown,
            Verdict::Pending => Word::Pending,
        }
    }
}

/// What became of a delivery. Each one that was started has exactly one.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With what the receiver said: a queue id, a status line.
    Accepted { receipt: String },
    /// The receiver does not have the message, for certain.
    Refused {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// It may have it.
    Unknown {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// It was not asked, and is not for so long.
    Held { reason: String, left: Duration },
}
