//! `events`: what has happened, and what comes.

use crate::args::EventsArgs;
use crate::connection::{Incoming, kind_of};
use crate::error::{CtlError, Inside};
use crate::event_map;
use crate::exit;
use crate::interrupt::Interrupt;
use crate::render::events::Lines;
use crate::session::Session;
use healthd_core::wire::control::{Events, Op, Reply};
use healthd_core::wire::events::EventRow;

pub fn run(session: &mut Session, args: &EventsArgs) -> Result<u8, CtlError> {
    let asked = Events {
        after: args.after,
        since: args.since.map(|t| t.to_string()),
        follow: args.follow,
        names: args.names.clone(),
    };
    match args.follow {
        true => follow(session, asked),
        false => list(session, &asked),
    }
}

fn list(session: &mut Session, asked: &Events) -> Result<u8, CtlError> {
    let mut rows = Vec::new();
    let op = Op::Events(asked.clone());
    let result = session.ask_within(op, session.map_patience(), |reply| match reply {
        Reply::Event(row) => {
            rows.push(*row);
            true
        }
        _ => false,
    });
    match result {
        Err(error) if error.is_no_answer() => {
            rows = session.read_maps(error, |socket, _| event_map::events(socket, asked))?;
        }
        result => result?,
    }
    if rows.is_empty() && !session.json {
        session.screen.note("note", "nothing of that has happened");
    }
    let mut lines = Lines::wide_enough_for(&rows);
    print(session, &mut lines, &rows)?;
    Ok(match session.from_maps {
        true => exit::UNKNOWN,
        false => exit::OK,
    })
}

/// Until Ctrl-C, or until our reader leaves. What healthd has meanwhile told nobody comes after a reconnect, as it has
/// a number.
fn follow(session: &mut Session, mut asked: Events) -> Result<u8, CtlError> {
    let interrupt = Interrupt::new()?;
    let mut lines = Lines::default();
    let mut connected = false;
    let mut told_lost = false;
    loop {
        let before = asked.after;
        let result = listen(session, &mut asked, &mut lines, &mut connected, &interrupt);
        let lost = match result {
            Ok(()) => break,
            // The first connection must work: a typing mistake in --socket is not waited for.
            Err(error) if connected && error.may_pass() => error,
            Err(error) => return Err(error),
        };
        told_lost &= asked.after == before;
        if !std::mem::replace(&mut told_lost, true) {
            let text = format!("{lost}; waiting for it");
            session.screen.note("warning", &text);
        }
        if interrupt.pause_before_reconnect()? {
            break;
        }
    }
    if session.screen.can_move_cursor() {
        // The terminal has echoed ^C where the prompt belongs.
        session.screen.print("\r\x1b[K")?;
    }
    Ok(exit::OK)
}

fn listen(
    session: &mut Session,
    asked: &mut Events,
    lines: &mut Lines,
    connected: &mut bool,
    interrupt: &Interrupt,
) -> Result<(), CtlError> {
    let mut connection = session.ask(Op::Events(asked.clone()))?;
    *connected = true;
    loop {
        match connection.next(None, Some(interrupt))? {
            Incoming::Reply(Reply::Event(row)) => {
                asked.after = Some(row.seq);
                asked.since = None;
                print(session, lines, &[*row])?;
            }
            Incoming::Reply(reply) => session.tell_unknown(kind_of(&reply)),
            Incoming::Unknown(kind) => session.tell_unknown(&kind),
            Incoming::End => {
                return Err(CtlError::HungUp {
                    socket: connection.socket().to_owned(),
                    inside: Inside::Watch,
                });
            }
            Incoming::Stop => return Ok(()),
            Incoming::Quiet => {}
        }
        if session.screen.is_closed() {
            return Ok(());
        }
    }
}

fn print(session: &mut Session, lines: &mut Lines, rows: &[EventRow]) -> Result<(), CtlError> {
    if session.json {
        return rows.iter().try_for_each(|row| session.print_json(row));
    }
    let look = session.screen.look();
    for row in rows {
        for line in lines.of(row, &look) {
            session.screen.print_line(&line)?;
        }
    }
    Ok(())
}
