//! `objects`: what plugins and checks share.

use crate::error::CtlError;
use crate::session::Session;
use crate::{exit, render::objects};
use healthd_core::wire::control::{Op, Reply};

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    let mut rows = Vec::new();
    session.ask_all(Op::Objects, |reply| match reply {
        Reply::Object(row) => {
            rows.push(row);
            true
        }
        _ => false,
    })?;
    if session.json {
        session.print_json_array(&rows)?;
    } else if rows.is_empty() {
        session.screen.note(
            "note",
            "no plugin has made a shared object, and no check has `exclusive` or `max_parallel`",
        );
    } else {
        let look = session.screen.look();
        session.screen.print(&objects::table(&rows, &look))?;
    }
    Ok(exit::OK)
}
