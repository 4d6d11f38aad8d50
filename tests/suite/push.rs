//! A machine that nobody can scrape sends what a scrape would have got: nothing is lost while the receiver is away for a
//! while, what it does not want is counted, and no check waits for it.

use crate::harness::ctl::wait_for;
use crate::harness::http::{Page, address, get};
use crate::harness::prometheus::Prometheus;
use crate::harness::receiver::{Got, Manner, Receiver};
use crate::harness::{Check, Config, Daemon, check, skipped};
use healthd_testing::Nginx;
use nix::sys::signal::Signal;
use std::time::{SystemTime, UNIX_EPOCH};

const TAKES_WRITES: &[&str] = &["--web.enable-remote-write-receiver"];

fn good(name: &str) -> Check {
    check(name).script("true").interval("100ms")
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs_f64()
}

fn pushed(page: &Page, result: &str) -> f64 {
    let labels = format!("signal=\"metrics\",result=\"{result}\"");
    let value = page.value(&format!("healthd_push_points_total{{{labels}}}"));
    value.unwrap_or_else(|| panic!("{labels}: {}", page.body))
}

/// Remote write, TLS, a token and the real Prometheus behind a real nginx.
#[test]
fn prometheus_has_all_that_was_sent_also_of_the_time_it_was_away() {
    let config = Config::new();
    let dir = config.dir().to_owned();
    let Some(mut prometheus) = Prometheus::start(&dir.join("prometheus"), "", TAKES_WRITES) else {
        return skipped("prometheus is missing");
    };
    if !Nginx::installed() {
        return;
    }
    let nginx = Nginx::start(&format!(
        "location /api/v1/write {{ if ($http_authorization != \"Bearer s3cret\") {{ return 401; }} proxy_pass http://{}; }}",
        prometheus.address
    ));
    let secret = dir.join("token");
    std::fs::write(&secret, "s3cret\n").expect("our own directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, mode).expect("our own file");
    let push = format!(
        "url = \"https://localhost:{}/api/v1/write\"\nca = {:?}\ntoken = {{ file = \"token\" }}\ninterval = \"1s\"\nlabels = {{ site = \"rack7\" }}",
        nginx.port_tls,
        nginx.certs.ca()
    );
    let daemon = config
        .section("web", "listen = \"unix:web.sock\"")
        .section("push", &push)
        .check(good("a"))
        .check(good("goes"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["a", "goes"]);
    let at = address(&daemon);
    let metrics = || get(&at, "/metrics/self", &[]);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux has it");
    let host = host.trim();
    let of = |check: &str| {
        format!(
            "healthd_check_up{{check={check:?},job=\"healthd\",instance={host:?},site=\"rack7\",plugin=\"exec\"}}"
        )
    };
    wait_for("both are up", || {
        [of("a"), of("goes")]
            .iter()
            .all(|q| prometheus.query(q) == Some(1.0))
    });
    // A histogram is one for its receiver.
    wait_for("a quantile", || {
        let query = "histogram_quantile(0.5, sum by (le) (healthd_run_duration_seconds_bucket))";
        prometheus.query(query).is_some_and(|q| q > 0.0 && q < 60.0)
    });
    // What is there no more is over at once, not after five minutes.
    daemon.written.rewrite(&[good("a")]);
    daemon.ask("reload", serde_json::json!({}));
    wait_for("the series has ended", || {
        prometheus.query(&of("goes")).is_none()
    });
    assert_eq!(prometheus.query(&of("a")), Some(1.0));

    // Away: nginx answers 502. What was taken meanwhile comes when it is back.
    prometheus.kill();
    daemon.expect_log("is tried again: 502");
    let since = now();
    let waits = || metrics().value("healthd_push_waiting_points{signal=\"metrics\"}");
    // The first may be one that was on its way, and the second one that was begun before.
    for _ in 0..3 {
        let before = waits();
        wait_for("more waits", || waits() > before);
    }
    let until = now();
    let runs = daemon.detail("a")["runs"].as_u64();
    wait_for("it runs on", || daemon.detail("a")["runs"].as_u64() > runs);
    prometheus.restart(TAKES_WRITES);
    daemon.expect_log("is there again  dropped=0");
    wait_for("a sample of that time", || {
        let query = format!("timestamp({})", of("a"));
        prometheus.query_at(&query, Some(until)) >= Some(since)
    });
    wait_for("nothing waits", || waits() == Some(0.0));
    let page = metrics();
    assert_eq!(
        (pushed(&page, "refused"), pushed(&page, "dropped")),
        (0.0, 0.0)
    );
    assert!(pushed(&page, "sent") > 100.0);
    assert!(!daemon.log.all().iter().any(|l| l.contains("s3cret")));
    // It lives in a folder of the daemon's, and is none of its processes.
    drop(prometheus);
    stop(daemon);
}

/// Without `[web]` there is a process, and it listens nowhere.
#[test]
fn otlp_goes_to_whoever_takes_it_and_what_is_refused_is_counted() {
    let receiver = Receiver::new();
    receiver.be(Manner::Answer(503, "Retry-After: 1\r\n"));
    let url = receiver.url().replace("/hook", "/v1/metrics");
    let push = format!("url = {url:?}\ninterval = \"1s\"");
    let mut daemon = Config::new()
        .section("push", &push)
        .check(good("a"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["a"]);
    daemon.expect_log("is tried again: 503");
    // The same again, until it is taken.
    let refused = receiver.wait("two tries", 2, |_| true);
    assert_eq!(refused[0].body, refused[1].body);
    receiver.be(Manner::Accept);
    daemon.expect_log("is there again  dropped=0");
    let up = |got: &Got| point(got, "healthd_check_up", "a").is_some_and(|p| p["asDouble"] == 1.0);
    let got = receiver
        .wait("it is up", 1, |got| got.accepted && up(got))
        .remove(0);
    let head = got.head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/metrics http/1.1"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let resource = &got.body["resourceMetrics"][0]["resource"]["attributes"];
    let names: Vec<&str> = (resource.as_array().into_iter().flatten())
        .filter_map(|a| a["key"].as_str())
        .collect();
    assert_eq!(names, ["service.instance.id", "service.name"]);
    let first = &refused[0].body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    assert_eq!(first[0]["name"], "healthd_checks");

    // What it does not want is told once, and never sent again.
    receiver.be(Manner::Answer(400, ""));
    daemon.expect_log("does not take what it is sent: 400");
    let refused = |got: &Got| {
        let metrics = &got.body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let metrics = metrics.as_array().into_iter().flatten();
        let points = metrics.filter(|m| m["name"] == "healthd_push_points_total");
        points
            .flat_map(|m| m["sum"]["dataPoints"].as_array().into_iter().flatten())
            .any(|p| {
                let is_refused = |a: &serde_json::Value| a["value"]["stringValue"] == "refused";
                let attributes = p["attributes"].as_array().into_iter().flatten();
                attributes.into_iter().any(is_refused) && p["asDouble"].as_f64() > Some(0.0)
            })
    };
    receiver.be(Manner::Accept);
    receiver.wait("it says so of itself", 1, |got| {
        got.accepted && refused(got)
    });
    assert_eq!(daemon.role("web").len(), 1);
    assert!(!daemon.log.all().iter().any(|l| l.contains("web listens")));
    // What waits when it ends is lost, and is not lost silently.
    receiver.be(Manner::Answer(503, "Retry-After: 3600\r\n"));
    daemon.expect_log("is tried again: 503");
    daemon.signal(Signal::SIGTERM);
    daemon.expect_log("push: what waited for the receiver is lost  points=");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

/// Of this check.
fn point(got: &Got, metric: &str, check: &str) -> Option<serde_json::Value> {
    let metrics = &got.body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let metrics = metrics.as_array()?;
    let metric = metrics.iter().find(|m| m["name"] == metric)?;
    let points = metric["gauge"]["dataPoints"].as_array()?;
    let own = |p: &&serde_json::Value| {
        let attributes = p["attributes"].as_array().into_iter().flatten();
        attributes
            .into_iter()
            .any(|a| a["value"]["stringValue"] == check)
    };
    points.iter().find(own).cloned()
}
