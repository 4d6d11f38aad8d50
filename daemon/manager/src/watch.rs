//! Watching the workers: their messages, stalls, and deaths.

use crate::book::{Chore, MS, Manager, Phase};
use crate::slots::{Condemned, SlotState};
use healthd_core::check::outcome::Status;
use healthd_core::wire::maps::{Entry, LineRecord, worker_header as h};
use healthd_core::wire::supervisor::{Death, ToSupervisor, signal_name};
use healthd_core::wire::worker::{Ending, ToManager, ToWorker};
use healthd_sys::clock;
use healthd_sys::unix_socket::{self, Received};

/// A call on the reactor that takes longer than this costs the worker its life.
const STALL_NS: u64 = 1000 * MS;
/// A worker that does not beat (it beats once a second when idle) is wedged or stopped.
const SILENT_NS: u64 = 4000 * MS;
/// Two looks at the workers are never so far apart, unless we were stopped, or the machine was.
const GAP_NS: u64 = 2000 * MS;
/// A worker that is to be replaced may finish its other runs for so long.
const REPLACE_NS: u64 = 10_000 * MS;

impl Manager {
    /// Takes every message a worker has sent. Bytes that are no message cost it its life.
    pub fn receive_from(&mut self, slot: u32, buffer: &mut [u8]) {
        loop {
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
                log::error!("plugin cannot be used  slot={slot} why=\"{reason}\"");
                self.leave_out(slot, plugin, reason);
            }
            ToManager::Unwell { reason } => {
                log::warn!("worker is to be replaced  slot={slot} why=\"{reason}\"");
                self.replace_soon(slot, reason);
            }
            ToManager::Drained => {}
        }
    }

    fn worker_ready(&mut self, slot: u32) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        if s.state != SlotState::Starting {
            return;
        }
        s.state = SlotState::Ready;
        s.given_up = None;
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
        if s.state != SlotState::Ready {
            return;
        }
        s.state = SlotState::Draining;
        s.condemned = Some(Condemned {
            reason,
            culprit: None,
        });
        let pid = s.pid;
        let at = (clock::monotonic_ns() + REPLACE_NS) / MS;
        self.chores.insert(at, Chore::Replace { slot, pid });
        self.publish_slot(slot);
        self.kill_if_drained(slot);
    }

    pub fn replace_now(&mut self, slot: u32, pid: u32) {
        let Some(s) = self
            .slots
            .get(&slot)
            .filter(|s| s.pid == pid && s.state == SlotState::Draining)
        else {
            return;
        };
        let reason = s
            .condemned
            .as_ref()
            .map_or("replaced".to_owned(), |c| c.reason.clone());
        self.supervisor
            .say(&ToSupervisor::Kill { slot, pid, reason });
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
        if s.state == SlotState::Dead || s.condemned.as_ref().is_some_and(|c| c.culprit.is_some()) {
            return;
        }
        let pid = s.pid;
        log::warn!("worker condemned  slot={slot} pid={pid} why=\"{reason}\"");
        s.state = SlotState::Draining;
        s.condemned = Some(Condemned {
            reason: reason.clone(),
            culprit,
        });
        self.publish_slot(slot);
        self.supervisor
            .say(&ToSupervisor::Kill { slot, pid, reason });
    }

    /// Looks at every worker's map. Returns whether any has work, and so must be looked at again soon.
    pub fn look_at_workers(&mut self, now: u64) -> bool {
        let mut busy = false;
        let last = std::mem::replace(&mut self.last_look, now);
        if last != 0 && now.saturating_sub(last) > GAP_NS {
            log::warn!("stood still  for={}", crate::time::span(now - last));
            self.awake_since = now;
        }
        let awake_since = self.awake_since;
        let slots: Vec<u32> = self.slots.keys().copied().collect();
        for slot in slots {
            let Some(s) = self.slots.get_mut(&slot) else {
                continue;
            };
            if !matches!(s.state, SlotState::Ready | SlotState::Draining) {
                continue;
            }
            busy |= !s.runs.is_empty();
            if s.condemned.as_ref().is_some_and(|c| c.culprit.is_some()) {
                continue;
            }
            let Some(view) = &s.view else { continue };
            let (Ok(head), Some(reactor)) = (view.header(), view.line(0)) else {
                continue;
            };
            let in_call = now.saturating_sub(reactor.since.max(awake_since));
            let silent = now.saturating_sub(head[h::BEAT].max(awake_since));
            if reactor.entry != Entry::Idle && in_call > STALL_NS {
                let what = self.describe(&reactor);
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

    /// "step of plugin `http`".
    fn describe(&self, line: &LineRecord) -> String {
        let plugin = self
            .plugins
            .get(usize::from(line.plugin))
            .map_or("?", |p| p.name.as_str());
        format!("{} of plugin `{plugin}`", line.entry.as_str())
    }

    /// The supervisor declares a worker dead: drain what it had sent, name the culprit, send the rest again.
    pub fn worker_died(&mut self, slot: u32, pid: u32, death: &Death, buffer: &mut [u8]) {
        if self.slots.get(&slot).is_none_or(|s| s.pid != pid) {
            return;
        }
        // What it sent before its death is still there.
        self.receive_from(slot, buffer);
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
            self.died_while_starting(slot, view.as_ref(), death);
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
            s.accounts.lost_worker_died += runs.len() as u64;
        }
        if let Some(view) = &view {
            view.unlink();
        }
        for (run_id, id) in runs {
            let Some(flight) = self.check_mut(id).and_then(|c| c.in_flight.take()) else {
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
        if generation < self.generation {
            self.retire_slot(slot);
        } else {
            self.publish_slot(slot);
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

    /// Which run is to blame, as far as it is certain. A SIGKILL from outside has no culprit.
    fn blame(
        &self,
        slot: u32,
        view: Option<&healthd_scoreboard::worker_map::WorkerView>,
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
        // exit() in a plugin: certain only if no other thread was in a call.
        if let Death::Exited { code } = death {
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
        view: Option<&healthd_scoreboard::worker_map::WorkerView>,
        death: &Death,
    ) {
        let line = view
            .and_then(|v| v.line(0))
            .filter(|l| matches!(l.entry, Entry::Load | Entry::Init));
        match line {
            Some(line) => {
                let reason = format!(
                    "it killed a starting worker: {death} in {}",
                    self.describe(&line)
                );
                log::error!("plugin left out  slot={slot} why=\"{reason}\"");
                self.leave_out(slot, line.plugin, reason);
            }
            None => log::error!("worker died before it was ready  slot={slot} death={death}"),
        }
    }

    /// Names the plugins to a new worker, and waits for its Ready.
    pub fn greet(&mut self, slot: u32) {
        let plugins = self.plugins_for(slot);
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        let Some(link) = &mut s.link else { return };
        let class = s.spec.class;
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
        if let Err(e) = sent.and_then(|()| link.send_now(&ToWorker::Start, None)) {
            self.condemn(slot, format!("it could not be told its plugins: {e}"), None);
        }
    }
}

struct Blame {
    run_id: u64,
    check: String,
    message: String,
}
