//! Reads a file on from a position, whatever became of the file since.
//!
//! A file is known by device and inode, and by two pieces of what was read: its first bytes, and the last ones before the position. An
//! inode alone is not enough: it is used again, and copytruncate keeps it.

use super::lines::Lines;
use healthd_plugin::serde_json::{Value, json};
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Up to where a file was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    device: u64,
    inode: u64,
    offset: u64,
    /// The first bytes of the file, and those before the offset.
    head: Vec<u8>,
    tail: Vec<u8>,
    /// In the middle of a line that was counted already.
    skips: bool,
}

/// What a run has read.
pub struct Read {
    pub position: Position,
    /// Bytes that are left for the next run.
    pub behind: u64,
    /// What could not be read, in words.
    pub notes: Vec<String>,
}

pub struct Follow<'a> {
    pub path: &'a Path,
    pub from_end: bool,
    /// Bytes to read at most.
    pub most: u64,
    pub is_cancelled: &'a dyn Fn() -> bool,
}

/// So many bytes of head and tail are kept and compared.
const PIECE: u64 = 48;
/// A copy is not known by less than so many bytes.
const LEAST: u64 = 16;
/// So many files of the folder are looked at for the one that was rotated away.
const SIBLINGS: usize = 10_000;
/// The last line end is looked for within so much of the end.
const LAST_LINE: u64 = 64 << 10;

impl Follow<'_> {
    /// The new lines, one by one. NotFound: there is no such file.
    pub fn read(&self, before: Option<&Position>, mut give: impl FnMut(&str)) -> io::Result<Read> {
        let file = open(self.path)?;
        let about = file.metadata()?;
        let here = (about.dev(), about.ino());
        let mut notes = Vec::new();
        let mut most = self.most;
        let start = match before {
            None => self.first(&file, about.len())?,
            Some(before) if (before.device, before.inode) == here && before.is_in(&file)? => {
                before.clone()
            }
            Some(before) => {
                // Another file, or this one begun anew. What was written into the old one after the last run comes first.
                match self.rotated(before)? {
                    Some(old) => {
                        let read = self.rest(&old, before, most, true, &mut give)?;
                        if read.behind > 0 {
                            // There is more of it than one run may read: stay there.
                            return Ok(read);
                        }
                        most = most.saturating_sub(read.position.offset - before.offset);
                    }
                    None => notes.push(format!(
                        "{} was replaced or truncated, and the old one is gone: lines that came last into it are not counted",
                        self.path.display()
                    )),
                }
                Position {
                    device: here.0,
                    inode: here.1,
                    ..Position::default()
                }
            }
        };
        let mut read = self.rest(&file, &start, most, false, &mut give)?;
        read.notes.extend(notes);
        Ok(read)
    }

    /// Where the first run begins.
    fn first(&self, file: &File, size: u64) -> io::Result<Position> {
        let about = file.metadata()?;
        let mut offset = 0;
        if self.from_end {
            // After the last line end, so that a line that is being written is counted as a whole.
            let back = size.min(LAST_LINE);
            let end = piece(file, size - back, back)?;
            let line = end.iter().rposition(|b| *b == b'\n');
            offset =
                size - back + line.map_or(if back == size { 0 } else { back }, |at| at as u64 + 1);
        }
        Position {
            device: about.dev(),
            inode: about.ino(),
            offset,
            ..Position::default()
        }
        .with_pieces(file)
    }

    /// From a position to the end. `is_over`: nobody writes into it any more, so that its last line is whole.
    fn rest(
        &self,
        file: &File,
        from: &Position,
        most: u64,
        is_over: bool,
        give: &mut impl FnMut(&str),
    ) -> io::Result<Read> {
        let mut lines = Lines::new(from.skips);
        let mut at = from.offset;
        let mut buffer = vec![0; 256 << 10];
        let end = from.offset.saturating_add(most);
        let mut is_at_end = false;
        while at < end && !(self.is_cancelled)() {
            let room = (end - at).min(buffer.len() as u64) as usize;
            match file.read_at(&mut buffer[..room], at) {
                Ok(0) => {
                    is_at_end = true;
                    break;
                }
                Ok(n) => {
                    lines.take(&buffer[..n], &mut *give);
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        match is_over && is_at_end {
            true => lines.finish(&mut *give),
            false => at -= lines.left(&mut *give),
        }
        let size = file.metadata()?.len();
        let position = Position {
            offset: at,
            skips: lines.skips(),
            ..from.clone()
        };
        Ok(Read {
            position: position.with_pieces(file)?,
            behind: if is_at_end {
                0
            } else {
                size.saturating_sub(at)
            },
            notes: Vec::new(),
        })
    }

    /// The file that was read until now, under another name in the same folder: moved there, or copied.
    fn rotated(&self, before: &Position) -> io::Result<Option<File>> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        // Of several copies the newest has most of it.
        let mut newest: Option<(i64, File)> = None;
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            // It may be followed without a right to look around.
            Err(_) => return Ok(None),
        };
        for entry in entries.take(SIBLINGS) {
            let path = entry?.path();
            if path == self.path {
                continue;
            }
            let Ok(about) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            if !about.is_file() || about.len() < before.offset {
                continue;
            }
            let is_moved = (about.dev(), about.ino()) == (before.device, before.inode);
            // A copy is known by its content, of which there must be some.
            if !is_moved && before.offset < LEAST {
                continue;
            }
            let Ok(file) = open(&path) else { continue };
            if !before.is_in(&file)? {
                continue;
            }
            if is_moved {
                return Ok(Some(file));
            }
            if newest.as_ref().is_none_or(|(at, _)| about.mtime() >= *at) {
                newest = Some((about.mtime(), file));
            }
        }
        Ok(newest.map(|(_, file)| file))
    }
}

impl Position {
    /// Is this the file that was read, and still as it was up to the offset?
    fn is_in(&self, file: &File) -> io::Result<bool> {
        if file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        let tail = self.offset - self.tail.len() as u64;
        Ok(piece(file, 0, self.head.len() as u64)? == self.head
            && piece(file, tail, self.tail.len() as u64)? == self.tail)
    }

    fn with_pieces(self, file: &File) -> io::Result<Position> {
        let size = self.offset.min(PIECE);
        Ok(Position {
            head: piece(file, 0, size)?,
            tail: piece(file, self.offset - size, size)?,
            ..self
        })
    }

    pub fn to_json(&self) -> Value {
        json!({
            "device": self.device, "inode": self.inode, "offset": self.offset,
            "head": self.head, "tail": self.tail, "skips": self.skips,
        })
    }

    pub fn from_json(value: &Value) -> Option<Position> {
        let number = |key: &str| value.get(key)?.as_u64();
        let bytes = |key: &str| -> Option<Vec<u8>> {
            let one = |v: &Value| u8::try_from(v.as_u64()?).ok();
            value.get(key)?.as_array()?.iter().map(one).collect()
        };
        let position = Position {
            device: number("device")?,
            inode: number("inode")?,
            offset: number("offset")?,
            head: bytes("head")?,
            tail: bytes("tail")?,
            skips: value.get("skips")?.as_bool()?,
        };
        (position.tail.len() as u64 <= position.offset).then_some(position)
    }
}

/// A regular file; anything else would block, or be something else when it is read.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

/// So many bytes from there, or fewer at the end of the file.
fn piece(file: &File, at: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size as usize];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], at + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}
