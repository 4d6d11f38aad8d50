//! The kinds of `libhealthd_net.so` inside the daemon.

use crate::harness::plugins::built;
use crate::harness::{Config, check};
use healthd_testing::{Server, in_own_network, net_sysctl, program};
use serde_json::Value;
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
