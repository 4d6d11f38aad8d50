//! The plugin on MockHost against Debian's OpenSMTPD and against peers that say what it would not.

use crate::tests::{check, plugin, refused};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Peer, Server, accepts, program};
use std::io::{Read, Write};
use std::process::Command;

/// OpenSMTPD with folders of its own under /run and /var/spool, which only it sees.
fn smtpd() -> Option<Server> {
    let smtpd = program("smtpd", "opensmtpd")?;
    let possible = Command::new("unshare").args(["-m", "true"]).output();
    if !possible.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: no mount namespace of one's own");
        return None;
    }
    Some(Server::start(
        |folder, port| {
            let conf = format!(
                "table ours {{ \"example.org\" }}\nlisten on lo inet4 port {port} hostname mail.example.org\n\
                 action \"out\" relay\nmatch from any for domain <ours> action \"out\"\n"
            );
            let conf = folder.write("smtpd.conf", conf);
            let own = "mount -t tmpfs none /run && mount -t tmpfs none /var/spool && mkdir -m 711 /var/spool/smtpd && exec \"$@\"";
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", own, "sh"]);
            command.arg(&smtpd).args(["-d", "-f"]).arg(conf);
            command
        },
        |_, port| accepts(port),
    ))
}

fn ask(port: u16, more: &Value) -> Outcome {
    let mut options = json!({"host": "127.0.0.1", "port": port});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    check("smtp", &options)
}

#[test]
fn the_page_has_all_options() {
    plugin("smtp").assert_documented(include_str!("../../SMTP.md"));
}

#[test]
fn mistakes_in_options() {
    for (more, text) in [
        (
            json!({"insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (json!({"user": "x"}), "user, password: both or none"),
        (
            json!({"user": "x", "password": "y"}),
            "user: a password is only told inside of TLS; see the option tls",
        ),
        (json!({"rcpt_to": "a@b"}), "rcpt_to: needs `mail_from`"),
        (
            json!({"helo": "a\r\nMAIL"}),
            "\"a\\r\\nMAIL\" is no name or address",
        ),
        (
            json!({"mail_from": "<a@b>"}),
            "\"<a@b>\" is no name or address",
        ),
    ] {
        let mut options = json!({"host": "localhost"});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        assert_eq!(refused("smtp", &options), text);
    }
}

#[test]
fn opensmtpd_up_to_the_recipient() {
    let Some(smtpd) = smtpd() else {
        return;
    };
    let o = ask(smtpd.port, &json!({}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let begin = "EHLO: 250 mail.example.org Hello healthd.invalid";
    assert!(o.message.starts_with(begin), "{}", o.message);
    assert!(o.metric("banner").value <= o.metric("total").value);
    for (more, status, text) in [
        (
            json!({"mail_from": "", "rcpt_to": "postmaster@example.org"}),
            Status::Ok,
            "RCPT TO: 250 ",
        ),
        (
            json!({"mail_from": "a@b.example"}),
            Status::Ok,
            "MAIL FROM: 250 ",
        ),
        (
            json!({"mail_from": "a@b.example", "rcpt_to": "x@elsewhere.example"}),
            Status::Critical,
            "RCPT TO: 550 ",
        ),
        // That it is no open relay.
        (
            json!({"mail_from": "a@b.example", "rcpt_to": "x@elsewhere.example", "expect": [550, 554]}),
            Status::Ok,
            "RCPT TO: 550 ",
        ),
        (
            json!({"tls": "starttls", "insecure": true}),
            Status::Critical,
            "the server offers no STARTTLS",
        ),
        (
            json!({"tls": "implicit", "insecure": true}),
            Status::Critical,
            "tls: the server does not speak TLS",
        ),
        (json!({"latency_crit": "0s"}), Status::Critical, "took "),
    ] {
        let o = ask(smtpd.port, &more);
        assert_eq!(o.status, status, "{more}: {}", o.message);
        assert!(o.message.starts_with(text), "{}", o.message);
    }
}

/// A server that says the first text at once, and each further one when it has heard something.
fn saying(more: &Value, texts: &'static [&'static str]) -> (Status, String) {
    let peer = Peer::new(move |mut stream| {
        for (n, text) in texts.iter().enumerate() {
            if n > 0 && stream.read(&mut [0; 512]).unwrap_or(0) == 0 {
                return;
            }
            let _ = stream.write_all(text.as_bytes());
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let o = ask(peer.addr.port(), more);
    (o.status, o.message)
}

#[test]
fn what_a_server_may_say() {
    let full = json!({"mail_from": "a@b.example", "rcpt_to": "c@d.example"});
    let starttls = json!({"tls": "starttls", "insecure": true});
    let none = json!({});
    for (options, texts, status, text) in [
        (
            &none,
            &["421 too many connections\r\n"][..],
            Status::Critical,
            "banner: 421 too many connections",
        ),
        (&none, &["554 no\r\n"], Status::Critical, "banner: 554 no"),
        (
            &none,
            &["220-a\r\n220 b\r\n", "250-x\r\n250 y\r\n"],
            Status::Ok,
            "EHLO: 250 x",
        ),
        (
            &none,
            &["220 b\r\n", "502 what\r\n"],
            Status::Critical,
            "EHLO: 502 what",
        ),
        (
            &none,
            &["220-a\r\n250 b\r\n"],
            Status::Critical,
            "banner: the server said \"250 b\" where one code in all lines of an answer (220) is needed",
        ),
        (
            &none,
            &["+OK pop3\r\n"],
            Status::Critical,
            "banner: the server said \"+OK pop3\" where a code of three digits is needed",
        ),
        (&none, &[""], Status::Critical, "banner: connection closed"),
        (
            &none,
            &["220 b\r\n", "250-cut"],
            Status::Critical,
            "ehlo: connection closed in the middle of a line",
        ),
        // Greylisting is no refusal for good.
        (
            &full,
            &[
                "220 b\r\n",
                "250 x\r\n",
                "250 ok\r\n",
                "450 4.7.1 greylisted\r\n",
            ],
            Status::Warn,
            "RCPT TO: 450 4.7.1 greylisted",
        ),
        (
            &full,
            &["220 b\r\n", "250 x\r\n", "250 ok\r\n", "550 5.1.1 who\r\n"],
            Status::Critical,
            "RCPT TO: 550 5.1.1 who",
        ),
        (
            &full,
            &["220 b\r\n", "250 x\r\n", "451 later\r\n"],
            Status::Warn,
            "MAIL FROM: 451 later",
        ),
        (
            &full,
            &["220 b\r\n", "250 x\r\n", "250 ok\r\n", "421 bye\r\n"],
            Status::Critical,
            "RCPT TO: 421 bye",
        ),
        (
            &starttls,
            &["220 b\r\n", "250 x\r\n"],
            Status::Critical,
            "the server offers no STARTTLS",
        ),
        (
            &starttls,
            &["220 b\r\n", "250-x\r\n250 STARTTLS\r\n", "454 not now\r\n"],
            Status::Warn,
            "STARTTLS: 454 not now",
        ),
        // Behind its answer in plain: an injection.
        (
            &starttls,
            &[
                "220 b\r\n",
                "250-x\r\n250 STARTTLS\r\n",
                "220 go\r\n250 x\r\n",
            ],
            Status::Critical,
            "starttls: the server sent 7 bytes between its answer and the TLS handshake",
        ),
    ] {
        assert_eq!(saying(options, texts), (status, text.to_owned()));
    }
    static LONG: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    static TEXTS: std::sync::OnceLock<[&str; 1]> = std::sync::OnceLock::new();
    let long = LONG.get_or_init(|| "x".repeat(1 << 20));
    let (status, text) = saying(&none, TEXTS.get_or_init(|| [long.as_str()]));
    assert_eq!(
        (status, text.as_str()),
        (Status::Critical, "banner: a line of more than 4096 bytes")
    );
}
