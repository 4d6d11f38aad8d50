//! Sizes in bytes, and shares of a whole.

use super::value::{Limits, OptionValue};
use serde_json::Value;
use std::fmt;

/// So many bytes: "10GiB", "64KiB", "5GB", or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A part of a whole: "5%" of it, or so many bytes ("10GiB").
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Percent(f64),
    Bytes(u64),
}

const UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Size {
    pub fn parse(text: &str) -> Option<Size> {
        let (number, unit) = number_and_unit(text)?;
        let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let bytes = number * unit as f64;
        (bytes < u64::MAX as f64).then_some(Size(bytes as u64))
    }
}

impl Amount {
    pub fn parse(text: &str) -> Option<Amount> {
        match number_and_unit(text)? {
            (percent, "%") => (percent <= 100.0).then_some(Amount::Percent(percent)),
            _ => Size::parse(text).map(|size| Amount::Bytes(size.0)),
        }
    }

    /// In bytes, of a whole that is so large.
    pub fn of(self, whole: f64) -> f64 {
        match self {
            Amount::Percent(percent) => whole * percent / 100.0,
            Amount::Bytes(bytes) => bytes as f64,
        }
    }
}

fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
        return None;
    }
    Some((number.parse().ok()?, unit))
}

/// Bytes as people read them: "1.5 GiB".
pub fn size_text(bytes: f64) -> String {
    const NAMES: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = "B";
    for name in NAMES {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = name;
    }
    match unit {
        "B" => format!("{value:.0} B"),
        _ => format!("{value:.1} {unit}"),
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |u: &&(&str, u64)| u.1 > 1 && self.0 > 0 && self.0.is_multiple_of(u.1);
        let (unit, size) = UNITS
            .iter()
            .filter(exact)
            .max_by_key(|u| u.1)
            .unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Percent(percent) => write!(f, "{percent}%"),
            Amount::Bytes(bytes) => Size(*bytes).fmt(f),
        }
    }
}

const NUMBER: &str = r"[0-9]+(\\.[0-9]+)?";
const UNIT: &str = "(B|[KMGTP]iB|kB|MB|GB|TB)";

impl OptionValue for Size {
    fn schema(_: &Limits) -> String {
        format!(
            r#""anyOf":[{{"type":"integer","minimum":0}},{{"type":"string","format":"size","pattern":"^{NUMBER}{UNIT}$"}}]"#
        )
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        let size = match &value {
            Value::String(text) => Size::parse(text),
            other => other.as_u64().map(Size),
        };
        size.ok_or_else(|| format!("{value} is no size; write 64KiB, 10GiB or 5GB"))
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

impl OptionValue for Amount {
    fn schema(_: &Limits) -> String {
        format!(r#""type":"string","format":"amount","pattern":"^{NUMBER}(%|{UNIT})$""#)
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        let amount = value.as_str().and_then(Amount::parse);
        amount.ok_or_else(|| format!("{value} is neither a share nor a size; write 5% or 10GiB"))
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_both_ways() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("10GiB", 10 << 30),
            ("5GB", 5_000_000_000),
            ("1TiB", 1 << 40),
        ] {
            let size = Size::parse(text).expect(text);
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), text);
        }
        assert_eq!(Size::parse("1.5KiB"), Some(Size(1536)));
        for bad in [
            "",
            "5",
            "GiB",
            "5 GiB",
            "-5GiB",
            "5gib",
            "5.GiB",
            "1e3B",
            "99999999PiB",
            "1..2MB",
        ] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
        assert_eq!(Size::from_json(7.into(), &Limits::NONE).map(|s| s.0), Ok(7));
        assert!(Size::from_json("x".into(), &Limits::NONE).is_err());
    }

    #[test]
    fn amounts_are_shares_or_sizes() {
        assert_eq!(Amount::parse("12.5%"), Some(Amount::Percent(12.5)));
        assert_eq!(Amount::parse("2KiB"), Some(Amount::Bytes(2048)));
        assert_eq!(Amount::parse("101%"), None);
        assert_eq!(Amount::parse("%"), None);
        assert_eq!(Amount::Percent(10.0).of(500.0), 50.0);
        assert_eq!(Amount::Bytes(7).of(500.0), 7.0);
        assert_eq!(Amount::Percent(12.5).to_string(), "12.5%");
        let schema: Value = serde_json::from_str(&format!("{{{}}}", Amount::schema(&Limits::NONE)))
            .expect("it is JSON");
        assert_eq!(
            schema["pattern"],
            r"^[0-9]+(\.[0-9]+)?(%|(B|[KMGTP]iB|kB|MB|GB|TB))$"
        );
    }

    #[test]
    fn people_read_sizes() {
        assert_eq!(size_text(0.0), "0 B");
        assert_eq!(size_text(1023.0), "1023 B");
        assert_eq!(size_text(1536.0), "1.5 KiB");
        assert_eq!(size_text(-3.0 * 1024.0 * 1024.0), "-3.0 MiB");
    }
}
