//! What shall change what is in force, and what was found in the files for it.

use crate::control::Asker;
use crate::rollout::coming::Force;
use healthd_catalog::Scan;
use healthd_core::config::Diagnostics;
use std::path::PathBuf;

/// Something that changes what is in force.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// The config and the plugins, for a client or (None) for a signal.
    Reload(Option<Asker>),
    /// Something has changed in the plugin directory.
    Dropped,
    /// A file of a secret has changed: the config in force, with what it says now.
    Secrets,
    /// The plugin directory, for a client; of one plugin only, or of all. Files that were rejected are tried again.
    Plugins {
        client: Option<Asker>,
        name: Option<String>,
    },
    /// These files did not prove themselves, or a client does not want them: what served before comes back.
    Rollback {
        client: Option<Asker>,
        files: Vec<Unwanted>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Unwanted {
    pub path: PathBuf,
    pub hash: u64,
    pub why: String,
}

impl Work {
    pub(super) fn client(&self) -> Option<Asker> {
        match self {
            Work::Reload(client) | Work::Plugins { client, .. } | Work::Rollback { client, .. } => {
                *client
            }
            Work::Dropped | Work::Secrets => None,
        }
    }

    /// Whether files that did not come up are given another chance by it.
    pub fn tries_again(&self) -> bool {
        matches!(self, Work::Reload(_) | Work::Plugins { .. })
    }
}

/// What the loader thread found.
pub struct LoadResult {
    pub work: Work,
    pub begun_ns: u64,
    /// None: the thread panicked, and has said so.
    pub found: Option<Found>,
}

pub enum Found {
    Config(Result<(Force, Scan), Diagnostics>),
    Plugins(Scan),
    /// The plugins have other options than before, and the config cannot be read as it was: why.
    Unfit(String),
}
