//! Amounts of memory and disk as people write them: `512B`, `64KiB`, `1.5GiB`, `5GB`; and shares of a whole: `5%`.

use crate::Wrong;
use crate::number::Decimal;
use std::fmt;

/// So many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A part of a whole: "5%" of it, or so many bytes ("10GiB").
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Percent(f64),
    Bytes(u64),
}

const UNITS: [(&str, u64); 11] = [
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
    ("PB", 1_000_000_000_000_000),
];

const HELP: &str = "write a number and B, KiB, MiB, GiB or TiB (or kB, MB, GB, TB), as in `64KiB`, `1.5GiB` or `5GB`";
const AMOUNT_HELP: &str = "write a share or a size, as in `5%` or `10GiB`";

/// Bytes. Without a unit only 0.
pub fn parse(text: &str) -> Result<u64, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("is empty", HELP));
    }
    if text.contains(char::is_whitespace) {
        let joined: String = text.split_whitespace().collect();
        return Err(Wrong::new("has a space in it", either(&joined)));
    }
    let Some((number, unit)) = Decimal::split(text) else {
        return Err(Wrong::new("does not begin with a number", HELP));
    };
    if unit.is_empty() {
        return match number.times(1) {
            Some((0, true)) => Ok(0),
            _ => Err(Wrong::new(
                format!("has no unit after `{}`", number.text),
                or_help(&format!("{}MiB", number.text)),
            )),
        };
    }
    if unit.starts_with(',') {
        return Err(Wrong::new(
            "has a comma in it",
            or_help(&text.replace(',', ".")),
        ));
    }
    let Some((_, length)) = UNITS.iter().find(|(name, _)| is_unit(name, unit)) else {
        let help = meant_unit(unit).map(|known| or_help(&format!("{}{known}", number.text)));
        let help = help.unwrap_or_else(|| HELP.to_owned());
        return Err(Wrong::new(format!("has an unknown unit `{unit}`"), help));
    };
    match number
        .times(*length)
        .map(|(bytes, exact)| (u64::try_from(bytes), exact))
    {
        Some((Ok(0), false)) => Err(Wrong::new("is less than a byte", HELP)),
        Some((Ok(bytes), _)) => Ok(bytes),
        _ => Err(Wrong::new("is too large to count", HELP)),
    }
}

/// The shortest exact way to write it.
pub fn show(bytes: u64) -> String {
    let exact = |u: &&(&str, u64)| u.1 > 1 && bytes > 0 && bytes.is_multiple_of(u.1);
    let largest = UNITS.iter().filter(exact).max_by_key(|u| u.1);
    let (unit, size) = largest.unwrap_or(&UNITS[0]);
    format!("{}{unit}", bytes / size)
}

/// As people read it in a message: "1.5 GiB".
pub fn about(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = "B";
    for (name, _) in &UNITS[1..6] {
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

impl Size {
    pub fn parse(text: &str) -> Result<Size, Wrong> {
        parse(text).map(Size)
    }
}

impl Amount {
    pub fn parse(text: &str) -> Result<Amount, Wrong> {
        let of_whole = Decimal::split(text).filter(|(_, unit)| *unit == "%");
        if let Some((number, _)) = of_whole {
            let percent = number.text.parse().ok().filter(|p| *p <= 100.0);
            let wrong = || Wrong::new("is more than the whole", AMOUNT_HELP);
            return percent.map(Amount::Percent).ok_or_else(wrong);
        }
        match parse(text) {
            Ok(bytes) => Ok(Amount::Bytes(bytes)),
            Err(e) if e.help == HELP => Err(Wrong::new(e.what, AMOUNT_HELP)),
            Err(e) => Err(e),
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

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Percent(percent) => write!(f, "{percent}%"),
            Amount::Bytes(bytes) => f.write_str(&show(*bytes)),
        }
    }
}

/// `mib` can be nothing else; `Mb` and `mb` might be bits.
fn is_unit(name: &str, text: &str) -> bool {
    name == text || (name.len() == 3 && name.eq_ignore_ascii_case(text))
}

fn meant_unit(text: &str) -> Option<&'static str> {
    let words = |name: &str| text.eq_ignore_ascii_case(name);
    if words("byte") || words("bytes") || words("b") {
        return Some("B");
    }
    let by_name = UNITS.iter().find(|(name, _)| words(name));
    let by_letter = || UNITS[1..].iter().find(|(name, _)| words(&name[..1]));
    by_name.or_else(by_letter).map(|(name, _)| *name)
}

fn or_help(text: &str) -> String {
    match parse(text) {
        Ok(_) => format!("write `{text}`"),
        Err(_) => HELP.to_owned(),
    }
}

/// That text, or what is said of it.
fn either(text: &str) -> String {
    match parse(text) {
        Ok(_) => format!("write `{text}`"),
        Err(e) => e.help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_go_both_ways() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("256MiB", 256 << 20),
            ("10GiB", 10 << 30),
            ("5GB", 5_000_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(show(bytes), text);
        }
        for (text, bytes) in [
            ("0", 0),
            ("1.5KiB", 1536),
            ("256mib", 256 << 20),
            ("0MiB", 0),
            ("1.1B", 1),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_size_goes_both_ways(bytes in any::<u64>(), unit in 0_usize..UNITS.len()) {
            let round = bytes / UNITS[unit].1 * UNITS[unit].1;
            for bytes in [bytes, round] {
                prop_assert_eq!(parse(&show(bytes)), Ok(bytes));
            }
        }
    }

    #[test]
    fn says_what_is_wrong_and_how_to_write_it() {
        for (text, error, help) in [
            ("", "is empty", "as in `64KiB`"),
            ("256", "has no unit after `256`", "write `256MiB`"),
            ("256M", "has an unknown unit `M`", "write `256MiB`"),
            ("5gb", "has an unknown unit `gb`", "write `5GB`"),
            ("5 GiB", "has a space in it", "write `5GiB`"),
            ("5 gigs", "has a space in it", "as in"),
            ("-1MiB", "does not begin with a number", "as in"),
            ("1,5GiB", "has a comma in it", "write `1.5GiB`"),
            ("5.GiB", "has an unknown unit `.GiB`", "as in"),
            ("1e3B", "has an unknown unit `e3B`", "as in"),
            ("0.1B", "is less than a byte", "as in"),
            ("99999999PiB", "is too large to count", "as in"),
        ] {
            let e = parse(text).expect_err(text);
            assert_eq!(e.to_string(), error, "{text}");
            assert!(e.help().contains(help), "{text}: {}", e.help());
        }
    }

    #[test]
    fn amounts_are_shares_or_sizes() {
        assert_eq!(Amount::parse("12.5%"), Ok(Amount::Percent(12.5)));
        assert_eq!(Amount::parse("2KiB"), Ok(Amount::Bytes(2048)));
        for bad in ["101%", "%", "x", "5 %"] {
            let e = Amount::parse(bad).expect_err(bad);
            assert!(e.help().contains("`5%`"), "{bad}: {}", e.help());
        }
        assert_eq!(Amount::Percent(10.0).of(500.0), 50.0);
        assert_eq!(Amount::Bytes(7).of(500.0), 7.0);
        assert_eq!(Amount::Percent(12.5).to_string(), "12.5%");
    }

    #[test]
    fn people_read_sizes() {
        assert_eq!(about(0.0), "0 B");
        assert_eq!(about(1023.0), "1023 B");
        assert_eq!(about(1536.0), "1.5 KiB");
        assert_eq!(about(-3.0 * 1024.0 * 1024.0), "-3.0 MiB");
    }
}
