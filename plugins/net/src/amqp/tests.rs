//! The plugin on MockHost against Debian's RabbitMQ and against peers that say what it would not.

use super::frame::{self, HELLO, frame, long, short};
use crate::tests::{at, check, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Peer, RabbitMq, until};
use std::io::Write;
use std::net::TcpStream;

fn ask(port: u16, more: &Value) -> Outcome {
    check("amqp", &at(port, more))
}

#[test]
fn the_page_has_all_options() {
    plugin("amqp").assert_documented(include_str!("../../AMQP.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (
            json!({"messages_warn": 1}),
            "messages_warn, messages_crit, consumers_warn, consumers_crit: need `queue`",
        ),
        (
            json!({"user": "ü".repeat(200)}),
            "user: at most 255 bytes, none of them 0",
        ),
        (
            json!({"queue": "ü".repeat(200)}),
            "queue: at most 255 bytes",
        ),
    ] {
        assert_eq!(refused("amqp", &options), text);
    }
}

/// Logs in and sends messages to a queue, all at once.
fn publish(port: u16, queue: &str, count: usize) -> TcpStream {
    let mut all = HELLO.to_vec();
    all.extend(frame(
        0,
        frame::START_OK,
        &frame::start_ok("health", "s3cret"),
    ));
    all.extend(frame(0, frame::TUNE_OK, &[0, 10, 0, 2, 0, 0, 0, 0]));
    let open = [short("shop"), short(""), vec![0]].concat();
    all.extend(frame(0, frame::OPEN, &open));
    all.extend(frame(1, frame::CHANNEL_OPEN, &short("")));
    for _ in 0..count {
        let to = [vec![0, 0], short(""), short(queue), vec![0]].concat();
        all.extend(frame(1, (60, 40), &to));
        // A content of two bytes, without properties.
        all.extend(b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\x02\0\0\xce");
        all.extend(b"\x03\0\x01\0\0\0\x02hi\xce");
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it accepts");
    stream.write_all(&all).expect("it reads");
    stream
}

#[test]
fn rabbitmq_and_its_queues() {
    let Some(server) = RabbitMq::start() else {
        return;
    };
    let as_health = |more: Value| {
        let user = json!({"user": "health", "password": "s3cret", "vhost": "shop"});
        crate::tests::with(user, &more)
    };
    let orders = |more: Value| as_health(crate::tests::with(json!({"queue": "orders"}), &more));
    let _publisher = publish(server.port, "orders", 3);
    until(
        || {
            let o = ask(server.port, &orders(json!({})));
            o.message
                .starts_with("orders: 3 messages, 0 consumers; RabbitMQ 3.")
        },
        || server.log(),
    );
    for (port, options, status, begin) in [
        (server.port, as_health(json!({})), Status::Ok, "RabbitMQ 3."),
        (
            server.secure,
            as_health(json!({"tls": true, "ca_file": server.certs.ca(), "host": "localhost"})),
            Status::Ok,
            "RabbitMQ 3.",
        ),
        (
            server.port,
            orders(json!({"messages_warn": 3, "consumers_warn": 0})),
            Status::Ok,
            "orders: 3 messages, 0 consumers; RabbitMQ 3.",
        ),
        (
            server.port,
            orders(json!({"messages_warn": 2})),
            Status::Warn,
            "3 messages wait in orders",
        ),
        (
            server.port,
            orders(json!({"messages_crit": 2})),
            Status::Critical,
            "3 messages wait in orders",
        ),
        (
            server.port,
            orders(json!({"consumers_crit": 1})),
            Status::Critical,
            "0 consumers listen to orders",
        ),
        (
            server.port,
            as_health(json!({"queue": "none"})),
            Status::Critical,
            "queue: NOT_FOUND - no queue 'none' in vhost 'shop' (404)",
        ),
        (
            server.port,
            orders(json!({"vhost": "none"})),
            Status::Critical,
            "login: the broker refuses: NOT_ALLOWED - ",
        ),
        (
            server.port,
            as_health(json!({"password": "x"})),
            Status::Critical,
            "login: the broker refuses: ACCESS_REFUSED - ",
        ),
        (
            server.port,
            json!({"tls": true, "insecure": true}),
            Status::Critical,
            "tls: ",
        ),
    ] {
        let o = ask(port, &options);
        assert_eq!(
            o.status,
            status,
            "{options}: {}: {}",
            o.message,
            server.log()
        );
        assert!(o.message.starts_with(begin), "{options}: {}", o.message);
    }
    // Nobody hung up on it without a word.
    let log = server.log();
    assert!(
        !log.contains("client unexpectedly closed TCP connection"),
        "{log}"
    );
}

/// A greeting that offers these logins.
fn greeting(mechanisms: &[u8]) -> Vec<u8> {
    let table = [short("product"), vec![b'S'], long(b"Odd")].concat();
    let arguments = [vec![0, 9], long(&table), long(mechanisms), long(b"en_US")].concat();
    frame(0, frame::START, &arguments)
}

#[test]
fn what_a_broker_may_say() {
    let start = greeting(b"AMQPLAIN PLAIN");
    let tune = frame(0, frame::TUNE, b"\0\0\0\x02\0\0\0\x3c");
    let open = frame(0, frame::OPEN_OK, &short(""));
    let channel = frame(1, frame::CHANNEL_OPEN_OK, &long(b""));
    let queue = json!({"queue": "q"});
    let closed = |channel: u16, method, code: u16, text: &str| {
        let arguments = [&code.to_be_bytes()[..], &short(text), &[0; 4]].concat();
        frame(channel, method, &arguments)
    };
    let until_queue = |last: Vec<u8>| {
        // OPEN goes out with TUNE_OK.
        vec![
            vec![],
            start.clone(),
            tune.clone(),
            open.clone(),
            channel.clone(),
            last,
        ]
    };
    for (more, said, status, text) in [
        (
            &json!({}),
            vec![vec![]],
            Status::Critical,
            "login: connection closed",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
            Status::Critical,
            "login: it does not speak AMQP",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"AMQP\0\x01\0\0".to_vec()],
            Status::Critical,
            "login: it speaks another version of AMQP",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x01\0\0\xff\xff\xff\xff".to_vec()],
            Status::Critical,
            "login: it sends a frame of 4294967295 bytes",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x01\0\0\0\0\0\x04\0\x0a\0\x0a\0".to_vec()],
            Status::Critical,
            "login: it sends a frame without its end",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x01\0\0\0\0\0\x02\0\x0a\xce".to_vec()],
            Status::Critical,
            "login: it sends a method that is cut short",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), frame(0, frame::START, &[0, 9, 0, 0])],
            Status::Critical,
            "login: its greeting is cut short",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), greeting(b"EXTERNAL")],
            Status::Critical,
            "login: it takes no login by user and password (PLAIN)",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), start.clone(), open.clone()],
            Status::Critical,
            "login: it sends something else than its limits",
        ),
        (
            &json!({}),
            vec![
                b"".to_vec(),
                start.clone(),
                closed(0, frame::CLOSE, 403, "no\x1b[31m!"),
            ],
            Status::Critical,
            "login: the broker refuses: no[31m! (403)",
        ),
        (
            &queue,
            until_queue(closed(1, frame::CHANNEL_CLOSE, 403, "not yours")),
            Status::Unknown,
            "queue: not yours (403)",
        ),
        (
            &queue,
            until_queue(closed(1, frame::CHANNEL_CLOSE, 405, "locked")),
            Status::Unknown,
            "queue: locked (405)",
        ),
        (
            &queue,
            until_queue(frame(1, frame::DECLARE_OK, &short("q"))),
            Status::Critical,
            "queue: what it says of the queue is cut short",
        ),
        (
            &queue,
            until_queue(b"\x08\0\0\0\0\0\0\xce".to_vec()),
            Status::Critical,
            "queue: connection closed",
        ),
    ] {
        let peer = Peer::saying(&said);
        assert_eq!(told(&ask(peer.addr.port(), more)), (status, text));
    }
}
