//! The shipped plugins inside the daemon, against real servers.

use crate::harness::{Config, check, skipped};
use healthd_testing::{Folder, Nginx, Peer, Postgres};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

fn metric(row: &Value, name: &str) -> f64 {
    let metrics = row["metrics"].as_array().unwrap_or_else(|| panic!("{row}"));
    metrics
        .iter()
        .find(|m| m["name"] == name)
        .and_then(|m| m["value"].as_f64())
        .unwrap_or_else(|| panic!("no metric {name}: {row}"))
}

#[test]
fn http_and_tcp_against_nginx_with_and_without_tls() {
    if !Path::new("/usr/sbin/nginx").exists() {
        return skipped("nginx is not installed");
    }
    let nginx = Nginx::start(
        "location = /up { return 200 'all systems go'; } location = /down { return 503 'no'; }",
    );
    let mut config = Config::new();
    let ca = nginx.certs.ca();
    let tls = format!("https://localhost:{}/up", nginx.port_tls);
    for (name, options) in [
        ("up", format!("{{ url = {:?} }}", nginx.url("/up"))),
        ("down", format!("{{ url = {:?} }}", nginx.url("/down"))),
        ("tls", format!("{{ url = {tls:?}, ca_file = {ca:?} }}")),
        ("tls-unknown-ca", format!("{{ url = {tls:?} }}")),
        (
            "v6",
            format!("{{ url = \"http://[::1]:{}/up\" }}", nginx.port_v6),
        ),
        ("refused", "{ url = \"http://127.0.0.1:1/\" }".to_owned()),
    ] {
        config = config.check(
            check(name)
                .plugin("http")
                .interval("1h")
                .set("config", &options),
        );
    }
    config = config.check(check("tcp").plugin("tcp").interval("1h").set(
        "config",
        &format!("{{ host = \"127.0.0.1\", port = {} }}", nginx.port),
    ));
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for name in ["up", "tls", "v6", "tcp"] {
        let row = daemon.run(name);
        assert_eq!(row["status"], "ok", "{row}");
    }
    let row = daemon.run("down");
    assert_eq!(row["status"], "critical", "{row}");
    assert!(
        row["message"].as_str().is_some_and(|m| m.contains("503")),
        "{row}"
    );
    let row = daemon.run("refused");
    assert_eq!(row["message"], "connect: connection refused", "{row}");
    let row = daemon.run("tls-unknown-ca");
    assert_eq!(row["status"], "critical", "{row}");
    let names: Vec<_> = daemon.detail("tls")["phases"]
        .as_array()
        .expect("phases")
        .iter()
        .filter_map(|p| p["name"].as_str().map(str::to_owned))
        .collect();
    for phase in ["connect", "tls", "ttfb"] {
        assert!(names.iter().any(|n| n == phase), "{names:?}");
    }
}

/// Between two runs the worker knows nothing of the connection; in the next one it waits on it again.
#[test]
fn a_connection_is_kept_for_the_next_run() {
    if !Path::new("/usr/sbin/nginx").exists() {
        return skipped("nginx is not installed");
    }
    let nginx = Nginx::start(r#"location / { return 200 '{"requests": $connection_requests}'; }"#);
    let tls = format!("https://localhost:{}/", nginx.port_tls);
    let more = format!(
        "ca_file = {:?}, keep_alive = true, json = [{{ path = \"$.requests\", metric = \"requests\" }}]",
        nginx.certs.ca()
    );
    let mut config = Config::new().only_asked().pool("io", "workers = 1");
    for (name, url) in [("plain", nginx.url("/")), ("tls", tls)] {
        let options = format!("{{ url = {url:?}, {more} }}");
        let kept = check(name).plugin("http").interval("1h");
        config = config.check(kept.set("config", &options));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for n in 1..=3 {
        for name in ["plain", "tls"] {
            let row = daemon.run(name);
            assert_eq!(row["status"], "ok", "{row}");
            assert_eq!(metric(&row, "requests"), f64::from(n), "{row}");
        }
    }
}

/// A token that is renewed in its file is sent without a reload; half of one, and none, are not.
#[test]
fn a_secret_is_read_anew_when_its_file_changes() {
    let folder = Folder::new();
    let token = folder.write("token", "old\n");
    let peer = Peer::new(|mut stream| {
        let mut request = [0; 4096];
        let n = std::io::Read::read(&mut stream, &mut request).unwrap_or_default();
        let request = String::from_utf8_lossy(&request[..n]);
        let is_new = request.contains("Bearer new\r\n");
        let status = if is_new { "200 OK" } else { "401 Unauthorized" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
    });
    let options = format!(
        "{{ url = \"http://{}/\", bearer = {{ file = {token:?} }} }}",
        peer.addr
    );
    let daemon = Config::new()
        .only_asked()
        .check(
            check("api")
                .plugin("http")
                .interval("1h")
                .set("config", &options),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("api")["status"], "critical");
    folder.write("token", "");
    daemon.expect_log("a secret that has changed is not taken");
    folder.write("token", "new\n");
    daemon.expect_log("secrets read anew");
    assert_eq!(daemon.run("api")["status"], "ok");
}

#[test]
fn a_target_that_never_answers_is_critical_with_its_phase_and_in_time() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = server.local_addr().expect("it is bound").port();
    let daemon = Config::new()
        .check(
            check("mute")
                .plugin("http")
                .interval("1h")
                .timeout("5s")
                .set(
                    "config",
                    &format!("{{ url = \"http://127.0.0.1:{port}/\" }}"),
                ),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("mute");
    assert_eq!(row["status"], "critical", "{row}");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("timeout after 5s in phase "), "{row}");
    // Later on a machine that is busy, but not after the ten seconds that it has by itself.
    let took = row["latency_ms"].as_f64().expect("it ran");
    assert!((4_999.0..9_900.0).contains(&took), "{row}");
}

/// A title, a screen that is cleared, colours by another way, text from right to left, a step back.
const ESCAPES: &str = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}\x08";

#[test]
fn what_a_target_says_is_nothing_that_a_terminal_obeys() {
    let once = |text: String| {
        Peer::new(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(text.as_bytes());
        })
    };
    let http = |text: String| once(format!("HTTP/1.1 {text}"));
    let json = ESCAPES.replace('\x1b', "\\u001b").replace('\x07', "");
    let json = json.replace('\x08', "\\b");
    // An answer to the log-in.
    let error = format!("SFATAL\0VFATAL\0C28000\0M{ESCAPES}\0\0");
    let length = (error.len() as u32 + 4).to_be_bytes();
    let error = format!("E{}{error}", String::from_utf8_lossy(&length));
    let cases = [
        (
            "header",
            "http",
            http(format!(
                "500 {ESCAPES}\r\nX-A: {ESCAPES}\r\nContent-Length: 0\r\n\r\n"
            )),
            "url = \"http://AT/\", status = [500], expect_headers = { x-a = \"never\" }",
        ),
        (
            "json",
            "http",
            http(format!("200 OK\r\n\r\n{{\"s\":\"{json}\"}}")),
            "url = \"http://AT/\", json_path = \"$.s\", json_equals = \"up\"",
        ),
        (
            "location",
            "http",
            http(format!("302 x\r\nLocation: http://a{ESCAPES}/\r\n\r\n")),
            "url = \"http://AT/\", redirects = 5",
        ),
        (
            "banner",
            "tcp",
            Peer::saying(&[format!("{ESCAPES}\n")]),
            "host = \"127.0.0.1\", port = PORT, expect = \"never\"",
        ),
        (
            "database",
            "postgres",
            once(error),
            "url = \"postgres://u@AT/x?sslmode=disable\", password = \"p\"",
        ),
    ];
    let mut config = Config::new().daemon("log", "\"info\"");
    for (name, plugin, peer, options) in &cases {
        let at = peer.addr.to_string();
        let options = options.replace("AT", &at);
        let options = options.replace("PORT", &peer.addr.port().to_string());
        let once = check(name)
            .plugin(plugin)
            .interval("1h")
            .set("attempts", "1");
        config = config.check(once.set("config", &format!("{{ {options} }}")));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    for (name, ..) in &cases {
        let row = daemon.run(name);
        assert_eq!(row["status"], "critical", "{row}");
        // What was said is there to be read.
        let message = row["message"].as_str().unwrap_or_default();
        assert!(message.contains("owned"), "{row}");
        for command in [&["status"][..], &["show"], &["why"], &["--json", "status"]] {
            let said = daemon.told_by_daemon(&[command, &[*name]].concat());
            let all = said.out.clone() + &said.err;
            assert!(!all.contains(obeyed), "{command:?} {name}: {all:?}");
        }
    }
    let log = daemon.log.all().join("\n");
    assert!(!log.contains(obeyed), "{log:?}");
}

#[test]
fn a_flapping_target_is_seen_as_it_is() {
    let good =
        Peer::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let addr = good.addr;
    let daemon = Config::new()
        .check(
            check("t")
                .plugin("http")
                .interval("100ms")
                .set("attempts", "2")
                .set("retry_interval", "\"100ms\"")
                .set("config", &format!("{{ url = \"http://{addr}/\" }}")),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let mut watch = daemon.watch(&["t"]);
    watch.until_verdict("t", "ok");
    drop(good);
    let row = watch.until_verdict("t", "critical");
    assert_eq!(
        (&row["attempt"], &row["message"]),
        (&2.into(), &"connect: connection refused".into())
    );
    let again = std::net::TcpListener::bind(addr);
    let Ok(again) = again else {
        return skipped("somebody else took the port");
    };
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = again.accept() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = std::io::Write::write_all(
                &mut stream,
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            );
        }
    });
    watch.until_verdict("t", "ok");
}

#[test]
fn postgres() {
    let Some(server) = Postgres::start() else {
        return skipped("PostgreSQL is not installed");
    };
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
        server.port
    );
    let ask = |name: &str, more: &str| {
        check(name).plugin("postgres").interval("1h").set(
            "config",
            &format!(
                "{{ url = {url:?}, password = {:?}{more} }}",
                Postgres::PASSWORD
            ),
        )
    };
    let daemon = Config::new()
        .only_asked()
        .check(ask("up", ""))
        .check(ask(
            "many",
            ", query = \"select 50\", warn = 10, crit = 100",
        ))
        .check(ask("wrong", ", query = \"select nothing from nowhere\""))
        .check(ask("slow", ", query = \"select pg_sleep(100)\"").timeout("6s"))
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("up")["status"], "ok", "{}", daemon.row("up"));
    assert_eq!(
        daemon.run("many")["status"],
        "warning",
        "{}",
        daemon.row("many")
    );
    assert_eq!(
        daemon.run("wrong")["status"],
        "critical",
        "{}",
        daemon.row("wrong")
    );
    let row = daemon.run("slow");
    assert_eq!(row["status"], "critical", "{row}");
    assert!(
        row["message"]
            .as_str()
            .is_some_and(|m| m.starts_with("timeout after ") && m.contains("in phase query")),
        "{row}"
    );
    drop(server);
    let row = daemon.run("up");
    assert_eq!(row["status"], "critical", "{row}");
    assert!(
        row["message"]
            .as_str()
            .is_some_and(|m| m.contains("connection refused")),
        "{row}"
    );
}

#[test]
fn sqlite() {
    let folder = Folder::new();
    let file = folder.file("shop.db");
    let made = Command::new("sqlite3")
        .arg(&file)
        .arg("create table orders (n int); insert into orders values (1), (2), (3);")
        .status();
    if !made.is_ok_and(|s| s.success()) {
        return skipped("sqlite3 is not installed");
    }
    let garbage = folder.write("garbage.db", vec![7; 9000]);
    let ask = |name: &str, path: &Path, more: &str| {
        check(name)
            .plugin("sqlite")
            .interval("1h")
            .set("config", &format!("{{ path = {path:?}{more} }}"))
    };
    let daemon = Config::new()
        .check(ask(
            "fine",
            &file,
            ", query = \"select count(*) from orders\", crit = 10, quick_check = true",
        ))
        .check(ask(
            "many",
            &file,
            ", query = \"select count(*) from orders\", crit = 2",
        ))
        .check(ask("garbage", &garbage, ""))
        .check(ask("missing", &folder.file("none.db"), ""))
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("fine")["status"], "ok", "{}", daemon.row("fine"));
    for name in ["many", "garbage", "missing"] {
        let row = daemon.run(name);
        assert_eq!(row["status"], "critical", "{row}");
    }
}

#[test]
fn digest() {
    let folder = Folder::new();
    for n in 0..40 {
        folder.write(&format!("file-{n}"), vec![n; 5000]);
    }
    let sums = "sha256sum file-* > SUMS";
    let made = Command::new("sh")
        .args(["-c", sums])
        .current_dir(folder.path())
        .status();
    assert!(
        made.is_ok_and(|s| s.success()),
        "coreutils are always there"
    );
    let manifest = folder.file("SUMS");
    let daemon = Config::new()
        .only_asked()
        .pool("cpu", "workers = 2")
        .check(check("backup").plugin("digest").interval("1h").set(
            "config",
            &format!("{{ manifest = {manifest:?}, extra = \"warn\" }}"),
        ))
        .spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("backup");
    assert_eq!(row["status"], "ok", "{row}");
    assert_eq!(metric(&row, "matched"), 40.0, "{row}");
    folder.write("more", Vec::new());
    assert_eq!(daemon.run("backup")["status"], "warning");
    folder.write("file-7", vec![0; 5000]);
    let row = daemon.run("backup");
    assert_eq!(row["status"], "critical", "{row}");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("1 changed (file-7), 1 extra (more)"),
        "{row}"
    );
}

#[test]
fn stats() {
    let folder = Folder::new();
    let text: String = (1..=100_001)
        .map(|n| format!("{n},{}\n", n % 101))
        .collect();
    let file = folder.write("values.csv", format!("id,value\n{text}").into_bytes());
    let config = format!(
        "{{ path = {file:?}, format = \"csv\", column = \"id\", limits = {{ p99 = {{ crit = 99000 }} }} }}"
    );
    let daemon = Config::new()
        .pool("cpu", "workers = 2")
        .check(
            check("ids")
                .plugin("stats")
                .interval("1h")
                .timeout("55s")
                .set("config", &config),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("ids");
    assert_eq!(row["status"], "critical", "{row}");
    for (name, value) in [
        ("count", 100_001.0),
        ("mean", 50_001.0),
        ("median", 50_001.0),
        ("p99", 99_001.0),
    ] {
        assert_eq!(metric(&row, name), value, "{row}");
    }
    assert_eq!(daemon.detail("ids")["fanout"]["again"], 0);
}

#[test]
fn cpu() {
    let daemon = Config::new()
        .check(check("cpu").plugin("cpu").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("cpu");
    assert_eq!(row["status"], "ok", "{row}");
    let metrics = row["metrics"].as_array().expect("it measures");
    assert!(!metrics.is_empty(), "{row}");
    let first = metrics[0]["name"].as_str().expect("a name");
    assert!(metric(&row, first) > 0.0, "{row}");
}

/// What lies below `localhost` is this machine, in any script; and what can be no name is told before it runs.
#[test]
fn an_international_name_is_asked_in_ascii() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("it is bound").port();
    let named = |name: &str, host: &str| {
        let options = format!("{{ host = {host:?}, port = {port} }}");
        check(name)
            .plugin("tcp")
            .interval("1h")
            .set("config", &options)
    };
    let daemon = Config::new()
        .check(named("books", "b\u{fc}cher.localhost"))
        .spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("books")["status"], "ok");
    let output = Config::new()
        .check(named("port", "web.example:443"))
        .write()
        .run(&["-t"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("a port has an option of its own"), "{told}");
}
