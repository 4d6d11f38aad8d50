//! `limit`: so many checks a second a kind of check does before more of them only wait.

use super::Way;
use super::private::{Private, checks};
use super::table::{Row, Table};
use super::targets::Web;
use crate::error::CtlError;
use std::time::{Duration, Instant};

/// kind, lane, checks to begin with, the most.
const KINDS: [(&str, &str, usize, usize); 5] = [
    ("http", "step", 1000, 64_000),
    ("tcp", "step", 1000, 64_000),
    ("file", "run", 1000, 64_000),
    ("cpu", "cpu", 20, 5_120),
    ("exec", "exec", 50, 12_800),
];
/// Of what is due, so much has to be done.
const HELD: f64 = 0.95;
/// Where nothing is done at all.
const AT_ALL_WITHIN: Duration = Duration::from_secs(60);

pub fn measure(way: &mut Way<'_>) -> Result<Table, CtlError> {
    let web = Web::start(Duration::ZERO, 4)?;
    let each = way.seconds / KINDS.len() as f64;
    let mut rows = Vec::new();
    for (kind, lane, first, most) in KINDS {
        let keys = match kind {
            "http" => format!("config = {{ url = \"{}\" }}", web.url()),
            "tcp" => format!(
                "config = {{ host = \"127.0.0.1\", port = {} }}",
                web.at.port()
            ),
            "file" => "config = { path = \"/\", type = \"dir\" }".to_owned(),
            "cpu" => "config = { operations = 1 }".to_owned(),
            _ => "config = { argv = [\"/bin/true\"] }".to_owned(),
        };
        rows.push(of_kind(way, kind, lane, &keys, (first, most), each)?);
    }
    Ok(Table {
        about: "Each kind alone, four times as many checks a second until they are not held any more; the most that was done,\n\
                and what a check cost then. The server that http and tcp ask shares the machine."
            .into(),
        rows,
        chart: "checks_per_second",
        ..Table::default()
    })
}

fn of_kind(
    way: &mut Way<'_>,
    kind: &str,
    lane: &str,
    keys: &str,
    (first, most): (usize, usize),
    seconds: f64,
) -> Result<Row, CtlError> {
    let begun = Instant::now();
    let measured = Duration::from_secs_f64((seconds / 8.0).clamp(1.0, 5.0));
    let mut best: Option<Row> = None;
    let mut count = first;
    while count <= most && (best.is_none() || begun.elapsed().as_secs_f64() < seconds) {
        way.tell(&format!("{kind}, {count} checks a second"))?;
        let keys = format!("interval = \"1s\"\ntimeout = \"900ms\"\n{keys}");
        let text = checks("it", kind, count, &keys);
        let private = Private::start(way, &[kind], &text)?;
        // First runs are spread over an interval: after the second one the rate stands.
        way.pause(Duration::from_secs(2))?;
        let (runs, cpu, from) = (private.finished(), private.usage(), Instant::now());
        way.pause(measured)?;
        // A machine that is busy with everything else: it is measured once it does something at all.
        while private.finished() == runs && from.elapsed() < AT_ALL_WITHIN {
            way.pause(measured)?;
        }
        let took = from.elapsed().as_secs_f64();
        let done = (private.finished() - runs) as f64;
        let after = private.usage();
        let rate = done / took;
        let row = Row::new(
            format!("{kind} ({lane})"),
            &[
                ("due_per_second", count as f64),
                ("checks_per_second", rate),
                (
                    "cpu_ms_per_check",
                    (after.cpu_s - cpu.cpu_s) * 1e3 / done.max(1.0),
                ),
                ("memory_bytes", after.memory_bytes),
            ],
        );
        let more = |b: &Row| rate > b.figure("checks_per_second").unwrap_or(0.0);
        if best.as_ref().is_none_or(more) {
            best = Some(row);
        }
        if rate < count as f64 * HELD {
            break;
        }
        count *= 4;
    }
    best.ok_or_else(|| super::failed(format!("{kind}: no time to measure it")))
}
