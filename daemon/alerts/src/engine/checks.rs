//! What the verdict of a check means for each route: whether it should be told, now or later.

use super::{Engine, Wake};
use crate::check::{Check, Standing};
use crate::notice::{Key, Member, Notice, Stage};
use crate::record::{MEMBERS_MAX, Record, Said};
use crate::route::{By, Route};
use crate::time::{Now, ns};
use std::sync::Arc;

/// Whether a route's receiver should know of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    No,
    /// If it is still there by then.
    Later(u64),
    Yes,
}

impl Engine {
    /// The verdict of a check has flipped, or it lies behind another now, or does not any more.
    pub fn change(&mut self, name: &str, standing: Standing, now: Now) {
        let known = self
            .checks
            .get_key_value(name)
            .map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| name.into());
        let check = self
            .checks
            .entry(name.clone())
            .or_insert_with(Check::unheard);
        check.hear(standing, now);
        self.wakes.by(Wake::Check(name), now.mono);
    }

    /// It is not in the config any more.
    pub fn removed(&mut self, name: &str, now: Now) {
        let Some((name, _)) = self.checks.get_key_value(name) else {
            return;
        };
        let name = name.clone();
        if let Some(check) = self.checks.get_mut(&name) {
            check.remove(now);
        }
        self.wakes.by(Wake::Check(name), now.mono);
    }

    pub(super) fn wish(&self, route: &Route, name: &str, check: &Check, now: Now) -> Wish {
        let Some(problem) = check.problem() else {
            return Wish::No;
        };
        if check.behind.is_some() || self.holds.holds(name, &check.labels) {
            return Wish::No;
        }
        if self.stands_in(route, check).is_some() {
            return Wish::Yes;
        }
        let lane = self.lanes.get(&route.name);
        let is_open = route.when.is_none() || lane.is_some_and(|lane| lane.window.is_open());
        if !route.enabled
            || !is_open
            || !route.on.has(problem)
            || !route.matches.fits(name, &check.labels)
        {
            return Wish::No;
        }
        let due = check.bad_from.saturating_add(ns(route.after));
        if now.mono < due {
            return Wish::Later(due);
        }
        Wish::Yes
    }

    /// The notice on another route that cannot reach its receiver, and for which this route stands in.
    pub(super) fn stands_in(&self, route: &Route, check: &Check) -> Option<u64> {
        let for_it = |(of, id): &&(Arc<str>, u64)| {
            let backed = self.notices.get(id).is_some_and(|n| n.is_backed);
            backed && self.route(of).and_then(|r| r.backup.as_ref()) == Some(&route.name)
        };
        check.notices.iter().find(for_it).map(|(_, id)| *id)
    }

    pub(super) fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.config.routes.iter().find(|route| &*route.name == name)
    }

    pub(super) fn look_at_check(&mut self, name: &Arc<str>, now: Now) {
        let Some(check) = self.checks.get_mut(name) else {
            return;
        };
        check.settle(now.mono);
        let parent = check.behind.clone().filter(|_| check.is_bad());
        let listed = std::mem::replace(&mut check.listed, parent.clone());
        if check.is_over() {
            for id in self.holds.of_problem(name) {
                self.holds.take_back(id);
                self.records.push(Record::HoldGone(id));
            }
        }
        if listed != parent {
            self.list_behind(name, listed, parent);
        }
        let check = &self.checks[name];
        let mut next = check.next();
        let (mut joins, mut leaves) = (Vec::new(), Vec::new());
        for route in &self.config.routes {
            let here = check.notice_on(&route.name);
            let here = here.and_then(|id| self.notices.get(&id));
            if let Some(notice) = here
                && !matches!(notice.stage, Stage::Collecting { .. })
            {
                if !self.is_settled(notice) {
                    self.wakes.by(Wake::Notice(notice.id), now.mono);
                }
                let begun = matches!(notice.stage, Stage::Ending { .. });
                if !begun || self.rules().endings_are_finished() {
                    continue;
                }
            }
            let collecting = here.filter(|n| matches!(n.stage, Stage::Collecting { .. }));
            match (self.wish(route, name, check, now), collecting) {
                (Wish::Yes, None) => joins.push(route.clone()),
                (Wish::Yes, Some(_)) | (Wish::No, None) => {}
                (Wish::Later(at), here) => {
                    next = Some(next.map_or(at, |next| next.min(at)));
                    leaves.extend(here.map(|n| n.id));
                }
                (Wish::No, Some(notice)) => leaves.push(notice.id),
            }
        }
        self.wakes.set(Wake::Check(name.clone()), next);
        for id in leaves {
            self.leave(id, name, now);
        }
        for route in joins {
            self.join(&route, name, now);
        }
        self.forget(name);
    }

    /// It is tried again at its time, whatever this one check does: another of its members is bad all the same. So a
    /// receiver that is away costs nothing for each flip of what it has not been told.
    fn is_settled(&self, notice: &Notice) -> bool {
        let untold = matches!(notice.stage, Stage::Refused | Stage::Sending { .. });
        let another = notice
            .still_bad
            .as_ref()
            .and_then(|name| self.checks.get(name));
        let looked_at = self.wakes.at(&Wake::Notice(notice.id));
        let retry = notice.trouble.map(|(_, trouble)| trouble.next);
        let in_time = looked_at.zip(retry).is_some_and(|(at, retry)| at <= retry);
        untold && in_time && another.is_some_and(Check::is_bad)
    }

    fn leave(&mut self, id: u64, name: &Arc<str>, now: Now) {
        if let Some(notice) = self.notices.get_mut(&id) {
            notice.members.remove(name);
            self.wakes.by(Wake::Notice(id), now.mono);
        }
        if let Some(check) = self.checks.get_mut(name) {
            check.notices.retain(|(_, of)| *of != id);
        }
    }

    /// The problem is due on this route: it joins those that are being collected, or is the first.
    fn join(&mut self, route: &Arc<Route>, name: &Arc<str>, now: Now) {
        let Some(check) = self.checks.get(name) else {
            return;
        };
        let key = match &route.by {
            By::None => Key::All,
            By::Check => Key::Check(name.clone()),
            By::Label(label) => Key::Label(check.labels.get(label).cloned().unwrap_or_default()),
        };
        let since = check.bad_since;
        let ripe = now
            .mono
            .saturating_add(ns(route.wait))
            .max(self.starting_until);
        let id = self.gathering_notice(route.name.clone(), key, ripe, since);
        self.add_member(id, name, since, now);
    }

    /// The one that problems of this kind join now; a new one if there is none, or it is full.
    pub(super) fn gathering_notice(
        &mut self,
        route: Arc<str>,
        key: Key,
        ripe: u64,
        since: u64,
    ) -> u64 {
        let place = (route, key);
        if let Some(id) = self.gathering.get(&place)
            && let Some(notice) = self.notices.get(id)
            && notice.is_open()
            && notice.members.len() < MEMBERS_MAX
        {
            return *id;
        }
        let (id, problem) = (self.ids.give(), self.ids.give());
        let notice = Notice::new(id, problem, place.0.clone(), place.1.clone(), ripe, since);
        self.notices.insert(id, notice);
        self.gathering.insert(place, id);
        id
    }

    pub(super) fn add_member(&mut self, id: u64, name: &Arc<str>, since: u64, now: Now) {
        let Some(notice) = self.notices.get_mut(&id) else {
            return;
        };
        let member = Member {
            said: Said::Nothing,
            telling: Said::Nothing,
            since,
        };
        notice.members.insert(name.clone(), member);
        notice.since = notice.since.min(since);
        let route = notice.route.clone();
        if let Some(check) = self.checks.get_mut(name) {
            check.notices.retain(|(of, _)| *of != route);
            check.notices.push((route, id));
        }
        self.wakes.by(Wake::Notice(id), now.mono);
    }

    fn list_behind(&mut self, name: &Arc<str>, old: Option<Arc<str>>, new: Option<Arc<str>>) {
        if let Some(old) = old
            && let Some(list) = self.behind.get_mut(&old)
        {
            list.remove(name);
            if list.is_empty() {
                self.behind.remove(&old);
            }
        }
        if let Some(new) = new {
            self.behind.entry(new).or_default().insert(name.clone());
        }
    }

    fn forget(&mut self, name: &Arc<str>) {
        if self.checks.get(name).is_some_and(Check::is_forgettable) {
            self.checks.remove(name);
            self.wakes.set(Wake::Check(name.clone()), None);
        }
    }
}
