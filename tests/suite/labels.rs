//! Templates, hosts and labels: a fleet in a line a host, and the words that choose among its checks.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, Daemon, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

const TEMPLATES: &str = r#"
[template.calm]
interval = "1h"
attempts = 1
[template.up]
use = "calm"
plugin = "echo_step"
config = { status = "ok", message = "{host} at {address}" }
[template.load]
use = "up"
labels = { kind = "load" }
config = { status = "warning" }
[template.web]
checks = ["up", "load"]
labels = { team = "web" }
[template.db]
checks = ["up", { name = "query", use = "up", config = { status = "critical" } }]
labels = { team = "db" }
"#;

/// `checks.d/fleet.toml` with these hosts.
fn daemon(hosts: &str) -> Daemon {
    let config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .write();
    fs::create_dir(config.dir().join("checks.d")).expect("our own directory");
    let file = config.dir().join("checks.d/fleet.toml");
    fs::write(&file, format!("host = [\n{hosts}]\n{TEMPLATES}")).expect("our own directory");
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon
}

fn four() -> Daemon {
    daemon(
        r#"{ name = "w1", address = "10.0.0.1", use = "web", labels = { tier = "1" } },
           { name = "w2", use = "web", labels = { tier = "2" } },
           { name = "d1", use = "db", labels = { tier = "1" } },
           { name = "x", checks = [{ name = "a=b", use = "up" }] },
"#,
    )
}

fn names(daemon: &Daemon, words: &[&str]) -> Vec<String> {
    let line = [&["--json", "list"], words].concat();
    let said = daemon.told_by_daemon(&line);
    assert!(matches!(said.code, Some(0)), "{said:?}");
    let json = said.json();
    let rows = json.as_array().expect("a list").iter();
    rows.map(|row| row["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn labels_choose_checks_in_every_command() {
    let daemon = four();
    for (words, expected) in [
        (
            &["team=web"][..],
            &["w1/up", "w1/load", "w2/up", "w2/load"][..],
        ),
        (&["team=web tier=1"], &["w1/up", "w1/load"]),
        (&["team=web !*/up"], &["w1/load", "w2/load"]),
        (
            &["tier=1 !team=db, kind=load"],
            &["w1/up", "w1/load", "w2/load"],
        ),
        (
            &["kind=load", "d1/*"],
            &["w1/load", "w2/load", "d1/up", "d1/query"],
        ),
        (&["host=d1"], &["d1/up", "d1/query"]),
        (&["w2/up", "team=db"], &["w2/up", "d1/up", "d1/query"]),
        (&["!tier=*"], &["x/a=b"]),
        // A check may be called like that.
        (&["x/a=b"], &["x/a=b"]),
    ] {
        assert_eq!(names(&daemon, words), expected, "{words:?}");
    }

    let ran = daemon.told_by_daemon(&["--json", "run", "team=db"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 2, "{ran:?}");
    let status = daemon.told_by_daemon(&["status", "team=db tier=1"]);
    assert_eq!(status.code, Some(2), "{status:?}");
    assert!(
        status.out.contains("d1/query") && !status.out.contains("w1"),
        "{status:?}"
    );

    let paused = daemon.healthctl(&["pause", "team=web", "--reason", "move"]);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    for (name, is_paused) in [("w1/up", true), ("w2/load", true), ("d1/up", false)] {
        assert_eq!(
            daemon.row(name)["paused"] == json!(true),
            is_paused,
            "{name}"
        );
    }
    daemon.healthctl(&["resume", "host=w1"]);
    assert_eq!(daemon.row("w1/up")["paused"], Value::Null);
    assert_eq!(daemon.row("w2/up")["paused"], json!(true));

    let told = daemon.told_by_daemon(&["--json", "events", "team=web kind=load"]);
    let lines = told
        .out
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).expect("JSON"));
    let about: Vec<(String, String)> = lines
        .map(|e| {
            let text = |key: &str| e[key].as_str().unwrap_or_default().to_owned();
            (text("check"), text("kind"))
        })
        .filter(|(_, kind)| kind != "flipped")
        .collect();
    let of = |check: &str, kind: &str| (check.to_owned(), kind.to_owned());
    let expected = [
        of("w1/load", "paused"),
        of("w2/load", "paused"),
        of("w1/load", "resumed"),
    ];
    assert_eq!(about, expected, "{told:?}");
}

#[test]
fn a_slip_in_a_label_is_told() {
    let daemon = four();
    for (word, what, help) in [
        (
            "taem=web",
            "no check has a label `taem`",
            "did you mean `team=`?",
        ),
        (
            "team=wbe",
            "no check has the label `team=wbe`",
            "did you mean `team=web`?",
        ),
        (
            "team=web w1/pu",
            "no check `w1/pu`",
            "did you mean `w1/up`?",
        ),
        ("team==web", "neither a name nor a label", "`team=db`"),
        ("team!=web", "has `!=`", "write `!team=web`"),
    ] {
        for command in [&["status"][..], &["run"], &["pause"], &["list"]] {
            let said = daemon.told_by_daemon(&[command, &[word]].concat());
            assert_eq!(said.code, Some(3), "{said:?}");
            assert!(
                said.err.contains(what) && said.err.contains(help),
                "{said:?}"
            );
        }
    }
    // A pattern may fit nothing.
    let said = daemon.told_by_daemon(&["status", "team=x*"]);
    assert!(said.err.contains("no check matches"), "{said:?}");
}

#[test]
fn a_watch_follows_labels_over_a_reload() {
    let daemon = four();
    let mut watch = daemon.watch(&["team=db"]);
    watch.until("d1/query to be told", |row| row["name"] == "d1/query");
    let file = daemon.dir().join("checks.d/fleet.toml");
    let text = fs::read_to_string(&file).expect("ours");
    let text = text.replace(
        "{ name = \"w2\", use = \"web\"",
        "{ name = \"w2\", use = \"db\"",
    );
    fs::write(&file, text).expect("ours");
    assert_eq!(daemon.healthctl(&["reload"]).code, Some(0));
    daemon.healthctl(&["run", "w2/up", "w1/up"]);
    let row = watch.until("w2 to be told", |row| {
        row["name"].as_str().is_some_and(|n| n.starts_with('w'))
    });
    assert!(
        row["name"].as_str().is_some_and(|n| n.starts_with("w2/")),
        "{row}"
    );
}

#[test]
fn show_says_where_each_value_came_from() {
    let daemon = four();
    let detail = daemon.detail("w1/load");
    assert_eq!(
        detail["labels"],
        json!({"host": "w1", "kind": "load", "team": "web", "tier": "1"})
    );
    assert_eq!(
        detail["config"],
        json!({"message": "w1 at 10.0.0.1", "status": "warning"})
    );
    let rows = daemon
        .told_by_daemon(&["--json", "status", "w1/load"])
        .json();
    assert_eq!(rows[0]["labels"], detail["labels"]);
    let from = detail["from"].as_array().expect("layers");
    let layer = |what: &str| {
        let found = from.iter().find(|l| l["what"] == what);
        found.unwrap_or_else(|| panic!("{what}: {detail:#}"))["keys"].clone()
    };
    assert_eq!(layer("template `calm`"), json!(["attempts", "interval"]));
    assert_eq!(layer("template `up`"), json!(["config.message", "plugin"]));
    assert_eq!(
        layer("template `load`"),
        json!(["config.status", "labels.kind"])
    );
    assert_eq!(layer("host `w1`"), json!(["labels.tier"]));
    let page = daemon.told_by_daemon(&["show", "w1/load"]).out;
    assert!(page.contains("checks.d/fleet.toml:2"), "{page}");
    assert!(page.contains("template `calm`"), "{page}");
}

#[test]
fn maps_know_names_and_say_that_they_know_no_labels() {
    let daemon = four();
    wait_for("the first runs", || {
        daemon
            .told_by_daemon(&["status", "--verdict", "pending"])
            .out
            .is_empty()
    });
    let stopped: Vec<u32> = [daemon.pid(), daemon.manager()].into();
    stopped.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP));
    let by_name = daemon.healthctl(&["status", "w1/*"]);
    let by_label = daemon.healthctl(&["status", "team=web"]);
    let events = daemon.healthctl(&["events", "w1/*"]);
    stopped.iter().for_each(|pid| kill(*pid, Signal::SIGCONT));
    assert!(by_name.out.contains("w1/load"), "{by_name:?}");
    assert_eq!(by_label.code, Some(3));
    assert!(by_label.err.contains("they hold no labels"), "{by_label:?}");
    assert!(
        events.out.contains("w1/up") && !events.out.contains("w2"),
        "{events:?}"
    );
}

/// Five hundred hosts of twelve kinds: a line each, and a few for the kinds.
#[test]
fn five_hundred_hosts_are_five_hundred_lines() {
    let hosts: String = (0..500)
        .map(|n| format!("{{ name = \"h{n:03}\", use = \"k{}\" }},\n", n % 12))
        .collect();
    let kinds: String = (0..12)
        .map(|k| {
            format!(
                "[template.k{k}]\nchecks = [\"up\", \"load\"]\nlabels = {{ kind = \"k{k}\" }}\n"
            )
        })
        .collect();
    let config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .write();
    fs::create_dir(config.dir().join("checks.d")).expect("our own directory");
    let text = format!("host = [\n{hosts}]\n");
    assert!(text.lines().count() <= 502);
    fs::write(config.dir().join("checks.d/hosts.toml"), text).expect("ours");
    let kinds = format!("{TEMPLATES}{kinds}");
    fs::write(config.dir().join("checks.d/kinds.toml"), kinds).expect("ours");
    let said = config.run(&["-t"]);
    let out = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.status.success() && out.contains("checks: 1000"),
        "{said:?}"
    );
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    // 42 of them are of the first kind, with two checks each.
    assert_eq!(names(&daemon, &["kind=k0"]).len(), 84);
    assert_eq!(names(&daemon, &["kind=k11 h49*"]), ["h491/up", "h491/load"]);
}
