//! Series as they are told: in the two texts that Prometheus reads (0.0.4, and OpenMetrics where it is asked for), or one by
//! one, for those that push them. The same series in all.

use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Open,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Summary,
    Histogram,
}

/// A family that is being told.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: String,
    pub kind: Kind,
    pub help: String,
    pub points: Vec<(Labels, Value)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Summary {
        sum: f64,
        count: u64,
    },
    /// For each bound, how many are not above it; the last has no bound.
    Histogram {
        counts: Vec<(Option<f64>, u64)>,
        sum: f64,
    },
}

/// What is told, as it grows, family by family.
pub struct Writer(Form);

enum Form {
    Text { text: String, format: Format },
    Families { done: Vec<Family>, points: usize },
}

/// Bytes of one part, or points.
const PART: usize = 32 << 10;
const POINTS: usize = 1_000;

impl Writer {
    pub fn new(format: Format) -> Writer {
        Writer(Form::Text {
            text: String::new(),
            format,
        })
    }

    /// The series one by one.
    pub fn families() -> Writer {
        Writer(Form::Families {
            done: Vec::new(),
            points: 0,
        })
    }

    /// It is enough for one part.
    pub fn is_full(&self) -> bool {
        match &self.0 {
            Form::Text { text, .. } => text.len() >= PART,
            Form::Families { points, .. } => *points >= POINTS,
        }
    }

    /// What was written since the last time.
    pub fn text(&mut self) -> String {
        match &mut self.0 {
            Form::Text { text, .. } => std::mem::take(text),
            Form::Families { .. } => String::new(),
        }
    }

    /// The same; the family that is being told goes on in the next part.
    pub fn take(&mut self) -> Vec<Family> {
        let Form::Families { done, points } = &mut self.0 else {
            return Vec::new();
        };
        *points = 0;
        let taken = std::mem::take(done);
        let last = taken.last().map(|last| Family {
            points: Vec::new(),
            ..last.clone()
        });
        done.extend(last);
        let told = |family: &Family| !family.points.is_empty();
        taken.into_iter().filter(told).collect()
    }

    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (text, format) = match &mut self.0 {
            Form::Text { text, format } => (text, *format),
            Form::Families { done, .. } => {
                done.push(Family {
                    name: name.to_owned(),
                    kind,
                    help: help.to_owned(),
                    points: Vec::new(),
                });
                return;
            }
        };
        // OpenMetrics calls a counter by what stands before `_total`.
        let name = match (format, kind) {
            (Format::Open, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Summary => "summary",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn sample(&mut self, name: &str, labels: &Labels, value: f64) {
        match &mut self.0 {
            Form::Text { text, .. } => line(text, name, "", &labels.0, value),
            Form::Families { .. } => self.point(labels, Value::Number(value)),
        }
    }

    pub fn summary(&mut self, name: &str, labels: &Labels, sum: f64, count: u64) {
        match &mut self.0 {
            Form::Text { text, .. } => {
                line(text, name, "_sum", &labels.0, sum);
                line(text, name, "_count", &labels.0, count as f64);
            }
            Form::Families { .. } => self.point(labels, Value::Summary { sum, count }),
        }
    }

    /// `counts`: for each bound, how many are not above it; the last has no bound.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &Labels,
        counts: impl Iterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) {
        let Form::Text { text, .. } = &mut self.0 else {
            let counts = counts.collect();
            return self.point(labels, Value::Histogram { counts, sum });
        };
        let mut all = 0;
        for (upper, count) in counts {
            let labels = labels.clone().with("le", &bound(upper));
            line(text, name, "_bucket", &labels.0, count as f64);
            all = count;
        }
        line(text, name, "_sum", &labels.0, sum);
        line(text, name, "_count", &labels.0, all as f64);
    }

    fn point(&mut self, labels: &Labels, value: Value) {
        if let Form::Families { done, points } = &mut self.0
            && let Some(family) = done.last_mut()
        {
            family.points.push((labels.clone(), value));
            *points += 1;
        }
    }

    pub fn end(&mut self) {
        if let Form::Text { text, format } = &mut self.0
            && *format == Format::Open
        {
            text.push_str("# EOF\n");
        }
    }
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    text.push_str(name);
    text.push_str(suffix);
    if !labels.is_empty() {
        text.push('{');
        text.push_str(labels);
        text.push('}');
    }
    let _ = match value {
        v if v.is_nan() => writeln!(text, " NaN"),
        f64::INFINITY => writeln!(text, " +Inf"),
        f64::NEG_INFINITY => writeln!(text, " -Inf"),
        v => writeln!(text, " {v}"),
    };
}

/// `a="x",b="y"`, made once and used for several samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels(String);

impl Labels {
    pub fn none() -> Labels {
        Labels::default()
    }

    pub fn with(mut self, name: &str, value: &str) -> Labels {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// Each name and its value, as they were put in.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, String)> {
        let mut rest = self.0.as_str();
        std::iter::from_fn(move || {
            let (name, behind) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = behind.char_indices();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        rest = behind[at + 1..].trim_start_matches(',');
                        return Some((name, value));
                    }
                    '\\' => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        c => value.push(c),
                    },
                    c => value.push(c),
                }
            }
            None
        })
    }
}

/// A bound as both texts have it, so that a series is the same in both.
pub fn bound(upper: Option<f64>) -> String {
    match upper {
        None => "+Inf".to_owned(),
        Some(upper) if upper.fract() == 0.0 => format!("{upper:.1}"),
        Some(upper) => upper.to_string(),
    }
}

/// A value in its base unit, by the words of Nagios' performance data; another unit stays as it is.
pub fn base(unit: &str, value: f64) -> (&str, f64) {
    match unit {
        "s" => ("seconds", value),
        "ms" => ("seconds", value / 1e3),
        "us" => ("seconds", value / 1e6),
        "ns" => ("seconds", value / 1e9),
        "B" => ("bytes", value),
        "KB" | "KiB" => ("bytes", value * 1024.0),
        "MB" | "MiB" => ("bytes", value * 1024.0 * 1024.0),
        "GB" | "GiB" => ("bytes", value * 1024.0 * 1024.0 * 1024.0),
        "TB" | "TiB" => ("bytes", value * 1024.0 * 1024.0 * 1024.0 * 1024.0),
        "%" => ("percent", value),
        "c" => ("", value),
        other => (other, value),
    }
}

/// A label's name out of what a config calls it.
pub fn label_name(key: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name: String = key.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    let is_ours = matches!(name.as_str(), "check" | "plugin" | "le" | "quantile");
    match name.starts_with(|c: char| c.is_ascii_digit() || c == '_') || is_ours {
        true => format!("label_{name}"),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_stays_within_its_label() {
        let labels = Labels::none().with("check", "a\"b\\c\nd").with("x", "é");
        assert_eq!(labels.0, "check=\"a\\\"b\\\\c\\nd\",x=\"é\"");
        let labels = labels.with("y", "\",z=\"\\").with("e", "");
        let pairs: Vec<(&str, String)> = labels.pairs().collect();
        let values = ["a\"b\\c\nd", "é", "\",z=\"\\", ""].map(str::to_owned);
        let names = ["check", "x", "y", "e"].into_iter();
        assert_eq!(pairs, names.zip(values).collect::<Vec<_>>());
        assert_eq!(Labels::none().pairs().count(), 0);
        for (key, name) in [
            ("team", "team"),
            ("rack-7.ä", "rack_7__"),
            ("7", "label_7"),
            ("check", "label_check"),
            ("__name__", "label___name__"),
        ] {
            assert_eq!(label_name(key), name);
        }
    }

    #[test]
    fn a_counter_is_called_as_its_text_wants() {
        let family = |format| {
            let mut w = Writer::new(format);
            w.family("a_total", Kind::Counter, "help");
            w.sample("a_total", &Labels::none(), 1.5);
            w.end();
            w.text()
        };
        let text = "# HELP a_total help\n# TYPE a_total counter\na_total 1.5\n";
        assert_eq!(family(Format::Text), text);
        let open = "# HELP a help\n# TYPE a counter\na_total 1.5\n# EOF\n";
        assert_eq!(family(Format::Open), open);
    }

    #[test]
    fn a_family_that_a_part_cuts_goes_on_in_the_next() {
        let mut w = Writer::families();
        w.family("none", Kind::Gauge, "nothing of it is told");
        w.family("a_total", Kind::Counter, "help");
        let mut parts = Vec::new();
        for n in 0..POINTS + 1 {
            w.sample("a_total", &Labels::none(), n as f64);
            if w.is_full() {
                parts.push(w.take());
            }
        }
        w.family("b", Kind::Histogram, "help");
        let counts = [(Some(1.0), 2), (None, 3)];
        w.histogram("b", &Labels::none(), counts.into_iter(), 4.0);
        parts.push(w.take());
        let names = |part: &[Family]| -> Vec<(String, usize)> {
            let of = |f: &Family| (f.name.clone(), f.points.len());
            part.iter().map(of).collect()
        };
        assert_eq!(names(&parts[0]), [("a_total".to_owned(), POINTS)]);
        let rest = [("a_total".to_owned(), 1), ("b".to_owned(), 1)];
        assert_eq!(names(&parts[1]), rest);
        assert!(w.take().is_empty());
    }

    #[test]
    fn units_become_base_units() {
        assert_eq!(base("ms", 1500.0), ("seconds", 1.5));
        assert_eq!(base("KB", 2.0), ("bytes", 2048.0));
        assert_eq!(base("%", 91.0), ("percent", 91.0));
        assert_eq!(base("runs", 3.0), ("runs", 3.0));
    }

    #[test]
    fn bounds_are_the_same_word_everywhere() {
        assert_eq!(bound(Some(1.0)), "1.0");
        assert_eq!(bound(Some(0.0004)), "0.0004");
        assert_eq!(bound(None), "+Inf");
    }
}
