//! The journal: what happens is told once, in order, with numbers that have no gaps, over deaths and restarts.

use crate::harness::ctl::{Lines, wait_for};
use crate::harness::{Check, Config, Daemon, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::process::{Child, Command, Stdio};

fn config() -> Config {
    Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("crash"))
}

fn echo(name: &str, status: &str) -> Check {
    check(name)
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", "1")
        .set(
            "config",
            &format!("{{ status = {status:?}, message = \"it says {status}\" }}"),
        )
}

fn all(daemon: &Daemon, fields: Value) -> Vec<Value> {
    daemon.ask("events", fields)
}

fn assert_continuous(events: &[Value], first: u64) {
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], first + n as u64, "{events:#?}");
        let time = event["time"].as_str().expect("a time");
        assert!(time.ends_with('Z') && time.len() == 24, "{event}");
    }
}

#[test]
fn what_happens_is_told_in_order_and_by_name() {
    let daemon = config()
        .only_asked()
        .check(echo("good", "ok"))
        .check(echo("bad", "critical"))
        .check(
            check("killer")
                .plugin("crash")
                .interval("1h")
                .set("attempts", "1")
                .set("config", "{ how = \"segv\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut events = daemon.events();
    let started = events.event();
    assert_eq!(
        (&started["kind"], &started["seq"], &started["pid"]),
        (&"started".into(), &1.into(), &daemon.manager().into())
    );
    events.kind("worker-ready");
    daemon.run("bad");
    let flipped = events.of("flipped", "bad");
    assert_eq!(
        (&flipped["from"], &flipped["to"], &flipped["message"]),
        (
            &"pending".into(),
            &"critical".into(),
            &"it says critical".into()
        )
    );
    assert!(
        flipped["slot"].is_u64() && flipped["pid"].is_u64(),
        "{flipped}"
    );
    daemon.ask("pause", json!({"names": ["good"], "reason": "new switch"}));
    assert_eq!(events.of("paused", "good")["message"], "new switch");
    daemon.ask("resume", json!({"names": ["good"]}));
    events.of("resumed", "good");
    let row = daemon.run("killer");
    assert_eq!(row["fault"], "crash", "{row}");
    let died = events.kind("worker-died");
    assert_eq!(
        (&died["check"], &died["cause"]),
        (&"killer".into(), &"SIGSEGV".into()),
        "{died}"
    );
    assert!(died["slot"].is_u64() && died["pid"].is_u64(), "{died}");
    let flipped = events.of("flipped", "killer");
    assert_eq!(flipped["cause"], "crash", "{flipped}");
    assert_eq!(events.of("held", "killer")["for_ms"], 1000);
    events.kind("worker-ready");
    daemon
        .written
        .rewrite(&[echo("good", "ok"), echo("bad", "ok"), echo("new", "ok")]);
    daemon.ask("reload", json!({}));
    events.of("removed", "killer");
    events.of("changed", "bad");
    events.of("added", "new");
    let reloaded = events.kind("reloaded");
    assert_eq!(reloaded["message"], "1 added, 1 changed, 1 removed");
    fs::write(daemon.written.file(), "[daemon]\nnonsense = 1\n").expect("our own folder");
    assert!(daemon.client().ask("reload", json!({})).is_err());
    events.kind("reload-refused");
    assert_continuous(&all(&daemon, json!({})), 1);
}

#[test]
fn numbers_go_on_over_a_managers_death_and_a_restart() {
    // A run that comes by itself could end while all stops, and would be told then.
    let config = config().only_asked();
    let mut daemon = config.check(echo("bad", "critical")).spawn();
    daemon.expect_notify("READY=1");
    let mut events = daemon.events();
    for _ in 0..3 {
        kill(daemon.manager(), Signal::SIGKILL);
        events.kind("manager-restarted");
        events.kind("worker-ready");
    }
    daemon.ask("pause", json!({}));
    events.of("paused", "bad");
    assert_continuous(&all(&daemon, json!({"after": 0})), 1);
    daemon.signal(Signal::SIGTERM);
    let last = events.kind("stopping")["seq"].as_u64().expect("a number");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    let since = all(&daemon, json!({"after": last}));
    // That the machine stood still while all ended is told too.
    let first = since.iter().find(|e| e["kind"] != "stood-still");
    assert_eq!(first.expect("it started")["kind"], "started", "{since:#?}");
    assert_continuous(&since, last + 1);
    assert_continuous(&all(&daemon, json!({"after": 0})), 1);
    // What has not happened yet is a mistake of whoever asks.
    let refused = daemon.client().ask("events", json!({"after": 1u64 << 40}));
    assert_eq!(refused.expect_err("an error")["code"], "bad_request");
}

#[test]
fn who_asks_for_more_than_there_is_gets_one_gap() {
    let off = |n: usize| echo(&format!("c{n}"), "ok").set("enabled", "false");
    let checks = (0..50).map(off);
    let daemon = checks.fold(config(), Config::check).spawn();
    daemon.expect_notify("READY=1");
    let mut client = daemon.client();
    for _ in 0..45 {
        for op in ["pause", "resume"] {
            client.ask(op, json!({})).expect("it is done");
        }
    }
    let events = all(&daemon, json!({"after": 3}));
    let (gap, rest) = events.split_first().expect("many");
    assert_eq!(
        (&gap["kind"], &gap["type"]),
        (&"gap".into(), &"event".into())
    );
    let missed = gap["missed"].as_u64().expect("a number");
    assert_eq!(gap["seq"], 3 + missed);
    assert_eq!(rest.len(), 4096);
    assert_continuous(rest, 4 + missed);
    // Who does not say where to begin has missed nothing.
    assert_ne!(all(&daemon, json!({}))[0]["kind"], "gap");
    let all_time = all(&daemon, json!({"since": "2001-01-01T00:00:00Z"}));
    assert_eq!(all_time[0]["kind"], "gap");
    assert_eq!(
        all(&daemon, json!({"since": "2101-01-01T00:00:00Z"})),
        [] as [Value; 0]
    );
    // The ring tells the same to who reads the file, while nobody answers.
    let last = rest.last().expect("many")["seq"]
        .as_u64()
        .expect("a number");
    let manager = daemon.manager();
    kill(manager, Signal::SIGSTOP);
    let after = (last - 2).to_string();
    let said = daemon.healthctl(&["--json", "events", "--after", &after]);
    let early = daemon.healthctl(&["--json", "events", "--after", "3"]);
    kill(manager, Signal::SIGCONT);
    let lines: Vec<Value> = said.out.lines().map(parsed).collect();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_continuous(&lines, last - 1);
    // That the machine stood still, before all did, is told too.
    let more = lines.get(2..).expect("the two that were asked for");
    assert!(more.iter().all(|e| e["kind"] == "stood-still"), "{more:#?}");
    let first = early.out.lines().next().map(parsed).expect("a line");
    assert_eq!(
        (&first["kind"], &first["missed"]),
        (&"gap".into(), &(missed + more.len() as u64).into())
    );
}

#[test]
fn healthctl_follows_over_a_managers_death() {
    let daemon = config().check(echo("bad", "critical")).spawn();
    daemon.expect_notify("READY=1");
    let mut ctl = following(&daemon, &["--json", "events", "--follow", "--after", "0"]);
    let lines = Lines::of(ctl.stdout.take().expect("it is piped"));
    let mut last = 0;
    let mut until = |kind: &str| loop {
        let line = lines.next().expect("it goes on");
        let event = parsed(&line);
        assert!(event.get("type").is_none(), "{event}");
        last += 1;
        assert_eq!(event["seq"], last, "{event}");
        if event["kind"] == kind {
            return event;
        }
    };
    until("worker-ready");
    kill(daemon.manager(), Signal::SIGKILL);
    until("manager-restarted");
    daemon.expect_log("manager: ready");
    daemon.ask("pause", json!({"reason": "night"}));
    assert_eq!(until("paused")["message"], "night");
    kill(ctl.id(), Signal::SIGTERM);
    assert_eq!(ctl.wait().expect("it ends").code(), Some(0));
    // For people, on a screen of 80 columns or in a pipe.
    let page = daemon.told_by_daemon(&["events", "--since", "1h"]);
    assert!(page.out.starts_with("SEQ  AT "), "{page:?}");
    assert!(
        page.out.contains("paused") && page.out.contains("night"),
        "{page:?}"
    );
    let wrong = daemon.healthctl(&["events", "--since", "yesterday"]);
    assert!(wrong.err.contains("10m (ago)"), "{wrong:?}");
}

fn following(daemon: &Daemon, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_healthctl"))
        .arg("--socket")
        .arg(daemon.socket())
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("healthctl starts")
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

#[test]
fn each_change_of_an_outage_is_in_the_log_and_what_is_left_out_is_told() {
    const CHECKS: usize = 1200;
    let config = config().daemon("log", "\"debug\"");
    let switch = config.dir().join("switch");
    let say = |what: &str| {
        let new = switch.with_extension("new");
        fs::write(&new, what).expect("our own folder");
        fs::rename(&new, &switch).expect("our own folder");
    };
    say("ok fine");
    let of_one = check("c/{item}")
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", "1")
        .set("for_each", &format!("\"0..{CHECKS}\""))
        .set("config", &format!("{{ file = {switch:?} }}"));
    let daemon = config.check(of_one).spawn();
    daemon.expect_notify("READY=1");
    // From here on each runs when it is asked to; what is in flight is joined.
    daemon.ask("pause", json!({}));
    daemon.ask("run", json!({}));
    say("critical the switch is dead");
    daemon.ask("run", json!({}));
    let changed = |to: &str| {
        let to = format!("to={to}");
        let is_one = |l: &&String| l.contains("check changed") && l.contains(&to);
        daemon.log.all().iter().filter(is_one).count()
    };
    for to in ["ok", "critical"] {
        wait_for(&format!("all {to}"), || changed(to) == CHECKS);
    }
    // A line a run at this level is too many.
    daemon.ask("run", json!({}));
    let line = daemon.expect_log("lines left out");
    let (_, after) = line
        .split_once("`healthctl events --after ")
        .expect("a way out");
    let after = after.split_once('`').expect("a number").0;
    let said = daemon.told_by_daemon(&["events", "--after", after]);
    assert_eq!(said.code, Some(0), "{said:?}");
}
