//! One run of a check: its status and what it measured.

use serde::{Deserialize, Serialize};

/// What a plugin says of one run; also the exit codes of Nagios plugins and of healthctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Status {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl Status {
    pub const ALL: [Status; 4] = [
        Status::Ok,
        Status::Warning,
        Status::Critical,
        Status::Unknown,
    ];

    pub fn from_code(code: u8) -> Option<Status> {
        Self::ALL.get(usize::from(code)).copied()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Critical => "critical",
            Status::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the daemon holds of a check after its attempts; `Pending` until the first judged run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Critical,
    Unknown,
    Pending,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Critical => "critical",
            Verdict::Unknown => "unknown",
            Verdict::Pending => "pending",
        }
    }

    pub fn code(self) -> u8 {
        match self {
            Verdict::Ok => 0,
            Verdict::Warning => 1,
            Verdict::Critical => 2,
            Verdict::Unknown => 3,
            Verdict::Pending => 4,
        }
    }

    pub fn from_code(code: u8) -> Option<Verdict> {
        Status::from_code(code)
            .map(Verdict::from)
            .or((code == 4).then_some(Verdict::Pending))
    }
}

impl From<Status> for Verdict {
    fn from(status: Status) -> Verdict {
        match status {
            Status::Ok => Verdict::Ok,
            Status::Warning => Verdict::Warning,
            Status::Critical => Verdict::Critical,
            Status::Unknown => Verdict::Unknown,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One measured value (Nagios: perfdata). `T`: its texts, which may still stand in the message that brought them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric<T = String> {
    pub name: T,
    /// None: not a finite number.
    pub value: Option<f64>,
    pub unit: T,
    pub warn: Option<f64>,
    pub crit: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// A counter only grows; a gauge goes both ways.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counter: bool,
}

/// When a phase of the run began, in nanoseconds after its start ("dns", "connect", "tls", "ttfb").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase<T = String> {
    pub name: T,
    pub at_ns: u64,
}
