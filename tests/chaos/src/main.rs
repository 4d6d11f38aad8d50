//! `cargo chaos`: a real healthd under seeded faults.
//!
//! `--seed N --for TIME` does one thing after the other to it and looks after each whether every promise holds;
//! the same seed is the same list of steps. A broken promise ends it with the seed, the steps and the log.
//! `--table` does each fault once and measures what it costs.
#![forbid(unsafe_code)]

mod act;
mod client;
mod hostile;
mod invariants;
mod mischief;
mod people;
mod plan;
mod random;
mod run;
mod seen;
mod service;
mod table;
mod targets;
mod world;

use std::process::{Command, ExitCode};
use std::time::Duration;

const USAGE: &str = "usage: cargo chaos [--seed N] [--for TIME] | --list N [--seed N] | --table

  --seed N    what decides the steps (default: the time of day, printed)
  --for TIME  90s, 30m: how long (default 90s)
  --list N    print the first N steps of the seed, and do nothing
  --table     each fault once, under load: what it costs, as a Markdown table";

struct Options {
    seed: u64,
    time: Duration,
    list: Option<usize>,
    table: bool,
}

fn main() -> ExitCode {
    if std::env::args().any(|a| a == "-h" || a == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match options().and_then(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut options = Options {
        seed: now.map_or(1, |d| d.as_secs()),
        time: Duration::from_secs(90),
        list: None,
        table: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--table" {
            options.table = true;
            continue;
        }
        let value = args.next().ok_or(USAGE)?;
        match arg.as_str() {
            "--seed" => options.seed = value.parse().map_err(|_| USAGE)?,
            "--for" => options.time = time(&value).ok_or(USAGE)?,
            "--list" => options.list = Some(value.parse().map_err(|_| USAGE)?),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn time(text: &str) -> Option<Duration> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let seconds = match &text[at..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let count: u64 = text[..at].parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(seconds)?))
}

fn start(options: Options) -> Result<(), String> {
    if let Some(n) = options.list {
        for (n, step) in plan::Plan::new(options.seed).take(n).enumerate() {
            println!("{:4}  {step:?}", n + 1);
        }
        return Ok(());
    }
    own_mounts();
    world::build()?;
    if options.table {
        return table::table();
    }
    run::run(options.seed, options.time)
}

/// Small file systems are ours alone, and gone with us. Where this is not allowed, nothing is mounted.
fn own_mounts() {
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok() {
        let _ = Command::new("mount")
            .args(["--make-rprivate", "/"])
            .status();
    }
}

/// Between two looks at what no event tells of.
fn pause(ms: u64) {
    let until = std::time::Instant::now() + Duration::from_millis(ms);
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return;
        }
        let ms = left.as_millis().clamp(1, 10_000) as u16;
        let _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::from(ms));
    }
}
