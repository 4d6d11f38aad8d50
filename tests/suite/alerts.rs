//! Alerts: who is told of a problem is told once, and hears when it is over, whatever dies in between.

use crate::harness::ctl::wait_for;
use crate::harness::receiver::{Got, Manner, Receiver, unpaired};
use crate::harness::{Check, Config, Daemon, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Says what the file of that name in the daemon's folder says.
pub fn told(dir: &Path, name: &str) -> Check {
    of_team(dir, name, "web")
}

pub fn of_team(dir: &Path, name: &str, team: &str) -> Check {
    say(dir, name, "ok fine");
    check(name)
        .plugin("echo_step")
        .interval("100ms")
        .timeout("30s")
        .set("attempts", "1")
        .set("labels", &format!("{{ team = {team:?} }}"))
        .set("config", &format!("{{ file = {:?} }}", dir.join(name)))
}

pub fn say(dir: &Path, name: &str, what: &str) {
    let temp = dir.join(format!("{name}.new"));
    fs::write(&temp, what).expect("our own folder");
    fs::rename(temp, dir.join(name)).expect("our own folder");
}

/// One route to this receiver, which collects for no time.
pub fn route(name: &str, receiver: &Receiver) -> String {
    format!(
        "name = {name:?}\nplugin = \"webhook\"\nwait = \"0s\"\nconfig = {{ url = {:?} }}\n",
        receiver.url()
    )
}

pub fn config() -> Config {
    Config::new()
        .daemon("start_spread", "\"0s\"")
        .plugin_file(fixtures::fixture("echo"))
}

/// A first word of each check has come.
pub fn until_all_are_ok(daemon: &Daemon) {
    wait_for("a first run of each", || {
        let rows = daemon.ask("status", json!({}));
        rows.iter().all(|r| r["verdict"] == "ok")
    });
}

/// At the end of the config, and in force.
pub fn add(daemon: &Daemon, text: &str) {
    let file = daemon.written.file();
    let before = fs::read_to_string(&file).expect("our own file");
    fs::write(&file, format!("{before}\n{text}\n")).expect("our own file");
    let said = daemon.healthctl(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

pub fn report(daemon: &Daemon) -> Value {
    let answer = daemon.ask("alerts", json!({}));
    answer[0].clone()
}

/// Every problem that was accepted has one recovery that was, by id, and each came in its order.
pub fn assert_paired(receiver: &Receiver) {
    if let Err(why) = unpaired(&receiver.all()) {
        panic!("{why}");
    }
}

pub fn count(receiver: &Receiver, kind: &str) -> usize {
    let like = |g: &&Got| g.accepted && g.text("kind") == kind;
    receiver.all().iter().filter(like).count()
}

#[test]
fn a_receiver_is_told_of_a_problem_and_of_its_end() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    let problem = receiver.accepted("problem");
    let head = problem.head.to_ascii_lowercase();
    let id = problem.text("id");
    assert!(head.contains(&format!("idempotency-key: {id}")), "{head}");
    assert_eq!(problem.text("route"), "hook");
    assert_eq!(problem.body["count"], 1);
    assert!(!problem.text("host").is_empty() && problem.text("time").ends_with('Z'));
    let line = &problem.body["checks"][0];
    assert_eq!(line["name"], "web");
    assert_eq!(line["verdict"], "critical");
    assert_eq!(line["was"], "ok", "{line}");
    assert_eq!(line["labels"], json!({ "team": "web" }));
    assert!(
        line["message"]
            .as_str()
            .expect("a text")
            .contains("it is down"),
        "{line}"
    );
    let recent = line["recent"].as_str().expect("the last runs");
    assert!(recent.ends_with('✖') && recent.contains('▁'), "{recent}");
    assert!(
        line["took_ms"].is_number() && line["plugin"] == "echo_step",
        "{line}"
    );
    let last_ok = line["last_ok"].as_str().expect("it was ok");
    assert!(last_ok < line["since"].as_str().expect("a time") || last_ok.len() > 19);
    let why = line["why"].as_array().expect("the story of its last run");
    let steps: Vec<&str> = why.iter().filter_map(|s| s["what"].as_str()).collect();
    assert_eq!(steps.first(), Some(&"due"), "{why:#?}");
    for step in ["dispatched", "started", "finished", "evaluated"] {
        assert!(steps.contains(&step), "{step}: {why:#?}");
    }
    let finished = why.iter().find(|s| s["what"] == "finished");
    let text = finished.and_then(|s| s["text"].as_str()).expect("a text");
    assert!(text.contains("it is down"), "{text}");
    wait_for("the receipt", || {
        report(&daemon)["notices"][0]["state"] == "told"
    });
    let open = report(&daemon);
    let notice = &open["notices"][0];
    assert_eq!(notice["id"], problem.body["notice"]);
    assert_eq!(notice["route"], "hook");
    assert_eq!(notice["checks"], json!(["web"]));
    assert_eq!(notice["kind"], Value::Null);
    assert!(
        notice["receipt"]
            .as_str()
            .expect("one")
            .starts_with("HTTP 200")
    );
    assert!(notice["told_at"].is_string() && notice["since"].is_string());
    let route = &open["routes"][0];
    assert_eq!(
        (&route["name"], &route["plugin"]),
        (&json!("hook"), &json!("webhook"))
    );
    assert_eq!(
        (&route["pending"], &route["last_error"]),
        (&json!(0), &Value::Null)
    );
    say(&dir, "web", "ok fine again");
    let recovery = receiver.accepted("recovery");
    assert_eq!(recovery.body["notice"], problem.body["notice"]);
    assert_ne!(recovery.text("id"), id);
    assert_eq!(recovery.body["checks"][0]["verdict"], "ok");
    assert_eq!(recovery.body["checks"][0]["was"], "critical");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    assert_eq!(receiver.all().len(), 2);
}

#[test]
fn what_was_told_outlives_the_manager_and_the_daemon() {
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
    receiver.accepted("problem");
    wait_for("it is told", || {
        report(&daemon)["notices"][0]["state"] == "told"
    });
    let before = report(&daemon)["notices"].clone();
    kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_log("ready  ");
    let what = ["id", "state", "told_at", "receipt"];
    let before_it = what.map(|key| before[0][key].clone());
    assert!(before_it[3].is_string(), "{before}");
    wait_for("the next manager knows it", || {
        let now = report(&daemon)["notices"].clone();
        what.map(|key| now[0][key].clone()) == before_it
    });
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    let mut daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    assert_eq!(report(&daemon)["notices"][0]["id"], before[0]["id"]);
    // Killed as a whole: only the disk is left.
    for pid in [daemon.pid(), daemon.manager()] {
        kill(pid, Signal::SIGKILL);
    }
    daemon.wait_exit();
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    let now = report(&daemon)["notices"].clone();
    assert_eq!(what.map(|key| now[0][key].clone()), before_it);
    say(&dir, "web", "ok fine again");
    let recovery = receiver.accepted("recovery");
    assert_eq!(recovery.body["notice"], before[0]["id"]);
    assert_eq!(count(&receiver, "problem"), 1);
    assert_paired(&receiver);
}

/// When a check was ok last, and how a route is doing, are known to the next manager and to the next daemon.
#[test]
fn what_a_message_tells_and_what_a_route_has_sent_outlive_the_manager_and_the_daemon() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let mut daemon = config
        .check(told(&dir, "web"))
        .check(told(&dir, "db"))
        .notify(&(route("hook", &receiver) + "by = \"check\"\nbudget = 2\n"))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    let message = |kind: &str, name: &str| {
        let like =
            |g: &Got| g.accepted && g.text("kind") == kind && g.body["checks"][0]["name"] == name;
        let got = receiver.wait(&format!("{kind} of {name}"), 1, like);
        got[0].body["checks"][0]["last_ok"].clone()
    };
    say(&dir, "web", "warning it is slow");
    say(&dir, "db", "warning it is slow");
    let (web, db) = (message("problem", "web"), message("problem", "db"));
    assert!(web.is_string() && db.is_string(), "{web} {db}");
    let of_route = |daemon: &Daemon| {
        let row = &report(daemon)["routes"][0];
        ["last_ok", "accepted", "took_s", "week", "budget"].map(|key| row[key].clone())
    };
    let until_accepted = |daemon: &Daemon, count: u64| {
        wait_for("its end is known", || of_route(daemon)[1] == count);
        of_route(daemon)
    };
    let before = until_accepted(&daemon, 2);
    assert!(before[0].is_string(), "{before:?}");
    assert_eq!(before[3], 2);
    kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_log("ready  ");
    wait_for("the next manager knows it", || of_route(&daemon) == before);
    say(&dir, "web", "critical it is down");
    assert_eq!(message("worse", "web"), web);
    let before = until_accepted(&daemon, 3);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    wait_for("the next daemon knows it", || of_route(&daemon) == before);
    say(&dir, "db", "critical it is down");
    assert_eq!(message("worse", "db"), db);
    let after = until_accepted(&daemon, 4);
    assert_eq!((&after[3], &after[4]), (&json!(4), &json!(2)));
    // By the third it was one too many; that is said once a week, whoever counts.
    let events = daemon.ask("events", json!({}));
    let over = events.iter().filter(|e| e["kind"] == "over-budget");
    let said: Vec<&Value> = over.map(|e| &e["message"]).collect();
    let expected = "3 messages in a week, budget 2; most of them about web (2), db (1)";
    assert_eq!(said, [expected]);
}

#[test]
fn a_receiver_that_refuses_is_asked_again_and_healthctl_says_why() {
    let receiver = Receiver::new();
    receiver.be(Manner::Answer(429, "Retry-After: 1\r\n"));
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    let tries = receiver.wait("a second try", 2, |g| g.text("kind") == "problem");
    assert_eq!(tries[0].text("id"), tries[1].text("id"));
    wait_for("the refusal", || {
        let open = report(&daemon);
        let refusal = open["notices"][0]["refusal"].clone();
        refusal.as_str().is_some_and(|why| why.contains("429"))
            && open["notices"][0]["kind"] == "problem"
            && open["routes"][0]["pending"] == 1
    });
    let shown = daemon.healthctl(&["alerts"]);
    assert!(shown.out.contains("HTTP 429"), "{}", shown.out);
    receiver.be(Manner::Accept);
    let problem = receiver.accepted("problem");
    assert_eq!(problem.text("id"), tries[0].text("id"));
    say(&dir, "web", "ok fine again");
    receiver.accepted("recovery");
    assert_paired(&receiver);
}

/// Lets the check flip, and waits until healthd believes it.
pub fn until_verdict(daemon: &Daemon, name: &str, verdict: &str) {
    wait_for(&format!("{name} is {verdict}"), || {
        daemon.detail(name)["verdict"] == verdict
    });
}

#[test]
fn a_reload_tells_nothing_again_and_what_it_removes_is_over() {
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
    say(&dir, "web", "critical it is down");
    receiver.accepted("problem");
    add(
        &daemon,
        "[[maintenance]]\nmatch = \"db\"\nwhen = \"mon 00:00-00:01 UTC\"\n",
    );
    assert_eq!(count(&receiver, "problem"), 1);
    daemon.written.rewrite(&[told(&dir, "db")]);
    assert_eq!(daemon.healthctl(&["reload"]).code, Some(0));
    let recovery = receiver.accepted("recovery");
    assert_eq!(recovery.body["checks"][0]["verdict"], "removed");
    assert_paired(&receiver);
    assert_eq!(receiver.all().len(), 2, "{:#?}", receiver.all());
}
