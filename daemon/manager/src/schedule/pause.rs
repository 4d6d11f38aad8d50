//! Checks that somebody has paused: who, why, and until when.

use healthd_core::wire::control::PauseInfo;
use serde::{Deserialize, Serialize};

/// Longer is no pause but a change of the config.
pub const LONGEST_MS: u64 = 366 * 86_400_000;

/// Times are CLOCK_REALTIME in ns; 0: not known, or without end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OnDisk")]
pub struct Paused {
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_uid: Option<u32>,
    #[serde(default)]
    pub since: u64,
    #[serde(default)]
    pub until: u64,
}

/// Earlier versions kept the reason alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum OnDisk {
    Reason(String),
    Full {
        reason: String,
        #[serde(default)]
        by_uid: Option<u32>,
        #[serde(default)]
        since: u64,
        #[serde(default)]
        until: u64,
    },
}

impl From<OnDisk> for Paused {
    fn from(saved: OnDisk) -> Paused {
        match saved {
            OnDisk::Reason(reason) => Paused {
                reason,
                ..Paused::default()
            },
            OnDisk::Full {
                reason,
                by_uid,
                since,
                until,
            } => Paused {
                reason,
                by_uid,
                since,
                until,
            },
        }
    }
}

impl Paused {
    pub fn info(&self) -> PauseInfo {
        PauseInfo {
            by_uid: self.by_uid,
            since: crate::time::rfc3339(self.since),
            until: crate::time::rfc3339(self.until),
        }
    }

    /// For `why`: what ends it, and the reason.
    pub fn told(&self) -> String {
        let reason = match self.reason.as_str() {
            "" => "no reason given",
            reason => reason,
        };
        match crate::time::rfc3339(self.until) {
            Some(until) => {
                format!("nothing until {until}, or `healthctl resume`: it is paused ({reason})")
            }
            None => format!("nothing until `healthctl resume`: it is paused ({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let old: Paused = serde_json::from_str("\"new switch\"").expect("a reason alone");
        assert_eq!(old.reason, "new switch");
        let full = Paused {
            reason: "x".into(),
            by_uid: Some(1000),
            since: 1,
            until: 2,
        };
        let text = serde_json::to_string(&full).expect("plain data");
        assert_eq!(serde_json::from_str::<Paused>(&text).expect("ours"), full);
    }
}
