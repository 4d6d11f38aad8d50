//! What a message tells of a check beside its verdict: how its last run went, and the runs before it.

use crate::check::Check;
use crate::story::Story;
use crate::time::rfc3339;
use healthd_core::text::cut;
use healthd_core::wire::control::WhyStep;
use healthd_core::wire::samples::{LastRun, Outcome};
use serde_json::{Map, Value, json};

/// So many checks of a message are told of in full.
pub const IN_FULL: usize = 20;
const PHASES: usize = 12;
const METRICS: usize = 12;
/// So many of them with the story of their last run, of so many steps, each of so many bytes.
const STORIES: usize = 5;
const STEPS: usize = 24;
const STEP_MAX: usize = 300;

/// `place`: of the check in its message. `runs`: the last ones, the oldest first.
pub fn evidence(place: usize, check: &Check, runs: &[LastRun]) -> Map<String, Value> {
    let last = &check.last;
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    put("plugin", check.spec.plugin.as_str().into());
    put("attempt", check.state.attempt().into());
    put("attempts", check.spec.attempts.into());
    if !check.spec.title.is_empty() {
        put("title", check.spec.title.as_str().into());
    }
    if last.ran {
        put("took_ms", (check.latency_ns() as f64 / 1e6).into());
        let phases = last.phases.iter().take(PHASES);
        let phase = |p: &healthd_core::check::outcome::Phase| json!({ "name": p.name, "at_ms": p.at_ns as f64 / 1e6 });
        put("phases", phases.map(phase).collect());
        let metrics = last.metrics.iter().take(METRICS);
        let metric = |m: &healthd_core::check::outcome::Metric| json!({ "name": m.name, "value": m.value, "unit": m.unit });
        put("metrics", metrics.map(metric).collect());
    }
    if let Some(at) = check.state.last_ok().and_then(rfc3339) {
        put("last_ok", at.into());
    }
    if place < STORIES {
        let step = |step: WhyStep| json!({ "at": step.at, "what": step.what, "text": cut(&step.text, STEP_MAX) });
        let story = Story::of(check).steps().into_iter().take(STEPS);
        put("why", story.map(step).collect());
    }
    if !runs.is_empty() {
        put("recent", sparkline(runs).into());
    }
    fields
}

/// A sign a run: how long it took, or what was wrong with it.
pub fn sparkline(runs: &[LastRun]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let well = |run: &&LastRun| run.outcome == Outcome::Ok;
    let least = runs.iter().filter(well).map(|run| run.octave).min();
    let sign = |run: &LastRun| match run.outcome {
        Outcome::Ok => {
            let above = usize::from(run.octave - least.unwrap_or(0));
            BARS[above.min(BARS.len() - 1)]
        }
        Outcome::Warning => '▲',
        Outcome::Critical => '✖',
        Outcome::Unknown => '?',
        Outcome::Own => '·',
    };
    runs.iter().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_for_each_run() {
        let run = |outcome, octave| LastRun { outcome, octave };
        let runs = [
            run(Outcome::Ok, 5),
            run(Outcome::Ok, 6),
            run(Outcome::Warning, 9),
            run(Outcome::Ok, 19),
            run(Outcome::Critical, 0),
            run(Outcome::Unknown, 0),
            run(Outcome::Own, 0),
        ];
        assert_eq!(sparkline(&runs), "▁▂▲█✖?·");
        assert_eq!(sparkline(&[]), "");
    }
}
