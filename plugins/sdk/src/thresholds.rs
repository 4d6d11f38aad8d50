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

    /// The limit that a time in seconds is beyond, as the config has it: a message names it.
    pub fn passed(&self, seconds: f64) -> Option<String> {
        let beyond = |limit: &f64| seconds > *limit;
        let limit = self.crit.filter(beyond).or(self.warn.filter(beyond))?;
        Some(duration::show(Duration::from_secs_f64(limit)))
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

    /// Puts the limits beside the value.
    pub fn on<'m>(&self, metric: Metric<'m>) -> Metric<'m> {
        metric.warn(self.warn).crit(self.crit)
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
            [None, Some("1s".to_owned()), Some("2s".to_owned())]
        );
        let lower = Lower {
            warn: Some(2.0),
            crit: Some(1.0),
        };
        assert_eq!(
            [2.0, 1.5, 0.5].map(|v| lower.judge(v)),
            [Status::Ok, Status::Warn, Status::Critical]
        );
        assert_eq!(Upper::default().judge(f64::MAX), Status::Ok);
    }
}
