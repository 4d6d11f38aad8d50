//! One run on all cpu workers: every chunk is done once, whoever dies, and every chunk's dispatch has one end.

use crate::harness::ctl::Client;
use crate::harness::{Check, Config, Daemon, Gate, Visit, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

fn fan(name: &str, options: &str) -> Check {
    check(name)
        .plugin("fan")
        .interval("1h")
        .timeout("60s")
        .set("config", &format!("{{ {options} }}"))
}

fn config(workers: u32) -> Config {
    Config::new()
        .only_asked()
        .daemon("log", "\"debug\"")
        .pool("cpu", &format!("workers = {workers}"))
        .plugin_file(fixtures::fixture("fan"))
}

fn started(config: Config) -> Daemon {
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon
}

/// Asks for a run and does not wait for it.
fn begin(daemon: &Daemon, names: &[&str]) -> Client {
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": names}));
    let started = client.line().expect("an answer");
    assert_eq!(started["type"], "started", "{started}");
    client
}

fn result(mut client: Client) -> Value {
    client.answer().expect("a result").remove(0)
}

fn chunks(daemon: &Daemon, key: &str) -> u64 {
    let rows = daemon.workers();
    rows.iter().filter_map(|r| r["chunks"][key].as_u64()).sum()
}

fn at_gate(gate: &Gate) -> String {
    format!("gate = {:?}", gate.path())
}

/// The first visit, and the first one from another process. What comes between is let through.
fn two_processes(gate: &Gate) -> (Visit, Visit) {
    let first = gate.wait_entered();
    loop {
        let other = gate.wait_entered();
        if other.pid != first.pid {
            return (first, other);
        }
        other.open();
    }
}

fn open_rest(gate: &Gate, client: Client) -> Value {
    let path = gate.path();
    // Nobody can stand at a gate that is no more.
    fs::remove_file(path).expect("our own folder");
    while !gate.is_empty() {
        gate.wait_entered().open();
    }
    result(client)
}

fn numbers(n: u32) -> String {
    (0..n).fold("order".to_owned(), |text, i| format!("{text} {i}"))
}

#[test]
fn chunks_run_in_several_workers_and_are_told_in_order() {
    let gate = Gate::new();
    let options = format!("items = 40, {}", at_gate(&gate));
    let daemon = started(config(2).check(fan("wide", &options)));
    let client = begin(&daemon, &["wide"]);
    let (one, other) = two_processes(&gate);
    one.open();
    other.open();
    let row = open_rest(&gate, client);
    assert_eq!(
        (&row["status"], &row["message"]),
        (&json!("ok"), &json!(numbers(40)))
    );
    let shown = daemon.detail("wide");
    let fanout = &shown["fanout"];
    assert_eq!(
        (&fanout["chunks"], &fanout["again"]),
        (&json!(40), &json!(0)),
        "{shown}"
    );
    assert!(fanout["elsewhere"].as_u64() > Some(0), "{shown}");
    let sum = fanout["own"].as_u64().zip(fanout["elsewhere"].as_u64());
    assert_eq!(sum.map(|(a, b)| a + b), Some(40), "{shown}");
    assert_eq!(chunks(&daemon, "own") + chunks(&daemon, "finished"), 40);
    let why = daemon.told_by_daemon(&["why", "wide"]);
    assert!(why.out.contains("40 chunks: "), "{}", why.out);
    let shown = daemon.told_by_daemon(&["show", "wide"]);
    assert!(shown.out.contains("40 chunks"), "{}", shown.out);
}

#[test]
fn one_worker_suffices() {
    let daemon = started(config(1).check(fan("alone", "items = 40")));
    assert_eq!(daemon.run("alone")["message"], numbers(40));
    assert_eq!(
        (chunks(&daemon, "own"), chunks(&daemon, "dispatched")),
        (40, 0)
    );
    assert_eq!(daemon.detail("alone")["fanout"]["own"], 40);
}

#[test]
fn what_is_done_first_is_told_first() {
    let gate = Gate::new();
    let options = format!(
        "items = 12, any_order = true, gate_who = \"parent\", {}",
        at_gate(&gate)
    );
    let daemon = started(config(2).check(fan("any", &options)));
    let client = begin(&daemon, &["any"]);
    // The run's own worker stands at its first chunk; the other one does all the rest.
    let held = gate.wait_entered();
    daemon.until_workers("the others done", |rows| {
        rows.iter().any(|r| r["chunks"]["finished"] == 11)
    });
    held.open();
    let row = result(client);
    let said = row["message"].as_str().expect("a message");
    let order: Vec<u32> = said
        .split(' ')
        .skip(1)
        .map(|n| n.parse().expect("a number"))
        .collect();
    // The one that was held comes behind others, of which the last may still have been on their way.
    let late = order.iter().filter(|held| {
        let rest: Vec<u32> = order.iter().copied().filter(|n| n != *held).collect();
        rest.len() == 11 && rest.is_sorted()
    });
    assert!(order.len() == 12 && !order.is_sorted(), "{said}");
    assert!(late.count() > 0, "{said}");
    assert_eq!(daemon.detail("any")["fanout"]["own"], 1);
}

#[test]
fn the_host_chooses_how_many_items_are_a_chunk() {
    let daemon = started(config(2).check(fan("auto", "items = 1000, chunk = 0")));
    assert_eq!(daemon.run("auto")["message"], numbers(32));
    let none = "items = 0, chunk = 0";
    let daemon = started(config(1).check(fan("nothing", none)));
    assert_eq!(daemon.run("nothing")["message"], "order");
}

/// A chunk dies in the helper while the run stands at the gate with a chunk of its own.
fn dying(once: bool) -> (Value, Daemon) {
    let gate = Gate::new();
    let config = config(2);
    let file = config.dir().join("segv");
    fs::write(&file, "").expect("our own folder");
    let options = format!(
        "items = 2, segv = {file:?}, segv_once = {once}, gate_who = \"parent\", {}",
        at_gate(&gate)
    );
    let daemon = started(config.check(fan("dies", &options)));
    let client = begin(&daemon, &["dies"]);
    let held = gate.wait_entered();
    if once {
        daemon.until_workers("done at last", |rows| {
            rows.iter().any(|r| r["chunks"]["finished"] == 1)
        });
    } else {
        daemon.until_workers("two deaths", |rows| {
            rows.iter()
                .any(|r| r["restarts"] == 2 && r["state"] == "ready")
        });
    }
    held.open();
    (result(client), daemon)
}

#[test]
fn a_chunk_that_dies_with_its_worker_runs_once_more() {
    let (row, daemon) = dying(true);
    assert_eq!(
        (&row["status"], &row["message"]),
        (&json!("ok"), &json!("order 0 1"))
    );
    let shown = daemon.detail("dies");
    assert_eq!(shown["fanout"]["again"], 1, "{shown}");
    // It killed a worker all the same: for a second, which may be over by now.
    daemon.events().of("held", "dies");
    let rows = daemon.workers();
    let restarts: u64 = rows.iter().filter_map(|r| r["restarts"].as_u64()).sum();
    assert_eq!(restarts, 1, "{rows:#?}");
}

#[test]
fn a_chunk_that_dies_twice_fails_its_run() {
    let (row, daemon) = dying(false);
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["status"], "unknown", "{row}");
    for part in [
        "of 2 died twice with its worker",
        "SIGSEGV",
        "`fan`",
        "chunk",
        "slot",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    daemon.events().of("held", "dies");
    assert!(chunks(&daemon, "lost") >= 2);
}

#[test]
fn a_run_whose_chunk_died_twice_cannot_be_ok() {
    let config = config(2);
    let file = config.dir().join("segv");
    fs::write(&file, "").expect("our own folder");
    let gate = Gate::new();
    let options = format!(
        "items = 2, how = \"deny\", segv = {file:?}, gate_who = \"parent\", {}",
        at_gate(&gate)
    );
    let daemon = started(config.check(fan("denies", &options)));
    let client = begin(&daemon, &["denies"]);
    let held = gate.wait_entered();
    daemon.until_workers("two deaths", |rows| {
        rows.iter()
            .any(|r| r["restarts"] == 2 && r["state"] == "ready")
    });
    held.open();
    let row = result(client);
    assert_eq!(row["status"], "unknown", "{row}");
}

#[test]
fn a_dead_parent_takes_its_chunks_back() {
    let gate = Gate::new();
    let options = format!("items = 8, {}", at_gate(&gate));
    let daemon = started(config(2).check(fan("orphans", &options)));
    let client = begin(&daemon, &["orphans"]);
    let (one, other) = two_processes(&gate);
    let flying = daemon
        .workers()
        .into_iter()
        .find(|r| r["in_flight"] == 1)
        .expect("its run is somewhere");
    let parent = flying["pid"].as_u64().expect("a pid") as u32;
    let (own, helper) = if one.pid == parent {
        (one, other)
    } else {
        (other, one)
    };
    kill(own.pid, Signal::SIGKILL);
    helper.assert_hung_up();
    // It runs once more, as no plugin is to blame for a SIGKILL.
    let again = gate.wait_entered();
    assert_eq!((again.attempt, &*again.check), (2, "orphans"));
    again.open();
    let row = open_rest(&gate, client);
    assert_eq!(
        (&row["status"], &row["message"]),
        (&json!("ok"), &json!(numbers(8)))
    );
    daemon.until_workers("no chunk left", |rows| {
        rows.iter().all(|r| r["chunks"]["in_flight"] == 0)
    });
    assert!(chunks(&daemon, "lost") > 0);
}

/// A chunk makes the instance that others of its check then use: the chunk may be cancelled, but not the making.
#[test]
fn a_cancelled_chunk_does_not_take_the_instance_along() {
    let gate = Gate::new();
    let options = format!(
        "items = 8, any_order = true, how = \"forget\", create_gate = true, gate_who = \"parent\", {}",
        at_gate(&gate)
    );
    let daemon = started(config(2).check(fan("made", &options)));
    let client = begin(&daemon, &["made"]);
    // The first instance is made; then its run stands at a chunk, and the helper makes the second one.
    let made = gate.wait_entered();
    let parent = made.pid;
    made.open();
    let (one, other) = (gate.wait_entered(), gate.wait_entered());
    let (held, making) = if one.pid == parent {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!((held.pid, making.pid == parent), (parent, false));
    // The run has enough after its own chunk: the others are cancelled, while the instance is not there yet.
    held.open();
    assert_eq!(result(client)["status"], "ok");
    // Meanwhile the helper hears of it, for which there is no sign.
    (0..20).for_each(|_| drop(daemon.workers()));
    let finished = chunks(&daemon, "finished");
    making.open();
    daemon.until_workers("no chunk left", |rows| {
        rows.iter().all(|r| r["chunks"]["in_flight"] == 0)
    });
    // It is there for the next run: nobody stands at the gate to make another one.
    let client = begin(&daemon, &["made"]);
    let held = gate.wait_entered();
    assert_eq!(held.pid, parent);
    daemon.until_workers("chunks done by the helper", |rows| {
        let done = rows.iter().filter_map(|r| r["chunks"]["finished"].as_u64());
        done.sum::<u64>() > finished
    });
    held.open();
    assert_eq!(result(client)["status"], "ok");
}

#[test]
fn the_parents_deadline_is_its_chunks_deadline() {
    let gate = Gate::new();
    let options = format!("items = 8, {}", at_gate(&gate));
    let late = check("late")
        .plugin("fan")
        .interval("1h")
        .timeout("5s")
        .set("timeout_status", "\"warning\"")
        .set("config", &format!("{{ {options} }}"));
    let daemon = started(config(2).check(late));
    let client = begin(&daemon, &["late"]);
    let (one, other) = two_processes(&gate);
    let row = result(client);
    // On a busy machine the run may need longer than it has to give up; then it is written off.
    let message = row["message"].as_str().unwrap_or_default();
    match row["status"].as_str() {
        Some("warning") => assert!(message.contains("timeout after 5s"), "{row}"),
        _ => assert!(message.starts_with("overrun"), "{row}"),
    }
    one.assert_hung_up();
    other.assert_hung_up();
    daemon.until_workers("no chunk left", |rows| {
        rows.iter()
            .all(|r| r["chunks"]["in_flight"] == 0 && r["state"] == "ready")
    });
}

#[test]
fn a_check_that_a_reload_removes_takes_its_chunks_along() {
    let gate = Gate::new();
    let options = format!("items = 8, {}", at_gate(&gate));
    let daemon = started(
        config(2)
            .check(fan("gone", &options))
            .check(fan("stays", "items = 4")),
    );
    let _client = begin(&daemon, &["gone"]);
    let (one, other) = two_processes(&gate);
    daemon.written.rewrite(&[fan("stays", "items = 4")]);
    daemon.ask("reload", json!({}));
    one.assert_hung_up();
    other.assert_hung_up();
    daemon.until_workers("no chunk left", |rows| {
        rows.iter().all(|r| r["chunks"]["in_flight"] == 0)
    });
    assert_eq!(daemon.run("stays")["message"], numbers(4));
}

#[test]
fn a_stop_ends_every_chunk() {
    let gate = Gate::new();
    let options = format!("items = 8, {}", at_gate(&gate));
    let mut daemon = started(
        config(2)
            .daemon("stop_grace", "\"100ms\"")
            .check(fan("cut", &options)),
    );
    let _client = begin(&daemon, &["cut"]);
    let (one, other) = two_processes(&gate);
    daemon.signal(Signal::SIGTERM);
    one.assert_hung_up();
    other.assert_hung_up();
    daemon.wait_exit();
}

#[test]
fn every_worker_a_parent_at_once() {
    let gate = Gate::new();
    let options = format!("items = 24, gate_at = 0, {}", at_gate(&gate));
    let names = ["a", "b", "c", "d"];
    let config = names
        .iter()
        .fold(config(2), |config, name| config.check(fan(name, &options)));
    let daemon = started(config);
    let mut client = begin(&daemon, &names);
    // Both workers stand in a run, so nobody helps: each does its own work.
    let (one, other) = two_processes(&gate);
    one.open();
    other.open();
    fs::remove_file(gate.path()).expect("our own folder");
    while !gate.is_empty() {
        gate.wait_entered().open();
    }
    for row in client.answer().expect("results") {
        assert_eq!(row["message"], numbers(24), "{row}");
    }
}

#[test]
fn other_checks_go_before_the_next_chunk() {
    let gate = Gate::new();
    let options = format!("items = 6, {}", at_gate(&gate));
    let mut config = config(2)
        .plugin_file(fixtures::fixture("crash"))
        .check(fan("wide", &options));
    let names: Vec<String> = (0..6).map(|n| format!("normal-{n}")).collect();
    for name in &names {
        let nothing = "{ how = \"exit\", if_file = \"/nowhere\" }";
        config = config.check(
            check(name)
                .plugin("crash_cpu")
                .interval("1h")
                .timeout("60s")
                .set("config", nothing),
        );
    }
    let daemon = started(config);
    let client = begin(&daemon, &["wide"]);
    let (one, other) = two_processes(&gate);
    let rows = daemon.until_workers("a chunk that waits", |rows| {
        rows.iter().any(|r| r["chunks"]["in_flight"] == 2)
    });
    let helper = rows
        .iter()
        .find(|r| r["chunks"]["in_flight"] == 2)
        .expect("seen");
    let slot = helper["slot"].clone();
    let (own, away) = if helper["pid"] == one.pid {
        (other, one)
    } else {
        (one, other)
    };
    // Which worker gets one is decided by its name: the first that goes to the helper.
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut runs = begin(&daemon, &all);
    daemon.until_workers("a run behind the chunk", |rows| {
        rows.iter()
            .any(|r| r["slot"] == slot && r["in_flight"].as_u64() > Some(0))
    });
    away.open();
    // The next chunk stands at the gate in turn; the run before it must have been done, or this waits for ever.
    let done = runs.line().expect("a result");
    assert_eq!(
        (&done["status"], &done["worker"]),
        (&json!("ok"), &slot),
        "{done}"
    );
    own.open();
    let row = open_rest(&gate, client);
    assert_eq!(row["message"], numbers(6));
    runs.answer().expect("the others follow");
}

#[test]
fn what_may_not_be_is_refused() {
    let cases = [
        (
            "many",
            "items = 4097",
            "unknown",
            "open: Argument list too long",
        ),
        (
            "nested",
            "how = \"nested\"",
            "unknown",
            "nested: Operation not permitted",
        ),
        (
            "twice",
            "how = \"twice\"",
            "unknown",
            "open: Device or resource busy",
        ),
        (
            "flood",
            "how = \"flood\"",
            "ok",
            "64 times: Disk quota exceeded",
        ),
        (
            "mapped",
            "how = \"mapped\"",
            "unknown",
            "is it still mapped?",
        ),
        ("fails", "code = 2", "unknown", "code 2: chunk 0 says so"),
        ("odd", "code = 77", "unknown", "chunk returned 77"),
        ("no-fds", "how = \"no_fds\"", "unknown", "self:resources"),
        ("forgets", "how = \"forget\", items = 100", "ok", "order"),
    ];
    let config = cases.iter().fold(config(2), |config, (name, options, ..)| {
        config.check(fan(name, options))
    });
    let daemon = started(config);
    for (name, _, status, message) in cases {
        let row = daemon.run(name);
        assert_eq!(row["status"], status, "{row}");
        assert!(
            row["message"]
                .as_str()
                .unwrap_or_default()
                .contains(message),
            "{row}"
        );
    }
    daemon.until_workers("nothing left", |rows| {
        rows.iter()
            .all(|r| r["chunks"]["in_flight"] == 0 && r["in_flight"] == 0)
    });
}

/// Chunks all the time, workers killed all the time: the books balance at every look, and every result is right.
#[test]
fn killed_workers_lose_no_chunk() {
    let mut config = config(3);
    for n in 0..4 {
        let name = format!("fan-{n}");
        config = config.check(
            check(&name)
                .plugin("fan")
                .interval("200ms")
                .timeout("60s")
                // With 1 what nobody could judge for two seconds is unknown, and here workers die all the time.
                .set("attempts", "100")
                .set("config", "{ items = 60 }"),
        );
    }
    let daemon = started(config);
    for round in 0..12usize {
        let before = chunks(&daemon, "finished");
        let rows = daemon.until_workers("ready workers that share work", |rows| {
            let finished: u64 = rows
                .iter()
                .filter_map(|r| r["chunks"]["finished"].as_u64())
                .sum();
            finished > before && rows.iter().all(|r| r["state"] == "ready")
        });
        // Not one that holds a suspect: a second death there is told as its doing.
        let shared: Vec<_> = rows.iter().filter(|r| r["solo"].is_null()).collect();
        let victim = shared[round % shared.len()];
        let pid = victim["pid"].as_u64().expect("a pid") as u32;
        kill(pid, Signal::SIGKILL);
        let mut client = daemon.client();
        for _ in 0..5 {
            for row in client.ask("workers", json!({})).expect("workers") {
                crate::harness::ctl::assert_balanced(&row);
            }
        }
        daemon.until_workers("another in its place", |rows| {
            rows.iter().all(|r| r["pid"] != pid)
        });
    }
    daemon.ask("pause", json!({}));
    daemon.until_workers("nothing in flight", |rows| {
        rows.iter()
            .all(|r| r["in_flight"] == 0 && r["chunks"]["in_flight"] == 0)
    });
    for line in daemon
        .log
        .all()
        .iter()
        .filter(|l| l.contains("check changed"))
    {
        assert!(line.contains("to=ok"), "{line}");
    }
    for n in 0..4 {
        // Whoever lost two workers in its last run has said so, and runs on like the others.
        let row = daemon.run(&format!("fan-{n}"));
        assert_eq!(
            (&row["verdict"], &row["message"]),
            (&json!("ok"), &json!(numbers(60))),
            "{row}"
        );
    }
}

#[test]
fn an_old_plugin_loads_and_has_no_chunks() {
    // A descriptor that ends where that of 1.0 did.
    let old = fixtures::variant("OLD");
    let config = Config::new().plugin_file(old);
    let daemon = started(config.check(check("old").plugin("wrong").interval("1h")));
    let row = daemon.run("old");
    assert_eq!(row["status"], "ok", "{row}");
}
