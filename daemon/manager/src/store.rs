//! The store thread: whole files, replaced in one step (temp file, fsync, rename), so that a crash at any
//! moment leaves the old one or the new one.

use crate::state::Saved;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

pub const STATE_FILE: &str = "state.json";

pub struct Store {
    to_thread: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    pub fn start(dir: &Path) -> io::Result<Store> {
        let (to_thread, jobs) = sync_channel(2);
        let path = dir.join(STATE_FILE);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .stack_size(128 << 10)
            .spawn(move || work(&path, &jobs))?;
        Ok(Store {
            to_thread: Some(to_thread),
            thread: Some(thread),
        })
    }

    /// False: the last one is still being written; ask again later.
    pub fn write(&self, state: Saved) -> bool {
        match self
            .to_thread
            .as_ref()
            .map(|t| t.try_send(Job::Write(state)))
        {
            None | Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_))) => false,
            Some(Err(TrySendError::Disconnected(_))) => true,
        }
    }

    /// Gives the system back what memory a reload has left unused.
    pub fn trim(&self) {
        if let Some(to_thread) = &self.to_thread {
            // Full: it will be asked again, after the next reload.
            let _ = to_thread.try_send(Job::Trim);
        }
    }

    /// Writes the last one and waits until it is on disk.
    pub fn finish(&mut self, state: Saved) {
        if let Some(to_thread) = self.to_thread.take() {
            let _ = to_thread.send(Job::Write(state));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Work that may take longer than the loop has.
enum Job {
    Write(Saved),
    Trim,
}

fn work(path: &Path, jobs: &Receiver<Job>) {
    let mut failing = false;
    for job in jobs {
        let state = match job {
            Job::Write(state) => state.to_bytes(),
            Job::Trim => {
                healthd_sys::process::trim_heap();
                continue;
            }
        };
        match replace(path, &state) {
            Ok(()) if failing => {
                failing = false;
                log::info!("the state is on disk again  file={}", path.display());
            }
            Ok(()) => {}
            // Said once, not every second: the daemon goes on, and what it knows is in memory and in the map.
            Err(e) if !failing => {
                failing = true;
                let hint = match e.raw_os_error() {
                    Some(libc::ENOSPC | libc::EDQUOT) => ": free some space there",
                    Some(libc::EACCES | libc::EROFS) => {
                        ": let healthd's user write there, or set daemon.state_dir"
                    }
                    _ => "",
                };
                log::error!(
                    "the state cannot be written; checks go on, but a restart would forget what changed  file={} why=\"{e}{hint}\"",
                    path.display()
                );
            }
            Err(_) => {}
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = path.with_extension("json.new");
    let written = write_synced(&temp, bytes).and_then(|()| std::fs::rename(&temp, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    written?;
    // The name too must survive a power cut.
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
