//! Spans of time as people write them: `250ms`, `10s`, `1.5h`, `1m30s`.
//!
//! Parts with a unit, the largest first, each at most once; the last may have a fraction. No spaces.

use crate::Wrong;
use crate::number::Decimal;
use std::time::Duration;

/// Unit, its length in nanoseconds; largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

const HELP: &str = "write a number and ms, s, m, h or d, as in `250ms`, `10s`, `1.5h` or `1m30s`";

pub fn parse(text: &str) -> Result<Duration, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("is empty", HELP));
    }
    if text.contains(char::is_whitespace) {
        let joined: String = text.split_whitespace().collect();
        let help = match parse(&joined) {
            Ok(_) => format!("write `{joined}`"),
            Err(e) => e.help,
        };
        return Err(Wrong::new("has a space in it", help));
    }
    let mut rest = text;
    let mut total: u128 = 0;
    let mut next_unit = 0; // index in UNITS: what comes now has to be at or after it
    let (mut exact, mut disorder) = (true, None);
    while !rest.is_empty() {
        let begin = text.len() - rest.len();
        let Some((number, tail)) = Decimal::split(rest) else {
            return Err(Wrong::new(format!("has no number before `{rest}`"), HELP));
        };
        let end = tail.find(|c: char| c.is_ascii_digit());
        let (unit, after) = tail.split_at(end.unwrap_or(tail.len()));
        if tail.starts_with(',') {
            return Err(Wrong::new(
                "has a comma in it",
                or_help(&text.replace(',', ".")),
            ));
        }
        if unit.is_empty() {
            let number = number.text;
            let help = match (suggest(&format!("{text}s")), begin) {
                (Some(seconds), 0) => format!("{seconds} or `{text}ms`"),
                (seconds, _) => seconds.unwrap_or_else(|| HELP.to_owned()),
            };
            return Err(Wrong::new(format!("has no unit after `{number}`"), help));
        }
        let Some(index) = UNITS.iter().position(|(name, _)| *name == unit) else {
            let meant = meant_unit(unit)
                .map(|known| or_help(&format!("{}{}{known}{after}", &text[..begin], number.text)));
            let help = meant.unwrap_or_else(|| HELP.to_owned());
            return Err(Wrong::new(format!("has an unknown unit `{unit}`"), help));
        };
        if index < next_unit {
            disorder.get_or_insert_with(|| format!("has `{unit}` out of order"));
        }
        if number.has_fraction() && !after.is_empty() {
            disorder.get_or_insert_with(|| "has a fraction before its last part".to_owned());
        }
        next_unit = index + 1;
        let part = number.times(UNITS[index].1);
        let (part, whole) = part.ok_or_else(|| Wrong::new("is too long to count", HELP))?;
        exact &= whole;
        total += part;
        rest = after;
    }
    let total = match u64::try_from(total) {
        Ok(ns) => Duration::from_nanos(ns),
        Err(_) => return Err(Wrong::new("is too long to count", HELP)),
    };
    match disorder {
        Some(what) => Err(Wrong::new(what, format!("write `{}`", show(total)))),
        None if !exact => Err(Wrong::new(
            "is finer than a nanosecond",
            format!("write `{}`", show(total)),
        )),
        None => Ok(total),
    }
}

/// The way to write it that `parse` reads as the same: `1m30s`, `1.5s`, `250ms`.
pub fn show(d: Duration) -> String {
    let mut out = String::new();
    let mut seconds = d.as_secs();
    for (unit, length) in &UNITS[..3] {
        let length = length / 1_000_000_000;
        if seconds >= length {
            out.push_str(&format!("{}{unit}", seconds / length));
            seconds %= length;
        }
    }
    let below = d.subsec_nanos();
    match (seconds, below) {
        (0, 0) if out.is_empty() => out.push_str("0s"),
        (0, 0) => {}
        (0, ns) => out.push_str(&decimal(u64::from(ns), 1_000_000, "ms")),
        (s, ns) => out.push_str(&decimal(
            s * 1_000_000_000 + u64::from(ns),
            1_000_000_000,
            "s",
        )),
    }
    out
}

/// As people read it, in a message or a table: "0.3 ms", "12 ms", "5.0 s", "2m 3s", "4h 10m".
pub fn about_ms(ms: f64) -> String {
    match ms {
        ms if !ms.is_finite() => "-".to_owned(),
        ms if ms < 0.0 => format!("-{}", about_ms(-ms)),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 99_950.0 => format!("{:.1} s", ms / 1e3),
        ms => about_seconds((ms / 1e3).round() as u64),
    }
}

/// "12s", "5m 3s", "3h 12m", "4d 2h".
pub fn about_seconds(s: u64) -> String {
    let two = |big: u64, big_unit, small: u64, small_unit| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit} {small}{small_unit}"),
    };
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => two(s / 60, "m", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

/// As [`show`], for a sentence: "200 ms", "1.5 s", "1m 30s".
pub fn show_spaced(d: Duration) -> String {
    // One part is a number and its unit; of several each is a word.
    let before_unit = d < Duration::from_secs(60);
    let mut out = String::new();
    for c in show(d).chars() {
        let of_unit = c.is_ascii_alphabetic();
        let changes = out.ends_with(|last: char| last.is_ascii_alphabetic()) != of_unit;
        if changes && !out.is_empty() && of_unit == before_unit {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// The same with one unit, as plugins of an earlier healthd take it: `90s`.
pub fn show_one_unit(d: Duration) -> String {
    let ns = d.as_nanos();
    let fits = |unit: &&(&str, u64)| ns > 0 && ns.is_multiple_of(u128::from(unit.1));
    match UNITS.iter().find(fits) {
        Some((unit, length)) => format!("{}{unit}", ns / u128::from(*length)),
        None if ns == 0 => "0s".into(),
        None => decimal(u64::try_from(ns).unwrap_or(u64::MAX), 1_000_000, "ms"),
    }
}

/// `1.5s` of 1,500,000,000 and 1,000,000,000.
fn decimal(ns: u64, length: u64, unit: &str) -> String {
    let digits = length.ilog10() as usize;
    let fraction = format!("{:0digits$}", ns % length);
    match fraction.trim_end_matches('0') {
        "" => format!("{}{unit}", ns / length),
        fraction => format!("{}.{fraction}{unit}", ns / length),
    }
}

/// A text is offered only if it is right.
fn suggest(text: &str) -> Option<String> {
    parse(text).ok().map(|_| format!("write `{text}`"))
}

fn or_help(text: &str) -> String {
    suggest(text).unwrap_or_else(|| HELP.to_owned())
}

fn meant_unit(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => Some("s"),
        "min" | "mins" | "minute" | "minutes" | "m" => Some("m"),
        "hr" | "hrs" | "hour" | "hours" | "h" => Some("h"),
        "day" | "days" | "d" => Some("d"),
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" | "ms" => Some("ms"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_it_shows() {
        for (text, us) in [
            ("0s", 0),
            ("0.25ms", 250),
            ("250ms", 250_000),
            ("1.5s", 1_500_000),
            ("10s", 10_000_000),
            ("5m", 300_000_000),
            ("1m30s", 90_000_000),
            ("1m1.5s", 61_500_000),
            ("1h", 3_600_000_000),
            ("1h1ms", 3_600_001_000),
            ("2d", 172_800_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(us)), "{text}");
            assert_eq!(show(Duration::from_micros(us)), text);
        }
        for (text, ms) in [
            ("90s", 90_000),
            ("1500ms", 1_500),
            ("0.5h", 1_800_000),
            ("1h0.5m", 3_630_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn people_read_two_or_three_digits() {
        for (ms, text) in [
            (0.04, "0.0 ms"),
            (0.31, "0.3 ms"),
            (9.96, "10 ms"),
            (12.4, "12 ms"),
            (999.6, "1.0 s"),
            (5003.0, "5.0 s"),
            (99_960.0, "1m 40s"),
            (123_456.7, "2m 3s"),
            (3_600_000.0, "1h"),
            (123_456_789.5, "1d 10h"),
            (-31.04, "-31 ms"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(about_ms(ms), text);
        }
    }

    #[test]
    fn a_limit_in_a_sentence() {
        for (us, text) in [
            (0, "0 s"),
            (250, "0.25 ms"),
            (200_000, "200 ms"),
            (1_500_000, "1.5 s"),
            (60_000_000, "1m"),
            (90_500_000, "1m 30.5s"),
            (172_800_000_000, "2d"),
        ] {
            assert_eq!(show_spaced(Duration::from_micros(us)), text);
        }
    }

    proptest! {
        #[test]
        fn every_duration_goes_both_ways(ns in any::<u64>()) {
            let d = Duration::from_nanos(ns);
            prop_assert_eq!(parse(&show(d)), Ok(d));
            prop_assert_eq!(parse(&show_one_unit(d)), Ok(d));
        }
    }

    #[test]
    fn says_what_is_wrong_and_how_to_write_it() {
        for (text, error, help) in [
            ("", "is empty", "as in `250ms`"),
            ("10", "has no unit after `10`", "write `10s` or `10ms`"),
            ("1.5", "has no unit after `1.5`", "write `1.5s` or `1.5ms`"),
            ("1m30", "has no unit after `30`", "write `1m30s`"),
            ("s", "has no number before `s`", "as in"),
            ("-5s", "has no number before `-5s`", "as in"),
            (".5s", "has no number before `.5s`", "as in"),
            ("0,5h", "has a comma in it", "write `0.5h`"),
            (
                "1.5m30s",
                "has a fraction before its last part",
                "write `2m`",
            ),
            ("1.2.3s", "has an unknown unit `.`", "as in"),
            ("10 s", "has a space in it", "write `10s`"),
            ("10 sec", "has a space in it", "write `10s`"),
            ("1 h 30 min", "has a space in it", "write `1h30m`"),
            (" ", "has a space in it", "as in"),
            ("10sec", "has an unknown unit `sec`", "write `10s`"),
            ("5min", "has an unknown unit `min`", "write `5m`"),
            ("1h5min", "has an unknown unit `min`", "write `1h5m`"),
            ("5us", "has an unknown unit `us`", "as in"),
            ("1s1m", "has `m` out of order", "write `1m1s`"),
            ("1s1s", "has `s` out of order", "write `2s`"),
            ("0.0000001ms", "is finer than a nanosecond", "write `0s`"),
            ("99999999999999999999s", "is too long to count", "as in"),
            ("18446744073709551615s", "is too long to count", "as in"),
        ] {
            let e = parse(text).expect_err(text);
            assert_eq!(e.to_string(), error, "{text}");
            assert!(e.help().contains(help), "{text}: {}", e.help());
        }
    }

    #[test]
    fn one_unit_for_plugins_of_before() {
        for (ms, text) in [
            (90_000, "90s"),
            (1_500, "1500ms"),
            (7_200_000, "2h"),
            (0, "0s"),
        ] {
            assert_eq!(show_one_unit(Duration::from_millis(ms)), text);
        }
        assert_eq!(show_one_unit(Duration::from_micros(250)), "0.25ms");
    }
}
