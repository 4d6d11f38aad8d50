//! Stopping: in the stated time, with the stated exit code, and nothing left behind.

use crate::harness::{Config, Leash, check};
use nix::sys::signal::Signal;

#[test]
fn sigterm_and_sigint_end_an_idle_daemon_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Config::new().spawn();
        daemon.expect_notify("READY=1");
        daemon.signal(signal);
        daemon.expect_notify("STOPPING=1");
        assert_eq!(daemon.wait_exit().code(), Some(0), "{signal}");
        daemon.assert_no_orphan();
        assert!(
            !daemon.socket().exists(),
            "{signal}: the socket is taken away"
        );
    }
}

#[test]
fn a_client_may_ask_for_the_stop() {
    let mut daemon = Config::new().spawn();
    daemon.expect_notify("READY=1");
    let said = daemon.healthctl(&["stop"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    daemon.expect_notify("STOPPING=1");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn sigterm_lets_the_running_check_end() {
    let config = Config::new().daemon("stop_grace", "\"60s\"");
    let mut leash = Leash::new(config.dir());
    let go = config.dir().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).expect("a new fifo");
    let script = leash.script(&format!("read x < {}; echo fine", go.display()));
    let held = check("held")
        .script(&script)
        .interval("100ms")
        .timeout("60s");
    let mut daemon = config.check(held).spawn();
    daemon.expect_notify("READY=1");
    leash.wait_held(&daemon);
    daemon.signal(Signal::SIGTERM);
    daemon.expect_notify("STOPPING=1");
    // Told by the manager: from here on no other run begins.
    daemon.expect_notify("STATUS=Stopping: 1 run in flight");
    daemon.expect_notify("EXTEND_TIMEOUT_USEC=");
    std::fs::write(&go, "x\n").expect("the check reads it");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    leash.assert_let_go(&daemon);
    daemon.assert_no_orphan();
}

#[test]
fn a_check_that_outlasts_the_grace_is_cut_off_with_its_children() {
    let config = Config::new().daemon("stop_grace", "\"200ms\"");
    let mut leash = Leash::new(config.dir());
    let script = leash.script("setsid sleep 1000 & sleep 1000 & wait");
    let mut daemon = config
        .check(
            check("long")
                .script(&script)
                .interval("100ms")
                .timeout("60s"),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    leash.wait_held(&daemon);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    leash.assert_let_go(&daemon);
    daemon.assert_no_orphan();
}

#[test]
fn a_second_sigterm_and_sigquit_mean_now() {
    for signals in [&[Signal::SIGTERM, Signal::SIGTERM][..], &[Signal::SIGQUIT]] {
        let config = Config::new().daemon("stop_grace", "\"1h\"");
        let mut leash = Leash::new(config.dir());
        let script = leash.script("sleep 1000 & wait");
        let mut daemon = config
            .check(
                check("long")
                    .script(&script)
                    .interval("100ms")
                    .timeout("1h"),
            )
            .spawn();
        daemon.expect_notify("READY=1");
        leash.wait_held(&daemon);
        for signal in signals {
            daemon.signal(*signal);
            daemon.expect_notify("STOPPING=1");
        }
        assert_eq!(daemon.wait_exit().code(), Some(0), "{signals:?}");
        leash.assert_let_go(&daemon);
        daemon.assert_no_orphan();
    }
}

#[test]
fn a_stopped_manager_does_not_hold_up_the_stop() {
    let mut daemon = Config::new()
        .daemon("stop_grace", "\"100ms\"")
        .check(check("a").script("true"))
        .spawn();
    daemon.expect_notify("READY=1");
    crate::harness::kill(daemon.manager(), Signal::SIGSTOP);
    daemon.signal(Signal::SIGTERM);
    daemon.expect_notify("STOPPING=1");
    // Its state could not be saved, so this is no clean stop.
    assert_eq!(daemon.wait_exit().code(), Some(1));
    daemon.assert_no_orphan();
}
