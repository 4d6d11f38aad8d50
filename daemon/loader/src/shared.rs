//! `hd.map/1`, `hd.state/1` and `hd.lock/1` as plugins see them: arguments are checked here, and the worker's services ask the manager.

use crate::context::Context;
use crate::host::{bytes, list, services, text};
use healthd_abi::{
    self as abi, HdCtx, HdLock, HdLockAsk, HdLockDone, HdMap, HdMapAsk, HdMapItem, HdMapReply,
    HdStr, MapReplyFn,
};
use healthd_core::wire::asks::{LockAsk, MapAsk, MapOp, MapReply};
use healthd_core::wire::objects_map::scoped;
use std::ffi::c_void;

pub(crate) static MAP: HdMap = HdMap {
    struct_size: size_of::<HdMap>() as u32,
    version: 1,
    ask: Some(map_ask),
    ask_and_wait: Some(map_ask_and_wait),
};

pub(crate) static LOCK: HdLock = HdLock {
    struct_size: size_of::<HdLock>() as u32,
    version: 1,
    ask: Some(lock_ask),
    ask_and_wait: Some(lock_ask_and_wait),
    unlock: Some(unlock),
};

/// Who waits for an answer.
#[derive(Clone, Copy)]
pub enum Asker<'c> {
    /// A task: its next step gets the answer, with this token.
    Task { task: u64, token: u32 },
    /// The calling thread, until its run is cancelled or its deadline comes.
    Thread {
        deadline_ns: u64,
        cancel: &'c crate::context::Cancel,
    },
}

const EINVAL: i32 = -libc::EINVAL;
const EPERM: i32 = -libc::EPERM;

/// The step lane waits by a task, the others by their thread. None: called in the wrong lane.
fn asker(context: &Context, blocking: bool, token: u32) -> Option<Asker<'_>> {
    match (context.task(), blocking) {
        (u64::MAX, true) => Some(Asker::Thread {
            deadline_ns: context.deadline_ns(),
            cancel: context.cancel(),
        }),
        (u64::MAX, false) | (_, true) => None,
        (task, false) => Some(Asker::Task { task, token }),
    }
}

/// # Safety
/// `raw` is NULL or as long as the size in its first field says, and so are the strings in it.
unsafe fn map_from(context: &Context, raw: *const HdMapAsk) -> Option<(MapAsk, u32)> {
    // SAFETY: the caller's promise.
    let raw = unsafe { whole(raw) }?;
    // SAFETY: by contract readable for this call.
    let name = unsafe { text(raw.map) };
    // SAFETY: as above.
    let key = unsafe { bytes(raw.key) };
    // SAFETY: as above.
    let value = unsafe { bytes(raw.value) };
    if raw.flags & !(abi::SHARED | abi::MAP_EXPECT) != 0 {
        return None;
    }
    let op = MapOp::from_code(raw.op)?;
    let (map, key) = match op.is_state() {
        // A check has one state, and no other's.
        true if raw.flags & abi::SHARED != 0 || !name.is_empty() || !key.is_empty() => return None,
        true => (context.plugin().to_owned(), context.check().to_owned()),
        false => (
            scoped(context.plugin(), &name, raw.flags & abi::SHARED != 0)?,
            std::str::from_utf8(key).ok()?.to_owned(),
        ),
    };
    let ask = MapAsk {
        ask: 0,
        op,
        map,
        key,
        value: value.to_vec(),
        expected: (raw.flags & abi::MAP_EXPECT != 0).then_some(raw.expected),
        ttl_ns: raw.ttl_ns,
    };
    Some((ask, raw.token))
}

/// # Safety
/// As `map_from`.
unsafe fn lock_from(context: &Context, raw: *const HdLockAsk) -> Option<(LockAsk, u32)> {
    // SAFETY: the caller's promise.
    let raw = unsafe { whole(raw) }?;
    if raw.n == 0 || raw.n > 16 || raw.flags & !abi::SHARED != 0 {
        return None;
    }
    // SAFETY: by contract `n` strings lie there.
    let names = unsafe { list(raw.names, raw.n) }?;
    let shared = raw.flags & abi::SHARED != 0;
    let name = |n: &Vec<u8>| scoped(context.plugin(), std::str::from_utf8(n).ok()?, shared);
    let mut names = names.iter().map(name).collect::<Option<Vec<String>>>()?;
    names.sort_unstable();
    names.dedup();
    let ask = LockAsk {
        ask: 0,
        run_id: context.run_id(),
        timeout_ns: raw.timeout_ns,
        names,
    };
    Some((ask, raw.token))
}

/// A struct that begins with its size.
///
/// # Safety
/// NULL, or as long as its first field says.
unsafe fn whole<T: Copy>(raw: *const T) -> Option<T> {
    if raw.is_null() || !raw.is_aligned() {
        return None;
    }
    // SAFETY: not null and aligned (checked); its first field is the size that the writer knew.
    let size = unsafe { raw.cast::<u32>().read() };
    // SAFETY: as long as ours, as the size says.
    (size as usize >= size_of::<T>()).then(|| unsafe { raw.read() })
}

unsafe extern "C" fn map_ask(c: *const HdCtx, raw: *const HdMapAsk) -> i32 {
    // SAFETY: by contract a live context.
    let (Some(context), Some(services)) = (unsafe { Context::of(c) }, services()) else {
        return EPERM;
    };
    // SAFETY: by contract an ask of the size it says.
    let Some((ask, token)) = (unsafe { map_from(context, raw) }) else {
        return EINVAL;
    };
    match asker(context, false, token) {
        Some(asker) => {
            let asked = services.map_ask(ask, asker, &mut |_| {});
            context.awaits(asked);
            asked
        }
        None => EPERM,
    }
}

unsafe extern "C" fn map_ask_and_wait(
    c: *const HdCtx,
    raw: *const HdMapAsk,
    reply: Option<MapReplyFn>,
    arg: *mut c_void,
) -> i32 {
    // SAFETY: by contract a live context.
    let (Some(context), Some(services)) = (unsafe { Context::of(c) }, services()) else {
        return EPERM;
    };
    // SAFETY: by contract an ask of the size it says.
    let Some((ask, token)) = (unsafe { map_from(context, raw) }) else {
        return EINVAL;
    };
    let Some(asker) = asker(context, true, token) else {
        return EPERM;
    };
    services.map_ask(ask, asker, &mut |answer| {
        if let Some(reply) = reply {
            with_map_reply(answer, |raw| {
                // SAFETY: by contract it may be called with this argument, on this thread, during this call.
                unsafe { reply(arg, raw) }
            });
        }
    })
}

/// Shows an answer as `hd_map_reply`, for as long as `f` runs.
pub(crate) fn with_map_reply<R>(answer: &MapReply, f: impl FnOnce(&HdMapReply) -> R) -> R {
    let items: Vec<HdMapItem> = answer
        .items
        .iter()
        .map(|(key, value)| HdMapItem {
            key: HdStr::new(key),
            value: HdStr::from_bytes(value),
        })
        .collect();
    f(&HdMapReply {
        struct_size: size_of::<HdMapReply>() as u32,
        error: answer.error,
        version: answer.version,
        items: items.as_ptr(),
        n: items.len() as u64,
    })
}

pub(crate) fn lock_done(error: i32) -> HdLockDone {
    HdLockDone {
        struct_size: size_of::<HdLockDone>() as u32,
        error,
    }
}

unsafe extern "C" fn lock_ask(c: *const HdCtx, raw: *const HdLockAsk) -> i32 {
    // SAFETY: by contract a live context and an ask of the size it says.
    unsafe { lock(c, raw, false) }
}

unsafe extern "C" fn lock_ask_and_wait(c: *const HdCtx, raw: *const HdLockAsk) -> i32 {
    // SAFETY: by contract a live context and an ask of the size it says.
    unsafe { lock(c, raw, true) }
}

/// # Safety
/// A live context, and an ask of the size it says.
unsafe fn lock(c: *const HdCtx, raw: *const HdLockAsk, blocking: bool) -> i32 {
    // SAFETY: the caller's promise.
    let (Some(context), Some(services)) = (unsafe { Context::of(c) }, services()) else {
        return EPERM;
    };
    // SAFETY: the caller's promise.
    let Some((ask, token)) = (unsafe { lock_from(context, raw) }) else {
        return EINVAL;
    };
    match asker(context, blocking, token) {
        Some(asker) => {
            let asked = services.lock_ask(ask, asker);
            context.awaits(asked);
            asked
        }
        None => EPERM,
    }
}

unsafe extern "C" fn unlock(c: *const HdCtx) {
    // SAFETY: by contract a live context.
    if let (Some(context), Some(services)) = (unsafe { Context::of(c) }, services()) {
        services.unlock(context.run_id());
    }
}
