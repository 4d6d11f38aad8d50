//! Ranges of good numbers, in the notation of the Nagios plugins.

use std::fmt;
use std::str::FromStr;

/// The numbers that are fine: `10` is 0 to 10, `10:` is 10 or more, `~:10` is 10 or less, `10:20` is from 10 to 20,
/// and `@10:20` is everything but 10 to 20. The bounds themselves belong to the range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    low: f64,
    high: f64,
    inverted: bool,
}

impl Range {
    /// Is this value outside the range of the good ones? Not a number is.
    pub fn alerts(&self, value: f64) -> bool {
        let inside = self.low <= value && value <= self.high;
        value.is_nan() || inside == self.inverted
    }

    /// The bound to draw beside a metric: the upper one, else the lower one.
    pub fn bound(&self) -> Option<f64> {
        [self.high, self.low].into_iter().find(|b| b.is_finite())
    }

    /// The `x` of `x`, `0:x` and `~:x`: Some only if the range says nothing but "at most x".
    pub fn upper_bound(&self) -> Option<f64> {
        let simple = !self.inverted && (self.low == 0.0 || self.low == f64::NEG_INFINITY);
        Some(self.high).filter(|high| simple && high.is_finite())
    }

    /// Is every number that is good by this range good by the other one too?
    pub fn is_within(&self, other: &Range) -> bool {
        let pieces = |r: &Range| match r.inverted {
            false => vec![(r.low, r.high)],
            true => [(f64::NEG_INFINITY, r.low), (r.high, f64::INFINITY)]
                .into_iter()
                .filter(|(low, high)| low != high)
                .collect(),
        };
        let others = pieces(other);
        pieces(self)
            .iter()
            .all(|(low, high)| others.iter().any(|(l, h)| l <= low && high <= h))
    }

    /// The same range in another unit; the factor is above 0.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Range {
        Range {
            low: self.low * factor,
            high: self.high * factor,
            ..self
        }
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no range; write 10, 10:, ~:10, 10:20 or @10:20");
        let number = |s: &str| {
            s.parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
                .ok_or_else(bad)
        };
        let (body, inverted) = match text.strip_prefix('@') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (low, high) = match body.split_once(':') {
            None => (0.0, number(body)?),
            Some((low, high)) => (
                match low {
                    "~" => f64::NEG_INFINITY,
                    "" => 0.0,
                    low => number(low)?,
                },
                if high.is_empty() {
                    f64::INFINITY
                } else {
                    number(high)?
                },
            ),
        };
        if low > high {
            Err(bad())
        } else {
            Ok(Range {
                low,
                high,
                inverted,
            })
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.inverted { "@" } else { "" };
        match (self.low, self.high) {
            (0.0, high) if high.is_finite() => write!(f, "{at}{high}"),
            (low, high) => {
                f.write_str(at)?;
                if low.is_finite() {
                    write!(f, "{low}:")?
                } else {
                    f.write_str("~:")?
                }
                if high.is_finite() {
                    write!(f, "{high}")
                } else {
                    Ok(())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_nagios_guidelines_define_them() {
        let alerts = |r: &str, v: f64| r.parse::<Range>().unwrap().alerts(v);
        for (range, fine, bad) in [
            ("10", [0.0, 10.0], [-1.0, 11.0]),
            ("10:", [10.0, 1e9], [9.0, -1.0]),
            ("~:10", [-1e9, 10.0], [10.5, 11.0]),
            ("10:20", [10.0, 20.0], [9.0, 21.0]),
            ("@10:20", [9.0, 21.0], [10.0, 20.0]),
        ] {
            assert!(fine.iter().all(|v| !alerts(range, *v)), "{range}");
            assert!(bad.iter().all(|v| alerts(range, *v)), "{range}");
            assert!(alerts(range, f64::NAN), "{range}");
            assert_eq!(range.parse::<Range>().unwrap().to_string(), range);
        }
        for bad in ["", ":x", "20:10", "@", "1:2:3", "nan", "inf", "~"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_range_within_another() {
        let within = |a: &str, b: &str| {
            let of = |r: &str| r.parse::<Range>().unwrap();
            of(a).is_within(&of(b))
        };
        for (a, b) in [
            ("10", "20"),
            ("10", "10"),
            ("5:8", "~:8"),
            ("20:", "10:"),
            ("@5:30", "@10:20"),
            ("1:5", "@10:20"),
            ("@~:20", "10:"),
            ("7", "~:"),
            ("@10:20", "~:"),
        ] {
            assert!(within(a, b), "{a} in {b}");
        }
        for (a, b) in [
            ("20", "10"),
            ("~:10", "10"),
            ("10:", "20:"),
            ("@10:20", "@5:30"),
            ("1:15", "@10:20"),
            ("@10:20", "10"),
            ("10", "10:"),
        ] {
            assert!(!within(a, b), "{a} in {b}");
        }
    }

    #[test]
    fn upper_bounds_and_other_units() {
        let range = |r: &str| r.parse::<Range>().unwrap();
        for (text, bound) in [
            ("10", Some(10.0)),
            ("~:10", Some(10.0)),
            ("10:", None),
            ("1:10", None),
            ("@10", None),
            ("~:", None),
        ] {
            assert_eq!(range(text).upper_bound(), bound, "{text}");
        }
        assert_eq!(range("@~:500").scaled(0.5), range("@~:250"));
        assert_eq!(range("20:").scaled(2.0), range("40:"));
    }
}
