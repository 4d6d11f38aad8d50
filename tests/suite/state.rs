//! What outlives the daemon: verdicts, attempts, pauses.

use crate::harness::{Check, Config, Daemon, check, fixtures};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

fn echo(name: &str, status: &str, attempts: u32) -> Check {
    check(name)
        .plugin("echo_step")
        .interval("1h")
        .set("retry_interval", "\"1h\"")
        .set("attempts", &attempts.to_string())
        .set(
            "config",
            &format!("{{ status = {status:?}, message = \"{name} speaks\" }}"),
        )
}

fn start() -> Daemon {
    let daemon = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .check(echo("good", "ok", 3))
        .check(echo("soft", "warning", 3))
        .check(echo("hard", "critical", 1))
        .check(echo("quiet", "ok", 3))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    daemon.ask("pause", json!({"names": ["quiet"], "reason": "not now"}));
    daemon
}

fn assert_remembered(before: &[Value], daemon: &Daemon) {
    let after = daemon.ask("status", json!({}));
    for (before, after) in before.iter().zip(&after) {
        for key in [
            "name", "verdict", "status", "since", "attempt", "message", "paused",
        ] {
            assert_eq!(before[key], after[key], "{key}: {before} {after}");
        }
    }
    assert_eq!(daemon.detail("quiet")["pause_reason"], "not now");
}

#[test]
fn a_stop_forgets_nothing() {
    let mut daemon = start();
    let before = daemon.ask("status", json!({}));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    // Known before anything has run, as far as it has not run yet.
    let paused = daemon.row("quiet");
    assert_eq!(
        (&paused["verdict"], &paused["paused"]),
        (&"ok".into(), &true.into())
    );
    assert_eq!(daemon.detail("quiet")["pause_reason"], "not now");
    assert_eq!(daemon.row("hard")["verdict"], "critical");
    assert_eq!(daemon.row("hard")["since"], before[2]["since"]);
    daemon.ask("pause", json!({"names": ["good", "soft", "hard"]}));
}

#[test]
fn a_daemon_that_was_killed_forgets_nothing() {
    let mut daemon = start();
    crate::harness::ctl::wait_for("the pause is saved", || daemon.saved().contains("not now"));
    let before = daemon.ask("status", json!({}));
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit();
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    assert_remembered(&before, &daemon);
    assert_eq!(daemon.run("soft")["attempt"], 2);
}

/// Stopped, its state replaced by this, and started again.
fn restarted_with(file: &str, bytes: &[u8]) -> Daemon {
    let mut daemon = start();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let log = daemon.dir().join("state/state.log");
    assert!(fs::metadata(&log).expect("it is saved").len() > 0);
    fs::remove_file(log).expect("our own file");
    fs::write(daemon.dir().join("state").join(file), bytes).expect("our own file");
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    daemon
}

#[test]
fn a_broken_state_file_is_said_kept_aside_and_survived() {
    for (file, broken) in [
        ("state.log", &b""[..]),
        ("state.log", b"\0\0\0\0"),
        ("state.log", b"{\"version\":1,\"next_run\":5}"),
        ("state.log", &0x4844_5354_4154_0009_u64.to_le_bytes()),
        ("state.json", b"{\"version\":1,\"next_run\":5,\"che"),
        (
            "state.json",
            b"{\"version\":77,\"next_run\":1,\"checks\":[]}",
        ),
    ] {
        let daemon = restarted_with(file, broken);
        let line = daemon.expect_log("the saved state cannot be used");
        assert!(line.contains(file) && line.contains("kept_as="), "{line}");
        let aside = daemon.dir().join(format!("state/{file}.broken"));
        assert_eq!(fs::read(aside).expect("it is kept"), broken);
        assert_eq!(daemon.run("good")["verdict"], "ok");
    }
}

#[test]
fn a_torn_end_of_the_state_costs_its_last_change_only() {
    let mut daemon = start();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let log = daemon.dir().join("state/state.log");
    let mut bytes = fs::read(&log).expect("it is saved");
    bytes.extend([200, 0, 0, 0, 1, 2, 3, 4, 5]);
    fs::write(&log, bytes).expect("our own file");
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    daemon.expect_log("was not written to its end");
    assert_eq!(daemon.row("hard")["verdict"], "critical");
    assert_eq!(daemon.detail("quiet")["pause_reason"], "not now");
    assert!(!daemon.dir().join("state/state.log.broken").exists());
}

#[test]
fn the_state_of_an_older_healthd_is_taken_over() {
    let old = r#"{"version":1,"next_run":41,"checks":[
        {"name":"quiet","plugin":"echo_step","verdict":"warning","status":"warning","attempt":3,"against":3,"runs":9,
         "skipped":0,"since":1764390000000000000,"last_run":1764390003000000000,"message":"as it was","latency_ns":1000,
         "worker":0,"paused":"of old"}]}"#;
    let daemon = restarted_with("state.json", old.as_bytes());
    let quiet = daemon.detail("quiet");
    for (key, value) in [
        ("verdict", json!("warning")),
        ("message", json!("as it was")),
        ("runs", json!(9)),
        ("pause_reason", json!("of old")),
    ] {
        assert_eq!(quiet[key], value, "{key}: {quiet}");
    }
    crate::harness::ctl::wait_for("the older file is taken over", || {
        !daemon.dir().join("state/state.json").exists() && daemon.saved().contains("of old")
    });
}

#[test]
fn one_that_flaps_is_appended_and_the_others_are_not_written_again() {
    let config = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"));
    let file = config.dir().join("target");
    fs::write(&file, "ok").expect("our own folder");
    let flaps = check("flaps")
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", "1")
        .set("config", &format!("{{ file = {file:?} }}"));
    let mut config = config.check(flaps);
    for n in 0..300 {
        config = config.check(echo(&format!("still/{n}"), "ok", 3));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    let log = daemon.dir().join("state/state.log");
    let len = || fs::metadata(&log).map_or(0, |m| m.len());
    // A pause is written at once, behind all that was known before.
    daemon.ask("pause", json!({"names": ["still/0"], "reason": "mark"}));
    crate::harness::ctl::wait_for("all are on disk", || {
        let saved = daemon.saved();
        saved.contains("mark") && (0..300).all(|n| saved.contains(&format!("still/{n}\"")))
    });
    let before = len();
    fs::write(&file, "critical down").expect("our own file");
    assert_eq!(daemon.run("flaps")["verdict"], "critical");
    crate::harness::ctl::wait_for("the change is on disk", || daemon.saved().contains("down"));
    let more = len() - before;
    assert!((1..2_000).contains(&more), "{more} after {before}");
}
