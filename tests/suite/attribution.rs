//! Who ended a worker: exact where it can be known, and nobody where it cannot.

use crate::harness::{Check, Config, Daemon, Gate, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const LIBRARY: &str = "libfixture_crash.so+0x";

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

/// A check that hurts its worker while the file that is named like it is there.
fn hurting(config: Config, name: &str, plugin: &str, options: &str) -> Config {
    let file = config.dir().join(name);
    config.check(
        check(name)
            .plugin(plugin)
            .interval("1h")
            .timeout("2m")
            .set("config", &format!("{{ {options}, if_file = {file:?} }}")),
    )
}

fn arm(daemon: &Daemon, name: &str) -> PathBuf {
    let file = daemon.dir().join(name);
    fs::write(&file, "").expect("our own folder");
    file
}

/// Runs it while it hurts its worker, and returns its row.
fn hurt(daemon: &Daemon, name: &str) -> Value {
    let file = arm(daemon, name);
    let row = daemon.run(name);
    fs::remove_file(file).expect("our own folder");
    row
}

fn held(gate: &Gate, name: &str, plugin: &str) -> Check {
    check(name)
        .plugin(plugin)
        .interval("1h")
        .timeout("2m")
        .set("config", &format!("{{ gate = {:?} }}", gate.path()))
}

/// A request for a run that came earlier would only join it.
fn first_run(daemon: &Daemon, gate: &Gate, name: &str) {
    gate.wait_entered().open();
    daemon.until_ok(&[name]);
}

fn message(row: &Value) -> &str {
    row["message"].as_str().unwrap_or_default()
}

#[test]
fn a_thread_that_a_plugin_made_is_known_by_its_library() {
    let mut config = config();
    let ways = [
        ("segv", "SIGSEGV on a thread of plugin"),
        ("abort", "SIGABRT on a thread of plugin"),
        ("exit", "exit(0) on a thread of plugin"),
    ];
    let mut names = Vec::new();
    for (how, _) in ways {
        for plugin in ["crash", "crash_step"] {
            let name = format!("{how}-{plugin}");
            let options = format!("how = {how:?}, where = \"thread\"");
            config = hurting(config, &name, plugin, &options);
            names.push(name);
        }
    }
    let gate = Gate::new();
    let daemon = config.check(held(&gate, "other", "hold")).spawn();
    daemon.expect_notify("READY=1");
    first_run(&daemon, &gate, "other");
    // Of two runs of one plugin nobody could say which one made a thread.
    daemon.until_ok(&names);
    for (how, what) in ways {
        for plugin in ["crash", "crash_step"] {
            // In a call of its own when the worker dies, and not taken for the culprit.
            let mut client = daemon.client();
            client.send(&json!({"v": 1, "op": "run", "names": ["other"]}));
            let visit = gate.wait_entered();
            let row = hurt(&daemon, &format!("{how}-{plugin}"));
            assert_eq!(row["status"], "unknown", "{row}");
            assert_eq!(row["attempt"], 1, "{row}");
            let said = format!("{what} `{plugin}`");
            assert!(message(&row).starts_with(&said), "{row}");
            assert!(message(&row).contains(LIBRARY), "{row}");
            assert!(message(&row).contains(" hurt: "), "{row}");
            visit.assert_hung_up();
            let again = gate.wait_entered();
            assert_eq!(again.attempt, 2, "{how} {plugin}");
            again.open();
            let rows = client.answer().expect("a run");
            assert_eq!(rows[1]["status"], "ok", "{rows:#?}");
        }
    }
    daemon.workers();
}

#[test]
fn a_stack_overflow_on_such_a_thread_is_seen_too() {
    let mut config = config();
    let mut names = Vec::new();
    for place in ["thread", "own"] {
        for plugin in ["crash", "crash_step"] {
            let name = format!("{place}-{plugin}");
            let options = format!("how = \"stack\", where = {place:?}");
            config = hurting(config, &name, plugin, &options);
            names.push(name);
        }
    }
    let gate = Gate::new();
    let daemon = config.check(held(&gate, "other", "hold")).spawn();
    daemon.expect_notify("READY=1");
    first_run(&daemon, &gate, "other");
    // Of two runs of one plugin nobody could say which one made a thread.
    daemon.until_ok(&names);
    for place in ["thread", "own"] {
        for plugin in ["crash", "crash_step"] {
            let name = format!("{place}-{plugin}");
            let mut client = daemon.client();
            client.send(&json!({"v": 1, "op": "run", "names": ["other"]}));
            let visit = gate.wait_entered();
            let row = hurt(&daemon, &name);
            let said =
                format!("SIGSEGV (stack overflow) on a thread of plugin `{plugin}` at {LIBRARY}");
            assert!(message(&row).starts_with(&said), "{row}");
            assert!(message(&row).contains(" deeper: "), "{row}");
            // Its first death says it, so nobody was suspected.
            assert_eq!(row["attempt"], 1, "{row}");
            visit.assert_hung_up();
            gate.wait_entered().open();
            let rows = client.answer().expect("a run");
            assert_eq!(rows[1]["status"], "ok", "{rows:#?}");
        }
    }
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("solo worker started"), "{log}");
}

#[test]
fn threads_of_a_plugin_leave_no_mapping_behind() {
    // A run that comes by itself has its threads while we count.
    let daemon = config()
        .only_asked()
        .check(
            check("threads")
                .plugin("crash")
                .interval("1h")
                .timeout("2m")
                .set("config", "{ how = \"threads\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mappings = || {
        let row = daemon.run("threads");
        assert_eq!(row["status"], "ok", "{row}");
        let worker = daemon.pids("io")[&0];
        let maps = fs::read_to_string(format!("/proc/{worker}/maps")).expect("it lives");
        (worker, maps.lines().count())
    };
    // The first run leaves what libc keeps for the next threads.
    let (before, after) = (mappings(), mappings());
    assert_eq!(before.0, after.0);
    assert!(after.1 < before.1 + 100, "{before:?} {after:?}");
}

#[test]
fn a_signal_from_outside_blames_nobody() {
    let gate = Gate::new();
    let daemon = config().check(held(&gate, "held", "hold")).spawn();
    daemon.expect_notify("READY=1");
    first_run(&daemon, &gate, "held");
    for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS] {
        let mut client = daemon.client();
        client.send(&json!({"v": 1, "op": "run", "names": ["held"]}));
        let visit = gate.wait_entered();
        kill(visit.pid, signal);
        let line = daemon.expect_log("worker died");
        assert!(line.contains("culprit=none"), "{line}");
        let sent = format!("{signal} was sent to it by process {}", std::process::id());
        assert!(line.contains(&sent), "{line}");
        let again = gate.wait_entered();
        assert_eq!((again.run_id, again.attempt), (visit.run_id, 2));
        again.open();
        let rows = client.answer().expect("a run");
        assert_eq!(rows[1]["status"], "ok", "{rows:#?}");
    }
    let row = daemon.row("held");
    assert_eq!(
        (&row["verdict"], &row["attempt"]),
        (&"ok".into(), &1.into())
    );
}

#[test]
fn a_fork_that_crashes_or_exits_writes_nothing_about_its_worker() {
    let mut config = config();
    for how in ["fork_segv", "fork_exit"] {
        config = hurting(config, how, "crash", &format!("how = {how:?}"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for how in ["fork_segv", "fork_exit"] {
        assert_eq!(hurt(&daemon, how)["status"], "ok");
    }
    let worker = daemon.pids("io")[&0];
    kill(worker, Signal::SIGKILL);
    let line = daemon.expect_log("worker died");
    assert!(line.contains("culprit=none"), "{line}");
    daemon.until_workers("another one", |rows| rows[0]["state"] == "ready");
    assert_eq!(daemon.run("fork_segv")["status"], "ok");
}
