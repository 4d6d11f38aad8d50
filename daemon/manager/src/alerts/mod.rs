//! Who is told of what. The engine (`healthd-alerts`) decides; this room feeds it with verdicts and with what became of
//! deliveries, writes down what it says in memory and on disk, and has messages ready for the director to send.
//!
//! Other rooms only leave facts here ([`Alerts::heard`], [`Alerts::ended`], [`Alerts::reconfigured`]); all the rest happens in
//! [`Alerts::turn`], once a turn of the loop, and only if there is something to do. Without routes and silences that is never.

mod actions;
mod carriers;
mod commands;
mod deliveries;
mod disk;
mod evidence;
mod memory;
mod planned;
mod rows;
mod standing;

pub use actions::Change;
pub use carriers::outcome_of;
pub use commands::Silenced;
pub use disk::Written;

use crate::books::Books;
use crate::check::{Check, ns};
use crate::checks::Checks;
use crate::control::Asker;
use crate::inbox::Inbox;
use crate::journal::Fact;
use crate::rollout::plugin_use::PluginUse;
use crate::time::MS;
use actions::{Act, Actions};
use carriers::{Carriers, Load};
use deliveries::{Deliveries, Sent};
use disk::Disk;
use evidence::{IN_FULL, evidence};
use healthd_alerts::{Config, Delivery, Engine, Home, Now, Outcome, OverBudget, Record};
use healthd_core::check::outcome::Verdict;
use healthd_core::config::Model;
use healthd_core::page_paths::check_path;
use healthd_core::wire::alerts::{AlertsReport, Tested};
use healthd_core::wire::events::EventKind;
use healthd_core::wire::traces::Purpose;
use healthd_core::wire::worker::Notice;
use healthd_sys::clock;
use memory::Memory;
use planned::Planned;
use serde_json::Map;
use standing::{standing, tells};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// What the disk has not answered by then is not waited for.
const PATIENCE_NS: u64 = 1_000 * MS;

pub struct Alerts {
    engine: Engine,
    kept: Kept,
    /// Checks whose verdict is news.
    heard: Vec<(u32, Verdict)>,
    deliveries: Deliveries,
    /// Messages whose record is on its way to the disk.
    waiting: VecDeque<Waiting>,
    carriers: Carriers,
    beside: Beside,
    /// There are routes, silences, or notices that are not over.
    is_on: bool,
    /// Another config is in force, and the engine does not know it yet.
    is_new: bool,
    /// A step is due, whatever the time is.
    is_dirty: bool,
    /// CLOCK_MONOTONIC: the engine wants a step by then.
    next: Option<u64>,
    host: String,
}

/// What there is beside telling people of problems.
#[derive(Default)]
struct Beside {
    planned: Planned,
    actions: Actions,
    /// Who waits for what becomes of a test, by its message.
    testers: BTreeMap<u64, Asker>,
}

/// What must outlive us: in memory, over our death; on disk, over a restart.
struct Kept {
    memory: Memory,
    disk: Disk,
}

struct Waiting {
    delivery: Delivery,
    /// The number of the batch in which it is written down.
    batch: u64,
    until_ns: u64,
}

/// What is to be run.
pub enum Departure {
    Message(Box<Delivery>),
    Act(Box<Act>),
}

/// What one turn has brought.
#[derive(Default)]
pub struct Turn {
    /// To be sent now.
    pub departures: Vec<Departure>,
    pub facts: Vec<Fact>,
    pub tested: Vec<(Asker, Tested)>,
    /// The memory in which it is kept is another from now on: the supervisor must hold it.
    pub memory: Option<Arc<OwnedFd>>,
}

impl Alerts {
    /// `left`: the memory of a manager before us; else what is on disk is taken up.
    pub fn restore(left: Option<OwnedFd>, state_dir: &Path, inbox: &Arc<Inbox>) -> Alerts {
        let mut disk = Disk::new(state_dir, inbox.clone());
        let (memory, records) = match left.map(Memory::open) {
            Some(Ok(found)) => {
                if !found.1.is_empty() {
                    disk.catch_up();
                }
                found
            }
            Some(Err(e)) => {
                log::error!(
                    "what was told of alerts, as the manager before knew it, cannot be read: {e}"
                );
                (Memory::default(), disk.read())
            }
            None => (Memory::default(), disk.read()),
        };
        let is_on = !records.is_empty();
        Alerts {
            engine: Engine::restore(clock::realtime_ns(), records),
            kept: Kept { memory, disk },
            heard: Vec::new(),
            deliveries: Deliveries::default(),
            waiting: VecDeque::new(),
            carriers: Carriers::default(),
            beside: Beside::default(),
            is_on,
            is_new: false,
            is_dirty: false,
            next: None,
            host: hostname(),
        }
    }

    /// The verdict of a check is another than it was, or it lies behind another check now, or does not any more.
    pub fn heard(&mut self, id: u32, was: Verdict) {
        if self.is_on {
            self.heard.push((id, was));
        }
    }

    /// A check that wants something done when it changes has changed.
    pub fn changed(&mut self, id: u32, change: Change, check: &Check) {
        self.beside.actions.changed(id, change, check);
    }

    /// What became of the message, or the program, that this carrier had.
    pub fn ended(&mut self, carrier: u32, outcome: Outcome) {
        match self.carriers.unload(carrier) {
            Some(Load::Message(sent)) => self.deliveries.end(sent, outcome),
            Some(Load::Act(acted)) => self.beside.actions.ended(acted, outcome),
            None => {}
        }
    }

    /// For whoever traces the run of this carrier.
    pub fn purpose(&self, carrier: u32) -> Option<Purpose> {
        match self.carriers.cargo(carrier)? {
            Load::Message(sent) => Some(Purpose::Delivery {
                route: sent.route.to_string(),
                notice: sent.notice,
                message: sent.message,
                kind: sent.kind.as_str().to_owned(),
            }),
            Load::Act(acted) => Some(Purpose::Action {
                check: acted.check.clone(),
            }),
        }
    }

    /// What goes to the worker ahead of this run.
    pub fn letter(&self, carrier: u32, run_id: u64) -> Option<(Notice, Arc<OwnedFd>)> {
        self.carriers.letter(carrier, run_id)
    }

    /// A model has taken force.
    pub fn reconfigured(&mut self) {
        self.is_new = true;
    }

    pub fn written(&mut self, written: Written) {
        self.kept.disk.written(written);
    }

    /// The engine was told something by a client, or the clock was set.
    pub fn touched(&mut self) {
        self.is_dirty = true;
    }

    pub fn report(&self) -> AlertsReport {
        rows::report(self.engine.report(both_clocks()))
    }

    pub fn is_due(&self, now: u64) -> bool {
        self.is_new
            || self.is_dirty
            || !self.heard.is_empty()
            || !self.deliveries.is_empty()
            || self.beside.actions.is_due()
            || self.wake().is_some_and(|at| at <= now)
    }

    /// CLOCK_MONOTONIC: when the loop has to come by, at the latest.
    pub fn wake(&self) -> Option<u64> {
        if self.beside.actions.is_due() {
            return Some(0);
        }
        if !self.is_on && !self.is_new {
            return None;
        }
        if self.is_new || self.is_dirty || !self.heard.is_empty() || !self.deliveries.is_empty() {
            return Some(0);
        }
        let patience = self
            .waiting
            .iter()
            .map(|w| match self.kept.disk.has(w.batch) {
                true => 0,
                false => w.until_ns,
            });
        let retry = self.kept.disk.retry_at();
        patience.chain(self.next).chain(retry).min()
    }

    /// `starts`: the daemon does, so first runs are spread from now on.
    pub fn turn(&mut self, checks: &Checks, model: &Model, books: &Books, starts: bool) -> Turn {
        let now = both_clocks();
        let mut turn = Turn::default();
        log::debug!(
            "alerts: a step  heard={} ended={}",
            self.heard.len(),
            self.deliveries.len()
        );
        if std::mem::take(&mut self.is_new) {
            self.beside.actions.forget(checks);
            self.configure(checks, model, starts, now, &mut turn);
        }
        for (id, was) in std::mem::take(&mut self.heard) {
            if let Some(check) = checks.get(id).filter(|c| !c.removed) {
                self.engine
                    .change(&check.spec.name, standing(check, checks, Some(was)), now);
            }
        }
        for (sent, outcome) in self.deliveries.take() {
            turn.facts.extend(self.deliveries.fact(&sent, &outcome));
            let tester = self.beside.testers.remove(&sent.message);
            let tested = tester.map(|asker| (asker, sent.tested(&outcome)));
            turn.tested.extend(tested);
            self.engine.outcome(sent.message, outcome, now);
        }
        self.is_dirty = false;
        let output = self.engine.step(now);
        self.next = output.next;
        turn.facts
            .extend(self.beside.planned.look(&mut self.engine, checks));
        turn.facts
            .extend(output.over_budget.into_iter().map(over_budget));
        let batch = self.write_down(output.records, &mut turn);
        self.waiting
            .extend(output.deliver.into_iter().map(|delivery| Waiting {
                delivery,
                batch,
                until_ns: now.mono.saturating_add(PATIENCE_NS),
            }));
        while let Some(first) = self.waiting.front() {
            if !self.kept.disk.has(first.batch) && first.until_ns > now.mono {
                break;
            }
            let message = self.waiting.pop_front().map(|w| Box::new(w.delivery));
            turn.departures.extend(message.map(Departure::Message));
        }
        turn.facts.extend(self.beside.actions.facts());
        let page = model.page_url();
        let around = (
            Home {
                host: &self.host,
                page: page.as_deref(),
            },
            now,
        );
        while let Some(act) =
            (self.beside.actions).next(&mut self.engine, checks, books, around, &mut turn.facts)
        {
            turn.departures.push(Departure::Act(Box::new(act)));
        }
        turn
    }

    fn configure(
        &mut self,
        checks: &Checks,
        model: &Model,
        starts: bool,
        now: Now,
        turn: &mut Turn,
    ) {
        let config = Config::of_model(&model.alerts).unwrap_or_else(|e| {
            log::error!("the routes of alerts cannot be read: {e}");
            Config::default()
        });
        let has_routes = !config.routes.is_empty() || !config.maintenance.is_empty();
        if !has_routes && !self.is_on {
            return;
        }
        let was_on = std::mem::replace(&mut self.is_on, true);
        let known = |name: &str| {
            let check = checks.find(name).and_then(|id| checks.get(id));
            check
                .filter(|c| c.spec.enabled)
                .map(|c| standing(c, checks, None))
        };
        for orphan in self.engine.configure(config, now, &known) {
            let names: Vec<&str> = orphan.checks.iter().map(|name| &**name).collect();
            let why = format!(
                "route {} is not in the config any more: whoever it has told of {} will not hear how that ends",
                orphan.route,
                names.join(", ")
            );
            turn.facts.push(Fact::new(EventKind::NotTold).why(why));
        }
        if starts && !was_on {
            self.engine.starting_until(now.mono + first_runs(model));
        }
        for check in checks.order().iter().filter_map(|id| checks.get(*id)) {
            if check.spec.enabled && tells(check) {
                self.engine
                    .change(&check.spec.name, standing(check, checks, None), now);
            }
        }
        self.is_on = has_routes || !self.engine.snapshot().is_empty();
        self.carriers.renew();
    }

    /// In memory at once, and on its way to the disk. The number of its batch.
    fn write_down(&mut self, records: Vec<Record>, turn: &mut Turn) -> u64 {
        let engine = &self.engine;
        if !records.is_empty() {
            match self.kept.memory.add(&records, || engine.snapshot()) {
                Ok(memory) => turn.memory = memory,
                Err(e) => log::error!("who was told of what cannot be kept in memory: {e}"),
            }
        }
        self.kept.disk.add(&records, || engine.snapshot())
    }

    /// The carrier that takes it; None: it is refused, as nothing has left.
    pub fn load(
        &mut self,
        departure: Departure,
        checks: &mut Checks,
        model: &Model,
        plugins: &[PluginUse],
        books: &Books,
    ) -> Option<u32> {
        let delivery = match departure {
            Departure::Message(delivery) => *delivery,
            Departure::Act(act) => return self.load_act(*act, checks, plugins),
        };
        let notifier = model.notifiers.iter().find(|n| *n.name == *delivery.route);
        let Some(notifier) = notifier else {
            return self.not_sent(
                Departure::Message(Box::new(delivery)),
                "the route is not in the config",
            );
        };
        let page = model.page_url();
        let more = |place: usize, name: &str| {
            let check = checks.find(name).and_then(|id| checks.get(id));
            let Some(check) = check else {
                return Map::new();
            };
            let mut fields = match place < IN_FULL {
                true => evidence(place, check, &books.last_runs(check.identity.index)),
                false => Map::new(),
            };
            let page = page.as_ref().filter(|_| place < IN_FULL);
            let page = page.map(|page| format!("{page}{}", check_path(name)));
            fields.extend(page.map(|url| ("url".to_owned(), url.into())));
            let runbook = check.spec.alerts.runbook.clone();
            fields.extend(runbook.map(|url| ("runbook".to_owned(), url.into())));
            fields
        };
        let home = Home {
            host: &self.host,
            page: page.as_deref(),
        };
        let json = delivery.json(home, clock::realtime_ns(), &more);
        let message = (&delivery, Load::Message(Sent::of(&delivery)));
        let loaded = (self.carriers).load(message, &json.to_string(), notifier, checks, plugins);
        loaded
            .map_err(|refused| self.deliveries.end(Sent::of(&delivery), refused))
            .ok()
    }

    fn load_act(&mut self, act: Act, checks: &mut Checks, plugins: &[PluginUse]) -> Option<u32> {
        let what = (&act.delivery, Load::Act(act.acted.clone()));
        let loaded = (self.carriers).load(what, &act.json, &act.spec, checks, plugins);
        loaded
            .map_err(|refused| self.beside.actions.ended(act.acted, refused))
            .ok()
    }

    pub fn not_sent(&mut self, departure: Departure, why: &str) -> Option<u32> {
        let refused = Outcome::Refused {
            reason: why.to_owned(),
            retry_after: None,
        };
        match departure {
            Departure::Message(delivery) => self.deliveries.end(Sent::of(&delivery), refused),
            Departure::Act(act) => self.beside.actions.ended(act.acted, refused),
        }
        None
    }

    /// Carriers that nobody needs any more.
    pub fn sweep(&mut self, checks: &mut Checks, plugins: &[PluginUse]) -> Vec<u32> {
        let swept = self.carriers.sweep(checks, plugins);
        for id in swept.lost {
            let reason = "its run was given up".to_owned();
            let unknown = Outcome::Unknown {
                reason,
                retry_after: None,
            };
            self.ended(id, unknown);
        }
        swept.gone
    }

    /// Nothing is sent any more: what was not is as if it had never been begun, and the disk gets the rest.
    pub fn finish(&mut self) {
        let now = both_clocks();
        let mut unsent: Vec<Delivery> = self.waiting.drain(..).map(|w| w.delivery).collect();
        let mut records = Vec::new();
        for (sent, outcome) in self.deliveries.take() {
            self.engine.outcome(sent.message, outcome, now);
        }
        for _ in 0..STEPS {
            for delivery in unsent.drain(..) {
                let reason = "healthd stops".to_owned();
                let refused = Outcome::Refused {
                    reason,
                    retry_after: None,
                };
                self.engine.outcome(delivery.id, refused, now);
            }
            let output = self.engine.step(now);
            records.extend(output.records);
            unsent = output.deliver;
        }
        let engine = &self.engine;
        self.kept.disk.add(&records, || engine.snapshot());
        self.kept.disk.finish(|| engine.snapshot());
    }
}

fn over_budget(over: OverBudget) -> Fact {
    Fact::new(EventKind::OverBudget)
        .cause(over.route)
        .why(over.why)
}

/// A refusal in the last step makes no other message due: the next try is seconds away.
const STEPS: usize = 3;

/// The first runs of all checks are due within so many ns.
fn first_runs(model: &Model) -> u64 {
    let enabled = model.checks.iter().filter(|c| c.enabled);
    let longest = enabled.map(|c| c.interval).max().unwrap_or_default();
    ns(longest.min(model.daemon.start_spread))
}

pub fn both_clocks() -> Now {
    Now {
        mono: clock::monotonic_ns(),
        wall: clock::realtime_ns(),
    }
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
