//! Checks: the table of `status`, the lines of `run` and `watch`, the summary under them.

use super::paint::{Paint, status_word, word};
use super::table::{Cell, Column, Table};
use super::text::{count, cut, escape, width, wrap};
use super::{Look, time};
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::config::thousands;
use healthd_core::wire::control::CheckRow;
use std::borrow::Cow;

/// A column is left out below its width rather than by what the cells happen to hold, so that a live table keeps
/// its shape; only where even that does not fit, more give way.
const ROOM_FOR_MORE: usize = 100;
const ROOM_FOR_ALL: usize = 132;

pub fn table(rows: &[&CheckRow], look: &Look) -> String {
    let room = look.width.unwrap_or(usize::MAX);
    let (more, all) = (room >= ROOM_FOR_MORE, room >= ROOM_FOR_ALL);
    let name = if room < 80 { 14 } else { 24 };
    let titled = rows.iter().any(|row| !row.title.is_empty());
    let title_room = look.width.map_or(usize::MAX, |room| room / 5);
    let columns: [(Column, bool); 10] = [
        (Column::left("NAME").shrink_to(name), true),
        (Column::left("TITLE").shrink_to(8).gives_way(7), titled),
        (Column::left("PLUGIN").gives_way(3), more),
        (Column::left("STATE"), true),
        (Column::left("SINCE").gives_way(1), true),
        (Column::left("LAST RUN").gives_way(4), more),
        (Column::left("NEXT RUN").gives_way(5), all),
        (Column::right("WORKER").gives_way(6), all),
        (Column::right("LATENCY").gives_way(2), true),
        // The most important of all: what only explains gives way before a quarter of the line is not left for it.
        (
            Column::left("MESSAGE").shrink_to((room / 4).clamp(12, 40)),
            true,
        ),
    ];
    let all_columns = columns.iter().filter(|(_, on)| *on);
    let mut table = Table::new(all_columns.map(|(column, _)| *column).collect());
    let mut spans = time::Spans::default();
    for row in rows {
        let next =
            (!row.paused && !row.disabled).then(|| spans.until(row.next_run.as_deref(), look));
        let last = spans.age(row.last_run.as_deref(), look);
        let cells = [
            Cell::new(&row.name),
            Cell::new(cut(&row.title, title_room)),
            Cell::new(&row.plugin),
            Cell::new(state(row)).paint(paint(row)),
            Cell::known(spans.age(row.since.as_deref(), look)),
            Cell::known(last.map(|age| age + " ago")),
            Cell::known(next.flatten()),
            Cell::maybe(row.worker),
            Cell::known(row.latency_ms.map(time::latency)),
            Cell::new(row.message.as_deref().unwrap_or_default()),
        ];
        let pairs = cells.into_iter().zip(&columns);
        table.row(pairs.filter(|(_, (_, on))| *on).map(|(cell, _)| cell));
    }
    table.render(look)
}

/// Problems first, each group in the order of the configuration.
pub fn by_urgency(rows: &[CheckRow]) -> Vec<&CheckRow> {
    let mut rows: Vec<&CheckRow> = rows.iter().collect();
    rows.sort_by_cached_key(|row| (urgency(row), row.index));
    rows
}

pub fn urgency(row: &CheckRow) -> u8 {
    match row.verdict {
        _ if row.paused || row.disabled => 6,
        Some(Verdict::Critical) => 0,
        Some(Verdict::Unknown) | None => 1,
        Some(Verdict::Warning) => 2,
        _ if row.status.is_some_and(|s| s != Status::Ok) => 3,
        Some(Verdict::Pending) => 4,
        Some(Verdict::Ok) if row.stale => 4,
        Some(Verdict::Ok) => 5,
    }
}

/// Whether somebody who looks for trouble needs to see it.
pub fn is_quiet(row: &CheckRow) -> bool {
    urgency(row) >= 5
}

/// "CRITICAL", "ok, CRITICAL 1/3", "UNKNOWN (quarantined)", "paused (ok)", "disabled", "ok (stale)".
pub fn state(row: &CheckRow) -> Cow<'static, str> {
    if row.disabled {
        return "disabled".into();
    }
    let verdict = verdict_word(row.verdict);
    // Soft: the last run says otherwise, but not yet often enough to change the verdict.
    let soft = row
        .status
        .filter(|s| Some(Verdict::from(*s)) != row.verdict);
    if soft.is_none() && !(row.quarantined || row.paused || row.stale) {
        return verdict.into();
    }
    let mut state = verdict.to_owned();
    if let Some(status) = soft {
        state += ", ";
        state += status_word(status);
        if let (Some(attempt), Some(attempts)) = (row.attempt, row.attempts) {
            state += &format!(" {attempt}/{attempts}");
        }
    }
    if row.quarantined {
        state += " (quarantined)";
    }
    if row.paused {
        state = format!("paused ({state})");
    }
    if row.stale {
        state += " (stale)";
    }
    state.into()
}

pub fn paint(row: &CheckRow) -> Paint {
    if row.paused || row.disabled {
        return Paint::Dim;
    }
    match row.verdict {
        // A stale "ok" must not look green.
        Some(Verdict::Ok) if row.stale => Paint::Odd,
        // A soft problem shows before it counts.
        Some(Verdict::Ok | Verdict::Pending) if row.status.is_some_and(|s| s != Status::Ok) => {
            Paint::Warn
        }
        Some(verdict) => Paint::from(verdict),
        None => Paint::Odd,
    }
}

fn verdict_word(verdict: Option<Verdict>) -> &'static str {
    verdict.map_or("unknown?", word)
}

/// One finished run: `CRITICAL  web-1  5.0 s  timeout after 5s in phase connect`.
pub fn run_line(row: &CheckRow, name_width: usize, look: &Look) -> String {
    let status = row.status.map_or("-", status_word);
    let status = pad(
        &row.status
            .map_or(Paint::Dim, |s| Verdict::from(s).into())
            .on(status, look.color),
        status,
        8,
    );
    let (name, name_width) = named(row, name_width, look);
    let latency = row.latency_ms.map_or_else(|| "-".to_owned(), time::latency);
    let message = escape(row.message.as_deref().unwrap_or_default());
    let head_width = 8 + 2 + name_width.max(width(&name)) + 2 + 7 + 2;
    let message = fit(&message, head_width, look);
    format!(
        "{status}  {}  {latency:>7}  {message}",
        pad(&name, &name, name_width)
    )
    .trim_end()
    .to_owned()
}

/// A run that nobody asked for others beside: its message is told in full, on lines below where it is long.
pub fn run_alone(row: &CheckRow, name_width: usize, look: &Look) -> String {
    let whole = Look {
        width: None,
        ..look.clone()
    };
    let line = run_line(row, name_width, &whole);
    match look.width {
        Some(columns) => wrap(&line, columns.saturating_sub(4)).join("\n    "),
        None => line,
    }
}

/// One change: `10:00:00  web-1  ok -> CRITICAL  timeout after 5s in phase connect`.
pub fn change_line(
    before: Option<&CheckRow>,
    row: &CheckRow,
    name_width: usize,
    look: &Look,
) -> String {
    let at = row
        .last_run
        .as_deref()
        .filter(|_| before.is_none_or(|b| b.last_run != row.last_run));
    let at = at.map_or_else(
        || {
            look.now
                .to_zoned_datetime(look.zone.clone())
                .strftime("%H:%M:%S")
                .to_string()
        },
        |at| time::of_day(at, look),
    );
    let now = state(row);
    let (plain, painted) = match before.map(state).filter(|before| *before != now) {
        Some(before) => (
            format!("{before} -> {now}"),
            format!("{before} -> {}", paint(row).on(&now, look.color)),
        ),
        None => (now.to_string(), paint(row).on(&now, look.color)),
    };
    let (name, name_width) = named(row, name_width, look);
    let message = escape(row.message.as_deref().unwrap_or_default());
    let head_width = width(&at) + 2 + name_width.max(width(&name)) + 2 + width(&plain) + 2;
    let message = fit(&message, head_width, look);
    format!(
        "{at}  {}  {painted}  {message}",
        pad(&name, &name, name_width)
    )
    .trim_end()
    .to_owned()
}

/// `10:00:00  web-1  gone: no longer configured`
pub fn gone_line(name: &str, name_width: usize, look: &Look) -> String {
    let row = CheckRow {
        name: name.to_owned(),
        ..CheckRow::default()
    };
    let (name, name_width) = named(&row, name_width, look);
    let at = look
        .now
        .to_zoned_datetime(look.zone.clone())
        .strftime("%H:%M:%S");
    format!(
        "{at}  {}  gone: no longer configured",
        pad(&name, &name, name_width)
    )
}

/// Its name, and how wide names are: one very long name must not push all messages out.
fn named(row: &CheckRow, name_width: usize, look: &Look) -> (String, usize) {
    let name = escape(&row.name);
    match look.width.map(|room| (room * 2 / 5).max(8)) {
        Some(most) => (cut(&name, most).into_owned(), name_width.min(most)),
        None => (name.into_owned(), name_width.min(WIDE_NAME)),
    }
}

/// In a pipe nothing is cut, but what is shorter is not filled up to more than this.
const WIDE_NAME: usize = 48;

/// What still fits behind a head of this width; a few columns of a message would only be noise.
fn fit<'a>(message: &'a str, head_width: usize, look: &Look) -> std::borrow::Cow<'a, str> {
    match look.width.map(|limit| limit.saturating_sub(head_width)) {
        Some(0..8) => "".into(),
        Some(room) => cut(message, room),
        None => message.into(),
    }
}

fn pad(shown: &str, plain: &str, to: usize) -> String {
    format!("{shown}{}", " ".repeat(to.saturating_sub(width(plain))))
}

/// "12 checks: 10 ok, 1 warning, 1 critical (2 paused, 1 stale)".
pub fn summary(rows: &[CheckRow], look: &Look) -> String {
    summary_after("", rows, look)
}

/// As `summary`, with a word before it.
pub fn summary_after(head: &str, rows: &[CheckRow], look: &Look) -> String {
    let mut verdicts = [
        Verdict::Critical,
        Verdict::Unknown,
        Verdict::Warning,
        Verdict::Pending,
        Verdict::Ok,
    ]
    .map(|verdict| (verdict, 0u64));
    let (mut disabled, mut paused, mut stale) = (0u64, 0u64, 0u64);
    for row in rows {
        stale += u64::from(row.stale);
        if row.disabled {
            disabled += 1;
            continue;
        }
        paused += u64::from(row.paused);
        let counted = verdicts.iter_mut().find(|(v, _)| row.verdict == Some(*v));
        if let Some((_, number)) = counted {
            *number += 1;
        }
    }
    let mut parts = Vec::new();
    for (verdict, number) in verdicts {
        if number > 0 {
            let number = thousands(number);
            parts.push((format!("{number} {verdict}"), Paint::from(verdict)));
        }
    }
    let mut asides = Vec::new();
    for (number, what) in [(disabled, "disabled"), (paused, "paused"), (stale, "stale")] {
        if number > 0 {
            asides.push(format!("{} {what}", thousands(number)));
        }
    }
    let all = format!("{head}{}", count(rows.len() as u64, "check"));
    let mut words = vec![(all, Paint::Plain)];
    if !parts.is_empty() {
        words[0].0 += ":";
        words.extend(separated(parts));
    }
    if !asides.is_empty() {
        words.push((format!("({})", asides.join(", ")), Paint::Plain));
    }
    flow(words, look)
}

/// Words in as many lines as they take; colour takes no room.
fn flow(words: Vec<(String, Paint)>, look: &Look) -> String {
    let (mut text, mut used) = (String::new(), 0);
    for (word, paint) in words {
        let wide = width(&word);
        if used > 0 {
            let fits = look.width.is_none_or(|room| used + 1 + wide <= room);
            text.push(if fits { ' ' } else { '\n' });
            used = if fits { used + 1 } else { 0 };
        }
        used += wide;
        let plain = word.trim_end_matches(',');
        text += &paint.on(plain, look.color);
        text += &word[plain.len()..];
    }
    text
}

/// A comma behind each but the last.
fn separated(mut words: Vec<(String, Paint)>) -> Vec<(String, Paint)> {
    let last = words.len().saturating_sub(1);
    for (word, _) in &mut words[..last] {
        word.push(',');
    }
    words
}

/// "10 ok, 2 critical" over the statuses of finished runs, after `head`.
pub fn run_tally(head: &str, rows: &[CheckRow], look: &Look) -> String {
    let mut parts = Vec::new();
    for status in [
        Status::Critical,
        Status::Unknown,
        Status::Warning,
        Status::Ok,
    ] {
        let number = rows.iter().filter(|r| r.status == Some(status)).count();
        if number > 0 {
            parts.push((
                format!("{} {status}", thousands(number as u64)),
                Paint::from(Verdict::from(status)),
            ));
        }
    }
    let mut words = separated(parts);
    if !head.is_empty() {
        words.insert(0, (head.to_owned(), Paint::Plain));
    }
    flow(words, look)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::render::tests::look;

    pub fn row(name: &str, verdict: Verdict) -> CheckRow {
        CheckRow {
            name: name.into(),
            plugin: "http".into(),
            verdict: Some(verdict),
            status: match verdict {
                Verdict::Pending => None,
                v => Status::from_code(v.code()),
            },
            message: Some("HTTP 200".into()),
            since: Some("2026-11-22T09:00:00Z".into()),
            last_run: Some("2026-11-22T09:59:55Z".into()),
            next_run: Some("2026-11-22T10:00:05Z".into()),
            latency_ms: Some(12.3),
            attempt: Some(1),
            attempts: Some(3),
            worker: Some(0),
            metrics: Some(Vec::new()),
            ..CheckRow::default()
        }
    }

    #[test]
    fn states() {
        let ok = row("a", Verdict::Ok);
        assert_eq!(state(&ok), "ok");
        let soft = CheckRow {
            status: Some(Status::Critical),
            ..ok.clone()
        };
        assert_eq!(state(&soft), "ok, CRITICAL 1/3");
        assert_eq!(paint(&soft), Paint::Warn);
        assert_eq!(
            state(&CheckRow {
                paused: true,
                ..soft
            }),
            "paused (ok, CRITICAL 1/3)"
        );
        assert_eq!(
            state(&CheckRow {
                stale: true,
                ..ok.clone()
            }),
            "ok (stale)"
        );
        assert_eq!(
            paint(&CheckRow {
                stale: true,
                ..ok.clone()
            }),
            Paint::Odd
        );
        assert_eq!(
            state(&CheckRow {
                disabled: true,
                ..ok
            }),
            "disabled"
        );
        assert_eq!(state(&row("a", Verdict::Pending)), "pending");
        assert_eq!(state(&CheckRow::default()), "unknown?");
    }

    #[test]
    fn lines_fit_the_terminal() {
        let mut bad = row("web-1", Verdict::Critical);
        bad.message = Some("timeout after 5s in phase connect, \x1b[2J and much more of it".into());
        let line = run_line(&bad, 10, &look(Some(60)));
        assert_eq!(
            line,
            "CRITICAL  web-1         12 ms  timeout after 5s in phase co…"
        );
        assert_eq!(
            run_alone(&bad, 10, &look(Some(60))),
            "CRITICAL  web-1         12 ms  timeout after 5s in phase\n    connect, \\x1b[2J and much more of it"
        );
        let before = row("web-1", Verdict::Ok);
        assert_eq!(
            change_line(Some(&before), &bad, 10, &look(None)),
            "10:00:00  web-1       ok -> CRITICAL  timeout after 5s in phase connect, \\x1b[2J and much more of it"
        );
        let again = CheckRow {
            last_run: Some("2026-11-22T09:59:59Z".into()),
            ..bad.clone()
        };
        assert!(
            change_line(Some(&bad), &again, 0, &look(None))
                .starts_with("09:59:59  web-1  CRITICAL  ")
        );
    }

    #[test]
    fn summaries() {
        let mut rows = vec![
            row("a", Verdict::Ok),
            row("b", Verdict::Ok),
            row("c", Verdict::Critical),
        ];
        assert_eq!(summary(&rows, &look(None)), "3 checks: 1 critical, 2 ok");
        rows[0].paused = true;
        rows[1].disabled = true;
        rows[2].stale = true;
        assert_eq!(
            summary(&rows, &look(None)),
            "3 checks: 1 critical, 1 ok (1 disabled, 1 paused, 1 stale)"
        );
        assert_eq!(summary(&rows[..0], &look(None)), "0 checks");
        assert_eq!(run_tally("", &rows, &look(None)), "1 critical, 2 ok");
    }
}
