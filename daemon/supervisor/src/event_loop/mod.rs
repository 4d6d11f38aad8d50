//! The event loop: one wait; every wake-up becomes one `Event`, and every `Command` is carried out here.
//!
//! Runs in: supervisor. One thread. What it waits for: signals, the manager's link, the pidfds of its
//! children, and one time-out, which is the nearest of all deadlines.

mod manager;
mod readers;

use crate::heart::Heart;
use crate::lifecycle::{self, Command, Event, Now, Phase};
use crate::pool::Pool;
use crate::reaper::{self, Kind, Reaper};
use crate::respawn::Record;
use crate::roles::Readers;
use crate::sender;
use crate::service_manager::ServiceManager;
use crate::start::Setup;
use crate::words::Words;
use healthd_core::wire::maps::{STATE_FILE, STATE_MAGIC, state_header as header};
use healthd_core::wire::roles::WorkerArgs;
use healthd_core::wire::supervisor::{SlotSpec, ToManager};
use healthd_scoreboard::map::read_words;
use healthd_scoreboard::objects_map::ObjectsMap;
use healthd_scoreboard::worker_map::Blank;
use healthd_sys::clock::monotonic_ns;
use healthd_sys::process::{self, Exit};
use healthd_sys::signals::Signals;
use healthd_sys::spawn::{Apart, SingleThreaded};
use healthd_sys::{files, memfd, unix_socket};
use manager::Manager;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

pub struct Supervisor {
    /// What it was started with; a reload and a lost folder change some of it.
    pub(crate) setup: Setup,
    ears: Ears,
    service: ServiceManager,
    phase: Phase,
    manager: Manager,
    /// How managers have ended.
    record: Record,
    heart: Heart,
    kept: Kept,
    workers: Workers,
    readers: Readers,
    reaper: Reaper,
    ticks: Ticks,
}

/// What the loop waits with.
struct Ears {
    epoll: Epoll,
    signals: Signals,
    buffer: Vec<u8>,
    /// When the last wait had to end at the latest.
    expected: u64,
}

/// What the next manager goes on with. Nobody here reads any of it.
#[derive(Default)]
struct Kept {
    /// The fds that the last one gave, a list for each message.
    model: Option<Vec<Vec<OwnedFd>>>,
    /// The same while it is still coming.
    coming: Vec<Vec<OwnedFd>>,
    /// The memory of the plugins' maps.
    maps: Option<OwnedFd>,
    /// The memory of who has been told of what.
    alerts: Option<OwnedFd>,
}

struct Workers {
    pool: Pool,
    /// What they write to standard error, by pid.
    words: BTreeMap<u32, Words>,
    /// Our standard error under another number, for their logs: their own is a pipe, see [`Words`].
    stderr: OwnedFd,
    burials: Vec<Burial>,
}

struct Ticks {
    /// From one to the next while nothing is being stopped.
    longest: u64,
    next: u64,
    next_pet: u64,
    /// False: no manager turns, and the service manager may know it.
    petting: bool,
}

/// A worker that has ended, while what it left behind is being ended too: only then is its death told,
/// as its runs may then begin again elsewhere.
struct Burial {
    slot: u32,
    pid: u32,
    exit: Exit,
    until: u64,
    /// Its death was told, though these of its processes do not end.
    left: Vec<u32>,
}

impl Supervisor {
    pub fn new(setup: Setup) -> io::Result<Supervisor> {
        let signals = Signals::take()?;
        process::become_subreaper()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL_TOKEN))?;

        let now = monotonic_ns();
        let service = ServiceManager::from_env();
        let watchdog = service.watchdog_ns();
        Ok(Supervisor {
            setup,
            ears: Ears {
                epoll,
                signals,
                buffer: Vec::new(),
                expected: now,
            },
            service,
            phase: Phase::Starting { reload: false },
            manager: Manager::Absent {
                start_at: now,
                patience: now,
            },
            record: Record::default(),
            heart: Heart::new(watchdog, now),
            kept: Kept::default(),
            workers: Workers {
                pool: Pool::default(),
                words: BTreeMap::new(),
                stderr: io::stderr().as_fd().try_clone_to_owned()?,
                burials: Vec::new(),
            },
            readers: Readers::default(),
            reaper: Reaper::default(),
            ticks: Ticks {
                longest: watchdog.map_or(IDLE_TICK, |w| (w / 4).clamp(SHORTEST_TICK, IDLE_TICK)),
                next: now,
                next_pet: now,
                petting: true,
            },
        })
    }

    pub fn run(mut self) -> i32 {
        log::info!(
            "starting  pid={} version={} config={}",
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            self.setup.config.display()
        );
        let code = loop {
            let now = monotonic_ns();
            self.forgive_gap(now);
            self.turn(now);
            if let Phase::Stopped { code } = self.phase {
                break code;
            }
            self.wait(now);
        };
        if let Some(left) = self.reaper.left() {
            log::error!("a process could not be ended  {left}");
        }
        self.setup.instance.leave();
        log::info!("stopped  code={code}");
        code
    }

    /// Everything that is due by the clock.
    fn turn(&mut self, now: u64) {
        if now >= self.ticks.next {
            self.tick(now);
        }
        self.bury(now);
        match self.phase {
            Phase::Starting { .. }
            | Phase::Running
            | Phase::Reloading { .. }
            | Phase::Recovering { .. } => {
                self.start_manager_if_due(now);
                self.start_due_workers(now);
                self.start_due_readers(now);
            }
            // A worker that dies now has nothing to come back for.
            Phase::Draining { .. } => {}
            Phase::Killing { .. } => {
                self.kill_overdue_readers(now);
                if self.reaper.is_empty()
                    && self.reaper.end_adopted().is_empty()
                    && !self.reaper.anybody_left()
                {
                    self.happen(Event::NobodyLeft);
                }
            }
            Phase::Stopped { .. } => {}
        }
    }

    fn tick(&mut self, now: u64) {
        match self.phase {
            Phase::Starting { .. }
            | Phase::Running
            | Phase::Reloading { .. }
            | Phase::Recovering { .. } => {
                self.look_after_folders();
                self.kill_overdue_readers(now);
            }
            Phase::Draining { .. } | Phase::Killing { .. } | Phase::Stopped { .. } => {}
        }
        if let Manager::Alive(manager) = &self.manager {
            let (pid, beat) = (manager.pid, self.beat(manager.pid));
            self.heart.observe(beat, now);
            if self.heart.is_silent(now) {
                log::error!("manager is silent and is replaced  pid={pid}");
                self.reaper.kill(pid);
                self.heart.manager_died(now);
            }
        }
        if let Some(watchdog) = self.service.watchdog_ns()
            && now >= self.ticks.next_pet
        {
            let may_pet = self.heart.may_pet(now);
            if may_pet {
                self.service.pet();
            }
            if may_pet != self.ticks.petting {
                match may_pet {
                    true => log::info!("the manager runs again: systemd's watchdog is told so"),
                    false => log::error!(
                        "no manager runs: systemd's watchdog is told nothing, and will restart healthd"
                    ),
                }
                self.ticks.petting = may_pet;
            }
            self.ticks.next_pet = now + watchdog / 4;
        }
        self.service.flush();
        self.workers
            .words
            .values_mut()
            .for_each(|words| words.look(now));
        self.happen(Event::Tick);
        self.ticks.next = now + self.tick_period();
    }

    fn tick_period(&self) -> u64 {
        match self.phase {
            Phase::Draining { .. } | Phase::Killing { .. } => self.ticks.longest.min(STOPPING_TICK),
            Phase::Starting { .. }
            | Phase::Running
            | Phase::Reloading { .. }
            | Phase::Recovering { .. }
            | Phase::Stopped { .. } => self.ticks.longest,
        }
    }

    /// CLOCK_MONOTONIC of the manager's last turn, by the map that it writes.
    fn beat(&self, pid: u32) -> Option<u64> {
        // Opened anew each time, as it may be a new file by now.
        let map = files::open(&self.setup.runtime_dir.join(STATE_FILE)).ok()?;
        let words: [u64; 8] = read_words(&map, 0).ok()?;
        let ours = words[header::MAGIC] == STATE_MAGIC
            && words[header::MANAGER_PID] == u64::from(pid)
            && words[header::BEAT] != 0;
        ours.then_some(words[header::BEAT])
    }

    /// We were stopped, or the machine was: what looks late now had no chance to be on time.
    fn forgive_gap(&mut self, now: u64) {
        let late = now.saturating_sub(self.ears.expected);
        if late > GAP {
            log::warn!("stood still for {:?}", Duration::from_nanos(late));
            self.heart.forgive_gap(now);
        }
    }

    // ------------------------------------------------------------------------------------ waiting

    fn wait(&mut self, now: u64) {
        let until = self.next_deadline(now);
        self.ears.expected = until;
        // Rounded up: a wake-up before its time would only be repeated.
        let ms = until.saturating_sub(now).div_ceil(MS);
        let timeout = EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::MAX);
        let mut events = [EpollEvent::empty(); 16];
        let n = match self.ears.epoll.wait(&mut events, timeout) {
            Ok(n) => n,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(e) => {
                // Never seen; without it the loop still turns by its deadlines.
                log::error!("epoll_wait: {e}");
                0
            }
        };
        let mut deaths = false;
        for event in &events[..n] {
            match event.data() {
                LINK_TOKEN => {
                    if let Manager::Alive(manager) = &mut self.manager {
                        manager.link.flush(&self.ears.epoll);
                    }
                    self.read_manager(MESSAGES_A_TURN);
                }
                CHILD_TOKEN => deaths = true,
                token if token & WORDS_TOKEN != 0 => self.listen(token as u32),
                _ => deaths |= self.take_signals(),
            }
        }
        if deaths {
            self.collect();
        }
    }

    fn next_deadline(&self, now: u64) -> u64 {
        let mut next = self.ticks.next;
        let mut at = |time: u64| next = next.min(time);
        if self.service.is_waiting() {
            at(now + RETRY);
        }
        // SIGCHLD wakes us for these; the clock is the belt to it.
        if !self.workers.burials.is_empty() {
            at(now + RETRY);
        }
        match self.phase {
            Phase::Killing { .. } => at(now + RETRY),
            Phase::Starting { .. }
            | Phase::Running
            | Phase::Reloading { .. }
            | Phase::Recovering { .. } => {
                if let Manager::Absent { start_at, .. } = self.manager {
                    at(start_at.max(now + MS));
                    if !self.reaper.has_readers_only() || start_at <= now {
                        at(now + RETRY);
                    }
                }
                if let Some(start) = self.workers.pool.next_start() {
                    at(start.max(now));
                }
                if let Some(start) = self.next_reader(now) {
                    at(start);
                }
            }
            Phase::Draining { .. } | Phase::Stopped { .. } => {}
        }
        next.max(now)
    }

    /// True: a child may have ended.
    fn take_signals(&mut self) -> bool {
        let mut deaths = false;
        for _ in 0..SIGNALS_A_TURN {
            let Some(arrived) = self.ears.signals.next() else {
                break;
            };
            let event = match Signal::try_from(arrived.number) {
                Ok(Signal::SIGTERM | Signal::SIGINT) => Event::Terminate,
                Ok(Signal::SIGQUIT) => Event::Quit,
                Ok(Signal::SIGHUP) => Event::HangUp,
                other => {
                    deaths |= other == Ok(Signal::SIGCHLD);
                    continue;
                }
            };
            let signal = Signal::try_from(arrived.number).map_or("?", |s| s.as_str());
            let programs = self.workers.pool.has_programs();
            match sender::judge(arrived.sender, programs, |pid| self.reaper.who(pid)) {
                Ok(from) => {
                    log::info!("signal  signal={signal} from=\"{from}\"");
                    self.happen(event);
                }
                Err(why) => log::warn!("signal refused  signal={signal} why=\"{why}\""),
            }
        }
        deaths
    }

    // ---------------------------------------------------------------------------------- lifecycle

    pub(crate) fn replace_manager(&mut self) {
        if let Manager::Alive(manager) = &self.manager {
            self.reaper.kill(manager.pid);
        }
    }

    pub(crate) fn happen(&mut self, event: Event) {
        let now = Now {
            ns: monotonic_ns(),
            grace_ns: self.setup.grace_ns,
            manager: matches!(self.manager, Manager::Alive(_)),
        };
        let before = self.phase;
        let (phase, commands) = lifecycle::step(before, event, now);
        self.phase = phase;
        if std::mem::discriminant(&before) != std::mem::discriminant(&phase) {
            log::debug!("phase  from={before:?} to={phase:?}");
            // The period may be shorter here.
            self.ticks.next = self.ticks.next.min(now.ns + self.tick_period());
            if let (Phase::Draining { .. }, Phase::Killing { code: 1, .. }) = (before, phase) {
                log::error!("not everything ended in time: killing what is left");
            }
        }
        for command in commands {
            match command {
                Command::Tell(message) => self.tell(&message, Vec::new()),
                Command::Notify(notice) => self.service.notify(&notice),
                Command::Recover => {
                    // They end by themselves at the end of their link; this is to be sure.
                    for pid in self.reaper.workers() {
                        self.reaper.kill(pid);
                    }
                    self.workers.pool.clear();
                }
                Command::KillEverything => {
                    self.readers.stop(now.ns);
                    self.reaper.end_all();
                    self.workers.pool.clear();
                }
            }
        }
    }

    fn tell(&mut self, message: &ToManager, fds: Vec<OwnedFd>) {
        if let Manager::Alive(manager) = &mut self.manager {
            log::trace!("to manager: {message:?}");
            manager.link.send(message, fds, &self.ears.epoll);
        }
    }

    // ------------------------------------------------------------------------------------ workers

    fn start_due_workers(&mut self, now: u64) {
        if !matches!(self.manager, Manager::Alive(_)) {
            return;
        }
        for spec in self.workers.pool.due(now) {
            match self.start_worker(&spec) {
                Ok((pid, ours)) => {
                    let SlotSpec {
                        slot,
                        class,
                        generation,
                        birth,
                        ..
                    } = spec;
                    log::debug!(
                        "worker started  slot={slot} pid={pid} class={} generation={generation}",
                        class.as_str()
                    );
                    self.workers.pool.started(slot, pid);
                    self.tell(&ToManager::Started { slot, pid, birth }, vec![ours]);
                }
                Err(e) => {
                    let Some(pause) = self.workers.pool.not_started(spec.slot, now) else {
                        continue;
                    };
                    let (slot, wait) = (spec.slot, pause.wait);
                    log::error!("worker not started  slot={slot} why=\"{e}\" retry={wait:?}");
                    if pause.given_up {
                        self.give_up(slot, wait, format!("it cannot be started: {e}"));
                    }
                }
            }
        }
    }

    fn start_worker(&mut self, spec: &SlotSpec) -> io::Result<(u32, OwnedFd)> {
        let proof = SingleThreaded::check()?;
        let (ours, theirs) = unix_socket::link_pair()?;
        let secrets = memfd::empty("secrets")?;
        let map = Blank::new(&self.setup.runtime_dir, spec.slot, MAP_MODE)?;
        // Without it checks still run; the manager has said so.
        let counters = ObjectsMap::open_file(&self.setup.runtime_dir).ok();
        let args = WorkerArgs {
            link: theirs.as_raw_fd(),
            parent: std::process::id(),
            of: self.setup.runtime_dir.clone(),
            slot: spec.slot,
            class: spec.class,
            generation: spec.generation,
            threads: spec.threads,
            map: map.file.as_raw_fd(),
            counters: counters.as_ref().map_or(-1, |file| file.as_raw_fd()),
            log_to: self.workers.stderr.as_raw_fd(),
            secrets_to: secrets.as_raw_fd(),
            log: self.setup.log.clone(),
        };
        let (words, errors) = Words::pipe()?;
        let mut pass = vec![
            theirs.as_fd(),
            self.workers.stderr.as_fd(),
            secrets.as_fd(),
            map.file.as_fd(),
        ];
        pass.extend(counters.as_ref().map(|file| file.as_fd()));
        let (null, errors) = (self.setup.null.as_fd(), Some(errors.as_fd()));
        let apart = Apart {
            user: self.setup.placing.of(spec.class),
            without: &self.setup.secret_variables,
        };
        let pid = self
            .setup
            .exe
            .start(&proof, &args.to_argv(), &pass, null, errors, apart)?;
        // It may be dead already, and its map is read all the same.
        if let Err(e) = map.name(spec.slot, pid) {
            log::warn!("the map of a worker has no name  pid={pid} why=\"{e}\"");
        }
        let kind = Kind::Worker { slot: spec.slot };
        self.reaper
            .watch(pid, kind, &self.ears.epoll, CHILD_TOKEN)?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, WORDS_TOKEN | u64::from(pid));
        self.ears.epoll.add(&words, readable)?;
        self.workers
            .words
            .insert(pid, Words::new(spec, pid, words, secrets));
        Ok((pid, ours))
    }

    /// A worker's plugins have written something to standard error, or its last writer has closed it.
    fn listen(&mut self, pid: u32) {
        let Some(words) = self.workers.words.get_mut(&pid) else {
            return;
        };
        if !words.listen(monotonic_ns()) {
            self.last_words(pid);
        }
    }

    fn last_words(&mut self, pid: u32) {
        if let Some(mut words) = self.workers.words.remove(&pid) {
            words.end(monotonic_ns());
            // A child that is between fork and exec holds a copy of the fd, so closing is not enough.
            let _ = self.ears.epoll.delete(&words);
        }
    }

    fn give_up(&mut self, slot: u32, retry: Duration, reason: String) {
        let retry_ms = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
        log::error!("worker given up  slot={slot} retry={retry:?} why=\"{reason}\"");
        let message = ToManager::GivenUp {
            slot,
            retry_ms,
            reason,
        };
        self.tell(&message, Vec::new());
    }

    // ------------------------------------------------------------------------------------- deaths

    fn collect(&mut self) {
        for ended in self.reaper.collect(&self.ears.epoll) {
            match ended.kind {
                Kind::Manager => self.manager_ended(ended),
                Kind::Reader(role) => self.reader_ended(role, ended),
                Kind::Worker { slot } => {
                    self.last_words(ended.pid);
                    reaper::end_groups(&self.setup.runtime_dir, slot, ended.pid);
                    self.workers.burials.push(Burial {
                        slot,
                        pid: ended.pid,
                        exit: ended.exit,
                        until: monotonic_ns() + ORPHANS,
                        left: Vec::new(),
                    });
                }
            }
        }
    }

    fn bury(&mut self, now: u64) {
        if self.workers.burials.is_empty() {
            return;
        }
        let orphans = self.reaper.end_adopted();
        let fresh = self.unknown(&orphans);
        let is_open = |b: &Burial| b.left.is_empty();
        // Nobody knows whose they are: with the first worker all are told that wait for them.
        let late = self
            .workers
            .burials
            .iter()
            .any(|b| is_open(b) && now >= b.until);
        let any_open = self.workers.burials.iter().any(is_open);
        for mut burial in std::mem::take(&mut self.workers.burials) {
            let Burial { slot, pid, .. } = burial;
            if is_open(&burial) {
                if !fresh.is_empty() && !late {
                    self.workers.burials.push(burial);
                    continue;
                }
                burial.left.clone_from(&fresh);
                self.worker_ended(&burial, now);
            } else {
                burial.left.retain(|pid| orphans.contains(pid));
                if !any_open {
                    burial.left.extend(&fresh);
                }
                if burial.left.is_empty() {
                    log::info!(
                        "what a dead worker has left behind has ended  slot={slot} pid={pid}"
                    );
                    self.tell(&ToManager::Buried { slot, pid }, Vec::new());
                }
            }
            if !burial.left.is_empty() {
                self.workers.burials.push(burial);
            }
        }
    }

    /// Those that were not there when the last death was told: nobody waits for the others any more.
    fn unknown(&self, orphans: &[u32]) -> Vec<u32> {
        let known = |pid: &&u32| self.workers.burials.iter().any(|b| b.left.contains(pid));
        orphans.iter().filter(|pid| !known(pid)).copied().collect()
    }

    fn worker_ended(&mut self, burial: &Burial, now: u64) {
        let Burial { slot, pid, .. } = *burial;
        let death = reaper::death(burial.exit);
        let left = !burial.left.is_empty();
        if left {
            log::error!(
                "a process of a dead worker does not end  slot={slot} pids={:?}",
                burial.left
            );
        }
        let next = self.workers.pool.died(slot, pid, now);
        // For people the manager says it, with what it meant for the checks.
        log::debug!("worker died  slot={slot} pid={pid} why=\"{death}\"");
        let reason = format!("{death} before it was ready");
        let died = ToManager::Died {
            slot,
            pid,
            death,
            left,
        };
        self.tell(&died, Vec::new());
        if let Some(pause) = next
            && pause.given_up
        {
            self.give_up(slot, pause.wait, reason);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const LINK_TOKEN: u64 = 1;
const CHILD_TOKEN: u64 = 2;
const SIGNAL_TOKEN: u64 = 3;
/// With the worker's pid in the lower half.
const WORDS_TOKEN: u64 = 1 << 32;
const SIGNALS_A_TURN: usize = 64;
const MESSAGES_A_TURN: usize = 64;

/// Who may ask the control socket may read the maps; only their writer may write them.
const MAP_MODE: u32 = 0o640;

const MS: u64 = 1_000_000;
/// Four looks at the manager's beat before it counts as silent.
const IDLE_TICK: u64 = 2_500 * MS;
const SHORTEST_TICK: u64 = 100 * MS;
/// The service manager's time-out is renewed with each.
const STOPPING_TICK: u64 = 1_000 * MS;
const RETRY: u64 = 50 * MS;
/// So late by our own timer, and we stood still.
const GAP: u64 = 2_000 * MS;
/// What does not end within this after SIGKILL hangs in the kernel.
const ORPHANS: u64 = 2_000 * MS;
