//! Exit codes: what a script or a Nagios-like caller learns from a list of checks.

use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::wire::control::{CheckRow, Problem};

pub const OK: u8 = 0;
pub const WARNING: u8 = 1;
/// Also: judged and refused.
pub const CRITICAL: u8 = 2;
pub const UNKNOWN: u8 = 3;

/// By verdict. Paused and disabled checks do not count: someone silenced them on purpose.
pub fn of_verdicts(rows: &[CheckRow]) -> u8 {
    worst(
        rows.iter()
            .filter(|row| !row.paused && !row.disabled)
            .map(|row| {
                match row.verdict {
                    Some(Verdict::Critical) => Status::Critical,
                    // What was true once is not known to be true now.
                    _ if row.stale => Status::Unknown,
                    Some(Verdict::Ok) => Status::Ok,
                    Some(Verdict::Warning) => Status::Warning,
                    Some(Verdict::Unknown | Verdict::Pending) | None => Status::Unknown,
                }
            }),
    )
}

/// While healthd itself is not well nobody may think that all is.
pub fn with_problems(code: u8, problems: &[Problem]) -> u8 {
    match code {
        OK | WARNING if !problems.is_empty() => UNKNOWN,
        code => code,
    }
}

/// By the status of the run just done; paused or not, it was asked for.
pub fn of_runs(rows: &[CheckRow]) -> u8 {
    worst(rows.iter().map(|row| row.status.unwrap_or(Status::Unknown)))
}

fn worst(statuses: impl Iterator<Item = Status>) -> u8 {
    // A known failure outranks an unknown one.
    let rank = |status: &Status| match status {
        Status::Ok => 0,
        Status::Warning => 1,
        Status::Unknown => 2,
        Status::Critical => 3,
    };
    statuses.max_by_key(rank).map_or(OK, |status| status as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(verdict: Verdict) -> CheckRow {
        CheckRow {
            verdict: Some(verdict),
            ..CheckRow::default()
        }
    }

    #[test]
    fn the_worst_counts() {
        use Verdict::{Critical, Ok, Pending, Unknown, Warning};
        for (verdicts, code) in [
            (&[][..], 0),
            (&[Ok, Ok], 0),
            (&[Ok, Warning], 1),
            (&[Warning, Unknown], 3),
            (&[Unknown, Critical, Ok], 2),
            (&[Ok, Pending], 3),
        ] {
            let rows: Vec<_> = verdicts.iter().map(|v| row(*v)).collect();
            assert_eq!(of_verdicts(&rows), code, "{verdicts:?}");
        }
    }

    #[test]
    fn paused_does_not_count_and_stale_is_unknown() {
        let paused = CheckRow {
            paused: true,
            ..row(Verdict::Critical)
        };
        let disabled = CheckRow {
            disabled: true,
            ..row(Verdict::Pending)
        };
        assert_eq!(
            of_verdicts(&[paused.clone(), disabled, row(Verdict::Ok)]),
            0
        );
        assert_eq!(
            of_verdicts(&[CheckRow {
                stale: true,
                ..row(Verdict::Ok)
            }]),
            3
        );
        assert_eq!(
            of_verdicts(&[CheckRow {
                stale: true,
                ..row(Verdict::Critical)
            }]),
            2
        );
        assert_eq!(
            of_verdicts(&[CheckRow {
                verdict: None,
                ..row(Verdict::Ok)
            }]),
            3
        );
        assert_eq!(
            of_runs(&[CheckRow {
                status: Some(Status::Warning),
                ..paused
            }]),
            1
        );
        assert_eq!(of_runs(&[CheckRow::default()]), 3);
    }
}
