//! The manager's books: every check, every slot, the plugins in use.

use crate::check::Check;
use crate::control::Clients;
use crate::cost::Costs;
use crate::dependency::Dependents;
use crate::fanout::Fans;
use crate::ghosts::Ghosts;
use crate::journal::{ClockWatch, Journal};
use crate::loading::Work;
use crate::objects::{KeptMaps, Locks};
use crate::plugins::{DropIn, Tally, Versions};
use crate::recycle::Pace;
use crate::secret_files::SecretFiles;
use crate::slots::Slot;
use crate::store::Saving;
use crate::supervisor_link::SupervisorLink;
use healthd_catalog::{Scan, Shelf};
use healthd_core::check::schedule::Standstill;
use healthd_core::check::turnstile::Turnstile;
use healthd_core::check::wheel::Wheel;
use healthd_core::config::Model;
use healthd_core::wire::roles::ManagerArgs;
use healthd_scoreboard::samples_map::SamplesMap;
use healthd_scoreboard::state_map::StateMap;
use nix::sys::epoll::Epoll;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub const MS: u64 = 1_000_000;

/// What the second wheel holds; the first holds the checks' due times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// The beat, stalled workers, overdue queues, the state on disk.
    Watch,
    /// A worker that is to be replaced has had its time.
    Replace {
        slot: u32,
        pid: u32,
    },
    /// A worker whose link has ended should be dead by now.
    HungUp {
        slot: u32,
        pid: u32,
    },
    /// A run has waited for its locks as long as it wanted to.
    LockTimeout {
        slot: u32,
        ask: u64,
    },
    /// A suspect has waited long enough for a jail: the turn that this makes sees to it.
    Jail,
    /// The listener has rested long enough.
    Listen,
    /// A check was paused for so long.
    PauseEnds {
        id: u32,
    },
    /// Control clients whose users had nothing left may have some again.
    WakeClients,
    EndIdleClients,
    /// A trial may be over.
    Trials,
    StopDeadline,
}

pub struct Manager {
    pub args: ManagerArgs,
    pub model: Model,
    pub scan: Scan,
    pub epoll: Epoll,
    pub supervisor: SupervisorLink,
    /// By id, which a worker knows it by; a hole is free.
    pub checks: Vec<Option<Check>>,
    pub free_ids: BTreeSet<u32>,
    pub by_name: HashMap<String, u32>,
    /// Ids in the order of the config.
    pub order: Vec<u32>,
    /// Milliseconds of CLOCK_MONOTONIC, ahead of now by the look-ahead.
    pub due: Wheel<u32>,
    pub chores: Wheel<Chore>,
    pub slots: BTreeMap<u32, Slot>,
    /// Checks that are due while no worker of their class has room, by class.
    pub queues: [VecDeque<u32>; 3],
    pub kept_maps: KeptMaps,
    pub locks: Locks,
    pub fans: Fans,
    /// Who of the checks with groups is running, and who waits for its turn.
    pub groups: Turnstile<u32>,
    pub ghosts: Ghosts,
    pub jail: crate::jail::Jail,
    pub pools: crate::pools::Pools,
    /// The last number that a slot was given for its birth.
    pub births: u64,
    pub plugins: Vec<PluginUse>,
    pub generation: u64,
    /// A generation that is coming up, and what takes force with it.
    pub coming: Option<crate::generation::Coming>,
    /// A thread is reading files.
    pub loading: bool,
    /// What is to be changed next.
    pub work: VecDeque<Work>,
    /// The plugin files as they were read last.
    pub shelf: Arc<Mutex<Shelf>>,
    pub versions: Versions,
    pub drop_in: Option<DropIn>,
    pub secret_files: Option<SecretFiles>,
    /// The model in force, for the manager after us.
    pub kept_model: Option<Arc<OwnedFd>>,
    /// Whose plugin files may be loaded.
    pub owners: Vec<u32>,
    /// Mode of the maps: the control socket's.
    pub map_mode: u32,
    pub next_run: u64,
    pub map: StateMap,
    pub journal: Journal,
    /// None: there was no room for it.
    pub samples: Option<SamplesMap>,
    pub clock_watch: ClockWatch,
    pub clients: Clients,
    pub dependents: Dependents,
    pub costs: Costs,
    /// By class.
    pub paces: [Pace; 3],
    pub saving: Saving,
    pub phase: Phase,
    /// Of all runs since the start of this manager.
    pub finished: u64,
    /// When this process, or the machine, last went on after it had stood still: nobody is judged by what
    /// came before.
    pub stood: Standstill,
    pub oom: crate::oom::OomWatch,
    /// When it was last said that no descriptor is left; 0: never.
    pub lacking_said: u64,
    /// When the runs in flight were last looked through for lost ones.
    pub last_search: u64,
    /// What other threads have for the loop.
    pub inbox: Arc<crate::event_loop::Inbox>,
}

/// A plugin of a generation; its place in the list is the number that workers know it by.
#[derive(Clone)]
pub struct PluginUse {
    pub name: String,
    pub file: PathBuf,
    pub index: u32,
    pub class: healthd_core::wire::supervisor::WorkerClass,
    pub copy: Arc<OwnedFd>,
    pub hash: u64,
    /// It could not be initialised, or killed a starting worker: why. New workers come up without it.
    pub left_out: Option<String>,
    /// CLOCK_REALTIME: these bytes serve since then.
    pub since: u64,
    pub tally: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Workers are coming up for the first time.
    Starting,
    Running,
    Stopping,
    /// The books are closed: leave the loop.
    Done,
}

impl Manager {
    pub fn check(&self, id: u32) -> Option<&Check> {
        self.checks.get(id as usize).and_then(Option::as_ref)
    }

    pub fn check_mut(&mut self, id: u32) -> Option<&mut Check> {
        self.checks.get_mut(id as usize).and_then(Option::as_mut)
    }

    /// A new id, the lowest free one: workers keep a table by it.
    pub fn add(&mut self, check: Check) -> u32 {
        let name = check.spec.name.clone();
        let id = match self.free_ids.pop_first() {
            Some(free) => free,
            None => {
                self.checks.push(None);
                self.checks.len() as u32 - 1
            }
        };
        self.checks[id as usize] = Some(check);
        self.by_name.insert(name, id);
        id
    }

    /// Writes a check's line in the map and tells who watches it.
    pub fn publish(&mut self, id: u32) {
        if let Some(check) = self.checks.get(id as usize).and_then(Option::as_ref) {
            self.map.check(check.index as usize, &check.record());
            self.clients.changed(id);
        }
    }
}
