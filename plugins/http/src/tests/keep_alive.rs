//! `keep_alive`: the connection of a run serves the next one.

use super::{LONG, check, nginx, told};
use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockCheck, MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Folder, Nginx, Peer, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

fn kept(mut options: Value) -> MockCheck {
    options["keep_alive"] = true.into();
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(options.to_string());
    check.unwrap_or_else(|e| panic!("{options}: {e}"))
}

/// nginx says how many requests it has had on the connection.
fn counted(mut options: Value) -> MockCheck {
    options["json"] = json!([{"path": "$.requests", "metric": "requests"}]);
    kept(options)
}

fn requests(o: &Outcome) -> f64 {
    assert_eq!(o.status, Status::Ok, "{o:?}");
    o.metric("requests").value
}

fn three(check: &MockCheck) -> [Outcome; 3] {
    [(); 3].map(|()| check.run(LONG))
}

fn has(o: &Outcome, metric: &str) -> bool {
    o.metrics.iter().any(|m| m.name == metric)
}

#[test]
fn one_connection_serves_all_runs() {
    let Some(w) = nginx() else { return };
    let o = three(&counted(json!({"url": w.url("/requests")})));
    assert_eq!(o.each_ref().map(requests), [1.0, 2.0, 3.0]);
    assert_eq!(o[0].phases, ["connect", "ttfb"]);
    assert!(has(&o[0], "connect"));
    for later in &o[1..] {
        assert_eq!(later.phases, ["ttfb"]);
        assert!(!has(later, "connect"), "{later:?}");
        let parts = ["ttfb", "transfer"].map(|m| later.metric(m).value);
        let sum: f64 = parts.iter().sum();
        assert!(
            (later.metric("total").value - sum).abs() < 1e-6,
            "{later:?}"
        );
    }
    let named = json!({"url": format!("http://localhost:{}/requests", w.port), "family": "ipv4"});
    let o = three(&counted(named));
    assert!(has(&o[0], "dns") && !has(&o[2], "dns"), "{o:?}");
    assert_eq!(requests(&o[2]), 3.0);
    let o = three(&counted(
        json!({"url": "http://x/requests", "unix_socket": w.unix}),
    ));
    assert_eq!(requests(&o[2]), 3.0);
    let o = three(&kept(json!({"url": w.url("/ok"), "method": "HEAD"})));
    assert_eq!(o[2].phases, ["ttfb"]);
}

/// Without the option each run has a connection of its own, and says so.
#[test]
fn nothing_is_kept_unasked() {
    let Some(w) = nginx() else { return };
    let options = json!({"url": w.url("/requests"), "json_path": "$.requests", "json_equals": 1,
        "expect_headers": {"Connection": "^close$"}});
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(options.to_string()).expect("fine");
    for o in three(&check) {
        assert_eq!(o.status, Status::Ok, "{o:?}");
        assert_eq!(o.phases, ["connect", "ttfb"]);
    }
}

#[test]
fn with_its_tls_session() {
    if !Nginx::installed() {
        return;
    }
    // Not each nginx speaks 1.3 by itself.
    let w = Nginx::start(
        r#"ssl_protocols TLSv1.2 TLSv1.3;
           location /requests { return 200 '{"requests": $connection_requests}'; }"#,
    );
    let url = format!("https://127.0.0.1:{}/requests", w.port_tls);
    for version in ["1.2", "1.3"] {
        let o = three(&counted(
            json!({"url": url, "ca_file": w.certs.ca(), "tls_min": version,
            "tls_max": version, "certificate_warn_days": 40, "facts": true}),
        ));
        for (n, o) in o.iter().enumerate() {
            assert_eq!(o.metric("requests").value, n as f64 + 1.0, "{o:?}");
            // It was shown with the first run, and counts in all.
            assert!(o.message.starts_with("certificate valid for"), "{o:?}");
            assert!((o.metric("certificate").value - 30.0).abs() < 1.0);
            assert_eq!(o.labels["tls_version"], format!("TLS {version}"));
            assert_eq!(o.labels["address"], "127.0.0.1");
            assert_eq!(has(o, "tls"), n == 0);
        }
        assert_eq!(o[0].phases, ["connect", "tls", "ttfb"]);
        assert_eq!(o[2].phases, ["ttfb"]);
    }
}

/// Whom to trust has changed: the connection that was made before says nothing of that.
#[test]
fn not_when_the_files_of_tls_have_changed() {
    let Some(w) = nginx() else { return };
    let folder = Folder::new();
    let good = std::fs::read_to_string(w.certs.ca()).expect("a CA");
    let ca = folder.write("ca.pem", &good);
    let url = format!("https://127.0.0.1:{}/requests", w.port_tls);
    let check = counted(json!({"url": url, "ca_file": ca}));
    assert_eq!(three(&check).each_ref().map(requests), [1.0, 2.0, 3.0]);
    let other = std::fs::read_to_string(Certs::new().ca()).expect("a CA");
    folder.write("ca.pem", good + &other);
    until(
        || requests(&check.run(LONG)) == 1.0,
        || "no new connection".into(),
    );
    folder.write("ca.pem", other);
    let is_refused = |o: Outcome| o.status == Status::Critical && o.message.starts_with("tls: ");
    until(|| is_refused(check.run(LONG)), || "still trusted".into());
}

/// nginx itself ends the connection after a while.
#[test]
fn one_that_the_server_has_closed_is_made_anew() {
    if !Nginx::installed() {
        return;
    }
    let w = Nginx::start(
        r#"location /requests { keepalive_timeout 50ms; return 200 '{"requests": $connection_requests}'; }
           location /status { stub_status; }"#,
    );
    // Of those that it has open one is that of who asks.
    let alone = json!({"url": w.url("/status"), "body_contains": "Active connections: 1 "});
    for (url, phases) in [
        (w.url("/requests"), &["connect", "ttfb"][..]),
        (
            format!("https://127.0.0.1:{}/requests", w.port_tls),
            &["connect", "tls", "ttfb"][..],
        ),
    ] {
        let kept = counted(json!({"url": url, "ca_file": w.certs.ca()}));
        for _ in 0..2 {
            let o = kept.run(LONG);
            assert_eq!(requests(&o), 1.0);
            assert_eq!(o.phases, phases);
            until(
                || check(alone.clone()).status == Status::Ok,
                || "still open".into(),
            );
        }
    }
}

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Does {
    Say(&'static str),
    /// It closes in order, or breaks off; both when it has heard the request.
    Close,
    Reset,
    /// Nothing, until the client is gone.
    Sleep,
}
use Does::{Close, Reset, Say, Sleep};

const OK: Does = Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin");

/// A server that does so with the requests of its first connection, its second one, and has no more.
fn server(connections: &[&[Does]]) -> Peer {
    let connections: Vec<Vec<Does>> = connections.iter().map(|c| c.to_vec()).collect();
    let mut connections = connections.into_iter();
    Peer::new(move |mut stream| {
        let all = connections.next().expect("no more connections than that");
        let heard = |stream: &mut TcpStream| stream.read(&mut [0; 4096]).unwrap_or(0) > 0;
        for what in all {
            match what {
                Say(answer) if heard(&mut stream) => {
                    let _ = stream.write_all(answer.as_bytes());
                }
                Close if heard(&mut stream) => return,
                Reset => {
                    // With bytes that nobody has read.
                    let _ = stream.read(&mut [0; 1]);
                    return;
                }
                Sleep => {
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                }
                Say(_) | Close => return,
            }
        }
        // Until the client is gone: it decides.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

fn at(peer: &Peer) -> Value {
    json!({"url": format!("http://{}/", peer.addr)})
}

/// It was open when the request was sent: the run does not fail for it, but it does if a new one is closed as well.
#[test]
fn one_that_closes_under_a_request_is_made_anew_once() {
    for closing in [Close, Reset] {
        let peer = server(&[&[OK, closing], &[OK], &[OK, closing], &[closing]]);
        let first = kept(at(&peer));
        assert_eq!(first.run(LONG).phases, ["connect", "ttfb"]);
        let o = first.run(LONG);
        assert_eq!(o.status, Status::Ok, "{o:?}");
        assert_eq!(o.phases, ["ttfb", "connect", "ttfb"]);
        let parts = ["connect", "ttfb", "transfer"].map(|m| o.metric(m).value);
        assert!(
            parts.iter().sum::<f64>() <= o.metric("total").value,
            "{o:?}"
        );
        drop(first);
        let second = kept(at(&peer));
        assert_eq!(second.run(LONG).status, Status::Ok);
        let o = second.run(LONG);
        let why = match closing {
            Reset => "ttfb: connection reset by peer",
            _ => "ttfb: connection closed without an answer",
        };
        assert_eq!(told(&o), (Status::Critical, why));
    }
}

/// After its first byte an answer counts, as it is.
#[test]
fn an_answer_that_breaks_off_is_no_closed_connection() {
    let broken = Say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nin");
    let peer = Peer::new(move |mut stream| {
        for answer in [OK, broken] {
            let Say(answer) = answer else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let check = kept(at(&peer));
    assert_eq!(check.run(LONG).status, Status::Ok);
    let why = "transfer: connection closed after 2 of 9 bytes";
    assert_eq!(told(&check.run(LONG)), (Status::Critical, why));
}

/// By the phases of a second run: whether it has connected.
#[test]
fn the_server_decides_whether_it_is_kept() {
    for (answer, is_kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nin\r\n0\r\nX: y\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nin",
            true,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nin", false),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nin",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: x,CLOSE ,keep-alive\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin, and more",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let peer = server(&[&[Say(answer), OK], &[OK]]);
        let check = kept(at(&peer));
        assert_eq!(check.run(LONG).status, Status::Ok, "{answer}");
        let o = check.run(LONG);
        assert_eq!(o.status, Status::Ok, "{answer}: {o:?}");
        assert_eq!(!has(&o, "connect"), is_kept, "{answer}: {o:?}");
    }
}

/// Neither where something was left to read, nor where a redirect has led.
#[test]
fn only_an_answer_to_the_check_itself_that_was_read_to_its_end() {
    let Some(w) = nginx() else { return };
    let o = three(&kept(json!({"url": w.url("/ok"), "max_body": 5})));
    assert_eq!(o[2].phases, ["connect", "ttfb"]);
    let o = three(&kept(json!({"url": w.url("/ok"), "max_body": 12})));
    assert_eq!(o[2].phases, ["ttfb"]);
    let o = three(&counted(json!({"url": w.url("/away")})));
    assert_eq!(o.each_ref().map(requests), [1.0; 3]);
    // Such a one is at its end, and the next run begins anew.
    let redirect = Say("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n");
    let all: [&[Does]; 4] = [&[redirect, OK], &[OK, OK], &[redirect, OK], &[OK, OK]];
    let peer = server(&all);
    let check = kept(at(&peer));
    for _ in 0..2 {
        let o = check.run(LONG);
        assert_eq!(o.status, Status::Ok, "{o:?}");
        assert_eq!(o.phases, ["connect", "ttfb", "connect", "ttfb"]);
    }
}

#[test]
fn what_is_not_well_is_looked_at_anew() {
    let Some(w) = nginx() else { return };
    let few = json!([{"path": "$.requests", "below": 2}]);
    let o = three(&kept(json!({"url": w.url("/requests"), "json": few})));
    let of = |o: &Outcome| o.status;
    assert_eq!(
        o.each_ref().map(of),
        [Status::Ok, Status::Critical, Status::Ok]
    );
    let few = json!([{"path": "$.requests", "crit": "1", "metric": "requests"}]);
    let o = three(&kept(json!({"url": w.url("/requests"), "json": few})));
    assert_eq!(
        o.each_ref().map(of),
        [Status::Ok, Status::Critical, Status::Ok]
    );
    // Nor is one used again on which an answer is still to come.
    let peer = server(&[&[OK, Sleep], &[OK]]);
    let check = kept(at(&peer));
    assert_eq!(check.run(LONG).status, Status::Ok);
    let late = "timeout after 1s in phase ttfb";
    assert_eq!(
        told(&check.run(Duration::from_secs(1))),
        (Status::Critical, late)
    );
    assert_eq!(check.run(LONG).phases, ["connect", "ttfb"]);
}

#[test]
fn of_runs_that_overlap_one_has_it() {
    let Some(w) = nginx() else { return };
    let check = counted(json!({"url": w.url("/requests")}));
    assert_eq!(requests(&check.run(LONG)), 1.0);
    let mut all: Vec<f64> = check.run_many(3, LONG).iter().map(requests).collect();
    all.sort_by(f64::total_cmp);
    assert_eq!(all, [1.0, 1.0, 2.0]);
    assert!(requests(&check.run(LONG)) >= 2.0);
}

/// A proxy hears the whole URL, also over a connection that was kept.
#[test]
fn the_connection_to_a_proxy() {
    let proxy = Peer::new(|mut stream| {
        let mut request = [0; 4096];
        while stream.read(&mut request).unwrap_or(0) > 0 {
            let status = match request.starts_with(b"GET http://any.test/ HTTP/1.1\r\n") {
                true => "200 OK",
                false => "400 Bad Request",
            };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = format!("http://{}", proxy.addr);
    let o = three(&kept(json!({"url": "http://any.test/", "proxy": proxy})));
    for (n, o) in o.iter().enumerate() {
        assert_eq!(o.status, Status::Ok, "{o:?}");
        assert_eq!(has(o, "connect"), n == 0, "{o:?}");
    }
}

#[test]
fn it_ends_with_its_check() {
    let (gone, is_gone) = channel();
    let peer = Peer::new(move |mut stream| {
        let Say(answer) = OK else { return };
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
        let _ = gone.send(stream.read(&mut [0; 1]).ok());
    });
    let check = kept(at(&peer));
    assert_eq!(check.run(LONG).status, Status::Ok);
    drop(check);
    assert_eq!(is_gone.recv_timeout(LONG), Ok(Some(0)));
}

/// The answer to a challenge goes over the connection on which the challenge came.
#[test]
fn digest_takes_one_connection() {
    let challenge = Say(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n",
    );
    let peer = server(&[&[challenge, OK, challenge, OK]]);
    let mut options = at(&peer);
    options["digest_auth"] = json!({"user": "u", "password": "p"});
    let check = kept(options);
    for phases in [&["connect", "ttfb", "ttfb"][..], &["ttfb", "ttfb"][..]] {
        let o = check.run(LONG);
        assert_eq!(o.status, Status::Ok, "{o:?}");
        assert_eq!(o.phases, phases);
    }
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    for (options, why) in [
        (
            json!({"http_version": "2"}),
            "keep_alive: only connections of HTTP/1.1 are kept",
        ),
        (
            json!({"method": "POST"}),
            "keep_alive: where the server closes the connection meanwhile",
        ),
        (
            json!({"headers": {"connection": "close"}}),
            "headers.Connection: beside keep_alive",
        ),
    ] {
        let mut all = json!({"url": "http://x", "keep_alive": true});
        for (name, value) in options.as_object().expect("options") {
            all[name] = value.clone();
        }
        let e = plugin.create(all.to_string()).err().expect("refused");
        assert!(e.starts_with(why), "{all}: {e}");
    }
}
