//! The plugin on MockHost against openssl's server, and against servers of something else.

mod certificates;
mod pki;

use crate::tests::{check, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::serde_json::json;
use healthd_testing::{Certs, Peer};
use pki::{LONG_LIVED, Pki};
use std::io::Write;
use std::process::Command;

#[test]
fn the_page_has_all_options() {
    plugin("tls").assert_documented(include_str!("../../TLS.md"));
}

#[test]
fn mistakes_in_options() {
    for (more, text) in [
        (
            json!({"fingerprints": ["ab:cd"]}),
            "fingerprints: \"ab:cd\" is no SHA-256: 64 hexadecimal digits",
        ),
        (
            json!({"ca_file": "/nonexistent", "insecure": true}),
            "ca_file and insecure: only one of them",
        ),
        (
            json!({"protocols": ["1.1"]}),
            "protocols[0]: \"1.1\" is none of 1.2, 1.3",
        ),
        (
            json!({"tls_min": "1.3", "tls_max": "1.2"}),
            "tls_max: older than tls_min",
        ),
        (json!({"key_file": "/k"}), "key_file: needs cert_file"),
        (
            json!({"starttls": "gopher"}),
            "starttls: \"gopher\" is none of smtp, imap, pop3, ftp, ldap, xmpp, nntp, sieve, postgres, mysql",
        ),
    ] {
        let mut options = json!({"host": "localhost"});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        assert_eq!(refused("tls", &options), text);
    }
}

#[test]
fn what_is_asked_for_besides() {
    if !Certs::possible() {
        return;
    }
    let pki = Pki::new();
    pki.issue("good", "leaf", "ca", LONG_LIVED, "ec");
    let server = pki.serve("good", &[], "");
    let told_by = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(pki.folder.file("good.pem"))
        .output()
        .unwrap();
    let told_by = String::from_utf8(told_by.stdout).unwrap();
    let (_, print) = told_by.trim().split_once('=').unwrap();
    assert_eq!(
        pki.look(&server, &json!({"fingerprints": [print]})).status,
        Status::Ok
    );
    let o = pki.look(&server, &json!({"fingerprints": ["0".repeat(64)]}));
    let plain = print.replace(':', "").to_lowercase();
    assert!(
        o.message.starts_with(&format!(
            "the fingerprint is {plain}, none of `fingerprints`; "
        )),
        "{}",
        o.message
    );
    assert_eq!(
        pki.look(&server, &json!({"issuer": "root"})).status,
        Status::Ok
    );
    let o = pki.look(&server, &json!({"issuer": "Let's Encrypt"}));
    assert!(
        o.message.starts_with("the issuer is root; "),
        "{}",
        o.message
    );
    let o = pki.look(&server, &json!({"protocols": ["1.2"]}));
    assert!(
        o.message.starts_with("the server chose TLS 1.3; "),
        "{}",
        o.message
    );
    // The address itself is in the certificate too; another name with the same trust is not.
    assert_eq!(
        pki.look(&server, &json!({"server_name": "127.0.0.1"}))
            .status,
        Status::Ok
    );
    // Not trusted, and not wanted to be.
    let options = json!({"host": "127.0.0.1", "port": server.port, "insecure": true});
    assert_eq!(check("tls", &options).status, Status::Ok);
    let options =
        json!({"host": "127.0.0.1", "port": server.port, "insecure": true, "days_crit": 100});
    assert_eq!(check("tls", &options).status, Status::Critical);
    // A pin holds whoever vouches for it, also if nobody does.
    for insecure in [false, true] {
        let ca = (!insecure).then(|| pki.folder.file("ca.pem"));
        for (pin, wrong) in [
            (format!("sha256:{print}"), ""),
            (
                format!("sha256:{}", "0".repeat(64)),
                "certificate is none of the pinned ones; ",
            ),
        ] {
            let mut options = json!({"host": "127.0.0.1", "port": server.port, "server_name": "localhost", "insecure": insecure, "pins": [pin]});
            if let Some(ca) = &ca {
                options["ca_file"] = ca.display().to_string().into();
            }
            let o = check("tls", &options);
            let bad = !wrong.is_empty();
            assert_eq!(o.status == Status::Critical, bad, "{}", o.message);
            assert!(o.message.starts_with(wrong), "{}", o.message);
        }
    }
    // Only what is offered is spoken.
    let o = pki.look(&server, &json!({"tls_max": "1.2"}));
    assert!(o.message.ends_with("TLS 1.2"), "{}", o.message);
    // A server that wants to know who comes says so only after the handshake.
    let ca = pki.folder.file("ca.pem");
    pki.issue("client", "client", "ca", LONG_LIVED, "ec");
    for version in ["-tls1_2", "-tls1_3"] {
        let mutual = pki.serve(
            "good",
            &[],
            &format!(
                "{version} -Verify 1 -verify_return_error -CAfile {}",
                ca.display()
            ),
        );
        // With TLS 1.3 a refusal comes after the handshake, and is waited for only so long.
        let mut o = pki.look(&mutual, &json!({}));
        healthd_testing::until(
            || {
                if o.status == Status::Ok {
                    o = pki.look(&mutual, &json!({}));
                }
                o.status != Status::Ok
            },
            || mutual.log(),
        );
        assert_eq!(o.status, Status::Critical, "{}", o.message);
        assert!(
            o.message
                .contains("wants a client certificate (cert_file, key_file)"),
            "{version}: {}",
            o.message
        );
        let known = json!({"cert_file": pki.folder.file("client.pem"), "key_file": pki.folder.file("client.key")});
        let o = pki.look(&mutual, &known);
        assert_eq!(o.status, Status::Ok, "{version}: {}", o.message);
    }
    let old = pki.serve("good", &[], "-tls1_2");
    let o = pki.look(&old, &json!({"protocols": ["1.2"]}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.message.ends_with("TLS 1.2"), "{}", o.message);
    for version in [
        "-tls1 -cipher DEFAULT:@SECLEVEL=0",
        "-tls1_1 -cipher DEFAULT:@SECLEVEL=0",
    ] {
        let oldest = pki.serve("good", &[], version);
        let o = pki.look(&oldest, &json!({}));
        assert_eq!(
            told(&o),
            (
                Status::Critical,
                "tls: the server only speaks TLS below 1.2"
            )
        );
    }
}

#[test]
fn servers_of_something_else() {
    for (said, text) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "tls: the server does not speak TLS",
        ),
        (b"", "tls: connection closed during the handshake"),
        (
            b"\x15\x03\x03\0\x02\x02\x50",
            "tls: the server failed in the handshake, at its own side (alert InternalError); its log may say why",
        ),
    ] {
        let peer = Peer::answering(said);
        let o = check(
            "tls",
            &json!({"host": "127.0.0.1", "port": peer.addr.port(), "insecure": true}),
        );
        assert_eq!(told(&o), (Status::Critical, text));
    }
    let o = check(
        "tls",
        &json!({"host": "127.0.0.1", "port": 1, "insecure": true}),
    );
    assert_eq!(told(&o), (Status::Critical, "connect: connection refused"));
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(b"NO go away\r\n");
    });
    let options = json!({"host": "127.0.0.1", "port": peer.addr.port(), "insecure": true, "starttls": "sieve"});
    let o = check("tls", &options);
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.starts_with("starttls: "), "{}", o.message);
}
