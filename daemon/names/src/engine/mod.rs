//! All look-ups of a worker: shared, queued, asked, judged. No I/O, no clock: what is to be done is listed as [`Action`]s,
//! and whoever does it says what came of it.

mod end;
mod way;

use crate::answer::{Failure, Family, Found, Key, Told, Waiter, Waits};
use crate::cache::Cache;
use crate::lookup::{Heard, Lookup, Outcome, Stage, Waiting};
use crate::message::{Extras, Kind, Reply};
use crate::name;
use crate::nsswitch::{self, Source};
use crate::places::Places;
use crate::query::{Due, Failing, Query};
use crate::search;
use crate::servers::{Proof, Servers};
use crate::system::System;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;
/// So long a failure waits for a sign that somebody else is answered.
const DOUBT_NS: u64 = SECOND;
/// Where a server fails with words, a sign from just before counts as well: it is probed once a second at most.
const PROVED_BEFORE_NS: u64 = 2 * SECOND;
/// A zone of which nobody was answered for so long while all its places are taken is silent: more need not ask.
const ZONE_SILENT_NS: u64 = 5 * SECOND;
/// Threads in getaddrinfo at once, and of one zone.
pub const THREADS: usize = 8;
const THREADS_OF_ZONE: usize = 3;
/// So many names are looked up or wait for it, whatever a plugin asks for.
const MOST_NAMES: usize = 65_536;

/// Which look-up, and which stage of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub lookup: usize,
    pub stamp: u32,
}

#[derive(Debug)]
pub enum Action {
    Ask(Ask),
    /// What was asked for it before is not wanted any more.
    Close(Ticket),
    Probe {
        server: usize,
        at: SocketAddr,
    },
    /// getaddrinfo, on a thread.
    Thread {
        ticket: Ticket,
        host: String,
        family: Family,
    },
}

/// A question to one server.
#[derive(Debug)]
pub struct Ask {
    pub ticket: Ticket,
    pub query: usize,
    pub server: usize,
    pub at: SocketAddr,
    pub stream: bool,
    pub name: String,
    pub kind: Kind,
    pub extras: Extras,
}

pub type Sort = Box<dyn Fn(Vec<IpAddr>) -> Vec<IpAddr> + Send>;

pub struct Engine {
    system: Arc<System>,
    servers: Servers,
    lookups: Slab<Lookup>,
    by_key: HashMap<Key, usize>,
    /// The look-ups of each task that waits.
    by_task: HashMap<u64, Vec<usize>>,
    dns: Places,
    threads: Places,
    cache: Cache,
    sort: Sort,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    actions: Vec<Action>,
    told: Vec<Told>,
    stamp: u32,
    /// Those that are in doubt, and some that were.
    doubted: Vec<usize>,
}

impl Engine {
    /// `most`: look-ups by DNS at once; each needs a descriptor or two a server.
    pub fn new(system: Arc<System>, most: usize, sort: Sort) -> Engine {
        Engine {
            servers: Servers::new(&system.settings.servers, system.settings.rotate),
            system,
            lookups: Slab::new(),
            by_key: HashMap::new(),
            by_task: HashMap::new(),
            dns: Places::new(most, (most / 8).clamp(4, 64)),
            threads: Places::new(THREADS, THREADS_OF_ZONE),
            cache: Cache::default(),
            sort,
            timers: BinaryHeap::new(),
            actions: Vec::new(),
            told: Vec::new(),
            stamp: 0,
            doubted: Vec::new(),
        }
    }

    /// What the files say now, which is mostly what they said before.
    pub fn follow(&mut self, system: Arc<System>, now: u64) {
        if !Arc::ptr_eq(&self.system, &system) {
            self.change(system, now);
        }
    }

    /// How many tasks wait.
    pub fn waiters(&self) -> usize {
        self.by_task.len()
    }

    /// Other files: what was found by the old ones is void, and what is under way begins anew.
    fn change(&mut self, system: Arc<System>, now: u64) {
        let servers_changed = self.system.settings != system.settings;
        self.cache.clear();
        self.system = system;
        if servers_changed {
            let settings = &self.system.settings;
            self.servers = Servers::new(&settings.servers, settings.rotate);
            let asked = |l: &Lookup| matches!(l.stage, Stage::Dns | Stage::Doubted { .. });
            let ids: Vec<usize> = self
                .lookups
                .iter()
                .filter(|(_, l)| asked(l))
                .map(|(id, _)| id)
                .collect();
            for id in ids {
                if self.lookups[id].source() == Some(Source::Dns) {
                    self.begin_dns(id, now);
                }
            }
        }
    }

    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Who is to be told what. With the same lock held: else one could be told of by nobody, whose run ends meanwhile.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty() || !self.told.is_empty()
    }

    /// Some: the answer was at hand. Else the waiter is told later.
    pub fn ask(
        &mut self,
        text: &str,
        family: Family,
        waiter: Waiter,
        now: u64,
    ) -> Option<Arc<Found>> {
        if let Some(ip) = name::literal(text) {
            return Some(Arc::new(match family.allows(&ip) {
                true => Ok(vec![ip]),
                false => Err(Failure::target(format!(
                    "{ip} is of the other address family"
                ))),
            }));
        }
        let host = match name::parse(text) {
            Ok(host) => host,
            Err(why) => return Some(Arc::new(Err(Failure::target(why)))),
        };
        if name::is_localhost(&host.name) {
            return Some(Arc::new(Ok(self.localhost(&host.name, family))));
        }
        let key = Key {
            host: match host.absolute {
                true => format!("{}.", host.name),
                false => host.name.clone(),
            },
            family,
        };
        if let Some(found) = self.cache.get(&key, now) {
            return Some(found);
        }
        let waiting = Waiting::new(waiter, now);
        if let Some(id) = self.by_key.get(&key).copied() {
            self.joins(id, waiting);
            return None;
        }
        if self.lookups.len() >= MOST_NAMES {
            let text = format!("{MOST_NAMES} other names wait for an answer");
            return Some(Arc::new(Err(Failure::own(text))));
        }
        let steps = nsswitch::plan(&self.system.services, &host.name, &self.system.machine);
        if steps.is_empty() {
            let text = "nsswitch.conf (hosts:) names nobody who could be asked";
            return Some(Arc::new(Err(Failure::own(text))));
        }
        // What stands in a file waits for nobody, whoever waits for places.
        if steps[0].source == Source::Files
            && let Some(found) = self.by_files(&host.name, family)
        {
            return Some(Arc::new(found));
        }
        if let Some(silent) = self.silent_zone(&host.name, now)
            && steps
                .iter()
                .find(|s| s.source != Source::Files)
                .map(|s| s.source)
                == Some(Source::Dns)
        {
            return Some(Arc::new(Err(silent)));
        }
        let id = self.lookups.insert(Lookup {
            key: key.clone(),
            host,
            waiting: Vec::new(),
            stage: Stage::Queued,
            steps: steps.into(),
            began: now,
            stamp: 0,
            candidates: Vec::new(),
            at: 0,
            queries: Vec::new(),
            then: None,
            first_at: None,
            probe_at: 0,
            heard: Heard::default(),
            wake_at: u64::MAX,
        });
        self.by_key.insert(key, id);
        self.joins(id, waiting);
        if let Some(found) = self.next_step(id, now) {
            // Nobody but who has just asked waits.
            self.drop_waiter(waiter.task, id);
            return Some(found);
        }
        self.arm_if_there(id);
        None
    }

    /// This task waits for nothing any more.
    pub fn forget(&mut self, task: u64, now: u64) {
        for id in self.by_task.remove(&task).unwrap_or_default() {
            let Some(lookup) = self.lookups.get_mut(id) else {
                continue;
            };
            lookup.waiting.retain(|w| w.waiter.task != task);
            self.abandon(id, now);
        }
    }

    /// How long this task waited for its turn since it was last asked, and what it waits for now.
    pub fn owed(&mut self, task: u64, now: u64) -> (u64, Waits) {
        let (mut owed, mut waits) = (0, Waits::No);
        for id in self.by_task.get(&task).cloned().unwrap_or_default() {
            let Some(lookup) = self.lookups.get_mut(id) else {
                continue;
            };
            let queued = lookup.stage == Stage::Queued;
            if waits != Waits::Queued {
                waits = if queued { Waits::Queued } else { Waits::Asked };
            }
            for one in lookup.waiting.iter_mut().filter(|w| w.waiter.task == task) {
                if queued {
                    one.begins(now);
                }
                owed = owed.max(std::mem::take(&mut one.owed_ns));
            }
        }
        (owed, waits)
    }

    /// When to look again.
    pub fn wake_at(&mut self) -> Option<u64> {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if self.lookups.get(id).is_some_and(|l| l.wake_at == at) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    /// Time has passed.
    pub fn tick(&mut self, now: u64) {
        while let Some(at) = self.wake_at().filter(|at| *at <= now) {
            let Some(Reverse((_, id))) = self.timers.pop() else {
                return;
            };
            debug_assert!(at <= now);
            self.lookups[id].wake_at = u64::MAX;
            self.turn(id, now);
        }
    }

    fn turn(&mut self, id: usize, now: u64) {
        match self.lookups[id].stage.clone() {
            Stage::Dns => self.drive(id, now),
            Stage::Doubted { until } if now >= until => {
                let found = Err(self.fault(id, false));
                self.finish(id, found, None, now);
            }
            Stage::Queued | Stage::Threads | Stage::Doubted { .. } => {}
        }
        if self.lookups.get(id).is_some() {
            self.tell_the_late(id, now);
        }
        if self.lookups.get(id).is_some() {
            self.probe_if_due(id, now);
            self.arm(id);
        }
    }

    // ---- what came of actions ----

    pub fn heard(&mut self, ticket: Ticket, query: usize, server: usize, reply: Reply, now: u64) {
        let Some(lookup) = self.current(ticket) else {
            return;
        };
        let Some(one) = lookup.queries.get_mut(query) else {
            return;
        };
        let stream = one.heard(server, reply.clone(), now);
        let ask = (one.name.clone(), one.kind, one.extras());
        let zone = name::zone(&lookup.host.name).to_owned();
        self.dns.heard(&zone, now);
        self.servers.heard(server, &reply, now);
        if stream {
            self.actions.push(Action::Ask(Ask {
                ticket,
                query,
                server,
                at: self.servers.at(server),
                stream,
                name: ask.0,
                kind: ask.1,
                extras: ask.2,
            }));
        }
        self.turn(ticket.lookup, now);
        self.believe(now);
    }

    /// A server could not be reached: an errno.
    pub fn unreachable(
        &mut self,
        ticket: Ticket,
        query: usize,
        server: usize,
        errno: i32,
        now: u64,
    ) {
        let Some(lookup) = self.current(ticket) else {
            return;
        };
        if matches!(
            errno,
            libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS
        ) {
            let text = format!(
                "no socket for a look-up: {}",
                crate::query::errno_text(errno)
            );
            self.finish(ticket.lookup, Err(Failure::own(text)), None, now);
            return;
        }
        if let Some(query) = lookup.queries.get_mut(query) {
            query.unreachable(server, errno, now);
        }
        self.turn(ticket.lookup, now);
    }

    pub fn probe_heard(&mut self, server: usize, at: SocketAddr, reply: &Reply, now: u64) {
        if server < self.servers.len() && self.servers.at(server) == at {
            self.servers.heard(server, reply, now);
            self.believe(now);
        }
    }

    /// getaddrinfo is back.
    pub fn thread_done(
        &mut self,
        ticket: Ticket,
        zone: &str,
        result: Result<Vec<IpAddr>, ThreadError>,
        now: u64,
    ) {
        self.threads.release(zone);
        if self.current(ticket).is_some() {
            self.told_by_thread(ticket.lookup, result, now);
        }
        self.let_in(now);
    }

    fn told_by_thread(&mut self, id: usize, result: Result<Vec<IpAddr>, ThreadError>, now: u64) {
        let family = self.lookups[id].key.family;
        let name = self.lookups[id].host.name.clone();
        let failing = match result {
            Ok(ips) => {
                let ips: Vec<IpAddr> = ips.into_iter().filter(|ip| family.allows(ip)).collect();
                let none = || Failure::target(format!("`{name}` has {}", family.addresses()));
                let found = if ips.is_empty() { Err(none()) } else { Ok(ips) };
                return self.finish(id, found, None, now);
            }
            Err(ThreadError {
                own: Some(text), ..
            }) => {
                return self.finish(id, Err(Failure::own(text)), None, now);
            }
            Err(e) if matches!(e.code, libc::EAI_AGAIN | libc::EAI_FAIL | libc::EAI_SYSTEM) => {
                (Failing::Silent, format!("{name}: {}", e.text))
            }
            Err(e) => {
                return self.finish(id, Err(Failure::target(e.text)), None, now);
            }
        };
        self.lookups[id].heard.failed = Some(failing);
        self.doubt(id, now);
    }
}

/// What getaddrinfo said.
#[derive(Debug)]
pub struct ThreadError {
    pub code: i32,
    pub text: String,
    /// It is this machine's lack.
    pub own: Option<String>,
}

#[cfg(test)]
mod tests;
