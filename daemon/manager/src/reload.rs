//! Reload: what takes force, and what of the old stays as it is.
//!
//! It is a diff: a check that has not changed keeps its next due time, its run in flight and its attempts.
//! Where plugins or pools have changed it takes force with a new generation of workers.

use crate::book::{MS, Manager, Phase};
use crate::check::{Check, Target};
use crate::control::Asker;
use crate::generation::{MAX_SLOTS, plugins_in_use, same_plugins, same_pool, tell_refused};
use crate::rap::Rap;
use crate::state::Past;
use healthd_catalog::{Loaded, Scan};
use healthd_core::check::schedule;
use healthd_core::config::{Diagnostics, Model};
use healthd_core::wire::control::{ControlError, ErrorCode, ReloadReport, Reply};
use healthd_core::wire::maps::state_header as h;
use healthd_core::wire::supervisor::ToSupervisor;
use healthd_core::wire::worker::ToWorker;
use healthd_scoreboard::state_map::StateMap;
use healthd_sys::clock;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;

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

    pub fn prepare(&mut self, loaded: Loaded, client: Option<Asker>, begun_ns: u64) {
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

    /// Puts a model in force. Err: nothing was changed.
    pub fn apply(
        &mut self,
        mut model: Model,
        scan: Scan,
        first: Option<Past>,
    ) -> Result<ReloadReport, String> {
        // The first model has its map already, so that this cannot fail for want of room.
        if first.is_none() {
            let map = self.next_map(&model).map_err(|e| e.to_string())?;
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
        self.review_raps();
        self.clients
            .set_group(self.model.daemon.control_group.as_deref());
        Ok(report)
    }

    /// A map for this model that already holds what is known: whenever we die, the file that has the name is whole.
    fn next_map(&self, model: &Model) -> std::io::Result<StateMap> {
        let mut map = StateMap::prepare(
            &self.args.runtime_dir,
            MAX_SLOTS,
            model.checks.len(),
            self.map_mode,
        )?;
        map.header(h::STARTED, self.args.started);
        map.header(h::GENERATION, self.generation);
        map.header(h::BEAT, clock::monotonic_ns());
        map.header(h::NEXT_RUN, self.next_run);
        map.header(h::FINISHED, self.finished);
        for (index, spec) in model.checks.iter().enumerate() {
            if let Some(check) = self.by_name.get(&spec.name).and_then(|id| self.check(*id)) {
                map.check(index, &check.record());
            }
        }
        for slot in self.slots.values() {
            map.slot(slot.spec.slot as usize, &slot.record());
        }
        map.reveal()?;
        Ok(map)
    }

    pub fn plan_first(&mut self, id: u32, now: u64, past: Option<&Past>) {
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
    pub fn change(
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
        check.rap = Rap::default();
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
        if may_run {
            self.line_up_anew(id);
        } else {
            self.leave_queue(id);
        }
        if !planned {
            self.unplan(id);
        } else if !was_planned || interval_changed {
            self.plan(id, schedule::first_due(hash, now, interval));
        }
        true
    }

    pub fn remove(&mut self, id: u32) {
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
        self.leave_groups(id);
        self.release_prisoner(id);
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

    pub fn reload_failed(&mut self, client: Option<Asker>, why: String) {
        log::error!("reload failed: {why}; nothing has changed");
        let error = ControlError {
            code: ErrorCode::Internal,
            message: format!("reload failed: {why}"),
            help: "nothing has changed".into(),
            diagnostics: Vec::new(),
        };
        self.end_reload(client, Err(error));
    }

    pub fn end_reload(
        &mut self,
        client: Option<Asker>,
        result: Result<ReloadReport, ControlError>,
    ) {
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

    pub fn answer_reload(
        &mut self,
        client: Option<Asker>,
        result: Result<ReloadReport, ControlError>,
    ) {
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

fn busy() -> ControlError {
    ControlError {
        code: ErrorCode::Busy,
        message: "a reload is under way, or the daemon is starting or stopping".into(),
        help: "try again in a moment".into(),
        diagnostics: Vec::new(),
    }
}
