//! Tasks that give way: their peers never pause, so that they could go on all the time. They do so one after the other,
//! when everybody else has had events and timers, and have a share of each turn together, however many they are.
//!
//! A task gives way by asking for its timer at once.

use crate::reactor::{MS, Reactor};
use healthd_loader::Event;
use healthd_sys::clock;
use std::collections::VecDeque;

/// What all of them may take of a turn; the step that is under way then is the last one.
const SHARE_NS: u64 = 2 * MS;

/// Of one task.
#[derive(Debug, Default)]
pub struct GaveWay {
    queued: bool,
    /// Its timer is due.
    timer: bool,
    /// What came meanwhile: descriptors and what they are ready for, each once. It is told when it has caught up.
    io: Vec<(i32, u32)>,
}

/// Their order; some may have ended, or ask for another time by now.
#[derive(Default)]
pub struct Queue(VecDeque<u64>);

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl GaveWay {
    /// The timer was asked for anew, or has come.
    pub fn timer_is_over(&mut self) {
        self.timer = false;
    }

    /// True: it hears of it when its turn comes.
    pub fn keeps(&mut self, fd: i32, ready: u32) -> bool {
        if !self.queued {
            return false;
        }
        match self.io.iter_mut().find(|(known, _)| *known == fd) {
            Some((_, mask)) => *mask |= ready,
            None => self.io.push((fd, ready)),
        }
        true
    }

    fn next(&mut self) -> Option<Event> {
        self.queued = false;
        if std::mem::take(&mut self.timer) {
            return Some(Event::Timer);
        }
        let (fd, ready) = self.io.pop()?;
        Some(Event::Io { fd, ready })
    }
}

impl Reactor {
    /// Its timer is due now.
    pub(crate) fn gives_way(&mut self, key: u64) {
        let Some(at) = self.find(key) else { return };
        self.active[at].gave_way.timer = true;
        self.queue(key);
    }

    fn queue(&mut self, key: u64) {
        let Some(at) = self.find(key) else { return };
        let queued = &mut self.active[at].gave_way.queued;
        if !std::mem::replace(queued, true) {
            self.gave_way.0.push_back(key);
        }
    }

    /// At the end of a turn: each goes on once, as long as the share lasts.
    pub(crate) fn let_go_on(&mut self) {
        let until = clock::monotonic_ns() + SHARE_NS;
        for _ in 0..self.gave_way.0.len() {
            let Some(key) = self.gave_way.0.pop_front() else {
                return;
            };
            let Some(at) = self.find(key) else { continue };
            let next = self.active[at].gave_way.next();
            let Some(event) = next else { continue };
            self.step(key, &event);
            if let Some(at) = self.find(key)
                && !self.active[at].gave_way.io.is_empty()
            {
                self.queue(key);
            }
            if clock::monotonic_ns() >= until {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_meanwhile_is_told_once_it_has_caught_up() {
        let mut gave_way = GaveWay::default();
        assert!(!gave_way.keeps(5, 1));
        gave_way.queued = true;
        gave_way.timer = true;
        for (fd, ready) in [(5, 1), (6, 2), (5, 2)] {
            assert!(gave_way.keeps(fd, ready));
        }
        assert!(matches!(gave_way.next(), Some(Event::Timer)));
        assert!(!gave_way.queued);
        let mut told = Vec::new();
        while let Some(Event::Io { fd, ready }) = gave_way.next() {
            told.push((fd, ready));
        }
        told.sort_unstable();
        assert_eq!(told, [(5, 3), (6, 2)]);
    }
}
