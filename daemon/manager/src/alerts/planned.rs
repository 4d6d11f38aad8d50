//! Which checks are in maintenance: history has to know when that begins and ends, by whatever it was planned.

use crate::checks::Checks;
use crate::journal::Fact;
use healthd_alerts::Engine;
use healthd_core::wire::events::EventKind;
use std::collections::HashSet;

/// By name. Whoever reads the events takes a start as the end of all that was planned, so it begins empty.
#[derive(Default)]
pub struct Planned(HashSet<String>);

impl Planned {
    /// What has changed since the last look.
    pub fn look(&mut self, engine: &mut Engine, checks: &Checks) -> Vec<Fact> {
        let mut facts = Vec::new();
        let any = match engine.plans_changed() {
            Some(any) => any,
            None => return facts,
        };
        if !any && self.0.is_empty() {
            return facts;
        }
        let mut now = HashSet::new();
        for check in checks.order().iter().filter_map(|id| checks.get(*id)) {
            let name = &check.spec.name;
            let Some(reason) = engine.planned(name, &check.spec.labels) else {
                continue;
            };
            if !self.0.contains(name) {
                let begun = Fact::new(EventKind::MaintenanceBegun).check(name);
                facts.push(begun.why(reason));
            }
            now.insert(name.clone());
        }
        // One that was removed has an event of that.
        let ended = self.0.iter().filter(|name| !now.contains(*name));
        let ended = ended.filter(|name| checks.find(name).is_some());
        facts.extend(ended.map(|name| Fact::new(EventKind::MaintenanceEnded).check(name)));
        self.0 = now;
        facts
    }
}
