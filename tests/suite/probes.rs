//! Modules: checks that run only when somebody asks, of the target that he names.

use crate::harness::fixtures::fixture;
use crate::harness::{Check, Config, Daemon, check, skipped};
use healthd_testing::Nginx;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;

fn module(name: &str, plugin: &str, options: &str) -> Check {
    check(name)
        .plugin(plugin)
        .set("probe", "true")
        .set("config", options)
}

fn ask(daemon: &Daemon, fields: Value) -> Result<Value, Value> {
    let mut all = json!({ "timeout_ms": 30_000 });
    for (key, value) in fields.as_object().expect("fields") {
        all[key] = value.clone();
    }
    let lines = daemon.client().ask("probe", all);
    lines.map(|mut lines| lines.remove(0))
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn a_module_runs_once_a_question_and_has_no_verdict() {
    if !Path::new("/usr/sbin/nginx").exists() {
        return skipped("nginx is not installed");
    }
    let nginx = Nginx::start(
        "location = /up { return 200 'all systems go'; } location = /down { return 404 'no'; }
         location = /away { return 302 /up; }",
    );
    let ca = nginx.certs.ca();
    let web = format!("{{ url = \"{{target}}\", ca_file = {ca:?} }}");
    let daemon = Config::new()
        .section("web", "listen = \"unix:web.sock\"\ntargets = [\"*\"]")
        .check(module("web", "http", &web))
        .check(module("port", "tcp", "{ host = \"{target}\" }"))
        .check(check("own").script("true").interval("100ms"))
        .spawn();
    daemon.expect_notify("READY=1");
    let probe =
        |module: &str, target: &str| ask(&daemon, json!({ "module": module, "target": target }));
    // Without a scheme it is http.
    let up = probe("web", &format!("127.0.0.1:{}/up", nginx.port)).expect("an answer");
    assert_eq!(up["status"], "ok", "{up}");
    let label = |row: &Value, key: &str| row["labels"][key].as_str().map(str::to_owned);
    for (key, value) in [
        ("address", "127.0.0.1"),
        ("status", "200"),
        ("http_version", "1.1"),
        ("content_length", "14"),
        ("body_bytes", "14"),
    ] {
        assert_eq!(label(&up, key).as_deref(), Some(value), "{up}");
    }
    assert_eq!(label(&up, "tls_version"), None);
    let tls = probe("web", &format!("https://localhost:{}/up", nginx.port_tls));
    let tls = tls.expect("an answer");
    let version = label(&tls, "tls_version").unwrap_or_default();
    assert!(version.starts_with("TLS 1."), "{tls}");
    assert_eq!(label(&tls, "chain_ends"), label(&tls, "certificate_ends"));
    let away = probe("web", &nginx.url("/away")).expect("an answer");
    assert_eq!(label(&away, "redirects").as_deref(), Some("1"), "{away}");
    let down = probe("web", &nginx.url("/down")).expect("an answer");
    assert_eq!(down["status"], "critical", "{down}");
    assert_eq!(label(&down, "broken_rule").as_deref(), Some("status"));
    let refused = probe("web", "http://127.0.0.1:1/").expect("an answer");
    assert_eq!(refused["message"], "connect: connection refused");
    assert_eq!(label(&refused, "address").as_deref(), Some("127.0.0.1"));
    let port = probe("port", &format!("127.0.0.1:{}", nginx.port)).expect("an answer");
    assert_eq!(
        (&port["status"], &port["plugin"]),
        (&json!("ok"), &json!("tcp"))
    );
    assert_eq!(port["config"]["port"], nginx.port);

    for (module, target, code, said) in [
        ("wep", "x", "no_such_check", "similar name exists: `web`"),
        ("own", "x", "no_such_check", "`probe = true`"),
        ("port", "127.0.0.1", "bad_request", "no port"),
        ("web", "a\nb", "bad_request", "control character"),
    ] {
        let e = probe(module, target).expect_err("a refusal");
        let text = format!("{} {}", e["message"], e["help"]);
        assert_eq!(e["code"], code, "{e}");
        assert!(text.contains(said), "{e}");
    }
    // None of it is a check.
    let rows = daemon.ask("status", json!({}));
    assert_eq!(rows.len(), 1, "{rows:?}");
    stop(daemon);
}

#[test]
fn a_deadline_is_the_askers_and_a_module_that_crashes_rests() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = silent.local_addr().expect("its address");
    let daemon = Config::new()
        .section("web", "listen = \"unix:web.sock\"\ntargets = [\"*\"]")
        .plugin_file(fixture("crash"))
        .check(module(
            "port",
            "tcp",
            "{ host = \"{target}\", expect = \"x\" }",
        ))
        .check(module("bad", "crash", "{ how = \"{target}\" }"))
        .spawn();
    daemon.expect_notify("READY=1");
    let asked = json!({ "module": "port", "target": at.to_string(), "timeout_ms": 300 });
    let late = ask(&daemon, asked).expect("an answer");
    assert_eq!(late["fault"], "timeout", "{late}");
    let crash = json!({ "module": "bad", "target": "segv" });
    let crashed = ask(&daemon, crash.clone()).expect("an answer");
    assert_eq!(crashed["fault"], "crash", "{crashed}");
    // For a second, and after each crash for longer: whoever comes later finds it at work once more.
    let e = loop {
        match ask(&daemon, crash.clone()) {
            Ok(crashed) => assert_eq!(crashed["fault"], "crash", "{crashed}"),
            Err(e) => break e,
        }
    };
    assert!(
        e["message"]
            .as_str()
            .is_some_and(|m| m.contains("killed a worker")),
        "{e}"
    );
    // Others go on.
    let asked = json!({ "module": "port", "target": "127.0.0.1:1" });
    let refused = ask(&daemon, asked).expect("an answer");
    assert_eq!(refused["message"], "connect: connection refused");
    stop(daemon);
}

#[test]
fn a_reload_changes_modules_and_what_is_wrong_with_one_is_told() {
    let daemon = Config::new()
        .section("web", "listen = \"unix:web.sock\"\ntargets = [\"*\"]")
        .check(module("port", "tcp", "{ host = \"{target}\" }"))
        .spawn();
    daemon.expect_notify("READY=1");
    let asked = json!({ "module": "two", "target": "127.0.0.1:1" });
    assert_eq!(
        ask(&daemon, asked.clone()).expect_err("not yet")["code"],
        "no_such_check"
    );
    let two = module("two", "tcp", "{ host = \"{target}\" }");
    daemon.written.rewrite(&[two]);
    daemon.ask("reload", json!({}));
    assert_eq!(
        ask(&daemon, asked).expect("an answer")["status"],
        "critical"
    );
    for (options, said) in [
        (
            "{ host = \"localhost\", port = 1 }",
            "no `{target}` in its `config`",
        ),
        ("{ host = \"{target}\", expct = \"x\" }", "expct"),
        ("{ host = \"{target}\", expect = \"(\" }", "expect"),
    ] {
        daemon.written.rewrite(&[module("two", "tcp", options)]);
        let e = daemon
            .client()
            .ask("reload", json!({}))
            .expect_err("a mistake");
        assert!(e["diagnostics"].to_string().contains(said), "{e}");
    }
    stop(daemon);
}
