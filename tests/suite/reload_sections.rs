//! A reload says what it changed: each key of each section by itself, and what of it waits for a restart. The keys are
//! those of the schema that healthd makes of itself, so that none can be left out here.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, Daemon, check, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A block of the file: how it is called here, its header, its keys as they are written.
struct Block {
    id: &'static str,
    header: &'static str,
    keys: BTreeMap<String, String>,
}

struct File(Vec<Block>);

impl File {
    fn new(blocks: &[(&'static str, &'static str, &str)]) -> File {
        let block = |(id, header, lines): &(&'static str, &'static str, &str)| Block {
            id,
            header,
            keys: lines.lines().map(key_and_value).collect(),
        };
        File(blocks.iter().map(block).collect())
    }

    fn set(&mut self, id: &str, line: &str) {
        let block = self.0.iter_mut().find(|b| b.id == id);
        let block = block.unwrap_or_else(|| panic!("there is no block {id}"));
        let (key, value) = key_and_value(line);
        block.keys.insert(key, value);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for block in &self.0 {
            text += &format!("{}\n", block.header);
            for (key, value) in &block.keys {
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }
}

fn key_and_value(line: &str) -> (String, String) {
    let (key, value) = line.split_once(" = ").expect("a key and its value");
    (key.trim().to_owned(), value.to_owned())
}

const TCP: &str =
    "plugin = \"tcp\"\ninterval = \"1h\"\nconfig = { host = \"127.0.0.1\", port = 1 }";

fn base(dir: &str) -> File {
    let daemon = format!(
        "plugin_dir = \"{dir}/plugins\"\nruntime_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\n\
         stop_grace = \"5s\"\nlog = \"info\""
    );
    let plain = "interval = \"1h\"\nplugin = \"tcp\"";
    File::new(&[
        ("daemon", "[daemon]", &daemon),
        ("pool", "[pool]", "isolate = false"),
        ("pool.io", "[pool.io]", "workers = 1"),
        ("pool.cpu", "[pool.cpu]", "workers = 1"),
        ("pool.exec", "[pool.exec]", "max_parallel = 2"),
        ("users", "[users]", ""),
        (
            "web",
            "[web]",
            "listen = \"unix:one.sock\"\ntargets = [\"127.0.0.1\"]",
        ),
        (
            "push",
            "[push]",
            &format!("url = \"http://127.0.0.1:1/\"\ntoken = {{ file = \"{dir}/token\" }}"),
        ),
        ("history", "[history]", "max_size = \"64MiB\""),
        ("defaults", "[defaults]", ""),
        (
            "notify",
            "[[notify]]",
            "name = \"one\"\nplugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:1/\" }",
        ),
        (
            "backup",
            "[[notify]]",
            "name = \"two\"\nplugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:1/\" }",
        ),
        (
            "maintenance",
            "[[maintenance]]",
            "match = \"a\"\nwhen = \"sun 02:00-04:00\"",
        ),
        ("template", "[template.t]", plain),
        (
            "host",
            "[[host]]",
            "name = \"h\"\nchecks = [{ use = \"t\", name = \"port\", config = { host = \"{address}\", port = 1 } }]",
        ),
        ("b", "[[check]]", &format!("name = \"b\"\n{TCP}")),
        (
            "module",
            "[[check]]",
            "name = \"m\"\nplugin = \"tcp\"\nprobe = true\nconfig = { host = \"{target}\", port = 1 }",
        ),
        ("a", "[[check]]", &format!("name = \"a\"\n{TCP}")),
    ])
}

/// What changes, and what the answer says of it. One after the other: each is written over all those before it.
const CASES: &[(&str, &str, &str)] = &[
    (
        "daemon",
        "plugin_dir = \"DIR/plugins/../plugins\"",
        "[daemon] changed (plugin_dir)",
    ),
    (
        "daemon",
        "runtime_dir = \"DIR/run2\"",
        "waits: `runtime_dir` of [daemon]",
    ),
    (
        "daemon",
        "state_dir = \"DIR/state2\"",
        "waits: `state_dir` of [daemon]",
    ),
    ("daemon", "user = \"nobody\"", "waits: `user` of [daemon]"),
    (
        "daemon",
        "control_group = \"daemon\"",
        "[daemon] changed (control_group); waits: `control_group` of [daemon]",
    ),
    (
        "daemon",
        "stop_grace = \"6s\"",
        "[daemon] changed (stop_grace)",
    ),
    (
        "daemon",
        "start_spread = \"4s\"",
        "[daemon] changed (start_spread)",
    ),
    (
        "daemon",
        "plugin_watch = false",
        "[daemon] changed (plugin_watch)",
    ),
    (
        "daemon",
        "plugin_trial = \"5s\"",
        "[daemon] changed (plugin_trial)",
    ),
    (
        "daemon",
        "require_sandbox = true",
        "[daemon] changed (require_sandbox)",
    ),
    (
        "daemon",
        "log = \"debug\"",
        "[daemon] changed (log); waits: `log` of [daemon]",
    ),
    ("users", "worker = \"nobody\"", "waits: `worker` of [users]"),
    ("users", "exec = \"nobody\"", "waits: `exec` of [users]"),
    (
        "pool",
        "isolate = true",
        "[pool] changed (isolate); new workers",
    ),
    (
        "pool.io",
        "workers = 2",
        "[pool.io] changed (workers); new workers",
    ),
    (
        "pool.io",
        "threads = 32",
        "[pool.io] changed (threads); new workers",
    ),
    // At least 64, wherever this runs.
    (
        "pool.io",
        "threads = \"auto\"",
        "[pool.io] changed (threads); new workers",
    ),
    (
        "pool.io",
        "sandbox = \"off\"",
        "[pool.io] changed (sandbox); new workers",
    ),
    (
        "pool.io",
        "max_rss = \"300MiB\"",
        "[pool.io] changed (max_rss)",
    ),
    ("pool.io", "max_fds = 200", "[pool.io] changed (max_fds)"),
    ("pool.io", "max_runs = 1000", "[pool.io] changed (max_runs)"),
    (
        "pool.cpu",
        "workers = 2",
        "[pool.cpu] changed (workers); new workers",
    ),
    (
        "pool.cpu",
        "sandbox = \"off\"",
        "[pool.cpu] changed (sandbox); new workers",
    ),
    (
        "pool.cpu",
        "max_rss = \"300MiB\"",
        "[pool.cpu] changed (max_rss)",
    ),
    ("pool.cpu", "max_fds = 200", "[pool.cpu] changed (max_fds)"),
    (
        "pool.cpu",
        "max_runs = 1000",
        "[pool.cpu] changed (max_runs)",
    ),
    (
        "pool.exec",
        "max_parallel = 3",
        "[pool.exec] changed (max_parallel); new workers",
    ),
    (
        "pool.exec",
        "sandbox = \"off\"",
        "[pool.exec] changed (sandbox); new workers",
    ),
    (
        "pool.exec",
        "max_rss = \"300MiB\"",
        "[pool.exec] changed (max_rss)",
    ),
    (
        "pool.exec",
        "max_fds = 200",
        "[pool.exec] changed (max_fds)",
    ),
    (
        "pool.exec",
        "max_runs = 1000",
        "[pool.exec] changed (max_runs)",
    ),
    (
        "web",
        "listen = \"unix:two.sock\"",
        "[web] changed (listen; healthd-web starts anew)",
    ),
    (
        "web",
        "token = { file = \"DIR/token\" }",
        "[web] changed (token; healthd-web starts anew)",
    ),
    (
        "web",
        "read = \"token\"",
        "[web] changed (read; healthd-web starts anew)",
    ),
    (
        "web",
        "labels = [\"team\"]",
        "[web] changed (labels; healthd-web starts anew)",
    ),
    (
        "web",
        "max_series = 10",
        "[web] changed (max_series; healthd-web starts anew)",
    ),
    (
        "web",
        "targets = [\"127.0.0.*\"]",
        "[web] changed (targets; healthd-web starts anew)",
    ),
    (
        "web",
        "url = \"https://health.example.org\"",
        "[web] changed (url; healthd-web starts anew)",
    ),
    (
        "push",
        "url = \"http://127.0.0.1:2/\"",
        "[push] changed (url; healthd-web starts anew)",
    ),
    (
        "push",
        "format = \"otlp\"",
        "[push] changed (format; healthd-web starts anew)",
    ),
    (
        "push",
        "interval = \"1h\"",
        "[push] changed (interval; healthd-web starts anew)",
    ),
    (
        "push",
        "token = { file = \"DIR/other\" }",
        "[push] changed (token; healthd-web starts anew)",
    ),
    (
        "push",
        "user = \"u\"",
        "[push] changed (user; healthd-web starts anew)",
    ),
    (
        "push",
        "ca = \"DIR/ca.pem\"",
        "[push] changed (ca; healthd-web starts anew)",
    ),
    (
        "push",
        "labels = { site = \"a\" }",
        "[push] changed (labels; healthd-web starts anew)",
    ),
    (
        "push",
        "traces = \"http://127.0.0.1:9/v1/traces\"",
        "[push] changed (traces; healthd-web starts anew)",
    ),
    (
        "push",
        "sample = 0.5",
        "[push] changed (sample; healthd-web starts anew)",
    ),
    (
        "history",
        "max_size = \"32MiB\"",
        "[history] changed (max_size; healthd-record starts anew)",
    ),
    (
        "history",
        "keep = [\"used\"]",
        "[history] changed (keep; healthd-record starts anew)",
    ),
    (
        "history",
        "slo = { \"a\" = \"99% 30d\" }",
        "[history] changed (slo; healthd-record starts anew)",
    ),
    (
        "notify",
        "name = \"three\"",
        "[[notify]]: 1 added, 1 removed",
    ),
    (
        "notify",
        "config = { url = \"http://127.0.0.1:2/\" }",
        "[[notify]]: 1 changed",
    ),
    ("notify", "enabled = false", "[[notify]]: 1 changed"),
    ("notify", "match = \"a\"", "[[notify]]: 1 changed"),
    ("notify", "on = [\"critical\"]", "[[notify]]: 1 changed"),
    ("notify", "wait = \"1s\"", "[[notify]]: 1 changed"),
    ("notify", "after = \"1m\"", "[[notify]]: 1 changed"),
    ("notify", "repeat = \"2h\"", "[[notify]]: 1 changed"),
    (
        "notify",
        "when = \"mon-fri 08:00-18:00\"",
        "[[notify]]: 1 changed",
    ),
    ("notify", "by = \"check\"", "[[notify]]: 1 changed"),
    ("notify", "limit = \"20/10m\"", "[[notify]]: 1 changed"),
    ("notify", "backup = \"two\"", "[[notify]]: 1 changed"),
    ("notify", "budget = 7", "[[notify]]: 1 changed"),
    ("notify", "alive = \"1d\"", "[[notify]]: 1 changed"),
    ("notify", "title = \"x\"", "[[notify]]: 1 changed"),
    ("notify", "text = \"y\"", "[[notify]]: 1 changed"),
    // Only webhooks have it, and the route above will be another plugin's.
    ("backup", "body = \"z\"", "[[notify]]: 1 changed"),
    ("maintenance", "match = \"b\"", "[[maintenance]]: 1 changed"),
    (
        "maintenance",
        "when = \"sun 03:00-04:00\"",
        "[[maintenance]]: 1 changed",
    ),
    (
        "maintenance",
        "reason = \"patches\"",
        "[[maintenance]]: 1 changed",
    ),
    ("a", "name = \"aa\"", "1 added, 1 removed"),
    ("a", "title = \"A\"", "1 changed"),
    ("a", "interval = \"2h\"", "1 changed"),
    ("a", "timeout = \"3s\"", "1 changed"),
    ("a", "attempts = 2", "1 changed"),
    ("a", "retry_interval = \"5m\"", "1 changed"),
    ("a", "enabled = false", "1 changed"),
    ("a", "timeout_status = \"unknown\"", "1 changed"),
    ("a", "exclusive = \"g\"", "1 changed"),
    ("a", "needs = \"b\"", "1 changed"),
    ("a", "labels = { team = \"x\" }", "1 changed"),
    (
        "a",
        "config = { host = \"127.0.0.1\", port = 2 }",
        "1 changed",
    ),
    ("a", "recover = 2", "1 changed"),
    ("a", "flap = \"never\"", "1 changed"),
    ("a", "invert = true", "1 changed"),
    ("a", "public = \"shop\"", "1 changed"),
    ("a", "runbook = \"https://wiki.example.org/a\"", "1 changed"),
    ("a", "slo = \"99.9% 30d\"", "1 changed"),
    // The plugin that runs it comes into use with it.
    ("b", "on_change = [\"/bin/true\"]", "1 changed; new workers"),
    ("b", "restart = \"x.service\"", "1 changed"),
    // The same check, written otherwise.
    ("b", "name = \"{item}\"\nfor_each = [\"b\"]", ""),
    ("b", "max_parallel = 1", "1 changed"),
    ("template", "attempts = 5", "1 changed"),
    ("b", "use = \"t\"", "1 changed"),
    ("host", "address = \"127.0.0.2\"", "1 changed"),
    (
        "defaults",
        "timeout = \"7s\"",
        "2 changed; [[check]] with `probe`: 1 changed",
    ),
    (
        "module",
        "config = { host = \"{target}\", port = 2 }",
        "[[check]] with `probe`: 1 changed",
    ),
    (
        "module",
        "plugin = \"http\"\nconfig = { url = \"http://{target}/\" }",
        "[[check]] with `probe`: 1 changed; new workers",
    ),
    (
        "module",
        "probe = false\nconfig = { url = \"http://127.0.0.1:1/\" }",
        "1 added; [[check]] with `probe`: 1 removed",
    ),
    (
        "notify",
        "plugin = \"script\"\nconfig = { argv = [\"/bin/true\"] }",
        "[[notify]]: 1 changed; new workers",
    ),
];

/// The blocks that a case may name, by their section. What makes checks is told as the checks that it makes.
const SECTIONS: &[(&str, &[&str])] = &[
    ("daemon", &["daemon"]),
    ("users", &["users"]),
    ("pool.io", &["pool.io"]),
    ("pool.cpu", &["pool.cpu"]),
    ("pool.exec", &["pool.exec"]),
    ("web", &["web"]),
    ("push", &["push"]),
    ("history", &["history"]),
    ("notify", &["notify", "backup"]),
    ("maintenance", &["maintenance"]),
    ("check", &["a", "b", "module"]),
];

/// Block by block, what the answer says when it is gone.
const GONE: &[(&[&str], &str)] = &[
    (&["web"], "[web] removed (healthd-web starts anew)"),
    (&["push"], "[push] removed (healthd-web ends)"),
    (&["history"], "[history] removed (healthd-record ends)"),
    (&["maintenance"], "[[maintenance]]: 1 removed"),
    (&["notify", "backup"], "[[notify]]: 2 removed; new workers"),
    (&["host"], "1 removed"),
];

fn told(report: &Value) -> String {
    let mut all = Vec::new();
    for key in ["added", "changed", "removed"] {
        if report[key] != 0 {
            all.push(format!("{} {key}", report[key]));
        }
    }
    let mut all = match all.is_empty() {
        true => Vec::new(),
        false => vec![all.join(", ")],
    };
    let list = report["settings"].as_array().expect("a list");
    all.extend(list.iter().map(|s| s.as_str().expect("text").to_owned()));
    if !report["new_generation"].is_null() {
        all.push("new workers".into());
    }
    all.join("; ")
}

fn waiting(report: &Value) -> Vec<String> {
    let list = report["waiting"].as_array().expect("a list");
    list.iter()
        .map(|s| s.as_str().expect("text").to_owned())
        .collect()
}

fn reload(daemon: &Daemon) -> Value {
    daemon.ask("reload", json!({})).remove(0)
}

/// The keys of a section, as the schema has them.
fn keys_of(schema: &Value, section: &str) -> BTreeSet<String> {
    let mut at = schema;
    for part in section.split('.') {
        at = &at["properties"][part];
    }
    let at = match at["items"].is_null() {
        true => at,
        false => &at["items"],
    };
    let keys = at["properties"].as_object();
    let keys = keys.unwrap_or_else(|| panic!("{section} has no keys: {at}"));
    keys.keys().cloned().collect()
}

#[test]
fn each_key_of_each_section_is_told_and_what_waits_for_a_restart() {
    let written = Config::new()
        .check(check("tcp").plugin("tcp"))
        .check(check("http").plugin("http"))
        .check(check("exec").script("true"))
        .notify("plugin = \"webhook\"")
        .write();
    let dir = written.dir().to_str().expect("a plain path").to_owned();
    for (name, secret) in [("token", "abc\n"), ("other", "def\n")] {
        let token = written.dir().join(name);
        fs::write(&token, secret).expect("our own folder");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("our own file");
    }
    let mut file = base(&dir);
    fs::write(written.file(), file.text()).expect("our own file");
    let daemon = written.spawn();
    daemon.expect_notify("READY=1");
    let take = |file: &File| {
        fs::write(daemon.written.file(), file.text()).expect("our own file");
        reload(&daemon)
    };

    let schema = daemon.healthctl(&["schema", "--plugins", &format!("{dir}/plugins")]);
    let schema: Value = serde_json::from_str(&schema.out).expect("a schema");
    for (section, blocks) in SECTIONS {
        let of_section = CASES.iter().filter(|(id, ..)| blocks.contains(id));
        let lines = of_section.flat_map(|(_, lines, _)| lines.lines());
        let tried: BTreeSet<String> = lines.map(|line| key_and_value(line).0).collect();
        let missing: Vec<_> = keys_of(&schema, section)
            .difference(&tried)
            .cloned()
            .collect();
        assert!(missing.is_empty(), "no case for {missing:?} of {section}");
    }

    let mut waits: Vec<String> = Vec::new();
    for (id, lines, says) in CASES {
        for line in lines.lines() {
            file.set(id, &line.replace("DIR", &dir));
        }
        let report = take(&file);
        let mut says: Vec<&str> = says.split("; ").filter(|s| !s.is_empty()).collect();
        let new = says.iter().position(|s| s.starts_with("waits: "));
        if let Some(new) = new.map(|at| says.remove(at)) {
            waits.push(new.replacen("waits: ", "", 1));
        }
        assert_eq!(told(&report), says.join("; "), "{id}: {lines}: {report}");
        // Also of the reloads before.
        let told = waiting(&report);
        assert_eq!(told.len(), waits.len(), "{id}: {lines}: {report}");
        for key in &waits {
            assert!(told.iter().any(|t| t.starts_with(key)), "{key}: {told:?}");
        }
    }

    // What a manager that was killed leaves: the next one knows it too.
    let before = daemon.manager();
    kill(before, Signal::SIGKILL);
    wait_for(
        "another manager",
        || matches!(daemon.role("manager")[..], [pid] if pid != before),
    );
    assert_eq!(waiting(&reload(&daemon)).len(), waits.len());

    file.0.push(Block {
        id: "mine",
        header: "[pool.mine]",
        keys: [key_and_value("plugins = [\"tcp\"]")].into(),
    });
    assert_eq!(told(&take(&file)), "[pool.mine] added; new workers");
    file.set("mine", "plugins = [\"tcp\", \"http\"]");
    assert_eq!(
        told(&take(&file)),
        "[pool.mine] changed (plugins); new workers"
    );
    for (blocks, says) in GONE {
        file.0.retain(|b| !blocks.contains(&b.id));
        let report = take(&file);
        assert_eq!(told(&report), *says, "{report}");
    }
    for role in ["web", "recorder"] {
        wait_for("a process without its section ends", || {
            daemon.role(role).is_empty()
        });
    }

    // Back to the beginning: nothing waits any more, and what is read again is the same.
    file = base(&dir);
    let report = take(&file);
    assert!(
        told(&report).contains("[web] added (healthd-web starts)"),
        "{report}"
    );
    assert_eq!(waiting(&report), Vec::<String>::new());
    let report = reload(&daemon);
    assert_eq!(
        (told(&report).as_str(), waiting(&report).len()),
        ("", 0),
        "{report}"
    );
    let said = daemon.healthctl(&["reload"]);
    assert!(
        said.out
            .contains(": nothing has changed; 3 checks as before"),
        "{said:?}"
    );
}
