//! So many in so long, as in `limit = "20/10m"` and `flap = "5/30m"`.

use healthd_units::duration;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

/// Why a text is no rate: what is wrong, as the end of a sentence, and how to write it.
pub type WrongRate = (String, String);

impl Rate {
    pub fn parse(text: &str) -> Result<Rate, WrongRate> {
        let help = || "write a number, `/` and a duration, as in `20/10m`".to_owned();
        let Some((count, per)) = text.split_once('/') else {
            return Err(("has no `/` in it".into(), help()));
        };
        let count: u32 = match count.parse() {
            Ok(n @ 1..=COUNT_MAX) => n,
            _ => {
                let what = format!("does not begin with a number from 1 to {COUNT_MAX}");
                return Err((what, help()));
            }
        };
        // `20/m` is what `rate_limit` of plugins takes.
        let per = match per {
            "s" | "m" | "h" | "d" => duration::parse(&format!("1{per}")),
            _ => duration::parse(per),
        };
        let per = per.map_err(|e| (format!("{e} behind its `/`"), help()))?;
        if !(Duration::from_secs(1)..=PER_MAX).contains(&per) {
            let what = "counts over less than `1s` or more than `7d`".to_owned();
            return Err((what, help()));
        }
        Ok(Rate { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, duration::show(self.per))
    }
}

const COUNT_MAX: u32 = 1_000;
const PER_MAX: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_shown() {
        let rate = Rate::parse("20/10m").expect("a rate");
        assert_eq!((rate.count, rate.per), (20, Duration::from_secs(600)));
        assert_eq!(rate.to_string(), "20/10m");
        assert_eq!(Rate::parse("5/m"), Rate::parse("5/1m"));
        for bad in [
            "", "20", "0/10m", "x/10m", "20/", "20/10", "5/500ms", "5/8d", "-1/m", "20/10m/2",
        ] {
            let (what, help) = Rate::parse(bad).expect_err(bad);
            assert!(!what.is_empty() && help.contains("20/10m"), "{bad}: {what}");
        }
    }
}
