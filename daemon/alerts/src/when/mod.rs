//! `when`: times of the wall clock in a zone at which a route speaks, or a maintenance is on.
//!
//! ```text
//! window = [days] [times] [zone]  |  date [times] ".." date [times] [zone]
//! days   = day ["-" day] { "," ... }  |  ("first" | .. | "fourth" | "last") "-" day  |  1..31       day = mon..sun
//! times  = HH:MM "-" HH:MM
//! zone   = a name such as Europe/Berlin; left out: the machine's
//! ```
//! A window is open while a clock on the wall of its zone shows a time that lies in it. So a local time that comes
//! twice counts both times, and where one does not exist the first that does stands for it.

mod dates;
mod parse;

pub use dates::Days;
pub use parse::WrongWhen;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Where zones come from: `None` for a name asks for the machine's own.
pub type Zones<'a> = &'a dyn Fn(Option<&str>) -> Option<TimeZone>;

/// Open when one of its windows is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct When {
    windows: Vec<Window>,
}

#[derive(Clone, Debug, PartialEq)]
struct Window {
    text: String,
    zone: TimeZone,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// On these days from one time to another; the next day's where that is not later.
    Weekly { days: Days, from: Time, to: End },
    /// Once; the second is not part of it.
    Once { from: DateTime, to: DateTime },
}

/// A day has a 24:00, a `Time` has not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    At(Time),
    Midnight,
}

impl When {
    pub fn parse(texts: &[&str], zones: Zones<'_>) -> Result<When, (usize, WrongWhen)> {
        let windows = texts
            .iter()
            .enumerate()
            .map(|(i, text)| parse::window(text, zones).map_err(|e| (i, e)))
            .collect::<Result<_, _>>()?;
        Ok(When { windows })
    }

    /// `wall`: CLOCK_REALTIME in nanoseconds.
    pub fn is_open(&self, wall: u64) -> bool {
        let now = timestamp(wall);
        self.windows.iter().any(|w| w.is_open(now))
    }

    /// The first instant after `wall` at which it opens or closes; None: never.
    pub fn next_change(&self, wall: u64) -> Option<u64> {
        let now = timestamp(wall);
        let open = self.windows.iter().any(|w| w.is_open(now));
        let mut after = now;
        // Where one window takes over from another nothing changes.
        for _ in 0..CHANGES_MOST {
            let next = self.windows.iter().filter_map(|w| w.next_change(after));
            after = next.min()?;
            if self.windows.iter().any(|w| w.is_open(after)) != open {
                return u64::try_from(after.as_nanosecond()).ok();
            }
        }
        // Look again from there.
        u64::try_from(after.as_nanosecond()).ok()
    }

    /// Never open from now on.
    pub fn is_past(&self, wall: u64) -> bool {
        !self.is_open(wall) && self.next_change(wall).is_none()
    }

    /// As it was written; each with the zone that is meant.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.windows.iter().map(|w| w.text.as_str())
    }
}

/// The zones of this machine.
pub fn zones(name: Option<&str>) -> Option<TimeZone> {
    match name {
        None => Some(TimeZone::system()),
        Some(name) => TimeZone::get(name).ok(),
    }
}

impl From<When> for Vec<String> {
    fn from(when: When) -> Vec<String> {
        when.windows.into_iter().map(|w| w.text).collect()
    }
}

impl TryFrom<Vec<String>> for When {
    type Error = WrongWhen;

    fn try_from(texts: Vec<String>) -> Result<When, WrongWhen> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        When::parse(&texts, &zones).map_err(|(_, e)| e)
    }
}

/// Whether it is open, asked again only where it may have changed.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    open: bool,
    /// Judged at the first; may be otherwise from the second on.
    judged: Option<(u64, u64)>,
}

impl Watch {
    /// True: it is not as it was.
    pub fn turn(&mut self, when: &When, wall: u64) -> bool {
        if self
            .judged
            .is_some_and(|(from, to)| (from..to).contains(&wall))
        {
            return false;
        }
        self.judged = Some((wall, when.next_change(wall).unwrap_or(u64::MAX)));
        let was = std::mem::replace(&mut self.open, when.is_open(wall));
        was != self.open
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn next(&self) -> Option<u64> {
        self.judged.map(|(_, to)| to).filter(|to| *to != u64::MAX)
    }
}

impl Window {
    fn is_open(&self, now: Timestamp) -> bool {
        let clock = self.zone.to_datetime(now);
        match &self.shape {
            Shape::Once { from, to } => (*from..*to).contains(&clock),
            Shape::Weekly { days, from, to } => {
                let (date, time) = (clock.date(), clock.time());
                match to {
                    End::Midnight => time >= *from && days.has(date),
                    End::At(to) if to > from => (*from..*to).contains(&time) && days.has(date),
                    End::At(to) => {
                        let yesterday = || date.yesterday().is_ok_and(|d| days.has(d));
                        (time >= *from && days.has(date)) || (time < *to && yesterday())
                    }
                }
            }
        }
    }

    /// The first instant after `now` at which it opens or closes. It can do so only where the clock shows one of its
    /// times, or jumps.
    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let open = self.is_open(now);
        let flips = |at: &Timestamp| *at > now && self.is_open(*at) != open;
        let jumps = |until: Option<Timestamp>| {
            let jumps = self.zone.following(now).map(|t| t.timestamp());
            jumps
                .take_while(move |at| until.is_none_or(|until| *at < until))
                .take(JUMPS_MOST)
                .find(flips)
        };
        let at_clock = |time: DateTime| {
            let there = self.zone.to_ambiguous_timestamp(time);
            [there.earlier().ok(), there.later().ok()]
                .into_iter()
                .flatten()
                .find(flips)
        };
        match &self.shape {
            Shape::Once { from, to } => {
                let times = [at_clock(*from), at_clock(*to)];
                let first = times.into_iter().flatten().min();
                // Beyond its end no jump can open it again: the clock goes back by a few hours at most.
                let end = self.zone.to_ambiguous_timestamp(*to).later().ok()?;
                first
                    .into_iter()
                    .chain(jumps(Some(first.unwrap_or(end))))
                    .min()
            }
            Shape::Weekly { from, to, .. } => {
                let mut date = self.zone.to_datetime(now).date().yesterday().ok()?;
                for _ in 0..DAYS_AHEAD {
                    let mut times = Vec::from([date.to_datetime(*from)]);
                    if let End::At(to) = to {
                        times.push(date.to_datetime(*to));
                    }
                    times.push(date.to_datetime(Time::midnight()));
                    let first = times.into_iter().filter_map(at_clock).min();
                    // The clock of a later day may show an earlier instant where it is set back over midnight.
                    if let Some(first) = first {
                        let next = date
                            .tomorrow()
                            .ok()
                            .map(|d| d.to_datetime(Time::midnight()));
                        let next = next.and_then(at_clock);
                        let first = next.map_or(first, |next| next.min(first));
                        return Some(jumps(Some(first)).unwrap_or(first));
                    }
                    date = date.tomorrow().ok()?;
                }
                jumps(None)
            }
        }
    }
}

fn timestamp(wall: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(wall)).unwrap_or(Timestamp::MAX)
}

/// The day after, for an end that belongs to a date as a whole.
fn day_after(date: Date) -> Option<DateTime> {
    let next = date.checked_add(Span::new().days(1)).ok()?;
    Some(next.to_datetime(Time::midnight()))
}

/// The longest way from one day that counts to the next: 29 February on a leap year that is left out, and more.
const DAYS_AHEAD: usize = 70;
const JUMPS_MOST: usize = 400;
const CHANGES_MOST: usize = 200;

#[cfg(test)]
mod tests;
