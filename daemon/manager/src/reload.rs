//! Generations and reload: what takes force, when, and what of the old stays as it is.
//!
//! A reload is a diff: a check that has not changed keeps its next due time, its run in flight and its
//! attempts. New plugin bytes or pool settings mean new workers: they come up beside the old ones, and only
//! when all are ready does anything change. The first start is the same thing from nothing.

use crate::book::{Chore, MS, Manager, Phase, PluginUse};
use crate::check::{Check, Target, worker_class};
use crate::control::Asker;
use crate::slots::{Condemned, Slot, SlotState};
use crate::state::Past;
use healthd_catalog::{Loaded, Scan};
use healthd_core::check::schedule;
use healthd_core::config::{Diagnostics, Model, Pool};
use healthd_core::wire::control::{ControlError, ErrorCode, ReloadReport, Reply};
use healthd_core::wire::maps::{SlotRecord, state_header as h};
use healthd_core::wire::supervisor::{SlotSpec, ToSupervisor, WorkerClass};
use healthd_core::wire::worker::ToWorker;
use healthd_scoreboard::state_map::StateMap;
use healthd_sys::clock;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Lines for worker slots in `state.map`: two generations of the largest pools.
pub const MAX_SLOTS: usize = 256;
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

/// What the loader thread found.
pub struct LoadResult {
    /// None: the thread panicked, and has said so.
    pub loaded: Option<Result<Loaded, Diagnostics>>,
    pub client: Option<Asker>,
    pub begun_ns: u64,
}

impl Manager {
    /// Reads config and plugins in a thread of its own: a probe may take seconds.
    pub fn begin_reload(&mut self, client: Option<Asker>) {
        if self.phase != Phase::Running || self.loading || self.coming.is_some() {
            match client {
                Some(_) => self.answer_reload(client, Err(busy())),
                // A signal says "the files have changed": they are read again after this reload.
                None => self.reload_again = true,
            }
            return;
        }
        self.loading = true;
        self.supervisor.say(&ToSupervisor::Reloading);
        let (config, owners, inbox) = (
            self.args.config.clone(),
            self.owners.clone(),
            self.inbox.clone(),
        );
        let begun_ns = clock::monotonic_ns();
        let spawned = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                // Whatever becomes of it, the one who asked must hear of it, and the next may ask.
                let load = AssertUnwindSafe(|| healthd_catalog::load(&config, &owners));
                let loaded = std::panic::catch_unwind(load).ok();
                inbox.post(LoadResult {
                    loaded,
                    client,
                    begun_ns,
                });
            });
        if let Err(e) = spawned {
            self.reload_failed(client, format!("no thread to read the config: {e}"));
        }
    }

    pub fn loaded(&mut self, result: LoadResult) {
        if self.phase != Phase::Running {
            return self.answer_reload(result.client, Err(busy()));
        }
        match result.loaded {
            None => self.reload_failed(
                result.client,
                "the config could not be read to its end".into(),
            ),
            Some(Err(diagnostics)) => {
                log::error!(
                    "reload refused: {}; nothing has changed",
                    diagnostics.summary()
                );
                for line in diagnostics.render(false).lines() {
                    log::error!("{line}");
                }
                let error = ControlError {
                    code: ErrorCode::BadConfig,
                    message: format!("reload refused: {}", diagnostics.summary()),
                    help: "nothing has changed: mend the files and reload again".into(),
                    diagnostics: vec![diagnostics.render(false)],
                };
                self.end_reload(result.client, Err(error));
            }
            Some(Ok(loaded)) => self.prepare(loaded, result.client, result.begun_ns),
        }
    }

    fn prepare(&mut self, loaded: Loaded, client: Option<Asker>, begun_ns: u64) {
        let Loaded { model, scan } = loaded;
        for warning in &model.warnings.items {
            log::warn!("config: {}", warning.message);
        }
        tell_refused(&scan);
        let plugins = plugins_in_use(&model, &scan);
        let same =
            same_plugins(&plugins, &self.plugins) && same_pool(&model.pool, &self.model.pool);
        if same {
            // The bytes are the same, so the copies that the workers run are kept.
            match self.apply(model, scan, None) {
                Ok(mut report) => {
                    report.took_ms = (clock::monotonic_ns() - begun_ns) / MS;
                    self.keep();
                    self.end_reload(client, Ok(report));
                }
                Err(why) => self.reload_failed(client, why),
            }
        } else {
            self.bring_up(model, scan, plugins, client, begun_ns, None);
        }
    }

    /// The first generation: from nothing, or after a manager that died.
    pub fn first_start(&mut self, scan: Scan, past: Past) {
        let settings = empty_of(&self.model);
        let model = std::mem::replace(&mut self.model, settings);
        tell_refused(&scan);
        let plugins = plugins_in_use(&model, &scan);
        let now = clock::monotonic_ns();
        self.bring_up(model, scan, plugins, None, now, Some(past));
    }

    fn bring_up(
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
        for (place, class, threads) in wanted(&model.pool, &plugins) {
            let Some(free) = (0..MAX_SLOTS as u32).find(|n| !self.slots.contains_key(n)) else {
                log::error!(
                    "no free worker slot: the pool is smaller than configured  slots={MAX_SLOTS}"
                );
                break;
            };
            let mut slot = Slot::new(
                SlotSpec {
                    slot: free,
                    class,
                    generation,
                    threads,
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

    /// The supervisor keeps alive what is named here.
    fn tell_slots(&mut self) {
        let newest = self
            .coming
            .as_ref()
            .map_or(self.generation, |c| c.generation);
        let specs = self
            .slots
            .values()
            .filter(|s| s.spec.generation == self.generation || s.spec.generation == newest)
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
        let Some(generation) = self.slots.get(&slot).map(|s| s.spec.generation) else {
            return;
        };
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
    fn lose_plugin(&mut self, name: &str, reason: &str) {
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
    fn newly_left_out(&self, plugin: &PluginUse) -> Option<String> {
        let before = self
            .plugins
            .iter()
            .any(|p| p.name == plugin.name && p.hash == plugin.hash && p.left_out.is_some());
        plugin.left_out.clone().filter(|_| !before)
    }

    /// The new workers did not get ready: nothing changes.
    fn abandon_coming(&mut self, why: String) {
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

    fn switch(&mut self, coming: Coming) {
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

    fn drain_slot(&mut self, slot: u32, now: u64) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        s.state = SlotState::Draining;
        s.condemned = Some(Condemned {
            reason: "a new generation serves".into(),
            culprit: None,
            killed: false,
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
        self.map.slot(slot as usize, &SlotRecord::default());
    }

    /// Puts a model in force. Err: nothing was changed.
    fn apply(
        &mut self,
        mut model: Model,
        scan: Scan,
        first: Option<Past>,
    ) -> Result<ReloadReport, String> {
        // The first model has its map already, so that this cannot fail for want of room.
        if first.is_none() {
            let map = StateMap::create(
                &self.args.runtime_dir,
                MAX_SLOTS,
                model.checks.len(),
                self.map_mode,
            )
            .map_err(|e| e.to_string())?;
            self.map.supersede();
            self.map = map;
        }
        let now = clock::monotonic_ns();
        let mut report = ReloadReport::default();
        self.map.header(h::STARTED, self.args.started);
        self.map.header(h::GENERATION, self.generation);
        self.map.header(h::BEAT, now);
        let targets: HashMap<String, Result<Target, String>> = self
            .plugins
            .iter()
            .enumerate()
            .map(|(n, p)| {
                let target = Target {
                    class: p.class,
                    plugin: n as u16,
                };
                (p.name.clone(), p.left_out.clone().map_or(Ok(target), Err))
            })
            .collect();
        let gone: Vec<u32> = {
            let keep: HashSet<&str> = model.checks.iter().map(|c| c.name.as_str()).collect();
            let gone = self
                .by_name
                .iter()
                .filter(|(name, _)| !keep.contains(name.as_str()));
            gone.map(|(_, id)| *id).collect()
        };
        for id in gone {
            report.removed += 1;
            self.remove(id);
        }
        self.order.clear();
        // The specs live in the checks from here on, and nowhere else: there may be 100,000.
        for (index, mut spec) in std::mem::take(&mut model.checks).into_iter().enumerate() {
            let target = match targets.get(&spec.plugin) {
                _ if spec.unusable.is_some() => None,
                Some(Ok(target)) => Some(*target),
                Some(Err(reason)) => {
                    spec.unusable = Some(reason.clone());
                    None
                }
                // Only plugins of enabled checks are in use.
                None => None,
            };
            let id = match self.by_name.get(&spec.name).copied() {
                Some(id) => {
                    if self.change(id, spec, index as u64, target, now) {
                        report.changed += 1;
                    } else {
                        report.unchanged += 1;
                    }
                    id
                }
                None => {
                    report.added += 1;
                    let id = self.add(Check::new(spec, index as u64, target));
                    self.plan_first(id, now, first.as_ref());
                    id
                }
            };
            self.order.push(id);
        }
        self.model = model;
        self.scan = scan;
        self.dirty = true;
        for id in self.order.clone() {
            self.unusable(id);
            self.publish(id);
        }
        self.clients
            .set_group(self.model.daemon.control_group.as_deref());
        Ok(report)
    }

    fn plan_first(&mut self, id: u32, now: u64, past: Option<&Past>) {
        if let Some(past) = past {
            self.remember(id, past);
        }
        let Some(check) = self.check(id) else { return };
        let saved = past.and_then(|p| p.checks.get(&check.spec.name));
        let due = match saved {
            // A run that a dead manager had started, and nobody finished, runs again at once.
            Some(s) if s.in_flight != 0 => now,
            Some(s) if s.next_due > now && s.next_due < now + 2 * check.interval_ns() => s.next_due,
            _ => schedule::first_due(check.hash, now, check.interval_ns()),
        };
        self.plan(id, due);
    }

    /// True: it differs from what it was.
    fn change(
        &mut self,
        id: u32,
        spec: healthd_core::config::CheckSpec,
        index: u64,
        target: Option<Target>,
        now: u64,
    ) -> bool {
        let Some(check) = self.check_mut(id) else {
            return false;
        };
        let same =
            check.fingerprint == spec.fingerprint() && check.target.is_some() == target.is_some();
        check.index = index;
        if same {
            check.target = target;
            check.spec.source = spec.source;
            check.spec.unusable = spec.unusable;
            return false;
        }
        let other_plugin = check.spec.plugin != spec.plugin;
        let was_planned = check.is_planned();
        let interval_changed = check.spec.interval != spec.interval;
        check.fingerprint = spec.fingerprint();
        check.spec = spec;
        check.target = target;
        check.epoch += 1;
        check.hold = None;
        if other_plugin {
            check.tracker = Default::default();
            check.status = None;
            check.since = 0;
            check.last = Default::default();
        }
        let (hash, interval) = (check.hash, check.interval_ns());
        let planned = check.is_planned();
        let may_run = check.may_run();
        for slot in self.slots.values_mut() {
            if let Some(link) = &mut slot.link {
                link.forget(id);
            }
        }
        if !may_run {
            self.leave_queue(id);
        }
        if !planned {
            self.unplan(id);
        } else if !was_planned || interval_changed {
            self.plan(id, schedule::first_due(hash, now, interval));
        }
        true
    }

    fn remove(&mut self, id: u32) {
        self.unplan(id);
        let Some(check) = self.check_mut(id) else {
            return;
        };
        check.removed = true;
        check.waiting_since = None;
        check.again = None;
        let (name, plugin) = (check.spec.name.clone(), check.spec.plugin.clone());
        let verdict = check.verdict();
        let flight = check.in_flight.clone();
        self.by_name.remove(&name);
        self.clients.gone(id, &name, &plugin, verdict);
        match flight {
            // The rest of it goes when the run's end is told.
            Some(flight) => {
                if let Some(link) = self
                    .slots
                    .get_mut(&flight.slot)
                    .and_then(|s| s.link.as_mut())
                {
                    link.queue(&ToWorker::Cancel {
                        run_id: flight.run_id,
                        attempt: flight.attempt,
                    });
                }
            }
            None => self.forget(id),
        }
    }

    /// Nothing refers to it any more: its id is free.
    pub fn forget(&mut self, id: u32) {
        for slot in self.slots.values_mut() {
            if let Some(link) = &mut slot.link {
                link.forget(id);
            }
        }
        if let Some(place) = self.checks.get_mut(id as usize)
            && place.take().is_some()
        {
            self.free_ids.insert(id);
        }
    }

    fn ready(&mut self, took_ms: u64) {
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
            .filter(|s| s.state == SlotState::Ready)
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

    fn reload_failed(&mut self, client: Option<Asker>, why: String) {
        log::error!("reload failed: {why}; nothing has changed");
        let error = ControlError {
            code: ErrorCode::Internal,
            message: format!("reload failed: {why}"),
            help: "nothing has changed".into(),
            diagnostics: Vec::new(),
        };
        self.end_reload(client, Err(error));
    }

    fn end_reload(&mut self, client: Option<Asker>, result: Result<ReloadReport, ControlError>) {
        self.loading = false;
        if let Ok(r) = &result {
            log::info!(
                "reloaded  added={} changed={} removed={} unchanged={} generation={} took={}ms",
                r.added,
                r.changed,
                r.removed,
                r.unchanged,
                self.generation,
                r.took_ms
            );
        }
        let status = self.status_text();
        self.supervisor.say(&ToSupervisor::Reloaded { status });
        self.answer_reload(client, result);
        if std::mem::take(&mut self.reload_again) {
            self.begin_reload(None);
        }
    }

    fn answer_reload(&mut self, client: Option<Asker>, result: Result<ReloadReport, ControlError>) {
        let Some(client) = client.and_then(|c| self.clients.place_of(c)) else {
            return;
        };
        match result {
            Ok(mut report) => {
                report.warnings = self
                    .model
                    .warnings
                    .items
                    .iter()
                    .map(|w| w.message.clone())
                    .chain(
                        self.scan
                            .catalog
                            .refused
                            .iter()
                            .map(|r| format!("plugin refused: {}", r.reason)),
                    )
                    .collect();
                self.clients.reply(client, &Reply::Reloaded(report));
                self.clients.reply(client, &Reply::End);
            }
            Err(error) => self.clients.reply(client, &Reply::Error(error)),
        }
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
fn tell_refused(scan: &Scan) {
    for refused in &scan.catalog.refused {
        log::warn!("plugin refused  {}", refused.reason);
    }
}

fn busy() -> ControlError {
    ControlError {
        code: ErrorCode::Busy,
        message: "a reload is under way, or the daemon is starting or stopping".into(),
        help: "try again in a moment".into(),
        diagnostics: Vec::new(),
    }
}

/// The plugins of enabled checks, each once, in a fixed order.
fn plugins_in_use(model: &Model, scan: &Scan) -> Vec<PluginUse> {
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

fn same_plugins(new: &[PluginUse], old: &[PluginUse]) -> bool {
    let key = |p: &PluginUse| (p.name.clone(), p.file.clone(), p.index, p.hash);
    new.len() == old.len()
        && old.iter().all(|p| p.left_out.is_none())
        && new.iter().map(key).eq(old.iter().map(key))
}

fn same_pool(new: &Pool, old: &Pool) -> bool {
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
    }
}
