//! The files below a folder, and patterns that leave some out.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Shell patterns over paths relative to the root: `*` and `?` stop at `/`, `**` does not.
pub struct Excludes(pub Vec<String>);

impl Excludes {
    pub fn hit(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        self.0
            .iter()
            .any(|pattern| matches(pattern.as_bytes(), path))
    }
}

/// A pattern that fits a folder fits all that is in it.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (pattern, any_depth) = match pattern.strip_prefix(b"**") {
        Some(rest) => (rest, Some(true)),
        None => match pattern.strip_prefix(b"*") {
            Some(rest) => (rest, Some(false)),
            None => (pattern, None),
        },
    };
    if let Some(deep) = any_depth {
        // Least first; the rest of the pattern decides.
        for taken in 0..=path.len() {
            if matches(pattern, &path[taken..]) {
                return true;
            }
            if !deep && path.get(taken) == Some(&b'/') {
                return false;
            }
        }
        return false;
    }
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some((b, _))) => *b == b'/',
        (Some((b'?', pattern)), Some((b, path))) => *b != b'/' && matches(pattern, path),
        (Some((a, pattern)), Some((b, path))) => a == b && matches(pattern, path),
        (Some(_), None) => false,
    }
}

pub struct Walk<'w> {
    pub root: &'w Path,
    pub follow: bool,
    pub excludes: &'w Excludes,
    pub cancelled: &'w dyn Fn() -> bool,
    /// Told of each file, by its path relative to the root.
    pub file: &'w mut dyn FnMut(PathBuf),
    /// Folders that could not be read.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

impl Walk<'_> {
    /// False: cancelled. No recursion: a tree may be deeper than a stack.
    pub fn run(&mut self) -> bool {
        let mut folders = vec![PathBuf::new()];
        let mut seen = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            if (self.cancelled)() {
                return false;
            }
            let read = fs::read_dir(self.root.join(&folder));
            let entries = match read {
                Ok(entries) => entries,
                Err(e) => {
                    self.unreadable.push((folder, e));
                    continue;
                }
            };
            for entry in entries {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(e) => {
                        self.unreadable.push((folder.clone(), e));
                        break;
                    }
                };
                let path = folder.join(entry.file_name());
                if self.excludes.hit(&path) {
                    continue;
                }
                let kind = entry.file_type();
                let is_link = kind.as_ref().is_ok_and(|k| k.is_symlink());
                let is_folder = match is_link && self.follow {
                    false => kind.is_ok_and(|k| k.is_dir()),
                    // A circle of links is gone round once.
                    true => fs::metadata(entry.path())
                        .is_ok_and(|m| m.is_dir() && seen.insert((m.dev(), m.ino()))),
                };
                let is_lost_folder = is_link && self.follow && !is_folder && entry.path().is_dir();
                if is_folder {
                    folders.push(path);
                } else if !is_lost_folder {
                    (self.file)(path);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, hit) in [
            ("*.log", "a.log", true),
            ("*.log", "b/a.log", false),
            ("**.log", "b/a.log", true),
            ("cache", "cache/x/y", true),
            ("cache", "cached", false),
            ("a/?", "a/b", true),
            ("a?b", "a/b", false),
            ("**/tmp", "x/y/tmp/z", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Excludes(vec![pattern.into()]).hit(Path::new(path)),
                hit,
                "{pattern} {path}"
            );
        }
    }
}
