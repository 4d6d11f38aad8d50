//! The folders under a running daemon: are they still those that it has started in?
//!
//! Runs in: supervisor, with each tick. A `runtime_dir` without our socket would be a daemon that nobody reaches, and its
//! workers could make no maps; into a `state_dir` that has lost its name everything would be written in vain. Both are made
//! anew for another manager. The plugin directory may come and go: what serves is held in memory.

use crate::event_loop::Supervisor;
use crate::instance::Instance;
use crate::lifecycle::Event;
use crate::refusal::Refusal;
use crate::start::make_dir;
use healthd_sys::privileges::Account;
use nix::unistd::Gid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub struct Folders {
    /// Device and number of `state_dir`, as it was.
    pub state: Option<(u64, u64)>,
    /// Who may ask the socket.
    pub group: Option<Gid>,
}

impl Folders {
    /// What the name leads to; None: to no folder.
    pub fn place(dir: &Path) -> Option<(u64, u64)> {
        let meta = fs::metadata(dir).ok().filter(fs::Metadata::is_dir)?;
        Some((meta.dev(), meta.ino()))
    }
}

pub fn make_runtime_dir(
    dir: &Path,
    account: Option<&Account>,
    group: Option<Gid>,
) -> Result<(), Refusal> {
    make_dir("runtime_dir", dir, 0o755, account, group)
}

pub fn make_state_dir(dir: &Path, account: Option<&Account>) -> Result<(), Refusal> {
    make_dir("state_dir", dir, 0o750, account, None)
}

impl Supervisor {
    pub(super) fn look_after_folders(&mut self) {
        let state = self.setup.folders.state == Folders::place(&self.setup.state_dir);
        let runtime = self.setup.instance.is_locked() && self.setup.instance.is_reached();
        if state && runtime {
            return;
        }
        let taken = if runtime {
            &self.setup.state_dir
        } else {
            &self.setup.runtime_dir
        };
        let taken = taken.display().to_string();
        match self.make_anew(state, runtime) {
            Ok(()) => {
                log::error!("taken away under a running daemon, and made anew  path={taken}");
                // The next manager gets the new socket, and opens everything by its name.
                self.replace_manager();
            }
            Err(refusal) => {
                let Refusal { message, help, .. } = refusal;
                let help = help.unwrap_or_default();
                log::error!(
                    "taken away under a running daemon, which ends, as it cannot be made anew  path={taken} why=\"{message}\" help=\"{help}\""
                );
                self.happen(Event::FolderLost);
            }
        }
    }

    fn make_anew(&mut self, state: bool, runtime: bool) -> Result<(), Refusal> {
        if !state {
            make_state_dir(&self.setup.state_dir, None)?;
            self.setup.folders.state = Folders::place(&self.setup.state_dir);
        }
        if !runtime {
            make_runtime_dir(&self.setup.runtime_dir, None, self.setup.folders.group)?;
            if !self.setup.instance.is_locked() {
                self.setup.instance = Instance::claim(&self.setup.runtime_dir)?;
            }
            self.setup.listener = self.setup.instance.listen(self.setup.folders.group)?;
        }
        Ok(())
    }
}
