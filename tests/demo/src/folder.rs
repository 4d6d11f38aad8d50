//! The demo's folder: everything it writes is in there, and all of it goes at the end.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The socket in it must stay below the 108 bytes that a Unix address has.
const LONGEST: usize = 60;

pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Folder, String> {
        let mut parent = std::env::temp_dir();
        if parent.as_os_str().len() > LONGEST || !parent.is_absolute() {
            parent = "/tmp".into();
        }
        for n in 0..100 {
            let path = parent.join(format!("healthd-demo-{}-{n}", std::process::id()));
            // Others may pass through: PostgreSQL, started by root, runs as another user.
            match std::fs::DirBuilder::new().mode(0o711).create(&path) {
                Ok(()) => {
                    let folder = Folder(path);
                    for (name, mode) in [("plugins", 0o755), ("run", 0o755), ("state", 0o755)] {
                        folder.dir(name, mode)?;
                    }
                    return Ok(folder);
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(format!("{}: {e}", path.display())),
            }
        }
        Err(format!("{}: no free name", parent.display()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whatever the umask says: healthd refuses plugins that others may write.
    pub fn dir(&self, name: &str, mode: u32) -> Result<PathBuf, String> {
        let path = self.path(name);
        std::fs::create_dir(&path)
            .and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path(name);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    pub fn copy(&self, from: &Path, to: &str) -> Result<(), String> {
        let path = self.path(to);
        std::fs::copy(from, &path)
            .and_then(|_| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)))
            .map_err(|e| format!("{} to {}: {e}", from.display(), path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("demo: {} stays behind: {e}", self.0.display());
        }
    }
}
