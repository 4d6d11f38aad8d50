//! The checks, by the number that workers know each by, by name, and in the order of the config.

use crate::check::Check;
use healthd_core::config::DEEPEST_NEEDS as DEEPEST;
use std::collections::{BTreeSet, HashMap, HashSet};

#[derive(Default)]
pub struct Checks {
    /// By number; a hole is free.
    all: Vec<Option<Check>>,
    free: BTreeSet<u32>,
    by_name: HashMap<String, u32>,
    order: Vec<u32>,
}

impl Checks {
    /// Plugin and name of each.
    pub fn owners(&self) -> HashSet<(String, String)> {
        let specs = self.iter().map(|c| &c.spec);
        specs.map(|s| (s.plugin.clone(), s.name.clone())).collect()
    }

    pub fn get(&self, id: u32) -> Option<&Check> {
        self.all.get(id as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Check> {
        self.all.get_mut(id as usize)?.as_mut()
    }

    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The check that this one needs and for which it is not evaluated.
    pub fn obstacle(&self, check: &Check) -> Option<&Check> {
        let needed = check.spec.needs.iter();
        let mut needed = needed.filter_map(|name| self.get(self.find(name)?));
        needed.find(|n| n.is_in_the_way())
    }

    /// The one at the end of that chain: it is not ok itself. None: it is by now.
    pub fn root(&self, check: &Check) -> Option<&Check> {
        let mut at = self.obstacle(check)?;
        // A config has no circle in it, and no longer chain.
        for _ in 0..DEEPEST {
            if !at.lies_behind() {
                return Some(at);
            }
            at = self.obstacle(at)?;
        }
        None
    }

    /// All that there are, removed ones too while a run of theirs has no end.
    pub fn iter(&self) -> impl Iterator<Item = &Check> {
        self.all.iter().flatten()
    }

    /// Name and number of those that are not removed.
    pub fn named(&self) -> impl Iterator<Item = (&str, u32)> {
        self.by_name.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// Numbers in the order of the config.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    pub fn set_order(&mut self, order: Vec<u32>) {
        self.order = order;
    }

    pub fn add(&mut self, check: Check) -> u32 {
        let name = check.spec.name.clone();
        let id = self.add_unnamed(check);
        self.by_name.insert(name, id);
        id
    }

    /// One that no config knows. Its number is the lowest free one: workers keep a table by it.
    pub fn add_unnamed(&mut self, check: Check) -> u32 {
        let id = match self.free.pop_first() {
            Some(free) => free,
            None => {
                self.all.push(None);
                self.all.len() as u32 - 1
            }
        };
        self.all[id as usize] = Some(check);
        id
    }

    /// Its name may be another's from now on; its number not yet.
    pub fn unname(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Nothing refers to it any more.
    pub fn forget(&mut self, id: u32) {
        let place = self.all.get_mut(id as usize);
        if place.is_some_and(|place| place.take().is_some()) {
            self.free.insert(id);
        }
    }
}
