//! `list`: the names, made for `xargs` and loops.

use crate::args::ListArgs;
use crate::error::CtlError;
use crate::exit;
use crate::render::check;
use crate::render::table::{Cell, Column, Table};
use crate::session::Session;
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::control::CheckRow;
use serde::Serialize;

/// `list --json`: an array of these.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    plugin: &'a str,
    verdict: Option<Verdict>,
    paused: bool,
    disabled: bool,
    quarantined: bool,
    stale: bool,
}

pub fn run(session: &mut Session, args: &ListArgs) -> Result<u8, CtlError> {
    let filter = args.selection.filter();
    let rows = session.check_rows(&filter)?;
    if session.json {
        let listed: Vec<_> = rows.iter().map(listed).collect();
        session.print_json_array(&listed)?;
    } else if args.long && !rows.is_empty() {
        let mut table = Table::new(vec![
            Column::left("NAME").shrink_to(16),
            Column::left("PLUGIN").shrink_to(8).gives_way(1),
            Column::left("STATE"),
        ]);
        for row in &rows {
            table.row(vec![
                Cell::new(&row.name),
                Cell::new(&row.plugin),
                Cell::new(check::state(row)).paint(check::paint(row)),
            ]);
        }
        let look = session.screen.look();
        session.screen.print(&table.render(&look))?;
    } else {
        let names: String = rows
            .iter()
            .map(|row| format!("{}\n", crate::render::text::escape(&row.name)))
            .collect();
        session.screen.print(&names)?;
    }
    if rows.is_empty() {
        return session.nothing_matches(&filter);
    }
    Ok(if session.from_maps {
        exit::UNKNOWN
    } else {
        exit::OK
    })
}

fn listed(row: &CheckRow) -> Listed<'_> {
    Listed {
        name: &row.name,
        title: &row.title,
        plugin: &row.plugin,
        verdict: row.verdict,
        paused: row.paused,
        disabled: row.disabled,
        quarantined: row.quarantined,
        stale: row.stale,
    }
}
