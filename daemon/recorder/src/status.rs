//! `history.map`: how the recorder fares, for `/metrics`, `/readyz` and healthctl.

use healthd_core::wire::history::{
    HISTORY_MAGIC, HISTORY_MAP, HISTORY_VERSION, HISTORY_WORDS, history_word as w, path_words,
    read_status,
};
use healthd_scoreboard::map::Map;
use healthd_sys::{clock, files};
use std::io;
use std::path::Path;

/// As the other maps: who may ask the control socket may read it.
const MODE: u32 = 0o640;

pub struct Status(Map);

impl Status {
    pub fn create(runtime_dir: &Path, file: &Path, most: u64) -> io::Result<Status> {
        // A recorder that died had counted already.
        let before = files::read(&runtime_dir.join(HISTORY_MAP), 1 << 16);
        let before = before.ok().and_then(|bytes| read_status(&bytes));
        let before = before.unwrap_or_default();
        let mut map = Map::prepare(&runtime_dir.join(HISTORY_MAP), HISTORY_WORDS, MODE)?;
        let path = file.to_string_lossy();
        let length = path.len().min(w::PATH_WORDS * 8);
        map.set(w::PATH_LENGTH, length as u64);
        for (n, word) in path_words(&path).into_iter().enumerate() {
            map.set(w::PATH + n, word);
        }
        map.set(w::EVENTS_LOST, before.events_lost);
        map.set(w::WRITE_ERRORS, before.write_errors);
        map.set(w::MOST, most);
        map.set(w::PID, u64::from(std::process::id()));
        map.set(w::BEAT, clock::monotonic_ns());
        map.set(w::VERSION, HISTORY_VERSION);
        map.set(w::MAGIC, HISTORY_MAGIC);
        map.reveal()?;
        Ok(Status(map))
    }

    pub fn beat(&self) {
        self.0.set(w::BEAT, clock::monotonic_ns());
    }

    pub fn lost(&self, events: u64) {
        self.0.add(w::EVENTS_LOST, events);
    }

    pub fn failed(&self) {
        self.0.add(w::WRITE_ERRORS, 1);
    }

    pub fn sizes(&self, (file, log): (u64, u64)) {
        self.0.set(w::FILE, file);
        self.0.set(w::LOG, log);
    }

    /// CLOCK_REALTIME, ns, of the oldest event that is not written; 0: all are.
    pub fn waits_since(&self, time: u64) {
        self.0.set(w::WAITS_SINCE, time);
    }
}
