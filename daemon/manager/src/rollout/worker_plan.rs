//! Which plugins and which workers a config asks for, and what of that is news.

use crate::check::worker_class;
use crate::checks::Checks;
use crate::fleet::pool_key::{PoolKey, SHARED};
use crate::journal::{Fact, Journal};
use crate::rollout::Rollout;
use crate::rollout::coming::Force;
use crate::rollout::fit::{Fit, paths_of};
use crate::rollout::plugin_use::PluginUse;
use healthd_catalog::{PluginFile, Scan, Standing};
use healthd_core::config::on_change::RUN_BY;
use healthd_core::config::{CheckSpec, Limits, Model, Pool};
use healthd_core::wire::sandbox::OpenPath;
use healthd_core::wire::supervisor::WorkerClass;
use healthd_sys::clock;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

const NO_SANDBOX: &str = "it does not say that it can do with a sandbox (HD_F_SANDBOX), and `require_sandbox` is set: \
                          build it with plugin ABI 1.2, or take `require_sandbox` out of [daemon]";

/// Why plugins could not be used, by name.
pub fn lost(plugins: &[PluginUse]) -> HashMap<String, String> {
    let lost = plugins.iter();
    lost.filter_map(|p| Some((p.name.clone(), p.left_out.clone()?)))
        .collect()
}

impl Rollout {
    /// The plugins that serve now and have other bytes in this list.
    pub(super) fn changed_plugins(&self, new: &[PluginUse]) -> Vec<String> {
        let replaced = |p: &&PluginUse| {
            let mut old = self.plugins.iter();
            old.any(|o| o.name == p.name && o.hash != p.hash)
        };
        new.iter()
            .filter(replaced)
            .map(|p| p.name.clone())
            .collect()
    }

    /// A file that cannot be used is said even while no check uses it: whoever dropped it in looks here.
    /// Each piece of news once.
    pub(super) fn tell_plugin_news(&self, scan: &Scan, journal: &mut Journal) {
        for refused in &scan.catalog.refused {
            if !self.scan.catalog.refused.contains(refused) {
                let fact = Fact::plugin(refused.name.as_deref().unwrap_or_default(), "refused");
                let fact = fact.titled("plugin refused").level(log::Level::Warn);
                let reason = refused.reason.clone();
                journal.record(fact.why(&reason).fields(reason));
            }
        }
        for file in &scan.files {
            let told = self
                .scan
                .files
                .iter()
                .any(|f| f.path == file.path && f.standing == file.standing);
            if file.standing == Standing::Deleted && !told {
                let fact = Fact::plugin(
                    file.infos.first().map_or("", |i| i.name.as_str()),
                    "deleted",
                )
                .titled("plugin file deleted: its copy stays in use until a restart")
                .level(log::Level::Warn)
                .why("its copy stays in use until a restart")
                .fields(format!("file={}", file.path.display()));
                journal.record(fact);
            }
        }
    }

    /// The plugins of enabled checks, each once, in a fixed order. `try_again`: also what could not be used
    /// before, with the same bytes.
    pub(super) fn plugins_in_use(
        &self,
        force: &Force,
        scan: &Scan,
        now: (&Model, &Checks),
        try_again: bool,
    ) -> Vec<PluginUse> {
        let lost = lost(&self.plugins);
        let model = force.model(now.0);
        let (pool, specs) = (&model.pool, force.specs(now.1));
        // What is in force is unusable for want of the plugin; what was read anew has other reasons.
        let may_use = |s: &CheckSpec| match (&s.unusable, force) {
            (None, _) => true,
            (Some(why), Force::Plugins) => Some(why) == lost.get(&s.plugin),
            (Some(_), Force::Model { .. }) => false,
        };
        let in_use = specs.iter().filter(|s| s.enabled && may_use(s));
        let mut names: Vec<&str> = in_use.map(|s| s.plugin.as_str()).collect();
        let usable = model.others().filter(|n| n.unusable.is_none());
        names.extend(usable.map(|n| n.plugin.as_str()));
        let acts = |spec: &&CheckSpec| spec.enabled && !spec.alerts.actions.is_empty();
        names.extend(specs.iter().any(acts).then_some(RUN_BY));
        names.sort_unstable();
        names.dedup();
        let since = clock::realtime_ns();
        let mut groups = Groups::new(pool);
        let mut paths = paths(model, &specs, scan);
        names
            .into_iter()
            .filter_map(|name| {
                let (file, entry) = scan.find(name)?;
                let old = self
                    .plugins
                    .iter()
                    .find(|p| p.name == name && p.hash == file.hash);
                let key = PoolKey {
                    class: worker_class(entry.class),
                    group: groups.of(name, file),
                };
                let named = paths.remove(name).unwrap_or_default();
                let wanted = settings(pool, key.class).limits.sandbox;
                let fit = Fit::of(wanted, key.class, (file, entry), named);
                let refused = match (model.daemon.require_sandbox, &fit, &file.copy) {
                    (true, Fit::Legacy, _) => {
                        Some(format!("{}: {NO_SANDBOX}", file.path.display()))
                    }
                    (_, _, None) => Some("nobody has made a copy of it: reload once more".into()),
                    _ => None,
                };
                Some(PluginUse {
                    name: name.to_owned(),
                    file: file.path.clone(),
                    index: entry.index,
                    pool: key,
                    copy: file.copy.clone(),
                    hash: file.hash,
                    left_out: refused.or_else(|| {
                        let old = old.filter(|_| !try_again);
                        old.and_then(|o| o.left_out.clone())
                    }),
                    since: old.map_or(since, |o| o.since),
                    tally: old.map(|o| o.tally).unwrap_or_default(),
                    fit,
                })
            })
            .collect()
    }
}

/// Those that the checks of each plugin name.
fn paths(model: &Model, specs: &[&CheckSpec], scan: &Scan) -> HashMap<String, BTreeSet<OpenPath>> {
    let mut all: HashMap<String, BTreeSet<OpenPath>> = HashMap::new();
    for spec in specs.iter().copied().chain(model.others()) {
        if spec.enabled && spec.config.contains("\"/") {
            let schema = scan.catalog.plugin(&spec.plugin).map(|p| &*p.schema);
            let found = all.entry(spec.plugin.clone()).or_default();
            paths_of(spec, schema, found);
        }
    }
    all
}

/// `try_again`: one that could not be used is to be loaded once more.
pub fn same_plugins(new: &[PluginUse], old: &[PluginUse], try_again: bool) -> bool {
    let key = |p: &PluginUse| (p.name.clone(), p.index, p.hash);
    let ruled_out = |p: &PluginUse| {
        let why = p.left_out.as_ref();
        why.is_some_and(|why| why.ends_with(NO_SANDBOX))
    };
    new.len() == old.len()
        && new.iter().zip(old).all(|(n, o)| o.fit.covers(&n.fit))
        && new
            .iter()
            .zip(old)
            .all(|(n, o)| ruled_out(o) || !ruled_out(n))
        && (!try_again || old.iter().all(|p| p.left_out.is_none()))
        && new.iter().map(key).eq(old.iter().map(key))
}

pub fn same_pool(new: &Pool, old: &Pool) -> bool {
    let sizes = |p: &Pool| {
        (
            p.io.workers,
            p.io.threads,
            p.cpu.workers,
            p.exec.max_parallel,
            p.isolate,
            WorkerClass::ALL.map(|class| settings(p, class).limits.sandbox),
        )
    };
    sizes(new) == sizes(old) && new.groups == old.groups
}

/// Groups of plugins with workers of their own that a generation can have; what comes after them shares the last one.
pub const OWN_MOST: usize = 32;
/// One waits for everything that it waits for at once; computing takes a process each.
const OWN_CPU: u16 = 4;
/// Of one generation.
pub const OWN_WORKERS: usize = OWN_MOST * (2 + OWN_CPU as usize);

/// Who shares workers with whom: the plugins that came with healthd with each other, and each other file's with nobody.
struct Groups<'a> {
    pool: &'a Pool,
    /// What the numbers from 1 on stand for.
    known: Vec<Together<'a>>,
}

#[derive(PartialEq)]
enum Together<'a> {
    ByHand(&'a str),
    File(PathBuf),
}

/// The name by which a hand puts a plugin beside those that came with healthd.
const SHARED_NAME: &str = "shared";

impl<'a> Groups<'a> {
    fn new(pool: &'a Pool) -> Groups<'a> {
        let known = Vec::new();
        Groups { pool, known }
    }

    fn of(&mut self, plugin: &str, file: &PluginFile) -> u8 {
        let mut by_hand = self.pool.groups.iter();
        let by_hand = by_hand.find(|g| g.plugins.iter().any(|p| p == plugin));
        let together = match by_hand {
            Some(group) if group.name == SHARED_NAME => return SHARED,
            Some(group) => Together::ByHand(&group.name),
            None if file.shipped || !self.pool.isolate => return SHARED,
            None => Together::File(file.path.clone()),
        };
        let at = self.known.iter().position(|k| *k == together);
        let at = at.unwrap_or_else(|| {
            self.known.push(together);
            self.known.len() - 1
        });
        // At most OWN_MOST.
        (at + 1).min(OWN_MOST) as u8
    }
}

/// A worker that is needed.
pub struct Wanted {
    /// Among those of its pool.
    pub place: u64,
    pub pool: PoolKey,
    pub threads: u32,
    /// The only plugins that it loads; empty: those that share.
    pub plugins: Vec<String>,
}

pub fn wanted(pool: &Pool, plugins: &[PluginUse]) -> Vec<Wanted> {
    let pools: BTreeSet<PoolKey> = plugins.iter().map(|p| p.pool).collect();
    let mut list = Vec::new();
    for key in pools {
        let Settings {
            workers, threads, ..
        } = settings(pool, key.class);
        let own = key.group != SHARED;
        let workers = match own {
            false => workers.max(1),
            true if key.class.row().fans_out => workers.clamp(1, OWN_CPU),
            true => 1,
        };
        let names = plugins.iter().filter(|p| own && p.pool == key);
        let names: Vec<String> = names.map(|p| p.name.clone()).collect();
        list.extend((0..u64::from(workers)).map(|place| Wanted {
            place,
            pool: key,
            threads: u32::from(threads),
            plugins: names.clone(),
        }));
    }
    list
}

/// What is set for the pool of a class.
pub struct Settings {
    pub workers: u16,
    /// Of its run lane, or programs at once.
    pub threads: u16,
    pub limits: Limits,
}

pub fn settings(pool: &Pool, class: WorkerClass) -> Settings {
    let (workers, threads, limits) = match class {
        WorkerClass::Io => (pool.io.workers, pool.io.threads, pool.io.limits),
        WorkerClass::Cpu => (pool.cpu.workers, 1, pool.cpu.limits),
        // One process starts all children: what limits them is how many may run at once.
        WorkerClass::Exec => (1, pool.exec.most(), pool.exec.limits),
        // As many as deliver at once may each have a program.
        WorkerClass::Notify => (1, 64, Limits::default()),
    };
    Settings {
        workers,
        threads,
        limits,
    }
}
