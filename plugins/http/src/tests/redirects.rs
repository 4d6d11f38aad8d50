//! Redirects: to their cap, with odd locations, and what goes along with them.

use super::{check, nginx, told};
use healthd_plugin::Status;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::Peer;
use std::io::Write;

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
