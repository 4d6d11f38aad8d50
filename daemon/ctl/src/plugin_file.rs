//! Which file is meant: by its path, or by the name of a plugin in it.

use crate::error::CtlError;
use crate::healthd::{Helper, Probe};
use crate::render::time;
use crate::session::Session;
use healthd_core::config::plugin_meant;
use healthd_core::wire::control::{Op, Reply};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const INSTALLED: &str = "/usr/lib/healthd/plugins";
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// A path is taken as it is. A name is looked for in the running healthd, then beside this program, then where
/// plugins are installed: the first of these that has it is meant.
pub fn find(session: &mut Session, word: &str) -> Result<PathBuf, CtlError> {
    let path = Path::new(word);
    if word.contains('/') || path.extension().is_some_and(|e| e == "so") || path.is_file() {
        return Ok(path.to_owned());
    }
    search(word, of_daemon(session))
}

/// Of no running healthd: beside this program, then where plugins are installed.
pub fn installed(word: &str) -> Result<PathBuf, CtlError> {
    search(word, Vec::new())
}

/// A plugin's name, and the file that has it.
type Held = (String, PathBuf);

fn search(word: &str, of_daemon: Vec<Held>) -> Result<PathBuf, CtlError> {
    let folders = folders();
    let mut known = Vec::new();
    let places = std::iter::once(of_daemon).chain(folders.iter().map(|folder| held_in(folder)));
    for place in places {
        let (named, others): (Vec<Held>, Vec<Held>) = place.into_iter().partition(|h| h.0 == word);
        let mut files: Vec<PathBuf> = named.into_iter().map(|held| held.1).collect();
        files.dedup();
        if files.len() > 1 {
            let name = word.to_owned();
            return Err(CtlError::Twins { name, files });
        }
        if let Some(file) = files.pop() {
            return Ok(file);
        }
        known.extend(others.into_iter().map(|held| held.0));
    }
    // A library that holds several, none of them of this name: which, is told when it is read.
    let library = format!("libhealthd_{word}.so");
    let mut libraries = folders.iter().map(|folder| folder.join(&library));
    let library = libraries.find(|file| file.is_file());
    library.ok_or_else(|| CtlError::NoPlugin {
        name: word.to_owned(),
        help: meant(word, &known),
        folders,
    })
}

/// The way out of a name that no plugin has.
fn meant(word: &str, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    plugin_meant(word, &known)
        .unwrap_or_else(|| {
            "`healthctl plugins` lists those of a running healthd; a file is named with its path, as ./x.so".into()
        })
}

/// What it serves goes before what it refuses: of a refused file the name is a guess.
fn of_daemon(session: &mut Session) -> Vec<Held> {
    let mut rows = Vec::new();
    let patience = session.map_patience();
    let asked = session.ask_within(Op::Plugins, patience, |reply| match reply {
        Reply::Plugin(row) => {
            rows.push(row);
            true
        }
        _ => false,
    });
    if asked.is_err() {
        return Vec::new();
    }
    let served: Vec<String> = rows
        .iter()
        .filter(|row| row.state != "refused")
        .map(|row| row.name.clone())
        .collect();
    rows.into_iter()
        .filter(|row| row.state != "refused" || !served.contains(&row.name))
        .map(|row| (row.name, PathBuf::from(row.file)))
        .filter(|(_, file)| file.is_file())
        .collect()
}

/// The first of those folders that holds any plugin.
pub fn folder() -> PathBuf {
    let found = folders().into_iter().find(|folder| holds_any(folder));
    found.unwrap_or_else(|| INSTALLED.into())
}

pub fn holds_any(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| is_plugin(&path))
}

fn folders() -> Vec<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    beside.into_iter().chain([INSTALLED.into()]).collect()
}

fn held_in(folder: &Path) -> Vec<Held> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_plugin(path))
        .collect();
    files.sort();
    let of = |file: PathBuf| {
        let plugins = probe(&file, None).map_or(Vec::new(), |probe| probe.plugins);
        plugins.into_iter().map(move |p| (p.name, file.clone()))
    };
    files.into_iter().flat_map(of).collect()
}

fn is_plugin(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "so")
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
