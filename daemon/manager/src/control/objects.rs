//! The rows of `objects`.

use crate::director::Manager;
use crate::time;
use healthd_core::check::semaphore::Shown;
use healthd_core::wire::control::{ObjectRow, ObjectUser};
use healthd_scoreboard::objects_map;
use std::collections::{BTreeMap, HashMap};

impl Manager {
    pub(super) fn object_rows(&mut self) -> Vec<ObjectRow> {
        let mut rows = self.counter_rows();
        let now = healthd_sys::clock::monotonic_ns();
        for map in self.services.kept_maps.maps.shown(now) {
            let (plugin, name) = scope(&map.name);
            rows.push(ObjectRow {
                kind: if map.is_list { "list" } else { "map" }.into(),
                name,
                plugin,
                size: Some(map.items as u64),
                bytes: Some(map.bytes as u64),
                ..ObjectRow::default()
            });
        }
        for lock in self.services.locks.shown() {
            let (plugin, name) = scope(&lock.name);
            rows.push(ObjectRow {
                kind: "lock".into(),
                name,
                plugin,
                holders: lock.inside.iter().map(|u| self.lock_user(u)).collect(),
                waiters: lock.waiting.iter().map(|u| self.lock_user(u)).collect(),
                ..ObjectRow::default()
            });
        }
        rows.extend(self.group_rows());
        for slot in self.fleet.slots.values() {
            rows.extend(slot.process.caches.iter().map(|c| ObjectRow {
                kind: "cache".into(),
                name: c.name.clone(),
                plugin: Some(c.plugin.clone()),
                size: Some(c.entries),
                worker: Some(slot.spec.slot),
                hits: Some(c.hits),
                misses: Some(c.misses),
                evictions: Some(c.evictions),
                ..ObjectRow::default()
            }));
        }
        rows
    }

    fn counter_rows(&self) -> Vec<ObjectRow> {
        let (listed, broken) = match objects_map::list(&self.args.runtime_dir) {
            Ok(listed) => listed,
            Err(e) => {
                log::warn!("the plugins' counters cannot be listed: {e}");
                return Vec::new();
            }
        };
        if broken > 0 {
            log::warn!("records of counters that make no sense  records={broken}");
        }
        let row = |l: objects_map::Listed| {
            let (plugin, name) = scope(&l.name);
            ObjectRow {
                kind: if l.cells == 1 { "counter" } else { "array" }.into(),
                name,
                plugin,
                size: Some(u64::from(l.cells)),
                values: l.values,
                ..ObjectRow::default()
            }
        };
        listed.into_iter().map(row).collect()
    }

    /// All groups that the config names, also those that nobody is in.
    fn group_rows(&self) -> Vec<ObjectRow> {
        let shown = self.schedule.groups.shown();
        let shown: HashMap<&str, &Shown<u32>> = shown.iter().map(|g| (&*g.name, g)).collect();
        let named: BTreeMap<String, u32> = self
            .checks
            .iter()
            .flat_map(|c| &c.spec.groups)
            .map(|g| (g.key(), g.most))
            .collect();
        named
            .into_iter()
            .map(|(key, most)| self.group_row(&key, most, shown.get(&*key).copied()))
            .collect()
    }

    fn group_row(&self, key: &str, most: u32, shown: Option<&Shown<u32>>) -> ObjectRow {
        let (kind, name) = key.split_once(' ').unwrap_or(("group", key));
        let user = |(id, since): &(u32, u64)| {
            let check = self.checks.get(*id);
            ObjectUser {
                check: check
                    .map(|c| c.spec.name.as_str())
                    .or_else(|| self.fleet.leftovers.check_of(*id))
                    .unwrap_or("?")
                    .to_owned(),
                worker: check.and_then(|c| Some(c.stage.flight()?.slot)),
                since: time::rfc3339(time::wall(*since)),
            }
        };
        let users = |list: Option<&Vec<(u32, u64)>>| list.into_iter().flatten().map(user).collect();
        ObjectRow {
            kind: kind.into(),
            name: name.into(),
            most: Some(most),
            holders: users(shown.map(|s| &s.inside)),
            waiters: users(shown.map(|s| &s.waiting)),
            ..ObjectRow::default()
        }
    }
}

/// Plugin and name; what all plugins share has none.
fn scope(whole: &str) -> (Option<String>, String) {
    match whole.split_once('/') {
        Some(("*", name)) => (None, name.into()),
        Some((plugin, name)) => (Some(plugin.into()), name.into()),
        None => (None, whole.into()),
    }
}
