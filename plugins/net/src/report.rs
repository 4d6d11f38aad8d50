//! From several findings to one verdict: the worst of all, and a message that begins with what is bad.

use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{Cx, Metric, Status};
use std::fmt::Display;

/// Collects what a run found.
pub struct Report<'a> {
    cx: Cx<'a>,
    findings: Vec<(Status, String)>,
}

impl<'a> Report<'a> {
    pub fn new(cx: Cx<'a>) -> Report<'a> {
        Report {
            cx,
            findings: Vec::new(),
        }
    }

    /// A finding. One that is ok is only said.
    pub fn add(&mut self, status: Status, text: impl Into<String>) {
        self.findings.push((status, text.into()));
    }

    /// Shows a value that has no limits.
    pub fn metric(&mut self, metric: Metric<'_>) {
        self.cx.metric(metric);
    }

    /// Shows a value with its limits, and adds `text` and the limit if it is above one.
    pub fn upper(
        &mut self,
        limits: Upper,
        metric: Metric<'_>,
        value: f64,
        text: impl Display,
        unit: Unit,
    ) {
        self.cx.metric(limits.on(metric));
        let status = limits.judge(value);
        if let Some(limit) = limit(status, limits.warn, limits.crit) {
            self.add(status, format!("{text}, above {}", unit.text(limit)));
        }
    }

    /// As [`upper`](Self::upper), for what should not be below.
    pub fn lower(&mut self, limits: Lower, metric: Metric<'_>, value: f64, text: &str, unit: Unit) {
        self.cx.metric(limits.on(metric));
        let status = limits.judge(value);
        if let Some(limit) = limit(status, limits.warn, limits.crit) {
            self.add(status, format!("{text}, below {}", unit.text(limit)));
        }
    }

    /// The message and the verdict; `summary` is what was seen, good or bad.
    pub fn end(mut self, summary: &str) -> Status {
        if self.findings.is_empty() {
            return self.cx.ok(summary);
        }
        let status = self.findings.iter().fold(Status::Ok, |s, f| s.worst(f.0));
        // Stable: findings of one gravity stay in their order.
        self.findings.sort_by_key(|(s, _)| match s {
            Status::Ok => 3,
            Status::Warn => 2,
            Status::Unknown => 1,
            _ => 0,
        });
        let said = self.findings.iter().map(|f| f.1.as_str());
        let all: Vec<&str> = said.chain([summary]).filter(|t| !t.is_empty()).collect();
        self.cx.message(all.join("; "));
        status
    }
}

fn limit(status: Status, warn: Option<f64>, crit: Option<f64>) -> Option<f64> {
    match status {
        Status::Critical => crit,
        Status::Warn => warn,
        _ => None,
    }
}

/// How people read a number.
#[derive(Clone, Copy)]
pub enum Unit {
    Plain,
    Percent,
    Seconds,
    Days,
}

impl Unit {
    pub fn text(self, value: f64) -> String {
        match self {
            Unit::Plain => short(value),
            Unit::Percent => format!("{} %", short(value)),
            Unit::Seconds => seconds_text(value),
            Unit::Days => format!("{} days", short(value)),
        }
    }
}

/// "0.31 ms", "1.5 s".
pub fn seconds_text(value: f64) -> String {
    match value.abs() {
        0.0 => "0 s".into(),
        v if v < 0.001 => {
            let mut text = format!("{:.6}", value * 1e3);
            text.truncate(text.trim_end_matches('0').len().min(5));
            text + " ms"
        }
        v if v < 1.0 => format!("{} ms", short(value * 1e3)),
        _ => format!("{} s", short(value)),
    }
}

/// At most two digits behind the point, and none that say nothing.
fn short(value: f64) -> String {
    let mut text = format!("{value:.2}");
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(Unit::Percent.text(0.126), "0.13 %");
        assert_eq!(Unit::Seconds.text(0.25), "250 ms");
        assert_eq!(Unit::Seconds.text(0.000_031), "0.031 ms");
        assert_eq!(Unit::Seconds.text(-0.0012), "-1.2 ms");
        assert_eq!(Unit::Seconds.text(1.5), "1.5 s");
    }
}
