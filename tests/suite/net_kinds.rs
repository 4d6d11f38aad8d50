//! The kinds of `libhealthd_net.so` inside the daemon.

use crate::harness::plugins::built;
use crate::harness::{Config, check};
use healthd_testing::{
    Certs, Nginx, Peer, Server, accepts, in_own_network, net_sysctl, program, run,
};
use serde_json::Value;
use std::io::Write;
use std::process::Command;

/// A daemon's config with the library of network checks.
fn config() -> Config {
    Config::new().plugin_file(built("healthd-net", "libhealthd_net.so"))
}

fn metric(row: &Value, name: &str) -> f64 {
    let metrics = row["metrics"].as_array().unwrap_or_else(|| panic!("{row}"));
    let found = metrics.iter().find(|m| m["name"] == name);
    found
        .and_then(|m| m["value"].as_f64())
        .unwrap_or_else(|| panic!("no metric {name}: {row}"))
}

#[test]
fn ping_in_the_daemon() {
    in_own_network(|| {
        net_sysctl("ipv4/ping_group_range", "0 2147483647");
        let mut config = config();
        for (name, options) in [
            (
                "up",
                "{ host = \"127.0.0.1\", packets = 3, spacing = \"10ms\" }",
            ),
            ("nowhere", "{ host = \"192.0.2.1\", packets = 1 }"),
        ] {
            let one = check(name).plugin("ping").interval("1h");
            config = config.check(one.set("config", options));
        }
        let daemon = config.spawn();
        daemon.expect_notify("READY=1");
        let row = daemon.run("up");
        assert_eq!(row["status"], "ok", "{row}");
        assert_eq!(metric(&row, "loss"), 0.0);
        let row = daemon.run("nowhere");
        assert_eq!(row["status"], "critical", "{row}");
        assert_eq!(row["message"], "send: network is unreachable", "{row}");
    });
}

#[test]
fn dns_in_the_daemon() {
    let Some(named) = program("named", "bind9") else {
        return;
    };
    let server = Server::start(
        |folder, port| {
            let zone = "$TTL 60\n@ IN SOA ns a 7 1h 1h 1h 1h\n@ NS ns\nns A 127.0.0.1\n";
            folder.write("zone", zone);
            let conf = format!(
                "options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
                   pid-file none; session-keyfile none; recursion no; dnssec-validation no; }};
                 controls {{ }}; zone \"example.org\" {{ type primary; file \"zone\"; }};",
                folder.path().display()
            );
            let conf = folder.write("named.conf", conf);
            let mut command = Command::new(&named);
            command.arg("-g").arg("-n").arg("1").arg("-c").arg(conf);
            command
        },
        |folder, _| {
            let log = std::fs::read_to_string(folder.file("log"));
            log.is_ok_and(|log| log.contains("all zones loaded"))
        },
    );
    let mut config = config();
    for (name, more) in [
        (
            "zone",
            "name = \"example.org\", type = \"SOA\", require_aa = true",
        ),
        ("missing", "name = \"none.example.org\""),
    ] {
        let options = format!("{{ servers = [\"127.0.0.1:{}\"], {more} }}", server.port);
        let one = check(name).plugin("dns").interval("1h");
        config = config.check(one.set("config", &options));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("zone");
    assert_eq!(row["status"], "ok", "{row}");
    assert_eq!(metric(&row, "serial"), 7.0);
    let row = daemon.run("missing");
    assert_eq!(row["status"], "critical", "{row}");
}

#[test]
fn tls_in_the_daemon() {
    if !Nginx::installed() {
        return;
    }
    let certs = Certs::new();
    let (pem, key) = certs.expired();
    let [good, bad] = [Nginx::start(""), Nginx::start_with("", certs, &pem, &key)];
    let mut config = config();
    for (name, nginx) in [("good", &good), ("bad", &bad)] {
        let ca = nginx.certs.ca();
        let port = nginx.port_tls;
        let options = format!("{{ host = \"localhost\", port = {port}, ca_file = {ca:?} }}");
        let one = check(name).plugin("tls").interval("1h");
        config = config.check(one.set("config", &options));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("good");
    assert_eq!(row["status"], "ok", "{row}");
    assert!((29.0..31.0).contains(&metric(&row, "days")), "{row}");
    let row = daemon.run("bad");
    assert_eq!(row["status"], "critical", "{row}");
    assert!(metric(&row, "days") < -1000.0, "{row}");
}

#[test]
fn ssh_in_the_daemon() {
    let Some(sshd) = program("sshd", "openssh-server") else {
        return;
    };
    let _ = std::fs::create_dir_all("/run/sshd");
    let server = Server::start(
        |folder, port| {
            let key = folder.file("key");
            let mut keygen = Command::new("ssh-keygen");
            run(keygen
                .args(["-q", "-N", "", "-t", "ed25519", "-f"])
                .arg(&key));
            let key = key.display();
            let conf =
                format!("ListenAddress 127.0.0.1:{port}\nHostKey {key}\nPidFile none\nUsePAM no\n");
            let conf = folder.write("sshd_config", conf);
            let mut command = Command::new(&sshd);
            command.arg("-D").arg("-e").arg("-f").arg(conf);
            command
        },
        |_, port| accepts(port),
    );
    let options = format!(
        "{{ host = \"127.0.0.1\", port = {}, version = \"^OpenSSH\" }}",
        server.port
    );
    let one = check("sshd").plugin("ssh").interval("1h");
    let daemon = config().check(one.set("config", &options)).spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("sshd");
    assert_eq!(row["status"], "ok", "{row}");
}

#[test]
fn redis_in_the_daemon() {
    let Some(redis) = program("redis-server", "redis-server") else {
        return;
    };
    let server = Server::start(
        |folder, port| {
            let mut command = Command::new(&redis);
            let port = port.to_string();
            command.args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--port",
                &port,
                "--dir",
            ]);
            command.arg(folder.path());
            command
        },
        |_, port| accepts(port),
    );
    let mut config = config();
    for (name, more) in [
        ("primary", "role = \"master\""),
        ("replica", "role = \"replica\""),
    ] {
        let options = format!("{{ host = \"127.0.0.1\", port = {}, {more} }}", server.port);
        let one = check(name).plugin("redis").interval("1h");
        config = config.check(one.set("config", &options));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("primary");
    assert_eq!(row["status"], "ok", "{row}");
    assert!(metric(&row, "memory") > 0.0, "{row}");
    let row = daemon.run("replica");
    assert_eq!(row["status"], "critical", "{row}");
}

/// What a run says of a port of 127.0.0.1 that speaks first, and says this.
fn of_a_peer(plugin: &str, said: &'static str, more: &str) -> Value {
    let peer = Peer::new(move |mut stream| {
        let _ = stream.write_all(said.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let options = format!(
        "{{ host = \"127.0.0.1\", port = {}{more} }}",
        peer.addr.port()
    );
    let one = check("peer").plugin(plugin).interval("1h");
    let daemon = config().check(one.set("config", &options)).spawn();
    daemon.expect_notify("READY=1");
    daemon.run("peer")
}

#[test]
fn mail_servers_in_the_daemon() {
    let row = of_a_peer("smtp", "421 busy\r\n", "");
    assert_eq!(
        (&row["status"], &row["message"]),
        (&"critical".into(), &"banner: 421 busy".into())
    );
    let row = of_a_peer("pop3", "+OK hi\r\n", ", tls = \"none\"");
    assert_eq!(
        (&row["status"], &row["message"]),
        (&"ok".into(), &"hi".into())
    );
    let row = of_a_peer("imap", "* BYE busy\r\n", ", tls = \"none\"");
    assert_eq!(row["status"], "critical", "{row}");
}

#[test]
fn ntp_in_the_daemon() {
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
    let port = nobody.local_addr().expect("it is bound").port();
    let options = format!("{{ server = \"127.0.0.1\", port = {port}, samples = 1 }}");
    let one = check("mute").plugin("ntp").interval("1h");
    let one = one.set("config", &options);
    let daemon = config().only_asked().check(one).spawn();
    daemon.expect_notify("READY=1");
    let row = daemon.run("mute");
    assert_eq!(row["message"], "no answer to 1 questions", "{row}");
    drop(nobody);
    let row = daemon.run("mute");
    assert_eq!(row["message"], "query: connection refused", "{row}");
}
