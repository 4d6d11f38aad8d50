//! A check's history as a chart and tables, and the report. Pure.

use super::Look;
use super::events::Lines;
use super::paint::{Paint, word};
use super::table::{Cell, Column, Table};
use super::text::{cut, escape};
use super::time;
use healthd_core::check::outcome::Verdict;
use healthd_recorder::burn::Burn;
use healthd_recorder::read::{Gap, Kept, OfCheck, Rollup};
use healthd_recorder::report::Row;
use healthd_units::duration::{self, about_seconds};
use std::time::Duration;

/// Without a terminal a chart has so many columns.
const CHART: usize = 72;
/// Roll-ups that are shown row by row; the chart and CSV have all.
const ROWS: usize = 12;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub fn page(name: &str, found: &OfCheck, look: &Look) -> String {
    let mut out = format!("{}\n", escape(name));
    if found.rollups.is_empty() && found.events.is_empty() {
        return out + "nothing is recorded of that time\n" + &gaps(&found.gaps, look);
    }
    if !found.rollups.is_empty() {
        out += &chart(&found.rollups, look);
        out += "\n";
        out += &rollups(&found.rollups, look);
    }
    out += &metrics(&found.metrics, look);
    if !found.events.is_empty() {
        out += "\n";
        let mut lines = Lines::wide_enough_for(&found.events);
        for row in &found.events {
            for line in lines.of(row, look) {
                out += &line;
                out.push('\n');
            }
        }
    }
    out + &gaps(&found.gaps, look)
}

/// What is missing, and from when on.
fn gaps(gaps: &[Gap], look: &Look) -> String {
    let mut out = String::new();
    for gap in gaps {
        let at = |at: &str| time::of_day(at, look);
        let what = match (gap.for_s, gap.events) {
            (Some(s), _) => format!("{} for {}", gap.text, about_seconds(s.ceil() as u64)),
            (_, Some(n)) => {
                let until = gap.text.strip_prefix("until ").map(at);
                let events = if n == 1 { "event" } else { "events" };
                format!("{n} {events}, until {}", until.unwrap_or_default())
            }
            _ => format!("what was before, in history.db.broken: {}", gap.text),
        };
        let line = format!(
            "  {}  {}",
            gap.time.as_deref().map_or("-".into(), at),
            escape(&what)
        );
        out += &cut(&line, look.width.unwrap_or(usize::MAX));
        out.push('\n');
    }
    match out.is_empty() {
        true => out,
        false => format!("\nnot recorded\n{out}"),
    }
}

/// The 95th percentile of each roll-up as a bar, and below those in which a run was bad.
fn chart(rollups: &[Rollup], look: &Look) -> String {
    let room = look.width.unwrap_or(CHART).clamp(10, 200) - 8;
    let each = rollups.len().div_ceil(room).max(1);
    let groups: Vec<&[Rollup]> = rollups.chunks(each).collect();
    let worst = |group: &[Rollup]| group.iter().filter_map(|r| r.p95).fold(0.0, f64::max);
    let top = groups.iter().map(|g| worst(g)).fold(0.0, f64::max);
    let bar = |group: &&[Rollup]| {
        let part = if top > 0.0 { worst(group) / top } else { 0.0 };
        STEPS[((part * 7.0).round() as usize).min(7)]
    };
    let bars: String = groups.iter().map(bar).collect();
    let marks: String = groups
        .iter()
        .map(|group| {
            let sum = |of: fn(&Rollup) -> u64| group.iter().map(of).sum::<u64>();
            match (sum(|r| r.bad), sum(|r| r.unjudged)) {
                (0, 0) => ' ',
                (0, _) => '?',
                _ => '✖',
            }
        })
        .collect();
    let mut out = format!("p95     {bars}\n");
    if !marks.trim().is_empty() {
        let marks = Paint::Bad.on(marks.trim_end(), look.color);
        out += &format!("bad     {marks}\n");
    }
    let edge = |r: Option<&Rollup>| {
        r.and_then(|r| r.start.as_deref())
            .map_or(String::new(), |at| time::of_day(at, look))
    };
    out += &format!(
        "        {} to {}, at most {}\n",
        edge(rollups.first()),
        edge(rollups.last()),
        time::latency(top)
    );
    out
}

/// A line for each metric that is kept: its course, and its last value.
fn metrics(metrics: &[Kept], look: &Look) -> String {
    let room = look.width.unwrap_or(CHART).clamp(40, 200);
    let mut out = String::new();
    for of_one in metrics.chunk_by(|a, b| a.name == b.name) {
        let values: Vec<f64> = of_one.iter().map(|k| k.value).collect();
        let name = cut(&escape(&of_one[0].name), 16).into_owned();
        let last = format!("{:.10}", values[values.len() - 1].to_string());
        let each = values.len().div_ceil(room - 32).max(1);
        let (least, most) = values
            .iter()
            .fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        let bar = |group: &[f64]| {
            let part = match most - least {
                span if span > 0.0 => (group[group.len() - 1] - least) / span,
                _ => 0.0,
            };
            STEPS[((part * 7.0).round() as usize).min(7)]
        };
        let bars: String = values.chunks(each).map(bar).collect();
        out += &format!("{name:<16}  {bars}  {last}\n");
    }
    match out.is_empty() {
        true => out,
        false => format!("\n{out}"),
    }
}

fn rollups(rollups: &[Rollup], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("START"),
        Column::right("FOR").gives_way(2),
        Column::right("RUNS"),
        Column::right("BAD"),
        Column::right("UNKNOWN").gives_way(3),
        Column::right("PLANNED").gives_way(5),
        Column::right("MEAN").gives_way(4),
        Column::right("P50"),
        Column::right("P95"),
        Column::right("P99").gives_way(1),
        Column::right("MAX"),
    ]);
    let shown = match look.width {
        Some(_) => &rollups[rollups.len().saturating_sub(ROWS)..],
        None => rollups,
    };
    for r in shown {
        let ms = |ms: Option<f64>| Cell::maybe(ms.map(time::latency));
        let count = |n: u64, paint: Paint| match n {
            0 => Cell::new("0").paint(Paint::Dim),
            n => Cell::new(n.to_string()).paint(paint),
        };
        table.row(vec![
            Cell::new(
                r.start
                    .as_deref()
                    .map_or("-".into(), |at| time::of_day(at, look)),
            ),
            Cell::new(about_seconds(r.seconds)),
            Cell::new(r.runs.to_string()),
            count(r.bad, Paint::Bad),
            count(r.unjudged, Paint::Warn),
            match r.planned_s {
                0.0 => Cell::new("0").paint(Paint::Dim),
                s => Cell::new(about_seconds(s.ceil() as u64)),
            },
            ms(r.mean),
            ms(r.p50),
            ms(r.p95),
            ms(r.p99),
            ms(r.max),
        ]);
    }
    let mut out = table.render(look);
    if shown.len() < rollups.len() {
        let left = rollups.len() - shown.len();
        out += &format!("{left} before them: --wide, --csv or --json show all\n");
    }
    out
}

pub fn rollups_csv(rollups: &[Rollup]) -> String {
    let mut out = "start,seconds,runs,bad,unjudged,mean_ms,p50_ms,p95_ms,p99_ms,max_ms,planned_s\n"
        .to_owned();
    for r in rollups {
        let ms = |ms: Option<f64>| ms.map_or(String::new(), |ms| format!("{ms:.3}"));
        out += &format!(
            "{},{},{},{},{},{},{},{},{},{},{:.3}\n",
            r.start.as_deref().unwrap_or(""),
            r.seconds,
            r.runs,
            r.bad,
            r.unjudged,
            ms(r.mean),
            ms(r.p50),
            ms(r.p95),
            ms(r.p99),
            ms(r.max),
            r.planned_s
        );
    }
    out
}

/// `slo`: the part of the time that a check is to be up; then how much of what may be missing is used up.
pub fn report(rows: &[Row], slo: Option<f64>, look: &Look) -> String {
    let mut columns = vec![
        Column::left("NAME").shrink_to(12),
        Column::right("AVAILABLE"),
        Column::right("DOWN"),
        Column::right("FAILURES"),
        Column::right("MTTR").gives_way(3),
        Column::right("MTBF").gives_way(5),
        Column::right("LONGEST").gives_way(2),
        Column::right("PLANNED").gives_way(4),
        // Last: without it a check that nobody could judge for half of the time looks like one that was up.
        Column::right("UNKNOWN").gives_way(1),
    ];
    columns.extend(slo.map(|_| Column::right("BUDGET")));
    let mut table = Table::new(columns);
    for row in rows {
        let paint = match row.is_down {
            true => Paint::Bad,
            false => Paint::Plain,
        };
        let span = |s: f64| match s {
            0.0 => Cell::new("0").paint(Paint::Dim),
            s => Cell::new(about_seconds(s.ceil() as u64)),
        };
        let maybe = |s: Option<f64>| Cell::maybe(s.map(|s| about_seconds(s.ceil() as u64)));
        let mut cells = vec![
            Cell::new(&row.name),
            Cell::maybe(row.availability.map(percent)).paint(paint),
            span(row.down_s).paint(paint),
            Cell::new(row.failures.to_string()),
            maybe(row.mttr_s),
            maybe(row.mtbf_s),
            span(row.longest_s),
            span(row.maintenance_s),
            span(row.unknown_s),
        ];
        if let Some(slo) = slo {
            let used = row.availability.map(|a| (1.0 - a) / (1.0 - slo).max(1e-9));
            cells.push(Cell::maybe(used.map(|u| format!("{:.0} %", u * 100.0))));
        }
        table.row(cells);
    }
    table.render(look) + &objectives(rows, look)
}

fn objectives(rows: &[Row], look: &Look) -> String {
    let with: Vec<(&Row, &Burn)> = rows
        .iter()
        .filter_map(|r| Some((r, r.slo.as_ref()?)))
        .collect();
    if with.is_empty() {
        return String::new();
    }
    let mut table = Table::new(vec![
        Column::left("OBJECTIVE").shrink_to(12),
        Column::right("TARGET"),
        Column::right("REACHED"),
        Column::right("LEFT"),
        Column::right("BURN 1H").gives_way(1),
        Column::right("BURN 6H").gives_way(2),
        Column::left("VERDICT"),
    ]);
    for (row, slo) in with {
        let paint = match slo.verdict {
            Verdict::Ok => Paint::Plain,
            other => other.into(),
        };
        let left = slo.budget_left.map(|left| format!("{:.0} %", left * 100.0));
        let speed = |burn: Option<f64>| Cell::maybe(burn.map(|b| format!("{b:.1}"))).paint(paint);
        let window = duration::show(Duration::from_secs_f64(slo.window_s));
        table.row(vec![
            Cell::new(&row.name),
            Cell::new(format!(
                "{} % {window}",
                (slo.objective * 1e7).round() / 1e5
            )),
            Cell::maybe(slo.availability.map(percent)),
            Cell::maybe(left).paint(paint),
            speed(slo.burn_1h),
            speed(slo.burn_6h),
            Cell::new(word(slo.verdict)).paint(paint),
        ]);
    }
    format!("\n{}", table.render(look))
}

/// Cut, not rounded: what was down for a second was not up for all of the time.
fn percent(part: f64) -> String {
    format!("{:.3} %", (part * 100_000.0).floor() / 1000.0)
}

pub fn report_csv(rows: &[Row]) -> String {
    let mut out = "name,availability,up_s,down_s,maintenance_s,unknown_s,failures,mttr_s,mtbf_s,longest_s,is_down,\
                   objective,window_s,budget_left,burn_1h,burn_6h,slo_verdict\n"
        .to_owned();
    for r in rows {
        let maybe =
            |n: Option<f64>, places: usize| n.map_or(String::new(), |n| format!("{n:.places$}"));
        let slo = r.slo.as_ref().map_or(",,,,,".to_owned(), |slo| {
            format!(
                "{},{},{},{},{},{}",
                slo.objective,
                slo.window_s,
                maybe(slo.budget_left, 6),
                maybe(slo.burn_1h, 3),
                maybe(slo.burn_6h, 3),
                slo.verdict
            )
        });
        out += &format!(
            "{},{},{:.3},{:.3},{:.3},{:.3},{},{},{},{:.3},{},{slo}\n",
            field(&r.name),
            maybe(r.availability, 6),
            r.up_s,
            r.down_s,
            r.maintenance_s,
            r.unknown_s,
            r.failures,
            maybe(r.mttr_s, 3),
            maybe(r.mtbf_s, 3),
            r.longest_s,
            r.is_down
        );
    }
    out
}

/// RFC 4180; and no spreadsheet takes it for a formula.
fn field(text: &str) -> String {
    let text = match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::look;

    fn rollup(minute: u64, bad: u64, ms: f64) -> Rollup {
        Rollup {
            start: Some(format!("2026-11-22T09:{minute:02}:00Z")),
            seconds: 300,
            planned_s: 0.0,
            runs: 30,
            bad,
            unjudged: 0,
            mean: Some(ms),
            p50: Some(ms),
            p95: Some(ms * 2.0),
            p99: Some(ms * 3.0),
            max: Some(ms * 4.0),
        }
    }

    fn kept(minute: u64) -> Kept {
        Kept {
            start: None,
            name: "used".into(),
            value: minute as f64 / 3.0,
        }
    }

    fn gap(kind: &str, for_s: Option<f64>, events: Option<u64>, text: &str) -> Gap {
        Gap {
            time: Some("2026-11-22T09:10:00Z".into()),
            kind: kind.into(),
            for_s,
            events,
            text: text.into(),
        }
    }

    #[test]
    fn a_page_fits_its_terminal() {
        let found = OfCheck {
            events: Vec::new(),
            rollups: (0..60).map(|n| rollup(n, n / 50, n as f64)).collect(),
            metrics: (0..60).map(kept).collect(),
            gaps: vec![
                gap("unseen", Some(301.5), None, "the daemon did not run"),
                gap(
                    "events-missed",
                    None,
                    Some(120),
                    "until 2026-11-22T09:20:00Z",
                ),
                gap(
                    "history-broken",
                    None,
                    None,
                    &"it is no database ".repeat(9),
                ),
            ],
        };
        for width in [60, 80, 100, 120] {
            let page = page("shop/front", &found, &look(Some(width)));
            for line in page.lines() {
                assert!(super::super::text::width(line) <= width, "{width}: {line}");
            }
            assert!(page.contains('✖') && page.contains('█'), "{page}");
            for part in [
                "did not run for 5m 2s",
                "120 events, until ",
                "history.db.broken: it",
            ] {
                assert!(page.contains(part), "{part}: {page}");
            }
        }
    }

    #[test]
    fn what_nobody_knows_is_the_last_to_be_left_out() {
        use healthd_recorder::report::{State, What, row};
        let s = |s: u64| s * 1_000_000_000;
        let events = [
            (s(5_000), What::Verdict(State::Down)),
            (s(6_111), What::Verdict(State::Up)),
            (s(8_000), What::Verdict(State::Unknown)),
        ];
        let row = row("shop/front-page", (0, s(9_999)), State::Up, events);
        for width in [60, 80] {
            let text = report(std::slice::from_ref(&row), None, &look(Some(width)));
            assert!(
                text.contains("UNKNOWN") && text.contains("33m 19s"),
                "{text}"
            );
            assert!(!text.contains("MTBF"), "{text}");
        }
    }

    #[test]
    fn a_second_of_outage_is_never_rounded_away() {
        assert_eq!(percent(1.0), "100.000 %");
        assert_eq!(percent(0.999_999_9), "99.999 %");
        assert_eq!(percent(0.0), "0.000 %");
    }

    #[test]
    fn csv_is_csv() {
        assert_eq!(field("shop/front"), "shop/front");
        assert_eq!(field("a,b \"c\""), "\"a,b \"\"c\"\"\"");
        assert_eq!(field("=1+1"), "'=1+1");
        let text = rollups_csv(&[rollup(5, 1, 0.5)]);
        let row = text.lines().nth(1).expect("a row");
        assert_eq!(
            row,
            "2026-11-22T09:05:00Z,300,30,1,0,0.500,0.500,1.000,1.500,2.000,0.000"
        );
    }
}
