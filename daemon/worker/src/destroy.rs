//! The end of instances: a plugin's `destroy` may block, so it is called on threads of its own. One that hangs keeps
//! neither the event loop nor a run waiting.

use crate::contract::Watched;
use crate::pool::{self, Pool};
use crate::services::{Posted, shared};
use healthd_core::wire::maps::Entry;
use healthd_loader::Ended;
use healthd_scoreboard::worker_map::{Call, WorkerMap};
use healthd_sys::clock;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const THREADS: usize = 2;
const STACK: usize = 512 << 10;

pub(crate) struct Destroyer {
    map: &'static WorkerMap,
    pool: Pool,
    calls: Mutex<Calls>,
    /// How many are owed: read in each turn of the event loop.
    owed: AtomicUsize,
}

#[derive(Default)]
struct Calls {
    next: u64,
    /// Those that a thread is in: since when, and in which plugin.
    under_way: BTreeMap<u64, (u64, &'static str)>,
}

fn name_of(instance: &Ended) -> &'static str {
    &instance.plugin().descriptor.name
}

impl Destroyer {
    pub(crate) fn new(map: &'static WorkerMap, nice: i32) -> Destroyer {
        Destroyer {
            map,
            pool: Pool::new("destroy", THREADS, STACK, Some((map, nice))),
            calls: Mutex::default(),
            owed: AtomicUsize::new(0),
        }
    }

    pub(crate) fn end(&'static self, instance: Ended) {
        self.owed.fetch_add(1, Ordering::AcqRel);
        let name = name_of(&instance);
        if !self.pool.submit(Box::new(move || self.call(instance))) {
            log::warn!(
                "an instance of plugin `{name}` is left undestroyed: no thread could be started"
            );
            self.done();
        }
    }

    /// On a thread of the pool.
    fn call(&self, instance: Ended) {
        let now = clock::monotonic_ns();
        let number = {
            let mut calls = self.lock();
            calls.next += 1;
            let number = calls.next;
            calls.under_way.insert(number, (now, name_of(&instance)));
            number
        };
        let line = pool::current_line();
        if let Some(line) = line {
            let call = Call {
                entry: Entry::Destroy,
                plugin: instance.owner.plugin,
                check: instance.owner.check,
                run_id: 0,
                attempt: 0,
                since_ns: now,
            };
            self.map.enter(line, call);
        }
        let watched = Watched::call();
        let (owner, plugin) = (instance.owner.plugin, name_of(&instance));
        instance.destroy();
        healthd_sys::fork_guard::end_if_forked();
        if let Some(breach) = watched.leave(owner) {
            shared().post(Posted::Left {
                plugin,
                call: "destroy",
                breach,
            });
        }
        if let Some(line) = line {
            self.map.leave(line);
        }
        self.lock().under_way.remove(&number);
        self.done();
    }

    fn done(&self) {
        if self.owed.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared().wake_up();
        }
    }

    /// Every instance that has ended is destroyed.
    pub(crate) fn is_idle(&self) -> bool {
        self.owed.load(Ordering::Acquire) == 0
    }

    /// The plugin whose `destroy` has not come back for this long.
    pub(crate) fn hangs(&self, now: u64, bound_ns: u64) -> Option<&'static str> {
        if self.is_idle() {
            return None;
        }
        let calls = self.lock();
        let (_, (since, name)) = calls.under_way.first_key_value()?;
        (now.saturating_sub(*since) > bound_ns).then_some(*name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(|e| e.into_inner())
    }
}
