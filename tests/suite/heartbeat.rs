//! Checks that are fed: heartbeats of jobs, and results that others have found.

use crate::alerts::{config, count, route};
use crate::harness::ctl::wait_for;
use crate::harness::http::{address, ask, get};
use crate::harness::receiver::Receiver;
use crate::harness::{Daemon, Gate, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};

fn until(daemon: &Daemon, name: &str, status: &str, says: &str) {
    wait_for(&format!("{name} is {status}: {says}"), || {
        let row = daemon.row(name);
        let message = row["message"].as_str().unwrap_or_default();
        row["status"] == status && message.contains(says)
    });
}

#[test]
fn a_job_that_says_nothing_in_time_is_told_and_its_next_word_ends_it() {
    let receiver = Receiver::new();
    let mut daemon = config()
        .check(
            check("backup")
                .plugin("heartbeat")
                .interval("200ms")
                .set("attempts", "1")
                .set("config", "{ period = \"2s\", grace = \"1s\" }"),
        )
        .check(
            check("nightly")
                .plugin("heartbeat")
                .interval("1h")
                .set("attempts", "1")
                .set(
                    "config",
                    "{ cron = \"30 2 * * *\", zone = \"Europe/Berlin\", max_run = \"2h\" }",
                ),
        )
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    until(
        &daemon,
        "nightly",
        "ok",
        "no word yet; the first is due by ",
    );
    // Nobody says anything: that is the problem.
    let problem = receiver.accepted("problem");
    assert_eq!(problem.body["checks"][0]["name"], "backup");
    let text = problem.body["checks"][0]["message"]
        .as_str()
        .expect("a text");
    assert!(
        text.starts_with("no word ever; the first was due at "),
        "{text}"
    );
    // On a slow machine one word may be too old again before it is looked at.
    wait_for("its end is told", || {
        let said = daemon.healthctl(&["heartbeat", "backup"]);
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
        count(&receiver, "recovery") > 0
    });
    // With its beginning, its end, and how long it took. The next run of this check is in an hour.
    assert_eq!(
        daemon.healthctl(&["heartbeat", "nightly", "start"]).code,
        Some(0)
    );
    until(&daemon, "nightly", "ok", "it began ");
    assert_eq!(
        daemon
            .healthctl(&["heartbeat", "nightly", "0", "--text", "12 files"])
            .code,
        Some(0)
    );
    until(&daemon, "nightly", "ok", "12 files");
    let row = daemon.row("nightly");
    let metrics = row["metrics"].as_array().expect("metrics");
    assert!(metrics.iter().any(|m| m["name"] == "duration"), "{row}");
    let ping = |event: &str, code: Option<i32>| {
        let fields = json!({ "name": "nightly", "event": event, "code": code, "text": "x" });
        daemon.client().ask("heartbeat", fields)
    };
    ping("exit", Some(3)).expect("it is kept");
    until(&daemon, "nightly", "critical", "with exit code 3: x");
    // What was said outlives everybody.
    kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_log("ready  ");
    daemon.run("nightly");
    until(&daemon, "nightly", "critical", "with exit code 3: x");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    daemon.run("nightly");
    until(&daemon, "nightly", "critical", "with exit code 3: x");
    assert_eq!(
        daemon
            .healthctl(&["heartbeat", "nightly", "fail", "--text", "no tape"])
            .code,
        Some(0)
    );
    until(&daemon, "nightly", "critical", "no tape");
    assert_eq!(
        daemon.healthctl(&["heartbeat", "nightly", "ok"]).code,
        Some(0)
    );
    until(&daemon, "nightly", "ok", "well ");
}

#[test]
fn results_of_others_are_taken_until_they_are_too_old() {
    let passive = |name: &str, interval: &str| {
        check(name)
            .plugin("passive")
            .interval(interval)
            .set("attempts", "1")
    };
    let daemon = config()
        .check(passive("db1/disk", "1h"))
        .check(
            passive("agent", "200ms").set("config", "{ freshness = \"3s\", stale = \"critical\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    until(
        &daemon,
        "db1/disk",
        "unknown",
        "no result was submitted yet",
    );
    let text = "DISK WARNING - 9 % left|left=9%;10;5\nsecond line";
    let said = daemon.healthctl(&["submit", "db1/disk", "warning", text]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    until(&daemon, "db1/disk", "warning", "DISK WARNING - 9 % left");
    let detail = daemon.detail("db1/disk");
    assert_eq!(detail["verdict"], "warning");
    assert_eq!(detail["detail"], "second line");
    let left = detail["metrics"].as_array().into_iter().flatten();
    let left: Vec<_> = left.filter(|m| m["name"] == "left").collect();
    assert_eq!(left[0]["value"], 9.0, "{detail}");
    // Each row is told to who watches, however slow he is.
    let mut watch = daemon.watch(&["agent"]);
    let mut see = |status: &str, says: &str| {
        watch.until(&format!("agent is {status}: {says}"), |row| {
            let message = row["message"].as_str().unwrap_or_default();
            row["status"] == status && message.contains(says)
        });
    };
    // On a slow machine one may be too old again before it is looked at.
    wait_for("agent is ok", || {
        daemon.healthctl(&["submit", "agent", "0", "all is well"]);
        daemon.row("agent")["status"] == "ok"
    });
    see("critical", "the last was ok: all is well");
    // As send_nsca has it; a bad line keeps no other back.
    let mut child = Command::new(env!("CARGO_BIN_EXE_healthctl"))
        .arg("--socket")
        .arg(daemon.socket())
        .args(["submit", "--stdin"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("healthctl");
    let lines = "db1\tdisk\t2\tDISK CRITICAL\nnobody\t0\tx\nno result\nagent\t1\tslow\n";
    let stdin = child.stdin.take();
    stdin
        .expect("a pipe")
        .write_all(lines.as_bytes())
        .expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{err}");
    assert!(
        err.contains("line 2: ") && err.contains("line 3: "),
        "{err}"
    );
    until(&daemon, "db1/disk", "critical", "DISK CRITICAL");
}

#[test]
fn what_is_said_while_its_check_runs_is_looked_at_after_that() {
    let fed = check("fed").plugin("passive").interval("1h");
    let daemon = config()
        .pool("io", "workers = 1")
        .check(fed.set("attempts", "1"))
        .spawn();
    daemon.expect_notify("READY=1");
    until(&daemon, "fed", "unknown", "no result was submitted yet");
    let runs = || daemon.detail("fed")["runs"].as_u64().expect("a number");
    let before = runs();
    let worker = daemon.role("worker io")[0];
    // Not by programs, which take their time: a worker that is silent for four seconds is replaced.
    let submit = |status: &str, text: &str| {
        let said = json!({ "name": "fed", "status": status, "text": text });
        daemon.ask("submit", said);
    };
    kill(worker, Signal::SIGSTOP);
    submit("warning", "one");
    wait_for("it runs", || daemon.in_flight() == 1);
    submit("ok", "two");
    // Longer than anybody looks ahead.
    daemon.assert_alive_for(std::time::Duration::from_millis(500));
    assert_eq!(daemon.in_flight(), 1);
    kill(worker, Signal::SIGCONT);
    wait_for("it has run for both", || runs() == before + 2);
    until(&daemon, "fed", "ok", "two");
}

/// Between two managers nobody remembers it but the map.
#[test]
fn what_is_said_while_its_check_waits_outlives_the_manager() {
    let gate = Gate::new();
    let fed = check("fed").plugin("passive").interval("1h");
    let holds = check("holds").plugin("hold").interval("1h");
    let path = format!("{{ gate = {:?} }}", gate.path());
    let daemon = config()
        .plugin_file(fixtures::fixture("hold"))
        .check(fed.set("attempts", "1").set("exclusive", "\"one\""))
        .check(holds.set("config", &path).set("exclusive", "\"one\""))
        .spawn();
    daemon.expect_notify("READY=1");
    // The first runs come by themselves, each in its turn.
    gate.wait_entered().open();
    until(&daemon, "fed", "unknown", "no result was submitted yet");
    wait_for("nothing runs", || daemon.in_flight() == 0);
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["holds"]}));
    let visit = gate.wait_entered();
    let said = daemon.told_by_daemon(&["submit", "fed", "warning", "said in between"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    kill(daemon.manager(), Signal::SIGKILL);
    visit.assert_hung_up();
    // The run that was cut off comes once more, before it or after it.
    gate.wait_entered().open();
    until(&daemon, "fed", "warning", "said in between");
}

#[test]
fn what_cannot_be_said_is_refused() {
    let daemon = config()
        .check(check("web").plugin("echo_step"))
        .check(
            check("backup")
                .plugin("heartbeat")
                .set("config", "{ period = \"1h\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    for (op, fields, code) in [
        (
            "heartbeat",
            json!({ "name": "web", "event": "ok" }),
            "bad_request",
        ),
        (
            "heartbeat",
            json!({ "name": "backup", "event": "exit" }),
            "bad_request",
        ),
        (
            "heartbeat",
            json!({ "name": "backup", "event": "ok", "code": 1 }),
            "bad_request",
        ),
        (
            "heartbeat",
            json!({ "name": "backup", "event": "stop" }),
            "bad_request",
        ),
        (
            "heartbeat",
            json!({ "name": "backupp", "event": "ok" }),
            "no_such_check",
        ),
        (
            "submit",
            json!({ "name": "backup", "status": "ok" }),
            "bad_request",
        ),
        (
            "submit",
            json!({ "name": "web", "status": "fine" }),
            "bad_request",
        ),
    ] {
        let error = daemon.client().ask(op, fields.clone());
        assert_eq!(error.expect_err(op)["code"], code, "{op} {fields}");
    }
    let said = daemon.healthctl(&["submit", "web", "ok", "x"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.err.contains("which finds its results itself"),
        "{said:?}"
    );
    for args in [
        &["heartbeat", "backup", "stop"][..],
        &["submit", "web"],
        &["submit", "web", "4"],
    ] {
        assert_eq!(daemon.healthctl(args).code, Some(3), "{args:?}");
    }
}

#[test]
fn a_job_elsewhere_says_it_by_http() {
    let job = || {
        check("shop/backup")
            .plugin("heartbeat")
            .interval("1h")
            .set("attempts", "1")
            .set("config", "{ period = \"1h\" }")
    };
    let daemon = config()
        .section("web", "listen = \"127.0.0.1:0\"")
        .check(job())
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    until(&daemon, "shop/backup", "ok", "no word yet");
    let ping = |path: &str, headers: &[&str]| get(&at, path, headers).status;
    assert_eq!(ping("/ping/shop/backup/start", &[]), 200);
    until(&daemon, "shop/backup", "ok", "it began ");
    let said = "12 files";
    let length = said.len();
    let post = format!(
        "POST /ping/shop/backup HTTP/1.0\r\nHost: healthd\r\nContent-Length: {length}\r\n\r\n{said}"
    );
    assert_eq!(ask(&at, &post).status, 200);
    until(&daemon, "shop/backup", "ok", "12 files");
    assert_eq!(ping("/ping/shop/backup/3", &[]), 200);
    until(&daemon, "shop/backup", "critical", "with exit code 3");
    assert_eq!(ping("/ping/shop%2Fbackup", &[]), 200);
    until(&daemon, "shop/backup", "ok", "well ");
    assert_eq!(ping("/ping/shop/backup/fail", &[]), 200);
    until(&daemon, "shop/backup", "critical", "it failed ");
    assert_eq!(ping("/ping/nobody", &[]), 404);
    // A page of somebody else lets a browser say it.
    for browser in ["Origin: https://example.org", "Sec-Fetch-Site: cross-site"] {
        assert_eq!(ping("/ping/shop/backup", &[browser]), 403, "{browser}");
    }
    until(&daemon, "shop/backup", "critical", "it failed ");
    let config = config();
    std::fs::write(config.dir().join("token"), "sesame-open-sesame").expect("our own folder");
    let daemon = config
        .section(
            "web",
            "listen = \"127.0.0.1:0\"\ntoken = { file = \"token\" }",
        )
        .check(job())
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let ping = |path: &str, headers: &[&str]| get(&at, path, headers).status;
    assert_eq!(ping("/ping/shop/backup", &[]), 401);
    assert_eq!(ping("/ping/shop/backup?token=wrong", &[]), 401);
    assert_eq!(ping("/ping/shop/backup?token=sesame-open-sesame", &[]), 200);
    until(&daemon, "shop/backup", "ok", "well ");
    let bearer = "Authorization: Bearer sesame-open-sesame";
    assert_eq!(ping("/ping/shop/backup/fail", &[bearer]), 200);
    until(&daemon, "shop/backup", "critical", "it failed ");
}
