//! The plugin on MockHost against a real nginx and against peers that misbehave.

mod beside;
mod bodies;
mod certificates;
mod ways;

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Nginx, Peer, free_port};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

const LOCATIONS: &str = r#"
    location /ok { add_header X-Test "a b"; return 200 "hello world\n"; }
    location /json { return 200 '{"status": "up", "n": [1, 2]}'; }
    location /missing { return 404 "no"; }
    location /loop { return 302 /loop; }
    location /go { return 302 /ok; }
    location /gone { return 302 /missing; }
    location /deep/go { return 301 ../ok; }
    location /auth { if ($http_authorization != "Basic dTpw") { return 401; } return 200 "in"; }
    location /bearer { if ($http_authorization != "Bearer t0k") { return 401; } return 200 "in"; }
    location /method { return 200 $request_method; }
    location /host { return 200 $http_host; }
    location /echo { return 200 "$http_x_a $content_length"; }
"#;

/// One nginx for all tests that run now; it ends with the last of them. None if it is not installed.
fn nginx() -> Option<Arc<Nginx>> {
    if !Nginx::installed() {
        return None;
    }
    static SHARED: Mutex<Weak<Nginx>> = Mutex::new(Weak::new());
    let mut shared = SHARED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    Some(shared.upgrade().unwrap_or_else(|| {
        let nginx = Arc::new(Nginx::start(LOCATIONS));
        *shared = Arc::downgrade(&nginx);
        nginx
    }))
}

fn check(options: Value) -> Outcome {
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    plugin
        .create(options.to_string())
        .unwrap_or_else(|e| panic!("{options}: {e}"))
        .run(LONG)
}

fn told(o: &Outcome) -> (Status, &str) {
    (o.status, &o.message)
}

#[test]
fn a_plain_check_costs_two_steps_and_one_watch() {
    let Some(w) = nginx() else { return };
    let o = check(json!({"url": w.url("/ok")}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(
        o.message.starts_with("HTTP 200, 12 bytes in "),
        "{}",
        o.message
    );
    assert_eq!(o.watches, 1);
    // One more should the machine be so busy that the handshake takes its time.
    assert!((2..=3).contains(&o.steps), "{o:?}");
    assert_eq!(o.phases, ["connect", "ttfb"]);
    let sum: f64 = ["connect", "ttfb", "transfer"]
        .iter()
        .map(|m| o.metric(m).value)
        .sum();
    assert!((o.metric("total").value - sum).abs() < 1e-6, "{o:?}");
    assert_eq!(
        (o.metric("size").value, &*o.metric("size").unit),
        (12.0, "By")
    );
    assert!(o.metrics.iter().all(|m| m.name != "dns" && m.name != "tls"));
}

#[test]
fn what_is_expected_is_judged() {
    let Some(w) = nginx() else { return };
    let cases = [
        (
            json!({"url": w.url("/ok"), "body_contains": "world", "body_regex": "^hel+o", "expect_headers": {"x-test": "^a b$"}}),
            Status::Ok,
            "HTTP 200",
        ),
        (
            json!({"url": w.url("/json"), "json_path": "$.n[*]", "json_equals": 2}),
            Status::Ok,
            "HTTP 200",
        ),
        (
            json!({"url": w.url("/json"), "json_path": "$.status", "json_equals": "down"}),
            Status::Critical,
            r#"$.status is "up", not "down""#,
        ),
        (
            json!({"url": w.url("/missing")}),
            Status::Critical,
            "HTTP 404 Not Found, expected 200-299",
        ),
        (
            json!({"url": w.url("/missing"), "status": ["4xx"]}),
            Status::Ok,
            "HTTP 404",
        ),
        (
            json!({"url": w.url("/ok"), "body_contains": "moon"}),
            Status::Critical,
            "body does not contain \"moon\"",
        ),
        (
            json!({"url": w.url("/ok"), "max_body": 5, "body_contains": "hello"}),
            Status::Ok,
            "HTTP 200, 5 bytes",
        ),
        (
            json!({"url": w.url("/go"), "redirects": 0}),
            Status::Critical,
            "HTTP 302 Found to http://127.0.0.1",
        ),
        (
            json!({"url": w.url("/go"), "status": [302]}),
            Status::Ok,
            "HTTP 302",
        ),
        (
            json!({"url": w.url("/go"), "status": ["200-399"], "redirects": 3}),
            Status::Ok,
            "HTTP 200, 12 bytes",
        ),
        (
            json!({"url": w.url("/gone")}),
            Status::Critical,
            "HTTP 404 Not Found, expected 200-299",
        ),
        (
            json!({"url": w.url("/ok"), "latency_warn": "0s"}),
            Status::Warn,
            "HTTP 200, 12 bytes",
        ),
        (
            json!({"url": w.url("/ok"), "latency_warn": "0s", "latency_crit": "0s"}),
            Status::Critical,
            "HTTP 200, 12 bytes",
        ),
        (
            json!({"url": w.url("/ok"), "latency_crit": "1h"}),
            Status::Ok,
            "HTTP 200, 12 bytes",
        ),
    ];
    for (options, status, message) in cases {
        let o = check(options.clone());
        assert_eq!(o.status, status, "{options}: {}", o.message);
        assert!(o.message.starts_with(message), "{options}: {}", o.message);
    }
    assert!(
        check(json!({"url": w.url("/ok"), "latency_warn": "0s"}))
            .message
            .ends_with(" ms, limit 0 s")
    );
}

#[test]
fn requests_carry_what_was_configured() {
    let Some(w) = nginx() else { return };
    let body = |mut options: Value, text: &str| {
        options["body_regex"] = format!("^{text}$").into();
        let o = check(options);
        assert_eq!(o.status, Status::Ok, "{}", o.message);
    };
    body(
        json!({"url": w.url("/auth"), "basic_auth": {"user": "u", "password": "p"}}),
        "in",
    );
    body(json!({"url": w.url("/bearer"), "bearer": "t0k"}), "in");
    body(
        json!({"url": w.url("/method"), "method": "DELETE"}),
        "DELETE",
    );
    body(
        json!({"url": w.url("/echo"), "method": "POST", "body": "12345", "headers": {"X-A": "a"}}),
        "a 5",
    );
    body(
        json!({"url": w.url("/host"), "headers": {"Host": "virtual"}}),
        "virtual",
    );
    body(
        json!({"url": w.url("/host")}),
        &format!("127.0.0.1:{}", w.port),
    );
    let o = check(json!({"url": w.url("/ok"), "method": "HEAD"}));
    assert!(o.message.starts_with("HTTP 200, 0 bytes"), "{}", o.message);
    // More than any socket buffer takes at once.
    let large = "x".repeat(1 << 20);
    let o = check(json!({"url": w.url("/echo"), "method": "POST", "body": large}));
    assert_eq!(
        (o.status, o.metric("size").value),
        (Status::Ok, 8.0),
        "{}",
        o.message
    );
}

#[test]
fn redirects_are_followed_to_the_cap() {
    let Some(w) = nginx() else { return };
    assert!(
        check(json!({"url": w.url("/go")}))
            .message
            .starts_with("HTTP 200, 12 bytes")
    );
    // The message says that, and where it ended.
    let o = check(json!({"url": w.url("/go")}));
    let place = format!(" (redirected to {})", w.url("/ok"));
    assert!(o.message.ends_with(&place), "{}", o.message);
    let o = check(json!({"url": w.url("/gone")}));
    let place = format!(
        "HTTP 404 Not Found, expected 200-299 (redirected to {})",
        w.url("/missing")
    );
    assert_eq!(told(&o), (Status::Critical, &*place));
    assert!(
        check(json!({"url": w.url("/deep/go"), "redirects": 3}))
            .message
            .starts_with("HTTP 200, 12 bytes")
    );
    let o = check(json!({"url": w.url("/loop"), "redirects": 3}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "more than 3 redirects, the last one to 127.0.0.1"
        )
    );
    let target = w.url("/ok");
    let bad =
        Peer::answering("HTTP/1.1 302 x\r\nLocation: gopher://x\r\nContent-Length: 0\r\n\r\n");
    let o = check(json!({"url": format!("http://{}", bad.addr), "redirects": 3}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "redirect: gopher://x: no http:// or https:// URL"
        )
    );
    let across = Peer::answering(format!(
        "HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
    ));
    let o = check(
        json!({"url": format!("http://{}", across.addr), "redirects": 1, "body_contains": "hello"}),
    );
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let secure = format!("https://localhost:{}/ok", w.port_tls);
    let across = Peer::answering(format!(
        "HTTP/1.1 307 x\r\nLocation: {secure}\r\nContent-Length: 0\r\n\r\n"
    ));
    let o = check(
        json!({"url": format!("http://{}", across.addr), "redirects": 1, "ca_file": w.certs.ca()}),
    );
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.metric("certificate").value > 29.0);
    let end = |at: &str, options: Value| {
        let mut all = json!({"url": at, "ca_file": w.certs.ca(), "expect_tls": true});
        all.as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        check(all)
    };
    let to_tls = format!("http://{}", across.addr);
    assert_eq!(end(&to_tls, json!({})).status, Status::Ok);
    let o = end(
        &to_tls,
        json!({"expect_url": "^https://localhost:[0-9]+/ok$"}),
    );
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let o = end(&w.url("/go?token=s3cret"), json!({}));
    let why = format!("{} is not https, which expect_tls wants", w.url("/ok"));
    assert_eq!(told(&o), (Status::Critical, &*why));
    let o = end(&to_tls, json!({"expect_url": "/login"}));
    let why = format!("{secure} does not match /login, as expect_url wants");
    assert_eq!(told(&o), (Status::Critical, &*why));
    // The certificate of each hop is judged by its own name.
    let stranger = Peer::answering(format!(
        "HTTP/1.1 302 x\r\nLocation: https://127.0.0.2:{}/ok?s3cret\r\n\r\n",
        w.port_tls
    ));
    let o = end(&format!("http://{}", stranger.addr), json!({}));
    let why = format!(
        "redirect to https://127.0.0.2:{}/ok?...: connect: connection refused",
        w.port_tls
    );
    assert_eq!(told(&o), (Status::Critical, &*why));
}

/// A server that says back all that it was told.
#[test]
fn no_secret_of_the_config_is_in_a_message() {
    let echo = Peer::new(|mut stream| {
        let mut request = [0; 4096];
        let n = std::io::Read::read(&mut stream, &mut request).unwrap_or_default();
        let text = String::from_utf8_lossy(&request[..n]).into_owned();
        let line = text.replace("\r\n", " ");
        let _ = stream.write_all(
            format!("HTTP/1.1 200 OK\r\nX-Echo: {line}\r\n\r\n{{\"echo\": {line:?}}}").as_bytes(),
        );
    });
    let url = format!("http://{}/", echo.addr);
    for options in [
        json!({"url": url, "bearer": "s3cret"}),
        json!({"url": url, "headers": {"Authorization": "Token s3cret"}}),
        json!({"url": url, "headers": {"Cookie": "a=b; sid=s3cret"}}),
        json!({"url": url, "headers": {"X-Api-Key": "s3cret"}}),
        json!({"url": format!("{url}?token=s3cret&x=y")}),
        json!({"url": url.replace("://", "://user:s3cret@")}),
        json!({"url": url, "basic_auth": {"user": "u", "password": "s3cret"}}),
    ] {
        for (name, regex) in [
            ("expect_not_headers", json!({"X-Echo": "."})),
            ("expect_headers", json!({"X-Echo": "nothing"})),
        ] {
            let mut o = options.clone();
            o[name] = regex;
            let o = check(o);
            assert_eq!(o.status, Status::Critical);
            for secret in ["s3cret", "dXNlcjpzM2NyZXQ", "dTpzM2NyZXQ"] {
                assert!(!o.message.contains(secret), "{options}: {}", o.message);
            }
            assert!(o.message.contains("X-Echo"), "{}", o.message);
        }
        let mut o = options.clone();
        o["json"] = json!([{"path": "$.echo", "max_length": 1}]);
        assert!(!check(o).message.contains("s3cret"));
    }
}

/// Each of a few answers once, then no more; what was asked for is sent along.
fn script(answers: Vec<String>) -> (Peer, std::sync::mpsc::Receiver<String>) {
    let (tell, asked) = std::sync::mpsc::channel();
    let mut answers = answers.into_iter();
    let peer = Peer::new(move |mut stream| {
        let mut request = [0; 4096];
        let n = std::io::Read::read(&mut stream, &mut request).unwrap_or_default();
        if let Some(answer) = answers.next() {
            let _ = tell.send(String::from_utf8_lossy(&request[..n]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (peer, asked)
}

fn redirect(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} x\r\n{headers}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

#[test]
fn odd_locations_and_cookies_over_a_chain() {
    let (peer, asked) = script(vec![
        redirect(
            302,
            "Location: login?next=http://127.0.0.1/app/\r\nSet-Cookie: sid=7; Path=/",
        ),
        redirect(302, "Location :  /with blank\\x?y=\u{fc}"),
        redirect(303, "Location:\r\n /done\r\nSet-Cookie: sid=8; Path=/"),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
    ]);
    let o = check(json!({"url": format!("http://{}/app/start", peer.addr), "body_contains": "ok"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let asked: Vec<String> = asked.try_iter().collect();
    for (request, (line, cookie)) in asked.iter().zip([
        ("/app/start", ""),
        ("/app/login?next=http://127.0.0.1/app/", "Cookie: sid=7\r\n"),
        ("/with%20blank/x?y=%C3%BC", "Cookie: sid=7\r\n"),
        ("/done", "Cookie: sid=8\r\n"),
    ]) {
        assert!(
            request.starts_with(&format!("GET {line} HTTP/1.1")),
            "{request}"
        );
        assert!(request.contains(cookie), "{request}");
        assert_eq!(request.contains("Cookie"), !cookie.is_empty());
    }
    assert_eq!(asked.len(), 4);
}

#[test]
fn no_secret_of_a_location_is_in_a_message() {
    for location in [
        "http://user:s3cret@127.0.0.1:9/x",
        "ftp://files.example/x?token=s3cret",
        "ftp://u:s3cret@files.example/",
        "/pfad mit/?token=s3cret",
        "//user:s3cret@[x]/",
    ] {
        for redirects in [0, 1] {
            let (peer, _) = script(vec![redirect(302, &format!("Location: {location}"))]);
            let url = format!("http://{}", peer.addr);
            let o = check(json!({"url": url, "redirects": redirects}));
            assert_ne!(o.status, Status::Ok);
            assert!(!o.message.contains("s3cret"), "{}", o.message);
        }
    }
}

#[test]
fn every_way_to_connect() {
    let Some(w) = nginx() else { return };
    let v6 = format!("http://[::1]:{}/ok", w.port_v6);
    assert_eq!(check(json!({"url": v6})).status, Status::Ok);
    let named = check(json!({"url": format!("http://localhost:{}/ok", w.port), "family": "ipv4"}));
    assert_eq!(
        named.phases,
        ["dns", "connect", "ttfb"],
        "{}",
        named.message
    );
    assert!(named.metric("dns").value >= 0.0);
    let o = check(
        json!({"url": "http://any.example/host", "unix_socket": w.unix, "body_regex": "^any.example$"}),
    );
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let o = check(json!({"url": "http://x", "unix_socket": "/no/such/socket"}));
    assert_eq!(
        told(&o),
        (Status::Critical, "connect: no such file or directory")
    );
    let o = check(json!({"url": "http://no-such-name.invalid"}));
    assert!(o.message.starts_with("dns: "), "{}", o.message);
}

#[test]
fn a_refused_connection() {
    let to = SocketAddr::from(([127, 0, 0, 1], free_port("127.0.0.1")));
    let o = check(json!({"url": format!("http://{to}")}));
    assert_eq!(told(&o), (Status::Critical, "connect: connection refused"));
    let o = check(json!({"url": format!("https://{to}"), "insecure": true}));
    assert_eq!(told(&o), (Status::Critical, "connect: connection refused"));
}

#[test]
fn tls_is_verified() {
    let Some(w) = nginx() else { return };
    let at = |host: &str| format!("https://{host}:{}/ok", w.port_tls);
    let ca = w.certs.ca();
    let o = check(json!({"url": at("127.0.0.1"), "ca_file": ca, "body_contains": "hello"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(o.phases, ["connect", "tls", "ttfb"]);
    assert!((o.metric("certificate").value - 30.0).abs() < 1.0);
    assert!(o.metric("tls").value > 0.0);
    assert_eq!(
        check(json!({"url": at("127.0.0.1"), "ca_file": ca, "server_name": "localhost"})).status,
        Status::Ok
    );
    let o = check(json!({"url": at("127.0.0.1"), "ca_file": ca, "server_name": "other.example"}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: certificate is not for other.example"
        )
    );
    let o = check(json!({"url": at("127.0.0.1")}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: certificate is signed by no CA that is trusted here"
        )
    );
    let o = check(json!({"url": at("127.0.0.1"), "insecure": true}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let o = check(json!({"url": format!("https://127.0.0.1:{}", w.port), "insecure": true}));
    assert_eq!(
        told(&o),
        (Status::Critical, "tls: the server does not speak TLS")
    );
}

#[test]
fn certificate_days_are_judged() {
    let Some(w) = nginx() else { return };
    let options = |warn: f64, crit: f64| {
        json!({"url": format!("https://127.0.0.1:{}/ok", w.port_tls), "ca_file": w.certs.ca(),
            "certificate_warn_days": warn, "certificate_crit_days": crit})
    };
    assert_eq!(check(options(20.0, 10.0)).status, Status::Ok);
    let o = check(options(40.0, 10.0));
    assert_eq!(
        (o.status, &o.message[..21]),
        (Status::Warn, "certificate valid for")
    );
    assert_eq!(check(options(40.0, 35.0)).status, Status::Critical);
    assert_eq!(
        (o.metric("certificate").warn, o.metric("certificate").crit),
        (40.0, 10.0)
    );
}

#[test]
fn an_expired_certificate() {
    if !Nginx::installed() {
        return;
    }
    let certs = Certs::new();
    let (pem, key) = certs.expired();
    let nginx = Nginx::start_with(LOCATIONS, certs, &pem, &key);
    let url = format!("https://127.0.0.1:{}/ok", nginx.port_tls);
    let o = check(json!({"url": url, "ca_file": nginx.certs.ca()}));
    assert_eq!(told(&o), (Status::Critical, "tls: certificate has expired"));
    let o = check(json!({"url": url, "insecure": true, "certificate_crit_days": 7}));
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message.starts_with("certificate expired "),
        "{}",
        o.message
    );
}

#[test]
fn odd_servers_get_plain_words() {
    for (answer, message) in [
        ("", "ttfb: connection closed without an answer"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "ttfb: the answer is not HTTP"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "transfer: connection closed after 3 of 10 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "ttfb: bad chunk in the response body",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "ttfb: bad Content-Length",
        ),
    ] {
        let peer = Peer::answering(answer);
        let o = check(json!({"url": format!("http://{}", peer.addr)}));
        assert_eq!(told(&o), (Status::Critical, message), "{answer:?}");
    }
    let peer = Peer::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let o = check(json!({"url": format!("http://{}", peer.addr), "body_regex": "^hello$"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
}

#[test]
fn endless_answers_end() {
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream
            .write_all(b"X-More: and more and more and more\r\n")
            .is_ok()
        {}
    });
    let o = check(json!({"url": format!("http://{}", peer.addr)}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "transfer: the response head is longer than 300 KiB"
        )
    );
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let o = check(json!({"url": format!("http://{}", peer.addr), "max_body": 1_000_000}));
    assert!(
        o.message.starts_with("HTTP 200, 1000000 bytes"),
        "{}",
        o.message
    );
}

#[test]
fn a_silent_server_is_a_timeout_in_its_phase() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let at = silent.local_addr().unwrap();
    for (url, phase) in [
        (format!("http://{at}"), "ttfb"),
        (format!("https://{at}"), "tls"),
    ] {
        let check = plugin
            .create(json!({"url": url, "insecure": true}).to_string())
            .unwrap();
        // Time enough to get there, however busy the machine is.
        let o = check.run(Duration::from_secs(2));
        assert_eq!(o.message, format!("timeout after 2s in phase {phase}"));
    }
    // A cancel at the first wait leaves nothing behind: MockHost looks.
    plugin
        .create(json!({"url": format!("http://{at}")}).to_string())
        .unwrap()
        .start_and_drop();
}

#[test]
fn many_at_once() {
    let Some(w) = nginx() else { return };
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin
        .create(json!({"url": w.url("/ok"), "body_contains": "hello"}).to_string())
        .unwrap();
    let all = check.run_many(200, LONG);
    assert!(
        all.iter().all(|o| o.status == Status::Ok),
        "{:?}",
        all.iter().find(|o| o.status != Status::Ok)
    );
}

#[test]
fn bad_options_are_refused() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    for (options, message) in [
        (json!({}), "url: missing"),
        (json!({"url": "x"}), "url: x: no http:// or https:// URL"),
        (
            json!({"url": "https://x", "ca_file": "/no/such"}),
            "/no/such: ",
        ),
        (
            json!({"url": "https://x", "ca_file": "/dev/null"}),
            "/dev/null: no certificate in it",
        ),
        (
            json!({"url": "https://x", "ca_file": "/dev/null", "insecure": true}),
            "ca_file and insecure: only one",
        ),
        // Also where TLS comes with a redirect only.
        (
            json!({"url": "http://x", "cert_file": "/no/such"}),
            "/no/such: ",
        ),
        (
            json!({"url": "http://x", "key_file": "/no/such"}),
            "key_file: needs cert_file",
        ),
        (
            json!({"url": "http://x", "tls_min": "1.3", "tls_max": "1.2"}),
            "tls_max: older than tls_min",
        ),
        (
            json!({"url": "http://127.0.0.1", "family": "ipv6"}),
            "url: 127.0.0.1 is not of the address family",
        ),
        (
            json!({"url": "http://x", "redirects": 21}),
            "redirects: 21 is above 20",
        ),
        (
            json!({"url": "http://x", "basic_auth": {"password": "p"}}),
            "basic_auth.user: missing",
        ),
    ] {
        let e = plugin.create(options.to_string()).err().unwrap();
        assert!(e.starts_with(message), "{options}: {e}");
    }
}

/// Requests at even distances, by the server's clock, whichever check they come from.
#[test]
fn a_rate_limit_is_one_for_all_checks_of_a_host() {
    let (arrived, arrivals) = std::sync::mpsc::channel();
    let peer = Peer::new(move |mut stream| {
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        let _ = arrived.send(std::time::Instant::now());
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    // Another spelling of loopback: no other test counts on it.
    let url = format!("http://127.0.0.1:{}/", peer.addr.port());
    let options = json!({"url": url, "rate_limit": "50/s"}).to_string();
    let checks = [
        plugin.create(&options).expect("fine"),
        plugin.create(&options).expect("fine"),
    ];
    let begun = std::time::Instant::now();
    for check in &checks {
        for o in check.run_many(10, LONG) {
            assert_eq!(o.status, Status::Ok, "{o:?}");
            assert_eq!(o.phases[0], "rate_limit");
        }
    }
    let last = arrivals.iter().take(20).last().expect("twenty came");
    // Twenty turns are nineteen distances of 20 ms: never sooner, however late.
    assert!(
        last - begun >= Duration::from_millis(380),
        "{:?}",
        last - begun
    );
    // No turn in time: not asked at all, and not the target's fault.
    let slow = json!({"url": url, "rate_limit": "1/h"}).to_string();
    let slow = plugin.create(&slow).expect("fine");
    assert_eq!(slow.run(LONG).status, Status::Ok);
    let o = slow.run(LONG);
    assert_eq!(o.status, Status::Resources);
    let begins = "rate_limit of 127.0.0.1: more than 1/h: its turn would come in 3";
    assert!(o.message.starts_with(begins), "{}", o.message);
    assert_eq!(o.watches, 0);
}

/// Two runs: the first gets no answer until its time is up, and only then the second gets one. By then the time would be
/// up for the second as well, had it not waited for its turn.
#[test]
fn a_wait_for_a_turn_takes_nothing_from_the_target() {
    let mut first = true;
    let peer = Peer::new(move |mut stream| {
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        if std::mem::take(&mut first) {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let url = format!("http://localhost:{}/", peer.addr.port());
    let options = json!({"url": url, "family": "ipv4", "rate_limit": "30/m"}).to_string();
    let check = plugin.create(options).expect("fine");
    let outcomes = check.run_many(2, Duration::from_secs(3));
    assert_eq!(
        told(&outcomes[0]),
        (Status::Critical, "timeout after 3s in phase ttfb")
    );
    assert_eq!(outcomes[1].status, Status::Ok, "{:?}", outcomes[1]);
}

/// Which is not held against a target that says nothing, however long the wait was.
#[test]
fn a_silent_target_is_critical_after_any_wait() {
    let silent = TcpListener::bind("127.0.0.2:0").expect("a loopback port");
    let url = format!("http://{}/", silent.local_addr().expect("bound"));
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let options = json!({"url": url, "rate_limit": "5/s"}).to_string();
    let check = plugin.create(options).expect("fine");
    let begun = std::time::Instant::now();
    for o in check.run_many(2, Duration::from_secs(2)) {
        assert_eq!(
            told(&o),
            (Status::Critical, "timeout after 2s in phase ttfb")
        );
    }
    // The second has waited for its turn before.
    assert!(begun.elapsed() >= Duration::from_millis(2200));
}

/// A redirect that has to wait for its turn: neither slow, nor are the phases of the first request in those of the last.
#[test]
fn a_wait_between_two_requests_is_not_in_the_total() {
    // No other test counts on this host.
    let listener = TcpListener::bind("127.0.0.3:0").expect("a loopback port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for status in ["302 Found\r\nLocation: /next", "200 OK"] {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let options = json!({"url": url, "redirects": 1, "rate_limit": "1/s"});
    let check = plugin.create(options.to_string()).expect("fine");
    let begun = std::time::Instant::now();
    let o = check.run(LONG);
    let elapsed = begun.elapsed().as_secs_f64();
    assert_eq!(o.status, Status::Ok, "{o:?}");
    let total = o.metric("total").value;
    assert!(elapsed - total >= 0.9, "{total} of {elapsed}");
    let parts = ["connect", "ttfb"].iter().map(|m| o.metric(m).value);
    assert!(parts.sum::<f64>() < total, "{o:?}");
}

/// A token server and a target: which tokens were given and taken.
struct OAuth {
    token: Peer,
    target: Peer,
    asked: Arc<Mutex<Vec<String>>>,
}

fn oauth(
    mut answer: impl FnMut(usize) -> String + Send + 'static,
    mut takes: impl FnMut(&str) -> bool + Send + 'static,
) -> OAuth {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let read = |stream: &mut std::net::TcpStream| {
        let mut bytes = [0; 8192];
        let n = std::io::Read::read(stream, &mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let token = Peer::new(move |mut stream| {
        let mut asked = seen.lock().expect("no panic");
        asked.push(read(&mut stream));
        let _ = stream.write_all(answer(asked.len()).as_bytes());
    });
    let target = Peer::new(move |mut stream| {
        let request = read(&mut stream);
        let bearer = request
            .lines()
            .find_map(|l| l.strip_prefix("Authorization: Bearer "));
        let status = if bearer.is_some_and(&mut takes) {
            "200 OK"
        } else {
            "401 Unauthorized"
        };
        let _ =
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    });
    OAuth {
        token,
        target,
        asked,
    }
}

fn token_answer(n: usize) -> String {
    let body = format!(r#"{{"access_token":"t0k-{n}","token_type":"Bearer","expires_in":3600}}"#);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl OAuth {
    fn options(&self, auth: &str) -> Value {
        json!({
            "url": format!("http://{}/", self.target.addr),
            "oauth2": {
                "token_url": format!("http://{}/token", self.token.addr),
                "client_id": "me and you", "client_secret": "s3cret&", "scope": "a b", "auth": auth,
            },
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

#[test]
fn one_token_for_a_thousand_runs() {
    let o = oauth(token_answer, |t| t == "t0k-1");
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    for _ in 0..10 {
        for outcome in check.run_many(100, LONG) {
            assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
        }
    }
    let asked = o.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    // RFC 6749, 2.3.1: id and secret are encoded before base64.
    assert!(
        asked[0].contains("\r\nAuthorization: Basic bWUrYW5kK3lvdTpzM2NyZXQlMjY=\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[0].ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b"),
        "{asked:?}"
    );
}

#[test]
fn the_client_may_name_itself_in_the_form() {
    let o = oauth(token_answer, |_| true);
    assert_eq!(check(o.options("body")).status, Status::Ok);
    let asked = o.asked();
    assert!(!asked[0].contains("Authorization"), "{asked:?}");
    let form =
        "grant_type=client_credentials&scope=a+b&client_id=me+and+you&client_secret=s3cret%26";
    assert!(asked[0].ends_with(form), "{asked:?}");
}

/// A target that takes no token at all: one that this very run has got is not asked for again.
#[test]
fn a_401_with_a_new_token_is_the_targets_word() {
    let o = oauth(token_answer, |_| false);
    let outcome = check(o.options("basic"));
    assert_eq!(
        told(&outcome),
        (Status::Critical, "HTTP 401 Unauthorized, expected 200-299")
    );
    assert_eq!(o.asked().len(), 1);
}

/// The target forgets its tokens: all runs that hear of it share one new token, and are fine.
#[test]
fn a_401_with_a_kept_token_gets_one_new_token_for_all() {
    let good = Arc::new(Mutex::new("t0k-1"));
    let takes = good.clone();
    let o = oauth(token_answer, move |t| t == *takes.lock().expect("no panic"));
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    assert_eq!(check.run(LONG).status, Status::Ok);
    *good.lock().expect("no panic") = "t0k-2";
    for outcome in check.run_many(50, LONG) {
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    }
    assert_eq!(o.asked().len(), 2);
    // The next one that is forgotten is the second of its kind within ten seconds: the target's word.
    *good.lock().expect("no panic") = "t0k-3";
    for outcome in check.run_many(50, LONG) {
        assert_eq!(
            told(&outcome),
            (Status::Critical, "HTTP 401 Unauthorized, expected 200-299")
        );
    }
    assert_eq!(o.asked().len(), 2);
}

/// It refuses the new one as well: that is its answer.
#[test]
fn a_second_401_is_the_targets_word() {
    let mut requests = 0;
    let o = oauth(token_answer, move |_| {
        requests += 1;
        requests == 1
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    assert_eq!(check.run(LONG).status, Status::Ok);
    for outcome in check.run_many(20, LONG) {
        assert_eq!(
            told(&outcome),
            (Status::Critical, "HTTP 401 Unauthorized, expected 200-299")
        );
    }
    assert_eq!(o.asked().len(), 2);
}

/// No new token: nobody knows what the target would have said to it.
#[test]
fn a_401_without_a_new_token_is_not_the_targets_word() {
    let mut requests = 0;
    let answer = |n| match n {
        1 => token_answer(n),
        _ => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into(),
    };
    let o = oauth(answer, move |_| {
        requests += 1;
        requests == 1
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    assert_eq!(check.run(LONG).status, Status::Ok);
    let outcome = check.run(LONG);
    let why = "oauth2: no token from 127.0.0.1: HTTP 503";
    assert_eq!(told(&outcome), (Status::Unknown, why));
}

/// Says when so much time is over, by a run that has no more.
fn after(time: Duration) -> std::sync::mpsc::Receiver<()> {
    let (over, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let url = format!("http://{}/", silent.local_addr().expect("bound"));
        let plugin = MockHost::new(hd_plugin_v1).plugin("http");
        let check = plugin.create(json!({"url": url}).to_string());
        check.expect("fine").run(time);
        over.send(())
    });
    wait
}

/// Token and answer together take longer than the timeout, the answer alone does not.
#[test]
fn the_time_for_a_token_is_not_the_targets() {
    let token_after = after(Duration::from_millis(3000));
    let answer_after = after(Duration::from_millis(5500));
    let o = oauth(
        move |n| {
            let _ = token_after.recv();
            token_answer(n)
        },
        move |_| answer_after.recv().is_ok(),
    );
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    let outcome = check.run(Duration::from_secs(5));
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
}

#[test]
fn no_token_is_not_the_targets_fault() {
    let o = oauth(
        |_| "HTTP/1.1 400 Bad\r\nContent-Length: 26\r\n\r\n{\"error\":\"invalid_client\"}".into(),
        |_| true,
    );
    let outcome = check(o.options("basic"));
    let why = "oauth2: no token from 127.0.0.1: HTTP 400, invalid_client";
    assert_eq!(told(&outcome), (Status::Unknown, why));
    // Those who waited hear the same, and nothing is kept: the next run asks again.
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let both = plugin.create(o.options("basic").to_string()).expect("fine");
    let before = o.asked().len();
    for outcome in both.run_many(20, LONG) {
        assert_eq!(told(&outcome), (Status::Unknown, why));
    }
    assert_eq!(o.asked().len(), before + 1);
    // Silent: UNKNOWN before its time is up, not a timeout of the target.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let mut options = o.options("basic");
    options["oauth2"]["token_url"] =
        format!("http://{}/", silent.local_addr().expect("bound")).into();
    let silent = plugin.create(options.to_string()).expect("fine");
    let outcome = silent.run(Duration::from_millis(300));
    assert_eq!(outcome.status, Status::Unknown, "{outcome:?}");
    assert!(
        outcome
            .message
            .starts_with("oauth2: no token from 127.0.0.1: no answer in"),
        "{outcome:?}"
    );
    let e = plugin.create(
        json!({"url": "http://h/", "bearer": "x", "oauth2": {
        "token_url": "http://h/", "client_id": "x", "client_secret": "y"}})
        .to_string(),
    );
    assert_eq!(
        e.err().expect("refused"),
        "oauth2 beside basic_auth or bearer: only one of them"
    );
}
