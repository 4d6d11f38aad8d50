//! The plugin through MockHost.

use crate::hd_plugin_v1;
use healthd_plugin::mock::{MockCheck, MockHost, Outcome};
use healthd_plugin::{
    Status, abi,
    serde_json::{Value, json},
};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn create(config: Value) -> Result<MockCheck, String> {
    MockHost::new(hd_plugin_v1)
        .plugin("cpu")
        .create(config.to_string())
}

fn run(config: Value) -> Outcome {
    create(config).unwrap().run(LONG)
}

#[test]
fn it_is_of_the_cpu_class() {
    let descriptors = MockHost::new(hd_plugin_v1).descriptors();
    assert_eq!(descriptors.len(), 1);
    assert_eq!(descriptors[0].workload, abi::WL_CPU);
}

#[test]
fn measures_both_rates() {
    let o = run(json!({"duration": "20ms"}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(
        o.message.starts_with("factor ") && o.message.contains(", sine "),
        "{o:?}"
    );
    assert_eq!(o.phases, ["factor", "sine"]);
    for name in ["rate", "factor_rate", "sine_rate", "cpu_rate"] {
        assert!(o.metric(name).value > 1000.0, "{name}: {o:?}");
        assert_eq!(o.metric(name).unit, "1/s");
        assert!(o.metric(name).warn.is_nan());
    }
    let steal = o.metric("steal").value;
    assert!((0.0..=100.0).contains(&steal));
    assert!(o.metric("wall_time").value >= 0.04);
    assert!(o.metric("cpu_time").value > 0.0);
}

#[test]
fn a_fixed_amount_of_one_work() {
    let o = run(json!({"work": "sine", "operations": 100_000}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert_eq!(o.phases, ["sine"]);
    assert_eq!(
        o.metrics.iter().filter(|m| m.name == "factor_rate").count(),
        0
    );
    let done = o.metric("cpu_rate").value * o.metric("cpu_time").value;
    assert!(
        (100_000.0 - 1.0..100_000.0 + 16_385.0).contains(&done),
        "{done}"
    );
}

#[test]
fn an_unreachable_baseline_is_critical_and_a_low_one_ok() {
    let o = run(json!({"duration": "20ms", "baseline": 1e15}));
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.contains("0% of the baseline"), "{o:?}");
    assert_eq!((o.metric("rate").warn, o.metric("rate").crit), (8e14, 5e14));
    let o = run(json!({"duration": "20ms", "baseline": {"factor": 1, "sine": 1}}));
    assert_eq!(o.status, Status::Ok);
    assert!(o.metric("of_baseline").value > 100.0);
}

#[test]
fn gives_up_when_cancelled_and_before_its_deadline() {
    let check = create(json!({"duration": "1h"})).unwrap();
    let (o, took) = check.run_cancelled(LONG, Duration::from_millis(30));
    assert_eq!(o.status, Status::Cancelled);
    assert!(took < Duration::from_secs(10), "{took:?}");

    let o = check.run(Duration::from_millis(60));
    assert_eq!(o.status, Status::Unknown);
    assert_eq!(
        o.message,
        "factor: not done within the check's timeout; raise it, or compute less (duration = \"1h\")"
    );
}

#[test]
fn mistakes_in_the_options() {
    let error = |config| create(config).err().unwrap();
    assert!(error(json!({"duration": "1s", "operations": 5})).contains("one of the two"));
    assert!(error(json!({"duration": "0s"})).contains("above 0s"));
    assert_eq!(error(json!({"baseline": 0})), "baseline: 0 is below 1");
    assert!(
        error(json!({"baseline": {"cosine": 1}})).starts_with("baseline.cosine: unknown option")
    );
    assert!(error(json!({"baseline": {}})).contains("no rate of the chosen work"));
    assert!(error(json!({"work": "sine", "baseline": {"factor": 1e6}})).contains("no rate"));
    assert!(error(json!({"work": "tea"})).contains("none of factor, sine, both"));
}

#[test]
fn the_schema_describes_every_option() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("cpu");
    plugin.assert_documented(include_str!("../README.md"));
    assert_eq!(
        plugin.schema()["properties"]["baseline"]["anyOf"][0]["minimum"],
        1
    );
    assert_eq!(plugin.schema()["properties"]["warn_below"]["default"], 80.0);
}
