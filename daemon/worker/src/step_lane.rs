//! The step lane: tasks that wait for the network, resumed by the reactor.

use crate::active::State;
use crate::bill;
use crate::contract::{self, Breach, LeftByTurn, Watched};
use crate::reactor::{MS, Reactor, Timer};
use crate::run_lane::phase_on_this_thread;
use crate::side;
use crate::verdict::End;
use healthd_abi as abi;
use healthd_core::check::fault::Fault;
use healthd_core::text::field;
use healthd_core::wire::maps::Entry;
use healthd_core::wire::worker::{Ending, Run};
use healthd_loader::{Context, ContextSpec, Event, Instance, NoAddress, Started, Task};
use healthd_names::Told;
use healthd_scoreboard::worker_map::Call;
use healthd_sys::clock;
use healthd_sys::threads::WorksFor;
use healthd_sys::usage::Usage;
use std::sync::Arc;

/// A step may take this long (the header's budget); much longer is worth a line in the log.
const SLOW_STEP_NS: u64 = 50 * MS;

/// Before a call into a plugin on this thread.
struct Before {
    usage: Option<Usage>,
    works_for: WorksFor,
}

impl Before {
    fn look(plugin: u16) -> Before {
        Before {
            usage: bill::look(),
            works_for: contract::works_for(plugin),
        }
    }
}

impl Reactor {
    pub(crate) fn start_step(&mut self, key: u64, instance: Arc<Instance>) {
        let Some(at) = self.find(key) else { return };
        let run = self.active[at].run;
        let Some(def) = self.def(run.check) else {
            return;
        };
        let plugin = def.plugin;
        let call = call_of(Entry::Start, plugin, &run, clock::monotonic_ns());
        let spec = ContextSpec {
            lane: abi::LANE_STEP,
            attempt: u32::from(run.attempt),
            check_id: u64::from(run.check),
            run_id: run.run_id,
            started_ns: call.since_ns,
            deadline_ns: call.since_ns + def.timeout_ns,
            name: def.name.clone(),
            plugin: &instance.plugin().descriptor.name,
            cancel: self.spare.never(),
            task: key,
            notice: self.active[at].notice.clone(),
            on_phase: Some(phase_on_this_thread),
        };
        let context = self.spare.context(spec);
        self.active[at].started_ns = call.since_ns;
        self.active[at].state = State::Stepping;
        let before = Before::look(plugin);
        self.map.enter(self.line, call);
        let watched = self.steps.enter(key, "start", plugin);
        let started = instance.start(context);
        self.watch(key, watched);
        let now = self.left(key, call.since_ns, before, "start");
        match started {
            Started::Done(ret, context) => self.returned(key, ret, "start", context, now),
            Started::Task(task) => self.pending(key, task, "start", now),
        }
    }

    /// The task goes on, if anything will ever step it: else it would end as a time-out of its target.
    fn pending(&mut self, key: u64, task: Task, call: &str, now: u64) {
        let Some(at) = self.find(key) else { return };
        if !task.context().waits_for_nothing() {
            self.active[at].state = State::Task(task);
            self.timers_asked(now);
            return;
        }
        let plugin = self.plugin_name(self.active[at].run.check);
        let why = format!(
            "plugin `{plugin}` returned HD_PENDING from {call} and waits for nothing: no fd, timer, look-up or waker"
        );
        self.drop_task(key, task, End::fault(Fault::PluginError, why));
    }

    /// A call has come back: what has it left behind?
    fn watch(&mut self, key: u64, watched: Option<Watched>) {
        let breach = watched.and_then(|w| w.leave(u16::MAX));
        let (Some(breach), Some(at)) = (breach, self.find(key)) else {
            return;
        };
        self.steps.found();
        self.tell_breach(self.active[at].run.check, &breach);
        self.active[at].breach.get_or_insert(breach);
    }

    /// How a task's run ends in the face of what it has left behind, or what was left beside it.
    fn in_spite_of(&mut self, at: usize, call: &str, end: End, now: u64) -> End {
        let active = &mut self.active[at];
        let (check, made) = (active.run.check, active.threads);
        let mut breach = active.breach.take();
        let plugin = self.def(check).map_or(u16::MAX, |d| d.plugin);
        let loaded = self.plugins.get(usize::from(plugin));
        let running = loaded
            .and_then(Option::as_ref)
            .map_or(0, |l| l.running.saturating_sub(1));
        if let Some(more) = self.steps.ended(plugin, made, running, now) {
            self.tell_breach(check, &more);
            breach.get_or_insert(more);
        }
        match breach {
            Some(breach) if end.ending != Ending::Cancelled => {
                breach.end(self.plugin_name(check), call, end)
            }
            _ => end,
        }
    }

    /// The turn is over: what have its steps left behind? All its runs may have suffered from it, also those that have
    /// ended in it, of which nobody has heard yet.
    pub(crate) fn watch_steps(&mut self) {
        let Some(LeftByTurn { breach, by }) = self.steps.leave() else {
            return;
        };
        let call = by.map_or("a step", |(_, call)| call);
        let is_meant = |key: u64| by.is_none_or(|(only, _)| only == key);
        let mut first = None;
        let mut ended = std::mem::take(&mut self.turn.ended);
        for ended in ended.iter_mut().filter(|ended| is_meant(ended.key)) {
            let check = ended.end.check;
            first = first.or(Some(check));
            breach.amend(ended, self.plugin_name(check), call);
        }
        self.turn.ended = ended;
        let stepped = self.turn.stepped.iter().copied();
        for at in stepped
            .filter(|key| is_meant(*key))
            .filter_map(|key| self.find(key))
            .collect::<Vec<_>>()
        {
            let active = &mut self.active[at];
            first = first.or(Some(active.run.check));
            active.breach.get_or_insert_with(|| breach.clone());
        }
        if let Some(check) = first {
            self.tell_breach(check, &breach);
        }
    }

    /// Nobody else may take it for what it is not; and a process that stays so must go.
    pub(crate) fn tell_breach(&mut self, check: u32, breach: &Breach) {
        if !breach.certain && !breach.stays && crate::contract::is_broken() {
            return; // it was told when it happened
        }
        let role = match breach.certain {
            true => "culprit",
            false => "check",
        };
        let who = format!("{role}={}", self.check_name(check));
        self.tell_left(self.plugin_name(check), &who, breach);
    }

    /// The same of a call; `who` says whose it was.
    pub(crate) fn tell_left(&mut self, plugin: &str, who: &str, breach: &Breach) {
        let sure = match breach.certain {
            true => "",
            false => ", or one beside it",
        };
        log::warn!(
            "plugin breaks its contract  plugin={plugin} {who} left=\"{}\"{sure}",
            breach.what
        );
        if breach.stays {
            self.unwell(&format!(
                "plugin `{plugin}` left {} behind{sure}",
                breach.what
            ));
        }
    }

    /// Resumes a task; one that is gone by now is no error.
    pub(crate) fn step(&mut self, key: u64, event: &Event) {
        let Some(at) = self.find(key) else { return };
        if !matches!(self.active[at].state, State::Task(_)) {
            return;
        }
        let State::Task(mut task) = std::mem::replace(&mut self.active[at].state, State::Stepping)
        else {
            return;
        };
        let run = self.active[at].run;
        let plugin = self.def(run.check).map_or(u16::MAX, |d| d.plugin);
        let call = call_of(Entry::Step, plugin, &run, clock::monotonic_ns());
        if let Event::Exec(done) = event {
            self.active[at].bill.cpu_ns += done.cpu_ns;
        }
        let before = Before::look(plugin);
        self.map.enter(self.line, call);
        let watched = self.steps.enter(key, "step", plugin);
        let ret = task.step(event);
        self.watch(key, watched);
        let now = self.left(key, call.since_ns, before, "step");
        if ret == abi::PENDING {
            self.pending(key, task, "step", now);
            return;
        }
        let (context, now) = self.drop_call(key, task, now);
        self.returned(key, ret, "step", context, now);
    }

    /// A name was looked up for a task. What it waited for its turn is not its target's time.
    pub(crate) fn resolved(&mut self, told: &Told) {
        let key = told.waiter.task;
        let Some(at) = self.find(key) else { return };
        if let State::Task(task) = &self.active[at].state
            && told.queued_ns > 0
        {
            task.context().give_back(told.queued_ns);
        }
        let found = match told.found.as_ref() {
            Ok(ips) => Ok(ips.clone()),
            Err(failure) => {
                self.active[at].no_resolver |= failure.own;
                Err(NoAddress {
                    error: failure.code,
                    reason: failure.text.clone(),
                    own: failure.own,
                })
            }
        };
        let token = told.waiter.token;
        self.step(key, &Event::Resolved { token, found });
    }

    /// A call has come back: its time goes to the run's bill. When it did so.
    fn left(&mut self, key: u64, since_ns: u64, before: Before, call: &str) -> u64 {
        healthd_sys::fork_guard::end_if_forked();
        self.map.leave(self.line);
        let Before { usage, works_for } = before;
        let made = works_for.made();
        drop(works_for);
        let now = clock::monotonic_ns();
        let took = now - since_ns;
        let Some(at) = self.find(key) else { return now };
        self.turn.stepped(key);
        let active = &mut self.active[at];
        active.threads += made;
        let grew = bill::grown_since(usage);
        let before_ns = active.bill.cpu_ns;
        active.bill.step(&mut self.turn, took, grew);
        if took > SLOW_STEP_NS {
            // The machine may have kept it from going on.
            let computed = active.bill.cpu_ns - before_ns;
            let own = took.saturating_sub(self.waited.look()).max(computed);
            active.bill.stalls += 1;
            active.bill.blocked += u32::from(own > SLOW_STEP_NS);
            let check = active.run.check;
            self.map
                .add(healthd_core::wire::maps::worker_header::STALLS, 1);
            log::warn!(
                "the event loop was blocked  check={} plugin={} call={call} ms={}",
                field(self.check_name(check)),
                self.plugin_name(check),
                took / MS
            );
        }
        now
    }

    /// The plugin's `drop`, with its place in the map.
    fn drop_call(&mut self, key: u64, task: Task, since_ns: u64) -> (Box<Context>, u64) {
        let Some(at) = self.find(key) else {
            return (task.finish(), since_ns);
        };
        let run = self.active[at].run;
        let plugin = self.def(run.check).map_or(u16::MAX, |d| d.plugin);
        let call = call_of(Entry::Drop, plugin, &run, since_ns);
        let before = Before::look(plugin);
        self.map.enter(self.line, call);
        let watched = self.steps.enter(key, "drop", plugin);
        let context = task.finish();
        self.watch(key, watched);
        let now = self.left(key, since_ns, before, "drop");
        self.shared.names.forget(key);
        if side::with(|side| side.children.abandon(key)) == Some(true) {
            self.killed.push((key, run.check, run.epoch));
        }
        (context, now)
    }

    /// The host ends it: at its deadline, or because it was taken back.
    pub(crate) fn drop_task(&mut self, key: u64, task: Task, end: End) {
        let (context, now) = self.drop_call(key, task, clock::monotonic_ns());
        self.timers_asked(now);
        // What it has said until then stands behind the time-out.
        let said = context.take_results();
        self.spare.over(context);
        let Some(at) = self.find(key) else { return };
        let end = self.in_spite_of(at, "a step", end, now);
        self.finish_now(key, end, said, now);
    }

    fn returned(&mut self, key: u64, ret: i32, call: &str, context: Box<Context>, now: u64) {
        self.timers_asked(now);
        let mut said = context.take_results();
        self.spare.over(context);
        let Some(at) = self.find(key) else { return };
        let run = self.active[at].run;
        if let Some(end) = self.active[at].ending.take() {
            let end = self.in_spite_of(at, call, end, now);
            said.note_cut();
            self.finish_now(key, end, said, now);
            return;
        }
        let Some(def) = self.def(run.check) else {
            self.finish(key, End::cancelled(), said);
            return;
        };
        let no_resolver = self.active[at].no_resolver;
        let mut end = End::returned(
            def,
            self.plugin_name(run.check),
            call,
            ret,
            false,
            &said.message,
        );
        if no_resolver && end.ending == Ending::Fault(Fault::Resources) {
            end = End::fault(Fault::Resolver, "self:resolver".into());
        }
        if end.ending == Ending::Fault(Fault::Panic) {
            self.drop_instance(run.check, run.epoch);
        }
        let end = self.in_spite_of(at, call, end, now);
        said.note_cut();
        self.finish_now(key, end, said, now);
    }

    /// What tasks asked for during the call just made.
    fn timers_asked(&mut self, now: u64) {
        side::each(
            |s| &mut s.timers,
            |(task, when)| {
                let Some(at) = self.find(task) else { return };
                self.active[at].gave_way.timer_is_over();
                if let Some(old) = self.active[at].task_timer.take() {
                    self.wheel.cancel(old);
                }
                if when != 0 && when <= now {
                    self.gives_way(task);
                } else if when != 0 {
                    let timer = self.wheel.insert(when.div_ceil(MS), Timer::Task(task));
                    self.active[at].task_timer = Some(timer);
                }
            },
        );
    }
}

fn call_of(entry: Entry, plugin: u16, run: &Run, since_ns: u64) -> Call {
    Call {
        entry,
        plugin,
        check: run.check,
        run_id: run.run_id,
        attempt: run.attempt,
        since_ns,
    }
}
