//! The plugin on MockHost against openssl's server with certificates of many kinds, and beside openssl's own verdict.

use crate::tests::{check, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Folder, Peer, Server, accepts, run};
use std::io::Write;
use std::process::Command;

/// A CA, an intermediate CA, and what they sign.
struct Pki {
    folder: Folder,
}

const CONFIG: &str = "[ca]\ndefault_ca = x\n[x]\ndir = .\ndatabase = ./index.txt\nserial = ./serial\nnew_certs_dir = .\n\
    default_md = sha256\npolicy = p\nunique_subject = no\n[p]\ncommonName = optional\n\
    [leaf]\nbasicConstraints = critical,CA:false\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n\
    [wild]\nsubjectAltName = DNS:*.example.org\n[other]\nsubjectAltName = DNS:other.example\n[nosan]\nbasicConstraints = CA:false\n\
    [client]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = clientAuth\n\
    [server]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\nkeyUsage = digitalSignature\n\
    [odd]\nsubjectAltName = DNS:localhost\n1.2.3.4.5 = critical,ASN1:UTF8String:odd\n\
    [many]\nsubjectAltName = @names\n[names]\nDNS.1 = a.example\nDNS.2 = localhost\nemail.1 = a@b.example\nURI.1 = http://x/\n\
    [isca]\nbasicConstraints = critical,CA:true\nsubjectAltName = DNS:localhost\n\
    [inter]\nbasicConstraints = critical,CA:true\n\
    [upper]\nsubjectAltName = DNS:LOCALHOST\n\
    [otherip]\nsubjectAltName = IP:127.0.0.9\n\
    [any]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = anyExtendedKeyUsage\n\
    [email]\nsubjectAltName = DNS:localhost\nextendedKeyUsage = emailProtection\n\
    [lastca]\nbasicConstraints = critical,CA:true,pathlen:0\n\
    [permits]\nbasicConstraints = critical,CA:true\nnameConstraints = critical,permitted;DNS:localhost\n\
    [forbids]\nbasicConstraints = critical,CA:true\nnameConstraints = critical,excluded;DNS:localhost\n\
    [elsewhere]\nbasicConstraints = critical,CA:true\nnameConstraints = critical,permitted;DNS:example.org\n\
    [clientca]\nbasicConstraints = critical,CA:true\nextendedKeyUsage = clientAuth\n";
const LONG_LIVED: &str = "-days 90";

impl Pki {
    fn new() -> Pki {
        let pki = Pki {
            folder: Folder::new(),
        };
        pki.folder.write("index.txt", "");
        pki.folder.write("serial", "1000\n");
        pki.folder.write("ca.cnf", CONFIG);
        pki.openssl(
            "req -x509 -nodes -days 365 -subj /CN=root -keyout ca.key -out ca.pem",
            "ec",
        );
        pki.openssl(
            "req -x509 -nodes -days 365 -subj /CN=stranger -keyout stranger.key -out stranger.pem",
            "ec",
        );
        pki.issue("inter", "inter", "ca", LONG_LIVED, "ec");
        pki
    }

    fn openssl(&self, arguments: &str, key: &str) {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(self.folder.path());
        match key {
            "" => {}
            "ec" => {
                command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
            }
            "ec384" => {
                command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"]);
            }
            other => {
                command.args(["-newkey", other]);
            }
        }
        run(&mut command);
    }

    /// NAME.pem and NAME.key, with these extensions.
    fn issue(&self, name: &str, extensions: &str, by: &str, validity: &str, key: &str) {
        self.openssl(
            &format!("req -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"),
            key,
        );
        let signed = format!("-cert {by}.pem -keyfile {by}.key -in {name}.csr -out {name}.pem");
        self.openssl(
            &format!(
                "ca -batch -notext -config ca.cnf -extensions {extensions} {signed} {validity}"
            ),
            "",
        );
    }

    /// openssl's server with NAME.pem, sending the others of the chain too.
    fn serve(&self, name: &str, chain: &[&str], more: &str) -> Server {
        let file = |name: &str| self.folder.file(name);
        let all: String = chain
            .iter()
            .map(|n| std::fs::read_to_string(file(&format!("{n}.pem"))).unwrap())
            .collect();
        let chain_file = file(&format!("{name}.chain"));
        std::fs::write(&chain_file, &all).unwrap();
        Server::start(
            |_, port| {
                let mut command = Command::new("openssl");
                command
                    .args(["s_server", "-quiet", "-accept"])
                    .arg(format!("127.0.0.1:{port}"));
                command.arg("-cert").arg(file(&format!("{name}.pem")));
                command.arg("-key").arg(file(&format!("{name}.key")));
                if !all.is_empty() {
                    command.arg("-cert_chain").arg(&chain_file);
                }
                command.args(more.split(' ').filter(|w| !w.is_empty()));
                command
            },
            |_, port| accepts(port),
        )
    }

    fn look(&self, server: &Server, more: &Value) -> Outcome {
        let ca = self.folder.file("ca.pem");
        let mut options = json!({"host": "127.0.0.1", "port": server.port, "server_name": "localhost", "ca_file": ca});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        check("tls", &options)
    }

    /// Does openssl trust it for this name or address?
    fn openssl_trusts(&self, name: &str, chain: &[&str], host: &str) -> bool {
        let by = match host.parse::<std::net::IpAddr>() {
            Ok(_) => "-verify_ip",
            Err(_) => "-verify_hostname",
        };
        let mut command = Command::new("openssl");
        command
            .args(["verify", "-CAfile", "ca.pem", by, host])
            .args(["-purpose", "sslserver"])
            .current_dir(self.folder.path());
        for other in chain {
            command.args(["-untrusted", &format!("{other}.pem")]);
        }
        let done = command.arg(format!("{name}.pem")).output().unwrap();
        done.status.success()
    }
}

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
        let o = pki.look(&mutual, &json!({}));
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
