//! The plugin on MockHost against Debian's dovecot and against peers that say what it would not.

use crate::tests::{at, check, plugin, refused};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Dovecot, Peer};

fn ask(port: u16, more: &Value) -> Outcome {
    check("pop3", &at(port, more))
}

#[test]
fn the_page_has_all_options() {
    plugin("pop3").assert_documented(include_str!("../../POP3.md"));
}

#[test]
fn mistakes_in_options() {
    for (more, text) in [
        (json!({"user": "x"}), "user, password: both or none"),
        (
            json!({"tls": "none", "user": "x", "password": "y"}),
            "user: a password is only told inside of TLS; see the option tls",
        ),
        (
            json!({"user": "x", "password": "a\r\nb"}),
            "password: control characters",
        ),
        (json!({"messages_warn": 1}), "messages_*: need `user`"),
    ] {
        let mut options = json!({"host": "localhost"});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        assert_eq!(refused("pop3", &options), text);
    }
}

#[test]
fn dovecot_and_its_mailbox() {
    let Some(dovecot) = Dovecot::start(2) else {
        return;
    };
    if healthd_testing::program("../lib/dovecot/pop3", "dovecot-pop3d").is_none() {
        return;
    }
    let ca = dovecot.certs.ca();
    let o = ask(dovecot.pop3, &json!({"tls": "none"}));
    assert_eq!(o.status, Status::Ok, "{}: {}", o.message, dovecot.log());
    for (port, tls) in [(dovecot.pop3, "starttls"), (dovecot.pop3s, "implicit")] {
        for (more, status, begin) in [
            (json!({}), Status::Ok, "2 messages wait"),
            (
                json!({"messages_warn": 1}),
                Status::Warn,
                "2 messages, above 1; ",
            ),
            (
                json!({"messages_crit": 1}),
                Status::Critical,
                "2 messages, above 1; ",
            ),
            (
                json!({"password": "wrong"}),
                Status::Critical,
                "login: -ERR [AUTH] ",
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

#[test]
fn what_a_server_may_say() {
    for (said, status, text) in [
        ("+OK hi\r\n", Status::Ok, "hi"),
        ("-ERR no\r\n", Status::Critical, "greeting: -ERR no"),
        (
            "-ERR [SYS/TEMP] later\r\n",
            Status::Warn,
            "greeting: -ERR [SYS/TEMP] later",
        ),
        (
            "* OK imap\r\n",
            Status::Critical,
            "greeting: \"* OK imap\" is nothing that POP3 says",
        ),
        ("", Status::Critical, "greeting: connection closed"),
        (
            "+OK",
            Status::Critical,
            "greeting: connection closed in the middle of a line",
        ),
    ] {
        let peer = Peer::saying(&[said]);
        let o = ask(peer.addr.port(), &json!({"tls": "none"}));
        assert_eq!((o.status, o.message.as_str()), (status, text));
    }
}
