//! The rows of `workers` and `plugins`, and the story of `why`.

use crate::book::{Manager, PluginUse};
use crate::check::Check;
use crate::plugins::version_text;
use crate::time;
use healthd_catalog::{PluginFile, Standing};
use healthd_core::wire::control::{PluginRow, Why, WhyStep, WorkerRow};
use healthd_core::wire::maps::{SLOT_STATES, worker_header as h};
use healthd_sys::clock;
use std::collections::HashMap;

impl Manager {
    pub(super) fn worker_rows(&mut self) -> Vec<WorkerRow> {
        self.open_views();
        let now = clock::monotonic_ns();
        self.slots
            .values()
            .map(|s| {
                let head = s.view.as_ref().and_then(|v| v.header().ok());
                let alive = s.pid != 0 && s.link.is_some();
                let r = s.record();
                let used = s.gauge.as_ref().and_then(|g| g.read().ok());
                WorkerRow {
                    slot: s.spec.slot,
                    class: s.spec.class.as_str().into(),
                    pid: alive.then_some(s.pid),
                    generation: Some(s.spec.generation),
                    state: SLOT_STATES[s.state as usize].into(),
                    threads: head.map(|head| head[h::THREADS] as u32),
                    in_flight: Some(r.in_flight),
                    dispatched: Some(r.dispatched),
                    finished: Some(r.finished),
                    lost: Some(r.lost()),
                    late: Some(r.late),
                    heartbeat_age_ms: head
                        .map(|head| now.saturating_sub(head[h::BEAT]) / 1_000_000),
                    rss_kb: used.map(|u| u.rss_kb),
                    fds: used.map(|u| u.fds),
                    runs: alive.then_some(s.sent),
                    stuck_threads: head.map(|head| head[h::STUCK]),
                    stalls: head.map(|head| head[h::STALLS]),
                    note: s.note.clone(),
                    restarts: Some(r.restarts),
                    lost_worker_died: Some(r.lost_worker_died),
                    lost_replaced: Some(r.lost_replaced),
                    lost_cancelled: Some(r.lost_cancelled),
                    chunks: r.chunks(),
                    jail: s.prisoner.map(|p| {
                        let check = p.check.and_then(|id| self.check(id));
                        check.map_or(String::new(), |c| c.spec.name.clone())
                    }),
                    stale: false,
                }
            })
            .collect()
    }

    pub(super) fn plugin_rows(&mut self) -> Vec<PluginRow> {
        self.open_views();
        let stuck = self.stuck_threads();
        let mut rows = Vec::new();
        for file in &self.scan.files {
            for entry in &file.plugins {
                let info = self
                    .scan
                    .catalog
                    .plugins
                    .iter()
                    .find(|p| p.name == entry.name);
                let used = self.plugins.iter().find(|p| p.name == entry.name);
                let serves = used.is_some_and(|u| u.hash == file.hash);
                let trial = self.versions.trial_of(&entry.name).filter(|_| serves);
                let (state, reason) = self.plugin_state(file, used, trial.is_some());
                let previous = self.versions.previous_of(&entry.name);
                rows.push(PluginRow {
                    name: entry.name.clone(),
                    file: file.path.display().to_string(),
                    version: info.map(|i| i.version.clone()).unwrap_or_default(),
                    summary: info.map(|i| i.summary.clone()).unwrap_or_default(),
                    class: entry.class.name().into(),
                    state: state.into(),
                    reason,
                    checks: self.checks_of(&entry.name),
                    abi: entry.abi.clone(),
                    hash: format!("{:016x}", file.hash),
                    since: used.and_then(|u| time::rfc3339(u.since)),
                    trial_until: trial.and_then(|t| time::rfc3339(time::wall(t.until_ns))),
                    previous: previous.map(|f| version_text(f, &entry.name)),
                    quarantined: self.count_of(&entry.name, |c| c.rap.quarantine.is_some()),
                    cost: used.map(|_| {
                        let threads = stuck.get(&entry.name).copied().unwrap_or(0);
                        self.costs.shown(&entry.name, threads)
                    }),
                });
            }
        }
        for refused in &self.scan.catalog.refused {
            // Where what was there before serves on, its row says why it does.
            let told = |f: &PluginFile| match &f.standing {
                Standing::Refused(reason) => *reason == refused.reason,
                _ => false,
            };
            if self.scan.files.iter().any(told) {
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
                checks: self.checks_of(&name),
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
            Standing::Deleted => ("deleted", "the copy serves until a restart".into()),
            Standing::Refused(reason) => {
                ("refused", format!("what was there before serves: {reason}"))
            }
            Standing::RolledBack(reason) => ("rolled back", reason.clone()),
            Standing::Waits => (
                "waits",
                "there are other bytes: `healthctl plugins reload`".into(),
            ),
            Standing::Fresh if on_trial => ("trial", String::new()),
            Standing::Fresh if used.is_some() => ("loaded", String::new()),
            Standing::Fresh => ("unused", String::new()),
        }
    }

    /// Threads in calls that were written off, by plugin.
    fn stuck_threads(&self) -> HashMap<String, u64> {
        let mut stuck = HashMap::new();
        for s in self.slots.values() {
            let lines = s.view.iter().flat_map(|v| v.lines());
            for line in lines.filter(|l| l.stuck) {
                if let Some(name) = s.plugins.get(usize::from(line.plugin)) {
                    *stuck.entry(name.clone()).or_insert(0) += 1;
                }
            }
        }
        stuck
    }

    fn checks_of(&self, plugin: &str) -> u64 {
        self.count_of(plugin, |_| true)
    }

    fn count_of(&self, plugin: &str, which: impl Fn(&Check) -> bool) -> u64 {
        self.order
            .iter()
            .filter_map(|id| self.check(*id))
            .filter(|c| c.spec.plugin == plugin && which(c))
            .count() as u64
    }

    pub(super) fn why(&self, id: u32) -> Why {
        let Some(check) = self.check(id) else {
            return Why::default();
        };
        let now = clock::monotonic_ns();
        let mut steps = Vec::new();
        let mut step = |at_ns: u64, what: &str, text: String| {
            steps.push(WhyStep {
                at: time::rfc3339(time::wall(at_ns)),
                what: what.into(),
                text,
            });
        };
        let last = &check.last;
        if last.run_id != 0 {
            step(last.due_ns, "due", format!("run {} was due", last.run_id));
            for lost in &last.lost {
                step(0, "lost", format!("a try was lost: {lost}"));
            }
            if last.dispatched_ns != 0 {
                let ahead = last.due_ns as i128 - last.dispatched_ns as i128;
                let when = if ahead >= 0 {
                    format!("{} ahead of time", time::span(ahead as u64))
                } else {
                    format!("{} late", time::span(-ahead as u64))
                };
                step(
                    last.dispatched_ns,
                    "dispatched",
                    format!("sent to {}, {when}", worker(last)),
                );
            }
            step(
                last.started_ns,
                "started",
                format!("{} after it was due", time::span(last.queue_ns)),
            );
            for phase in &last.phases {
                step(
                    last.started_ns.saturating_add(phase.at_ns),
                    "phase",
                    format!("{} after {}", phase.name, time::span(phase.at_ns)),
                );
            }
            let tally = last.chunks.tally;
            if tally.chunks > 0 {
                let mut text = format!(
                    "{} chunks: {} in its own worker, {} in others ({} of CPU)",
                    tally.chunks,
                    tally.own,
                    tally.away,
                    time::span(last.chunks.cpu_ns)
                );
                if tally.again > 0 {
                    text.push_str(&format!("; {} begun again after a death", tally.again));
                }
                step(last.finished_ns, "fan-out", text);
            }
            let took = time::span(last.finished_ns.saturating_sub(last.started_ns));
            let status = check.status.map_or("unknown", |s| s.as_str());
            step(
                last.finished_ns,
                "finished",
                format!(
                    "{status} after {took}, {} of CPU: {}",
                    time::span(last.cpu_ns),
                    last.message
                ),
            );
        } else if check.status.is_some() {
            step(0, "known", format!("from before: {}", last.message));
        } else {
            step(0, "new", "it has not run yet".into());
        }
        let verdict = check.verdict();
        let attempt = check.tracker.attempt();
        let judged = if check.status.is_none() {
            "pending until the first run".to_owned()
        } else if last.message.starts_with("self:") {
            format!("our own fault, so the verdict stays {verdict}")
        } else if check.tracker.is_soft(check.spec.attempts) {
            format!(
                "attempt {attempt} of {}: the verdict stays {verdict}",
                check.spec.attempts
            )
        } else {
            format!(
                "verdict {verdict}, attempt {attempt} of {}",
                check.spec.attempts
            )
        };
        step(last.finished_ns, "judged", judged);
        if let Some(quarantine) = check.quarantine_info(now) {
            let since = check.rap.quarantine.as_ref().map_or(0, |q| q.since);
            let age = clock::realtime_ns().saturating_sub(since);
            step(now.saturating_sub(age), "quarantine", quarantine.text);
        }
        if let Some(flight) = &check.in_flight {
            let age = time::span(now.saturating_sub(flight.dispatched_ns));
            step(
                flight.dispatched_ns,
                "in flight",
                format!(
                    "run {} (try {}) is with {} for {age}",
                    flight.run_id,
                    flight.attempt,
                    self.slot_name(flight.slot)
                ),
            );
        }
        if let Some(since) = check.waiting_since {
            step(
                since,
                "waiting",
                format!(
                    "due {} ago; {}",
                    time::span(now.saturating_sub(since)),
                    self.why_in_line(id)
                        .unwrap_or_else(|| "no worker has room for it".into())
                ),
            );
        }
        if check.skipped > 0 {
            step(
                0,
                "skipped",
                format!(
                    "{} due runs, as the one before was still in flight",
                    check.skipped
                ),
            );
        }
        steps.extend(self.why_plugin(&check.spec.plugin, now));
        Why {
            name: check.spec.name.clone(),
            steps,
            next: self.what_next(id, now),
        }
    }

    /// Which bytes run it, while that is a story.
    fn why_plugin(&self, plugin: &str, now: u64) -> Option<WhyStep> {
        let used = self.plugins.iter().find(|p| p.name == plugin)?;
        let (file, _) = self.scan.find(plugin)?;
        let text = version_text(file, plugin);
        let text = match (&file.standing, self.versions.trial_of(plugin)) {
            (Standing::RolledBack(why), _) => format!("{text} serves again: {why}"),
            (Standing::Refused(why), _) => format!("{text} serves on: {why}"),
            (Standing::Deleted, _) => format!("{text} serves on: its file is deleted"),
            (_, Some(trial)) => format!(
                "{text} is on trial for {} more",
                time::span(trial.until_ns.saturating_sub(now))
            ),
            _ => return None,
        };
        Some(WhyStep {
            at: time::rfc3339(used.since),
            what: "plugin".into(),
            text,
        })
    }

    fn what_next(&self, id: u32, now: u64) -> String {
        let Some(check) = self.check(id) else {
            return String::new();
        };
        if !check.spec.enabled {
            return "nothing: it is disabled in the config".into();
        }
        if let Some(reason) = &check.paused {
            let reason = if reason.is_empty() {
                "no reason given"
            } else {
                reason
            };
            return format!("nothing until `healthctl resume`: it is paused ({reason})");
        }
        if let Some(reason) = &check.spec.unusable {
            return format!("nothing until a reload: {reason}");
        }
        if let Some(hold) = check.hold.filter(|h| h.until_ns > now) {
            let alone = match check.rap.quarantine {
                Some(_) => "; then it runs alone",
                None => "",
            };
            return format!(
                "held for {}, since its last run killed a worker{alone}; `healthctl plugins release {}` ends it",
                time::span(hold.until_ns - now),
                check.spec.name
            );
        }
        format!(
            "the next run is due in {}",
            time::span(check.next_due.saturating_sub(now))
        )
    }
}

fn worker(last: &crate::check::Last) -> String {
    match last.worker {
        Some(slot) => format!("worker {slot} (pid {})", last.worker_pid),
        None => "no worker".into(),
    }
}
