//! Bad input, each with its message: plugin files, secrets, full disks.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, Small, check, fixtures, is_root, skipped};
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

fn config() -> Config {
    let config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .check(check("fine").plugin("echo_step").interval("1h"));
    fs::create_dir(config.dir().join("plugins")).expect("our own folder");
    config
}

/// Installs `from` as the plugin `name`.
fn install(config: &Config, from: &Path, name: &str) -> PathBuf {
    let to = config.dir().join(format!("plugins/libhealthd_{name}.so"));
    fixtures::replace(from, &to);
    to
}

fn refused(rows: &[Value], file: &str) -> String {
    let row = rows
        .iter()
        .find(|r| r["file"].as_str().is_some_and(|f| f.ends_with(file)))
        .unwrap_or_else(|| panic!("{file} is missing: {rows:#?}"));
    assert_eq!(row["state"], "refused", "{row}");
    row["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn each_refused_plugin_file_says_why_and_its_checks_are_unknown() {
    const VARIANTS: [(&str, &[&str]); 13] = [
        (
            "MAGIC",
            &["wrong magic 0x4242424242424242", "0x4845414c54484431"],
        ),
        ("MINOR", &["plugin ABI 1.9", "this healthd has 1.2"]),
        ("SIZE", &["older than 1.0", "ABI 1.0"]),
        ("FLAG", &["must-understand flag 0x10000000000"]),
        ("HALF_STEP", &["half a step lane"]),
        ("NO_LANE", &["needs the run lane", "missing"]),
        ("LATER_MAJOR", &["hd_plugin_v2"]),
        ("NO_SYMBOL", &["no symbol `hd_plugin_v1`"]),
        ("BAD_NAME", &["two words"]),
        ("BAD_SCHEMA", &["config_schema"]),
        ("CTOR_CRASH", &["constructor crashed", "SIGSEGV"]),
        (
            "CTOR_EXIT",
            &["constructor ended the process", "exit code 7"],
        ),
        (
            "CTOR_HANG",
            &["did not describe itself within 5 s", "constructor hangs"],
        ),
    ];
    let mut config = config();
    for (variant, _) in VARIANTS {
        let name = variant.to_lowercase();
        install(&config, &fixtures::variant(variant), &name);
        config = config.check(check(&name).plugin(&name).interval("1h"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let rows = daemon.ask("plugins", json!({}));
    for (variant, why) in VARIANTS {
        let name = variant.to_lowercase();
        let file = format!("libhealthd_{name}.so");
        let reason = refused(&rows, &file);
        let row = daemon.row(&name);
        assert_eq!(
            (&row["verdict"], &row["status"]),
            (&"unknown".into(), &"unknown".into()),
            "{row}"
        );
        for why in why {
            assert!(reason.contains(why), "{variant}: {why}: {reason}");
            assert!(
                row["message"].as_str().is_some_and(|m| m.contains(why)),
                "{row}"
            );
        }
        assert!(reason.contains(&file), "{reason}");
    }
    assert_eq!(daemon.run("fine")["verdict"], "ok");
    // Without a daemon it is the same word.
    let said = daemon.healthctl(&[
        "plugins",
        "verify",
        &fixtures::variant("MINOR").display().to_string(),
    ]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        (said.out.clone() + &said.err).contains("plugin ABI 1.9"),
        "{said:?}"
    );
}

#[test]
fn what_a_constructor_starts_ends_with_the_look_at_its_file() {
    let config = config();
    let mark = config.dir().display().to_string();
    let leaves = fixtures::named_variant("leaves", "CTOR_LEAVES", "wrong", "4321");
    install(&config, &leaves, "leaves");
    // And one that crashes behind it, so that nobody is left there who could end it.
    let left = fixtures::named_variant("left", "CTOR_LEFT", "wrong", "4322");
    let crashes = install(&config, &left, "left");
    let config = config.env("HEALTHD_TEST_LOOK", &mark);
    let left = || {
        let mut left = procs::with_variable("HEALTHD_TEST_LOOK", &mark);
        left.retain(|pid| procs::name(*pid) == "sleep");
        left
    };
    let written = config.write();
    assert_eq!(written.run(&["-t"]).status.code(), Some(0));
    assert_eq!(left(), [0; 0], "-t");
    let verify = Command::new(env!("CARGO_BIN_EXE_healthd"))
        .arg("--verify")
        .arg(&crashes)
        .env("HEALTHD_TEST_LOOK", &mark)
        .output()
        .expect("it starts");
    assert_eq!(verify.status.code(), Some(1), "{verify:?}");
    assert_eq!(left(), [0; 0], "--verify");
    let mut daemon = written.spawn();
    daemon.expect_notify("READY=1");
    let rows = daemon.ask("plugins", json!({}));
    assert!(rows.iter().any(|r| r["name"] == "wrong"), "{rows:?}");
    let reason = refused(&rows, "libhealthd_left.so");
    assert!(reason.contains("constructor crashed"), "{reason}");
    // The daemon may look once more, for what has become of its folder meanwhile.
    wait_for("no look leaves a program", || left().is_empty());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn files_that_are_no_plugins_or_anybodys() {
    let mut config = config();
    let plugins = config.dir().join("plugins");
    let path = |name: &str| plugins.join(format!("libhealthd_{name}.so"));
    let fine = fixtures::variant("FINE");
    fs::write(path("garbage"), [0x5a; 70_000]).expect("our own folder");
    fs::write(path("empty"), "").expect("our own folder");
    let elf = fs::read(&fine).expect("it was made");
    fs::write(path("half"), &elf[..elf.len() / 2]).expect("our own folder");
    fs::create_dir(path("folder")).expect("our own folder");
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("our own folder");
    for (name, mode) in [("everybody", 0o757), ("group", 0o775)] {
        fixtures::replace(&fine, &path(name));
        fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).expect("our own file");
    }
    let mut cases = vec![
        ("garbage", "ELF"),
        ("empty", ""),
        ("half", ""),
        ("folder", "not a regular file"),
        ("fifo", "not a regular file"),
        ("everybody", "lets everybody change it"),
        ("group", "lets its group change it"),
    ];
    if is_root() {
        fixtures::replace(&fine, &path("foreign"));
        chown(path("foreign"), Some(65534), None).expect("root may");
        cases.push(("foreign", "belongs to uid 65534"));
    }
    for (name, _) in &cases {
        config = config.check(check(name).plugin(name).interval("1h"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let rows = daemon.ask("plugins", json!({}));
    for (name, why) in cases {
        let reason = refused(&rows, &format!("libhealthd_{name}.so"));
        assert!(
            reason.contains(why) && reason.len() > 20,
            "{name}: {reason}"
        );
        assert_eq!(daemon.row(name)["verdict"], "unknown");
    }
    assert_eq!(daemon.run("fine")["verdict"], "ok");
}

/// Who may put a file there may run code as healthd.
#[test]
fn nothing_is_loaded_from_a_folder_that_others_may_change() {
    let judged = |change: &dyn Fn(&Path)| {
        let written = config().write();
        change(&written.dir().join("plugins"));
        let output = written.run(&["-t"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = judged(&|_| {});
    assert_eq!(code, Some(0), "{said}");
    let none = |way_out: &str, change: &dyn Fn(&Path)| {
        let (code, said) = judged(change);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("there is no plugin `echo_step`"), "{said}");
        assert!(said.contains(way_out), "{said}");
    };
    for mode in [0o757, 0o775, 0o1777] {
        none("`chmod go-w ", &|folder| {
            fs::set_permissions(folder, PermissionsExt::from_mode(mode)).expect("our own folder");
        });
    }
    if is_root() {
        none("`chown root ", &|folder| {
            chown(folder, Some(65534), None).expect("root may");
        });
    }
    for words in [
        "No such file or directory",
        "name the folder with the plugins by `plugin_dir`",
    ] {
        none(words, &|folder| {
            fs::remove_dir_all(folder).expect("our own folder");
        });
    }
}

#[test]
fn two_files_with_one_name_are_both_refused() {
    let config = config();
    let fine = fixtures::named_variant("twin", "FINE", "twin", "1.0");
    install(&config, &fine, "twin");
    install(&config, &fine, "also");
    let daemon = config
        .check(check("t").plugin("twin").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.row("t");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["verdict"], "unknown", "{row}");
    assert!(
        message.contains("libhealthd_also.so") && message.contains("libhealthd_twin.so"),
        "{row}"
    );
}

#[test]
fn a_plugin_that_is_in_no_file_is_a_config_error_with_a_hint() {
    let (code, said) = config()
        .check(check("x").plugin("ehco").interval("1h"))
        .refused();
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("there is no plugin `ehco`") && said.contains("`echo`"),
        "{said}"
    );
    assert!(said.contains("healthd.toml:"), "{said}");
}

#[test]
fn a_missing_secret_is_named_and_a_present_one_is_never_shown() {
    let secret = |from: &str| {
        check("s")
            .plugin("echo")
            .interval("1h")
            .set("config", &format!("{{ message = {from} }}"))
    };
    for (from, why) in [
        ("{ env = \"HD_NO_SUCH\" }", "HD_NO_SUCH"),
        ("{ file = \"/no/such/file\" }", "/no/such/file"),
        ("{ credential = \"nothing\" }", "nothing"),
    ] {
        let (code, said) = config().check(secret(from)).refused();
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let daemon = config()
        .daemon("log", "\"trace\"")
        .env("HD_SECRET", "correct horse")
        .check(secret("{ env = \"HD_SECRET\" }").set("attempts", "1"))
        .check(check("other").plugin("echo").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.run("other");
    assert_eq!(daemon.detail("s")["config"]["message"], "***");
    for args in [
        &["show", "s"][..],
        &["--json", "show", "s"],
        &["why", "other"],
    ] {
        let said = daemon.healthctl(args);
        let config = said.out.replace("\"message\":\"correct horse\"", "");
        assert!(
            !config.contains("\"config\":{\"message\":\"correct"),
            "{said:?}"
        );
    }
    let daemon_log = daemon.log.all().join("\n");
    let lines: Vec<_> = daemon_log
        .lines()
        // The plugin of this test says its secret aloud; what healthd adds must not.
        .filter(|l| l.contains("correct horse") && !l.contains("message=") && !l.contains("why="))
        .collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn a_full_disk_for_the_state_is_said_once_and_the_checks_go_on() {
    let config = config();
    let Some(disk) = Small::mount(&config.dir().join("state"), "64k") else {
        return skipped("a small file system cannot be mounted here");
    };
    let filler = disk.fill();
    let target = config.dir().join("target");
    fs::write(&target, "ok\n").expect("our own folder");
    let mut daemon = config
        .check(
            check("t")
                .plugin("echo_step")
                .interval("100ms")
                .set("attempts", "1")
                .set("config", &format!("{{ file = {target:?} }}")),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let line = daemon.expect_log("the state cannot be written");
    assert!(
        line.contains("state.log") && line.contains("space"),
        "{line}"
    );
    assert_eq!(daemon.run("t")["verdict"], "ok");
    fs::write(&target, "critical\n").expect("our own folder");
    assert_eq!(daemon.run_anew("t")["verdict"], "critical");
    fs::remove_file(filler).expect("our own file");
    fs::write(&target, "ok\n").expect("our own folder");
    daemon.expect_log("the state is on disk again");
    let said = daemon.log.all();
    assert_eq!(
        said.iter()
            .filter(|l| l.contains("cannot be written"))
            .count(),
        1
    );
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
}

#[test]
fn no_room_for_the_maps_is_a_message_and_no_crash() {
    let config = config();
    let Some(_disk) = Small::mount(&config.dir().join("run"), "16k") else {
        return skipped("a small file system cannot be mounted here");
    };
    let mut daemon = config.spawn();
    let line = daemon.expect_log("manager cannot go on");
    assert!(
        line.contains("space") || line.contains("No space"),
        "{line}"
    );
    daemon.signal(nix::sys::signal::Signal::SIGQUIT);
    let status = daemon.wait_exit();
    assert!(status.code().is_some(), "{status}");
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("SIGBUS"), "{log}");
}
