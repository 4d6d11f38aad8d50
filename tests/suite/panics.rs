//! A plugin that panics: an answer like any other, and nobody dies of it.

use crate::harness::{Config, check, fixtures};
use std::fs;

#[test]
fn a_panic_is_unknown_with_its_text_and_the_worker_lives() {
    let config = Config::new()
        .only_asked()
        .daemon("log", "\"info\"")
        .pool("io", "workers = 1")
        .plugin_file(fixtures::panics());
    let file = config.dir().join("panic");
    let mut config = config;
    let cases = [
        ("run", "panics", "run"),
        ("start", "panics_step", "run"),
        ("step", "panics_step", "step"),
        ("create", "panics", "create"),
        ("create-step", "panics_step", "create"),
    ];
    fs::write(&file, "").expect("our own folder");
    for (name, plugin, at) in cases {
        config = config.check(
            check(name)
                .plugin(plugin)
                .interval("1h")
                .set("config", &format!("{{ at = {at:?}, if_file = {file:?} }}")),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let before = daemon.pids("io");
    for (name, plugin, at) in cases {
        let row = daemon.run(name);
        let message = row["message"].as_str().unwrap_or_default();
        assert_eq!(row["status"], "unknown", "{row}");
        assert!(
            message.contains("panic") && message.contains(&format!("`{plugin}`")),
            "{row}"
        );
        assert!(
            message.contains(&format!("panics in {at} on purpose")),
            "{row}"
        );
        assert!(row["attempt"].as_u64() >= Some(1), "{row}");
    }
    // A poisoned instance is made anew, and the check is well as soon as its plugin is; it is not held.
    fs::remove_file(&file).expect("our own folder");
    for (name, ..) in cases {
        assert!(daemon.detail(name)["held_until"].is_null());
        let row = daemon.run(name);
        assert_eq!(
            (&row["status"], &row["verdict"]),
            (&"ok".into(), &"ok".into()),
            "{row}"
        );
    }
    assert_eq!(daemon.pids("io"), before);
}
