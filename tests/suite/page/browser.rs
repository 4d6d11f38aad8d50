//! The page as a browser shows it.

use super::{bad, good, stop, token};
use crate::harness::ctl::wait_for;
use crate::harness::http::{address, get};
use crate::harness::{Config, Daemon, browser::Browser, browser::Kind, check, kill, skipped};
use nix::sys::signal::Signal;
use serde_json::json;

const ENTER: char = '\u{e007}';

fn browser(kind: &Kind) -> Option<Browser> {
    let browser = Browser::start(kind);
    if browser.is_none() {
        skipped("chromium and chromium-driver are missing");
    }
    browser
}

/// A daemon whose page listens at an address, and that address.
fn start(config: Config) -> (Daemon, String) {
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    (daemon, at)
}

fn open() -> Config {
    Config::new().section("web", "listen = \"127.0.0.1:0\"")
}

#[test]
fn one_finds_a_check_by_mouse_and_by_keys() {
    let Some(browser) = browser(&Kind::default()) else {
        return;
    };
    // Of checks that run all the time a row is another one before a slow machine has come to click on it.
    let once = |name: &str, script: &str| check(name).script(script).interval("1h");
    let (daemon, at) = start(
        open()
            .check(once("web/a", "echo fine"))
            .check(once("db/b", "echo \"it <b>burns</b>\"; exit 2").set("attempts", "1"))
            .check(once("<img src=x onerror=alert(1)>", "echo fine")),
    );
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    daemon.until_ok(&["web/a"]);
    browser.open(&format!("http://{at}/"));
    browser.until(
        "it is live",
        "return document.querySelector('#live').textContent.includes('live')",
    );
    browser.until(
        "problems are first",
        "return document.querySelector('#rows tr a').textContent == 'db/b'",
    );
    assert!(
        browser.text().contains("it <b>burns</b>"),
        "{}",
        browser.text()
    );
    assert!(browser.text().contains("<img src=x onerror=alert(1)>"));
    // Keys alone: to the filter, a filter, and to the check that it leaves.
    browser.press('/');
    browser.type_into("#q", "db/*");
    browser.press(ENTER);
    browser.until(
        "it is filtered",
        "return document.querySelectorAll('#rows tr').length == 1",
    );
    let reached = browser.run(
        "const all = [...document.querySelectorAll('a[href], button, input, select')].filter((e) => e.offsetParent);
         return all.every((e) => { e.focus(); return document.activeElement === e; }) && all.length;",
        json!([]),
    );
    assert!(reached.as_u64() > Some(10), "{reached}");
    browser.click("#rows a");
    browser.until(
        "its page is there",
        "return document.querySelector('h1').textContent.includes('db/b')",
    );
    for (page, part) in [
        ("/events", "flipped"),
        ("/alerts", "Nobody is told"),
        ("/workers", "exec"),
        ("/check/db/c", "did you mean"),
    ] {
        // What the manager does not tell at once is not waited for.
        wait_for(page, || {
            browser.open(&format!("http://{at}{page}"));
            browser.text().contains(part)
        });
    }
    let complaints = browser.complaints();
    let own: Vec<&String> = complaints.iter().filter(|c| !c.contains("404")).collect();
    assert!(own.is_empty(), "{own:?}");
    stop(daemon);
}

#[test]
fn what_changes_shows_and_what_happens_while_nobody_answers_is_not_missed() {
    let Some(browser) = browser(&Kind::default()) else {
        return;
    };
    let config = open();
    let switch = config.dir().join("broken");
    let script = format!("test ! -e {} || exit 2", switch.display());
    let flips = check("shop")
        .script(&script)
        .set("attempts", "1")
        .interval("100ms");
    let (daemon, at) = start(config.check(flips));
    daemon.until_ok(&["shop"]);
    let row = "return document.querySelector('#rows tr').className";
    browser.open(&format!("http://{at}/"));
    browser.until("it is well", &format!("{row}.includes('o')"));
    std::fs::write(&switch, "").expect("our own directory");
    browser.until("it is not", &format!("{row}.includes('c')"));
    std::fs::remove_file(&switch).expect("our own file");
    browser.until("it is again", &format!("{row}.includes('o')"));

    // The list of events, over a death of the process that tells them.
    browser.open(&format!("http://{at}/events"));
    let live = "return document.querySelector('#live').textContent.includes('live')";
    browser.until("it is told", live);
    let [web] = daemon.role("web")[..] else {
        daemon.fail("one web process was expected")
    };
    // It keeps its port, as the config would name it.
    kill(web, Signal::SIGSTOP);
    std::fs::write(&switch, "").expect("our own directory");
    daemon.watch(&["shop"]).until_verdict("shop", "critical");
    kill(web, Signal::SIGCONT);
    browser.until(
        "all of it",
        "return document.querySelector('#events tr').textContent.includes('critical')",
    );
    let numbers = "const all = [...document.querySelectorAll('#events tr')].map((r) => Number(r.dataset.seq));
         return all.length > 3 && all.every((n, i) => i == 0 || all[i - 1] == n + 1);";
    browser.until("no number is missing", numbers);
    assert!(browser.complaints().is_empty());
    stop(daemon);
}

#[test]
fn a_page_that_is_open_goes_on_after_its_server_was_killed() {
    let Some(browser) = browser(&Kind::default()) else {
        return;
    };
    let port = healthd_testing::free_port("127.0.0.1");
    let config = Config::new().section("web", &format!("listen = \"127.0.0.1:{port}\""));
    let switch = config.dir().join("broken");
    let script = format!("test ! -e {} || exit 2", switch.display());
    let flips = check("shop")
        .script(&script)
        .set("attempts", "1")
        .interval("100ms");
    let (daemon, at) = start(config.check(flips));
    daemon.until_ok(&["shop"]);
    browser.open(&format!("http://{at}/events"));
    let live = "return document.querySelector('#live').textContent.includes('live')";
    browser.until("it is told", live);
    let [web] = daemon.role("web")[..] else {
        daemon.fail("one web process was expected")
    };
    kill(web, Signal::SIGKILL);
    std::fs::write(&switch, "").expect("our own directory");
    daemon.watch(&["shop"]).until_verdict("shop", "critical");
    std::fs::remove_file(&switch).expect("our own file");
    daemon.until_ok(&["shop"]);
    wait_for("another one answers", || !daemon.role("web").is_empty());
    browser.until(
        "both flips",
        "const all = [...document.querySelectorAll('#events tr')].map((r) => r.textContent).filter((t) => t.includes('flipped'));
         return all.length >= 3 && all[0].includes('ok') && all[1].includes('critical');",
    );
    let numbers = "const all = [...document.querySelectorAll('#events tr')].map((r) => Number(r.dataset.seq));
         return all.every((n, i) => i == 0 || all[i - 1] == n + 1);";
    browser.until("no number is missing", numbers);
    stop(daemon);
}

#[test]
fn one_acknowledges_and_silences_with_the_token() {
    let Some(browser) = browser(&Kind::default()) else {
        return;
    };
    let config = token(Config::new());
    let route = "plugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:9/\" }";
    let (daemon, at) = start(config.notify(route).check(bad("db/b")));
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    wait_for("there is a problem to acknowledge", || {
        get(&at, "/check/db/b", &[])
            .body
            .contains("data-do=\"ack\"")
    });
    browser.open(&format!("http://{at}/check/db/b"));
    browser.click("[data-do=ack]");
    browser.type_into("dialog [name=reason]", "on it <b>");
    browser.type_into("dialog [name=token]", "wrong");
    browser.click("dialog button[value=yes]");
    browser.until(
        "it is refused",
        "return document.querySelector('#said').textContent.includes('token is needed')",
    );
    browser.click("[data-do=ack]");
    browser.type_into("dialog [name=reason]", "on it <b>");
    browser.type_into("dialog [name=token]", "s3cret");
    browser.click("dialog button[value=yes]");
    browser.until(
        "it is shown",
        "return (document.querySelector('.held') || {}).textContent?.includes('on it <b>')",
    );
    // The token is known now.
    browser.click("[data-do=silence]");
    browser.click("dialog button[value=yes]");
    browser.until(
        "it is done",
        "return document.querySelector('#said').textContent == 'Silenced.'",
    );
    browser.click("[data-do=run]");
    browser.until(
        "it ran",
        "return document.querySelector('#said').textContent.includes('critical')",
    );
    wait_for("both are told", || {
        browser.open(&format!("http://{at}/alerts"));
        let text = browser.text();
        text.contains("on it <b>") && text.contains("silence")
    });
    browser.click("[data-end]");
    browser.until(
        "one is left",
        "return document.querySelectorAll('[data-end]').length == 1",
    );
    stop(daemon);
}

/// What the rules of accessibility say that axe-core knows: colours, names, order, roles.
#[test]
fn no_page_breaks_a_rule_of_accessibility() {
    // `tests/run` brings it.
    let axe = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe.min.js");
    let Ok(axe) = std::fs::read_to_string(axe) else {
        return skipped("axe-core is missing: `tests/run` brings it");
    };
    let Some(light) = browser(&Kind::default()) else {
        return;
    };
    let dark = Kind {
        dark: true,
        ..Kind::default()
    };
    let dark = Browser::start(&dark).expect("it was there");
    let public = |check: crate::harness::Check| check.set("public", "\"Shop\"");
    let (daemon, at) = start(
        open()
            .section("history", "")
            .check(public(good("web/a")))
            .check(public(bad("db/b")))
            .check(
                check("warns")
                    .script("echo \"full|used=91%\"; exit 1")
                    .set("attempts", "1"),
            )
            .check(check("later").script("sleep 1000").interval("1h")),
    );
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    daemon.watch(&["warns"]).until_verdict("warns", "warning");
    daemon.until_ok(&["web/a"]);
    for page in [
        "/",
        "/?q=a!%3Db",
        "/check/db/b",
        "/check/warns",
        "/events",
        "/alerts",
        "/workers",
        "/public",
        "/none",
    ] {
        for browser in [&light, &dark] {
            browser.open(&format!("http://{at}{page}"));
            browser.run(&axe, json!([]));
            browser.run(
                "axe.run().then((r) => { window.found = r.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.html)); });",
                json!([]),
            );
            let found = browser.until(
                "axe has looked",
                "return window.found && JSON.stringify(window.found)",
            );
            assert_eq!(found, "[]", "{page}");
        }
    }
    stop(daemon);
}

#[test]
fn it_is_whole_without_scripts_on_a_small_screen_and_in_the_dark() {
    let kind = Kind {
        without_scripts: true,
        ..Kind::default()
    };
    let Some(browser) = browser(&kind) else {
        return;
    };
    let long = "a/very-long-name-of-a-check/that-goes-on-and-on-and-never-seems-to-come-to-its-end";
    let (daemon, at) = start(
        open()
            .check(good("web/a"))
            .check(bad("db/b"))
            .check(bad(long)),
    );
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    browser.open(&format!("http://{at}/"));
    let text = browser.text();
    assert!(text.contains("db/b") && text.contains("web/a"), "{text}");
    wait_for("why it is so", || {
        browser.open(&format!("http://{at}/check/db/b"));
        browser.text().contains("evaluated")
    });
    drop(browser);
    let small = Kind {
        width: 360,
        dark: true,
        ..Kind::default()
    };
    let browser = Browser::start(&small).expect("it was there");
    for page in [
        "/",
        "/events",
        "/alerts",
        "/workers",
        "/check/db/b",
        &format!("/check/{long}"),
    ] {
        browser.open(&format!("http://{at}{page}"));
        let wide = browser.run("return document.documentElement.scrollWidth", json!([]));
        assert!(wide.as_u64() <= Some(360), "{page} is {wide} wide");
    }
    let dark = browser.run(
        "return getComputedStyle(document.body).backgroundColor",
        json!([]),
    );
    assert_eq!(dark, "rgb(18, 22, 27)");
    stop(daemon);
}
