//! History: what happened is written down once and in order, whatever becomes of the recorder, its file and its disk;
//! and checks never notice.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, Small, check, kill, skipped, state};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Critical while the file `bad` lies there.
fn moody(dir: &Path) -> Check {
    let script = format!("test ! -e {}/bad || exit 2", dir.display());
    check("moody")
        .script(&script)
        .interval("100ms")
        .set("attempts", "1")
        .set("slo", "\"99.9% 30d\"")
}

pub fn config() -> (Config, PathBuf) {
    let config = Config::new().section(
        "history",
        "max_size = \"16MiB\"\nslo = { \"mood*\" = \"50% 1h\" }",
    );
    let dir = config.dir().to_owned();
    (config.check(moody(&dir)), dir)
}

pub fn stop(mut daemon: Daemon) -> Daemon {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
    daemon
}

pub fn flip(daemon: &Daemon, bad: bool) {
    let file = daemon.dir().join("bad");
    let mut watch = daemon.watch(&["moody"]);
    match bad {
        true => std::fs::write(&file, "").expect("our own directory"),
        false => std::fs::remove_file(&file).expect("it is there"),
    }
    watch.until_verdict("moody", if bad { "critical" } else { "ok" });
}

pub fn history(daemon: &Daemon) -> Value {
    daemon.healthctl(&["--json", "history", "moody"]).json()
}

/// Over all roll-ups: the test may run when one ends.
fn sum(daemon: &Daemon, key: &str) -> u64 {
    let said = daemon.healthctl(&["--json", "history", "moody"]);
    let found: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let rows = found["rollups"].as_array().into_iter().flatten();
    rows.filter_map(|row| row[key].as_u64()).sum()
}

/// The verdicts that it became, in order.
fn verdicts(daemon: &Daemon) -> Vec<String> {
    let said = daemon.healthctl(&["--json", "history", "moody"]);
    let Ok(found) = serde_json::from_str::<Value>(&said.out) else {
        return Vec::new();
    };
    let events = found["events"].as_array().cloned().unwrap_or_default();
    let flips = events.iter().filter(|e| e["kind"] == "flipped");
    flips
        .map(|e| e["to"].as_str().expect("a word").to_owned())
        .collect()
}

pub fn until_verdicts(daemon: &Daemon, wanted: &[&str]) {
    wait_for(&format!("{wanted:?}"), || verdicts(daemon) == wanted);
}

pub fn recorder(daemon: &Daemon) -> u32 {
    match daemon.role("recorder")[..] {
        [pid] => pid,
        ref others => daemon.fail(&format!("one recorder was expected: {others:?}")),
    }
}

#[test]
fn runs_and_flips_are_kept_over_every_death_and_a_restart() {
    let (config, _) = config();
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["moody"]);
    until_verdicts(&daemon, &["ok"]);
    flip(&daemon, true);
    // Dead while it happens.
    let first = recorder(&daemon);
    kill(first, Signal::SIGKILL);
    flip(&daemon, false);
    daemon.expect_log("recorder died");
    until_verdicts(&daemon, &["ok", "critical", "ok"]);
    assert_eq!(state(first), None);
    // Stopped while it happens; and the manager dies.
    let second = recorder(&daemon);
    kill(second, Signal::SIGSTOP);
    flip(&daemon, true);
    kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_notify("READY=1");
    flip(&daemon, false);
    kill(second, Signal::SIGCONT);
    let all = ["ok", "critical", "ok", "critical", "ok"];
    until_verdicts(&daemon, &all);
    wait_for("roll-ups of ten runs, two of them bad", || {
        sum(&daemon, "runs") > 10 && sum(&daemon, "bad") >= 2
    });
    let (runs, bad) = (sum(&daemon, "runs"), sum(&daemon, "bad"));
    assert!(bad < runs, "{bad} of {runs}");
    let rollup = history(&daemon)["rollups"][0].clone();
    let n = |key: &str| {
        rollup[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {rollup}"))
    };
    assert!(n("p50") <= n("p95") && n("p95") <= n("max") && n("mean") > 0.0);

    // What it had counted goes on over a stop, and the stop itself is there.
    let daemon = stop(daemon);
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    wait_for("more runs than before", || sum(&daemon, "runs") > runs);
    until_verdicts(&daemon, &all);
    // The stop may have been faster than its last look: then the next recorder writes of it.
    let row = || daemon.healthctl(&["--json", "report", "moody"]).json()[0].clone();
    wait_for("a time of which nobody knows", || {
        row()["unknown_s"].as_f64() > Some(0.0)
    });
    let row = row();
    let n = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
    assert_eq!(n("failures"), 2.0);
    let known = n("up_s") + n("down_s");
    assert!((n("availability") - n("up_s") / known).abs() < 1e-9);
    assert!(n("down_s") > 0.0 && n("mttr_s") > 0.0 && n("mtbf_s") > 0.0);
    for args in [&["history", "moody"][..], &["report"], &["report", "--csv"]] {
        let said = daemon.healthctl(args);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(
            said.out.contains("moody") && said.err.is_empty(),
            "{said:?}"
        );
    }
    // Its own objective is long missed; that of all whose names begin so may hold.
    assert_eq!(row["slo"]["objective"], 0.999);
    assert!(row["slo"]["budget_left"].as_f64() < Some(0.0), "{row}");
    assert!(row["slo"]["burn_1h"].as_f64() > Some(1.0), "{row}");
    assert!(row["slo"]["verdict"].is_string(), "{row}");
    let rows = daemon.healthctl(&["--json", "report", "moody"]).json();
    assert_eq!(rows[1]["name"], "mood*", "{rows}");
    assert_eq!(rows[1]["slo"]["checks"], 1);
    // As it was when the first failure ended; and of a time before all.
    let events = history(&daemon)["events"].clone();
    let flips = events.as_array().into_iter().flatten();
    let mut flips = flips.filter(|e| e["kind"] == "flipped");
    let ended = flips.nth(2).expect("five flips")["time"].clone();
    let until = |time: &str| daemon.healthctl(&["--json", "report", "moody", "--until", time]);
    let then = until(ended.as_str().expect("a time")).json()[0].clone();
    assert_eq!(then["failures"], 1, "{then}");
    assert_eq!(then["is_down"], true, "{then}");
    assert!(then["down_s"].as_f64() < row["down_s"].as_f64(), "{then}");
    let before = until("2020-01-31");
    assert_eq!(before.code, Some(3));
    assert!(before.err.contains("nothing is known of"), "{before:?}");
    let wrong = daemon.healthctl(&["report", "--since", "1m", "--until", "2m"]);
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    let way = "--since has to be before --until";
    assert!(wrong.err.contains(way), "{wrong:?}");
    let said = daemon.healthctl(&["report"]);
    assert!(
        ["99.9 % 30d", "BURN 1H", "VERDICT"]
            .iter()
            .all(|part| said.out.contains(part)),
        "{said:?}"
    );
    let said = daemon.healthctl(&["calibrate", "moody"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("2 problems are over"), "{said:?}");
    let wrong = daemon.healthctl(&["history", "moodi"]);
    assert!(wrong.err.contains("did you mean `moody`?"), "{wrong:?}");
    stop(daemon);
}

#[test]
fn a_damaged_file_is_put_aside_and_another_one_begun() {
    let (config, dir) = config();
    std::fs::create_dir(dir.join("state")).expect("our own directory");
    let file = dir.join("state/history.db");
    std::fs::write(&file, [7; 8192]).expect("our own directory");
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("history is not written: history.db is damaged");
    daemon.expect_log("a new history is begun");
    until_verdicts(&daemon, &["ok"]);
    let aside = std::fs::read(dir.join("state/history.db.broken")).expect("kept");
    assert_eq!(aside, [7; 8192]);
    let said = daemon.healthctl(&["history", "moody"]);
    assert!(said.out.contains("history.db.broken"), "{said:?}");
    assert_eq!(history(&daemon)["gaps"][0]["kind"], "history-broken");
    stop(daemon);
}

#[test]
fn a_full_disk_costs_no_check_and_no_event() {
    let (config, dir) = config();
    let Some(disk) = Small::mount(&dir.join("state"), "4m") else {
        return skipped("a small file system cannot be mounted here");
    };
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["moody"]);
    until_verdicts(&daemon, &["ok"]);
    let filler = disk.fill();
    for bad in [true, false, true, false] {
        flip(&daemon, bad);
    }
    daemon.expect_log("history is not written: the disk is full");
    let runs = daemon.detail("moody")["runs"].as_u64();
    wait_for("it runs on", || {
        daemon.detail("moody")["runs"].as_u64() > runs
    });
    std::fs::remove_file(filler).expect("our own file");
    daemon.expect_log("history is written again");
    until_verdicts(&daemon, &["ok", "critical", "ok", "critical", "ok"]);
    stop(daemon);
}

#[test]
fn validate_tells_what_it_will_take() {
    let names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let many = check("many/{item}").script("true");
    let (config, _) = config();
    let config = config.check(many.set("for_each", &format!("{names:?}")));
    let written = config.write();
    let done = written.run(&["-t"]);
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{done:?}");
    assert!(
        out.contains("history: 16.0 MiB when it is full, of at most 16.0 MiB"),
        "{out}"
    );
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("`max_size` of [history] is 16.0 MiB"),
        "{said}"
    );
}

/// A stopped recorder misses what the ring of events has no room for: counted to the event, and told.
#[test]
fn what_a_stopped_recorder_misses_is_counted_to_the_event() {
    const RING: u64 = 4096;
    let names: Vec<String> = (0..1500).map(|n| n.to_string()).collect();
    let many = check("many/{item}").script("true").interval("1h");
    let (config, _) = config();
    let config = config.check(many.set("for_each", &format!("{names:?}")));
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("pause", serde_json::json!({ "names": ["*"] }));
    // Runs that were under way end first: nothing happens then but what we do. Number and check of the newest event.
    let last = || {
        wait_for("no run is under way", || daemon.in_flight() == 0);
        // About a check, whatever was told last: that the machine stood still is about none.
        daemon.ask("pause", serde_json::json!({ "names": ["moody"] }));
        let all = daemon.ask("events", serde_json::json!({}));
        let newest = all.iter().rfind(|e| e["check"] == "moody");
        let seq = newest.expect("it was paused")["seq"].as_u64();
        (seq.expect("a number"), "moody".to_owned())
    };
    let written = |(wanted, check): &(u64, String)| {
        let said = daemon.healthctl(&["--json", "history", check]);
        let found: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let seqs = found["events"].as_array().cloned().unwrap_or_default();
        seqs.iter().any(|e| e["seq"].as_u64() == Some(*wanted))
    };
    let newest = || {
        let all = daemon.ask("events", serde_json::json!({}));
        let seq = all.last().expect("it was paused")["seq"].as_u64();
        seq.expect("a number")
    };
    let before = last();
    wait_for("all is written", || written(&before));
    let pid = recorder(&daemon);
    kill(pid, Signal::SIGSTOP);
    // Where the machine stood still meanwhile that was told, and the recorder may have it or not.
    let stopped = newest();
    for op in ["resume", "pause", "resume", "pause"] {
        daemon.ask(op, serde_json::json!({ "names": ["*"] }));
    }
    let after = last();
    assert!(after.0 - before.0 > RING, "{before:?} {after:?}");
    kill(pid, Signal::SIGCONT);
    let line = daemon.expect_log("missed=");
    let (_, missed) = line.split_once("missed=").expect("it has it");
    let missed = missed.split([' ', '"']).next().and_then(|n| n.parse().ok());
    let missed: u64 = missed.unwrap_or_else(|| panic!("no number: {line}"));
    wait_for("the rest is written", || written(&after));
    let (least, most) = (after.0 - RING - stopped, newest() - RING - before.0);
    assert!((least..=most).contains(&missed), "{least} {most}: {line}");
    let said = daemon.healthctl(&["history", &after.1]);
    assert!(
        said.err.contains(&format!("{missed} events were lost")),
        "{said:?}"
    );
    assert!(
        said.out.contains(&format!("{missed} events, until ")),
        "{said:?}"
    );
    stop(daemon);
}
