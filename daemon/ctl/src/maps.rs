//! The maps in the runtime directory, read when the daemon does not answer.
//!
//! Plain reads of files that others may be writing: a record counts only if two copies, one read after
//! the other, hold the same words and an even sequence number. What the maps lack is None.

use healthd_core::config::did_you_mean;
use healthd_core::matching::Match;
use healthd_core::wire::control::{CheckRow, Filter, WorkerRow};
use healthd_core::wire::glob;
use healthd_core::wire::maps::{
    CHECK_WORDS, CLASSES, CheckRecord, HEADER_WORDS, LAYOUT_VERSION, LineRecord, SLOT_STATES,
    SLOT_WORDS, STATE_FILE, STATE_HEAD, SlotRecord, StateSnapshot, WORD, WORKER_MAGIC,
    check_offset, line_offset, read_checks, read_state, slot_offset, state_header, state_size,
    whole, words_at, worker_file, worker_header,
};
pub use healthd_sys::clock::rfc3339 as real;
use healthd_sys::files;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A writer needs nanoseconds in a record; one that was stopped inside stays there for ever.
const ATTEMPTS: usize = 3;
/// 100,000 checks with short names are 41 MB. Of a daemon that goes on twice this is held, and a row for each check.
const MAX_FILE: u64 = 96 << 20;
/// A line of 128 bytes a thread, of which there are at most some thousands.
const MAX_WORKER_MAP: u64 = 16 << 20;

#[derive(Debug)]
pub enum MapError {
    /// There is no state map beside the socket.
    None,
    Read {
        file: PathBuf,
        error: io::Error,
    },
    Layout {
        file: PathBuf,
        reason: String,
    },
    NoSuchCheck {
        name: String,
        near: Option<String>,
    },
    /// Labels are not in them.
    Labels {
        word: String,
    },
}

impl std::fmt::Display for MapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MapError::None => f.write_str("there are none"),
            MapError::Read { file, error } => write!(f, "cannot read {}: {error}", file.display()),
            MapError::Layout { file, reason } => write!(f, "{}: {reason}", file.display()),
            MapError::Labels { word } => write!(
                f,
                "they hold no labels, which `{word}` asks for; names and globs they know"
            ),
            MapError::NoSuchCheck { name, near } => {
                write!(f, "they hold no check `{name}`")?;
                match near {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The rows that `status` would show; all of them stale.
pub fn checks(socket: &Path, filter: &Filter, now: Timestamp) -> Result<Vec<CheckRow>, MapError> {
    let directory = directory(socket);
    // Before the reading, which may take 0.1 s, so that both of its times are of one moment.
    let clock = Clock::now(now);
    let (map, stable) = agreed(&directory)?;
    // There may be 100,000: what is held of each is its row, not its record beside.
    let records = layout(&directory, read_checks(&map))?;
    let mut rows: Vec<CheckRow> = (records.zip(stable.checks).enumerate())
        .filter(|(_, ((_, record), _))| !record.name.is_empty())
        .map(|(index, ((_, record), stable))| {
            record.row(index, stable, real, |ns| clock.of_monotonic(ns))
        })
        .collect();
    only_names(&filter.names, |word| rows.iter().any(|r| r.name == word))?;
    let missing = filter
        .names
        .iter()
        .find(|name| !glob::is_pattern(name) && !rows.iter().any(|row| row.name == **name));
    if let Some(name) = missing {
        let near = did_you_mean(name, rows.iter().map(|r| r.name.as_str())).map(str::to_owned);
        return Err(MapError::NoSuchCheck {
            name: name.clone(),
            near,
        });
    }
    rows.retain(|row| filter.matches(&row.name, &row.plugin, &BTreeMap::new(), row.verdict));
    Ok(rows)
}

/// What asks for labels cannot be answered.
pub fn only_names(words: &[String], is_check: impl Fn(&str) -> bool) -> Result<(), MapError> {
    match words.iter().find(|w| Match::is_meant(w) && !is_check(w)) {
        Some(word) => Err(MapError::Labels { word: word.clone() }),
        None => Ok(()),
    }
}

/// The rows that `workers` would show; all of them stale.
pub fn workers(socket: &Path, now: Timestamp) -> Result<Vec<WorkerRow>, MapError> {
    let directory = directory(socket);
    let (state, stable) = state(&directory)?;
    let clock = Clock::now(now);
    let row = |(slot, record): &(u32, SlotRecord)| {
        let seen = worker_map(&directory, *slot, record.pid).unwrap_or_default();
        let stable = stable.slots.get(*slot as usize).copied().unwrap_or(false);
        let counted = |number: u64| stable.then_some(number);
        WorkerRow {
            slot: *slot,
            class: name_of(&CLASSES, record.class),
            pid: (record.pid != 0).then_some(record.pid),
            generation: Some(record.generation),
            state: name_of(&SLOT_STATES, record.state),
            threads: seen.threads,
            in_flight: counted(record.in_flight),
            dispatched: counted(record.dispatched),
            finished: counted(record.finished),
            lost: counted(record.lost()),
            late: counted(record.late),
            heartbeat_age_ms: seen
                .beat
                .map(|beat| clock.monotonic.saturating_sub(beat) / 1_000_000),
            rss_kb: None,
            fds: None,
            runs: None,
            stuck_threads: seen.stuck,
            stalls: seen.stalls,
            note: String::new(),
            restarts: counted(record.restarts),
            lost_worker_died: counted(record.lost_worker_died),
            lost_replaced: counted(record.lost_replaced),
            lost_cancelled: counted(record.lost_cancelled),
            chunks: record.chunks().filter(|_| stable),
            solo: record.jail.then(|| held_in(&state, *slot)),
            plugins: Vec::new(),
            sandbox: String::new(),
            stale: true,
        }
    };
    Ok(state.slots.iter().map(row).collect())
}

/// Whose run is in flight in this slot.
fn held_in(state: &StateSnapshot, slot: u32) -> String {
    let of_slot = |c: &CheckRecord| c.in_flight != 0 && c.in_flight_slot == slot;
    let found = state.checks.iter().find(|(_, c)| of_slot(c));
    found.map_or(String::new(), |(_, c)| c.name.to_string())
}

#[derive(Default)]
struct WorkerMap {
    threads: Option<u32>,
    beat: Option<u64>,
    stuck: Option<u64>,
    stalls: Option<u64>,
}

fn worker_map(directory: &Path, slot: u32, pid: u32) -> Option<WorkerMap> {
    use worker_header as h;
    let mut head = vec![0; HEADER_WORDS * WORD];
    let mut file = files::open(&directory.join(worker_file(slot, pid))).ok()?;
    file.read_exact(&mut head).ok()?;
    let head: [u64; 16] = words_at(&head, 0)?;
    let ours = head[h::MAGIC] == WORKER_MAGIC
        && head[h::VERSION] == LAYOUT_VERSION
        && head[h::PID] == u64::from(pid);
    ours.then(|| WorkerMap {
        threads: u32::try_from(head[h::THREADS]).ok(),
        beat: (head[h::BEAT] != 0).then_some(head[h::BEAT]),
        stuck: Some(head[h::STUCK]),
        stalls: Some(head[h::STALLS]),
    })
}

/// What each of its threads is doing.
pub fn worker_lines(directory: &Path, slot: u32, pid: u32) -> Vec<LineRecord> {
    let read = || {
        let file = directory.join(worker_file(slot, pid));
        let bytes = files::read(&file, MAX_WORKER_MAP).ok()?;
        let head: [u64; 16] = words_at(&bytes, 0)?;
        let ours = head[worker_header::MAGIC] == WORKER_MAGIC
            && head[worker_header::VERSION] == LAYOUT_VERSION;
        let lines = head[worker_header::LINES].min(bytes.len() as u64) as usize;
        ours.then(|| {
            (0..lines)
                .map_while(|n| words_at(&bytes, line_offset(n)))
                .map(|words| LineRecord::from_words(&words))
                .collect()
        })
    };
    read().unwrap_or_default()
}

fn name_of(names: &[&str], code: u8) -> String {
    names
        .get(usize::from(code))
        .map_or_else(|| format!("unknown ({code})"), |name| (*name).to_owned())
}

pub fn directory(socket: &Path) -> PathBuf {
    match socket.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Which records two copies agree on.
pub struct Stable {
    slots: Vec<bool>,
    pub checks: Vec<bool>,
}

pub fn state(directory: &Path) -> Result<(StateSnapshot, Stable), MapError> {
    let (map, stable) = agreed(directory)?;
    Ok((layout(directory, read_state(&map))?, stable))
}

fn layout<T>(directory: &Path, read: Result<T, String>) -> Result<T, MapError> {
    read.map_err(|reason| MapError::Layout {
        file: directory.join(STATE_FILE),
        reason,
    })
}

/// The last copy, and where it agrees with the one before.
fn agreed(directory: &Path) -> Result<(Vec<u8>, Stable), MapError> {
    let file = directory.join(STATE_FILE);
    let mut first = read(&file)?;
    if is_still(&file, &first) {
        let stable = agreement(&first, &first);
        return Ok((first, stable));
    }
    let mut attempt = 1;
    loop {
        let second = read(&file)?;
        let stable = agreement(&first, &second);
        let all = stable.slots.iter().chain(&stable.checks).all(|good| *good);
        if all || attempt == ATTEMPTS {
            return Ok((second, stable));
        }
        attempt += 1;
        first = second;
    }
}

/// Read once more, the file is the same, as where all is stopped: then no second copy is held beside the first.
fn is_still(file: &Path, bytes: &[u8]) -> bool {
    let Ok(mut file) = files::open(file) else {
        return false;
    };
    let mut piece = vec![0; 64 * 1024];
    bytes.chunks(piece.len()).all(|part| {
        let again = &mut piece[..part.len()];
        file.read_exact(again).is_ok() && again == part
    })
}

fn agreement(first: &[u8], second: &[u8]) -> Stable {
    // The second copy is as long as its header says, so these counts fit it.
    let header: [u64; 16] = words_at(second, 0).unwrap_or_default();
    let (slots, checks) = (
        header[state_header::SLOTS] as usize,
        header[state_header::CHECKS] as usize,
    );
    let same_layout = words_at::<4>(first, 0) == words_at::<4>(second, 0);
    Stable {
        slots: (0..slots)
            .map(|i| same_layout && agree::<SLOT_WORDS>(first, second, slot_offset(i)))
            .collect(),
        checks: (0..checks)
            .map(|i| same_layout && agree::<CHECK_WORDS>(first, second, check_offset(slots, i)))
            .collect(),
    }
}

fn agree<const N: usize>(first: &[u8], second: &[u8], offset: usize) -> bool {
    match (words_at::<N>(first, offset), words_at::<N>(second, offset)) {
        (Some(a), Some(b)) => whole(&a, &b),
        _ => false,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, MapError> {
    read_sized(file, STATE_HEAD, state_size)
}

/// A map whose header, of `head` bytes, says how long it is.
pub fn read_sized(
    file: &Path,
    head: u64,
    size_of: impl Fn(&[u8]) -> Result<u64, String>,
) -> Result<Vec<u8>, MapError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => MapError::None,
        _ => MapError::Read {
            file: file.to_owned(),
            error,
        },
    };
    let size = |head: &[u8]| match size_of(head)? {
        size if size > MAX_FILE => Err(format!(
            "it has {size} bytes; healthctl reads {MAX_FILE}, which is more than 100,000 checks take"
        )),
        size => Ok(size),
    };
    files::read_sized(file, head, size).map_err(failed)
}

/// Both clocks at one moment: the maps plan on the monotonic one, people read the other.
pub struct Clock {
    real: Timestamp,
    pub monotonic: u64,
}

impl Clock {
    pub fn now(real: Timestamp) -> Clock {
        let time = clock_gettime(ClockId::Monotonic);
        let monotonic = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        Clock { real, monotonic }
    }

    pub fn of_monotonic(&self, ns: u64) -> Option<String> {
        let away = i128::from(ns) - i128::from(self.monotonic);
        let time = u64::try_from(self.real.as_nanosecond() + away).ok()?;
        (ns != 0).then(|| real(time))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::check::outcome::{Status, Verdict};
    use healthd_core::wire::maps::{
        self, NO_STATUS, STATE_MAGIC, names_offset, state_words, worker_words,
    };
    use healthd_core::wire::names::Names;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir =
                std::env::temp_dir().join(format!("healthctl-maps-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("mkdir");
            Dir(dir)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("control.sock")
        }

        fn write(&self, file: &str, words: &[u64]) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            std::fs::write(self.0.join(file), bytes).expect("write");
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().expect("a time")
    }

    fn state_map(slots: &[SlotRecord], checks: &[CheckRecord]) -> Vec<u64> {
        let names = Names::new(checks.iter().map(|c| (&*c.name, &*c.title)));
        let size = state_words(slots.len(), checks.len(), names.words().len());
        let mut words = vec![0; size];
        words[state_header::NAMES] = names.words().len() as u64;
        let at = names_offset(slots.len(), checks.len());
        words.splice(at.., names.words());
        words[state_header::MAGIC] = STATE_MAGIC;
        words[state_header::VERSION] = LAYOUT_VERSION;
        words[state_header::CHECKS] = checks.len() as u64;
        words[state_header::SLOTS] = slots.len() as u64;
        for (i, slot) in slots.iter().enumerate() {
            words[slot_offset(i)..][..SLOT_WORDS].copy_from_slice(&slot.to_words());
        }
        for (i, check) in checks.iter().enumerate() {
            let record = &mut words[check_offset(slots.len(), i)..][..CHECK_WORDS];
            record.copy_from_slice(&check.to_words());
            record[0] = if check.name.is_empty() { 0 } else { 2 };
            record[maps::check::PLACE] = names.places()[i];
        }
        words
    }

    fn check(name: &str) -> CheckRecord<'_> {
        CheckRecord {
            name: name.into(),
            plugin: "http".into(),
            verdict: Verdict::Critical.code(),
            status: Status::Critical as u8,
            attempt: 3,
            attempts: 3,
            since: 1_795_341_600_000_000_000,
            last_run: 1_795_341_600_250_000_000,
            latency_ns: 5_003_400_000,
            worker: 1,
            message: "timeout".into(),
            ..CheckRecord::default()
        }
    }

    #[test]
    fn rows_of_checks() {
        let dir = Dir::new("checks");
        let fresh = CheckRecord {
            name: "fresh".into(),
            plugin: "tcp".into(),
            verdict: Verdict::Pending.code(),
            status: NO_STATUS,
            worker: u32::MAX,
            ..CheckRecord::default()
        };
        dir.write(
            STATE_FILE,
            &state_map(&[], &[check("web"), CheckRecord::default(), fresh]),
        );
        let rows = checks(&dir.socket(), &Filter::default(), now()).expect("reads");
        assert_eq!(rows.len(), 2, "a free record is no check");
        assert_eq!(rows[0].since.as_deref(), Some("2026-11-22T10:00:00.000Z"));
        assert_eq!(rows[0].latency_ms, Some(5003.4));
        assert_eq!(
            (rows[0].verdict, rows[0].stale, rows[0].metrics.is_none()),
            (Some(Verdict::Critical), true, true)
        );
        assert_eq!(
            (
                rows[1].status,
                &rows[1].message,
                rows[1].worker,
                &rows[1].last_run
            ),
            (None, &None, None, &None)
        );
        assert_eq!(rows[1].index, 2);

        let only = Filter {
            names: vec!["w*".into()],
            ..Filter::default()
        };
        assert_eq!(checks(&dir.socket(), &only, now()).expect("reads").len(), 1);
        let missing = Filter {
            names: vec!["wbe".into()],
            ..Filter::default()
        };
        assert!(matches!(
            checks(&dir.socket(), &missing, now()),
            Err(MapError::NoSuchCheck { .. })
        ));
    }

    #[test]
    fn a_writer_stopped_inside_leaves_only_the_name() {
        let dir = Dir::new("torn");
        let mut words = state_map(&[], &[check("web"), check("db")]);
        words[check_offset(0, 1)] = 7;
        dir.write(STATE_FILE, &words);
        let rows = checks(&dir.socket(), &Filter::default(), now()).expect("reads");
        assert_eq!(rows[0].verdict, Some(Verdict::Critical));
        assert_eq!(
            (&*rows[1].name, rows[1].verdict, rows[1].attempt),
            ("db", None, None)
        );
    }

    #[test]
    fn what_changes_between_two_readings_does_not_count() {
        let dir = Dir::new("changed");
        let file = dir.0.join(STATE_FILE);
        let mut words = state_map(&[], &[check("web"), check("db")]);
        dir.write(STATE_FILE, &words);
        let first = read(&file).expect("reads");
        assert!(is_still(&file, &first));
        words[check_offset(0, 1) + 2] += 1;
        dir.write(STATE_FILE, &words);
        assert!(!is_still(&file, &first));
        let second = read(&file).expect("reads");
        assert_eq!(agreement(&first, &second).checks, [true, false]);
        dir.write(STATE_FILE, &words[..check_offset(0, 1)]);
        assert!(!is_still(&file, &second), "it is shorter");
    }

    #[test]
    fn rows_of_workers() {
        let dir = Dir::new("workers");
        let slot = SlotRecord {
            used: true,
            class: 2,
            state: 1,
            pid: 77,
            generation: 4,
            dispatched: 10,
            finished: 7,
            in_flight: 1,
            lost_worker_died: 2,
            ..SlotRecord::default()
        };
        dir.write(STATE_FILE, &state_map(&[SlotRecord::default(), slot], &[]));
        let rows = workers(&dir.socket(), now()).expect("reads");
        assert_eq!(rows.len(), 1, "a slot that was never used is no row");
        assert_eq!(
            (rows[0].slot, &*rows[0].class, &*rows[0].state, rows[0].lost),
            (1, "exec", "ready", Some(2))
        );
        assert_eq!(
            (rows[0].threads, rows[0].heartbeat_age_ms, rows[0].rss_kb),
            (None, None, None)
        );

        let mut map = vec![0; worker_words(1, 0)];
        map[worker_header::MAGIC] = WORKER_MAGIC;
        map[worker_header::VERSION] = LAYOUT_VERSION;
        map[worker_header::PID] = 77;
        map[worker_header::THREADS] = 3;
        map[worker_header::BEAT] = 1;
        dir.write(&worker_file(1, 77), &map);
        let rows = workers(&dir.socket(), now()).expect("reads");
        assert_eq!(rows[0].threads, Some(3));
        assert!(rows[0].heartbeat_age_ms.is_some());
    }

    #[test]
    fn no_map_and_no_such_layout_are_told_apart() {
        let dir = Dir::new("bad");
        assert!(matches!(workers(&dir.socket(), now()), Err(MapError::None)));
        dir.write(STATE_FILE, &[1, 2, 3]);
        let error = workers(&dir.socket(), now())
            .expect_err("no map")
            .to_string();
        assert!(
            error.ends_with("state.map: shorter than its header"),
            "{error}"
        );
        let mut words = state_map(&[], &[check("web")]);
        words[state_header::VERSION] = LAYOUT_VERSION + 1;
        dir.write(STATE_FILE, &words);
        let error = workers(&dir.socket(), now())
            .expect_err("no map")
            .to_string();
        let (theirs, ours) = (LAYOUT_VERSION + 1, LAYOUT_VERSION);
        let expected = format!(
            "layout {theirs} (this program reads {} and {ours})",
            ours - 1
        );
        assert!(error.contains(&expected), "{error}");
    }
}
