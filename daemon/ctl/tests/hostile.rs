//! Peers that a client must survive: slow, gone in mid-line, newer, hostile, or no healthd at all.

mod support;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use support::replies::{CRITICAL, OK, WORKERS};
use support::{Dir, Fake, ctl};

const END: &str = "{\"type\":\"end\"}\n";

#[test]
fn one_byte_at_a_time_is_still_an_answer() {
    let fake = Fake::once(|peer| {
        peer.read_request();
        for byte in format!("{OK}\n{CRITICAL}\n{END}").bytes() {
            peer.send(&[byte]);
        }
    });
    let ran = fake.ctl("list --timeout 10s");
    assert_eq!(
        (ran.code, &*ran.out, &*ran.err),
        (0, "web/frontpage\ndb/primary\n", "")
    );
}

#[test]
fn hanging_up_is_told_and_nothing_is_printed_as_if_whole() {
    for (answer, place) in [
        ("".to_owned(), "before its answer was complete"),
        (format!("{OK}\n"), "before its answer was complete"),
        (
            format!("{OK}\n{}", &CRITICAL[..40]),
            "in the middle of a line",
        ),
    ] {
        let fake = Fake::once(move |peer| {
            peer.read_request();
            peer.send(answer.as_bytes());
        });
        let ran = fake.ctl("status --json");
        assert_eq!((ran.code, &*ran.out), (3, ""), "{place}");
        assert!(
            ran.err.starts_with(&format!(
                "healthctl: error: healthd at SOCKET hung up {place}"
            )),
            "{}",
            ran.err
        );
    }
}

#[test]
fn hanging_up_before_the_request_is_read() {
    let fake = Fake::once(|_| {});
    let ran = fake.ctl("version");
    assert_eq!(ran.code, 3);
    assert!(
        ran.out.starts_with("healthctl "),
        "our own version is known: {}",
        ran.out
    );
    assert!(
        ran.err.contains("hung up before its answer was complete"),
        "{}",
        ran.err
    );
}

#[test]
fn an_error_sent_without_reading_the_request_is_heard() {
    let fake = Fake::once(|peer| {
        peer.send(b"{\"type\":\"error\",\"code\":\"busy\",\"message\":\"64 clients are connected\",\"help\":\"try again\"}\n");
    });
    let ran = fake.ctl("status");
    assert_eq!(
        (ran.code, &*ran.err),
        (
            3,
            "healthctl: error: 64 clients are connected\n  help: try again\n"
        )
    );
}

#[test]
fn garbage_is_named_and_harmless() {
    for (line, shown) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            "`HTTP/1.1 400 Bad Request\\r`",
        ),
        (b"\x1b[2J\xff\xfe\n", "`\\x1b[2J\u{fffd}\u{fffd}`"),
        (b"[]\n", "`[]`"),
        (b"{}\n", "`{}`"),
        (b"\n", "``"),
        (b"{\"type\":7}\n", "`{\"type\":7}`"),
    ] {
        let fake = Fake::once(move |peer| {
            peer.read_request();
            peer.send(line);
        });
        let ran = fake.ctl("status");
        assert_eq!((ran.code, &*ran.out), (3, ""));
        assert_eq!(
            ran.err,
            format!(
                "healthctl: error: SOCKET sent a line that is no healthd reply: {shown}\n  help: is this the control socket of healthd?\n"
            )
        );
    }
}

#[test]
fn a_newer_daemon_is_understood_as_far_as_it_goes() {
    let new = r#"{"type":"hologram","depth":3}"#;
    let more = OK.replace(r#""index":0"#, r#""index":0,"mood":"fine""#);
    let ran = Fake::lines(&[new, &more, new]).ctl("list");
    assert_eq!((ran.code, &*ran.out), (0, "web/frontpage\n"));
    assert_eq!(
        ran.err.matches("left out a `hologram` line").count(),
        1,
        "{}",
        ran.err
    );

    // Known, but not part of this answer.
    let ran = Fake::lines(&[WORKERS[0], OK]).ctl("list");
    assert_eq!((ran.code, &*ran.out), (0, "web/frontpage\n"));
    assert!(ran.err.contains("`worker`"), "{}", ran.err);
}

#[test]
fn a_known_line_of_another_shape_is_an_error() {
    let ran = Fake::lines(&[r#"{"type":"check","name":7}"#]).ctl("status");
    assert_eq!(ran.code, 3);
    assert!(
        ran.err
            .contains("cannot read the `check` reply of healthd: "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("`healthctl version`"), "{}", ran.err);
}

#[test]
fn an_answer_without_its_line_is_an_error() {
    for line in ["show x", "why x", "reload"] {
        let ran = Fake::lines(&[]).ctl(line);
        assert_eq!(
            (ran.code, ran.err.contains("held no `")),
            (3, true),
            "{line}: {}",
            ran.err
        );
    }
}

#[test]
fn an_endless_line_is_cut_off() {
    let fake = Fake::once(|peer| {
        peer.read_request();
        let chunk = vec![b'a'; 1 << 20];
        // Until the client has had enough and hangs up.
        while peer.reader.get_mut().write_all(&chunk).is_ok() {}
    });
    let ran = fake.ctl("status --timeout 60s");
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.contains("sent a line of more than 8388608 bytes"),
        "{}",
        ran.err
    );
}

#[test]
fn a_silent_daemon_is_given_up() {
    let fake = Fake::once(|peer| {
        peer.read_request();
        peer.await_hang_up();
    });
    let began = Instant::now();
    let ran = fake.ctl("why x --timeout 50ms");
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert_eq!(ran.code, 3);
    assert!(
        ran.err
            .contains("healthd at SOCKET did not answer within 50ms"),
        "{}",
        ran.err
    );
}

#[test]
fn status_asks_the_maps_after_200_ms() {
    let fake = Fake::once(|peer| {
        peer.read_request();
        peer.await_hang_up();
    });
    let began = Instant::now();
    let ran = fake.ctl("status");
    assert!(began.elapsed() >= Duration::from_millis(200));
    // There are none here, so the first error stands.
    assert!(
        ran.err.contains("did not answer within 200ms"),
        "{}",
        ran.err
    );
}

#[test]
fn rows_from_the_maps_are_marked_and_change_the_exit_code() {
    use healthd_core::wire::maps::*;
    let check = CheckRecord {
        name: "web".into(),
        plugin: "http".into(),
        last_run: 1_795_341_600_000_000_000,
        message: "HTTP 200".into(),
        worker: 1,
        attempts: 3,
        ..CheckRecord::default()
    };
    let slot = SlotRecord {
        used: true,
        state: 1,
        pid: 7,
        dispatched: 5,
        finished: 5,
        ..SlotRecord::default()
    };
    let names = healthd_core::wire::names::Names::new([("web", "")].into_iter());
    let mut words = vec![0; state_words(1, 1, 1)];
    words[..4].copy_from_slice(&[STATE_MAGIC, LAYOUT_VERSION, 1, 1]);
    words[state_header::NAMES] = 1;
    words.splice(names_offset(1, 1).., names.words());
    words[slot_offset(0)..][..SLOT_WORDS].copy_from_slice(&slot.to_words());
    words[check_offset(1, 0)..][..CHECK_WORDS].copy_from_slice(&check.to_words());
    words[check_offset(1, 0)] = 2;
    words[check_offset(1, 0) + check::PLACE] = names.places()[0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let stopped = || {
        let fake = Fake::once(|peer| {
            peer.read_request();
            peer.await_hang_up();
        });
        std::fs::write(fake.dir.0.join(STATE_FILE), &bytes).expect("write");
        fake
    };

    let ran = stopped().ctl("status");
    assert_eq!(ran.code, 3, "what was ok is not known to be ok now");
    assert!(
        ran.out.contains("ok (stale)") && ran.out.contains("(1 stale)"),
        "{}",
        ran.out
    );
    assert!(
        ran.err
            .starts_with("healthctl: warning: healthd at SOCKET did not answer within 200ms; "),
        "{}",
        ran.err
    );

    let ran = stopped().ctl("status --json");
    let rows: serde_json::Value = serde_json::from_str(&ran.out).expect("an array");
    assert_eq!(
        (&rows[0]["stale"], &rows[0]["verdict"]),
        (&true.into(), &"ok".into())
    );
    assert!(rows[0]["metrics"].is_null() && rows[0]["next_run"].is_null());

    let ran = stopped().ctl("workers --json");
    let rows: serde_json::Value = serde_json::from_str(&ran.out).expect("an array");
    assert_eq!(
        (ran.code, &rows[0]["dispatched"], &rows[0]["stale"]),
        (3, &5.into(), &true.into())
    );
    assert!(rows[0]["rss_kb"].is_null() && rows[0]["heartbeat_age_ms"].is_null());

    let ran = stopped().ctl("show web");
    assert!(
        ran.code == 3 && ran.out.starts_with("web  ok (stale)\n"),
        "{}",
        ran.out
    );
    let ran = stopped().ctl("list wbe");
    assert!(
        ran.code == 3
            && ran
                .err
                .contains("its maps do not help: they hold no check `wbe`"),
        "{}",
        ran.err
    );
}

#[test]
fn a_daemon_that_stops_in_mid_answer_is_given_up() {
    let fake = Fake::once(|peer| {
        peer.read_request();
        peer.send(format!("{{\"type\":\"started\",\"total\":2}}\n{OK}\n").as_bytes());
        peer.await_hang_up();
    });
    let ran = fake.ctl("run --all --timeout 2s");
    assert_eq!(ran.code, 3);
    assert!(
        ran.out.contains("web/frontpage"),
        "what was finished is shown: {}",
        ran.out
    );
    assert!(ran.err.contains("did not answer within 2s"), "{}", ran.err);
}

#[test]
fn a_full_backlog_does_not_hang_the_client() {
    let dir = Dir::new();
    let listener =
        rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("socket");
    let address = SocketAddrUnix::new(dir.socket()).expect("a short path");
    rustix::net::bind(&listener, &address).expect("bind");
    rustix::net::listen(&listener, 0).expect("listen");
    // Nobody accepts: this one takes the only place.
    let first = std::os::unix::net::UnixStream::connect(dir.socket()).expect("connect");
    let ran = ctl(&dir.socket(), "why x --timeout 50ms", None);
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.contains("did not answer within 50ms"),
        "{}",
        ran.err
    );
    drop(first);
}

#[test]
fn no_daemon_is_explained() {
    let dir = Dir::new();
    let ran = ctl(&dir.socket(), "status", None);
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.contains("no socket at SOCKET") && ran.err.contains("systemctl start healthd"),
        "{}",
        ran.err
    );

    drop(UnixListener::bind(dir.socket()).expect("bind"));
    let ran = ctl(&dir.socket(), "status", None);
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.contains("nobody listens on SOCKET") && ran.err.contains("left behind"),
        "{}",
        ran.err
    );

    std::fs::write(dir.0.join("file"), "").expect("write");
    let ran = ctl(&dir.0.join("file"), "status", None);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("not a socket"), "{}", ran.err);

    let ran = ctl(&dir.0.join("x".repeat(120)), "status", None);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("at most 107 bytes"), "{}", ran.err);
}

#[test]
fn refusals_of_the_daemon_are_passed_on() {
    let bad = r#"{"type":"error","code":"bad_config","message":"the configuration has 1 mistake; nothing was changed","diagnostics":["error: unknown key `intervall`\n  --> a.toml:4:1\n4 | \u001b[2Jintervall"]}"#;
    let fake = Fake::once(move |peer| {
        peer.read_request();
        peer.send(format!("{bad}\n").as_bytes());
    });
    let ran = fake.ctl("reload");
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert_eq!(
        ran.err,
        "healthctl: error: the configuration has 1 mistake; nothing was changed\n\
         error: unknown key `intervall`\n  --> a.toml:4:1\n4 | \\x1b[2Jintervall\n"
    );

    let old =
        r#"{"type":"error","code":"version","message":"this healthd speaks protocol 2, not 1"}"#;
    let fake = Fake::once(move |peer| {
        peer.read_request();
        peer.send(format!("{old}\n").as_bytes());
    });
    let ran = fake.ctl("status");
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.contains("protocol 2") && ran.err.contains("of the same version"),
        "{}",
        ran.err
    );
}

#[test]
fn a_request_that_healthd_would_refuse_is_not_sent() {
    let dir = Dir::new();
    let names = "check-with-a-long-name ".repeat(4_000);
    let ran = ctl(&dir.socket(), &format!("status {names}"), None);
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.contains("bytes; healthd takes 65536"),
        "{}",
        ran.err
    );
}

#[test]
fn watch_goes_on_after_a_restart_and_tells_only_what_changed() {
    let started = |n: u32| format!("{{\"type\":\"started\",\"total\":{n}}}\n");
    let before = format!("{}{OK}\n{CRITICAL}\n", started(2));
    let recovered = CRITICAL
        .replace("\"critical\"", "\"ok\"")
        .replace("timeout", "no timeout");
    let after = format!("{}{OK}\n{recovered}\n", started(2));
    let fake = Fake::new(vec![
        Box::new(move |peer| {
            peer.read_request();
            peer.send(before.as_bytes());
        }),
        Box::new(move |peer| {
            peer.read_request();
            peer.send(after.as_bytes());
            // Not a hang-up, so that the watch ends.
            peer.send(b"garbage\n");
        }),
    ]);
    let ran = fake.ctl("watch --reconnect");
    let lines: Vec<_> = ran
        .out
        .lines()
        .map(|line| {
            line.split("  ")
                .skip(1)
                .take(3)
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect();
    assert_eq!(lines.len(), 3, "{}", ran.out);
    assert!(lines[1].starts_with("db/primary"), "{}", ran.out);
    assert!(lines[2].contains("CRITICAL -> ok"), "{}", ran.out);
    assert_eq!(ran.err.matches("waiting for it").count(), 1, "{}", ran.err);
}
