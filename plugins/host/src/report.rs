//! From many numbers to one verdict: the worst of all, and a message that begins with what is bad.

use healthd_plugin::options::{Amount, size_text};
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{Cx, Metric, Status, options};

/// Collects what a run found.
pub struct Report<'a> {
    cx: Cx<'a>,
    status: Status,
    bad: Vec<(Status, String)>,
    fine: Vec<String>,
}

/// So many findings stand in the message; all of them in the detail.
const SHOWN: usize = 5;

impl<'a> Report<'a> {
    pub fn new(cx: Cx<'a>) -> Report<'a> {
        Report {
            cx,
            status: Status::Ok,
            bad: Vec::new(),
            fine: Vec::new(),
        }
    }

    /// Something worth knowing, which is no finding.
    pub fn say(&mut self, text: impl Into<String>) {
        self.fine.push(text.into());
    }

    /// A finding; one that is ok is only said.
    pub fn add(&mut self, status: Status, text: impl Into<String>) {
        self.status = self.status.worst(status);
        match status {
            Status::Ok => self.say(text),
            _ => self.bad.push((status, text.into())),
        }
    }

    /// Nothing was found so far.
    pub fn is_fine(&self) -> bool {
        self.bad.is_empty()
    }

    /// Shows a value with its limits, and adds a finding if it is above one. `text` says what was found: "load 4.1".
    pub fn upper(&mut self, limits: Upper, metric: Metric<'_>, value: f64, text: &str, unit: Unit) {
        self.cx.metric(limits.on(metric));
        let status = limits.judge(value);
        if let Some(limit) = limit_of(status, limits.warn, limits.crit) {
            self.add(status, format!("{text}, above {}", unit.text(limit)));
        }
    }

    /// The message and the verdict.
    pub fn end(mut self) -> Status {
        self.bad.sort_by_key(|(status, _)| match status {
            Status::Critical => 0,
            Status::Unknown => 1,
            _ => 2,
        });
        let mut said: Vec<&str> = self.bad.iter().map(|b| b.1.as_str()).collect();
        let more = said.len().saturating_sub(SHOWN);
        if more > 0 {
            let all: String = said.iter().map(|text| format!("{text}\n")).collect();
            self.cx.detail(all);
            said.truncate(SHOWN);
        }
        let more = match more {
            0 => String::new(),
            n => format!("{n} more"),
        };
        said.extend([more.as_str()].iter().filter(|m| !m.is_empty()));
        said.extend(self.fine.iter().map(String::as_str));
        self.cx.message(said.join("; "));
        self.status
    }
}

fn limit_of(status: Status, warn: Option<f64>, crit: Option<f64>) -> Option<f64> {
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
    Bytes,
    BytesPerSecond,
    PerSecond,
    Time,
}

impl Unit {
    pub fn text(self, value: f64) -> String {
        match self {
            Unit::Plain => short(value),
            Unit::Percent => format!("{} %", short(value)),
            Unit::Bytes => size_text(value),
            Unit::BytesPerSecond => format!("{}/s", size_text(value)),
            Unit::PerSecond => format!("{}/s", short(value)),
            Unit::Time => time_text(value),
        }
    }
}

/// At most two digits behind the point, and none that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds in the largest unit that fits: "3.2 d".
pub fn time_text(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.iter().find(|u| seconds.abs() >= u.0);
    match unit {
        Some((size, name)) => format!("{} {name}", short((seconds / size * 10.0).round() / 10.0)),
        None => format!("{} s", short(seconds)),
    }
}

options! {
    /// What is made of something that the config has to check.
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Grade { Ok = "ok", Warn = "warn", Crit = "crit" }
}

impl Grade {
    pub fn status(self) -> Status {
        match self {
            Grade::Ok => Status::Ok,
            Grade::Warn => Status::Warn,
            Grade::Crit => Status::Critical,
        }
    }
}

/// The least that should be left of a whole.
#[derive(Clone, Copy)]
pub struct Floor {
    pub warn: Option<Amount>,
    pub crit: Option<Amount>,
}

impl Floor {
    /// The same in bytes, of this whole.
    pub fn of(self, whole: f64) -> Lower {
        let bytes = |amount: Option<Amount>| amount.map(|a| a.of(whole));
        Lower {
            warn: bytes(self.warn),
            crit: bytes(self.crit),
        }
    }

    /// The verdict on so much of this whole, and the limit that it broke.
    pub fn judge(self, left: f64, whole: f64) -> (Status, Option<Amount>) {
        let status = self.of(whole).judge(left);
        let limit = match status {
            Status::Critical => self.crit,
            Status::Warn => self.warn,
            _ => None,
        };
        (status, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(Unit::Plain.text(4.0), "4");
        assert_eq!(Unit::Plain.text(0.126), "0.13");
        assert_eq!(Unit::Percent.text(5.5), "5.5 %");
        assert_eq!(Unit::BytesPerSecond.text(2048.0), "2.0 KiB/s");
        assert_eq!(time_text(5.0), "5 s");
        assert_eq!(time_text(90.0), "1.5 min");
        assert_eq!(time_text(3.0 * 86_400.0), "3 d");
    }

    #[test]
    fn a_floor_in_percent_or_bytes() {
        let floor = Floor {
            warn: Some(Amount::Percent(10.0)),
            crit: Some(Amount::Bytes(50)),
        };
        assert_eq!(floor.judge(200.0, 1000.0).0, Status::Ok);
        assert_eq!(
            floor.judge(80.0, 1000.0),
            (Status::Warn, Some(Amount::Percent(10.0)))
        );
        assert_eq!(floor.judge(40.0, 1000.0).0, Status::Critical);
    }
}
