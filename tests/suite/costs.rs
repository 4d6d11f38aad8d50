//! What runs cost is counted where it belongs: CPU time by thread and child, hangs by plugin and check.

use crate::harness::ctl::let_others_run;
use crate::harness::{Check, Config, DEADLINE, Daemon, Gate, check, fixtures};
use serde_json::{Value, json};
use std::fs;
use std::time::Instant;

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
        .plugin_file(fixtures::fixture("leak"))
}

fn burning(name: &str, plugin: &str, ms: u32) -> Check {
    check(name)
        .plugin(plugin)
        .interval("1h")
        .timeout("30s")
        .set("config", &format!("{{ burn_ms = {ms} }}"))
}

fn cost(daemon: &Daemon, name: &str) -> Value {
    daemon.detail(name)["cost"].clone()
}

/// The row of a plugin in `plugins`.
fn plugin(daemon: &Daemon, name: &str) -> Value {
    let rows = daemon.ask("plugins", json!({}));
    let row = rows.iter().find(|r| r["name"] == name);
    row.unwrap_or_else(|| daemon.fail(&format!("no plugin {name}: {rows:?}")))["cost"].clone()
}

fn until(daemon: &Daemon, what: &str, look: impl Fn() -> Value, wanted: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let seen = look();
        if wanted(&seen) {
            return;
        }
        if begun.elapsed() > DEADLINE {
            daemon.fail(&format!("never seen: {what}: {seen}"));
        }
        let_others_run();
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn cpu_time_is_that_of_the_run_in_every_lane() {
    let gate = Gate::new();
    let daemon = config()
        .only_asked()
        .check(burning("run", "leak", 40))
        .check(burning("cpu", "leak_cpu", 40))
        .check(burning("step", "leak_step", 40))
        .check(
            check("waits")
                .plugin("hold")
                .interval("1h")
                .timeout("30s")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .check(
            check("child")
                .interval("1h")
                .timeout("30s")
                .script("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"),
        )
        .check(
            check("idle-child")
                .interval("1h")
                .timeout("30s")
                .script("sleep 0.3"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["waits"]}));
    let visit = gate.wait_entered();
    for name in ["run", "cpu", "step"] {
        daemon.run(name);
        let cost = cost(&daemon, name);
        let a_run = number(&cost["cpu_ms"]) / number(&cost["runs"]);
        // Its own loop is 40 ms; the rest is little, but for what a host takes and a guest counts.
        assert!((39.9..200.0).contains(&a_run), "{name}: {cost}");
        assert!(number(&cost["wall_ms"]) >= number(&cost["cpu_ms"]) * 0.99);
        assert!(number(&cost["steps"]) >= number(&cost["runs"]), "{cost}");
    }
    daemon.run("child");
    daemon.run("idle-child");
    let (busy, idle) = (cost(&daemon, "child"), cost(&daemon, "idle-child"));
    let a_run = |c: &Value| number(&c["cpu_ms"]) / number(&c["runs"]);
    assert!(
        a_run(&busy) > 10.0 && a_run(&busy) > 2.0 * a_run(&idle),
        "{busy} {idle}"
    );
    visit.open();
    until(
        &daemon,
        "the end of the run that waits",
        || cost(&daemon, "waits"),
        |c| c["runs"] == 1,
    );
    let waits = cost(&daemon, "waits");
    assert!(
        number(&waits["cpu_ms"]) < number(&waits["wall_ms"]),
        "{waits}"
    );
    // The plugin's account is that of its checks, and the shares are those of a whole.
    let all = plugin(&daemon, "leak");
    assert_eq!(all["cpu_ms"], cost(&daemon, "run")["cpu_ms"]);
    assert!(number(&all["wall_p50_ms"]) >= 30.0, "{all}");
    let rows = daemon.ask("plugins", json!({}));
    let shares: f64 = rows
        .iter()
        .filter_map(|r| r["cost"]["cpu_share"].as_f64())
        .sum();
    assert!((0.99..1.01).contains(&shares), "{rows:?}");
    let said = daemon.told_by_daemon(&["plugins", "--cost"]);
    assert_eq!(said.code, Some(0));
    assert!(
        said.out.contains("CPU/RUN") && said.out.contains("leak_step"),
        "{said:?}"
    );
    let said = daemon.told_by_daemon(&["show", "run"]);
    assert!(said.out.contains(" of CPU, "), "{said:?}");
}

#[test]
fn what_comes_after_the_end_of_a_run_is_billed_too() {
    let gate = Gate::new();
    let gate_path = gate.path();
    let daemon = config()
        .check(
            check("late")
                .plugin("leak")
                .interval("1h")
                .set("attempts", "1")
                .timeout("3s")
                .set(
                    "config",
                    &format!("{{ gate = {gate_path:?}, late_ms = 60 }}"),
                ),
        )
        .check(
            check("child")
                .interval("1h")
                .set("attempts", "1")
                .timeout("3s")
                .script("while :; do :; done"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    // It waits, and does not compute: however busy the machine is, the time was its own.
    let visit = gate.wait_entered();
    let mut watch = daemon.watch(&["late", "child"]);
    let row = watch.until("an overrun", |row| {
        row["name"] == "late" && row["status"] != Value::Null
    });
    assert!(
        row["message"]
            .as_str()
            .is_some_and(|m| m.contains("overrun")),
        "{row}"
    );
    assert!(number(&cost(&daemon, "late")["cpu_ms"]) < 60.0);
    visit.open();
    until(
        &daemon,
        "the rest of the call",
        || cost(&daemon, "late"),
        |c| number(&c["cpu_ms"]) >= 60.0,
    );
    // Killed by its timeout, after two hundredths of a processor at least.
    until(
        &daemon,
        "the killed child's time",
        || cost(&daemon, "child"),
        |c| c["runs"] == 1 && number(&c["cpu_ms"]) >= 20.0,
    );
    // On a machine that is busy it may have had too little of a processor to be judged.
    let row = daemon.row("child");
    assert!(
        row["verdict"] == "critical" || row["fault"] == "starved",
        "{row}"
    );
}

#[test]
fn hangs_are_counted_by_check_and_by_plugin() {
    let gate = Gate::new();
    let mut config = config();
    let file = config.dir().join("stall");
    let stall = |ms: u32| format!("{{ how = \"stall\", ms = {ms}, if_file = {file:?} }}");
    let deaf = |name: &str| {
        check(name)
            .plugin("hold")
            .interval("1h")
            .set("attempts", "1")
            .timeout("3s")
            .set(
                "config",
                &format!("{{ gate = {:?}, deaf = true }}", gate.path()),
            )
    };
    for (name, ms) in [("short", 200), ("long", 30_000)] {
        config = config.check(
            check(name)
                .plugin("crash_step")
                .interval("1h")
                .set("attempts", "1")
                .set("config", &stall(ms)),
        );
    }
    let daemon = config
        .check(deaf("deaf-1"))
        .check(deaf("deaf-2"))
        .check(check("dies").plugin("crash").interval("1h").set(
            "config",
            &format!("{{ how = \"segv\", if_file = {file:?} }}"),
        ))
        .spawn();
    daemon.expect_notify("READY=1");
    // From here on they run when they are asked to.
    daemon.ask("pause", json!({"names": ["short", "long", "dies"]}));
    let first = gate.wait_entered();
    let second = gate.wait_entered();
    until(
        &daemon,
        "two overruns",
        || plugin(&daemon, "hold"),
        |c| c["overruns"] == 2 && c["stuck_threads"] == 2,
    );
    assert_eq!(cost(&daemon, "deaf-1")["overruns"], 1);
    assert_eq!(daemon.workers()[0]["stuck_threads"], 2);
    let said = daemon.told_by_daemon(&["workers"]);
    assert!(
        said.out.contains("2 of its threads are in calls"),
        "{said:?}"
    );
    first.open();
    second.open();
    until(
        &daemon,
        "both threads back",
        || plugin(&daemon, "hold"),
        |c| c["stuck_threads"] == 0,
    );
    for name in ["short", "long", "dies"] {
        daemon.run(name);
    }
    // A machine that is busy may have kept a step of those runs from its end, which is counted too.
    let stalls = |name: &str| cost(&daemon, name)["stalls"].as_u64().expect("a number");
    let before = (stalls("short"), stalls("long"));
    fs::write(&file, "").expect("our own folder");
    let row = daemon.run("short");
    assert_eq!(row["status"], "ok", "{row}");
    assert_eq!(stalls("short"), before.0 + 1);
    let row = daemon.run("long");
    assert_eq!(row["status"], "unknown", "{row}");
    assert_eq!(stalls("long"), before.1 + 1);
    let row = daemon.run("dies");
    assert_eq!(row["status"], "unknown", "{row}");
    assert_eq!(cost(&daemon, "dies")["crashes"], 1);
    let both = before.0 + before.1 + 2;
    assert_eq!(plugin(&daemon, "crash_step")["stalls"], both);
    assert_eq!(plugin(&daemon, "crash")["crashes"], 1);
    assert_eq!(plugin(&daemon, "crash")["stalls"], 0);
    let said = daemon.told_by_daemon(&["show", "long"]);
    assert!(
        said.out.contains(&format!("{} stall", before.1 + 1)),
        "{said:?}"
    );
}
