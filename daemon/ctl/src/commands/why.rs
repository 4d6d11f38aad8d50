//! `why`: the story of a check's last run.

use crate::args::OneCheck;
use crate::error::CtlError;
use crate::exit;
use crate::render::detail;
use crate::session::Session;
use crate::wedged;
use healthd_core::wire::control::{Op, Reply};

pub fn run(session: &mut Session, args: &OneCheck) -> Result<u8, CtlError> {
    let why = session.ask_one_or_maps(
        Op::Why {
            name: args.name.clone(),
        },
        "why",
        |reply| match reply {
            Reply::Why(why) => Some(*why),
            _ => None,
        },
        |socket, now| wedged::why(socket, &args.name, now),
    )?;
    if session.json {
        session.print_json(&why)?;
    } else {
        let look = session.screen.look();
        session.screen.print(&detail::story(&why, &look))?;
    }
    Ok(if session.from_maps {
        exit::UNKNOWN
    } else {
        exit::OK
    })
}
