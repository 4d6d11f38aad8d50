//! A bounded cache with a time to live, whose values are computed once for all who ask.

use crate::cx::Cx;
use crate::host::host_if_any;
use healthd_abi::{EXT_CACHE, HdCache, HdCacheStats, HdStr};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Values by key, in a `static` of the plugin: one cache for all its checks in one worker.
///
/// ```
/// use healthd_plugin::{Cache, Cx};
/// use std::time::Duration;
///
/// /// At most 100 keys; the error is a text.
/// static NAMES: Cache<String, String> = Cache::new("names", 100);
///
/// async fn name(cx: Cx<'_>, id: &str) -> Result<String, String> {
///     NAMES
///         .get_or_compute(cx, id, async || {
///             let name = format!("name of {id}"); // asked of a server, in truth
///             Ok((name, Duration::from_secs(60)))
///         })
///         .await
///         .map_err(|e| e.to_string())
/// }
/// ```
///
/// One run computes a key at a time, and the others wait for it. Those who wait get its error too, but no error is
/// kept. When the run that computes is dropped, at its deadline or because it was cancelled, one of those who wait takes
/// over. A run that computes may not ask a cache of its plugin for another computation, so no two can wait for each
/// other. When the cache is full the oldest value goes.
pub struct Cache<V, E = String> {
    name: &'static str,
    capacity: usize,
    inner: Mutex<Inner<V, E>>,
    stats: HdCacheStats,
    shown: OnceLock<()>,
}

struct Inner<V, E> {
    entries: BTreeMap<String, Entry<V, E>>,
    /// Grows with each value: the oldest has the least.
    serial: u64,
}

enum Entry<V, E> {
    Ready {
        value: V,
        until_ns: u64,
        serial: u64,
    },
    Computing(Arc<Flight<V, E>>),
}

/// One computation, and those who wait for it.
struct Flight<V, E> {
    state: Mutex<FlightState<V, E>>,
    landed: Condvar,
}

struct FlightState<V, E> {
    /// None while it is under way; Some(None): nobody will finish it.
    outcome: Option<Option<Result<V, E>>>,
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheError<E> {
    /// What the computation said.
    Failed(E),
    /// Asked by a run that is itself computing a value.
    Reentrant,
    /// So many keys are being computed at this moment that there is no room for one more.
    Full,
    /// Run lane: somebody else computes it, and the deadline came first.
    TimedOut,
}

impl<E: fmt::Display> fmt::Display for CacheError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CacheError::Failed(e) => e.fmt(f),
            CacheError::Reentrant => {
                f.write_str("a computation may not ask its plugin's caches for another one")
            }
            CacheError::Full => f.write_str("the cache is full of computations"),
            CacheError::TimedOut => f.write_str("no value in time: another run computes it"),
        }
    }
}

/// The runs of this library that compute a value now, by the address of their ctx.
static COMPUTING: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing of the plugin runs while a lock is held but the clone of a value, and every state is whole.
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

enum Look<V: 'static, E: 'static> {
    Found(V),
    Compute(Turn<V, E>),
    Wait(Arc<Flight<V, E>>),
}

impl<V: Clone + Send + 'static, E: Clone + Send + 'static> Cache<V, E> {
    /// `name` is what `healthctl objects` shows. It keeps at most `capacity` keys.
    pub const fn new(name: &'static str, capacity: usize) -> Self {
        Cache {
            name,
            capacity,
            inner: Mutex::new(Inner {
                entries: BTreeMap::new(),
                serial: 0,
            }),
            stats: HdCacheStats {
                struct_size: size_of::<HdCacheStats>() as u32,
                reserved: 0,
                hits: AtomicU64::new(0),
                misses: AtomicU64::new(0),
                evictions: AtomicU64::new(0),
                entries: AtomicU64::new(0),
            },
            shown: OnceLock::new(),
        }
    }

    /// Step lane: the value of `key`, or what `compute` makes of it. The time is how long it stays good.
    pub async fn get_or_compute(
        &'static self,
        cx: Cx<'_>,
        key: &str,
        compute: impl AsyncFnOnce() -> Result<(V, Duration), E>,
    ) -> Result<V, CacheError<E>> {
        loop {
            match self.look(cx, key)? {
                Look::Found(value) => return Ok(value),
                // Dropped before its end, the turn goes to another.
                Look::Compute(turn) => return turn.end(compute().await, cx.now_ns()),
                Look::Wait(flight) => match wait(&flight).await {
                    Some(outcome) => return outcome.map_err(CacheError::Failed),
                    None => continue,
                },
            }
        }
    }

    /// Run lane, and `create`: as [`get_or_compute`](Self::get_or_compute). Waits at most until the run's deadline.
    pub fn get_or_compute_blocking(
        &'static self,
        cx: Cx<'_>,
        key: &str,
        compute: impl FnOnce() -> Result<(V, Duration), E>,
    ) -> Result<V, CacheError<E>> {
        loop {
            match self.look(cx, key)? {
                Look::Found(value) => return Ok(value),
                Look::Compute(turn) => return turn.end(compute(), cx.now_ns()),
                Look::Wait(flight) => match wait_blocking(cx, &flight)? {
                    Some(outcome) => return outcome.map_err(CacheError::Failed),
                    None => continue,
                },
            }
        }
    }

    /// The value, if it is there and good.
    pub fn get(&'static self, cx: Cx<'_>, key: &str) -> Option<V> {
        self.show(cx);
        match lock(&self.inner).entries.get(key) {
            Some(Entry::Ready {
                value, until_ns, ..
            }) if *until_ns > cx.now_ns() => {
                self.stats.hits.fetch_add(1, Relaxed);
                Some(value.clone())
            }
            _ => None,
        }
    }

    /// Forgets a value, if this is true of it: one that turned out to be bad, but not the better one that another run
    /// has got meanwhile.
    pub fn remove_if(&'static self, key: &str, bad: impl FnOnce(&V) -> bool) {
        let mut inner = lock(&self.inner);
        if let Some(Entry::Ready { value, .. }) = inner.entries.get(key)
            && bad(value)
        {
            inner.entries.remove(key);
            self.count(&inner);
        }
    }

    fn look(&'static self, cx: Cx<'_>, key: &str) -> Result<Look<V, E>, CacheError<E>> {
        self.show(cx);
        let who = cx.raw() as usize;
        if lock(&COMPUTING).contains(&who) {
            return Err(CacheError::Reentrant);
        }
        let now = cx.now_ns();
        let mut inner = lock(&self.inner);
        match inner.entries.get(key) {
            Some(Entry::Ready {
                value, until_ns, ..
            }) if *until_ns > now => {
                self.stats.hits.fetch_add(1, Relaxed);
                return Ok(Look::Found(value.clone()));
            }
            Some(Entry::Computing(flight)) => {
                self.stats.hits.fetch_add(1, Relaxed);
                return Ok(Look::Wait(flight.clone()));
            }
            _ => drop(inner.entries.remove(key)),
        }
        if inner.entries.len() >= self.capacity {
            self.evict(&mut inner, now)?;
        }
        let flight = Arc::new(Flight {
            state: Mutex::new(FlightState {
                outcome: None,
                wakers: BTreeMap::new(),
                next: 0,
            }),
            landed: Condvar::new(),
        });
        inner
            .entries
            .insert(key.to_owned(), Entry::Computing(flight.clone()));
        self.count(&inner);
        self.stats.misses.fetch_add(1, Relaxed);
        lock(&COMPUTING).insert(who);
        Ok(Look::Compute(Turn {
            cache: self,
            key: key.to_owned(),
            flight,
            who,
        }))
    }

    /// The oldest value goes; one that is no longer good before it.
    fn evict(&self, inner: &mut Inner<V, E>, now: u64) -> Result<(), CacheError<E>> {
        let ready = inner.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Ready {
                until_ns, serial, ..
            } => Some((*until_ns > now, *serial, key)),
            Entry::Computing(_) => None,
        });
        let (_, _, oldest) = ready.min().ok_or(CacheError::Full)?;
        let oldest = oldest.clone();
        inner.entries.remove(&oldest);
        self.stats.evictions.fetch_add(1, Relaxed);
        Ok(())
    }

    fn count(&self, inner: &Inner<V, E>) {
        let n = inner.entries.len() as u64;
        self.stats.entries.store(n, Relaxed);
    }

    /// Tells the host of us, once. An older host does not show caches.
    fn show(&'static self, cx: Cx<'_>) {
        self.shown.get_or_init(|| {
            let Some(host) = host_if_any() else { return };
            // SAFETY: what the host returns for this id is NULL or a static hd_cache.
            let table = unsafe { host.extension(EXT_CACHE).cast::<HdCache>().as_ref() };
            if let Some(show) = table.and_then(|t| t.show) {
                // SAFETY: a live ctx on its own thread; the numbers live for ever, as the cache is static.
                unsafe { show(cx.raw(), HdStr::new(self.name), &self.stats) };
            }
        });
    }
}

/// The right to compute a key, and the duty to end it one way or another.
struct Turn<V: 'static, E: 'static> {
    cache: &'static Cache<V, E>,
    key: String,
    flight: Arc<Flight<V, E>>,
    who: usize,
}

impl<V: Clone, E: Clone> Turn<V, E> {
    fn end(self, outcome: Result<(V, Duration), E>, now: u64) -> Result<V, CacheError<E>> {
        let outcome = match outcome {
            Ok((value, good_for)) => {
                let mut inner = lock(&self.cache.inner);
                inner.serial += 1;
                let ns = u64::try_from(good_for.as_nanos()).unwrap_or(u64::MAX);
                let entry = Entry::Ready {
                    value: value.clone(),
                    until_ns: now.saturating_add(ns),
                    serial: inner.serial,
                };
                inner.entries.insert(self.key.clone(), entry);
                Ok(value)
            }
            Err(e) => Err(e),
        };
        self.flight.land(Some(outcome.clone()));
        outcome.map_err(CacheError::Failed)
    }
}

impl<V, E> Drop for Turn<V, E> {
    fn drop(&mut self) {
        lock(&COMPUTING).remove(&self.who);
        let mut inner = lock(&self.cache.inner);
        // What is no value yet is none: the next who asks computes.
        if let Some(Entry::Computing(flight)) = inner.entries.get(&self.key)
            && Arc::ptr_eq(flight, &self.flight)
        {
            inner.entries.remove(&self.key);
        }
        let n = inner.entries.len() as u64;
        self.cache.stats.entries.store(n, Relaxed);
        drop(inner);
        // No outcome: those who wait look again, and the first of them takes over.
        self.flight.land(None);
    }
}

impl<V, E> Flight<V, E> {
    fn land(&self, outcome: Option<Result<V, E>>) {
        let wakers = {
            let mut state = lock(&self.state);
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(outcome);
            std::mem::take(&mut state.wakers)
        };
        self.landed.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }
}

/// None: nobody finished it.
async fn wait<V: Clone, E: Clone>(flight: &Arc<Flight<V, E>>) -> Option<Result<V, E>> {
    let mut seat = Seat {
        flight,
        number: None,
    };
    poll_fn(|task| {
        let mut state = lock(&seat.flight.state);
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        let number = *seat.number.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        // Polled again for any reason, one waker a seat is enough.
        match state.wakers.get_mut(&number) {
            Some(waker) => waker.clone_from(task.waker()),
            None => drop(state.wakers.insert(number, task.waker().clone())),
        }
        Poll::Pending
    })
    .await
}

/// A place among those who wait, given up when the run is dropped.
struct Seat<'f, V, E> {
    flight: &'f Arc<Flight<V, E>>,
    number: Option<u64>,
}

impl<V, E> Drop for Seat<'_, V, E> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let gone = lock(&self.flight.state).wakers.remove(&number);
            drop(gone);
        }
    }
}

fn wait_blocking<V: Clone, E: Clone>(
    cx: Cx<'_>,
    flight: &Flight<V, E>,
) -> Result<Option<Result<V, E>>, CacheError<E>> {
    let mut state = lock(&flight.state);
    loop {
        if let Some(outcome) = &state.outcome {
            return Ok(outcome.clone());
        }
        let left = cx.remaining();
        if left.is_zero() || cx.is_cancelled() {
            return Err(CacheError::TimedOut);
        }
        let (next, _) = flight
            .landed
            .wait_timeout(state, left.min(LOOK_AROUND))
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        state = next;
    }
}

/// How often one that waits looks whether it was cancelled.
const LOOK_AROUND: Duration = Duration::from_millis(20);
