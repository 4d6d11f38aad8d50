//! Against real files, through the exported descriptor.

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, MockPlugin, Outcome};
use healthd_plugin::serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

fn plugin() -> MockPlugin {
    MockHost::new(hd_plugin_v1).plugin("stats")
}

/// A file of this test alone, gone with it.
struct Given(PathBuf);

impl Given {
    fn new(bytes: impl AsRef<[u8]>) -> Given {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "healthd-stats-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("a file in the temp folder");
        Given(path)
    }

    fn run(&self, mut options: Value) -> Outcome {
        options["path"] = json!(self.0);
        let check = plugin().create(options.to_string());
        check
            .unwrap_or_else(|e| panic!("{options}: {e}"))
            .run(Duration::from_secs(60))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn values(n: u32) -> impl Iterator<Item = f64> {
    (0..n).map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 12) / 64.0 - 3000.0)
}

fn assert_right(outcome: &Outcome, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let quantile = |p: f64| {
        let place = (n - 1.0) * p;
        let (low, high) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        low + (high - low) * place.fract()
    };
    for (name, expected) in [
        ("count", n),
        ("mean", mean),
        ("std", std),
        ("min", values[0]),
        ("max", values[values.len() - 1]),
        ("median", quantile(0.5)),
        ("p25", quantile(0.25)),
        ("p75", quantile(0.75)),
        ("p95", quantile(0.95)),
        ("p99", quantile(0.99)),
    ] {
        let got = outcome.metric(name).value;
        assert!(
            (got - expected).abs() <= expected.abs() * 1e-12,
            "{name}: {got} {expected}"
        );
    }
}

#[test]
fn the_page_names_every_option() {
    plugin().assert_documented(include_str!("../README.md"));
}

#[test]
fn a_column_in_many_chunks() {
    let mut text = String::from("time,\"latency, s\",host\n");
    for (i, v) in values(60_000).enumerate() {
        text += &match i % 3 {
            0 => format!("{i},{v},web\n"),
            1 => format!("{i},\"{v}\",\"a \"\"b\"\", c\"\r\n"),
            _ => format!("{i}, {v} ,\n"),
        };
    }
    let given = Given::new(text);
    let outcome = given.run(json!({ "format": "csv", "column": "latency, s" }));
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    assert!(
        outcome.message.starts_with("60000 values: mean "),
        "{}",
        outcome.message
    );
    assert!(!outcome.phases.contains(&"read again".into()));
    assert_right(&outcome, values(60_000).collect());
    // By number, and nothing to skip.
    let outcome = given.run(json!({ "format": "csv", "column": "2", "header": false, "bins": 0 }));
    assert_eq!(outcome.metric("bad").value, 1.0);
    assert_eq!(outcome.detail, "");
}

#[test]
fn line_ends_inside_of_quotes_are_no_ends() {
    let text: String = values(30_000)
        .map(|v| format!("\"two\n9,lines\n{v}\",{v}\n"))
        .collect();
    let given = Given::new(format!("note,x\n{text}"));
    let outcome = given.run(json!({ "format": "csv", "column": "x" }));
    assert!(outcome.phases.contains(&"read again".into()), "{outcome:?}");
    assert_right(&outcome, values(30_000).collect());
}

#[test]
fn arrays_of_numbers_and_of_objects() {
    let numbers: Vec<f64> = values(50_000).collect();
    let text =
        json!({ "a": { "x": "]}", "y": [[1, 2], [3]] }, "data": { "v": numbers }, "z": [1, 2] });
    let given = Given::new(text.to_string());
    let outcome = given.run(json!({ "format": "json", "pointer": "/data/v" }));
    assert!(
        !outcome.phases.contains(&"read again".into()),
        "{outcome:?}"
    );
    assert_right(&outcome, values(50_000).collect());
    let outcome = given.run(json!({ "format": "json", "pointer": "/a/y/1" }));
    assert_eq!(outcome.metric("mean").value, 3.0);
    let outcome = given.run(json!({ "format": "json", "pointer": "/data/w" }));
    assert_eq!(outcome.status, Status::Critical);
    assert!(outcome.message.contains("no `w`"), "{}", outcome.message);

    let objects: Vec<Value> = values(30_000)
        .map(|v| json!({ "name": "},{", "in": { "t": v }, "list": [{}, {}] }))
        .collect();
    let given = Given::new(Value::from(objects).to_string());
    let outcome = given.run(json!({ "format": "json", "field": "/in/t" }));
    assert_right(&outcome, values(30_000).collect());
    // Whatever it guessed, what is no array is said.
    for (text, said) in [
        ("{}", "no array"),
        ("[1, 2", "ends inside"),
        ("[1 2]", "a comma"),
        ("", "no array"),
    ] {
        let outcome = Given::new(text).run(json!({ "format": "json" }));
        assert_eq!(outcome.status, Status::Critical, "{outcome:?}");
        assert!(outcome.message.contains(said), "{}", outcome.message);
    }
    let outcome = Given::new("[]").run(json!({ "format": "json" }));
    assert_eq!(
        (outcome.status, &*outcome.message),
        (Status::Unknown, "no values")
    );
}

#[test]
fn numbers_in_a_log() {
    let mut text: String = values(40_000)
        .map(|v| format!("GET /x 200 took={v}ms\nstarted\n"))
        .collect();
    text += "GET /x 200 took=99";
    let given = Given::new(text);
    let outcome = given.run(json!({ "format": "log", "pattern": "took=(-?[0-9.]+)" }));
    // The last line has no end yet.
    assert_right(&outcome, values(40_000).collect());
    assert!(
        outcome.message.ends_with("; 40000 lines do not match"),
        "{}",
        outcome.message
    );
    let named = json!({ "format": "log", "pattern": "(GET|PUT).*took=(?P<value>[0-9.-]+)" });
    assert_eq!(given.run(named).metric("count").value, 40_000.0);
}

#[test]
fn thresholds_and_bad_cells() {
    let given = Given::new("x\n1\n2\n3\n4\nn/a\n\n");
    let options = |more: Value| {
        let mut all = json!({ "format": "csv", "column": "x" });
        for (key, value) in more.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        all
    };
    let outcome = given.run(options(json!({})));
    assert_eq!(outcome.status, Status::Ok);
    assert!(
        outcome.message.ends_with("; 1 without a number"),
        "{}",
        outcome.message
    );
    assert_eq!(outcome.metric("std").value, 1.25f64.sqrt());
    let sample = given.run(options(json!({ "sample": true })));
    assert!((sample.metric("std").value - (5.0f64 / 3.0).sqrt()).abs() < 1e-15);
    let unknown = given.run(options(json!({ "bad": "unknown" })));
    assert_eq!(unknown.status, Status::Unknown);
    let limits =
        json!({ "limits": { "p99": { "warn": 3.5, "crit": 10 }, "count": { "crit": "4:" } } });
    let outcome = given.run(options(limits));
    assert_eq!(outcome.status, Status::Warn);
    assert!(
        outcome
            .message
            .starts_with("p99 3.97 is outside of 3.5, 4 values"),
        "{}",
        outcome.message
    );
    assert_eq!(outcome.metric("p99").warn, 3.5);
    let outcome = given.run(options(json!({ "edges": [0, 2, 3] })));
    assert!(
        outcome.detail.contains("2 to 3: 2 (50.0 %)"),
        "{}",
        outcome.detail
    );
    assert!(outcome.detail.contains("outside: 1"), "{}", outcome.detail);
    let few = given.run(options(json!({ "max_values": 3 })));
    assert_eq!(few.status, Status::Unknown);
    assert!(
        few.message.contains("more than 3 values"),
        "{}",
        few.message
    );
    let empty = Given::new("x\n");
    let none = empty.run(options(json!({ "limits": { "count": { "crit": "1:" } } })));
    assert_eq!(
        (none.status, &*none.message),
        (Status::Critical, "count 0 is outside of 1:, no values")
    );
}

#[test]
fn wrong_options_and_files() {
    for (options, said) in [
        (json!({ "format": "csv" }), "column: missing"),
        (json!({ "format": "log", "pattern": "(" }), "pattern:"),
        (json!({ "format": "json", "column": "x" }), "another format"),
        (
            json!({ "format": "csv", "column": "x", "header": false }),
            "a number from 1",
        ),
        (
            json!({ "format": "csv", "column": "x", "separator": "ab" }),
            "separator",
        ),
        (json!({ "format": "json", "edges": [2, 1] }), "edges"),
    ] {
        let mut options = options;
        options["path"] = json!("/nowhere");
        let e = plugin().create(options.to_string()).err().expect("refused");
        assert!(e.contains(said), "{e}");
    }
    let missing = json!({ "path": "/nowhere/x", "format": "json" });
    let check = plugin().create(missing.to_string()).expect("good options");
    assert_eq!(check.run(Duration::from_secs(60)).status, Status::Critical);
    let folder = json!({ "path": "/tmp", "format": "json" });
    let check = plugin().create(folder.to_string()).expect("good options");
    assert!(
        check
            .run(Duration::from_secs(60))
            .message
            .contains("no regular file")
    );
    let given = Given::new("a,b\n1,2\n");
    let outcome = given.run(json!({ "format": "csv", "column": "c" }));
    assert!(
        outcome
            .message
            .contains("no column \"c\" in its first line: a, b"),
        "{}",
        outcome.message
    );
}

#[test]
fn a_cancelled_run_gives_up() {
    let given = Given::new("[1,2,3]");
    let options = json!({ "path": given.0, "format": "json" });
    let check = plugin().create(options.to_string()).expect("good options");
    assert_eq!(check.run(Duration::ZERO).status, Status::Cancelled);
}
