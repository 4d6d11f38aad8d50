//! `[[notify]]`: the routes.

use super::Around;
use super::blocks::{Block, match_of, when_of};
use crate::route::{By, On, Route};
use crate::week::BUDGET_MOST;
use healthd_core::config::alert_keys::rate;
use healthd_core::config::did_you_mean;
use healthd_core::config::notifiers::Notifier;
use healthd_core::config::raw::{Node, Value, shortened};
use healthd_core::config::reading::{DurationLimits, Reading};
use healthd_core::config::report::error;
use healthd_core::config::source::Span;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Where in the files what of a route stands, for warnings.
pub struct Places {
    pub block: Span,
    pub label: String,
    pub after: Option<Span>,
}

pub type Routes = (Vec<Arc<Route>>, Vec<Notifier>, Vec<Places>);

pub fn routes(blocks: &[Block<'_>], around: &Around<'_>, cx: &mut Reading<'_>) -> Routes {
    let mut list: Routes = Default::default();
    let mut taken: HashMap<String, Span> = HashMap::new();
    let mut backups = Vec::new();
    for block in blocks {
        let route = route(block, around, cx);
        let name = name(block, cx);
        if let Some((name, span)) = &name {
            match taken.get(name) {
                None => drop(taken.insert(name.clone(), *span)),
                Some(first) => {
                    let e = error(format!("two routes are called `{name}`"));
                    let e = e.at(*span).related(*first, "the other one");
                    cx.push(e.help("give each a `name`; without one it has that of its plugin"));
                }
            }
        }
        if let Some(entry) = block.table.get("backup")
            && let Some(to) = cx.text("backup", &entry.node, &block.label)
        {
            backups.push((list.0.len(), to, entry.node.span, block.label.clone()));
        }
        let (Some(mut route), Some((name, _))) = (route, name) else {
            // It is there all the same, for whoever names it as a backup.
            continue;
        };
        route.name = name.into();
        list.1.push(notifier(block, &route, cx));
        list.0.push(Arc::new(route));
        list.2.push(Places {
            block: block.span,
            label: block.label.clone(),
            after: block.table.get("after").map(|e| e.node.span),
        });
    }
    for (n, to, span, label) in backups {
        let is_self = list.0.get(n).is_some_and(|route| *route.name == *to);
        if is_self || !taken.contains_key(&to) {
            let e = if is_self {
                error(format!("{label} is its own backup")).help("name another route")
            } else {
                let e = error(format!(
                    "{label} has a backup `{}` that is no route",
                    shortened(&to)
                ));
                match did_you_mean(&to, taken.keys().map(String::as_str)) {
                    Some(near) => e.help(format!("a route with a similar name exists: `{near}`")),
                    None => e.help("name one of the other `[[notify]]`"),
                }
            };
            cx.push(e.at(span));
        } else if let Some(route) = list.0.get_mut(n) {
            Arc::make_mut(route).backup = Some(to.into());
        }
    }
    list
}

/// Of its own, or that of its plugin.
fn name(block: &Block<'_>, cx: &mut Reading<'_>) -> Option<(String, Span)> {
    let own = block.table.get("name");
    let entry = own.or_else(|| block.table.get("plugin"))?;
    // A plugin that is no text was reported as such.
    let text = match (own, &entry.node.value) {
        (None, Value::Str(text)) => text.clone(),
        (None, _) => return None,
        (Some(_), _) => cx.text("name", &entry.node, &block.label)?,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
    if text.len() > NAME_MAX || !text.chars().all(plain) {
        let e = error(format!(
            "`{}` cannot be the name of a route",
            shortened(&text)
        ));
        let help = format!("use letters a-z, digits and . _ : / -, at most {NAME_MAX} bytes");
        cx.push(e.at(entry.node.span).help(help));
        return None;
    }
    Some((text, entry.node.span))
}

fn route(block: &Block<'_>, around: &Around<'_>, cx: &mut Reading<'_>) -> Option<Route> {
    let owner = &block.label;
    let node = |key: &str| block.table.get(key).map(|e| &e.node);
    let plugin = match node("plugin") {
        Some(node) => cx.text("plugin", node, owner),
        None => {
            let e = error(format!("{owner} has no `plugin`"));
            cx.push(e.at(block.span).help("add `plugin = \"mail\"`"));
            None
        }
    };
    let mut route = Route::new("", &plugin.clone().unwrap_or_default());
    let matches = match_of(block, around, cx);
    if let Some(matches) = &matches {
        route.matches = matches.clone();
    }
    let when = when_of(block, around, cx);
    let mut fine =
        plugin.is_some() && matches.is_some() && when.is_some() == node("when").is_some();
    route.when = when;
    // Each is judged, whatever was wrong before it.
    let mut take = |taken: Option<()>| fine &= taken.is_some();
    if let Some(node) = node("enabled") {
        take(
            cx.boolean("enabled", node, owner)
                .map(|on| route.enabled = on),
        );
    }
    if let Some(node) = node("on") {
        take(on(node, owner, cx).map(|on| route.on = on));
    }
    if let Some(node) = node("wait") {
        take(
            cx.duration("wait", node, owner, WAIT)
                .map(|d| route.wait = d),
        );
    }
    if let Some(node) = node("after") {
        take(
            cx.duration("after", node, owner, AFTER)
                .map(|d| route.after = d),
        );
    }
    if let Some(node) = node("repeat")
        && !matches!(&node.value, Value::Str(never) if never == "never")
    {
        let every = cx.duration("repeat", node, owner, REPEAT);
        take(every.map(|d| route.repeat = Some(d)));
    }
    if let Some(node) = node("alive") {
        take(
            cx.duration("alive", node, owner, REPEAT)
                .map(|d| route.alive = Some(d)),
        );
    }
    if let Some(node) = node("budget") {
        let budget = cx.integer("budget", node, owner, 1, BUDGET_MOST);
        take(budget.map(|n| route.budget = u32::try_from(n).ok()));
    }
    if knows_one_check(&route.plugin, node("config")) {
        route.by = By::Check;
    }
    if let Some(node) = node("by") {
        take(cx.text("by", node, owner).map(|by| {
            route.by = match by.as_str() {
                "none" => By::None,
                "check" => By::Check,
                label => By::Label(label.to_owned()),
            }
        }));
    }
    if let Some(node) = node("limit") {
        take(rate("limit", node, owner, cx).map(|rate| route.limit = Some(rate)));
    }
    fine.then_some(route)
}

/// What it tells has a place for one check: each gets a message of its own, unless `by` says otherwise.
fn knows_one_check(plugin: &str, config: Option<&Node>) -> bool {
    let preset = match config.map(|node| &node.value) {
        Some(Value::Table(options)) => options.get("preset").map(|e| &e.node.value),
        _ => None,
    };
    match preset {
        Some(Value::Str(preset)) => {
            matches!(preset.as_str(), "pagerduty" | "opsgenie" | "alertmanager")
        }
        _ => plugin == "script",
    }
}

fn on(node: &Node, owner: &str, cx: &mut Reading<'_>) -> Option<On> {
    let nodes = match &node.value {
        Value::Array(nodes) => nodes.as_slice(),
        Value::Str(_) => std::slice::from_ref(node),
        _ => return cx.wrong_type("on", node, owner, "a list of verdicts", "[\"critical\"]"),
    };
    let mut on = On {
        warning: false,
        critical: false,
        unknown: false,
    };
    for node in nodes {
        match cx.text("on", node, owner)?.as_str() {
            "warning" => on.warning = true,
            "critical" => on.critical = true,
            "unknown" => on.unknown = true,
            other => {
                let e = error(format!(
                    "`on` of {owner} has an unknown verdict `{}`",
                    shortened(other)
                ));
                let help = match did_you_mean(other, VERDICTS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if other == "ok" => "a recovery goes to whoever was told of the problem: write the problems only".to_owned(),
                    None => "write `warning`, `critical` or `unknown`".to_owned(),
                };
                cx.push(e.at(node.span).help(help));
                return None;
            }
        }
    }
    if nodes.is_empty() {
        let e = error(format!("`on` of {owner} is an empty list"));
        cx.push(
            e.at(node.span)
                .help("write `enabled = false` for a route that tells of nothing"),
        );
        return None;
    }
    Some(on)
}

fn notifier(block: &Block<'_>, route: &Route, cx: &mut Reading<'_>) -> Notifier {
    let mut templates = Vec::new();
    for key in ["title", "text", "body"] {
        if let Some(entry) = block.table.get(key)
            && cx.text(key, &entry.node, &block.label).is_some()
        {
            templates.push(entry.clone());
        }
    }
    let plugin = block.table.get("plugin");
    Notifier {
        route: route.name.to_string(),
        label: block.label.clone(),
        plugin: route.plugin.clone(),
        plugin_at: plugin.map_or(block.span, |e| e.node.span),
        config: block.table.get("config").cloned(),
        templates,
        block: block.span,
    }
}

const VERDICTS: [&str; 3] = ["warning", "critical", "unknown"];
const NAME_MAX: usize = 64;
const DAY: u64 = 86_400;
const WAIT: DurationLimits = (Duration::ZERO, Duration::from_secs(3_600));
const AFTER: DurationLimits = (Duration::ZERO, Duration::from_secs(7 * DAY));
const REPEAT: DurationLimits = (Duration::from_secs(60), Duration::from_secs(31 * DAY));
