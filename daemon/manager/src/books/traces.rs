//! Traces: how one run in so many went, for the process that sends them on. Without `traces` of `[push]` there is no map,
//! and nothing is asked of a run.

use crate::check::Check;
use crate::schedule::stage::InFlight;
use healthd_core::check::outcome::{Phase, Status};
use healthd_core::config::Model;
use healthd_core::wire::report::Report;
use healthd_core::wire::traces::{Purpose, TracedRun};
use healthd_scoreboard::traces_map::TracesMap;
use healthd_sys::clock;
use std::path::Path;

/// Where they are wanted.
pub fn create(dir: &Path, model: &Model, mode: u32) -> Option<TracesMap> {
    let Some(share) = share(model) else {
        TracesMap::remove(dir);
        return None;
    };
    let map = TracesMap::create(dir, share, mode);
    map.inspect_err(|e| log::error!("no run is traced: {e}"))
        .ok()
}

fn share(model: &Model) -> Option<f64> {
    let push = model.push.as_ref()?;
    push.traces.is_some().then_some(push.sample)
}

/// Another model: what is in the map stays there, unless another share of the runs is wanted.
pub fn renew(map: &mut Option<TracesMap>, dir: &Path, model: &Model, mode: u32) {
    if map.as_ref().map(TracesMap::share) != share(model) {
        *map = create(dir, model, mode);
    }
}

/// The last run of this check, which has just been judged.
pub fn trace(map: Option<&TracesMap>, check: &Check) {
    let last = &check.last;
    let Some(map) = map.filter(|map| map.wants(last.run_id)) else {
        return;
    };
    let (now, wall) = wall_clock();
    map.write(&TracedRun {
        run: last.run_id,
        purpose: Purpose::Check {
            name: check.spec.name.clone(),
            verdict: check.verdict(),
        },
        plugin: check.spec.plugin.clone(),
        status: check.state.status().unwrap_or(Status::Unknown),
        fault: check.state.fault(),
        attempt: last.attempt,
        worker: last.worker.filter(|_| last.ran),
        pid: if last.ran { last.worker_pid } else { 0 },
        due: wall(last.due_ns),
        sent: wall(last.dispatched_ns),
        started: if last.ran { wall(last.started_ns) } else { 0 },
        finished: wall(last.finished_ns),
        judged: now,
        cpu_ns: last.cpu_ns,
        phases: last.phases.clone(),
        message: last.message.clone(),
    });
}

/// A run of a check that no config names, which has just ended; `of`: what it ran for. `worker`: its slot and pid.
pub fn trace_carried(
    map: Option<&TracesMap>,
    of: impl FnOnce() -> Option<Purpose>,
    plugin: &str,
    f: &Report<'_>,
    flight: &InFlight,
    worker: Option<(u32, u32)>,
) {
    let Some(map) = map.filter(|map| map.wants(f.run_id)) else {
        return;
    };
    let Some(purpose) = of() else {
        return;
    };
    let (now, wall) = wall_clock();
    // It may tell more of the target than its host, and whoever asked has got it.
    let is_told = !matches!(purpose, Purpose::Probe { .. });
    map.write(&TracedRun {
        run: f.run_id,
        purpose,
        plugin: plugin.to_owned(),
        status: f.status,
        fault: f.ending.fault(),
        attempt: f.attempt,
        worker: worker.map(|(slot, _)| slot),
        pid: worker.map_or(0, |(_, pid)| pid),
        due: wall(flight.due_ns),
        sent: wall(flight.dispatched_ns),
        started: worker.map_or(0, |_| wall(f.started_ns)),
        finished: wall(f.finished_ns),
        judged: now,
        cpu_ns: f.cpu_ns,
        phases: f.phases().map(Phase::owned).collect(),
        message: if is_told {
            f.message.to_string()
        } else {
            String::new()
        },
    });
}

/// Now by CLOCK_REALTIME, and what it said at a time of CLOCK_MONOTONIC; 0 stays 0.
fn wall_clock() -> (u64, impl Fn(u64) -> u64) {
    let (now, now_wall) = (clock::monotonic_ns(), clock::realtime_ns());
    let wall = move |at: u64| match at {
        0 => 0,
        at => now_wall.saturating_sub(now.saturating_sub(at)),
    };
    (now_wall, wall)
}
