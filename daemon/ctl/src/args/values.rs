//! What a value of an option means: times, durations, objectives, options of a plugin.

use healthd_units::duration;
use jiff::civil::{DateTime, Time};
use jiff::{Timestamp, ZonedDateTime};
use std::time::Duration;

pub fn parse_option(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("an option is written as key=value, as in url=https://example.org/".to_owned()),
    }
}

/// As `parse_since`, but a span lies ahead.
pub fn parse_at(text: &str) -> Result<Timestamp, String> {
    let now = ZonedDateTime::now();
    let ahead = duration::parse(text).ok();
    let at = match ahead {
        Some(ahead) => now.timestamp().checked_add(ahead).ok(),
        None => since(text, &now),
    };
    at.ok_or_else(|| "a time is written as 10m (from now), 03:00, 2026-11-22, \"2026-11-22 10:00\" or 2026-11-22T10:00:00Z".to_owned())
}

#[cfg(feature = "history")]
pub fn parse_slo(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim().parse::<f64>();
    match number {
        Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(percent / 100.0),
        _ => Err("it is written as 99.9%, between 0 and 100".to_owned()),
    }
}

pub fn parse_since(text: &str) -> Result<Timestamp, String> {
    since(text, &ZonedDateTime::now()).ok_or_else(|| {
        "a time is written as 10m (ago), 10:00, 2026-11-22, \"2026-11-22 10:00\" or 2026-11-22T10:00:00Z".to_owned()
    })
}

/// Times without a zone are meant as `now` has it.
fn since(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    if let Ok(ago) = duration::parse(text) {
        return now.timestamp().checked_sub(ago).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let when = match text.parse::<DateTime>() {
        Ok(when) => when,
        Err(_) => now.date().to_datetime(text.parse::<Time>().ok()?),
    };
    Some(
        when.to_zoned_datetime(now.time_zone().clone())
            .ok()?
            .timestamp(),
    )
}

/// How long it is until then; of a time of day, the next that comes.
pub fn parse_until(text: &str) -> Result<Duration, String> {
    ahead(text, &ZonedDateTime::now())
}

fn ahead(text: &str, now: &ZonedDateTime) -> Result<Duration, String> {
    let is_of_day = text.parse::<Timestamp>().is_err() && text.parse::<DateTime>().is_err();
    let at = match text.parse::<Time>() {
        Ok(time) if is_of_day => next(time, now),
        _ => since(text, now).filter(|_| duration::parse(text).is_err()),
    };
    let at = at.ok_or("a time is written as 08:00, 2026-11-22, \"2026-11-22 10:00\" or 2026-11-22T10:00:00Z; how long is `--for`")?;
    let ms = at.as_millisecond() - now.timestamp().as_millisecond();
    match u64::try_from(ms) {
        Ok(ms @ 1..=31_622_400_000) => Ok(Duration::from_millis(ms)),
        Ok(_) => Err("it is more than 366 days away".to_owned()),
        Err(_) => Err("it is past".to_owned()),
    }
}

/// When the clock on the wall shows this next. It may do so twice in a night; or never, and then it is when it is set past it.
fn next(time: Time, now: &ZonedDateTime) -> Option<Timestamp> {
    let zone = now.time_zone();
    let instants = |day: jiff::civil::Date| {
        let there = zone.to_ambiguous_timestamp(day.to_datetime(time));
        let (earlier, later) = (there.earlier().ok()?, there.later().ok()?);
        let is_gap = matches!(there.offset(), jiff::tz::AmbiguousOffset::Gap { .. });
        Some(match is_gap {
            true => {
                let set = zone.following(earlier).next()?.timestamp();
                [set, set]
            }
            false => [earlier, later],
        })
    };
    let days = [now.date(), now.date().tomorrow().ok()?];
    let all = days.into_iter().filter_map(instants).flatten();
    all.into_iter().find(|at| *at > now.timestamp())
}

pub fn parse_pause(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| format!("it {error}; {}", error.help()))?;
    match time.as_millis() {
        1..=31_622_400_000 => Ok(time),
        _ => Err("a pause lasts between 1ms and 366d".to_owned()),
    }
}

/// Written as in the configuration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| format!("it {error}; {}", error.help()))?;
    // A day is more than anyone waits for a socket, and keeps deadlines far from overflow.
    match time.as_millis() {
        1..=86_400_000 => Ok(time),
        _ => Err("a time lies between 1ms and 24h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_then() {
        let now: ZonedDateTime = "2026-11-29T22:00:00+01:00[Europe/Berlin]"
            .parse()
            .expect("a time");
        let hours = |text: &str| ahead(text, &now).map(|d| d.as_secs_f64() / 3600.0);
        assert_eq!(hours("23:30"), Ok(1.5));
        // Of the morning that comes.
        assert_eq!(hours("08:00"), Ok(10.0));
        assert_eq!(hours("2026-11-30"), Ok(2.0));
        assert_eq!(hours("2026-11-30 10:00"), Ok(12.0));
        assert_eq!(hours("2026-11-29T22:00:00Z"), Ok(1.0));
        // The nights in which clocks are set: 02:30 comes twice, or is 03:00 at once; Lord Howe's step is half an hour.
        for (now, text, at) in [
            (
                "2026-10-25T01:00:00+02:00[Europe/Berlin]",
                "02:30",
                "2026-10-25T00:30:00Z",
            ),
            (
                "2026-10-25T02:45:00+02:00[Europe/Berlin]",
                "02:30",
                "2026-10-25T01:30:00Z",
            ),
            (
                "2026-10-25T02:45:00+01:00[Europe/Berlin]",
                "02:30",
                "2026-10-26T01:30:00Z",
            ),
            (
                "2026-03-29T01:30:00+01:00[Europe/Berlin]",
                "02:30",
                "2026-03-29T01:00:00Z",
            ),
            (
                "2026-03-29T03:10:00+02:00[Europe/Berlin]",
                "02:30",
                "2026-03-30T00:30:00Z",
            ),
            (
                "2026-03-08T01:30:00-03:30[America/St_Johns]",
                "02:30",
                "2026-03-08T05:30:00Z",
            ),
            (
                "2026-11-01T01:45:00-02:30[America/St_Johns]",
                "01:30",
                "2026-11-01T05:00:00Z",
            ),
            (
                "2026-04-05T01:55:00+11:00[Australia/Lord_Howe]",
                "01:40",
                "2026-04-04T15:10:00Z",
            ),
            (
                "2026-10-04T01:30:00+10:30[Australia/Lord_Howe]",
                "02:15",
                "2026-10-03T15:30:00Z",
            ),
        ] {
            let now: ZonedDateTime = now.parse().expect("a time");
            let ahead = ahead(text, &now).expect(text);
            let then = now.timestamp().checked_add(ahead).expect("a time");
            assert_eq!(then.to_string(), at, "{text} at {now}");
        }
        for (wrong, why) in [
            ("2026-11-28", "it is past"),
            ("2028-11-28", "it is more than 366 days away"),
            ("2h", "a time is written as"),
            ("soon", "a time is written as"),
        ] {
            let said = hours(wrong).expect_err(wrong);
            assert!(said.starts_with(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "5", "s", "-1s", "1.5", "2d", "0s", "99999999h", "25h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn since_when() {
        let now: ZonedDateTime = "2026-11-22T10:00:00+01:00[+01:00]".parse().expect("a time");
        for (text, meant) in [
            ("10m", "2026-11-22T08:50:00Z"),
            ("09:30", "2026-11-22T08:30:00Z"),
            ("09:30:05", "2026-11-22T08:30:05Z"),
            ("2026-11-21", "2026-11-20T23:00:00Z"),
            ("2026-11-21 12:00", "2026-11-21T11:00:00Z"),
            ("2026-11-21T12:00:00", "2026-11-21T11:00:00Z"),
            ("2026-11-21T12:00:00.5Z", "2026-11-21T12:00:00.5Z"),
            ("2026-11-21T12:00:00+02:00", "2026-11-21T10:00:00Z"),
        ] {
            let time = since(text, &now).map(|t| t.to_string());
            assert_eq!(time.as_deref(), Some(meant), "{text}");
        }
        for wrong in ["", "5", "yesterday", "25:00", "2026-13-01", "-1m"] {
            assert_eq!(since(wrong, &now), None, "{wrong}");
        }
    }
}
