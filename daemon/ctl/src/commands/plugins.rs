//! `plugins`: what is in the plugin directory, the options of each, other bytes for them, whether a file would be loaded, and the end of a
//! quarantine.

use crate::args::{PluginsAction, PluginsArgs};
use crate::error::CtlError;
use crate::exit;
use crate::plugin_file;
use crate::render::text::{count, escape};
use crate::render::{manual, plugins};
use crate::session::Session;
use crate::wedged;
use healthd_core::wire::control::{Op, PluginRow, Reply};
use std::path::Path;

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
        Some(PluginsAction::Show { name, plugin, man }) => {
            show(session, name, plugin.as_deref().unwrap_or(name), *man)
        }
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
    let probe = plugin_file::probe(file, session.timeout())?;
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

/// The options of a plugin, from the plugin itself: for people, as JSON, or as a man page.
fn show(session: &mut Session, word: &str, plugin: &str, man: bool) -> Result<u8, CtlError> {
    let file = plugin_file::find(session, word)?;
    let probe = plugin_file::probe(&file, session.timeout())?;
    if !probe.ok {
        return Err(CtlError::PluginRefused {
            file,
            reason: probe.reason,
        });
    }
    let named = probe.plugins.iter().filter(|p| p.name == plugin);
    let mut shown: Vec<_> = named.collect();
    if shown.is_empty() {
        shown = probe.plugins.iter().collect();
    }
    if session.json {
        session.print_json_array(&shown)?;
        return Ok(exit::OK);
    }
    let look = session.screen.look();
    for plugin in shown {
        let text = match man {
            true => manual::page(plugin),
            false => plugins::page(plugin, &look),
        };
        session.screen.print(&text)?;
    }
    Ok(exit::OK)
}
