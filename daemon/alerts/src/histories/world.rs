//! The world around an engine: checks that are as they are, receivers, two logs; and what must hold in it.

use super::Rules;
use super::story::{Mode, Step, Story};
use crate::check::{Labels, Standing};
use crate::delivery::{Delivery, Kind, Outcome, Sure, Word};
use crate::engine::Engine;
use crate::holds::{Hold, Scope, Until};
use crate::rate::Rate;
use crate::record::Record;
use crate::report::{NoticeRow, RouteRow};
use crate::route::{By, Config, On, Route};
use crate::time::{Now, SECOND};
use healthd_core::check::outcome::Verdict;
use healthd_core::matching::Match;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Err: what does not hold.
pub fn run(story: &Story, rules: Rules) -> Result<Tally, String> {
    let mut world = World::new(story, rules);
    for step in &story.steps {
        world.take(*step);
        if let Some(why) = world.broken.take() {
            return Err(why);
        }
    }
    world.calm();
    world.broken.map_or(Ok(world.tally), Err)
}

/// What was in a history.
#[derive(Debug, Default)]
pub struct Tally {
    pub arrived: BTreeMap<Kind, u64>,
    /// Messages that arrived once more.
    pub again: u64,
    /// Recoveries whose receiver may not know of the problem.
    pub unsure: u64,
    /// Problems that a backup was told.
    pub stood_in: u64,
    /// Messages with several checks in them.
    pub joined: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub full_disks: u64,
    pub reloads: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        for (kind, count) in &other.arrived {
            *self.arrived.entry(*kind).or_default() += count;
        }
        self.again += other.again;
        self.unsure += other.unsure;
        self.stood_in += other.stood_in;
        self.joined += other.joined;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.full_disks += other.full_disks;
        self.reloads += other.reloads;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.arrived {
            write!(f, "{count} {}, ", kind.as_str())?;
        }
        write!(
            f,
            "{} came again; {} not known to be told, {} by a backup, {} of several checks; \
             {} kills, {} power cuts, {} full disks, {} reloads",
            self.again,
            self.unsure,
            self.stood_in,
            self.joined,
            self.kills,
            self.power_cuts,
            self.full_disks,
            self.reloads
        )
    }
}

struct World<'s> {
    story: &'s Story,
    rules: Rules,
    config: Config,
    now: Now,
    checks: Vec<Truth>,
    engine: Engine,
    memory: Vec<Record>,
    disk: Vec<Record>,
    /// So much of it is there for certain: no message leaves before that.
    waited_for: usize,
    disk_is_full: bool,
    /// Something could not be written: from now on a power cut loses it.
    disk_is_stale: bool,
    /// And that has happened: what is told twice is not counted.
    has_lost: bool,
    receivers: Vec<Receiver>,
    flights: Vec<Flight>,
    tally: Tally,
    broken: Option<String>,
}

#[derive(Clone)]
struct Truth {
    name: Arc<str>,
    labels: Labels,
    exists: bool,
    verdict: Verdict,
    since: u64,
    is_behind: bool,
    silence: Option<u64>,
}

#[derive(Default)]
struct Receiver {
    mode: Mode,
    /// Ids of messages.
    known: BTreeSet<u64>,
    /// To it, whether or not they arrived.
    sent: BTreeSet<u64>,
    doubtful: BTreeSet<u64>,
    /// Notices that it believes to be open, and their checks.
    open: BTreeMap<u64, BTreeSet<Arc<str>>>,
    ended: BTreeSet<u64>,
    /// First attempts of problems since the last start.
    firsts: Vec<u64>,
    tried: BTreeSet<u64>,
    /// It has asked for nothing more before that.
    asked: u64,
}

struct Flight {
    delivery: Delivery,
    takes_at: Option<u64>,
    ends_at: u64,
    outcome: Outcome,
}

impl<'s> World<'s> {
    fn new(story: &'s Story, rules: Rules) -> World<'s> {
        let now = Now {
            mono: 1_000 * SECOND,
            wall: 1_700_000_000 * SECOND,
        };
        let truth = |n: usize| Truth {
            name: format!("c{n}").into(),
            labels: Arc::new([("group".to_owned(), (n % 2).to_string())].into()),
            exists: true,
            verdict: Verdict::Ok,
            since: now.wall,
            is_behind: false,
            silence: None,
        };
        let mut world = World {
            story,
            rules,
            config: config(story),
            now,
            checks: (0..story.checks).map(truth).collect(),
            engine: Engine::new(now.wall),
            memory: Vec::new(),
            disk: Vec::new(),
            waited_for: 0,
            disk_is_full: false,
            disk_is_stale: false,
            has_lost: false,
            receivers: story.routes.iter().map(|_| Receiver::default()).collect(),
            flights: Vec::new(),
            tally: Tally::default(),
            broken: None,
        };
        world.engine.rules = rules;
        world.configure();
        world
    }

    fn take(&mut self, step: Step) {
        let check = |who: usize| who % self.story.checks;
        match step {
            Step::Pass(seconds) => self.pass(seconds),
            Step::Flip(who, code) => {
                let who = check(who);
                self.flip(who..who + 1, code);
            }
            Step::Storm(code) => self.flip(0..self.checks.len(), code),
            Step::Receiver(who, mode) => {
                let who = who % self.receivers.len();
                self.receivers[who].mode = mode;
            }
            Step::Silence(who) => {
                let who = check(who);
                if self.checks[who].silence.is_none() {
                    let hold = Hold {
                        scope: Scope::Matching(self.checks[who].name.to_string()),
                        until: Until::Further,
                        reason: String::new(),
                        author: String::new(),
                        since: self.now.wall,
                        planned: false,
                    };
                    self.checks[who].silence = self.engine.hold(hold, self.now).ok();
                    self.step();
                }
            }
            Step::Unsilence(who) => {
                if let Some(id) = self.checks[check(who)].silence.take() {
                    self.engine.take_back(id, self.now);
                    self.step();
                }
            }
            Step::Ack(who) => {
                let name = self.checks[check(who)].name.clone();
                let (author, reason) = Default::default();
                self.engine
                    .acknowledge(&name, author, reason, Until::Further, self.now);
                self.step();
            }
            Step::Behind(who, is) => {
                self.checks[check(who)].is_behind = is;
                self.feed();
            }
            Step::Remove(who) => {
                self.checks[check(who)].exists = false;
                self.configure();
            }
            Step::Add(who) => {
                self.checks[check(who)].exists = true;
                self.configure();
            }
            Step::Reload => {
                self.tally.reloads += 1;
                self.configure();
            }
            Step::Kill => {
                self.tally.kills += 1;
                self.start(self.memory.clone(), true);
            }
            Step::PowerCut => {
                self.tally.power_cuts += 1;
                self.has_lost |= self.disk_is_stale;
                self.disk_is_stale = false;
                // What was written after the last message left may not be on the disk yet.
                self.disk.truncate(self.waited_for);
                self.memory = self.disk.clone();
                for truth in &mut self.checks {
                    truth.silence = None;
                }
                let silences = self.memory.iter().filter_map(|r| match r {
                    Record::Hold(
                        id,
                        Hold {
                            scope: Scope::Matching(name),
                            ..
                        },
                    ) => Some((*id, name.clone())),
                    _ => None,
                });
                for (id, name) in silences.collect::<Vec<_>>() {
                    let gone = self.memory.contains(&Record::HoldGone(id));
                    if let Some(truth) = self.checks.iter_mut().find(|t| *t.name == *name && !gone)
                    {
                        truth.silence = Some(id);
                    }
                }
                self.start(self.memory.clone(), false);
            }
            Step::DiskFull(is) => {
                self.tally.full_disks += u64::from(is);
                self.disk_is_full = is;
                self.write(Vec::new());
            }
        }
    }

    fn flip(&mut self, who: std::ops::Range<usize>, code: u8) {
        let verdict = Verdict::from_code(code).unwrap_or(Verdict::Ok);
        for truth in &mut self.checks[who] {
            if truth.verdict != verdict {
                truth.verdict = verdict;
                truth.since = self.now.wall;
            }
        }
        self.feed();
    }

    /// Another manager takes over, from one of the logs. Its workers are new as well. `knows_all`: the log has every word.
    fn start(&mut self, log: Vec<Record>, knows_all: bool) {
        self.now.wall += SECOND;
        for flight in std::mem::take(&mut self.flights) {
            let receiver = self.receiver(&flight.delivery.route);
            receiver.doubtful.insert(flight.delivery.id);
        }
        for receiver in &mut self.receivers {
            receiver.firsts.clear();
            if !knows_all {
                // What became of it may be what was lost: then it is sent once more, with its id.
                receiver.doubtful.extend(&receiver.sent);
            }
        }
        let before = self.engine.report(self.now);
        self.engine = Engine::restore(self.now.wall, log);
        self.engine.rules = self.rules;
        let said = |row: &NoticeRow| (row.id, (row.refusal.clone(), row.receipt.clone()));
        let known: BTreeMap<_, _> = before.notices.iter().map(said).collect();
        let restored = self.engine.report(self.now).notices;
        let mut now_known = restored.iter().map(said);
        if knows_all && now_known.any(|(id, said)| known.get(&id).is_some_and(|was| *was != said)) {
            self.fail("another manager does not know what a receiver has said");
        }
        self.configure();
        let told = |row: &RouteRow| (row.last_ok, row.last_error.clone(), row.ends, row.week);
        let after = self.engine.report(self.now).routes;
        if knows_all && !(before.routes.iter().map(told)).eq(after.iter().map(told)) {
            self.fail("another manager does not know how a route is doing");
        }
    }

    fn configure(&mut self) {
        for receiver in &mut self.receivers {
            receiver.asked = 0;
        }
        let (checks, config) = (&self.checks, self.config.clone());
        let lookup = |name: &str| {
            let truth = checks.iter().find(|t| &*t.name == name && t.exists)?;
            Some(standing(truth, self.story))
        };
        self.engine.configure(config, self.now, &lookup);
        self.feed();
    }

    fn feed(&mut self) {
        for truth in self.checks.iter().filter(|t| t.exists) {
            self.engine
                .change(&truth.name, standing(truth, self.story), self.now);
        }
        self.step();
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now.mono + seconds * SECOND;
        for turn in 0.. {
            if turn > 10_000 {
                return self.fail("the engine does not come to rest");
            }
            let next = self.step();
            let flights = self.flights.iter();
            let flights = flights.flat_map(|f| f.takes_at.into_iter().chain([f.ends_at]));
            let at = flights.chain(next).chain([end]).min().unwrap_or(end);
            let at = at.max(self.now.mono);
            self.now.wall += at - self.now.mono;
            self.now.mono = at;
            let landed = self.land();
            if at == end && !landed {
                break;
            }
        }
        self.step();
    }

    fn step(&mut self) -> Option<u64> {
        let output = self.engine.step(self.now);
        self.write(output.records);
        let open = self.engine.open_notices().count();
        let most = self.checks.len() * self.receivers.len();
        if open > most && self.rules.endings_are_finished {
            self.fail("there are more notices than there can be");
        }
        if !output.deliver.is_empty() && !self.disk_is_full {
            self.waited_for = self.disk.len();
        }
        for delivery in output.deliver {
            self.launch(delivery);
        }
        output.next
    }

    fn write(&mut self, records: Vec<Record>) {
        for record in &records {
            if Record::decode(&record.encode()).as_ref() != Ok(record) {
                self.fail("a record does not read as it was written");
            }
        }
        self.memory.extend(records.iter().cloned());
        if self.disk_is_full {
            self.disk_is_stale |= !records.is_empty();
        } else if self.disk_is_stale {
            self.disk = self.engine.snapshot();
            self.disk_is_stale = false;
            // In place of what was there, or not at all.
            self.waited_for = self.disk.len();
        } else {
            self.disk.extend(records);
        }
    }

    fn launch(&mut self, delivery: Delivery) {
        let (now, on_route) = (self.now.mono, |f: &&Flight| {
            f.delivery.route == delivery.route
        });
        if self.flights.iter().filter(on_route).count() >= 4 {
            self.fail("five deliveries of one route at once");
        }
        if self
            .flights
            .iter()
            .any(|f| f.delivery.notice == delivery.notice)
        {
            self.fail("two deliveries of one notice at once");
        }
        let members: Vec<&Truth> = (self.checks.iter())
            .filter(|t| delivery.checks.iter().any(|line| line.name == t.name))
            .collect();
        let bad = |t: &Truth| t.exists && t.verdict != Verdict::Ok;
        let tellable = |t: &&&Truth| bad(t) && !t.is_behind && t.silence.is_none();
        let none_tellable = !members.iter().any(|t| tellable(&t)) && !self.story.flap;
        let one_is_bad = members.iter().any(|t| bad(t));
        let (id, route) = (delivery.id, delivery.route.clone());
        let limit = self
            .config
            .routes
            .iter()
            .find(|r| r.name == route)
            .and_then(|r| r.limit);
        let receiver = self.receiver(&route);
        let doubtful = receiver.doubtful.contains(&id);
        receiver.sent.insert(id);
        let mode = receiver.mode;
        let asked = receiver.asked;
        if now < asked {
            self.fail("a receiver is told before the time that it has asked for");
        }
        let receiver = self.receiver(&route);
        match delivery.kind {
            Kind::Problem => {
                // One that was tried before a start was counted before it.
                if receiver.tried.insert(id) {
                    receiver.firsts.push(now);
                    let recent =
                        |at: &&u64| limit.is_some_and(|l| now - **at < crate::time::ns(l.per));
                    let count = receiver.firsts.iter().filter(recent).count();
                    if limit.is_some_and(|l| count > l.count as usize) {
                        self.fail("more than the limit");
                    }
                }
                if none_tellable {
                    self.fail("a problem is told that is none, or is held back");
                }
            }
            Kind::Recovery if one_is_bad && !doubtful => {
                self.fail("a recovery is told of what is bad")
            }
            Kind::Worse | Kind::Repeat if none_tellable => {
                self.fail("what is over or held back is told again")
            }
            _ => {}
        }
        let accepted = Outcome::Accepted {
            receipt: "250 queued".into(),
        };
        let no = |retry_after| Outcome::Refused {
            reason: "404".into(),
            retry_after,
        };
        let unknown = Outcome::Unknown {
            reason: "reset".into(),
            retry_after: None,
        };
        let (takes, ends, outcome) = match mode {
            Mode::Accept => (Some(0), 1, accepted),
            Mode::Refuse => (None, 1, no(None)),
            Mode::Later => (None, 1, no(Some(Duration::from_secs(17)))),
            Mode::Swallow => (Some(0), 1, unknown),
            Mode::Lose => (None, 1, unknown),
            Mode::Slow => (Some(20), 30, accepted),
            Mode::TooSlow => (Some(20), 30, unknown),
        };
        self.flights.push(Flight {
            delivery,
            takes_at: takes.map(|s| now + s * SECOND),
            ends_at: now + ends * SECOND,
            outcome,
        });
        self.land();
    }

    /// What arrives now, and what ends. True: something did.
    fn land(&mut self) -> bool {
        let mut any = false;
        let now = self.now.mono;
        let mut arrived = Vec::new();
        for flight in &mut self.flights {
            if flight.takes_at.is_some_and(|at| at <= now) {
                flight.takes_at = None;
                arrived.push(flight.delivery.clone());
            }
        }
        for delivery in arrived {
            any = true;
            self.arrive(delivery);
        }
        while let Some(place) = self.flights.iter().position(|f| f.ends_at <= now) {
            any = true;
            let flight = self.flights.swap_remove(place);
            let receiver = self.receiver(&flight.delivery.route);
            match &flight.outcome {
                Outcome::Accepted { .. } => receiver.asked = 0,
                Outcome::Refused { retry_after, .. } => {
                    let after = retry_after.map(|after| now + crate::time::ns(after));
                    receiver.asked = after.unwrap_or(receiver.asked);
                }
                Outcome::Unknown { .. } => drop(receiver.doubtful.insert(flight.delivery.id)),
                Outcome::Held { .. } => {}
            }
            self.engine
                .outcome(flight.delivery.id, flight.outcome, self.now);
        }
        any
    }

    /// A message is at its receiver, who knows its id if it has seen it before.
    fn arrive(&mut self, delivery: Delivery) {
        let names = delivery.checks.iter().map(|line| line.name.clone());
        let names: BTreeSet<Arc<str>> = names.collect();
        let is_bad =
            |line: &&crate::delivery::Line| !matches!(line.verdict, Word::Ok | Word::Removed);
        let some_bad = delivery.checks.iter().any(|line| is_bad(&line));
        let known = self.receiver(&delivery.route).known.contains(&delivery.id);
        if known {
            self.tally.again += 1;
            return;
        }
        *self.tally.arrived.entry(delivery.kind).or_default() += 1;
        self.tally.unsure += u64::from(delivery.sure == Sure::Not);
        self.tally.stood_in += u64::from(delivery.instead_of.is_some());
        self.tally.joined += u64::from(delivery.checks.len() > 1);
        let receiver = self.receiver(&delivery.route);
        receiver.known.insert(delivery.id);
        let notice = delivery.notice;
        let ended = receiver.ended.contains(&notice);
        let elsewhere =
            (receiver.open.iter()).any(|(of, checks)| *of != notice && !checks.is_disjoint(&names));
        let is_open = receiver.open.contains_key(&notice);
        let why = match delivery.kind {
            Kind::Problem if ended => Some("a problem arrives after its own recovery"),
            Kind::Problem if is_open => Some("a problem has two ids"),
            Kind::Problem if elsewhere => {
                Some("a problem arrives before the recovery of the last one")
            }
            Kind::Problem if !some_bad => Some("a problem says that nothing is bad"),
            Kind::Recovery if ended => Some("a recovery has two ids"),
            Kind::Recovery if some_bad => Some("a recovery says that something is bad"),
            Kind::Recovery if elsewhere => Some("a recovery arrives while another problem is open"),
            Kind::Recovery if !is_open && delivery.sure == Sure::Told => {
                Some("a recovery of what was never told does not say so")
            }
            Kind::Worse | Kind::Update | Kind::Repeat if !is_open || ended => {
                Some("more is said of what is not open")
            }
            _ => None,
        };
        match delivery.kind {
            Kind::Problem => drop(receiver.open.insert(notice, names)),
            Kind::Recovery => {
                receiver.open.remove(&notice);
                receiver.ended.insert(notice);
            }
            _ => {}
        }
        if let Some(why) = why {
            self.fail(why);
        }
    }

    /// Everything is well again, and every receiver takes what it is sent. Silences stay.
    fn calm(&mut self) {
        self.take(Step::DiskFull(false));
        for receiver in &mut self.receivers {
            receiver.mode = Mode::Accept;
        }
        for truth in &mut self.checks {
            truth.is_behind = false;
            if truth.verdict != Verdict::Ok {
                truth.verdict = Verdict::Ok;
                truth.since = self.now.wall;
            }
        }
        self.feed();
        for _ in 0..12 {
            self.pass(1_800);
            if self.engine.open_notices().next().is_none() {
                break;
            }
        }
        let stages = self.engine.open_notices().map(|n| n.stage);
        let endless: Vec<_> = stages.collect();
        if !endless.is_empty() {
            self.fail(&format!("a notice never ends: {endless:?}"));
        }
        let open = self.receivers.iter().find_map(|r| r.open.first_key_value());
        if let Some((notice, checks)) = open {
            let why = format!("an orphan: notice {notice} of {checks:?}");
            self.fail(&why);
        }
    }

    fn receiver(&mut self, route: &str) -> &mut Receiver {
        let place = self.config.routes.iter().position(|r| &*r.name == route);
        &mut self.receivers[place.expect("a route of ours")]
    }

    fn fail(&mut self, why: &str) {
        if !self.has_lost {
            self.broken.get_or_insert_with(|| why.to_owned());
        }
    }
}

fn config(story: &Story) -> Config {
    let route = |(n, setup): (usize, &super::story::RouteSetup)| {
        let seconds = Duration::from_secs;
        Arc::new(Route {
            wait: seconds(setup.wait),
            after: seconds(setup.after),
            repeat: setup.repeat.map(seconds),
            by: match setup.by {
                0 => By::None,
                1 => By::Check,
                _ => By::Label("group".into()),
            },
            limit: setup.limit.map(|(count, per)| Rate {
                count,
                per: seconds(per),
            }),
            backup: setup
                .backup
                .filter(|to| *to != n)
                .map(|to| format!("r{to}").into()),
            on: On {
                warning: !setup.critical,
                unknown: !setup.critical,
                critical: true,
            },
            matches: Match::all(),
            ..Route::new(&format!("r{n}"), "webhook")
        })
    };
    Config {
        routes: story.routes.iter().enumerate().map(route).collect(),
        maintenance: Vec::new(),
    }
}

fn standing(truth: &Truth, story: &Story) -> Standing {
    let behind = truth.is_behind && truth.verdict != Verdict::Ok;
    Standing {
        verdict: truth.verdict,
        message: String::new(),
        since: truth.since,
        labels: truth.labels.clone(),
        was: Verdict::Pending,
        behind: behind.then(|| "uplink".into()),
        flap: story.flap.then_some(Rate {
            count: 3,
            per: Duration::from_secs(600),
        }),
    }
}
