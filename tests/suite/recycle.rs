//! A worker that holds too much, or has run enough, is replaced before it hurts, and no run notices.

use crate::harness::ctl::let_others_run;
use crate::harness::{Config, DEADLINE, Daemon, Gate, check, fixtures};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::Instant;

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
        .plugin_file(fixtures::fixture("leak"))
}

fn total(rows: &[Value], key: &str) -> u64 {
    rows.iter().filter_map(|r| r[key].as_u64()).sum()
}

/// Nothing was lost, nobody was marked, and the accounts say so over all workers.
fn assert_unharmed(daemon: &Daemon) {
    daemon.ask("pause", json!({}));
    let rows = daemon.until_workers("nothing in flight, nobody drains", |rows| {
        rows.iter()
            .all(|r| r["in_flight"] == 0 && r["state"] == "ready")
    });
    for key in ["lost", "late"] {
        assert_eq!(total(&rows, key), 0, "{key}: {rows:#?}");
    }
    let mut results = 0;
    let mut client = daemon.client();
    for row in daemon.ask("status", json!({})) {
        let name = row["name"].as_str().expect("a name");
        assert_eq!(row["verdict"], "ok", "{row}");
        let shown = client
            .ask("show", json!({ "name": name }))
            .expect("it is there");
        results += shown[0]["runs"].as_u64().expect("a number");
    }
    assert_eq!(results, total(&rows, "finished"), "{rows:#?}");
    for line in daemon.log.all() {
        assert!(!line.contains("run not evaluated"), "{line}");
        assert!(
            !line.contains("check changed") || line.contains("to=ok"),
            "{line}"
        );
    }
}

#[test]
fn a_leak_of_memory_is_recycled_before_its_limit() {
    let daemon = config()
        .good(20)
        .pool("io", "workers = 1\nmax_rss = \"96MiB\"")
        .check(
            check("leaks")
                .plugin("leak")
                .interval("100ms")
                .timeout("30s")
                .set("attempts", "1")
                .set("config", "{ kb = 1024 }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let first = daemon.pids("io")[&0];
    for _ in 0..2 {
        let line = daemon.expect_log("worker recycled");
        assert!(line.contains("max_rss is 96MiB"), "{line}");
        let mib: u64 = line
            .split(": ")
            .last()
            .and_then(|t| t.split(" MiB").next()?.parse().ok())
            .unwrap_or_else(|| panic!("no size: {line}"));
        assert!((72..96).contains(&mib), "{line}");
    }
    let rows = daemon.until_workers("another worker alone", |rows| {
        rows.len() == 1 && rows[0]["state"] == "ready" && rows[0]["pid"] != first
    });
    assert!(
        rows[0]["note"]
            .as_str()
            .is_some_and(|n| n.contains("max_rss")),
        "{rows:?}"
    );
    assert!(
        rows[0]["rss_kb"].as_u64().is_some_and(|kb| kb < 96 << 10),
        "{rows:?}"
    );
    assert!(rows[0]["fds"].as_u64().is_some_and(|n| n > 5), "{rows:?}");
    assert!(total(&rows, "restarts") >= 2, "{rows:?}");
    // Who is suspected: the one who did it, by far.
    let plugins = daemon.ask("plugins", json!({}));
    let grew = |name: &str| {
        let row = plugins
            .iter()
            .find(|r| r["name"] == name)
            .expect("it is used");
        row["cost"]["grew_kb"].as_i64().expect("a number")
    };
    assert!(grew("leak") > 16 << 10, "{plugins:#?}");
    assert!(grew("leak") > 4 * grew("echo_step").max(0), "{plugins:#?}");
    let said = daemon.told_by_daemon(&["plugins", "--cost"]);
    assert!(
        said.out.contains("suspect: leak: workers grew by"),
        "{said:?}"
    );
    let said = daemon.told_by_daemon(&["workers"]);
    assert!(said.out.contains("max_rss is 96MiB"), "{said:?}");
    assert_unharmed(&daemon);
}

#[test]
fn leaked_descriptors_are_recycled_before_their_limit() {
    let daemon = config()
        .good(20)
        .pool("io", "workers = 1\nmax_fds = 200")
        .check(
            check("leaks")
                .plugin("leak_step")
                .interval("100ms")
                .timeout("30s")
                .set("attempts", "1")
                .set("config", "{ fds = 4 }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    for _ in 0..2 {
        let line = daemon.expect_log("worker recycled");
        assert!(line.contains("max_fds is 200"), "{line}");
    }
    let plugins = daemon.ask("plugins", json!({}));
    let row = plugins
        .iter()
        .find(|r| r["name"] == "leak_step")
        .expect("it is used");
    assert!(
        row["cost"]["grew_fds"].as_i64().is_some_and(|n| n >= 40),
        "{row}"
    );
    let said = daemon.told_by_daemon(&["show", "leaks"]);
    assert!(
        said.out.contains("workers grew by") && said.out.contains("fds"),
        "{said:?}"
    );
    assert_unharmed(&daemon);
}

#[test]
fn so_many_runs_and_another_has_its_place() {
    let mut config = config().good(20).pool("io", "workers = 2\nmax_runs = 100");
    for n in 0..10 {
        config = config.check(
            check(&format!("slow-{n}"))
                .plugin("echo_step")
                .interval("200ms")
                .timeout("30s")
                .set("attempts", "1")
                .set("config", "{ wait_ms = 150 }"),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    // Never both at once: what one look shows draining or starting is one of two.
    for _ in 0..3 {
        let line = daemon.expect_log("worker is to be recycled");
        assert!(line.contains("max_runs is 100"), "{line}");
        let rows = daemon.workers();
        let ready = rows.iter().filter(|r| r["state"] == "ready").count();
        assert!(ready >= 2, "{rows:#?}");
        daemon.expect_log("worker recycled");
    }
    assert_unharmed(&daemon);
    let log = daemon.log.all();
    let said = log.iter().filter(|l| l.contains("do not last")).count();
    assert_eq!(said, 1, "{log:#?}");
}

#[test]
fn a_long_run_ends_in_the_old_worker_over_reload_and_stop() {
    let gate = Gate::new();
    let held = |name: &str| {
        check(name)
            .plugin("hold")
            .interval("1h")
            .timeout("5m")
            .set("config", &format!("{{ gate = {:?} }}", gate.path()))
    };
    let mut daemon = config()
        .pool("io", "workers = 1\nmax_runs = 10")
        .daemon("stop_grace", "\"50s\"")
        .check(held("first"))
        .check(held("second"))
        .check(check("fine").plugin("echo").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let visits = [gate.wait_entered(), gate.wait_entered()];
    let old = daemon.pids("io")[&0];
    for _ in 0..10 {
        assert_eq!(daemon.run("fine")["status"], "ok");
    }
    daemon.expect_log("worker recycled");
    // The held runs are where they were; new ones are not.
    let rows = daemon.workers();
    assert_eq!(rows.len(), 2, "{rows:#?}");
    let row = |pid: u32| rows.iter().find(|r| r["pid"] == pid).expect("it drains");
    assert_eq!(
        (&row(old)["state"], &row(old)["in_flight"]),
        (&json!("draining"), &json!(2))
    );
    assert_eq!(daemon.run("fine")["status"], "ok");
    // A reload with a new generation, while one is draining.
    daemon.written.rewrite(&[
        held("first"),
        held("second"),
        check("fine").plugin("echo").interval("1h"),
        check("more").plugin("echo_cpu").interval("1h"),
    ]);
    daemon.ask("reload", json!({}));
    let [first, second] = visits;
    assert_eq!(first.pid, old);
    let name = first.check.clone();
    first.open();
    let mut watch = daemon.watch(&["first", "second"]);
    watch.until_verdict(&name, "ok");
    // And a stop: the last one has its time.
    daemon.signal(Signal::SIGTERM);
    daemon.expect_notify("STOPPING=1");
    second.open();
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("cancelled, without a result"), "{log}");
}

#[test]
fn one_call_that_takes_it_all_costs_its_worker_and_no_check_its_verdict() {
    let mut config = config().only_asked().good(20);
    let file = config.dir().join("leak");
    config = config.pool("io", "workers = 2\nmax_rss = \"64MiB\"").check(
        check("greedy")
            .plugin("leak")
            .interval("1h")
            .timeout("1m")
            .set("attempts", "1")
            .set(
                "config",
                &format!("{{ kb = 2000000, slowly = true, if_file = {file:?} }}"),
            ),
    );
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.run("greedy");
    // Were it the whole machine's memory, workers would go before those that bring them back.
    let score = |pid: u32| -> i32 {
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        let score = score.expect("it runs");
        score.trim().parse().expect("a number")
    };
    for worker in daemon.role("worker") {
        for other in [daemon.pid(), daemon.manager()] {
            assert!(score(worker) > score(other), "{worker} and {other}");
        }
    }
    std::fs::write(&file, "").expect("our own folder");
    let row = daemon.run("greedy");
    std::fs::remove_file(&file).expect("our own folder");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(
        (&row["status"], &row["verdict"]),
        (&json!("unknown"), &json!("ok")),
        "{row}"
    );
    assert!(
        row["fault"] == "worker-died" && message.contains("max_rss is 64MiB"),
        "{row}"
    );
    daemon.until_workers("two ready workers", |rows| {
        rows.iter().filter(|r| r["state"] == "ready").count() == 2
    });
    let said = daemon.told_by_daemon(&["plugins", "--cost"]);
    assert!(said.out.contains("suspect: leak: "), "{said:?}");
    let why = daemon.told_by_daemon(&["why", "greedy"]);
    assert!(
        why.out.contains("was replaced") && why.out.contains("max_rss"),
        "{why:?}"
    );
    for n in 0..20 {
        let row = daemon.run(&format!("fine-{n}"));
        assert_eq!(row["verdict"], "ok", "{row}");
    }
    for line in daemon.log.all() {
        assert!(
            !line.contains("check changed") || line.contains("to=ok"),
            "{line}"
        );
    }
}

#[test]
fn what_is_above_the_limit_for_half_a_second_is_seen_too() {
    let mut config = config().only_asked().good(2);
    let file = config.dir().join("leak");
    config = config.pool("io", "workers = 1\nmax_rss = \"64MiB\"").check(
        check("greedy")
            .plugin("leak")
            .interval("1h")
            .timeout("1m")
            .set("attempts", "1")
            .set(
                "config",
                &format!("{{ borrow_kb = 200000, if_file = {file:?} }}"),
            ),
    );
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("greedy")["status"], "ok");
    std::fs::write(&file, "").expect("our own folder");
    // A first one can come between two looks. Its peak is seen then, and the next ones' memory as it grows.
    let begun = Instant::now();
    while daemon.run("greedy")["fault"] != "worker-died" {
        if begun.elapsed() > DEADLINE {
            daemon.fail("none of its runs is seen to take more than it may");
        }
    }
    for _ in 0..6 {
        let row = daemon.run("greedy");
        assert_eq!(row["fault"], "worker-died", "{row}");
    }
    assert_eq!(daemon.run("fine-0")["verdict"], "ok");
}

#[test]
fn a_worker_with_stuck_threads_is_replaced_by_one_that_is_ready_first() {
    let gate = Gate::new();
    let mut config = config().pool("io", "workers = 1");
    for n in 0..4 {
        config = config.check(
            check(&format!("deaf-{n}"))
                .plugin("hold")
                .interval("1h")
                .timeout("2s")
                .set(
                    "config",
                    &format!("{{ gate = {:?}, deaf = true }}", gate.path()),
                ),
        );
    }
    let daemon = config
        .check(
            check("fine")
                .plugin("echo")
                .interval("100ms")
                .set("attempts", "1"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let worker = daemon.pids("io")[&0];
    let visits: Vec<_> = (0..4).map(|_| gate.wait_entered()).collect();
    assert!(visits.iter().all(|v| v.pid == worker), "{visits:?}");
    daemon.expect_log("4 threads are stuck");
    // At every moment somebody is ready.
    let begun = Instant::now();
    let mut client = daemon.client();
    loop {
        let rows = client.ask("workers", json!({})).expect("workers");
        assert!(rows.iter().any(|r| r["state"] == "ready"), "{rows:#?}");
        if rows.iter().all(|r| r["pid"] != worker) {
            break;
        }
        if begun.elapsed() > DEADLINE {
            daemon.fail(&format!("the old one stays: {rows:#?}"));
        }
        let_others_run();
    }
    let rows = daemon.workers();
    assert_eq!(total(&rows, "lost"), 0, "{rows:#?}");
    assert_eq!(daemon.run("fine")["verdict"], "ok");
}
