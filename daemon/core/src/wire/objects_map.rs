//! `objects.map`: where its parts stand. Names of counters and arrays, and their cells; no data of the daemon.
//!
//! Plugins write it, by way of their host. A broken one may scribble over all of it, so whoever reads believes
//! nothing: places are held against the bounds here and names against their letters.

/// "HDOBJECT"
pub const MAGIC: u64 = 0x4844_4F42_4A45_4354;
pub const VERSION: u64 = 1;
pub const FILE: &str = "objects.map";

/// Room for so many names.
pub const NAMES: usize = 4096;
/// Room for so many values; a counter has one.
pub const CELLS: usize = 32_768;
/// The largest array.
pub const ARRAY_MAX: u32 = 4096;
/// The longest name, with its scope before it.
pub const NAME_MAX: usize = NAME_WORDS * 7;

pub const HEADER_WORDS: usize = 16;
pub const RECORD_WORDS: usize = 16;
pub const WORDS: usize = HEADER_WORDS + NAMES * RECORD_WORDS + CELLS;
const NAME_WORDS: usize = RECORD_WORDS - record::NAME;

pub mod header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    /// Where the next array begins, and whose it is about to be: see [`super::Allocation`].
    pub const ALLOCATION: usize = 8;
}

pub mod record {
    /// A hash of the name; 0: the record is free.
    pub const KEY: usize = 0;
    /// [`super::Extent`]; 0: not given yet.
    pub const EXTENT: usize = 1;
    pub const NAME: usize = 2;
}

pub const fn record_at(index: usize) -> usize {
    HEADER_WORDS + index * RECORD_WORDS
}

pub const CELLS_AT: usize = record_at(NAMES);

/// The cells of one name. Only made of what lies within the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub first: u32,
    pub cells: u32,
}

impl Extent {
    pub fn new(first: u32, cells: u32) -> Option<Extent> {
        let end = u64::from(first) + u64::from(cells);
        (cells != 0 && cells <= ARRAY_MAX && end <= CELLS as u64).then_some(Extent { first, cells })
    }

    /// Never 0, as it has a cell.
    pub fn to_word(self) -> u64 {
        u64::from(self.first) << 32 | u64::from(self.cells)
    }

    pub fn from_word(word: u64) -> Option<Extent> {
        Extent::new((word >> 32) as u32, word as u32)
    }

    /// The word of the map that holds a cell.
    pub fn word_of(self, cell: u32) -> Option<usize> {
        (cell < self.cells).then(|| CELLS_AT + (self.first + cell) as usize)
    }
}

/// The word through which cells are given out: what is free begins at `next`, and with a record in it these cells are
/// on their way to that record, so that whoever comes next can finish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    pub next: u32,
    pub pending: Option<(u16, u16)>,
}

impl Allocation {
    pub fn to_word(self) -> u64 {
        let (record, cells) = self.pending.map_or((0, 0), |(r, c)| (u64::from(r) + 1, c));
        u64::from(self.next) << 32 | record << 16 | u64::from(cells)
    }

    /// None: no such word is ever written.
    pub fn from_word(word: u64) -> Option<Allocation> {
        let (next, record, cells) = ((word >> 32) as u32, (word >> 16) as u16, word as u16);
        let pending = match record {
            0 => None,
            n if usize::from(n) <= NAMES => Some((n - 1, cells)),
            _ => return None,
        };
        (next as usize <= CELLS).then_some(Allocation { next, pending })
    }
}

/// The words of a name: seven bytes each, and above them how many, so that none is 0. None: it is too long.
pub fn name_words(name: &str) -> Option<[u64; NAME_WORDS]> {
    if name.is_empty() || name.len() > NAME_MAX {
        return None;
    }
    let mut words = [1 << 56; NAME_WORDS];
    for (word, part) in words.iter_mut().zip(name.as_bytes().chunks(7)) {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        bytes[7] = part.len() as u8 + 1;
        *word = u64::from_le_bytes(bytes);
    }
    Some(words)
}

/// The name behind the words; None: it is half written, or was scribbled over.
pub fn name_of(words: &[u64]) -> Option<String> {
    let mut name = Vec::new();
    for word in words {
        let bytes = word.to_le_bytes();
        let len = usize::from(bytes[7]).checked_sub(1).filter(|n| *n <= 7)?;
        name.extend_from_slice(&bytes[..len]);
    }
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic())).then_some(name)
}

/// FNV-1a; never 0.
pub fn key_of(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

/// The name that the map has, from the one that a plugin gave: its own, or one that all plugins share.
pub fn scoped(plugin: &str, name: &str, shared: bool) -> Option<String> {
    let letters = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if name.is_empty() || !name.bytes().all(letters) {
        return None;
    }
    let scope = if shared { "*" } else { plugin };
    let whole = format!("{scope}/{name}");
    (whole.len() <= NAME_MAX).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        for name in ["http/a", "*/b", "x/1234567", &"n".repeat(NAME_MAX)] {
            let words = name_words(name).expect("short enough");
            assert!(words.iter().all(|w| *w != 0));
            assert_eq!(name_of(&words).as_deref(), Some(name));
        }
        assert_eq!(name_words(&"n".repeat(NAME_MAX + 1)), None);
        assert_ne!(name_words("a/ab"), name_words("a/ab\0"));
        assert_eq!(name_of(&[u64::MAX; 14]), None);
        assert_eq!(name_of(&[0; 14]), None);
    }

    #[test]
    fn scopes_do_not_meet() {
        assert_eq!(scoped("http", "x", false).as_deref(), Some("http/x"));
        assert_eq!(scoped("http", "x", true).as_deref(), Some("*/x"));
        for bad in ["", "a b", "a\nb", "\u{e9}", &"n".repeat(NAME_MAX)] {
            assert_eq!(scoped("http", bad, false), None, "{bad}");
        }
    }

    #[test]
    fn words_that_nobody_writes_are_not_believed() {
        assert_eq!(Extent::from_word(0), None);
        assert_eq!(Extent::from_word(u64::MAX), None);
        assert_eq!(Extent::new(CELLS as u32, 1), None);
        assert_eq!(Allocation::from_word(u64::MAX), None);
        for a in [
            Allocation {
                next: 0,
                pending: None,
            },
            Allocation {
                next: 7,
                pending: Some((NAMES as u16 - 1, 4096)),
            },
        ] {
            assert_eq!(Allocation::from_word(a.to_word()), Some(a));
        }
    }
}
