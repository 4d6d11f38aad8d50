//! Worker slots: who is in them, what they have been sent, and the accounts of each.
//!
//! `dispatched = finished + in flight + lost` holds for every slot at every moment, over all its workers.

use crate::fleet::chunks::{ChunkAccounts, ChunkOut};
use crate::fleet::pool_key::{APART, PoolKey, SHARED};
use crate::rollout::fit::Fit;
use crate::services::asked::Asked;
use healthd_core::starvation::Suspicion;
use healthd_core::wire::frame::{MAX_BATCH, MAX_BATCH_RECORDS};
use healthd_core::wire::maps::SlotRecord;
use healthd_core::wire::sandbox::Layers;
use healthd_core::wire::supervisor::{SlotSpec, WorkerClass};
use healthd_core::wire::worker::{CacheNumbers, Define, Run, ToWorker};
use healthd_scoreboard::worker_map::{self, WorkerView};
use healthd_sys::unix_socket;
use healthd_sys::usage::{Gauge, Usage};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    /// A worker is being started, or loads its plugins.
    Starting = 0,
    Ready = 1,
    /// It gets no more runs.
    Draining = 2,
    Dead = 3,
}

pub struct Slot {
    pub spec: SlotSpec,
    /// Its place among the slots of its class, group and generation: what a check's home is computed from.
    pub place: u64,
    /// Whose runs it takes.
    pub group: Group,
    pub state: SlotState,
    pub process: Process,
    pub work: Work,
    pub accounts: Accounts,
    pub loaded: Loaded,
    pub succession: Succession,
    /// Why there is no worker.
    pub given_up: Option<String>,
    /// For maps and locks.
    pub asks: Asked,
    /// A call was written off in it, and its thread may still be there.
    pub tainted: bool,
}

/// Whose runs a worker of a class takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Those of all checks of a group of plugins, [`SHARED`] or one of its own.
    Pool(u8),
    /// Those of one check, one at a time.
    Solo(Solo),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solo {
    /// None: it is gone.
    pub check: Option<u32>,
    /// The only plugin that is loaded.
    pub plugin: u16,
}

impl Group {
    pub fn solo(&self) -> Option<Solo> {
        match self {
            Group::Pool(_) => None,
            Group::Solo(solo) => Some(*solo),
        }
    }
}

/// The worker that is in the slot, from its start on.
#[derive(Default)]
pub struct Process {
    pub pid: u32,
    /// CLOCK_MONOTONIC of its start.
    pub started_ns: u64,
    pub link: Option<Link>,
    pub view: Option<WorkerView>,
    /// Why we asked for its death, and the run that is to blame.
    pub condemned: Option<Condemned>,
    /// Why it could not start, as it said itself.
    pub last_words: Option<String>,
    /// What it has told of its plugins' caches.
    pub caches: Vec<CacheNumbers>,
    /// Its reactor is late.
    pub suspicion: Option<Suspicion>,
    pub held: Held,
    /// What it was told to give up, and what of that its kernel could do.
    pub sandbox: Option<(Fit, Layers)>,
}

/// What its process holds.
#[derive(Default)]
pub struct Held {
    pub gauge: Option<Gauge>,
    /// As it was seen last.
    pub usage: Usage,
    /// When it had just come up.
    pub fresh: Option<Usage>,
    /// At the last look at all workers: what came up since is of the calls in progress.
    pub at_look: Usage,
    /// CLOCK_MONOTONIC: looked at closely until then. None: as seldom as others.
    pub closely_until_ns: Option<u64>,
    /// Runs that it was sent.
    pub sent: u64,
    /// It measures what each call leaves behind.
    pub measuring: bool,
}

/// What is with its worker.
#[derive(Default)]
pub struct Work {
    /// In flight: run id -> check.
    pub runs: HashMap<u64, u32>,
    /// Chunks of other workers' runs, by the number of their dispatch.
    pub chunks: BTreeMap<u64, ChunkOut>,
    /// Chunks that were asked for on its behalf and are not there yet.
    pub asked: usize,
}

#[derive(Default)]
pub struct Loaded {
    /// The plugins that it was told, by number, and the files they are in.
    pub plugins: Vec<String>,
    pub libraries: Vec<LibraryUse>,
    /// Killed by SIGKILL so often in a row while it loaded one.
    pub killed_loading: u32,
}

/// What was before it, and comes after it.
#[derive(Default)]
pub struct Succession {
    /// Its worker is to take the place of the one in this slot.
    pub replaces: Option<u32>,
    /// Another has its place: it goes with its worker.
    pub retiring: bool,
    /// Why it is to be replaced, or why the one before it was.
    pub note: String,
}

/// A plugin file as a worker has it.
pub struct LibraryUse {
    pub file: String,
    /// The plugins in it.
    pub plugins: Vec<String>,
    pub copy: Arc<OwnedFd>,
}

pub fn pool_name(class: WorkerClass, plugins: &[String]) -> String {
    match plugins {
        [] => class.as_str().to_owned(),
        [one] => format!("{} of `{one}`", class.as_str()),
        [first, rest @ ..] => format!("{} of `{first}` and {} more", class.as_str(), rest.len()),
    }
}

/// As many as a worker tells of.
const MAX_CACHES: usize = 64;

#[derive(Clone, Debug)]
pub struct Condemned {
    pub reason: String,
    pub culprit: Option<u64>,
    /// The supervisor has been told.
    pub killed: bool,
    /// It held too much, and could not wait.
    pub fence: bool,
    /// It was told to drain, and ends by itself: since when it has no run any more. 0: it has. None: it was not told.
    pub drained: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Accounts {
    pub dispatched: u64,
    pub finished: u64,
    pub lost_worker_died: u64,
    pub lost_replaced: u64,
    pub lost_cancelled: u64,
    pub late: u64,
    pub restarts: u64,
    pub chunks: ChunkAccounts,
}

impl Accounts {
    /// Of a slot whose manager died: what was in flight then is lost with its workers.
    pub fn carried_over(old: &SlotRecord) -> Accounts {
        Accounts {
            dispatched: old.dispatched,
            finished: old.finished,
            lost_worker_died: old.lost_worker_died,
            lost_replaced: old.lost_replaced + old.in_flight,
            lost_cancelled: old.lost_cancelled,
            late: old.late,
            restarts: old.restarts + 1,
            chunks: ChunkAccounts {
                dispatched: old.chunks_dispatched,
                finished: old.chunks_finished,
                lost: old.chunks_lost + old.chunks_in_flight,
                own: old.chunks_own,
            },
        }
    }

    /// Those of a slot that is no more.
    pub fn add(&mut self, other: &Accounts) {
        self.dispatched += other.dispatched;
        self.finished += other.finished;
        self.lost_worker_died += other.lost_worker_died;
        self.lost_replaced += other.lost_replaced;
        self.lost_cancelled += other.lost_cancelled;
        self.late += other.late;
        self.restarts += other.restarts;
        self.chunks.add(&other.chunks);
    }
}

/// So many are kept, and only those of this size: runs fill no larger ones, but definitions do.
const SPARES: usize = 16;
const SPARE_BYTES: usize = 4096;

/// Our end of a worker's link, and what waits to go through it.
pub struct Link {
    pub fd: OwnedFd,
    full: VecDeque<(Vec<u8>, Option<Arc<OwnedFd>>)>,
    open: Vec<u8>,
    /// Messages that have left, for the room that they have.
    spare: Vec<Vec<u8>>,
    records: usize,
    /// Epoch of each check's definition that this worker has; 0: none.
    defined: Vec<u32>,
}

impl Slot {
    pub fn new(spec: SlotSpec, place: u64, group: Group) -> Slot {
        Slot {
            spec,
            place,
            group,
            state: SlotState::Starting,
            process: Process::default(),
            work: Work::default(),
            accounts: Accounts::default(),
            loaded: Loaded::default(),
            succession: Succession::default(),
            given_up: None,
            asks: Asked::default(),
            tainted: false,
        }
    }

    /// None: it is one check's.
    pub fn pool(&self) -> Option<PoolKey> {
        let class = self.spec.class;
        match self.group {
            Group::Pool(group) => Some(PoolKey { class, group }),
            Group::Solo(_) => None,
        }
    }

    /// Of whom it takes runs, for people: "io", "io of `mine`".
    pub fn pool_name(&self) -> String {
        if self.group == Group::Pool(APART) {
            return format!("{} of checks that block others", self.spec.class.as_str());
        }
        pool_name(self.spec.class, &self.spec.plugins)
    }

    /// In the place of what was told before. A worker may say anything: only so much is kept.
    pub fn take_cache(&mut self, told: CacheNumbers) {
        let same = |c: &&mut CacheNumbers| c.plugin == told.plugin && c.name == told.name;
        if let Some(known) = self.process.caches.iter_mut().find(same) {
            *known = told;
        } else if self.process.caches.len() < MAX_CACHES
            && told.plugin.len() + told.name.len() < 256
        {
            self.process.caches.push(told);
        }
    }

    /// The map that its worker made before it said that it is ready.
    pub fn open_view(&mut self, runtime_dir: &Path) -> io::Result<()> {
        if self.process.view.is_none() && self.process.pid != 0 {
            let view = WorkerView::open(runtime_dir, self.spec.slot, self.process.pid)?;
            self.process.view = Some(view);
        }
        Ok(())
    }

    /// What shows what its process holds.
    pub fn open_gauge(&mut self) -> io::Result<()> {
        if self.process.held.gauge.is_none() && self.process.pid != 0 {
            self.process.held.gauge = Some(Gauge::of(Some(self.process.pid))?);
        }
        Ok(())
    }

    pub fn remove_map(&self, runtime_dir: &Path) {
        if self.process.pid != 0 {
            worker_map::remove(runtime_dir, self.spec.slot, self.process.pid);
        }
    }

    /// How many runs more it may be given now.
    pub fn credit(&self, cap: usize) -> usize {
        let cap = match self.group {
            Group::Solo(_) => 1,
            Group::Pool(_) => cap,
        };
        if self.state == SlotState::Ready {
            cap.saturating_sub(self.work.runs.len())
        } else {
            0
        }
    }

    pub fn record(&self) -> SlotRecord {
        SlotRecord {
            used: true,
            class: self.spec.class as u8,
            state: self.state as u8,
            pid: self.process.pid,
            generation: self.spec.generation,
            dispatched: self.accounts.dispatched,
            finished: self.accounts.finished,
            in_flight: self.work.runs.len() as u64,
            lost_worker_died: self.accounts.lost_worker_died,
            lost_replaced: self.accounts.lost_replaced,
            lost_cancelled: self.accounts.lost_cancelled,
            late: self.accounts.late,
            restarts: self.accounts.restarts,
            chunks_dispatched: self.accounts.chunks.dispatched,
            chunks_finished: self.accounts.chunks.finished,
            chunks_in_flight: self.work.chunks.len() as u64,
            chunks_lost: self.accounts.chunks.lost,
            chunks_own: self.accounts.chunks.own,
            jail: self.group.solo().is_some(),
            group: self.pool().map_or(SHARED, |p| p.group),
        }
    }
}

impl Link {
    pub fn new(fd: OwnedFd) -> Link {
        Link {
            fd,
            full: VecDeque::new(),
            open: Vec::new(),
            spare: Vec::new(),
            records: 0,
            defined: Vec::new(),
        }
    }

    /// Sends at once, with an fd, or alone.
    pub fn send_now(&mut self, message: &ToWorker, fd: Option<&OwnedFd>) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let fds: Vec<_> = fd.map(AsFd::as_fd).into_iter().collect();
        if unix_socket::send(&self.fd, &bytes, &fds)? {
            Ok(())
        } else {
            Err(io::Error::other("the link of a starting worker is full"))
        }
    }

    pub fn queue(&mut self, message: &ToWorker) {
        message.encode(&mut self.open);
        self.added();
    }

    /// With an fd, alone.
    pub fn queue_with(&mut self, message: &ToWorker, fd: Option<Arc<OwnedFd>>) {
        if fd.is_none() {
            return self.queue(message);
        }
        self.close();
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.full.push_back((bytes, fd));
    }

    /// A run, and before it the check's definition if this worker has not got it.
    pub fn queue_run(&mut self, run: &Run, define: impl FnOnce() -> Option<Define>) {
        self.define(run.check, run.epoch, define);
        run.encode(&mut self.open);
        self.added();
    }

    pub fn define(&mut self, check: u32, epoch: u32, define: impl FnOnce() -> Option<Define>) {
        let at = check as usize;
        if self.defined.len() <= at {
            self.defined.resize(at + 1, 0);
        }
        if self.defined[at] != epoch
            && let Some(define) = define()
        {
            if define.config.len() > MAX_BATCH / 2 {
                // It travels alone, as it may fill a message by itself.
                self.close();
                define.encode(&mut self.open);
                self.close();
            } else {
                define.encode(&mut self.open);
                self.added();
            }
            self.defined[at] = epoch;
        }
    }

    pub fn forget(&mut self, check: u32) {
        if let Some(epoch) = self.defined.get_mut(check as usize)
            && *epoch != 0
        {
            let epoch = std::mem::take(epoch);
            self.queue(&ToWorker::Forget { check, epoch });
        }
    }

    fn added(&mut self) {
        self.records += 1;
        if self.records >= MAX_BATCH_RECORDS || self.open.len() >= MAX_BATCH / 2 {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let next = self.spare.pop().unwrap_or_default();
            self.full
                .push_back((std::mem::replace(&mut self.open, next), None));
        }
        self.records = 0;
    }

    pub fn has_news(&self) -> bool {
        !self.open.is_empty() || !self.full.is_empty()
    }

    /// Sends what there is; the rest goes when the link is writable again. Err: the worker is gone, which
    /// its death will tell in its own time.
    pub fn flush(&mut self) -> io::Result<()> {
        self.close();
        while let Some((message, fd)) = self.full.front() {
            let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
            if !unix_socket::send(&self.fd, message, &fds)? {
                break;
            }
            if let Some((mut message, _)) = self.full.pop_front()
                && message.capacity() <= SPARE_BYTES
                && self.spare.len() < SPARES
            {
                message.clear();
                self.spare.push(message);
            }
        }
        Ok(())
    }
}
