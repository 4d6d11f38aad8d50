//! A newcomer pastes what README.md shows to be mailed, and to tell Slack: the lines as they stand there, a mail server on
//! this machine, a secret where systemd puts it. How long it took until somebody was told is printed.

use crate::alerts::{config, say, told, until_all_are_ok};
use crate::harness::ctl::wait_for;
use crate::harness::receiver::{Manner, Receiver};
use crate::harness::skipped;
use healthd_testing::{Exim, in_own_network};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the README promises.
const LINES_MOST: usize = 3;
const FIRST_MAIL: Duration = Duration::from_secs(300);

#[test]
fn what_the_readme_shows_mails_somebody_and_tells_slack() {
    // Port 25 is free in a network of one's own.
    if !in_own_network(paste_and_wait) {
        skipped("a network of one's own cannot be made here");
    }
}

fn paste_and_wait() {
    let Some(mail) = Exim::on_the_port_of_mail() else {
        return skipped("exim is not installed, or this is not root");
    };
    let slack = Receiver::new();
    slack.be(Manner::Accept);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).expect("shipped");
    let block = readme.split("```toml receiver\n").nth(1);
    let block = block.and_then(|b| b.split("```").next()).expect("a block");
    for route in block.split("[[notify]]").skip(1) {
        assert!(route.trim().lines().count() <= LINES_MOST, "{route}");
    }
    let begun = Instant::now();
    let config = config();
    let dir = config.dir().to_owned();
    let secrets = dir.join("credentials");
    fs::create_dir(&secrets).expect("our own folder");
    fs::write(secrets.join("slack-url"), slack.url()).expect("our own folder");
    let daemon = config
        .env("CREDENTIALS_DIRECTORY", &secrets)
        .check(told(&dir, "shop"))
        .alerts(block)
        .spawn();
    daemon.expect_notify("READY=1");
    let tried = daemon.healthctl(&["alerts", "test", "mail"]);
    assert_eq!(tried.code, Some(0), "{tried:?}");
    until_all_are_ok(&daemon);
    say(&dir, "shop", "critical connection refused");
    slack.wait("Slack is told", 1, |g| {
        g.accepted && g.text("text").contains("CRITICAL shop")
    });
    let slack_after = begun.elapsed();
    wait_for("the mail is in its box", || {
        mail.inbox().contains("CRITICAL shop: ")
    });
    let mail_after = begun.elapsed();
    println!(
        "counted: from the README's lines the first mail after {:.0} s, Slack after {:.0} s",
        mail_after.as_secs_f64(),
        slack_after.as_secs_f64()
    );
    assert!(mail_after < FIRST_MAIL && slack_after < FIRST_MAIL);
    say(&dir, "shop", "ok fine");
    wait_for("its end is there too", || {
        mail.inbox().contains("ok again: shop")
    });
}
