//! Who may go in and who waits: groups of checks, and the locks of plugins.
//!
//! A *place* has a name and room for so many. Who wants in names all its places at once and gets all of
//! them or none, so nobody holds one place while it waits for another: no deadlock by construction. Lines
//! are kept in order of arrival; one that waits stands in the lines of all its places and goes in when it is
//! first in each of them and each has room. So nobody is overtaken where it waits, and nobody starves.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

/// A name, and how many may be in at one time in the eyes of the one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    pub place: Arc<str>,
    pub most: u32,
}

pub struct Semaphores<K> {
    places: HashMap<Arc<str>, Place<K>>,
    holders: HashMap<K, Holder>,
    /// Places in which something has changed since `admit` last looked.
    stirred: HashSet<Arc<str>>,
}

struct Place<K> {
    inside: u32,
    line: VecDeque<K>,
}

struct Holder {
    wants: Vec<Want>,
    since: u64,
    inside: bool,
}

/// A place as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<K> {
    pub name: Arc<str>,
    /// With the time since when, in the order of entry.
    pub inside: Vec<(K, u64)>,
    /// The same, first come first.
    pub waiting: Vec<(K, u64)>,
}

impl<K> Default for Semaphores<K> {
    fn default() -> Self {
        Semaphores {
            places: HashMap::new(),
            holders: HashMap::new(),
            stirred: HashSet::new(),
        }
    }
}

impl<K: Copy + Eq + Hash + Ord> Semaphores<K> {
    /// True: it is in. False: it waits, and a later `admit` names it. Who is known already is refused: asked
    /// again it would wait for itself. A place named twice counts once.
    pub fn enter(&mut self, who: K, mut wants: Vec<Want>, now: u64) -> Result<bool, Known> {
        if self.holders.contains_key(&who) {
            return Err(Known);
        }
        wants.sort_by(|a, b| a.place.cmp(&b.place).then(a.most.cmp(&b.most)));
        wants.dedup_by(|b, a| a.place == b.place);
        let free = wants.iter().all(|w| {
            self.places
                .get(&w.place)
                .is_none_or(|p| p.line.is_empty() && p.inside < w.most)
        });
        for want in &wants {
            let place = self
                .places
                .entry(want.place.clone())
                .or_insert_with(|| Place {
                    inside: 0,
                    line: VecDeque::new(),
                });
            if free {
                place.inside += 1;
            } else {
                place.line.push_back(who);
            }
        }
        let holder = Holder {
            wants,
            since: now,
            inside: free,
        };
        self.holders.insert(who, holder);
        Ok(free)
    }

    /// It goes, from inside or out of the line. False: it was not there.
    pub fn leave(&mut self, who: K) -> bool {
        let Some(holder) = self.holders.remove(&who) else {
            return false;
        };
        for want in holder.wants {
            let Some(place) = self.places.get_mut(&want.place) else {
                continue;
            };
            if holder.inside {
                place.inside -= 1;
            } else if let Some(at) = place.line.iter().position(|k| *k == who) {
                place.line.remove(at);
            }
            if place.inside == 0 && place.line.is_empty() {
                self.places.remove(&want.place);
            } else {
                self.stirred.insert(want.place);
            }
        }
        true
    }

    /// Who is in stays in under another name. False: it is not in, or the name is taken.
    pub fn rename(&mut self, who: K, new: K) -> bool {
        let is_in = self.holders.get(&who).is_some_and(|g| g.inside);
        if !is_in || self.holders.contains_key(&new) {
            return false;
        }
        if let Some(holder) = self.holders.remove(&who) {
            self.holders.insert(new, holder);
        }
        true
    }

    /// Those whose turn has come since the last look. They are in from here on.
    pub fn admit(&mut self, now: u64) -> Vec<K> {
        let mut admitted = Vec::new();
        let mut stirred: Vec<Arc<str>> = self.stirred.drain().collect();
        // The result must not hang on a hash.
        stirred.sort();
        while let Some(name) = stirred.pop() {
            let Some(first) = self
                .places
                .get(&name)
                .and_then(|p| p.line.front().copied())
                .filter(|who| self.may_enter(*who))
            else {
                continue;
            };
            let Some(holder) = self.holders.get_mut(&first) else {
                continue;
            };
            holder.inside = true;
            holder.since = now;
            for want in &holder.wants {
                if let Some(place) = self.places.get_mut(&want.place) {
                    place.line.pop_front();
                    place.inside += 1;
                }
                // The next in any of its lines may be first now.
                stirred.push(want.place.clone());
            }
            admitted.push(first);
        }
        admitted
    }

    fn may_enter(&self, who: K) -> bool {
        self.holders.get(&who).is_some_and(|g| {
            g.wants.iter().all(|w| {
                self.places
                    .get(&w.place)
                    .is_some_and(|p| p.line.front() == Some(&who) && p.inside < w.most)
            })
        })
    }

    /// Since when it is in (true) or waits (false).
    pub fn find(&self, who: K) -> Option<(bool, u64)> {
        self.holders.get(&who).map(|g| (g.inside, g.since))
    }

    /// The first place of `who` in which others stand in its way, and those who are in there.
    pub fn obstacle(&self, who: K) -> Option<(Arc<str>, Vec<K>)> {
        let holder = self.holders.get(&who)?;
        let shut = holder.wants.iter().find(|w| {
            self.places
                .get(&w.place)
                .is_some_and(|p| p.line.front() != Some(&who) || p.inside >= w.most)
        })?;
        let mut inside: Vec<K> = self
            .holders
            .iter()
            .filter(|(_, g)| g.inside && g.wants.iter().any(|w| w.place == shut.place))
            .map(|(k, _)| *k)
            .collect();
        inside.sort_unstable();
        Some((shut.place.clone(), inside))
    }

    pub fn waiting(&self) -> impl Iterator<Item = (K, u64)> {
        self.holders
            .iter()
            .filter(|(_, g)| !g.inside)
            .map(|(k, g)| (*k, g.since))
    }

    pub fn holders(&self) -> impl Iterator<Item = K> {
        self.holders.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.holders.len()
    }

    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Every place that somebody is in or waits for, by name.
    pub fn shown(&self) -> Vec<Shown<K>> {
        let mut inside: HashMap<&str, Vec<(u64, K)>> = HashMap::new();
        for (who, holder) in self.holders.iter().filter(|(_, g)| g.inside) {
            for want in &holder.wants {
                inside
                    .entry(&want.place)
                    .or_default()
                    .push((holder.since, *who));
            }
        }
        let mut shown: Vec<Shown<K>> = self
            .places
            .iter()
            .map(|(name, place)| {
                let mut inside = inside.remove(&**name).unwrap_or_default();
                inside.sort_unstable();
                Shown {
                    name: name.clone(),
                    inside: inside
                        .into_iter()
                        .map(|(since, who)| (who, since))
                        .collect(),
                    waiting: place
                        .line
                        .iter()
                        .filter_map(|who| Some((*who, self.holders.get(who)?.since)))
                        .collect(),
                }
            })
            .collect();
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        shown
    }
}

/// It is in already, or waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known;

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(names: &[(&str, u32)]) -> Vec<Want> {
        let want = |(place, most): &(&str, u32)| Want {
            place: (*place).into(),
            most: *most,
        };
        names.iter().map(want).collect()
    }

    #[test]
    fn one_at_a_time_and_in_order() {
        let mut t: Semaphores<u32> = Semaphores::default();
        assert_eq!(t.enter(1, wants(&[("db", 1)]), 0), Ok(true));
        assert_eq!(t.enter(2, wants(&[("db", 1)]), 1), Ok(false));
        assert_eq!(t.enter(3, wants(&[("db", 1)]), 2), Ok(false));
        assert_eq!(t.enter(1, wants(&[("other", 1)]), 2), Err(Known));
        assert!(t.admit(3).is_empty());
        assert!(t.leave(1));
        // Whoever comes now does not overtake those who wait, although the place is empty.
        assert_eq!(t.enter(4, wants(&[("db", 1)]), 3), Ok(false));
        assert_eq!(t.admit(4), [2]);
        assert_eq!(t.obstacle(3), Some(("db".into(), vec![2])));
        assert!(t.leave(3));
        assert!(t.leave(2));
        assert_eq!(t.admit(5), [4]);
        assert!(t.leave(4));
        assert!(!t.leave(4));
        assert!(t.shown().is_empty());
    }

    #[test]
    fn who_is_in_may_get_another_name() {
        let mut t: Semaphores<u32> = Semaphores::default();
        assert_eq!(t.enter(1, wants(&[("db", 1)]), 0), Ok(true));
        assert_eq!(t.enter(2, wants(&[("db", 1)]), 1), Ok(false));
        assert!(!t.rename(2, 9) && !t.rename(7, 9) && !t.rename(1, 2));
        assert!(t.rename(1, 9));
        assert!(!t.leave(1));
        // It may come again, behind itself.
        assert_eq!(t.enter(1, wants(&[("db", 1)]), 2), Ok(false));
        assert!(t.admit(3).is_empty());
        assert_eq!(t.obstacle(2), Some(("db".into(), vec![9])));
        assert!(t.leave(9));
        assert_eq!(t.admit(4), [2]);
        assert!(t.leave(2));
        assert_eq!(t.admit(5), [1]);
    }

    #[test]
    fn all_or_nothing() {
        let mut t: Semaphores<u32> = Semaphores::default();
        assert_eq!(t.enter(1, wants(&[("a", 1)]), 0), Ok(true));
        assert_eq!(t.enter(2, wants(&[("b", 1), ("a", 1)]), 1), Ok(false));
        // 2 holds nothing while it waits, but its place in the line of b is its own.
        assert_eq!(t.enter(3, wants(&[("b", 1)]), 2), Ok(false));
        t.leave(1);
        assert_eq!(t.admit(3), [2]);
        t.leave(2);
        assert_eq!(t.admit(4), [3]);
    }

    #[test]
    fn room_for_several() {
        let mut t: Semaphores<u32> = Semaphores::default();
        for who in 0..3 {
            assert_eq!(
                t.enter(who, wants(&[("block", 3), ("block", 3)]), 0),
                Ok(true)
            );
        }
        assert_eq!(t.enter(3, wants(&[("block", 3)]), 0), Ok(false));
        assert_eq!(t.enter(4, wants(&[("block", 3)]), 0), Ok(false));
        t.leave(0);
        t.leave(1);
        assert_eq!(t.admit(1), [3, 4]);
        assert_eq!(t.shown()[0].inside, [(2, 0), (3, 1), (4, 1)]);
    }

    /// Random orders, held against the rules: never too many in, all or nothing, nobody overtaken, and when all
    /// have gone nothing is left.
    #[test]
    fn a_hundred_thousand_random_steps() {
        let mut t: Semaphores<u32> = Semaphores::default();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        let names = ["a", "b", "c", "d"];
        let room = |name: &str| if name == "d" { 3 } else { 1 };
        let mut known: Vec<u32> = Vec::new();
        for step in 0..100_000_u64 {
            if known.len() < 12 && random(2) == 0 {
                let some: Vec<(&str, u32)> = names
                    .iter()
                    .filter(|_| random(2) == 0)
                    .map(|n| (*n, room(n)))
                    .collect();
                let who = step as u32;
                t.enter(who, wants(&some), step).expect("new");
                known.push(who);
            } else if !known.is_empty() {
                let at = random(known.len() as u64) as usize;
                assert!(t.leave(known.swap_remove(at)));
            }
            t.admit(step);
            for place in t.shown() {
                assert!(
                    place.inside.len() <= room(&place.name) as usize,
                    "{place:?}"
                );
                let order: Vec<u32> = place.waiting.iter().map(|(who, _)| *who).collect();
                assert!(order.is_sorted(), "{place:?}");
            }
            // The eldest of all that wait is first in each of its lines, so it waits for a holder and nobody else.
            if let Some((eldest, _)) = t.waiting().min() {
                let (_, inside) = t.obstacle(eldest).expect("it waits for something");
                assert!(!inside.is_empty());
            }
        }
        assert!(known.into_iter().all(|who| t.leave(who)));
        assert!(t.is_empty() && t.shown().is_empty());
    }
}
