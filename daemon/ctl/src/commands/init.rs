//! `init`: from a machine to a configuration of it. Each server is asked once, and what is written down has answered.

use super::doctor::has_unit;
use super::try_plugin;
use crate::args::InitArgs;
use crate::error::CtlError;
use crate::healthd::Helper;
use crate::init::file::{self, Head};
use crate::init::{Candidate, Tried, Way, listeners, services};
use crate::render::text::{count, escape};
use crate::session::Session;
use crate::{config_file, exit, plugin_file};
use healthd_catalog::RealFiles;
use healthd_core::check::outcome::Status;
use healthd_core::config::daemon_paths;
use healthd_core::text::word;
use healthd_core::wire::control::CheckDetail;
use rustix::stdio::stdin;
use rustix::termios::isatty;
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use toml::Value;

const FILE: &str = "this-machine.toml";
const SCHEMA: &str = "/usr/share/healthd/healthd.schema.json";
/// Every key with its default, in comments.
const DEFAULT_CONFIG: &str = include_str!("../../../../etc/healthd.toml");
/// Plenty for what is on the same machine.
const TRY_WITHIN: &str = "3s";

pub fn run(session: &mut Session, args: &InitArgs) -> Result<u8, CtlError> {
    let config = args
        .config
        .clone()
        .unwrap_or_else(|| session.config().to_owned());
    let folder = config.with_file_name("checks.d");
    let to = folder.join(FILE);
    if to.exists() && !args.print {
        return Err(CtlError::Exists { file: to });
    }
    if !args.print {
        config_file::is_writable(&config)?;
        is_installed(session, &config)?;
    }
    let asks = !args.yes
        && !args.print
        && !session.json
        && session.screen.has_progress()
        && isatty(stdin());
    let plugins = plugins(session, &config)?;
    let mut candidates = services::of_machine(Path::new("/"));
    candidates.extend(services::of_listeners(&listeners::find(Path::new("/proc"))));
    let mut taken: Vec<Tried> = Vec::new();
    for candidate in candidates {
        let progress = format!("{} ...", candidate.found);
        session.screen.progress(&progress);
        let Some(tried) = first_that_is_well(&candidate, &plugins) else {
            if !args.print {
                let left = format!("left out: {}, and no plugin could ask it", candidate.found);
                session.screen.note("note", &left);
            }
            continue;
        };
        if !asks || wanted(session, &tried)? {
            taken.push(tried);
        }
    }
    session.screen.clear_progress();
    let mail = match (&args.mail, asks) {
        (None, true) => answer(
            session,
            "Tell somebody of problems by mail? Address, or nothing: ",
        )?,
        (mail, _) => mail.clone().filter(|mail| !mail.is_empty()),
    };
    let now = session.screen.look().now;
    let head = Head {
        schema: Path::new(SCHEMA).is_file().then_some(SCHEMA),
        now,
        mail: mail.as_deref(),
    };
    let text = file::text(&head, &taken);
    if args.print {
        session.screen.print(&text)?;
        return Ok(exit::OK);
    }
    write(session, &config, &to, &text, &taken)
}

/// All or nothing: what healthd would refuse is taken away again.
fn write(
    session: &mut Session,
    config: &Path,
    to: &Path,
    text: &str,
    taken: &[Tried],
) -> Result<u8, CtlError> {
    let here = session.is_here() && config == session.config();
    let mut made = Vec::new();
    config_file::folder_of(config)?;
    if here {
        // The configuration of `healthd --here` is made by that.
        let quiet = Helper {
            capture_stderr: true,
            ..Helper::default()
        };
        quiet.run(&["--here".as_ref(), "-t".as_ref()])?;
    } else if config_file::create(config, DEFAULT_CONFIG)? {
        made.push(config.to_owned());
    }
    config_file::checks_folder(config)?;
    if !config_file::create(to, text)? {
        return Err(CtlError::Exists {
            file: to.to_owned(),
        });
    }
    made.push(to.to_owned());
    let line = [OsStr::new("--config"), config.as_os_str(), OsStr::new("-t")];
    let ended = Helper::default().run(&line)?;
    if ended.output.status.code() != Some(0) {
        for file in &made {
            let gone = config_file::taken_away(file);
            session.screen.note("note", &gone);
        }
        return Ok(exit::CRITICAL);
    }
    if session.json {
        session.print_json(&Written::of(&made, taken))?;
        return Ok(exit::OK);
    }
    for file in &made {
        let shown = escape(&file.to_string_lossy()).into_owned();
        let what = match file == to {
            true => format!(": {}", count(taken.len() as u64, "check")),
            false => String::new(),
        };
        session.screen.print_line(&format!("wrote {shown}{what}"))?;
    }
    let next = match (session.is_answered(), here) {
        (true, true) => "healthctl --here reload".to_owned(),
        (true, false) => "healthctl reload".to_owned(),
        (false, true) => "healthd --here &".to_owned(),
        (false, false) if has_unit() => "systemctl enable --now healthd".to_owned(),
        (false, false) => format!("healthd --config {} &", word(&config.to_string_lossy())),
    };
    session.screen.print_line(&format!("next: {next}"))?;
    Ok(exit::OK)
}

/// `init --json`.
#[derive(Serialize)]
struct Written<'a> {
    files: &'a [PathBuf],
    checks: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    plugin: &'a str,
    found: &'a str,
    said: &'a str,
}

impl<'a> Written<'a> {
    fn of(files: &'a [PathBuf], taken: &'a [Tried]) -> Written<'a> {
        let row = |tried: &'a Tried| Row {
            name: &tried.candidate.name,
            plugin: tried.way.plugin,
            found: &tried.candidate.found,
            said: &tried.said,
        };
        Written {
            files,
            checks: taken.iter().map(row).collect(),
        }
    }
}

/// Whether a configuration that is made here has plugins, before anybody has answered questions about it.
fn is_installed(session: &Session, config: &Path) -> Result<(), CtlError> {
    let here = session.is_here() && config == session.config();
    if here || config.is_file() {
        return Ok(());
    }
    let folder = daemon_paths(config, &RealFiles).plugin_dir;
    match plugin_file::holds_any(&folder) {
        true => Ok(()),
        false => Err(CtlError::NotInstalled { folder }),
    }
}

/// Each plugin and its file.
fn plugins(session: &mut Session, config: &Path) -> Result<HashMap<String, PathBuf>, CtlError> {
    let folder = match config.is_file() {
        true => daemon_paths(config, &RealFiles).plugin_dir,
        false => plugin_file::folder(),
    };
    session.screen.progress("the plugins ...");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let mut plugins = HashMap::new();
    for file in files.filter(|path| path.extension().is_some_and(|e| e == "so")) {
        let probe = plugin_file::probe(&file, None)?;
        let names = probe.plugins.into_iter().map(|plugin| plugin.name);
        plugins.extend(names.map(|name| (name, file.clone())));
    }
    match plugins.is_empty() {
        true => Err(CtlError::NoPlugins { folder }),
        false => Ok(plugins),
    }
}

/// None: no way of asking it is well, and it is no part of the machine.
fn first_that_is_well(candidate: &Candidate, plugins: &HashMap<String, PathBuf>) -> Option<Tried> {
    candidate.ways.iter().find_map(|way| {
        let tried = try_once(way, plugins.get(way.plugin)?)?;
        let status = tried.row.status?;
        let is_taken = status == Status::Ok
            // A disk that is nearly full is a finding, and what cannot be looked at is none.
            || candidate.is_machine && status != Status::Unknown;
        is_taken.then(|| Tried {
            candidate: candidate.clone(),
            way: way.clone(),
            said: {
                let message = tried.row.message.as_deref().unwrap_or_default();
                format!("It said: {}: {message}", status.as_str())
            },
        })
    })
}

/// None: it could not be run.
fn try_once(way: &Way, file: &Path) -> Option<CheckDetail> {
    let options: Vec<String> = (way.options.iter())
        .map(|(key, value)| match value {
            // As it is: what is no TOML is text.
            Value::String(text) if !looks_like_toml(text) => format!("{key}={text}"),
            value => format!("{key}={value}"),
        })
        .collect();
    let words = ["--plugin", way.plugin, "--timeout", TRY_WITHIN];
    let mut line = vec![OsStr::new("--try"), file.as_os_str()];
    line.extend(words.map(OsStr::new));
    line.extend(options.iter().map(OsStr::new));
    let helper = Helper {
        capture_stderr: true,
        ..Helper::default()
    };
    try_plugin::once(&helper, file, &line).ok().flatten()
}

fn looks_like_toml(text: &str) -> bool {
    format!("v = {text}").parse::<toml::Table>().is_ok()
}

fn wanted(session: &mut Session, tried: &Tried) -> Result<bool, CtlError> {
    let Tried {
        candidate,
        way,
        said,
    } = tried;
    let line = format!("{}. {said}", candidate.found);
    session.screen.print_prose(&escape(&line), "")?;
    let question = format!(
        "  watch it as `{}` with `{}`? [Y/n] ",
        candidate.name, way.plugin
    );
    let said = answer(session, &question)?;
    Ok(!said.is_some_and(|said| said.to_lowercase().starts_with('n')))
}

/// A line of whoever sits there; None: nothing was typed.
fn answer(session: &mut Session, question: &str) -> Result<Option<String>, CtlError> {
    session.screen.print(question)?;
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        // Ctrl-D.
        Ok(0) => Err(CtlError::Options(
            "nothing is written: the answers have ended".into(),
        )),
        Ok(_) => Ok(Some(line.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) => Err(CtlError::Output(error)),
    }
}
