//! `tune`: with how many workers and threads this machine does most, and the lines of a config that say so.

use super::Way;
use super::private::{Private, checks};
use super::table::{Row, Table};
use super::targets::Web;
use crate::error::CtlError;
use std::time::{Duration, Instant};

const MANY: usize = 500;
const FEW: usize = 32;

pub fn measure(way: &mut Way<'_>) -> Result<Table, CtlError> {
    let cores = way.cores;
    let web = Web::start(Duration::ZERO, 4)?;
    let waiting = format!("timeout = \"30s\"\nconfig = {{ url = \"{}\" }}", web.url());
    let blocking = "timeout = \"30s\"\nconfig = { path = \"/usr/bin/*\", count_crit = \"1:\" }";
    let computing = "timeout = \"30s\"\nconfig = { operations = 20_000 }";
    let workers: Vec<usize> = [1, 2, cores, 2 * cores].into();
    let workers = in_order(workers);
    let threads = in_order(vec![1, cores, 4 * cores, 64]);
    let each = way.seconds / (2 * workers.len() + threads.len()) as f64;
    let mut rows = Vec::new();
    for n in &workers {
        let config = format!(
            "[pool.io]\nworkers = {n}\n\n{}",
            checks("it", "http", MANY, &waiting)
        );
        rows.push(rate(way, "io workers", *n, "http", &config, each)?);
    }
    let io = best(&rows, "io workers");
    for n in &threads {
        let config = format!(
            "[pool.io]\nworkers = {io}\nthreads = {n}\n\n{}",
            checks("it", "file", FEW, blocking)
        );
        rows.push(rate(way, "io threads", *n, "file", &config, each)?);
    }
    let io_threads = best(&rows, "io threads").max(usize::from(LEAST_THREADS));
    for n in &workers {
        let config = format!(
            "[pool.cpu]\nworkers = {n}\n\n{}",
            checks("it", "cpu", FEW, computing)
        );
        rows.push(rate(way, "cpu workers", *n, "cpu", &config, each)?);
    }
    let cpu = best(&rows, "cpu workers");
    Ok(Table {
        about: format!(
            "HTTP checks by so many io workers, checks that read a folder by so many threads of each, checks that compute by\n\
             so many cpu workers, as fast as they go on {cores} cores. A smaller number within 5 % of the best is better:\n\
             each worker costs memory. Threads that only wait cost little, so at least {LEAST_THREADS} stand in the config."
        ),
        rows,
        chart: "checks_per_second",
        config: format!(
            "[pool.io]\nworkers = {io}\nthreads = {io_threads}\n\n[pool.cpu]\nworkers = {cpu}\n"
        ),
        ..Table::default()
    })
}

/// A file system that hangs holds one of them for each check of it.
const LEAST_THREADS: u16 = 64;
const WITHIN: f64 = 0.95;

fn in_order(mut numbers: Vec<usize>) -> Vec<usize> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The least that does as much as the best, nearly.
fn best(rows: &[Row], what: &str) -> usize {
    let of = |row: &Row| Some((row.figure("workers")?, row.figure("checks_per_second")?));
    let some: Vec<(f64, f64)> = rows
        .iter()
        .filter(|r| r.name.starts_with(what))
        .filter_map(of)
        .collect();
    let most = some.iter().map(|s| s.1).fold(0.0, f64::max);
    let good = some.iter().find(|s| s.1 >= most * WITHIN);
    good.map_or(1, |s| s.0 as usize)
}

fn rate(
    way: &mut Way<'_>,
    what: &str,
    n: usize,
    plugin: &str,
    config: &str,
    seconds: f64,
) -> Result<Row, CtlError> {
    way.tell(&format!("{n} {what}"))?;
    let private = Private::start(way, &[plugin], config)?;
    let all = ["it-*".to_owned()];
    private.run(way, &all)?;
    let before = private.usage().cpu_s;
    let begun = Instant::now();
    let mut ran = 0;
    while begun.elapsed().as_secs_f64() < seconds / 2.0 || ran == 0 {
        ran += private.run(way, &all)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let after = private.usage();
    Ok(Row::new(
        format!("{what} = {n}"),
        &[
            ("workers", n as f64),
            ("checks_per_second", ran as f64 / took),
            (
                "cpu_ms_per_check",
                (after.cpu_s - before) * 1e3 / ran as f64,
            ),
            ("memory_bytes", after.memory_bytes),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_those_that_are_good() {
        let row = |n: f64, rate: f64| {
            Row::new(
                format!("io workers = {n}"),
                &[("workers", n), ("checks_per_second", rate)],
            )
        };
        let rows = [row(1.0, 900.0), row(2.0, 1490.0), row(4.0, 1500.0)];
        assert_eq!(best(&rows, "io workers"), 2);
        assert_eq!(best(&rows, "cpu workers"), 1);
        assert_eq!(in_order(vec![4, 1, 2, 2]), [1, 2, 4]);
    }
}
