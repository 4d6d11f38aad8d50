//! `traces.map`: how some of the runs went, for the process that sends them on.

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
use std::path::Path;

pub struct TracesMap {
    map: Map,
    share: f64,
    key: u64,
    last: Cell<u64>,
}

impl TracesMap {
    /// `share`: of the runs, 0 to 1.
    pub fn create(dir: &Path, share: f64, mode: u32) -> io::Result<TracesMap> {
        let mut map = Map::prepare(&dir.join(TRACES_FILE), traces_words(), mode)?;
        // What std seeds its hash tables with is random.
        let keys = [0, 1].map(|n| RandomState::new().hash_one(n));
        map.set(h::CAPACITY, TRACES_CAPACITY as u64);
        map.set(h::KEYS, keys[0]);
        map.set(h::KEYS + 1, keys[1]);
        map.set(h::VERSION, TRACES_VERSION);
        map.set(h::MAGIC, TRACES_MAGIC);
        map.reveal()?;
        Ok(TracesMap {
            map,
            share,
            key: keys[0],
            last: Cell::new(0),
        })
    }

    /// None any more: a reader finds no file.
    pub fn remove(dir: &Path) {
        let _ = std::fs::remove_file(dir.join(TRACES_FILE));
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

impl TracesView {
    pub fn open(dir: &Path) -> io::Result<TracesView> {
        let file = files::open(&dir.join(TRACES_FILE))?;
        let head = read_words::<TRACES_HEAD>(&file, 0)?;
        let (_, keys) = read_head(&head).map_err(io::Error::other)?;
        Ok(TracesView {
            file,
            keys,
            seen: 0,
        })
    }

    /// Whether the file that has the name now is another one.
    pub fn is_replaced(&self, dir: &Path) -> bool {
        let id = |meta: io::Result<std::fs::Metadata>| meta.map(|m| (m.dev(), m.ino())).ok();
        id(self.file.metadata()) != id(std::fs::metadata(dir.join(TRACES_FILE)))
    }

    /// What was written since the last look, oldest first, and how many of them are not there any more.
    pub fn news(&mut self) -> io::Result<(Vec<TracedRun>, u64)> {
        let (last, _) =
            read_head(&read_words::<TRACES_HEAD>(&self.file, 0)?).map_err(io::Error::other)?;
        let oldest = last.saturating_sub(TRACES_CAPACITY as u64) + 1;
        let from = oldest.max(self.seen + 1);
        let mut missed = from - self.seen - 1;
        let mut runs = Vec::new();
        for number in from..=last {
            let read = || read_words::<TRACE_WORDS>(&self.file, trace_offset(number));
            match run_in(&read()?, &read()?, number) {
                Some(run) => runs.push(run),
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

    fn run(run: u64) -> TracedRun {
        TracedRun {
            run,
            check: "a".into(),
            plugin: "exec".into(),
            status: Status::Ok,
            verdict: Verdict::Ok,
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

    #[test]
    fn a_reader_has_each_run_once_and_knows_of_those_it_missed() {
        let dir = std::env::temp_dir().join(format!("healthd-traces-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        let map = TracesMap::create(&dir, 1.0, 0o600).expect("map");
        let mut view = TracesView::open(&dir).expect("a map");
        let mut news = || {
            let (runs, missed) = view.news().expect("a map");
            let runs: Vec<u64> = runs.iter().map(|r| r.run).collect();
            (runs, missed)
        };
        assert_eq!(news(), (vec![], 0));
        map.write(&run(5));
        map.write(&run(6));
        assert_eq!(news(), (vec![5, 6], 0));
        assert_eq!(news(), (vec![], 0));
        // One has no room.
        map.write(&TracedRun {
            check: "\u{1}".repeat(255),
            ..run(7)
        });
        map.write(&run(8));
        assert_eq!(news(), (vec![8], 1));
        // More than the ring has.
        let many = TRACES_CAPACITY as u64 + 3;
        (0..many).for_each(|n| map.write(&run(n)));
        let (runs, missed) = news();
        assert_eq!((runs.len(), runs[0], missed), (TRACES_CAPACITY, 3, 3));
        // Another manager begins anew.
        assert!(!view.is_replaced(&dir));
        let again = TracesMap::create(&dir, 1.0, 0o600).expect("map");
        assert!(view.is_replaced(&dir));
        again.write(&run(1));
        let view = &mut TracesView::open(&dir).expect("a map");
        assert_eq!(view.news().expect("a map"), (vec![run(1)], 0));
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}
