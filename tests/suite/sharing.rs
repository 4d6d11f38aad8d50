//! Maps and locks over all workers: what outlives whom, who is let in, and when.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, Gate, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

fn config() -> Config {
    Config::new().plugin_file(fixtures::fixture("keeper"))
}

fn keep(name: &str, lane: &str, options: &str) -> Check {
    check(name)
        .plugin(lane)
        .interval("1h")
        .set("config", &format!("{{ {options} }}"))
}

fn locker(name: &str, lane: &str, dir: &Path, options: &str) -> Check {
    check(name)
        .plugin(lane)
        .interval("1h")
        .timeout("2m")
        .set("config", &format!("{{ dir = {dir:?}, {options} }}"))
}

fn said(daemon: &Daemon, name: &str) -> String {
    daemon.run(name)["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The first runs come by themselves: after them nothing happens unasked for an hour.
fn settled(daemon: &Daemon) {
    wait_for("the first runs", || {
        let rows = daemon.ask("status", json!({}));
        rows.iter().all(|r| !r["status"].is_null())
    });
}

#[test]
fn a_map_outlives_its_workers_and_the_manager_and_not_the_daemon() {
    let map = "map = \"m\"";
    let mut daemon = config()
        .check(keep("get", "keep", &format!("op = 0, {map}, key = \"k\"")))
        .check(keep(
            "get_step",
            "keep_step",
            &format!("op = 0, {map}, key = \"k\""),
        ))
        .check(
            keep(
                "set",
                "keep_step",
                &format!("op = 1, {map}, key = \"k\", value = \"one\""),
            )
            .set("enabled", "true"),
        )
        .check(keep(
            "claim",
            "keep",
            &format!("op = 1, {map}, key = \"k\", value = \"two\", expect = 0"),
        ))
        .check(keep(
            "brief",
            "keep",
            &format!("op = 1, {map}, key = \"b\", value = \"x\", ttl_ms = 1"),
        ))
        .check(keep(
            "push",
            "keep",
            "op = 2, map = \"list\", value = \"item\"",
        ))
        .check(keep("all", "keep_step", "op = 3, map = \"list\""))
        .check(keep(
            "bad",
            "keep",
            "op = 1, map = \"no name\", key = \"k\"",
        ))
        .check(keep(
            "nothing",
            "keep",
            "op = 0, map = \"m\", key = \"other\"",
        ))
        .spawn();
    daemon.expect_notify("READY=1");
    settled(&daemon);
    assert!(said(&daemon, "set").starts_with("0 "));
    let there = said(&daemon, "get");
    assert!(
        there.starts_with("0 ") && there.ends_with(" 1 one"),
        "{there}"
    );
    assert_eq!(said(&daemon, "get_step"), there);
    // Somebody has it already: the answer is what is there.
    assert_eq!(said(&daemon, "claim"), there.replacen('0', "-11", 1));
    assert_eq!(said(&daemon, "nothing"), "-2 0 0 ");
    assert_eq!(said(&daemon, "bad"), "not asked: -22");
    let pushed = said(&daemon, "all");
    said(&daemon, "push");
    assert_ne!(said(&daemon, "all"), pushed);
    let rows = daemon.ask("objects", json!({}));
    let of = |kind: &str| {
        rows.iter()
            .find(|r| r["kind"] == kind)
            .cloned()
            .unwrap_or(Value::Null)
    };
    assert_eq!(
        (&of("map")["plugin"], &of("map")["name"]),
        (&Value::Null, &"m".into())
    );
    assert_eq!(of("list")["name"], "list");
    // The worker, and then the manager with all of them.
    let pids = daemon.pids("io");
    pids.values().for_each(|pid| kill(*pid, Signal::SIGKILL));
    daemon.until_workers("other workers", |rows| {
        rows.iter()
            .all(|r| r["state"] == "ready" && !pids.values().any(|p| r["pid"] == *p))
    });
    assert_eq!(said(&daemon, "get_step"), there);
    let manager = daemon.manager();
    kill(manager, Signal::SIGKILL);
    wait_for("another manager", || {
        daemon.role("manager").iter().any(|p| *p != manager)
    });
    wait_for("it answers", || {
        daemon.healthctl(&["objects"]).code == Some(0)
    });
    assert_eq!(said(&daemon, "get_step"), there);
    // A new version comes after all that were given before.
    let number = |text: &str| text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    let before = number(&said(&daemon, "get_step"));
    assert!(number(&said(&daemon, "set")) > before);
    // No disk has it.
    assert!(!daemon.saved().contains("\"one\""));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    let rows = daemon.ask("objects", json!({}));
    assert!(
        rows.iter()
            .all(|r| r["kind"] != "list" || r["size"].as_u64() < Some(3)),
        "{rows:?}"
    );
}

#[test]
fn a_plugin_that_floods_is_refused_and_nobody_else_feels_it() {
    let daemon = config()
        .pool("io", "workers = 1")
        .plugin_file(fixtures::fixture("echo"))
        .check(check("beside").plugin("echo_step").interval("100ms"))
        .check(
            keep(
                "flood",
                "keep",
                "op = 1, map = \"m\", key = \"k\", value = \"v\", flood = 12000",
            )
            .timeout("1m"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let message = said(&daemon, "flood");
    let mut words = message.split_whitespace();
    let let_in: u64 = words.nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    // 5,000 at once and 5,000 a second, however fast this machine asks.
    let took = daemon.row("flood")["latency_ms"]
        .as_f64()
        .expect("a number");
    assert!(let_in >= 5_000, "{message}");
    assert!(
        let_in as f64 <= 5_001.0 + 5.0 * took,
        "{message} in {took} ms"
    );
    let row = daemon.row("beside");
    assert_eq!(
        (&row["status"], &row["stale"]),
        (&"ok".into(), &false.into())
    );
    assert!(daemon.workers().iter().all(|w| w["restarts"] == 0));
}

#[test]
fn a_lock_is_free_when_its_holder_dies_and_goes_to_the_first_in_line() {
    let gate = Gate::new();
    let path = gate.path();
    let config = config();
    let dir = config.dir().to_owned();
    let gated = |name: &str, names: &str| {
        locker(
            name,
            "locker_step",
            &dir,
            &format!("names = {names:?}, gate = {path:?}"),
        )
    };
    let daemon = config
        .pool("io", "workers = 3")
        .check(gated("a", "x,y"))
        .check(gated("b", "y"))
        .check(gated("c", "x,y,z"))
        .check(locker(
            "hasty",
            "locker",
            &dir,
            "names = \"y\", timeout_ms = 50",
        ))
        .check(locker("greedy", "locker", &dir, "names = \"q\", again = 1"))
        .check(locker("forgets", "locker", &dir, "names = \"f\", keep = 1"))
        .spawn();
    daemon.expect_notify("READY=1");
    // The first runs come by themselves, in some order.
    let mut inside = Vec::new();
    for _ in 0..3 {
        let visit = gate.wait_entered();
        inside.push(visit.check.clone());
        assert!(gate.is_empty());
        visit.open();
    }
    settled(&daemon);
    assert!(said(&daemon, "greedy").starts_with("held"));
    // The run's end gives back what the plugin did not.
    assert!(said(&daemon, "forgets").starts_with("held"));
    assert!(said(&daemon, "forgets").starts_with("held"));
    let ask = |name: &str| {
        let mut client = daemon.client();
        client.send(&json!({"v": 1, "op": "run", "names": [name]}));
        assert_eq!(client.line().expect("an answer")["type"], "started");
        client
    };
    let mut a = ask("a");
    let holder = gate.wait_entered();
    assert_eq!(holder.check, "a");
    assert!(
        said(&daemon, "hasty").starts_with("ETIMEDOUT"),
        "{}",
        said(&daemon, "hasty")
    );
    let lock = |name: &str| {
        let rows = daemon.ask("objects", json!({}));
        rows.iter()
            .find(|r| r["kind"] == "lock" && r["name"] == name)
            .cloned()
            .unwrap_or(Value::Null)
    };
    let mut c = ask("c");
    wait_for("c waits", || lock("y")["waiters"][0]["check"] == "c");
    let mut b = ask("b");
    wait_for("b waits behind it", || {
        lock("y")["waiters"][1]["check"] == "b"
    });
    assert_eq!(lock("x")["holders"][0]["check"], "a");
    // c's turn comes first, though b would be content with y.
    kill(holder.pid, Signal::SIGKILL);
    let next = gate.wait_entered();
    if next.check == "a" {
        daemon.fail("a runs again before those that waited");
    }
    let mut order = vec![next.check.clone()];
    next.open();
    for _ in 0..2 {
        let next = gate.wait_entered();
        order.push(next.check.clone());
        next.open();
    }
    // c or b may have been in the worker that died; then they came again, and all the same one after the other.
    order.sort();
    assert_eq!(order, ["a", "b", "c"]);
    for client in [&mut a, &mut b, &mut c] {
        assert_eq!(client.answer().expect("it runs")[0]["status"], "ok");
    }
    assert_eq!(lock("y"), Value::Null);
    daemon.workers();
}

/// Every run takes two to four of ten locks in an order of its own, in four workers: none waits for ever, the kernel sees
/// no two at once, and who gives up does so.
#[test]
fn random_orders_of_locks_never_end_in_a_circle() {
    let config = config();
    let dir = config.dir().to_owned();
    // No run is under way, in the end, that nobody asked for.
    let mut config = config.only_asked().pool("io", "workers = 4\nthreads = 16");
    for n in 0..40 {
        let options = format!(
            "random = {}, hold_us = 200, timeout_ms = {}",
            2 + n % 3,
            if n % 5 == 0 { 5 } else { 60_000 }
        );
        config = config.check(locker(&format!("l{n}"), "locker", &dir, &options));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for _ in 0..5 {
        let rows = daemon.ask("run", json!({}));
        for row in rows.iter().filter(|r| r["type"] == "check") {
            assert_eq!(row["status"], "ok", "{row}");
        }
    }
    assert!(
        daemon
            .ask("objects", json!({}))
            .iter()
            .all(|r| r["kind"] != "lock")
    );
}

/// The Rust SDK in both lanes of two workers: of numbers that are read and put back under a lock none is lost, every name
/// is in the list, and each sees what the other has cleared.
#[test]
fn rust_plugins_share_over_two_workers() {
    let plugins = ["shares", "shares_step"];
    let mut config = Config::new()
        .pool("io", "workers = 2")
        .plugin_file(fixtures::shares());
    for plugin in plugins {
        let adds = keep(&format!("{plugin}/{{item}}"), plugin, "what = \"add\"");
        config = config.check(adds.timeout("1m").set("for_each", "\"0..12\""));
        for what in ["list", "clear"] {
            let options = format!("what = {what:?}");
            config = config.check(keep(&format!("{what}-{plugin}"), plugin, &options));
        }
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    settled(&daemon);
    let each = |what: &str| plugins.map(|plugin| said(&daemon, &format!("{what}-{plugin}")));
    each("clear");
    assert_eq!(each("list"), ["0 of 0", "0 of 0"]);
    for round in 0..3 {
        let rows = daemon.ask("run", json!({"names": ["shares/*", "shares_step/*"]}));
        let workers: BTreeSet<_> = rows.iter().filter_map(|r| r["worker"].as_u64()).collect();
        assert_eq!(workers.len(), 2);
        for plugin in plugins {
            let mine = rows.iter().filter(|r| r["plugin"] == plugin);
            let number = |r: &Value| r["message"].as_str().and_then(|m| m.parse::<u64>().ok());
            let numbers: BTreeSet<u64> = mine.filter_map(number).collect();
            let expected = round * 12 + 1..=round * 12 + 12;
            assert!(numbers.into_iter().eq(expected), "{rows:?}");
        }
    }
    assert_eq!(each("list"), ["72 of 24", "72 of 24"]);
    said(&daemon, "clear-shares");
    assert_eq!(each("list"), ["0 of 0", "0 of 0"]);
    let kinds = |kind: &str| {
        let rows = daemon.ask("objects", json!({}));
        rows.iter().filter(|r| r["kind"] == kind).count()
    };
    // The other plugin's own number is left.
    assert_eq!((kinds("map"), kinds("list"), kinds("lock")), (1, 0, 0));
}

/// A token server that counts, and a target that wants the token of this number.
struct OAuth {
    port: u16,
    given: Arc<AtomicU32>,
    wanted: Arc<AtomicU32>,
}

fn oauth() -> OAuth {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("bound").port();
    let (given, wanted) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(1)));
    let (count, wants) = (given.clone(), wanted.clone());
    let slow = Arc::new(Mutex::new(()));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (count, wants, slow) = (count.clone(), wants.clone(), slow.clone());
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                let n = stream.read(&mut bytes).unwrap_or(0);
                let request = String::from_utf8_lossy(&bytes[..n]).into_owned();
                let answer = if request.starts_with("POST /token ") {
                    let _one_at_a_time = slow.lock().expect("no panic");
                    let n = count.fetch_add(1, Ordering::SeqCst) + 1;
                    let body = format!(
                        r#"{{"access_token":"t-{n}","token_type":"Bearer","expires_in":3600}}"#
                    );
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                } else if request.contains(&format!(
                    "Authorization: Bearer t-{}\r\n",
                    wants.load(Ordering::SeqCst)
                )) {
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()
                } else {
                    "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".into()
                };
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    OAuth {
        port,
        given,
        wanted,
    }
}

/// Checks of a target behind that server.
fn with_token(server: &OAuth, workers: u32) -> Config {
    let url = format!("http://127.0.0.1:{}", server.port);
    let oauth2 = format!(
        "{{ token_url = \"{url}/token\", client_id = \"me\", client_secret = \"s3cret\" }}"
    );
    Config::new()
        .pool("io", &format!("workers = {workers}"))
        .check(
            check("api/{item}")
                .plugin("http")
                .interval("1h")
                .timeout("55s")
                .set("for_each", "\"0..200\"")
                .set(
                    "config",
                    &format!("{{ url = \"{url}/\", oauth2 = {oauth2} }}"),
                ),
        )
}

/// All run, and all say this.
fn all_are(daemon: &Daemon, status: &str) {
    let rows = daemon.ask("run", json!({}));
    let done: Vec<_> = rows.iter().filter(|r| r["type"] == "check").collect();
    assert_eq!(done.len(), 200);
    done.iter()
        .for_each(|r| assert_eq!(r["status"], status, "{r}"));
}

#[test]
fn one_token_for_all_workers_also_after_their_death() {
    let server = oauth();
    let daemon = with_token(&server, 3).spawn();
    daemon.expect_notify("READY=1");
    all_are(&daemon, "ok");
    assert_eq!(server.given.load(Ordering::SeqCst), 1);
    let pids = daemon.pids("io");
    pids.values().for_each(|pid| kill(*pid, Signal::SIGKILL));
    daemon.until_workers("other workers", |rows| {
        rows.iter()
            .all(|r| r["state"] == "ready" && !pids.values().any(|p| r["pid"] == *p))
    });
    all_are(&daemon, "ok");
    assert_eq!(server.given.load(Ordering::SeqCst), 1);
    wait_for("the caches are shown", || {
        let rows = daemon.ask("objects", json!({}));
        rows.iter()
            .any(|r| r["kind"] == "cache" && r["name"] == "oauth2" && r["hits"].as_u64() > Some(10))
    });
    // Nobody is shown the secret or the token.
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("s3cret") && !log.contains("t-1"));
    let shown = daemon.healthctl(&["--json", "objects"]).out;
    assert!(
        !shown.contains("t-1") && shown.contains("\"kind\":\"map\""),
        "{shown}"
    );
}

/// A target that no longer takes the token it took: one new token for both workers, and nobody is marked. One that takes
/// none at all is.
#[test]
fn a_refused_token_is_replaced_once_for_all_workers() {
    let server = oauth();
    let daemon = with_token(&server, 2).spawn();
    daemon.expect_notify("READY=1");
    settled(&daemon);
    all_are(&daemon, "ok");
    server.wanted.store(2, Ordering::SeqCst);
    all_are(&daemon, "ok");
    assert_eq!(server.given.load(Ordering::SeqCst), 2);
    let workers: BTreeSet<_> = daemon
        .ask("status", json!({}))
        .iter()
        .filter_map(|r| r["worker"].as_u64())
        .collect();
    assert_eq!(workers.len(), 2);
    server.wanted.store(0, Ordering::SeqCst);
    all_are(&daemon, "critical");
    // None, or one if the last is no longer young.
    assert!(server.given.load(Ordering::SeqCst) <= 3);
}

/// Two checks with one rate limit, and one without that gets no answer: the target is silent to all until that one's run is
/// given up. By then the timeout of the others is over, but not for one that has waited for its turn.
#[test]
fn a_run_that_waits_for_its_turn_has_its_whole_timeout_left() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("bound").port();
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = silent.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).unwrap_or(0);
            if is_silent.load(Ordering::SeqCst) && bytes[..n].starts_with(b"GET /never ") {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let web = |name: &str, timeout: &str, limit: &str| {
        let options = format!("{{ url = \"http://127.0.0.1:{port}/{name}\"{limit} }}");
        check(name)
            .plugin("http")
            .interval("1h")
            .timeout(timeout)
            .set("config", &options)
    };
    let limit = ", rate_limit = \"12/m\"";
    let daemon = Config::new()
        .pool("io", "workers = 2")
        .check(web("a", "7s", limit))
        .check(web("b", "7s", limit))
        .check(web("never", "7500ms", ""))
        .spawn();
    daemon.expect_notify("READY=1");
    settled(&daemon);
    silent.store(true, Ordering::SeqCst);
    let rows = daemon.ask("run", json!({}));
    let row = |name: &str| rows.iter().find(|r| r["name"] == name).expect("a row");
    let never = "timeout after 7.5s in phase ttfb";
    assert_eq!(row("never")["message"], never, "{rows:?}");
    let waited = |name: &&str| {
        row(name)["status"] == "ok" && row(name)["latency_ms"].as_f64() > Some(7000.0)
    };
    assert!(["a", "b"].iter().any(waited), "{rows:?}");
}
