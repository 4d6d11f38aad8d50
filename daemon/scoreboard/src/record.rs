//! A record of several words that belong together: word 0 is its sequence number (a seqlock with one writer),
//! odd while the writer is inside. `healthd_core::wire::maps::whole` is the reader's half.

use super::sync::{AtomicU64, Ordering, fence};

/// `words` is the record's place in the map; word 0 of `record` means nothing.
pub fn publish(words: &[AtomicU64], record: &[u64]) {
    let Some((seq, fields)) = words.split_first() else {
        return;
    };
    let before = seq.load(Ordering::Relaxed) & !1;
    seq.store(before + 1, Ordering::Relaxed);
    // Who sees a field that follows sees the odd number too.
    fence(Ordering::Release);
    for (word, value) in fields.iter().zip(record.iter().skip(1)) {
        word.store(*value, Ordering::Relaxed);
    }
    seq.store(before + 2, Ordering::Release);
}
