//! The table of `workers`, and whether its counters add up.

use super::paint::Paint;
use super::table::{Cell, Column, Table};
use super::text::escape;
use super::{Look, time};
use healthd_core::wire::control::WorkerRow;
use healthd_units::size;

/// The accounts stay as long as they can; what only explains gives way.
pub fn table(rows: &[WorkerRow], look: &Look) -> String {
    // Seldom used, so it is there only if there is something to tell.
    let chunks = rows.iter().any(|row| chunks_done(row) > Some(0));
    let sandbox = rows.iter().any(|row| !row.sandbox.is_empty());
    let own = rows.iter().any(|row| !row.plugins.is_empty());
    let columns: [(Column, bool); 18] = [
        (Column::right("SLOT"), true),
        (Column::left("CLASS"), true),
        (Column::left("PLUGINS").gives_way(4), own),
        (Column::left("STATE"), true),
        (Column::right("PID"), true),
        (Column::right("GEN").gives_way(9), true),
        (Column::right("THREADS").gives_way(8), true),
        (Column::right("DISPATCHED"), true),
        (Column::right("FINISHED").gives_way(1), true),
        (Column::right("IN FLIGHT").gives_way(2), true),
        (Column::right("LOST"), true),
        (Column::right("LATE").gives_way(4), true),
        (Column::right("CHUNKS").gives_way(5), chunks),
        (Column::right("RESTARTS").gives_way(0), true),
        (Column::right("BEAT").gives_way(6), true),
        (Column::right("RSS").gives_way(3), true),
        (Column::right("FDS").gives_way(7), true),
        (Column::left("SANDBOX").gives_way(10), sandbox),
    ];
    let all_columns = columns.iter().filter(|(_, on)| *on);
    let mut table = Table::new(all_columns.map(|(column, _)| *column).collect());
    for row in rows {
        let pairs = cells(row).into_iter().zip(&columns);
        table.row(pairs.filter(|(_, (_, on))| *on).map(|(cell, _)| cell));
    }
    table.render(look)
}

fn cells(row: &WorkerRow) -> Vec<Cell<'_>> {
    let state = if row.stale {
        format!("{} (stale)", row.state)
    } else {
        row.state.clone()
    };
    let paint = match row.state.as_str() {
        _ if row.stale => Paint::Odd,
        "ready" => Paint::Good,
        "dead" => Paint::Bad,
        _ => Paint::Warn,
    };
    let lost = if row.lost.is_some_and(|n| n > 0) {
        Paint::Warn
    } else {
        Paint::Plain
    };
    vec![
        Cell::new(row.slot.to_string()),
        match &row.solo {
            None => Cell::new(&row.class),
            Some(_) => Cell::new(format!("{} solo", row.class)),
        },
        Cell::new(whose(row)),
        Cell::new(state).paint(paint),
        Cell::maybe(row.pid),
        Cell::maybe(row.generation),
        Cell::maybe(row.threads),
        Cell::maybe(row.dispatched),
        Cell::maybe(row.finished),
        Cell::maybe(row.in_flight),
        Cell::maybe(row.lost).paint(lost),
        Cell::maybe(row.late),
        Cell::maybe(chunks_done(row)),
        Cell::maybe(row.restarts),
        Cell::maybe(row.heartbeat_age_ms.map(|ms| time::latency(ms as f64))),
        Cell::maybe(row.rss_kb.map(|kb| size::about(kb as f64 * 1024.0))),
        Cell::maybe(row.fds),
        Cell::new(&row.sandbox),
    ]
}

/// The plugins whose own it is.
fn whose(row: &WorkerRow) -> String {
    match row.plugins.as_slice() {
        [] if row.solo.is_some() => String::new(),
        [] => "shared".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

/// Chunks that it ran, of its own runs and of others'.
fn chunks_done(row: &WorkerRow) -> Option<u64> {
    let chunks = row.chunks.as_ref()?;
    Some(chunks.finished.saturating_add(chunks.own))
}

/// Why runs were lost, and rows whose books do not balance: a line each, for people.
pub fn remarks(rows: &[WorkerRow]) -> Vec<String> {
    let mut remarks = Vec::new();
    for row in rows {
        let reasons: Vec<String> = [
            (row.lost_worker_died, "worker died"),
            (row.lost_replaced, "worker replaced"),
            (row.lost_cancelled, "cancelled"),
        ]
        .iter()
        .filter_map(|(number, why)| number.filter(|n| *n > 0).map(|n| format!("{n} {why}")))
        .collect();
        if let Some(check) = row.solo.as_deref().filter(|c| !c.is_empty()) {
            remarks.push(format!("slot {}: holds {} alone", row.slot, escape(check)));
        }
        if !reasons.is_empty() {
            remarks.push(format!(
                "slot {}: runs lost: {}",
                row.slot,
                reasons.join(", ")
            ));
        }
        if let Some(n) = row.stuck_threads.filter(|n| *n > 0) {
            remarks.push(format!(
                "slot {}: {n} of its threads are in calls whose deadline has passed",
                row.slot
            ));
        }
        if !row.note.is_empty() {
            remarks.push(format!("slot {}: {}", row.slot, row.note));
        }
        if let Some(c) = row.chunks.as_ref().filter(|c| c.lost > 0) {
            remarks.push(format!(
                "slot {}: chunks taken back or lost: {}",
                row.slot, c.lost
            ));
        }
        let runs = (row.dispatched, row.finished, row.in_flight, row.lost);
        let chunks = row.chunks.as_ref().map_or((None, None, None, None), |c| {
            (
                Some(c.dispatched),
                Some(c.finished),
                Some(c.in_flight),
                Some(c.lost),
            )
        });
        for (what, account) in [("counters", runs), ("counters of chunks", chunks)] {
            if let (Some(out), Some(done), Some(flying), Some(lost)) = account
                && out != done.saturating_add(flying).saturating_add(lost)
            {
                remarks.push(format!(
                    "slot {}: the {what} do not add up: {out} dispatched, but {done} finished + \
                     {flying} in flight + {lost} lost; this is a bug in healthd",
                    row.slot
                ));
            }
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_name_losses_and_bad_books() {
        let good = WorkerRow {
            dispatched: Some(10),
            finished: Some(7),
            in_flight: Some(1),
            lost: Some(2),
            lost_worker_died: Some(2),
            lost_replaced: Some(0),
            ..WorkerRow::default()
        };
        assert_eq!(
            remarks(std::slice::from_ref(&good)),
            ["slot 0: runs lost: 2 worker died"]
        );
        let bad = WorkerRow {
            slot: 1,
            finished: Some(6),
            lost_worker_died: None,
            ..good
        };
        assert_eq!(remarks(std::slice::from_ref(&bad)).len(), 1);
        assert!(remarks(&[WorkerRow { lost: None, ..bad }]).is_empty());
    }
}
