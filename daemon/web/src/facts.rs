//! A picture of the daemon, read from its maps for one answer: each check in a row of fixed size, and sums by plugin.
//!
//! Counters never go back while the daemon lives: what a check that was removed had counted stays in the sums.

use healthd_core::check::outcome::Verdict;
use healthd_core::config::{ChosenLabels, LABELS_FILE};
use healthd_core::wire::events::EventKind;
use healthd_core::wire::history::{HISTORY_MAP, HistoryStatus, read_status};
use healthd_core::wire::maps::{
    CHECK_WORDS, CheckRecord, LAYOUT_VERSION, SLOT_WORDS, STATE_FILE, STATE_HEAD, SlotRecord, WORD,
    check_offset, names_offset, slot_offset, state_header, state_size, words_at,
};
use healthd_core::wire::metrics::Value;
use healthd_core::wire::samples::{
    BUCKETS, LATE_BUCKETS, SAMPLE_WORDS, SAMPLES_FILE, SAMPLES_HEAD, SampleRecord, sample,
    sample_offset, samples_header, samples_size,
};
use healthd_scoreboard::events_map::EventsView;
use healthd_scoreboard::map::{each_record, read_words};
use healthd_scoreboard::metrics_map::MetricsView;
use healthd_sys::{clock, files};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// What is so of the daemon as a whole.
pub struct Head {
    /// CLOCK_REALTIME, ns.
    pub started: u64,
    /// CLOCK_MONOTONIC, ns.
    pub beat: u64,
    pub manager_pid: u32,
    pub slots: Vec<(u32, SlotRecord)>,
}

/// A check.
pub struct Row {
    /// Of `Facts::names`.
    name: Range<usize>,
    /// Place in `Facts::plugins`.
    pub plugin: usize,
    pub verdict: Option<Verdict>,
    pub paused: bool,
    pub held: bool,
    pub quarantined: bool,
    /// CLOCK_REALTIME, ns; 0: never.
    pub since: u64,
    pub last_run: u64,
    pub latency_ns: u64,
    /// By the outcomes of `Sum::runs`.
    pub runs: [u64; 5],
    /// Runs that a worker finished, and how long they took.
    pub timed: u64,
    pub sum_ns: u64,
}

/// What the runs of a plugin's checks add up to.
#[derive(Clone)]
pub struct Sum {
    pub runs: [u64; 5],
    pub buckets: [u64; BUCKETS],
    pub sum_ns: u64,
    pub cpu_ns: u64,
    pub crashes: u64,
    pub overruns: u64,
    pub skipped: u64,
    pub late: [u64; LATE_BUCKETS],
    pub late_sum_ns: u64,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum {
            runs: [0; 5],
            buckets: [0; BUCKETS],
            sum_ns: 0,
            cpu_ns: 0,
            crashes: 0,
            overruns: 0,
            skipped: 0,
            late: [0; LATE_BUCKETS],
            late_sum_ns: 0,
        }
    }
}

impl Sum {
    fn add(&mut self, record: &SampleRecord, skipped: u64) {
        let plus = |sum: &mut u64, n: u64| *sum = sum.saturating_add(n);
        let pairs = self.runs.iter_mut().zip(record.runs);
        pairs.for_each(|(sum, n)| plus(sum, n));
        let pairs = self.buckets.iter_mut().zip(record.buckets);
        pairs.for_each(|(sum, n)| plus(sum, n.into()));
        let pairs = self.late.iter_mut().zip(record.late);
        pairs.for_each(|(sum, n)| plus(sum, n.into()));
        plus(&mut self.sum_ns, record.sum_ns);
        plus(&mut self.cpu_ns, record.cpu_ns);
        plus(&mut self.crashes, record.crashes);
        plus(&mut self.overruns, record.overruns);
        plus(&mut self.late_sum_ns, record.late_sum_ns);
        plus(&mut self.skipped, skipped);
    }
}

/// The last word about the config: whether it was taken, and when (CLOCK_REALTIME, ns).
#[derive(Clone, Copy)]
pub struct Reload {
    pub taken: bool,
    pub at: u64,
}

pub struct Facts {
    pub head: Head,
    pub rows: Vec<Row>,
    names: String,
    /// What checks measured, in the order of the rows: the row, and a value.
    pub measured: Vec<(usize, Value)>,
    /// Values for which the map had no room.
    pub dropped: u64,
    /// By `Row::plugin`.
    pub plugins: Vec<(String, Sum)>,
    pub reload: Option<Reload>,
    /// CLOCK_MONOTONIC, ns.
    pub now: u64,
}

impl Facts {
    pub fn name(&self, row: &Row) -> &str {
        &self.names[row.name.clone()]
    }
}

/// What is remembered from one picture to the next.
pub struct Keeper {
    dir: PathBuf,
    maps: Option<Maps>,
    /// When it was read, for as long as somebody has it.
    last: Option<(Instant, Weak<Facts>)>,
    /// Of checks that were removed, by plugin.
    gone: BTreeMap<String, Sum>,
    /// The newest event that was looked at.
    seen: u64,
    reload: Option<Reload>,
    labels: Rc<ChosenLabels>,
    /// The file that they were read from.
    labels_of: Option<(u64, i64)>,
}

/// Both are of the same checks, in the same order.
struct Maps {
    state: File,
    head: [u64; 16],
    samples: File,
    sampled: usize,
}

impl Maps {
    fn open(dir: &Path) -> io::Result<Maps> {
        let state = files::open(&dir.join(STATE_FILE))?;
        let head = header(&state, STATE_HEAD, state_size)?;
        let head: [u64; 16] = words_at(&head, 0).ok_or(io::ErrorKind::InvalidData)?;
        if head[state_header::VERSION] != LAYOUT_VERSION {
            return Err(io::Error::other("state.map is of another version"));
        }
        let samples = files::open(&dir.join(SAMPLES_FILE))?;
        let sampled = header(&samples, SAMPLES_HEAD, samples_size)?;
        let sampled: [u64; 5] = words_at(&sampled, 0).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Maps {
            state,
            head,
            samples,
            sampled: sampled[samples_header::CHECKS] as usize,
        })
    }

    fn is_same(&self, other: &Maps) -> bool {
        let id = |f: &File| f.metadata().map(|m| (m.dev(), m.ino())).ok();
        id(&self.samples) == id(&other.samples)
    }

    fn slots(&self) -> usize {
        self.head[state_header::SLOTS] as usize
    }

    fn checks(&self) -> usize {
        self.head[state_header::CHECKS] as usize
    }

    /// Each check with its index; None: its record was never written. One that its writer died in is of the last two.
    fn each_check(
        &self,
        mut take: impl FnMut(usize, Option<CheckRecord<'static>>),
    ) -> io::Result<()> {
        let from = names_offset(self.slots(), self.checks()) * WORD;
        let mut names = vec![0; self.head[state_header::NAMES] as usize * WORD];
        self.state.read_exact_at(&mut names, from as u64)?;
        each_record::<CHECK_WORDS>(
            &self.state,
            check_offset(self.slots(), 0),
            self.checks(),
            |n, words| {
                let half = || read_words(&self.state, check_offset(self.slots(), n)).ok();
                let words = words.copied().or_else(half).filter(|w| w[0] != 0);
                take(n, words.map(|w| CheckRecord::from_words(&w, &names)));
            },
        )
    }

    fn each_sample(&self, take: impl FnMut(usize, Option<&[u64; SAMPLE_WORDS]>)) -> io::Result<()> {
        each_record(&self.samples, sample_offset(0), self.sampled, take)
    }
}

/// The first bytes of a map whose length is what they say.
fn header(
    file: &File,
    bytes: u64,
    size_of: impl Fn(&[u8]) -> Result<u64, String>,
) -> io::Result<Vec<u8>> {
    let mut head = vec![0; bytes as usize];
    file.read_exact_at(&mut head, 0)?;
    let said = size_of(&head).map_err(io::Error::other)?;
    match file.metadata()?.len() == said {
        true => Ok(head),
        false => Err(io::Error::other("a map has not the size that it claims")),
    }
}

impl Keeper {
    pub fn new(dir: &Path) -> Keeper {
        Keeper {
            dir: dir.to_owned(),
            maps: None,
            last: None,
            gone: BTreeMap::new(),
            seen: 0,
            reload: None,
            labels: Rc::default(),
            labels_of: None,
        }
    }

    /// The labels of checks that the config chose.
    pub fn labels(&mut self) -> Rc<ChosenLabels> {
        let read = || -> io::Result<_> {
            let path = self.dir.join(LABELS_FILE);
            let meta = std::fs::metadata(&path)?;
            let which = (meta.ino(), meta.mtime_nsec());
            if self.labels_of == Some(which) {
                return Ok(None);
            }
            let bytes = files::read(&path, LABELS_MOST)?;
            Ok(Some((which, serde_json::from_slice(&bytes)?)))
        };
        if let Ok(Some((which, labels))) = read() {
            self.labels = Rc::new(labels);
            self.labels_of = Some(which);
        }
        self.labels.clone()
    }

    pub fn head(&mut self) -> io::Result<Head> {
        head(&Maps::open(&self.dir)?)
    }

    /// Who asks while another one is being told has the same, if it is new.
    pub fn facts(&mut self) -> io::Result<Rc<Facts>> {
        let last = self.last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR);
        if let Some(facts) = last.and_then(|(_, facts)| facts.upgrade()) {
            return Ok(facts);
        }
        let facts = Rc::new(self.read()?);
        self.last = Some((Instant::now(), Rc::downgrade(&facts)));
        Ok(facts)
    }

    fn read(&mut self) -> io::Result<Facts> {
        // They may be replaced one after the other while we read.
        let mut last = Ok(());
        for _ in 0..ATTEMPTS {
            let maps = Maps::open(&self.dir)?;
            if let Some(old) = self.maps.take_if(|old| !old.is_same(&maps)) {
                self.bury(&old, &maps)?;
            }
            let facts = self.picture(&maps);
            self.maps = Some(maps);
            match facts {
                Ok(Some(facts)) => return Ok(facts),
                Ok(None) => {}
                Err(e) => last = Err(e),
            }
        }
        last?;
        Err(io::Error::other("the maps are being replaced"))
    }

    /// None: the two maps are not of the same checks.
    fn picture(&mut self, maps: &Maps) -> io::Result<Option<Facts>> {
        self.look_at_events();
        let now = clock::monotonic_ns();
        let mut facts = Facts {
            head: head(maps)?,
            rows: Vec::with_capacity(maps.checks()),
            names: String::new(),
            measured: Vec::new(),
            dropped: 0,
            plugins: Vec::new(),
            reload: self.reload,
            now,
        };
        if maps.sampled != maps.checks() {
            return Ok(None);
        }
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut skipped = Vec::with_capacity(maps.checks());
        // What was counted before is where each sum begins.
        let plugins = &mut facts.plugins;
        for (plugin, sum) in &self.gone {
            places.insert(plugin.clone(), plugins.len());
            plugins.push((plugin.clone(), sum.clone()));
        }
        let mut place_of = |name: &str| match places.get(name) {
            Some(place) => *place,
            None => {
                plugins.push((name.to_owned(), Sum::default()));
                places.insert(name.to_owned(), plugins.len() - 1);
                plugins.len() - 1
            }
        };
        let (rows, names) = (&mut facts.rows, &mut facts.names);
        maps.each_check(|_, record| {
            let record = record.unwrap_or_default();
            let begin = names.len();
            names.push_str(&record.name);
            let standing = record.standing;
            rows.push(Row {
                name: begin..names.len(),
                plugin: place_of(&record.plugin),
                verdict: record.verdict().filter(|_| !record.name.is_empty()),
                paused: record.paused || record.disabled,
                held: standing.hold_until > now,
                quarantined: standing.quarantine.is_some(),
                since: record.since,
                last_run: record.last_run,
                latency_ns: record.latency_ns,
                runs: [0; 5],
                timed: 0,
                sum_ns: 0,
            });
            skipped.push(record.skipped);
        })?;
        let (rows, plugins) = (&mut facts.rows, &mut facts.plugins);
        maps.each_sample(|n, words| {
            let Some(row) = rows.get_mut(n) else {
                return;
            };
            // Of a writer that died inside: each word is only ever added to, so that no counter goes back.
            let half = || read_words(&maps.samples, sample_offset(n)).ok();
            let Some(words) = words.copied().or_else(half) else {
                return;
            };
            let record = SampleRecord::from_words(&words);
            row.runs = record.runs;
            row.sum_ns = record.sum_ns;
            row.timed = record.buckets.iter().map(|n| u64::from(*n)).sum();
            plugins[row.plugin].1.add(&record, skipped[n]);
        })?;
        // It is there only if it is wanted, and of these checks unless it is just being replaced.
        let metrics = MetricsView::open(&self.dir).ok();
        if let Some(metrics) = metrics.filter(|m| m.checks == maps.checks()) {
            let (measured, dropped) = (&mut facts.measured, &mut facts.dropped);
            metrics.each(|n, values, no_room| {
                measured.extend(values.into_iter().map(|value| (n, value)));
                *dropped += no_room;
            })?;
        }
        Ok(Some(facts))
    }

    /// The old maps stand as they were left: what is not in the new ones goes into the sums.
    fn bury(&mut self, old: &Maps, new: &Maps) -> io::Result<()> {
        let mut there = HashSet::new();
        new.each_sample(|_, words| {
            there.extend(words.map(|w| w[sample::HASH]));
        })?;
        let mut plugins = Vec::new();
        old.each_check(|_, record| {
            let record = record.unwrap_or_default();
            plugins.push((record.plugin.into_owned(), record.skipped));
        })?;
        old.each_sample(|n, words| {
            if let (Some(words), Some((plugin, skipped))) = (words, plugins.get(n))
                && !there.contains(&words[sample::HASH])
                && !plugin.is_empty()
            {
                let sum = self.gone.entry(plugin.clone()).or_default();
                sum.add(&SampleRecord::from_words(words), *skipped);
            }
        })
    }

    /// What was said of the config since the last look.
    fn look_at_events(&mut self) {
        let look = || -> io::Result<(u64, Option<Reload>)> {
            let events = EventsView::open(&self.dir)?;
            let ring = events.ring()?;
            let mut found = None;
            for number in ring.begin(self.seen).0..=ring.last {
                let Some(event) = events.read(number)? else {
                    continue;
                };
                let taken = match event.kind {
                    EventKind::Started | EventKind::Reloaded => true,
                    EventKind::ReloadRefused => false,
                    _ => continue,
                };
                found = Some(Reload {
                    taken,
                    at: event.time,
                });
            }
            Ok((ring.last, found))
        };
        if let Ok((last, found)) = look() {
            self.seen = last;
            self.reload = found.or(self.reload);
        }
    }
}

/// What the recorder says of itself.
pub fn history_status(dir: &Path) -> Option<HistoryStatus> {
    let bytes = files::read(&dir.join(HISTORY_MAP), 1 << 16).ok()?;
    read_status(&bytes)
}

fn head(maps: &Maps) -> io::Result<Head> {
    use state_header as h;
    let mut slots = Vec::new();
    each_record::<SLOT_WORDS>(&maps.state, slot_offset(0), maps.slots(), |n, words| {
        let record = words.map(SlotRecord::from_words).filter(|s| s.used);
        slots.extend(record.map(|record| (n as u32, record)));
    })?;
    Ok(Head {
        started: maps.head[h::STARTED],
        beat: maps.head[h::BEAT],
        manager_pid: maps.head[h::MANAGER_PID] as u32,
        slots,
    })
}

const ATTEMPTS: usize = 5;
/// A picture that somebody has.
const GOOD_FOR: Duration = Duration::from_millis(200);
const LABELS_MOST: u64 = 64 << 20;
