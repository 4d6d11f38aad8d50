//! A row of the table: two figures, what is wanted of them, and whether that is met.

use std::fmt::Write;

/// What a figure has to be: at most, or at least, so much, or so many times that of the peer.
#[derive(Clone, Copy)]
pub enum Limit {
    Most(f64),
    Least(f64),
    MostTimes(f64),
    LeastTimes(f64),
}
use Limit::{Least, LeastTimes, Most, MostTimes};

impl Limit {
    /// None: that needs the peer's figure.
    fn holds(self, ours: f64, peer: Option<f64>) -> Option<bool> {
        Some(match self {
            Most(most) => ours <= most,
            Least(least) => ours >= least,
            MostTimes(times) => ours <= times * peer?,
            LeastTimes(times) => ours >= times * peer?,
        })
    }

    fn text(self, unit: &str, peer: &str) -> String {
        let unit = match unit {
            "" => String::new(),
            unit => format!(" {unit}"),
        };
        match self {
            Most(most) => format!("<= {}{unit}", shown(most)),
            Least(least) => format!(">= {}{unit}", shown(least)),
            MostTimes(times) => format!("<= {times} x {peer}"),
            LeastTimes(times) => format!(">= {times} x {peer}"),
        }
    }
}

pub struct Row {
    what: String,
    unit: &'static str,
    ours: f64,
    peer: &'static str,
    theirs: Option<f64>,
    limits: Vec<Limit>,
    note: String,
}

pub const HEAD: &str = "\
| what                                                  |      healthd | beside it                    |   ratio | wanted                       |         |
| ----------------------------------------------------- | ------------ | ---------------------------- | ------- | ---------------------------- | ------- |";

/// `what`, healthd's figure, the peer's or that it is not installed, their ratio, what is wanted, and whether it is met.
fn line(cells: [&str; 6]) -> String {
    let [what, ours, peer, ratio, wanted, met] = cells;
    format!("| {what:<53} | {ours:>12} | {peer:<28} | {ratio:>7} | {wanted:<28} | {met:<7} |")
}

pub fn not_measured(word: &str) -> String {
    line([word, "not measured", "", "", "", "not met"])
}

impl Row {
    pub fn new(what: impl Into<String>, ours: f64, unit: &'static str) -> Row {
        Row {
            what: what.into(),
            unit,
            ours,
            peer: "",
            theirs: None,
            limits: Vec::new(),
            note: String::new(),
        }
    }

    /// None: the peer is not installed.
    pub fn beside(mut self, peer: &'static str, theirs: Option<f64>) -> Row {
        (self.peer, self.theirs) = (peer, theirs);
        self
    }

    pub fn wants(mut self, limit: Limit) -> Row {
        self.limits.push(limit);
        self
    }

    /// What else was seen; it stands below the table.
    pub fn noted(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    pub fn what(&self) -> &str {
        &self.what
    }

    pub fn note(&self) -> Option<&str> {
        (!self.note.is_empty()).then_some(&self.note)
    }

    /// None: that takes the peer.
    pub fn is_met(&self) -> Option<bool> {
        let held = |limit: &Limit| limit.holds(self.ours, self.theirs);
        let all: Vec<Option<bool>> = self.limits.iter().map(held).collect();
        match all.contains(&Some(false)) {
            true => Some(false),
            false => all.into_iter().collect::<Option<Vec<_>>>().map(|_| true),
        }
    }

    pub fn line(&self) -> String {
        let mut figure = shown(self.ours);
        if !self.unit.is_empty() {
            let _ = write!(figure, " {}", self.unit);
        }
        let peer = match (self.peer, self.theirs) {
            ("", _) => String::new(),
            (peer, None) => format!("{peer}: not installed"),
            (peer, Some(theirs)) => format!("{peer}: {}", shown(theirs)),
        };
        let ratio = self
            .theirs
            .map(|theirs| format!("{:.2} x", self.ours / theirs));
        let wanted: Vec<String> = self
            .limits
            .iter()
            .map(|limit| limit.text(self.unit, self.peer))
            .collect();
        let met = match self.is_met() {
            Some(true) => "met",
            Some(false) => "not met",
            None => "?",
        };
        line([
            &self.what,
            &figure,
            &peer,
            &ratio.unwrap_or_default(),
            &wanted.join(" and "),
            met,
        ])
    }
}

/// Four digits of it, or all before the point.
pub fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => healthd_core::config::thousands(value.round() as u64),
        v if v.fract() == 0.0 => format!("{value}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn met_or_not_or_unknown() {
        let row = |ours, theirs| {
            Row::new("it", ours, "ms")
                .beside("peer", theirs)
                .wants(Most(10.0))
                .wants(MostTimes(1.0))
        };
        assert_eq!(row(4.0, Some(5.0)).is_met(), Some(true));
        assert_eq!(row(4.0, Some(3.0)).is_met(), Some(false));
        assert_eq!(row(4.0, None).is_met(), None);
        assert_eq!(row(11.0, None).is_met(), Some(false));
        assert_eq!(row(f64::NAN, Some(3.0)).is_met(), Some(false));
        let rate = |ours| Row::new("it", ours, "/s").wants(Least(2.0));
        assert_eq!(rate(2.0).is_met(), Some(true));
        assert_eq!(rate(1.9).is_met(), Some(false));
        let thrice = rate(7.0).beside("peer", Some(2.0)).wants(LeastTimes(3.0));
        assert_eq!(thrice.is_met(), Some(true));
    }

    #[test]
    fn as_a_line() {
        let words = |row: Row| {
            let line = row.line();
            assert_eq!(line.len(), HEAD.lines().next().map_or(0, str::len));
            line.split('|').map(str::trim).collect::<Vec<_>>().join("|")
        };
        let row = || Row::new("CPU", 36.25, "us").wants(MostTimes(0.6));
        assert_eq!(
            words(row().beside("haproxy", Some(72.5))),
            "|CPU|36.25 us|haproxy: 72.50|0.50 x|<= 0.6 x haproxy|met|"
        );
        assert_eq!(
            words(row().beside("haproxy", None)),
            "|CPU|36.25 us|haproxy: not installed||<= 0.6 x haproxy|?|"
        );
        assert_eq!(
            words(Row::new("rate", 123_456.4, "/s").wants(Least(100_000.0))),
            "|rate|123,456 /s|||>= 100,000 /s|met|"
        );
    }
}
