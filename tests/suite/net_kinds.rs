//! The kinds of `libhealthd_net.so` inside the daemon.

use crate::harness::plugins::built;
use crate::harness::{Config, check};
use healthd_testing::{in_own_network, net_sysctl};
use serde_json::Value;

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
