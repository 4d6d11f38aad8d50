//! Clients that mean harm: requests whose end two servers see at different places, alone and behind a real nginx, and
//! clients that are slow on purpose.

use super::{Daemon, good, stop, token};
use crate::harness::ctl::wait_for;
use crate::harness::http::{address, get};
use crate::harness::{Config, TempDir, skipped};
use healthd_testing::{Process, free_port};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is not to be taken for a request: its answer would be a 404.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
const LAST: &str = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The lines of a head, and a body: one server takes `SMUGGLED` for a part of the body, and another does not.
fn pairs() -> Vec<(String, String)> {
    let n = SMUGGLED.len();
    let chunk = format!("{n:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    let none = format!("0\r\n\r\n{SMUGGLED}");
    let mut all = Vec::new();
    let mut pair = |head: String, body: &str| all.push((head, body.to_owned()));
    // CL.TE and TE.CL, in both orders.
    let whole = none.len();
    pair(
        format!("Content-Length: {whole}\r\nTransfer-Encoding: chunked\r\n"),
        &none,
    );
    pair(
        format!("Transfer-Encoding: chunked\r\nContent-Length: {whole}\r\n"),
        &none,
    );
    pair(
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n".into(),
        &chunk,
    );
    pair(
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".into(),
        &chunk,
    );
    // TE.TE: one of them is not understood by somebody.
    for coding in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-encoding: CHUNKED\r\n",
        "Transfer_Encoding: chunked\r\n",
        // A bare line feed, a folded line, a line without a colon.
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "\0Transfer-Encoding: chunked\r\n",
    ] {
        pair(format!("Content-Length: {whole}\r\n{coding}"), &none);
        pair(format!("{coding}Content-Length: {whole}\r\n"), &none);
    }
    // Two lengths, and lengths that are no number to somebody.
    for length in [
        format!("Content-Length: 0\r\nContent-Length: {n}\r\n"),
        format!("Content-Length: {n}\r\nContent-Length: 0\r\n"),
        format!("Content-Length: {n}, 0\r\n"),
        format!("Content-Length: +{n}\r\n"),
        format!("Content-Length: -{n}\r\n"),
        format!("Content-Length: {n}.0\r\n"),
        format!("Content-Length: 0x{n:x}\r\n"),
        format!("Content-Length: {n} {n}\r\n"),
        format!("Content-Length : {n}\r\n"),
        format!("Content-Length: {n}\r\n 0\r\n"),
        format!("X: y\nContent-Length: {n}\r\n"),
        format!("Content-Length: {n}\r\n"),
        "Content-Length: 18446744073709551616\r\n".to_owned(),
    ] {
        pair(length, SMUGGLED);
    }
    // Chunks whose length or end is no such thing to somebody.
    for chunks in [
        format!("0x{n:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
        format!("+{n:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
        format!("{n:x};\n{SMUGGLED}\r\n0\r\n\r\n"),
        format!("{n:x}\n{SMUGGLED}\r\n0\r\n\r\n"),
        format!("{n:x} \r\n{SMUGGLED}\r\n0\r\n\r\n"),
        format!("0\r\nX: y\r\n\r\n{SMUGGLED}"),
        format!("0\n\n{SMUGGLED}"),
        format!("10000000000000000\r\n{SMUGGLED}"),
        format!("2\r\nabX0\r\n\r\n{SMUGGLED}"),
    ] {
        pair("Transfer-Encoding: chunked\r\n".into(), &chunks);
    }
    all
}

/// What comes until the server closes. One that closes with something unread resets, and that is an end too.
fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    // It may have hung up in the middle.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(e) => panic!("{request:?}: {e}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Each of them, with another request behind it, which is no harm. `look`: at what was
/// sent, and the answers to both.
fn send_pairs(open: impl Fn() -> Box<dyn Both>, look: impl Fn(&str, &str)) {
    for method in ["POST", "GET"] {
        for (head, body) in pairs() {
            let path = if method == "GET" {
                "/livez"
            } else {
                "/v1/analyse"
            };
            let start = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n"
            );
            let answers = exchange(open(), &format!("{start}{body}{LAST}"));
            look(&format!("{start:?} {body:?}"), &answers);
        }
    }
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

#[test]
fn what_two_servers_read_differently_is_never_a_second_request() {
    let daemon = Config::new()
        .section("web", "listen = \"unix:web.sock\"")
        .check(good("a"))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let path = at.strip_prefix("unix:").expect("a path").to_owned();
    // We may change something here, so bodies are read.
    send_pairs(
        || Box::new(UnixStream::connect(&path).expect("it listens")),
        |sent, answers| {
            let many = answers.matches("HTTP/1.1 ").count();
            assert!(
                many <= 2 && !answers.contains("HTTP/1.1 404"),
                "{sent}: {answers}"
            );
            assert_eq!(get(&at, "/livez", &[]).body, "ok\n", "{sent}");
        },
    );
    stop(daemon);
}

/// nginx before it, which keeps one connection to it for all its clients.
fn nginx(dir: &Path, to: &str) -> Option<(Process, String)> {
    if !Path::new("/usr/sbin/nginx").exists() {
        return None;
    }
    let at = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let d = dir.display();
    let config = format!(
        "daemon off; master_process off; pid {d}/pid; error_log {d}/error.log;\nevents {{ }}\n\
         http {{ access_log off; client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3;\n\
         uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5; upstream page {{ server {to}; keepalive 1; }}\n\
         server {{ listen {at}; location / {{ proxy_pass http://page; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_request_buffering off; }} }} }}\n"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config).expect("our own directory");
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx.arg("-p").arg(dir).arg("-c").arg(&file).arg("-e");
    nginx.arg(dir.join("error.log"));
    let child = nginx.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    let process = Process(child.expect("it is there"));
    wait_for("nginx listens", || TcpStream::connect(&at).is_ok());
    Some((process, at))
}

#[test]
fn behind_a_proxy_nobody_gets_the_answer_of_another_one() {
    let (daemon, at) = over_tcp();
    let dir = TempDir::new();
    let Some((nginx, front)) = nginx(dir.path(), &at) else {
        skipped("nginx is missing");
        return stop(daemon);
    };
    let right = "Authorization: Bearer s3cret";
    send_pairs(
        || Box::new(TcpStream::connect(&front).expect("it listens")),
        |sent, _| {
            // Over the connection that nginx keeps, for other clients.
            for _ in 0..2 {
                let page = get(&front, "/livez", &[]);
                assert_eq!((page.status, page.body.as_str()), (200, "ok\n"), "{sent}");
            }
        },
    );
    // With the token bodies are read; nginx brings it for whoever comes.
    let body = format!("{{\"values\": [1]}}{SMUGGLED}");
    let head = format!(
        "POST /v1/analyse HTTP/1.1\r\nHost: x\r\n{right}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let stream = TcpStream::connect(&front).expect("it listens");
    let answers = exchange(stream, &format!("{head}{body}{LAST}"));
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
    assert!(
        answers.contains("HTTP/1.1 200") && !answers.contains("HTTP/1.1 404"),
        "{answers}"
    );
    drop(nginx);
    stop(daemon);
}

fn over_tcp() -> (Daemon, String) {
    let daemon = token(Config::new()).check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    (daemon, at)
}

/// One that is itself slow, on a machine that does other things, may lose its place: then it comes again.
fn until_answered(at: &str, path: &str) {
    let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
    wait_for(path, || {
        let stream = TcpStream::connect(at).expect("it listens");
        let answer = exchange(stream, &request);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.0 200"),
            "{answer}"
        );
        !answer.is_empty()
    });
}

#[test]
fn clients_that_are_slow_on_purpose_keep_nobody_waiting() {
    let (daemon, at) = over_tcp();
    // More than there are places, each with half a head: who comes after them is answered.
    let idle: Vec<TcpStream> = (0..300)
        .map(|n| {
            let mut stream = TcpStream::connect(&at).expect("it listens");
            let half = if n % 2 == 0 {
                "GET / HTTP/1.1\r\nHost"
            } else {
                ""
            };
            // It may be away already: another one has its place.
            let _ = stream.write_all(half.as_bytes());
            stream
        })
        .collect();
    until_answered(&at, "/livez");
    drop(idle);
    if !Path::new("/usr/bin/slowhttptest").exists() {
        skipped("slowhttptest is missing");
        return stop(daemon);
    }
    let url = |path: &str| format!("http://{at}{path}");
    for (kind, path) in [
        ("-H", "/"),
        ("-B", "/ping/a?token=s3cret"),
        ("-X", "/metrics"),
    ] {
        let mut tool = Command::new("slowhttptest");
        tool.args([
            kind, "-c", "400", "-r", "400", "-i", "1", "-l", "3", "-p", "60",
        ]);
        tool.args(["-u", &url(path)]).stdin(Stdio::null());
        let child = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = Process(child.expect("it is there"));
        let mut answered = 0;
        while child.0.try_wait().expect("our own child").is_none() {
            until_answered(&at, "/livez");
            until_answered(&at, "/");
            answered += 1;
        }
        assert!(answered > 0, "{kind}");
    }
    stop(daemon);
}

#[test]
fn who_takes_nothing_of_a_large_answer_keeps_nobody_from_one() {
    let config = Config::new().section("web", "listen = \"unix:web.sock\"");
    let name = |n: usize| format!("{}{n}", "x".repeat(150));
    let checks = (0..400).map(|n| good(&name(n)).set("enabled", "false"));
    let daemon = checks.fold(config, Config::check).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let path = at.strip_prefix("unix:").expect("a path");
    // As many as there are places for, and of each answer more than a socket holds.
    let stand = || {
        let mut stream = UnixStream::connect(path).expect("it listens");
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("it answers");
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    };
    let mut standing: Vec<UnixStream> = (0..8).map(|_| stand()).collect();
    // It takes a moment until the last of them is seen to stand.
    wait_for("another one is answered", || {
        get(&at, "/metrics", &[]).status == 200
    });
    assert_eq!(get(&at, "/", &[]).status, 200);
    // It had the place of one of them; the others go on where they stood.
    let is_whole = |stream: &mut UnixStream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest.ends_with(b"\r\n0\r\n\r\n")
    };
    let whole = standing.iter_mut().map(is_whole).filter(|whole| *whole);
    assert_eq!(whole.count(), 7);
    stop(daemon);
}
