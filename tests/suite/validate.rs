//! A config is judged by those who know it: what a plugin would refuse is told with its place by `-t`, `validate`,
//! reload and start, and a plugin that crashes or hangs over options costs its own checks a warning.

use crate::harness::ctl::{say, wait_for};
use crate::harness::plugins::built;
use crate::harness::{Check, Config, check, fixtures, is_root, skipped};
use healthd_test_support::procs;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn good() -> Check {
    check("good").script("true").interval("1h")
}

/// Options that only the plugins can judge, each with its check and the option that is told.
const BAD: [(&str, &str, &str, &str); 4] = [
    (
        "regex",
        "http",
        r#"{ url = "http://127.0.0.1:1/", body_regex = "(" }"#,
        "body_regex: ",
    ),
    (
        "deep",
        "tcp",
        r#"{ host = "127.0.0.1", port = 1, steps = [{ send = "a" }, { expect = "[" }] }"#,
        "steps[1].expect: ",
    ),
    (
        "words",
        "exec",
        r#"{ argv = ["/bin/echo hello"] }"#,
        "argv: ",
    ),
    (
        "file",
        "http",
        r#"{ url = "https://127.0.0.1:1/", ca_file = "/nonexistent/ca.pem" }"#,
        "/nonexistent/ca.pem",
    ),
];

fn bad(config: Config) -> Config {
    let config = config.check(good());
    BAD.iter()
        .fold(config, |config, (name, plugin, options, _)| {
            config.check(
                check(name)
                    .plugin(plugin)
                    .interval("1h")
                    .set("config", options),
            )
        })
}

/// `FILE:LINE:COLUMN` of what is wrong in each of them, as an editor counts.
fn places(file: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("our own file");
    let at = |(before, value): (&str, &str)| {
        let what = format!("{before}{value}");
        let (n, line) = text
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(&what))
            .unwrap_or_else(|| panic!("{what} is not in {text}"));
        let column = line.find(&what).expect("it is in it") + before.len() + 1;
        format!("{}:{}:{}", file.display(), n + 1, column)
    };
    [
        ("body_regex = ", "\"(\""),
        ("expect = ", "\"[\""),
        ("argv = [", "\"/bin/echo"),
        ("ca_file = ", "\""),
    ]
    .map(at)
    .to_vec()
}

#[test]
fn what_only_a_plugin_knows_is_told_with_its_place_everywhere() {
    let written = bad(Config::new()).write();
    let places = places(written.file().as_path());
    let whole = |said: &str| {
        for ((name, _, _, option), place) in BAD.iter().zip(&places) {
            let told = format!("check `{name}`: ");
            assert!(
                said.contains(&told) && said.contains(option),
                "{told}{option}: {said}"
            );
            assert!(said.contains(place.as_str()), "{place}: {said}");
        }
    };
    // By -t, and in its shape for programs.
    let output = written.run(&["-t"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    whole(&String::from_utf8_lossy(&output.stderr));
    let output = written.run(&["-t", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (output.status.code(), &told["ok"]),
        (Some(78), &json!(false)),
        "{told}"
    );
    let found: Vec<String> = told["diagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| {
            assert_eq!(d["code"], "options-refused", "{d}");
            format!(
                "{}:{}:{}",
                d["file"].as_str().unwrap_or_default(),
                d["line"],
                d["column"]
            )
        })
        .collect();
    assert_eq!(found, places);
    // A start takes it: what is good is watched, and the rest is UNKNOWN. It is told in the log.
    let daemon = written.spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("good")["status"], "ok");
    for (name, ..) in BAD {
        let row = daemon.run(name);
        assert_eq!(
            (&row["status"], &row["fault"]),
            (&json!("unknown"), &json!("config")),
            "{row}"
        );
    }
    for ((name, ..), place) in BAD.iter().zip(&places) {
        daemon.expect_log(&format!("error: check `{name}`: "));
        daemon.expect_log(place);
    }
    // A reload refuses it, as it is no better than it was.
    let error = daemon
        .client()
        .ask("reload", json!({}))
        .expect_err("it is bad");
    assert_eq!(error["code"], "bad_config", "{error}");
    whole(error["diagnostics"][0].as_str().expect("text"));
    daemon.written.rewrite(&[good()]);
    let said = daemon.healthctl(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_plugin_that_crashes_or_hangs_over_options_costs_its_own_checks_a_warning() {
    let crash = |name: &str, how: &str| {
        let options = format!("{{ how = {how:?}, when = \"create\" }}");
        check(name)
            .plugin("crash")
            .interval("1h")
            .set("config", &options)
    };
    let config = Config::new()
        .plugin_file(fixtures::fixture("crash"))
        .check(crash("dies", "segv"))
        .check(crash("aborts", "abort"))
        .check(
            check("calm")
                .plugin("crash")
                .interval("1h")
                .set("config", "{ how = \"segv\", when = \"destroy\" }"),
        )
        .check(check("hangs").plugin("crash_step").interval("1h").set(
            "config",
            "{ how = \"stall\", when = \"create\", ms = 3600000 }",
        ))
        .check(
            check("bad")
                .plugin("http")
                .set("config", "{ url = \"http://h/\", body_regex = \"(\" }"),
        );
    let written = config.write();
    let output = written.run(&["-t", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = told["diagnostics"].as_array().expect("a list");
    let of = |check: &str| -> Vec<String> {
        told.iter()
            .filter(|d| {
                d["message"]
                    .as_str()
                    .is_some_and(|m| m.contains(&format!("`{check}`")))
            })
            .map(|d| format!("{} {} {}", d["severity"], d["code"], d["message"]))
            .collect()
    };
    for (check, how) in [
        ("dies", "plugin `crash` crashed (SIGSEGV) over"),
        ("aborts", "plugin `crash` crashed (SIGABRT) over"),
        (
            "hangs",
            "plugin `crash_step` did not come back within 5 s over",
        ),
    ] {
        let said = of(check);
        assert!(
            said.len() == 1
                && said[0].starts_with("\"warning\" \"plugin-failed\"")
                && said[0].contains(how),
            "{check}: {told:#?}"
        );
    }
    assert!(of("calm").is_empty(), "{told:#?}");
    // And the mistakes of others are found all the same.
    assert!(
        of("bad")[0].contains("\"error\" \"options-refused\""),
        "{told:#?}"
    );
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn what_a_tried_plugin_starts_ends_with_the_look() {
    let config = Config::new();
    let mark = config.dir().display().to_string();
    let leaves = |name: &str, plugin: &str, how: &str| {
        let options = format!("{{ how = {how:?}, when = \"create\", ms = 3600000 }}");
        let check = check(name).plugin(plugin).interval("1h");
        check.set("config", &options)
    };
    let tried = || {
        vec![
            leaves("leaves", "crash", "leave"),
            leaves("dies", "crash", "leave_abort"),
            leaves("hangs", "crash_step", "leave_stall"),
            // So that nothing but a look comes of it.
            check("bad")
                .plugin("http")
                .set("config", "{ url = \"http://h/\", body_regex = \"(\" }"),
        ]
    };
    let left = || {
        let mut left = procs::with_variable("HEALTHD_TEST_LOOK", &mark);
        left.retain(|pid| procs::name(*pid) == "sleep");
        left
    };
    let written = config
        .env("HEALTHD_TEST_LOOK", &mark)
        .plugin_file(fixtures::fixture("crash"))
        .check(good())
        .write();
    written.rewrite(&tried());
    let output = written.run(&["-t"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(left(), [0; 0], "-t");
    assert_eq!(output.status.code(), Some(78), "{said}");
    // Each had started its programs, and then came to its own end.
    for words in [
        "plugin `crash` crashed (SIGABRT) over the options of check `dies`",
        "plugin `crash_step` did not come back within 5 s over the options of check `hangs`",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("check `leaves`"), "{said}");

    written.rewrite(&[good()]);
    let daemon = written.spawn();
    daemon.expect_notify("READY=1");
    daemon.written.rewrite(&tried());
    let refused = daemon.client().ask("reload", json!({}));
    let refused = refused.expect_err("a config that a plugin refuses");
    assert!(refused.to_string().contains("SIGABRT"), "{refused}");
    // Since its start the daemon asks beside this, of what the files hold by then.
    wait_for("no look leaves a program", || left().is_empty());
    assert_eq!(daemon.run("good")["status"], "ok");
}

#[test]
fn what_would_fail_later_is_a_warning_now() {
    let config = Config::new();
    let dir = config.dir().to_owned();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).expect("our own folder");
        path.display().to_string()
    };
    let plain = file("plain", "#!/bin/sh\n");
    let secret = file("secret", "s3cret\n");
    let script = file("script", "#!/nonexistent/interpreter\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
    fs::create_dir(dir.join("checks.d")).expect("our own folder");
    for name in [
        "web.conf",
        "old.toml~",
        ".hidden.toml",
        "README.md",
        ".gitignore",
    ] {
        fs::write(dir.join("checks.d").join(name), "").expect("our own folder");
    }
    let exec = |name: &str, program: &str| {
        check(name)
            .plugin("exec")
            .set("config", &format!("{{ argv = [{program:?}] }}"))
    };
    let written = config
        .check(exec("missing", "/nonexistent/program"))
        .check(exec("plain", &plain))
        .check(exec("script", &script))
        .check(exec("bare", "no-such-command-anywhere"))
        .check(check("slow").script("true").interval("5s").timeout("10s"))
        .check(
            check("meant")
                .plugin("http")
                .set("config", "{ url = \"http://${HOST}/\" }"),
        )
        .check(check("shell").script("echo ${HOME}"))
        .check(
            check("open")
                .plugin("http")
                .set("config", "{ url = \"http://u:pw@127.0.0.1/\" }"),
        )
        .check(
            check("user")
                .plugin("http")
                .set("config", "{ url = \"http://user@127.0.0.1/\" }"),
        )
        .check(check("words").plugin("exec").set(
            "config",
            &format!("{{ argv = [\"/bin/true\", {{ file = {secret:?} }}] }}"),
        ))
        .write();
    let output = written.run(&["-t", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (output.status.code(), &told["ok"]),
        (Some(0), &json!(true)),
        "{told:#}"
    );
    let told = told["diagnostics"].as_array().expect("a list");
    for (code, words) in [
        ("not-read", "web.conf is not read"),
        ("not-read", "old.toml~ is not read"),
        ("not-read", ".hidden.toml is not read"),
        (
            "options-refused",
            "/nonexistent/program: there is no such file",
        ),
        ("options-refused", "plain: not executable"),
        (
            "options-refused",
            "/nonexistent/interpreter, which its first line names, does not exist",
        ),
        (
            "options-refused",
            "no-such-command-anywhere: no such command in PATH",
        ),
        (
            "timeout-over-interval",
            "`timeout` of check `slow` is longer than its `interval` of 5s",
        ),
        ("not-replaced", "`${HOST}`"),
        (
            "open-secret",
            "option `url` of check `open` holds user and password",
        ),
        (
            "secret-on-command-line",
            "option `argv[1]` of check `words` puts a secret on its program's command line",
        ),
    ] {
        let same = |d: &&Value| {
            d["code"] == code && d["message"].as_str().is_some_and(|m| m.contains(words))
        };
        let found: Vec<_> = told.iter().filter(same).collect();
        assert_eq!(found.len(), 1, "{words}: {told:#?}");
        assert_eq!(found[0]["severity"], "warning");
    }
    assert_eq!(told.len(), 11, "{told:#?}");
}

/// Of every kind of plugin: limits of which the warning can never be given.
#[test]
fn limits_in_the_wrong_order_are_told() {
    let swapped = [
        (
            "http",
            "url = \"http://127.0.0.1:1/\", latency_warn = \"2s\", latency_crit = \"1s\"",
            "option `latency_warn` (2s) of check `http-0` can never warn: whatever is beyond it is beyond `latency_crit` (1s) too",
        ),
        (
            "tcp",
            "host = \"127.0.0.1\", port = 1, tls = true, certificate_warn_days = 7, certificate_crit_days = 14",
            "option `certificate_warn_days` (7) of check `tcp-1` can never warn: whatever is beyond it is beyond `certificate_crit_days` (14) too",
        ),
        (
            "tls",
            "host = \"127.0.0.1\", days_warn = 3",
            "option `days_warn` (3) of check `tls-2` can never warn: whatever is beyond it is beyond `days_crit` (7) too",
        ),
        (
            "ping",
            "host = \"127.0.0.1\", loss_warn = \"80%\"",
            "option `loss_warn` (80%) of check `ping-3` can never warn: whatever is beyond it is beyond `loss_crit` (60%) too",
        ),
        (
            "disk",
            "free_warn = \"1GiB\", free_crit = \"5GiB\"",
            "option `free_warn` (1GiB) of check `disk-4` can never warn: whatever is beyond it is beyond `free_crit` (5GiB) too",
        ),
        (
            "file",
            "path = \"/etc/hostname\", size_warn = \"1000:\", size_crit = \"2000:\"",
            "option `size_warn` (1000:) of check `file-5` can never warn: whatever is beyond it is beyond `size_crit` (2000:) too",
        ),
        (
            "stats",
            "path = \"/etc/hostname\", format = \"log\", pattern = \"([0-9]+)\", limits = { p99 = { warn = 250, crit = 100 } }",
            "option `limits.p99.warn` (250) of check `stats-6` can never warn: whatever is beyond it is beyond `limits.p99.crit` (100) too",
        ),
        (
            "cpu",
            "warn_below = 40, crit_below = 60",
            "option `warn_below` (40) of check `cpu-7` can never warn: whatever is beyond it is beyond `crit_below` (60) too",
        ),
    ];
    let mut config = Config::new().plugin_file(built("healthd-net", "libhealthd_net.so"));
    for (n, (plugin, options, _)) in swapped.iter().enumerate() {
        let name = format!("{plugin}-{n}");
        config = config.check(
            check(&name)
                .plugin(plugin)
                .set("config", &format!("{{ {options} }}")),
        );
    }
    // In order: equal ones, a default that nobody wrote, and two that cannot be compared.
    for (n, (plugin, options)) in [
        (
            "http",
            "url = \"http://127.0.0.1:1/\", latency_warn = \"1s\", latency_crit = \"1000ms\"",
        ),
        ("tls", "host = \"127.0.0.1\", days_crit = 30"),
        ("disk", "free_warn = \"1MiB\""),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("good-{n}");
        config = config.check(
            check(&name)
                .plugin(plugin)
                .set("config", &format!("{{ {options} }}")),
        );
    }
    let written = config.write();
    let output = written.run(&["-t", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (output.status.code(), &told["ok"]),
        (Some(0), &json!(true)),
        "{told:#}"
    );
    let told: Vec<_> = told["diagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    let said: Vec<_> = told
        .iter()
        .map(|d| d["message"].as_str().unwrap_or_default())
        .collect();
    let wanted: Vec<_> = swapped.iter().map(|(_, _, text)| *text).collect();
    assert_eq!(said, wanted, "{told:#?}");
    for d in told {
        assert_eq!(
            (&d["code"], &d["severity"]),
            (&json!("limits-swapped"), &json!("warning"))
        );
    }
}

#[test]
fn options_are_judged_with_the_rights_of_the_daemon() {
    if !is_root() {
        return skipped("needs root");
    }
    let config = Config::new();
    // Everybody may go into the folder, and the file is root's alone.
    fs::set_permissions(config.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let key = config.dir().join("ca.pem");
    fs::write(&key, "").expect("our own folder");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
    let options = format!(
        "{{ url = \"https://127.0.0.1:1/\", ca_file = {:?} }}",
        key.display().to_string()
    );
    let config = config
        .daemon("user", "\"nobody\"")
        .check(check("web").plugin("http").set("config", &options));
    let output = config.write().run(&["-t"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("ca.pem: Permission denied"), "{said}");
}

/// What `auto` comes to depends on the machine, and is told as the number that it is here.
#[test]
fn auto_is_told_as_a_number() {
    let config = Config::new()
        .pool("io", "workers = \"auto\"\nthreads = \"auto\"")
        .pool("cpu", "workers = \"auto\"")
        .check(good())
        .write();
    let told: Value = serde_json::from_slice(&config.run(&["-t", "--json"]).stdout).expect("JSON");
    let [workers, threads] = ["workers", "threads"].map(|k| told["pool"]["io"][k].as_u64());
    let (workers, threads) = (workers.expect("a number"), threads.expect("a number"));
    let computing = told["pool"]["cpu"]["workers"].as_u64().expect("a number");
    assert!((2..=16).contains(&workers), "{told:#}");
    assert!((64..=1024).contains(&threads), "{told:#}");
    assert!((1..=256).contains(&computing), "{told:#}");
    let said = String::from_utf8_lossy(&config.run(&["-t"]).stdout).into_owned();
    let line =
        format!("workers: io {workers} with up to {threads} threads each, cpu {computing}\n");
    assert!(said.contains(&line), "{said}");
}

#[test]
fn who_is_not_there_is_told_before_the_start() {
    for (key, words) in [
        ("user", "there is no user `hd-nobody-x`"),
        ("control_group", "there is no group `hd-nobody-x`"),
    ] {
        let output = Config::new()
            .daemon(key, "\"hd-nobody-x\"")
            .check(good())
            .write()
            .run(&["-t"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn programs_that_the_hardening_of_the_unit_makes_lie_are_told() {
    let units = healthd_testing::Folder::new();
    let unit = "[Service]\nProtectProc=invisible\nProtectHome=yes\n";
    let unit = units.write("healthd.service", unit);
    let path = unit.parent().expect("it has one");
    // Only their names matter.
    let program = |name: &str, words: &str| {
        check(name)
            .plugin("exec")
            .interval("1h")
            .set("config", &format!("{{ argv = [\"/bin/{name}\"{words}] }}"))
    };
    let config = || {
        Config::new()
            .check(program("check_procs", ""))
            .check(program("check_disk", ", \"-p\", \"/home/x\""))
            .check(program("check_load", ""))
    };
    let output = config().env("SYSTEMD_UNIT_PATH", path).write().run(&["-t"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let lies = [
        (
            "check_procs",
            "under healthd.service `check_procs` sees only healthd's own processes: it needs ProtectProc=default",
        ),
        (
            "check_disk",
            "under healthd.service `check_disk` sees an empty stand-in for /home/x: it needs ProtectHome=read-only",
        ),
    ];
    for (_, words) in lies {
        assert!(told.contains(words), "{told}");
    }
    assert!(!told.contains("`check_load`: argv: under"), "{told}");

    let daemon = config().spawn();
    daemon.expect_notify("READY=1");
    let show = |name: &str, json: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_healthctl"));
        command.env("SYSTEMD_UNIT_PATH", path);
        say(command
            .arg("--socket")
            .arg(daemon.socket())
            .args(["show", name])
            .args(json))
    };
    for (name, words) in lies {
        let shown = show(name, &[]);
        assert!(shown.out.contains(words), "{shown:?}");
        let shown = show(name, &["--json"]).json();
        assert!(
            shown["hardening"]
                .as_str()
                .is_some_and(|h| h.contains(words)),
            "{shown}"
        );
    }
    assert!(
        show("check_load", &["--json"])
            .json()
            .get("hardening")
            .is_none()
    );
}
