//! `history.map`: how the recorder fares, in a page of words. One writer, the recorder; it has the name for as long as
//! one records, so its age tells whether it still does.

use super::maps::{WORD, put_text, words_at};

pub const HISTORY_MAP: &str = "history.map";
/// "HDHISTO1", read as a big-endian number.
pub const HISTORY_MAGIC: u64 = 0x4844_4849_5354_4f31;
pub const HISTORY_VERSION: u64 = 1;
pub const HISTORY_WORDS: usize = 512;
/// The file in `state_dir`.
pub const HISTORY_FILE: &str = "history.db";

pub mod history_word {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const PID: usize = 2;
    /// CLOCK_MONOTONIC of its last turn, ns.
    pub const BEAT: usize = 3;
    /// Events that it could not write before the ring had lost them.
    pub const EVENTS_LOST: usize = 4;
    pub const WRITE_ERRORS: usize = 5;
    /// Bytes of the file, and of its log.
    pub const FILE: usize = 6;
    pub const LOG: usize = 7;
    /// CLOCK_REALTIME, ns, of the oldest event that is not written; 0: all are.
    pub const WAITS_SINCE: usize = 8;
    /// Bytes that both may have together.
    pub const MOST: usize = 9;
    /// Length of the path of the file, and the path.
    pub const PATH_LENGTH: usize = 15;
    pub const PATH: usize = 16;
    pub const PATH_WORDS: usize = HISTORY_WORDS_FOR_PATH;
    const HISTORY_WORDS_FOR_PATH: usize = 480;
}

/// What a reader gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryStatus {
    pub pid: u32,
    pub beat: u64,
    pub events_lost: u64,
    pub write_errors: u64,
    pub file_bytes: u64,
    pub log_bytes: u64,
    pub waits_since: u64,
    pub most_bytes: u64,
    pub path: std::path::PathBuf,
}

/// None: it is no such map.
pub fn read_status(bytes: &[u8]) -> Option<HistoryStatus> {
    use history_word as w;
    use std::os::unix::ffi::OsStrExt;
    let words: [u64; w::PATH] = words_at(bytes, 0)?;
    if words[w::MAGIC] != HISTORY_MAGIC || words[w::VERSION] != HISTORY_VERSION {
        return None;
    }
    let from = w::PATH * WORD;
    let length = usize::try_from(words[w::PATH_LENGTH]).ok()?;
    let path = bytes.get(from..from.checked_add(length)?)?;
    Some(HistoryStatus {
        pid: words[w::PID] as u32,
        beat: words[w::BEAT],
        events_lost: words[w::EVENTS_LOST],
        write_errors: words[w::WRITE_ERRORS],
        file_bytes: words[w::FILE],
        log_bytes: words[w::LOG],
        waits_since: words[w::WAITS_SINCE],
        most_bytes: words[w::MOST],
        path: std::ffi::OsStr::from_bytes(path).into(),
    })
}

/// The words that hold a path, behind its length.
pub fn path_words(path: &str) -> Vec<u64> {
    let mut words = vec![0; history_word::PATH_WORDS];
    put_text(&mut words, path);
    words
}

/// What history may take, level by level: a row's bytes and its share of its page, as they were measured.
pub const ROW_BYTES: u64 = 48;
pub const EVENT_BYTES: u64 = 200;
pub const EVENTS_MOST: u64 = 500_000;

/// A level of roll-ups: so long is a row, and so long is it kept; seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub seconds: u64,
    pub kept: u64,
}

pub const LEVELS: [Level; 3] = [
    Level {
        seconds: 300,
        kept: 48 * 3600,
    },
    Level {
        seconds: 3600,
        kept: 35 * 86400,
    },
    Level {
        seconds: 86400,
        kept: 3 * 366 * 86400,
    },
];

/// Bytes that the roll-ups of so many checks take when all levels are full.
pub fn rows_bytes(checks: u64) -> u64 {
    let rows: u64 = LEVELS.iter().map(|l| l.kept / l.seconds).sum();
    checks * rows * ROW_BYTES
}

/// With as many events as are ever kept.
pub fn full_bytes(checks: u64) -> u64 {
    rows_bytes(checks) + EVENTS_MOST * EVENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_status_or_none() {
        for len in [0, 8, 128, 4096] {
            assert_eq!(read_status(&vec![0xff; len]), None);
        }
        let mut words = vec![0; HISTORY_WORDS];
        words[history_word::MAGIC] = HISTORY_MAGIC;
        words[history_word::VERSION] = HISTORY_VERSION;
        words[history_word::EVENTS_LOST] = 7;
        words[history_word::PATH_LENGTH] = 5;
        words[history_word::PATH..history_word::PATH + history_word::PATH_WORDS]
            .copy_from_slice(&path_words("/a/é"));
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let status = read_status(&bytes).expect("a status");
        assert_eq!((status.events_lost, status.path), (7, "/a/é".into()));
        let mut long = bytes.clone();
        long[history_word::PATH_LENGTH * WORD..][..8].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(read_status(&long), None);
    }

    #[test]
    fn a_hundred_checks_fit_beside_all_events_and_ten_thousand_need_more_than_a_gibibyte() {
        assert!(full_bytes(100) < 128 << 20);
        assert!(full_bytes(10_000) > 1 << 30);
    }
}
