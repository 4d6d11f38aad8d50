//! Where the plugins' maps outlive a manager: a memfd that the supervisor holds too. Memory, never on a disk, as there
//! may be tokens in it.
//!
//! It is a log of changes, and one is in it before its answer is given; a manager that is killed meanwhile leaves a torn
//! end, which does not count. When most of it is out of date a new log is written whole and takes its place with the
//! supervisor.

use crate::books::record_log::{Batch, RecordLog, Tail};
use healthd_core::objects::maps::{Change, Maps};
use healthd_core::wire::frame::{Get, Put, WireError};
use healthd_sys::memfd;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const MAGIC: u64 = 0x4844_4D41_5053_0002;
/// A log is rewritten when it is so much longer than what is in it.
const SLACK: u64 = 1 << 20;

pub struct Log(RecordLog);

mod tag {
    pub const SET: u8 = 1;
    pub const APPEND: u8 = 2;
    pub const DELETE: u8 = 3;
    pub const DROP: u8 = 4;
    pub const VERSION: u8 = 5;
}

impl Log {
    /// A new one, with these maps in it.
    pub fn of(maps: &Maps) -> io::Result<Log> {
        let file = File::from(memfd::empty("healthd-maps")?);
        let mut log = RecordLog::new(file, MAGIC)?;
        let mut batch = Batch::default();
        maps.changes().for_each(|c| batch.push(&encoded(&c)));
        log.append(&batch)?;
        Ok(Log(log))
    }

    /// The one that another manager has left, and what is in it.
    pub fn open(fd: OwnedFd) -> io::Result<(Log, Maps)> {
        let mut maps = Maps::default();
        let (log, tail) = RecordLog::read(File::from(fd), MAGIC, |mut record| {
            while let Some(change) = decode(&mut record).map_err(io::Error::other)? {
                maps.redo(change);
            }
            Ok(())
        })?;
        if tail != Tail::None {
            // Its answer was never given.
            log.cut_tail()?;
        }
        Ok((Log(log), maps))
    }

    pub fn add(&mut self, change: &Change) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.push(&encoded(change));
        self.0.append(&batch)
    }

    /// Most of it is out of date.
    pub fn is_long(&self, maps: &Maps) -> bool {
        self.0.len() > SLACK + 2 * maps.bytes() as u64
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn encoded(change: &Change) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(change, &mut bytes);
    bytes
}

fn encode(change: &Change, out: &mut Vec<u8>) {
    match change {
        Change::Set {
            map,
            key,
            value,
            version,
            until_ns,
        } => {
            Put::record(out, tag::SET)
                .text(map)
                .text(key)
                .bytes(value)
                .u64(*version)
                .u64(*until_ns);
        }
        Change::Append {
            list,
            value,
            version,
            until_ns,
        } => {
            Put::record(out, tag::APPEND)
                .text(list)
                .bytes(value)
                .u64(*version)
                .u64(*until_ns);
        }
        Change::Delete { map, key } => {
            Put::record(out, tag::DELETE).text(map).text(key);
        }
        Change::Drop { map } => {
            Put::record(out, tag::DROP).text(map);
        }
        Change::Version(version) => {
            Put::record(out, tag::VERSION).u64(*version);
        }
    }
}

fn decode(rest: &mut &[u8]) -> Result<Option<Change>, WireError> {
    let Some((tag, mut g)) = Get::record(rest)? else {
        return Ok(None);
    };
    Ok(Some(match tag {
        tag::SET => Change::Set {
            map: g.text()?.to_owned(),
            key: g.text()?.to_owned(),
            value: g.bytes()?.to_vec(),
            version: g.u64()?,
            until_ns: g.u64()?,
        },
        tag::APPEND => Change::Append {
            list: g.text()?.to_owned(),
            value: g.bytes()?.to_vec(),
            version: g.u64()?,
            until_ns: g.u64()?,
        },
        tag::DELETE => Change::Delete {
            map: g.text()?.to_owned(),
            key: g.text()?.to_owned(),
        },
        tag::DROP => Change::Drop {
            map: g.text()?.to_owned(),
        },
        tag::VERSION => Change::Version(g.u64()?),
        tag => return Err(WireError::UnknownTag { tag }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::asks::{MapAsk, MapOp};
    use std::os::unix::fs::FileExt;

    fn set(maps: &mut Maps, log: &mut Log, key: &str, value: &[u8]) {
        let ask = MapAsk {
            op: MapOp::Set,
            map: "p/m".into(),
            key: key.into(),
            value: value.into(),
            ..MapAsk::default()
        };
        let (_, change) = maps.ask(&ask, 1);
        log.add(&change.expect("a change")).expect("memory");
    }

    fn reopened(log: &Log) -> (Log, Maps) {
        let fd = log.as_fd().try_clone_to_owned().expect("dup");
        Log::open(fd).expect("a log")
    }

    #[test]
    fn what_is_in_the_log_comes_back_and_half_a_change_does_not() {
        let mut maps = Maps::default();
        let mut log = Log::of(&maps).expect("memory");
        set(&mut maps, &mut log, "a", b"one");
        set(&mut maps, &mut log, "b", &[0, 255]);
        // As if it had been killed in the middle of the next one.
        let file = File::from(log.as_fd().try_clone_to_owned().expect("dup"));
        file.write_all_at(&[7; 40], log.0.len()).expect("memory");
        let (mut log, mut again) = reopened(&log);
        assert_eq!(maps.shown(1), again.shown(1));
        set(&mut again, &mut log, "c", b"three");
        assert_eq!(reopened(&log).1.shown(1)[0].items, 3);
        let whole = Log::of(&again).expect("memory");
        assert!(!whole.is_long(&again));
        assert_eq!(reopened(&whole).1.shown(1), again.shown(1));
    }

    #[test]
    fn rubbish_is_said() {
        assert!(Log::open(memfd::empty("t").expect("memory")).is_err());
        let file = File::from(memfd::empty("t").expect("memory"));
        let mut log = RecordLog::new(file, MAGIC).expect("memory");
        let mut batch = Batch::default();
        batch.push(&[9; 8]);
        log.append(&batch).expect("memory");
        let fd = log.as_fd().try_clone_to_owned().expect("dup");
        assert!(Log::open(fd).is_err());
    }
}
