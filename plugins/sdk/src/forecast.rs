//! When will it be full? A line through what was seen.

use std::collections::VecDeque;
use std::time::Duration;

/// Follows a value from run to run and says when it will reach a limit, if it goes on like this. Keep it in the check,
/// behind [`Kept`](crate::Kept).
///
/// It looks back over a quarter of its horizon, keeps at most 64 samples of it, and says nothing before it has seen a
/// fiftieth of the horizon: from ten minutes nobody knows three weeks. The line is that of least squares.
#[derive(Clone, Debug)]
pub struct Forecast {
    horizon: f64,
    samples: VecDeque<(f64, f64)>,
}

const SAMPLES: usize = 64;

impl Forecast {
    /// Answers are within this time.
    pub fn within(horizon: Duration) -> Forecast {
        Forecast {
            horizon: horizon.as_secs_f64(),
            samples: VecDeque::new(),
        }
    }

    /// The value at `now_ns` ([`Cx::now_ns`](crate::Cx::now_ns), which no clock step moves).
    pub fn add(&mut self, now_ns: u64, value: f64) {
        let now = now_ns as f64 / 1e9;
        let window = self.horizon / 4.0;
        while self.samples.front().is_some_and(|s| s.0 < now - window) {
            self.samples.pop_front();
        }
        // The newest one gives way while it is nearer to the one before than 64 over the window would be.
        let spacing = window / SAMPLES as f64;
        if let [.., a, b] = self.samples.make_contiguous()
            && b.0 - a.0 < spacing
        {
            self.samples.pop_back();
        }
        self.samples.push_back((now, value));
    }

    /// By how much a second it grows; None before enough was seen.
    pub fn slope(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        if self.samples.len() < 3 || last.0 - first.0 < self.horizon / 50.0 {
            return None;
        }
        let n = self.samples.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.samples.iter().map(of).sum::<f64>() / n;
        let (t, v) = (mean(|s| s.0), mean(|s| s.1));
        let (mut covariance, mut variance) = (0.0, 0.0);
        for s in &self.samples {
            covariance += (s.0 - t) * (s.1 - v);
            variance += (s.0 - t).powi(2);
        }
        Some(covariance / variance)
    }

    /// How long until the value is `limit`, counted from the last sample; None if that is beyond the horizon, never, or
    /// not known yet. A value that is there already is there in no time.
    pub fn reaches(&self, limit: f64) -> Option<Duration> {
        let slope = self.slope()?;
        let left = limit - self.samples.back()?.1;
        let seconds = match left <= 0.0 {
            true => 0.0,
            false => left / slope,
        };
        let soon = seconds >= 0.0 && seconds <= self.horizon;
        soon.then(|| Duration::from_secs_f64(seconds))
    }

    /// What was seen says nothing about what comes: the whole is another one.
    pub fn forget(&mut self) {
        self.samples.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;
    const DAY: Duration = Duration::from_secs(86_400);

    fn grown(horizon: Duration, hours: u64, value: impl Fn(u64) -> f64) -> Forecast {
        let mut forecast = Forecast::within(horizon);
        for hour in 0..=hours {
            forecast.add(hour * HOUR_NS, value(hour));
        }
        forecast
    }

    #[test]
    fn a_line_reaches_its_limit() {
        // 10 an hour, at 100 after 10 hours: 1,000 is 90 hours away.
        let forecast = grown(7 * DAY, 10, |h| 10.0 * h as f64);
        let hours = forecast
            .reaches(1000.0)
            .expect("within a week")
            .as_secs_f64()
            / 3600.0;
        assert!((hours - 90.0).abs() < 0.01, "{hours}");
        assert_eq!(forecast.reaches(10_000.0), None, "beyond the horizon");
        assert_eq!(forecast.reaches(50.0), Some(Duration::ZERO));
        let noisy = grown(7 * DAY, 40, |h| {
            10.0 * h as f64 + [0.0, 7.0, -7.0][h as usize % 3]
        });
        let hours = noisy.reaches(1000.0).expect("within a week").as_secs_f64() / 3600.0;
        assert!((hours - 60.0).abs() < 2.0, "{hours}");
    }

    #[test]
    fn it_says_nothing_too_early_or_of_what_shrinks() {
        assert_eq!(grown(7 * DAY, 3, |h| 10.0 * h as f64).slope(), None);
        assert_eq!(
            grown(7 * DAY, 10, |h| 500.0 - h as f64).reaches(1000.0),
            None
        );
        assert_eq!(grown(7 * DAY, 10, |_| 500.0).reaches(1000.0), None);
        let mut forecast = grown(7 * DAY, 10, |h| h as f64);
        forecast.forget();
        assert_eq!(forecast.slope(), None);
    }

    #[test]
    fn samples_are_few_and_recent() {
        let mut forecast = Forecast::within(4 * DAY);
        for second in 0..200_000 {
            // It fell in the first day, which is forgotten.
            let value = if second < 86_400 {
                1e9 - second as f64 * 1000.0
            } else {
                second as f64
            };
            forecast.add(second * 1_000_000_000, value);
        }
        assert!(
            forecast.samples.len() <= SAMPLES + 2,
            "{}",
            forecast.samples.len()
        );
        let slope = forecast.slope().expect("a day was seen");
        assert!((slope - 1.0).abs() < 1e-6, "{slope}");
    }
}
