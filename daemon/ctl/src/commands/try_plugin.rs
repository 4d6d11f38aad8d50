//! `try`: one run of a plugin, without a daemon.

use crate::args::TryArgs;
use crate::error::CtlError;
use crate::exit;
use crate::healthd::Helper;
use crate::plugin_file;
use crate::render::detail;
use crate::session::Session;
use healthd_core::wire::control::CheckDetail;
use std::ffi::OsStr;
use std::path::Path;

/// How `healthd --try` ends when there was nothing to run.
const NOT_RUN: i32 = 65;

pub fn run(session: &mut Session, args: &TryArgs) -> Result<u8, CtlError> {
    let file = plugin_file::find(session, &args.plugin_or_file)?;
    // Judged before any of it runs.
    let probe = plugin_file::probe(&file, None)?;
    if !probe.ok {
        let reason = probe.reason;
        session
            .screen
            .error(&CtlError::PluginRefused { file, reason });
        // No run, so no status of one.
        return Ok(exit::UNKNOWN);
    }
    let mut line = vec![OsStr::new("--try"), file.as_os_str()];
    let by_name = probe.plugins.iter().find(|p| p.name == args.plugin_or_file);
    let plugin = args.plugin.as_ref().or(by_name.map(|p| &p.name));
    if let Some(plugin) = plugin {
        line.extend([OsStr::new("--plugin"), OsStr::new(plugin)]);
    }
    if let Some(options) = &args.options_from {
        line.extend([OsStr::new("--options"), options.as_os_str()]);
    }
    let timeout = session
        .timeout()
        .map(|time| format!("{}ms", time.as_millis()));
    if let Some(timeout) = &timeout {
        line.extend([OsStr::new("--timeout"), OsStr::new(timeout)]);
    }
    line.extend(args.options.iter().map(OsStr::new));
    let helper = Helper {
        stdin: args.options_from.as_deref() == Some(Path::new("-")),
        ..Helper::default()
    };
    // If it has nothing to run it has said why on standard error.
    let Some(tried) = once(&helper, &file, &line)? else {
        return Ok(exit::UNKNOWN);
    };
    if session.json {
        session.print_json(&tried)?;
    } else {
        let look = session.screen.look();
        session
            .screen
            .print(&detail::tried(&tried.row, &tried, &look))?;
    }
    Ok(exit::of_runs(&[tried.row]))
}

/// One run, by `healthd --try ...`. None: there was nothing to run.
pub fn once(
    helper: &Helper,
    file: &Path,
    line: &[&OsStr],
) -> Result<Option<CheckDetail>, CtlError> {
    let ended = helper.run(line)?;
    let file = file.to_owned();
    if let Some(signal) = ended.killed_by() {
        return Err(CtlError::PluginCrashed { file, signal });
    }
    match (ended.output.stdout.is_empty(), ended.output.status.code()) {
        (true, Some(NOT_RUN)) => Ok(None),
        (true, Some(code)) => Err(CtlError::PluginExited { file, code }),
        _ => Ok(Some(ended.answer()?)),
    }
}
