//! What a daemon said, in order, by a thread that reads it all: so that no queue ever fills and a test can
//! look back.

use super::DEADLINE;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

#[derive(Clone, Default)]
pub struct Record(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// Lines before this one have been expected already.
    seen: usize,
    ended: bool,
}

impl Record {
    pub fn push(&self, line: String) {
        let (state, changed) = &*self.0;
        state.lock().expect("no reader panics").lines.push(line);
        changed.notify_all();
    }

    pub fn end(&self) {
        let (state, changed) = &*self.0;
        state.lock().expect("no reader panics").ended = true;
        changed.notify_all();
    }

    /// The next line that holds `what`, after the one that was expected last.
    pub fn next(&self, what: &str) -> Option<String> {
        let deadline = Instant::now() + DEADLINE;
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no reader panics");
        loop {
            let from = state.seen;
            let found = state.lines[from..].iter().position(|l| l.contains(what));
            if let Some(at) = found {
                state.seen = from + at + 1;
                return Some(state.lines[from + at].clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return None;
            }
            state = changed
                .wait_timeout(state, left)
                .expect("no reader panics")
                .0;
        }
    }

    /// Waits until the source is closed.
    pub fn wait_end(&self) {
        let deadline = Instant::now() + DEADLINE;
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no reader panics");
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = changed
                .wait_timeout(state, left)
                .expect("no reader panics")
                .0;
        }
    }

    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().expect("no reader panics").lines.clone()
    }
}
