//! Loading: constructors and `init` of plugins, on a thread that ends when all are through. They may take their time; the
//! event loop turns meanwhile, and the manager sees which call it is that does not return.

use crate::active::Loaded;
use crate::reactor::Reactor;
use crate::role::MIN_STACK;
use crate::services::{Posted, shared};
use healthd_core::wire::maps::Entry;
use healthd_core::wire::worker::ToManager;
use healthd_loader::{Library, Plugin};
use healthd_scoreboard::crash;
use healthd_scoreboard::worker_map::{Call, WorkerMap};
use healthd_sys::leftovers::{Before, Left};
use healthd_sys::{clock, fork_guard};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What the main thread of a process has: constructors were written for that.
const STACK: usize = 8 << 20;
/// All threads of a worker have the largest stack that one of its plugins wants.
const MAX_STACK: usize = 64 << 20;

/// A plugin that the manager has named, with the sealed copy of its file.
pub(crate) struct ToLoad {
    pub number: u16,
    pub index: u32,
    pub name: String,
    pub file: String,
    pub copy: OwnedFd,
}

/// The number of a plugin, and what came of it.
pub(crate) type Outcome = (u16, Result<&'static Plugin, String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loading {
    /// Until `Start`, the manager names plugins.
    Named,
    UnderWay,
    Done,
}

impl Reactor {
    pub(crate) fn load_all(&mut self) -> std::io::Result<()> {
        self.loading = Loading::UnderWay;
        let list = std::mem::take(&mut self.to_load);
        let map = self.map;
        std::thread::Builder::new()
            .name("load".into())
            .stack_size(STACK)
            .spawn(move || {
                let line = map.claim_line();
                let outcomes = load(map, line, list);
                if let Some(line) = line {
                    map.release_line(line);
                }
                shared().post(Posted::Loaded(outcomes));
            })?;
        Ok(())
    }

    pub(crate) fn loaded(&mut self, outcomes: Vec<Outcome>) {
        let mut stack = MIN_STACK;
        for (number, outcome) in outcomes {
            match outcome {
                Ok(plugin) => {
                    stack =
                        stack.max(((plugin.descriptor.stack_kib as usize) << 10).min(MAX_STACK));
                    let at = usize::from(number);
                    if self.plugins.len() <= at {
                        self.plugins.resize_with(at + 1, || None);
                    }
                    self.plugins[at] = Some(Loaded::new(plugin));
                }
                Err(reason) => {
                    log::error!("plugin not loaded  {reason}");
                    self.outbox.say(&ToManager::LoadFailed {
                        plugin: number,
                        reason,
                    });
                }
            }
        }
        self.pool.set_stack(stack);
        if let Some(file) = healthd_loader::last_words::file() {
            crash::take_along(file);
        }
        // Before any hook that these have made.
        if let Err(e) = crash::watch_exit() {
            log::warn!("calls of exit() will not be told apart: {e}");
        }
        // With the handlers that a runtime in one of them needs.
        healthd_sys::leftovers::all_stays();
        self.steps.loaded();
        self.loading = Loading::Done;
        let threads = 1 + self.pool.threads() as u32;
        let layers = self.layers;
        self.outbox.say(&ToManager::Ready { threads, layers });
    }
}

/// Each file once, each plugin of it that was named.
fn load(map: &WorkerMap, line: Option<usize>, list: Vec<ToLoad>) -> Vec<Outcome> {
    let mut libraries: HashMap<String, Result<Library, String>> = HashMap::new();
    let mut outcomes = Vec::with_capacity(list.len());
    for named in list {
        let (number, file, name) = (named.number, named.file, named.name);
        let count = libraries.len();
        let library = libraries.entry(file.clone()).or_insert_with(|| {
            let opened = noted(map, line, (Entry::Load, number), || {
                Library::open(&named.copy, Path::new(&file)).map_err(|e| e.to_string())
            });
            let opened = opened.and_then(|(library, left)| {
                nothing_stays(left, &file, "loading").map(|()| library)
            });
            // Its number must never name another library: see Library::open.
            std::mem::forget(named.copy);
            opened
        });
        let found = match library {
            Err(why) => Err(why.clone()),
            Ok(library) => {
                let short = Path::new(&file)
                    .file_name()
                    .map_or(file.clone(), |f| f.to_string_lossy().into_owned());
                map.library(count, library.span.0, library.span.1, &short);
                restored(&library.restored, &file, "loading");
                library
                    .plugins
                    .get(named.index as usize)
                    .copied()
                    .ok_or_else(|| format!("{file}: plugin `{name}` is gone"))
            }
        };
        let ready = found.and_then(|plugin| {
            let named = |why: String| format!("{file}: plugin `{name}`: {why}");
            let (changed, left) =
                noted(map, line, (Entry::Init, number), || plugin.init()).map_err(named)?;
            restored(&changed, &file, "init");
            nothing_stays(left, &file, "init").map_err(named)?;
            Ok(plugin)
        });
        outcomes.push((number, ready));
    }
    outcomes
}

/// A call into a plugin, with its place in the map, and what it has left behind.
fn noted<R>(
    map: &WorkerMap,
    line: Option<usize>,
    (entry, plugin): (Entry, u16),
    call: impl FnOnce() -> Result<R, String>,
) -> Result<(R, Option<Left>), String> {
    if let Some(line) = line {
        let call = Call {
            entry,
            plugin,
            check: u32::MAX,
            run_id: 0,
            attempt: 0,
            since_ns: clock::monotonic_ns(),
        };
        map.enter(line, call);
    }
    let before = Before::look(true);
    let result = call();
    fork_guard::end_if_forked();
    let left = before.put_back();
    if let Some(line) = line {
        map.leave(line);
    }
    result.map(|result| (result, left))
}

/// Threads may stay: a runtime makes its own now. What was put back hurts nobody; a process that cannot be put back would
/// be broken for all its checks.
fn nothing_stays(left: Option<Left>, file: &str, when: &str) -> Result<(), String> {
    match left {
        None => Ok(()),
        Some(left) if left.stays => Err(format!(
            "left {left} behind in {when}, which its contract forbids"
        )),
        Some(left) => {
            log::warn!("{file}: {when} left {left} behind; put back");
            Ok(())
        }
    }
}

fn restored(signals: &[i32], file: &str, when: &str) {
    if !signals.is_empty() {
        log::warn!("{file}: {when} changed what happens on signals {signals:?}; put back");
    }
}
