//! TLS of the real nginx.

use super::{LOCATIONS, check, nginx, told};
use healthd_plugin::Status;
use healthd_plugin::serde_json::json;
use healthd_testing::{Certs, Nginx};

#[test]
fn tls_is_verified() {
    let Some(w) = nginx() else { return };
    let at = |host: &str| format!("https://{host}:{}/ok", w.port_tls);
    let ca = w.certs.ca();
    let o = check(json!({"url": at("127.0.0.1"), "ca_file": ca, "body_contains": "hello"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(o.phases, ["connect", "tls", "ttfb"]);
    assert!((o.metric("certificate").value - 30.0).abs() < 1.0);
    assert!(o.metric("tls").value > 0.0);
    assert_eq!(
        check(json!({"url": at("127.0.0.1"), "ca_file": ca, "server_name": "localhost"})).status,
        Status::Ok
    );
    let o = check(json!({"url": at("127.0.0.1"), "ca_file": ca, "server_name": "other.example"}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: certificate is not for other.example"
        )
    );
    let o = check(json!({"url": at("127.0.0.1")}));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "tls: certificate is signed by no CA that is trusted here"
        )
    );
    let o = check(json!({"url": at("127.0.0.1"), "insecure": true}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let o = check(json!({"url": format!("https://127.0.0.1:{}", w.port), "insecure": true}));
    assert_eq!(
        told(&o),
        (Status::Critical, "tls: the server does not speak TLS")
    );
}

#[test]
fn certificate_days_are_judged() {
    let Some(w) = nginx() else { return };
    let options = |warn: f64, crit: f64| {
        json!({"url": format!("https://127.0.0.1:{}/ok", w.port_tls), "ca_file": w.certs.ca(),
            "certificate_warn_days": warn, "certificate_crit_days": crit})
    };
    assert_eq!(check(options(20.0, 10.0)).status, Status::Ok);
    let o = check(options(40.0, 10.0));
    assert_eq!(
        (o.status, &o.message[..21]),
        (Status::Warn, "certificate valid for")
    );
    assert_eq!(check(options(40.0, 35.0)).status, Status::Critical);
    assert_eq!(
        (o.metric("certificate").warn, o.metric("certificate").crit),
        (40.0, 10.0)
    );
}

#[test]
fn an_expired_certificate() {
    if !Nginx::installed() {
        return;
    }
    let certs = Certs::new();
    let (pem, key) = certs.expired();
    let nginx = Nginx::start_with(LOCATIONS, certs, &pem, &key);
    let url = format!("https://127.0.0.1:{}/ok", nginx.port_tls);
    let o = check(json!({"url": url, "ca_file": nginx.certs.ca()}));
    assert_eq!(told(&o), (Status::Critical, "tls: certificate has expired"));
    let o = check(json!({"url": url, "insecure": true, "certificate_crit_days": 7}));
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message.starts_with("certificate expired "),
        "{}",
        o.message
    );
}
