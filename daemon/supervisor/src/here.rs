//! `healthd --here`: a daemon of one's own, without root. Everything it writes lies below `./.healthd`.
//!
//! The first start writes an ordinary config there; from then on it is the user's file, and is only read.

use crate::refusal::{Refusal, exit};
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Below the folder where it was started; `healthctl --here` looks there too.
pub const FOLDER: &str = ".healthd";
const INSTALLED_PLUGINS: &str = "/usr/lib/healthd/plugins";

/// The config to run with; made if there is none.
pub fn config() -> Result<PathBuf, Refusal> {
    let folder = Path::new(FOLDER);
    let config = folder.join("healthd.toml");
    let checks = folder.join("checks.d");
    fs::create_dir_all(&checks).map_err(|e| failed(&checks, e))?;
    let plugins = folder.join("plugins");
    provide(&plugins, &shipped_plugins()).map_err(|e| failed(&plugins, e))?;
    if !config.exists() {
        fs::write(&config, CONFIG).map_err(|e| failed(&config, e))?;
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

fn failed(what: &Path, e: io::Error) -> Refusal {
    let message = format!(
        "cannot make {}: {}",
        what.display(),
        crate::start::plain(&e)
    );
    Refusal::new(exit::CANNOT_CREATE, message)
        .help("`cd` into a folder that this user may write, and start it there")
}

/// Makes the folder of the plugins, beside which the user's own lie, with a link to each shipped one. A file that a
/// group may write, as with umask 002, or that is somebody else's is copied: healthd takes none that others may write,
/// and whoever may write that one may write this program too.
fn provide(folder: &Path, shipped: &Path) -> io::Result<()> {
    let made = fs::DirBuilder::new().mode(0o755).create(folder);
    made.or_else(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(e),
    })?;
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.is_symlink() && !path.exists() {
            fs::remove_file(&path)?;
        }
    }
    let trusted = [0, nix::unistd::getuid().as_raw()];
    for from in shared_objects(shipped) {
        let to = folder.join(from.file_name().unwrap_or_default());
        let about = fs::metadata(&from)?;
        let is_open = about.mode() & 0o022 != 0 || !trusted.contains(&about.uid());
        match fs::symlink_metadata(&to) {
            Err(_) if !is_open => symlink(&from, &to)?,
            Err(_) => copy(&from, &to)?,
            // A copy of ours follows its source.
            Ok(there) if is_open && there.modified()? < about.modified()? => copy(&from, &to)?,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Under another name first: half a file is no plugin.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let half = to.with_extension("half");
    fs::copy(from, &half)?;
    fs::set_permissions(&half, fs::Permissions::from_mode(0o644))?;
    fs::rename(&half, to)
}

/// Those beside this program, as cargo leaves them; else the installed ones.
fn shipped_plugins() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    beside
        .filter(|folder| !shared_objects(folder).is_empty())
        .unwrap_or_else(|| INSTALLED_PLUGINS.into())
}

fn shared_objects(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "so"))
        .collect()
}

/// Its paths are relative to itself.
const CONFIG: &str = "\
# Made by `healthd --here`, and yours to change; see healthd.toml(5).
# Checks go into checks.d/*.toml beside this file: `healthctl --here add` writes them there.

# Plugins of your own go into plugins/ beside it.

[daemon]
plugin_dir = \"plugins\"
runtime_dir = \"run\"
state_dir = \"state\"

[defaults]
interval = \"10s\"
";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn shipped_plugins_are_linked_and_what_a_group_may_write_is_copied() {
        let dir = std::env::temp_dir().join(format!("healthd-here-{}", std::process::id()));
        let (shipped, plugins) = (dir.join("shipped"), dir.join("plugins"));
        fs::create_dir_all(&shipped).expect("our own folder");
        let put = |name: &str, text: &str, mode| {
            let file = shipped.join(name);
            fs::write(&file, text).expect("our own folder");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("our own file");
        };
        put("closed.so", "1", 0o644);
        put("open.so", "1", 0o664);
        put("no-plugin", "1", 0o644);
        provide(&plugins, &shipped).expect("it is ours");
        fs::write(plugins.join("own.so"), "mine").expect("our own folder");
        let read = |name: &str| fs::read_to_string(plugins.join(name)).unwrap_or_default();
        assert!(plugins.join("closed.so").is_symlink());
        assert!(!plugins.join("open.so").is_symlink());
        let mode = fs::metadata(plugins.join("open.so")).expect("it is there");
        assert_eq!(mode.permissions().mode() & 0o777, 0o644);
        // Built anew, and one that is no more.
        put("open.so", "2", 0o664);
        let later = SystemTime::now() + Duration::from_secs(60);
        let file = fs::File::options()
            .write(true)
            .open(shipped.join("open.so"));
        file.and_then(|f| f.set_modified(later))
            .expect("our own file");
        fs::remove_file(shipped.join("closed.so")).expect("our own file");
        provide(&plugins, &shipped).expect("it is ours");
        assert_eq!(
            ["open.so", "own.so", "closed.so"].map(read),
            ["2", "mine", ""]
        );
        let mut names: Vec<_> = fs::read_dir(&plugins)
            .expect("it is there")
            .map(|entry| entry.expect("a name").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["open.so", "own.so"]);
        fs::remove_dir_all(&dir).expect("our own folder");
    }
}
