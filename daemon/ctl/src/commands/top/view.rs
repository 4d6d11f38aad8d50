//! The screen of `top`: what is shown of the facts, and what a key means. It reads nothing and asks nobody.

use super::Deed;
use super::facts::{Facts, class, slot_state};
use super::keys::Key;
use crate::render::paint::{Paint, word};
use crate::render::text::{cut, escape, width};
use crate::render::{Look, check, time};
use healthd_core::check::outcome::Verdict;
use healthd_core::config::thousands;
use healthd_core::matching::Match;
use healthd_core::wire::control::CheckRow;
use healthd_core::wire::samples::{LastRun, Outcome};
use std::cmp::Reverse;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Problems first.
    Urgency,
    Name,
    /// Slowest first.
    Latency,
    /// What changed last first.
    Since,
}

impl Sort {
    const ALL: [Sort; 4] = [Sort::Urgency, Sort::Name, Sort::Latency, Sort::Since];

    fn next(self) -> Sort {
        let at = Sort::ALL.iter().position(|s| *s == self).unwrap_or(0);
        Sort::ALL[(at + 1) % Sort::ALL.len()]
    }

    fn word(self) -> &'static str {
        match self {
            Sort::Urgency => "problems first",
            Sort::Name => "by name",
            Sort::Latency => "slowest first",
            Sort::Since => "newest change first",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    Checks,
    /// The one that is chosen.
    Check,
    Workers,
    Plugins,
}

/// What a key asks of the one who acts.
#[derive(Debug, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    Quit,
    /// To the check of this name, for this reason.
    Do(Deed, String, String),
}

enum Input {
    None,
    Filter(String),
    Reason(Deed, String),
}

pub struct View {
    pub tab: Tab,
    sort: Sort,
    filter: String,
    /// By its name: rows move.
    chosen: Option<String>,
    /// Place of the first row on the screen.
    first: usize,
    /// Rows that fit.
    room: usize,
    /// Where the columns end by which one sorts, in the order of `SORTED`.
    ends: [usize; 4],
    input: Input,
    /// How the last deed went.
    pub remark: String,
    /// Why the maps could not be read just now.
    pub trouble: Option<String>,
}

/// Lines above the rows: counts, filter, titles.
const HEAD: usize = 3;
/// What a click on the title of each column sorts by: STATE, NAME, SINCE, LATENCY.
const SORTED: [Sort; 4] = [Sort::Urgency, Sort::Name, Sort::Since, Sort::Latency];

impl View {
    pub fn new(filter: &str) -> View {
        View {
            tab: Tab::Checks,
            sort: Sort::Urgency,
            filter: filter.to_owned(),
            chosen: None,
            first: 0,
            room: 1,
            ends: [0; 4],
            input: Input::None,
            remark: String::new(),
            trouble: None,
        }
    }

    /// Those that the filter lets through, in order.
    fn rows<'a>(&self, facts: &'a Facts) -> (Vec<&'a CheckRow>, Option<String>) {
        let (filter, wrong) = match self.filter.trim() {
            "" => (None, None),
            text => match Match::parse(text) {
                Ok(filter) => (Some(filter), None),
                Err(e) => (None, Some(format!("the filter {}: {}", e.what, e.help))),
            },
        };
        let verdict = |row: &CheckRow| match row.paused || row.disabled {
            true => "paused",
            false => row.verdict.map_or("unknown", Verdict::as_str),
        };
        let fits = |row: &&CheckRow| {
            filter.as_ref().is_none_or(|filter| {
                filter.fits_by(&row.name, |key| match key {
                    "verdict" => Some(verdict(row)),
                    "plugin" => Some(&row.plugin),
                    // Labels are not in the maps.
                    _ => None,
                })
            })
        };
        let mut rows: Vec<&CheckRow> = facts.rows.iter().filter(fits).collect();
        match self.sort {
            Sort::Urgency => rows.sort_by_key(|r| (check::urgency(r), r.index)),
            Sort::Name => rows.sort_by(|a, b| a.name.cmp(&b.name)),
            Sort::Latency => rows.sort_by(|a, b| {
                let ms = |r: &CheckRow| r.latency_ms.unwrap_or(-1.0);
                ms(b).total_cmp(&ms(a)).then(a.index.cmp(&b.index))
            }),
            // All are of one form and one zone.
            Sort::Since => rows.sort_by_key(|r| (Reverse(r.since.clone()), r.index)),
        }
        (rows, wrong)
    }

    fn place(&self, rows: &[&CheckRow]) -> usize {
        let chosen = self.chosen.as_deref();
        let at = rows.iter().position(|r| Some(&*r.name) == chosen);
        at.unwrap_or_else(|| self.first.min(rows.len().saturating_sub(1)))
    }

    pub fn press(&mut self, key: Key, facts: &Facts) -> Asks {
        if key == Key::Interrupt {
            return Asks::Quit;
        }
        match std::mem::replace(&mut self.input, Input::None) {
            Input::None => self.command(key, facts),
            Input::Filter(mut text) => {
                match key {
                    Key::Char(c) => text.push(c),
                    Key::Back => drop(text.pop()),
                    Key::Escape => {
                        self.filter.clear();
                        return Asks::Nothing;
                    }
                    Key::Enter => return Asks::Nothing,
                    _ => {}
                }
                self.filter.clone_from(&text);
                self.first = 0;
                self.input = Input::Filter(text);
                Asks::Nothing
            }
            Input::Reason(deed, mut text) => {
                match key {
                    Key::Char(c) => text.push(c),
                    Key::Back => drop(text.pop()),
                    Key::Escape => return Asks::Nothing,
                    Key::Enter => return self.deed(deed, text, facts),
                    _ => {}
                }
                self.input = Input::Reason(deed, text);
                Asks::Nothing
            }
        }
    }

    fn deed(&self, deed: Deed, text: String, facts: &Facts) -> Asks {
        let (rows, _) = self.rows(facts);
        match rows.get(self.place(&rows)) {
            Some(row) => Asks::Do(deed, row.name.clone(), text),
            None => Asks::Nothing,
        }
    }

    fn command(&mut self, key: Key, facts: &Facts) -> Asks {
        self.remark.clear();
        match key {
            Key::Char('q') => return Asks::Quit,
            Key::Escape if self.tab != Tab::Checks => self.tab = Tab::Checks,
            Key::Escape => self.filter.clear(),
            Key::Char('/') => self.input = Input::Filter(self.filter.clone()),
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('w') => self.turn(Tab::Workers),
            Key::Char('p') => self.turn(Tab::Plugins),
            Key::Tab => {
                self.tab = match self.tab {
                    Tab::Checks | Tab::Check => Tab::Workers,
                    Tab::Workers => Tab::Plugins,
                    Tab::Plugins => Tab::Checks,
                }
            }
            Key::Enter => self.turn(Tab::Check),
            Key::Char('r') => return self.deed(Deed::Run, String::new(), facts),
            Key::Char('a') => self.input = Input::Reason(Deed::Ack, String::new()),
            Key::Char('S') => self.input = Input::Reason(Deed::Silence, String::new()),
            Key::Click(column, line) => self.click(column, line, facts),
            moved => self.walk(moved, facts),
        }
        Asks::Nothing
    }

    /// To it, or back from it.
    fn turn(&mut self, tab: Tab) {
        self.tab = if self.tab == tab { Tab::Checks } else { tab };
    }

    fn click(&mut self, column: usize, line: usize, facts: &Facts) {
        if self.tab != Tab::Checks {
            return;
        }
        if line == HEAD - 1 {
            let at = self.ends.iter().position(|end| column < *end);
            self.sort = at.map_or(self.sort, |at| SORTED[at]);
            return;
        }
        let (rows, _) = self.rows(facts);
        let of_screen = line.checked_sub(HEAD).filter(|n| *n < self.room);
        let at = of_screen.map(|n| n + self.first);
        if let Some(row) = at.and_then(|at| rows.get(at)) {
            match self.chosen.as_deref() == Some(&*row.name) {
                // A second click opens it.
                true => self.tab = Tab::Check,
                false => self.chosen = Some(row.name.clone()),
            }
        }
    }

    fn walk(&mut self, key: Key, facts: &Facts) {
        let (rows, _) = self.rows(facts);
        let Some(last) = rows.len().checked_sub(1) else {
            return;
        };
        let at = self.place(&rows);
        let page = self.room.max(2) - 1;
        let to = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => at + 1,
            Key::WheelUp => at.saturating_sub(3),
            Key::WheelDown => at + 3,
            Key::PageUp => at.saturating_sub(page),
            Key::PageDown => at + page,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => return,
        };
        self.chosen = Some(rows[to.min(last)].name.clone());
    }

    /// Line by line, as a clear of the whole screen flickers.
    pub fn frame(&mut self, facts: &Facts, look: &Look, lines: usize) -> String {
        let columns = look.width.unwrap_or(80);
        self.room = lines.saturating_sub(HEAD + 1).max(1);
        let (rows, wrong) = self.rows(facts);
        let at = self.place(&rows);
        self.first = self.first.min(at).max((at + 1).saturating_sub(self.room));
        if self.first + self.room > rows.len() {
            self.first = rows.len().saturating_sub(self.room);
        }
        let mut out = vec![heading(facts, look), self.second(&rows, wrong, look)];
        let layout = Layout::new(columns, &rows);
        self.ends = layout.ends();
        match self.tab {
            Tab::Checks => self.checks(facts, &rows, at, (&layout, look), &mut out),
            Tab::Check => match rows.get(at) {
                Some(row) => detail(facts, row, look, &mut out),
                None => out.push("no check is chosen".to_owned()),
            },
            Tab::Workers => workers(facts, look, &mut out),
            Tab::Plugins => plugins(facts, look, &mut out),
        }
        out.truncate(lines.saturating_sub(1).max(1));
        out.resize(lines.saturating_sub(1).max(1), String::new());
        out.push(self.last_line(columns, look));
        // Cleared before the text: after a full line the cursor stands on its last character.
        let lines: Vec<String> = out.iter().map(|line| format!("\x1b[K{line}")).collect();
        format!("\x1b[H{}\x1b[J", lines.join("\r\n"))
    }

    fn second(&self, rows: &[&CheckRow], wrong: Option<String>, look: &Look) -> String {
        let columns = look.width.unwrap_or(80);
        let (text, paint) = match (&self.trouble, wrong) {
            (Some(trouble), _) => (trouble.clone(), Paint::Bad),
            (_, Some(wrong)) => (wrong, Paint::Bad),
            _ if !self.remark.is_empty() => (self.remark.clone(), Paint::Bold),
            _ => {
                let filter = match self.filter.is_empty() {
                    true => String::new(),
                    false => format!("filter {}   ", self.filter),
                };
                let found = thousands(rows.len() as u64);
                (
                    format!("{filter}{found} checks, {}", self.sort.word()),
                    Paint::Dim,
                )
            }
        };
        paint.on(&cut(&escape(&text), columns), look.color)
    }

    fn last_line(&self, columns: usize, look: &Look) -> String {
        let text = match &self.input {
            Input::Filter(text) => format!("filter: {text}_   (web-*  plugin=http  !verdict=ok; Enter keeps it, Esc ends it)"),
            Input::Reason(Deed::Ack, text) => format!("acknowledge, because: {text}_   (Enter does it, Esc does not)"),
            Input::Reason(_, text) => format!("silence for an hour, because: {text}_   (Enter does it, Esc does not)"),
            Input::None => "q quit  / filter  s sort  Enter open  r run  a ack  S silence  w workers  p plugins".to_owned(),
        };
        Paint::Bold.on(&cut(&escape(&text), columns), look.color)
    }

    fn checks(
        &self,
        facts: &Facts,
        rows: &[&CheckRow],
        at: usize,
        (layout, look): (&Layout, &Look),
        out: &mut Vec<String>,
    ) {
        let head = layout.line([
            "",
            "STATE",
            "NAME",
            "SINCE",
            "LATENCY",
            "LAST RUNS",
            "MESSAGE",
        ]);
        out.push(Paint::Dim.on(&head, look.color));
        for (n, row) in rows.iter().enumerate().skip(self.first).take(self.room) {
            let since = time::age(row.since.as_deref(), look).unwrap_or_default();
            let latency = row.latency_ms.map_or(String::new(), time::latency);
            let runs = match layout.runs {
                0 => String::new(),
                most => sparkline(&facts.last(row.index), most),
            };
            let message = row.message.as_deref().unwrap_or_default();
            let mark = if n == at { ">" } else { " " };
            let state = check::state(row);
            let line = layout.line([mark, &state, &row.name, &since, &latency, &runs, message]);
            let paint = match (n == at, check::paint(row)) {
                // Well is what most are: colour is for the rest.
                (false, Paint::Good) => Paint::Plain,
                (true, Paint::Good) => Paint::Bold,
                (_, paint) => paint,
            };
            out.push(paint.on(&line, look.color));
        }
        if rows.is_empty() {
            out.push("  nothing matches".to_owned());
        }
    }
}

/// Of the columns of times.
const TIME: usize = 8;

/// Widths of the others.
struct Layout {
    columns: usize,
    state: usize,
    name: usize,
    runs: usize,
}

impl Layout {
    fn new(columns: usize, rows: &[&CheckRow]) -> Layout {
        let widest = rows.iter().map(|r| width(&r.name)).max().unwrap_or(0);
        Layout {
            columns,
            state: if columns < 100 { 14 } else { 22 },
            name: widest.clamp(8, (columns / 4).max(8)),
            runs: match columns {
                0..70 => 0,
                70..110 => 12,
                _ => 32,
            },
        }
    }

    /// Where STATE, NAME, SINCE and LATENCY end, and what is blank behind them.
    fn ends(&self) -> [usize; 4] {
        let state = 2 + self.state + 2;
        let name = state + self.name + 2;
        [state, name, name + TIME + 2, name + 2 * (TIME + 2)]
    }

    fn line(&self, [mark, state, name, since, latency, runs, message]: [&str; 7]) -> String {
        let pad = |text: &str, to: usize, right: bool| {
            let text = escape(text);
            let text = cut(&text, to);
            let blanks = " ".repeat(to.saturating_sub(width(&text)));
            if right {
                format!("{blanks}{text}")
            } else {
                format!("{text}{blanks}")
            }
        };
        let mut line = format!(
            "{} {}  {}  {}  {}  ",
            pad(mark, 1, false),
            pad(state, self.state, false),
            pad(name, self.name, false),
            pad(since, TIME, true),
            pad(latency, TIME, true)
        );
        if self.runs > 0 {
            line += &pad(runs, self.runs, false);
            line += "  ";
        }
        let left = self.columns.saturating_sub(width(&line));
        line += &cut(&escape(message), left);
        cut(line.trim_end(), self.columns).into_owned()
    }
}

fn heading(facts: &Facts, look: &Look) -> String {
    let count = |wanted: Option<Verdict>| {
        let counts = |r: &&CheckRow| !r.paused && !r.disabled && r.verdict == wanted;
        facts.rows.iter().filter(counts).count()
    };
    let mut parts = Vec::new();
    for verdict in [
        Verdict::Critical,
        Verdict::Unknown,
        Verdict::Warning,
        Verdict::Pending,
        Verdict::Ok,
    ] {
        let n = count(Some(verdict));
        if n > 0 || verdict == Verdict::Ok {
            parts.push((
                format!("{} {}", thousands(n as u64), word(verdict)),
                Paint::from(verdict),
            ));
        }
    }
    let paused = facts.rows.iter().filter(|r| r.paused || r.disabled).count();
    if paused > 0 {
        parts.push((format!("{} paused", thousands(paused as u64)), Paint::Dim));
    }
    match facts.is_silent() {
        true => {
            let age = time::duration(facts.beat_age / 1_000_000_000 * 1000);
            let text = format!("healthd is silent for {age}: this is what it has left");
            parts.push((text, Paint::Bad));
        }
        false => {
            let ready = facts
                .slots
                .iter()
                .filter(|(_, s)| slot_state(s) == "ready")
                .count();
            parts.push((format!("{ready} workers"), Paint::Dim));
            if let Some(rate) = facts.rate {
                parts.push((format!("{rate:.0} runs/s"), Paint::Dim));
            }
        }
    }
    let (mut line, mut left) = (String::new(), look.width.unwrap_or(80));
    for (text, paint) in parts {
        let shown = cut(&text, left);
        left = left.saturating_sub(width(&shown) + 3);
        line += &paint.on(&shown, look.color);
        if left == 0 {
            break;
        }
        line += "   ";
    }
    line
}

/// The newest last: as high as it took long, or the letter of what was not ok.
fn sparkline(last: &[LastRun], most: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let least = last.iter().map(|run| run.octave).min().unwrap_or(0);
    last[last.len().saturating_sub(most)..]
        .iter()
        .map(|run| match run.outcome {
            Outcome::Ok => HEIGHTS[usize::from(run.octave - least).min(7)],
            Outcome::Warning => 'W',
            Outcome::Critical => 'C',
            Outcome::Unknown => 'U',
            Outcome::Own => 'x',
        })
        .collect()
}

fn detail(facts: &Facts, row: &CheckRow, look: &Look, out: &mut Vec<String>) {
    let columns = look.width.unwrap_or(80);
    let state = check::paint(row).on(&check::state(row), look.color);
    out.push(format!(
        "{}  {state}",
        Paint::Bold.on(&escape(&row.name), look.color)
    ));
    let mut line = |label: &str, text: &str| {
        if !text.is_empty() {
            let label = Paint::Dim.on(&format!("{label:<10}"), look.color);
            let text = escape(text);
            for (n, part) in crate::render::text::wrap(&text, columns.saturating_sub(14).max(16))
                .iter()
                .enumerate()
            {
                let label = if n == 0 { label.as_str() } else { "          " };
                out.push(format!("  {label}  {part}"));
            }
        }
    };
    let of = |time: &Option<String>| {
        time.as_deref().map_or(String::new(), |at| {
            let age = time::age(Some(at), look).unwrap_or_default();
            format!("{} ({age} ago)", time::of_day(at, look))
        })
    };
    line("title", &row.title);
    line("plugin", &row.plugin);
    line("message", row.message.as_deref().unwrap_or_default());
    line("since", &of(&row.since));
    line("last run", &of(&row.last_run));
    if let Some(fault) = row.fault {
        let help = fault.help().map_or(String::new(), |h| format!(": {h}"));
        line("fault", &format!("{fault}{help}"));
    }
    line("took", &row.latency_ms.map_or(String::new(), time::latency));
    if let (Some(attempt), Some(attempts)) = (row.attempt, row.attempts) {
        line("attempt", &format!("{attempt} of {attempts}"));
    }
    line(
        "next run",
        &time::until(row.next_run.as_deref(), look).unwrap_or_default(),
    );
    let Some(sample) = facts.sample(row.index) else {
        return;
    };
    let outcomes = Outcome::ALL.iter().zip(sample.runs).filter(|(_, n)| *n > 0);
    let outcomes: Vec<String> = outcomes
        .map(|(outcome, n)| format!("{} {}", thousands(n), outcome.as_str()))
        .collect();
    line("outcomes", &outcomes.join(", "));
    let ms = |part: f64| {
        sample
            .quantile_ns(part)
            .map(|ns| time::latency(ns as f64 / 1e6))
    };
    if let (Some(p50), Some(p95), Some(p99)) = (ms(0.5), ms(0.95), ms(0.99)) {
        let text = format!("half within {p50}, 95% within {p95}, 99% within {p99}");
        line("latency", &text);
    }
    line("last runs", &sparkline(&sample.last, 32));
}

fn workers(facts: &Facts, look: &Look, out: &mut Vec<String>) {
    let head = format!(
        "  {:<6}{:<8}{:<10}{:>9}{:>11}{:>14}{:>8}{:>10}",
        "SLOT", "CLASS", "STATE", "PID", "IN FLIGHT", "FINISHED", "LOST", "RESTARTS"
    );
    out.push(Paint::Dim.on(&head, look.color));
    for (n, slot) in &facts.slots {
        let state = slot_state(slot);
        let line = format!(
            "  {n:<6}{:<8}{state:<10}{:>9}{:>11}{:>14}{:>8}{:>10}",
            class(slot),
            slot.pid,
            slot.in_flight,
            thousands(slot.finished),
            slot.lost(),
            slot.restarts
        );
        let paint = match state {
            "ready" => Paint::Plain,
            "dead" => Paint::Bad,
            _ => Paint::Warn,
        };
        out.push(paint.on(&cut(&line, look.width.unwrap_or(80)), look.color));
    }
}

fn plugins(facts: &Facts, look: &Look, out: &mut Vec<String>) {
    let head = format!(
        "  {:<18}{:>8}{:>14}{:>12}{:>12}{:>10}",
        "PLUGIN", "CHECKS", "RUNS", "CPU", "LATE BY", "CRASHES"
    );
    out.push(Paint::Dim.on(&head, look.color));
    for p in facts.plugins() {
        let late = match p.runs {
            0 => "-".to_owned(),
            runs => time::latency(p.late_ns as f64 / 1e6 / runs as f64),
        };
        let line = format!(
            "  {:<18}{:>8}{:>14}{:>12}{:>12}{:>10}",
            cut(&escape(&p.name), 17),
            thousands(p.checks),
            thousands(p.runs),
            time::latency(p.cpu_ns as f64 / 1e6),
            late,
            p.crashes
        );
        out.push(cut(&line, look.width.unwrap_or(80)).into_owned());
    }
}
