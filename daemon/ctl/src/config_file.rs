//! Files of a configuration that a command writes: none that is there is touched, and the daemon's user may read them.

use crate::error::CtlError;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Whether a file may be made beside this configuration, before anybody has answered questions about it. Its folder may
/// be made; the one around it has to be there.
pub fn is_writable(config: &Path) -> Result<(), CtlError> {
    let folder = config.parent().filter(|p| !p.as_os_str().is_empty());
    let mut folder = folder.unwrap_or(Path::new("."));
    if !folder.exists() {
        let around = folder.parent().filter(|p| !p.as_os_str().is_empty());
        folder = around.unwrap_or(Path::new("."));
    }
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS) => Err(CtlError::Write {
            file: config.with_file_name("checks.d"),
            error: std::io::ErrorKind::PermissionDenied.into(),
        }),
        Err(rustix::io::Errno::NOENT) => Err(CtlError::NoFolder {
            folder: folder.to_owned(),
        }),
        Err(error) => Err(failed(folder)(error.into())),
        Ok(()) => Ok(()),
    }
}

/// The folder of a configuration; made if there is none, as /etc/healthd before anything is installed.
pub fn folder_of(config: &Path) -> Result<(), CtlError> {
    match config.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) if !folder.exists() => fs::create_dir(folder).map_err(failed(folder)),
        _ => Ok(()),
    }
}

/// `checks.d` beside a configuration; made if there is none, with the rights of the folder around it.
pub fn checks_folder(config: &Path) -> Result<PathBuf, CtlError> {
    let folder = config.with_file_name("checks.d");
    let parent = config.parent().filter(|p| !p.as_os_str().is_empty());
    let around = fs::metadata(parent.unwrap_or(Path::new("."))).map_err(failed(&folder))?;
    if !folder.is_dir() {
        let mode = around.permissions().mode() & 0o777;
        fs::DirBuilder::new()
            .mode(mode)
            .create(&folder)
            .map_err(failed(&folder))?;
        give(&folder, around.gid());
    }
    Ok(folder)
}

/// False: there is a file of this name, and it stays as it is.
pub fn create(file: &Path, text: &str) -> Result<bool, CtlError> {
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty());
    let around = fs::metadata(parent.unwrap_or(Path::new("."))).map_err(failed(file))?;
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        // Whoever may look into the folder may read it: the daemon's user.
        .mode(around.permissions().mode() & 0o644)
        .open(file);
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(file)(error)),
        Ok(mut opened) => {
            give(file, around.gid());
            opened.write_all(text.as_bytes()).map_err(failed(file))?;
            Ok(true)
        }
    }
}

/// What became of it, in words.
pub fn taken_away(file: &Path) -> String {
    let shown = file.display();
    match fs::remove_file(file) {
        Ok(()) => format!("{shown} is taken away again"),
        Err(error) => format!("{shown} could not be taken away again: {error}"),
    }
}

/// As root we may; else it has our group, which is right for a daemon of our own.
fn give(file: &Path, group: u32) {
    let _ = std::os::unix::fs::chown(file, None, Some(group));
}

fn failed(file: &Path) -> impl Fn(std::io::Error) -> CtlError {
    let file = file.to_owned();
    move |error| CtlError::Write {
        file: file.clone(),
        error,
    }
}
