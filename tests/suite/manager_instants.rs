//! A manager that is killed at any instant leaves a map from which the next one goes on exactly.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, Daemon, check, fixtures, kill, state};
use healthd_core::check::schedule;
use healthd_core::wire::maps::{self, StateSnapshot};
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const SOFT: usize = 40;
const GOOD: usize = 40;
/// After five early deaths in a row the next start is seconds away: then it is another daemon's turn.
const DAEMONS: u64 = 4;
const ROUNDS: u64 = 5;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const INTERVAL_NS: u64 = 200_000_000;

/// xorshift64: the same instants in each run, as far as instants can be the same.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn under_load() -> Daemon {
    let mut config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"));
    let busy = |name: String, status: &str, attempts: &str, wait: usize| {
        check(&name)
            .plugin("echo_step")
            .interval("200ms")
            .set("retry_interval", "\"200ms\"")
            .set("attempts", attempts)
            .set(
                "config",
                &format!(
                    "{{ status = {status:?}, message = \"{name} speaks\", wait_ms = {wait} }}"
                ),
            )
    };
    for n in 0..SOFT {
        config = config.check(busy(format!("soft-{n}"), "critical", "1000", n % 4 * 8));
    }
    for n in 0..GOOD {
        config = config.check(busy(format!("good-{n}"), "ok", "1", n % 4 * 8));
    }
    let rare = |name: &str, status: &str| {
        check(name)
            .plugin("echo_step")
            .interval("1h")
            .set("retry_interval", "\"1h\"")
            .set("attempts", "9")
            .set("config", &format!("{{ status = {status:?} }}"))
    };
    config
        .check(rare("rare", "warning"))
        .check(rare("paused", "ok"))
        .spawn()
}

fn map_of(daemon: &Daemon) -> StateSnapshot {
    let file = daemon.dir().join("run").join(maps::STATE_FILE);
    let bytes = std::fs::read(file).expect("the map is there");
    maps::read_state(&bytes).expect("it is ours")
}

/// Kills the manager and returns what it left, before anybody else can have touched it.
fn corpse_of(daemon: &Daemon) -> StateSnapshot {
    let manager = daemon.manager();
    daemon.signal(Signal::SIGSTOP);
    wait_for("the supervisor stands still", || {
        state(daemon.pid()) == Some('T')
    });
    kill(manager, Signal::SIGKILL);
    wait_for("the manager is dead", || state(manager) == Some('Z'));
    let map = map_of(daemon);
    // Who looks meanwhile sees what is known, marked.
    let said = daemon.healthctl(&["--json", "status"]);
    let rows = said.json();
    for row in rows.as_array().expect("rows") {
        assert_eq!(row["stale"], true, "{row}");
    }
    daemon.signal(Signal::SIGCONT);
    daemon.expect_log("manager started");
    daemon.expect_log("manager: ready");
    map
}

/// Every record belongs together and says nothing that is not so.
fn assert_whole(map: &StateSnapshot, round: u64) {
    for (whole, check) in &map.checks {
        assert!(whole, "round {round}: half a record of {}", check.name);
        let soft = check.name.starts_with("soft");
        if soft {
            // Each of its runs says critical, and each counts once, over any number of managers.
            assert_eq!(
                u64::from(check.against),
                check.runs,
                "round {round}: {check:?}"
            );
        }
        if soft || check.name == "paused" && check.runs == 0 {
            assert_eq!(check.verdict, 4, "round {round}: {check:?}");
        } else if check.name.starts_with("good") && check.runs > 0 {
            assert_eq!(
                (check.verdict, check.status),
                (0, 0),
                "round {round}: {check:?}"
            );
        }
    }
    for (slot, s) in &map.slots {
        let sum = s.finished + s.in_flight + s.lost();
        assert_eq!(s.dispatched, sum, "round {round}: slot {slot}: {s:?}");
    }
}

/// Nothing that was known before is less afterwards.
fn assert_goes_on(before: &StateSnapshot, after: &StateSnapshot, round: u64) {
    let then: HashMap<&str, _> = before
        .checks
        .iter()
        .map(|(_, c)| (c.name.as_ref(), c))
        .collect();
    assert_eq!(before.checks.len(), after.checks.len());
    for (_, now) in &after.checks {
        let then = then[now.name.as_ref()];
        let place = format!("round {round}: {then:?} {now:?}");
        assert!(
            now.runs >= then.runs && now.against >= then.against,
            "{place}"
        );
        assert!(
            now.since >= then.since && now.last_run >= then.last_run,
            "{place}"
        );
        assert_eq!(
            (now.paused, &now.reason),
            (then.paused, &then.reason),
            "{place}"
        );
        if now.name == "rare" || now.name == "paused" {
            // Nothing has happened to these at all.
            assert_eq!(
                (
                    now.verdict,
                    now.status,
                    now.attempt,
                    now.runs,
                    &now.message,
                    now.next_run
                ),
                (
                    then.verdict,
                    then.status,
                    then.attempt,
                    then.runs,
                    &then.message,
                    then.next_run
                ),
                "{place}"
            );
        }
    }
    assert!(after.next_run > before.next_run, "run ids grow");
    assert!(after.finished >= before.finished);
    let then: HashMap<u32, _> = before.slots.iter().copied().collect();
    for (slot, now) in &after.slots {
        let then = then[slot];
        let place = format!("round {round}: slot {slot}: {then:?} {now:?}");
        // What was in flight then is lost, once, and nothing else was.
        assert_eq!(now.lost(), then.lost() + then.in_flight, "{place}");
        assert!(
            now.dispatched >= then.dispatched && now.finished >= then.finished,
            "{place}"
        );
        assert_eq!(now.restarts, then.restarts + 1, "{place}");
    }
}

#[test]
fn whenever_it_dies_the_next_one_goes_on_exactly() {
    let mut random = Random(SEED);
    for _ in 0..DAEMONS {
        kill_it_again_and_again(&mut random);
    }
}

fn kill_it_again_and_again(random: &mut Random) {
    let daemon = under_load();
    daemon.expect_notify("READY=1");
    daemon.expect_log("manager: ready");
    wait_for("the first runs are over", || {
        map_of(&daemon).checks.iter().all(|(_, c)| c.runs > 0)
    });
    daemon.run("rare");
    daemon.ask(
        "pause",
        json!({"names": ["paused"], "reason": "a new switch in rack 7, by Friday evening"}),
    );
    let mut before: Option<StateSnapshot> = None;
    for round in 0..ROUNDS {
        // Into the turns of a busy manager, and every third time into one that applies a reload.
        let pause = Duration::from_micros(300_000 + random.below(120_000));
        let begun = Instant::now();
        let reload = round % 3 == 2;
        if reload {
            wait_for("the time for the reload", || begun.elapsed() > pause / 2);
            daemon.signal(Signal::SIGHUP);
        }
        wait_for("the instant has come", || begun.elapsed() > pause);
        let map = corpse_of(&daemon);
        assert_whole(&map, round);
        if let Some(before) = &before {
            assert_goes_on(before, &map, round);
        }
        before = Some(map);
    }
    let before = before.expect("rounds");
    // The beginning of the reason is in the map, and all of it on disk by now.
    let reason = daemon.detail("paused")["pause_reason"].clone();
    assert_eq!(reason, "a new switch in rack 7, by Friday evening");
    assert_eq!(daemon.run("rare")["attempt"], 3);
    // Back on the grid that each has by its name, also where the machine stood still meanwhile.
    let phases = |map: &StateSnapshot| -> HashMap<String, u64> {
        let busy = map
            .checks
            .iter()
            .filter(|(_, c)| c.name.starts_with("good"));
        busy.map(|(_, c)| (c.name.to_string(), c.next_run % INTERVAL_NS / 1_000_000))
            .collect()
    };
    let phase = |name: &String| schedule::hash(name.as_bytes()) % INTERVAL_NS / 1_000_000;
    let names = phases(&before).into_keys();
    let grid: HashMap<String, u64> = names.map(|name| (name.clone(), phase(&name))).collect();
    wait_for("each check is on its grid", || {
        phases(&map_of(&daemon)) == grid
    });
    // Nothing of the dead is left lying about.
    let mut left = Vec::new();
    for file in std::fs::read_dir(daemon.dir().join("run")).expect("our own folder") {
        left.push(
            file.expect("a name")
                .file_name()
                .into_string()
                .expect("text"),
        );
    }
    const OURS: [&str; 6] = [
        "control.sock",
        "healthd.pid",
        "state.map",
        "objects.map",
        "events.map",
        "samples.map",
    ];
    let living: Vec<String> = (daemon.pids("io").iter())
        .map(|(slot, pid)| maps::worker_file(*slot as u32, *pid))
        .collect();
    left.retain(|name| !living.contains(name) && !OURS.contains(&name.as_str()));
    assert!(left.is_empty(), "{left:?}");
    for line in daemon.log.all() {
        let flipped = line.contains("check changed") && !line.contains("to=ok");
        assert!(!flipped, "{line}");
    }
}
