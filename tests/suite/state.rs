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
    crate::harness::ctl::wait_for("the pause is saved", || {
        let saved = fs::read_to_string(daemon.dir().join("state/state.json")).unwrap_or_default();
        saved.contains("not now")
    });
    let before = daemon.ask("status", json!({}));
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit();
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    assert_remembered(&before, &daemon);
    assert_eq!(daemon.run("soft")["attempt"], 2);
}

#[test]
fn a_broken_state_file_is_said_kept_aside_and_survived() {
    for broken in [
        &b"{\"version\":1,\"next_run\":5,\"che"[..],
        b"",
        b"\0\0\0\0",
        b"{\"version\":77,\"next_run\":1,\"checks\":[]}",
    ] {
        let mut daemon = start();
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait_exit().code(), Some(0));
        let file = daemon.dir().join("state/state.json");
        assert!(fs::metadata(&file).expect("it is saved").len() > 0);
        fs::write(&file, broken).expect("our own file");
        let daemon = daemon.restart();
        daemon.expect_notify("READY=1");
        let line = daemon
            .log
            .all()
            .into_iter()
            .find(|l| l.contains("the saved state cannot be used"))
            .unwrap_or_else(|| daemon.fail("it says nothing of the broken file"));
        assert!(
            line.contains("state.json") && line.contains("kept_as="),
            "{line}"
        );
        let aside = daemon.dir().join("state/state.json.broken");
        assert_eq!(fs::read(aside).expect("it is kept"), broken);
        assert_eq!(daemon.run("good")["verdict"], "ok");
    }
}
