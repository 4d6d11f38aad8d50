//! How late requests of checks came, by the server's log.

use crate::daemon::arrivals;
use crate::peers::Server;
use std::collections::HashMap;

/// In s, in order.
pub struct Late {
    all: Vec<f64>,
    /// Requests that did not come at all.
    pub missed: usize,
}

impl Late {
    /// ms.
    pub fn at(&self, q: f64) -> f64 {
        self.all[((self.all.len() - 1) as f64 * q) as usize] * 1e3
    }

    /// The same, finer than the server's clock, which counts whole milliseconds: as if those of one were spread over it.
    pub fn between(&self, q: f64) -> f64 {
        let whole = self.at(q).round();
        let up_to = |ms: f64| self.all.partition_point(|late| late * 1e3 < ms);
        let (below, with) = (up_to(whole - 0.5), up_to(whole + 0.5));
        let rank = self.all.len() as f64 * q - below as f64;
        whole - 0.5 + (rank / (with - below).max(1) as f64).clamp(0.0, 1.0)
    }

    fn of(mut all: Vec<f64>, missed: usize, period: f64) -> Result<Late, String> {
        all.sort_by(f64::total_cmp);
        match all.is_empty() {
            true => Err(format!(
                "too short to say who was late: no check came more than 3 times; measure for {:.0} s and more",
                5.0 * period
            )),
            false => Ok(Late { all, missed }),
        }
    }
}

/// When the requests of each check came, within one of these times. `prefix`: of what the log tells it by.
pub fn by_check(
    nginx: &Server,
    prefix: &str,
    times: &[(f64, f64)],
) -> Result<HashMap<String, Vec<f64>>, String> {
    let mut by_check: HashMap<String, Vec<f64>> = HashMap::new();
    for (uri, at) in arrivals(&nginx.dir.join("access.log"))? {
        if within(times, at).is_some() && uri.starts_with(prefix) {
            by_check.entry(uri).or_default().push(at);
        }
    }
    for times in by_check.values_mut() {
        times.sort_by(f64::total_cmp);
    }
    Ok(by_check)
}

fn within(times: &[(f64, f64)], at: f64) -> Option<usize> {
    times
        .iter()
        .position(|(begun, ended)| at >= *begun && at <= *ended)
}

/// How far each request of a check was from its own grid, by the server's clock; of those that came within one of
/// these times. `prefix`: of their paths.
pub fn late(
    nginx: &Server,
    period: f64,
    prefix: &str,
    times: &[(f64, f64)],
) -> Result<Late, String> {
    let (mut all, mut missed) = (Vec::new(), 0);
    for came in by_check(nginx, prefix, times)?.values() {
        // The first run is off the grid by design, and so is one that comes between it and the grid.
        let Some(on_grid @ [_, _, ..]) = came.get(2..) else {
            continue;
        };
        let mut phases: Vec<f64> = on_grid.iter().map(|t| t.rem_euclid(period)).collect();
        phases.sort_by(f64::total_cmp);
        let phase = phases[phases.len() / 4];
        for t in on_grid {
            let off = (t - phase).rem_euclid(period);
            all.push(if off > 0.75 * period {
                off - period
            } else {
                off
            });
        }
        missed += on_grid
            .windows(2)
            .filter(|w| within(times, w[0]) == within(times, w[1]) && w[1] - w[0] > 1.5 * period)
            .count();
    }
    Late::of(all, missed, period)
}

/// By how much two requests of a check in a row were nearer or farther than its period: who has no grid, but counts from
/// the end of the run before, is measured by the same rule.
pub fn period_errors(came: &HashMap<String, Vec<f64>>, period: f64) -> Result<Late, String> {
    let apart = || came.values().flat_map(|came| came.windows(2));
    let errors = apart().map(|w| (w[1] - w[0] - period).abs()).collect();
    let missed = apart().filter(|w| w[1] - w[0] > 1.5 * period).count();
    Late::of(errors, missed, period)
}

/// The same of all since then, printed.
pub fn lateness(nginx: &Server, period: f64, since: f64) -> Result<(), String> {
    let late = late(nginx, period, "/", &[(since, f64::INFINITY)])?;
    println!(
        "  late (by nginx's log) p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.0} ms, max {:.0} ms of {} requests; {} missed",
        late.between(0.5),
        late.between(0.99),
        late.at(0.999),
        late.at(1.0),
        late.all.len(),
        late.missed
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_periods() {
        let came = HashMap::from([
            ("a".to_owned(), vec![0.0, 2.0, 4.01, 8.0]),
            ("b".to_owned(), vec![0.5]),
        ]);
        let late = period_errors(&came, 2.0).expect("three of them");
        assert_eq!(late.missed, 1);
        assert!((late.at(0.5) - 10.0).abs() < 1e-6, "{}", late.at(0.5));
        assert!((late.at(1.0) - 1990.0).abs() < 1e-6, "{}", late.at(1.0));
        assert!(period_errors(&HashMap::new(), 2.0).is_err());
    }
}
