//! `state.map`: the manager's own map of every check and every worker slot.

use super::map::Map;
use healthd_core::wire::maps::{
    self, CHECK_WORDS, CheckRecord, LAYOUT_VERSION, STATE_MAGIC, SlotRecord, check_offset,
    slot_offset, state_header as h, state_words,
};
use std::io;
use std::path::Path;

pub struct StateMap {
    map: Map,
    slots: usize,
    checks: usize,
}

impl StateMap {
    pub fn create(dir: &Path, slots: usize, checks: usize, mode: u32) -> io::Result<StateMap> {
        // The magic is set before the rename shows the file to anyone.
        let map = Map::create(
            &dir.join(maps::STATE_FILE),
            state_words(slots, checks),
            mode,
        )?;
        map.set(h::CHECKS, checks as u64);
        map.set(h::SLOTS, slots as u64);
        map.set(h::MANAGER_PID, u64::from(std::process::id()));
        map.set(h::VERSION, LAYOUT_VERSION);
        map.set(h::MAGIC, STATE_MAGIC);
        Ok(StateMap { map, slots, checks })
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
            self.map.publish(slot_offset(slot), &record.to_words());
        }
    }

    pub fn check(&self, index: usize, record: &CheckRecord<'_>) {
        if index < self.checks {
            let words: [u64; CHECK_WORDS] = record.to_words();
            self.map.publish(check_offset(self.slots, index), &words);
        }
    }
}
