//! The trial: for a time after new bytes of a plugin took over, their worker deaths, and their UNKNOWNs
//! beyond what the old bytes had, bring the old bytes back.
//!
//! Counted are results of workers that have the new bytes. A check that did not know before the switch
//! speaks against nobody, and neither does our own fault.

use crate::director::{Chore, Manager, Phase};
use crate::fleet::pool_key::PoolKey;
use crate::fleet::postmortem::Cause;
use crate::journal::Fact;
use crate::rollout::work::{Unwanted, Work};
use crate::time::MS;
use healthd_core::check::outcome::Status;
use healthd_core::wire::report::Report;
use healthd_core::wire::supervisor::Death;
use healthd_core::wire::worker::Ending;
use healthd_sys::clock;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// What the old bytes did counts for one to two of these.
const WINDOW_NS: u64 = 60_000 * MS;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub runs: u64,
    pub unknown: u64,
}

/// What a plugin's runs have come to lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    now: Count,
    before: Count,
    turned_ns: u64,
}

impl Tally {
    fn add(&mut self, unknown: bool, now: u64) {
        if now.saturating_sub(self.turned_ns) > WINDOW_NS {
            self.before = std::mem::take(&mut self.now);
            self.turned_ns = now;
        }
        self.now.runs += 1;
        self.now.unknown += u64::from(unknown);
    }

    fn count(&self) -> Count {
        Count {
            runs: self.now.runs + self.before.runs,
            unknown: self.now.unknown + self.before.unknown,
        }
    }
}

/// New bytes that have to prove themselves.
pub struct Trial {
    path: PathBuf,
    hash: u64,
    pub plugins: Vec<OnTrial>,
    pub until_ns: u64,
    /// Checks that did not know, or were held, before.
    excused: HashSet<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OnTrial {
    pub name: String,
    /// Of the old bytes.
    before: Count,
    #[serde(skip)]
    now: Count,
}

/// It begins anew with the next manager, since all its workers do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptTrial {
    path: PathBuf,
    hash: u64,
    plugins: Vec<OnTrial>,
}

impl Trial {
    pub fn is_of(&self, path: &Path, hash: u64) -> bool {
        self.hash == hash && self.path == path
    }

    pub fn kept(&self) -> KeptTrial {
        KeptTrial {
            path: self.path.clone(),
            hash: self.hash,
            plugins: self.plugins.clone(),
        }
    }

    pub fn again(kept: KeptTrial) -> Trial {
        Trial {
            path: kept.path,
            hash: kept.hash,
            plugins: kept.plugins,
            // Set when it begins.
            until_ns: u64::MAX,
            excused: HashSet::new(),
        }
    }

    fn unwanted(&self, why: String) -> Unwanted {
        Unwanted {
            path: self.path.clone(),
            hash: self.hash,
            why,
        }
    }
}

/// What is known of a worker's death.
pub struct Told {
    pub how: String,
    /// Plugin and check.
    culprit: Option<(String, u32)>,
    by_itself: bool,
}

impl Told {
    pub fn of(cause: &Cause, death: &Death, runs: &HashMap<u64, u32>) -> Told {
        let died = |what: &str| format!("a worker died: {what}");
        match cause {
            Cause::Culprit(blame) => Told {
                how: blame.message.clone(),
                culprit: runs
                    .get(&blame.run_id)
                    .map(|id| (blame.plugin.clone(), *id)),
                by_itself: true,
            },
            Cause::Late { check, blame } => Told {
                how: blame.message.clone(),
                culprit: Some((blame.plugin.clone(), *check)),
                by_itself: true,
            },
            Cause::Suspects {
                what, by_itself, ..
            } => Told {
                how: died(what),
                culprit: None,
                by_itself: *by_itself,
            },
            Cause::Nobody { what } => Told {
                how: died(what.as_deref().unwrap_or(&death.to_string())),
                culprit: None,
                // On a thread of its own, perhaps. SIGKILL, and what we did, says nothing.
                by_itself: what.is_some()
                    && matches!(death, Death::Signaled { signal, .. } if *signal != libc::SIGKILL),
            },
        }
    }
}

impl Manager {
    /// For the plugins that have just got new bytes.
    pub(in crate::rollout) fn begin_trials(&mut self, changed: &[(String, Tally)]) {
        if self.model.daemon.plugin_trial.is_zero() {
            return;
        }
        for file in &self.rollout.scan.files {
            let plugins: Vec<OnTrial> = changed
                .iter()
                .filter(|(name, _)| file.has(name))
                .map(|(name, tally)| OnTrial {
                    name: name.clone(),
                    before: tally.count(),
                    now: Count::default(),
                })
                .collect();
            if !plugins.is_empty() {
                self.rollout.versions.trials.push(Trial {
                    path: file.path.clone(),
                    hash: file.hash,
                    plugins,
                    until_ns: u64::MAX,
                    excused: HashSet::new(),
                });
            }
        }
        self.run_trials();
    }

    /// Those that have not begun yet begin.
    pub(in crate::rollout) fn run_trials(&mut self) {
        let length = crate::check::ns(self.model.daemon.plugin_trial);
        let until = clock::monotonic_ns() + length;
        for trial in &mut self.rollout.versions.trials {
            if trial.until_ns != u64::MAX {
                continue;
            }
            trial.until_ns = until;
            let on_trial = |name: &str| trial.plugins.iter().any(|p| p.name == name);
            trial.excused = self
                .checks
                .order()
                .iter()
                .copied()
                .filter(|id| {
                    self.checks.get(*id).is_some_and(|c| {
                        on_trial(&c.spec.plugin)
                            && (c.state.status() == Some(Status::Unknown)
                                || c.standing.hold.is_some())
                    })
                })
                .collect();
            let fact = Fact::plugin(&trial.names(), "trial").lasts(length);
            self.books.journal.record(fact.titled("plugin on trial"));
            self.clockwork.chores.insert(until / MS + 1, Chore::Trials);
        }
    }

    /// A result, before it changes anything.
    pub fn tally(&mut self, f: &Report<'_>, slot: u32) {
        if f.ending == Ending::Cancelled
            || f.ending.is_own()
            || self
                .fleet
                .slots
                .get(&slot)
                .is_none_or(|s| s.spec.generation != self.rollout.generation)
        {
            return;
        }
        let Some(check) = self.checks.get(f.check) else {
            return;
        };
        let Some(plugin) = check
            .target
            .and_then(|t| self.rollout.plugins.get_mut(usize::from(t.plugin)))
        else {
            return;
        };
        let unknown = f.status == Status::Unknown;
        let turned = unknown && check.state.status() != Some(Status::Unknown);
        plugin.tally.add(turned, f.finished_ns);
        if self.rollout.versions.trials.is_empty() {
            return;
        }
        let name = plugin.name.clone();
        let Some(trial) = self
            .rollout
            .versions
            .trials
            .iter_mut()
            .find(|t| t.tries(&name))
        else {
            return;
        };
        let excused = trial.excused.contains(&f.check);
        let Some(on_trial) = trial.plugins.iter_mut().find(|p| p.name == name) else {
            return;
        };
        on_trial.now.runs += 1;
        if unknown && !excused {
            on_trial.now.unknown += 1;
            if exceeds(on_trial.before, on_trial.now, false) {
                let why = format!(
                    "{} of {} runs did not know, the last being `{}`: {}",
                    on_trial.now.unknown, on_trial.now.runs, check.spec.name, f.message
                );
                let unwanted = trial.unwanted(why);
                self.fail_trials(vec![unwanted]);
            }
        }
    }

    /// A worker has died.
    pub fn trial_death(&mut self, generation: u64, pool: PoolKey, told: &Told) {
        if self.rollout.versions.trials.is_empty()
            || generation != self.rollout.generation
            || self.phase != Phase::Running
        {
            return;
        }
        let trials = self.rollout.versions.trials.iter();
        let failed: Vec<Unwanted> = match &told.culprit {
            Some((plugin, check)) => trials
                .filter(|t| t.tries(plugin) && !t.excused.contains(check))
                .map(|t| t.unwanted(told.how.clone()))
                .collect(),
            // Nobody can be named, but only this has changed.
            None if told.by_itself => {
                let of_pool = |name: &str| {
                    let mut all = self.rollout.plugins.iter();
                    all.any(|p| p.name == name && p.pool == pool)
                };
                trials
                    .filter(|t| t.plugins.iter().any(|p| of_pool(&p.name)))
                    .map(|t| t.unwanted(told.how.clone()))
                    .collect()
            }
            None => Vec::new(),
        };
        self.fail_trials(failed);
    }

    /// It is on trial, and a new worker could not even load it.
    pub(in crate::rollout) fn trial_left_out(&mut self, plugin: &str, reason: &str) -> bool {
        let trial = self
            .rollout
            .versions
            .trials
            .iter()
            .find(|t| t.tries(plugin));
        let failed: Vec<Unwanted> = trial
            .map(|t| t.unwanted(reason.to_owned()))
            .into_iter()
            .collect();
        let any = !failed.is_empty();
        self.fail_trials(failed);
        any
    }

    pub fn end_trials(&mut self, now: u64) {
        let mut failed = Vec::new();
        let mut ended = false;
        for trial in self
            .rollout
            .versions
            .trials
            .iter()
            .filter(|t| t.until_ns <= now)
        {
            let bad = trial
                .plugins
                .iter()
                .find(|p| exceeds(p.before, p.now, true));
            match bad {
                Some(p) => failed.push(trial.unwanted(format!(
                    "{} of {} runs of `{}` did not know",
                    p.now.unknown, p.now.runs, p.name
                ))),
                None => {
                    ended = true;
                    let fact = Fact::plugin(&trial.names(), "stood its trial");
                    self.books
                        .journal
                        .record(fact.titled("plugin has stood its trial"));
                }
            }
        }
        let fails = |t: &Trial| failed.iter().any(|u| t.is_of(&u.path, u.hash));
        self.rollout
            .versions
            .trials
            .retain(|t| t.until_ns > now || fails(t));
        if ended {
            self.keep();
        }
        self.fail_trials(failed);
    }

    fn fail_trials(&mut self, failed: Vec<Unwanted>) {
        if failed.is_empty() {
            return;
        }
        for unwanted in &failed {
            let names = self.rollout.versions.trials.iter();
            let trial = names
                .clone()
                .find(|t| t.is_of(&unwanted.path, unwanted.hash));
            let name = trial.map_or(String::new(), Trial::names);
            let fields = format!("file={} why=\"{}\"", unwanted.path.display(), unwanted.why);
            let fact = Fact::plugin(&name, "rolled back")
                .titled("plugin failed its trial: the build before it comes back")
                .level(log::Level::Error)
                .why(&unwanted.why)
                .fields(fields);
            self.books.journal.record(fact);
        }
        self.rollout
            .versions
            .trials
            .retain(|t| !failed.iter().any(|u| t.is_of(&u.path, u.hash)));
        self.rollout.work.push_front(Work::Rollback {
            client: None,
            files: failed,
        });
        // What is coming up may have the same bytes: it begins again after this.
        self.put_off_coming();
        self.begin_work();
    }
}

impl Trial {
    fn tries(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|p| p.name == plugin)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.plugins.iter().map(|p| p.name.as_str()).collect();
        names.join(",")
    }
}

/// Whether the new bytes do not know more often than the old ones did. One such result may be chance while
/// many come in; at the end of a trial with few runs it is all that there is to go by.
fn exceeds(before: Count, now: Count, over: bool) -> bool {
    let expected = before.unknown as f64 / before.runs.max(1) as f64 * now.runs as f64;
    let unknown = now.unknown as f64;
    if over {
        unknown >= 1.0 && unknown > 2.0 * expected + 0.1 * now.runs as f64
    } else {
        unknown >= 2.0 && unknown > 2.0 * expected + 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(unknown: u64, runs: u64) -> Count {
        Count { runs, unknown }
    }

    #[test]
    fn more_than_before_is_too_much() {
        for (before, now, early, over) in [
            (count(0, 0), count(0, 100), false, false),
            (count(0, 1000), count(1, 1), false, true),
            (count(0, 1000), count(1, 100), false, false),
            (count(0, 1000), count(2, 100), true, false),
            (count(0, 0), count(2, 2), true, true),
            // As often as before.
            (count(100, 1000), count(10, 100), false, false),
            (count(100, 1000), count(22, 100), true, false),
            (count(500, 1000), count(100, 100), false, false),
            (count(1, 1000), count(100, 100), true, true),
        ] {
            assert_eq!(exceeds(before, now, false), early, "{before:?} {now:?}");
            assert_eq!(
                exceeds(before, now, true),
                over,
                "{before:?} {now:?} at the end"
            );
        }
    }

    #[test]
    fn a_tally_forgets() {
        let mut tally = Tally::default();
        let mut at = WINDOW_NS * 10;
        for _ in 0..5 {
            tally.add(true, at);
        }
        assert_eq!(tally.count(), count(5, 5));
        at += WINDOW_NS + 1;
        tally.add(false, at);
        assert_eq!(tally.count(), count(5, 6));
        at += WINDOW_NS + 1;
        tally.add(false, at);
        assert_eq!(tally.count(), count(0, 2));
    }
}
