//! What a run held alone while a process that its dead worker left behind does not end: it hangs in the kernel, or it may
//! not be killed by us. The run has its end, but its groups and locks are held by a *ghost* until the supervisor says
//! that the process is gone: so nothing runs beside it.

use crate::book::Manager;
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub struct Ghosts {
    made: u32,
    all: BTreeMap<u32, Ghost>,
}

struct Ghost {
    slot: u32,
    pid: u32,
    check: String,
}

impl Ghosts {
    /// A new one, in the place of a check: numbers of checks count from below, these from above.
    fn rise(&mut self, slot: u32, pid: u32, check: String) -> u32 {
        self.made = self.made.wrapping_add(1);
        let id = u32::MAX - self.made % (u32::MAX / 2);
        self.all.insert(id, Ghost { slot, pid, check });
        id
    }

    /// The check whose run it was.
    pub fn check_of(&self, id: u32) -> Option<&str> {
        self.all.get(&id).map(|g| g.check.as_str())
    }
}

impl Manager {
    /// What these runs of a dead worker hold goes to ghosts. The checks whose groups are among it.
    pub fn haunt(&mut self, slot: u32, pid: u32, runs: &HashMap<u64, u32>) -> Vec<u32> {
        let mut haunted = Vec::new();
        for (run_id, id) in runs {
            let name = self.check(*id).map_or("?".into(), |c| c.spec.name.clone());
            let ghost = self.ghosts.rise(slot, pid, name);
            let in_groups = self.groups.rename(*id, ghost);
            if in_groups {
                haunted.push(*id);
            }
            if !self.lock_goes_to_ghost(slot, *run_id, ghost) && !in_groups {
                self.ghosts.all.remove(&ghost);
            }
        }
        haunted
    }

    /// Nothing of that worker is left.
    pub fn worker_buried(&mut self, slot: u32, pid: u32) {
        let of_worker = |g: &Ghost| (g.slot, g.pid) == (slot, pid);
        let (gone, stay) = std::mem::take(&mut self.ghosts.all)
            .into_iter()
            .partition(|(_, g)| of_worker(g));
        self.ghosts.all = stay;
        for ghost in BTreeMap::into_keys(gone) {
            self.groups.leave(ghost);
            self.ghost_unlocks(ghost);
        }
    }
}
