//! What was found is kept as long as its zone allows, and never longer than our bounds.

use crate::answer::{Found, Key};
use std::collections::HashMap;
use std::sync::Arc;

/// An address is asked for again after so long at the latest, whatever its TTL: a check shall see what has moved.
pub const LONGEST_NS: u64 = 300 * SECOND;
/// "No such name" likewise: a check shall see soon that it has come back.
pub const LONGEST_NO_NS: u64 = 30 * SECOND;
pub const SECOND: u64 = 1_000_000_000;
/// So many names; each has at most 64 addresses of a kind.
const MOST: usize = 16_384;

#[derive(Debug, Default)]
pub struct Cache(HashMap<Key, (Arc<Found>, u64)>);

impl Cache {
    pub fn get(&mut self, key: &Key, now: u64) -> Option<Arc<Found>> {
        let (found, until) = self.0.get(key)?;
        if *until > now {
            return Some(found.clone());
        }
        self.0.remove(key);
        None
    }

    /// A TTL of 0 is not kept at all.
    pub fn put(&mut self, key: Key, found: Arc<Found>, ttl_s: u32, now: u64) {
        let longest = match *found {
            Ok(_) => LONGEST_NS,
            Err(_) => LONGEST_NO_NS,
        };
        let time = (u64::from(ttl_s) * SECOND).min(longest);
        if time == 0 {
            return;
        }
        if self.0.len() >= MOST {
            self.make_room(now);
        }
        self.0.insert(key, (found, now + time));
    }

    fn make_room(&mut self, now: u64) {
        self.0.retain(|_, (_, until)| *until > now);
        if self.0.len() >= MOST {
            // Half of it, those that would be asked anew soonest.
            let mut times: Vec<u64> = self.0.values().map(|(_, until)| *until).collect();
            let (_, middle, _) = times.select_nth_unstable(MOST / 2);
            let middle = *middle;
            self.0.retain(|_, (_, until)| *until > middle);
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Failure, Family};

    fn key(n: usize) -> Key {
        Key {
            host: format!("h{n}.test"),
            family: Family::Any,
        }
    }

    fn found() -> Arc<Found> {
        Arc::new(Ok(vec![[127, 0, 0, 1].into()]))
    }

    #[test]
    fn kept_for_its_time_and_within_the_bounds() {
        let mut cache = Cache::default();
        cache.put(key(1), found(), 5, 0);
        cache.put(key(2), found(), u32::MAX, 0);
        cache.put(key(3), found(), 0, 0);
        cache.put(key(4), Arc::new(Err(Failure::target("no"))), 3600, 0);
        let mut has = |n, at| cache.get(&key(n), at).is_some();
        assert!(has(1, 5 * SECOND - 1) && !has(1, 5 * SECOND) && !has(1, 0));
        assert!(has(2, LONGEST_NS - 1) && !has(2, LONGEST_NS));
        assert!(!has(3, 0));
        assert!(has(4, LONGEST_NO_NS - 1) && !has(4, LONGEST_NO_NS));
    }

    #[test]
    fn its_room_is_bounded() {
        let mut cache = Cache::default();
        for n in 0..3 * MOST {
            cache.put(key(n), found(), 1 + (n % 200) as u32, 0);
            assert!(cache.0.len() <= MOST);
        }
        assert!(cache.0.len() >= MOST / 4);
        // What has run out goes first.
        let later = LONGEST_NS + 1;
        (0..MOST).for_each(|n| cache.put(key(n), found(), 100, later));
        assert!(cache.get(&key(0), later).is_some());
    }
}
