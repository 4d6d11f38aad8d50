//! Plain limits: too much, or too little. For Nagios ranges see [`options::Thresholds`](crate::options::Thresholds).

use crate::{Metric, Status};
use healthd_units::duration;
use std::time::Duration;

/// More than this is bad.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Upper {
    pub warn: Option<f64>,
    pub crit: Option<f64>,
}

/// Less than this is bad.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lower {
    pub warn: Option<f64>,
    pub crit: Option<f64>,
}

impl Upper {
    /// Limits on a time in seconds.
    pub fn of_durations(warn: Option<Duration>, crit: Option<Duration>) -> Upper {
        let seconds = |d: Option<Duration>| d.map(|d| d.as_secs_f64());
        Upper {
            warn: seconds(warn),
            crit: seconds(crit),
        }
    }

    pub fn judge(&self, value: f64) -> Status {
        status(
            self.warn.is_some_and(|w| value > w),
            self.crit.is_some_and(|c| value > c),
        )
    }

    /// For a message about a time in seconds: ", limit 200 ms" behind it if it is beyond a limit, else nothing.
    pub fn passed(&self, seconds: f64) -> String {
        let beyond = |limit: &f64| seconds > *limit;
        let limit = self.crit.filter(beyond).or(self.warn.filter(beyond));
        limit.map_or_else(String::new, |limit| {
            let limit = Duration::from_secs_f64(limit);
            format!(", limit {}", duration::show_spaced(limit))
        })
    }

    /// Puts the limits beside the value.
    pub fn on<'m>(&self, metric: Metric<'m>) -> Metric<'m> {
        metric.warn(self.warn).crit(self.crit)
    }
}

impl Lower {
    pub fn judge(&self, value: f64) -> Status {
        status(
            self.warn.is_some_and(|w| value < w),
            self.crit.is_some_and(|c| value < c),
        )
    }

    /// For a message about so many days: ", limit 14 days" behind them if they are below a limit, else nothing.
    pub fn passed_days(&self, days: f64) -> String {
        let beyond = |limit: &f64| days < *limit;
        let limit = self.crit.filter(beyond).or(self.warn.filter(beyond));
        limit.map_or_else(String::new, |limit| match limit {
            1.0 => ", limit 1 day".into(),
            _ => format!(", limit {limit} days"),
        })
    }

    /// Puts the limits beside the value.
    pub fn on<'m>(&self, metric: Metric<'m>) -> Metric<'m> {
        metric.warn(self.warn).crit(self.crit)
    }
}

/// How a message says for how long something is still valid: "valid for 12.0 days", "expired 3.0 days ago".
pub fn validity(days: f64) -> String {
    match days < 0.0 {
        true => format!("expired {:.1} days ago", -days),
        false => format!("valid for {days:.1} days"),
    }
}

fn status(warn: bool, crit: bool) -> Status {
    match (crit, warn) {
        (true, _) => Status::Critical,
        (_, true) => Status::Warn,
        _ => Status::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_said_to() {
        assert_eq!(validity(12.04), "valid for 12.0 days");
        assert_eq!(validity(-3.0), "expired 3.0 days ago");
    }

    #[test]
    fn the_limit_itself_is_fine() {
        let upper = Upper {
            warn: Some(1.0),
            crit: Some(2.0),
        };
        assert_eq!(
            [1.0, 1.5, 2.5].map(|v| upper.judge(v)),
            [Status::Ok, Status::Warn, Status::Critical]
        );
        assert_eq!(
            [1.0, 1.5, 2.5].map(|v| upper.passed(v)),
            ["", ", limit 1 s", ", limit 2 s"]
        );
        let lower = Lower {
            warn: Some(2.0),
            crit: Some(1.0),
        };
        assert_eq!(
            [2.0, 1.5, 0.5].map(|v| lower.judge(v)),
            [Status::Ok, Status::Warn, Status::Critical]
        );
        assert_eq!(
            [2.0, 1.5, 0.5].map(|v| lower.passed_days(v)),
            ["", ", limit 2 days", ", limit 1 day"]
        );
        assert_eq!(Upper::default().judge(f64::MAX), Status::Ok);
    }
}
