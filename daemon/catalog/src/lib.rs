//! What the daemon reads at start and at reload: the config files and the plugin directory.
//!
//! [`load`] is the one way: start, reload, `healthd -t` and `healthctl validate` all call it.
#![forbid(unsafe_code)]

mod files;
mod plugins;
mod probe;

pub use files::RealFiles;
pub use plugins::{PluginEntry, PluginFile, Scan, scan};

use healthd_core::config::{self, Diagnostics, Model};
use std::path::Path;

/// Everything that a daemon runs on.
pub struct Loaded {
    pub model: Model,
    pub scan: Scan,
}

/// Err: every mistake, to be shown. `owners`: whose plugin files may be loaded.
pub fn load(config: &Path, owners: &[u32]) -> Result<Loaded, Diagnostics> {
    let dir = config::daemon_paths(config, &RealFiles).plugin_dir;
    let scan = scan(&dir, owners);
    let model = config::load(config, &RealFiles, Some(&scan.catalog))?;
    Ok(Loaded { model, scan })
}

/// Whose plugin files may be loaded: root's, and the user's that healthd was started as.
pub fn owners(started_as: u32) -> Vec<u32> {
    if started_as == 0 {
        vec![0]
    } else {
        vec![0, started_as]
    }
}
