//! Reload against a model that is too simple to be wrong: a table of what the file says. proptest makes up
//! histories of the file, and cuts one that fails down to its least.

use crate::harness::{Check, Config, Daemon, check, fixtures};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What may differ from one file to the next. One result is enough for a verdict, so it does not matter when
/// the run that each check has soon after its start comes.
#[derive(Clone, Debug, PartialEq)]
struct Spec {
    status: &'static str,
    interval: &'static str,
}

type Table = BTreeMap<String, Spec>;

fn tables() -> impl Strategy<Value = Vec<Table>> {
    let spec = (
        prop::sample::select(&["ok", "warning", "critical"][..]),
        prop::sample::select(&["1h", "2h"][..]),
    )
        .prop_map(|(status, interval)| Spec { status, interval });
    let name = prop::sample::select(&["a", "b", "c/1", "c/2", "d", "e"][..]);
    vec(btree_map(name.prop_map(String::from), spec, 1..6), 2..8)
}

fn checks(table: &Table) -> Vec<Check> {
    let one = |(name, spec): (&String, &Spec)| {
        check(name)
            .plugin("echo_step")
            .interval(spec.interval)
            .set("attempts", "1")
            .set("config", &format!("{{ status = {:?} }}", spec.status))
    };
    table.iter().map(one).collect()
}

/// Verdict and since when, of every check.
fn rows(daemon: &Daemon) -> BTreeMap<String, (Value, Value)> {
    let row = |r: &Value| {
        let name = r["name"].as_str().expect("it has one").to_owned();
        (name, (r["verdict"].clone(), r["since"].clone()))
    };
    daemon.ask("status", json!({})).iter().map(row).collect()
}

fn walk(history: &[Table]) -> Result<(), TestCaseError> {
    let config = Config::new()
        .daemon("log", "\"info\"")
        .plugin_file(fixtures::fixture("echo"));
    let config = checks(&history[0]).into_iter().fold(config, Config::check);
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon.ask("run", json!({}));
    for (old, new) in history.iter().zip(&history[1..]) {
        let before = rows(&daemon);
        daemon.written.rewrite(&checks(new));
        let report = daemon.ask("reload", json!({})).remove(0);
        let after = rows(&daemon);
        let stays = |name: &&String| new.contains_key(name.as_str());
        let same = |name: &String| old.get(name) == new.get(name);
        let (kept, removed): (Vec<&String>, Vec<&String>) = old.keys().partition(stays);
        let (unchanged, changed): (Vec<&String>, Vec<&String>) = kept.iter().partition(|n| same(n));
        for (key, n) in [
            ("added", new.len() - kept.len()),
            ("removed", removed.len()),
            ("changed", changed.len()),
            ("unchanged", unchanged.len()),
        ] {
            prop_assert_eq!(&report[key], n, "{}: {}", key, report);
        }
        prop_assert!(after.keys().eq(new.keys()));
        for name in unchanged {
            prop_assert_eq!(&after[name], &before[name]);
        }
        // Also of a check that ran when the reload came: that run was of the check as it was, and does not count.
        daemon.ask("run", json!({}));
        for (name, (verdict, _)) in rows(&daemon) {
            prop_assert_eq!(verdict, new[&name].status);
        }
    }
    daemon.workers(); // the accounts of each balance
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 6,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_of_the_file_is_told_as_its_differences(history in tables()) {
        walk(&history)?;
    }
}
