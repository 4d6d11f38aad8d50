//! The table of `objects`.

use super::paint::Paint;
use super::table::{Cell, Column, Table};
use super::{Look, time};
use healthd_core::wire::control::{ObjectRow, ObjectUser};

pub fn table(rows: &[ObjectRow], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("KIND"),
        Column::left("PLUGIN").gives_way(1),
        Column::left("NAME").shrink_to(16),
        Column::right("SIZE"),
        Column::left("WHAT").wraps(),
    ]);
    for row in rows {
        let kind = match row.worker {
            Some(worker) => format!("{} in {worker}", row.kind),
            None => row.kind.clone(),
        };
        table.row(vec![
            Cell::new(kind),
            Cell::maybe(row.plugin.as_deref()),
            Cell::new(&row.name),
            Cell::maybe(row.size),
            Cell::new(what(row, look)).paint(match row.waiters.is_empty() {
                true => Paint::Plain,
                false => Paint::Warn,
            }),
        ]);
    }
    table.render(look)
}

fn what(row: &ObjectRow, look: &Look) -> String {
    let mut parts = Vec::new();
    if !row.values.is_empty() {
        let shown: Vec<String> = row.values.iter().map(u64::to_string).collect();
        let more = row.size.unwrap_or(0) > row.values.len() as u64;
        parts.push(shown.join(" ") + if more { " ..." } else { "" });
    }
    if let (Some(hits), Some(misses)) = (row.hits, row.misses) {
        let asked = hits.saturating_add(misses);
        let rate = hits as f64 * 100.0 / asked.max(1) as f64;
        parts.push(format!("{rate:.1} % of {asked} found"));
        if let Some(evicted) = row.evictions.filter(|n| *n > 0) {
            parts.push(format!("{evicted} evicted"));
        }
    }
    if let Some(bytes) = row.bytes {
        parts.push(format!("{bytes} bytes"));
    }
    if let Some(most) = row.most.filter(|n| *n > 1) {
        parts.push(format!("at most {most}"));
    }
    if row.holders.is_empty() && matches!(row.kind.as_str(), "group" | "block") {
        parts.push("free".into());
    }
    if !row.holders.is_empty() {
        parts.push(format!("held by {}", users(&row.holders, look)));
    }
    if !row.waiters.is_empty() {
        parts.push(format!(
            "{} waiting: {}",
            row.waiters.len(),
            users(&row.waiters, look)
        ));
    }
    parts.join(", ")
}

/// "web/a (worker 0, 3s), web/b and 4 more".
fn users(users: &[ObjectUser], look: &Look) -> String {
    let named: Vec<String> = users
        .iter()
        .take(SHOWN)
        .map(|u| {
            let since = time::age(u.since.as_deref(), look);
            let place = u.worker.map(|w| format!("worker {w}"));
            let notes: Vec<String> = place.into_iter().chain(since).collect();
            match notes.is_empty() {
                true => u.check.clone(),
                false => format!("{} ({})", u.check, notes.join(", ")),
            }
        })
        .collect();
    let more = match users.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    named.join(", ") + &more
}

/// The most that one cell names.
const SHOWN: usize = 3;
