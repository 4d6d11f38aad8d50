//! `hd.counter/1` of the mock host: cells in this process, shared by all its hosts.

use healthd_abi::{self as abi, HdCounter, HdCtx, HdStr};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};

pub(super) static TABLE: HdCounter = HdCounter {
    struct_size: size_of::<HdCounter>() as u32,
    version: 1,
    open: Some(open),
    get: Some(get),
    set: Some(set),
    add: Some(add),
    max: Some(max),
    compare_exchange: Some(compare_exchange),
};

type Cells = &'static [AtomicU64];

#[derive(Default)]
struct Open {
    names: HashMap<String, usize>,
    cells: Vec<Cells>,
}

fn all() -> std::sync::MutexGuard<'static, Open> {
    static OPEN: OnceLock<Mutex<Open>> = OnceLock::new();
    let open = OPEN.get_or_init(Mutex::default);
    open.lock().expect("no panic while it is held")
}

unsafe extern "C" fn open(
    _: *const HdCtx,
    name: HdStr,
    cells: u32,
    flags: u32,
    handle: *mut u64,
) -> i32 {
    let name = super::text(name);
    if !super::is_name(name) || !(1..=4096).contains(&cells) || flags & !abi::SHARED != 0 {
        return -libc::EINVAL;
    }
    let mut all = all();
    let next = all.cells.len();
    let at = *all.names.entry(format!("{flags}/{name}")).or_insert(next);
    if at == next {
        let fresh: Vec<AtomicU64> = (0..cells).map(|_| AtomicU64::new(0)).collect();
        all.cells.push(fresh.leak());
    }
    if all.cells[at].len() != cells as usize {
        return -libc::EEXIST;
    }
    // SAFETY: a plugin passes a place for the handle.
    unsafe { handle.write(at as u64) };
    0
}

fn with(handle: u64, cell: u32, f: impl FnOnce(&AtomicU64) -> i32) -> i32 {
    let cells = all().cells.get(handle as usize).copied();
    match cells.and_then(|c| c.get(cell as usize)) {
        Some(cell) => f(cell),
        None => -libc::EINVAL,
    }
}

/// # Safety
/// NULL or writable.
unsafe fn tell(to: *mut u64, value: u64) -> i32 {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(value) };
    }
    0
}

unsafe extern "C" fn get(handle: u64, cell: u32, value: *mut u64) -> i32 {
    // SAFETY: a plugin passes a place for the value.
    with(handle, cell, |c| unsafe { tell(value, c.load(SeqCst)) })
}

unsafe extern "C" fn set(handle: u64, cell: u32, value: u64) -> i32 {
    with(handle, cell, |c| {
        c.store(value, SeqCst);
        0
    })
}

unsafe extern "C" fn add(handle: u64, cell: u32, n: u64, before: *mut u64) -> i32 {
    // SAFETY: a plugin passes NULL or a place for the value.
    with(handle, cell, |c| unsafe {
        tell(before, c.fetch_add(n, SeqCst))
    })
}

unsafe extern "C" fn max(handle: u64, cell: u32, value: u64, before: *mut u64) -> i32 {
    // SAFETY: a plugin passes NULL or a place for the value.
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
    // SAFETY: a plugin passes a value.
    let wanted = unsafe { expected.read() };
    with(handle, cell, |c| {
        match c.compare_exchange(wanted, value, SeqCst, SeqCst) {
            Ok(_) => 0,
            Err(there) => {
                // SAFETY: as above.
                unsafe { tell(expected, there) };
                -libc::EAGAIN
            }
        }
    })
}
