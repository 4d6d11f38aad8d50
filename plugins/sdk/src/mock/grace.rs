//! `hd.grace/1` of the mock host, with the daemon's bound.

use super::run_of;
use healthd_abi::{HdCtx, HdGrace};

pub(super) static TABLE: HdGrace = HdGrace {
    struct_size: size_of::<HdGrace>() as u32,
    version: 1,
    give_back: Some(give_back),
};

unsafe extern "C" fn give_back(ctx: *const HdCtx, ns: u64, deadline_ns: *mut u64) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    if run.reactor.borrow().is_none() {
        return -libc::EPERM;
    }
    let given = run.given_ns.get().saturating_add(ns);
    if given > run.timeout_ns {
        return -libc::EDQUOT;
    }
    run.given_ns.set(given);
    if !deadline_ns.is_null() {
        // SAFETY: a plugin passes NULL or a place for the time.
        unsafe { deadline_ns.write(run.deadline_ns()) };
    }
    0
}
