//! A plugin that does not come back: its own check says so, at its deadline, and the worker goes if it must.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, DEADLINE, Daemon, Gate, Hog, check, fixtures};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

fn deaf(name: &str, gate: &Gate, timeout: &str) -> Check {
    check(name)
        .plugin("hold")
        .interval("1h")
        .timeout(timeout)
        .set("retry_interval", "\"1h\"")
        .set(
            "config",
            &format!("{{ gate = {:?}, deaf = true }}", gate.path()),
        )
}

#[test]
fn an_overrun_is_told_at_the_deadline_and_what_comes_later_is_ignored() {
    let gate = Gate::new();
    let daemon = config().check(deaf("bad", &gate, "5s")).spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["bad"]);
    let visit = gate.wait_entered();
    let row = watch.until("the overrun", |row| row["status"] == "unknown");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("overrun") && message.contains("`hold`"),
        "{row}"
    );
    assert_eq!(row["attempt"], 1, "{row}");
    let took = row["latency_ms"].as_f64().expect("it ran");
    assert!((5_000.0..50_000.0).contains(&took), "{row}");
    // Its second run has a thread and an instance of its own.
    daemon
        .client()
        .send(&serde_json::json!({"v": 1, "op": "run", "names": ["bad"]}));
    let second = gate.wait_entered();
    assert_eq!(second.pid, visit.pid);
    visit.open_with(2);
    second.open();
    watch.until_verdict("bad", "ok");
    let rows = daemon.workers();
    assert_eq!(daemon.detail("bad")["runs"], 2, "{rows:#?}");
    assert_eq!(rows[0]["finished"], 2, "{rows:#?}");
    assert_eq!(rows[0]["restarts"], 0, "{rows:#?}");
    // The thread that was slowed down serves nobody else.
    let pid = daemon.pids("io")[&0];
    wait_for("only threads of the usual priority", || {
        threads(pid).iter().all(|t| t.nice < 19)
    });
}

#[test]
fn a_plugin_that_hears_the_cancel_has_a_timeout_of_its_target() {
    let gate = Gate::new();
    let held = |name: &str, plugin: &str| {
        check(name)
            .plugin(plugin)
            .interval("1h")
            .timeout("1s")
            .set("config", &format!("{{ gate = {:?} }}", gate.path()))
    };
    let daemon = config()
        .check(held("run", "hold"))
        .check(held("step", "hold_step"))
        .spawn();
    daemon.expect_notify("READY=1");
    for (name, said) in [
        ("run", "timeout after 1s"),
        ("step", "timeout after 1s in phase gate"),
    ] {
        let mut row = daemon.run(name);
        // Who does not run in the last tenth of a second has had no time to give up: then once more.
        while row["status"] == "unknown" {
            gate.wait_entered();
            row = daemon.run(name);
        }
        assert_eq!(row["status"], "critical", "{row}");
        assert_eq!(row["message"], said, "{row}");
        gate.wait_entered().assert_hung_up();
    }
}

#[test]
fn four_stuck_threads_replace_the_worker() {
    let gate = Gate::new();
    let mut config = config().only_asked();
    for n in 0..4 {
        config = config.check(deaf(&format!("deaf-{n}"), &gate, "2s"));
    }
    for n in 0..4 {
        config = config.check(check(&format!("fine-{n}")).plugin("echo").interval("100ms"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let worker = daemon.pids("io")[&0];
    let rows = daemon.ask("run", serde_json::json!({"names": ["deaf-*"]}));
    for row in rows.iter().filter(|r| r["type"] == "check") {
        let message = row["message"].as_str().unwrap_or_default();
        assert_eq!(row["status"], "unknown", "{row}");
        assert!(message.contains("overrun"), "{row}");
    }
    daemon.expect_log("4 threads are stuck");
    daemon.until_workers("another worker", |rows| {
        rows[0]["state"] == "ready" && rows[0]["pid"] != worker
    });
    for _ in 0..4 {
        let visit = gate.wait_entered();
        assert_eq!(visit.pid, worker);
        visit.assert_hung_up();
    }
    for n in 0..4 {
        let name = format!("fine-{n}");
        assert_eq!(daemon.run(&name)["verdict"], "ok");
        assert_eq!(daemon.row(&name)["attempt"], 1);
    }
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("to=critical"), "{log}");
}

#[test]
fn a_plugin_that_blocks_its_reactor_is_found_out() {
    let mut config = config().only_asked();
    let file = config.dir().join("stall");
    config = config.check(check("bad").plugin("crash_step").interval("1h").set(
        "config",
        &format!("{{ how = \"stall\", ms = 30000, if_file = {file:?} }}"),
    ));
    for n in 0..4 {
        config = config.check(
            check(&format!("fine-{n}"))
                .plugin("echo_step")
                .interval("100ms")
                .set("attempts", "1"),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for n in 0..4 {
        daemon.run(&format!("fine-{n}"));
    }
    let worker = daemon.pids("io")[&0];
    fs::write(&file, "").expect("our own folder");
    let row = daemon.run("bad");
    fs::remove_file(&file).expect("our own folder");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["status"], "unknown", "{row}");
    assert!(
        message.contains("stall") && message.contains("`crash_step`"),
        "{row}"
    );
    daemon.until_workers("another worker", |rows| {
        rows[0]["state"] == "ready" && rows[0]["pid"] != worker
    });
    for n in 0..4 {
        assert_eq!(daemon.run(&format!("fine-{n}"))["verdict"], "ok");
    }
    // They were late, and nothing worse.
    for line in daemon.log.all() {
        let changed = line.contains("check changed") && line.contains("check=fine");
        assert!(!changed || line.contains("to=ok"), "{line}");
    }
}

#[test]
fn a_short_stall_is_held_against_nobody() {
    let gate = Gate::new();
    let mut config = config();
    let file = config.dir().join("stall");
    config = config
        .only_asked()
        .check(check("bad").plugin("crash_step").interval("1h").set(
            "config",
            &format!("{{ how = \"stall\", ms = 700, if_file = {file:?} }}"),
        ))
        .check(
            check("fine")
                .plugin("hold_step")
                .interval("1h")
                .timeout("500ms")
                .set("retry_interval", "\"1h\"")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        );
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.run("bad");
    fs::write(&file, "").expect("our own folder");
    let socket = daemon.socket();
    let run = |name: &'static str| {
        let socket = socket.clone();
        std::thread::spawn(move || {
            let mut client = crate::harness::ctl::Client::connect(&socket);
            client.ask("run", serde_json::json!({ "names": [name] }))
        })
    };
    let begun = Instant::now();
    loop {
        let started = Instant::now();
        let fine = run("fine");
        let visit = gate.wait_entered();
        // The answer is there while the reactor is blocked beyond the deadline.
        let bad = run("bad");
        visit.open();
        let in_time = started.elapsed() < Duration::from_millis(500);
        let row = last(fine.join().expect("no panic").expect("an answer"));
        let rows = bad.join().expect("no panic").expect("an answer");
        assert_eq!(last(rows)["status"], "ok");
        if in_time {
            assert_eq!(row["status"], "ok", "{row}");
            break;
        }
        // We may have been too slow ourselves: then once more.
        assert!(begun.elapsed() < DEADLINE, "{row}");
    }
    assert_eq!(daemon.workers()[0]["restarts"], 0);
}

/// A check that computes for so long of its own time while the file is there.
fn spinning(plugin: &str, timeout: &str, ms: u32, file: &Path) -> Check {
    check("busy")
        .plugin(plugin)
        .interval("1h")
        .timeout(timeout)
        .set("attempts", "1")
        .set(
            "config",
            &format!("{{ how = \"spin\", ms = {ms}, if_file = {file:?} }}"),
        )
}

struct Thread {
    tid: u32,
    name: String,
    nice: i32,
    /// Of 10 ms on a processor.
    ticks: u64,
}

fn threads(pid: u32) -> Vec<Thread> {
    let folder = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    folder
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // proc(5); two words stand before these.
            let words: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(Thread {
                tid: entry.file_name().to_str()?.parse().ok()?,
                name: name.trim().to_owned(),
                nice: words.get(16)?.parse().ok()?,
                ticks: words.get(11)?.parse().ok()?,
            })
        })
        .collect()
}

fn last(rows: Vec<Value>) -> Value {
    rows.into_iter().next_back().expect("a row")
}

fn assert_never_blamed(daemon: &Daemon) {
    assert_eq!(daemon.workers()[0]["restarts"], 0);
    for line in daemon.log.all() {
        for word in [
            "worker killed",
            "to be replaced",
            "check held",
            "to=unknown",
            "to=critical",
        ] {
            assert!(!line.contains(word), "{line}");
        }
    }
}

#[test]
fn a_reactor_that_is_kept_from_running_is_not_stalled() {
    let _alone = Hog::alone();
    let config = config().only_asked();
    let file = config.dir().join("spin");
    let daemon = config
        .good(4)
        .check(spinning("crash_step", "30s", 400, &file))
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("busy")["status"], "ok");
    fs::write(&file, "").expect("our own folder");
    let Some(hog) = Hog::starve(vec![daemon.pids("io")[&0]]) else {
        return;
    };
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["busy"]}));
    daemon.expect_log("worker starves  in=\"start of plugin `crash_step`\"");
    drop(hog);
    let row = last(client.answer().expect("it ends"));
    assert_eq!(row["message"], "still alive", "{row}");
    for n in 0..4 {
        assert_eq!(daemon.run(&format!("fine-{n}"))["verdict"], "ok");
    }
    assert_never_blamed(&daemon);
}

#[test]
fn a_reactor_that_never_runs_is_replaced_in_the_end_and_nobody_is_blamed() {
    let _alone = Hog::alone();
    let config = config().only_asked();
    let file = config.dir().join("spin");
    let daemon = config
        .good(4)
        .check(spinning("crash_step", "1m", 600_000, &file))
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("busy")["status"], "ok");
    fs::write(&file, "").expect("our own folder");
    let Some(hog) = Hog::starve(vec![daemon.pids("io")[&0]]) else {
        return;
    };
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["busy"]}));
    daemon.expect_log("worker starves  in=\"start of plugin `crash_step`\"");
    // It has begun; the next try does no harm.
    fs::remove_file(&file).expect("our own folder");
    daemon.expect_log("its event loop is starved: ");
    drop(hog);
    let row = last(client.answer().expect("it ends"));
    assert_eq!(row["status"], "ok", "{row}");
    assert!(daemon.detail("busy")["held_until"].is_null());
    assert_eq!(daemon.detail("busy")["cost"]["crashes"], 0);
    for n in 0..4 {
        assert_eq!(daemon.run(&format!("fine-{n}"))["verdict"], "ok");
    }
}

#[test]
fn a_reactor_that_computes_for_ever_is_stalled() {
    let config = config().only_asked();
    let file = config.dir().join("spin");
    let daemon = config
        .check(spinning("crash_step", "30s", 600_000, &file))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.run("busy");
    fs::write(&file, "").expect("our own folder");
    let mut row = daemon.run_anew("busy");
    // On a machine that drowns it may not get its second, which says nothing of it.
    while row["fault"] == "worker-died" {
        row = daemon.run("busy");
    }
    fs::remove_file(&file).expect("our own folder");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["status"], "unknown", "{row}");
    assert_eq!(row["fault"], "stalled", "{row}");
    assert!(
        message.contains("its event loop is stalled") && message.contains("`crash_step`"),
        "{row}"
    );
}

#[test]
fn a_call_that_is_kept_from_running_has_not_overrun() {
    let _alone = Hog::alone();
    let config = config().only_asked().pool("io", "workers = 1\nthreads = 1");
    let file = config.dir().join("spin");
    let daemon = config
        .check(spinning("crash", "6s", 600_000, &file))
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("busy")["status"], "ok");
    let pid = daemon.pids("io")[&0];
    let runs = || threads(pid).into_iter().find(|t| t.name == "run");
    fs::write(&file, "").expect("our own folder");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["busy"]}));
    wait_for("it computes", || runs().is_some_and(|t| t.ticks > 1));
    let Some(hog) = Hog::starve(vec![runs().expect("it is in a call").tid]) else {
        return;
    };
    let row = last(client.answer().expect("it ends"));
    drop(hog);
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["fault"], "starved", "{row}");
    assert!(
        message.starts_with("self:starved: run of plugin `crash`"),
        "{row}"
    );
    assert_eq!(
        (&row["status"], &row["verdict"]),
        (&json!("unknown"), &json!("ok"))
    );
    fs::remove_file(&file).expect("our own folder");
    assert_eq!(daemon.run("busy")["status"], "ok");
    assert_never_blamed(&daemon);
}
