//! `ready`: what a start takes, and of the most checks that there may be what `healthctl status` takes.

use crate::daemon::Daemon;
use crate::figures::median;
use crate::peers;
use crate::runs::wait;
use healthd_test_support::procs;
use nix::sys::signal::{SIGCONT, SIGSTOP, Signal, kill as send_signal};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// The most checks that there may be.
pub const MOST: usize = 100_000;

fn check(name: &str, n: &str, port: u16) -> String {
    format!(
        "[[check]]\nname = \"{name}\"\nplugin = \"http\"\ninterval = \"1h\"\n\
         config = {{ url = \"http://127.0.0.1:{port}/{n}\" }}\n"
    )
}

/// So many http checks at an hour, a block each.
pub fn blocks(n: usize, port: u16) -> String {
    (0..n)
        .map(|n| check(&format!("web-{n}"), &n.to_string(), port))
        .collect()
}

/// The same, of one block.
pub fn one_block(n: usize, port: u16) -> String {
    check("web-{n}", "{n}", port) + &format!("for_each.n = \"0..{n}\"\n")
}

/// None of them runs soon.
pub fn start(checks: &str) -> Result<Daemon, String> {
    Daemon::start_with("ready", "start_spread = \"1h\"", checks, &[])
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Starts beside a bare parse of the same file, and `healthctl status` of a daemon that runs and of one that stands still.
pub fn ready() -> Result<(), String> {
    let nginx = peers::nginx()?;
    let port = nginx.port;
    for (what, checks, starts, wanted) in [
        (
            "1,000 checks of one block",
            one_block(1_000, port),
            10,
            200.0,
        ),
        (
            "10,000 checks of a block each",
            blocks(10_000, port),
            5,
            300.0,
        ),
        (
            "100,000 checks of one block",
            one_block(MOST, port),
            5,
            2_000.0,
        ),
    ] {
        let mut took = Vec::new();
        let mut parsed = Vec::new();
        for n in 1..=starts {
            let daemon = start(&checks)?;
            took.push(ms(daemon.ready_after));
            let begun = Instant::now();
            let read = toml::de::DeTable::parse(&checks);
            parsed.push(ms(begun.elapsed()));
            read.map_err(|e| e.to_string())?;
            if n == starts && wanted == 2_000.0 {
                let (runs, stopped) = status(&daemon)?;
                print_status("runs", &runs);
                print_status("is stopped", &stopped);
            }
        }
        println!(
            "ready: {what}, {starts} starts: p50 {:.0} ms, max {:.0} ms ({wanted} wanted); a parse of the file alone {:.1} ms",
            median(&took),
            took.iter().copied().fold(0.0, f64::max),
            median(&parsed)
        );
    }
    Ok(())
}

fn print_status(what: &str, took: &[f64]) {
    println!(
        "status: 100,000 checks, the daemon {what}: p50 {:.0} ms, max {:.0} ms (300 wanted)",
        median(took),
        took.iter().copied().fold(0.0, f64::max)
    );
}

/// ms of `healthctl status` of [`MOST`] checks, five times while the daemon runs, and five times while it is stopped.
pub fn status(daemon: &Daemon) -> Result<(Vec<f64>, Vec<f64>), String> {
    // Plugins are still asked about the options of their checks.
    wait(10.0);
    let tree = procs::tree(daemon.pid());
    let all = |signal: Signal| {
        for pid in &tree {
            let _ = send_signal(Pid::from_raw(*pid as i32), signal);
        }
    };
    let runs = status_of(daemon)?;
    all(SIGSTOP);
    let stopped = status_of(daemon);
    // Else it would not end.
    all(SIGCONT);
    Ok((runs, stopped?))
}

fn status_of(daemon: &Daemon) -> Result<Vec<f64>, String> {
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let printed = daemon.printed(&["status", "--all"])?;
        took.push(ms(begun.elapsed()));
        let rows = printed.lines().filter(|l| l.contains("web-")).count();
        if rows != MOST {
            return Err(format!("`healthctl status` shows {rows} of {MOST} checks"));
        }
    }
    Ok(took)
}
