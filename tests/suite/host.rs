//! The checks about this machine inside the daemon: each kind of `plugins/host` on the real machine.

use crate::harness::{Config, Daemon, check};
use serde_json::Value;

/// A daemon with one check of this kind, and its row after one run.
fn run(kind: &str, options: &str) -> (Daemon, Value) {
    let daemon = Config::new()
        .check(
            check("it")
                .plugin(kind)
                .interval("1h")
                .set("config", options),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("it");
    (daemon, row)
}

fn has_metric(row: &Value, name: &str) {
    let metrics = row["metrics"].as_array().unwrap_or_else(|| panic!("{row}"));
    assert!(
        metrics.iter().any(|m| m["name"] == name),
        "no {name}: {row}"
    );
}

#[test]
fn disk() {
    let easy = "free_warn = \"0%\", free_crit = \"0%\", inodes_warn = 0, inodes_crit = 0";
    let (_daemon, row) = run("disk", &format!("{{ paths = [\"/\"], {easy} }}"));
    assert_eq!(row["status"], "ok", "{row}");
    has_metric(&row, "free");
    let (_daemon, row) = run("disk", "{ paths = [\"/\"], free_crit = \"100%\" }");
    assert_eq!(row["status"], "critical", "{row}");
}

#[test]
fn memory() {
    let (daemon, row) = run(
        "memory",
        "{ available_warn = \"0%\", available_crit = \"0%\" }",
    );
    assert_eq!(row["status"], "ok", "{row}");
    has_metric(&row, "available");
    // The first run had no rate: the instance of this worker remembers it.
    let row = daemon.run("it");
    if std::path::Path::new("/proc/vmstat").exists() {
        has_metric(&row, "swap_rate");
    }
}
