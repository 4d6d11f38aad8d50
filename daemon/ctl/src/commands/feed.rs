//! `heartbeat` and `submit`: what others say of a check.

use crate::args::{HeartbeatArgs, SubmitArgs, parse_status};
use crate::error::CtlError;
use crate::exit;
use crate::session::Session;
use healthd_core::check::outcome::Status;
use healthd_core::wire::alerts::{Beat, Submission};
use healthd_core::wire::control::Op;
use std::io::BufRead;

/// Says nothing when all is well: it runs in crontabs.
pub fn heartbeat(session: &mut Session, args: &HeartbeatArgs) -> Result<u8, CtlError> {
    let (event, code) = args.event;
    let beat = Beat {
        name: args.name.clone(),
        event,
        code,
        text: args.text.clone(),
    };
    session.ask_all(Op::Heartbeat(beat), |_| false)?;
    Ok(exit::OK)
}

pub fn submit(session: &mut Session, args: &SubmitArgs) -> Result<u8, CtlError> {
    let (Some(name), Some(status)) = (&args.name, args.status) else {
        return submit_lines(session);
    };
    one(session, name.clone(), status, args.text.clone())?;
    Ok(exit::OK)
}

fn one(session: &mut Session, name: String, status: Status, text: String) -> Result<(), CtlError> {
    let op = Op::Submit(Submission { name, status, text });
    session.ask_all(op, |_| false)
}

/// Each line by itself: one that is wrong keeps none of the others back.
fn submit_lines(session: &mut Session) -> Result<u8, CtlError> {
    let mut wrong = 0;
    for (n, line) in std::io::stdin().lock().lines().enumerate() {
        let line = match line {
            Ok(line) => line,
            Err(e) => {
                let text = format!("standard input cannot be read: {e}");
                session.screen.note("error", &text);
                return Ok(exit::UNKNOWN);
            }
        };
        if line.trim().is_empty() {
            continue;
        }
        let done = result(&line).map(|(name, status, text)| one(session, name, status, text));
        let why = match done {
            Some(Ok(())) => continue,
            Some(Err(CtlError::Answer(e))) => e.message,
            // Nobody can be asked.
            Some(Err(e)) => return Err(e),
            None => "it is not HOST, SERVICE, STATUS and TEXT, nor NAME, STATUS and TEXT, with tabs between".to_owned(),
        };
        wrong += 1;
        let text = format!("line {}: {why}", n + 1);
        session.screen.note("error", &text);
    }
    Ok(match wrong {
        0 => exit::OK,
        _ => exit::UNKNOWN,
    })
}

/// Name, status and text. `\\n` in a text is a new line, as send_nsca has it.
fn result(line: &str) -> Option<(String, Status, String)> {
    let fields: Vec<&str> = line.splitn(4, '\t').collect();
    let (name, status, text) = match fields[..] {
        [host, service, status, text] if parse_status(status).is_ok() => {
            (format!("{host}/{service}"), status, text.to_owned())
        }
        [name, status, ref rest @ ..] => (name.to_owned(), status, rest.join("\t")),
        _ => return None,
    };
    Some((name, parse_status(status).ok()?, text.replace("\\n", "\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_send_nsca_reads_them() {
        let read = |line: &str| result(line).map(|(name, status, text)| (name, status as u8, text));
        let is = |name: &str, status, text: &str| Some((name.to_owned(), status, text.to_owned()));
        for (line, expected) in [
            (
                "db1\tdisk\t2\tDISK CRITICAL|free=1%",
                is("db1/disk", 2, "DISK CRITICAL|free=1%"),
            ),
            ("backup\tok\tall\tof it", is("backup", 0, "all\tof it")),
            ("backup\t3\tone\\ntwo", is("backup", 3, "one\ntwo")),
            ("backup\tWARNING", is("backup", 1, "")),
            ("backup", None),
            ("a\tb\tc\td", None),
        ] {
            assert_eq!(read(line), expected, "{line:?}");
        }
    }
}
