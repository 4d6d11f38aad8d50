//! A plugin that kills its worker: its own check is named, and nobody else's suffers.

use crate::harness::ctl::{let_others_run, wait_for};
use crate::harness::{Check, Config, DEADLINE, Daemon, Gate, check, children, fixtures, state};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// A check whose plugin hurts its worker while `file` is there.
fn crashing(name: &str, plugin: &str, how: &str, file: &Path) -> Check {
    check(name).plugin(plugin).interval("1h").set(
        "config",
        &format!("{{ how = {how:?}, if_file = {file:?} }}"),
    )
}

/// Checks that run all the time, at home in every worker.
fn neighbours(mut config: Config) -> Config {
    for n in 0..8 {
        let name = format!("neighbour-{n}");
        config = config.check(check(&name).plugin("echo_step").interval("100ms"));
    }
    config
}

/// They run, and have never been anything but ok.
fn assert_neighbours_unharmed(daemon: &Daemon) {
    let mut watch = daemon.watch(&["neighbour-*"]);
    for n in 0..8 {
        let name = format!("neighbour-{n}");
        let now = daemon.detail(&name);
        watch.until(&format!("{name} runs on"), |row| {
            row["name"] == *name && row["status"] == "ok" && row["last_run"] != now["last_run"]
        });
        assert_eq!(daemon.row(&name)["verdict"], "ok");
    }
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("check=neighbour-0 from=ok"), "{log}");
    for line in log.lines().filter(|l| l.contains("check changed")) {
        assert!(
            !line.contains("neighbour") || line.contains("to=ok"),
            "{line}"
        );
        assert!(!line.contains("to=critical"), "{line}");
    }
}

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

#[test]
fn each_way_to_die_is_named_and_the_others_run_on() {
    // What is said of it, and how the place is told.
    const WAYS: [(&str, &str, &str); 7] = [
        ("segv", "SIGSEGV in plugin", " at libfixture_crash.so+0x"),
        (
            "abort",
            "SIGABRT in plugin",
            " called from libfixture_crash.so+0x",
        ),
        ("bus", "SIGBUS in plugin", " at libfixture_crash.so+0x"),
        ("ill", "SIGILL in plugin", " at libfixture_crash.so+0x"),
        (
            "fpe",
            "SIGFPE in plugin",
            " called from libfixture_crash.so+0x",
        ),
        (
            "stack",
            "SIGSEGV (stack overflow) in plugin",
            " at libfixture_crash.so+0x",
        ),
        (
            "exit",
            "exit(0) in plugin",
            " called from libfixture_crash.so+0x",
        ),
    ];
    let mut config = neighbours(config().only_asked());
    let file = |how: &str| config.dir().join(how);
    let mut crashing_checks = Vec::new();
    for (how, _, _) in &WAYS {
        crashing_checks.push(crashing(how, "crash", how, &file(how)));
        let name = format!("{how}-step");
        crashing_checks.push(crashing(&name, "crash_step", how, &file(&name)));
    }
    for c in crashing_checks {
        config = config.check(c);
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for (how, signal, place) in &WAYS {
        for (name, plugin) in [
            ((*how).to_owned(), "crash"),
            (format!("{how}-step"), "crash_step"),
        ] {
            let file = daemon.dir().join(&name);
            fs::write(&file, "").expect("our own folder");
            let row = daemon.run(&name);
            fs::remove_file(&file).expect("our own folder");
            let message = row["message"].as_str().unwrap_or_default();
            assert_eq!(row["status"], "unknown", "{row}");
            assert!(message.contains(signal), "{row}");
            assert!(message.contains(&format!("`{plugin}`")), "{row}");
            assert!(message.contains(place), "{row}");
            let function = if *how == "stack" {
                " deeper: "
            } else {
                " hurt: "
            };
            assert!(message.contains(function), "{row}");
            // Against pending or ok: an attempt, and no verdict yet.
            assert_ne!(row["verdict"], "critical", "{row}");
            assert_eq!(row["attempt"], 1, "{row}");
        }
    }
    let rows = daemon.until_workers("both workers ready", |rows| {
        rows.iter().all(|r| r["state"] == "ready")
    });
    let restarts: u64 = rows.iter().filter_map(|r| r["restarts"].as_u64()).sum();
    assert_eq!(restarts, 14, "{rows:#?}");
    assert_neighbours_unharmed(&daemon);
}

#[test]
fn a_crash_counts_as_an_attempt_and_the_check_is_held() {
    let config = config();
    let file = config.dir().join("crash");
    fs::write(&file, "").expect("our own folder");
    let daemon = config
        .check(
            check("bad")
                .plugin("crash")
                .interval("100ms")
                .set("attempts", "2")
                .set(
                    "config",
                    &format!("{{ how = \"segv\", if_file = {file:?} }}"),
                ),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["bad"]);
    let first = watch.until("the first crash", |row| row["status"] == "unknown");
    assert_eq!(
        (&first["attempt"], &first["verdict"]),
        (&1.into(), &"pending".into())
    );
    // It comes again and again, and is held for longer each time.
    wait_for("it is held", || {
        daemon.detail("bad")["held_until"].is_string()
    });
    let second = watch.until_verdict("bad", "unknown");
    assert_eq!(second["attempt"], 2);
    let apart = seconds_between(&first["last_run"], &second["last_run"]);
    assert!(apart >= 0.9, "held for {apart} s only: {first} {second}");
    daemon.expect_log("check held  check=bad for=1");
    daemon.expect_log("check held  check=bad for=2");
    // Mended: one run that survives ends the hold.
    fs::remove_file(&file).expect("our own folder");
    watch.until_verdict("bad", "ok");
    assert!(daemon.detail("bad")["held_until"].is_null());
}

/// Between two times of one day, in RFC 3339 and UTC.
fn seconds_between(from: &Value, to: &Value) -> f64 {
    let seconds = |time: &Value| {
        let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
        let clock = text.split(['T', 'Z']).nth(1).expect("a time of day");
        clock.split(':').fold(0.0, |sum, part| {
            sum * 60.0 + part.parse::<f64>().expect("a number")
        })
    };
    (seconds(to) - seconds(from)).rem_euclid(86_400.0)
}

#[test]
fn what_else_was_in_flight_runs_again_elsewhere() {
    let gate = Gate::new();
    let config = config().pool("io", "workers = 1");
    let file = config.dir().join("crash");
    let held = |name: &str, plugin: &str| {
        check(name)
            .plugin(plugin)
            .interval("1h")
            .timeout("2m")
            .set("config", &format!("{{ gate = {:?} }}", gate.path()))
    };
    let daemon = config
        .check(held("step", "hold_step"))
        .check(held("run", "hold"))
        .check(crashing("bad", "crash", "segv", &file))
        .spawn();
    daemon.expect_notify("READY=1");
    let mut first = vec![gate.wait_entered(), gate.wait_entered()];
    first.sort_by(|a, b| a.check.cmp(&b.check));
    // Its run of the start is over: it would be one more that dies.
    daemon.until_ok(&["bad"]);
    fs::write(&file, "").expect("our own folder");
    daemon.run("bad");
    fs::remove_file(&file).expect("our own folder");
    let mut again = vec![gate.wait_entered(), gate.wait_entered()];
    again.sort_by(|a, b| a.check.cmp(&b.check));
    for (first, again) in first.into_iter().zip(again) {
        assert_eq!(
            (&first.check, first.run_id, 1),
            (&again.check, again.run_id, first.attempt)
        );
        assert_eq!(again.attempt, 2);
        assert_ne!(first.pid, again.pid);
        first.assert_hung_up();
        let name = again.check.clone();
        let mut watch = daemon.watch(&[&name]);
        again.open();
        let row = watch.until_verdict(&name, "ok");
        assert_eq!((&row["status"], &row["attempt"]), (&"ok".into(), &1.into()));
        assert_eq!(daemon.detail(&name)["runs"], 1, "one run, one result");
    }
    let rows = daemon.workers();
    assert_eq!(rows[0]["lost_worker_died"], 3, "{rows:#?}");
}

#[test]
fn a_run_that_lost_two_workers_is_given_up_and_blames_nobody() {
    let gate = Gate::new();
    let daemon = config()
        .check(
            check("held")
                .plugin("hold")
                .interval("1h")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["held"]);
    for attempt in 1..=2 {
        let visit = gate.wait_entered();
        assert_eq!(visit.attempt, attempt);
        crate::harness::kill(visit.pid, Signal::SIGKILL);
        visit.assert_hung_up();
    }
    let row = watch.until("its end", |row| row["status"] == "unknown");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["fault"], "worker-died", "{row}");
    assert!(message.contains("SIGKILL"), "{row}");
    // Our own fault: no verdict, no attempt.
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&"pending".into(), &1.into())
    );
    assert!(gate.is_empty());
}

#[test]
fn with_one_worker_too_a_run_is_tried_twice_and_no_more() {
    let gate = Gate::new();
    let daemon = config()
        .pool("io", "workers = 1")
        .check(
            check("held")
                .plugin("hold")
                .interval("1h")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["held"]);
    let first = gate.wait_entered();
    crate::harness::kill(first.pid, Signal::SIGKILL);
    let second = gate.wait_entered();
    assert_eq!((first.run_id, 2), (second.run_id, second.attempt));
    crate::harness::kill(second.pid, Signal::SIGKILL);
    let row = watch.until("its end", |row| row["status"] == "unknown");
    assert_eq!(row["fault"], "worker-died", "{row}");
}

#[test]
fn a_crash_in_create_and_in_a_later_step_is_named_too() {
    let config = config().only_asked();
    let file = config.dir().join("crash");
    let mut daemon = config;
    for (name, plugin, when) in [
        ("create", "crash", "create"),
        ("create-step", "crash_step", "create"),
        ("later", "crash_step", "step"),
    ] {
        daemon = daemon.check(check(name).plugin(plugin).interval("1h").set(
            "config",
            &format!(
                "{{ how = \"segv\", when = {when:?}, if_file = {:?} }}",
                file.with_extension(name)
            ),
        ));
    }
    let daemon = daemon.spawn();
    daemon.expect_notify("READY=1");
    // `create` is called once for each worker: these must not have run there before.
    for name in ["create", "create-step", "later"] {
        fs::write(file.with_extension(name), "").expect("our own folder");
    }
    for (name, call) in [
        ("create", "create"),
        ("create-step", "create"),
        ("later", "step"),
    ] {
        let mut watch = daemon.watch(&[name]);
        daemon.run(name);
        let row = watch.until("a crash", |row| row["status"] == "unknown");
        let message = row["message"].as_str().unwrap_or_default();
        assert!(message.contains("SIGSEGV"), "{row}");
        assert!(message.contains(&format!("({call}")), "{row}");
        fs::remove_file(file.with_extension(name)).expect("our own folder");
        // And it is well again when its plugin is.
        assert_eq!(daemon.run(name)["status"], "ok");
    }
}

#[test]
fn a_forked_worker_does_no_harm() {
    for plugin in ["crash", "crash_step"] {
        let config = neighbours(config().pool("io", "workers = 1"));
        let file = config.dir().join("fork");
        let daemon = config
            .check(crashing("forks", plugin, "fork", &file))
            .spawn();
        daemon.expect_notify("READY=1");
        assert_eq!(daemon.run("forks")["status"], "ok");
        fs::write(&file, "").expect("our own folder");
        for _ in 0..5 {
            let row = daemon.run("forks");
            assert_eq!(row["status"], "ok", "{plugin}: {row}");
        }
        fs::remove_file(&file).expect("our own folder");
        assert_neighbours_unharmed(&daemon);
        // Nothing was lost to a child that took it for its own.
        let rows = daemon.workers();
        assert_eq!(
            (&rows[0]["lost"], &rows[0]["late"]),
            (&0.into(), &0.into()),
            "{rows:#?}"
        );
    }
}

#[test]
fn a_child_that_holds_the_link_does_not_hide_the_death_of_its_worker() {
    let config = neighbours(config().only_asked().pool("io", "workers = 1"));
    let file = config.dir().join("fork");
    let daemon = config
        .check(crashing("forks", "crash", "fork_stay", &file))
        .spawn();
    daemon.expect_notify("READY=1");
    fs::write(&file, "").expect("our own folder");
    assert_eq!(daemon.run("forks")["status"], "ok");
    fs::remove_file(&file).expect("our own folder");
    let worker = daemon.pids("io")[&0];
    let child = children(worker);
    assert_eq!(child.len(), 1, "{child:?}");
    crate::harness::kill(worker, Signal::SIGKILL);
    daemon.until_workers("another worker", |rows| {
        rows[0]["state"] == "ready" && rows[0]["pid"] != worker
    });
    assert_neighbours_unharmed(&daemon);
    let begun = Instant::now();
    while !matches!(state(child[0]), None | Some('Z')) {
        assert!(begun.elapsed() < DEADLINE, "the child is left");
        let_others_run();
    }
}

#[test]
fn a_worker_that_talks_rubbish_is_replaced() {
    for how in ["rubbish", "huge"] {
        let config = neighbours(config());
        let file = config.dir().join(how);
        let daemon = config.check(crashing("bad", "crash", how, &file)).spawn();
        daemon.expect_notify("READY=1");
        fs::write(&file, "").expect("our own folder");
        let row = daemon.run("bad");
        fs::remove_file(&file).expect("our own folder");
        assert_ne!(row["verdict"], "critical", "{row}");
        daemon.expect_log("it sends what cannot be read");
        daemon.until_workers("both workers ready", |rows| {
            rows.iter().all(|r| r["state"] == "ready")
        });
        assert_neighbours_unharmed(&daemon);
    }
}

#[test]
fn a_crash_in_destroy_costs_no_check_anything() {
    let config = neighbours(config().pool("io", "workers = 1"));
    let daemon = config
        .check(
            check("bad")
                .plugin("crash")
                .interval("1h")
                .set("config", "{ how = \"segv\", when = \"destroy\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("bad")["status"], "ok");
    let worker = daemon.pids("io")[&0];
    let mut left: Vec<Check> = (0..8)
        .map(|n| {
            check(&format!("neighbour-{n}"))
                .plugin("echo_step")
                .interval("100ms")
        })
        .collect();
    // Its plugin stays in use, so the workers stay too.
    left.push(
        check("other")
            .plugin("crash")
            .interval("1h")
            .set("config", "{ how = \"segv\", when = \"never\" }"),
    );
    daemon.written.rewrite(&left);
    daemon.ask("reload", serde_json::json!({}));
    daemon.until_workers("another worker", |rows| {
        rows[0]["state"] == "ready" && rows[0]["pid"] != worker
    });
    assert_neighbours_unharmed(&daemon);
}

#[test]
fn a_plugin_that_kills_a_starting_worker_is_left_out() {
    let daemon = neighbours(config())
        .plugin_file(fixtures::variant("INIT_CRASH"))
        .check(check("bad").plugin("wrong").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.row("bad");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(
        (&row["verdict"], &row["status"]),
        (&"unknown".into(), &"unknown".into()),
        "{row}"
    );
    assert!(
        message.contains("SIGSEGV") && message.contains("init_crash.so"),
        "{row}"
    );
    let plugins = daemon.ask("plugins", serde_json::json!({}));
    let plugin = plugins
        .iter()
        .find(|p| p["name"] == "wrong")
        .unwrap_or_else(|| panic!("{plugins:#?}"));
    assert_eq!(plugin["state"], "left out", "{plugin}");
    assert_neighbours_unharmed(&daemon);
}
