//! `status --nagios`: the checks as the result of one Nagios plugin, with a first line, performance data and an exit code.
//!
//! Another system asks it to be woken, so what is not known to be well is not: paused and stale checks are UNKNOWN here.

use crate::error::CtlError;
use crate::exit;
use crate::session::Session;
use healthd_core::check::outcome::{Metric, Status, Verdict};
use healthd_core::wire::control::{CheckRow, Filter};

/// So many names stand in the first line.
const NAMED: usize = 5;
/// The worst first, and a known failure before what is unknown.
const ORDER: [Status; 4] = [
    Status::Critical,
    Status::Unknown,
    Status::Warning,
    Status::Ok,
];

pub fn run(session: &mut Session, filter: &Filter) -> Result<u8, CtlError> {
    let rows = match session.check_rows(filter) {
        Ok(rows) if rows.is_empty() => {
            return said(session, "UNKNOWN - no check matches", exit::UNKNOWN);
        }
        Ok(rows) => rows,
        // A Nagios reads standard output, and nothing else.
        Err(e) => {
            let why = plain(&e.to_string());
            return said(session, &format!("UNKNOWN - {why}"), exit::UNKNOWN);
        }
    };
    let (text, code) = match &rows[..] {
        [row] => alone(row),
        rows => together(rows),
    };
    let Some(problem) = session.problems.first() else {
        return said(session, &text, code);
    };
    let code = exit::with_problems(code, &session.problems);
    let status = Status::from_code(code).unwrap_or(Status::Unknown);
    let rows = text.split_once(" - ").map_or("", |(_, rows)| rows);
    let text = format!(
        "{} - healthd: {}; {rows}",
        word(status),
        plain(&problem.text)
    );
    said(session, &text, code)
}

fn said(session: &mut Session, text: &str, code: u8) -> Result<u8, CtlError> {
    session.screen.print(&format!("{text}\n"))?;
    Ok(code)
}

/// What it counts as, and why it is not its verdict.
fn judged(row: &CheckRow) -> (Status, Option<&'static str>) {
    match row.verdict {
        _ if row.disabled => (Status::Unknown, Some("disabled")),
        _ if row.paused => (Status::Unknown, Some("paused")),
        _ if row.stale => (Status::Unknown, Some("stale")),
        Some(Verdict::Ok) => (Status::Ok, None),
        Some(Verdict::Warning) => (Status::Warning, None),
        Some(Verdict::Critical) => (Status::Critical, None),
        Some(Verdict::Unknown) => (Status::Unknown, None),
        Some(Verdict::Pending) | None => (Status::Unknown, Some("no verdict yet")),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "OK",
        Status::Warning => "WARNING",
        Status::Critical => "CRITICAL",
        Status::Unknown => "UNKNOWN",
    }
}

fn alone(row: &CheckRow) -> (String, u8) {
    let (status, why) = judged(row);
    let mut text = format!("{} - {}", word(status), line_of(row, why));
    let metrics = row.metrics.as_deref().unwrap_or_default();
    let numbers: Vec<String> = metrics.iter().map(number).collect();
    if !numbers.is_empty() {
        text += " | ";
        text += &numbers.join(" ");
    }
    (text, status as u8)
}

/// Disabled ones were switched off on purpose, and nobody named them.
fn together(rows: &[CheckRow]) -> (String, u8) {
    let rows: Vec<(&CheckRow, Status, Option<&str>)> = rows
        .iter()
        .filter(|row| !row.disabled)
        .map(|row| {
            let (status, why) = judged(row);
            (row, status, why)
        })
        .collect();
    let of = |status: Status| rows.iter().filter(move |(_, s, _)| *s == status);
    let worst = ORDER.into_iter().find(|s| of(*s).next().is_some());
    let worst = worst.unwrap_or(Status::Unknown);
    let mut parts = Vec::new();
    for status in ORDER.into_iter().filter(|s| *s != Status::Ok) {
        let names: Vec<String> = of(status).map(|(row, ..)| plain(&row.name)).collect();
        if names.is_empty() {
            continue;
        }
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let shown = names[..names.len().min(NAMED)].join(", ");
        let kind = word(status).to_lowercase();
        parts.push(format!("{} {kind} ({shown}{more})", names.len()));
    }
    let what = match parts.is_empty() {
        true => "all ok".to_owned(),
        false => parts.join(", "),
    };
    let counts: Vec<String> = ORDER
        .iter()
        .map(|s| format!("{}={}", word(*s).to_lowercase(), of(*s).count()))
        .collect();
    let total = rows.len();
    let mut text = format!(
        "{} - {what}, {total} checks | {} total={total}",
        word(worst),
        counts.join(" ")
    );
    for status in ORDER.into_iter().filter(|s| *s != Status::Ok) {
        for (row, _, why) in of(status) {
            text += &format!("\n{} {}", word(status), line_of(row, *why));
        }
    }
    (text, worst as u8)
}

fn line_of(row: &CheckRow, why: Option<&str>) -> String {
    let message = plain(row.message.as_deref().unwrap_or_default());
    let name = match row.title.is_empty() {
        true => plain(&row.name),
        false => format!("{} ({})", plain(&row.name), plain(&row.title)),
    };
    match why {
        None => format!("{name}: {message}"),
        Some(why) if message.is_empty() => format!("{name}: {why}"),
        Some(why) => format!("{name}: {why}; last: {message}"),
    }
}

/// One line, in which nothing is taken for performance data.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '|' => '¦',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

/// `'label'=value[unit];[warn];[crit];[min];[max]`.
fn number(metric: &Metric) -> String {
    let label: String = plain(&metric.name)
        .chars()
        .map(|c| if c == '=' { '_' } else { c })
        .collect();
    let label = label.replace('\'', "''");
    let unit = match (&*metric.unit, metric.counter) {
        (_, true) => "c",
        ("s", _) => "s",
        ("%", _) => "%",
        ("By", _) => "B",
        _ => "",
    };
    let shown = |n: Option<f64>| n.map(|n| n.to_string()).unwrap_or_default();
    let value = match metric.value {
        Some(value) => format!("{value}{unit}"),
        None => "U".to_owned(),
    };
    let rest = [metric.warn, metric.crit, metric.min, metric.max].map(shown);
    let text = format!("'{label}'={value};{}", rest.join(";"));
    text.trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::check::tests::row;

    fn with(name: &str, verdict: Verdict, change: impl FnOnce(&mut CheckRow)) -> CheckRow {
        let mut row = row(name, verdict);
        row.stale = false;
        row.message = Some("said | so".into());
        row.metrics = None;
        change(&mut row);
        row
    }

    #[test]
    fn one_check_is_said_as_it_is() {
        let metric = |name: &str, value, unit: &str| Metric {
            name: name.into(),
            value,
            unit: unit.into(),
            warn: Some(0.5),
            crit: None,
            min: Some(0.0),
            max: None,
            counter: false,
        };
        let ok = with("web/a", Verdict::Ok, |r| {
            r.metrics = Some(vec![
                metric("time", Some(0.25), "s"),
                metric("it's=", None, "1"),
            ]);
        });
        assert_eq!(
            alone(&ok),
            (
                "OK - web/a: said ¦ so | 'time'=0.25s;0.5;;0 'it''s_'=U;0.5;;0".into(),
                0
            )
        );
        for (change, why) in [
            ((|r| r.paused = true) as fn(&mut CheckRow), "paused"),
            (|r| r.stale = true, "stale"),
            (|r| r.disabled = true, "disabled"),
        ] {
            let (text, code) = alone(&with("a", Verdict::Ok, change));
            assert_eq!(code, 3);
            assert_eq!(text, format!("UNKNOWN - a: {why}; last: said ¦ so"));
        }
    }

    #[test]
    fn several_are_counted_and_the_worst_is_first() {
        let nothing = |_: &mut CheckRow| {};
        let mut rows = vec![
            with("a", Verdict::Ok, nothing),
            with("b", Verdict::Warning, nothing),
            with("c", Verdict::Ok, |r| r.paused = true),
        ];
        let (text, code) = together(&rows);
        assert_eq!(code, 3);
        assert_eq!(
            text,
            "UNKNOWN - 1 unknown (c), 1 warning (b), 3 checks | critical=0 unknown=1 warning=1 ok=1 total=3\n\
             UNKNOWN c: paused; last: said ¦ so\nWARNING b: said ¦ so"
        );
        rows.extend((0..7).map(|n| with(&format!("x{n}"), Verdict::Critical, nothing)));
        let (text, code) = together(&rows);
        assert_eq!(code, 2);
        assert!(
            text.starts_with("CRITICAL - 7 critical (x0, x1, x2, x3, x4 and 2 more), 1 unknown")
        );
        let (text, code) = together(&rows[..1]);
        assert_eq!((code, &text[..22]), (0, "OK - all ok, 1 checks "));
    }
}
