//! How fast the budget of an objective is used up. Pure.
//!
//! A burn of 1 uses all of the budget in the whole window; at 14.4 a budget of 30 days is gone in two. 14.4 over an hour and
//! 6 over six hours are what people are woken for (Google's SRE workbook).

use crate::report::Row;
use healthd_core::check::outcome::Verdict;
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Burn {
    /// 0 to 1.
    pub objective: f64,
    pub window_s: f64,
    /// How many checks it is about.
    pub checks: usize,
    /// Up / (up + down) of all of them within the window; None: nothing is known.
    pub availability: Option<f64>,
    /// The part of the budget that is left; below 0 once there is none.
    pub budget_left: Option<f64>,
    pub burn_1h: Option<f64>,
    pub burn_6h: Option<f64>,
    /// Critical at 14.4 in the last hour, a warning at 6 in the last six; unknown: nothing is known of them.
    pub verdict: Verdict,
}

/// All of a budget of 30 days is gone in two, and in five.
const CRITICAL_1H: f64 = 14.4;
const WARNING_6H: f64 = 6.0;

/// `rows` of the checks within the window, the last hour, and the last six.
pub fn burn(objective: f64, window_s: f64, [whole, hour, six]: [&[&Row]; 3]) -> Burn {
    let allowed = (1.0 - objective).max(1e-12);
    let rate = |rows: &[&Row]| availability(rows).map(|a| (1.0 - a) / allowed);
    let (burn_1h, burn_6h) = (rate(hour), rate(six));
    Burn {
        objective,
        window_s,
        checks: whole.len(),
        availability: availability(whole),
        budget_left: rate(whole).map(|used| 1.0 - used),
        burn_1h,
        burn_6h,
        verdict: verdict(burn_1h, burn_6h),
    }
}

fn availability(rows: &[&Row]) -> Option<f64> {
    let (up, down) = rows
        .iter()
        .fold((0.0, 0.0), |(up, down), r| (up + r.up_s, down + r.down_s));
    (up + down > 0.0).then(|| up / (up + down))
}

fn verdict(burn_1h: Option<f64>, burn_6h: Option<f64>) -> Verdict {
    match (burn_1h, burn_6h) {
        (None, None) => Verdict::Unknown,
        (Some(burn), _) if burn >= CRITICAL_1H => Verdict::Critical,
        (_, Some(burn)) if burn >= WARNING_6H => Verdict::Warning,
        _ => Verdict::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{State, What, row};

    const S: u64 = 1_000_000_000;

    #[test]
    fn it_is_critical_at_14_4_in_an_hour_and_a_warning_at_6_in_six() {
        let hour = 3_600 * S;
        // Of an hour, and of six, so much down that the budget of 99.9 % goes so many times too fast.
        let down = |hours: u64, times: f64| {
            let ns = (hours * hour) as f64 * 0.001 * times;
            let up = (ns as u64, What::Verdict(State::Up));
            row("a", (0, hours * hour), State::Down, [up])
        };
        for (of_1h, of_6h, verdict) in [
            (14.41, 0.0, Verdict::Critical),
            (14.39, 0.0, Verdict::Ok),
            (14.39, 6.01, Verdict::Warning),
            (0.0, 5.99, Verdict::Ok),
        ] {
            let (one, six) = (down(1, of_1h), down(6, of_6h));
            let b = burn(0.999, 30.0 * 86_400.0, [&[&six], &[&one], &[&six]]);
            assert_eq!(b.verdict, verdict, "{of_1h} {of_6h}");
        }
        let b = burn(0.999, 1.0, [&[], &[], &[]]);
        assert_eq!(b.verdict, Verdict::Unknown);
    }

    #[test]
    fn a_budget_is_used_by_what_is_down_and_by_nothing_else() {
        let day = 86_400 * S;
        let down = |from: u64, to: u64| {
            [
                (from * S, What::Verdict(State::Down)),
                (to * S, What::Verdict(State::Up)),
            ]
        };
        // 432 s of a day are half a percent: half of a budget of one.
        let one = row("a", (0, day), State::Up, down(100, 532));
        let none = row("b", (0, day), State::Unknown, []);
        let b = burn(0.99, 86_400.0, [&[&one], &[&none], &[&one, &one]]);
        assert!((b.availability.expect("known") - 0.995).abs() < 1e-12);
        assert!((b.budget_left.expect("known") - 0.5).abs() < 1e-9);
        assert_eq!(b.burn_1h, None);
        assert!((b.burn_6h.expect("known") - 0.5).abs() < 1e-9);
        assert_eq!(b.verdict, Verdict::Ok);
        let all = row("c", (0, 3_600 * S), State::Down, []);
        let b = burn(0.999, 1.0, [&[&all], &[&all], &[&all]]);
        assert_eq!(b.burn_1h.map(f64::round), Some(1000.0));
        assert_eq!(b.verdict, Verdict::Critical);
        assert!(b.budget_left.expect("known") < 0.0);
    }
}
