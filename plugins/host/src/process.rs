//! `process`: are the right processes there, in the right number and state?
//!
//! A process is its pid and its start time: pids are used again. What this daemon may not see is said, not counted as absent.

mod pidfile;
mod table;
#[cfg(test)]
mod tests;

use crate::kernel::Kernel;
use crate::report::{Report, Unit, time_text};
use healthd_plugin::options::Bad::{Above, Below};
use healthd_plugin::options::{ReadPath, Size, Thresholds, size_text};
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{BlockingCheck, Cx, Delta, Kept, Metric, Range, Status, Width, options};
use pidfile::Named;
use regex_lite::Regex;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use table::{Process, Table};

options! {
    /// Processes of this machine: how many, in which state, and what they use.
    pub struct Options {
        /// The process's name (`comm`, at most 15 characters): a regular expression that must match all of it.
        name: Option<String> { min_length: 1 },
        /// Its program's path: a regular expression that must match all of it.
        exe: Option<String> { min_length: 1 },
        /// Its command line: a regular expression that must match somewhere.
        cmdline: Option<String> { min_length: 1 },
        /// A file with its pid.
        pidfile: Option<ReadPath>,
        /// Its user, a name or a number.
        user: Option<String> { min_length: 1 },
        /// Warning if the number of processes is outside of this range.
        count_warn: Option<Range>,
        /// Critical if the number of processes is outside of this range.
        count_crit: Range = "1:".parse::<Range>().expect("a range"),
        /// Count what their children use too, and their children's.
        children: bool = false,
        /// Warning if more of them are zombies.
        zombies_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        zombies_crit: Option<u64>,
        /// Warning if more of them wait for a disk without being interruptible (state D).
        blocked_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        blocked_crit: Option<u64>,
        /// Warning if all of them together use more of a processor, in percent of one.
        cpu_warn: Option<f64> { min: 0, bad: Above },
        /// Critical, likewise.
        cpu_crit: Option<f64> { min: 0 },
        /// Warning if all of them together have more resident memory.
        rss_warn: Option<Size> { bad: Above },
        /// Critical, likewise.
        rss_crit: Option<Size>,
        /// Warning if all of them together have more memory, what they share counted once (PSS).
        pss_warn: Option<Size> { bad: Above },
        /// Critical, likewise.
        pss_crit: Option<Size>,
        /// Warning if one of them uses more of its file descriptors, in percent.
        fds_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        fds_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if the oldest is younger: it was restarted.
        age_min_warn: Option<Duration> { bad: Below },
        /// Critical, likewise.
        age_min_crit: Option<Duration>,
        /// Warning if the oldest is older: it hangs.
        age_max_warn: Option<Duration> { bad: Above },
        /// Critical, likewise.
        age_max_crit: Option<Duration>,
        /// Warning if the oldest was another one more often within `restarts_within`.
        restarts_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        restarts_crit: Option<u64>,
        /// The time in which restarts are counted.
        restarts_within: Duration = Duration::from_secs(3600),
    }
}

pub struct Processes {
    options: Options,
    kernel: Kernel,
    filter: Filter,
    before: Kept<Before>,
}

struct Filter {
    name: Option<Regex>,
    exe: Option<Regex>,
    cmdline: Option<Regex>,
    user: Option<String>,
}

/// Pid and start time: who it is.
type Identity = (u32, u64);

#[derive(Default)]
struct Before {
    ticks: BTreeMap<Identity, Delta>,
    oldest: Option<Identity>,
    /// When the oldest was another one than before, in nanoseconds.
    restarts: VecDeque<u64>,
    has_run: bool,
}

impl BlockingCheck for Processes {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let whole = |name: &str, text: &Option<String>| regex(name, text, |t| format!("^(?:{t})$"));
        let filter = Filter {
            name: whole("name", &o.name)?,
            exe: whole("exe", &o.exe)?,
            cmdline: regex("cmdline", &o.cmdline, str::to_owned)?,
            user: o.user.clone(),
        };
        let names = [&o.name, &o.exe, &o.cmdline, &o.user];
        if names.iter().all(|n| n.is_none()) && o.pidfile.is_none() {
            return Err("name: missing; or give exe, cmdline, pidfile or user".into());
        }
        Ok(Processes {
            options: o,
            kernel: Kernel::default(),
            filter,
            before: Kept::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        cx.phase("/proc");
        let user = match self.filter.user.as_deref().map(uid_of).transpose() {
            Ok(user) => user,
            Err(why) => return cx.unknown(why),
        };
        let mut table = match Table::read(&self.kernel, || cx.is_cancelled()) {
            Ok(table) => table,
            Err(e) => return cx.unknown(format_args!("/proc: {e}")),
        };
        let mut report = Report::new(cx);
        let named = match &self.options.pidfile {
            None => None,
            Some(path) => match pidfile::read(&self.kernel, path, &table) {
                Named::Process(pid) => Some(pid),
                Named::Bad(status, why) => {
                    report.add(status, why);
                    return report.end();
                }
            },
        };
        let found = self.find(&mut table, named, user);
        self.judge_count(cx, &table, &found, &mut report);
        if !found.is_empty() {
            self.judge_use(cx, &table, &found, &mut report);
        }
        self.judge_age(cx, &table, &found, &mut report);
        if table.hidden > 0 && report.is_fine() {
            report.say(format!("{} processes could not be looked at", table.hidden));
        }
        report.end()
    }
}

fn regex(
    name: &str,
    text: &Option<String>,
    wrap: impl Fn(&str) -> String,
) -> Result<Option<Regex>, String> {
    let compiled = text.as_deref().map(|t| Regex::new(&wrap(t))).transpose();
    compiled.map_err(|e| format!("{name}: {e}"))
}

fn uid_of(user: &str) -> Result<u32, String> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    match nix::unistd::User::from_name(user) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("user: there is no {user:?}")),
        Err(e) => Err(format!("user {user:?}: {e}")),
    }
}

/// One limit in numbers, of any type.
fn upper<T>(warn: Option<T>, crit: Option<T>, number: impl Fn(T) -> f64) -> Upper {
    Upper {
        warn: warn.map(&number),
        crit: crit.map(&number),
    }
}

impl Processes {
    fn find(&self, table: &mut Table, named: Option<u32>, user: Option<u32>) -> Vec<Process> {
        let f = &self.filter;
        let mut found = Vec::new();
        let mut hidden = 0;
        for process in &table.all {
            if named.is_some_and(|pid| process.pid != pid)
                || f.name.as_ref().is_some_and(|r| !r.is_match(&process.name))
            {
                continue;
            }
            let rest = || -> Option<bool> {
                let pid = process.pid;
                if let Some(uid) = user
                    && table::uid(&self.kernel, pid)? != uid
                {
                    return Some(false);
                }
                if let Some(r) = &f.cmdline
                    && !r.is_match(&table::cmdline(&self.kernel, pid)?)
                {
                    return Some(false);
                }
                if let Some(r) = &f.exe
                    && !r.is_match(&table::exe(&self.kernel, pid)?)
                {
                    return Some(false);
                }
                // The same one still? Its pid may be another's since its line was read.
                Some(table::stat(&self.kernel, pid)?.start == process.start)
            };
            match rest() {
                Some(true) => found.push(process.clone()),
                Some(false) => {}
                // It has ended meanwhile, or may not be looked at.
                None => hidden += u32::from(table::stat(&self.kernel, process.pid).is_some()),
            }
        }
        table.hidden = hidden;
        found.sort_by_key(|p| (p.start, p.pid));
        found
    }

    fn judge_count(&self, cx: Cx<'_>, table: &Table, found: &[Process], report: &mut Report<'_>) {
        let o = &self.options;
        let limits = Thresholds {
            warn: o.count_warn,
            crit: Some(o.count_crit),
        };
        let zombies = found.iter().filter(|p| p.state == 'Z').count();
        let blocked = found.iter().filter(|p| p.state == 'D').count();
        let count = (found.len() - zombies) as f64;
        cx.metric(limits.on(Metric::new("count", count).min(0.0)));
        let text = match count {
            1.0 => "1 process".to_owned(),
            n => format!("{n} processes"),
        };
        let status = limits.judge(count);
        let blind = table.is_partial() || table.hidden > 0;
        // Would more processes, which are there and not seen, change it?
        if blind && limits.judge(f64::MAX) != status {
            let why = match table.is_partial() {
                true => {
                    "other users' processes are hidden from this service (ProtectProc or hidepid)"
                        .into()
                }
                false => format!("{} processes could not be looked at", table.hidden),
            };
            report.add(
                Status::Unknown,
                format!("cannot see: {text} found, and {why}"),
            );
        } else {
            let broken = match status {
                Status::Critical => Some(o.count_crit),
                Status::Warn => o.count_warn,
                _ => None,
            };
            match broken {
                Some(range) => report.add(status, format!("{text}, not {range}")),
                None => report.say(text),
            }
        }
        let rows = [
            (
                "zombies",
                "zombies",
                zombies,
                o.zombies_warn,
                o.zombies_crit,
            ),
            (
                "blocked",
                "wait for a disk (state D)",
                blocked,
                o.blocked_warn,
                o.blocked_crit,
            ),
        ];
        for (name, what, n, warn, crit) in rows {
            let limits = upper(warn, crit, |n| n as f64);
            let metric = Metric::new(name, n as f64).min(0.0);
            report.upper(
                limits,
                metric,
                n as f64,
                &format!("{n} {what}"),
                Unit::Plain,
            );
        }
    }

    fn judge_use(&self, cx: Cx<'_>, table: &Table, found: &[Process], report: &mut Report<'_>) {
        let o = &self.options;
        let counted = match o.children {
            true => table.with_children(found),
            false => found.to_vec(),
        };
        let rss: f64 = counted.iter().map(|p| p.rss as f64).sum();
        let metric = Metric::new("rss", rss).unit("By").min(0.0);
        let text = format!("{} resident", size_text(rss));
        let bytes = |s: Size| s.0 as f64;
        report.upper(
            upper(o.rss_warn, o.rss_crit, bytes),
            metric,
            rss,
            &text,
            Unit::Bytes,
        );
        report.say(text);
        let threads: f64 = counted.iter().map(|p| p.threads as f64).sum();
        cx.metric(Metric::new("threads", threads).min(0.0));
        self.judge_cpu(cx, &counted, report);
        if o.pss_warn.or(o.pss_crit).is_some() {
            let pss: Option<u64> = counted
                .iter()
                .map(|p| table::pss(&self.kernel, p.pid))
                .sum();
            match pss {
                Some(pss) => {
                    let pss = pss as f64;
                    let metric = Metric::new("pss", pss).unit("By").min(0.0);
                    let text = format!("{} of memory", size_text(pss));
                    report.upper(
                        upper(o.pss_warn, o.pss_crit, bytes),
                        metric,
                        pss,
                        &text,
                        Unit::Bytes,
                    );
                }
                None => report.add(
                    Status::Unknown,
                    "pss: no right to read smaps_rollup of these processes",
                ),
            }
        }
        let limits = upper(o.fds_warn, o.fds_crit, |v| v);
        let shares = found
            .iter()
            .filter(|p| p.state != 'Z')
            .map(|p| table::fds(&self.kernel, p.pid));
        match shares.collect::<Option<Vec<_>>>() {
            Some(all) => {
                let most = all
                    .into_iter()
                    .max_by(|a, b| a.share().total_cmp(&b.share()));
                if let Some(fds) = most {
                    let share = fds.share();
                    cx.metric(Metric::new("fds", fds.open as f64).min(0.0).max(fds.limit));
                    let metric = Metric::new("fds_share", share)
                        .unit("%")
                        .min(0.0)
                        .max(100.0);
                    let text = format!(
                        "{} file descriptors open, {share:.1} % of the limit",
                        fds.open
                    );
                    report.upper(limits, metric, share, &text, Unit::Percent);
                }
            }
            None if limits != Upper::default() => {
                report.add(
                    Status::Unknown,
                    "fds: no right to see the descriptors of these processes",
                );
            }
            None => {}
        }
    }

    fn judge_cpu(&self, cx: Cx<'_>, counted: &[Process], report: &mut Report<'_>) {
        let o = &self.options;
        let limits = upper(o.cpu_warn, o.cpu_crit, |v| v);
        let now = cx.now_ns();
        let (rates, was_first) = self.before.with(|before| {
            let mut old = std::mem::take(&mut before.ticks);
            let mut rates = Vec::new();
            for process in counted {
                let id = (process.pid, process.start);
                let mut delta = old.remove(&id).unwrap_or_default();
                rates.extend(delta.next(Width::Bits64, process.ticks, now).rate());
                before.ticks.insert(id, delta);
            }
            (rates, !std::mem::replace(&mut before.has_run, true))
        });
        if rates.is_empty() {
            if was_first && limits != Upper::default() {
                report.say("first run: use of the processor is not known yet");
            }
            return;
        }
        let percent = rates.iter().sum::<f64>() / table::ticks_per_second() * 100.0;
        let metric = Metric::new("cpu", percent).unit("%").min(0.0);
        let text = format!("{percent:.1} % of a processor");
        report.upper(limits, metric, percent, &text, Unit::Percent);
    }

    fn judge_age(&self, cx: Cx<'_>, table: &Table, found: &[Process], report: &mut Report<'_>) {
        let o = &self.options;
        let now = cx.now_ns();
        let oldest = found.iter().find(|p| p.state != 'Z');
        let window = o.restarts_within.as_nanos() as u64;
        let restarts = self.before.with(|before| {
            if let Some(p) = oldest {
                let id = (p.pid, p.start);
                if before.oldest.replace(id).is_some_and(|old| old != id) {
                    before.restarts.push_back(now);
                }
            }
            while before.restarts.front().is_some_and(|at| at + window < now) {
                before.restarts.pop_front();
            }
            before.restarts.len() as f64
        });
        let limits = upper(o.restarts_warn, o.restarts_crit, |n| n as f64);
        let text = format!(
            "restarted {restarts} times within {}",
            time_text(o.restarts_within.as_secs_f64())
        );
        report.upper(
            limits,
            Metric::new("restarts", restarts).min(0.0),
            restarts,
            &text,
            Unit::Plain,
        );
        let Some(age) = oldest.map(|p| table.age(p)) else {
            return;
        };
        let seconds = |d: Option<Duration>| d.map(|d| d.as_secs_f64());
        let young = Lower {
            warn: seconds(o.age_min_warn),
            crit: seconds(o.age_min_crit),
        };
        let old = Upper::of_durations(o.age_max_warn, o.age_max_crit);
        let text = format!("for {}", time_text(age));
        let metric = Metric::new("age", age).unit("s").min(0.0);
        report.upper(old, metric, age, &format!("running {text}"), Unit::Time);
        let status = young.judge(age);
        if status != Status::Ok {
            report.add(status, format!("running only {text}"));
        }
        report.say(text);
    }
}
