//! The last runs of a check in a drawing of some bytes: a step for each run, as high as it took long, in the colour of
//! how it ended. Runs that look alike are one piece.

use healthd_core::wire::samples::{LAST, LastRun, Outcome};
use std::fmt::Write;

const STEP: usize = 3;
const HEIGHT: usize = 16;

/// SVG.
pub fn drawing(last: &[LastRun]) -> String {
    let mut svg = String::new();
    if last.is_empty() {
        return svg;
    }
    let width = LAST * STEP;
    let _ = write!(
        svg,
        "<svg class=sp viewBox=\"0 0 {width} {HEIGHT}\" role=img aria-label=\"{}\">",
        words(last)
    );
    let least = last.iter().map(|run| run.octave).min().unwrap_or(0);
    // A problem is as high as can be, whatever time it took.
    let height = |run: &LastRun| match run.outcome {
        Outcome::Ok => 4 + usize::from(run.octave - least).min(5) * 2,
        _ => HEIGHT,
    };
    let mut at = LAST.saturating_sub(last.len());
    for same in last.chunk_by(|a, b| a.outcome == b.outcome) {
        let _ = write!(
            svg,
            "<path class={} d=\"M{} {HEIGHT}",
            class(same[0].outcome),
            at * STEP
        );
        let mut before = 0;
        for level in same.chunk_by(|a, b| height(a) == height(b)) {
            let now = height(&level[0]);
            let _ = write!(
                svg,
                "v{}h{}",
                before as i32 - now as i32,
                level.len() * STEP
            );
            before = now;
        }
        svg.push_str("V16z\"/>");
        at += same.len();
    }
    svg.push_str("</svg>");
    svg
}

pub fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "o",
        Outcome::Warning => "w",
        Outcome::Critical => "c",
        Outcome::Unknown => "u",
        Outcome::Own => "x",
    }
}

/// "last 32 runs: 30 ok, 2 critical".
fn words(last: &[LastRun]) -> String {
    let counts = Outcome::ALL.map(|o| (o, last.iter().filter(|run| run.outcome == o).count()));
    let counts: Vec<String> = counts
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(outcome, n)| format!("{n} {}", outcome.as_str()))
        .collect();
    format!("last {} runs: {}", last.len(), counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike_is_one_piece() {
        let run = |outcome, octave| LastRun { outcome, octave };
        let mut runs = vec![run(Outcome::Ok, 3); 30];
        runs.push(run(Outcome::Ok, 5));
        runs.push(run(Outcome::Critical, 12));
        let svg = drawing(&runs);
        assert!(svg.contains("last 32 runs: 31 ok, 1 critical"), "{svg}");
        assert!(svg.contains("M0 16v-4h90v-4h3V16z"), "{svg}");
        assert!(svg.contains("class=c d=\"M93 16v-16h3V16z"), "{svg}");
        assert!(drawing(&[]).is_empty());
    }
}
