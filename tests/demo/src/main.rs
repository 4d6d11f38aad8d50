//! `cargo demo`: builds everything, then runs healthd in a folder of its own against servers of its own.
//!
//! On a terminal it shows a live table, in a pipe plain lines, until Ctrl-C; with `--once` it ends by itself
//! when every check has a verdict. It leaves nothing behind.

#![forbid(unsafe_code)]

mod daemon;
mod folder;
mod picture;
mod postgres;
mod programs;
mod scene;
mod screen;
mod screenshots;
mod show;
mod web;

use daemon::Daemon;
use folder::Folder;
use programs::Programs;
use scene::Scene;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Runs healthd with checks of every kind against servers of its own, without root, in a temporary folder.

Usage: cargo demo [OPTIONS]

Options:
  --once             end when every check has a verdict; exit code 0
  --lines            plain lines, as in a pipe, on a terminal too
  --debug            build without optimisation: sooner ready, slower checks
  --picture FILE     write an SVG, a picture of the live table in each mood of the web server, and end
  --screenshots DIR  write pictures of healthd's page, as Chromium shows it, and end
  --programs DIR     take healthd, healthctl and the plugins from DIR instead of building them
  -h, --help         this text
";

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("demo: {wrong}\n\n{HELP}");
            return ExitCode::from(64);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Args {
    once: bool,
    lines: bool,
    debug: bool,
    picture: Option<PathBuf>,
    screenshots: Option<PathBuf>,
    programs: Option<PathBuf>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--once" => args.once = true,
            "--lines" => args.lines = true,
            "--debug" => args.debug = true,
            "--picture" => {
                let file = words.next().ok_or("--picture needs a file")?;
                args.picture = Some(file.into());
            }
            "--screenshots" => {
                let dir = words.next().ok_or("--screenshots needs a folder")?;
                args.screenshots = Some(dir.into());
            }
            "--programs" => {
                let dir = words.next().ok_or("--programs needs a folder")?;
                args.programs = Some(dir.into());
            }
            "-h" | "--help" => return Ok(None),
            _ => return Err(format!("unknown argument `{word}`")),
        }
    }
    Ok(Some(args))
}

fn run(args: &Args) -> Result<(), String> {
    let programs = match &args.programs {
        Some(dir) => Programs::in_folder(dir)?,
        None => Programs::build(!args.debug)?,
    };
    // From here on Ctrl-C is ours to handle: what is started below must be ended again.
    let (events, inbox) = show::channel()?;
    let folder = Folder::new()?;
    let scene = Scene::set(&folder, &programs, !args.once)?;
    let daemon = Daemon::start(&folder, &programs)?;
    let shown = match (&args.picture, &args.screenshots) {
        (Some(file), _) => show::picture(file, &scene, &daemon, &events, &inbox),
        (None, Some(into)) => screenshots::take(into, &scene, &folder),
        (None, None) => show::run(args.once, args.lines, &scene, &daemon, &events, &inbox),
    };
    // A daemon that has failed explains more than the client that has lost it.
    let stopped = daemon.stop();
    drop(scene);
    drop(folder);
    stopped.and_then(|how| shown.map(|()| how)).map(|how| {
        show::say(&how);
    })
}
