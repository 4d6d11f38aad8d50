//! `status`: the checks and their verdicts.

use crate::args::StatusArgs;
use crate::error::CtlError;
use crate::session::Session;
use crate::{exit, render::check};

pub fn run(session: &mut Session, args: &StatusArgs) -> Result<u8, CtlError> {
    let filter = args.selection.filter();
    let rows = session.check_rows(&filter)?;
    if session.json {
        session.print_json_array(&rows)?;
    } else if !rows.is_empty() {
        let look = session.screen.look();
        let text = format!(
            "{}\n{}\n",
            check::table(&rows, &look, args.wide),
            check::summary(&rows, &look)
        );
        session.screen.print(&text)?;
    }
    if !rows.is_empty() {
        return Ok(exit::of_verdicts(&rows));
    }
    session.nothing_matches(&filter)
}
