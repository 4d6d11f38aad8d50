//! The plugin on MockHost against Debian's websockets for Python and against peers that say what it would not.

use crate::tests::{assert_waits_for_room, check, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Peer, Server, program};
use std::io::{Read, Write};
use std::process::Command;

fn ask(port: u16, more: &Value) -> Outcome {
    let mut options = json!({"host": "127.0.0.1", "port": port, "tls": false});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    check("websocket", &options)
}

#[test]
fn the_page_has_all_options() {
    plugin("websocket").assert_documented(include_str!("../../WEBSOCKET.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"host": "x", "path": "/a b"}),
            "path: \"/a b\" is no path of a URL",
        ),
        (
            json!({"host": "x", "protocol": "a, b"}),
            "protocol: one name",
        ),
        (
            json!({"host": "x", "tls": false, "insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (
            json!({"host": "x", "headers": {"a": "b\r\nc"}}),
            "headers: \"a\" is no name, or its value has control characters",
        ),
    ] {
        assert_eq!(refused("websocket", &options), text);
    }
}

/// What is said to it comes back in pieces; on /bye it closes, on /ping it pings first.
const SERVER: &str = r#"
import asyncio, ssl, sys, websockets
async def serve(ws):
    path = ws.path if hasattr(ws, "path") else ws.request.path
    if path == "/bye":
        await ws.close(4001, "not today")
        return
    if path == "/ping":
        await (await ws.ping())
    async for text in ws:
        await ws.send(["echo: ", text])
async def main():
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
    async with websockets.serve(serve, "127.0.0.1", int(sys.argv[1]), ssl=context, subprotocols=["chat"]):
        print("ready", flush=True)
        await asyncio.Future()
asyncio.run(main())
"#;

fn server(certs: Option<&Certs>) -> Option<Server> {
    let python = program("python3", "python3-websockets")?;
    let there = Command::new(&python)
        .args(["-c", "import websockets"])
        .output();
    if !there.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: websockets for Python is missing (package python3-websockets)");
        return None;
    }
    Some(Server::start(
        |folder, port| {
            let mut command = Command::new(&python);
            command
                .arg(folder.write("server.py", SERVER))
                .arg(port.to_string());
            if let Some(certs) = certs {
                command.arg(certs.certificate()).arg(certs.key());
            }
            command
        },
        |folder, _| std::fs::read_to_string(folder.file("log")).is_ok_and(|l| l.contains("ready")),
    ))
}

#[test]
fn a_server_in_plain_and_inside_of_tls() {
    let Some(plain) = server(None) else {
        return;
    };
    for (more, status, begin) in [
        (json!({}), Status::Ok, "open after "),
        (json!({"path": "/ping"}), Status::Ok, "open after "),
        (json!({"protocol": "chat"}), Status::Ok, "open after "),
        (
            json!({"protocol": "x"}),
            Status::Critical,
            "upgrade: the server does not take the protocol x",
        ),
        (
            json!({"send": "hi", "expect": "^echo: hi$"}),
            Status::Ok,
            "open after ",
        ),
        (
            json!({"path": "/bye"}),
            Status::Critical,
            "ping: the server closes: 4001 not today",
        ),
        (
            json!({"path": "/bye", "ping": false}),
            Status::Ok,
            "open after ",
        ),
        (json!({"latency_crit": "0s"}), Status::Critical, "took "),
    ] {
        let o = ask(plain.port, &more);
        assert_eq!(o.status, status, "{more}: {}: {}", o.message, plain.log());
        assert!(o.message.starts_with(begin), "{more}: {}", o.message);
    }
    let long = "ä".repeat(40_000);
    let o = ask(plain.port, &json!({"send": long, "expect": "^echo: ä+$"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.message.contains(", it says \"echo: ää"), "{}", o.message);
    assert_eq!(o.metric("ping").unit, "s");
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let secure = server(Some(&certs)).unwrap();
    let o = ask(secure.port, &json!({"tls": true, "ca_file": certs.ca()}));
    assert_eq!(o.status, Status::Ok, "{}: {}", o.message, secure.log());
    let o = ask(plain.port, &json!({"tls": true, "ca_file": certs.ca()}));
    assert_eq!(o.status, Status::Critical, "{}", o.message);
}

#[test]
fn what_a_server_may_say() {
    for (said, text) in [
        ("", "upgrade: connection closed"),
        ("SSH-2.0-x\r\n", "upgrade: \"SSH-2.0-x\" is no HTTP"),
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            "upgrade: the server answers \"HTTP/1.1 404 Not Found\" and not 101",
        ),
        (
            "HTTP/1.1 101 X\r\n\r\n",
            "upgrade: the server's 101 is no answer to this key (Sec-WebSocket-Accept)",
        ),
        (
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "upgrade: the server's 101 is no answer to this key (Sec-WebSocket-Accept)",
        ),
    ] {
        let peer = Peer::answering(said);
        assert_eq!(
            told(&ask(peer.addr.port(), &json!({}))),
            (Status::Critical, text)
        );
    }
}

/// A server that opens as it should, then sends these bytes.
fn sending(bytes: &[u8], more: &Value) -> Outcome {
    let bytes = bytes.to_vec();
    let peer = Peer::new(move |mut stream| {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut some = [0; 4096];
            let n = stream.read(&mut some).unwrap_or(0);
            if n == 0 {
                return;
            }
            request.extend_from_slice(&some[..n]);
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let key = key.split("\r\n").next().unwrap();
        let hash = super::digest(
            &super::SHA1_FOR_LEGACY_USE_ONLY,
            format!("{key}{}", super::GUID).as_bytes(),
        );
        let accept = super::base64(hash.as_ref());
        let head = format!(
            "HTTP/1.1 101 X\r\nupgrade: WebSocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let _ = stream.write_all(&[head.as_bytes(), &bytes].concat());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    ask(peer.addr.port(), more)
}

#[test]
fn long_messages_wait_for_their_room() {
    let head = b"\x81\x7f\0\0\0\0\0\x04\x93\xe0";
    let message = [&head[..], &[b'x'; 300_000]].concat();
    let expect = json!({"ping": false, "expect": "^x"});
    assert_waits_for_room(|| sending(&message, &expect));
}

#[test]
fn frames_that_are_none() {
    for (bytes, text) in [
        (&b""[..], "ping: connection closed"),
        (
            b"\x81\x05hel",
            "ping: connection closed in the middle of a message",
        ),
        (
            b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
            "ping: the server sends a frame of 18446744073709551615 bytes",
        ),
        (
            b"\xc1\x00",
            "ping: the server sends a frame with bits that mean nothing here",
        ),
        (
            b"\x81\x80\x00\x00\x00\x00",
            "ping: the server sends a masked frame, which only clients send",
        ),
        (
            b"\x80\x00",
            "ping: the server sends the end of a message without its begin",
        ),
        (
            b"\x01\x00\x81\x00",
            "ping: the server sends a message inside of another one",
        ),
        (
            b"\x09\x00",
            "ping: the server sends a long or divided control frame",
        ),
        (b"\x83\x00", "ping: the server sends a frame of type 3"),
        (b"\x88\x00", "ping: the server closes: no reason"),
        (
            b"\x8a\x01x\x88\x02\x03\xe9",
            "ping: the server closes: 1001",
        ),
    ] {
        assert_eq!(told(&sending(bytes, &json!({}))), (Status::Critical, text));
    }
}
