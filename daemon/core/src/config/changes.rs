//! What a reload changes besides checks, in words for whoever asked for it; and what of it waits for a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::model::{CheckSpec, CpuPool, Daemon, ExecPool, IoPool, Limits, Model, Pool, Users};
use super::push::Push;
use super::readers::{History, Listen, Web};

/// Settings that a daemon takes at its start and, at least in part, never again: as they were then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtStart {
    runtime_dir: std::path::PathBuf,
    state_dir: std::path::PathBuf,
    user: Option<String>,
    control_group: Option<String>,
    log: String,
    users: Users,
}

impl AtStart {
    pub fn of(daemon: &Daemon) -> AtStart {
        AtStart {
            runtime_dir: daemon.runtime_dir.clone(),
            state_dir: daemon.state_dir.clone(),
            user: daemon.user.clone(),
            control_group: daemon.control_group.clone(),
            log: daemon.log.clone(),
            users: daemon.users.clone(),
        }
    }

    /// What this config says otherwise: each key with its section, and what of it counts already.
    pub fn waits(&self, daemon: &Daemon) -> Vec<String> {
        let AtStart {
            runtime_dir,
            state_dir,
            user,
            control_group,
            log,
            users,
        } = self;
        let of_group =
            " (who may change things has changed, the group of the socket and of the maps has not)";
        let all = [
            (*runtime_dir != daemon.runtime_dir, "runtime_dir", ""),
            (*state_dir != daemon.state_dir, "state_dir", ""),
            (*user != daemon.user, "user", ""),
            (
                *control_group != daemon.control_group,
                "control_group",
                of_group,
            ),
            (
                *log != daemon.log,
                "log",
                " (processes that start from now on have it)",
            ),
        ];
        let of_daemon = all.into_iter().filter(|(differs, ..)| *differs);
        let of_daemon = of_daemon.map(|(_, key, note)| format!("`{key}` of [daemon]{note}"));
        let of_users = differing(of_users(users, &daemon.users));
        let of_users = of_users.map(|key| format!("`{key}` of [users]"));
        of_daemon.chain(of_users).collect()
    }
}

/// Each section that differs, with what of it does. Checks are counted by whoever puts them in force.
pub fn changes(old: &Model, new: &Model) -> Vec<String> {
    let keys = |section: &str, keys: Vec<&str>| {
        (!keys.is_empty()).then(|| format!("[{section}] changed ({})", keys.join(", ")))
    };
    // A section more does not compile before it is told here.
    let Model {
        daemon,
        pool: was,
        web,
        push,
        history,
        checks: _,
        modules: _,
        notifiers: _,
        alerts: _,
        digest: _,
        secret_files: _,
        at_start: _,
        warnings: _,
    } = old;
    let daemon = differing(of_daemon(daemon, &new.daemon)).collect();
    let is = &new.pool;
    let Pool {
        io,
        cpu,
        exec,
        isolate,
        groups: _,
    } = was;
    let mut told: Vec<String> = [
        keys("daemon", daemon),
        keys(
            "pool",
            differing([(*isolate != is.isolate, "isolate")]).collect(),
        ),
        keys("pool.io", of_io(io, &is.io)),
        keys("pool.cpu", of_cpu(cpu, &is.cpu)),
        keys("pool.exec", of_exec(exec, &is.exec)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let groups = |pool: &Pool| -> BTreeMap<String, Vec<String>> {
        let groups = pool.groups.iter();
        groups
            .map(|g| (g.name.clone(), g.plugins.clone()))
            .collect()
    };
    let (was, is) = (groups(was), groups(is));
    told.extend(is.iter().filter_map(|(name, plugins)| match was.get(name) {
        None => Some(format!("[pool.{name}] added")),
        Some(old) => (old != plugins).then(|| format!("[pool.{name}] changed (plugins)")),
    }));
    let gone = was.keys().filter(|name| !is.contains_key(*name));
    told.extend(gone.map(|name| format!("[pool.{name}] removed")));
    // [push] without [web] brings a web that listens nowhere, which nobody wrote. One process is of both.
    let listens = |web: &Option<Web>| web.clone().filter(|w| w.listen != Listen::Nowhere);
    let (web, new_web) = (listens(web), listens(&new.web));
    let pushes = push.is_some() && new.push.is_some();
    let serves = web.is_some() && new_web.is_some();
    let of_both = ("healthd-web", pushes);
    told.extend(reader("web", of_both, &web, &new_web, of_web));
    let of_both = ("healthd-web", serves);
    told.extend(reader("push", of_both, push, &new.push, of_push));
    told.extend(reader(
        "history",
        ("healthd-record", false),
        history,
        &new.history,
        of_history,
    ));
    told.extend(named("[[notify]]", &routes(old), &routes(new)));
    told.extend(unnamed(
        "[[maintenance]]",
        maintenance(old),
        maintenance(new),
    ));
    told.extend(named(
        "[[check]] with `probe`",
        &modules(old),
        &modules(new),
    ));
    told
}

type Differs = (bool, &'static str);

fn differing<const N: usize>(keys: [Differs; N]) -> impl Iterator<Item = &'static str> {
    keys.into_iter()
        .filter_map(|(differs, key)| differs.then_some(key))
}

// Each of these takes its section apart by name, so that a new key cannot be forgotten here.

/// Those that take force at once, and those that do so in part.
fn of_daemon(old: &Daemon, new: &Daemon) -> [Differs; 8] {
    let Daemon {
        plugin_dir,
        runtime_dir: _,
        state_dir: _,
        user: _,
        users: _,
        control_group,
        stop_grace,
        start_spread,
        plugin_watch,
        plugin_trial,
        require_sandbox,
        log,
    } = old;
    [
        (*plugin_dir != new.plugin_dir, "plugin_dir"),
        (*control_group != new.control_group, "control_group"),
        (*stop_grace != new.stop_grace, "stop_grace"),
        (*start_spread != new.start_spread, "start_spread"),
        (*plugin_watch != new.plugin_watch, "plugin_watch"),
        (*plugin_trial != new.plugin_trial, "plugin_trial"),
        (*require_sandbox != new.require_sandbox, "require_sandbox"),
        (*log != new.log, "log"),
    ]
}

fn of_users(old: &Users, new: &Users) -> [Differs; 2] {
    let Users { worker, exec } = old;
    [
        (*worker != new.worker, "worker"),
        (*exec != new.exec, "exec"),
    ]
}

fn of_io(old: &IoPool, new: &IoPool) -> Vec<&'static str> {
    let IoPool {
        workers,
        threads,
        limits,
    } = old;
    let own = [
        (*workers != new.workers, "workers"),
        (*threads != new.threads, "threads"),
    ];
    differing(own)
        .chain(of_limits(limits, &new.limits))
        .collect()
}

fn of_cpu(old: &CpuPool, new: &CpuPool) -> Vec<&'static str> {
    let CpuPool { workers, limits } = old;
    differing([(*workers != new.workers, "workers")])
        .chain(of_limits(limits, &new.limits))
        .collect()
}

fn of_exec(old: &ExecPool, new: &ExecPool) -> Vec<&'static str> {
    let ExecPool {
        max_parallel,
        limits,
    } = old;
    differing([(*max_parallel != new.max_parallel, "max_parallel")])
        .chain(of_limits(limits, &new.limits))
        .collect()
}

fn of_limits(old: &Limits, new: &Limits) -> impl Iterator<Item = &'static str> + use<> {
    let Limits {
        max_rss,
        max_fds,
        max_runs,
        sandbox,
    } = old;
    differing([
        (*sandbox != new.sandbox, "sandbox"),
        (*max_rss != new.max_rss, "max_rss"),
        (*max_fds != new.max_fds, "max_fds"),
        (*max_runs != new.max_runs, "max_runs"),
    ])
}

fn of_push(old: &Push, new: &Push) -> Vec<&'static str> {
    let Push {
        url,
        format,
        interval,
        token,
        user,
        ca,
        labels,
        traces,
        sample,
    } = old;
    differing([
        (*url != new.url, "url"),
        (*format != new.format, "format"),
        (*interval != new.interval, "interval"),
        (*token != new.token, "token"),
        (*user != new.user, "user"),
        (*ca != new.ca, "ca"),
        (*labels != new.labels, "labels"),
        (*traces != new.traces, "traces"),
        (*sample != new.sample, "sample"),
    ])
    .collect()
}

fn of_web(old: &Web, new: &Web) -> Vec<&'static str> {
    let Web {
        listen,
        token,
        read_with_token,
        labels,
        max_series,
        targets,
    } = old;
    differing([
        (*listen != new.listen, "listen"),
        (*token != new.token, "token"),
        (*read_with_token != new.read_with_token, "read"),
        (*labels != new.labels, "labels"),
        (*max_series != new.max_series, "max_series"),
        (*targets != new.targets, "targets"),
    ])
    .collect()
}

fn of_history(old: &History, new: &History) -> Vec<&'static str> {
    let History {
        max_size,
        keep,
        slo,
    } = old;
    differing([
        (*max_size != new.max_size, "max_size"),
        (*keep != new.keep, "keep"),
        (*slo != new.slo, "slo"),
    ])
    .collect()
}

/// A section that has a process of its own. `stays`: the process is there for something else, before and after.
fn reader<T>(
    section: &str,
    (process, stays): (&str, bool),
    old: &Option<T>,
    new: &Option<T>,
    keys: impl Fn(&T, &T) -> Vec<&'static str>,
) -> Option<String> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => {
            let then = if stays { "starts anew" } else { "starts" };
            Some(format!("[{section}] added ({process} {then})"))
        }
        (Some(_), None) => {
            let then = if stays { "starts anew" } else { "ends" };
            Some(format!("[{section}] removed ({process} {then})"))
        }
        (Some(old), Some(new)) => {
            let keys = keys(old, new);
            (!keys.is_empty()).then(|| {
                let keys = keys.join(", ");
                format!("[{section}] changed ({keys}; {process} starts anew)")
            })
        }
    }
}

/// Blocks that have names.
fn named<T: PartialEq>(
    what: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> Option<String> {
    let added = new.keys().filter(|name| !old.contains_key(*name)).count();
    let removed = old.keys().filter(|name| !new.contains_key(*name)).count();
    let changed = new.iter();
    let changed = changed.filter(|(name, is)| old.get(*name).is_some_and(|was| was != *is));
    counts(what, added, changed.count(), removed)
}

/// Blocks without: one that is gone and one that is new are one that has changed.
fn unnamed(what: &str, mut old: Vec<&Json>, mut new: Vec<&Json>) -> Option<String> {
    new.retain(|block| match old.iter().position(|was| was == block) {
        Some(at) => {
            old.swap_remove(at);
            false
        }
        None => true,
    });
    let changed = old.len().min(new.len());
    counts(what, new.len() - changed, changed, old.len() - changed)
}

fn counts(what: &str, added: usize, changed: usize, removed: usize) -> Option<String> {
    let all = [(added, "added"), (changed, "changed"), (removed, "removed")];
    let some: Vec<String> = all
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    (!some.is_empty()).then(|| format!("{what}: {}", some.join(", ")))
}

/// What each route does, and what it does it with. The first is another crate's affair: here it only differs or not.
fn routes(model: &Model) -> BTreeMap<String, (Json, Option<Acts>)> {
    let list = model.alerts["routes"].as_array().into_iter().flatten();
    let name = |route: &Json| route["name"].as_str().unwrap_or_default().to_owned();
    let by = |name: &str| model.notifiers.iter().find(|n| n.name == name).map(acts);
    list.map(|route| (name(route), (route.clone(), by(&name(route)))))
        .collect()
}

fn maintenance(model: &Model) -> Vec<&Json> {
    let list = model.alerts["maintenance"].as_array();
    list.into_iter().flatten().collect()
}

fn modules(model: &Model) -> BTreeMap<String, Acts> {
    let modules = model.modules.iter();
    modules.map(|m| (m.name.clone(), acts(m))).collect()
}

/// All of a spec but where it is written.
type Acts = (u64, String, Json);

fn acts(spec: &CheckSpec) -> Acts {
    let rest = serde_json::json!([spec.alerts, spec.probe, spec.slo]);
    (spec.fingerprint(), spec.shown_config.clone(), rest)
}
