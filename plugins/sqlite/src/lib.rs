//! `sqlite`: reads a database file and judges the answer to a query, the number of rows, and the file itself. Options,
//! metrics and verdicts are described in README.md beside this crate.
//!
//! Runs in: the run lane of an io worker.

#![forbid(unsafe_code)]

mod database;
mod file;
mod locks;
#[cfg(test)]
mod tests;

use database::{Answer, Database, Failure};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::{FirstCell, Scalar, Thresholds, WritePath};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{BlockingCheck, Cx, Metric, Range, Status, options, plugins};
use std::time::{Duration, Instant};

options! {
    /// Reads a SQLite database file and checks the answer to a query. Never writes.
    pub struct Options {
        /// The database file, an absolute path.
        path: WritePath,
        /// One statement that only reads. Without it the file is only opened and looked into.
        query: Option<String> { min_length: 1 },
        /// What the first cell must be: a text, a number or a boolean. Anything else is critical.
        expect: Option<Scalar>,
        /// Warning if the first cell, a number, is outside of this range.
        warn: Option<Range>,
        /// Critical if the first cell, a number, is outside of this range.
        crit: Option<Range>,
        /// Warning if the number of rows is outside of this range.
        rows_warn: Option<Range>,
        /// Critical if the number of rows is outside of this range.
        rows_crit: Option<Range>,
        /// Read the whole file and look for damage (PRAGMA quick_check). Takes its time on a large one.
        quick_check: bool = false,
        /// Nobody ever changes this file: read it without locks. Wrong answers if somebody does.
        immutable: bool = false,
        /// Warn when the whole check takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole check takes longer.
        latency_crit: Option<Duration>,
    }
}

/// What opens and looks into a database when no query is given.
const LOOK: &str = "SELECT count(*) FROM sqlite_schema";
/// The host asks a run to give up a tenth of its time before its deadline, at most so long; ours comes before that, so
/// that what we say of it is heard.
const ASKED: Duration = Duration::from_millis(100);
const MARGIN: Duration = Duration::from_millis(20);
/// So often a file is read again because a writer came in between.
const TRIES: u32 = 3;
/// A database that is being closed is closed after so many of these.
const CLOSINGS: u32 = 10;
const CLOSING: Duration = Duration::from_millis(20);

struct Sqlite(Options);

impl BlockingCheck for Sqlite {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let judged = o.expect.is_some() || o.warn.is_some() || o.crit.is_some();
        if o.query.is_none() && (judged || o.rows_warn.is_some() || o.rows_crit.is_some()) {
            return Err("query: missing, and there are thresholds on its answer".into());
        }
        Ok(Sqlite(o))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let begin = Instant::now();
        let time = cx.remaining();
        let deadline = begin + time.saturating_sub((time / 10).min(ASKED) + MARGIN);
        match self.read(cx, deadline) {
            Ok(answer) => self.judge(cx, &answer, begin.elapsed()),
            Err(Stop::Damaged(problems)) => {
                cx.detail(problems.join("\n"));
                let first = problems.first().map_or("", |p| p.trim());
                cx.critical(format_args!(
                    "{}: quick_check found damage: {first}",
                    self.0.path.display()
                ))
            }
            Err(Stop::Failed(failure)) => self.failed(cx, &failure, begin.elapsed()),
        }
    }
}

plugins! {
    run Sqlite {
        name: "sqlite",
        summary: "reads a SQLite database file and checks a query's answer",
        stack_kib: 512,
    }
}

enum Stop {
    Failed(Failure),
    Damaged(Vec<String>),
}

impl From<Failure> for Stop {
    fn from(f: Failure) -> Self {
        Stop::Failed(f)
    }
}

impl Sqlite {
    fn read(&self, cx: Cx<'_>, deadline: Instant) -> Result<Answer, Stop> {
        let (mut tries, mut closing) = (1, 0);
        loop {
            cx.phase("open");
            let database = match Database::open(&self.0.path, self.0.immutable, deadline) {
                // The last of its users has taken the index away and not yet the log: it is closing.
                Err(Failure::NeedsRecovery(_))
                    if closing < CLOSINGS && Instant::now() < deadline =>
                {
                    closing += 1;
                    std::thread::sleep(CLOSING);
                    continue;
                }
                opened => opened?,
            };
            let read = self.read_open(cx, &database);
            if !database.was_disturbed() {
                return read;
            }
            // What was read then may be wrong, also if it looks like damage.
            if tries == TRIES {
                return Err(Failure::Disturbed.into());
            }
            tries += 1;
        }
    }

    fn read_open(&self, cx: Cx<'_>, database: &Database) -> Result<Answer, Stop> {
        if self.0.quick_check {
            cx.phase("quick_check");
            let problems = database.quick_check()?;
            if !problems.is_empty() {
                return Err(Stop::Damaged(problems));
            }
        }
        cx.phase("query");
        Ok(database.query(self.0.query.as_deref().unwrap_or(LOOK))?)
    }

    fn judge(&self, cx: Cx<'_>, answer: &Answer, took: Duration) -> Status {
        let o = &self.0;
        let total = took.as_secs_f64();
        let latency = Upper::of_durations(o.latency_warn, o.latency_crit);
        cx.metric(latency.on(Metric::new("total", total).unit("s").min(0.0)));
        if let Ok(about) = std::fs::metadata(&*o.path) {
            cx.metric(Metric::new("size", about.len() as f64).unit("By").min(0.0));
        }
        let mut status = latency.judge(total);
        let mut said = Vec::new();
        if o.quick_check {
            said.push("quick_check ok".to_string());
        }
        if o.query.is_some() {
            let (judged, text) = self.judge_query(cx, answer);
            said.push(text);
            status = status.worst(judged);
        } else if !o.quick_check {
            said.push("readable".into());
        }
        cx.message(format_args!(
            "{} in {:.1} ms{}",
            said.join(", "),
            total * 1e3,
            latency.passed(total)
        ));
        status
    }

    fn judge_query(&self, cx: Cx<'_>, answer: &Answer) -> (Status, String) {
        let o = &self.0;
        let thresholds = Thresholds {
            warn: o.warn,
            crit: o.crit,
        };
        let cell = FirstCell::from(&answer.cell);
        let verdict = cell.report(cx, o.expect.as_ref(), &thresholds);
        let limits = Thresholds {
            warn: o.rows_warn,
            crit: o.rows_crit,
        };
        let rows = answer.rows as f64;
        cx.metric(limits.on(Metric::new("rows", rows).min(0.0)));
        let by_rows = limits.judge(rows);
        let mut text = format!("query returned {}", verdict.text);
        let range = match by_rows {
            Status::Critical => o.rows_crit,
            Status::Warn => o.rows_warn,
            _ => None,
        };
        if let Some(range) = range {
            text += &format!(", {} rows are outside of {range}", answer.rows);
        }
        (verdict.status.worst(by_rows), text)
    }

    fn failed(&self, cx: Cx<'_>, failure: &Failure, took: Duration) -> Status {
        let path = self.0.path.display();
        match failure {
            Failure::Interrupted | Failure::Locked
                if cx.is_cancelled() && cx.remaining() > ASKED + MARGIN =>
            {
                cx.message("cancelled");
                Status::Cancelled
            }
            Failure::Interrupted => cx.critical(format_args!(
                "{path}: not done after {:.1}s",
                took.as_secs_f64()
            )),
            Failure::Locked => {
                let who = locks::who_locks(&self.0.path);
                cx.critical(format_args!(
                    "{path}: is locked by {}, for {:.1}s",
                    who.as_deref().unwrap_or("another process"),
                    took.as_secs_f64()
                ))
            }
            Failure::File(e) if e.kind() == std::io::ErrorKind::NotFound => {
                cx.critical(format_args!("{path}: {failure}"))
            }
            // Our own lack of rights or descriptors says nothing about the database.
            Failure::File(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                cx.unknown(format_args!("{path}: {failure}"))
            }
            Failure::File(e) => cx.fail(&path.to_string(), e),
            Failure::NotAQuery(_) | Failure::NeedsRecovery(_) | Failure::Disturbed => {
                cx.unknown(format_args!("{path}: {failure}"))
            }
            Failure::Folder
            | Failure::Empty
            | Failure::NotADatabase
            | Failure::Corrupt(_)
            | Failure::Sql(_) => cx.critical(format_args!("{path}: {failure}")),
        }
    }
}
