//! Which days a window speaks of.

use jiff::civil::{Date, Weekday};

#[derive(Clone, Debug, PartialEq)]
pub enum Days {
    Every,
    /// A bit each, Monday first.
    Week(u8),
    /// The nth such day of the month, from 1; 0 is the last.
    Nth(u8, Weekday),
    /// A bit each; bit 1 is the first.
    Month(u32),
}

impl Days {
    pub fn has(&self, date: Date) -> bool {
        match self {
            Days::Every => true,
            Days::Week(days) => days >> place(date.weekday()) & 1 == 1,
            Days::Nth(0, day) => date.weekday() == *day && date.day() + 7 > date.days_in_month(),
            Days::Nth(n, day) => {
                date.weekday() == *day && (date.day() - 1) / 7 + 1 == i8::try_from(*n).unwrap_or(0)
            }
            Days::Month(days) => days >> date.day() & 1 == 1,
        }
    }
}

/// From 0, Monday first.
pub fn place(day: Weekday) -> u8 {
    u8::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

pub fn day(word: &str) -> Option<Weekday> {
    const DAYS: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let known = DAYS.iter().find(|(name, _)| *name == word);
    known.map(|(_, day)| *day)
}

/// From 1; 0 is the last.
pub fn nth(word: &str) -> Option<u8> {
    let words = ["last", "first", "second", "third", "fourth"];
    words.iter().position(|w| *w == word).map(|n| n as u8)
}
