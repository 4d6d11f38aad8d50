//! The plugin on MockHost against Debian's Exim and against peers that say what it would not.

use crate::tests::{at, check, plugin, refused};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Peer, Server, accepts, free_port, program};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Exim on a port with STARTTLS and one with TLS from the start. It takes mail for example.org only, has the user
/// `health`, and the mailbox `grey` is always greylisted.
struct Exim {
    server: Server,
    implicit: u16,
    certs: Certs,
}

const PASSWORD: &str = "s3cret \"x\\";

fn exim(authenticator: &str) -> Option<Exim> {
    let exim = program("exim4", "exim4-daemon-light")?;
    if !Certs::possible() || !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: exim needs root");
        return None;
    }
    let certs = Certs::new();
    let open_to = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    // It reads them, and writes its log, as a user of its own.
    open_to(&certs.key(), 0o644);
    let implicit = free_port("127.0.0.1");
    let server = Server::start(
        |folder, port| {
            open_to(folder.path(), 0o755);
            let spool = folder.file("spool");
            std::fs::create_dir(&spool).unwrap();
            open_to(&spool, 0o777);
            open_to(&folder.write("log", ""), 0o666);
            for log in ["main", "panic", "reject"] {
                symlink(folder.file("log"), spool.join(log)).unwrap();
            }
            folder.write("secret", PASSWORD);
            let dir = folder.path().display();
            let conf = format!(
                "primary_hostname = mail.example.org\nspool_directory = {dir}/spool\nlog_file_path = {dir}/spool/%s\n\
                 local_interfaces = 127.0.0.1\ndaemon_startup_retries = 0\nkeep_environment =\nnotifier_socket =\n\
                 tls_on_connect_ports = {implicit}\ntls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\n\
                 acl_smtp_rcpt = rcpt\nrfc1413_query_timeout = 0s\nhost_lookup =\nbegin acl\nrcpt:\n\
                 \x20 defer local_parts = grey\n        message = 4.7.1 greylisted\n\
                 \x20 accept domains = example.org\n  deny message = relay not permitted\nbegin authenticators\n{}",
                certs.certificate().display(),
                certs.key().display(),
                authenticator.replace("SECRET", &format!("${{readfile{{{dir}/secret}}}}")),
            );
            let conf = folder.write("exim.conf", conf);
            let mut command = Command::new(&exim);
            command.arg("-C").arg(conf).arg("-bdf");
            command.arg("-oX").arg(format!("{port}:{implicit}"));
            command.arg("-oP").arg(spool.join("pid"));
            command
        },
        |_, port| accepts(port) && accepts(implicit),
    );
    Some(Exim {
        server,
        implicit,
        certs,
    })
}

const PLAIN: &str = "plain:\n driver = plaintext\n public_name = PLAIN\n server_prompts = :\n\
    server_condition = ${if and{{eq{$auth2}{health}}{eq{$auth3}{SECRET}}}}\n\
    server_advertise_condition = ${if def:tls_in_cipher}\n";
const LOGIN: &str = "login:\n driver = plaintext\n public_name = LOGIN\n server_prompts = User : Password\n\
    server_condition = ${if and{{eq{$auth1}{health}}{eq{$auth2}{SECRET}}}}\n";

fn ask(port: u16, more: &Value) -> Outcome {
    check("smtp", &at(port, more))
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
fn exim_up_to_the_recipient() {
    let Some(exim) = exim(PLAIN) else {
        return;
    };
    let port = exim.server.port;
    let o = ask(port, &json!({}));
    assert_eq!(o.status, Status::Ok, "{}: {}", o.message, exim.server.log());
    let begin = "ehlo: 250 mail.example.org Hello healthd.invalid";
    assert!(o.message.starts_with(begin), "{}", o.message);
    assert!(o.metric("banner").value <= o.metric("total").value);
    for (more, status, text) in [
        (
            json!({"mail_from": "", "rcpt_to": "postmaster@example.org"}),
            Status::Ok,
            "rcpt: 250 Accepted",
        ),
        (
            json!({"mail_from": "a@b.example"}),
            Status::Ok,
            "mail: 250 OK",
        ),
        // Greylisting is no refusal for good.
        (
            json!({"mail_from": "a@b.example", "rcpt_to": "grey@example.org"}),
            Status::Warn,
            "rcpt: 451 4.7.1 greylisted",
        ),
        (
            json!({"mail_from": "a@b.example", "rcpt_to": "x@elsewhere.example"}),
            Status::Critical,
            "rcpt: 550 relay not permitted",
        ),
        // That it is no open relay.
        (
            json!({"mail_from": "a@b.example", "rcpt_to": "x@elsewhere.example", "expect": [550, 554]}),
            Status::Ok,
            "rcpt: 550 relay not permitted",
        ),
        (
            json!({"tls": "implicit", "insecure": true}),
            Status::Critical,
            "tls: the server does not speak TLS",
        ),
        (json!({"latency_crit": "0s"}), Status::Critical, "took "),
    ] {
        let o = ask(port, &more);
        assert_eq!(o.status, status, "{more}: {}", o.message);
        assert!(o.message.starts_with(text), "{}", o.message);
    }
}

#[test]
fn exim_inside_of_tls() {
    let (Some(plain), Some(login)) = (exim(PLAIN), exim(LOGIN)) else {
        return;
    };
    for exim in [plain, login] {
        for (port, tls) in [(exim.server.port, "starttls"), (exim.implicit, "implicit")] {
            for (more, status, begin) in [
                (json!({}), Status::Ok, "ehlo: 250 mail.example.org Hello"),
                (
                    json!({"user": "health", "password": PASSWORD}),
                    Status::Ok,
                    "auth: 235 Authentication succeeded",
                ),
                (
                    json!({"user": "health", "password": PASSWORD, "mail_from": "", "rcpt_to": "a@example.org"}),
                    Status::Ok,
                    "rcpt: 250 Accepted",
                ),
                (
                    json!({"user": "health", "password": "wrong"}),
                    Status::Critical,
                    "auth: 535 Incorrect authentication data",
                ),
                (
                    json!({"certificate_days_warn": 100}),
                    Status::Warn,
                    "certificate valid for ",
                ),
                (
                    json!({"server_name": "elsewhere.example"}),
                    Status::Critical,
                    "tls: certificate is not for elsewhere.example",
                ),
            ] {
                let mut options = json!({"tls": tls, "ca_file": exim.certs.ca()});
                for (key, value) in more.as_object().unwrap() {
                    options[key] = value.clone();
                }
                let o = ask(port, &options);
                let log = exim.server.log();
                assert_eq!(o.status, status, "{tls} {more}: {}: {log}", o.message);
                assert!(o.message.starts_with(begin), "{more}: {}", o.message);
                if status != Status::Critical {
                    let parts = ["connect", "tls"].map(|name| o.metric(name).value);
                    assert!(parts[0] > 0.0 && parts[1] > 0.0, "{parts:?}");
                    assert!(parts[0] + parts[1] < o.metric("total").value, "{parts:?}");
                }
            }
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
            "ehlo: 250 x",
        ),
        (
            &none,
            &["220 b\r\n", "502 what\r\n"],
            Status::Critical,
            "ehlo: 502 what",
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
            "rcpt: 450 4.7.1 greylisted",
        ),
        (
            &full,
            &["220 b\r\n", "250 x\r\n", "250 ok\r\n", "550 5.1.1 who\r\n"],
            Status::Critical,
            "rcpt: 550 5.1.1 who",
        ),
        (
            &full,
            &["220 b\r\n", "250 x\r\n", "451 later\r\n"],
            Status::Warn,
            "mail: 451 later",
        ),
        (
            &full,
            &["220 b\r\n", "250 x\r\n", "250 ok\r\n", "421 bye\r\n"],
            Status::Critical,
            "rcpt: 421 bye",
        ),
        (
            &starttls,
            &["220 b\r\n", "250 x\r\n"],
            Status::Critical,
            "starttls: the server offers none",
        ),
        (
            &starttls,
            &["220 b\r\n", "250-x\r\n250 STARTTLS\r\n", "454 not now\r\n"],
            Status::Warn,
            "starttls: 454 not now",
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
    let (status, text) = saying(&none, &[&"x".repeat(1 << 20)]);
    assert_eq!(
        (status, text.as_str()),
        (Status::Critical, "banner: a line of more than 4096 bytes")
    );
}
