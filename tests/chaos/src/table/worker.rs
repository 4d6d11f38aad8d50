//! Faults of a plugin in a worker.

use super::victims::Victims;
use super::{PATIENCE, Row, UNKNOWN, check_of, ms, provoke, settle, wall_ns};
use crate::service::kill;
use crate::world::World;
use healthd_core::check::fault::Fault;
use healthd_core::wire::maps::{SlotRecord, StateSnapshot};
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// A run that costs its worker its life.
pub fn worker_fault(
    world: &World,
    how: &str,
    fault: &str,
    limit: &'static str,
) -> Result<Row, String> {
    let name = format!("bad/{how}");
    let mut row = Row {
        fault: fault.to_owned(),
        limit,
        ..Row::default()
    };
    if how == "create" {
        // Its instance is made in a worker that has none of it yet.
        let workers = world.service.role("worker io");
        workers.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
        crate::pause(1500);
    }
    let before = world.eyes.state().ok_or("there is no state map")?;
    let mut runs = check_of(&before, &name).map_or(0, |c| c.runs);
    provoke(world, how)?;
    let begun = Instant::now();
    let mut last = before.clone();
    let mut died: Option<Instant> = None;
    let mut fault_at = None;
    // (slot, pid, when, victims)
    let mut hit: Option<(u32, u32, Instant, u64, Victims)> = None;
    let mut ready = None;
    loop {
        let Some(state) = world.eyes.state() else {
            continue;
        };
        let now = Instant::now();
        if died.is_none() {
            let dead = |(_, s): &&(u32, SlotRecord)| {
                s.pid != 0 && procs::state(s.pid).is_none_or(|s| s == 'Z')
            };
            died = last.slots.iter().find(dead).map(|_| now);
        }
        // A stall begins when its run is sent: nothing else tells.
        let flying = check_of(&state, &name).is_some_and(|c| c.in_flight != 0);
        if flying && fault_at.is_none() {
            fault_at = Some(now);
        }
        if hit.is_none() {
            let changed = state.slots.iter().find(|(slot, s)| {
                let was = last.slots.iter().find(|(n, _)| n == slot);
                was.is_some_and(|(_, was)| was.state == 1 && (s.state != 1 || s.pid != was.pid))
            });
            if let Some((slot, _)) = changed {
                let pid = last
                    .slots
                    .iter()
                    .find(|(n, _)| n == slot)
                    .map_or(0, |(_, s)| s.pid);
                hit = Some((*slot, pid, now, wall_ns(), Victims::of(&last, &[*slot])));
            }
        }
        if let Some((slot, pid, at, wall, victims)) = &mut hit {
            victims.look(&state, *wall);
            let back = |(n, s): &(u32, SlotRecord)| n == slot && s.state == 1 && s.pid != *pid;
            if ready.is_none() && state.slots.iter().any(back) {
                ready = Some(now - *at);
            }
            let judged = check_of(&state, &name).filter(|c| c.runs > runs);
            if let Some(culprit) = judged.filter(|_| ready.is_some() && victims.pending.is_empty())
            {
                // SIGKILL may come from outside, once: the run after that one is alone in a jail again.
                if how == "kill" && culprit.fault.is_some_and(Fault::is_own) {
                    runs = culprit.runs;
                    provoke(world, how)?;
                    continue;
                }
                row.message = culprit.message.to_string();
                if culprit.status != UNKNOWN {
                    row.wrong
                        .push(format!("the culprit has status {}", culprit.status));
                }
                if !culprit.message.contains("crash") {
                    row.wrong.push(format!(
                        "the message does not name the plugin: {}",
                        culprit.message
                    ));
                }
                break;
            }
        }
        if begun.elapsed() > PATIENCE {
            row.wrong.push("it was not over within 40 s".into());
            break;
        }
        if hit.is_none() {
            last = state;
        }
        crate::pause(1);
    }
    world.switch(how, false)?;
    if let Some((_, _, at, _, victims)) = &hit {
        let since = if how == "stall" { fault_at } else { died };
        row.detected_ms = since.map(|t| ms(at.saturating_duration_since(t)));
        row.recovered_ms = ready.map(ms);
        victims.tell(&mut row, Some(&name));
    }
    settle(world)?;
    Ok(row)
}

/// A plugin that takes and never gives back, in so many runs: its workers make room before it hurts.
pub fn leak(world: &World, name: &str, fault: &str, runs: u64) -> Result<Row, String> {
    let mut row = Row {
        fault: fault.into(),
        limit: "3/4 of max_rss 512 MiB, of max_fds 2000",
        ..Row::default()
    };
    let name = format!("bad/{name}");
    let mark = world.service.log_mark();
    let before = world.eyes.state().ok_or("there is no state map")?;
    let mut victims = Victims::default();
    let begun = Instant::now();
    let mut first = None;
    let mut most_kb = 0;
    for _ in 0..runs {
        world.ask("run", json!({ "names": [name] }))?;
        // As a check that runs seven times a second would: one that takes all at once is killed at its limit.
        crate::pause(120);
        let state = world.eyes.state().ok_or("there is no state map")?;
        victims.look(&state, wall_ns());
        for (_, s) in &state.slots {
            most_kb = most_kb.max(procs::anonymous_kb(s.pid).unwrap_or(0));
        }
        if first.is_none()
            && world
                .service
                .log_since(mark)
                .contains("worker is to be recycled")
        {
            first = Some(begun.elapsed());
        }
    }
    let (words, patience) = (["worker recycled  "], Duration::from_secs(20));
    let recycled = world.service.wait_log(mark, &words, patience);
    row.detected_ms = first.map(ms);
    let log = world.service.log_since(mark);
    let count = |what: &str| log.lines().filter(|l| l.contains(what)).count();
    let after = world.eyes.state().ok_or("there is no state map")?;
    victims.look(&after, wall_ns());
    let lost = |s: &StateSnapshot| s.slots.iter().map(|(_, s)| s.lost()).sum::<u64>();
    let cost = world.service.healthctl(&["plugins", "--cost"])?;
    let cost = String::from_utf8_lossy(&cost.stdout).into_owned();
    row.message = format!(
        "{} workers recycled, the largest had {} MB; {} runs lost; `--cost` {} `leak`",
        count("worker recycled  "),
        most_kb >> 10,
        lost(&after).saturating_sub(lost(&before)),
        if cost.contains("leak") {
            "names"
        } else {
            "does not name"
        }
    );
    if recycled.is_none() {
        row.wrong.push("no worker was recycled".into());
    }
    if count("worker died") > 0 {
        row.wrong.push("a worker died of it".into());
    }
    if !cost.contains("leak") {
        row.wrong.push(format!(
            "`healthctl plugins --cost` does not name it: {cost}"
        ));
    }
    victims.tell(&mut row, None);
    settle(world)?;
    Ok(row)
}

/// A run that does not come back: nobody dies of it.
pub fn hang(world: &World) -> Result<Row, String> {
    let mut row = Row {
        fault: "hang in the run lane".into(),
        limit: "its own timeout (500 ms)",
        ..Row::default()
    };
    let name = "bad/hang";
    let before = world.eyes.state().ok_or("there is no state map")?;
    let runs = check_of(&before, name).map_or(0, |c| c.runs);
    provoke(world, "hang")?;
    let begun = Instant::now();
    let mut victims = Victims::default();
    loop {
        let Some(state) = world.eyes.state() else {
            continue;
        };
        victims.look(&state, wall_ns());
        if let Some(culprit) = check_of(&state, name).filter(|c| c.runs > runs) {
            row.detected_ms = Some(culprit.latency_ns as f64 / 1e6);
            row.message = culprit.message.to_string();
            if culprit.status != UNKNOWN || !culprit.message.contains("overrun") {
                row.wrong.push(format!(
                    "it was not judged as an overrun: {}",
                    culprit.message
                ));
            }
            break;
        }
        if begun.elapsed() > PATIENCE {
            row.wrong.push("it was not judged".into());
            break;
        }
        crate::pause(1);
    }
    world.switch("hang", false)?;
    // Until the call has returned.
    crate::pause(3000);
    let after = world.eyes.state().ok_or("there is no state map")?;
    let restarts = |s: &StateSnapshot| s.slots.iter().map(|(_, s)| s.restarts).sum::<u64>();
    if restarts(&after) != restarts(&before) {
        row.wrong.push("a worker was replaced".into());
    }
    victims.look(&after, wall_ns());
    victims.tell(&mut row, Some(name));
    settle(world)?;
    Ok(row)
}

/// The copy of the worker must end, and nothing that it says may count.
pub fn fork(world: &World) -> Result<Row, String> {
    let mut row = Row {
        fault: "fork in a plugin".into(),
        ..Row::default()
    };
    let name = "bad/fork";
    let before = world.eyes.state().ok_or("there is no state map")?;
    let runs = check_of(&before, name).map_or(0, |c| c.runs);
    provoke(world, "fork")?;
    let begun = Instant::now();
    let mut copy: Option<(u32, Instant)> = None;
    let mut ended = None;
    let mut victims = Victims::default();
    loop {
        let Some(state) = world.eyes.state() else {
            continue;
        };
        victims.look(&state, wall_ns());
        let now = Instant::now();
        if copy.is_none() {
            let workers = world.service.role("worker io");
            let child = workers.iter().flat_map(|w| procs::children(*w)).next();
            copy = child.map(|pid| (pid, now));
        }
        if let (Some((pid, at)), None) = (copy, ended)
            && procs::state(pid).is_none_or(|s| s == 'Z')
        {
            ended = Some(now - at);
        }
        let judged = check_of(&state, name).filter(|c| c.runs > runs);
        if let Some(culprit) = judged.filter(|_| copy.is_none() || ended.is_some())
            && begun.elapsed() > Duration::from_millis(500)
        {
            row.message = match copy {
                Some(_) => format!("{} (the copy has ended)", culprit.message),
                None => format!("{} (the copy ended before it was seen)", culprit.message),
            };
            break;
        }
        if begun.elapsed() > PATIENCE {
            row.wrong.push("the copy lives on".into());
            break;
        }
        crate::pause(1);
    }
    world.switch("fork", false)?;
    row.detected_ms = ended.map(ms);
    let after = world.eyes.state().ok_or("there is no state map")?;
    let sum = |s: &StateSnapshot| s.slots.iter().map(|(_, s)| s.late).sum::<u64>();
    if sum(&after) != sum(&before) {
        row.wrong
            .push("results of the copy came to the manager".into());
    }
    victims.tell(&mut row, None);
    settle(world)?;
    Ok(row)
}
