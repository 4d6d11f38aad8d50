//! What checks keep over a restart (`hd.state/1`): some bytes each, in a log in `state_dir`.
//!
//! The loop waits for no disk: a thread of its own holds the states and the log, and the loop hands on asks and answers.
//! A change is in the file before its answer is given, so that nobody's death loses it; a power cut may lose the last
//! second. Nothing of this is there until a check asks.

use super::said::Said;
use crate::books::record_log::{Batch, RecordLog, Tail};
use crate::control::Asker;
use crate::inbox::{Inbox, Message};
use healthd_core::objects::maps::error;
use healthd_core::wire::asks::{MapAsk, MapOp, MapReply};
use healthd_core::wire::frame::{Get, Put};
use healthd_sys::files;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const FILE: &str = "plugins.log";
const MAGIC: u64 = 0x4844_5354_4154_0001;
/// The log is written anew when it is so much longer than twice what is in it.
const SLACK: u64 = 256 << 10;
const VALUE_MAX: usize = 16 << 10;
/// All values together.
const ALL_BYTES: usize = 64 << 20;
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// A plugin, and a check of it.
type Owner = (String, String);

#[derive(Default)]
pub struct States {
    thread: Option<Thread>,
}

struct Thread {
    jobs: Sender<Job>,
    handle: JoinHandle<()>,
}

enum Job {
    Ask(Asked),
    Feed(Box<Feed>),
    /// Only these are left.
    Keep(HashSet<Owner>),
}

/// What a worker asks, and who it is: another may have its slot when the answer comes.
pub struct Asked {
    pub slot: u32,
    pub pid: u32,
    pub ask: MapAsk,
}

/// What somebody says to a check that is fed, and who waits until it is kept.
pub struct Feed {
    pub plugin: String,
    pub check: String,
    pub said: Said,
    /// CLOCK_REALTIME, ns.
    pub wall: u64,
    pub asker: Option<Asker>,
}

/// Kept from now on, or why not.
pub struct Fed {
    pub check: String,
    pub asker: Option<Asker>,
    pub result: Result<(), String>,
}

pub struct Answered {
    pub slot: u32,
    pub pid: u32,
    pub reply: MapReply,
}

impl States {
    /// The answer comes by the inbox. `owners`: who may have a state; asked once, at the first ask.
    pub fn ask(
        &mut self,
        asked: Asked,
        path: PathBuf,
        inbox: &Arc<Inbox>,
        owners: impl FnOnce() -> HashSet<Owner>,
    ) -> io::Result<()> {
        self.hand_on(Job::Ask(asked), path, inbox, owners)
    }

    /// A word for a check that is fed; the answer comes by the inbox.
    pub fn feed(
        &mut self,
        feed: Feed,
        path: PathBuf,
        inbox: &Arc<Inbox>,
        owners: impl FnOnce() -> HashSet<Owner>,
    ) -> io::Result<()> {
        self.hand_on(Job::Feed(Box::new(feed)), path, inbox, owners)
    }

    fn hand_on(
        &mut self,
        job: Job,
        path: PathBuf,
        inbox: &Arc<Inbox>,
        owners: impl FnOnce() -> HashSet<Owner>,
    ) -> io::Result<()> {
        if self.thread.is_none() {
            self.thread = Some(Thread::start(path, owners(), Arc::clone(inbox))?);
        }
        if let Some(thread) = &self.thread {
            let _ = thread.jobs.send(job);
        }
        Ok(())
    }

    /// After a reload: what belongs to no check any more goes.
    pub fn keep(&self, owners: impl FnOnce() -> HashSet<Owner>) {
        if let Some(thread) = &self.thread {
            let _ = thread.jobs.send(Job::Keep(owners()));
        }
    }

    /// All of it is on the disk.
    pub fn finish(&mut self) {
        if let Some(Thread { jobs, handle }) = self.thread.take() {
            drop(jobs);
            let _ = handle.join();
        }
    }
}

impl Thread {
    fn start(path: PathBuf, owners: HashSet<Owner>, inbox: Arc<Inbox>) -> io::Result<Thread> {
        let (jobs, todo) = channel();
        let handle = std::thread::Builder::new()
            .name("states".into())
            .stack_size(192 << 10)
            .spawn(move || {
                let mut keeper = Keeper::open(path);
                keeper.forget_others(&owners);
                keeper.work(&todo, |answers, fed| {
                    if !answers.is_empty() {
                        inbox.post(Message::States(answers));
                    }
                    if !fed.is_empty() {
                        inbox.post(Message::Fed(fed));
                    }
                });
            })?;
        Ok(Thread { jobs, handle })
    }
}

#[derive(Clone, Debug, PartialEq)]
struct State {
    value: Vec<u8>,
    version: u64,
}

/// The states, and the log of them.
struct Keeper {
    path: PathBuf,
    states: HashMap<Owner, State>,
    bytes: usize,
    version: u64,
    /// None: it cannot be written, or has to be written anew.
    log: Option<RecordLog>,
    failing: bool,
}

impl Keeper {
    fn open(path: PathBuf) -> Keeper {
        let mut keeper = Keeper {
            path,
            states: HashMap::new(),
            bytes: 0,
            version: 0,
            log: None,
            failing: false,
        };
        match keeper.read() {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                let broken = keeper.path.with_extension("log.broken");
                let _ = std::fs::rename(&keeper.path, &broken);
                log::error!(
                    "what checks have kept cannot be read; they begin anew  file={} kept_as={} why=\"{e}\"",
                    keeper.path.display(),
                    broken.display()
                );
            }
        }
        keeper
    }

    fn read(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = files::open_as(&self.path, &mut options)?;
        let (log, tail) = RecordLog::read(file, MAGIC, |mut record| {
            self.redo(&mut record).map_err(io::Error::other)
        })?;
        match tail {
            Tail::None => {}
            Tail::Torn(_) => log.cut_tail()?,
            Tail::Damaged(bytes) => {
                log::error!(
                    "a part of what checks have kept is damaged and left out  file={} bytes={bytes}",
                    self.path.display()
                );
                log.cut_tail()?;
            }
        }
        self.log = Some(log);
        Ok(())
    }

    fn redo(&mut self, record: &mut &[u8]) -> Result<(), healthd_core::wire::frame::WireError> {
        while let Some((tag, mut g)) = Get::record(record)? {
            let owner = (g.text()?.to_owned(), g.text()?.to_owned());
            let version = g.u64()?;
            self.version = self.version.max(version);
            match tag {
                tag::SET => self.put(
                    owner,
                    State {
                        value: g.bytes()?.to_vec(),
                        version,
                    },
                ),
                _ => self.take(&owner),
            }
        }
        Ok(())
    }

    fn put(&mut self, owner: Owner, state: State) {
        self.take(&owner);
        self.bytes += state.value.len();
        self.states.insert(owner, state);
    }

    fn take(&mut self, owner: &Owner) {
        if let Some(old) = self.states.remove(owner) {
            self.bytes -= old.value.len();
        }
    }

    fn forget_others(&mut self, owners: &HashSet<Owner>) {
        let before = self.states.len();
        self.states.retain(|owner, _| owners.contains(owner));
        self.bytes = self.states.values().map(|s| s.value.len()).sum();
        if self.states.len() < before {
            // Written anew with the next change.
            self.log = None;
        }
    }

    fn work(&mut self, jobs: &Receiver<Job>, tell: impl Fn(Vec<Answered>, Vec<Fed>)) {
        let mut unsynced: Option<Instant> = None;
        loop {
            let next = match unsynced {
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => jobs.recv_timeout(SYNC_EVERY.saturating_sub(since.elapsed())),
            };
            let first = match next {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    unsynced = None;
                    self.sync();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            };
            let mut batch = Batch::default();
            let (mut answers, mut fed) = (Vec::new(), Vec::new());
            let more = std::iter::from_fn(|| jobs.try_recv().ok());
            for job in std::iter::once(first).chain(more).take(BATCH) {
                match job {
                    Job::Keep(owners) => self.forget_others(&owners),
                    Job::Ask(Asked { slot, pid, ask }) => {
                        let reply = self.reply_to(ask, &mut batch);
                        answers.push(Answered { slot, pid, reply });
                    }
                    Job::Feed(feed) => fed.push(self.hear(*feed, &mut batch)),
                }
            }
            if batch.len() > 0 {
                self.write(&batch);
                unsynced = unsynced.or_else(|| Some(Instant::now()));
            }
            tell(answers, fed);
        }
    }

    fn hear(&mut self, feed: Feed, batch: &mut Batch) -> Fed {
        let owner = (feed.plugin, feed.check.clone());
        let before = self.states.get(&owner).map(|s| s.value.as_slice());
        let value = feed.said.kept(before, feed.wall);
        let others = self.bytes - before.map_or(0, <[u8]>::len);
        let result = match others + value.len() > ALL_BYTES {
            true => Err("checks have no room left for what they keep".to_owned()),
            false => {
                self.version += 1;
                let version = self.version;
                let state = State { value, version };
                batch.push(&set_record(&owner, &state));
                self.put(owner, state);
                Ok(())
            }
        };
        Fed {
            check: feed.check,
            asker: feed.asker,
            result,
        }
    }

    fn reply_to(&mut self, ask: MapAsk, batch: &mut Batch) -> MapReply {
        let mut reply = MapReply {
            ask: ask.ask,
            ..MapReply::default()
        };
        let owner = (ask.map, ask.key);
        let there = self.states.get(&owner);
        let version = there.map_or(0, |s| s.version);
        let as_expected = ask.expected.is_none_or(|v| v == version);
        match ask.op {
            MapOp::StateSet | MapOp::StateDelete if !as_expected => reply.error = error::CHANGED,
            MapOp::StateSet => {
                let others = self.bytes - there.map_or(0, |s| s.value.len());
                if ask.value.len() > VALUE_MAX || ask.ttl_ns != 0 {
                    reply.error = error::INVALID;
                } else if others + ask.value.len() > ALL_BYTES {
                    reply.error = error::NO_ROOM;
                } else {
                    self.version += 1;
                    reply.version = self.version;
                    let state = State {
                        value: ask.value,
                        version: self.version,
                    };
                    batch.push(&set_record(&owner, &state));
                    self.put(owner, state);
                }
                return reply;
            }
            MapOp::StateDelete => {
                if there.is_none() {
                    reply.error = error::NOT_FOUND;
                } else {
                    batch.push(&gone_record(&owner, self.version));
                    self.take(&owner);
                }
                return reply;
            }
            _ if there.is_none() => reply.error = error::NOT_FOUND,
            _ => {}
        }
        reply.version = version;
        reply
            .items
            .extend(there.map(|s| (String::new(), s.value.clone())));
        reply
    }

    fn write(&mut self, batch: &Batch) {
        let long = |log: &RecordLog| log.len() > SLACK + 2 * self.bytes as u64;
        let written = match &mut self.log {
            Some(log) if !long(log) => log.append(batch),
            // The states have all that the batch has.
            _ => self.anew(),
        };
        let file = self.path.display();
        match written {
            Ok(()) if self.failing => {
                self.failing = false;
                log::info!("what checks keep is on disk again  file={file}");
            }
            Ok(()) => {}
            Err(e) => {
                self.log = None;
                if !std::mem::replace(&mut self.failing, true) {
                    log::error!(
                        "what checks keep cannot be written; they go on, but a restart would forget it  file={file} why=\"{e}\""
                    );
                }
            }
        }
    }

    /// All of it in a file that takes the place of the other in one step.
    fn anew(&mut self) -> io::Result<()> {
        let temp = self.path.with_extension("log.new");
        let written = self
            .write_all(&temp)
            .and_then(|log| std::fs::rename(&temp, &self.path).map(|()| log));
        if written.is_err() {
            let _ = std::fs::remove_file(&temp);
        }
        self.log = Some(written?);
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }

    fn write_all(&self, path: &Path) -> io::Result<RecordLog> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let file = files::open_as(path, &mut options)?;
        file.set_len(0)?;
        let mut log = RecordLog::new(file, MAGIC)?;
        let mut batch = Batch::default();
        for (owner, state) in &self.states {
            batch.push(&set_record(owner, state));
            if batch.len() > BATCH_BYTES {
                log.append(&std::mem::take(&mut batch))?;
            }
        }
        log.append(&batch)?;
        log.sync()?;
        Ok(log)
    }

    fn sync(&mut self) {
        if let Some(log) = &self.log
            && let Err(e) = log.sync()
        {
            // Nobody knows what is on the disk now: the next change writes it anew.
            log::error!("{}: {e}", self.path.display());
            self.log = None;
        }
    }
}

mod tag {
    pub const SET: u8 = 1;
    pub const GONE: u8 = 2;
}

fn set_record((plugin, check): &Owner, state: &State) -> Vec<u8> {
    let mut record = Vec::new();
    Put::record(&mut record, tag::SET)
        .text(plugin)
        .text(check)
        .u64(state.version)
        .bytes(&state.value);
    record
}

fn gone_record((plugin, check): &Owner, version: u64) -> Vec<u8> {
    let mut record = Vec::new();
    Put::record(&mut record, tag::GONE)
        .text(plugin)
        .text(check)
        .u64(version);
    record
}

/// Asks that are answered together.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir =
                std::env::temp_dir().join(format!("healthd-states-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).expect("temp dir");
            Dir(dir)
        }

        fn keeper(&self) -> Keeper {
            Keeper::open(self.0.join(FILE))
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn ask(
        keeper: &mut Keeper,
        op: MapOp,
        check: &str,
        value: &[u8],
        expected: Option<u64>,
    ) -> MapReply {
        let ask = MapAsk {
            op,
            map: "log".into(),
            key: check.into(),
            value: value.into(),
            expected,
            ..MapAsk::default()
        };
        let mut batch = Batch::default();
        let reply = keeper.reply_to(ask, &mut batch);
        if batch.len() > 0 {
            keeper.write(&batch);
        }
        reply
    }

    fn get(keeper: &mut Keeper, check: &str) -> Option<Vec<u8>> {
        let reply = ask(keeper, MapOp::StateGet, check, b"", None);
        reply.items.into_iter().next().map(|(_, value)| value)
    }

    #[test]
    fn what_was_answered_is_in_the_file_and_half_a_record_is_not() {
        let dir = Dir::new("file");
        let mut keeper = dir.keeper();
        let first = ask(&mut keeper, MapOp::StateSet, "a", b"one", Some(0));
        assert_eq!(first.error, 0);
        let other = ask(&mut keeper, MapOp::StateSet, "a", b"two", Some(0));
        assert_eq!(
            (other.error, other.version),
            (error::CHANGED, first.version)
        );
        assert_eq!(other.items[0].1, b"one");
        ask(&mut keeper, MapOp::StateSet, "b", b"x", None);
        ask(&mut keeper, MapOp::StateDelete, "b", b"", None);
        // Killed here, in the middle of the next record.
        drop(keeper);
        let path = dir.0.join(FILE);
        let file = OpenOptions::new().write(true).open(&path).expect("the log");
        let end = file.metadata().expect("the log").len();
        file.write_all_at(&[9; 20], end).expect("room");
        let mut keeper = dir.keeper();
        assert_eq!(get(&mut keeper, "a").as_deref(), Some(&b"one"[..]));
        assert_eq!(get(&mut keeper, "b"), None);
        // Versions go on.
        let next = ask(
            &mut keeper,
            MapOp::StateSet,
            "a",
            b"three",
            Some(first.version),
        );
        assert!(
            next.error == 0 && next.version > first.version + 1,
            "{next:?}"
        );
        assert_eq!(get(&mut dir.keeper(), "a").as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn the_log_stays_short_and_forgets_whom_nobody_knows() {
        let dir = Dir::new("short");
        let mut keeper = dir.keeper();
        for n in 0..3_000_u32 {
            let value = [n as u8; 500];
            assert_eq!(
                ask(&mut keeper, MapOp::StateSet, "a", &value, None).error,
                0
            );
        }
        let len = std::fs::metadata(dir.0.join(FILE)).expect("the log").len();
        assert!(len < SLACK + 2_000, "{len}");
        ask(&mut keeper, MapOp::StateSet, "gone", b"x", None);
        keeper.forget_others(&HashSet::from([("log".to_owned(), "a".to_owned())]));
        ask(&mut keeper, MapOp::StateSet, "a", b"y", None);
        let mut again = dir.keeper();
        assert_eq!((get(&mut again, "gone"), again.bytes), (None, 1));
        let large = vec![0; VALUE_MAX + 1];
        assert_eq!(
            ask(&mut again, MapOp::StateSet, "a", &large, None).error,
            error::INVALID
        );
    }

    #[test]
    fn rubbish_is_set_aside_and_a_full_disk_stops_nobody() {
        let dir = Dir::new("rubbish");
        std::fs::write(dir.0.join(FILE), "not a log").expect("ours");
        let mut keeper = dir.keeper();
        assert!(dir.0.join("plugins.log.broken").exists());
        assert_eq!(ask(&mut keeper, MapOp::StateSet, "a", b"1", None).error, 0);
        let mut nowhere = Keeper::open(dir.0.join("no/such").join(FILE));
        assert_eq!(ask(&mut nowhere, MapOp::StateSet, "a", b"1", None).error, 0);
        assert!(nowhere.failing);
        assert_eq!(get(&mut nowhere, "a").as_deref(), Some(&b"1"[..]));
        // Somebody has made room.
        nowhere.path = dir.0.join("other.log");
        ask(&mut nowhere, MapOp::StateSet, "b", b"2", None);
        assert!(!nowhere.failing);
        let mut again = Keeper::open(dir.0.join("other.log"));
        assert_eq!(get(&mut again, "a").as_deref(), Some(&b"1"[..]));
    }
}
