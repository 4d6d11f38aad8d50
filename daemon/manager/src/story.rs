//! The story of a check's last run: from when it was due to what was made of its result. `why` tells it, and alerts send it.

use crate::check::{Check, Last};
use crate::time;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::control::WhyStep;

/// The steps, told one by one.
#[derive(Default)]
pub struct Story(Vec<WhyStep>);

impl Story {
    /// How the last run of the check went, and what came of it.
    pub fn of(check: &Check) -> Story {
        let mut story = Story::default();
        if check.last.run_id != 0 || check.last.due_ns != 0 {
            story.last_run(check);
        } else if check.state.status().is_some() {
            let text = format!("from before: {}", check.last.message);
            story.tell(0, "known", text);
        } else {
            story.tell(0, "new", "it has not run yet".into());
        }
        story.tell(check.last.finished_ns, "evaluated", judged(check));
        story
    }

    pub fn steps(self) -> Vec<WhyStep> {
        self.0
    }

    /// `at_ns`: CLOCK_MONOTONIC; 0: at no certain time.
    pub fn tell(&mut self, at_ns: u64, what: &str, text: String) {
        self.0.push(WhyStep {
            at: time::rfc3339(time::wall(at_ns)),
            what: what.into(),
            text,
        });
    }

    /// What has held for a while: before the run, if it began before that was due.
    pub fn tell_standing(&mut self, at_ns: u64, due_ns: u64, what: &str, text: String) {
        self.tell(at_ns, what, text);
        if at_ns < due_ns {
            self.0.rotate_right(1);
        }
    }

    fn last_run(&mut self, check: &Check) {
        let last = &check.last;
        let due = match last.run_id {
            0 => "a run was due".to_owned(),
            id => format!("run {id} was due"),
        };
        self.tell(last.due_ns, "due", due);
        for (n, lost) in last.lost.iter().enumerate() {
            let text = format!("try {} was lost: {lost}; it was sent again", n + 1);
            self.tell(0, "lost", text);
        }
        if last.dispatched_ns == 0 {
            let waited = time::span(last.finished_ns.saturating_sub(last.due_ns));
            let text = format!("it was not sent to a worker, and waited for {waited}");
            self.tell(last.finished_ns, "not sent", text);
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
            self.tell(last.dispatched_ns, "dispatched", text);
        }
        if last.ran {
            let late = match last.queue_ns > check.interval_ns() {
                true => {
                    ", which is more than its interval: this machine or its workers are overloaded"
                }
                false => "",
            };
            let text = format!("{} after it was due{late}", time::span(last.queue_ns));
            self.tell(last.started_ns, "started", text);
        }
        for phase in &last.phases {
            self.tell(
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
            self.tell(last.finished_ns, "fan-out", text);
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
        self.tell(last.finished_ns, "finished", text);
        if let Some(help) = check.state.fault().and_then(Fault::help) {
            self.tell(0, "own fault", help.to_owned());
        }
    }
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
