//! dispatched = finished + in flight + lost, at every look, whoever is killed; and no run is lost or doubled.

use crate::harness::ctl::Client;
use crate::harness::{Config, Daemon, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::json;

const CHECKS: usize = 120;

/// Runs of both lanes, some of them always in flight.
fn under_load(workers: usize) -> Daemon {
    let mut config = Config::new()
        .daemon("log", "\"info\"")
        .pool("io", &format!("workers = {workers}"))
        .plugin_file(fixtures::fixture("echo"));
    for n in 0..CHECKS {
        let (plugin, options) = match n % 3 {
            0 => ("echo", "{}"),
            1 => ("echo_step", "{}"),
            _ => ("echo_step", "{ wait_ms = 40 }"),
        };
        config = config.check(
            check(&format!("c-{n}"))
                .plugin(plugin)
                .interval("200ms")
                .timeout("30s")
                // With 1 what nobody could judge for two seconds is unknown, and here workers die all the time.
                .set("attempts", "100")
                .set("config", options),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    daemon
}

/// Nothing runs any more, and the books are closed: each run has exactly one result.
fn assert_books(daemon: &Daemon) {
    daemon.ask("pause", json!({}));
    let rows = daemon.until_workers("nothing in flight", |rows| {
        rows.iter().all(|r| r["in_flight"] == 0)
    });
    let total = |key: &str| rows.iter().filter_map(|r| r[key].as_u64()).sum::<u64>();
    let (mut results, mut own) = (0, 0);
    let mut client = daemon.client();
    for n in 0..CHECKS {
        let shown = client
            .ask("show", json!({ "name": format!("c-{n}") }))
            .expect("it is there");
        results += shown[0]["runs"].as_u64().expect("a number");
        own += shown[0]["samples"]["own_fault"].as_u64().expect("a number");
        assert_eq!(shown[0]["verdict"], "ok", "{}", shown[0]);
        for bad in ["warning", "critical", "unknown"] {
            assert_eq!(shown[0]["samples"][bad], 0, "{}", shown[0]);
        }
    }
    // A suspect has run in a worker of its own, whose row went with it.
    let log = daemon.log.all();
    let alone = log
        .iter()
        .filter(|l| l.contains("solo worker ended"))
        .count() as u64;
    let known = total("finished") + own;
    assert!(
        (known..=known + alone).contains(&results),
        "{results} results, {known} known, {alone} alone: {rows:#?}"
    );
    for line in log.iter().filter(|l| l.contains("check changed")) {
        assert!(line.contains("to=ok"), "{line}");
    }
}

/// Every check runs on: what it says is newer than now.
fn assert_all_run_on(daemon: &Daemon) {
    let before = daemon.ask("status", json!({}));
    let mut waiting: Vec<_> = before
        .iter()
        .map(|r| (r["name"].clone(), r["last_run"].clone()))
        .collect();
    let mut watch = daemon.watch(&["c-*"]);
    watch.until("a run of each check", |row| {
        waiting.retain(|(name, last)| row["name"] != *name || row["last_run"] == *last);
        waiting.is_empty()
    });
}

#[test]
fn killed_workers_lose_no_run_and_double_none() {
    let daemon = under_load(2);
    for round in 0..20u64 {
        let rows = daemon.until_workers("two ready workers", |rows| {
            rows.len() == 2 && rows.iter().all(|r| r["state"] == "ready")
        });
        let victim = rows[round as usize % 2].clone();
        let pid = victim["pid"].as_u64().expect("a pid") as u32;
        kill(pid, Signal::SIGKILL);
        // At every look, also while the death is being dealt with.
        let mut client = daemon.client();
        for _ in 0..5 {
            for row in client.ask("workers", json!({})).expect("workers") {
                crate::harness::ctl::assert_balanced(&row);
            }
        }
        // A row may look ready for a moment longer than its worker lives.
        daemon.until_workers("another in its place", |rows| {
            rows.iter().all(|r| r["pid"] != pid)
        });
    }
    assert_all_run_on(&daemon);
    let rows = daemon.workers();
    let restarts: u64 = rows.iter().filter_map(|r| r["restarts"].as_u64()).sum();
    assert_eq!(restarts, 20, "{rows:#?}");
    assert_books(&daemon);
}

#[test]
fn all_workers_killed_at_once() {
    let daemon = under_load(2);
    for _ in 0..5 {
        let before = daemon.pids("io");
        for pid in before.values() {
            kill(*pid, Signal::SIGKILL);
        }
        daemon.until_workers("two new workers", |rows| {
            rows.iter().all(|r| {
                r["state"] == "ready"
                    && r["pid"].as_u64()
                        != before
                            .get(&r["slot"].as_u64().unwrap_or(9))
                            .map(|p| u64::from(*p))
            })
        });
    }
    assert_all_run_on(&daemon);
    assert_books(&daemon);
}

#[test]
fn the_only_worker_killed_again_and_again() {
    let daemon = under_load(1);
    for _ in 0..10 {
        let before = daemon.pids("io")[&0];
        kill(before, Signal::SIGKILL);
        daemon.until_workers("another worker", |rows| {
            rows[0]["state"] == "ready" && rows[0]["pid"] != before
        });
    }
    assert_all_run_on(&daemon);
    assert_books(&daemon);
}

#[test]
fn a_run_that_is_asked_for_twice_is_one_run() {
    let gate = crate::harness::Gate::new();
    let daemon = Config::new()
        .only_asked()
        .plugin_file(fixtures::fixture("hold"))
        .check(
            check("held")
                .plugin("hold")
                .interval("1h")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let ask = || {
        let mut client = Client::connect(&daemon.socket());
        client.send(&json!({"v": 1, "op": "run", "names": ["held"]}));
        let started = client.line().expect("an answer");
        assert_eq!(
            (&started["type"], &started["total"]),
            (&"started".into(), &1.into())
        );
        client
    };
    let mut first = ask();
    let visit = gate.wait_entered();
    let mut second = ask();
    visit.open();
    for client in [&mut first, &mut second] {
        let rows = client.answer().expect("a result");
        assert_eq!(rows[0]["status"], "ok");
    }
    assert_eq!(daemon.detail("held")["runs"], 1);
    assert!(gate.is_empty());
}
