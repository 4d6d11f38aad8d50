//! The checks as they are, in rows of little memory: read from `state.map` at most some times a second, however many
//! look. Only records that were written since are read anew.

use crate::times;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::wire::maps::{
    CHECK_WORDS, CheckRecord, LAYOUT_VERSION, SLOT_WORDS, STATE_FILE, STATE_HEAD, SlotRecord, WORD,
    check_offset, names_offset, slot_offset, state_header, state_size, words_at,
};
use healthd_scoreboard::map::{each_changed, each_record, read_words};
use healthd_sys::{clock, files};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A picture is good for so long.
const GOOD_FOR: Duration = Duration::from_millis(200);
/// The manager turns twice a second; so long without is a manager that hangs, or is dead.
const SILENT: u64 = 10_000_000_000;

#[derive(Clone, Debug)]
pub struct Row {
    pub name: Box<str>,
    pub title: Box<str>,
    pub plugin: Rc<str>,
    pub verdict: Option<Verdict>,
    pub status: Option<Status>,
    pub paused: bool,
    pub disabled: bool,
    pub quarantined: bool,
    pub attempt: u32,
    pub attempts: u32,
    /// CLOCK_REALTIME, ns; 0: never.
    pub since: u64,
    pub last_run: u64,
    /// CLOCK_MONOTONIC, ns.
    pub next_run: u64,
    pub valid_until: u64,
    pub hold_until: u64,
    pub latency_ns: u64,
    /// Of the last run.
    pub fault: Option<Fault>,
    pub message: Box<str>,
}

#[derive(Clone, Default)]
pub struct Picture {
    /// Another one: checks stand elsewhere, or are counted elsewhere.
    pub shape: u64,
    pub rows: Vec<Row>,
    /// Of each row's record: another one, another content.
    pub numbers: Vec<u64>,
    pub slots: Vec<(u32, SlotRecord)>,
    /// CLOCK_MONOTONIC, ns.
    pub beat: u64,
}

impl Picture {
    /// Why nothing here need be so any more.
    pub fn silence(&self) -> Option<String> {
        let age = clock::monotonic_ns().saturating_sub(self.beat);
        (age > SILENT).then(|| times::span(age))
    }
}

pub struct Viewer {
    dir: PathBuf,
    file: Option<Open>,
    picture: Rc<Picture>,
    read_at: Option<Instant>,
    shapes: u64,
    /// Rows that were stale at the last look.
    stale: usize,
    plugins: Vec<Rc<str>>,
}

struct Open {
    file: File,
    id: (u64, u64),
    head: [u64; 16],
    names: Vec<u8>,
}

impl Viewer {
    pub fn new(dir: &Path) -> Viewer {
        Viewer {
            dir: dir.to_owned(),
            file: None,
            picture: Rc::default(),
            read_at: None,
            shapes: 0,
            stale: 0,
            plugins: Vec::new(),
        }
    }

    pub fn picture(&mut self) -> io::Result<Rc<Picture>> {
        if self.read_at.is_some_and(|at| at.elapsed() < GOOD_FOR) {
            return Ok(self.picture.clone());
        }
        self.reopen()?;
        let open = self.file.as_ref().expect("it was opened just now");
        let (slots, checks) = open.counts();
        use state_header as h;
        let head: [u64; 16] = read_words(&open.file, 0)?;
        // Whoever holds the one before keeps it; then this is a new one.
        let mut picture = Rc::unwrap_or_clone(std::mem::take(&mut self.picture));
        let now = clock::monotonic_ns();
        let plugins = &mut self.plugins;
        let Picture { rows, numbers, .. } = &mut picture;
        // Empty until they are written.
        rows.resize_with(checks, || Row::new(&CheckRecord::default(), plugins));
        numbers.resize(checks, 0);
        let mut moved = false;
        let from = check_offset(slots, 0);
        let read = each_changed::<CHECK_WORDS>(&open.file, from, numbers, |n, words| {
            let record = CheckRecord::from_words(words, &open.names);
            let new = Row::new(&record, plugins);
            moved |= !rows[n].stands_as(&new, now);
            rows[n] = new;
        });
        if let Err(e) = read {
            self.file = None;
            return Err(e);
        }
        // A row grows stale without being written.
        let stale = rows.iter().filter(|row| row.is_stale(now)).count();
        moved |= std::mem::replace(&mut self.stale, stale) != stale;
        self.shapes += u64::from(moved);
        picture.shape = self.shapes;
        picture.beat = head[h::BEAT];
        picture.slots.clear();
        let used = &mut picture.slots;
        each_record::<SLOT_WORDS>(&open.file, slot_offset(0), slots, |n, words| {
            let record = words.map(SlotRecord::from_words).filter(|s| s.used);
            used.extend(record.map(|record| (n as u32, record)));
        })?;
        self.picture = Rc::new(picture);
        self.read_at = Some(Instant::now());
        Ok(self.picture.clone())
    }

    /// The map that has the name now, if it is another one.
    fn reopen(&mut self) -> io::Result<()> {
        let path = self.dir.join(STATE_FILE);
        let now = std::fs::metadata(&path)?;
        let id = (now.dev(), now.ino());
        if self.file.as_ref().is_some_and(|open| open.id == id) {
            return Ok(());
        }
        let file = files::open(&path)?;
        let meta = file.metadata()?;
        let mut bytes = vec![0; STATE_HEAD as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let size = state_size(&bytes).map_err(io::Error::other)?;
        let head: [u64; 16] = words_at(&bytes, 0).ok_or(io::ErrorKind::InvalidData)?;
        if head[state_header::VERSION] != LAYOUT_VERSION || meta.len() != size {
            return Err(io::Error::other("state.map is of another version"));
        }
        let mut open = Open {
            file,
            id: (meta.dev(), meta.ino()),
            head,
            names: vec![0; head[state_header::NAMES] as usize * WORD],
        };
        let (slots, checks) = open.counts();
        let from = names_offset(slots, checks) * WORD;
        open.file.read_exact_at(&mut open.names, from as u64)?;
        self.file = Some(open);
        self.picture = Rc::default();
        self.shapes += 1;
        Ok(())
    }
}

impl Open {
    fn counts(&self) -> (usize, usize) {
        use state_header as h;
        (self.head[h::SLOTS] as usize, self.head[h::CHECKS] as usize)
    }
}

impl Row {
    fn new(record: &CheckRecord<'_>, plugins: &mut Vec<Rc<str>>) -> Row {
        let plugin = match plugins.iter().find(|p| ***p == *record.plugin) {
            Some(known) => known.clone(),
            None => {
                let new: Rc<str> = Rc::from(&*record.plugin);
                plugins.push(new.clone());
                new
            }
        };
        Row {
            name: Box::from(&*record.name),
            title: Box::from(&*record.title),
            plugin,
            verdict: record.verdict(),
            status: record.status().filter(|_| record.last_run != 0),
            paused: record.paused,
            disabled: record.disabled,
            quarantined: record.standing.quarantine.is_some(),
            attempt: record.attempt,
            attempts: record.attempts,
            since: record.since,
            last_run: record.last_run,
            next_run: record.next_run,
            valid_until: record.valid_until,
            hold_until: record.standing.hold_until,
            latency_ns: record.latency_ns,
            fault: record.fault,
            message: Box::from(&*record.message),
        }
    }

    /// Whether both have the same place on every page, and count as the same.
    fn stands_as(&self, other: &Row, now: u64) -> bool {
        let of = |row: &Row| {
            let behind = row.fault == Some(Fault::Dependency);
            let (verdict, status) = (row.verdict, row.status);
            let rests = row.paused || row.disabled;
            (verdict, status, rests, behind, row.is_stale(now))
        };
        of(self) == of(other)
            && (self.fault != Some(Fault::Dependency) || self.message == other.message)
            && (&self.name, &self.plugin) == (&other.name, &other.plugin)
    }

    pub fn is_stale(&self, now: u64) -> bool {
        self.valid_until != 0 && now > self.valid_until
    }

    /// Title if it has one.
    pub fn label(&self) -> &str {
        match self.title.is_empty() {
            true => &self.name,
            false => &self.title,
        }
    }

    /// Problems first: 0 to 3 are such, as `healthctl status` sorts them.
    pub fn urgency(&self, now: u64) -> u8 {
        match self.verdict {
            _ if self.paused || self.disabled => 6,
            Some(Verdict::Critical) => 0,
            Some(Verdict::Unknown) | None => 1,
            Some(Verdict::Warning) => 2,
            _ if self.status.is_some_and(|s| s != Status::Ok) => 3,
            Some(Verdict::Pending) => 4,
            Some(Verdict::Ok) if self.is_stale(now) => 4,
            Some(Verdict::Ok) => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::overview::tests::row;

    #[test]
    fn a_run_that_says_the_same_moves_no_check_and_what_a_page_goes_by_does() {
        let before = row("web/a", Verdict::Ok);
        let as_before = |change: fn(&mut Row)| {
            let mut after = before.clone();
            change(&mut after);
            before.stands_as(&after, 100)
        };
        assert!(as_before(|row| {
            row.last_run += 1;
            row.latency_ns += 1;
            row.valid_until = 101;
            row.message = "HTTP 200".into();
        }));
        for change in [
            (|row| row.verdict = Some(Verdict::Critical)) as fn(&mut Row),
            |row| row.status = Some(Status::Warning),
            |row| row.paused = true,
            |row| row.valid_until = 99,
            |row| row.name = "web/b".into(),
        ] {
            assert!(!as_before(change));
        }
        // Behind which check it lies stands in its message.
        let behind = |message: &str| Row {
            fault: Some(Fault::Dependency),
            message: message.into(),
            ..before.clone()
        };
        assert!(!before.stands_as(&behind("a"), 100));
        assert!(!behind("a").stands_as(&behind("b"), 100));
        assert!(behind("a").stands_as(&behind("a"), 100));
    }
}
