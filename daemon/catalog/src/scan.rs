//! The plugin directory as it was read, and what serves on where the directory has nothing better.

use crate::plugins::{Found, PluginEntry, PluginFile, judge_dir, list, read_one};
use healthd_core::config::{Catalog, Refused};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const PARALLEL: usize = 4;

/// What the config needs of the plugins, and the bytes that workers will load.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub catalog: Catalog,
    pub files: Vec<PluginFile>,
}

/// How a file's bytes stand to what lies in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// They are what lies there.
    #[default]
    Fresh,
    /// The file is gone; what serves goes on.
    Deleted,
    /// What lies there now cannot be used, and why; what serves goes on.
    Refused(String),
    /// What lies there now did not prove itself, and why; what served before serves again.
    RolledBack(String),
    /// What lies there now was not asked for yet; what serves goes on.
    Waits,
}

/// What was read from each file, so that one that has not changed is neither copied nor probed again.
#[derive(Debug, Default)]
pub struct Shelf {
    known: BTreeMap<PathBuf, Found>,
}

impl Shelf {
    /// Reads `dir`. `owners` are the uids whose files may be loaded. A directory that cannot be read holds
    /// nothing, and the reason stands where a refused file would.
    pub fn scan(&mut self, dir: &Path, owners: &[u32]) -> Scan {
        let listed = judge_dir(dir, owners).and_then(|()| list(dir));
        let listed = match listed {
            Ok(listed) => listed,
            Err(reason) => {
                self.known.clear();
                let refused = Refused {
                    file: dir.to_owned(),
                    name: None,
                    reason,
                };
                return Scan::of(Vec::new(), vec![refused]);
            }
        };
        let mut old = std::mem::take(&mut self.known);
        let mut anew = Vec::new();
        for (path, identity) in listed {
            match old.remove(&path) {
                Some(found) if identity.is_some() && found.identity == identity => {
                    self.known.insert(path, found);
                }
                found => anew.push((path, found)),
            }
        }
        self.known.extend(read_all(anew, owners));
        let mut files = Vec::new();
        let mut refused = Vec::new();
        for (path, found) in &self.known {
            match &found.read {
                Ok(file) => files.push(file.clone()),
                Err(reason) => refused.push(Refused {
                    file: path.clone(),
                    name: None,
                    reason: reason.clone(),
                }),
            }
        }
        Scan::of(files, refused)
    }
}

impl Shelf {
    /// Holds the copies that this scan does, and no others.
    pub fn hold_only(&mut self, scan: &Scan) {
        for found in self.known.values_mut() {
            if let Ok(file) = &mut found.read {
                let same = |f: &&PluginFile| f.path == file.path && f.hash == file.hash;
                file.copy = scan.files.iter().find(same).and_then(|f| f.copy.clone());
            }
        }
    }
}

fn read_all(files: Vec<(PathBuf, Option<Found>)>, owners: &[u32]) -> Vec<(PathBuf, Found)> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(PathBuf, Found)>> = Mutex::default();
    std::thread::scope(|s| {
        for _ in 0..PARALLEL.min(files.len()) {
            s.spawn(|| {
                while let Some((path, known)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = read_one(path, owners, known.as_ref());
                    results
                        .lock()
                        .unwrap_or_else(|e| e.into_inner())
                        .push((path.clone(), found));
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(|e| e.into_inner())
}

impl Scan {
    /// Of files as they lie in a directory.
    pub fn of(mut files: Vec<PluginFile>, mut refused: Vec<Refused>) -> Scan {
        refuse_twins(&mut files, &mut refused);
        Scan::with(files, refused)
    }

    /// The file that holds a plugin, and its place there.
    pub fn find(&self, name: &str) -> Option<(&PluginFile, &PluginEntry)> {
        self.files
            .iter()
            .find_map(|f| f.plugins.iter().find(|p| p.name == name).map(|p| (f, p)))
    }

    /// What serves goes on wherever the directory has nothing better: `serving` are the files in use, with
    /// those of their plugins that are in use. `unwanted` says of a file why it must not be taken.
    pub fn over(
        self,
        serving: &[PluginFile],
        unwanted: impl Fn(&PluginFile) -> Option<Standing>,
    ) -> Scan {
        let Scan { catalog, files } = self;
        let mut left_out: Vec<(PluginFile, Standing)> = Vec::new();
        let mut taken: Vec<PluginFile> = Vec::new();
        for mut file in files {
            // Two copies of the same bytes are one too many.
            if let Some(same) = serving.iter().find(|s| s.hash == file.hash) {
                file.copy = same.copy.clone().or(file.copy);
            }
            let serves = file
                .plugins
                .iter()
                .any(|p| serving.iter().any(|s| s.has(&p.name)));
            match unwanted(&file).filter(|_| serves) {
                Some(standing) => left_out.push((file, standing)),
                None => taken.push(file),
            }
        }
        for file in serving {
            let mut stays = file.clone().only(|n| !taken.iter().any(|t| t.has(n)));
            if stays.plugins.is_empty() {
                continue;
            }
            let instead = left_out.iter().find(|(f, _)| {
                f.path == stays.path || f.plugins.iter().any(|p| stays.has(&p.name))
            });
            let refused = catalog
                .refused
                .iter()
                .find(|r| r.file == stays.path || r.name.as_deref().is_some_and(|n| stays.has(n)));
            stays.standing = match (instead, refused) {
                (Some((_, standing)), _) => standing.clone(),
                (None, Some(r)) => Standing::Refused(r.reason.clone()),
                (None, None) => Standing::Deleted,
            };
            taken.push(stays);
        }
        taken.sort_by(|a, b| a.path.cmp(&b.path));
        Scan::with(taken, catalog.refused)
    }

    /// Lets the copies of files go whose plugins nobody uses, and makes those that are missing.
    pub fn hold_only(self, used: &BTreeSet<String>) -> Scan {
        let mut refused = self.catalog.refused;
        let mut files = Vec::with_capacity(self.files.len());
        for mut file in self.files {
            if !file.plugins.iter().any(|p| used.contains(&p.name)) {
                file.copy = None;
                files.push(file);
                continue;
            }
            match file.whole() {
                Ok(copy) => {
                    file.copy = Some(copy);
                    files.push(file);
                }
                Err(reason) => refused.push(Refused {
                    file: file.path,
                    name: None,
                    reason,
                }),
            }
        }
        Scan::with(files, refused)
    }

    /// Of files that are chosen already.
    pub fn with(files: Vec<PluginFile>, refused: Vec<Refused>) -> Scan {
        let plugins = files.iter().flat_map(|f| f.infos.iter().cloned()).collect();
        Scan {
            catalog: Catalog { plugins, refused },
            files,
        }
    }
}

/// Two files with one plugin name: neither is used, since the order of a directory must not decide.
fn refuse_twins(found: &mut Vec<PluginFile>, refused: &mut Vec<Refused>) {
    let mut by_name: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for file in found.iter() {
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
            refused.push(Refused {
                file: file.clone(),
                name: Some(name.clone()),
                reason,
            });
        }
        for file in found.iter_mut() {
            *file = file.clone().only(|n| n != name);
        }
    }
    found.retain(|f| !f.plugins.is_empty());
}
