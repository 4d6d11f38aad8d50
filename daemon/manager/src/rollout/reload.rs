//! Reload: what takes force, and what of the old stays as it is.
//!
//! It is a diff: a check that has not changed keeps its next due time, its run in flight and its attempts.
//! Where plugins or pools have changed it takes force with a new generation of workers.

use crate::books::recall::Past;
use crate::check::{Check, Target};
use crate::director::Manager;
use crate::fleet::crash_record::CrashRecord;
use crate::journal::Fact;
use crate::rollout::coming::Force;
use crate::rollout::generation::MAX_SLOTS;
use crate::rollout::work::Work;
use crate::rollout::worker_plan::{same_plugins, same_pool};
use crate::time::MS;
use healthd_catalog::Scan;
use healthd_core::check::schedule;
use healthd_core::config::{Model, changes};
use healthd_core::wire::control::ReloadReport;
use healthd_core::wire::events::EventKind;
use healthd_core::wire::maps::state_header as h;
use healthd_core::wire::worker::ToWorker;
use healthd_scoreboard::state_map::StateMap;
use healthd_sys::clock;
use std::collections::{HashMap, HashSet};

impl Manager {
    /// Takes what was read: at once where workers may stay as they are, else with a new generation.
    pub fn prepare(&mut self, force: Force, scan: Scan, work: Work, begun_ns: u64) {
        if let Force::Model { model, .. } = &force
            && matches!(work, Work::Reload(_))
        {
            for warning in &model.warnings.items {
                log::warn!("config: {}", warning.message);
            }
        }
        self.rollout
            .tell_plugin_news(&scan, &mut self.books.journal);
        if let Work::Plugins {
            name: Some(name), ..
        } = &work
            && let Some(error) = self.in_the_way(&scan, name)
        {
            self.take_scan(scan);
            return self.end_work(work, Err(error));
        }
        let now = (&self.model, &self.checks);
        let plugins = self
            .rollout
            .plugins_in_use(&force, &scan, now, work.tries_again());
        let (model, old) = (force.model(&self.model), &self.model);
        // Of what has become a secret, the workers that there are have inherited the text.
        let mut secrets = model.secret_variables.iter();
        let same = same_plugins(&plugins, &self.rollout.plugins, work.tries_again())
            && same_pool(&model.pool, &old.pool)
            && secrets.all(|name| old.secret_variables.contains(name));
        if !same {
            return self.bring_up(force, scan, plugins, Some(work), begun_ns, None);
        }
        // The bytes are the same, so the copies that the workers run are kept.
        match force {
            Force::Model { model, kept } => match self.apply(*model, scan, None) {
                Ok(mut report) => {
                    self.model_kept(kept);
                    self.settled();
                    report.took_ms = (clock::monotonic_ns() - begun_ns) / MS;
                    self.end_work(work, Ok(report));
                }
                Err(why) => self.work_failed(work, why),
            },
            Force::Plugins => {
                self.take_scan(scan);
                let report = ReloadReport {
                    unchanged: self.checks.order().len() as u64,
                    took_ms: (clock::monotonic_ns() - begun_ns) / MS,
                    ..ReloadReport::default()
                };
                self.end_work(work, Ok(report));
            }
        }
    }

    /// Files that nobody uses, or that stand otherwise than before: no worker has to know.
    fn take_scan(&mut self, scan: Scan) {
        self.rollout.scan = scan;
        self.keep();
    }

    /// Something else is in force: the manager after us has to know it, and what was watched may be another.
    pub(super) fn settled(&mut self) {
        self.watch_plugins();
        let files = &self.model.secret_files;
        self.rollout.watch_secrets(files, &self.clockwork.inbox);
        self.settle_all(clock::monotonic_ns());
        self.keep();
        // Reading a config leaves a heap several times as large as what is kept of it.
        self.books.saving.trim();
    }

    /// Puts a model in force. Err: nothing was changed.
    pub(super) fn apply(
        &mut self,
        mut model: Model,
        scan: Scan,
        first: Option<Past>,
    ) -> Result<ReloadReport, String> {
        // The first model has its map already, so that this cannot fail for want of room.
        if first.is_none() {
            let map = self.next_map(&model).map_err(|e| e.to_string())?;
            self.books.map.supersede();
            self.books.map = map;
            self.books.journal.fit(model.checks.len());
            self.books.renew_samples(&self.args.runtime_dir, &model);
        }
        let now = clock::monotonic_ns();
        let mut report = ReloadReport::default();
        self.books.map.header(h::STARTED, self.args.started);
        self.books
            .map
            .header(h::GENERATION, self.rollout.generation);
        self.books.map.header(h::BEAT, now);
        let targets = self.targets();
        let gone: Vec<u32> = {
            let keep: HashSet<&str> = model.checks.iter().map(|c| c.name.as_str()).collect();
            let gone = self.checks.named().filter(|(name, _)| !keep.contains(name));
            gone.map(|(_, id)| id).collect()
        };
        for id in gone {
            report.removed += 1;
            self.remove(id);
        }
        let mut order = Vec::with_capacity(model.checks.len());
        self.books.saving.begin_anew();
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
            let id = match self.checks.find(&spec.name) {
                Some(id) => {
                    if self.change(id, spec, index as u64, target, now) {
                        report.changed += 1;
                        self.tell_changed(id);
                    } else {
                        report.unchanged += 1;
                    }
                    id
                }
                None => {
                    report.added += 1;
                    // At the start all are new.
                    if first.is_none() {
                        let added = Fact::new(EventKind::Added).check(&spec.name);
                        self.books.journal.record(added);
                    }
                    let id = self.checks.add(Check::new(spec, index as u64, target));
                    self.plan_first(id, now, first.as_ref());
                    id
                }
            };
            order.push(id);
        }
        self.checks.set_order(order);
        report.settings = changes(&self.model, &model);
        let at_start = model.at_start.as_ref();
        report.waiting = at_start.map_or_else(Vec::new, |s| s.waits(&model.daemon));
        self.model = model;
        self.rollout.scan = scan;
        for id in self.checks.order().to_vec() {
            self.unusable(id);
            self.publish(id);
        }
        self.review_crashes();
        self.alerts.reconfigured();
        self.clients.reloaded();
        self.clients
            .set_group(self.model.daemon.control_group.as_deref());
        Ok(report)
    }

    fn tell_changed(&mut self, id: u32) {
        if let Some(check) = self.checks.get(id) {
            let changed = Fact::new(EventKind::Changed).check(&check.spec.name);
            self.books.journal.record(changed);
        }
    }

    /// Where the checks of each plugin in use run, or why they cannot.
    fn targets(&self) -> HashMap<String, Result<Target, String>> {
        self.rollout
            .plugins
            .iter()
            .enumerate()
            .map(|(n, p)| {
                let target = Target {
                    pool: p.pool,
                    plugin: n as u16,
                };
                (p.name.clone(), p.left_out.clone().map_or(Ok(target), Err))
            })
            .collect()
    }

    /// Other plugins, the same checks: none of them notices. `lost`: those that could not be used before, and why.
    pub(super) fn retarget(&mut self, lost: &HashMap<String, String>) {
        let targets = self.targets();
        let now = clock::monotonic_ns();
        self.books
            .map
            .header(h::GENERATION, self.rollout.generation);
        for id in self.checks.order().to_vec() {
            let Some(check) = self.checks.get_mut(id) else {
                continue;
            };
            if !check.spec.enabled {
                continue;
            }
            let was_planned = check.is_planned();
            if lost.get(&check.spec.plugin) == check.spec.unusable.as_ref() {
                check.spec.unusable = None;
            }
            check.target = match targets.get(&check.spec.plugin) {
                _ if check.spec.unusable.is_some() => None,
                Some(Ok(target)) => Some(*target),
                Some(Err(reason)) => {
                    check.spec.unusable = Some(reason.clone());
                    None
                }
                None => {
                    let plugin = &check.spec.plugin;
                    check.spec.unusable =
                        Some(format!("no file that may be used has plugin `{plugin}`"));
                    None
                }
            };
            if check.target.is_none() {
                self.leave_queue(id);
                self.unusable(id);
            } else if !was_planned && check.is_planned() {
                self.plan_anew(id, now);
                self.publish(id);
            }
        }
    }

    /// A map for this model that already holds what is known: whenever we die, the file that has the name is whole.
    fn next_map(&self, model: &Model) -> std::io::Result<StateMap> {
        let mut map = StateMap::prepare(
            &self.args.runtime_dir,
            MAX_SLOTS,
            model.names(),
            self.books.map_mode(),
        )?;
        map.header(h::STARTED, self.args.started);
        map.header(h::GENERATION, self.rollout.generation);
        map.header(h::BEAT, clock::monotonic_ns());
        map.header(h::NEXT_RUN, self.books.next_run);
        map.header(h::FINISHED, self.books.finished);
        for (index, spec) in model.checks.iter().enumerate() {
            if let Some(check) = self
                .checks
                .find(&spec.name)
                .and_then(|id| self.checks.get(id))
            {
                map.check(index, &check.record());
            }
        }
        for slot in self.fleet.slots.values() {
            map.slot(slot.spec.slot as usize, &slot.record());
        }
        map.reveal()?;
        Ok(map)
    }

    fn plan_first(&mut self, id: u32, now: u64, past: Option<&Past>) {
        if let Some(past) = past {
            self.remember(id, past);
        }
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let saved = past.and_then(|p| p.checks.get(&check.spec.name));
        let ahead = saved.map(|s| s.ahead);
        let due = match ahead {
            // What a dead manager had started and nobody finished, or had due and not started, runs at once.
            Some(a) if a.in_flight != 0 || a.is_due => now,
            Some(a) if a.next_due > now && a.next_due < now + 2 * check.interval_ns() => a.next_due,
            _ => return self.plan_anew(id, now),
        };
        self.plan(id, due);
    }

    /// As after a start: soon, and not at the same time as all others.
    pub fn plan_anew(&mut self, id: u32, now: u64) {
        let spread = crate::check::ns(self.model.daemon.start_spread);
        if let Some(check) = self.checks.get(id) {
            let (last, interval) = (check.last.started_ns, check.interval_ns());
            let due = schedule::due_anew(check.identity.hash, now, last, interval, spread);
            self.plan(id, due);
        }
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
        let Some(check) = self.checks.get_mut(id) else {
            return false;
        };
        // What of its config is a secret is the worker's affair too.
        let same = check.identity.fingerprint == spec.fingerprint()
            && check.spec.shown_config == spec.shown_config
            && check.target.is_some() == target.is_some();
        check.identity.index = index;
        if same {
            let differs = check.spec.alerts != spec.alerts || check.spec.slo != spec.slo;
            check.target = target;
            check.spec = spec;
            return differs;
        }
        let other_plugin = check.spec.plugin != spec.plugin;
        let was_planned = check.is_planned();
        let interval_changed = check.spec.interval != spec.interval;
        check.identity.fingerprint = spec.fingerprint();
        check.spec = spec;
        check.target = target;
        check.identity.epoch += 1;
        check.standing.hold = None;
        check.standing.crashes = CrashRecord::default();
        if other_plugin {
            check.state = Default::default();
            check.last = Default::default();
        }
        let planned = check.is_planned();
        let may_run = check.may_run();
        for slot in self.fleet.slots.values_mut() {
            if let Some(link) = &mut slot.process.link {
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
            self.plan_anew(id, now);
        }
        true
    }

    pub fn remove(&mut self, id: u32) {
        self.unplan(id);
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        check.removed = true;
        check.stage.stop_waiting();
        let name = check.spec.name.clone();
        let flight = check.stage.flight().cloned();
        self.checks.unname(&name);
        let removed = Fact::new(EventKind::Removed).check(&name);
        self.books.journal.record(removed);
        self.clients.gone(id, &name);
        match flight {
            // The rest of it goes when the run's end is told.
            Some(flight) => {
                if let Some(link) = self
                    .fleet
                    .slots
                    .get_mut(&flight.slot)
                    .and_then(|s| s.process.link.as_mut())
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
        self.release_solo(id);
        for slot in self.fleet.slots.values_mut() {
            if let Some(link) = &mut slot.process.link {
                link.forget(id);
            }
        }
        self.checks.forget(id);
    }
}
