//! The page and the API: what they tell is what the daemon tells, and only who may change something does.

mod asked;
mod browser;
mod clients;
mod described;
mod hostile;
mod live;
mod top;

use crate::harness::ctl::wait_for;
use crate::harness::http::{Page, address, ask, get};
use crate::harness::{Check, Config, Daemon, check, kill};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn config() -> Config {
    Config::new().section("web", "listen = \"unix:web.sock\"\nlabels = [\"team\"]")
}

fn good(name: &str) -> Check {
    check(name).script("echo fine").interval("100ms")
}

fn bad(name: &str) -> Check {
    let check = check(name).script("echo \"it <b>burns</b>\"; exit 2");
    check.set("attempts", "1").interval("100ms")
}

/// It listens at an address, and looking is open.
fn token(config: Config) -> Config {
    let file = config.dir().join("token");
    std::fs::write(&file, "s3cret\n").expect("our own directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(file, mode).expect("our own file");
    let lines = "listen = \"127.0.0.1:0\"\ntoken = { file = \"token\" }";
    config.section("web", lines)
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

fn post(at: &str, path: &str, body: &Value, headers: &str) -> Page {
    send(
        at,
        "POST",
        path,
        &body.to_string(),
        &format!("Content-Type: application/json\r\n{headers}"),
    )
}

fn send(at: &str, method: &str, path: &str, body: &str, headers: &str) -> Page {
    let length = body.len();
    ask(
        at,
        &format!(
            "{method} {path} HTTP/1.0\r\nHost: healthd\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ),
    )
}

fn value(page: &Page) -> Value {
    serde_json::from_str(&page.body).unwrap_or_else(|e| panic!("{e}: {}", page.body))
}

/// What does not change between two answers.
fn steady(row: &Value) -> Value {
    let mut row = row.clone();
    for key in [
        "type",
        "last_run",
        "next_run",
        "latency_ms",
        "metrics",
        "worker",
    ] {
        row.as_object_mut().expect("a row").remove(key);
    }
    row
}

#[test]
fn what_it_tells_is_what_healthctl_tells() {
    let daemon = config()
        .check(
            good("web/a")
                .set("labels", "{ team = \"x\" }")
                .set("title", "\"The <shop>\""),
        )
        .check(bad("db/b"))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    daemon.until_ok(&["web/a"]);
    assert_eq!(get(&at, "/public", &[]).status, 404, "no check is public");

    let page = get(&at, "/", &["Accept: text/html"]);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.head.contains("default-src 'none'"), "{}", page.head);
    let (burning, fine) = (
        page.body.find("/check/db/b"),
        page.body.find("/check/web/a"),
    );
    assert!(burning < fine && burning.is_some(), "{}", page.body);
    assert!(
        page.body.contains("it &#60;b&#62;burns&#60;/b&#62;"),
        "{}",
        page.body
    );
    assert!(page.body.contains("The &#60;shop&#62;"), "{}", page.body);
    // Nothing of it is from elsewhere, and nothing of it runs by itself.
    for not in ["http://", "https://", "onclick", "style=\"", "<script>"] {
        assert!(!page.body.contains(not), "{not}: {}", page.body);
    }
    assert!(!get(&at, "/?q=team%3Dx", &[]).body.contains("/check/db/b"));
    assert!(
        get(&at, "/?q=verdict!%3Dok", &[])
            .body
            .contains("!verdict=ok")
    );

    // A manager that does not answer at once is not waited for.
    for part in [
        "critical",
        "healthctl silence db/b",
        "History is off",
        "1 of 1",
    ] {
        wait_for(part, || {
            let page = get(&at, "/check/db/b", &[]);
            assert_eq!(page.status, 200, "{}", page.body);
            page.body.contains(part)
        });
    }
    assert_eq!(get(&at, "/check/none", &["Accept: text/html"]).status, 404);
    for path in [
        "/events",
        "/alerts",
        "/workers",
        "/style.css",
        "/page.js",
        "/icon.svg",
        "/badge/web/a.svg",
    ] {
        assert_eq!(get(&at, path, &[]).status, 200, "{path}");
    }

    let rows = value(&get(&at, "/v1/checks", &[]));
    let told = daemon.ask("status", json!({}));
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    for (row, told) in rows.as_array().expect("an array").iter().zip(&told) {
        assert_eq!(steady(row), steady(told));
    }
    let some = value(&get(&at, "/v1/checks?match=team%3Dx", &[]));
    assert_eq!(some[0]["name"], "web/a");
    // A blank is "and".
    for both in ["*%20!db/b", "w*%20*/a", "'web/a'%20*"] {
        let some = value(&get(&at, &format!("/v1/checks?match={both}"), &[]));
        let names: Vec<&Value> = some
            .as_array()
            .expect(both)
            .iter()
            .map(|r| &r["name"])
            .collect();
        assert_eq!(names, ["web/a"], "{both}");
    }
    let one = value(&get(&at, "/v1/checks/db/b", &[]));
    assert_eq!(one["config"], daemon.detail("db/b")["config"]);
    let none = get(&at, "/v1/checks/none", &[]);
    assert_eq!(
        (none.status, &value(&none)["code"]),
        (404, &json!("no_such_check"))
    );
    assert!(
        none.head.contains("application/problem+json"),
        "{}",
        none.head
    );
    assert_eq!(get(&at, "/v1/checks?match=a%3D", &[]).status, 400);
    let events = value(&get(&at, "/v1/events", &[]));
    let flipped = |e: &&Value| e["kind"] == "flipped" && e["check"] == "db/b";
    assert!(
        events
            .as_array()
            .expect("an array")
            .iter()
            .any(|e| flipped(&e))
    );

    // The manager is gone: what it has left, and that it is old.
    kill(daemon.pid(), Signal::SIGSTOP);
    kill(daemon.manager(), Signal::SIGSTOP);
    wait_for("it is said to be old", || {
        get(&at, "/", &[])
            .body
            .contains("The manager has been silent")
    });
    let page = get(&at, "/check/db/b", &[]).body;
    for part in ["what it has left", "is not known here"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let rows = value(&get(&at, "/v1/checks", &[]));
    assert_eq!(
        (&rows[1]["verdict"], &rows[1]["stale"]),
        (&json!("critical"), &json!(true))
    );
    kill(daemon.manager(), Signal::SIGCONT);
    kill(daemon.pid(), Signal::SIGCONT);
    stop(daemon);
}

#[test]
fn a_batch_runs_through_the_pool_and_what_fails_is_among_its_results() {
    let slow = |name: &str, script: &str| check(name).script(script).interval("1h");
    let daemon = config()
        .check(slow("w/a", "echo fine"))
        .check(slow("w/b", "echo \"it <b>burns</b>\"; exit 2"))
        .check(slow("other", "echo fine"))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    let asked = json!({ "match": "w/*", "ordered": true });
    let ran = post(&at, "/v1/run", &asked, "");
    assert_eq!(ran.status, 200, "{}", ran.body);
    let lines: Vec<Value> = ran
        .body
        .lines()
        .map(|l| serde_json::from_str(l).expect("a line is JSON"))
        .collect();
    assert_eq!(lines.len(), 3, "{}", ran.body);
    assert_eq!(
        (&lines[0]["name"], &lines[1]["name"]),
        (&json!("w/a"), &json!("w/b"))
    );
    assert_eq!(lines[1]["message"], "it <b>burns</b>");
    assert_eq!(
        lines[2],
        json!({ "total": 2, "successful": 1, "failed": 1, "results": 2 })
    );
    for (body, status) in [
        (json!({ "match": "none" }), 404),
        (json!({ "match": "" }), 400),
        (json!({ "match": 7 }), 400),
        (json!({ "math": "*" }), 400),
        (json!([]), 400),
    ] {
        assert_eq!(post(&at, "/v1/run", &body, "").status, status, "{body}");
    }
    let asked = json!({ "values": [40, 15, 50, 20, 35], "bins": 2 });
    let told = value(&post(&at, "/v1/analyse", &asked, ""));
    assert_eq!(
        (&told["mean"], &told["median"]),
        (&json!(32.0), &json!(35.0))
    );
    assert_eq!(
        told["histogram"],
        json!({ "edges": [15.0, 32.5, 50.0], "counts": [2, 3] })
    );
    assert_eq!(
        post(&at, "/v1/analyse", &json!({ "values": [] }), "").status,
        400
    );
    stop(daemon);
}

#[test]
fn what_is_changed_is_changed_by_who_may() {
    // Whose receiver is not there: a problem is told for as long as it is one.
    let route = "plugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:9/\" }";
    let config = token(Config::new()).notify(route);
    let daemon = config.check(bad("db/b")).spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    let silence = json!({ "match": "db/*", "for": "1h", "reason": "<script>" });
    let right = "Authorization: Bearer s3cret\r\n";
    // Looking is open here; changing is not, and nothing that a browser brings by itself opens it.
    for (headers, status) in [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Basic eDpzM2NyZXQ=\r\n", 401),
        ("Cookie: token=s3cret\r\n", 401),
    ] {
        for (path, body) in [
            ("/v1/silences", &silence),
            ("/v1/ack", &json!({ "name": "db/b" })),
            ("/v1/run", &json!({ "match": "db/b" })),
            ("/v1/analyse", &json!({ "values": [1] })),
        ] {
            let told = post(&at, path, body, headers).status;
            assert_eq!(told, status, "{path} {headers}");
        }
    }
    let form = send(&at, "POST", "/v1/silences", "match=db/b", right);
    assert_eq!(form.status, 415, "{}", form.body);
    let made = post(&at, "/v1/silences", &silence, right);
    assert_eq!(made.status, 201, "{}", made.body);
    let id = value(&made)["id"].as_str().expect("an id").to_owned();
    wait_for("the silence is shown", || {
        get(&at, "/alerts", &[]).body.contains(&id)
    });
    wait_for("its reason is a text", || {
        get(&at, "/alerts", &[]).body.contains("&#60;script&#62;")
    });
    let acked = post(
        &at,
        "/v1/ack",
        &json!({ "name": "db/b", "reason": "mine" }),
        right,
    );
    assert_eq!(acked.status, 201, "{}", acked.body);
    wait_for("who has it in hand", || {
        get(&at, "/check/db/b", &[]).body.contains("mine")
    });
    assert_eq!(
        value(&get(&at, "/v1/silences", &[]))
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    let path = format!("/v1/silences/{id}");
    assert_eq!(send(&at, "DELETE", &path, "", "").status, 401);
    assert_eq!(send(&at, "DELETE", &path, "", right).status, 200);
    assert_ne!(send(&at, "DELETE", &path, "", right).status, 200);
    assert_eq!(
        post(
            &at,
            "/v1/silences",
            &json!({ "match": "*", "for": "1 fortnight" }),
            right
        )
        .status,
        400
    );
    stop(daemon);
}

#[test]
fn the_overview_says_whom_a_problem_was_told_and_what_lies_behind_another() {
    let route = "plugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:9/\" }";
    let daemon = config()
        .notify(route)
        .check(bad("uplink"))
        .check(bad("far").set("needs", "\"uplink\""))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    // It waits for company, or is refused: in either case its route stands in the row.
    for part in ["<b>1</b> behind uplink", "<small>told: webhook "] {
        wait_for(part, || get(&at, "/", &[]).body.contains(part));
    }
    stop(daemon);
}

#[test]
fn everybody_sees_what_is_public_and_nothing_else() {
    let config = Config::new();
    std::fs::write(config.dir().join("token"), "s3cret\n").expect("our own directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(config.dir().join("token"), mode).expect("our own file");
    let lines = "listen = \"127.0.0.1:0\"\nread = \"token\"\ntoken = { file = \"token\" }";
    let config = config.section("web", lines).section("history", "");
    let public = |check: Check| check.set("public", "\"The <shop>\"");
    let daemon = config
        .check(public(
            bad("internal-name").set("title", "\"Front & page\""),
        ))
        .check(public(good("search")))
        .check(bad("of-ours"))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    daemon
        .watch(&["of-ours"])
        .until_verdict("of-ours", "critical");
    daemon
        .watch(&["internal-name"])
        .until_verdict("internal-name", "critical");
    for name in ["internal-name", "of-ours"] {
        let said = daemon.healthctl(&["incident", "note", name, &format!("<b> of {name:.5}")]);
        assert_eq!(
            (said.code, said.out),
            (Some(0), format!("noted of {name}\n"))
        );
    }
    for (name, text, code) in [
        ("searc", "x", "no_such_check"),
        ("search", " ", "bad_request"),
        ("search", "x".repeat(500).as_str(), "bad_request"),
    ] {
        let refused = daemon
            .client()
            .ask("note", json!({ "name": name, "text": text }));
        assert_eq!(refused.expect_err("it is no note")["code"], code);
    }
    assert_eq!(get(&at, "/", &[]).status, 401);
    let page = get(&at, "/public", &[]);
    assert_eq!(page.status, 200, "{}", page.body);
    for part in [
        "The &#60;shop&#62;",
        "Front &#38; page",
        "search",
        "is down since",
        "&#60;b&#62; of inter",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    for not in ["of-ours", "internal-name", "burns", "exec"] {
        assert!(!page.body.contains(not), "{not}: {}", page.body);
    }
    let feed = get(&at, "/public.atom", &[]);
    assert!(feed.head.contains("application/atom+xml"), "{}", feed.head);
    assert!(!feed.body.contains("internal-name"), "{}", feed.body);
    assert!(
        feed.body.contains("of inter") && !feed.body.contains("of of-ou"),
        "{}",
        feed.body
    );
    // As a password too, and only that one.
    let basic = |pair| get(&at, "/", &[&format!("Authorization: Basic {pair}")]).status;
    assert_eq!((basic("eDpzM2NyZXQ="), basic("eDp3cm9uZw==")), (200, 401));
    stop(daemon);
}
