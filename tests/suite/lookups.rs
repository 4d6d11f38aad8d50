//! Names: a dead zone hurts its own checks alone, and what this machine cannot look up is nobody's alarm. Each test has a
//! network of its own, and its daemon an /etc/resolv.conf of its own.

use crate::harness::plugins::built;
use crate::harness::{Check, Config, Full, check};
use healthd_testing::{NameServer, in_own_network, until};
use serde_json::{Value, json};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;

/// The config of a daemon for which `resolv.conf` in its folder is /etc/resolv.conf.
fn config(resolv_conf: &str) -> (Config, PathBuf) {
    let config = Config::new().only_asked();
    let config = config.plugin_file(built("healthd-tcp", "libhealthd_tcp.so"));
    let config = config.plugin_file(built("healthd-http", "libhealthd_http.so"));
    let file = config.dir().join("resolv.conf");
    fs::write(&file, resolv_conf).expect("our own folder");
    fs::write(
        config.dir().join("hosts"),
        "127.0.0.1 localhost in-the-file\n",
    )
    .expect("our own folder");
    fs::write(config.dir().join("nsswitch"), "hosts: files dns\n").expect("our own folder");
    let dir = config.dir().display().to_string();
    let mount = format!(
        "mount --bind {dir}/resolv.conf /etc/resolv.conf && mount --bind {dir}/hosts /etc/hosts && \
         mount --bind {dir}/nsswitch /etc/nsswitch.conf && exec \"$@\""
    );
    let config = config.wrapper(&["unshare", "-m", "/bin/sh", "-c", &mount, "sh"]);
    (config, file)
}

/// Takes connections on a port of loopback and hangs up.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("our own network");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    port
}

fn named(name: &str, host: &str, port: u16) -> Check {
    check(name)
        .plugin("tcp")
        .interval("1h")
        .set("attempts", "1")
        .set("config", &format!("{{ host = {host:?}, port = {port} }}"))
}

fn rows(answer: Vec<Value>) -> Vec<Value> {
    answer
        .into_iter()
        .filter(|r| r["type"] == "check")
        .collect()
}

#[test]
fn sixty_names_in_a_silent_zone_hurt_no_other_name() {
    in_own_network(|| {
        let Some(_server) = NameServer::start("* 0 A 127.0.0.1\n") else {
            return;
        };
        let port = greeter();
        let (mut config, _) = config("nameserver 127.0.0.1\n");
        for n in 0..60 {
            config = config
                .check(named(&format!("dead-{n}"), &format!("h{n}.dead.test"), port).timeout("6s"));
        }
        for n in 0..200 {
            config = config.check(
                named(&format!("good-{n}"), &format!("h{n}.good.test"), port).timeout("30s"),
            );
        }
        let daemon = config.spawn();
        daemon.expect_notify("READY=1");
        let mut dead = daemon.client();
        dead.send(&json!({"v": 1, "op": "run", "names": ["dead-*"]}));
        // Their TTL is 0, so each of these runs asks, beside sixty that have no answer.
        for _ in 0..3 {
            let rows = rows(daemon.ask("run", json!({"names": ["good-*"]})));
            assert_eq!(rows.len(), 200);
            for row in rows {
                assert_eq!(
                    (&row["status"], &row["fault"]),
                    (&json!("ok"), &Value::Null),
                    "{row}"
                );
            }
        }
        let rows = rows(dead.answer().expect("each has a result"));
        assert_eq!(rows.len(), 60);
        for row in rows {
            let message = row["message"].as_str().unwrap_or_default();
            assert_eq!(
                (&row["status"], &row["fault"]),
                (&json!("critical"), &Value::Null),
                "{row}"
            );
            assert!(
                message.starts_with("dns: h") && message.contains("other names are answered"),
                "{row}"
            );
        }
        for line in daemon.log.all() {
            let good = line.contains("check changed") && line.contains("check=good-");
            assert!(!good || line.contains("to=ok"), "{line}");
        }
    });
}

#[test]
fn what_this_machine_cannot_look_up_is_nobodys_alarm() {
    in_own_network(|| {
        let port = greeter();
        let (mut config, resolv_conf) = config("nameserver 127.0.0.1\n");
        for (name, host) in [
            ("web", "www.good.test"),
            ("none", "none.good.test"),
            ("local", "localhost"),
            ("file", "in-the-file"),
            ("odd", "a..b"),
        ] {
            config = config.check(named(name, host, port).timeout("5s"));
        }
        let turned = check("turned").plugin("http").interval("1h").timeout("5s");
        let options = format!("{{ url = \"http://www.good.test:{port}/\", invert = true }}");
        let daemon = config.check(turned.set("config", &options)).spawn();
        daemon.expect_notify("READY=1");
        // Nobody listens on port 53.
        let row = daemon.run("web");
        assert_eq!(
            (&row["status"], &row["fault"]),
            (&json!("unknown"), &json!("resolver")),
            "{row}"
        );
        assert_eq!(
            row["message"],
            "self:resolver: dns: no name server answers: www.good.test: 127.0.0.1: connection refused"
        );
        assert_ne!(row["verdict"], "critical", "{row}");
        let why = daemon.told_by_daemon(&["why", "web"]);
        assert!(why.out.contains("could not look up names"), "{why:?}");
        for name in ["local", "file"] {
            let row = daemon.run(name);
            assert_eq!(row["status"], "ok", "{row}");
        }
        // What can be no name is a mistake in the config, and `validate` says so before.
        let row = daemon.run("odd");
        assert_eq!(row["fault"], "config", "{row}");
        assert_eq!(
            row["message"],
            "plugin `tcp` rejects its config: host: `a..b` is no host name: there is nothing between two dots"
        );
        // One who listens and says nothing is told in the run's own time.
        let silent = UdpSocket::bind("127.0.0.1:53").expect("our own network");
        let row = daemon.run("web");
        let message = row["message"].as_str().unwrap_or_default();
        assert_eq!(row["fault"], "resolver", "{row}");
        assert!(message.contains("127.0.0.1 is silent"), "{row}");
        // Nor is it the silence that a check wants which is turned around.
        let row = daemon.run("turned");
        assert_eq!(
            (&row["status"], &row["fault"]),
            (&json!("unknown"), &json!("resolver")),
            "{row}"
        );
        drop(silent);
        let Some(_server) = NameServer::start("www 0 A 127.0.0.1\n") else {
            return;
        };
        let row = daemon.run("web");
        assert_eq!(
            (&row["status"], &row["verdict"]),
            (&json!("ok"), &json!("ok")),
            "{row}"
        );
        let row = daemon.run("none");
        assert_eq!(row["status"], "critical", "{row}");
        assert_eq!(row["message"], "dns: there is no such name: none.good.test");
        // Another file counts without a reload.
        fs::write(&resolv_conf, "nameserver 192.0.2.1\n").expect("our own file");
        until(
            || daemon.run("web")["fault"] == "resolver",
            || daemon.log.all().join("\n"),
        );
        let row = daemon.row("web");
        let message = row["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("192.0.2.1: network is unreachable"),
            "{row}"
        );
        assert_eq!(row["verdict"], "ok", "{row}");
    });
}

#[test]
fn no_descriptor_for_a_look_up_is_our_own_fault() {
    in_own_network(|| {
        let Some(_server) = NameServer::start("www 0 A 127.0.0.1\n") else {
            return;
        };
        let (config, _) = config("nameserver 127.0.0.1\n");
        let daemon = config
            .check(named("web", "www.good.test", greeter()))
            .spawn();
        daemon.expect_notify("READY=1");
        assert_eq!(daemon.run("web")["status"], "ok");
        // A worker that finds a limit changed, as it looks once a second, puts it back: then once more.
        let mut row = Value::Null;
        until(
            || {
                let full = Full::of(daemon.pids("io")[&0]);
                row = daemon.run("web");
                drop(full);
                row["fault"] == "resolver"
            },
            || daemon.log.all().join("\n"),
        );
        assert_eq!(row["status"], "unknown", "{row}");
        assert_eq!(
            row["message"],
            "self:resolver: dns: no socket for a look-up: too many open files"
        );
        assert_eq!(daemon.run("web")["status"], "ok");
    });
}
