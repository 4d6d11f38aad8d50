//! Roll-ups: what the runs of a check were like in five minutes, an hour, a day. Pure.
//!
//! The manager counts; here are differences between two looks. What belongs to a row that is not written yet stays in
//! `Open` and grows, so a disk that is full costs resolution, not runs.

use healthd_core::wire::history::LEVELS;
use healthd_core::wire::samples::{BUCKETS, SampleRecord, bucket_upper_ns};

/// What the runs of a time add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By outcome: ok, warning, critical, unknown, our own fault.
    pub runs: [u64; 5],
    pub sum_ns: u64,
    pub buckets: [u32; BUCKETS],
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            runs: [0; 5],
            sum_ns: 0,
            buckets: [0; BUCKETS],
        }
    }
}

impl Counts {
    pub fn of(record: &SampleRecord) -> Counts {
        Counts {
            runs: record.runs,
            sum_ns: record.sum_ns,
            buckets: record.buckets,
        }
    }

    /// What came since `before`. Counters that are smaller now began anew.
    fn since(&self, before: &Counts) -> Counts {
        let anew = self
            .runs
            .iter()
            .zip(before.runs)
            .any(|(now, was)| *now < was);
        if anew {
            return self.clone();
        }
        Counts {
            runs: std::array::from_fn(|n| self.runs[n].saturating_sub(before.runs[n])),
            sum_ns: self.sum_ns.saturating_sub(before.sum_ns),
            buckets: std::array::from_fn(|n| self.buckets[n].wrapping_sub(before.buckets[n])),
        }
    }

    fn add(&mut self, more: &Counts) {
        for (sum, n) in self.runs.iter_mut().zip(more.runs) {
            *sum = sum.saturating_add(n);
        }
        self.sum_ns = self.sum_ns.saturating_add(more.sum_ns);
        for (sum, n) in self.buckets.iter_mut().zip(more.buckets) {
            *sum = sum.saturating_add(n);
        }
    }

    fn is_empty(&self) -> bool {
        self.runs == [0; 5]
    }

    pub fn row(&self) -> Row {
        let [ok, warning, critical, unknown, own] = self.runs;
        let timed: u64 = self.buckets.iter().map(|n| u64::from(*n)).sum();
        Row {
            runs: ok + warning + critical + unknown + own,
            bad: warning + critical,
            unjudged: unknown + own,
            timed,
            sum_us: self.sum_ns / 1000,
            p50_us: self.quantile_us(timed, 0.5),
            p95_us: self.quantile_us(timed, 0.95),
            p99_us: self.quantile_us(timed, 0.99),
            max_us: self.quantile_us(timed, 1.0),
        }
    }

    /// The upper end of the bucket in which it lies: at most a half octave too much.
    fn quantile_us(&self, timed: u64, part: f64) -> u64 {
        if timed == 0 {
            return 0;
        }
        let wanted = ((timed as f64 * part).ceil() as u64).clamp(1, timed);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|n| {
            seen += u64::from(*n);
            seen >= wanted
        });
        let bucket = bucket.unwrap_or(BUCKETS - 1);
        let upper = bucket_upper_ns(bucket) as f64;
        // The middle of a half octave is at most 19 % from either end.
        let middle = match bucket {
            0 => upper / 2.0,
            _ => upper / f64::powf(2.0, 0.25),
        };
        (middle / 1000.0) as u64
    }
}

/// A row as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub runs: u64,
    pub bad: u64,
    pub unjudged: u64,
    /// Those that a worker finished: `sum` and the percentiles are of them.
    pub timed: u64,
    pub sum_us: u64,
    pub p50_us: u64,
    pub p95_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// A check's rows that are not written yet, by level, and its counters at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    pub last: Counts,
    pub levels: [Counts; LEVELS.len()],
}

impl Open {
    pub fn look(&mut self, now: Counts) {
        let more = now.since(&self.last);
        if !more.is_empty() {
            self.levels.iter_mut().for_each(|level| level.add(&more));
        }
        self.last = now;
    }

    /// What this level has, to be written; None: nothing ran.
    pub fn row(&self, level: usize) -> Option<Row> {
        let counts = &self.levels[level];
        (!counts.is_empty()).then(|| counts.row())
    }

    /// It is written.
    pub fn close(&mut self, level: usize) {
        self.levels[level] = Counts::default();
    }

    /// As numbers of few bytes; most of them are zero.
    pub fn write(&self, out: &mut Vec<u8>) {
        let all = std::iter::once(&self.last).chain(&self.levels);
        for counts in all {
            let numbers = counts.runs.iter().copied().chain([counts.sum_ns]);
            let numbers = numbers.chain(counts.buckets.iter().map(|n| u64::from(*n)));
            let mut zeros = 0u64;
            for n in numbers {
                if n == 0 {
                    zeros += 1;
                    continue;
                }
                put(out, zeros);
                put(out, n);
                zeros = 0;
            }
            // Nothing stands behind: a number of zeros that no record has.
            put(out, END);
        }
    }

    /// None: it is not what `write` writes.
    pub fn read(from: &mut &[u8]) -> Option<Open> {
        let mut open = Open::default();
        let Open { last, levels } = &mut open;
        for counts in std::iter::once(last).chain(levels) {
            let mut numbers = [0; NUMBERS];
            let mut at = 0;
            loop {
                let zeros = take(from)?;
                if zeros == END {
                    break;
                }
                at += usize::try_from(zeros).ok()?;
                *numbers.get_mut(at)? = take(from)?;
                at += 1;
            }
            counts.runs.copy_from_slice(&numbers[..5]);
            counts.sum_ns = numbers[5];
            for (bucket, n) in counts.buckets.iter_mut().zip(&numbers[6..]) {
                *bucket = u32::try_from(*n).ok()?;
            }
        }
        Some(open)
    }
}

const NUMBERS: usize = 6 + BUCKETS;
const END: u64 = 127;

/// LEB128.
pub fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub fn take(from: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// When the open row of each level began and ends; CLOCK_REALTIME, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    /// When counting for it began: later than `start` where the daemon or the recorder was started within.
    pub end: u64,
}

impl Span {
    pub fn at(level: usize, now: u64) -> Span {
        let seconds = LEVELS[level].seconds;
        let start = now - now % seconds;
        Span {
            start,
            end: start + seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ok: u64, critical: u64, bucket: usize) -> Counts {
        let mut counts = Counts {
            runs: [ok, 0, critical, 0, 0],
            sum_ns: (ok + critical) * bucket_upper_ns(bucket),
            ..Counts::default()
        };
        counts.buckets[bucket] = (ok + critical) as u32;
        counts
    }

    #[test]
    fn a_row_is_the_difference_of_two_looks() {
        let mut open = Open::default();
        open.look(counts(10, 0, 8));
        open.close(0);
        open.look(counts(13, 1, 8));
        let row = open.row(0).expect("four runs");
        assert_eq!((row.runs, row.bad, row.unjudged, row.timed), (4, 1, 0, 4));
        assert_eq!(open.row(1).expect("fourteen").runs, 14);
        open.close(0);
        assert_eq!(open.row(0), None);
        // The daemon was started anew: its counters too.
        open.look(counts(2, 0, 8));
        assert_eq!(open.row(0).expect("two").runs, 2);
    }

    #[test]
    fn percentiles_are_right_to_a_fifth() {
        let mut counts = Counts::default();
        for ms in 1..=1000u64 {
            let ns = ms * 1_000_000;
            counts.runs[0] += 1;
            counts.sum_ns += ns;
            counts.buckets[healthd_core::wire::samples::bucket_of(ns)] += 1;
        }
        let row = counts.row();
        for (found, ms) in [
            (row.p50_us, 500.0),
            (row.p95_us, 950.0),
            (row.p99_us, 990.0),
            (row.max_us, 1000.0),
        ] {
            let off = found as f64 / (ms * 1000.0) - 1.0;
            assert!(off.abs() < 0.19, "{found} for {ms}: {off}");
        }
        assert_eq!(row.sum_us, 500_500_000);
    }

    #[test]
    fn what_is_open_survives_its_writer_and_any_bytes_are_safe() {
        let mut open = Open::default();
        open.look(counts(10, 3, 39));
        open.close(0);
        open.look(counts(11, 3, 39));
        let mut bytes = Vec::new();
        open.write(&mut bytes);
        Open::default().write(&mut bytes);
        let mut rest = &bytes[..];
        assert_eq!(Open::read(&mut rest), Some(open));
        assert_eq!(Open::read(&mut rest), Some(Open::default()));
        assert_eq!(Open::read(&mut rest), None);
        for cut in 0..bytes.len() {
            let _ = Open::read(&mut &bytes[..cut]);
        }
        for byte in 0..=255 {
            assert_eq!(Open::read(&mut &[byte; 40][..]).is_some(), byte == 127);
        }
    }
}
