//! Bodies as servers send them, and HTTP/2 by the real nginx.

use super::{check, told};
use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::MockHost;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Nginx, Peer, Process, accepts, free_port, until};
use std::io::{Read, Write};
use std::time::Duration;

fn page(headers: &str, body: &[u8]) -> Peer {
    let n = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\nContent-Length: {n}\r\n\r\n");
    Peer::answering([head.as_bytes(), body].concat())
}

fn ask(peer: &Peer, mut options: Value) -> (Status, String) {
    options["url"] = format!("http://{}", peer.addr).into();
    let o = check(options);
    (o.status, o.message)
}

const TEXT: &[u8] = br#"{"status": "up", "text": "Welcome"}"#;

/// RFC 1951 to 1952 by flate2, RFC 8878 by ruzstd, RFC 7932 by hand: one uncompressed block.
fn packed(name: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    let all = |mut reader: Box<dyn Read + '_>| {
        let mut out = Vec::new();
        reader.read_to_end(&mut out).expect("packed");
        out
    };
    match name {
        "gzip" | "x-gzip" => all(Box::new(flate2::read::GzEncoder::new(text, level))),
        "deflate" => all(Box::new(flate2::read::ZlibEncoder::new(text, level))),
        "raw" => all(Box::new(flate2::read::DeflateEncoder::new(text, level))),
        "zstd" => {
            ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
        }
        "br" => {
            // WBITS 16 is one bit; then ISLAST 0, MNIBBLES 4, MLEN - 1, ISUNCOMPRESSED 1.
            let head = (text.len() as u32 - 1) << 4 | 1 << 20;
            let mut out = head.to_le_bytes()[..3].to_vec();
            out.extend(text);
            out.push(3);
            out
        }
        _ => text.into(),
    }
}

#[test]
fn packed_bodies_are_unpacked() {
    for (coding, how) in [
        ("gzip", "gzip"),
        ("X-GZip", "gzip"),
        ("deflate", "deflate"),
        ("deflate", "raw"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("identity", ""),
    ] {
        let peer = page(&format!("Content-Encoding: {coding}"), &packed(how, TEXT));
        let good = ask(
            &peer,
            json!({"json_path": "$.status", "json_equals": "up", "body_contains": "Welcome"}),
        );
        assert_eq!(good.0, Status::Ok, "{coding}: {}", good.1);
        let bad = ask(
            &peer,
            json!({"json_path": "$.status", "json_equals": "down"}),
        );
        assert_eq!(
            bad,
            (Status::Critical, "$.status is \"up\", not \"down\"".into())
        );
    }
    let twice = packed("gzip", &packed("br", TEXT));
    let peer = page("Content-Encoding: br\r\nContent-Encoding: gzip", &twice);
    assert_eq!(
        ask(&peer, json!({"body_contains": "Welcome"})).0,
        Status::Ok
    );
}

/// What is longer than 64 KiB is looked at as it comes, if only texts are looked for in it.
#[test]
fn long_bodies_are_judged_as_short_ones() {
    let mut text = vec![b'.'; 300_000];
    text.extend(b"Welcome");
    let chunked: Vec<u8> = text
        .chunks(7_000)
        .flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();
    let chunked = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        &chunked[..],
    ];
    let peers = [
        page("X-A: b", &text),
        page("Content-Encoding: gzip", &packed("gzip", &text)),
        page(
            "Content-Encoding: zstd, gzip",
            &packed("gzip", &packed("zstd", &text)),
        ),
        Peer::answering(chunked.concat()),
    ];
    let cut = "body does not contain \"Welcome\" in the part that was read (max_body)";
    for peer in &peers {
        for (options, status, why) in [
            (json!({"body_contains": "Welcome"}), Status::Ok, ""),
            (
                json!({"body_contains": ".Welcome", "body_not_contains": "Welcomes"}),
                Status::Ok,
                "",
            ),
            (
                json!({"body_contains": "welcome"}),
                Status::Critical,
                "body does not contain \"welcome\"",
            ),
            (
                json!({"body_contains": "Welcome", "body_not_contains": "....."}),
                Status::Critical,
                "body contains \".....\"",
            ),
            (
                json!({"body_contains": "Welcome", "max_body": 200_000}),
                Status::Critical,
                cut,
            ),
            (
                json!({"body_contains": "Welcome", "body_regex": "Welcome$"}),
                Status::Ok,
                "",
            ),
        ] {
            let said = ask(peer, options.clone());
            assert_eq!(said.0, status, "{options}: {}", said.1);
            assert!(status == Status::Ok || said.1 == why, "{}", said.1);
        }
    }
}

/// pzstd and the like pack in pieces, and write frames between them that hold something else.
#[test]
fn zstd_in_several_frames() {
    let other = b"\x5A\x2A\x4D\x18\x03\0\0\0abc";
    let (first, second) = TEXT.split_at(20);
    let pieces = [
        &other[..],
        &packed("zstd", first),
        other,
        &packed("zstd", second),
        other,
    ];
    let peer = page("Content-Encoding: zstd", &pieces.concat());
    let whole = json!({"json_path": "$.text", "json_equals": "Welcome"});
    let said = ask(&peer, whole);
    assert_eq!(said.0, Status::Ok, "{}", said.1);
}

#[test]
fn what_cannot_be_unpacked_says_so() {
    for (headers, body, status, why) in [
        (
            "Content-Encoding: gzip",
            TEXT,
            Status::Critical,
            "body: cannot be read as gzip",
        ),
        (
            "Content-Encoding: zstd",
            TEXT,
            Status::Critical,
            "body: cannot be read as zstd",
        ),
        (
            "Content-Encoding: compress",
            b"\x1f\x9d\x90\xff\xfe",
            Status::Unknown,
            "body: the coding \"compress\" cannot be read here",
        ),
        (
            "Content-Encoding: gzip, gzip, gzip, gzip, gzip",
            TEXT,
            Status::Critical,
            "body: 5 content codings",
        ),
        (
            "Content-Encoding: zstd",
            b"\x28\xB5\x2F\xFD\x00\xFF",
            Status::Critical,
            "body: zstd with a window of",
        ),
    ] {
        let peer = page(headers, body);
        let said = ask(&peer, json!({"body_contains": "Welcome"}));
        assert_eq!(said.0, status, "{}", said.1);
        assert!(said.1.starts_with(why), "{}", said.1);
        // Whoever looks at the head alone does not care.
        assert_eq!(ask(&peer, json!({})).0, Status::Ok);
    }
    // A name that is no coding, and a server that fills up what it sends.
    let peer = page("Content-Encoding: utf-8", TEXT);
    assert_eq!(
        ask(&peer, json!({"body_contains": "Welcome"})).0,
        Status::Ok
    );
    for behind in [&b"\0\0\0\0"[..], b"junk", &packed("gzip", b" again")] {
        let peer = page(
            "Content-Encoding: gzip",
            &[&packed("gzip", TEXT)[..], behind].concat(),
        );
        let said = ask(&peer, json!({"body_contains": "Welcome"}));
        assert_eq!(said.0, Status::Ok, "{behind:?}: {}", said.1);
    }
    // A bomb: a thousand times as large as it came.
    let bomb = packed("gzip", &vec![b' '; 4 << 20]);
    let peer = page("Content-Encoding: gzip", &bomb);
    let said = ask(
        &peer,
        json!({"body_contains": "Welcome", "max_body": 100_000}),
    );
    let cut = "body does not contain \"Welcome\" in the part that was read (max_body)";
    assert_eq!(said, (Status::Critical, cut.into()));
    // Cut where the packed bytes were.
    let noise: Vec<u8> = (0..40_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let peer = page(
        "Content-Encoding: gzip",
        &packed("gzip", &[b"Welcome", &noise[..]].concat()),
    );
    assert_eq!(
        ask(
            &peer,
            json!({"body_contains": "Welcome", "max_body": 10_000})
        )
        .0,
        Status::Ok
    );
}

#[test]
fn charsets_and_marks() {
    let word = "Verf\u{fc}gbar";
    let utf16: Vec<u8> = word.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (headers, body) in [
        (
            "Content-Type: text/html; charset=iso-8859-1",
            b"Verf\xfcgbar".to_vec(),
        ),
        ("Content-Type: text/html; charset=utf-16be", utf16),
        ("X: y", word.as_bytes().to_vec()),
        ("X: y", b"Verf\xfcgbar".to_vec()),
    ] {
        let said = ask(&page(headers, &body), json!({"body_contains": word}));
        assert_eq!(said.0, Status::Ok, "{headers}: {}", said.1);
    }
    let marked = page("X: y", b"\xEF\xBB\xBF{\"a\": 1}");
    assert_eq!(
        ask(&marked, json!({"json_path": "$.a", "json_equals": 1})).0,
        Status::Ok
    );
}

#[test]
fn transfer_codings_besides_chunked() {
    let chunked = |body: &[u8]| {
        let size = format!("{:x}\r\n", body.len());
        [size.as_bytes(), body, b"\r\n0\r\nX-Trailer: 1\r\n\r\n"].concat()
    };
    let gzip = packed("gzip", TEXT);
    for (head, body) in [
        ("Transfer-Encoding: gzip, chunked", chunked(&gzip)),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            chunked(&gzip),
        ),
        ("Transfer-Encoding: gzip", gzip.clone()),
        (
            "Content-Encoding: gzip\r\nTransfer-Encoding: Chunked",
            chunked(&gzip),
        ),
    ] {
        let answer = [
            format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(),
            &body,
        ]
        .concat();
        let said = ask(
            &Peer::answering(answer),
            json!({"json_path": "$.status", "json_equals": "up"}),
        );
        assert_eq!(said.0, Status::Ok, "{head}: {}", said.1);
    }
}

/// "identity" is no coding: the length counts, and a server that keeps the connection open is not waited for.
#[test]
fn a_body_with_a_length_ends_though_the_server_stays() {
    for head in [
        "Transfer-Encoding: identity\r\nContent-Length: 2",
        "Content-Length: 2\r\nTransfer-Encoding:",
    ] {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = std::sync::Mutex::new(ended);
        let peer = Peer::new(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\nok");
            let _ = ended.lock().map(|ended| ended.recv());
        });
        let said = ask(&peer, json!({"body_regex": "^ok$"}));
        drop(end);
        assert_eq!(said.0, Status::Ok, "{head}: {}", said.1);
    }
}

#[test]
fn heads_of_the_real_web() {
    for head in [
        "X-Note: first\r\n second",
        "Set-Cookie: ___utmvc=a\u{1}b; path=/",
        "Set-Cookie : a=b",
        "a line without a colon",
    ] {
        let said = ask(&page(head, b"ok"), json!({"body_contains": "ok"}));
        assert_eq!(said.0, Status::Ok, "{head}: {}", said.1);
    }
    let many = "X-Many: 1\r\n".repeat(1000);
    let peer = page(&format!("{many}Via: a\r\nvia: b"), b"ok");
    assert_eq!(
        ask(&peer, json!({"expect_headers": {"Via": "^b$"}})).0,
        Status::Ok
    );
    let none = ask(&peer, json!({"expect_headers": {"Via": "^c$"}}));
    assert_eq!(
        none,
        (
            Status::Critical,
            "header Via: \"b\" does not match ^c$".into()
        )
    );
    let any = ask(&peer, json!({"expect_not_headers": {"VIA": "^a$"}}));
    assert_eq!(
        any,
        (Status::Critical, "header VIA: \"a\" matches ^a$".into())
    );
}

#[test]
fn a_body_that_never_ends_is_none_of_the_heads_business() {
    for head in ["X: y", "Transfer-Encoding: chunked"] {
        let start = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n");
        let peer = Peer::new(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(start.as_bytes());
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let options = json!({"url": format!("http://{}", peer.addr)});
        let plugin = MockHost::new(hd_plugin_v1).plugin("http");
        let run = |options: &Value| {
            let check = plugin.create(options.to_string()).expect("good options");
            check.run(Duration::from_secs(2))
        };
        let o = run(&options);
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        let mut looks = options.clone();
        looks["body_contains"] = "bye".into();
        let o = run(&looks);
        assert_eq!(o.message, "timeout after 2s in phase transfer");
    }
    // One of a known length that does not come is broken.
    let peer = Peer::new(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(json!({"url": format!("http://{}", peer.addr)}).to_string());
    let o = check.expect("good options").run(Duration::from_secs(2));
    assert_eq!(o.message, "timeout after 2s in phase transfer");
}

#[test]
fn nobody_waits_for_the_body_of_a_redirect_that_is_followed() {
    let peer = Peer::new(|mut stream| {
        let mut asked = [0; 4096];
        let n = stream.read(&mut asked).unwrap_or(0);
        if asked[..n].starts_with(b"GET /end ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye");
            return;
        }
        // Neither a length nor an end.
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /end\r\n\r\nhello");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (status, message) = ask(&peer, json!({"body_contains": "bye"}));
    assert_eq!(status, Status::Ok, "{message}");
}

/// What takes long to judge has a thread of its own, and the verdict is the same.
#[test]
fn large_bodies_are_judged_as_small_ones() {
    let filler = "status health ".repeat(20_000);
    let body = json!({"n": 7, "text": filler, "state": "up"}).to_string();
    let peer = page("X-A: b", body.as_bytes());
    let rules =
        json!([{"path": "$.n", "crit": "5", "metric": "n"}, {"path": "$.state", "equals": "up"}]);
    for (options, status, why) in [
        (json!({"body_contains": "\"up\""}), Status::Ok, "HTTP 200"),
        (
            json!({"body_regex": "\"(ok|up)\".*(status|health) \"}$", "expect_headers": {"x-a": "b"}}),
            Status::Ok,
            "HTTP 200",
        ),
        (
            json!({"body_not_regex": "health status"}),
            Status::Critical,
            "body matches health status",
        ),
        (
            json!({"json_path": "$.state", "json_equals": "down"}),
            Status::Critical,
            "$.state is \"up\", not \"down\"",
        ),
        (
            json!({ "json": rules }),
            Status::Critical,
            "$.n is 7, outside of 5",
        ),
        (
            json!({"body_contains": "x", "status": [404]}),
            Status::Critical,
            "HTTP 200 OK, expected 404",
        ),
        (
            json!({"body_regex": "(((ab?){1,20}){1,20}){1,20}c"}),
            Status::Unknown,
            "body_regex: the pattern is too large for a text of ",
        ),
    ] {
        let (told, message) = ask(&peer, options.clone());
        assert_eq!(told, status, "{options}: {message}");
        assert!(message.starts_with(why), "{options}: {message}");
    }
}

/// A server that never pauses is one of many: after so many reads the others have their turn.
#[test]
fn a_large_answer_is_read_in_several_steps() {
    let peer = page("X-A: b", &vec![b'x'; 1 << 20]);
    let o = check(json!({"url": format!("http://{}", peer.addr), "body_contains": "xx"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.steps >= 5, "{}", o.steps);
}

#[test]
fn numbers_in_json() {
    let peer = page("X: y", br#"{"queue": 12, "load": "0.5", "none": null}"#);
    let rule = |rule: Value| ask(&peer, json!({"json": [rule]}));
    assert_eq!(
        rule(json!({"path": "$.queue", "below": 13, "crit": "20"})).0,
        Status::Ok
    );
    assert_eq!(
        rule(json!({"path": "$.queue", "warn": "10", "crit": "20"})),
        (Status::Warn, "$.queue is 12, outside of 10".into())
    );
    assert_eq!(
        rule(json!({"path": "$.load", "crit": "1:"})),
        (Status::Critical, "$.load is 0.5, outside of 1:".into())
    );
    assert_eq!(
        rule(json!({"path": "$.none", "crit": "1"})),
        (
            Status::Critical,
            "$.none is null, which is no number".into()
        )
    );
    let o = check(
        json!({"url": format!("http://{}", peer.addr), "json": [{"path": "$.queue", "metric": "queue"}]}),
    );
    assert_eq!(o.metric("queue").value, 12.0);
}

#[test]
fn turned_around() {
    let peer = page("X: y", b"hello");
    let (status, why) = ask(&peer, json!({"invert": true}));
    assert_eq!(status, Status::Critical);
    assert!(why.ends_with(", which must not be (invert)"), "{why}");
    let (status, why) = ask(&peer, json!({"invert": true, "body_contains": "bye"}));
    assert_eq!(
        (status, &*why),
        (
            Status::Ok,
            "body does not contain \"bye\", as it must be (invert)"
        )
    );
    let nobody =
        json!({"url": format!("http://127.0.0.1:{}", free_port("127.0.0.1")), "invert": true});
    let o = check(nobody);
    assert_eq!(
        told(&o),
        (
            Status::Ok,
            "connect: connection refused, as it must be (invert)"
        )
    );
    // Silence too, which the host would call critical.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = silent.local_addr().expect("bound");
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(json!({"url": format!("http://{at}"), "invert": true}).to_string());
    let o = check.expect("good options").run(Duration::from_millis(300));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
}

#[test]
fn http2_with_and_without_tls() {
    if !Nginx::installed() {
        return;
    }
    let certs = Certs::new();
    let (pem, key) = (certs.certificate(), certs.key());
    let (plain, tls) = (free_port("127.0.0.1"), free_port("127.0.0.1"));
    let answers = "location /ok { add_header X-Test a; add_header X-Test b; return 200 \"$server_protocol $http_x_a $http_cookie\"; }
        location /post { return 200 \"$request_method $content_length\"; }
        location /go { add_header Set-Cookie sid=7 always; return 302 /ok; }";
    let more = format!(
        "{answers} }} server {{ listen 127.0.0.1:{plain} http2; listen 127.0.0.1:{tls} ssl http2;
         ssl_certificate {}; ssl_certificate_key {}; {answers}",
        pem.display(),
        key.display()
    );
    let nginx = Nginx::start_with(&more, certs, &pem, &key);
    let ask = |url: String, mut options: Value| {
        options["url"] = url.into();
        options["ca_file"] = nginx.certs.ca().display().to_string().into();
        let o = check(options.clone());
        assert_eq!(o.status, Status::Ok, "{options}: {}", o.message);
        o
    };
    let at = |path: &str| format!("https://127.0.0.1:{tls}{path}");
    let o = ask(
        at("/ok"),
        json!({"body_regex": "^HTTP/2.0 v ", "headers": {"X-A": "v"}, "expect_headers": {"x-test": "^b$"}}),
    );
    assert!(o.metric("certificate").value > 29.0);
    assert!(o.metric("tls").value > 0.0 && o.metric("ttfb").value > 0.0);
    ask(
        at("/ok"),
        json!({"body_regex": "^HTTP/1.1", "http_version": "1.1"}),
    );
    ask(
        at("/ok"),
        json!({"body_regex": "^HTTP/2.0", "http_version": "2"}),
    );
    ask(at("/go"), json!({"body_regex": "^HTTP/2.0  sid=7$"}));
    ask(
        at("/post"),
        json!({"body_regex": "^POST 5$", "method": "POST", "body": "12345"}),
    );
    ask(at("/ok"), json!({"method": "HEAD"}));
    // Larger than any window of flow control.
    ask(
        at("/post"),
        json!({"body_regex": "^POST 300000$", "method": "POST", "body": "x".repeat(300_000)}),
    );
    let prior = format!("http://127.0.0.1:{plain}/ok");
    ask(
        prior,
        json!({"body_regex": "^HTTP/2.0", "http_version": "2"}),
    );
    let one = check(json!({"url": nginx.url("/ok"), "http_version": "2"}));
    assert_eq!(
        told(&one),
        (
            Status::Critical,
            "ttfb: the server does not speak HTTP/2, or breaks its rules"
        )
    );
    let one = check(
        json!({"url": format!("https://127.0.0.1:{}/ok", nginx.port_tls), "insecure": true, "http_version": "2"}),
    );
    assert_eq!(one.status, Status::Critical, "{}", one.message);
}

/// One frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short one");
    let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

/// Servers that speak HTTP/2 in odd ways, over plain TCP: frames are what it is about.
#[test]
fn odd_frames_of_http2() {
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const GOODBYE: u8 = 7;
    const END: u8 = 1;
    const END_OF_HEAD: u8 = 4;
    // Of HPACK's static table: `:status: 200`, and Content-Length with a value.
    const STATUS_200: u8 = 0x88;
    let head = |more: &[u8], flags| {
        let payload = [&[STATUS_200][..], more].concat();
        frame(HEADERS, END_OF_HEAD | flags, 1, &payload)
    };
    let length = |text: &str| {
        let n = text.len() as u8;
        [&[0x0F, 0x0D, n][..], text.as_bytes()].concat()
    };
    let early = frame(HEADERS, END_OF_HEAD, 1, &[0x08, 3, b'1', b'0', b'3']);
    let data = |text: &[u8], flags| frame(0, flags, 1, text);
    let reset = |code: u8| frame(RESET, 0, 1, &[0, 0, 0, code]);
    let goodbye = |last: u8, code: u8| frame(GOODBYE, 0, 0, &[0, 0, 0, last, 0, 0, 0, code]);
    let ok = |body: &[u8]| [head(&[], 0), data(body, END)].concat();
    for (name, frames, expected) in [
        ("plain", ok(b"ok"), Status::Ok),
        ("early hints", [early, ok(b"ok")].concat(), Status::Ok),
        // The server has answered before it has read all, and wants no more.
        (
            "reset after the end",
            [ok(b"ok"), reset(0)].concat(),
            Status::Ok,
        ),
        (
            "goodbye after the end",
            [ok(b"ok"), goodbye(1, 0)].concat(),
            Status::Ok,
        ),
        (
            "goodbye before",
            [goodbye(1, 0), ok(b"ok")].concat(),
            Status::Ok,
        ),
        (
            "trailers",
            [
                head(&[], 0),
                data(b"ok", 0),
                frame(HEADERS, END_OF_HEAD | END, 1, &[0, 1, b'x', 1, b'y']),
            ]
            .concat(),
            Status::Ok,
        ),
        (
            "an unknown frame",
            [frame(0xEE, 0xFF, 1, b"?"), ok(b"ok")].concat(),
            Status::Ok,
        ),
        ("reset", reset(2), Status::Critical),
        ("goodbye", goodbye(0, 11), Status::Critical),
        (
            "a wrong length",
            [head(&length("5"), 0), data(b"ok", END)].concat(),
            Status::Critical,
        ),
        (
            "no end",
            [head(&[], 0), data(b"ok", 0)].concat(),
            Status::Critical,
        ),
    ] {
        let peer = Peer::new(move |mut stream| {
            let settings = frame(4, 0, 0, &[]);
            let _ = stream.write_all(&settings);
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            // Its preface, and a HEADERS frame somewhere behind.
            while !read.windows(3).any(|w| w == [HEADERS, 5, 0]) {
                match stream.read(&mut buffer) {
                    Ok(n @ 1..) => read.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
            let _ = stream.write_all(&[frame(4, 1, 0, &[]), frames.clone()].concat());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            while matches!(stream.read(&mut buffer), Ok(1..)) {}
        });
        let (status, message) = ask(&peer, json!({"http_version": "2", "body_regex": "^ok$"}));
        assert_eq!(status, expected, "{name}: {message}");
    }
}

/// A server that ends a stream because it wants HTTP/1.1 for this (client certificates on demand, NTLM) is asked again.
#[test]
fn what_cannot_be_had_over_http2_is_asked_for_over_http1() {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let port = free_port("127.0.0.1");
    let mut server = std::process::Command::new("openssl");
    server
        .args(["s_server", "-quiet", "-alpn", "h2,http/1.1", "-accept"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("-cert")
        .arg(certs.certificate())
        .arg("-key")
        .arg(certs.key())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut server = Process(server.spawn().expect("openssl is there"));
    let mut to = server.0.stdin.take().expect("a pipe");
    let mut from = server.0.stdout.take().expect("a pipe");
    until(|| accepts(port), || "openssl does not listen".into());
    // What it hears it prints, what it reads it says.
    std::thread::spawn(move || {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        let mut refused = false;
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..n]);
            if !refused && heard.windows(3).any(|w| w == [1, 5, 0]) {
                refused = true;
                let wants_1_1 = frame(3, 0, 1, &[0, 0, 0, 0x0D]);
                let _ = to.write_all(&[frame(4, 0, 0, &[]), wants_1_1].concat());
                let _ = to.flush();
                heard.clear();
            } else if refused && heard.ends_with(b"\r\n\r\n") {
                let _ = to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                let _ = to.flush();
            }
        }
    });
    let o = check(json!({
        "url": format!("https://localhost:{port}/"), "ca_file": certs.ca().display().to_string(), "body_regex": "^ok$"
    }));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.metric("total").value >= o.metric("ttfb").value);
}
