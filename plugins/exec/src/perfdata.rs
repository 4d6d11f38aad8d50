//! Performance data as the Nagios plugin guidelines define it, `'label'=value[unit];[warn];[crit];[min];[max] ...`, and as
//! plugins really print it: entries with commas between them, labels with blanks, commas or `=`, units on thresholds.
//!
//! It comes from programs of any quality, so nothing here may panic. What cannot be read costs its own entry or field only,
//! and is named.

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
    /// What could not be read: entries as they stand in the output, and fields with the label of their entry.
    pub refused: Vec<String>,
    /// All of it, as it was printed.
    pub raw: String,
}

impl Perfdata {
    /// Reads the entries of `text`, of one line, and adds them.
    pub fn read(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if !self.raw.is_empty() {
            self.raw.push('\n');
        }
        self.raw += text;
        let mut rest = text.trim_start_matches(is_between);
        while !rest.is_empty() {
            let (entry, after) = self.one(rest);
            match entry {
                Some(entry) => self.entries.push(entry),
                None => {
                    let raw = &rest[..rest.len() - after.len()];
                    self.refused.push(raw.trim_end_matches(is_between).into());
                }
            }
            rest = after.trim_start_matches(is_between);
        }
    }

    /// The first entry and what follows it. Always moves on.
    fn one<'t>(&mut self, text: &'t str) -> (Option<Entry>, &'t str) {
        let Some((label, value)) = label(text) else {
            return (None, &text[junk_length(text)..]);
        };
        let (fields, after) = fields(value);
        (self.entry(label.trim(), &fields), after)
    }

    fn entry(&mut self, label: &str, fields: &str) -> Option<Entry> {
        if label.is_empty() {
            return None;
        }
        let mut fields = fields.split(';').map(str::trim);
        let (value, unit) = value_and_unit(fields.next()?)?;
        let base = Base::of(unit);
        let value = match value {
            Some(n) => Some(base.scaled(n)?),
            None => None,
        };
        let mut odd = |name: &str, field: &str| {
            self.refused.push(format!("{name} `{field}` of {label}"));
        };
        let mut ranges = [None; 2];
        for (range, name) in ranges.iter_mut().zip(["warn", "crit"]) {
            let field = fields.next().unwrap_or_default();
            *range = base.range(field);
            if range.is_none() && !field.is_empty() {
                odd(name, field);
            }
        }
        let mut numbers = [None; 2];
        for (number, name) in numbers.iter_mut().zip(["min", "max"]) {
            let field = fields.next().unwrap_or_default();
            *number = base.number(field);
            if number.is_none() && !field.is_empty() {
                odd(name, field);
            }
        }
        for field in fields.filter(|f| !f.is_empty()) {
            odd("a sixth field", field);
        }
        Some(Entry {
            label: label.into(),
            value,
            unit: base.unit.into(),
            counter: base.counter,
            warn: ranges[0],
            crit: ranges[1],
            min: numbers[0],
            max: numbers[1],
        })
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

/// `=` in a label without quotes that are tried as its end: each costs a look at the rest of the word.
const MAX_EQUALS: usize = 16;

/// Stands between entries and belongs to none.
fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '|')
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || c == '|')
        .unwrap_or(text.len())
}

/// The label at the start, and what follows its `=`. None: there is none, or no value follows.
fn label(text: &str) -> Option<(String, &str)> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (label, rest) = quoted_label(&text[1..], quote)?;
        return Some((label, value_after(rest.trim_start().strip_prefix('=')?)?));
    }
    // Without quotes it may hold blanks, as Icinga reads it, and `=`: its end is the first `=` before a value.
    let mut tried = 0;
    let mut after_blank = false;
    for (at, c) in text.char_indices() {
        if c == '|' || (after_blank && matches!(c, '\'' | '"')) {
            // A quote begins another entry, and so does what follows a bar.
            return None;
        }
        after_blank = c.is_whitespace();
        if after_blank && tried > 0 {
            return None;
        }
        if c == '=' {
            if let Some(value) = value_after(&text[at + 1..]) {
                return Some((text[..at].into(), value));
            }
            tried += 1;
            if tried == MAX_EQUALS {
                return None;
            }
        }
    }
    None
}

/// What could not be read: up to the end of the first word with a `=`, or to the next entry.
fn junk_length(text: &str) -> usize {
    let mut at = 0;
    loop {
        let word = &text[at..at + word_length(&text[at..])];
        at += word.len();
        let blanks = text[at..].len() - text[at..].trim_start().len();
        let next = &text[at + blanks..];
        if word.contains('=')
            || blanks == 0
            || next.is_empty()
            || next.starts_with(['\'', '"', '|'])
        {
            // At least one character, whatever it is.
            let first = text.chars().next().map_or(0, char::len_utf8);
            return at.max(first);
        }
        at += blanks;
    }
}

/// `text` from its value on, if it begins with one. Blanks may stand before it (`a = 5`), but not another entry.
fn value_after(text: &str) -> Option<&str> {
    let value = text.trim_start();
    let blanks = value.len() < text.len();
    let (fields, _) = fields(value);
    let first = fields.split(';').next().unwrap_or_default();
    let parses = value_and_unit(first).is_some();
    (parses && !(blanks && value[..word_length(value)].contains('='))).then_some(value)
}

/// A label after its opening quote, where a doubled quote is one, and what follows the closing one.
fn quoted_label(text: &str, quote: char) -> Option<(String, &str)> {
    let mut label = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once(quote)?;
        label += part;
        match after.strip_prefix(quote) {
            Some(more) => {
                label.push(quote);
                rest = more;
            }
            None => return Some((label, after)),
        }
    }
}

/// The length of `value;warn;crit;min;max` at the start, without blanks. A comma ends it only if another entry follows, or
/// nothing: `1,5` is one value, if a wrong one.
fn fields_length(text: &str) -> usize {
    let is_end = |c: char| c.is_whitespace() || c == '|';
    let Some(at) = text.find(|c: char| is_end(c) || c == ',') else {
        return text.len();
    };
    let mut commas = None;
    for (here, c) in text[at..].char_indices() {
        let here = at + here;
        match c {
            ',' => commas = commas.or(Some(here)),
            c if is_end(c) => return commas.unwrap_or(here),
            '\'' | '"' if commas.is_some() => return commas.unwrap_or(here),
            '=' => return at,
            _ => commas = None,
        }
    }
    commas.unwrap_or(text.len())
}

/// `value;warn;crit;min;max` at the start, without blanks, and what follows it.
fn fields(text: &str) -> (String, &str) {
    let end = fields_length(text);
    let mut fields = text[..end].to_string();
    let mut after = &text[end..];
    // `1; 5; 10`: what follows is a threshold and no label.
    while fields.ends_with(';') && fields.matches(';').count() < 5 {
        let next = after.trim_start();
        let word = next[..word_length(next)].trim_end_matches(',');
        let is_field = |f: &str| f.is_empty() || Base::of("").range(f).is_some();
        let all = word.split(';').all(is_field);
        let follows = next[word_length(next)..].trim_start();
        if word.is_empty() || !all || follows.starts_with('=') {
            break;
        }
        fields += word;
        after = &next[word.len()..];
    }
    (fields, after)
}

/// `12.5ms` in two. `U` is a value that could not be measured.
fn value_and_unit(text: &str) -> Option<(Option<f64>, &str)> {
    if let Some(unit) = text.strip_prefix('U')
        && (unit.is_empty() || unit == "%" || Base::of(unit).unit != unit)
    {
        return Some((None, unit));
    }
    number_and_unit(text).map(|(n, unit)| (Some(n), unit))
}

fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let (number, unit) = text.split_at(number_length(text));
    let number = number.parse::<f64>().ok().filter(|n| n.is_finite())?;
    // Anything without a digit, quote or sign: `1,5` and `3=4` are no numbers with a unit.
    let odd = |c: char| c.is_numeric() && !"²³".contains(c) || "'\"=,;:@~+-.".contains(c);
    (!unit.contains(odd)).then_some((number, unit))
}

/// What a unit is of, and how much. A K is 1024, as check_disk and check_swap count.
#[derive(Clone, Copy)]
struct Base<'u> {
    unit: &'u str,
    factor: f64,
    counter: bool,
}

impl<'u> Base<'u> {
    fn of(unit: &'u str) -> Base<'u> {
        const KI: f64 = 1024.0;
        let (base, factor) = match unit {
            "" | "c" => ("1", 1.0),
            "s" => ("s", 1.0),
            "ms" => ("s", 1e-3),
            "us" | "µs" | "μs" => ("s", 1e-6),
            "ns" => ("s", 1e-9),
            "B" => ("By", 1.0),
            "KB" | "kB" | "KiB" => ("By", KI),
            "MB" | "MiB" => ("By", KI.powi(2)),
            "GB" | "GiB" => ("By", KI.powi(3)),
            "TB" | "TiB" => ("By", KI.powi(4)),
            "PB" | "PiB" => ("By", KI.powi(5)),
            "EB" | "EiB" => ("By", KI.powi(6)),
            other => (other, 1.0),
        };
        Base {
            unit: base,
            factor,
            counter: unit == "c",
        }
    }

    fn scaled(self, n: f64) -> Option<f64> {
        Some(n * self.factor).filter(|n| n.is_finite())
    }

    /// A number in the unit of the value, or with a unit of its own of the same kind.
    fn number(self, text: &str) -> Option<f64> {
        let (number, unit) = number_and_unit(text)?;
        let own = match unit {
            "" => self,
            unit => Base::of(unit),
        };
        (own.unit == self.unit).then_some(())?;
        own.scaled(number)
    }

    /// A range whose numbers may have units: `10MB:20MB`.
    fn range(self, text: &str) -> Option<Range> {
        let (inverted, text) = match text.strip_prefix('@') {
            Some(rest) => ("@", rest),
            None => ("", text),
        };
        let bare = |part: &str| match part {
            "" | "~" => Some(part.to_string()),
            part => self.number(part).map(|n| n.to_string()),
        };
        let range = match text.split_once(':') {
            Some((from, to)) => format!("{inverted}{}:{}", bare(from)?, bare(to)?),
            None if text.is_empty() || text == "~" => return None,
            None => format!("{inverted}{}", bare(text)?),
        };
        range.parse().ok()
    }
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
        let p = read("x=1;10:;junk;;1.2.3;6");
        assert_eq!(p.entries[0].labels().count(), 1);
        assert_eq!(
            p.refused,
            [
                "crit `junk` of x",
                "max `1.2.3` of x",
                "a sixth field `6` of x"
            ]
        );
        assert_eq!(only("x=1;;;0;").min, Some(0.0));
        assert_eq!(only("x=1;;;;;;;").max, None);
    }

    #[test]
    fn what_cannot_be_read_costs_only_itself_and_is_named() {
        let p = read(
            "good=1 =3 x=y 'open=4 'a'b=5 n=nan i=inf h=1e999 c=1,5 u=Unknown e= m3=1 last=6 end",
        );
        let labels: Vec<_> = p.entries.iter().map(|e| e.label.as_str()).collect();
        assert_eq!(labels, ["good", "m3", "last"]);
        assert_eq!(
            p.refused,
            [
                "=3",
                "x=y",
                "'open=4",
                "'a'b=5",
                "n=nan",
                "i=inf",
                "h=1e999",
                "c=1,5",
                "u=Unknown",
                "e=",
                "end"
            ]
        );
        assert!(p.raw.starts_with("good=1 =3") && p.raw.ends_with("last=6 end"));
    }

    #[test]
    fn as_plugins_really_print_it() {
        for (text, wanted) in [
            // The manual of Nagios, check_memory of nagios-plugins-contrib.
            (
                "percent_packet_loss=0, rta=0.80",
                &[("percent_packet_loss", 0.0), ("rta", 0.8)][..],
            ),
            ("a=1,b=2,'c d'=3", &[("a", 1.0), ("b", 2.0), ("c d", 3.0)]),
            (
                "user=30.92%, system=9.73%,",
                &[("user", 30.92), ("system", 9.73)],
            ),
            (
                "free space=3 C:\\ Used=4",
                &[("free space", 3.0), ("C:\\ Used", 4.0)],
            ),
            (
                "'a=b'=1 c=d=2 'x,y'=3",
                &[("a=b", 1.0), ("c=d", 2.0), ("x,y", 3.0)],
            ),
            ("x,y=1 \"in quotes\"=2", &[("x,y", 1.0), ("in quotes", 2.0)]),
            ("rta = 0.5 loss= 3", &[("rta", 0.5), ("loss", 3.0)]),
            ("a=1;2;3|b=2", &[("a", 1.0), ("b", 2.0)]),
            ("a=1;;;; ; b=2", &[("a", 1.0), ("b", 2.0)]),
        ] {
            let p = read(text);
            let got: Vec<_> = p
                .entries
                .iter()
                .map(|e| (e.label.as_str(), e.value.unwrap()))
                .collect();
            assert_eq!(
                (got, p.refused.len()),
                (wanted.to_vec(), 0),
                "{text}: {p:?}"
            );
        }
        let p = read("junk 'a b'=1");
        assert_eq!(
            (p.entries.len(), &p.refused[..]),
            (1, &["junk".to_string()][..])
        );
    }

    /// What a program prints by mistake must not keep the others waiting: the time grows with the text, not with its square.
    #[test]
    fn a_megabyte_of_nonsense_is_read_at_once() {
        for piece in [
            "=", "1=", ",", "1,", "a=1,", "'a", "a=1;", "=1 ", "a b ", "\"", "|=",
        ] {
            let text = format!("a={}", piece.repeat((1 << 20) / piece.len()));
            let p = read(&text);
            assert!(p.entries.len() + p.refused.len() > 0, "{piece}");
        }
    }

    #[test]
    fn units_stand_on_thresholds_too() {
        let e = only("used=50%;80%;90%;0%;100%");
        assert_eq!(e.warn, "80".parse().ok());
        assert_eq!((e.min, e.max), (Some(0.0), Some(100.0)));
        let e = only("t=1s;500ms;2s;0s;");
        assert_eq!(e.warn, "0.5".parse().ok());
        assert_eq!(e.crit, "2".parse().ok());
        let e = only("/=1GB;1024MB:2048MB;@3GB:4GB");
        assert_eq!(e.warn, "1073741824:2147483648".parse().ok());
        let e = only("t=1s; 5; 10; 0");
        assert_eq!(
            (e.warn, e.crit, e.min),
            ("5".parse().ok(), "10".parse().ok(), Some(0.0))
        );
        assert_eq!(read("t=1s;5MB").refused, ["warn `5MB` of t"]);
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
            label in "[^\u{0}-\u{1f}]{1,20}", value in -1e12..1e12f64, warn in 0.0..1e6f64
        ) {
            prop_assume!(!label.trim().is_empty());
            let e = only(&format!("'{}'={value};{warn}", label.replace('\'', "''")));
            prop_assert_eq!(&e.label, label.trim());
            prop_assert_eq!(e.value, Some(value));
            prop_assert_eq!(e.warn.unwrap().upper_bound(), Some(warn));
        }
    }
}
