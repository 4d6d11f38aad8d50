//! What a notice needs: looks at its members, and starts what its plan says.

use super::{Engine, Flight, Wake};
use crate::check::{Check, Heard};
use crate::delivery::{Delivery, Kind, Line, Sure, Word};
use crate::engine::checks::Wish;
use crate::lane::FLYING_MOST;
use crate::notice::{Class, Key, Knew, Look, Member, Notice, Plan, Stage, class};
use crate::record::{MEMBERS_MAX, Record, Said};
use crate::route::Route;
use crate::time::{Now, SECOND, ns};
use healthd_core::check::outcome::Verdict;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Engine {
    pub(super) fn look_at_notice(&mut self, id: u64, now: Now) {
        let Some(notice) = self.notices.get(&id) else {
            return;
        };
        let Some(route) = self.route(&notice.route).cloned() else {
            return;
        };
        let flies = notice.flying.is_some();
        self.back_up(id, &route, now);
        if flies {
            return;
        }
        let look = self.look(id, &route, now);
        let Some(notice) = self.notices.get_mut(&id) else {
            return;
        };
        let partial = look.partial && !look.over;
        notice.still_bad.clone_from(&look.still_bad);
        notice.partial_since = partial.then(|| notice.partial_since.unwrap_or(now.mono));
        let plan = notice.plan(&look, &route, now.mono);
        if notice.is_settled(&look, &route, now.mono) && notice.forget_trouble() {
            self.save(id);
        }
        match plan {
            Plan::Wait(at) => self.wakes.set(Wake::Notice(id), at),
            Plan::Drop => return self.drop_notice(id, now),
            Plan::Send(kind) => {
                self.wakes.set(Wake::Notice(id), None);
                self.send(id, kind, &route, now);
            }
        }
        let notice = self.notices.get(&id).filter(|_| route.backup.is_some());
        if let Some(at) = notice.and_then(Notice::backup_at) {
            self.wakes.by(Wake::Notice(id), at);
        }
    }

    /// A route that has failed for too long: its backup is told of the same checks.
    fn back_up(&mut self, id: u64, route: &Route, now: Now) {
        let Some(notice) = self.notices.get_mut(&id) else {
            return;
        };
        if route.backup.is_some() && notice.backup_at().is_some_and(|at| at <= now.mono) {
            notice.is_backed = true;
            for name in notice.members.keys() {
                self.wakes.by(Wake::Check(name.clone()), now.mono);
            }
        }
    }

    fn look(&self, id: u64, route: &Route, now: Now) -> Look {
        let mut look = Look {
            over: true,
            held: true,
            ..Look::default()
        };
        let Some(notice) = self.notices.get(&id) else {
            return look;
        };
        for (name, member) in &notice.members {
            let Some(check) = self.checks.get(name) else {
                continue;
            };
            look.over &= check.is_over();
            look.calm_at = look.calm_at.max(check.calm_at());
            if look.still_bad.is_none() && check.is_bad() {
                look.still_bad = Some(name.clone());
            }
            look.held &= self.holds.holds(name, &check.labels);
            let may = self.wish(route, name, check, now) == Wish::Yes;
            look.wanted |= may;
            match (check.problem(), member.said) {
                (Some(problem), Said::Bad(said)) if may && rank(problem) > rank(said) => {
                    sooner(&mut look.worse_at, check.changed + ns(route.wait));
                }
                (Some(_), Said::Over) if may => {
                    sooner(&mut look.worse_at, check.changed + ns(route.wait));
                }
                (None, Said::Bad(_) | Said::Nothing) => look.partial |= check.is_over(),
                _ => {}
            }
        }
        if !self.rules().recoveries_pass() && look.held {
            look.over = false;
        }
        look
    }

    fn send(&mut self, id: u64, kind: Kind, route: &Route, now: Now) {
        let Some(lane) = self.lanes.get_mut(&route.name) else {
            return;
        };
        if lane.flying >= FLYING_MOST {
            if let Some(notice) = self.notices.get_mut(&id) {
                notice.is_due(class(kind), now);
                if !std::mem::replace(&mut notice.waits, true) {
                    lane.waiting.push_back(id);
                }
            }
            return;
        }
        if lane.held(now).is_none() && self.is_over_limit(id, kind, route, now) {
            return;
        }
        self.start(id, kind, now);
    }

    /// True: it has to wait, or what it has to say goes into another message.
    fn is_over_limit(&mut self, id: u64, kind: Kind, route: &Route, now: Now) -> bool {
        let (Some(limit), Some(notice)) = (route.limit, self.notices.get_mut(&id)) else {
            return false;
        };
        let counts = matches!(kind, Kind::Problem | Kind::Worse | Kind::Repeat);
        let counts = counts && !notice.is_counted;
        let Some(lane) = self.lanes.get_mut(&route.name).filter(|_| counts) else {
            return false;
        };
        if !lane.sent.are_full(limit, now.mono) {
            lane.sent.add(now.mono, limit);
            notice.is_counted = true;
            return false;
        }
        let until = lane.sent.full_until(limit).unwrap_or(now.mono);
        let is_collecting = matches!(notice.stage, Stage::Collecting { .. });
        if is_collecting && notice.key != Key::Overflow {
            let since = notice.since;
            let into = self.gathering_notice(route.name.clone(), Key::Overflow, until, since);
            if self.merge(id, into, now) {
                return true;
            }
        }
        self.wakes.by(Wake::Notice(id), until.max(now.mono + 1));
        true
    }

    /// Nothing of `from` has left: its members go over, as far as there is room. False: there was not.
    pub(super) fn merge(&mut self, from: u64, into: u64, now: Now) -> bool {
        let Some(room) = self
            .notices
            .get(&into)
            .map(|n| MEMBERS_MAX.saturating_sub(n.members.len()))
        else {
            return false;
        };
        let Some(notice) = self.notices.get_mut(&from) else {
            return false;
        };
        if notice.members.len() > room {
            return false;
        }
        let members = std::mem::take(&mut notice.members);
        for (name, member) in members {
            self.add_member(into, &name, member.since, now);
        }
        self.drop_notice(from, now);
        true
    }

    fn start(&mut self, id: u64, kind: Kind, now: Now) {
        self.ungather(id);
        let Some(notice) = self.notices.get_mut(&id) else {
            return;
        };
        let message = match kind {
            Kind::Problem => {
                let doubt = matches!(notice.stage, Stage::Sending { doubt: true });
                notice.stage = Stage::Sending { doubt };
                notice.problem
            }
            Kind::Recovery => {
                let (knew, doubt) = match notice.stage {
                    Stage::Ending { knew, doubt } => (knew, doubt),
                    Stage::Told => (Knew::Yes, false),
                    Stage::Sending { .. } => (Knew::Maybe, false),
                    Stage::Refused | Stage::Collecting { .. } => (Knew::No, false),
                };
                let is_first = !matches!(notice.stage, Stage::Ending { .. });
                if is_first {
                    let ends = (notice.members.keys()).filter_map(|name| self.checks.get(name));
                    let last = ends.map(|check| check.since).filter(|at| *at > 0).max();
                    notice.ended_at = Some(last.unwrap_or(now.wall));
                }
                notice.stage = Stage::Ending { knew, doubt };
                *notice.recovery.get_or_insert_with(|| self.ids.give())
            }
            Kind::Worse | Kind::Update | Kind::Repeat | Kind::Test | Kind::Alive | Kind::Change => {
                // What was tried before may have arrived, and is another message if it is of another kind.
                let same = notice.extra.filter(|(of, _)| *of == kind);
                let (_, message) = same.unwrap_or_else(|| (kind, self.ids.give()));
                notice.extra = Some((kind, message));
                message
            }
        };
        let route = notice.route.clone();
        notice.flying = Some(kind);
        notice.is_due(class(kind), now);
        for (name, member) in &mut notice.members {
            if let Some(check) = self.checks.get(name) {
                member.telling = match check.problem() {
                    Some(problem) => Said::Bad(problem),
                    None if check.is_over() => Said::Over,
                    None => member.said,
                };
            }
        }
        if class(kind) != Class::Problem || self.rules().written_first() {
            self.save(id);
        }
        if let Some(held) = self.lanes.get(&route).and_then(|lane| lane.held(now)) {
            return self.notice_outcome(id, kind, held, now);
        }
        let Some(delivery) = self.delivery(id, kind, message) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&delivery.route) {
            lane.flying += 1;
        }
        let flight = Flight {
            route: delivery.route.clone(),
            notice: Some(id),
            kind,
            check: delivery.checks.first().map(|line| line.name.clone()),
            since: now.mono,
        };
        self.flights.insert(message, flight);
        self.deliver.push(delivery);
    }

    pub(super) fn save(&mut self, id: u64) {
        if let Some(notice) = self.notices.get_mut(&id) {
            notice.is_saved = true;
            self.records.push(Record::Notice(notice.saved()));
        }
    }

    /// Nobody joins it any more.
    pub(super) fn ungather(&mut self, id: u64) {
        let Some(notice) = self.notices.get(&id) else {
            return;
        };
        let place = (notice.route.clone(), notice.key.clone());
        if self.gathering.get(&place) == Some(&id) {
            self.gathering.remove(&place);
        }
    }

    pub(super) fn drop_notice(&mut self, id: u64, now: Now) {
        self.ungather(id);
        let Some(notice) = self.notices.remove(&id) else {
            return;
        };
        if notice.is_saved {
            self.records.push(Record::NoticeGone(id));
        }
        self.wakes.set(Wake::Notice(id), None);
        for name in notice.members.keys() {
            if let Some(check) = self.checks.get_mut(name) {
                check.notices.retain(|(_, of)| *of != id);
                self.wakes.by(Wake::Check(name.clone()), now.mono);
            }
        }
    }

    /// True: somebody who waited was looked at, and there may be more to do.
    pub(super) fn fill_lanes(&mut self, now: Now) -> bool {
        let mut looked = false;
        let lanes: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        for name in lanes {
            while let Some(lane) = self.lanes.get_mut(&name)
                && lane.flying < FLYING_MOST
                && let Some(id) = lane.waiting.pop_front()
            {
                if let Some(notice) = self.notices.get_mut(&id) {
                    notice.waits = false;
                }
                self.look_at_notice(id, now);
                looked = true;
            }
        }
        looked
    }

    pub(super) fn alive(&mut self, name: &Arc<str>, now: Now) {
        let Some(every) = self.route(name).filter(|r| r.enabled).and_then(|r| r.alive) else {
            return;
        };
        self.wakes.set(
            Wake::Alive(name.clone()),
            Some(now.mono.saturating_add(ns(every))),
        );
        let overdue = self.notices.values().any(|n| n.is_overdue(now.mono));
        if !overdue {
            self.without_notice(name, Kind::Alive, now);
        }
    }

    fn delivery(&self, id: u64, kind: Kind, message: u64) -> Option<Delivery> {
        let notice = self.notices.get(&id)?;
        let route = self.route(&notice.route)?;
        let recovers = kind == Kind::Recovery;
        let mut lines: Vec<Line> = (notice.members.iter())
            .filter_map(|(name, member)| {
                let mut line = line(name, self.checks.get(name)?);
                line.ack = self.holds.ack_of(name);
                Some(if recovers {
                    ended(line, member, notice)
                } else {
                    line
                })
            })
            .collect();
        let bad = |line: &Line| !matches!(line.verdict, Word::Ok | Word::Removed);
        lines.sort_by_key(|line| !bad(line));
        let bad = lines.iter().filter(|line| bad(line)).count();
        let behind = match recovers {
            true => BTreeSet::new(),
            false => self.all_behind(notice.members.keys()),
        };
        let instead_of = notice.members.keys().find_map(|name| {
            let of = self
                .notices
                .get(&self.stands_in(route, self.checks.get(name)?)?)?;
            let why = of.refusal.as_deref().unwrap_or(NO_WORD);
            Some((of.route.clone(), why.to_owned()))
        });
        Some(Delivery {
            id: message,
            notice: id,
            kind,
            route: notice.route.clone(),
            sure: match notice.stage {
                Stage::Ending {
                    knew: Knew::Maybe | Knew::No,
                    ..
                } => Sure::Not,
                _ => Sure::Told,
            },
            checks: lines,
            bad,
            behind_count: behind.len(),
            behind: behind.into_iter().take(BEHIND_SHOWN).cloned().collect(),
            near: match kind {
                Kind::Problem | Kind::Worse => self.near(notice),
                _ => Vec::new(),
            },
            also: self.also(notice),
            from: notice.since,
            to: notice.ended_at.filter(|_| recovers),
            instead_of,
        })
    }

    /// Other routes that have told of some of these.
    fn also(&self, notice: &Notice) -> Vec<Arc<str>> {
        let members = notice
            .members
            .keys()
            .filter_map(|name| self.checks.get(name));
        let on = members.flat_map(|check| &check.notices);
        let told = on.filter(|(_, id)| {
            let other = self.notices.get(id).filter(|other| other.id != notice.id);
            other.is_some_and(|other| other.told_at > 0)
        });
        let routes: BTreeSet<&Arc<str>> = told.map(|(route, _)| route).collect();
        routes.into_iter().cloned().collect()
    }

    /// What lies behind these, and behind that, at however many steps.
    fn all_behind<'e>(
        &'e self,
        from: impl Iterator<Item = &'e Arc<str>>,
    ) -> BTreeSet<&'e Arc<str>> {
        let (mut found, mut open): (_, Vec<_>) = (BTreeSet::new(), from.collect());
        while let Some(name) = open.pop() {
            let next = self.behind.get(name).into_iter().flatten();
            open.extend(next.filter(|name| found.insert(*name)));
        }
        found
    }

    /// What else fell at about the time of this.
    fn near(&self, notice: &Notice) -> Vec<Arc<str>> {
        let fell = |(name, check): &(&Arc<str>, &Check)| {
            check.is_bad()
                && check.behind.is_none()
                && !notice.members.contains_key(*name)
                && check.bad_since.abs_diff(notice.since) <= NEAR
        };
        let names = self
            .checks
            .iter()
            .filter(fell)
            .map(|(name, _)| name.clone());
        names.take(NEAR_SHOWN).collect()
    }

    pub(super) fn notice_mut(&mut self, id: u64) -> Option<&mut Notice> {
        self.notices.get_mut(&id)
    }
}

fn line(name: &Arc<str>, check: &Check) -> Line {
    let (verdict, was) = match check.now {
        Heard::Removed => (Word::Removed, check.was.into()),
        // Told again after a start, before it has run: as it was.
        Heard::Nothing => (Word::Unknown, Word::Pending),
        Heard::Verdict(verdict) if check.flaps() => {
            (check.problem().unwrap_or(verdict).into(), check.was.into())
        }
        Heard::Verdict(verdict) => (verdict.into(), check.was.into()),
    };
    Line {
        name: name.clone(),
        verdict,
        was,
        message: check.message.clone(),
        since: check.since,
        labels: check.labels.clone(),
        flaps: check.flaps(),
        ack: None,
    }
}

/// As it was when its recovery was begun, though it may be bad again by now: that is the next notice's news.
fn ended(line: Line, member: &Member, notice: &Notice) -> Line {
    if matches!(line.verdict, Word::Ok | Word::Removed) {
        return line;
    }
    Line {
        verdict: Word::Ok,
        was: match member.said {
            Said::Bad(verdict) => verdict.into(),
            Said::Nothing | Said::Over => Word::Unknown,
        },
        message: String::new(),
        since: notice.ended_at.unwrap_or(notice.since),
        flaps: false,
        ..line
    }
}

/// How bad a verdict is; a check that becomes less bad is no news.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok | Verdict::Pending => 0,
        Verdict::Warning => 1,
        Verdict::Unknown => 2,
        Verdict::Critical => 3,
    }
}

fn sooner(at: &mut Option<u64>, other: u64) {
    *at = Some(at.map_or(other, |at| at.min(other)));
}

/// Of a route for which another stands in before its first try has ended.
const NO_WORD: &str = "its receiver has not said anything yet";
const BEHIND_SHOWN: usize = 20;
const NEAR: u64 = 30 * SECOND;
const NEAR_SHOWN: usize = 10;
