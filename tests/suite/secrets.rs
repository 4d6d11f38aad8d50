//! What came from a secret is in nothing that leaves a worker, whatever a plugin does with it.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, check, fixtures, kill};
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::path::Path;

const PASSWORD: &str = "s3cret/w+rd%x";
const FORMS: [&str; 7] = [
    PASSWORD,
    "s3cret",
    // `joe:` and the password, as Basic has it; and what of it depends on the password alone.
    "am9lOnMzY3JldC93K3JkJXg",
    "zY3JldC93K3JkJX",
    "%73%33%63%72%65%74",
    "hunter2",
    "ann:",
];

fn blabs() -> Vec<Check> {
    let options = |more: &str| {
        format!(
            "{{ password = {{ file = \"password\" }}, user = \"joe\", url = \"https://ann:hunter2@h.test/x\"{more} }}"
        )
    };
    let one = |name: &str, plugin: &str, options: String| {
        check(name)
            .plugin(plugin)
            .interval("1h")
            .set("attempts", "1")
            .set("config", &options)
    };
    vec![
        one("run", "blab", options("")),
        one("step", "blab_step", options("")),
        one("refuse", "blab", options(", refuse = true")),
        one(
            "open",
            "blab",
            options("").replace("{ file = \"password\" }", &format!("{PASSWORD:?}")),
        ),
    ]
}

fn assert_clean(what: &str, text: &str) {
    for form in FORMS {
        assert!(!text.contains(form), "{what} shows `{form}`:\n{text}");
    }
}

/// Every file below it, as text.
fn files(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the daemon's folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            found.push((
                path.display().to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    found
}

fn spawn() -> Daemon {
    let config = Config::new().plugin_file(fixtures::fixture("blab"));
    fs::write(config.dir().join("password"), format!("{PASSWORD}\n")).expect("our own folder");
    let config = blabs().into_iter().fold(config, Config::check);
    config.spawn()
}

#[test]
fn a_plugin_that_tells_its_secrets_tells_nobody() {
    let daemon = spawn();
    daemon.expect_notify("READY=1");
    for (name, status) in [
        ("run", "critical"),
        ("step", "warning"),
        ("refuse", "unknown"),
        ("open", "critical"),
    ] {
        let row = daemon.run(name);
        assert_eq!(row["status"], status, "{row}");
        // It has come, and with the mask in it.
        let message = row["message"].as_str().expect("a message");
        assert!(message.contains("the secret is ***"), "{message}");
        assert_clean("run", &row.to_string());
        let detail = daemon.ask("show", json!({ "name": name }));
        let text = format!("{detail:?}");
        assert_clean("show", &text);
        if name == "run" {
            assert!(text.contains("***"), "{text}");
        }
        assert_clean(
            "why",
            &format!("{:?}", daemon.ask("why", json!({ "name": name }))),
        );
    }
    for command in [
        &["show", "run"][..],
        &["show", "run", "--json"],
        &["status", "--json"],
        &["status", "--nagios"],
        &["events"],
        &["events", "--json"],
        &["workers", "--json"],
        &["validate"],
        &["validate", "--json"],
        &[
            "try",
            "blab",
            "user=joe",
            &format!("password={PASSWORD}"),
            "url=https://ann:hunter2@h.test/x",
            "--json",
        ],
    ] {
        let said = daemon.healthctl(command);
        assert_clean(
            &format!("{command:?}"),
            &format!("{}{}", said.out, said.err),
        );
    }
    for dir in ["run", "state"] {
        for (file, text) in files(&daemon.dir().join(dir)) {
            assert_clean(&file, &text);
        }
    }
    daemon.expect_log("plugin=blab");
    daemon.expect_log("text=\"blab's library says ***\"");
    assert_clean("the log", &daemon.log.all().join("\n"));
}

#[test]
fn a_secret_that_has_changed_is_known_at_once_and_the_old_one_is_not_forgotten() {
    let daemon = spawn();
    daemon.expect_notify("READY=1");
    daemon.run("run");
    fs::write(daemon.dir().join("password"), "another-Word\n").expect("our own folder");
    daemon.expect_log("secrets read anew");
    let row = daemon.run("run");
    assert!(!row.to_string().contains("another-Word"), "{row}");
    assert_clean("run", &row.to_string());
    let log = daemon.log.all().join("\n");
    assert!(!log.contains("another-Word"), "{log}");
}

#[test]
fn half_a_secret_is_not_shown_where_the_words_of_a_program_are_cut() {
    let mut config = Config::new();
    fs::write(config.dir().join("password"), format!("{PASSWORD}\n")).expect("our own folder");
    // At `max_output`, and at the end of the longest first line.
    let ways = [
        ("out", 250, "", 256),
        ("err", 250, ">&2", 256),
        ("line", (31 << 10) - 4, "", 65_536),
    ];
    for (name, before, to, max) in ways {
        let script = format!(
            "{{ head -c {before} /dev/zero | tr '\\0' x; echo \"$T, see above\"; }} {to}; exit 1"
        );
        let options = format!(
            "{{ argv = [\"/bin/sh\", \"-c\", {script:?}], env = {{ T = {{ file = \"password\" }} }}, max_output = {max} }}"
        );
        let one = check(name).plugin("exec").interval("1h");
        config = config.check(one.set("attempts", "1").set("config", &options));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for (name, ..) in ways {
        let row = daemon.run(name);
        assert_eq!(row["status"], "warning", "{name}: {row}");
        let all = daemon.detail(name).to_string();
        assert!(all.contains("xxx***"), "{name}: {all}");
        assert!(!all.contains(&PASSWORD[..4]), "{name}: {all}");
    }
}

/// Only the processes that read the config inherit it: the supervisor, which starts managers, and the manager.
#[test]
fn a_secret_of_the_environment_is_in_no_process_with_plugins() {
    let program = || check("program").script("exit 0");
    let config = Config::new()
        .plugin_file(fixtures::fixture("blab"))
        .check(program());
    // What nobody else on this machine has.
    let mark = config.dir().display().to_string();
    let names = |check_name: &str, variable: &str| {
        check(check_name).plugin("blab").interval("1h").set(
            "config",
            &format!("{{ password = {{ env = \"{variable}\" }} }}"),
        )
    };
    let first_and = |more: Option<Check>| {
        let first = [names("first", "HD_FIRST"), program()];
        first.into_iter().chain(more).collect::<Vec<_>>()
    };
    let config = config.env("HD_FIRST", &mark).env("HD_LATER", &mark);
    let written = config.write();
    // What is asked about options has its own share of them, and not what others name.
    let sees = check("sees")
        .plugin("blab")
        .set("config", "{ sees = \"HD_FIRST\" }");
    written.rewrite(&first_and(Some(sees)));
    let refused = written.run(&["-t"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("HD_FIRST holds nothing"), "{said}");

    written.rewrite(&first_and(None));
    let daemon = written.spawn();
    daemon.expect_notify("READY=1");
    let is_with_readers_alone = |variable: &str| {
        wait_for(&format!("workers are without {variable}"), || {
            let readers = [daemon.pid(), daemon.manager()];
            let mut with = procs::with_variable(variable, &mark);
            with.retain(|pid| !readers.contains(pid));
            with.is_empty()
        });
    };
    is_with_readers_alone("HD_FIRST");
    let workers = || [daemon.role("worker io"), daemon.role("worker exec")].concat();
    wait_for("all workers have it", || {
        let workers = workers();
        let with_later = procs::with_variable("HD_LATER", &mark);
        workers.len() >= 2 && workers.iter().all(|pid| with_later.contains(pid))
    });
    // What becomes a secret is gone with the workers that had inherited it.
    daemon
        .written
        .rewrite(&first_and(Some(names("later", "HD_LATER"))));
    let said = daemon.healthctl(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    is_with_readers_alone("HD_LATER");
    // The next manager's workers have none of them either.
    let old = workers();
    kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_log("manager died");
    daemon.expect_log("manager: ready");
    wait_for("other workers", || {
        let new = workers();
        !new.is_empty() && new.iter().all(|pid| !old.contains(pid))
    });
    for variable in ["HD_FIRST", "HD_LATER"] {
        is_with_readers_alone(variable);
    }
}
