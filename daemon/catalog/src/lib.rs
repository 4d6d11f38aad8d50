//! What the daemon reads at start and at reload: the config files and the plugin directory.
//!
//! [`load`] is the one way: start, reload, `healthd -t` and `healthctl validate` all call it.
#![forbid(unsafe_code)]

mod elf;
mod files;
mod plugins;
mod probe;
mod scan;
mod watch;

pub use files::RealFiles;
pub use plugins::{PluginEntry, PluginFile, verify};
pub use scan::{Scan, Shelf, Standing};
pub use watch::DirWatch;

use healthd_core::config::{self, Diagnostics, Model};
use std::path::Path;

/// Everything that a daemon runs on.
pub struct Loaded {
    pub model: Model,
    pub scan: Scan,
}

/// Err: every mistake, to be shown. `owners`: whose plugin files may be loaded.
pub fn load(config: &Path, owners: &[u32], shelf: &mut Shelf) -> Result<Loaded, Diagnostics> {
    load_over(config, owners, shelf, |_, scan| scan)
}

/// `over` puts what serves in the place of what the directory has not.
pub fn load_over(
    config: &Path,
    owners: &[u32],
    shelf: &mut Shelf,
    over: impl FnOnce(&Path, Scan) -> Scan,
) -> Result<Loaded, Diagnostics> {
    let dir = config::daemon_paths(config, &RealFiles).plugin_dir;
    let scan = over(&dir, shelf.scan(&dir, owners));
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
