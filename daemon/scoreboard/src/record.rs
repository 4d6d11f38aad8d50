//! A record of several words that belong together: word 0 is its sequence number (a seqlock with one writer),
//! odd while the writer is inside. `healthd_core::wire::maps::whole` is the reader's half.

use super::sync::{AtomicU64, Ordering, fence};

/// `words` is the record's place in the map; word 0 of `record` means nothing.
pub fn publish(words: &[AtomicU64], record: &[u64]) {
    update(words, |fields| store(fields, record));
}

/// Its word 0 is its sequence number already, an even one that this place has not had before.
pub fn publish_numbered(words: &[AtomicU64], record: &[u64]) {
    if let Some(number) = record.first() {
        write(words, *number, |fields| store(fields, record));
    }
}

/// Changes some of its fields, which are all its words but the first.
pub fn update(words: &[AtomicU64], change: impl FnOnce(&[AtomicU64])) {
    if let Some(seq) = words.first() {
        let before = seq.load(Ordering::Relaxed) & !1;
        write(words, before + 2, change);
    }
}

fn write(words: &[AtomicU64], done: u64, change: impl FnOnce(&[AtomicU64])) {
    let Some((seq, fields)) = words.split_first() else {
        return;
    };
    seq.store(done + 1, Ordering::Relaxed);
    // Who sees a field that follows sees the odd number too.
    fence(Ordering::Release);
    change(fields);
    seq.store(done, Ordering::Release);
}

fn store(fields: &[AtomicU64], record: &[u64]) {
    for (word, value) in fields.iter().zip(record.iter().skip(1)) {
        word.store(*value, Ordering::Relaxed);
    }
}
