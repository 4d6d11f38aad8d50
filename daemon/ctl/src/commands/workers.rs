//! `workers`: the worker processes and their accounts.

use crate::error::CtlError;
use crate::exit;
use crate::render::text::{escape, wrap};
use crate::render::workers;
use crate::session::Session;

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    let rows = session.worker_rows()?;
    if session.json {
        session.print_json_array(&rows)?;
    } else if rows.is_empty() {
        session
            .screen
            .note("note", "healthd has no workers: no enabled check needs one");
    } else {
        let look = session.screen.look();
        session.screen.print(&workers::table(&rows, &look))?;
        for remark in workers::remarks(&rows) {
            // Wrapped and not cut: it is told because somebody needs all of it.
            let width = look.width.unwrap_or(usize::MAX);
            for line in wrap(&escape(&remark), width) {
                session.screen.print_line(&line)?;
            }
        }
    }
    Ok(if session.from_maps {
        exit::UNKNOWN
    } else {
        exit::OK
    })
}
