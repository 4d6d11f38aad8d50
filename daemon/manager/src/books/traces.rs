//! Traces: how one run in so many went, for the process that sends them on. Without `traces` of `[push]` there is no map,
//! and nothing is asked of a run.

use crate::check::Check;
use healthd_core::check::outcome::Status;
use healthd_core::config::Model;
use healthd_core::wire::traces::TracedRun;
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
    let (now, now_wall) = (clock::monotonic_ns(), clock::realtime_ns());
    let wall = |at: u64| match at {
        0 => 0,
        at => now_wall.saturating_sub(now.saturating_sub(at)),
    };
    map.write(&TracedRun {
        run: last.run_id,
        check: check.spec.name.clone(),
        plugin: check.spec.plugin.clone(),
        status: check.state.status().unwrap_or(Status::Unknown),
        verdict: check.verdict(),
        fault: check.state.fault(),
        attempt: last.attempt,
        worker: last.worker.filter(|_| last.ran),
        pid: if last.ran { last.worker_pid } else { 0 },
        due: wall(last.due_ns),
        sent: wall(last.dispatched_ns),
        started: if last.ran { wall(last.started_ns) } else { 0 },
        finished: wall(last.finished_ns),
        judged: now_wall,
        cpu_ns: last.cpu_ns,
        phases: last.phases.clone(),
        message: last.message.clone(),
    });
}
