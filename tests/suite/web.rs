//! The web process: what it tells is what the maps say, nobody who asks can hurt it, and without it checks run on.

use crate::harness::ctl::wait_for;
use crate::harness::http::{Page, address, ask, get};
use crate::harness::prometheus::{Prometheus, promtool};
use crate::harness::{Config, DEADLINE, Daemon, check, kill, skipped, state};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;

fn config() -> Config {
    Config::new().section("web", "listen = \"unix:web.sock\"\nlabels = [\"team\"]")
}

fn good(name: &str) -> crate::harness::Check {
    check(name).script("true").interval("100ms")
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn without_its_section_there_is_no_process() {
    let daemon = Config::new().check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["a"]);
    // No process more than there was without these parts, and no map or file that only they would read.
    let all: Vec<String> = daemon.role("").iter().map(|pid| name_of(*pid)).collect();
    let known = [
        "healthd",
        "healthd-manager",
        "healthd-io",
        "healthd-cpu",
        "healthd-exec",
    ];
    for name in &all {
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
        assert!(known.contains(&name), "{all:?}");
    }
    assert!(daemon.role("web").is_empty() && daemon.role("recorder").is_empty());
    for file in [
        "run/metrics.map",
        "run/traces.map",
        "run/history.map",
        "run/web.labels",
        "state/history.db",
    ] {
        assert!(!daemon.dir().join(file).exists(), "{file}");
    }
    stop(daemon);
}

fn name_of(pid: u32) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    comm.unwrap_or_default().trim().to_owned()
}

#[test]
fn metrics_say_what_the_daemon_says_in_every_state() {
    let bad = check("bad")
        .script("echo down; exit 2")
        .set("attempts", "1");
    let daemon = config()
        .check(good("ok\\\"é").set("labels", "{ team = \"web\" }"))
        .check(bad.interval("100ms"))
        .check(
            check("pending")
                .script("sleep 1000")
                .interval("1h")
                .timeout("1h"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    daemon.watch(&["bad"]).until_verdict("bad", "critical");
    daemon.until_ok(&["ok\\\"é"]);
    daemon.ask("pause", serde_json::json!({ "names": ["bad"] }));
    wait_for("bad is paused", || {
        get(&at, "/metrics", &[]).value("healthd_checks{verdict=\"paused\"}") == Some(1.0)
    });
    let page = get(&at, "/metrics", &[]);
    assert_eq!(page.status, 200);
    assert!(
        page.head.contains("text/plain; version=0.0.4"),
        "{}",
        page.head
    );
    let ok = "check=\"ok\\\\\\\"é\",plugin=\"exec\",team=\"web\"";
    let bad = "check=\"bad\",plugin=\"exec\"";
    let pending = "check=\"pending\",plugin=\"exec\"";
    let value = |name: &str, labels: &str| page.value(&format!("{name}{{{labels}}}"));
    assert_eq!(value("healthd_check_up", ok), Some(1.0), "{}", page.body);
    assert_eq!(value("healthd_check_up", bad), Some(0.0));
    assert_eq!(value("healthd_check_status", bad), Some(2.0));
    assert_eq!(value("healthd_check_up", pending), None);
    let sum: f64 = ["ok", "warning", "critical", "unknown", "pending"]
        .iter()
        .filter_map(|v| value("healthd_checks", &format!("verdict=\"{v}\"")))
        .sum();
    assert_eq!(sum, 3.0);
    if promtool(&page).is_none() {
        skipped("promtool is missing");
    }
    let open = get(
        &at,
        "/metrics",
        &["Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"],
    );
    assert!(open.head.contains("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE healthd_runs counter"));
    let some = get(&at, "/metrics?match=ba*", &[]);
    assert!(some.value(&format!("healthd_check_up{{{bad}}}")).is_some());
    assert!(!some.body.contains(ok));
    let some = get(&at, "/metrics?match=team%3Dw*", &[]);
    assert!(some.body.contains(ok) && !some.body.contains(bad));
    let some = get(&at, "/metrics?match=verdict%3Dcritical+!team%3Dweb", &[]);
    assert!(some.body.contains(bad) && !some.body.contains(ok));
    let wrong = get(&at, "/metrics?match=verdict!%3Dok", &[]);
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("`!verdict=ok`"), "{}", wrong.body);
    // The manager is asked for these, and a scrape does not wait for it.
    wait_for("silences are told", || {
        let own = get(&at, "/metrics/self", &[]);
        own.value("healthd_silences{kind=\"ack\"}") == Some(0.0)
    });
    let own = get(&at, "/metrics/self", &[]);
    assert!(!own.body.contains("healthd_check_") && own.body.contains("healthd_build_info"));
    promtool(&own);

    // A dead worker, and then a dead manager: no counter goes back.
    let runs = |page: &Page| page.value("healthd_runs_total{plugin=\"exec\",outcome=\"ok\"}");
    kill(daemon.role("worker exec")[0], Signal::SIGKILL);
    promtool(&get(&at, "/metrics", &[]));
    let before = runs(&get(&at, "/metrics", &[])).expect("it is there");
    let manager = daemon.manager();
    kill(manager, Signal::SIGKILL);
    daemon.expect_notify("READY=1");
    let after = get(&at, "/metrics", &[]);
    assert!(runs(&after).expect("it is there") >= before, "{before}");
    promtool(&after);
    assert_eq!(get(&at, "/readyz", &[]).status, 200, "it went on beside");

    // A check that is removed takes nothing with it.
    let before = runs(&get(&at, "/metrics", &[])).expect("it is there");
    daemon.written.rewrite(&[good("other")]);
    daemon.ask("reload", serde_json::json!({}));
    // A picture is good for a moment.
    wait_for("bad is gone", || {
        !get(&at, "/metrics", &[]).body.contains(bad)
    });
    let page = get(&at, "/metrics", &[]);
    assert!(runs(&page).expect("it is there") >= before);
    stop(daemon);
}

/// The families of `daemon/docs/metrics.md`.
fn documented() -> Vec<String> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("daemon/docs/metrics.md");
    let page = std::fs::read_to_string(file).expect("shipped");
    let (_, series) = page.split_once("\n## Series\n").expect("a section");
    let rows = series.lines().filter_map(|line| line.strip_prefix("| "));
    let names = rows.filter_map(|row| row.split(" |").next());
    let words = names.flat_map(|names| names.split('`').skip(1).step_by(2));
    words.map(str::to_owned).collect()
}

/// The families that a page tells, those without a sample too.
fn told(page: &Page) -> Vec<String> {
    let types = page.body.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// A scrape of a daemon that has all: each documented family is in it, and no other.
#[test]
fn what_is_documented_is_told_and_the_other_way_round() {
    let route = "plugin = \"script\"\nconfig = { argv = [\"/bin/true\"] }\n";
    let lines = "listen = \"unix:web.sock\"\ntargets = [\"127.0.0.1\"]";
    let daemon = Config::new()
        .section("web", lines)
        .section("history", "")
        .notify(route)
        .check(good("a"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["a"]);
    let at = address(&daemon);
    let wanted = documented();
    assert!(wanted.len() > 40, "{wanted:?}");
    // The recorder says its part when it has begun, and the manager when it has the time: no two scrapes need be alike.
    // Of what is no counter of something that has not happened there is a value.
    let nothing = [
        "healthd_plugin_stuck_threads{plugin=\"exec\"}",
        "healthd_notify_messages_total{route=\"script\",result=\"accepted\"}",
        "healthd_notify_oldest_pending_seconds{route=\"script\"}",
        "healthd_notify_duration_seconds_count{route=\"script\"}",
        "healthd_metrics_dropped",
    ];
    let last = std::cell::RefCell::new(None);
    wait_for("all families, and values of these", || {
        let page = get(&at, "/metrics", &[]);
        let told = told(&page);
        let all = wanted.iter().all(|name| told.contains(name))
            && nothing.iter().all(|series| page.value(series).is_some());
        last.replace(Some(page));
        all
    });
    let page = last.take().expect("there was one");
    for name in told(&page) {
        assert!(wanted.contains(&name), "{name} is not in metrics.md");
    }
    for series in nothing {
        assert_eq!(page.value(series), Some(0.0), "{series}\n{}", page.body);
    }
    promtool(&page);
    stop(daemon);
}

#[test]
fn a_manager_that_hangs_is_told_by_readyz_and_checks_go_on_without_web() {
    let daemon = config().check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    assert_eq!(get(&at, "/livez", &[]).body, "ok\n");
    assert_eq!(get(&at, "/readyz", &[]).body, "ready\n");
    let [web] = daemon.role("web")[..] else {
        daemon.fail("one web process was expected")
    };
    kill(web, Signal::SIGKILL);
    daemon.expect_log("web died");
    let at = address(&daemon);
    assert_eq!(state(web), None);
    let runs = daemon.detail("a")["runs"].as_u64();
    wait_for("it runs on", || daemon.detail("a")["runs"].as_u64() > runs);
    // No beat moves now, and the supervisor cannot help it.
    kill(daemon.pid(), Signal::SIGSTOP);
    kill(daemon.manager(), Signal::SIGSTOP);
    wait_for("not ready", || get(&at, "/readyz", &[]).status == 503);
    assert!(get(&at, "/readyz", &[]).body.contains("has not turned for"));
    assert_eq!(get(&at, "/livez", &[]).status, 200);
    kill(daemon.manager(), Signal::SIGCONT);
    kill(daemon.pid(), Signal::SIGCONT);
    wait_for("ready again", || get(&at, "/readyz", &[]).status == 200);
    stop(daemon);
}

#[test]
fn who_has_no_token_reads_nothing_and_what_is_no_request_ends_nothing() {
    let config = Config::new();
    std::fs::write(config.dir().join("token"), "s3cret\n").expect("our own directory");
    let secret = config.dir().join("token");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(secret, mode).expect("our own file");
    let lines = "listen = \"127.0.0.1:0\"\nread = \"token\"\ntoken = { file = \"token\" }";
    let daemon = config.section("web", lines).check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let right = "Authorization: Bearer s3cret";
    for path in [
        "/",
        "/alerts",
        "/badge/a.svg",
        "/check/a",
        "/events",
        "/metrics",
        "/metrics/self",
        "/v1/alerts",
        "/v1/checks",
        "/v1/checks/a",
        "/v1/events",
        "/v1/plugins",
        "/v1/silences",
        "/v1/workers",
        "/workers",
    ] {
        assert_eq!(get(&at, path, &[]).status, 401, "{path}");
        for wrong in ["s3cre", "s3cret2", ""] {
            let header = format!("Authorization: Bearer {wrong}");
            assert_eq!(get(&at, path, &[&header]).status, 401, "{path}");
        }
        assert_eq!(get(&at, path, &[right]).status, 200, "{path}");
    }
    for path in ["/live", "/events/live", "/probe", "/v1/history/a"] {
        assert_eq!(get(&at, path, &[]).status, 401, "{path}");
    }
    assert_eq!(get(&at, "/livez", &[]).status, 200);
    for (request, status) in [
        ("POST /livez HTTP/1.0\r\n\r\n".to_owned(), 405),
        ("GET /../etc/passwd HTTP/1.0\r\n\r\n".to_owned(), 404),
        ("GET /%2e%2e/livez HTTP/1.0\r\n\r\n".to_owned(), 404),
        ("GET / HTTP/3.7\r\n\r\n".to_owned(), 400),
        (
            format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(40_000)),
            431,
        ),
    ] {
        assert_eq!(ask(&at, &request).status, status, "{}", &request[..20]);
    }
    for pid in daemon.role("") {
        let path = format!("/proc/{pid}/cmdline");
        let line = std::fs::read(path).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains("s3cret"));
    }
    assert!(!daemon.log.all().iter().any(|l| l.contains("s3cret")));
    stop(daemon);
}

#[test]
fn a_reload_starts_it_ends_it_and_gives_it_other_settings() {
    let daemon = Config::new().check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    assert!(daemon.role("web").is_empty());
    let reload = |lines: Option<&str>| {
        let mut sections = daemon.written.sections.borrow_mut();
        match lines {
            Some(lines) => sections.insert("web".into(), lines.into()),
            None => sections.remove("web"),
        };
        drop(sections);
        daemon.written.rewrite(&[good("a")]);
        daemon.ask("reload", serde_json::json!({}));
    };
    reload(Some("listen = \"unix:one.sock\""));
    let one = address(&daemon);
    assert!(one.ends_with("one.sock") && get(&one, "/livez", &[]).status == 200);
    reload(Some("listen = \"unix:two.sock\""));
    let two = address(&daemon);
    assert!(two.ends_with("two.sock") && get(&two, "/livez", &[]).status == 200);
    let [web] = daemon.role("web")[..] else {
        daemon.fail("one web process was expected")
    };
    reload(None);
    daemon.expect_log("web ended");
    assert_eq!(state(web), None);
    stop(daemon);
}

#[test]
fn a_socket_of_the_service_manager_is_answered_on() {
    let config = Config::new().section("web", "listen = \"systemd\"\nread = \"open\"");
    // What systemd does before it starts a service.
    let script = "import os, socket, sys\n\
        s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(8)\n\
        s.fileno() == 3 or os.dup2(s.fileno(), 3)\n\
        os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
        os.execv(sys.argv[1], sys.argv[1:])";
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return skipped("python3 is missing");
    }
    let config = config.wrapper(&["/usr/bin/python3", "-c", script]);
    let daemon = config.check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    assert!(at.starts_with("127.0.0.1:"), "{at}");
    assert_eq!(get(&at, "/livez", &[]).body, "ok\n");
    // It stays open while nobody answers: who comes then waits, and is answered.
    kill(daemon.role("web")[0], Signal::SIGKILL);
    assert_eq!(get(&at, "/livez", &[]).status, 200);
    stop(daemon);
}

/// The queries of the dashboard, with its variables filled in.
fn dashboard() -> Vec<String> {
    let file = etc("grafana/healthd.json");
    let text = std::fs::read_to_string(file).expect("shipped");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let targets = panels
        .iter()
        .flat_map(|p| p["targets"].as_array().expect("a list"));
    targets
        .map(|t| t["expr"].as_str().expect("a query"))
        .map(|q| q.replace("$__rate_interval", "30s"))
        .map(|q| {
            ["$job", "$instance", "$check"]
                .iter()
                .fold(q, |q, v| q.replace(v, ".*"))
        })
        .collect()
}

fn etc(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("etc")
        .join(path)
}

#[test]
fn the_rules_are_what_promtool_takes_and_fire_when_they_should() {
    for args in [
        ["check", "rules", "healthd.rules.yml"],
        ["test", "rules", "healthd.rules.test.yml"],
    ] {
        let mut tool = Command::new("promtool");
        tool.args(args).current_dir(etc("prometheus"));
        let Ok(done) = tool.output() else {
            return skipped("promtool is missing");
        };
        assert!(done.status.success(), "{done:?}");
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers_each_query_of_the_dashboard() {
    let bad = check("bad").script("exit 2").set("attempts", "1");
    let daemon = Config::new()
        .section("web", "listen = \"127.0.0.1:0\"")
        .section("history", "")
        .check(good("a"))
        .check(bad.interval("100ms"))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let dir = daemon.dir().join("prometheus");
    let rules = etc("prometheus/healthd.rules.yml");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}']\nscrape_configs:\n- job_name: healthd\n  static_configs: [{{ targets: ['{at}'] }}]\n",
        rules.display()
    );
    let Some(prometheus) = Prometheus::start(&dir, &config, &[]) else {
        return skipped("prometheus is missing");
    };
    let query = |query: &str| prometheus.query(query);
    // One that is slower than its second, on a machine that does other things, leaves a gap until the next.
    wait_for("three scrapes that were good", || {
        query("sum_over_time(up[1m])").is_some_and(|n| n >= 3.0)
    });
    wait_for("what one of them brought", || {
        query("healthd_check_up{check=\"a\"}") == Some(1.0)
    });
    for expr in dashboard() {
        wait_for(&expr, || query(&expr).is_some());
    }
    let rules = prometheus.api("rules");
    let groups = rules["data"]["groups"].as_array().expect("a list");
    assert_eq!(groups.len(), 2);
    wait_for("an alert on the bad check", || {
        prometheus.api("alerts")["data"]["alerts"][0]["labels"]["check"] == "bad"
    });
    drop(prometheus);
    stop(daemon);
}

/// Up to this text, which has to come.
fn read_until(stream: &mut TcpStream, part: &str) {
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a time that is not zero");
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(part) {
        let mut some = [0; 4096];
        let n = stream.read(&mut some).expect("it goes on");
        assert!(n > 0, "no `{part}`: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&some[..n]);
    }
}

#[test]
fn a_stop_ends_streams_and_kept_connections_in_order() {
    let config = Config::new().section("web", "listen = \"127.0.0.1:0\"");
    let mut daemon = config.check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let open = |request: &str, until: &str| {
        let mut stream = TcpStream::connect(&at).expect("it listens");
        let request = format!("GET {request} HTTP/1.1\r\nHost: healthd\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        read_until(&mut stream, until);
        stream
    };
    let mut pages = open("/live", "retry: 500");
    let mut events = open("/events/live", "retry: 500");
    let mut kept = open("/livez", "\r\n\r\nok\n");
    // Not from the supervisor: it says nothing to it.
    let [web] = daemon.role("web")[..] else {
        daemon.fail("one web process was expected")
    };
    kill(web, Signal::SIGTERM);
    assert_eq!(get(&at, "/livez", &[]).status, 200);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let rest = |stream: &mut TcpStream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("an end, no reset");
        rest
    };
    for stream in [&mut pages, &mut events] {
        // The last of its chunks: whoever reads knows that no more was to come.
        assert!(rest(stream).ends_with(b"0\r\n\r\n"));
    }
    assert_eq!(rest(&mut kept), b"");
    // Three, or one more: whose answer was read a moment ago may not have been counted off.
    let ends = daemon.expect_log("web ends  connections=");
    assert!(ends.ends_with(" cut=0"), "{ends}");
    let ended = daemon.expect_log("web ended  pid=");
    assert!(ended.contains("how=\"exit code 0\""), "{ended}");
}

#[test]
fn half_a_request_holds_up_no_stop() {
    let mut daemon = config().check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let path = at.strip_prefix("unix:").expect("a path").to_owned();
    let mut half = UnixStream::connect(&path).expect("it listens");
    half.write_all(b"GET /livez HTTP/1.1\r\nHost")
        .expect("room");
    // Connections are taken in turn: the one before has been, too.
    assert_eq!(get(&at, "/livez", &[]).status, 200);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let ended = daemon.expect_log("web ended  pid=");
    assert!(ended.contains("how=\"exit code 0\""), "{ended}");
    assert!(!std::fs::exists(path).expect("our own directory"));
}
