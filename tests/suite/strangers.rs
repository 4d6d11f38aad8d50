//! A plugin file that did not come with healthd has workers of its own, and whatever it does to a process it does to those.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, check, fixtures};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;

fn port(listener: &TcpListener) -> Check {
    let port = listener.local_addr().expect("bound").port();
    check("port").plugin("tcp").interval("1h").set(
        "config",
        &format!("{{ host = \"127.0.0.1\", port = {port} }}"),
    )
}

fn of(name: &str, plugin: &str, config: &str) -> Check {
    check(name)
        .plugin(plugin)
        .interval("1h")
        .set("attempts", "1")
        .set("retry_interval", "\"1h\"")
        .set("config", config)
}

fn echo(name: &str) -> Check {
    of(name, "echo", "{ status = \"ok\" }")
}

fn config() -> Config {
    Config::new()
        .strangers()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 2")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("crash"))
}

fn spawn(config: Config) -> Daemon {
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon
}

/// Until these are the workers, and each works: its class, and the plugins whose own it is.
fn until_own(daemon: &Daemon, wanted: &[impl AsRef<str> + std::fmt::Debug]) {
    let ready = |w: &Value| w["state"] == "ready" && w["jail"].is_null();
    let name = |w: &Value| {
        let plugins = w["plugins"].as_array().cloned().unwrap_or_default();
        let plugins: Vec<&str> = plugins.iter().filter_map(Value::as_str).collect();
        format!(
            "{} {}",
            w["class"].as_str().unwrap_or_default(),
            plugins.join("+")
        )
    };
    daemon.until_workers(&format!("{wanted:?}"), |all| {
        let mut names: Vec<String> = all.iter().map(name).collect();
        names.sort();
        let are_there = names.iter().eq(wanted.iter().map(AsRef::as_ref));
        are_there && all.iter().all(ready)
    });
}

fn worker_of(daemon: &Daemon, check: &str) -> Value {
    let slot = daemon.detail(check)["worker"].clone();
    daemon
        .workers()
        .into_iter()
        .find(|w| w["slot"] == slot)
        .unwrap_or_default()
}

#[test]
fn a_file_that_did_not_come_with_healthd_has_workers_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let fine = || {
        of(
            "fine",
            "crash",
            "{ how = \"segv\", if_file = \"/nowhere\" }",
        )
    };
    let heavy = of(
        "heavy",
        "crash_cpu",
        "{ how = \"segv\", if_file = \"/nowhere\" }",
    );
    let daemon = spawn(
        config()
            .pool("cpu", "workers = 1")
            .check(port(&listener))
            .check(echo("one"))
            .check(fine()),
    );
    let shared = ["io ", "io "].map(str::to_owned);
    let all = |more: &[&str]| {
        let mut list = shared.to_vec();
        list.extend(more.iter().map(|m| (*m).to_owned()));
        list.sort();
        list
    };
    until_own(&daemon, &all(&["io crash", "io echo"]));
    for name in ["port", "one", "fine"] {
        assert_eq!(daemon.run(name)["status"], "ok", "{name}");
    }
    let pids: BTreeSet<u64> = ["port", "one", "fine"]
        .iter()
        .filter_map(|name| daemon.detail(name)["worker"].as_u64())
        .collect();
    assert_eq!(pids.len(), 3, "{:?}", daemon.workers());
    let table = daemon.told_by_daemon(&["workers"]).out;
    assert!(
        table.contains("  PLUGINS  ") && table.contains("  shared  "),
        "{table}"
    );

    // One that nothing uses any more ends; another class of the same file is another worker.
    daemon.written.rewrite(&[port(&listener), fine(), heavy]);
    daemon.ask("reload", json!({}));
    until_own(&daemon, &all(&["cpu crash_cpu", "io crash"]));
    assert_eq!(daemon.run("heavy")["status"], "ok");
}

#[test]
fn a_hand_may_group_them() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let fine = || {
        of(
            "fine",
            "crash",
            "{ how = \"segv\", if_file = \"/nowhere\" }",
        )
    };
    for (pools, workers) in [
        (
            &[("ours", "plugins = [\"echo\", \"crash\"]")][..],
            &["io ", "io ", "io crash+echo"][..],
        ),
        (
            &[("shared", "plugins = [\"echo\"]")],
            &["io ", "io ", "io crash"],
        ),
        // Healthd's own can be put apart as well.
        (
            &[("apart", "plugins = [\"tcp\"]")],
            &["io crash", "io echo", "io tcp"],
        ),
    ] {
        let mut config = config()
            .check(port(&listener))
            .check(echo("one"))
            .check(fine());
        for (name, lines) in pools {
            config = config.pool(name, lines);
        }
        let daemon = spawn(config);
        until_own(&daemon, workers);
        for name in ["port", "one", "fine"] {
            assert_eq!(daemon.run(name)["status"], "ok", "{name}");
        }
    }
}

/// Who drops a file with the name of one of healthd's own has not made it one of them.
#[test]
fn a_name_alone_makes_no_file_one_of_healthd_s_own() {
    let written = config().check(echo("one")).write();
    let folder = written.dir().join("plugins");
    fs::remove_file(folder.join("libfixture_crash.so")).expect("our own");
    fs::rename(
        folder.join("libfixture_echo.so"),
        folder.join("libhealthd_tcp.so"),
    )
    .expect("our own");
    let daemon = written.spawn();
    daemon.expect_notify("READY=1");
    until_own(&daemon, &["io echo"]);
    assert_eq!(daemon.run("one")["status"], "ok");
}

#[test]
fn what_a_stranger_does_to_its_process_touches_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let crash = |how: &str| of(how, "crash", &format!("{{ how = {how:?} }}"));
    let daemon = spawn(
        config()
            .check(port(&listener))
            .check(echo("one"))
            .check(crash("segv"))
            .check(crash("exit")),
    );
    for name in ["port", "one"] {
        daemon.run(name);
    }
    let before: Vec<Value> = ["port", "one"]
        .map(|n| worker_of(&daemon, n)["pid"].clone())
        .into();
    for how in ["segv", "exit"] {
        let row = daemon.run(how);
        assert_eq!(row["status"], "unknown", "{row}");
    }
    for (name, pid) in ["port", "one"].iter().zip(before) {
        let row = daemon.run_anew(name);
        assert_eq!(row["status"], "ok", "{row}");
        let worker = worker_of(&daemon, name);
        assert!(worker["pid"].is_u64(), "{name}: {worker}");
        assert_eq!(
            (&worker["pid"], &worker["restarts"]),
            (&pid, &json!(0)),
            "{worker}"
        );
    }
}

#[test]
fn what_a_stranger_writes_to_stderr_has_its_name() {
    let said = of("said", "talkative", "{ what = \"stderr\" }");
    let daemon = spawn(
        Config::new()
            .strangers()
            .daemon("log", "\"info\"")
            .plugin_file(fixtures::fixture("talkative"))
            .check(said),
    );
    daemon.run("said");
    let line = daemon.expect_log("a plugin wrote to stderr");
    assert!(line.contains(" class=io plugin=talkative pid="), "{line}");
}

/// A machine has some ten thousand threads for all.
#[test]
fn a_worker_whose_plugin_leaks_threads_is_replaced_and_says_so() {
    let leaks = of("leaks", "leak", "{ threads = 200 }");
    // After a third run it had more than it may have at all, and would be killed.
    let daemon = spawn(
        Config::new()
            .strangers()
            .only_asked()
            .daemon("log", "\"info\"")
            .plugin_file(fixtures::fixture("leak"))
            .check(leaks),
    );
    daemon.run("leaks");
    let of_leaks = |w: &Value| w["plugins"][0] == "leak";
    let worker = daemon
        .workers()
        .into_iter()
        .find(of_leaks)
        .unwrap_or_default();
    assert!(worker["threads"].as_u64() > Some(200), "{worker}");
    daemon.run("leaks");
    daemon.until_workers("a worker without those threads", |all| {
        all.iter()
            .any(|w| of_leaks(w) && w["state"] == "ready" && w["pid"] != worker["pid"])
    });
    let line = daemon.expect_log("worker is to be recycled");
    assert!(line.contains(" threads, "), "{line}");
}

#[test]
fn copies_of_files_that_no_check_uses_are_let_go() {
    let daemon = spawn(config().check(echo("fine")));
    let copies = |pid: u32| -> BTreeSet<String> {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
        let names = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let of_file = |name: String| {
            let name = name.strip_prefix("/memfd:")?.strip_suffix(" (deleted)")?;
            name.ends_with(".so").then(|| name.to_owned())
        };
        names.filter_map(of_file).collect()
    };
    let held = |names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|n| format!("libfixture_{n}.so")).collect();
        for pid in [daemon.pid(), daemon.manager()] {
            wait_for("what is held is what is used", || copies(pid) == names);
        }
    };
    held(&["echo"]);
    // What was let go is there again when a check needs it, and goes with the last of these.
    let crash = || {
        of(
            "other",
            "crash",
            "{ how = \"segv\", if_file = \"/nowhere\" }",
        )
    };
    daemon.written.rewrite(&[echo("fine"), crash()]);
    daemon.ask("reload", json!({}));
    assert_eq!(daemon.run_anew("other")["status"], "ok");
    held(&["crash", "echo"]);
    let manager = daemon.manager();
    crate::harness::kill(manager, nix::sys::signal::Signal::SIGKILL);
    wait_for("another manager", || {
        daemon.role("manager").iter().any(|p| *p != manager)
    });
    assert_eq!(daemon.run_anew("other")["status"], "ok");
    daemon.written.rewrite(&[echo("fine")]);
    daemon.ask("reload", json!({}));
    held(&["echo"]);
}

#[test]
fn a_check_that_blocks_others_again_and_again_gets_a_worker_apart() {
    let config = Config::new()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"));
    let file = config.dir().join("blocks");
    let blocks = of(
        "blocks",
        "crash_step",
        &format!("{{ how = \"stall\", ms = 400, if_file = {file:?} }}"),
    );
    let good = of("good", "echo_step", "{ status = \"ok\" }");
    let daemon = spawn(config.check(blocks).check(good));
    daemon.until_ok(&["blocks", "good"]);
    let shared = daemon.detail("good")["worker"].clone();
    assert_eq!(daemon.detail("blocks")["worker"], shared);
    fs::write(&file, "").expect("our own folder");
    // On a machine that does not let it run nobody is blamed: then it takes some more runs.
    let why = || daemon.told_by_daemon(&["why", "blocks"]).out;
    let apart = "it runs in a worker apart";
    wait_for("it is sent away", || {
        daemon.run_anew("blocks");
        why().contains(apart)
    });
    daemon.events().of("quarantined", "blocks");
    wait_for("its new worker", || {
        daemon.run_anew("blocks");
        daemon.detail("blocks")["worker"] != shared
    });
    assert_eq!(daemon.run_anew("good")["status"], "ok");
    assert_eq!(daemon.detail("good")["worker"], shared);
    // A new generation knows it too.
    daemon.ask("reload", json!({}));
    assert_eq!(daemon.run_anew("blocks")["status"], "ok");
    // Mended: with a few more runs that block it would be sent away again.
    fs::remove_file(&file).expect("our own folder");
    let said = daemon.healthctl(&["plugins", "release", "blocks"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!why().contains(apart), "{}", why());
    wait_for("it is back, and nobody is left there", || {
        daemon.run_anew("blocks");
        let io = daemon.workers();
        let io = io.iter().filter(|w| w["class"] == "io").count();
        io == 1 && daemon.detail("blocks")["worker"] == daemon.detail("good")["worker"]
    });
}
