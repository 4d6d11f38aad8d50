//! What plugins share: counters that survive everything but a restart, a limit over all workers, and `objects`.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, Daemon, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn objects(daemon: &Daemon) -> Vec<Value> {
    daemon.ask("objects", json!({}))
}

/// The value of a counter, by plugin ("" is everybody's) and name.
fn counter(daemon: &Daemon, plugin: &str, name: &str) -> Option<u64> {
    objects(daemon)
        .iter()
        .find(|o| o["name"] == name && o["plugin"].as_str().unwrap_or_default() == plugin)
        .and_then(|o| o["values"][0].as_u64())
}

fn run_all(daemon: &Daemon) -> Vec<Value> {
    let rows = daemon.ask("run", json!({}));
    rows.into_iter().filter(|r| r["type"] == "check").collect()
}

#[test]
fn counters_are_exact_over_workers_deaths_and_reloads_and_begin_anew_with_the_daemon() {
    let mut config = Config::new()
        .plugin_file(fixtures::fixture("tally"))
        .pool("io", "workers = 2");
    for n in 0..6 {
        let plugin = ["tally", "tally_step"][n % 2];
        config = config.check(check(&format!("t{n}")).plugin(plugin).interval("1h"));
    }
    let mut daemon = config.spawn();
    daemon.expect_notify("READY=1");
    // A run that a death cut off may have counted, so those before and after are counted by what runs did.
    let counted =
        |daemon: &Daemon| ["tally", "tally_step"].map(|p| counter(daemon, p, "runs").unwrap_or(0));
    // The first runs come by themselves.
    wait_for("the first runs", || {
        daemon
            .ask("status", json!({}))
            .iter()
            .all(|r| r["status"] == "ok")
    });
    let before = counted(&daemon);
    for _ in 0..10 {
        for row in run_all(&daemon) {
            assert_eq!(row["status"], "ok", "{row}");
        }
    }
    assert_eq!(counted(&daemon), before.map(|n| n + 30));
    assert_eq!(
        counter(&daemon, "", "everybody"),
        Some(before.iter().sum::<u64>() + 60)
    );
    let array = objects(&daemon);
    let array = array
        .iter()
        .find(|o| o["name"] == "largest")
        .expect("it is there");
    assert_eq!(
        (&array["kind"], &array["size"]),
        (&"array".into(), &3.into())
    );
    assert_eq!(
        (&array["values"][0], &array["values"][2]),
        (&0.into(), &0.into())
    );
    // A worker dies, then the manager with all of them.
    let before = counted(&daemon);
    let pids = daemon.pids("io");
    kill(pids[&0], Signal::SIGKILL);
    daemon.until_workers("another worker in its place", |rows| {
        rows.iter()
            .all(|r| r["state"] == "ready" && r["pid"] != pids[&0])
    });
    assert_eq!(counted(&daemon), before);
    let manager = daemon.manager();
    kill(manager, Signal::SIGKILL);
    wait_for("another manager", || {
        daemon.role("manager").iter().any(|p| *p != manager)
    });
    daemon.expect_log("manager died");
    wait_for("it answers", || {
        daemon.healthctl(&["objects"]).code == Some(0)
    });
    run_all(&daemon);
    let now = counted(&daemon);
    assert!(
        now.iter()
            .zip(before)
            .all(|(now, before)| *now >= before + 3),
        "{now:?} {before:?}"
    );
    assert_eq!(daemon.healthctl(&["reload"]).code, Some(0));
    assert!(counted(&daemon) >= now);
    // A restart of the daemon makes the file anew.
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    assert!(!daemon.dir().join("run/objects.map").exists());
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    run_all(&daemon);
    assert!(
        counted(&daemon)[0] < now[0],
        "{:?} {now:?}",
        counted(&daemon)
    );
}

#[test]
fn objects_shows_groups_and_survives_a_map_of_rubbish() {
    let config = Config::new()
        .only_asked()
        .plugin_file(fixtures::fixture("tally"));
    let one = check("t").plugin("tally").interval("1h");
    let daemon = config.check(one.set("exclusive", "\"heavy\"")).spawn();
    daemon.expect_notify("READY=1");
    daemon.run("t");
    let said = daemon.healthctl(&["objects"]);
    assert!(said.out.contains("counter  tally"), "{said:?}");
    let group = said.out.lines().find(|l| l.starts_with("group"));
    assert!(
        group.is_some_and(|l| l.contains("heavy") && l.ends_with("free")),
        "{said:?}"
    );
    let said = daemon.healthctl(&["--json", "objects"]);
    assert_eq!(said.json().as_array().map(Vec::len), Some(4), "{said:?}");
    // As a broken plugin might: all but the header.
    let file = daemon.dir().join("run/objects.map");
    let size = std::fs::metadata(&file).expect("it is there").len() as usize;
    let rubbish: Vec<u8> = (0..size - 128)
        .map(|n| (n as u8).wrapping_mul(37) ^ (n >> 8) as u8)
        .collect();
    let mut map = std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .expect("ours");
    std::io::Seek::seek(&mut map, std::io::SeekFrom::Start(64)).expect("a file");
    map.write_all(&rubbish).expect("ours");
    assert_eq!(daemon.healthctl(&["objects"]).code, Some(0));
    // The plugin is told that it cannot have its counters; nobody dies.
    let row = daemon.run("t");
    assert_eq!(row["status"], "critical", "{row}");
    assert!(daemon.workers().iter().all(|w| w["restarts"] == 0));
}

/// A web server that notes when it was asked. Each answer says this and closes.
fn web(answer: &'static [u8]) -> (u16, std::sync::mpsc::Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("bound").port();
    let (asked, times) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                    let _ = asked.send(Instant::now());
                    let _ = stream.write_all(answer);
                }
            });
        }
    });
    (port, times)
}

#[test]
fn a_rate_limit_holds_over_all_workers() {
    let (port, asked) = web(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let config = Config::new().pool("io", "workers = 3").check(
        check("web/{item}")
            .plugin("http")
            .interval("1h")
            .timeout("20s")
            .set("for_each", "\"0..30\"")
            .set(
                "config",
                &format!("{{ url = \"http://127.0.0.1:{port}/\", rate_limit = \"40/s\" }}"),
            ),
    );
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    // The first runs come by themselves; after them nothing happens unasked for an hour.
    wait_for("the first runs", || {
        daemon
            .ask("status", json!({}))
            .iter()
            .all(|r| r["status"] == "ok")
    });
    let begun = Instant::now();
    while asked.try_recv().is_ok() {}
    for row in run_all(&daemon) {
        assert_eq!(row["status"], "ok", "{row}");
    }
    // Thirty turns: the last is at least 29 distances of 25 ms after the first, wherever they ran.
    assert!(begun.elapsed() >= Duration::from_millis(29 * 25));
    assert_eq!(asked.try_iter().count(), 30);
    let slots: std::collections::BTreeSet<u64> = daemon
        .ask("status", json!({}))
        .iter()
        .filter_map(|r| r["worker"].as_u64())
        .collect();
    assert!(slots.len() > 1, "{slots:?}");
    assert!(counter(&daemon, "http", "rate:127.0.0.1").is_some());
}
