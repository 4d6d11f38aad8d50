//! `[users]`: who takes a worker over, or a program, is not the daemon.

use crate::control;
use crate::harness::ctl::{say, wait_for};
use crate::harness::{Check, Config, Daemon, check, is_root, kill, skipped};
use nix::sys::signal::Signal;
use nix::unistd::User;
use serde_json::json;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Debian's; nobody has processes of these.
const OWN: &str = "proxy";
const WORKER: &str = "games";
const EXEC: &str = "news";

fn uid(name: &str) -> u32 {
    let user = User::from_name(name).expect("nss").expect("Debian's");
    user.uid.as_raw()
}

/// Real, effective, saved and of files; and its groups.
fn ids(pid: u32) -> (Vec<u32>, Vec<u32>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let numbers = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        let words = line.unwrap_or_default().split_whitespace();
        words.filter_map(|n| n.parse().ok()).collect()
    };
    (numbers("Uid:"), numbers("Groups:"))
}

fn capabilities(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    line.unwrap_or_default().trim().to_owned()
}

fn port(listener: &TcpListener) -> Check {
    let port = listener.local_addr().expect("bound").port();
    check("port").plugin("tcp").interval("1h").set(
        "config",
        &format!("{{ host = \"127.0.0.1\", port = {port} }}"),
    )
}

fn spawn(listener: &TcpListener) -> Daemon {
    let daemon = Config::new()
        .daemon("user", &format!("{OWN:?}"))
        .section("users", &format!("worker = {WORKER:?}\nexec = {EXEC:?}"))
        .pool("io", "workers = 1")
        .check(port(listener))
        .check(
            check("who")
                .interval("1h")
                .script("id -u; id -G; echo $USER"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    daemon
}

#[test]
fn each_kind_of_worker_has_its_user_and_none_of_another_s_rights() {
    if !is_root() {
        return skipped("only root can make others somebody else");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let daemon = spawn(&listener);
    daemon.until_ok(&["port", "who"]);
    let own = uid(OWN);
    for (pid, user) in [
        (daemon.pid(), OWN),
        (daemon.manager(), OWN),
        (daemon.role("worker io")[0], WORKER),
        (daemon.role("worker exec")[0], EXEC),
    ] {
        let (uids, groups) = ids(pid);
        assert_eq!(uids, [uid(user); 4], "{user}");
        assert!(!groups.contains(&0), "{user}: root's groups stay");
        // The supervisor starts others and ends them, and that is all.
        let left = if pid == daemon.pid() { "e0" } else { "0" };
        assert_eq!(
            capabilities(pid).trim_start_matches('0'),
            left.trim_start_matches('0'),
            "{user}"
        );
    }
    // Nor may other processes of these users come in by the socket; its owner shows that it can be had.
    fs::set_permissions(daemon.dir(), Permissions::from_mode(0o755)).expect("our own folder");
    for (user, may) in [(OWN, true), (WORKER, false), (EXEC, false)] {
        let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
        let said = say(Command::new("setpriv")
            .args([uid.as_str(), &gid, "--clear-groups", "test", "-w"])
            .arg(daemon.socket()));
        assert_eq!(said.code == Some(0), may, "{user}: {said:?}");
    }
    let said = daemon.row("who")["message"].to_string();
    assert!(said.contains(&uid(EXEC).to_string()), "{said}");
    let said = daemon.told_by_daemon(&["version"]);
    let line = format!(
        "workers run under `{WORKER}`, programs of checks under `{EXEC}`, the rest under `{OWN}`"
    );
    assert!(said.out.contains(&line), "{said:?}");
    // All files are the daemon's, those too that workers write.
    for entry in fs::read_dir(daemon.dir().join("run")).expect("our own folder") {
        // One that goes with its worker may be gone by now.
        if let Ok(meta) = entry.expect("a name").metadata() {
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), own);
        }
    }
    stop(daemon);
}

/// A program that opens what `opens` names, and does what `tries` says; it tells what it could.
fn attacks(opens: &[String], tries: &[String]) -> Check {
    let opens = opens.iter().map(|path| format!("try : '<{path}'"));
    let tries = tries.iter().map(|words| format!("try {words}"));
    let all: Vec<String> = opens.chain(tries).collect();
    // What it may do shows that it tells.
    let script = format!(
        "try() {{ (eval \"$@\") >/dev/null 2>&1 && did=\"$did $*\"; }}; try : '</etc/passwd'; {}; echo did$did",
        all.join("; ")
    );
    check("attacks").interval("1h").script(&script)
}

const COULD: &str = "did : </etc/passwd";

fn insides(pids: &[u32]) -> Vec<String> {
    let files = ["environ", "mem", "maps", "fd/0", "auxv"];
    let of = |pid: &u32| files.map(|file| format!("/proc/{pid}/{file}"));
    pids.iter().flat_map(of).collect()
}

#[test]
fn a_program_of_another_user_ends_reads_and_opens_nothing_of_the_daemon_s() {
    if !is_root() {
        return skipped("only root can make others somebody else");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let daemon = spawn(&listener);
    daemon.until_ok(&["port", "who"]);
    let pids = [daemon.pid(), daemon.manager(), daemon.role("worker io")[0]];
    let mut tries: Vec<String> = pids.map(|pid| format!("kill -0 {pid}")).into();
    let mut opens = insides(&pids);
    for folder in ["run", "state"].map(|name| daemon.dir().join(name)) {
        for entry in fs::read_dir(&folder).expect("the daemon's own") {
            let path = entry.expect("a name").path().display().to_string();
            tries.push(format!("rm -f {path}"));
            tries.push(format!("test -w {path}"));
            opens.push(path);
        }
        tries.push(format!("touch {}/new", folder.display()));
    }
    assert!(
        tries.iter().any(|t| t.contains("control.sock")),
        "{tries:?}"
    );
    daemon
        .written
        .rewrite(&[port(&listener), attacks(&opens, &tries)]);
    daemon.ask("reload", json!({}));
    let row = daemon.run("attacks");
    assert_eq!(row["message"], COULD, "{row}");
    assert_eq!(daemon.run_anew("port")["status"], "ok");
    let after = [daemon.pid(), daemon.manager(), daemon.role("worker io")[0]];
    assert_eq!(after, pids);
    stop(daemon);
}

/// Who runs under the daemon's own user may not look into supervisor and manager, which have all secrets.
#[test]
fn the_memory_of_the_daemon_is_closed_to_its_own_user() {
    if !is_root() {
        return skipped("needs root to become somebody else");
    }
    let config = Config::new().env("HOME", "/");
    let dir = config.dir().to_owned();
    let daemon = config
        .wrapper(&[
            "setpriv",
            "--reuid=proxy",
            "--regid=proxy",
            "--clear-groups",
        ])
        .check(check("fine").interval("1h").script("exit 0"));
    std::os::unix::fs::chown(&dir, Some(uid(OWN)), None).expect("we are root");
    let daemon = daemon.spawn();
    daemon.expect_notify("READY=1");
    let opens = insides(&[daemon.pid(), daemon.manager()]);
    daemon.written.rewrite(&[attacks(&opens, &[])]);
    daemon.ask("reload", json!({}));
    let row = daemon.run("attacks");
    assert_eq!(row["message"], COULD, "{row}");
    stop(daemon);
}

#[test]
fn whoever_of_them_is_killed_comes_back_and_nobody_is_left() {
    if !is_root() {
        return skipped("only root can make others somebody else");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let daemon = spawn(&listener);
    for role in ["worker io", "worker exec", "manager"] {
        let before = daemon.role(role)[0];
        kill(before, Signal::SIGKILL);
        wait_for("another in its place", || {
            daemon.role(role).first().is_some_and(|pid| *pid != before)
        });
        for name in ["port", "who"] {
            assert_eq!(daemon.run_anew(name)["status"], "ok", "after {role}");
        }
    }
    // One that does not end by itself has to be ended by somebody else.
    let worker = daemon.role("worker io")[0];
    kill(worker, Signal::SIGSTOP);
    stop(daemon);
}

#[test]
fn without_the_rights_everything_works_under_one_user_and_it_is_said() {
    if !is_root() {
        return skipped("needs root to become somebody else");
    }
    let config = Config::new()
        .section("users", &format!("worker = {WORKER:?}"))
        .check(check("fine").interval("1h").script("exit 0"))
        .env("HOME", "/");
    let dir = config.dir().to_owned();
    let daemon = config.wrapper(&[
        "setpriv",
        "--reuid=proxy",
        "--regid=proxy",
        "--clear-groups",
    ]);
    std::os::unix::fs::chown(&dir, Some(uid(OWN)), None).expect("we are root");
    let daemon = daemon.spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("[users] is without effect");
    daemon.until_ok(&["fine"]);
    let said = daemon.told_by_daemon(&["version"]);
    assert!(
        said.out.contains("everything runs under `proxy`"),
        "{said:?}"
    );
    assert_eq!(ids(daemon.role("worker exec")[0]).0, [uid(OWN); 4]);
    stop(daemon);
}

#[test]
fn a_user_that_is_not_there_or_is_root_is_a_mistake_in_the_config() {
    for (name, wrong) in [
        (
            "nobody-at-all",
            "there is no user `nobody-at-all`, which `exec` in [users] names",
        ),
        ("root", "`exec` in [users] is root, who may do everything"),
    ] {
        let (code, said) = Config::new()
            .section("users", &format!("exec = {name:?}"))
            .check(check("a").script("exit 0"))
            .refused();
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(wrong), "{said}");
    }
}

#[test]
fn what_healthd_has_started_may_look_and_not_change_anything() {
    let healthctl = env!("CARGO_BIN_EXE_healthctl");
    let config = Config::new();
    let socket = config.dir().join("run/control.sock");
    let ask = |name: &str, words: &str| {
        check(name)
            .interval("1h")
            .set("attempts", "1")
            .script(&format!(
                "{healthctl} --timeout 60s --socket {} {words} 2>&1",
                socket.display()
            ))
    };
    let changes = control::changes();
    let all: Vec<String> = [
        "perl",
        "-e",
        control::ASK_ALL,
        &socket.display().to_string(),
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(changes.iter().cloned())
    .collect();
    let argv = serde_json::to_string(&all).expect("texts");
    let all = check("all").plugin("exec").interval("1h");
    let all = all.set("config", &format!("{{ argv = {argv} }}"));
    let daemon = config
        .check(check("other").interval("1h").script("exit 0"))
        .check(ask("looks", "status other"))
        .check(ask("pauses", "pause other"))
        .check(all)
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["other"]);
    let row = daemon.run_anew("looks");
    assert_eq!(row["status"], "ok", "{row}");
    let row = daemon.run_anew("pauses");
    assert_ne!(row["status"], "ok", "{row}");
    let said = row["message"].to_string();
    assert!(
        said.contains("what healthd itself has started may read, but not change anything"),
        "{said}"
    );
    // Nor in any other way.
    let row = daemon.run_anew("all");
    let denied = format!("denied {}", changes.len());
    assert_eq!(row["message"], denied, "{row}");
    assert!(
        daemon.row("other")["paused"].is_null(),
        "{}",
        daemon.row("other")
    );
    daemon.ask("pause", json!({"names": ["other"]}));
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}
