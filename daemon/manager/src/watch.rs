//! Watching the workers: their messages, stalls, and deaths.

use crate::book::{Chore, MS, Manager, Phase};
use crate::slots::{Condemned, SlotState};
use healthd_core::check::outcome::Status;
use healthd_core::wire::maps::{Entry, LineRecord, worker_header as h};
use healthd_core::wire::supervisor::{Death, ToSupervisor, signal_name};
use healthd_core::wire::worker::{Ending, ToManager, ToWorker};
use healthd_scoreboard::worker_map::WorkerView;
use healthd_sys::clock;
use healthd_sys::unix_socket::{self, Received};

/// A call on the reactor that takes longer than this costs the worker its life.
const STALL_NS: u64 = 1000 * MS;
/// A worker that does not beat (it beats once a second when idle) is wedged or stopped.
const SILENT_NS: u64 = 4000 * MS;
/// A worker that is to be replaced may finish its other runs for so long.
const REPLACE_NS: u64 = 10_000 * MS;
/// Loading or initialising one plugin may take so long, and a whole start so long.
const LOAD_NS: u64 = 10_000 * MS;
const START_NS: u64 = 60_000 * MS;
/// SIGKILL may come from outside (a person, the kernel out of memory): only so many in a row while a plugin
/// was loaded speak against it.
const KILLS: u32 = 3;
/// How often runs in flight are looked through for lost ones, and the least time that one gets.
const SEARCH_NS: u64 = 10_000 * MS;
const LOST_NS: u64 = 60_000 * MS;
/// A worker's words are a plugin's words, in part.
const MAX_REASON: usize = 1000;

impl Manager {
    /// Takes what a worker has sent. Bytes that are no message cost it its life.
    pub fn receive_from(&mut self, slot: u32, buffer: &mut [u8], most: usize) {
        for _ in 0..most {
            let Some(link) = self.slots.get(&slot).and_then(|s| s.link.as_ref()) else {
                return;
            };
            match unix_socket::receive(&link.fd, buffer, false) {
                Ok(Received::Empty) => return,
                // Its death, which the supervisor tells, is what counts: a forked child may hold the link open.
                Ok(Received::Closed) => return,
                Err(e) => return self.condemn(slot, format!("its link failed: {e}"), None),
                Ok(Received::Message(n, _)) => {
                    let mut rest = &buffer[..n];
                    loop {
                        match ToManager::decode(&mut rest) {
                            Ok(Some(message)) => self.worker_says(slot, message),
                            Ok(None) => break,
                            Err(e) => {
                                return self.condemn(slot, format!("it talks rubbish: {e}"), None);
                            }
                        }
                    }
                }
            }
        }
    }

    fn worker_says(&mut self, slot: u32, message: ToManager) {
        match message {
            ToManager::Finished(f) => self.finished_by(slot, *f),
            ToManager::Ready { .. } => self.worker_ready(slot),
            ToManager::LoadFailed { plugin, reason } => {
                let reason = shortened(reason);
                log::error!("plugin cannot be used  slot={slot} why=\"{reason}\"");
                self.leave_out(slot, plugin, reason);
            }
            ToManager::Unwell { reason } => {
                self.replace_soon(slot, shortened(reason));
            }
            ToManager::Drained => {}
        }
    }

    fn worker_ready(&mut self, slot: u32) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        if s.state != SlotState::Starting || s.condemned.is_some() {
            return;
        }
        s.state = SlotState::Ready;
        s.given_up = None;
        s.killed_loading = 0;
        let pid = s.pid;
        let took = clock::monotonic_ns().saturating_sub(s.started_ns);
        log::debug!(
            "worker ready  slot={slot} pid={pid} took={}",
            crate::time::span(took)
        );
        self.publish_slot(slot);
        self.supervisor
            .say(&ToSupervisor::WorkerReady { slot, pid });
        self.generation_progress();
    }

    /// No new runs; it is killed when the rest is done, and the supervisor starts another.
    fn replace_soon(&mut self, slot: u32, reason: String) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        if s.state == SlotState::Starting {
            s.last_words = Some(reason);
            return;
        }
        if s.state != SlotState::Ready {
            return;
        }
        log::warn!("worker is to be replaced  slot={slot} why=\"{reason}\"");
        s.state = SlotState::Draining;
        s.condemned = Some(Condemned {
            reason,
            culprit: None,
            killed: false,
        });
        let pid = s.pid;
        let at = (clock::monotonic_ns() + REPLACE_NS) / MS;
        self.chores.insert(at, Chore::Replace { slot, pid });
        self.publish_slot(slot);
        self.kill_if_drained(slot);
    }

    pub fn replace_now(&mut self, slot: u32, pid: u32) {
        let condemned = self
            .slots
            .get_mut(&slot)
            .filter(|s| s.pid == pid && s.state == SlotState::Draining)
            .and_then(|s| s.condemned.as_mut());
        if let Some(c) = condemned
            && !std::mem::replace(&mut c.killed, true)
        {
            let reason = c.reason.clone();
            self.supervisor
                .say(&ToSupervisor::Kill { slot, pid, reason });
        }
    }

    fn kill_if_drained(&mut self, slot: u32) {
        if let Some(s) = self.slots.get(&slot)
            && s.state == SlotState::Draining
            && s.condemned.is_some()
            && s.runs.is_empty()
        {
            let pid = s.pid;
            self.replace_now(slot, pid);
        }
    }

    /// Now, with its runs in flight: they go elsewhere.
    pub fn condemn(&mut self, slot: u32, reason: String, culprit: Option<u64>) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        if s.state == SlotState::Dead || s.condemned.as_ref().is_some_and(|c| c.killed) {
            return;
        }
        let pid = s.pid;
        log::warn!("worker condemned  slot={slot} pid={pid} why=\"{reason}\"");
        // One that dies while it starts is looked at for the plugin that it was loading.
        if s.state != SlotState::Starting {
            s.state = SlotState::Draining;
        }
        s.condemned = Some(Condemned {
            reason: reason.clone(),
            culprit,
            killed: true,
        });
        self.publish_slot(slot);
        self.supervisor
            .say(&ToSupervisor::Kill { slot, pid, reason });
    }

    /// Looks at every worker's map. Returns whether any has work, and so must be looked at again soon.
    pub fn look_at_workers(&mut self, now: u64) -> bool {
        let mut busy = false;
        let slots: Vec<u32> = self.slots.keys().copied().collect();
        for slot in slots {
            let Some(s) = self.slots.get_mut(&slot) else {
                continue;
            };
            if s.condemned.as_ref().is_some_and(|c| c.killed) {
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
            busy |= !s.runs.is_empty();
            let Some(view) = &s.view else { continue };
            let (Ok(head), Some(reactor)) = (view.header(), view.line(0)) else {
                continue;
            };
            // What stood still with us had no chance to be on time.
            let in_call = now.saturating_sub(reactor.since.max(self.resumed_ns));
            let silent = now.saturating_sub(head[h::BEAT].max(self.resumed_ns));
            if reactor.entry != Entry::Idle && in_call > STALL_NS {
                let what = self.describe(slot, &reactor);
                let reason = format!(
                    "its reactor is stalled: {what} has not returned for {}",
                    crate::time::span(in_call)
                );
                let culprit = self
                    .slots
                    .get(&slot)
                    .is_some_and(|s| s.runs.contains_key(&reactor.run_id));
                self.condemn(slot, reason, culprit.then_some(reactor.run_id));
            } else if silent > SILENT_NS {
                self.condemn(
                    slot,
                    format!("it has not beaten for {}", crate::time::span(silent)),
                    None,
                );
            } else {
                self.kill_if_drained(slot);
            }
        }
        busy
    }

    /// A plugin whose `init` never returns must not hold the start, or a reload, for ever.
    fn look_at_start(&mut self, slot: u32, now: u64) {
        let Some(s) = self.slots.get(&slot).filter(|s| s.link.is_some()) else {
            return;
        };
        let waited = |since: u64| now.saturating_sub(since.max(self.resumed_ns));
        let reason = match loading(s.view.as_ref()) {
            Some(line) if waited(line.since) > LOAD_NS => format!(
                "{} has not returned for {}",
                self.describe(slot, &line),
                crate::time::span(waited(line.since))
            ),
            _ if waited(s.started_ns) > START_NS => format!(
                "it was not ready after {}",
                crate::time::span(waited(s.started_ns))
            ),
            _ => return,
        };
        self.condemn(slot, reason, None);
    }

    /// A belt: a worker that turns, but has forgotten a run, would leave its check unwatched for ever.
    pub fn look_for_lost_runs(&mut self, now: u64) {
        if now.saturating_sub(self.last_search) < SEARCH_NS {
            return;
        }
        self.last_search = now;
        let mut lost = Vec::new();
        for (slot, s) in &self.slots {
            let forgotten = s.runs.iter().find(|(_, id)| {
                self.check(**id).is_some_and(|c| {
                    c.in_flight.as_ref().is_some_and(|f| {
                        // Wait for an instance, for room and for a thread, and each may take its time.
                        let patience = crate::check::ns(c.spec.timeout)
                            .saturating_mul(8)
                            .max(LOST_NS);
                        let since = f.dispatched_ns.max(f.due_ns).max(self.resumed_ns);
                        now.saturating_sub(since) > patience
                    })
                })
            });
            if let Some((run_id, _)) = forgotten {
                lost.push((*slot, format!("it has lost run {run_id}")));
            }
        }
        for (slot, reason) in lost {
            self.condemn(slot, reason, None);
        }
    }

    /// Its link has ended and it lives on: nothing can be heard from it any more.
    pub fn still_hung_up(&mut self, slot: u32, pid: u32) {
        if self.slots.get(&slot).is_some_and(|s| s.pid == pid) {
            self.condemn(slot, "it has closed its link".into(), None);
        }
    }

    /// "step of plugin `http`".
    fn describe(&self, slot: u32, line: &LineRecord) -> String {
        let plugin = self
            .slots
            .get(&slot)
            .and_then(|s| s.plugins.get(usize::from(line.plugin)))
            .map_or("?", String::as_str);
        format!("{} of plugin `{plugin}`", line.entry.as_str())
    }

    /// The supervisor declares a worker dead: drain what it had sent, name the culprit, send the rest again.
    pub fn worker_died(&mut self, slot: u32, pid: u32, death: &Death, buffer: &mut [u8]) {
        if self.slots.get(&slot).is_none_or(|s| s.pid != pid) {
            return;
        }
        // What it sent before its death is still there.
        self.receive_from(slot, buffer, usize::MAX);
        let dir = self.args.runtime_dir.clone();
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        // It may have died before anybody had to look at its map.
        s.open_view(&dir);
        let was = std::mem::replace(&mut s.state, SlotState::Dead);
        s.link = None;
        s.accounts.restarts += 1;
        let condemned = s.condemned.take();
        let view = s.view.take();
        let runs = std::mem::take(&mut s.runs);
        let generation = s.spec.generation;
        if was == SlotState::Starting {
            self.died_while_starting(slot, view.as_ref(), death, condemned.as_ref());
        }
        let blame = self.blame(slot, view.as_ref(), death, condemned.as_ref(), &runs);
        let retired = generation < self.generation || self.phase == Phase::Stopping;
        if was != SlotState::Starting && !(retired && runs.is_empty()) {
            log::warn!(
                "worker died  slot={slot} pid={pid} death={death} in_flight={} culprit={}",
                runs.len(),
                blame.as_ref().map_or("none", |b| b.check.as_str()),
            );
        }
        if let Some(s) = self.slots.get_mut(&slot) {
            // By our own hand, or by its own.
            match &condemned {
                Some(_) => s.accounts.lost_replaced += runs.len() as u64,
                None => s.accounts.lost_worker_died += runs.len() as u64,
            }
        }
        if let Some(s) = self.slots.get(&slot) {
            s.remove_map(&dir);
        }
        let class_died = self.slots.get(&slot).map(|s| s.spec.class);
        let by_itself = condemned.is_none()
            && was != SlotState::Starting
            && !matches!(death, Death::Signaled { signal, .. } if *signal == libc::SIGKILL);
        let objection = self.canary_died(
            slot,
            &blame.as_ref().map_or_else(
                || format!("its worker died: {death}"),
                |b| b.message.clone(),
            ),
        );
        for (run_id, id) in runs {
            let in_flight = self.check_mut(id).map(|c| &mut c.in_flight);
            let Some(flight) = in_flight.and_then(|f| f.take_if(|f| f.run_id == run_id)) else {
                continue;
            };
            if self.check(id).is_some_and(|c| c.removed) {
                self.forget(id);
                continue;
            }
            if let Some(blame) = blame.as_ref().filter(|b| b.run_id == run_id) {
                self.sentence(id, flight, blame);
            } else if self.phase == Phase::Stopping {
                self.publish(id);
            } else {
                let why = format!("its worker (slot {slot}, pid {pid}) died: {death}");
                if !self.send_again(id, &flight, why) {
                    let text = format!("two workers died during this run; the last by {death}");
                    self.conclude(
                        id,
                        Ending::Own,
                        format!("self:worker-died: {text}"),
                        Some(flight),
                    );
                }
                self.publish(id);
            }
        }
        if blame.is_none() {
            self.hold_late_culprit(view.as_ref());
        }
        if generation < self.generation {
            self.retire_slot(slot);
        } else {
            self.publish_slot(slot);
        }
        if let (Some(class), true) = (class_died, generation == self.generation) {
            let culprit = blame
                .as_ref()
                .map(|b| (b.check.as_str(), b.message.as_str()));
            self.trial_death(class, culprit, by_itself, &death.to_string());
        }
        if let Some(objection) = objection {
            self.refuse_coming(objection);
        }
        self.generation_progress();
    }

    /// The culprit's result: UNKNOWN, an attempt, and a hold so that it cannot kill a worker every second.
    fn sentence(&mut self, id: u32, flight: crate::check::InFlight, blame: &Blame) {
        let now = clock::monotonic_ns();
        self.conclude(id, Ending::Returned, blame.message.clone(), Some(flight));
        let Some(check) = self.check_mut(id) else {
            return;
        };
        debug_assert_eq!(check.status, Some(Status::Unknown));
        let length = check.hold(now);
        let until = now + length;
        log::warn!(
            "check held  check={} for={}",
            check.spec.name,
            crate::time::span(length)
        );
        if check.next_due < until {
            self.plan(id, until);
        }
        self.publish(id);
    }

    /// A call that was written off has crashed after all. Its run has had its result; the check is held all the
    /// same, or it would kill a worker each time.
    fn hold_late_culprit(&mut self, view: Option<&WorkerView>) {
        let Some(line) = view
            .and_then(|v| v.line(v.crash()?.line?))
            .filter(|l| l.entry != Entry::Idle && l.run_id != 0)
        else {
            return;
        };
        let now = clock::monotonic_ns();
        let Some(check) = self
            .check_mut(line.check)
            .filter(|c| c.last.run_id == line.run_id)
        else {
            return;
        };
        let length = check.hold(now);
        let name = check.spec.name.clone();
        log::warn!(
            "check held: a call of it that was written off has killed its worker  check={name} for={}",
            crate::time::span(length)
        );
        if self
            .check(line.check)
            .is_some_and(|c| c.next_due < now + length)
        {
            self.plan(line.check, now + length);
        }
        self.publish(line.check);
    }

    /// Which run is to blame, as far as it is certain. A SIGKILL from outside has no culprit.
    fn blame(
        &self,
        slot: u32,
        view: Option<&WorkerView>,
        death: &Death,
        condemned: Option<&Condemned>,
        runs: &std::collections::HashMap<u64, u32>,
    ) -> Option<Blame> {
        let name = self.slot_name(slot);
        let blame = |run_id: u64, message: String| {
            let id = runs.get(&run_id)?;
            Some(Blame {
                run_id,
                check: self.check(*id)?.spec.name.clone(),
                message,
            })
        };
        let plugin_of = |run_id: u64| {
            runs.get(&run_id)
                .and_then(|id| self.check(*id))
                .map_or("?".to_owned(), |c| c.spec.plugin.clone())
        };
        if let Some(Condemned {
            reason,
            culprit: Some(run_id),
            ..
        }) = condemned
        {
            let plugin = plugin_of(*run_id);
            return blame(
                *run_id,
                format!(
                    "stall: plugin `{plugin}` blocked its worker: {reason}; {name} was replaced"
                ),
            );
        }
        let view = view?;
        if let Some(crash) = view.crash() {
            let line = crash
                .line
                .and_then(|l| view.line(l))
                .filter(|l| l.entry != Entry::Idle);
            let place = match view.place(crash.pc) {
                Some((library, offset)) => format!(" at {library}+{offset:#x}"),
                None => String::new(),
            };
            let Some(line) = line else {
                log::error!(
                    "a thread outside any check crashed  slot={slot} signal={}{place} tid={}",
                    signal_name(crash.signal),
                    crash.tid
                );
                return None;
            };
            let plugin = plugin_of(line.run_id);
            let message = format!(
                "{} in plugin `{plugin}` ({}{place}): {name} died",
                signal_name(crash.signal),
                line.entry.as_str()
            );
            return blame(line.run_id, message);
        }
        // exit() in a plugin: certain only if no other thread was in a call, and it was not we who ended it.
        if let (Death::Exited { code }, None) = (death, condemned) {
            let calls: Vec<LineRecord> = view
                .lines()
                .into_iter()
                .filter(|l| l.entry != Entry::Idle)
                .collect();
            if let [line] = &calls[..] {
                let plugin = plugin_of(line.run_id);
                let message = format!(
                    "exit({code}) called in plugin `{plugin}` ({}): {name} died",
                    line.entry.as_str()
                );
                return blame(line.run_id, message);
            }
        }
        None
    }

    /// A plugin that kills a starting worker is left out of the next start.
    fn died_while_starting(
        &mut self,
        slot: u32,
        view: Option<&WorkerView>,
        death: &Death,
        condemned: Option<&Condemned>,
    ) {
        let Some(line) = loading(view) else {
            let words = self.slots.get(&slot).and_then(|s| s.last_words.as_deref());
            let why = condemned.map(|c| c.reason.as_str()).or(words);
            log::error!(
                "worker died before it was ready  slot={slot} death={death} why=\"{}\"",
                why.unwrap_or("unknown")
            );
            return;
        };
        let what = self.describe(slot, &line);
        if condemned.is_none()
            && matches!(death, Death::Signaled { signal, .. } if *signal == libc::SIGKILL)
            && let Some(s) = self.slots.get_mut(&slot)
        {
            s.killed_loading += 1;
            if s.killed_loading < KILLS {
                log::warn!("worker was killed while it started  slot={slot} in=\"{what}\"");
                return;
            }
        }
        let reason = match condemned {
            Some(c) => format!("a starting worker had to be killed: {}", c.reason),
            None => format!("it killed a starting worker: {death} in {what}"),
        };
        log::error!("plugin left out  slot={slot} why=\"{reason}\"");
        self.leave_out(slot, line.plugin, reason);
    }

    /// Names the plugins to a new worker, and waits for its Ready.
    pub fn greet(&mut self, slot: u32) {
        let plugins = self.plugins_for(slot);
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        let Some(link) = &mut s.link else { return };
        let class = s.spec.class;
        s.plugins = plugins.iter().map(|p| p.name.clone()).collect();
        let mut sent = Ok(());
        for (number, plugin) in plugins.iter().enumerate() {
            if plugin.class != class || plugin.left_out.is_some() {
                continue;
            }
            let load = ToWorker::Load {
                plugin: number as u16,
                index: plugin.index,
                name: plugin.name.clone(),
                file: plugin.file.display().to_string(),
            };
            sent = sent.and_then(|()| link.send_now(&load, Some(&plugin.copy)));
        }
        // One that has ended by now says why itself, and its death will be told.
        if let Err(e) = sent.and_then(|()| link.send_now(&ToWorker::Start, None))
            && e.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.condemn(slot, format!("it could not be told its plugins: {e}"), None);
        }
    }
}

/// The call into a plugin that a starting worker is in, or died in.
fn loading(view: Option<&WorkerView>) -> Option<LineRecord> {
    view.and_then(|v| v.line(0))
        .filter(|l| matches!(l.entry, Entry::Load | Entry::Init))
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_REASON {
        let end = (0..=MAX_REASON).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
    text
}

struct Blame {
    run_id: u64,
    check: String,
    message: String,
}
