//! `hd.map/1` and `hd.lock/1` of the mock host: one store for all hosts of this process. The bounds of a map are the
//! daemon's; locks are not first come first served.

use super::reactor::Delivery;
use super::{Run, is_name, run_of, strings, text};
use healthd_abi::{
    self as abi, HdCtx, HdLock, HdLockAsk, HdMap, HdMapAsk, HdMapItem, HdMapReply, HdStr,
    MapReplyFn,
};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub(super) static MAP: HdMap = HdMap {
    struct_size: size_of::<HdMap>() as u32,
    version: 1,
    ask: Some(map_ask),
    ask_and_wait: Some(map_ask_and_wait),
};

pub(super) static LOCK: HdLock = HdLock {
    struct_size: size_of::<HdLock>() as u32,
    version: 1,
    ask: Some(lock_ask),
    ask_and_wait: Some(lock_ask_and_wait),
    unlock: Some(unlock),
};

#[derive(Clone)]
struct Item {
    value: Vec<u8>,
    version: u64,
    until_ns: u64,
}

/// The daemon's bounds.
const ITEMS: usize = 1024;
const MAP_BYTES: usize = 48 << 10;
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 16 << 10;

enum Object {
    Map(BTreeMap<String, Item>),
    List(Vec<Item>),
}

impl Object {
    fn expire(&mut self, now: u64) {
        match self {
            Object::Map(items) => items.retain(|_, item| item.until_ns > now),
            Object::List(items) => items.retain(|item| item.until_ns > now),
        }
    }

    fn pairs(&self) -> Vec<(String, Vec<u8>)> {
        let pair = |key: &str, item: &Item| (key.to_owned(), item.value.clone());
        match self {
            Object::Map(items) => items.iter().map(|(key, i)| pair(key, i)).collect(),
            Object::List(items) => items.iter().map(|i| pair("", i)).collect(),
        }
    }
}

#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Object>,
    version: u64,
}

static STORE: Mutex<Option<Store>> = Mutex::new(None);

/// The answer to an ask, owned.
#[derive(Default)]
pub(super) struct Reply {
    error: i32,
    version: u64,
    items: Vec<(String, Vec<u8>)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn answer(ask: &HdMapAsk, run: &Run) -> Reply {
    let mut store = locked(&STORE);
    let mut reply = Reply::default();
    let store = store.get_or_insert_with(Store::default);
    let done = match state_op(ask.op) {
        Some(op) => store.state(ask, op, text(run.plugin), &mut reply),
        None => store.ask(ask, &mut reply),
    };
    if let Err(errno) = done {
        reply.error = -errno;
    }
    reply
}

/// A state is kept as an item of a map.
fn state_op(op: u32) -> Option<u32> {
    match op {
        abi::STATE_GET => Some(abi::MAP_GET),
        abi::STATE_SET => Some(abi::MAP_SET),
        abi::STATE_DELETE => Some(abi::MAP_DELETE),
        _ => None,
    }
}

impl Store {
    /// All instances of a plugin are one check here, as they have one name.
    fn state(
        &mut self,
        ask: &HdMapAsk,
        op: u32,
        plugin: &str,
        reply: &mut Reply,
    ) -> Result<(), i32> {
        // SAFETY: the plugin's bytes, valid for this call.
        let value = unsafe { ask.value.as_bytes() };
        let is_empty = text(ask.map).is_empty() && text(ask.key).is_empty();
        if !is_empty || ask.ttl_ns != 0 || value.len() > VALUE_MAX {
            return Err(libc::EINVAL);
        }
        let item = Item {
            value: value.to_vec(),
            version: self.version + 1,
            until_ns: u64::MAX,
        };
        let ask = HdMapAsk { op, ..*ask };
        self.keyed(&ask, format!("state/{plugin}"), "state", item, reply)
    }

    fn ask(&mut self, ask: &HdMapAsk, reply: &mut Reply) -> Result<(), i32> {
        let (name, key) = (text(ask.map), text(ask.key));
        // SAFETY: the plugin's bytes, valid for this call.
        let value = unsafe { ask.value.as_bytes() };
        if !is_name(name) || key.len() > KEY_MAX || value.len() > VALUE_MAX {
            return Err(libc::EINVAL);
        }
        let now = super::now();
        self.objects.values_mut().for_each(|o| o.expire(now));
        self.objects.retain(|_, o| !o.pairs().is_empty());
        let name = format!("{}/{name}", ask.flags & abi::SHARED);
        let there = self.objects.get(&name);
        let item = Item {
            value: value.to_vec(),
            version: self.version + 1,
            until_ns: match ask.ttl_ns {
                0 => u64::MAX,
                ns => now.saturating_add(ns),
            },
        };
        match (ask.op, there) {
            (abi::MAP_SNAPSHOT, _) => {
                reply.version = self.version;
                reply.items = there.map(Object::pairs).unwrap_or_default();
            }
            (abi::MAP_APPEND, Some(Object::Map(_))) => return Err(libc::EEXIST),
            (abi::MAP_APPEND, _) => {
                self.room(&name, None, value)?;
                let new = || Object::List(Vec::new());
                if let Object::List(items) = self.objects.entry(name).or_insert_with(new) {
                    items.push(item);
                }
                self.version += 1;
                reply.version = self.version;
            }
            (abi::MAP_DELETE, _) if key.is_empty() => {
                self.objects.remove(&name).ok_or(libc::ENOENT)?;
            }
            (abi::MAP_GET | abi::MAP_SET | abi::MAP_DELETE, _) if key.is_empty() => {
                return Err(libc::EINVAL);
            }
            (abi::MAP_GET | abi::MAP_SET | abi::MAP_DELETE, Some(Object::List(_))) => {
                return Err(libc::EEXIST);
            }
            (abi::MAP_GET | abi::MAP_SET | abi::MAP_DELETE, _) => {
                return self.keyed(ask, name, key, item, reply);
            }
            _ => return Err(libc::EINVAL),
        }
        Ok(())
    }

    fn keyed(
        &mut self,
        ask: &HdMapAsk,
        name: String,
        key: &str,
        item: Item,
        reply: &mut Reply,
    ) -> Result<(), i32> {
        let there = match self.objects.get(&name) {
            Some(Object::Map(items)) => items.get(key).cloned(),
            _ => None,
        };
        let version = there.as_ref().map_or(0, |i| i.version);
        let as_expected = ask.flags & abi::MAP_EXPECT == 0 || ask.expected == version;
        match ask.op {
            abi::MAP_SET if as_expected => {
                self.room(&name, Some(key), &item.value)?;
                self.version += 1;
                reply.version = item.version;
                let new = || Object::Map(BTreeMap::new());
                if let Object::Map(items) = self.objects.entry(name).or_insert_with(new) {
                    items.insert(key.to_owned(), item);
                }
                return Ok(());
            }
            abi::MAP_DELETE if as_expected => {
                if let Some(Object::Map(items)) = self.objects.get_mut(&name) {
                    items.remove(key);
                }
                return there.map(drop).ok_or(libc::ENOENT);
            }
            _ => {}
        }
        reply.version = version;
        let found = there.is_some();
        reply.items.extend(there.map(|i| (key.to_owned(), i.value)));
        match (ask.op, found) {
            (abi::MAP_GET, true) => Ok(()),
            (abi::MAP_GET, false) => Err(libc::ENOENT),
            _ => Err(libc::EAGAIN),
        }
    }

    /// Is there room for one more item, or another value of this key?
    fn room(&self, name: &str, key: Option<&str>, value: &[u8]) -> Result<(), i32> {
        let pairs = self.objects.get(name).map(Object::pairs);
        let others = pairs.unwrap_or_default();
        let others = others.iter().filter(|(k, _)| Some(k.as_str()) != key);
        let cost = |key: &str, value: &[u8]| key.len() + value.len() + 32;
        let bytes: usize = others.clone().map(|(k, v)| cost(k, v)).sum();
        let fits = bytes + cost(key.unwrap_or_default(), value) <= MAP_BYTES;
        match fits && others.count() < ITEMS {
            true => Ok(()),
            false => Err(libc::ENOSPC),
        }
    }
}

impl Reply {
    pub(super) fn with_abi<R>(&self, f: impl FnOnce(&HdMapReply) -> R) -> R {
        let item = |(key, value): &(String, Vec<u8>)| HdMapItem {
            key: HdStr::new(key),
            value: HdStr::from_bytes(value),
        };
        let items: Vec<HdMapItem> = self.items.iter().map(item).collect();
        f(&HdMapReply {
            struct_size: size_of::<HdMapReply>() as u32,
            error: self.error,
            version: self.version,
            items: items.as_ptr(),
            n: items.len() as u64,
        })
    }
}

unsafe extern "C" fn map_ask(ctx: *const HdCtx, ask: *const HdMapAsk) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let Some((reactor, slot)) = unsafe { run_of(ctx) }.reactor.borrow().clone() else {
        return -libc::EPERM;
    };
    // SAFETY: a plugin passes a live ask.
    let ask = unsafe { &*ask };
    let token = ask.token;
    // SAFETY: as above.
    let reply = answer(ask, unsafe { run_of(ctx) });
    reactor.send(slot, Delivery::Map { token, reply });
    0
}

unsafe extern "C" fn map_ask_and_wait(
    ctx: *const HdCtx,
    ask: *const HdMapAsk,
    reply: Option<MapReplyFn>,
    arg: *mut c_void,
) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    if unsafe { run_of(ctx) }.reactor.borrow().is_some() {
        return -libc::EPERM;
    }
    // SAFETY: a plugin passes a live ask.
    let ask = unsafe { &*ask };
    // SAFETY: a plugin passes a live ctx.
    let answer = answer(ask, unsafe { run_of(ctx) });
    if let Some(reply) = reply {
        answer.with_abi(|raw| {
            // SAFETY: the plugin's function, called with its own argument during its call.
            unsafe { reply(arg, raw) }
        });
    }
    0
}

/// What a run has asked for; no names: it waits for them.
struct Lease {
    /// The address of its ctx.
    run: usize,
    names: Vec<String>,
}

/// By the number of the ask: the address of a run that is over may be another's soon.
static LOCKS: Mutex<BTreeMap<u64, Lease>> = Mutex::new(BTreeMap::new());
static FREED: Condvar = Condvar::new();

/// An ask under way.
struct Begun {
    number: u64,
    names: Vec<String>,
    timeout: Duration,
    token: u32,
}

impl Begun {
    /// Waits until all names are free, or the time is up.
    fn take(self, at_most: Duration) -> i32 {
        let until = Instant::now() + self.timeout.min(at_most);
        let mut locks = locked(&LOCKS);
        loop {
            let taken = |l: &Lease| l.names.iter().any(|n| self.names.contains(n));
            let is_free = !locks.values().any(taken);
            let Some(lease) = locks.get_mut(&self.number) else {
                // It was given up meanwhile.
                return -libc::ECANCELED;
            };
            if is_free {
                lease.names = self.names;
                return 0;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                locks.remove(&self.number);
                return -libc::ETIMEDOUT;
            }
            (locks, _) = FREED
                .wait_timeout(locks, left)
                .unwrap_or_else(|e| e.into_inner());
        }
    }
}

/// # Safety
/// A live ctx and a live ask.
unsafe fn begin(ctx: *const HdCtx, ask: *const HdLockAsk) -> Result<Begun, i32> {
    // SAFETY: the caller's promise.
    let ask = unsafe { &*ask };
    // SAFETY: as many names as the ask says.
    let names = unsafe { strings(ask.names, ask.n) };
    if names.is_empty() || names.len() > 16 || !names.iter().all(|n| is_name(n)) {
        return Err(-libc::EINVAL);
    }
    let run = ctx as usize;
    let mut locks = locked(&LOCKS);
    if locks.values().any(|l| l.run == run) {
        return Err(-libc::EDEADLK);
    }
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Relaxed);
    let names_of = |n: &str| format!("{}/{n}", ask.flags);
    let waiting = Lease {
        run,
        names: Vec::new(),
    };
    locks.insert(number, waiting);
    Ok(Begun {
        number,
        names: names.into_iter().map(names_of).collect(),
        timeout: Duration::from_nanos(ask.timeout_ns),
        token: ask.token,
    })
}

unsafe extern "C" fn lock_ask(ctx: *const HdCtx, ask: *const HdLockAsk) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let Some((reactor, slot)) = unsafe { run_of(ctx) }.reactor.borrow().clone() else {
        return -libc::EPERM;
    };
    // SAFETY: a plugin passes a live ctx and a live ask.
    let begun = match unsafe { begin(ctx, ask) } {
        Ok(begun) => begun,
        Err(errno) => return errno,
    };
    std::thread::spawn(move || {
        let token = begun.token;
        let error = begun.take(Duration::MAX);
        reactor.send(slot, Delivery::Lock { token, error });
    });
    0
}

unsafe extern "C" fn lock_ask_and_wait(ctx: *const HdCtx, ask: *const HdLockAsk) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    if run.reactor.borrow().is_some() {
        return -libc::EPERM;
    }
    // SAFETY: a plugin passes a live ctx and a live ask.
    match unsafe { begin(ctx, ask) } {
        Ok(begun) => {
            let left = run.deadline_ns().saturating_sub(super::now());
            begun.take(Duration::from_nanos(left))
        }
        Err(errno) => errno,
    }
}

unsafe extern "C" fn unlock(ctx: *const HdCtx) {
    give_back(ctx);
}

fn give_back(ctx: *const HdCtx) {
    locked(&LOCKS).retain(|_, l| l.run != ctx as usize);
    FREED.notify_all();
}

/// The lease ends with the run.
impl Drop for Run {
    fn drop(&mut self) {
        give_back(self.ctx());
    }
}
