//! Start and reload: what was left is taken up, and the config that is in force is applied to it.

use super::{Engine, Wake};
use crate::check::{Check, Standing};
use crate::holds::Holds;
use crate::lane::Lane;
use crate::notice::{Notice, Stage};
use crate::record::Record;
use crate::route::Config;
use crate::time::{Now, SECOND};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A notice whose route is not in the config any more: its receiver will not hear how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub route: Arc<str>,
    pub notice: u64,
    pub checks: Vec<Arc<str>>,
}

impl Engine {
    /// From what another has written down, the oldest first. `wall`: CLOCK_REALTIME in nanoseconds.
    pub fn restore(wall: u64, records: impl IntoIterator<Item = Record>) -> Engine {
        let mut engine = Engine::new(wall);
        for record in records {
            match record {
                Record::Notice(saved) => {
                    let others = saved
                        .recovery
                        .into_iter()
                        .chain(saved.extra.map(|(_, id)| id));
                    for id in others.chain([saved.id, saved.problem]) {
                        engine.ids.seen(id);
                    }
                    engine.notices.insert(saved.id, Notice::restored(saved));
                }
                Record::NoticeGone(id) => {
                    engine.ids.seen(id);
                    engine.notices.remove(&id);
                }
                Record::Hold(id, hold) => {
                    engine.ids.seen(id);
                    engine.holds.give(id, hold);
                }
                Record::HoldGone(id) => {
                    engine.ids.seen(id);
                    engine.holds.take_back(id);
                }
                Record::Route(saved) => {
                    let name = saved.name.clone();
                    engine.lanes.insert(name, Lane::restored(saved));
                }
                Record::Sent(sent) => engine.weeks.restore(sent),
            }
        }
        for notice in engine.notices.values() {
            for name in notice.members.keys() {
                let check = engine
                    .checks
                    .entry(name.clone())
                    .or_insert_with(Check::unheard);
                check.notices.push((notice.route.clone(), notice.id));
            }
        }
        engine
    }

    /// The config that is in force from now on, at a start and at each reload. `lookup` knows every check that there
    /// is (`Pending`: it has no verdict); what it does not know was removed. Says what nobody will hear the end of.
    pub fn configure(
        &mut self,
        config: Config,
        now: Now,
        lookup: &dyn Fn(&str) -> Option<Standing>,
    ) -> Vec<Orphan> {
        self.holds.set_calendar(config.maintenance.clone());
        self.holds_changed = true;
        self.config = config;
        let mut old: BTreeMap<Arc<str>, Lane> = std::mem::take(&mut self.lanes);
        for route in &self.config.routes {
            let lane = old.remove(&route.name).unwrap_or_default();
            self.lanes.insert(route.name.clone(), lane.renewed());
            if let Some(every) = route.alive {
                let soon = crate::time::ns(every).min(10 * SECOND);
                self.wakes
                    .by(Wake::Alive(route.name.clone()), now.mono + soon);
            }
        }
        let lanes = &self.lanes;
        self.weeks.keep(|route| lanes.contains_key(route));
        let orphans = self.drop_routes(now);
        for (name, check) in &mut self.checks {
            match lookup(name) {
                Some(standing) => check.hear(standing, now),
                None => check.remove(now),
            }
        }
        let ids: Vec<u64> = self.notices.keys().copied().collect();
        for id in ids {
            let key = self.key_of(id);
            self.ungather(id);
            if let Some(notice) = self.notices.get_mut(&id) {
                if let Some(key) = key.filter(|_| notice.is_saved) {
                    notice.key = key;
                }
                if notice.told_from == 0 {
                    notice.told_from = now.mono_before(notice.told_at);
                }
                if let Some((_, trouble)) = notice.trouble.as_mut().filter(|(_, t)| t.since == 0) {
                    trouble.since = now.mono_before(trouble.since_wall);
                }
                self.wakes.by(Wake::Notice(id), now.mono);
                let place = (notice.route.clone(), notice.key.clone());
                match notice.stage {
                    Stage::Refused if notice.flying.is_none() => self.gather(id, now),
                    Stage::Collecting { .. } => {
                        self.gathering.entry(place).or_insert(id);
                    }
                    _ => {}
                }
            }
        }
        self.look_at_all(now);
        orphans
    }

    /// Until this time of CLOCK_MONOTONIC first runs are still coming in: what they find is one message.
    pub fn starting_until(&mut self, mono: u64) {
        self.starting_until = mono;
    }

    fn drop_routes(&mut self, now: Now) -> Vec<Orphan> {
        let gone: Vec<u64> = (self.notices.values())
            .filter(|n| !self.lanes.contains_key(&n.route))
            .map(|n| n.id)
            .collect();
        let mut orphans = Vec::new();
        for id in gone {
            if self.is_believed(id)
                && let Some(notice) = self.notices.get(&id)
            {
                orphans.push(Orphan {
                    route: notice.route.clone(),
                    notice: id,
                    checks: notice.members.keys().cloned().collect(),
                });
            }
            self.drop_notice(id, now);
        }
        orphans
    }

    /// Silences, acknowledgements and maintenance, for whoever asks.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }
}
