//! `healthctl bench`: each bench comes to its rows, in the documented shape. What they say of this machine's speed is not judged.

use crate::harness::ctl::{Said, healthctl};
use serde_json::Value;
use std::path::Path;

/// There is no daemon that it could ask.
fn ctl_alone(args: &[&str]) -> Said {
    healthctl(Path::new("/nonexistent/control.sock"), args)
}

fn rows(bench: &str, seconds: u32) -> Vec<Value> {
    let seconds = seconds.to_string();
    let out = ctl_alone(&["bench", bench, "--json", "--seconds", &seconds]);
    assert_eq!((out.code, &*out.err), (Some(0), ""), "{bench}: {}", out.out);
    let all: Value = serde_json::from_str(&out.out).unwrap_or_else(|e| panic!("{e}: {}", out.out));
    assert_eq!(all["bench"], bench);
    assert!(all["machine"]["cores"].as_u64() > Some(0));
    let others = all["machine"]["others_percent"].as_f64();
    assert!(others.is_some_and(|p| (0.0..=100.0).contains(&p)), "{all}");
    all["rows"].as_array().expect("rows").clone()
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|r| r["name"].as_str().expect("a name"))
        .collect()
}

fn all_above_zero(rows: &[Value], key: &str) {
    for row in rows {
        assert!(row[key].as_f64() > Some(0.0), "{key}: {row}");
    }
}

#[test]
fn io() {
    let rows = rows("io", 3);
    let four = ["sequential", "threads", "event-loop", "hybrid"];
    assert_eq!(names(&rows), [four, four].concat());
    all_above_zero(&rows, "took_s");
    assert_eq!(
        (&rows[0]["targets"], &rows[4]["targets"]),
        (&5.0.into(), &50.0.into())
    );
    assert_eq!(rows[0]["speedup"], 1.0);
}

#[test]
fn cpu() {
    let rows = rows("cpu", 2);
    assert_eq!(names(&rows), ["one", "threads", "processes", "hybrid"]);
    all_above_zero(&rows, "speedup");
}

#[test]
fn chunks() {
    let rows = rows("chunks", 2);
    let sizes = ["1", "10", "50", "100", "500", "1000", "adaptive"];
    assert_eq!(names(&rows), sizes);
    all_above_zero(&rows, "checks_per_second");
}

#[test]
fn tune() {
    let out = ctl_alone(&["bench", "tune", "--seconds", "3"]);
    assert_eq!((out.code, &*out.err), (Some(0), ""), "{}", out.out);
    let (_, config) = out
        .out
        .split_once("For healthd.toml:\n\n")
        .expect("a config");
    for line in ["[pool.io]", "[pool.cpu]", "workers = ", "threads = "] {
        assert!(config.contains(line), "{line}: {config}");
    }
}

#[test]
fn data() {
    let rows = rows("data", 2);
    assert_eq!(names(&rows)[0], "one");
    all_above_zero(&rows, "values");
}

#[test]
fn limit() {
    let rows = rows("limit", 5);
    let kinds = [
        "http (step)",
        "tcp (step)",
        "file (run)",
        "cpu (cpu)",
        "exec (exec)",
    ];
    assert_eq!(names(&rows), kinds);
    all_above_zero(&rows, "checks_per_second");
}
