//! Which bytes of a plugin served before, and which are not to be taken again.

use super::Trial;
use super::trial::KeptTrial;
use crate::rollout::work::Unwanted;
use healthd_catalog::{PluginFile, Standing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bytes that lie in the directory and are not taken until they are others, or somebody asks for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rejected {
    pub hash: u64,
    pub standing: Standing,
    pub plugins: Vec<String>,
}

#[derive(Default)]
pub struct Versions {
    /// What served before and had stood its trial: at most one file a plugin.
    pub previous: Vec<PluginFile>,
    /// By the path at which they lie.
    pub rejected: BTreeMap<PathBuf, Rejected>,
    pub trials: Vec<Trial>,
}

/// What of it the next manager gets; the bytes travel beside it.
#[derive(Default, Serialize, Deserialize)]
pub struct KeptVersions {
    pub rejected: BTreeMap<PathBuf, Rejected>,
    pub trials: Vec<KeptTrial>,
}

impl Versions {
    pub fn restored(previous: Vec<PluginFile>, kept: KeptVersions) -> Versions {
        Versions {
            previous,
            rejected: kept.rejected,
            trials: kept.trials.into_iter().map(Trial::again).collect(),
        }
    }

    pub fn kept(&self) -> KeptVersions {
        KeptVersions {
            rejected: self.rejected.clone(),
            trials: self.trials.iter().map(Trial::kept).collect(),
        }
    }

    pub fn previous_of(&self, plugin: &str) -> Option<&PluginFile> {
        self.previous.iter().find(|f| f.has(plugin))
    }

    pub fn trial_of(&self, plugin: &str) -> Option<&Trial> {
        self.trials
            .iter()
            .find(|t| t.plugins.iter().any(|p| p.name == plugin))
    }

    /// Somebody wants to see these files tried once more.
    pub fn try_again(&mut self, plugin: Option<&str>) {
        match plugin {
            None => self.rejected.clear(),
            Some(name) => self
                .rejected
                .retain(|_, r| !r.plugins.iter().any(|p| p == name)),
        }
    }

    pub fn reject(&mut self, file: &PluginFile, standing: Standing) {
        let plugins = file.plugins.iter().map(|p| p.name.clone()).collect();
        let rejected = Rejected {
            hash: file.hash,
            standing,
            plugins,
        };
        self.rejected.insert(file.path.clone(), rejected);
    }

    /// New bytes take over from `old`: those that had proved themselves are kept.
    pub fn replaced(&mut self, old: &[PluginFile], changed: &[String]) {
        for file in old {
            let unproven = |n: &str| {
                self.trial_of(n)
                    .is_some_and(|t| t.is_of(&file.path, file.hash))
            };
            let file = file
                .clone()
                .only(|n| changed.iter().any(|c| c == n) && !unproven(n));
            if file.plugins.is_empty() {
                continue;
            }
            self.forget_previous(|n| file.has(n));
            self.previous.push(file);
        }
        self.trials
            .retain(|t| !t.plugins.iter().any(|p| changed.contains(&p.name)));
    }

    /// They serve again, or nobody can go back to them.
    pub fn forget_previous(&mut self, gone: impl Fn(&str) -> bool) {
        for file in &mut self.previous {
            *file = file.clone().only(|n| !gone(n));
        }
        self.previous.retain(|f| !f.plugins.is_empty());
    }
}

/// The files of `serving` that are not wanted any more, and what they are told of.
pub fn unwanted_files<'a>(
    serving: &'a [PluginFile],
    unwanted: &'a [Unwanted],
) -> impl Iterator<Item = (&'a PluginFile, &'a Unwanted)> {
    serving.iter().filter_map(|f| {
        let told = unwanted
            .iter()
            .find(|u| u.hash == f.hash && u.path == f.path)?;
        Some((f, told))
    })
}

/// "http 0.1.0 (1f2e3d4c)"
pub fn version_text(file: &PluginFile, plugin: &str) -> String {
    let version = file
        .infos
        .iter()
        .find(|i| i.name == plugin)
        .map(|i| i.version.as_str())
        .filter(|v| !v.is_empty());
    match version {
        Some(version) => format!("{plugin} {version} ({:08x})", file.hash >> 32),
        None => format!("{plugin} ({:08x})", file.hash >> 32),
    }
}
