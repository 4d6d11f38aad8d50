//! Alerts: who is told of a problem is told once, and hears when it is over, whatever dies in between.

use crate::harness::ctl::wait_for;
use crate::harness::receiver::{Got, Manner, Receiver};
use crate::harness::{Check, Config, Daemon, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Says what the file of that name in the daemon's folder says.
fn told(dir: &Path, name: &str) -> Check {
    say(dir, name, "ok fine");
    check(name)
        .plugin("echo_step")
        .interval("100ms")
        .timeout("30s")
        .set("attempts", "1")
        .set("labels", "{ team = \"web\" }")
        .set("config", &format!("{{ file = {:?} }}", dir.join(name)))
}

fn say(dir: &Path, name: &str, what: &str) {
    let temp = dir.join(format!("{name}.new"));
    fs::write(&temp, what).expect("our own folder");
    fs::rename(temp, dir.join(name)).expect("our own folder");
}

/// One route to this receiver, which collects for no time.
fn route(name: &str, receiver: &Receiver) -> String {
    format!(
        "name = {name:?}\nplugin = \"webhook\"\nwait = \"0s\"\nconfig = {{ url = {:?} }}\n",
        receiver.url()
    )
}

fn config() -> Config {
    Config::new()
        .daemon("start_spread", "\"0s\"")
        .plugin_file(fixtures::fixture("echo"))
}

/// A first word of each check has come.
fn until_all_are_ok(daemon: &Daemon) {
    wait_for("a first run of each", || {
        let rows = daemon.ask("status", json!({}));
        rows.iter().all(|r| r["verdict"] == "ok")
    });
}

fn report(daemon: &Daemon) -> Value {
    let answer = daemon.ask("alerts", json!({}));
    answer[0].clone()
}

/// Every problem that was accepted has one recovery that was, by id, and each came in its order.
fn assert_paired(receiver: &Receiver) {
    let mut open: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for got in receiver.all().iter().filter(|g| g.accepted) {
        if seen.contains(&got.text("id")) {
            continue; // the same message once more
        }
        seen.push(got.text("id"));
        let notice = got.text("notice");
        match got.text("kind").as_str() {
            "problem" => {
                assert!(!open.contains(&notice), "told twice: {got:#?}");
                open.push(notice);
            }
            "recovery" => {
                let unsure = got.body["unsure"] == true;
                let at = open.iter().position(|n| *n == notice);
                assert!(at.is_some() || unsure, "an end without a problem: {got:#?}");
                at.map(|at| open.remove(at));
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "never ended: {open:?}");
}

fn count(receiver: &Receiver, kind: &str) -> usize {
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
    wait_for("the next manager knows it", || {
        let now = report(&daemon)["notices"].clone();
        (&now[0]["id"], &now[0]["state"]) == (&before[0]["id"], &before[0]["state"])
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
    assert_eq!(report(&daemon)["notices"][0]["id"], before[0]["id"]);
    say(&dir, "web", "ok fine again");
    let recovery = receiver.accepted("recovery");
    assert_eq!(recovery.body["notice"], before[0]["id"]);
    assert_eq!(count(&receiver, "problem"), 1);
    assert_paired(&receiver);
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

#[test]
fn a_notifier_is_no_check_and_a_check_tells_nobody() {
    let receiver = Receiver::new();
    let (code, said) = config()
        .check(
            check("a")
                .plugin("webhook")
                .set("config", "{ url = \"http://127.0.0.1:1/\" }"),
        )
        .notify("plugin = \"echo\"\n")
        .notify(&route("hook", &receiver).replace("url", "urll"))
        .refused();
    assert_eq!(code, Some(78));
    for part in [
        "plugin `webhook` of check `a` checks nothing: it tells people",
        "plugin `echo` of route `echo` is for checks, and tells nobody",
        "plugins that tell somebody: mail, webhook",
        "`urll`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
