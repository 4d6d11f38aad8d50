//! The reactor: one thread that talks to the manager, keeps every timer, steps tasks and hands calls that
//! may take long to the run lane.
//!
//! A turn is: wait, deal with I/O, then with timers. I/O comes first so that after a stall a target that
//! has answered is not called late.

use crate::active::{Active, CheckDef, InstanceState, JobInfo, Loaded};
use crate::bill::{self, Turn};
use crate::contract::Steps;
use crate::deadline::STUCK_NS;
use crate::deadline::cancel_ahead;
use crate::exec::Children;
use crate::fanout::Desk;
use crate::give_way;
use crate::load::{Loading, ToLoad};
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::pool::Pool;
use crate::run_lane::JobSpec;
use crate::services::{Posted, Shared};
use crate::side::{self, CHILD, OWN};
use crate::verdict::{self, End, Times};
use crate::waited::Waited;
use healthd_core::check::fault::Fault;
use healthd_core::check::wheel::Wheel;
use healthd_core::text::field;
use healthd_core::wire::frame::MAX_MESSAGE;
use healthd_core::wire::maps::worker_header as h;
use healthd_core::wire::sandbox::Layers;
use healthd_core::wire::worker::{Ending, Growth, Run, ToManager};
use healthd_loader::{Event, Instance, Results, Spare};
use healthd_scoreboard::worker_map::WorkerMap;
use healthd_sys::clock;
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

pub(crate) const MS: u64 = 1_000_000;
/// A turn longer than this is a stall: deadlines that fell into it are judged only after I/O was looked at
/// again, and are moved by its length, once.
const STALL_NS: u64 = 50 * MS;
/// So many of what was posted leave their room to others.
const NEWS_KEPT: usize = 256;
/// How often the beat moves when nothing happens.
const BEAT_NS: u64 = 1000 * MS;
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
    pub(crate) pool: Pool<JobSpec>,
    /// Of calls that are over.
    pub(crate) jobs: Vec<Arc<JobInfo>>,
    pub(crate) checks: Vec<Option<CheckDef>>,
    pub(crate) plugins: Vec<Option<Loaded>>,
    /// Received, with their sealed copies, until `Start`.
    pub(crate) to_load: Vec<ToLoad>,
    pub(crate) loading: Loading,
    /// What it has given up.
    pub(crate) layers: Layers,
    pub(crate) active: Slab<Active>,
    pub(crate) next_stamp: u32,
    /// Messages whose runs are to come.
    pub(crate) notices: Vec<crate::notice::Waiting>,
    /// Of runs that are over.
    pub(crate) spare: Spare,
    /// Empty, with the room of what was posted before.
    news: Vec<Posted>,
    /// Calls that were written off and have not come back.
    pub(crate) stuck: BTreeSet<u64>,
    pub(crate) written_off: u64,
    /// Tasks whose peers never pause.
    pub(crate) gave_way: give_way::Queue,
    /// Plugins with room again, whose waiting runs are to be let in.
    pub(crate) freed: Vec<usize>,
    /// Fan-outs of this worker's runs.
    pub(crate) desk: Desk,
    /// Chunks of other workers' runs that wait for the thread.
    pub(crate) chunks: VecDeque<u64>,
    /// Messages may carry fds also after the start: chunks and what is delivered do.
    pub(crate) takes_fds: bool,
    pub(crate) unwell_said: bool,
    pub(crate) draining: bool,
    /// Length of the stall just behind us; 0: none.
    pub(crate) stalled_ns: u64,
    pub(crate) started: u64,
    pub(crate) finished: u64,
    /// When plugins' caches are looked at next.
    pub(crate) caches_at: u64,
    pub(crate) turn: Turn,
    pub(crate) steps: Steps,
    pub(crate) waited: Waited,
    /// Which programs may start.
    pub(crate) pace: Pace,
    /// Ended runs with a child that was killed and is not collected yet: task, check, epoch.
    pub(crate) killed: Vec<(u64, u32, u32)>,
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
        pool: Pool<JobSpec>,
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
            jobs: Vec::new(),
            checks: Vec::new(),
            plugins: Vec::new(),
            to_load: Vec::new(),
            loading: Loading::Named,
            layers: Layers::default(),
            active: Slab::new(),
            next_stamp: 1,
            notices: Vec::new(),
            spare: Spare::default(),
            news: Vec::new(),
            stuck: BTreeSet::new(),
            written_off: 0,
            gave_way: give_way::Queue::default(),
            freed: Vec::new(),
            desk: Desk::default(),
            chunks: VecDeque::new(),
            takes_fds: false,
            unwell_said: false,
            draining: false,
            stalled_ns: 0,
            started: 0,
            finished: 0,
            caches_at: 0,
            turn: Turn::default(),
            steps: Steps::default(),
            waited: Waited::default(),
            pace: Pace::default(),
            killed: Vec::new(),
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
                None => return Err(std::io::Error::other("the event loop's state is in use")),
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
            self.let_chunks_in();
            self.let_programs_start(clock::monotonic_ns());
            self.tell_names();
            self.let_go_on();
            let end = clock::monotonic_ns();
            let a_second = end >= self.caches_at;
            if a_second {
                self.caches_at = crate::caches::tell(&mut self.outbox, end);
                self.waited.look();
            }
            if let Some(plugin) = self.shared.destroyer.hangs(end, STUCK_NS) {
                let bound = STUCK_NS / (1000 * MS);
                self.unwell(&format!(
                    "destroy of plugin `{plugin}` has not come back for {bound} s"
                ));
            }
            self.watch_steps();
            if a_second && let Some(why) = self.steps.all_back() {
                self.unwell(&why);
            }
            self.settle(end - turn);
            self.outbox.flush(end)?;
            self.publish(end);
            side::with(|s| Children::turn(s, end));
            self.stalled_ns = if end - turn > STALL_NS { end - turn } else { 0 };
            if self.draining
                && self.loading != Loading::UnderWay
                && self.active.is_empty()
                && self.stuck.is_empty()
                && side::with(|s| s.children.len()) == Some(0)
                && self.all_destroyed()
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
        if !self.gave_way.is_empty() || side::with(|s| !s.told.is_empty()) == Some(true) {
            return now;
        }
        let timer = self.wheel.next_wake().map(|ms| ms.saturating_mul(MS));
        let grown = [self.pool.grow(), self.shared.resolvers.grow()];
        let again = grown.into_iter().flatten().min();
        let idle = now + again.map_or(BEAT_NS, |d| d.as_nanos() as u64);
        let children = side::with(|s| s.children.wake_at()).flatten();
        [
            timer,
            self.outbox.flush_at(),
            children,
            self.pace.wake_at(now),
        ]
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
                    self.hear();
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
            let kept = self
                .find(owner)
                .is_some_and(|at| self.active[at].gave_way.keeps(fd, ready));
            if !kept {
                self.step(owner, &Event::Io { fd, ready });
            }
        }
        Ok(false)
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
    pub(crate) fn known(&self, run: &Run) -> Result<(), End> {
        let def = self.def(run.check).filter(|d| d.epoch == run.epoch);
        // A reload has changed the check since the run was sent: this definition is not wanted any more.
        let def = def.ok_or_else(End::cancelled)?;
        let plugin = self.plugins.get(usize::from(def.plugin));
        match plugin.and_then(Option::as_ref) {
            Some(_) => Ok(()),
            None => Err(End::own(
                Fault::Dispatch,
                "its plugin is not loaded in this worker",
            )),
        }
    }

    /// Its time has come: get an instance, a place in its plugin's limit, and go.
    pub(crate) fn begin(&mut self, key: u64, now: u64) {
        if !self.waits_for_processor(key, now) {
            self.begin_now(key, now);
        }
    }

    pub(crate) fn begin_now(&mut self, key: u64, now: u64) {
        let Some(at) = self.find(key) else { return };
        let run = self.active[at].run;
        let unwanted = self.active[at].chunk.as_ref().is_some_and(|c| c.cancelled);
        let known = match unwanted {
            true => Err(End::cancelled()),
            false => self.known(&run),
        };
        if let Err(end) = known {
            self.finish(key, end, Results::default());
            return;
        }
        self.started += 1;
        let def = self.checks[run.check as usize].as_mut().expect("known");
        let plugin = def.plugin;
        let is_step = self.plugins[usize::from(plugin)]
            .as_ref()
            .is_some_and(|l| l.plugin.descriptor.workload.is_step());
        let must_end = self.must_end(at, now);
        let timer = if is_step {
            self.wheel
                .insert(must_end.div_ceil(MS), Timer::Deadline(key))
        } else {
            let ahead = cancel_ahead(must_end.saturating_sub(now));
            let at_ms = (must_end - ahead).div_ceil(MS);
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
    pub(crate) fn launch(&mut self, key: u64) {
        let Some(at) = self.find(key) else { return };
        let Some(instance) = self.ready_instance(self.active[at].run.check) else {
            return;
        };
        if instance.plugin().descriptor.workload.is_step() {
            self.start_step(key, instance);
        } else {
            self.start_run(key, instance);
        }
    }

    /// All that other threads have posted.
    pub(crate) fn hear(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        self.shared.take(&mut news);
        news.drain(..).for_each(|news| self.posted(news));
        news.shrink_to(NEWS_KEPT);
        self.news = news;
    }

    /// Names whose addresses were at hand.
    pub(crate) fn tell_names(&mut self) {
        side::each(|s| &mut s.told, |told| self.resolved(&told));
    }

    /// A thread has come back from a call.
    pub(crate) fn posted(&mut self, news: Posted) {
        match news {
            Posted::Task { task, event } => self.step(task, &event),
            Posted::Resolved(told) => self.resolved(&told),
            Posted::Loaded(outcomes) => self.loaded(outcomes),
            Posted::Job(report) => self.job_done(report),
            Posted::Say(message) => self.outbox.say(&message),
            Posted::Fan(news) => self.fan_news(news),
            Posted::Left {
                plugin,
                call,
                breach,
            } => self.tell_left(plugin, &format!("call={call}"), &breach),
            Posted::LivesOn {
                task,
                pid,
                forbidden,
            } => {
                if let Some(at) = self.find(task) {
                    let run = self.active[at].run;
                    log::warn!(
                        "a program does not end  check={} pid={pid} why=\"{}\"",
                        field(self.check_name(run.check)),
                        crate::exec::why_it_lives_on(forbidden)
                    );
                    self.outbox.say(&ToManager::ChildLivesOn {
                        run_id: run.run_id,
                        pid,
                        forbidden,
                    });
                }
            }
            Posted::Killed { task, cpu_ns } => {
                if let Some(at) = self.killed.iter().position(|(t, ..)| *t == task) {
                    let (_, check, epoch) = self.killed.swap_remove(at);
                    bill::late(&mut self.outbox, (check, epoch), cpu_ns, Growth::default());
                }
            }
        }
    }

    pub(crate) fn ready_instance(&self, check: u32) -> Option<Arc<Instance>> {
        match &self.def(check)?.instance {
            InstanceState::Ready(instance) => Some(instance.clone()),
            _ => None,
        }
    }

    pub(crate) fn def(&self, check: u32) -> Option<&CheckDef> {
        self.checks.get(check as usize).and_then(Option::as_ref)
    }

    pub(crate) fn plugin_name(&self, check: u32) -> &'static str {
        let plugin = self.def(check).map(|d| usize::from(d.plugin));
        let loaded = plugin
            .and_then(|p| self.plugins.get(p))
            .and_then(Option::as_ref);
        loaded.map_or("?", Loaded::name)
    }

    pub(crate) fn check_name(&self, check: u32) -> &str {
        self.def(check).map_or("?", |d| &d.name)
    }

    pub(crate) fn finish(&mut self, key: u64, end: End, said: Results) {
        self.finish_now(key, end, said, clock::monotonic_ns());
    }

    pub(crate) fn finish_now(&mut self, key: u64, end: End, said: Results, now: u64) {
        let Some(at) = self.find(key) else { return };
        let started = self.active[at].started_ns;
        let started_ns = if started == 0 { now } else { started };
        self.finish_at(
            key,
            end,
            said,
            Times {
                started_ns,
                finished_ns: now,
            },
        );
    }

    /// Out of the books, with its timers and its place in its plugin's limit.
    pub(crate) fn remove_active(&mut self, at: usize) -> Active {
        let active = self.active.remove(at);
        for timer in [active.timer, active.task_timer].into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        self.finished += 1;
        if let Some(plugin) = active.counted_in
            && let Some(Some(loaded)) = self.plugins.get_mut(usize::from(plugin))
        {
            loaded.running = loaded.running.saturating_sub(1);
            if !loaded.waiting.is_empty() {
                self.freed.push(usize::from(plugin));
            }
        }
        active
    }

    pub(crate) fn finish_at(&mut self, key: u64, end: End, mut said: Results, times: Times) {
        let Some(at) = self.find(key) else { return };
        self.close_fans(key);
        let active = self.remove_active(at);
        if let Some(chunk) = &active.chunk {
            return self.chunk_ended(chunk, &end, said, active.bill.cpu_ns);
        }
        crate::asks::unlock(active.run.run_id);
        let news = end.status as u8 != active.run.last_status
            || active.run.urgent
            || self.draining
            || !matches!(end.ending, Ending::Returned | Ending::Fault(Fault::Timeout));
        let batch = self.def(active.run.check).map_or(0, |d| d.batch_ns);
        let leave_by = if news { 0 } else { times.finished_ns + batch };
        let end = verdict::finished(&active, end, &mut said, times);
        self.turn.ended(key, end, said, &active.bill, leave_by);
    }

    /// Runs that waited for room in their plugin go on. Not from where the room came up: a run may end within
    /// its first call, and ten thousand that wait would end one inside the other.
    pub(crate) fn let_waiting_in(&mut self) {
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
}

/// A run's key: its place, and a stamp that tells it from an earlier run in the same place.
pub(crate) fn key(at: usize, stamp: u32) -> u64 {
    u64::from(stamp) << 32 | at as u64
}
