//! Generations of workers: new plugin bytes or pool settings mean new workers. They come up beside the old
//! ones, and only when all are ready does anything change. The first start is the same thing from nothing.

use crate::books::recall::Past;
use crate::director::{Chore, Manager, Phase};
use crate::fleet::pool_key::PoolKey;
use crate::fleet::slots::{Accounts, Condemned, Group, Slot, SlotState};
use crate::fleet::solo::SOLO_SLOTS;
use crate::journal::Fact;
use crate::rollout::coming::{Coming, Force};
use crate::rollout::loading;
use crate::rollout::plugin_use::PluginUse;
use crate::rollout::plugins::{Objection, Tally, version_text};
use crate::rollout::work::Work;
use crate::rollout::worker_plan::{OWN_MOST, OWN_WORKERS, Wanted, lost, wanted};
use crate::time::MS;
use healthd_catalog::{PluginFile, Scan, Standing};
use healthd_core::wire::control::ReloadReport;
use healthd_core::wire::maps::{self, SlotRecord};
use healthd_core::wire::supervisor::{SlotSpec, ToSupervisor, WorkerClass};
use healthd_core::wire::worker::ToWorker;
use healthd_sys::{clock, memfd};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Lines for worker slots in `state.map`: two generations of the largest pools (64 io, 256 cpu, 1 exec, 1 notify) and of
/// workers that are a plugin's own, one for checks that block others, one replacement a pool, and solo workers.
pub const MAX_SLOTS: usize = 2 * (64 + 256 + 1 + 1 + 1 + OWN_WORKERS)
    + WorkerClass::ALL.len() * (1 + OWN_MOST)
    + 1
    + SOLO_SLOTS;
const _: () = assert!(MAX_SLOTS <= maps::SLOTS_MOST);
/// Old workers may finish their runs for so long after the switch.
const DRAIN_NS: u64 = 60_000 * MS;

/// In an answer to a client.
pub const MAX_FILES_TOLD: usize = 20;

impl Manager {
    /// The first generation: from nothing, or after a manager that died.
    pub fn first_start(&mut self, force: Force, scan: Scan, past: Past) {
        self.rollout
            .tell_plugin_news(&scan, &mut self.books.journal);
        let plugins = {
            let now = (&self.model, &self.checks);
            self.rollout.plugins_in_use(&force, &scan, now, true)
        };
        let now = clock::monotonic_ns();
        self.bring_up(force, scan, plugins, None, now, Some(past));
    }

    pub(super) fn bring_up(
        &mut self,
        force: Force,
        scan: Scan,
        plugins: Vec<PluginUse>,
        work: Option<Work>,
        begun_ns: u64,
        first: Option<Past>,
    ) {
        let model = force.model(&self.model);
        let wanted = wanted(&model.pool, &plugins);
        // Those of the config that is in force too: it stays so if this one does not come up.
        let secrets = model.secret_variables.iter();
        let secrets: BTreeSet<&String> = secrets.chain(&self.model.secret_variables).collect();
        let secrets: String = secrets
            .iter()
            .flat_map(|name| [name.as_str(), "\0"])
            .collect();
        let generation = self.rollout.generation + 1;
        let mut slots = Vec::new();
        let Some(free) = self.choose_slots(&wanted, first.as_ref()) else {
            // Fewer workers than are wanted, perhaps none, must not take over.
            let why = "workers of earlier reloads still end their runs; try again in a minute";
            if let Some(work) = work {
                self.work_failed(work, why.into());
            }
            return;
        };
        for (worker, free) in wanted.into_iter().zip(free) {
            let PoolKey { class, group } = worker.pool;
            let mut slot = Slot::new(
                SlotSpec {
                    slot: free,
                    class,
                    generation,
                    threads: worker.threads,
                    birth: self.next_birth(),
                    once: false,
                    plugins: worker.plugins,
                },
                worker.place,
                Group::Pool(group),
            );
            if let Some((_, old)) = first.as_ref().and_then(|p| {
                p.slots
                    .iter()
                    .find(|(n, r)| *n == free && r.class == class as u8 && r.group == group)
            }) {
                slot.accounts = Accounts::carried_over(old);
            }
            self.fleet.slots.insert(free, slot);
            slots.push(free);
        }
        // Those that no worker is wanted for any more.
        for (old, _) in first.iter().flat_map(|p| &p.slots) {
            if !slots.contains(old) {
                self.books.map.slot(*old as usize, &SlotRecord::default());
            }
        }
        let first_with_runs = first.is_some();
        self.rollout.coming = Some(Coming {
            generation,
            force,
            scan,
            plugins,
            slots,
            work,
            begun_ns,
            first,
            canaries: None,
        });
        self.tell_secret_variables(&secrets);
        self.tell_slots();
        if first_with_runs {
            log::debug!("first generation is coming up  generation={generation}");
        } else {
            log::info!("new workers are coming up  generation={generation}");
        }
        self.generation_progress();
    }

    /// A free slot for each worker. After a manager that died, its slots: their accounts go on.
    fn choose_slots(&self, wanted: &[Wanted], past: Option<&Past>) -> Option<Vec<u32>> {
        let mut theirs: HashMap<PoolKey, VecDeque<u32>> = HashMap::new();
        let mut taken: HashSet<u32> = self.fleet.slots.keys().copied().collect();
        if let Some(past) = past {
            for pool in wanted.iter().map(|w| w.pool) {
                let of_pool = wanted.iter().filter(|w| w.pool == pool).count();
                theirs
                    .entry(pool)
                    .or_insert_with(|| past.slots_of(pool).into_iter().take(of_pool).collect());
            }
            taken.extend(theirs.values().flatten());
        }
        let mut free = (0..MAX_SLOTS as u32).filter(|n| !taken.contains(n));
        wanted
            .iter()
            .map(|worker| {
                let old = theirs.get_mut(&worker.pool).and_then(VecDeque::pop_front);
                old.or_else(|| free.next())
            })
            .collect()
    }

    /// Before the workers that are not to inherit them.
    fn tell_secret_variables(&mut self, names: &str) {
        match memfd::sealed_bytes("secret-variables", names.as_bytes()) {
            Ok(file) => {
                let message = ToSupervisor::SecretVariables;
                self.fleet
                    .supervisor
                    .say_with(&message, vec![Arc::new(file)]);
            }
            Err(e) => log::error!("workers inherit variables that are secrets: {e}"),
        }
    }

    /// The supervisor keeps alive what is named here.
    pub fn tell_slots(&mut self) {
        let newest = self
            .rollout
            .coming
            .as_ref()
            .map_or(self.rollout.generation, |c| c.generation);
        let specs = self
            .fleet
            .slots
            .values()
            .filter(|s| s.spec.generation == self.rollout.generation || s.spec.generation == newest)
            .filter(|s| !s.succession.retiring)
            // A solo worker that is told to end.
            .filter(|s| !(s.spec.once && s.state == SlotState::Draining))
            .map(|s| s.spec.clone())
            .collect();
        self.fleet.supervisor.say(&ToSupervisor::Slots(specs));
    }

    pub fn plugins_for(&self, slot: u32) -> Vec<PluginUse> {
        let generation = self.fleet.slots.get(&slot).map(|s| s.spec.generation);
        match &self.rollout.coming {
            Some(c) if Some(c.generation) == generation => c.plugins.clone(),
            _ => self.rollout.plugins.clone(),
        }
    }

    /// A plugin that cannot be used in the workers of this slot's generation.
    pub fn leave_out(&mut self, slot: u32, number: u16, reason: String, title: &'static str) {
        let Some(s) = self.fleet.slots.get(&slot) else {
            return;
        };
        let name = s.loaded.plugins.get(usize::from(number));
        let fact = Fact::plugin(name.map_or("", String::as_str), "left out")
            .titled(title)
            .level(log::Level::Error)
            .slot(slot)
            .why(&reason);
        self.books.journal.record(fact);
        let generation = s.spec.generation;
        if s.succession.replaces.is_some() {
            // The worker that serves can use it.
            return self.abandon_replacement(slot, &reason);
        }
        let of_coming = self
            .rollout
            .coming
            .as_ref()
            .is_some_and(|c| c.generation == generation);
        let plugins = match &mut self.rollout.coming {
            Some(c) if of_coming => &mut c.plugins,
            _ if generation == self.rollout.generation => &mut self.rollout.plugins,
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
        if !of_coming && !self.trial_left_out(&name, &reason) {
            self.lose_plugin(&name, &reason);
        }
        self.generation_progress();
    }

    /// Its checks are UNKNOWN with the reason, from now on.
    fn lose_plugin(&mut self, name: &str, reason: &str) {
        let ids: Vec<u32> = self.checks.order().to_vec();
        for id in ids {
            if let Some(check) = self.checks.get_mut(id)
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
        let Some(coming) = &self.rollout.coming else {
            return;
        };
        let state = |slot: &u32| {
            self.fleet
                .slots
                .get(slot)
                .map(|s| (s.state, s.given_up.clone()))
        };
        let settled = |slot: &u32| match state(slot) {
            Some((SlotState::Ready, _)) | Some((_, Some(_))) | None => true,
            Some(_) => false,
        };
        let given_up = coming
            .slots
            .iter()
            .find_map(|s| state(s).and_then(|(_, given_up)| given_up));
        let left_out = coming
            .plugins
            .iter()
            .find_map(|p| self.newly_left_out(p).map(|why| (p.name.clone(), why)));
        if coming.first.is_none() {
            match (left_out, given_up) {
                (Some((plugin, why)), _) => {
                    return self.refuse_coming(Objection { plugin, why });
                }
                (None, Some(why)) => return self.abandon_coming(why, None),
                (None, None) => {}
            }
        }
        if !coming.slots.iter().all(settled) {
            return;
        }
        if coming.canaries.is_none() {
            self.send_canaries();
        }
        if self.canaries_passed()
            && let Some(coming) = self.rollout.coming.take()
        {
            self.switch(coming);
        }
    }

    /// Why a plugin cannot be used that could be until now. One that was broken before and still is must
    /// not stand in the way of every other change.
    fn newly_left_out(&self, plugin: &PluginUse) -> Option<String> {
        let before = self
            .rollout
            .plugins
            .iter()
            .any(|p| p.name == plugin.name && p.hash == plugin.hash && p.left_out.is_some());
        plugin.left_out.clone().filter(|_| !before)
    }

    /// The bytes of this plugin may not take over.
    pub fn refuse_coming(&mut self, objection: Objection) {
        let Objection { plugin, why } = objection;
        self.abandon_coming(why, Some(plugin));
    }

    /// The new workers did not get ready, or may not take over: nothing changes. `blamed` is the plugin that
    /// is to blame; None: any that is new may be.
    fn abandon_coming(&mut self, why: String, blamed: Option<String>) {
        let Some(coming) = self.take_down_coming() else {
            return;
        };
        let Some(work) = coming.work else { return };
        let why = format!("the new workers did not get ready: {why}");
        // They are tried again when they are others: but a reload asks for just what there is.
        if matches!(work, Work::Dropped | Work::Plugins { .. }) {
            let changed = match blamed {
                Some(plugin) => vec![plugin],
                None => self.rollout.changed_plugins(&coming.plugins),
            };
            for plugin in &changed {
                if let Some((file, _)) = coming.scan.find(plugin) {
                    self.rollout
                        .versions
                        .reject(file, Standing::Refused(why.clone()));
                }
            }
            for file in &mut self.rollout.scan.files {
                if changed.iter().any(|n| file.has(n)) {
                    file.standing = Standing::Refused(why.clone());
                }
            }
            self.keep();
            // What else has changed is not to suffer for it.
            if !self.rollout.work.contains(&Work::Dropped) {
                self.rollout.work.push_back(Work::Dropped);
            }
        }
        self.work_failed(work, why);
    }

    /// Something else comes first: it begins again after that.
    pub(super) fn put_off_coming(&mut self) {
        if self
            .rollout
            .coming
            .as_ref()
            .is_none_or(|c| c.first.is_some())
        {
            return;
        }
        if let Some(work) = self.take_down_coming().and_then(|c| c.work) {
            let at = usize::from(!self.rollout.work.is_empty());
            self.rollout.work.insert(at, work);
        }
    }

    fn take_down_coming(&mut self) -> Option<Coming> {
        let coming = self.rollout.coming.take()?;
        self.tell_slots();
        for slot in &coming.slots {
            self.kill_slot(*slot, "its generation did not come up");
            self.retire_slot(*slot);
        }
        Some(coming)
    }

    fn kill_slot(&mut self, slot: u32, why: &str) {
        if let Some(s) = self.fleet.slots.get(&slot)
            && s.process.pid != 0
            && s.state != SlotState::Dead
        {
            let pid = s.process.pid;
            self.fleet.supervisor.say(&ToSupervisor::Kill {
                slot,
                pid,
                reason: why.into(),
            });
        }
    }

    pub fn switch(&mut self, coming: Coming) {
        let old_slots: Vec<u32> = self
            .fleet
            .slots
            .values()
            .filter(|s| s.spec.generation != coming.generation)
            .map(|s| s.spec.slot)
            .collect();
        let changed = self.rollout.changed_plugins(&coming.plugins);
        let old_serving = self.serving();
        let Coming {
            generation,
            force,
            scan,
            plugins,
            work,
            begun_ns,
            first,
            slots,
            canaries: _,
        } = coming;
        let old_generation = std::mem::replace(&mut self.rollout.generation, generation);
        let old_plugins = std::mem::replace(&mut self.rollout.plugins, plugins);
        let old_scan = self.rollout.scan.clone();
        let is_first = first.is_some();
        let taken = match force {
            Force::Model { model, kept } => self.apply(*model, scan, first).inspect(|_| {
                self.model_kept(kept);
            }),
            Force::Plugins => {
                self.rollout.scan = scan;
                self.retarget(&lost(&old_plugins));
                Ok(ReloadReport {
                    unchanged: self.checks.order().len() as u64,
                    ..ReloadReport::default()
                })
            }
        };
        match taken {
            Err(why) => {
                // Only a reload can fail here: the first map was made before anything else.
                self.rollout.generation = old_generation;
                self.rollout.plugins = old_plugins;
                self.tell_slots();
                for slot in slots {
                    self.kill_slot(slot, "its generation could not take over");
                    self.retire_slot(slot);
                }
                if let Some(work) = work {
                    self.work_failed(work, why);
                }
            }
            Ok(mut report) => {
                self.tell_slots();
                let now = clock::monotonic_ns();
                for slot in old_slots {
                    self.drain_slot(slot, now);
                }
                report.took_ms = (now - begun_ns) / MS;
                if is_first {
                    self.settled();
                    self.ready(report.took_ms);
                    if !self.args.restore {
                        let (scan, said) = (self.rollout.scan.clone(), &self.model.warnings);
                        loading::ask_plugins(self.args.config.clone(), scan, said.clone());
                    }
                    return;
                }
                report.plugins = changed
                    .iter()
                    .filter_map(|name| {
                        let (old, _) = old_scan.find(name)?;
                        let (new, _) = self.rollout.scan.find(name)?;
                        Some(format!(
                            "{} -> {}",
                            version_text(old, name),
                            version_text(new, name)
                        ))
                    })
                    .collect();
                self.new_bytes_serve(&changed, &old_serving, &old_plugins, work.as_ref());
                self.settled();
                report.new_generation = Some(generation);
                if let Some(work) = work {
                    self.end_work(work, Ok(report));
                }
            }
        }
    }

    /// What served before is kept, and what serves now has to prove itself, unless it has already.
    fn new_bytes_serve(
        &mut self,
        changed: &[String],
        old_serving: &[PluginFile],
        old_plugins: &[PluginUse],
        work: Option<&Work>,
    ) {
        if changed.is_empty() {
            return;
        }
        if matches!(work, Some(Work::Rollback { .. })) {
            return self
                .rollout
                .versions
                .forget_previous(|n| changed.iter().any(|c| c == n));
        }
        let served_before = |name: &String| {
            let hash = self
                .rollout
                .plugins
                .iter()
                .find(|p| p.name == *name)
                .map(|p| p.hash);
            self.rollout.versions.previous_of(name).map(|f| f.hash) == hash
        };
        let (known, unproven): (Vec<String>, Vec<String>) =
            changed.iter().cloned().partition(served_before);
        self.rollout
            .versions
            .forget_previous(|n| known.iter().any(|k| k == n));
        self.rollout.versions.replaced(old_serving, changed);
        let with_tallies: Vec<(String, Tally)> = old_plugins
            .iter()
            .filter(|p| unproven.contains(&p.name))
            .map(|p| (p.name.clone(), p.tally))
            .collect();
        self.begin_trials(&with_tallies);
    }

    fn drain_slot(&mut self, slot: u32, now: u64) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        s.state = SlotState::Draining;
        s.process.condemned = Some(Condemned {
            reason: "a new generation of workers has taken over".into(),
            culprit: None,
            killed: false,
            fence: false,
            drained: Some(0),
        });
        let pid = s.process.pid;
        match &mut s.process.link {
            Some(link) => link.queue(&ToWorker::Drain),
            None => return self.retire_slot(slot),
        }
        // As long as the runs that it has may take.
        let patience = DRAIN_NS.max(self.longest_run(slot) + DRAIN_NS / 6);
        let at = (now + patience) / MS;
        self.clockwork
            .chores
            .insert(at, Chore::Replace { slot, pid });
    }

    /// Its worker is gone and no other will come.
    pub fn retire_slot(&mut self, slot: u32) {
        if let Some(s) = self.fleet.slots.remove(&slot) {
            s.remove_map(&self.args.runtime_dir);
        }
        self.solo_retired(slot);
        self.books.map.slot(slot as usize, &SlotRecord::default());
    }

    pub fn ready(&mut self, took_ms: u64) {
        self.phase = Phase::Running;
        // Who asked before this has waited: a manager that is coming up knows no check, and would say so.
        self.listen();
        let status = self.status_text();
        log::info!("ready  {status} took={took_ms}ms");
        self.fleet.supervisor.say(&ToSupervisor::Ready { status });
        self.run_trials();
        self.begin_work();
    }

    /// One line for `systemctl status` and the log.
    pub(super) fn status_text(&self) -> String {
        let workers = self
            .fleet
            .slots
            .values()
            .filter(|s| s.state == SlotState::Ready && s.pool().is_some())
            .count();
        format!(
            "checks={} workers={workers} generation={}",
            self.checks.order().len(),
            self.rollout.generation
        )
    }

    /// A check that is kept out of the model is not kept for the next manager.
    pub(super) fn model_kept(&mut self, kept: io::Result<Arc<OwnedFd>>) {
        match kept {
            Ok(kept) => self.rollout.kept_model = Some(kept),
            Err(e) => {
                log::error!("the model cannot be kept for a manager after this one: {e}");
            }
        }
    }
}
