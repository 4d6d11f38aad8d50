//! `cargo chaos --table`: what each fault costs, measured from outside, beside checks that are in flight all the time.
//!
//! Looks at `state.map` and /proc once a millisecond; times are as exact as that. Exit 1 is for a promise that was
//! broken (a check that was marked and is not to blame, a worker that did not come back), never for a slow machine.

mod around;
mod victims;
mod worker;

use crate::service::kill;
use crate::world::World;
use around::{constructor, full_disk, manager_fault, supervisor_under_systemd};
use healthd_core::wire::maps::{CheckRecord, StateSnapshot};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use worker::{fork, hang, leak, worker_fault};

const LOAD: usize = 200;
/// How long a check of the load waits in each run: so many are in flight at any moment.
const LOAD_MS: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(40);
const READY_GOAL_MS: f64 = 100.0;
const LATE_GOAL_MS: f64 = 250.0;
/// The status of a culprit.
const UNKNOWN: u8 = 3;

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
    kill(world.service.pid(), Signal::SIGTERM);
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
const CRASHES: [(&str, &str, &str); 10] = [
    ("segv", "SIGSEGV in run", ""),
    ("bus", "SIGBUS in run", ""),
    ("ill", "SIGILL in run", ""),
    ("fpe", "SIGFPE in run", ""),
    ("abort", "SIGABRT in run", ""),
    ("stack", "stack overflow in run", ""),
    ("exit", "exit(0) in run", ""),
    ("kill", "SIGKILL from within (found in the jail)", ""),
    ("create", "SIGABRT in create", ""),
    ("stall", "stall of the event loop", "1 s in one step"),
];

fn config(world: &World) -> String {
    let dir = world.dir.display();
    let mut text = format!(
        "[daemon]\nplugin_dir = \"{dir}/plugins\"\nruntime_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\n\
         log = \"info\"\nstop_grace = \"2s\"\n\n[pool]\nisolate = false\n\n[pool.io]\nworkers = 2\nmax_rss = \"512MiB\"\nmax_fds = 2000\n\n[[check]]\nname = \"good/{{n}}\"\nplugin = \"echo_step\"\n\
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
        "segv", "bus", "ill", "fpe", "abort", "stack", "exit", "kill", "fork",
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

fn check_of<'a>(state: &'a StateSnapshot, name: &str) -> Option<&'a CheckRecord<'static>> {
    state.checks.iter().map(|(_, c)| c).find(|c| c.name == name)
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
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
