//! Who writes a notifier by the letter of daemon/docs/notifier.md has one that tells: pasted, built, and run in a daemon.

use crate::alerts::{add, config, report, route, say, told, until_all_are_ok, until_verdict};
use crate::authors::{Walk, beside_a_clone, follow, tree};
use crate::harness::ctl::wait_for;
use crate::harness::receiver::{Got, Receiver, unpaired};
use crate::harness::{Daemon, Small, fixtures, kill, skipped};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

const WALKS: [Walk; 2] = [
    Walk {
        section: "In Rust",
        files: &[("toml", "ledger/Cargo.toml"), ("rust", "ledger/src/lib.rs")],
        library: "ledger/target/release/libledger.so",
        plugin: "ledger",
        config: "",
        needs: "cargo",
    },
    Walk {
        section: "In C",
        files: &[("c", "journal.c")],
        library: "libjournal_file.so",
        plugin: "journal_file",
        config: "",
        needs: "cc",
    },
];

#[test]
fn the_page_makes_a_notifier_in_each_language() {
    let page = fs::read_to_string(tree().join("daemon/docs/notifier.md")).expect("shipped");
    let clone = beside_a_clone();
    let mut config = config();
    let dir = config.dir().to_owned();
    let mut made = Vec::new();
    for walk in WALKS.iter().filter(|w| w.can_be_built()) {
        let file = follow(walk, &page, clone.path());
        let lines = dir.join(format!("{}.txt", walk.plugin));
        config = config.plugin_file(file).notify(&format!(
            "plugin = {:?}\nwait = \"0s\"\nconfig = {{ path = {lines:?} }}\n",
            walk.plugin
        ));
        made.push((walk.plugin, lines));
    }
    let daemon = config.check(told(&dir, "web")).spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    wait_for("both are told", || {
        let open = report(&daemon);
        let told = open["notices"].as_array().into_iter().flatten();
        told.filter(|n| n["state"] == "told").count() == made.len()
    });
    let notices = report(&daemon)["notices"].clone();
    for notice in notices.as_array().into_iter().flatten() {
        let receipt = notice["receipt"].as_str().expect("a receipt");
        assert!(receipt.contains("written"), "{receipt}");
    }
    say(&dir, "web", "ok fine");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    for (plugin, lines) in &made {
        let text = fs::read_to_string(lines).expect("it was written");
        let kinds: Vec<&str> = text.lines().filter_map(|l| l.split(' ').nth(2)).collect();
        assert_eq!(kinds, ["problem", "recovery"], "{plugin}: {text}");
        let ids: Vec<&str> = text.lines().filter_map(|l| l.split(' ').nth(1)).collect();
        assert_eq!(ids[0], ids[1], "{plugin}: {text}");
    }
    // A receiver that cannot be reached is a refusal, with its reason.
    if let Some((plugin, _)) = made.first() {
        // A file is no folder.
        let nowhere = dir.join("web/x");
        let route = format!(
            "[[notify]]\nname = \"nowhere\"\nplugin = {plugin:?}\nconfig = {{ path = {nowhere:?} }}\n"
        );
        add(&daemon, &route);
        let said = daemon.healthctl(&["alerts", "test", "nowhere"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.out.starts_with("nowhere: refused: "), "{said:?}");
    }
}

fn notice_on(daemon: &Daemon, route: &str) -> Value {
    let open = report(daemon);
    let notices = open["notices"].as_array().into_iter().flatten();
    notices
        .into_iter()
        .find(|n| n["route"] == route)
        .cloned()
        .unwrap_or_default()
}

/// What it does to its worker it does to its own messages: other routes tell, and no check loses a run.
#[test]
fn a_notifier_that_crashes_hangs_spins_or_leaks_hurts_its_own_route() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let mood = dir.join("mood");
    let bad = format!(
        "name = \"bad\"\nplugin = \"notifier\"\nwait = \"0s\"\nconfig = {{ mood = {mood:?} }}\n"
    );
    let daemon = config
        // Not one of healthd's own: it has a worker of its own, as anywhere.
        .strangers()
        .plugin_file(fixtures::fixture("notifier"))
        .check(told(&dir, "web").set("flap", "\"never\""))
        .notify(&bad)
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    for (n, (letter, why)) in [
        ("crash", "SIGSEGV"),
        ("hang", ""),
        ("spin", ""),
        ("leak", "leaked"),
    ]
    .into_iter()
    .enumerate()
    {
        say(&dir, "mood", letter);
        say(&dir, "web", "critical it is down");
        let of = |kind: &'static str| move |g: &Got| g.accepted && g.text("kind") == kind;
        receiver.wait(letter, n + 1, of("problem"));
        wait_for("the other one is not told, and it is known why", || {
            let refusal = notice_on(&daemon, "bad")["refusal"].clone();
            refusal.as_str().is_some_and(|r| r.contains(why))
        });
        say(&dir, "mood", "well");
        say(&dir, "web", "ok fine");
        receiver.wait(letter, n + 1, of("recovery"));
        wait_for("it is told in the end", || {
            report(&daemon)["notices"] == json!([])
        });
    }
    unpaired(&receiver.all()).expect("each problem has its end");
    let workers = daemon.ask("workers", json!({}));
    let checks = workers.iter().filter(|w| w["class"] == "io");
    for worker in checks {
        assert_eq!(worker["lost"], 0, "{worker}");
    }
}

/// Only what the disk never had is told again, or twice, after all power is cut.
#[test]
fn a_full_disk_tells_all_and_a_power_cut_after_it_what_it_never_had() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let Some(disk) = Small::mount(&dir.join("state"), "4m") else {
        return skipped("a small file system cannot be mounted here");
    };
    let mut daemon = config
        .check(told(&dir, "web"))
        .check(told(&dir, "db"))
        .notify(&(route("hook", &receiver) + "by = \"check\"\n"))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    let before = receiver.accepted("problem");
    wait_for("it is told", || {
        notice_on(&daemon, "hook")["state"] == "told"
    });
    let filler = disk.fill();
    // What is written already may have room left behind it.
    for n in 0..40 {
        let said = daemon.healthctl(&["silence", &format!("none-{n}"), "--for", "1h"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    daemon.expect_log("who was told of what cannot be written");
    // Both happen while the disk takes nothing: the end of one, and another problem.
    say(&dir, "web", "ok fine");
    receiver.accepted("recovery");
    say(&dir, "db", "critical no disk");
    let problems = |g: &Got| g.accepted && g.text("kind") == "problem";
    receiver.wait("the second", 2, problems);
    wait_for("it is told", || {
        notice_on(&daemon, "hook")["state"] == "told"
    });
    // A manager that dies forgets nothing: its memory is elsewhere.
    kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_log("ready  ");
    wait_for("the next manager knows it", || {
        notice_on(&daemon, "hook")["checks"] == json!(["db"])
    });
    assert_eq!(receiver.all().len(), 3, "{:#?}", receiver.all());
    // The power is cut.
    for pid in [daemon.pid(), daemon.manager()] {
        kill(pid, Signal::SIGKILL);
    }
    daemon.wait_exit();
    fs::remove_file(filler).expect("our own file");
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    // The disk knows of the first problem alone: its end comes again, with another id, and the second problem too.
    let ends = |g: &Got| g.accepted && g.text("kind") == "recovery";
    let ends = receiver.wait("the end once more", 2, ends);
    assert!(
        ends.iter()
            .all(|g| g.body["notice"] == before.body["notice"])
    );
    receiver.wait("the second problem once more", 3, problems);
    say(&dir, "db", "ok fine");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    let all = receiver.all();
    let of = |kind: &str| all.iter().filter(|g| g.text("kind") == kind).count();
    println!(
        "after a full disk and a power cut: {} problems and {} ends for 2 problems",
        of("problem"),
        of("recovery")
    );
    assert_eq!((of("problem"), of("recovery")), (3, 3), "{all:#?}");
}

/// The wall clock jumps by an hour, on and back: what waits goes by the other clock, and nobody is told of it.
#[test]
fn a_clock_that_is_set_tells_nobody() {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    if !std::path::Path::new(library).exists() {
        return skipped("faketime is not installed");
    }
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let offset = dir.join("offset");
    let set = |to: &str| {
        let temp = dir.join("offset.new");
        fs::write(&temp, to).expect("our own folder");
        fs::rename(temp, &offset).expect("our own folder");
    };
    set("+0");
    let daemon = config
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_NO_CACHE", "1")
        // It reads its file in each process.
        .pool("io", "sandbox = \"off\"")
        .check(told(&dir, "web"))
        .check(told(&dir, "db"))
        .notify(&(route("hook", &receiver) + "repeat = \"1h\"\n"))
        .alerts("[[maintenance]]\nmatch = \"none\"\nwhen = \"mon-sun 00:00-24:00 UTC\"\n")
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    receiver.accepted("problem");
    daemon.healthctl(&["silence", "db", "--for", "30m"]);
    let clocks = |daemon: &Daemon| {
        let events = daemon.ask("events", json!({}));
        let steps = events.iter().filter(|e| e["kind"] == "clock");
        steps
            .filter_map(|e| e["step_ms"].as_i64())
            .collect::<Vec<_>>()
    };
    set("-3600");
    wait_for("an hour back", || {
        clocks(&daemon).iter().any(|ms| *ms < -3_500_000)
    });
    say(&dir, "db", "critical no disk");
    until_verdict(&daemon, "db", "critical");
    set("+0");
    wait_for("and on", || {
        clocks(&daemon).iter().any(|ms| *ms > 3_500_000)
    });
    // Neither a second message, nor the end of the silence before its time.
    assert_eq!(receiver.all().len(), 1, "{:#?}", receiver.all());
    set("+3600");
    wait_for("an hour on", || {
        clocks(&daemon).iter().filter(|ms| **ms > 3_500_000).count() == 2
    });
    // By the clock on the wall it is over now: that is what a silence goes by.
    let of_db = |g: &Got| g.accepted && g.body["checks"][0]["name"] == "db";
    receiver.wait("the silence is over", 1, of_db);
    set("+0");
    say(&dir, "web", "ok fine");
    say(&dir, "db", "ok fine");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    unpaired(&receiver.all()).expect("each problem has its end");
    let repeats = receiver
        .all()
        .iter()
        .filter(|g| g.text("kind") == "repeat")
        .count();
    assert_eq!(repeats, 0, "a repeat goes by the clock that nobody sets");
}
