//! The log of one state directory, as the store thread writes it: rows that have changed are appended, and all rows are
//! written anew when most of the log is out of date.

use crate::books::record_log::{Batch, RecordLog};
use crate::books::saved::{self, News, OLD_STATE_FILE, STATE_FILE, Saved, SavedCheck};
use healthd_sys::files;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The log is written anew when it is so much longer than twice what is in it.
const SLACK: u64 = 256 << 10;
const BATCH: usize = 256 << 10;

pub struct Disk {
    path: PathBuf,
    /// None until all was written once: what lies there before is another daemon's.
    log: Option<RecordLog>,
    /// What the log has of each check, by the hash of its name.
    rows: HashMap<u64, Row>,
    /// Bytes of the log that count.
    live: u64,
}

#[derive(Clone, Copy)]
struct Row {
    hash: u64,
    bytes: u32,
}

impl Disk {
    pub fn new(dir: &Path) -> Disk {
        Disk {
            path: dir.join(STATE_FILE),
            log: None,
            rows: HashMap::new(),
            live: 0,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Most of it is out of date.
    pub fn is_long(&self) -> bool {
        let len = self.log.as_ref().map_or(0, RecordLog::len);
        len > SLACK + 2 * self.live
    }

    pub fn all(&mut self, state: &Saved) -> io::Result<()> {
        let known = state.checks.iter().map(|c| hash_of(&c.name));
        let known: HashSet<u64> = known.collect();
        let gone = self.rows.keys().any(|name| !known.contains(name));
        if self.log.is_none() || gone || self.is_long() {
            match self.anew(state) {
                // There may be room for a little more, though not for all once more.
                Err(_) if self.log.is_some() => {}
                done => return done,
            }
        }
        self.append(state.next_run, &state.checks, &[])
    }

    pub fn news(&mut self, news: &News) -> io::Result<()> {
        match self.log {
            Some(_) => self.append(news.next_run, &news.checks, &news.gone),
            None => Err(io::Error::other("the log could not be begun")),
        }
    }

    /// Those rows that differ from what the log has.
    fn append(&mut self, next_run: u64, checks: &[SavedCheck], gone: &[String]) -> io::Result<()> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let mut batch = Batch::default();
        let mut changed = Vec::new();
        for check in checks {
            let record = saved::check_record(check);
            let (name, row) = (hash_of(&check.name), Row::of(&record));
            if self.rows.get(&name).is_none_or(|r| r.hash != row.hash) {
                batch.push(&record);
                changed.push((name, row));
            }
        }
        for name in gone {
            batch.push(&saved::gone_record(name));
        }
        batch.push(&saved::next_run_record(next_run));
        log.append(&batch)?;
        if let Err(e) = log.sync() {
            // Nobody knows what is on the disk now.
            self.log = None;
            return Err(e);
        }
        for (name, row) in changed {
            let before = self.rows.insert(name, row).map_or(0, |r| r.bytes);
            self.live = self.live + u64::from(row.bytes) - u64::from(before);
        }
        for name in gone {
            let before = self.rows.remove(&hash_of(name)).map_or(0, |r| r.bytes);
            self.live -= u64::from(before);
        }
        Ok(())
    }

    fn anew(&mut self, state: &Saved) -> io::Result<()> {
        let temp = self.path.with_extension("log.new");
        let mut rows = HashMap::with_capacity(state.checks.len());
        let written = write_all(&temp, state, &mut rows)
            .and_then(|log| std::fs::rename(&temp, &self.path).map(|()| log));
        if written.is_err() {
            let _ = std::fs::remove_file(&temp);
        }
        let log = written?;
        self.live = rows.values().map(|r| u64::from(r.bytes)).sum();
        self.rows = rows;
        self.log = Some(log);
        let Some(dir) = self.path.parent() else {
            return Ok(());
        };
        // The name too must survive a power cut, before the older file goes.
        File::open(dir)?.sync_all()?;
        match std::fs::remove_file(dir.join(OLD_STATE_FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

impl Row {
    fn of(record: &[u8]) -> Row {
        Row {
            hash: hash_of(record),
            bytes: record.len() as u32,
        }
    }
}

fn write_all(path: &Path, state: &Saved, rows: &mut HashMap<u64, Row>) -> io::Result<RecordLog> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o640);
    let file = files::open_as(path, &mut options)?;
    file.set_len(0)?;
    let mut log = RecordLog::new(file, saved::MAGIC)?;
    let mut batch = Batch::default();
    batch.push(&saved::next_run_record(state.next_run));
    for check in &state.checks {
        let record = saved::check_record(check);
        rows.insert(hash_of(&check.name), Row::of(&record));
        batch.push(&record);
        if batch.len() >= BATCH {
            log.append(&std::mem::take(&mut batch))?;
        }
    }
    log.append(&batch)?;
    log.sync()?;
    Ok(log)
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::saved::tests::check;
    use healthd_core::check::outcome::{Status, Verdict};
    use proptest::prelude::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("healthd-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).expect("temp dir");
            Dir(dir)
        }

        fn log(&self) -> Vec<u8> {
            std::fs::read(self.0.join(STATE_FILE)).expect("it was written")
        }

        /// Name, verdict and runs of each check, by name.
        fn read(&self) -> Vec<(String, Verdict, u64)> {
            let saved = saved::recall(&self.0).expect("a state");
            rows(&saved.checks)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn rows(checks: &[SavedCheck]) -> Vec<(String, Verdict, u64)> {
        let mut rows: Vec<_> = checks
            .iter()
            .map(|c| (c.name.clone(), c.verdict, c.runs))
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }

    fn row(name: &str, runs: u64) -> SavedCheck {
        let mut row = check(Verdict::Ok, Some(Status::Ok), 1, None);
        row.name = name.to_owned();
        row.runs = runs;
        row
    }

    fn state(checks: Vec<SavedCheck>) -> Saved {
        Saved {
            next_run: 7,
            checks,
        }
    }

    #[test]
    fn one_that_flaps_among_many_appends_a_few_hundred_bytes() {
        let dir = Dir::new("flap");
        let mut disk = Disk::new(&dir.0);
        let all: Vec<_> = (0..20_000).map(|n| row(&format!("web/{n}"), 1)).collect();
        disk.all(&state(all)).expect("room");
        let before = dir.log().len();
        assert!(before > 2_000_000, "{before}");
        let mut one = row("web/777", 2);
        one.verdict = Verdict::Critical;
        let news = News {
            next_run: 9,
            checks: vec![one],
            gone: Vec::new(),
        };
        disk.news(&news).expect("room");
        let more = dir.log().len() - before;
        assert!((100..500).contains(&more), "{more}");
        assert_eq!(dir.read()[1..].len(), 19_999);
        let saved = saved::recall(&dir.0).expect("a state");
        assert_eq!(saved.next_run, 9);
        let one = saved.checks.iter().find(|c| c.name == "web/777");
        assert_eq!(one.map(|c| c.verdict), Some(Verdict::Critical));
    }

    #[test]
    fn the_log_never_grows_far_beyond_what_is_in_it() {
        let dir = Dir::new("grow");
        let mut disk = Disk::new(&dir.0);
        disk.all(&state(vec![row("a", 0), row("b", 0)]))
            .expect("room");
        let mut longest = 0;
        for n in 1..5_000 {
            if disk.is_long() {
                disk.all(&state(vec![row("a", n), row("b", 0)]))
                    .expect("room");
            } else {
                let checks = vec![row("a", n)];
                let gone = Vec::new();
                disk.news(&News {
                    next_run: n,
                    checks,
                    gone,
                })
                .expect("room");
            }
            longest = longest.max(disk.log.as_ref().map_or(0, RecordLog::len));
        }
        assert!(longest < SLACK + 4_000, "{longest}");
        assert_eq!(dir.read()[0].2, 4_999);
    }

    #[test]
    fn what_is_gone_does_not_come_back() {
        let dir = Dir::new("gone");
        let mut disk = Disk::new(&dir.0);
        disk.all(&state(vec![row("a", 1), row("b", 1), row("c", 1)]))
            .expect("room");
        let gone = vec!["b".to_owned()];
        disk.news(&News {
            next_run: 8,
            checks: Vec::new(),
            gone,
        })
        .expect("room");
        assert_eq!(dir.read().len(), 2);
        disk.all(&state(vec![row("a", 1)])).expect("room");
        assert_eq!(rows(&[row("a", 1)]), dir.read());
    }

    #[test]
    fn the_state_of_an_older_healthd_is_read_once_and_taken_over() {
        let dir = Dir::new("older");
        let old = dir.0.join(OLD_STATE_FILE);
        // As the version before this one wrote it.
        let text = r#"{"version":1,"next_run":1234,"checks":[{"name":"web","plugin":"http","verdict":"critical","status":"critical","attempt":3,"against":3,"runs":77,"skipped":1,"since":1764390000000000000,"last_run":1764390003000000000,"message":"connect: connection refused","latency_ns":412000,"worker":1,"paused":"not now"}]}"#;
        std::fs::write(&old, text).expect("our own folder");
        let saved = saved::recall(&dir.0).expect("a state");
        assert_eq!(saved.next_run, 1234);
        let web = &saved.checks[0];
        assert_eq!(
            (web.verdict, web.against(), web.runs),
            (Verdict::Critical, 3, 77)
        );
        assert_eq!(
            web.paused.as_ref().map(|p| p.reason.as_str()),
            Some("not now")
        );
        Disk::new(&dir.0).all(&saved).expect("room");
        assert!(!old.exists());
        assert_eq!(dir.read(), rows(&saved.checks));
        // An older healthd ran once more: what it wrote is newer.
        std::fs::write(&old, text.replace("77", "78")).expect("our own folder");
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        let file = File::options()
            .write(true)
            .open(&old)
            .expect("our own file");
        file.set_modified(later).expect("our own file");
        assert_eq!(dir.read()[0].2, 78);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// After each step the state on disk was known whole; a crash at any byte of a later one leaves no older state
        /// than that, and nothing that never was.
        #[test]
        fn a_crash_at_any_byte_loses_no_more_than_the_last_change(steps in proptest::collection::vec((0_usize..3, 1_u64..50), 1..8)) {
            let dir = Dir::new("cut");
            let names = ["a", "b", "c"];
            let mut disk = Disk::new(&dir.0);
            let mut now: Vec<_> = names.iter().map(|n| row(n, 0)).collect();
            disk.all(&state(now.clone())).expect("room");
            let mut known = vec![(dir.log().len(), rows(&now))];
            for (which, runs) in steps {
                now[which].runs += runs;
                let checks = vec![now[which].clone()];
                disk.news(&News { next_run: 7, checks, gone: Vec::new() }).expect("room");
                known.push((dir.log().len(), rows(&now)));
            }
            let whole = dir.log();
            for cut in known[0].0..=whole.len() {
                std::fs::write(dir.0.join(STATE_FILE), &whole[..cut]).expect("our own folder");
                let read = dir.read();
                let at = known.iter().rposition(|(len, _)| *len <= cut).expect("the first is whole");
                // The record may be whole though the next run id behind it is not.
                let next = known.get(at + 1).map(|(_, rows)| rows);
                prop_assert!(read == known[at].1 || Some(&read) == next, "{read:?}");
            }
        }
    }
}
