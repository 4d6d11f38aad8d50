//! The reactor: one thread that talks to the manager, keeps every timer, steps tasks and hands calls that
//! may take long to the run lane.
//!
//! A turn is: wait, deal with I/O, then with timers. I/O comes first so that after a stall a target that
//! has answered is not called late.

use crate::active::{Active, CheckDef, InstanceState, JobOutcome, JobReport, Loaded, State};
use crate::exec::Children;
use crate::outbox::Outbox;
use crate::pool::{self, Pool};
use crate::services::{Posted, Shared};
use crate::side::{self, CHILD, OWN};
use crate::verdict::{self, End, Times};
use healthd_core::check::outcome::Status;
use healthd_core::check::wheel::Wheel;
use healthd_core::wire::frame::MAX_MESSAGE;
use healthd_core::wire::maps::{Entry, worker_header as h};
use healthd_core::wire::worker::{Ending, Run, ToManager, ToWorker};
use healthd_loader::{Cancel, Event, Results};
use healthd_scoreboard::worker_map::{Call, WorkerMap};
use healthd_sys::clock;
use healthd_sys::unix_socket::{self, Received};
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) const MS: u64 = 1_000_000;
/// A turn longer than this is a stall: deadlines that fell into it are judged only after I/O was looked at
/// again, and are moved by its length, once.
const STALL_NS: u64 = 50 * MS;
/// How often the beat moves when nothing happens.
const BEAT_NS: u64 = 1000 * MS;
/// Before its deadline a run-lane call is asked to give up: a tenth of its time, at most this long.
const CANCEL_AHEAD_NS: u64 = 100 * MS;
const MAX_STUCK: usize = 4;
const STUCK_NS: u64 = 30_000 * MS;

pub(crate) const TOKEN_LINK: u64 = 1;
pub(crate) const TOKEN_WAKE: u64 = 2;

/// What the wheel holds; the number is a run's key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Start(u64),
    Deadline(u64),
    /// Ask a run-lane call to give up; its deadline follows.
    Cancel(u64),
    Task(u64),
    /// This call was written off long ago: if it is still there the worker must go.
    Stuck(u64),
}

pub struct Reactor {
    pub(crate) map: &'static WorkerMap,
    /// This thread's line in the map.
    pub(crate) line: usize,
    pub(crate) wheel: Wheel<Timer>,
    pub(crate) outbox: Outbox,
    pub(crate) shared: &'static Shared,
    pub(crate) pool: Pool,
    pub(crate) checks: Vec<Option<CheckDef>>,
    pub(crate) plugins: Vec<Option<Loaded>>,
    /// Received, with their sealed copies, until `Start`.
    pub(crate) to_load: Vec<(u16, u32, String, String, OwnedFd)>,
    pub(crate) active: Slab<Active>,
    pub(crate) next_stamp: u32,
    /// Never cancelled: a step-lane task is dropped instead.
    pub(crate) never: Arc<Cancel>,
    /// Calls that were written off and have not come back.
    pub(crate) stuck: BTreeSet<u64>,
    pub(crate) written_off: u64,
    /// Plugins with room again, whose waiting runs are to be let in.
    pub(crate) freed: Vec<usize>,
    pub(crate) unwell_said: bool,
    pub(crate) draining: bool,
    /// Length of the stall just behind us; 0: none.
    pub(crate) stalled_ns: u64,
    pub(crate) started: u64,
    pub(crate) finished: u64,
}

/// Why the worker ends.
#[derive(Debug, PartialEq, Eq)]
pub enum EndOfWork {
    Drained,
    /// The manager is gone.
    Orphaned,
}

impl Reactor {
    pub fn new(
        map: &'static WorkerMap,
        line: usize,
        link: OwnedFd,
        shared: &'static Shared,
        pool: Pool,
    ) -> std::io::Result<Reactor> {
        side::add_own(
            link.as_fd(),
            TOKEN_LINK,
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET,
        )?;
        side::add_own(shared.wake_fd().as_fd(), TOKEN_WAKE, EpollFlags::EPOLLIN)?;
        Ok(Reactor {
            map,
            line,
            wheel: Wheel::new(clock::monotonic_ns() / MS),
            outbox: Outbox::new(link)?,
            shared,
            pool,
            checks: Vec::new(),
            plugins: Vec::new(),
            to_load: Vec::new(),
            active: Slab::new(),
            next_stamp: 1,
            never: Cancel::flag_only(),
            stuck: BTreeSet::new(),
            written_off: 0,
            freed: Vec::new(),
            unwell_said: false,
            draining: false,
            stalled_ns: 0,
            started: 0,
            finished: 0,
        })
    }

    pub fn run(&mut self) -> std::io::Result<EndOfWork> {
        let mut events = vec![EpollEvent::empty(); 256];
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut fired = Vec::new();
        loop {
            let before = clock::monotonic_ns();
            let wake_at = self.wake_at(before);
            // Rounded up: a timer may come up to 1 ms late, never a turn too early for nothing.
            let timeout = wake_at
                .saturating_sub(before)
                .div_ceil(MS)
                .min(BEAT_NS / MS) as u16;
            let n = match side::with(|s| s.epoll.wait(&mut events, EpollTimeout::from(timeout))) {
                Some(Ok(n)) => n,
                Some(Err(Errno::EINTR)) => 0,
                Some(Err(e)) => return Err(e.into()),
                None => return Err(std::io::Error::other("the reactor's side is in use")),
            };
            let turn = clock::monotonic_ns();
            // Slept past the wake-up: the machine or the process was stopped. That is a stall as well.
            let overslept = turn.saturating_sub(wake_at.max(before) + STALL_NS);
            self.map.set(h::BEAT, turn);
            for event in &events[..n] {
                if self.dispatch(event, &mut buffer)? {
                    return Ok(EndOfWork::Orphaned);
                }
            }
            let now = clock::monotonic_ns();
            if overslept > 0 {
                self.stalled_ns = self.stalled_ns.max(overslept);
            }
            self.wheel.advance(now / MS, &mut fired);
            for timer in fired.drain(..) {
                self.fire(timer, clock::monotonic_ns());
            }
            self.let_waiting_in();
            let end = clock::monotonic_ns();
            self.outbox.flush(end)?;
            self.publish(end);
            side::with(|s| s.children.collect_strays(end));
            self.stalled_ns = if end - turn > STALL_NS { end - turn } else { 0 };
            if self.draining
                && self.active.is_empty()
                && self.stuck.is_empty()
                && side::with(|s| s.children.len()) == Some(0)
            {
                self.outbox.say(&ToManager::Drained);
                self.outbox.flush(u64::MAX)?;
                if self.outbox.is_empty() {
                    return Ok(EndOfWork::Drained);
                }
            }
        }
    }

    fn wake_at(&self, now: u64) -> u64 {
        let timer = self.wheel.next_wake().map(|ms| ms.saturating_mul(MS));
        let grown = [self.pool.grow(), self.shared.resolvers.grow()];
        let again = grown.into_iter().flatten().min();
        let idle = now + again.map_or(BEAT_NS, |d| d.as_nanos() as u64);
        let strays = side::with(|s| s.children.strays_at()).flatten();
        [timer, self.outbox.flush_at(), strays]
            .into_iter()
            .flatten()
            .fold(idle, u64::min)
    }

    fn publish(&mut self, now: u64) {
        self.map.set(h::BEAT, now);
        self.map.set(h::STARTED, self.started);
        self.map.set(h::FINISHED, self.finished);
        self.map.set(h::IN_FLIGHT, self.active.len() as u64);
        self.map.set(h::STUCK, self.stuck.len() as u64);
        self.map.set(h::THREADS, 1 + self.pool.threads() as u64);
    }

    /// True: the manager has hung up.
    fn dispatch(&mut self, event: &EpollEvent, buffer: &mut [u8]) -> std::io::Result<bool> {
        let data = event.data();
        if data & OWN != 0 {
            return match data & !OWN {
                TOKEN_LINK => self.receive(buffer),
                _ => {
                    for news in self.shared.take() {
                        self.posted(news);
                    }
                    Ok(false)
                }
            };
        }
        let Some((owner, fd)) = side::with(|s| s.owner(data)).flatten() else {
            return Ok(false);
        };
        if owner & CHILD != 0 {
            side::with(|s| Children::ready(s, (owner & !CHILD) as usize, fd));
        } else {
            let ready = side::ready_mask(event.events());
            self.step(owner, &Event::Io { fd, ready });
        }
        Ok(false)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> std::io::Result<bool> {
        loop {
            // Only the messages before `Start` carry fds.
            let with_fds = self.plugins.is_empty();
            match unix_socket::receive(self.outbox.link(), buffer, with_fds)? {
                Received::Empty => return Ok(false),
                Received::Closed => return Ok(true),
                Received::Message(n, mut fds) => {
                    let mut rest = &buffer[..n];
                    while let Some(message) =
                        ToWorker::decode(&mut rest).map_err(std::io::Error::other)?
                    {
                        self.message(message, &mut fds);
                    }
                }
            }
        }
    }

    fn message(&mut self, message: ToWorker, fds: &mut Vec<OwnedFd>) {
        match message {
            ToWorker::Load {
                plugin,
                index,
                name,
                file,
            } => match fds.pop() {
                Some(fd) => self.to_load.push((plugin, index, name, file, fd)),
                None => {
                    let reason = "its copy did not arrive".into();
                    self.outbox.say(&ToManager::LoadFailed { plugin, reason });
                }
            },
            ToWorker::Start => {
                self.load_all();
                let threads = 1 + self.pool.threads() as u32;
                self.outbox.say(&ToManager::Ready { threads });
            }
            ToWorker::Define(define) => {
                let at = define.check as usize;
                if self.checks.len() <= at {
                    self.checks.resize_with(at + 1, || None);
                }
                self.checks[at] = Some(define.into());
            }
            ToWorker::Run(run) => self.accept(run),
            ToWorker::Cancel { run_id, attempt } => {
                let found = self
                    .active
                    .iter()
                    .find(|(_, a)| a.run.run_id == run_id && a.run.attempt == attempt);
                if let Some(key) = found.map(|(at, a)| key(at, a.stamp)) {
                    self.end_early(key, End::cancelled());
                }
            }
            ToWorker::Forget { check, epoch } => {
                if let Some(slot) = self.checks.get_mut(check as usize)
                    && slot.as_ref().is_some_and(|d| d.epoch == epoch)
                {
                    self.map
                        .enter(self.line, self.call(Entry::Destroy, u16::MAX, check, 0, 0));
                    self.checks[check as usize] = None;
                    healthd_sys::fork_guard::end_if_forked();
                    self.map.leave(self.line);
                }
            }
            ToWorker::Drain => self.draining = true,
        }
    }

    pub(crate) fn call(
        &self,
        entry: Entry,
        plugin: u16,
        check: u32,
        run_id: u64,
        attempt: u8,
    ) -> Call {
        Call {
            entry,
            plugin,
            check,
            run_id,
            attempt,
            since_ns: clock::monotonic_ns(),
        }
    }

    /// A run has arrived. It starts at its `start_ns`, which may lie a little ahead.
    fn accept(&mut self, run: Run) {
        let stamp = self.next_stamp;
        self.next_stamp = self.next_stamp.wrapping_add(1) & 0x3fff_ffff;
        let at = self.active.insert(Active {
            stamp,
            run,
            state: State::Waiting,
            timer: None,
            task_timer: None,
            started_ns: 0,
            cpu_ns: 0,
            extended: false,
            counted_in: None,
        });
        let key = key(at, stamp);
        let now = clock::monotonic_ns();
        if run.start_ns > now + MS {
            let timer = self.wheel.insert(run.start_ns / MS, Timer::Start(key));
            self.active[at].timer = Some(timer);
        } else {
            self.begin(key, now);
        }
    }

    fn fire(&mut self, timer: Timer, now: u64) {
        match timer {
            Timer::Start(key) => {
                if let Some(at) = self.find(key) {
                    self.active[at].timer = None;
                    self.begin(key, now);
                }
            }
            Timer::Task(key) => {
                if let Some(at) = self.find(key) {
                    self.active[at].task_timer = None;
                    self.step(key, &Event::Timer);
                }
            }
            Timer::Cancel(key) => self.ask_to_give_up(key, now),
            Timer::Deadline(key) => self.deadline(key, now),
            Timer::Stuck(call) => {
                if self.stuck.contains(&call) {
                    self.unwell("a written-off call has not come back for 30 s");
                }
            }
        }
    }

    pub(crate) fn find(&self, key: u64) -> Option<usize> {
        let at = (key & 0xffff_ffff) as usize;
        self.active
            .get(at)
            .filter(|a| u64::from(a.stamp) == key >> 32)
            .map(|_| at)
    }

    /// Can this run begin? Else how it ends.
    fn known(&self, run: &Run) -> Result<(), End> {
        let def = self.def(run.check).filter(|d| d.epoch == run.epoch);
        // A reload has changed the check since the run was sent: this definition is not wanted any more.
        let def = def.ok_or_else(End::cancelled)?;
        let plugin = self.plugins.get(usize::from(def.plugin));
        match plugin.and_then(Option::as_ref) {
            Some(_) => Ok(()),
            None => Err(End::own(
                "dispatch",
                "its plugin is not loaded in this worker",
            )),
        }
    }

    /// Its time has come: get an instance, a place in its plugin's limit, and go.
    pub(crate) fn begin(&mut self, key: u64, now: u64) {
        let Some(at) = self.find(key) else { return };
        let run = self.active[at].run;
        if let Err(end) = self.known(&run) {
            self.finish(key, end, Results::default());
            return;
        }
        self.started += 1;
        let def = self.checks[run.check as usize].as_mut().expect("known");
        let (timeout, plugin) = (def.timeout_ns, def.plugin);
        let is_step = self.plugins[usize::from(plugin)]
            .as_ref()
            .is_some_and(|l| l.plugin.descriptor.workload.is_step());
        let timer = if is_step {
            self.wheel
                .insert((now + timeout).div_ceil(MS), Timer::Deadline(key))
        } else {
            let at_ms = (now + timeout - cancel_ahead(timeout)).div_ceil(MS);
            self.wheel.insert(at_ms, Timer::Cancel(key))
        };
        self.active[at].timer = Some(timer);
        let def = self.checks[run.check as usize].as_mut().expect("known");
        match &mut def.instance {
            InstanceState::Creating(waiting) => waiting.push(key),
            InstanceState::None => {
                def.instance = InstanceState::Creating(Vec::new());
                self.create(key);
            }
            InstanceState::Ready(_) => {
                let loaded = self.plugins[usize::from(plugin)].as_mut().expect("known");
                if loaded.running >= loaded.limit() {
                    loaded.waiting.push_back(key);
                } else {
                    loaded.running += 1;
                    self.active[at].counted_in = Some(plugin);
                    self.launch(key);
                }
            }
        }
    }

    /// The instance is there and the plugin has room.
    fn launch(&mut self, key: u64) {
        let Some(at) = self.find(key) else { return };
        let check = self.active[at].run.check;
        let def = self.checks[check as usize]
            .as_ref()
            .expect("checked by begin");
        let InstanceState::Ready(instance) = &def.instance else {
            return;
        };
        let instance = instance.clone();
        if instance.plugin().descriptor.workload.is_step() {
            self.start_step(key, instance);
        } else {
            self.start_run(key, instance);
        }
    }

    /// A thread has come back from a call.
    fn posted(&mut self, news: Posted) {
        match news {
            Posted::Task { task, event } => self.step(task, &event),
            Posted::Job(report) => self.job_done(report),
        }
    }

    fn job_done(&mut self, report: JobReport) {
        let created = matches!(report.outcome, JobOutcome::Created(_));
        if let Some(instance) = report.instance {
            self.destroy_if_last(instance);
        }
        let Some(at) = self.find(report.key) else {
            // Its run ended without it; what it says now is ignored, but its thread is back.
            if self
                .stuck
                .remove(&report.info.written_off.load(Ordering::Relaxed))
            {
                self.pool.stuck(false);
            }
            if let JobOutcome::Created(Ok(instance)) = report.outcome {
                self.destroy_if_last(instance);
            }
            return;
        };
        self.active[at].cpu_ns += report.cpu_ns;
        let cancelled = report.context.cancel().is_cancelled();
        let mut said = report.context.take_results();
        let run = self.active[at].run;
        let plugin_name = self.plugin_name(run.check);
        match report.outcome {
            JobOutcome::Created(Ok(instance)) => {
                let waiting = match self
                    .checks
                    .get_mut(report.check as usize)
                    .and_then(Option::as_mut)
                {
                    Some(def) if def.epoch == report.epoch => {
                        match std::mem::replace(&mut def.instance, InstanceState::Ready(instance)) {
                            InstanceState::Creating(waiting) => waiting,
                            _ => Vec::new(),
                        }
                    }
                    _ => {
                        self.destroy_if_last(instance);
                        Vec::new()
                    }
                };
                for key in std::iter::once(report.key).chain(waiting) {
                    self.restart(key);
                }
            }
            outcome => {
                let ret = match outcome {
                    JobOutcome::Created(Err(ret)) | JobOutcome::Ran(ret) => ret,
                    JobOutcome::Created(Ok(_)) | JobOutcome::NotBegun => healthd_abi::E_CANCELLED,
                };
                let call = if created { "create" } else { "run" };
                let end = match self.def(run.check) {
                    Some(def) => {
                        End::returned(def, &plugin_name, call, ret, cancelled, &said.message)
                    }
                    None => End::cancelled(),
                };
                let end = if created && end.ending == Ending::Returned {
                    let why = format!("plugin `{plugin_name}` returned {ret} from create");
                    End {
                        status: Status::Unknown,
                        ending: Ending::PluginError,
                        why,
                    }
                } else {
                    end
                };
                let times = Times {
                    started_ns: report.started_ns,
                    finished_ns: report.finished_ns,
                    cpu_ns: report.cpu_ns,
                };
                if created {
                    let waiting = self.drop_instance(run.check, report.epoch);
                    for key in waiting {
                        let end = End {
                            why: end.why.clone(),
                            ..end
                        };
                        let said = Results::with_message(&said.message);
                        self.finish(key, end, said);
                    }
                } else if end.ending == Ending::Panic {
                    self.drop_instance(run.check, report.epoch);
                }
                said.note_cut();
                self.finish_at(report.key, end, said, times);
            }
        }
    }

    /// After its instance was made: the deadline counts from here, and the plugin's limit holds.
    fn restart(&mut self, key: u64) {
        if let Some(at) = self.find(key) {
            if let Some(timer) = self.active[at].timer.take() {
                self.wheel.cancel(timer);
            }
            self.active[at].state = State::Waiting;
            self.started -= 1;
            self.begin(key, clock::monotonic_ns());
        }
    }

    pub(crate) fn def(&self, check: u32) -> Option<&CheckDef> {
        self.checks.get(check as usize).and_then(Option::as_ref)
    }

    pub(crate) fn plugin_name(&self, check: u32) -> String {
        let plugin = self.def(check).map(|d| usize::from(d.plugin));
        let loaded = plugin
            .and_then(|p| self.plugins.get(p))
            .and_then(Option::as_ref);
        loaded.map_or_else(|| "?".to_owned(), |l| l.name().to_owned())
    }

    /// Gives up an instance (it is poisoned, or a stuck thread owns it); the next run gets a new one.
    /// Returns the runs that waited for it to be made.
    pub(crate) fn drop_instance(&mut self, check: u32, epoch: u32) -> Vec<u64> {
        let Some(def) = self.checks.get_mut(check as usize).and_then(Option::as_mut) else {
            return Vec::new();
        };
        if def.epoch != epoch {
            return Vec::new();
        }
        match std::mem::replace(&mut def.instance, InstanceState::None) {
            InstanceState::Creating(waiting) => waiting,
            InstanceState::Ready(instance) => {
                self.destroy_if_last(instance);
                Vec::new()
            }
            InstanceState::None => Vec::new(),
        }
    }

    fn destroy_if_last(&mut self, instance: Arc<healthd_loader::Instance>) {
        self.map.enter(
            self.line,
            self.call(Entry::Destroy, u16::MAX, u32::MAX, 0, 0),
        );
        drop(instance);
        healthd_sys::fork_guard::end_if_forked();
        self.map.leave(self.line);
    }

    /// A little before the deadline: a run-lane call is asked to come back, and may still do so in time.
    fn ask_to_give_up(&mut self, key: u64, now: u64) {
        let Some(at) = self.find(key) else { return };
        let check = self.active[at].run.check;
        let timeout = self.def(check).map_or(0, |d| d.timeout_ns);
        let ahead = cancel_ahead(timeout);
        let (when, timer) = match &self.active[at].state {
            State::Job(info) => match info.started_ns.load(Ordering::Acquire) {
                0 => (now + ahead, Timer::Deadline(key)),
                // It waited for a thread first; its own time counts from its start.
                started if now + ahead + MS < started + timeout => {
                    (started + timeout - ahead, Timer::Cancel(key))
                }
                started => {
                    info.cancel.cancel();
                    (started + timeout, Timer::Deadline(key))
                }
            },
            _ => (now + ahead, Timer::Deadline(key)),
        };
        let timer = self.wheel.insert(when.div_ceil(MS), timer);
        self.active[at].timer = Some(timer);
    }

    fn deadline(&mut self, key: u64, now: u64) {
        let Some(at) = self.find(key) else { return };
        self.active[at].timer = None;
        let run = self.active[at].run;
        let Some(def) = self.def(run.check) else {
            self.end_early(key, End::cancelled());
            return;
        };
        let timeout = def.timeout_ns;
        if self.stalled_ns > 0 && !self.active[at].extended {
            self.active[at].extended = true;
            let timer = self
                .wheel
                .insert((now + self.stalled_ns).div_ceil(MS), Timer::Deadline(key));
            self.active[at].timer = Some(timer);
            return;
        }
        match &self.active[at].state {
            State::Task(task) => {
                let phase = task
                    .context()
                    .with_results(|r| r.last_phase().map(str::to_owned));
                let end = End::timeout(def, phase.as_deref());
                self.end_early(key, end);
            }
            State::Job(info) => {
                let started = info.started_ns.load(Ordering::Acquire);
                if started == 0 {
                    let why = format!("no free thread within {}", verdict::seconds(timeout));
                    self.end_early(key, End::own("overload", &why));
                } else if now < started + timeout {
                    // It waited for a thread first; its own time counts from its start.
                    let at_ms = (started + timeout - cancel_ahead(timeout)).div_ceil(MS);
                    let timer = self.wheel.insert(at_ms, Timer::Cancel(key));
                    self.active[at].timer = Some(timer);
                } else {
                    let call = if info.is_create { "create" } else { "run" };
                    let end = End::overrun(def, &self.plugin_name(run.check), call);
                    self.write_off(key, end);
                }
            }
            State::Waiting | State::Stepping => {
                let why = format!(
                    "plugin `{}` had no room for it within {}",
                    self.plugin_name(run.check),
                    verdict::seconds(timeout)
                );
                self.end_early(key, End::own("overload", &why));
            }
        }
    }

    /// A run-lane call is not back at its deadline, or its run was taken back: report that now. Thread,
    /// context and instance are its own until it returns.
    fn write_off(&mut self, key: u64, end: End) {
        let Some(at) = self.find(key) else { return };
        let run = self.active[at].run;
        let State::Job(info) = std::mem::replace(&mut self.active[at].state, State::Waiting) else {
            return;
        };
        info.cancel.cancel();
        self.written_off += 1;
        info.written_off.store(self.written_off, Ordering::Relaxed);
        self.stuck.insert(self.written_off);
        self.pool.stuck(true);
        let line = info.line.load(Ordering::Relaxed);
        if line > 0 {
            self.map.stuck(line as usize - 1, true);
        }
        let _ = healthd_sys::limits::nice_thread(info.tid.load(Ordering::Relaxed), 19);
        for waiting in self.drop_instance(run.check, run.epoch) {
            self.finish(
                waiting,
                End {
                    why: end.why.clone(),
                    ..end
                },
                Results::default(),
            );
        }
        log::warn!(
            "call written off  check={} why=\"{}\" stuck_threads={}",
            self.check_name(run.check),
            end.why,
            self.stuck.len()
        );
        let now = clock::monotonic_ns();
        let started_ns = info.started_ns.load(Ordering::Relaxed);
        self.finish_at(
            key,
            end,
            Results::default(),
            Times {
                started_ns,
                finished_ns: now,
                cpu_ns: 0,
            },
        );
        self.wheel
            .insert((now + STUCK_NS) / MS, Timer::Stuck(self.written_off));
        if self.stuck.len() >= MAX_STUCK {
            let reason = format!("{} threads are stuck in plugin calls", self.stuck.len());
            self.unwell(&reason);
        }
    }

    pub(crate) fn check_name(&self, check: u32) -> &str {
        self.def(check).map_or("?", |d| &d.name)
    }

    fn unwell(&mut self, reason: &str) {
        if !self.unwell_said {
            self.unwell_said = true;
            self.outbox.say(&ToManager::Unwell {
                reason: reason.to_owned(),
            });
        }
    }

    /// Ends a run that its plugin has not ended.
    fn end_early(&mut self, key: u64, end: End) {
        let Some(at) = self.find(key) else { return };
        match std::mem::replace(&mut self.active[at].state, State::Waiting) {
            State::Task(task) => self.drop_task(key, task, end),
            State::Job(info) if info.started_ns.load(Ordering::Acquire) == 0 => {
                // Not begun: the thread that takes it finds it cancelled.
                info.cancel.cancel();
                let run = self.active[at].run;
                if info.is_create {
                    for waiting in self.drop_instance(run.check, run.epoch) {
                        self.finish(
                            waiting,
                            End {
                                why: end.why.clone(),
                                ..end
                            },
                            Results::default(),
                        );
                    }
                }
                self.finish(key, end, Results::default());
            }
            State::Job(info) => {
                self.active[at].state = State::Job(info);
                self.write_off(key, end);
            }
            state @ (State::Waiting | State::Stepping) => {
                self.active[at].state = state;
                self.finish(key, end, Results::default());
            }
        }
    }

    pub(crate) fn finish(&mut self, key: u64, end: End, said: Results) {
        let now = clock::monotonic_ns();
        let Some(at) = self.find(key) else { return };
        let started = self.active[at].started_ns;
        let started_ns = if started == 0 { now } else { started };
        let cpu_ns = self.active[at].cpu_ns;
        self.finish_at(
            key,
            end,
            said,
            Times {
                started_ns,
                finished_ns: now,
                cpu_ns,
            },
        );
    }

    pub(crate) fn finish_at(&mut self, key: u64, end: End, said: Results, times: Times) {
        let Some(at) = self.find(key) else { return };
        let active = self.active.remove(at);
        for timer in [active.timer, active.task_timer].into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        self.finished += 1;
        let news = end.status as u8 != active.run.last_status
            || active.run.urgent
            || self.draining
            || !matches!(end.ending, Ending::Returned | Ending::Timeout);
        let batch = self.def(active.run.check).map_or(0, |d| d.batch_ns);
        let leave_by = if news { 0 } else { times.finished_ns + batch };
        let finished = verdict::finished(&active, end, said, times);
        self.outbox.result(&finished, leave_by);
        if let Some(plugin) = active.counted_in
            && let Some(Some(loaded)) = self.plugins.get_mut(usize::from(plugin))
        {
            loaded.running = loaded.running.saturating_sub(1);
            if !loaded.waiting.is_empty() {
                self.freed.push(usize::from(plugin));
            }
        }
    }

    /// Runs that waited for room in their plugin go on. Not from where the room came up: a run may end within
    /// its first call, and ten thousand that wait would end one inside the other.
    fn let_waiting_in(&mut self) {
        while let Some(plugin) = self.freed.pop() {
            while let Some(key) = self
                .plugins
                .get_mut(plugin)
                .and_then(Option::as_mut)
                .filter(|l| l.running < l.limit())
                .and_then(|l| l.waiting.pop_front())
            {
                if self.find(key).is_some() {
                    self.restart(key);
                }
            }
        }
    }

    fn load_all(&mut self) {
        let list = std::mem::take(&mut self.to_load);
        crate::role::load_plugins(self, list);
        pool::set_current_line(Some(self.line));
    }
}

fn cancel_ahead(timeout_ns: u64) -> u64 {
    (timeout_ns / 10).min(CANCEL_AHEAD_NS)
}

/// A run's key: its place, and a stamp that tells it from an earlier run in the same place.
pub(crate) fn key(at: usize, stamp: u32) -> u64 {
    u64::from(stamp) << 32 | at as u64
}
