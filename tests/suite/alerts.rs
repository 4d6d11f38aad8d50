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
    say(dir, name, "ok fine");
    check(name)
        .plugin("echo_step")
        .interval("100ms")
        .timeout("30s")
        .set("attempts", "1")
        .set("labels", "{ team = \"web\" }")
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
        "plugins that tell somebody: mail, script, webhook",
        "`urll`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// Lets the check flip, and waits until healthd believes it.
pub fn until_verdict(daemon: &Daemon, name: &str, verdict: &str) {
    wait_for(&format!("{name} is {verdict}"), || {
        daemon.detail(name)["verdict"] == verdict
    });
}

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
    assert!(who.out.contains("it is silenced: disks"), "{who:?}");
    let who = daemon.healthctl(&["alerts", "who", "db", "--at", "2h"]);
    assert_eq!(who.code, Some(0), "{who:?}");
    say(&dir, "shop", "ok fine");
    receiver.accepted("recovery");
    assert_eq!(count(&receiver, "problem"), 1, "{:#?}", receiver.all());
}

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
fn keys_of_a_check_invert_recover_and_its_runbook() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(
            told(&dir, "closed")
                .set("invert", "true")
                .set("recover", "3")
                .set("runbook", "\"https://wiki/closed\""),
        )
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    let problem = receiver.accepted("problem");
    let line = &problem.body["checks"][0];
    assert_eq!(line["verdict"], "critical");
    assert_eq!(line["runbook"], "https://wiki/closed");
    say(&dir, "closed", "critical refused");
    receiver.accepted("recovery");
    assert_paired(&receiver);
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

#[test]
fn a_route_that_fails_is_told_by_its_backup_and_a_sign_of_life_stops() {
    // Minutes pass in the property test of the engine; here the way is what counts.
    let (alive, second) = (Receiver::new(), Receiver::new());
    let daemon = config()
        .check(check("web").plugin("echo_step").interval("1h"))
        .notify(&(route("beat", &alive) + "alive = \"1m\"\nmatch = \"none\"\n"))
        .notify(&(route("first", &second) + "backup = \"second\"\n"))
        .notify(&(route("second", &second) + "enabled = false\n"))
        .spawn();
    daemon.expect_notify("READY=1");
    let beat = alive.accepted("alive");
    assert_eq!(beat.body["count"], 0);
    let who = daemon.healthctl(&["--json", "alerts", "who", "web"]).json();
    assert_eq!(who[1]["told"], true, "{who}");
    // Warned of: nobody fits the first, and the backup is off.
    let file = daemon.written.file();
    let said = daemon.healthctl(&["validate", file.to_str().expect("a path of ours")]);
    let said = said.out + &said.err;
    for part in [
        "`match` of route `beat` fits no check",
        "route `second` is a backup, and not enabled",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn many_problems_are_one_message_and_beyond_the_limit_they_join_the_next() {
    let receiver = Receiver::new();
    let mut config = config().notify(&route("hook", &receiver).replace("\"0s\"", "\"2s\""));
    let dir = config.dir().to_owned();
    for n in 0..50 {
        config = config.check(told(&dir, &format!("c-{n}")));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    assert_eq!(daemon.healthctl(&["silence", "*"]).code, Some(0));
    for n in 0..50 {
        say(&dir, &format!("c-{n}"), "critical all of them");
    }
    wait_for("all are bad", || {
        let rows = daemon.ask("status", json!({}));
        rows.iter().all(|r| r["verdict"] == "critical")
    });
    let id = report(&daemon)["silences"][0]["id"].clone();
    daemon.healthctl(&["unsilence", id.as_str().expect("an id")]);
    let problem = receiver.accepted("problem");
    assert_eq!(problem.body["count"], 50, "{problem:#?}");
    assert_eq!(problem.body["checks"].as_array().map(Vec::len), Some(50));
    for n in 0..50 {
        say(&dir, &format!("c-{n}"), "ok fine");
    }
    let recovery = receiver.accepted("recovery");
    assert_eq!(recovery.body["count"], 50);
    assert_paired(&receiver);
}

#[test]
fn beyond_the_limit_problems_wait_for_each_other_and_recoveries_do_not() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let route = route("hook", &receiver) + "by = \"check\"\nlimit = \"2/20s\"\n";
    let mut config = config.notify(&route);
    for n in 0..6 {
        config = config.check(told(&dir, &format!("c-{n}")));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    // Two by themselves, the other four together when the first two are old enough.
    for name in ["c-0", "c-1"] {
        say(&dir, name, "critical it is down");
        until_verdict(&daemon, name, "critical");
    }
    for n in 2..6 {
        say(&dir, &format!("c-{n}"), "critical it is down");
    }
    let problems = receiver.wait("all six", 3, |g| g.accepted && g.text("kind") == "problem");
    let counts: Vec<u64> = problems
        .iter()
        .filter_map(|g| g.body["count"].as_u64())
        .collect();
    assert_eq!(counts, [1, 1, 4], "{problems:#?}");
    for n in 0..6 {
        say(&dir, &format!("c-{n}"), "ok fine");
    }
    receiver.wait("each end", 3, |g| {
        g.accepted && g.text("kind") == "recovery"
    });
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    assert_paired(&receiver);
    assert_eq!(count(&receiver, "problem"), 3, "{:#?}", receiver.all());
}

#[test]
fn what_lies_behind_a_chain_is_one_line_of_its_root() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let mut before = "uplink".to_owned();
    let mut config = config
        .check(told(&dir, "uplink"))
        .notify(&route("hook", &receiver));
    for n in 1..=8 {
        let name = format!("hop-{n}");
        config = config.check(told(&dir, &name).set("needs", &format!("{before:?}")));
        before = name;
    }
    let leaf = told(&dir, "leaf").set("needs", "\"team=web !leaf !uplink !hop-8\"");
    let daemon = config.check(leaf).spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    let shown = daemon.told_by_daemon(&["show", "leaf"]);
    assert!(shown.out.contains("hop-1, hop-2"), "{shown:?}");
    say(&dir, "uplink", "critical the line is cut");
    for n in 1..=8 {
        say(&dir, &format!("hop-{n}"), "critical no answer");
    }
    say(&dir, "leaf", "critical no answer");
    let problem = receiver.accepted("problem");
    assert_eq!(problem.body["count"], 1, "{problem:#?}");
    assert_eq!(problem.body["checks"][0]["name"], "uplink");
    wait_for("all lie behind it", || {
        let rows = daemon.ask("status", json!({}));
        let behind = rows.iter().filter(|r| r["fault"] == "dependency").count();
        behind == 9
    });
    let deep = daemon.row("hop-8");
    let message = deep["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.contains("lies behind `uplink`, which is critical: the line is cut"),
        "{message}"
    );
    assert_eq!(deep["verdict"], "ok");
    assert_eq!(count(&receiver, "problem"), 1, "{:#?}", receiver.all());
    // The last one first: when what one needs is back, no run that has seen it bad is under way any more.
    let hops = (1..=8).rev().map(|n| format!("hop-{n}"));
    let back = ["leaf".to_owned()].into_iter().chain(hops);
    for name in back.chain(["uplink".to_owned()]) {
        say(&dir, &name, "ok fine");
        wait_for(&format!("{name} is well by its own word"), || {
            daemon.row(&name)["status"] == "ok"
        });
    }
    receiver.accepted("recovery");
    until_all_are_ok(&daemon);
    assert_paired(&receiver);
    assert_eq!(receiver.all().len(), 2, "{:#?}", receiver.all());
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

#[test]
fn a_notification_script_of_nagios_runs_as_it_is() {
    let config = config();
    let dir = config.dir().to_owned();
    let (script, told_to) = (dir.join("notify.sh"), dir.join("told"));
    let text = format!(
        "#!/bin/sh\nread json\necho \"$NOTIFICATIONTYPE|$NAGIOS_SERVICESTATE|$SERVICEDESC|$1|$json\" >> {}\necho sent to $CONTACTEMAIL\n",
        told_to.display()
    );
    fs::write(&script, text).expect("our own folder");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("our own file");
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&format!(
            "plugin = \"script\"\nwait = \"0s\"\nconfig = {{ argv = [{script:?}, \"$SERVICEOUTPUT$\"], contact = \"ana\" }}\n"
        ))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    wait_for("the receipt", || {
        report(&daemon)["notices"][0]["receipt"] == "sent to ana"
    });
    say(&dir, "web", "ok fine");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    let lines = fs::read_to_string(&told_to).expect("the script has written");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(
        lines[0].starts_with("PROBLEM|CRITICAL|web|it is down|{") && lines[0].contains("\"bad\":1"),
        "{lines:#?}"
    );
    assert!(lines[1].starts_with("RECOVERY|OK|web|"), "{lines:#?}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn what_the_readme_shows_is_a_config() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut blocks = 0;
    for page in ["README.md", "daemon/docs/alerts.md"] {
        let text = fs::read_to_string(tree.join(page)).expect("shipped");
        let fence = if page == "README.md" {
            "```toml receiver\n"
        } else {
            "```toml\n"
        };
        for block in text
            .split(fence)
            .skip(1)
            .filter_map(|b| b.split("```").next())
        {
            blocks += 1;
            let block = block
                .replace(
                    "{ credential = \"slack-url\" }",
                    "\"https://127.0.0.1/hook\"",
                )
                .replace("{ credential = \"pd\" }", "\"0123456789\"");
            let needs_mail =
                block.contains("backup = \"mail\"") && !block.contains("plugin = \"mail\"");
            let mut config = config()
                .check(check("shop/db").plugin("echo_step"))
                .check(check("rack7/a").plugin("echo_step"))
                .check(
                    check("gateway")
                        .plugin("http")
                        .set("config", "{ url = \"http://127.0.0.1/\" }"),
                )
                .notify(
                    "name = \"other\"\nplugin = \"mail\"\nconfig = { to = \"a@example.org\" }\n",
                )
                .alerts(&block);
            if needs_mail {
                config = config.notify("plugin = \"mail\"\nconfig = { to = \"a@example.org\" }\n");
            }
            let written = config.write();
            let output = written.run(&["-t"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{page}: {block}{said}");
            assert!(!said.contains("error"), "{page}: {block}{said}");
        }
    }
    assert!(blocks >= 7, "{blocks}");
}
