//! The slots together: their room, their links, what they are called.

use super::Fleet;
use super::pool_key::PoolKey;
use super::slots::{Group, Slot};
use crate::rollout::worker_plan::settings;
use healthd_core::config::Pool;
use healthd_core::wire::class::Credit;
use healthd_core::wire::supervisor::WorkerClass;

impl Fleet {
    /// In-flight runs that one worker of a class may have.
    pub fn cap(&self, class: WorkerClass, pool: &Pool) -> usize {
        match class.row().credit {
            Credit::Descriptors => {
                (self.supervisor.open_files.saturating_sub(256) / 2).clamp(16, 16_384) as usize
            }
            Credit::Runs(most) => most,
            Credit::Threads => usize::from(settings(pool, class).threads),
        }
    }

    pub fn flush_links(&mut self) {
        for slot in self.slots.values_mut() {
            if let Some(link) = &mut slot.process.link
                && link.has_news()
                && let Err(e) = link.flush()
            {
                log::debug!("slot {}: {e}", slot.spec.slot);
            }
        }
    }

    /// Of a pool of that generation: "io", "io of `mine`".
    pub fn pool_name(&self, pool: PoolKey, generation: u64) -> String {
        let of_pool = |s: &&Slot| s.pool() == Some(pool) && s.spec.generation == generation;
        let slot = self.slots.values().find(of_pool);
        slot.map_or_else(|| pool.class.as_str().to_owned(), Slot::pool_name)
    }

    /// Why nobody takes a run. `ready`: somebody is at work.
    pub fn why_not_taken(&self, pool: PoolKey, generation: u64, ready: bool) -> String {
        match ready {
            true => format!("every {} worker is full", self.pool_name(pool, generation)),
            false => self.why_no_worker(pool, generation),
        }
    }

    pub(super) fn why_no_worker(&self, pool: PoolKey, generation: u64) -> String {
        let of_pool = |s: &&Slot| s.pool() == Some(pool);
        let mut of_pool = self.slots.values().filter(of_pool);
        let name = self.pool_name(pool, generation);
        match of_pool.find_map(|s| s.given_up.as_ref()) {
            Some(reason) => format!("no {name} worker: {reason}"),
            None => format!("no {name} worker is ready"),
        }
    }

    pub fn slot_name(&self, slot: u32) -> String {
        match self.slots.get(&slot) {
            Some(s) => {
                let kind = match s.group {
                    Group::Solo(_) => "solo worker",
                    Group::Pool(_) => "worker",
                };
                let class = s.spec.class.as_str();
                format!("{class} {kind} in slot {slot} (pid {})", s.process.pid)
            }
            None => format!("worker in slot {slot}"),
        }
    }
}
