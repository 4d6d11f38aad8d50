//! Against real name servers, and against one that sends what no server should. Each test has a network of its own, in
//! which port 53 is free.

use healthd_names::{Family, Found, Hooks, Names, Paths, Told, Waiter, Waits};
use healthd_testing::{Folder, NameServer, Server, in_own_network, program};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A resolver with files of its own.
struct Asker {
    names: Names,
    told: Receiver<Told>,
    /// What came for others while one was waited for.
    beside: RefCell<Vec<Told>>,
    folder: Folder,
}

impl Asker {
    fn new(resolv_conf: &str) -> Asker {
        let folder = Folder::new();
        folder.write("resolv.conf", resolv_conf);
        folder.write("hosts", "192.0.2.200 known\n");
        let file = |name| folder.file(name);
        let paths = Paths {
            resolv_conf: file("resolv.conf"),
            hosts: file("hosts"),
            nsswitch: file("nsswitch.conf"),
            resolved: file("resolved"),
            machines: file("machines"),
            mdns_allow: file("mdns.allow"),
        };
        let (tell, told) = channel();
        let hooks = Hooks {
            tell: Box::new(move |told| tell.send(told).expect("the test listens")),
            run: Box::new(|job| {
                std::thread::spawn(job);
                true
            }),
        };
        Asker {
            names: Names::new(paths, hooks).expect("a descriptor"),
            told,
            beside: RefCell::default(),
            folder,
        }
    }

    fn begin(&self, task: u64, host: &str, family: Family, seconds: u64) -> Option<Found> {
        let waiter = Waiter {
            task,
            token: 7,
            deadline_ns: healthd_sys::clock::monotonic_ns() + seconds * 1_000_000_000,
        };
        self.names
            .resolve(host, family, waiter)
            .map(|f| f.as_ref().clone())
    }

    fn next(&self) -> Told {
        let told = self.told.recv_timeout(Duration::from_secs(120));
        told.expect("an answer within two minutes")
    }

    fn ask_for(&self, host: &str, family: Family, seconds: u64) -> Found {
        match self.begin(1, host, family, seconds) {
            Some(found) => found,
            None => {
                let told = self.next();
                assert_eq!((told.waiter.task, told.waiter.token), (1, 7));
                self.names.forget(1);
                told.found.as_ref().clone()
            }
        }
    }

    fn ask(&self, host: &str) -> Found {
        self.ask_for(host, Family::Any, 60)
    }

    fn words(&self, host: &str, seconds: u64) -> (bool, String) {
        let e = self
            .ask_for(host, Family::Any, seconds)
            .expect_err("no address");
        (e.own, e.text)
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts
        .iter()
        .map(|t| t.parse().expect("an address"))
        .collect()
}

/// What good.test has.
const RECORDS: &str = "www A 192.0.2.1\nwww A 192.0.2.2\nsix AAAA 2001:db8::1\nboth A 192.0.2.3\nboth AAAA 2001:db8::3\n\
    one CNAME two\ntwo CNAME Three\nthree A 192.0.2.4\nnowhere CNAME none.good.test.\ntext TXT \"no address\"\n\
    under_score A 192.0.2.5\nzero 0 A 192.0.2.6\n";

fn bind() -> Option<NameServer> {
    // More than fits into 512 bytes.
    let big = (1..=60).map(|n| format!("big A 192.0.2.{n}\n"));
    NameServer::start(&(RECORDS.to_owned() + &big.collect::<String>()))
}

#[test]
fn all_that_a_zone_of_bind_has() {
    in_own_network(|| {
        let Some(_bind) = bind() else { return };
        let a = Asker::new("nameserver 127.0.0.1\nsearch none.test good.test\n");
        assert_eq!(
            a.ask("www.good.test"),
            Ok(ips(&["192.0.2.1", "192.0.2.2"])).map(sorted_as(&a, "www.good.test"))
        );
        assert_eq!(a.ask("six.good.test"), Ok(ips(&["2001:db8::1"])));
        // The address that this machine has a way to comes first; it has none to either.
        assert_eq!(a.ask("both.good.test").map(|l| l.len()), Ok(2));
        let of = |host, family| a.ask_for(host, family, 60);
        assert_eq!(of("both.good.test", Family::V6), Ok(ips(&["2001:db8::3"])));
        assert_eq!(of("both.good.test", Family::V4), Ok(ips(&["192.0.2.3"])));
        assert_eq!(a.ask("one.good.test"), Ok(ips(&["192.0.2.4"])));
        assert_eq!(a.ask("UNDER_score.good.test."), Ok(ips(&["192.0.2.5"])));
        assert_eq!(
            a.ask("three"),
            Ok(ips(&["192.0.2.4"])),
            "by the search list"
        );
        assert_eq!(a.ask("zero.good.test"), Ok(ips(&["192.0.2.6"])));
        assert_eq!(a.ask("big.good.test").map(|l| l.len()), Ok(60), "by TCP");
        let target = |text: &str| (false, text.to_owned());
        assert_eq!(
            a.words("none.good.test.", 60),
            target("there is no such name: none.good.test")
        );
        assert_eq!(
            a.words("none", 60),
            target("there is no such name: none (asked: none.none.test, none.good.test, none)")
        );
        assert_eq!(
            a.words("text.good.test.", 60),
            target("text.good.test has no address")
        );
        let e = of("six.good.test", Family::V4).expect_err("it has none");
        assert_eq!(
            (e.own, e.text.as_str()),
            (false, "six.good.test has no IPv4 address")
        );
        let (own, text) = a.words("nowhere.good.test.", 60);
        assert!(!own && text.contains("no such name"), "{text}");
        // Kept: the server is not needed for it any more.
        assert!(a.begin(1, "three", Family::Any, 60).is_some());
        assert!(
            a.begin(1, "zero.good.test", Family::Any, 60).is_none(),
            "a TTL of 0 is not kept"
        );
        a.next();
        // By TCP, by EDNS, over IPv6, one question at a time.
        for options in [
            "use-vc",
            "edns0 trust-ad",
            "single-request",
            "no-aaaa",
            "rotate",
        ] {
            let a = Asker::new(&format!("nameserver ::1\noptions {options}\n"));
            assert_eq!(
                a.ask("three.good.test"),
                Ok(ips(&["192.0.2.4"])),
                "{options}"
            );
            assert_eq!(a.ask("big.good.test").map(|l| l.len()), Ok(60), "{options}");
        }
    });
}

/// Servers turn the order of records, and that is what is wanted.
fn sorted_as(a: &Asker, host: &str) -> impl FnOnce(Vec<IpAddr>) -> Vec<IpAddr> {
    let found = a.ask(host).expect("kept");
    move |mut ips| {
        if ips != found {
            ips.reverse();
        }
        ips
    }
}

#[test]
fn a_silent_zone_of_bind_is_the_targets_and_holds_nobody_up() {
    in_own_network(|| {
        let Some(_bind) = bind() else { return };
        let a = Asker::new("nameserver 127.0.0.1\n");
        for n in 0..60 {
            assert!(
                a.begin(100 + n, &format!("h{n}.dead.test"), Family::Any, 4)
                    .is_none()
            );
        }
        for n in 0..200 {
            // Each with a name of its own, so that none is kept.
            let (own, text) = a.words_beside(&format!("n{n}.good.test"));
            assert!(!own && text.contains("no such name"), "{text}");
        }
        assert_eq!(a.ask_beside("three.good.test"), Ok(ips(&["192.0.2.4"])));
        // Who has a place is told; who waits in line has lost no time.
        let queued = (0..60).filter(|n| a.names.owed(100 + n).1 == Waits::Queued);
        let queued = queued.count();
        let mut told = a.beside.take();
        while told.len() + queued < 60 {
            told.push(a.next());
        }
        for one in told {
            let e = one.found.as_ref().as_ref().expect_err("its zone is silent");
            assert!(
                !e.own && e.text.contains("and other names are answered"),
                "{}",
                e.text
            );
        }
        for n in 0..60 {
            a.names.forget(100 + n);
        }
    });
}

impl Asker {
    /// As `ask`, while others wait.
    fn ask_beside(&self, host: &str) -> Found {
        match self.begin(1, host, Family::Any, 60) {
            Some(found) => found,
            None => loop {
                let told = self.next();
                if told.waiter.task == 1 {
                    self.names.forget(1);
                    return told.found.as_ref().clone();
                }
                self.beside.borrow_mut().push(told);
            },
        }
    }

    fn words_beside(&self, host: &str) -> (bool, String) {
        let e = self.ask_beside(host).expect_err("no address");
        (e.own, e.text)
    }
}

#[test]
fn an_authority_that_refuses_others_is_our_resolv_conf_and_not_the_target() {
    in_own_network(|| {
        let Some(knotd) = program("knotd", "knot") else {
            return;
        };
        let knot = Server::start(
            |folder, _| {
                let zone = "@ 300 SOA ns root 1 3600 600 86400 20\n@ 300 NS ns\nns 300 A 127.0.0.1\nthree 300 A 192.0.2.4\n";
                folder.write("good.test.zone", zone);
                let dir = folder.path().display();
                let conf = format!(
                    "server:\n  rundir: {dir}\n  listen: 127.0.0.1@53\nlog:\n  - target: stderr\n    any: info\n\
                     database:\n  storage: {dir}\nzone:\n  - domain: good.test\n    storage: {dir}\n"
                );
                let conf = folder.write("knot.conf", conf);
                let mut command = Command::new(&knotd);
                command.arg("-c").arg(conf);
                command
            },
            |folder, _| {
                std::fs::read_to_string(folder.file("log"))
                    .is_ok_and(|log| log.contains("server started"))
            },
        );
        let a = Asker::new("nameserver 127.0.0.1\n");
        let (own, text) = a.words("a.other.test", 60);
        assert!(own, "{text}");
        assert_eq!(
            text,
            "no name server serves this machine: a.other.test: REFUSED from 127.0.0.1"
        );
        assert_eq!(a.ask("three.good.test"), Ok(ips(&["192.0.2.4"])));
        let (own, text) = a.words("b.other.test", 60);
        assert_eq!(
            (own, text.as_str()),
            (false, "b.other.test: REFUSED from 127.0.0.1"),
            "another name was resolved"
        );
        // The server goes away: refused by the kernel, so told at once; and what is kept is served.
        drop(knot);
        let (own, text) = a.words("c.good.test", 60);
        assert!(
            own && text.ends_with("127.0.0.1: connection refused"),
            "{text}"
        );
        assert!(a.begin(1, "three.good.test", Family::Any, 60).is_some());
        assert_eq!(a.ask("known"), Ok(ips(&["192.0.2.200"])));
        assert_eq!(a.ask("localhost").map(|l| l.len()), Ok(2));
    });
}

#[test]
fn no_route_and_silent_servers_are_ours() {
    in_own_network(|| {
        let a = Asker::new("nameserver 192.0.2.1\nnameserver 2001:db8::1\n");
        let (own, text) = a.words("a.test", 60);
        assert!(
            own && text.contains("192.0.2.1: network is unreachable"),
            "{text}"
        );
        let hole = UdpSocket::bind("127.0.0.9:53").expect("our own network");
        let a = Asker::new("nameserver 127.0.0.9\n");
        let (own, text) = a.words("a.test", 2);
        assert!(
            own && text.starts_with("no name server answers: a.test: 127.0.0.9 is silent ("),
            "{text}"
        );
        drop(hole);
        // A file that changes under it counts from the next look-up on.
        let Some(_bind) = bind() else { return };
        a.folder.write("resolv.conf", "nameserver 127.0.0.1\n");
        healthd_testing::until(
            || a.ask("three.good.test").is_ok(),
            || "resolv.conf is not read anew".into(),
        );
    });
}

/// Reads one question and gives it to `answer` with the socket and the asker.
fn hostile(at: &str, answer: impl Fn(&UdpSocket, SocketAddr, &[u8]) + Send + 'static) -> UdpSocket {
    let socket = UdpSocket::bind(at).expect("our own network");
    let ours = socket.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        // An empty datagram is the end.
        while let Ok((n, from)) = ours.recv_from(&mut buffer) {
            if n == 0 {
                return;
            }
            // What was sent to a port that is closed by now comes back as an error of nobody's.
            answer(&ours, from, &buffer[..n]);
        }
    });
    socket
}

fn stop(socket: &UdpSocket) {
    let to = socket.local_addr().expect("it is bound");
    let _ = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(&[], to));
}

/// One address for an A question, none for others.
fn good(question: &[u8]) -> Vec<u8> {
    let mut m = question.to_vec();
    (m[2], m[3]) = (0x81, 0x80);
    let kind = m[m.len() - 3];
    if kind == 1 {
        m[7] = 1;
        m.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 99]);
    }
    m
}

fn label(question: &[u8]) -> String {
    let length = usize::from(question[12]);
    String::from_utf8_lossy(&question[13..13 + length]).into_owned()
}

#[test]
fn what_no_server_should_send() {
    in_own_network(|| {
        let server = hostile("127.0.0.1:53", |socket, from, question| {
            let right = good(question);
            let name = label(question);
            let send = |m: &[u8]| drop(socket.send_to(m, from));
            match name.split('-').next().unwrap_or_default() {
                "id" => {
                    let mut m = right.clone();
                    m[0] ^= 1;
                    *m.last_mut().expect("not empty") = 66;
                    send(&m);
                }
                "question" => {
                    let mut m = right.clone();
                    m[13] ^= 1;
                    *m.last_mut().expect("not empty") = 66;
                    send(&m);
                }
                "port" | "address" => {
                    let mut m = right.clone();
                    let last = m.len() - 1;
                    m[last] = 66;
                    let at = if name == "port" {
                        "127.0.0.1:0"
                    } else {
                        "127.0.0.2:53"
                    };
                    let other = UdpSocket::bind(at).expect("our own network");
                    let _ = other.send_to(&m, from);
                }
                "flood" => (0..100).for_each(|n| send(&[n as u8; 40])),
                "huge" => send(&vec![0xC0; 65_507]),
                "cut" => (0..question.len()).for_each(|n| send(&right[..n])),
                _ => {}
            }
            match name.as_str() {
                "loop" => {
                    let mut m = right.clone();
                    m.truncate(question.len());
                    m[7] = 1;
                    let here = m.len() as u8;
                    m.extend_from_slice(&[0xC0, here, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 66]);
                    send(&m);
                }
                "broken" => send(&right[..right.len() - 1]),
                _ => send(&right),
            }
        });
        let a = Asker::new("nameserver 127.0.0.1\n");
        for name in ["id", "question", "port", "address", "flood", "huge", "cut"] {
            assert_eq!(
                a.ask(&format!("{name}.test")),
                Ok(ips(&["192.0.2.99"])),
                "{name}"
            );
        }
        for name in ["loop", "broken"] {
            let (own, text) = a.words(&format!("{name}.test"), 60);
            let said = format!("{name}.test: the answer of 127.0.0.1 is broken: ");
            assert!(!own && text.starts_with(&said), "{text}");
        }
        stop(&server);
    });
}

#[test]
fn a_stream_that_ends_early_or_says_nonsense() {
    in_own_network(|| {
        let server = hostile("127.0.0.1:53", |socket, from, question| {
            let mut m = good(question);
            // "Ask by TCP", for all but the root.
            if question[12] != 0 {
                m[2] |= 2;
            }
            let _ = socket.send_to(&m, from);
        });
        let a = Asker::new("nameserver 127.0.0.1\n");
        let (own, text) = a.words("a.test", 60);
        assert!(
            own && text.ends_with("127.0.0.1: connection refused"),
            "{text}"
        );
        let listener = TcpListener::bind("127.0.0.1:53").expect("our own network");
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut length = [0; 2];
                let Ok(()) = stream.read_exact(&mut length) else {
                    continue;
                };
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                let Ok(()) = stream.read_exact(&mut question) else {
                    continue;
                };
                let right = good(&question);
                let whole = [&(right.len() as u16).to_be_bytes()[..], &right].concat();
                let _ = match label(&question).as_str() {
                    "early" => stream.write_all(&whole[..whole.len() - 1]),
                    "other" => stream.write_all(&[&[0, 40][..], &[7; 40]].concat()),
                    "long" => stream.write_all(&[&[0xFF; 2][..], &[7; 65_535]].concat()),
                    // Byte by byte.
                    _ => whole.iter().try_for_each(|b| stream.write_all(&[*b])),
                };
            }
        });
        assert_eq!(a.ask("right.test"), Ok(ips(&["192.0.2.99"])));
        for (name, said) in [
            ("early", "connection reset by peer"),
            ("other", "it answers another question"),
            ("long", "it answers another question"),
        ] {
            let (_, text) = a.words(&format!("{name}.test"), 60);
            assert!(text.contains(said), "{name}: {text}");
        }
        stop(&server);
    });
}

#[test]
fn what_only_glibc_knows() {
    let a = Asker::new("nameserver 127.0.0.1\n");
    a.folder.write("nsswitch.conf", "hosts: ldap\n");
    // glibc reads the machine's own files: it knows this one whatever they say.
    healthd_testing::until(
        || {
            a.begin(1, "192.0.2.1.no-such-zone.invalid", Family::Any, 60)
                .is_none()
        },
        || "nobody is asked".into(),
    );
    let told = a.next();
    assert!(told.found.is_err(), "{told:?}");
    assert_eq!(a.names.owed(1).0, 0);
}
