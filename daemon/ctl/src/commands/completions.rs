//! `completions`: the script that a shell reads to complete our command line.

use crate::args::CompletionsArgs;
use crate::complete;
use crate::error::CtlError;
use crate::exit;
use crate::session::Session;

pub fn run(session: &mut Session, args: &CompletionsArgs) -> Result<u8, CtlError> {
    let script = complete::registration(args.shell).ok_or(CtlError::Unsupported {
        what: "completions",
        why: "there are some for bash, elvish, fish, powershell and zsh",
    })?;
    session.screen.print(&String::from_utf8_lossy(&script))?;
    Ok(exit::OK)
}
