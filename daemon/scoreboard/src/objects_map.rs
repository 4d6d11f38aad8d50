//! `objects.map`: counters and arrays of plugins, written by every worker at once.
//!
//! There is no lock that the dead could hold. A name is claimed in steps, each one compare-and-swap, and each step
//! that somebody left undone is done by whoever comes next for any reason; so a process may be killed at any
//! instruction. Nothing is ever given back, which is why no step can be mistaken for another (no ABA): keys and names
//! are written once, and the allocation word only grows.

use super::map::{Map, read_words};
use healthd_core::wire::objects_map::{
    Allocation, CELLS_AT, Extent, FILE, HEADER_WORDS, MAGIC, NAMES, RECORD_WORDS, VERSION, WORDS,
    header, key_of, name_of, name_words, record, record_at,
};
use healthd_sys::files;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub struct ObjectsMap {
    map: Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    BadName,
    /// Another size was asked for when the name was first claimed.
    OtherSize {
        there: u32,
    },
    NoRoomForNames,
    NoRoomForCells,
    /// Somebody has scribbled over the map.
    Broken,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::BadName => f.write_str("not a name of a counter"),
            ClaimError::OtherSize { there } => {
                write!(f, "this name has {there} cells since the daemon's start")
            }
            ClaimError::NoRoomForNames => write!(f, "{FILE} has no room for more names"),
            ClaimError::NoRoomForCells => write!(f, "{FILE} has no room for more cells"),
            ClaimError::Broken => write!(f, "{FILE} was scribbled over"),
        }
    }
}

/// So often a step is tried again because others were faster. Each failure is another's success, so a whole map never
/// needs as many; one that is scribbled over while we look does.
const TRIES: u32 = 1_000_000;

impl ObjectsMap {
    /// A new one, in place of what was there.
    pub fn create(dir: &Path, mode: u32) -> io::Result<ObjectsMap> {
        let map = Map::create(&dir.join(FILE), WORDS, mode)?;
        map.set(header::VERSION, VERSION);
        map.set(header::MAGIC, MAGIC);
        Ok(ObjectsMap { map })
    }

    /// The one that the daemon has made.
    pub fn open(dir: &Path) -> io::Result<ObjectsMap> {
        let path = dir.join(FILE);
        ObjectsMap::known(Map::open(&path, WORDS)?)
    }

    /// For a process that has no way to it: see `join`.
    pub fn open_file(dir: &Path) -> io::Result<File> {
        Map::open_file(&dir.join(FILE))
    }

    pub fn join(file: &File) -> io::Result<ObjectsMap> {
        ObjectsMap::known(Map::join(file, Path::new(FILE), WORDS)?)
    }

    fn known(map: Map) -> io::Result<ObjectsMap> {
        if map.get(header::MAGIC) != MAGIC || map.get(header::VERSION) != VERSION {
            let why = format!("{}: not a map of this version", map.path().display());
            return Err(io::Error::other(why));
        }
        Ok(ObjectsMap { map })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.map.words()[at]
    }

    /// The cells of a name, which all who name it share; new ones are 0.
    pub fn claim(&self, name: &str, cells: u32) -> Result<Extent, ClaimError> {
        let words = name_words(name).ok_or(ClaimError::BadName)?;
        Extent::new(0, cells).ok_or(ClaimError::NoRoomForCells)?;
        let key = key_of(name);
        // Every process takes the same way, and passes a record only for what never changes: another key or another
        // name. So a name is in one record only.
        for step in 0..NAMES {
            let index = (key as usize).wrapping_add(step) % NAMES;
            let at = record_at(index);
            let there = self.swap(at + record::KEY, 0, key).err().unwrap_or(key);
            if there != key {
                continue;
            }
            // The key alone is not the name: of two with one key, the first to write a word that the other has not
            // goes on here.
            let ours = words.iter().enumerate().all(|(i, word)| {
                self.swap(at + record::NAME + i, 0, *word)
                    .map_or_else(|there| there == *word, |_| true)
            });
            if ours {
                return self.extent(index, cells);
            }
        }
        Err(ClaimError::NoRoomForNames)
    }

    fn extent(&self, index: usize, cells: u32) -> Result<Extent, ClaimError> {
        for _ in 0..TRIES {
            let word = self.word(header::ALLOCATION).load(SeqCst);
            let free = Allocation::from_word(word).ok_or(ClaimError::Broken)?;
            let given = self.word(record_at(index) + record::EXTENT).load(SeqCst);
            if given != 0 {
                let extent = Extent::from_word(given).ok_or(ClaimError::Broken)?;
                return match extent.cells {
                    there if there == cells => Ok(extent),
                    there => Err(ClaimError::OtherSize { there }),
                };
            }
            let next = match free.pending {
                // Whoever began this is dead, or slow: done for it, in its order.
                Some((record, cells)) => {
                    let extent =
                        Extent::new(free.next, u32::from(cells)).ok_or(ClaimError::Broken)?;
                    let at = record_at(usize::from(record)) + record::EXTENT;
                    let _ = self.swap(at, 0, extent.to_word());
                    Allocation {
                        next: free.next + extent.cells,
                        pending: None,
                    }
                }
                None => {
                    let extent = Extent::new(free.next, cells).ok_or(ClaimError::NoRoomForCells)?;
                    Allocation {
                        next: free.next,
                        pending: Some((index as u16, extent.cells as u16)),
                    }
                }
            };
            let _ = self.swap(header::ALLOCATION, word, next.to_word());
        }
        Err(ClaimError::Broken)
    }

    /// Err: what is there instead.
    fn swap(&self, at: usize, from: u64, to: u64) -> Result<u64, u64> {
        fuse::burn();
        self.word(at).compare_exchange(from, to, SeqCst, SeqCst)
    }

    /// None: there is no such cell, whatever the handle says.
    pub fn cell(&self, extent: Extent, cell: u32) -> Option<&AtomicU64> {
        Some(self.word(extent.word_of(cell)?))
    }
}

/// A counter or an array, as far as it can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub cells: u32,
    /// The first of them.
    pub values: Vec<u64>,
}

/// Everything in the map, by pread: it may be changed, or broken, while it is read. The second is the number of
/// records that make no sense.
pub fn list(dir: &Path) -> io::Result<(Vec<Listed>, usize)> {
    let file = files::open(&dir.join(FILE))?;
    let head: [u64; HEADER_WORDS] = read_words(&file, 0)?;
    if head[header::MAGIC] != MAGIC || head[header::VERSION] != VERSION {
        return Err(io::Error::other(format!("{FILE} is not what it should be")));
    }
    let mut listed = Vec::new();
    let mut broken = 0;
    for index in 0..NAMES {
        let words: [u64; RECORD_WORDS] = read_words(&file, record_at(index))?;
        if words[record::KEY] == 0 {
            continue;
        }
        let name = name_of(&words[record::NAME..]);
        let (Some(name), Some(extent)) = (name, Extent::from_word(words[record::EXTENT])) else {
            broken += 1;
            continue;
        };
        let values = (0..extent.cells.min(SHOWN))
            .map(|cell| {
                read_words::<1>(&file, CELLS_AT + (extent.first + cell) as usize).map(|[v]| v)
            })
            .collect::<io::Result<Vec<u64>>>()?;
        listed.push(Listed {
            name,
            cells: extent.cells,
            values,
        });
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((listed, broken))
}

/// So many values of an array are shown.
const SHOWN: u32 = 16;

/// In tests a process can be made to die before any of its steps.
mod fuse {
    #[cfg(test)]
    thread_local! {
        pub static LEFT: std::cell::Cell<u64> = const { std::cell::Cell::new(u64::MAX) };
    }

    pub fn burn() {
        #[cfg(test)]
        LEFT.with(|left| {
            assert!(left.get() != 0, "killed here");
            left.set(left.get() - 1);
        });
    }
}

#[cfg(test)]
mod tests;
