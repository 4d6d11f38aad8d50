//! Who wants to be looked at when: one time a key, the earliest first.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub struct Wakes<K> {
    at: BTreeMap<K, u64>,
    order: BTreeSet<(u64, K)>,
}

impl<K: Ord + Clone> Default for Wakes<K> {
    fn default() -> Wakes<K> {
        Wakes {
            at: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Clone> Wakes<K> {
    /// In place of what was set before.
    pub fn set(&mut self, key: K, at: Option<u64>) {
        if let Some(old) = self.at.remove(&key) {
            self.order.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.at.insert(key.clone(), at);
            self.order.insert((at, key));
        }
    }

    /// Not later than that.
    pub fn by(&mut self, key: K, at: u64) {
        let at = self.at.get(&key).map_or(at, |old| at.min(*old));
        self.set(key, Some(at));
    }

    pub fn at(&self, key: &K) -> Option<u64> {
        self.at.get(key).copied()
    }

    pub fn due(&mut self, now: u64) -> Option<K> {
        let (at, _) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }

    pub fn next(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_a_key() {
        let mut wakes = Wakes::default();
        wakes.set("a", Some(5));
        wakes.set("a", Some(9));
        wakes.by("b", 7);
        wakes.by("b", 8);
        assert_eq!(wakes.next(), Some(7));
        assert_eq!((wakes.at(&"a"), wakes.at(&"c")), (Some(9), None));
        assert_eq!(wakes.due(6), None);
        assert_eq!(
            (wakes.due(9), wakes.due(9), wakes.due(9)),
            (Some("b"), Some("a"), None)
        );
        wakes.set("c", Some(1));
        wakes.set("c", None);
        assert_eq!(wakes.next(), None);
    }
}
