//! Which file is meant: by its path, or by the name of a plugin in it.

use crate::error::CtlError;
use crate::healthd::{Helper, Probe};
use crate::render::time;
use crate::session::Session;
use healthd_core::wire::control::{Op, Reply};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const INSTALLED: &str = "/usr/lib/healthd/plugins";
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// A path is taken as it is. A name is looked for in the running healthd, then beside this program, then where
/// plugins are installed.
pub fn find(session: &mut Session, word: &str) -> Result<PathBuf, CtlError> {
    let path = Path::new(word);
    if word.contains('/') || path.extension().is_some_and(|e| e == "so") || path.is_file() {
        return Ok(path.to_owned());
    }
    if let Some(file) = of_daemon(session, word) {
        return Ok(file);
    }
    installed(word)
}

/// Of no running healthd: beside this program, then where plugins are installed.
pub fn installed(word: &str) -> Result<PathBuf, CtlError> {
    let folders = folders();
    let likely = folders
        .iter()
        .map(|folder| folder.join(format!("libhealthd_{word}.so")))
        .find(|file| file.is_file());
    // Several plugins may share a file: then each is asked.
    likely
        .or_else(|| folders.iter().find_map(|folder| holding(folder, word)))
        .ok_or_else(|| CtlError::NoPlugin {
            name: word.to_owned(),
            folders,
        })
}

fn of_daemon(session: &mut Session, name: &str) -> Option<PathBuf> {
    let mut found = None;
    let patience = session.map_patience();
    let asked = session.ask_within(Op::Plugins, patience, |reply| match reply {
        Reply::Plugin(row) => {
            if row.name == name {
                found = Some(PathBuf::from(row.file));
            }
            true
        }
        _ => false,
    });
    asked.ok().and(found).filter(|file| file.is_file())
}

/// The first of those folders that holds any plugin.
pub fn folder() -> PathBuf {
    let found = folders().into_iter().find(|folder| holds_any(folder));
    found.unwrap_or_else(|| INSTALLED.into())
}

pub fn holds_any(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = entries.map(|entry| entry.path());
    files.any(|path| path.extension().is_some_and(|e| e == "so"))
}

fn folders() -> Vec<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    beside.into_iter().chain([INSTALLED.into()]).collect()
}

fn holding(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "so"))
        .collect();
    files.sort();
    files.into_iter().find(|file| {
        probe(file, None).is_ok_and(|probe| probe.plugins.iter().any(|p| p.name == name))
    })
}

/// What the file says of itself, or why healthd would refuse it. Its constructors run in a process of their own: one
/// may crash it, or never return.
pub fn probe(file: &Path, limit: Option<Duration>) -> Result<Probe, CtlError> {
    let limit = limit.unwrap_or(PROBE_LIMIT);
    let helper = Helper {
        limit: Some(limit),
        ..Helper::default()
    };
    let ended = helper.run(&[OsStr::new("--verify"), file.as_os_str()])?;
    let refused = |reason| Probe {
        ok: false,
        reason,
        plugins: Vec::new(),
    };
    Ok(match ended.killed_by() {
        _ if !ended.in_time => {
            let limit = time::duration(limit.as_millis() as u64);
            refused(format!("loading it does not end within {limit}"))
        }
        Some(signal) => refused(format!("loading it crashes: {signal}")),
        None => {
            let mut probe: Probe = ended.answer()?;
            for plugin in &mut probe.plugins {
                let ignored = plugin.ignored();
                if !ignored.is_empty() {
                    plugin.more.insert("ignored".into(), ignored.into());
                }
            }
            probe
        }
    })
}
