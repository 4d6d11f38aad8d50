//! What is in force, and how something else takes its place: configs, plugin files, generations of workers.

pub mod coming;
pub mod fit;
pub mod generation;
pub mod handover;
mod keeping;
pub mod loading;
pub mod plugin_use;
pub mod plugins;
pub mod reload;
pub mod secret_files;
pub mod work;
pub mod worker_plan;

use crate::books::recall::Past;
use coming::Coming;
use healthd_catalog::{Scan, Shelf};
use plugin_use::PluginUse;
use plugins::{DropIn, Versions};
use secret_files::SecretFiles;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use work::Work;

pub struct Rollout {
    pub generation: u64,
    /// Those of this generation.
    pub plugins: Vec<PluginUse>,
    pub scan: Scan,
    /// A generation that is coming up, and what takes force with it.
    coming: Option<Coming>,
    /// A thread is reading files.
    loading: bool,
    /// What is to be changed next.
    work: VecDeque<Work>,
    /// The plugin files as they were read last.
    shelf: Arc<Mutex<Shelf>>,
    pub versions: Versions,
    drop_in: Option<DropIn>,
    secret_files: Option<SecretFiles>,
    /// The model in force, for the manager after us.
    kept_model: Option<Arc<OwnedFd>>,
    /// Whose plugin files may be loaded.
    owners: Vec<u32>,
}

impl Rollout {
    pub fn new(generation: u64, owners: Vec<u32>) -> Rollout {
        Rollout {
            generation,
            plugins: Vec::new(),
            scan: Scan::default(),
            coming: None,
            loading: false,
            work: VecDeque::new(),
            shelf: Arc::default(),
            versions: Versions::default(),
            drop_in: None,
            secret_files: None,
            kept_model: None,
            owners,
        }
    }

    /// What this process read, or the manager before it has left.
    pub fn go_on_from(&mut self, shelf: Shelf, versions: Versions) {
        self.shelf = Arc::new(Mutex::new(shelf));
        self.versions = versions;
    }

    pub fn is_coming_up(&self) -> bool {
        self.coming.is_some()
    }

    /// Nothing is in force yet, and this is what was known before: it must not be lost.
    pub fn not_begun(&self) -> Option<&Past> {
        self.coming.as_ref()?.first.as_ref()
    }
}
