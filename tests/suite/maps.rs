//! With every process of the daemon stopped, healthctl still tells what was known.

use crate::harness::ctl::{Lines, wait_for};
use crate::harness::{Config, Daemon, check, fixtures, kill, state, tree};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn daemon() -> Daemon {
    let config = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .check(
            check("good")
                .plugin("echo_step")
                .interval("1h")
                .set("config", "{ message = \"all is well\" }"),
        )
        .check(
            check("bad")
                .plugin("echo")
                .interval("1h")
                .set("attempts", "1")
                .set(
                    "config",
                    "{ status = \"critical\", message = \"it burns\" }",
                ),
        );
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", serde_json::json!({}));
    daemon
}

/// Stops (or lets go on) the supervisor and all below it.
fn signal_all(daemon: &Daemon, signal: Signal) -> Vec<u32> {
    let all = tree(daemon.pid());
    for pid in &all {
        kill(*pid, signal);
    }
    all
}

/// Returns when they stand still. A look at plugins that is just over is a child whom a stopped manager does not collect.
fn stop_all(daemon: &Daemon) -> Vec<u32> {
    let all = signal_all(daemon, Signal::SIGSTOP);
    wait_for("all are stopped", || {
        let still = |pid: &u32| matches!(state(*pid), Some('T' | 'Z') | None);
        all.iter().all(still)
    });
    all
}

#[test]
fn status_and_workers_answer_stale_while_all_is_stopped() {
    let daemon = daemon();
    let before = daemon.ask("status", serde_json::json!({}));
    let workers = daemon.workers();
    let all = stop_all(&daemon);
    assert!(all.len() >= 4, "{all:?}");
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let said = daemon.healthctl(&["--json", "status"]);
        quickest = quickest.min(begun.elapsed());
        // One is critical, and a stale critical stays critical.
        assert_eq!(said.code, Some(2), "{said:?}");
        let rows = said.json();
        for (row, before) in rows.as_array().expect("rows").iter().zip(&before) {
            assert_eq!(row["stale"], true, "{row}");
            for key in [
                "name", "plugin", "verdict", "status", "message", "attempt", "attempts", "worker",
            ] {
                assert_eq!(row[key], before[key], "{key}: {row}");
            }
            assert!(row["metrics"].is_null(), "{row}");
        }
    }
    // It does not wait for as long as others do for an answer, which is ten seconds.
    assert!(quickest < Duration::from_secs(5), "{quickest:?}");
    let said = daemon.healthctl(&["--json", "workers"]);
    let rows = said.json();
    for (row, before) in rows.as_array().expect("rows").iter().zip(&workers) {
        for key in [
            "slot",
            "class",
            "pid",
            "generation",
            "state",
            "dispatched",
            "finished",
            "lost",
        ] {
            assert_eq!(row[key], before[key], "{key}: {row}");
        }
    }
    assert_eq!(rows.as_array().map(Vec::len), Some(workers.len()));
    for args in [&["status"][..], &["workers"], &["list"], &["show", "bad"]] {
        let said = daemon.healthctl(args);
        assert!(
            said.out.len() > 10 || !said.err.is_empty(),
            "{args:?}: {said:?}"
        );
        assert!((said.out + &said.err).contains("stale"), "{args:?}");
    }
    // The story of a run, the plugins and whose maps these are, as far as the maps go.
    let said = daemon.healthctl(&["why", "bad"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    for word in [
        "due",
        "dispatched",
        "started",
        "critical after",
        "it burns",
        "evaluated",
    ] {
        assert!(said.out.contains(word), "{word}: {said:?}");
    }
    assert!(said.err.contains("stale"), "{said:?}");
    let why = daemon.healthctl(&["--json", "why", "good"]).json();
    assert_eq!(why["stale"], true, "{why}");
    let said = daemon.healthctl(&["why", "goood"]);
    assert!(said.err.contains("did you mean `good`"), "{said:?}");
    let said = daemon.healthctl(&["--json", "plugins"]);
    let rows = said.json();
    let names: Vec<_> = rows.as_array().expect("rows").iter().collect();
    assert_eq!(names.len(), 2, "{rows}");
    assert_eq!(
        (&names[0]["name"], &names[0]["checks"]),
        (&"echo".into(), &1.into())
    );
    assert_eq!(
        (&names[0]["class"], &names[0]["stale"]),
        (&"io".into(), &true.into())
    );
    let said = daemon.healthctl(&["--json", "version"]);
    let version = said.json();
    assert!(version["healthd"].is_null(), "{version}");
    assert_eq!(version["maps"]["supervisor_pid"], daemon.pid(), "{version}");
    assert_eq!(version["maps"]["checks"], 2, "{version}");
    let said = daemon.healthctl(&["version"]);
    assert!(said.out.contains("by its maps: pid"), "{said:?}");
    // What needs the daemon says so.
    let said = daemon.healthctl(&["--timeout", "300ms", "run", "good"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    signal_all(&daemon, Signal::SIGCONT);
    assert_eq!(daemon.run("good")["verdict"], "ok");
    assert!(!daemon.row("good")["stale"].as_bool().expect("a word"));
}

#[test]
fn where_a_run_hangs_can_be_read_while_all_is_stopped() {
    let gate = crate::harness::Gate::new();
    let daemon = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("hold"))
        .check(
            check("held")
                .plugin("hold")
                .interval("1h")
                .timeout("5m")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let visit = gate.wait_entered();
    stop_all(&daemon);
    let said = daemon.healthctl(&["why", "held"]);
    for word in ["in flight", "is in its run", &format!("pid {}", visit.pid)] {
        assert!(said.out.contains(word), "{word}: {said:?}");
    }
    signal_all(&daemon, Signal::SIGCONT);
    visit.open();
}

#[test]
fn nobody_is_blamed_for_a_stop_of_all() {
    let daemon = daemon();
    let workers = daemon.pids("io");
    let manager = daemon.manager();
    let all = stop_all(&daemon);
    wait_for("a beat long gone", || {
        let rows = daemon.healthctl(&["--json", "workers"]).json();
        let ages: Vec<_> = rows
            .as_array()
            .expect("rows")
            .iter()
            .filter_map(|r| r["heartbeat_age_ms"].as_u64())
            .collect();
        // Without beats in the maps this test would wait for ever.
        assert!(!ages.is_empty(), "{rows}");
        ages.iter().all(|age| *age > 6_000)
    });
    // The workers last: to the manager they look silent for a while.
    for pid in &all {
        kill(*pid, Signal::SIGCONT);
    }
    for name in ["good", "bad"] {
        daemon.run(name);
    }
    // A second look of the watchers has passed when a worker has beaten again.
    daemon.until_workers("fresh beats", |rows| {
        rows.iter()
            .all(|r| r["heartbeat_age_ms"].as_u64().is_some_and(|a| a < 1_500))
    });
    assert_eq!(daemon.pids("io"), workers);
    assert_eq!(daemon.manager(), manager);
    assert_eq!(daemon.row("good")["verdict"], "ok");
}

#[test]
fn the_maps_outlive_a_killed_daemon() {
    let mut daemon = daemon();
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit();
    let said = daemon.healthctl(&["--json", "status"]);
    let rows = said.json();
    assert_eq!(rows[1]["verdict"], "critical", "{said:?}");
    assert_eq!(rows[0]["stale"], true, "{said:?}");
}

#[test]
fn a_watch_says_when_nobody_answers_and_when_somebody_does_again() {
    let daemon = daemon();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_healthctl"))
        .arg("--socket")
        .arg(daemon.socket())
        .args(["--json", "watch", "good"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("healthctl runs");
    let lines = Lines::of(watch.stdout.take().expect("piped"));
    let stale = || {
        let line = lines.next().expect("it goes on");
        let row: serde_json::Value = serde_json::from_str(&line).expect("a row a line");
        row["stale"].as_bool()
    };
    assert_eq!(stale(), Some(false));
    stop_all(&daemon);
    assert_eq!(stale(), Some(true), "nobody vouches for it any more");
    signal_all(&daemon, Signal::SIGCONT);
    assert_eq!(stale(), Some(false));
    watch.kill().expect("our own child");
    watch.wait().expect("our own child");
}

#[test]
fn what_nobody_waits_for_any_more_is_not_done_later() {
    let daemon = daemon();
    stop_all(&daemon);
    let said = daemon.healthctl(&["--timeout", "300ms", "pause", "good"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    for part in [
        "it is not known whether",
        "may be paused",
        "healthctl resume",
    ] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    signal_all(&daemon, Signal::SIGCONT);
    // It reads in order: an answer to this means that the other was read too.
    let row = daemon.row("good");
    assert_ne!(row["paused"], true, "{row}");
    let said = daemon.told_by_daemon(&["pause", "good"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(daemon.row("good")["paused"], true);
}
