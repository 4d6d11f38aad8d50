//! So many in so much time, as people write it: `50/s`, `10/m`, `1/h`.

use crate::Wrong;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

const PERS: [(&str, Per, u64); 4] = [
    ("s", Per::Second, 1),
    ("m", Per::Minute, 60),
    ("h", Per::Hour, 3_600),
    ("d", Per::Day, 86_400),
];

/// The most that a rate may say.
const COUNT_MAX: u32 = 1_000_000;
const HELP: &str = "write a whole number and /s, /m, /h or /d, as in `50/s`, `10/m` or `1/h`";

impl Rate {
    pub fn parse(text: &str) -> Result<Rate, Wrong> {
        if text.is_empty() {
            return Err(Wrong::new("is empty", HELP));
        }
        if text.contains(char::is_whitespace) {
            let joined: String = text.split_whitespace().collect();
            let help = match Rate::parse(&joined) {
                Ok(_) => format!("write `{joined}`"),
                Err(e) => e.help,
            };
            return Err(Wrong::new("has a space in it", help));
        }
        let Some((count, per)) = text.split_once('/') else {
            return Err(Wrong::new(
                "has no \"/\" in it",
                or_help(&format!("{text}/s")),
            ));
        };
        let Some((_, per, _)) = PERS.iter().find(|(name, ..)| *name == per) else {
            let meant = PERS.iter().find(|(name, ..)| {
                let word = per.to_ascii_lowercase();
                let word = word.trim_end_matches('s');
                matches!(
                    (*name, word),
                    ("s", "" | "sec" | "second")
                        | ("m", "m" | "min" | "minute")
                        | ("h", "h" | "hr" | "hour")
                        | ("d", "d" | "day")
                )
            });
            let help = meant.map(|(name, ..)| or_help(&format!("{count}/{name}")));
            return Err(Wrong::new(
                format!("has an unknown unit \"/{per}\""),
                help.unwrap_or_else(|| HELP.to_owned()),
            ));
        };
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Wrong::new(
                format!("has no whole number in \"{count}\""),
                HELP,
            ));
        }
        match count.parse() {
            Ok(0) => Err(Wrong::new("is never", HELP)),
            Ok(count @ 1..=COUNT_MAX) => Ok(Rate { count, per: *per }),
            _ => Err(Wrong::new(format!("is more than {COUNT_MAX}"), HELP)),
        }
    }

    /// The time between two.
    pub fn distance(self) -> Duration {
        let (_, _, seconds) = self.per();
        Duration::from_nanos(seconds * 1_000_000_000 / u64::from(self.count))
    }

    fn per(self) -> (&'static str, Per, u64) {
        PERS[self.per as usize]
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per().0)
    }
}

fn or_help(text: &str) -> String {
    match Rate::parse(text) {
        Ok(_) => format!("write `{text}`"),
        Err(_) => HELP.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_go_both_ways() {
        for (text, ms) in [
            ("50/s", 20),
            ("1/s", 1000),
            ("10/m", 6000),
            ("1/h", 3_600_000),
            ("24/d", 3_600_000),
        ] {
            let rate = Rate::parse(text).expect(text);
            assert_eq!(rate.distance(), Duration::from_millis(ms));
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn says_what_is_wrong_and_how_to_write_it() {
        for (text, error, help) in [
            ("", "is empty", "as in `50/s`"),
            ("50", "has no \"/\" in it", "write `50/s`"),
            ("/s", "has no whole number in \"\"", "as in"),
            ("0/s", "is never", "as in"),
            ("+5/s", "has no whole number in \"+5\"", "as in"),
            ("1.5/s", "has no whole number in \"1.5\"", "as in"),
            ("5/min", "has an unknown unit \"/min\"", "write `5/m`"),
            ("5/hours", "has an unknown unit \"/hours\"", "write `5/h`"),
            ("5/w", "has an unknown unit \"/w\"", "as in"),
            ("5 / s", "has a space in it", "write `5/s`"),
            ("1000001/s", "is more than 1000000", "as in"),
        ] {
            let e = Rate::parse(text).expect_err(text);
            assert_eq!(e.to_string(), error, "{text}");
            assert!(e.help().contains(help), "{text}: {}", e.help());
        }
    }
}
