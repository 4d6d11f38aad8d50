//! `alerts who` and `alerts replay`: what would be told, asked before it happens.

use healthd_alerts::{
    Because, By, Config, Flip, Kind, Maintenance, Match, Rate, Route, Standing, When, replay, who,
};
use healthd_core::check::outcome::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
/// 2026-11-29 02:00 UTC, a Sunday.
const START: u64 = 1_795_917_600 * SECOND;

fn when(text: &str) -> When {
    When::parse(&[text], &|_| Some(jiff::tz::TimeZone::UTC)).expect("a window")
}

fn config() -> Config {
    let slack = Route {
        matches: Match::parse("team=web").expect("a match"),
        ..Route::new("slack", "webhook")
    };
    let mut oncall = Route {
        after: Duration::from_secs(900),
        backup: Some("mail".into()),
        ..Route::new("oncall", "webhook")
    };
    oncall.on.warning = false;
    let office = Route {
        when: Some(when("mon-fri 08:00-18:00")),
        ..Route::new("office", "mail")
    };
    let mail = Route {
        matches: Match::parse("!*").expect("a match"),
        ..Route::new("mail", "mail")
    };
    let off = Route {
        enabled: false,
        ..Route::new("off", "mail")
    };
    Config {
        routes: [slack, oncall, office, mail, off].map(Arc::new).into(),
        maintenance: vec![Maintenance {
            matches: Match::parse("rack7/*").expect("a match"),
            when: when("sun 02:00-04:00"),
            reason: "patch night".into(),
        }],
    }
}

fn asked(name: &str, verdict: Verdict, at: u64) -> BTreeMap<String, Because> {
    let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
    let held = [(
        Match::parse("db/*").expect("a match"),
        Because::Silenced("move".into()),
    )];
    let answers = who(&config(), &held, name, &labels, verdict, at);
    answers
        .into_iter()
        .map(|a| (a.route.to_string(), a.because))
        .collect()
}

#[test]
fn each_route_says_whether_and_why_not() {
    let told = |seconds| Because::Told {
        after: Duration::from_secs(seconds),
    };
    let web = asked("web", Verdict::Critical, START);
    assert_eq!(web["slack"], told(10));
    assert_eq!(web["oncall"], told(910));
    assert_eq!(
        web["office"],
        Because::Closed {
            until: Some(START + 30 * 3_600 * SECOND)
        }
    );
    assert_eq!(web["mail"], Because::BackupOf(vec!["oncall".into()]));
    assert_eq!(web["off"], Because::Disabled);
    let warned = asked("web", Verdict::Warning, START + 30 * 3_600 * SECOND);
    assert_eq!(warned["oncall"], Because::On);
    assert_eq!(warned["office"], told(10));
    assert_eq!(warned["mail"], Because::NoMatch("!*".into()));
    assert_eq!(
        asked("rack7/a", Verdict::Critical, START)["slack"],
        Because::Maintenance("patch night".into())
    );
    assert_eq!(
        asked("rack7/a", Verdict::Critical, START + 7_200 * SECOND)["slack"],
        told(10)
    );
    assert_eq!(
        asked("db/1", Verdict::Critical, START)["slack"],
        Because::Silenced("move".into())
    );
}

#[test]
fn a_month_under_two_configs() {
    let mut flips = Vec::new();
    for day in 0..30_u64 {
        for n in 0..7_u64 {
            let at = START + (day * 86_400 + n) * SECOND;
            for (after, verdict) in [(0, Verdict::Critical), (300, Verdict::Ok)] {
                flips.push(Flip {
                    at: at + after * SECOND,
                    name: format!("c{n}"),
                    standing: Some(Standing {
                        verdict,
                        message: String::new(),
                        since: at + after * SECOND,
                        labels: Arc::default(),
                        was: Verdict::Pending,
                        behind: None,
                        flap: Rate::parse("5/30m").ok(),
                    }),
                });
            }
        }
    }
    flips.sort_by_key(|flip| flip.at);
    let count = |route: Route| {
        let config = Config {
            routes: vec![Arc::new(route)],
            maintenance: Vec::new(),
        };
        let sent = replay(&flips, config, START + 31 * 86_400 * SECOND);
        let problems = sent.iter().filter(|s| s.kind == Kind::Problem).count();
        assert!(sent.is_sorted_by_key(|s| s.at));
        (problems, sent.len() - problems)
    };
    let by_check = Route {
        by: By::Check,
        ..Route::new("mail", "mail")
    };
    assert_eq!(count(by_check), (210, 210));
    assert_eq!(count(Route::new("mail", "mail")), (30, 30));
    let patient = Route {
        after: Duration::from_secs(600),
        ..Route::new("mail", "mail")
    };
    assert_eq!(count(patient), (0, 0));
    let mut removed = flips[..1].to_vec();
    removed.push(Flip {
        at: START + 60 * SECOND,
        name: "c0".into(),
        standing: None,
    });
    let config = Config {
        routes: vec![Arc::new(Route::new("mail", "mail"))],
        maintenance: Vec::new(),
    };
    let kinds: Vec<Kind> = replay(&removed, config, START + 100 * SECOND)
        .iter()
        .map(|s| s.kind)
        .collect();
    assert_eq!(kinds, [Kind::Problem, Kind::Recovery]);
}
