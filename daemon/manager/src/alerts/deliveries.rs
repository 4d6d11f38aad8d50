//! What became of deliveries: for the engine, and as facts.

use crate::journal::Fact;
use healthd_alerts::{Delivery, Kind, Outcome};
use healthd_core::wire::alerts::Tested;
use healthd_core::wire::events::EventKind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What of a delivery must be known at its end.
#[derive(Clone, Debug)]
pub struct Sent {
    pub message: u64,
    pub notice: u64,
    pub kind: Kind,
    pub route: Arc<str>,
    /// The first of its checks, and how many there are.
    pub check: Option<Arc<str>>,
    pub count: usize,
}

impl Sent {
    pub fn of(delivery: &Delivery) -> Sent {
        Sent {
            message: delivery.id,
            notice: delivery.notice,
            kind: delivery.kind,
            route: delivery.route.clone(),
            check: delivery.checks.first().map(|line| line.name.clone()),
            count: delivery.checks.len(),
        }
    }

    pub fn tested(&self, outcome: &Outcome) -> Tested {
        let (word, said) = match outcome {
            Outcome::Accepted { receipt } => ("accepted", receipt),
            Outcome::Refused { reason, .. } | Outcome::Held { reason, .. } => ("refused", reason),
            Outcome::Unknown { reason, .. } => ("unknown", reason),
        };
        Tested {
            route: self.route.to_string(),
            outcome: word.to_owned(),
            said: said.clone(),
        }
    }
}

#[derive(Default)]
pub struct Deliveries {
    ended: Vec<(Sent, Outcome)>,
    /// Why a route does not get through: told once, and not at each try.
    troubles: BTreeMap<Arc<str>, String>,
}

impl Deliveries {
    pub fn end(&mut self, sent: Sent, outcome: Outcome) {
        self.ended.push((sent, outcome));
    }

    pub fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    pub fn len(&self) -> usize {
        self.ended.len()
    }

    pub fn take(&mut self) -> Vec<(Sent, Outcome)> {
        std::mem::take(&mut self.ended)
    }

    pub fn fact(&mut self, sent: &Sent, outcome: &Outcome) -> Option<Fact> {
        let Sent {
            message,
            kind,
            route,
            count,
            ..
        } = sent;
        let kind = kind.as_str();
        let (event, said) = match outcome {
            Outcome::Accepted { receipt } => {
                self.troubles.remove(route);
                (EventKind::Told, receipt)
            }
            Outcome::Refused { reason, .. }
            | Outcome::Unknown { reason, .. }
            | Outcome::Held { reason, .. } => {
                let before = self.troubles.insert(route.clone(), reason.clone());
                if before.as_ref() == Some(reason) {
                    return None;
                }
                (EventKind::NotTold, reason)
            }
        };
        let name = sent.check.as_deref().unwrap_or_default();
        let fields =
            format!("route={route} kind={kind} checks={count} id={message} said=\"{said}\"");
        Some(
            Fact::new(event)
                .check(name)
                .cause(route)
                .why(format!("{kind}: {said}"))
                .fields(fields),
        )
    }
}
