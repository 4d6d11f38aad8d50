//! From what was measured to a status, a message and metrics. No clock and no I/O.

use crate::clock::Spent;
use crate::{Baseline, Options};
use healthd_plugin::{Metric, Status};
use std::fmt;
use std::time::Duration;

/// One work that was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    pub name: &'static str,
    pub operations: u64,
    pub spent: Spent,
}

impl Done {
    /// Operations a second of the time the machine had for us: what slow, throttled and stolen CPUs lower.
    fn rate(&self) -> f64 {
        per_second(self.operations, self.spent.granted())
    }

    /// Operations a second on a CPU: what a stolen CPU does not lower.
    fn cpu_rate(&self) -> f64 {
        per_second(self.operations, self.spent.cpu)
    }
}

/// The whole run.
#[derive(Debug)]
pub struct Measured {
    pub works: Vec<Done>,
    /// Of the whole machine, in percent of all CPUs' time.
    pub machine_steal: Option<f64>,
}

pub struct Verdict {
    pub status: Status,
    pub message: String,
    pub metrics: Vec<Metric<'static>>,
}

pub fn judge(m: &Measured, o: &Options) -> Verdict {
    let mean = |of: fn(&Done) -> f64| m.works.iter().map(of).sum::<f64>() / m.works.len() as f64;
    let rate = mean(Done::rate);
    let total = m
        .works
        .iter()
        .map(|w| w.spent)
        .reduce(Spent::add)
        .unwrap_or_default();
    let (steal, waiting) = (
        percent(total.stolen(), total.wall),
        total.waited.map(|w| percent(w, total.wall)),
    );

    // The worst of those that have a baseline.
    let compared = match &o.baseline {
        None => None,
        Some(Baseline::Mean(baseline)) => Some(rate / baseline * 100.0),
        Some(Baseline::Each(_)) => m
            .works
            .iter()
            .filter_map(|w| Some(w.rate() / o.baseline_of(w.name)? * 100.0))
            .reduce(f64::min),
    };
    let status = match compared {
        Some(p) if p < o.crit_below => Status::Critical,
        Some(p) if p < o.warn_below => Status::Warn,
        _ => Status::Ok,
    };

    let mut message: Vec<String> = m
        .works
        .iter()
        .map(|w| format!("{} {}", w.name, Rate(w.rate())))
        .collect();
    if let Some(p) = compared {
        message.push(format!("{p:.0}% of the baseline"));
    }
    match status {
        Status::Ok if steal >= 1.0 => message.push(format!("{steal:.0}% of the time stolen")),
        Status::Ok => {}
        _ if steal >= 10.0 => message.push(format!(
            "{steal:.0}% of the time was taken by the hypervisor or a CPU quota"
        )),
        _ => message
            .push("the CPU itself is slow: throttled, or not the one the baseline is from".into()),
    }

    let below = |baseline: Option<f64>, p: f64| baseline.map(|b| b * p / 100.0);
    let with_limits = |metric: Metric<'static>, baseline: Option<f64>| {
        metric
            .warn(below(baseline, o.warn_below))
            .crit(below(baseline, o.crit_below))
            .min(0.0)
    };
    let mean_baseline = match o.baseline {
        Some(Baseline::Mean(b)) => Some(b),
        _ => None,
    };
    let mut metrics = vec![with_limits(
        Metric::new("rate", rate).unit("1/s"),
        mean_baseline,
    )];
    for w in &m.works {
        let name = if w.name == "factor" {
            "factor_rate"
        } else {
            "sine_rate"
        };
        let each = o.baseline_of(w.name);
        metrics.push(with_limits(Metric::new(name, w.rate()).unit("1/s"), each));
    }
    metrics.push(
        Metric::new("cpu_rate", mean(Done::cpu_rate))
            .unit("1/s")
            .min(0.0),
    );
    let share = |name, value| Metric::new(name, value).unit("%").min(0.0);
    metrics.extend(compared.map(|p| {
        share("of_baseline", p)
            .warn(o.warn_below)
            .crit(o.crit_below)
    }));
    metrics.push(share("steal", steal).max(100.0));
    metrics.extend(waiting.map(|p| share("waiting", p).max(100.0)));
    metrics.extend(
        m.machine_steal
            .map(|p| share("machine_steal", p).max(100.0)),
    );
    metrics.push(Metric::seconds("cpu_time", total.cpu));
    metrics.push(Metric::seconds("wall_time", total.wall));
    Verdict {
        status,
        message: message.join(", "),
        metrics,
    }
}

fn per_second(operations: u64, time: Duration) -> f64 {
    // A clock too coarse to see the work must not give an infinite rate.
    operations as f64 / time.as_secs_f64().max(1e-6)
}

fn percent(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        0.0
    } else {
        (part.as_secs_f64() / whole.as_secs_f64() * 100.0).min(100.0)
    }
}

/// `134.2 M/s`.
struct Rate(f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, prefix) = match self.0 {
            r if r >= 1e9 => (r / 1e9, "G"),
            r if r >= 1e6 => (r / 1e6, "M"),
            r if r >= 1e3 => (r / 1e3, "k"),
            r => (r, ""),
        };
        write!(f, "{value:.1} {prefix}/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_plugin::Options as _;

    fn options(json: &str) -> Options {
        Options::parse(json.as_bytes()).unwrap()
    }

    /// One second of wall time.
    fn done(name: &'static str, operations: u64, cpu_ms: u64, waited_ms: Option<u64>) -> Done {
        Done {
            name,
            operations,
            spent: Spent {
                wall: Duration::from_secs(1),
                cpu: Duration::from_millis(cpu_ms),
                waited: waited_ms.map(Duration::from_millis),
            },
        }
    }

    fn verdict(works: &[Done], json: &str) -> Verdict {
        let m = Measured {
            works: works.to_vec(),
            machine_steal: Some(2.0),
        };
        judge(&m, &options(json))
    }

    fn metric(v: &Verdict, name: &str) -> String {
        let shown = v.metrics.iter().map(|m| format!("{m:?}"));
        shown
            .filter(|m| m.contains(&format!("{name:?}")))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn without_a_baseline_it_only_measures() {
        let works = [
            done("factor", 200_000_000, 1000, Some(0)),
            done("sine", 50_000_000, 1000, Some(0)),
        ];
        let v = verdict(&works, "{}");
        assert_eq!(v.status, Status::Ok);
        assert_eq!(v.message, "factor 200.0 M/s, sine 50.0 M/s");
        assert!(metric(&v, "rate").contains("value: 125000000.0"));
        assert_eq!(metric(&v, "of_baseline"), "");
        assert!(metric(&v, "machine_steal").contains("value: 2.0"));
    }

    #[test]
    fn a_slow_cpu_is_told_from_a_stolen_one() {
        let slow = [done("factor", 40_000_000, 1000, Some(0))];
        let v = verdict(&slow, r#"{"work": "factor", "baseline": 100e6}"#);
        assert_eq!(v.status, Status::Critical);
        assert_eq!(
            v.message,
            "factor 40.0 M/s, 40% of the baseline, the CPU itself is slow: throttled, or not the one the baseline is from"
        );

        let stolen = [done("factor", 60_000_000, 600, Some(0))];
        let v = verdict(&stolen, r#"{"work": "factor", "baseline": 100e6}"#);
        assert_eq!(v.status, Status::Warn);
        assert_eq!(
            v.message,
            "factor 60.0 M/s, 60% of the baseline, 40% of the time was taken by the hypervisor or a CPU quota"
        );
        assert!(metric(&v, "cpu_rate").contains("value: 100000000.0"));
        assert!(metric(&v, "steal").contains("value: 40.0"));
    }

    #[test]
    fn busy_neighbours_are_no_fault_of_the_machine() {
        let waited = [done("factor", 60_000_000, 600, Some(400))];
        let v = verdict(&waited, r#"{"work": "factor", "baseline": 100e6}"#);
        assert_eq!(
            (v.status, &*v.message),
            (Status::Ok, "factor 100.0 M/s, 100% of the baseline")
        );
        assert!(metric(&v, "waiting").contains("value: 40.0"));
        assert!(metric(&v, "steal").contains("value: 0.0"));
        let blind = [done("factor", 60_000_000, 600, None)];
        let v = verdict(&blind, r#"{"work": "factor", "baseline": 100e6}"#);
        assert_eq!(v.status, Status::Ok);
        assert!(metric(&v, "steal").contains("value: 40.0"));
        assert_eq!(metric(&v, "waiting"), "");
    }

    #[test]
    fn each_work_may_have_its_own_baseline() {
        let works = [
            done("factor", 200_000_000, 1000, Some(0)),
            done("sine", 30_000_000, 1000, Some(0)),
        ];
        let v = verdict(&works, r#"{"baseline": {"factor": 200e6, "sine": 50e6}}"#);
        assert_eq!(v.status, Status::Warn);
        assert!(v.message.contains("60% of the baseline"), "{}", v.message);
        let sine = metric(&v, "sine_rate");
        assert!(
            sine.contains("warn: 40000000.0, crit: 25000000.0"),
            "{sine}"
        );
        let v = verdict(&works, r#"{"baseline": {"factor": 200e6}}"#);
        assert_eq!(v.status, Status::Ok);
        let v = verdict(
            &works,
            r#"{"baseline": 115e6, "warn_below": 101, "crit_below": 10}"#,
        );
        assert_eq!(v.status, Status::Warn);
    }

    #[test]
    fn no_time_gives_no_infinite_rate() {
        let nothing = [Done {
            name: "sine",
            operations: 1,
            spent: Spent::default(),
        }];
        let v = verdict(&nothing, r#"{"work": "sine"}"#);
        assert!(v.metrics.iter().all(|m| !format!("{m:?}").contains("inf")));
        assert_eq!(Rate(5.0).to_string(), "5.0 /s");
        assert_eq!(Rate(1234.0).to_string(), "1.2 k/s");
        assert_eq!(Rate(2.5e9).to_string(), "2.5 G/s");
    }
}
