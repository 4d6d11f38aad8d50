//! The plugin on MockHost against Debian's chrony and ntpsec, and against servers with the time of somebody else.

use crate::tests::{check, check_for, plugin, refused, told};
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_plugin::{Clock, Status};
use healthd_testing::{Server, in_own_network, program, unpacked, until};
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn ask(port: u16, more: &Value) -> Outcome {
    let mut options = json!({"server": "127.0.0.1", "port": port, "samples": 2});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    check("ntp", &options)
}

/// Debian's chrony, a server with this line in its config, which leaves our clock alone.
fn chrony(line: &str) -> Option<Server> {
    let chronyd = program("chronyd", "chrony")?;
    Some(Server::start(
        |folder, port| {
            let pid = folder.file("pid");
            let conf = format!(
                "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\nbindcmdaddress /\npidfile {}\n{line}\n",
                pid.display()
            );
            let conf = folder.write("chrony.conf", conf);
            let mut command = Command::new(&chronyd);
            command
                .args(["-d", "-x", "-U", "-u", "root", "-f"])
                .arg(conf);
            command
        },
        |_, port| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            let mut question = [0; 48];
            question[0] = 0x23;
            let _ = socket.send_to(&question, ("127.0.0.1", port));
            socket.recv(&mut [0; 128]).is_ok()
        },
    ))
}

#[test]
fn the_page_has_all_options() {
    plugin("ntp").assert_documented(include_str!("../../NTP.md"));
}

#[test]
fn mistakes_in_options() {
    let e = refused("ntp", &json!({"server": "127.0.0.1", "family": "ipv6"}));
    assert!(e.starts_with("host: 127.0.0.1 is not of"), "{e}");
}

#[test]
fn chrony_with_a_clock_of_its_own() {
    let Some(chrony) = chrony("local stratum 5") else {
        return;
    };
    let o = ask(chrony.port, &json!({"offset_warn": "200ms"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.message.ends_with(", stratum 5"), "{}", o.message);
    assert_eq!(o.metric("stratum").value, 5.0);
    assert!(o.metric("offset").value.abs() < 0.2 && o.metric("delay").value >= 0.0);
    let o = ask(
        chrony.port,
        &json!({"stratum_max": 3, "offset_warn": "200ms"}),
    );
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message.starts_with("stratum 5, above 3; "),
        "{}",
        o.message
    );
}

#[test]
fn chrony_that_is_not_synchronised() {
    let Some(chrony) = chrony("") else {
        return;
    };
    let o = ask(chrony.port, &json!({}));
    let text = "the server's own clock is not synchronised";
    assert_eq!(told(&o), (Status::Critical, text));
}

/// Debian's ntpsec without the right to touch our clock, which goes by itself after a second. It insists on port 123.
fn ntpsec() -> Option<Server> {
    let ntpd = unpacked("ntpsec", "usr/sbin/ntpd")?;
    Some(Server::start(
        |folder, _| {
            let conf = "interface ignore wildcard\ninterface listen 127.0.0.1\ntos orphan 5 orphanwait 1\n\
                limit average 100000 burst 100000\n";
            let mut command = Command::new("setpriv");
            command
                .args(["--bounding-set=-sys_time", "--inh-caps=-sys_time"])
                .arg(&ntpd)
                .args(["-n", "-N", "-c"])
                .arg(folder.write("ntp.conf", conf))
                .arg("-f")
                .arg(folder.file("drift"))
                .arg("-p")
                .arg(folder.file("pid"));
            command
        },
        |folder, _| {
            let log = std::fs::read_to_string(folder.file("log"));
            log.is_ok_and(|log| log.contains("127.0.0.1:123"))
        },
    ))
}

#[test]
fn ntpsec_that_goes_by_itself() {
    in_own_network(|| {
        let Some(ntpsec) = ntpsec() else {
            return;
        };
        let fine = json!({"offset_warn": "200ms"});
        until(
            || ask(123, &fine).status == Status::Ok,
            || format!("{:?}: {}", ask(123, &fine), ntpsec.log()),
        );
        let o = ask(123, &json!({"offset_warn": "200ms", "stratum_max": 3}));
        assert_eq!(o.status, Status::Critical, "{}", o.message);
        assert!(
            o.message.starts_with("stratum 5, above 3; "),
            "{}",
            o.message
        );
    });
}

/// The outcome with a server whose good answers, its clock ahead by `ahead` seconds, are changed like this.
fn against(
    ahead: u64,
    more: &Value,
    change: impl Fn(&mut Vec<Vec<u8>>) + Send + 'static,
) -> Outcome {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let thread = std::thread::spawn(move || {
        let mut question = [0; 128];
        while let Ok((_, from)) = server.recv_from(&mut question) {
            if stop.load(SeqCst) {
                return;
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let seconds = now
                .as_secs()
                .wrapping_add(2_208_988_800)
                .wrapping_add(ahead) as u32;
            let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
            let mut p = vec![0; 48];
            (p[0], p[1]) = (0x24, 2);
            p[24..32].copy_from_slice(&question[40..48]);
            for at in [32, 40] {
                p[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
                p[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
            }
            let mut all = vec![p];
            change(&mut all);
            for answer in all {
                let _ = server.send_to(&answer, from);
            }
        }
    });
    let mut options = json!({"server": "127.0.0.1", "port": addr.port(), "samples": 2});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    let o = check_for("ntp", &options, Duration::from_secs(20));
    over.store(true, SeqCst);
    let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _ = waker.send_to(b"", addr);
    thread.join().unwrap();
    o
}

#[test]
fn clocks_that_differ() {
    let o = against(0, &json!({"offset_warn": "200ms"}), |_| ());
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    // Behind by an hour, and far ahead, in the next era.
    for (ahead, seconds) in [
        (3600u64.wrapping_neg(), -3600.0),
        (600_000_000, 600_000_000.0),
    ] {
        let o = against(ahead, &json!({}), |_| ());
        let offset = o.metric("offset").value;
        assert!((offset - seconds).abs() < 1.0, "{offset}");
        assert!(
            o.message.starts_with("the clocks differ by "),
            "{}",
            o.message
        );
        // Who is wrong cannot be said by a clock that nobody keeps.
        let ours = Clock::ask().map(|c| c.is_synchronised);
        let expected = match ours {
            Ok(false) => Status::Unknown,
            _ => Status::Critical,
        };
        assert_eq!(o.status, expected, "{}", o.message);
    }
}

#[test]
fn forged_answers_and_silence() {
    // One with another cookie comes first.
    let o = against(0, &json!({"offset_warn": "200ms"}), |all| {
        let mut forged = all[0].clone();
        forged[24] ^= 1;
        forged[1] = 16;
        all.insert(0, forged);
    });
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let o = against(0, &json!({"samples": 1}), |all| all[0][24] ^= 1);
    assert_eq!(told(&o), (Status::Critical, "no answer to 1 questions"));
    let o = ask(1, &json!({}));
    assert_eq!(told(&o), (Status::Critical, "query: connection refused"));
}

#[test]
fn what_a_server_may_say_instead() {
    for (word, status, text) in [
        (
            b"RATE",
            Status::Unknown,
            "the server says RATE: it is asked too often",
        ),
        (
            b"DENY",
            Status::Unknown,
            "the server says DENY: it does not serve this machine",
        ),
        (
            b"INIT",
            Status::Critical,
            "the server has no time yet (INIT)",
        ),
    ] {
        let o = against(0, &json!({}), move |all| {
            all[0][1] = 0;
            all[0][12..16].copy_from_slice(word);
        });
        assert_eq!(told(&o), (status, text));
    }
    let unsynchronised = (
        Status::Critical,
        "the server's own clock is not synchronised",
    );
    let o = against(0, &json!({}), |all| all[0][0] |= 0xC0);
    assert_eq!(told(&o), unsynchronised);
    let o = against(0, &json!({}), |all| all[0][1] = 16);
    assert_eq!(told(&o), unsynchronised);
    let o = against(
        0,
        &json!({"distance_warn": "1s", "offset_warn": "200ms"}),
        |all| all[0][9] = 2,
    );
    assert_eq!(o.status, Status::Warn, "{}", o.message);
    assert!(
        o.message
            .starts_with("the server may be wrong by 2 s, above 1 s; "),
        "{}",
        o.message
    );
}
