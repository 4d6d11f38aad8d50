//! What is to take force, and the generation of workers that comes up for it.

use crate::books::recall::Past;
use crate::checks::Checks;
use crate::rollout::plugin_use::PluginUse;
use crate::rollout::plugins::Canary;
use crate::rollout::work::Work;
use healthd_catalog::Scan;
use healthd_core::config::{CheckSpec, Model};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A generation that is coming up.
pub struct Coming {
    pub generation: u64,
    pub force: Force,
    pub scan: Scan,
    pub plugins: Vec<PluginUse>,
    pub slots: Vec<u32>,
    /// What asked for it; None: the first start.
    pub work: Option<Work>,
    pub begun_ns: u64,
    /// The first one: it takes force even with gaps, since there is nothing to stay with.
    pub first: Option<Past>,
    /// Runs that have to prove the new bytes before they take over; None: not sent yet.
    pub canaries: Option<Vec<Canary>>,
}

/// What takes force.
pub enum Force {
    /// A config that was read, and the same as the next manager will get it.
    Model {
        model: Box<Model>,
        kept: io::Result<Arc<OwnedFd>>,
    },
    /// The checks stay as they are.
    Plugins,
}

impl Force {
    /// The config that is in force then; `now`: the one that is.
    pub fn model<'m>(&'m self, now: &'m Model) -> &'m Model {
        match self {
            Force::Model { model, .. } => model,
            Force::Plugins => now,
        }
    }

    /// Its checks; `now`: those that are in force.
    pub fn specs<'m>(&'m self, now: &'m Checks) -> Vec<&'m CheckSpec> {
        match self {
            Force::Model { model, .. } => model.checks.iter().collect(),
            Force::Plugins => now.iter().map(|c| &c.spec).collect(),
        }
    }

    /// The checks of this plugin by name; None: those in force.
    pub fn specs_of(&self, plugin: &str) -> Option<HashMap<&str, &CheckSpec>> {
        match self {
            Force::Plugins => None,
            Force::Model { model, .. } => {
                let of_plugin = model.checks.iter().filter(|c| c.plugin == plugin);
                Some(of_plugin.map(|c| (c.name.as_str(), c)).collect())
            }
        }
    }
}
