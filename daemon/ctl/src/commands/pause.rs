//! `pause` and `resume`: both answer with the rows they touched.

use crate::args::{PauseArgs, Targets};
use crate::error::CtlError;
use crate::exit;
use crate::render::text::{count, escape};
use crate::session::Session;
use healthd_core::wire::control::{Filter, Op, Reply};

pub fn pause(session: &mut Session, args: &PauseArgs) -> Result<u8, CtlError> {
    let filter = args.targets.filter();
    let op = Op::Pause {
        filter: filter.clone(),
        reason: args.reason.clone(),
    };
    change(session, op, &filter, "paused")
}

pub fn resume(session: &mut Session, args: &Targets) -> Result<u8, CtlError> {
    let filter = args.filter();
    change(session, Op::Resume(filter.clone()), &filter, "resumed")
}

fn change(session: &mut Session, op: Op, filter: &Filter, done: &str) -> Result<u8, CtlError> {
    let mut rows = Vec::new();
    session.ask_all(op, |reply| match reply {
        Reply::Check(row) => {
            rows.push(row);
            true
        }
        _ => false,
    })?;
    if session.json {
        session.print_json_array(&rows)?;
    }
    let what = match &*rows {
        [] => return session.nothing_matches(filter),
        [row] => escape(&row.name).into_owned(),
        rows => count(rows.len() as u64, "check"),
    };
    if !session.json {
        session.screen.print_line(&format!("{done} {what}"))?;
    }
    Ok(exit::OK)
}
