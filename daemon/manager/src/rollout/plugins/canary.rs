//! The canary: before new bytes of a plugin take over, one check runs with them, in the workers that are to
//! take over. It runs in addition to its plan, as the old workers go on with that; what it says is neither
//! judged nor counted, and it is no news (with `plugin_trial = "0s"` there is none). It only decides whether the new bytes may take over:
//!
//! - A crash, panic, overrun or failure of their own, or `self:`: they may not.
//! - ok, or what the check said last with the old bytes: they may.
//! - Else the target may have changed just now, so the old bytes are asked the same at once. If they say ok
//!   (or, where the new ones do not know, anything else), the two disagree about one target at one time. The
//!   old bytes have proved themselves, the new ones have not: they may not. A target that changes within that
//!   moment costs a replacement that can be asked for again; to believe the new bytes could cost false alarms.

use crate::check::{definition, ns};
use crate::director::Manager;
use crate::rollout::work::Work;
use crate::time::MS;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::config::CheckSpec;
use healthd_core::text::field;
use healthd_core::wire::report::Report;
use healthd_core::wire::worker::{Ending, Run};
use healthd_sys::clock;
use std::collections::HashMap;

/// On top of its timeout: the worker makes an instance first, and has other things to do.
const GRACE_NS: u64 = 10_000 * MS;

pub struct Canary {
    pub plugin: String,
    /// The check, and what it said last with the old bytes.
    check: u32,
    name: String,
    before: Option<Status>,
    run_id: u64,
    slot: u32,
    stage: Stage,
    deadline_ns: u64,
}

enum Stage {
    /// It runs with the new bytes.
    New,
    /// They said this, and now the old ones are asked.
    Old {
        said: Status,
        message: String,
    },
    Passed,
}

/// Why new bytes may not take over.
pub struct Objection {
    pub plugin: String,
    pub why: String,
}

impl Manager {
    /// Sends one check of each plugin whose bytes are new to the workers that are coming up.
    pub(in crate::rollout) fn send_canaries(&mut self) {
        let names = self.replaced_by_coming();
        let mut canaries = Vec::new();
        for name in names {
            let canary = self.send_canary(&name);
            if canary.is_none() {
                log::info!(
                    "no check can be the canary: the trial alone has to tell  plugin={name}"
                );
            }
            canaries.extend(canary);
        }
        if let Some(coming) = &mut self.rollout.coming {
            coming.canaries = Some(canaries);
        }
    }

    pub(in crate::rollout) fn canaries_passed(&self) -> bool {
        let canaries = self
            .rollout
            .coming
            .as_ref()
            .and_then(|c| c.canaries.as_ref());
        canaries.is_some_and(|all| all.iter().all(|c| matches!(c.stage, Stage::Passed)))
    }

    /// Plugins that serve now and have other bytes in what is coming up. What served before needs no proof.
    fn replaced_by_coming(&self) -> Vec<String> {
        let Some(coming) = &self.rollout.coming else {
            return Vec::new();
        };
        let trial = coming.force.model(&self.model).daemon.plugin_trial;
        if matches!(coming.work, Some(Work::Rollback { .. }))
            || coming.first.is_some()
            || trial.is_zero()
        {
            return Vec::new();
        }
        self.rollout.changed_plugins(&coming.plugins)
    }

    fn send_canary(&mut self, plugin: &str) -> Option<Canary> {
        let coming = self.rollout.coming.as_ref()?;
        let number = coming.plugins.iter().position(|p| p.name == plugin)?;
        let (pool, generation) = (coming.plugins[number].pool, coming.generation);
        let specs = coming.force.specs_of(plugin);
        let id = self.best_canary(plugin, specs.as_ref())?;
        let check = self.checks.get(id)?;
        // As it will be: a reload may bring new bytes and another config at once.
        let spec = match &specs {
            Some(specs) => *specs.get(check.spec.name.as_str())?,
            None => &check.spec,
        };
        let epoch =
            check.identity.epoch + u32::from(spec.fingerprint() != check.identity.fingerprint);
        let define = definition(spec, id, epoch, number as u16);
        let timeout_ns = ns(spec.timeout);
        let (name, before, hash) = (
            check.spec.name.clone(),
            check.state.status(),
            check.identity.hash,
        );
        let slot = self.choose_of(hash, pool, generation)?;
        let run_id = self.send_apart(id, slot, epoch, Some(define))?;
        let told = field(&name);
        log::info!("canary runs  check={told} plugin={plugin} slot={slot} run={run_id}");
        Some(Canary {
            plugin: plugin.to_owned(),
            check: id,
            name,
            before,
            run_id,
            slot,
            stage: Stage::New,
            deadline_ns: clock::monotonic_ns() + timeout_ns + GRACE_NS,
        })
    }

    /// One that says ok, is not running just now, and will not take long.
    fn best_canary(&self, plugin: &str, specs: Option<&HashMap<&str, &CheckSpec>>) -> Option<u32> {
        let usable = |id: &u32| {
            self.checks.get(*id).is_some_and(|c| {
                c.spec.plugin == plugin
                    && c.is_planned()
                    && c.standing.hold.is_none()
                    // It would run beside others of its group.
                    && c.spec.groups.is_empty()
                    && specs.is_none_or(|s| s.get(c.spec.name.as_str())
                            .is_some_and(|s| s.enabled && s.groups.is_empty()))
            })
        };
        let ids = self.checks.order().iter().copied().filter(usable);
        ids.min_by_key(|id| {
            self.checks.get(*id).map(|c| {
                let bad = c.state.status() != Some(Status::Ok);
                (bad, c.stage.flight().is_some(), c.spec.timeout)
            })
        })
    }

    /// A run beside all plans: it is in the accounts of its worker, and nowhere else.
    fn send_apart(
        &mut self,
        id: u32,
        slot: u32,
        epoch: u32,
        define: Option<healthd_core::wire::worker::Define>,
    ) -> Option<u64> {
        let check = self.checks.get(id)?;
        let s = self.fleet.slots.get_mut(&slot)?;
        let link = s.process.link.as_mut()?;
        let run = Run {
            run_id: self.books.next_run,
            check: id,
            epoch,
            attempt: 1,
            start_ns: clock::monotonic_ns(),
            last_status: check.state.status().map_or(255, |s| s as u8),
            urgent: true,
        };
        link.queue_run(&run, || define.or_else(|| check.define(id)));
        s.work.runs.insert(run.run_id, id);
        s.accounts.dispatched += 1;
        self.books.next_run += 1;
        Some(run.run_id)
    }

    /// True: this was the result of a canary, and nobody else's.
    pub fn canary_finished(&mut self, slot: u32, f: &Report<'_>) -> bool {
        let Some(at) = self.canary_at(slot, f.run_id) else {
            return false;
        };
        if let Some(s) = self.fleet.slots.get_mut(&slot)
            && s.work.runs.remove(&f.run_id).is_some()
        {
            match f.ending {
                Ending::Cancelled => s.accounts.lost_cancelled += 1,
                _ => {
                    s.accounts.finished += 1;
                    self.books.finished += 1;
                }
            }
        }
        if let Some(objection) = self.judge_canary(at, f) {
            self.refuse_coming(objection);
        } else {
            self.generation_progress();
        }
        true
    }

    fn canary_at(&self, slot: u32, run_id: u64) -> Option<usize> {
        let canaries = self.rollout.coming.as_ref()?.canaries.as_ref()?;
        canaries
            .iter()
            .position(|c| c.slot == slot && c.run_id == run_id && !matches!(c.stage, Stage::Passed))
    }

    fn canary_mut(&mut self, at: usize) -> Option<&mut Canary> {
        self.rollout.coming.as_mut()?.canaries.as_mut()?.get_mut(at)
    }

    fn judge_canary(&mut self, at: usize, f: &Report<'_>) -> Option<Objection> {
        let canary = self.canary_mut(at)?;
        let objection = |why: String| {
            Some(Objection {
                plugin: canary.plugin.clone(),
                why: format!("canary `{}`: {why}", canary.name),
            })
        };
        if let Stage::Old { said, message } = &canary.stage {
            let agree = match said {
                Status::Unknown => f.status == Status::Unknown,
                _ => f.status != Status::Ok,
            };
            if !agree {
                return objection(format!(
                    "the new build says {said} ({message}) where the old one says {} ({})",
                    f.status, f.message
                ));
            }
            canary.stage = Stage::Passed;
            return None;
        }
        match first_word(f, canary.before) {
            Word::Pass => {
                canary.stage = Stage::Passed;
                None
            }
            Word::Refuse => objection(format!("{}: {}", f.status, f.message)),
            Word::AskTheOld => {
                canary.stage = Stage::Old {
                    said: f.status,
                    message: f.message.to_string(),
                };
                self.ask_the_old(at)
            }
        }
    }

    fn ask_the_old(&mut self, at: usize) -> Option<Objection> {
        let canary = self.canary_mut(at)?;
        let (id, name, plugin) = (canary.check, canary.name.clone(), canary.plugin.clone());
        let sent = self
            .checks
            .get(id)
            .map(|c| (c.identity.hash, c.target, c.identity.epoch));
        let sent = sent.and_then(|(hash, target, epoch)| {
            let slot = self.choose_of(hash, target?.pool, self.rollout.generation)?;
            Some((slot, self.send_apart(id, slot, epoch, None)?))
        });
        let Some((slot, run_id)) = sent else {
            let why =
                format!("canary `{name}`: no worker with the old build could be asked the same");
            return Some(Objection { plugin, why });
        };
        let told = field(&name);
        log::info!("canary runs  check={told} plugin={plugin} slot={slot} run={run_id} build=old");
        let canary = self.canary_mut(at)?;
        canary.slot = slot;
        canary.run_id = run_id;
        None
    }

    /// A worker has died: was a canary in it? With the new bytes that is an objection; with the old ones
    /// another worker is asked.
    pub fn canary_died(&mut self, slot: u32, how: &str) -> Option<Objection> {
        let canaries = self.rollout.coming.as_ref()?.canaries.as_ref()?;
        let at = canaries
            .iter()
            .position(|c| c.slot == slot && !matches!(c.stage, Stage::Passed))?;
        let canary = &canaries[at];
        match canary.stage {
            Stage::New => Some(Objection {
                plugin: canary.plugin.clone(),
                why: format!("canary `{}`: {how}", canary.name),
            }),
            Stage::Old { .. } => self.ask_the_old(at),
            Stage::Passed => None,
        }
    }

    /// One that does not come back.
    pub fn watch_canaries(&mut self, now: u64) {
        let canaries = self
            .rollout
            .coming
            .as_ref()
            .and_then(|c| c.canaries.as_ref());
        let overdue = canaries.into_iter().flatten().find(|c| {
            !matches!(c.stage, Stage::Passed)
                && now > c.deadline_ns.max(self.clockwork.stood.until_ns + GRACE_NS)
        });
        if let Some(canary) = overdue {
            let objection = Objection {
                plugin: canary.plugin.clone(),
                why: format!("canary `{}`: it did not come back", canary.name),
            };
            self.refuse_coming(objection);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Word {
    Pass,
    Refuse,
    AskTheOld,
}

/// What the first run with new bytes says of them.
fn first_word(f: &Report<'_>, before: Option<Status>) -> Word {
    match f.ending {
        Ending::Cancelled => Word::Refuse,
        Ending::Fault(fault) if fault.is_own() => Word::Refuse,
        _ if before == Some(f.status) => Word::Pass,
        Ending::Returned | Ending::Fault(Fault::Timeout) => match (f.status, before) {
            (Status::Ok, _) => Word::Pass,
            (Status::Warning | Status::Critical, Some(Status::Warning | Status::Critical)) => {
                Word::Pass
            }
            _ => Word::AskTheOld,
        },
        Ending::Fault(_) => Word::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::report::Items;

    #[test]
    fn the_first_word_on_new_bytes() {
        use Status::{Critical, Ok, Unknown, Warning};
        for (status, ending, before, word) in [
            (Ok, Ending::Returned, Some(Ok), Word::Pass),
            (Ok, Ending::Returned, Some(Critical), Word::Pass),
            (Ok, Ending::Returned, None, Word::Pass),
            (Critical, Ending::Returned, Some(Critical), Word::Pass),
            (
                Critical,
                Ending::Fault(Fault::Timeout),
                Some(Warning),
                Word::Pass,
            ),
            (Critical, Ending::Returned, Some(Ok), Word::AskTheOld),
            (
                Critical,
                Ending::Fault(Fault::Timeout),
                Some(Ok),
                Word::AskTheOld,
            ),
            (Critical, Ending::Returned, None, Word::AskTheOld),
            (Warning, Ending::Returned, Some(Unknown), Word::AskTheOld),
            (Unknown, Ending::Returned, Some(Ok), Word::AskTheOld),
            (Unknown, Ending::Returned, Some(Critical), Word::AskTheOld),
            (Unknown, Ending::Returned, Some(Unknown), Word::Pass),
            (Unknown, Ending::Fault(Fault::Panic), Some(Ok), Word::Refuse),
            (
                Unknown,
                Ending::Fault(Fault::Panic),
                Some(Unknown),
                Word::Pass,
            ),
            (
                Unknown,
                Ending::Fault(Fault::PluginError),
                Some(Critical),
                Word::Refuse,
            ),
            (
                Unknown,
                Ending::Fault(Fault::Overrun),
                Some(Ok),
                Word::Refuse,
            ),
            (
                Unknown,
                Ending::Fault(Fault::Resources),
                Some(Ok),
                Word::Refuse,
            ),
            (
                Unknown,
                Ending::Fault(Fault::Resources),
                Some(Unknown),
                Word::Refuse,
            ),
        ] {
            let f = Report {
                run_id: 1,
                check: 1,
                attempt: 1,
                status,
                ending,
                started_ns: 0,
                finished_ns: 0,
                queue_ns: 0,
                cpu_ns: 0,
                steps: 0,
                stalls: 0,
                blocked: 0,
                grew: Default::default(),
                message: "".into(),
                detail: "".into(),
                metrics: Items::default(),
                labels: Items::default(),
                phases: Items::default(),
            };
            assert_eq!(
                first_word(&f, before),
                word,
                "{status} {ending:?} {before:?}"
            );
        }
    }
}
