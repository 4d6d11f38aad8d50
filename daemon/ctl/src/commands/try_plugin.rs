//! `try`: one run of a plugin file, without a daemon.

use crate::args::TryArgs;
use crate::error::CtlError;
use crate::exit;
use crate::healthd::Helper;
use crate::render::detail;
use crate::session::Session;
use healthd_core::wire::control::CheckDetail;
use std::ffi::OsStr;

pub fn run(session: &mut Session, args: &TryArgs) -> Result<u8, CtlError> {
    let mut line = vec![OsStr::new("--try"), args.file.as_os_str()];
    if let Some(plugin) = &args.plugin {
        line.extend([OsStr::new("--plugin"), OsStr::new(plugin)]);
    }
    let timeout = session
        .timeout()
        .map(|time| format!("{}ms", time.as_millis()));
    if let Some(timeout) = &timeout {
        line.extend([OsStr::new("--timeout"), OsStr::new(timeout)]);
    }
    line.extend(args.options.iter().map(OsStr::new));
    let ended = Helper::default().run(&line)?;
    if let Some(signal) = ended.killed_by() {
        return Err(CtlError::PluginCrashed {
            file: args.file.clone(),
            signal,
        });
    }
    if ended.output.stdout.is_empty() && ended.output.status.code() == Some(3) {
        // It has said on standard error why there was nothing to run.
        return Ok(exit::UNKNOWN);
    }
    let tried: CheckDetail = ended.answer()?;
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
