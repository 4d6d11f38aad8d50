//! The end of a run that its plugin does not end: at its deadline, or because it was taken back.
//!
//! A task is dropped. A call on a thread is asked to give up, and written off when it does not.

use crate::active::{JobInfo, State, Thread};
use crate::exec::{Children, Deadline, Starved};
use crate::reactor::{MS, Reactor, Timer};
use crate::side;
use crate::verdict::{self, End, Times};
use healthd_core::check::fault::Fault;
use healthd_core::starvation::{Share, Suspicion};
use healthd_core::text::field;
use healthd_core::wire::worker::{Growth, ToManager};
use healthd_loader::Results;
use healthd_names::Waits;
use healthd_sys::{clock, process};
use std::sync::atomic::Ordering;

/// Before its deadline a run-lane call is asked to give up: a tenth of its time, at most this long.
const CANCEL_AHEAD_NS: u64 = 100 * MS;
const MAX_STUCK: usize = 4;
pub(crate) const STUCK_NS: u64 = 30_000 * MS;
/// A call that the machine does not let run gets its timeout again, and no more than this.
const STARVED_NS: u64 = 15_000 * MS;

impl Reactor {
    /// A little before the deadline: a run-lane call is asked to come back, and may still do so in time.
    pub(crate) fn ask_to_give_up(&mut self, key: u64, now: u64) {
        let Some(at) = self.find(key) else { return };
        let check = self.active[at].run.check;
        let ahead = cancel_ahead(self.def(check).map_or(0, |d| d.timeout_ns));
        let (when, timer) = match &self.active[at].state {
            State::Job(info) => match info.started_ns.load(Ordering::Acquire) {
                0 => (now + ahead, Timer::Deadline(key)),
                // It waited for a thread first; its own time counts from its start.
                started if now + ahead + MS < self.must_end(at, started) => {
                    (self.must_end(at, started) - ahead, Timer::Cancel(key))
                }
                started => {
                    info.cancel.cancel();
                    let thread = *info.thread();
                    let watched = thread.and_then(|t| share(t.tid)).map(Suspicion::new);
                    let must_end = self.must_end(at, started);
                    self.active[at].suspicion = watched;
                    (must_end, Timer::Deadline(key))
                }
            },
            _ => (now + ahead, Timer::Deadline(key)),
        };
        let timer = self.wheel.insert(when.div_ceil(MS), timer);
        self.active[at].timer = Some(timer);
    }

    /// A run has its timeout from its start on; a chunk has what its parent has left.
    pub(crate) fn must_end(&self, at: usize, started: u64) -> u64 {
        let active = &self.active[at];
        match &active.chunk {
            Some(chunk) => chunk.work.deadline_ns,
            None => started + self.def(active.run.check).map_or(0, |d| d.timeout_ns),
        }
    }

    pub(crate) fn deadline(&mut self, key: u64, now: u64) {
        let Some(at) = self.find(key) else { return };
        self.active[at].timer = None;
        let run = self.active[at].run;
        let Some(def) = self.def(run.check) else {
            self.end_early(key, End::cancelled());
            return;
        };
        let timeout = def.timeout_ns;
        let (owed, waits) = self.shared.names.owed(key);
        let given = match &self.active[at].state {
            State::Task(task) => {
                if owed > 0 {
                    task.context().give_back(owed);
                }
                task.context().given_ns() - self.active[at].given_ns
            }
            State::Job(_) | State::Waiting | State::Stepping => 0,
        };
        let stalled = self.stalled_ns > 0 && !self.active[at].extended;
        // Its look-up is told shortly before the deadline that the plugin knows, and that counts from the plugin's start.
        let told = match &self.active[at].state {
            State::Task(task) if waits == Waits::Asked => task.context().moved_deadline(),
            _ => 0,
        };
        let more = given + if stalled { self.stalled_ns } else { 0 };
        let more = more.max(told.saturating_sub(now));
        if more > 0 {
            self.active[at].given_ns += given;
            self.active[at].extended |= stalled;
            let timer = self
                .wheel
                .insert((now + more).div_ceil(MS), Timer::Deadline(key));
            self.active[at].timer = Some(timer);
            return;
        }
        if matches!(self.active[at].state, State::Task(_)) {
            if self.program_is_ended(key, now) {
                return;
            }
            self.names_are_late(key);
        }
        let Some(at) = self.find(key) else { return };
        let Some(def) = self.def(run.check) else {
            return;
        };
        match &self.active[at].state {
            State::Task(_) if waits == Waits::Queued => {
                let why =
                    "its look-up of a name had no turn: too many names wait that have no answer";
                self.end_early(key, End::own(Fault::Resolver, why));
            }
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
                    self.end_early(key, End::own(Fault::Overload, &why));
                } else if now < self.must_end(at, started) {
                    // It waited for a thread first; its own time counts from its start.
                    let at_ms = (self.must_end(at, started) - cancel_ahead(timeout)).div_ceil(MS);
                    let timer = self.wheel.insert(at_ms, Timer::Cancel(key));
                    self.active[at].timer = Some(timer);
                } else {
                    let info = info.clone();
                    self.overran(key, &info, now);
                }
            }
            State::Waiting | State::Stepping => {
                let why = format!(
                    "plugin `{}` had no room for it within {}",
                    self.plugin_name(run.check),
                    verdict::seconds(timeout)
                );
                self.end_early(key, End::own(Fault::Overload, &why));
            }
        }
    }

    /// The last word on what a task looks up: it may say itself why it ends. One that is on its way is not overtaken.
    fn names_are_late(&mut self, key: u64) {
        // In this order: who is not told by this was told before, and that is posted.
        let late = self.shared.names.late(key);
        self.hear();
        self.tell_names();
        for told in late {
            self.resolved(&told);
        }
    }

    /// At its deadline a program is asked to end, and its plugin is told of that with what the program said until then.
    /// False: this task has none.
    fn program_is_ended(&mut self, key: u64, now: u64) -> bool {
        let Some(at) = self.find(key) else {
            return false;
        };
        let run = self.active[at].run;
        let deadline = side::with(|s| Children::deadline(s, key, now)).flatten();
        let (Some(deadline), Some(def)) = (deadline, self.def(run.check)) else {
            return false;
        };
        self.active[at].ending = match deadline {
            Deadline::Ended => None,
            Deadline::Ends { starved: None } => Some(End::timeout(def, None)),
            Deadline::Ends {
                starved: Some(Starved { had_ns, ran_ns }),
            } => {
                let plugin = self.plugin_name(run.check);
                Some(End::starved(plugin, "the program", had_ns, ran_ns))
            }
        };
        true
    }

    /// A call is not back at its deadline. If it was kept from running for most of the time since it was asked to give
    /// up, it may have as much again, and in the end it was not its fault.
    fn overran(&mut self, key: u64, info: &JobInfo, now: u64) {
        let Some(at) = self.find(key) else { return };
        let run = self.active[at].run;
        let Some(timeout) = self.def(run.check).map(|d| d.timeout_ns) else {
            return;
        };
        let Some(Thread { tid, .. }) = *info.thread() else {
            // It has just come back: its report is on its way.
            return;
        };
        let ran = ran_ns(info, tid);
        let active = &mut self.active[at];
        let lacked = active
            .suspicion
            .as_mut()
            // A chunk has what its parent has left.
            .filter(|_| ran < timeout && active.chunk.is_none())
            .zip(share(tid))
            .and_then(|(suspicion, share)| {
                let lacked = suspicion.look(share);
                suspicion.told |= suspicion.percent() < 50;
                (suspicion.percent() < 50).then_some(lacked)
            });
        let late = now.saturating_sub(self.must_end(at, info.started_ns.load(Ordering::Relaxed)));
        let call = if info.is_create { "create" } else { "run" };
        let plugin = self.plugin_name(run.check);
        match lacked {
            Some(lacked) if late < timeout.min(STARVED_NS) => {
                // And no more of a processor than it would have had.
                let more = lacked.max(10 * MS).min(timeout - ran);
                let at_ms = (now + more).div_ceil(MS);
                let timer = self.wheel.insert(at_ms, Timer::Deadline(key));
                self.active[at].timer = Some(timer);
            }
            Some(_) => self.write_off(key, End::starved(plugin, call, timeout + late, ran)),
            None => {
                if let Some(def) = self.def(run.check) {
                    let end = End::overrun(def, plugin, call);
                    self.write_off(key, end);
                }
            }
        }
    }

    /// A run-lane call is not back at its deadline, or its run was taken back: report that now. Thread,
    /// context and instance are its own until it returns.
    pub(crate) fn write_off(&mut self, key: u64, end: End) {
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
            self.map.stuck(line as usize - 1, run.run_id);
        }
        // One that has just come back may be in the next call by now, and all of its time is in its report.
        let cpu_ns = match &mut *info.thread() {
            Some(thread) => {
                thread.niced = healthd_sys::limits::nice_thread(thread.tid, 19).is_ok();
                ran_ns(&info, thread.tid)
            }
            None => 0,
        };
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
            field(self.check_name(run.check)),
            end.why,
            self.stuck.len()
        );
        let now = clock::monotonic_ns();
        let started_ns = info.started_ns.load(Ordering::Relaxed);
        info.cpu_billed_ns.store(cpu_ns, Ordering::Relaxed);
        self.active[at].bill.call(cpu_ns, Growth::default());
        self.finish_at(
            key,
            end,
            Results::default(),
            Times {
                started_ns,
                finished_ns: now,
            },
        );
        self.wheel
            .insert((now + STUCK_NS) / MS, Timer::Stuck(self.written_off));
        if self.stuck.len() >= MAX_STUCK {
            let reason = format!("{} threads are stuck in plugin calls", self.stuck.len());
            self.unwell(&reason);
        }
    }

    pub(crate) fn unwell(&mut self, reason: &str) {
        if !self.unwell_said {
            self.unwell_said = true;
            self.outbox.say(&ToManager::Unwell {
                reason: reason.to_owned(),
            });
        }
    }

    /// Ends a run that its plugin has not ended.
    pub(crate) fn end_early(&mut self, key: u64, end: End) {
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
}

/// What the thread has used of a processor in this call.
fn ran_ns(info: &JobInfo, tid: u32) -> u64 {
    clock::cpu_of_thread_ns(tid)
        .unwrap_or_default()
        .saturating_sub(info.cpu_started_ns.load(Ordering::Relaxed))
}

fn share(tid: u32) -> Option<Share> {
    let (time, stat) = process::time_of_thread(std::process::id(), tid).ok()?;
    Share::parse(clock::monotonic_ns(), &time, &stat)
}

pub(crate) fn cancel_ahead(timeout_ns: u64) -> u64 {
    (timeout_ns / 10).min(CANCEL_AHEAD_NS)
}
