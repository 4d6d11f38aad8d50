//! A notice: some checks on one route, what its receiver has been told of them, and what it must be told next.
//!
//! ```text
//!              accepted
//!  collecting ----------> told ------> ending ------> (gone)
//!      |  ^                ^            | refused: back to what it was
//!      v  | refused        | accepted   | may have arrived: stays, whatever the checks do
//!    sending -- may have arrived: stays ┘
//! ```
//! Three rules. Sending is written down before the first byte leaves, and only a definite refusal takes it back. An
//! ending that was begun is finished before its checks may be told of again. What holds back problems never holds
//! back a recovery.

use crate::delivery::Kind;
use crate::lane::Trouble;
use crate::record::{Said, SavedMember, SavedNotice, SavedStage};
use crate::route::Route;
use crate::time::{MINUTE, Now, ns};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Notice {
    pub id: u64,
    pub route: Arc<str>,
    pub key: Key,
    pub stage: Stage,
    pub members: BTreeMap<Arc<str>, Member>,
    /// Ids of its messages.
    pub problem: u64,
    pub recovery: Option<u64>,
    /// What is to be said while it is told.
    pub extra: Option<(Kind, u64)>,
    /// A delivery of this kind is on its way.
    pub flying: Option<Kind>,
    /// What of this kind is due has not got through.
    pub trouble: Option<(Class, Trouble)>,
    pub refusal: Option<String>,
    /// What its receiver said when it took the last message.
    pub receipt: Option<String>,
    /// CLOCK_REALTIME, ns: when its first problem began, and when something was accepted last.
    pub since: u64,
    pub told_at: u64,
    /// When its recovery was begun.
    pub ended_at: Option<u64>,
    /// `told_at` by the monotonic clock.
    pub told_from: u64,
    /// Some members are over and others not, and nobody has been told.
    pub partial_since: Option<u64>,
    pub updates: u32,
    /// Its route's backup is told as well.
    pub is_backed: bool,
    /// A member that was bad when they were looked at last.
    pub still_bad: Option<Arc<str>>,
    /// What is due on it has counted for its route's `limit`.
    pub is_counted: bool,
    /// In its route's line for a place among the deliveries.
    pub waits: bool,
    /// It has a row that was written down.
    pub is_saved: bool,
}

/// What problems must have in common to share a notice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    All,
    Check(Arc<str>),
    Label(String),
    /// Beyond the route's limit.
    Overflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has left yet. Members come and go.
    Collecting {
        ripe: u64,
    },
    /// Every attempt was refused for certain: the receiver knows nothing. Members come, and stay.
    Refused,
    /// An attempt is on its way, or (`doubt`) may have arrived.
    Sending {
        doubt: bool,
    },
    Told,
    /// A recovery is on its way, or (`doubt`) may have arrived.
    Ending {
        knew: Knew,
        doubt: bool,
    },
}

/// What the receiver knew of the problem when its recovery was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knew {
    Yes,
    Maybe,
    No,
}

/// Messages of one class are tried in each other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Problem,
    Extra,
    Recovery,
}

pub fn class(kind: Kind) -> Class {
    match kind {
        Kind::Problem => Class::Problem,
        Kind::Recovery => Class::Recovery,
        Kind::Worse | Kind::Update | Kind::Repeat | Kind::Test | Kind::Alive | Kind::Change => {
            Class::Extra
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub said: Said,
    /// What the message on its way says.
    pub telling: Said,
    /// CLOCK_REALTIME, ns.
    pub since: u64,
}

/// The members of a notice, as they are now.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub still_bad: Option<Arc<str>>,
    /// All of them are over.
    pub over: bool,
    /// Nothing but silences keeps all of them from being told.
    pub held: bool,
    /// One of them is a problem that its receiver may be told of now.
    pub wanted: bool,
    /// From then on one that has become worse is told.
    pub worse_at: Option<u64>,
    /// Some are over that its receiver believes to be bad.
    pub partial: bool,
    /// If they are over: from then on that is told.
    pub calm_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Until then, or until something happens.
    Wait(Option<u64>),
    Send(Kind),
    /// Nobody knows of it, and nobody has to.
    Drop,
}

impl Notice {
    pub fn new(id: u64, problem: u64, route: Arc<str>, key: Key, ripe: u64, since: u64) -> Notice {
        Notice {
            id,
            route,
            key,
            stage: Stage::Collecting { ripe },
            members: BTreeMap::new(),
            problem,
            recovery: None,
            extra: None,
            flying: None,
            trouble: None,
            refusal: None,
            receipt: None,
            since,
            told_at: 0,
            ended_at: None,
            told_from: 0,
            partial_since: None,
            updates: 0,
            is_backed: false,
            is_counted: false,
            still_bad: None,
            waits: false,
            is_saved: false,
        }
    }

    /// What is to be done now: the difference between what should be known and what is.
    pub fn plan(&self, look: &Look, route: &Route, now: u64) -> Plan {
        if self.flying.is_some() {
            return Plan::Wait(None);
        }
        match self.stage {
            Stage::Collecting { .. } if self.members.is_empty() => Plan::Drop,
            Stage::Collecting { ripe } if now < ripe => Plan::Wait(Some(ripe)),
            Stage::Collecting { .. } => self.again(Kind::Problem, now),
            Stage::Refused if look.over && look.held => Plan::Drop,
            Stage::Told if look.over && look.calm_at.is_some_and(|at| now < at) => {
                Plan::Wait(look.calm_at)
            }
            Stage::Refused | Stage::Sending { .. } | Stage::Told if look.over => {
                self.again(Kind::Recovery, now)
            }
            Stage::Refused | Stage::Sending { .. } if look.wanted => self.again(Kind::Problem, now),
            Stage::Refused | Stage::Sending { .. } => Plan::Wait(None),
            Stage::Told => self.extra(look, route, now),
            Stage::Ending { .. } => self.again(Kind::Recovery, now),
        }
    }

    /// What is told is what is so: nothing that failed is to be tried again.
    pub fn is_settled(&self, look: &Look, route: &Route, now: u64) -> bool {
        let due = |(_, at): (Kind, Option<u64>)| at.is_some_and(|at| at <= now);
        self.stage == Stage::Told && !look.over && !self.extras(look, route).into_iter().any(due)
    }

    /// False: there was none.
    pub fn forget_trouble(&mut self) -> bool {
        let was = self.trouble.take().is_some();
        if was {
            (self.refusal, self.extra, self.is_counted) = (None, None, false);
        }
        was
    }

    /// What else may have to be said, and from when on.
    fn extras(&self, look: &Look, route: &Route) -> [(Kind, Option<u64>); 3] {
        let update = self.partial_since.map(|since| since + self.update_wait());
        let repeat = (route.repeat.filter(|_| look.wanted))
            .map(|every| self.told_from.saturating_add(ns(every)));
        [
            (Kind::Worse, look.worse_at),
            (Kind::Update, update),
            (Kind::Repeat, repeat),
        ]
    }

    fn extra(&self, look: &Look, route: &Route, now: u64) -> Plan {
        let due = self.extras(look, route);
        let at = |(kind, at): (Kind, Option<u64>)| at.map(|at| (kind, at));
        if let Some((kind, _)) = due.into_iter().filter_map(at).find(|(_, at)| *at <= now) {
            return self.again(kind, now);
        }
        Plan::Wait(due.into_iter().filter_map(at).map(|(_, at)| at).min())
    }

    fn again(&self, kind: Kind, now: u64) -> Plan {
        match self.trouble {
            Some((of, trouble)) if of == class(kind) && now < trouble.next => {
                Plan::Wait(Some(trouble.next))
            }
            _ => Plan::Send(kind),
        }
    }

    /// From 2 min on, for one that goes up and down in parts.
    fn update_wait(&self) -> u64 {
        ((2 * MINUTE) << self.updates.min(4)).min(30 * MINUTE)
    }

    /// When its route's backup has to be told as well.
    pub fn backup_at(&self) -> Option<u64> {
        match self.trouble {
            Some((Class::Problem, trouble)) if !self.is_backed => Some(trouble.since + OVERDUE),
            _ => None,
        }
    }

    /// Since when what is of this class has been due: from now on, if it was not before.
    pub fn is_due(&mut self, class: Class, now: Now) -> Trouble {
        match self.trouble {
            Some((of, trouble)) if of == class => trouble,
            _ => {
                let trouble = Trouble::due(now);
                self.trouble = Some((class, trouble));
                trouble
            }
        }
    }

    pub fn is_overdue(&self, now: u64) -> bool {
        self.trouble
            .is_some_and(|(_, trouble)| trouble.since + OVERDUE <= now)
    }

    /// Others may still join.
    pub fn is_open(&self) -> bool {
        self.flying.is_none() && matches!(self.stage, Stage::Collecting { .. } | Stage::Refused)
    }

    /// The receiver knows of it, or may.
    pub fn may_be_known(&self) -> bool {
        !matches!(self.stage, Stage::Collecting { .. } | Stage::Refused)
    }

    pub fn saved(&self) -> SavedNotice {
        SavedNotice {
            id: self.id,
            route: self.route.clone(),
            stage: match self.stage {
                Stage::Collecting { .. } | Stage::Refused => SavedStage::Refused,
                Stage::Sending { .. } => SavedStage::Sending,
                Stage::Told => SavedStage::Told,
                Stage::Ending {
                    knew: Knew::Yes, ..
                } => SavedStage::Ending,
                Stage::Ending {
                    knew: Knew::Maybe, ..
                } => SavedStage::EndingMaybe,
                Stage::Ending { knew: Knew::No, .. } => SavedStage::EndingUntold,
            },
            problem: self.problem,
            recovery: self.recovery,
            extra: self.extra,
            since: self.since,
            told_at: self.told_at,
            ended_at: self.ended_at,
            failing: self.trouble.map(|(_, trouble)| trouble.since_wall),
            refusal: self.refusal.clone(),
            receipt: self.receipt.clone(),
            members: (self.members.iter())
                .map(|(name, m)| SavedMember(name.clone(), m.said, m.since))
                .collect(),
        }
    }

    /// As somebody else has left it: what was begun may have arrived.
    pub fn restored(saved: SavedNotice) -> Notice {
        let stage = match saved.stage {
            SavedStage::Refused => Stage::Refused,
            SavedStage::Sending => Stage::Sending { doubt: true },
            SavedStage::Told => Stage::Told,
            SavedStage::Ending => ending(Knew::Yes),
            SavedStage::EndingMaybe => ending(Knew::Maybe),
            SavedStage::EndingUntold => ending(Knew::No),
        };
        let class = match stage {
            Stage::Collecting { .. } | Stage::Refused | Stage::Sending { .. } => Class::Problem,
            Stage::Told => Class::Extra,
            Stage::Ending { .. } => Class::Recovery,
        };
        let member = |SavedMember(name, said, since)| {
            let member = Member {
                said,
                telling: said,
                since,
            };
            (name, member)
        };
        Notice {
            stage,
            is_counted: matches!(stage, Stage::Sending { .. }) || saved.extra.is_some(),
            members: saved.members.into_iter().map(member).collect(),
            recovery: saved.recovery,
            trouble: saved.failing.map(|at| (class, Trouble::restored(at))),
            extra: saved.extra,
            refusal: saved.refusal,
            receipt: saved.receipt,
            told_at: saved.told_at,
            ended_at: saved.ended_at,
            is_saved: true,
            ..Notice::new(
                saved.id,
                saved.problem,
                saved.route,
                Key::Overflow,
                0,
                saved.since,
            )
        }
    }
}

fn ending(knew: Knew) -> Stage {
    Stage::Ending { knew, doubt: true }
}

/// A message that has been failing for so long is overdue: the backup is told, and `alive` is not sent.
const OVERDUE: u64 = 5 * MINUTE;
