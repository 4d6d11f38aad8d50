//! The manager dies: what it knew comes back, and what was in flight runs again.

use crate::harness::ctl::{same_moment, wait_for};
use crate::harness::{Config, Daemon, Gate, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

/// Kills the manager and waits until the next one is at work.
fn replace_manager(daemon: &Daemon) {
    let old = daemon.manager();
    kill(old, Signal::SIGKILL);
    daemon.expect_log("manager started");
    daemon.expect_log("manager: ready");
    assert_ne!(daemon.manager(), old);
}

#[test]
fn verdicts_attempts_pauses_and_phases_come_back() {
    let once = |name: &str, status: &str, attempts: &str| {
        check(name)
            .plugin("echo_step")
            .interval("1h")
            .set("retry_interval", "\"1h\"")
            .set("attempts", attempts)
            .set(
                "config",
                &format!("{{ status = {status:?}, message = \"{name} speaks\" }}"),
            )
    };
    let daemon = config()
        .only_asked()
        .check(once("good", "ok", "3"))
        .check(once("soft", "warning", "3"))
        .check(once("hard", "critical", "1"))
        .check(once("quiet", "ok", "3"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("manager: ready");
    daemon.ask("run", json!({}));
    daemon.ask("pause", json!({"names": ["quiet"], "reason": "not now"}));
    // The reason stands on disk only.
    wait_for("the pause is saved", || daemon.saved().contains("not now"));
    let before = daemon.ask("status", json!({}));
    for _ in 0..2 {
        replace_manager(&daemon);
        let after = daemon.ask("status", json!({}));
        for (before, after) in before.iter().zip(&after) {
            for key in [
                "name", "verdict", "status", "since", "attempt", "message", "last_run", "paused",
            ] {
                assert_eq!(before[key], after[key], "{key}: {before} {after}");
            }
            if before["paused"] != true {
                assert!(
                    same_moment(&before["next_run"], &after["next_run"]),
                    "{before} {after}"
                );
            }
        }
        assert_eq!(daemon.detail("quiet")["pause_reason"], "not now");
    }
    // The count goes on where it was.
    assert_eq!(daemon.run("soft")["attempt"], 2);
    let row = daemon.run("soft");
    assert_eq!(
        (&row["attempt"], &row["verdict"]),
        (&3.into(), &"warning".into())
    );
}

#[test]
fn who_asks_between_two_managers_hears_all_from_the_next() {
    let daemon = config()
        .check(check("one").plugin("echo_step").interval("1h"))
        .check(check("two").plugin("echo_step").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    for _ in 0..5 {
        kill(daemon.manager(), Signal::SIGKILL);
        daemon.expect_log("manager died");
        assert_eq!(daemon.ask("status", json!({})).len(), 2);
    }
}

#[test]
fn what_was_in_flight_runs_again() {
    let gate = Gate::new();
    let held = |name: &str, plugin: &str| {
        check(name)
            .plugin(plugin)
            .interval("1h")
            .timeout("2m")
            .set("config", &format!("{{ gate = {:?} }}", gate.path()))
    };
    let daemon = config()
        .check(held("run", "hold"))
        .check(held("step", "hold_step"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("manager: ready");
    let visits = [gate.wait_entered(), gate.wait_entered()];
    replace_manager(&daemon);
    for visit in visits {
        visit.assert_hung_up();
    }
    let again = [gate.wait_entered(), gate.wait_entered()];
    for visit in again {
        let mut watch = daemon.watch(&[&visit.check]);
        let name = visit.check.clone();
        visit.open();
        watch.until_verdict(&name, "ok");
    }
    assert!(gate.is_empty());
    let rows = daemon.workers();
    let lost: u64 = rows.iter().filter_map(|r| r["lost"].as_u64()).sum();
    assert_eq!(lost, 2, "{rows:#?}");
}

#[test]
fn a_bad_config_on_disk_does_not_stop_the_next_manager() {
    let daemon = config()
        .check(check("a").plugin("echo").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("manager: ready");
    daemon.run("a");
    fs::write(daemon.written.file(), "[[check]]\nname = 5\n").expect("our own file");
    // The plugin's file is worth nothing either.
    for file in fs::read_dir(daemon.dir().join("plugins")).expect("our own folder") {
        fs::remove_file(file.expect("a name").path()).expect("our own file");
    }
    replace_manager(&daemon);
    assert_eq!(daemon.row("a")["verdict"], "ok");
    let row = daemon.run("a");
    assert_eq!(
        (&row["status"], &row["verdict"]),
        (&"ok".into(), &"ok".into())
    );
    let error = daemon
        .client()
        .ask("reload", json!({}))
        .expect_err("it is bad");
    assert_eq!(error["code"], "bad_config");
    assert_eq!(daemon.run("a")["status"], "ok");
}

#[test]
fn killed_again_and_again_under_load_it_tells_no_lie() {
    let mut config = config();
    for n in 0..60 {
        config = config.check(
            check(&format!("c-{n}"))
                .plugin("echo_step")
                .interval("100ms")
                .set("attempts", "1")
                .set("config", "{ wait_ms = 20 }"),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("manager: ready");
    daemon.ask("run", json!({}));
    for _ in 0..5 {
        replace_manager(&daemon);
        daemon.workers();
        let rows = daemon.ask("run", json!({}));
        for row in rows.iter().filter(|r| r["type"] == "check") {
            assert_eq!(
                (&row["status"], &row["verdict"]),
                (&"ok".into(), &"ok".into()),
                "{row}"
            );
        }
    }
    for line in daemon.log.all() {
        assert!(
            !line.contains("check changed") || line.contains("to=ok"),
            "{line}"
        );
    }
}

#[test]
fn the_counters_of_runs_go_on_over_deaths_and_reloads() {
    let echo = |name: &str, status: &str| {
        check(name)
            .plugin("echo_step")
            .interval("1h")
            .set("retry_interval", "\"1h\"")
            .set("config", &format!("{{ status = {status:?} }}"))
    };
    let daemon = config()
        .only_asked()
        .check(echo("good", "ok"))
        .check(echo("bad", "critical"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("manager: ready");
    daemon.run("bad");
    let samples = || daemon.detail("bad")["samples"].clone();
    let before = samples()["critical"].as_u64().expect("a number");
    assert!(before > 0);
    replace_manager(&daemon);
    assert_eq!(samples()["critical"], before);
    daemon.run("bad");
    // In another order, and with one more.
    daemon.written.rewrite(&[
        echo("new", "ok"),
        echo("bad", "critical"),
        echo("good", "ok"),
    ]);
    daemon.ask("reload", serde_json::json!({}));
    let after = samples();
    assert!(after["critical"].as_u64() > Some(before), "{after}");
    assert_eq!((&after["ok"], &after["own_fault"]), (&0.into(), &0.into()));
    assert!(after["p50_ms"].is_number(), "{after}");
    let last = after["last"].as_array().expect("a list");
    assert!(
        last.iter().all(|run| run["outcome"] == "critical"),
        "{after}"
    );
    let page = daemon.told_by_daemon(&["show", "bad"]);
    assert!(page.out.contains("half within"), "{page:?}");
    assert!(page.out.contains("(C critical)"), "{page:?}");
}
