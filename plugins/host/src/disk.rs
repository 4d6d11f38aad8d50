//! `disk`: is there room on the file systems, and for how long?
//!
//! What is mounted is read from mountinfo, which asks no file system; each one that counts is then asked by statvfs(2), on a
//! thread that may be left behind (`stuck`).

mod find;
#[cfg(test)]
mod tests;

use crate::mountinfo::{self, Mount};
use crate::report::{Floor, Grade, Report, time_text};
use crate::stuck::{Answer, Question, ask_each};
use find::{Space, Target};
use healthd_plugin::options::Bad::Below;
use healthd_plugin::options::{Amount, ReadPath, Size, size_text};
use healthd_plugin::thresholds::Lower;
use healthd_plugin::{BlockingCheck, Cx, Forecast, Kept, Metric, Status, options};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

options! {
    /// Free space and inodes of file systems, those that turned read-only, and when they will be full.
    pub struct Options {
        /// Paths whose file systems are looked at. Without any: all that are mounted and can be written.
        paths: Vec<ReadPath> = Vec::new(),
        /// Without paths: not these types of file systems, as patterns (`fuse.*`).
        exclude_types: Vec<String> = Vec::new(),
        /// Without paths: not these mount points, as patterns (`/mnt/*`).
        exclude_paths: Vec<String> = Vec::new(),
        /// Without paths: only file systems of at least this size.
        min_size: Size = Size(0),
        /// Warning if less is free for ordinary users: a share ("10%") or a size ("5GiB").
        free_warn: Option<Amount> { bad: Below } = Some(Amount::Percent(10.0)),
        /// Critical, likewise.
        free_crit: Option<Amount> = Some(Amount::Percent(5.0)),
        /// Warning if less of the inodes is free, in percent.
        inodes_warn: Option<f64> { min: 0, max: 100, bad: Below } = Some(10.0),
        /// Critical, likewise.
        inodes_crit: Option<f64> { min: 0, max: 100 } = Some(5.0),
        /// What a file system is that has turned read-only: `crit`, `warn` or `ok`.
        readonly: Grade = Grade::Crit,
        /// Warning if it will be full within this time, if it goes on like this.
        full_within_warn: Option<Duration> { bad: Below },
        /// Critical, likewise.
        full_within_crit: Option<Duration>,
        /// How long one file system may take to answer. Then it is unknown, and not asked again before it answers.
        mount_timeout: Duration = Duration::from_secs(3),
    }
}

/// So many file systems have metrics of their own, the fullest first.
const MEASURED: usize = 40;

pub struct Disk {
    options: Options,
    seen: Kept<BTreeMap<PathBuf, Seen>>,
}

/// What earlier runs saw of a file system.
struct Seen {
    whole: f64,
    was_writable: bool,
    used: Option<Forecast>,
}

impl BlockingCheck for Disk {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        let all_only = !options.exclude_types.is_empty() || !options.exclude_paths.is_empty();
        if !options.paths.is_empty() && all_only {
            return Err("paths: name what is looked at, so there is nothing to exclude".into());
        }
        Ok(Disk {
            options,
            seen: Kept::new(BTreeMap::new()),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        cx.phase("mountinfo");
        let mounts = match std::fs::read("/proc/self/mountinfo") {
            Ok(text) => mountinfo::parse(&text),
            Err(e) => return cx.unknown(format_args!("/proc/self/mountinfo: {e}")),
        };
        let targets = self.seen.with(|seen| {
            let was_writable = |point: &Path| seen.get(point).is_some_and(|s| s.was_writable);
            find::targets(&mounts, &self.options, was_writable)
        });
        if targets.is_empty() {
            return cx.unknown("nothing that is mounted is to be looked at");
        }
        cx.phase("statvfs");
        let paths: Vec<PathBuf> = targets.iter().map(|t| t.path.clone()).collect();
        // Some that are silent must not take the time of all.
        let patience = self.options.mount_timeout.min(cx.remaining() / 3);
        match ask_each(&paths, patience, &STATVFS) {
            Ok(answers) => self.judge(cx, &mounts, &targets, answers),
            Err(e) => {
                cx.message(format_args!("no thread to ask file systems with: {e}"));
                Status::Resources
            }
        }
    }
}

const STATVFS: Question<io::Result<Space>> = Question {
    name: "statvfs",
    ask: Space::of,
};

/// A file system that has answered.
struct Found {
    name: String,
    space: Space,
}

impl Disk {
    fn judge(
        &self,
        cx: Cx<'_>,
        mounts: &[Mount],
        targets: &[Target],
        answers: Vec<Answer<io::Result<Space>>>,
    ) -> Status {
        let mut report = Report::new(cx);
        let mut found = Vec::new();
        for (target, answer) in targets.iter().zip(answers) {
            let name = &target.name;
            match answer {
                Answer::Got(Ok(space)) => {
                    // Only now the device of a path is known, whatever links lead there.
                    let mount = find::mount_of(mounts, target, &space);
                    let Some(space) = self.fits(target, mount, space, &mut report) else {
                        continue;
                    };
                    let name = match mount {
                        Some(mount) if target.is_named && mount.point != target.path => {
                            format!("{name} (on {})", mount.point.display())
                        }
                        _ => name.clone(),
                    };
                    self.judge_writes(target, mount, &name, &mut report);
                    found.push(Found { name, space });
                }
                // Gone since mountinfo was read.
                Answer::Got(Err(e)) if e.kind() == io::ErrorKind::NotFound && !target.is_named => {}
                Answer::Got(Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                    report.add(
                        Status::Critical,
                        format!("{name}: no such file or directory"),
                    );
                }
                Answer::Got(Err(e)) => {
                    let (_, text) = healthd_plugin::failure(name, &e);
                    report.add(Status::Unknown, text);
                }
                Answer::Silent(since) => report.add(
                    Status::Unknown,
                    format!(
                        "{name} does not answer for {} (one thread waits for it)",
                        time_text(since.as_secs_f64().round().max(1.0))
                    ),
                ),
            }
        }
        let names: Vec<&PathBuf> = targets.iter().map(|t| &t.path).collect();
        self.seen
            .with(|seen| seen.retain(|path, _| names.contains(&path)));
        found.sort_by(|a, b| a.space.free_share().total_cmp(&b.space.free_share()));
        for (i, one) in found.iter().enumerate() {
            self.judge_space(cx, one, found.len() == 1, i < MEASURED, &mut report);
        }
        match &found[..] {
            [] if report.is_fine() => {
                let least = self.options.min_size;
                report.add(
                    Status::Unknown,
                    format!("no file system is of at least {least}"),
                );
            }
            [] => {}
            [one] => report.say(one.text()),
            [first, ..] => report.say(format!(
                "{} file systems, fullest: {}",
                found.len(),
                first.text()
            )),
        }
        let table: String = found.iter().map(|f| f.text() + "\n").collect();
        cx.detail(table);
        report.end()
    }

    /// The space, if it is one to judge.
    fn fits(
        &self,
        target: &Target,
        mount: Option<&Mount>,
        space: Space,
        report: &mut Report<'_>,
    ) -> Option<Space> {
        let name = &target.name;
        if let Some(by) = mount.and_then(Mount::stand_in) {
            if target.is_named {
                report.add(
                    Status::Unknown,
                    format!("{name} is hidden from this service by {by}"),
                );
            }
            return None;
        }
        if space.whole() <= 0.0 {
            if target.is_named {
                report.add(
                    Status::Unknown,
                    format!("{name}: this file system has no size"),
                );
            }
            return None;
        }
        (target.is_named || space.whole() >= self.options.min_size.0 as f64).then_some(space)
    }

    fn judge_writes(
        &self,
        target: &Target,
        mount: Option<&Mount>,
        name: &str,
        report: &mut Report<'_>,
    ) {
        let Some(mount) = mount else { return };
        let was_writable = self.seen.with(|seen| {
            let seen = seen.entry(target.path.clone()).or_insert(Seen {
                whole: 0.0,
                was_writable: false,
                used: None,
            });
            seen.was_writable |= !mount.is_read_only();
            seen.was_writable
        });
        let turned = mount.has_turned_read_only() || (was_writable && mount.is_read_only());
        if turned && self.options.readonly != Grade::Ok {
            report.add(
                self.options.readonly.status(),
                format!("{name} has turned read-only"),
            );
        }
    }

    fn judge_space(
        &self,
        cx: Cx<'_>,
        found: &Found,
        is_only: bool,
        is_measured: bool,
        report: &mut Report<'_>,
    ) {
        let (o, space) = (&self.options, &found.space);
        let metric =
            |name: &str, value: f64, unit: &'static str, limits: Lower, max: Option<f64>| {
                if is_measured {
                    let name = match is_only {
                        true => name.to_owned(),
                        false => format!("{name}:{}", found.name),
                    };
                    cx.metric(limits.on(Metric::new(&name, value).unit(unit).min(0.0).max(max)));
                }
            };
        let whole = space.whole();
        let floor = Floor {
            warn: o.free_warn,
            crit: o.free_crit,
        };
        metric("used", space.used, "By", Lower::default(), Some(whole));
        metric("free", space.available, "By", floor.of(whole), Some(whole));
        metric(
            "free_share",
            space.free_share(),
            "%",
            Lower::default(),
            Some(100.0),
        );
        let (status, limit) = floor.judge(space.available, whole);
        if let Some(limit) = limit {
            report.add(status, format!("{}, below {limit}", found.text()));
        }
        let inodes = Lower {
            warn: o.inodes_warn,
            crit: o.inodes_crit,
        };
        if let Some(share) = space.free_inodes() {
            metric("inodes_free", share, "%", inodes, Some(100.0));
            let status = inodes.judge(share);
            if status != Status::Ok {
                report.add(
                    status,
                    format!("{} {share:.1} % of the inodes free", found.name),
                );
            }
        }
        let Some((growth, full_in)) = self.forecast(cx, found) else {
            return;
        };
        metric("growth", growth, "By/s", Lower::default(), None);
        let Some(full_in) = full_in else { return };
        let limits = Lower {
            warn: o.full_within_warn.map(|d| d.as_secs_f64()),
            crit: o.full_within_crit.map(|d| d.as_secs_f64()),
        };
        metric("full_in", full_in, "s", limits, None);
        let status = limits.judge(full_in);
        if status != Status::Ok {
            report.add(
                status,
                format!("{} will be full in {}", found.name, time_text(full_in)),
            );
        }
    }

    /// How fast it grows, and in how many seconds it will be full; None: not asked for, or not known yet.
    fn forecast(&self, cx: Cx<'_>, found: &Found) -> Option<(f64, Option<f64>)> {
        let horizon = self
            .options
            .full_within_warn
            .max(self.options.full_within_crit)?;
        let (path, space) = (&found.space.path, &found.space);
        self.seen.with(|all| {
            let seen = all.get_mut(path)?;
            let used = seen.used.get_or_insert_with(|| Forecast::within(horizon));
            // Grown, or another one: its past says nothing.
            if (seen.whole - space.whole()).abs() > space.whole() / 100.0 {
                seen.whole = space.whole();
                used.forget();
            }
            used.add(cx.now_ns(), space.used);
            let full_in = used.reaches(space.whole());
            Some((used.slope()?, full_in.map(|d| d.as_secs_f64())))
        })
    }
}

impl Found {
    fn text(&self) -> String {
        format!(
            "{} {} free ({:.1} %)",
            self.name,
            size_text(self.space.available),
            self.space.free_share()
        )
    }
}
