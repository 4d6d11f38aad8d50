//! `version`: ours, and that of the running daemon.

use crate::error::CtlError;
use crate::exit;
use crate::render::{text, time};
use crate::session::Session;
use crate::wedged::Remains;
use healthd_core::wire::control::{Op, Reply, VERSION, VersionInfo};
use serde::Serialize;

/// `version --json`; `healthd` is null when it cannot be asked.
#[derive(Serialize)]
struct Versions<'a> {
    healthctl: Ours,
    healthd: Option<&'a VersionInfo>,
    /// Of a daemon that does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    maps: Option<&'a Remains>,
}

#[derive(Serialize)]
struct Ours {
    version: &'static str,
    protocol: u32,
}

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    let mut found = None;
    let patience = session.map_patience();
    let asked = session
        .ask_within(Op::Version, patience, |reply| match reply {
            Reply::Version(info) => {
                found = Some(info);
                true
            }
            _ => false,
        })
        .and_then(|()| found.ok_or(CtlError::Missing { what: "version" }));
    let ours = Ours {
        version: env!("CARGO_PKG_VERSION"),
        protocol: VERSION,
    };
    // Of one that hangs the maps say at least who it is.
    let remains = match &asked {
        Err(error) if error.is_no_answer() => session.remains(),
        _ => None,
    };
    if session.json {
        session.print_json(&Versions {
            healthctl: ours,
            healthd: asked.as_ref().ok(),
            maps: remains.as_ref(),
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
            if !theirs.users.is_empty() {
                session.screen.print_line(&text::escape(&theirs.users))?;
            }
        }
        if let Some(maps) = &remains {
            let look = session.screen.look();
            let age = |at: &Option<String>| time::age(at.as_deref(), &look).unwrap_or("?".into());
            let pid = |pid: Option<u32>| pid.map_or("?".to_owned(), |pid| pid.to_string());
            let line = format!(
                "healthd does not answer; by its maps: pid {}, manager {}, started {} ago, last turn {} ago, {}, worker generation {}",
                pid(maps.supervisor_pid),
                maps.manager_pid,
                age(&maps.started),
                age(&maps.beat),
                text::count(maps.checks, "check"),
                maps.generation
            );
            session.screen.print_line(&text::escape(&line))?;
        }
    }
    asked.map(|_| exit::OK)
}
