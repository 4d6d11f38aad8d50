//! Nothing stays stuck: no plugin can hold a start or a reload for ever, nothing that waits is forgotten, and
//! nobody's greed holds the others.

use crate::harness::{Check, Config, Daemon, Gate, check, fixtures};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::PathBuf;

fn mood(config: &Config) -> PathBuf {
    config.dir().join("mood")
}

fn moody(interval: &str) -> Check {
    check("moody").plugin("moody").interval(interval)
}

fn echo(message: &str) -> Check {
    check("echo")
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", "1")
        .set(
            "config",
            &format!("{{ status = \"critical\", message = {message:?} }}"),
        )
}

/// A daemon with a plugin in this mood beside a good one.
fn in_mood(letter: &str) -> Config {
    let config = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("moody"));
    let file = mood(&config);
    fs::write(&file, letter).expect("our own folder");
    config
        .env("MOOD", file)
        .check(moody("1h"))
        .check(echo("one"))
}

fn assert_left_out(daemon: &Daemon, why: &str) {
    let row = daemon.row("moody");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["verdict"], "unknown", "{row}");
    assert!(message.contains(why), "{row}");
    assert_eq!(daemon.run("echo")["verdict"], "critical");
}

#[test]
fn a_plugin_whose_init_never_returns_holds_nobody_up() {
    let daemon = in_mood("h").spawn();
    daemon.expect_notify("READY=1");
    assert_left_out(&daemon, "init of plugin `moody` has not returned");
}

#[test]
fn sigkill_speaks_against_a_plugin_only_when_it_comes_again_and_again() {
    let daemon = in_mood("k").spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("worker was killed while it started");
    assert_left_out(&daemon, "SIGKILL in init of plugin `moody`");
}

#[test]
fn a_plugin_that_was_left_out_stands_in_the_way_of_no_reload_and_may_come_back() {
    let daemon = in_mood("f").spawn();
    daemon.expect_notify("READY=1");
    assert_left_out(&daemon, "init failed");
    daemon.written.rewrite(&[moody("1h"), echo("two")]);
    daemon.ask("reload", json!({}));
    assert_left_out(&daemon, "init failed");
    assert_eq!(daemon.row("echo")["message"], "two");
    fs::write(daemon.dir().join("mood"), "well").expect("our own folder");
    daemon.ask("reload", json!({}));
    assert_eq!(daemon.run("moody")["message"], "well");
}

#[test]
fn a_stop_while_the_workers_come_up_forgets_nothing() {
    let mut daemon = in_mood("well").spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    daemon.ask("pause", json!({"names": ["echo"], "reason": "not now"}));
    let before = daemon.row("echo");
    for letter in ["h", "h", "well"] {
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait_exit().code(), Some(0));
        fs::write(daemon.dir().join("mood"), letter).expect("our own folder");
        daemon = daemon.restart();
        daemon.expect_log("manager started");
    }
    daemon.expect_notify("READY=1");
    let after = daemon.row("echo");
    for key in ["verdict", "status", "since", "message", "paused"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(daemon.detail("echo")["pause_reason"], "not now");
}

#[test]
fn thousands_that_wait_for_room_in_their_plugin_all_have_their_turn() {
    let gate = Gate::new();
    let daemon = Config::new()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("moody"))
        .check(
            check("first")
                .plugin("narrow")
                .interval("1h")
                .timeout("5m")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .check(
            check("q-{i}")
                .plugin("narrow")
                .interval("1h")
                .timeout("5m")
                .set("for_each", "{ i = \"0..4000\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let visit = gate.wait_entered();
    let worker = daemon.pids("io");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["q-*"]}));
    assert_eq!(client.line().expect("it begins")["total"], 4000);
    visit.open();
    let rows = client.answer().expect("each ends");
    assert_eq!(rows.len(), 4000);
    assert!(rows.iter().all(|r| r["message"] == "at once"));
    assert_eq!(daemon.pids("io"), worker);
}

#[test]
fn a_check_that_a_reload_changes_in_flight_runs_anew_and_whoever_waits_is_told() {
    let gate = Gate::new();
    let held = |label: &str| {
        check("held")
            .plugin("narrow")
            .interval("1h")
            .timeout("5m")
            .set(
                "config",
                &format!("{{ gate = {:?}, label = {label:?} }}", gate.path()),
            )
    };
    let daemon = Config::new()
        .plugin_file(fixtures::fixture("moody"))
        .check(held("old"))
        .spawn();
    daemon.expect_notify("READY=1");
    let first = gate.wait_entered();
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["held"]}));
    client.line().expect("it begins");
    daemon.written.rewrite(&[held("new")]);
    daemon.ask("reload", json!({}));
    let id = first.run_id;
    first.open();
    let second = gate.wait_entered();
    assert_ne!(second.run_id, id);
    second.open();
    assert_eq!(client.answer().expect("one row").len(), 1);
    let slot = &daemon.workers()[..];
    let sum = |key: &str| slot.iter().filter_map(|r| r[key].as_u64()).sum::<u64>();
    assert_eq!((sum("finished"), sum("lost_cancelled")), (1, 1), "{slot:?}");
}

#[test]
fn a_program_that_writes_without_end_holds_no_other() {
    let daemon = Config::new()
        .check(
            check("endless")
                .plugin("exec")
                .interval("1h")
                .timeout("6s")
                .set(
                    "config",
                    "{ argv = [\"/bin/sh\", \"-c\", \"exec yes\"], max_output = 1000 }",
                ),
        )
        .check(
            check("short")
                .script("echo short")
                .interval("1h")
                .timeout("5s"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let workers = daemon.pids("exec");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["endless"]}));
    client.line().expect("it begins");
    assert_eq!(daemon.run("short")["message"], "short");
    let rows = client.answer().expect("it ends at its deadline");
    // On a machine that is busy it may have had too little of a processor.
    let ended = ["timeout", "self:starved"];
    let message = rows[0]["message"].as_str().unwrap_or_default();
    assert!(ended.iter().any(|e| message.starts_with(e)), "{rows:?}");
    assert_eq!(daemon.pids("exec"), workers);
}

#[test]
fn who_asks_and_asks_and_reads_nothing_neither_swells_nor_stops_the_manager() {
    let daemon = in_mood("well").spawn();
    daemon.expect_notify("READY=1");
    let manager = daemon.manager();
    let rss = || healthd_rss(manager);
    daemon.ask("plugins", json!({}));
    // What that takes meanwhile it gives back.
    daemon.until_plugins_are_asked();
    let before = rss();
    let deaf: Vec<_> = (0..4)
        .map(|_| {
            let client = daemon.client();
            client.stream().set_nonblocking(true).expect("ours");
            let requests = "{\"v\":1,\"op\":\"plugins\"}\n".repeat(1000);
            // As much as is taken, while the answers stay where they are.
            let mut refused = 0;
            while refused < 50 {
                // A part of it may be taken: then the rest is refused, and the next round begins in mid-line,
                // which is what a hostile client may do as well.
                if client.stream().write_all(requests.as_bytes()).is_err() {
                    refused += 1;
                    daemon.ask("version", json!({}));
                }
            }
            client
        })
        .collect();
    let grown = rss().saturating_sub(before);
    assert!(grown < 4 << 10, "{grown} kB more");
    assert_eq!(daemon.run("moody")["verdict"], "ok");
    drop(deaf);
}

#[test]
fn a_filter_that_would_cost_much_is_refused() {
    let daemon = in_mood("well").spawn();
    daemon.expect_notify("READY=1");
    let pattern = "*[a-z]".repeat(1000);
    let error: Value = daemon
        .client()
        .ask("status", json!({"names": [pattern]}))
        .expect_err("too much");
    assert_eq!(error["code"], "bad_request");
}

/// Resident memory in kB.
fn healthd_rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .expect("a number")
}
