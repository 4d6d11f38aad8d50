//! Watching the workers: their messages, and their stalls.

use crate::check::Check;
use crate::director::{Chore, Manager, Phase};
use crate::fleet::leftovers::LivesOn;
use crate::fleet::pool_key::PoolKey;
use crate::fleet::pools::News;
use crate::fleet::slots::{Condemned, Group, LibraryUse, Slot, SlotState};
use crate::journal::Fact;
use crate::rollout::fit::Fit;
use crate::rollout::plugin_use::PluginUse;
use crate::time::MS;
use healthd_core::starvation::{Lateness, Share, Suspicion};
use healthd_core::wire::control::Problem;
use healthd_core::wire::events::EventKind;
use healthd_core::wire::maps::{Entry, LineRecord, worker_header as h};
use healthd_core::wire::sandbox::Layers;
use healthd_core::wire::supervisor::{ToSupervisor, WorkerClass};
use healthd_core::wire::worker::{Heard, ToManager, ToWorker};
use healthd_scoreboard::worker_map::WorkerView;
use healthd_sys::unix_socket::{self, Received};
use healthd_sys::{clock, process};
use std::collections::BTreeMap;

/// A call on the reactor that takes longer than this costs the worker its life.
const STALL_NS: u64 = 1000 * MS;
/// A worker that does not beat (it beats once a second when idle) is wedged or stopped.
const SILENT_NS: u64 = 4000 * MS;
/// One that the machine does not let run gets so long.
const STARVED_NS: u64 = 15_000 * MS;
/// A worker that is to be replaced may finish its other runs for so long.
const REPLACE_NS: u64 = 10_000 * MS;
/// One that drains and has no run any more has so long for its end.
const END_NS: u64 = 10_000 * MS;
/// Loading or initialising one plugin may take so long, and a whole start so long.
const LOAD_NS: u64 = 10_000 * MS;
const START_NS: u64 = 60_000 * MS;
/// How often runs in flight are looked through for lost ones, and the least time that one gets.
const SEARCH_NS: u64 = 10_000 * MS;
const LOST_NS: u64 = 60_000 * MS;
/// A worker's words are a plugin's words, in part.
const MAX_REASON: usize = 1000;

impl Manager {
    /// Takes what a worker has sent. Bytes that are no message cost it its life.
    pub fn receive_from(&mut self, slot: u32, buffer: &mut [u8], most: usize) {
        for _ in 0..most {
            let Some(link) = self
                .fleet
                .slots
                .get(&slot)
                .and_then(|s| s.process.link.as_ref())
            else {
                return;
            };
            // Only chunks of a fan-out bring fds with them.
            let received = match self.fleet.slots.get(&slot).map(|s| s.spec.class) {
                Some(class) if class.row().fans_out => {
                    unix_socket::receive_what_fits(&link.fd, buffer)
                }
                _ => unix_socket::receive(&link.fd, buffer, false),
            };
            match received {
                Ok(Received::Empty) => return,
                // Its death, which the supervisor tells, is what counts: a forked child may hold the link open.
                Ok(Received::Closed) => return,
                Err(e) => return self.condemn(slot, format!("its link failed: {e}"), None),
                Ok(Received::Message(n, mut fds)) => {
                    let mut rest = &buffer[..n];
                    loop {
                        match Heard::decode(&mut rest) {
                            Ok(Some(Heard::Finished(report))) => self.finished_by(slot, report),
                            Ok(Some(Heard::Else(ToManager::Fan(message)))) => {
                                self.fan_says(slot, message, fds.pop());
                            }
                            Ok(Some(Heard::Else(message))) => self.worker_says(slot, message),
                            Ok(None) => break,
                            Err(e) => {
                                return self.condemn(
                                    slot,
                                    format!("it sends what cannot be read: {e}"),
                                    None,
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    fn worker_says(&mut self, slot: u32, message: ToManager) {
        match message {
            ToManager::Ready { layers, .. } => {
                if let Some(s) = self.fleet.slots.get_mut(&slot)
                    && let Some((_, told)) = &mut s.process.sandbox
                {
                    *told = layers;
                }
                self.worker_ready(slot);
            }
            ToManager::LoadFailed { plugin, reason } => {
                let reason = shortened(reason);
                if self
                    .fleet
                    .slots
                    .get(&slot)
                    .is_some_and(|s| s.group.solo().is_some())
                {
                    return self.solo_failed(slot, &reason);
                }
                self.leave_out(slot, plugin, reason, "plugin cannot be used");
            }
            ToManager::Unwell { reason } => {
                self.replace_soon(slot, shortened(reason));
            }
            ToManager::Map(ask) => self.map_asked(slot, &ask),
            ToManager::Lock(ask) => self.lock_asked(slot, &ask),
            ToManager::Unlock { ask } => self.unlock((slot, ask)),
            // Results, and chunks, which come with fds, were told apart before.
            ToManager::Drained | ToManager::Fan(_) | ToManager::Finished(_) => {}
            ToManager::Cache(told) => {
                if let Some(s) = self.fleet.slots.get_mut(&slot) {
                    s.take_cache(told);
                }
            }
            ToManager::ChildLivesOn {
                run_id,
                pid,
                forbidden,
            } => self.child_lives_on(slot, run_id, LivesOn { pid, forbidden }),
            ToManager::ChildGone { pid } => self.child_gone(slot, pid),
            ToManager::Billed {
                check,
                epoch,
                cpu_ns,
                grew,
            } => self
                .books
                .charge_late(&mut self.checks, (check, epoch), cpu_ns, grew),
        }
    }

    /// Writes a slot's line in the map.
    pub fn publish_slot(&self, slot: u32) {
        if let Some(s) = self.fleet.slots.get(&slot) {
            self.books.map.slot(slot as usize, &s.record());
        }
    }

    fn worker_ready(&mut self, slot: u32) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        if s.state != SlotState::Starting || s.process.condemned.is_some() {
            return;
        }
        s.state = SlotState::Ready;
        s.given_up = None;
        s.loaded.killed_loading = 0;
        let pid = s.process.pid;
        let took = clock::monotonic_ns().saturating_sub(s.process.started_ns);
        let ready = Fact::new(EventKind::WorkerReady).slot(slot).pid(pid);
        self.books.journal.record(ready.lasts(took));
        self.publish_slot(slot);
        self.fleet
            .supervisor
            .say(&ToSupervisor::WorkerReady { slot, pid });
        self.take_over(slot);
        self.generation_progress();
    }

    /// No new runs; it is killed when the rest is done, and the supervisor starts another.
    fn replace_soon(&mut self, slot: u32, reason: String) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        if s.state == SlotState::Starting {
            s.process.last_words = Some(reason);
            return;
        }
        if s.state != SlotState::Ready {
            return;
        }
        let leaving = Fact::new(EventKind::WorkerLeaving)
            .slot(slot)
            .pid(s.process.pid);
        self.books.journal.record(leaving.why(&reason));
        // Another takes its place first, if that can be.
        if self.start_replacement(slot, &reason) {
            return;
        }
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        s.state = SlotState::Draining;
        s.process.condemned = Some(Condemned {
            reason,
            culprit: None,
            killed: false,
            fence: false,
            drained: None,
        });
        let pid = s.process.pid;
        let at = (clock::monotonic_ns() + REPLACE_NS) / MS;
        self.clockwork
            .chores
            .insert(at, Chore::Replace { slot, pid });
        self.publish_slot(slot);
        self.kill_if_drained(slot, clock::monotonic_ns(), false);
    }

    pub fn replace_now(&mut self, slot: u32, pid: u32) {
        let condemned = self
            .fleet
            .slots
            .get_mut(&slot)
            .filter(|s| s.process.pid == pid && s.state == SlotState::Draining)
            .and_then(|s| s.process.condemned.as_mut());
        if let Some(c) = condemned
            && !std::mem::replace(&mut c.killed, true)
        {
            let reason = c.reason.clone();
            self.fleet
                .supervisor
                .say(&ToSupervisor::Kill { slot, pid, reason });
        }
    }

    /// `is_stuck`: a call that does not come back keeps it from its end. Else one that was told to drain destroys its
    /// instances first, and ends by itself.
    fn kill_if_drained(&mut self, slot: u32, now: u64, is_stuck: bool) {
        if let Some(s) = self.fleet.slots.get_mut(&slot)
            && s.state == SlotState::Draining
            && s.work.runs.is_empty()
            && s.work.chunks.is_empty()
            && let Some(condemned) = &mut s.process.condemned
        {
            if let Some(since) = &mut condemned.drained
                && !is_stuck
            {
                if *since == 0 {
                    *since = now;
                }
                if now.saturating_sub(*since) < END_NS {
                    return;
                }
            }
            let pid = s.process.pid;
            self.replace_now(slot, pid);
        }
    }

    /// Now, with its runs in flight: they go elsewhere.
    pub fn condemn(&mut self, slot: u32, reason: String, culprit: Option<u64>) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        if s.state == SlotState::Dead || s.process.condemned.as_ref().is_some_and(|c| c.killed) {
            return;
        }
        let pid = s.process.pid;
        let condemned = Fact::new(EventKind::WorkerCondemned).slot(slot).pid(pid);
        self.books.journal.record(condemned.why(&reason));
        // One that dies while it starts is looked at for the plugin that it was loading.
        if s.state != SlotState::Starting {
            s.state = SlotState::Draining;
        }
        s.process.condemned = Some(Condemned {
            reason: reason.clone(),
            culprit,
            killed: true,
            fence: false,
            drained: None,
        });
        self.publish_slot(slot);
        self.fleet
            .supervisor
            .say(&ToSupervisor::Kill { slot, pid, reason });
    }

    /// Looks at every worker's map, and at what it holds. Returns whether any has work, and so must be looked at again soon.
    pub fn look_at_workers(&mut self, now: u64) -> bool {
        let mut busy = false;
        let slots: Vec<u32> = self.fleet.slots.keys().copied().collect();
        for slot in slots {
            let Some(s) = self.fleet.slots.get_mut(&slot) else {
                continue;
            };
            if s.process.condemned.as_ref().is_some_and(|c| c.killed) {
                continue;
            }
            match s.state {
                SlotState::Starting => {
                    self.look_at_start(slot, now);
                    continue;
                }
                SlotState::Ready | SlotState::Draining => {}
                SlotState::Dead => continue,
            }
            busy |= !s.work.runs.is_empty() || !s.work.chunks.is_empty();
            let Some(view) = &s.process.view else {
                continue;
            };
            let (Ok(head), Some(reactor)) = (view.header(), view.line(0)) else {
                continue;
            };
            // What stood still with us had no chance to be on time.
            let in_call = now.saturating_sub(self.clockwork.stood.since(reactor.since));
            let silent = now.saturating_sub(self.clockwork.stood.since(head[h::BEAT]));
            let is_called = reactor.entry != Entry::Idle && in_call > STALL_NS / 2;
            let (late, bound) = match is_called {
                true => (in_call, STALL_NS),
                false => (silent, SILENT_NS),
            };
            let is_stuck = head[h::STUCK] > 0;
            let lateness = s.lateness(s.process.pid, late, bound, STARVED_NS);
            busy |= s.process.suspicion.is_some();
            if lateness == Lateness::Bearable {
                self.kill_if_drained(slot, now, is_stuck);
                continue;
            }
            let had = s.process.suspicion.map_or(100, |s| s.percent());
            let told = match &mut s.process.suspicion {
                Some(suspicion) => std::mem::replace(&mut suspicion.told, true),
                None => false,
            };
            let pid = s.process.pid;
            let is_its = s.work.runs.contains_key(&reactor.run_id);
            let at = match is_called {
                true => self.describe(slot, &reactor),
                false => "its loop".into(),
            };
            let time = crate::time::span(late);
            let reason = match lateness {
                Lateness::Bearable | Lateness::Starving => {
                    if !told {
                        log::warn!(
                            "worker starves  in=\"{at}\" slot={slot} pid={pid} late={} could_run={had}%",
                            crate::time::span_field(late)
                        );
                    }
                    self.kill_if_drained(slot, now, is_stuck);
                    continue;
                }
                Lateness::Stalled if is_called => {
                    format!("its event loop is stalled: {at} has not returned for {time}")
                }
                Lateness::Stalled => format!("its event loop has not been seen for {time}"),
                Lateness::Starved => format!(
                    "its event loop is starved: {at} has not come back for {time}, and could run for {had}% of it"
                ),
            };
            let culprit = lateness == Lateness::Stalled && is_called && is_its;
            self.condemn(slot, reason, culprit.then_some(reactor.run_id));
        }
        self.look_at_use(now);
        busy
    }

    /// A plugin whose `init` never returns must not hold the start, or a reload, for ever.
    fn look_at_start(&mut self, slot: u32, now: u64) {
        let stood = self.clockwork.stood;
        let waited = |since: u64| now.saturating_sub(stood.since(since));
        let known = self.fleet.slots.get_mut(&slot);
        let Some(s) = known.filter(|s| s.process.link.is_some()) else {
            return;
        };
        let started = waited(s.process.started_ns);
        let line = loading(s.process.view.as_ref());
        let late = line.as_ref().map_or(0, |l| waited(l.since));
        let thread = line.as_ref().map_or(s.process.pid, |l| l.tid);
        let lateness = s.lateness(thread, late, LOAD_NS, START_NS);
        let reason = match line {
            Some(line) if matches!(lateness, Lateness::Stalled | Lateness::Starved) => format!(
                "{} has not returned for {}",
                self.describe(slot, &line),
                crate::time::span(late)
            ),
            _ if started > START_NS => {
                format!("it was not ready after {}", crate::time::span(started))
            }
            _ => return,
        };
        self.condemn(slot, reason, None);
    }

    /// A belt: a worker that turns, but has forgotten a run, would leave its check unwatched for ever.
    pub fn look_for_lost_runs(&mut self, now: u64) {
        if now.saturating_sub(self.fleet.last_search) < SEARCH_NS {
            return;
        }
        self.fleet.last_search = now;
        let mut lost = Vec::new();
        for (slot, s) in &self.fleet.slots {
            let forgotten = s.work.runs.iter().find(|(_, id)| {
                self.checks.get(**id).is_some_and(|c| {
                    c.stage.flight().is_some_and(|f| {
                        // Wait for an instance, for room and for a thread, and each may take its time.
                        let patience = crate::check::ns(c.spec.timeout)
                            .saturating_mul(8)
                            .max(LOST_NS);
                        let since = self.clockwork.stood.since(f.dispatched_ns.max(f.due_ns));
                        now.saturating_sub(since) > patience
                    })
                })
            });
            if let Some((run_id, _)) = forgotten {
                lost.push((*slot, format!("it has lost run {run_id}")));
            } else if self.forgotten_chunk(*slot, now, LOST_NS) {
                lost.push((*slot, "it has lost a chunk".into()));
            }
        }
        for (slot, reason) in lost {
            self.condemn(slot, reason, None);
        }
    }

    /// Says it if a pool has nobody at work.
    pub fn look_at_pools(&mut self, now: u64) {
        if self.phase != Phase::Running {
            return;
        }
        self.look_at_apart(now);
        let in_force = |s: &&Slot| s.spec.generation == self.rollout.generation;
        // One that is known and has no slots any more is nobody's.
        let mut at_work: BTreeMap<PoolKey, bool> =
            self.fleet.pools.known().map(|p| (p, true)).collect();
        let mut slots = BTreeMap::new();
        for slot in self.fleet.slots.values().filter(in_force) {
            if let Some(pool) = slot.pool() {
                *slots.entry(pool).or_insert(false) |= slot.state == SlotState::Ready;
            }
        }
        at_work.extend(slots);
        for (pool, at_work) in at_work {
            let fact = match self.fleet.pools.look(pool, at_work, now) {
                None => continue,
                Some(News::Down) => {
                    let why = self.fleet.why_no_worker(pool, self.rollout.generation);
                    Fact::new(EventKind::PoolDown).why(why)
                }
                Some(News::Up(lasted)) => Fact::new(EventKind::PoolUp).lasts(lasted),
            };
            let name = self.fleet.pool_name(pool, self.rollout.generation);
            self.books.journal.record(fact.cause(name));
        }
    }

    /// What is the matter with healthd itself.
    pub fn problems(&self) -> Vec<Problem> {
        let (now, generation) = (clock::monotonic_ns(), self.rollout.generation);
        let told = |(pool, since): (PoolKey, u64)| {
            let of_pool = |c: &&Check| c.is_planned() && c.target.is_some_and(|t| t.pool == pool);
            let checks = self.checks.iter().filter(of_pool).count();
            Problem {
                pool: Some(self.fleet.pool_name(pool, generation)),
                since: crate::time::rfc3339(crate::time::wall(since)),
                text: format!(
                    "for {} now {}; checks that it should run: {checks}",
                    crate::time::span(now.saturating_sub(since)),
                    self.fleet.why_no_worker(pool, generation)
                ),
            }
        };
        self.fleet.pools.down().map(told).collect()
    }

    /// Its link has ended and it lives on: nothing can be heard from it any more.
    pub fn still_hung_up(&mut self, slot: u32, pid: u32) {
        if self
            .fleet
            .slots
            .get(&slot)
            .is_some_and(|s| s.process.pid == pid)
        {
            self.condemn(slot, "it has closed its link".into(), None);
        }
    }

    /// "step of plugin `http`".
    pub(super) fn describe(&self, slot: u32, line: &LineRecord) -> String {
        let plugin = self
            .fleet
            .slots
            .get(&slot)
            .and_then(|s| s.loaded.plugins.get(usize::from(line.plugin)))
            .map_or("?", String::as_str);
        format!("{} of plugin `{plugin}`", line.entry.as_str())
    }

    /// Names the plugins to a new worker, and waits for its Ready.
    pub fn greet(&mut self, slot: u32) {
        let plugins = self.plugins_for(slot);
        let crew = self.crew_of(slot);
        let auto = self.model.pool.exec.max_parallel == 0;
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        let Some(link) = &mut s.process.link else {
            return;
        };
        let (class, group) = (s.spec.class, s.group);
        s.loaded.plugins = plugins.iter().map(|p| p.name.clone()).collect();
        s.loaded.libraries = libraries(&plugins);
        let its: Vec<(usize, &PluginUse)> = plugins
            .iter()
            .enumerate()
            .filter(|(number, plugin)| {
                let is_its = match group {
                    Group::Pool(group) => plugin.pool == PoolKey { class, group }.of_plugins(),
                    Group::Solo(p) => usize::from(p.plugin) == *number,
                };
                is_its && plugin.left_out.is_none()
            })
            .collect();
        let mut sent = Ok(());
        let fits = its.iter().map(|(_, plugin)| plugin.fit.clone());
        let fit = fits.reduce(|a, b| a.with(&b));
        if let Some(sandbox) = fit.as_ref().and_then(Fit::to_send) {
            sent = link.send_now(&ToWorker::Sandbox(sandbox), None);
        }
        s.process.sandbox = fit.map(|fit| (fit, Layers::default()));
        for (number, plugin) in its {
            let Some(copy) = &plugin.copy else { continue };
            let load = ToWorker::Load {
                plugin: number as u16,
                index: plugin.index,
                name: plugin.name.clone(),
                file: plugin.file.display().to_string(),
            };
            sent = sent.and_then(|()| link.send_now(&load, Some(copy)));
        }
        // One that has ended by now says why itself, and its death will be told.
        if let Some(crew) = crew {
            sent = sent.and_then(|()| link.send_now(&ToWorker::Fan(crew), None));
        }
        if auto && class == WorkerClass::Exec {
            sent = sent.and_then(|()| link.send_now(&ToWorker::Pace, None));
        }
        if let Err(e) = sent.and_then(|()| link.send_now(&ToWorker::Start, None))
            && e.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.condemn(
                slot,
                format!("its list of plugins could not be sent to it: {e}"),
                None,
            );
        }
    }
}

impl Slot {
    /// A thread of it is not back for `late` ns, of which `bound` may be its own. The kernel is asked only if it is late.
    fn lateness(&mut self, thread: u32, late: u64, bound: u64, end: u64) -> Lateness {
        if late <= bound / 2 {
            self.process.suspicion = None;
            return Lateness::Bearable;
        }
        let share = process::time_of_thread(self.process.pid, thread)
            .ok()
            .and_then(|(time, stat)| Share::parse(clock::monotonic_ns(), &time, &stat));
        let Some(share) = share else {
            // Nobody can tell: then it is held to the clock.
            return match late > bound {
                true => Lateness::Stalled,
                false => Lateness::Bearable,
            };
        };
        let Some(suspicion) = &mut self.process.suspicion else {
            self.process.suspicion = Some(Suspicion::new(share));
            return Lateness::Bearable;
        };
        suspicion.look(share);
        suspicion.judge(late, bound, end)
    }
}

/// Each file once, by the name that the worker's map has of it.
fn libraries(plugins: &[PluginUse]) -> Vec<LibraryUse> {
    let mut list: Vec<LibraryUse> = Vec::new();
    for plugin in plugins {
        let (Some(file), Some(copy)) = (plugin.file.file_name(), &plugin.copy) else {
            continue;
        };
        let file = file.to_string_lossy();
        match list.iter_mut().find(|l| l.file == file) {
            Some(library) => library.plugins.push(plugin.name.clone()),
            None => list.push(LibraryUse {
                file: file.into_owned(),
                plugins: vec![plugin.name.clone()],
                copy: copy.clone(),
            }),
        }
    }
    list
}

/// The call into a plugin that a starting worker is in, or died in.
pub fn loading(view: Option<&WorkerView>) -> Option<LineRecord> {
    let lines = view.map(WorkerView::lines).unwrap_or_default();
    let mut lines = lines.into_iter();
    lines.find(|l| matches!(l.entry, Entry::Load | Entry::Init))
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_REASON {
        text.truncate(healthd_core::text::cut(&text, MAX_REASON).len());
        text.push_str("...");
    }
    text
}
