//! What each command prints for given replies, to the byte: for people at two widths and in a pipe,
//! and as JSON.

mod support;

use support::replies::*;
use support::{Fake, Ran, expect_file};

fn show(title: &str, ran: &Ran) -> String {
    let err = if ran.err.is_empty() {
        String::new()
    } else {
        format!("--- stderr\n{}", ran.err)
    };
    format!("=== {title} (exit code {})\n{}{err}\n", ran.code, ran.out)
}

#[test]
fn status() {
    let mut text = show("in a pipe", &Fake::lines(&ALL).ctl("status"));
    text += &show(
        "80 columns",
        &Fake::lines(&ALL).ctl_on_terminal("status", 80),
    );
    text += &show(
        "140 columns",
        &Fake::lines(&ALL).ctl_on_terminal("status", 140),
    );
    text += &show(
        "80 columns, wide",
        &Fake::lines(&ALL).ctl_on_terminal("status --wide", 80),
    );
    text += &show(
        "in colour",
        &Fake::lines(&[OK, CRITICAL]).ctl("--color always status"),
    );
    text += &show("json", &Fake::lines(&ALL).ctl("status --json"));
    text += &show("nothing matches", &Fake::lines(&[]).ctl("status web-*"));
    text += &show("no problems", &Fake::lines(&[]).ctl("status --problems"));
    text += &show(
        "no problems, json",
        &Fake::lines(&[]).ctl("status --problems --json"),
    );
    expect_file("status.txt", &text);
}

#[test]
fn the_keys_of_status_are_a_contract() {
    let ran = Fake::lines(&[OK]).ctl("--json status");
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&ran.out).expect("an array");
    for key in [
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
    ] {
        assert!(rows[0].contains_key(key), "{key}");
    }
    for key in ["name", "value", "unit", "warn", "crit", "min", "max"] {
        assert!(rows[0]["metrics"][0].get(key).is_some(), "{key}");
    }
    let ran = Fake::lines(&[PENDING]).ctl("--json status");
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&ran.out).expect("an array");
    assert!(
        rows[0]["status"].is_null() && rows[0]["metrics"].is_null() && rows[0]["message"].is_null()
    );
}

#[test]
fn the_keys_of_workers_are_a_contract() {
    let ran = Fake::lines(&WORKERS).ctl("workers --json");
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&ran.out).expect("an array");
    for key in [
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
    ] {
        assert!(rows[2].contains_key(key), "{key}");
    }
}

#[test]
fn list_show_why_workers_plugins() {
    let mut text = show("list", &Fake::lines(&ALL).ctl("list"));
    text += &show("list --long", &Fake::lines(&ALL).ctl("list --long"));
    text += &show("list --json", &Fake::lines(&ALL).ctl("list --json"));
    text += &show("show", &Fake::lines(&[DETAIL]).ctl("show web/frontpage"));
    text += &show(
        "show --json",
        &Fake::lines(&[DETAIL]).ctl("show web/frontpage --json"),
    );
    text += &show("why", &Fake::lines(&[WHY]).ctl("why web/frontpage"));
    text += &show(
        "why --json",
        &Fake::lines(&[WHY]).ctl("why web/frontpage --json"),
    );
    text += &show("workers", &Fake::lines(&WORKERS).ctl("workers"));
    text += &show(
        "workers --json",
        &Fake::lines(&WORKERS).ctl("workers --json"),
    );
    text += &show("events", &Fake::lines(&EVENTS).ctl("events"));
    text += &show("events, none", &Fake::lines(&[]).ctl("events --after 7"));
    for width in [80, 120] {
        text += &show(
            &format!("events, {width} columns"),
            &Fake::lines(&EVENTS).ctl_on_terminal("events", width),
        );
    }
    text += &show("events --json", &Fake::lines(&EVENTS).ctl("events --json"));
    text += &show("objects", &Fake::lines(&OBJECTS).ctl("objects"));
    text += &show("objects, none", &Fake::lines(&[]).ctl("objects"));
    text += &show(
        "objects, 80 columns",
        &Fake::lines(&OBJECTS).ctl_on_terminal("objects", 80),
    );
    text += &show(
        "objects --json",
        &Fake::lines(&OBJECTS).ctl("objects --json"),
    );
    text += &show("plugins", &Fake::lines(&PLUGINS).ctl("plugins"));
    text += &show(
        "plugins, 80 columns",
        &Fake::lines(&PLUGINS).ctl_on_terminal("plugins list", 80),
    );
    text += &show(
        "plugins --json",
        &Fake::lines(&PLUGINS).ctl("plugins --json"),
    );
    expect_file("other.txt", &text);
}

#[test]
fn run_and_watch() {
    let started = r#"{"type":"started","total":3}"#;
    let lines = [started, CRITICAL, OK, SOFT];
    // How long it took is the one thing that differs from run to run.
    let run = |line: &str| {
        let mut ran = Fake::lines(&lines).ctl(line);
        if let Some(at) = ran.out.find(" run in ") {
            let end = at + ran.out[at..].find(": ").expect("a tally");
            ran.out.replace_range(at + 8..end, "TIME");
        }
        show(line, &ran)
    };
    let mut text = run("run web/* db/primary");
    text += &run("run --all --ordered");
    text += &run("run --all --ordered --json");
    text += &show(
        "run 80 columns",
        &Fake::lines(&[started, CRITICAL]).ctl_on_terminal("run db/primary", 80),
    );

    let broken = SOFT
        .replace(r#""verdict":"ok""#, r#""verdict":"critical""#)
        .replace("59:58", "59:59");
    let again = broken.replace("59:59.000", "59:59.500");
    let third = SOFT
        .replace(r#""attempt":1"#, r#""attempt":2"#)
        .replace("59:58", "59:59");
    let gone = r#"{"type":"gone","name":"db/primary"}"#;
    let lines = [
        started, OK, SOFT, CRITICAL, &third, &broken, &again, gone, PENDING,
    ];
    for line in ["watch", "watch --every", "watch --json"] {
        text += &show(line, &Fake::lines(&lines).ctl(line));
    }
    let table = Fake::lines(&[started, OK, SOFT, CRITICAL]).ctl_on_terminal("watch --table", 80);
    text += &show(
        "watch --table",
        &Ran {
            out: table.out.replace('\x1b', "ESC").replace('\r', "CR"),
            ..table
        },
    );
    text += &show(
        "watch --table in a pipe",
        &Fake::lines(&[]).ctl("watch --table"),
    );
    expect_file("streams.txt", &text);
}

#[test]
fn commands_that_act() {
    let mut text = show(
        "pause one",
        &Fake::lines(&[PAUSED]).ctl("pause disk --reason work"),
    );
    text += &show(
        "pause all",
        &Fake::lines(&[PAUSED, PAUSED]).ctl("pause --all"),
    );
    text += &show("resume", &Fake::lines(&[OK]).ctl("resume web/frontpage"));
    text += &show(
        "resume --json",
        &Fake::lines(&[OK]).ctl("resume web/frontpage --json"),
    );
    text += &show("reload", &Fake::lines(&[RELOADED]).ctl("reload"));
    text += &show(
        "reload --json",
        &Fake::lines(&[RELOADED]).ctl("reload --json"),
    );
    text += &show("stop", &Fake::lines(&[]).ctl("stop"));
    text += &show("stop --json", &Fake::lines(&[]).ctl("stop --json"));
    text += &show("version", &Fake::lines(&[VERSION]).ctl("version"));
    text += &show(
        "version --json",
        &Fake::lines(&[VERSION]).ctl("version --json"),
    );
    expect_file("actions.txt", &text);
}

#[test]
fn requests_say_what_was_asked() {
    for (line, request, reply) in [
        ("status", r#"{"v":1,"op":"status"}"#, OK),
        (
            "status web/* --plugin http,tcp -p",
            r#"{"v":1,"op":"status","names":["web/*"],"plugins":["http","tcp"],"verdicts":["warning","critical","unknown"]}"#,
            OK,
        ),
        ("show disk", r#"{"v":1,"op":"show","name":"disk"}"#, DETAIL),
        ("run --all", r#"{"v":1,"op":"run"}"#, OK),
        ("why disk", r#"{"v":1,"op":"why","name":"disk"}"#, WHY),
        (
            "pause disk --reason x",
            r#"{"v":1,"op":"pause","names":["disk"],"reason":"x"}"#,
            PAUSED,
        ),
        (
            "resume disk",
            r#"{"v":1,"op":"resume","names":["disk"]}"#,
            PAUSED,
        ),
        ("reload", r#"{"v":1,"op":"reload"}"#, RELOADED),
        ("stop", r#"{"v":1,"op":"stop"}"#, VERSION),
        ("workers", r#"{"v":1,"op":"workers"}"#, WORKERS[0]),
    ] {
        let fake = Fake::lines(&[reply]);
        fake.ctl(line);
        let asked = fake.requests().concat();
        let mut asked: serde_json::Value = serde_json::from_str(&asked).expect("one request");
        let wanted: serde_json::Value = serde_json::from_str(request).expect("JSON");
        // What changes something is not to happen when nobody waits for it any more.
        let expires = asked.as_object_mut().and_then(|o| o.remove("expires_ms"));
        let changes = ["run", "pause", "resume", "reload", "stop"];
        let command = line.split(' ').next().expect("a command");
        assert_eq!(expires.is_some(), changes.contains(&command), "{line}");
        assert_eq!(asked, wanted, "{line}");
    }
}
