//! `io`: checks that wait for a server, 5 and 50 of them: one after the other, a thread each, by an event loop, by
//! processes with event loops.

use super::private::{Private, checks, names};
use super::table::{Row, Table};
use super::targets::{Web, get};
use super::usage::{self, Usage};
use super::{Way, failed};
use crate::error::CtlError;
use std::time::{Duration, Instant};

const TARGETS: [usize; 2] = [5, 50];

pub fn measure(way: &mut Way<'_>) -> Result<Table, CtlError> {
    // One after the other takes 55 waits; all others together some ten.
    let wait = (way.seconds / 65.0).clamp(0.01, 1.0);
    let web = Web::start(Duration::from_secs_f64(wait), 1)?;
    let mut rows = Vec::new();
    for count in TARGETS {
        let config = format!("config = {{ url = \"{}\" }}\ntimeout = \"30s\"", web.url());
        let one = format!("exclusive = \"one\"\n{config}");
        let cores = way.cores;
        let mut some = vec![by_healthd(way, "sequential", count, 1, &one)?];
        some.push(by_threads(way, count, &web)?);
        some.push(by_healthd(way, "event-loop", count, 1, &config)?);
        some.push(by_healthd(way, "hybrid", count, cores.max(2), &config)?);
        Table::compare(&mut some, "took_s", false);
        rows.extend(some);
    }
    Ok(Table {
        about: format!(
            "HTTP checks of servers that take {wait:.2} s to answer. sequential: one after the other. threads: a thread each,\n\
             without healthd. event-loop: one io worker. hybrid: {} io workers.",
            way.cores.max(2)
        ),
        rows,
        chart: "took_s",
        ..Table::default()
    })
}

fn by_healthd(
    way: &mut Way<'_>,
    name: &str,
    count: usize,
    workers: usize,
    keys: &str,
) -> Result<Row, CtlError> {
    way.tell(&format!("{name}, {count} targets"))?;
    let config = format!(
        "[pool.io]\nworkers = {workers}\n\n{}",
        checks("web", "http", count, keys)
    );
    let private = Private::start(way, &["http"], &config)?;
    let names = names("web", count);
    // Their instances are made; one after the other that is nothing beside the waits.
    if name != "sequential" {
        private.run(way, &names)?;
    }
    let before = private.usage();
    let begun = Instant::now();
    private.run(way, &names)?;
    let took = begun.elapsed();
    Ok(row(name, count, took, before, private.usage()))
}

fn by_threads(way: &mut Way<'_>, count: usize, web: &Web) -> Result<Row, CtlError> {
    way.tell(&format!("threads, {count} targets"))?;
    let own = std::process::id();
    let before = usage::of(own);
    let begun = Instant::now();
    let at = web.at;
    let threads: Vec<_> = (0..count)
        .map(|_| std::thread::spawn(move || get(at)))
        .collect();
    let good = threads.into_iter().all(|t| t.join().unwrap_or(false));
    let took = begun.elapsed();
    match good {
        true => Ok(row("threads", count, took, before, usage::of(own))),
        false => Err(failed("a request to our own server failed")),
    }
}

fn row(name: &str, count: usize, took: Duration, before: Usage, after: Usage) -> Row {
    Row::new(
        name,
        &[
            ("targets", count as f64),
            ("took_s", took.as_secs_f64()),
            ("cpu_s", after.cpu_s - before.cpu_s),
            ("memory_bytes", after.memory_bytes),
        ],
    )
}
