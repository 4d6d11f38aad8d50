//! The plugin on MockHost against Debian's memcached and against peers that say what it would not.

use crate::tests::{LONG, at, check, plugin, told};
use healthd_plugin::Status;
use healthd_plugin::serde_json::json;
use healthd_testing::{Peer, Server, accepts, program, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

#[test]
fn the_page_has_all_options() {
    plugin("memcached").assert_documented(include_str!("../../MEMCACHED.md"));
}

/// Says something, and reads until the end of the answer.
fn tell(stream: &mut TcpStream, text: &str, end: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let mut some = [0; 4096];
        let n = stream.read(&mut some).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&some[..n]);
    }
}

fn memcached(arguments: &[&str]) -> Option<Server> {
    let memcached = program("memcached", "memcached")?;
    Some(Server::start(
        |_, port| {
            let mut command = Command::new(&memcached);
            command.args([
                "-u",
                "nobody",
                "-l",
                "127.0.0.1",
                "-U",
                "0",
                "-p",
                &port.to_string(),
            ]);
            command.args(arguments);
            command
        },
        |_, port| accepts(port),
    ))
}

#[test]
fn a_server_its_hits_and_evictions() {
    let Some(server) = memcached(&["-m", "4", "-c", "100"]) else {
        return;
    };
    let o = check("memcached", &at(server.port, &json!({})));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(
        o.message.starts_with("version 1.") && o.message.contains(", 0 items, "),
        "{}",
        o.message
    );
    assert_eq!(
        (
            o.metric("memory").unit.as_str(),
            o.metric("total").unit.as_str()
        ),
        ("By", "s")
    );
    let o = check(
        "memcached",
        &at(server.port, &json!({"connections_crit": "0%"})),
    );
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message.contains(" of 100 connections in use ("),
        "{}",
        o.message
    );
    let options = at(
        server.port,
        &json!({"hits_warn": "60%", "evictions_crit": 0.0}),
    );
    let judge = plugin("memcached").create(options.to_string()).unwrap();
    assert_eq!(judge.run(LONG).status, Status::Ok);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    tell(&mut stream, "set a 0 0 1\r\nx\r\n", "STORED\r\n");
    tell(&mut stream, "get a\r\n", "END\r\n");
    tell(&mut stream, "get b\r\n", "END\r\n");
    let o = judge.run(LONG);
    assert_eq!(o.status, Status::Warn, "{}", o.message);
    assert!(
        o.message
            .starts_with("50.0 % of what is asked for is there, below 60 %; version"),
        "{}",
        o.message
    );
    // More than fits.
    let big = "y".repeat(200_000);
    let mut n = 0;
    until(
        || {
            for _ in 0..100 {
                n += 1;
                let text = format!("set k{n} 0 0 {}\r\n{big}\r\n", big.len());
                tell(&mut stream, &text, "\r\n");
            }
            let o = judge.run(LONG);
            o.status == Status::Critical && o.message.contains(" evictions a second, above 0; ")
        },
        || server.log(),
    );
}

#[test]
fn what_a_server_may_say() {
    for (said, text) in [
        ("", "stats: connection closed"),
        ("ERROR\r\n", "stats: the server says ERROR"),
        (
            "SERVER_ERROR out of memory\r\n",
            "stats: the server says SERVER_ERROR out of memory",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n",
            "stats: \"HTTP/1.1 400 Bad Request\" is nothing that memcached says",
        ),
        (
            "STAT a 1\r\nSTAT",
            "stats: connection closed in the middle of a line",
        ),
        (
            "STAT a 1\r\nEN\r\n",
            "stats: \"EN\" is nothing that memcached says",
        ),
    ] {
        let peer = Peer::answering(said);
        let o = check("memcached", &at(peer.addr.port(), &json!({})));
        assert_eq!(told(&o), (Status::Critical, text));
    }
    let peer = Peer::answering("STAT a 1\r\n".repeat(2000));
    let o = check("memcached", &at(peer.addr.port(), &json!({})));
    assert_eq!(
        told(&o),
        (Status::Critical, "stats: an answer of more than 1000 lines")
    );
    let peer = Peer::answering("STAT accepting_conns 0\r\nSTAT version 1\r\nEND\r\n");
    let o = check("memcached", &at(peer.addr.port(), &json!({})));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "it accepts no more connections; version 1, 0 items, 0 B in use"
        )
    );
}
