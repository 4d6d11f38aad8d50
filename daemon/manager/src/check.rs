//! A check as the manager holds it: what it shall do, what it did, and what is believed of it.

use crate::fleet::chunks::RunChunks;
use crate::fleet::crash_record::{CrashRecord, Place};
use crate::fleet::pool_key::PoolKey;
use crate::schedule::pause::Paused;
use crate::schedule::stage::{InFlight, Stage};
use crate::time;
use crate::verdict::cost::Tally;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Metric, Phase, Status, Verdict};
use healthd_core::check::schedule::{self, Standstill};
use healthd_core::check::verdict::{CheckState, Rules};
use healthd_core::check::wheel::Key;
use healthd_core::config::{CheckSpec, Class, Layer, TimeoutStatus};
use healthd_core::scrub::hidden_places;
use healthd_core::wire::control::{CheckDetail, CheckRow, TakenFrom};
use healthd_core::wire::maps::{CheckRecord, NO_STATUS};
use healthd_core::wire::supervisor::WorkerClass;
use healthd_core::wire::worker::Define;
use healthd_sys::clock;
use std::time::Duration;

/// The first hold of a check whose run killed a worker; it doubles up to the last.
const HOLD_FIRST_NS: u64 = 1_000_000_000;
pub const HOLD_LAST_NS: u64 = 300_000_000_000;
/// A place in the config that there is not.
const CARRIER: u64 = u64::MAX;

pub struct Check {
    pub spec: CheckSpec,
    pub identity: Identity,
    /// None: its plugin cannot be used, `spec.unusable` says why.
    pub target: Option<Target>,
    /// What is believed of it.
    pub state: CheckState,
    pub last: Last,
    pub plan: Plan,
    pub stage: Stage,
    /// A client wants a run as soon as one can be made.
    pub wanted: bool,
    pub paused: Option<Paused>,
    pub standing: Standing,
    pub counts: Counts,
    /// Removed by a reload; stays until its run in flight has ended.
    pub removed: bool,
}

/// What tells it, and its definition, from others.
pub struct Identity {
    /// Place in the config.
    pub index: u64,
    /// Grows when the spec changes: a worker's instance of another epoch is not used.
    pub epoch: u32,
    /// Of its name.
    pub hash: u64,
    pub fingerprint: u64,
}

/// When its next run is due, and the timer that says so.
#[derive(Default)]
pub struct Plan {
    pub next_due: u64,
    pub timer: Option<Key>,
    /// It fell due in a standstill, and was put off for that.
    pub put_off: bool,
    /// Something was said to it since its last run began: it runs once more.
    pub again: bool,
}

/// What speaks against it.
#[derive(Default)]
pub struct Standing {
    pub crashes: CrashRecord,
    pub hold: Option<Hold>,
}

#[derive(Default)]
pub struct Counts {
    pub runs: u64,
    pub skipped: u64,
    pub tally: Tally,
}

/// Which plugin, of the generation in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub pool: PoolKey,
    pub plugin: u16,
}

/// What the last run said and how it went.
#[derive(Default)]
pub struct Last {
    pub run_id: u64,
    /// CLOCK_REALTIME of its start; 0: never ran.
    pub started_wall: u64,
    pub due_ns: u64,
    pub dispatched_ns: u64,
    pub started_ns: u64,
    pub finished_ns: u64,
    pub queue_ns: u64,
    pub cpu_ns: u64,
    pub worker: Option<u32>,
    pub worker_pid: u32,
    /// Of that worker.
    pub generation: u64,
    /// A worker had it; else nobody ever called the plugin.
    pub ran: bool,
    pub attempt: u8,
    pub message: String,
    pub detail: String,
    pub metrics: Vec<Metric>,
    pub phases: Vec<Phase>,
    pub labels: Vec<(String, String)>,
    /// What became of earlier tries of this run.
    pub lost: Vec<String>,
    pub chunks: RunChunks,
}

#[derive(Clone, Copy, Debug)]
pub struct Hold {
    pub until_ns: u64,
    pub length_ns: u64,
}

pub fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl Check {
    pub fn new(spec: CheckSpec, index: u64, target: Option<Target>) -> Check {
        Check {
            identity: Identity {
                index,
                epoch: 1,
                hash: schedule::hash(spec.name.as_bytes()),
                fingerprint: spec.fingerprint(),
            },
            spec,
            target,
            state: CheckState::default(),
            last: Last::default(),
            plan: Plan::default(),
            stage: Stage::default(),
            wanted: false,
            paused: None,
            standing: Standing::default(),
            counts: Counts::default(),
            removed: false,
        }
    }

    /// What carries messages of a route: it is in no config, has no verdict, and runs only when it is asked to.
    pub fn carrier(spec: CheckSpec, target: Target) -> Check {
        Check::new(spec, CARRIER, Some(target))
    }

    pub fn is_carrier(&self) -> bool {
        self.identity.index == CARRIER
    }

    /// A reload has changed it since that run began, which says how it was before.
    pub fn is_another_since(&self, flight: &InFlight) -> bool {
        !self.is_carrier() && self.identity.epoch != flight.epoch
    }

    pub fn interval_ns(&self) -> u64 {
        ns(self.spec.interval)
    }

    /// Runs by itself: not switched off, not paused, and there is something to run.
    pub fn is_planned(&self) -> bool {
        self.spec.enabled
            && self.paused.is_none()
            && self.target.is_some()
            && !self.removed
            && !self.is_carrier()
    }

    /// It is not evaluated, as a check that it needs is not ok.
    pub fn lies_behind(&self) -> bool {
        self.state.fault() == Some(Fault::Dependency)
    }

    /// What it says of itself holds for those that need it.
    pub fn may_speak(&self) -> bool {
        self.is_planned() && self.standing.hold.is_none()
    }

    /// While it is so, what needs it is not evaluated.
    pub fn is_in_the_way(&self) -> bool {
        let is_bad = self.state.status().is_some_and(|s| s != Status::Ok);
        self.may_speak() && (self.lies_behind() || (is_bad && !self.state.is_unjudged()))
    }

    /// A run of it may be sent now: by itself, or because a client asked (a pause does not forbid that).
    pub fn may_run(&self) -> bool {
        self.is_planned() || (self.wanted && self.spec.enabled && self.target.is_some())
    }

    /// A run of it killed a worker: the next waits.
    pub fn hold(&mut self, now: u64) -> u64 {
        let length_ns = self
            .standing
            .hold
            .map_or(HOLD_FIRST_NS, |h| (h.length_ns * 2).min(HOLD_LAST_NS));
        self.standing.hold = Some(Hold {
            until_ns: now + length_ns,
            length_ns,
        });
        length_ns
    }

    /// Where its next run belongs.
    pub fn place(&self) -> Place {
        let waiting = self.stage.waiting();
        self.standing
            .crashes
            .place(waiting.is_some_and(|w| w.again.is_some()))
    }

    /// Its turn has come, or could have, but the next run is due by now. A client that asked for this one waits on.
    pub fn comes_too_late(&self, stood: Standstill, now: u64) -> bool {
        !self.wanted && self.waited_ns(stood, now) > self.interval_ns()
    }

    /// Nothing has come of its waiting for so long that it has to be said.
    pub fn waits_too_long(&self, stood: Standstill, now: u64) -> bool {
        const LEAST_NS: u64 = 5_000_000_000;
        self.waited_ns(stood, now) > self.interval_ns().max(LEAST_NS)
    }

    fn waited_ns(&self, stood: Standstill, now: u64) -> u64 {
        let since = self.stage.waiting().map(|w| stood.since(w.since_ns));
        since.map_or(0, |since| now.saturating_sub(since))
    }

    pub fn define(&self, id: u32) -> Option<Define> {
        let target = self.target?;
        Some(definition(
            &self.spec,
            id,
            self.identity.epoch,
            target.plugin,
        ))
    }

    pub fn verdict(&self) -> Verdict {
        self.state.verdict()
    }

    /// What its config says about its verdict.
    pub fn rules(&self) -> Rules {
        Rules {
            attempts: self.spec.attempts,
            interval_ns: self.interval_ns(),
            retry_ns: ns(self.spec.retry_interval),
            recover: self.spec.alerts.recover,
        }
    }

    pub fn latency_ns(&self) -> u64 {
        self.last.finished_ns.saturating_sub(self.last.started_ns)
    }

    /// From here on what is shown is too old to be believed. 0: it is not expected to change.
    pub fn valid_until(&self) -> u64 {
        if !self.is_planned() || self.plan.next_due == 0 {
            return 0;
        }
        // While a run is under way others are skipped, so the next one after it would be ever newer.
        let waits = self.stage.waiting().map(|w| w.since_ns);
        let under_way = self.stage.run().map(|f| f.due_ns).or(waits);
        let after = under_way.map_or(u64::MAX, |due| due.saturating_add(self.interval_ns()));
        let next = self.plan.next_due.min(after) + self.interval_ns() + ns(self.spec.timeout);
        self.state.lapsed_ns().unwrap_or(next)
    }

    pub fn record(&self) -> CheckRecord<'_> {
        CheckRecord {
            name: self.spec.name.as_str().into(),
            title: self.spec.title.as_str().into(),
            plugin: self.spec.plugin.as_str().into(),
            verdict: self.verdict().code(),
            status: self.state.status().map_or(NO_STATUS, |s| s as u8),
            paused: self.paused.is_some(),
            disabled: !self.spec.enabled,
            attempt: self.state.attempt(),
            attempts: self.spec.attempts,
            since: self.state.since(),
            last_run: self.last.started_wall,
            next_run: if self.is_planned() {
                self.plan.next_due
            } else {
                0
            },
            valid_until: self.valid_until(),
            latency_ns: self.latency_ns(),
            worker: self.last.worker.unwrap_or(u32::MAX),
            // One whose result waits is not judged yet: a manager after us runs it again.
            in_flight: self.stage.run().map_or(0, |f| f.run_id),
            in_flight_try: self.stage.run().map_or(0, |f| f.attempt),
            in_flight_slot: self.stage.run().map_or(0, |f| f.slot),
            is_due: self.plan.again || self.stage.waiting().is_some(),
            fingerprint: self.identity.fingerprint,
            runs: self.counts.runs,
            skipped: self.counts.skipped,
            against: self.state.against(),
            queue_ns: self.last.queue_ns,
            lead_ns: match self.last.dispatched_ns {
                0 => 0,
                sent => self.last.started_ns.saturating_sub(sent),
            },
            worker_pid: self.last.worker_pid,
            last_try: if self.last.ran { self.last.attempt } else { 0 },
            doubted: self.stage.doubted().is_some(),
            fault: self.state.fault(),
            message: self.last.message.as_str().into(),
            standing: self.standing_record(),
            reason: self
                .paused
                .as_ref()
                .map_or("", |p| p.reason.as_str())
                .into(),
        }
    }

    pub fn row(&self) -> CheckRow {
        let ran = self.last.started_wall != 0;
        let valid_until = self.valid_until();
        CheckRow {
            name: self.spec.name.clone(),
            title: self.spec.title.clone(),
            plugin: self.spec.plugin.clone(),
            verdict: Some(self.verdict()),
            status: self.state.status(),
            fault: self.state.fault(),
            message: self
                .state
                .status()
                .is_some()
                .then(|| self.last.message.clone()),
            since: time::rfc3339(self.state.since()),
            last_run: time::rfc3339(self.last.started_wall),
            next_run: if self.is_planned() {
                time::rfc3339(time::wall(self.plan.next_due))
            } else {
                None
            },
            latency_ms: ran.then(|| self.latency_ns() as f64 / 1e6),
            attempt: Some(self.state.attempt()),
            attempts: Some(self.spec.attempts),
            stale: valid_until != 0 && clock::monotonic_ns() > valid_until,
            worker: self.last.worker,
            // Of a run before a restart nothing was kept but its verdict.
            metrics: (self.last.run_id != 0).then(|| self.last.metrics.clone()),
            paused: self.paused.is_some(),
            disabled: !self.spec.enabled,
            quarantined: self.standing.crashes.quarantine.is_some(),
            index: self.identity.index,
            labels: Some(self.spec.labels.clone()),
        }
    }

    pub fn detail(&self) -> CheckDetail {
        let ran = self.last.started_wall != 0;
        CheckDetail {
            row: self.row(),
            interval_ms: self.spec.interval.as_millis() as u64,
            timeout_ms: self.spec.timeout.as_millis() as u64,
            retry_interval_ms: self.spec.retry_interval.as_millis() as u64,
            config: serde_json::from_str(&self.spec.shown_config).unwrap_or_default(),
            source: self.spec.source.to_string(),
            from: self.spec.from.iter().map(taken_from).collect(),
            detail: self.last.detail.clone(),
            phases: self.last.phases.clone(),
            run_labels: self.last.labels.iter().cloned().collect(),
            cpu_ms: ran.then(|| self.last.cpu_ns as f64 / 1e6),
            queue_ms: ran.then(|| self.last.queue_ns as f64 / 1e6),
            runs: self.counts.runs,
            skipped: self.counts.skipped,
            pause_reason: self
                .paused
                .as_ref()
                .map_or_else(String::new, |p| p.reason.clone()),
            pause: self.paused.as_ref().map(Paused::info),
            held_until: self
                .standing
                .hold
                .filter(|h| h.until_ns > clock::monotonic_ns())
                .and_then(|h| time::rfc3339(time::wall(h.until_ns))),
            needs: (!self.spec.needs.is_empty()).then(|| self.spec.needs.join(", ")),
            fanout: self.last.chunks.shown(),
            quarantine: self.quarantine_info(clock::monotonic_ns()),
            cost: Some(self.counts.tally.shown()),
            samples: None,
            hardening: None,
        }
    }
}

fn taken_from(layer: &Layer) -> TakenFrom {
    TakenFrom {
        what: layer.what.clone(),
        source: layer.source.to_string(),
        keys: layer.keys.clone(),
    }
}

/// What a worker has to know of a check before it runs it.
pub fn definition(spec: &CheckSpec, id: u32, epoch: u32, plugin: u16) -> Define {
    Define {
        check: id,
        epoch,
        plugin,
        timeout_ns: ns(spec.timeout),
        timeout_status: match spec.timeout_status {
            TimeoutStatus::Critical => Status::Critical,
            TimeoutStatus::Warning => Status::Warning,
            TimeoutStatus::Unknown => Status::Unknown,
        },
        batch_ns: (ns(spec.interval) / 2).min(100_000_000),
        name: spec.name.clone(),
        config: spec.config.clone(),
        secrets: hidden_places(&spec.config, &spec.shown_config),
    }
}

/// The pool whose workers run a plugin of this kind.
pub fn worker_class(class: Class) -> WorkerClass {
    match class {
        Class::Io | Class::Block => WorkerClass::Io,
        Class::Cpu => WorkerClass::Cpu,
        Class::Exec => WorkerClass::Exec,
        Class::Notify => WorkerClass::Notify,
    }
}
