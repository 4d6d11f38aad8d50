//! The text of one window. Each mistake names its place and what to write.

use super::dates::{Days, day, nth, place};
use super::{End, Shape, Window, Zones, day_after};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use std::fmt;

/// Where a text is no window, why, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongWhen {
    /// Bytes from the start.
    pub at: usize,
    pub what: String,
    pub help: String,
}

impl fmt::Display for WrongWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

#[derive(Clone, Copy)]
struct Word<'t> {
    at: usize,
    text: &'t str,
}

pub fn window(text: &str, zones: Zones<'_>) -> Result<Window, WrongWhen> {
    let mut words = Words(words(text)).peekable();
    if text.len() > TEXT_MAX || words.peek().is_none() {
        let what = if text.len() > TEXT_MAX {
            "is too long"
        } else {
            "is empty"
        };
        return Err(wrong(0, what, EXAMPLE));
    }
    let first = words.peek().copied();
    let shape = match first.and_then(|word| date(word).transpose()) {
        Some(from) => once(from?, &mut words)?,
        None => weekly(&mut words)?,
    };
    let zone = zone(words.next(), zones)?;
    if let Some(more) = words.next() {
        let what = format!("has `{}` where it should end", shown(more.text));
        let help = "the order is days, times, zone, as in `mon-fri 08:00-18:00 Europe/Berlin`; write further windows as a list";
        return Err(wrong(more.at, what, help));
    }
    Ok(Window {
        text: text.to_owned(),
        zone,
        shape,
    })
}

type Peekable<'t> = std::iter::Peekable<Words<'t>>;

fn once(from: Date, words: &mut Peekable<'_>) -> Result<Shape, WrongWhen> {
    let begin = words.next();
    let from_time = words
        .next_if(|w| w.text != "..")
        .map(one_time)
        .transpose()?;
    let Some(dots) = words.next_if(|w| w.text == "..") else {
        let at = begin.map_or(0, |w| w.at);
        let help = format!("write the last day behind two dots, as in `{from} .. {from}`");
        return Err(wrong(at, "has no `..` behind its first date", &help));
    };
    let last = words.next().map(|w| (w, date(w)));
    let (word, last) = match last {
        Some((word, Ok(Some(last)))) => (word, last),
        Some((_, Err(e))) => return Err(e),
        _ => {
            let help = format!("write `{from} .. {from}`");
            return Err(wrong(dots.at, "has no date behind `..`", &help));
        }
    };
    let is_time = |w: &Word<'_>| w.text.starts_with(|c: char| c.is_ascii_digit());
    let to = match words
        .next_if(is_time)
        .map(one_time_or_midnight)
        .transpose()?
    {
        Some(End::At(time)) => last.to_datetime(time),
        Some(End::Midnight) | None => {
            let help = "choose an earlier year";
            day_after(last).ok_or_else(|| wrong(word.at, "ends too late", help))?
        }
    };
    let from = from.to_datetime(from_time.unwrap_or(Time::midnight()));
    if to <= from {
        let help = "write the earlier time first";
        return Err(wrong(word.at, "ends before it begins", help));
    }
    Ok(Shape::Once { from, to })
}

fn weekly(words: &mut Peekable<'_>) -> Result<Shape, WrongWhen> {
    let is_days = |w: &Word<'_>| {
        let begin = w.text.split(['-', ',']).next().unwrap_or_default();
        day(begin).is_some()
            || nth(begin).is_some()
            || (!w.text.contains(':') && w.text.starts_with(|c: char| c.is_ascii_digit()))
    };
    let days = match words.next_if(is_days) {
        Some(word) => days(word)?,
        None => Days::Every,
    };
    let is_times = |w: &Word<'_>| w.text.starts_with(|c: char| c.is_ascii_digit());
    let (from, to) = match words.next_if(is_times) {
        Some(word) => times(word)?,
        None => (Time::midnight(), End::Midnight),
    };
    Ok(Shape::Weekly { days, from, to })
}

fn days(word: Word<'_>) -> Result<Days, WrongWhen> {
    if let Some((n, name)) = word.text.split_once('-')
        && let Some(n) = nth(n)
    {
        let Some(day) = day(name) else {
            let what = format!("has an unknown day `{}`", shown(name));
            return Err(wrong(word.at, what, "write `first-mon` or `last-sun`"));
        };
        return Ok(Days::Nth(n, day));
    }
    let (mut week, mut month) = (0_u8, 0_u32);
    let mut at = word.at;
    for part in word.text.split(',') {
        match part.parse::<u32>() {
            Ok(n @ 1..=31) => month |= 1 << n,
            Ok(_) => {
                let what = format!("has no day `{}` in any month", shown(part));
                return Err(wrong(at, what, "days of the month go from `1` to `31`"));
            }
            Err(_) => week |= weekdays(at, part)?,
        }
        at += part.len() + 1;
    }
    match (week, month) {
        (0, month) => Ok(Days::Month(month)),
        (week, 0) => Ok(Days::Week(week)),
        _ => {
            let what = "mixes days of the week and of the month";
            Err(wrong(word.at, what, "write two windows, `sun` and `1`"))
        }
    }
}

fn weekdays(at: usize, part: &str) -> Result<u8, WrongWhen> {
    let known = |name: &str| {
        day(name).ok_or_else(|| {
            let what = format!("has an unknown day `{}`", shown(name));
            wrong(
                at,
                what,
                "days are `mon`, `tue`, `wed`, `thu`, `fri`, `sat` and `sun`",
            )
        })
    };
    let Some((first, last)) = part.split_once('-') else {
        return Ok(1 << place(known(part)?));
    };
    let (first, last) = (place(known(first)?), place(known(last)?));
    // `sat-mon` goes over the end of the week.
    let length = (last + 7 - first) % 7;
    Ok((0..=length).fold(0, |days, n| days | 1 << ((first + n) % 7)))
}

fn times(word: Word<'_>) -> Result<(Time, End), WrongWhen> {
    let Some((from, to)) = word.text.split_once('-') else {
        let help = "write when it begins and ends, as in `02:00-04:00`";
        return Err(wrong(
            word.at,
            format!("has one time `{}`", shown(word.text)),
            help,
        ));
    };
    let to_at = word.at + from.len() + 1;
    let from = one_time(Word {
        at: word.at,
        text: from,
    })?;
    let to = one_time_or_midnight(Word {
        at: to_at,
        text: to,
    })?;
    match to {
        End::At(to) if to == from => {
            let help = "leave the times out for the whole day";
            Err(wrong(word.at, "ends when it begins", help))
        }
        _ => Ok((from, to)),
    }
}

fn one_time_or_midnight(word: Word<'_>) -> Result<End, WrongWhen> {
    if word.text == "24:00" {
        return Ok(End::Midnight);
    }
    one_time(word).map(|time| {
        if time == Time::midnight() {
            End::Midnight
        } else {
            End::At(time)
        }
    })
}

fn one_time(word: Word<'_>) -> Result<Time, WrongWhen> {
    let two = |text: &str, most: i8| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        plain
            .then(|| text.parse::<i8>().ok())
            .flatten()
            .filter(|n| *n <= most)
    };
    let time = word
        .text
        .split_once(':')
        .and_then(|(hour, minute)| Time::new(two(hour, 23)?, two(minute, 59)?, 0, 0).ok());
    time.ok_or_else(|| {
        let what = format!("has `{}` for a time", shown(word.text));
        wrong(
            word.at,
            what,
            "times go from `00:00` to `23:59`, two digits each",
        )
    })
}

/// None: the word is none, and not meant to be.
fn date(word: Word<'_>) -> Result<Option<Date>, WrongWhen> {
    let parts: Vec<&str> = word.text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return Ok(None);
    };
    if year.len() != 4 || !year.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let date = (month.len() == 2 && day.len() == 2)
        .then(|| Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok())
        .flatten();
    match date {
        Some(date) => Ok(Some(date)),
        None => {
            let what = format!("has no date `{}` in any calendar", shown(word.text));
            Err(wrong(
                word.at,
                what,
                "write year, month and day, as in `2026-12-24`",
            ))
        }
    }
}

fn zone(word: Option<Word<'_>>, zones: Zones<'_>) -> Result<TimeZone, WrongWhen> {
    let Some(word) = word else {
        return zones(None).ok_or_else(|| {
            let help = "set it (`timedatectl set-timezone`), or name one here, as in `sun 02:00-04:00 Europe/Berlin`";
            wrong(0, "names no zone, and the machine's is not known", help)
        });
    };
    let plausible = word.text.len() <= 64
        && word
            .text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
    let zone = plausible.then(|| zones(Some(word.text))).flatten();
    zone.ok_or_else(|| {
        let lower = word.text.to_ascii_lowercase();
        let short = lower.get(..3).filter(|s| day(s).is_some());
        let help = match short {
            Some(short) => format!("a day is written `{short}`"),
            None => "zones are named as below /usr/share/zoneinfo, as in `sun 02:00-04:00 Europe/Berlin` or `UTC`".to_owned(),
        };
        wrong(word.at, format!("has no known day, time or zone in `{}`", shown(word.text)), &help)
    })
}

struct Words<'t>(Vec<Word<'t>>);

impl<'t> Iterator for Words<'t> {
    type Item = Word<'t>;
    fn next(&mut self) -> Option<Word<'t>> {
        self.0.pop()
    }
}

/// The last first. `..` is a word of its own, spaces or not.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut list = Vec::new();
    let mut at = 0;
    for part in text.split([' ', '\t']) {
        let mut begin = at;
        for (i, piece) in part.split("..").enumerate() {
            if i > 0 {
                let dots = begin;
                list.push(Word {
                    at: dots,
                    text: &text[dots..dots + 2],
                });
                begin += 2;
            }
            if !piece.is_empty() {
                list.push(Word {
                    at: begin,
                    text: piece,
                });
            }
            begin += piece.len();
        }
        at += part.len() + 1;
    }
    list.reverse();
    list
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

fn wrong(at: usize, what: impl Into<String>, help: &str) -> WrongWhen {
    WrongWhen {
        at,
        what: what.into(),
        help: help.to_owned(),
    }
}

const EXAMPLE: &str = "write days, times and a zone, as in `mon-fri 08:00-18:00 Europe/Berlin`, or `2026-12-24 .. 2026-12-26`";
const TEXT_MAX: usize = 200;
