//! Certificates of many kinds, beside openssl's own verdict.

use super::pki::{LONG_LIVED, Pki};
use healthd_plugin::Status;
use healthd_plugin::serde_json::json;
use healthd_testing::Certs;

#[test]
fn many_kinds_of_certificates_beside_openssls_verdict() {
    if !Certs::possible() {
        return;
    }
    let pki = Pki::new();
    let past = "-startdate 20200101000000Z -enddate 20210101000000Z";
    let future = "-startdate 20390101000000Z -enddate 20400101000000Z";
    let none: &[&str] = &[];
    // name, extensions, by, validity, key, chain, what we say of it (nothing: it is good)
    for (name, extensions, by, validity, key, chain, wrong) in [
        ("good", "leaf", "ca", LONG_LIVED, "ec", none, ""),
        ("good384", "leaf", "ca", LONG_LIVED, "ec384", none, ""),
        ("goodrsa", "leaf", "ca", LONG_LIVED, "rsa:2048", none, ""),
        ("gooded", "leaf", "ca", LONG_LIVED, "ed25519", none, ""),
        ("server", "server", "ca", LONG_LIVED, "ec", none, ""),
        ("many", "many", "ca", LONG_LIVED, "ec", none, ""),
        (
            "under",
            "leaf",
            "inter",
            LONG_LIVED,
            "ec",
            &["inter"][..],
            "",
        ),
        (
            "withroot",
            "leaf",
            "inter",
            LONG_LIVED,
            "ec",
            &["inter", "ca"],
            "",
        ),
        (
            "disorder",
            "leaf",
            "inter",
            LONG_LIVED,
            "ec",
            &["ca", "stranger", "inter"],
            "",
        ),
        (
            "half",
            "leaf",
            "inter",
            LONG_LIVED,
            "ec",
            none,
            "certificate is signed by no CA that is trusted here: the server sends it without that of its issuer, inter",
        ),
        (
            "foreign",
            "leaf",
            "stranger",
            LONG_LIVED,
            "ec",
            &["stranger"],
            "certificate is signed by no CA that is trusted here: its chain ends with stranger",
        ),
        (
            "expired",
            "leaf",
            "ca",
            past,
            "ec",
            none,
            "certificate has expired; expired ",
        ),
        (
            "notyet",
            "leaf",
            "ca",
            future,
            "ec",
            none,
            "certificate is not valid yet",
        ),
        (
            "wild",
            "wild",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "certificate is not for localhost",
        ),
        (
            "other",
            "other",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "certificate is not for localhost",
        ),
        (
            "nosan",
            "nosan",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "certificate is not for localhost",
        ),
        (
            "client",
            "client",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "certificate is not one for servers ",
        ),
        (
            "odd",
            "odd",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "bad certificate: ",
        ),
        (
            "soon",
            "leaf",
            "ca",
            "-days 10",
            "ec",
            none,
            "valid for 10.0 days, below 21 days; soon, by root",
        ),
        (
            "verysoon",
            "leaf",
            "ca",
            "-days 2",
            "ec",
            none,
            "valid for 2.0 days, below 7 days; ",
        ),
    ] {
        pki.issue(name, extensions, by, validity, key);
        let server = pki.serve(name, chain, "");
        let o = pki.look(&server, &json!({}));
        assert!(o.message.starts_with(wrong), "{name}: {}", o.message);
        let status = match name {
            _ if wrong.is_empty() => Status::Ok,
            "soon" => Status::Warn,
            _ => Status::Critical,
        };
        assert_eq!(o.status, status, "{name}: {}", o.message);
        let trusted = wrong.is_empty() || name.ends_with("soon");
        // A name in the subject alone is enough for openssl; for browsers and rustls it is not.
        if name != "nosan" {
            assert_eq!(
                pki.openssl_trusts(name, chain, "localhost"),
                trusted,
                "{name}"
            );
        }
        assert!(o.metric("days").unit == "d" && o.metric("handshake").value > 0.0);
    }
}

#[test]
fn chains_and_names_of_many_kinds_beside_openssls_verdict() {
    if !Certs::possible() {
        return;
    }
    let pki = Pki::new();
    let past = "-startdate 20200101000000Z -enddate 20210101000000Z";
    let future = "-startdate 20390101000000Z -enddate 20400101000000Z";
    let none: &[&str] = &[];
    for (name, extensions, validity) in [
        ("lastca", "lastca", LONG_LIVED),
        ("permits", "permits", LONG_LIVED),
        ("forbids", "forbids", LONG_LIVED),
        ("elsewhere", "elsewhere", LONG_LIVED),
        ("clientca", "clientca", LONG_LIVED),
        ("noca", "leaf", LONG_LIVED),
        ("oldca", "inter", past),
        ("nextca", "inter", future),
    ] {
        pki.issue(name, extensions, "ca", validity, "ec");
    }
    pki.issue("toodeep", "inter", "lastca", LONG_LIVED, "ec");
    pki.issue("deep", "inter", "inter", LONG_LIVED, "ec");
    // Another CA of the same name: what it signs only looks as if ours had.
    pki.openssl(
        "req -x509 -nodes -days 365 -subj /CN=root -keyout twin.key -out twin.pem",
        "ec",
    );
    let local = "localhost";
    // name, extensions, by, validity, key, chain, asked for, what we say of it (nothing: it is good)
    let all = [
        (
            "wildgood",
            "wild",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "www.example.org",
            "",
        ),
        (
            "wilddeep",
            "wild",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "a.b.example.org",
            "certificate is not for a.b.example.org",
        ),
        (
            "wildbare",
            "wild",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "example.org",
            "certificate is not for example.org",
        ),
        ("upper", "upper", "ca", LONG_LIVED, "ec", none, local, ""),
        (
            "address",
            "leaf",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "127.0.0.1",
            "",
        ),
        (
            "otherip",
            "otherip",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            "127.0.0.1",
            "certificate is not for 127.0.0.1",
        ),
        ("decade", "leaf", "ca", "-days 3650", "ec", none, local, ""),
        (
            "rsa3072", "leaf", "ca", LONG_LIVED, "rsa:3072", none, local, "",
        ),
        (
            "any",
            "any",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            local,
            "certificate is not one for servers ",
        ),
        (
            "email",
            "email",
            "ca",
            LONG_LIVED,
            "ec",
            none,
            local,
            "certificate is not one for servers ",
        ),
        (
            "twin-signed",
            "leaf",
            "twin",
            LONG_LIVED,
            "ec",
            none,
            local,
            "certificate is signed by no CA that is trusted here, but by another one with the name of one that is",
        ),
        (
            "two-below",
            "leaf",
            "deep",
            LONG_LIVED,
            "ec",
            &["deep", "inter"][..],
            local,
            "",
        ),
        (
            "gap",
            "leaf",
            "deep",
            LONG_LIVED,
            "ec",
            &["inter"],
            local,
            "certificate is signed by no CA that is trusted here: the server sends it without that of its issuer, deep",
        ),
        (
            "by-lastca",
            "leaf",
            "lastca",
            LONG_LIVED,
            "ec",
            &["lastca"],
            local,
            "",
        ),
        (
            "too-deep",
            "leaf",
            "toodeep",
            LONG_LIVED,
            "ec",
            &["toodeep", "lastca"],
            local,
            "certificate has more CAs above it than one of them allows (path length)",
        ),
        (
            "permitted",
            "leaf",
            "permits",
            LONG_LIVED,
            "ec",
            &["permits"],
            local,
            "",
        ),
        (
            "forbidden",
            "leaf",
            "forbids",
            LONG_LIVED,
            "ec",
            &["forbids"],
            local,
            "certificate is for names for which a CA above it may sign none (name constraints)",
        ),
        (
            "not-permitted",
            "leaf",
            "elsewhere",
            LONG_LIVED,
            "ec",
            &["elsewhere"],
            local,
            "certificate is for names for which a CA above it may sign none (name constraints)",
        ),
        (
            "by-clientca",
            "leaf",
            "clientca",
            LONG_LIVED,
            "ec",
            &["clientca"],
            local,
            "certificate is not one for servers ",
        ),
        (
            "by-noca",
            "leaf",
            "noca",
            LONG_LIVED,
            "ec",
            &["noca"],
            local,
            "certificate is signed by one that is none of a CA",
        ),
        (
            "by-oldca",
            "leaf",
            "oldca",
            LONG_LIVED,
            "ec",
            &["oldca"],
            local,
            "intermediate certificate `oldca` has expired",
        ),
        (
            "by-nextca",
            "leaf",
            "nextca",
            LONG_LIVED,
            "ec",
            &["nextca"],
            local,
            "intermediate certificate `nextca` is not valid yet",
        ),
    ];
    for (name, extensions, by, validity, key, chain, host, wrong) in all {
        pki.issue(name, extensions, by, validity, key);
        let server = pki.serve(name, chain, "");
        let o = pki.look(&server, &json!({"server_name": host}));
        assert!(o.message.starts_with(wrong), "{name}: {}", o.message);
        let status = match wrong {
            "" => Status::Ok,
            _ => Status::Critical,
        };
        assert_eq!(o.status, status, "{name}: {}", o.message);
        let trusted = pki.openssl_trusts(name, chain, host);
        assert_eq!(trusted, wrong.is_empty(), "{name}: {}", o.message);
    }
}

#[test]
fn certificates_that_no_ca_made() {
    if !Certs::possible() {
        return;
    }
    let pki = Pki::new();
    pki.openssl("req -x509 -nodes -days 90 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout self.key -out self.pem", "ec");
    let o = pki.look(&pki.serve("self", &[], ""), &json!({}));
    assert!(
        o.message
            .starts_with("certificate is one of a CA and not of a server; "),
        "{}",
        o.message
    );
    assert_eq!(o.status, Status::Critical);
    // Version 1: openssl makes one of a request without extensions.
    pki.openssl(
        "req -nodes -subj /CN=localhost -keyout v1.key -out v1.csr",
        "ec",
    );
    pki.openssl(
        "x509 -req -in v1.csr -CA ca.pem -CAkey ca.key -days 90 -set_serial 7 -out v1.pem",
        "",
    );
    let o = pki.look(&pki.serve("v1", &[], ""), &json!({}));
    assert!(
        o.message.starts_with("certificate is of X.509 version 1"),
        "{}",
        o.message
    );
    // A weak key. This openssl serves it only at the lowest level.
    pki.issue("weak", "leaf", "ca", LONG_LIVED, "rsa:1024");
    let weak = pki.serve("weak", &[], "-cipher DEFAULT:@SECLEVEL=0");
    let o = pki.look(&weak, &json!({}));
    assert_eq!(o.status, Status::Critical, "{}", o.message);
    pki.issue("medium", "leaf", "ca", LONG_LIVED, "rsa:2048");
    let medium = pki.serve("medium", &[], "");
    let o = pki.look(&medium, &json!({"key_bits_min": 3072}));
    assert!(
        o.message
            .starts_with("medium has an RSA key of 2048 bits, at least 3072 bits are wanted; "),
        "{}",
        o.message
    );
    assert_eq!(o.metric("key_bits").value, 2048.0);
    // A hundred certificates.
    pki.issue("long", "leaf", "ca", LONG_LIVED, "ec");
    let o = pki.look(
        &pki.serve("long", &["stranger"; 100], ""),
        &json!({"chain": false}),
    );
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(o.detail.lines().count(), 101);
    // One of the chain that runs out first.
    pki.issue("brief", "inter", "ca", "-days 10", "ec");
    pki.issue("below", "leaf", "brief", LONG_LIVED, "ec");
    let server = pki.serve("below", &["brief"], "");
    let o = pki.look(&server, &json!({}));
    assert!(
        o.message
            .starts_with("brief of the chain valid for 10.0 days, below 21 days; "),
        "{}",
        o.message
    );
    assert_eq!(
        pki.look(&server, &json!({"chain": false})).status,
        Status::Ok
    );
    assert_eq!(o.metric("chain_days").warn, 21.0);
}
