//! `stats` and `digest`: one run on all cores, beside what people use otherwise.

use crate::daemon::{Daemon, target_dir};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

pub mod digest;
pub mod stats;

/// At least so much faster with two cores.
const SPEED_UP: f64 = 1.8;

/// A daemon with so many cpu workers and this one check, whose first run is behind it: the file is cached, the
/// instances are made.
fn daemon(name: &str, workers: u32, check: &str) -> Result<Daemon, String> {
    let config = format!(
        "[pool.cpu]\nworkers = {workers}\n\n[[check]]\nname = \"it\"\ninterval = \"12h\"\ntimeout = \"1h\"\n{check}\n"
    );
    let daemon = Daemon::start(name, &config)?;
    let begun = Instant::now();
    while daemon.status()?.iter().any(|row| row["last_run"].is_null()) {
        if begun.elapsed() > Duration::from_secs(3600) {
            return Err(format!("no first run:\n{}", daemon.log()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(daemon)
}

/// One run now: its row, and how long it took by the worker's own clock.
fn run(daemon: &Daemon) -> Result<(Value, f64), String> {
    let out = Command::new(target_dir().join("healthctl"))
        .args(["--json", "run", "it", "--socket"])
        .arg(daemon.dir.join("run/control.sock"))
        .output()
        .map_err(|e| format!("healthctl: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().last().unwrap_or_default();
    let row: Value = serde_json::from_str(line).map_err(|e| format!("healthctl: {e}: {text}"))?;
    let took = row["latency_ms"].as_f64().ok_or("a run without a length")? / 1e3;
    if row["status"] != "ok" {
        return Err(format!("not ok: {}", row["message"]));
    }
    Ok((row, took))
}

/// How the last run was spread, as `healthctl show` tells it.
fn spread(daemon: &Daemon) -> String {
    let out = Command::new(target_dir().join("healthctl"))
        .args(["--json", "show", "it", "--socket"])
        .arg(daemon.dir.join("run/control.sock"))
        .output();
    let shown: Value = out
        .ok()
        .and_then(|o| serde_json::from_slice(&o.stdout).ok())
        .unwrap_or_default();
    let fanout = &shown["fanout"];
    format!(
        "{} chunks: {} by its own worker, {} elsewhere",
        fanout["chunks"], fanout["own"], fanout["elsewhere"]
    )
}

fn verdict(what: &str, ratio: f64) {
    let word = if ratio >= SPEED_UP { "held" } else { "MISSED" };
    println!("{what}: {ratio:.2} x (at least {SPEED_UP} on two quiet cores: {word})");
}

/// Numbers that look like no pattern, the same each time (xorshift64*, S. Vigna 2016).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
