//! The line of a thread in its worker's map: which call into a plugin it is in. Its thread writes it; only
//! the word STUCK is the reactor's.

use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering, fence};
use super::word;
use healthd_core::wire::maps::{Entry, LINE_WORDS, LineRecord, line, put_text};

#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub entry: Entry,
    pub plugin: u16,
    pub check: u32,
    pub run_id: u64,
    pub attempt: u8,
    pub since_ns: u64,
}

pub fn begin(words: &[AtomicU64], tid: u32) {
    word::set(&words[line::TID], u64::from(tid));
}

pub fn end(words: &[AtomicU64]) {
    leave(words);
    word::set(&words[line::TID], 0);
}

/// ENTRY last: a line with an entry is complete.
pub fn enter(words: &[AtomicU64], call: Call) {
    // Who sees a word of this call sees that the one before has been left.
    fence(Ordering::Release);
    word::set(&words[line::CHECK], u64::from(call.check));
    word::set(&words[line::RUN_ID], call.run_id);
    word::set(&words[line::SINCE], call.since_ns);
    let calls = word::get(&words[line::ENTRY]) & line::CALLS;
    let entry = LineRecord::entry_word(call.entry, call.plugin, call.attempt);
    let entry = entry | calls.wrapping_add(line::ONE_CALL);
    words[line::ENTRY].store(entry, Ordering::Release);
}

pub fn leave(words: &[AtomicU64]) {
    let calls = word::get(&words[line::ENTRY]) & line::CALLS;
    words[line::ENTRY].store(calls, Ordering::Release);
}

/// Said by the reactor, while the thread may just be coming back: so it names the run, and means nothing for
/// the thread's next one.
pub fn stuck(words: &[AtomicU64], run_id: u64) {
    word::set(&words[line::STUCK], run_id);
}

pub fn phase(words: &[AtomicU64], phase: &str) {
    let mut text = [0; line::PHASE_WORDS];
    put_text(&mut text, phase);
    for (word, value) in words[line::PHASE..].iter().zip(text) {
        word::set(word, value);
    }
}

/// A thread that comes and goes faster than this many looks is in no call for long.
const LOOKS: usize = if cfg!(loom) { 2 } else { 8 };

/// The line while its thread runs: `copy` takes the words as they are, one after the other. A copy that the
/// next one agrees with is of one moment; a mixture of two calls would blame one for the other.
pub fn read(mut copy: impl FnMut() -> Option<[u64; LINE_WORDS]>) -> Option<LineRecord> {
    let mut last = copy()?;
    for _ in 0..LOOKS {
        fence(Ordering::Acquire);
        let next = copy()?;
        if next == last {
            return Some(LineRecord::from_words(&next));
        }
        last = next;
    }
    last[line::ENTRY] = 0; // idle
    Some(LineRecord::from_words(&last))
}

/// Which lines are taken.
pub struct Lines {
    count: usize,
    next: AtomicU32,
    /// Lines that threads have given back.
    free: Mutex<Vec<usize>>,
}

impl Lines {
    pub fn new(count: usize) -> Lines {
        Lines {
            count,
            next: AtomicU32::new(0),
            free: Mutex::new(Vec::new()),
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// None: all are taken.
    pub fn claim(&self) -> Option<usize> {
        let reused = self.free.lock().unwrap_or_else(|e| e.into_inner()).pop();
        if reused.is_some() {
            return reused;
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        if next < self.count {
            return Some(next);
        }
        // Back to where it was, so that it never comes round.
        self.next.fetch_sub(1, Ordering::Relaxed);
        None
    }

    pub fn release(&self, line: usize) {
        self.free
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(line);
    }
}
