//! The plugin on MockHost against bind, nsd, unbound and knot, and against servers that answer as none of them would.

use crate::tests::{check, check_for, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Peer, Server, free_port, program};
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

const ZONE: &str = "$ORIGIN example.org.\n$TTL 300\n\
    @ IN SOA ns1 admin 2026112901 3600 600 86400 60\n\
    @ NS ns1\nns1 A 127.0.0.1\nwww A 192.0.2.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::1\nalias CNAME www\n\
    @ MX 10 Mail.example.org.\n@ TXT \"v=spf1 \" \"-all\"\n_sip._tcp SRV 1 2 5060 www\n\
    @ CAA 0 issue \"ca.example\"\n_443._tcp.www TLSA 3 1 1 abcdef\nshort 5 A 192.0.2.9\n";

fn zone(serial: &str) -> String {
    let mut zone = ZONE.replace("2026112901", serial);
    // More than fits into a datagram.
    for n in 0..40 {
        zone += &format!("big TXT \"{n:02} {}\"\n", "x".repeat(60));
    }
    zone
}

/// The option `servers` for one on this port.
fn at(port: u16) -> Vec<String> {
    vec![format!("127.0.0.1:{port}")]
}

fn ask(servers: &[String], more: &Value) -> Outcome {
    let mut options = json!({"servers": servers, "name": "www.example.org"});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    check("dns", &options)
}

/// Debian's bind, an authority for example.org, and the port on which it speaks TLS.
fn bind(serial: &str, certs: &Certs) -> Option<(Server, u16)> {
    let named = program("named", "bind9")?;
    let tls = free_port("127.0.0.1");
    let (pem, key) = (certs.certificate(), certs.key());
    let zone = zone(serial);
    let server = Server::start(
        |folder, port| {
            folder.write("zone", &zone);
            let conf = format!(
                "tls own {{ cert-file \"{}\"; key-file \"{}\"; }};
                 options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }};
                   listen-on port {tls} tls own {{ 127.0.0.1; }};
                   listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no; dnssec-validation no; }};
                 controls {{ }};
                 zone \"example.org\" {{ type primary; file \"zone\"; }};",
                pem.display(),
                key.display(),
                folder.path().display()
            );
            let conf = folder.write("named.conf", conf);
            let mut command = Command::new(&named);
            command.arg("-g").arg("-n").arg("1").arg("-c").arg(conf);
            command
        },
        |folder, _| log_has(folder.path(), "all zones loaded"),
    );
    Some((server, tls))
}

/// Debian's nsd, another authority for it.
fn nsd(serial: &str, certs: &Certs) -> Option<(Server, u16)> {
    let nsd = program("nsd", "nsd")?;
    let tls = free_port("127.0.0.1");
    let (pem, key) = (certs.certificate(), certs.key());
    let zone = zone(serial);
    let server = Server::start(
        |folder, port| {
            folder.write("zone", &zone);
            let dir = folder.path().display();
            let conf = format!(
                "server:\n  ip-address: 127.0.0.1@{port}\n  ip-address: 127.0.0.1@{tls}\n  tls-port: {tls}\n\
                 \x20 tls-service-pem: \"{}\"\n  tls-service-key: \"{}\"\n  username: \"\"\n  chroot: \"\"\n  database: \"\"\n\
                 \x20 pidfile: \"\"\n  zonesdir: \"{dir}\"\n  xfrdir: \"{dir}\"\n  xfrdfile: \"{dir}/xfrd\"\n  zonelistfile: \"{dir}/list\"\n\
                 remote-control:\n  control-enable: no\nzone:\n  name: example.org\n  zonefile: zone\n",
                pem.display(),
                key.display()
            );
            let conf = folder.write("nsd.conf", conf);
            let mut command = Command::new(&nsd);
            command.arg("-d").arg("-c").arg(conf);
            command
        },
        |folder, _| log_has(folder.path(), "nsd started"),
    );
    Some((server, tls))
}

/// Debian's knot, which signs the zone.
fn knot() -> Option<Server> {
    let knotd = program("knotd", "knot")?;
    let zone = zone("1");
    Some(Server::start(
        |folder, port| {
            folder.write("example.org.zone", &zone);
            let dir = folder.path().display();
            let conf = format!(
                "server:\n  rundir: {dir}\n  listen: 127.0.0.1@{port}\n\
                 log:\n  - target: stderr\n    any: info\n\
                 database:\n  storage: {dir}\n\
                 template:\n  - id: default\n    storage: {dir}\n    dnssec-signing: on\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n\
                 zone:\n  - domain: example.org\n"
            );
            let conf = folder.write("knot.conf", conf);
            let mut command = Command::new(&knotd);
            command.arg("-c").arg(conf);
            command
        },
        |folder, _| log_has(folder.path(), "[example.org.] DNSSEC, next signing"),
    ))
}

/// Debian's unbound, which asks knot and validates by the key's digest, and the port on which it speaks TLS.
fn unbound(knot: &Server, certs: &Certs) -> Option<(Server, u16)> {
    let unbound = program("unbound", "unbound")?;
    let tls = free_port("127.0.0.1");
    let (pem, key) = (certs.certificate(), certs.key());
    let conf = knot.folder().file("knot.conf");
    let keys = Command::new("keymgr")
        .arg("-c")
        .arg(&conf)
        .args(["example.org", "ds"])
        .output();
    let keys = String::from_utf8(keys.ok()?.stdout).ok()?;
    let anchors: String = keys
        .lines()
        .map(|line| format!("  trust-anchor: \"{}\"\n", line.replacen(' ', " IN ", 1)))
        .collect();
    let port = knot.port;
    let server = Server::start(
        |folder, own| {
            let dir = folder.path().display();
            let conf = format!(
                "server:\n  interface: 127.0.0.1@{own}\n  interface: 127.0.0.1@{tls}\n  tls-port: {tls}\n\
                 \x20 tls-service-pem: \"{}\"\n  tls-service-key: \"{}\"\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n\
                 \x20 pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n\
                 \x20 access-control: 127.0.0.0/8 allow\n{anchors}\
                 stub-zone:\n  name: example.org\n  stub-addr: 127.0.0.1@{port}\nremote-control:\n  control-enable: no\n",
                pem.display(),
                key.display()
            );
            let conf = folder.write("unbound.conf", conf);
            let mut command = Command::new(&unbound);
            command.arg("-d").arg("-p").arg("-c").arg(conf);
            command
        },
        |folder, _| log_has(folder.path(), "start of service"),
    );
    Some((server, tls))
}

fn log_has(folder: &Path, text: &str) -> bool {
    std::fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains(text))
}

#[test]
fn the_page_has_all_options() {
    plugin("dns").assert_documented(include_str!("../../DNS.md"));
}

#[test]
fn mistakes_in_options() {
    for (more, text) in [
        (json!({"name": "a..b"}), "name: \"a..b\" is no domain name"),
        (
            json!({"servers": ["a:b:c"]}),
            "servers: \"a:b:c\" is no host or host:port",
        ),
        (
            json!({"serial_same": true}),
            "serial_same, serial_min: need type = \"SOA\"",
        ),
        (
            json!({"insecure": true}),
            "ca_file, insecure, server_name: need protocol = \"tls\"",
        ),
    ] {
        let mut options = json!({"servers": ["127.0.0.1"], "name": "x.example"});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        assert_eq!(refused("dns", &options), text);
    }
}

type Authority = fn(&str, &Certs) -> Option<(Server, u16)>;

#[test]
fn bind_over_each_protocol() {
    answers_over_each_protocol(bind);
}

#[test]
fn nsd_over_each_protocol() {
    answers_over_each_protocol(nsd);
}

fn answers_over_each_protocol(authority: Authority) {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let Some((server, tls)) = authority("2026112901", &certs) else {
        return;
    };
    let server = at(server.port);
    let ok = |more: Value| {
        let o = ask(&server, &more);
        assert_eq!(o.status, Status::Ok, "{more}: {}", o.message);
        o
    };
    let o = ok(
        json!({"answers_exact": ["192.0.2.2", "192.0.2.1"], "require_aa": true, "recurse": false}),
    );
    assert!(
        o.message.contains("192.0.2.1") && o.message.contains(" in "),
        "{}",
        o.message
    );
    assert_eq!(
        (o.metric("answers").value, o.metric("ttl").value),
        (2.0, 300.0)
    );
    assert_eq!(
        (
            o.metric("query").unit.as_str(),
            o.metric("size").unit.as_str()
        ),
        ("s", "By")
    );
    ok(json!({"protocol": "tcp", "answers_contain": ["192.0.2.1"], "answers_none": ["192.0.2.3"]}));
    ok(
        json!({"servers": [format!("127.0.0.1:{tls}")], "protocol": "tls", "ca_file": certs.ca(), "server_name": "localhost"}),
    );
    for (kind, name, text) in [
        ("AAAA", "www.example.org", "2001:DB8:0::1"),
        ("CNAME", "alias.example.org", "www.example.org."),
        ("MX", "example.org", "10 mail.example.org"),
        ("TXT", "example.org", "v=spf1 -all"),
        ("SRV", "_sip._tcp.example.org", "1 2 5060 www.example.org"),
        ("CAA", "example.org", "0 issue \"ca.example\""),
        ("TLSA", "_443._tcp.www.example.org", "3 1 1 abcdef"),
        ("NS", "EXAMPLE.org.", "ns1.example.org"),
    ] {
        ok(json!({"type": kind, "name": name, "answers_exact": [text]}));
    }
    // Through the alias, to the records of the type.
    ok(json!({"name": "alias.example.org", "answers_contain": ["192.0.2.1"]}));
    // Cut off over UDP, so TCP brings it.
    let o = ok(json!({"type": "TXT", "name": "big.example.org"}));
    assert_eq!(o.metric("answers").value, 40.0);
    let o = ok(json!({"type": "SOA", "name": "example.org", "serial_min": 2026112901u32}));
    assert_eq!(o.metric("serial").value, 2026112901.0);
    ok(json!({"name": "none.example.org", "rcode": "nxdomain"}));
    ok(json!({"type": "MX", "answers_exact": []}));
    ok(json!({"name": "elsewhere.test", "rcode": "refused"}));
}

#[test]
fn what_bind_should_not_answer() {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let (Some((bind, tls)), Some((newer, _))) = (bind("1", &certs), bind("2", &certs)) else {
        return;
    };
    let server = at(bind.port);
    for (more, status, text) in [
        (
            json!({"name": "none.example.org"}),
            Status::Critical,
            "NXDOMAIN, expected NOERROR; NXDOMAIN in ",
        ),
        (
            json!({"rcode": "nxdomain"}),
            Status::Critical,
            "NOERROR, expected NXDOMAIN; ",
        ),
        (
            json!({"type": "MX"}),
            Status::Critical,
            "NOERROR, but no record of this type; ",
        ),
        (
            json!({"name": "short.example.org", "answers_exact": ["192.0.2.8"]}),
            Status::Critical,
            "the records are 192.0.2.9, expected exactly [192.0.2.8]; ",
        ),
        (
            json!({"name": "short.example.org", "answers_contain": ["192.0.2.8"]}),
            Status::Critical,
            "the records are 192.0.2.9, expected 192.0.2.8 among them; ",
        ),
        (
            json!({"name": "short.example.org", "answers_none": ["192.0.2.9"]}),
            Status::Critical,
            "192.0.2.9 is among the records; ",
        ),
        (
            json!({"name": "short.example.org", "ttl_min": "1m"}),
            Status::Warn,
            "192.0.2.9 may be kept 5 s, below 60 s; ",
        ),
        (
            json!({"name": "short.example.org", "ttl_max": "1s"}),
            Status::Warn,
            "192.0.2.9 may be kept 5 s, above 1 s; ",
        ),
        (
            json!({"require_ad": true}),
            Status::Critical,
            "the answer is not validated (AD); ",
        ),
        (
            json!({"rrsig_days_warn": 5}),
            Status::Warn,
            "the records are not signed; ",
        ),
        (
            json!({"rrsig_days_crit": 5}),
            Status::Critical,
            "the records are not signed; ",
        ),
        (
            json!({"type": "SOA", "name": "example.org", "serial_min": 7}),
            Status::Critical,
            "serial 1, below 7; ",
        ),
        (
            json!({"latency_crit": "0s"}),
            Status::Critical,
            "query took ",
        ),
    ] {
        let o = ask(&server, &more);
        assert_eq!(o.status, status, "{more}: {}", o.message);
        assert!(o.message.starts_with(text), "{more}: {}", o.message);
    }
    let both = [at(bind.port), at(newer.port)].concat();
    let o = ask(
        &both,
        &json!({"type": "SOA", "name": "example.org", "serial_same": true}),
    );
    let text = "serial numbers differ: 127.0.0.1 has 1, 127.0.0.1 has 2; ";
    assert!(o.message.starts_with(text), "{}", o.message);
    assert_eq!(o.status, Status::Critical);
    let o = ask(&[at(bind.port), at(1)].concat(), &json!({}));
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message
            .starts_with("127.0.0.1: receive: connection refused; "),
        "{}",
        o.message
    );
    let o = ask(&at(tls), &json!({"protocol": "tls"}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: certificate is signed by no CA that is trusted here"
        )
    );
}

#[test]
fn a_signed_zone_of_knot_and_unbound_which_validates_it() {
    let Some(knot) = knot() else {
        return;
    };
    for protocol in ["udp", "tcp"] {
        let options = json!({"protocol": protocol, "rrsig_days_warn": 7, "rrsig_days_crit": 2, "require_aa": true});
        let o = ask(&at(knot.port), &options);
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        let days = o.metric("rrsig").value;
        assert!((12.0..15.0).contains(&days), "{days}");
    }
    let o = ask(&at(knot.port), &json!({"rrsig_days_warn": 20}));
    assert_eq!(o.status, Status::Warn);
    assert!(
        o.message.starts_with("a signature valid for 1"),
        "{}",
        o.message
    );
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let Some((unbound, tls)) = unbound(&knot, &certs) else {
        return;
    };
    for (protocol, port) in [("udp", unbound.port), ("tcp", unbound.port), ("tls", tls)] {
        let mut options =
            json!({"protocol": protocol, "require_ad": true, "answers_contain": ["192.0.2.2"]});
        if protocol == "tls" {
            options["ca_file"] = json!(certs.ca());
        }
        let o = ask(&at(port), &options);
        assert_eq!(o.status, Status::Ok, "{}: {}", o.message, unbound.log());
    }
    let o = ask(&at(unbound.port), &json!({"require_aa": true}));
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message
            .starts_with("the answer is not authoritative (AA)"),
        "{}",
        o.message
    );
}

/// A UDP server that answers each question with these datagrams; `true`: from another port.
struct Liar {
    addr: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    fn new(mut say: impl FnMut(&[u8]) -> Vec<(bool, Vec<u8>)> + Send + 'static) -> Liar {
        let [own, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let (addr, over) = (own.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stop = over.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((n, from)) = own.recv_from(&mut buffer) {
                if stop.load(SeqCst) {
                    return;
                }
                for (elsewhere, data) in say(&buffer[..n]) {
                    let socket = if elsewhere { &other } else { &own };
                    let _ = socket.send_to(&data, from);
                }
            }
        });
        Liar {
            addr,
            over,
            thread: Some(thread),
        }
    }

    fn server(&self) -> Vec<String> {
        vec![self.addr.to_string()]
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = waker.send_to(b"", self.addr);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A right answer to a question, with one address.
fn right(question: &[u8], last: u8) -> Vec<u8> {
    let mut m = question[..question.len() - 11].to_vec();
    (m[2], m[3], m[7], m[11]) = (0x81, 0x80, 1, 0);
    m.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, last]);
    m
}

#[test]
fn forged_answers_are_passed_over() {
    let changed = |q: &[u8], at: usize| {
        let mut m = right(q, 66);
        m[at] ^= 1;
        m
    };
    let liar = Liar::new(move |q| {
        vec![
            (true, right(q, 66)),
            (false, changed(q, 0)),
            (false, changed(q, 14)),
            (false, q.to_vec()),
            (false, right(q, 7)),
        ]
    });
    let o = ask(&liar.server(), &json!({"answers_exact": ["192.0.2.7"]}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    // Nothing but those.
    let liar = Liar::new(move |q| vec![(true, right(q, 66)), (false, changed(q, 1))]);
    let options = json!({"servers": liar.server(), "name": "www.example.org"});
    let o = check_for("dns", &options, Duration::from_millis(300));
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.starts_with("no answer in 0."), "{}", o.message);
}

#[test]
fn broken_answers() {
    type Break = fn(&[u8]) -> Vec<u8>;
    let all: [Break; 5] = [
        |q| right(q, 1)[..20].to_vec(),
        |q| right(q, 1)[..right(q, 1).len() - 1].to_vec(),
        |q| q[..5].to_vec(),
        // A name that points at itself.
        |q| {
            let mut m = right(q, 1);
            let at = m.len() - 16;
            m[at + 1] = at as u8;
            m
        },
        // More records than there are.
        |q| {
            let mut m = right(q, 1);
            m[6] = 0xFF;
            m
        },
    ];
    for (i, change) in all.into_iter().enumerate() {
        let liar = Liar::new(move |q| vec![(false, change(q))]);
        let o = ask(&liar.server(), &json!({}));
        assert_eq!(o.status, Status::Critical, "{i}: {}", o.message);
        assert!(
            o.message.starts_with("the answer is broken: "),
            "{i}: {}",
            o.message
        );
    }
    // Largest of all, with rubbish behind the records.
    let liar = Liar::new(|q| {
        let mut m = right(q, 1);
        m.resize(60_000, 0);
        vec![(false, m)]
    });
    let o = ask(&liar.server(), &json!({}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
}

#[test]
fn a_lost_datagram_is_asked_for_again() {
    let mut first = true;
    let liar = Liar::new(move |q| match std::mem::take(&mut first) {
        true => vec![],
        false => vec![(false, right(q, 1))],
    });
    let o = ask(&liar.server(), &json!({}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.metric("query").value >= 2.0);
}

#[test]
fn broken_streams() {
    let over_tcp = |peer: &Peer| {
        let options =
            json!({"servers": [peer.addr.to_string()], "name": "a.example", "protocol": "tcp"});
        let o = check("dns", &options);
        (o.status, o.message)
    };
    let text = "receive: connection closed before the whole answer";
    for said in [&b""[..], b"\0", b"\xff\xff", b"\0\x20short"] {
        assert_eq!(
            over_tcp(&Peer::answering(said)),
            (Status::Critical, text.into())
        );
    }
    let text = "the answer is broken: another id";
    let mut wrong = vec![0, 12];
    wrong.extend_from_slice(&[0; 12]);
    let peer = Peer::new(move |mut stream| {
        let mut asked = [0; 512];
        let _ = stream.read(&mut asked);
        wrong[2] = !asked[2];
        let _ = stream.write_all(&wrong);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    assert_eq!(over_tcp(&peer), (Status::Critical, text.into()));
}
