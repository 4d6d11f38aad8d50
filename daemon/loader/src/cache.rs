//! `hd.cache/1`: plugins tell of their caches, so that `healthctl objects` can show them.

use crate::context::Context;
use crate::host::{services, text};
use healthd_abi::{HdCache, HdCacheStats, HdCtx, HdStr};

pub(crate) static TABLE: HdCache = HdCache {
    struct_size: size_of::<HdCache>() as u32,
    version: 1,
    show: Some(show),
};

unsafe extern "C" fn show(c: *const HdCtx, name: HdStr, stats: *const HdCacheStats) -> i32 {
    // SAFETY: by contract a live context.
    let (Some(context), Some(services)) = (unsafe { Context::of(c) }, services()) else {
        return -libc::EPERM;
    };
    if stats.is_null() || !stats.is_aligned() {
        return -libc::EINVAL;
    }
    // SAFETY: not null and aligned (checked); its first field is the size that the writer knew.
    let size = unsafe { stats.cast::<u32>().read() };
    if (size as usize) < size_of::<HdCacheStats>() {
        return -libc::EINVAL;
    }
    // SAFETY: as long as ours, as the size says, and by contract it lives as long as the process; it is only read, and
    // its numbers only as atomics.
    let stats = unsafe { &*stats };
    // SAFETY: by contract readable for this call.
    let name = unsafe { text(name) };
    services.cache_show(context.plugin(), &name, stats)
}
