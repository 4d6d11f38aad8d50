//! `/readyz`: whether the daemon does its work, with what is missing. A balancer or an orchestrator asks it.

use crate::body::Answer;
use crate::facts::history_status;
use crate::routes::{Site, text};
use healthd_core::wire::maps::{CLASSES, SLOT_STATES, SlotRecord};
use healthd_sys::clock;
use hyper::{Response, StatusCode};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The manager turns twice a second; so long without is a manager that hangs, or is dead.
const SILENT: u64 = 10_000_000_000;
const RECORDER_SILENT: u64 = 30_000_000_000;

pub fn answer(site: &Rc<Site>) -> Response<Answer> {
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
