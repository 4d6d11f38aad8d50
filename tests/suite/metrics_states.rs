//! Prometheus' own tool has nothing against a page of metrics, whatever state the daemon is in.

use crate::harness::ctl::wait_for;
use crate::harness::http::{Page, address, get};
use crate::harness::prometheus::promtool;
use crate::harness::{Check, Config, Daemon, check, fixtures, kill, skipped};
use nix::sys::signal::Signal;
use serde_json::json;
use std::cell::{Cell, RefCell};

/// What may stand in a name.
const NAMES: [&str; 7] = [
    "plain",
    "quo\"te",
    "back\\slash",
    "a b, c=\"d\" # x",
    "über/ñ",
    "日本/🙂",
    "-1e9",
];

fn named(script: &str) -> Vec<Check> {
    let one = |name: &&str| {
        check(name)
            .script(script)
            .interval("100ms")
            .set("attempts", "1")
            .set("labels", "{ team = \"\\\"é\\\\\", \"x-y\" = \"1\" }")
    };
    NAMES.iter().map(one).collect()
}

struct Looks {
    at: RefCell<String>,
    done: Cell<usize>,
    missing: Cell<bool>,
}

impl Looks {
    fn page(&self, path: &str) -> Page {
        get(&self.at.borrow(), path, &[])
    }

    /// Each page, in this state.
    fn look(&self, state: &str) {
        for path in [
            "/metrics",
            "/metrics/self",
            "/metrics?match=verdict%3Dcritical",
        ] {
            let page = self.page(path);
            assert_eq!(page.status, 200, "{state}: {path}: {}", page.body);
            println!("{state}: {path}: {} lines", page.body.lines().count());
            self.missing.set(promtool(&page).is_none());
            self.done.set(self.done.get() + 1);
        }
    }

    /// So many checks count as this.
    fn until(&self, verdict: &str, count: usize) {
        let series = format!("healthd_checks{{verdict=\"{verdict}\"}}");
        wait_for(&format!("{count} {verdict}"), || {
            self.page("/metrics").value(&series) == Some(count as f64)
        });
    }
}

fn reload(daemon: &Daemon, checks: &[Check]) {
    daemon.written.rewrite(checks);
    daemon.ask("reload", json!({}));
}

#[test]
fn promtool_is_content_in_every_state() {
    let numbers = "echo \"ok | 'a b'=1;2;3 c%=5% d=1e300 size=5KB t=1ms n=-0 'é\\\\'=7\"";
    let route = "plugin = \"script\"\nconfig = { argv = [\"/bin/false\"] }\n";
    let mut config = Config::new()
        .plugin_file(fixtures::fixture("crash"))
        .section(
            "web",
            "listen = \"unix:web.sock\"\nlabels = [\"team\", \"x-y\"]\ntargets = [\"127.0.0.1\"]",
        )
        .section("history", "")
        .section(
            "push",
            "url = \"http://127.0.0.1:9/v1/metrics\"\ntraces = \"http://127.0.0.1:9/\"\ninterval = \"1s\"",
        )
        .notify(route);
    for check in named(numbers) {
        config = config.check(check);
    }
    let crash = config.dir().join("crash");
    let mut daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let looks = Looks {
        at: RefCell::new(address(&daemon)),
        done: Cell::new(0),
        missing: Cell::new(false),
    };
    let all = NAMES.len();
    looks.look("first runs");
    looks.until("ok", all);
    looks.look("all ok, with metrics of plugins");

    for (word, code) in [("warning", 1), ("critical", 2), ("unknown", 3)] {
        reload(&daemon, &named(&format!("exit {code}")));
        looks.until(word, all);
        looks.look(&format!("all {word}"));
    }
    // Its messages go nowhere, and one check is known to somebody.
    reload(&daemon, &named("exit 2"));
    looks.until("critical", all);
    let said = daemon.told_by_daemon(&["silence", "quo*", "--for", "1h", "--reason", "\"é\\"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = daemon.told_by_daemon(&["ack", "plain"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    looks.look("silenced and acknowledged");
    daemon.ask("pause", json!({ "names": ["*"] }));
    looks.until("paused", all);
    looks.look("all paused");

    let disabled = |check: Check| check.set("enabled", "false");
    reload(
        &daemon,
        &named("true").into_iter().map(disabled).collect::<Vec<_>>(),
    );
    looks.look("all disabled");
    let pending = |name: &&str| check(name).script("sleep 1000").interval("1h");
    let slow = |n: usize| {
        check(&format!("slow-{n}"))
            .script("sleep 1000")
            .interval("1h")
    };
    let both: Vec<Check> = NAMES.iter().map(pending).chain((0..3).map(slow)).collect();
    reload(&daemon, &both);
    looks.until("pending", 3);
    looks.look("some pending");
    reload(&daemon, &[]);
    looks.look("no check at all");

    // A plugin that kills its worker, until it has to run alone.
    std::fs::write(&crash, "").expect("our own directory");
    let options = format!("{{ how = \"segv\", if_file = {crash:?} }}");
    let crashing = check("cra\"sh").plugin("crash").set("config", &options);
    let mut checks = named("true");
    checks.push(crashing.interval("100ms"));
    reload(&daemon, &checks);
    looks.until("held", 1);
    looks.look("one held");

    let refused = [check("x").set("intervall", "1")];
    daemon.written.rewrite(&refused);
    assert!(daemon.client().ask("reload", json!({})).is_err());
    wait_for("a refused config is told", || {
        let page = looks.page("/metrics/self");
        page.value("healthd_config_last_reload_successful") == Some(0.0)
    });
    looks.look("a refused config");

    let recorder = daemon.role("recorder")[0];
    kill(recorder, Signal::SIGSTOP);
    looks.look("the recorder stands still");
    kill(recorder, Signal::SIGCONT);
    // It comes up beside what was looked at since.
    wait_for("a worker", || !daemon.role("worker exec").is_empty());
    kill(daemon.role("worker exec")[0], Signal::SIGKILL);
    looks.look("a worker has died");
    let supervisor = daemon.pid();
    let manager = daemon.manager();
    kill(supervisor, Signal::SIGSTOP);
    kill(manager, Signal::SIGSTOP);
    looks.look("manager and supervisor stand still");
    kill(manager, Signal::SIGKILL);
    looks.look("the manager is dead");
    kill(supervisor, Signal::SIGCONT);
    daemon.expect_notify("READY=1");
    looks.look("another manager");

    daemon.written.sections.borrow_mut().remove("history");
    daemon.written.sections.borrow_mut().remove("push");
    reload(&daemon, &named("true"));
    *looks.at.borrow_mut() = address(&daemon);
    looks.look("without [history] and [push]");
    assert!(!looks.page("/metrics").body.contains("healthd_history_"));

    println!("counted: {} pages in every state", looks.done.get());
    if looks.missing.get() {
        skipped("promtool is missing");
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}
