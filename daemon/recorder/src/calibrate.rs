//! What a check's history supports: how many attempts would have kept short problems quiet, and which times are its own.
//! Pure.

use serde::Serialize;

/// A problem that was over by itself within this time is one that nobody had to be told of.
const SHORT_S: f64 = 300.0;
/// Of those so many should be cut.
const WANTED: f64 = 0.95;
/// Fewer problems support nothing.
const LEAST: usize = 3;
const MOST_ATTEMPTS: u32 = 20;

/// How the check is set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Now {
    pub attempts: u32,
    pub retry_interval_s: f64,
    pub timeout_s: f64,
}

/// An hour or so of runs; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hour {
    pub bad: u64,
    pub p95: f64,
    pub p99: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    pub now: Now,
    /// Problems that are over, and how many of them lasted less than five minutes.
    pub problems: usize,
    pub short: usize,
    pub attempts: Vec<Attempts>,
    /// The fewest attempts that cut 95 % of the short ones; None: too few problems to say so, or none does.
    pub advised_attempts: Option<u32>,
    /// Of the hours without a bad run; None: there is none.
    pub times: Option<Times>,
}

/// With so many attempts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Attempts {
    pub attempts: u32,
    /// Problems that nobody would have been told of: short ones, and others.
    pub cut_short: usize,
    pub cut_long: usize,
    /// How much later than now the rest is told.
    pub later_s: f64,
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// 99 of 100 runs took no longer, in the slowest hour.
    pub slowest_p99_s: f64,
    /// Twice that, rounded up.
    pub advised_timeout_s: f64,
    /// Half as much again as 95 of 100 runs took in the slowest hour; and twice that.
    pub advised_latency_warn_s: f64,
    pub advised_latency_crit_s: f64,
}

/// `problems`: how long each that is over has lasted, in seconds.
pub fn calibrate(now: Now, problems: &[f64], hours: &[Hour]) -> Calibration {
    let short = problems.iter().filter(|s| **s < SHORT_S).count();
    let with = |attempts: u32| {
        let later_s = f64::from(attempts - now.attempts) * now.retry_interval_s;
        let cut = |is_short: bool| {
            let of_kind = problems.iter().filter(|s| (**s < SHORT_S) == is_short);
            of_kind.filter(|s| **s < later_s).count()
        };
        Attempts {
            attempts,
            cut_short: cut(true),
            cut_long: cut(false),
            later_s,
        }
    };
    let most = MOST_ATTEMPTS.max(now.attempts);
    let all: Vec<Attempts> = (now.attempts..=most).map(with).collect();
    let enough = |a: &&Attempts| a.cut_short as f64 >= WANTED * short as f64;
    let advised = match short >= LEAST {
        true => all.iter().find(enough).map(|a| a.attempts),
        false => None,
    };
    // Each that cuts more than the one before, and the first.
    let mut told: Vec<Attempts> = Vec::new();
    for a in all {
        let same = |b: &Attempts| (b.cut_short, b.cut_long) == (a.cut_short, a.cut_long);
        if told.last().is_none_or(|b| !same(b)) {
            told.push(a);
        }
    }
    Calibration {
        now,
        problems: problems.len(),
        short,
        attempts: told,
        advised_attempts: advised,
        times: times(hours),
    }
}

fn times(hours: &[Hour]) -> Option<Times> {
    let well: Vec<&Hour> = hours.iter().filter(|h| h.bad == 0).collect();
    let slowest = |of: fn(&Hour) -> f64| well.iter().map(|h| of(h)).reduce(f64::max);
    let (p95, p99) = (slowest(|h| h.p95)? / 1e3, slowest(|h| h.p99)? / 1e3);
    Some(Times {
        slowest_p99_s: p99,
        advised_timeout_s: round_up(p99 * 2.0).max(1.0),
        advised_latency_warn_s: round_up(p95 * 1.5),
        advised_latency_crit_s: round_up(p95 * 3.0),
    })
}

/// To a number that people write: 1, 2 or 5 and zeros.
fn round_up(seconds: f64) -> f64 {
    if seconds <= 0.001 {
        return 0.001;
    }
    let power = 10f64.powf(seconds.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps
        .into_iter()
        .find(|s| s * power >= seconds * (1.0 - 1e-9));
    // Without the noise of a power of ten.
    let exact = step.unwrap_or(10.0) * power;
    (exact * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        attempts: 3,
        retry_interval_s: 10.0,
        timeout_s: 5.0,
    };

    #[test]
    fn as_few_attempts_as_cut_what_was_over_by_itself() {
        // Twenty that lasted up to 19 s, and two outages.
        let problems: Vec<f64> = (0..20).map(f64::from).chain([4_000.0, 9_000.0]).collect();
        let c = calibrate(NOW, &problems, &[]);
        assert_eq!((c.problems, c.short), (22, 20));
        assert_eq!(c.advised_attempts, Some(5), "{:?}", c.attempts);
        let of = |n: u32| c.attempts.iter().find(|a| a.attempts == n).copied();
        let five = of(5).expect("it is there");
        assert_eq!((five.cut_short, five.cut_long, five.later_s), (20, 0, 20.0));
        assert_eq!(of(3).expect("now").cut_short, 0);
        assert_eq!(c.attempts.len(), 3, "those after five cut no more");
        assert_eq!(c.times, None);
        let few = calibrate(NOW, &[1.0, 2.0], &[]);
        assert_eq!(few.advised_attempts, None);
    }

    #[test]
    fn times_are_those_of_hours_that_were_well() {
        let hour = |bad, p95, p99| Hour { bad, p95, p99 };
        let hours = [
            hour(0, 40.0, 90.0),
            hour(0, 60.0, 120.0),
            hour(7, 5_000.0, 9_000.0),
        ];
        let t = calibrate(NOW, &[], &hours).times.expect("some are well");
        assert_eq!(t.slowest_p99_s, 0.12);
        assert_eq!(t.advised_timeout_s, 1.0, "never below a second");
        assert_eq!(
            (t.advised_latency_warn_s, t.advised_latency_crit_s),
            (0.1, 0.2)
        );
        let slow = [hour(0, 2_600.0, 2_700.0)];
        assert_eq!(
            calibrate(NOW, &[], &slow)
                .times
                .expect("one")
                .advised_timeout_s,
            10.0
        );
    }

    #[test]
    fn numbers_that_people_write() {
        for (n, up) in [
            (0.0, 0.001),
            (0.0011, 0.002),
            (0.09, 0.1),
            (0.1, 0.1),
            (1.2, 2.0),
            (5.0, 5.0),
            (51.0, 100.0),
        ] {
            assert_eq!(round_up(n), up, "{n}");
        }
    }
}
