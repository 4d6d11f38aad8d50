//! `on_change` and `restart`: a program that is run when a check changes.

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert_keys::rate;
use super::raw::{Node, Table, Value, shortened};
use super::reading::{DurationLimits, Reading};
use super::report::error;
use super::words::did_you_mean;
use crate::check::outcome::Verdict;
use crate::check::rate::Rate;

/// The plugin that runs it: that of notification scripts.
pub const RUN_BY: &str = "script";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// No shell is involved; `$SERVICESTATE$` and the like are filled in.
    pub argv: Vec<String>,
    /// Also for results that are no verdict yet.
    pub soft: bool,
    /// What the check has become; empty: whatever it is.
    pub on: Vec<Verdict>,
    /// Beyond it nothing is done.
    pub limit: Rate,
    pub timeout: Duration,
}

impl Action {
    pub fn is_for(&self, verdict: Verdict) -> bool {
        self.on.is_empty() || self.on.contains(&verdict)
    }
}

/// A list is the program and its arguments, a table has more to say.
pub fn on_change(node: &Node, owner: &dyn Display, cx: &mut Reading<'_>) -> Option<Action> {
    let mut action = Action {
        argv: Vec::new(),
        soft: false,
        on: Vec::new(),
        limit: Rate {
            count: 6,
            per: Duration::from_secs(3_600),
        },
        timeout: Duration::from_secs(30),
    };
    let table = match &node.value {
        Value::Table(table) => table,
        Value::Array(_) => {
            action.argv = argv("on_change", node, owner, cx)?;
            return Some(action);
        }
        _ => {
            let example = "[\"/usr/local/bin/led\", \"$SERVICESTATE$\"]";
            return cx.wrong_type("on_change", node, owner, "a list or a table", example);
        }
    };
    let mut fine = known(table, owner, cx);
    let Some(entry) = table.get("argv") else {
        let e = error(format!("`on_change` of {owner} has no `argv`"));
        let help = "say what is run: `argv = [\"/usr/local/bin/led\", \"$SERVICESTATE$\"]`";
        cx.push(e.at(node.span).help(help).once("on_change"));
        return None;
    };
    // Each is judged, whatever was wrong before it.
    let mut take = |taken: Option<()>| fine &= taken.is_some();
    take(argv("argv", &entry.node, owner, cx).map(|argv| action.argv = argv));
    if let Some(entry) = table.get("soft") {
        take(
            cx.boolean("soft", &entry.node, owner)
                .map(|soft| action.soft = soft),
        );
    }
    if let Some(entry) = table.get("on") {
        take(verdicts(&entry.node, owner, cx).map(|on| action.on = on));
    }
    if let Some(entry) = table.get("limit") {
        take(rate("limit", &entry.node, owner, cx).map(|limit| action.limit = limit));
    }
    if let Some(entry) = table.get("timeout") {
        let timeout = cx.duration("timeout", &entry.node, owner, TIMEOUT);
        take(timeout.map(|timeout| action.timeout = timeout));
    }
    fine.then_some(action)
}

/// The short form: a unit of systemd is restarted when the check has become critical.
pub fn restart(node: &Node, owner: &dyn Display, cx: &mut Reading<'_>) -> Option<Action> {
    let unit = cx.text("restart", node, owner)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
    if unit.starts_with('-') || !unit.chars().all(allowed) {
        let e = error(format!(
            "`{}` of {owner} cannot be a unit of systemd",
            shortened(&unit)
        ));
        let help = "write its name, as in `restart = \"nginx.service\"`; for anything else there is `on_change`";
        cx.push(e.at(node.span).help(help).once("restart"));
        return None;
    }
    let argv = ["systemctl", "--no-ask-password", "restart", &unit];
    Some(Action {
        argv: argv.map(str::to_owned).to_vec(),
        soft: false,
        on: vec![Verdict::Critical],
        limit: Rate {
            count: 3,
            per: Duration::from_secs(3_600),
        },
        timeout: Duration::from_secs(90),
    })
}

fn argv(key: &str, node: &Node, owner: &dyn Display, cx: &mut Reading<'_>) -> Option<Vec<String>> {
    let Value::Array(items) = &node.value else {
        let example = "[\"/usr/local/bin/led\", \"$SERVICESTATE$\"]";
        return cx.wrong_type(key, node, owner, "a list of strings", example);
    };
    let mut argv = Vec::new();
    for item in items {
        match &item.value {
            Value::Str(text) if !text.contains('\0') => argv.push(text.clone()),
            Value::Int(n) => argv.push(n.to_string()),
            _ => return cx.wrong_type(key, item, owner, "a list of strings", "[\"...\"]"),
        }
    }
    if argv.first().is_none_or(|program| program.is_empty()) {
        let e = error(format!("`{key}` of {owner} names no program"));
        let help = "write the program and its arguments, a string each";
        cx.push(e.at(node.span).help(help).once(key));
        return None;
    }
    Some(argv)
}

fn verdicts(node: &Node, owner: &dyn Display, cx: &mut Reading<'_>) -> Option<Vec<Verdict>> {
    let nodes = match &node.value {
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut on = Vec::new();
    for node in nodes {
        let text = cx.text("on", node, owner)?;
        on.push(match text.as_str() {
            "ok" => Verdict::Ok,
            "warning" => Verdict::Warning,
            "critical" => Verdict::Critical,
            "unknown" => Verdict::Unknown,
            other => {
                let e = error(format!(
                    "`on` of {owner} has an unknown verdict `{}`",
                    shortened(other)
                ));
                let help = match did_you_mean(other, VERDICTS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write one of {}", VERDICTS.join(", ")),
                };
                cx.push(e.at(node.span).help(help).once("on"));
                return None;
            }
        });
    }
    Some(on)
}

fn known(table: &Table, owner: &dyn Display, cx: &mut Reading<'_>) -> bool {
    let mut fine = true;
    for entry in table
        .entries
        .iter()
        .filter(|e| !KEYS.contains(&e.key.as_str()))
    {
        fine = false;
        let e = error(format!(
            "unknown key `{}` in `on_change` of {owner}",
            shortened(&entry.key)
        ));
        let help = match did_you_mean(&entry.key, KEYS) {
            Some(near) => format!("a key with a similar name exists: `{near}`"),
            None => format!("known keys: {}", KEYS.join(", ")),
        };
        cx.push(e.at(entry.key_span).help(help).once("on_change"));
    }
    fine
}

const KEYS: [&str; 5] = ["argv", "soft", "on", "limit", "timeout"];
const VERDICTS: [&str; 4] = ["ok", "warning", "critical", "unknown"];
const TIMEOUT: DurationLimits = (Duration::from_secs(1), Duration::from_secs(3_600));
