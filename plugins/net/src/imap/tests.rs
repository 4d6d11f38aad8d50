//! The plugin on MockHost against Debian's dovecot and against peers that say what it would not.

use crate::tests::{assert_waits_for_room, at, check, plugin, refused};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Dovecot, Peer};

fn ask(port: u16, more: &Value) -> Outcome {
    check("imap", &at(port, more))
}

#[test]
fn the_page_has_all_options() {
    plugin("imap").assert_documented(include_str!("../../IMAP.md"));
}

#[test]
fn mistakes_in_options() {
    for (more, text) in [
        (
            json!({"tls": "none", "insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (json!({"user": "x"}), "user, password: both or none"),
        (
            json!({"tls": "none", "user": "x", "password": "y"}),
            "user: a password is only told inside of TLS; see the option tls",
        ),
        (
            json!({"user": "x\r\ny", "password": "y"}),
            "user: only printable ASCII characters",
        ),
        (json!({"unseen_warn": 1}), "unseen_*, oldest_*: need `user`"),
    ] {
        let mut options = json!({"host": "localhost"});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        assert_eq!(refused("imap", &options), text);
    }
}

#[test]
fn dovecot_and_its_mailbox() {
    let Some(dovecot) = Dovecot::start(3) else {
        return;
    };
    let ca = dovecot.certs.ca();
    let o = ask(dovecot.imap, &json!({"tls": "none"}));
    assert_eq!(o.status, Status::Ok, "{}: {}", o.message, dovecot.log());
    assert!(o.message.contains("Dovecot"), "{}", o.message);
    for (port, tls) in [(dovecot.imap, "starttls"), (dovecot.imaps, "implicit")] {
        for (more, status, begin) in [
            (json!({}), Status::Ok, "INBOX: 3 messages, 3 unread"),
            (
                json!({"unseen_warn": 2}),
                Status::Warn,
                "3 unread messages, above 2; INBOX: ",
            ),
            (
                json!({"unseen_crit": 1}),
                Status::Critical,
                "3 unread messages, above 1; INBOX: ",
            ),
            (
                json!({"oldest_crit": "0s"}),
                Status::Critical,
                "the oldest message is there for ",
            ),
            (
                json!({"certificate_days_warn": 100}),
                Status::Warn,
                "certificate valid for ",
            ),
            (
                json!({"mailbox": "Nowhere"}),
                Status::Critical,
                "status: NO ",
            ),
            (
                json!({"password": "wrong"}),
                Status::Critical,
                "login: NO [AUTHENTICATIONFAILED]",
            ),
        ] {
            let mut options = json!({"tls": tls, "ca_file": ca, "user": Dovecot::USER, "password": Dovecot::PASSWORD});
            for (key, value) in more.as_object().unwrap() {
                options[key] = value.clone();
            }
            let o = ask(port, &options);
            assert_eq!(o.status, status, "{more}: {}: {}", o.message, dovecot.log());
            assert!(o.message.starts_with(begin), "{more}: {}", o.message);
        }
    }
}

/// The outcome if a server says these texts in turn.
fn saying(more: &Value, texts: &[&str]) -> (Status, String) {
    let peer = Peer::saying(texts);
    let o = ask(peer.addr.port(), more);
    (o.status, o.message)
}

#[test]
fn what_a_server_may_say() {
    let plain = json!({"tls": "none"});
    let starttls = json!({"tls": "starttls", "insecure": true});
    for (options, texts, status, text) in [
        (
            &plain,
            &["* OK hi\r\n", "* CAPABILITY IMAP4rev1\r\na OK\r\n"][..],
            Status::Ok,
            "OK hi",
        ),
        (
            &plain,
            &["* PREAUTH hi\r\n", "* CAPABILITY IMAP4rev1\r\na OK\r\n"],
            Status::Ok,
            "PREAUTH hi",
        ),
        (
            &plain,
            &["* BYE busy\r\n"],
            Status::Critical,
            "greeting: \"* BYE busy\"",
        ),
        (
            &plain,
            &["220 smtp\r\n"],
            Status::Critical,
            "greeting: \"220 smtp\"",
        ),
        (
            &plain,
            &["* OK hi\r\n", "* BYE going down\r\n"],
            Status::Critical,
            "capability: the server hangs up: BYE going down",
        ),
        (
            &plain,
            &["* OK hi\r\n", "a OK\r\n"],
            Status::Critical,
            "capability: the server does not say that it speaks IMAP4",
        ),
        (
            &plain,
            &["* OK hi\r\n", "* X {4294967296}\r\n"],
            Status::Critical,
            "capability: a literal of 4294967296 bytes",
        ),
        (
            &plain,
            &["* OK hi\r\n", "* X {99999999999999999999}\r\n"],
            Status::Critical,
            "capability: a literal of 99999999999999999999 bytes",
        ),
        (
            &plain,
            &["* OK hi\r\n", "* X {10}\r\nshort"],
            Status::Critical,
            "capability: connection closed in the middle of a message",
        ),
        (
            &plain,
            &["* OK hi\r\n", "* CAPABILITY {9}\r\nIMAP4rev1 X\r\na OK\r\n"],
            Status::Ok,
            "OK hi",
        ),
        (
            &plain,
            &["* OK hi\r\n", "nonsense\r\n"],
            Status::Critical,
            "capability: \"nonsense\" is nothing that IMAP says",
        ),
        (
            &starttls,
            &["* PREAUTH hi\r\n"],
            Status::Critical,
            "the server says PREAUTH, after which IMAP has no STARTTLS",
        ),
        (
            &starttls,
            &["* OK hi\r\n", "a NO none\r\n"],
            Status::Critical,
            "starttls: NO none",
        ),
        (
            &starttls,
            &["* OK hi\r\n", "a OK go\r\n* injected\r\n"],
            Status::Critical,
            "starttls: the server sent 12 bytes between its answer and the TLS handshake",
        ),
    ] {
        assert_eq!(saying(options, texts), (status, text.to_owned()));
    }
    let many = "* 1 EXISTS\r\n".repeat(2000);
    let (status, text) = saying(&plain, &["* OK hi\r\n", &many]);
    assert_eq!(
        (status, text.as_str()),
        (Status::Critical, "capability: an answer without an end")
    );
}

#[test]
fn long_answers_wait_for_their_room() {
    let many = "* X yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"
        .repeat(900);
    let literal = format!("* X {{100000}}\r\n{}\r\n", "x".repeat(100_000));
    for long in [many, literal] {
        let answer = format!("{long}* CAPABILITY IMAP4rev1\r\na OK\r\n");
        let peer = Peer::saying(&["* OK hi\r\n", &answer]);
        assert_waits_for_room(|| ask(peer.addr.port(), &json!({"tls": "none"})));
    }
}
