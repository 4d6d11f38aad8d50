//! healthctl: asks and steers a running healthd over its control socket.
//!
//! Runs in: healthctl, a short-lived process of its own. It shares the wire types with the daemon, and the
//! form of the history file with the recorder.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod columns;
mod commands;
mod complete;
mod config_file;
mod connection;
mod doctor;
mod error;
mod event_map;
mod exit;
mod healthd;
mod init;
mod interrupt;
mod maps;
mod plugin_file;
mod render;
mod screen;
mod session;
mod wedged;

pub use screen::{Output, Outputs};

use args::{Args, When};
use clap::{CommandFactory, FromArgMatches};
use screen::Screen;
use session::Session;
use std::ffi::OsString;

/// Runs one command line and returns the exit code.
pub fn main(line: impl IntoIterator<Item = OsString>, outputs: Outputs) -> u8 {
    let line: Vec<OsString> = line.into_iter().collect();
    if complete::answered(&line) {
        return exit::OK;
    }
    let mut command = Args::command();
    if let Some((columns, _)) = outputs.size {
        command = command.term_width(columns);
    }
    let parsed = command
        .try_get_matches_from(&line)
        .and_then(|matches| Args::from_arg_matches(&matches));
    let args = match parsed {
        Ok(args) => args,
        Err(error) => return help_or_usage(&error, Screen::new(outputs, color_of(&line), false)),
    };
    let screen = Screen::new(outputs, args.global.color, args.global.wide);
    let mut session = Session::new(screen, &args.global);
    match commands::run(&mut session, &args.command) {
        Ok(code) => code,
        Err(error) => {
            session.screen.error(&error);
            error.exit_code()
        }
    }
}

/// `--help`, `--version`, or what is wrong with the command line.
fn help_or_usage(error: &clap::Error, mut screen: Screen) -> u8 {
    let text = error.render();
    if error.use_stderr() {
        let text = if screen.err_color() {
            text.ansi().to_string()
        } else {
            text.to_string()
        };
        screen.complain(&text);
        // clap would say 2 here, which a caller reads as CRITICAL.
        return exit::UNKNOWN;
    }
    let text = if screen.look().color {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    match screen.print(&text) {
        Ok(()) => exit::OK,
        Err(_) => exit::UNKNOWN,
    }
}

/// What `--color` says in a line that could not be parsed.
fn color_of(line: &[OsString]) -> When {
    let words: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
    let given = words
        .iter()
        .enumerate()
        .find_map(|(i, word)| match word.strip_prefix("--color") {
            Some("") => words.get(i + 1).map(|next| next.to_string()),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        });
    given
        .and_then(|when| <When as clap::ValueEnum>::from_str(&when, true).ok())
        .unwrap_or(When::Auto)
}
