//! `cpu`: computes, and compares the rate with a baseline, to find throttled and stolen CPUs. Options, metrics and
//! verdicts are described in README.md beside this crate.

#![forbid(unsafe_code)]

mod clock;
#[cfg(test)]
mod tests;
mod verdict;
mod work;

use clock::{Stamp, machine_ticks};
use healthd_plugin::options::Bad::Below;
use healthd_plugin::options::{Limits, OptionValue, duration_text};
use healthd_plugin::serde_json::Value;
use healthd_plugin::{BlockingCheck, Cx, Status, options, plugins};
use std::io;
use std::time::{Duration, Instant};
use verdict::{Done, Measured, judge};
use work::{CHUNK, Factor, Sine, Work, Wrong};

options! {
    /// Computes on one CPU and compares the rate with a baseline. Finds throttled and stolen CPUs.
    #[derive(Debug)]
    pub struct Options {
        /// What to compute: a prime factorisation (integers), a sum over sqrt(i)*sin(i) (floating point), or both.
        work: Which = Which::Both,
        /// How long to compute, for each work; 250ms unless operations is given.
        duration: Option<Duration>,
        /// How much to compute, for each work, instead of how long.
        operations: Option<u64> { min: 1 },
        /// The rate of a healthy machine in operations a second: a number for the mean of the works, or a table with
        /// factor, sine or both. Without it the check only measures.
        baseline: Option<Baseline>,
        /// Warning below so many percent of the baseline.
        warn_below: f64 { min: 0, max: 1000, bad: Below } = 80.0,
        /// Critical below so many percent of the baseline.
        crit_below: f64 { min: 0, max: 1000 } = 50.0,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Which { Factor = "factor", Sine = "sine", Both = "both" }
}

options! {
    #[derive(Debug)]
    pub struct Rates {
        /// Divisions a second.
        factor: Option<f64> { min: 1 },
        /// Terms a second.
        sine: Option<f64> { min: 1 },
    }
}

/// What the rates are compared with.
#[derive(Debug)]
pub enum Baseline {
    Mean(f64),
    Each(Rates),
}

const RATE: Limits = Limits {
    min: Some(1.0),
    ..Limits::NONE
};

impl OptionValue for Baseline {
    fn schema(limits: &Limits) -> String {
        let number = f64::schema(&RATE);
        let table = Rates::schema(limits);
        format!(r#""anyOf":[{{{number}}},{{{table}}}]"#)
    }

    fn from_json(value: Value, limits: &Limits) -> Result<Self, String> {
        match value {
            Value::Object(_) => Rates::from_json(value, limits).map(Baseline::Each),
            _ => f64::from_json(value, &RATE).map(Baseline::Mean),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Baseline::Mean(rate) => (*rate).into(),
            Baseline::Each(rates) => rates.to_json(),
        }
    }
}

const DEFAULT_DURATION: Duration = Duration::from_millis(250);
/// Not measured: the clock of an idle CPU takes this long to rise.
const WARM_UP: Duration = Duration::from_millis(10);
/// The run must be back before its deadline, or its worker counts a stuck thread.
const MARGIN: Duration = Duration::from_millis(20);

struct Cpu(Options);

impl BlockingCheck for Cpu {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        if o.duration.is_some() && o.operations.is_some() {
            return Err("duration, operations: give one of the two".into());
        }
        if o.duration.is_some_and(|d| d.is_zero()) {
            return Err("duration: must be above 0s".into());
        }
        if let Some(Baseline::Each(_)) = &o.baseline {
            let used = ["factor", "sine"].into_iter().filter(|name| o.does(name));
            if used.filter_map(|name| o.baseline_of(name)).next().is_none() {
                return Err("baseline: gives no rate of the chosen work".into());
            }
        }
        Ok(Cpu(o))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        match self.measure(cx) {
            Ok(measured) => {
                let verdict = judge(&measured, &self.0);
                for metric in verdict.metrics {
                    cx.metric(metric);
                }
                cx.message(verdict.message);
                verdict.status
            }
            Err(Stop::Cancelled) => {
                cx.message("cancelled");
                Status::Cancelled
            }
            Err(Stop::OutOfTime(name)) => cx.unknown(format_args!(
                "{name}: not done within the check's timeout; raise it, or compute less ({})",
                self.amount()
            )),
            Err(Stop::Wrong(Wrong(what))) => {
                cx.critical(format_args!("this CPU computes wrong: {what}"))
            }
            Err(Stop::Clock(e)) => cx.fail("clock", &e),
        }
    }
}

plugins! {
    cpu Cpu {
        name: "cpu",
        summary: "computes, and compares the rate with a baseline",
    }
}

/// Why there is no measurement.
enum Stop {
    Cancelled,
    OutOfTime(&'static str),
    Wrong(Wrong),
    Clock(io::Error),
}

impl Cpu {
    fn measure(&self, cx: Cx<'_>) -> Result<Measured, Stop> {
        let before = machine_ticks();
        let mut works = Vec::new();
        if self.0.does("factor") {
            works.push(self.timed(cx, "factor", Factor::new())?);
        }
        if self.0.does("sine") {
            works.push(self.timed(cx, "sine", Sine)?);
        }
        let machine_steal = match (before, machine_ticks()) {
            (Some((steal, all)), Some((steal_now, all_now))) if all_now > all => {
                Some(steal_now.saturating_sub(steal) as f64 / (all_now - all) as f64 * 100.0)
            }
            _ => None,
        };
        Ok(Measured {
            works,
            machine_steal,
        })
    }

    fn timed(&self, cx: Cx<'_>, name: &'static str, mut work: impl Work) -> Result<Done, Stop> {
        cx.phase(name);
        let mut step = || {
            if cx.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            if cx.remaining() < MARGIN {
                return Err(Stop::OutOfTime(name));
            }
            work.chunk().map_err(Stop::Wrong)
        };
        let warm = Instant::now();
        while warm.elapsed() < WARM_UP {
            step()?;
        }
        let begin = Stamp::now().map_err(Stop::Clock)?;
        let started = Instant::now();
        let mut operations = 0;
        let enough = |operations: u64| match self.0.operations {
            Some(wanted) => operations >= wanted,
            None => started.elapsed() >= self.0.duration.unwrap_or(DEFAULT_DURATION),
        };
        while !enough(operations) {
            operations += step()?;
        }
        let end = Stamp::now().map_err(Stop::Clock)?;
        Ok(Done {
            name,
            operations,
            spent: begin.until(&end),
        })
    }

    fn amount(&self) -> String {
        match self.0.operations {
            Some(n) => format!("operations = {}", n.max(CHUNK)),
            None => format!(
                "duration = {:?}",
                duration_text(self.0.duration.unwrap_or(DEFAULT_DURATION))
            ),
        }
    }
}

impl Options {
    fn does(&self, name: &str) -> bool {
        match self.work {
            Which::Both => true,
            Which::Factor => name == "factor",
            Which::Sine => name == "sine",
        }
    }

    /// A baseline of this work alone.
    fn baseline_of(&self, name: &str) -> Option<f64> {
        match &self.baseline {
            Some(Baseline::Each(rates)) if name == "factor" => rates.factor,
            Some(Baseline::Each(rates)) => rates.sine,
            _ => None,
        }
    }
}
