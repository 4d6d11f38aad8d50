//! Performance data as the Nagios plugin guidelines define it: `'label'=value[unit];[warn];[crit];[min];[max] ...`.
//!
//! It comes from programs of any quality, so nothing here may panic, and what cannot be read costs its own entry only.

use healthd_plugin::{Metric, Range};

/// One `label=value` entry, in base units: seconds and bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub label: String,
    /// None: the plugin wrote `U`, it could not measure.
    pub value: Option<f64>,
    pub unit: String,
    pub counter: bool,
    pub warn: Option<Range>,
    pub crit: Option<Range>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Perfdata {
    pub entries: Vec<Entry>,
    /// What could not be read, as it stands in the output.
    pub refused: Vec<String>,
}

impl Perfdata {
    /// Reads the entries of `text` and adds them.
    pub fn read(&mut self, text: &str) {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (entry, after) = one(rest);
            match entry {
                Some(entry) => self.entries.push(entry),
                None => self
                    .refused
                    .push(rest[..rest.len() - after.len()].trim_end().into()),
            }
            rest = after.trim_start();
        }
    }
}

impl Entry {
    pub fn metric(&self) -> Metric<'_> {
        let metric = Metric::new(&self.label, self.value.unwrap_or(f64::NAN))
            .unit(&self.unit)
            .warn(self.warn.and_then(|r| r.upper_bound()))
            .crit(self.crit.and_then(|r| r.upper_bound()))
            .min(self.min)
            .max(self.max);
        if self.counter {
            metric.counter()
        } else {
            metric
        }
    }

    /// The ranges that a metric's two numbers cannot hold, as labels.
    pub fn labels(&self) -> impl Iterator<Item = (String, String)> + '_ {
        [("warn", self.warn), ("crit", self.crit)]
            .into_iter()
            .filter_map(|(kind, range)| {
                let range = range.filter(|r| r.upper_bound().is_none())?;
                Some((format!("{kind}_range:{}", self.label), range.to_string()))
            })
    }
}

/// The first entry and what follows it. Always moves on.
fn one(text: &str) -> (Option<Entry>, &str) {
    let word_end = |s: &str| s.find(char::is_whitespace).unwrap_or(s.len());
    let labelled = match text.strip_prefix('\'') {
        Some(quoted) => quoted_label(quoted),
        None => text[..word_end(text)]
            .split_once('=')
            .map(|(label, _)| (label.to_string(), &text[label.len()..])),
    };
    let Some((label, rest)) = labelled else {
        return (None, &text[word_end(text)..]);
    };
    let Some(rest) = rest.strip_prefix('=') else {
        return (None, &rest[word_end(rest)..]);
    };
    let (fields, after) = rest.split_at(word_end(rest));
    (entry(label.trim(), fields), after)
}

/// A label after its opening quote, where `''` is one quote, and what follows the closing one.
fn quoted_label(text: &str) -> Option<(String, &str)> {
    let mut label = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'')?;
        label += part;
        match after.strip_prefix('\'') {
            Some(more) => {
                label.push('\'');
                rest = more;
            }
            None => return Some((label, after)),
        }
    }
}

fn entry(label: &str, fields: &str) -> Option<Entry> {
    if label.is_empty() {
        return None;
    }
    let mut fields = fields.split(';');
    let (value, unit) = value_and_unit(fields.next()?)?;
    let (unit, factor, counter) = base_unit(unit);
    let scaled = |n: f64| Some(n * factor).filter(|n| n.is_finite());
    let value = match value {
        Some(n) => Some(scaled(n)?),
        None => None,
    };
    let mut range = || Some(fields.next()?.parse::<Range>().ok()?.scaled(factor));
    let (warn, crit) = (range(), range());
    let mut number = || scaled(fields.next()?.parse::<f64>().ok()?);
    let (min, max) = (number(), number());
    Some(Entry {
        label: label.into(),
        value,
        unit: unit.into(),
        counter,
        warn,
        crit,
        min,
        max,
    })
}

/// `12.5ms` in two. `U` is a value that could not be measured.
fn value_and_unit(text: &str) -> Option<(Option<f64>, &str)> {
    if let Some(unit) = text.strip_prefix('U') {
        return Some((None, unit));
    }
    let (number, unit) = text.split_at(number_length(text));
    let number = number.parse::<f64>().ok().filter(|n| n.is_finite())?;
    // A unit holds no digit, quote or sign: `1,5` and `3=4` are no numbers with a unit.
    let letters = unit.chars().all(|c| c.is_alphabetic() || "%/°".contains(c));
    letters.then_some((Some(number), unit))
}

fn number_length(text: &str) -> usize {
    let digits = |s: &str| {
        s.len()
            - s.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len()
    };
    let sign = |s: &str| usize::from(s.starts_with(['-', '+']));
    let mut length = sign(text);
    length += digits(&text[length..]);
    // An exponent only if a number follows: the unit of `5e` is `e`.
    if let Some(exponent) = text[length..].strip_prefix(['e', 'E']) {
        let signed = sign(exponent);
        let long = digits(&exponent[signed..]);
        if long > 0 {
            length += 1 + signed + long;
        }
    }
    length
}

/// Our unit, the factor to it, and whether it counts. A K is 1024, as check_disk and check_swap count.
fn base_unit(unit: &str) -> (&str, f64, bool) {
    const KI: f64 = 1024.0;
    let scale = |power: i32| ("By", KI.powi(power), false);
    match unit {
        "" => ("1", 1.0, false),
        "c" => ("1", 1.0, true),
        "s" => ("s", 1.0, false),
        "ms" => ("s", 1e-3, false),
        "us" | "µs" | "μs" => ("s", 1e-6, false),
        "ns" => ("s", 1e-9, false),
        "B" => scale(0),
        "KB" | "kB" | "KiB" => scale(1),
        "MB" | "MiB" => scale(2),
        "GB" | "GiB" => scale(3),
        "TB" | "TiB" => scale(4),
        "PB" | "PiB" => scale(5),
        other => (other, 1.0, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Perfdata {
        let mut p = Perfdata::default();
        p.read(text);
        p
    }

    fn only(text: &str) -> Entry {
        let mut p = read(text);
        assert_eq!((p.entries.len(), p.refused.len()), (1, 0), "{text}: {p:?}");
        p.entries.remove(0)
    }

    /// As text, because an absent number is NaN, which equals nothing.
    fn shown(metric: Metric<'_>) -> String {
        format!("{metric:?}")
    }

    #[test]
    fn labels_quotes_and_blanks() {
        let p = read(" a=1  'free space'=2;; 'it''s'=3\t''''=4 c:\\=5");
        let labels: Vec<_> = p.entries.iter().map(|e| e.label.as_str()).collect();
        assert_eq!(labels, ["a", "free space", "it's", "'", "c:\\"]);
        assert!(p.refused.is_empty());
    }

    #[test]
    fn units_become_base_units() {
        for (text, value, unit) in [
            ("t=0.5s", 0.5, "s"),
            ("t=250ms", 0.25, "s"),
            ("t=5us", 5e-6, "s"),
            ("t=55%", 55.0, "%"),
            ("t=2KB", 2048.0, "By"),
            ("t=1MB", 1_048_576.0, "By"),
            ("t=1TB", 1_099_511_627_776.0, "By"),
            ("t=7", 7.0, "1"),
            ("t=-1.5e3", -1500.0, "1"),
            ("t=5e", 5.0, "e"),
            ("t=3.4V", 3.4, "V"),
            ("t=+.5", 0.5, "1"),
        ] {
            let e = only(text);
            assert!((e.value.unwrap() - value).abs() < 1e-9, "{text}: {e:?}");
            assert_eq!(e.unit, unit, "{text}");
            assert!(!e.counter);
        }
        let e = only("packets=123c");
        assert_eq!((e.value, &*e.unit, e.counter), (Some(123.0), "1", true));
        let e = only("t=U;1;2");
        assert_eq!((e.value, e.warn), (None, "1".parse().ok()));
    }

    #[test]
    fn thresholds_and_limits() {
        let e = only("rta=12ms;100;500;0;1000");
        assert_eq!(e.warn, "0.1".parse().ok());
        assert_eq!(e.crit, "0.5".parse().ok());
        assert_eq!((e.min, e.max), (Some(0.0), Some(1.0)));
        assert_eq!(e.labels().count(), 0);

        let e = only("x=1;10:20;@~:5");
        assert_eq!(shown(e.metric()), shown(Metric::new("x", 1.0)));
        let labels: Vec<_> = e.labels().collect();
        assert_eq!(labels[0], ("warn_range:x".into(), "10:20".into()));
        assert_eq!(labels[1], ("crit_range:x".into(), "@~:5".into()));

        assert_eq!(
            shown(only("x=1;~:7;:8").metric()),
            shown(Metric::new("x", 1.0).warn(7.0).crit(8.0))
        );
        assert_eq!(only("x=1;10:;junk;;").labels().count(), 1);
        assert_eq!(only("x=1;;;0;").min, Some(0.0));
        assert_eq!(only("x=1;;;;;;;").max, None);
    }

    #[test]
    fn what_cannot_be_read_costs_only_itself() {
        let p = read("good=1 bad =2 =3 x=y 'open=4 'a'b=5 n=nan i=inf h=1e999 c=1,5 last=6");
        let labels: Vec<_> = p.entries.iter().map(|e| e.label.as_str()).collect();
        assert_eq!(labels, ["good", "last"]);
        assert_eq!(
            p.refused,
            [
                "bad",
                "=2",
                "=3",
                "x=y",
                "'open=4 'a'b=5",
                "n=nan",
                "i=inf",
                "h=1e999",
                "c=1,5"
            ]
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_says_only_finite_numbers(text in any::<String>()) {
            for e in read(&text).entries {
                prop_assert!(!e.label.is_empty());
                prop_assert!(e.value.is_none_or(f64::is_finite));
                let _ = (e.metric(), e.labels().count());
            }
        }

        #[test]
        fn never_panics_on_what_looks_like_perfdata(
            text in "(['=;:@~U. %a-zé0-9e+-]|[0-9]{1,4}|[a-z]{1,3}=[0-9.e-]{1,6}(ms|MB|c)?){0,40}"
        ) {
            let p = read(&text);
            prop_assert!(p.refused.iter().all(|r| !r.is_empty()));
        }

        #[test]
        fn reads_back_what_the_guidelines_allow(
            label in "[^=\u{0}-\u{1f}]{1,20}", value in -1e12..1e12f64, warn in 0.0..1e6f64
        ) {
            prop_assume!(!label.trim().is_empty());
            let e = only(&format!("'{}'={value};{warn}", label.replace('\'', "''")));
            prop_assert_eq!(&e.label, label.trim());
            prop_assert_eq!(e.value, Some(value));
            prop_assert_eq!(e.warn.unwrap().upper_bound(), Some(warn));
        }
    }
}
