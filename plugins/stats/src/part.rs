//! What a chunk says of its part of the file: where its records began and ended, its moments, and its values in order.

use crate::records::Found;
use healthd_numbers::moments::{Moments, Sum};
use healthd_numbers::runs::Run;
use healthd_plugin::Mapped;

const HEAD_WORDS: usize = 9;

pub struct Part {
    /// Where its first record began, and where the first behind its last one begins: they must meet the neighbours'.
    pub start: u64,
    pub stop: u64,
    pub bad: u64,
    pub unmatched: u64,
    pub moments: Moments,
    bytes: Mapped,
}

/// The bytes that a chunk writes.
pub fn encode(found: &mut Found) -> Vec<u8> {
    // -0.0 and 0.0 are one value, and there is no NaN.
    found.values.sort_unstable_by(f64::total_cmp);
    let m = Moments::of(&found.values);
    let mut bytes = Vec::with_capacity(8 * (HEAD_WORDS + found.values.len()));
    for word in [found.start, found.stop, found.bad, found.unmatched, m.count] {
        bytes.extend(word.to_le_bytes());
    }
    for number in [m.sum.high, m.sum.low, m.mean, m.m2] {
        bytes.extend(number.to_le_bytes());
    }
    for value in &found.values {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

impl Part {
    pub fn decode(bytes: Mapped) -> Option<Part> {
        let word = |i: usize| -> Option<u64> {
            let eight = bytes.get(8 * i..8 * i + 8)?;
            Some(u64::from_le_bytes(eight.try_into().ok()?))
        };
        let number = |i: usize| word(i).map(f64::from_bits);
        let part = Part {
            start: word(0)?,
            stop: word(1)?,
            bad: word(2)?,
            unmatched: word(3)?,
            moments: Moments {
                count: word(4)?,
                sum: Sum {
                    high: number(5)?,
                    low: number(6)?,
                },
                mean: number(7)?,
                m2: number(8)?,
            },
            bytes,
        };
        (part.len() as u64 == part.moments.count).then_some(part)
    }
}

impl Run for Part {
    fn len(&self) -> usize {
        self.bytes.len() / 8 - HEAD_WORDS
    }

    fn at(&self, index: usize) -> f64 {
        let from = 8 * (HEAD_WORDS + index);
        let eight = self
            .bytes
            .get(from..from + 8)
            .and_then(|b| b.try_into().ok());
        eight.map_or(f64::NAN, f64::from_le_bytes)
    }
}
