//! `healthctl alerts`: what is open and how each route is doing, a test message, who would be told, and what another config
//! would have sent.

use crate::alerts::{config, report, route, say, told, until_all_are_ok};
use crate::harness::ctl::wait_for;
use crate::harness::kill;
use crate::harness::receiver::{Got, Manner, Receiver};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_test_message_and_who_would_be_told() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&route("hook", &receiver))
        .notify(&(route("night", &receiver) + "on = [\"warning\"]\nmatch = \"team=web\"\n"))
        .spawn();
    daemon.expect_notify("READY=1");
    let said = daemon.healthctl(&["alerts", "test", "hook"]);
    assert_eq!(
        (said.code, said.out.trim()),
        (Some(0), "hook: accepted: HTTP 200 ok")
    );
    assert_eq!(receiver.accepted("test").text("notice"), "0");
    receiver.be(Manner::Answer(404, ""));
    let said = daemon.healthctl(&["alerts", "test", "hook"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.starts_with("hook: refused: HTTP 404"), "{said:?}");
    let said = daemon.healthctl(&["alerts", "test", "hok"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.err
            .contains("a route with a similar name exists: `hook`"),
        "{said:?}"
    );
    let who = daemon.healthctl(&["--json", "alerts", "who", "web"]);
    assert_eq!(
        who.json(),
        json!([
            {"route": "hook", "told": true, "why": "at once"},
            {"route": "night", "told": false, "why": "its `on` has no critical"},
        ])
    );
    let who = daemon.healthctl(&["alerts", "who", "web", "--verdict", "warning"]);
    assert_eq!(who.out.matches("yes").count(), 2, "{who:?}");
}

#[test]
fn what_a_config_would_have_sent() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "web"))
        .check(told(&dir, "db"))
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    for (n, name) in ["web", "db"].into_iter().enumerate() {
        say(&dir, name, "critical it is down");
        let of_it = move |g: &Got| g.accepted && g.body["checks"][0]["name"] == name;
        receiver.wait("a problem", 1, of_it);
        say(&dir, name, "ok fine");
        receiver.wait("its end", 2, of_it);
        wait_for("both are on record", || {
            let events = daemon.ask("events", json!({}));
            events.iter().filter(|e| e["kind"] == "told").count() == 2 * (n + 1)
        });
    }
    let other = daemon.dir().join("other.toml");
    let text = fs::read_to_string(daemon.written.file()).expect("our own file");
    let only_db = text.replace("wait = \"0s\"", "wait = \"0s\"\nmatch = \"db\"");
    fs::write(&other, only_db).expect("our own folder");
    let said = daemon.healthctl(&["--json", "alerts", "replay", "--since", "1h"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let all = said.json();
    assert_eq!(all["was_sent"], 4, "{all:#}");
    assert_eq!(all["sent"].as_array().map(Vec::len), Some(4), "{all:#}");
    let other = other.to_str().expect("a path of ours");
    let said = daemon.healthctl(&["alerts", "replay", "--since", "1h", "--config", other]);
    assert!(said.out.contains("2 messages for"), "{said:?}");
    assert!(
        said.out.contains("4 were sent by what was in force"),
        "{said:?}"
    );
    assert_eq!(receiver.all().len(), 4);
}

/// What one receiver has taken, and what another has refused for an hour, as people and programs are told of it.
#[test]
fn a_receipt_and_a_refusal_are_shown_with_the_next_try() {
    const WAIT_S: i64 = 3_600;
    let (takes, refuses) = (Receiver::new(), Receiver::new());
    refuses.be(Manner::Answer(429, "Retry-After: 3600\r\n"));
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&(route("takes", &takes) + "budget = 5\n"))
        .notify(&route("refuses", &refuses))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    let before = Timestamp::now();
    say(&dir, "web", "critical it is down");
    let of = |report: &Value, list: &str, key: &str, route: &str| {
        let rows = report[list].as_array().into_iter().flatten();
        let mut rows = rows.filter(|row| row[key] == route);
        rows.next().cloned().unwrap_or_default()
    };
    wait_for("one has taken it, and one has not", || {
        let report = report(&daemon);
        let notice = |route: &str| of(&report, "notices", "route", route);
        notice("takes")["state"] == "told" && notice("refuses")["refusal"].is_string()
    });
    let after = Timestamp::now();
    let report = report(&daemon);
    let notice = of(&report, "notices", "route", "takes");
    assert_eq!(notice["receipt"], "HTTP 200 ok", "{notice}");
    assert!(notice["told_at"].is_string() && notice["since"].is_string());
    for none in ["kind", "next_try", "refusal"] {
        assert_eq!(notice[none], Value::Null, "{none}: {notice}");
    }
    let route = of(&report, "routes", "name", "takes");
    for (key, value) in [
        ("plugin", json!("webhook")),
        ("enabled", json!(true)),
        ("pending", json!(0)),
        ("oldest_pending_s", json!(0.0)),
        ("last_error", Value::Null),
        ("accepted", json!(1)),
        ("refused", json!(0)),
        ("unknown", json!(0)),
        ("week", json!(1)),
        ("budget", json!(5)),
    ] {
        assert_eq!(route[key], value, "{key}: {route}");
    }
    assert!(route["last_ok"].is_string() && route["took_s"].as_f64() > Some(0.0));
    let notice = of(&report, "notices", "route", "refuses");
    // 429 is no definite refusal.
    for (key, value) in [
        ("state", "sending"),
        ("kind", "problem"),
        ("refusal", "HTTP 429 ok"),
    ] {
        assert_eq!(notice[key], value, "{key}: {notice}");
    }
    assert_eq!(
        (&notice["receipt"], &notice["told_at"]),
        (&Value::Null, &Value::Null)
    );
    let next: Timestamp = (notice["next_try"].as_str())
        .and_then(|at| at.parse().ok())
        .expect("a time");
    // What the receiver asks for, to the second.
    let earliest = before.as_second() + WAIT_S - 1;
    let latest = after.as_second() + WAIT_S + 1;
    assert!(
        (earliest..=latest).contains(&next.as_second()),
        "{before} {next} {after}"
    );
    let route = of(&report, "routes", "name", "refuses");
    for (key, value) in [
        ("pending", json!(1)),
        ("refused", json!(0)),
        ("unknown", json!(1)),
        ("last_ok", Value::Null),
        ("last_error", json!("HTTP 429 ok")),
        ("budget", Value::Null),
    ] {
        assert_eq!(route[key], value, "{key}: {route}");
    }
    assert_eq!(refuses.all().len(), 1);
    let shown = daemon.healthctl(&["alerts"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for part in [
        "told at ",
        "HTTP 200 ok",
        "problem is due",
        "not taken: HTTP 429 ok",
        "next try in ",
        "LAST ERROR",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    assert_eq!(
        daemon.healthctl(&["--json", "alerts"]).json()["notices"],
        report["notices"]
    );
    // The next manager knows it, while it has no other word.
    refuses.be(Manner::Hang);
    kill(daemon.manager(), Signal::SIGKILL);
    refuses.wait("another try", 2, |g| g.text("kind") == "problem");
    wait_for("the refusal is known", || {
        let report = daemon.ask("alerts", json!({}));
        let notice = of(&report[0], "notices", "route", "refuses");
        notice["refusal"] == "HTTP 429 ok" && notice["next_try"] == Value::Null
    });
}
