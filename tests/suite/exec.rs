//! Programs as checks: real Nagios plugins, and programs that behave badly.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, Leash, check, children, skipped};
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
    let daemon = config.spawn();
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
    let daemon = start(config.check(script("slow", &text).timeout("500ms")));
    let row = daemon.run("slow");
    assert_eq!(row["status"], "critical", "{row}");
    assert_eq!(row["message"], "timeout after 500ms in phase exec", "{row}");
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
            .check(script(
                "much",
                "echo first line; head -c 20000000 /dev/zero | tr '\\0' x; exit 1",
            ))
            .check(script("endless", "echo on and on; exec yes").timeout("1s"))
            .check(script("errors", "head -c 3000000 /dev/zero >&2; echo fine")),
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
    assert_eq!(daemon.run("endless")["status"], "critical");
    assert_eq!(daemon.run("errors")["status"], "ok");
}

#[test]
fn the_environment_is_small_and_no_descriptor_is_inherited() {
    let env = |name: &str, text: &str| {
        check(name).plugin("exec").interval("1h").set(
            "config",
            &format!("{{ argv = [\"/bin/sh\", \"-c\", {text:?}], env = {{ TOKEN = \"a b\" }} }}"),
        )
    };
    let daemon = start(
        Config::new()
            .env("HD_LEAKED", "secret")
            // Whoever starts healthd may have left something open.
            .wrapper(&["sh", "-c", "exec 7</dev/null; exec \"$@\"", "sh"])
            .check(env(
                "env",
                "echo \"[$TOKEN][$HD_LEAKED][$NOTIFY_SOCKET][$LC_NUMERIC]\"",
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
