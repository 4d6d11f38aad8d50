//! A check, as the engine is told of it.

use crate::check::Check;
use healthd_alerts::Standing;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Verdict;
use std::sync::Arc;

/// The engine has to know of it.
pub fn tells(check: &Check) -> bool {
    lies_behind(check) || !matches!(check.verdict(), Verdict::Ok | Verdict::Pending)
}

/// It is not judged, as the check that it needs is not ok.
pub fn lies_behind(check: &Check) -> bool {
    check.state.fault() == Some(Fault::Dependency)
}

/// `was`: its verdict before, if that is known.
pub fn standing(check: &Check, was: Option<Verdict>) -> Standing {
    let behind = lies_behind(check)
        .then(|| check.spec.needs.as_deref().map(Arc::from))
        .flatten();
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
