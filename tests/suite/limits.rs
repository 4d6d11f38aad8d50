//! What a plugin says is capped and made readable, whatever it is.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, check, fixtures};

#[test]
fn a_talkative_plugin_is_cut_and_made_readable() {
    const WHAT: [&str; 9] = [
        "detail", "metrics", "labels", "message", "lines", "bytes", "numbers", "escapes", "names",
    ];
    let mut config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("talkative"));
    for what in WHAT.iter().chain(&["all"]) {
        config = config.check(
            check(what)
                .plugin("talkative")
                .interval("1h")
                .timeout("55s")
                .set("config", &format!("{{ what = {what:?} }}")),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let workers = daemon.pids("io");
    for what in WHAT.iter().chain(&["all"]) {
        let row = daemon.run(what);
        assert_eq!(row["status"], "ok", "{what}: {:.300}", row.to_string());
        let shown = daemon.detail(what);
        assert!(shown.to_string().len() < 200 << 10, "{what} is not capped");
        let message = row["message"].as_str().expect("it has one");
        assert!(!message.contains('\n'), "{message:?}");
        assert!(message.len() <= 32 << 10);
        for command in ["show", "why"] {
            let said = daemon.told_by_daemon(&[command, what]);
            assert!(
                !said.out.contains('\x1b') && !said.out.contains('\x07'),
                "{said:?}"
            );
        }
    }
    let row = daemon.row("numbers");
    let metrics = row["metrics"].as_array().expect("some");
    let value = |name: &str| {
        metrics
            .iter()
            .find(|m| m["name"] == name)
            .map(|m| m["value"].clone())
    };
    assert_eq!(value("fine"), Some(1.5.into()), "{row}");
    for name in ["nan", "inf", "minus_inf"] {
        assert!(value(name).is_none_or(|v| v.is_null()), "{row}");
    }
    assert!(
        daemon.row("metrics")["metrics"]
            .as_array()
            .expect("some")
            .len()
            >= 50
    );
    assert_eq!(daemon.pids("io"), workers);
    assert_eq!(daemon.told_by_daemon(&["status"]).code, Some(0));
}

/// Standard error of a plugin is no way into the daemon's log: its lines are named, escaped and limited.
#[test]
fn what_plugins_write_to_stderr_is_named_escaped_and_limited() {
    let mut config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("talkative"));
    for what in ["stderr", "last words"] {
        config = config.check(
            check(&what.replace(' ', "-"))
                .plugin("talkative")
                .interval("1h")
                .set("config", &format!("{{ what = {what:?} }}")),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("stderr")["status"], "ok");
    daemon.run("last-words");
    daemon.expect_log("text=\"terminate called: it is all over\"");
    // Before those words or after them.
    wait_for("what was left out is counted", || {
        let log = daemon.log.all();
        log.iter().any(|l| l.contains("left_out="))
    });
    let log = daemon.log.all().join("\n");
    let of_plugins = "supervisor: a plugin wrote to stderr  slot=";
    assert!(log.contains(of_plugins), "{log}");
    // 100 at once and ten a second, however long this took; the rest is counted.
    let lines = log.matches("noise of a library").count();
    assert!((98..2000).contains(&lines), "{lines} lines");
    assert!(!log.contains('\x1b'), "{log}");
    for line in log.lines().filter(|line| line.contains("forged")) {
        assert!(line.contains(of_plugins), "{line}");
    }
}
