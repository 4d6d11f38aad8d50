//! A plugin file as the workers of a generation use it.

use crate::check::Target;
use crate::fleet::pool_key::PoolKey;
use crate::rollout::fit::Fit;
use crate::rollout::plugins::Tally;
use healthd_core::config::CheckSpec;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// A plugin of a generation; its place in the list is the number that workers know it by.
#[derive(Clone)]
pub struct PluginUse {
    pub name: String,
    pub file: PathBuf,
    pub index: u32,
    /// Whose workers load it.
    pub pool: PoolKey,
    /// None: it is left out.
    pub copy: Option<Arc<OwnedFd>>,
    pub hash: u64,
    /// It could not be initialised, or killed a starting worker: why. New workers come up without it.
    pub left_out: Option<String>,
    /// CLOCK_REALTIME: these bytes serve since then.
    pub since: u64,
    pub tally: Tally,
    /// What its workers give up.
    pub fit: Fit,
}

/// Where a run that is in no list of checks belongs. Err: why it cannot run.
pub fn target_of(spec: &CheckSpec, plugins: &[PluginUse]) -> Result<Target, String> {
    if let Some(reason) = &spec.unusable {
        return Err(reason.clone());
    }
    let of = |p: &&PluginUse| p.name == spec.plugin;
    let Some(number) = plugins.iter().position(|p| of(&p)) else {
        return Err(format!("plugin `{}` is not loaded", spec.plugin));
    };
    match &plugins[number].left_out {
        Some(reason) => Err(reason.clone()),
        None => Ok(Target {
            pool: plugins[number].pool,
            plugin: number as u16,
        }),
    }
}
