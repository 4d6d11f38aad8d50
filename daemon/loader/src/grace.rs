//! `hd.grace/1` as plugins see it: a run gets back the time in which it waited for something of our own.

use crate::context::Context;
use healthd_abi::{HdCtx, HdGrace};

pub(crate) static TABLE: HdGrace = HdGrace {
    struct_size: size_of::<HdGrace>() as u32,
    version: 1,
    give_back: Some(give_back),
};

unsafe extern "C" fn give_back(c: *const HdCtx, ns: u64, deadline_ns: *mut u64) -> i32 {
    // SAFETY: by contract a live context.
    let context = unsafe { Context::of(c) };
    let Some(context) = context.filter(|c| c.task() != u64::MAX) else {
        return -libc::EPERM;
    };
    let Some(deadline) = context.give_back(ns) else {
        return -libc::EDQUOT;
    };
    if !deadline_ns.is_null() && deadline_ns.is_aligned() {
        // SAFETY: not null and aligned (checked), and by contract writable.
        unsafe { deadline_ns.write(deadline) };
    }
    0
}
