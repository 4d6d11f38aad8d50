//! A set of checks' ids, a bit each: each client that watches has some, and there may be 100,000 checks.

#[derive(Clone, Debug, Default)]
pub struct IdSet(Vec<u64>);

impl IdSet {
    pub fn contains(&self, id: u32) -> bool {
        let (word, bit) = place(id);
        self.0.get(word).is_some_and(|w| w & bit != 0)
    }

    /// False: it was in there already.
    pub fn insert(&mut self, id: u32) -> bool {
        let (word, bit) = place(id);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    /// False: it was not in there.
    pub fn remove(&mut self, id: u32) -> bool {
        let there = self.contains(id);
        if there {
            let (word, bit) = place(id);
            self.0[word] &= !bit;
        }
        there
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl FromIterator<u32> for IdSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> IdSet {
        let mut set = IdSet::default();
        for id in ids {
            set.insert(id);
        }
        set
    }
}

fn place(id: u32) -> (usize, u64) {
    (id as usize / 64, 1 << (id % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let mut set = IdSet::from_iter([3, 64, 100_000]);
        assert!(set.contains(64) && !set.contains(65) && !set.contains(u32::MAX));
        assert!(!set.insert(3) && set.insert(4));
        assert!(set.remove(3) && !set.remove(3) && !set.contains(3));
        set.clear();
        assert!(!set.contains(100_000));
    }
}
