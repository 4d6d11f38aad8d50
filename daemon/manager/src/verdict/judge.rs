//! From a result to a verdict, and to what comes next.

use crate::alerts::{self, outcome_of};
use crate::books::traces;
use crate::director::{Manager, Phase};
use crate::fleet::chunks::RunChunks;
use crate::journal::Fact;
use crate::schedule::dispatch;
use crate::schedule::stage::InFlight;
use healthd_alerts::invert;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::check::tracker::Change;
use healthd_core::check::verdict::{self, Moment, News, judge};
use healthd_core::text::{field, keep};
use healthd_core::wire::events::EventKind;
use healthd_core::wire::report::{Items, Report};
use healthd_core::wire::samples::{Outcome, Run};
use healthd_core::wire::worker::{Ending, Growth};
use healthd_sys::clock;

impl Manager {
    /// A worker reports a run. What matches none in flight there is dropped and counted `late`.
    pub fn finished_by(&mut self, slot: u32, mut f: Report<'_>) {
        // A worker may say anything: times are within what can be.
        let now = clock::monotonic_ns();
        f.finished_ns = f.finished_ns.min(now);
        f.started_ns = f.started_ns.min(f.finished_ns);
        if self.canary_finished(slot, &f) {
            return;
        }
        let known = self
            .checks
            .get(f.check)
            .and_then(|c| c.stage.flight())
            .is_some_and(|i| i.run_id == f.run_id && i.attempt == f.attempt && i.slot == slot);
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        if !known || s.work.runs.remove(&f.run_id).is_none() {
            s.accounts.late += 1;
            return;
        }
        if f.ending == Ending::Cancelled {
            s.accounts.lost_cancelled += 1;
        } else {
            s.accounts.finished += 1;
            self.books.finished += 1;
        }
        let pid = s.process.pid;
        let was_solo = s.group.solo().is_some();
        s.tainted |= f.ending == Ending::Fault(Fault::Overrun);
        self.unlock_run(slot, f.run_id);
        let in_flight = self.checks.get(f.check).and_then(|c| c.stage.flight());
        let elsewhere = in_flight.map_or(0, |f| f.chunks.cpu_ns);
        f.cpu_ns = f.cpu_ns.saturating_add(elsewhere);
        self.books.charge(&mut self.checks, &f);
        let Some(check) = self.checks.get_mut(f.check) else {
            return;
        };
        let Some(flight) = check.stage.land(|_| true) else {
            return;
        };
        if check.removed {
            self.forget(f.check);
            return;
        }
        if f.ending == Ending::Cancelled {
            self.taken_back(f.check, &flight);
            return;
        }
        let killed = flight.chunks.killed;
        let id = f.check;
        if killed == 0 {
            // The run has survived, whatever it said: its check may go on as before.
            check.standing.hold = None;
            if !f.ending.is_own() {
                self.survived(id, was_solo, f.blocked > 0);
            }
        }
        self.tally(&f, slot);
        if let Some(child) = flight.lives_on {
            self.leave_behind_one(slot, id, child);
        }
        let check = self.checks.get(id);
        match check.is_some_and(|c| c.is_another_since(&flight)) {
            false => self.take_result(f, flight, Some((slot, pid))),
            true => self.taken_back(id, &flight),
        }
        if killed > 0 {
            self.hold_for_chunk(id);
        }
    }

    /// Its run was cancelled, or does not count, because a reload has changed the check: it runs as it is now, rather than
    /// go without a result until it is due again.
    fn taken_back(&mut self, id: u32, flight: &InFlight) {
        let again = self.phase == Phase::Running
            && self
                .checks
                .get(id)
                .is_some_and(|c| c.is_another_since(flight) && c.may_run());
        // What it runs as now may have other groups.
        self.leave_groups(id);
        if again {
            self.request_run(id, clock::monotonic_ns());
        } else {
            self.leave_queue(id);
        }
        self.publish(id);
    }

    /// A result, of a worker or the daemon's own word about a run that no worker finished.
    fn take_result(&mut self, f: Report<'_>, flight: InFlight, worker: Option<(u32, u32)>) {
        let id = f.check;
        // Also while it waits for a word of the check that it needs, which may want in there.
        self.leave_groups(id);
        if let Some((f, flight)) = self.decided(f, flight, worker) {
            self.judge_result(f, flight, worker);
        }
        self.settle(id, clock::monotonic_ns());
    }

    /// A result that has waited for the word of another check.
    pub fn judge_waited(&mut self, f: Report<'_>, flight: InFlight, worker: Option<(u32, u32)>) {
        let check = self.checks.get(f.check);
        match check.is_some_and(|c| c.is_another_since(&flight)) {
            false => self.judge_result(f, flight, worker),
            true => self.taken_back(f.check, &flight),
        }
    }

    fn judge_result(&mut self, mut f: Report<'_>, flight: InFlight, worker: Option<(u32, u32)>) {
        let moment = moment();
        let (now, now_wall) = (moment.monotonic_ns, moment.realtime_ns);
        let id = f.check;
        let generation = worker
            .and_then(|(slot, _)| self.fleet.slots.get(&slot))
            .map_or(0, |s| s.spec.generation);
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        check.counts.runs += 1;
        if check.is_carrier() {
            check.wanted = false;
            // A worker may have begun with it, whoever says how it ended.
            let was_sent = flight.dispatched_ns != 0;
            let (probes, alerts) = (&self.clients.probes, &self.alerts);
            let of = || probes.purpose(id).or_else(|| alerts.purpose(id));
            let plugin = &check.spec.plugin;
            let map = self.books.traces.as_ref();
            traces::trace_carried(map, of, plugin, &f, &flight, worker);
            if !self.clients.probes.ended(id, &f) {
                let lost = !flight.lost.is_empty();
                self.alerts.ended(id, outcome_of(&f, was_sent, lost));
            }
            return;
        }
        if check.spec.alerts.invert {
            f.status = invert(f.status);
        }
        let outcome = verdict::Outcome {
            status: f.status,
            fault: f.ending.fault(),
            began_ns: flight.due_ns.max(f.started_ns),
        };
        let (was, was_behind) = (check.verdict(), check.lies_behind());
        let was_soft = check.state.is_soft(check.spec.attempts);
        let judged = judge(check.state, outcome, check.rules(), moment);
        check.state = judged.state;
        let is_behind = check.lies_behind();
        // Of several that it needs it may lie behind another by now.
        let moved = was_behind != is_behind || (is_behind && check.spec.needs.len() > 1);
        let last = &mut check.last;
        last.run_id = f.run_id;
        last.started_wall = now_wall.saturating_sub(now.saturating_sub(f.started_ns));
        last.due_ns = flight.due_ns;
        last.dispatched_ns = flight.dispatched_ns;
        last.started_ns = f.started_ns;
        last.finished_ns = f.finished_ns;
        last.queue_ns = f.queue_ns;
        last.cpu_ns = f.cpu_ns;
        // One that died with it, if it did not end it.
        let sent_to = (flight.slot != u32::MAX).then_some((flight.slot, 0));
        (last.worker, last.worker_pid) = match worker.or(sent_to) {
            Some((slot, pid)) => (Some(slot), pid),
            None => (last.worker, last.worker_pid),
        };
        last.generation = generation;
        last.ran = worker.is_some();
        last.attempt = f.attempt;
        keep(&mut last.message, &f.message);
        keep(&mut last.detail, &f.detail);
        f.keep_metrics(&mut last.metrics);
        f.keep_labels(&mut last.labels);
        f.keep_phases(&mut last.phases);
        last.lost = flight.lost;
        last.chunks = flight.chunks;
        check.wanted = false;
        if moved || matches!(judged.news, Some(News::Flipped(_))) {
            self.alerts.heard(id, was);
        }
        if !check.spec.alerts.actions.is_empty() {
            let is_soft = check.state.is_soft(check.spec.attempts);
            let change = match judged.news {
                // A first word is no change.
                Some(News::Flipped(_))
                    if was == Verdict::Pending && check.verdict() == Verdict::Ok =>
                {
                    None
                }
                Some(News::Flipped(change)) => Some((change.from, false)),
                _ if check.state.is_unjudged() => None,
                // A problem that is not sure yet, each time that it is seen, and its end.
                _ if is_soft || was_soft => Some((was, true)),
                _ => None,
            };
            if let Some((was, is_soft)) = change {
                let change = alerts::Change { was, is_soft };
                self.alerts.changed(id, change, check);
            }
        }
        match judged.news {
            Some(News::Flipped(change)) => self.flipped(id, change),
            Some(News::NotJudged(fault)) => self.not_judged(id, fault),
            None => log::debug!(
                "run  check={} status={} message=\"{}\"",
                field(&check.spec.name),
                f.status,
                check.last.message
            ),
        }
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let took = worker.map(|_| f.finished_ns.saturating_sub(f.started_ns));
        let fault = f.ending.fault();
        let run = Run {
            outcome: Outcome::of(f.status, check.state.is_unjudged()),
            took,
            late: f.queue_ns,
            cpu: f.cpu_ns,
            crashed: fault == Some(Fault::Crash),
            overran: fault == Some(Fault::Overrun),
            last_ok: check.state.last_ok().unwrap_or_default(),
        };
        self.books.count(check.identity.index, &run);
        self.books
            .measured(check.identity.index, &check.last.metrics);
        traces::trace(self.books.traces.as_ref(), check);
        // Sooner, but never later than it would be anyway.
        if let Some(retry) = judged.retry_ns.filter(|_| check.is_planned())
            && (check.plan.next_due == 0 || retry < check.plan.next_due)
        {
            self.plan(id, retry.max(now + dispatch::LOOK_AHEAD_NS / 10));
        }
        let check = self.checks.get_mut(id);
        if check.is_some_and(|c| std::mem::take(&mut c.plan.again)) {
            self.plan(id, now);
        }
        self.books.saving.changed();
        self.clients.run_finished(id);
        self.publish(id);
    }

    /// Told when it begins; each further run is no news.
    fn not_judged(&mut self, id: u32, fault: Fault) {
        let Some(check) = self.checks.get(id) else {
            return;
        };
        // The needed check has said it once for all.
        let level = match fault {
            Fault::Dependency => log::Level::Debug,
            _ => log::Level::Warn,
        };
        let name = &check.spec.name;
        let fact = Fact::new(EventKind::NotJudged)
            .check(name)
            .cause(fault)
            .why(&check.last.message)
            .level(level)
            .fields(format!(
                "check={} why=\"{}\"",
                field(name),
                short(&check.last.message)
            ));
        self.books.journal.record(fact);
    }

    fn flipped(&mut self, id: u32, change: Change) {
        self.books.saving.news(id);
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let last = &check.last;
        let worker = last.worker.map_or("none".to_owned(), |w| w.to_string());
        let mut fact = Fact::new(EventKind::Flipped)
            .check(&check.spec.name)
            .change(change.from, change.to)
            .why(&last.message)
            .fields(format!(
                "check={} from={} to={} why=\"{}\" took={} attempt={} worker={worker}",
                field(&check.spec.name),
                change.from,
                change.to,
                short(&last.message),
                crate::time::span_field(last.finished_ns.saturating_sub(last.started_ns)),
                check.state.attempt(),
            ));
        if change.to == Verdict::Ok {
            fact = fact.level(log::Level::Info);
        }
        if let Some(slot) = last.worker {
            fact = fact.slot(slot).pid(last.worker_pid);
        }
        if let Some(fault) = check.state.fault() {
            fact = fact.cause(fault);
        }
        self.books.journal.record(fact);
    }

    /// UNKNOWN by our own fault: shown, and no verdict changes by it.
    pub fn own_fault(&mut self, id: u32, fault: Fault, text: &str) {
        self.no_word(id, fault, text, None);
    }

    /// The same of a run that may have been sent.
    pub fn no_word(&mut self, id: u32, fault: Fault, text: &str, flight: Option<InFlight>) {
        self.conclude(id, fault, fault.message(text), flight);
    }

    /// A result that the manager itself gives to a run: dispatched (then `flight`) or never sent.
    pub fn conclude(&mut self, id: u32, fault: Fault, message: String, flight: Option<InFlight>) {
        let now = clock::monotonic_ns();
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        let waiting = check.stage.stop_waiting();
        let since = waiting.as_ref().map(|w| w.since_ns);
        let again = waiting.and_then(|w| w.again);
        let flight = flight.unwrap_or_else(|| InFlight {
            run_id: again.as_ref().map_or(0, |a| a.run_id),
            epoch: check.identity.epoch,
            attempt: again.as_ref().map_or(1, |a| a.attempt),
            slot: u32::MAX,
            due_ns: since.unwrap_or(now),
            dispatched_ns: 0,
            lost: again.map_or(Vec::new(), |a| a.lost),
            chunks: RunChunks::default(),
            lives_on: None,
        });
        let report = Report {
            run_id: flight.run_id,
            check: id,
            attempt: flight.attempt,
            status: Status::Unknown,
            ending: Ending::Fault(fault),
            started_ns: now,
            finished_ns: now,
            queue_ns: now.saturating_sub(flight.due_ns),
            cpu_ns: 0,
            steps: 0,
            stalls: 0,
            blocked: 0,
            grew: Growth::default(),
            message: message.into(),
            detail: "".into(),
            metrics: Items::default(),
            labels: Items::default(),
            phases: Items::default(),
        };
        self.take_result(report, flight, None);
    }

    /// Its plugin cannot be used at all: that is known without a run, and is its verdict at once.
    pub fn unusable(&mut self, id: u32) {
        let now = moment();
        let Some(reason) = self.checks.get(id).and_then(|c| c.spec.unusable.clone()) else {
            return;
        };
        self.unplan(id);
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        if check.state.status() == Some(Status::Unknown) && check.last.message == reason {
            return;
        }
        let outcome = verdict::Outcome {
            status: Status::Unknown,
            fault: Some(Fault::NoPlugin),
            began_ns: now.monotonic_ns,
        };
        let at_once = verdict::Rules {
            attempts: 1,
            ..check.rules()
        };
        let judged = judge(check.state, outcome, at_once, now);
        check.state = judged.state;
        check.last.message = reason;
        check.last.started_wall = now.realtime_ns;
        if let Some(News::Flipped(change)) = judged.news {
            self.alerts.heard(id, change.from);
            self.flipped(id, change);
        }
        self.books.saving.changed();
        self.clients.run_finished(id);
        self.publish(id);
    }
}

fn moment() -> Moment {
    Moment {
        monotonic_ns: clock::monotonic_ns(),
        realtime_ns: clock::realtime_ns(),
    }
}

/// A message as it stands in a log line, where other fields follow it.
fn short(message: &str) -> String {
    let mut short = healthd_core::text::cut(message, 1024).to_owned();
    if short.len() < message.len() {
        short.push('…');
    }
    short
}
