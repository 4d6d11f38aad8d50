//! How many look-ups may be under way, and who goes next: no zone has more than its part, and where several wait each
//! zone has its turn.

use std::collections::{HashMap, VecDeque};

#[derive(Debug)]
pub struct Places {
    most: usize,
    of_zone: usize,
    taken: usize,
    zones: HashMap<String, Zone>,
    /// Zones in which somebody waits, the next one first.
    turns: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Zone {
    taken: usize,
    /// When the first of those that are under way began, or somebody last had an answer.
    heard_at: u64,
    waiting: VecDeque<usize>,
}

impl Places {
    pub fn new(most: usize, of_zone: usize) -> Places {
        Places {
            most,
            of_zone: of_zone.min(most),
            taken: 0,
            zones: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// False: none is free, and it waits.
    pub fn take(&mut self, zone: &str, id: usize, now: u64) -> bool {
        let here = self.zones.entry(zone.to_owned()).or_default();
        if here.waiting.is_empty() && here.taken < self.of_zone && self.taken < self.most {
            if here.taken == 0 {
                here.heard_at = now;
            }
            here.taken += 1;
            self.taken += 1;
            return true;
        }
        here.waiting.push_back(id);
        if here.waiting.len() == 1 {
            self.turns.push_back(zone.to_owned());
        }
        false
    }

    /// It waits no longer.
    pub fn leave(&mut self, zone: &str, id: usize) {
        if let Some(here) = self.zones.get_mut(zone) {
            here.waiting.retain(|w| *w != id);
            if here.waiting.is_empty() {
                self.turns.retain(|z| z != zone);
            }
        }
        self.forget(zone);
    }

    pub fn release(&mut self, zone: &str) {
        if let Some(here) = self.zones.get_mut(zone) {
            here.taken -= 1;
            self.taken -= 1;
        }
        self.forget(zone);
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken
    }

    fn forget(&mut self, zone: &str) {
        let empty = |z: &Zone| z.taken == 0 && z.waiting.is_empty();
        if self.zones.get(zone).is_some_and(empty) {
            self.zones.remove(zone);
        }
    }

    /// Who may begin now; it has its place.
    pub fn next(&mut self, now: u64) -> Option<usize> {
        if self.taken >= self.most {
            return None;
        }
        for _ in 0..self.turns.len() {
            let zone = self.turns.pop_front()?;
            let Some(here) = self.zones.get_mut(&zone) else {
                continue;
            };
            let begins = here.taken < self.of_zone;
            let id = if begins {
                here.waiting.pop_front()
            } else {
                None
            };
            if id.is_some() {
                if here.taken == 0 {
                    here.heard_at = now;
                }
                here.taken += 1;
                self.taken += 1;
            }
            if !here.waiting.is_empty() {
                self.turns.push_back(zone);
            }
            if id.is_some() {
                return id;
            }
        }
        None
    }

    /// Somebody had an answer for a name of it.
    pub fn heard(&mut self, zone: &str, now: u64) {
        if let Some(here) = self.zones.get_mut(zone) {
            here.heard_at = now;
        }
    }

    /// Some: all places of the zone are taken, and since then none of its names had an answer.
    pub fn silent_since(&self, zone: &str) -> Option<u64> {
        let here = self.zones.get(zone)?;
        (here.taken >= self.of_zone).then_some(here.heard_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_its_part_and_no_more() {
        let mut p = Places::new(4, 2);
        assert!(p.take("dead", 1, 5) && p.take("dead", 2, 6));
        assert!(!p.take("dead", 3, 7) && !p.take("dead", 4, 7));
        assert_eq!(
            (p.silent_since("dead"), p.silent_since("good")),
            (Some(5), None)
        );
        assert!(p.take("good", 5, 8) && p.take("good", 6, 8));
        assert!(!p.take("third", 7, 9), "all are taken");
        assert_eq!(p.next(9), None);
        p.release("good");
        // The dead zone is first in line and has its part already.
        assert_eq!((p.next(9), p.next(9)), (Some(7), None));
        p.heard("dead", 10);
        assert_eq!(p.silent_since("dead"), Some(10));
        p.release("dead");
        assert_eq!((p.next(10), p.next(10)), (Some(3), None));
        p.leave("dead", 4);
        for zone in ["dead", "dead", "good", "third"] {
            p.release(zone);
        }
        assert_eq!((p.taken, p.zones.len(), p.turns.len()), (0, 0, 0));
    }

    #[test]
    fn each_zone_has_its_turn() {
        let mut p = Places::new(1, 1);
        assert!(p.take("x", 0, 0));
        for (zone, id) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)] {
            assert!(!p.take(zone, id, 0));
        }
        let mut last = "x".to_owned();
        let mut order = Vec::new();
        while let Some(id) = {
            p.release(&last);
            p.next(0)
        } {
            order.push(id);
            last = match id {
                4 => "b".into(),
                5 => "c".into(),
                _ => "a".into(),
            };
        }
        assert_eq!(order, [1, 4, 5, 2, 3]);
    }
}
