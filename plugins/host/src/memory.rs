//! `memory`: is there enough, and does anybody wait for it?
//!
//! Available memory is the kernel's own estimate (MemAvailable), never what is merely unused. In a container the limit of its
//! cgroup counts, as that is where its processes die.

#[cfg(test)]
mod tests;

use crate::kernel::{self, Kernel, Pressure};
use crate::report::{Floor, Report, Unit};
use healthd_plugin::options::Bad::{Above, Below};
use healthd_plugin::options::{Amount, Size, size_text};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{BlockingCheck, Cx, Delta, Growth, Kept, Metric, Status, Width, options};

options! {
    /// Available memory, swap, pressure and the OOM killer.
    pub struct Options {
        /// Warning if less is available: a share ("10%") or a size ("512MiB").
        available_warn: Option<Amount> { bad: Below } = Some(Amount::Percent(10.0)),
        /// Critical, likewise.
        available_crit: Option<Amount> = Some(Amount::Percent(5.0)),
        /// Warning if more of the swap is used, in percent.
        swap_used_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        swap_used_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if more is swapped in and out, in bytes a second, between two runs.
        swap_rate_warn: Option<Size> { bad: Above },
        /// Critical, likewise.
        swap_rate_crit: Option<Size>,
        /// Warning if some process waited for memory in more percent of the last minute.
        pressure_some_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        pressure_some_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if all processes waited for memory in more percent of the last minute.
        pressure_full_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        pressure_full_crit: Option<f64> { min: 0, max: 100 },
        /// Warning if the OOM killer took more processes since the last run.
        oom_kills_warn: Option<u64> { bad: Above } = Some(0),
        /// Critical, likewise.
        oom_kills_crit: Option<u64>,
        /// Whose memory: `auto` is the container's limit, if this is a container with one, else the machine's; `none` is always
        /// the machine's.
        cgroup: Cgroup = Cgroup::Auto,
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Cgroup { Auto = "auto", None = "none" }
}

pub struct Memory {
    options: Options,
    kernel: Kernel,
    before: Kept<Before>,
}

#[derive(Default)]
struct Before {
    swapped: Delta,
    oom_kills: Delta,
}

impl BlockingCheck for Memory {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Memory {
            options,
            kernel: Kernel::default(),
            before: Kept::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        match self.read() {
            Ok(found) => self.judge(cx, &found),
            Err(why) => cx.unknown(why),
        }
    }
}

/// Whose memory, and how much, in bytes.
#[derive(Debug, PartialEq)]
struct Found {
    of: &'static str,
    total: f64,
    available: f64,
    swap_total: f64,
    swap_used: f64,
    /// Bytes that ever went in and out.
    swapped: Option<u64>,
    oom_kills: Option<u64>,
    pressure: Option<Pressure>,
}

impl Memory {
    fn read(&self) -> Result<Found, String> {
        let meminfo = self.kernel.text("proc/meminfo");
        let meminfo = meminfo.map_err(|e| format!("/proc/meminfo: {e}"))?;
        let bytes = |key: &str| kernel::field(&meminfo, key).map(|kib| kib as f64 * 1024.0);
        let of = |key: &str| bytes(key).ok_or_else(|| format!("/proc/meminfo: no line {key}"));
        let (total, available) = (of("MemTotal")?, of("MemAvailable")?);
        let swap_total = bytes("SwapTotal").unwrap_or(0.0);
        let vmstat = self.kernel.text("proc/vmstat").unwrap_or_default();
        let pages = |key| kernel::word(&vmstat, key);
        let pressure = self.kernel.text("proc/pressure/memory").ok();
        let machine = Found {
            of: "this machine",
            total,
            available,
            swap_total,
            swap_used: swap_total - bytes("SwapFree").unwrap_or(0.0),
            swapped: pages("pswpin")
                .zip(pages("pswpout"))
                .map(|(i, o)| i.wrapping_add(o).wrapping_mul(page_size())),
            oom_kills: pages("oom_kill"),
            pressure: pressure.and_then(|text| Pressure::parse(&text)),
        };
        let container = match self.options.cgroup {
            Cgroup::Auto => self.container(total),
            Cgroup::None => None,
        };
        Ok(container.unwrap_or(machine))
    }

    /// The limit at the root of what this process sees as the tree of cgroups. The real root has none: so this is a
    /// container's.
    fn container(&self, machine: f64) -> Option<Found> {
        self.cgroup_v2(machine).or_else(|| self.cgroup_v1(machine))
    }

    fn cgroup_v2(&self, machine: f64) -> Option<Found> {
        let at = |file: &str| format!("sys/fs/cgroup/{file}");
        // "max" is no limit.
        let limit = self.kernel.number(at("memory.max"))? as f64;
        if limit >= machine {
            return None;
        }
        let current = self.kernel.number(at("memory.current"))? as f64;
        let stat = self.kernel.text(at("memory.stat")).ok()?;
        let swap_used = self.kernel.number(at("memory.swap.current")).unwrap_or(0) as f64;
        let swap_max = self.kernel.number(at("memory.swap.max")).unwrap_or(0) as f64;
        let events = self.kernel.text(at("memory.events")).unwrap_or_default();
        let pressure = self.kernel.text(at("memory.pressure")).ok();
        Some(Found {
            of: "this container",
            total: limit,
            // What the kernel takes back before it kills: clean pages of files.
            available: limit - current + kernel::word(&stat, "inactive_file").unwrap_or(0) as f64,
            swap_total: swap_max,
            swap_used,
            swapped: None,
            oom_kills: kernel::word(&events, "oom_kill"),
            pressure: pressure.and_then(|text| Pressure::parse(&text)),
        })
    }

    fn cgroup_v1(&self, machine: f64) -> Option<Found> {
        let at = |file: &str| format!("sys/fs/cgroup/memory/{file}");
        let limit = self.kernel.number(at("memory.limit_in_bytes"))? as f64;
        if limit >= machine {
            return None;
        }
        let usage = self.kernel.number(at("memory.usage_in_bytes"))? as f64;
        let stat = self.kernel.text(at("memory.stat")).ok()?;
        let events = self.kernel.text(at("memory.oom_control"));
        Some(Found {
            of: "this container",
            total: limit,
            available: limit - usage
                + kernel::word(&stat, "total_inactive_file").unwrap_or(0) as f64,
            swap_total: 0.0,
            swap_used: kernel::word(&stat, "total_swap").unwrap_or(0) as f64,
            swapped: None,
            oom_kills: kernel::word(&events.unwrap_or_default(), "oom_kill"),
            pressure: None,
        })
    }

    fn judge(&self, cx: Cx<'_>, found: &Found) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let floor = Floor {
            warn: o.available_warn,
            crit: o.available_crit,
        };
        let share = found.available / found.total * 100.0;
        let metric = Metric::new("available", found.available).unit("By");
        cx.metric(floor.of(found.total).on(metric.min(0.0).max(found.total)));
        cx.metric(
            Metric::new("available_share", share)
                .unit("%")
                .min(0.0)
                .max(100.0),
        );
        cx.metric(Metric::new("total", found.total).unit("By"));
        let text = format!(
            "{} of {} of {} available ({share:.1} %)",
            size_text(found.available),
            size_text(found.total),
            found.of
        );
        match floor.judge(found.available, found.total) {
            (status, Some(limit)) => report.add(status, format!("{text}, below {limit}")),
            _ => report.say(text),
        }
        self.judge_swap(cx, found, &mut report);
        self.judge_pressure(found, &mut report);
        self.judge_oom_kills(cx, found, &mut report);
        report.end()
    }

    fn judge_swap(&self, cx: Cx<'_>, found: &Found, report: &mut Report<'_>) {
        let o = &self.options;
        cx.metric(
            Metric::new("swap_used", found.swap_used)
                .unit("By")
                .min(0.0),
        );
        let limits = Upper {
            warn: o.swap_used_warn,
            crit: o.swap_used_crit,
        };
        if found.swap_total > 0.0 {
            let share = found.swap_used / found.swap_total * 100.0;
            let metric = Metric::new("swap_used_share", share)
                .unit("%")
                .min(0.0)
                .max(100.0);
            let text = format!("{share:.1} % of the swap used");
            report.upper(limits, metric, share, &text, Unit::Percent);
        }
        let bytes = |size: Option<Size>| size.map(|s| s.0 as f64);
        let limits = Upper {
            warn: bytes(o.swap_rate_warn),
            crit: bytes(o.swap_rate_crit),
        };
        let Some(swapped) = found.swapped else {
            return not_told(report, limits, "how much is swapped");
        };
        let growth = self
            .before
            .with(|b| b.swapped.next(Width::Bits64, swapped, cx.now_ns()));
        if let Some(rate) = growth.rate() {
            let metric = Metric::new("swap_rate", rate).unit("By/s").min(0.0);
            let text = format!("{}/s swapped in and out", size_text(rate));
            report.upper(limits, metric, rate, &text, Unit::BytesPerSecond);
        } else if limits != Upper::default() {
            report.say("first run: no swap rate yet");
        }
    }

    fn judge_pressure(&self, found: &Found, report: &mut Report<'_>) {
        let o = &self.options;
        let some = Upper {
            warn: o.pressure_some_warn,
            crit: o.pressure_some_crit,
        };
        let full = Upper {
            warn: o.pressure_full_warn,
            crit: o.pressure_full_crit,
        };
        let values = found.pressure.map(|p| (p.some, p.full.unwrap_or(0.0)));
        let Some((s, f)) = values else {
            for limits in [some, full] {
                not_told(report, limits, "memory pressure");
            }
            return;
        };
        let metric = |name, value| Metric::new(name, value).unit("%").min(0.0).max(100.0);
        let text = format!("some waited for memory {s} % of the last minute");
        report.upper(some, metric("pressure_some", s), s, &text, Unit::Percent);
        let text = format!("all waited for memory {f} % of the last minute");
        report.upper(full, metric("pressure_full", f), f, &text, Unit::Percent);
    }

    fn judge_oom_kills(&self, cx: Cx<'_>, found: &Found, report: &mut Report<'_>) {
        let count = |n: Option<u64>| n.map(|n| n as f64);
        let limits = Upper {
            warn: count(self.options.oom_kills_warn),
            crit: count(self.options.oom_kills_crit),
        };
        // Linux before 4.13 does not count them; the default limit is then no reason to complain.
        let Some(kills) = found.oom_kills else { return };
        let growth = self
            .before
            .with(|b| b.oom_kills.next(Width::Bits64, kills, cx.now_ns()));
        let metric = |n: u64| Metric::new("oom_kills", n as f64).min(0.0);
        match growth {
            Growth::By { count, .. } => {
                let text = format!("the OOM killer took {count} processes since the last run");
                report.upper(limits, metric(count), count as f64, &text, Unit::Plain);
            }
            Growth::First | Growth::Reset => {}
        }
    }
}

/// A limit on what this kernel does not tell.
fn not_told(report: &mut Report<'_>, limits: Upper, what: &str) {
    if limits != Upper::default() {
        report.add(Status::Unknown, format!("this kernel does not tell {what}"));
    }
}

fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .map_or(4096, |n| n as u64)
}
