//! Which thread calls what in a plugin is what the header's table says, and no call that may block holds the event loop.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, Gate, check, fixtures};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the fixture's file.
#[derive(Debug)]
struct Call {
    name: String,
    begins: bool,
    tid: u32,
    pid: u32,
}

fn calls(file: &Path) -> Vec<Call> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, when, tid, pid] = words[..] else {
                panic!("a torn line: {line:?}");
            };
            Call {
                name: name.to_owned(),
                begins: when == "begin",
                tid: tid.parse().expect("a number"),
                pid: pid.parse().expect("a number"),
            }
        })
        .collect()
}

fn ended(file: &Path, name: &str) -> usize {
    let calls = calls(file);
    calls.iter().filter(|c| c.name == name && !c.begins).count()
}

/// The header's table: `call, call   thread` lines under "which thread calls what".
fn promised() -> BTreeMap<String, String> {
    let path = "plugins/abi/include/healthd_plugin.h";
    let header = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .expect("the header is there");
    let (_, table) = header
        .split_once("which thread calls what")
        .expect("the header has the table");
    let rows = table.lines().skip(1).take_while(|l| l.trim() != "*");
    let mut promised = BTreeMap::new();
    for row in rows {
        let row = row.trim_start_matches([' ', '*']);
        let Some((calls, thread)) = row.split_once("  ") else {
            continue;
        };
        for call in calls.split(", ") {
            let thread = thread.trim().split(':').next().unwrap_or_default();
            promised.insert(call.to_owned(), thread.to_owned());
        }
    }
    promised
}

fn config() -> (Config, PathBuf) {
    // A reload cuts off no run that nobody asked for.
    let config = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("threads"));
    let file = config.dir().join("calls");
    (config.env("CALLS", &file), file)
}

fn one(name: &str, plugin: &str) -> Check {
    check(name).plugin(plugin).interval("1h")
}

fn neighbour() -> Check {
    one("neighbour", "echo_step")
}

#[test]
fn each_call_comes_on_the_thread_that_the_header_names() {
    let (config, file) = config();
    let daemon = config
        .check(one("run", "threads"))
        .check(one("step", "threads_step"))
        .check(neighbour())
        .spawn();
    daemon.expect_notify("READY=1");
    for name in ["run", "step"] {
        assert_eq!(daemon.run(name)["verdict"], "ok");
    }
    // Two instances end by a reload, and two with their worker.
    daemon.written.rewrite(&[neighbour()]);
    daemon.ask("reload", json!({}));
    wait_for("both instances are destroyed", || {
        ended(&file, "destroy") == 2
    });
    let again = [one("run", "threads"), one("step", "threads_step")];
    daemon.written.rewrite(&again);
    daemon.ask("reload", json!({}));
    for name in ["run", "step"] {
        assert_eq!(daemon.run(name)["verdict"], "ok");
    }
    // Other pool settings are new workers; the old one drains.
    let file_of_config = daemon.written.file();
    let text = fs::read_to_string(&file_of_config).expect("our own file");
    let more = text.replace("workers = 1", "workers = 2");
    assert_ne!(text, more);
    fs::write(&file_of_config, more).expect("our own file");
    daemon.ask("reload", json!({}));
    wait_for("the old worker's instances are destroyed", || {
        ended(&file, "destroy") == 4
    });

    // Where they are asked about options plugins are called too: not half of that is looked at.
    daemon.until_plugins_are_asked();
    let promised = promised();
    let calls = calls(&file);
    let named = |name: &str| -> Vec<&Call> { calls.iter().filter(|c| c.name == name).collect() };
    for (call, thread) in &promised {
        if call == "chunk" {
            continue;
        }
        assert!(!named(call).is_empty(), "{call} was never called");
        for c in named(call) {
            let is_main = c.tid == c.pid;
            match thread.as_str() {
                "the event loop" => assert!(is_main, "{c:?} {promised:?}"),
                "a thread of its own" | "some pool thread" => {
                    assert!(!is_main, "{c:?} {promised:?}");
                }
                _ => panic!("the header names a thread that no test knows: {thread}"),
            }
        }
    }
    for call in [
        "init", "create", "destroy", "run", "start", "step", "drop", "chunk",
    ] {
        assert!(
            promised.contains_key(call),
            "the header's table lacks {call}"
        );
    }
    // Before anything else, and once a process and plugin.
    let workers: BTreeSet<u32> = calls.iter().map(|c| c.pid).collect();
    for worker in workers {
        let names = calls.iter().filter(|c| c.pid == worker && c.begins);
        let names: Vec<&str> = names.map(|c| c.name.as_str()).collect();
        let (first, rest) = names.split_at(2);
        assert_eq!(first, ["init", "init"], "{names:?}");
        assert!(!rest.contains(&"init"), "{names:?}");
    }
}

#[test]
fn an_instance_that_does_not_end_costs_nobody_a_run() {
    let gate = Gate::new();
    let (config, file) = config();
    let slow = format!("{{ destroy_gate = {:?} }}", gate.path());
    let daemon = config
        .check(one("run", "threads").set("config", &slow))
        .check(one("step", "threads_step").set("config", &slow))
        .check(neighbour())
        .spawn();
    daemon.expect_notify("READY=1");
    for name in ["run", "step", "neighbour"] {
        assert_eq!(daemon.run(name)["verdict"], "ok");
    }
    let worker = daemon.pids("io")[&0];
    // With other options each gets another instance.
    let others = [one("run", "threads"), one("step", "threads_step")];
    daemon
        .written
        .rewrite(&others.into_iter().chain([neighbour()]).collect::<Vec<_>>());
    daemon.ask("reload", json!({}));
    for name in ["run", "step"] {
        assert_eq!(daemon.run(name)["verdict"], "ok");
    }
    let visits = [gate.wait_entered(), gate.wait_entered()];
    // Both stand in `destroy`, and the event loop turns: the neighbour runs as often as it is asked to.
    for _ in 0..20 {
        assert_eq!(daemon.run("neighbour")["verdict"], "ok");
    }
    assert_eq!(ended(&file, "destroy"), 0);
    for visit in visits {
        assert_eq!(visit.pid, worker);
        visit.open();
    }
    wait_for("both instances are destroyed", || {
        ended(&file, "destroy") == 2
    });
    assert_eq!(daemon.run("neighbour")["verdict"], "ok");
    assert_still(&daemon, worker);
}

#[test]
fn a_worker_that_drains_is_not_killed_before_its_instances_are_destroyed() {
    let gate = Gate::new();
    let (config, file) = config();
    let slow = format!("{{ destroy_gate = {:?} }}", gate.path());
    let daemon = config
        .check(one("run", "threads").set("config", &slow))
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("run")["verdict"], "ok");
    // Other pool settings are new workers; the old one drains.
    let file_of_config = daemon.written.file();
    let text = fs::read_to_string(&file_of_config).expect("our own file");
    fs::write(&file_of_config, text.replace("workers = 1", "workers = 2")).expect("our own file");
    daemon.ask("reload", json!({}));
    let visit = gate.wait_entered();
    // A look of the manager at its workers falls into this.
    daemon.assert_alive_for(std::time::Duration::from_millis(1500));
    visit.open();
    wait_for("its instance is destroyed", || ended(&file, "destroy") == 1);
}

#[test]
fn an_instance_that_never_ends_has_its_worker_replaced_without_a_loss() {
    let gate = Gate::new();
    let (config, _) = config();
    let slow = format!("{{ destroy_gate = {:?} }}", gate.path());
    let daemon = config
        .check(one("run", "threads").set("config", &slow))
        .check(neighbour())
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("run")["verdict"], "ok");
    let worker = daemon.pids("io")[&0];
    daemon
        .written
        .rewrite(&[one("run", "threads"), neighbour()]);
    daemon.ask("reload", json!({}));
    assert_eq!(daemon.run("run")["verdict"], "ok");
    let visit = gate.wait_entered();
    daemon.expect_log("destroy of plugin `threads` has not come back for 30 s");
    daemon.until_workers("another worker", |rows| {
        rows.iter()
            .all(|r| r["state"] == "ready" && r["pid"] != worker)
    });
    visit.assert_hung_up();
    for name in ["run", "neighbour"] {
        assert_eq!(daemon.run(name)["verdict"], "ok");
    }
}

/// The worker is the one from before, and nothing was said about it.
fn assert_still(daemon: &Daemon, worker: u32) {
    let rows = daemon.workers();
    assert_eq!(rows[0]["pid"], worker, "{rows:#?}");
    assert_eq!(rows[0]["restarts"], 0, "{rows:#?}");
    assert_eq!(rows[0]["lost"], 0, "{rows:#?}");
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("worker killed"), "{log}");
}
