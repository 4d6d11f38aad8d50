//! `log`: which new lines of a file match?
//!
//! Reads on from where the last run stopped, over rotation, truncation and copytruncate: each line counts once. Where it stopped is
//! kept by the manager, so that another worker, a reload or a new version of this library goes on there.

mod follow;
mod lines;
#[cfg(test)]
mod tests;

use crate::matching::{Limits, Patterns, Seen, Window, now};
use crate::place::Place;
use crate::report::{Grade, Report, Unit, time_text};
use crate::stuck::{Answer, Question, ask};
use follow::{Follow, Position};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::{ReadPath, Size, size_text};
use healthd_plugin::serde_json::{Value, json};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{BlockingCheck, Cx, Metric, Status, options};
use std::io;
use std::path::Path;
use std::time::Duration;

options! {
    /// Follows a file that is written line by line, and counts the lines that match.
    pub struct Options {
        /// The file.
        path: ReadPath,
        /// Regular expressions: a line counts if one of them matches somewhere in it. Without any, every line does.
        pattern: Vec<String> = Vec::new(),
        /// Regular expressions: a line does not count if one of them matches.
        ignore: Vec<String> = Vec::new(),
        /// Warning if more lines matched within `window`.
        count_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        count_crit: Option<u64> = Some(0),
        /// The time in which matches are counted.
        window: Duration = Duration::from_secs(300),
        /// Warning if more lines a second are written, since the last run.
        rate_warn: Option<f64> { min: 0, bad: Above },
        /// Critical, likewise.
        rate_crit: Option<f64> { min: 0 },
        /// Where the first run begins: at the `end` of the file, or at its `begin`.
        from: From = From::End,
        /// What a file is that does not exist: `crit`, `warn` or `ok`.
        missing: Grade = Grade::Crit,
        /// At most so much is read in one run; the next one goes on there.
        max_read: Size = Size(64 << 20),
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum From { End = "end", Begin = "begin" }
}

pub struct Log {
    options: Options,
    patterns: Patterns,
    place: Place,
}

/// What the next run must know.
#[derive(Debug, Default)]
struct State {
    position: Option<Position>,
    window: Window,
    /// Seconds since 1970.
    at: u64,
}

impl BlockingCheck for Log {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Log {
            patterns: Patterns::new(&o.pattern, &o.ignore)?,
            options: o,
            place: Place::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let path: &Path = &self.options.path;
        cx.phase("stat");
        match ask(path.parent().unwrap_or(path), cx.remaining() / 3, &STAT) {
            Ok(Answer::Got(())) => {}
            Ok(Answer::Silent(since)) => {
                let since = time_text(since.as_secs_f64().round().max(1.0));
                return cx.unknown(format_args!(
                    "{}: its file system does not answer for {since} (one thread waits for it)",
                    path.display()
                ));
            }
            Err(e) => {
                cx.message(format_args!("no thread to ask the file system with: {e}"));
                return Status::Resources;
            }
        }
        let mut report = Report::new(cx);
        cx.phase("state");
        let before = match self.place.read(cx) {
            Ok(value) => State::from_json(value.as_ref(), path),
            Err(e) => return cx.unknown(format_args!("where the last run stopped: {e}")),
        };
        cx.phase("read");
        let follow = Follow {
            path,
            from_end: self.options.from == From::End,
            most: self.options.max_read.0,
            is_cancelled: &|| cx.is_cancelled(),
        };
        let mut seen = Seen::default();
        match follow.read(before.position.as_ref(), |line| {
            seen.line(&self.patterns, line)
        }) {
            Ok(read) => {
                let mut state = State {
                    position: Some(read.position),
                    window: before.window,
                    at: now(),
                };
                state
                    .window
                    .add(state.at, self.options.window, seen.matches);
                cx.phase("state");
                // Only now it counts: had another run been faster, these lines would be its.
                match self.place.write(cx, &state.to_json(path)) {
                    Ok(true) => {}
                    Ok(false) => return cx.ok("another run has counted these lines"),
                    Err(e) => {
                        report.add(
                            Status::Unknown,
                            format!("where this run stopped is not kept: {e}"),
                        );
                    }
                }
                let first = before.position.is_none();
                self.judge(
                    cx,
                    &state,
                    (!first).then_some(before.at),
                    &seen,
                    &mut report,
                );
                for note in read.notes {
                    report.add(Status::Unknown, note);
                }
                if read.behind > 0 {
                    report.say(format!(
                        "{} are left for the next run",
                        size_text(read.behind as f64)
                    ));
                }
                cx.metric(Metric::new("lag", read.behind as f64).unit("By").min(0.0));
                if first {
                    report.say(match self.options.from {
                        From::End => "first run: begins at the end of the file",
                        From::Begin => "first run: begins with the first line",
                    });
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => report.add(
                self.options.missing.status(),
                format!("{}: there is none", path.display()),
            ),
            Err(e) => {
                let (_, text) = healthd_plugin::failure(&path.display().to_string(), &e);
                report.add(Status::Unknown, text);
            }
        }
        report.end()
    }
}

const STAT: Question<()> = Question {
    name: "stat",
    ask: |path| drop(std::fs::metadata(path)),
};

impl Log {
    fn judge(
        &self,
        cx: Cx<'_>,
        state: &State,
        before: Option<u64>,
        seen: &Seen,
        report: &mut Report<'_>,
    ) {
        let o = &self.options;
        let count = |n: Option<u64>| n.map(|n| n as f64);
        let limits = Limits {
            count: Upper {
                warn: count(o.count_warn),
                crit: count(o.count_crit),
            },
            window: o.window,
        };
        limits.judge(cx, &state.window, seen, report);
        let seconds = before
            .and_then(|at| state.at.checked_sub(at))
            .filter(|s| *s > 0);
        if let Some(seconds) = seconds {
            let rate = seen.lines as f64 / seconds as f64;
            let limits = Upper {
                warn: o.rate_warn,
                crit: o.rate_crit,
            };
            let metric = Metric::new("rate", rate).unit("1/s").min(0.0);
            report.upper(
                limits,
                metric,
                rate,
                &format!("{rate:.1} lines/s"),
                Unit::PerSecond,
            );
        }
    }
}

impl State {
    fn to_json(&self, path: &Path) -> Value {
        json!({
            "path": path.to_string_lossy(),
            "position": self.position.as_ref().map(Position::to_json),
            "window": self.window.to_json(),
            "at": self.at,
        })
    }

    /// What cannot be read is as if there were none: the run then says that it is the first.
    fn from_json(value: Option<&Value>, path: &Path) -> State {
        // Of another file: the check was changed.
        let value = value.filter(|v| v["path"] == *path.to_string_lossy());
        let part = |key: &str| value.and_then(|v| v.get(key));
        State {
            position: part("position").and_then(Position::from_json),
            window: part("window")
                .and_then(Window::from_json)
                .unwrap_or_default(),
            at: part("at").and_then(Value::as_u64).unwrap_or(0),
        }
    }
}
