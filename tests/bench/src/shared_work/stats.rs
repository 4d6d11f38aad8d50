//! `stats` on a column of numbers with one worker and with two, and numpy on the same numbers.

use super::{Noise, daemon, run, spread, verdict};
use crate::Options;
use crate::daemon::temp_dir;
use crate::figures::median;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

/// Sums are rounded in another order than numpy's; ranks and what lies between them are the same doubles.
const TOLERANCE: f64 = 1e-12;
const SUMS: [&str; 3] = ["sum", "mean", "std"];
const RANKS: [&str; 8] = ["min", "max", "median", "p25", "p50", "p75", "p95", "p99"];

const NUMPY: &str = r#"
import json, sys, time
import numpy as np
v = np.fromfile(sys.argv[1], dtype="<f8")
t = time.perf_counter()
p = np.percentile(v, [25, 50, 75, 95, 99])
r = dict(count=float(v.size), sum=float(v.sum()), mean=float(v.mean()), std=float(v.std()), min=float(v.min()),
         max=float(v.max()), median=float(np.median(v)), p25=float(p[0]), p50=float(p[1]), p75=float(p[2]),
         p95=float(p[3]), p99=float(p[4]))
print(json.dumps(dict(version=np.__version__, took=time.perf_counter() - t, numbers=r)))
"#;

pub fn stats(options: &Options) -> Result<(), String> {
    let dir = temp_dir("stats-data")?;
    let done = measure(options, &dir);
    let _ = fs::remove_dir_all(&dir);
    done
}

fn measure(options: &Options, dir: &Path) -> Result<(), String> {
    let (csv, raw) = (dir.join("values.csv"), dir.join("values.f64"));
    write_values(options.values, &csv, &raw).map_err(|e| format!("{}: {e}", dir.display()))?;
    let size = fs::metadata(&csv).map_or(0, |m| m.len()) >> 20;
    println!(
        "stats: {} values in a CSV column, {size} MiB",
        options.values
    );
    let check = format!(
        "plugin = \"stats\"\nconfig = {{ path = {csv:?}, format = \"csv\", column = \"value\", max_values = {} }}",
        options.values
    );
    let one = daemon("stats-1", 1, &check)?;
    let two = daemon("stats-2", 2, &check)?;
    let (mut alone, mut shared) = (Vec::new(), Vec::new());
    let mut row = Value::Null;
    // In turns, so that whatever else this machine does hits both.
    for _ in 0..options.rounds {
        alone.push(run(&one)?.1);
        let (last, took) = run(&two)?;
        shared.push(took);
        row = last;
    }
    println!(
        "  1 worker:  {:.3} s (median of {})",
        median(&alone),
        alone.len()
    );
    println!("  2 workers: {:.3} s; {}", median(&shared), spread(&two));
    drop((one, two));
    let numpy = numpy(&raw)?;
    println!(
        "  numpy {}: {:.3} s, one core, the values in memory already",
        numpy["version"].as_str().unwrap_or("?"),
        numpy["took"].as_f64().unwrap_or(f64::NAN)
    );
    compare(&row, &numpy["numbers"])?;
    verdict("  2 workers over 1", median(&alone) / median(&shared));
    Ok(())
}

/// The text, and the very doubles that it says.
fn write_values(count: u64, csv: &Path, raw: &Path) -> std::io::Result<()> {
    let (mut csv, mut raw) = (
        BufWriter::new(File::create(csv)?),
        BufWriter::new(File::create(raw)?),
    );
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    writeln!(csv, "id,value")?;
    for id in 0..count {
        // Far from zero and with a long tail: what hurts a naive variance, and a sketch of percentiles.
        let uniform = (noise.next() >> 11) as f64 / (1u64 << 53) as f64;
        let value = 1e6 + (-(1.0 - uniform).ln() * 1e9).round() / 1e6;
        writeln!(csv, "{id},{value}")?;
        raw.write_all(&value.to_le_bytes())?;
    }
    csv.flush()?;
    raw.flush()
}

fn numpy(raw: &Path) -> Result<Value, String> {
    // Debian's numpy is for Debian's Python, which need not be the first one in the PATH.
    let ask = || ask("python3", raw).or_else(|_| ask("/usr/bin/python3", raw));
    match ask() {
        Err(why) if why.contains("No module named") || why.contains("python3: ") => {
            println!("  numpy is missing: installing python3-numpy");
            let script = "apt-get -qq update && apt-get -qq install -y --no-install-recommends python3 python3-numpy \
                          >/dev/null || python3 -m pip install --quiet --user numpy";
            let _ = Command::new("sh")
                .args(["-c", script])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .status();
            ask()
        }
        other => other,
    }
}

fn ask(python: &str, raw: &Path) -> Result<Value, String> {
    // A setting for another processor makes some builds of numpy crash.
    let out = Command::new(python)
        .args(["-c", NUMPY])
        .arg(raw)
        .env_remove("OPENBLAS_CORETYPE")
        .env_remove("OPENBLAS_L2_SIZE")
        .output()
        .map_err(|e| format!("{python}: {e}"))?;
    serde_json::from_slice(&out.stdout)
        .map_err(|_| String::from_utf8_lossy(&out.stderr).trim().to_owned())
}

fn compare(row: &Value, numpy: &Value) -> Result<(), String> {
    let metrics = row["metrics"].as_array().ok_or("no metrics")?;
    let ours = |name: &str| {
        let metric = metrics.iter().find(|m| m["name"] == name);
        metric.and_then(|m| m["value"].as_f64()).unwrap_or(f64::NAN)
    };
    println!("  {:<7} {:>24} {:>24}  difference", "", "stats", "numpy");
    let mut wrong = Vec::new();
    for name in ["count"].iter().chain(&SUMS).chain(&RANKS) {
        let (a, b) = (ours(name), numpy[name].as_f64().unwrap_or(f64::NAN));
        let apart = ((a - b) / b).abs();
        let most = if SUMS.contains(name) { TOLERANCE } else { 0.0 };
        println!("  {name:<7} {a:>24} {b:>24}  {apart:.1e}");
        if apart.is_nan() || apart > most {
            wrong.push(*name);
        }
    }
    if !wrong.is_empty() {
        return Err(format!("not numpy's: {}", wrong.join(", ")));
    }
    println!(
        "  equal: count, least, greatest and percentiles to the last bit; sum, mean and std within {TOLERANCE:.0e}"
    );
    Ok(())
}
