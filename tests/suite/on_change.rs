//! `on_change`: a program is run when a check changes, once for each change, and what became of it is an event.

use crate::alerts::{self, add, say, told, until_all_are_ok, until_verdict};
use crate::harness::ctl::wait_for;
use crate::harness::plugins::shipped;
use crate::harness::{Check, Config, Daemon, check};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn config() -> Config {
    alerts::config().plugin_file(shipped("notify"))
}

/// As `told`, but it takes so many results, each of which somebody asks for.
fn patient(dir: &Path, name: &str, attempts: &str) -> Check {
    say(dir, name, "ok fine");
    check(name)
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", attempts)
        .set("retry_interval", "\"1h\"")
        .set("config", &format!("{{ file = {:?} }}", dir.join(name)))
}

/// Writes a line a run, of what it was told. Its exit code is in the file `code`.
fn script(dir: &Path) -> (PathBuf, PathBuf) {
    let (script, lines) = (dir.join("act.sh"), dir.join("acts"));
    let text = format!(
        "#!/bin/sh\necho \"$1|$SERVICESTATE|$NAGIOS_SERVICESTATETYPE|$SERVICEATTEMPT|$LASTSERVICESTATE|$NOTIFICATIONTYPE\" >> {}\necho did it\nexit $(cat {} 2>/dev/null || echo 0)\n",
        lines.display(),
        dir.join("code").display()
    );
    fs::write(&script, text).expect("our own folder");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("our own file");
    (script, lines)
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Kind and message of what was done, or not.
fn acts(daemon: &Daemon) -> Vec<(String, String)> {
    let events = daemon.ask("events", json!({}));
    let text = |e: &Value, key: &str| e[key].as_str().unwrap_or_default().to_owned();
    let acts = events.iter().map(|e| (text(e, "kind"), text(e, "message")));
    acts.filter(|(kind, _)| kind.ends_with("acted")).collect()
}

#[test]
fn a_program_is_run_at_each_change_and_told_what_nagios_tells() {
    let config = config();
    let dir = config.dir().to_owned();
    let (script, ran) = script(&dir);
    let action = format!("{{ argv = [{script:?}, \"$SERVICEDESC$\"], limit = \"3/1h\" }}");
    let daemon = config
        .check(told(&dir, "web").set("on_change", &action))
        .check(told(&dir, "db"))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "db", "critical nobody cares");
    say(&dir, "web", "critical it is down");
    wait_for("the first", || lines(&ran).len() == 1);
    assert_eq!(lines(&ran)[0], "web|CRITICAL|HARD|1|OK|PROBLEM");
    wait_for("its event", || acts(&daemon).len() == 1);
    let (kind, message) = acts(&daemon).remove(0);
    assert_eq!(kind, "acted");
    assert!(
        message.ends_with("act.sh $SERVICEDESC$: did it"),
        "{message}"
    );
    // One that fails says so.
    fs::write(dir.join("code"), "7").expect("our own folder");
    say(&dir, "web", "ok fine");
    wait_for("the second", || lines(&ran).len() == 2);
    assert_eq!(lines(&ran)[1], "web|OK|HARD|1|CRITICAL|RECOVERY");
    wait_for("its event", || acts(&daemon).len() == 2);
    let (kind, message) = acts(&daemon).remove(1);
    assert_eq!(kind, "not-acted");
    assert!(message.ends_with("exit code 7: did it"), "{message}");
    // A reload changes nothing, the third is the last that is allowed.
    add(
        &daemon,
        "[[maintenance]]\nmatch = \"db\"\nwhen = \"mon 00:00-00:01 UTC\"",
    );
    say(&dir, "web", "warning again");
    wait_for("the third", || acts(&daemon).len() == 3);
    say(&dir, "web", "ok fine");
    wait_for("too often", || acts(&daemon).len() == 4);
    let (kind, message) = acts(&daemon).remove(3);
    assert_eq!(kind, "not-acted");
    assert!(message.contains("more often than 3/1h"), "{message}");
    assert_eq!(lines(&ran).len(), 3);
}

#[test]
fn soft_states_only_who_asks_for_them_and_planned_work_is_left_alone() {
    let config = config();
    let dir = config.dir().to_owned();
    let (script, ran) = script(&dir);
    let soft = format!("{{ argv = [{script:?}, \"soft\"], soft = true, on = [\"critical\"] }}");
    let hard = format!("{{ argv = [{script:?}, \"hard\"], on = [\"critical\"] }}");
    let daemon = config
        .check(patient(&dir, "web", "3").set("on_change", &soft))
        .check(patient(&dir, "db", "2").set("on_change", &hard))
        .check(told(&dir, "shop").set("on_change", &hard))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    daemon.healthctl(&["maintenance", "shop", "--for", "1h"]);
    for name in ["web", "db", "shop"] {
        say(&dir, name, "critical it is down");
    }
    until_verdict(&daemon, "shop", "critical");
    let of = |who: &str| {
        let mut lines = lines(&ran);
        lines.retain(|line| line.starts_with(who));
        lines
    };
    // What comes too fast is one change, and the last is what counts: so one after the other.
    for attempt in 1..=3 {
        assert_eq!(daemon.run("web")["attempt"], attempt);
        wait_for("it is acted on", || of("soft").len() == attempt);
    }
    for attempt in 1..=2 {
        assert_eq!(daemon.run("db")["attempt"], attempt);
    }
    let hard = ["hard|CRITICAL|HARD|2|OK|PROBLEM"];
    wait_for("the other one too", || of("hard") == hard);
    let soft = of("soft");
    for (line, is) in soft.iter().zip(["SOFT|1", "SOFT|2", "HARD|3"]) {
        let begin = format!("soft|CRITICAL|{is}|OK|");
        assert!(line.starts_with(&begin), "{begin}: {soft:#?}");
    }
    assert_eq!(soft.len(), 3, "{soft:#?}");
}

#[test]
fn a_unit_is_restarted_by_systemctl() {
    let config = config();
    let dir = config.dir().to_owned();
    let bin = dir.join("bin");
    fs::create_dir(&bin).expect("our own folder");
    let ran = dir.join("systemctl-ran");
    let systemctl = bin.join("systemctl");
    fs::write(
        &systemctl,
        format!("#!/bin/sh\necho \"$@\" >> {}\n", ran.display()),
    )
    .expect("our own folder");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&systemctl, mode).expect("our own file");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let daemon = config
        .env("PATH", &path)
        .check(told(&dir, "web").set("restart", "\"nginx.service\""))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "warning slow");
    until_verdict(&daemon, "web", "warning");
    say(&dir, "web", "critical it is down");
    wait_for("a restart", || lines(&ran).len() == 1);
    assert_eq!(lines(&ran), ["--no-ask-password restart nginx.service"]);
    wait_for("its event", || acts(&daemon).len() == 1);
    assert_eq!(acts(&daemon)[0].0, "acted");
}
