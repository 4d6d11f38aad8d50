//! Soft and hard states: how many results it takes, how soon it looks again, and what counts.

use crate::harness::{Config, check, fixtures};
use std::fs;

#[test]
fn a_problem_needs_its_attempts_and_a_recovery_one() {
    let config = Config::new()
        .only_asked()
        .plugin_file(fixtures::fixture("echo"));
    let target = config.dir().join("target");
    fs::write(&target, "ok all well\ntime 0.25 s\n").expect("our own folder");
    let daemon = config
        .check(
            check("t")
                .plugin("echo_step")
                .interval("1h")
                .set("retry_interval", "\"100ms\"")
                .set("attempts", "3")
                .set("config", &format!("{{ file = {target:?} }}")),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["t"]);
    let row = daemon.run("t");
    assert_eq!(
        (&row["verdict"], &row["message"]),
        (&"ok".into(), &"all well".into())
    );
    let metric = &row["metrics"][0];
    assert_eq!(
        (&metric["name"], &metric["value"], &metric["unit"]),
        (&"time".into(), &0.25.into(), &"s".into())
    );
    let since = row["since"].clone();
    // It fails: the retries come by themselves, an hour before the next due run.
    fs::write(&target, "critical it burns\n").expect("our own folder");
    let row = daemon.run("t");
    assert_eq!(
        (&row["status"], &row["verdict"], &row["attempt"]),
        (&"critical".into(), &"ok".into(), &1.into())
    );
    assert_eq!(row["since"], since);
    watch.until("attempt 2", |r| {
        r["attempt"] == 2 && r["verdict"] == "ok" && r["status"] == "critical"
    });
    let row = watch.until_verdict("t", "critical");
    assert_eq!(
        (&row["attempt"], &row["message"]),
        (&3.into(), &"it burns".into())
    );
    assert_ne!(row["since"], since);
    // Hard: no more retries, and another kind of problem counts at once.
    let next = daemon.row("t")["next_run"]
        .as_str()
        .expect("planned")
        .to_owned();
    let last = daemon.row("t")["last_run"]
        .as_str()
        .expect("it ran")
        .to_owned();
    assert_ne!(
        next[..16],
        last[..16],
        "the next run is far away: {next} {last}"
    );
    fs::write(&target, "warning it smokes\n").expect("our own folder");
    assert_eq!(daemon.run("t")["verdict"], "warning");
    fs::write(&target, "ok again\n").expect("our own folder");
    let row = daemon.run("t");
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&"ok".into(), &1.into())
    );
}

#[test]
fn pending_becomes_a_problem_only_after_its_attempts() {
    let config = Config::new().plugin_file(fixtures::fixture("echo"));
    let daemon = config
        .check(
            check("t")
                .plugin("echo")
                .interval("1h")
                .set("retry_interval", "\"1h\"")
                .set("attempts", "2")
                .set("config", "{ status = \"critical\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["t"]);
    let row = watch.until("a first result", |r| r["status"] == "critical");
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&"pending".into(), &1.into())
    );
    assert_eq!(daemon.run("t")["verdict"], "critical");
}

#[test]
fn what_a_plugin_may_not_return_is_unknown_and_says_so() {
    let mut config = Config::new()
        .only_asked()
        .plugin_file(fixtures::fixture("echo"));
    let cases = [
        (42, "returned 42 from run", "plugin-error"),
        (100, "returned 100 from run", "plugin-error"),
        (-77, "returned -77 from run", "plugin-error"),
        (-1, "rejects its config", "config"),
        (-3, "gave up unasked", "plugin-error"),
        (-4, "internal error", "plugin-error"),
        (-5, "does not support", "plugin-error"),
        (-6, "self:resources", "resources"),
    ];
    for (ret, ..) in cases {
        config = config.check(
            check(&format!("r{ret}"))
                .plugin("echo")
                .interval("1h")
                .set("config", &format!("{{ ret = {ret} }}")),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for (ret, said, fault) in cases {
        let row = daemon.run(&format!("r{ret}"));
        let message = row["message"].as_str().unwrap_or_default();
        assert_eq!(
            (&row["status"], &row["attempt"], &row["fault"]),
            (&"unknown".into(), &1.into(), &fault.into()),
            "{row}"
        );
        assert!(message.contains(said), "{row}");
    }
    // Our own lack is no attempt, however often it comes.
    for _ in 0..4 {
        assert_eq!(daemon.run("r-6")["verdict"], "pending");
        daemon.run("r-4");
    }
    assert_eq!(daemon.row("r-4")["verdict"], "unknown");
}

#[test]
fn a_run_still_in_flight_is_skipped_and_counted_not_doubled() {
    let gate = crate::harness::Gate::new();
    let daemon = Config::new()
        .plugin_file(fixtures::fixture("hold"))
        .check(
            check("slow")
                .plugin("hold_step")
                .interval("100ms")
                .timeout("1h")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let visit = gate.wait_entered();
    let mut watch = daemon.watch(&["slow"]);
    // Each due time that passes is a change of its row.
    watch.until("three due runs pass", |_| {
        daemon.detail("slow")["skipped"].as_u64() >= Some(3)
    });
    assert!(gate.is_empty());
    visit.open();
    watch.until_verdict("slow", "ok");
    gate.wait_entered().open();
}
