//! Generations of workers: new plugin bytes or pool settings mean new workers. They come up beside the old
//! ones, and only when all are ready does anything change. The first start is the same thing from nothing.

use crate::book::{Chore, MS, Manager, Phase, PluginUse};
use crate::check::worker_class;
use crate::control::Asker;
use crate::jail::JAIL_SLOTS;
use crate::slots::{Condemned, Slot, SlotState};
use crate::state::Past;
use healthd_catalog::Scan;
use healthd_core::config::{Diagnostics, Model, Pool};
use healthd_core::wire::maps::SlotRecord;
use healthd_core::wire::supervisor::{SlotSpec, ToSupervisor, WorkerClass};
use healthd_core::wire::worker::ToWorker;
use healthd_sys::clock;
use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Lines for worker slots in `state.map`: two generations of the largest pools (64 io, 256 cpu, 1 exec), one
/// replacement a class, and jails.
pub const MAX_SLOTS: usize = 2 * (64 + 256 + 1) + 3 + JAIL_SLOTS;
/// Old workers may finish their runs for so long after the switch.
const DRAIN_NS: u64 = 60_000 * MS;

/// A generation that is coming up.
pub struct Coming {
    pub generation: u64,
    pub model: Model,
    pub scan: Scan,
    pub plugins: Vec<PluginUse>,
    pub slots: Vec<u32>,
    pub client: Option<Asker>,
    pub begun_ns: u64,
    /// The first one: it takes force even with gaps, since there is nothing to stay with.
    pub first: Option<Past>,
}

impl Manager {
    /// The first generation: from nothing, or after a manager that died.
    pub fn first_start(&mut self, scan: Scan, past: Past) {
        let settings = empty_of(&self.model);
        let model = std::mem::replace(&mut self.model, settings);
        tell_refused(&scan);
        let plugins = plugins_in_use(&model, &scan);
        let now = clock::monotonic_ns();
        self.bring_up(model, scan, plugins, None, now, Some(past));
    }

    pub fn bring_up(
        &mut self,
        model: Model,
        scan: Scan,
        plugins: Vec<PluginUse>,
        client: Option<Asker>,
        begun_ns: u64,
        first: Option<Past>,
    ) {
        let generation = self.generation + 1;
        let mut slots = Vec::new();
        let wanted = wanted(&model.pool, &plugins);
        let Some(free) = self.choose_slots(&wanted, first.as_ref()) else {
            // Fewer workers than are wanted, perhaps none, must not take over.
            let why = "workers of earlier reloads still end their runs; try again in a minute";
            return self.reload_failed(client, why.into());
        };
        for ((place, class, threads), free) in wanted.into_iter().zip(free) {
            let mut slot = Slot::new(
                SlotSpec {
                    slot: free,
                    class,
                    generation,
                    threads,
                    birth: self.next_birth(),
                    once: false,
                },
                place,
            );
            if let Some((_, old)) = first.as_ref().and_then(|p| {
                p.slots
                    .iter()
                    .find(|(n, r)| *n == free && r.class == class as u8)
            }) {
                slot.accounts = carried_over(old);
            }
            self.slots.insert(free, slot);
            slots.push(free);
        }
        // Those that no worker is wanted for any more.
        for (old, _) in first.iter().flat_map(|p| &p.slots) {
            if !slots.contains(old) {
                self.map.slot(*old as usize, &SlotRecord::default());
            }
        }
        let first_with_runs = first.is_some();
        self.coming = Some(Coming {
            generation,
            model,
            scan,
            plugins,
            slots,
            client,
            begun_ns,
            first,
        });
        self.tell_slots();
        if first_with_runs {
            log::debug!("first generation is coming up  generation={generation}");
        } else {
            log::info!("new workers are coming up  generation={generation}");
        }
        self.generation_progress();
    }

    /// A free slot for each worker. After a manager that died, its slots: their accounts go on.
    fn choose_slots(
        &self,
        wanted: &[(u64, WorkerClass, u32)],
        past: Option<&Past>,
    ) -> Option<Vec<u32>> {
        let mut theirs: HashMap<u8, VecDeque<u32>> = HashMap::new();
        let mut taken: HashSet<u32> = self.slots.keys().copied().collect();
        if let Some(past) = past {
            for class in WorkerClass::ALL {
                let wanted = wanted.iter().filter(|w| w.1 == class).count();
                let slots = past.slots_of(class as u8).into_iter().take(wanted);
                theirs.insert(class as u8, slots.collect());
            }
            taken.extend(theirs.values().flatten());
        }
        let mut free = (0..MAX_SLOTS as u32).filter(|n| !taken.contains(n));
        wanted
            .iter()
            .map(|(_, class, _)| {
                let old = theirs
                    .get_mut(&(*class as u8))
                    .and_then(VecDeque::pop_front);
                old.or_else(|| free.next())
            })
            .collect()
    }

    /// The supervisor keeps alive what is named here.
    pub fn tell_slots(&mut self) {
        let newest = self
            .coming
            .as_ref()
            .map_or(self.generation, |c| c.generation);
        let specs = self
            .slots
            .values()
            .filter(|s| s.spec.generation == self.generation || s.spec.generation == newest)
            .filter(|s| !s.retiring)
            // A jail that is told to end.
            .filter(|s| !(s.spec.once && s.state == SlotState::Draining))
            .map(|s| s.spec.clone())
            .collect();
        self.supervisor.say(&ToSupervisor::Slots(specs));
    }

    pub fn plugins_for(&self, slot: u32) -> Vec<PluginUse> {
        let generation = self.slots.get(&slot).map(|s| s.spec.generation);
        match &self.coming {
            Some(c) if Some(c.generation) == generation => c.plugins.clone(),
            _ => self.plugins.clone(),
        }
    }

    /// A plugin that cannot be used in the workers of this slot's generation.
    pub fn leave_out(&mut self, slot: u32, number: u16, reason: String) {
        let Some(s) = self.slots.get(&slot) else {
            return;
        };
        let generation = s.spec.generation;
        if s.replaces.is_some() {
            // The worker that serves can use it.
            return self.abandon_replacement(slot, &reason);
        }
        let of_coming = self
            .coming
            .as_ref()
            .is_some_and(|c| c.generation == generation);
        let plugins = match &mut self.coming {
            Some(c) if of_coming => &mut c.plugins,
            _ if generation == self.generation => &mut self.plugins,
            // It drains, and its numbers mean other plugins by now.
            _ => return,
        };
        let Some(plugin) = plugins.get_mut(usize::from(number)) else {
            return;
        };
        let file = plugin.file.display();
        let reason = if reason.starts_with(&file.to_string()) {
            reason
        } else {
            format!("{file}: {reason}")
        };
        plugin.left_out = Some(reason.clone());
        let name = plugin.name.clone();
        if !of_coming {
            self.lose_plugin(&name, &reason);
        }
        self.generation_progress();
    }

    /// Its checks are UNKNOWN with the reason, from now on.
    pub fn lose_plugin(&mut self, name: &str, reason: &str) {
        let ids: Vec<u32> = self.order.clone();
        for id in ids {
            if let Some(check) = self.check_mut(id)
                && check.spec.plugin == name
                && check.target.is_some()
            {
                check.target = None;
                check.spec.unusable = Some(reason.to_owned());
                self.leave_queue(id);
                self.unusable(id);
            }
        }
    }

    /// Looks whether the coming generation is complete, or has failed.
    pub fn generation_progress(&mut self) {
        let Some(coming) = &self.coming else { return };
        let state = |slot: &u32| self.slots.get(slot).map(|s| (s.state, s.given_up.clone()));
        let settled = |slot: &u32| match state(slot) {
            Some((SlotState::Ready, _)) | Some((_, Some(_))) | None => true,
            Some(_) => false,
        };
        let failed = coming
            .slots
            .iter()
            .find_map(|s| state(s).and_then(|(_, given_up)| given_up))
            .or_else(|| coming.plugins.iter().find_map(|p| self.newly_left_out(p)));
        if coming.first.is_none()
            && let Some(why) = failed
        {
            return self.abandon_coming(why);
        }
        if !coming.slots.iter().all(settled) {
            return;
        }
        if let Some(coming) = self.coming.take() {
            self.switch(coming);
        }
    }

    /// Why a plugin cannot be used that could be until now. One that was broken before and still is must
    /// not stand in the way of every other change.
    pub fn newly_left_out(&self, plugin: &PluginUse) -> Option<String> {
        let before = self
            .plugins
            .iter()
            .any(|p| p.name == plugin.name && p.hash == plugin.hash && p.left_out.is_some());
        plugin.left_out.clone().filter(|_| !before)
    }

    /// The new workers did not get ready: nothing changes.
    pub fn abandon_coming(&mut self, why: String) {
        let Some(coming) = self.coming.take() else {
            return;
        };
        self.tell_slots();
        for slot in coming.slots {
            if let Some(s) = self.slots.get(&slot)
                && s.pid != 0
                && s.state != SlotState::Dead
            {
                let pid = s.pid;
                self.supervisor.say(&ToSupervisor::Kill {
                    slot,
                    pid,
                    reason: "its generation did not come up".into(),
                });
            }
            self.retire_slot(slot);
        }
        self.reload_failed(
            coming.client,
            format!("the new workers did not get ready: {why}"),
        );
    }

    pub fn switch(&mut self, coming: Coming) {
        let old_slots: Vec<u32> = self
            .slots
            .values()
            .filter(|s| s.spec.generation != coming.generation)
            .map(|s| s.spec.slot)
            .collect();
        let Coming {
            generation,
            model,
            scan,
            plugins,
            client,
            begun_ns,
            first,
            slots,
        } = coming;
        let old_generation = std::mem::replace(&mut self.generation, generation);
        let old_plugins = std::mem::replace(&mut self.plugins, plugins);
        let is_first = first.is_some();
        match self.apply(model, scan, first) {
            Err(why) => {
                // Only a reload can fail here: the first map was made before anything else.
                self.generation = old_generation;
                self.plugins = old_plugins;
                self.tell_slots();
                for slot in slots {
                    self.retire_slot(slot);
                }
                self.reload_failed(client, why);
            }
            Ok(mut report) => {
                self.tell_slots();
                let now = clock::monotonic_ns();
                for slot in old_slots {
                    self.drain_slot(slot, now);
                }
                self.keep();
                report.took_ms = (now - begun_ns) / MS;
                if is_first {
                    self.ready(report.took_ms);
                } else {
                    report.new_generation = Some(generation);
                    self.end_reload(client, Ok(report));
                }
            }
        }
    }

    pub fn drain_slot(&mut self, slot: u32, now: u64) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        s.state = SlotState::Draining;
        s.condemned = Some(Condemned {
            reason: "a new generation serves".into(),
            culprit: None,
            killed: false,
            fence: false,
        });
        let pid = s.pid;
        match &mut s.link {
            Some(link) => link.queue(&ToWorker::Drain),
            None => return self.retire_slot(slot),
        }
        self.chores
            .insert((now + DRAIN_NS) / MS, Chore::Replace { slot, pid });
    }

    /// Its worker is gone and no other will come.
    pub fn retire_slot(&mut self, slot: u32) {
        if let Some(s) = self.slots.remove(&slot) {
            s.remove_map(&self.args.runtime_dir);
        }
        self.jail_retired(slot);
        self.map.slot(slot as usize, &SlotRecord::default());
    }

    pub fn ready(&mut self, took_ms: u64) {
        self.phase = Phase::Running;
        // Who asked before this has waited: a manager that is coming up knows no check, and would say so.
        self.listen();
        let status = self.status_text();
        log::info!("ready  {status} took={took_ms}ms");
        self.supervisor.say(&ToSupervisor::Ready { status });
    }

    /// One line for `systemctl status` and the log.
    pub fn status_text(&self) -> String {
        let workers = self
            .slots
            .values()
            .filter(|s| s.state == SlotState::Ready && s.prisoner.is_none())
            .count();
        format!(
            "checks={} workers={workers} generation={}",
            self.order.len(),
            self.generation
        )
    }

    /// Hands the supervisor what a manager after us would need: the model, and the plugins' bytes.
    pub fn keep(&mut self) {
        let mut model = self.model.clone();
        model.checks = self
            .order
            .iter()
            .filter_map(|id| self.check(*id))
            .map(|c| c.spec.clone())
            .collect();
        let kept = crate::role::Kept::of(model, &self.scan);
        let bytes = serde_json::to_vec(&kept).unwrap_or_default();
        drop(kept);
        match healthd_sys::memfd::sealed_bytes("healthd-model", &bytes) {
            Ok(memfd) => {
                let mut fds = vec![memfd.as_fd()];
                fds.extend(self.scan.files.iter().map(|f| f.copy.as_fd()));
                let plugins = self
                    .scan
                    .files
                    .iter()
                    .map(|f| f.path.display().to_string())
                    .collect();
                self.supervisor
                    .say_with(&ToSupervisor::Keep { plugins }, &fds);
            }
            Err(e) => log::error!("the model cannot be kept for a manager after this one: {e}"),
        }
        let settings = ToSupervisor::Settings {
            stop_grace_ms: self.model.daemon.stop_grace.as_millis() as u64,
            log: self.model.daemon.log.clone(),
        };
        self.supervisor.say(&settings);
        // Reading a config leaves a heap several times as large as what is kept of it.
        healthd_sys::process::trim_heap();
    }
}

/// The settings alone, until the checks take force.
fn empty_of(model: &Model) -> Model {
    Model {
        daemon: model.daemon.clone(),
        pool: model.pool.clone(),
        checks: Vec::new(),
        warnings: Diagnostics::default(),
    }
}

/// A file that cannot be used is said even while no check uses it: whoever dropped it in looks here.
pub fn tell_refused(scan: &Scan) {
    for refused in &scan.catalog.refused {
        log::warn!("plugin refused  {}", refused.reason);
    }
}

/// The plugins of enabled checks, each once, in a fixed order.
pub fn plugins_in_use(model: &Model, scan: &Scan) -> Vec<PluginUse> {
    let mut names: Vec<&str> = model
        .checks
        .iter()
        .filter(|c| c.enabled && c.unusable.is_none())
        .map(|c| c.plugin.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut copies: HashMap<&std::path::Path, Arc<std::os::fd::OwnedFd>> = HashMap::new();
    names
        .into_iter()
        .filter_map(|name| {
            let (file, entry) = scan.find(name)?;
            let copy = match copies.get(file.path.as_path()) {
                Some(copy) => copy.clone(),
                None => {
                    let copy = Arc::new(file.copy.try_clone().ok()?);
                    copies.insert(&file.path, copy.clone());
                    copy
                }
            };
            Some(PluginUse {
                name: name.to_owned(),
                file: file.path.clone(),
                index: entry.index,
                class: worker_class(entry.class),
                copy,
                hash: file.hash,
                left_out: None,
            })
        })
        .collect()
}

pub fn same_plugins(new: &[PluginUse], old: &[PluginUse]) -> bool {
    let key = |p: &PluginUse| (p.name.clone(), p.file.clone(), p.index, p.hash);
    new.len() == old.len()
        && old.iter().all(|p| p.left_out.is_none())
        && new.iter().map(key).eq(old.iter().map(key))
}

pub fn same_pool(new: &Pool, old: &Pool) -> bool {
    (
        new.io.workers,
        new.io.threads,
        new.cpu.workers,
        new.exec.max_parallel,
    ) == (
        old.io.workers,
        old.io.threads,
        old.cpu.workers,
        old.exec.max_parallel,
    )
}

/// The workers that these plugins need: place in class, class, threads.
fn wanted(pool: &Pool, plugins: &[PluginUse]) -> Vec<(u64, WorkerClass, u32)> {
    let mut list = Vec::new();
    for class in WorkerClass::ALL {
        if !plugins.iter().any(|p| p.class == class) {
            continue;
        }
        let (workers, threads) = match class {
            WorkerClass::Io => (pool.io.workers, pool.io.threads),
            WorkerClass::Cpu => (pool.cpu.workers, 1),
            // One process starts all children: what limits them is how many may run at once.
            WorkerClass::Exec => (1, pool.exec.max_parallel.max(1)),
        };
        list.extend((0..u64::from(workers.max(1))).map(|place| (place, class, u32::from(threads))));
    }
    list
}

/// The accounts of a slot whose manager died: what was in flight then is lost with its workers.
fn carried_over(old: &SlotRecord) -> crate::slots::Accounts {
    crate::slots::Accounts {
        dispatched: old.dispatched,
        finished: old.finished,
        lost_worker_died: old.lost_worker_died,
        lost_replaced: old.lost_replaced + old.in_flight,
        lost_cancelled: old.lost_cancelled,
        late: old.late,
        restarts: old.restarts + 1,
        chunks: crate::fanout::ChunkAccounts {
            dispatched: old.chunks_dispatched,
            finished: old.chunks_finished,
            lost: old.chunks_lost + old.chunks_in_flight,
            own: old.chunks_own,
        },
    }
}
