//! `needs`: while the uplink is down, what lies behind it is not marked; whoever fails first.

use crate::harness::ctl::{Client, wait_for};
use crate::harness::{Check, Config, Daemon, Gate, check, fixtures};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn config() -> Config {
    Config::new()
        .daemon("log", "\"debug\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

/// Says what the file of that name in the daemon's folder says.
fn told(dir: &Path, name: &str) -> Check {
    say(dir, name, "ok fine");
    check(name)
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", "2")
        .set("retry_interval", "\"30m\"")
        .set("config", &format!("{{ file = {:?} }}", dir.join(name)))
}

fn say(dir: &Path, name: &str, what: &str) {
    let temp = dir.join("said");
    fs::write(&temp, what).expect("our own folder");
    fs::rename(temp, dir.join(name)).expect("our own folder");
}

/// An uplink and two checks behind it, all well, each run as often as it is asked to from here on.
fn started() -> Daemon {
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "uplink"))
        .check(told(&dir, "one").set("needs", "\"uplink\""))
        .check(told(&dir, "two").set("needs", "\"uplink\""))
        .spawn();
    daemon.expect_notify("READY=1");
    wait_for("a first run of each", || {
        daemon
            .ask("status", json!({}))
            .iter()
            .all(|r| r["verdict"] == "ok")
    });
    daemon
}

fn runs(daemon: &Daemon, name: &str) -> u64 {
    daemon.detail(name)["runs"].as_u64().expect("a number")
}

/// Not judged, and why.
fn assert_uplink(row: &Value, said: &str) {
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["status"], "unknown", "{row}");
    assert_eq!(row["fault"], "dependency", "{row}");
    assert!(
        message.starts_with("self:uplink: `uplink`, which it needs, is critical: the line is cut"),
        "{row}"
    );
    assert!(message.contains(said), "{row}");
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&json!("ok"), &json!(1)),
        "{row}"
    );
}

#[test]
fn behind_an_uplink_that_is_down_nobody_is_marked() {
    let daemon = started();
    let dir = daemon.dir().to_owned();
    say(&dir, "uplink", "critical the line is cut");
    assert_eq!(daemon.run("uplink")["status"], "critical");
    let asked = runs(&daemon, "uplink");
    for name in ["one", "two"] {
        say(&dir, name, "critical no answer");
        for _ in 0..3 {
            assert_uplink(&daemon.run(name), "it said critical: no answer");
        }
    }
    // Its word stands until its next run.
    assert_eq!(runs(&daemon, "uplink"), asked);
    let why = daemon.told_by_daemon(&["why", "one"]);
    assert!(
        why.out.contains("own fault") && why.out.contains("the check that it needs"),
        "{why:?}"
    );
    let shown = daemon.told_by_daemon(&["show", "one"]);
    assert!(shown.out.contains("needs       uplink"), "{shown:?}");
    // Well again: what is still bad counts from here on, and what is well is so at any time.
    say(&dir, "two", "ok fine");
    assert_eq!(daemon.run("two")["status"], "ok");
    say(&dir, "uplink", "ok fine");
    daemon.run("uplink");
    let row = daemon.run("one");
    assert_eq!(
        (&row["status"], &row["verdict"]),
        (&json!("critical"), &json!("ok")),
        "{row}"
    );
    let row = daemon.run("one");
    assert_eq!(row["verdict"], "critical", "{row}");
}

#[test]
fn who_fails_before_the_uplink_is_seen_to_be_down_is_not_marked_either() {
    let daemon = started();
    let dir = daemon.dir().to_owned();
    for name in ["uplink", "one", "two"] {
        let what = if name == "uplink" {
            "critical the line is cut"
        } else {
            "critical no answer"
        };
        say(&dir, name, what);
    }
    let asked = runs(&daemon, "uplink");
    let rows = daemon.ask("run", json!({"names": ["one", "two"]}));
    let rows: Vec<_> = rows.iter().filter(|r| r["type"] == "check").collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in rows {
        assert_uplink(row, "no answer");
    }
    let more = runs(&daemon, "uplink") - asked;
    assert!((1..=2).contains(&more), "{more} runs of the uplink");
}

#[test]
fn a_problem_behind_a_good_uplink_counts_once_that_has_said_so() {
    let daemon = started();
    let dir = daemon.dir().to_owned();
    say(&dir, "one", "critical no answer");
    let asked = runs(&daemon, "uplink");
    assert_eq!(daemon.run("one")["verdict"], "ok");
    assert_eq!(daemon.run("one")["verdict"], "critical");
    assert_eq!(runs(&daemon, "uplink"), asked + 2);
    // What is known already asks nobody.
    assert_eq!(daemon.run("one")["verdict"], "critical");
    assert_eq!(runs(&daemon, "uplink"), asked + 2);
    // One that says nothing stands in nobody's way.
    daemon.ask("pause", json!({"names": ["uplink"]}));
    say(&dir, "two", "critical no answer");
    daemon.run("two");
    assert_eq!(daemon.run("two")["verdict"], "critical");
    assert_eq!(runs(&daemon, "uplink"), asked + 2);
}

fn at_gate(gate: &Gate) -> Check {
    check("uplink")
        .plugin("hold_step")
        .interval("1h")
        .timeout("5m")
        .set("config", &format!("{{ gate = {:?} }}", gate.path()))
}

/// The uplink stands at a gate.
fn held(gate: &Gate) -> Daemon {
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(at_gate(gate))
        .check(told(&dir, "one").set("needs", "\"uplink\""))
        .spawn();
    daemon.expect_notify("READY=1");
    // Its first run is over.
    gate.wait_entered().open();
    wait_for("a first run of each", || {
        daemon
            .ask("status", json!({}))
            .iter()
            .all(|r| r["verdict"] == "ok")
    });
    say(&dir, "one", "critical no answer");
    daemon
}

#[test]
fn a_result_waits_for_the_word_of_the_uplink() {
    let gate = Gate::new();
    let daemon = held(&gate);
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["one"]}));
    let visit = gate.wait_entered();
    assert_eq!(visit.check, "uplink");
    let why = daemon.told_by_daemon(&["why", "one"]);
    assert!(
        why.out.contains("waits") && why.out.contains("which it needs, has run"),
        "{why:?}"
    );
    assert_eq!(daemon.row("one")["status"], "ok");
    visit.open_with(2);
    assert_behind_the_uplink(&mut client);
}

/// The run that this client has asked for is not judged, as the uplink is down.
fn assert_behind_the_uplink(client: &mut Client) {
    let rows = client.answer().expect("a result");
    let row = rows.last().expect("a row");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("self:uplink: `uplink`, which it needs, is critical"),
        "{row}"
    );
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&json!("ok"), &json!(1)),
        "{row}"
    );
}

#[test]
fn an_uplink_that_could_not_be_evaluated_is_asked_again() {
    let gate = Gate::new();
    let daemon = held(&gate);
    let mut events = daemon.events();
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["one"]}));
    for attempt in 1..=2 {
        let visit = gate.wait_entered();
        assert_eq!((visit.check.as_str(), visit.attempt), ("uplink", attempt));
        crate::harness::kill(visit.pid, Signal::SIGKILL);
    }
    let told = events.of("not-evaluated", "uplink");
    assert_eq!(told["cause"], "worker-died", "{told}");
    // That says neither that it is well nor that it is not.
    let visit = gate.wait_entered();
    assert_eq!((visit.check.as_str(), visit.attempt), ("uplink", 1));
    let why = daemon.told_by_daemon(&["why", "one"]);
    assert!(why.out.contains("which it needs, has run"), "{why:?}");
    assert_eq!(daemon.row("one")["status"], "ok");
    visit.open_with(2);
    assert_behind_the_uplink(&mut client);
}

#[test]
fn an_uplink_that_never_says_how_it_is_hides_a_problem_for_a_while() {
    let gate = Gate::new();
    let config = config().only_asked();
    let dir = config.dir().to_owned();
    say(&dir, "one", "ok fine");
    let daemon = config
        .check(
            check("long")
                .plugin("hold_step")
                .interval("1h")
                .timeout("5m")
                .set("exclusive", "\"line\"")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .check(
            told(&dir, "uplink")
                .timeout("1s")
                .set("exclusive", "\"line\""),
        )
        .check(
            check("one")
                .plugin("echo_step")
                .interval("300ms")
                .timeout("5s")
                .set("attempts", "1")
                .set("needs", "\"uplink\"")
                .set("config", &format!("{{ file = {:?} }}", dir.join("one"))),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("uplink")["verdict"], "ok");
    assert_eq!(daemon.run("one")["verdict"], "ok");
    // From here on no run of the uplink has its turn.
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["long"]}));
    let visit = gate.wait_entered();
    let mut watch = daemon.watch(&["one"]);
    say(&dir, "one", "critical no answer");
    let row = watch.until("our own fault", |row| row["status"] == "unknown");
    let said = "self:needed: `uplink`, which it needs, was asked how it is, and has not said it in time; it said critical: no answer";
    assert_eq!(
        (&row["verdict"], &row["fault"], &row["message"]),
        (&json!("ok"), &json!("needed"), &json!(said)),
        "{row}"
    );
    // It ages like any fault of ours; and what is a problem is told as what it is.
    watch.until_verdict("one", "unknown");
    watch.until_verdict("one", "critical");
    visit.open();
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("check=one from=ok to=critical"), "{log}");
}

#[test]
fn a_result_that_waits_does_not_count_for_what_a_reload_makes_of_its_check() {
    let gate = Gate::new();
    let daemon = held(&gate);
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["one"]}));
    let visit = gate.wait_entered();
    let dir = daemon.dir().to_owned();
    let one = told(&dir, "one").set("needs", "\"uplink\"");
    // It is well when it runs as it is now.
    let uplink = at_gate(&gate);
    daemon.written.rewrite(&[uplink, one.timeout("7s")]);
    let report = daemon.ask("reload", json!({})).remove(0);
    assert_eq!(report["changed"], 1, "{report}");
    let rows = client.answer().expect("a result");
    assert_eq!(rows.last().expect("a row")["status"], "ok", "{rows:?}");
    visit.open();
}

#[test]
fn a_result_that_waits_survives_a_pause_of_the_uplink_and_a_dead_manager() {
    let gate = Gate::new();
    let daemon = held(&gate);
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["one"]}));
    let visit = gate.wait_entered();
    // It says nothing any more: the problem counts as it is.
    daemon.ask("pause", json!({"names": ["uplink"]}));
    let rows = client.answer().expect("a result");
    let row = rows.last().expect("a row");
    assert_eq!(
        (&row["status"], &row["attempt"]),
        (&json!("critical"), &json!(1)),
        "{row}"
    );
    visit.open();
    daemon.ask("resume", json!({"names": ["uplink"]}));
    let first = gate.wait_entered();
    first.open();
    wait_for("the uplink's run", || {
        daemon.row("uplink")["status"] == "ok"
    });
    // Once more, and the manager dies while it waits: the next one runs it again.
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["one"]}));
    let visit = gate.wait_entered();
    crate::harness::kill(daemon.manager(), Signal::SIGKILL);
    visit.assert_hung_up();
    wait_for("the problem, judged by the next manager", || {
        // The uplink's own run, and the one that is asked for.
        if !gate.is_empty() {
            gate.wait_entered().open();
        }
        daemon
            .log
            .all()
            .iter()
            .any(|l| l.contains("check=one from=ok to=critical"))
    });
}

#[test]
fn many_that_fail_at_once_ask_the_uplink_once_or_twice() {
    // The uplink's own first run would be one that nobody here has asked for.
    let config = config().only_asked();
    let dir = config.dir().to_owned();
    say(&dir, "behind", "ok fine");
    let daemon = config
        .check(told(&dir, "uplink"))
        .check(
            check("behind-{item}")
                .plugin("echo_step")
                .interval("1h")
                .set("needs", "\"uplink\"")
                .set("attempts", "1")
                .set("for_each", &format!("{:?}", (0..200).collect::<Vec<_>>()))
                .set("config", &format!("{{ file = {:?} }}", dir.join("behind"))),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    let asked = runs(&daemon, "uplink");
    say(&dir, "uplink", "critical the line is cut");
    say(&dir, "behind", "critical no answer");
    let rows = daemon.ask("run", json!({"names": ["behind-*"]}));
    let rows: Vec<_> = rows.iter().filter(|r| r["type"] == "check").collect();
    assert_eq!(rows.len(), 200);
    for row in rows {
        assert_uplink(row, "no answer");
    }
    let more = runs(&daemon, "uplink") - asked;
    assert!((1..=2).contains(&more), "{more} runs of the uplink");
}

#[test]
fn a_stop_while_a_result_waits_judges_nobody() {
    let gate = Gate::new();
    let mut daemon = held(&gate);
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["one"]}));
    let visit = gate.wait_entered();
    daemon.signal(Signal::SIGTERM);
    daemon.expect_notify("STOPPING=1");
    // The service manager hears of it before the manager does.
    daemon.expect_log("manager: stopping");
    visit.open_with(2);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("check=one from=ok"), "{log}");
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    let row = daemon.row("one");
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&json!("ok"), &json!(1)),
        "{row}"
    );
}
