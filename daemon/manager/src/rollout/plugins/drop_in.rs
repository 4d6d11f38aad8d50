//! The thread that watches the plugin directory, and its end.

use crate::director::Manager;
use crate::inbox::{Inbox, Message};
use healthd_catalog::DirWatch;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Dropped, the thread ends by itself: nobody waits for it, as a file system may hold it.
pub struct DropIn {
    dir: PathBuf,
    stop: Arc<EventFd>,
}

impl DropIn {
    fn start(dir: &Path, inbox: Arc<Inbox>) -> std::io::Result<DropIn> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let (watch, until) = (DirWatch::new(dir), stop.clone());
        std::thread::Builder::new()
            .name("plugin-dir".into())
            .stack_size(128 << 10)
            .spawn(move || watch.run(until.as_fd(), || inbox.post(Message::Dropped)))?;
        Ok(DropIn {
            dir: dir.to_owned(),
            stop,
        })
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        // It cannot be full: this is the only write.
        let _ = self.stop.write(1);
    }
}

impl Manager {
    /// Has the directory watched that the config names, or none.
    pub(in crate::rollout) fn watch_plugins(&mut self) {
        let dir = &self.model.daemon.plugin_dir;
        if !self.model.daemon.plugin_watch {
            self.rollout.drop_in = None;
        } else if self.rollout.drop_in.as_ref().is_none_or(|d| d.dir != *dir) {
            self.rollout.drop_in = match DropIn::start(dir, self.clockwork.inbox.clone()) {
                Ok(drop_in) => Some(drop_in),
                Err(e) => {
                    log::error!(
                        "the plugin directory is not watched: `healthctl plugins reload` takes changes  why=\"{e}\""
                    );
                    None
                }
            };
        }
    }
}
