//! `systemd`: are the units in the state they should be, and has anything failed?
//!
//! Asks systemd over D-Bus. All properties of a unit come in one answer, so no state is put together of two moments.

mod bus;
#[cfg(test)]
mod tests;
mod wire;

use crate::glob;
use crate::report::{Report, time_text};
use bus::{Bus, Trouble, Unit};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::{Size, size_text};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Delta, Kept, Metric, Status, Width, options};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

options! {
    /// Units of systemd: their state, restarts, memory, timers, and how many have failed.
    pub struct Options {
        /// Units, or patterns of units (`postgresql@*`); a name without an ending is a service. Without any: failed units are
        /// counted.
        units: Vec<String> = Vec::new(),
        /// The states that are fine: anything else is critical.
        states: Vec<State> { min_items: 1 } = vec![State::Active, State::Reloading],
        /// Warning if it was restarted more often since the last run.
        restarts_warn: Option<u64> { bad: Above } = Some(0),
        /// Critical, likewise.
        restarts_crit: Option<u64>,
        /// Warning if it uses more memory.
        memory_warn: Option<Size> { bad: Above },
        /// Critical, likewise.
        memory_crit: Option<Size>,
        /// Timers: warning if it is later than it should have run by this.
        late_by_warn: Option<Duration> { bad: Above },
        /// Critical, likewise.
        late_by_crit: Option<Duration>,
        /// Timers: warning if it last ran longer ago, or never.
        last_run_warn: Option<Duration> { bad: Above },
        /// Critical, likewise.
        last_run_crit: Option<Duration>,
        /// Warning if more units of this machine have failed.
        failed_warn: Option<u64> { bad: Above },
        /// Critical, likewise. 0 if there are neither units nor `failed_warn`.
        failed_crit: Option<u64>,
        /// These do not count as failed, as patterns.
        failed_exclude: Vec<String> = Vec::new(),
        /// Where to ask. Without it: the system's bus, and as root systemd's own socket if there is none.
        socket: Option<String> { pattern: "^/" },
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum State {
        Active = "active", Reloading = "reloading", Inactive = "inactive", Failed = "failed",
        Activating = "activating", Deactivating = "deactivating", Maintenance = "maintenance",
    }
}

/// More units are not looked at one by one.
const MOST: usize = 200;

pub struct Systemd {
    options: Options,
    restarts: Kept<BTreeMap<String, Delta>>,
}

impl Check for Systemd {
    type Options = Options;

    fn create(mut o: Options, _: Cx<'_>) -> Result<Self, String> {
        if o.units.is_empty() && o.failed_warn.is_none() {
            o.failed_crit.get_or_insert(0);
        }
        for unit in &mut o.units {
            if unit.is_empty() || unit.contains(['/', '\0']) {
                return Err(format!("units: {unit:?} is no unit"));
            }
            if !unit.contains('.') && !unit.ends_with('*') {
                *unit += ".service";
            }
        }
        Ok(Systemd {
            options: o,
            restarts: Kept::default(),
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let mut report = Report::new(cx);
        // A bus that is slow says nothing about units: a little before the deadline it is unknown.
        let time = cx.remaining().mul_f64(0.95);
        match cx.timeout(time, self.ask(cx, &mut report)).await {
            Ok(Ok(())) => report.end(),
            Ok(Err(Trouble(why))) => cx.unknown(format_args!("systemd: {why}")),
            Err(_) => cx.unknown(format_args!(
                "systemd: no answer within {}",
                time_text(time.as_secs_f64())
            )),
        }
    }
}

impl Systemd {
    async fn ask(&self, cx: Cx<'_>, report: &mut Report<'_>) -> Result<(), Trouble> {
        let o = &self.options;
        cx.phase("connect");
        let mut bus = Bus::connect(cx, o.socket.as_deref()).await?;
        cx.phase("units");
        let mut names: Vec<String> = Vec::new();
        for unit in &o.units {
            match glob::is_pattern(unit) {
                false => names.push(unit.clone()),
                true => {
                    let found = bus.list(&[], &[unit]).await?;
                    if found.is_empty() {
                        report.add(Status::Unknown, format!("no unit {unit} is loaded"));
                    }
                    names.extend(found);
                }
            }
        }
        once_each(&mut names);
        if names.len() > MOST {
            let why = format!("{} units match; at most {MOST} are looked at", names.len());
            return Err(Trouble(why));
        }
        let is_only = names.len() == 1;
        for name in &names {
            let unit = bus.unit(name).await?;
            self.judge_unit(cx, name, &unit, is_only, report);
        }
        self.restarts
            .with(|all| all.retain(|name, _| names.contains(name)));
        if o.failed_warn.or(o.failed_crit).is_some() {
            let mut failed = bus.list(&["failed"], &[]).await?;
            failed.retain(|name| !o.failed_exclude.iter().any(|p| glob::matches(p, name)));
            let count = |n: Option<u64>| n.map(|n| n as f64);
            let limits = Upper {
                warn: count(o.failed_warn),
                crit: count(o.failed_crit),
            };
            let n = failed.len() as f64;
            let mut text = format!("{n} failed units");
            if !failed.is_empty() {
                let some: Vec<&str> = failed.iter().take(5).map(String::as_str).collect();
                text += &format!(
                    " ({}{})",
                    some.join(", "),
                    if failed.len() > 5 { ", ..." } else { "" }
                );
            }
            cx.metric(limits.on(Metric::new("failed", n).min(0.0)));
            report.add(limits.judge(n), text);
        }
        Ok(())
    }

    fn judge_unit(
        &self,
        cx: Cx<'_>,
        name: &str,
        unit: &Unit,
        is_only: bool,
        report: &mut Report<'_>,
    ) {
        let o = &self.options;
        match unit.text("LoadState") {
            "loaded" | "merged" => {}
            "masked" => {
                let fine = o.states.contains(&State::Inactive);
                let status = if fine { Status::Ok } else { Status::Critical };
                return report.add(status, format!("{name} is masked"));
            }
            "not-found" => {
                return report.add(Status::Unknown, format!("{name}: there is no such unit"));
            }
            other => {
                return report.add(Status::Unknown, format!("{name} is not loaded ({other})"));
            }
        }
        let (active, sub) = (unit.text("ActiveState"), unit.text("SubState"));
        let fine = o.states.iter().any(|s| state_word(*s) == active);
        let mut text = format!("{name} is {active} ({sub})");
        let result = unit.text("Result");
        if !matches!(result, "" | "success") {
            text += &format!(", its result is {result}");
        }
        if let Some(age) = since(cx, unit, "StateChangeTimestampMonotonic") {
            text += &format!(", for {}", time_text(age));
        }
        report.add(if fine { Status::Ok } else { Status::Critical }, text);
        let metric =
            |metric: &str, value: f64, shape: fn(Metric<'_>) -> Metric<'_>, limits: Upper| {
                let full = match is_only {
                    true => metric.to_owned(),
                    false => format!("{metric}:{name}"),
                };
                cx.metric(limits.on(shape(Metric::new(&full, value).min(0.0))));
            };
        metric(
            "active",
            f64::from(u8::from(active == "active")),
            |m| m,
            Upper::default(),
        );
        if active == "active"
            && let Some(age) = since(cx, unit, "ActiveEnterTimestampMonotonic")
        {
            metric("age", age, |m| m.unit("s"), Upper::default());
        }
        if let Some(cpu) = unit.number("CPUUsageNSec") {
            metric(
                "cpu",
                cpu as f64 / 1e9,
                |m| m.unit("s").counter(),
                Upper::default(),
            );
        }
        let limits = Upper {
            warn: o.memory_warn.map(|s| s.0 as f64),
            crit: o.memory_crit.map(|s| s.0 as f64),
        };
        match unit.number("MemoryCurrent") {
            Some(bytes) => {
                let bytes = bytes as f64;
                metric("memory", bytes, |m| m.unit("By"), limits);
                let status = limits.judge(bytes);
                if status != Status::Ok {
                    report.add(status, format!("{name} uses {}", size_text(bytes)));
                }
            }
            None if limits != Upper::default() && active == "active" => {
                report.add(
                    Status::Unknown,
                    format!("{name}: its memory is not counted (MemoryAccounting)"),
                );
            }
            None => {}
        }
        let count = |n: Option<u64>| n.map(|n| n as f64);
        let limits = Upper {
            warn: count(o.restarts_warn),
            crit: count(o.restarts_crit),
        };
        if let Some(restarts) = unit.number("NRestarts") {
            let growth = self.restarts.with(|all| {
                let delta = all.entry(name.to_owned()).or_default();
                delta.next(Width::Bits64, restarts, cx.now_ns())
            });
            if let Some(n) = growth.count() {
                metric("restarts", n as f64, |m| m, limits);
                let status = limits.judge(n as f64);
                if status != Status::Ok {
                    report.add(
                        status,
                        format!("{name} was restarted {n} times since the last run"),
                    );
                }
            }
        }
        self.judge_timer(name, unit, report);
    }

    fn judge_timer(&self, name: &str, unit: &Unit, report: &mut Report<'_>) {
        let o = &self.options;
        let late = Upper::of_durations(o.late_by_warn, o.late_by_crit);
        let last = Upper::of_durations(o.last_run_warn, o.last_run_crit);
        if late == Upper::default() && last == Upper::default() {
            return;
        }
        let Some(last_run) = unit.number_or_zero("LastTriggerUSec") else {
            let what = "late_by_* and last_run_* are for timers";
            return report.add(Status::Unknown, format!("{name} is no timer: {what}"));
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0.0, |d| d.as_secs_f64());
        let ago = |at: u64| now - at as f64 / 1e6;
        if last_run == 0 {
            let status = last.judge(f64::MAX);
            if status != Status::Ok {
                report.add(status, format!("{name} has never run"));
            }
        } else {
            let status = last.judge(ago(last_run));
            let text = format!("{name} last ran {} ago", time_text(ago(last_run)));
            report.add(status, text);
        }
        // 0 and the largest number: it has no next time by the clock on the wall.
        let next = unit.number("NextElapseUSecRealtime").filter(|at| *at > 0);
        if let Some(by) = next.map(ago).filter(|by| *by > 0.0) {
            let status = late.judge(by);
            if status != Status::Ok {
                report.add(
                    status,
                    format!("{name} should have run {} ago", time_text(by)),
                );
            }
        }
    }
}

/// A unit that is named and matches patterns too, where it comes first.
fn once_each(names: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
}

/// How many seconds ago, by the clock that no step moves; None: never.
fn since(cx: Cx<'_>, unit: &Unit, property: &str) -> Option<f64> {
    let at = unit.number(property).filter(|at| *at > 0)?;
    Some((cx.now_ns() as f64 / 1e9 - at as f64 / 1e6).max(0.0))
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Reloading => "reloading",
        State::Inactive => "inactive",
        State::Failed => "failed",
        State::Activating => "activating",
        State::Deactivating => "deactivating",
        State::Maintenance => "maintenance",
    }
}
