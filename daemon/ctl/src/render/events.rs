//! Events, a line each, in columns that grow with what comes.

use super::Look;
use super::paint::{Paint, word};
use super::text::{cut, escape, width};
use super::time;
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::events::EventRow;

/// One very long name must not push all texts out; in a pipe it is whole, and its line longer.
const WIDEST: usize = 28;

/// The columns as they are by now.
#[derive(Default)]
pub struct Lines {
    begun: bool,
    number: usize,
    at: usize,
    kind: usize,
    subject: usize,
}

impl Lines {
    /// For a list that is known as a whole.
    pub fn wide_enough_for(rows: &[EventRow]) -> Lines {
        let mut lines = Lines::default();
        rows.iter().for_each(|row| lines.grow(row));
        lines
    }

    fn grow(&mut self, row: &EventRow) {
        self.number = self.number.max(row.seq.to_string().len()).max(3);
        self.kind = self.kind.max(width(&row.kind)).max(11);
        self.subject = self.subject.max(width(&subject(row)).min(WIDEST)).max(8);
    }

    /// Its line, and the head before the first.
    pub fn of(&mut self, row: &EventRow, look: &Look) -> Vec<String> {
        self.grow(row);
        let room = look.width.map_or(WIDEST, |width| width / 5);
        self.subject = self.subject.min(room.max(8));
        let at = time::of_day(row.time.as_deref().unwrap_or("-"), look);
        self.at = self.at.max(width(&at)).max(8);
        let mut lines = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            let head = self.columns("SEQ", "AT", "EVENT", "ON") + "WHAT";
            lines.push(Paint::Dim.on(&head, look.color));
        }
        let subject = subject(row);
        let subject = match look.width {
            Some(_) => cut(&subject, self.subject),
            None => subject.as_str().into(),
        };
        let head = self.columns(&row.seq.to_string(), &at, &escape(&row.kind), &subject);
        let (change, text) = what(row);
        let mut left = look
            .width
            .map_or(usize::MAX, |limit| limit.saturating_sub(width(&head)));
        let mut line = head;
        if let Some((plain, paint)) = change {
            let shown = cut(&plain, left);
            left = left.saturating_sub(width(&shown) + 2);
            line += &paint.on(&shown, look.color);
            if !text.is_empty() {
                line += "  ";
            }
        }
        // A few columns of a text would only be noise.
        if left >= 8 {
            line += &cut(&text, left);
        }
        lines.push(line.trim_end().to_owned());
        lines
    }

    fn columns(&self, number: &str, at: &str, kind: &str, subject: &str) -> String {
        let pad = |text: &str, to: usize| " ".repeat(to.saturating_sub(width(text)));
        format!(
            "{}{number}  {at}{}  {kind}{}  {subject}{}  ",
            pad(number, self.number),
            pad(at, self.at),
            pad(kind, self.kind),
            pad(subject, self.subject)
        )
    }
}

fn subject(row: &EventRow) -> String {
    escape(&row.subject()).into_owned()
}

/// A change of state with its colour, and the rest in words.
fn what(row: &EventRow) -> (Option<(String, Paint)>, String) {
    let state = |name: &str| {
        let verdict = serde_json::from_value::<Verdict>(name.into());
        verdict.map_or_else(
            |_| (name.to_owned(), Paint::Bold),
            |v| (word(v).to_owned(), v.into()),
        )
    };
    let change = row.to.as_deref().map(|to| {
        let (to, paint) = state(to);
        match row.from.as_deref() {
            Some(from) => (
                escape(&format!("{} -> {to}", state(from).0)).into_owned(),
                paint,
            ),
            None => (escape(&to).into_owned(), paint),
        }
    });
    (change, escape(&row.text()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::look;

    fn row(seq: u64, kind: &str) -> EventRow {
        EventRow {
            seq,
            time: Some("2026-11-22T09:59:01.000Z".into()),
            kind: kind.into(),
            ..EventRow::default()
        }
    }

    #[test]
    fn lines_fit_and_say_what_matters() {
        let rows = [
            EventRow {
                missed: Some(17),
                ..row(6, "gap")
            },
            EventRow {
                check: Some("web/login".into()),
                from: Some("ok".into()),
                to: Some("critical".into()),
                message: Some("connect: connection refused\u{1b}[2J".into()),
                slot: Some(0),
                pid: Some(4711),
                ..row(7, "flipped")
            },
            EventRow {
                slot: Some(0),
                pid: Some(4711),
                check: Some("db/sizes".into()),
                cause: Some("SIGSEGV".into()),
                message: Some("SIGSEGV in libx.so+0x12 read_page".into()),
                ..row(8, "worker-died")
            },
            EventRow {
                check: Some("db/sizes".into()),
                for_ms: Some(1000),
                message: Some("its run has killed a worker".into()),
                ..row(9, "held")
            },
            EventRow {
                step_ms: Some(-3_600_000),
                ..row(10, "clock")
            },
            EventRow {
                plugin: Some("http".into()),
                to: Some("trial".into()),
                ..row(11, "plugin")
            },
        ];
        let mut lines = Lines::wide_enough_for(&rows);
        let page = |lines: &mut Lines, width| {
            let look = look(width);
            let all: Vec<String> = rows.iter().flat_map(|r| lines.of(r, &look)).collect();
            all.join("\n")
        };
        assert_eq!(
            page(&mut lines, None),
            "\
SEQ  AT        EVENT        ON         WHAT
  6  09:59:01  gap          -          17 events are gone
  7  09:59:01  flipped      web/login  ok -> CRITICAL  connect: connection refused\\x1b[2J
  8  09:59:01  worker-died  worker 0   pid 4711, by db/sizes: SIGSEGV in libx.so+0x12 read_page
  9  09:59:01  held         db/sizes   for 1.0 s: its run has killed a worker
 10  09:59:01  clock        -          1h back
 11  09:59:01  plugin       http       trial"
        );
        let mut lines = Lines::wide_enough_for(&rows);
        let narrow = page(&mut lines, Some(60));
        assert!(narrow.lines().all(|line| width(line) <= 60), "{narrow}");
        assert!(narrow.contains("ok -> CRITICAL"), "{narrow}");
    }
}
