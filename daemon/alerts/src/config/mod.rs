//! `[[notify]]` and `[[maintenance]]`: from what a file says to a [`Config`] that needs no more checking, or every
//! mistake at once.
//!
//! Whoever reads the files brings a [`Reader`] with it; what it says comes out again by [`Config::of_model`].

mod blocks;
mod notify;
mod warnings;

use crate::route::{Config, Maintenance};
use crate::when::{Zones, zones};
use blocks::{Block, blocks, match_of, when_of};
use healthd_core::config::CheckSpec;
use healthd_core::config::Section;
use healthd_core::config::notifiers::{Alerts, Notifier, ReadAlerts};
use healthd_core::config::raw::Entry;
use healthd_core::config::reading::Reading;
use healthd_core::config::report::error;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a check is called, and its labels.
pub type Known<'c> = (&'c str, &'c BTreeMap<String, String>);

/// What is around the files.
pub struct Around<'a> {
    pub checks: &'a [Known<'a>],
    pub zones: Zones<'a>,
    /// CLOCK_REALTIME, ns.
    pub wall: u64,
}

/// Reads them beside the rest of a config, with the zones of this machine.
pub struct Reader {
    /// CLOCK_REALTIME, ns.
    pub wall: u64,
}

impl ReadAlerts for Reader {
    fn read(&self, entries: &[&Entry], checks: &[CheckSpec], cx: &mut Reading<'_>) -> Alerts {
        let enabled = checks.iter().filter(|check| check.enabled);
        let known: Vec<Known<'_>> = enabled.map(|c| (c.name.as_str(), &c.labels)).collect();
        let around = Around {
            checks: &known,
            zones: &zones,
            wall: self.wall,
        };
        let Resolved { config, notifiers } = resolve(entries, &around, cx);
        Alerts {
            rules: serde_json::to_value(&config).unwrap_or_default(),
            notifiers,
        }
    }
}

impl Config {
    /// Out of the model that [`Reader`] has put it into.
    pub fn of_model(alerts: &serde_json::Value) -> Result<Config, String> {
        match alerts {
            serde_json::Value::Null => Ok(Config::default()),
            rules => Config::deserialize(rules).map_err(|e| e.to_string()),
        }
    }
}

/// What the files say of alerts.
#[derive(Debug, Default)]
pub struct Resolved {
    pub config: Config,
    /// What each route's plugin is handed; in the order of `config.routes`.
    pub notifiers: Vec<Notifier>,
}

/// `entries`: the keys `notify` and `maintenance` of each file, in their order. What is wrong goes to `cx`.
pub fn resolve(entries: &[&Entry], around: &Around<'_>, cx: &mut Reading<'_>) -> Resolved {
    let mut routes = Vec::new();
    let mut maintenance = Vec::new();
    for entry in entries {
        match entry.key.as_str() {
            "notify" => routes.extend(blocks(entry, &Section::Notify.keys(), cx)),
            "maintenance" => maintenance.extend(blocks(entry, &Section::Maintenance.keys(), cx)),
            _ => {}
        }
    }
    let (config_routes, notifiers, places) = notify::routes(&routes, around, cx);
    let maintenance = (maintenance.iter())
        .filter_map(|block| maintenance_of(block, around, cx))
        .collect();
    let config = Config {
        routes: config_routes,
        maintenance,
    };
    warnings::warn(&config, &places, around, cx);
    Resolved { config, notifiers }
}

fn maintenance_of(
    block: &Block<'_>,
    around: &Around<'_>,
    cx: &mut Reading<'_>,
) -> Option<Maintenance> {
    for key in ["match", "when"] {
        if block.table.get(key).is_none() {
            let example = if key == "match" {
                "match = \"rack7/*\""
            } else {
                "when = \"sun 02:00-04:00\""
            };
            let e = error(format!("{} has no `{key}`", block.label));
            cx.push(e.at(block.span).help(format!("add `{example}`")));
        }
    }
    let matches = match_of(block, around, cx);
    let when = when_of(block, around, cx);
    let reason = (block.table.get("reason")).map(|e| cx.text("reason", &e.node, &block.label));
    let reason = match reason {
        Some(reason) => reason?,
        None => String::new(),
    };
    Some(Maintenance {
        matches: matches?,
        when: when?,
        reason,
    })
}

#[cfg(test)]
mod tests;
