//! What holds messages back: a silence, an acknowledgement, a maintenance. Problems alone, and never for longer than it says.

use crate::alerts::{
    add, assert_paired, config, count, report, route, say, told, until_all_are_ok, until_verdict,
};
use crate::harness::ctl::wait_for;
use crate::harness::receiver::{Got, Receiver};
use crate::harness::{Daemon, check};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

#[test]
fn a_silence_holds_back_problems_and_no_recovery_and_outlives_a_restart() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let mut daemon = config
        .check(told(&dir, "web"))
        .check(told(&dir, "db"))
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    let web = receiver.accepted("problem");
    let said = daemon.healthctl(&["silence", "team=web", "--for", "2h", "--reason", "the move"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.starts_with("silenced team=web for 2h (id "),
        "{said:?}"
    );
    // What was told before gets its end.
    say(&dir, "web", "ok fine");
    let recovery = receiver.accepted("recovery");
    assert_eq!(recovery.text("notice"), web.text("notice"));
    say(&dir, "db", "critical no disk");
    until_verdict(&daemon, "db", "critical");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    let silence = report(&daemon)["silences"][0].clone();
    assert_eq!(silence["kind"], "silence");
    assert_eq!(silence["match"], "team=web");
    assert_eq!(silence["reason"], "the move");
    let author = format!("uid {}", nix::unistd::geteuid());
    assert_eq!(silence["author"], author.as_str());
    assert!(silence["until"].is_string());
    until_verdict(&daemon, "db", "critical");
    let shown = daemon.healthctl(&["alerts"]);
    assert!(shown.out.contains("the move"), "{shown:?}");
    assert_eq!(count(&receiver, "problem"), 1);
    let id = silence["id"].as_str().expect("an id");
    let said = daemon.healthctl(&["unsilence", id]);
    assert!(
        said.out.contains("not held back any more: team=web"),
        "{said:?}"
    );
    let of_db = |g: &Got| g.accepted && g.body["checks"][0]["name"] == "db";
    receiver.wait("what was held back", 1, of_db);
    say(&dir, "db", "ok fine");
    receiver.wait("and its end", 2, of_db);
    assert_paired(&receiver);
    let kinds: Vec<String> = daemon
        .ask("events", json!({}))
        .iter()
        .map(|e| e["kind"].as_str().unwrap_or_default().to_owned())
        .collect();
    for kind in ["silenced", "unsilenced", "told"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn an_acknowledged_problem_is_told_to_nobody_else_and_the_next_one_is() {
    let (first, late) = (Receiver::new(), Receiver::new());
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&route("hook", &first))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    let said = daemon.healthctl(&["ack", "web"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("has no problem"), "{said:?}");
    say(&dir, "web", "critical it is down");
    first.accepted("problem");
    let said = daemon.healthctl(&["ack", "web", "--note", "on it"]);
    assert!(
        said.out.starts_with("acknowledged web until it is over"),
        "{said:?}"
    );
    assert_eq!(report(&daemon)["silences"][0]["kind"], "ack");
    let who = daemon.healthctl(&["alerts", "who", "web"]);
    assert!(who.out.contains("somebody has it: "), "{who:?}");
    // A route that comes now would be told at once.
    add(&daemon, &format!("[[notify]]\n{}", route("late", &late)));
    assert_eq!(report(&daemon)["routes"][1]["name"], "late");
    say(&dir, "web", "ok fine");
    first.accepted("recovery");
    wait_for("the acknowledgement is over", || {
        report(&daemon)["silences"] == json!([])
    });
    // This one nobody has taken.
    say(&dir, "web", "critical it is down");
    late.accepted("problem");
    say(&dir, "web", "ok fine");
    late.accepted("recovery");
    assert_eq!(late.all().len(), 2, "{:#?}", late.all());
    let ended = |g: &Got| g.accepted && g.text("kind") == "recovery";
    first.wait("both ends", 2, ended);
    assert_paired(&first);
}

#[test]
fn a_maintenance_by_calendar_and_by_hand_is_silent() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "web"))
        .check(told(&dir, "db"))
        .check(told(&dir, "shop"))
        .notify(&route("hook", &receiver))
        .alerts("[[maintenance]]\nmatch = \"web\"\nwhen = \"mon-sun 00:00-24:00 UTC\"\nreason = \"always\"\n")
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    let said = daemon.healthctl(&["maintenance", "db", "--for", "1h", "--reason", "disks"]);
    assert!(said.out.starts_with("in maintenance db for 1h"), "{said:?}");
    for name in ["web", "db", "shop"] {
        say(&dir, name, "critical it is down");
        until_verdict(&daemon, name, "critical");
    }
    let problem = receiver.accepted("problem");
    assert_eq!(problem.body["checks"][0]["name"], "shop");
    let who = daemon.healthctl(&["alerts", "who", "web"]);
    assert_eq!(who.code, Some(1), "{who:?}");
    assert!(who.out.contains("it is in maintenance: always"), "{who:?}");
    let who = daemon.healthctl(&["alerts", "who", "db"]);
    assert!(who.out.contains("it is in maintenance: disks"), "{who:?}");
    let who = daemon.healthctl(&["alerts", "who", "db", "--at", "2h"]);
    assert_eq!(who.code, Some(0), "{who:?}");
    say(&dir, "shop", "ok fine");
    receiver.accepted("recovery");
    assert_eq!(count(&receiver, "problem"), 1, "{:#?}", receiver.all());
}

#[test]
fn what_cannot_be_held_back_is_said() {
    let receiver = Receiver::new();
    let daemon = config()
        .check(check("web").plugin("echo_step"))
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    for (op, fields, code) in [
        ("silence", json!({ "match": "a,,b" }), "bad_request"),
        (
            "silence",
            json!({ "match": "*", "for_ms": 0 }),
            "bad_request",
        ),
        (
            "silence",
            json!({ "match": "*", "reason": "x".repeat(300) }),
            "bad_request",
        ),
        ("unsilence", json!({ "id": "7" }), "bad_request"),
        ("ack", json!({ "name": "webb" }), "no_such_check"),
        ("ack", json!({ "name": "web" }), "failed"),
        ("alerts_test", json!({ "route": "x" }), "bad_request"),
        (
            "alerts_who",
            json!({ "name": "web", "at": "soon" }),
            "bad_request",
        ),
    ] {
        let error = daemon.client().ask(op, fields.clone());
        assert_eq!(error.expect_err(op)["code"], code, "{op} {fields}");
    }
}

#[test]
fn planned_time_leaves_its_marks_for_history() {
    let config = config();
    let dir = config.dir().to_owned();
    let mut daemon = config
        .section("history", "max_size = \"16MiB\"")
        .check(told(&dir, "web"))
        .check(told(&dir, "db"))
        .alerts("[[maintenance]]\nmatch = \"web\"\nwhen = \"mon-sun 00:00-24:00 UTC\"\nreason = \"patch night\"\n")
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    let marks = |daemon: &Daemon| {
        let events = daemon.ask("events", json!({}));
        let of = |e: &Value| {
            let kind = e["kind"].as_str().unwrap_or_default().to_owned();
            let about = e["check"].as_str().unwrap_or_default().to_owned();
            let message = e["message"].as_str().unwrap_or_default().to_owned();
            (kind, about, message)
        };
        let marks = events.iter().map(of);
        marks
            .filter(|(kind, ..)| kind.starts_with("maintenance-"))
            .collect::<Vec<_>>()
    };
    let mark =
        |kind: &str, check: &str, why: &str| (kind.to_owned(), check.to_owned(), why.to_owned());
    let calendar = mark("maintenance-begun", "web", "patch night");
    wait_for("the calendar's", || marks(&daemon) == [calendar.clone()]);
    daemon.healthctl(&["maintenance", "db", "--for", "1h", "--reason", "disks"]);
    let by_hand = mark("maintenance-begun", "db", "disks");
    wait_for("the one by hand", || {
        marks(&daemon) == [calendar.clone(), by_hand.clone()]
    });
    say(&dir, "db", "critical no disk");
    until_verdict(&daemon, "db", "critical");
    let id = report(&daemon)["silences"][0]["id"].clone();
    daemon.healthctl(&["unsilence", id.as_str().expect("an id")]);
    wait_for("its end", || {
        marks(&daemon).last() == Some(&mark("maintenance-ended", "db", ""))
    });
    say(&dir, "db", "ok fine");
    until_verdict(&daemon, "db", "ok");
    // What is still planned is told anew after a restart.
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    wait_for("told anew", || marks(&daemon).last() == Some(&calendar));
    wait_for("the report tells them apart", || {
        let said = daemon.healthctl(&["--json", "report"]);
        let rows: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let of = |name: &str| {
            let mut rows = rows.as_array().into_iter().flatten();
            rows.find(|r| r["name"] == name)
                .cloned()
                .unwrap_or_default()
        };
        let s = |row: &Value, key: &str| row[key].as_f64().unwrap_or_default();
        let (web, db) = (of("web"), of("db"));
        s(&web, "maintenance_s") > 0.0 && s(&db, "maintenance_s") > 0.0 && s(&db, "up_s") > 0.0
    });
}
