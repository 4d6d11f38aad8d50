//! The manager as the supervisor sees it: started with what the last one left, heard, and followed by another
//! when it ends.

use super::{CHILD_TOKEN, Kept, LINK_TOKEN, MS, ORPHANS, RETRY, Supervisor, nanos};
use crate::instance::remove_old_maps;
use crate::lifecycle::{Event, Phase};
use crate::link::{Incoming, Link};
use crate::reaper::{self, Ended, Kind};
use crate::refusal::exit;
use crate::respawn::{Life, MANAGER};
use healthd_core::wire::roles::ManagerArgs;
use healthd_core::wire::supervisor::{ToManager, ToSupervisor};
use healthd_sys::clock::monotonic_ns;
use healthd_sys::memfd;
use healthd_sys::process::Exit;
use healthd_sys::spawn::{Apart, SingleThreaded};
use healthd_sys::unix_socket;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// So many managers may die of what they are to go on with.
const RESTORES: u32 = 4;

pub(super) enum Manager {
    /// `patience`: orphans of the last one are waited for until then.
    Absent {
        start_at: u64,
        patience: u64,
    },
    Alive(Alive),
}

pub(super) struct Alive {
    pub(super) pid: u32,
    pub(super) link: Link,
    pub(super) ready: Option<u64>,
    pub(super) restored: bool,
}

impl Supervisor {
    pub(super) fn start_manager_if_due(&mut self, now: u64) {
        let Manager::Absent { start_at, patience } = self.manager else {
            return;
        };
        // The runs of the last one's workers begin again under the new one: first those must be gone.
        let open = self.workers.burials.iter().any(|b| b.left.is_empty());
        if now < start_at || !self.reaper.has_readers_only() || open {
            return;
        }
        let orphans = self.reaper.end_adopted();
        if now < patience && !self.unknown(&orphans).is_empty() {
            return;
        }
        // A manager removes the maps of the workers that die under it; nobody has removed those that died with it.
        remove_old_maps(&self.setup.runtime_dir);
        match self.start_manager() {
            Ok(manager) => {
                log::info!(
                    "manager started  pid={} restored={}",
                    manager.pid,
                    manager.restored
                );
                self.manager = Manager::Alive(manager);
                self.tell_readers();
                self.heart.manager_started(now);
            }
            Err(e) => {
                let pause = self.record.died(&MANAGER, Life::NeverReady);
                log::error!("manager not started  why=\"{e}\" retry={:?}", pause.wait);
                self.manager = Manager::Absent {
                    start_at: now + nanos(pause.wait).max(RETRY),
                    patience,
                };
            }
        }
    }

    fn start_manager(&mut self) -> io::Result<Alive> {
        let proof = SingleThreaded::check()?;
        let (ours, theirs) = unix_socket::link_pair()?;
        let args = ManagerArgs {
            link: theirs.as_raw_fd(),
            listen: self.setup.listener.as_raw_fd(),
            parent: std::process::id(),
            config: self.setup.config.clone(),
            runtime_dir: self.setup.runtime_dir.clone(),
            state_dir: self.setup.state_dir.clone(),
            log: self.setup.log.clone(),
            started: self.setup.started,
            started_as: self.setup.started_as,
            users: self.setup.placing.words(),
            restore: self.kept.model.is_some(),
        };
        let link = Link::new(ours, &self.ears.epoll, LINK_TOKEN)?;
        if let Some(kept) = &self.kept.model {
            for (n, part) in kept.iter().enumerate() {
                let last = n + 1 == kept.len();
                let maps = self.kept.maps.as_ref().filter(|_| last);
                let alerts = self.kept.alerts.as_ref().filter(|_| last);
                let restore = ToManager::Restore {
                    last,
                    maps: maps.is_some(),
                    alerts: alerts.is_some(),
                };
                let fds = part.iter().chain(maps).chain(alerts);
                let fds: Vec<BorrowedFd<'_>> = fds.map(|f| f.as_fd()).collect();
                link.send_first(&restore, &fds)?;
            }
        }
        let pass = [theirs.as_fd(), self.setup.listener.as_fd()];
        let pid = self.setup.exe.start(
            &proof,
            &args.to_argv(),
            &pass,
            self.setup.null.as_fd(),
            None,
            Apart::default(),
        )?;
        self.reaper
            .watch(pid, Kind::Manager, &self.ears.epoll, CHILD_TOKEN)?;
        Ok(Alive {
            pid,
            link,
            ready: None,
            restored: args.restore,
        })
    }

    pub(super) fn read_manager(&mut self, most: usize) {
        for _ in 0..most {
            let Manager::Alive(manager) = &mut self.manager else {
                return;
            };
            let pid = manager.pid;
            match manager
                .link
                .receive(&mut self.ears.buffer, &self.ears.epoll)
            {
                Incoming::Message(message, fds) => {
                    log::trace!("from manager: {message:?}");
                    self.hear(message, fds);
                }
                Incoming::Nothing => return,
                Incoming::Broken(why) => {
                    log::error!("manager is broken and is replaced  pid={pid} why=\"{why}\"");
                    manager.link.close(&self.ears.epoll);
                    self.reaper.kill(pid);
                    return;
                }
            }
        }
    }

    fn hear(&mut self, message: ToSupervisor, fds: Vec<OwnedFd>) {
        let now = monotonic_ns();
        match message {
            ToSupervisor::Slots(specs) => self.workers.pool.want(specs, now),
            ToSupervisor::SecretVariables => match fds.first().map(memfd::read_all) {
                Some(Ok(names)) => self.setup.secret_variables = names,
                Some(Err(e)) => log::error!("which variables are secrets cannot be read: {e}"),
                None => log::error!("which variables are secrets did not come"),
            },
            ToSupervisor::WorkerReady { slot, pid } => {
                if self.workers.pool.ready(slot, pid, now) {
                    log::debug!("worker ready  slot={slot} pid={pid}");
                }
            }
            ToSupervisor::Kill { slot, pid, reason } => {
                if self.workers.pool.holds(slot, pid) {
                    log::info!("worker is killed  slot={slot} pid={pid} why=\"{reason}\"");
                    self.reaper.kill(pid);
                }
            }
            ToSupervisor::Keep { first, last } => {
                if first {
                    self.kept.coming.clear();
                }
                self.kept.coming.push(fds);
                if last {
                    self.kept.model = Some(std::mem::take(&mut self.kept.coming));
                }
            }
            ToSupervisor::KeepMaps => {
                if let Some(maps) = fds.into_iter().next() {
                    self.kept.maps = Some(maps);
                }
            }
            ToSupervisor::KeepAlerts => {
                if let Some(alerts) = fds.into_iter().next() {
                    self.kept.alerts = Some(alerts);
                }
            }
            ToSupervisor::Ready { status } => {
                if let Manager::Alive(manager) = &mut self.manager {
                    manager.ready.get_or_insert(now);
                }
                log::debug!("ready  status=\"{status}\"");
                self.happen(Event::ManagerReady { status });
            }
            ToSupervisor::Reloading => self.happen(Event::ReloadBegan),
            ToSupervisor::Reloaded { status } => self.happen(Event::ReloadEnded { status }),
            ToSupervisor::Settings { stop_grace_ms, log } => {
                self.setup.grace_ns = stop_grace_ms.saturating_mul(MS);
                if std::env::var_os("HEALTHD_LOG").is_none() {
                    self.setup.log = log;
                }
            }
            ToSupervisor::Readers(specs) => self.want_readers(specs, fds),
            ToSupervisor::Status { status } => self.happen(Event::Status { status }),
            ToSupervisor::Stop => {
                log::info!("stop asked for by a client");
                self.happen(Event::Terminate);
            }
            ToSupervisor::Draining { in_flight } => {
                self.happen(Event::StillDraining { in_flight });
            }
        }
    }

    pub(super) fn manager_ended(&mut self, ended: Ended) {
        // What it said before it died still counts.
        self.read_manager(usize::MAX);
        let now = monotonic_ns();
        let patience = now + ORPHANS;
        let last = std::mem::replace(
            &mut self.manager,
            Manager::Absent {
                start_at: now,
                patience,
            },
        );
        let Manager::Alive(mut manager) = last else {
            return;
        };
        manager.link.close(&self.ears.epoll);
        self.heart.manager_died(now);
        let expected = match self.phase {
            Phase::Draining { .. } | Phase::Killing { .. } | Phase::Stopped { .. } => true,
            // It has printed what is wrong, and nothing is started any more.
            Phase::Starting { .. } => ended.exit == Exit::Code(exit::BAD_CONFIG),
            _ => false,
        };
        let why = reaper::death(ended.exit);
        if expected {
            log::debug!("manager ended  pid={} how=\"{why}\"", ended.pid);
        } else {
            let life = match manager.ready {
                Some(since) => Life::Ready(Duration::from_nanos(now.saturating_sub(since))),
                None => Life::NeverReady,
            };
            let pause = self.record.died(&MANAGER, life);
            let (pid, wait) = (ended.pid, pause.wait);
            log::warn!("manager died  pid={pid} why=\"{why}\" next_in={wait:?}");
            self.manager = Manager::Absent {
                start_at: now + nanos(pause.wait),
                patience,
            };
            if manager.restored && manager.ready.is_none() && self.record.deaths() >= RESTORES {
                // What it is to go on with may be what kills it.
                log::error!("manager does not come up with what it had: it starts afresh");
                self.kept = Kept::default();
            }
        }
        self.happen(Event::ManagerDied(ended.exit));
    }
}
