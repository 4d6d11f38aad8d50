//! The graceful end, seen from the checks: what runs may finish, what is cut off is not failed.

use crate::harness::{Config, Gate, check, fixtures};
use nix::sys::signal::Signal;
use serde_json::json;

fn held(gate: &Gate, name: &str, plugin: &str) -> crate::harness::Check {
    check(name)
        .plugin(plugin)
        .interval("1h")
        .timeout("1h")
        .set("config", &format!("{{ gate = {:?} }}", gate.path()))
}

#[test]
fn runs_of_every_lane_may_finish_and_their_results_are_kept() {
    let gate = Gate::new();
    let config = Config::new()
        .daemon("stop_grace", "\"60s\"")
        .plugin_file(fixtures::fixture("hold"))
        .check(held(&gate, "run", "hold"))
        .check(held(&gate, "cpu", "hold_cpu"))
        .check(held(&gate, "step", "hold_step"));
    let mut daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let visits = [
        gate.wait_entered(),
        gate.wait_entered(),
        gate.wait_entered(),
    ];
    daemon.signal(Signal::SIGTERM);
    daemon.expect_notify("STOPPING=1");
    // The service manager may hear of it before the manager does.
    daemon.expect_log("manager: stopping");
    // No new run begins.
    let refused = daemon.client().ask("run", json!({"names": ["run"]}));
    assert_eq!(refused.expect_err("it stops")["code"], "busy");
    for visit in visits {
        visit.open_with(1);
    }
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("cancelled, without a result"), "{log}");
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    for name in ["run", "cpu", "step"] {
        let row = daemon.row(name);
        assert_eq!(row["status"], "warning", "{row}");
    }
}

#[test]
fn what_outlasts_the_grace_is_cancelled_and_not_failed() {
    let gate = Gate::new();
    let config = Config::new()
        .daemon("stop_grace", "\"300ms\"")
        .plugin_file(fixtures::fixture("hold"))
        .plugin_file(fixtures::fixture("echo"))
        .check(held(&gate, "run", "hold"))
        .check(held(&gate, "step", "hold_step"))
        .check(
            check("deaf")
                .plugin("hold")
                .interval("1h")
                .timeout("1h")
                .set(
                    "config",
                    &format!("{{ gate = {:?}, deaf = true }}", gate.path()),
                ),
        );
    let mut daemon = config.spawn();
    daemon.expect_notify("READY=1");
    // Each has been ok once, and is in flight again.
    for _ in 0..3 {
        gate.wait_entered().open();
    }
    for name in ["run", "step", "deaf"] {
        let mut watch = daemon.watch(&[name]);
        watch.until_verdict(name, "ok");
        daemon
            .client()
            .send(&json!({"v": 1, "op": "run", "names": [name]}));
    }
    let mut standing = Vec::new();
    while standing.len() < 3 {
        standing.push(gate.wait_entered());
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
    for visit in standing {
        visit.assert_hung_up();
    }
    let log = daemon.log.all().join("\n");
    assert!(
        !log.contains("to=critical") && !log.contains("to=unknown"),
        "{log}"
    );
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    for name in ["run", "step", "deaf"] {
        let row = daemon.row(name);
        assert_eq!(
            (&row["verdict"], &row["attempt"]),
            (&"ok".into(), &1.into()),
            "{row}"
        );
    }
}
