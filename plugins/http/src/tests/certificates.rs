//! Certificates of all kinds, shown by the real `openssl s_server`.

use super::{check, told};
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Folder, Process, free_port, run};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A folder of keys and certificates.
struct Pki(Folder);

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

impl Pki {
    fn new() -> Option<Pki> {
        Certs::possible().then(|| Pki(Folder::new()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        run(command
            .args(arguments.split(' '))
            .current_dir(self.0.path()));
    }

    /// `NAME.pem` and `NAME.key`, self-signed.
    fn own(&self, name: &str, key: &str, more: &str) {
        self.openssl(&format!(
            "req -x509 -nodes -days 90 {key} -keyout {name}.key -out {name}.pem {more}"
        ));
    }

    /// `NAME.pem` and `NAME.key`, signed by `by`.
    fn signed(&self, name: &str, by: &str, days: u32, extensions: &str) {
        self.0.write(&format!("{name}.ext"), extensions);
        self.openssl(&format!(
            "req -new -nodes {EC} -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -CAcreateserial -days {days} -extfile {name}.ext -out {name}.pem"
        ));
    }

    fn serve(&self, arguments: &str) -> Served {
        let port = free_port("127.0.0.1");
        let mut child = Command::new("openssl")
            .args(format!("s_server -accept 127.0.0.1:{port} -www {arguments}").split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is there");
        let out = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(out).lines();
        let up = lines.any(|line| line.is_ok_and(|l| l.starts_with("ACCEPT")));
        assert!(up, "openssl s_server {arguments} did not start");
        Served {
            port,
            _process: Process(child),
        }
    }
}

struct Served {
    port: u16,
    _process: Process,
}

impl Served {
    fn ask(&self, options: Value) -> Outcome {
        self.ask_as("localhost", options)
    }

    fn ask_as(&self, host: &str, mut options: Value) -> Outcome {
        options["url"] = format!("https://{host}:{}/", self.port).into();
        options["family"] = "ipv4".into();
        check(options)
    }
}

const CA: &str = "basicConstraints=critical,CA:TRUE\n";
const LEAF: &str = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n";
const SAN: &str = "-subj /CN=device -addext subjectAltName=DNS:localhost,IP:127.0.0.1";

#[test]
fn a_self_signed_certificate_is_its_own_ca() {
    let Some(pki) = Pki::new() else { return };
    pki.own("ca", EC, SAN);
    pki.own(
        "leaf",
        EC,
        &format!("{SAN} -addext basicConstraints=critical,CA:FALSE"),
    );
    pki.own("other", EC, SAN);
    // As devices of old have it: version 1, no names but the common one.
    pki.openssl(&format!(
        "req -new -nodes {EC} -subj /CN=localhost -keyout v1.key -out v1.csr"
    ));
    pki.openssl("x509 -req -in v1.csr -signkey v1.key -days 90 -out v1.pem");
    for name in ["ca", "leaf", "v1"] {
        for version in ["-tls1_2", "-tls1_3"] {
            let server = pki.serve(&format!("-cert {name}.pem -key {name}.key {version}"));
            let own = server.ask(json!({"ca_file": pki.path(&format!("{name}.pem"))}));
            assert_eq!(own.status, Status::Ok, "{name}: {}", own.message);
            assert!((own.metric("certificate").value - 90.0).abs() < 1.0);
            let o = server.ask(json!({"ca_file": pki.path("other.pem")}));
            assert_eq!(o.status, Status::Critical, "{name}: {}", o.message);
            let named =
                json!({"ca_file": pki.path(&format!("{name}.pem")), "server_name": "shop.example"});
            assert_eq!(
                told(&server.ask(named)),
                (Status::Critical, "tls: certificate is not for shop.example")
            );
        }
    }
    let server = pki.serve("-cert other.pem -key other.key");
    let o = server.ask(json!({}));
    assert_eq!(o.status, Status::Critical, "{}", o.message);
}

#[test]
fn a_certificate_for_clients_is_none_for_a_server() {
    let Some(pki) = Pki::new() else { return };
    let only = |what: &str| format!("{SAN} -addext extendedKeyUsage={what}");
    pki.own("client", EC, &only("clientAuth"));
    pki.own("both", EC, &only("clientAuth,serverAuth"));
    pki.own("any", EC, &only("anyExtendedKeyUsage"));
    pki.own("root", EC, "-subj /CN=root");
    pki.signed(
        "by-root",
        "root",
        90,
        &format!("{LEAF}extendedKeyUsage=clientAuth\n"),
    );
    for (name, ca, status) in [
        ("client", "client", Status::Critical),
        ("by-root", "root", Status::Critical),
        ("both", "both", Status::Ok),
        ("any", "any", Status::Ok),
    ] {
        let server = pki.serve(&format!("-cert {name}.pem -key {name}.key"));
        let o = server.ask(json!({"ca_file": pki.path(&format!("{ca}.pem"))}));
        assert_eq!(o.status, status, "{name}: {}", o.message);
        assert_eq!(
            o.message
                .starts_with("tls: certificate is not one for servers"),
            status == Status::Critical,
            "{name}: {}",
            o.message
        );
    }
}

#[test]
fn the_first_certificate_of_the_chain_to_end_counts() {
    let Some(pki) = Pki::new() else { return };
    pki.own("root", EC, "-subj /CN=root");
    pki.signed("short", "root", 3, CA);
    pki.signed("long", "root", 900, CA);
    pki.signed("site", "long", 300, LEAF);
    // The same key and name as `long`, by the root, and about to end: one way of two.
    pki.0.write("cross.ext", CA);
    pki.openssl("x509 -req -in long.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 -extfile cross.ext -out cross.pem");
    pki.signed("by-short", "short", 300, LEAF);
    let days = json!({"ca_file": pki.path("root.pem"), "certificate_warn_days": 14, "certificate_crit_days": 7});
    let server = pki.serve("-cert by-short.pem -key by-short.key -cert_chain short.pem");
    let o = server.ask(days.clone());
    assert_eq!(o.status, Status::Critical, "{}", o.message);
    assert!(
        o.message
            .starts_with("intermediate certificate `short` valid for "),
        "{}",
        o.message
    );
    assert!((o.metric("certificate").value - 3.0).abs() < 0.1);
    let both = [pki.path("cross.pem"), pki.path("long.pem")]
        .map(|p| std::fs::read_to_string(p).expect("it was made"))
        .concat();
    pki.0.write("both.pem", both);
    let server = pki.serve("-cert site.pem -key site.key -cert_chain both.pem");
    let o = server.ask(days);
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.metric("certificate").value > 80.0, "{}", o.message);
}

#[test]
fn insecure_takes_any_and_says_what() {
    let Some(pki) = Pki::new() else { return };
    pki.openssl("req -new -nodes -newkey rsa:2048 -subj /CN=device -keyout v1.key -out v1.csr");
    pki.openssl("x509 -req -in v1.csr -signkey v1.key -days 90 -out v1.pem");
    for (name, key) in [
        ("short", "-newkey rsa:1024"),
        ("p521", "-newkey ec -pkeyopt ec_paramgen_curve:secp521r1"),
        ("ed448", "-newkey ed448"),
        ("pss", "-newkey rsa-pss -pkeyopt rsa_keygen_bits:2048"),
        ("plain", EC),
    ] {
        pki.own(name, key, "-subj /CN=device");
    }
    for (name, version, said) in [
        ("v1", "-tls1_2", "`device`, self-signed, X.509 version 1"),
        ("v1", "-tls1_3", "`device`, self-signed, X.509 version 1"),
        (
            "short",
            "-tls1_2",
            "`device`, self-signed, RSA key of 1024 bits",
        ),
        (
            "short",
            "-tls1_3",
            "`device`, self-signed, RSA key of 1024 bits",
        ),
        (
            "p521",
            "-tls1_2",
            "`device`, self-signed, key on curve P-521",
        ),
        (
            "p521",
            "-tls1_3",
            "`device`, self-signed, key on curve P-521",
        ),
        ("ed448", "-tls1_3", "`device`, self-signed, Ed448 key"),
        ("pss", "-tls1_3", "`device`, self-signed"),
        ("plain", "-tls1_3", "`device`, self-signed"),
    ] {
        let server = pki.serve(&format!(
            "-cert {name}.pem -key {name}.key {version} -cipher ALL:@SECLEVEL=0"
        ));
        let o = server.ask(json!({"insecure": true}));
        assert_eq!(o.status, Status::Ok, "{name} {version}: {}", o.message);
        let end = format!(" (not verified: {said})");
        assert!(o.message.ends_with(&end), "{name}: {}", o.message);
    }
    // With TLS 1.2 rustls has no such keys.
    let server = pki.serve("-cert pss.pem -key pss.key -tls1_2");
    let o = server.ask(json!({"insecure": true}));
    assert_eq!(o.status, Status::Unknown, "{}", o.message);
    assert!(o.message.contains("cannot be used here"), "{}", o.message);
}

#[test]
fn what_cannot_be_judged_is_unknown_in_plain_words() {
    let Some(pki) = Pki::new() else { return };
    pki.own(
        "p521",
        "-newkey ec -pkeyopt ec_paramgen_curve:secp521r1",
        SAN,
    );
    pki.own("rsa", "-newkey rsa:2048", SAN);
    let server = pki.serve("-cert p521.pem -key p521.key -tls1_3");
    let o = server.ask(json!({"ca_file": pki.path("p521.pem")}));
    assert_eq!(o.status, Status::Unknown, "{}", o.message);
    let server = pki.serve("-cert rsa.pem -key rsa.key -tls1_2 -cipher kRSA");
    let o = server.ask(json!({"ca_file": pki.path("rsa.pem")}));
    assert_eq!(o.status, Status::Unknown, "{}", o.message);
    assert!(o.message.contains("RSA key exchange"), "{}", o.message);
    let server = pki.serve("-cert rsa.pem -key rsa.key -groups P-521");
    let o = server.ask(json!({"ca_file": pki.path("rsa.pem")}));
    assert_eq!(o.status, Status::Unknown, "{}", o.message);
    assert!(o.message.contains("curves"), "{}", o.message);
    let server = pki.serve("-cert rsa.pem -key rsa.key -tls1_1 -cipher DEFAULT:@SECLEVEL=0");
    let o = server.ask(json!({"ca_file": pki.path("rsa.pem")}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: the server only speaks TLS below 1.2"
        )
    );
    let server = pki.serve("-cert rsa.pem -key rsa.key -tls1_2");
    let o = server.ask(json!({"ca_file": pki.path("rsa.pem"), "tls_min": "1.3"}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: the server speaks no version of TLS that is allowed here"
        )
    );
    let o = server.ask(json!({"ca_file": pki.path("rsa.pem"), "tls_max": "1.2"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
}

#[test]
fn a_demanded_client_certificate() {
    let Some(pki) = Pki::new() else { return };
    pki.own("site", EC, SAN);
    pki.own("root", EC, "-subj /CN=root");
    pki.own("stranger", EC, "-subj /CN=stranger");
    pki.signed("client", "root", 90, "extendedKeyUsage=clientAuth\n");
    let own = json!({"ca_file": pki.path("site.pem")});
    let with = |certificate: &str, key: &str| json!({"ca_file": pki.path("site.pem"), "cert_file": pki.path(certificate), "key_file": pki.path(key)});
    for version in ["-tls1_2", "-tls1_3"] {
        let server = pki.serve(&format!(
            "-cert site.pem -key site.key -CAfile root.pem -Verify 2 -verify_return_error {version}"
        ));
        let o = server.ask(own.clone());
        assert_eq!(o.status, Status::Critical, "{}", o.message);
        assert!(
            o.message.starts_with("tls: ")
                && o.message
                    .contains("the server wants a client certificate (cert_file, key_file)"),
            "{version}: {}",
            o.message
        );
        let o = server.ask(with("client.pem", "client.key"));
        assert_eq!(o.status, Status::Ok, "{version}: {}", o.message);
        let o = server.ask(with("stranger.pem", "stranger.key"));
        assert_eq!(o.status, Status::Critical, "{version}: {}", o.message);
        assert!(
            o.message
                .contains("the server refuses our client certificate"),
            "{version}: {}",
            o.message
        );
        // One that only asks is served without.
        let server = pki.serve(&format!(
            "-cert site.pem -key site.key -CAfile root.pem -verify 2 {version}"
        ));
        let o = server.ask(own.clone());
        assert_eq!(o.status, Status::Ok, "{version}: {}", o.message);
    }
    let plugin = MockHost::new(crate::hd_plugin_v1).plugin("http");
    for (certificate, key, why) in [
        ("client.pem", "site.key", "is not the key of"),
        ("client.key", "client.key", "no certificate in it"),
        ("client.pem", "client.pem", "no private key in it"),
        ("none.pem", "client.key", "No such file or directory"),
    ] {
        let mut options = with(certificate, key);
        options["url"] = "https://localhost/".into();
        let e = plugin.create(options.to_string()).err().expect(why);
        assert!(e.contains(why), "{e}");
    }
}

#[test]
fn pins_are_the_servers_own() {
    let Some(pki) = Pki::new() else { return };
    pki.own("site", EC, SAN);
    let server = pki.serve("-cert site.pem -key site.key");
    let hex = |command: &str| {
        let done = Command::new("sh")
            .args(["-c", command])
            .current_dir(pki.0.path())
            .output();
        let text = String::from_utf8(done.expect("a shell").stdout).expect("text");
        text.trim().to_owned()
    };
    let key = hex(
        "openssl x509 -in site.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64",
    );
    let whole = hex("openssl x509 -in site.pem -noout -fingerprint -sha256 | cut -d= -f2");
    for (pin, status) in [
        (format!("sha256//{key}"), Status::Ok),
        (format!("sha256:{whole}"), Status::Ok),
        (format!("sha256:{}", "00".repeat(32)), Status::Critical),
    ] {
        for trust in [
            json!({"insecure": true}),
            json!({"ca_file": pki.path("site.pem")}),
        ] {
            let mut options = trust;
            options["pins"] = json!([pin]);
            let o = server.ask(options);
            assert_eq!(o.status, status, "{pin}: {}", o.message);
        }
    }
}

#[test]
fn a_ca_file_is_read_anew() {
    let Some(pki) = Pki::new() else { return };
    pki.own("old", EC, SAN);
    pki.own("new", EC, SAN);
    let server = pki.serve("-cert new.pem -key new.key");
    let copy = |from: &str| {
        std::fs::copy(pki.path(from), pki.path("next.pem")).expect("a copy");
        std::fs::rename(pki.path("next.pem"), pki.path("trusted.pem")).expect("a rename");
    };
    copy("old.pem");
    let options = json!({"url": format!("https://127.0.0.1:{}/", server.port), "ca_file": pki.path("trusted.pem")});
    let plugin = MockHost::new(crate::hd_plugin_v1).plugin("http");
    let check = plugin.create(options.to_string()).expect("good options");
    let run = || check.run(Duration::from_secs(30));
    assert_eq!(run().status, Status::Critical);
    copy("new.pem");
    let deadline = Instant::now() + Duration::from_secs(30);
    while run().status != Status::Ok {
        assert!(Instant::now() < deadline, "{}", run().message);
    }
}

#[test]
fn certificate_days_need_tls() {
    let plugin = MockHost::new(crate::hd_plugin_v1).plugin("http");
    let e = plugin.create(json!({"url": "http://x", "certificate_warn_days": 14}).to_string());
    let e = e.err().expect("nobody would look at a certificate");
    assert!(
        e.starts_with("certificate_warn_days: needs an https url"),
        "{e}"
    );
    let chain = json!({"url": "http://x", "certificate_crit_days": 7, "expect_tls": true});
    assert!(plugin.create(chain.to_string()).is_ok());
}
