//! `hd.map/1` and `hd.lock/1` of the mock host: one store for all hosts of this process. Its bounds are the daemon's;
//! its locks are not first come first served.

use super::reactor::Delivery;
use super::{Run, run_of, strings, text};
use healthd_abi::{
    self as abi, HdCtx, HdLock, HdLockAsk, HdMap, HdMapAsk, HdMapItem, HdMapReply, HdStr,
    MapReplyFn,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
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

#[derive(Default)]
struct Store {
    maps: BTreeMap<String, BTreeMap<String, Item>>,
    lists: BTreeMap<String, Vec<Item>>,
    version: u64,
}

static STORE: Mutex<Option<Store>> = Mutex::new(None);

/// The answer to an ask, owned.
pub(super) struct Reply {
    error: i32,
    version: u64,
    items: Vec<(String, Vec<u8>)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn answer(ask: &HdMapAsk) -> Reply {
    let name = format!("{}/{}", ask.flags & abi::SHARED, text(ask.map));
    let key = text(ask.key).to_owned();
    // SAFETY: the plugin's bytes, valid for this call.
    let value = unsafe { ask.value.as_bytes() }.to_vec();
    let now = super::now();
    let mut store = locked(&STORE);
    let store = store.get_or_insert_with(Store::default);
    for map in store.maps.values_mut() {
        map.retain(|_, item| item.until_ns > now);
    }
    store.maps.retain(|_, map| !map.is_empty());
    let mut reply = Reply {
        error: 0,
        version: 0,
        items: Vec::new(),
    };
    let keyed = matches!(ask.op, abi::MAP_GET | abi::MAP_SET);
    if value.len() > 16 << 10 || key.len() > 256 || (keyed && key.is_empty()) {
        reply.error = -libc::EINVAL;
        return reply;
    }
    if ask.op == abi::MAP_SNAPSHOT {
        reply.version = store.version;
        let of_map = store.maps.get(&name).into_iter().flatten();
        reply
            .items
            .extend(of_map.map(|(k, i)| (k.clone(), i.value.clone())));
        let of_list = store.lists.get(&name).into_iter().flatten();
        reply
            .items
            .extend(of_list.map(|i| (String::new(), i.value.clone())));
        return reply;
    }
    let item = Item {
        value,
        version: store.version + 1,
        until_ns: match ask.ttl_ns {
            0 => u64::MAX,
            ns => now.saturating_add(ns),
        },
    };
    if ask.op == abi::MAP_APPEND {
        reply.version = item.version;
        store.version += 1;
        store.lists.entry(name).or_default().push(item);
        return reply;
    }
    let map = store.maps.entry(name.clone()).or_default();
    let there = map.get(&key).cloned();
    let version = there.as_ref().map_or(0, |i| i.version);
    let unexpected = ask.flags & abi::MAP_EXPECT != 0 && ask.expected != version;
    match ask.op {
        abi::MAP_SET | abi::MAP_DELETE if unexpected => reply.error = -libc::EAGAIN,
        abi::MAP_SET => {
            reply.version = item.version;
            map.insert(key, item);
            store.version += 1;
            return reply;
        }
        abi::MAP_DELETE if key.is_empty() => {
            drop(store.maps.remove(&name));
            drop(store.lists.remove(&name));
            return reply;
        }
        abi::MAP_DELETE if there.is_some() => {
            map.remove(&key);
            return reply;
        }
        abi::MAP_GET if there.is_some() => {}
        abi::MAP_GET | abi::MAP_DELETE => reply.error = -libc::ENOENT,
        _ => reply.error = -libc::EINVAL,
    }
    reply.version = version;
    reply.items.extend(there.map(|i| (key, i.value)));
    reply
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
    let reply = answer(ask);
    reactor.send(slot, Delivery::Map { token, reply });
    0
}

unsafe extern "C" fn map_ask_and_wait(
    _: *const HdCtx,
    ask: *const HdMapAsk,
    reply: Option<MapReplyFn>,
    arg: *mut c_void,
) -> i32 {
    // SAFETY: a plugin passes a live ask.
    let answer = answer(unsafe { &*ask });
    if let Some(reply) = reply {
        answer.with_abi(|raw| {
            // SAFETY: the plugin's function, called with its own argument during its call.
            unsafe { reply(arg, raw) }
        });
    }
    0
}

/// Who holds which names: by the address of the ctx. A run that waits is in it with no names.
static LOCKS: Mutex<Option<HashMap<usize, Vec<String>>>> = Mutex::new(None);
static FREED: Condvar = Condvar::new();

/// Waits until all names are free, or the time is up.
fn take(who: usize, names: Vec<String>, timeout: Duration) -> i32 {
    let until = Instant::now() + timeout;
    let mut locks = locked(&LOCKS);
    loop {
        let held = locks.get_or_insert_with(HashMap::new);
        // It was given up meanwhile.
        if !held.contains_key(&who) {
            return -libc::ECANCELED;
        }
        if !held.values().flatten().any(|n| names.contains(n)) {
            held.insert(who, names);
            return 0;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            held.remove(&who);
            return -libc::ETIMEDOUT;
        }
        (locks, _) = FREED
            .wait_timeout(locks, left)
            .unwrap_or_else(|e| e.into_inner());
    }
}

/// # Safety
/// A live ctx and a live ask.
unsafe fn begin(
    ctx: *const HdCtx,
    ask: *const HdLockAsk,
) -> Result<(Vec<String>, Duration, u32), i32> {
    // SAFETY: the caller's promise.
    let ask = unsafe { &*ask };
    // SAFETY: as many names as the ask says.
    let names = unsafe { strings(ask.names, ask.n) };
    if names.is_empty() || names.len() > 16 {
        return Err(-libc::EINVAL);
    }
    let mut locks = locked(&LOCKS);
    let held = locks.get_or_insert_with(HashMap::new);
    if held.contains_key(&(ctx as usize)) {
        return Err(-libc::EDEADLK);
    }
    held.insert(ctx as usize, Vec::new());
    let names = names
        .into_iter()
        .map(|n| format!("{}/{n}", ask.flags))
        .collect();
    Ok((names, Duration::from_nanos(ask.timeout_ns), ask.token))
}

unsafe extern "C" fn lock_ask(ctx: *const HdCtx, ask: *const HdLockAsk) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let Some((reactor, slot)) = unsafe { run_of(ctx) }.reactor.borrow().clone() else {
        return -libc::EPERM;
    };
    // SAFETY: a plugin passes a live ctx and a live ask.
    let (names, timeout, token) = match unsafe { begin(ctx, ask) } {
        Ok(begun) => begun,
        Err(errno) => return errno,
    };
    let who = ctx as usize;
    std::thread::spawn(move || {
        let error = take(who, names, timeout);
        reactor.send(slot, Delivery::Lock { token, error });
    });
    0
}

unsafe extern "C" fn lock_ask_and_wait(ctx: *const HdCtx, ask: *const HdLockAsk) -> i32 {
    // SAFETY: a plugin passes a live ctx and a live ask.
    match unsafe { begin(ctx, ask) } {
        Ok((names, timeout, _)) => {
            // SAFETY: a plugin passes a live ctx.
            let deadline = unsafe { (*ctx).deadline_ns };
            let left = Duration::from_nanos(deadline.saturating_sub(super::now()));
            take(ctx as usize, names, timeout.min(left))
        }
        Err(errno) => errno,
    }
}

unsafe extern "C" fn unlock(ctx: *const HdCtx) {
    give_back(ctx);
}

fn give_back(ctx: *const HdCtx) {
    if let Some(held) = locked(&LOCKS).as_mut() {
        held.remove(&(ctx as usize));
    }
    FREED.notify_all();
}

/// The lease ends with the run.
impl Drop for Run {
    fn drop(&mut self) {
        give_back(self.ctx());
    }
}
