//! `[defaults]`, and the keys it shares with a check.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use super::groups;
use super::keys::Section;
use super::model::TimeoutStatus;
use super::needs;
use super::raw::{Entry, Node, Table, Value, bare, shortened};
use super::reading::{DurationLimits, Reading};
use super::report::error;
use super::source::Span;
use super::template::scalar;

/// One `[defaults]`, its values judged where they stand.
pub struct Defaults<'a> {
    table: &'a Table,
    pub timing: Timing,
    pub enabled: Option<bool>,
    pub timeout_status: Option<TimeoutStatus>,
    pub exclusive: Option<Vec<String>>,
    pub max_parallel: Option<u32>,
    /// With its place.
    pub needs: Option<(String, Span)>,
    pub labels: BTreeMap<String, String>,
    /// `[defaults.config.PLUGIN]`
    pub options: Vec<(&'a Entry, &'a Table)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub retry_interval: Option<Duration>,
    pub attempts: Option<u32>,
}

impl<'a> Defaults<'a> {
    pub fn read(table: &'a Table, cx: &mut Reading<'_>) -> Self {
        let owner = &"[defaults]";
        let mut labels = BTreeMap::new();
        if let Some(entry) = table.get("labels") {
            read_labels(&entry.node, &mut labels, owner, cx, |_, node| {
                Some(Cow::Borrowed(node))
            });
        }
        let mut options = Vec::new();
        match table.get("config").map(|e| &e.node) {
            None => {}
            Some(Node {
                value: Value::Table(plugins),
                ..
            }) => {
                for entry in &plugins.entries {
                    match &entry.node.value {
                        Value::Table(table) => options.push((entry, table)),
                        Value::Broken => {}
                        _ => {
                            let e = error(format!(
                                "`config.{}` of [defaults] has to be a table, not {}",
                                shortened(&entry.key),
                                entry.node.kind()
                            ));
                            let help = format!(
                                "options are kept by plugin: write `[defaults.config.NAME]` with the plugin's name, and `{}` below it",
                                bare(&entry.key)
                            );
                            cx.push(e.at(entry.node.span).help(help));
                        }
                    }
                }
            }
            Some(node) => {
                let example = "{ http = { ... } }";
                let _: Option<()> = cx.wrong_type("config", node, owner, "a table", example);
            }
        }
        let field = |key: &str| table.get(key).map(|e| &e.node);
        Defaults {
            table,
            timing: Timing {
                interval: field("interval")
                    .and_then(|n| cx.duration("interval", n, owner, *INTERVAL)),
                timeout: field("timeout").and_then(|n| cx.duration("timeout", n, owner, *TIMEOUT)),
                retry_interval: field("retry_interval")
                    .and_then(|n| cx.duration("retry_interval", n, owner, *INTERVAL)),
                attempts: field("attempts").and_then(|n| whole("attempts", n, owner, cx)),
            },
            enabled: field("enabled").and_then(|n| cx.boolean("enabled", n, owner)),
            timeout_status: field("timeout_status").and_then(|n| timeout_status(n, owner, cx)),
            exclusive: field("exclusive")
                .and_then(|n| groups::exclusive(n, owner, cx, |_, node| Some(Cow::Borrowed(node)))),
            max_parallel: field("max_parallel").and_then(|n| whole("max_parallel", n, owner, cx)),
            needs: field("needs").and_then(|n| Some((needs::text(n, &owner, cx)?, n.span))),
            labels,
            options,
        }
    }

    /// What it says for a check of this plugin, as `interval` or `config.port`, and where.
    pub fn keys(&self, plugin: &str) -> Vec<(String, Span)> {
        let mut keys = Vec::new();
        for entry in &self.table.entries {
            let inner = match (entry.key.as_str(), &entry.node.value) {
                ("config", _) => self.options(plugin),
                ("labels", Value::Table(labels)) => Some(labels),
                _ => {
                    keys.push((entry.key.clone(), entry.key_span));
                    continue;
                }
            };
            let inner = inner.into_iter().flat_map(|table| &table.entries);
            keys.extend(inner.map(|e| (format!("{}.{}", entry.key, e.key), e.key_span)));
        }
        keys
    }

    pub fn options(&self, plugin: &str) -> Option<&'a Table> {
        self.options
            .iter()
            .find(|(entry, _)| entry.key == plugin)
            .map(|(_, table)| *table)
    }
}

/// A whole number of a check.
pub fn whole(
    key: &str,
    node: &Node,
    owner: &dyn fmt::Display,
    cx: &mut Reading<'_>,
) -> Option<u32> {
    let (least, most) = Section::Check.integers(key);
    let n = cx.integer(key, node, owner, least, most)?;
    u32::try_from(n).ok()
}

pub fn timeout_status(
    node: &Node,
    owner: &dyn fmt::Display,
    cx: &mut Reading<'_>,
) -> Option<TimeoutStatus> {
    let word = cx.word("timeout_status", node, owner, &TimeoutStatus::NAMES)?;
    TimeoutStatus::from_name(word)
}

pub fn read_labels<'n>(
    node: &'n Node,
    labels: &mut BTreeMap<String, String>,
    owner: &dyn fmt::Display,
    cx: &mut Reading<'_>,
    mut expand: impl FnMut(&mut Reading<'_>, &'n Node) -> Option<Cow<'n, Node>>,
) {
    let Value::Table(table) = &node.value else {
        let _: Option<()> = cx.wrong_type("labels", node, owner, "a table", "{ team = \"web\" }");
        return;
    };
    for entry in &table.entries {
        let key = &entry.key;
        let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.len() <= 64
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !plain {
            let e = error(format!(
                "`{}` cannot be the name of a label of {owner}",
                shortened(key)
            ));
            let help = "use letters, digits and _ . -, a letter first, at most 64 bytes";
            cx.push(e.at(entry.key_span).help(help).once("label"));
            continue;
        }
        let Some(value) = expand(cx, &entry.node) else {
            continue;
        };
        // A number is welcome where it comes out of a placeholder; written by hand it is text.
        let text = match (&value.value, &value) {
            (Value::Str(s), _) => Some(s.clone()),
            (other, Cow::Owned(_)) => scalar(other),
            _ => None,
        };
        match text {
            Some(text) if text.len() > LABEL_MAX => {
                let e = error(format!(
                    "label `{key}` of {owner} is {} bytes long",
                    text.len()
                ));
                let help = format!("a label has at most {LABEL_MAX} bytes");
                cx.push(e.at(entry.node.span).help(help).once("label"));
            }
            Some(text) => {
                labels.insert(key.clone(), text);
            }
            None => {
                let example = scalar(&entry.node.value).unwrap_or_else(|| "...".into());
                let _: Option<()> = cx.wrong_type(
                    key,
                    &value,
                    format!("the labels of {owner}"),
                    "a string",
                    &format!("\"{example}\""),
                );
            }
        }
    }
    if labels.len() > LABELS_MAX {
        let e = error(format!("{owner} has {} labels", labels.len()));
        cx.push(
            e.at(node.span)
                .help(format!("a check has at most {LABELS_MAX}"))
                .once("labels"),
        );
    }
}

/// Also of `retry_interval`.
pub static INTERVAL: LazyLock<DurationLimits> =
    LazyLock::new(|| Section::Check.durations("interval"));
pub static TIMEOUT: LazyLock<DurationLimits> =
    LazyLock::new(|| Section::Check.durations("timeout"));
const LABELS_MAX: usize = 32;
const LABEL_MAX: usize = 256;
