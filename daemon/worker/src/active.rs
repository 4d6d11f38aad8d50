//! The books of a worker: the checks it knows, the runs it has, and the plugins behind them.

use crate::bill::Bill;
use crate::contract::Breach;
use crate::fanout::{ChunkJob, Worked};
use crate::give_way::GaveWay;
use crate::verdict::End;
use healthd_core::check::outcome::Status;
use healthd_core::check::wheel::Key;
use healthd_core::starvation::Suspicion;
use healthd_core::wire::worker::{Define, Growth, Run};
use healthd_loader::{Cancel, Context, Instance, Message, Plugin, Task};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard};

/// A check, as the manager defined it.
pub struct CheckDef {
    pub epoch: u32,
    pub plugin: u16,
    pub timeout_ns: u64,
    pub timeout_status: Status,
    pub batch_ns: u64,
    pub name: Arc<str>,
    pub config: Arc<str>,
    pub instance: InstanceState,
}

impl From<Define> for CheckDef {
    fn from(d: Define) -> CheckDef {
        CheckDef {
            epoch: d.epoch,
            plugin: d.plugin,
            timeout_ns: d.timeout_ns,
            timeout_status: d.timeout_status,
            batch_ns: d.batch_ns,
            name: d.name.into(),
            config: d.config.into(),
            instance: InstanceState::None,
        }
    }
}

pub enum InstanceState {
    None,
    /// `create` is running on a pool thread for the first of these runs; the others wait for it.
    Creating(Vec<u64>),
    Ready(Arc<Instance>),
}

/// A plugin in this worker.
pub struct Loaded {
    pub plugin: &'static Plugin,
    pub running: u32,
    /// Runs that wait because the plugin wants no more at once.
    pub waiting: VecDeque<u64>,
}

impl Loaded {
    pub fn new(plugin: &'static Plugin) -> Loaded {
        Loaded {
            plugin,
            running: 0,
            waiting: VecDeque::new(),
        }
    }

    pub fn limit(&self) -> u32 {
        let d = &self.plugin.descriptor;
        match d.max_inflight {
            _ if d.flags & healthd_abi::F_PLUGIN_SERIAL != 0 => 1,
            0 => u32::MAX,
            n => n,
        }
    }

    pub fn name(&self) -> &'static str {
        &self.plugin.descriptor.name
    }
}

/// A run that was received and is not finished.
pub struct Active {
    pub stamp: u32,
    pub run: Run,
    pub state: State,
    /// Its start, or its deadline.
    pub timer: Option<Key>,
    /// What the task itself asked for.
    pub task_timer: Option<Key>,
    pub gave_way: GaveWay,
    /// When the plugin was first called for it; 0: not yet.
    pub started_ns: u64,
    pub bill: Bill,
    /// Its deadline was moved once because the reactor had stalled.
    pub extended: bool,
    /// Its call was asked to give up, and is watched from then on.
    pub suspicion: Option<Suspicion>,
    /// So much of what its plugin had given back its deadline was moved by.
    pub given_ns: u64,
    /// A name was not looked up, and that was not the target's fault.
    pub no_resolver: bool,
    /// The plugin in whose `running` it counts.
    pub counted_in: Option<u16>,
    /// What it delivers.
    pub notice: Option<Arc<Message>>,
    /// It is a chunk of another worker's run.
    pub chunk: Option<ChunkJob>,
    /// What one of its steps left behind, or a call beside it.
    pub breach: Option<Breach>,
    /// How many its steps have made.
    pub threads: u32,
    /// Its time is up, and its program is being ended: how it ends, whatever its plugin returns.
    pub ending: Option<End>,
}

impl Active {
    pub fn new(stamp: u32, run: Run) -> Active {
        Active {
            stamp,
            run,
            state: State::Waiting,
            timer: None,
            task_timer: None,
            gave_way: GaveWay::default(),
            started_ns: 0,
            bill: Bill::default(),
            extended: false,
            suspicion: None,
            given_ns: 0,
            no_resolver: false,
            counted_in: None,
            notice: None,
            chunk: None,
            breach: None,
            threads: 0,
            ending: None,
        }
    }
}

pub enum State {
    /// Its start lies ahead, or its plugin wants no more at once, or its instance is being made.
    Waiting,
    /// On the run lane, or its `create` is.
    Job(Arc<JobInfo>),
    Task(Task),
    /// Taken out for the length of a call.
    Stepping,
}

/// What the reactor must know of a call on a pool thread.
pub struct JobInfo {
    pub cancel: Arc<Cancel>,
    /// CLOCK_MONOTONIC when a thread took it; 0: none yet.
    pub started_ns: AtomicU64,
    /// The thread that is in the call. Whoever does something to it holds the lock, so that it is still there.
    thread: Mutex<Option<Thread>>,
    /// CPU time of that thread then.
    pub cpu_started_ns: AtomicU64,
    /// What was billed of it when it was written off.
    pub cpu_billed_ns: AtomicU64,
    /// 1 + the thread's line; 0: none.
    pub line: AtomicU32,
    pub is_create: bool,
    /// Its run was reported without it, and its thread counts as stuck until it comes back: the number of the
    /// write-off. 0: it was not.
    pub written_off: AtomicU64,
    /// A chunk that it ran itself panicked: the instance is not used again.
    pub poisoned: AtomicBool,
    /// A chunk of it died twice with its worker: its result is that, whatever it says.
    pub lost: Mutex<Option<String>>,
}

impl JobInfo {
    pub fn new(is_create: bool) -> Arc<JobInfo> {
        Arc::new(JobInfo::with(Cancel::new(), is_create))
    }

    fn with(cancel: Arc<Cancel>, is_create: bool) -> JobInfo {
        JobInfo {
            cancel,
            started_ns: AtomicU64::new(0),
            thread: Mutex::default(),
            cpu_started_ns: AtomicU64::new(0),
            cpu_billed_ns: AtomicU64::new(0),
            line: AtomicU32::new(0),
            is_create,
            written_off: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            lost: Mutex::default(),
        }
    }

    /// Its call is over. Some: nobody else has it, and it may serve another.
    pub fn over(mut self: Arc<Self>) -> Option<Arc<Self>> {
        Cancel::over(&mut Arc::get_mut(&mut self)?.cancel)?;
        Some(self)
    }

    /// In the place of one that is `over`.
    pub fn again(mut self: Arc<Self>, is_create: bool) -> Option<Arc<Self>> {
        let info = Arc::get_mut(&mut self)?;
        Cancel::again(&mut info.cancel)?;
        *info = JobInfo::with(info.cancel.clone(), is_create);
        Some(self)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub tid: u32,
    /// It got the lowest priority, which nobody may be allowed to take back.
    pub niced: bool,
}

impl JobInfo {
    pub fn begins(&self, tid: u32) {
        *self.thread() = Some(Thread { tid, niced: false });
    }

    /// It has come back. Some: the thread as it is now.
    pub fn ends(&self) -> Option<Thread> {
        self.thread().take()
    }

    pub fn thread(&self) -> MutexGuard<'_, Option<Thread>> {
        self.thread.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn take_lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    pub fn chunk_lost(&self, why: String) {
        let mut lost = self.lost.lock().unwrap_or_else(|e| e.into_inner());
        lost.get_or_insert(why);
    }
}

/// What a pool thread says when a call has come back.
pub struct JobReport {
    pub key: u64,
    pub check: u32,
    pub epoch: u32,
    pub started_ns: u64,
    pub finished_ns: u64,
    pub cpu_ns: u64,
    pub grew: Growth,
    pub context: Box<Context>,
    pub info: Arc<JobInfo>,
    pub instance: Option<Arc<Instance>>,
    /// What the call left behind, or one beside it.
    pub breach: Option<Breach>,
    pub outcome: JobOutcome,
}

pub enum JobOutcome {
    Created(Result<Arc<Instance>, i32>),
    Ran(i32),
    Chunk(Worked),
    /// Its run had ended before a thread took it.
    NotBegun,
}
