//! Files that a config names, read anew when they change: no reload, and never half of one.
//!
//! Whoever uses one asks [`Fresh::get`] each time. It looks at the files at most once a second; what has changed is read
//! when nobody has written for a second, and used if it can be read in full and makes sense. Else the one before stays in
//! force and the log says why.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Whoever writes a file in pieces is done when it has not changed for so long.
const QUIET: Duration = Duration::from_secs(1);
/// No certificate, key or token is larger.
const LARGEST: u64 = 16 << 20;

/// What was made of some files.
pub struct Fresh<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    state: Mutex<State<T>>,
}

type Make<T> = Box<dyn Fn(&[PathBuf]) -> Result<T, String> + Send + Sync>;

struct State<T> {
    value: Arc<T>,
    /// The files of `value`, or those that were refused after it.
    known: Vec<Stamp>,
    /// What the last look saw.
    seen: Vec<Stamp>,
    next_look: Instant,
}

/// What tells one state of a file from another; None: it is not there.
type Stamp = Option<(u64, u64, u64, [i64; 4])>;

impl<T> Fresh<T> {
    /// Reads them for the first time; may block. `make` gets the paths, and reads with [`read_whole`].
    pub fn new(
        paths: Vec<PathBuf>,
        make: impl Fn(&[PathBuf]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Fresh<T>, String> {
        let known = stamps(&paths);
        let value = Arc::new(make(&paths)?);
        Ok(Fresh {
            state: Mutex::new(State {
                value,
                seen: known.clone(),
                known,
                next_look: Instant::now() + LOOK_EVERY,
            }),
            make: Box::new(make),
            paths,
        })
    }

    /// What the files say now, or what they said when they last made sense.
    pub fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now >= state.next_look {
            state.next_look = now + LOOK_EVERY;
            self.look(&mut state);
        }
        state.value.clone()
    }

    fn look(&self, state: &mut State<T>) {
        let seen = stamps(&self.paths);
        let as_before = seen == state.seen;
        state.seen.clone_from(&seen);
        if seen == state.known || !(as_before || is_quiet(&seen)) {
            return;
        }
        let made = (self.make)(&self.paths);
        if stamps(&self.paths) != seen {
            // Somebody writes: what was read may be half of it.
            return;
        }
        state.known = seen;
        match made {
            Ok(value) => state.value = Arc::new(value),
            Err(why) => {
                log::warn!("{why}; what was read before it changed stays in force");
            }
        }
    }
}

/// The whole of a plain file.
pub fn read_whole(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |e: io::Error| {
        let text = e.to_string();
        let text = text.split(" (os error ").next().unwrap_or(&text);
        format!("{}: {text}", path.display())
    };
    // A FIFO must not keep anybody waiting.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(format!(
            "{}: larger than {} MiB",
            path.display(),
            LARGEST >> 20
        )),
        false => Ok(bytes),
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |m: Metadata| {
        let times = [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()];
        (m.dev(), m.ino(), m.size(), times)
    };
    let one = |path: &PathBuf| std::fs::metadata(path).ok().map(stamp);
    paths.iter().map(one).collect()
}

/// Nobody has written for a while. A clock that was set back does not count: then a second look decides.
fn is_quiet(stamps: &[Stamp]) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let Ok(now) = now else { return false };
    stamps.iter().flatten().all(|(.., [mtime, _, ctime, _])| {
        let last = u64::try_from(*mtime.max(ctime)).unwrap_or_default();
        // One more, as the fractions are left out.
        now.as_secs() > last + QUIET.as_secs()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> Fresh<String> {
        let read = |paths: &[PathBuf]| {
            let text = String::from_utf8(read_whole(&paths[0])?).map_err(|e| e.to_string())?;
            match text.strip_suffix('.') {
                Some(whole) => Ok(whole.to_owned()),
                None => Err("no full stop".into()),
            }
        };
        Fresh::new(vec![path.into()], read).expect("a good file")
    }

    /// A look that does not wait for its second.
    fn look(fresh: &Fresh<String>) -> String {
        let mut state = fresh.state.lock().expect("not poisoned");
        state.next_look = Instant::now();
        drop(state);
        fresh.get().as_str().to_owned()
    }

    #[test]
    fn changes_are_taken_when_they_are_whole() {
        let folder = healthd_testing::Folder::new();
        let path = folder.write("f", "one.");
        let fresh = text(&path);
        assert_eq!(look(&fresh), "one");
        // Just written: the next look must find the same.
        folder.write("f", "two.");
        assert_eq!(look(&fresh), "one");
        assert_eq!(look(&fresh), "two");
        // Half of it makes no sense, and stays away however often it is seen.
        folder.write("f", "thr");
        for _ in 0..3 {
            assert_eq!(look(&fresh), "two");
        }
        folder.write("f", "three.");
        look(&fresh);
        assert_eq!(look(&fresh), "three");
        std::fs::remove_file(&path).expect("it was there");
        for _ in 0..3 {
            assert_eq!(look(&fresh), "three");
        }
        folder.write("new", "four.");
        std::fs::rename(folder.file("new"), &path).expect("a rename");
        look(&fresh);
        assert_eq!(look(&fresh), "four");
        // Written long ago, moved here now.
        folder.write("old", "five.");
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        let old = File::options().write(true).open(folder.file("old"));
        old.and_then(|f| f.set_modified(long_ago)).expect("utimes");
        std::fs::rename(folder.file("old"), &path).expect("a rename");
        look(&fresh);
        assert_eq!(look(&fresh), "five");
    }

    #[test]
    fn between_two_looks_nothing_is_asked() {
        let folder = healthd_testing::Folder::new();
        let fresh = text(&folder.write("f", "one."));
        folder.write("f", "two.");
        let held = fresh.state.lock().expect("not poisoned").next_look;
        assert_eq!(*fresh.get(), "one");
        assert_eq!(fresh.state.lock().expect("not poisoned").next_look, held);
    }
}
