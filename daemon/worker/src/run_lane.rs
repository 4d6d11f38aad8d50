//! Calls that may take long: `run`, and every `create`. Each has a pool thread until it returns.

use crate::active::{InstanceState, JobInfo, JobOutcome, JobReport, State};
use crate::bill;
use crate::contract::{Breach, Watched};
use crate::fanout::{InRun, Worked, in_run};
use crate::pool::{self, current_line};
use crate::reactor::Reactor;
use crate::services::{Posted, shared};
use crate::verdict::{End, Times};
use healthd_abi as abi;
use healthd_core::check::fault::Fault;
use healthd_core::wire::fanout::Work;
use healthd_core::wire::maps::Entry;
use healthd_core::wire::worker::{Ending, Growth};
use healthd_loader::fanout::Chunk;
use healthd_loader::{Context, ContextSpec, Instance, Owner, Plugin, Results};
use healthd_scoreboard::worker_map::{Call, WorkerMap};
use healthd_sys::{clock, memfd};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So many calls that are over leave what they had to others.
const MOST_SPARE: usize = 64;

pub struct JobSpec {
    pub map: &'static WorkerMap,
    pub key: u64,
    pub check: u32,
    pub epoch: u32,
    pub run_id: u64,
    pub attempt: u8,
    pub plugin: u16,
    pub timeout_ns: u64,
    pub name: Arc<str>,
    pub info: Arc<JobInfo>,
    pub context: Box<Context>,
    pub what: What,
}

pub enum What {
    Create {
        plugin: &'static Plugin,
        config: Arc<str>,
    },
    Run {
        instance: Arc<Instance>,
    },
    /// A chunk of another worker's run.
    Chunk {
        instance: Arc<Instance>,
        work: Work,
        input: Option<Arc<OwnedFd>>,
    },
}

impl pool::Work for JobSpec {
    fn work(self) {
        execute(self);
    }
}

/// Runs on a pool thread.
fn execute(mut job: JobSpec) {
    let map = job.map;
    let line = current_line();
    let started_ns = clock::monotonic_ns();
    if job.info.cancel.is_cancelled() {
        job.report(started_ns, 0, Growth::default(), None, JobOutcome::NotBegun);
        return;
    }
    job.context.set_deadline(match &job.what {
        What::Chunk { work, .. } => work.deadline_ns,
        What::Create { .. } | What::Run { .. } => started_ns.saturating_add(job.timeout_ns),
    });
    job.info.begins(healthd_sys::process::gettid());
    job.info
        .line
        .store(line.map_or(0, |l| l as u32 + 1), Ordering::Relaxed);
    let cpu = clock::thread_cpu_ns();
    job.info.cpu_started_ns.store(cpu, Ordering::Relaxed);
    job.info.started_ns.store(started_ns, Ordering::Release);
    let entry = match &job.what {
        What::Create { .. } => Entry::Create,
        What::Run { .. } => Entry::Run,
        What::Chunk { .. } => Entry::Chunk,
    };
    let call = Call {
        entry,
        plugin: job.plugin,
        check: job.check,
        run_id: job.run_id,
        attempt: job.attempt,
        since_ns: started_ns,
    };
    if let Some(line) = line {
        map.enter(line, call);
    }
    let before = bill::look();
    let watched = Watched::call();
    let outcome = match &job.what {
        What::Create { plugin, config } => {
            let owner = Owner {
                plugin: job.plugin,
                check: job.check,
            };
            JobOutcome::Created(plugin.create(&job.context, config, owner))
        }
        What::Run { instance } => {
            let run = InRun::new(
                job.key,
                job.info.clone(),
                instance.clone(),
                map,
                call,
                job.name.clone(),
                job.context.deadline(),
            );
            JobOutcome::Ran(in_run(run, || instance.run(&job.context)))
        }
        What::Chunk {
            instance,
            work,
            input,
        } => JobOutcome::Chunk(chunk(instance, &job.context, *work, input.as_deref())),
    };
    let cpu_ns = clock::thread_cpu_ns().saturating_sub(cpu);
    let grew = bill::grown_since(before);
    healthd_sys::fork_guard::end_if_forked();
    let breach = watched.leave(job.plugin);
    if job.info.ends().is_some_and(|thread| thread.niced) {
        pool::leave_after_this_job();
    }
    if let Some(line) = line {
        map.leave(line);
    }
    job.report(started_ns, cpu_ns, grew, breach, outcome);
}

fn chunk(instance: &Instance, cx: &Context, work: Work, input: Option<&OwnedFd>) -> Worked {
    let output = match memfd::output() {
        Ok(output) => output,
        Err(e) => return Worked::no_memfd(&e),
    };
    let chunk = Chunk {
        kind: work.kind,
        index: work.index,
        count: work.count,
        from: work.from,
        to: work.to,
    };
    let cpu = clock::thread_cpu_ns();
    let ret = instance.chunk(cx, chunk, input.map(AsFd::as_fd), output.as_fd());
    let cpu_ns = clock::thread_cpu_ns().saturating_sub(cpu);
    let plugin = &instance.plugin().descriptor.name;
    Worked::of(plugin, ret, cx.take_results().message, output, cpu_ns)
}

impl JobSpec {
    /// The instance goes back with the report: so it is not used any more by the time its check is told of another.
    fn report(
        self,
        started_ns: u64,
        cpu_ns: u64,
        grew: Growth,
        breach: Option<Breach>,
        outcome: JobOutcome,
    ) {
        let instance = match self.what {
            What::Run { instance } | What::Chunk { instance, .. } => Some(instance),
            What::Create { .. } => None,
        };
        shared().post(Posted::Job(JobReport {
            key: self.key,
            check: self.check,
            epoch: self.epoch,
            started_ns,
            finished_ns: clock::monotonic_ns(),
            cpu_ns,
            grew,
            context: self.context,
            info: self.info,
            instance,
            breach,
            outcome,
        }));
    }
}

impl Reactor {
    /// Makes a check's instance, on a pool thread: `create` may read files and look names up.
    pub(crate) fn create(&mut self, key: u64) {
        let Some(at) = self.find(key) else { return };
        let Some(def) = self.def(self.active[at].run.check) else {
            return;
        };
        let Some(loaded) = self.plugins[usize::from(def.plugin)].as_ref() else {
            return;
        };
        let what = What::Create {
            plugin: loaded.plugin,
            config: def.config.clone(),
        };
        self.submit(key, what);
    }

    pub(crate) fn start_run(&mut self, key: u64, instance: Arc<Instance>) {
        let what = match self.find(key).map(|at| self.active[at].chunk.is_some()) {
            Some(true) => match self.chunk_of(key) {
                Some(what) => what,
                None => return,
            },
            _ => What::Run { instance },
        };
        self.submit(key, what);
    }

    fn submit(&mut self, key: u64, what: What) {
        let Some(at) = self.find(key) else { return };
        let run = self.active[at].run;
        let Some(def) = self.def(run.check) else {
            return;
        };
        let (is_create, plugin) = match &what {
            What::Create { plugin, .. } => (true, *plugin),
            What::Run { instance } | What::Chunk { instance, .. } => (false, instance.plugin()),
        };
        let (number, timeout_ns, name) = (def.plugin, def.timeout_ns, def.name.clone());
        let old = self.jobs.pop().and_then(|old| old.again(is_create));
        let info = old.unwrap_or_else(|| JobInfo::new(is_create));
        let context = self.spare.context(ContextSpec {
            lane: match &what {
                What::Create { .. } => abi::LANE_CREATE,
                What::Run { .. } => abi::LANE_RUN,
                What::Chunk { .. } => abi::LANE_CHUNK,
            },
            attempt: if is_create { 0 } else { u32::from(run.attempt) },
            check_id: u64::from(run.check),
            run_id: run.run_id,
            started_ns: clock::monotonic_ns(),
            deadline_ns: 0,
            name: name.clone(),
            plugin: &plugin.descriptor.name,
            cancel: info.cancel.clone(),
            task: u64::MAX,
            notice: self.active[at].notice.clone(),
            on_phase: Some(phase_on_this_thread),
        });
        let job = JobSpec {
            map: self.map,
            key,
            check: run.check,
            epoch: run.epoch,
            run_id: run.run_id,
            attempt: run.attempt,
            plugin: number,
            timeout_ns,
            name,
            info: info.clone(),
            context,
            what,
        };
        if !is_create && let Some(chunk) = &mut self.active[at].chunk {
            chunk.begun = true;
        }
        self.active[at].state = State::Job(info);
        if !self.pool.submit(job) {
            self.active[at].state = State::Waiting;
            self.finish(
                key,
                End::own(Fault::Resources, "no thread could be started"),
                Results::default(),
            );
            if is_create {
                for waiting in self.drop_instance(run.check, run.epoch) {
                    let end = End::own(Fault::Resources, "no thread could be started");
                    self.finish(waiting, end, Results::default());
                }
            }
        }
    }
}

impl Reactor {
    pub(crate) fn job_done(&mut self, report: JobReport) {
        let created = matches!(report.outcome, JobOutcome::Created(_));
        if let Some(instance) = report.instance {
            drop(instance);
        }
        if let Some(breach) = &report.breach {
            self.tell_breach(report.check, breach);
        }
        let Some(at) = self.find(report.key) else {
            // Its run ended without it; what it says now is ignored, but its thread is back, and its time is billed.
            let billed = report.info.cpu_billed_ns.load(Ordering::Relaxed);
            let rest = report.cpu_ns.saturating_sub(billed);
            bill::late(
                &mut self.outbox,
                (report.check, report.epoch),
                rest,
                report.grew,
            );
            if self
                .stuck
                .remove(&report.info.written_off.load(Ordering::Relaxed))
            {
                self.pool.stuck(false);
            }
            return;
        };
        let outcome = match report.outcome {
            JobOutcome::Chunk(worked) => return self.chunk_back(report.key, report.epoch, worked),
            outcome => outcome,
        };
        self.active[at].bill.call(report.cpu_ns, report.grew);
        let cancelled = report.context.cancel().is_cancelled();
        let mut said = report.context.take_results();
        self.spare.over(report.context);
        let run = self.active[at].run;
        let plugin_name = self.plugin_name(run.check);
        match outcome {
            JobOutcome::Created(Ok(instance)) => {
                // The run that follows may be well, and what its making left behind is told all the same.
                self.active[at].breach = report.breach;
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
                    _ => Vec::new(),
                };
                for key in std::iter::once(report.key).chain(waiting) {
                    self.restart(key);
                }
            }
            outcome => {
                let ret = match outcome {
                    JobOutcome::Created(Err(ret)) | JobOutcome::Ran(ret) => ret,
                    JobOutcome::Created(Ok(_)) | JobOutcome::NotBegun | JobOutcome::Chunk(_) => {
                        healthd_abi::E_CANCELLED
                    }
                };
                let call = if created { "create" } else { "run" };
                // It gave up when it was asked to, but the time until then was not its own.
                let starved = ret == healthd_abi::E_CANCELLED
                    && self.active[at].suspicion.is_some_and(|s| s.told);
                let end = match self.def(run.check) {
                    Some(_) if starved => {
                        let had = report.finished_ns.saturating_sub(report.started_ns);
                        End::starved(plugin_name, call, had, report.cpu_ns)
                    }
                    Some(def) => {
                        End::returned(def, plugin_name, call, ret, cancelled, &said.message)
                    }
                    None => End::cancelled(),
                };
                let end = if created && end.ending == Ending::Returned {
                    let why = format!("plugin `{plugin_name}` returned {ret} from create");
                    End::fault(Fault::PluginError, why)
                } else {
                    end
                };
                let end = match report.info.take_lost() {
                    Some(why) => {
                        said.message.clear();
                        End::fault(Fault::PluginError, why)
                    }
                    None => end,
                };
                let breach = report.breach.or(self.active[at].breach.take());
                let end = match breach {
                    Some(breach) => breach.end(plugin_name, call, end),
                    None => end,
                };
                let times = Times {
                    started_ns: report.started_ns,
                    finished_ns: report.finished_ns,
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
                } else if end.ending == Ending::Fault(Fault::Panic)
                    || report.info.poisoned.load(Ordering::Relaxed)
                {
                    self.drop_instance(run.check, report.epoch);
                }
                said.note_cut();
                self.finish_at(report.key, end, said, times);
            }
        }
        if self.jobs.len() < MOST_SPARE {
            self.jobs.extend(report.info.over());
        }
    }

    /// After its instance was made: the deadline counts from here, and the plugin's limit holds.
    pub(crate) fn restart(&mut self, key: u64) {
        if let Some(at) = self.find(key) {
            if let Some(timer) = self.active[at].timer.take() {
                self.wheel.cancel(timer);
            }
            self.active[at].state = State::Waiting;
            self.started -= 1;
            self.begin_now(key, clock::monotonic_ns());
        }
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
            InstanceState::Ready(_) | InstanceState::None => Vec::new(),
        }
    }

    /// A definition goes, and its instance with it.
    pub(crate) fn forget(&mut self, check: u32) {
        if let Some(def) = self.checks.get_mut(check as usize) {
            *def = None;
        }
    }

    /// At the end every instance gets its `destroy`. True: all have had it.
    pub(crate) fn all_destroyed(&mut self) -> bool {
        self.checks.clear();
        self.shared.destroyer.is_idle()
    }
}

/// Names the phase in the calling thread's line: what a post-mortem shows.
pub(crate) fn phase_on_this_thread(name: &str) {
    if let (Some(line), Some(map)) = (current_line(), crate::role::worker_map()) {
        map.phase(line, name);
    }
}
