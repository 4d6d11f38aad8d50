//! The tables of `alerts`: who is told of what, how each route is doing, what is held back.

use super::paint::Paint;
use super::table::{Cell, Column, Table};
use super::{Look, time};
use healthd_core::wire::alerts::{AlertsReport, NoticeRow, RouteRow, SilenceRow, Tested, WhoRow};
use std::collections::BTreeMap;

/// Only what there is, with a blank line between.
pub fn show(report: &AlertsReport, look: &Look) -> String {
    let mut parts = Vec::new();
    if !report.notices.is_empty() {
        parts.push(notices(&report.notices, look));
    }
    if !report.routes.is_empty() {
        parts.push(routes(&report.routes, look));
    }
    if !report.silences.is_empty() {
        parts.push(silences(&report.silences, look));
    }
    parts.join("\n")
}

fn notices(rows: &[NoticeRow], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("NOTICE").gives_way(2),
        Column::left("ON"),
        Column::left("NOW"),
        Column::left("SINCE"),
        Column::left("CHECKS").shrink_to(16),
        Column::left("WHAT").wraps(),
    ]);
    for row in rows {
        table.row(vec![
            Cell::new(&row.id),
            Cell::new(&row.route),
            Cell::new(&row.state).paint(match row.state.as_str() {
                "refused" => Paint::Bad,
                "told" => Paint::Plain,
                _ => Paint::Warn,
            }),
            Cell::maybe(time::age(row.since.as_deref(), look)),
            Cell::new(checks(&row.checks)),
            Cell::new(what(row, look)),
        ]);
    }
    table.render(look)
}

/// "shop/db, web" or "shop/db, web and 498 more".
fn checks(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        n => format!("{shown} and {n} more"),
    }
}

fn what(row: &NoticeRow, look: &Look) -> String {
    let mut parts = Vec::new();
    if let Some(kind) = &row.kind {
        parts.push(format!("{kind} is due"));
    }
    if let Some(told) = row.told_at.as_deref() {
        parts.push(format!("told at {}", time::of_day(told, look)));
    }
    parts.extend(row.receipt.clone());
    if let Some(refusal) = &row.refusal {
        parts.push(format!("not taken: {refusal}"));
    }
    if let Some(next) = time::until(row.next_try.as_deref(), look) {
        parts.push(format!("next try {next}"));
    }
    parts.join(", ")
}

fn routes(rows: &[RouteRow], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("ROUTE"),
        Column::left("PLUGIN").gives_way(1),
        Column::right("PENDING"),
        Column::right("WEEK").gives_way(2),
        Column::left("LAST OK"),
        Column::left("LAST ERROR").wraps(),
    ]);
    for row in rows {
        let plugin = match row.enabled {
            true => row.plugin.clone(),
            false => format!("{} (off)", row.plugin),
        };
        table.row(vec![
            Cell::new(&row.name),
            Cell::new(plugin),
            Cell::new(row.pending.to_string()).paint(match row.pending {
                0 => Paint::Plain,
                _ => Paint::Warn,
            }),
            Cell::new(row.week.to_string()).paint(match row.budget {
                Some(budget) if row.week > budget => Paint::Warn,
                _ => Paint::Plain,
            }),
            Cell::maybe(time::age(row.last_ok.as_deref(), look).map(|age| format!("{age} ago"))),
            Cell::maybe(row.last_error.as_deref()).paint(Paint::Bad),
        ]);
    }
    table.render(look)
}

pub fn silences(rows: &[SilenceRow], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("ID"),
        Column::left("KIND"),
        Column::left("MATCH").shrink_to(16),
        Column::left("UNTIL"),
        Column::left("BY"),
        Column::left("REASON").wraps(),
    ]);
    for row in rows {
        let until = match (row.until.as_deref(), row.kind.as_str()) {
            (Some(until), _) => time::of_day(until, look),
            (None, "ack") => "it is over".to_owned(),
            (None, _) => "unsilence".to_owned(),
        };
        table.row(vec![
            Cell::new(&row.id),
            Cell::new(&row.kind),
            Cell::new(&row.matches),
            Cell::new(until),
            Cell::new(&row.author),
            Cell::new(&row.reason),
        ]);
    }
    table.render(look)
}

pub fn who(rows: &[WhoRow], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("ROUTE"),
        Column::left("TOLD"),
        Column::left("WHY").wraps(),
    ]);
    for row in rows {
        let (told, paint) = match row.told {
            true => ("yes", Paint::Good),
            false => ("no", Paint::Dim),
        };
        table.row(vec![
            Cell::new(&row.route),
            Cell::new(told).paint(paint),
            Cell::new(&row.why),
        ]);
    }
    table.render(look)
}

/// What one route would have sent.
#[derive(Default)]
pub struct Messages {
    pub problems: u64,
    pub recoveries: u64,
    pub others: u64,
    /// Between ten in the evening and six in the morning.
    pub at_night: u64,
}

pub fn replayed(
    routes: &BTreeMap<String, Messages>,
    flips: usize,
    was_sent: usize,
    look: &Look,
) -> String {
    let mut table = Table::new(vec![
        Column::left("ROUTE"),
        Column::right("PROBLEMS"),
        Column::right("RECOVERIES"),
        Column::right("OTHERS"),
        Column::right("AT NIGHT"),
    ]);
    let (mut all, mut night) = (0, 0);
    for (route, m) in routes {
        all += m.problems + m.recoveries + m.others;
        night += m.at_night;
        table.row(vec![
            Cell::new(route),
            Cell::new(m.problems.to_string()),
            Cell::new(m.recoveries.to_string()),
            Cell::new(m.others.to_string()),
            Cell::new(m.at_night.to_string()),
        ]);
    }
    let shown = match routes.is_empty() {
        true => String::new(),
        false => table.render(look) + "\n",
    };
    let messages = super::text::count(all, "message");
    format!(
        "{shown}{messages} for {}, {night} at night; {was_sent} were sent by what was in force\n",
        super::text::count(flips as u64, "verdict change"),
    )
}

/// "slack: accepted: HTTP 200 ok"
pub fn tested(tested: &Tested) -> String {
    let outcome = match tested.outcome.as_str() {
        "unknown" => "nobody knows whether it arrived",
        other => other,
    };
    let said = super::text::escape(&tested.said);
    format!("{}: {outcome}: {said}", super::text::escape(&tested.route))
}

const SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::look;

    #[test]
    fn all_three_tables() {
        let report = AlertsReport {
            notices: vec![NoticeRow {
                id: "1795917600000001".into(),
                route: "slack".into(),
                state: "refused".into(),
                kind: Some("problem".into()),
                since: Some("2026-11-22T09:58:00Z".into()),
                checks: ["a", "b", "c", "d", "e"].map(str::to_owned).into(),
                next_try: Some("2026-11-22T10:00:40Z".into()),
                refusal: Some("HTTP 404 no_service".into()),
                ..NoticeRow::default()
            }],
            routes: vec![RouteRow {
                name: "slack".into(),
                plugin: "webhook".into(),
                enabled: true,
                pending: 1,
                last_ok: Some("2026-11-22T08:00:00Z".into()),
                last_error: Some("HTTP 404 no_service".into()),
                week: 41,
                budget: Some(20),
                ..RouteRow::default()
            }],
            silences: vec![SilenceRow {
                id: "7".into(),
                kind: "silence".into(),
                matches: "db/*".into(),
                until: Some("2026-11-22T12:00:00Z".into()),
                reason: "move".into(),
                author: "ana".into(),
                since: None,
            }],
        };
        assert_eq!(
            show(&report, &look(None)),
            "NOTICE            ON     NOW      SINCE  CHECKS              WHAT\n\
             1795917600000001  slack  refused  2m     a, b, c and 2 more  problem is due, not taken: HTTP 404 no_service, next try in 40s\n\
             \n\
             ROUTE  PLUGIN   PENDING  WEEK  LAST OK  LAST ERROR\n\
             slack  webhook        1    41  2h ago   HTTP 404 no_service\n\
             \n\
             ID  KIND     MATCH  UNTIL     BY   REASON\n\
             7   silence  db/*   12:00:00  ana  move\n"
        );
    }
}
