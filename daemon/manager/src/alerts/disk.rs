//! What was told, on disk: a log that a thread of its own appends to, so that the loop never waits.
//!
//! A batch is under way at a time; what comes meanwhile is the next one. After a disk that took nothing, and when most of
//! the log is out of date, all is written anew in a file that takes its place.

use super::memory::{SLACK, batch};
use crate::books::record_log::{Batch, RecordLog};
use crate::inbox::{Inbox, Message};
use crate::time::MS;
use healthd_alerts::Record;
use healthd_sys::{clock, files};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

pub const FILE: &str = "alerts.log";
const MAGIC: u64 = 0x4844_414C_5254_0001;
/// A disk that took nothing is tried again so much later, if nothing is to be written before.
const RETRY_NS: u64 = 10_000 * MS;

pub struct Disk {
    path: PathBuf,
    inbox: Arc<Inbox>,
    thread: Option<Thread>,
    /// The number of the last batch that was made, and of the one that is under way.
    last: u64,
    under_way: Option<u64>,
    /// All up to this one were answered.
    answered: u64,
    /// What is in no batch yet.
    next: Vec<Record>,
    /// The log is not as it should be: the next batch is all that there is.
    is_broken: bool,
    retry_at: Option<u64>,
    was_told: bool,
}

struct Thread {
    jobs: Sender<Job>,
    handle: JoinHandle<()>,
}

enum Job {
    /// Behind what is there.
    Add(u64, Batch),
    /// In place of what is there.
    Anew(u64, Batch),
}

/// What became of a batch.
pub struct Written {
    batch: u64,
    /// The log is long enough to be written anew.
    result: io::Result<bool>,
}

impl Disk {
    pub fn new(state_dir: &Path, inbox: Arc<Inbox>) -> Disk {
        Disk {
            path: state_dir.join(FILE),
            inbox,
            thread: None,
            last: 0,
            under_way: None,
            answered: 0,
            next: Vec::new(),
            // What lies there is of another daemon.
            is_broken: true,
            retry_at: None,
            was_told: false,
        }
    }

    /// The manager before us may have died before its last words were on disk: all is written anew.
    pub fn catch_up(&mut self) {
        self.retry_at = Some(0);
    }

    /// What a daemon before us has left.
    pub fn read(&mut self) -> Vec<Record> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(e) => {
                self.unreadable(&e);
                return Vec::new();
            }
        };
        let mut records = Vec::new();
        let log = crate::books::record_log::records(&file, MAGIC, |bytes| {
            records.extend(Record::decode(bytes).inspect_err(|e| {
                log::error!("a record of what was told makes no sense: {e}");
            }));
            Ok(())
        });
        if let Err(e) = log {
            self.unreadable(&e);
        }
        records
    }

    fn unreadable(&self, e: &io::Error) {
        let kept = self.path.with_extension("log.broken");
        let moved = std::fs::rename(&self.path, &kept).is_ok();
        let kept = match moved {
            true => format!(" kept_as={}", kept.display()),
            false => String::new(),
        };
        log::error!(
            "who was told of what cannot be read: problems may be told again, and some recoveries not  file={} why=\"{e}\"{kept}",
            self.path.display()
        );
    }

    /// The number of the batch in which these are.
    pub fn add(&mut self, records: &[Record], snapshot: impl FnOnce() -> Vec<Record>) -> u64 {
        self.next.extend(records.iter().cloned());
        let is_late = self.retry_at.is_some_and(|at| at <= clock::monotonic_ns());
        let has_news = !self.next.is_empty() || (self.is_broken && is_late);
        if !has_news {
            return self.answered;
        }
        if self.under_way.is_some() {
            return self.last + 1;
        }
        self.begin(snapshot);
        self.last
    }

    fn begin(&mut self, snapshot: impl FnOnce() -> Vec<Record>) {
        self.retry_at = None;
        self.last += 1;
        let next = std::mem::take(&mut self.next);
        let job = match self.is_broken {
            true => Job::Anew(self.last, batch(&snapshot())),
            false => Job::Add(self.last, batch(&next)),
        };
        self.under_way = Some(self.last);
        let sent = self.thread().and_then(|thread| {
            let gone = |_| io::Error::other("its thread has ended");
            thread.jobs.send(job).map_err(gone)
        });
        if let Err(e) = sent {
            self.written(Written {
                batch: self.last,
                result: Err(e),
            });
        }
    }

    fn thread(&mut self) -> io::Result<&Thread> {
        if self.thread.is_none() {
            let (jobs, work) = channel();
            let (path, inbox) = (self.path.clone(), self.inbox.clone());
            let handle = std::thread::Builder::new()
                .name("alerts".into())
                .stack_size(192 << 10)
                .spawn(move || run(&path, &work, &inbox))?;
            self.thread = Some(Thread { jobs, handle });
        }
        self.thread
            .as_ref()
            .ok_or_else(|| io::Error::other("no thread"))
    }

    /// It was written, or the disk did not take it: it is not waited for any more.
    pub fn has(&self, batch: u64) -> bool {
        batch <= self.answered
    }

    /// What is to be written next must not wait for news.
    pub fn retry_at(&self) -> Option<u64> {
        match self.under_way {
            Some(_) => None,
            None if !self.next.is_empty() => Some(0),
            None => self.retry_at,
        }
    }

    pub fn written(&mut self, written: Written) {
        self.under_way = None;
        self.answered = self.answered.max(written.batch);
        let file = self.path.display();
        match written.result {
            Ok(is_long) => {
                self.is_broken = is_long;
                if std::mem::take(&mut self.was_told) {
                    log::info!("who was told of what is on disk again  file={file}");
                }
            }
            Err(e) => {
                self.is_broken = true;
                self.retry_at = Some(clock::monotonic_ns() + RETRY_NS);
                if !std::mem::replace(&mut self.was_told, true) {
                    log::error!(
                        "who was told of what cannot be written; alerts go on, but a restart may tell again, or not of an end  file={file} why=\"{e}\""
                    );
                }
            }
        }
    }

    /// All of it, now.
    pub fn finish(&mut self, snapshot: impl FnOnce() -> Vec<Record>) {
        let is_behind = self.is_broken && (self.last > 0 || self.retry_at.is_some());
        let has_news = !self.next.is_empty() || is_behind;
        if has_news {
            self.is_broken = true;
            self.begin(snapshot);
        }
        if let Some(Thread { jobs, handle }) = self.thread.take() {
            drop(jobs);
            let _ = handle.join();
        }
    }
}

fn run(path: &Path, jobs: &Receiver<Job>, inbox: &Inbox) {
    let mut log: Option<(RecordLog, u64)> = None;
    for job in jobs {
        let (batch, result) = match job {
            Job::Anew(batch, all) => (batch, anew(path, &all).map(|made| log = Some(made))),
            Job::Add(batch, more) => (batch, append(&mut log, &more)),
        };
        if result.is_err() {
            log = None;
        }
        let is_long = |(log, whole): &(RecordLog, u64)| log.len() > SLACK + 2 * whole;
        let result = result.map(|()| log.as_ref().is_some_and(is_long));
        inbox.post(Message::AlertsWritten(Written { batch, result }));
    }
}

fn append(log: &mut Option<(RecordLog, u64)>, batch: &Batch) -> io::Result<()> {
    let Some((log, _)) = log else {
        return Err(io::Error::other("the log could not be begun"));
    };
    log.append(batch)?;
    log.sync()
}

fn anew(path: &Path, all: &Batch) -> io::Result<(RecordLog, u64)> {
    let temp = path.with_extension("log.new");
    let written = write(&temp, all).and_then(|log| std::fs::rename(&temp, path).map(|()| log));
    if written.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    let log = written?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    let whole = log.len();
    Ok((log, whole))
}

fn write(path: &Path, all: &Batch) -> io::Result<RecordLog> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o640);
    let file = files::open_as(path, &mut options)?;
    file.set_len(0)?;
    let mut log = RecordLog::new(file, MAGIC)?;
    log.append(all)?;
    log.sync()?;
    Ok(log)
}
