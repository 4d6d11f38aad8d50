//! One plugin file: judged, copied into a sealed memfd and asked for its descriptors by a short-lived child.
//! Nothing is loaded into this process.

use crate::elf;
use crate::probe::{self, Answer, Described, Rights};
use crate::scan::Standing;
use crate::shipped;
use healthd_core::config::{Class, PluginInfo};
use healthd_core::text::word;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Larger than any sane plugin.
const MAX_FILE: u64 = 256 << 20;

/// A file that can be used.
#[derive(Clone, Debug)]
pub struct PluginFile {
    pub path: PathBuf,
    /// The sealed copy: probe and every worker of a generation use these bytes. None: no check has need of it.
    pub copy: Option<Arc<OwnedFd>>,
    /// Who may own it.
    pub owners: Vec<u32>,
    /// Names the bytes in tables and logs.
    pub hash: u64,
    pub plugins: Vec<PluginEntry>,
    /// The same plugins, as the config needs to know them.
    pub infos: Vec<PluginInfo>,
    pub standing: Standing,
    /// It came with this program.
    pub shipped: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginEntry {
    pub name: String,
    pub index: u32,
    pub class: Class,
    pub abi: String,
    /// As the ABI has them.
    #[serde(default)]
    pub flags: u64,
}

impl PluginEntry {
    /// It can do with the sandbox of its class (HD_F_SANDBOX).
    pub fn takes_sandbox(&self) -> bool {
        self.flags & 1 << 4 != 0
    }

    /// HD_F_NEEDS_PROC.
    pub fn looks_around(&self) -> bool {
        self.flags & 1 << 5 != 0
    }

    /// HD_F_NEEDS_EXEC.
    pub fn starts_programs(&self) -> bool {
        self.flags & 1 << 3 != 0
    }
}

impl PluginFile {
    /// Without the plugins that do not pass.
    pub fn only(mut self, keep: impl Fn(&str) -> bool) -> PluginFile {
        self.plugins.retain(|p| keep(&p.name));
        self.infos.retain(|p| keep(&p.name));
        self
    }

    /// Its copy, made anew if it was let go. Err: the file does not have the bytes any more that were judged.
    pub fn whole(&self) -> Result<Arc<OwnedFd>, String> {
        if let Some(copy) = &self.copy {
            return Ok(copy.clone());
        }
        let copy = judged_copy(&self.path, &self.owners, &mut None)?;
        let file = self.path.display();
        match healthd_sys::memfd::fingerprint(&copy) {
            Ok(hash) if hash == self.hash => Ok(Arc::new(copy)),
            Ok(_) => Err(format!(
                "{file}: it has changed since it was looked at: reload once more"
            )),
            Err(e) => Err(format!("{file}: {e}")),
        }
    }

    pub fn has(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|p| p.name == plugin)
    }
}

/// What tells one state of a file from another without reading it (stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub fn of(meta: &Metadata) -> Identity {
        Identity {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// A file's times move in ticks of some milliseconds, so a change within the last tick may not show.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.modified.max(self.changed);
        let last = Duration::new(
            last.0.try_into().unwrap_or(0),
            last.1.try_into().unwrap_or(0),
        );
        now > last + TICKS
    }
}

/// Many ticks of the coarsest clock that files have.
const TICKS: Duration = Duration::from_millis(50);

/// The plugin files of a folder, in order, with what tells whether they have changed.
pub fn list(dir: &Path) -> Result<Vec<(PathBuf, Option<Identity>)>, String> {
    let named = |e: io::Error| format!("{}: {e}", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if is_plugin(&path) {
            // Of the file that a link leads to. One that cannot be asked is judged when it is opened.
            let identity = std::fs::metadata(&path).ok().map(|m| Identity::of(&m));
            found.push((path, identity));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

pub fn is_plugin(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "so")
}

/// What a file was found to be.
#[derive(Clone, Debug)]
pub struct Found {
    /// None: it changed while it was read, or a moment before, and has to be read again.
    pub identity: Option<Identity>,
    pub read: Result<PluginFile, String>,
}

/// Copies, judges and probes one file. `known` spares the probe if the bytes are the same.
pub fn read_one(path: &Path, owners: &[u32], known: Option<&Found>) -> Found {
    let mut identity = None;
    let read = copy_and_probe(path, owners, known, &mut identity);
    Found { identity, read }
}

/// What a start would say of this file, and what the file says of itself. Its constructors run as nobody if we are
/// root: it was only looked at, and need not be trusted.
pub fn verify(path: &Path, owners: &[u32]) -> Result<Vec<serde_json::Value>, String> {
    let copy = judged_copy(path, owners, &mut None)?;
    let asked = probe::ask(path, &copy, Rights::Nobody);
    match asked.map_err(|e| format!("{}: {e}", path.display()))? {
        Answer::Plugins(plugins) => Ok(plugins),
        Answer::Refused(reason) => Err(reason),
    }
}

/// A sealed copy of a file that may be loaded. Nothing of it has run yet.
fn judged_copy(
    path: &Path,
    owners: &[u32],
    identity: &mut Option<Identity>,
) -> Result<OwnedFd, String> {
    let named = |e: io::Error| format!("{}: {e}", path.display());
    // O_NONBLOCK: a fifo of this name must not hold us.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(named)?;
    let before = Identity::of(&file.metadata().map_err(named)?);
    if before.is_settled(SystemTime::now()) {
        *identity = Some(before);
    }
    judge(&file, path, owners)?;
    let name = path
        .file_name()
        .map_or("plugin".into(), |n| n.to_string_lossy());
    let copy = healthd_sys::memfd::sealed_copy(&name, &mut file, MAX_FILE).map_err(named)?;
    if Identity::of(&file.metadata().map_err(named)?) != before {
        *identity = None;
        return Err(format!(
            "{}: it changed while it was read: is it still being copied?",
            path.display()
        ));
    }
    if let Some(missing) = elf::missing(&copy).map_err(named)? {
        return Err(format!(
            "{}: it is cut off, {missing} bytes are missing: is it still being copied?",
            path.display()
        ));
    }
    if let Some(other) = elf::foreign(&copy).map_err(named)? {
        return Err(format!("{}: {other}", path.display()));
    }
    Ok(copy)
}

fn copy_and_probe(
    path: &Path,
    owners: &[u32],
    known: Option<&Found>,
    identity: &mut Option<Identity>,
) -> Result<PluginFile, String> {
    let named = |e: io::Error| format!("{}: {e}", path.display());
    let copy = judged_copy(path, owners, identity)?;
    let hash = healthd_sys::memfd::fingerprint(&copy).map_err(named)?;
    if let Some(Ok(same)) = known
        .map(|k| &k.read)
        .filter(|k| matches!(k, Ok(f) if f.hash == hash))
    {
        let copy = same.copy.clone().or_else(|| Some(Arc::new(copy)));
        return Ok(PluginFile {
            copy,
            ..same.clone()
        });
    }
    let plugins: Vec<Described> = match probe::ask(path, &copy, Rights::Ours).map_err(named)? {
        Answer::Plugins(plugins) => plugins,
        Answer::Refused(reason) => return Err(reason),
    };
    let infos = plugins
        .iter()
        .map(|p| PluginInfo {
            name: p.name.clone(),
            version: p.version.clone(),
            summary: p.summary.clone(),
            file: path.to_owned(),
            class: p.class(),
            default_timeout: Duration::from_millis(u64::from(p.default_timeout_ms.max(1))),
            schema: Arc::new(p.schema.clone()),
        })
        .collect();
    let plugins = plugins
        .into_iter()
        .map(|p| PluginEntry {
            class: p.class(),
            name: p.name,
            index: p.index,
            abi: p.abi,
            flags: p.flags,
        })
        .collect();
    Ok(PluginFile {
        path: path.to_owned(),
        hash,
        plugins,
        infos,
        standing: Standing::Fresh,
        shipped: shipped::is(path, &copy, owners),
        copy: Some(Arc::new(copy)),
        owners: owners.to_owned(),
    })
}

/// Judged on what was opened, so that nothing can be put in its place between.
fn judge(file: &File, path: &Path, owners: &[u32]) -> Result<(), String> {
    let meta = file
        .metadata()
        .map_err(|e| format!("{}: {e}", path.display()))?;
    if !meta.is_file() {
        return Err(format!("{}: not a regular file", path.display()));
    }
    judge_meta(&meta, path, owners)
}

pub fn judge_dir(dir: &Path, owners: &[u32]) -> Result<(), String> {
    let opened = File::open(dir).and_then(|d| d.metadata());
    let meta = opened.map_err(|e| format!("{}: {e}", dir.display()))?;
    if !meta.is_dir() {
        return Err(format!("{}: not a directory", dir.display()));
    }
    judge_meta(&meta, dir, owners)
}

fn judge_meta(meta: &std::fs::Metadata, path: &Path, owners: &[u32]) -> Result<(), String> {
    let Some(why) = healthd_sys::files::changed_by_others(meta, owners) else {
        return Ok(());
    };
    let shown = path.to_string_lossy();
    let file = word(&shown);
    let mut ways = Vec::new();
    if !owners.contains(&meta.uid()) {
        let owner = match owners.last() {
            None | Some(0) => "root".to_owned(),
            Some(uid) => uid.to_string(),
        };
        ways.push(format!("chown {owner} {file}"));
    }
    if meta.mode() & 0o022 != 0 {
        ways.push(format!("chmod go-w {file}"));
    }
    Err(format!(
        "{}: {why}, and its code would run with healthd's rights (`{}`)",
        path.display(),
        ways.join("; ")
    ))
}
