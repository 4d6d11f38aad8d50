//! `state.map`: the manager's own map of every check and every worker slot.

use super::map::Map;
use healthd_core::wire::maps::{
    self, CHECK_WORDS, CheckRecord, LAYOUT_VERSION, STATE_MAGIC, SlotRecord, check, check_offset,
    names_offset, slot_offset, state_header as h, state_words,
};
use healthd_core::wire::names::Names;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, fence};

pub struct StateMap {
    map: Map,
    slots: usize,
    checks: usize,
}

impl StateMap {
    /// A map that nobody sees before `reveal`: what the one before it knew is written into it first, so that a
    /// manager that dies at any moment leaves one of the two, whole. `names`: of each check its name and its title.
    pub fn prepare<'a>(
        dir: &Path,
        slots: usize,
        names: impl Iterator<Item = (&'a str, &'a str)>,
        mode: u32,
    ) -> io::Result<StateMap> {
        let names = Names::new(names);
        let (checks, words) = (names.places().len(), names.words());
        let map = Map::prepare(
            &dir.join(maps::STATE_FILE),
            state_words(slots, checks, words.len()),
            mode,
        )?;
        map.set(h::NAMES, words.len() as u64);
        for (n, word) in words.enumerate() {
            map.set(names_offset(slots, checks) + n, word);
        }
        for (index, place) in names.places().iter().enumerate() {
            map.set(check_offset(slots, index) + check::PLACE, *place);
        }
        map.set(h::CHECKS, checks as u64);
        map.set(h::SLOTS, slots as u64);
        map.set(h::MANAGER_PID, u64::from(std::process::id()));
        map.set(h::VERSION, LAYOUT_VERSION);
        map.set(h::MAGIC, STATE_MAGIC);
        Ok(StateMap { map, slots, checks })
    }

    pub fn reveal(&mut self) -> io::Result<()> {
        self.map.reveal()
    }

    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn checks(&self) -> usize {
        self.checks
    }

    /// For a reader that still has the old file open.
    pub fn supersede(&self) {
        self.map.set(h::SUPERSEDED, 1);
    }

    pub fn header(&self, word: usize, value: u64) {
        self.map.set(word, value);
    }

    pub fn slot(&self, slot: usize, record: &SlotRecord) {
        if slot < self.slots {
            self.publish(slot_offset(slot), &record.to_words());
        }
    }

    pub fn check(&self, index: usize, record: &CheckRecord<'_>) {
        if index < self.checks {
            let offset = check_offset(self.slots, index);
            let mut words: [u64; CHECK_WORDS] = record.to_words();
            words[check::PLACE] = self.map.get(offset + check::PLACE);
            self.publish(offset, &words);
        }
    }

    /// What stands there is noted before it is overwritten: a manager that is killed inside leaves half a
    /// record, and the next one reads the old one in its place.
    fn publish(&self, offset: usize, record: &[u64]) {
        let old = &self.map.words()[offset..offset + record.len()];
        let same = |(old, new): (&AtomicU64, &u64)| old.load(Ordering::Relaxed) == *new;
        if old.iter().zip(record).skip(1).all(same) {
            return;
        }
        self.map.set(h::UNDO_AT, 0);
        fence(Ordering::Release);
        for (n, word) in old.iter().enumerate() {
            self.map.set(h::UNDO + n, word.load(Ordering::Relaxed));
        }
        fence(Ordering::Release);
        self.map.set(h::UNDO_AT, offset as u64);
        fence(Ordering::Release);
        self.map.publish(offset, record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::maps::read_state;

    fn record(n: u64) -> CheckRecord<'static> {
        CheckRecord {
            name: "web".into(),
            plugin: "http".into(),
            runs: n,
            skipped: n,
            message: format!("run {n}").into(),
            ..CheckRecord::default()
        }
    }

    #[test]
    fn half_a_record_reads_as_the_one_before_it() {
        let dir = std::env::temp_dir().join(format!("healthd-undo-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        let names = [("db", ""), ("web", ""), ("web/2", "")];
        let mut map = StateMap::prepare(&dir, 2, names.into_iter(), 0o600).expect("map");
        assert!(!dir.join(maps::STATE_FILE).exists(), "nobody sees it yet");
        map.reveal().expect("reveal");
        let slot = SlotRecord {
            used: true,
            dispatched: 7,
            finished: 7,
            ..SlotRecord::default()
        };
        map.slot(1, &slot);
        map.check(1, &record(1));
        let read = || {
            let bytes = std::fs::read(dir.join(maps::STATE_FILE)).expect("read");
            read_state(&bytes).expect("ours")
        };
        let check = |n: u64| (true, record(n));
        assert_eq!(read().checks[1], check(1));
        // Killed after any number of words: every stage of a write, one after the other.
        let with_place = |record: CheckRecord, map: &StateMap| {
            let mut words = record.to_words();
            words[check::PLACE] = map.map.get(check_offset(2, 1) + check::PLACE);
            words
        };
        let next = with_place(record(2), &map);
        let offset = check_offset(2, 1);
        map.check(1, &record(2));
        for written in 1..CHECK_WORDS {
            map.check(1, &record(1));
            map.check(1, &record(2));
            // `record(2)` was the new one: back to the middle of its write.
            let old = with_place(record(1), &map);
            for (n, word) in old.iter().enumerate().skip(written) {
                map.map.set(offset + n, *word);
            }
            let seq = map.map.get(offset);
            map.map.set(offset, seq - 1);
            assert_eq!(read().checks[1], check(1), "{written} words");
            assert_eq!(read().slots, [(1, slot)]);
            map.map.set(offset, seq);
            for (n, word) in next.iter().enumerate().skip(1) {
                map.map.set(offset + n, *word);
            }
        }
        // A slot's line too.
        let before = read().slots;
        map.slot(
            1,
            &SlotRecord {
                finished: 8,
                ..slot
            },
        );
        let seq = map.map.get(slot_offset(1));
        map.map.set(slot_offset(1), seq - 1);
        assert_eq!(read().slots, before);
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}
