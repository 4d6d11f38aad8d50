//! `add`: a check of one's own in one line. Its block goes into `checks.d`, the daemon reads it, and it runs once.
//!
//! What the daemon refuses is taken away again, so that a mistake here leaves nothing behind.

use crate::args::AddArgs;
use crate::error::CtlError;
use crate::healthd::Helper;
use crate::render::text::escape;
use crate::render::{block, check};
use crate::session::Session;
use crate::{commands::reload, config_file, exit};
use healthd_core::config::pairs;
use healthd_core::wire::control::{CheckRow, ErrorCode, Filter, Op, Reply};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub fn run(session: &mut Session, args: &AddArgs) -> Result<u8, CtlError> {
    let options = pairs::table(&args.options).map_err(CtlError::Options)?;
    if args.config.is_none() && !args.print {
        session.await_start();
    }
    let now = session.screen.look().now;
    let text = block::check(
        &args.name,
        args.title.as_deref(),
        &args.plugin,
        args.interval.as_deref(),
        &options,
        now,
    );
    if args.print {
        session.screen.print(&text)?;
        return Ok(exit::OK);
    }
    let config = match &args.config {
        Some(config) => config.clone(),
        None => session.config_in_force()?,
    };
    if let Some(source) = taken(session, &args.name) {
        let name = args.name.clone();
        return Err(CtlError::Taken { name, source });
    }
    let file = write(&config, &args.name, &text)?;
    match reload::report(session, Op::Reload) {
        Ok(report) => {
            session.screen.print_line(&format!(
                "added {} in {}",
                escape(&args.name),
                escape(&file.to_string_lossy())
            ))?;
            if let Some(others) = reload::beside_one_check(&report) {
                session.screen.note("note", &others);
            }
            first_run(session, &args.name)
        }
        // It may read the file at any time: what then happens is told there.
        Err(error @ CtlError::Unanswered { .. }) => {
            let file = file.display();
            let note = format!("{file} stays; to undo it: remove it, and `healthctl reload`");
            session.screen.note("note", &note);
            Err(error)
        }
        Err(error) if error.is_no_answer() => without_daemon(session, &config, &file, &args.name),
        Err(mut error) => {
            let taken = config_file::taken_away(&file);
            match &mut error {
                CtlError::Answer(refused) if refused.code == ErrorCode::BadConfig => {
                    let mend = "nothing has changed: mend what is named above and say it again";
                    refused.help = format!("{mend}; {taken}");
                }
                _ => session.screen.note("note", &taken),
            }
            Err(error)
        }
    }
}

/// Where the daemon has a check of this name from. None also where it says nothing: then a reload judges.
fn taken(session: &mut Session, name: &str) -> Option<String> {
    let op = Op::Show {
        name: name.to_owned(),
    };
    let detail = session.ask_one(op, "detail", |reply| match reply {
        Reply::Detail(detail) => Some(detail.source),
        _ => None,
    });
    detail.ok()
}

/// The file of this check, which did not exist before.
fn write(config: &Path, name: &str, text: &str) -> Result<PathBuf, CtlError> {
    let folder = config_file::checks_folder(config)?;
    let mut free = (1u32..).map(|n| folder.join(block::file_name(name, n)));
    loop {
        let file = free.next().expect("numbers do not end");
        if config_file::create(&file, text)? {
            return Ok(file);
        }
    }
}

/// It cannot be asked, so the config is judged by the same function, for its next start.
fn without_daemon(
    session: &mut Session,
    config: &Path,
    file: &Path,
    name: &str,
) -> Result<u8, CtlError> {
    // What it says of a good config is said below.
    let line = [OsStr::new("--config"), config.as_os_str(), OsStr::new("-t")];
    let ended = Helper::default().run(&line)?;
    if ended.output.status.code() != Some(0) {
        let taken = config_file::taken_away(file);
        session.screen.note("note", &taken);
        return Ok(exit::CRITICAL);
    }
    session.screen.print_line(&format!(
        "added {} in {}; healthd is not running, so it comes into effect at its start",
        escape(name),
        escape(&file.to_string_lossy())
    ))?;
    Ok(exit::OK)
}

/// What it says the first time; the code is its status, as of `run`.
fn first_run(session: &mut Session, name: &str) -> Result<u8, CtlError> {
    let filter = Filter {
        names: vec![name.to_owned()],
        ..Filter::default()
    };
    let mut row: Option<CheckRow> = None;
    let patience = session.stream_patience();
    session.ask_within(Op::Run(filter), patience, |reply| match reply {
        Reply::Check(one) => {
            row = Some(one);
            true
        }
        Reply::Started { .. } => true,
        _ => false,
    })?;
    let Some(row) = row else {
        return Err(CtlError::Missing { what: "check" });
    };
    if session.json {
        session.print_json(&row)?;
    } else {
        let look = session.screen.look();
        session
            .screen
            .print_line(&check::run_alone(&row, 0, &look))?;
    }
    Ok(exit::of_runs(&[row]))
}
