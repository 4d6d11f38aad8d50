//! Files that are dropped into the plugin directory: copied, replaced, deleted, broken. What serves goes on until
//! something better has proved itself.

use crate::harness::ctl::{assert_balanced, let_others_run};
use crate::harness::{Config, DEADLINE, Daemon, Gate, check, fixtures};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// With build 1.0 of the plugin in place; a folder `sway` says what builds do.
fn config() -> Config {
    let config = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .daemon("plugin_trial", "\"1h\"");
    let plugins = config.dir().join("plugins");
    fs::create_dir(&plugins).expect("our own folder");
    fs::create_dir(config.dir().join("sway")).expect("our own folder");
    fixtures::replace(&fixtures::build("1.0", 'o'), &plugins.join("libversion.so"));
    let sway = config.dir().join("sway");
    let check = check("v")
        .plugin("version")
        .interval("1h")
        .set("config", &format!("{{ sway = {sway:?} }}"));
    config.check(check)
}

fn started(config: Config) -> Daemon {
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("manager: ready");
    assert_eq!(daemon.run("v")["message"], "version 1.0");
    daemon
}

fn installed(daemon: &Daemon) -> PathBuf {
    daemon.dir().join("plugins/libversion.so")
}

fn drop_in(daemon: &Daemon, version: &str, variant: char) {
    fixtures::replace(&fixtures::build(version, variant), &installed(daemon));
}

fn sway(daemon: &Daemon, version: &str, mood: &str) {
    let file = daemon.dir().join("sway").join(version);
    fs::write(&file, mood).expect("our own folder");
}

fn plugin(daemon: &Daemon, name: &str) -> Value {
    let rows = daemon.ask("plugins", json!({}));
    let found = rows.iter().find(|r| r["name"] == name);
    found
        .unwrap_or_else(|| daemon.fail(&format!("no plugin {name}: {rows:#?}")))
        .clone()
}

/// No event tells of it, so each look is a question.
fn until_plugin(daemon: &Daemon, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let row = plugin(daemon, "version");
        if wanted(&row) {
            return row;
        }
        if begun.elapsed() > DEADLINE {
            daemon.fail(&format!("never seen: {what}: {row:#}"));
        }
        let_others_run();
    }
}

fn until_state(daemon: &Daemon, state: &str) -> Value {
    until_plugin(daemon, state, |row| row["state"] == state)
}

fn generation(daemon: &Daemon) -> u64 {
    let version = daemon.ask("version", json!({})).remove(0);
    version["generation"].as_u64().expect("a number")
}

fn serves(daemon: &Daemon, version: &str) {
    assert_eq!(
        daemon.run("v")["message"],
        format!("version {version}"),
        "{:#}",
        plugin(daemon, "version")
    );
}

/// Nothing but ok was ever said of any check.
fn no_false_word(daemon: &Daemon) {
    for line in daemon.log.all() {
        assert!(
            !line.contains("check changed") || line.contains("to=ok"),
            "{line}"
        );
    }
}

#[test]
fn every_way_of_replacing_a_file_is_a_hot_upgrade() {
    let daemon = started(config());
    // Renamed over the old one.
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    serves(&daemon, "2.0");
    // Overwritten in place.
    fs::copy(fixtures::build("3.0", 'o'), installed(&daemon)).expect("our own file");
    daemon.expect_log("plugins changed");
    serves(&daemon, "3.0");
    // Copied slowly: half a file is looked at, and refused.
    let bytes = fs::read(fixtures::build("4.0", 'o')).expect("a fixture");
    let mut file = fs::File::create(installed(&daemon)).expect("our own file");
    let (first, second) = bytes.split_at(bytes.len() / 2);
    file.write_all(first).expect("our own file");
    daemon.expect_log("is it still being copied?");
    serves(&daemon, "3.0");
    file.write_all(second).expect("our own file");
    drop(file);
    daemon.expect_log("plugins changed");
    serves(&daemon, "4.0");
    // Under another name, the old one gone.
    let other = daemon.dir().join("plugins/other.so");
    fs::remove_file(installed(&daemon)).expect("our own file");
    fixtures::replace(&fixtures::build("5.0", 'o'), &other);
    until_plugin(&daemon, "5.0", |r| r["version"] == "5.0");
    serves(&daemon, "5.0");
    // Only another name: no worker has to know.
    let before = generation(&daemon);
    fs::rename(&other, installed(&daemon)).expect("our own file");
    until_plugin(&daemon, "moved", |r| {
        r["file"]
            .as_str()
            .is_some_and(|f| f.ends_with("libversion.so"))
            && r["state"] == "trial"
    });
    assert_eq!(generation(&daemon), before);
    serves(&daemon, "5.0");
    no_false_word(&daemon);
}

#[test]
fn what_was_deleted_serves_until_it_is_back() {
    let daemon = started(config());
    let hash = plugin(&daemon, "version")["hash"].clone();
    fs::remove_file(installed(&daemon)).expect("our own file");
    daemon.expect_log("plugin file deleted");
    let row = until_state(&daemon, "deleted");
    assert_eq!(row["hash"], hash);
    serves(&daemon, "1.0");
    // Neither a reload nor a manager's death needs the file.
    let report = daemon.ask("reload", json!({})).remove(0);
    assert_eq!(report["unchanged"], 1, "{report}");
    crate::harness::kill(daemon.manager(), nix::sys::signal::Signal::SIGKILL);
    daemon.expect_log("manager started");
    daemon.expect_log("manager: ready");
    serves(&daemon, "1.0");
    assert_eq!(until_state(&daemon, "deleted")["hash"], hash);
    drop_in(&daemon, "1.0", 'o');
    until_state(&daemon, "loaded");
    serves(&daemon, "1.0");
}

#[test]
fn a_file_that_cannot_be_used_leaves_what_serves() {
    let daemon = started(config());
    let before = generation(&daemon);
    let refused = |what: &str, part: &str| {
        let line = daemon.expect_log("plugin refused");
        assert!(line.contains(part), "{what}: {line}");
        let row = until_plugin(&daemon, what, |r| {
            r["reason"].as_str().is_some_and(|why| why.contains(part))
        });
        assert_eq!(row["state"], "refused", "{row:#}");
        assert_eq!(row["hash"].as_str().map(str::len), Some(16), "{row:#}");
        serves(&daemon, "1.0");
    };
    // In one step: half of it is another matter.
    let other = daemon.dir().join("other");
    fs::write(&other, vec![0xcc; 64 << 10]).expect("our own folder");
    fs::rename(&other, installed(&daemon)).expect("our own folder");
    refused("no plugin at all", "ELF");
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    fixtures::replace(&fixtures::build("1.0", 'o'), &installed(&daemon));
    daemon.expect_log("plugins changed");
    fs::set_permissions(installed(&daemon), PermissionsExt::from_mode(0o666)).expect("our own");
    refused("everybody may write it", "lets everybody change it");
    fixtures::replace(&fixtures::variant("CTOR_CRASH"), &installed(&daemon));
    refused("its constructor crashes", "constructor crashed");
    // Two files of one plugin: neither is taken. What has proved itself before needs no trial.
    fixtures::replace(&fixtures::build("1.0", 'o'), &installed(&daemon));
    until_state(&daemon, "loaded");
    let twin = daemon.dir().join("plugins/twin.so");
    fixtures::replace(&fixtures::build("2.0", 'o'), &twin);
    refused("twins", "remove one");
    fs::remove_file(&twin).expect("our own file");
    until_state(&daemon, "loaded");
    assert_eq!(generation(&daemon), before + 2);
    // Each reason was said once.
    let said = daemon.log.all().join("\n").matches("ELF").count();
    assert_eq!(said, 1);
    no_false_word(&daemon);
}

#[test]
fn a_plugin_that_nobody_uses_is_only_listed() {
    let daemon = started(config());
    let before = (generation(&daemon), daemon.pids("io"));
    let file = daemon.dir().join("plugins/echo.so");
    fixtures::replace(&fixtures::fixture("echo"), &file);
    let begun = Instant::now();
    while !daemon
        .ask("plugins", json!({}))
        .iter()
        .any(|r| r["name"] == "echo_step" && r["state"] == "unused")
    {
        assert!(begun.elapsed() < DEADLINE, "it is not listed");
        let_others_run();
    }
    assert_eq!((generation(&daemon), daemon.pids("io")), before);
}

#[test]
fn the_directory_itself_may_be_replaced_and_removed() {
    let daemon = started(config());
    let dir = daemon.dir().join("plugins");
    let fill = |dir: &Path, version: &str| {
        fs::create_dir(dir).expect("our own folder");
        fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("our own folder");
        fixtures::replace(&fixtures::build(version, 'o'), &dir.join("libversion.so"));
    };
    let new = daemon.dir().join("plugins.new");
    fill(&new, "2.0");
    fs::rename(&dir, daemon.dir().join("plugins.old")).expect("our own folder");
    fs::rename(&new, &dir).expect("our own folder");
    daemon.expect_log("plugins changed");
    serves(&daemon, "2.0");
    // And the one that is there now is watched.
    drop_in(&daemon, "3.0", 'o');
    daemon.expect_log("plugins changed");
    fs::remove_dir_all(&dir).expect("our own folder");
    until_plugin(&daemon, "no folder", |r| {
        r["state"] == "deleted" || r["state"] == "refused"
    });
    serves(&daemon, "3.0");
    fill(&dir, "4.0");
    daemon.expect_log("plugins changed");
    serves(&daemon, "4.0");
    drop_in(&daemon, "5.0", 'o');
    daemon.expect_log("plugins changed");
    serves(&daemon, "5.0");
    no_false_word(&daemon);
}

#[test]
fn many_drops_in_a_row_are_few_upgrades() {
    let daemon = started(config());
    let build = fs::read(fixtures::build("2.0", 'o')).expect("a fixture");
    for n in 0..50 {
        let temp = daemon.dir().join("plugins/next");
        // Other bytes each time, the same plugin.
        fs::write(&temp, [&build[..], format!("{n}").as_bytes()].concat()).expect("our own folder");
        fs::rename(&temp, installed(&daemon)).expect("our own folder");
    }
    drop_in(&daemon, "3.0", 'o');
    until_plugin(&daemon, "3.0", |r| {
        r["version"] == "3.0" && r["state"] == "trial"
    });
    serves(&daemon, "3.0");
    assert!(generation(&daemon) < 40, "{}", generation(&daemon));
}

#[test]
fn a_file_that_is_written_to_without_end_holds_nobody_up() {
    let daemon = started(config());
    let endless = daemon.dir().join("plugins/endless.so");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut file = fs::File::create(&endless).expect("our own folder");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = file.write_all(b"more");
                let_others_run();
            }
        });
        drop_in(&daemon, "2.0", 'o');
        daemon.expect_log("plugins changed");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    serves(&daemon, "2.0");
}

#[test]
fn the_canary_keeps_bad_bytes_out_and_nobody_notices() {
    let daemon = started(config());
    let before = (generation(&daemon), daemon.detail("v")["runs"].clone());
    for (variant, why) in [
        ('c', "SIGSEGV"),
        ('e', "exit(3)"),
        ('u', "does not know"),
        ('p', "fails"),
        ('b', "the new build says critical"),
    ] {
        drop_in(&daemon, "2.0", variant);
        let line = daemon.expect_log("plugins not changed");
        assert!(
            line.contains("canary `v`") && line.contains(why),
            "{variant}: {line}"
        );
        let row = until_state(&daemon, "refused");
        assert_eq!(row["version"], "1.0", "{row:#}");
        assert!(row["reason"].to_string().contains("canary `v`"), "{row:#}");
    }
    // It ran for nobody: neither counted nor judged, and no check is held for it.
    assert_eq!(
        (generation(&daemon), daemon.detail("v")["runs"].clone()),
        before
    );
    assert!(daemon.detail("v")["held_until"].is_null());
    let pids = daemon.pids("io");
    // The same bytes once more, with another date: not tried again.
    drop_in(&daemon, "2.0", 'b');
    fs::write(daemon.dir().join("plugins/mark.so"), "x").expect("our own folder");
    daemon.expect_log("mark.so");
    assert_eq!(daemon.pids("io"), pids);
    serves(&daemon, "1.0");
    // Asked for, they are.
    let said = daemon.healthctl(&["plugins", "reload", "version"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("the new build says critical"), "{said:?}");
    // Where the old bytes say the same, it is the target that is bad.
    sway(&daemon, "1.0", "b");
    sway(&daemon, "2.0", "b");
    let said = daemon.healthctl(&["plugins", "reload", "version"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("version 1.0") && said.out.contains("-> version 2.0"),
        "{said:?}"
    );
    assert_eq!(daemon.run("v")["status"], "critical");
}

#[test]
fn bytes_that_turn_bad_on_trial_go_back() {
    let daemon = started(config());
    for (n, mood) in ["c", "e", "u"].iter().enumerate() {
        let version = format!("2.{n}");
        drop_in(&daemon, &version, 'o');
        daemon.expect_log("plugins changed");
        let row = until_state(&daemon, "trial");
        assert_eq!(row["version"], version.as_str(), "{row:#}");
        assert!(
            row["previous"].to_string().contains("version 1.0") && !row["trial_until"].is_null(),
            "{row:#}"
        );
        serves(&daemon, &version);
        sway(&daemon, &version, mood);
        // A check that only does not know needs more than one run to be believed.
        for _ in 0..2 {
            daemon.run("v");
        }
        daemon.expect_log("failed its trial");
        daemon.expect_log("plugins changed");
        let row = until_state(&daemon, "rolled back");
        assert_eq!(row["version"], "1.0", "{row:#}");
        let why = daemon
            .ask("why", json!({"name": "v"}))
            .remove(0)
            .to_string();
        assert!(why.contains("is in use again"), "{why}");
        until_ok(&daemon, "1.0");
    }
    // They lie there still, and are not tried again.
    let before = generation(&daemon);
    daemon.ask("reload", json!({}));
    assert_eq!(generation(&daemon), before);
    fs::remove_file(daemon.dir().join("sway/2.2")).expect("our own file");
    let said = daemon.healthctl(&["--json", "plugins", "reload"]);
    assert_eq!(said.json()["plugins"].as_array().map(Vec::len), Some(1));
    serves(&daemon, "2.2");
}

#[test]
fn bytes_on_trial_that_end_their_worker_go_back_once_it_is_known_who_it_was() {
    let config = config().plugin_file(fixtures::fixture("hold"));
    let gate = Gate::new();
    let held = check("held")
        .plugin("hold")
        .interval("1h")
        .timeout("5m")
        .set("attempts", "1")
        .set("config", &format!("{{ gate = {:?} }}", gate.path()));
    let daemon = started(config.check(held).pool("io", "workers = 1"));
    // Another one that is in a call whenever a worker dies, and comes into question as well.
    let held = json!({"v": 1, "op": "run", "names": ["held"]});
    daemon.client().send(&held);
    let mut stands = gate.wait_entered();
    let moods = [
        (
            "k",
            "SIGKILL in plugin `version`: its worker died, and only this check was in it",
        ),
        ("e", "a worker died: _exit(3)"),
        ("x", "exit(3) in plugin `version` (run)"),
    ];
    for (n, (mood, why)) in moods.iter().enumerate() {
        let version = format!("2.{n}");
        drop_in(&daemon, &version, 'o');
        daemon.expect_log("plugins changed");
        until_state(&daemon, "trial");
        // It has gone on in the old worker: its next run is in the new one.
        let mut client = daemon.client();
        client.send(&held);
        client.line().expect("it waits for that run");
        stands.open();
        client.answer().expect("it has ended");
        client.send(&held);
        stands = gate.wait_entered();
        sway(&daemon, &version, mood);
        let mut client = daemon.client();
        client.send(&json!({"v": 1, "op": "run", "names": ["v"]}));
        daemon.expect_log("worker died");
        stands.assert_hung_up();
        stands = gate.wait_entered();
        let line = daemon.expect_log("failed its trial");
        assert!(line.contains(why), "{line}");
        daemon.expect_log("plugins changed");
        let row = until_state(&daemon, "rolled back");
        assert_eq!(row["version"], "1.0", "{row:#}");
        until_ok(&daemon, "1.0");
    }
    stands.open();
    for line in daemon.log.all() {
        assert!(!line.contains("check held  check=held"), "{line}");
    }
}

/// A check that killed a worker is held for a moment.
fn until_ok(daemon: &Daemon, version: &str) {
    let begun = Instant::now();
    while daemon.run("v")["message"] != format!("version {version}") {
        assert!(begun.elapsed() < DEADLINE, "{:#}", daemon.row("v"));
    }
}

#[test]
fn bytes_that_stand_their_trial_stay_and_a_person_may_go_back() {
    let daemon = started(config().daemon("plugin_trial", "\"100ms\""));
    let nothing = daemon.healthctl(&["plugins", "rollback", "version"]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    assert!(
        nothing.err.contains("no version of `version`"),
        "{nothing:?}"
    );
    let unknown = daemon.healthctl(&["plugins", "rollback", "versoin"]);
    assert!(
        unknown.err.contains("did you mean `version`?"),
        "{unknown:?}"
    );
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugin has stood its trial");
    until_state(&daemon, "loaded");
    serves(&daemon, "2.0");
    let said = daemon.healthctl(&["plugins", "rollback", "version"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("-> version 1.0"), "{said:?}");
    serves(&daemon, "1.0");
    let row = plugin(&daemon, "version");
    assert_eq!(row["state"], "rolled back", "{row:#}");
    assert!(row["previous"].is_null(), "{row:#}");
    // There is one step back, and what lies there is taken when somebody says so.
    let nothing = daemon
        .client()
        .ask("plugins_rollback", json!({"name": "version"}));
    assert_eq!(nothing.expect_err("only one")["code"], "failed");
    let said = daemon.healthctl(&["plugins", "reload", "version"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    serves(&daemon, "2.0");
    let table = daemon.told_by_daemon(&["plugins"]).out;
    assert!(
        table.contains("version") && table.contains("2.0"),
        "{table}"
    );
    no_false_word(&daemon);
}

#[test]
fn two_unproven_builds_in_a_row_go_back_to_the_proven_one() {
    let daemon = started(config());
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    drop_in(&daemon, "3.0", 'o');
    daemon.expect_log("plugins changed");
    let row = until_state(&daemon, "trial");
    assert!(
        row["previous"].to_string().contains("version 1.0"),
        "{row:#}"
    );
    sway(&daemon, "3.0", "c");
    daemon.run("v");
    daemon.expect_log("failed its trial");
    until_state(&daemon, "rolled back");
    until_ok(&daemon, "1.0");
}

#[test]
fn a_reload_on_trial_keeps_the_trial_and_a_rollback_keeps_the_reload() {
    let daemon = started(config());
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    let sways = daemon.dir().join("sway");
    let one = |name: &str| {
        check(name)
            .plugin("version")
            .interval("1h")
            .set("config", &format!("{{ sway = {sways:?} }}"))
    };
    daemon.written.rewrite(&[one("v"), one("w")]);
    let report = daemon.ask("reload", json!({})).remove(0);
    assert_eq!(
        (&report["added"], &report["unchanged"]),
        (&1.into(), &1.into())
    );
    assert!(report["new_generation"].is_null(), "{report}");
    assert_eq!(plugin(&daemon, "version")["state"], "trial");
    assert_eq!(daemon.run("w")["message"], "version 2.0");
    sway(&daemon, "2.0", "c");
    daemon.run("w");
    daemon.expect_log("failed its trial");
    until_state(&daemon, "rolled back");
    until_ok(&daemon, "1.0");
    assert_eq!(daemon.ask("status", json!({})).len(), 2);
}

#[test]
fn a_config_that_is_being_edited_does_not_take_force_by_a_drop() {
    let daemon = started(config());
    fs::write(daemon.written.file(), "half a conf").expect("our own file");
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    serves(&daemon, "2.0");
    assert_eq!(daemon.ask("status", json!({})).len(), 1);
}

#[test]
fn a_check_whose_plugin_was_refused_lives_when_a_good_one_is_dropped_in() {
    let config = config().daemon("start_spread", "\"0s\"");
    fs::write(config.dir().join("plugins/libversion.so"), "no plugin").expect("our own file");
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.row("v")["verdict"], "unknown");
    drop_in(&daemon, "2.0", 'o');
    daemon.watch(&["v"]).until_verdict("v", "ok");
    serves(&daemon, "2.0");
}

#[test]
fn a_manager_that_dies_on_trial_leaves_the_trial_to_the_next() {
    let daemon = started(config());
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    crate::harness::kill(daemon.manager(), nix::sys::signal::Signal::SIGKILL);
    daemon.expect_log("manager: ready");
    daemon.expect_log("plugin on trial");
    serves(&daemon, "2.0");
    let row = until_state(&daemon, "trial");
    assert!(
        row["previous"].to_string().contains("version 1.0"),
        "{row:#}"
    );
    sway(&daemon, "2.0", "c");
    daemon.run("v");
    daemon.expect_log("failed its trial");
    until_state(&daemon, "rolled back");
    until_ok(&daemon, "1.0");
    // And the one after that knows what was rolled back.
    crate::harness::kill(daemon.manager(), nix::sys::signal::Signal::SIGKILL);
    daemon.expect_log("manager: ready");
    until_state(&daemon, "rolled back");
    until_ok(&daemon, "1.0");
}

#[test]
fn a_stop_on_trial_is_a_stop_and_a_restart_takes_the_file_as_it_is() {
    let mut daemon = started(config());
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    until_state(&daemon, "trial");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    serves(&daemon, "2.0");
    assert_eq!(until_state(&daemon, "loaded")["previous"], Value::Null);
}

#[test]
fn switched_off_only_a_person_takes_what_lies_there() {
    let daemon = started(config().daemon("plugin_watch", "false"));
    drop_in(&daemon, "2.0", 'o');
    let gate = Gate::new();
    let other = daemon.dir().join("plugins/libfixture_hold.so");
    fixtures::replace(&fixtures::fixture("hold"), &other);
    serves(&daemon, "1.0");
    // A worker that comes anew loads the bytes that were looked at, and not what lies in their place.
    let before = daemon.pids("io");
    for pid in before.values() {
        crate::harness::kill(*pid, nix::sys::signal::Signal::SIGKILL);
    }
    daemon.until_workers("others in their place", |rows| {
        let is_new = |pid: &u64| before.values().all(|old| u64::from(*old) != *pid);
        let ready = rows.iter().filter(|r| r["state"] == "ready");
        ready.clone().count() == before.len()
            && ready
                .filter_map(|r| r["pid"].as_u64())
                .all(|pid| is_new(&pid))
    });
    serves(&daemon, "1.0");
    // Of one plugin only.
    let said = daemon.healthctl(&["plugins", "reload", "hold"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let row = until_state(&daemon, "waits");
    assert_eq!(row["version"], "1.0", "{row:#}");
    serves(&daemon, "1.0");
    let none = daemon.healthctl(&["plugins", "reload", "nothing"]);
    assert_eq!(none.code, Some(3), "{none:?}");
    let said = daemon.healthctl(&["plugins", "reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    serves(&daemon, "2.0");
    assert!(gate.is_empty());
}

#[test]
fn under_load_upgrades_neither_miss_nor_double_nor_lie() {
    let mut config = config();
    for n in 0..60 {
        config = config.check(
            check(&format!("c-{n}"))
                .plugin("version_step")
                .interval("100ms")
                .set("attempts", "1"),
        );
    }
    let daemon = started(config);
    daemon.ask("run", json!({}));
    for (n, variant) in [(2, 'o'), (3, 'u'), (4, 'o'), (5, 'c'), (6, 'o')] {
        drop_in(&daemon, &format!("{n}.0"), variant);
        match variant {
            'o' => daemon.expect_log("plugins changed"),
            _ => daemon.expect_log("plugins not changed"),
        };
        daemon.workers().iter().for_each(assert_balanced);
    }
    serves(&daemon, "6.0");
    daemon.until_workers("the last generation alone", |rows| {
        rows.iter().all(|r| r["state"] == "ready")
    });
    let rows = daemon.workers();
    let lost: u64 = rows.iter().filter_map(|r| r["lost"].as_u64()).sum();
    assert_eq!(lost, 0, "{rows:#?}");
    for row in daemon.ask("status", json!({})) {
        assert_eq!(row["verdict"], "ok", "{row:#}");
    }
    no_false_word(&daemon);
}

#[test]
fn what_runs_while_bytes_change_ends_with_the_bytes_it_began_with() {
    let gate = Gate::new();
    let held = check("held")
        .plugin("version")
        .interval("1h")
        .timeout("5m")
        .set("config", &format!("{{ gate = {:?} }}", gate.path()));
    let daemon = config().check(held).spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("v")["message"], "version 1.0");
    let held = json!({"v": 1, "op": "run", "names": ["held"]});
    daemon.client().send(&held);
    let visit = gate.wait_entered();
    drop_in(&daemon, "2.0", 'o');
    daemon.expect_log("plugins changed");
    serves(&daemon, "2.0");
    let mut watch = daemon.watch(&["held"]);
    visit.open();
    let row = watch.until_verdict("held", "ok");
    assert_eq!(row["message"], "version 1.0", "{row:#}");
    assert_eq!(daemon.detail("held")["runs"], 1);
    assert!(gate.is_empty());
}

#[test]
fn more_plugins_than_one_message_carries_outlive_a_manager() {
    let config = config();
    let bytes = fs::read(fixtures::named_variant("many", "FINE", "pq000", "1.0")).expect("built");
    let at = bytes
        .windows(5)
        .position(|w| w == b"pq000")
        .expect("its name");
    for n in 0..300 {
        let mut bytes = bytes.clone();
        bytes[at..at + 5].copy_from_slice(format!("pq{n:03}").as_bytes());
        let file = config.dir().join(format!("plugins/many{n:03}.so"));
        fs::write(&file, bytes).expect("our own folder");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("our own file");
    }
    let daemon = started(config.check(check("last").plugin("pq299").interval("1h")));
    assert_eq!(daemon.run("last")["message"], "version 1.0");
    fs::remove_dir_all(daemon.dir().join("plugins")).expect("our own folder");
    crate::harness::kill(daemon.manager(), nix::sys::signal::Signal::SIGKILL);
    daemon.expect_log("manager: ready");
    assert_eq!(daemon.run("last")["message"], "version 1.0");
    serves(&daemon, "1.0");
}
