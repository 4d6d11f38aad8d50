//! Names of checks are what people call things: up to 255 bytes, with blanks, in any script. And a title beside it.

use crate::harness::ctl::{Said, say, wait_for};
use crate::harness::{Check, Config, Daemon, check, fixtures, kill};
use nix::sys::signal::Signal;
use serde_json::json;
use std::process::Command;

const OFFICE: &str = "Büro: Drucker im 2. Stock";
const QUOTED: &str = "it's \"the\" 漢字 = x";
const TITLE: &str = "Der Drucker am Fenster (Anna fragen)";

/// The longest there may be, in characters of two bytes.
fn longest() -> String {
    format!("{}x", "ä".repeat(127))
}

fn bad(name: &str) -> Check {
    check(name)
        .plugin("echo_step")
        .interval("1h")
        .set("attempts", "1")
        .set("config", "{ status = \"critical\", message = \"down\" }")
}

fn start() -> Daemon {
    let daemon = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"))
        .check(bad(OFFICE).set("title", &format!("{TITLE:?}")))
        .check(bad(QUOTED).set("needs", &format!("{:?}", "plain")))
        .check(bad(&longest()))
        .check(
            check("plain")
                .plugin("echo_step")
                .interval("1h")
                .set("exclusive", "\"g\""),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    daemon
}

fn has(said: &Said, what: &str) {
    assert!(said.out.contains(what), "{what}: {said:?}");
}

#[test]
fn every_command_takes_and_shows_them() {
    let daemon = start();
    let longest = longest();
    for name in [OFFICE, QUOTED, &longest] {
        daemon.expect_log("from=pending to=critical");
        has(&daemon.told_by_daemon(&["show", name]), name);
        has(&daemon.told_by_daemon(&["why", name]), name);
        has(&daemon.told_by_daemon(&["list"]), name);
        has(&daemon.told_by_daemon(&["status"]), name);
        has(&daemon.told_by_daemon(&["status", "--nagios"]), name);
        has(&daemon.told_by_daemon(&["events"]), name);
        let row = daemon.told_by_daemon(&["--json", "status", name]).json();
        assert_eq!(row[0]["name"], name, "{row}");
        assert_eq!(daemon.run(name)["verdict"], "critical");
        for act in ["pause", "resume"] {
            assert_eq!(daemon.healthctl(&[act, name]).code, Some(0));
        }
    }
    for args in [&["status"][..], &["show", OFFICE], &["why", OFFICE]] {
        has(&daemon.told_by_daemon(args), TITLE);
        let json = daemon.told_by_daemon(&[&["--json"], args].concat()).json();
        let row = if json.is_array() { &json[0] } else { &json };
        assert_eq!(row["title"], TITLE, "{args:?}: {json}");
    }
    // Patterns count characters, not bytes.
    for (pattern, names) in [
        ("Büro:*", vec![OFFICE]),
        ("B?ro*", vec![OFFICE]),
        ("B[ü-ý]ro*", vec![OFFICE]),
        ("*漢字*", vec![QUOTED]),
        ("ä*x", vec![&longest[..]]),
        ("* *", vec![OFFICE, QUOTED]),
    ] {
        let said = daemon.told_by_daemon(&["list", pattern]);
        let mut listed: Vec<&str> = said.out.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, names, "{pattern}");
    }
    let near = daemon.told_by_daemon(&["show", "Büro: Drucker im 3. Stock"]);
    assert!(
        near.err.contains(&format!("did you mean `{OFFICE}`")),
        "{near:?}"
    );
    // A line of the log stays a line of words.
    let log = daemon.log.all();
    for field in [format!("{OFFICE:?}"), format!("{QUOTED:?}"), longest] {
        let line = format!("check={field} from=pending to=critical");
        assert!(log.iter().any(|l| l.contains(&line)), "{line}: {log:#?}");
    }
}

#[test]
fn they_outlive_the_manager_and_the_daemon() {
    let mut daemon = start();
    let before = daemon.ask("status", json!({}));
    let events = |daemon: &Daemon| daemon.told_by_daemon(&["events", "--json"]).out;
    assert!(events(&daemon).contains(&longest()));
    let manager = daemon.manager();
    kill(manager, Signal::SIGKILL);
    daemon.expect_log("generation=2");
    let same = |daemon: &Daemon| {
        let after = daemon.ask("status", json!({}));
        for (before, after) in before.iter().zip(&after) {
            for key in ["name", "title", "verdict", "since", "message"] {
                assert_eq!(before[key], after[key], "{key}: {after}");
            }
        }
    };
    same(&daemon);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    same(&daemon);
    assert!(events(&daemon).contains(&longest()));
}

#[test]
fn a_stopped_daemon_is_read_from_its_maps_with_names_and_titles() {
    let daemon = start();
    // The supervisor too: it would replace a manager that is silent.
    let both = [daemon.pid(), daemon.manager()];
    both.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP));
    let stopped = |args: &[&str]| {
        let args = [&["--timeout", "200ms"], args].concat();
        crate::harness::ctl::healthctl(&daemon.socket(), &args)
    };
    for name in [OFFICE, QUOTED, &longest()] {
        has(&stopped(&["status", name]), name);
        has(&stopped(&["why", name]), name);
    }
    has(&stopped(&["status"]), TITLE);
    has(&stopped(&["why", OFFICE]), TITLE);
    has(&stopped(&["events"]), &longest());
    both.iter().for_each(|pid| kill(*pid, Signal::SIGCONT));
}

/// What a shell puts into the command line is one word again.
#[test]
fn a_shell_completes_them() {
    let daemon = start();
    let ctl = env!("CARGO_BIN_EXE_healthctl");
    let script = format!(
        "PATH={dir}:$PATH; export HEALTHD_SOCKET={socket}
         source <(healthctl completions bash)
         complete -p healthctl >/dev/null || exit 9
         function=$(complete -p healthctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
         COMP_WORDS=(healthctl show \"$1\"); COMP_CWORD=2; COMP_TYPE=9
         \"$function\" healthctl \"$1\" show 2>/dev/null
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        dir = std::path::Path::new(ctl)
            .parent()
            .expect("a folder")
            .display(),
        socket = daemon.socket().display(),
    );
    for (typed, name) in [("B", OFFICE), ("it", QUOTED), ("pl", "plain")] {
        // Whoever types does not wait for an answer that does not come at once.
        wait_for(&format!("{typed} is {name}"), || {
            let said = say(Command::new("bash").args(["-c", &script, "bash", typed]));
            let offered = said.out.trim_end();
            let read = say(Command::new("bash").args(["-c", &format!("printf %s {offered}")]));
            assert!(offered.is_empty() || read.out == name, "{typed}: {said:?}");
            !offered.is_empty()
        });
    }
}

#[test]
fn a_name_that_would_deceive_is_refused_with_a_way_out() {
    for (name, wrong, help) in [
        (
            "a\\u001b[2Jb",
            "a control character (U+001B)",
            "letters, digits, blanks",
        ),
        (
            "a\\u202eb",
            "a control character (U+202E)",
            "letters, digits, blanks",
        ),
        (
            "a\\nb",
            "a control character (U+000A)",
            "letters, digits, blanks",
        ),
        ("web-*", "holds `*`", "chooses checks by patterns"),
        ("a[1]", "holds `[`", "chooses checks by patterns"),
        (" a", "begins or ends with a blank", "write `a`"),
        (&"é".repeat(128), "is 256 bytes long", "at most 255 bytes"),
    ] {
        let name = format!("\"{name}\"");
        let config = Config::new().plugin_file(fixtures::fixture("echo"));
        let (code, log) = config
            .check(
                check("good")
                    .plugin("echo_step")
                    .set("title", "\"a\\u0007b\""),
            )
            .check(Check::raw(&name).plugin("echo_step"))
            .refused();
        assert_eq!(code, Some(78), "{log}");
        for what in [
            wrong,
            help,
            "`title` of check `good` holds a control character",
        ] {
            assert!(log.contains(what), "{what}: {log}");
        }
        assert!(
            !log.contains('\u{1b}') && !log.contains('\u{202e}'),
            "{log:?}"
        );
    }
}
