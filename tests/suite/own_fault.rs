//! What is healthd's own fault, or a plugin's, marks nobody else: overload, a full disk under the log, a storm of
//! clients with few descriptors, and hangs of every kind at once.

use crate::harness::ctl::{Client, wait_for};
use crate::harness::{
    Check, Config, Daemon, Full, Gate, Small, check, fine, fixtures, kill, poll_readable, skipped,
};
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

fn assert_nobody_else_is_marked(daemon: &Daemon) {
    for n in 0..10 {
        let row = daemon.run(&format!("fine-{n}"));
        assert_eq!(row["verdict"], "ok", "{row}");
    }
    for line in daemon.log.all() {
        let changed = line.contains("check changed") && line.contains("check=fine");
        assert!(!changed || line.contains("to=ok"), "{line}");
    }
}

fn deaf(name: &str, gate: &Gate) -> Check {
    check(name)
        .plugin("hold")
        .interval("1h")
        .timeout("2s")
        .set("attempts", "1")
        .set(
            "config",
            &format!("{{ gate = {:?}, deaf = true }}", gate.path()),
        )
}

#[test]
fn hangs_of_every_kind_at_once_are_told_by_their_checks_alone() {
    let gate = Gate::new();
    let mut config = config().good(10).pool("io", "workers = 1");
    let file = config.dir().join("stall");
    for (name, ms) in [("short", 300), ("long", 60_000)] {
        config = config.check(
            check(name)
                .plugin("crash_step")
                .interval("1h")
                .set("attempts", "1")
                .set(
                    "config",
                    &format!("{{ how = \"stall\", ms = {ms}, if_file = {file:?} }}"),
                ),
        );
    }
    for n in 0..6 {
        config = config.check(deaf(&format!("deaf-{n}"), &gate));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("pause", json!({"names": ["short", "long", "deaf-*"]}));
    daemon.ask("run", json!({"names": ["short", "long"]}));
    // Six calls that never come back, and with them one that blocks the reactor for a while, and one for good.
    fs::write(&file, "").expect("our own folder");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["deaf-*", "short", "long"]}));
    let rows = client.answer().expect("each has a result");
    fs::remove_file(&file).expect("our own folder");
    let rows: Vec<_> = rows.iter().filter(|r| r["type"] == "check").collect();
    assert_eq!(rows.len(), 8, "{rows:?}");
    for row in rows {
        let name = row["name"].as_str().expect("a name");
        assert_ne!(row["status"], "critical", "{row}");
        if name == "long" {
            let message = row["message"].as_str().unwrap_or_default();
            assert!(message.contains("stall"), "{row}");
        }
    }
    // Whoever held their worker is gone, with its threads.
    daemon.until_workers("one ready worker", |rows| {
        let of_io: Vec<_> = rows.iter().filter(|r| r["class"] == "io").collect();
        of_io.len() == 1 && of_io[0]["state"] == "ready" && of_io[0]["stuck_threads"] == 0
    });
    assert!(
        daemon.detail("long")["cost"]["stalls"]
            .as_u64()
            .is_some_and(|n| n > 0)
    );
    assert_nobody_else_is_marked(&daemon);
}

/// One that blocks where it runs for so long, while the file is there.
fn blocking(name: &str, plugin: &str, timeout: &str, ms: u32, file: &Path) -> Check {
    check(name)
        .plugin(plugin)
        .interval("1h")
        .timeout(timeout)
        .set("attempts", "1")
        .set(
            "config",
            &format!("{{ how = \"stall\", ms = {ms}, if_file = {file:?} }}"),
        )
}

#[test]
fn stuck_threads_stalls_overruns_and_a_reload_at_once_hurt_no_other() {
    let gate = Gate::new();
    let config = config().pool("io", "workers = 2");
    let file = config.dir().join("stall");
    let checks = |last: &str| {
        let mut all: Vec<Check> = (0..10).map(fine).collect();
        all.extend((0..3).map(|n| deaf(&format!("deaf-{n}"), &gate)));
        all.push(blocking("short", "crash_step", "5s", 300, &file));
        all.push(blocking("long", "crash_step", "300ms", 60_000, &file));
        all.push(blocking("over", "crash", "2s", 5_000, &file));
        all.push(check(last).plugin("echo_step").interval("1h"));
        all
    };
    let daemon = checks("before").into_iter().fold(config, Config::check);
    let daemon = daemon.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask(
        "pause",
        json!({"names": ["deaf-*", "short", "long", "over"]}),
    );
    daemon.ask(
        "run",
        json!({"names": ["fine-*", "short", "long", "over", "before"]}),
    );
    let runs = |n: usize| daemon.detail(&format!("fine-{n}"))["runs"].as_u64();
    let before: Vec<_> = (0..10).map(runs).collect();
    fs::write(&file, "").expect("our own folder");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["deaf-*", "short", "long", "over"]}));
    let mut stuck: Vec<_> = (0..3).map(|_| gate.wait_entered()).collect();
    // While all of that is under way.
    daemon.written.rewrite(&checks("after"));
    let report = daemon.ask("reload", json!({})).remove(0);
    assert_eq!(report["unchanged"], 16, "{report}");
    let rows = client.answer().expect("each has a result");
    fs::remove_file(&file).expect("our own folder");
    let rows: Vec<_> = rows.iter().filter(|r| r["type"] == "check").collect();
    assert_eq!(rows.len(), 6, "{rows:?}");
    for row in rows {
        let name = row["name"].as_str().expect("a name");
        let (status, said) = match name {
            "short" => ("ok", "still alive"),
            "long" => ("unknown", "stall: plugin `crash_step`"),
            _ => ("unknown", "overrun: run of plugin"),
        };
        let message = row["message"].as_str().unwrap_or_default();
        assert_eq!(row["status"], status, "{row}");
        assert!(message.starts_with(said), "{row}");
    }
    assert_nobody_else_is_marked(&daemon);
    for (n, before) in before.into_iter().enumerate() {
        assert!(runs(n) > before, "fine-{n} is forgotten");
    }
    assert_eq!(daemon.run("after")["verdict"], "ok");
    for line in daemon.log.all() {
        let marked = line.contains("check changed") && !line.contains("to=ok");
        let stuck = ["check=deaf-", "check=long ", "check=over "];
        assert!(!marked || stuck.iter().any(|s| line.contains(s)), "{line}");
    }
    // Nothing is lost but with the worker that stood still, and those that come back are taken back.
    let sum = |rows: &[Value], key: &str| rows.iter().filter_map(|r| r[key].as_u64()).sum::<u64>();
    let rows = daemon.workers();
    assert_eq!(sum(&rows, "lost_worker_died"), 0, "{rows:#?}");
    assert_eq!(sum(&rows, "lost_cancelled"), 0, "{rows:#?}");
    // Those that were in the worker that stood still have come once more.
    while !gate.is_empty() {
        stuck.push(gate.wait_entered());
    }
    for visit in stuck {
        visit.open();
    }
    daemon.until_workers("two ready workers", |rows| {
        let mut of_io = rows.iter().filter(|r| r["class"] == "io");
        rows.len() == 2 && of_io.all(|r| r["state"] == "ready" && r["stuck_threads"] == 0)
    });
}

#[test]
fn what_finds_no_room_in_time_says_so_and_keeps_its_verdict() {
    let config = config().pool("exec", "max_parallel = 1");
    let fifo = config.dir().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("our own folder");
    let daemon = config
        .check(
            check("long")
                .interval("1h")
                .timeout("5m")
                .script(&format!("cat {}", fifo.display())),
        )
        .check(
            check("quick")
                .interval("500ms")
                .timeout("5s")
                .set("attempts", "1")
                .script("true"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["quick"]);
    let row = watch.until("no room", |row| row["fault"] == "overload");
    assert_eq!(row["status"], "unknown", "{row}");
    assert!(
        row["verdict"] == "ok" || row["verdict"] == "pending",
        "{row}"
    );
    let why = daemon.told_by_daemon(&["why", "quick"]);
    assert!(
        why.out.contains("own fault") || why.out.contains("due "),
        "{why:?}"
    );
    // The other end: the long one reads its end of file.
    drop(
        fs::OpenOptions::new()
            .write(true)
            .open(&fifo)
            .expect("it reads"),
    );
    watch.until("room again", |row| {
        row["status"] == "ok" && row["verdict"] == "ok"
    });
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("to=critical"), "{log}");
}

/// A process that stands still.
struct Stopped(u32);

impl Stopped {
    fn new(pid: u32) -> Stopped {
        kill(pid, Signal::SIGSTOP);
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGCONT);
    }
}

#[test]
fn what_nobody_can_judge_is_unknown_after_its_attempts() {
    let gate = Gate::new();
    let config = config().only_asked().check(
        check("long")
            .plugin("hold")
            .interval("1h")
            .timeout("5m")
            .set("exclusive", "\"one\"")
            .set("config", &format!("{{ gate = {:?} }}", gate.path())),
    );
    let often = check("often")
        .plugin("echo")
        .interval("300ms")
        .timeout("30s")
        .set("attempts", "2")
        .set("exclusive", "\"one\"");
    let daemon = config.check(often).spawn();
    daemon.expect_notify("READY=1");
    let (mut events, mut watch) = (daemon.events(), daemon.watch(&["often"]));
    watch.until_verdict("often", "ok");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["long"]}));
    let visit = gate.wait_entered();
    let told = events.of("not-evaluated", "often");
    assert_eq!(told["cause"], "exclusive", "{told}");
    let flip = events.until("often is not known", |e| {
        e["kind"] == "flipped" && e["check"] == "often" && e["to"] == "unknown"
    });
    assert_eq!(
        (&flip["from"], &flip["cause"]),
        (&json!("ok"), &json!("exclusive")),
        "{flip}"
    );
    let row = watch.until_verdict("often", "unknown");
    assert_eq!(
        (&row["fault"], &row["stale"]),
        (&json!("exclusive"), &json!(true)),
        "{row}"
    );
    let said = daemon.told_by_daemon(&["status", "--problems"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("UNKNOWN (stale)"), "{said:?}");
    let why = daemon.told_by_daemon(&["why", "often"]);
    assert!(why.out.contains("nothing is known any more"), "{why:?}");
    // A manager after this one knows as much. Nobody stays in the group any more, not even the run that was cut off and
    // comes once more, so it may judge at once: what it knew before is what the change says.
    kill(daemon.manager(), Signal::SIGKILL);
    drop((visit, gate));
    daemon.expect_log("check changed  check=often from=unknown to=ok");
    let row = daemon.watch(&["often"]).until_verdict("often", "ok");
    assert_eq!(row["stale"], false, "{row}");
}

#[test]
fn a_pool_in_which_nobody_works_is_told_before_any_check() {
    let often = check("often").plugin("echo").interval("1s").timeout("5s");
    let daemon = config()
        .pool("io", "workers = 1")
        .check(check("rare").plugin("echo").interval("1h"))
        .check(often.set("attempts", "2"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.run("rare");
    daemon.watch(&["often"]).until_verdict("often", "ok");
    let mut events = daemon.events();
    assert_eq!(daemon.told_by_daemon(&["status"]).code, Some(0));
    // Nobody starts a worker in the place of the one that dies.
    let worker = daemon.pids("io")[&0];
    let stopped = Stopped::new(daemon.pid());
    kill(worker, Signal::SIGKILL);
    let down = events.kind("pool-down");
    assert_eq!(down["cause"], "io", "{down}");
    let said = daemon.told_by_daemon(&["status"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.starts_with("healthd: for "), "{said:?}");
    assert!(said.out.contains("no io worker is ready"), "{said:?}");
    assert!(
        said.out.contains("checks that it should run: 2"),
        "{said:?}"
    );
    let nagios = daemon.told_by_daemon(&["status", "--nagios"]);
    assert_eq!(nagios.code, Some(3), "{nagios:?}");
    assert!(
        nagios.out.starts_with("UNKNOWN - healthd: for "),
        "{nagios:?}"
    );
    let json = daemon.told_by_daemon(&["--json", "status"]);
    assert_eq!(
        (json.code, json.json().as_array().map(Vec::len)),
        (Some(3), Some(2))
    );
    assert!(json.err.contains("warning: for "), "{json:?}");
    // What was judged and is not due is what it was; the other gets old, though its run never ends.
    assert_eq!(daemon.told_by_daemon(&["status", "rare"]).code, Some(0));
    wait_for("an old row", || daemon.row("often")["stale"] == true);
    assert_eq!(daemon.told_by_daemon(&["status", "often"]).code, Some(3));
    drop(stopped);
    events.kind("pool-up");
    let mut watch = daemon.watch(&["often"]);
    watch.until("well again", |r| r["status"] == "ok" && r["stale"] == false);
    assert_eq!(daemon.told_by_daemon(&["status"]).code, Some(0));
}

#[test]
fn a_storm_of_clients_with_few_descriptors_hurts_no_check() {
    let daemon = config()
        .good(10)
        .wrapper(&["/bin/sh", "-c", "ulimit -n 96; exec \"$@\"", "sh"])
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({"names": ["fine-*"]}));
    let mut turned_away = 0;
    for _ in 0..5 {
        let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(&daemon.socket())).collect();
        for client in &mut clients {
            // One that is turned away may be hung up on before it has asked.
            let asked = nix::sys::socket::send(
                std::os::fd::AsRawFd::as_raw_fd(client.stream()),
                b"{\"v\":1,\"op\":\"version\"}\n",
                nix::sys::socket::MsgFlags::MSG_NOSIGNAL,
            );
            let line = client.line_or_reset();
            if asked.is_err() || line.is_none_or(|l| l["code"] == "busy") {
                turned_away += 1;
            }
        }
    }
    assert!(turned_away > 0, "all had room");
    assert_nobody_else_is_marked(&daemon);
    for row in daemon.workers() {
        assert_eq!(
            (&row["lost"], &row["restarts"]),
            (&json!(0), &json!(0)),
            "{row}"
        );
    }
}

#[test]
fn a_worker_for_whose_link_there_was_no_descriptor_comes_up_when_there_is_one() {
    let daemon = config().good(10).pool("io", "workers = 2").spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({"names": ["fine-*"]}));
    let manager = daemon.manager();
    let mut client = daemon.client();
    client.ask("version", json!({})).expect("it is let in");
    let before = daemon.pids("io");
    daemon.until_plugins_are_asked();
    // What the dead worker leaves free would do for the next: so not even that.
    let full = Full::of(manager);
    full.to(3);
    kill(before[&0], Signal::SIGKILL);
    let line = daemon.expect_log("no descriptor is left");
    assert!(
        line.contains("the link of a worker") && line.contains("LimitNOFILE"),
        "{line}"
    );
    daemon.expect_log("worker died before it was ready");
    // The other one goes on.
    for _ in 0..3 {
        let rows = client
            .ask("run", json!({"names": ["fine-*"]}))
            .expect("it answers");
        let rows: Vec<_> = rows.iter().filter(|r| r["type"] == "check").collect();
        assert_eq!(rows.len(), 10);
        assert!(rows.iter().all(|r| r["verdict"] == "ok"), "{rows:?}");
    }
    drop(full);
    daemon.until_workers("both ready", |rows| {
        let ready = rows.iter().filter(|r| r["state"] == "ready");
        ready.count() == 2 && rows.len() == 2
    });
    assert_ne!(daemon.pids("io")[&0], before[&0]);
    assert_eq!(daemon.manager(), manager);
    assert_nobody_else_is_marked(&daemon);
}

#[test]
fn no_descriptor_for_a_client_stops_nothing_and_whoever_waits_is_served_later() {
    let daemon = config().good(10).spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({"names": ["fine-*"]}));
    let manager = daemon.manager();
    let mut watch = daemon.watch(&["fine-0"]);
    watch.row();
    // What that holds would be free for clients later.
    daemon.until_plugins_are_asked();
    let full = Full::of(manager);
    let mut clients: Vec<Client> = (0..8).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.send(&json!({"v": 1, "op": "version"}));
    }
    let line = daemon.expect_log("no descriptor is left");
    assert!(line.contains("a control client"), "{line}");
    // It goes on with its checks, and sleeps in between.
    let cpu = procs::cpu_ms(manager);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let row = watch.row();
        assert_eq!(row["verdict"], "ok", "{row}");
    }
    let (took, cpu) = (begun.elapsed(), procs::cpu_ms(manager) - cpu);
    assert!(cpu < took.as_secs_f64() * 500.0, "{cpu} ms in {took:?}");
    // A number that it had open for a moment when we looked, as that of a client who was just leaving, did for one.
    let waits = |c: &&Client| !poll_readable(c.stream().as_fd(), Duration::ZERO);
    assert!(clients.iter().filter(waits).count() > 4);
    drop(full);
    for client in &mut clients {
        assert_eq!(client.answer().expect("it is served").len(), 1);
    }
    assert_eq!(daemon.manager(), manager);
    assert_nobody_else_is_marked(&daemon);
    let said = daemon.log.all();
    let said = said.iter().filter(|l| l.contains("no descriptor")).count();
    assert!(said < 3, "{said} times");
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let config = config().daemon("log", "\"debug\"").good(10);
    let Some(disk) = Small::mount(&config.dir().join("log"), "64k") else {
        return skipped("no file system can be mounted here");
    };
    let filler = disk.fill();
    let log = config.dir().join("log/healthd.log");
    let mut daemon = config
        .wrapper(&[
            "/bin/sh",
            "-c",
            &format!("exec \"$@\" 2>{}", log.display()),
            "sh",
        ])
        .spawn();
    let socket = daemon.socket();
    wait_for("the control socket", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    for _ in 0..5 {
        assert_nobody_else_is_marked(&daemon);
    }
    fs::remove_file(filler).expect("our own file");
    assert_nobody_else_is_marked(&daemon);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn a_targets_text_that_begins_with_self_is_text() {
    let file = |n: u8| format!("echo 'self:overload: x'; exit {n}");
    let daemon = config()
        .check(
            check("bad")
                .interval("1h")
                .set("attempts", "1")
                .script(&file(2)),
        )
        .check(
            check("odd")
                .interval("1h")
                .set("attempts", "1")
                .script(&file(3)),
        )
        .check(
            check("behind")
                .interval("1h")
                .set("attempts", "1")
                .set("needs", "\"bad\"")
                .script("exit 2"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    for (name, verdict) in [("bad", "critical"), ("odd", "unknown")] {
        let row = daemon.run(name);
        assert_eq!(row["message"], "self:overload: x", "{row}");
        assert_eq!(
            (&row["verdict"], &row["fault"]),
            (&verdict.into(), &Value::Null),
            "{row}"
        );
        let why = daemon.told_by_daemon(&["why", name]);
        assert!(!why.out.contains("own fault"), "{why:?}");
        assert!(why.out.contains(&format!("verdict {verdict}")), "{why:?}");
    }
    // It is not ok by its own word, so nothing is known of what lies behind it.
    let row = daemon.run("behind");
    assert_eq!(row["fault"], "dependency", "{row}");
    assert_eq!(row["verdict"], "pending", "{row}");
    let why = daemon.told_by_daemon(&["why", "behind"]);
    assert!(why.out.contains("own fault"), "{why:?}");
    // The map tells the same while nobody answers.
    let manager = daemon.manager();
    crate::harness::kill(manager, Signal::SIGSTOP);
    let rows = daemon.healthctl(&["--json", "status"]).json();
    let why = daemon.healthctl(&["why", "bad"]);
    crate::harness::kill(manager, Signal::SIGCONT);
    let faults: Vec<&Value> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| &r["fault"])
        .collect();
    assert_eq!(faults, [&Value::Null, &Value::Null, &"dependency".into()]);
    assert!(why.out.contains("verdict critical"), "{why:?}");
}
