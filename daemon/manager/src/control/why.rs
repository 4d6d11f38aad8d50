//! `why`: the whole story of a check's last run, and what comes next.

use crate::check::Check;
use crate::director::Manager;
use crate::rollout::plugins::version_text;
use crate::story::Story;
use crate::time;
use healthd_catalog::Standing;
use healthd_core::wire::control::Why;
use healthd_sys::clock;

impl Manager {
    pub(super) fn why(&self, id: u32) -> Why {
        let Some(check) = self.checks.get(id) else {
            return Why::default();
        };
        let now = clock::monotonic_ns();
        let mut story = Story::of(check);
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
            steps: story.steps(),
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

    /// What is going on now.
    fn under_way(&self, check_id: u32, check: &Check, story: &mut Story, now: u64) {
        if let Some(doubted) = check.stage.doubted() {
            let text = format!(
                "run {} said {}: {}; whether that counts is known when `{}`, which it needs, has run",
                doubted.finished.run_id,
                doubted.finished.status,
                doubted.finished.message,
                check.spec.needs.join("` or `")
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
                self.fleet.slot_name(flight.slot)
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
            let text = format!(
                "{} {}",
                self.fleet.slot_name(s.spec.slot),
                s.succession.note
            );
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
