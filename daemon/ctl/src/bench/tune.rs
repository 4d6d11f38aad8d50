//! `tune`: with how many workers and threads this machine does most, and the lines of a config that say so.

use super::Way;
use super::private::{Private, checks};
use super::table::{Row, Table};
use super::targets::Web;
use crate::error::CtlError;
use healthd_core::config::auto;
use std::fmt;
use std::time::{Duration, Instant};

const MANY: usize = 500;
const FEW: usize = 32;
/// Each of the sizes has its turn so many times, and the best turn counts: what else the machine does only slows down.
const TURNS: usize = 2;

pub fn measure(way: &mut Way<'_>) -> Result<Table, CtlError> {
    let cores = u16::try_from(way.cores).unwrap_or(u16::MAX);
    let web = Web::start(Duration::ZERO, 4)?;
    let waiting = format!("timeout = \"30s\"\nconfig = {{ url = \"{}\" }}", web.url());
    let blocking = "timeout = \"30s\"\nconfig = { path = \"/usr/bin/*\", count_crit = \"1:\" }";
    let computing = "timeout = \"30s\"\nconfig = { operations = 20_000 }";
    let auto = (
        auto::io_workers(cores),
        auto::io_threads(cores),
        auto::cpu_workers(cores),
    );
    let workers = |auto, most| in_order(vec![1, 2, cores, cores.saturating_mul(2), auto], most);
    let (io_sizes, cpu_sizes) = (workers(auto.0, 64), workers(auto.2, 256));
    let threads = in_order(vec![1, cores, auto.1, auto.1.saturating_mul(4)], 1024);
    let sizes = io_sizes.len() + threads.len() + cpu_sizes.len();
    let mut turn = Turn {
        seconds: way.seconds / (sizes * TURNS) as f64,
        way,
    };
    let mut rows = turn.of("io workers", &io_sizes, |n| {
        let checks = checks("it", "http", MANY, &waiting);
        ("http", format!("[pool.io]\nworkers = {n}\n\n{checks}"))
    })?;
    let io = Choice::of(&rows, auto.0);
    let by_threads = turn.of("io threads", &threads, |n| {
        let checks = checks("it", "file", FEW, blocking);
        let workers = io.number;
        (
            "file",
            format!("[pool.io]\nworkers = {workers}\nthreads = {n}\n\n{checks}"),
        )
    })?;
    // Those that only wait cost little, and a file system that hangs holds one for each check of it.
    let io_threads = Choice::of(&by_threads, auto.1).at_least(auto.1);
    let by_cpu = turn.of("cpu workers", &cpu_sizes, |n| {
        let checks = checks("it", "cpu", FEW, computing);
        ("cpu", format!("[pool.cpu]\nworkers = {n}\n\n{checks}"))
    })?;
    let cpu = Choice::of(&by_cpu, auto.2);
    rows.extend(by_threads);
    rows.extend(by_cpu);
    Ok(Table {
        about: format!(
            "HTTP checks by so many io workers, checks that read a folder by so many threads of each, checks that compute by\n\
             so many cpu workers, as fast as they go on {cores} cores; the better of up to {TURNS} turns. `auto` where that does within\n\
             {:.0} % of the most, else the least that does: each worker costs memory.",
            100.0 - WITHIN * 100.0
        ),
        rows,
        chart: "checks_per_second",
        config: format!(
            "[pool.io]\nworkers = {io}\nthreads = {io_threads}\n\n[pool.cpu]\nworkers = {cpu}\n"
        ),
        ..Table::default()
    })
}

const WITHIN: f64 = 0.95;

/// Those that may be written.
fn in_order(mut numbers: Vec<u16>, most: u16) -> Vec<u16> {
    numbers.retain(|n| *n <= most);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// What goes into the config.
struct Choice {
    number: u16,
    auto: bool,
}

impl Choice {
    /// `auto` if it does as much as the best, nearly; else the least that does. Rows are in order.
    fn of(rows: &[Row], auto: u16) -> Choice {
        let of = |row: &Row| {
            let size = row.figure("threads").or(row.figure("workers"))?;
            Some((size as u16, row.figure("checks_per_second")?))
        };
        let some: Vec<(u16, f64)> = rows.iter().filter_map(of).collect();
        let most = some.iter().map(|s| s.1).fold(0.0, f64::max);
        let mut good = some.iter().filter(|s| s.1 >= most * WITHIN).map(|s| s.0);
        match good.clone().any(|n| n == auto) {
            true => Choice {
                number: auto,
                auto: true,
            },
            false => Choice {
                number: good.next().unwrap_or(auto),
                auto: false,
            },
        }
    }

    fn at_least(self, auto: u16) -> Choice {
        match self.number > auto {
            true => self,
            false => Choice {
                number: auto,
                auto: true,
            },
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.auto {
            true => write!(f, "\"auto\" # {} here", self.number),
            false => write!(f, "{}", self.number),
        }
    }
}

struct Turn<'t, 's> {
    way: &'t mut Way<'s>,
    seconds: f64,
}

impl Turn<'_, '_> {
    /// A row for each size. `config`: the plugin, and what stands behind `[daemon]`.
    fn of(
        &mut self,
        what: &str,
        sizes: &[u16],
        config: impl Fn(u16) -> (&'static str, String),
    ) -> Result<Vec<Row>, CtlError> {
        let mut rows: Vec<Row> = Vec::new();
        for turn in 0..TURNS {
            // Each has had a turn, and on a machine that is busy the starts alone take the time there is.
            if turn > 0 && self.way.is_late() {
                break;
            }
            for (at, n) in sizes.iter().enumerate() {
                self.way
                    .tell(&format!("{n} {what}, turn {} of {TURNS}", turn + 1))?;
                let (plugin, config) = config(*n);
                let row = rate(self.way, what, *n, plugin, &config, self.seconds)?;
                let rate = |row: &Row| row.figure("checks_per_second").unwrap_or(0.0);
                match rows.get_mut(at) {
                    None => rows.push(row),
                    Some(best) if rate(&row) > rate(best) => *best = row,
                    Some(_) => {}
                }
            }
        }
        Table::compare(&mut rows, "checks_per_second", true);
        Ok(rows)
    }
}

fn rate(
    way: &mut Way<'_>,
    what: &str,
    n: u16,
    plugin: &str,
    config: &str,
    seconds: f64,
) -> Result<Row, CtlError> {
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
    let size = match what.ends_with("threads") {
        true => "threads",
        false => "workers",
    };
    Ok(Row::new(
        format!("{what} = {n}"),
        &[
            (size, f64::from(n)),
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
    fn auto_where_it_is_good_and_else_the_least_that_is() {
        let row = |(n, rate): (f64, f64)| {
            Row::new(
                format!("io workers = {n}"),
                &[("workers", n), ("checks_per_second", rate)],
            )
        };
        let rows = [(1.0, 900.0), (2.0, 1490.0), (4.0, 1500.0)].map(row);
        assert_eq!(Choice::of(&rows, 4).to_string(), "\"auto\" # 4 here");
        assert_eq!(Choice::of(&rows, 2).to_string(), "\"auto\" # 2 here");
        assert_eq!(Choice::of(&rows, 1).to_string(), "2");
        assert_eq!(Choice::of(&[], 3).to_string(), "3");
        assert_eq!(
            Choice::of(&rows, 1).at_least(64).to_string(),
            "\"auto\" # 64 here"
        );
        assert_eq!(Choice::of(&rows, 3).at_least(1).to_string(), "2");
        assert_eq!(in_order(vec![4, 1, 2, 2, 99], 64), [1, 2, 4]);
    }
}
