//! What a receiver gets, case by case: each of these is a complaint about somebody else's alerts.

use healthd_alerts::{
    By, Config, Delivery, Engine, Hold, Kind, Maintenance, Match, Now, Outcome, Rate, Record,
    Route, Scope, Standing, Sure, Until, When, Word,
};
use healthd_core::check::outcome::Verdict;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
/// 2026-11-29 02:00 UTC, a Sunday.
const START: u64 = 1_795_917_600 * SECOND;

/// An engine, its clocks, and what was sent; the receivers do as `answer` says.
struct House {
    engine: Engine,
    config: Config,
    now: Now,
    known: BTreeMap<String, Standing>,
    sent: Vec<Delivery>,
    log: Vec<Record>,
    answer: Box<dyn Fn(&Delivery) -> Outcome>,
}

fn accepted(_: &Delivery) -> Outcome {
    Outcome::Accepted {
        receipt: "250".into(),
    }
}

fn refused(_: &Delivery) -> Outcome {
    Outcome::Refused {
        reason: "404 no_service".into(),
        retry_after: None,
    }
}

fn lost(_: &Delivery) -> Outcome {
    Outcome::Unknown {
        reason: "reset".into(),
        retry_after: None,
    }
}

impl House {
    fn new(routes: Vec<Route>) -> House {
        let now = Now {
            mono: 100 * SECOND,
            wall: START,
        };
        let mut house = House {
            engine: Engine::new(now.wall),
            config: Config {
                routes: routes.into_iter().map(Arc::new).collect(),
                maintenance: Vec::new(),
            },
            now,
            known: BTreeMap::new(),
            sent: Vec::new(),
            log: Vec::new(),
            answer: Box::new(accepted),
        };
        house.reload();
        house
    }

    fn reload(&mut self) -> usize {
        let known = &self.known;
        let orphans = self
            .engine
            .configure(self.config.clone(), self.now, &|name| {
                known.get(name).cloned()
            });
        let all: Vec<_> = known.iter().map(|(n, s)| (n.clone(), s.clone())).collect();
        for (name, standing) in all {
            self.engine.change(&name, standing, self.now);
        }
        orphans.len()
    }

    /// The manager dies, and another goes on from what is written.
    fn restart(&mut self) {
        self.engine = Engine::restore(self.now.wall, self.log.clone());
        self.reload();
    }

    fn set(&mut self, name: &str, verdict: Verdict) {
        self.set_as(name, verdict, |_| ());
    }

    fn set_as(&mut self, name: &str, verdict: Verdict, change: impl FnOnce(&mut Standing)) {
        let mut standing = Standing {
            verdict,
            message: format!("{name} is {verdict}"),
            since: self.now.wall,
            labels: Arc::default(),
            was: Verdict::Pending,
            behind: None,
            flap: None,
        };
        change(&mut standing);
        self.known.insert(name.to_owned(), standing.clone());
        self.engine.change(name, standing, self.now);
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now.mono + seconds * SECOND;
        loop {
            let output = self.engine.step(self.now);
            self.log.extend(output.records);
            if !output.deliver.is_empty() {
                for delivery in output.deliver {
                    let outcome = (self.answer)(&delivery);
                    self.engine.outcome(delivery.id, outcome, self.now);
                    self.sent.push(delivery);
                }
                continue;
            }
            if self.now.mono == end {
                return;
            }
            let next = output.next.unwrap_or(end).min(end);
            self.now.wall += next - self.now.mono;
            self.now.mono = next;
        }
    }

    /// `problem a,b`, in the order in which they were sent; and they are taken away.
    fn told(&mut self) -> Vec<String> {
        let words = self.sent.drain(..).map(|d| {
            let names: Vec<&str> = d.checks.iter().map(|line| &*line.name).collect();
            format!("{} {}", d.kind.as_str(), names.join(","))
                .trim()
                .to_owned()
        });
        words.collect()
    }
}

fn route(change: impl FnOnce(&mut Route)) -> Route {
    let mut route = Route::new("mail", "mail");
    change(&mut route);
    route
}

use Verdict::{Critical, Ok, Unknown, Warning};

#[test]
fn five_hundred_problems_in_ten_seconds_are_one_message_and_one_recovery() {
    let mut house = House::new(vec![route(|_| ())]);
    for n in 0..500 {
        house.set(&format!("c{n:03}"), Critical);
        if n % 100 == 0 {
            house.pass(1);
        }
    }
    house.pass(30);
    assert_eq!(house.sent.len(), 1);
    assert_eq!((house.sent[0].checks.len(), house.sent[0].bad), (500, 500));
    // Most of them are well again: one update says who is not.
    for n in 2..500 {
        house.set(&format!("c{n:03}"), Ok);
    }
    house.pass(119);
    assert_eq!(house.sent.len(), 1);
    house.pass(2);
    let update = house.sent.last().expect("an update");
    assert_eq!((update.kind, update.bad), (Kind::Update, 2));
    assert_eq!(
        update.checks[..2]
            .iter()
            .map(|l| &*l.name)
            .collect::<Vec<_>>(),
        ["c000", "c001"]
    );
    house.pass(3_600);
    assert_eq!(house.sent.len(), 2);
    house.set("c000", Ok);
    house.set("c001", Ok);
    house.pass(60);
    assert_eq!(house.sent.len(), 3);
    assert_eq!(house.sent[2].kind, Kind::Recovery);
    assert!(house.sent.iter().all(|d| d.notice == house.sent[0].notice));
    let ids: BTreeSet<u64> = house.sent.iter().map(|d| d.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_is_over_while_it_is_collected_is_never_told() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("a", Critical);
    house.pass(5);
    house.set("a", Ok);
    house.set("b", Warning);
    house.pass(60);
    assert_eq!(house.told(), ["problem b"]);
    assert_eq!(house.engine.report(house.now).notices.len(), 1);
}

#[test]
fn worse_is_told_and_less_bad_is_not() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("a", Warning);
    house.pass(60);
    house.set("a", Critical);
    house.pass(60);
    house.set("a", Warning);
    house.pass(600);
    house.set("a", Ok);
    house.pass(60);
    assert_eq!(house.told(), ["problem a", "worse a", "recovery a"]);
}

/// The filter lets only critical through; whoever was told hears the end all the same, and not before it is over.
#[test]
fn a_filter_never_drops_the_recovery_nor_makes_one_up() {
    let mut house = House::new(vec![route(|r| r.on.warning = false)]);
    house.set("a", Warning);
    house.pass(60);
    house.set("a", Critical);
    house.pass(60);
    house.set("a", Warning);
    house.pass(3_600);
    assert_eq!(house.told(), ["problem a"]);
    house.set("a", Ok);
    house.pass(60);
    assert_eq!(house.told(), ["recovery a"]);
}

#[test]
fn a_silence_holds_back_problems_and_repeats_but_no_recovery() {
    let mut house = House::new(vec![route(|r| r.repeat = Some(Duration::from_secs(600)))]);
    house.set("a", Critical);
    house.pass(700);
    assert_eq!(house.told(), ["problem a", "repeat a"]);
    let hold = |text: &str, until| Hold {
        scope: Scope::Matching(text.into()),
        until,
        reason: "failover".into(),
        author: "ana".into(),
        since: START,
        planned: false,
    };
    house
        .engine
        .hold(hold("*", Until::Further), house.now)
        .expect("a match");
    assert!(
        house
            .engine
            .hold(hold("a,,", Until::Further), house.now)
            .is_err()
    );
    house.set("b", Critical);
    house.pass(3_600);
    assert_eq!(house.told(), [""; 0]);
    house.set("a", Ok);
    house.pass(60);
    assert_eq!(house.told(), ["recovery a"]);
    // It is kept over a restart, and when it is taken back what is still bad is told.
    house.restart();
    house.pass(600);
    assert_eq!(house.told(), [""; 0]);
    let id = house.engine.report(house.now).silences[0].id;
    assert!(house.engine.take_back(id, house.now));
    assert!(!house.engine.take_back(id, house.now));
    house.pass(20);
    assert_eq!(house.told(), ["problem b"]);
    let until = Until::Time(house.now.wall + 100 * SECOND);
    house
        .engine
        .hold(hold("c", until), house.now)
        .expect("a match");
    house.set("c", Critical);
    house.pass(100);
    assert_eq!(house.told(), [""; 0]);
    house.pass(20);
    assert_eq!(house.told(), ["problem c"]);
}

#[test]
fn an_acknowledged_problem_goes_no_further_and_the_next_one_does() {
    let oncall = Route {
        after: Duration::from_secs(900),
        ..Route::new("oncall", "webhook")
    };
    let mut house = House::new(vec![
        route(|r| r.repeat = Some(Duration::from_secs(600))),
        oncall,
    ]);
    house.set("a", Critical);
    house.pass(60);
    let ack = |house: &mut House| {
        let (name, why) = ("ana".to_owned(), "on it".to_owned());
        house
            .engine
            .acknowledge("a", name, why, Until::Further, house.now)
    };
    assert!(ack(&mut house).is_some());
    house.pass(3_600);
    assert_eq!(house.told(), ["problem a"]);
    house.set("a", Ok);
    house.pass(60);
    assert_eq!(house.told(), ["recovery a"]);
    assert!(ack(&mut house).is_none(), "nothing to acknowledge");
    assert!(house.engine.report(house.now).silences.is_empty());
    house.set("a", Critical);
    house.pass(950);
    assert_eq!(house.told(), ["problem a", "repeat a", "problem a"]);
}

#[test]
fn a_maintenance_is_silent_and_tells_at_its_end_what_is_still_bad() {
    let mut house = House::new(vec![route(|_| ())]);
    let utc = |_: Option<&str>| Some(jiff::tz::TimeZone::UTC);
    house.config.maintenance.push(Maintenance {
        matches: Match::parse("rack7/*").expect("a match"),
        when: When::parse(&["sun 02:00-04:00"], &utc).expect("a window"),
        reason: "patch night".into(),
    });
    house.reload();
    house.pass(1);
    assert!(house.engine.planned("rack7/a", &BTreeMap::new()).is_some());
    for name in ["rack7/a", "rack7/b", "other"] {
        house.set(name, Critical);
    }
    house.pass(3_600);
    house.set("rack7/b", Ok);
    assert_eq!(house.told(), ["problem other"]);
    house.pass(3_610);
    assert!(house.engine.planned("rack7/a", &BTreeMap::new()).is_none());
    assert_eq!(house.told(), ["problem rack7/a"]);
}

#[test]
fn an_hour_of_refusals_is_one_message_and_what_came_meanwhile_is_in_it() {
    let mut house = House::new(vec![route(|_| ())]);
    house.answer = Box::new(refused);
    house.set("a", Critical);
    house.pass(60);
    house.set("b", Critical);
    house.pass(3_600);
    let tries = house.sent.len();
    assert!((8..20).contains(&tries), "{tries}");
    assert_eq!(house.engine.report(house.now).notices.len(), 1);
    assert_eq!(
        house.engine.report(house.now).routes[0]
            .last_error
            .as_deref(),
        Some("404 no_service")
    );
    let id = house.sent[0].id;
    assert!(
        house.sent.iter().all(|d| d.id == id),
        "one message has one id"
    );
    house.sent.clear();
    house.answer = Box::new(accepted);
    house.pass(601);
    assert_eq!(house.told(), ["problem a,b"]);
}

#[test]
fn what_was_refused_until_it_was_over_is_told_in_one_message() {
    let mut house = House::new(vec![route(|_| ())]);
    house.answer = Box::new(refused);
    house.set("a", Critical);
    house.pass(1_260);
    house.sent.clear();
    house.answer = Box::new(accepted);
    house.set("a", Ok);
    house.pass(1);
    let only = house.sent.last().expect("a message");
    assert_eq!(
        (house.sent.len(), only.kind, only.sure),
        (1, Kind::Recovery, Sure::Not)
    );
    assert_eq!((only.from, only.to), (START, Some(START + 1_260 * SECOND)));
    assert_eq!(
        (only.checks[0].verdict, only.checks[0].was),
        (Word::Ok, Word::Critical)
    );
}

#[test]
fn a_lost_answer_is_asked_again_with_the_same_id_and_nobody_joins() {
    let mut house = House::new(vec![route(|_| ())]);
    house.answer = Box::new(lost);
    house.set("a", Critical);
    house.pass(12);
    house.set("b", Critical);
    house.pass(30);
    house.answer = Box::new(accepted);
    house.pass(600);
    let of = |name: &str| -> BTreeSet<u64> {
        let has = |d: &&Delivery| d.checks.iter().any(|line| &*line.name == name);
        house.sent.iter().filter(has).map(|d| d.id).collect()
    };
    assert_eq!((of("a").len(), of("b").len()), (1, 1));
    assert!(of("a").is_disjoint(&of("b")));
}

#[test]
fn a_receiver_says_when_to_come_again() {
    let mut house = House::new(vec![route(|_| ())]);
    house.answer = Box::new(|_| Outcome::Refused {
        reason: "429".into(),
        retry_after: Some(Duration::from_secs(47)),
    });
    house.set("a", Critical);
    house.pass(10);
    house.pass(46);
    assert_eq!(house.sent.len(), 1);
    house.pass(1);
    assert_eq!(house.sent.len(), 2);
}

/// It has asked for nothing more, and not for nothing more of this problem; a reload may have made another receiver of it.
#[test]
fn a_receiver_that_asks_for_time_gets_no_other_message_meanwhile() {
    let mut house = House::new(vec![route(|r| r.by = By::Check)]);
    house.set("told", Critical);
    house.pass(10);
    house.answer = Box::new(|_| Outcome::Unknown {
        reason: "429 slowly".into(),
        retry_after: Some(Duration::from_secs(47)),
    });
    house.set("a", Critical);
    house.pass(10);
    assert_eq!(house.told(), ["problem told", "problem a"]);
    house.set("told", Ok);
    for name in ["b", "c"] {
        house.set(name, Critical);
        house.pass(10);
    }
    let row = |house: &House, name: &str| {
        let mut rows = house.engine.report(house.now).notices.into_iter();
        rows.find(|row| *row.checks[0] == *name).expect("a notice")
    };
    for (name, state, kind) in [
        ("a", "sending", "problem"),
        ("b", "refused", "problem"),
        ("told", "told", "recovery"),
    ] {
        let row = row(&house, name);
        assert_eq!((row.state, row.kind), (state, Some(kind)), "{name}");
        assert_eq!(row.refusal.as_deref(), Some("429 slowly"), "{name}");
        let at = Some(START + (20 + 47) * SECOND);
        assert_eq!(row.next_try, at, "{name}");
    }
    // Nothing was sent, and nothing is counted.
    let ends = house.engine.report(house.now).routes[0].ends;
    assert_eq!((ends.accepted, ends.refused, ends.unknown), (1, 0, 1));
    assert_eq!(house.told(), [""; 0]);
    house.restart();
    assert_eq!(row(&house, "b").refusal.as_deref(), Some("429 slowly"));
    house.answer = Box::new(accepted);
    house.pass(1);
    let mut told = house.told();
    told.sort();
    let all = ["problem a", "problem b", "problem c", "recovery told"];
    assert_eq!(told, all);
}

#[test]
fn a_restart_or_reload_tells_nothing_twice_and_forgets_nothing() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("a", Critical);
    house.set("b", Critical);
    house.pass(60);
    assert_eq!(house.told(), ["problem a,b"]);
    for _ in 0..3 {
        house.restart();
        house.pass(60);
        house.reload();
        house.pass(60);
    }
    assert_eq!(house.told(), [""; 0]);
    let open = house.engine.report(house.now).notices;
    assert_eq!(open[0].receipt.as_deref(), Some("250"));
    // Over while nobody was there to see it.
    house.known.clear();
    for name in ["a", "b"] {
        house.set(name, Ok);
    }
    house.restart();
    house.pass(60);
    assert_eq!(house.told(), ["recovery a,b"]);
    house.restart();
    house.pass(60);
    assert!(house.sent.is_empty() && house.engine.report(house.now).notices.is_empty());
}

#[test]
fn nothing_is_said_of_a_check_that_has_not_run_since_a_start() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("a", Critical);
    house.pass(60);
    house.sent.clear();
    house.set("a", Verdict::Pending);
    house.restart();
    house.pass(3_600);
    assert!(house.sent.is_empty());
    house.set("a", Ok);
    house.pass(60);
    assert_eq!(house.told(), ["recovery a"]);
}

#[test]
fn a_check_that_a_reload_removes_is_told_to_be_removed() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("a", Critical);
    house.pass(60);
    house.known.clear();
    house.reload();
    house.pass(60);
    let last = house.sent.last().expect("a recovery");
    assert_eq!(
        (last.kind, last.checks[0].verdict, last.checks[0].was),
        (Kind::Recovery, Word::Removed, Word::Critical)
    );
    assert!(last.checks[0].message.contains("removed"));
}

#[test]
fn a_route_that_is_taken_away_is_named_with_what_its_receiver_will_not_hear() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("a", Critical);
    house.pass(60);
    house.config.routes.clear();
    assert_eq!(house.reload(), 1);
    house.pass(60);
    assert!(house.engine.report(house.now).notices.is_empty());
}

#[test]
fn a_route_that_is_switched_off_ends_what_it_has_told() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("a", Critical);
    house.pass(60);
    house.config.routes = vec![Arc::new(route(|r| r.enabled = false))];
    house.reload();
    house.set("b", Critical);
    house.set("a", Ok);
    house.pass(60);
    assert_eq!(house.told(), ["problem a", "recovery a"]);
}

#[test]
fn problems_that_a_start_finds_are_one_message() {
    let mut house = House::new(vec![route(|_| ())]);
    house.engine.starting_until(house.now.mono + 90 * SECOND);
    for n in 0..300 {
        house.set(&format!("c{n:03}"), Critical);
        if n % 5 == 0 {
            house.pass(1);
        }
    }
    house.pass(60);
    assert_eq!(house.sent.len(), 1);
    assert_eq!(house.sent[0].bad, 300);
}

#[test]
fn a_notice_each_where_a_route_wants_it() {
    let labels = |team: &str| Arc::new(BTreeMap::from([("team".to_owned(), team.to_owned())]));
    for (by, expected) in [(By::None, 1), (By::Check, 4), (By::Label("team".into()), 3)] {
        let mut house = House::new(vec![route(|r| r.by = by.clone())]);
        for (name, team) in [("a", "web"), ("b", "web"), ("c", "db")] {
            house.set_as(name, Critical, |s| s.labels = labels(team));
        }
        house.set("d", Unknown);
        house.pass(60);
        assert_eq!(house.sent.len(), expected, "{by:?}");
    }
}

#[test]
fn beyond_the_limit_problems_join_the_next_message() {
    let limit = Rate::parse("3/10m").expect("a rate");
    let mut house = House::new(vec![route(|r| (r.limit, r.by) = (Some(limit), By::Check))]);
    for n in 0..50 {
        house.set(&format!("c{n:02}"), Critical);
    }
    house.pass(60);
    assert_eq!(house.sent.len(), 3);
    house.pass(600);
    assert_eq!(house.sent.len(), 4);
    assert_eq!(house.sent[3].bad, 47);
    for n in 0..50 {
        house.set(&format!("c{n:02}"), Ok);
    }
    house.pass(1);
    assert_eq!(house.sent.len(), 8, "recoveries do not count");
}

#[test]
fn no_more_than_four_deliveries_of_a_route_at_once() {
    let flying = std::rc::Rc::new(RefCell::new(0));
    let mut house = House::new(vec![route(|r| r.by = By::Check)]);
    for n in 0..20 {
        house.set(&format!("c{n:02}"), Critical);
    }
    house.pass(9);
    house.now.mono += 2 * SECOND;
    let mut open = house.engine.step(house.now).deliver;
    let mut total = open.len();
    while let Some(delivery) = open.pop() {
        *flying.borrow_mut() = open.len() + 1;
        assert!(*flying.borrow() <= 4);
        house
            .engine
            .outcome(delivery.id, accepted(&delivery), house.now);
        let more = house.engine.step(house.now).deliver;
        total += more.len();
        open.extend(more);
    }
    assert_eq!(total, 20);
}

#[test]
fn the_backup_is_told_after_five_minutes_and_hears_the_end() {
    let backup = Route {
        matches: Match::parse("nothing").expect("a match"),
        ..Route::new("mail", "mail")
    };
    let slack = Route {
        backup: Some("mail".into()),
        ..Route::new("slack", "webhook")
    };
    let mut house = House::new(vec![slack, backup]);
    house.answer = Box::new(|d| {
        if &*d.route == "slack" {
            refused(d)
        } else {
            accepted(d)
        }
    });
    house.set("a", Critical);
    house.pass(200);
    // The five minutes do not begin anew.
    house.restart();
    house.pass(108);
    assert!(house.sent.iter().all(|d| &*d.route == "slack"));
    house.pass(15);
    let mail: Vec<&Delivery> = house.sent.iter().filter(|d| &*d.route == "mail").collect();
    assert_eq!(mail.len(), 1);
    let (of, why) = mail[0].instead_of.clone().expect("for another");
    assert_eq!((&*of, why.as_str()), ("slack", "404 no_service"));
    house.set("a", Ok);
    house.pass(60);
    let mail = house.sent.iter().filter(|d| &*d.route == "mail");
    assert_eq!(
        mail.map(|d| d.kind).collect::<Vec<_>>(),
        [Kind::Problem, Kind::Recovery]
    );
}

/// Its tries last half a minute each, and four at a time are on their way: five minutes are five minutes for all of them, from
/// when they were due. So a sign of life stops then.
#[test]
fn the_backup_of_a_receiver_that_hangs_is_told_of_all_in_five_minutes() {
    const LASTS: u64 = 30 * SECOND;
    let slack = Route {
        backup: Some("mail".into()),
        by: By::Check,
        ..Route::new("slack", "webhook")
    };
    let mail = Route {
        matches: Match::parse("nothing").expect("a match"),
        alive: Some(Duration::from_secs(60)),
        ..Route::new("mail", "mail")
    };
    let mut house = House::new(vec![slack, mail]);
    for n in 0..100 {
        house.set(&format!("c{n:02}"), Critical);
    }
    let begun = house.now.mono;
    let (mut hangs, mut told, mut alive) = (Vec::new(), BTreeMap::new(), 0);
    while house.now.mono < begun + 330 * SECOND {
        let output = house.engine.step(house.now);
        let at = (house.now.mono - begun) / SECOND;
        for delivery in output.deliver {
            if &*delivery.route == "slack" {
                hangs.push((house.now.mono + LASTS, delivery));
                continue;
            }
            alive = alive.max(if delivery.kind == Kind::Alive { at } else { 0 });
            if delivery.kind == Kind::Problem {
                assert!(delivery.instead_of.is_some(), "{delivery:#?}");
                told.extend(delivery.checks.iter().map(|line| (line.name.clone(), at)));
            }
            let outcome = accepted(&delivery);
            house.engine.outcome(delivery.id, outcome, house.now);
        }
        house.now.mono += SECOND;
        house.now.wall += SECOND;
        let (over, on): (Vec<_>, Vec<_>) =
            (hangs.into_iter()).partition(|(until, _)| *until <= house.now.mono);
        for (_, delivery) in over {
            house
                .engine
                .outcome(delivery.id, lost(&delivery), house.now);
        }
        hangs = on;
        assert!(hangs.len() <= 4);
    }
    assert_eq!(told.len(), 100);
    // Due after 10 s on the first route, and collected for 10 s on the other.
    assert!(told.values().all(|at| *at == 320), "{told:?}");
    assert!(alive < 311, "a sign of life after {alive} s");
}

/// What failed, and is not so any more, is not tried again, and is nobody's fault.
#[test]
fn what_failed_and_is_no_news_any_more_is_not_overdue() {
    let beat = |r: &mut Route| r.alive = Some(Duration::from_secs(60));
    let mut house = House::new(vec![route(beat)]);
    house.set("a", Warning);
    house.pass(20);
    house.answer = Box::new(lost);
    house.set("a", Critical);
    house.pass(30);
    let first = house.sent.last().expect("worse").clone();
    assert_eq!(first.kind, Kind::Worse);
    house.set("a", Warning);
    house.pass(30);
    house.answer = Box::new(accepted);
    house.told();
    house.pass(600);
    let told = house.told();
    assert!(
        told.len() >= 9 && told.iter().all(|t| t == "alive"),
        "{told:?}"
    );
    let report = house.engine.report(house.now);
    assert_eq!((report.routes[0].pending, report.routes[0].oldest), (0, 0));
    assert_eq!(
        (report.notices[0].next_try, &report.notices[0].refusal),
        (None, &None)
    );
    // The next news is another message.
    house.set("a", Critical);
    house.pass(20);
    let next = house.sent.last().expect("worse");
    assert_eq!(next.kind, Kind::Worse);
    assert_ne!(next.id, first.id);
}

#[test]
fn a_sign_of_life_stops_when_a_delivery_is_overdue() {
    let mut house = House::new(vec![
        route(|r| r.alive = Some(Duration::from_secs(60))),
        Route::new("slack", "webhook"),
    ]);
    house.pass(300);
    let alive = |house: &House| house.sent.iter().filter(|d| d.kind == Kind::Alive).count();
    assert_eq!(alive(&house), 5);
    house.answer = Box::new(|d| {
        if &*d.route == "slack" {
            refused(d)
        } else {
            accepted(d)
        }
    });
    house.set("a", Critical);
    house.pass(1_200);
    let before = alive(&house);
    assert!((9..=11).contains(&before), "{before}");
    house.answer = Box::new(accepted);
    house.pass(1_200);
    assert!(alive(&house) > before);
}

#[test]
fn what_lies_behind_another_is_one_line_of_its_notice() {
    let mut house = House::new(vec![route(|_| ())]);
    house.set("uplink", Critical);
    for n in 0..30 {
        house.set_as(&format!("c{n:02}"), Unknown, |s| {
            s.behind = Some("uplink".into())
        });
    }
    house.pass(60);
    assert_eq!(
        (
            house.sent.len(),
            house.sent[0].behind_count,
            house.sent[0].behind.len()
        ),
        (1, 30, 20)
    );
    assert_eq!(house.told(), ["problem uplink"]);
    house.set("uplink", Ok);
    for n in 1..30 {
        house.set(&format!("c{n:02}"), Ok);
    }
    house.set("c00", Critical);
    house.pass(60);
    assert_eq!(house.told(), ["recovery uplink", "problem c00"]);
}

/// One second up, one second down, for an hour.
#[test]
fn a_check_that_flaps_is_one_problem_and_little_more() {
    let mut house = House::new(vec![route(|_| ())]);
    let flap = Rate::parse("5/30m").ok();
    for n in 0..3_600 {
        let verdict = if n % 2 == 0 { Critical } else { Ok };
        house.set_as("a", verdict, |s| s.flap = flap);
        house.pass(1);
    }
    house.set_as("a", Ok, |s| s.flap = flap);
    house.pass(7_200);
    let told = house.told();
    assert_eq!(
        told.iter().filter(|t| *t == "problem a").count(),
        1,
        "{told:?}"
    );
    assert_eq!(
        told.iter().filter(|t| *t == "recovery a").count(),
        1,
        "{told:?}"
    );
    assert!(told.len() <= 4, "{told:?}");
    assert!(house.engine.report(house.now).notices.is_empty());
}

#[test]
fn without_a_wait_a_check_that_flaps_is_one_problem_too() {
    let mut house = House::new(vec![route(|r| r.wait = Duration::ZERO)]);
    let flap = Rate::parse("5/30m").ok();
    for n in 0..3_600 {
        let verdict = if n % 2 == 0 { Critical } else { Ok };
        house.set_as("a", verdict, |s| s.flap = flap);
        house.pass(1);
    }
    house.set_as("a", Ok, |s| s.flap = flap);
    house.pass(7_200);
    assert_eq!(house.told(), ["problem a", "recovery a"]);
}

#[test]
fn a_short_problem_is_over_when_it_was_well_for_twice_as_long() {
    let flap = Rate::parse("5/30m").ok();
    // Bad for so long; so long until its end is told. What never flaps is believed at once.
    for (bad, flap, held) in [
        (2, flap, 4),
        (4, flap, 6),
        (9, flap, 1),
        (10, flap, 0),
        (60, flap, 0),
        (2, None, 0),
    ] {
        let mut house = House::new(vec![route(|r| r.wait = Duration::ZERO)]);
        house.set_as("a", Critical, |s| s.flap = flap);
        house.pass(bad);
        assert_eq!(house.told(), ["problem a"]);
        house.set_as("a", Ok, |s| s.flap = flap);
        if held > 0 {
            house.pass(held - 1);
            assert_eq!(house.told(), [""; 0], "bad for {bad} s");
            house.pass(1);
        } else {
            house.pass(0);
        }
        let over = house.sent.last().map(|d| (d.from, d.to));
        let began = START;
        let ended = began + bad * SECOND;
        assert_eq!(over, Some((began, Some(ended))), "when it was well");
        assert_eq!(house.told(), ["recovery a"], "bad for {bad} s");
    }
}

#[test]
fn the_wall_clock_an_hour_back_and_forth_says_nothing() {
    let mut house = House::new(vec![route(|r| r.after = Duration::from_secs(30))]);
    house.set("a", Critical);
    house.pass(60);
    assert_eq!(house.told(), ["problem a"]);
    for step in [3_600 * SECOND, 0, 7_200 * SECOND] {
        house.now.wall = START + step;
        house.pass(600);
    }
    assert_eq!(house.told(), [""; 0]);
}

#[test]
fn a_test_message_says_whether_the_way_works() {
    let mut house = House::new(vec![route(|_| ())]);
    assert!(house.engine.test("mali", house.now).is_none());
    assert!(house.engine.test("mail", house.now).is_some());
    house.pass(1);
    assert_eq!(house.told(), ["test"]);
    assert_eq!(
        house.engine.report(house.now).routes[0].last_ok,
        Some(house.now.wall - SECOND)
    );
}

#[test]
fn a_receiver_that_is_away_for_a_day_costs_no_memory() {
    let mut house = House::new(vec![route(|r| r.by = By::Check)]);
    house.answer = Box::new(refused);
    for round in 0..1_440 {
        for n in 0..5 {
            let verdict = if (round + n) % 3 == 0 { Ok } else { Critical };
            house.set(&format!("c{n}"), verdict);
        }
        house.pass(60);
        assert!(house.engine.report(house.now).notices.len() <= 5);
        // And how the route is doing.
        assert!(house.engine.snapshot().len() <= 6);
    }
}
