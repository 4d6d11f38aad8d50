//! The plugin on MockHost with what the openssl program makes.

use crate::tests::{check, plugin, refused};
use healthd_plugin::Status;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Folder, run};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn the_page_has_all_options() {
    plugin("certificate").assert_documented(include_str!("../../CERTIFICATE.md"));
}

#[test]
fn mistakes_in_options() {
    let options = json!({"files": ["/a", "/b"], "keys": ["/c"]});
    let text = "keys: 1 for 2 files; each file needs its own, in the same order";
    assert_eq!(refused("certificate", &options), text);
    assert!(refused("certificate", &json!({"files": ["a"]})).contains("is no absolute path"));
}

fn told(options: &Value) -> (Status, String) {
    let o = check("certificate", options);
    (o.status, o.message)
}

fn openssl(folder: &Path, arguments: &str) {
    run(Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder));
}

#[test]
fn certificates_and_keys() {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let (pem, key) = (certs.certificate(), certs.key());
    let (expired, expired_key) = certs.expired();
    let folder = Folder::new();
    let dir = folder.path();
    let private =
        |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    private(&key);
    private(&expired_key);
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let both = folder.write("both.pem", text(&key) + &text(&pem) + &text(&certs.ca()));
    private(&both);
    let shown = pem.display();
    let good = json!({"files": [pem], "keys": [key], "server_name": "localhost"});
    let o = check("certificate", &good);
    assert_eq!(
        (o.status, o.message),
        (Status::Ok, format!("{shown}: valid for 30.0 days"))
    );
    assert_eq!(o.metrics[0].unit, "d");
    for (options, status, begin) in [
        (
            json!({"files": [pem], "server_name": "127.0.0.1"}),
            Status::Ok,
            format!("{shown}: valid for 30.0 days"),
        ),
        (
            json!({"files": [both, pem]}),
            Status::Ok,
            format!(
                "{}: valid for 30.0 days, the first of 2 to run out",
                both.display()
            ),
        ),
        (
            json!({"files": [pem], "days_warn": 40}),
            Status::Warn,
            format!("{shown}: valid for 30.0 days, below 40 days"),
        ),
        (
            json!({"files": [pem], "days_crit": 40}),
            Status::Critical,
            format!("{shown}: valid for 30.0 days, below 40 days"),
        ),
        (
            json!({"files": [pem, expired]}),
            Status::Critical,
            format!("{}: expired ", expired.display()),
        ),
        (
            json!({"files": [pem], "server_name": "x.example"}),
            Status::Critical,
            format!("{shown}: is not for x.example"),
        ),
        (
            json!({"files": [pem], "keys": [expired_key]}),
            Status::Critical,
            format!("{} is not the key of {shown}", expired_key.display()),
        ),
        (
            json!({"files": [pem], "keys": [pem]}),
            Status::Critical,
            format!("{shown}: everybody may read this key"),
        ),
        (
            json!({"files": [pem], "keys": [pem], "key_private": false}),
            Status::Critical,
            format!("{shown}: no private key in it"),
        ),
        (
            json!({"files": [key]}),
            Status::Critical,
            format!("{}: no certificate in it", key.display()),
        ),
        (
            json!({"files": ["/nowhere"]}),
            Status::Critical,
            "/nowhere: there is none".into(),
        ),
        (
            json!({"files": [pem], "keys": ["/nowhere"]}),
            Status::Critical,
            "/nowhere: there is none".into(),
        ),
        (
            json!({"files": [dir]}),
            Status::Unknown,
            format!("{}: is no plain file", dir.display()),
        ),
    ] {
        let (s, text) = told(&options);
        assert_eq!(s, status, "{options}: {text}");
        assert!(text.contains(&begin), "{options}: {text}");
    }
    openssl(
        dir,
        "genpkey -algorithm RSA -aes256 -pass pass:x -out locked.key",
    );
    openssl(
        dir,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out odd.key",
    );
    openssl(
        dir,
        "req -x509 -newkey rsa:1024 -nodes -days 30 -subj /CN=weak -keyout weak.key -out weak.pem",
    );
    for (key, begin) in [
        ("locked.key", "the key has a password"),
        ("odd.key", "a key that cannot be compared here"),
    ] {
        let path = dir.join(key);
        private(&path);
        let (status, text) = told(&json!({"files": [pem], "keys": [path]}));
        assert_eq!(status, Status::Unknown, "{text}");
        assert!(
            text.starts_with(&format!("{}: {begin}", path.display())),
            "{text}"
        );
    }
    let weak = dir.join("weak.pem");
    let (status, text) = told(&json!({"files": [weak]}));
    assert_eq!(status, Status::Critical, "{text}");
    assert!(
        text.starts_with(&format!("{}: has an RSA key of 1024 bits", weak.display())),
        "{text}"
    );
    for (name, content) in [
        ("empty", &b""[..]),
        ("garbage", b"\xff\0-----BEGIN CERTIFICATE-----\nAAAA"),
        (
            "short",
            b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let path = folder.write(name, content);
        let (status, text) = told(&json!({"files": [path]}));
        assert_eq!(status, Status::Critical, "{name}: {text}");
    }
}
