//! What the tests of the kinds share.

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, MockPlugin, Outcome};
use healthd_plugin::serde_json::{Value, json};
use std::time::Duration;

pub const LONG: Duration = Duration::from_secs(60);

pub fn plugin(name: &str) -> MockPlugin {
    MockHost::new(hd_plugin_v1).plugin(name)
}

/// One run of a kind with these options.
pub fn check(name: &str, options: &Value) -> Outcome {
    check_for(name, options, LONG)
}

/// One run that must be over after `timeout`.
pub fn check_for(name: &str, options: &Value, timeout: Duration) -> Outcome {
    let made = plugin(name).create(options.to_string());
    made.unwrap_or_else(|e| panic!("{options}: {e}"))
        .run(timeout)
}

/// These options, and more of them, which count.
pub fn with(mut options: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().expect("a table") {
        options[key] = value.clone();
    }
    options
}

/// The options of a server on loopback, and more of them.
pub fn at(port: u16, more: &Value) -> Value {
    with(json!({"host": "127.0.0.1", "port": port}), more)
}

/// What is said of options that are refused.
pub fn refused(name: &str, options: &Value) -> String {
    let made = plugin(name).create(options.to_string());
    made.err().unwrap_or_else(|| panic!("{options} are taken"))
}

pub fn told(o: &Outcome) -> (Status, &str) {
    (o.status, &o.message)
}
