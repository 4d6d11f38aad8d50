//! `completions`: the script that a shell reads to complete our command line.

use crate::args::{Args, CompletionsArgs};
use crate::error::CtlError;
use crate::exit;
use crate::session::Session;
use clap::CommandFactory;

pub fn run(session: &mut Session, args: &CompletionsArgs) -> Result<u8, CtlError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "healthctl", &mut script);
    session.screen.print(&String::from_utf8_lossy(&script))?;
    Ok(exit::OK)
}
