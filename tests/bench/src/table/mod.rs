//! `table`: what speed must reach, row by row: healthd and the peer that the row names, in turn, in one run.
//!
//! A file here has a group of rows. A group measures healthd and its peers one after the other, so many rounds of it, and
//! what a row shows is the median of each.

mod dead;
mod exec;
mod keep_alive;
mod memory;
mod nagios;
mod own_bench;
mod row;
mod start;
mod turns;
mod web;
mod wrk;

use crate::Options;
use row::Row;

/// How long one measurement is, in seconds, and how many times each is done.
#[derive(Clone, Copy)]
pub struct Size {
    pub seconds: f64,
    pub rounds: u64,
}

type Group = fn(Size) -> Result<Vec<Row>, String>;

/// By the word that `--only` takes; without what stands behind its last `-` it means all that begin so.
const GROUPS: [(&str, Group); 12] = [
    ("http-100", |size| web::http(size, 100, 0.6)),
    ("http-1000", |size| web::http(size, 1_000, 0.6)),
    ("http-10000", |size| web::http(size, 10_000, 1.0)),
    ("https", web::https),
    ("dead", dead::dead),
    ("keep-alive", keep_alive::keep_alive),
    ("memory", memory::memory),
    ("chunks", own_bench::chunks),
    ("exec-dummy", exec::dummy),
    ("exec-http", exec::http),
    ("cpu", own_bench::cpu),
    ("start", start::start),
];

pub fn table(options: &Options) -> Result<(), String> {
    let means = |word: &str, group: &str| {
        let rest = group.strip_prefix(word);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let unknown = |word: &&String| GROUPS.iter().all(|group| !means(word, group.0));
    if let Some(word) = options.only.iter().find(unknown) {
        return Err(format!(
            "the table has no rows {word:?}; it has {}",
            GROUPS.map(|group| group.0).join(", ")
        ));
    }
    let is_wanted =
        |group: &str| options.only.is_empty() || options.only.iter().any(|word| means(word, group));
    let size = Size {
        seconds: options.seconds.max(1) as f64,
        rounds: options.rounds,
    };
    println!(
        "Medians of {} rounds of {} s each, healthd and its peers in turn.\n\n{}",
        size.rounds,
        size.seconds,
        row::HEAD
    );
    let (mut rows, mut notes, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (word, measure) in GROUPS.iter().filter(|group| is_wanted(group.0)) {
        match measure(size) {
            Ok(some) => {
                for row in some {
                    println!("{}", row.line());
                    notes.extend(row.note().map(|note| format!("{}: {note}", row.what())));
                    rows.push(row);
                }
            }
            // The others are measured all the same.
            Err(why) => {
                println!("{}", row::not_measured(word));
                notes.push(format!("{word}: {why}"));
                failed.push(*word);
            }
        }
    }
    println!();
    for note in notes {
        println!("{note}");
    }
    let met = rows.iter().filter(|row| row.is_met() == Some(true)).count();
    println!("{met} of {} rows met", rows.len() + failed.len());
    let unknown = rows.iter().filter(|row| row.is_met().is_none()).count();
    if unknown > 0 {
        println!("{unknown} cannot be told without the peer");
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("not measured: {}", failed.join(", "))),
    }
}
