//! Who keeps killing workers runs alone: suspects until the culprit is known, and the known ones until they survive.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, Gate, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .daemon("plugin_trial", "\"0s\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

/// A check that hurts its worker while `file` is there.
fn hurting(name: &str, plugin: &str, how: &str, file: &Path) -> Check {
    check(name)
        .plugin(plugin)
        .interval("1h")
        .set("retry_interval", "\"1h\"")
        .set(
            "config",
            &format!("{{ how = {how:?}, if_file = {file:?} }}"),
        )
}

fn held(gate: &Gate, name: &str) -> Check {
    check(name)
        .plugin("hold")
        .interval("1h")
        .timeout("2m")
        .set("config", &format!("{{ gate = {:?} }}", gate.path()))
}

fn arm(file: &Path) {
    fs::write(file, "").expect("our own folder");
}

fn disarm(file: &Path) {
    fs::remove_file(file).expect("our own folder");
}

fn message(row: &Value) -> &str {
    row["message"].as_str().unwrap_or_default()
}

fn jails(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|r| r["solo"].is_string()).collect()
}

fn until_no_jail(daemon: &Daemon) {
    daemon.until_workers("no jail is left", |rows| jails(rows).is_empty());
}

/// Was never anything but ok, and its attempts never counted.
fn assert_unmarked(daemon: &Daemon, names: &[&str]) {
    for name in names {
        let row = daemon.row(name);
        assert_eq!(row["verdict"], "ok", "{row}");
        assert_eq!(row["attempt"], 1, "{row}");
        assert!(row["quarantined"].is_null(), "{row}");
    }
    for line in daemon.log.all() {
        for name in names {
            let its =
                line.contains(&format!("check={name} ")) && !line.contains("solo worker started");
            assert!(!its || line.contains("to=ok"), "{line}");
        }
    }
}

/// Starts a gated run of each and waits until all stand at the gate.
fn at_the_gate(
    daemon: &Daemon,
    gate: &Gate,
    names: &[&str],
) -> (crate::harness::ctl::Client, Vec<crate::harness::Visit>) {
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": names}));
    let visits = names.iter().map(|_| gate.wait_entered()).collect();
    (client, visits)
}

fn first_runs(daemon: &Daemon, gate: &Gate, names: &[&str]) {
    for _ in names {
        gate.wait_entered().open();
    }
    daemon.until_ok(names);
}

#[test]
fn of_several_calls_in_progress_the_one_that_kills_is_found() {
    for (plugin, how, said) in [
        ("crash", "kill", "SIGKILL in plugin `crash`"),
        ("crash_step", "kill", "SIGKILL in plugin `crash_step`"),
        ("crash", "_exit", "_exit(0) in plugin `crash`"),
        ("crash_step", "_exit", "_exit(0) in plugin `crash_step`"),
    ] {
        let gate = Gate::new();
        let config = config();
        let file = config.dir().join("armed");
        let names = ["a", "b", "c"];
        let mut config = config.check(hurting("bad", plugin, how, &file));
        for name in names {
            config = config.check(held(&gate, name));
        }
        let daemon = config.spawn();
        daemon.expect_notify("READY=1");
        first_runs(&daemon, &gate, &names);
        assert_eq!(daemon.run("bad")["status"], "ok");
        let (mut client, visits) = at_the_gate(&daemon, &gate, &names);
        arm(&file);
        let mut watch = daemon.watch(&["bad"]);
        let mut bad = daemon.client();
        bad.send(&json!({"v": 1, "op": "run", "names": ["bad"]}));
        for visit in visits {
            visit.assert_hung_up();
        }
        // All that were in a call run again, each alone, and those at the gate end well.
        for _ in names {
            let again = gate.wait_entered();
            assert_eq!(again.attempt, 2, "{again:?}");
            again.open();
        }
        let rows = client.answer().expect("their runs");
        assert!(rows[1..].iter().all(|r| r["status"] == "ok"), "{rows:#?}");
        // SIGKILL may come from anybody, so it takes a second death of a worker that held nothing else.
        let row = watch.until("the culprit", |row| row["fault"] == "crash");
        assert!(message(&row).starts_with(said), "{row}");
        assert!(message(&row).contains("only this check was in it"), "{row}");
        assert_eq!(row["attempt"], 1, "{row}");
        // For a second, which may be over by now.
        daemon.events().of("held", "bad");
        disarm(&file);
        assert_unmarked(&daemon, &names);
        assert_eq!(daemon.run("bad")["status"], "ok");
        until_no_jail(&daemon);
    }
}

#[test]
fn workers_killed_from_outside_blame_nobody() {
    let gate = Gate::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut config = config();
    for name in names {
        config = config.check(held(&gate, name));
    }
    for n in 0..4 {
        let name = format!("quick-{n}");
        config = config.check(check(&name).plugin("echo_step").interval("100ms"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    first_runs(&daemon, &gate, &names);
    for _ in 0..5 {
        let (mut client, visits) = at_the_gate(&daemon, &gate, &names);
        let worker = daemon.pids("io")[&0];
        kill(worker, Signal::SIGKILL);
        // Those that were cut off before, and did not get a jail then, run alone from the start.
        let (cut_off, alone): (Vec<_>, Vec<_>) = visits.into_iter().partition(|v| v.pid == worker);
        assert!(cut_off.len() >= 2, "{alone:?}");
        let count = cut_off.len();
        cut_off
            .into_iter()
            .for_each(crate::harness::Visit::assert_hung_up);
        // There may be more of them than jails: none waits for another.
        let again: Vec<_> = (0..count).map(|_| gate.wait_entered()).collect();
        daemon.expect_log("solo worker started");
        for visit in again {
            assert_eq!(visit.attempt, 2);
            visit.open();
        }
        alone.into_iter().for_each(crate::harness::Visit::open);
        let rows = client.answer().expect("their runs");
        assert!(rows[1..].iter().all(|r| r["status"] == "ok"), "{rows:#?}");
        until_no_jail(&daemon);
    }
    assert_unmarked(&daemon, &names);
    for n in 0..4 {
        assert_eq!(daemon.row(&format!("quick-{n}"))["verdict"], "ok");
    }
}

/// Three crashes, each in a worker of the pool.
fn into_quarantine(daemon: &Daemon, name: &str) -> Value {
    for n in 1..=3 {
        let row = daemon.run(name);
        assert_eq!(row["status"], "unknown", "{n}: {row}");
        assert_eq!(row["fault"], "crash", "{n}: {row}");
    }
    let row = daemon.row(name);
    assert_eq!(row["quarantined"], true, "{row}");
    row
}

/// More crashes in quarantine, until it is held for a minute: time enough to look at it. How many it were in all.
fn until_held_for_long(daemon: &Daemon, name: &str, class: &str) -> u64 {
    for _ in 0..4 {
        let row = daemon.run(name);
        assert_eq!(row["status"], "unknown", "{row}");
        let place = format!("{class} solo worker in slot");
        assert!(message(&row).contains(&place), "{row}");
    }
    7
}

#[test]
fn quarantine_is_entered_shown_and_left_by_survival() {
    for (plugin, class) in [
        ("crash", "io"),
        ("crash_step", "io"),
        ("crash_cpu", "cpu"),
        ("crash_exec", "exec"),
    ] {
        let config = config();
        let file = config.dir().join("armed");
        let daemon = config
            .check(hurting("bad", plugin, "segv", &file))
            .check(
                check("good")
                    .plugin(plugin)
                    .interval("1h")
                    .set("config", "{ how = \"none\" }"),
            )
            .check(check("other").plugin("echo_step").interval("1h"))
            .spawn();
        daemon.expect_notify("READY=1");
        // A run that came by itself meanwhile could lose two workers.
        daemon.until_ok(&["bad", "good", "other"]);
        arm(&file);
        into_quarantine(&daemon, "bad");
        let begin = |crashes: u64| {
            format!(
                "quarantined after {crashes} crashes of plugin `{plugin}` (SIGSEGV in libfixture_crash.so+0x"
            )
        };
        assert!(daemon.expect_log("check quarantined").contains(&begin(3)));
        // From here on it costs nobody else a worker.
        let before: u64 = pool_restarts(&daemon);
        let crashes = until_held_for_long(&daemon, "bad", class);
        assert_eq!(pool_restarts(&daemon), before);
        let begin = begin(crashes);
        let detail = daemon.detail("bad");
        let text = detail["quarantine"]["text"].as_str().unwrap_or_default();
        assert!(text.starts_with(&begin), "{text}");
        assert!(text.contains(" hurt); runs alone; next try in "), "{text}");
        assert!(
            text.ends_with("; `healthctl plugins release bad` ends it"),
            "{text}"
        );
        assert_eq!(detail["quarantine"]["crashes"], crashes);
        let why = daemon.told_by_daemon(&["why", "bad"]);
        assert!(why.out.contains(&begin), "{why:?}");
        assert!(why.out.contains("next: held for"), "{why:?}");
        let status = daemon.told_by_daemon(&["status"]);
        assert!(status.out.contains("(quarantined)"), "{status:?}");
        let list = daemon.told_by_daemon(&["--json", "list", "bad"]).json();
        assert_eq!(list[0]["quarantined"], true, "{list}");
        let plugins = daemon.ask("plugins", json!({}));
        let of = |name: &str| plugins.iter().find(|p| p["name"] == name).expect("a row");
        assert_eq!(of(plugin)["quarantined"], 1, "{plugins:#?}");
        assert!(of("echo_step")["quarantined"].is_null(), "{plugins:#?}");
        let table = daemon.told_by_daemon(&["plugins"]);
        assert!(table.out.contains("loaded, 1 quarantined"), "{table:?}");
        // Mended: the third good run in a row sets it free.
        disarm(&file);
        for n in 1..=3 {
            let row = daemon.run("bad");
            assert_eq!(row["status"], "ok", "{row}");
            let left = daemon.detail("bad");
            match n {
                3 => assert!(left["quarantine"].is_null(), "{left}"),
                n => assert_eq!(left["quarantine"]["survived"], n, "{left}"),
            }
        }
        daemon.expect_log("quarantine is over  check=bad");
        until_no_jail(&daemon);
        assert_eq!(daemon.run("bad")["worker"], daemon.run("good")["worker"]);
        assert_eq!(pool_restarts(&daemon), before);
        assert_unmarked(&daemon, &["good", "other"]);
    }
}

fn pool_restarts(daemon: &Daemon) -> u64 {
    let rows = daemon.workers();
    let pool = rows.iter().filter(|r| r["solo"].is_null());
    pool.filter_map(|r| r["restarts"].as_u64()).sum()
}

#[test]
fn a_jail_is_a_row_of_workers_and_its_account_balances() {
    let gate = Gate::new();
    let daemon = config().check(held(&gate, "held")).spawn();
    daemon.expect_notify("READY=1");
    let visit = gate.wait_entered();
    kill(visit.pid, Signal::SIGKILL);
    let again = gate.wait_entered();
    let rows = daemon.workers();
    let [jail] = jails(&rows)[..] else {
        panic!("one jail: {rows:#?}");
    };
    assert_eq!(jail["solo"], "held", "{jail}");
    assert_eq!(
        (&jail["class"], &jail["in_flight"]),
        (&"io".into(), &1.into())
    );
    assert_eq!(jail["pid"], again.pid, "{jail}");
    let table = daemon.told_by_daemon(&["workers"]);
    assert!(table.out.contains("io solo"), "{table:?}");
    let why = daemon.told_by_daemon(&["why", "held"]);
    assert!(why.out.contains("io solo worker in slot"), "{why:?}");
    again.open();
    until_no_jail(&daemon);
    assert_eq!(daemon.row("held")["verdict"], "ok");
    let exited = format!("worker.{}.", jail["slot"]);
    wait_for("the jail's map is gone", || {
        let files = fs::read_dir(daemon.dir().join("run")).expect("our own folder");
        let mut names = files.filter_map(|f| f.ok()?.file_name().into_string().ok());
        !names.any(|name| name.starts_with(&exited))
    });
}

#[test]
fn release_ends_it_by_name_glob_or_plugin() {
    let config = config().only_asked();
    let file = config.dir().join("armed");
    let daemon = config
        .check(hurting("web/a", "crash", "segv", &file))
        .check(hurting("web/b", "crash", "segv", &file))
        .check(hurting("db", "crash_step", "abort", &file))
        .check(check("good").plugin("echo_step").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    for (word, of) in [
        ("web/a", "web/a"),
        ("web/*", "web/b"),
        ("crash_step", "db"),
        ("cra*", "web/a"),
    ] {
        arm(&file);
        into_quarantine(&daemon, of);
        disarm(&file);
        let said = daemon.healthctl(&["plugins", "release", word]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains(&format!("released {of}")), "{said:?}");
        let detail = daemon.detail(of);
        assert!(
            detail["quarantined"].is_null() && detail["held_until"].is_null(),
            "{detail}"
        );
        let row = daemon.run(of);
        assert_eq!(row["status"], "ok", "{row}");
        assert_eq!(row["worker"], 0, "in the pool again: {row}");
    }
    let said = daemon.healthctl(&["plugins", "release", "good"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.err.contains("none of these checks"), "{said:?}");
    let said = daemon.healthctl(&["plugins", "release", "wbe/a"]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("web/a"), "a hint: {said:?}");
    let rows = daemon.healthctl(&["--json", "plugins", "release", "*"]);
    assert_eq!(rows.json(), json!([]));
}

#[test]
fn it_outlives_the_manager_and_the_daemon() {
    let config = config().only_asked();
    let file: PathBuf = config.dir().join("armed");
    let daemon = config
        .check(hurting("bad", "crash", "segv", &file))
        .check(check("other").plugin("echo_step").interval("100ms"))
        .spawn();
    daemon.expect_notify("READY=1");
    arm(&file);
    into_quarantine(&daemon, "bad");
    let crashes = until_held_for_long(&daemon, "bad", "io");
    let known = |daemon: &Daemon| {
        let detail = daemon.detail("bad");
        let q = &detail["quarantine"];
        assert!(detail["held_until"].is_string(), "{detail}");
        (
            q["crashes"].clone(),
            q["reason"].clone(),
            q["since"].clone(),
        )
    };
    let before = known(&daemon);
    assert!(
        before
            .1
            .as_str()
            .is_some_and(|r| r.contains("SIGSEGV in libfixture_crash.so"))
    );
    // The reason is on disk alone.
    wait_for("the state is on disk", || {
        daemon.saved().contains(&format!("\"crashes\":{crashes}"))
    });
    let manager = daemon.manager();
    kill(manager, Signal::SIGKILL);
    wait_for("another manager", || {
        daemon
            .role("manager")
            .first()
            .is_some_and(|m| *m != manager)
    });
    assert_eq!(known(&daemon), before);
    let mut daemon = daemon;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    assert_eq!(known(&daemon), before);
    // And it is still alone there.
    let restarts = pool_restarts(&daemon);
    let row = daemon.run("bad");
    assert!(message(&row).contains("solo worker"), "{row}");
    assert_eq!(pool_restarts(&daemon), restarts);
    assert_eq!(daemon.row("other")["verdict"], "ok");
}

#[test]
fn a_reload_that_changes_it_gives_it_another_chance_and_one_that_removes_it_ends_all() {
    let config = config().only_asked();
    let file = config.dir().join("armed");
    let other = || {
        check("other")
            .plugin("crash")
            .interval("1h")
            .set("config", "{ how = \"none\" }")
    };
    let daemon = config
        .check(hurting("bad", "crash", "segv", &file))
        .check(other())
        .spawn();
    daemon.expect_notify("READY=1");
    arm(&file);
    into_quarantine(&daemon, "bad");
    // Unchanged: nothing changes.
    daemon.ask("reload", json!({}));
    assert_eq!(daemon.row("bad")["quarantined"], true);
    let changed = hurting("bad", "crash", "abort", &file);
    daemon.written.rewrite(&[changed, other()]);
    daemon.ask("reload", json!({}));
    assert!(daemon.row("bad")["quarantined"].is_null());
    into_quarantine(&daemon, "bad");
    daemon.written.rewrite(&[other()]);
    daemon.ask("reload", json!({}));
    until_no_jail(&daemon);
    assert_eq!(daemon.run("other")["status"], "ok");
    assert_eq!(daemon.workers().len(), 1);
}

#[test]
fn other_bytes_of_its_plugin_begin_anew() {
    // It is the reload that takes them.
    let config = config().only_asked().daemon("plugin_watch", "false");
    let file = config.dir().join("armed");
    let daemon = config.check(hurting("bad", "crash", "segv", &file)).spawn();
    daemon.expect_notify("READY=1");
    arm(&file);
    into_quarantine(&daemon, "bad");
    // The same code in a file that differs.
    let library = daemon.dir().join("plugins/libfixture_crash.so");
    let mut bytes = fs::read(&library).expect("the plugin");
    bytes.extend_from_slice(b"\n");
    let other = daemon.dir().join("other.so");
    fs::write(&other, bytes).expect("our own folder");
    fixtures::replace(&other, &library);
    disarm(&file);
    let report = daemon.ask("reload", json!({}));
    assert_eq!(report[0]["new_generation"], 2, "{report:?}");
    let row = daemon.run("bad");
    assert_eq!(
        (&row["status"], &row["quarantined"]),
        (&"ok".into(), &Value::Null),
        "{row}"
    );
    until_no_jail(&daemon);
}

#[test]
fn jail_reload_pause_and_stop_go_together() {
    let gate = Gate::new();
    let daemon = config()
        .check(held(&gate, "held"))
        .check(held(&gate, "later"))
        .spawn();
    let mut daemon = daemon;
    daemon.expect_notify("READY=1");
    first_runs(&daemon, &gate, &["held", "later"]);
    let (mut client, visits) = at_the_gate(&daemon, &gate, &["held"]);
    kill(visits[0].pid, Signal::SIGKILL);
    let again = gate.wait_entered();
    assert_eq!(jails(&daemon.workers()).len(), 1);
    // New workers take over while the jail is at work, and it is paused meanwhile.
    daemon.healthctl(&["pause", "held"]);
    let library = daemon.dir().join("plugins/libfixture_hold.so");
    let mut bytes = fs::read(&library).expect("the plugin");
    bytes.extend_from_slice(b"\n");
    let other = daemon.dir().join("other.so");
    fs::write(&other, bytes).expect("our own folder");
    fixtures::replace(&other, &library);
    daemon.ask("reload", json!({}));
    again.open();
    let rows = client.answer().expect("its run");
    assert_eq!(rows[1]["status"], "ok", "{rows:#?}");
    until_no_jail(&daemon);
    daemon.until_workers("the old workers are gone", |rows| rows.len() == 1);
    // And a stop while one is in the jail: it may end, and nothing is left.
    let (_client, visits) = at_the_gate(&daemon, &gate, &["later"]);
    kill(visits[0].pid, Signal::SIGKILL);
    let again = gate.wait_entered();
    daemon.signal(Signal::SIGTERM);
    daemon.expect_notify("STOPPING=1");
    again.open();
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn a_signal_that_leaves_no_record_is_found_in_the_jail() {
    // On a thread that has no stack for a handler nothing is written, and the kernel ends the worker.
    let config = config();
    let file = config.dir().join("armed");
    let options = format!("{{ how = \"stack\", where = \"bare\", if_file = {file:?} }}");
    let daemon = config
        .check(
            check("bad")
                .plugin("crash")
                .interval("1h")
                .set("config", &options),
        )
        .check(check("other").plugin("echo_step").interval("100ms"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["other"]);
    arm(&file);
    let row = daemon.run("bad");
    assert!(
        message(&row).starts_with("SIGSEGV in plugin `crash`"),
        "{row}"
    );
    assert!(message(&row).contains("only this check was in it"), "{row}");
    disarm(&file);
    until_no_jail(&daemon);
    assert_eq!(daemon.row("other")["verdict"], "ok");
}

#[test]
fn a_check_that_dies_in_create_is_quarantined_too() {
    for plugin in ["crash", "crash_step"] {
        let config = config();
        let file = config.dir().join("armed");
        let options = format!("{{ how = \"abort\", when = \"create\", if_file = {file:?} }}");
        arm(&file);
        let daemon = config
            .check(
                check("bad")
                    .plugin(plugin)
                    .interval("1h")
                    .set("config", &options),
            )
            .check(check("other").plugin("echo_step").interval("1h"))
            .spawn();
        daemon.expect_notify("READY=1");
        daemon.until_ok(&["other"]);
        // Its first run comes by itself.
        let mut watch = daemon.watch(&["bad"]);
        let row = watch.until("a crash", |row| row["status"] == "unknown");
        let said = format!("SIGABRT in plugin `{plugin}` (create) called from libfixture_crash.so");
        assert!(message(&row).starts_with(&said), "{row}");
        while daemon.row("bad")["quarantined"].is_null() {
            assert!(message(&daemon.run("bad")).starts_with(&said));
        }
        let restarts = pool_restarts(&daemon);
        assert_eq!(restarts, 3);
        let row = daemon.run("bad");
        assert!(message(&row).starts_with(&said), "{row}");
        assert!(message(&row).contains("solo worker"), "{row}");
        disarm(&file);
        assert_eq!(daemon.run("bad")["status"], "ok");
        assert_eq!(pool_restarts(&daemon), restarts);
        assert_unmarked(&daemon, &["other"]);
    }
}

#[test]
fn a_jail_that_is_closed_before_it_is_up_leaves_nothing() {
    let config = config().only_asked();
    let file = config.dir().join("armed");
    let daemon = config
        .check(hurting("bad", "crash", "segv", &file))
        .check(
            check("other")
                .plugin("crash")
                .interval("1h")
                .set("config", "{ how = \"none\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    for _ in 0..20 {
        arm(&file);
        while daemon.row("bad")["quarantined"].is_null() {
            daemon.run("bad");
        }
        disarm(&file);
        // The run that is asked for opens a jail, and the release makes it needless at once.
        let mut client = daemon.client();
        client.send(&json!({"v": 1, "op": "run", "names": ["bad"]}));
        daemon.healthctl(&["plugins", "release", "bad"]);
        let rows = client.answer().expect("its run");
        assert_eq!(rows[1]["status"], "ok", "{rows:#?}");
    }
    until_no_jail(&daemon);
    assert_eq!(daemon.run("other")["status"], "ok");
    wait_for("only the pool's map is left", || {
        let files = fs::read_dir(daemon.dir().join("run")).expect("our own folder");
        let names = files.filter_map(|f| f.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("worker.")).count() == 1
    });
}
