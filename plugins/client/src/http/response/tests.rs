use super::*;

const ALL: Wanted = Wanted {
    is_head_request: false,
    headers: true,
    body: true,
    max_body: 1 << 20,
};

/// Feeds `bytes` in pieces of `size`, then the end of file.
fn read_in(bytes: &[u8], size: usize, wanted: Wanted) -> Result<Response, Malformed> {
    let mut r = Response::new(wanted);
    for piece in bytes.chunks(size.max(1)) {
        r.feed(piece)?;
        if r.is_done() {
            return Ok(r);
        }
    }
    r.end()?;
    Ok(r)
}

/// Whatever the pieces, the result is the same.
fn read_with(bytes: &[u8], wanted: Wanted) -> Result<Response, Malformed> {
    let whole = read_in(bytes, bytes.len(), wanted);
    for size in 1..=bytes.len().min(40) {
        let parts = read_in(bytes, size, wanted);
        match (&whole, &parts) {
            (Ok(a), Ok(b)) => assert_eq!(
                (a.status, &a.body, a.body_bytes, a.cut, &a.headers),
                (b.status, &b.body, b.body_bytes, b.cut, &b.headers),
                "in pieces of {size}"
            ),
            (a, b) => assert_eq!(a.as_ref().err(), b.as_ref().err(), "in pieces of {size}"),
        }
    }
    whole
}

fn read(text: &str) -> Result<Response, Malformed> {
    read_with(text.as_bytes(), ALL)
}

fn body(text: &str) -> String {
    String::from_utf8(read(text).unwrap().body).unwrap()
}

#[test]
fn three_kinds_of_body() {
    assert_eq!(
        body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"),
        "abc"
    );
    assert_eq!(body("HTTP/1.0 200 OK\r\n\r\nabc"), "abc");
    assert_eq!(
        body(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: t\r\n\r\n"
        ),
        "abc0123456789"
    );
    assert_eq!(body("HTTP/1.1 200 OK\nContent-Length: 1\n\na"), "a");
    assert_eq!(
        body("HTTP/1.1 200\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nabc"),
        "abc"
    );
    assert_eq!(
        body(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n"
        ),
        ""
    );
    assert_eq!(
        body("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab"),
        "ab"
    );
}

#[test]
fn answers_without_a_body() {
    for head in [
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 No\r\n\r\n",
        "HTTP/1.1 101 Up\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut r = Response::new(ALL);
        r.feed(head.as_bytes()).unwrap();
        assert!(r.is_done(), "{head}");
    }
    let mut r = Response::new(Wanted {
        is_head_request: true,
        ..ALL
    });
    r.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        .unwrap();
    assert!(r.is_done());
}

#[test]
fn interim_answers_are_skipped() {
    let r = read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 OK\r\nX: y\r\nContent-Length: 1\r\n\r\na").unwrap();
    assert_eq!(
        (r.status, r.header("x").map(|h| h.text()), r.header("link")),
        (201, Some("y".into()), None)
    );
}

#[test]
fn the_cap_cuts() {
    let wanted = Wanted { max_body: 4, ..ALL };
    for (text, body, cut) in [
        ("HTTP/1.1 200 OK\r\n\r\nabcdef", "abcd", true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
            "abcd",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
            "abcd",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
            "abcd",
            true,
        ),
    ] {
        let r = read_with(text.as_bytes(), wanted).unwrap();
        assert_eq!((r.body.as_slice(), r.cut), (body.as_bytes(), cut), "{text}");
    }
    let none = read_with(
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
        Wanted { max_body: 0, ..ALL },
    )
    .unwrap();
    assert_eq!((none.body_bytes, none.cut), (0, true));
}

#[test]
fn closed_too_early() {
    assert_eq!(read("").unwrap_err(), Malformed::Empty);
    assert_eq!(read("HTTP/1.1 200").unwrap_err(), Malformed::ClosedInHead);
    let e = read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").unwrap_err();
    assert_eq!(e.to_string(), "connection closed after 3 of 9 bytes");
    let e = read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc").unwrap_err();
    assert_eq!(
        e.to_string(),
        "connection closed after 3 bytes, within a chunk"
    );
    assert_eq!(
        read("HTTP/1.1 100 Continue\r\n\r\n").unwrap_err(),
        Malformed::ClosedInHead
    );
}

#[test]
fn hostile_heads() {
    for garbage in [
        "SSH-2.0-OpenSSH\r\n",
        "<html></html>",
        "\0\0\0",
        "HTTP/x 200 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "220 smtp ready\r\n\r\n",
    ] {
        let e = read(garbage).unwrap_err();
        assert!(
            matches!(e, Malformed::NotHttp | Malformed::StatusLine),
            "{garbage}: {e}"
        );
    }
    for head in [
        "X : y",
        "\u{1}: y",
        "X: \u{1}",
        "no colon",
        "X: a\r\n b",
        " x",
    ] {
        let r = read(&format!(
            "HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: 1\r\n\r\na"
        ));
        assert_eq!(r.expect(head).body, b"a", "{head}");
    }
    assert_eq!(body("\r\n\nHTTP/1.1 200 OK\r\n\r\nab"), "ab");
    // Who sends chunks may say any length.
    let both = "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    assert_eq!(body(both), "a");
    for length in ["-1", "+1", "1x", "", "1,2", "99999999999999999999", "0x10"] {
        let e = read(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ))
        .unwrap_err();
        assert_eq!(e, Malformed::ContentLength, "{length}");
    }
    let many = "A: b\r\n".repeat(5000);
    let r = read_in(
        format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes(),
        4096,
        ALL,
    );
    assert_eq!(r.unwrap().all("a").count(), 5000);
}

#[test]
fn endless_things_end() {
    let feed_for_ever = |start: &str, more: &str| {
        let mut r = Response::new(ALL);
        let mut fed = start.len();
        r.feed(start.as_bytes()).unwrap();
        loop {
            fed += more.len();
            if let Err(e) = r.feed(more.as_bytes()) {
                return e;
            }
            if r.is_done() {
                return Malformed::Empty;
            }
            assert!(fed < 4 << 20, "no end in sight");
        }
    };
    assert_eq!(
        feed_for_ever("HTTP/1.1 200 OK\r\n", "X: yyyyyyyyyyyyyyyyyyy\r\n"),
        Malformed::HeadTooLong
    );
    assert_eq!(
        feed_for_ever("HTTP/1.1 200 OK\r\nX: ", "y"),
        Malformed::HeadTooLong
    );
    assert_eq!(
        feed_for_ever("", "HTTP/1.1 100 Continue\r\n\r\n"),
        Malformed::HeadTooLong
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        feed_for_ever(&format!("{chunked}1;"), "ext"),
        Malformed::Chunk
    );
    assert_eq!(
        feed_for_ever(&format!("{chunked}0\r\n"), "T: t\r\n"),
        Malformed::HeadTooLong
    );
    assert_eq!(
        feed_for_ever(&format!("{chunked}0\r\nT: "), "t"),
        Malformed::Chunk
    );
    // Done, because the cap is reached.
    assert_eq!(
        feed_for_ever(&format!("{chunked}FFFFFFFFFFFFFFFF\r\n"), &"x".repeat(1000)),
        Malformed::Empty
    );
}

#[test]
fn hostile_chunks() {
    for chunk in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "10000000000000000\r\n",
        " 1\r\n",
        "1\r\nab\r\n",
        ";x\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
        assert_eq!(read(&text).unwrap_err(), Malformed::Chunk, "{chunk:?}");
    }
}

/// A small generator, so that a failure can be repeated: xorshift with a fixed seed.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn mutated_answers_never_panic_and_do_not_depend_on_the_pieces() {
    let seeds: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y\r\n\r\nhello world!",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: t\r\n\r\n",
        b"HTTP/1.0 302 Found\nLocation: /x\n\nuntil the end",
    ];
    let interesting = b"\r\n:; 0Ff9-\0\xFFH/1";
    let mut state = 0x9E37_79B9_7F4A_7C15;
    for round in 0..30_000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..=random(&mut state) % 4 {
            let at = random(&mut state) as usize % bytes.len().max(1);
            let byte = interesting[random(&mut state) as usize % interesting.len()];
            match random(&mut state) % 4 {
                _ if bytes.is_empty() => bytes.push(byte),
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let wanted = Wanted {
            max_body: random(&mut state) % 64,
            ..ALL
        };
        let whole = read_in(&bytes, bytes.len(), wanted);
        let size = 1 + random(&mut state) as usize % bytes.len().max(1);
        let parts = read_in(&bytes, size, wanted);
        let told = |r: &Result<Response, Malformed>| {
            r.as_ref().map(|r| (r.status, r.body.clone(), r.cut)).ok()
        };
        assert_eq!(
            told(&whole),
            told(&parts),
            "{:?} in pieces of {size}",
            String::from_utf8_lossy(&bytes)
        );
        assert!(whole.is_err() || whole.unwrap().body_bytes <= wanted.max_body);
    }
}
