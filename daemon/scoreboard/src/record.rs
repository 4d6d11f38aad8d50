//! A record of several words that belong together: word 0 is its sequence number (a seqlock with one writer),
//! odd while the writer is inside. `healthd_core::wire::maps::whole` is the reader's half.

use super::sync::{AtomicU64, Ordering, fence};

/// `words` is the record's place in the map; word 0 of `record` means nothing.
pub fn publish(words: &[AtomicU64], record: &[u64]) {
    if let Some(seq) = words.first() {
        let before = seq.load(Ordering::Relaxed) & !1;
        write(words, record, before + 2);
    }
}

/// Its word 0 is its sequence number already, an even one that this place has not had before.
pub fn publish_numbered(words: &[AtomicU64], record: &[u64]) {
    if let Some(number) = record.first() {
        write(words, record, *number);
    }
}

fn write(words: &[AtomicU64], record: &[u64], done: u64) {
    let Some((seq, fields)) = words.split_first() else {
        return;
    };
    seq.store(done + 1, Ordering::Relaxed);
    // Who sees a field that follows sees the odd number too.
    fence(Ordering::Release);
    for (word, value) in fields.iter().zip(record.iter().skip(1)) {
        word.store(*value, Ordering::Relaxed);
    }
    seq.store(done, Ordering::Release);
}
