//! The families of checks: a row of `FAMILIES` is one, with a sample or two a check.

use super::format::{Kind, Labels, Writer};
use crate::facts::{Facts, Row};
use healthd_core::check::outcome::Verdict;

pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub write: fn(&Family, &Row, &Labels, &mut Writer),
}

pub const FAMILIES: [Family; 7] = [
    Family {
        name: "healthd_check_up",
        kind: Kind::Gauge,
        help: "1: the check is ok. 0: it is warning or critical. Absent: it is not known.",
        write: |family, row, labels, out| {
            let up = match row.verdict {
                Some(Verdict::Ok) => 1.0,
                Some(Verdict::Warning | Verdict::Critical) => 0.0,
                Some(Verdict::Unknown | Verdict::Pending) | None => return,
            };
            out.sample(family.name, labels, up);
        },
    },
    Family {
        name: "healthd_check_status",
        kind: Kind::Gauge,
        help: "The verdict as a Nagios plugin's exit code: 0 ok, 1 warning, 2 critical, 3 unknown. Absent: pending.",
        write: |family, row, labels, out| {
            let code = row.verdict.filter(|v| *v != Verdict::Pending);
            if let Some(verdict) = code {
                out.sample(family.name, labels, f64::from(verdict.code()));
            }
        },
    },
    Family {
        name: "healthd_check_changed_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the verdict last changed.",
        write: |family, row, labels, out| out.at(family, labels, row.since),
    },
    Family {
        name: "healthd_check_last_run_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the last run began.",
        write: |family, row, labels, out| out.at(family, labels, row.last_run),
    },
    Family {
        name: "healthd_check_last_run_duration_seconds",
        kind: Kind::Gauge,
        help: "How long the last run took.",
        write: |family, row, labels, out| {
            if row.last_run != 0 {
                out.sample(family.name, labels, row.latency_ns as f64 / 1e9);
            }
        },
    },
    Family {
        name: "healthd_check_runs_total",
        kind: Kind::Counter,
        help: "Runs by outcome: ok, problem (warning, critical), unjudged (unknown, or our own fault).",
        write: |family, row, labels, out| {
            let [ok, warning, critical, unknown, own] = row.runs;
            for (outcome, runs) in [
                ("ok", ok),
                ("problem", warning + critical),
                ("unjudged", unknown + own),
            ] {
                let labels = labels.clone().with("outcome", outcome);
                out.sample(family.name, &labels, runs as f64);
            }
        },
    },
    Family {
        name: "healthd_check_run_seconds",
        kind: Kind::Summary,
        help: "How long runs took, of those that a worker finished.",
        write: |family, row, labels, out| {
            out.summary(family.name, labels, row.sum_ns as f64 / 1e9, row.timed);
        },
    },
];

impl Writer {
    /// A time of CLOCK_REALTIME in ns; 0: never.
    fn at(&mut self, family: &Family, labels: &Labels, ns: u64) {
        if ns != 0 {
            self.sample(family.name, labels, ns as f64 / 1e9);
        }
    }
}

/// How many checks stand how. The first five add up to all; the others count some of them once more.
pub fn counts(facts: &Facts, out: &mut Writer) {
    out.family(
        "healthd_checks",
        Kind::Gauge,
        "Checks by verdict. Those that are paused, held or quarantined count there as well.",
    );
    let count = |is: &dyn Fn(&Row) -> bool| facts.rows.iter().filter(|r| is(r)).count() as f64;
    let mut tell = |word: &str, n: f64| {
        let labels = Labels::none().with("verdict", word);
        out.sample("healthd_checks", &labels, n);
    };
    for verdict in [
        Verdict::Ok,
        Verdict::Warning,
        Verdict::Critical,
        Verdict::Unknown,
        Verdict::Pending,
    ] {
        let is = |r: &Row| r.verdict.unwrap_or(Verdict::Pending) == verdict;
        tell(verdict.as_str(), count(&is));
    }
    tell("paused", count(&|r| r.paused));
    tell("held", count(&|r| r.held));
    tell("quarantined", count(&|r| r.quarantined));
}
