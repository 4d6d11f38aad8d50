//! From the parts to numbers, metrics and a verdict.

use crate::part::Part;
use crate::{Bad, Bounds, Options};
use healthd_numbers::moments::Moments;
use healthd_numbers::runs::{self, Run};
use healthd_plugin::options::Thresholds;
use healthd_plugin::{Cx, Metric, Status};
use std::fmt::Write;

pub struct Summary {
    parts: Vec<Part>,
    moments: Moments,
    bad: u64,
    unmatched: u64,
    std: f64,
}

impl Summary {
    pub fn new(parts: Vec<Part>, moments: Moments, options: &Options) -> Summary {
        Summary {
            bad: parts.iter().map(|p| p.bad).sum(),
            unmatched: parts.iter().map(|p| p.unmatched).sum(),
            std: moments.std(options.sample),
            parts: parts.into_iter().filter(|p| p.len() > 0).collect(),
            moments,
        }
    }

    pub fn judge(&self, cx: Cx<'_>, o: &Options) -> Status {
        let count = self.moments.count;
        let l = &o.limits;
        let mut numbers = vec![
            ("count", count as f64, l.count.as_ref()),
            ("bad", self.bad as f64, l.bad.as_ref()),
        ];
        if count > 0 {
            let of = |p: f64| runs::quantile(&self.parts, count, p);
            let median = of(0.5);
            numbers.extend([
                ("sum", self.moments.sum.value(), l.sum.as_ref()),
                ("mean", self.moments.mean, l.mean.as_ref()),
                ("min", of(0.0), l.min.as_ref()),
                ("max", of(1.0), l.max.as_ref()),
                ("median", median, l.median.as_ref()),
                ("p25", of(0.25), l.p25.as_ref()),
                ("p50", median, l.p50.as_ref()),
                ("p75", of(0.75), l.p75.as_ref()),
                ("p95", of(0.95), l.p95.as_ref()),
                ("p99", of(0.99), l.p99.as_ref()),
            ]);
            // Of one value a sample has no spread.
            if self.std.is_finite() {
                numbers.push(("std", self.std, l.std.as_ref()));
            }
        }
        let (mut status, mut broken) = (Status::Ok, String::new());
        for (name, value, bounds) in &numbers {
            let limits = bounds.map(thresholds).unwrap_or_default();
            cx.metric(limits.on(Metric::new(name, *value)));
            let judged = limits.judge(*value);
            let range = match judged {
                Status::Critical => limits.crit,
                Status::Warn => limits.warn,
                _ => None,
            };
            if let Some(range) = range {
                let _ = write!(broken, "{name} {} is outside of {range}, ", short(*value));
            }
            status = status.worst(judged);
        }
        if count > 0 && (o.bins > 0 || !o.edges.is_empty()) {
            cx.detail(self.histogram(o));
        }
        let value = |name: &str| {
            let found = numbers.iter().find(|n| n.0 == name);
            found.map_or("-".to_owned(), |n| short(n.1))
        };
        let mut text = match count {
            0 => format!("{broken}no values"),
            _ => format!(
                "{broken}{count} values: mean {}, median {}, p95 {}, p99 {}, {} to {}",
                value("mean"),
                value("median"),
                value("p95"),
                value("p99"),
                value("min"),
                value("max")
            ),
        };
        if self.bad > 0 {
            let _ = write!(text, "; {} without a number", self.bad);
        }
        if self.unmatched > 0 {
            let _ = write!(text, "; {} lines do not match", self.unmatched);
        }
        cx.message(text);
        // Without a value, or with a cell that should have had one, nothing can be said of the rest.
        let judged_by_count = l.count.is_some();
        if (self.bad > 0 && o.bad == Bad::Unknown) || (count == 0 && !judged_by_count) {
            return status.worst(Status::Unknown);
        }
        status
    }

    fn histogram(&self, o: &Options) -> String {
        let (low, high) = (
            runs::rank(&self.parts, 0),
            runs::rank(&self.parts, self.moments.count - 1),
        );
        let edges = match o.edges.is_empty() {
            false => o.edges.clone(),
            true => runs::edges(low, high, o.bins),
        };
        let counts = runs::histogram(&self.parts, &edges);
        let mut text = String::from("histogram:\n");
        for (edge, count) in edges.windows(2).zip(&counts) {
            let percent = *count as f64 * 100.0 / self.moments.count as f64;
            let (from, to) = (short(edge[0]), short(edge[1]));
            let _ = writeln!(text, "  {from} to {to}: {count} ({percent:.1} %)");
        }
        let inside: u64 = counts.iter().sum();
        if inside < self.moments.count {
            let _ = writeln!(text, "  outside: {}", self.moments.count - inside);
        }
        text
    }
}

fn thresholds(bounds: &Bounds) -> Thresholds {
    Thresholds {
        warn: bounds.warn,
        crit: bounds.crit,
    }
}

/// Six digits that mean something.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e15).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let whole = if magnitude < 1.0 {
        0
    } else {
        magnitude.log10() as usize
    };
    let text = format!("{value:.*}", 6usize.saturating_sub(whole + 1));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
