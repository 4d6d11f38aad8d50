//! `why`: the whole story of a check's last run, and what comes next.

use crate::check::{Check, Last};
use crate::director::Manager;
use crate::rollout::plugins::version_text;
use crate::time;
use healthd_catalog::Standing;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::control::{Why, WhyStep};
use healthd_sys::clock;

/// The steps, told one by one.
#[derive(Default)]
struct Story(Vec<WhyStep>);

impl Story {
    /// `at_ns`: CLOCK_MONOTONIC; 0: at no certain time.
    fn tell(&mut self, at_ns: u64, what: &str, text: String) {
        self.0.push(WhyStep {
            at: time::rfc3339(time::wall(at_ns)),
            what: what.into(),
            text,
        });
    }

    /// What has held for a while: before the run, if it began before that was due.
    fn tell_standing(&mut self, at_ns: u64, due_ns: u64, what: &str, text: String) {
        self.tell(at_ns, what, text);
        if at_ns < due_ns {
            self.0.rotate_right(1);
        }
    }
}

impl Manager {
    pub(super) fn why(&self, id: u32) -> Why {
        let Some(check) = self.checks.get(id) else {
            return Why::default();
        };
        let now = clock::monotonic_ns();
        let mut story = Story::default();
        if check.last.run_id != 0 || check.last.due_ns != 0 {
            self.last_run(check, &mut story);
        } else if check.state.status().is_some() {
            let text = format!("from before: {}", check.last.message);
            story.tell(0, "known", text);
        } else {
            story.tell(0, "new", "it has not run yet".into());
        }
        story.tell(check.last.finished_ns, "evaluated", judged(check));
        self.under_way(id, check, &mut story, now);
        let due = check.last.due_ns;
        if let Some(quarantine) = check.quarantine_info(now) {
            let since = check
                .standing
                .crashes
                .quarantine
                .as_ref()
                .map_or(0, |q| q.since);
            story.tell_standing(monotonic(since, now), due, "quarantine", quarantine.text);
        }
        if let Some(text) = self.fleet.apart.why(id) {
            story.tell_standing(now, due, "apart", text);
        }
        if let Some((since, text)) = self.why_plugin(&check.spec.plugin, now) {
            story.tell_standing(monotonic(since, now), due, "plugin", text);
        }
        Why {
            name: check.spec.name.clone(),
            title: check.spec.title.clone(),
            fault: check.state.fault(),
            steps: story.0,
            next: self.what_next(id, now),
            stale: false,
        }
    }

    /// Which bytes run it, while that is a story, and since when (CLOCK_REALTIME).
    fn why_plugin(&self, plugin: &str, now: u64) -> Option<(u64, String)> {
        let used = self.rollout.plugins.iter().find(|p| p.name == plugin)?;
        let (file, _) = self.rollout.scan.find(plugin)?;
        let text = version_text(file, plugin);
        let text = match (&file.standing, self.rollout.versions.trial_of(plugin)) {
            (Standing::RolledBack(why), _) => format!("{text} is in use again: {why}"),
            (Standing::Refused(why), _) => format!("{text} stays in use: {why}"),
            (Standing::Deleted, _) => format!("{text} stays in use: its file is deleted"),
            (_, Some(trial)) => format!(
                "{text} is on trial for {} more",
                time::span(trial.until_ns.saturating_sub(now))
            ),
            _ => return None,
        };
        Some((used.since, text))
    }

    fn last_run(&self, check: &Check, story: &mut Story) {
        let last = &check.last;
        let due = match last.run_id {
            0 => "a run was due".to_owned(),
            id => format!("run {id} was due"),
        };
        story.tell(last.due_ns, "due", due);
        for (n, lost) in last.lost.iter().enumerate() {
            let text = format!("try {} was lost: {lost}; it was sent again", n + 1);
            story.tell(0, "lost", text);
        }
        if last.dispatched_ns == 0 {
            let waited = time::span(last.finished_ns.saturating_sub(last.due_ns));
            let text = format!("it was not sent to a worker, and waited for {waited}");
            story.tell(last.finished_ns, "not sent", text);
        } else {
            let ahead = last.due_ns as i128 - last.dispatched_ns as i128;
            let when = if ahead >= 0 {
                format!("{} ahead of time", time::span(ahead as u64))
            } else {
                format!("{} late", time::span(-ahead as u64))
            };
            let again = match last.attempt {
                0 | 1 => String::new(),
                n => format!(", try {n}"),
            };
            let text = format!("sent to {}, {when}{again}", worker(last));
            story.tell(last.dispatched_ns, "dispatched", text);
        }
        if last.ran {
            let late = match last.queue_ns > check.interval_ns() {
                true => {
                    ", which is more than its interval: this machine or its workers are overloaded"
                }
                false => "",
            };
            let text = format!("{} after it was due{late}", time::span(last.queue_ns));
            story.tell(last.started_ns, "started", text);
        }
        for phase in &last.phases {
            story.tell(
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
            story.tell(last.finished_ns, "fan-out", text);
        }
        let status = check.state.status().map_or("unknown", |s| s.as_str());
        let text = match last.ran {
            true => format!(
                "{status} after {}, {} of CPU: {}",
                time::span(last.finished_ns.saturating_sub(last.started_ns)),
                time::span(last.cpu_ns),
                last.message
            ),
            false => format!("{status}: {}", last.message),
        };
        story.tell(last.finished_ns, "finished", text);
        if let Some(help) = check.state.fault().and_then(Fault::help) {
            story.tell(0, "own fault", help.to_owned());
        }
    }

    /// What is going on now.
    fn under_way(&self, check_id: u32, check: &Check, story: &mut Story, now: u64) {
        if let Some(doubted) = check.stage.doubted() {
            let text = format!(
                "run {} said {}: {}; whether that counts is known when `{}`, which it needs, has run",
                doubted.finished.run_id,
                doubted.finished.status,
                doubted.finished.message,
                check.spec.needs.as_deref().unwrap_or_default()
            );
            story.tell(doubted.since_ns, "waits", text);
        }
        if let Some(flight) = check.stage.flight() {
            for (n, lost) in flight.lost.iter().enumerate() {
                let text = format!("try {} of run {} was lost: {lost}", n + 1, flight.run_id);
                story.tell(0, "lost", text);
            }
            let age = time::span(now.saturating_sub(flight.dispatched_ns));
            let text = format!(
                "run {} (try {}) is with {} for {age}",
                flight.run_id,
                flight.attempt,
                self.slot_name(flight.slot)
            );
            story.tell(flight.dispatched_ns, "in flight", text);
        }
        if let Some(since) = check.stage.waiting().map(|w| w.since_ns) {
            let age = time::span(now.saturating_sub(since));
            let why = self.why_in_line(check_id);
            let why = why.unwrap_or_else(|| "no worker has room for it".into());
            let text = format!("due {age} ago; {why}");
            story.tell(since, "waiting", text);
        }
        if check.counts.skipped > 0 {
            let text = format!(
                "{} due runs, as the one before was still in flight",
                check.counts.skipped
            );
            story.tell(0, "skipped", text);
        }
        let slot = match check.stage.flight() {
            Some(flight) => Some(flight.slot),
            None => check.last.worker,
        };
        if let Some(s) = slot.and_then(|n| self.fleet.slots.get(&n))
            && !s.succession.note.is_empty()
        {
            let text = format!("{} {}", self.slot_name(s.spec.slot), s.succession.note);
            story.tell(0, "worker", text);
        }
    }

    fn what_next(&self, id: u32, now: u64) -> String {
        let Some(check) = self.checks.get(id) else {
            return String::new();
        };
        if !check.spec.enabled {
            return "nothing: it is disabled in the config".into();
        }
        if let Some(paused) = &check.paused {
            return paused.told();
        }
        if let Some(reason) = &check.spec.unusable {
            return format!("nothing until a reload: {reason}");
        }
        if let Some(hold) = check.standing.hold.filter(|h| h.until_ns > now) {
            let alone = match check.standing.crashes.quarantine {
                Some(_) => "; then it runs alone",
                None => "",
            };
            return format!(
                "held for {}, since its last run killed a worker{alone}; `healthctl plugins release {}` ends it",
                time::span(hold.until_ns - now),
                healthd_core::text::word(&check.spec.name)
            );
        }
        let due = time::span(check.plan.next_due.saturating_sub(now));
        let verdict = check.verdict();
        if check.state.is_soft(check.spec.attempts) {
            let left = check.spec.attempts.saturating_sub(check.state.attempt());
            let more = match left {
                1 => "one more result like it".to_owned(),
                n => format!("{n} more results like it"),
            };
            return format!("the next run is due in {due}; {more} would end the verdict {verdict}");
        }
        format!("the next run is due in {due}")
    }
}

/// When that was by CLOCK_MONOTONIC, which now says `now`.
fn monotonic(wall_ns: u64, now: u64) -> u64 {
    now.saturating_sub(clock::realtime_ns().saturating_sub(wall_ns))
        .max(1)
}

fn judged(check: &Check) -> String {
    let verdict = check.verdict();
    let attempt = check.state.attempt();
    if check.state.status().is_none() {
        "pending until the first run".to_owned()
    } else if check.state.is_unjudged() {
        let runs = check.state.unjudged_runs();
        match check.state.lapsed_ns() {
            None => format!("our own fault, so the verdict stays {verdict}"),
            Some(_) if verdict == Verdict::Unknown => {
                format!(
                    "our own fault, {runs} times in a row: nothing is known any more, so the verdict is unknown"
                )
            }
            Some(_) => format!(
                "our own fault, {runs} times in a row: the verdict stays {verdict}, and is stale"
            ),
        }
    } else if check.state.is_soft(check.spec.attempts) {
        format!(
            "attempt {attempt} of {}: the verdict stays {verdict}",
            check.spec.attempts
        )
    } else {
        format!(
            "verdict {verdict}, attempt {attempt} of {}",
            check.spec.attempts
        )
    }
}

fn worker(last: &Last) -> String {
    match last.worker {
        Some(slot) if last.worker_pid == 0 => {
            format!("worker {slot}, which ended before the run did")
        }
        Some(slot) => format!(
            "worker {slot} (pid {}, generation {})",
            last.worker_pid, last.generation
        ),
        None => "no worker".into(),
    }
}
