//! `/readyz`: whether the daemon does its work, with what is missing. A balancer or an orchestrator asks it.

use crate::body::Answer;
use crate::facts::history_status;
use crate::metrics;
use crate::routes::{Site, text};
use crate::times;
use healthd_core::wire::alerts::AlertsReport;
use healthd_core::wire::maps::{CLASSES, SLOT_STATES, SlotRecord};
use healthd_sys::clock;
use hyper::{Response, StatusCode};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The manager turns twice a second; so long without is a manager that hangs, or is dead.
const SILENT: u64 = 10_000_000_000;
const RECORDER_SILENT: u64 = 30_000_000_000;
/// A message that has been failing for so long is overdue, as the manager has it for `backup` and `alive`.
const OVERDUE_S: f64 = 300.0;

pub async fn answer(site: &Rc<Site>) -> Response<Answer> {
    let head = match site.keeper.borrow_mut().head() {
        Ok(head) => head,
        Err(e) => {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready\n- the manager has written nothing yet: {e}\n"),
            );
        }
    };
    let age = clock::monotonic_ns().saturating_sub(head.beat);
    let mut missing = missing(age, &head.slots);
    missing.extend(recorder(site));
    // Of a manager that does not answer nothing is known here: its beat speaks for it.
    let alerts = metrics::alerts(site).await;
    missing.extend(alerts.iter().flat_map(|report| overdue(report)));
    match missing.is_empty() {
        true => text(StatusCode::OK, "ready\n"),
        false => {
            let lines: String = missing.iter().map(|m| format!("- {m}\n")).collect();
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready\n{lines}"),
            )
        }
    }
}

/// It turns once a second; one that does not is dead, stopped, or waits for its disk.
fn recorder(site: &Site) -> Option<String> {
    if !site.settings.history {
        return None;
    }
    let beat = history_status(&site.args.runtime_dir).map_or(0, |h| h.beat);
    let age = clock::monotonic_ns().saturating_sub(beat);
    (age > RECORDER_SILENT).then(|| "the recorder has not turned for 30 s".to_owned())
}

/// Whoever is to be told of problems is not.
fn overdue(report: &AlertsReport) -> impl Iterator<Item = String> {
    let late = report
        .routes
        .iter()
        .filter(|r| r.oldest_pending_s >= OVERDUE_S);
    late.map(|route| {
        let since = times::span((route.oldest_pending_s * 1e9) as u64);
        format!(
            "a message of route `{}` has not got through for {since}",
            route.name
        )
    })
}

fn missing(age: u64, slots: &[(u32, SlotRecord)]) -> Vec<String> {
    let mut missing = Vec::new();
    if age > SILENT {
        let seconds = age / 1_000_000_000;
        missing.push(format!("the manager has not turned for {seconds} s"));
    }
    let mut classes: BTreeMap<u8, bool> = BTreeMap::new();
    for (_, slot) in slots.iter().filter(|(_, s)| !s.jail) {
        let is_ready = SLOT_STATES.get(usize::from(slot.state)) == Some(&"ready");
        *classes.entry(slot.class).or_default() |= is_ready;
    }
    for (class, _) in classes.iter().filter(|(_, ready)| !**ready) {
        let class = CLASSES.get(usize::from(*class)).unwrap_or(&"?");
        missing.push(format!("no worker of class {class} is ready"));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::alerts::RouteRow;

    #[test]
    fn a_route_that_reaches_nobody_is_named() {
        let route = |name: &str, oldest_pending_s| RouteRow {
            name: name.into(),
            oldest_pending_s,
            ..RouteRow::default()
        };
        let report = AlertsReport {
            routes: vec![route("mail", 299.0), route("slack", 420.0)],
            ..AlertsReport::default()
        };
        let told: Vec<String> = overdue(&report).collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("a message of route `slack` has not got through for 7"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let slot = |class: u8, state: u8, jail: bool| SlotRecord {
            used: true,
            class,
            state,
            jail,
            ..SlotRecord::default()
        };
        let well = [(0, slot(0, 1, false)), (1, slot(0, 3, false))];
        assert!(missing(0, &well).is_empty());
        let ill = [(0, slot(0, 3, false)), (1, slot(2, 1, true))];
        let told = missing(11_000_000_000, &ill);
        assert_eq!(
            told,
            [
                "the manager has not turned for 11 s",
                "no worker of class io is ready"
            ]
        );
    }
}
