//! The timer wheel: any number of timers, O(1) to set and to cancel, and one question: when must I wake?
//!
//! Eight levels of 64 slots, as in tokio's and the kernel's old wheel: a slot of level n spans 64^n ticks.
//! A timer is put into the level of the highest base-64 digit in which it differs from "now", and moves
//! down as its time comes near; so every slot in use lies ahead of "now", and a lower level always comes
//! before a higher one. What a tick is, the caller decides (the daemon uses one millisecond).

const LEVELS: usize = 8;
const SLOTS: usize = 64;
const BITS: u32 = 6;
/// The last tick there is: 8,900 years of milliseconds. Later timers are set to it.
const LAST: u64 = (1 << (BITS * LEVELS as u32)) - 1;
const NONE: u32 = u32::MAX;

/// Names one timer; a key that has fired or was cancelled matches nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    stamp: u32,
}

#[derive(Debug)]
struct Node<T> {
    item: Option<T>,
    when: u64,
    prev: u32,
    next: u32,
    stamp: u32,
    level: u8,
    slot: u8,
}

#[derive(Debug)]
pub struct Wheel<T> {
    now: u64,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    nodes: Vec<Node<T>>,
    free: u32,
    len: usize,
}

impl<T> Wheel<T> {
    pub fn new(now: u64) -> Wheel<T> {
        Wheel {
            now: now.min(LAST),
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            nodes: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// A time that has passed fires at the next `advance`.
    pub fn insert(&mut self, when: u64, item: T) -> Key {
        let index = match self.free {
            NONE => {
                let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 timers");
                self.nodes.push(Node {
                    item: None,
                    when: 0,
                    prev: NONE,
                    next: NONE,
                    stamp: 0,
                    level: 0,
                    slot: 0,
                });
                index
            }
            index => {
                self.free = self.nodes[index as usize].next;
                index
            }
        };
        let node = &mut self.nodes[index as usize];
        node.item = Some(item);
        node.when = when.clamp(self.now, LAST);
        let stamp = node.stamp;
        self.link(index);
        self.len += 1;
        Key { index, stamp }
    }

    pub fn cancel(&mut self, key: Key) -> Option<T> {
        let node = self.nodes.get_mut(key.index as usize)?;
        if node.stamp != key.stamp {
            return None;
        }
        let item = node.item.take()?;
        self.unlink(key.index);
        self.release(key.index);
        Some(item)
    }

    /// Appends every timer due at or before `now`, earliest first.
    pub fn advance(&mut self, now: u64, fired: &mut Vec<T>) {
        let now = now.min(LAST);
        while let Some((level, slot, at)) = self.next_slot() {
            if at > now {
                break;
            }
            self.now = self.now.max(at);
            let mut index = std::mem::replace(&mut self.heads[level][slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while index != NONE {
                let node = &mut self.nodes[index as usize];
                let next = node.next;
                if node.when <= self.now {
                    fired.extend(node.item.take());
                    self.release(index);
                } else {
                    self.link(index);
                }
                index = next;
            }
        }
        self.now = self.now.max(now);
    }

    /// The tick at which `advance` has something to do. Exact while timers are few; with many, a slot of
    /// a higher level may be woken for at its beginning, when its timers move down a level.
    pub fn next_wake(&self) -> Option<u64> {
        const FEW: usize = 8;
        let (level, slot, at) = self.next_slot()?;
        if level == 0 {
            return Some(at);
        }
        // Later slots and levels hold later timers only, so the first one is in here.
        let mut first = u64::MAX;
        let mut index = self.heads[level][slot];
        for _ in 0..FEW {
            let Some(node) = self.nodes.get(index as usize) else {
                return Some(first.max(at));
            };
            first = first.min(node.when);
            index = node.next;
        }
        Some(at)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot that comes up first, and the tick at which it does.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let shift = BITS * level as u32;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let base = self.now >> (shift + BITS) << (shift + BITS);
        Some((level, slot, (base + ((slot as u64) << shift)).max(self.now)))
    }

    fn link(&mut self, index: u32) {
        let when = self.nodes[index as usize].when;
        let differ = (when ^ self.now) | (SLOTS as u64 - 1);
        let level = ((63 - differ.leading_zeros()) / BITS) as usize;
        let slot = (when >> (BITS * level as u32)) as usize % SLOTS;
        let head = self.heads[level][slot];
        if head != NONE {
            self.nodes[head as usize].prev = index;
        }
        let node = &mut self.nodes[index as usize];
        node.level = level as u8;
        node.slot = slot as u8;
        node.prev = NONE;
        node.next = head;
        self.heads[level][slot] = index;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let node = &self.nodes[index as usize];
        let (prev, next) = (node.prev, node.next);
        let (level, slot) = (usize::from(node.level), usize::from(node.slot));
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NONE {
            self.nodes[prev as usize].next = next;
        } else {
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        }
    }

    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.stamp = node.stamp.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator (Steele and Vigna's SplitMix64), so that the test needs no crate and no seed.
    struct SplitMix(u64);
    impl SplitMix {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    #[test]
    fn agrees_with_a_sorted_list() {
        for seed in 0..50u64 {
            let mut rng = SplitMix(seed);
            let start = rng.next() % 1_000_000_000;
            let mut wheel = Wheel::new(start);
            let mut model: Vec<(u64, u64, Key)> = Vec::new();
            let mut now = start;
            let mut id = 0;
            for _ in 0..2_000 {
                match rng.next() % 4 {
                    0 | 1 => {
                        let scale = rng.next() % 34;
                        let when = now + rng.next() % (1u64 << scale);
                        let key = wheel.insert(when, (when, id));
                        model.push((when, id, key));
                        id += 1;
                    }
                    2 if !model.is_empty() => {
                        let (when, id, key) =
                            model.swap_remove((rng.next() % model.len() as u64) as usize);
                        assert_eq!(wheel.cancel(key), Some((when, id)));
                        assert_eq!(wheel.cancel(key), None);
                    }
                    _ => {
                        let next = model.iter().map(|m| m.0).min();
                        if let Some(next) = next {
                            assert!(wheel.next_wake().expect("a timer is set") <= next.max(now));
                        } else {
                            assert_eq!(wheel.next_wake(), None);
                        }
                        now += match rng.next() % 3 {
                            0 => rng.next() % 10,
                            1 => rng.next() % 10_000,
                            _ => rng.next() % 10_000_000,
                        };
                        let mut fired = Vec::new();
                        wheel.advance(now, &mut fired);
                        let mut due: Vec<(u64, u64)> = model
                            .iter()
                            .filter(|m| m.0 <= now)
                            .map(|m| (m.0, m.1))
                            .collect();
                        model.retain(|m| m.0 > now);
                        let times: Vec<u64> = fired.iter().map(|f| f.0).collect();
                        assert!(times.is_sorted(), "seed {seed}: {times:?}");
                        fired.sort_unstable();
                        due.sort_unstable();
                        assert_eq!(fired, due, "seed {seed} now {now}");
                    }
                }
                assert_eq!(wheel.len(), model.len());
            }
        }
    }

    #[test]
    fn after_the_last_tick_everything_is_due() {
        let mut wheel = Wheel::new(u64::MAX);
        wheel.insert(u64::MAX, 'a');
        let mut fired = Vec::new();
        wheel.advance(u64::MAX, &mut fired);
        wheel.insert(7, 'b');
        wheel.advance(u64::MAX, &mut fired);
        assert_eq!((fired, wheel.next_wake()), (vec!['a', 'b'], None));
    }

    #[test]
    fn a_stale_key_does_not_cancel_its_successor() {
        let mut wheel = Wheel::new(0);
        let first = wheel.insert(5, 'a');
        let mut fired = Vec::new();
        wheel.advance(5, &mut fired);
        let second = wheel.insert(9, 'b');
        assert_eq!(wheel.cancel(first), None);
        assert_eq!(wheel.cancel(second), Some('b'));
        assert!(wheel.is_empty());
    }
}
