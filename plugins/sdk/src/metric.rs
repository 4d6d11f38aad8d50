//! One measured value.

use healthd_abi::{COUNTER, GAUGE, HdMetric, HdStr};
use std::time::Duration;

/// One measured value with its unit, thresholds and limits; hand it to [`Cx::metric`](crate::Cx::metric).
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a metric does nothing until Cx::metric gets it"]
pub struct Metric<'a> {
    name: &'a str,
    unit: &'a str,
    kind: u32,
    value: f64,
    warn: f64,
    crit: f64,
    min: f64,
    max: f64,
}

impl<'a> Metric<'a> {
    /// A value that goes up and down; the unit is "1" until [`unit`](Self::unit) says otherwise.
    pub const fn new(name: &'a str, value: f64) -> Self {
        const ABSENT: f64 = f64::NAN;
        Metric {
            name,
            unit: "1",
            kind: GAUGE,
            value,
            warn: ABSENT,
            crit: ABSENT,
            min: ABSENT,
            max: ABSENT,
        }
    }

    /// A time, in seconds.
    pub fn seconds(name: &'a str, value: Duration) -> Self {
        Metric::new(name, value.as_secs_f64()).unit("s")
    }

    /// UCUM-like: "s", "By", "%", "d".
    pub const fn unit(mut self, unit: &'a str) -> Self {
        self.unit = unit;
        self
    }

    /// The value only grows, until its source restarts.
    pub const fn counter(mut self) -> Self {
        self.kind = COUNTER;
        self
    }

    pub fn warn(mut self, threshold: impl Into<Option<f64>>) -> Self {
        self.warn = threshold.into().unwrap_or(f64::NAN);
        self
    }

    pub fn crit(mut self, threshold: impl Into<Option<f64>>) -> Self {
        self.crit = threshold.into().unwrap_or(f64::NAN);
        self
    }

    pub fn min(mut self, limit: impl Into<Option<f64>>) -> Self {
        self.min = limit.into().unwrap_or(f64::NAN);
        self
    }

    pub fn max(mut self, limit: impl Into<Option<f64>>) -> Self {
        self.max = limit.into().unwrap_or(f64::NAN);
        self
    }

    pub(crate) fn to_abi(self) -> HdMetric {
        HdMetric {
            struct_size: size_of::<HdMetric>() as u32,
            kind: self.kind,
            name: HdStr::new(self.name),
            unit: HdStr::new(self.unit),
            value: self.value,
            warn: self.warn,
            crit: self.crit,
            min: self.min,
            max: self.max,
        }
    }
}
