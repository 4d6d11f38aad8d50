//! A check, as the engine is told of it.

use crate::check::Check;
use crate::checks::Checks;
use healthd_alerts::{Standing, Word};
use healthd_core::check::outcome::Verdict;
use std::sync::Arc;

/// The engine has to know of it.
pub fn tells(check: &Check) -> bool {
    check.lies_behind() || !matches!(check.verdict(), Verdict::Ok | Verdict::Pending)
}

/// `was`: its verdict before, if that is known.
pub fn standing(check: &Check, checks: &Checks, was: Option<Verdict>) -> Standing {
    let behind = check.lies_behind().then(|| {
        let obstacle = checks.obstacle(check).map(|n| &n.spec.name);
        obstacle.or(check.spec.needs.first())
    });
    let behind = behind.flatten().map(|name| Arc::from(name.as_str()));
    Standing {
        verdict: match (check.verdict(), &behind) {
            // Its verdict stays, but nothing is known of it now.
            (Verdict::Ok | Verdict::Pending, Some(_)) => Verdict::Unknown,
            (verdict, _) => verdict,
        },
        was: was.unwrap_or(Verdict::Pending),
        message: check.last.message.clone(),
        since: check.state.since(),
        labels: Arc::new(check.spec.labels.clone()),
        behind,
        flap: check.spec.alerts.flap,
    }
}

/// What its last run said.
pub fn status_word(check: &Check) -> Word {
    check
        .state
        .status()
        .map_or(Word::Pending, |s| Verdict::from(s).into())
}
