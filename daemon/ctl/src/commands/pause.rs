//! `pause` and `resume`: both answer with the rows they touched.

use crate::args::{PauseArgs, Targets};
use crate::error::CtlError;
use crate::exit;
use crate::render::text::{count, escape};
use crate::render::time;
use crate::session::Session;
use healthd_core::wire::control::{Filter, Op, Reply};

pub fn pause(session: &mut Session, args: &PauseArgs) -> Result<u8, CtlError> {
    let filter = args.targets.filter();
    let op = Op::Pause {
        filter: filter.clone(),
        reason: args.reason.clone(),
        for_ms: args.time.map(|time| time.as_millis() as u64),
    };
    let until = match args.time {
        Some(time) => format!("for {}", time::duration(time.as_millis() as u64)),
        None => "until `healthctl resume`".to_owned(),
    };
    change(session, op, &filter, "paused", &until)
}

pub fn resume(session: &mut Session, args: &Targets) -> Result<u8, CtlError> {
    let filter = args.filter();
    change(session, Op::Resume(filter.clone()), &filter, "resumed", "")
}

fn change(
    session: &mut Session,
    op: Op,
    filter: &Filter,
    done: &str,
    until: &str,
) -> Result<u8, CtlError> {
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
        let line = format!("{done} {what} {until}");
        session.screen.print_line(line.trim_end())?;
    }
    Ok(exit::OK)
}
