//! The rows of `workers` and `plugins`.

use crate::director::Manager;
use crate::rollout::plugin_use::PluginUse;
use crate::rollout::plugins::version_text;
use crate::time;
use healthd_catalog::{PluginFile, Standing};
use healthd_core::wire::control::{PluginRow, WorkerRow};
use healthd_core::wire::maps::{SLOT_STATES, worker_header as h};
use healthd_sys::clock;
use std::collections::HashMap;

impl Manager {
    pub(super) fn worker_rows(&mut self) -> Vec<WorkerRow> {
        self.open_views();
        let now = clock::monotonic_ns();
        self.fleet
            .slots
            .values()
            .map(|s| {
                let head = s.process.view.as_ref().and_then(|v| v.header().ok());
                let alive = s.process.pid != 0 && s.process.link.is_some();
                let r = s.record();
                let used = s.process.held.gauge.as_ref().and_then(|g| g.read().ok());
                WorkerRow {
                    slot: s.spec.slot,
                    class: s.spec.class.as_str().into(),
                    pid: alive.then_some(s.process.pid),
                    generation: Some(s.spec.generation),
                    state: SLOT_STATES[s.state as usize].into(),
                    threads: used.and_then(|u| u32::try_from(u.threads).ok()),
                    in_flight: Some(r.in_flight),
                    dispatched: Some(r.dispatched),
                    finished: Some(r.finished),
                    lost: Some(r.lost()),
                    late: Some(r.late),
                    heartbeat_age_ms: head
                        .map(|head| now.saturating_sub(head[h::BEAT]) / 1_000_000),
                    rss_kb: used.map(|u| u.rss_kb),
                    fds: used.map(|u| u.fds),
                    runs: alive.then_some(s.process.held.sent),
                    stuck_threads: head.map(|head| head[h::STUCK]),
                    stalls: head.map(|head| head[h::STALLS]),
                    note: s.succession.note.clone(),
                    restarts: Some(r.restarts),
                    lost_worker_died: Some(r.lost_worker_died),
                    lost_replaced: Some(r.lost_replaced),
                    lost_cancelled: Some(r.lost_cancelled),
                    chunks: r.chunks(),
                    solo: s.group.solo().map(|p| {
                        let check = p.check.and_then(|id| self.checks.get(id));
                        check.map_or(String::new(), |c| c.spec.name.clone())
                    }),
                    sandbox: match &s.process.sandbox {
                        Some((fit, layers)) if alive => fit.words(*layers),
                        _ => String::new(),
                    },
                    plugins: match s.pool() {
                        Some(_) => s.spec.plugins.clone(),
                        None => Vec::new(),
                    },
                    stale: false,
                }
            })
            .collect()
    }

    pub(super) fn plugin_rows(&mut self) -> Vec<PluginRow> {
        self.open_views();
        let stuck = self.stuck_threads();
        let counted = self.counted();
        let count = |plugin: &str| counted.get(plugin).copied().unwrap_or_default();
        let mut rows = Vec::new();
        for file in &self.rollout.scan.files {
            for entry in &file.plugins {
                let info = self
                    .rollout
                    .scan
                    .catalog
                    .plugins
                    .iter()
                    .find(|p| p.name == entry.name);
                let used = self.rollout.plugins.iter().find(|p| p.name == entry.name);
                let serves = used.is_some_and(|u| u.hash == file.hash);
                let trial = self
                    .rollout
                    .versions
                    .trial_of(&entry.name)
                    .filter(|_| serves);
                let (state, reason) = self.plugin_state(file, used, trial.is_some());
                let previous = self.rollout.versions.previous_of(&entry.name);
                rows.push(PluginRow {
                    name: entry.name.clone(),
                    file: file.path.display().to_string(),
                    version: info.map(|i| i.version.clone()).unwrap_or_default(),
                    summary: info.map(|i| i.summary.clone()).unwrap_or_default(),
                    class: entry.class.name().into(),
                    state: state.into(),
                    reason,
                    checks: count(&entry.name).checks,
                    abi: entry.abi.clone(),
                    hash: format!("{:016x}", file.hash),
                    since: used.and_then(|u| time::rfc3339(u.since)),
                    trial_until: trial.and_then(|t| time::rfc3339(time::wall(t.until_ns))),
                    previous: previous.map(|f| version_text(f, &entry.name)),
                    quarantined: count(&entry.name).quarantined,
                    cost: used.map(|_| {
                        let threads = stuck.get(&entry.name).copied().unwrap_or(0);
                        self.books.costs.shown(&entry.name, threads)
                    }),
                    stale: false,
                });
            }
        }
        for refused in &self.rollout.scan.catalog.refused {
            // Where what was there before serves on, its row says why it does.
            let told = |f: &PluginFile| match &f.standing {
                Standing::Refused(reason) => *reason == refused.reason,
                _ => false,
            };
            if self.rollout.scan.files.iter().any(told) {
                continue;
            }
            let name = refused.name.clone().unwrap_or_else(|| {
                refused
                    .file
                    .file_stem()
                    .map(|s| s.to_string_lossy().into_owned())
                    .unwrap_or_default()
            });
            rows.push(PluginRow {
                checks: count(&name).checks,
                name,
                file: refused.file.display().to_string(),
                state: "refused".into(),
                reason: refused.reason.clone(),
                ..PluginRow::default()
            });
        }
        rows
    }

    /// In a word, and why.
    fn plugin_state(
        &self,
        file: &PluginFile,
        used: Option<&PluginUse>,
        on_trial: bool,
    ) -> (&'static str, String) {
        if let Some(reason) = used.and_then(|u| u.left_out.clone()) {
            return ("left out", reason);
        }
        match &file.standing {
            Standing::Deleted => ("deleted", "the copy stays in use until a restart".into()),
            Standing::Refused(reason) => (
                "refused",
                format!("the build before stays in use: {reason}"),
            ),
            Standing::RolledBack(reason) => ("rolled back", reason.clone()),
            Standing::Waits => (
                "waits",
                "the file has changed: `healthctl plugins reload` takes it".into(),
            ),
            Standing::Fresh if on_trial => ("trial", String::new()),
            Standing::Fresh if used.is_some() => ("loaded", String::new()),
            Standing::Fresh => ("unused", String::new()),
        }
    }

    /// Threads in calls that were written off, by plugin.
    fn stuck_threads(&self) -> HashMap<String, u64> {
        let mut stuck = HashMap::new();
        for s in self.fleet.slots.values() {
            let lines = s.process.view.iter().flat_map(|v| v.lines());
            for line in lines.filter(|l| l.stuck) {
                if let Some(name) = s.loaded.plugins.get(usize::from(line.plugin)) {
                    *stuck.entry(name.clone()).or_insert(0) += 1;
                }
            }
        }
        stuck
    }

    /// The checks of each plugin, in one pass: there may be many of both.
    fn counted(&self) -> HashMap<&str, Counted> {
        let mut all: HashMap<&str, Counted> = HashMap::new();
        let order = self.checks.order().iter();
        for check in order.filter_map(|id| self.checks.get(*id)) {
            let of_plugin = all.entry(&check.spec.plugin).or_default();
            of_plugin.checks += 1;
            of_plugin.quarantined += u64::from(check.standing.crashes.quarantine.is_some());
        }
        all
    }
}

#[derive(Clone, Copy, Default)]
struct Counted {
    checks: u64,
    quarantined: u64,
}
