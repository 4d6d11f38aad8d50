//! The control socket: who may do what, and that no client can stop or slow the daemon.

use crate::harness::ctl::{Client, Lines, say, wait_for};
use crate::harness::{Config, Daemon, Gate, check, fixtures, is_root, skipped, state};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

fn daemon_with(checks: usize) -> Daemon {
    let mut config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(fixtures::fixture("hold"));
    for n in 0..checks {
        config = config.check(check(&format!("c-{n}")).plugin("echo_step").interval("1h"));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon
}

/// The manager is as it was, and answers.
fn assert_well(daemon: &Daemon, manager: u32) {
    assert_eq!(daemon.manager(), manager);
    assert_eq!(daemon.run("c-0")["verdict"], "ok");
}

#[test]
fn the_socket_has_its_mode_and_group_from_birth() {
    let daemon = daemon_with(1);
    let meta = fs::metadata(daemon.socket()).expect("it is there");
    assert_eq!(meta.permissions().mode() & 0o7777, 0o660);
    assert_eq!(meta.uid(), nix::unistd::geteuid().as_raw());
    for entry in fs::read_dir(daemon.dir().join("run")).expect("our own folder") {
        let entry = entry.expect("a name");
        // One that goes with its worker may be gone by now.
        let mode = entry.metadata().map_or(0, |meta| meta.mode() & 0o7777);
        assert_eq!(mode & 0o002, 0, "{:?} {mode:o}", entry.path());
    }
}

#[test]
fn who_may_only_read_is_told_so_and_the_control_group_may_change_things() {
    if !is_root() {
        return skipped("only root can be somebody else");
    }
    let adm = nix::unistd::Group::from_name("adm").ok().flatten();
    let Some(adm) = adm else {
        return skipped("there is no group adm");
    };
    for (control_group, group, may) in [(None, 0, false), (Some("adm"), adm.gid.as_raw(), true)] {
        let mut config = Config::new()
            .plugin_file(fixtures::fixture("echo"))
            .check(check("c-0").plugin("echo_step").interval("1h"));
        if let Some(name) = control_group {
            config = config.daemon("control_group", &format!("{name:?}"));
        }
        let daemon = config.spawn();
        daemon.expect_notify("READY=1");
        daemon.run("c-0");
        // Where nobody can reach it.
        let program = daemon.dir().join("healthctl");
        // By another process: what is forked here meanwhile would hold it open for writing, and nobody could run it.
        let copied = say(Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_healthctl"))
            .arg(&program));
        assert_eq!(copied.code, Some(0), "{copied:?}");
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("our own file");
        fs::set_permissions(daemon.dir(), PermissionsExt::from_mode(0o755))
            .expect("our own folder");
        let as_nobody = |groups: &str, args: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid=65534",
                "--regid=65534",
                &format!("--groups={groups}"),
            ]);
            command
                .arg(&program)
                .arg("--socket")
                .arg(daemon.socket())
                // However slow the daemon is, its maps are not read instead.
                .args(["--timeout", "60s"])
                .args(args);
            say(&mut command)
        };
        let group = group.to_string();
        let said = as_nobody(&group, &["status"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        for args in [
            &["pause", "c-0"][..],
            &["resume", "c-0"],
            &["run", "c-0"],
            &["reload"],
            &["silence", "c-*", "--for", "1h"],
            &["maintenance", "c-0", "--for", "1h"],
        ] {
            let said = as_nobody(&group, args);
            if may {
                assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
            } else {
                assert_eq!(said.code, Some(3), "{args:?}: {said:?}");
                assert!(said.err.contains("uid 65534"), "{said:?}");
            }
        }
        // A stranger does not even get in.
        let said = as_nobody("65534", &["status"]);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(
            said.err.to_lowercase().contains("permission denied"),
            "{said:?}"
        );
        if !may {
            assert!(daemon.row("c-0")["paused"].is_null());
            let changes = changes();
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--groups=0"]);
            command.args(["perl", "-e", ASK_ALL]).arg(daemon.socket());
            let said = say(command.args(&changes));
            let denied = format!("denied {}\n", changes.len());
            assert_eq!((said.code, &*said.out), (Some(0), &*denied), "{said:?}");
            assert_eq!(daemon.run("c-0")["verdict"], "ok");
        }
    }
}

/// Sends each line and reads its answer; counts those that are denied, and prints the others.
pub const ASK_ALL: &str = r#"
use IO::Socket::UNIX;
my $s = IO::Socket::UNIX->new(Peer => shift) or die "connect: $!";
for (@ARGV) { syswrite $s, "$_\n"; my $said = <$s>; $said =~ /"code":"denied"/ ? $denied++ : print "$_: $said"; }
print "denied $denied\n";
"#;

/// Requests that change things: the examples of `daemon/PROTOCOL.md`, and of each such op of its table there is one.
pub fn changes() -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/daemon/PROTOCOL.md");
    let text = fs::read_to_string(file).expect("shipped");
    let rows = text.lines().filter(|line| line.ends_with("| yes |"));
    let ops: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    let op = |line: &str| -> Option<String> {
        let request: Value = serde_json::from_str(line).ok()?;
        Some(request["op"].as_str()?.to_owned())
    };
    let requests = text.lines().filter(|line| line.starts_with("{\"v\":1,"));
    let changing = |line: &&str| op(line).is_some_and(|op| ops.contains(&&*op));
    let changes: Vec<String> = requests.filter(changing).map(str::to_owned).collect();
    for name in &ops {
        assert!(
            changes.iter().any(|c| op(c).as_deref() == Some(name)),
            "{name}"
        );
    }
    assert!(ops.contains(&"stop") && ops.len() > 15, "{ops:?}");
    changes
}

#[test]
fn lines_that_are_no_requests_are_answered_as_such() {
    let daemon = daemon_with(1);
    let manager = daemon.manager();
    let mut client = daemon.client();
    let deep = "[".repeat(60_000);
    for (line, code) in [
        (&b"hello"[..], "bad_request"),
        (b"[]", "bad_request"),
        (b"null", "bad_request"),
        (b"{}", "bad_request"),
        (b"{\"v\":1}", "bad_request"),
        (b"{\"v\":1,\"op\":\"explode\"}", "bad_request"),
        (b"{\"v\":1,\"op\":\"status\",\"names\":7}", "bad_request"),
        (b"{\"v\":\"1\",\"op\":\"status\"}", "bad_request"),
        (b"{\"v\":99,\"op\":\"status\"}", "version"),
        (
            b"{\"v\":1,\"op\":\"show\",\"name\":\"none\"}",
            "no_such_check",
        ),
        (
            b"{\"v\":1,\"op\":\"status\",\"names\":[\"none\"]}",
            "no_such_check",
        ),
        (b"\xff\xfe\x00\x01", "bad_request"),
        (deep.as_bytes(), "bad_request"),
    ] {
        client.send_bytes(line);
        client.send_bytes(b"\n");
        let error = client.answer().expect_err("no request");
        assert_eq!(error["code"], code, "{error:.300}");
    }
    // It is still the same connection, and blank lines are nothing.
    client.send_bytes(b"\n\n  \n");
    assert_eq!(
        client.ask("version", json!({})).expect("an answer").len(),
        1
    );
    assert_well(&daemon, manager);
}

#[test]
fn a_line_of_a_megabyte_costs_that_client_its_connection_and_nobody_else_anything() {
    let daemon = daemon_with(1);
    let manager = daemon.manager();
    let mut other = daemon.watch(&["c-0"]);
    for _ in 0..10 {
        let mut client = daemon.client();
        let mut stream = client.stream().try_clone().expect("a socket");
        // It may be cut off before all is sent.
        let _ = stream.write_all(&vec![b'x'; 1 << 20]);
        let _ = stream.write_all(b"\n");
        let mut last = Value::Null;
        while let Some(line) = client.line_or_reset() {
            last = line;
        }
        if !last.is_null() {
            assert_eq!(last["code"], "too_long", "{last}");
        }
    }
    // A line just short enough is read.
    let mut client = daemon.client();
    let padding = " ".repeat(65_000);
    let request = format!("{{\"v\": 1, \"op\": \"status\",{padding}\"names\": [\"n*\"]}}");
    assert!(request.len() < 64 << 10, "{}", request.len());
    client.send_bytes(request.as_bytes());
    client.send_bytes(b"\n");
    assert_eq!(client.answer(), Ok(vec![]));
    other.until("still served", |row| row["name"] == "c-0");
    assert_well(&daemon, manager);
}

#[test]
fn half_a_line_holds_up_nobody() {
    let daemon = daemon_with(1);
    let mut halves: Vec<Client> = (0..50).map(|_| daemon.client()).collect();
    for client in &mut halves {
        client.send_bytes(b"{\"v\":1,\"op\":\"ver");
    }
    assert_eq!(daemon.run("c-0")["verdict"], "ok");
    for client in &mut halves {
        client.send_bytes(b"sion\"}\n{\"v\":1,\"op\":\"version\"}\n");
    }
    for client in &mut halves {
        // Two requests in one piece are two answers.
        assert_eq!(client.answer().expect("an answer").len(), 1);
        assert_eq!(client.answer().expect("an answer").len(), 1);
    }
}

#[test]
fn two_hundred_clients_are_more_than_enough() {
    let daemon = daemon_with(1);
    let manager = daemon.manager();
    let mut clients: Vec<Client> = (0..200).map(|_| daemon.client()).collect();
    let (mut served, mut refused) = (0, 0);
    for client in &mut clients {
        // One that is not admitted may be cut off while it asks.
        let request = json!({"v": 1, "op": "version"}).to_string() + "\n";
        let _ = client
            .stream()
            .try_clone()
            .expect("a socket")
            .write_all(request.as_bytes());
        match client.line_or_reset() {
            Some(line) if line["type"] == "version" => served += 1,
            Some(line) => {
                assert_eq!(line["code"], "busy", "{line}");
                refused += 1;
            }
            None => refused += 1,
        }
    }
    assert!(
        served >= 100 && refused > 0,
        "{served} served, {refused} refused"
    );
    // Those who have gone take no place: the next one need not try twice.
    drop(clients);
    daemon.ask("version", json!({}));
    assert_well(&daemon, manager);
}

fn fds(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn who_does_not_read_or_hangs_up_slows_nobody() {
    let daemon = daemon_with(400);
    let manager = daemon.manager();
    daemon.ask("run", json!({}));
    daemon.until_plugins_are_asked();
    // The workers' maps are open from here on, and the state on disk.
    daemon.workers();
    daemon.ask("pause", json!({"names": ["c-0"]}));
    daemon.ask("resume", json!({"names": ["c-0"]}));
    wait_for("the state is on disk", || {
        daemon.dir().join("state/state.log").exists()
    });
    let before = fds(manager);
    // Twenty ask for everything, again and again, and read nothing.
    let deaf: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).expect("it listens");
            stream.set_nonblocking(true).expect("a socket");
            for _ in 0..500 {
                if stream.write(b"{\"v\":1,\"op\":\"status\"}\n").is_err() {
                    break;
                }
            }
            stream
        })
        .collect();
    let mut watchers: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    for client in &mut watchers {
        client.send(&json!({"v": 1, "op": "watch"}));
    }
    let rss = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .unwrap_or_default()
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
    };
    for _ in 0..5 {
        assert_eq!(daemon.ask("run", json!({})).len(), 401);
    }
    // Others hang up in the middle of an answer.
    for _ in 0..100 {
        let mut client = daemon.client();
        client.send(&json!({"v": 1, "op": "status"}));
        client.line();
    }
    assert!(rss(manager) < 64 << 10, "{} kB", rss(manager));
    drop(deaf);
    drop(watchers);
    wait_for("their descriptors are closed", || fds(manager) <= before);
    assert_well(&daemon, manager);
    assert_eq!(state(manager).map(|s| s == 'Z'), Some(false));
}

#[test]
fn a_slow_reader_gets_it_all() {
    let daemon = daemon_with(400);
    daemon.ask("run", json!({}));
    let mut client = daemon.client();
    let request = json!({"v": 1, "op": "status"}).to_string() + "\n";
    for _ in 0..50 {
        client.send_bytes(request.as_bytes());
    }
    daemon.ask("run", json!({}));
    for _ in 0..50 {
        let rows = client.answer().expect("rows");
        assert_eq!(rows.len(), 400);
    }
}

#[test]
fn a_run_goes_on_when_its_client_hangs_up() {
    let gate = Gate::new();
    let daemon = Config::new()
        .plugin_file(fixtures::fixture("hold"))
        .check(
            check("held")
                .plugin("hold_step")
                .interval("1h")
                .timeout("2m")
                .set("config", &format!("{{ gate = {:?} }}", gate.path())),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "run", "names": ["held"]}));
    let visit = gate.wait_entered();
    drop(client);
    let mut watch = daemon.watch(&["held"]);
    visit.open();
    watch.until_verdict("held", "ok");
}

#[test]
fn whoever_watches_is_told_of_the_end() {
    let daemon = daemon_with(3);
    let mut client = daemon.client();
    client.send(&json!({"v": 1, "op": "watch"}));
    let started = client.line().expect("an answer");
    for _ in 0..started["total"].as_u64().expect("a number") {
        client.line().expect("a row");
    }
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let mut last = Value::Null;
    while let Some(line) = client.line() {
        last = line;
    }
    assert_eq!(
        (&last["type"], &last["code"]),
        (&"error".into(), &"busy".into()),
        "{last}"
    );
}

#[test]
fn what_was_asked_before_the_hang_up_is_done() {
    let daemon = daemon_with(2);
    for _ in 0..50 {
        let mut watch = daemon.watch(&["c-0"]);
        let mut stream = UnixStream::connect(daemon.socket()).expect("it listens");
        let requests =
            "{\"v\":1,\"op\":\"status\"}\n{\"v\":1,\"op\":\"pause\",\"names\":[\"c-0\"]}\n";
        stream.write_all(requests.as_bytes()).expect("it listens");
        drop(stream);
        watch.until("paused", |row| row["paused"] == true);
        daemon.ask("resume", json!({"names": ["c-0"]}));
    }
}

#[test]
fn the_answer_of_one_who_left_goes_to_nobody_else() {
    let daemon = daemon_with(1);
    for _ in 0..20 {
        let mut client = daemon.client();
        client.send(&json!({"v": 1, "op": "reload"}));
        drop(client);
        // Whoever comes next gets an answer to his own question.
        let mut next = daemon.client();
        let lines = next.ask("version", json!({})).expect("an answer");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["type"], "version");
    }
}

#[test]
fn clients_that_never_stop_asking_leave_time_for_the_others() {
    let daemon = daemon_with(400);
    let manager = daemon.manager();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let stream = UnixStream::connect(daemon.socket()).expect("it listens");
            let mut reader = stream.try_clone().expect("a socket");
            scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
            let done = &done;
            scope.spawn(move || {
                let mut stream = stream;
                let many = "{\"v\":1,\"op\":\"status\"}\n".repeat(100);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    if stream.write_all(many.as_bytes()).is_err() {
                        break;
                    }
                }
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
        for _ in 0..20 {
            assert_eq!(daemon.run("c-0")["status"], "ok");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_well(&daemon, manager);
}

#[test]
fn a_burst_of_requests_is_answered_to_the_last() {
    const MANY: usize = 3000;
    let daemon = daemon_with(3);
    let mut client = daemon.client();
    let mut writer = client.stream().try_clone().expect("a socket");
    let burst = "{\"v\":1,\"op\":\"status\"}\n".repeat(MANY);
    let sender = std::thread::spawn(move || writer.write_all(burst.as_bytes()));
    for n in 0..MANY {
        assert_eq!(client.answer().expect("rows").len(), 3, "answer {n}");
    }
    sender.join().expect("no panic").expect("all was taken");
}

#[test]
fn names_and_reasons_without_end_are_refused() {
    let daemon = daemon_with(1);
    let long = "x".repeat(300);
    for (op, what) in [
        (json!({"op": "show", "name": long}), "name"),
        (json!({"op": "why", "name": long}), "name"),
        (json!({"op": "status", "names": ["c-0", long]}), "name"),
        (json!({"op": "plugins_rollback", "name": long}), "name"),
        (
            json!({"op": "pause", "names": ["c-0"], "reason": long}),
            "reason",
        ),
    ] {
        let mut request = op;
        request["v"] = 1.into();
        let mut client = daemon.client();
        client.send(&request);
        let refused = client.answer().expect_err("it is too long");
        assert_eq!(refused["code"], "bad_request", "{refused}");
        let told = format!("a {what} of more than 256 bytes");
        assert_eq!(refused["message"], told.as_str(), "{refused}");
    }
    assert!(daemon.row("c-0")["paused"].is_null());
}

/// Connects from 90 sockets, asks 30 times on each, says so; and at a word on stdin reads all answers and counts them.
const CROWD: &str = r#"
use IO::Socket::UNIX; $SIG{PIPE} = 'IGNORE'; $| = 1;
for (1..90) { push @s, IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!"; }
for (@s) { syswrite $_, qq({"v":1,"op":"show","name":"c-x"}\n) x 30; }
print "asked\n"; <STDIN>;
for my $s (@s) { shutdown $s, 1; while (<$s>) { /no_such_check/ ? $answered++ : /"busy"/ ? $busy++ : $other++; } }
print "answered $answered busy $busy other $other\n";
"#;

struct Crowd(Child, Lines);

impl Crowd {
    fn of(daemon: &Daemon, uid: u32, gid: u32) -> Crowd {
        let ids = [format!("--reuid={uid}"), format!("--regid={gid}")];
        let mut crowd = Command::new("setpriv")
            .args(ids)
            .args(["--clear-groups", "perl", "-e", CROWD])
            .arg(daemon.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv(1)");
        let said = Lines::of(crowd.stdout.take().expect("it is piped"));
        assert_eq!(said.next().as_deref(), Some("asked"));
        Crowd(crowd, said)
    }

    fn assert_served(self, served: usize) {
        let Crowd(mut crowd, said) = self;
        drop(crowd.stdin.take());
        let counted = format!("answered {} busy {} other ", served * 30, 90 - served);
        assert_eq!(said.next().as_deref(), Some(&*counted));
        crowd.wait().expect("our own child");
    }
}

#[test]
fn a_crowd_of_one_reader_has_half_the_places_and_root_is_answered_beside_it() {
    if !is_root() {
        return skipped("only root can be somebody else");
    }
    let daemon = daemon_with(200);
    let manager = daemon.manager();
    fs::set_permissions(daemon.dir(), PermissionsExt::from_mode(0o755)).expect("our own folder");
    let crowd = Crowd::of(&daemon, 65534, 0);
    // All of them stay, and have more to ask than their user may at once.
    for _ in 0..3 {
        daemon.ask("version", json!({}));
        assert_well(&daemon, manager);
    }
    // Slowed, but answered to the last.
    crowd.assert_served(64);
    // Those who have gone take no place.
    daemon.ask("version", json!({}));
    assert_well(&daemon, manager);
}

/// Two users who may change everything have no more than their halves, and of these not the last eight places.
#[test]
fn a_crowd_of_the_control_group_leaves_places_for_root() {
    if !is_root() {
        return skipped("only root can be somebody else");
    }
    let adm = nix::unistd::Group::from_name("adm").ok().flatten();
    let Some(adm) = adm else {
        return skipped("there is no group adm");
    };
    let daemon = Config::new()
        .plugin_file(fixtures::fixture("echo"))
        .daemon("control_group", "\"adm\"")
        .check(check("c-0").plugin("echo_step").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let manager = daemon.manager();
    fs::set_permissions(daemon.dir(), PermissionsExt::from_mode(0o755)).expect("our own folder");
    let first = Crowd::of(&daemon, 65534, adm.gid.as_raw());
    let second = Crowd::of(&daemon, 65533, adm.gid.as_raw());
    for _ in 0..3 {
        assert_well(&daemon, manager);
    }
    first.assert_served(64);
    second.assert_served(128 - 8 - 64);
}
