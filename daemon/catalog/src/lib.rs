//! What the daemon reads at start and at reload: the config files and the plugin directory. And what a plugin's file tells
//! of a crash in it.
//!
//! Two ways, one function behind both: [`load`] is a start's, and [`judge`], of a reload, `healthd -t` and `healthctl
//! validate`, also asks the plugins about the options of their checks. A start takes what they would refuse, as such a
//! check is UNKNOWN with the reason and the others are watched; it has [`complaints`] told beside it.
#![forbid(unsafe_code)]

mod elf;
mod files;
mod hardening;
mod look;
pub mod place;
mod plugins;
mod probe;
mod scan;
mod shipped;
pub mod symbols;
mod tryout;
mod watch;

pub use files::RealFiles;
pub use hardening::Hardening;
pub use plugins::{PluginEntry, PluginFile, verify};
pub use scan::{Scan, Shelf, Standing};
pub use watch::DirWatch;

use healthd_core::config::{self, CheckSpec, Diagnostics, Model, TryOut, With, Written};
use std::collections::BTreeSet;
use std::path::Path;

/// Everything that a daemon runs on.
pub struct Loaded {
    pub model: Model,
    pub scan: Scan,
}

/// What a start reads. Err: every mistake, to be shown. `owners`: whose plugin files may be loaded.
pub fn load(config: &Path, owners: &[u32], shelf: &mut Shelf) -> Result<Loaded, Diagnostics> {
    let written = config::read(config, &RealFiles)?;
    let scan = shelf.scan(written.plugin_dir(), owners);
    let model = judged(written, &scan, None)?;
    let scan = scan.hold_only(&used(&model));
    shelf.hold_only(&scan);
    Ok(Loaded { model, scan })
}

/// The plugins of which a model needs the bytes.
pub fn used(model: &Model) -> BTreeSet<String> {
    let checks = model.checks.iter().filter(|c| c.enabled);
    let all = checks.chain(model.others());
    all.flat_map(CheckSpec::plugins)
        .map(str::to_owned)
        .collect()
}

/// The same, and every plugin is asked about the options of its checks: for a reload, and for whoever wants to know.
pub fn judge(config: &Path, owners: &[u32], shelf: &mut Shelf) -> Result<Loaded, Diagnostics> {
    judge_over(config, owners, shelf, |_, scan| scan)
}

/// `over` puts what serves in the place of what the directory has not.
pub fn judge_over(
    config: &Path,
    owners: &[u32],
    shelf: &mut Shelf,
    over: impl FnOnce(&Path, Scan) -> Scan,
) -> Result<Loaded, Diagnostics> {
    let written = config::read(config, &RealFiles)?;
    let dir = written.plugin_dir().to_owned();
    let scan = over(&dir, shelf.scan(&dir, owners));
    let model = judged(written, &scan, Some(&tryout::Plugins(&scan)))?;
    Ok(Loaded { model, scan })
}

/// What the plugins say of a config that is in force already, beside what was said of it. A start does not wait for it.
pub fn complaints(config: &Path, scan: &Scan, said: &Diagnostics) -> Diagnostics {
    let written = config::read(config, &RealFiles);
    let tried = written.and_then(|w| judged(w, scan, Some(&tryout::Plugins(scan))));
    let mut all = match tried {
        Ok(model) => model.warnings,
        Err(diagnostics) => diagnostics,
    };
    all.items.retain(|item| !said.items.contains(item));
    all
}

/// The config with these plugins, which are not asked.
pub fn untried(config: &Path, scan: &Scan) -> Result<Model, Diagnostics> {
    judged(config::read(config, &RealFiles)?, scan, None)
}

fn judged(
    written: Written<'_>,
    scan: &Scan,
    plugins: Option<&dyn TryOut>,
) -> Result<Model, Diagnostics> {
    let with = With {
        alerts: Some(&healthd_alerts::config::Reader {
            wall: healthd_sys::clock::realtime_ns(),
        }),
        plugins,
    };
    written.judge(Some(&scan.catalog), with)
}

/// Whose plugin files may be loaded: root's, and the user's that healthd was started as.
pub fn owners(started_as: u32) -> Vec<u32> {
    if started_as == 0 {
        vec![0]
    } else {
        vec![0, started_as]
    }
}
