//! One map: a file, allocated in full, mapped shared, seen as atomic words.

use super::sync::AtomicU64;
use super::{record, word};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{Gid, fchown};
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::time::Duration;

/// A map that this process writes. Readers use pread on the file, see `read_words`.
pub struct Map {
    words: NonNull<AtomicU64>,
    len: usize,
    path: PathBuf,
    /// Not revealed yet: where it is.
    hidden: Option<PathBuf>,
}

// SAFETY: the mapping lives as long as the Map, and is only reached through atomics.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Makes a new file beside `path` and renames it over it, so that a reader sees a whole file or none.
    pub fn create(path: &Path, words: usize, mode: u32) -> io::Result<Map> {
        let mut map = Map::prepare(path, words, mode)?;
        map.reveal()?;
        Ok(map)
    }

    /// A new file beside `path` that nobody sees before `reveal`.
    /// Every block is allocated now: a full tmpfs is an error here and not a SIGBUS later.
    pub fn prepare(path: &Path, words: usize, mode: u32) -> io::Result<Map> {
        let temp = half_made(path, std::process::id());
        match Self::create_at(&temp, words, mode) {
            Ok(ptr) => Ok(Map {
                words: ptr,
                len: words,
                path: path.to_owned(),
                hidden: Some(temp),
            }),
            Err(e) => {
                let _ = std::fs::remove_file(&temp);
                Err(too_small(&e, path, words))
            }
        }
    }

    /// A file that somebody has opened for us, empty as yet. `path` is for messages.
    pub fn fill(file: &File, path: &Path, words: usize) -> io::Result<Map> {
        let words_there = Self::allocate(file, words).map_err(|e| too_small(&e, path, words))?;
        Ok(Map {
            words: words_there,
            len: words,
            path: path.to_owned(),
            hidden: None,
        })
    }

    /// Maps a file that another process has made, and writes to as well.
    pub fn open(path: &Path, words: usize) -> io::Result<Map> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        Self::join(&Self::open_file(path).map_err(named)?, path, words)
    }

    /// For `join`, in this process or another.
    pub fn open_file(path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        healthd_sys::files::open_as(path, &mut options)
    }

    /// The same with the file open already. `path` is for messages.
    pub fn join(file: &File, path: &Path, words: usize) -> io::Result<Map> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        // What lies behind the file's end would be SIGBUS.
        if file.metadata().map_err(named)?.len() != (words * size_of::<u64>()) as u64 {
            return Err(named(io::Error::other("it has not the size of such a map")));
        }
        Ok(Map {
            words: Self::map_shared(file, words).map_err(named)?,
            len: words,
            path: path.to_owned(),
            hidden: None,
        })
    }

    /// In place of the file that had the name before, as it stands now.
    pub fn reveal(&mut self) -> io::Result<()> {
        let Some(temp) = self.hidden.take() else {
            return Ok(());
        };
        std::fs::rename(&temp, &self.path).map_err(|e| {
            let _ = std::fs::remove_file(&temp);
            io::Error::new(e.kind(), format!("{}: {e}", self.path.display()))
        })
    }

    fn create_at(path: &Path, words: usize, mode: u32) -> io::Result<NonNull<AtomicU64>> {
        Self::allocate(&blank(path, mode)?, words)
    }

    fn allocate(file: &File, words: usize) -> io::Result<NonNull<AtomicU64>> {
        let bytes = words * size_of::<u64>();
        fallocate(file, FallocateFlags::empty(), 0, bytes as libc::off_t)?;
        Self::map_shared(file, words)
    }

    fn map_shared(file: &File, words: usize) -> io::Result<NonNull<AtomicU64>> {
        let bytes = words * size_of::<u64>();
        let len = NonZeroUsize::new(bytes).ok_or_else(|| io::Error::other("an empty map"))?;
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no other memory; the
        // file is as long as the mapping (its makers see to it) and nobody of ours ever shortens it.
        let ptr = unsafe {
            mmap(
                None,
                len,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file,
                0,
            )
        }?;
        Ok(ptr.cast())
    }

    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: page-aligned, `len` words long, mapped until drop, and only ever reached as atomics.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn get(&self, word: usize) -> u64 {
        word::get(&self.words()[word])
    }

    pub fn set(&self, word: usize, value: u64) {
        word::set(&self.words()[word], value);
    }

    pub fn add(&self, word: usize, n: u64) {
        word::add(&self.words()[word], n);
    }

    /// Writes a record whose word 0 is its sequence number already.
    pub fn publish_numbered(&self, offset: usize, record: &[u64]) {
        record::publish_numbered(&self.words()[offset..offset + record.len()], record);
    }

    /// Changes some fields of a record whose word 0 is its sequence number.
    pub fn update(&self, offset: usize, words: usize, change: impl FnOnce(&[AtomicU64])) {
        record::update(&self.words()[offset..offset + words], change);
    }

    /// Writes a record whose word 0 is its sequence number.
    pub fn publish(&self, offset: usize, record: &[u64]) {
        record::publish(&self.words()[offset..offset + record.len()], record);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if let Some(temp) = &self.hidden {
            let _ = std::fs::remove_file(temp);
        }
        // SAFETY: mapped by `create` with this length, and no reference into it outlives self.
        let _ = unsafe { munmap(self.words.cast(), self.len * size_of::<u64>()) };
    }
}

/// Gives the file to its folder's group, which is the control socket's: who may ask the socket may read the
/// maps. Where we may not, it stays with our own group.
fn follow_group(file: &File, path: &Path) {
    let folder = path.parent().and_then(|dir| std::fs::metadata(dir).ok());
    if let Some(folder) = folder {
        let _ = fchown(file, None, Some(Gid::from_raw(folder.gid())));
    }
}

/// An empty file for a map.
pub(crate) fn blank(path: &Path, mode: u32) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)?;
    follow_group(&file, path);
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(file)
}

fn too_small(e: &io::Error, path: &Path, words: usize) -> io::Error {
    let hint = match e.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => format!(
            " ({} KiB are needed there: free some space, or give it a larger tmpfs)",
            (words * size_of::<u64>()) >> 10
        ),
        _ => String::new(),
    };
    io::Error::new(e.kind(), format!("{}: {e}{hint}", path.display()))
}

/// The file that a process writes before it has its name.
pub(crate) fn half_made(path: &Path, pid: u32) -> PathBuf {
    path.with_extension(format!("new{pid}"))
}

/// Reads words of a map that another process writes (or wrote).
pub fn read_words<const N: usize>(file: &File, offset: usize) -> io::Result<[u64; N]> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; N * size_of::<u64>()];
    file.read_exact_at(&mut bytes, (offset * size_of::<u64>()) as u64)?;
    healthd_core::wire::maps::words_at(&bytes, 0).ok_or_else(|| io::Error::other("short read"))
}

/// Records that stand one after the other, from the word `from` on. None: the writer has died inside, or stands still
/// there. Each is read twice, a part of the file at a time, so that a large map costs its reader no memory.
pub fn each_record<const N: usize>(
    file: &File,
    from: usize,
    count: usize,
    mut take: impl FnMut(usize, Option<&[u64; N]>),
) -> io::Result<()> {
    use healthd_core::wire::maps::{whole, words_at};
    use std::os::unix::fs::FileExt;
    let size = N * size_of::<u64>();
    let at_once = (PART / size).max(1);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for begin in (0..count).step_by(at_once) {
        let records = at_once.min(count - begin);
        let at = (from * size_of::<u64>() + begin * size) as u64;
        for copy in [&mut first, &mut second] {
            copy.resize(records * size, 0);
            file.read_exact_at(copy, at)?;
        }
        for n in 0..records {
            let pair = words_at::<N>(&first, n * N).zip(words_at::<N>(&second, n * N));
            let (first, again) = pair.ok_or_else(|| io::Error::other("short read"))?;
            if whole(&first, &again) {
                take(begin + n, Some(&again));
            } else {
                let alone = in_the_end(|| read_words::<N>(file, from + (begin + n) * N))?;
                take(begin + n, alone.as_ref());
            }
        }
    }
    Ok(())
}

/// Those of them that were written since: `seen` has the number with which each was taken last, and 0 of what never was.
/// All are read once, and only what has another number is read again: of a large map little changes between two looks.
pub fn each_changed<const N: usize>(
    file: &File,
    from: usize,
    seen: &mut [u64],
    mut take: impl FnMut(usize, &[u64; N]),
) -> io::Result<()> {
    use healthd_core::wire::maps::words_at;
    use std::os::unix::fs::FileExt;
    let size = N * size_of::<u64>();
    let mut part = vec![0; (PART / size).max(1) * size];
    let mut begin = 0;
    for seen in seen.chunks_mut(part.len() / size) {
        let part = &mut part[..seen.len() * size];
        file.read_exact_at(part, (from * size_of::<u64>() + begin * size) as u64)?;
        let numbers = part
            .chunks_exact(size)
            .map(|record| &record[..size_of::<u64>()]);
        for (n, (seen, number)) in seen.iter_mut().zip(numbers).enumerate() {
            if *number == seen.to_ne_bytes() {
                continue;
            }
            let at = begin + n;
            let mut first = words_at::<N>(part, n * N);
            let read = || {
                first
                    .take()
                    .map_or_else(|| read_words(file, from + at * N), Ok)
            };
            if let Some(words) = in_the_end(read)? {
                *seen = words[0];
                take(at, &words);
            }
        }
        begin += seen.len();
    }
    Ok(())
}

/// A record that was not whole: most are a moment later, and a writer that lost its core inside goes on when it has it again.
fn in_the_end<const N: usize>(
    mut read: impl FnMut() -> io::Result<[u64; N]>,
) -> io::Result<Option<[u64; N]>> {
    let mut last = read()?;
    for _ in 0..LOOKS {
        let again = read()?;
        if healthd_core::wire::maps::whole(&last, &again) {
            return Ok(Some(again));
        }
        last = again;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}

/// At a record that is being written, 1 ms apart.
const LOOKS: u32 = 20;

/// Bytes that are read at once.
const PART: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_in_the_end_unless_its_writer_never_comes_out() {
        // While it is read: written once more, then inside, then left alone.
        let mut seen = [[2, 1], [4, 2], [5, 2], [5, 3], [6, 3], [6, 3]].into_iter();
        let read = || Ok(seen.next().expect("no more than that"));
        assert_eq!(in_the_end(read).expect("read"), Some([6, 3]));
        let inside = in_the_end(|| Ok([7, 1])).expect("read");
        assert_eq!(inside, None);
    }

    #[test]
    fn whoever_reads_all_of_them_misses_none_that_is_whole() {
        let dir = std::env::temp_dir().join(format!("healthd-records-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        let map = Map::create(&dir.join("m"), 4 * 8, 0o640).expect("map");
        let file = File::open(dir.join("m")).expect("open");
        let read = || {
            let mut all = Vec::new();
            each_record::<8>(&file, 0, 4, |n, words| all.push((n, words.map(|w| w[1]))))
                .expect("a map");
            all
        };
        (0..4u64).for_each(|n| map.publish(n as usize * 8, &[0, n, 0, 0, 0, 0, 0, 0]));
        // The writer of the third has died inside.
        let inside = map.get(16);
        map.set(16, inside + 1);
        assert_eq!(
            read(),
            [(0, Some(0)), (1, Some(1)), (2, None), (3, Some(3))]
        );
        let mut seen = [0; 4];
        let mut changed = || {
            let mut all = Vec::new();
            each_changed::<8>(&file, 0, &mut seen, |n, words| all.push((n, words[1])))
                .expect("a map");
            all
        };
        assert_eq!(changed(), [(0, 0), (1, 1), (3, 3)]);
        assert_eq!(changed(), []);
        map.set(16, inside + 2);
        assert_eq!(read()[2], (2, Some(2)));
        map.publish(0, &[0, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(changed(), [(0, 7), (2, 2)]);
        assert_eq!(changed(), []);
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn a_reader_never_sees_half_a_record() {
        let dir = std::env::temp_dir().join(format!("healthd-map-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        let map = Map::create(&dir.join("m"), 64, 0o640).expect("map");
        let file = File::open(dir.join("m")).expect("open");
        let (seen, a_whole_one) = std::sync::mpsc::channel();
        std::thread::scope(|s| {
            // Bursts, and after each a wait until the reader got a record whole: a writer that never pauses may
            // starve it. If the reader fails, its end of the channel closes and the writer ends too.
            let map = &map;
            let writer = s.spawn(move || {
                for burst in 0..200u64 {
                    for i in burst * 100..(burst + 1) * 100 {
                        map.publish(16, &[0, i, i, i, i, i, i, i]);
                    }
                    while a_whole_one.try_recv().is_ok() {}
                    if a_whole_one.recv().is_err() {
                        return;
                    }
                }
            });
            let seen = seen;
            while !writer.is_finished() {
                // A pread is no atomic copy, so the sequence must be the same before and after it.
                let before: [u64; 1] = read_words(&file, 16).expect("read");
                let record: [u64; 8] = read_words(&file, 16).expect("read");
                let after: [u64; 1] = read_words(&file, 16).expect("read");
                if before[0].is_multiple_of(2) && before == after {
                    assert!(record[1..].iter().all(|w| *w == record[1]), "{record:?}");
                    let _ = seen.send(());
                }
            }
        });
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}
