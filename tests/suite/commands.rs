//! healthctl against the real daemon: every command, its exit code, its JSON.

use crate::harness::ctl::{Client, Lines, Said, say};
use crate::harness::{Config, Daemon, check, fixtures};
use serde_json::{Value, json};
use std::process::Command;

const ROW: [&str; 15] = [
    "name",
    "plugin",
    "verdict",
    "status",
    "message",
    "since",
    "last_run",
    "next_run",
    "latency_ms",
    "attempt",
    "attempts",
    "stale",
    "worker",
    "metrics",
    "index",
];
const WORKER: [&str; 13] = [
    "slot",
    "class",
    "pid",
    "generation",
    "state",
    "threads",
    "in_flight",
    "dispatched",
    "finished",
    "lost",
    "late",
    "heartbeat_age_ms",
    "rss_kb",
];

fn echo(name: &str, status: &str) -> crate::harness::Check {
    check(name)
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", "1")
        .set("labels", "{ team = \"web\" }")
        .set(
            "config",
            &format!("{{ status = {status:?}, message = \"{name} speaks\" }}"),
        )
}

fn daemon() -> Daemon {
    let daemon = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .check(echo("web/good", "ok"))
        .check(echo("web/warn", "warning"))
        .check(echo("db/bad", "critical"))
        .check(echo("db/odd", "unknown"))
        .check(echo("off", "ok").set("enabled", "false"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    daemon
}

fn assert_keys(row: &Value, keys: &[&str]) {
    for key in keys {
        assert!(row.get(key).is_some(), "{key} is missing: {row}");
    }
}

fn code(said: &Said) -> i32 {
    said.code.unwrap_or_else(|| panic!("{said:?}"))
}

#[test]
fn the_exit_code_is_the_worst_verdict() {
    let daemon = daemon();
    for (args, wanted) in [
        (&["status"][..], 2),
        (&["status", "web/good"], 0),
        (&["status", "web/*"], 1),
        (&["status", "db/odd"], 3),
        (&["status", "db/odd", "web/warn"], 3),
        (&["status", "off"], 0),
        (&["status", "--verdict", "ok"], 0),
        (&["status", "--problems", "web/good"], 0),
        (&["status", "nothing"], 3),
        (&["status", "--plugin", "http"], 3),
        (&["show", "web/warn"], 1),
        (&["run", "web/good"], 0),
        (&["run", "web/*"], 1),
        (&["run", "--all"], 2),
        (&["run", "--ordered", "db/*"], 2),
        (&["run", "off"], 3),
        (&["list"], 0),
        (&["workers"], 0),
        (&["plugins"], 0),
        (&["version"], 0),
        (&["why", "db/bad"], 0),
        (&["why", "nothing"], 3),
        (&["explode"], 3),
    ] {
        let said = daemon.told_by_daemon(args);
        assert_eq!(code(&said), wanted, "{args:?}: {said:?}");
        assert!(
            !said.out.contains('\x1b'),
            "colour without a terminal: {said:?}"
        );
    }
}

#[test]
fn json_has_the_documented_shape() {
    let daemon = daemon();
    let json = |args: &[&str]| {
        let mut all = vec!["--json"];
        all.extend(args);
        daemon.told_by_daemon(&all).json()
    };
    let rows = json(&["status"]);
    let rows = rows.as_array().expect("an array");
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert_keys(row, &ROW);
    }
    assert_eq!(rows[2]["verdict"], "critical");
    assert_eq!(rows[4]["disabled"], true);
    for key in ["since", "last_run", "next_run"] {
        let time = rows[0][key].as_str().expect("a time");
        assert!(
            time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{time}"
        );
    }
    let workers = json(&["workers"]);
    assert_eq!(workers.as_array().map(Vec::len), Some(2));
    for row in workers.as_array().expect("an array") {
        assert_keys(row, &WORKER);
    }
    let shown = json(&["show", "web/good"]);
    assert_keys(&shown, &ROW);
    assert_eq!(shown["labels"]["team"], "web");
    assert_eq!(shown["config"]["status"], "ok");
    assert!(
        shown["source"]
            .as_str()
            .is_some_and(|s| s.contains("healthd.toml:")),
        "{shown}"
    );
    let why = json(&["why", "web/good"]);
    let steps: Vec<_> = why["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|s| s["what"].as_str())
        .collect();
    for step in ["due", "dispatched", "started", "finished", "evaluated"] {
        assert!(steps.contains(&step), "{steps:?}");
    }
    assert!(
        why["next"].as_str().is_some_and(|n| n.contains("due in")),
        "{why}"
    );
    let listed = json(&["list"]);
    assert_keys(
        &listed[0],
        &["name", "plugin", "verdict", "paused", "disabled", "stale"],
    );
    let plugins = json(&["plugins"]);
    let echo = plugins
        .as_array()
        .expect("an array")
        .iter()
        .find(|p| p["name"] == "echo_step")
        .expect("it is there");
    assert_eq!(
        (&echo["state"], &echo["checks"], &echo["abi"]),
        (&"loaded".into(), &5.into(), &"1.2".into()),
        "{echo}"
    );
    let version = json(&["version"]);
    assert_eq!(version["healthd"]["supervisor_pid"], daemon.pid());
    assert_eq!(version["healthd"]["checks"], 5);
    let said = daemon.told_by_daemon(&["--json", "run", "web/*"]);
    let rows: Vec<Value> = said
        .out
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_keys(row, &ROW);
    }
    let paused = json(&["pause", "--reason", "a new switch", "web/*"]);
    assert_eq!(paused.as_array().map(Vec::len), Some(2));
    assert_eq!(json(&["show", "web/warn"])["pause_reason"], "a new switch");
    assert_eq!(
        code(&daemon.told_by_daemon(&["status", "web/*"])),
        0,
        "paused checks do not count"
    );
    let resumed = json(&["resume", "--all"]);
    assert!(resumed[0]["paused"].is_null(), "{resumed}");
    let reloaded = json(&["reload"]);
    assert_eq!(reloaded["unchanged"], 5, "{reloaded}");
    let file = daemon.written.file().display().to_string();
    let validated = json(&["validate", "--config", &file]);
    assert_eq!(validated["ok"], true, "{validated}");
}

#[test]
fn watch_tells_each_change_once() {
    let daemon = daemon();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_healthctl"))
        .arg("--socket")
        .arg(daemon.socket())
        .args(["--json", "watch"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it is built");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    for _ in 0..5 {
        lines.next().expect("the rows as they are");
    }
    daemon.ask("run", json!({"names": ["web/good"]}));
    daemon.ask("pause", json!({"names": ["db/bad"]}));
    let row: Value = serde_json::from_str(&lines.next().expect("a change")).expect("JSON");
    // A run that changed nothing is no news.
    assert_eq!(
        (&row["name"], &row["paused"]),
        (&"db/bad".into(), &true.into()),
        "{row}"
    );
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn stop_with_wait_returns_when_all_is_gone() {
    let mut daemon = daemon();
    let said = daemon.told_by_daemon(&["stop", "--wait"]);
    assert_eq!(code(&said), 0, "{said:?}");
    daemon.assert_no_orphan();
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let said = daemon.told_by_daemon(&["status"]);
    assert_eq!(code(&said), 3, "{said:?}");
    assert!(said.err.contains("control.sock"), "{said:?}");
}

#[test]
fn try_and_verify_need_no_daemon() {
    let said = |args: &[&str]| {
        crate::harness::ctl::healthctl(std::path::Path::new("/no/such/socket"), args)
    };
    let file = fixtures::fixture("echo").display().to_string();
    let verified = said(&["--json", "plugins", "verify", &file]);
    assert_eq!(code(&verified), 0, "{verified:?}");
    let verified = verified.json();
    assert_eq!(verified["ok"], true);
    assert_eq!(verified["plugins"].as_array().map(Vec::len), Some(3));
    for (status, wanted) in [("ok", 0), ("warning", 1), ("critical", 2), ("unknown", 3)] {
        for plugin in ["echo", "echo_step", "echo_cpu"] {
            let tried = said(&[
                "--json",
                "try",
                "--plugin",
                plugin,
                &file,
                &format!("status={status}"),
                "message=hello there",
            ]);
            assert_eq!(code(&tried), wanted, "{tried:?}");
            let tried = tried.json();
            assert_eq!(
                (&tried["status"], &tried["message"]),
                (&status.into(), &"hello there".into()),
                "{tried}"
            );
        }
    }
    let several = said(&["try", &file]);
    assert_eq!(code(&several), 3, "{several:?}");
    assert!(several.err.contains("echo_step"), "{several:?}");
    // A crash ends the process that tries, and nothing else; it is said.
    let crash = fixtures::fixture("crash").display().to_string();
    let tried = said(&["try", "--plugin", "crash", &crash, "how=segv"]);
    assert_eq!(code(&tried), 3, "{tried:?}");
    assert!(
        (tried.out.clone() + &tried.err).contains("SIGSEGV"),
        "{tried:?}"
    );
    let bad = fixtures::variant("MAGIC").display().to_string();
    let tried = said(&["try", &bad]);
    assert_eq!(code(&tried), 3, "{tried:?}");
    assert!(tried.err.contains("magic"), "{tried:?}");
}

#[test]
fn who_does_not_listen_any_more_makes_nobody_panic() {
    for (program, args) in [
        (env!("CARGO_BIN_EXE_healthd"), &["--help"][..]),
        (env!("CARGO_BIN_EXE_healthd"), &["--version"]),
        (
            env!("CARGO_BIN_EXE_healthd"),
            &["-t", "--json", "--config", "/no/such/file"],
        ),
        (env!("CARGO_BIN_EXE_healthctl"), &["--help"]),
    ] {
        let (listener, writer) = std::io::pipe().expect("a pipe");
        drop(listener);
        let done = Command::new(program).args(args).stdout(writer).output();
        let said = String::from_utf8_lossy(&done.expect("it runs").stderr).into_owned();
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn try_takes_its_options_from_a_file_or_standard_input() {
    let file = fixtures::fixture("echo").display().to_string();
    let dir = healthd_testing::Folder::new();
    let options = dir.write(
        "options",
        "status = \"warning\"\nmessage = \"of the file\"\n",
    );
    for (stdin, options, more, status, message) in [
        ("", &*options.display().to_string(), None, 1, "of the file"),
        (
            "status = \"critical\"\nmessage = \"piped\"",
            "-",
            None,
            2,
            "piped",
        ),
        (
            r#"{"status":"critical","message":"piped"}"#,
            "-",
            Some("message=said"),
            2,
            "said",
        ),
    ] {
        let stdin = dir.write("stdin", stdin);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" <\"$0\""]).arg(stdin);
        command.arg(env!("CARGO_BIN_EXE_healthctl"));
        command.args([
            "--json",
            "try",
            "--plugin",
            "echo",
            &file,
            "--options",
            options,
        ]);
        let tried = say(command.args(more));
        assert_eq!(code(&tried), status, "{tried:?}");
        assert_eq!(tried.json()["message"], message, "{tried:?}");
    }
}

#[test]
fn a_reload_during_a_watch_says_what_is_gone() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon.socket());
    client.send(&json!({"v": 1, "op": "watch"}));
    for _ in 0..6 {
        client.line().expect("started, and five rows");
    }
    daemon
        .written
        .rewrite(&[echo("web/good", "ok"), echo("fresh", "ok")]);
    daemon.ask("reload", json!({}));
    let mut gone = Vec::new();
    while gone.len() < 4 {
        let line = client.line().expect("news");
        if line["type"] == "gone" {
            gone.push(line["name"].as_str().expect("a name").to_owned());
        }
    }
    gone.sort();
    assert_eq!(gone, ["db/bad", "db/odd", "off", "web/warn"]);
    daemon.run("fresh");
    loop {
        let line = client.line().expect("news");
        if line["name"] == "fresh" && line["status"] == "ok" {
            break;
        }
    }
}

#[test]
fn a_pause_has_an_author_a_reason_and_an_end() {
    let daemon = daemon();
    let said = daemon.told_by_daemon(&["pause", "web/good", "--reason", "new switch"]);
    assert!(said.out.contains("until `healthctl resume`"), "{said:?}");
    let uid = nix::unistd::getuid().as_raw();
    let shown = daemon.detail("web/good");
    assert_eq!(shown["pause"]["by_uid"], uid, "{shown}");
    assert!(shown["pause"]["until"].is_null(), "{shown}");
    let said = daemon.told_by_daemon(&["show", "web/good"]);
    assert!(said.out.contains("new switch; by "), "{said:?}");

    let said = daemon.told_by_daemon(&["pause", "web/good", "--for", "1h"]);
    assert!(said.out.contains("for 1h"), "{said:?}");
    assert!(daemon.detail("web/good")["pause"]["until"].is_string());
    let said = daemon.told_by_daemon(&["pause", "web/good", "--for", "300ms"]);
    assert!(said.out.contains("for 300ms"), "{said:?}");
    let mut watch = daemon.watch(&["web/good"]);
    watch.until("it runs again by itself", |row| row["paused"] != true);
    for wrong in ["0s", "400d", "soon"] {
        let said = daemon.told_by_daemon(&["pause", "web/good", "--for", wrong]);
        assert_eq!(code(&said), 3, "{said:?}");
    }
}
