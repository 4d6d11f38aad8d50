//! `chunks`: checks that do next to nothing, through manager, worker and back, so many handed over at once.

use super::Way;
use super::private::{Private, checks, names};
use super::table::{Row, Table};
use crate::error::CtlError;
use std::time::{Duration, Instant};

const SIZES: [usize; 6] = [1, 10, 50, 100, 500, 1000];
const ALL: usize = 1000;
/// One request names at most so many checks by name; more are meant by a glob.
const ADAPTIVE: usize = 5000;
/// One question to the kernel.
const KEYS: &str = "config = { path = \"/\", type = \"dir\" }";

pub fn measure(way: &mut Way<'_>) -> Result<Table, CtlError> {
    let cores = way.cores;
    let config = format!(
        "[pool.io]\nworkers = {cores}\n\n{}{}",
        checks("tiny", "file", ALL, KEYS),
        checks("more", "file", ADAPTIVE, KEYS),
    );
    let private = Private::start(way, &["file"], &config)?;
    let each = Duration::from_secs_f64(way.seconds / (SIZES.len() + 2) as f64);
    let everything = ["more-*".to_owned()];
    // Their instances are made.
    way.tell("begin")?;
    private.run(way, &["tiny-*".to_owned(), everything[0].clone()])?;
    let mut rows = Vec::new();
    for size in SIZES {
        way.tell(&format!("{size} at once"))?;
        let some = match size {
            ALL => vec!["tiny-*".to_owned()],
            size => names("tiny", size),
        };
        rows.push(rate(way, &private, &size.to_string(), &some, each)?);
    }
    way.tell("adaptive")?;
    rows.push(rate(way, &private, "adaptive", &everything, each)?);
    Table::compare(&mut rows, "checks_per_second", true);
    let note = match rustix::process::getuid().is_root() {
        true => "",
        false => {
            "\nhealthd serves at most 400 requests a second of a user who is not root: small chunks meet that first."
        }
    };
    Ok(Table {
        about: format!(
            "Checks that ask the kernel one thing, through the manager and {cores} io workers and back: so many are handed over\n\
             in one request, and the next request follows when all are done. adaptive: {ADAPTIVE}, and healthd chooses.{note}"
        ),
        rows,
        chart: "checks_per_second",
        ..Table::default()
    })
}

fn rate(
    way: &mut Way<'_>,
    private: &Private,
    name: &str,
    some: &[String],
    time: Duration,
) -> Result<Row, CtlError> {
    let before = private.usage().cpu_s;
    let begun = Instant::now();
    let mut ran = 0;
    while begun.elapsed() < time || ran == 0 {
        ran += private.run(way, some)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let cpu = private.usage().cpu_s - before;
    let ran = ran as f64;
    Ok(Row::new(
        name,
        &[
            ("checks", ran),
            ("checks_per_second", ran / took),
            ("cpu_ms_per_check", cpu * 1e3 / ran),
        ],
    ))
}
