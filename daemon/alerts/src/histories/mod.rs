//! The told table against a million histories: kills, power cuts, full disks, receivers that refuse, swallow or accept,
//! several checks and routes, silences, groups, backups and limits. What fails is made small before it is shown.
//!
//! `cargo test -p healthd-alerts --release -- histories` runs a million of them; a debug build as many as end soon.

mod shrink;
mod story;
mod world;

use crate::delivery::Kind;
use story::Story;

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

const HISTORIES: u64 = if cfg!(debug_assertions) {
    6_000
} else {
    1_000_000
};

/// The first history that breaks a promise, made small.
fn first_broken(rules: Rules, seeds: std::ops::Range<u64>) -> Option<(Story, String)> {
    let broken = |story: &Story| world::run(story, rules).err();
    for seed in seeds {
        let story = Story::random(seed);
        if broken(&story).is_some() {
            let story = shrink::shrink(story, |s| broken(s).is_some());
            let why = broken(&story).unwrap_or_default();
            return Some((story, why));
        }
    }
    None
}

#[test]
fn histories_keep_every_promise() {
    let parts = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads: Vec<_> = (0..parts)
        .map(|part| {
            let (from, to) = (HISTORIES * part / parts, HISTORIES * (part + 1) / parts);
            std::thread::spawn(move || first_broken(Rules::default(), from..to))
        })
        .collect();
    for thread in threads {
        if let Some((story, why)) = thread.join().expect("no history panics") {
            panic!("{why}\n{story:#?}");
        }
    }
}

/// A history in which nothing happens keeps every promise as well: these are not such.
#[test]
fn histories_have_everything_in_them() {
    let mut all = world::Tally::default();
    for seed in 0..500 {
        let tally = world::run(&Story::random(seed), Rules::default());
        all.add(&tally.unwrap_or_default());
    }
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
    println!("{all:?}");
    assert!(
        all.again > 5 && all.unsure > 5 && all.stood_in > 5,
        "{all:?}"
    );
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
        let (story, why) =
            first_broken(rules, 0..50_000).unwrap_or_else(|| panic!("nobody misses: {name}"));
        println!("without \"{name}\": {why}, in {} steps", story.steps.len());
        assert!(story.steps.len() <= 12, "{name}: {why}\n{story:#?}");
        assert!(
            world::run(&story, all).is_ok(),
            "with it that history is fine"
        );
    }
}
