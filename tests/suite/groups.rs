//! `exclusive` and `max_parallel`: never more at once than allowed, whatever happens to those that run or wait.

use crate::harness::ctl::{let_others_run, wait_for};
use crate::harness::{
    Check, Config, DEADLINE, Daemon, Gate, Leash, Tracer, check, children, fixtures, kill,
};
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

fn config() -> Config {
    Config::new()
        .plugin_file(fixtures::fixture("solo"))
        .plugin_file(fixtures::fixture("hold"))
}

/// Stands at the gate until it is opened, and holds `file` meanwhile.
fn solo(name: &str, file: &Path, gate: &Gate) -> Check {
    let gate = gate.path();
    check(name)
        .plugin("solo_step")
        .interval("1h")
        .timeout("2m")
        .set("config", &format!("{{ file = {file:?}, gate = {gate:?} }}"))
}

/// Asks for a run and does not wait for it.
fn ask_for_run(daemon: &Daemon, name: &str) -> crate::harness::ctl::Client {
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": [name]}));
    let started = client.line().expect("run answers");
    assert_eq!(started["type"], "started", "{started}");
    client
}

fn why(daemon: &Daemon, name: &str) -> String {
    daemon.told_by_daemon(&["why", name]).out
}

fn until_why(daemon: &Daemon, name: &str, what: &str) {
    let begun = Instant::now();
    loop {
        let said = why(daemon, name);
        if said.contains(what) {
            return;
        }
        if begun.elapsed() > DEADLINE {
            daemon.fail(&format!("never seen `{what}`: {said}"));
        }
        let_others_run();
    }
}

#[test]
fn one_waits_for_the_other_through_a_death_a_pause_and_a_reload() {
    let gate = Gate::new();
    let config = config();
    let file = config.dir().join("alone");
    let group = |c: Check, groups: &str| c.set("exclusive", groups);
    let a = || group(solo("a", &file, &gate), "\"db\"");
    let b = || group(solo("b", &file, &gate), "[\"db\", \"disk\"]");
    let c = || group(solo("c", &file, &gate), "\"db\"");
    // Of another group: it does not wait.
    let d = || group(solo("d", &config_other(&file), &gate), "\"tape\"");
    let daemon = config.check(a()).check(b()).check(c()).check(d()).spawn();
    daemon.expect_notify("READY=1");
    // The first runs come by themselves, spread over seconds: each in its turn.
    for _ in 0..4 {
        gate.wait_entered().open();
    }
    for name in ["a", "b", "c", "d"] {
        until_why(&daemon, name, "verdict ok");
    }
    let mut first = ask_for_run(&daemon, "a");
    let at_gate = gate.wait_entered();
    assert_eq!(at_gate.check, "a");
    let mut second = ask_for_run(&daemon, "b");
    let third = ask_for_run(&daemon, "c");
    let mut other = ask_for_run(&daemon, "d");
    let beside = gate.wait_entered();
    assert_eq!(beside.check, "d");
    beside.open();
    assert_eq!(other.answer().expect("d runs")[0]["status"], "ok");
    until_why(
        &daemon,
        "b",
        "its turn in group db has not come; in there: a for",
    );
    // Its worker dies: it runs elsewhere, and the others go on waiting.
    kill(at_gate.pid, Signal::SIGKILL);
    let again = gate.wait_entered();
    assert_eq!((again.check.as_str(), again.attempt), ("a", 2));
    assert!(gate.is_empty());
    // A reload that moves one of those that wait to another group lets it in.
    drop(third);
    let moved = group(solo("c", &config_other(&file), &gate), "\"tape\"");
    daemon.written.rewrite(&[a(), b(), moved, d()]);
    let said = daemon.healthctl(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let beside = gate.wait_entered();
    assert_eq!(beside.check, "c");
    beside.open();
    again.open();
    assert_eq!(first.answer().expect("a runs")[0]["status"], "ok");
    let visit = gate.wait_entered();
    assert_eq!(visit.check, "b");
    // One that waits and is removed leaves the line; the next is let in.
    let _gone = ask_for_run(&daemon, "a");
    until_why(&daemon, "a", "its turn in group db");
    daemon.written.rewrite(&[b(), c(), d()]);
    assert_eq!(daemon.healthctl(&["reload"]).code, Some(0));
    let mut last = ask_for_run(&daemon, "c");
    visit.open();
    assert_eq!(second.answer().expect("b runs")[0]["status"], "ok");
    gate.wait_entered().open();
    assert_eq!(last.answer().expect("c runs")[0]["status"], "ok");
    daemon.workers();
}

fn config_other(file: &Path) -> std::path::PathBuf {
    file.with_extension("other")
}

#[test]
fn whose_turn_does_not_come_within_its_interval_says_so_and_keeps_its_verdict() {
    let gate = Gate::new();
    let config = config();
    let file = config.dir().join("alone");
    let daemon = config
        .only_asked()
        .check(solo("long", &file, &gate).set("exclusive", "\"db\""))
        .check(
            check("short")
                .plugin("solo")
                .interval("300ms")
                .set("exclusive", "\"db\"")
                .set("config", &format!("{{ file = {file:?} }}")),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["short"]);
    watch.until_verdict("short", "ok");
    let _asked = ask_for_run(&daemon, "long");
    let visit = gate.wait_entered();
    let row = watch.until("its turn did not come", |r| r["status"] == "unknown");
    let message = row["message"].as_str().expect("a message");
    assert_eq!(row["fault"], "exclusive", "{row}");
    assert!(
        message.starts_with(
            "self:exclusive: its turn in group `db` did not come within its interval of 300 ms"
        ) && message.contains("in there: long for"),
        "{message}"
    );
    assert_eq!(row["verdict"], "ok");
    visit.open();
    let row = watch.until("it runs again", |r| r["status"] == "ok");
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&"ok".into(), &1.into())
    );
}

#[test]
fn a_pause_lets_the_next_in_line_go() {
    let gate = Gate::new();
    let mut config = config();
    let file = config.dir().join("alone");
    for name in ["long", "next"] {
        config = config.check(solo(name, &file, &gate).set("exclusive", "\"g\""));
    }
    // It waits by itself, as nobody asked for it.
    let daemon = config
        .check(
            check("waits")
                .plugin("solo")
                .interval("1h")
                .set("exclusive", "\"g\"")
                .set("config", &format!("{{ file = {file:?} }}")),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let visit = gate.wait_entered();
    let next = if visit.check == "long" {
        "next"
    } else {
        "long"
    };
    wait_for("both others have come to their turn", || {
        ["waits", next].iter().all(|n| {
            !why(&daemon, n).contains("it has not run yet")
                || why(&daemon, n).contains("its turn in group g")
        })
    });
    let said = daemon.healthctl(&["pause", "waits", "--reason", "test"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!why(&daemon, "waits").contains("its turn in group g"));
    visit.open();
    let visit = gate.wait_entered();
    assert_eq!(visit.check, next);
    visit.open();
}

#[test]
fn a_block_runs_at_most_so_many_at_once() {
    let gate = Gate::new();
    let path = gate.path();
    let daemon = config()
        .check(
            check("block/{item}")
                .plugin("hold_step")
                .interval("1h")
                .timeout("2m")
                .set("for_each", "\"0..7\"")
                .set("max_parallel", "3")
                .set("config", &format!("{{ gate = {path:?} }}")),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    // The first runs come by themselves; after them nothing happens unasked for an hour.
    for _ in 0..7 {
        gate.wait_entered().open();
    }
    for n in 0..7 {
        until_why(&daemon, &format!("block/{n}"), "verdict ok");
    }
    let in_line = || {
        (0..7)
            .filter(|n| {
                why(&daemon, &format!("block/{n}")).contains("its turn in block block/{item}")
            })
            .count()
    };
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["block/*"]}));
    let mut inside: Vec<_> = (0..3).map(|_| gate.wait_entered()).collect();
    for waiting in (0..4).rev() {
        wait_for("three run and the rest waits", || in_line() == waiting + 1);
        assert!(gate.is_empty());
        let shown = daemon.ask("objects", json!({}));
        let block = shown.iter().find(|o| o["kind"] == "block");
        let block = block.expect("the block is shown");
        assert_eq!(
            (&block["name"], &block["most"]),
            (&json!("block/{item}"), &json!(3)),
            "{block}"
        );
        let count = |who: &str| block[who].as_array().map_or(0, Vec::len);
        assert_eq!((count("holders"), count("waiters")), (3, waiting + 1));
        inside.remove(0).open();
        inside.push(gate.wait_entered());
    }
    inside.into_iter().for_each(|v| v.open());
    let rows = client.answer().expect("all run");
    assert_eq!(
        rows.iter().filter(|r| r["status"] == "ok").count(),
        7,
        "{rows:?}"
    );
}

/// Many checks and two groups, two workers and a worker that is killed again and again: the plugin itself sees
/// whether another is beside it.
#[test]
fn never_two_at_once_while_workers_die() {
    let config = config();
    let dir = config.dir().to_owned();
    let mut config = config.pool("io", "workers = 2");
    for n in 0..12 {
        let file = dir.join(format!("group-{}", n % 2));
        config = config.check(
            check(&format!("c{n}"))
                .plugin("solo")
                .interval("1h")
                .set("exclusive", &format!("\"g{}\"", n % 2))
                .set("config", &format!("{{ file = {file:?} }}")),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for round in 0..30 {
        let mut client = daemon.client();
        client.send(&json!({"v": 1, "op": "run"}));
        if round % 5 == 4 {
            for pid in daemon.pids("io").values().take(1) {
                kill(*pid, Signal::SIGKILL);
            }
        }
        let rows = client.answer().expect("all run");
        let done = rows.iter().filter(|r| r["type"] == "check");
        assert_eq!(done.clone().count(), 12, "{rows:?}");
        for row in done {
            let message = row["message"].as_str().unwrap_or_default();
            assert!(!message.contains("two at once"), "round {round}: {row}");
            assert!(row["status"] != "critical", "{row}");
        }
    }
    daemon.workers();
}

/// A shell script as a check, alone in its group.
fn alone(name: &str, text: &str) -> Check {
    check(name)
        .plugin("exec")
        .interval("1h")
        .timeout("2m")
        .set("exclusive", "\"db\"")
        .set(
            "config",
            &format!("{{ argv = {:?} }}", ["/bin/sh", "-c", text]),
        )
}

/// The exec worker with a child.
fn busy_worker(daemon: &Daemon) -> u32 {
    let workers = daemon.pids("exec");
    let busy = workers.values().find(|pid| !children(**pid).is_empty());
    *busy.expect("a program runs")
}

/// The processes of a program, also those that have left its group, are dead before it begins anew: they hold a lock of
/// the kernel's.
#[test]
fn what_a_dead_worker_leaves_behind_is_dead_before_the_next_begins() {
    let config = config();
    let (file, begun) = (config.dir().join("alone"), config.dir().join("begun"));
    // Every second one ends by itself.
    let text = format!(
        "exec 8>{}; flock -n 8 || {{ echo two at once; exit 2; }}; \
         if [ $(($(wc -l <{begun}) % 2)) = 1 ]; then echo >>{begun}; echo alone; exit 0; fi; \
         for i in 1 2 3 4 5 6 7 8; do setsid sleep 1000 & sleep 1000 & done; echo >>{begun}; wait",
        file.display(),
        begun = begun.display()
    );
    std::fs::write(&begun, "").expect("our own folder");
    let daemon = config.check(alone("a", &text)).spawn();
    daemon.expect_notify("READY=1");
    let runs = || std::fs::read(&begun).map_or(0, |lines| lines.len());
    for round in 0..10 {
        // The first run comes by itself.
        let _asked = (round > 0).then(|| ask_for_run(&daemon, "a"));
        wait_for("it runs", || runs() == 2 * round + 1);
        kill(busy_worker(&daemon), Signal::SIGKILL);
        wait_for("it has run again", || runs() == 2 * round + 2);
        wait_for("it has ended", || {
            let row = daemon.row("a");
            row["message"] == "alone" && daemon.in_flight() == 0
        });
    }
    daemon.workers();
}

/// One that does not die keeps the place that its run had, and nothing else: other runs of its worker go elsewhere, and
/// nobody waits for it at the next death.
#[test]
fn what_a_dead_worker_leaves_behind_and_does_not_end_is_alone_until_it_does() {
    let gate = Gate::new();
    let config = config();
    let file = config.dir().join("alone");
    let mut leash = Leash::new(config.dir());
    let text = leash.script("exec sleep 1000");
    let a = || alone("a", &text);
    let b = solo("b", &file, &gate).set("exclusive", "\"db\"");
    let plain = |name: &str, plugin: &str, options: &str| {
        check(name)
            .plugin(plugin)
            .interval("1h")
            .set("config", options)
    };
    let fine = || plain("fine", "exec", "{ argv = [\"/bin/true\"] }");
    let free = || plain("free", "solo", &format!("{{ file = {file:?} }}"));
    let daemon = config.check(a()).check(fine()).check(free()).spawn();
    daemon.expect_notify("READY=1");
    leash.wait_held(&daemon);
    until_why(&daemon, "fine", "verdict ok");
    until_why(&daemon, "free", "verdict ok");
    daemon.written.rewrite(&[a(), fine(), free(), b]);
    assert_eq!(daemon.healthctl(&["reload"]).code, Some(0));
    let mut next = ask_for_run(&daemon, "b");
    until_why(
        &daemon,
        "b",
        "its turn in group db has not come; in there: a for",
    );
    let worker = busy_worker(&daemon);
    let child = *children(worker).first().expect("a sleeps");
    let Some(tracer) = Tracer::hold(child) else {
        return;
    };
    kill(worker, Signal::SIGKILL);
    let stays = "does not end";
    wait_for("its run has its end", || {
        daemon.row("a")["message"]
            .as_str()
            .is_some_and(|m| m.contains(stays))
    });
    let row = daemon.row("a");
    assert_eq!(
        (&row["status"], &row["verdict"]),
        (&"unknown".into(), &"pending".into()),
        "{row}"
    );
    until_why(&daemon, "b", "in there: a process of a that does not end");
    let shown = daemon.ask("objects", json!({}));
    let group = shown.iter().find(|o| o["kind"] == "group").expect("shown");
    assert_eq!(group["holders"][0]["check"], "a", "{group}");
    // Another death, of a worker without anything: it is told at once, and `fine` runs in the next one.
    wait_for("it has another worker", || !daemon.pids("exec").is_empty());
    let workers = daemon.pids("exec");
    workers.values().for_each(|w| kill(*w, Signal::SIGKILL));
    assert_eq!(daemon.run("fine")["status"], "ok");
    let said = |what: &str| daemon.log.all().iter().filter(|l| l.contains(what)).count();
    assert_eq!(said("a process of a dead worker does not end"), 1);
    assert!(gate.is_empty());
    drop(tracer);
    let visit = gate.wait_entered();
    assert_eq!(visit.check, "b");
    visit.open();
    assert_eq!(next.answer().expect("b runs")[0]["status"], "ok");
    daemon.workers();
}
