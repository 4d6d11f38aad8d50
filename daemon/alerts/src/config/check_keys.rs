//! The keys of a check that have to do with alerts.

use super::notify::rate;
use crate::rate::Rate;
use healthd_core::config::raw::{Table, Value};
use healthd_core::config::reading::Reading;
use healthd_core::config::report::error;
use std::time::Duration;

pub const CHECK_KEYS: [&str; 4] = ["recover", "flap", "invert", "runbook"];

#[derive(Clone, Debug, PartialEq)]
pub struct CheckKeys {
    /// Oks in a row until a problem is over.
    pub recover: u32,
    /// None: it is never said to flap.
    pub flap: Option<Rate>,
    /// Well while its target is not.
    pub invert: bool,
    /// Where it is written what to do; sent with each message.
    pub runbook: Option<String>,
}

impl Default for CheckKeys {
    fn default() -> CheckKeys {
        CheckKeys {
            recover: 1,
            flap: Some(Rate {
                count: 5,
                per: Duration::from_secs(30 * 60),
            }),
            invert: false,
            runbook: None,
        }
    }
}

impl CheckKeys {
    /// What is wrong is reported, and the default stands in for it.
    pub fn read(table: &Table, owner: &str, cx: &mut Reading<'_>) -> CheckKeys {
        let mut keys = CheckKeys::default();
        let node = |key: &str| table.get(key).map(|e| &e.node);
        if let Some(n) = node("recover").and_then(|n| cx.integer("recover", n, owner, 1, 1_000)) {
            keys.recover = u32::try_from(n).unwrap_or(1);
        }
        match node("flap") {
            None => {}
            Some(node) if matches!(&node.value, Value::Str(text) if text == "never") => {
                keys.flap = None
            }
            Some(node) => {
                if let Some(rate) = rate("flap", node, owner, cx) {
                    keys.flap = Some(rate);
                    if rate.count < 2 {
                        let e = error(format!(
                            "`flap` of {owner} is one flip: that is every problem"
                        ));
                        cx.push(e.at(node.span).help("write `5/30m`, or `never`"));
                    }
                }
            }
        }
        if let Some(invert) = node("invert").and_then(|n| cx.boolean("invert", n, owner)) {
            keys.invert = invert;
        }
        keys.runbook = node("runbook").and_then(|n| cx.text("runbook", n, owner));
        keys
    }
}
