//! What changes plugins or checks, one thing at a time: reloads, files dropped into the plugin directory,
//! rollbacks. Files are read in a thread of its own, as a probe may take seconds.

use crate::control::Asker;
use crate::director::{Manager, Phase};
use crate::inbox::{Inbox, Message};
use crate::journal::Fact;
use crate::rollout::coming::Force;
use crate::rollout::generation::MAX_FILES_TOLD;
use crate::rollout::handover;
use crate::rollout::plugins::Rejected;
use crate::rollout::work::{Found, LoadResult, Work};
use healthd_catalog::{Loaded, PluginFile, Scan, Shelf, Standing};
use healthd_core::config::{AtStart, Catalog, CheckSpec, Diagnostics, PluginInfo};
use healthd_core::wire::control::{ControlError, ErrorCode, ReloadReport, Reply};
use healthd_core::wire::events::EventKind;
use healthd_core::wire::supervisor::ToSupervisor;
use healthd_sys::clock;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// All that the thread needs to know, as it must not look into the books.
struct Reader {
    config: PathBuf,
    owners: Vec<u32>,
    shelf: Arc<Mutex<Shelf>>,
    plugin_dir: PathBuf,
    serving: Vec<PluginFile>,
    rejected: BTreeMap<PathBuf, Rejected>,
    /// Of the plugins in use.
    infos: Vec<PluginInfo>,
    digest: u64,
    at_start: Option<AtStart>,
    /// Some check has a plugin that could not be used: perhaps it can be now.
    some_unusable: bool,
    /// The plugins of the checks that there are.
    used: BTreeSet<String>,
    only: Option<String>,
}

impl Manager {
    pub fn begin_reload(&mut self, client: Option<Asker>) {
        self.enqueue(Work::Reload(client));
    }

    /// Begins it now, or after what is under way. The same thing twice in the queue is once.
    pub fn enqueue(&mut self, work: Work) {
        if matches!(self.phase, Phase::Stopping | Phase::Done) {
            return self.answer_work(&work, Err(busy()));
        }
        if work.client().is_some() || !self.rollout.work.contains(&work) {
            self.rollout.work.push_back(work);
        }
        self.begin_work();
    }

    fn is_at_work(&self) -> bool {
        self.rollout.loading || self.rollout.coming.is_some()
    }

    pub(super) fn begin_work(&mut self) {
        if self.phase != Phase::Running || self.is_at_work() {
            return;
        }
        let Some(work) = self.rollout.work.pop_front() else {
            return;
        };
        let begun_ns = clock::monotonic_ns();
        if let Work::Rollback { .. } = work {
            return self.roll_back(work, begun_ns);
        }
        if let Work::Reload(_) = work {
            self.fleet.supervisor.say(&ToSupervisor::Reloading);
        }
        if let Work::Plugins { name, .. } = &work {
            self.rollout.versions.try_again(name.as_deref());
        }
        self.rollout.loading = true;
        let reader = self.reader(&work);
        let inbox = self.clockwork.inbox.clone();
        let job = work.clone();
        let spawned = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                // Whatever becomes of it, the one who asked must hear of it, and the next may ask.
                let read = AssertUnwindSafe(|| reader.read(&job));
                let found = std::panic::catch_unwind(read).ok();
                healthd_sys::process::trim_heap();
                post(
                    &inbox,
                    LoadResult {
                        work: job,
                        begun_ns,
                        found,
                    },
                );
            });
        if let Err(e) = spawned {
            self.work_failed(work, format!("no thread to read the files: {e}"));
        }
    }

    fn reader(&self, work: &Work) -> Reader {
        let in_use = |name: &str| self.rollout.plugins.iter().any(|p| p.name == name);
        Reader {
            config: self.args.config.clone(),
            owners: self.rollout.owners.clone(),
            shelf: self.rollout.shelf.clone(),
            plugin_dir: self.model.daemon.plugin_dir.clone(),
            serving: self.serving(),
            rejected: self.rollout.versions.rejected.clone(),
            infos: self
                .rollout
                .scan
                .catalog
                .plugins
                .iter()
                .filter(|i| in_use(&i.name))
                .cloned()
                .collect(),
            digest: self.model.digest,
            at_start: self.model.at_start.clone(),
            some_unusable: self
                .checks
                .iter()
                .any(|c| c.spec.enabled && c.spec.unusable.is_some()),
            used: self.plugins_used(),
            only: match work {
                Work::Plugins { name, .. } => name.clone(),
                _ => None,
            },
        }
    }

    fn plugins_used(&self) -> BTreeSet<String> {
        let checks = self.checks.iter().map(|c| &c.spec).filter(|s| s.enabled);
        let all = checks.chain(self.model.others());
        all.flat_map(CheckSpec::plugins)
            .map(str::to_owned)
            .collect()
    }

    /// The files whose plugins are in use, whole.
    pub(super) fn serving(&self) -> Vec<PluginFile> {
        self.rollout
            .scan
            .files
            .iter()
            .filter(|f| {
                self.rollout
                    .plugins
                    .iter()
                    .any(|p| p.hash == f.hash && f.has(&p.name))
            })
            .cloned()
            .collect()
    }

    pub fn loaded(&mut self, result: LoadResult) {
        let LoadResult {
            work,
            begun_ns,
            found,
        } = result;
        self.rollout.loading = false;
        if self.phase != Phase::Running {
            return self.answer_work(&work, Err(busy()));
        }
        // What was read leans on bytes that must go first.
        if matches!(self.rollout.work.front(), Some(Work::Rollback { .. })) {
            self.rollout.work.insert(1, work);
            return self.begin_work();
        }
        match found {
            None => self.work_failed(work, "the files could not be read to their end".into()),
            Some(Found::Config(Err(diagnostics))) => {
                let fields = format!("{}; nothing has changed", diagnostics.summary());
                let refused = Fact::new(EventKind::ReloadRefused).why(diagnostics.summary());
                self.books.journal.record(refused.fields(fields));
                for line in diagnostics.render(false).lines() {
                    log::error!("{line}");
                }
                let error = ControlError {
                    code: ErrorCode::BadConfig,
                    message: format!("reload refused: {}", diagnostics.summary()),
                    help: "nothing has changed: mend the files and reload again".into(),
                    diagnostics: vec![diagnostics.render(false)],
                };
                self.end_work(work, Err(error));
            }
            Some(Found::Config(Ok((force, scan)))) => self.prepare(force, scan, work, begun_ns),
            Some(Found::Plugins(scan)) => self.prepare(Force::Plugins, scan, work, begun_ns),
            Some(Found::Unfit(why)) => self.work_failed(work, why),
        }
    }

    pub(super) fn work_failed(&mut self, work: Work, why: String) {
        let (fact, what) = match &work {
            Work::Reload(_) => (Fact::new(EventKind::ReloadRefused), "reload failed"),
            Work::Secrets => (
                Fact::new(EventKind::ReloadRefused),
                "a secret that has changed is not taken",
            ),
            Work::Dropped | Work::Plugins { .. } => {
                (Fact::plugin("", "refused"), "plugins not changed")
            }
            Work::Rollback { .. } => (Fact::plugin("", "refused"), "rollback failed"),
        };
        let fact = fact.titled(what).level(log::Level::Error).why(&why);
        self.books
            .journal
            .record(fact.fields(format!("why=\"{why}\"; nothing has changed")));
        let error = ControlError {
            code: ErrorCode::Failed,
            message: format!("{what}: {why}"),
            help: "nothing has changed".into(),
            diagnostics: Vec::new(),
        };
        self.end_work(work, Err(error));
    }

    pub(super) fn end_work(&mut self, work: Work, result: Result<ReloadReport, ControlError>) {
        self.rollout.loading = false;
        if let Ok(r) = &result
            && (matches!(work, Work::Reload(_) | Work::Secrets) || !r.plugins.is_empty())
        {
            self.tell_end(&work, r);
        }
        let status = self.status_text();
        self.fleet.supervisor.say(&match work {
            Work::Reload(_) => ToSupervisor::Reloaded { status },
            _ => ToSupervisor::Status { status },
        });
        self.answer_work(&work, result);
        self.begin_work();
    }

    fn tell_end(&mut self, work: &Work, r: &ReloadReport) {
        let fields = format!(
            "added={} changed={} removed={} untouched={} settings=\"{}\" plugins=\"{}\" generation={} took={}ms",
            r.added,
            r.changed,
            r.removed,
            r.unchanged,
            r.settings.join(", "),
            r.plugins.join(", "),
            self.rollout.generation,
            r.took_ms
        );
        if !r.waiting.is_empty() {
            log::warn!("waits for a restart of healthd: {}", r.waiting.join(", "));
        }
        let to = match work {
            Work::Rollback { .. } => "rolled back",
            _ => "loaded",
        };
        if matches!(work, Work::Reload(_) | Work::Secrets) {
            let counts = format!(
                "{} added, {} changed, {} removed",
                r.added, r.changed, r.removed
            );
            let told: Vec<&str> = std::iter::once(&counts)
                .chain(&r.settings)
                .map(String::as_str)
                .collect();
            let told = told.join("; ");
            self.services.states.keep(|| self.checks.owners());
            let fact = Fact::new(EventKind::Reloaded).why(told).fields(fields);
            let fact = match work {
                Work::Secrets => fact.titled("secrets read anew"),
                _ => fact,
            };
            self.books.journal.record(fact);
        } else {
            log::info!("plugins changed  {fields}");
        }
        for change in &r.plugins {
            let name = change.split(' ').next().unwrap_or_default();
            let fact = Fact::plugin(name, to)
                .titled("plugin changed")
                .why(change)
                .level(log::Level::Debug);
            self.books.journal.record(fact);
        }
    }

    fn answer_work(&mut self, work: &Work, result: Result<ReloadReport, ControlError>) {
        let Some(client) = work.client().and_then(|c| self.clients.place_of(c)) else {
            return;
        };
        match result {
            Ok(mut report) => {
                report.warnings = self.warnings(work);
                self.clients.reply(client, &Reply::Reloaded(report));
                self.clients.reply(client, &Reply::End);
            }
            Err(error) => self.clients.reply(client, &Reply::Error(error)),
        }
    }

    fn warnings(&self, work: &Work) -> Vec<String> {
        let config = self.model.warnings.items.iter().map(|w| w.message.clone());
        let refused = self.rollout.scan.catalog.refused.iter();
        let refused = refused.map(|r| format!("plugin refused: {}", r.reason));
        let kept_back = self
            .rollout
            .scan
            .files
            .iter()
            .filter_map(|f| match &f.standing {
                Standing::RolledBack(why) => Some(format!("{}: {why}", f.path.display())),
                _ => None,
            });
        match work {
            Work::Reload(_) => config.chain(refused).chain(kept_back).collect(),
            _ => refused.chain(kept_back).take(MAX_FILES_TOLD).collect(),
        }
    }
}

impl Reader {
    /// With the copies of those files whose plugins are used, and of no others.
    fn read(&self, work: &Work) -> Found {
        let mut shelf = self.shelf.lock().unwrap_or_else(|e| e.into_inner());
        let found = self.look(work, &mut shelf);
        let mut hold_only = |scan: Scan, used: &BTreeSet<String>| {
            let scan = scan.hold_only(used);
            shelf.hold_only(&scan);
            scan
        };
        match found {
            Found::Config(Ok((force, scan))) => {
                let used = match &force {
                    Force::Model { model, .. } => healthd_catalog::used(model),
                    Force::Plugins => self.used.clone(),
                };
                let scan = hold_only(scan, &used);
                Found::Config(Ok((force, scan)))
            }
            Found::Plugins(scan) => Found::Plugins(hold_only(scan, &self.used)),
            other => other,
        }
    }

    fn look(&self, work: &Work, shelf: &mut Shelf) -> Found {
        if let Work::Reload(_) = work {
            let over = |dir: &Path, scan| self.over(dir, scan);
            let loaded = healthd_catalog::judge_over(&self.config, &self.owners, shelf, over);
            return Found::Config(loaded.map(|loaded| self.packed(loaded)));
        }
        let scan = shelf.scan(&self.plugin_dir, &self.owners);
        let scan = self.over(&self.plugin_dir, scan);
        if let Work::Secrets = work {
            return self.with_new_secrets(scan);
        }
        let new_options = self.plugin_with_other_options(&scan.catalog);
        if !self.some_unusable && new_options.is_none() {
            return Found::Plugins(scan);
        }
        // The config as it was when it was put in force, and not as somebody is editing it.
        match (healthd_catalog::untried(&self.config, &scan), new_options) {
            (Ok(model), _) if model.digest == self.digest => {
                Found::Config(Ok(self.packed(Loaded { model, scan })))
            }
            (Ok(_), Some(name)) => Found::Unfit(format!(
                "the new `{name}` takes other options, and the config was edited since it was loaded: \
                 `healthctl reload` takes both"
            )),
            (Err(diagnostics), Some(name)) => Found::Unfit(format!(
                "the new `{name}` takes other options, and the config does not fit: {}",
                diagnostics.render(false).trim_end()
            )),
            (_, None) => Found::Plugins(scan),
        }
    }

    /// The config as it was when it was put in force, and not as somebody is editing it.
    fn with_new_secrets(&self, scan: Scan) -> Found {
        match healthd_catalog::untried(&self.config, &scan) {
            Ok(model) if model.digest == self.digest => {
                Found::Config(Ok(self.packed(Loaded { model, scan })))
            }
            Ok(_) => Found::Unfit(
                "the config was edited since it was loaded: `healthctl reload` takes both".into(),
            ),
            Err(diagnostics) => Found::Unfit(diagnostics.render(false).trim_end().to_owned()),
        }
    }

    /// What serves stays where the directory has nothing better; another directory stands for itself.
    fn over(&self, dir: &Path, scan: Scan) -> Scan {
        if dir != self.plugin_dir {
            return scan;
        }
        let serves = |file: &PluginFile| self.serving.iter().any(|s| s.hash == file.hash);
        scan.over(&self.serving, |file| {
            let rejected = self.rejected.get(&file.path);
            match rejected.filter(|r| r.hash == file.hash && !serves(file)) {
                Some(rejected) => Some(rejected.standing.clone()),
                None => {
                    let asked_for = self.only.as_ref().is_none_or(|name| file.has(name));
                    (!asked_for && !serves(file)).then_some(Standing::Waits)
                }
            }
        })
    }

    fn plugin_with_other_options(&self, catalog: &Catalog) -> Option<String> {
        let differs = |old: &&PluginInfo| {
            catalog.plugin(&old.name).is_some_and(|new| {
                new.schema != old.schema || new.default_timeout != old.default_timeout
            })
        };
        self.infos.iter().find(differs).map(|i| i.name.clone())
    }

    fn packed(&self, loaded: Loaded) -> (Force, Scan) {
        let Loaded { mut model, scan } = loaded;
        model.at_start = self.at_start.clone();
        let kept = handover::pack(&model);
        let force = Force::Model {
            model: Box::new(model),
            kept,
        };
        (force, scan)
    }
}

/// Plugins are asked about the options of their checks while these run already; what they would refuse is told. `said`: of
/// the same config. A start that waits for the processors must not wait for this.
pub(super) fn ask_plugins(config: PathBuf, scan: Scan, said: Diagnostics) {
    let asked = std::thread::Builder::new()
        .name("tryout".into())
        .spawn(move || {
            let complaints = healthd_catalog::complaints(&config, &scan, &said);
            for line in complaints.render(false).lines() {
                log::warn!("{line}");
            }
            // Config and plugins were read in several threads, and each would keep what it had.
            healthd_sys::process::trim_heap();
        });
    if let Err(e) = asked {
        log::warn!("plugins were not asked about their options: no thread: {e}");
    }
}

fn post(inbox: &Inbox, result: LoadResult) {
    inbox.post(Message::Loaded(Box::new(result)));
}

fn busy() -> ControlError {
    ControlError {
        code: ErrorCode::Busy,
        message: "the daemon is stopping".into(),
        help: "try again when it is up".into(),
        diagnostics: Vec::new(),
    }
}
