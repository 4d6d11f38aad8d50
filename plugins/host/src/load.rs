//! `load`: is there more work than processors?
//!
//! Load averages by processor, what the processors did since the last run, how long work waited for them (pressure), and in a
//! container how often its quota stopped it.

use crate::kernel::{self, Kernel, Pressure};
use crate::report::{Report, Unit};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{BlockingCheck, Cx, Kept, Metric, Status, options};

options! {
    /// Load averages, use of the processors, and how long work waited for them.
    pub struct Options {
        /// Divide the load averages by the number of processors.
        per_core: bool = true,
        /// Warning if the load average of one minute is higher.
        load1_warn: Option<f64> { min: 0, bad: Above },
        /// Critical, likewise.
        load1_crit: Option<f64> { min: 0 },
        /// Warning if the load average of five minutes is higher.
        load5_warn: Option<f64> { min: 0, bad: Above } = Some(2.0),
        /// Critical, likewise.
        load5_crit: Option<f64> { min: 0 } = Some(4.0),
        /// Warning if the load average of fifteen minutes is higher.
        load15_warn: Option<f64> { min: 0, bad: Above },
        /// Critical, likewise.
        load15_crit: Option<f64> { min: 0 },
        /// Warning if the processors were busy for more percent of the time since the last run.
        busy_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        busy_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if they waited for disks for more percent of the time since the last run.
        iowait_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        iowait_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if the hypervisor gave more percent of their time to others since the last run.
        steal_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        steal_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if some process waited for a processor in more percent of the last minute.
        pressure_some_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        pressure_some_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if more processes are running or ready to.
        running_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        running_crit: Option<u64>,
        /// Warning if more processes wait for a disk.
        blocked_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        blocked_crit: Option<u64>,
        /// Warning if the container's quota stopped it in more percent of its periods since the last run.
        throttled_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        throttled_crit: Option<f64> { min: 0, max: 100 },
    }
}

pub struct Load {
    options: Options,
    kernel: Kernel,
    before: Kept<Before>,
}

#[derive(Default)]
struct Before {
    ticks: Option<Ticks>,
    quota: Option<Quota>,
}

/// What all processors did, in ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    total: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

/// How many periods the container's quota had, and in how many it stopped the container.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quota {
    periods: u64,
    throttled: u64,
}

#[derive(Debug, PartialEq)]
struct Stat {
    ticks: Ticks,
    cores: usize,
    running: f64,
    blocked: f64,
}

impl BlockingCheck for Load {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Load {
            options,
            kernel: Kernel::default(),
            before: Kept::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let (averages, stat) = match self.averages().and_then(|a| Ok((a, self.stat()?))) {
            Ok(read) => read,
            Err(why) => return cx.unknown(why),
        };
        let mut report = Report::new(cx);
        self.judge_averages(averages, stat.cores, &mut report);
        self.judge_ticks(stat.ticks, &mut report);
        self.judge_waiting(&stat, &mut report);
        self.judge_quota(&mut report);
        report.end()
    }
}

fn limits(warn: Option<f64>, crit: Option<f64>) -> Upper {
    Upper { warn, crit }
}

impl Load {
    fn averages(&self) -> Result<[f64; 3], String> {
        let text = self.kernel.text("proc/loadavg");
        let text = text.map_err(|e| format!("/proc/loadavg: {e}"))?;
        let mut numbers = text.split(' ').map_while(|w| w.parse().ok());
        let mut next = || numbers.next().ok_or("/proc/loadavg: a number is missing");
        Ok([next()?, next()?, next()?])
    }

    fn stat(&self) -> Result<Stat, String> {
        let text = self.kernel.text("proc/stat");
        parse_stat(&text.map_err(|e| format!("/proc/stat: {e}"))?)
    }

    fn judge_averages(&self, averages: [f64; 3], cores: usize, report: &mut Report<'_>) {
        let o = &self.options;
        let (by, each) = match o.per_core {
            true => (cores.max(1) as f64, " a core"),
            false => (1.0, ""),
        };
        let rows = [
            ("load1", o.load1_warn, o.load1_crit),
            ("load5", o.load5_warn, o.load5_crit),
            ("load15", o.load15_warn, o.load15_crit),
        ];
        for ((name, warn, crit), value) in rows.into_iter().zip(averages) {
            let value = value / by;
            let metric = Metric::new(name, value).min(0.0);
            let text = format!("{name} {value:.2}{each}");
            report.upper(limits(warn, crit), metric, value, &text, Unit::Plain);
        }
        let [one, five, fifteen] = averages;
        let cores = match cores {
            1 => "1 core".into(),
            n => format!("{n} cores"),
        };
        report.say(format!("load {one:.2} {five:.2} {fifteen:.2} on {cores}"));
    }

    fn judge_ticks(&self, ticks: Ticks, report: &mut Report<'_>) {
        let o = &self.options;
        let before = self.before.with(|b| b.ticks.replace(ticks));
        let Some(shares) = before.and_then(|b| ticks.since(b)) else {
            report.say("first run: use of the processors is not known yet");
            return;
        };
        let rows = [
            ("busy", "busy", o.busy_warn, o.busy_crit),
            ("iowait", "waiting for disks", o.iowait_warn, o.iowait_crit),
            (
                "steal",
                "stolen by the hypervisor",
                o.steal_warn,
                o.steal_crit,
            ),
        ];
        for ((name, what, warn, crit), value) in rows.into_iter().zip(shares) {
            let metric = Metric::new(name, value).unit("%").min(0.0).max(100.0);
            let text = format!("{value:.1} % {what}");
            report.upper(limits(warn, crit), metric, value, &text, Unit::Percent);
        }
        report.say(format!("{:.1} % busy", shares[0]));
    }

    fn judge_waiting(&self, stat: &Stat, report: &mut Report<'_>) {
        let o = &self.options;
        let count = |n: Option<u64>| n.map(|n| n as f64);
        let running = limits(count(o.running_warn), count(o.running_crit));
        let text = format!("{} processes running or ready", stat.running);
        let metric = Metric::new("running", stat.running).min(0.0);
        report.upper(running, metric, stat.running, &text, Unit::Plain);
        let blocked = limits(count(o.blocked_warn), count(o.blocked_crit));
        let text = format!("{} processes wait for a disk", stat.blocked);
        let metric = Metric::new("blocked", stat.blocked).min(0.0);
        report.upper(blocked, metric, stat.blocked, &text, Unit::Plain);

        let some = limits(o.pressure_some_warn, o.pressure_some_crit);
        let text = self.kernel.text("proc/pressure/cpu");
        match text.ok().and_then(|t| Pressure::parse(&t)) {
            Some(Pressure { some: value, .. }) => {
                let metric = Metric::new("pressure_some", value)
                    .unit("%")
                    .min(0.0)
                    .max(100.0);
                let text = format!("some waited for a processor {value} % of the last minute");
                report.upper(some, metric, value, &text, Unit::Percent);
            }
            None if some != Upper::default() => {
                report.add(Status::Unknown, "this kernel does not tell pressure");
            }
            None => {}
        }
    }

    fn judge_quota(&self, report: &mut Report<'_>) {
        let limits = limits(self.options.throttled_warn, self.options.throttled_crit);
        let Some(quota) = self.quota() else {
            if limits != Upper::default() {
                report.add(
                    Status::Unknown,
                    "throttled: this is no container with a quota",
                );
            }
            return;
        };
        let before = self.before.with(|b| b.quota.replace(quota));
        let share = before.and_then(|before| {
            let periods = quota.periods.checked_sub(before.periods)?;
            let throttled = quota.throttled.checked_sub(before.throttled)?;
            (periods > 0).then(|| throttled as f64 / periods as f64 * 100.0)
        });
        if let Some(value) = share {
            let metric = Metric::new("throttled", value)
                .unit("%")
                .min(0.0)
                .max(100.0);
            let text = format!("stopped by its quota in {value:.1} % of the periods");
            report.upper(limits, metric, value, &text, Unit::Percent);
        }
    }

    /// Of the container: the real root of the cgroups has no such file.
    fn quota(&self) -> Option<Quota> {
        let v2 = || {
            let max = self.kernel.line("sys/fs/cgroup/cpu.max").ok()?;
            (!max.starts_with("max")).then(|| self.kernel.text("sys/fs/cgroup/cpu.stat").ok())?
        };
        let v1 = || {
            let quota = self
                .kernel
                .line("sys/fs/cgroup/cpu/cpu.cfs_quota_us")
                .ok()?;
            (quota != "-1").then(|| self.kernel.text("sys/fs/cgroup/cpu/cpu.stat").ok())?
        };
        let stat = v2().or_else(v1)?;
        Some(Quota {
            periods: kernel::word(&stat, "nr_periods")?,
            throttled: kernel::word(&stat, "nr_throttled")?,
        })
    }
}

impl Ticks {
    /// Percent busy, waiting for disks and stolen; None: no tick has passed. Single numbers may go back a little (iowait
    /// does): that is nothing.
    fn since(self, before: Ticks) -> Option<[f64; 3]> {
        let total = self.total.saturating_sub(before.total);
        let share =
            |now: u64, then: u64| now.saturating_sub(then).min(total) as f64 / total as f64 * 100.0;
        let [idle, iowait, steal] = [
            share(self.idle, before.idle),
            share(self.iowait, before.iowait),
            share(self.steal, before.steal),
        ];
        (total > 0).then(|| [(100.0 - idle - iowait - steal).max(0.0), iowait, steal])
    }
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guests are in user and nice already.
fn parse_stat(text: &str) -> Result<Stat, String> {
    let all = text.lines().find_map(|l| l.strip_prefix("cpu "));
    let all = all.ok_or("/proc/stat: no line cpu")?;
    let numbers: Vec<u64> = all
        .split_whitespace()
        .map_while(|w| w.parse().ok())
        .collect();
    if numbers.len() < 4 {
        return Err("/proc/stat: its line cpu is too short".into());
    }
    let at = |i: usize| numbers.get(i).copied().unwrap_or(0);
    let cores = text.lines().filter(|l| {
        let number = l.strip_prefix("cpu");
        number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
    });
    let count = |key| kernel::word(text, key).unwrap_or(0) as f64;
    Ok(Stat {
        ticks: Ticks {
            total: numbers.iter().take(8).sum(),
            idle: at(3),
            iowait: at(4),
            steal: at(7),
        },
        cores: cores.count(),
        running: count("procs_running"),
        blocked: count("procs_blocked"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{LONG, check, create, sample};
    use healthd_plugin::Options as _;
    use healthd_plugin::serde_json::json;
    use nix::time::{ClockId, clock_gettime};
    use std::time::{Duration, Instant};

    const STAT: &str = "cpu  100 0 100 700 50 0 0 50 7 7\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5 1 2\nctxt 7\n\
        procs_running 3\nprocs_blocked 2\n";

    fn load(files: &[(&str, &str)]) -> (healthd_testing::Folder, Load) {
        let (folder, kernel) = sample(files);
        let load = Load {
            options: Options::parse(b"{}").unwrap(),
            kernel,
            before: Kept::default(),
        };
        (folder, load)
    }

    #[test]
    fn what_the_processors_did() {
        let stat = parse_stat(STAT).unwrap();
        assert_eq!((stat.cores, stat.running, stat.blocked), (2, 3.0, 2.0));
        let ticks = |total, idle, iowait, steal| Ticks {
            total,
            idle,
            iowait,
            steal,
        };
        assert_eq!(stat.ticks, ticks(1000, 700, 50, 50));
        assert_eq!(stat.ticks.since(ticks(0, 0, 0, 0)), Some([20.0, 5.0, 5.0]));
        assert_eq!(stat.ticks.since(stat.ticks), None, "no tick has passed");
        // iowait went back, and a counter of another machine was restored.
        assert_eq!(
            stat.ticks.since(ticks(900, 600, 60, 50)),
            Some([0.0, 0.0, 0.0])
        );
        assert_eq!(stat.ticks.since(ticks(5000, 600, 60, 50)), None);
        assert!(parse_stat("cpu0 1 1\n").is_err());
        assert!(parse_stat("cpu  1 x\n").is_err());
        // Linux 2.4 knew four.
        assert_eq!(
            parse_stat("cpu  1 1 1 1\n").unwrap().ticks,
            ticks(4, 1, 0, 0)
        );
    }

    #[test]
    fn averages_and_quotas() {
        let files = [
            ("proc/loadavg", "0.50 1.00 1.50 2/300 4000\n"),
            ("sys/fs/cgroup/cpu.max", "200000 100000\n"),
            (
                "sys/fs/cgroup/cpu.stat",
                "usage_usec 5\nnr_periods 100\nnr_throttled 25\n",
            ),
        ];
        let (_folder, with) = load(&files);
        assert_eq!(with.averages().unwrap(), [0.5, 1.0, 1.5]);
        assert_eq!(
            with.quota(),
            Some(Quota {
                periods: 100,
                throttled: 25
            })
        );
        let (_folder, without) = load(&[
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("proc/loadavg", "1 x\n"),
        ]);
        assert_eq!(without.quota(), None);
        assert!(without.averages().unwrap_err().contains("missing"));
        let v1 = [
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
            (
                "sys/fs/cgroup/cpu/cpu.stat",
                "nr_periods 4\nnr_throttled 1\nthrottled_time 9\n",
            ),
        ];
        let (_folder, v1) = load(&v1);
        assert_eq!(
            v1.quota(),
            Some(Quota {
                periods: 4,
                throttled: 1
            })
        );
    }

    #[test]
    fn this_machine() {
        let check_it = create("load", &json!({"load5_warn": 1e6, "load5_crit": 1e6})).unwrap();
        let first = check_it.run(LONG);
        assert_eq!(first.status, Status::Ok, "{first:?}");
        assert!(
            first
                .message
                .contains("first run: use of the processors is not known yet"),
            "{first:?}"
        );
        // Until a tick has passed.
        loop {
            let next = check_it.run(LONG);
            if next.metrics.iter().any(|m| m.name == "busy") {
                assert!(
                    (0.0..=100.0).contains(&next.metric("busy").value),
                    "{next:?}"
                );
                break;
            }
        }
        let high = check("load", json!({"running_crit": 0}));
        assert_eq!(high.status, Status::Critical, "this one runs: {high:?}");
        let all = check("load", json!({"per_core": false, "load1_crit": 1e6}));
        assert!(!all.message.contains("a core"), "{all:?}");
    }

    #[test]
    fn a_loop_that_computes_is_seen() {
        let check_it = create("load", &json!({"load5_warn": 1e6, "load5_crit": 1e6})).unwrap();
        let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        let begun = Instant::now();
        check_it.run(LONG);
        let before = used();
        while used() - before < Duration::from_millis(500) {
            std::hint::spin_loop();
        }
        let after = check_it.run(LONG);
        let most = begun.elapsed().as_secs_f64();
        let cores = parse_stat(&std::fs::read_to_string("/proc/stat").unwrap());
        let busy = after.metric("busy").value / 100.0 * cores.unwrap().cores as f64 * most;
        // The kernel counts in ticks.
        assert!(busy >= 0.25, "{busy} s of {most} s: {after:?}");
    }
}
