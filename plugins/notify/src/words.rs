//! A message in words: a title of one line, and a text. For whoever has no template of their own.

use crate::message::{Check, Kind, Message};
use std::fmt::Write as _;

/// One line.
pub fn title(m: &Message) -> String {
    let first = m.checks.first();
    let names = || {
        let some: Vec<&str> = m.checks.iter().take(3).map(|c| c.name.as_str()).collect();
        let more = if m.count > some.len() { ", ..." } else { "" };
        format!("{}{more}", some.join(", "))
    };
    let text = match (m.kind, first) {
        (Kind::Test, _) => format!("test of route {}", m.route),
        (Kind::Alive, _) => "alerts work".to_owned(),
        (Kind::Recovery, Some(c)) if m.count <= 1 => match (c.verdict.as_str(), m.unsure) {
            ("removed", _) => format!("{} was removed (was {})", c.name, c.was),
            (_, true) => format!("{} was {} and is ok again", c.name, c.was),
            _ => format!("ok again: {} (was {})", c.name, c.was),
        },
        (Kind::Recovery, _) if m.unsure => {
            format!("{} checks were down and are ok again: {}", m.count, names())
        }
        (Kind::Recovery, _) => format!("{} checks are ok again: {}", m.count, names()),
        (Kind::Update, _) => {
            let over = m.count.saturating_sub(m.bad);
            format!("{over} of {} are ok again, not: {}", m.count, still_bad(m))
        }
        (kind, Some(c)) if m.count <= 1 => {
            let still = if kind == Kind::Repeat { "still " } else { "" };
            format!(
                "{still}{} {}: {}",
                c.verdict.to_uppercase(),
                c.name,
                first_line(&c.message)
            )
        }
        (Kind::Repeat, _) => format!("still {} problems: {}", m.bad, names()),
        _ => format!("{} problems: {}", m.bad, names()),
    };
    one_line(&text)
}

/// Several lines: each check, what lies behind, and what else there is to know.
pub fn text(m: &Message) -> String {
    let mut out = String::new();
    match m.kind {
        Kind::Test => {
            let _ = writeln!(
                out,
                "This is a test. Whoever reads it is told by route {} of {}.",
                m.route, m.host
            );
        }
        Kind::Alive => {
            let _ = writeln!(
                out,
                "No message of {} is overdue. If this stops coming, look there.",
                m.host
            );
        }
        _ => {}
    }
    if m.is_over() {
        let to = m.to.as_deref().unwrap_or(&m.time);
        let _ = writeln!(out, "Was down from {} to {to}.", m.from);
        if m.unsure {
            out.push_str("It is not known whether you were told of it while it lasted.\n");
        }
        out.push('\n');
    }
    if let Some(of) = &m.instead_of {
        let _ = writeln!(
            out,
            "You are told because route {} cannot reach its receiver: {}\n",
            of.route,
            one_line(&of.reason)
        );
    }
    for (n, check) in m.checks.iter().enumerate() {
        out.push_str(&line(check, m.is_over()));
        if n == 0 && !m.is_over() {
            out.push_str(&story(check));
        }
    }
    if m.count > m.checks.len() {
        let _ = writeln!(out, "... and {} more", m.count - m.checks.len());
    }
    if m.behind_count > 0 {
        let more = if m.behind_count > m.behind.len() {
            ", ..."
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "\n{} checks behind it cannot be evaluated: {}{more}",
            m.behind_count,
            m.behind.join(", ")
        );
    }
    if !m.near.is_empty() {
        let _ = writeln!(out, "\nat about the same time: {}", m.near.join(", "));
    }
    let _ = write!(out, "\nhealthd on {}, {}", m.host, m.time);
    if let Some(url) = &m.url {
        let _ = write!(out, "\n{url}");
    }
    out
}

fn line(c: &Check, over: bool) -> String {
    let mut out = match over {
        true => format!("{:<9} {}, was {}", c.verdict, c.name, c.was),
        false => format!("{:<9} {}", c.verdict.to_uppercase(), c.name),
    };
    if !c.message.is_empty() {
        let _ = write!(
            out,
            ": {}",
            c.message.trim_end().replace('\n', "\n          ")
        );
    }
    if !c.since.is_empty() && !over {
        let _ = write!(out, " (since {})", c.since);
    }
    out.push('\n');
    if let Some(recent) = c.recent.as_ref().filter(|_| !over) {
        let took = c.took_ms.map(|ms| format!(", the last took {ms:.1} ms"));
        let took = took.unwrap_or_default();
        let _ = writeln!(out, "          last runs: {recent}{took}");
    }
    if let Some(last_ok) = c.last_ok.as_ref().filter(|_| !over) {
        let _ = writeln!(out, "          last ok: {last_ok}");
    }
    if let Some(runbook) = &c.runbook {
        let _ = writeln!(out, "          what to do: {runbook}");
    }
    out
}

/// Of its last run, a line a step. Its date stands elsewhere.
fn story(c: &Check) -> String {
    let mut out = String::new();
    for step in &c.why {
        let at = step.at.as_deref().unwrap_or_default();
        let clock = at.get(11..23).or(at.get(11..)).unwrap_or_default();
        let text = one_line(&step.text);
        let _ = writeln!(out, "          {clock:<12} {:<10} {text}", step.what);
    }
    out
}

fn still_bad(m: &Message) -> String {
    let bad = m
        .checks
        .iter()
        .filter(|c| c.verdict != "ok" && c.verdict != "removed");
    let names: Vec<&str> = bad.take(5).map(|c| c.name.as_str()).collect();
    let more = if m.bad > names.len() { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
}

pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Without anything that could begin another line, or a header.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// At most so many bytes, cut between letters, with dots where something is missing.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}...", healthd_plugin::cut(text, bytes.saturating_sub(3)))
}

/// As `cut`, by what UTF-16 counts: so do Telegram and Discord.
pub fn cut_units(text: &str, units: usize) -> String {
    if text.encode_utf16().count() <= units {
        return text.to_owned();
    }
    let mut left = units.saturating_sub(3);
    let fits = |c: &char| match left.checked_sub(c.len_utf16()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{kept}...")
}
