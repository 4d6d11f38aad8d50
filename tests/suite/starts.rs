//! The daemon's own start marks nobody: a hundred programs that compute, all due at once.
//!
//! `HD_STARTS=10 cargo test --test suite -- starts:: --nocapture` makes ten starts in a row with 0.6 s of CPU each, as a large
//! Perl or Java plugin needs.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, check, fixtures, kill};
use healthd_test_support::procs::{self, tree};
use nix::libc;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

const PROGRAMS: usize = 100;

#[test]
fn a_hundred_programs_that_compute_are_ok_after_each_start() {
    let many = std::env::var("HD_STARTS")
        .ok()
        .and_then(|n| n.parse::<u32>().ok());
    let (starts, ticks) = match many {
        Some(starts) => (starts, 60),
        None => (1, 10),
    };
    // By the kernel's account of it: what it waits for a processor is not counted.
    let computes = format!(
        "while :; do read -r line </proc/$$/stat; set -- ${{line##*)}}; [ $((${{12}} + ${{13}})) -ge {ticks} ] && break; done; echo fine"
    );
    for start in 1..=starts {
        let mut config = Config::new().daemon("start_spread", "\"0s\"");
        for n in 0..PROGRAMS {
            config = config.check(check(&format!("c-{n}")).interval("5m").script(&computes));
        }
        let mut daemon = config.spawn();
        daemon.expect_notify("READY=1");
        let rows: Vec<Value> = daemon.ask("run", serde_json::json!({}));
        let ran: Vec<&Value> = rows.iter().filter(|r| r["type"] == "check").collect();
        assert_eq!(ran.len(), PROGRAMS);
        let bad: Vec<&&Value> = ran.iter().filter(|r| r["status"] != "ok").collect();
        eprintln!(
            "start {start}: {} of {PROGRAMS} programs are ok",
            PROGRAMS - bad.len()
        );
        assert!(bad.is_empty(), "{:?}", bad.first());
        daemon.signal(nix::sys::signal::Signal::SIGTERM);
        daemon.wait_exit();
    }
}

/// Of a day, in ms.
fn moment(rfc3339: &str) -> u64 {
    let number = |from: usize, to: usize| rfc3339[from..to].parse::<u64>().expect("digits");
    let seconds = number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    seconds * 1000 + number(20, 23)
}

/// Stops it where it waits for events, else lets it go on.
fn stops_asleep(pid: u32) -> bool {
    kill(pid, Signal::SIGSTOP);
    wait_for("it is stopped", || procs::state(pid) == Some('T'));
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).expect("our own process");
    let waits = [
        libc::SYS_epoll_pwait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
    ];
    let asleep = waits.iter().any(|nr| call.starts_with(&format!("{nr} ")));
    if !asleep {
        kill(pid, Signal::SIGCONT);
    }
    asleep
}

#[test]
fn what_fell_due_while_all_stood_still_is_not_started_in_one_burst() {
    const CHECKS: usize = 60;
    let mut config = Config::new()
        .daemon("start_spread", "\"4s\"")
        .plugin_file(fixtures::fixture("echo"));
    for n in 0..CHECKS {
        let check = check(&format!("c-{n}")).plugin("echo").timeout("4s");
        config = config.check(check.interval("4s"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let mut events = daemon.events();
    daemon.ask("run", json!({}));
    let all = tree(daemon.pid());
    // In its sleep: of a manager that is stopped in the middle of its work that is no matter of events.
    wait_for("the manager is stopped asleep", || {
        stops_asleep(daemon.manager())
    });
    all.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP));
    // Longer than their interval, so that all of them fall due.
    daemon.assert_alive_for(Duration::from_secs(6));
    all.iter().for_each(|pid| kill(*pid, Signal::SIGCONT));
    // A machine that is busy makes shorter ones before it.
    let resumed = events.until("the long stand-still", |e| {
        e["kind"] == "stood-still" && e["for_ms"].as_u64().is_some_and(|ms| ms >= 5000)
    });
    let resumed = moment(resumed["time"].as_str().expect("a time"));
    let mut watch = daemon.watch(&[]);
    let mut first = HashMap::new();
    watch.until("a run of each", |row| {
        let began = row["last_run"].as_str().map_or(0, moment);
        let after = (began + 86_400_000 - resumed) % 86_400_000;
        // Else it began before.
        if after < 43_200_000 {
            let name = row["name"].as_str().expect("a name").to_owned();
            first.entry(name).or_insert(after);
        }
        first.len() == CHECKS
    });
    // A machine that is slow makes them later, and never earlier.
    let later = first.values().filter(|ms| **ms >= 1500).count();
    assert!(later >= CHECKS / 4, "{later} of {CHECKS}: {first:?}");
}
