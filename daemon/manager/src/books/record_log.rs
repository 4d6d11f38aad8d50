//! A log of records that survives a crash at any byte. Before each record stand its length and checksum, so what was
//! written only in part, or damaged, is seen as such and left out. What a record means is its owner's business.
//!
//! The state on disk is kept in one, and the plugins' maps in memory are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

const HEADER: u64 = 8;
/// Length and checksum, 32 bits each.
const FRAME: usize = 8;
/// No owner writes a longer one.
pub const MAX_RECORD: usize = 1 << 20;
/// A longer log is none of ours.
pub const MAX_LOG: u64 = 1 << 30;

pub struct RecordLog {
    file: File,
    /// How much of it counts.
    len: u64,
}

/// Records that are written in one go.
#[derive(Default)]
pub struct Batch(Vec<u8>);

/// What stands after the last good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    None,
    /// A record that was not written to its end, or a place for one: nothing else is behind it.
    Torn(u64),
    /// Something that is no record, and more behind it.
    Damaged(u64),
}

impl Batch {
    pub fn push(&mut self, record: &[u8]) {
        debug_assert!(!record.is_empty() && record.len() <= MAX_RECORD);
        self.0.extend((record.len() as u32).to_le_bytes());
        self.0.extend(crc32fast::hash(record).to_le_bytes());
        self.0.extend(record);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl RecordLog {
    /// A new one, in a file that is empty. `magic` says whose it is, and of which version.
    pub fn new(file: File, magic: u64) -> io::Result<RecordLog> {
        file.write_all_at(&magic.to_le_bytes(), 0)?;
        Ok(RecordLog { file, len: HEADER })
    }

    /// All or nothing: if it fails the log is as it was.
    pub fn append(&mut self, batch: &Batch) -> io::Result<()> {
        if let Err(e) = self.file.write_all_at(&batch.0, self.len) {
            self.file.set_len(self.len)?;
            return Err(e);
        }
        self.len += batch.len() as u64;
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Hands on each record of a log that somebody has left, and takes it over: what follows the last good record is
    /// cut off by the first that is added.
    pub fn read(
        file: File,
        magic: u64,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<(RecordLog, Tail)> {
        let (len, tail) = records(&file, magic, take)?;
        Ok((RecordLog { file, len }, tail))
    }

    /// Only then may anything be added after `read` has found a tail.
    pub fn cut_tail(&self) -> io::Result<()> {
        self.file.set_len(self.len)
    }
}

impl AsFd for RecordLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// How much of the file is good, and what is behind that.
pub fn records(
    file: &File,
    magic: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, Tail)> {
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let size = about.len();
    if size > MAX_LOG {
        return Err(io::Error::other(format!(
            "{size} bytes, more than {MAX_LOG}"
        )));
    }
    let mut from = BufReader::with_capacity(64 << 10, At { file, at: 0 });
    let mut header = [0; HEADER as usize];
    from.read_exact(&mut header)
        .map_err(|_| io::Error::other("no log: it is too short"))?;
    let found = u64::from_le_bytes(header);
    if found != magic {
        return Err(io::Error::other(match found >> 16 == magic >> 16 {
            true => format!(
                "version {} (this healthd reads {})",
                found & 0xffff,
                magic & 0xffff
            ),
            false => "not a log of healthd".to_owned(),
        }));
    }
    let mut good = HEADER;
    let mut record = Vec::new();
    while good < size {
        let rest = size - good;
        let mut frame = [0; FRAME];
        if rest <= FRAME as u64 || from.read_exact(&mut frame).is_err() {
            return Ok((good, Tail::Torn(rest)));
        }
        let word = |at: usize| {
            u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
        };
        let (len, checksum) = (word(0), word(4));
        let behind = rest - FRAME as u64;
        if u64::from(len) > behind {
            return Ok((good, Tail::Torn(rest)));
        }
        if len == 0 || len as usize > MAX_RECORD {
            let blank = frame == [0; FRAME] && is_blank(&mut from);
            let tail = if blank {
                Tail::Torn(rest)
            } else {
                Tail::Damaged(rest)
            };
            return Ok((good, tail));
        }
        record.resize(len as usize, 0);
        from.read_exact(&mut record)?;
        if crc32fast::hash(&record) != checksum {
            let last = u64::from(len) == behind || is_blank(&mut from);
            let tail = if last {
                Tail::Torn(rest)
            } else {
                Tail::Damaged(rest)
            };
            return Ok((good, tail));
        }
        take(&record)?;
        good += (FRAME + record.len()) as u64;
    }
    Ok((good, Tail::None))
}

/// Room that a file system gave before the bytes came reads as zeros.
fn is_blank(from: &mut impl BufRead) -> bool {
    from.bytes().all(|b| matches!(b, Ok(0)))
}

/// The file from a place on, whatever others do with its offset.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_sys::memfd;
    use proptest::prelude::*;

    const MAGIC: u64 = 0x4844_5445_5354_0001;

    fn file(bytes: &[u8]) -> File {
        let file = File::from(memfd::empty("log").expect("memory"));
        file.write_all_at(bytes, 0).expect("memory");
        file
    }

    fn bytes(log: &RecordLog) -> Vec<u8> {
        memfd::read_all(&log.as_fd().try_clone_to_owned().expect("dup")).expect("memory")
    }

    fn read(bytes: &[u8]) -> io::Result<(Vec<Vec<u8>>, Tail)> {
        let mut all = Vec::new();
        let read = records(&file(bytes), MAGIC, |r| {
            all.push(r.to_vec());
            Ok(())
        });
        read.map(|(_, tail)| (all, tail))
    }

    fn log_of(records: &[Vec<u8>]) -> RecordLog {
        let mut log = RecordLog::new(file(b""), MAGIC).expect("memory");
        for record in records {
            let mut batch = Batch::default();
            batch.push(record);
            log.append(&batch).expect("memory");
        }
        log
    }

    fn some_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_crash_at_any_byte_leaves_what_was_whole(records in some_records(), blank in 0_usize..20) {
            let whole = bytes(&log_of(&records));
            for cut in HEADER as usize..=whole.len() {
                // With or without room that the file system gave before.
                for blank in [0, blank] {
                    let mut torn = whole[..cut].to_vec();
                    torn.resize(cut + blank, 0);
                    let (left, tail) = read(&torn).expect("a log");
                    let fits = |n: &usize| {
                        let all: usize = records[..*n].iter().map(|r| FRAME + r.len()).sum();
                        HEADER as usize + all <= cut
                    };
                    let n = (0..=records.len()).rev().find(fits).unwrap_or(0);
                    // What was cut may have been zeros, and then it is whole again.
                    prop_assert!(left.starts_with(&records[..n]), "{left:?}");
                    prop_assert!(records.starts_with(&left), "{left:?}");
                    prop_assert!(!matches!(tail, Tail::Damaged(_)) || blank > 0, "{tail:?}");
                }
            }
        }

        #[test]
        fn no_flipped_bit_makes_another_record(records in some_records(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut damaged = bytes(&log_of(&records));
            let at = HEADER as usize + at.index(damaged.len() - HEADER as usize);
            damaged[at] ^= 1 << bit;
            let (left, tail) = read(&damaged).expect("a log");
            prop_assert!(records.starts_with(&left) && left.len() < records.len(), "{left:?}");
            prop_assert_ne!(tail, Tail::None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut any in proptest::collection::vec(any::<u8>(), 0..200), ours in any::<bool>()) {
            if ours && any.len() >= 8 {
                any[..8].copy_from_slice(&MAGIC.to_le_bytes());
            }
            let _ = read(&any);
        }
    }

    #[test]
    fn a_log_goes_on_after_its_torn_end() {
        let records = [b"one".to_vec(), b"two".to_vec()];
        let mut torn = bytes(&log_of(&records));
        torn.truncate(torn.len() - 1);
        // What is added next is shorter than what was torn: nothing of that may come back.
        let (mut log, tail) = RecordLog::read(file(&torn), MAGIC, |_| Ok(())).expect("a log");
        assert_eq!(tail, Tail::Torn(10));
        log.cut_tail().expect("memory");
        let mut batch = Batch::default();
        batch.push(b"3");
        log.append(&batch).expect("memory");
        let (left, tail) = read(&bytes(&log)).expect("a log");
        assert_eq!(
            (left, tail),
            (vec![b"one".to_vec(), b"3".to_vec()], Tail::None)
        );
    }

    #[test]
    fn what_lies_in_the_middle_is_told_from_a_torn_end() {
        let records = vec![vec![1; 30]; 4];
        let mut damaged = bytes(&log_of(&records));
        damaged[HEADER as usize + 60] ^= 1;
        let (left, tail) = read(&damaged).expect("a log");
        assert_eq!(left.len(), 1);
        assert_eq!(tail, Tail::Damaged(3 * 38));
    }

    #[test]
    fn another_file_is_refused() {
        for (bytes, why) in [
            (&b""[..], "too short"),
            (b"{\"version\":1}", "not a log"),
            (
                &0x4844_5445_5354_0009_u64.to_le_bytes(),
                "version 9 (this healthd reads 1)",
            ),
        ] {
            let e = read(bytes).expect_err("none of ours").to_string();
            assert!(e.contains(why), "{e}");
        }
        let long = file(b"");
        long.set_len(MAX_LOG + 1).expect("sparse");
        let e = records(&long, MAGIC, |_| Ok(())).expect_err("too long");
        assert!(e.to_string().contains("more than"), "{e}");
    }
}
