//! `cpu`: a check that computes, eight times: in one process, by threads of one process, by a process a core, by
//! processes with threads.

use super::private::{Private, checks, names};
use super::table::{Row, Table};
use super::{Way, failed};
use crate::error::CtlError;
use std::io::Write;
use std::time::Instant;

const TIMES: usize = 8;
const KIB: usize = 1 << 10;
const FIRST: usize = 64 * KIB;
const MOST: usize = 64 << 20;

pub fn measure(way: &mut Way<'_>) -> Result<Table, CtlError> {
    let cores = way.cores;
    // So much that all of it takes the time there is.
    way.tell("how much work")?;
    let small = Work::new(FIRST)?;
    let bytes_a_second = {
        let private = start(way, &small, (1, 1))?;
        private.run(way, &names("search", TIMES))?;
        let begun = Instant::now();
        private.run(way, &names("search", TIMES))?;
        (TIMES * FIRST) as f64 / begun.elapsed().as_secs_f64()
    };
    // All eight of them and one more, four times.
    let size = bytes_a_second * way.seconds / 5.0 / TIMES as f64;
    let size = (size as usize).clamp(FIRST, MOST) / KIB * KIB;
    let file = Work::new(size)?;
    let mut rows = Vec::new();
    for (name, pool) in [
        ("one", (1, 1)),
        ("threads", (1, cores)),
        ("processes", (cores, 1)),
        ("hybrid", (cores.max(2), 2)),
    ] {
        way.tell(name)?;
        let private = start(way, &file, pool)?;
        // The file is in memory.
        private.run(way, &names("search", 1))?;
        let before = private.usage();
        let begun = Instant::now();
        private.run(way, &names("search", TIMES))?;
        let took = begun.elapsed().as_secs_f64();
        let after = private.usage();
        rows.push(Row::new(
            name,
            &[
                ("workers", pool.0 as f64),
                ("threads", pool.1 as f64),
                ("took_s", took),
                ("cpu_s", after.cpu_s - before.cpu_s),
                ("memory_bytes", after.memory_bytes),
            ],
        ));
    }
    Table::compare(&mut rows, "took_s", false);
    Ok(Table {
        about: format!(
            "{TIMES} checks at once that search {} KiB each with a regular expression, on {cores} cores, in so many workers\n\
             with so many threads.",
            size / KIB
        ),
        rows,
        chart: "took_s",
        ..Table::default()
    })
}

/// A file in which the expression begins nowhere.
struct Work(std::path::PathBuf);

impl Work {
    fn new(size: usize) -> Result<Work, CtlError> {
        let path = std::env::temp_dir().join(format!(
            "healthctl-bench-{}-{size}.data",
            std::process::id()
        ));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&path)?;
            for _ in 0..size / KIB {
                file.write_all(&[b'x'; KIB])?;
            }
            Ok(())
        };
        let written = write().map_err(|e| failed(format!("{}: {e}", path.display())));
        let work = Work(path);
        written.map(|()| work)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn start(
    way: &mut Way<'_>,
    file: &Work,
    (workers, threads): (usize, usize),
) -> Result<Private, CtlError> {
    let keys = format!(
        "timeout = \"5m\"\nconfig = {{ path = \"{}\", contains_not = \"[a-w][a-w]z\", max_read = \"4GiB\" }}",
        file.0.display()
    );
    let config = format!(
        "[pool.io]\nworkers = {workers}\nthreads = {threads}\n\n{}",
        checks("search", "file", TIMES, &keys)
    );
    Private::start(way, &["file"], &config)
}
