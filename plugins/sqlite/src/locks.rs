//! Who holds a lock on a database, as the kernel's table of locks has it: SQLite only says that somebody does.

use crate::file::beside;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// "python3 (pid 42), which writes". None: nobody is seen, as its lock has gone or it is another machine's.
pub fn who_locks(path: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/locks").ok()?;
    // In write-ahead mode the locks are on the index.
    [path.to_owned(), beside(path, "-shm")]
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .find_map(|about| {
            let lock = holder(&table, about.dev(), about.ino(), std::process::id())?;
            let name = std::fs::read_to_string(format!("/proc/{}/comm", lock.pid));
            let name = name.map_or_else(|_| "a process".into(), |n| n.trim().to_owned());
            let how = match lock.writes {
                true => "which writes or is about to",
                false => "which reads",
            };
            let stopped = match is_stopped(lock.pid) {
                true => " and is stopped",
                false => "",
            };
            Some(format!("{name} (pid {}), {how}{stopped}", lock.pid))
        })
}

#[derive(Debug, PartialEq)]
struct Lock {
    pid: u32,
    writes: bool,
}

/// `1: POSIX  ADVISORY  WRITE 1234 08:02:5678 0 EOF`, see proc(5). A writer rather than a reader, and never ourselves.
fn holder(table: &str, dev: u64, ino: u64, own: u32) -> Option<Lock> {
    // As the kernel splits a device's number (makedev(3)).
    let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & 0xffff_f000);
    let minor = (dev & 0xff) | ((dev >> 12) & 0xffff_ff00);
    let place = format!("{major:02x}:{minor:02x}:{ino}");
    let locks = table.lines().filter_map(|line| {
        let words: Vec<&str> = line
            .split_ascii_whitespace()
            .filter(|w| *w != "->")
            .collect();
        let [_, kind, _, mode, pid, at, ..] = words[..] else {
            return None;
        };
        let pid = pid.parse().ok().filter(|pid| *pid != own)?;
        (at == place && matches!(kind, "POSIX" | "OFDLCK")).then_some(Lock {
            pid,
            writes: mode == "WRITE",
        })
    });
    let mut all: Vec<Lock> = locks.collect();
    all.sort_by_key(|lock| !lock.writes);
    all.into_iter().next()
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_locks() {
        let table = "1: POSIX  ADVISORY  READ  11 08:02:77 1073741826 1073742335\n\
                     2: POSIX  ADVISORY  WRITE 12 08:02:77 1073741825 1073741825\n\
                     2: -> POSIX  ADVISORY  WRITE 13 08:02:78 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 08:02:79 0 EOF\n";
        let dev = 0x0802;
        let lock = |pid, writes| Some(Lock { pid, writes });
        assert_eq!(holder(table, dev, 77, 1), lock(12, true));
        assert_eq!(holder(table, dev, 77, 12), lock(11, false));
        assert_eq!(holder(table, dev, 78, 1), lock(13, true));
        assert_eq!(holder(table, dev, 79, 1), None);
        assert_eq!(holder(table, 0x0803, 77, 1), None);
    }
}
