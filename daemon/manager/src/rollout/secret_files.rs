//! Files that secrets were read from: when one changes, the checks that use it get the new value, without a reload by
//! hand. A thread looks at them once a second, since any file system may hold whoever asks it.

use super::Rollout;
use crate::inbox::{Inbox, Message};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often they are looked at. What has changed is taken when a second look finds the same.
const BEAT_MS: u16 = 1000;
/// What changed so shortly before the first look may have been read before it did.
const RECENT_S: i64 = 5;

/// Dropped, the thread ends by itself.
pub struct SecretFiles {
    files: Vec<PathBuf>,
    stop: Arc<EventFd>,
}

/// What tells one state of a file from another; None: it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

impl SecretFiles {
    fn start(files: Vec<PathBuf>, inbox: Arc<Inbox>) -> std::io::Result<SecretFiles> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let (watched, until) = (files.clone(), stop.clone());
        std::thread::Builder::new()
            .name("secret-files".into())
            .stack_size(128 << 10)
            .spawn(move || run(&watched, &until, || inbox.post(Message::SecretsChanged)))?;
        Ok(SecretFiles { files, stop })
    }
}

impl Drop for SecretFiles {
    fn drop(&mut self) {
        // It cannot be full: this is the only write.
        let _ = self.stop.write(1);
    }
}

fn run(files: &[PathBuf], stop: &EventFd, changed: impl Fn()) {
    let mut seen = stamps(files);
    let mut known = if is_recent(&seen) {
        Vec::new()
    } else {
        seen.clone()
    };
    loop {
        let mut fds = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(BEAT_MS)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return,
            Err(e) => {
                log::error!("files of secrets are not watched any more: poll: {e}");
                return;
            }
        }
        let now = stamps(files);
        if now == seen && now != known {
            known.clone_from(&now);
            changed();
        }
        seen = now;
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let m = std::fs::metadata(path).ok()?;
        let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        Some((
            m.dev(),
            m.ino(),
            m.size(),
            times.0,
            times.1,
            times.2,
            times.3,
        ))
    };
    files.iter().map(stamp).collect()
}

fn is_recent(stamps: &[Stamp]) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| d.as_secs().cast_signed());
    stamps
        .iter()
        .flatten()
        .any(|stamp| stamp.5 + RECENT_S >= now)
}

impl Rollout {
    /// Has those files watched that the config in force names, if there are any.
    pub(super) fn watch_secrets(&mut self, files: &[PathBuf], inbox: &Arc<Inbox>) {
        let watched = self.secret_files.as_ref();
        if files.is_empty() {
            self.secret_files = None;
        } else if watched.is_none_or(|s| s.files != *files) {
            self.secret_files = match SecretFiles::start(files.to_vec(), Arc::clone(inbox)) {
                Ok(watch) => Some(watch),
                Err(e) => {
                    log::error!(
                        "files of secrets are not watched: `healthctl reload` takes changes  why=\"{e}\""
                    );
                    None
                }
            };
        }
    }
}
