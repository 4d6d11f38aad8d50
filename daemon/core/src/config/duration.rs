//! Spans of time as people write them: `250ms`, `10s`, `5m`, `1h`, `2d`, `1m30s`.
//!
//! Whole numbers, largest unit first, no spaces: one way to write it, so that a slip is seen.

use std::fmt;
use std::time::Duration;

/// Unit, its length in milliseconds; largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is no duration. `Display` says what is wrong; `help` how to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    Empty,
    /// Text that does not start with a digit where a number must stand.
    NoNumber(String),
    NoUnit {
        number: String,
    },
    Fraction(String),
    Space(String),
    UnknownUnit {
        number: String,
        unit: String,
    },
    /// A unit that stands after a smaller one, or twice.
    Order(String),
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "is empty"),
            Self::NoNumber(text) => write!(f, "has no number before `{text}`"),
            Self::NoUnit { number } => write!(f, "has no unit after `{number}`"),
            Self::Fraction(_) => write!(f, "has a fraction"),
            Self::Space(_) => write!(f, "has a space in it"),
            Self::UnknownUnit { unit, .. } => write!(f, "has an unknown unit `{unit}`"),
            Self::Order(unit) => write!(f, "has `{unit}` out of order"),
            Self::TooLong => write!(f, "is too long to count"),
        }
    }
}

impl DurationError {
    pub fn help(&self) -> String {
        match self {
            Self::NoUnit { number } => format!("write `{number}s` or `{number}ms`"),
            Self::Fraction(text) => match fraction_in_ms(text) {
                Some(ms) => format!("write `{}`", show(Duration::from_millis(ms))),
                None => "use a smaller unit: `1500ms` for one and a half seconds".into(),
            },
            Self::UnknownUnit { number, unit } => match meant_unit(unit) {
                Some(known) => format!("write `{number}{known}`"),
                None => "the units are ms, s, m, h and d".into(),
            },
            Self::Space(text) => {
                let joined: String = text.split_whitespace().collect();
                match parse(&joined) {
                    Ok(_) => format!("write `{joined}`"),
                    Err(e) => e.help(),
                }
            }
            Self::Order(_) => "largest unit first, each at most once: `1m30s`".into(),
            Self::TooLong => "use a larger unit, or a smaller number".into(),
            Self::Empty | Self::NoNumber(_) => "write it as `250ms`, `10s`, `5m` or `1m30s`".into(),
        }
    }
}

pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(DurationError::Space(text.to_owned()));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0; // index in UNITS: what comes now has to be at or after it
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return Err(DurationError::NoNumber(rest.to_owned()));
        }
        if tail.starts_with(['.', ',']) {
            return Err(DurationError::Fraction(rest.to_owned()));
        }
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, after) = tail.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::NoUnit {
                number: number.to_owned(),
            });
        }
        let Some(index) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit {
                number: number.to_owned(),
                unit: unit.to_owned(),
            });
        };
        if index < next_unit {
            return Err(DurationError::Order(unit.to_owned()));
        }
        next_unit = index + 1;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(UNITS[index].1))
            .and_then(|ms| total.checked_add(ms))
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// The shortest way to write a duration; what is below a millisecond is dropped.
pub fn show(d: Duration) -> String {
    let mut ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, length) in UNITS {
        if ms >= length {
            out.push_str(&format!("{}{unit}", ms / length));
            ms %= length;
        }
    }
    out
}

fn fraction_in_ms(text: &str) -> Option<u64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let value: f64 = text[..end].replace(',', ".").parse().ok()?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == &text[end..])?;
    let ms = value * *length as f64;
    (1.0..1e15).contains(&ms).then_some(ms.round() as u64)
}

fn meant_unit(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => Some("s"),
        "min" | "mins" | "minute" | "minutes" => Some("m"),
        "hr" | "hrs" | "hour" | "hours" | "h" => Some("h"),
        "day" | "days" | "d" => Some("d"),
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" | "ms" => Some("ms"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1m30s", 90_000),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
        assert_eq!(show(Duration::from_millis(90_000)), "1m30s");
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn says_what_is_wrong_and_how_to_write_it() {
        for (text, error, help) in [
            ("", "is empty", "write it as"),
            ("10", "has no unit after `10`", "write `10s` or `10ms`"),
            ("1m30", "has no unit after `30`", "write `30s`"),
            ("s", "has no number before `s`", "write it as"),
            ("-5s", "has no number before `-5s`", "write it as"),
            ("1.5s", "has a fraction", "write `1s500ms`"),
            ("0,5h", "has a fraction", "write `30m`"),
            ("1.2.3s", "has a fraction", "use a smaller unit"),
            ("10 s", "has a space in it", "write `10s`"),
            ("10 sec", "has a space in it", "write `10s`"),
            (" ", "has a space in it", "write it as"),
            ("10sec", "has an unknown unit `sec`", "write `10s`"),
            ("5min", "has an unknown unit `min`", "write `5m`"),
            ("5us", "has an unknown unit `us`", "the units are"),
            ("1s1m", "has `m` out of order", "largest unit first"),
            ("1s1s", "has `s` out of order", "largest unit first"),
            (
                "99999999999999999999s",
                "is too long to count",
                "larger unit",
            ),
            (
                "18446744073709551615s",
                "is too long to count",
                "larger unit",
            ),
        ] {
            let e = parse(text).expect_err(text);
            assert_eq!(e.to_string(), error, "{text}");
            assert!(e.help().contains(help), "{text}: {}", e.help());
        }
    }

    #[test]
    fn takes_any_text_without_a_panic() {
        for text in [
            "1é", "é", "1µs", "\u{0}", "1\u{0}", "1..s", ".s", "1.é5s", "٣s",
        ] {
            let e = parse(text).expect_err(text);
            let _ = (e.to_string(), e.help());
        }
    }
}
