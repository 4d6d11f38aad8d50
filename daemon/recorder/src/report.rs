//! What a history means: how long a check was up, down, or not known. Pure.
//!
//! Time in which nobody could know (our own fault, a needed check that was down, a daemon that did not run) and time
//! that was planned are neither up nor down, and stand in columns of their own.

use crate::burn::Burn;
use serde::Serialize;

/// What happened to a check, in order; times are CLOCK_REALTIME in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its verdict is this from now on.
    Verdict(State),
    Paused(bool),
    /// Its time is planned: a maintenance, by command or by calendar.
    Planned(bool),
    /// Nobody looked from then on, or somebody does again.
    Unseen(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    Down,
    Unknown,
}

impl State {
    /// Of a verdict's word. A warning is a check that is up.
    pub fn of(verdict: &str) -> State {
        match verdict {
            "ok" | "warning" => State::Up,
            "critical" => State::Down,
            _ => State::Unknown,
        }
    }
}

/// A row of `report`. Seconds; a part of one for the availability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    /// Up / (up + down), 0 to 1. None: neither was.
    pub availability: Option<f64>,
    pub up_s: f64,
    pub down_s: f64,
    /// Paused, or planned.
    pub maintenance_s: f64,
    /// Unknown, not seen, or not run yet.
    pub unknown_s: f64,
    /// Times that it went down.
    pub failures: u64,
    /// Mean time down of those that are over. None: none is.
    pub mttr_s: Option<f64>,
    /// Mean time up between failures. None: there was none.
    pub mtbf_s: Option<f64>,
    pub longest_s: f64,
    /// It is down now.
    pub is_down: bool,
    /// Where it has an objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<Burn>,
}

impl Row {
    /// All of the time that it tells of.
    pub fn seen_s(&self) -> f64 {
        self.up_s + self.down_s + self.maintenance_s + self.unknown_s
    }
}

/// Some checks as one: an objective of all that fit a `match`.
pub fn together(name: &str, rows: &[&Row]) -> Row {
    let sum = |of: fn(&Row) -> f64| rows.iter().map(|r| of(r)).sum::<f64>();
    let (up_s, down_s) = (sum(|r| r.up_s), sum(|r| r.down_s));
    let failures = rows.iter().map(|r| r.failures).sum();
    let known = up_s + down_s;
    let repaired: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|r| {
            let over = r.failures - u64::from(r.is_down).min(r.failures);
            Some((r.mttr_s? * over as f64, over as f64))
        })
        .collect();
    let over: f64 = repaired.iter().map(|(_, n)| n).sum();
    Row {
        name: name.to_owned(),
        availability: (known > 0.0).then(|| up_s / known),
        up_s,
        down_s,
        maintenance_s: sum(|r| r.maintenance_s),
        unknown_s: sum(|r| r.unknown_s),
        failures,
        mttr_s: (over > 0.0).then(|| repaired.iter().map(|(s, _)| s).sum::<f64>() / over),
        mtbf_s: (failures > 0).then(|| up_s / failures as f64),
        longest_s: rows.iter().map(|r| r.longest_s).fold(0.0, f64::max),
        is_down: rows.iter().any(|r| r.is_down),
        slo: None,
    }
}

/// From `start` to `end`; nothing, where the clock was set back and it ends before it starts. `before`: its state at the
/// start. `events`: in the order of their times; those before the start only set the state.
pub fn row(
    name: &str,
    (start, end): (u64, u64),
    before: State,
    events: impl IntoIterator<Item = (u64, What)>,
) -> Row {
    let end = end.max(start);
    let mut tally = Tally {
        at: start,
        state: before,
        paused: false,
        planned: false,
        unseen: false,
        sums: [0; 4],
        failures: 0,
        repaired: Vec::new(),
        down_for: None,
        longest: 0,
    };
    for (time, what) in events {
        tally.pass(time.clamp(start, end));
        match what {
            What::Verdict(state) => tally.state = state,
            What::Paused(paused) => tally.paused = paused,
            What::Planned(planned) => tally.planned = planned,
            What::Unseen(unseen) => tally.unseen = unseen,
        }
    }
    tally.pass(end);
    tally.row(name)
}

struct Tally {
    at: u64,
    state: State,
    paused: bool,
    planned: bool,
    unseen: bool,
    /// ns: up, down, maintenance, unknown.
    sums: [u64; 4],
    failures: u64,
    repaired: Vec<u64>,
    /// How long the failure of now has been down, ns.
    down_for: Option<u64>,
    longest: u64,
}

impl Tally {
    /// Time goes on to then, with all as it is.
    fn pass(&mut self, until: u64) {
        let ns = until.saturating_sub(self.at);
        self.at = self.at.max(until);
        if ns == 0 {
            return;
        }
        let kind = match (self.unseen, self.paused || self.planned, self.state) {
            (true, ..) => 3,
            (false, true, _) => 2,
            (false, false, State::Up) => 0,
            (false, false, State::Down) => 1,
            (false, false, State::Unknown) => 3,
        };
        self.sums[kind] += ns;
        match kind {
            0 => self.repaired.extend(self.down_for.take()),
            1 => {
                // What lies between two parts of one failure does not make it two.
                if self.down_for.is_none() {
                    self.failures += 1;
                }
                let down = self.down_for.get_or_insert(0);
                *down += ns;
                self.longest = self.longest.max(*down);
            }
            _ => {}
        }
    }

    fn row(self, name: &str) -> Row {
        let s = |ns: u64| ns as f64 / 1e9;
        let [up, down, maintenance, unknown] = self.sums;
        let known = up + down;
        let mean = |sum: u64, n: usize| (n > 0).then(|| s(sum) / n as f64);
        Row {
            name: name.to_owned(),
            availability: (known > 0).then(|| up as f64 / known as f64),
            up_s: s(up),
            down_s: s(down),
            maintenance_s: s(maintenance),
            unknown_s: s(unknown),
            failures: self.failures,
            mttr_s: mean(self.repaired.iter().sum(), self.repaired.len()),
            mtbf_s: mean(up, self.failures as usize),
            longest_s: s(self.longest),
            is_down: self.down_for.is_some(),
            slo: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn up_and_down_are_told_apart_from_what_nobody_knows() {
        let events = [
            (10 * S, What::Verdict(State::Down)),
            (30 * S, What::Verdict(State::Up)),
            (40 * S, What::Paused(true)),
            (60 * S, What::Paused(false)),
            (70 * S, What::Verdict(State::Unknown)),
            (75 * S, What::Verdict(State::Down)),
            (80 * S, What::Unseen(true)),
            (90 * S, What::Unseen(false)),
            (95 * S, What::Verdict(State::Up)),
        ];
        let row = row("web", (0, 100 * S), State::Up, events);
        // Up 0-10, 30-40, 60-70, 95-100; down 10-30, 75-80, 90-95.
        assert_eq!((row.up_s, row.down_s), (35.0, 30.0));
        assert_eq!((row.maintenance_s, row.unknown_s), (20.0, 15.0));
        assert_eq!(row.availability, Some(35.0 / 65.0));
        assert_eq!((row.failures, row.is_down), (2, false));
        assert_eq!(row.mttr_s, Some(15.0));
        assert_eq!(row.mtbf_s, Some(17.5));
        assert_eq!(row.longest_s, 20.0);
    }

    #[test]
    fn what_was_planned_is_no_downtime() {
        let events = [
            (10 * S, What::Planned(true)),
            (20 * S, What::Verdict(State::Down)),
            (30 * S, What::Verdict(State::Up)),
            (40 * S, What::Planned(false)),
            (50 * S, What::Planned(true)),
            // A start: it is told anew if it goes on.
            (60 * S, What::Planned(false)),
        ];
        let row = row("web", (0, 100 * S), State::Up, events);
        assert_eq!((row.up_s, row.down_s, row.maintenance_s), (60.0, 0.0, 40.0));
        assert_eq!((row.availability, row.failures), (Some(1.0), 0));
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_no_time_and_no_panic() {
        let events = [(5, What::Planned(true)), (50, What::Planned(false))];
        let row = row("web", (100, 40), State::Unknown, events);
        let all = [row.up_s, row.down_s, row.maintenance_s, row.unknown_s];
        assert_eq!(all, [0.0; 4]);
    }

    #[test]
    fn what_was_before_sets_the_state_and_what_lasts_counts_until_the_end() {
        let events = [
            (5 * S, What::Verdict(State::Down)),
            (150 * S, What::Verdict(State::Up)),
            (170 * S, What::Verdict(State::Down)),
        ];
        let row = row("web", (100 * S, 200 * S), State::Up, events);
        assert_eq!((row.up_s, row.down_s), (20.0, 80.0));
        assert_eq!((row.failures, row.is_down), (2, true));
        assert_eq!(row.mttr_s, Some(50.0), "of the one that is over");
        assert_eq!(row.longest_s, 50.0);
        let never = super::row("new", (0, 10 * S), State::Unknown, []);
        assert_eq!((never.availability, never.mtbf_s), (None, None));
        assert_eq!(never.unknown_s, 10.0);
    }

    #[test]
    fn every_second_is_in_one_column() {
        // A generator of our own: the same numbers each time.
        let mut seed = 7u64;
        let mut next = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        for _ in 0..2000 {
            let mut time = 0;
            let events: Vec<(u64, What)> = (0..next(20))
                .map(|_| {
                    time += next(20) * S;
                    let what = match next(7) {
                        0 => What::Verdict(State::Up),
                        1 => What::Verdict(State::Down),
                        2 => What::Verdict(State::Unknown),
                        n @ 3..5 => What::Paused(n == 3),
                        n => What::Unseen(n == 5),
                    };
                    (time, what)
                })
                .collect();
            let (start, end) = (next(100) * S, 100 * S + next(200) * S);
            let row = row("x", (start, end), State::Up, events);
            let all = row.up_s + row.down_s + row.maintenance_s + row.unknown_s;
            assert_eq!(all, (end - start) as f64 / 1e9);
        }
    }
}
