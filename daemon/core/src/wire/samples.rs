//! Samples: what the runs of each check were like, in numbers. The layout of `samples.map`.
//!
//! Counters that are only added to: a reader takes differences. One record a check, in the order of the configuration;
//! one writer, the manager. Kept over its death; a start of the daemon begins anew.

use super::maps::{HEADER_WORDS, WORD, words_at};
use crate::check::outcome::Status;
use crate::check::schedule;

pub const SAMPLES_FILE: &str = "samples.map";
/// "HDSAMPL1", read as a big-endian number.
pub const SAMPLES_MAGIC: u64 = 0x4844_5341_4d50_4c31;
pub const SAMPLES_VERSION: u64 = 2;

/// 384 bytes.
pub const SAMPLE_WORDS: usize = 48;
/// Half octaves: the first up to 0.1 ms, each up to sqrt(2) times the one before, the last without an end (from 52 s on).
pub const BUCKETS: usize = 40;
/// The newest runs that are kept one by one.
pub const LAST: usize = 32;
/// More than any daemon has.
const CHECKS_MOST: u64 = 2_000_000;

/// Header words.
pub mod samples_header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const CHECKS: usize = 2;
    /// Not 0: a newer file has been renamed over this one.
    pub const SUPERSEDED: usize = 3;
    /// Words behind the records, which hold the checks' names.
    pub const NAMES: usize = 4;
}

/// Words of a record. The rest is room for later fields.
pub mod sample {
    /// Odd while the writer is inside.
    pub const SEQ: usize = 0;
    /// Runs by outcome: ok, warning, critical, unknown, our own fault.
    pub const RUNS: usize = 1;
    /// ns, of those runs that a worker finished.
    pub const SUM: usize = 6;
    /// CLOCK_REALTIME, ns: counted since then.
    pub const SINCE: usize = 7;
    /// Place of its name among the names.
    pub const PLACE: usize = 8;
    /// ns of CPU.
    pub const CPU: usize = 9;
    /// Runs that killed a worker, and those whose call was not back at its deadline.
    pub const CRASHES: usize = 10;
    pub const OVERRUNS: usize = 11;
    /// ns from due to started, of the runs that were started.
    pub const LATE_SUM: usize = 12;
    /// CLOCK_REALTIME, ns: of the check's last run that was ok. 0: none is known.
    pub const LAST_OK: usize = 13;
    /// Two to a word.
    pub const BUCKETS: usize = 16;
    /// A byte a run, in a ring: the run of number n (of all) stands at n % 32.
    pub const LAST: usize = 36;
    /// Of the name.
    pub const HASH: usize = 40;
    /// How late runs were: two counts to a word, by `LATE_UPPER_MS`.
    pub const LATE: usize = 42;
}

/// Upper bounds of the counts at `LATE`, ms; the last has none.
pub const LATE_UPPER_MS: [f64; 11] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0,
];
pub const LATE_BUCKETS: usize = LATE_UPPER_MS.len() + 1;

pub fn late_bucket_of(ns: u64) -> usize {
    let ms = ns as f64 / 1e6;
    LATE_UPPER_MS
        .iter()
        .position(|upper| ms <= *upper)
        .unwrap_or(LATE_UPPER_MS.len())
}

/// A run that has ended, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub outcome: Outcome,
    /// How long it took, and how late it began, if a worker had it; ns.
    pub took: Option<u64>,
    pub late: u64,
    pub cpu: u64,
    pub crashed: bool,
    pub overran: bool,
    /// CLOCK_REALTIME, ns: of the check's last run that was ok, this one or one before it. 0: none is known.
    pub last_ok: u64,
}

impl Run {
    pub fn new(outcome: Outcome, took: Option<u64>) -> Run {
        Run {
            outcome,
            took,
            late: 0,
            cpu: 0,
            crashed: false,
            overran: false,
            last_ok: 0,
        }
    }
}

pub fn sample_offset(index: usize) -> usize {
    HEADER_WORDS + index * SAMPLE_WORDS
}

/// Behind the records stand the names of the checks, in so many words.
pub fn samples_words(checks: usize, names: usize) -> usize {
    sample_offset(checks) + names
}

/// What must be read of the file to know how long it is.
pub const SAMPLES_HEAD: u64 = (5 * WORD) as u64;

/// How long a file with this header is. Err: it is no such map, or one of another layout.
pub fn samples_size(head: &[u8]) -> Result<u64, String> {
    use samples_header as h;
    let head: [u64; 5] = words_at(head, 0).ok_or("shorter than its header")?;
    if head[h::MAGIC] != SAMPLES_MAGIC {
        return Err("not a map of samples".into());
    }
    match (head[h::VERSION], head[h::CHECKS]) {
        (SAMPLES_VERSION, checks @ 0..=CHECKS_MOST) if head[h::NAMES] <= CHECKS_MOST * 64 => {
            Ok((samples_words(checks as usize, head[h::NAMES] as usize) * WORD) as u64)
        }
        (SAMPLES_VERSION, checks) => Err(format!("it claims {checks} checks")),
        (layout, _) => Err(format!(
            "layout {layout} (this program reads {SAMPLES_VERSION})"
        )),
    }
}

/// How a run ended, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
    /// By our own fault: not judged.
    Own = 4,
}

impl Outcome {
    pub const ALL: [Outcome; 5] = [
        Outcome::Ok,
        Outcome::Warning,
        Outcome::Critical,
        Outcome::Unknown,
        Outcome::Own,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Critical => "critical",
            Outcome::Unknown => "unknown",
            Outcome::Own => "own-fault",
        }
    }

    pub fn of(status: Status, own_fault: bool) -> Outcome {
        match status {
            _ if own_fault => Outcome::Own,
            Status::Ok => Outcome::Ok,
            Status::Warning => Outcome::Warning,
            Status::Critical => Outcome::Critical,
            Status::Unknown => Outcome::Unknown,
        }
    }
}

/// The upper bound of a bucket; the last one has none.
pub fn bucket_upper_ns(bucket: usize) -> u64 {
    let first = match bucket % 2 {
        0 => 100_000,
        _ => 141_421,
    };
    first << (bucket / 2)
}

pub fn bucket_of(ns: u64) -> usize {
    // The octave by the position of the highest bit, and then one comparison or two: this is done for each result.
    let octave = (ns / 100_001 + 1).ilog2() as usize;
    let mut bucket = (2 * octave).saturating_sub(2).min(BUCKETS - 1);
    while bucket < BUCKETS - 1 && ns > bucket_upper_ns(bucket) {
        bucket += 1;
    }
    bucket
}

/// A run as a byte: its outcome, and its length to an octave. 0: there was none.
pub fn last_byte(outcome: Outcome, ns: u64) -> u8 {
    (outcome as u8 + 1) << 5 | (bucket_of(ns) / 2) as u8
}

/// One of the last runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    pub outcome: Outcome,
    /// Of `BUCKETS / 2`: twice as long each.
    pub octave: u8,
}

impl LastRun {
    fn of_byte(byte: u8) -> Option<LastRun> {
        let outcome = usize::from(byte >> 5).checked_sub(1)?;
        Some(LastRun {
            outcome: *Outcome::ALL.get(outcome)?,
            octave: byte & 0x1f,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRecord {
    /// Of its name among the names of the map.
    pub place: u64,
    /// By `Outcome`.
    pub runs: [u64; 5],
    pub sum_ns: u64,
    pub cpu_ns: u64,
    pub crashes: u64,
    pub overruns: u64,
    pub late_sum_ns: u64,
    /// By `LATE_UPPER_MS`.
    pub late: [u32; LATE_BUCKETS],
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    pub buckets: [u32; BUCKETS],
    /// Oldest first.
    pub last: Vec<LastRun>,
}

impl SampleRecord {
    pub fn from_words(w: &[u64; SAMPLE_WORDS]) -> SampleRecord {
        let runs: [u64; 5] = std::array::from_fn(|n| w[sample::RUNS + n]);
        let all = runs.iter().fold(0u64, |sum, n| sum.wrapping_add(*n));
        let byte = |run: u64| {
            let at = (run % LAST as u64) as usize;
            (w[sample::LAST + at / WORD] >> (at % WORD * 8)) as u8
        };
        let newest = (0..LAST as u64).map(|n| byte(all.wrapping_add(n)));
        SampleRecord {
            place: w[sample::PLACE],
            runs,
            sum_ns: w[sample::SUM],
            cpu_ns: w[sample::CPU],
            crashes: w[sample::CRASHES],
            overruns: w[sample::OVERRUNS],
            late_sum_ns: w[sample::LATE_SUM],
            late: std::array::from_fn(|n| (w[sample::LATE + n / 2] >> (n % 2 * 32)) as u32),
            since: w[sample::SINCE],
            buckets: std::array::from_fn(|n| (w[sample::BUCKETS + n / 2] >> (n % 2 * 32)) as u32),
            last: newest.filter_map(LastRun::of_byte).collect(),
        }
    }

    /// A new one, without a run.
    pub fn empty(name: &str, since: u64) -> [u64; SAMPLE_WORDS] {
        let mut w = [0; SAMPLE_WORDS];
        w[sample::SINCE] = since;
        w[sample::HASH] = schedule::hash(name.as_bytes());
        w
    }

    /// How long the shortest of the longest runs were: `part` of all are not longer. None: no run is known.
    pub fn quantile_ns(&self, part: f64) -> Option<u64> {
        let all: u64 = self.buckets.iter().map(|n| u64::from(*n)).sum();
        if all == 0 {
            return None;
        }
        let wanted = ((all as f64 * part).ceil() as u64).clamp(1, all);
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            let before = seen;
            seen += u64::from(count);
            if seen >= wanted {
                // As if the runs of a bucket lay in it evenly.
                let lower = bucket.checked_sub(1).map_or(0, bucket_upper_ns);
                let width = (bucket_upper_ns(bucket) - lower) as f64;
                let part = (wanted - before) as f64 / f64::from(count);
                return Some(lower + (width * part) as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_not_longer_than_its_bound() {
        for bucket in 0..BUCKETS - 1 {
            let upper = bucket_upper_ns(bucket);
            assert_eq!(bucket_of(upper), bucket);
            assert_eq!(bucket_of(upper + 1), bucket + 1, "{upper}");
            let lower = bucket.checked_sub(1).map_or(0, bucket_upper_ns);
            let ratio = upper as f64 / lower as f64;
            assert!(bucket == 0 || (1.41..1.42).contains(&ratio), "{ratio}");
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!(bucket_upper_ns(BUCKETS - 2) > 50_000_000_000);
    }

    #[test]
    fn quantiles_are_right_to_a_bucket() {
        let mut words = SampleRecord::empty("web", 1);
        for ms in 1..=1000u64 {
            let bucket = bucket_of(ms * 1_000_000);
            words[sample::BUCKETS + bucket / 2] += 1 << (bucket % 2 * 32);
        }
        let record = SampleRecord::from_words(&words);
        for (part, ms) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = record.quantile_ns(part).expect("runs") as f64 / 1e6;
            assert!((found / ms - 1.0).abs() < 0.2, "{part}: {found}");
        }
        let none = SampleRecord::from_words(&SampleRecord::empty("web", 1));
        assert_eq!(none.quantile_ns(0.5), None);
        assert_eq!((none.since, none.last.len()), (1, 0));
    }

    #[test]
    fn any_header_is_an_error_or_a_size() {
        for len in [0, 8, 32, 64] {
            assert!(samples_size(&vec![0xff; len]).is_err());
        }
        let head = |checks: u64| -> Vec<u8> {
            let words = [SAMPLES_MAGIC, SAMPLES_VERSION, checks, 0, 3];
            words.iter().flat_map(|w| w.to_ne_bytes()).collect()
        };
        assert_eq!(samples_size(&head(2)), Ok(4096 + 768 + 24));
        assert!(samples_size(&head(u64::MAX)).is_err());
    }
}
