//! The checks about this machine inside the daemon: each kind of `plugins/host` on the real machine.

use crate::harness::{Config, Daemon, check};
use serde_json::Value;

/// A daemon with one check of this kind, and its row after one run.
fn run(kind: &str, options: &str) -> (Daemon, Value) {
    let daemon = Config::new()
        .only_asked()
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

#[test]
fn load() {
    let (daemon, row) = run("load", "{ load5_warn = 100000, load5_crit = 100000 }");
    assert_eq!(row["status"], "ok", "{row}");
    has_metric(&row, "load15");
    assert_eq!(daemon.run("it")["status"], "ok");
}

#[test]
fn process() {
    let (daemon, row) = run("process", "{ name = \"healthd-.*\", count_crit = \"2:\" }");
    assert_eq!(row["status"], "ok", "{row}");
    has_metric(&row, "rss");
    has_metric(&daemon.run("it"), "cpu");
    let (_daemon, row) = run("process", "{ name = \"no-such-program\" }");
    assert_eq!(row["status"], "critical", "{row}");
}

#[test]
fn file() {
    let folder = healthd_testing::Folder::new();
    let path = folder.write("a", "hello");
    let (daemon, row) = run(
        "file",
        &format!("{{ path = {path:?}, contains = \"hell\" }}"),
    );
    assert_eq!(row["status"], "ok", "{row}");
    has_metric(&row, "size");
    std::fs::remove_file(path).expect("our own file");
    assert_eq!(daemon.run("it")["status"], "critical");
}

#[test]
fn interface() {
    let (daemon, row) = run("interface", "{ name = \"lo\" }");
    assert_eq!(row["status"], "ok", "{row}");
    has_metric(&daemon.run("it"), "rx");
}

#[test]
fn systemd() {
    let folder = healthd_testing::Folder::new();
    let socket = folder.file("bus");
    let options = format!("{{ units = [\"x\"], socket = {socket:?} }}");
    let (_daemon, row) = run("systemd", &options);
    assert_eq!(row["status"], "unknown", "{row}");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("no such file or directory"), "{row}");
}

#[test]
fn log() {
    let folder = healthd_testing::Folder::new();
    let path = folder.write("a.log", "an error of before\n");
    let append = |text: &str| {
        let mut all = std::fs::read_to_string(&path).expect("our own file");
        all += text;
        std::fs::write(&path, all).expect("our own file");
    };
    let it = check("it").plugin("log").interval("1h");
    let options = format!("{{ path = {path:?}, pattern = [\"error\"] }}");
    // A run that nobody asked for could read a line first.
    let config = Config::new().only_asked();
    let daemon = config.check(it.set("config", &options)).spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("it");
    assert_eq!(row["status"], "ok", "{row}");
    append("an error\n");
    let row = daemon.run("it");
    assert_eq!(row["status"], "critical", "{row}");
    has_metric(&row, "matches");
    // A worker dies: the one after it goes on where that one stopped.
    append("another error\n");
    for pid in daemon.pids("io").into_values() {
        crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let row = daemon.run_anew("it");
    let metrics = row["metrics"].as_array().unwrap_or_else(|| panic!("{row}"));
    // Each line once, whichever of its runs has read it.
    let matches = metrics.iter().find(|m| m["name"] == "matches");
    assert_eq!(matches.map(|m| &m["value"]), Some(&2.0.into()), "{row}");
}

#[test]
fn journal() {
    let (_daemon, row) = run("journal", "{ journalctl = \"/no/such/program\" }");
    assert_eq!(row["status"], "unknown", "{row}");
}
