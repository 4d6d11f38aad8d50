//! The two texts that Prometheus reads: 0.0.4, and OpenMetrics where it is asked for. The same series in both.

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

/// Text as it grows, family by family.
pub struct Writer {
    pub text: String,
    format: Format,
}

impl Writer {
    pub fn new(format: Format) -> Writer {
        Writer {
            text: String::new(),
            format,
        }
    }

    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        // OpenMetrics calls a counter by what stands before `_total`.
        let name = match (self.format, kind) {
            (Format::Open, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Summary => "summary",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn sample(&mut self, name: &str, labels: &Labels, value: f64) {
        self.text.push_str(name);
        if !labels.0.is_empty() {
            self.text.push('{');
            self.text.push_str(&labels.0);
            self.text.push('}');
        }
        let _ = match value {
            v if v.is_nan() => writeln!(self.text, " NaN"),
            f64::INFINITY => writeln!(self.text, " +Inf"),
            f64::NEG_INFINITY => writeln!(self.text, " -Inf"),
            v => writeln!(self.text, " {v}"),
        };
    }

    pub fn end(&mut self) {
        if self.format == Format::Open {
            self.text.push_str("# EOF\n");
        }
    }
}

/// `a="x",b="y"`, made once and used for several samples.
#[derive(Clone, Default)]
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
            w.text
        };
        let text = "# HELP a_total help\n# TYPE a_total counter\na_total 1.5\n";
        assert_eq!(family(Format::Text), text);
        let open = "# HELP a help\n# TYPE a counter\na_total 1.5\n# EOF\n";
        assert_eq!(family(Format::Open), open);
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
