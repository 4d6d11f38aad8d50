//! The plugin on MockHost, in a network of its own: against the kernel's answers, and against a host that answers as it
//! is told, through a raw socket, while the kernel's own answers are off.

use crate::tests::{check, check_for, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{in_own_network, ip, net_sysctl};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A network in which everybody may ping.
fn network(test: impl FnOnce() + Send + 'static) {
    in_own_network(|| {
        net_sysctl("ipv4/ping_group_range", "0 2147483647");
        test();
    });
}

/// A request of the run that was heard on the wire: the ICMP message without its IP header, and that header.
#[derive(Clone)]
struct Heard {
    header: Vec<u8>,
    icmp: Vec<u8>,
}

impl Heard {
    fn seq(&self) -> u8 {
        self.icmp[7]
    }

    /// The answer, changed by `change`.
    fn answer(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut answer = self.icmp.clone();
        answer[0] = 0;
        change(&mut answer);
        sealed(answer)
    }

    /// Destination unreachable, quoting so many bytes of the request behind its IP header.
    fn unreachable(&self, code: u8, quoted: usize) -> Vec<u8> {
        let mut icmp = vec![3, code, 0, 0, 0, 0, 0, 0];
        icmp.extend_from_slice(&self.header);
        icmp.extend_from_slice(&self.icmp[..quoted]);
        sealed(icmp)
    }
}

fn sealed(mut icmp: Vec<u8>) -> Vec<u8> {
    icmp[2..4].fill(0);
    let mut sum: u32 = icmp
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    icmp[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    icmp
}

/// 127.0.0.`last`, by hand.
fn host_at(last: u8) -> OwnedFd {
    let raw = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::Icmp,
    )
    .unwrap();
    bind(raw.as_raw_fd(), &SockaddrIn::new(127, 0, 0, last, 0)).unwrap();
    setsockopt(&raw, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).unwrap();
    raw
}

fn say(raw: &OwnedFd, packet: &[u8]) {
    let to = SockaddrIn::new(127, 0, 0, 1, 0);
    sendto(raw.as_raw_fd(), packet, &to, MsgFlags::empty()).unwrap();
}

/// Pings 127.0.0.5, where `host` says what comes back, and from which last byte of an address.
fn against(
    options: &Value,
    mut host: impl FnMut(&Heard) -> Vec<(u8, Vec<u8>)> + Send + 'static,
) -> Outcome {
    net_sysctl("ipv4/icmp_echo_ignore_all", "1");
    let (five, nine) = (host_at(5), host_at(9));
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while !stop.load(SeqCst) {
            let Ok(n) = recv(five.as_raw_fd(), &mut buffer, MsgFlags::empty()) else {
                continue;
            };
            let (header, icmp) = buffer[..n].split_at(usize::from(buffer[0] & 15) * 4);
            if icmp[0] != 8 {
                continue;
            }
            let heard = Heard {
                header: header.to_vec(),
                icmp: icmp.to_vec(),
            };
            for (from, packet) in host(&heard) {
                say(if from == 5 { &five } else { &nine }, &packet);
            }
        }
    });
    let mut all = json!({"host": "127.0.0.5", "spacing": "10ms", "wait": "100ms"});
    for (key, value) in options.as_object().unwrap() {
        all[key] = value.clone();
    }
    let o = check("ping", &all);
    over.store(true, SeqCst);
    answering.join().unwrap();
    net_sysctl("ipv4/icmp_echo_ignore_all", "0");
    o
}

#[test]
fn the_page_has_all_options() {
    plugin("ping").assert_documented(include_str!("../../PING.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"host": "127.0.0.1", "family": "ipv6"}),
            "host: 127.0.0.1 is not of the address family that `family` asks for",
        ),
        (
            json!({"host": "x", "source": "eth0"}),
            "source: no IP address",
        ),
        (
            json!({"host": "x", "loss_warn": "20"}),
            "loss_warn: \"20\" is no share; write \"20%\"",
        ),
    ] {
        assert_eq!(refused("ping", &options), text);
    }
}

#[test]
fn a_host_that_answers() {
    network(|| {
        for host in ["127.0.0.1", "::1", "[::1]", "localhost"] {
            let o = check(
                "ping",
                &json!({"host": host, "packets": 3, "spacing": "1ms"}),
            );
            assert_eq!(o.status, Status::Ok, "{host}: {}", o.message);
            assert!(
                o.message.starts_with("3 of 3 answered, round trip "),
                "{}",
                o.message
            );
            assert_eq!((o.metric("loss").value, o.metric("loss").crit), (0.0, 60.0));
            assert_eq!((o.metric("ttl").value, o.metric("hops").value), (64.0, 0.0));
            assert_eq!(o.metric("rtt").unit, "s");
            let of = |name| o.metric(name).value;
            assert!(of("rtt_min") <= of("rtt") && of("rtt") <= of("rtt_max"));
            assert!(of("rtt_stddev") >= 0.0 && of("duplicates") == 0.0);
        }
        let o = check(
            "ping",
            &json!({"host": "127.0.0.1", "packets": 1, "rtt_crit": "0s"}),
        );
        let names: Vec<&str> = o.metrics.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["loss", "rtt", "ttl", "hops"]);
        assert_eq!(o.status, Status::Critical);
        assert!(o.message.contains(", above 0 s; 1 of 1"), "{}", o.message);
    });
}

#[test]
fn nobody_may_ping() {
    const INSIDE: &str = "HEALTHD_TEST_WITHOUT_NET_RAW";
    if std::env::var_os(INSIDE).is_some() {
        for host in ["127.0.0.1", "::1"] {
            let o = check("ping", &json!({"host": host}));
            let text = "socket: healthd may not ping: set the sysctl net.ipv4.ping_group_range";
            assert!(o.message.starts_with(text), "{}", o.message);
            assert_eq!(o.status, Status::Resources);
        }
        return;
    }
    // This test once more, in a process without the right to raw sockets. A new network permits nobody the others.
    in_own_network(|| {
        let done = Command::new("setpriv")
            .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "ping::tests::nobody_may_ping"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
    });
}

#[test]
fn loss_is_counted_and_judged() {
    network(|| {
        for (answered, status, begin) in [
            (5, Status::Ok, "5 of 5 answered"),
            (4, Status::Warn, "20 % lost; 4 of 5 answered"),
            (2, Status::Critical, "60 % lost; 2 of 5 answered"),
            (0, Status::Critical, "no answer to 5 packets"),
        ] {
            // Who is to answer gets the processor for it.
            let wait = if answered == 0 { "100ms" } else { "2s" };
            let o = against(&json!({"wait": wait}), move |heard| {
                match heard.seq() < answered {
                    true => vec![(5, heard.answer(|_| ()))],
                    false => vec![],
                }
            });
            assert_eq!(o.status, status, "{}", o.message);
            assert!(o.message.starts_with(begin), "{}", o.message);
        }
        let o = against(
            &json!({"loss_warn": "50%", "loss_crit": "90%", "wait": "2s"}),
            |heard| match heard.seq() {
                0..3 => vec![(5, heard.answer(|_| ()))],
                _ => vec![],
            },
        );
        assert_eq!(o.status, Status::Ok, "{}", o.message);
    });
}

#[test]
fn answers_that_are_none() {
    network(|| {
        let none = (Status::Critical, "no answer to 5 packets");
        // From another host.
        let o = against(&json!({}), |h| vec![(9, h.answer(|_| ()))]);
        assert_eq!(told(&o), none);
        // With another id: for another socket.
        let o = against(&json!({}), |h| vec![(5, h.answer(|a| a[5] ^= 1))]);
        assert_eq!(told(&o), none);
        // Of another run: its payload is another.
        let o = against(&json!({}), |h| vec![(5, h.answer(|a| a[9] ^= 1))]);
        assert_eq!(told(&o), none);
        // Cut short.
        let o = against(&json!({}), |h| vec![(5, h.answer(|a| a.truncate(12)))]);
        assert_eq!(told(&o), none);
        // To a number that was never sent.
        let o = against(&json!({}), |h| vec![(5, h.answer(|a| a[7] = 200))]);
        assert_eq!(told(&o), none);
        // With a wrong checksum, which the kernel drops.
        let wrong = |h: &Heard| {
            let mut answer = h.answer(|_| ());
            answer[2] ^= 0xFF;
            vec![(5, answer)]
        };
        assert_eq!(told(&against(&json!({}), wrong)), none);
    });
}

#[test]
fn what_comes_after_a_runs_end_is_of_no_other_run() {
    network(|| {
        let one = json!({"packets": 1});
        let (tell, told_of) = mpsc::channel();
        let o = against(&one, move |h| {
            tell.send(h.clone()).unwrap();
            vec![]
        });
        assert_eq!(told(&o), (Status::Critical, "no answer to 1 packets"));
        let first = told_of.recv().unwrap();
        let late = first.clone();
        let two = json!({"packets": 2, "wait": "20s"});
        let o = against(&two, move |h| {
            let same = late.icmp[4..6] == h.icmp[4..6];
            assert!(same, "the next run has the socket of the first");
            vec![
                (5, late.answer(|_| ())),
                (5, late.unreachable(1, late.icmp.len())),
                (5, h.answer(|_| ())),
            ]
        });
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        assert_eq!(
            (o.metric("loss").value, o.metric("duplicates").value),
            (0.0, 0.0)
        );
        // While no run has it; the next pings another host.
        say(&host_at(5), &first.unreachable(1, 8));
        let o = check("ping", &json!({"host": "127.0.0.1", "packets": 1}));
        assert_eq!(o.status, Status::Ok, "{}", o.message);
    });
}

/// More answers than a socket has room for: the next run has room.
#[test]
fn a_host_that_goes_on_answering_costs_no_other_run_its_answer() {
    network(|| {
        let one = json!({"packets": 1, "wait": "20s"});
        let o = against(&one, |h| vec![(5, h.answer(|_| ())); 2000]);
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        let o = check(
            "ping",
            &json!({"host": "127.0.0.1", "packets": 1, "wait": "100ms"}),
        );
        assert_eq!(o.metric("loss").value, 0.0, "{}", o.message);
    });
}

#[test]
fn duplicates_are_told_and_count_once() {
    network(|| {
        let o = against(&json!({"packets": 3, "wait": "20s"}), |h| {
            // Two at once for the first, so that both are here before the second is sent.
            vec![(5, h.answer(|_| ())); if h.seq() == 0 { 3 } else { 1 }]
        });
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        assert_eq!(o.metric("duplicates").value, 2.0);
        assert_eq!(o.metric("loss").value, 0.0);
        assert!(o.message.ends_with(", 2 duplicates"), "{}", o.message);
    });
}

#[test]
fn what_a_router_says() {
    network(|| {
        let o = against(&json!({"wait": "2s"}), |h| vec![(5, h.unreachable(1, 8))]);
        assert_eq!(
            told(&o),
            (
                Status::Critical,
                "no answer to 5 packets (host unreachable)"
            )
        );
        let o = against(&json!({"wait": "2s"}), |h| {
            vec![(9, h.unreachable(13, h.icmp.len()))]
        });
        let text = "no answer to 5 packets (forbidden by a firewall, says 127.0.0.9)";
        assert_eq!(told(&o), (Status::Critical, text));
        // A quote too short to say of whom it speaks is nobody's.
        let o = against(&json!({}), |h| vec![(5, h.unreachable(1, 4))]);
        assert_eq!(told(&o), (Status::Critical, "no answer to 5 packets"));
        // One says it, and yet the host answers.
        let both = |h: &Heard| vec![(9, h.unreachable(1, 8)), (5, h.answer(|_| ()))];
        let o = against(&json!({"packets": 2, "wait": "20s"}), both);
        assert_eq!(o.metric("loss").value, 0.0, "{}", o.message);
    });
}

#[test]
fn no_way_there() {
    network(|| {
        ip("route add unreachable 192.0.2.0/24");
        let o = check("ping", &json!({"host": "192.0.2.1"}));
        assert_eq!(told(&o), (Status::Critical, "send: no route to host"));
        ip("link set lo mtu 1500");
        let o = check(
            "ping",
            &json!({"host": "127.0.0.1", "size": 1473, "dont_fragment": true}),
        );
        let text =
            "send: a payload of 1473 bytes does not fit into one packet of this machine's link";
        assert_eq!(told(&o), (Status::Critical, text));
        let o = check(
            "ping",
            &json!({"host": "127.0.0.1", "size": 1472, "dont_fragment": true}),
        );
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        let o = check(
            "ping",
            &json!({"host": "127.0.0.1", "source": "192.0.2.77"}),
        );
        assert_eq!(o.status, Status::Resources, "{}", o.message);
        let o = check("ping", &json!({"host": "127.0.0.1", "source": "::1"}));
        assert_eq!(o.status, Status::Unknown, "{}", o.message);
        let o = check(
            "ping",
            &json!({"host": "127.0.0.1", "source": "127.0.0.3", "interface": "lo", "packets": 1}),
        );
        assert_eq!(o.status, Status::Ok, "{}", o.message);
    });
}

/// The kernel's own emulation of a bad line: what it drops is lost, what it doubles comes twice, and nothing else.
#[test]
fn a_line_of_netem() {
    network(|| {
        let tc = |arguments: &str| Command::new("tc").args(arguments.split(' ')).output();
        let netem = |what: &str| {
            let done = tc(&format!("qdisc replace dev lo root netem {what}"));
            let Ok(done) = done else {
                eprintln!("skipped: tc is missing (package iproute2)");
                return false;
            };
            let why = String::from_utf8_lossy(&done.stderr).into_owned();
            if why.contains("qdisc kind is unknown") {
                eprintln!("skipped: this kernel has no netem");
                return false;
            }
            assert!(done.status.success(), "{what}: {why}");
            true
        };
        let dropped = || {
            let said = tc("-s -j qdisc show dev lo").unwrap().stdout;
            let said: Value = healthd_plugin::serde_json::from_slice(&said).unwrap();
            said[0]["drops"].as_f64().unwrap()
        };
        let ping = |more: &Value| {
            let mut options = json!({"host": "127.0.0.1", "packets": 40, "spacing": "2ms"});
            for (key, value) in more.as_object().unwrap() {
                options[key] = value.clone();
            }
            check("ping", &options)
        };
        if !netem("delay 30ms") {
            return;
        }
        let o = ping(&json!({"rtt_warn": "59ms"}));
        assert_eq!(
            (o.status, o.metric("loss").value),
            (Status::Warn, 0.0),
            "{}",
            o.message
        );
        // There and back.
        assert!(o.metric("rtt_min").value >= 0.06, "{}", o.message);
        assert!(netem("loss 20%"));
        let o = ping(&json!({}));
        let lost = 100.0 * dropped() / 40.0;
        assert_eq!(o.metric("loss").value, lost, "{}", o.message);
        assert!(netem("loss 100%"));
        let o = ping(&json!({}));
        assert_eq!(told(&o), (Status::Critical, "no answer to 40 packets"));
        assert!(netem("duplicate 100%"));
        let o = ping(&json!({}));
        assert_eq!(
            (o.status, o.metric("loss").value),
            (Status::Ok, 0.0),
            "{}",
            o.message
        );
        assert!(o.metric("duplicates").value >= 39.0, "{}", o.message);
        assert!(netem("corrupt 100%"));
        assert_eq!(ping(&json!({})).status, Status::Critical);
    });
}

/// Without netem: a host that takes its time, for each answer longer.
#[test]
fn a_slow_line() {
    network(|| {
        let slow = json!({"packets": 3, "spacing": "150ms", "wait": "20s"});
        let o = against(&slow, |h| {
            std::thread::sleep(Duration::from_millis(20 * (u64::from(h.seq()) + 1)));
            vec![(5, h.answer(|_| ()))]
        });
        assert_eq!(o.metric("loss").value, 0.0, "{}", o.message);
        let of = |name| o.metric(name).value;
        assert!(
            of("rtt_min") >= 0.02 && of("rtt_max") >= 0.06,
            "{}",
            o.message
        );
        assert!(of("rtt") >= 0.04 && of("rtt_stddev") > 0.0, "{}", o.message);
    });
}

#[test]
fn little_time_is_shared_and_no_loss_is_invented() {
    network(|| {
        // Room for one or two of the five; each that was sent is waited for.
        let options = json!({"host": "127.0.0.1", "packets": 5, "spacing": "1s"});
        let o = check_for("ping", &options, Duration::from_millis(1500));
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        assert_eq!(o.metric("loss").value, 0.0);
        let o = check_for(
            "ping",
            &json!({"host": "127.0.0.1"}),
            Duration::from_millis(300),
        );
        assert_eq!(o.status, Status::Ok, "{}", o.message);
    });
}
