//! What the worker does for its plugins (`hd_host`), and the queue on which other threads reach the reactor.

use crate::active::JobReport;
use crate::contract::Breach;
use crate::destroy::Destroyer;
use crate::fanout::News;
use crate::load::Outcome;
use crate::pool::Pool;
use crate::side;
use healthd_abi::HdCacheStats;
use healthd_core::text::field;
use healthd_core::wire::asks::{LockAsk, MapAsk, MapReply};
use healthd_core::wire::worker::ToManager;
use healthd_loader::{Asker, Ended, Event, ExecSpec, Services};
use healthd_names::{Family, Hooks, Names, Paths, Told, Waiter};
use healthd_scoreboard::worker_map::WorkerMap;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, OnceLock};

/// News from another thread.
pub enum Posted {
    /// Every plugin was loaded, or was not.
    Loaded(Vec<Outcome>),
    Job(JobReport),
    Fan(News),
    Task {
        task: u64,
        event: Event,
    },
    /// A name has addresses, or has none.
    Resolved(Told),
    /// A plugin asks the manager.
    Say(ToManager),
    /// A child that can neither be asked nor forced to end; its task is told next.
    LivesOn {
        task: u64,
        pid: u32,
        forbidden: bool,
    },
    /// What a call that belongs to no run has left behind.
    Left {
        plugin: &'static str,
        call: &'static str,
        breach: Breach,
    },
    /// A child of a task that had ended is collected.
    Killed {
        task: u64,
        cpu_ns: u64,
    },
}

pub struct Shared {
    posted: Mutex<Vec<Posted>>,
    wake: EventFd,
    pub(crate) names: Names,
    /// For getaddrinfo, where nsswitch.conf wants more than files and DNS.
    pub(crate) resolvers: Pool,
    pub(crate) destroyer: Destroyer,
    /// How many workers share the work of this one's class.
    pub(crate) crew: AtomicU32,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

const RESOLVER_STACK: usize = 256 << 10;

impl Shared {
    /// `nice`: of the threads that call plugins.
    pub fn install(map: &'static WorkerMap, nice: i32) -> nix::Result<&'static Shared> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let resolvers = Pool::new("resolve", healthd_names::THREADS, RESOLVER_STACK, None);
        let pool = resolvers.clone();
        let names = Names::new(
            Paths::default(),
            Hooks {
                tell: Box::new(|told| shared().post(Posted::Resolved(told))),
                run: Box::new(move |job| {
                    let begun = pool.submit(job);
                    // The reactor makes the threads, and may be asleep.
                    shared().wake_up();
                    begun
                }),
            },
        )?;
        Ok(SHARED.get_or_init(|| Shared {
            names,
            posted: Mutex::default(),
            wake,
            resolvers,
            destroyer: Destroyer::new(map, nice),
            crew: AtomicU32::new(1),
        }))
    }

    pub fn wake_fd(&self) -> &EventFd {
        &self.wake
    }

    pub fn post(&self, news: Posted) {
        let first = {
            let mut posted = self.posted.lock().unwrap_or_else(|e| e.into_inner());
            posted.push(news);
            posted.len() == 1
        };
        if first {
            self.wake_up();
        }
    }

    /// The event loop takes another turn.
    pub fn wake_up(&self) {
        let _ = self.wake.write(1);
    }

    /// `into` is empty; what comes next gets its room.
    pub fn take(&self, into: &mut Vec<Posted>) {
        let _ = self.wake.read();
        let mut posted = self.posted.lock().unwrap_or_else(|e| e.into_inner());
        std::mem::swap(&mut *posted, into);
    }
}

pub fn shared() -> &'static Shared {
    SHARED.get().expect("installed before any plugin is loaded")
}

/// The one value behind `hd_host`.
pub struct WorkerServices;

impl Services for WorkerServices {
    fn log(&self, check: Option<&str>, level: log::Level, target: &str, text: &str) {
        match check {
            Some(check) => {
                log::log!(level, "{text}  plugin={target} check={}", field(check))
            }
            None => log::log!(level, "{text}  plugin={target}"),
        }
    }

    fn io_watch(&self, task: u64, fd: i32, mask: u32) -> i32 {
        side::with(|side| side.watch(fd, task, side::plugin_flags(mask))).unwrap_or(-libc::EPERM)
    }

    fn io_unwatch(&self, task: u64, fd: i32) {
        side::with(|side| side.unwatch(fd, task));
    }

    fn timer(&self, task: u64, when_ns: u64) {
        side::with(|side| side.timers.push((task, when_ns)));
    }

    fn resolve(&self, task: u64, host: &str, family: u32, token: u32, deadline_ns: u64) -> i32 {
        let Some(family) = Family::from_code(family) else {
            return -libc::EAFNOSUPPORT;
        };
        let waiter = Waiter {
            task,
            token,
            deadline_ns,
        };
        // An answer that is at hand comes with a later step as well: that is what the header promises.
        let Some(found) = shared().names.resolve(host, family, waiter) else {
            return 0;
        };
        let told = Told {
            waiter,
            found,
            queued_ns: 0,
        };
        side::with(|side| side.told.push(told)).map_or(-libc::EPERM, |()| 0)
    }

    fn wake(&self, task: u64) {
        shared().post(Posted::Task {
            task,
            event: Event::Wake,
        });
    }

    fn exec(&self, task: u64, spec: ExecSpec) -> i32 {
        side::with(|side| crate::exec::spawn(side, task, spec)).unwrap_or(-libc::EPERM)
    }

    fn counter_open(&self, plugin: &str, name: &str, cells: u32, shared: bool) -> Result<u64, i32> {
        crate::counters::open(plugin, name, cells, shared)
    }

    fn map_ask(&self, ask: MapAsk, asker: Asker<'_>, reply: &mut dyn FnMut(&MapReply)) -> i32 {
        crate::asks::map(ask, asker, reply)
    }

    fn lock_ask(&self, ask: LockAsk, asker: Asker<'_>) -> i32 {
        crate::asks::take_lock(ask, asker)
    }

    fn unlock(&self, run_id: u64) {
        crate::asks::unlock(run_id);
    }

    fn ended(&self, instance: Ended) {
        shared().destroyer.end(instance);
    }

    fn cache_show(&self, plugin: &'static str, name: &str, stats: &'static HdCacheStats) -> i32 {
        crate::caches::show(plugin, name, stats)
    }

    fn counter_cell(&self, handle: u64, cell: u32) -> Option<&AtomicU64> {
        crate::counters::cell(handle, cell)
    }
}
