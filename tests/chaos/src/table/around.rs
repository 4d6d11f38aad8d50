//! Faults around the workers: a file that nobody should load, the manager, the disk, the supervisor.

use super::victims::Victims;
use super::{PATIENCE, Row, ms, settle, wall_ns};
use crate::service::kill;
use crate::world::{World, tree};
use healthd_core::wire::maps::StateSnapshot;
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::json;
use std::process::Command;
use std::time::Instant;

/// A file whose constructor crashes: nobody but its probe meets it.
pub fn constructor(world: &World) -> Result<Row, String> {
    let mut row = Row {
        fault: "crash in a constructor".into(),
        ..Row::default()
    };
    let begun = Instant::now();
    let before = world.eyes.state().ok_or("there is no state map")?;
    world.drop_in("CTOR_CRASH")?;
    let answer = world.reload();
    row.detected_ms = Some(ms(begun.elapsed()));
    let plugins = world.ask("plugins", json!({}))?;
    let refused = plugins.iter().find(|p| p["state"] == "refused");
    row.message = match (refused, answer) {
        (Some(p), _) => p["reason"].as_str().unwrap_or_default().to_owned(),
        (None, Err(e)) => e,
        (None, Ok(())) => {
            row.wrong.push("it was not refused".into());
            String::new()
        }
    };
    let mut victims = Victims::default();
    crate::pause(500);
    let after = world.eyes.state().ok_or("there is no state map")?;
    victims.look(&after, wall_ns());
    let restarts = |s: &StateSnapshot| s.slots.iter().map(|(_, s)| s.restarts).sum::<u64>();
    if restarts(&after) > restarts(&before) {
        row.wrong.push("a worker died of it".into());
    }
    victims.tell(&mut row, None);
    world.drop_in("FINE")?;
    world.reload()?;
    settle(world)?;
    Ok(row)
}

pub fn manager_fault(
    world: &World,
    signal: Signal,
    fault: &str,
    limit: &'static str,
) -> Result<Row, String> {
    let mut row = Row {
        fault: fault.to_owned(),
        limit,
        ..Row::default()
    };
    // A life of ten seconds clears its record: the next start waits for nothing.
    crate::pause(10_500);
    let old = world.manager()?;
    let mut last = world.eyes.state().ok_or("there is no state map")?;
    let begun = Instant::now();
    kill(old, signal);
    let mut found: Option<(Instant, u64, Victims)> = None;
    let mut ready = None;
    loop {
        let Some(state) = world.eyes.state() else {
            continue;
        };
        let now = Instant::now();
        if found.is_none() && procs::state(old).is_none_or(|s| s == 'Z') {
            let slots: Vec<u32> = last.slots.iter().map(|(n, _)| *n).collect();
            found = Some((now, wall_ns(), Victims::of(&last, &slots)));
        }
        if let Some((at, wall, victims)) = &mut found {
            victims.look(&state, *wall);
            let up = state.manager_pid != old && state.slots.iter().any(|(_, s)| s.state == 1);
            if up && ready.is_none() {
                ready = Some(now - *at);
            }
            if ready.is_some() && victims.pending.is_empty() {
                break;
            }
        } else {
            last = state;
        }
        if begun.elapsed() > PATIENCE {
            row.wrong.push("it was not over within 40 s".into());
            break;
        }
        crate::pause(1);
    }
    if let Some((at, _, victims)) = &found {
        row.detected_ms = Some(ms(*at - begun));
        row.recovered_ms = ready.map(ms);
        victims.tell(&mut row, None);
    }
    row.message = "readers see every row as stale meanwhile".into();
    settle(world)?;
    Ok(row)
}

pub fn full_disk(world: &World) -> Result<Row, String> {
    let mut row = Row {
        fault: "state disk full".into(),
        affected: "none".into(),
        ..Row::default()
    };
    let Some(disks) = &world.disks else {
        row.message = "skipped: a small file system cannot be mounted here (it needs root)".into();
        return Ok(row);
    };
    let filler = disks.state.fill();
    let mark = world.service.log_mark();
    let begun = Instant::now();
    // Something that is to be saved at once.
    world.ask("pause", json!({"names": ["bad/segv"], "reason": "disk"}))?;
    let said = world
        .service
        .wait_log(mark, &["the state cannot be written"], PATIENCE);
    row.detected_ms = Some(ms(begun.elapsed()));
    let mut victims = Victims::default();
    crate::pause(500);
    let state = world.eyes.state().ok_or("there is no state map")?;
    victims.look(&state, wall_ns());
    let freed = Instant::now();
    std::fs::remove_file(filler).map_err(|e| e.to_string())?;
    world.ask("resume", json!({"names": ["bad/segv"]}))?;
    let again = world
        .service
        .wait_log(mark, &["the state is on disk again"], PATIENCE);
    row.recovered_ms = again.is_some().then(|| ms(freed.elapsed()));
    match said {
        // Without its path, which is this run's own.
        Some(line) => {
            row.message = line
                .split("  file=")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        }
        None => row.wrong.push("it is not said".into()),
    }
    if again.is_none() {
        row.wrong.push("free space does not help".into());
    }
    victims.tell(&mut row, None);
    settle(world)?;
    Ok(row)
}

/// In the lab of tests/systemd: a stopped supervisor cannot pet the watchdog, and systemd starts the service again.
pub fn supervisor_under_systemd() -> Row {
    let mut row = Row {
        fault: "supervisor: SIGSTOP under systemd".into(),
        affected: "none".into(),
        limit: "WatchdogSec (3 s here)",
        ..Row::default()
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--quiet", "--test", "systemd"])
        .env("HEALTHD_SYSTEMD_ONLY", "watchdog")
        .current_dir(tree())
        .output();
    let said = match &output {
        Ok(o) => String::from_utf8_lossy(&o.stdout).into_owned(),
        Err(e) => e.to_string(),
    };
    let number = |key: &str| {
        let line = said.lines().find(|l| l.trim_start().starts_with(key))?;
        line.split_ascii_whitespace().last()?.parse::<f64>().ok()
    };
    row.detected_ms = number("watchdog detected_ms");
    row.recovered_ms = number("watchdog recovered_ms");
    if let Some(skipped) = said.lines().find(|l| l.contains("skipped:")) {
        row.message = skipped.chars().take(140).collect();
    } else if row.recovered_ms.is_some() && output.is_ok_and(|o| o.status.success()) {
        row.message =
            "systemd: watchdog timeout; the service is started again, nobody of the old is left"
                .into();
    } else {
        row.wrong.push(format!("the lab says: {said}"));
    }
    row
}
