//! The caches that plugins have told of: their numbers go to the manager, once a second while they change.

use crate::outbox::Outbox;
use healthd_abi::HdCacheStats;
use healthd_core::wire::worker::{CacheNumbers, ToManager};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Cache {
    stats: &'static HdCacheStats,
    told: CacheNumbers,
}

static CACHES: Mutex<Vec<Cache>> = Mutex::new(Vec::new());
/// Lets the reactor look without the lock: most workers have none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// More than any honest plugin has.
const MOST: usize = 64;
const EVERY_NS: u64 = 1_000_000_000;
const NAME_MAX: usize = 60;

pub fn show(plugin: &str, name: &str, stats: &'static HdCacheStats) -> i32 {
    if name.is_empty() || name.len() > NAME_MAX {
        return -libc::EINVAL;
    }
    let mut caches = CACHES.lock().unwrap_or_else(|e| e.into_inner());
    if caches.len() >= MOST {
        return -libc::ENOSPC;
    }
    caches.push(Cache {
        stats,
        told: CacheNumbers {
            plugin: plugin.into(),
            name: name.into(),
            ..CacheNumbers::default()
        },
    });
    COUNT.store(caches.len(), Relaxed);
    0
}

/// What has changed since it was told last. Returns when to look again.
pub fn tell(outbox: &mut Outbox, now: u64) -> u64 {
    let next = now + EVERY_NS;
    if COUNT.load(Relaxed) == 0 {
        return next;
    }
    for cache in CACHES.lock().unwrap_or_else(|e| e.into_inner()).iter_mut() {
        let s = cache.stats;
        let numbers = CacheNumbers {
            hits: s.hits.load(Relaxed),
            misses: s.misses.load(Relaxed),
            evictions: s.evictions.load(Relaxed),
            entries: s.entries.load(Relaxed),
            ..cache.told.clone()
        };
        if numbers != cache.told {
            cache.told = numbers.clone();
            outbox.say(&ToManager::Cache(numbers));
        }
    }
    next
}
