//! `plugins`: what is in the plugin directory, other bytes for them, whether a file would be loaded, and the end of a
//! quarantine.

use crate::args::{PluginsAction, PluginsArgs};
use crate::error::CtlError;
use crate::exit;
use crate::healthd::{Helper, Probe};
use crate::render::text::{count, escape};
use crate::render::{plugins, time};
use crate::session::Session;
use crate::wedged;
use healthd_core::wire::control::{Op, PluginRow, Reply};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

const PROBE_LIMIT: Duration = Duration::from_secs(10);

pub fn run(session: &mut Session, args: &PluginsArgs) -> Result<u8, CtlError> {
    match &args.action {
        None | Some(PluginsAction::List) => list(session, args.cost),
        Some(PluginsAction::Reload { name }) => super::reload::ask(
            session,
            Op::PluginsReload { name: name.clone() },
            "plugins read again",
        ),
        Some(PluginsAction::Rollback { name }) => super::reload::ask(
            session,
            Op::PluginsRollback { name: name.clone() },
            "rolled back",
        ),
        Some(PluginsAction::Verify { file }) => verify(session, file),
        Some(PluginsAction::Release { names }) => release(session, names),
    }
}

fn list(session: &mut Session, cost: bool) -> Result<u8, CtlError> {
    let mut rows = Vec::new();
    let patience = session.map_patience();
    let asked = session.ask_within(Op::Plugins, patience, |reply| match reply {
        Reply::Plugin(row) => {
            rows.push(row);
            true
        }
        _ => false,
    });
    match asked {
        Ok(()) => {}
        Err(error) if error.is_no_answer() => rows = session.read_maps(error, wedged::plugins)?,
        Err(error) => return Err(error),
    }
    if cost {
        let cpu = |row: &PluginRow| row.cost.as_ref().map_or(-1.0, |c| c.cost.cpu_ms);
        rows.sort_by(|a, b| cpu(b).total_cmp(&cpu(a)));
    }
    if session.json {
        session.print_json_array(&rows)?;
    } else if rows.is_empty() {
        session
            .screen
            .note("note", "the plugin directory of healthd holds no plugin");
    } else {
        let look = session.screen.look();
        let text = if cost {
            plugins::costs(&rows, &look)
        } else {
            plugins::table(&rows, &look)
        };
        session.screen.print(&text)?;
    }
    Ok(if session.from_maps {
        exit::UNKNOWN
    } else {
        exit::OK
    })
}

fn release(session: &mut Session, names: &[String]) -> Result<u8, CtlError> {
    let mut rows = Vec::new();
    let names = names.to_vec();
    session.ask_all(Op::Release { names }, |reply| match reply {
        Reply::Check(row) => {
            rows.push(row);
            true
        }
        _ => false,
    })?;
    if session.json {
        session.print_json_array(&rows)?;
        return Ok(exit::OK);
    }
    let what = match &*rows {
        [] => {
            let none = "none of these checks was held or in quarantine";
            session.screen.note("note", none);
            return Ok(exit::OK);
        }
        [row] => escape(&row.name).into_owned(),
        rows => count(rows.len() as u64, "check"),
    };
    session.screen.print_line(&format!("released {what}"))?;
    Ok(exit::OK)
}

fn verify(session: &mut Session, file: &Path) -> Result<u8, CtlError> {
    // Constructors of the file run in the probe: one may crash it, or never return.
    let limit = session.timeout().unwrap_or(PROBE_LIMIT);
    let helper = Helper {
        limit: Some(limit),
        ..Helper::default()
    };
    let ended = helper.run(&[OsStr::new("--probe"), file.as_os_str()])?;
    let refused = |reason| Probe {
        ok: false,
        reason,
        plugins: Vec::new(),
    };
    let probe = match ended.killed_by() {
        _ if !ended.in_time => {
            let limit = time::duration(limit.as_millis() as u64);
            refused(format!("loading it does not end within {limit}"))
        }
        Some(signal) => refused(format!("loading it crashes: {signal}")),
        None => ended.answer()?,
    };
    if session.json {
        session.print_json(&probe)?;
        return Ok(if probe.ok { exit::OK } else { exit::CRITICAL });
    }
    if !probe.ok {
        return Err(CtlError::PluginRefused {
            file: file.to_owned(),
            reason: probe.reason,
        });
    }
    let look = session.screen.look();
    session.screen.print(&plugins::verified(
        &file.to_string_lossy(),
        &probe.plugins,
        &look,
    ))?;
    Ok(exit::OK)
}
