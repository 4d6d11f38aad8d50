//! `validate`: `healthd -t` judges, by the same function as at start and reload.

use crate::args::ValidateArgs;
use crate::error::CtlError;
use crate::healthd::Helper;
use crate::session::Session;
use crate::{exit, render::text};
use serde::Serialize;
use std::ffi::OsStr;

/// `validate --json`.
#[derive(Serialize)]
struct Validation<'a> {
    ok: bool,
    config: &'a str,
    /// Each mistake or warning as it is shown to people, in order.
    diagnostics: Vec<String>,
}

pub fn run(session: &mut Session, args: &ValidateArgs) -> Result<u8, CtlError> {
    let config = args.config().unwrap_or(session.config());
    let line = [OsStr::new("--config"), config.as_os_str(), OsStr::new("-t")];
    let ended = Helper {
        capture_stderr: session.json,
        ..Helper::default()
    }
    .run(&line)?;
    let stderr = String::from_utf8_lossy(&ended.output.stderr);
    // 78 is EX_CONFIG; any other end means that nothing was judged.
    let ok = match ended.output.status.code() {
        Some(0) => true,
        Some(78) => false,
        _ => return Err(ended.no_answer(&stderr)),
    };
    if session.json {
        let config = config.to_string_lossy();
        let diagnostics = split(&stderr);
        session.print_json(&Validation {
            ok,
            config: &config,
            diagnostics,
        })?;
    } else if ok {
        let said = String::from_utf8_lossy(&ended.output.stdout);
        session.screen.print(&text::escape_lines(&said))?;
    }
    Ok(if ok { exit::OK } else { exit::CRITICAL })
}

/// Each diagnostic begins with `error` or `warning` at the start of a line.
fn split(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        let begins = ["error", "warning"].iter().any(|kind| {
            line.strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with([':', '[']))
        });
        match found.last_mut() {
            Some(last) if !begins => {
                last.push('\n');
                last.push_str(line);
            }
            _ if line.trim().is_empty() => {}
            _ => found.push(line.to_owned()),
        }
    }
    found
        .iter_mut()
        .for_each(|text| text.truncate(text.trim_end().len()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_a_diagnostic() {
        let text = "error: unknown key `x`\n  --> a.toml:1:1\n1 | x = 1\n\nwarning: runs as root\nerror[E1]: no\n\n";
        assert_eq!(
            split(text),
            [
                "error: unknown key `x`\n  --> a.toml:1:1\n1 | x = 1",
                "warning: runs as root",
                "error[E1]: no"
            ]
        );
        assert!(split("\n").is_empty());
    }
}
