//! The process: events once a second, counters once a minute, and what is to be done when the file or the disk will
//! not have them.

use crate::db::{Db, Place, Trouble};
use crate::kept::Kept;
use crate::rolls::{Row, Span};
use crate::status::Status;
use crate::steady::Steady;
use healthd_core::config::History;
use healthd_core::wire::events::{EventKind, EventRecord};
use healthd_core::wire::glob::Glob;
use healthd_core::wire::history::{HISTORY_FILE, LEVELS};
use healthd_core::wire::maps::{STATE_FILE, STATE_HEAD, WORD, read_state, state_size, words_at};
use healthd_core::wire::metrics::Value;
use healthd_core::wire::names;
use healthd_core::wire::roles::ReaderArgs;
use healthd_core::wire::samples::{
    SAMPLE_WORDS, SAMPLES_FILE, SAMPLES_HEAD, SampleRecord, sample, sample_offset, samples_header,
    samples_size,
};
use healthd_scoreboard::events_map::EventsView;
use healthd_scoreboard::map::each_record;
use healthd_scoreboard::metrics_map::MetricsView;
use healthd_sys::signals::Signals;
use healthd_sys::{clock, files};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

const S: u64 = 1_000_000_000;
/// Between two looks at the events.
const TURN: u64 = S;
/// Between two looks at the counters; the first few come sooner, so that there is something to see.
const LOOK: u64 = 60 * S;
const FIRST_LOOK: u64 = 5 * S;
/// After a write that failed.
const RETRY: u64 = 5 * S;
/// Events that are written at once.
const EVENTS: usize = 200;
/// Rows that are written at once: what one transaction may add to the log.
const ROWS: usize = 2000;
const HOUR: u64 = 3600;

pub struct Watch {
    args: ReaderArgs,
    path: PathBuf,
    most: u64,
    status: Status,
    /// None: it could not be opened, and is tried again.
    db: Option<Db>,
    place: Place,
    kept: Kept,
    /// The counters as they were opened last.
    samples: Option<File>,
    /// The file of counters whose checks have their numbers.
    numbered: Option<(u64, u64)>,
    /// CLOCK_MONOTONIC, ns.
    looked_at: u64,
    next_look: u64,
    next_try: u64,
    look_again: u64,
    /// Which metrics of plugins are kept; and what they were at the last look, by check.
    keep: Vec<Glob>,
    values: HashMap<String, Vec<Value>>,
    /// CLOCK_REALTIME, s, of the last hour in which old rows were removed.
    tidied: u64,
    clock: Steady,
    /// What has been said of the file's trouble, and is not said again until it is over.
    said: Option<String>,
    /// The daemon that is seen now was told of.
    greeted: bool,
}

impl Watch {
    pub fn new(args: &ReaderArgs, history: History) -> io::Result<Watch> {
        let path = args.state_dir.join(HISTORY_FILE);
        let now = clock::monotonic_ns();
        let kept = Kept::load(&args.runtime_dir, &args.state_dir);
        // While there was no recorder the manager counted on.
        let away = (kept.saved).map_or(0, |saved| clock::realtime_ns().saturating_sub(saved));
        Ok(Watch {
            status: Status::create(&args.runtime_dir, &path, history.max_size)?,
            path,
            most: history.max_size,
            db: None,
            place: Place::default(),
            kept,
            samples: None,
            numbered: None,
            looked_at: now.saturating_sub(away),
            next_look: now,
            next_try: now,
            look_again: FIRST_LOOK / 2,
            keep: history.keep.iter().map(|g| Glob::new(g)).collect(),
            values: HashMap::new(),
            tidied: 0,
            clock: Steady::default(),
            said: None,
            greeted: false,
            args: args.clone(),
        })
    }

    pub fn run(mut self, signals: &Signals) -> io::Result<()> {
        log::info!("recorder writes  file={}", self.path.display());
        loop {
            self.turn();
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let wait = PollTimeout::try_from(TURN / 1_000_000).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut fds, wait);
            while let Some(signal) = signals.next() {
                if signal.number == Signal::SIGTERM as i32 {
                    self.end();
                    return Ok(());
                }
            }
        }
    }

    fn turn(&mut self) {
        self.status.beat();
        let now = clock::monotonic_ns();
        if now < self.next_try {
            return;
        }
        let done = self.record(now);
        match done {
            Ok(()) => {
                if self.said.take().is_some() {
                    log::info!("history is written again");
                }
            }
            Err(trouble) => self.trouble(&trouble, now),
        }
        if let Some(db) = &self.db {
            self.status.sizes(db.sizes());
        }
    }

    fn record(&mut self, now: u64) -> Result<(), Trouble> {
        if self.db.is_none() {
            let db = Db::open(&self.path, self.most)?;
            self.place = db.place()?;
            self.db = Some(db);
            self.numbered = None;
        }
        self.events()?;
        if now >= self.next_look || self.is_row_full() {
            self.look(now)?;
            self.look_again = (self.look_again * 2).min(LOOK);
            self.next_look = now + self.look_again;
        }
        Ok(())
    }

    /// The last words: what happened until now, and what is counted and has no row yet.
    fn end(&mut self) {
        let now = clock::monotonic_ns();
        let done = self.record(now).and_then(|()| self.look(now));
        if let Err(trouble) = done {
            self.trouble(&trouble, now);
        }
        if let Err(e) = self.kept.save(&self.args.state_dir, clock::realtime_ns()) {
            log::warn!("what was counted since the last hour is not kept: {e}");
        }
        if let Some(db) = &self.db {
            let _ = db.checkpoint();
        }
    }

    fn trouble(&mut self, trouble: &Trouble, now: u64) {
        self.status.failed();
        self.next_try = now + RETRY;
        let text = trouble.to_string();
        if self.said.as_deref().map(first_word) != Some(first_word(&text)) {
            log::error!("history is not written: {text}");
        }
        if let Trouble::Broken(why) = trouble {
            self.db = None;
            match Db::put_aside(&self.path) {
                Ok(aside) => {
                    log::error!("a new history is begun; the old one is {}", aside.display());
                    self.next_try = now;
                    if let Ok(mut db) = Db::open(&self.path, self.most) {
                        let time = clock::realtime_ns();
                        let _ = db.write_note(time, "history-broken", 1, why);
                    }
                }
                Err(e) => log::error!("it cannot be put aside: {e}"),
            }
        }
        self.said = Some(text);
    }

    // ------------------------------------------------------------------------------------- events

    fn events(&mut self) -> Result<(), Trouble> {
        let Ok(view) = EventsView::open(&self.args.runtime_dir) else {
            // The manager has none yet.
            return Ok(());
        };
        let Ok(ring) = view.ring() else {
            return Ok(());
        };
        if ring.last < self.place.last {
            // A state folder that was emptied: the numbers began anew, behind what is written.
            self.place.base += self.place.last;
            self.place.last = 0;
        }
        while self.place.last < ring.last {
            let (from, missed) = match self.place.last {
                // What was before the first recorder is no loss.
                0 => (ring.begin(0).0, 0),
                last => ring.begin(last),
            };
            let mut events = Vec::new();
            for number in from..=ring.last.min(from.saturating_add(EVENTS as u64 - 1)) {
                match view.read(number) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) | Err(_) => break,
                }
            }
            let Some(newest) = events.last().map(|e| e.number) else {
                // Overwritten under our eyes: the next look sees how far.
                return Ok(());
            };
            self.status
                .waits_since(events.first().map_or(0, |e| e.time));
            let place = Place {
                last: newest,
                ..self.place
            };
            self.greet(&events)?;
            let Some(db) = &mut self.db else { break };
            db.write_events(&events, missed, place)?;
            if missed > 0 {
                self.status.lost(missed);
                log::warn!(
                    "history lacks events that came while it could not be written  missed={missed}"
                );
            }
            self.place = place;
        }
        self.status.waits_since(0);
        Ok(())
    }

    /// Between the last sign of life of the daemon before and the start of this one nobody looked.
    fn greet(&mut self, events: &[EventRecord]) -> Result<(), Trouble> {
        let started = events.iter().find(|e| e.kind == EventKind::Started);
        if let (false, Some(started), Some(db)) = (self.greeted, started, &mut self.db) {
            let alive = db.alive()?;
            if alive > 0 && alive < started.time {
                let text = "the daemon did not run";
                db.write_note(alive, "unseen", started.time - alive, text)?;
            }
            self.greeted = true;
        }
        Ok(())
    }

    // ----------------------------------------------------------------------------------- counters

    /// Has a level's row reached its end?
    fn is_row_full(&self) -> bool {
        let now = clock::realtime_ns() / S;
        let mut spans = self.kept.levels.iter().flatten();
        spans.any(|(span, _)| now >= span.end)
    }

    fn look(&mut self, now: u64) -> Result<(), Trouble> {
        let wall = clock::realtime_ns();
        let seconds = wall / S;
        let is_steady = self.clock.look(now, wall);
        let counted = now.saturating_sub(self.looked_at);
        let is_full = |level: &Option<(Span, u64)>| level.is_some_and(|(s, _)| seconds >= s.end);
        let full: Vec<usize> = (0..LEVELS.len())
            .filter(|level| is_full(&self.kept.levels[*level]))
            .collect();
        if self.count().is_err() {
            // It is being replaced; the next look has it.
            return Ok(());
        }
        self.looked_at = now;
        for (level, open) in self.kept.levels.iter_mut().enumerate() {
            let (_, sum) = open.get_or_insert_with(|| (Span::at(level, seconds), 0));
            *sum += counted;
        }
        // The finest with each look, the others when a row of the finest is full.
        let written = match full.is_empty() {
            true => 0..1,
            false => 0..LEVELS.len(),
        };
        for level in written {
            self.write_level(level)?;
        }
        for level in full {
            self.kept.levels[level] = Some((Span::at(level, seconds), 0));
            for check in self.kept.checks.values_mut() {
                check.open.close(level);
            }
        }
        self.kept.checks.retain(|_, check| {
            let is_open = (0..LEVELS.len()).any(|level| check.open.row(level).is_some());
            check.present || is_open
        });
        let _ = self.kept.save(&self.args.runtime_dir, wall);
        let Some(db) = &mut self.db else {
            return Ok(());
        };
        db.write_alive(wall)?;
        if seconds / HOUR != self.tidied {
            if is_steady {
                db.forget_old(seconds)?;
            }
            self.tidied = seconds / HOUR;
            self.numbered = None;
            let _ = self.kept.save(&self.args.state_dir, wall);
        }
        db.checkpoint()
    }

    fn write_level(&mut self, level: usize) -> Result<(), Trouble> {
        let Some((span, counted)) = self.kept.levels[level] else {
            return Ok(());
        };
        let all = LEVELS[level].seconds;
        let seconds = match (counted + S / 2) / S {
            near if near.abs_diff(all) <= 2 => all,
            seconds => seconds.max(1),
        };
        let mut rows: Vec<(i64, Row)> = (self.kept.checks.values())
            .filter(|check| check.id != 0)
            .filter_map(|check| Some((check.id, check.open.row(level)?)))
            .collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        let Some(db) = &mut self.db else {
            return Ok(());
        };
        for part in rows.chunks(ROWS) {
            db.write_rows(level, span.start, seconds, part)?;
        }
        let id = |name: &String| Some(self.kept.checks.get(name)?.id).filter(|id| *id != 0);
        let values: Vec<(i64, &str, f64)> = (self.values.iter())
            .filter_map(|(name, values)| Some((id(name)?, values)))
            .flat_map(|(id, values)| values.iter().map(move |v| (id, v.name.as_str(), v.value)))
            .collect();
        for part in values.chunks(ROWS) {
            db.write_metrics(level, span.start, part)?;
        }
        Ok(())
    }

    /// Adds what the counters have more than at the last look.
    fn count(&mut self) -> io::Result<()> {
        // A manager that has ended has removed its map; what it had counted at last is still in ours.
        let file = match (
            files::open(&self.args.runtime_dir.join(SAMPLES_FILE)),
            &self.samples,
        ) {
            (Ok(file), _) => file,
            (Err(_), Some(last)) => last.try_clone()?,
            (Err(e), None) => return Err(e),
        };
        self.samples = Some(file.try_clone()?);
        let mut head = vec![0; SAMPLES_HEAD as usize];
        file.read_exact_at(&mut head, 0)?;
        samples_size(&head).map_err(io::Error::other)?;
        let words: [u64; 5] = words_at(&head, 0).ok_or(io::ErrorKind::InvalidData)?;
        let checks = words[samples_header::CHECKS] as usize;
        let mut text = vec![0; words[samples_header::NAMES] as usize * WORD];
        file.read_exact_at(&mut text, (sample_offset(checks) * WORD) as u64)?;
        self.kept
            .checks
            .values_mut()
            .for_each(|c| c.present = false);
        self.values.clear();
        let metrics = (!self.keep.is_empty()).then(|| MetricsView::open(&self.args.runtime_dir));
        let mut measured: HashMap<usize, Vec<Value>> = HashMap::new();
        if let Some(Ok(metrics)) = metrics
            && metrics.checks == checks
        {
            let keep = &self.keep;
            metrics.each(|n, mut values, _| {
                values.retain(|v| keep.iter().any(|glob| glob.matches(&v.name)));
                if !values.is_empty() {
                    measured.insert(n, values);
                }
            })?;
        }
        let (kept, now) = (&mut self.kept.checks, &mut self.values);
        each_record::<SAMPLE_WORDS>(&file, sample_offset(0), checks, |n, words| {
            let Some(words) = words else { return };
            let (name, _) = names::at(&text, words[sample::PLACE] & !0xff00);
            if name.is_empty() {
                return;
            }
            let record = SampleRecord::from_words(words);
            if let Some(values) = measured.remove(&n) {
                now.insert(name.to_string(), values);
            }
            match kept.get_mut(&*name) {
                Some(check) => check.look(&record),
                None => kept.entry(name.into_owned()).or_default().look(&record),
            }
        })?;
        let meta = file.metadata()?;
        let which = (meta.dev(), meta.ino());
        if self.numbered != Some(which) && self.number().is_ok() {
            self.numbered = Some(which);
        }
        Ok(())
    }

    /// Gives each check its number in the database.
    fn number(&mut self) -> Result<(), Trouble> {
        let standing = self.standing();
        let now = clock::realtime_ns();
        let names: Vec<(String, String, u64)> = (self.kept.checks.keys())
            .map(|name| {
                let (verdict, since) = standing.get(name).copied().unwrap_or(("pending", now));
                (name.clone(), verdict.to_owned(), since)
            })
            .collect();
        let Some(db) = &mut self.db else {
            return Ok(());
        };
        for part in names.chunks(ROWS) {
            for ((name, ..), id) in part.iter().zip(db.ids(part, now)?) {
                if let Some(check) = self.kept.checks.get_mut(name) {
                    check.id = id;
                }
            }
        }
        Ok(())
    }

    /// The verdict of each check and since when.
    fn standing(&self) -> HashMap<String, (&'static str, u64)> {
        let path = self.args.runtime_dir.join(STATE_FILE);
        let state = files::read_sized(&path, STATE_HEAD, state_size)
            .map_err(|e| e.to_string())
            .and_then(|bytes| read_state(&bytes));
        let checks = state.map(|state| state.checks).unwrap_or_default();
        checks
            .into_iter()
            .filter_map(|(_, c)| {
                let verdict = c.verdict()?.as_str();
                Some((c.name.into_owned(), (verdict, c.since)))
            })
            .collect()
    }
}

/// Numbers in a text change; what it is about does not.
fn first_word(text: &str) -> &str {
    text.split(['(', ':']).next().unwrap_or(text)
}
