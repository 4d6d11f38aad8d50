//! What a reload changes besides checks, in words for whoever asked for it; and what of it waits for a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::keys::{Grammar, Key, Section, Takes};
use super::model::{CheckSpec, Daemon, Model, Pool};
use super::readers::{Listen, Web};

/// Settings that a daemon takes at its start and, at least in part, never again: as they were then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AtStart(Json);

impl AtStart {
    pub fn of(daemon: &Daemon) -> AtStart {
        let mut daemon = json(daemon);
        if let Some(keys) = daemon.as_object_mut() {
            keys.retain(|name, _| match Section::Daemon.row(name) {
                Some(key) => key.takes != Takes::Reload,
                // [users], which is in it.
                None => true,
            });
        }
        AtStart(daemon)
    }

    /// What this config says otherwise: each key with its section, and what of it counts already.
    pub fn waits(&self, daemon: &Daemon) -> Vec<String> {
        let is = json(daemon);
        let of_daemon = differing(Section::Daemon, &self.0, &is);
        let of_users = differing(Section::Users, &self.0["users"], &is["users"]);
        let waiting = of_daemon.chain(of_users);
        let told = waiting.filter_map(|(section, key)| {
            let note = match key.takes {
                Takes::Reload => return None,
                Takes::Partly(note) => note,
                Takes::Restart => "",
            };
            Some(format!("`{}` of {}{note}", key.name, section.header()))
        });
        told.collect()
    }
}

/// The keys of a section that have another value.
fn differing(
    section: Section,
    old: &Json,
    new: &Json,
) -> impl Iterator<Item = (Section, &'static Key)> {
    // Limits are keys of their pool.
    let of = |all: &Json, key: &Key| match all.get(key.name) {
        Some(value) => value.clone(),
        None => all["limits"][key.name].clone(),
    };
    let rows = section.rows();
    let differs = rows.filter(move |key| of(old, key) != of(new, key));
    differs.map(move |key| (section, key))
}

/// Plain data, but for a path that is no UTF-8, which no config can name.
fn json(section: &impl Serialize) -> Json {
    serde_json::to_value(section).unwrap_or_default()
}

/// Each section that differs, with what of it does. Checks are counted by whoever puts them in force.
pub fn changes(old: &Model, new: &Model) -> Vec<String> {
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
        secret_variables: _,
        at_start: _,
        warnings: _,
    } = old;
    let (is, pool) = (&new.pool, json(&new.pool));
    let old_pool = json(was);
    let mut told: Vec<String> = [
        (Section::Daemon, &json(daemon), &json(&new.daemon)),
        (Section::Pool, &old_pool, &pool),
        (Section::IoPool, &old_pool["io"], &pool["io"]),
        (Section::CpuPool, &old_pool["cpu"], &pool["cpu"]),
        (Section::ExecPool, &old_pool["exec"], &pool["exec"]),
    ]
    .into_iter()
    .filter_map(|(section, old, new)| {
        let keys = told_keys(section, old, new)?;
        Some(format!("{} changed ({keys})", section.header()))
    })
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
    told.extend(reader(Section::Web, pushes, &web, &new_web));
    told.extend(reader(Section::Push, serves, push, &new.push));
    told.extend(reader(Section::History, false, history, &new.history));
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

/// Those of which a reload takes another value, at least in part.
fn told_keys(section: Section, old: &Json, new: &Json) -> Option<String> {
    let keys = differing(section, old, new).filter(|(_, key)| {
        key.takes != Takes::Restart && !matches!(key.grammar, Grammar::Section(_))
    });
    let keys: Vec<&str> = keys.map(|(_, key)| key.name).collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// A section that has a process of its own. `stays`: the process is there for something else, before and after.
fn reader<T: Serialize>(
    section: Section,
    stays: bool,
    old: &Option<T>,
    new: &Option<T>,
) -> Option<String> {
    let header = section.header();
    let process = match section {
        Section::History => "healthd-record",
        _ => "healthd-web",
    };
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => {
            let then = if stays { "starts anew" } else { "starts" };
            Some(format!("{header} added ({process} {then})"))
        }
        (Some(_), None) => {
            let then = if stays { "starts anew" } else { "ends" };
            Some(format!("{header} removed ({process} {then})"))
        }
        (Some(old), Some(new)) => {
            let keys = told_keys(section, &json(old), &json(new))?;
            Some(format!("{header} changed ({keys}; {process} starts anew)"))
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
