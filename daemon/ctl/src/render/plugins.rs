//! Plugins: the table of `plugins`, and what `plugins verify` found in a file.

use super::paint::Paint;
use super::table::{Cell, Column, Table};
use super::text::{escape, wrap};
use super::{Look, time};
use crate::healthd::Probed;
use healthd_core::wire::control::{Cost, PluginRow};
use healthd_units::size;
use serde_json::Value;
use std::fmt::Write;

pub fn table(rows: &[PluginRow], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("NAME"),
        Column::left("VERSION").gives_way(2),
        Column::left("CLASS").gives_way(4),
        Column::right("CHECKS"),
        Column::right("HANGS").gives_way(3),
        Column::right("CRASHES").gives_way(1),
        Column::left("STATE"),
        Column::left("SINCE").gives_way(5),
        Column::left("HASH").gives_way(6),
        Column::left("FILE").shrink_to(12).gives_way(7),
        // It says more than hash and file.
        Column::left("SUMMARY").shrink_to(look.width.map_or(36, |room| room / 3).min(36)),
    ]);
    let mut rows: Vec<&PluginRow> = rows.iter().collect();
    rows.sort_by_key(|row| urgency(row));
    for row in rows {
        let (paint, text) = match row.state.as_str() {
            "loaded" => (Paint::Good, row.summary.clone()),
            "unused" => (Paint::Dim, row.summary.clone()),
            "trial" => (Paint::Warn, on_trial(row, look)),
            _ if row.stale => (Paint::Odd, row.reason.clone()),
            _ => (Paint::Bad, row.reason.clone()),
        };
        let known = |text: &str| Cell::maybe((!text.is_empty()).then(|| text.to_owned()));
        table.row(vec![
            known(&row.name),
            known(&row.version),
            known(&row.class),
            Cell::new(row.checks.to_string()),
            bad(row.cost.as_ref().map(|c| c.cost.overruns + c.cost.stalls)),
            bad(row.cost.as_ref().map(|c| c.cost.crashes)),
            match row.quarantined {
                0 => Cell::new(&row.state).paint(paint),
                n => Cell::new(format!("{}, {n} quarantined", row.state)).paint(Paint::Bad),
            },
            Cell::maybe(time::age(row.since.as_deref(), look)),
            known(row.hash.get(..8).unwrap_or_default()),
            Cell::new(file_name(&row.file)),
            Cell::new(text),
        ]);
    }
    table.render(look)
}

/// Problems first, then what is in use.
fn urgency(row: &PluginRow) -> u8 {
    match row.state.as_str() {
        "unused" => 3,
        "loaded" if row.quarantined == 0 => 2,
        "trial" => 1,
        _ => 0,
    }
}

/// "over in 22s; before: http 0.1.0 (1f2e3d4c)"
fn on_trial(row: &PluginRow, look: &Look) -> String {
    let before = row.previous.as_deref().unwrap_or("unknown");
    match time::until(row.trial_until.as_deref(), look) {
        Some(left) => format!("over {left}; before: {before}"),
        None => format!("before: {before}"),
    }
}

/// A number that should be 0.
fn bad(n: Option<u64>) -> Cell<'static> {
    let paint = match n {
        Some(1..) => Paint::Warn,
        _ => Paint::Plain,
    };
    Cell::maybe(n).paint(paint)
}

/// What each plugin costs, and below it who is suspected of making workers grow.
pub fn costs(rows: &[PluginRow], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("NAME"),
        Column::right("CHECKS"),
        Column::right("RUNS"),
        Column::right("CPU"),
        Column::right("SHARE").gives_way(5),
        Column::right("CPU/RUN"),
        Column::right("P50").gives_way(3),
        Column::right("P99"),
        Column::right("WAIT").gives_way(4),
        Column::right("STEPS/RUN").gives_way(8),
        Column::right("OVERRUNS").gives_way(6),
        Column::right("STALLS").gives_way(7),
        Column::right("CRASHES").gives_way(1),
        Column::right("STUCK").gives_way(6),
        Column::right("GREW").gives_way(2),
    ]);
    let mut remarks = String::new();
    for row in rows {
        let Some(cost) = &row.cost else { continue };
        let c = &cost.cost;
        let a_run = |sum: f64| (c.runs > 0).then(|| sum / c.runs as f64);
        table.row(vec![
            Cell::new(&row.name),
            Cell::new(row.checks.to_string()),
            Cell::new(c.runs.to_string()),
            Cell::new(time::latency(c.cpu_ms)),
            Cell::maybe(cost.cpu_share.map(|s| format!("{:.1} %", s * 100.0))),
            Cell::maybe(a_run(c.cpu_ms).map(time::fine)),
            Cell::maybe(cost.wall_p50_ms.map(time::latency)),
            Cell::maybe(cost.wall_p99_ms.map(time::latency)),
            Cell::maybe(a_run(c.queue_ms).map(time::latency)),
            Cell::maybe(a_run(c.steps as f64).map(|n| format!("{n:.1}"))),
            bad(Some(c.overruns)),
            bad(Some(c.stalls)),
            bad(Some(c.crashes)),
            bad(Some(cost.stuck_threads)),
            Cell::new(grew(c)).paint(if is_suspect(c) {
                Paint::Warn
            } else {
                Paint::Plain
            }),
        ]);
        if is_suspect(c) {
            let remark = format!(
                "suspect: {}: workers grew by {} while its calls ran; others may have run at the same time",
                escape(&row.name),
                grew(c)
            );
            for line in wrap(&remark, look.width.unwrap_or(usize::MAX)) {
                let _ = writeln!(remarks, "{line}");
            }
        }
    }
    table.render(look) + &remarks
}

/// Less than this comes and goes with every allocator.
const SUSPICIOUS_KB: i64 = 8 << 10;
const SUSPICIOUS_FDS: i64 = 16;

fn is_suspect(c: &Cost) -> bool {
    c.grew_kb >= SUSPICIOUS_KB || c.grew_fds >= SUSPICIOUS_FDS
}

/// "12.5 MiB, 40 fds"; what shrank is nothing to speak of.
pub fn grew(c: &Cost) -> String {
    let mut parts = Vec::new();
    if c.grew_kb >= 1024 {
        parts.push(size::about(c.grew_kb as f64 * 1024.0));
    }
    if c.grew_fds > 0 {
        parts.push(format!("{} fds", c.grew_fds));
    }
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `FILE: good`, and a paragraph for each plugin in it.
pub fn verified(file: &str, plugins: &[Probed], look: &Look) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {}",
        escape(file),
        Paint::Good.on("good", look.color)
    );
    for plugin in plugins {
        about(&mut out, plugin, look);
    }
    out
}

/// The page of one plugin: what it is, and its options.
pub fn page(plugin: &Probed, look: &Look) -> String {
    let mut out = String::new();
    about(&mut out, plugin, look);
    out
}

fn about(out: &mut String, plugin: &Probed, look: &Look) {
    let title = format!("{} {}", plugin.name, plugin.version);
    let _ = writeln!(
        out,
        "  {}  {}",
        Paint::Bold.on(&escape(title.trim_end()), look.color),
        escape(&plugin.summary)
    );
    let facts = [
        ("by", plugin.vendor.clone()),
        ("license", plugin.license.clone()),
        ("abi", plugin.abi.clone()),
        ("workload", plugin.workload.clone()),
        (
            "timeout",
            plugin
                .default_timeout_ms
                .map(time::duration)
                .unwrap_or_default(),
        ),
    ];
    let facts: Vec<String> = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(what, value)| format!("{what} {value}"))
        .collect();
    if !facts.is_empty() {
        let _ = writeln!(out, "    {}", escape(&facts.join(", ")));
    }
    options(out, &plugin.schema, look);
    for keyword in plugin.ignored() {
        let text = format!("note: healthd does not check {keyword}; the plugin has to");
        let _ = writeln!(out, "    {}", escape(&text));
    }
}

/// The options that the plugin's JSON Schema names.
pub fn properties(schema: &Value) -> Vec<(&str, &Value)> {
    let named = schema.get("properties").and_then(Value::as_object);
    let all = named.into_iter().flatten();
    all.map(|(name, property)| (name.as_str(), property))
        .collect()
}

pub fn kind_of(property: &Value) -> String {
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        return values.join("|");
    }
    match property.get("type") {
        Some(Value::String(kind)) => match property.get("format").and_then(Value::as_str) {
            Some(format) => format.to_owned(),
            None => kind.clone(),
        },
        Some(Value::Array(kinds)) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join("|")
        }
        _ => one_of(property),
    }
}

/// "integer|size": what takes more than one form.
fn one_of(property: &Value) -> String {
    let forms = ["anyOf", "oneOf"].map(|key| property.get(key).and_then(Value::as_array));
    let mut kinds: Vec<String> = Vec::new();
    for form in forms.into_iter().flatten().flatten() {
        let kind = kind_of(form);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    match kinds.is_empty() {
        true => "any".to_owned(),
        false => kinds.join("|"),
    }
}

/// "(required)", or what holds if it is not given; empty: nothing.
pub fn default_of(schema: &Value, name: &str, property: &Value) -> String {
    let required = schema.get("required").and_then(Value::as_array);
    if required.is_some_and(|names| names.iter().any(|n| n == name)) {
        return "(required)".to_owned();
    }
    let default = property.get("default");
    // A table of which no key has a value says nothing.
    let is_told = |value: &&Value| {
        let keys = value.as_object();
        keys.is_none_or(|keys| keys.values().any(|v| !v.is_null()))
    };
    default
        .filter(is_told)
        .map(Value::to_string)
        .unwrap_or_default()
}

pub fn meaning_of(property: &Value) -> String {
    let text = property.get("description").and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn options(out: &mut String, schema: &Value, look: &Look) {
    let properties = properties(schema);
    if properties.is_empty() {
        return;
    }
    let mut table = Table::new(vec![
        Column::left("OPTION"),
        Column::left("TYPE").gives_way(1),
        Column::left("DEFAULT").shrink_to(10),
        Column::left("MEANING").wraps(),
    ]);
    for (name, property) in properties {
        table.row(vec![
            Cell::new(name),
            Cell::new(kind_of(property)),
            Cell::new(default_of(schema, name, property)),
            Cell::new(meaning_of(property)),
        ]);
    }
    let room = look.width.map(|width| width.saturating_sub(4));
    for line in table.render_within(room, look.color).lines() {
        let _ = writeln!(out, "    {line}");
    }
}
