//! `version`: ours, and that of the running daemon.

use crate::error::CtlError;
use crate::exit;
use crate::render::{text, time};
use crate::session::Session;
use healthd_core::wire::control::{Op, Reply, VERSION, VersionInfo};
use serde::Serialize;

/// `version --json`; `healthd` is null when it cannot be asked.
#[derive(Serialize)]
struct Versions<'a> {
    healthctl: Ours,
    healthd: Option<&'a VersionInfo>,
}

#[derive(Serialize)]
struct Ours {
    version: &'static str,
    protocol: u32,
}

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    let asked = session.ask_one(Op::Version, "version", |reply| match reply {
        Reply::Version(info) => Some(info),
        _ => None,
    });
    let ours = Ours {
        version: env!("CARGO_PKG_VERSION"),
        protocol: VERSION,
    };
    if session.json {
        session.print_json(&Versions {
            healthctl: ours,
            healthd: asked.as_ref().ok(),
        })?;
    } else {
        session.screen.print_line(&format!(
            "healthctl {} (protocol {})",
            ours.version, ours.protocol
        ))?;
        if let Ok(theirs) = &asked {
            let look = session.screen.look();
            let since = time::age(Some(&theirs.started), &look)
                .map(|age| format!(", up {age}"))
                .unwrap_or_default();
            let line = format!(
                "healthd {} (protocol {}, plugin ABI {}), pid {}{since}, {}, worker generation {}",
                theirs.version,
                theirs.protocol,
                theirs.abi,
                theirs.supervisor_pid,
                text::count(theirs.checks, "check"),
                theirs.generation
            );
            session.screen.print_line(&text::escape(&line))?;
        }
    }
    asked.map(|_| exit::OK)
}
