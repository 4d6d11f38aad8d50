//! `data`: mean, deviation, extremes and percentiles of ten million numbers, by one and by all cpu workers. The file is
//! shared by them, nothing of it is copied between processes.

use super::private::{Private, checks, names};
use super::table::{Row, Table};
use super::{Way, failed};
use crate::error::CtlError;
use std::io::{BufWriter, Write};
use std::time::Instant;

const VALUES: u64 = 10_000_000;
const FIRST: u64 = 100_000;

pub fn measure(way: &mut Way<'_>) -> Result<Table, CtlError> {
    let cores = way.cores;
    way.tell("how many numbers")?;
    let small = Numbers::write(FIRST)?;
    let (took, _) = once(way, &small, 1)?;
    // Writing them, and four runs.
    let can = FIRST as f64 / took * way.seconds / 8.0;
    let values = (can as u64).clamp(FIRST, VALUES);
    way.tell(&format!("writing {values} numbers"))?;
    let numbers = Numbers::write(values)?;
    let mut rows = Vec::new();
    let mut sizes = vec![1, cores];
    sizes.dedup();
    for workers in sizes {
        let name = match workers {
            1 => "one".to_owned(),
            n => format!("{n} workers"),
        };
        way.tell(&name)?;
        let (took, usage) = once(way, &numbers, workers)?;
        rows.push(Row::new(
            name,
            &[
                ("values", values as f64),
                ("took_s", took),
                ("cpu_s", usage.cpu_s),
                ("memory_bytes", usage.memory_bytes),
            ],
        ));
    }
    Table::compare(&mut rows, "took_s", false);
    Ok(Table {
        about:
            "One check of `stats`: count, mean, std, min, max and percentiles of a file of numbers."
                .into(),
        rows,
        chart: "took_s",
        ..Table::default()
    })
}

/// The second run of two: the file is in memory then, the instances are made.
fn once(
    way: &mut Way<'_>,
    numbers: &Numbers,
    workers: usize,
) -> Result<(f64, super::usage::Usage), CtlError> {
    let keys = format!(
        "timeout = \"10m\"\nconfig = {{ path = \"{}\", format = \"csv\", header = false, column = \"1\", bins = 0 }}",
        numbers.0.display()
    );
    let config = format!(
        "[pool.cpu]\nworkers = {workers}\n\n{}",
        checks("numbers", "stats", 1, &keys)
    );
    let private = Private::start(way, &["stats"], &config)?;
    private.run(way, &names("numbers", 1))?;
    let before = private.usage();
    let begun = Instant::now();
    private.run(way, &names("numbers", 1))?;
    let took = begun.elapsed().as_secs_f64();
    let mut usage = private.usage();
    usage.cpu_s -= before.cpu_s;
    Ok((took, usage))
}

struct Numbers(std::path::PathBuf);

impl Numbers {
    /// That look like no pattern, the same each time (xorshift64*, S. Vigna 2016).
    fn write(count: u64) -> Result<Numbers, CtlError> {
        let name = format!("healthctl-bench-{}-{count}.csv", std::process::id());
        let path = std::env::temp_dir().join(name);
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(std::fs::File::create(&path)?);
            let mut state = 88_172_645_463_325_252_u64;
            for _ in 0..count {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                let number = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
                writeln!(file, "{:.6}", number as f64 / (1u64 << 53) as f64 * 1000.0)?;
            }
            file.flush()
        };
        let written = write().map_err(|e| failed(format!("{}: {e}", path.display())));
        let numbers = Numbers(path);
        written.map(|()| numbers)
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
