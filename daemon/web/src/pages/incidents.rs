//! Incidents of the public page: from when until when a check was not well, and what people have said of it. Made of the
//! ring of events, newest first; nothing that a target said is taken.

use super::words::Shown;
use healthd_core::wire::events::{EventKind, EventRecord};
use std::collections::HashMap;

/// So many are shown.
const MOST: usize = 30;

#[derive(Debug, PartialEq, Eq)]
pub struct Incident {
    /// Of the event that it began with, as far as that is known.
    pub seq: u64,
    pub check: String,
    /// The worst that it was. None: there was a note alone.
    pub worst: Option<Shown>,
    /// CLOCK_REALTIME, ns. None: before what is known.
    pub begun: Option<u64>,
    /// None: it goes on.
    pub ended: Option<u64>,
    /// When, and what; oldest first.
    pub notes: Vec<(u64, String)>,
}

impl Incident {
    /// When something was said of it last.
    pub fn updated(&self) -> u64 {
        let note = self.notes.last().map(|(at, _)| *at);
        let times = [self.begun, self.ended, note];
        times.into_iter().flatten().max().unwrap_or(0)
    }
}

/// What is known so far, of events that come newest first.
#[derive(Default)]
pub struct Incidents {
    done: Vec<Incident>,
    /// By check: those whose begin is still to come.
    open: HashMap<String, Incident>,
}

impl Incidents {
    /// False: it is enough.
    pub fn add(&mut self, event: EventRecord) -> bool {
        let new = || Incident {
            seq: event.number,
            check: event.check.clone(),
            worst: None,
            begun: None,
            ended: None,
            notes: Vec::new(),
        };
        match event.kind {
            EventKind::Noted => {
                let incident = self.open.entry(event.check.clone()).or_insert_with(new);
                incident.seq = event.number;
                incident.notes.push((event.time, event.message));
            }
            // Nothing had been wrong before the first run.
            EventKind::Flipped if event.to == "ok" && event.from == "pending" => {}
            EventKind::Flipped if event.to == "ok" => {
                let known = self.open.get(&event.check);
                if known.is_some_and(|i| i.worst.is_some() || i.ended.is_some()) {
                    self.done.extend(self.open.remove(&event.check));
                }
                let incident = self.open.entry(event.check.clone()).or_insert_with(new);
                incident.ended = Some(event.time);
            }
            EventKind::Flipped => {
                let Some(to) = Shown::of_word(event.to) else {
                    return true;
                };
                let mut incident = self.open.remove(&event.check).unwrap_or_else(new);
                incident.seq = event.number;
                incident.worst = Some(worse(incident.worst, to));
                if matches!(event.from, "ok" | "pending") {
                    incident.begun = Some(event.time);
                    self.done.push(incident);
                } else {
                    self.open.insert(event.check, incident);
                }
            }
            _ => {}
        }
        self.done.len() < MOST
    }

    /// The newest first.
    pub fn all(self) -> Vec<Incident> {
        let mut all = self.done;
        all.extend(self.open.into_values());
        for incident in &mut all {
            incident.notes.reverse();
        }
        all.sort_by_key(|i| std::cmp::Reverse(i.seq));
        all.truncate(MOST);
        all
    }
}

fn worse(known: Option<Shown>, other: Shown) -> Shown {
    let order = [Shown::Critical, Shown::Unknown, Shown::Warning];
    let either = |s: &Shown| known == Some(*s) || other == *s;
    order.into_iter().find(either).unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flip(number: u64, check: &str, from: &'static str, to: &'static str) -> EventRecord {
        EventRecord {
            number,
            time: number * 10,
            kind: EventKind::Flipped,
            check: check.to_owned(),
            from,
            to,
            message: "what a target said".to_owned(),
            ..EventRecord::default()
        }
    }

    fn note(number: u64, check: &str) -> EventRecord {
        EventRecord {
            number,
            time: number * 10,
            kind: EventKind::Noted,
            check: check.to_owned(),
            message: format!("note {number}"),
            ..EventRecord::default()
        }
    }

    fn of(events: Vec<EventRecord>) -> Vec<Incident> {
        let mut found = Incidents::default();
        assert!(events.into_iter().rev().all(|e| found.add(e)));
        found.all()
    }

    #[test]
    fn an_incident_is_one_from_its_begin_to_its_end() {
        let found = of(vec![
            flip(1, "shop", "pending", "ok"),
            flip(2, "shop", "ok", "warning"),
            flip(4, "shop", "warning", "critical"),
            note(5, "shop"),
            flip(6, "shop", "critical", "warning"),
            flip(7, "shop", "warning", "ok"),
            note(8, "shop"),
            flip(9, "shop", "ok", "unknown"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        let (now, before) = (&found[0], &found[1]);
        assert_eq!((now.begun, now.ended), (Some(90), None));
        assert_eq!(now.worst, Some(Shown::Unknown));
        assert_eq!(
            (before.seq, before.begun, before.ended),
            (2, Some(20), Some(70))
        );
        assert_eq!(before.worst, Some(Shown::Critical));
        let notes = [(50, "note 5".to_owned()), (80, "note 8".to_owned())];
        assert_eq!(before.notes, notes);
        assert_eq!(before.updated(), 80);
    }

    #[test]
    fn what_the_ring_no_longer_holds_is_not_made_up() {
        let found = of(vec![
            flip(5, "a", "warning", "critical"),
            flip(6, "b", "critical", "ok"),
            note(7, "c"),
            flip(8, "b", "ok", "critical"),
            flip(9, "b", "critical", "ok"),
        ]);
        let told = |i: &Incident| (i.seq, i.worst, i.begun, i.ended);
        let found: Vec<_> = found.iter().map(told).collect();
        assert_eq!(
            found,
            [
                (8, Some(Shown::Critical), Some(80), Some(90)),
                (7, None, None, None),
                (6, None, None, Some(60)),
                (5, Some(Shown::Critical), None, None),
            ]
        );
    }
}
