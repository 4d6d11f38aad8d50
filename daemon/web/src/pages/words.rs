//! How a check is called and marked: shape, word and colour, so that none of them is needed alone.

use crate::picture::Row;
use healthd_core::check::outcome::{Status, Verdict};

/// What is shown of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Critical,
    Warning,
    Unknown,
    Pending,
    Ok,
    Paused,
}

pub fn shown(row: &Row) -> Shown {
    match row.verdict {
        _ if row.paused || row.disabled => Shown::Paused,
        Some(verdict) => of_verdict(verdict),
        None => Shown::Unknown,
    }
}

pub fn of_verdict(verdict: Verdict) -> Shown {
    match verdict {
        Verdict::Critical => Shown::Critical,
        Verdict::Warning => Shown::Warning,
        Verdict::Unknown => Shown::Unknown,
        Verdict::Pending => Shown::Pending,
        Verdict::Ok => Shown::Ok,
    }
}

impl Shown {
    /// Of a state in events; empty: none of ours.
    pub fn of_word(word: &str) -> Option<Shown> {
        use Shown::*;
        let all = [Critical, Warning, Unknown, Pending, Ok, Paused];
        all.into_iter().find(|s| s.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Shown::Critical => "critical",
            Shown::Warning => "warning",
            Shown::Unknown => "unknown",
            Shown::Pending => "pending",
            Shown::Ok => "ok",
            Shown::Paused => "paused",
        }
    }

    pub fn mark(self) -> &'static str {
        match self {
            Shown::Critical => "✖",
            Shown::Warning => "▲",
            Shown::Unknown => "?",
            Shown::Pending => "○",
            Shown::Ok => "✔",
            Shown::Paused => "‖",
        }
    }

    /// In the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Shown::Critical => "c",
            Shown::Warning => "w",
            Shown::Unknown => "u",
            Shown::Pending => "p",
            Shown::Ok => "o",
            Shown::Paused => "z",
        }
    }
}

/// What the word alone does not say: "critical 1/3", "stale", "quarantined".
pub fn remark(row: &Row, now: u64) -> String {
    let mut parts = Vec::new();
    if row.disabled {
        parts.push("disabled".to_owned());
    }
    // The last run says otherwise, but not yet often enough.
    let soft = row
        .status
        .filter(|s| Some(Verdict::from(*s)) != row.verdict);
    if let Some(status) = soft {
        let of = match status {
            Status::Ok => String::new(),
            _ => format!(" {}/{}", row.attempt, row.attempts),
        };
        parts.push(format!("last run {status}{of}"));
    }
    if row.quarantined {
        parts.push("quarantined".to_owned());
    }
    if row.hold_until > now {
        parts.push("held".to_owned());
    }
    if !row.paused && !row.disabled && row.is_stale(now) {
        parts.push("stale".to_owned());
    }
    parts.join(", ")
}
