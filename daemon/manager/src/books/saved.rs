//! The state as it lies on disk, and how it is read: a log of records (`state.log`), or the one JSON document that
//! healthd wrote before (`state.json`), which is read once.
//!
//! A record is a check's whole row, its end, or the next run id; the last one of a check counts.

use crate::books::record_log::{self, Tail};
use crate::fleet::quarantine::SavedStanding;
use crate::schedule::pause::Paused;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_sys::files;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub const STATE_FILE: &str = "state.log";
/// What an older healthd has written.
pub const OLD_STATE_FILE: &str = "state.json";
/// "HDSTAT", and the version of the records.
pub const MAGIC: u64 = 0x4844_5354_4154_0002;
const OLD_VERSION: u32 = 1;

/// All that is known.
#[derive(Debug, Default)]
pub struct Saved {
    pub next_run: u64,
    pub checks: Vec<SavedCheck>,
}

/// What has changed.
#[derive(Debug, Default)]
pub struct News {
    pub next_run: u64,
    pub checks: Vec<SavedCheck>,
    /// Names of which nothing is known any more.
    pub gone: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record<C> {
    Check(C),
    Gone(String),
    NextRun(u64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedCheck {
    pub name: String,
    pub plugin: String,
    pub verdict: Verdict,
    pub status: Option<Status>,
    pub attempt: u32,
    /// Results in a row against it, which `attempt` (1 while there are none) does not tell by itself. None: an
    /// older healthd has saved it.
    #[serde(default)]
    pub against: Option<u32>,
    #[serde(default)]
    pub runs: u64,
    #[serde(default)]
    pub skipped: u64,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    pub last_run: u64,
    /// CLOCK_REALTIME, ns. 0: none is known.
    #[serde(default)]
    pub last_ok: u64,
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    #[serde(default)]
    pub latency_ns: u64,
    /// Slot of the worker that ran it last.
    #[serde(default)]
    pub worker: Option<u32>,
    /// Paused, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// What speaks against it, if anything does.
    #[serde(default, rename = "rap", skip_serializing_if = "Option::is_none")]
    pub standing: Option<SavedStanding>,
    #[serde(skip)]
    pub ahead: Ahead,
}

/// From the map only: what was to come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    /// CLOCK_MONOTONIC.
    pub next_due: u64,
    /// Run in flight; 0: none.
    pub in_flight: u64,
    /// A run was due that no worker had.
    pub is_due: bool,
}

impl SavedCheck {
    pub fn against(&self) -> u32 {
        if let Some(against) = self.against {
            return against;
        }
        let own_fault = self.fault.is_some_and(Fault::is_own);
        let problem = self.status.is_some_and(|s| s != Status::Ok) && !own_fault;
        let hard = !matches!(self.verdict, Verdict::Ok | Verdict::Pending);
        match self.attempt {
            0 | 1 => u32::from(hard || problem),
            n => n,
        }
    }
}

pub fn check_record(check: &SavedCheck) -> Vec<u8> {
    bytes(&Record::Check(check))
}

pub fn gone_record(name: &str) -> Vec<u8> {
    bytes(&Record::<()>::Gone(name.to_owned()))
}

pub fn next_run_record(next_run: u64) -> Vec<u8> {
    bytes(&Record::<()>::NextRun(next_run))
}

fn bytes<C: Serialize>(record: &Record<C>) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

/// What a daemon before us has left. None: nothing that can be used, which is said unless there is nothing.
pub fn recall(dir: &Path) -> Option<Saved> {
    let (log, old) = (dir.join(STATE_FILE), dir.join(OLD_STATE_FILE));
    // Ours takes the older one's place and removes it. A newer one is of an older healthd that ran in between.
    let path = match (written(&log), written(&old)) {
        (None, Some(_)) => old,
        (Some(ours), Some(theirs)) if theirs > ours => old,
        _ => log,
    };
    let found = match path.ends_with(STATE_FILE) {
        true => files::open(&path).and_then(|file| read_log(&file, &path)),
        false => files::read(&path, record_log::MAX_LOG).and_then(|bytes| read_old(&bytes)),
    };
    match found {
        Ok(saved) => Some(saved),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => {
            // Kept beside, so that nothing is lost and the next start does not meet it again.
            let aside = broken(&path);
            let kept = std::fs::rename(&path, &aside).is_ok();
            log::error!(
                "the saved state cannot be used: every check starts as pending  file={} why=\"{e}\"{}",
                path.display(),
                kept_as(kept, &aside)
            );
            None
        }
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    path.symlink_metadata().ok()?.modified().ok()
}

/// `state.log` -> `state.log.broken`
fn broken(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".broken");
    name.into()
}

fn kept_as(kept: bool, aside: &Path) -> String {
    match kept {
        true => format!(" kept_as={}", aside.display()),
        false => String::new(),
    }
}

fn read_log(file: &File, path: &Path) -> io::Result<Saved> {
    let mut next_run = 1;
    let mut checks: HashMap<String, SavedCheck> = HashMap::new();
    let (_, tail) = record_log::records(file, MAGIC, |record| {
        match serde_json::from_slice(record).map_err(io::Error::other)? {
            Record::<SavedCheck>::Check(check) => {
                checks.insert(check.name.clone(), check);
            }
            Record::Gone(name) => {
                checks.remove(&name);
            }
            Record::NextRun(n) => next_run = n,
        }
        Ok(())
    })?;
    match tail {
        Tail::None => {}
        Tail::Torn(bytes) => log::info!(
            "the last change of the state was not written to its end and is left out  file={} bytes={bytes}",
            path.display()
        ),
        Tail::Damaged(bytes) => {
            let aside = broken(path);
            let kept = std::fs::copy(path, &aside).is_ok();
            log::error!(
                "the saved state is damaged: what stands behind the damage is left out, and checks may start as they were earlier  file={} bytes={bytes}{}",
                path.display(),
                kept_as(kept, &aside)
            );
        }
    }
    Ok(Saved {
        next_run,
        checks: checks.into_values().collect(),
    })
}

fn read_old(bytes: &[u8]) -> io::Result<Saved> {
    #[derive(Deserialize)]
    struct Document {
        version: u32,
        next_run: u64,
        checks: Vec<SavedCheck>,
    }
    let document: Document = serde_json::from_slice(bytes).map_err(io::Error::other)?;
    if document.version != OLD_VERSION {
        return Err(io::Error::other(format!(
            "version {} (this healthd reads {OLD_VERSION})",
            document.version
        )));
    }
    Ok(Saved {
        next_run: document.next_run,
        checks: document.checks,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn check(
        verdict: Verdict,
        status: Option<Status>,
        attempt: u32,
        fault: Option<Fault>,
    ) -> SavedCheck {
        SavedCheck {
            name: "web".into(),
            plugin: "http".into(),
            verdict,
            status,
            attempt,
            against: None,
            runs: 0,
            skipped: 0,
            since: 0,
            last_run: 0,
            last_ok: 0,
            message: "as it was".into(),
            fault,
            latency_ns: 0,
            worker: None,
            paused: None,
            standing: None,
            ahead: Ahead::default(),
        }
    }

    #[test]
    fn a_restart_neither_adds_nor_forgets_an_attempt() {
        use Status::{Critical, Ok, Unknown};
        let own = Some(Fault::Overload);
        for (verdict, status, attempt, fault, against) in [
            (Verdict::Pending, None, 1, None, 0),
            (Verdict::Ok, Some(Ok), 1, None, 0),
            (Verdict::Ok, Some(Critical), 1, None, 1),
            (Verdict::Ok, Some(Critical), 2, None, 2),
            (Verdict::Ok, Some(Critical), 1, Some(Fault::Timeout), 1),
            (Verdict::Pending, Some(Critical), 1, None, 1),
            // Our own fault was no attempt before, and is none after.
            (Verdict::Ok, Some(Unknown), 1, own, 0),
            (Verdict::Ok, Some(Unknown), 2, own, 2),
            (Verdict::Critical, Some(Critical), 1, None, 1),
            (Verdict::Unknown, Some(Unknown), 1, Some(Fault::NoPlugin), 1),
            (Verdict::Critical, Some(Critical), 3, None, 3),
        ] {
            let check = check(verdict, status, attempt, fault);
            assert_eq!(check.against(), against, "{check:?}");
        }
    }
}
