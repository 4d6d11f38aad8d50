//! What is said to a check that is fed, and what is kept of it for its plugin (`plugins/heartbeat`), which judges it.
//! Pure.

use healthd_core::check::outcome::Status;
use healthd_core::text::cut;
use healthd_core::wire::alerts::{Beat, BeatEvent, Submission};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Started,
    Ended {
        status: Status,
        code: Option<i32>,
        text: String,
    },
}

/// Times are CLOCK_REALTIME in ns. What a later version adds is kept as it is.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// The plugin saw it first.
    first: Option<u64>,
    /// A job has begun and not ended.
    started: Option<u64>,
    last: Option<Last>,
    /// The last end that was well.
    last_ok: Option<u64>,
    count: u64,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Last {
    at: u64,
    status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    /// From its beginning, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    took: Option<u64>,
    text: String,
}

impl Said {
    pub fn beat(beat: Beat) -> Result<Said, &'static str> {
        let ended = |status, code| Said::Ended {
            status,
            code,
            text: beat.text.clone(),
        };
        match (beat.event, beat.code) {
            (BeatEvent::Exit, None) => Err("`exit` has no `code`"),
            (BeatEvent::Exit, Some(0)) => Ok(ended(Status::Ok, Some(0))),
            (BeatEvent::Exit, Some(code)) => Ok(ended(Status::Critical, Some(code))),
            (_, Some(_)) => Err("`code` is for `exit` only"),
            (BeatEvent::Start, None) => Ok(Said::Started),
            (BeatEvent::Ok, None) => Ok(ended(Status::Ok, None)),
            (BeatEvent::Fail, None) => Ok(ended(Status::Critical, None)),
        }
    }

    pub fn submission(submission: Submission) -> Said {
        Said::Ended {
            status: submission.status,
            code: None,
            text: submission.text,
        }
    }

    /// What is kept from now on.
    pub fn kept(self, before: Option<&[u8]>, wall: u64) -> Vec<u8> {
        let before = before.and_then(|b| serde_json::from_slice(b).ok());
        let mut kept: Kept = before.unwrap_or_default();
        kept.count += 1;
        match self {
            Said::Started => kept.started = Some(wall),
            Said::Ended { status, code, text } => {
                let took = kept.started.take().map(|began| wall.saturating_sub(began));
                if status == Status::Ok {
                    kept.last_ok = Some(wall);
                }
                kept.last = Some(Last {
                    at: wall,
                    status: status as u8,
                    code,
                    took,
                    text: cut(&text, TEXT_MAX).to_owned(),
                });
            }
        }
        serde_json::to_vec(&kept).unwrap_or_default()
    }
}

/// Bytes: written as JSON it is at most six times as much, and a state has room for 16 KiB.
const TEXT_MAX: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn beat(event: BeatEvent, code: Option<i32>) -> Result<Said, &'static str> {
        let (name, text) = ("backup".to_owned(), "all of it".to_owned());
        Said::beat(Beat {
            name,
            event,
            code,
            text,
        })
    }

    #[test]
    fn what_plugins_read_stays() {
        let mut state: Option<Vec<u8>> = Some(br#"{"first":5,"later":"x"}"#.to_vec());
        let mut say = |said: Result<Said, &str>, wall| {
            let kept = said.expect("it can be said").kept(state.as_deref(), wall);
            let value: Value = serde_json::from_slice(&kept).expect("JSON");
            state = Some(kept);
            value
        };
        let started = say(beat(BeatEvent::Start, None), 10);
        assert_eq!(
            started,
            json!({"first": 5, "started": 10, "last": null, "last_ok": null, "count": 1, "later": "x"})
        );
        let ended = say(beat(BeatEvent::Exit, Some(0)), 30);
        assert_eq!(
            ended,
            json!({"first": 5, "started": null, "last": {"at": 30, "status": 0, "code": 0, "took": 20, "text": "all of it"},
                "last_ok": 30, "count": 2, "later": "x"})
        );
        let failed = say(beat(BeatEvent::Exit, Some(3)), 40);
        assert_eq!(failed["last"]["status"], 2);
        assert_eq!(
            (&failed["last_ok"], &failed["last"]["code"]),
            (&json!(30), &json!(3))
        );
        assert_eq!(say(beat(BeatEvent::Fail, None), 41)["last"]["status"], 2);
        assert_eq!(say(beat(BeatEvent::Ok, None), 42)["last_ok"], 42);
        assert!(beat(BeatEvent::Exit, None).is_err() && beat(BeatEvent::Ok, Some(1)).is_err());
    }

    #[test]
    fn a_long_text_has_room() {
        let said = Said::submission(Submission {
            name: String::new(),
            status: Status::Warning,
            text: "\u{1}".repeat(60_000),
        });
        assert!(said.kept(Some(b"no JSON"), 1).len() < 16 << 10);
    }
}
