//! What lies in the plugin directory: each file is judged, copied into a sealed memfd and asked for its
//! descriptors by a short-lived child, all in parallel. Nothing is loaded into this process.

use crate::probe::{self, Answer};
use healthd_core::config::{Catalog, Class, PluginInfo, Refused};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Larger than any sane plugin.
const MAX_FILE: u64 = 256 << 20;
const PARALLEL: usize = 4;

/// The plugin directory as it was read: what the config needs, and the bytes that workers will load.
#[derive(Debug, Default)]
pub struct Scan {
    pub catalog: Catalog,
    pub files: Vec<PluginFile>,
}

/// A file that can be used.
#[derive(Debug)]
pub struct PluginFile {
    pub path: PathBuf,
    /// The sealed copy: probe and every worker of a generation use these bytes.
    pub copy: OwnedFd,
    /// Names the bytes in tables and logs.
    pub hash: u64,
    pub plugins: Vec<PluginEntry>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct PluginEntry {
    pub name: String,
    pub index: u32,
    pub class: Class,
    pub abi: String,
}

impl Scan {
    /// The file that holds a plugin, and its place there.
    pub fn find(&self, name: &str) -> Option<(&PluginFile, &PluginEntry)> {
        self.files
            .iter()
            .find_map(|f| f.plugins.iter().find(|p| p.name == name).map(|p| (f, p)))
    }
}

/// Reads `dir`. `owners` are the uids whose files may be loaded. A directory that cannot be read holds
/// nothing, and the reason stands where a refused file would.
pub fn scan(dir: &Path, owners: &[u32]) -> Scan {
    let mut scan = Scan::default();
    let listed = judge_dir(dir, owners).and_then(|()| list(dir));
    let paths = match listed {
        Ok(paths) => paths,
        Err(reason) => {
            scan.catalog.refused.push(Refused {
                file: dir.to_owned(),
                name: None,
                reason,
            });
            return scan;
        }
    };
    for (path, read) in read_all(&paths, owners) {
        match read {
            Ok((file, infos)) => {
                scan.catalog.plugins.extend(infos);
                scan.files.push(file);
            }
            Err(reason) => scan.catalog.refused.push(Refused {
                file: path,
                name: None,
                reason,
            }),
        }
    }
    refuse_twins(&mut scan);
    scan
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let named = |e: io::Error| format!("{}: {e}", dir.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.extension().is_some_and(|e| e == "so") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

type Read = Result<(PluginFile, Vec<PluginInfo>), String>;

fn read_all(paths: &[PathBuf], owners: &[u32]) -> Vec<(PathBuf, Read)> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Read)>> = Mutex::default();
    std::thread::scope(|s| {
        for _ in 0..PARALLEL.min(paths.len()) {
            s.spawn(|| {
                while let Some((i, path)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|i| paths.get(i).map(|p| (i, p)))
                {
                    let read = read_one(path, owners);
                    results
                        .lock()
                        .unwrap_or_else(|e| e.into_inner())
                        .push((i, read));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(i, _)| *i);
    results
        .into_iter()
        .map(|(i, read)| (paths[i].clone(), read))
        .collect()
}

fn read_one(path: &Path, owners: &[u32]) -> Read {
    let named = |e: io::Error| format!("{}: {e}", path.display());
    // O_NONBLOCK: a fifo of this name must not hold us.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(named)?;
    judge(&file, path, owners)?;
    let name = path
        .file_name()
        .map_or("plugin".into(), |n| n.to_string_lossy());
    let copy = healthd_sys::memfd::sealed_copy(&name, &mut file, MAX_FILE).map_err(named)?;
    let hash = healthd_sys::memfd::fingerprint(&copy).map_err(named)?;
    let plugins = match probe::ask(path, &copy).map_err(named)? {
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
            class: p.workload,
            default_timeout: Duration::from_millis(u64::from(p.default_timeout_ms.max(1))),
            schema: p.schema.clone(),
        })
        .collect();
    let entries = plugins
        .into_iter()
        .map(|p| PluginEntry {
            name: p.name,
            index: p.index,
            class: p.workload,
            abi: p.abi,
        })
        .collect();
    Ok((
        PluginFile {
            path: path.to_owned(),
            copy,
            hash,
            plugins: entries,
        },
        infos,
    ))
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

fn judge_dir(dir: &Path, owners: &[u32]) -> Result<(), String> {
    let opened = File::open(dir).and_then(|d| d.metadata());
    let meta = opened.map_err(|e| format!("{}: {e}", dir.display()))?;
    if !meta.is_dir() {
        return Err(format!("{}: not a directory", dir.display()));
    }
    judge_meta(&meta, dir, owners)
}

fn judge_meta(meta: &std::fs::Metadata, path: &Path, owners: &[u32]) -> Result<(), String> {
    if !owners.contains(&meta.uid()) {
        let allowed: Vec<String> = owners.iter().map(u32::to_string).collect();
        return Err(format!(
            "{}: owned by uid {}, but its code would run with healthd's rights: only uid {} may own it (chown root {0})",
            path.display(),
            meta.uid(),
            allowed.join(" or "),
        ));
    }
    if meta.mode() & 0o022 != 0 {
        let who = if meta.mode() & 0o002 != 0 {
            "everybody"
        } else {
            "its group"
        };
        return Err(format!(
            "{}: mode {:04o} lets {who} change it, and with it what healthd runs (chmod go-w {0})",
            path.display(),
            meta.mode() & 0o7777,
        ));
    }
    Ok(())
}

/// Two files with one plugin name: neither is used, since the order of a directory must not decide.
fn refuse_twins(scan: &mut Scan) {
    let mut by_name: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for file in &scan.files {
        for plugin in &file.plugins {
            by_name
                .entry(plugin.name.clone())
                .or_default()
                .push(file.path.clone());
        }
    }
    for (name, files) in by_name.into_iter().filter(|(_, files)| files.len() > 1) {
        for file in &files {
            let others: Vec<String> = files
                .iter()
                .filter(|f| *f != file)
                .map(|f| f.display().to_string())
                .collect();
            let reason = format!(
                "{}: plugin `{name}` is also in {}: remove one",
                file.display(),
                others.join(", ")
            );
            scan.catalog.refused.push(Refused {
                file: file.clone(),
                name: Some(name.clone()),
                reason,
            });
        }
        scan.catalog.plugins.retain(|p| p.name != name);
        for file in &mut scan.files {
            file.plugins.retain(|p| p.name != name);
        }
    }
    scan.files.retain(|f| !f.plugins.is_empty());
}
