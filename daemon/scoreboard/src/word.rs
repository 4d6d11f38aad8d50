//! One word by itself: a beat, a state, a counter. Nothing else is known from its value.

use super::sync::{AtomicU64, Ordering};

pub fn get(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

pub fn set(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

/// Any number of threads may count in one word.
pub fn add(word: &AtomicU64, n: u64) {
    word.fetch_add(n, Ordering::Relaxed);
}
