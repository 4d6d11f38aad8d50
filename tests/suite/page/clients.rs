//! The clients of healthchecks.io: what its documentation tells people to write into their jobs, with the address of
//! this daemon in place of its own.

use super::{get, stop};
use crate::harness::ctl::wait_for;
use crate::harness::http::address;
use crate::harness::{Config, check, skipped};
use std::process::Command;

#[test]
fn what_jobs_send_to_healthchecks_io_is_understood() {
    let daemon = Config::new()
        .section("web", "listen = \"127.0.0.1:0\"")
        .check(
            check("shop/backup")
                .plugin("heartbeat")
                .interval("1h")
                .set("attempts", "1")
                .set("config", "{ period = \"1h\" }"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let url = format!("http://{at}/ping/shop/backup");
    let until = |part: &str| {
        wait_for(part, || {
            let page = get(&at, "/v1/checks?match=shop/backup", &[]);
            page.body.contains(part)
        });
    };
    for (tool, script, wanted) in [
        // Crontab, with curl and with wget.
        (
            "curl",
            "curl -fsS -m 10 --retry 5 -o /dev/null $URL",
            "well ",
        ),
        (
            "curl",
            "curl -fsS -m 10 --retry 5 -o /dev/null $URL/fail",
            "it failed ",
        ),
        ("wget", "wget $URL -T 10 -t 5 -q -O /dev/null", "well "),
        ("curl", "curl -fsS -m 10 --retry 5 $URL/start", "it began "),
        // A script that says how it ended, with what it has printed.
        (
            "curl",
            "m=$(echo 12 files; exit 3) || true; curl -fsS -m 10 --retry 5 --data-raw \"$m\" $URL/3",
            "12 files",
        ),
        (
            "curl",
            "sh -c 'exit 4'; curl -fsS --retry 3 $URL/$?",
            "exit code 4",
        ),
        ("curl", "curl -I -fsS $URL", "well "),
        (
            "python3",
            "python3 -c 'import urllib.request, sys; urllib.request.urlopen(sys.argv[1], timeout=10)' $URL/fail",
            "it failed ",
        ),
        (
            "python3",
            "python3 -c 'import urllib.request, sys; urllib.request.urlopen(sys.argv[1], data=b\"13 files\", timeout=10)' $URL",
            "13 files",
        ),
    ] {
        let there = format!("command -v {tool} >/dev/null");
        let there = Command::new("sh").args(["-c", &there]).status();
        if !there.is_ok_and(|s| s.success()) {
            skipped(&format!("{tool} is missing"));
            continue;
        }
        let done = Command::new("sh")
            .args(["-c", script])
            .env("URL", &url)
            .env("no_proxy", "*")
            .output()
            .expect("a shell");
        assert!(done.status.success(), "{script}: {done:?}");
        until(wanted);
    }
    stop(daemon);
}
