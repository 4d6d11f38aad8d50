//! `samples.map`: counters of each check's runs, which the manager adds to with each result.

use super::map::{Map, read_words};
use super::word;
use healthd_core::check::schedule;
use healthd_core::wire::maps::{WORD, whole, words_at};
use healthd_core::wire::names::{self, Names};
use healthd_core::wire::samples::{
    LAST, Outcome, Run, SAMPLE_WORDS, SAMPLES_FILE, SAMPLES_HEAD, SAMPLES_MAGIC, SAMPLES_VERSION,
    SampleRecord, bucket_of, last_byte, late_bucket_of, sample, sample_offset, samples_header as h,
    samples_size, samples_words,
};
use healthd_sys::files;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

pub struct SamplesMap {
    map: Map,
    checks: usize,
}

/// Records as they were, by the hash of the name.
pub type Left = HashMap<u64, [u64; SAMPLE_WORDS]>;

/// What a manager that died had counted. One record that it died in may lack its last run.
pub fn left_in(dir: &Path) -> io::Result<Left> {
    let bytes = files::read_sized(&dir.join(SAMPLES_FILE), SAMPLES_HEAD, samples_size)?;
    let [checks]: [u64; 1] = words_at(&bytes, h::CHECKS).unwrap_or_default();
    let records = (0..checks as usize).map_while(|n| {
        let words: [u64; SAMPLE_WORDS] = words_at(&bytes, sample_offset(n))?;
        Some((words[sample::HASH], words))
    });
    Ok(records.collect())
}

/// When the last run of this check was ok, as far as that is known.
pub fn last_ok_in(left: &Left, name: &str) -> u64 {
    let record = left.get(&schedule::hash(name.as_bytes()));
    record.map_or(0, |words| words[sample::LAST_OK])
}

impl SamplesMap {
    /// A map for these checks, in this order, in place of the one that has the name; with what is left of before.
    pub fn create<'a>(
        dir: &Path,
        names: impl Iterator<Item = &'a str> + Clone,
        left: &Left,
        since: u64,
        mode: u32,
    ) -> io::Result<SamplesMap> {
        let written = Names::new(names.clone().map(|name| (name, "")));
        let (checks, words) = (written.places().len(), written.words());
        let size = samples_words(checks, words.len());
        let mut map = Map::prepare(&dir.join(SAMPLES_FILE), size, mode)?;
        map.set(h::CHECKS, checks as u64);
        map.set(h::NAMES, words.len() as u64);
        for (n, word) in words.enumerate() {
            map.set(sample_offset(checks) + n, word);
        }
        map.set(h::VERSION, SAMPLES_VERSION);
        map.set(h::MAGIC, SAMPLES_MAGIC);
        for (index, (name, place)) in names.zip(written.places()).enumerate() {
            let new = SampleRecord::empty(name, since);
            let mut record = *left.get(&new[sample::HASH]).unwrap_or(&new);
            record[sample::PLACE] = *place;
            map.publish(sample_offset(index), &record);
        }
        map.reveal()?;
        Ok(SamplesMap { map, checks })
    }

    /// For a reader that still has the old file open.
    pub fn supersede(&self) {
        self.map.set(h::SUPERSEDED, 1);
    }

    /// All of it, for the map that comes after this one.
    pub fn left(&self) -> Left {
        let records = (0..self.checks).filter_map(|n| self.words(n));
        records.map(|words| (words[sample::HASH], words)).collect()
    }

    pub fn read(&self, index: usize) -> Option<SampleRecord> {
        self.words(index).map(|w| SampleRecord::from_words(&w))
    }

    fn words(&self, index: usize) -> Option<[u64; SAMPLE_WORDS]> {
        let at = sample_offset(index);
        (index < self.checks).then(|| std::array::from_fn(|n| self.map.get(at + n)))
    }

    /// A run has ended.
    pub fn add(&self, index: usize, run: &Run) {
        if index < self.checks {
            self.map
                .update(sample_offset(index), SAMPLE_WORDS, |words| {
                    count(words, run);
                });
        }
    }
}

/// `words` is the record without its first word.
fn count(words: &[AtomicU64], run: &Run) {
    let Run { outcome, took, .. } = *run;
    let at = |word: usize| &words[word - 1];
    // One writer: what was read is still there when the sum is written.
    let plus = |place: &AtomicU64, n: u64| word::set(place, word::get(place).wrapping_add(n));
    let all = (0..Outcome::ALL.len()).fold(0u64, |sum, n| {
        sum.wrapping_add(word::get(at(sample::RUNS + n)))
    });
    let slot = (all % LAST as u64) as usize;
    let (place, shift) = (at(sample::LAST + slot / 8), slot % 8 * 8);
    let byte = u64::from(last_byte(outcome, took.unwrap_or(0)));
    word::set(place, word::get(place) & !(0xff << shift) | byte << shift);
    plus(at(sample::RUNS + outcome as usize), 1);
    let plus_half = |first: usize, n: usize| {
        let (place, shift) = (at(first + n / 2), n % 2 * 32);
        let counts = word::get(place);
        let one = ((counts >> shift) as u32).wrapping_add(1);
        word::set(
            place,
            counts & !(u64::from(u32::MAX) << shift) | u64::from(one) << shift,
        );
    };
    for (word, is) in [
        (sample::CRASHES, run.crashed),
        (sample::OVERRUNS, run.overran),
    ] {
        if is {
            plus(at(word), 1);
        }
    }
    word::set(at(sample::LAST_OK), run.last_ok);
    if let Some(ns) = took {
        plus(at(sample::SUM), ns);
        plus_half(sample::BUCKETS, bucket_of(ns));
        plus(at(sample::CPU), run.cpu);
        plus(at(sample::LATE_SUM), run.late);
        plus_half(sample::LATE, late_bucket_of(run.late));
    }
}

/// The map as another process reads it.
pub struct SamplesView(File);

impl SamplesView {
    pub fn open(dir: &Path) -> io::Result<SamplesView> {
        files::open(&dir.join(SAMPLES_FILE)).map(SamplesView)
    }

    /// None: there is no such check, or its writer was inside, or has died there.
    pub fn read(&self, index: usize) -> Option<SampleRecord> {
        let at = sample_offset(index);
        let first = read_words(&self.0, at).ok()?;
        let second = read_words(&self.0, at).ok()?;
        whole(&first, &second).then(|| SampleRecord::from_words(&second))
    }

    /// Of the check whose record this is.
    pub fn name(&self, record: &SampleRecord) -> io::Result<String> {
        let [checks]: [u64; 1] = read_words(&self.0, h::CHECKS)?;
        let mut name = [0; u8::MAX as usize];
        let at = sample_offset(checks as usize) as u64 * WORD as u64 + (record.place >> 16);
        let name = &mut name[..usize::from(record.place as u8)];
        self.0.read_exact_at(name, at)?;
        Ok(names::at(name, record.place & 0xff).0.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> std::path::PathBuf {
        let dir =
            std::env::temp_dir().join(format!("healthd-samples-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        dir
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn runs_are_counted_and_outlive_their_writer_and_another_order() {
        let dir = dir("count");
        let long = "the longest name of a check ".repeat(9);
        let names = [&long[..], "db"];
        let none = Left::new();
        let map = SamplesMap::create(&dir, names.into_iter(), &none, 7, 0o600).expect("map");
        for n in 0..40 {
            map.add(1, &Run::new(Outcome::Ok, Some(n * MS)));
        }
        map.add(1, &Run::new(Outcome::Critical, Some(5_000 * MS)));
        map.add(1, &Run::new(Outcome::Own, None));
        map.add(2, &Run::new(Outcome::Ok, Some(MS)));
        let view = SamplesView::open(&dir).expect("open");
        let db = view.read(1).expect("whole");
        assert_eq!(
            (view.name(&db).expect("read"), db.since),
            ("db".to_owned(), 7)
        );
        let first = view.read(0).expect("whole");
        assert_eq!(view.name(&first).expect("read"), long);
        assert_eq!(db.runs, [40, 0, 1, 0, 1]);
        assert_eq!(db.sum_ns, (780 + 5_000) * MS);
        assert_eq!(db.buckets.iter().sum::<u32>(), 41);
        assert_eq!(db.last.len(), LAST);
        let ends: Vec<Outcome> = db.last[29..].iter().map(|r| r.outcome).collect();
        assert_eq!(ends, [Outcome::Ok, Outcome::Critical, Outcome::Own]);
        assert!(db.last[30].octave > db.last[29].octave);
        assert_eq!(view.read(2), None, "there is none");
        // Its writer dies; the next one has another order and one more.
        drop(map);
        let left = left_in(&dir).expect("a map");
        let names = ["db", "new", &long];
        let map = SamplesMap::create(&dir, names.into_iter(), &left, 9, 0o600).expect("map");
        let before = SampleRecord { place: 2, ..db };
        assert_eq!(map.read(0), Some(before));
        assert_eq!(map.read(1).map(|r| (r.since, r.runs)), Some((9, [0; 5])));
        map.add(0, &Run::new(Outcome::Warning, Some(MS)));
        assert_eq!(map.left().len(), 3);
        let again = map.read(0).expect("it is there");
        assert_eq!(again.runs, [40, 1, 1, 0, 1]);
        std::fs::remove_dir_all(&dir).expect("remove");
    }

    #[test]
    fn a_record_that_its_writer_died_in_is_not_read_and_goes_on() {
        let dir = dir("torn");
        let none = Left::new();
        let map = SamplesMap::create(&dir, ["web"].into_iter(), &none, 7, 0o600).expect("map");
        map.add(0, &Run::new(Outcome::Ok, Some(MS)));
        let seq = map.map.get(sample_offset(0));
        map.map.set(sample_offset(0), seq + 1);
        let view = SamplesView::open(&dir).expect("open");
        assert_eq!(view.read(0), None);
        let left = left_in(&dir).expect("a map");
        let map = SamplesMap::create(&dir, ["web"].into_iter(), &left, 8, 0o600).expect("map");
        map.add(0, &Run::new(Outcome::Ok, Some(MS)));
        let view = SamplesView::open(&dir).expect("open");
        assert_eq!(view.read(0).expect("whole").runs[0], 2);
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}
