//! Alerts cost nothing where nothing is news: a result that changes no verdict is not even looked at, however many routes
//! there are. Counted, as a clock would only say how busy the machine is.

use crate::alerts::{config, report, route, say, told, until_all_are_ok};
use crate::harness::Daemon;
use crate::harness::ctl::wait_for;
use crate::harness::receiver::Receiver;
use serde_json::json;
use std::path::Path;

/// Lines of the log of this kind, up to now.
fn lines(daemon: &Daemon, what: &str) -> usize {
    daemon.log.all().iter().filter(|l| l.contains(what)).count()
}

const RESULT: &str = "run  check=";
const STEP: &str = "alerts: a step";

#[test]
fn a_result_that_is_no_news_is_not_looked_at() {
    let receivers = [(); 3].map(|()| Receiver::new());
    let config = config();
    let dir = config.dir().to_owned();
    let mut config = config
        .notify(&route("first", &receivers[0]))
        .notify(&(route("second", &receivers[1]) + "by = \"check\"\n"))
        .notify(&(route("third", &receivers[2]) + "repeat = \"1h\"\nafter = \"1h\"\n"));
    for n in 0..20 {
        config = config.check(told(&dir, &format!("c-{n}")));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    assert_quiet(&daemon, &dir, "all is well");
    // The same while one of them is down and that was told.
    say(&dir, "c-0", "critical it is down");
    for receiver in &receivers[..2] {
        receiver.accepted("problem");
    }
    wait_for("both know that it was told", || {
        let report = report(&daemon);
        let notices = report["notices"].as_array().into_iter().flatten();
        notices.filter(|n| n["state"] == "told").count() == 2
    });
    assert_quiet(&daemon, &dir, "one is down, and that was told");
    assert!(receivers[2].all().is_empty(), "{:#?}", receivers[2].all());
    say(&dir, "c-0", "ok fine");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    assert!(lines(&daemon, STEP) < 200, "a step a result, or nearly");
}

/// Of 100 results none makes the alerts take a step; one or two may come of the clock, or of the disk.
fn assert_quiet(daemon: &Daemon, dir: &Path, when: &str) {
    // Whoever reads the log may be behind: here it has come to a result of now.
    say(dir, "c-19", &format!("ok {when}"));
    wait_for("the log of now", || lines(daemon, when) > 0);
    let (results, steps) = (lines(daemon, RESULT), lines(daemon, STEP));
    wait_for("so many results", || lines(daemon, RESULT) >= results + 100);
    let taken = lines(daemon, STEP) - steps;
    assert!(taken <= 2, "{when}: {taken} steps for 100 results");
}
