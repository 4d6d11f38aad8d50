//! Servers that mean ill cost their own checks a verdict, and their worker neither memory nor a run of others.

use crate::harness::{Check, Config, check};
use healthd_testing::Peer;
use std::fs;
use std::io::{Read, Write};

/// Says its head, then the rest without end.
fn endless(head: &'static str, rest: Vec<u8>) -> Peer {
    Peer::new(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(&rest).is_ok() {}
    })
}

fn asks(name: &str, peer: &Peer, options: &str) -> Check {
    check(name)
        .plugin("http")
        .interval("1h")
        .timeout("100s")
        .set("attempts", "1")
        .set("retry_interval", "\"1h\"")
        .set(
            "config",
            &format!("{{ url = \"http://{}/\"{options} }}", peer.addr),
        )
}

/// KiB of a process that no file stands behind, at most until now.
fn peak_kb(pid: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let of = |name: &str| -> u64 {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        let number = line.and_then(|l| l.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    of("VmHWM:") - of("RssFile:") - of("RssShmem:")
}

const LARGE: usize = 6;
const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn bodies_without_end_take_no_memory_and_no_runs_of_others() {
    let large = || endless(OK, vec![b'x'; 64 << 10]);
    let small = || endless(CHUNKED, b"1\r\nx\r\n".repeat(10_000));
    let mut peers: Vec<Peer> = (0..LARGE).map(|_| large()).collect();
    peers.extend([small(), small()]);
    let good = Peer::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut config = Config::new()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .check(asks("good", &good, ", body_contains = \"ok\""));
    let mut names = Vec::new();
    for (n, peer) in peers.iter().enumerate() {
        let most = if n < LARGE { 6 << 20 } else { 1 << 18 };
        let options = format!(", body_contains = \"never\", max_body = {most}");
        names.push(format!("bad-{n}"));
        config = config.check(asks(&names[n], peer, &options));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    // Their first runs are under way, or will be.
    assert_eq!(daemon.run_anew("good")["status"], "ok");
    for name in &names {
        let row = daemon.run(name);
        assert_eq!(
            row["message"], "body does not contain \"never\" in the part that was read (max_body)",
            "{row}"
        );
    }
    assert_eq!(daemon.run_anew("good")["status"], "ok");
    let worker = daemon.detail("good")["worker"].clone();
    let workers = daemon.workers();
    let pid = workers.iter().find(|w| w["slot"] == worker);
    let pid = pid.and_then(|w| w["pid"].as_u64()).expect("a worker");
    let peak = peak_kb(pid);
    // All of them kept would be 36 MiB, and more while they grow.
    assert!(peak < 28 << 10, "{peak} KiB");
}

#[test]
fn many_large_answers_at_once_have_a_bound_together() {
    const MANY: usize = 4;
    // A megabyte; each whole tree of it would take fifty.
    let body = format!("[{}0]", r#"{"a":[1,2,3]},"#.repeat(70_000));
    let head = "HTTP/1.1 200 OK\r\nContent-Length:";
    let answer = format!("{head} {}\r\n\r\n{body}", body.len());
    let peer = Peer::new(move |mut stream| {
        let answer = answer.clone();
        std::thread::spawn(move || {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
    });
    let mut config = Config::new().pool("io", "workers = 1");
    for n in 0..MANY {
        let options = ", json_path = \"$..status\"";
        config = config.check(asks(&format!("bad-{n}"), &peer, options));
    }
    let whole = asks("whole", &peer, ", json_path = \"$\"");
    let daemon = config.check(whole).spawn();
    daemon.expect_notify("READY=1");
    // Their first runs are under way, or will be.
    for n in 0..MANY {
        let row = daemon.run(&format!("bad-{n}"));
        assert_eq!(row["message"], "$..status finds nothing", "{row}");
    }
    let row = daemon.run("whole");
    assert_eq!(row["status"], "unknown", "{row}");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(message.contains("takes more than 32 MiB"), "{row}");
    let worker = daemon.detail("whole")["worker"].clone();
    let workers = daemon.workers();
    let pid = workers.iter().find(|w| w["slot"] == worker);
    let pid = pid.and_then(|w| w["pid"].as_u64()).expect("a worker");
    let peak = peak_kb(pid);
    // 16 MiB of bodies, one tree of at most 32, and the worker itself.
    assert!(peak < 80 << 10, "{peak} KiB");
}
