//! `silence`, `maintenance`, `ack` and `unsilence`: alerts are held back, or not any more.

use super::alerts::named;
use crate::args::{AckArgs, SilenceArgs};
use crate::error::CtlError;
use crate::exit;
use crate::render::text::escape;
use crate::render::time;
use crate::session::Session;
use healthd_core::wire::alerts::{SilenceAsk, SilenceRow};
use healthd_core::wire::control::{Op, Reply};
use std::time::Duration;

pub fn silence(session: &mut Session, args: &SilenceArgs, planned: bool) -> Result<u8, CtlError> {
    let op = Op::Silence(SilenceAsk {
        matches: args.matches.clone(),
        reason: args.reason.clone(),
        for_ms: args.time.or(args.until).map(ms),
        planned,
    });
    let done = match planned {
        true => "in maintenance",
        false => "silenced",
    };
    let until = match args.time.or(args.until) {
        Some(time) => format!("for {}", time::duration(ms(time))),
        None => "until `unsilence`".to_owned(),
    };
    let row = ask(session, op)?;
    tell(session, &row, done, &until)
}

pub fn ack(session: &mut Session, args: &AckArgs) -> Result<u8, CtlError> {
    let op = Op::Ack {
        name: args.name.clone(),
        reason: args.note.clone(),
        for_ms: args.time.or(args.until).map(ms),
    };
    let until = match args.time.or(args.until) {
        Some(time) => format!("for {}", time::duration(ms(time))),
        None => "until it is over".to_owned(),
    };
    let row = ask(session, op)?;
    tell(session, &row, "acknowledged", &until)
}

pub fn unsilence(session: &mut Session, id: &str) -> Result<u8, CtlError> {
    let row = ask(session, Op::Unsilence { id: id.to_owned() })?;
    tell(session, &row, "not held back any more:", "")
}

fn ask(session: &mut Session, op: Op) -> Result<SilenceRow, CtlError> {
    let mut told = None;
    session.ask_all(op, |reply| match reply {
        Reply::Silence(row) => {
            told = Some(row);
            true
        }
        _ => false,
    })?;
    Ok(named(told.unwrap_or_default()))
}

fn tell(session: &mut Session, row: &SilenceRow, done: &str, until: &str) -> Result<u8, CtlError> {
    if session.json {
        session.print_json(row)?;
    } else {
        let what = escape(&row.matches);
        let line = format!("{done} {what} {until}");
        session
            .screen
            .print_line(&format!("{} (id {})", line.trim_end(), row.id))?;
    }
    Ok(exit::OK)
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}
