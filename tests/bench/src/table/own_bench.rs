//! What `healthctl bench` measures, beside plain programs that do the same.

use super::Size;
use super::row::{Limit::*, Row};
use super::turns::{Figures, figure, medians};
use crate::daemon::target_dir;
use serde_json::Value;
use std::process::{Child, Command};
use std::time::Instant;

/// The key of the row of that name, of `healthctl bench`.
fn bench(which: &str, seconds: f64) -> Result<impl Fn(&str, &str) -> f64, String> {
    let done = Command::new(target_dir().join("healthctl"))
        .args([
            "--json",
            "bench",
            which,
            "--seconds",
            &format!("{seconds:.0}"),
        ])
        .output()
        .map_err(|e| format!("healthctl: {e}"))?;
    let table: Value = serde_json::from_slice(&done.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&done.stderr);
        format!("healthctl bench {which}: {}", said.trim())
    })?;
    Ok(move |row: &str, key: &str| {
        let rows = table["rows"].as_array();
        let found = rows.and_then(|rows| rows.iter().find(|r| r["name"] == row));
        found.and_then(|r| r[key].as_f64()).unwrap_or(f64::NAN)
    })
}

/// Nothing, so many times in one piece, by a process a core.
const POOL: &str = "
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
def nothing(_):
    pass
size, seconds = int(sys.argv[1]), float(sys.argv[2])
count = max(5000, min(1000000, 1000 * size))
with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    list(pool.map(nothing, range(1000)))
    done, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        for _ in pool.map(nothing, range(count), chunksize=size):
            pass
        done += count
    print(done / (time.monotonic() - begun))
";

fn by_python(size: usize, seconds: f64) -> Result<Figures, String> {
    let done = Command::new("python3")
        .args(["-c", POOL, &size.to_string(), &seconds.to_string()])
        .output();
    let done = match done {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        done => done.map_err(|e| format!("python3: {e}"))?,
    };
    let said = String::from_utf8_lossy(&done.stdout);
    match said.trim().parse() {
        Ok(rate) => Ok(Some(vec![rate])),
        Err(_) => Err(format!(
            "the pool of Python: {}",
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}

/// A thousand in one piece is where Python does the most.
pub fn chunks(size: Size) -> Result<Vec<Row>, String> {
    let seconds = size.seconds;
    let [ours, one, thousand] = medians(
        size,
        [
            &mut || {
                let rate = bench("chunks", seconds)?;
                let of = |row| rate(row, "checks_per_second");
                Ok(Some(vec![of("1"), of("adaptive")]))
            },
            &mut || by_python(1, seconds),
            &mut || by_python(1000, seconds),
        ],
    )?;
    let own = |n| figure(&ours, n).unwrap_or(f64::NAN);
    Ok(vec![
        Row::new("no-op checks, chunk 1", own(0), "/s")
            .beside("python", figure(&one, 0))
            .wants(Least(100_000.0))
            .noted("healthd is asked for one when the one before is done, Python for 5,000 at once, each a chunk"),
        Row::new("no-op checks, adaptive", own(1), "/s")
            .beside("python", figure(&thousand, 0))
            .wants(Least(1_000_000.0))
            .noted("healthd is asked for 5,000 at once; Python's chunks are of 1,000"),
    ])
}

pub fn cpu(size: Size) -> Result<Vec<Row>, String> {
    let seconds = size.seconds;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let [ours, bare] = medians(
        size,
        [
            &mut || {
                let row = bench("cpu", seconds)?;
                Ok(Some(vec![row("processes", "speedup")]))
            },
            &mut || {
                let (alone, together) = (loops(1)?, loops(cores)?);
                Ok(Some(vec![alone / together]))
            },
        ],
    )?;
    let own = figure(&ours, 0).unwrap_or(f64::NAN);
    let what = format!("checks that compute, on {cores} cores: speed-up");
    Ok(vec![
        Row::new(what, own, "x")
            .beside("a bare loop", figure(&bare, 0))
            .wants(Least(0.95 * cores as f64)),
    ])
}

/// As many loops as cpu checks, so many at one time: how long all take, in s.
fn loops(at_once: usize) -> Result<f64, String> {
    const ALL: usize = 8;
    const LOOP: &str = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let start = || Command::new("sh").args(["-c", LOOP]).spawn();
    let text = |e: std::io::Error| format!("sh: {e}");
    let begun = Instant::now();
    let mut runs: Vec<Child> = Vec::new();
    for _ in 0..ALL {
        if runs.len() == at_once {
            // All take the same time: the oldest ends first.
            runs.remove(0).wait().map_err(text)?;
        }
        runs.push(start().map_err(text)?);
    }
    for mut run in runs {
        run.wait().map_err(text)?;
    }
    Ok(begun.elapsed().as_secs_f64())
}
