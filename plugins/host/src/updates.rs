//! `updates`: which updates wait, are they for security, is the list of them fresh, is a reboot wanted?
//!
//! Runs in: an exec worker. The package manager reads its own lists; nothing is fetched, locked or changed.

mod apt;
mod dnf;

use crate::kernel::Kernel;
use crate::program;
use crate::report::{Grade, Report, time_text};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, ExecOutput, Metric, Status, options};
use std::path::Path;
use std::time::{Duration, SystemTime};

options! {
    /// Updates that wait on Debian (apt) and Fedora (dnf), and a reboot that is wanted.
    pub struct Options {
        /// The package manager. Without it: the one that is here.
        manager: Option<Manager>,
        /// Packages that do not count, or patterns of them: "linux-*".
        exclude: Vec<String> = Vec::new(),
        /// Warning if more updates wait.
        updates_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        updates_crit: Option<u64>,
        /// Warning if more of them are for security.
        security_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        security_crit: Option<u64> = Some(0),
        /// Warning if the lists are older: then nobody knows what waits.
        lists_age_warn: Option<Duration> { bad: Above } = Some(Duration::from_secs(3 * 86_400)),
        /// Critical, likewise.
        lists_age_crit: Option<Duration>,
        /// What a machine is that should be started again.
        reboot: Grade = Grade::Warn,
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Manager { Apt = "apt", Dnf = "dnf" }
}

pub struct Updates {
    options: Options,
    kernel: Kernel,
}

/// What the package manager says.
#[derive(Debug, Default, PartialEq)]
pub struct Waiting {
    /// Names of packages.
    pub all: Vec<String>,
    /// Those of them that are for security.
    pub security: Vec<String>,
}

/// So many names stand in the message.
const SHOWN: usize = 5;
/// 40,000 packages at 100 bytes.
const MOST: u32 = 4 << 20;
impl Check for Updates {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Updates {
            options,
            kernel: Kernel::default(),
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let Some(manager) = self.manager() else {
            return cx.unknown("neither apt nor dnf is here");
        };
        cx.phase("ask");
        let waiting = match manager {
            Manager::Apt => apt::ask(cx).await,
            Manager::Dnf => dnf::ask(cx).await,
        };
        let waiting = match waiting {
            Ok(waiting) => self.without_excluded(waiting),
            Err(why) => return cx.unknown(why),
        };
        let mut report = Report::new(cx);
        self.judge(cx, &waiting, &mut report);
        let lists = match manager {
            Manager::Apt => apt::lists_changed(&self.kernel),
            Manager::Dnf => dnf::lists_changed(&self.kernel),
        };
        self.judge_age(cx, lists, &mut report);
        self.judge_reboot(cx, &mut report);
        report.end()
    }
}

impl Updates {
    fn manager(&self) -> Option<Manager> {
        let is_here = |path: &str| self.kernel.path(path).exists();
        self.options.manager.or_else(|| match () {
            () if is_here("usr/bin/apt-get") && is_here("var/lib/dpkg/status") => {
                Some(Manager::Apt)
            }
            () if is_here("usr/bin/dnf") => Some(Manager::Dnf),
            () => None,
        })
    }

    fn without_excluded(&self, waiting: Waiting) -> Waiting {
        let counts = |name: &String| {
            let excluded = &self.options.exclude;
            !excluded.iter().any(|p| crate::glob::matches(p, name))
        };
        Waiting {
            all: waiting.all.into_iter().filter(counts).collect(),
            security: waiting.security.into_iter().filter(counts).collect(),
        }
    }

    fn judge(&self, cx: Cx<'_>, waiting: &Waiting, report: &mut Report<'_>) {
        let o = &self.options;
        let count = |n: Option<u64>| n.map(|n| n as f64);
        for (name, names, warn, crit, what) in [
            (
                "security",
                &waiting.security,
                o.security_warn,
                o.security_crit,
                "for security",
            ),
            (
                "updates",
                &waiting.all,
                o.updates_warn,
                o.updates_crit,
                "in all",
            ),
        ] {
            let limits = Upper {
                warn: count(warn),
                crit: count(crit),
            };
            let n = names.len() as f64;
            cx.metric(limits.on(Metric::new(name, n).min(0.0)));
            let text = format!("{} {what}{}", updates(names.len()), shown(names));
            report.add(limits.judge(n), text);
        }
    }

    fn judge_age(&self, cx: Cx<'_>, changed: Option<SystemTime>, report: &mut Report<'_>) {
        let o = &self.options;
        let Some(changed) = changed else {
            return report.add(Status::Unknown, "there are no lists of packages here");
        };
        let age = SystemTime::now().duration_since(changed);
        let age = age.unwrap_or_default().as_secs_f64();
        let limits = Upper::of_durations(o.lists_age_warn, o.lists_age_crit);
        cx.metric(limits.on(Metric::new("lists_age", age).unit("s").min(0.0)));
        if limits.judge(age) != Status::Ok {
            let text = format!("the lists of packages are {} old", time_text(age));
            report.add(limits.judge(age), text);
        }
    }

    /// Debian's unattended-upgrades and Ubuntu's update-notifier write this file; dnf's plugin tells it to who asks.
    fn judge_reboot(&self, cx: Cx<'_>, report: &mut Report<'_>) {
        let is_wanted = self.kernel.path("run/reboot-required").exists();
        cx.metric(Metric::new("reboot", f64::from(u8::from(is_wanted))));
        if is_wanted {
            let whose = self.kernel.text("run/reboot-required.pkgs");
            let mut whose: Vec<String> = whose
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect();
            whose.sort();
            whose.dedup();
            let text = format!("a reboot is wanted{}", shown(&whose));
            report.add(self.options.reboot.status(), text);
        }
    }
}

fn updates(n: usize) -> String {
    match n {
        1 => "1 update".into(),
        n => format!("{n} updates"),
    }
}

/// " (bash, libc6 and 12 more)"
fn shown(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names if names.len() <= SHOWN => format!(" ({})", names.join(", ")),
        names => format!(
            " ({} and {} more)",
            names[..SHOWN].join(", "),
            names.len() - SHOWN
        ),
    }
}

/// What it printed; the error says why there is nothing to go by. `fine` are exit codes that are no failure.
async fn run(cx: Cx<'_>, argv: &[&str], fine: &[i32]) -> Result<ExecOutput, String> {
    let program = argv[0];
    let argv: Vec<String> = argv.iter().map(|a| a.to_string()).collect();
    let output = program::run(cx, &argv, MOST).await?;
    match output.exit_code.is_some_and(|code| fine.contains(&code)) {
        true if output.out_truncated => Err(format!("{program} says more than is read")),
        true => Ok(output),
        false => Err(program::failure(program, &output)),
    }
}

/// When the newest of these was changed.
fn newest<'p>(kernel: &Kernel, paths: impl IntoIterator<Item = &'p str>) -> Option<SystemTime> {
    let changed = |path: &Path| std::fs::metadata(path).ok()?.modified().ok();
    let times = paths.into_iter().filter_map(|p| changed(&kernel.path(p)));
    times.max()
}

#[cfg(test)]
mod tests;
