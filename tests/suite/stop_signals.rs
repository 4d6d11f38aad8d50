//! Who may stop the daemon: whoever runs it, and nobody whom it runs.

use crate::harness::{Config, Daemon, check, fixtures, is_root, kill, skipped};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

fn ends_well(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    daemon.expect_log("supervisor: signal  signal=SIGTERM from=");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

fn hurting(how: &str) -> Daemon {
    let bad = check("bad")
        .plugin("crash")
        .interval("100ms")
        .set("config", &format!("{{ how = {how:?} }}"));
    let daemon = Config::new()
        .plugin_file(fixtures::fixture("crash"))
        .plugin_file(fixtures::fixture("echo"))
        .check(bad)
        .good(2)
        .spawn();
    daemon.expect_notify("READY=1");
    daemon
}

/// By a user whom nobody else is, so that a `kill -1` finds nobody else; with these words more of setpriv.
fn of_its_own_user(config: Config, words: &[&str], script: &str) -> Daemon {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // One each, also of the tests of one process: two at once would end each other. No pid is above 2^22.
    let uid = 0x4000_0000 + 64 * std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = config.dir().to_owned();
    let own = |path: &std::path::Path| {
        std::fs::create_dir_all(path).expect("our own directory");
        std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("we are root");
    };
    own(&dir);
    own(&dir.join("run"));
    own(&dir.join("state"));
    let id = uid.to_string();
    let become_it = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    let sweep = check("sweep").script(script).timeout("1h").interval("1h");
    let daemon = config
        .daemon("stop_grace", "\"100ms\"")
        .wrapper(&[&become_it, words].concat())
        .plugin_file(fixtures::fixture("echo"))
        .check(sweep)
        .good(2)
        .spawn();
    daemon.expect_notify("READY=1");
    daemon
}

#[test]
fn what_a_plugin_sends_to_its_process_group_hits_its_worker_alone() {
    let daemon = hurting("group_term");
    let before = (daemon.manager(), daemon.role("worker"));
    daemon.watch(&["bad"]).until_verdict("bad", "ok");
    assert_eq!((daemon.manager(), daemon.role("worker")), before);
    ends_well(daemon);

    let daemon = hurting("group");
    let manager = daemon.manager();
    let named = daemon.expect_log("manager: worker died");
    assert!(named.contains("SIGKILL"), "{named}");
    daemon.watch(&["fine-0"]).until_verdict("fine-0", "ok");
    assert_eq!(daemon.manager(), manager);
    ends_well(daemon);
}

#[test]
fn a_plugin_that_stops_its_parent_is_refused_and_named() {
    let daemon = hurting("parent");
    let refused = daemon.expect_log("supervisor: signal refused  signal=SIGTERM");
    // Numbers of processes begin anew some time, so their order says nothing of slots.
    let workers = daemon.role("worker");
    let told = |(slot, pid): (usize, &u32)| {
        refused.contains(&format!(
            "it came from the worker of slot {slot}, pid {pid}"
        ))
    };
    let in_slot = |slot: usize| workers.iter().any(|pid| told((slot, pid)));
    assert!((0..workers.len()).any(in_slot), "{refused}");
    ends_well(daemon);
}

#[test]
fn a_program_of_a_check_stops_nothing_with_any_signal() {
    let mut config = Config::new().daemon("stop_grace", "\"100ms\"");
    let pid = config.dir().join("run/healthd.pid");
    let sending = |signal: &str, then: &str| {
        let script = format!("read p < {}; kill -{signal} $p; {then}", pid.display());
        check(signal).script(&script).interval("1h").timeout("1h")
    };
    let (stops, others) = (["TERM", "INT", "QUIT", "HUP"], ["USR1", "VTALRM", "35"]);
    for signal in stops {
        // It stays, so that it can be looked at.
        config = config.check(sending(signal, "exec sleep 1000"));
    }
    for signal in others {
        config = config.check(sending(signal, "echo fine"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let manager = daemon.manager();
    // They come in any order.
    let refused = stops.map(|_| daemon.expect_log("supervisor: signal refused"));
    for signal in stops {
        let mark = format!("signal=SIG{signal} why=\"it came from ");
        let line = refused.iter().find(|line| line.contains(&mark));
        let below = |line: &String| line.contains("below the worker of slot");
        assert!(line.is_some_and(below), "{signal}: {refused:?}");
    }
    for signal in others {
        daemon.watch(&[signal]).until_verdict(signal, "ok");
    }
    assert_eq!(daemon.manager(), manager);
    ends_well(daemon);
}

#[test]
fn a_signal_to_all_processes_of_the_user_ends_nothing() {
    if !is_root() {
        return skipped("only root can run a daemon as a user of its own");
    }
    let script = "kill -TERM -1; exec sleep 1000";
    let daemon = of_its_own_user(Config::new(), &[], script);
    let (manager, workers) = (daemon.manager(), daemon.role("worker"));
    daemon.expect_log("supervisor: signal refused  signal=SIGTERM");
    daemon.watch(&["fine-1"]).until_verdict("fine-1", "ok");
    assert_eq!(
        (daemon.manager(), daemon.role("worker")),
        (manager, workers)
    );
    ends_well(daemon);
}

/// A kernel asks for one of both: no_new_privs, as the unit has it, or root.
#[test]
fn a_plugin_does_not_kill_its_parent() {
    let unit = ["setpriv", "--no-new-privs"];
    let mut ways: Vec<&[&str]> = vec![&unit];
    if is_root() {
        ways.push(&[]);
    }
    let bad = |when: &str| {
        let config = format!("{{ how = \"parent_kill\", when = {when:?} }}");
        let check = check(when).plugin("crash").interval("1h");
        check.set("config", &config)
    };
    for wrapper in ways {
        let daemon = Config::new()
            .wrapper(wrapper)
            .plugin_file(fixtures::fixture("crash"))
            .plugin_file(fixtures::variant("CTOR_KILL"))
            .check(bad("run"))
            .spawn();
        daemon.expect_notify("READY=1");
        let manager = daemon.manager();
        assert_eq!(daemon.run("run")["message"], "still alive");
        // Nor who looks at a plugin before it is loaded, or asks it what it thinks of options.
        let rows = daemon.ask("plugins", json!({}));
        let refused = rows.iter().find(|row| row["state"] == "refused");
        let reason = refused.map(Value::to_string).unwrap_or_default();
        assert!(reason.contains("exit code 9"), "{rows:?}");
        daemon.written.rewrite(&[bad("run"), bad("create")]);
        daemon.ask("reload", json!({}));
        assert_eq!(daemon.run("create")["status"], "ok");
        assert_eq!(daemon.manager(), manager);
        ends_well(daemon);
    }
}

/// Where no sandbox keeps their signals in.
#[test]
fn programs_do_not_kill_the_daemon() {
    if !is_root() {
        return skipped("only root can run a daemon as a user of its own");
    }
    let config = Config::new().pool("exec", "sandbox = \"off\"");
    let pid = config.dir().join("run/healthd.pid");
    let script = format!(
        "kill -KILL -1; a=$?; read p < {}; kill -KILL $p; b=$?; kill -STOP $p; c=$?; kill -KILL -$p; echo $a $b $c $?",
        pid.display()
    );
    let daemon = of_its_own_user(config, &["--no-new-privs"], &script);
    daemon.watch(&["sweep"]).until_verdict("sweep", "ok");
    assert_eq!(daemon.row("sweep")["message"], "1 1 1 1");
    ends_well(daemon);
}

#[test]
fn the_interrupt_key_of_a_terminal_ends_everything_well() {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut keys = std::fs::File::from(terminal.master);
    let mut daemon = Config::new()
        .check(check("a").script("echo fine"))
        .terminal(terminal.slave)
        .spawn();
    daemon.expect_notify("READY=1");
    keys.write_all(b"\x03")
        .expect("somebody reads the terminal");
    daemon.expect_log("signal=SIGINT from=\"the terminal\"");
    daemon.expect_notify("STOPPING=1");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn each_role_has_a_process_group_of_its_own() {
    let daemon = Config::new().check(check("a").script("true")).spawn();
    daemon.expect_notify("READY=1");
    for pid in [daemon.role("worker"), daemon.role("manager")].concat() {
        let process = nix::unistd::Pid::from_raw(pid as i32);
        assert_eq!(nix::unistd::getpgid(Some(process)), Ok(process));
    }
    // The group that a shell would signal has the supervisor in it, and nobody else of the daemon.
    kill(daemon.manager(), Signal::SIGTERM);
    daemon.watch(&["a"]).until_verdict("a", "ok");
    ends_well(daemon);
}
