//! A reload is a diff: what has not changed does not notice it, and a bad one changes nothing.

use crate::harness::ctl::{same_moment, wait_for};
use crate::harness::{Check, Config, Gate, check, fixtures};
use serde_json::json;
use std::fs;

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"))
}

fn echo(name: &str, status: &str) -> Check {
    check(name)
        .plugin("echo_step")
        .interval("1h")
        .set("retry_interval", "\"1h\"")
        .set("config", &format!("{{ status = {status:?} }}"))
}

fn held(gate: &Gate) -> Check {
    check("held")
        .plugin("hold")
        .interval("1h")
        .timeout("5m")
        .set("config", &format!("{{ gate = {:?} }}", gate.path()))
}

#[test]
fn what_has_not_changed_keeps_its_run_its_plan_and_its_attempts() {
    let gate = Gate::new();
    let daemon = config()
        .only_asked()
        .check(held(&gate))
        .check(echo("soft", "critical"))
        .check(echo("changed", "ok"))
        .check(echo("gone", "ok"))
        .spawn();
    daemon.expect_notify("READY=1");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["held"]}));
    let visit = gate.wait_entered();
    daemon.ask("run", json!({"names": ["soft", "changed", "gone"]}));
    let before = daemon.ask("status", json!({}));
    let workers = daemon.pids("io");
    let mut watch = daemon.watch(&["*"]);
    // In another order, too.
    daemon.written.rewrite(&[
        echo("new", "ok"),
        echo("soft", "critical"),
        echo("changed", "warning"),
        held(&gate),
    ]);
    let report = daemon.ask("reload", json!({})).remove(0);
    for (key, n) in [
        ("added", 1),
        ("changed", 1),
        ("removed", 1),
        ("unchanged", 2),
    ] {
        assert_eq!(report[key], n, "{report}");
    }
    assert!(report["new_generation"].is_null(), "{report}");
    assert_eq!(daemon.pids("io"), workers);
    for name in ["soft", "held"] {
        let was = before
            .iter()
            .find(|r| r["name"] == name)
            .expect("it was there");
        let row = daemon.row(name);
        for key in ["verdict", "status", "attempt", "since", "last_run"] {
            assert_eq!(was[key], row[key], "{key}: {was} {row}");
        }
        assert!(
            same_moment(&was["next_run"], &row["next_run"]),
            "{was} {row}"
        );
    }
    let error = daemon
        .client()
        .ask("show", json!({"name": "gone"}))
        .expect_err("it is gone");
    assert_eq!(error["code"], "no_such_check");
    let names: Vec<_> = daemon
        .ask("status", json!({}))
        .iter()
        .map(|r| r["name"].clone())
        .collect();
    assert_eq!(names, ["new", "soft", "changed", "held"]);
    visit.open();
    watch.until_verdict("held", "ok");
    assert!(gate.is_empty(), "it ran once");
    assert_eq!(daemon.run("soft")["attempt"], 2);
    assert_eq!(daemon.run("changed")["status"], "warning");
    assert_eq!(daemon.run("new")["status"], "ok");
}

#[test]
fn a_bad_config_changes_nothing_and_names_every_mistake() {
    let daemon = config().only_asked().check(echo("a", "ok")).spawn();
    daemon.expect_notify("READY=1");
    daemon.run("a");
    let before = (daemon.row("a"), daemon.ask("version", json!({})));
    let good = fs::read_to_string(daemon.written.file()).expect("our own file");
    let bad = format!("{good}intervall = \"5s\"\n[[check]]\nname = 3\nplugin = \"ecco\"\n");
    fs::write(daemon.written.file(), bad).expect("our own file");
    let error = daemon
        .client()
        .ask("reload", json!({}))
        .expect_err("it is bad");
    assert_eq!(error["code"], "bad_config", "{error}");
    let all = error["diagnostics"].to_string();
    for mistake in [
        "intervall",
        "a key with a similar name exists: `interval`",
        "`name`",
        "ecco",
        "healthd.toml:",
    ] {
        assert!(all.contains(mistake), "{mistake} is missing: {all}");
    }
    let said = daemon.healthctl(&["reload"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("intervall") && said.err.contains("ecco"),
        "{said:?}"
    );
    assert_eq!((daemon.row("a"), daemon.ask("version", json!({}))), before);
    assert_eq!(daemon.run("a")["status"], "ok");
    // Mended, it is taken.
    fs::write(daemon.written.file(), good).expect("our own file");
    let said = daemon.healthctl(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn new_bytes_of_a_plugin_are_a_new_generation_and_the_old_one_drains() {
    let gate = Gate::new();
    let one = fixtures::named_variant("versioned", "FINE", "wrong", "1.0");
    let daemon = config()
        .only_asked()
        .daemon("plugin_watch", "false")
        .plugin_file(&one)
        .check(check("v").plugin("wrong").interval("1h"))
        .check(held(&gate))
        .spawn();
    let installed = daemon
        .dir()
        .join("plugins")
        .join(one.file_name().expect("a file"));
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("v")["message"], "version 1.0");
    let asked = json!({"v": 1, "op": "run", "names": ["held"]});
    daemon.client().send(&asked);
    let visit = gate.wait_entered();
    let old = daemon.pids("io");
    let two = fixtures::named_variant("versioned_2", "FINE", "wrong", "2.0");
    fixtures::replace(&two, &installed);
    // The new file alone changes nothing.
    assert_eq!(daemon.run("v")["message"], "version 1.0");
    let report = daemon.ask("reload", json!({})).remove(0);
    assert_eq!(
        (&report["new_generation"], &report["unchanged"]),
        (&2.into(), &2.into()),
        "{report}"
    );
    assert_eq!(daemon.run_anew("v")["message"], "version 2.0");
    // What was in flight ends where it began.
    let rows = daemon.workers();
    let draining: Vec<_> = rows.iter().filter(|r| r["state"] == "draining").collect();
    assert!(
        draining
            .iter()
            .any(|r| r["pid"] == visit.pid && r["in_flight"] == 1),
        "{rows:#?}"
    );
    let mut watch = daemon.watch(&["held"]);
    visit.open();
    watch.until_verdict("held", "ok");
    assert_eq!(daemon.detail("held")["runs"], 1);
    daemon.until_workers("the old ones are gone", |rows| {
        rows.iter()
            .all(|r| r["generation"] == 2 && r["state"] == "ready")
    });
    wait_for("their processes too", || {
        let is_gone = |pid: &u32| crate::harness::state(*pid).is_none_or(|s| s == 'Z');
        old.values().all(is_gone)
    });
    assert!(gate.is_empty());
}

#[test]
fn a_generation_that_does_not_come_up_changes_nothing() {
    let one = fixtures::named_variant("versioned", "FINE", "wrong", "1.0");
    let daemon = config()
        .only_asked()
        .daemon("plugin_watch", "false")
        .plugin_file(&one)
        .check(check("v").plugin("wrong").interval("1h"))
        .check(echo("a", "ok"))
        .spawn();
    let installed = daemon
        .dir()
        .join("plugins")
        .join(one.file_name().expect("a file"));
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    let workers = daemon.pids("io");
    for (variant, why) in [("INIT_CRASH", "SIGSEGV"), ("INIT_FAIL", "init")] {
        let bad = fixtures::named_variant(&format!("versioned_{variant}"), variant, "wrong", "2.0");
        fixtures::replace(&bad, &installed);
        let error = daemon
            .client()
            .ask("reload", json!({}))
            .expect_err("it cannot come up");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("did not get ready") && message.contains(why),
            "{error}"
        );
        assert_eq!(daemon.pids("io"), workers);
        assert_eq!(daemon.run("v")["message"], "version 1.0");
        assert_eq!(daemon.run("a")["verdict"], "ok");
    }
    // And a good one is taken afterwards.
    let good = fixtures::named_variant("versioned_2", "FINE", "wrong", "2.0");
    fixtures::replace(&good, &installed);
    daemon.ask("reload", json!({}));
    assert_eq!(daemon.run_anew("v")["message"], "version 2.0");
}

#[test]
fn a_file_overwritten_in_place_does_not_hurt_who_runs_it() {
    let one = fixtures::named_variant("versioned", "FINE", "wrong", "1.0");
    let config = config().daemon("plugin_watch", "false");
    let installed = config.dir().join("plugins/libhealthd_wrong.so");
    fs::create_dir(config.dir().join("plugins")).expect("our own folder");
    fixtures::replace(&one, &installed);
    let daemon = config
        .check(check("v").plugin("wrong").interval("1h"))
        .check(echo("a", "ok"))
        .spawn();
    daemon.expect_notify("READY=1");
    fs::write(&installed, vec![0xcc; 64 << 10]).expect("our own file");
    assert_eq!(daemon.run("v")["message"], "version 1.0");
    // Now it is refused, and that is said; what served before serves on.
    let report = daemon.ask("reload", json!({})).remove(0);
    assert!(report["warnings"].to_string().contains("ELF"), "{report}");
    assert_eq!(daemon.run("v")["message"], "version 1.0");
    assert_eq!(daemon.run("a")["verdict"], "ok");
    let rows = daemon.ask("plugins", json!({}));
    let row = rows
        .iter()
        .find(|r| r["name"] == "wrong")
        .expect("it serves");
    assert_eq!(row["state"], "refused", "{row}");
    assert!(row["reason"].to_string().contains("ELF"), "{row}");
}

#[test]
fn other_pool_sizes_replace_the_workers_without_a_gap() {
    let mut config = config().pool("io", "workers = 1");
    for n in 0..20 {
        config = config.check(
            check(&format!("c-{n}"))
                .plugin("echo_step")
                .interval("100ms")
                .set("attempts", "1"),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    for workers in [3, 2, 4, 1] {
        let text = fs::read_to_string(daemon.written.file()).expect("our own file");
        let text: String = text
            .lines()
            .map(|l| match l.starts_with("workers =") {
                true => format!("workers = {workers}\n"),
                false => format!("{l}\n"),
            })
            .collect();
        fs::write(daemon.written.file(), text).expect("our own file");
        let report = daemon.ask("reload", json!({})).remove(0);
        assert_eq!(report["unchanged"], 20, "{report}");
        daemon.until_workers("the new ones alone", |rows| {
            rows.len() == workers && rows.iter().all(|r| r["state"] == "ready")
        });
        let rows = daemon.ask("run", json!({}));
        for row in rows.iter().filter(|r| r["type"] == "check") {
            assert_eq!(
                (&row["status"], &row["verdict"]),
                (&"ok".into(), &"ok".into()),
                "{row}"
            );
        }
    }
    for line in daemon.log.all() {
        assert!(
            !line.contains("check changed") || line.contains("to=ok"),
            "{line}"
        );
    }
}

#[test]
fn a_run_of_before_does_not_count_for_the_check_as_it_is_now() {
    let gate = Gate::new();
    let each = |interval: &str| {
        check("held")
            .plugin("hold")
            .interval(interval)
            .timeout("5m")
            .set("config", &format!("{{ gate = {:?} }}", gate.path()))
    };
    let daemon = config().only_asked().check(each("1h")).spawn();
    daemon.expect_notify("READY=1");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["held"]}));
    let before = gate.wait_entered();
    daemon.written.rewrite(&[each("2h")]);
    let report = daemon.ask("reload", json!({})).remove(0);
    assert_eq!(report["changed"], 1, "{report}");
    let mut watch = daemon.watch(&["held"]);
    before.open();
    // Nothing is said about it; the check runs at once as it is now.
    let now = gate.wait_entered();
    assert_eq!(daemon.row("held")["verdict"], "pending");
    now.open();
    watch.until_verdict("held", "ok");
}
