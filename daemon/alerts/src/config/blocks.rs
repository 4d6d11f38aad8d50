//! The blocks of a list such as `[[notify]]`, and the two grammars in them.

use super::Around;
use crate::when::When;
use healthd_core::config::did_you_mean;
use healthd_core::config::raw::{Entry, Node, Table, Value, shortened};
use healthd_core::config::reading::Reading;
use healthd_core::config::report::{error, warning};
use healthd_core::config::source::Span;
use healthd_core::matching::Match;

pub struct Block<'e> {
    pub span: Span,
    pub table: &'e Table,
    /// What it is called in messages.
    pub label: String,
}

pub fn blocks<'e>(entry: &'e Entry, keys: &[&str], cx: &mut Reading<'_>) -> Vec<Block<'e>> {
    let key = &entry.key;
    let nodes = match &entry.node.value {
        Value::Array(nodes) => nodes,
        Value::Broken => return Vec::new(),
        _ => {
            let e = error(format!("`{key}` has to be written `[[{key}]]`"));
            let help = "each is one block of a list: use two brackets, and its keys below them";
            cx.push(e.at(entry.key_span).help(help));
            return Vec::new();
        }
    };
    let mut list = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        let table = match &node.value {
            Value::Table(table) => table,
            Value::Broken => continue,
            _ => {
                let e = error(format!(
                    "`{key}` is a list of blocks, not of {}s",
                    node.kind()
                ));
                let help = format!("write a line `[[{key}]]` and its keys below it");
                cx.push(e.at(node.span).help(help));
                continue;
            }
        };
        let text = |key: &str| match table.get(key).map(|e| &e.node.value) {
            Some(Value::Str(text)) if !text.is_empty() => Some(shortened(text)),
            _ => None,
        };
        let label = match (text("name"), text("plugin")) {
            (Some(name), _) => format!("route `{name}`"),
            (None, Some(plugin)) => format!("route `{plugin}`"),
            (None, None) => format!("{key} number {}", n + 1),
        };
        unknown_keys(table, &label, keys, cx);
        list.push(Block {
            span: node.span,
            table,
            label,
        });
    }
    list
}

fn unknown_keys(table: &Table, label: &str, keys: &[&str], cx: &mut Reading<'_>) {
    for entry in &table.entries {
        if keys.contains(&entry.key.as_str()) {
            continue;
        }
        let e = error(format!(
            "unknown key `{}` in {label}",
            shortened(&entry.key)
        ));
        let e = match did_you_mean(&entry.key, keys.iter().copied()) {
            Some(near) => e.help(format!("a key with a similar name exists: `{near}`")),
            None if keys.contains(&"config") => e
                .help(format!(
                    "the plugin's options go inside `config = {{ {} = ... }}`",
                    shortened(&entry.key)
                ))
                .note(format!("keys of a route: {}", keys.join(", "))),
            None => e.help(format!("known keys: {}", keys.join(", "))),
        };
        cx.push(e.at(entry.key_span));
    }
}

/// `match`; None: it is wrong, and reported.
pub fn match_of(block: &Block<'_>, around: &Around<'_>, cx: &mut Reading<'_>) -> Option<Match> {
    let Some(entry) = block.table.get("match") else {
        return Some(Match::all());
    };
    let text = cx.text("match", &entry.node, &block.label)?;
    match Match::parse(&text) {
        Ok(matches) => {
            let fits = around
                .checks
                .iter()
                .any(|(name, labels)| matches.fits(name, labels));
            if !fits && !around.checks.is_empty() {
                let w = warning(format!("`match` of {} fits no check", block.label));
                cx.push(w.at(entry.node.span).help(nearest(&text, around)));
            }
            Some(matches)
        }
        Err(e) => {
            let place = inside(&entry.node, &text, e.at, cx);
            let finding = error(format!("`match` of {} {e}", block.label));
            cx.push(finding.at(place).help(e.help));
            None
        }
    }
}

fn nearest(text: &str, around: &Around<'_>) -> String {
    let names = || around.checks.iter().map(|(name, _)| *name);
    match did_you_mean(text, names()) {
        Some(near) => format!("a check with a similar name exists: `{near}`"),
        None => "names and labels are shown by `healthctl list`".to_owned(),
    }
}

/// `when`, a text or a list of them; None: it is wrong, and reported.
pub fn when_of(block: &Block<'_>, around: &Around<'_>, cx: &mut Reading<'_>) -> Option<When> {
    let entry = block.table.get("when")?;
    let nodes = match &entry.node.value {
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    let mut texts = Vec::new();
    for node in nodes {
        texts.push(cx.text("when", node, &block.label)?);
    }
    if texts.is_empty() {
        let e = error(format!("`when` of {} is an empty list", block.label));
        cx.push(e.at(entry.node.span).help("leave the key out for always"));
        return None;
    }
    let list: Vec<&str> = texts.iter().map(String::as_str).collect();
    match When::parse(&list, around.zones) {
        Ok(when) => {
            if when.is_past(around.wall) {
                let w = warning(format!(
                    "`when` of {} is over, and never comes again",
                    block.label
                ));
                cx.push(
                    w.at(entry.node.span)
                        .help("remove it, or choose another date"),
                );
            }
            Some(when)
        }
        Err((n, e)) => {
            let place = inside(&nodes[n], &texts[n], e.at, cx);
            let finding = error(format!("`when` of {} {e}", block.label));
            cx.push(finding.at(place).help(e.help));
            None
        }
    }
}

/// The word at `at` of a string, where the string is written as it is read.
fn inside(node: &Node, text: &str, at: usize, cx: &Reading<'_>) -> Span {
    let span = node.span;
    let (start, end) = (span.start as usize, span.end as usize);
    let written = cx
        .sources
        .text(span.source)
        .get(start + 1..end.saturating_sub(1));
    if written != Some(text) {
        return span;
    }
    let rest = text.get(at..).unwrap_or_default();
    let word = rest.find([' ', ',']).unwrap_or(rest.len()).max(1);
    Span {
        start: span.start + 1 + at as u32,
        end: span.start + 1 + (at + word) as u32,
        ..span
    }
}
