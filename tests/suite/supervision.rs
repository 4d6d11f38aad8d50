//! Deaths and silences: who is replaced, what is cleaned up, and what the service manager hears.

use crate::harness::ctl::wait_for;
use crate::harness::{
    Config, Daemon, Leash, Small, check, children, is_root, kill, skipped, state,
};
use nix::sys::signal::Signal;
use std::time::Duration;

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn a_killed_worker_is_replaced_and_its_children_end_with_it() {
    let config = Config::new();
    let mut leash = Leash::new(config.dir());
    let script = leash.script("setsid sleep 1000 & sleep 1000 & wait");
    let long = check("long")
        .script(&script)
        .interval("100ms")
        .timeout("1h");
    let mut daemon = config.check(long).spawn();
    daemon.expect_notify("READY=1");
    leash.wait_held(&daemon);
    // Once: after a second death nobody explains, the check may run in a jail beside the pool's worker.
    let worker = daemon.role("worker exec")[0];
    kill(worker, Signal::SIGKILL);
    daemon.expect_log(&format!("pid={worker} why=\"SIGKILL\""));
    daemon.expect_log("supervisor: worker ready");
    let replaced = daemon.role("worker exec");
    assert!(!replaced.is_empty() && !replaced.contains(&worker));
    // First the end, then the look: before it the check may just be starting again.
    daemon.signal(Signal::SIGQUIT);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    leash.assert_let_go(&daemon);
}

#[test]
fn a_worker_killed_by_a_signal_without_a_name_is_not_lost() {
    let daemon = Config::new().check(check("a").script("true")).spawn();
    daemon.expect_notify("READY=1");
    let worker = daemon.role("worker exec")[0];
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("kill -41 {worker}")]);
    assert!(command.status().expect("sh runs").success());
    daemon.expect_log(&format!("pid={worker} why="));
    daemon.expect_log("supervisor: worker ready");
    stop(daemon);
}

#[test]
fn workers_that_never_come_up_are_given_up_and_tried_again() {
    let config = Config::new().check(check("a").script("true").interval("100ms"));
    let Some(disk) = Small::mount(&config.dir().join("run"), "1m") else {
        return skipped("a small file system cannot be mounted here");
    };
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    // No room for another worker's map, not even when the dead one's is removed.
    let run = daemon.dir().join("run");
    let worker = daemon.role("worker exec")[0];
    std::fs::hard_link(run.join(format!("worker.0.{worker}.map")), run.join("kept"))
        .expect("a map");
    let filler = disk.fill();
    kill(worker, Signal::SIGKILL);
    daemon.expect_log("worker cannot go on");
    let given_up = daemon.expect_log("supervisor: worker given up");
    assert!(given_up.contains("before it was ready"), "{given_up}");
    std::fs::remove_file(filler).expect("our own file");
    daemon.expect_log("supervisor: worker ready");
    daemon.expect_log("check=a status=ok");
    stop(daemon);
}

#[test]
fn a_killed_manager_is_replaced_with_its_workers_and_their_children() {
    let config = Config::new();
    let mut leash = Leash::new(config.dir());
    let script = leash.script("setsid sleep 1000 & sleep 1000 & wait");
    let long = check("long")
        .script(&script)
        .interval("100ms")
        .timeout("1h");
    let mut daemon = config.check(long).spawn();
    daemon.expect_notify("READY=1");
    leash.wait_held(&daemon);
    let (manager, worker) = (daemon.manager(), daemon.role("worker exec")[0]);
    // The config is unreadable by now: the next manager does not need it.
    std::fs::write(daemon.written.file(), "no config").expect("our own directory");
    kill(manager, Signal::SIGKILL);
    daemon.expect_notify("STATUS=The manager died (SIGKILL)");
    daemon.expect_notify("READY=1");
    assert_ne!(daemon.manager(), manager);
    assert_ne!(daemon.role("worker exec"), [worker]);
    assert_eq!(state(worker), None, "the old worker is gone");
    // First the end, then the look: before it the check may just be starting again.
    daemon.signal(Signal::SIGQUIT);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    leash.assert_let_go(&daemon);
}

#[test]
fn a_silent_manager_is_replaced_and_the_watchdog_is_petted_throughout() {
    let daemon = Config::new()
        .check(check("a").script("true"))
        .watchdog(Duration::from_secs(40))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.expect_notify("WATCHDOG=1");
    let manager = daemon.manager();
    kill(manager, Signal::SIGSTOP);
    daemon.expect_log("manager is silent and is replaced");
    daemon.expect_notify("READY=1");
    assert_ne!(daemon.manager(), manager);
    assert_eq!(state(manager), None, "the silent one is gone");
    daemon.expect_notify("WATCHDOG=1");
    stop(daemon);
}

#[test]
fn a_manager_that_cannot_come_up_is_tried_later_and_later_and_stops_the_petting() {
    let daemon = Config::new()
        .check(check("a").script("true"))
        .watchdog(Duration::from_secs(12))
        .spawn();
    daemon.expect_notify("READY=1");
    // Where the start took long the petting had stopped, which is said once until it begins.
    daemon.expect_notify("WATCHDOG=1");
    // No manager can make its map now.
    let map = daemon.dir().join("run/state.map");
    std::fs::remove_file(&map).expect("it is there");
    std::fs::create_dir(&map).expect("our own directory");
    let before = daemon.log.all().len();
    kill(daemon.manager(), Signal::SIGKILL);
    // It was ready, but not for long enough to count as steady.
    for wait in [
        "next_in=0ns",
        "next_in=100ms",
        "next_in=200ms",
        "next_in=400ms",
    ] {
        daemon.expect_log(wait);
    }
    // What it was to go on with may be the cause, so at last it starts without that.
    daemon.expect_log("it starts afresh");
    daemon.expect_log("restored=false");
    // This goes by the clock: where starts are slow it comes before that.
    wait_for("the end of the petting", || {
        let since = daemon.log.all().split_off(before);
        since.iter().any(|line| line.contains("no manager runs: "))
    });
    std::fs::remove_dir(&map).expect("our own directory");
    daemon.expect_notify("READY=1");
    daemon.expect_log("the manager runs again");
    daemon.expect_notify("WATCHDOG=1");
    stop(daemon);
}

#[test]
fn a_gap_of_the_supervisor_itself_costs_nobody_his_life() {
    let daemon = Config::new().check(check("a").script("true")).spawn();
    daemon.expect_notify("READY=1");
    let manager = daemon.manager();
    // The whole daemon stands still for longer than a manager may be silent, as in a paused machine.
    let everybody: Vec<u32> = [daemon.pid()]
        .into_iter()
        .chain(children(daemon.pid()))
        .collect();
    for pid in &everybody {
        kill(*pid, Signal::SIGSTOP);
    }
    daemon.assert_alive_for(Duration::from_secs(12));
    // The supervisor first: it must not judge by what it finds.
    for pid in &everybody {
        kill(*pid, Signal::SIGCONT);
    }
    daemon.expect_log("stood still for");
    assert_eq!(daemon.manager(), manager);
    stop(daemon);
}

#[test]
fn sighup_reloads() {
    let daemon = Config::new().check(check("a").script("true")).spawn();
    daemon.expect_notify("READY=1");
    daemon
        .written
        .rewrite(&[check("a").script("true"), check("b").script("true")]);
    daemon.signal(Signal::SIGHUP);
    let reloading = daemon.expect_notify("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = daemon.expect_notify("READY=1");
    assert!(ready.contains("checks=2"), "{ready}");
    stop(daemon);
}

#[test]
fn as_pid_1_of_a_container_it_reaps_and_stops() {
    if !is_root() {
        return skipped("needs root to make a pid namespace");
    }
    let config = Config::new();
    let mut leash = Leash::new(config.dir());
    // An orphan that ends by itself must not stay a zombie, one that does not must not survive.
    let script = leash.script("(setsid sh -c 'sleep 0.05; sleep 1000' &) ; echo fine");
    let daemon = config
        .check(check("orphans").script(&script).interval("100ms"))
        .wrapper(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .spawn();
    daemon.expect_notify("MAINPID=1\n");
    leash.wait_held(&daemon);
    let [inside] = children(daemon.pid())[..] else {
        daemon.fail("one child of unshare was expected");
    };
    let mut daemon = daemon;
    kill(inside, Signal::SIGTERM);
    daemon.expect_notify("STOPPING=1");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    leash.assert_let_go(&daemon);
    daemon.assert_no_orphan();
}
