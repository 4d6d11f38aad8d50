//! What an answer means: taken, not taken, or nobody knows.

use super::{of, server};
use crate::tests::{deliver, message, storm};
use crate::webhook::answer::seconds;
use healthd_plugin::Status;
use healthd_plugin::serde_json::json;
use healthd_testing::Nginx;

#[test]
fn what_an_answer_means() {
    for (answer, status, text, retry_after) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Status::Ok,
            "HTTP 200 ok",
            None,
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            Status::Ok,
            "HTTP 204",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Status::Ok,
            "HTTP 200 ok",
            None,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno_service",
            Status::Critical,
            "HTTP 404 no_service",
            None,
        ),
        (
            "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n",
            Status::Critical,
            "HTTP 400",
            None,
        ),
        (
            "HTTP/1.1 429 Slow\r\nRetry-After: 47\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 429",
            Some(47.0),
        ),
        (
            "HTTP/1.1 429 Slow\r\nContent-Length: 20\r\n\r\n{\"retry_after\": 1.5}",
            Status::Unknown,
            "HTTP 429 {\"retry_after\": 1.5}",
            Some(2.0),
        ),
        (
            "HTTP/1.1 503 Later\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 503",
            Some(9.0),
        ),
        (
            "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 408",
            None,
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://u:p@new.example/?token=x\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 302: it has moved to https://***@new.example/; write that URL",
            None,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            Status::Unknown,
            "HTTP 304",
            None,
        ),
        (
            "nonsense\r\n",
            Status::Unknown,
            "answer: the answer is not HTTP",
            None,
        ),
        (
            "",
            Status::Unknown,
            "answer: connection closed without an answer",
            None,
        ),
        // Its head has said enough.
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",
            Status::Ok,
            "HTTP 200 ok",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\na\r\nb\x1b[1m",
            Status::Ok,
            "HTTP 200 a  b [1m",
            None,
        ),
    ] {
        let (peer, _) = server(answer);
        let o = deliver(
            "webhook",
            &json!({"url": format!("http://{}/x", peer.addr)}),
            &message("problem"),
        );
        assert_eq!((o.status, o.message.as_str()), (status, text), "{answer:?}");
        let said = o
            .metrics
            .iter()
            .find(|m| m.name == "retry_after")
            .map(|m| m.value);
        assert_eq!(said, retry_after, "{answer:?}");
    }
    // Nothing has left.
    let o = deliver(
        "webhook",
        &json!({"url": "http://127.0.0.1:1/"}),
        &message("problem"),
    );
    assert_eq!(
        (o.status, o.message.starts_with("connect: ")),
        (Status::Critical, true),
        "{}",
        o.message
    );
}

/// Each of these has been seen with a status of 200.
#[test]
fn what_a_service_has_not_taken_it_may_say_with_200() {
    for (preset, body, status, text) in [
        (
            "slack",
            r#"{"ok":false,"error":"channel_not_found"}"#,
            Status::Critical,
            "HTTP 200 channel_not_found",
        ),
        (
            "slack",
            r#"{"ok":true,"ts":"1503435956.000247","message":{"text":"x"}}"#,
            Status::Ok,
            "HTTP 200 1503435956.000247",
        ),
        ("slack", "ok", Status::Ok, "HTTP 200 ok"),
        (
            "telegram",
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            Status::Critical,
            "HTTP 200 Bad Request: chat not found",
        ),
        (
            "teams",
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429",
            Status::Critical,
            "HTTP 200 Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429",
        ),
        ("teams", "1", Status::Ok, "HTTP 200 1"),
        (
            "pushover",
            r#"{"status":0,"request":"r","errors":["user identifier is invalid"]}"#,
            Status::Critical,
            "HTTP 200 [\"user identifier is invalid\"]",
        ),
        (
            "pushover",
            r#"{"status":1,"request":"647d2300"}"#,
            Status::Ok,
            "HTTP 200 647d2300",
        ),
        // Nobody knows what it means elsewhere.
        (
            "generic",
            r#"{"ok":false}"#,
            Status::Ok,
            r#"HTTP 200 {"ok":false}"#,
        ),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (peer, _) = server(answer.leak());
        let mut options = of(preset);
        options["url"] = format!("http://{}/hook", peer.addr).into();
        let o = deliver("webhook", &options, &message("problem"));
        assert_eq!((o.status, o.message.as_str()), (status, text), "{preset}");
    }
}

/// A real nginx, which takes no more than so much.
#[test]
fn what_is_too_large_is_said_of_the_first_checks() {
    if !Nginx::installed() {
        return;
    }
    let nginx = Nginx::start(
        "location /x { client_max_body_size 16k; return 200 $content_length; } location /no { client_max_body_size 1; return 200; }",
    );
    let send = |path: &str, count: usize| {
        let options = json!({ "url": nginx.url(path) });
        let o = deliver("webhook", &options, &storm("problem", count));
        (o.status, o.message)
    };
    let (status, said) = send("/x", 500);
    assert_eq!(status, Status::Ok, "{said}");
    let length: usize = said["HTTP 200 ".len()..].parse().expect("a length");
    assert!((2_000..16_000).contains(&length), "{said}");
    let (status, said) = send("/no", 500);
    assert_eq!(status, Status::Critical, "{said}");
    assert!(said.starts_with("HTTP 413 "), "{said}");
}

#[test]
fn retry_after_is_a_number_or_a_date() {
    let now: jiff::Timestamp = "2026-11-29T02:00:00Z".parse().expect("a time");
    assert_eq!(seconds("120", now), Some(120));
    assert_eq!(seconds("Sun, 29 Nov 2026 02:01:30 GMT", now), Some(90));
    assert_eq!(seconds("Sun, 29 Nov 2026 01:00:00 GMT", now), Some(0));
    assert_eq!(seconds("Sunday, 29-Nov-26 02:01:30 GMT", now), Some(90));
    assert_eq!(seconds("Sun Nov 29 02:01:30 2026", now), Some(90));
    assert_eq!(seconds("soon", now), None);
}
