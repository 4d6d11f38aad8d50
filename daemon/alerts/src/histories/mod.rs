//! The told table against a million histories: kills, power cuts, full disks, receivers that refuse, swallow or accept,
//! several checks and routes, silences, groups, backups and limits. What fails is made small before it is shown.
//!
//! `cargo test -p healthd-alerts --release -- histories` runs a million of them and says how many; a debug build as many as
//! end soon, or as `HISTORIES` says.

mod shrink;
mod story;
mod world;

use crate::delivery::Kind;
use std::io::Write;
use std::time::Instant;
use story::Story;
use world::Tally;

/// The three rules of the told table, each of which a test can take away.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub written_first: bool,
    pub endings_are_finished: bool,
    pub recoveries_pass: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            written_first: true,
            endings_are_finished: true,
            recoveries_pass: true,
        }
    }
}

impl Rules {
    pub fn written_first(self) -> bool {
        self.written_first
    }
    pub fn endings_are_finished(self) -> bool {
        self.endings_are_finished
    }
    pub fn recoveries_pass(self) -> bool {
        self.recoveries_pass
    }
}

/// How many are run, if `HISTORIES` does not say it.
const USUAL: u64 = if cfg!(debug_assertions) {
    6_000
} else {
    1_000_000
};

fn how_many() -> u64 {
    let said = std::env::var("HISTORIES").ok();
    said.map_or(USUAL, |n| n.parse().expect("HISTORIES is a number"))
}

/// What was in all of them; Err: the first that breaks a promise, made small, and how.
fn all_of(rules: Rules, seeds: std::ops::Range<u64>) -> Result<Tally, Box<(Story, String)>> {
    let mut all = Tally::default();
    for seed in seeds {
        let story = Story::random(seed);
        match world::run(&story, rules) {
            Ok(tally) => all.add(&tally),
            Err(_) => {
                let broken = |story: &Story| world::run(story, rules).err();
                let story = shrink::shrink(story, |s| broken(s).is_some());
                let why = broken(&story).unwrap_or_default();
                return Err(Box::new((story, why)));
            }
        }
    }
    Ok(all)
}

#[test]
fn histories_keep_every_promise() {
    let (histories, begun) = (how_many(), Instant::now());
    let parts = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads: Vec<_> = (0..parts)
        .map(|part| {
            let (from, to) = (histories * part / parts, histories * (part + 1) / parts);
            std::thread::spawn(move || all_of(Rules::default(), from..to))
        })
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        match thread.join().expect("no history panics") {
            Ok(tally) => all.add(&tally),
            Err(broken) => panic!("{}\n{:#?}", broken.1, broken.0),
        }
    }
    // Past the capture of tests: whoever waits for a million wants to see it.
    let _ = writeln!(
        std::io::stderr(),
        "counted: {histories} histories in {:.0} s keep every promise: {all}",
        begun.elapsed().as_secs_f64()
    );
}

/// A history in which nothing happens keeps every promise as well: these are not such.
#[test]
fn histories_have_everything_in_them() {
    let all = all_of(Rules::default(), 0..500).unwrap_or_default();
    for kind in [
        Kind::Problem,
        Kind::Worse,
        Kind::Update,
        Kind::Repeat,
        Kind::Recovery,
    ] {
        let arrived = all.arrived.get(&kind).copied().unwrap_or_default();
        assert!(arrived > 5, "{kind:?}: {arrived}");
    }
    let rest = [
        all.again,
        all.unsure,
        all.stood_in,
        all.kills,
        all.power_cuts,
        all.full_disks,
        all.reloads,
        all.joined,
    ];
    assert!(rest.iter().all(|n| *n > 5), "{all:?}");
}

/// Each rule is needed: without it some history breaks, and a short one.
#[test]
fn histories_without_a_rule_break_soon() {
    let all = Rules::default();
    for (name, rules) in [
        (
            "sending is written down first",
            Rules {
                written_first: false,
                ..all
            },
        ),
        (
            "an ending that was begun is finished",
            Rules {
                endings_are_finished: false,
                ..all
            },
        ),
        (
            "a silence never holds back a recovery",
            Rules {
                recoveries_pass: false,
                ..all
            },
        ),
    ] {
        let broken = all_of(rules, 0..50_000).err();
        let (story, why) = *broken.unwrap_or_else(|| panic!("nobody misses: {name}"));
        println!("without \"{name}\": {why}, in {} steps", story.steps.len());
        assert!(story.steps.len() <= 12, "{name}: {why}\n{story:#?}");
        assert!(
            world::run(&story, all).is_ok(),
            "with it that history is fine"
        );
    }
}
