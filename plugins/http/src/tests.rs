//! The plugin on MockHost against a real nginx and against peers that misbehave.

mod beside;
mod bodies;
mod certificates;
mod keep_alive;
mod oauth;
mod redirects;
mod tls;
mod turns;
mod ways;

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Nginx, Peer, free_port};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

const LOCATIONS: &str = r#"
    location /ok { add_header X-Test "a b"; return 200 "hello world\n"; }
    location /json { return 200 '{"status": "up", "n": [1, 2]}'; }
    location /requests { return 200 '{"requests": $connection_requests}'; }
    location /away { return 302 /requests; }
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
