//! `stats`: numbers out of a CSV column, a JSON array or a log, and what they come to: mean, spread, exact percentiles,
//! a histogram. All cores work on it. Options, metrics and verdicts are described in README.md beside this crate.
//!
//! Runs in: the run lane of all cpu workers. Each chunk reads a stretch of the file, sorts the numbers in it, and sums
//! them up; the run merges the sums, and searches the sorted parts for the percentiles.

#![forbid(unsafe_code)]

mod judge;
mod locate;
mod part;
mod records;
mod stream;
#[cfg(test)]
mod tests;

use healthd_numbers::moments::Moments;
use healthd_plugin::{
    BlockingCheck, Chunk, Cx, Fanout, FanoutError, Plan, Range, Status, options, plugins,
};
use judge::Summary;
use part::Part;
use records::{END, MISFIT, Shape, Stretch};
use regex::bytes::RegexBuilder;
use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use stream::Wrong;

options! {
    /// Numbers of a CSV column, a JSON array or a log: count, mean, percentiles and more, each with thresholds.
    pub struct Options {
        /// The file, an absolute path.
        path: String { pattern: "^/" },
        /// What it is: csv, json or log.
        format: Format,
        /// csv: the column's name in the first line, or with `header = false` its number from 1 on.
        column: Option<String> { min_length: 1 },
        /// csv: what stands between cells: one character; `\t` is a tab.
        separator: String { min_length: 1 } = ",".into(),
        /// csv: the first line names the columns.
        header: bool = true,
        /// json: where the array is, as a JSON pointer (`/data/values`). Without it the document is the array.
        pointer: String { pattern: "^(/.*)?$" } = String::new(),
        /// json: the array's elements are objects, and the number is there: a JSON pointer into each (`/time`).
        field: Option<String> { pattern: "^/" },
        /// log: a regular expression; the number is its group `value`, or its first group, or all of it.
        pattern: Option<String> { min_length: 1 },
        /// What a cell without a finite number means: `skip` it and count it, or the check is `unknown`.
        bad: Bad = Bad::Skip,
        /// More values than this are unknown: they have to be held in memory, eight bytes each.
        max_values: u64 { min: 1, max: 30_000_000 } = 10_000_000,
        /// `std` is that of a sample: divided by n - 1 instead of n.
        sample: bool = false,
        /// Bins of the histogram between the least and the greatest value; 0: no histogram.
        bins: u32 { max: 64 } = 10,
        /// Edges of the histogram's bins, ascending, instead of `bins`.
        edges: Vec<f64> = Vec::new(),
        /// Thresholds on any of the numbers.
        limits: Limits = Limits::default(),
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Format { Csv = "csv", Json = "json", Log = "log" }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Bad { Skip = "skip", Unknown = "unknown" }
}

options! {
    /// Ranges of the good values.
    #[derive(Clone, Default)]
    pub struct Bounds {
        /// Warning outside of this range.
        warn: Option<Range>,
        /// Critical outside of this range.
        crit: Option<Range>,
    }
}

options! {
    /// A table for each number that has thresholds: `p99 = { warn = 0.5, crit = 2 }`.
    #[derive(Clone, Default)]
    pub struct Limits {
        /// How many values there are.
        count: Option<Bounds>,
        /// Their sum.
        sum: Option<Bounds>,
        /// Their mean.
        mean: Option<Bounds>,
        /// Their standard deviation.
        std: Option<Bounds>,
        /// The least one.
        min: Option<Bounds>,
        /// The greatest one.
        max: Option<Bounds>,
        /// The one in the middle.
        median: Option<Bounds>,
        /// A quarter of them is below.
        p25: Option<Bounds>,
        /// As `median`.
        p50: Option<Bounds>,
        /// Three quarters of them are below.
        p75: Option<Bounds>,
        /// 95 % of them are below.
        p95: Option<Bounds>,
        /// 99 % of them are below.
        p99: Option<Bounds>,
        /// How many cells had no number.
        bad: Option<Bounds>,
    }
}

struct Stats {
    options: Options,
    shape: Shape,
}

impl BlockingCheck for Stats {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        let shape = shape(&options)?;
        if !options.edges.is_sorted_by(|a, b| a < b) || options.edges.len() == 1 {
            return Err("edges: at least two numbers, each above the one before it".into());
        }
        Ok(Stats { options, shape })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        match self.summary(cx) {
            Ok(summary) => summary.judge(cx, &self.options),
            Err(stop) => self.failed(cx, stop),
        }
    }
}

impl Fanout for Stats {
    fn chunk(&self, cx: Cx<'_>, chunk: &mut Chunk<'_>) -> Status {
        let file = match chunk.input_fd().map(|fd| fd.try_clone_to_owned()) {
            Some(Ok(fd)) => File::from(fd),
            Some(Err(e)) => return cx.fail("input", &e),
            None => return cx.unknown("no input"),
        };
        let range = chunk.items();
        let is_last = chunk.index() + 1 == chunk.count();
        let end = match file.metadata() {
            Ok(about) if !is_last => about.len(),
            Ok(_) => range.end,
            Err(e) => return cx.fail("stat", &e),
        };
        let stretch = Stretch {
            file: &file,
            end,
            range,
            place: u64::from(chunk.kind()),
            most: self.options.max_values as usize,
            cancelled: &|| cx.is_cancelled(),
        };
        match self.shape.find(&stretch) {
            Ok(mut found) => chunk.finish(&part::encode(&mut found)),
            Err(wrong) => self.failed(cx, Stop::Wrong(wrong)),
        }
    }
}

plugins! {
    fanout Stats {
        name: "stats",
        summary: "statistics of a CSV column, a JSON array or numbers in a log, on all cores",
        stack_kib: 512,
    }
}

enum Stop {
    Open(std::io::Error),
    Wrong(Wrong),
    Fanout(FanoutError),
    /// In words, about the target.
    Unfit(String),
    /// It changed while it was read.
    Changed,
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Stop {
        Stop::Wrong(wrong)
    }
}

impl From<FanoutError> for Stop {
    fn from(e: FanoutError) -> Stop {
        Stop::Fanout(e)
    }
}

fn shape(o: &Options) -> Result<Shape, String> {
    let only = |name: &str, given: bool, format: Format| match given && o.format != format {
        true => Err(format!("{name}: is for another format")),
        false => Ok(()),
    };
    only("column", o.column.is_some(), Format::Csv)?;
    only("field", o.field.is_some(), Format::Json)?;
    only("pointer", !o.pointer.is_empty(), Format::Json)?;
    only("pattern", o.pattern.is_some(), Format::Log)?;
    match o.format {
        Format::Csv => {
            let column = o.column.as_deref().ok_or("column: missing")?;
            if !o.header && column.parse::<u32>().ok().filter(|n| *n > 0).is_none() {
                return Err("column: a number from 1 on, as there is no header".into());
            }
            let separator = match o.separator.as_str() {
                "\\t" => b'\t',
                s if s.len() == 1 && !["\"", "\n", "\r"].contains(&s) => s.as_bytes()[0],
                s => return Err(format!("separator: {s:?} is not one ASCII character")),
            };
            Ok(Shape::Csv {
                separator,
                header: o.header,
            })
        }
        Format::Json => Ok(Shape::Json {
            field: o.field.clone(),
        }),
        Format::Log => {
            let pattern = o.pattern.as_deref().ok_or("pattern: missing")?;
            RegexBuilder::new(pattern)
                .unicode(false)
                .build()
                .map(Shape::Log)
                .map_err(|e| format!("pattern: {e}"))
        }
    }
}

/// Chunks of bytes: small enough to go round, large enough to be worth their way.
fn chunk_size(size: u64, workers: u32) -> u64 {
    let fair = size.div_ceil(16 * u64::from(workers));
    fair.clamp(64 << 10, 8 << 20).max(size.div_ceil(4096))
}

impl Stats {
    fn summary(&self, cx: Cx<'_>) -> Result<Summary, Stop> {
        cx.phase("open");
        let file = File::open(&self.options.path).map_err(Stop::Open)?;
        let before = file.metadata().map_err(Stop::Open)?;
        if !before.is_file() {
            return Err(Stop::Unfit("it is no regular file".into()));
        }
        let size = self.whole_lines(&file, before.len())?;
        let place = self.place(&file, size)?;
        cx.phase("read");
        let mut parts = self.parts(cx, &file, size, chunk_size(size, cx.workers()), place)?;
        if !fit(&mut parts) {
            // A line end inside of quotes, or a comma inside of an object, was taken for the end of a record.
            cx.phase("read again");
            parts = self.parts(cx, &file, size, size.max(1), place)?;
        }
        let after = file.metadata().map_err(Stop::Open)?;
        if changed(&before, &after) && self.options.format != Format::Log {
            return Err(Stop::Changed);
        }
        cx.phase("merge");
        let moments = parts
            .iter()
            .map(|p| p.moments)
            .fold(Moments::default(), Moments::merge);
        if moments.count > self.options.max_values {
            return Err(Wrong::TooMany.into());
        }
        Ok(Summary::new(parts, moments, &self.options))
    }

    fn parts(
        &self,
        cx: Cx<'_>,
        file: &File,
        size: u64,
        chunk: u64,
        place: u32,
    ) -> Result<Vec<Part>, Stop> {
        let plan = Plan::over(size).chunks_of(chunk).kind(place);
        let mut fan = cx.fan_out(plan.input(&file.as_fd()))?;
        let mut parts = Vec::new();
        while let Some(done) = fan.next() {
            let part = Part::decode(done?.output()?);
            parts.push(part.ok_or_else(|| Stop::Unfit("a chunk wrote half a part".into()))?);
        }
        Ok(parts)
    }

    /// A log may be written to at this moment: a line that has no end yet is left for the next time.
    fn whole_lines(&self, file: &File, size: u64) -> Result<u64, Stop> {
        if self.options.format != Format::Log || size == 0 {
            return Ok(size);
        }
        let mut tail = vec![0; size.min(64 << 10) as usize];
        let from = size - tail.len() as u64;
        file.read_exact_at(&mut tail, from)
            .map_err(|_| Wrong::Cut)?;
        match tail.iter().rposition(|b| *b == b'\n') {
            Some(at) => Ok(from + at as u64 + 1),
            None => Ok(size),
        }
    }

    /// Csv: which column. Json: where the array begins.
    fn place(&self, file: &File, size: u64) -> Result<u32, Stop> {
        let column = self.options.column.as_deref().unwrap_or_default();
        match &self.shape {
            Shape::Log(_) => Ok(0),
            Shape::Csv { header: false, .. } => Ok(column.parse::<u32>().map_or(0, |n| n - 1)),
            Shape::Csv { separator, .. } => {
                let mut head = vec![0; size.min(stream::MAX_RECORD as u64) as usize];
                file.read_exact_at(&mut head, 0).map_err(|_| Wrong::Cut)?;
                let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
                column_of(head, *separator, column).map_err(Stop::Unfit)
            }
            Shape::Json { .. } => {
                let at = locate::array(file, size, &self.options.pointer)?;
                let at = at.map_err(Stop::Unfit)?;
                u32::try_from(at)
                    .map_err(|_| Stop::Unfit("the array begins behind the first 4 GiB".into()))
            }
        }
    }

    fn failed(&self, cx: Cx<'_>, stop: Stop) -> Status {
        let path = &self.options.path;
        match stop {
            Stop::Open(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                // Our own lack of rights says nothing about the file.
                cx.unknown(format_args!("{path}: {e}"))
            }
            Stop::Open(e) | Stop::Wrong(Wrong::Io(e)) => cx.fail(path, &e),
            Stop::Unfit(why) => cx.critical(format_args!("{path}: {why}")),
            // A chunk has said already whose fault it is.
            Stop::Fanout(FanoutError::Chunk {
                status: Status::Critical,
                message,
                ..
            }) => cx.critical(message),
            Stop::Fanout(e) => e.status(cx),
            Stop::Changed => cx.unknown(format_args!("{path}: it changed while it was read")),
            Stop::Wrong(Wrong::Cut) => {
                cx.unknown(format_args!("{path}: it was cut while it was read"))
            }
            Stop::Wrong(Wrong::Cancelled) => Status::Cancelled,
            Stop::Wrong(Wrong::TooMany) => cx.unknown(format_args!(
                "{path}: more than {} values; see `max_values`",
                self.options.max_values
            )),
            Stop::Wrong(Wrong::TooLong { at }) => cx.unknown(format_args!(
                "{path}: a record of more than {} KiB at byte {at}: is a quote never closed?",
                stream::MAX_RECORD >> 10
            )),
            Stop::Wrong(Wrong::Syntax { at, what }) => {
                cx.critical(format_args!("{path}: at byte {at}: {what}"))
            }
        }
    }
}

fn changed(before: &Metadata, after: &Metadata) -> bool {
    let stamp = |m: &Metadata| (m.len(), m.mtime(), m.mtime_nsec());
    stamp(before) != stamp(after)
}

/// Does each part begin where the one before it ended? What lies behind the end of a JSON array is left out.
fn fit(parts: &mut Vec<Part>) -> bool {
    if let Some(last) = parts.iter().position(|p| p.stop == END) {
        parts.truncate(last + 1);
    }
    parts.iter().all(|p| p.stop != MISFIT) && parts.windows(2).all(|p| p[0].stop == p[1].start)
}

fn column_of(head: &[u8], separator: u8, column: &str) -> Result<u32, String> {
    let mut names = Vec::new();
    for index in 0.. {
        let Some((_, Some(cell))) = records::csv_record(head, separator, index, true) else {
            break;
        };
        let name = String::from_utf8_lossy(records::unquoted(&head[cell])).replace("\"\"", "\"");
        if name == column {
            return Ok(index as u32);
        }
        if names.len() < 20 {
            names.push(name);
        }
    }
    let names = names.join(", ");
    Err(format!("no column {column:?} in its first line: {names}"))
}
