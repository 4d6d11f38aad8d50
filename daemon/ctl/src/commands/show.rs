//! `show`: all about one check.

use crate::args::OneCheck;
use crate::connection::Patience;
use crate::error::CtlError;
use crate::exit;
use crate::render::detail;
use crate::session::Session;
use healthd_catalog::Hardening;
use healthd_core::wire::control::{Op, Reply};

pub fn run(session: &mut Session, args: &OneCheck) -> Result<u8, CtlError> {
    let op = Op::Show {
        name: args.name.clone(),
    };
    let patience: Patience = session.map_patience();
    let mut found = None;
    let asked = session.ask_within(op, patience, |reply| match reply {
        Reply::Detail(detail) => {
            found = Some(detail);
            true
        }
        _ => false,
    });
    let look = session.screen.look();
    match asked {
        Ok(()) => {
            let mut found = found.ok_or(CtlError::Missing { what: "detail" })?;
            // Read here, as the manager waits for no disk.
            found.hardening = Hardening::of_unit().complaint(&found.config);
            if session.json {
                session.print_json(&found)?;
            } else {
                session
                    .screen
                    .print(&detail::page(&found.row, Some(&found), &look))?;
            }
            Ok(exit::of_verdicts(&[found.row]))
        }
        Err(error) if error.is_no_answer() => {
            let row = session.map_row(&args.name, error)?;
            if session.json {
                session.print_json(&row)?;
            } else {
                session.screen.print(&detail::page(&row, None, &look))?;
            }
            Ok(exit::of_verdicts(&[row]))
        }
        Err(error) => Err(error),
    }
}
