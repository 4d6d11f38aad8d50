//! The file itself, before SQLite sees it: clear words for what is wrong with it, and whether it is in write-ahead mode.
//!
//! POSIX locks have a trap: closing *any* descriptor of a file drops *all* locks that this process has on it. SQLite
//! knows, and closes late; we must not look into a file ourselves while another run of this process has it open.

use crate::database::Failure;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Device and inode.
type Key = (u64, u64);

/// The files that runs of this process have open now. The outer lock is held for look-ups only, the inner one while
/// the file is read: one on a dead mount must not hold up the others.
static OPEN: Mutex<BTreeMap<Key, Arc<Mutex<Users>>>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Users {
    count: u32,
    write_ahead: bool,
}

/// Which file stands at a path, and when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    key: Key,
    len: u64,
    /// Of content and of all else: seconds and nanoseconds.
    times: [i64; 4],
}

impl Stamp {
    /// No descriptor is opened: closing one would drop locks.
    pub fn of(path: &Path) -> Option<Stamp> {
        let about = std::fs::metadata(path).ok()?;
        Some(Stamp {
            key: (about.dev(), about.ino()),
            len: about.len(),
            times: [
                about.mtime(),
                about.mtime_nsec(),
                about.ctime(),
                about.ctime_nsec(),
            ],
        })
    }
}

/// A file that may now be opened with SQLite. Drop it after the connection.
pub struct InUse {
    key: Key,
    users: Arc<Mutex<Users>>,
    pub write_ahead: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl InUse {
    pub fn new(path: &Path) -> Result<InUse, Failure> {
        let about = std::fs::metadata(path).map_err(Failure::File)?;
        if about.is_dir() {
            return Err(Failure::Folder);
        }
        if !about.is_file() {
            return Err(Failure::NotADatabase);
        }
        if about.len() == 0 {
            return Err(Failure::Empty);
        }
        let key = (about.dev(), about.ino());
        let mut file = InUse {
            key,
            users: lock(&OPEN).entry(key).or_default().clone(),
            write_ahead: false,
        };
        let users = file.users.clone();
        let mut users = lock(&users);
        if users.count == 0 {
            match is_write_ahead(path) {
                Ok(write_ahead) => users.write_ahead = write_ahead,
                Err(e) => {
                    // What Drop takes back.
                    users.count += 1;
                    return Err(e);
                }
            }
        }
        users.count += 1;
        file.write_ahead = users.write_ahead;
        Ok(file)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let left = {
            let mut users = lock(&self.users);
            users.count -= 1;
            users.count
        };
        let mut open = lock(&OPEN);
        // The table's and ours: whoever else wants it must pass the lock we hold.
        if left == 0 && Arc::strong_count(&self.users) == 2 {
            open.remove(&self.key);
        }
    }
}

/// The file format: 16 bytes of magic, two of page size, then the write and the read version; 2 is write-ahead.
fn is_write_ahead(path: &Path) -> Result<bool, Failure> {
    let mut file = File::open(path).map_err(Failure::File)?;
    let mut head = [0; 20];
    if file.read_exact(&mut head).is_err() || !head.starts_with(b"SQLite format 3\0") {
        return Err(Failure::NotADatabase);
    }
    Ok(head[18] == 2 || head[19] == 2)
}

/// Why there is no room for the files that SQLite opens at once: the database, a log, its index, one for sorting.
/// None: there is. The files themselves are left alone, as closing one drops its locks.
pub fn no_descriptors() -> Option<io::Error> {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    let pairs = [UnixStream::pair(), UnixStream::pair()];
    pairs
        .into_iter()
        .filter_map(Result::err)
        .find(|e| matches!(e.raw_os_error(), Some(EMFILE | ENFILE)))
}

/// `/a/b.db` and `-wal`: `/a/b.db-wal`.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_use_is_not_read_again() {
        let folder = healthd_testing::Folder::new();
        let mut head = b"SQLite format 3\0\x10\0\x02\x02".to_vec();
        let path = folder.write("db", &head);
        let first = InUse::new(&path).unwrap();
        assert!(first.write_ahead);
        head[18] = 1;
        head[19] = 1;
        std::fs::write(&path, &head).unwrap();
        assert!(
            InUse::new(&path).unwrap().write_ahead,
            "as the first saw it"
        );
        let key = first.key;
        assert!(lock(&OPEN).contains_key(&key));
        drop(first);
        assert!(!lock(&OPEN).contains_key(&key));
        assert!(!InUse::new(&path).unwrap().write_ahead);

        std::fs::write(&path, "no").unwrap();
        assert!(matches!(InUse::new(&path), Err(Failure::NotADatabase)));
        assert!(!lock(&OPEN).contains_key(&key));
    }
}
