//! What was told, in memory that the supervisor holds too: so it outlives us, whatever the disk does.

use crate::books::record_log::{Batch, RecordLog, Tail};
use healthd_alerts::Record;
use healthd_sys::memfd;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

const MAGIC: u64 = 0x4844_544F_4C44_0001;
/// A log is written anew when it is so much longer than twice what was in it at first.
pub const SLACK: u64 = 256 << 10;

/// None until there is something to keep.
#[derive(Default)]
pub struct Memory {
    log: Option<RecordLog>,
    whole: u64,
}

impl Memory {
    /// The one that a manager before us has left, and what is in it.
    pub fn open(fd: OwnedFd) -> io::Result<(Memory, Vec<Record>)> {
        let (log, records) = read(File::from(fd), MAGIC)?;
        let whole = log.len();
        let log = Some(log);
        Ok((Memory { log, whole }, records))
    }

    /// Some: it is another memory from now on.
    pub fn add(
        &mut self,
        records: &[Record],
        snapshot: impl FnOnce() -> Vec<Record>,
    ) -> io::Result<Option<Arc<OwnedFd>>> {
        if let Some(log) = &mut self.log
            && log.len() <= SLACK + 2 * self.whole
        {
            log.append(&batch(records))?;
            return Ok(None);
        }
        let mut log = RecordLog::new(File::from(memfd::empty("healthd-told")?), MAGIC)?;
        log.append(&batch(&snapshot()))?;
        let copy = Arc::new(log.as_fd().try_clone_to_owned()?);
        self.whole = log.len();
        self.log = Some(log);
        Ok(Some(copy))
    }
}

pub fn batch(records: &[Record]) -> Batch {
    let mut batch = Batch::default();
    records.iter().for_each(|r| batch.push(&r.encode()));
    batch
}

/// A log and what is in it; half a record at its end is cut off. One that cannot be read is passed over.
pub fn read(file: File, magic: u64) -> io::Result<(RecordLog, Vec<Record>)> {
    let mut records = Vec::new();
    let (log, tail) = RecordLog::read(file, magic, |bytes| {
        match Record::decode(bytes) {
            Ok(record) => records.push(record),
            Err(e) => log::error!("a record of what was told makes no sense: {e}"),
        }
        Ok(())
    })?;
    if tail != Tail::None {
        log.cut_tail()?;
    }
    Ok((log, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(ids: std::ops::Range<u64>) -> Vec<Record> {
        ids.map(Record::NoticeGone).collect()
    }

    fn reopened(memory: &Memory) -> Vec<Record> {
        let log = memory.log.as_ref().expect("a log");
        let fd = log.as_fd().try_clone_to_owned().expect("dup");
        Memory::open(fd).expect("a log").1
    }

    #[test]
    fn it_begins_with_all_and_goes_on_with_what_is_new() {
        let mut memory = Memory::default();
        let first = memory.add(&gone(9..10), || gone(0..3)).expect("memory");
        assert!(first.is_some());
        let next = memory.add(&gone(3..4), || panic!("it is short"));
        assert!(next.expect("memory").is_none());
        assert_eq!(reopened(&memory), gone(0..4));
    }

    #[test]
    fn when_most_of_it_is_out_of_date_it_begins_anew() {
        let mut memory = Memory::default();
        let mut renewed = 0;
        for n in 0..20_000 {
            let added = memory.add(&gone(n..n + 1), || gone(0..2));
            renewed += usize::from(added.expect("memory").is_some());
        }
        assert_eq!(renewed, 3);
        let fd = memfd::empty("t").expect("memory");
        assert!(Memory::open(fd).is_err());
    }
}
