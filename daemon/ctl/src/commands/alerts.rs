//! `alerts`: who is told of what.

use crate::error::CtlError;
use crate::session::Session;
use crate::{exit, render::alerts};
use healthd_core::wire::control::{Op, Reply};

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    let mut report = None;
    session.ask_all(Op::Alerts, |reply| match reply {
        Reply::Alerts(told) => {
            report = Some(told);
            true
        }
        _ => false,
    })?;
    let report = report.unwrap_or_default();
    if session.json {
        session.print_json(&report)?;
        return Ok(exit::OK);
    }
    if report.routes.is_empty() {
        session.screen.note(
            "note",
            "nobody is told of anything: no `[[notify]]` is configured",
        );
    }
    let look = session.screen.look();
    session.screen.print(&alerts::show(&report, &look))?;
    Ok(exit::OK)
}
