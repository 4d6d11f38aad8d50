//! The one place that sees all rooms: it holds them, and hands on what one of them has for another.

use crate::alerts::Alerts;
use crate::books::Books;
use crate::checks::Checks;
use crate::control::Clients;
use crate::fleet::Fleet;
use crate::inbox::Inbox;
use crate::journal::ClockWatch;
use crate::rollout::Rollout;
use crate::schedule::Schedule;
use crate::services::Services;
use healthd_core::check::schedule::Standstill;
use healthd_core::check::wheel::Wheel;
use healthd_core::config::Model;
use healthd_core::wire::control::Reply;
use healthd_core::wire::roles::ManagerArgs;
use healthd_core::wire::supervisor::ToSupervisor;
use nix::sys::epoll::Epoll;
use std::sync::Arc;

/// What the second wheel holds; the first holds the checks' due times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// The beat, stalled workers, overdue queues, the state on disk.
    Watch,
    /// A worker's memory could pass its limit before the next of these.
    LookClosely {
        slot: u32,
        pid: u32,
    },
    /// A worker that is to be replaced has had its time.
    Replace {
        slot: u32,
        pid: u32,
    },
    /// A worker whose link has ended should be dead by now.
    HungUp {
        slot: u32,
        pid: u32,
    },
    /// A run has waited for its locks as long as it wanted to.
    LockTimeout {
        slot: u32,
        ask: u64,
    },
    /// A suspect has waited long enough for a solo worker: the turn that this makes sees to it.
    Solo,
    /// The listener has rested long enough.
    Listen,
    /// A check was paused for so long.
    PauseEnds {
        id: u32,
    },
    /// Control clients whose users had nothing left may have some again.
    WakeClients,
    EndIdleClients,
    /// A trial may be over.
    Trials,
    StopDeadline,
}

/// All rooms, and nothing else. Each owns its state.
pub struct Manager {
    pub args: ManagerArgs,
    /// The settings in force; the checks' are in `checks`.
    pub model: Model,
    pub phase: Phase,
    pub clockwork: Clockwork,
    pub checks: Checks,
    pub schedule: Schedule,
    pub fleet: Fleet,
    pub rollout: Rollout,
    pub services: Services,
    pub books: Books,
    pub clients: Clients,
    pub alerts: Alerts,
}

/// What the loop waits for.
pub struct Clockwork {
    pub epoll: Epoll,
    pub chores: Wheel<Chore>,
    /// What other threads have for the loop.
    pub inbox: Arc<Inbox>,
    /// When this process, or the machine, last stood still.
    pub stood: Standstill,
    pub clock_watch: ClockWatch,
    /// When it was last said that no descriptor is left; 0: never.
    pub lacking_said: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Workers are coming up for the first time.
    Starting,
    Running,
    Stopping,
    /// The books are closed: leave the loop.
    Done,
}

impl Manager {
    /// Writes a check's line in the map and tells who watches it.
    pub fn publish(&mut self, id: u32) {
        if let Some(check) = self.checks.get(id).filter(|c| !c.is_carrier()) {
            self.books
                .map
                .check(check.identity.index as usize, &check.record());
            self.clients.changed(id);
        }
    }

    /// Answers of probes, and messages of alerts. What ran for them is forgotten when it is over.
    pub fn tell_people(&mut self, now: u64) {
        let mut gone = self.tell_probes();
        let begun = !matches!(self.phase, Phase::Starting | Phase::Done);
        if begun && self.alerts.is_due(now) {
            gone.extend(self.tell_routes(now));
        }
        for id in gone {
            self.forget(id);
        }
    }

    /// What is news goes to the engine of alerts, what it says is written down, and then its messages leave. Carriers that
    /// nobody needs any more.
    fn tell_routes(&mut self, now: u64) -> Vec<u32> {
        // A manager that goes on finds its checks as they were.
        let starts = !self.args.restore;
        let turn = (self.alerts).turn(&self.checks, &self.model, &self.books, starts);
        if let Some(memory) = turn.memory {
            let kept = ToSupervisor::KeepAlerts;
            self.fleet.supervisor.say_with(&kept, vec![memory]);
        }
        for fact in turn.facts {
            self.books.journal.record(fact);
        }
        for (asker, tested) in turn.tested {
            if let Some(client) = self.clients.place_of(asker) {
                self.clients.reply(client, &Reply::Tested(tested));
                self.clients.reply(client, &Reply::End);
            }
        }
        for departure in turn.departures {
            let loaded = match self.phase {
                Phase::Running => self.alerts.load(
                    departure,
                    &mut self.checks,
                    &self.model,
                    &self.rollout.plugins,
                    &self.books,
                ),
                Phase::Starting | Phase::Stopping | Phase::Done => {
                    self.alerts.not_sent(departure, "healthd stops")
                }
            };
            if let Some(carrier) = loaded {
                self.request_run(carrier, now);
            }
        }
        self.alerts.sweep(&mut self.checks, &self.rollout.plugins)
    }

    /// Of those that are over.
    fn tell_probes(&mut self) -> Vec<u32> {
        let plugins = &self.rollout.plugins;
        let swept = self.clients.probes.sweep(&mut self.checks, plugins);
        for (asker, probed) in swept.answers {
            if let Some(client) = self.clients.place_of(asker) {
                match probed {
                    Ok(probed) => {
                        let probed = Reply::Probed(Box::new(probed));
                        self.clients.reply(client, &probed);
                        self.clients.reply(client, &Reply::End);
                    }
                    Err(e) => self.clients.reply(client, &Reply::Error(e)),
                }
            }
        }
        swept.gone
    }
}
