//! `hd.counter/1` as plugins see it: a name becomes a handle, and a handle a cell.

use crate::context::Context;
use crate::host::{services, text};
use healthd_abi::{self as abi, HdCounter, HdCtx, HdStr};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub(crate) static TABLE: HdCounter = HdCounter {
    struct_size: size_of::<HdCounter>() as u32,
    version: 1,
    open: Some(open),
    get: Some(get),
    set: Some(set),
    add: Some(add),
    max: Some(max),
    compare_exchange: Some(compare_exchange),
};

const EINVAL: i32 = -libc::EINVAL;

unsafe extern "C" fn open(
    c: *const HdCtx,
    name: HdStr,
    cells: u32,
    flags: u32,
    handle: *mut u64,
) -> i32 {
    // SAFETY: by contract a live context.
    let (Some(context), Some(services)) = (unsafe { Context::of(c) }, services()) else {
        return -libc::EPERM;
    };
    // SAFETY: by contract readable for this call.
    let name = unsafe { text(name) };
    if handle.is_null() || !handle.is_aligned() || flags & !abi::SHARED != 0 {
        return EINVAL;
    }
    let shared = flags & abi::SHARED != 0;
    match services.counter_open(context.plugin(), &name, cells, shared) {
        Ok(opened) => {
            // SAFETY: not null and aligned (checked), and by contract writable.
            unsafe { handle.write(opened) };
            0
        }
        Err(errno) => errno,
    }
}

fn with(handle: u64, cell: u32, f: impl FnOnce(&AtomicU64) -> i32) -> i32 {
    services()
        .and_then(|s| s.counter_cell(handle, cell))
        .map_or(EINVAL, f)
}

/// # Safety
/// NULL, or writable if it is aligned.
unsafe fn tell(to: *mut u64, value: u64) -> i32 {
    if !to.is_null() && to.is_aligned() {
        // SAFETY: not null and aligned, so the caller's promise holds.
        unsafe { to.write(value) };
    }
    0
}

unsafe extern "C" fn get(handle: u64, cell: u32, value: *mut u64) -> i32 {
    // SAFETY: by contract NULL or writable.
    with(handle, cell, |c| unsafe { tell(value, c.load(SeqCst)) })
}

unsafe extern "C" fn set(handle: u64, cell: u32, value: u64) -> i32 {
    with(handle, cell, |c| {
        c.store(value, SeqCst);
        0
    })
}

unsafe extern "C" fn add(handle: u64, cell: u32, n: u64, before: *mut u64) -> i32 {
    // SAFETY: by contract NULL or writable.
    with(handle, cell, |c| unsafe {
        tell(before, c.fetch_add(n, SeqCst))
    })
}

unsafe extern "C" fn max(handle: u64, cell: u32, value: u64, before: *mut u64) -> i32 {
    // SAFETY: by contract NULL or writable.
    with(handle, cell, |c| unsafe {
        tell(before, c.fetch_max(value, SeqCst))
    })
}

unsafe extern "C" fn compare_exchange(
    handle: u64,
    cell: u32,
    expected: *mut u64,
    value: u64,
) -> i32 {
    if expected.is_null() || !expected.is_aligned() {
        return EINVAL;
    }
    // SAFETY: not null and aligned (checked), and by contract readable.
    let wanted = unsafe { expected.read() };
    with(handle, cell, |c| {
        match c.compare_exchange(wanted, value, SeqCst, SeqCst) {
            Ok(_) => 0,
            Err(there) => {
                // SAFETY: by contract writable too.
                unsafe { tell(expected, there) };
                -libc::EAGAIN
            }
        }
    })
}
