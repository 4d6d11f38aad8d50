//! What the daemon keeps of what was said to a check. Times are CLOCK_REALTIME in ns.

use healthd_plugin::serde_json;
use healthd_plugin::{Cx, Status};
use serde::Deserialize;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// It was seen first.
    pub first: Option<u64>,
    /// A job has begun and not ended.
    pub started: Option<u64>,
    pub last: Option<Last>,
    /// The last end that was well.
    pub last_ok: Option<u64>,
    pub count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Last {
    pub at: u64,
    pub status: u8,
    pub code: Option<i32>,
    pub took: Option<u64>,
    pub text: String,
}

impl Kept {
    /// Err: the status of a check about which nothing can be said now.
    pub async fn of(cx: Cx<'_>, now: u64) -> Result<Kept, Status> {
        let unknown = |e: io::Error| cx.unknown(format_args!("what was said is not known: {e}"));
        let entry = cx.state().get().wait().await.map_err(unknown)?;
        if let Some(entry) = entry {
            return serde_json::from_slice(&entry.value)
                .map_err(|e| cx.unknown(format_args!("what was said makes no sense: {e}")));
        }
        // From here on the first word is awaited. If one has come meanwhile, that is what the next run sees.
        let first = format!("{{\"first\":{now}}}");
        let set = cx.state().set(first.as_bytes()).only_if(0);
        set.wait().await.map_err(unknown)?;
        Ok(Kept {
            first: Some(now),
            ..Kept::default()
        })
    }
}

pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, ns)
}

pub fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// To the second, as ages are told.
pub fn span(ns: u64) -> String {
    let seconds = Duration::from_secs(ns / 1_000_000_000);
    match seconds.is_zero() {
        true => "less than 1s".to_owned(),
        false => healthd_plugin::options::duration_text(seconds),
    }
}
