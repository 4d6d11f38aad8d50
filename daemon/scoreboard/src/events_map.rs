//! `events.map`: the ring of numbered events that the manager writes, and its copy on disk, from which the
//! numbers go on after a restart.

use super::map::{Map, each_record, read_words};
use healthd_core::wire::events::{
    self, EVENT_WORDS, EVENTS_FILE, EVENTS_HEAD, EVENTS_MAGIC, EVENTS_VERSION, EventRecord, Ring,
    event_offset, events_header as h, events_words, read_events,
};
use healthd_core::wire::maps::WORD;
use healthd_sys::files;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// After a crash of the whole machine the numbers go on behind all that may have been given since the last word on disk.
pub const RESERVE: u64 = 1 << 20;
/// So many go to disk at a stop: 1 MiB.
const ON_DISK: usize = 4096;

pub struct EventsMap {
    map: Map,
    first: u64,
    capacity: usize,
}

impl EventsMap {
    /// A map that nobody sees before `reveal`. `first`: no event before that number will be in it.
    pub fn prepare(dir: &Path, capacity: usize, first: u64, mode: u32) -> io::Result<EventsMap> {
        let map = Map::prepare(&dir.join(EVENTS_FILE), events_words(capacity), mode)?;
        map.set(h::VERSION, EVENTS_VERSION);
        map.set(h::CAPACITY, capacity as u64);
        map.set(h::FIRST, first);
        map.set(h::LAST, first.saturating_sub(1));
        map.set(h::MAGIC, EVENTS_MAGIC);
        Ok(EventsMap {
            map,
            first,
            capacity,
        })
    }

    pub fn reveal(&mut self) -> io::Result<()> {
        self.map.reveal()
    }

    /// For a reader that still has the old file open.
    pub fn supersede(&self) {
        self.map.set(h::SUPERSEDED, 1);
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The next one: its number is one more than that of the last.
    pub fn write(&self, event: &EventRecord) {
        let offset = event_offset(self.capacity, event.number);
        self.map.publish_numbered(offset, &event.to_words());
        self.map.set(h::LAST, event.number);
    }

    pub fn ring(&self) -> Ring {
        Ring::new(self.capacity, self.first, self.map.get(h::LAST))
    }

    pub fn read(&self, number: u64) -> Option<EventRecord> {
        let offset = event_offset(self.capacity, number);
        let words: [u64; EVENT_WORDS] = std::array::from_fn(|n| self.map.get(offset + n));
        events::event_in(&words, &words, number)
    }
}

/// The ring as another process reads it.
pub struct EventsView(File);

impl EventsView {
    pub fn open(runtime_dir: &Path) -> io::Result<EventsView> {
        files::open(&runtime_dir.join(EVENTS_FILE)).map(EventsView)
    }

    pub fn ring(&self) -> io::Result<Ring> {
        Ring::of_header(&read_words(&self.0, 0)?).map_err(io::Error::other)
    }

    /// None: it is not there any more, not yet, or its writer is inside.
    pub fn read(&self, number: u64) -> io::Result<Option<EventRecord>> {
        let offset = event_offset(self.ring()?.capacity, number);
        let first = read_words(&self.0, offset)?;
        Ok(events::event_in(
            &first,
            &read_words(&self.0, offset)?,
            number,
        ))
    }
}

/// Records that are read at once.
const AT_ONCE: u64 = 128;

impl EventsView {
    /// Newest first, of those before this number, until `take` says that it is enough (false). Each as its words: few
    /// are wanted of many.
    pub fn backwards(
        &self,
        before: u64,
        mut take: impl FnMut(&[u64; EVENT_WORDS]) -> bool,
    ) -> io::Result<()> {
        let ring = self.ring()?;
        let oldest = ring.oldest().max(1);
        let mut end = ring.last.saturating_add(1).min(before);
        while end > oldest {
            // As many as stand one after the other in the file.
            let in_row = (end - 1) % ring.capacity as u64 + 1;
            let count = AT_ONCE.min(in_row).min(end - oldest);
            let begin = end - count;
            let mut some = Vec::with_capacity(count as usize);
            let from = event_offset(ring.capacity, begin);
            each_record::<EVENT_WORDS>(&self.0, from, count as usize, |n, words| {
                some.extend(words.filter(|w| w[0] >> 1 == begin + n as u64).copied());
            })?;
            if !some.iter().rev().all(&mut take) {
                return Ok(());
            }
            end = begin;
        }
        Ok(())
    }
}

/// What an earlier manager or daemon left: the first number to be given next, and the events right before it.
pub struct Left {
    pub next: u64,
    pub events: Vec<EventRecord>,
}

/// Of a manager that died: its ring stands as it was.
pub fn left_in(runtime_dir: &Path) -> io::Result<Left> {
    let bytes = read(runtime_dir)?;
    let (ring, events) = read_events(&bytes, &bytes).map_err(io::Error::other)?;
    let next = events.last().map_or(ring.last, |e| e.number) + 1;
    Ok(Left { next, events })
}

/// Of a daemon that has ended, well or not.
pub fn left_on_disk(state_dir: &Path) -> io::Result<Left> {
    let bytes = read(state_dir)?;
    let (ring, events) = read_events(&bytes, &bytes).map_err(io::Error::other)?;
    let [reserved] = healthd_core::wire::maps::words_at(&bytes, h::RESERVED)
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(match reserved {
        0 => Left {
            next: ring.last + 1,
            events,
        },
        // Nobody knows what was told since.
        reserved => Left {
            next: reserved.saturating_add(1),
            events: Vec::new(),
        },
    })
}

fn read(dir: &Path) -> io::Result<Vec<u8>> {
    files::read_sized(&dir.join(EVENTS_FILE), EVENTS_HEAD, events::events_size)
}

/// For the daemon after this one: these events, the newest last, and nothing reserved.
pub fn save(state_dir: &Path, next: u64, events: &[EventRecord]) -> io::Result<()> {
    let events = &events[events.len().saturating_sub(ON_DISK)..];
    let mut words = header(events.first().map_or(next, |e| e.number), next - 1, 0);
    words.resize(events_words(ON_DISK), 0);
    for event in events {
        let offset = event_offset(ON_DISK, event.number);
        words[offset..offset + EVENT_WORDS].copy_from_slice(&event.to_words());
    }
    replace(state_dir, &words)
}

/// From here on numbers up to this one may be given without a word on disk.
pub fn reserve(state_dir: &Path, next: u64) -> io::Result<u64> {
    let reserved = next.saturating_add(RESERVE);
    let path = state_dir.join(EVENTS_FILE);
    let noted = files::open_as(&path, OpenOptions::new().write(true)).and_then(|file| {
        let at = (h::RESERVED * WORD) as u64;
        file.write_all_at(&reserved.to_ne_bytes(), at)?;
        file.sync_data()
    });
    match noted {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut words = header(next, next - 1, reserved);
            words.resize(events_words(1), 0);
            replace(state_dir, &words)?;
        }
        noted => noted?,
    }
    Ok(reserved)
}

fn header(first: u64, last: u64, reserved: u64) -> Vec<u64> {
    let mut words = vec![0; h::RESERVED + 1];
    words[h::MAGIC] = EVENTS_MAGIC;
    words[h::VERSION] = EVENTS_VERSION;
    words[h::CAPACITY] = match reserved {
        0 => ON_DISK as u64,
        _ => 1,
    };
    words[h::FIRST] = first;
    words[h::LAST] = last;
    words[h::RESERVED] = reserved;
    words
}

/// A crash at any moment leaves the old file or the new one.
fn replace(dir: &Path, words: &[u64]) -> io::Result<()> {
    let path = dir.join(EVENTS_FILE);
    let temp = path.with_extension("map.new");
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&temp)
        .and_then(|file| {
            file.write_all_at(&bytes, 0)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temp, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    written?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::events::EventKind;

    fn event(number: u64) -> EventRecord {
        EventRecord {
            number,
            time: number,
            kind: EventKind::Paused,
            check: format!("web-{number}"),
            ..EventRecord::default()
        }
    }

    fn dir(name: &str) -> std::path::PathBuf {
        let dir =
            std::env::temp_dir().join(format!("healthd-events-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        dir
    }

    fn numbers(left: &Left) -> Vec<u64> {
        left.events.iter().map(|e| e.number).collect()
    }

    #[test]
    fn what_was_written_is_read_and_goes_on() {
        let dir = dir("ring");
        let mut map = EventsMap::prepare(&dir, 4, 7, 0o600).expect("map");
        assert!(!dir.join(EVENTS_FILE).exists(), "nobody sees it yet");
        map.reveal().expect("reveal");
        assert_eq!(left_in(&dir).expect("a map").next, 7);
        for number in 7..=12 {
            map.write(&event(number));
        }
        assert_eq!(map.ring().begin(0), (9, 8));
        assert_eq!(map.read(8), None);
        assert_eq!(map.read(9), Some(event(9)));
        let view = EventsView::open(&dir).expect("a map");
        let back = |before: u64, most: usize| {
            let mut found = Vec::new();
            let take = |words: &[u64; EVENT_WORDS]| {
                found.push(EventRecord::from_words(words));
                found.len() < most
            };
            view.backwards(before, take).expect("a ring");
            found
        };
        assert_eq!(back(u64::MAX, 9), [12, 11, 10, 9].map(event));
        assert_eq!(back(12, 2), [11, 10].map(event));
        assert_eq!(back(9, 2), []);
        let left = left_in(&dir).expect("a map");
        assert_eq!((left.next, numbers(&left)), (13, vec![9, 10, 11, 12]));
        // Its writer dies inside the next one.
        let at = event_offset(4, 13);
        map.map.set(at, 27);
        let left = left_in(&dir).expect("a map");
        assert_eq!((left.next, numbers(&left)), (13, vec![10, 11, 12]));
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn after_a_good_end_the_numbers_go_on_and_after_a_crash_they_jump() {
        let dir = dir("disk");
        assert!(left_on_disk(&dir).is_err());
        assert_eq!(reserve(&dir, 1).expect("written"), 1 + RESERVE);
        let left = left_on_disk(&dir).expect("a file");
        assert_eq!((left.next, numbers(&left)), (2 + RESERVE, vec![]));
        save(&dir, 4, &[event(1), event(2), event(3)]).expect("written");
        let left = left_on_disk(&dir).expect("a file");
        assert_eq!((left.next, numbers(&left)), (4, vec![1, 2, 3]));
        let reserved = reserve(&dir, 4).expect("written");
        let left = left_on_disk(&dir).expect("a file");
        assert_eq!((left.next, numbers(&left)), (reserved + 1, vec![]));
        save(&dir, 9, &[]).expect("written");
        let left = left_on_disk(&dir).expect("a file");
        assert_eq!((left.next, numbers(&left)), (9, vec![]));
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn the_newest_go_to_disk() {
        let dir = dir("newest");
        let events: Vec<_> = (1..=5000).map(event).collect();
        save(&dir, 5001, &events).expect("written");
        let left = left_on_disk(&dir).expect("a file");
        assert_eq!(left.events.len(), ON_DISK);
        assert_eq!((left.next, left.events[0].number), (5001, 905));
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}
