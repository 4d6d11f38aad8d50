//! `workers`: the worker processes and their accounts.

use crate::error::CtlError;
use crate::exit;
use crate::render::text::escape;
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
            session.screen.print_line(&escape(&remark))?;
        }
    }
    Ok(if session.from_maps {
        exit::UNKNOWN
    } else {
        exit::OK
    })
}
