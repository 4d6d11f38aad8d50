//! One check in full (`show`, `try`), and the story of its last run (`why`).

use super::check::{paint, state};
use super::paint::{Paint, status_word};
use super::table::{Cell, Column, Table};
use super::text::{escape, escape_lines, width, wrap};
use super::{Look, time};
use healthd_core::check::outcome::{Metric, Phase, Verdict};
use healthd_core::wire::control::{CheckDetail, CheckRow, Cost, LastRun, RunFanout, Samples, Why};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A page of `label  value` lines; made of a row alone when only the maps could be read.
pub fn page(row: &CheckRow, detail: Option<&CheckDetail>, look: &Look) -> String {
    let mut page = Page::new(look);
    page.heading(row);
    if !row.title.is_empty() {
        page.line("title", &row.title);
    }
    if let Some(message) = &row.message {
        page.line("message", message);
    }
    if let Some(d) = detail.filter(|_| row.paused) {
        page.line("paused", &pause(d, look));
    }
    if let Some(held) = detail.and_then(|d| d.held_until.as_deref()) {
        let text = format!(
            "until {}, since its last run killed a worker",
            time::of_day(held, look)
        );
        page.line("held", &text);
    }
    if let Some(quarantine) = detail.and_then(|d| d.quarantine.as_ref()) {
        page.line("alone", &quarantine.text);
    }
    if let Some(hardening) = detail.and_then(|d| d.hardening.as_ref()) {
        page.line("warning", hardening);
    }
    page.line("plugin", &row.plugin);
    if let Some(since) = &row.since {
        page.line("since", &with_age(since, look));
    }
    page.last_run(row, detail);
    if let Some(fanout) = detail.and_then(|d| d.fanout.as_ref()) {
        page.line("fan-out", &spread(fanout));
    }
    if let Some(next) = row
        .next_run
        .as_deref()
        .filter(|_| !row.paused && !row.disabled)
    {
        let due = time::until(Some(next), look).unwrap_or_default();
        page.line("next run", &format!("{} ({due})", time::of_day(next, look)));
    }
    if let Some(d) = detail {
        if let Some(samples) = &d.samples {
            page.samples(samples);
        }
        page.configuration(row, d);
        page.measured(row, d);
    } else if let Some(metrics) = row.metrics.as_deref() {
        page.metrics(metrics);
    }
    page.out
}

/// One run of `try`: the same page without schedule and history.
pub fn tried(row: &CheckRow, detail: &CheckDetail, look: &Look) -> String {
    let mut page = Page::new(look);
    let status = row.status.map_or("-", status_word);
    let paint = row.status.map_or(Paint::Dim, |s| Verdict::from(s).into());
    let message = escape(row.message.as_deref().unwrap_or_default());
    let _ = writeln!(page.out, "{}  {message}", paint.on(status, look.color));
    page.line("plugin", &row.plugin);
    if let Some(ms) = row.latency_ms {
        page.line("took", &cost(&time::latency(ms), detail));
    }
    page.configured(&detail.config);
    page.measured(row, detail);
    page.out
}

/// The steps with their times and the gaps between them.
pub fn story(why: &Why, look: &Look) -> String {
    let mut out = String::new();
    out += &heading(&escape(&why.name), look);
    if !why.title.is_empty() {
        for line in wrap(&escape(&why.title), look.width.unwrap_or(usize::MAX)) {
            let _ = writeln!(out, "{line}");
        }
    }
    let mut table = Table::new(vec![
        Column::left("AT"),
        Column::right("AFTER"),
        Column::left("STEP"),
        Column::left("WHAT").wraps(),
    ]);
    let mut before = None;
    for step in &why.steps {
        let at = step.at.as_deref().and_then(time::parse);
        let after = match (before, at) {
            (Some(before), Some(at)) => {
                Some(time::latency(at.duration_since(before).as_secs_f64() * 1e3))
            }
            _ => None,
        };
        before = at.or(before);
        table.row(vec![
            Cell::maybe(step.at.as_deref().map(|at| time::of_day_ms(at, look))),
            after.map_or_else(|| Cell::new(""), Cell::new),
            Cell::new(&step.what).paint(Paint::Bold),
            Cell::new(&step.text),
        ]);
    }
    if !why.steps.is_empty() {
        out += &table.render(look);
    }
    if !why.next.is_empty() {
        let next = format!("next: {}", escape(&why.next));
        let lines = match look.width {
            Some(width) => wrap(&next, width.saturating_sub(6).max(16)),
            None => vec![next],
        };
        let _ = writeln!(out, "{}", lines.join("\n      "));
    }
    out
}

/// A name, in as many lines as it takes.
fn heading(name: &str, look: &Look) -> String {
    let lines = wrap(name, look.width.unwrap_or(usize::MAX));
    let bold = lines.iter().map(|line| Paint::Bold.on(line, look.color));
    bold.map(|line| line + "\n").collect()
}

/// Columns of the names on the left.
const LABEL: usize = 10;

struct Page<'a> {
    out: String,
    look: &'a Look,
}

impl Page<'_> {
    fn new(look: &Look) -> Page<'_> {
        Page {
            out: String::new(),
            look,
        }
    }

    fn heading(&mut self, row: &CheckRow) {
        let (name, state) = (escape(&row.name), state(row));
        let painted = paint(row).on(&state, self.look.color);
        let too_wide = |room| width(&name) + 2 + width(&state) > room;
        if self.look.width.is_some_and(too_wide) {
            self.out += &heading(&name, self.look);
            let _ = writeln!(self.out, "{painted}");
        } else {
            let name = Paint::Bold.on(&name, self.look.color);
            let _ = writeln!(self.out, "{name}  {painted}");
        }
    }

    fn line(&mut self, label: &str, value: &str) {
        let value = escape(value);
        let lines = match self.look.width {
            // Wrapped and not cut: all of it is what was asked for.
            Some(width) => wrap(&value, width.saturating_sub(LABEL + 4).max(16)),
            None => vec![value.into_owned()],
        };
        for (n, line) in lines.iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            let label = Paint::Dim.on(&format!("{label:<LABEL$}"), self.look.color);
            let line = format!("  {label}  {line}");
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    fn last_run(&mut self, row: &CheckRow, detail: Option<&CheckDetail>) {
        let Some(last) = &row.last_run else {
            return self.line("last run", "none yet");
        };
        let mut text = with_age(last, self.look);
        if let Some(status) = row.status {
            text += &format!(", {status}");
        }
        if let (Some(attempt), Some(attempts)) = (row.attempt, row.attempts) {
            text += &format!(", attempt {attempt} of {attempts}");
        }
        if let Some(worker) = row.worker {
            text += &format!(", worker {worker}");
        }
        self.line("last run", &text);
        if let Some(fault) = row.fault {
            let help = fault.help().map_or(String::new(), |h| format!(": {h}"));
            self.line("fault", &format!("{fault}{help}"));
        }
        if let Some(ms) = row.latency_ms {
            let took = time::latency(ms);
            self.line(
                "took",
                &detail.map_or_else(|| took.clone(), |d| cost(&took, d)),
            );
        }
    }

    fn configuration(&mut self, row: &CheckRow, d: &CheckDetail) {
        let attempts = row
            .attempts
            .map(|n| match n {
                1 => ", 1 attempt".to_owned(),
                n => format!(", {n} attempts"),
            })
            .unwrap_or_default();
        self.line(
            "schedule",
            &format!(
                "every {}, timeout {}, retry after {}{attempts}",
                time::duration(d.interval_ms),
                time::duration(d.timeout_ms),
                time::duration(d.retry_interval_ms)
            ),
        );
        self.line(
            "runs",
            &format!("{} finished, {} skipped", d.runs, d.skipped),
        );
        if let Some(c) = d.cost.as_ref().filter(|c| c.runs > 0) {
            self.costs(c);
        }
        if let Some(needs) = &d.needs {
            self.line("needs", needs);
        }
        self.labels("labels", d.row.labels.as_ref().unwrap_or(&BTreeMap::new()));
        if !d.source.is_empty() {
            self.line("defined in", &d.source);
        }
        for (n, layer) in d.from.iter().enumerate() {
            let label = if n == 0 { "from" } else { "" };
            let text = format!(
                "{} ({}): {}",
                layer.what,
                layer.source,
                layer.keys.join(", ")
            );
            self.line(label, &text);
        }
        self.configured(&d.config);
    }

    /// A run of it, on the average; hangs, crashes and growth only where there were any.
    fn costs(&mut self, c: &Cost) {
        let a_run = |sum: f64| sum / c.runs as f64;
        let text = format!(
            "{} of CPU, {} long, waits {}, {:.1} calls a run",
            time::fine(a_run(c.cpu_ms)),
            time::latency(a_run(c.wall_ms)),
            time::latency(a_run(c.queue_ms)),
            a_run(c.steps as f64)
        );
        self.line("cost", &text);
        let bad: Vec<String> = [
            (c.overruns, "overrun"),
            (c.stalls, "stall"),
            (c.crashes, "crash"),
        ]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| match (n, *what) {
            (1, what) => format!("1 {what}"),
            (n, "crash") => format!("{n} crashes"),
            (n, what) => format!("{n} {what}s"),
        })
        .collect();
        if !bad.is_empty() {
            self.line("hangs", &bad.join(", "));
        }
        if c.grew_kb >= 1024 || c.grew_fds > 0 {
            let text = format!("workers grew by {} while it ran", super::plugins::grew(c));
            self.line("suspect", &text);
        }
    }

    /// What its runs were like so far.
    fn samples(&mut self, s: &Samples) {
        let counts = [
            (s.ok, "ok"),
            (s.warning, "warning"),
            (s.critical, "critical"),
            (s.unknown, "unknown"),
            (s.own_fault, "not evaluated"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        if counts.is_empty() {
            return;
        }
        let since = s.since.as_deref().map_or(String::new(), |at| {
            format!(" since {}", time::of_day(at, self.look))
        });
        self.line("outcomes", &format!("{}{since}", counts.join(", ")));
        if let (Some(p50), Some(p95), Some(p99)) = (s.p50_ms, s.p95_ms, s.p99_ms) {
            let text = format!(
                "half within {}, 95% within {}, 99% within {}",
                time::latency(p50),
                time::latency(p95),
                time::latency(p99)
            );
            self.line("latency", &text);
        }
        self.line("last runs", &sparkline(&s.last));
    }

    fn configured(&mut self, config: &serde_json::Value) {
        let mut flat = Vec::new();
        flatten("", config, &mut flat);
        for (i, (key, value)) in flat.iter().enumerate() {
            self.line(
                if i == 0 { "config" } else { "" },
                &format!("{key} = {value}"),
            );
        }
    }

    fn measured(&mut self, row: &CheckRow, d: &CheckDetail) {
        self.labels("run labels", &d.run_labels);
        if !d.phases.is_empty() {
            self.line("phases", &phases(&d.phases, row.latency_ms));
        }
        self.metrics(row.metrics.as_deref().unwrap_or_default());
        if !d.detail.is_empty() {
            self.line("detail", "");
            self.out.truncate(self.out.trim_end().len());
            self.out.push('\n');
            for line in escape_lines(&d.detail).lines() {
                self.out.push_str(format!("    {line}").trim_end());
                self.out.push('\n');
            }
        }
    }

    fn labels(&mut self, label: &str, labels: &BTreeMap<String, String>) {
        if !labels.is_empty() {
            let pairs: Vec<String> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            self.line(label, &pairs.join(", "));
        }
    }

    fn metrics(&mut self, metrics: &[Metric]) {
        if metrics.is_empty() {
            return;
        }
        let mut table = Table::new(vec![
            Column::left("METRIC").shrink_to(16),
            Column::right("VALUE"),
            Column::left("UNIT"),
            Column::right("WARN"),
            Column::right("CRIT"),
            Column::right("MIN").gives_way(2),
            Column::right("MAX").gives_way(1),
        ]);
        for metric in metrics {
            let name = if metric.counter {
                format!("{} (counter)", metric.name)
            } else {
                metric.name.clone()
            };
            table.row(vec![
                Cell::new(name),
                Cell::maybe(metric.value.map(number)),
                Cell::new(&metric.unit),
                Cell::maybe(metric.warn.map(number)),
                Cell::maybe(metric.crit.map(number)),
                Cell::maybe(metric.min.map(number)),
                Cell::maybe(metric.max.map(number)),
            ]);
        }
        let room = self.look.width.map(|width| width.saturating_sub(2));
        for line in table.render_within(room, self.look.color).lines() {
            let _ = writeln!(self.out, "  {line}");
        }
    }
}

/// A column a run, the newest last: as high as it took long, or the letter of what was not ok.
fn sparkline(last: &[LastRun]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let octave = |run: &LastRun| run.up_to_ms.unwrap_or(1e5).max(0.001).log2();
    let least = last.iter().map(octave).fold(f64::INFINITY, f64::min);
    let mut seen = Vec::new();
    let line: String = last
        .iter()
        .map(|run| {
            let (letter, word) = match run.outcome.as_str() {
                // Twice as long is one step higher.
                "ok" => return HEIGHTS[((octave(run) - least).round().max(0.0) as usize).min(7)],
                "warning" => ('W', "W warning"),
                "critical" => ('C', "C critical"),
                "unknown" => ('U', "U unknown"),
                _ => ('x', "x not evaluated"),
            };
            if !seen.contains(&word) {
                seen.push(word);
            }
            letter
        })
        .collect();
    match seen.is_empty() {
        true => line,
        false => format!("{line}  ({})", seen.join(", ")),
    }
}

/// Six digits that count: more is noise on a screen, and `--json` has them all.
fn number(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    if !magnitude.is_finite() || magnitude < -6.0 {
        return value.to_string();
    }
    let decimals = (3.0 - magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// "new switch; by alice, since 10:00:00 (5m ago), until 12:00:00"
fn pause(d: &CheckDetail, look: &Look) -> String {
    let reason = match d.pause_reason.as_str() {
        "" => "no reason given",
        reason => reason,
    };
    let Some(info) = &d.pause else {
        return reason.to_owned();
    };
    let mut parts = Vec::new();
    if let Some(uid) = info.by_uid {
        parts.push(format!("by {}", user_name(uid)));
    }
    if let Some(since) = &info.since {
        parts.push(format!("since {}", with_age(since, look)));
    }
    parts.push(match &info.until {
        Some(until) => format!("until {}", time::of_day(until, look)),
        None => "until `healthctl resume`".to_owned(),
    });
    format!("{reason}; {}", parts.join(", "))
}

/// By passwd(5) alone, which asks nobody on the network.
fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {uid}"))
}

fn with_age(rfc3339: &str, look: &Look) -> String {
    match time::age(Some(rfc3339), look) {
        Some(age) => format!("{} ({age} ago)", time::of_day(rfc3339, look)),
        None => rfc3339.to_owned(),
    }
}

fn cost(took: &str, d: &CheckDetail) -> String {
    let mut text = took.to_owned();
    if let Some(ms) = d.cpu_ms {
        text += &format!(", cpu {}", time::latency(ms));
    }
    if let Some(ms) = d.queue_ms {
        text += &format!(", waited {}", time::latency(ms));
    }
    text
}

/// "32 chunks: 17 in its own worker, 15 in others (cpu 1.2 s)"
fn spread(f: &RunFanout) -> String {
    let mut text = format!(
        "{} chunks: {} in its own worker, {} in others",
        f.chunks, f.own, f.elsewhere
    );
    if f.elsewhere > 0 {
        text += &format!(" (cpu {})", time::latency(f.elsewhere_cpu_ms));
    }
    if f.again > 0 {
        text += &format!("; {} begun again after a death", f.again);
    }
    text
}

/// "dns 1.2 ms, connect 0.8 ms, ttfb 10 ms": a phase ends where the next begins, the last with the run.
fn phases(phases: &[Phase], total_ms: Option<f64>) -> String {
    let ends = phases
        .iter()
        .skip(1)
        .map(|p| Some(p.at_ns as f64 / 1e6))
        .chain([total_ms]);
    let parts: Vec<String> = phases
        .iter()
        .zip(ends)
        .map(|(phase, end)| match end {
            Some(end) => format!(
                "{} {}",
                phase.name,
                time::latency((end - phase.at_ns as f64 / 1e6).max(0.0))
            ),
            None => phase.name.clone(),
        })
        .collect();
    parts.join(", ")
}

/// `tls.ca = "…"`: tables become dotted keys, as they are written for `try`.
fn flatten(prefix: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, out);
            }
        }
        serde_json::Value::Object(_) | serde_json::Value::Null if prefix.is_empty() => {}
        value => out.push((prefix.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_runs_are_as_high_as_they_took_long() {
        let run = |outcome: &str, up_to_ms: Option<f64>| LastRun {
            outcome: outcome.into(),
            up_to_ms,
        };
        let runs = [
            run("ok", Some(0.1)),
            run("ok", Some(0.2)),
            run("critical", Some(5000.0)),
            run("ok", Some(1.6)),
            run("own-fault", Some(0.1)),
            run("ok", None),
        ];
        assert_eq!(sparkline(&runs), "▁▂C▅x█  (C critical, x not evaluated)");
        assert_eq!(sparkline(&runs[..2]), "▁▂");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn numbers() {
        for (value, text) in [
            (0.0, "0"),
            (5120.0, "5120"),
            (0.01237, "0.01237"),
            (257_326_997.586, "257326998"),
            (-0.502_501_314_4, "-0.5025"),
            (0.000_012_345_678, "0.00001235"),
            (1e-9, "0.000000001"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
