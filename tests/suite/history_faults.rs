//! What may befall the file of history and its clock: checks run on, what is lost is told, and what can be kept is kept.

use crate::harness::ctl::wait_for;
use crate::harness::{Daemon, ReadOnly, kill, skipped, state};
use crate::history::{config, flip, history, recorder, stop, until_verdicts};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn runs_on(daemon: &Daemon) {
    let runs = || daemon.detail("moody")["runs"].as_u64();
    let before = runs();
    wait_for("it runs on", || runs() > before);
}

/// Whatever the recorder has read before is good to it; the next one looks through the file first.
#[test]
fn a_page_that_is_written_over_under_way_is_found_by_the_next_recorder() {
    const PAGE: u64 = 4096;
    let (config, dir) = config();
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["moody"]);
    until_verdicts(&daemon, &["ok"]);
    let path = dir.join("state/history.db");
    let length = || std::fs::metadata(&path).map_or(0, |m| m.len());
    // The first look moves what was begun from the log into the file.
    wait_for("all tables are in the file", || length() > 12 * PAGE);
    let first = recorder(&daemon);
    kill(first, Signal::SIGSTOP);
    let file = std::fs::File::options().write(true).open(&path);
    let file = file.expect("it is there");
    // All but the first page. What the log has of them counts more, and most of them are not in it.
    for page in 1..length() / PAGE {
        file.write_all_at(&[0xa5; PAGE as usize], page * PAGE)
            .expect("our own file");
    }
    kill(first, Signal::SIGKILL);
    daemon.expect_log("history is not written: history.db is damaged");
    daemon.expect_log("a new history is begun");
    assert!(dir.join("state/history.db.broken").exists());
    assert_eq!(state(first), None);
    flip(&daemon, true);
    wait_for("the new one has it", || {
        let said = daemon.healthctl(&["--json", "history", "moody"]);
        said.out.contains("\"critical\"")
    });
    stop(daemon);
}

/// Killed when dropped, and what it holds is let go.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Operator {
    /// Has a transaction open that writes. None: there is no python3.
    fn holds(path: &Path) -> Option<Operator> {
        let script = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
            db.execute('BEGIN IMMEDIATE')\n\
            print('held', flush=True)\n\
            sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let said = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        let _ = BufReader::new(said).read_line(&mut line);
        assert_eq!(line, "held\n");
        Some(Operator(child))
    }
}

#[test]
fn an_operator_with_an_open_transaction_costs_no_check_and_no_event() {
    let (config, dir) = config();
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["moody"]);
    until_verdicts(&daemon, &["ok"]);
    let Some(operator) = Operator::holds(&dir.join("state/history.db")) else {
        return skipped("python3 is missing");
    };
    for bad in [true, false, true] {
        flip(&daemon, bad);
    }
    daemon.expect_log("history is not written: another process writes to history.db");
    runs_on(&daemon);
    drop(operator);
    daemon.expect_log("history is written again");
    until_verdicts(&daemon, &["ok", "critical", "ok", "critical"]);
    stop(daemon);
}

#[test]
fn a_folder_that_is_read_only_costs_no_check_and_no_event() {
    let (config, dir) = config();
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["moody"]);
    until_verdicts(&daemon, &["ok"]);
    let Some(read_only) = ReadOnly::over(&dir.join("state")) else {
        return skipped("a folder cannot be made read-only here");
    };
    // Who has the file open writes on; the next one cannot open it.
    kill(recorder(&daemon), Signal::SIGKILL);
    daemon.expect_log("history is not written: cannot open");
    flip(&daemon, true);
    flip(&daemon, false);
    runs_on(&daemon);
    drop(read_only);
    daemon.expect_log("history is written again");
    until_verdicts(&daemon, &["ok", "critical", "ok"]);
    stop(daemon);
}

/// The wall clock jumps by an hour, back and on: no run is counted twice or lost, and no time of one.
#[test]
fn a_clock_that_is_set_loses_and_doubles_nothing() {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    if !Path::new(library).exists() {
        return skipped("faketime is not installed");
    }
    let (config, dir) = config();
    let offset = dir.join("offset");
    let set = |to: &str| {
        let temp = dir.join("offset.new");
        std::fs::write(&temp, to).expect("our own folder");
        std::fs::rename(temp, &offset).expect("our own folder");
    };
    set("+0");
    let daemon = config
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_NO_CACHE", "1")
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["moody"]);
    until_verdicts(&daemon, &["ok"]);
    let mut wanted = vec!["ok"];
    for (to, bad) in [
        ("-3600", true),
        ("+0", false),
        ("+3600", true),
        ("+0", false),
    ] {
        set(to);
        flip(&daemon, bad);
        wanted.push(if bad { "critical" } else { "ok" });
        // In the order in which it happened, whatever the clock said.
        until_verdicts(&daemon, &wanted);
    }
    // Nothing more is counted once nothing runs: then both have the same.
    daemon.ask("pause", serde_json::json!({ "names": ["moody"] }));
    wait_for("no run is under way", || daemon.in_flight() == 0);
    let runs = daemon.detail("moody")["runs"].as_u64();
    let daemon = stop(daemon);
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    let counted = || -> Option<u64> {
        let said = daemon.healthctl(&["--json", "history", "moody"]);
        let found: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        let rows = found["rollups"].as_array()?;
        Some(rows.iter().filter_map(|row| row["runs"].as_u64()).sum())
    };
    wait_for("each run is counted", || counted() >= runs);
    // No two rows are of the same time.
    let rows = history(&daemon)["rollups"].clone();
    assert_eq!(counted(), runs, "once: {rows}");
    let mut starts: Vec<String> = (rows.as_array().into_iter().flatten())
        .map(|row| row["start"].to_string())
        .collect();
    let all = starts.len();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), all, "{rows}");
    stop(daemon);
}
