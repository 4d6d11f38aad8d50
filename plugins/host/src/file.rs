//! `file`: is it there, new enough, of the right size, owner and content?
//!
//! Nothing but a regular file is ever opened, and never more of it is read than asked for. Missing and unreadable are two things.

mod content;
mod find;
#[cfg(test)]
mod tests;

use crate::glob;
use crate::report::{Report, Unit, time_text};
use crate::stuck::{Answer, Question, ask};
use content::Content;
use find::{Entry, Found, Kind};
use healthd_plugin::options::Bad::{Above, Below};
use healthd_plugin::options::{ReadPath, Size, Thresholds, size_text};
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{BlockingCheck, Cx, Delta, Kept, Metric, Range, Status, Width, options};
use std::io;
use std::path::Path;
use std::time::Duration;

options! {
    /// Files: there or not, age, size, growth, number, owner, mode and content.
    pub struct Options {
        /// The file or folder; or a pattern (`/var/spool/jobs/*.job`), which stands for all files that match.
        path: ReadPath,
        /// Whether there must be one; false: that there is one is critical.
        exists: bool = true,
        /// What it must be.
        r#type: Option<Kind>,
        /// Look at what a symbolic link leads to; false: at the link itself.
        follow: bool = true,
        /// Of many files: whose age counts, the `newest` or the `oldest`.
        age_of: AgeOf = AgeOf::Newest,
        /// Warning if it was modified longer ago.
        age_warn: Option<Duration> { bad: Above },
        /// Critical, likewise.
        age_crit: Option<Duration>,
        /// Warning if it was modified more recently.
        age_min_warn: Option<Duration> { bad: Below },
        /// Critical, likewise.
        age_min_crit: Option<Duration>,
        /// Warning if the size in bytes, of all together, is outside of this range.
        size_warn: Option<Range>,
        /// Critical, likewise.
        size_crit: Option<Range>,
        /// Warning if all together grew by more bytes a second since the last run.
        growth_warn: Option<Size> { bad: Above },
        /// Critical, likewise.
        growth_crit: Option<Size>,
        /// Warning if the number of files that match, or of entries in the folder, is outside of this range.
        count_warn: Option<Range>,
        /// Critical, likewise.
        count_crit: Option<Range>,
        /// The permissions it must have, in octal: "640". Anything else is critical.
        mode: Option<String> { pattern: "^[0-7]{3,4}$" },
        /// The user who must own it, a name or a number.
        owner: Option<String> { min_length: 1 },
        /// The group it must have, a name or a number.
        group: Option<String> { min_length: 1 },
        /// Where the path, a symbolic link, must lead, word by word.
        link: Option<String> { min_length: 1 },
        /// The SHA-256 of its bytes, in hex.
        sha256: Option<String> { pattern: "^[0-9A-Fa-f]{64}$" },
        /// A regular expression that must match in it.
        contains: Option<String> { min_length: 1 },
        /// A regular expression that must not match in it.
        contains_not: Option<String> { min_length: 1 },
        /// Files that are larger are not read for `sha256` and `contains`: they are unknown.
        max_read: Size = Size(16 << 20),
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum AgeOf { Newest = "newest", Oldest = "oldest" }
}

pub struct File {
    options: Options,
    content: Content,
    mode: Option<u32>,
    owner: Option<u32>,
    group: Option<u32>,
    size: Kept<Delta>,
}

impl BlockingCheck for File {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let mode = o.mode.as_deref().map(|m| u32::from_str_radix(m, 8));
        let is_pattern = glob::is_pattern(&o.path.to_string_lossy());
        if is_pattern && o.link.is_some() {
            return Err("link: path is a pattern, and stands for many".into());
        }
        Ok(File {
            content: Content::new(&o)?,
            mode: mode.transpose().map_err(|e| format!("mode: {e}"))?,
            owner: o.owner.as_deref().map(find::uid).transpose()?,
            group: o.group.as_deref().map(find::gid).transpose()?,
            options: o,
            size: Kept::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let path = &self.options.path;
        cx.phase("stat");
        // A dead file server: this says so, and everything after it would hang.
        match ask(find::fixed_part(path), cx.remaining() / 3, &STAT) {
            Ok(Answer::Got(_)) => {}
            Ok(Answer::Silent(since)) => {
                return cx.unknown(format_args!(
                    "{}: its file system does not answer for {} (one thread waits for it)",
                    path.display(),
                    time_text(since.as_secs_f64().round().max(1.0))
                ));
            }
            Err(e) => {
                cx.message(format_args!("no thread to ask the file system with: {e}"));
                return Status::Resources;
            }
        }
        let mut report = Report::new(cx);
        match find::find(cx, path, self.options.follow, self.counts_entries()) {
            Ok(found) => self.judge(cx, &found, &mut report),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.judge_missing(&mut report),
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

impl File {
    /// The entries of a folder are only counted where that is asked for: there may be a million.
    fn counts_entries(&self) -> bool {
        self.options
            .count_warn
            .or(self.options.count_crit)
            .is_some()
    }

    fn judge_missing(&self, report: &mut Report<'_>) {
        let path = self.options.path.display();
        match self.options.exists {
            true => report.add(Status::Critical, format!("{path}: there is none")),
            false => report.say(format!("{path}: there is none")),
        }
    }

    fn judge(&self, cx: Cx<'_>, found: &Found, report: &mut Report<'_>) {
        let (o, path) = (&self.options, self.options.path.display());
        for (path, e) in &found.unreadable {
            let (_, text) = healthd_plugin::failure(&path.display().to_string(), e);
            report.add(Status::Unknown, text);
        }
        let count = found.count as f64;
        let is_counted = found.is_pattern || self.counts_entries();
        if is_counted {
            let what = match found.is_pattern {
                true => "files match",
                false => "entries",
            };
            let limits = Thresholds {
                warn: o.count_warn,
                crit: o.count_crit,
            };
            cx.metric(limits.on(Metric::new("count", count).min(0.0)));
            outside(report, limits, count, format!("{path}: {count} {what}"));
        }
        if !o.exists {
            // Counted above, if many may be there: a limit on the count says how many.
            if !found.entries.is_empty() && !self.counts_entries() {
                report.add(Status::Critical, format!("{path} is there"));
            }
            return;
        }
        if found.entries.is_empty() {
            if found.unreadable.is_empty() && !self.counts_entries() {
                self.judge_missing(report);
            }
            return;
        }
        self.judge_age(found, report);
        self.judge_size(cx, found, report);
        if let Some(wanted) = &o.link {
            self.judge_link(wanted, report);
        }
        for entry in &found.entries {
            self.judge_entry(cx, entry, report);
        }
    }

    fn judge_age(&self, found: &Found, report: &mut Report<'_>) {
        let o = &self.options;
        let (seconds, name) = match o.age_of {
            AgeOf::Newest => (found.entries.iter().min_by(by_age), "the newest"),
            AgeOf::Oldest => (found.entries.iter().max_by(by_age), "the oldest"),
        };
        let Some(entry) = seconds else { return };
        let shown = match found.is_pattern {
            true => format!("{name}, {}", entry.path.display()),
            false => entry.path.display().to_string(),
        };
        let limits = Upper::of_durations(o.age_warn, o.age_crit);
        let text = format!("{shown} was modified {} ago", time_text(entry.age));
        let metric = Metric::new("age", entry.age).unit("s");
        report.upper(limits, metric, entry.age, &text, Unit::Time);
        let young = Lower {
            warn: o.age_min_warn.map(|d| d.as_secs_f64()),
            crit: o.age_min_crit.map(|d| d.as_secs_f64()),
        };
        let status = young.judge(entry.age);
        if status != Status::Ok {
            report.add(
                status,
                format!("{shown} was modified only {} ago", time_text(entry.age)),
            );
        }
        report.say(text);
    }

    fn judge_size(&self, cx: Cx<'_>, found: &Found, report: &mut Report<'_>) {
        let o = &self.options;
        let size: u64 = found.entries.iter().map(|e| e.size).sum();
        let limits = Thresholds {
            warn: o.size_warn,
            crit: o.size_crit,
        };
        cx.metric(limits.on(Metric::new("size", size as f64).unit("By").min(0.0)));
        outside(report, limits, size as f64, format!("{size} bytes"));
        report.say(size_text(size as f64));
        let limits = Upper {
            warn: o.growth_warn.map(|s| s.0 as f64),
            crit: o.growth_crit.map(|s| s.0 as f64),
        };
        let growth = self
            .size
            .with(|delta| delta.next(Width::Bits64, size, cx.now_ns()));
        match growth.rate() {
            Some(rate) => {
                let metric = Metric::new("growth", rate).unit("By/s");
                let text = format!("it grows by {}/s", size_text(rate));
                report.upper(limits, metric, rate, &text, Unit::BytesPerSecond);
            }
            None if limits != Upper::default() => report.say("no growth known yet"),
            None => {}
        }
    }

    fn judge_link(&self, wanted: &str, report: &mut Report<'_>) {
        let path: &Path = &self.options.path;
        let (status, text) = match std::fs::read_link(path) {
            Ok(target) if target == Path::new(wanted) => return,
            Ok(target) => (
                Status::Critical,
                format!("leads to {}, not {wanted}", target.display()),
            ),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                (Status::Critical, "is no symbolic link".to_owned())
            }
            Err(e) => (Status::Unknown, healthd_plugin::failure("readlink", &e).1),
        };
        report.add(status, format!("{} {text}", path.display()));
    }

    fn judge_entry(&self, cx: Cx<'_>, entry: &Entry, report: &mut Report<'_>) {
        let path = entry.path.display();
        if let Some(kind) = self.options.r#type
            && kind != entry.kind
        {
            report.add(
                Status::Critical,
                format!("{path} is a {}, not a {}", entry.kind.name(), kind.name()),
            );
        }
        let mode = entry.mode & 0o7777;
        if let Some(wanted) = self.mode.filter(|m| *m != mode) {
            report.add(
                Status::Critical,
                format!("{path} has mode {mode:03o}, not {wanted:03o}"),
            );
        }
        let owners = [
            (
                "owner",
                self.owner,
                entry.uid,
                find::user_name(entry.uid),
                &self.options.owner,
            ),
            (
                "group",
                self.group,
                entry.gid,
                find::group_name(entry.gid),
                &self.options.group,
            ),
        ];
        for (what, wanted, is, name, text) in owners {
            if wanted.is_some_and(|id| id != is) {
                let text = text.as_deref().unwrap_or_default();
                report.add(
                    Status::Critical,
                    format!("{path} has the {what} {name}, not {text}"),
                );
            }
        }
        self.content.judge(cx, entry, report);
    }
}

fn by_age(a: &&Entry, b: &&Entry) -> std::cmp::Ordering {
    a.age.total_cmp(&b.age)
}

fn outside(report: &mut Report<'_>, limits: Thresholds, value: f64, text: String) {
    let status = limits.judge(value);
    let range = match status {
        Status::Critical => limits.crit,
        Status::Warn => limits.warn,
        _ => None,
    };
    if let Some(range) = range {
        report.add(status, format!("{text}, outside of {range}"));
    }
}
