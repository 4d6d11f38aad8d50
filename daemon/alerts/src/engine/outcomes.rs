//! What the end of a delivery says of what the receiver knows.

use super::{Engine, Wake};
use crate::delivery::{Kind, Outcome};
use crate::lane::SAID_MAX;
use crate::notice::{Class, Key, Knew, Stage, class};
use crate::record::Said;
use crate::route::By;
use crate::time::{Now, ns};
use healthd_core::text::cut;
use std::sync::Arc;

impl Engine {
    pub(super) fn notice_outcome(&mut self, id: u64, kind: Kind, outcome: Outcome, now: Now) {
        let written_first = self.rules().written_first();
        let Some(notice) = self.notice_mut(id) else {
            return;
        };
        notice.flying = None;
        self.wakes.by(Wake::Notice(id), now.mono);
        let Some(notice) = self.notice_mut(id) else {
            return;
        };
        let (arrived, reason, retry_after) = match outcome {
            Outcome::Accepted { receipt } => return self.accepted(id, kind, &receipt, now),
            Outcome::Refused {
                reason,
                retry_after,
            } => (false, reason, retry_after),
            Outcome::Unknown {
                reason,
                retry_after,
            } => (true, reason, retry_after),
            Outcome::Held { reason, left } => (false, reason, Some(left)),
        };
        let class = class(kind);
        let before = notice.is_due(class, now);
        notice.trouble = Some((class, before.again(now, retry_after.map(ns))));
        let reason = Some(cut(&reason, SAID_MAX).to_owned());
        let is_news = notice.refusal != reason;
        notice.refusal = reason;
        let stage = notice.stage;
        match (class, notice.stage) {
            (Class::Problem, Stage::Sending { .. }) if !written_first => {
                notice.stage = Stage::Refused
            }
            (Class::Problem, Stage::Sending { doubt: false }) if !arrived => {
                notice.stage = Stage::Refused;
            }
            (Class::Problem, Stage::Sending { .. }) => {
                notice.stage = Stage::Sending { doubt: true }
            }
            (Class::Recovery, Stage::Ending { knew, doubt: false }) if !arrived => {
                notice.stage = match knew {
                    Knew::Yes => Stage::Told,
                    Knew::Maybe => Stage::Sending { doubt: true },
                    Knew::No => Stage::Refused,
                };
            }
            (Class::Recovery, Stage::Ending { knew, .. }) => {
                notice.stage = Stage::Ending { knew, doubt: true };
            }
            _ => {}
        }
        // What a doubt adds to a stage is not written down.
        let knows_less = !arrived && notice.stage != stage;
        if knows_less || is_news && written_first {
            self.save(id);
        }
        if class == Class::Problem && knows_less {
            self.gather(id, now);
        }
    }

    fn accepted(&mut self, id: u64, kind: Kind, receipt: &str, now: Now) {
        let Some(notice) = self.notice_mut(id) else {
            return;
        };
        if class(kind) == Class::Recovery {
            return self.drop_notice(id, now);
        }
        for member in notice.members.values_mut() {
            member.said = member.telling;
        }
        notice.stage = Stage::Told;
        notice.told_at = now.wall;
        notice.told_from = now.mono;
        notice.trouble = None;
        notice.refusal = None;
        notice.is_counted = false;
        let receipt = cut(receipt, SAID_MAX);
        notice.receipt = (!receipt.is_empty()).then(|| receipt.to_owned());
        notice.extra = None;
        if kind == Kind::Update {
            notice.partial_since = None;
            notice.updates += 1;
        }
        if std::mem::take(&mut notice.is_backed) {
            let names: Vec<Arc<str>> = notice.members.keys().cloned().collect();
            for name in names {
                self.wakes.by(Wake::Check(name), now.mono);
            }
        }
        self.save(id);
    }

    /// The receiver knows nothing of it: what becomes due from now on joins it, and what was collected meanwhile.
    pub(super) fn gather(&mut self, id: u64, now: Now) {
        let Some(notice) = self.notices.get(&id) else {
            return;
        };
        let place = (notice.route.clone(), notice.key.clone());
        if let Some(other) = self.gathering.get(&place).copied()
            && other != id
            && self
                .notices
                .get(&other)
                .is_some_and(|n| matches!(n.stage, Stage::Collecting { .. }))
        {
            self.merge(other, id, now);
        }
        self.gathering.insert(place, id);
    }

    /// What a notice that was restored gathers, by the config that is in force now.
    pub(super) fn key_of(&self, id: u64) -> Option<Key> {
        let notice = self.notices.get(&id)?;
        let (name, _) = notice.members.first_key_value()?;
        Some(match &self.route(&notice.route)?.by {
            By::None => Key::All,
            By::Check if notice.members.len() == 1 => Key::Check(name.clone()),
            By::Check => Key::Overflow,
            By::Label(label) => {
                let value = self.checks.get(name)?.labels.get(label);
                Key::Label(value.cloned().unwrap_or_default())
            }
        })
    }

    /// Whether its receiver believes some member to be bad.
    pub(super) fn is_believed(&self, id: u64) -> bool {
        let told = |said: &Said| matches!(said, Said::Bad(_));
        self.notices.get(&id).is_some_and(|n| {
            n.may_be_known()
                && n.members
                    .values()
                    .any(|m| told(&m.said) || told(&m.telling))
        })
    }
}
