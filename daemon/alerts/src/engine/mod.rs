//! The engine: verdicts, time and outcomes go in; records to be written and deliveries to be started come out.
//!
//! How it is called, by the manager, in this order:
//!
//! 1. `restore` with the records of the log, the oldest first, or `new`; before the first run of any check.
//! 2. `configure`, with every check that there is; `starting_until`, as long as first runs are spread; `change` for each
//!    check that is not ok.
//! 3. `step`. Its records go into the log in memory, and to the disk; only then are its deliveries started, each as a run of its
//!    route's plugin. What the disk has not answered after a second is not waited for. When a disk that was full takes
//!    something again, it gets `snapshot` first: a log with a hole in it would forget an ending.
//! 4. From then on `change` when a verdict flips, `removed`, `hold` and the rest as they come, and `outcome` once for each
//!    delivery, a crash or a timeout of its run being `Unknown`; after each of them, when the wall clock is set, and at
//!    the time that the last step named, `step` again.
//! 5. At a reload `configure` again. A manager that takes over begins with 1; deliveries of the one before it are
//!    tried again with their ids.

mod checks;
mod notices;
mod outcomes;
mod setup;

pub use setup::Orphan;

use crate::check::Check;
use crate::delivery::{Delivery, Kind, Outcome, Sure};
use crate::holds::{Hold, Holds, Scope, Until};
use crate::ids::Ids;
use crate::lane::{Ends, Lane};
use crate::notice::{Key, Notice};
use crate::record::{Record, SavedRoute};
use crate::route::{Config, Route};
use crate::time::Now;
use crate::wakes::Wakes;
use crate::week::{OverBudget, Weeks};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug)]
pub struct Engine {
    ids: Ids,
    config: Config,
    holds: Holds,
    holds_changed: bool,
    /// Checks that are bad, in a notice, or flip too often; of the others nothing is known here.
    checks: BTreeMap<Arc<str>, Check>,
    notices: BTreeMap<u64, Notice>,
    /// Bad checks that lie behind another, by that one.
    behind: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// By route.
    lanes: BTreeMap<Arc<str>, Lane>,
    /// The notice that the next problem of this kind joins.
    gathering: BTreeMap<(Arc<str>, Key), u64>,
    /// Deliveries on their way, by message.
    flights: BTreeMap<u64, Flight>,
    wakes: Wakes<Wake>,
    /// Until then what is found is collected: the first runs after a start are one message.
    starting_until: u64,
    weeks: Weeks,
    records: Vec<Record>,
    deliver: Vec<Delivery>,
    over_budget: Vec<OverBudget>,
    #[cfg(test)]
    pub rules: crate::histories::Rules,
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Check(Arc<str>),
    Notice(u64),
    Alive(Arc<str>),
    /// A window opens or closes, a hold ends.
    Calendar,
}

#[derive(Clone, Debug)]
struct Flight {
    route: Arc<str>,
    notice: Option<u64>,
    kind: Kind,
    /// The first of its checks.
    check: Option<Arc<str>>,
    /// CLOCK_MONOTONIC: it was handed out.
    since: u64,
}

/// What one step has brought.
#[derive(Debug, Default)]
pub struct Output {
    /// To be written down before anything of `deliver` is started.
    pub records: Vec<Record>,
    pub deliver: Vec<Delivery>,
    /// Routes that have sent more than is enough, each said once a week.
    pub over_budget: Vec<OverBudget>,
    /// CLOCK_MONOTONIC: when the engine wants to be asked again, at the latest.
    pub next: Option<u64>,
}

impl Engine {
    /// `wall`: CLOCK_REALTIME in nanoseconds.
    pub fn new(wall: u64) -> Engine {
        Engine {
            ids: Ids::starting(wall),
            config: Config::default(),
            holds: Holds::default(),
            holds_changed: true,
            checks: BTreeMap::new(),
            notices: BTreeMap::new(),
            behind: BTreeMap::new(),
            lanes: BTreeMap::new(),
            gathering: BTreeMap::new(),
            flights: BTreeMap::new(),
            wakes: Wakes::default(),
            starting_until: 0,
            weeks: Weeks::default(),
            records: Vec::new(),
            deliver: Vec::new(),
            over_budget: Vec::new(),
            #[cfg(test)]
            rules: crate::histories::Rules::default(),
        }
    }

    pub fn step(&mut self, now: Now) -> Output {
        self.calendar(now);
        loop {
            while let Some(wake) = self.wakes.due(now.mono) {
                match wake {
                    Wake::Check(name) => self.look_at_check(&name, now),
                    Wake::Notice(id) => self.look_at_notice(id, now),
                    Wake::Alive(route) => self.alive(&route, now),
                    Wake::Calendar => {}
                }
            }
            if !self.fill_lanes(now) {
                break;
            }
        }
        let windows = self.lanes.values().filter_map(|lane| lane.window.next());
        let next = self.holds.next().into_iter().chain(windows).min();
        self.wakes.set(
            Wake::Calendar,
            next.map(|wall| now.mono_of(wall).max(now.mono + 1)),
        );
        Output {
            records: std::mem::take(&mut self.records),
            deliver: std::mem::take(&mut self.deliver),
            over_budget: std::mem::take(&mut self.over_budget),
            next: self.wakes.next(),
        }
    }

    /// What opens and closes by the wall clock.
    fn calendar(&mut self, now: Now) {
        let (ended, mut changed) = self.holds.turn(now);
        self.records.extend(ended.into_iter().map(Record::HoldGone));
        for route in &self.config.routes {
            if let (Some(when), Some(lane)) = (&route.when, self.lanes.get_mut(&route.name)) {
                changed |= lane.window.turn(when, now.wall);
            }
        }
        if changed {
            self.holds_changed = true;
            self.look_at_all(now);
        }
    }

    fn look_at_all(&mut self, now: Now) {
        for name in self.checks.keys() {
            self.wakes.by(Wake::Check(name.clone()), now.mono);
        }
    }

    /// A silence, until it is taken back or its time has come. Err: its `match` cannot be read.
    pub fn hold(&mut self, hold: Hold, now: Now) -> Result<u64, crate::WrongMatch> {
        if let Scope::Matching(text) = &hold.scope {
            crate::Match::parse(text)?;
        }
        let id = self.ids.give();
        self.holds.give(id, hold.clone());
        self.records.push(Record::Hold(id, hold));
        self.holds_changed = true;
        self.look_at_all(now);
        Ok(id)
    }

    /// Acknowledges the problem that this check has. None: it has none.
    pub fn acknowledge(
        &mut self,
        name: &str,
        author: String,
        reason: String,
        until: Until,
        now: Now,
    ) -> Option<u64> {
        let (name, check) = self.checks.get_key_value(name)?;
        if !check.is_bad() {
            return None;
        }
        let hold = Hold {
            scope: Scope::Problem(name.clone()),
            until,
            reason,
            author,
            since: now.wall,
            planned: false,
        };
        self.hold(hold, now).ok()
    }

    /// False: there is none with this id.
    pub fn take_back(&mut self, id: u64, now: Now) -> bool {
        let was = self.holds.take_back(id);
        if was {
            self.records.push(Record::HoldGone(id));
            self.holds_changed = true;
            self.look_at_all(now);
        }
        was
    }

    /// Its time now is planned, and no downtime: the reason.
    pub fn planned(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<&str> {
        self.holds.planned(name, labels)
    }

    /// The time of some checks may be planned now, or not any more: since the last time that this was asked.
    pub fn plans_changed(&mut self) -> Option<bool> {
        let changed = std::mem::take(&mut self.holds_changed);
        changed.then(|| self.holds.plans())
    }

    /// A message that says that the way works. None: no such route. Its outcome says whether it does.
    pub fn test(&mut self, route: &str, now: Now) -> Option<u64> {
        self.without_notice(route, Kind::Test, now)
    }

    fn without_notice(&mut self, route: &str, kind: Kind, now: Now) -> Option<u64> {
        let (route, lane) = self.lanes.iter_mut().find(|(name, _)| &***name == route)?;
        let id = self.ids.give();
        lane.flying += 1;
        let flight = Flight {
            route: route.clone(),
            notice: None,
            kind,
            check: None,
            since: now.mono,
        };
        self.flights.insert(id, flight);
        self.deliver.push(Delivery {
            id,
            notice: 0,
            kind,
            route: route.clone(),
            sure: Sure::Told,
            checks: Vec::new(),
            bad: 0,
            behind: Vec::new(),
            behind_count: 0,
            near: Vec::new(),
            also: Vec::new(),
            from: now.wall,
            to: None,
            instead_of: None,
        });
        Some(id)
    }

    /// A number that no message has had.
    pub fn message_id(&mut self) -> u64 {
        self.ids.give()
    }

    /// Everything that is written down, for a log that begins anew.
    pub fn snapshot(&self) -> Vec<Record> {
        let notices = self.notices.values().filter(|n| n.is_saved);
        let holds = self.holds.given();
        notices
            .map(|n| Record::Notice(n.saved()))
            .chain(holds.map(|(id, hold)| Record::Hold(id, hold.clone())))
            .chain(self.weeks.saved().map(Record::Sent))
            .chain(self.rows_of_routes().map(Record::Route))
            .collect()
    }

    /// Of one on which nothing was ever sent there is nothing to keep.
    fn rows_of_routes(&self) -> impl Iterator<Item = SavedRoute> {
        let rows = self.lanes.iter().map(|(name, lane)| lane.saved(name));
        rows.filter(|row| row.ends != Ends::default())
    }

    /// What has become of a delivery. One that is not on its way is nobody's.
    pub fn outcome(&mut self, message: u64, outcome: Outcome, now: Now) {
        let Some(flight) = self.flights.remove(&message) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&flight.route) {
            lane.end(&outcome, now.mono.saturating_sub(flight.since), now);
            self.records.push(Record::Route(lane.saved(&flight.route)));
        }
        if flight.notice.is_some() && matches!(outcome, Outcome::Accepted { .. }) {
            let budget = self.route(&flight.route).and_then(|route| route.budget);
            let (sent, over) = (self.weeks).accepted(&flight.route, flight.check, budget, now.wall);
            self.records.push(Record::Sent(sent));
            self.over_budget.extend(over);
        }
        if let Some(id) = flight.notice {
            self.notice_outcome(id, flight.kind, outcome, now);
        }
    }

    /// Messages of the last seven days.
    pub(crate) fn week(&self, route: &str, now: Now) -> u64 {
        self.weeks.count(route, now.wall)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn open_notices(&self) -> impl Iterator<Item = &Notice> {
        self.notices.values()
    }

    pub(crate) fn config_routes(&self) -> impl Iterator<Item = (&Arc<Route>, Option<&Lane>)> {
        let lane = |route: &Arc<Route>| self.lanes.get(&route.name);
        self.config
            .routes
            .iter()
            .map(move |route| (route, lane(route)))
    }

    #[cfg(not(test))]
    fn rules(&self) -> Rules {
        Rules
    }
    #[cfg(test)]
    fn rules(&self) -> crate::histories::Rules {
        self.rules
    }
}

/// The three rules: only the tests can take one away, to see that it is needed.
#[cfg(not(test))]
struct Rules;

#[cfg(not(test))]
impl Rules {
    fn written_first(&self) -> bool {
        true
    }
    fn endings_are_finished(&self) -> bool {
        true
    }
    fn recoveries_pass(&self) -> bool {
        true
    }
}
