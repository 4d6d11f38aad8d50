//! `cargo chaos --table`: what each fault costs, measured from outside, beside checks that are in flight all the time.
//!
//! Looks at `state.map` and /proc once a millisecond; times are as exact as that. Exit 1 is for a promise that was
//! broken (a check that was marked and is not to blame, a worker that did not come back), never for a slow machine.

use crate::service::kill;
use crate::world::{World, tree};
use healthd_core::wire::maps::{CheckRecord, StateSnapshot};
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LOAD: usize = 200;
/// How long a check of the load waits in each run: so many are in flight at any moment.
const LOAD_MS: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(40);
const READY_GOAL_MS: f64 = 100.0;
const LATE_GOAL_MS: f64 = 250.0;
/// A run that was under way when its worker died.
const DEAD: u8 = 3;

/// What was measured. None: it does not apply.
#[derive(Default)]
struct Row {
    fault: String,
    detected_ms: Option<f64>,
    recovered_ms: Option<f64>,
    affected: String,
    victims: usize,
    late_ms: Option<f64>,
    message: String,
    wrong: Vec<String>,
    /// A wait that the design names, before which nothing can be noticed.
    limit: &'static str,
}

pub fn table() -> Result<(), String> {
    let mut world = World::new()?;
    world.write_text(&config(&world))?;
    world.service.start()?;
    warm_up(&world)?;
    let mut rows = Vec::new();
    for (how, fault, limit) in CRASHES {
        rows.push(worker_fault(&world, how, fault, limit)?);
        eprintln!("done: {fault}");
    }
    rows.push(leak(&world, "leak", "leak of 1 GiB", 128)?);
    rows.push(leak(&world, "fds", "fd leak", 40)?);
    rows.push(hang(&world)?);
    rows.push(fork(&world)?);
    rows.push(constructor(&world)?);
    rows.push(manager_fault(
        &world,
        Signal::SIGKILL,
        "manager: SIGKILL",
        "",
    )?);
    rows.push(manager_fault(
        &world,
        Signal::SIGSTOP,
        "manager: SIGSTOP",
        "silent for 10 s",
    )?);
    rows.push(full_disk(&world)?);
    crate::service::kill(world.service.pid(), Signal::SIGTERM);
    let ended = world.service.wait_end(crate::world::PATIENCE)?;
    drop(world);
    rows.push(supervisor_under_systemd());
    print(&rows);
    let mut wrong: Vec<String> = (rows.iter())
        .flat_map(|r| r.wrong.iter().map(|w| format!("{}: {w}", r.fault)))
        .collect();
    if ended.code() != Some(0) {
        wrong.push(format!("asked to stop, the service ended with {ended}"));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("broken promises:\n  {}", wrong.join("\n  "))),
    }
}

/// Options of the culprit, the fault's name, and the limit before which nobody can know.
const CRASHES: [(&str, &str, &str); 9] = [
    ("segv", "SIGSEGV in run", ""),
    ("bus", "SIGBUS in run", ""),
    ("ill", "SIGILL in run", ""),
    ("fpe", "SIGFPE in run", ""),
    ("abort", "SIGABRT in run", ""),
    ("stack", "stack overflow in run", ""),
    ("exit", "exit(0) in run", ""),
    ("create", "SIGABRT in create", ""),
    ("stall", "stall of the reactor", "1 s in one step"),
];

fn config(world: &World) -> String {
    let dir = world.dir.display();
    let mut text = format!(
        "[daemon]\nplugin_dir = \"{dir}/plugins\"\nruntime_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\n\
         log = \"info\"\nstop_grace = \"2s\"\n\n[pool.io]\nworkers = 2\nmax_rss = \"512MiB\"\nmax_fds = 2000\n\n[[check]]\nname = \"good/{{n}}\"\nplugin = \"echo_step\"\n\
         for_each = {{ n = \"0..{LOAD}\" }}\ninterval = \"200ms\"\ntimeout = \"10s\"\nattempts = 1\nconfig = {{ wait_ms = {LOAD_MS} }}\n"
    );
    // Paused from the beginning: each runs once, when it is asked to.
    let mut add = |name: &str, plugin: &str, timeout: u64, options: &str| {
        text += &format!(
            "\n[[check]]\nname = \"bad/{name}\"\nplugin = \"{plugin}\"\ninterval = \"1h\"\nretry_interval = \"1h\"\n\
             timeout = \"{timeout}ms\"\nattempts = 1\nconfig = {{ {options} }}\n"
        );
    };
    let switch = |how: &str| format!("if_file = \"{dir}/switch/{how}\"");
    for how in [
        "segv", "bus", "ill", "fpe", "abort", "stack", "exit", "fork",
    ] {
        add(
            how,
            "crash",
            10_000,
            &format!("how = \"{how}\", {}", switch(how)),
        );
    }
    add(
        "create",
        "crash",
        10_000,
        &format!("how = \"abort\", when = \"create\", {}", switch("create")),
    );
    add(
        "stall",
        "crash_step",
        10_000,
        &format!("how = \"stall\", ms = 5000, {}", switch("stall")),
    );
    // 128 runs are 1 GiB; 40 are 4,000 descriptors.
    add("leak", "leak", 10_000, "kb = 8192");
    add("fds", "leak", 10_000, "fds = 100");
    add(
        "hang",
        "crash",
        500,
        &format!("how = \"stall\", ms = 3000, {}", switch("hang")),
    );
    text
}

fn warm_up(world: &World) -> Result<(), String> {
    world.until("every check has run", PATIENCE, |w| {
        let state = w.eyes.state();
        state.is_some_and(|s| s.checks.iter().all(|(_, c)| c.runs > 0))
    })?;
    crate::pause(1000);
    Ok(())
}

/// Lets the culprit run once, misbehaving, without waiting for its end.
fn provoke(world: &World, how: &str) -> Result<(), String> {
    world.switch(how, true)?;
    let socket = world.service.socket();
    let name = format!("bad/{how}");
    std::thread::spawn(move || {
        let _ = crate::client::ask(&socket, "run", &json!({ "names": [name] }), PATIENCE);
    });
    Ok(())
}

fn wall_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_nanos() as u64)
}

/// What was seen of the checks of the load from the fault on.
#[derive(Default)]
struct Victims {
    /// Runs and name of those that were in flight in the dead worker.
    pending: BTreeMap<String, u64>,
    count: usize,
    late_ns: u64,
    marked: BTreeSet<String>,
}

impl Victims {
    fn of(state: &StateSnapshot, slots: &[u32]) -> Victims {
        let flying = state.checks.iter().map(|(_, c)| c).filter(|c| {
            c.name.starts_with("good/") && c.in_flight != 0 && slots.contains(&c.in_flight_slot)
        });
        let pending: BTreeMap<_, _> = flying.map(|c| (c.name.to_string(), c.runs)).collect();
        Victims {
            count: pending.len(),
            pending,
            ..Victims::default()
        }
    }

    /// A victim's run has begun again at `last_run`: how long after the detection.
    fn look(&mut self, state: &StateSnapshot, detected_wall: u64) {
        for (whole, check) in &state.checks {
            if !whole || !check.name.starts_with("good/") {
                continue;
            }
            let well = matches!(check.verdict, 0 | 4) && matches!(check.status, 0 | 255);
            if !well {
                self.marked
                    .insert(format!("{}: {}", check.name, check.message));
            }
            let begun_again = |runs: &u64| check.runs > *runs;
            if self
                .pending
                .get(check.name.as_ref())
                .is_some_and(begun_again)
            {
                self.pending.remove(check.name.as_ref());
                self.late_ns = self
                    .late_ns
                    .max(check.last_run.saturating_sub(detected_wall));
            }
        }
    }

    fn tell(&self, row: &mut Row, culprit: Option<&str>) {
        row.victims = self.count;
        row.late_ms = (self.count > 0).then(|| self.late_ns as f64 / 1e6);
        row.affected = culprit.unwrap_or("none").to_owned();
        for marked in &self.marked {
            row.wrong
                .push(format!("a check that is not to blame was marked: {marked}"));
        }
        if !self.pending.is_empty() {
            row.wrong
                .push(format!("{} victims had no result", self.pending.len()));
        }
    }
}

fn check_of<'a>(state: &'a StateSnapshot, name: &str) -> Option<&'a CheckRecord<'static>> {
    state.checks.iter().map(|(_, c)| c).find(|c| c.name == name)
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// A run that costs its worker its life.
fn worker_fault(world: &World, how: &str, fault: &str, limit: &'static str) -> Result<Row, String> {
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
    let runs = check_of(&before, &name).map_or(0, |c| c.runs);
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
            let dead = |(_, s): &&(u32, healthd_core::wire::maps::SlotRecord)| {
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
            let back = |(n, s): &(u32, healthd_core::wire::maps::SlotRecord)| {
                n == slot && s.state == 1 && s.pid != *pid
            };
            if ready.is_none() && state.slots.iter().any(back) {
                ready = Some(now - *at);
            }
            let judged = check_of(&state, &name).filter(|c| c.runs > runs);
            if let Some(culprit) = judged.filter(|_| ready.is_some() && victims.pending.is_empty())
            {
                row.message = culprit.message.to_string();
                if culprit.status != DEAD {
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

/// The load is as before: nothing of this fault is measured with the next.
fn settle(world: &World) -> Result<(), String> {
    let begun = Instant::now();
    crate::pause(1500);
    world.until("every check of the load has run again", PATIENCE, |w| {
        let seen = w.eyes.seen();
        let mut load = seen
            .rows
            .iter()
            .filter(|(name, _)| name.starts_with("good/"));
        load.all(|(_, r)| r.changed > begun)
    })
}

/// A plugin that takes and never gives back, in so many runs: its workers make room before it hurts.
fn leak(world: &World, name: &str, fault: &str, runs: u64) -> Result<Row, String> {
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
fn hang(world: &World) -> Result<Row, String> {
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
            if culprit.status != DEAD || !culprit.message.contains("overrun") {
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
fn fork(world: &World) -> Result<Row, String> {
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

/// A file whose constructor crashes: nobody but its probe meets it.
fn constructor(world: &World) -> Result<Row, String> {
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

fn manager_fault(
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

fn full_disk(world: &World) -> Result<Row, String> {
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
fn supervisor_under_systemd() -> Row {
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

fn print(rows: &[Row]) {
    let cell = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.0} ms"));
    let goal = |v: Option<f64>, goal: f64| match v {
        Some(v) if v > goal => format!("{v:.0} ms (!)"),
        other => cell(other),
    };
    println!(
        "| fault | detected after | recovered after (goal {READY_GOAL_MS:.0} ms) | checks marked | victims late max (goal {LATE_GOAL_MS:.0} ms) | message |"
    );
    println!("|---|---|---|---|---|---|");
    for row in rows {
        let limit = if row.limit.is_empty() {
            String::new()
        } else {
            format!(", limit: {}", row.limit)
        };
        let late = match row.late_ms {
            Some(_) => format!("{} of {}", goal(row.late_ms, LATE_GOAL_MS), row.victims),
            None => "-".into(),
        };
        println!(
            "| {} | {}{limit} | {} | {} | {late} | {} |",
            row.fault,
            cell(row.detected_ms),
            goal(row.recovered_ms, READY_GOAL_MS),
            row.affected,
            row.message.replace('|', "\\|")
        );
    }
    for row in rows {
        for wrong in &row.wrong {
            println!("\nWRONG: {}: {wrong}", row.fault);
        }
    }
}
