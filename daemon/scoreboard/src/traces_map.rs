//! `traces.map`: how some of the runs went, for the process that sends them on. Its records are numbered without gaps, over
//! a manager's death too, so that its reader knows what it has not got.
//!
//! `traces.sent` beside it is the reader's own: the number up to which it is done. Whoever reads after it goes on there.

use super::map::{Map, read_words};
use healthd_core::wire::traces::{
    TRACE_WORDS, TRACES_CAPACITY, TRACES_FILE, TRACES_HEAD, TRACES_MAGIC, TRACES_VERSION,
    TracedRun, is_sampled, read_head, run_in, trace_offset, traces_header as h, traces_words,
};
use healthd_sys::files;
use std::cell::Cell;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SENT_FILE: &str = "traces.sent";

pub struct TracesMap {
    map: Map,
    share: f64,
    key: u64,
    last: Cell<u64>,
}

impl TracesMap {
    /// `share`: of the runs, 0 to 1. What is in the map before it is lost to a reader that has not got it; its numbers go on.
    pub fn create(dir: &Path, share: f64, mode: u32) -> io::Result<TracesMap> {
        let last = match TracesView::open(dir).and_then(|before| before.last()) {
            Ok(last) => last,
            Err(_) => {
                // Of numbers that are none any more.
                let _ = std::fs::remove_file(dir.join(SENT_FILE));
                0
            }
        };
        let mut map = Map::prepare(&dir.join(TRACES_FILE), traces_words(), mode)?;
        // What std seeds its hash tables with is random.
        let keys = [0, 1].map(|n| RandomState::new().hash_one(n));
        map.set(h::CAPACITY, TRACES_CAPACITY as u64);
        map.set(h::KEYS, keys[0]);
        map.set(h::KEYS + 1, keys[1]);
        map.set(h::LAST, last);
        map.set(h::VERSION, TRACES_VERSION);
        map.set(h::MAGIC, TRACES_MAGIC);
        map.reveal()?;
        Ok(TracesMap {
            map,
            share,
            key: keys[0],
            last: Cell::new(last),
        })
    }

    /// None any more: a reader finds no file.
    pub fn remove(dir: &Path) {
        let _ = std::fs::remove_file(dir.join(TRACES_FILE));
        let _ = std::fs::remove_file(dir.join(SENT_FILE));
    }

    pub fn share(&self) -> f64 {
        self.share
    }

    pub fn wants(&self, run: u64) -> bool {
        is_sampled(run, self.key, self.share)
    }

    pub fn write(&self, run: &TracedRun) {
        let number = self.last.get() + 1;
        // What has no room there is missing like one that was written over, and counted by its reader.
        if let Some(words) = run.to_words(number) {
            self.map.publish_numbered(trace_offset(number), &words);
        }
        self.last.set(number);
        self.map.set(h::LAST, number);
    }
}

/// The ring as another process reads it.
pub struct TracesView {
    file: File,
    /// Two numbers of which the ids of its runs are made.
    pub keys: [u64; 2],
    /// The newest that was read.
    seen: u64,
}

/// A record that its reader is done with, as it is with all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    path: PathBuf,
    number: u64,
}

impl Mark {
    pub fn new(dir: &Path, number: u64) -> Mark {
        Mark {
            path: dir.join(SENT_FILE),
            number,
        }
    }

    /// Whole, or not at all.
    pub fn write(&self) -> io::Result<()> {
        let temp = self.path.with_extension("sent.new");
        std::fs::write(&temp, self.number.to_string())?;
        std::fs::rename(&temp, &self.path)
    }

    /// 0: there is none that says anything.
    fn read(dir: &Path) -> u64 {
        let text = std::fs::read_to_string(dir.join(SENT_FILE)).unwrap_or_default();
        text.parse().unwrap_or(0)
    }
}

impl TracesView {
    /// Begins after what a reader before this one was done with.
    pub fn open(dir: &Path) -> io::Result<TracesView> {
        let file = files::open(&dir.join(TRACES_FILE))?;
        let head = read_words::<TRACES_HEAD>(&file, 0)?;
        let (last, keys) = read_head(&head).map_err(io::Error::other)?;
        // More than there are: it is of other numbers.
        let sent = Some(Mark::read(dir)).filter(|sent| *sent <= last);
        Ok(TracesView {
            file,
            keys,
            seen: sent.unwrap_or(0),
        })
    }

    /// The one that has taken the place of this.
    pub fn next(&self, dir: &Path) -> io::Result<TracesView> {
        let mut next = TracesView::open(dir)?;
        if next.last()? >= self.seen {
            next.seen = self.seen;
        }
        Ok(next)
    }

    fn last(&self) -> io::Result<u64> {
        let head = read_words::<TRACES_HEAD>(&self.file, 0)?;
        Ok(read_head(&head).map_err(io::Error::other)?.0)
    }

    /// Whether the file that has the name now is another one.
    pub fn is_replaced(&self, dir: &Path) -> bool {
        let id = |meta: io::Result<std::fs::Metadata>| meta.map(|m| (m.dev(), m.ino())).ok();
        id(self.file.metadata()) != id(std::fs::metadata(dir.join(TRACES_FILE)))
    }

    /// What was written since the last look, oldest first and each with its number; and how many of them are not there
    /// any more.
    pub fn news(&mut self) -> io::Result<(Vec<(u64, TracedRun)>, u64)> {
        let last = self.last()?;
        let oldest = last.saturating_sub(TRACES_CAPACITY as u64) + 1;
        let from = oldest.max(self.seen + 1);
        let mut missed = from - self.seen - 1;
        let mut runs = Vec::new();
        for number in from..=last {
            let read = || read_words::<TRACE_WORDS>(&self.file, trace_offset(number));
            match run_in(&read()?, &read()?, number) {
                Some(run) => runs.push((number, run)),
                None => missed += 1,
            }
        }
        self.seen = last.max(self.seen);
        Ok((runs, missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::check::outcome::{Status, Verdict};
    use healthd_core::wire::traces::Purpose;

    fn check(name: &str) -> Purpose {
        Purpose::Check {
            name: name.into(),
            verdict: Verdict::Ok,
        }
    }

    fn run(run: u64) -> TracedRun {
        TracedRun {
            run,
            purpose: check("a"),
            plugin: "exec".into(),
            status: Status::Ok,
            fault: None,
            attempt: 1,
            worker: None,
            pid: 0,
            due: 0,
            sent: 0,
            started: 0,
            finished: 0,
            judged: 0,
            cpu_ns: 0,
            phases: Vec::new(),
            message: String::new(),
        }
    }

    fn temp(of: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("healthd-traces-{of}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        dir
    }

    fn told(view: &mut TracesView) -> (Vec<u64>, u64) {
        let (runs, missed) = view.news().expect("a map");
        (runs.iter().map(|(_, run)| run.run).collect(), missed)
    }

    #[test]
    fn a_reader_has_each_run_once_and_knows_of_those_it_missed() {
        let dir = temp("one");
        let map = TracesMap::create(&dir, 1.0, 0o600).expect("map");
        let mut view = TracesView::open(&dir).expect("a map");
        let mut news = || told(&mut view);
        assert_eq!(news(), (vec![], 0));
        map.write(&run(5));
        map.write(&run(6));
        assert_eq!(news(), (vec![5, 6], 0));
        assert_eq!(news(), (vec![], 0));
        // One has no room.
        map.write(&TracedRun {
            purpose: check(&"\u{1}".repeat(255)),
            ..run(7)
        });
        map.write(&run(8));
        assert_eq!(news(), (vec![8], 1));
        // More than the ring has.
        let many = TRACES_CAPACITY as u64 + 3;
        (0..many).for_each(|n| map.write(&run(n)));
        let (runs, missed) = news();
        assert_eq!((runs.len(), runs[0], missed), (TRACES_CAPACITY, 3, 3));
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn another_map_counts_on_and_what_was_not_read_of_the_one_before_is_missed() {
        let dir = temp("next");
        let map = TracesMap::create(&dir, 1.0, 0o600).expect("map");
        let mut view = TracesView::open(&dir).expect("a map");
        map.write(&run(5));
        assert_eq!(told(&mut view), (vec![5], 0));
        map.write(&run(6));
        assert!(!view.is_replaced(&dir));
        let map = TracesMap::create(&dir, 1.0, 0o600).expect("map");
        assert!(view.is_replaced(&dir));
        map.write(&run(7));
        let mut next = view.next(&dir).expect("a map");
        assert_eq!(told(&mut next), (vec![7], 1));
        // With the one before read to its end nothing is.
        assert_eq!(told(&mut view), (vec![6], 0));
        assert_eq!(told(&mut view.next(&dir).expect("a map")), (vec![7], 0));
        // Where none was before, its numbers begin anew, and no mark of others counts.
        Mark::new(&dir, 2).write().expect("a mark");
        std::fs::remove_file(dir.join(TRACES_FILE)).expect("it is there");
        let map = TracesMap::create(&dir, 1.0, 0o600).expect("map");
        (8..12).for_each(|n| map.write(&run(n)));
        let mut anew = TracesView::open(&dir).expect("a map");
        assert_eq!(told(&mut anew), (vec![8, 9, 10, 11], 0));
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn a_reader_goes_on_where_the_one_before_was_done() {
        let dir = temp("mark");
        let map = TracesMap::create(&dir, 1.0, 0o600).expect("map");
        (1..=4).for_each(|n| map.write(&run(n)));
        let open = || TracesView::open(&dir).expect("a map");
        let (runs, _) = open().news().expect("a map");
        Mark::new(&dir, runs[1].0).write().expect("a mark");
        assert_eq!(told(&mut open()), (vec![3, 4], 0));
        // What says nothing, or too much, is no mark: rather twice than never.
        for text in ["", "x", "5"] {
            std::fs::write(dir.join(SENT_FILE), text).expect("our own directory");
            assert_eq!(told(&mut open()), (vec![1, 2, 3, 4], 0), "{text:?}");
        }
        TracesMap::remove(&dir);
        assert!(std::fs::read_dir(&dir).expect("temp dir").next().is_none());
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}
