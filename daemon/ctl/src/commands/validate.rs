//! `validate`: `healthd -t` judges, by the same function as a reload.

use crate::args::ValidateArgs;
use crate::error::CtlError;
use crate::healthd::Helper;
use crate::session::Session;
use crate::{exit, render::text};
use std::ffi::OsStr;

pub fn run(session: &mut Session, args: &ValidateArgs) -> Result<u8, CtlError> {
    let config = args.config().unwrap_or(session.config());
    let mut line = vec![OsStr::new("--config"), config.as_os_str(), OsStr::new("-t")];
    if session.json {
        line.push(OsStr::new("--json"));
    }
    let ended = Helper {
        capture_stderr: session.json,
        ..Helper::default()
    }
    .run(&line)?;
    // 78 is EX_CONFIG; any other end means that nothing was judged.
    let ok = match ended.output.status.code() {
        Some(0) => true,
        Some(78) => false,
        _ => return Err(ended.no_answer(&String::from_utf8_lossy(&ended.output.stderr))),
    };
    if session.json {
        session.print_json(&ended.answer::<serde_json::Value>()?)?;
    } else if ok {
        let said = String::from_utf8_lossy(&ended.output.stdout);
        session.screen.print(&text::escape_lines(&said))?;
    }
    Ok(if ok { exit::OK } else { exit::CRITICAL })
}
