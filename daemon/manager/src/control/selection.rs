//! Which checks a filter means, found out a piece at a time: there may be 100,000, and a client may write a pattern that
//! takes long with each.

use super::client::{Job, error};
use super::matcher::Matcher;
use crate::director::Manager;
use crate::schedule::pause::Paused;
use healthd_core::config::did_you_mean;
use healthd_core::matching::Plain;
use healthd_core::wire::control::{ControlError, ErrorCode, Reply};
use healthd_sys::clock;
use std::collections::BTreeSet;

pub(super) struct Selection {
    matcher: Matcher,
    wish: Wish,
    /// The place in the order of the config that it has come to.
    at: usize,
    ids: Vec<u32>,
}

/// What is to become of the checks that are meant.
pub(super) enum Wish {
    Status,
    Watch,
    Run,
    Pause(Paused),
    Resume,
    Release,
}

impl Selection {
    pub(super) fn new(matcher: Matcher, wish: Wish) -> Selection {
        Selection {
            matcher,
            wish,
            at: 0,
            ids: Vec::new(),
        }
    }

    /// It goes on if its client has gone, as whoever asks for a change need not wait for the answer.
    pub(super) fn outlives_its_client(&self) -> bool {
        match self.wish {
            Wish::Run | Wish::Pause(_) | Wish::Resume | Wish::Release => true,
            Wish::Status | Wish::Watch => false,
        }
    }

    /// The checks are others now.
    pub(super) fn begin_anew(&mut self) {
        self.at = 0;
        self.ids.clear();
    }
}

impl Manager {
    /// Begins to look for the checks that a filter means; a mistake in it is told at once.
    pub(super) fn select(&mut self, client: usize, matcher: Matcher, wish: Wish) {
        let missing = matcher
            .required_names()
            .find(|n| self.checks.find(n).is_none())
            .map(str::to_owned);
        match missing {
            Some(name) => self.no_such(client, &name),
            None => {
                let selection = Box::new(Selection::new(matcher, wish));
                self.set_job(client, Job::Selecting(selection));
            }
        }
    }

    pub(super) fn no_such(&mut self, client: usize, name: &str) {
        let names = self
            .checks
            .order()
            .iter()
            .filter_map(|id| self.checks.get(*id));
        let names = names.map(|c| c.spec.name.as_str());
        let help = match did_you_mean(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`healthctl list` names them all".into(),
        };
        let e = error(ErrorCode::NoSuchCheck, format!("no check `{name}`"), help);
        self.clients.reply(client, &Reply::Error(e));
    }

    /// A name or a label in a `match` that no check has.
    fn slip_in(&self, matcher: &Matcher) -> Option<ControlError> {
        let specs = || self.checks.iter().map(|c| &c.spec);
        matcher.plain().find_map(|item| {
            let (message, near) = match item {
                Plain::Name(name) => {
                    if self.checks.find(name).is_some() {
                        return None;
                    }
                    let near = did_you_mean(name, specs().map(|s| s.name.as_str()));
                    (format!("no check `{name}`"), near.map(str::to_owned))
                }
                Plain::Label { key, value } => {
                    let values = || specs().filter_map(|s| s.labels.get(key));
                    let Some(value) = value.filter(|_| values().next().is_some()) else {
                        if values().next().is_some() {
                            return None;
                        }
                        let keys: BTreeSet<&str> = specs()
                            .flat_map(|s| s.labels.keys())
                            .map(String::as_str)
                            .collect();
                        let near = did_you_mean(key, keys).map(|k| format!("{k}="));
                        return Some(slip(format!("no check has a label `{key}`"), near));
                    };
                    if values().any(|v| v == value) {
                        return None;
                    }
                    let values: BTreeSet<&str> = values().map(String::as_str).collect();
                    let near = did_you_mean(value, values).map(|v| format!("{key}={v}"));
                    (format!("no check has the label `{key}={value}`"), near)
                }
            };
            Some(slip(message, near))
        })
    }

    /// False: it was not over by then.
    pub(super) fn select_on(&mut self, client: usize, until: u64) -> bool {
        let Some(c) = self.clients.get_mut(client) else {
            return true;
        };
        let mut selection = match std::mem::replace(&mut c.job, Job::None) {
            Job::Selecting(selection) => selection,
            other => {
                c.job = other;
                return true;
            }
        };
        while let Some(&id) = self.checks.order().get(selection.at) {
            selection.at += 1;
            let means = |c: &crate::check::Check| {
                let spec = &c.spec;
                selection
                    .matcher
                    .means(&spec.name, &spec.plugin, &spec.labels)
            };
            if self.checks.get(id).is_some_and(means) {
                selection.ids.push(id);
            }
            if selection.at.is_multiple_of(PIECE) && clock::monotonic_ns() > until {
                self.set_job(client, Job::Selecting(selection));
                return false;
            }
        }
        let Selection {
            matcher, wish, ids, ..
        } = *selection;
        if ids.is_empty()
            && let Some(e) = self.slip_in(&matcher)
        {
            self.clients.reply(client, &Reply::Error(e));
            return true;
        }
        let shown = |id: &u32| {
            self.checks
                .get(*id)
                .is_some_and(|c| matcher.shows(c.verdict()))
        };
        let ids = ids.into_iter().filter(shown).collect();
        match wish {
            Wish::Status => self.status(client, ids),
            Wish::Watch => self.watch(client, ids, matcher),
            Wish::Run => self.run_now(client, ids, &matcher),
            Wish::Pause(paused) => self.pause(client, ids, &paused),
            Wish::Resume => self.resume(client, ids),
            Wish::Release => self.release_all(client, ids),
        }
        true
    }
}

fn slip(message: String, near: Option<String>) -> ControlError {
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`healthctl list` names all checks, `healthctl show NAME` their labels".into(),
    };
    error(ErrorCode::NoSuchCheck, message, help)
}

/// The slowest pattern takes 50 us with a name.
const PIECE: usize = 16;
