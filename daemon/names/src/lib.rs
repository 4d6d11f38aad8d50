//! Names to addresses, without anybody waiting in line for it.
//!
//! A stub resolver of DNS on one thread, as resolv.conf(5) and nsswitch.conf(5) want it. What nsswitch.conf asks beyond
//! `files` and `dns` is asked of getaddrinfo(3), on threads. Whose fault a failure is is told with it: a name that does not
//! exist, or a zone that is silent while others answer, is the target's; name servers that nobody reaches are ours.
//!
//! ```text
//! Names::resolve ── literal, localhost, hosts, cache ──> answered at once
//!       │
//!       v
//!   engine (no I/O, no clock): lookup ─ query ─ servers, places, cache
//!       │ actions            ^ what came of them
//!       v                    │
//!   driver (one thread): sockets, epoll ── tell ──> the worker
//! ```
//!
//! Runs in: every worker. `Names` is called by the event loop and never blocks; the driver starts on need.
#![forbid(unsafe_code)]

mod answer;
mod cache;
mod driver;
mod engine;
pub mod hosts;
mod lookup;
pub mod message;
pub mod name;
pub mod nsswitch;
mod order;
mod places;
mod query;
pub mod resolv_conf;
pub mod search;
mod servers;
mod sockets;
mod system;

pub use answer::{Failure, Family, Found, Told, Waiter, Waits};
pub use engine::THREADS;
pub use system::Paths;

use engine::{Engine, ThreadError, Ticket};
use healthd_sys::clock::monotonic_ns;
use nix::sys::eventfd::{EfdFlags, EventFd};
use sockets::News;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use system::Files;

pub type Job = Box<dyn FnOnce() + Send>;

/// What the worker does for it.
pub struct Hooks {
    /// An answer for one who waits. Any thread; it must not ask for a name itself.
    pub tell: Box<dyn Fn(Told) + Send + Sync>,
    /// Runs this on a thread; false: there is none. No more than [`THREADS`] at once.
    pub run: Box<dyn Fn(Job) -> bool + Send + Sync>,
}

#[derive(Clone)]
pub struct Names(Arc<Shared>);

pub(crate) struct Shared {
    state: Mutex<State>,
    wake: EventFd,
    hooks: Hooks,
    /// How many were told to wait and not forgotten: the end of a run that asked nothing costs nothing.
    waiting: AtomicUsize,
}

pub(crate) struct State {
    files: Files,
    engine: Option<Engine>,
    runs: bool,
    /// The driver looks again by itself then.
    sleeps_until: u64,
}

impl Names {
    pub fn new(paths: Paths, hooks: Hooks) -> nix::Result<Names> {
        Ok(Names(Arc::new(Shared {
            state: Mutex::new(State {
                files: Files::new(paths),
                engine: None,
                runs: false,
                sleeps_until: u64::MAX,
            }),
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            hooks,
            waiting: AtomicUsize::new(0),
        })))
    }

    /// Some: the answer is at hand. Else the waiter is told later, once, unless it is forgotten before.
    pub fn resolve(&self, host: &str, family: Family, waiter: Waiter) -> Option<Arc<Found>> {
        let (answer, wakes) = self.0.with(|state| {
            let own = |text: String| Some(Arc::new(Err(Failure::own(text))));
            let engine = match state.engine_of_now() {
                Ok(engine) => engine,
                Err(why) => return (own(format!("names cannot be looked up: {why}")), false),
            };
            if let Some(answer) = engine.ask(host, family, waiter, monotonic_ns()) {
                return (Some(answer), engine.has_actions());
            }
            let wakes =
                engine.has_actions() || engine.wake_at().is_some_and(|at| at < state.sleeps_until);
            if !state.runs {
                if let Err(e) = driver::start(&self.0) {
                    if let Some(engine) = &mut state.engine {
                        engine.forget(waiter.task, monotonic_ns());
                    }
                    return (own(format!("no thread to look up names: {e}")), false);
                }
                state.runs = true;
            }
            self.0.waiting.fetch_add(1, Relaxed);
            (None, wakes)
        });
        if wakes {
            self.0.wake_up();
        }
        answer
    }

    /// This task is over: what it asked and nobody else waits for is not looked up any more.
    pub fn forget(&self, task: u64) {
        if self.0.waiting.load(Relaxed) == 0 {
            return;
        }
        let wakes = self.0.with(|state| {
            let engine = state.engine.as_mut();
            engine.is_some_and(|engine| {
                engine.forget(task, monotonic_ns());
                self.0.waiting.store(engine.waiters(), Relaxed);
                engine.has_actions()
            })
        });
        if wakes {
            self.0.wake_up();
        }
    }

    /// This task's run is at its end, and what it asked has no answer yet: what is known until now. None that waits for its
    /// turn is among it.
    pub fn late(&self, task: u64) -> Vec<Told> {
        if self.0.waiting.load(Relaxed) == 0 {
            return Vec::new();
        }
        let (told, wakes) = self.0.with(|state| {
            let Some(engine) = &mut state.engine else {
                return (Vec::new(), false);
            };
            (engine.late(task, monotonic_ns()), engine.has_actions())
        });
        if wakes {
            self.0.wake_up();
        }
        told
    }

    /// How long this task has waited for its turn since it was last asked for: that is not its target's time. And what
    /// it waits for now.
    pub fn owed(&self, task: u64) -> (u64, Waits) {
        if self.0.waiting.load(Relaxed) == 0 {
            return (0, Waits::No);
        }
        let owed = |state: &mut State| Some(state.engine.as_mut()?.owed(task, monotonic_ns()));
        self.0.with(owed).unwrap_or_default()
    }
}

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake_up(&self) {
        let _ = self.wake.write(1);
    }

    fn thread_done(&self, ticket: Ticket, zone: &str, result: Result<Vec<IpAddr>, ThreadError>) {
        self.with(|state| {
            if let Some(engine) = &mut state.engine {
                engine.thread_done(ticket, zone, result, monotonic_ns());
            }
        });
        self.wake_up();
    }
}

impl State {
    /// The engine, with what the files say now.
    fn engine_of_now(&mut self) -> Result<&mut Engine, String> {
        let system = self.files.look()?;
        Ok(match &mut self.engine {
            Some(engine) => {
                engine.follow(system, monotonic_ns());
                engine
            }
            none => none.insert(Engine::new(system, most_at_once(), Box::new(sort))),
        })
    }

    fn tell_engine(&mut self, news: News, now: u64) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        match news {
            News::Heard { asked, reply } => match asked.ticket {
                Some(ticket) => engine.heard(ticket, asked.query, asked.server, reply, now),
                None => engine.probe_heard(asked.server, asked.at, &reply, now),
            },
            News::Unreachable { asked, errno } => {
                if let Some(ticket) = asked.ticket {
                    engine.unreachable(ticket, asked.query, asked.server, errno, now);
                }
            }
        }
    }
}

/// Each has one or two sockets a server, so most descriptors stay for the checks.
fn most_at_once() -> usize {
    (healthd_sys::limits::open_files() / 32).clamp(16, 512) as usize
}

fn sort(ips: Vec<IpAddr>) -> Vec<IpAddr> {
    order::order(ips, |to| {
        let any: IpAddr = match to {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        // Nothing is sent: the kernel only looks for a way.
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}
