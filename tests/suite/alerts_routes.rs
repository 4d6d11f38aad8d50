//! Which route tells of which problem, and when: the keys of a route, and those of a check that belong to them.

use crate::alerts::{
    assert_paired, config, count, of_team, report, route, say, told, until_all_are_ok,
    until_verdict,
};
use crate::harness::check;
use crate::harness::ctl::wait_for;
use crate::harness::receiver::{Got, Receiver};
use serde_json::json;
use std::fs;
use std::path::Path;

#[test]
fn a_notifier_is_no_check_and_a_check_tells_nobody() {
    let receiver = Receiver::new();
    let (code, said) = config()
        .check(
            check("a")
                .plugin("webhook")
                .set("config", "{ url = \"http://127.0.0.1:1/\" }"),
        )
        .notify("plugin = \"echo\"\n")
        .notify(&route("hook", &receiver).replace("url", "urll"))
        .refused();
    assert_eq!(code, Some(78));
    for part in [
        "plugin `webhook` of check `a` checks nothing: it tells people",
        "plugin `echo` of route `echo` is for checks, and tells nobody",
        "plugins that tell somebody: mail, script, webhook",
        "`urll`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn keys_of_a_check_invert_recover_and_its_runbook() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let daemon = config
        .check(
            told(&dir, "closed")
                .set("invert", "true")
                .set("recover", "3")
                .set("runbook", "\"https://wiki/closed\""),
        )
        .notify(&route("hook", &receiver))
        .spawn();
    daemon.expect_notify("READY=1");
    let problem = receiver.accepted("problem");
    let line = &problem.body["checks"][0];
    assert_eq!(line["verdict"], "critical");
    assert_eq!(line["runbook"], "https://wiki/closed");
    say(&dir, "closed", "critical refused");
    receiver.accepted("recovery");
    assert_paired(&receiver);
}

#[test]
fn a_route_that_fails_is_told_by_its_backup_and_a_sign_of_life_stops() {
    // Minutes pass in the property test of the engine; here the way is what counts.
    let (alive, second) = (Receiver::new(), Receiver::new());
    let daemon = config()
        .check(check("web").plugin("echo_step").interval("1h"))
        .notify(&(route("beat", &alive) + "alive = \"1m\"\nmatch = \"none\"\n"))
        .notify(&(route("first", &second) + "backup = \"second\"\n"))
        .notify(&(route("second", &second) + "enabled = false\n"))
        .spawn();
    daemon.expect_notify("READY=1");
    let beat = alive.accepted("alive");
    assert_eq!(beat.body["count"], 0);
    let who = daemon.healthctl(&["--json", "alerts", "who", "web"]).json();
    assert_eq!(who[1]["told"], true, "{who}");
    // Warned of: nobody fits the first, and the backup is off.
    let file = daemon.written.file();
    let said = daemon.healthctl(&["validate", file.to_str().expect("a path of ours")]);
    let said = said.out + &said.err;
    for part in [
        "`match` of route `beat` fits no check",
        "route `second` is a backup, and not enabled",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn many_problems_are_one_message_and_beyond_the_limit_they_join_the_next() {
    let receiver = Receiver::new();
    let mut config = config().notify(&route("hook", &receiver).replace("\"0s\"", "\"2s\""));
    let dir = config.dir().to_owned();
    for n in 0..50 {
        config = config.check(told(&dir, &format!("c-{n}")));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    assert_eq!(daemon.healthctl(&["silence", "*"]).code, Some(0));
    for n in 0..50 {
        say(&dir, &format!("c-{n}"), "critical all of them");
    }
    wait_for("all are bad", || {
        let rows = daemon.ask("status", json!({}));
        rows.iter().all(|r| r["verdict"] == "critical")
    });
    let id = report(&daemon)["silences"][0]["id"].clone();
    daemon.healthctl(&["unsilence", id.as_str().expect("an id")]);
    let problem = receiver.accepted("problem");
    assert_eq!(problem.body["count"], 50, "{problem:#?}");
    assert_eq!(problem.body["checks"].as_array().map(Vec::len), Some(50));
    for n in 0..50 {
        say(&dir, &format!("c-{n}"), "ok fine");
    }
    let recovery = receiver.accepted("recovery");
    assert_eq!(recovery.body["count"], 50);
    assert_paired(&receiver);
}

#[test]
fn beyond_the_limit_problems_wait_for_each_other_and_recoveries_do_not() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let route = route("hook", &receiver) + "by = \"check\"\nlimit = \"2/20s\"\n";
    let mut config = config.notify(&route);
    for n in 0..6 {
        config = config.check(told(&dir, &format!("c-{n}")));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    // Two by themselves, the other four together when the first two are old enough.
    for name in ["c-0", "c-1"] {
        say(&dir, name, "critical it is down");
        until_verdict(&daemon, name, "critical");
    }
    for n in 2..6 {
        say(&dir, &format!("c-{n}"), "critical it is down");
    }
    let problems = receiver.wait("all six", 3, |g| g.accepted && g.text("kind") == "problem");
    let counts: Vec<u64> = problems
        .iter()
        .filter_map(|g| g.body["count"].as_u64())
        .collect();
    assert_eq!(counts, [1, 1, 4], "{problems:#?}");
    for n in 0..6 {
        say(&dir, &format!("c-{n}"), "ok fine");
    }
    receiver.wait("each end", 3, |g| {
        g.accepted && g.text("kind") == "recovery"
    });
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    assert_paired(&receiver);
    assert_eq!(count(&receiver, "problem"), 3, "{:#?}", receiver.all());
}

#[test]
fn what_the_readme_shows_is_a_config() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut blocks = 0;
    for page in ["README.md", "daemon/docs/alerts.md"] {
        let text = fs::read_to_string(tree.join(page)).expect("shipped");
        let fence = if page == "README.md" {
            "```toml receiver\n"
        } else {
            "```toml\n"
        };
        for block in text
            .split(fence)
            .skip(1)
            .filter_map(|b| b.split("```").next())
        {
            blocks += 1;
            let block = block
                .replace(
                    "{ credential = \"slack-url\" }",
                    "\"https://127.0.0.1/hook\"",
                )
                .replace("{ credential = \"pd\" }", "\"0123456789\"");
            let needs_mail =
                block.contains("backup = \"mail\"") && !block.contains("plugin = \"mail\"");
            let mut config = config()
                .check(check("shop/db").plugin("echo_step"))
                .check(check("rack7/a").plugin("echo_step"))
                .check(
                    check("gateway")
                        .plugin("http")
                        .set("config", "{ url = \"http://127.0.0.1/\" }"),
                )
                .notify(
                    "name = \"other\"\nplugin = \"mail\"\nconfig = { to = \"a@example.org\" }\n",
                )
                .alerts(&block);
            if needs_mail {
                config = config.notify("plugin = \"mail\"\nconfig = { to = \"a@example.org\" }\n");
            }
            let written = config.write();
            let output = written.run(&["-t"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{page}: {block}{said}");
            assert!(!said.contains("error"), "{page}: {block}{said}");
        }
    }
    assert!(blocks >= 7, "{blocks}");
}

/// Two problems at the same time, a warning of team web and a critical of team db, and a receiver for each key.
#[test]
fn each_key_of_a_route_says_whom_it_tells_of_what() {
    const KEYS: [(&str, &str); 7] = [
        ("together", "wait = \"2s\""),
        ("critical", "on = [\"critical\"]"),
        ("team", "match = \"team=web !c-*\""),
        ("shut", "when = \"2020-01-01 .. 2020-01-02 UTC\""),
        ("late", "after = \"1s\""),
        ("never", "after = \"1h\""),
        ("by-team", "by = \"team\""),
    ];
    let receivers = KEYS.map(|(name, keys)| (name, keys, Receiver::new()));
    let config = config();
    let dir = config.dir().to_owned();
    let mut config = config
        .check(of_team(&dir, "shop", "web"))
        .check(of_team(&dir, "c-db", "db"));
    for (name, keys, receiver) in &receivers {
        let route = route(name, receiver);
        let route = match keys.starts_with("wait") {
            true => route.replace("wait = \"0s\"", keys),
            false => route + keys + "\n",
        };
        config = config.notify(&route);
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    // Held back until both are there.
    assert_eq!(daemon.healthctl(&["silence", "*"]).code, Some(0));
    say(&dir, "shop", "warning it is slow");
    say(&dir, "c-db", "critical no disk");
    until_verdict(&daemon, "shop", "warning");
    until_verdict(&daemon, "c-db", "critical");
    let id = report(&daemon)["silences"][0]["id"].clone();
    daemon.healthctl(&["unsilence", id.as_str().expect("an id")]);
    let receiver = |name: &str| {
        let found = receivers.iter().find(|(known, ..)| *known == name);
        &found.expect("a route").2
    };
    let problems = |name: &str, count: usize| {
        let problems = |g: &Got| g.accepted && g.text("kind") == "problem";
        receiver(name).wait(name, count, problems)
    };
    let names = |got: &Got| {
        let checks = got.body["checks"].as_array().expect("checks");
        let mut names: Vec<String> = (checks.iter())
            .map(|c| c["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&problems("together", 1)[0]), ["c-db", "shop"]);
    assert_eq!(names(&problems("critical", 1)[0]), ["c-db"]);
    assert_eq!(names(&problems("team", 1)[0]), ["shop"]);
    let mut by_team: Vec<_> = problems("by-team", 2).iter().map(names).collect();
    by_team.sort();
    assert_eq!(by_team, [["c-db"], ["shop"]]);
    for late in problems("late", 1) {
        assert!(late.body["lasted_s"].as_u64() >= Some(1), "{late:#?}");
    }
    let who = daemon.healthctl(&["alerts", "who", "c-db"]);
    for why in [
        "its `when` is closed for ever",
        "after 1h, if it is still there",
    ] {
        assert!(who.out.contains(why), "{why}: {who:?}");
    }
    say(&dir, "shop", "ok fine");
    say(&dir, "c-db", "ok fine");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    for (name, _, receiver) in &receivers {
        assert_paired(receiver);
        let told = !receiver.all().is_empty();
        assert_eq!(told, !["shut", "never"].contains(name), "{name}");
    }
}
