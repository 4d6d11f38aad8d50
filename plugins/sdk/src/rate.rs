//! A limit on how often something is done, over all workers: at even distances, first come, first served.
//!
//! It is the generic cell rate algorithm (GCRA) with a burst of one, on one number: the time at which the next may go.
//! Whoever wants to go moves it on by one distance in one compare-and-swap and waits until the time that was there. So
//! a worker that is killed while it waits costs one turn and blocks nobody.

use crate::counter::Counter;
use crate::cx::Cx;
use crate::options::{Limits, OptionValue, refused};
use healthd_units::rate as units;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// So many in so much time: "50/s", "10/m", "1/h". An option may have this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(units::Rate);

/// A turn is not missed by less: timers have a millisecond.
const SLACK_NS: u64 = 5_000_000;
impl Rate {
    pub fn parse(text: &str) -> Option<Rate> {
        units::Rate::parse(text).ok().map(Rate)
    }

    /// The time between two.
    pub fn distance(self) -> Duration {
        self.0.distance()
    }

    /// Takes the next turn, if it comes before `latest_ns`; returns its time, which may have come already. All who
    /// share `next` share the rate.
    pub fn take(self, next: Counter, now_ns: u64, latest_ns: u64) -> Result<u64, OverRate> {
        let distance = self.distance().as_nanos() as u64;
        let mut there = next.get();
        loop {
            let turn = there.max(now_ns);
            if turn > latest_ns {
                return Err(OverRate {
                    rate: self,
                    wait: Duration::from_nanos(turn - now_ns),
                });
            }
            match next.compare_exchange(there, turn.saturating_add(distance)) {
                Ok(()) => return Ok(turn),
                Err(other) => there = other,
            }
        }
    }

    /// Step lane: waits for the next turn, and gives the time back ([`Cx::give_back`]): the deadline is as far away then
    /// as before. A run whose turn would come after its deadline takes none: it is told how long it would wait. A turn
    /// that is missed, because the machine was busy, is lost: two that go together would be more than the rate.
    pub async fn wait(self, cx: Cx<'_>, next: Counter) -> Result<(), OverRate> {
        let slack = (self.distance().as_nanos() as u64).max(SLACK_NS);
        loop {
            let now = cx.now_ns();
            let turn = self.take(next, now, cx.deadline_ns())?;
            let Some(wait) = turn.checked_sub(now).filter(|ns| *ns > 0) else {
                return Ok(());
            };
            let wait = Duration::from_nanos(wait);
            let over = |_| OverRate { rate: self, wait };
            // Before it waits: a deadline that came meanwhile would be held against the target.
            cx.give_back(wait).map_err(over)?;
            cx.sleep_until(turn).await;
            let late = cx.now_ns().saturating_sub(turn);
            cx.give_back(Duration::from_nanos(late)).map_err(over)?;
            if late <= slack {
                return Ok(());
            }
        }
    }

    /// Run lane: as [`wait`](Self::wait); at most until the run is cancelled.
    pub fn wait_blocking(self, cx: Cx<'_>, next: Counter) -> Result<(), OverRate> {
        let turn = self.take(next, cx.now_ns(), cx.deadline_ns())?;
        while let Some(left) = turn.checked_sub(cx.now_ns()).filter(|n| *n > 0) {
            if cx.is_cancelled() {
                break;
            }
            std::thread::sleep(Duration::from_nanos(left.min(20_000_000)));
        }
        Ok(())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The turn does not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverRate {
    pub rate: Rate,
    /// How long it would have been.
    pub wait: Duration,
}

impl fmt::Display for OverRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.wait.as_millis();
        let rate = self.rate;
        if ms < 10_000 {
            write!(
                f,
                "more than {rate}: its turn would come in {ms} ms, after its deadline"
            )
        } else {
            let s = self.wait.as_secs();
            write!(
                f,
                "more than {rate}: its turn would come in {s} s, after its deadline"
            )
        }
    }
}

impl OptionValue for Rate {
    fn schema(_: &Limits) -> String {
        r#""type":"string","format":"rate""#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        match value.as_str() {
            Some(text) => units::Rate::parse(text)
                .map(Rate)
                .map_err(|e| refused(&value, &e)),
            None => Err(format!(
                "{value} is no rate; write \"50/s\", \"10/m\" or \"1/h\""
            )),
        }
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_may_be_a_rate() {
        let read = |value: Value| Rate::from_json(value, &Limits::NONE);
        let rate = read("10/m".into()).expect("a rate");
        assert_eq!(rate.distance(), Duration::from_secs(6));
        assert_eq!(rate.to_json(), "10/m");
        let e = read("10/min".into()).expect_err("no rate");
        assert_eq!(e, "\"10/min\" has an unknown unit \"/min\": write `10/m`");
        assert!(read(10.into()).is_err());
        assert_eq!(Rate::parse("0/s"), None);
    }
}
