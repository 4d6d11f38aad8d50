//! `healthd --here`: a daemon of one's own, without root. Everything it writes lies below `./.healthd`.
//!
//! The first start writes an ordinary config there; from then on it is the user's file, and is only read.

use crate::refusal::{Refusal, exit};
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Below the folder where it was started; `healthctl --here` looks there too.
pub const FOLDER: &str = ".healthd";
const INSTALLED_PLUGINS: &str = "/usr/lib/healthd/plugins";

/// The config to run with; made if there is none.
pub fn config() -> Result<PathBuf, Refusal> {
    let folder = Path::new(FOLDER);
    let config = folder.join("healthd.toml");
    let failed = |what: &Path, e: std::io::Error| {
        let message = format!(
            "cannot make {}: {}",
            what.display(),
            crate::start::plain(&e)
        );
        Refusal::new(exit::CANNOT_CREATE, message)
            .help("`cd` into a folder that this user may write, and start it there")
    };
    let checks = folder.join("checks.d");
    fs::create_dir_all(&checks).map_err(|e| failed(&checks, e))?;
    if !config.exists() {
        let text = format!(
            "{HEAD}plugin_dir = {:?}\n{TAIL}",
            plugins().display().to_string()
        );
        fs::write(&config, text).map_err(|e| failed(&config, e))?;
        eprintln!(
            "made {}; checks go into {}/*.toml",
            config.display(),
            checks.display()
        );
    }
    Ok(config)
}

/// What to type next. Its log goes into a file if it would stand between that, in the same terminal.
pub fn greet() {
    eprintln!(
        "make a check:         healthctl --here add NAME PLUGIN key=value...\n\
         what can be checked:  healthctl --here plugins\n\
         how the checks are:   healthctl --here status"
    );
    if !std::io::stderr().is_terminal() {
        return;
    }
    let log = Path::new(FOLDER).join("healthd.log");
    let opened = fs::File::create(&log);
    match opened {
        Ok(file) => {
            eprintln!("what it logs:         {}", log.display());
            if let Err(e) = nix::unistd::dup2_stderr(file) {
                log::warn!("the log stays here  file={} why=\"{e}\"", log.display());
            }
        }
        Err(e) => {
            let why = crate::start::plain(&e);
            log::warn!("the log stays here  file={} why=\"{why}\"", log.display());
        }
    }
}

/// Those beside this program, as cargo leaves them; else the installed ones.
fn plugins() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    beside
        .filter(|folder| has_plugins(folder))
        .unwrap_or_else(|| INSTALLED_PLUGINS.into())
}

fn has_plugins(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    names
        .map(|entry| entry.file_name())
        .any(|name| name.to_string_lossy().ends_with(".so"))
}

const HEAD: &str = "\
# Made by `healthd --here`, and yours to change; see healthd.toml(5).
# Checks go into checks.d/*.toml beside this file: `healthctl --here add` writes them there.

[daemon]
";
/// Relative to this file.
const TAIL: &str = "\
runtime_dir = \"run\"
state_dir = \"state\"

[defaults]
interval = \"10s\"
";
