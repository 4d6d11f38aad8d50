//! A run in a trace viewer, of a check, of a message or of a probe: its spans are what OpenTelemetry's own schema takes, they
//! tell of the run what it was, and without the key nothing of it is there.

use crate::alerts::{route, say, told as said, until_all_are_ok};
use crate::harness::ctl::wait_for;
use crate::harness::http::{address, get};
use crate::harness::plugins::shipped;
use crate::harness::receiver::{Got, Manner, Receiver};
use crate::harness::{Check, Config, Daemon, check, fixtures, kill, skipped};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

fn good(name: &str) -> Check {
    check(name).script("true").interval("100ms")
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

fn section(receiver: &Receiver) -> String {
    let url = receiver.url().replace("/hook", "/v1/traces");
    format!("traces = {url:?}\nsample = 1")
}

/// The spans that came with a request.
fn spans(got: &Got) -> Vec<Value> {
    let resources = got.body["resourceSpans"].as_array().into_iter().flatten();
    let scopes = resources.flat_map(|r| r["scopeSpans"].as_array().into_iter().flatten());
    let spans = scopes.flat_map(|s| s["spans"].as_array().into_iter().flatten());
    spans.cloned().collect()
}

fn attribute(span: &Value, name: &str) -> Option<String> {
    let all = span["attributes"].as_array()?;
    let found = all.iter().find(|a| a["key"] == name)?;
    let value = found["value"].as_object()?.values().next()?;
    Some(value.as_str().map_or(value.to_string(), str::to_owned))
}

/// A run: its own span, and those below it by name.
#[derive(Debug)]
struct Trace {
    root: Value,
    below: BTreeMap<String, Value>,
}

impl Trace {
    fn check(&self) -> String {
        attribute(&self.root, "healthd.check.name").unwrap_or_default()
    }

    fn run(&self) -> u64 {
        let id = attribute(&self.root, "healthd.run.id");
        id.and_then(|id| id.parse().ok()).expect("a number")
    }
}

/// What came with a request that was taken. All spans of a run come with one.
fn traces_of(got: &Got) -> Vec<Trace> {
    if !got.accepted {
        return Vec::new();
    }
    let spans = spans(got);
    let roots = spans.iter().filter(|s| s["parentSpanId"].is_null());
    let trace = |root: &Value| {
        let own = spans.iter().filter(|s| s["traceId"] == root["traceId"]);
        let below = own.filter(|s| s["spanId"] != root["spanId"]);
        let name = |s: &Value| s["name"].as_str().unwrap_or_default().to_owned();
        Trace {
            root: root.clone(),
            below: below.map(|s| (name(s), s.clone())).collect(),
        }
    };
    roots.map(trace).collect()
}

fn traces(receiver: &Receiver) -> Vec<Trace> {
    receiver.all().iter().flat_map(traces_of).collect()
}

/// Waits for a run of this check that is told, and is like that.
fn told(receiver: &Receiver, check: &str, like: impl Fn(&Trace) -> bool) -> Trace {
    any(receiver, &format!("a trace of `{check}`"), |t| {
        t.check() == check && like(t)
    })
}

fn any(receiver: &Receiver, what: &str, is_it: impl Fn(&Trace) -> bool) -> Trace {
    let got = receiver.wait(what, 1, |got| traces_of(got).iter().any(&is_it));
    let found = traces_of(&got[0]).into_iter().find(is_it);
    found.expect("it was there")
}

/// By the schema itself, with a parser that is not ours: tests/run has fetched both.
fn schema_takes(bodies: &[Value]) -> bool {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = root.join("target/otlp");
    if !library.is_dir() {
        return false;
    }
    let mut reader = Command::new("python3")
        .arg(root.join("tests/suite/otlp.py"))
        .env("PYTHONPATH", library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = reader.stdin.take().expect("it is piped");
    for body in bodies {
        writeln!(stdin, "{body}").expect("it reads");
    }
    drop(stdin);
    let done = reader.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    println!("{said}");
    true
}

#[test]
fn a_run_is_told_from_when_it_was_due_until_it_was_judged() {
    let receiver = Receiver::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let bad = check("bad \"é\"").script("echo it is down; exit 2");
    let options = format!("{{ host = \"127.0.0.1\", port = {port} }}");
    let tcp = check("port").plugin("tcp").set("config", &options);
    let daemon = Config::new()
        .section("web", "listen = \"unix:web.sock\"\nlabels = [\"team\"]")
        .section("push", &section(&receiver))
        .check(good("a").set("labels", "{ team = \"web\", other = \"x\" }"))
        .check(bad.interval("1s"))
        .check(tcp.interval("1s"))
        .spawn();
    daemon.expect_notify("READY=1");

    let port = told(&receiver, "port", |_| true);
    assert_eq!(port.root["name"], "check tcp");
    let names: Vec<&str> = port.below.keys().map(String::as_str).collect();
    assert_eq!(names, ["connect", "dispatch", "judge", "tcp"]);
    let parent = |name: &str| port.below[name]["parentSpanId"].clone();
    assert_eq!(parent("connect"), port.below["tcp"]["spanId"]);
    for name in ["dispatch", "tcp", "judge"] {
        assert_eq!(parent(name), port.root["spanId"], "{name}");
    }
    let at = |span: &Value, key: &str| -> u64 {
        let text = span[key].as_str().expect("64 bits are a text");
        text.parse().expect("a number")
    };
    let begin = |name: &str| at(&port.below[name], "startTimeUnixNano");
    let end = |name: &str| at(&port.below[name], "endTimeUnixNano");
    assert_eq!(end("dispatch"), begin("tcp"));
    assert_eq!(end("tcp"), begin("judge"));
    assert!(begin("tcp") <= begin("connect") && end("connect") == end("tcp"));
    assert!(at(&port.root, "startTimeUnixNano") <= begin("dispatch"));
    assert_eq!(at(&port.root, "endTimeUnixNano"), end("judge"));
    assert_eq!(port.root["events"][0]["name"], "due");
    let worker = attribute(&port.below["tcp"], "process.pid").expect("its worker");
    let workers = daemon.role("worker io");
    assert!(workers.iter().any(|pid| pid.to_string() == worker));

    let bad = told(&receiver, "bad \"é\"", |_| true);
    assert_eq!(bad.root["status"]["code"], 2);
    assert_eq!(bad.root["status"]["message"], "it is down");
    assert_eq!(
        attribute(&bad.root, "error.type").as_deref(),
        Some("critical")
    );
    let a = told(&receiver, "a", |_| true);
    assert_eq!(a.root["status"], Value::Null);
    assert_eq!(
        attribute(&a.root, "healthd.label.team").as_deref(),
        Some("web")
    );
    assert_eq!(attribute(&a.root, "healthd.label.other"), None);

    // Another manager goes on, and nothing of before comes twice.
    let newest = traces(&receiver).iter().map(Trace::run).max();
    kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_notify("READY=1");
    told(&receiver, "a", |t| Some(t.run()) > newest);
    // What it says of itself: a span is a point.
    let at = address(&daemon);
    let value = |page: &crate::harness::http::Page, result: &str| {
        let labels = format!("signal=\"traces\",result=\"{result}\"");
        page.value(&format!("healthd_push_points_total{{{labels}}}"))
    };
    let page = get(&at, "/metrics/self", &[]);
    assert!(value(&page, "sent") >= Some(7.0), "{}", page.body);
    assert_eq!(value(&page, "refused"), Some(0.0));
    assert_eq!(page.value("healthd_push_traces_missed_total"), Some(0.0));
    // Nobody has asked for metrics.
    assert!(!page.body.contains("signal=\"metrics\""));
    stop(daemon);

    let got = receiver.all();
    let accepted: Vec<&Got> = got.iter().filter(|got| got.accepted).collect();
    let mut runs = BTreeSet::new();
    for trace in traces(&receiver) {
        let id = trace.root["traceId"].to_string();
        assert!(runs.insert(id), "told twice: {}", trace.root);
    }
    for got in &accepted {
        let head = got.head.to_ascii_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        let of = &got.body["resourceSpans"][0]["resource"];
        assert_eq!(attribute(of, "service.name").as_deref(), Some("healthd"));
        assert!(attribute(of, "host.name").is_some() && attribute(of, "service.version").is_some());
    }
    let bodies: Vec<Value> = accepted.iter().map(|got| got.body.clone()).collect();
    if !schema_takes(&bodies) {
        skipped("target/otlp is missing (tests/run fetches it)");
    }
}

/// Deliveries, programs of `on_change` and probes are runs too. What a target holds beside its host is nobody's business.
#[test]
fn a_message_a_program_and_a_probe_are_told_as_well() {
    let (receiver, people) = (Receiver::new(), Receiver::new());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let config = Config::new()
        .daemon("start_spread", "\"0s\"")
        .plugin_file(fixtures::fixture("echo"))
        .plugin_file(shipped("notify"));
    let dir = config.dir().to_owned();
    let probe = |name: &str, plugin: &str, options: &str| {
        let module = check(name).plugin(plugin).set("probe", "true");
        module.set("config", options)
    };
    let daemon = config
        .section("web", "listen = \"unix:web.sock\"\ntargets = [\"*\"]")
        .section("push", &section(&receiver))
        .check(said(&dir, "db").set("on_change", "{ argv = [\"/bin/true\"] }"))
        .check(probe("page", "http", "{ url = \"{target}\" }"))
        .check(probe("port", "tcp", "{ host = \"{target}\" }"))
        .notify(&route("hook", &people))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);

    say(&dir, "db", "critical it is down");
    let problem = people.accepted("problem");
    let message = any(&receiver, "a delivery", |t| {
        attribute(&t.root, "healthd.route.name").as_deref() == Some("hook")
    });
    assert_eq!(message.root["name"], "notify webhook");
    for (key, value) in [
        ("healthd.message.kind", "problem".to_owned()),
        ("healthd.notice.id", problem.text("notice")),
        ("healthd.message.id", problem.text("id")),
        ("healthd.run.status", "ok".to_owned()),
    ] {
        assert_eq!(attribute(&message.root, key), Some(value), "{key}");
    }
    for name in ["dispatch", "webhook", "judge"] {
        assert!(message.below.contains_key(name), "{name}: {message:?}");
    }
    let program = any(&receiver, "a program", |t| {
        t.root["name"]
            .as_str()
            .is_some_and(|n| n.starts_with("on_change "))
    });
    assert_eq!(program.check(), "db");

    // It is asked over the socket, as the web process does it.
    let asked = |module: &str, target: &str| {
        let ask = json!({ "module": module, "target": target, "timeout_ms": 5_000 });
        let answer = daemon.client().ask("probe", ask);
        answer.expect("an answer")[0]["status"].clone()
    };
    let of = |module: &str| {
        any(&receiver, module, |t| {
            attribute(&t.root, "healthd.probe.module").as_deref() == Some(module)
        })
    };
    assert_eq!(asked("port", &format!("127.0.0.1:{port}")), "ok");
    let reached = of("port");
    assert_eq!(reached.root["name"], "probe tcp");
    assert!(reached.below.contains_key("connect"), "{reached:?}");
    let host = attribute(&reached.root, "server.address");
    assert_eq!(host.as_deref(), Some("127.0.0.1"));
    assert_eq!(reached.check(), "");
    let target = "http://ana:s3cret@localhost:1/x?token=s3cret";
    assert_eq!(asked("page", target), "critical");
    let refused = of("page");
    let host = attribute(&refused.root, "server.address");
    assert_eq!(host.as_deref(), Some("localhost"));
    assert_eq!(refused.root["status"]["code"], 2);
    assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
    stop(daemon);
    let got = receiver.all();
    let bodies: Vec<Value> = got.iter().map(|got| got.body.clone()).collect();
    if !schema_takes(&bodies) {
        skipped("target/otlp is missing (tests/run fetches it)");
    }
}

/// Of what it has, nothing comes twice, and nothing is missing.
#[test]
fn a_sender_that_is_started_again_goes_on_where_the_one_before_was() {
    let receiver = Receiver::new();
    let daemon = Config::new()
        .section("push", &section(&receiver))
        .check(good("a"))
        .spawn();
    daemon.expect_notify("READY=1");
    told(&receiver, "a", |_| true);
    // The next is sent when it is written down what was taken before. From here on nothing is taken.
    receiver.be(Manner::Answer(503, "Retry-After: 1\r\n"));
    receiver.wait("a refusal", 1, |got| !got.accepted);
    let newest = traces(&receiver).iter().map(Trace::run).max();
    let [web] = daemon.role("web")[..] else {
        panic!("it sends")
    };
    kill(web, Signal::SIGKILL);
    wait_for("it has ended", || !daemon.role("web").contains(&web));
    receiver.be(Manner::Accept);
    told(&receiver, "a", |t| Some(t.run()) > newest.map(|n| n + 20));
    stop(daemon);
    let mut runs: Vec<u64> = traces(&receiver).iter().map(Trace::run).collect();
    runs.sort_unstable();
    let all: Vec<u64> = (runs[0]..=runs[runs.len() - 1]).collect();
    assert_eq!(runs, all);
}

/// The metrics' form is held against the same schema.
#[test]
fn metrics_in_otlp_are_what_its_schema_takes() {
    let receiver = Receiver::new();
    let url = receiver.url().replace("/hook", "/v1/metrics");
    let daemon = Config::new()
        .section("push", &format!("url = {url:?}\ninterval = \"1s\""))
        .check(good("a"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["a"]);
    let has = |got: &Got| got.body.to_string().contains("healthd_check_up");
    receiver.wait("a picture with a check", 1, has);
    stop(daemon);
    let bodies: Vec<Value> = receiver.all().iter().map(|got| got.body.clone()).collect();
    if !schema_takes(&bodies) {
        skipped("target/otlp is missing (tests/run fetches it)");
    }
}

#[test]
fn what_cannot_be_sent_waits_and_comes_later() {
    let receiver = Receiver::new();
    receiver.be(Manner::Answer(503, "Retry-After: 1\r\n"));
    let daemon = Config::new()
        .section("push", &section(&receiver))
        .check(good("a"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_log("is tried again: 503");
    let refused = receiver.wait("two tries", 2, |_| true);
    assert_eq!(refused[0].body, refused[1].body);
    receiver.be(Manner::Accept);
    daemon.expect_log("is there again  dropped=0");
    let first = spans(&refused[0])[0]["spanId"].clone();
    receiver.wait("the first of all", 1, |got| {
        got.accepted && spans(got).iter().any(|s| s["spanId"] == first)
    });
    stop(daemon);
}

#[test]
fn without_the_key_there_is_no_map_and_a_reload_starts_and_ends_it() {
    let receiver = Receiver::new();
    let daemon = Config::new().check(good("a")).spawn();
    daemon.expect_notify("READY=1");
    let map = daemon.dir().join("run/traces.map");
    let is_there = || std::fs::exists(&map).expect("our own directory");
    assert!(!is_there());
    let reload = |lines: Option<String>| {
        let mut sections = daemon.written.sections.borrow_mut();
        match lines {
            Some(lines) => sections.insert("push".into(), lines),
            None => sections.remove("push"),
        };
        drop(sections);
        daemon.written.rewrite(&[good("a")]);
        daemon.ask("reload", serde_json::json!({}))
    };
    reload(Some(section(&receiver)));
    assert!(is_there());
    let first = told(&receiver, "a", |_| true);
    // Another share is another ring; with so small a one nothing is told for years.
    let id = |map: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(map).map(|m| m.ino()).expect("a map")
    };
    let before = id(&map);
    reload(Some(
        section(&receiver).replace("sample = 1", "sample = 1e-12"),
    ));
    assert_ne!(id(&map), before);
    assert!(first.run() > 0);
    reload(None);
    assert!(!is_there());
    daemon.expect_log("web ended");
    stop(daemon);
}
