//! Programs as checks: real Nagios plugins, and programs that behave badly.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, Leash, check, children, is_root, skipped, tree};
use std::fs;
use std::path::Path;

const NAGIOS: &str = "/usr/lib/nagios/plugins";

fn program(name: &str, argv: &[&str]) -> Check {
    check(name)
        .plugin("exec")
        .interval("1h")
        .set("config", &format!("{{ argv = {argv:?} }}"))
}

fn script(name: &str, text: &str) -> Check {
    program(name, &["/bin/sh", "-c", text])
}

fn start(config: Config) -> Daemon {
    let daemon = config.only_asked().spawn();
    daemon.expect_notify("READY=1");
    daemon
}

fn exec_worker(daemon: &Daemon) -> u32 {
    *daemon.pids("exec").values().next().expect("an exec worker")
}

fn fds(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn real_nagios_plugins() {
    if !Path::new(NAGIOS).join("check_dummy").exists() {
        return skipped("monitoring-plugins-basic is not installed");
    }
    let path = |name: &str| format!("{NAGIOS}/{name}");
    let server = healthd_testing::Peer::answering("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let port = server.addr.port().to_string();
    let mut config = Config::new();
    for status in ["0", "1", "2", "3"] {
        config = config.check(program(
            &format!("dummy-{status}"),
            &[&path("check_dummy"), status, "as told"],
        ));
    }
    let daemon = start(
        config
            .check(program(
                "load",
                &[
                    &path("check_load"),
                    "-w",
                    "1000,1000,1000",
                    "-c",
                    "2000,2000,2000",
                ],
            ))
            .check(program(
                "disk",
                &[&path("check_disk"), "-w", "0%", "-c", "0%", "-p", "/"],
            ))
            .check(program("procs", &[&path("check_procs"), "-w", "1:100000"]))
            .check(program(
                "tcp",
                &[&path("check_tcp"), "-H", "127.0.0.1", "-p", &port],
            ))
            .check(program(
                "http",
                &[&path("check_http"), "-I", "127.0.0.1", "-p", &port],
            )),
    );
    for (n, status) in ["ok", "warning", "critical", "unknown"].iter().enumerate() {
        let row = daemon.run(&format!("dummy-{n}"));
        assert_eq!(row["status"], *status, "{row}");
        assert!(
            row["message"]
                .as_str()
                .is_some_and(|m| m.contains("as told")),
            "{row}"
        );
    }
    for name in ["load", "disk", "procs", "tcp", "http"] {
        let row = daemon.run(name);
        assert_eq!(row["status"], "ok", "{row}");
        assert!(
            row["metrics"].as_array().is_some_and(|m| !m.is_empty()),
            "{row}"
        );
    }
    let exec = exec_worker(&daemon);
    wait_for("no child is left", || children(exec).is_empty());
}

#[test]
fn the_whole_group_ends_at_the_deadline() {
    let config = Config::new();
    let mut leash = Leash::new(config.dir());
    let text =
        leash.script("trap '' TERM; sleep 1000 & (sleep 1000; true) & setsid sleep 1000 & wait");
    let daemon = start(config.check(script("slow", &text).timeout("5s")));
    let row = daemon.run("slow");
    assert_eq!(row["status"], "critical", "{row}");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("timeout after 5s: killed after ")
            && message.ends_with("s by SIGKILL; it had said: no output"),
        "{row}"
    );
    leash.wait_held(&daemon);
    leash.assert_let_go(&daemon);
    let exec = exec_worker(&daemon);
    wait_for("no child is left", || children(exec).is_empty());
}

#[test]
fn a_child_that_stays_behind_holds_up_nothing() {
    let config = Config::new();
    let mut leash = Leash::new(config.dir());
    // It keeps stdout open, too.
    let text = leash.script("sleep 1000 & echo done; exit 0");
    let daemon = start(config.check(script("leaves", &text).timeout("60s")));
    let begun = std::time::Instant::now();
    let row = daemon.run("leaves");
    assert_eq!(
        (&row["status"], &row["message"]),
        (&"ok".into(), &"done".into()),
        "{row}"
    );
    assert!(begun.elapsed() < std::time::Duration::from_secs(50));
    leash.wait_held(&daemon);
    leash.assert_let_go(&daemon);
}

#[test]
fn hundreds_of_runs_leak_neither_descriptors_nor_zombies() {
    let mut config = Config::new();
    for n in 0..20 {
        config = config.check(script(&format!("s-{n}"), "echo fine; echo more >&2"));
    }
    let daemon = start(config);
    let run_all = || {
        let rows = daemon.ask("run", serde_json::json!({}));
        for row in rows.iter().filter(|r| r["type"] == "check") {
            assert_eq!(row["status"], "ok", "{row}");
        }
    };
    run_all();
    let exec = exec_worker(&daemon);
    wait_for("no child is left", || children(exec).is_empty());
    let before = fds(exec);
    for _ in 0..15 {
        run_all();
    }
    wait_for("no child is left", || children(exec).is_empty());
    wait_for("no fd is left", || fds(exec) <= before);
    assert_eq!(exec_worker(&daemon), exec);
}

#[test]
fn output_without_end_is_read_and_dropped() {
    let daemon = start(
        Config::new()
            .check(
                script(
                    "much",
                    "echo first line; head -c 20000000 /dev/zero | tr '\\0' x; exit 1",
                )
                .timeout("55s"),
            )
            .check(script("endless", "echo on and on; exec yes").timeout("1s"))
            .check(script("errors", "head -c 3000000 /dev/zero >&2; echo fine").timeout("55s")),
    );
    let row = daemon.run("much");
    assert_eq!(row["status"], "warning", "{:.500}", row.to_string());
    assert!(
        row["message"]
            .as_str()
            .is_some_and(|m| m.starts_with("first line")),
        "{:.500}",
        row.to_string()
    );
    assert!(daemon.detail("much").to_string().len() < 200 << 10);
    let row = daemon.run("endless");
    // On a machine that is busy it may have had too little of a processor.
    let starved = row["message"]
        .as_str()
        .is_some_and(|m| m.starts_with("self:starved"));
    assert!(row["status"] == "critical" || starved, "{row}");
    assert_eq!(daemon.run("errors")["status"], "ok");
}

#[test]
fn the_environment_is_small_and_no_descriptor_is_inherited() {
    let env = |name: &str, text: &str| {
        check(name).plugin("exec").interval("1h").set(
            "config",
            &format!("{{ argv = [\"/bin/sh\", \"-c\", {text:?}], env = {{ WORDS = \"a b\" }} }}"),
        )
    };
    let daemon = start(
        Config::new()
            .env("HD_LEAKED", "secret")
            // Whoever starts healthd may have left something open.
            .wrapper(&["sh", "-c", "exec 7</dev/null; exec \"$@\"", "sh"])
            .check(env(
                "env",
                "echo \"[$WORDS][$HD_LEAKED][$NOTIFY_SOCKET][$LC_NUMERIC]\"",
            ))
            .check(program("fds", &["/bin/ls", "/proc/self/fd"]))
            .check(script(
                "signals",
                "grep -E '^Sig(Blk|Ign)' /proc/self/status | tr '\\n' ' '",
            )),
    );
    assert_eq!(daemon.run("env")["message"], "[a b][][][C]");
    let fds = daemon.run("fds");
    let message = fds["message"].as_str().unwrap_or_default();
    assert_eq!(message, "0", "{fds}");
    // A name a line: the rest is detail. The last is the folder that ls reads.
    let detail = daemon.detail("fds")["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(
        detail.split_whitespace().collect::<Vec<_>>(),
        ["1", "2", "3"],
        "{detail:?}"
    );
    let signals = daemon.run("signals");
    let message = signals["message"].as_str().unwrap_or_default();
    let masks = message.split_whitespace().filter(|w| w.len() == 16);
    // Two signals are the C library's own (32 and 33), and whoever started us may have ignored them.
    let masks: Vec<_> = masks
        .map(|w| u64::from_str_radix(w, 16).expect("hexadecimal") & !0x1_8000_0000)
        .collect();
    assert_eq!(masks, [0, 0], "{signals}");
}

#[test]
fn programs_that_cannot_be_run_are_unknown_with_the_reason() {
    let config = Config::new();
    let plain = config.dir().join("plain");
    fs::write(&plain, "#!/bin/sh\necho no\n").expect("our own folder");
    let plain = plain.display().to_string();
    let daemon = start(
        config
            .check(program("missing", &["/no/such/program"]))
            .check(program("plain", &[&plain]))
            .check(script("killed", "kill -SEGV $$"))
            .check(script("code", "exit 77"))
            .check(script("silent", "exit 2")),
    );
    for (name, status, why) in [
        ("missing", "unknown", "/no/such/program"),
        ("plain", "unknown", "not executable"),
        ("killed", "unknown", "SIGSEGV"),
        ("code", "unknown", "77"),
        ("silent", "critical", ""),
    ] {
        let row = daemon.run(name);
        let message = row["message"].as_str().unwrap_or_default().to_lowercase();
        assert_eq!(row["status"], status, "{row}");
        assert!(message.contains(&why.to_lowercase()), "{row}");
    }
}

#[test]
fn long_lines_and_many_metrics_come_through_whole() {
    let line = "printf 'DISK CRITICAL:'; seq -f ' /srv/data%g 1 MB' -s, 1 300; exit 2";
    let ports = "printf 'ok |'; seq -f \"'Gi%g'=1%%;80;90;0;100\" 1 600 | tr '\\n' ' '";
    let daemon = start(
        Config::new()
            .check(script("disks", line))
            .check(script("ports", ports))
            .check(script("cut", "head -c 60000 /dev/zero | tr '\\0' x")),
    );
    let row = daemon.run("disks");
    let message = row["message"].as_str().expect("it has one");
    assert!(message.ends_with(", /srv/data300 1 MB"), "{message}");
    let row = daemon.run("ports");
    assert_eq!(row["metrics"].as_array().map(Vec::len), Some(600));
    let raw = daemon.detail("ports")["detail"].to_string();
    assert!(raw.contains("performance data: 'Gi1'="), "{raw:.300}");
    assert!(!raw.contains("not understood"), "{raw:.300}");
    let message = daemon.run("cut")["message"].to_string();
    assert!(message.contains("… [a line of 60000 bytes, cut]"));
}

/// Past its time it has as long as a busy machine needs.
fn patient(name: &str, argv: &[&str]) -> Check {
    check(name).plugin("exec").interval("1h").set(
        "config",
        &format!("{{ argv = {argv:?}, kill_grace = \"30s\" }}"),
    )
}

#[test]
fn a_program_past_its_time_may_clean_up_and_its_words_are_kept() {
    let config = Config::new();
    let lock = config.dir().join("lock").display().to_string();
    let clean = format!(
        "trap 'rm {lock}; exit 2' TERM; touch {lock}; echo checked 41 of 42; echo 42 hangs >&2; sleep 1000 & wait"
    );
    let daemon = start(
        config
            .check(patient("clean", &["/bin/sh", "-c", &clean]).timeout("5s"))
            .check(
                patient(
                    "unknown",
                    &["/bin/sh", "-c", "echo so far; exec sleep 1000"],
                )
                .timeout("5s")
                .set("timeout_status", "\"unknown\""),
            )
            .check(patient("silent", &["/bin/sleep", "1000"]).timeout("2s")),
    );
    let row = daemon.run("clean");
    let message = row["message"].as_str().unwrap_or_default();
    assert_eq!(row["status"], "critical", "{row}");
    assert!(
        message.starts_with("timeout after 5s: ended by SIGTERM after ")
            && message.ends_with("exit code 2; it had said: checked 41 of 42"),
        "{row}"
    );
    assert!(!Path::new(&lock).exists());
    let detail = daemon.detail("clean")["detail"].to_string();
    assert!(detail.contains("stderr: 42 hangs"), "{detail}");
    let row = daemon.run("unknown");
    assert_eq!(row["status"], "unknown", "{row}");
    let message = row["message"].to_string();
    assert!(message.contains("by SIGTERM; it had said: so far"), "{row}");
    let message = daemon.run("silent")["message"].to_string();
    assert!(
        message.contains("by SIGTERM; it had said: no output"),
        "{message}"
    );
}

#[test]
fn what_a_child_writes_after_its_parent_has_ended_is_output() {
    let tee = "exec > >(tee -a /dev/null); echo 'CRITICAL - disk full | used=99%'; exit 2";
    let daemon = start(
        Config::new()
            .check(program("tee", &["/bin/bash", "-c", tee]))
            .check(script("held", "sleep 1000 & echo done")),
    );
    for _ in 0..10 {
        let row = daemon.run("tee");
        // One that was kept from the processors for longer than it is waited for is not heard, and that is told.
        let detail = daemon.detail("tee")["detail"].to_string();
        if detail.contains("still holds its output") {
            continue;
        }
        assert_eq!(row["message"], "CRITICAL - disk full", "{row}");
        assert_eq!(row["metrics"].as_array().map(Vec::len), Some(1), "{row}");
    }
    assert_eq!(daemon.run("held")["message"], "done");
    let detail = daemon.detail("held")["detail"].to_string();
    assert!(detail.contains("still holds its output"), "{detail}");
}

#[test]
fn what_is_left_in_a_session_of_its_own_ends_with_its_run_whoever_runs_beside_it() {
    // It is looked for by its name: not before it has it.
    let leave = "setsid sh -c 'echo $$ >&9; exec sleep 1000 >/dev/null 2>&1' & read pid <&9; \
                 until grep -q sleep /proc/$pid/comm; do sleep 0.01; done; echo left";
    for busy in [false, true] {
        let config = Config::new();
        let mut leash = Leash::new(config.dir());
        let own = config.dir().join("own").display().to_string();
        let fifo = format!("mkfifo {own}; exec 9<>{own}; rm {own}; {leave}");
        let held = leash.script("setsid sleep 1000 >/dev/null 2>&1 & echo left");
        let other = config.dir().join("other");
        let beside = format!("touch {}; exec sleep 1000", other.display());
        let mut config = config
            .check(script("leaves", &held))
            .check(script("names", &fifo));
        if busy {
            config = config.check(script("beside", &beside).timeout("10m"));
        }
        let daemon = start(config);
        if busy {
            daemon
                .client()
                .send(&serde_json::json!({"v": 1, "op": "run", "names": ["beside"]}));
            wait_for("the other program runs", || other.exists());
        }
        assert_eq!(daemon.run("leaves")["message"], "left");
        leash.wait_held(&daemon);
        leash.assert_let_go(&daemon);
        assert_eq!(daemon.run("names")["message"], "left");
        let detail = daemon.detail("names")["detail"].to_string();
        assert!(
            detail.contains(
                "it left processes behind, ended with it, see leave_children: sleep (pid "
            ),
            "{detail}"
        );
    }
}

#[test]
fn leave_children_leaves_them_alone_to_the_end() {
    let config = Config::new();
    let pid_file = config.dir().join("pid");
    let text = format!(
        "setsid sh -c 'echo $$ >{}; exec sleep 1000' >/dev/null 2>&1 & wait_for={}; until [ -s $wait_for ]; do sleep 0.01; done; echo left",
        pid_file.display(),
        pid_file.display()
    );
    let mut daemon = start(
        config.check(check("leaves").plugin("exec").interval("1h").set(
            "config",
            &format!("{{ argv = [\"/bin/sh\", \"-c\", {text:?}], leave_children = true }}"),
        )),
    );
    assert_eq!(daemon.run("leaves")["message"], "left");
    let pid: i32 = fs::read_to_string(&pid_file)
        .expect("it wrote it")
        .trim()
        .parse()
        .expect("a number");
    let pid = nix::unistd::Pid::from_raw(pid);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.wait_exit();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives on");
}

#[test]
fn a_program_that_may_not_be_killed_is_named_and_never_piled_up() {
    if !is_root() {
        return skipped("only root can make a setuid program");
    }
    let config = Config::new();
    let source = config.dir().join("as_root.c");
    let as_root = config.dir().join("as_root");
    fs::write(
        &source,
        "#define _GNU_SOURCE\n#include <unistd.h>\nint main(void) { if (setresuid(0, 0, 0)) return 3; pause(); return 3; }\n",
    )
    .expect("our own folder");
    let made = std::process::Command::new("cc")
        .arg("-o")
        .args([&as_root, &source])
        .status();
    if !made.is_ok_and(|s| s.success()) {
        return skipped("there is no cc");
    }
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&as_root, fs::Permissions::from_mode(0o4755)).expect("our own file");
    let argv = as_root.display().to_string();
    let one = |name: &str| {
        program(name, &[&argv])
            .timeout("5s")
            .set("exclusive", "\"disk\"")
    };
    let daemon = start(
        config
            .daemon("user", "\"nobody\"")
            .check(one("a"))
            .check(one("b")),
    );
    let copies = || {
        tree(daemon.pid())
            .into_iter()
            .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == as_root))
            .collect::<Vec<u32>>()
    };
    let row = daemon.run("a");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(
        message.contains(" still runs after ") && message.contains("user may not kill it"),
        "{row}"
    );
    let row = daemon.run("a");
    assert_eq!(row["status"], "unknown", "{row}");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("not started: the program of an earlier run still runs"),
        "{row}"
    );
    // In its group nobody else runs.
    daemon
        .client()
        .send(&serde_json::json!({"v": 1, "op": "run", "names": ["b"]}));
    wait_for("the other waits for its turn", || {
        daemon
            .told_by_daemon(&["why", "b"])
            .out
            .contains("a process of a that does not end")
    });
    let found = copies();
    assert_eq!(found.len(), 1, "{found:?}");
    for pid in found {
        crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    wait_for("the turn of the other has come", || copies().len() == 1);
    for pid in copies() {
        crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

#[test]
fn the_soft_limit_is_that_of_the_start() {
    let daemon = start(
        Config::new()
            .wrapper(&["sh", "-c", "ulimit -Sn 1000; exec \"$@\"", "sh"])
            .check(script("limit", "echo $(ulimit -Sn)")),
    );
    assert_eq!(daemon.run("limit")["message"], "1000");
}

#[test]
fn a_program_finds_no_terminal() {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let daemon = start(Config::new().terminal(terminal.slave).check(script(
        "asks",
        "(: >/dev/tty) 2>/dev/null && echo found one; echo went on",
    )));
    assert_eq!(daemon.run("asks")["message"], "went on");
}
