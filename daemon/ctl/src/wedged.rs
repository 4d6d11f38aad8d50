//! What the maps tell of a daemon that does not answer, beyond rows: the story of a run, the plugins in use,
//! and whose maps these are. As far as they go; what they lack is left out.

use crate::maps::{Clock, MapError, directory, real, state, worker_lines};
use healthd_core::check::fault::Fault;
use healthd_core::config::did_you_mean;
use healthd_core::wire::control::{PluginRow, Why, WhyStep};
use healthd_core::wire::maps::{CLASSES, CheckRecord, Entry, StateSnapshot};
use healthd_sys::files;
use jiff::Timestamp;
use serde::Serialize;
use std::path::Path;

/// Whose maps these are.
#[derive(Debug, Serialize)]
pub struct Remains {
    /// None: its lock file cannot be read.
    pub supervisor_pid: Option<u32>,
    pub manager_pid: u32,
    pub started: Option<String>,
    /// Of the manager's last turn.
    pub beat: Option<String>,
    pub checks: u64,
    pub generation: u64,
    pub stale: bool,
}

pub fn version(socket: &Path, now: Timestamp) -> Result<Remains, MapError> {
    let directory = directory(socket);
    let clock = Clock::now(now);
    let (state, _) = state(&directory)?;
    let lock = files::read(&directory.join("healthd.pid"), 32).unwrap_or_default();
    Ok(Remains {
        supervisor_pid: str::from_utf8(&lock)
            .ok()
            .and_then(|pid| pid.trim().parse().ok()),
        manager_pid: state.manager_pid,
        started: real(state.started),
        beat: clock.of_monotonic(state.beat),
        checks: named(&state).count() as u64,
        generation: state.generation,
        stale: true,
    })
}

fn named(state: &StateSnapshot) -> impl Iterator<Item = &CheckRecord<'static>> {
    let records = state.checks.iter().map(|(_, record)| record);
    records.filter(|record| !record.name.is_empty())
}

/// The plugins that checks name, each once.
pub fn plugins(socket: &Path, _now: Timestamp) -> Result<Vec<PluginRow>, MapError> {
    let (state, _) = state(&directory(socket))?;
    let mut rows: Vec<PluginRow> = Vec::new();
    for record in named(&state) {
        let at = rows
            .iter()
            .position(|r| r.name == record.plugin)
            .unwrap_or_else(|| {
                rows.push(PluginRow {
                    name: record.plugin.to_string(),
                    state: "unknown".into(),
                    reason: "healthd does not answer".into(),
                    stale: true,
                    ..PluginRow::default()
                });
                rows.len() - 1
            });
        rows[at].checks += 1;
        let slot = state.slots.iter().find(|(n, _)| *n == record.worker);
        if let Some((_, slot)) = slot
            && let Some(class) = CLASSES.get(usize::from(slot.class))
        {
            rows[at].class = (*class).to_owned();
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

pub fn why(socket: &Path, name: &str, now: Timestamp) -> Result<Vec<Why>, MapError> {
    let directory = directory(socket);
    let clock = Clock::now(now);
    let (state, stable) = state(&directory)?;
    let at = state.checks.iter().position(|(_, r)| r.name == name);
    let Some(at) = at else {
        return Err(MapError::NoSuchCheck {
            name: name.to_owned(),
            near: did_you_mean(name, named(&state).map(|r| r.name.as_ref())).map(str::to_owned),
        });
    };
    let mut story = Story(Vec::new());
    let record = &state.checks[at].1;
    if stable.checks.get(at) == Some(&true) {
        last_run(record, &mut story);
        under_way(&directory, &state, record, &clock, &mut story);
    } else {
        let text = "the manager was stopped while it wrote about this check";
        story.tell(None, "torn", text.to_owned());
    }
    Ok(vec![Why {
        name: name.to_owned(),
        title: record.title.to_string(),
        fault: record.fault,
        steps: story.0,
        next: next(record, &clock),
        stale: true,
    }])
}

struct Story(Vec<WhyStep>);

impl Story {
    fn tell(&mut self, at: Option<String>, what: &str, text: String) {
        self.0.push(WhyStep {
            at,
            what: what.to_owned(),
            text,
        });
    }
}

fn last_run(record: &CheckRecord<'_>, story: &mut Story) {
    let (Some(status), true) = (record.status(), record.last_run != 0) else {
        return story.tell(None, "new", "it has not run yet".to_owned());
    };
    let ms = |ns: u64| healthd_units::duration::about_ms(ns as f64 / 1e6);
    let started = record.last_run;
    let due = real(started.saturating_sub(record.queue_ns));
    story.tell(due, "due", "a run was due".to_owned());
    if record.last_try > 0 {
        let again = match record.last_try {
            1 => String::new(),
            n => format!(", try {n}"),
        };
        let text = format!(
            "sent to worker {} (pid {}){again}",
            record.worker, record.worker_pid
        );
        let at = real(started.saturating_sub(record.lead_ns));
        story.tell(at, "dispatched", text);
        let text = format!("{} after it was due", ms(record.queue_ns));
        story.tell(real(started), "started", text);
    }
    let end = real(started.saturating_add(record.latency_ns));
    let text = format!(
        "{status} after {}: {}",
        ms(record.latency_ns),
        record.message
    );
    story.tell(end.clone(), "finished", text);
    let verdict = record.verdict().map_or("unknown", |v| v.as_str());
    let text = match record.fault.is_some_and(Fault::is_own) {
        true => format!("our own fault, so the verdict stays {verdict}"),
        false => format!(
            "verdict {verdict}, attempt {} of {}",
            record.attempt, record.attempts
        ),
    };
    story.tell(end, "evaluated", text);
}

/// What the worker's own map says of a run in flight: where it is at this moment.
fn under_way(
    directory: &Path,
    state: &StateSnapshot,
    record: &CheckRecord<'_>,
    clock: &Clock,
    story: &mut Story,
) {
    if record.doubted {
        let text = "its last result waits for a run of the check that it needs";
        story.tell(None, "waits", text.to_owned());
    } else if record.in_flight != 0 {
        let pid = state
            .slots
            .iter()
            .find(|(n, _)| *n == record.in_flight_slot)
            .map_or(0, |(_, slot)| slot.pid);
        let text = format!(
            "run {} (try {}) is with worker {} (pid {pid})",
            record.in_flight, record.in_flight_try, record.in_flight_slot
        );
        story.tell(None, "in flight", text);
        for line in worker_lines(directory, record.in_flight_slot, pid) {
            if line.entry == Entry::Idle || line.run_id != record.in_flight {
                continue;
            }
            let phase = match line.phase.is_empty() {
                true => String::new(),
                false => format!(", in phase {}", line.phase),
            };
            let stuck = match line.stuck {
                true => ", beyond its deadline",
                false => "",
            };
            let text = format!(
                "thread {} is in its {}{phase}{stuck}",
                line.tid,
                line.entry.as_str()
            );
            story.tell(clock.of_monotonic(line.since), "call", text);
        }
    }
    if record.skipped > 0 {
        let text = format!(
            "{} due runs, as the one before was still in flight",
            record.skipped
        );
        story.tell(None, "skipped", text);
    }
}

fn next(record: &CheckRecord<'_>, clock: &Clock) -> String {
    let when = clock.of_monotonic(record.next_run);
    match (record.disabled, record.paused, when) {
        (true, _, _) => "nothing: it is disabled in the config".to_owned(),
        (_, true, _) if record.reason.is_empty() => "nothing: it is paused".to_owned(),
        (_, true, _) => format!("nothing: it is paused ({})", record.reason),
        (_, _, Some(at)) if record.standing.hold_until > clock.monotonic => {
            format!("held until {at}, since its last run killed a worker; if healthd goes on")
        }
        (_, _, Some(at)) => format!("the next run was planned for {at}, if healthd goes on"),
        (_, _, None) => "no run was planned".to_owned(),
    }
}
