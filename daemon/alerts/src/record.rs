//! What must be written down: a notice's whole row, its end, a hold, its end, how a route is doing, a message that was
//! accepted. The last one of an id counts, so a log of them may be cut short by leaving out what is superseded.

use crate::delivery::Kind;
use crate::holds::Hold;
use crate::lane::Ends;
use healthd_core::check::outcome::Verdict;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One line of JSON each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Notice(SavedNotice),
    NoticeGone(u64),
    Hold(u64, Hold),
    HoldGone(u64),
    Route(SavedRoute),
    Sent(SavedSent),
}

/// How deliveries of a route have ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRoute {
    pub name: Arc<str>,
    /// CLOCK_REALTIME, ns: the last that was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ok: Option<u64>,
    /// Why the last was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(default)]
    pub ends: Ends,
}

/// A message that a receiver has accepted, which counts for a week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSent {
    pub route: Arc<str>,
    /// CLOCK_REALTIME, ns.
    pub at: u64,
    /// The first of its checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Arc<str>>,
    /// It was one too many, and that was said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub said: bool,
}

/// What the receiver of a route has been told of some checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedNotice {
    pub id: u64,
    pub route: Arc<str>,
    pub stage: SavedStage,
    /// Ids of messages.
    pub problem: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<(Kind, u64)>,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    #[serde(default)]
    pub told_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// CLOCK_REALTIME, ns: since then what is due on it has not got through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<u64>,
    /// Why the last try of that was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What the receiver said when it took the last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    pub members: Vec<SavedMember>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedStage {
    /// Every attempt was refused for certain.
    Refused,
    /// An attempt was begun.
    Sending,
    Told,
    /// A recovery was begun; the receiver knows of the problem, or may know, or does not.
    Ending,
    EndingMaybe,
    EndingUntold,
}

/// Its name, what was said of it last, and since when it was bad.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedMember(pub Arc<str>, pub Said, pub u64);

/// What the receiver was told of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Nothing,
    Bad(Verdict),
    Over,
}

impl Record {
    /// At most `RECORD_MAX` bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Record, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
}

/// So many members has one notice at most: its record has to fit into what a log takes, 1 MiB.
pub const MEMBERS_MAX: usize = 1_500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds::{Scope, Until};
    use crate::lane::SAID_MAX;
    use healthd_core::config::NAME_MAX;

    #[test]
    fn the_longest_record_fits_into_a_log() {
        // The longest name, each byte of which JSON writes as two.
        let name = |n: usize| Arc::from(format!("{n:0>5}{}", "\"".repeat(NAME_MAX - 5)));
        let members =
            (0..MEMBERS_MAX).map(|n| SavedMember(name(n), Said::Bad(Verdict::Critical), u64::MAX));
        let record = Record::Notice(SavedNotice {
            id: u64::MAX,
            route: name(0),
            stage: SavedStage::EndingUntold,
            problem: u64::MAX,
            recovery: Some(u64::MAX),
            extra: Some((Kind::Repeat, u64::MAX)),
            since: u64::MAX,
            told_at: u64::MAX,
            ended_at: Some(u64::MAX),
            failing: Some(u64::MAX),
            refusal: Some("\u{1}".repeat(SAID_MAX)),
            receipt: Some("\u{1}".repeat(SAID_MAX)),
            members: members.collect(),
        });
        let bytes = record.encode();
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn the_form_on_disk_stays() {
        let hold = Hold {
            scope: Scope::Matching("db/*".into()),
            until: Until::Time(7),
            reason: "move".into(),
            author: "ana".into(),
            since: 5,
            planned: true,
        };
        let text = r#"{"hold":[3,{"scope":{"matching":"db/*"},"until":{"time":7},"reason":"move","author":"ana","since":5,"planned":true}]}"#;
        assert_eq!(
            Record::decode(text.as_bytes()),
            Ok(Record::Hold(3, hold.clone()))
        );
        assert_eq!(Record::Hold(3, hold).encode(), text.as_bytes());
        let text = r#"{"notice":{"id":1,"route":"mail","stage":"sending","problem":2,"since":9,"told_at":0,"members":[["web",{"bad":"critical"},8]]}}"#;
        let record = Record::decode(text.as_bytes()).expect("a record");
        assert_eq!(record.encode(), text.as_bytes());
        for text in [
            r#"{"route":{"name":"mail","last_ok":7,"last_error":"no","ends":{"accepted":1,"refused":2,"unknown":3,"took":4}}}"#,
            r#"{"sent":{"route":"mail","at":7,"check":"web","said":true}}"#,
            r#"{"sent":{"route":"mail","at":7}}"#,
        ] {
            let record = Record::decode(text.as_bytes()).expect("a record");
            assert_eq!(record.encode(), text.as_bytes());
        }
        assert_eq!(Record::NoticeGone(1).encode(), br#"{"notice_gone":1}"#);
        assert!(Record::decode(b"{}").is_err() && Record::decode(b"").is_err());
    }
}
