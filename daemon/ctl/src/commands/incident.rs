//! `incident`: what people say of an outage, to everybody who reads the public page.

use crate::args::{IncidentAction, IncidentArgs};
use crate::error::CtlError;
use crate::exit;
use crate::render::text::escape;
use crate::session::Session;
use healthd_core::wire::control::Op;

pub fn run(session: &mut Session, args: &IncidentArgs) -> Result<u8, CtlError> {
    let IncidentAction::Note { name, text } = &args.action;
    let op = Op::Note {
        name: name.clone(),
        text: text.clone(),
    };
    session.ask_all(op, |_| false)?;
    let line = format!("noted of {}", escape(name));
    session.screen.print_line(&line)?;
    Ok(exit::OK)
}
