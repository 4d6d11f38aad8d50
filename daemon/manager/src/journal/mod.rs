//! The journal: the one place that facts go to. Each gets the next number and stands in the log, in `events.map` and
//! with everybody who follows.
//!
//! The numbers go on when a manager dies (from its ring) and when the daemon is started again (from the copy on disk).

mod clock_watch;
mod fact;
mod followers;

pub use clock_watch::ClockWatch;
pub use fact::Fact;
pub use followers::Follow;

use healthd_core::wire::events::{self, EVENTS_FILE, EventKind, EventRecord};
use healthd_scoreboard::events_map::{self, EventsMap, Left, RESERVE};
use healthd_sys::{clock, logging};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

pub struct Journal {
    runtime_dir: PathBuf,
    state_dir: PathBuf,
    mode: u32,
    /// None: there is no room for it, and facts are in the log only.
    ring: Option<EventsMap>,
    /// The number of the next fact.
    next: u64,
    /// So far the numbers go without another word on disk.
    reserved: u64,
    reserving: Option<JoinHandle<()>>,
    /// Something was written that followers have not been told of.
    news: bool,
}

impl Journal {
    /// Goes on from what the manager or the daemon before left.
    pub fn open(runtime_dir: &Path, state_dir: &Path, checks: usize, mode: u32) -> Journal {
        let left = events_map::left_in(runtime_dir).or_else(|e| {
            tell_unreadable(runtime_dir, &e);
            events_map::left_on_disk(state_dir)
        });
        let left = left.unwrap_or_else(|e| {
            tell_unreadable(state_dir, &e);
            Left {
                next: 1,
                events: Vec::new(),
            }
        });
        let mut journal = Journal {
            runtime_dir: runtime_dir.to_owned(),
            state_dir: state_dir.to_owned(),
            mode,
            ring: None,
            next: left.next,
            reserved: 0,
            reserving: None,
            news: false,
        };
        logging::newest_event(journal.last());
        match journal.ring_with(events::capacity(checks), &left.events) {
            Ok(ring) => journal.ring = Some(ring),
            Err(e) => log::error!("no journal of events, only the log: {e}"),
        }
        journal.reserve();
        journal
    }

    /// A ring of this size that has these events, in place of the one before.
    fn ring_with(&self, capacity: usize, events: &[EventRecord]) -> io::Result<EventsMap> {
        let events = &events[events.len().saturating_sub(capacity)..];
        let first = events.first().map_or(self.next, |e| e.number);
        let mut ring = EventsMap::prepare(&self.runtime_dir, capacity, first, self.mode)?;
        events.iter().for_each(|e| ring.write(e));
        ring.reveal()?;
        Ok(ring)
    }

    /// Another number of checks is in force. Without room for a larger ring the one that there is goes on.
    pub fn fit(&mut self, checks: usize) {
        let capacity = events::capacity(checks);
        let Some(ring) = self.ring.as_ref().filter(|r| r.capacity() != capacity) else {
            return;
        };
        match self.ring_with(capacity, &self.held(ring)) {
            Ok(new) => {
                ring.supersede();
                self.ring = Some(new);
            }
            Err(e) => log::warn!("the journal keeps its size: {e}"),
        }
    }

    fn held(&self, ring: &EventsMap) -> Vec<EventRecord> {
        let numbers = ring.ring().oldest()..self.next;
        numbers.filter_map(|number| ring.read(number)).collect()
    }

    /// It has happened: in the log, in the ring, and news for those who follow.
    pub fn record(&mut self, fact: Fact) {
        fact.log();
        let event = EventRecord {
            number: self.next,
            time: clock::realtime_ns(),
            ..fact.into_event()
        };
        if let Some(ring) = &self.ring {
            ring.write(&event);
        }
        logging::newest_event(self.next);
        self.next += 1;
        self.news = true;
        if self.next + RESERVE / 2 > self.reserved {
            self.reserve();
        }
    }

    /// A disk may hang: nobody waits for it here.
    fn reserve(&mut self) {
        if self.reserving.as_ref().is_some_and(|t| !t.is_finished()) {
            return;
        }
        let (dir, next) = (self.state_dir.clone(), self.next);
        self.reserved = next + RESERVE;
        let work = move || {
            if let Err(e) = events_map::reserve(&dir, next) {
                log::error!(
                    "the number of the next event cannot be kept: after a crash of the machine numbers may be given twice  dir={} why=\"{e}\"",
                    dir.display()
                );
            }
        };
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .stack_size(128 << 10);
        self.reserving = thread.spawn(work).ok();
    }

    /// False: there was no room for it.
    pub fn is_kept(&self) -> bool {
        self.ring.is_some()
    }

    /// Whether there is something new since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Of the newest; 0: there is none.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// The end of a daemon that ends well: the next one has the newest events, and goes on with the number.
    pub fn close(&mut self) {
        if let Some(thread) = self.reserving.take() {
            let _ = thread.join();
        }
        let held = self.ring.as_ref().map_or(Vec::new(), |r| self.held(r));
        if let Err(e) = events_map::save(&self.state_dir, self.next, &held) {
            log::error!(
                "the events cannot be written: the next start will leave numbers out  dir={} why=\"{e}\"",
                self.state_dir.display()
            );
        }
        let _ = std::fs::remove_file(self.runtime_dir.join(EVENTS_FILE));
    }
}

fn tell_unreadable(dir: &Path, e: &io::Error) {
    if e.kind() != io::ErrorKind::NotFound {
        let file = dir.join(EVENTS_FILE);
        log::warn!(
            "the events of before cannot be read  file={} why=\"{e}\"",
            file.display()
        );
    }
}

/// In place of what is not there any more.
fn gap(missed: u64, before: &EventRecord) -> EventRecord {
    events::gap(missed, before.number, before.time)
}

/// Facts about a daemon, not about one check.
impl Fact {
    pub fn started(pid: u32, restored: bool) -> Fact {
        let kind = match restored {
            true => EventKind::ManagerRestarted,
            false => EventKind::Started,
        };
        Fact::new(kind)
            .pid(pid)
            .why(concat!("healthd ", env!("CARGO_PKG_VERSION")))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn dirs(name: &str) -> (PathBuf, PathBuf) {
        let dir =
            std::env::temp_dir().join(format!("healthd-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let (run, state) = (dir.join("run"), dir.join("state"));
        std::fs::create_dir_all(&run).expect("temp dir");
        std::fs::create_dir_all(&state).expect("temp dir");
        (run, state)
    }

    /// Its thread may still be writing.
    pub fn leave(mut journal: Journal) {
        let thread = journal.reserving.take().expect("it was started");
        thread.join().expect("it ends");
    }

    pub fn pause(journal: &mut Journal, n: usize) {
        for n in 0..n {
            journal.record(Fact::new(EventKind::Paused).check(&format!("web-{n}")));
        }
    }

    #[test]
    fn numbers_go_on_over_a_managers_death_and_over_a_stop() {
        let (run, state) = dirs("on");
        let mut first = Journal::open(&run, &state, 0, 0o600);
        pause(&mut first, 3);
        leave(first);
        let mut second = Journal::open(&run, &state, 0, 0o600);
        assert_eq!(second.last(), 3);
        pause(&mut second, 2);
        second.close();
        assert!(!run.join(EVENTS_FILE).exists());
        let mut third = Journal::open(&run, &state, 0, 0o600);
        assert_eq!(third.last(), 5);
        let ring = third.ring.as_ref().expect("there is room");
        let numbers: Vec<u64> = third.held(ring).iter().map(|e| e.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        pause(&mut third, 1);
        // The machine is switched off: nobody knows what was told.
        leave(third);
        std::fs::remove_file(run.join(EVENTS_FILE)).expect("our own file");
        let fourth = Journal::open(&run, &state, 0, 0o600);
        assert!(fourth.last() > 6, "{}", fourth.last());
        leave(fourth);
        std::fs::remove_dir_all(run.parent().expect("a folder")).expect("remove");
    }

    #[test]
    fn it_grows_with_the_checks_and_keeps_what_it_has() {
        let (run, state) = dirs("grow");
        let mut journal = Journal::open(&run, &state, 10, 0o600);
        pause(&mut journal, 5);
        journal.fit(5000);
        pause(&mut journal, 2);
        let ring = journal.ring.as_ref().expect("there is room");
        assert_eq!(ring.capacity(), 10_000);
        assert_eq!(journal.held(ring).len(), 7);
        assert_eq!(events_map::left_in(&run).expect("a map").next, 8);
        leave(journal);
        std::fs::remove_dir_all(run.parent().expect("a folder")).expect("remove");
    }
}
