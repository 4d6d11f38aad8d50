//! Times as people read them: ages in tables, times of day in stories.

use super::Look;
use healthd_units::duration;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::collections::HashMap;

/// A time as the daemon writes it; None: not one.
pub fn parse(rfc3339: &str) -> Option<Timestamp> {
    rfc3339.parse().ok()
}

/// "12s", "5m 3s", "3h 12m", "4d 2h" since then; a time to come counts as now (clocks differ by a little).
pub fn age(rfc3339: Option<&str>, look: &Look) -> Option<String> {
    Spans::default().age(rfc3339, look)
}

/// "in 8s", or "due" when it has passed.
pub fn until(rfc3339: Option<&str>, look: &Look) -> Option<String> {
    Spans::default().until(rfc3339, look)
}

/// Of many rows: a span is written once, as that takes longer than to find it, and there are not so many.
#[derive(Default)]
pub struct Spans {
    of_seconds: HashMap<i64, String>,
}

impl Spans {
    /// As `age`.
    pub fn age(&mut self, rfc3339: Option<&str>, look: &Look) -> Option<String> {
        let ms = look.now.as_millisecond() - millisecond(rfc3339?)?;
        Some(self.span(ms).to_owned())
    }

    /// As `until`.
    pub fn until(&mut self, rfc3339: Option<&str>, look: &Look) -> Option<String> {
        let ms = millisecond(rfc3339?)? - look.now.as_millisecond();
        Some(match ms {
            ..=0 => "due".to_owned(),
            ms => ["in ", self.span(ms)].concat(),
        })
    }

    fn span(&mut self, ms: i64) -> &str {
        let written = self.of_seconds.entry(ms / 1000);
        written.or_insert_with(|| span(ms))
    }
}

/// Since 1970. A table of 100,000 checks has three times as many of them.
fn millisecond(rfc3339: &str) -> Option<i64> {
    match as_healthd_writes(rfc3339) {
        Some(time) => Some(time.as_millisecond()),
        None => Some(parse(rfc3339)?.as_millisecond()),
    }
}

/// `2026-11-22T10:00:00.000Z`; None: written in another way.
fn as_healthd_writes(rfc3339: &str) -> Option<Timestamp> {
    const SHAPE: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
    let bytes: &[u8; 24] = rfc3339.as_bytes().try_into().ok()?;
    let is_so = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    if !bytes.iter().zip(SHAPE).all(is_so) {
        return None;
    }
    let digit = |at: usize| (bytes[at] - b'0') as i8;
    let two = |at: usize| digit(at) * 10 + digit(at + 1);
    let year = i16::from(two(0)) * 100 + i16::from(two(2));
    let ms = i32::from(two(20)) * 10 + i32::from(digit(22));
    let time = DateTime::new(
        year,
        two(5),
        two(8),
        two(11),
        two(14),
        two(17),
        ms * 1_000_000,
    );
    TimeZone::UTC.to_timestamp(time.ok()?).ok()
}

fn span(ms: i64) -> String {
    duration::about_seconds((ms.max(0) / 1000) as u64)
}

/// "10:00:00" today, else with the date; what is not a time is shown as it came.
pub fn of_day(rfc3339: &str, look: &Look) -> String {
    let Some(time) = parse(rfc3339) else {
        return rfc3339.to_owned();
    };
    let (time, now) = (
        time.to_zoned_datetime(look.zone.clone()),
        look.now.to_zoned_datetime(look.zone.clone()),
    );
    if time.date() == now.date() {
        time.strftime("%H:%M:%S").to_string()
    } else {
        time.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// As `of_day`, to the millisecond.
pub fn of_day_ms(rfc3339: &str, look: &Look) -> String {
    match parse(rfc3339) {
        Some(time) => format!(
            "{}.{:03}",
            of_day(rfc3339, look),
            time.as_millisecond().rem_euclid(1000)
        ),
        None => rfc3339.to_owned(),
    }
}

pub use healthd_units::duration::about_ms as latency;

/// As `latency`, for what is mostly far below a millisecond: "0.042 ms".
pub fn fine(ms: f64) -> String {
    match ms {
        ms if ms.is_finite() && ms < 9.95 => format!("{ms:.3} ms"),
        ms => latency(ms),
    }
}

/// A configured duration: "250ms", "10s", "1m 30s".
pub fn duration(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 1000 != 0 && ms < 60_000 => match ms {
            0..1000 => format!("{ms}ms"),
            _ => format!("{}s", ms as f64 / 1e3),
        },
        ms => span(i64::try_from(ms).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::look;

    #[test]
    fn ages() {
        let look = look(None);
        let mut spans = Spans::default();
        for (then, expected) in [
            ("2026-11-22T10:00:05Z", "0s"),
            ("2026-11-22T10:00:00.999Z", "0s"),
            ("2026-11-22T09:59:59.001Z", "0s"),
            ("2026-11-22T09:59:59.000Z", "1s"),
            ("2026-11-22T09:59:48.5Z", "11s"),
            ("2026-11-22T09:54:57Z", "5m 3s"),
            ("2026-11-22T09:00:00Z", "1h"),
            ("2026-11-22T07:48:10+01:00", "3h 11m"),
            ("2026-11-18T08:00:00Z", "4d 2h"),
        ] {
            assert_eq!(age(Some(then), &look).as_deref(), Some(expected), "{then}");
            for _ in ["written", "found"] {
                let age = spans.age(Some(then), &look);
                assert_eq!(age.as_deref(), Some(expected), "{then}");
            }
        }
        assert_eq!(age(Some("yesterday"), &look), None);
        assert_eq!(
            until(Some("2026-11-22T10:01:30Z"), &look).as_deref(),
            Some("in 1m 30s")
        );
        assert_eq!(
            until(Some("2026-11-22T09:00:00Z"), &look).as_deref(),
            Some("due")
        );
    }

    #[test]
    fn a_time_as_healthd_writes_it_is_read_as_any_other() {
        let ends = ["0000-01-01T00:00:00.000Z", "9999-12-30T21:59:59.999Z"];
        let leap = ["2024-02-29T23:59:59.999Z", "2023-02-29T00:00:00.000Z"];
        let no_times = [
            "2026-13-01T00:00:00.000Z",
            "2026-00-10T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
        ];
        let leap_second = ["2016-12-31T23:59:60.000Z", "2016-12-31T23:60:00.000Z"];
        let others = [
            "2026-11-22T10:00:00.0000",
            "2026-11-22 10:00:00.000Z",
            "2026-11-22T10:00:00.5+01",
            "é026-11-22T10:00:00.00Z",
            "",
        ];
        let all = ends
            .iter()
            .chain(&leap)
            .chain(&no_times)
            .chain(&leap_second)
            .chain(&others);
        for text in all {
            let slow = parse(text).map(|time| time.as_millisecond());
            assert_eq!(millisecond(text), slow, "{text}");
        }
        assert!(as_healthd_writes(ends[0]).is_some() && as_healthd_writes(leap[0]).is_some());
        for ms in (-60_000_000_000_000..250_000_000_000_000).step_by(98_765_432_109) {
            let text = Timestamp::from_millisecond(ms).expect("a time");
            let text = text.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            let read = as_healthd_writes(&text).map(|time| time.as_millisecond());
            assert_eq!(read, Some(ms), "{text}");
        }
    }

    #[test]
    fn times_of_day() {
        let look = look(None);
        assert_eq!(of_day("2026-11-22T09:00:01.5Z", &look), "09:00:01");
        assert_eq!(of_day("2026-11-21T09:00:01Z", &look), "2026-11-21 09:00:01");
        assert_eq!(of_day_ms("2026-11-22T09:00:01.5Z", &look), "09:00:01.500");
    }

    #[test]
    fn durations() {
        assert_eq!(duration(250), "250ms");
        assert_eq!(duration(1_500), "1.5s");
        assert_eq!(duration(60_000), "1m");
        assert_eq!(duration(90_000), "1m 30s");
        assert_eq!(latency(0.04), "0.0 ms");
        assert_eq!(latency(12.4), "12 ms");
        assert_eq!(latency(5003.0), "5.0 s");
        assert_eq!(latency(f64::NAN), "-");
    }
}
