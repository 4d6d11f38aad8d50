//! Five fields as cron has them: minute, hour, day of the month, month, day of the week. The next time that fits, by the
//! clock on the wall of a zone.
//!
//! As cron has it: where both days are given, one of them is enough. A local time that does not exist is the first that
//! does; one that comes twice is the first of the two.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

#[derive(Clone, Debug)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Either day is enough.
    any_day: bool,
    zone: TimeZone,
}

impl Cron {
    /// Err: what is wrong, and what to write.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Cron, String> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "cron: {} fields instead of 5: write minute, hour, day, month and weekday, as in `30 2 * * mon-fri`",
                fields.len()
            ));
        };
        let mut weekdays = field("weekday", weekday, (0, 7), &DAYS)?;
        // Sunday is 0, and 7.
        weekdays |= weekdays >> 7 & 1;
        let cron = Cron {
            minutes: field("minute", minute, (0, 59), &[])?,
            hours: field("hour", hour, (0, 23), &[])?,
            days: field("day", day, (1, 31), &[])?,
            months: field("month", month, (1, 12), &MONTHS)?,
            weekdays,
            any_day: !day.starts_with('*') && !weekday.starts_with('*'),
            zone: match zone {
                None => TimeZone::system(),
                Some(name) => TimeZone::get(name)
                    .map_err(|_| format!("zone: `{name}` is not known here: write a name such as `Europe/Berlin`, or `UTC`"))?,
            },
        };
        match cron.next(0) {
            Some(_) => Ok(cron),
            None => Err(format!("cron: `{text}` never comes")),
        }
    }

    /// The first time after `wall` (CLOCK_REALTIME, ns).
    pub fn next(&self, wall: u64) -> Option<u64> {
        let now = Timestamp::from_nanosecond(i128::from(wall)).ok()?;
        let mut date = self.zone.to_datetime(now).date();
        // Every 29 February comes within 8 years, and a day before a jump may still hold a later instant.
        for _ in 0..=8 * 366 {
            if self.has(date)
                && let Some(at) = self.on(date, now)
            {
                return u64::try_from(at.as_nanosecond()).ok();
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn has(&self, date: Date) -> bool {
        let bit = |set: u64, n: i8| set >> n & 1 == 1;
        let day = bit(self.days, date.day());
        let weekday = bit(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = match self.any_day {
            true => day || weekday,
            false => day && weekday,
        };
        fits && bit(self.months, date.month())
    }

    /// The first time of this day that is after `now`.
    fn on(&self, date: Date, now: Timestamp) -> Option<Timestamp> {
        let hours = (0..24_i8).filter(|h| self.hours >> h & 1 == 1);
        let times = hours.flat_map(|hour| {
            let minutes = (0..60_i8).filter(|m| self.minutes >> m & 1 == 1);
            minutes.map(move |minute| (hour, minute))
        });
        let mut at = times.filter_map(|(hour, minute)| {
            let time = Time::new(hour, minute, 0, 0).ok()?;
            let there = self.zone.to_ambiguous_timestamp(date.to_datetime(time));
            there.compatible().ok()
        });
        at.find(|at| *at > now)
    }
}

/// `*`, `5`, `1-5`, `*/15`, `10-50/20`, and lists of these. A bit each.
fn field(name: &str, text: &str, (least, most): (u8, u8), words: &[&str]) -> Result<u64, String> {
    let wrong = || {
        format!(
            "cron: `{text}` is no {name}: write `*`, a number from {least} to {most}, `2-5`, `*/2`, or a list of these"
        )
    };
    let number = |text: &str| {
        let word = words.iter().position(|w| text.eq_ignore_ascii_case(w));
        let number = match word {
            Some(place) => u8::try_from(place).ok().map(|n| n + least),
            None => text.parse().ok(),
        };
        number
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(wrong)
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, 1),
            Some((range, step)) => {
                let step = step.parse().ok().filter(|n| (1..=most).contains(n));
                (range, step.ok_or_else(wrong)?)
            }
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            // `5/10` is what is left of it from there on.
            None if part.contains('/') => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(wrong());
        }
        for n in (from..=to).step_by(usize::from(step)) {
            set |= 1 << n;
        }
    }
    Ok(set)
}

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> u64 {
        let time: Timestamp = text.parse().expect("a time");
        u64::try_from(time.as_nanosecond()).expect("after 1970")
    }

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let cron = Cron::parse(cron, Some(zone)).unwrap_or_else(|e| panic!("{cron}: {e}"));
        let next = cron.next(at(after)).expect("it comes");
        Timestamp::from_nanosecond(i128::from(next))
            .expect("a time")
            .to_string()
    }

    #[test]
    fn the_next_time_by_the_clock_on_the_wall() {
        for (cron, zone, after, expected) in [
            (
                "30 2 * * *",
                "UTC",
                "2026-11-29T02:29:59Z",
                "2026-11-29T02:30:00Z",
            ),
            (
                "30 2 * * *",
                "UTC",
                "2026-11-29T02:30:00Z",
                "2026-11-30T02:30:00Z",
            ),
            (
                "*/15 * * * *",
                "UTC",
                "2026-11-29T02:30:01Z",
                "2026-11-29T02:45:00Z",
            ),
            (
                "5/20 9-17 * * mon-fri",
                "UTC",
                "2026-11-27T17:46:00Z",
                "2026-11-30T09:05:00Z",
            ),
            (
                "0 0 1,15 * *",
                "UTC",
                "2026-11-15T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
            // Friday, or the 13th.
            (
                "0 12 13 * fri",
                "UTC",
                "2026-12-05T00:00:00Z",
                "2026-12-11T12:00:00Z",
            ),
            (
                "0 12 13 * fri",
                "UTC",
                "2026-12-12T00:00:00Z",
                "2026-12-13T12:00:00Z",
            ),
            (
                "0 0 29 2 *",
                "UTC",
                "2026-11-29T00:00:00Z",
                "2028-02-29T00:00:00Z",
            ),
            (
                "0 4 * jan,JUL 7",
                "UTC",
                "2026-11-29T00:00:00Z",
                "2027-01-03T04:00:00Z",
            ),
            (
                "@monthly",
                "UTC",
                "2026-11-29T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
            // 02:30 does not exist in Berlin on 29 March, and comes twice on 25 October.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                "2026-03-29T01:30:00Z",
            ),
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
            (
                "45 1 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T06:00:00Z",
                "2026-04-04T14:45:00Z",
            ),
            (
                "15 2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T06:00:00Z",
                "2026-10-03T15:45:00Z",
            ),
            (
                "30 1 * * *",
                "America/St_Johns",
                "2026-10-31T12:00:00Z",
                "2026-11-01T04:00:00Z",
            ),
            (
                "30 2 * * *",
                "America/St_Johns",
                "2026-03-07T12:00:00Z",
                "2026-03-08T06:00:00Z",
            ),
        ] {
            assert_eq!(
                next(cron, zone, after),
                expected,
                "{cron} {zone} after {after}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_a_way_out() {
        for (text, zone, what) in [
            ("30 2 * *", None, "4 fields instead of 5"),
            (
                "60 2 * * *",
                None,
                "no minute: write `*`, a number from 0 to 59",
            ),
            ("0 24 * * *", None, "no hour"),
            ("0 0 0 * *", None, "no day"),
            ("0 0 * foo *", None, "no month"),
            ("0 0 * * 8", None, "no weekday"),
            ("5-1 * * * *", None, "no minute"),
            ("*/0 * * * *", None, "no minute"),
            ("0 0 31 2 *", Some("UTC"), "never comes"),
            ("0 0 * * *", Some("Europe/Berlni"), "is not known here"),
            ("", None, "0 fields"),
        ] {
            let e = Cron::parse(text, zone).expect_err(text);
            assert!(e.contains(what), "{text}: {e}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9*,/ a-z-]{0,24}") {
            if let Ok(cron) = Cron::parse(&text, Some("UTC")) {
                let next = cron.next(at("2026-11-29T02:30:00Z")).expect("it comes");
                prop_assert!(next > at("2026-11-29T02:30:00Z") && next % 60_000_000_000 == 0);
            }
        }
    }
}
