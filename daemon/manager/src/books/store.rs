//! What of the state goes to the disk, and when: `Saving` decides, the store thread writes.
//!
//! A change of verdict, or a person's word, is appended to the log within a second, and only that. Every half minute all
//! rows are looked through for what else has changed. When most of the log is out of date, all rows are written anew in
//! a file that takes its place in one step (temp file, fsync, rename, fsync of the folder).

use crate::books::disk::Disk;
use crate::books::saved::{News, Saved, SavedCheck};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

const OFTEN_NS: u64 = 1_000_000_000;
const SELDOM_NS: u64 = 30_000_000_000;

pub struct Saving {
    store: Store,
    /// Something has changed that the next look at all rows will find.
    dirty: bool,
    /// Checks with news of which the disk should know soon.
    news: BTreeSet<u32>,
    last: u64,
    last_sweep: u64,
    sweep: Option<Sweep>,
}

/// All rows on their way to the disk.
#[derive(Default)]
pub struct Sweep {
    /// The place in the order of the config that it has come to.
    pub at: usize,
    pub rows: Vec<SavedCheck>,
}

pub enum Due {
    Nothing,
    /// The rows of these checks.
    News(Vec<u32>),
    /// All rows, some in each turn.
    Sweep,
}

impl Saving {
    pub fn start(dir: &Path) -> io::Result<Saving> {
        Ok(Saving {
            store: Store::start(dir)?,
            dirty: false,
            news: BTreeSet::new(),
            last: 0,
            last_sweep: 0,
            sweep: None,
        })
    }

    /// Something that a restart should know, and may know a little later.
    pub fn changed(&mut self) {
        self.dirty = true;
    }

    /// Something that a restart must not forget.
    pub fn news(&mut self, id: u32) {
        self.dirty = true;
        self.news.insert(id);
    }

    pub fn at_once(&mut self, ids: &[u32]) {
        self.dirty = true;
        self.news.extend(ids);
        self.last = 0;
    }

    /// The order of the checks is another: what was swept went by the old one.
    pub fn begin_anew(&mut self) {
        if self.sweep.take().is_some() {
            self.last_sweep = 0;
        }
        self.dirty = true;
    }

    pub fn due(&mut self, now: u64) -> Due {
        if !self.dirty || self.sweep.is_some() {
            return Due::Nothing;
        }
        let often = now.saturating_sub(self.last) >= OFTEN_NS;
        let wants_all = self.store.wants_all.load(Ordering::Acquire) && often;
        if wants_all || now.saturating_sub(self.last_sweep) >= SELDOM_NS {
            (self.last, self.last_sweep) = (now, now);
            // What changes from here on may be too late for this one.
            self.dirty = false;
            self.news.clear();
            self.sweep = Some(Sweep::default());
            return Due::Sweep;
        }
        if often && !self.news.is_empty() {
            self.last = now;
            return Due::News(std::mem::take(&mut self.news).into_iter().collect());
        }
        Due::Nothing
    }

    pub fn write_news(&mut self, ids: Vec<u32>, news: News) {
        if !self.store.send(Job::News(news)) {
            self.news.extend(ids);
        }
    }

    pub fn take_sweep(&mut self) -> Option<Sweep> {
        self.sweep.take()
    }

    /// `next_run` comes with the last part.
    pub fn swept(&mut self, sweep: Sweep, next_run: Option<u64>) {
        let Some(next_run) = next_run else {
            self.sweep = Some(sweep);
            return;
        };
        let checks = sweep.rows;
        if !self.store.send(Job::All(Saved { next_run, checks })) {
            self.dirty = true;
            self.last_sweep = 0;
        }
    }

    /// Gives the system back what memory a reload has left unused.
    pub fn trim(&self) {
        // Full: it will be asked again, after the next reload.
        self.store.send(Job::Trim);
    }

    /// Writes the last one and waits until it is on disk.
    pub fn finish(&mut self, state: Saved) {
        self.store.finish(state);
    }
}

/// The thread, as the loop sees it.
struct Store {
    to_thread: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The log is to be written anew: most of it is out of date, or another daemon's.
    wants_all: Arc<AtomicBool>,
}

/// Work that may take longer than the loop has.
enum Job {
    All(Saved),
    News(News),
    Trim,
}

impl Store {
    fn start(dir: &Path) -> io::Result<Store> {
        let (to_thread, jobs) = sync_channel(2);
        let disk = Disk::new(dir);
        let wants_all = Arc::new(AtomicBool::new(true));
        let wants = wants_all.clone();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .stack_size(192 << 10)
            .spawn(move || work(disk, &jobs, &wants))?;
        Ok(Store {
            to_thread: Some(to_thread),
            thread: Some(thread),
            wants_all,
        })
    }

    /// False: the last ones are still being written; ask again later.
    fn send(&self, job: Job) -> bool {
        match self.to_thread.as_ref().map(|t| t.try_send(job)) {
            None | Some(Ok(()) | Err(TrySendError::Disconnected(_))) => true,
            Some(Err(TrySendError::Full(_))) => false,
        }
    }

    fn finish(&mut self, state: Saved) {
        if let Some(to_thread) = self.to_thread.take() {
            let _ = to_thread.send(Job::All(state));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(mut disk: Disk, jobs: &Receiver<Job>, wants_all: &AtomicBool) {
    let mut failing = false;
    for job in jobs {
        let done = match job {
            Job::All(state) => disk.all(&state),
            Job::News(news) => disk.news(&news),
            Job::Trim => {
                healthd_sys::process::trim_heap();
                continue;
            }
        };
        // A disk that takes nothing is tried again with the next look at all rows.
        wants_all.store(done.is_ok() && disk.is_long(), Ordering::Release);
        let file = disk.path().display();
        match done {
            Ok(()) if failing => {
                failing = false;
                log::info!("the state is on disk again  file={file}");
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
                    "the state cannot be written; checks go on, but a restart would forget what changed  file={file} why=\"{e}{hint}\""
                );
            }
            Err(_) => {}
        }
    }
}
