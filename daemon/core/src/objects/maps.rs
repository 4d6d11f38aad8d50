//! Maps and lists that plugins share by way of the manager. Pure: time is an argument, and every change is handed out as
//! a record, so that whoever keeps the records can make the same maps again.

use crate::wire::asks::{MapAsk, MapOp, MapReply};
use std::collections::{BTreeMap, VecDeque};

/// One map or list with all its keys and values, so that a snapshot fits one message.
pub const MAP_BYTES: usize = 48 * 1024;
pub const MAPS: usize = 256;
pub const ALL_BYTES: usize = 8 << 20;
pub const ITEMS: usize = 1024;
pub const KEY_MAX: usize = 256;
pub const VALUE_MAX: usize = 16 * 1024;
/// What an item costs besides its bytes.
const OVERHEAD: usize = 32;

/// Errors as plugins see them, as -errno.
pub mod error {
    /// The name, key, value or operation is not what it may be.
    pub const INVALID: i32 = -22;
    /// It is a list where a map was meant, or the other way round.
    pub const OTHER_KIND: i32 = -17;
    pub const NOT_FOUND: i32 = -2;
    /// Another version is there than the one that was expected: the answer has it.
    pub const CHANGED: i32 = -11;
    /// No room: too many maps, items or bytes.
    pub const NO_ROOM: i32 = -28;
}

#[derive(Debug, Default)]
pub struct Maps {
    all: BTreeMap<String, Object>,
    bytes: usize,
    version: u64,
}

#[derive(Debug)]
struct Object {
    content: Content,
    bytes: usize,
}

#[derive(Debug)]
enum Content {
    Map(BTreeMap<String, Item>),
    List(VecDeque<Item>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    value: Vec<u8>,
    version: u64,
    /// CLOCK_MONOTONIC; `u64::MAX`: for ever.
    until_ns: u64,
}

/// What has changed, in a form that can be kept and done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set {
        map: String,
        key: String,
        value: Vec<u8>,
        version: u64,
        until_ns: u64,
    },
    Append {
        list: String,
        value: Vec<u8>,
        version: u64,
        until_ns: u64,
    },
    Delete {
        map: String,
        key: String,
    },
    /// The whole map or list.
    Drop {
        map: String,
    },
    /// No version up to this one may be given again, also where nothing is left that has it.
    Version(u64),
}

/// How a map is shown: never its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub name: String,
    pub is_list: bool,
    pub items: usize,
    pub bytes: usize,
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl Object {
    fn len(&self) -> usize {
        match &self.content {
            Content::Map(items) => items.len(),
            Content::List(items) => items.len(),
        }
    }

    /// What is no longer good goes; returns the bytes that became free.
    fn expire(&mut self, now: u64) -> usize {
        let mut freed = 0;
        match &mut self.content {
            Content::Map(items) => items.retain(|key, item| {
                let good = item.until_ns > now;
                freed += if good { 0 } else { cost(key, &item.value) };
                good
            }),
            Content::List(items) => items.retain(|item| {
                let good = item.until_ns > now;
                freed += if good { 0 } else { cost("", &item.value) };
                good
            }),
        }
        self.bytes -= freed;
        freed
    }
}

impl Maps {
    /// Does what was asked. The change is to be kept before the answer is given.
    pub fn ask(&mut self, ask: &MapAsk, now: u64) -> (MapReply, Option<Change>) {
        let mut reply = MapReply {
            ask: ask.ask,
            ..MapReply::default()
        };
        let done = match ask.op {
            MapOp::Get => self.get(ask, now, &mut reply),
            MapOp::Set => self.set(ask, now, &mut reply),
            MapOp::Append => self.append(ask, now, &mut reply),
            MapOp::Snapshot => self.snapshot(ask, now, &mut reply),
            MapOp::Delete => self.delete(ask, now, &mut reply),
            // These are not kept here.
            MapOp::StateGet | MapOp::StateSet | MapOp::StateDelete => Err(error::INVALID),
        };
        match done {
            Ok(change) => (reply, change),
            Err(errno) => {
                reply.error = errno;
                (reply, None)
            }
        }
    }

    /// The map of this name, without what is too old in it.
    fn fresh(&mut self, name: &str, now: u64) -> Option<&mut Object> {
        let object = self.all.get_mut(name)?;
        self.bytes -= object.expire(now);
        if object.len() == 0 {
            self.all.remove(name);
        }
        self.all.get_mut(name)
    }

    fn items(
        &mut self,
        ask: &MapAsk,
        now: u64,
    ) -> Result<Option<&mut BTreeMap<String, Item>>, i32> {
        if ask.map.is_empty() || ask.key.is_empty() || ask.key.len() > KEY_MAX {
            return Err(error::INVALID);
        }
        match self.fresh(&ask.map, now).map(|o| &mut o.content) {
            None => Ok(None),
            Some(Content::Map(items)) => Ok(Some(items)),
            Some(Content::List(_)) => Err(error::OTHER_KIND),
        }
    }

    fn get(&mut self, ask: &MapAsk, now: u64, reply: &mut MapReply) -> Result<Option<Change>, i32> {
        let found = self.items(ask, now)?.and_then(|items| items.get(&ask.key));
        let item = found.ok_or(error::NOT_FOUND)?;
        reply.version = item.version;
        reply.items.push((ask.key.clone(), item.value.clone()));
        Ok(None)
    }

    /// `expected`: only if this version is there; 0: only if nothing is.
    fn expect(
        &mut self,
        ask: &MapAsk,
        now: u64,
        reply: &mut MapReply,
    ) -> Result<Option<usize>, i32> {
        let there = self.items(ask, now)?.and_then(|items| items.get(&ask.key));
        let version = there.map_or(0, |item| item.version);
        if ask.expected.is_some_and(|expected| expected != version) {
            reply.version = version;
            if let Some(item) = there {
                reply.items.push((ask.key.clone(), item.value.clone()));
            }
            return Err(error::CHANGED);
        }
        Ok(there.map(|item| cost(&ask.key, &item.value)))
    }

    fn set(&mut self, ask: &MapAsk, now: u64, reply: &mut MapReply) -> Result<Option<Change>, i32> {
        if ask.value.len() > VALUE_MAX {
            return Err(error::INVALID);
        }
        let old = self.expect(ask, now, reply)?;
        self.room(&ask.map, cost(&ask.key, &ask.value), old, now)?;
        self.version += 1;
        reply.version = self.version;
        let change = Change::Set {
            map: ask.map.clone(),
            key: ask.key.clone(),
            value: ask.value.clone(),
            version: self.version,
            until_ns: until(now, ask.ttl_ns),
        };
        self.redo(change.clone());
        Ok(Some(change))
    }

    fn append(
        &mut self,
        ask: &MapAsk,
        now: u64,
        reply: &mut MapReply,
    ) -> Result<Option<Change>, i32> {
        if ask.map.is_empty() || ask.value.len() > VALUE_MAX {
            return Err(error::INVALID);
        }
        if let Some(Content::Map(_)) = self.fresh(&ask.map, now).map(|o| &o.content) {
            return Err(error::OTHER_KIND);
        }
        self.room(&ask.map, cost("", &ask.value), None, now)?;
        self.version += 1;
        reply.version = self.version;
        let change = Change::Append {
            list: ask.map.clone(),
            value: ask.value.clone(),
            version: self.version,
            until_ns: until(now, ask.ttl_ns),
        };
        self.redo(change.clone());
        Ok(Some(change))
    }

    fn snapshot(
        &mut self,
        ask: &MapAsk,
        now: u64,
        reply: &mut MapReply,
    ) -> Result<Option<Change>, i32> {
        reply.version = self.version;
        match self.fresh(&ask.map, now).map(|o| &o.content) {
            None => {}
            Some(Content::Map(items)) => {
                let pair = |(key, item): (&String, &Item)| (key.clone(), item.value.clone());
                reply.items.extend(items.iter().map(pair));
            }
            Some(Content::List(items)) => {
                let pair = |item: &Item| (String::new(), item.value.clone());
                reply.items.extend(items.iter().map(pair));
            }
        }
        Ok(None)
    }

    /// Without a key the whole map or list.
    fn delete(
        &mut self,
        ask: &MapAsk,
        now: u64,
        reply: &mut MapReply,
    ) -> Result<Option<Change>, i32> {
        let change = if ask.key.is_empty() {
            self.fresh(&ask.map, now).ok_or(error::NOT_FOUND)?;
            Change::Drop {
                map: ask.map.clone(),
            }
        } else {
            self.expect(ask, now, reply)?.ok_or(error::NOT_FOUND)?;
            Change::Delete {
                map: ask.map.clone(),
                key: ask.key.clone(),
            }
        };
        self.redo(change.clone());
        Ok(Some(change))
    }

    /// Is there room for an item of this cost, in place of one of the old cost?
    fn room(&mut self, name: &str, cost: usize, old: Option<usize>, now: u64) -> Result<(), i32> {
        let (bytes, items) = self.all.get(name).map_or((0, 0), |o| (o.bytes, o.len()));
        let more = cost.saturating_sub(old.unwrap_or(0));
        let fits = bytes + more <= MAP_BYTES && items + usize::from(old.is_none()) <= ITEMS;
        if !fits {
            return Err(error::NO_ROOM);
        }
        let new_map = !self.all.contains_key(name);
        let full = |m: &Maps| m.bytes + more > ALL_BYTES || (new_map && m.all.len() >= MAPS);
        if full(self) {
            // What nobody has looked at may be too old by now.
            for object in self.all.values_mut() {
                self.bytes -= object.expire(now);
            }
            self.all.retain(|_, object| object.len() > 0);
        }
        if full(self) {
            return Err(error::NO_ROOM);
        }
        Ok(())
    }

    /// Does a change, the first time or again.
    pub fn redo(&mut self, change: Change) {
        match change {
            Change::Set {
                map,
                key,
                value,
                version,
                until_ns,
            } => {
                self.version = self.version.max(version);
                let object = self.object(map, Content::Map(BTreeMap::new()));
                if let Content::Map(items) = &mut object.content {
                    let more = cost(&key, &value);
                    let old = items.get(&key).map_or(0, |i| cost(&key, &i.value));
                    let item = Item {
                        value,
                        version,
                        until_ns,
                    };
                    items.insert(key, item);
                    object.bytes = object.bytes + more - old;
                    self.bytes = self.bytes + more - old;
                }
            }
            Change::Append {
                list,
                value,
                version,
                until_ns,
            } => {
                self.version = self.version.max(version);
                let object = self.object(list, Content::List(VecDeque::new()));
                if let Content::List(items) = &mut object.content {
                    let more = cost("", &value);
                    items.push_back(Item {
                        value,
                        version,
                        until_ns,
                    });
                    object.bytes += more;
                    self.bytes += more;
                }
            }
            Change::Delete { map, key } => {
                let Some(object) = self.all.get_mut(&map) else {
                    return;
                };
                if let Content::Map(items) = &mut object.content
                    && let Some(item) = items.remove(&key)
                {
                    object.bytes -= cost(&key, &item.value);
                    self.bytes -= cost(&key, &item.value);
                }
                if object.len() == 0 {
                    self.all.remove(&map);
                }
            }
            Change::Version(version) => self.version = self.version.max(version),
            Change::Drop { map } => {
                if let Some(object) = self.all.remove(&map) {
                    self.bytes -= object.bytes;
                }
            }
        }
    }

    /// The object of this name and kind. One of the other kind was empty when the change was made: all in it was too old,
    /// which no change tells of.
    fn object(&mut self, name: String, kind: Content) -> &mut Object {
        use std::mem::discriminant;
        let other = self
            .all
            .get(&name)
            .is_some_and(|o| discriminant(&o.content) != discriminant(&kind));
        if other && let Some(old) = self.all.remove(&name) {
            self.bytes -= old.bytes;
        }
        self.all.entry(name).or_insert(Object {
            content: kind,
            bytes: 0,
        })
    }

    /// The changes that make these maps from nothing.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let items = self.all.iter().flat_map(|(name, object)| {
            let made: Vec<Change> = match &object.content {
                Content::Map(items) => items
                    .iter()
                    .map(|(key, item)| Change::Set {
                        map: name.clone(),
                        key: key.clone(),
                        value: item.value.clone(),
                        version: item.version,
                        until_ns: item.until_ns,
                    })
                    .collect(),
                Content::List(items) => items
                    .iter()
                    .map(|item| Change::Append {
                        list: name.clone(),
                        value: item.value.clone(),
                        version: item.version,
                        until_ns: item.until_ns,
                    })
                    .collect(),
            };
            made
        });
        std::iter::once(Change::Version(self.version)).chain(items)
    }

    pub fn shown(&mut self, now: u64) -> Vec<Shown> {
        for object in self.all.values_mut() {
            self.bytes -= object.expire(now);
        }
        self.all.retain(|_, object| object.len() > 0);
        self.all
            .iter()
            .map(|(name, object)| Shown {
                name: name.clone(),
                is_list: matches!(object.content, Content::List(_)),
                items: object.len(),
                bytes: object.bytes,
            })
            .collect()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A time to live of 0 is for ever.
fn until(now: u64, ttl_ns: u64) -> u64 {
    match ttl_ns {
        0 => u64::MAX,
        ns => now.saturating_add(ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(op: MapOp, map: &str, key: &str, value: &[u8]) -> MapAsk {
        MapAsk {
            ask: 1,
            op,
            map: map.into(),
            key: key.into(),
            value: value.into(),
            expected: None,
            ttl_ns: 0,
        }
    }

    fn value(maps: &mut Maps, map: &str, key: &str, now: u64) -> Option<Vec<u8>> {
        let (reply, _) = maps.ask(&ask(MapOp::Get, map, key, b""), now);
        match reply.error {
            0 => Some(reply.items[0].1.clone()),
            error::NOT_FOUND => None,
            e => panic!("{e}"),
        }
    }

    #[test]
    fn a_map_with_times_to_live_and_versions() {
        let mut maps = Maps::default();
        assert_eq!(value(&mut maps, "m", "k", 0), None);
        let mut set = ask(MapOp::Set, "m", "k", b"one");
        set.ttl_ns = 100;
        let (reply, change) = maps.ask(&set, 10);
        assert_eq!((reply.error, reply.version), (0, 1));
        assert!(change.is_some());
        assert_eq!(value(&mut maps, "m", "k", 109), Some(b"one".to_vec()));
        // Only if nothing is there: one of many gets it.
        set.expected = Some(0);
        set.value = b"two".into();
        let (reply, change) = maps.ask(&set, 109);
        assert_eq!((reply.error, reply.version), (error::CHANGED, 1));
        assert_eq!((reply.items[0].1.as_slice(), change), (&b"one"[..], None));
        let (reply, _) = maps.ask(&set, 110);
        assert_eq!((reply.error, reply.version), (0, 2));
        let mut delete = ask(MapOp::Delete, "m", "k", b"");
        delete.expected = Some(1);
        assert_eq!(maps.ask(&delete, 111).0.error, error::CHANGED);
        delete.expected = Some(2);
        assert_eq!(maps.ask(&delete, 111).0.error, 0);
        assert_eq!(maps.ask(&delete, 111).0.error, error::CHANGED);
        assert!(maps.shown(111).is_empty());
        assert_eq!(maps.bytes(), 0);
    }

    #[test]
    fn a_list_in_order_and_kinds_that_do_not_mix() {
        let mut maps = Maps::default();
        for n in 0..3u8 {
            assert_eq!(maps.ask(&ask(MapOp::Append, "l", "", &[n]), 0).0.error, 0);
        }
        let (reply, _) = maps.ask(&ask(MapOp::Snapshot, "l", "", b""), 0);
        let values: Vec<u8> = reply.items.iter().map(|(_, v)| v[0]).collect();
        assert_eq!(values, [0, 1, 2]);
        assert_eq!(
            maps.ask(&ask(MapOp::Set, "l", "k", b""), 0).0.error,
            error::OTHER_KIND
        );
        maps.ask(&ask(MapOp::Set, "m", "k", b""), 0);
        assert_eq!(
            maps.ask(&ask(MapOp::Append, "m", "", b""), 0).0.error,
            error::OTHER_KIND
        );
        assert_eq!(maps.ask(&ask(MapOp::Delete, "l", "", b""), 0).0.error, 0);
        assert_eq!(
            maps.ask(&ask(MapOp::Delete, "l", "", b""), 0).0.error,
            error::NOT_FOUND
        );
        for (map, key) in [("", "k"), ("m", ""), ("m", &*"k".repeat(KEY_MAX + 1))] {
            assert_eq!(
                maps.ask(&ask(MapOp::Set, map, key, b""), 0).0.error,
                error::INVALID
            );
        }
    }

    #[test]
    fn bounds_are_errors_and_what_is_there_stays() {
        let mut maps = Maps::default();
        let large = vec![7; VALUE_MAX];
        assert_eq!(maps.ask(&ask(MapOp::Set, "m", "a", &large), 0).0.error, 0);
        assert_eq!(maps.ask(&ask(MapOp::Set, "m", "b", &large), 0).0.error, 0);
        assert_eq!(
            maps.ask(&ask(MapOp::Set, "m", "c", &large), 0).0.error,
            error::NO_ROOM
        );
        // In its own place there is room.
        assert_eq!(maps.ask(&ask(MapOp::Set, "m", "a", &large), 0).0.error, 0);
        let larger = vec![7; VALUE_MAX + 1];
        assert_eq!(
            maps.ask(&ask(MapOp::Set, "m", "d", &larger), 0).0.error,
            error::INVALID
        );
        for n in 0..ITEMS {
            assert_eq!(
                maps.ask(&ask(MapOp::Append, "l", "", b""), 0).0.error,
                0,
                "{n}"
            );
        }
        assert_eq!(
            maps.ask(&ask(MapOp::Append, "l", "", b""), 0).0.error,
            error::NO_ROOM
        );
        for n in 2..MAPS {
            let mut set = ask(MapOp::Set, &format!("m{n}"), "k", b"");
            set.ttl_ns = 5;
            assert_eq!(maps.ask(&set, 0).0.error, 0, "{n}");
        }
        let one_more = ask(MapOp::Set, "more", "k", b"");
        assert_eq!(maps.ask(&one_more, 4).0.error, error::NO_ROOM);
        // What is too old makes room.
        assert_eq!(maps.ask(&one_more, 5).0.error, 0);
        assert_eq!(value(&mut maps, "m", "b", 5), Some(large));
    }

    #[test]
    fn the_changes_make_the_same_maps_again() {
        let mut maps = Maps::default();
        let mut again = Maps::default();
        let mut seed = 1_u64;
        for step in 0..20_000_u64 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let op = [
                MapOp::Set,
                MapOp::Append,
                MapOp::Delete,
                MapOp::Get,
                MapOp::Snapshot,
            ];
            let mut ask = ask(
                op[(seed % 5) as usize],
                ["a", "b", "l", "m"][(seed >> 8) as usize % 4],
                ["", "x", "y", "z"][(seed >> 16) as usize % 4],
                &vec![1; (seed >> 24) as usize % 50],
            );
            ask.ttl_ns = (seed >> 32) % 3 * 40;
            if let (_, Some(change)) = maps.ask(&ask, step) {
                again.redo(change);
            }
        }
        let now = 20_000;
        assert_eq!(maps.shown(now), again.shown(now));
        let all: Vec<Change> = maps.changes().collect();
        assert_eq!(all, again.changes().collect::<Vec<_>>());
        let mut third = Maps::default();
        all.into_iter().for_each(|c| third.redo(c));
        assert_eq!(maps.shown(now), third.shown(now));
        assert_eq!((maps.bytes, maps.version), (third.bytes, third.version));
    }
}
