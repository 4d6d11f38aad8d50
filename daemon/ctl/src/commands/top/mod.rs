//! `top`: the checks on a full screen, from the maps alone: so also of a daemon that is stopped, or hangs. What one does
//! to a check goes over the socket, like any command.

mod facts;
mod keys;
mod tty;
mod view;

use crate::args::TopArgs;
use crate::error::CtlError;
use crate::exit;
use crate::interrupt::Interrupt;
use crate::session::Session;
use facts::Facts;
use healthd_core::wire::alerts::SilenceAsk;
use healthd_core::wire::control::{Filter, Op, Reply};
use std::time::{Duration, Instant};
use view::{Asks, View};

/// The maps are read so often.
const TICK: Duration = Duration::from_secs(1);
/// So long a key waits for healthd.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(session: &mut Session, args: &TopArgs) -> Result<u8, CtlError> {
    if !session.screen.can_move_cursor() {
        return Err(CtlError::Unsupported {
            what: "top",
            why: "standard output is no terminal that can move its cursor; `healthctl status` prints the same",
        });
    }
    let mut facts = Facts::new(session.socket());
    // Before the screen is taken: what is wrong is to be read.
    if let Err(e) = facts.read() {
        let asked = session.ask(Op::Version).err();
        return Err(CtlError::Maps {
            connect: Box::new(asked.unwrap_or(CtlError::Missing { what: "map" })),
            maps: e.to_string(),
        });
    }
    let interrupt = Interrupt::new()?;
    let mut tty = tty::Tty::open()?;
    let mut view = View::new(args.filter.as_deref().unwrap_or_default());
    session.screen.print(tty::OPEN)?;
    let result = turn(session, &mut tty, &mut facts, &mut view, &interrupt);
    session.screen.print(tty::CLOSE)?;
    drop(tty);
    result.map(|()| exit::OK)
}

fn turn(
    session: &mut Session,
    tty: &mut tty::Tty,
    facts: &mut Facts,
    view: &mut View,
    interrupt: &Interrupt,
) -> Result<(), CtlError> {
    let mut read = Instant::now();
    loop {
        let (_, lines) = session.screen.size();
        let look = session.screen.look();
        let frame = view.frame(facts, &look, lines);
        session.screen.print(&frame)?;
        if session.screen.is_closed() {
            return Ok(());
        }
        let Some(keys) = tty.wait(TICK.saturating_sub(read.elapsed()), interrupt)? else {
            return Ok(());
        };
        for key in keys {
            match view.press(key, facts) {
                Asks::Nothing => {}
                Asks::Quit => return Ok(()),
                Asks::Do(deed, name, text) => view.remark = done(session, &deed, &name, &text),
            }
        }
        if read.elapsed() >= TICK {
            // A map that is being replaced is there in a moment; what was read last stays.
            view.trouble = facts.read().err().map(|e| e.to_string());
            read = Instant::now();
        }
    }
}

/// What one may do to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Run,
    Ack,
    Silence,
}

/// In words how that went.
fn done(session: &mut Session, deed: &Deed, name: &str, reason: &str) -> String {
    let reason = reason.to_owned();
    let (op, word) = match deed {
        Deed::Run => {
            let filter = Filter {
                names: vec![name.to_owned()],
                ..Filter::default()
            };
            (Op::Run(filter), "ran")
        }
        Deed::Ack => {
            let name = name.to_owned();
            let for_ms = None;
            (
                Op::Ack {
                    name,
                    reason,
                    for_ms,
                },
                "is acknowledged",
            )
        }
        Deed::Silence => {
            let ask = SilenceAsk {
                matches: quoted(name),
                reason,
                for_ms: Some(3_600_000),
                planned: false,
            };
            (Op::Silence(ask), "is silent for an hour")
        }
    };
    let patience = crate::connection::Patience {
        first: Some(PATIENCE),
        between: Some(PATIENCE),
    };
    let mut said = None;
    let asked = session.ask_within(op, patience, |reply| {
        if let Reply::Check(row) = reply {
            let status = row.status.map_or("no result", |s| s.as_str());
            said = Some(format!("{status}: {}", row.message.unwrap_or_default()));
        }
        true
    });
    match (asked, said) {
        (Ok(()), Some(said)) => format!("{name} {word}: {said}"),
        (Ok(()), None) => format!("{name} {word}"),
        (Err(e), _) => format!("{name}: {e}"),
    }
}

/// The check of that name in a `match`.
fn quoted(name: &str) -> String {
    match name.contains([' ', ',', '=', '!', '\'', '"']) {
        true if name.contains('"') => format!("'{name}'"),
        true => format!("\"{name}\""),
        false => name.to_owned(),
    }
}
