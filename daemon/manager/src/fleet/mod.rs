//! The workers as the manager sees them: their slots, their lives and deaths, and who was to blame.

pub mod apart;
pub mod chunks;
pub mod crash_record;
pub mod deaths;
pub mod descriptors;
mod fanout;
mod guilt;
pub mod leftovers;
pub mod limits;
pub mod oom;
mod outlived;
pub mod pool_key;
pub mod pools;
pub mod postmortem;
pub mod quarantine;
pub mod replacement;
mod roster;
pub mod slots;
pub mod solo;
pub mod supervisor_link;
pub mod worker_inbox;

use apart::Apart;
use chunks::Fans;
use leftovers::Leftovers;
use limits::Backoff;
use oom::OomWatch;
use pool_key::PoolKey;
use pools::Pools;
use slots::Slot;
use std::collections::{BTreeMap, VecDeque};
use supervisor_link::SupervisorLink;

pub struct Fleet {
    pub supervisor: SupervisorLink,
    pub slots: BTreeMap<u32, Slot>,
    /// The last number that a slot was given for its birth.
    births: u64,
    solo: SoloWorkers,
    pub apart: Apart,
    fans: Fans,
    pools: Pools,
    /// Of replacements.
    backoffs: BTreeMap<PoolKey, Backoff>,
    oom: OomWatch,
    /// What processes hold that do not end.
    pub leftovers: Leftovers,
    /// When the runs in flight were last looked through for lost ones.
    last_search: u64,
}

impl Fleet {
    pub fn new(supervisor: SupervisorLink, now: u64) -> Fleet {
        Fleet {
            supervisor,
            slots: BTreeMap::new(),
            births: 0,
            solo: SoloWorkers::default(),
            apart: Apart::default(),
            fans: Fans::default(),
            pools: Pools::default(),
            backoffs: BTreeMap::new(),
            oom: OomWatch::new(now),
            leftovers: Leftovers::default(),
            last_search: now,
        }
    }

    /// Is the kernel out of memory?
    pub fn look_for_oom(&mut self, now: u64) {
        self.oom.look(now);
    }
}

#[derive(Default)]
pub struct SoloWorkers {
    /// Checks that wait for one.
    queue: VecDeque<u32>,
    /// Slots of those that there are, ending ones too.
    slots: Vec<u32>,
}
