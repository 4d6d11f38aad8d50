//! `on_change`: a program is run when a check has changed. Once for each change, by a carrier as messages are, and
//! never again: what a manager that died had under way is not begun anew.

use super::evidence::evidence;
use super::standing::status_word;
use crate::books::Books;
use crate::check::Check;
use crate::checks::Checks;
use crate::journal::Fact;
use healthd_alerts::{Delivery, Engine, Home, Kind, Line, Now, Outcome, Sure, Times};
use healthd_core::check::outcome::Verdict;
use healthd_core::config::CheckSpec;
use healthd_core::config::on_change::{Action, RUN_BY};
use healthd_core::text::cut;
use healthd_core::wire::events::EventKind;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// So many at once: a change of thousands of checks starts no thousand programs.
const AT_ONCE: usize = 8;

/// A check, and the place of the action in its config.
type Place = (u32, usize);

#[derive(Default)]
pub struct Actions {
    /// The last change of each that is not acted on yet.
    due: BTreeMap<Place, Change>,
    flying: HashSet<Place>,
    ended: Vec<(Acted, Outcome)>,
    /// When each was done lately, and whether it was said that it is too often.
    times: HashMap<Place, (Times, bool)>,
}

/// What has become of a check.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub was: Verdict,
    /// It is no verdict yet.
    pub is_soft: bool,
}

/// What is to be run.
pub struct Act {
    pub acted: Acted,
    /// By this, as a route is.
    pub spec: CheckSpec,
    pub delivery: Delivery,
    pub json: String,
}

/// What of it must be known at its end.
#[derive(Clone, Debug)]
pub struct Acted {
    place: Place,
    pub check: String,
    program: String,
}

impl Actions {
    /// The check has changed, and this is what it wants done.
    pub fn changed(&mut self, id: u32, change: Change, check: &Check) {
        let now = match change.is_soft {
            true => check.state.status().map_or(Verdict::Pending, Verdict::from),
            false => check.verdict(),
        };
        for (n, action) in check.spec.alerts.actions.iter().enumerate() {
            if action.is_for(now) && (action.soft || !change.is_soft) {
                self.due.insert((id, n), change);
            }
        }
    }

    pub fn ended(&mut self, acted: Acted, outcome: Outcome) {
        self.flying.remove(&acted.place);
        self.ended.push((acted, outcome));
    }

    pub fn is_due(&self) -> bool {
        let may_begin = self.flying.len() < AT_ONCE;
        !self.ended.is_empty()
            || (may_begin && self.due.keys().any(|place| !self.flying.contains(place)))
    }

    /// What became of those that have ended.
    pub fn facts(&mut self) -> Vec<Fact> {
        let ended = std::mem::take(&mut self.ended).into_iter();
        let fact = |(acted, outcome): (Acted, Outcome)| {
            let (kind, said) = match outcome {
                Outcome::Accepted { receipt } => (EventKind::Acted, receipt),
                Outcome::Refused { reason, .. }
                | Outcome::Unknown { reason, .. }
                | Outcome::Held { reason, .. } => (EventKind::NotActed, reason),
            };
            acted.fact(kind, &said)
        };
        ended.map(fact).collect()
    }

    /// The next one to be run; `facts` has what is not.
    pub fn next(
        &mut self,
        engine: &mut Engine,
        checks: &Checks,
        books: &Books,
        (home, now): (Home<'_>, Now),
        facts: &mut Vec<Fact>,
    ) -> Option<Act> {
        loop {
            if self.flying.len() >= AT_ONCE {
                return None;
            }
            let place = *self.due.keys().find(|place| !self.flying.contains(place))?;
            let change = self.due.remove(&place)?;
            let check = checks.get(place.0).filter(|c| !c.removed);
            let Some((check, action)) =
                check.and_then(|c| Some((c, c.spec.alerts.actions.get(place.1)?)))
            else {
                continue;
            };
            let acted = Acted {
                place,
                check: check.spec.name.clone(),
                program: action.argv.join(" "),
            };
            // Whoever works on it does not want to be helped.
            if engine
                .planned(&check.spec.name, &check.spec.labels)
                .is_some()
            {
                continue;
            }
            let (times, was_said) = self.times.entry(place).or_default();
            if times.are_full(action.limit, now.mono) {
                if !std::mem::replace(was_said, true) {
                    let why = format!("more often than {} is not allowed", action.limit);
                    facts.push(acted.fact(EventKind::NotActed, &why));
                }
                continue;
            }
            times.add(now.mono, action.limit);
            *was_said = false;
            self.flying.insert(place);
            let delivery = delivery(engine.message_id(), check, change);
            let runs = books.last_runs(check.identity.index);
            let more = |place: usize, _: &str| {
                let mut fields = evidence(place, check, &runs);
                fields.insert("soft".to_owned(), json!(change.is_soft));
                fields
            };
            let json = delivery.json(home, now.wall, &more).to_string();
            return Some(Act {
                acted,
                spec: spec(check, action),
                delivery,
                json,
            });
        }
    }

    /// A reload has given checks other numbers of actions, or taken checks away.
    pub fn forget(&mut self, checks: &Checks) {
        let is_there = |(id, n): &Place| {
            let check = checks.get(*id).filter(|c| !c.removed);
            check.is_some_and(|c| c.spec.alerts.actions.len() > *n)
        };
        self.due.retain(|place, _| is_there(place));
        self.times.retain(|place, _| is_there(place));
    }
}

impl Acted {
    fn fact(&self, kind: EventKind, said: &str) -> Fact {
        let program = cut(&self.program, PROGRAM_MAX);
        let fields = format!(
            "check={} program=\"{program}\" said=\"{said}\"",
            healthd_core::text::field(&self.check)
        );
        Fact::new(kind)
            .check(&self.check)
            .cause("on_change")
            .why(format!("{program}: {said}"))
            .fields(fields)
    }
}

fn delivery(id: u64, check: &Check, change: Change) -> Delivery {
    let verdict = match change.is_soft {
        true => status_word(check),
        false => check.verdict().into(),
    };
    let since = check.state.since();
    let line = Line {
        name: Arc::from(check.spec.name.as_str()),
        verdict,
        was: change.was.into(),
        message: check.last.message.clone(),
        since,
        labels: Arc::new(check.spec.labels.clone()),
        flaps: false,
        ack: None,
    };
    Delivery {
        id,
        notice: 0,
        kind: Kind::Change,
        route: Arc::from("on_change"),
        sure: Sure::Told,
        checks: vec![line],
        bad: usize::from(verdict != healthd_alerts::Word::Ok),
        behind: Vec::new(),
        behind_count: 0,
        near: Vec::new(),
        also: Vec::new(),
        from: since,
        to: None,
        instead_of: None,
    }
}

/// A run of the plugin that runs notification scripts.
fn spec(check: &Check, action: &Action) -> CheckSpec {
    let config = json!({ "argv": action.argv }).to_string();
    CheckSpec {
        name: format!("on_change of {}", check.spec.name),
        title: String::new(),
        plugin: RUN_BY.to_owned(),
        timeout: action.timeout,
        attempts: 1,
        enabled: true,
        groups: Vec::new(),
        needs: Vec::new(),
        labels: BTreeMap::new(),
        alerts: Default::default(),
        shown_config: config.clone(),
        config,
        unusable: None,
        from: Arc::default(),
        ..check.spec.clone()
    }
}

/// Bytes of its command line, as it is told.
const PROGRAM_MAX: usize = 120;
