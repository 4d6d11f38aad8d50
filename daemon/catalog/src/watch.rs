//! Watches the plugin directory: inotify(7) is a hint, and what stat(2) says of the files is the truth.
//!
//! Runs in: a thread of the manager's, as a directory may be on a file system that does not answer.

use crate::plugins::{Identity, is_plugin, list};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file is looked at when nothing has happened for so long,
const QUIET: Duration = Duration::from_millis(200);
/// or after this time, if somebody writes to it without end.
const LONGEST: Duration = Duration::from_millis(2200);
/// Without a hint: what is written through a mapping, mounted over the directory, or lies behind a link.
const BEAT: Duration = Duration::from_secs(5);
/// The same while there is no such directory.
const BEAT_MISSING: Duration = Duration::from_secs(1);

pub struct DirWatch {
    dir: PathBuf,
    inotify: Option<Inotify>,
    /// What is watched, and which directory it was.
    watched: Option<(WatchDescriptor, Place)>,
    seen: Option<Listing>,
    warned: bool,
}

type Place = (u64, u64);
type Listing = Result<Vec<(PathBuf, Option<Identity>)>, String>;

impl DirWatch {
    pub fn new(dir: &Path) -> DirWatch {
        DirWatch {
            dir: dir.to_owned(),
            inotify: None,
            watched: None,
            seen: None,
            warned: false,
        }
    }

    /// Says `changed` once to begin with, as nobody knows what happened before, and then whenever the files
    /// have become others. Returns when `stop` is readable.
    pub fn run(mut self, stop: BorrowedFd<'_>, mut changed: impl FnMut()) {
        match Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) {
            Ok(inotify) => self.inotify = Some(inotify),
            Err(e) => self.warn(e),
        }
        let mut settling: Option<Settling> = None;
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            let at = settling.as_ref().map_or(due, Settling::over);
            if now >= at {
                settling = None;
                if self.look() {
                    changed();
                }
                due = now
                    + if self.is_missing() {
                        BEAT_MISSING
                    } else {
                        BEAT
                    };
                continue;
            }
            let timeout = PollTimeout::try_from(at - now).unwrap_or(PollTimeout::MAX);
            let mut fds = vec![PollFd::new(stop, PollFlags::POLLIN)];
            if let Some(inotify) = &self.inotify {
                fds.push(PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => {
                    log::error!("the plugin directory is not watched any more: poll: {e}");
                    return;
                }
            }
            let ready = |at: usize| {
                fds.get(at)
                    .and_then(PollFd::revents)
                    .is_some_and(|r| !r.is_empty())
            };
            if ready(0) {
                return;
            }
            if ready(1) && self.is_hinted() {
                let now = Instant::now();
                settling
                    .get_or_insert(Settling {
                        first: now,
                        last: now,
                    })
                    .last = now;
            }
        }
    }

    /// Takes what inotify has to say: is any of it about plugins?
    fn is_hinted(&mut self) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let mut hinted = false;
        loop {
            match inotify.read_events() {
                Ok(events) => hinted |= events.iter().any(is_hint),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return hinted,
                Err(e) => {
                    self.inotify = None;
                    self.watched = None;
                    self.warn(e);
                    return true;
                }
            }
        }
    }

    /// Whether the files are others than at the last look.
    fn look(&mut self) -> bool {
        // Watched first: what comes after the look is a new hint.
        self.watch_the_one_that_is_there();
        let listing = list(&self.dir);
        let news = self.seen.as_ref() != Some(&listing);
        self.seen = Some(listing);
        news
    }

    fn is_missing(&self) -> bool {
        matches!(self.seen, Some(Err(_)))
    }

    /// The name may stand for another directory by now: renamed, removed and made again, mounted over.
    fn watch_the_one_that_is_there(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let there = place(&self.dir);
        if self.watched.map(|(_, place)| place) == there && there.is_some() {
            return;
        }
        if let Some((old, _)) = self.watched.take() {
            // Gone with its directory, perhaps.
            let _ = inotify.rm_watch(old);
        }
        match inotify.add_watch(&self.dir, interest()) {
            // Asked again: only if it is still the same one do we know which it is.
            Ok(wd) => match place(&self.dir) {
                Some(now) if Some(now) == there => self.watched = Some((wd, now)),
                _ => drop(inotify.rm_watch(wd)),
            },
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
            Err(e) => self.warn(e),
        }
    }

    fn warn(&mut self, e: Errno) {
        let hint = match e {
            Errno::EMFILE => ": raise fs.inotify.max_user_instances",
            Errno::ENOSPC => ": raise fs.inotify.max_user_watches",
            _ => "",
        };
        if !std::mem::replace(&mut self.warned, true) {
            log::warn!(
                "the plugin directory is looked at every {} s, as the system does not tell of changes  dir={} why=\"{e}{hint}\"",
                BEAT.as_secs(),
                self.dir.display()
            );
        }
    }
}

/// Something has happened, and may go on happening.
struct Settling {
    first: Instant,
    last: Instant,
}

impl Settling {
    fn over(&self) -> Instant {
        (self.last + QUIET).min(self.first + LONGEST)
    }
}

fn place(dir: &Path) -> Option<Place> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(dir).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn interest() -> AddWatchFlags {
    AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

/// Without a name: about the directory itself, or the queue that ran over.
fn is_hint(event: &InotifyEvent) -> bool {
    event
        .name
        .as_ref()
        .is_none_or(|name| is_plugin(Path::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_looked_at_all_the_same() {
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        let over = |last| Settling { first, last }.over();
        assert_eq!(over(after(0)), after(200));
        assert_eq!(over(after(150)), after(350));
        assert_eq!(over(after(60_000)), after(2200));
    }
}
