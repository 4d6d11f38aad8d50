//! The config's way to the real files, environment and credentials.
//!
//! Runs in: supervisor (start), manager (reload), healthctl (validate). A path in a config may
//! name anything, so nothing here may hang or swallow memory: a FIFO, a device or an endless file
//! is refused. `O_NONBLOCK` lets the open of a FIFO return, and the kind of file is asked of the
//! opened one, so that a swap in between changes nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use healthd_core::config::Files;

/// [`Files`] on the machine itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_capped(path, CONFIG_MAX)
    }

    fn read_secret(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_capped(path, SECRET_MAX)
    }

    fn list_toml(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if is_config(&path) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn passed_over(&self, dir: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut found: Vec<PathBuf> = paths.filter(|p| !is_config(p) && is_meant(p)).collect();
        found.sort();
        found
    }

    fn env(&self, name: &str) -> Option<String> {
        // `var` takes any name, but one with `=` or NUL, or none, can never be set.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        std::env::var(name).ok()
    }

    fn credentials_dir(&self) -> Option<PathBuf> {
        std::env::var_os("CREDENTIALS_DIRECTORY")
            .filter(|d| !d.is_empty())
            .map(PathBuf::from)
    }

    fn cores(&self) -> u16 {
        // Counts the CPU affinity and the cgroup's quota too.
        std::thread::available_parallelism()
            .map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX))
    }
}

/// Editors leave hidden copies (`.#web.toml`): they are no config.
fn is_config(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.ends_with(b".toml") && !name.starts_with(b".")
}

/// Notes for people and for version control are not meant to be read.
fn is_meant(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lower = name.to_lowercase();
    !["readme", ".git", "license", "makefile"]
        .iter()
        .any(|n| lower.starts_with(n))
}

fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !meta.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no plain file",
        ));
    }
    let mut bytes = Vec::new();
    // One byte more tells a full file from one that was cut; the length in `meta` may be a lie
    // (files in /proc have none).
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        let size = meta.len() as f64 / (1 << 20) as f64;
        let text = match meta.len() > cap {
            true => format!("it has {size:.1} MiB, and {} MiB is the most", cap >> 20),
            false => format!("it is larger than {} MiB", cap >> 20),
        };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// About 100,000 lines; beyond that `for_each` is the better way.
const CONFIG_MAX: u64 = 4 << 20;
/// Room for a chain of certificates with its key.
const SECRET_MAX: u64 = 1 << 20;
