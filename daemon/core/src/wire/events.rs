//! Events: what happened that is worth telling, each with a number. The layout of `events.map`, a ring of them,
//! and the shape that programs get.
//!
//! One writer, the manager; readers use pread and can neither slow nor stop it. The first word of a record
//! is twice its number, and odd while the writer is inside: so a reader knows which event it has read.

use super::maps::{HEADER_WORDS, WORD, get_text, put_text, whole, words_at};
use crate::text::cut;
use serde::{Deserialize, Serialize};

pub const EVENTS_FILE: &str = "events.map";
/// "HDEVENT1", read as a big-endian number.
pub const EVENTS_MAGIC: u64 = 0x4844_4556_454e_5431;
pub const EVENTS_VERSION: u64 = 3;

/// 512 bytes: beside the longest name a message still has 185.
pub const EVENT_WORDS: usize = 64;
/// Where the texts of a record begin: subject, cause and message, one after the other, with their lengths in word 3.
const TEXTS: usize = 5;
const TEXT_BYTES: usize = (EVENT_WORDS - TEXTS) * WORD;
const SUBJECT_BYTES: usize = 255;
const CAUSE_BYTES: usize = 32;
const LEAST: usize = 4096;
/// More than any daemon has.
const CAPACITY_MOST: usize = 4_000_000;

/// Versions before, which are read as well. The second was this one with shorter records.
const SHORT_VERSION: u64 = 2;
const SHORT_EVENT_WORDS: usize = 40;

/// In the first each text had room of its own.
mod old {
    pub const VERSION: u64 = 1;
    pub const EVENT_WORDS: usize = 32;
    pub const SUBJECT: std::ops::Range<usize> = 5..13;
    pub const CAUSE: std::ops::Range<usize> = 13..17;
    pub const MESSAGE: std::ops::Range<usize> = 17..32;
}

/// Header words.
pub mod events_header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    /// Records that have room.
    pub const CAPACITY: usize = 2;
    /// Number of the oldest event that this ring may hold; older ones were before it.
    pub const FIRST: usize = 3;
    /// Number of the newest; 0: there is none.
    pub const LAST: usize = 4;
    /// Not 0: a newer file has been renamed over this one.
    pub const SUPERSEDED: usize = 5;
    /// Only in the copy on disk. Not 0: a daemon goes on from it, and may have given numbers up to this one.
    pub const RESERVED: usize = 6;
}

/// So many events are kept while there are so many checks.
pub fn capacity(checks: usize) -> usize {
    LEAST.max(2 * checks).min(CAPACITY_MOST)
}

/// What must be read of the file to know how long it is.
pub const EVENTS_HEAD: u64 = (8 * WORD) as u64;

/// How long a file with this header is.
pub fn events_size(head: &[u8]) -> Result<u64, String> {
    let head = words_at(head, 0).ok_or("shorter than its header")?;
    let ring = Ring::of_header(&head)?;
    Ok(((HEADER_WORDS + ring.capacity * ring.event_words) * WORD) as u64)
}

pub fn event_offset(capacity: usize, number: u64) -> usize {
    place(capacity, number, EVENT_WORDS)
}

fn place(capacity: usize, number: u64, event_words: usize) -> usize {
    let at = number % (capacity.max(1) as u64);
    HEADER_WORDS + at as usize * event_words
}

pub fn events_words(capacity: usize) -> usize {
    HEADER_WORDS + capacity * EVENT_WORDS
}

/// Bytes of a message that is kept whole beside these two.
pub fn message_room(subject: &str, cause: &str) -> usize {
    let beside = subject.len().min(SUBJECT_BYTES) + cause.len().min(CAUSE_BYTES);
    TEXT_BYTES - beside
}

/// What kind of thing happened. The words are part of the control protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum EventKind {
    #[default]
    Other = 0,
    Started = 1,
    /// The manager died, and another one goes on.
    ManagerRestarted = 2,
    Stopping = 3,
    /// The verdict of a check.
    Flipped = 4,
    /// By our own fault; told when it begins, not for each run.
    NotJudged = 5,
    Held = 6,
    Quarantined = 7,
    Released = 8,
    Paused = 9,
    Resumed = 10,
    Added = 11,
    Changed = 12,
    Removed = 13,
    Reloaded = 14,
    ReloadRefused = 15,
    Plugin = 16,
    WorkerReady = 17,
    WorkerDied = 18,
    /// It is killed, with its runs in flight.
    WorkerCondemned = 19,
    /// It is replaced when its runs are done.
    WorkerLeaving = 20,
    /// Another has taken its place.
    WorkerReplaced = 21,
    WorkerGivenUp = 22,
    /// The wall clock was set.
    Clock = 23,
    /// The machine, or the manager, did not run for a while.
    StoodStill = 24,
    /// No worker of a class is at work.
    PoolDown = 25,
    PoolUp = 26,
    /// A receiver has accepted a message of alerts.
    Told = 27,
    /// It has not, or nobody knows.
    NotTold = 28,
    /// Somebody holds back alerts, or does not any more.
    Silenced = 29,
    Unsilenced = 30,
    /// The time of this check is planned from now on, and no downtime; or it is not any more.
    MaintenanceBegun = 31,
    MaintenanceEnded = 32,
    /// What `on_change` of a check asks for was done, or was not.
    Acted = 33,
    NotActed = 34,
    /// A route has sent more messages in a week than are enough.
    OverBudget = 35,
    /// What somebody says of an incident.
    Noted = 36,
    /// Only told, never written: the reader asked for more than there is.
    Gap = 255,
}

impl EventKind {
    pub const ALL: [EventKind; 38] = [
        EventKind::Other,
        EventKind::Started,
        EventKind::ManagerRestarted,
        EventKind::Stopping,
        EventKind::Flipped,
        EventKind::NotJudged,
        EventKind::Held,
        EventKind::Quarantined,
        EventKind::Released,
        EventKind::Paused,
        EventKind::Resumed,
        EventKind::Added,
        EventKind::Changed,
        EventKind::Removed,
        EventKind::Reloaded,
        EventKind::ReloadRefused,
        EventKind::Plugin,
        EventKind::WorkerReady,
        EventKind::WorkerDied,
        EventKind::WorkerCondemned,
        EventKind::WorkerLeaving,
        EventKind::WorkerReplaced,
        EventKind::WorkerGivenUp,
        EventKind::Clock,
        EventKind::StoodStill,
        EventKind::PoolDown,
        EventKind::PoolUp,
        EventKind::Told,
        EventKind::NotTold,
        EventKind::Silenced,
        EventKind::Unsilenced,
        EventKind::MaintenanceBegun,
        EventKind::MaintenanceEnded,
        EventKind::Acted,
        EventKind::NotActed,
        EventKind::OverBudget,
        EventKind::Noted,
        EventKind::Gap,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Other => "other",
            EventKind::Started => "started",
            EventKind::ManagerRestarted => "manager-restarted",
            EventKind::Stopping => "stopping",
            EventKind::Flipped => "flipped",
            EventKind::NotJudged => "not-evaluated",
            EventKind::Held => "held",
            EventKind::Quarantined => "quarantined",
            EventKind::Released => "released",
            EventKind::Paused => "paused",
            EventKind::Resumed => "resumed",
            EventKind::Added => "added",
            EventKind::Changed => "changed",
            EventKind::Removed => "removed",
            EventKind::Reloaded => "reloaded",
            EventKind::ReloadRefused => "reload-refused",
            EventKind::Plugin => "plugin",
            EventKind::WorkerReady => "worker-ready",
            EventKind::WorkerDied => "worker-died",
            EventKind::WorkerCondemned => "worker-killed",
            EventKind::WorkerLeaving => "worker-leaving",
            EventKind::WorkerReplaced => "worker-replaced",
            EventKind::WorkerGivenUp => "worker-given-up",
            EventKind::Clock => "clock",
            EventKind::StoodStill => "stood-still",
            EventKind::PoolDown => "pool-down",
            EventKind::PoolUp => "pool-up",
            EventKind::Told => "told",
            EventKind::NotTold => "not-told",
            EventKind::Silenced => "silenced",
            EventKind::Unsilenced => "unsilenced",
            EventKind::MaintenanceBegun => "maintenance-begun",
            EventKind::MaintenanceEnded => "maintenance-ended",
            EventKind::Acted => "acted",
            EventKind::NotActed => "not-acted",
            EventKind::OverBudget => "over-budget",
            EventKind::Noted => "noted",
            EventKind::Gap => "gap",
        }
    }

    fn from_code(code: u8) -> EventKind {
        let known = Self::ALL.into_iter().find(|k| *k as u8 == code);
        known.unwrap_or_default()
    }
}

/// The words of `from` and `to`; their places here are their codes in the map.
const STATES: [&str; 13] = [
    "",
    "ok",
    "warning",
    "critical",
    "unknown",
    "pending",
    "loaded",
    "trial",
    "rolled back",
    "deleted",
    "refused",
    "left out",
    "stood its trial",
];

fn state_code(word: &str) -> u8 {
    STATES.iter().position(|s| *s == word).unwrap_or(0) as u8
}

fn state_word(code: u8) -> &'static str {
    STATES.get(usize::from(code)).copied().unwrap_or("")
}

/// One event, as the ring holds it. Texts are cut to what has room.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventRecord {
    pub number: u64,
    /// CLOCK_REALTIME, ns.
    pub time: u64,
    pub kind: EventKind,
    /// Of these two one at most is not empty.
    pub check: String,
    pub plugin: String,
    /// Words of `STATES`.
    pub from: &'static str,
    pub to: &'static str,
    pub slot: Option<u32>,
    /// 0: it has none.
    pub pid: u32,
    /// How long, in ms; of `clock` the step; of a gap how many are missing.
    pub amount: i64,
    /// A word of `Fault`, or how a process ended.
    pub cause: String,
    pub message: String,
}

const IS_PLUGIN: u64 = 1 << 24;
const HAS_SLOT: u64 = 1 << 25;

impl EventRecord {
    pub fn to_words(&self) -> [u64; EVENT_WORDS] {
        let mut w = [0; EVENT_WORDS];
        w[0] = self.number << 1;
        w[1] = self.time;
        w[2] = u64::from(self.kind as u8)
            | u64::from(state_code(self.from)) << 8
            | u64::from(state_code(self.to)) << 16
            | self.slot.map_or(0, |slot| HAS_SLOT | u64::from(slot) << 32);
        let subject = match self.plugin.is_empty() {
            true => &self.check,
            false => {
                w[2] |= IS_PLUGIN;
                &self.plugin
            }
        };
        w[4] = self.amount.cast_unsigned();
        let subject = cut(subject, SUBJECT_BYTES);
        let cause = cut(&self.cause, CAUSE_BYTES.min(TEXT_BYTES - subject.len()));
        let message = cut(&self.message, TEXT_BYTES - subject.len() - cause.len());
        w[3] = u64::from(self.pid)
            | (subject.len() as u64) << 32
            | (cause.len() as u64) << 40
            | (message.len() as u64) << 48;
        put_text(&mut w[TEXTS..], &[subject, cause, message].concat());
        w
    }

    pub fn from_words(w: &[u64; EVENT_WORDS]) -> EventRecord {
        let bytes: Vec<u8> = w[TEXTS..].iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut rest = &bytes[..];
        let mut text = |length: usize| {
            let (text, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            String::from_utf8_lossy(text).into_owned()
        };
        let subject = text(usize::from((w[3] >> 32) as u8));
        let cause = text(usize::from((w[3] >> 40) as u8));
        let message = text(usize::from((w[3] >> 48) as u16));
        Self::of(w, subject, cause, message)
    }

    fn from_old_words(w: &[u64; old::EVENT_WORDS]) -> EventRecord {
        let text = |words| get_text(&w[words]);
        Self::of(w, text(old::SUBJECT), text(old::CAUSE), text(old::MESSAGE))
    }

    fn from_short_words(short: &[u64; SHORT_EVENT_WORDS]) -> EventRecord {
        let mut w = [0; EVENT_WORDS];
        w[..SHORT_EVENT_WORDS].copy_from_slice(short);
        Self::from_words(&w)
    }

    /// The numbers stand in the same words in all layouts.
    fn of(w: &[u64], subject: String, cause: String, message: String) -> EventRecord {
        let (check, plugin) = match w[2] & IS_PLUGIN {
            0 => (subject, String::new()),
            _ => (String::new(), subject),
        };
        EventRecord {
            number: w[0] >> 1,
            time: w[1],
            kind: EventKind::from_code(w[2] as u8),
            check,
            plugin,
            from: state_word((w[2] >> 8) as u8),
            to: state_word((w[2] >> 16) as u8),
            slot: (w[2] & HAS_SLOT != 0).then_some((w[2] >> 32) as u32),
            pid: w[3] as u32,
            amount: w[4].cast_signed(),
            cause,
            message,
        }
    }

    /// As programs get it; `rfc3339` writes a time.
    pub fn row(&self, rfc3339: impl Fn(u64) -> Option<String>) -> EventRow {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let amount = (self.amount != 0).then_some(self.amount);
        let count = |is: bool| amount.filter(|_| is).map(i64::unsigned_abs);
        let is_step = self.kind == EventKind::Clock;
        let is_gap = self.kind == EventKind::Gap;
        EventRow {
            seq: self.number,
            time: rfc3339(self.time),
            kind: self.kind.as_str().to_owned(),
            check: text(&self.check),
            plugin: text(&self.plugin),
            from: text(self.from),
            to: text(self.to),
            message: text(&self.message),
            slot: self.slot,
            pid: (self.pid != 0).then_some(self.pid),
            cause: text(&self.cause),
            for_ms: count(!is_step && !is_gap),
            step_ms: amount.filter(|_| is_step),
            missed: count(is_gap),
        }
    }
}

/// One line of `events`. What a kind has not is left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventRow {
    pub seq: u64,
    /// RFC 3339.
    pub time: Option<String>,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
}

/// What the header says of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    pub capacity: usize,
    first: u64,
    pub last: u64,
    event_words: usize,
}

impl Ring {
    pub fn new(capacity: usize, first: u64, last: u64) -> Ring {
        Ring {
            capacity,
            first: first.max(1),
            last,
            event_words: EVENT_WORDS,
        }
    }

    /// Err: it is no such map, or one of another layout.
    pub fn of_header(head: &[u64; 8]) -> Result<Ring, String> {
        use events_header as h;
        if head[h::MAGIC] != EVENTS_MAGIC {
            return Err("not a map of events".into());
        }
        let event_words = match head[h::VERSION] {
            EVENTS_VERSION => EVENT_WORDS,
            SHORT_VERSION => SHORT_EVENT_WORDS,
            old::VERSION => old::EVENT_WORDS,
            other => {
                return Err(format!(
                    "layout {other} (this program reads {} to {EVENTS_VERSION})",
                    old::VERSION
                ));
            }
        };
        match usize::try_from(head[h::CAPACITY]) {
            Ok(capacity) if (1..=CAPACITY_MOST).contains(&capacity) => Ok(Ring {
                event_words,
                ..Ring::new(capacity, head[h::FIRST], head[h::LAST])
            }),
            _ => Err(format!("it claims room for {} events", head[h::CAPACITY])),
        }
    }

    /// Number of the oldest that is still there.
    pub fn oldest(&self) -> u64 {
        let room = self.capacity as u64;
        let newest = self.last.saturating_add(1);
        self.first.max(newest.saturating_sub(room))
    }

    /// Of those after `after`: the number to begin with, and how many are missing before it.
    pub fn begin(&self, after: u64) -> (u64, u64) {
        let wanted = after.saturating_add(1);
        let from = wanted.max(self.oldest());
        (from, from - wanted)
    }
}

/// In the place of events that are not there any more: its number is that of the last of them, its time that of
/// the event that follows.
pub fn gap(missed: u64, before: u64, time: u64) -> EventRecord {
    EventRecord {
        number: before.saturating_sub(1),
        time,
        kind: EventKind::Gap,
        amount: i64::try_from(missed).unwrap_or(i64::MAX),
        ..EventRecord::default()
    }
}

/// Whether these words are of an event of this check: without making one of them.
pub fn is_of(w: &[u64; EVENT_WORDS], check: &str) -> bool {
    let name = cut(check, SUBJECT_BYTES).as_bytes();
    let length = usize::from((w[3] >> 32) as u8);
    let bytes = w[TEXTS..].iter().flat_map(|w| w.to_ne_bytes());
    w[2] & IS_PLUGIN == 0 && length == name.len() && bytes.zip(name).all(|(a, b)| a == *b)
}

/// The event of this number, if two copies of its place agree that it is there.
pub fn event_in(
    first: &[u64; EVENT_WORDS],
    second: &[u64; EVENT_WORDS],
    number: u64,
) -> Option<EventRecord> {
    (whole(first, second) && first[0] >> 1 == number).then(|| EventRecord::from_words(first))
}

/// The words at this place of both copies; the inner None: they do not hold this event.
fn both<const N: usize>(
    first: &[u8],
    second: &[u8],
    at: usize,
    number: u64,
) -> Option<Option<[u64; N]>> {
    let (words, again) = (words_at(first, at)?, words_at(second, at)?);
    Some((whole(&words, &again) && words[0] >> 1 == number).then_some(words))
}

/// All that an `events.map` holds, oldest first, from two copies of it. Ends at the first that is not whole: if its
/// writer has died inside, nobody has seen it.
pub fn read_events(first: &[u8], second: &[u8]) -> Result<(Ring, Vec<EventRecord>), String> {
    let head = words_at(first, 0).ok_or("shorter than its header")?;
    let ring = Ring::of_header(&head)?;
    let room = (first.len() / WORD).saturating_sub(HEADER_WORDS) / ring.event_words;
    if ring.capacity > room {
        return Err("truncated".into());
    }
    let mut events = Vec::new();
    // The header may be one behind: it is written after the event.
    for number in ring.oldest()..=ring.last.saturating_add(1) {
        let at = place(ring.capacity, number, ring.event_words);
        let found = match ring.event_words {
            old::EVENT_WORDS => {
                both(first, second, at, number).map(|w| w.map(|w| EventRecord::from_old_words(&w)))
            }
            SHORT_EVENT_WORDS => both(first, second, at, number)
                .map(|w| w.map(|w| EventRecord::from_short_words(&w))),
            _ => both(first, second, at, number).map(|w| w.map(|w| EventRecord::from_words(&w))),
        };
        match found.ok_or("truncated")? {
            Some(event) => events.push(event),
            None if number > ring.last || !events.is_empty() => break,
            // The oldest has its place overwritten by the next, which was never finished.
            None => {}
        }
        if events.len() > ring.capacity {
            return Err("its numbers make no sense".into());
        }
    }
    Ok((ring, events))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> EventRecord {
        EventRecord {
            number,
            time: 1_000 + number,
            kind: EventKind::Flipped,
            check: "web/ä".into(),
            from: "ok",
            to: "critical",
            slot: Some(u32::MAX),
            pid: 4711,
            amount: -5,
            cause: "timeout".into(),
            message: "é".repeat(60),
            ..EventRecord::default()
        }
    }

    fn map(capacity: usize, first: u64, numbers: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        use events_header as h;
        let mut words = vec![0; events_words(capacity)];
        words[h::MAGIC] = EVENTS_MAGIC;
        words[h::VERSION] = EVENTS_VERSION;
        words[h::CAPACITY] = capacity as u64;
        words[h::FIRST] = first;
        for number in numbers {
            let at = event_offset(capacity, number);
            words[at..at + EVENT_WORDS].copy_from_slice(&event(number).to_words());
            words[h::LAST] = number;
        }
        words
    }

    fn numbers(words: &[u64]) -> Vec<u64> {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let (_, events) = read_events(&bytes, &bytes).expect("a map");
        events.iter().map(|e| e.number).collect()
    }

    #[test]
    fn an_event_survives_the_map() {
        let of_check = event(7);
        assert_eq!(EventRecord::from_words(&of_check.to_words()), of_check);
        assert!(is_of(&of_check.to_words(), "web/ä"));
        assert!(!is_of(&of_check.to_words(), "web/b") && !is_of(&of_check.to_words(), "web"));
        let of_plugin = EventRecord {
            check: String::new(),
            plugin: "http".into(),
            slot: None,
            kind: EventKind::Plugin,
            ..event(8)
        };
        assert_eq!(EventRecord::from_words(&of_plugin.to_words()), of_plugin);
        assert!(!is_of(&of_plugin.to_words(), "http"));
    }

    #[test]
    fn a_long_name_is_whole_and_the_rest_takes_what_room_there_is() {
        let name = "é".repeat(127);
        let long = EventRecord {
            check: name.clone(),
            message: "é".repeat(200),
            ..event(9)
        };
        let read = EventRecord::from_words(&long.to_words());
        assert_eq!((read.check, read.cause), (name, "timeout".into()));
        assert_eq!(read.message, "é".repeat(105));
        assert_eq!(message_room(&long.check, &long.cause) / 2, 105);
    }

    #[test]
    fn a_ring_with_shorter_records_is_read() {
        use events_header as h;
        let mut words = vec![0; HEADER_WORDS + 4 * SHORT_EVENT_WORDS];
        words[h::MAGIC] = EVENTS_MAGIC;
        words[h::VERSION] = SHORT_VERSION;
        words[h::CAPACITY] = 4;
        words[h::FIRST] = 1;
        words[h::LAST] = 6;
        for number in 3..=6 {
            let record = &mut words[place(4, number, SHORT_EVENT_WORDS)..][..SHORT_EVENT_WORDS];
            record.copy_from_slice(&event(number).to_words()[..SHORT_EVENT_WORDS]);
        }
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(events_size(&bytes), Ok(bytes.len() as u64));
        let (_, events) = read_events(&bytes, &bytes).expect("a map");
        assert_eq!(events, (3..=6).map(event).collect::<Vec<_>>());
    }

    #[test]
    fn a_ring_of_the_first_version_is_read() {
        use events_header as h;
        let mut words = vec![0; HEADER_WORDS + 4 * old::EVENT_WORDS];
        words[h::MAGIC] = EVENTS_MAGIC;
        words[h::VERSION] = old::VERSION;
        words[h::CAPACITY] = 4;
        words[h::FIRST] = 1;
        words[h::LAST] = 6;
        for number in 3..=6 {
            let event = event(number);
            let numbers = event.to_words();
            let record = &mut words[place(4, number, old::EVENT_WORDS)..][..old::EVENT_WORDS];
            record[..5].copy_from_slice(&numbers[..5]);
            record[3] = u64::from(event.pid);
            put_text(&mut record[old::SUBJECT], &event.check);
            put_text(&mut record[old::CAUSE], &event.cause);
            put_text(&mut record[old::MESSAGE], &event.message);
        }
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(events_size(&bytes), Ok(bytes.len() as u64));
        let (_, events) = read_events(&bytes, &bytes).expect("a map");
        assert_eq!(events, (3..=6).map(event).collect::<Vec<_>>());
    }

    #[test]
    fn every_kind_and_state_has_its_own_code() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_code(kind as u8), kind);
        }
        for state in STATES {
            assert_eq!(state_word(state_code(state)), state);
        }
        assert_eq!(EventKind::from_code(200), EventKind::Other);
    }

    #[test]
    fn the_ring_keeps_the_newest_and_says_what_is_gone() {
        let words = map(4, 1, 1..=10);
        assert_eq!(numbers(&words), [7, 8, 9, 10]);
        let ring = Ring::new(4, 1, 10);
        assert_eq!(ring.begin(0), (7, 6));
        assert_eq!(ring.begin(6), (7, 0));
        assert_eq!(ring.begin(10), (11, 0));
        // One that begins later, as its numbers went on from elsewhere.
        let ring = Ring::new(4, 9, 10);
        assert_eq!(ring.begin(5), (9, 3));
        assert_eq!(Ring::new(4, 1, 0).begin(0), (1, 0));
    }

    #[test]
    fn half_an_event_was_never_told_and_its_number_is_free() {
        let mut words = map(4, 1, 1..=6);
        let at = event_offset(4, 7);
        // Its writer died inside: the third, which was there, is lost.
        words[at] = 7 << 1 | 1;
        assert_eq!(numbers(&words), [4, 5, 6]);
        // It died between the event and the header.
        let mut words = map(4, 1, 1..=7);
        words[events_header::LAST] = 6;
        assert_eq!(numbers(&words), [4, 5, 6, 7]);
    }

    #[test]
    fn any_bytes_are_an_error_not_a_panic() {
        for len in [0, 8, 64, 4096, 9000] {
            let bytes = vec![0xff; len];
            assert!(read_events(&bytes, &bytes).is_err());
        }
        let mut words = map(4, 1, 1..=2);
        words[events_header::CAPACITY] = u64::MAX;
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert!(read_events(&bytes, &bytes).is_err());
        let mut words = map(4, 1, 1..=2);
        words[events_header::LAST] = u64::MAX;
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let _ = read_events(&bytes, &bytes);
    }

    #[test]
    fn a_row_has_what_its_kind_needs() {
        let row = event(7).row(|ns| Some(ns.to_string()));
        let json = serde_json::to_value(&row).expect("plain data");
        assert_eq!(
            (&json["seq"], &json["kind"], &json["for_ms"]),
            (&7.into(), &"flipped".into(), &5.into())
        );
        assert!(json.get("missed").is_none() && json.get("plugin").is_none());
        let json =
            serde_json::to_value(gap(3, 9, 1).row(|ns| Some(ns.to_string()))).expect("plain data");
        assert_eq!(
            json.to_string(),
            r#"{"kind":"gap","missed":3,"seq":8,"time":"1"}"#
        );
    }
}
