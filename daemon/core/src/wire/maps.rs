//! The layout of the shared maps: which word holds what. Writers and readers both use these functions,
//! so a map can be read by mmap, by pread, or from a copied file.
//!
//! A map is an array of 64-bit words in native order. Its first page is a header; after it come records of
//! fixed size. Each record's first word is its sequence number: odd while its one writer is inside. Behind the records
//! of `state.map` stand the names of the checks.

use crate::check::fault::Fault;
use crate::check::outcome::{Status, Verdict};
use crate::wire::control::WorkerChunks;
use crate::wire::names;
use crate::wire::supervisor::WorkerClass;
use std::borrow::Cow;

pub const HEADER_WORDS: usize = 512;
pub const WORD: usize = 8;
/// So many bytes of a `state.map` tell its size.
pub const STATE_HEAD: u64 = 128;

/// "HDSTATE1" and "HDWORKR1", read as big-endian numbers.
pub const STATE_MAGIC: u64 = 0x4844_5354_4154_4531;
pub const WORKER_MAGIC: u64 = 0x4844_574f_524b_5231;
pub const LAYOUT_VERSION: u64 = 3;
/// A `state.map` of the version before is read as well: there a record held its name, of at most 64 bytes.
pub const OLD_LAYOUT_VERSION: u64 = 2;

pub const STATE_FILE: &str = "state.map";

/// `worker.SLOT.PID.map`: a new worker gets a new file, so the map of a dead one stays as evidence.
pub fn worker_file(slot: u32, pid: u32) -> String {
    format!("worker.{slot}.{pid}.map")
}

/// Header words of `state.map`.
pub mod state_header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const CHECKS: usize = 2;
    pub const SLOTS: usize = 3;
    pub const MANAGER_PID: usize = 4;
    /// CLOCK_MONOTONIC of the manager's last turn.
    pub const BEAT: usize = 5;
    pub const GENERATION: usize = 6;
    /// Not 0: a newer file has been renamed over this one.
    pub const SUPERSEDED: usize = 7;
    /// CLOCK_REALTIME of the daemon's start, ns.
    pub const STARTED: usize = 8;
    /// The next run id to be given.
    pub const NEXT_RUN: usize = 9;
    /// Runs finished since the start, all checks.
    pub const FINISHED: usize = 10;
    /// Words behind the records, which hold the checks' names.
    pub const NAMES: usize = 11;
    /// Offset of the record that is being written, or was last; what stood there before begins at `UNDO`.
    pub const UNDO_AT: usize = 63;
    pub const UNDO: usize = 64;
}

pub const SLOT_WORDS: usize = 16;
pub const CHECK_WORDS: usize = 48;
const PLUGIN_WORDS: usize = 4;
const MESSAGE_WORDS: usize = 22;
/// Bytes of the message that the map keeps.
pub const MESSAGE_BYTES: usize = MESSAGE_WORDS * WORD;
const REASON_WORDS: usize = 5;
/// Bytes of a pause's reason that the map keeps.
pub const REASON_BYTES: usize = REASON_WORDS * WORD;

pub fn slot_offset(slot: usize) -> usize {
    HEADER_WORDS + slot * SLOT_WORDS
}

pub fn check_offset(slots: usize, index: usize) -> usize {
    // Records begin at a multiple of 128 bytes, so that two never share a pair of cache lines.
    HEADER_WORDS + slots * SLOT_WORDS + index * CHECK_WORDS
}

/// Where the names begin.
pub fn names_offset(slots: usize, checks: usize) -> usize {
    check_offset(slots, checks)
}

/// `names`: words that the names of the checks take.
pub fn state_words(slots: usize, checks: usize, names: usize) -> usize {
    names_offset(slots, checks) + names
}

/// Words of a check's record.
pub mod check {
    /// Of its name and title among the names. Written with the map, and the same in each record that follows.
    pub const PLACE: usize = 16;
    pub const PLUGIN: usize = 17;
    pub const MESSAGE: usize = 21;
    pub const REASON: usize = 43;
    /// In the version before.
    pub const OLD_NAME: usize = 16;
    pub const OLD_PLUGIN: usize = 24;
    pub const OLD_MESSAGE: usize = 28;
}

/// A worker slot as the manager sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SlotRecord {
    /// False: this line was never used.
    pub used: bool,
    pub class: u8,
    pub state: u8,
    pub pid: u32,
    pub generation: u64,
    pub dispatched: u64,
    pub finished: u64,
    pub in_flight: u64,
    pub lost_worker_died: u64,
    pub lost_replaced: u64,
    pub lost_cancelled: u64,
    pub late: u64,
    pub restarts: u64,
    /// Chunks of other workers' runs: `dispatched = finished + in flight + lost` holds for them too.
    pub chunks_dispatched: u64,
    pub chunks_finished: u64,
    pub chunks_in_flight: u64,
    pub chunks_lost: u64,
    /// Chunks of its own runs that it ran itself.
    pub chunks_own: u64,
    /// It holds one check alone.
    pub jail: bool,
    /// Number of the plugins whose own it is, in its generation; 0: the workers that are shared.
    pub group: u8,
}

impl SlotRecord {
    pub fn lost(&self) -> u64 {
        // A torn or foreign map may hold anything.
        self.lost_worker_died
            .saturating_add(self.lost_replaced)
            .saturating_add(self.lost_cancelled)
    }

    /// Only workers for heavy work run chunks.
    pub fn chunks(&self) -> Option<WorkerChunks> {
        let class = WorkerClass::ALL.get(usize::from(self.class));
        class
            .is_some_and(|c| c.row().fans_out)
            .then_some(WorkerChunks {
                dispatched: self.chunks_dispatched,
                finished: self.chunks_finished,
                in_flight: self.chunks_in_flight,
                lost: self.chunks_lost,
                own: self.chunks_own,
            })
    }

    /// Word 0 is the sequence number and not part of it.
    pub fn to_words(&self) -> [u64; SLOT_WORDS] {
        let mut w = [0; SLOT_WORDS];
        w[1] = u64::from(self.used)
            | u64::from(self.class) << 8
            | u64::from(self.state) << 16
            | u64::from(self.jail) << 24
            | u64::from(self.group & 0x7f) << 25
            | u64::from(self.pid) << 32;
        w[2] = self.generation;
        w[3] = self.dispatched;
        w[4] = self.finished;
        w[5] = self.in_flight;
        w[6] = self.lost_worker_died;
        w[7] = self.lost_replaced;
        w[8] = self.lost_cancelled;
        w[9] = self.late;
        w[10] = self.restarts;
        w[11] = self.chunks_dispatched;
        w[12] = self.chunks_finished;
        w[13] = self.chunks_in_flight;
        w[14] = self.chunks_lost;
        w[15] = self.chunks_own;
        w
    }

    pub fn from_words(w: &[u64; SLOT_WORDS]) -> SlotRecord {
        SlotRecord {
            used: w[1] & 1 != 0,
            class: (w[1] >> 8) as u8,
            state: (w[1] >> 16) as u8,
            jail: w[1] >> 24 & 1 != 0,
            group: (w[1] >> 25) as u8 & 0x7f,
            pid: (w[1] >> 32) as u32,
            generation: w[2],
            dispatched: w[3],
            finished: w[4],
            in_flight: w[5],
            lost_worker_died: w[6],
            lost_replaced: w[7],
            lost_cancelled: w[8],
            late: w[9],
            restarts: w[10],
            chunks_dispatched: w[11],
            chunks_finished: w[12],
            chunks_in_flight: w[13],
            chunks_lost: w[14],
            chunks_own: w[15],
        }
    }
}

pub const SLOT_STATES: [&str; 4] = ["starting", "ready", "draining", "dead"];
pub use super::class::CLASSES;

/// A check as `state.map` holds it: what a reader needs when the daemon cannot answer, and what a new
/// manager needs to go on where a dead one stopped.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CheckRecord<'a> {
    pub name: Cow<'a, str>,
    /// What people call it; empty: its name is all.
    pub title: Cow<'a, str>,
    pub plugin: Cow<'a, str>,
    pub verdict: u8,
    /// 255: no run yet.
    pub status: u8,
    pub paused: bool,
    pub disabled: bool,
    pub attempt: u32,
    pub attempts: u32,
    /// CLOCK_REALTIME, ns: when the verdict last flipped. 0: never.
    pub since: u64,
    /// CLOCK_REALTIME, ns: start of the last run. 0: never.
    pub last_run: u64,
    /// CLOCK_MONOTONIC, ns. 0: none planned.
    pub next_run: u64,
    /// CLOCK_MONOTONIC, ns: from here on the row is stale. 0: never stale.
    pub valid_until: u64,
    pub latency_ns: u64,
    /// Slot of the last run; `u32::MAX`: none.
    pub worker: u32,
    /// Run in flight; 0: none.
    pub in_flight: u64,
    pub in_flight_try: u8,
    /// Slot of the run in flight.
    pub in_flight_slot: u32,
    /// A run of it is due that no worker has yet.
    pub is_due: bool,
    pub fingerprint: u64,
    pub runs: u64,
    pub skipped: u64,
    /// Results in a row that speak against it, which `attempt` (1 while there are none) does not tell.
    pub against: u32,
    /// Of the last run: from due to started, and from sent to started; to 10 us.
    pub queue_ns: u64,
    pub lead_ns: u64,
    /// Pid of its worker (Linux has none above 2^22), and which try of the run it was; 0: no worker had it.
    pub worker_pid: u32,
    pub last_try: u8,
    /// What ended it, where that was not the plugin's own word.
    pub fault: Option<Fault>,
    /// Its last result waits for a word of the check that it needs.
    pub doubted: bool,
    pub message: Cow<'a, str>,
    /// Why it is paused.
    pub reason: Cow<'a, str>,
    pub standing: StandingRecord,
}

/// What speaks against a check, as far as the next manager must know it; the reasons are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StandingRecord {
    pub crashes: u8,
    pub unexplained: u8,
    /// At most 7.
    pub solo_deaths: u8,
    pub survived: u8,
    /// In quarantine, with so many runs survived in the solo worker.
    pub quarantine: Option<u8>,
    /// CLOCK_MONOTONIC, ns: no run before that. 0: it is not held.
    pub hold_until: u64,
    /// How long this hold is; the next is twice as long.
    pub hold_ms: u32,
}

pub const NO_STATUS: u8 = 255;

impl CheckRecord<'_> {
    pub fn verdict(&self) -> Option<Verdict> {
        Verdict::from_code(self.verdict)
    }

    pub fn status(&self) -> Option<Status> {
        Status::from_code(self.status)
    }

    /// Word 0 is the sequence number and not part of it; nor is the place of the name, which the map has.
    pub fn to_words(&self) -> [u64; CHECK_WORDS] {
        let mut w = [0; CHECK_WORDS];
        w[1] = u64::from(self.verdict)
            | u64::from(self.status) << 8
            | u64::from(self.paused) << 16
            | u64::from(self.disabled) << 17
            | u64::from(self.standing.quarantine.is_some()) << 18
            | u64::from(self.standing.solo_deaths & 7) << 19
            | u64::from(self.doubted) << 22
            | u64::from(self.last_try > 0) << 23
            | u64::from(self.in_flight_try) << 24
            | u64::from(self.worker) << 32;
        w[2] = u64::from(self.attempt) | u64::from(self.attempts) << 32;
        w[3] = self.since;
        w[4] = self.last_run;
        w[5] = self.next_run;
        w[6] = self.valid_until;
        w[7] = self.latency_ns;
        w[8] = self.in_flight;
        w[9] = u64::from(self.in_flight_slot)
            | u64::from(self.worker_pid & MAX_PID) << 32
            | self.fault.map_or(0, |f| f as u64) << 56;
        w[10] = self.fingerprint;
        w[11] = self.runs;
        w[12] = self.skipped.min(u64::from(u32::MAX))
            | short(self.lead_ns) << 33
            | u64::from(self.last_try > 1) << 32;
        w[13] = u64::from(self.against) | short(self.queue_ns) << 32 | u64::from(self.is_due) << 63;
        w[14] = self.standing.hold_until;
        w[15] = u64::from(self.standing.crashes)
            | u64::from(self.standing.unexplained) << 8
            | u64::from(self.standing.survived) << 16
            | u64::from(self.standing.quarantine.unwrap_or(0)) << 24
            | u64::from(self.standing.hold_ms) << 32;
        put_text(
            &mut w[check::PLUGIN..check::MESSAGE][..PLUGIN_WORDS],
            &self.plugin,
        );
        put_text(&mut w[check::MESSAGE..check::REASON], &self.message);
        put_text(&mut w[check::REASON..], &self.reason);
        w
    }

    /// `names`: the bytes behind the records.
    pub fn from_words(w: &[u64; CHECK_WORDS], names: &[u8]) -> CheckRecord<'static> {
        let (name, title) = names::at(names, w[check::PLACE]);
        CheckRecord {
            name,
            title,
            plugin: get_text(&w[check::PLUGIN..check::MESSAGE]).into(),
            message: get_text(&w[check::MESSAGE..check::REASON]).into(),
            ..Self::numbers(w)
        }
    }

    fn from_old_words(w: &[u64; CHECK_WORDS]) -> CheckRecord<'static> {
        CheckRecord {
            name: get_text(&w[check::OLD_NAME..check::OLD_PLUGIN]).into(),
            plugin: get_text(&w[check::OLD_PLUGIN..check::OLD_MESSAGE]).into(),
            message: get_text(&w[check::OLD_MESSAGE..check::REASON]).into(),
            ..Self::numbers(w)
        }
    }

    /// What both layouts hold in the same words.
    fn numbers(w: &[u64; CHECK_WORDS]) -> CheckRecord<'static> {
        CheckRecord {
            verdict: w[1] as u8,
            status: (w[1] >> 8) as u8,
            paused: w[1] >> 16 & 1 != 0,
            disabled: w[1] >> 17 & 1 != 0,
            in_flight_try: (w[1] >> 24) as u8,
            worker: (w[1] >> 32) as u32,
            attempt: w[2] as u32,
            attempts: (w[2] >> 32) as u32,
            since: w[3],
            last_run: w[4],
            next_run: w[5],
            valid_until: w[6],
            latency_ns: w[7],
            in_flight: w[8],
            in_flight_slot: w[9] as u32,
            fingerprint: w[10],
            runs: w[11],
            skipped: u64::from(w[12] as u32),
            lead_ns: (w[12] >> 33) * SHORT_NS,
            last_try: (w[1] >> 23 & 1) as u8 + (w[12] >> 32 & 1) as u8,
            against: w[13] as u32,
            queue_ns: (w[13] >> 32 & SHORT_MAX) * SHORT_NS,
            is_due: w[13] >> 63 != 0,
            worker_pid: (w[9] >> 32) as u32 & MAX_PID,
            fault: Fault::from_code((w[9] >> 56) as u8),
            doubted: w[1] >> 22 & 1 != 0,
            standing: StandingRecord {
                crashes: w[15] as u8,
                unexplained: (w[15] >> 8) as u8,
                solo_deaths: (w[1] >> 19 & 7) as u8,
                survived: (w[15] >> 16) as u8,
                quarantine: (w[1] >> 18 & 1 != 0).then_some((w[15] >> 24) as u8),
                hold_until: w[14],
                hold_ms: (w[15] >> 32) as u32,
            },
            reason: get_text(&w[check::REASON..]).into(),
            ..CheckRecord::default()
        }
    }
}

const MAX_PID: u32 = (1 << 24) - 1;

/// Unit of the times that have less than half a word: up to 5 hours.
const SHORT_NS: u64 = 10_000;
/// Such a time has 31 bits.
const SHORT_MAX: u64 = u32::MAX as u64 >> 1;

fn short(ns: u64) -> u64 {
    (ns / SHORT_NS).min(SHORT_MAX)
}

/// Header words of `worker.SLOT.PID.map`.
pub mod worker_header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const PID: usize = 2;
    pub const SLOT: usize = 3;
    pub const GENERATION: usize = 4;
    pub const CLASS: usize = 5;
    /// CLOCK_MONOTONIC of the reactor's last turn.
    pub const BEAT: usize = 6;
    /// Thread lines that exist in this file.
    pub const LINES: usize = 7;
    /// Threads that live now: the reactor and the pool.
    pub const THREADS: usize = 8;
    pub const STARTED: usize = 9;
    pub const FINISHED: usize = 10;
    pub const IN_FLIGHT: usize = 11;
    /// Turns of the reactor that took longer than its budget.
    pub const STALLS: usize = 12;
    /// Run-lane threads that are still in a call whose deadline has passed.
    pub const STUCK: usize = 13;
    /// Process groups of exec children that exist in this file.
    pub const GROUPS: usize = 14;
    /// The crash record, written by the signal handler; `CRASH_SIGNAL` last.
    pub const CRASH_SIGNAL: usize = 16;
    pub const CRASH_CODE: usize = 17;
    /// 1 + the line of the thread that crashed; 0: a thread that is not ours.
    pub const CRASH_LINE: usize = 18;
    pub const CRASH_ADDRESS: usize = 19;
    pub const CRASH_PC: usize = 20;
    pub const CRASH_TID: usize = 21;
    /// Pid of the process that sent the signal; 0: nobody did, the thread itself raised it.
    pub const CRASH_SENDER: usize = 22;
    /// The thread's stack pointer.
    pub const CRASH_SP: usize = 23;
    /// Somebody called exit(): 1 + its line, or `NO_LINE` for a thread that is not ours.
    pub const EXIT_LINE: usize = 24;
    pub const EXIT_TID: usize = 25;
    pub const NO_LINE: u64 = u64::MAX;
    /// Words of the stack of the thread that crashed that point into a loaded library, the innermost first.
    pub const CRASH_TRACE: usize = 32;
    /// The same of the thread that called exit().
    pub const EXIT_TRACE: usize = 48;
    pub const TRACE_WORDS: usize = 16;
    /// Loaded libraries: `LIBRARY_WORDS` each: base, size, name.
    pub const LIBRARIES: usize = 64;
    pub const LIBRARY_WORDS: usize = 10;
    pub const LIBRARY_COUNT: usize = 32;
    /// What a runtime said before it ended the process: text, behind the libraries.
    pub const WORDS: usize = LIBRARIES + LIBRARY_COUNT * LIBRARY_WORDS;
    pub const WORDS_WORDS: usize = 64;
}

/// What a thread is doing: one line a thread, written by that thread only.
pub const LINE_WORDS: usize = 16;

pub fn line_offset(line: usize) -> usize {
    HEADER_WORDS + line * LINE_WORDS
}

/// One word a process group, after the lines; 0: free.
pub fn group_offset(lines: usize, group: usize) -> usize {
    line_offset(lines) + group
}

pub fn worker_words(lines: usize, groups: usize) -> usize {
    group_offset(lines, groups)
}

/// The plugin function a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Entry {
    Idle = 0,
    Load = 1,
    Init = 2,
    Create = 3,
    Start = 4,
    Step = 5,
    Run = 6,
    Drop = 7,
    Destroy = 8,
    Chunk = 9,
}

impl Entry {
    pub fn from_code(code: u8) -> Entry {
        match code {
            1 => Entry::Load,
            2 => Entry::Init,
            3 => Entry::Create,
            4 => Entry::Start,
            5 => Entry::Step,
            6 => Entry::Run,
            7 => Entry::Drop,
            8 => Entry::Destroy,
            9 => Entry::Chunk,
            _ => Entry::Idle,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Entry::Idle => "idle",
            Entry::Load => "load",
            Entry::Init => "init",
            Entry::Create => "create",
            Entry::Start => "start",
            Entry::Step => "step",
            Entry::Run => "run",
            Entry::Drop => "drop",
            Entry::Destroy => "destroy",
            Entry::Chunk => "chunk",
        }
    }
}

/// Words of a thread line.
pub mod line {
    /// `Entry` in the low byte, plugin index from bit 16, try from bit 32; from bit 40 the number of the call,
    /// so that no two calls that follow each other have the same word. No entry: not in a plugin.
    pub const ENTRY: usize = 0;
    pub const ONE_CALL: u64 = 1 << 40;
    pub const CALLS: u64 = !(ONE_CALL - 1);
    pub const CHECK: usize = 1;
    pub const RUN_ID: usize = 2;
    /// CLOCK_MONOTONIC of the call's begin.
    pub const SINCE: usize = 3;
    pub const TID: usize = 4;
    /// The run whose call in this thread was written off at its deadline; it means nothing for another run.
    pub const STUCK: usize = 5;
    /// Phase of the run: text.
    pub const PHASE: usize = 8;
    pub const PHASE_WORDS: usize = 8;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRecord {
    pub entry: Entry,
    pub plugin: u16,
    pub attempt: u8,
    pub check: u32,
    pub run_id: u64,
    pub since: u64,
    pub tid: u32,
    pub stuck: bool,
    pub phase: String,
}

impl LineRecord {
    pub fn entry_word(entry: Entry, plugin: u16, attempt: u8) -> u64 {
        u64::from(entry as u8) | u64::from(plugin) << 16 | u64::from(attempt) << 32
    }

    pub fn from_words(w: &[u64; LINE_WORDS]) -> LineRecord {
        LineRecord {
            entry: Entry::from_code(w[line::ENTRY] as u8),
            plugin: (w[line::ENTRY] >> 16) as u16,
            attempt: (w[line::ENTRY] >> 32) as u8,
            check: w[line::CHECK] as u32,
            run_id: w[line::RUN_ID],
            since: w[line::SINCE],
            tid: w[line::TID] as u32,
            stuck: w[line::STUCK] != 0 && w[line::STUCK] == w[line::RUN_ID],
            phase: get_text(&w[line::PHASE..line::PHASE + line::PHASE_WORDS]),
        }
    }
}

/// UTF-8, cut at a character's border, zero-padded.
pub fn put_text(words: &mut [u64], text: &str) {
    let text = crate::text::cut(text, words.len() * WORD);
    for (word, bytes) in words.iter_mut().zip(text.as_bytes().chunks(WORD)) {
        let mut b = [0; WORD];
        b[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(b);
    }
}

pub fn get_text(words: &[u64]) -> String {
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|w| w.to_ne_bytes())
        .take_while(|&b| b != 0)
        .collect();
    // Only what is no UTF-8 is copied.
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// `bytes` of a file as words; None where it is too short.
pub fn words_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u64; N]> {
    let from = offset * WORD;
    let bytes = bytes.get(from..from + N * WORD)?;
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(WORD)) {
        *word = u64::from_ne_bytes(chunk.try_into().ok()?);
    }
    Some(words)
}

/// Whether two copies of a record, one read after the other while its writer may live, are one whole record.
pub fn whole<const N: usize>(first: &[u64; N], second: &[u64; N]) -> bool {
    first == second && first[0].is_multiple_of(2)
}

/// How many bytes a `state.map` has that begins like this. Err: it is no such file, or one of another layout, or no
/// daemon makes one of that size.
pub fn state_size(head: &[u8]) -> Result<u64, String> {
    let head = state_head(head)?;
    let (slots, checks) = (head[state_header::SLOTS], head[state_header::CHECKS]);
    let names = names_words(&head);
    if slots > SLOTS_MOST as u64 || checks > CHECKS_MOST || names > CHECKS_MOST * NAMES_A_CHECK {
        return Err(format!(
            "it claims {slots} slots, {checks} checks, and {names} words of names"
        ));
    }
    Ok((state_words(slots as usize, checks as usize, names as usize) * WORD) as u64)
}

fn names_words(head: &[u64; 16]) -> u64 {
    match head[state_header::VERSION] {
        OLD_LAYOUT_VERSION => 0,
        _ => head[state_header::NAMES],
    }
}

/// More slots, and more checks, than any daemon has.
pub const SLOTS_MOST: usize = 4096;
const CHECKS_MOST: u64 = 2_000_000;
/// The most words that a name and a title take.
const NAMES_A_CHECK: u64 = 64;

fn state_head(bytes: &[u8]) -> Result<[u64; 16], String> {
    use state_header as h;
    let head: [u64; 16] = words_at(bytes, 0).ok_or("shorter than its header")?;
    if head[h::MAGIC] != STATE_MAGIC {
        return Err("not a state map".into());
    }
    if ![LAYOUT_VERSION, OLD_LAYOUT_VERSION].contains(&head[h::VERSION]) {
        return Err(format!(
            "layout {} (this program reads {OLD_LAYOUT_VERSION} and {LAYOUT_VERSION})",
            head[h::VERSION]
        ));
    }
    Ok(head)
}

/// All that a copy of `state.map` says. Err: it is no such file, or one of another layout.
pub fn read_state(bytes: &[u8]) -> Result<StateSnapshot, String> {
    use state_header as h;
    let checks = read_checks(bytes)?;
    let head = state_head(bytes)?;
    let slots = head[h::SLOTS] as usize;
    let mut snapshot = StateSnapshot {
        manager_pid: head[h::MANAGER_PID] as u32,
        beat: head[h::BEAT],
        generation: head[h::GENERATION],
        started: head[h::STARTED],
        next_run: head[h::NEXT_RUN],
        finished: head[h::FINISHED],
        slots: Vec::with_capacity(slots),
        checks: checks.collect(),
    };
    for i in 0..slots {
        let (_, words) = record_at(bytes, slot_offset(i)).ok_or("truncated")?;
        snapshot
            .slots
            .push((i as u32, SlotRecord::from_words(&words)));
    }
    snapshot.slots.retain(|(_, s)| s.used);
    Ok(snapshot)
}

/// The checks of a map, each as those of a snapshot: who needs one after the other does not hold all of them.
pub fn read_checks(
    bytes: &[u8],
) -> Result<impl Iterator<Item = (bool, CheckRecord<'static>)>, String> {
    use state_header as h;
    let head = state_head(bytes)?;
    let fits =
        |n: u64, words: usize| usize::try_from(n).is_ok_and(|n| n <= bytes.len() / WORD / words);
    if !fits(head[h::CHECKS], CHECK_WORDS) || !fits(head[h::SLOTS], SLOT_WORDS) {
        return Err("truncated".into());
    }
    let (checks, slots) = (head[h::CHECKS] as usize, head[h::SLOTS] as usize);
    // They stand behind the records, so those are there too.
    let names = bytes
        .get(names_offset(slots, checks) * WORD..)
        .ok_or("truncated")?;
    Ok((0..checks).filter_map(move |i| {
        let (whole, words) = record_at(bytes, check_offset(slots, i))?;
        let record = match head[h::VERSION] {
            // Never written: its check is still being made.
            _ if words[0] == 0 => CheckRecord::default(),
            OLD_LAYOUT_VERSION => CheckRecord::from_old_words(&words),
            _ => CheckRecord::from_words(&words, names),
        };
        Some((whole, record))
    }))
}

/// A record, and whether its words belong together. One whose writer died inside it is read as it was before.
fn record_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<(bool, [u64; N])> {
    use state_header as h;
    let words: [u64; N] = words_at(bytes, offset)?;
    if words[0].is_multiple_of(2) {
        return Some((true, words));
    }
    let [undo_at] = words_at(bytes, h::UNDO_AT)?;
    let undo: [u64; N] = words_at(bytes, h::UNDO)?;
    // Of this very write: its number is the next.
    if undo_at == offset as u64 && undo[0].checked_add(1) == Some(words[0]) {
        return Some((true, undo));
    }
    Some((false, words))
}

#[derive(Clone, Debug, PartialEq)]
pub struct StateSnapshot {
    pub manager_pid: u32,
    pub beat: u64,
    pub generation: u64,
    pub started: u64,
    pub next_run: u64,
    pub finished: u64,
    pub slots: Vec<(u32, SlotRecord)>,
    /// False beside a record: its writer was inside when it was read, so its fields may not belong together.
    pub checks: Vec<(bool, CheckRecord<'static>)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::names::Names;

    #[test]
    fn records_survive_the_map() {
        let check = CheckRecord {
            name: "the web's 1st".into(),
            title: "Web".into(),
            plugin: "http".into(),
            verdict: 2,
            status: 2,
            paused: true,
            attempt: 3,
            attempts: 5,
            since: 1,
            last_run: 2,
            next_run: 3,
            valid_until: 4,
            latency_ns: 5,
            worker: u32::MAX,
            in_flight: 77,
            in_flight_try: 1,
            in_flight_slot: 4,
            is_due: true,
            fingerprint: u64::MAX,
            runs: 9,
            skipped: 8,
            against: 4,
            queue_ns: 70_000,
            lead_ns: 80_000,
            worker_pid: 1 << 22,
            fault: Some(Fault::MaxParallel),
            last_try: 2,
            doubted: true,
            reason: "new switch".into(),
            standing: StandingRecord {
                crashes: 3,
                unexplained: 255,
                solo_deaths: 2,
                survived: 9,
                quarantine: Some(2),
                hold_until: u64::MAX,
                hold_ms: 300_000,
            },
            message: "é".repeat(88).into(),
            disabled: false,
        };
        let names = Names::new([("the web's 1st", "Web")].into_iter());
        let bytes: Vec<u8> = names.words().flat_map(u64::to_ne_bytes).collect();
        let mut words = check.to_words();
        words[super::check::PLACE] = names.places()[0];
        assert_eq!(CheckRecord::from_words(&words, &bytes), check);
        let slot = SlotRecord {
            used: true,
            class: 2,
            state: 1,
            pid: 7,
            late: 3,
            jail: true,
            group: 32,
            ..Default::default()
        };
        assert_eq!(SlotRecord::from_words(&slot.to_words()), slot);
    }

    #[test]
    fn a_map_of_the_version_before_is_read() {
        use state_header as h;
        let now = CheckRecord {
            plugin: "http".into(),
            verdict: 2,
            runs: 9,
            message: "as it was".into(),
            reason: "new switch".into(),
            ..CheckRecord::default()
        };
        let mut record = now.to_words();
        record[16..43].fill(0);
        record[0] = 2;
        put_text(&mut record[16..24], "web-1");
        put_text(&mut record[24..28], &now.plugin);
        put_text(&mut record[28..43], &now.message);
        let mut words = vec![0; check_offset(1, 1)];
        words[h::MAGIC] = STATE_MAGIC;
        words[h::VERSION] = OLD_LAYOUT_VERSION;
        words[h::CHECKS] = 1;
        words[h::SLOTS] = 1;
        // It meant nothing there.
        words[h::NAMES] = 77;
        words[check_offset(1, 0)..].copy_from_slice(&record);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(state_size(&bytes), Ok(bytes.len() as u64));
        let was = CheckRecord {
            name: "web-1".into(),
            ..now
        };
        let snapshot = read_state(&bytes).expect("a map");
        assert_eq!(snapshot.checks, [(true, was)]);
    }

    #[test]
    fn text_is_cut_between_characters() {
        let mut words = [0; 1];
        put_text(&mut words, "1234567é");
        assert_eq!(get_text(&words), "1234567");
    }

    #[test]
    fn any_bytes_are_an_error_not_a_panic() {
        for len in [0, 1, 8, 127, 128, 4096, 5000] {
            assert!(read_state(&vec![0xff; len]).is_err());
        }
        let mut lying = vec![0u8; 8192];
        lying[0..8].copy_from_slice(&STATE_MAGIC.to_ne_bytes());
        lying[8..16].copy_from_slice(&LAYOUT_VERSION.to_ne_bytes());
        lying[16..24].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(read_state(&lying), Err("truncated".into()));
    }
}
