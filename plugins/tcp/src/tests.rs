//! The plugin on MockHost against nginx's TLS and against peers that follow a script.

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Nginx, Peer, Server, accepts, free_port};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

fn check(options: Value) -> Outcome {
    let plugin = MockHost::new(hd_plugin_v1).plugin("tcp");
    plugin
        .create(options.to_string())
        .unwrap_or_else(|e| panic!("{options}: {e}"))
        .run(LONG)
}

fn told(o: &Outcome) -> (Status, &str) {
    (o.status, &o.message)
}

#[test]
fn connecting_is_enough() {
    for (bind, host) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("[::1]:0", "[::1]"),
        ("127.0.0.1:0", "localhost"),
    ] {
        let listener = TcpListener::bind(bind).unwrap();
        let o = check(json!({"host": host, "port": listener.local_addr().unwrap().port()}));
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        assert!(o.message.starts_with("connected in "), "{}", o.message);
        assert_eq!(o.metric("connect").unit, "s");
    }
}

#[test]
fn a_refused_connection() {
    let to = SocketAddr::from(([127, 0, 0, 1], free_port("127.0.0.1")));
    let o = check(json!({"host": "127.0.0.1", "port": to.port()}));
    assert_eq!(told(&o), (Status::Critical, "connect: connection refused"));
    let o = check(json!({"host": "no-such-name.invalid", "port": 1}));
    assert!(o.message.starts_with("dns: "), "{}", o.message);
}

#[test]
fn a_conversation() {
    let peer = Peer::new(|mut stream| {
        let mut said = [0; 6];
        if stream.read_exact(&mut said).is_ok() {
            assert_eq!(&said, b"PING\r\n");
            // In two pieces: the match spans them.
            let _ = stream.write_all(b"+PO");
            let _ = stream.write_all(b"NG\r\nmore");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let options = |expect: &str| json!({"host": "127.0.0.1", "port": peer.addr.port(), "send": "PING\\r\\n", "expect": expect});
    let o = check(options("^\\+PONG"));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.message.starts_with("\"+PONG\" in "), "{}", o.message);
    let silent = MockHost::new(hd_plugin_v1)
        .plugin("tcp")
        .create(options("^nothing$").to_string())
        .unwrap();
    let o = silent.run(Duration::from_secs(2));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "timeout after 2s in phase receive: the server said \"+PONG\""
        )
    );
}

#[test]
fn a_banner_that_is_not_as_expected() {
    for (banner, message) in [
        (
            "220 mail ready\r\nmore",
            "answer \"220 mail ready\" does not match ^SSH",
        ),
        ("", "receive: connection closed without an answer"),
        (
            &*"x".repeat(100_000),
            "answer \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"... does not match ^SSH",
        ),
    ] {
        let banner = banner.to_string();
        let peer = Peer::new(move |mut stream| {
            let _ = stream.write_all(banner.as_bytes());
        });
        let o = check(json!({"host": "127.0.0.1", "port": peer.addr.port(), "expect": "^SSH"}));
        assert_eq!(told(&o), (Status::Critical, message));
    }
}

#[test]
fn latency_thresholds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let o = check(
        json!({"host": "127.0.0.1", "port": port, "latency_warn": "0s", "latency_crit": "1m"}),
    );
    assert_eq!(o.status, Status::Warn);
    assert!(o.message.ends_with(" ms, limit 0 s"), "{}", o.message);
    assert_eq!(
        (o.metric("total").warn, o.metric("total").crit),
        (0.0, 60.0)
    );
    let o = check(json!({"host": "127.0.0.1", "port": port, "latency_crit": "0ms"}));
    assert_eq!(o.status, Status::Critical);
}

#[test]
fn tls_against_nginx() {
    if !Nginx::installed() {
        return;
    }
    let nginx = Nginx::start("location / { return 200 ok; }");
    let tls = |more: Value| {
        let mut o = json!({"host": "127.0.0.1", "port": nginx.port_tls, "tls": true});
        o.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        check(o)
    };
    let ca = nginx.certs.ca();
    let o =
        tls(json!({"ca_file": ca, "send": r"GET / HTTP/1.0\r\n\r\n", "expect": "^HTTP/1.1 200 "}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(o.phases, ["connect", "tls", "send", "receive"]);
    assert!((o.metric("certificate").value - 30.0).abs() < 1.0);
    let o = tls(json!({"ca_file": ca, "certificate_warn_days": 60, "certificate_crit_days": 7}));
    assert_eq!(o.status, Status::Warn);
    assert!(
        o.message.starts_with("certificate valid for "),
        "{}",
        o.message
    );
    let o = tls(json!({"ca_file": ca, "server_name": "x.example"}));
    assert_eq!(
        told(&o),
        (Status::Critical, "tls: certificate is not for x.example")
    );
    assert_eq!(
        tls(json!({})).message,
        "tls: certificate is signed by no CA that is trusted here"
    );
    let o = tls(json!({"insecure": true}));
    assert_eq!(o.status, Status::Ok);
    assert!(o.message.contains(" (not verified: `"), "{}", o.message);
    // What holds for http holds here: pins and versions.
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]);
    let told_by = openssl.arg(nginx.certs.certificate()).output().unwrap();
    let told_by = String::from_utf8(told_by.stdout).unwrap();
    let (_, print) = told_by.trim().split_once('=').unwrap();
    let o = tls(json!({"ca_file": ca, "pins": [format!("sha256:{print}")]}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let o = tls(json!({"ca_file": ca, "pins": [format!("sha256:{}", "0".repeat(64))]}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: certificate is none of the pinned ones"
        )
    );
}

#[test]
fn only_allowed_versions_of_tls_are_spoken() {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    for (server, options, expected) in [
        ("-tls1_2", json!({"tls_min": "1.3"}), Status::Critical),
        ("-tls1_3", json!({"tls_max": "1.2"}), Status::Critical),
        ("-tls1_2", json!({"tls_max": "1.2"}), Status::Ok),
        ("-tls1_3", json!({"tls_min": "1.3"}), Status::Ok),
    ] {
        let server = Server::start(
            |_, port| {
                let mut command = std::process::Command::new("openssl");
                command.args(["s_server", "-quiet", server, "-accept"]);
                command.arg(format!("127.0.0.1:{port}"));
                command.arg("-cert").arg(certs.certificate());
                command.arg("-key").arg(certs.key());
                command
            },
            |_, port| accepts(port),
        );
        let mut all = json!({"host": "127.0.0.1", "port": server.port, "tls": true, "ca_file": certs.ca(), "server_name": "localhost"});
        all.as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        let o = check(all);
        assert_eq!(o.status, expected, "{options}: {}", o.message);
        if expected != Status::Ok {
            assert_eq!(
                o.message,
                "tls: the server speaks no version of TLS that is allowed here"
            );
        }
    }
}

/// In TLS 1.3 the server says so when the client thinks that all is done.
#[test]
fn a_demanded_client_certificate_is_no_success() {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let serve = |more: &'static str| {
        let certs = &certs;
        Server::start(
            |_, port| {
                let mut command = std::process::Command::new("openssl");
                command
                    .args(["s_server", "-quiet", "-accept"])
                    .arg(format!("127.0.0.1:{port}"))
                    .arg("-cert")
                    .arg(certs.certificate())
                    .arg("-key")
                    .arg(certs.key())
                    .arg("-CAfile")
                    .arg(certs.ca())
                    .args(more.split(' '));
                command
            },
            |_, port| accepts(port),
        )
    };
    let ask = |server: &Server| {
        check(json!({
            "host": "127.0.0.1", "port": server.port, "tls": true, "ca_file": certs.ca(), "server_name": "localhost"
        }))
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let server = serve(match version {
            "-tls1_2" => "-Verify 2 -verify_return_error -tls1_2",
            _ => "-Verify 2 -verify_return_error -tls1_3",
        });
        // With TLS 1.3 a refusal comes after the handshake, and is waited for only so long.
        let mut o = ask(&server);
        healthd_testing::until(
            || {
                if o.status == Status::Ok {
                    o = ask(&server);
                }
                o.status != Status::Ok
            },
            || server.log(),
        );
        assert_eq!(o.status, Status::Critical, "{version}: {}", o.message);
        assert!(
            o.message.starts_with("tls: ") && o.message.contains("wants a client certificate"),
            "{version}: {}",
            o.message
        );
    }
    let server = serve("-Verify 2 -verify_return_error -tls1_3 -www");
    let options = json!({
        "host": "127.0.0.1", "port": server.port, "tls": true, "ca_file": certs.ca(), "server_name": "localhost",
        "cert_file": certs.certificate(), "key_file": certs.key()
    });
    let o = check(options.clone());
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let plugin = MockHost::new(hd_plugin_v1).plugin("tcp");
    let plain = json!({"host": "h", "port": 1, "cert_file": certs.certificate()});
    let refused = plugin.create(plain.to_string()).err().unwrap();
    assert!(
        refused.contains("cert_file: needs `tls = true`"),
        "{refused}"
    );
    // One that only asks, and waits for what we say, is fine without.
    let o = ask(&serve("-verify 2 -tls1_3 -www"));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
}

#[test]
fn bad_options_are_refused() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("tcp");
    for (options, message) in [
        (json!({"host": "h"}), "port: missing"),
        (json!({"host": "h", "port": 0}), "port: 0 is below 1"),
        (json!({"host": "", "port": 1}), "host: must not be empty"),
        (
            json!({"host": "web.example:443", "port": 443}),
            "host: `web.example:443` is no host name: ':' cannot stand in one; a port has an option of its own",
        ),
        (
            json!({"host": "https://web.example/", "port": 443}),
            "host: `https://web.example/` is no host name: ",
        ),
        (
            json!({"host": "h", "port": 1, "send": "\\q"}),
            "send: \\q is no escape",
        ),
        (json!({"host": "h", "port": 1, "expect": "("}), "expect: "),
        (
            json!({"host": "h", "port": 1, "insecure": true}),
            "insecure: needs `tls = true`",
        ),
        (
            json!({"host": "h", "port": 1, "pins": [format!("sha256:{}", "0".repeat(64))]}),
            "pins: needs `tls = true`",
        ),
        (
            json!({"host": "h", "port": 1, "tls_min": "1.3"}),
            "tls_min: needs `tls = true`",
        ),
        (
            json!({"host": "h", "port": 1, "tls": true, "tls_min": "1.3", "tls_max": "1.2"}),
            "tls_max: older than tls_min",
        ),
        (
            json!({"host": "::1", "port": 1, "family": "ipv4"}),
            "host: ::1 is not of the address family",
        ),
        (
            json!({"host": "h", "port": 1, "tls": true, "insecure": true, "ca_file": "/x"}),
            "ca_file and insecure: only one",
        ),
    ] {
        let e = plugin.create(options.to_string()).err().unwrap();
        assert!(e.starts_with(message), "{options}: {e}");
    }
}

#[test]
fn whoever_talks_on_and_on_is_looked_at_less_often() {
    let mut looks = crate::Looks::default();
    assert!(!looks.are_long());
    for _ in 0..16 {
        assert_eq!(looks.next(1_000_000, 1_010_000), 1_100_000);
    }
    assert_eq!(looks.next(1_000_000, 1_010_000), 2_000_000);
    assert!(!looks.are_long(), "others need not go first for 10 us");
    assert_eq!(looks.next(0, 1_000_000), 100_000_000);
    assert!(looks.are_long());
}

/// 16 KiB byte by byte, of which only the last one matches: it is found all the same.
#[test]
fn a_banner_byte_by_byte() {
    let peer = Peer::new(|mut stream| {
        let _ = stream.set_nodelay(true);
        for n in 0..16_000 {
            let byte = if n == 15_999 { b"!" } else { b"a" };
            if stream.write_all(byte).is_err() {
                return;
            }
        }
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let o =
        check(json!({"host": "127.0.0.1", "port": peer.addr.port(), "expect": "(status|a).*!$"}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
}

#[test]
fn a_dialogue_captures_and_says_it_again() {
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(b"\xff\xfe hello id=42\r\n");
        let mut said = [0; 8];
        if stream.read_exact(&mut said).is_ok() {
            let _ = stream.write_all(b"you said ");
            let _ = stream.write_all(&said);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let port = peer.addr.port();
    let o = check(json!({"host": "127.0.0.1", "port": port, "steps": [
        {"expect": r"^\xff\xfe"},
        {"expect": "id=(?<id>[0-9]+)"},
        {"send": "id is %{id}", "expect": "said id is 42"},
    ]}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert_eq!(o.labels["id"], "42");
}

#[test]
fn what_the_server_said_stands_behind_the_time_out() {
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(b"220 wait\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("tcp");
    let o = plugin
        .create(
            json!({"host": "127.0.0.1", "port": peer.addr.port(), "expect": "^250"}).to_string(),
        )
        .unwrap()
        .run(Duration::from_secs(1));
    assert_eq!(
        o.message,
        "timeout after 1s in phase receive: the server said \"220 wait\""
    );
}

#[test]
fn what_is_shown_is_the_answer_to_what_was_said() {
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(b"220 mail ESMTP ready\r\n");
        let mut said = [0; 8];
        if stream.read_exact(&mut said).is_ok() {
            let _ = stream.write_all(b"421 too busy\r\n");
        }
    });
    let steps = json!([{"expect": "^220"}, {"send": "EHLO x\\r\\n", "expect": "^250"}]);
    let o = check(json!({"host": "127.0.0.1", "port": peer.addr.port(), "steps": steps}));
    assert_eq!(o.message, "answer \"421 too busy\" does not match ^250");
    // What is left of an answer before it is none.
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(b"220 mail ESMTP ready\r\n");
        let _ = stream.read_exact(&mut [0; 8]);
    });
    let o = check(json!({"host": "127.0.0.1", "port": peer.addr.port(), "steps": steps}));
    assert_eq!(o.message, "receive: connection closed without an answer");
}

#[test]
fn starttls_as_postgres_asks_for_it() {
    let Some(server) = healthd_testing::Postgres::start() else {
        return;
    };
    let o = check(
        json!({"host": "127.0.0.1", "port": server.port, "starttls": "postgres", "insecure": true}),
    );
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(o.phases.contains(&"starttls".to_string()), "{o:?}");
    assert!(o.metric("certificate").value > 1.0);
}
