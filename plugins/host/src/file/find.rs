//! Which files a path or a pattern stands for, and what stat(2) says of each.

use crate::glob;
use healthd_plugin::{Cx, options};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Kind {
        File = "file", Dir = "dir", Link = "link", Fifo = "fifo", Socket = "socket", Block = "block", Char = "char",
    }
}

impl Kind {
    fn of(about: &Metadata) -> Kind {
        let t = about.file_type();
        match t {
            _ if t.is_dir() => Kind::Dir,
            _ if t.is_symlink() => Kind::Link,
            _ if t.is_fifo() => Kind::Fifo,
            _ if t.is_socket() => Kind::Socket,
            _ if t.is_block_device() => Kind::Block,
            _ if t.is_char_device() => Kind::Char,
            _ => Kind::File,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::File => "regular file",
            Kind::Dir => "folder",
            Kind::Link => "symbolic link",
            Kind::Fifo => "FIFO",
            Kind::Socket => "socket",
            Kind::Block => "block device",
            Kind::Char => "character device",
        }
    }
}

#[derive(Debug)]
pub struct Entry {
    pub path: PathBuf,
    pub kind: Kind,
    /// Seconds since it was modified; below 0 if that is in the future.
    pub age: f64,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

pub struct Found {
    pub is_pattern: bool,
    pub entries: Vec<Entry>,
    /// How many match, or are in the folder.
    pub count: u64,
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// More files are not looked at one by one.
const MOST: usize = 100_000;
/// So many unreadable ones are named.
const UNREADABLE: usize = 20;

/// The part of a pattern before its first pattern: the folder that is there in any case.
pub fn fixed_part(path: &Path) -> &Path {
    let is_fixed = |p: &&Path| !glob::is_pattern(&p.to_string_lossy());
    path.ancestors().find(is_fixed).unwrap_or(Path::new("/"))
}

/// NotFound: there is none (of a path without a pattern).
pub fn find(cx: Cx<'_>, path: &Path, follow: bool, counts: bool) -> io::Result<Found> {
    let is_pattern = glob::is_pattern(&path.to_string_lossy());
    let mut found = Found {
        is_pattern,
        entries: Vec::new(),
        count: 0,
        unreadable: Vec::new(),
    };
    if !is_pattern {
        let entry = look(path, follow)?;
        if entry.kind == Kind::Dir && counts {
            for name in std::fs::read_dir(path)? {
                name?;
                found.count += 1;
                if found.count.is_multiple_of(1024) && cx.is_cancelled() {
                    return Err(too_many(found.count));
                }
            }
        }
        found.entries.push(entry);
        return Ok(found);
    }
    let fixed = fixed_part(path);
    let rest = path.strip_prefix(fixed).unwrap_or(path);
    let parts: Vec<&OsStr> = rest.iter().collect();
    walk(cx, fixed, &parts, follow, &mut found)?;
    Ok(found)
}

fn too_many(count: u64) -> io::Error {
    let text = format!("more than {count} entries, no time to read them all");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// What matches `parts` below a folder, component by component.
fn walk(
    cx: Cx<'_>,
    folder: &Path,
    parts: &[&OsStr],
    follow: bool,
    found: &mut Found,
) -> io::Result<()> {
    let [part, rest @ ..] = parts else {
        match look(folder, follow) {
            Ok(_) if found.entries.len() == MOST => return Err(too_many(found.count)),
            Ok(entry) => {
                found.count += 1;
                found.entries.push(entry);
            }
            // It has gone, or is a link to nothing.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => found.miss(folder, e),
        }
        return Ok(());
    };
    let pattern = part.to_string_lossy();
    if !glob::is_pattern(&pattern) {
        return walk(cx, &folder.join(part), rest, follow, found);
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(e) => {
            found.miss(folder, e);
            return Ok(());
        }
    };
    for (seen, entry) in entries.enumerate() {
        let name = entry?.file_name();
        let name_text = name.to_string_lossy();
        if seen % 1024 == 1023 && cx.is_cancelled() {
            return Err(too_many(seen as u64));
        }
        // As in a shell, hidden files want a pattern of their own.
        let is_hidden = name_text.starts_with('.') && !pattern.starts_with('.');
        if !is_hidden && glob::matches(&pattern, &name_text) {
            walk(cx, &folder.join(&name), rest, follow, found)?;
        }
    }
    Ok(())
}

impl Found {
    fn miss(&mut self, path: &Path, e: io::Error) {
        if self.unreadable.len() < UNREADABLE {
            self.unreadable.push((path.to_owned(), e));
        }
    }
}

fn look(path: &Path, follow: bool) -> io::Result<Entry> {
    let about = match follow {
        true => std::fs::metadata(path)?,
        false => std::fs::symlink_metadata(path)?,
    };
    let modified = about.modified()?;
    let age = match SystemTime::now().duration_since(modified) {
        Ok(age) => age.as_secs_f64(),
        Err(future) => -future.duration().as_secs_f64(),
    };
    Ok(Entry {
        path: path.to_owned(),
        kind: Kind::of(&about),
        age,
        size: about.len(),
        mode: about.mode(),
        uid: about.uid(),
        gid: about.gid(),
    })
}

pub fn uid(owner: &str) -> Result<u32, String> {
    if let Ok(uid) = owner.parse() {
        return Ok(uid);
    }
    match nix::unistd::User::from_name(owner) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("owner: there is no user {owner:?}")),
        Err(e) => Err(format!("owner {owner:?}: {e}")),
    }
}

pub fn gid(group: &str) -> Result<u32, String> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("group: there is no group {group:?}")),
        Err(e) => Err(format!("group {group:?}: {e}")),
    }
}

pub fn user_name(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or(uid.to_string(), |u| u.name)
}

pub fn group_name(gid: u32) -> String {
    let group = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
    group.map_or(gid.to_string(), |g| g.name)
}
