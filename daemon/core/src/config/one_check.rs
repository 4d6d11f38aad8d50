//! One check of a `[[check]]` block: its keys over the defaults, its placeholders filled in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::alert_keys::CheckAlerts;
use super::checks::{Owner, Plugin};
use super::defaults::{Defaults, INTERVAL, TIMEOUT, Timing, read_labels, timeout_status, whole};
use super::groups;
use super::model::{CheckSpec, Group, Layer, NAME_MAX, Source};
use super::needs::{self, Written};
use super::options::{Options, Plan, Secrets, Variables, template_error};
use super::probes::Probe;
use super::raw::{Node, RawCheck, Value, shortened};
use super::readers::PUBLIC_LABEL;
use super::reading::Reading;
use super::report::{error, warning};
use super::slo;
use super::source::Span;
use super::template::{Filled, Template, scalar};
use crate::text::is_unsafe;
use healthd_units::duration;

/// Makes the checks of one block.
pub struct OneCheck<'b> {
    pub block: &'b RawCheck,
    pub layers: &'b [&'b Defaults<'b>],
    pub plugin: &'b Plugin<'b>,
    pub plugin_name: &'b str,
    pub plan: Option<Plan<'b>>,
    pub source: Source,
    pub name_template: Name,
    pub from: Arc<[Layer]>,
    pub probe: Option<Probe>,
}

/// The `name` of a block.
pub enum Name {
    /// As it is written.
    Plain,
    Template(Template),
    /// Reported.
    Wrong,
}

/// What became of one check.
pub enum Made {
    /// With the place of its name, and where its `needs` is written.
    Check(Box<CheckSpec>, Span, Option<Written>),
    /// Reported. Its name, if it has one, is taken all the same.
    Wrong(Option<(String, Span)>),
}

impl OneCheck<'_> {
    pub fn make(&mut self, variables: Option<Variables<'_>>, cx: &mut Reading<'_>) -> Made {
        let name = self.name(variables, cx);
        let check = self.judge(name.as_ref().map(|(name, _)| name.as_str()), variables, cx);
        match (check, name) {
            (Some(check), Some((_, span))) => {
                let own = self.block.table.get("needs");
                let default = self.layers.iter().rev().find_map(|d| d.needs.as_ref());
                // What a template or a host says, it says of all its checks.
                let shared = self
                    .block
                    .from
                    .iter()
                    .any(|l| l.keys.iter().any(|k| k == "needs"));
                let needs = match (own, default) {
                    (Some(entry), _) if shared => Some(Written::Defaults(entry.node.span)),
                    (Some(entry), _) => Some(Written::Check(entry.node.span)),
                    (None, default) => default.map(|(_, span)| Written::Defaults(*span)),
                };
                Made::Check(Box::new(check), span, needs)
            }
            (_, name) => Made::Wrong(name),
        }
    }

    /// A check without a name that can be read is still judged in full.
    fn judge(
        &mut self,
        name: Option<&str>,
        variables: Option<Variables<'_>>,
        cx: &mut Reading<'_>,
    ) -> Option<CheckSpec> {
        let owner = name.map_or(Owner::Block(&self.block.label), Owner::Check);
        let table = &self.block.table;
        let field = |key: &str, cx: &mut Reading<'_>| {
            table
                .get(key)
                .and_then(|e| expand(key, &e.node, variables, &owner, cx))
        };
        let own = Timing {
            interval: field("interval", cx)
                .and_then(|n| cx.duration("interval", &n, owner, *INTERVAL)),
            timeout: field("timeout", cx).and_then(|n| cx.duration("timeout", &n, owner, *TIMEOUT)),
            retry_interval: field("retry_interval", cx)
                .and_then(|n| cx.duration("retry_interval", &n, owner, *INTERVAL)),
            attempts: field("attempts", cx).and_then(|n| whole("attempts", &n, &owner, cx)),
        };
        let title = field("title", cx).and_then(|n| title(&n, &owner, cx));
        let enabled = field("enabled", cx).and_then(|n| cx.boolean("enabled", &n, owner));
        let timeout_status =
            field("timeout_status", cx).and_then(|n| timeout_status(&n, &owner, cx));

        let exclusive = table.get("exclusive").and_then(|e| {
            groups::exclusive(&e.node, &owner, cx, |cx, node| {
                expand("exclusive", node, variables, &owner, cx)
            })
        });
        let own_limit =
            field("max_parallel", cx).and_then(|n| whole("max_parallel", &n, &owner, cx));
        // An empty one switches off what the defaults say.
        let needs = field("needs", cx).map(|n| match &n.value {
            Value::Str(none) if none.is_empty() => String::new(),
            _ => needs::text(&n, &owner, cx).unwrap_or_default(),
        });

        let slo = field("slo", cx).and_then(|n| slo::of_check(&n, &owner, cx));
        let in_full = |key: &str, cx: &mut Reading<'_>| {
            let entry = table.get(key)?;
            expand_all(key, &entry.node, variables, &owner, cx)
        };
        let alerts = CheckAlerts::read(&in_full, &owner, cx);
        // The strongest last: main file, this file, the check.
        let layers = || self.layers.iter().rev();
        let interval = own
            .interval
            .or_else(|| layers().find_map(|d| d.timing.interval))
            .unwrap_or(DEFAULT_INTERVAL);
        let plugin_timeout = match self.plugin {
            // A plugin may leave it to us.
            Plugin::Usable(info, _) if !info.default_timeout.is_zero() => info.default_timeout,
            _ => DEFAULT_TIMEOUT,
        };
        let timeout = own
            .timeout
            .or_else(|| layers().find_map(|d| d.timing.timeout))
            .unwrap_or(plugin_timeout);
        let retry_interval = own
            .retry_interval
            .or_else(|| layers().find_map(|d| d.timing.retry_interval))
            .unwrap_or(interval.min(DEFAULT_RETRY));
        if let (Some(retry), Some(entry)) = (own.retry_interval, table.get("retry_interval"))
            && retry > interval
        {
            let w = warning(format!(
                "`retry_interval` of {owner} is longer than its `interval`"
            ));
            let help = "a failing check is then asked less often than a healthy one";
            cx.push(
                w.at(entry.node.span)
                    .help(help)
                    .code("retry-over-interval")
                    .once("retry"),
            );
        }
        if timeout > interval
            && let Some(entry) = table.get("timeout").filter(|_| own.timeout.is_some())
        {
            let w = warning(format!(
                "`timeout` of {owner} is longer than its `interval` of {}",
                duration::show(interval)
            ));
            let help = "a run that takes longer than the interval keeps the next from starting: \
                        give it a shorter timeout or a longer interval";
            cx.push(
                w.at(entry.node.span)
                    .help(help)
                    .code("timeout-over-interval")
                    .once("timeout"),
            );
        }
        let attempts = own
            .attempts
            .or_else(|| layers().find_map(|d| d.timing.attempts))
            .unwrap_or(DEFAULT_ATTEMPTS);
        let enabled = enabled
            .or_else(|| layers().find_map(|d| d.enabled))
            .unwrap_or(true);
        let timeout_status = timeout_status
            .or_else(|| layers().find_map(|d| d.timeout_status))
            .unwrap_or_default();

        let exclusive = exclusive
            .or_else(|| layers().find_map(|d| d.exclusive.clone()))
            .unwrap_or_default();
        if let (Some(_), Some(entry), None) = (own_limit, table.get("max_parallel"), variables) {
            let w = warning(format!(
                "`max_parallel` of {owner} has no effect: its block makes one check"
            ));
            let help = "it limits the checks of one block with `for_each`; for checks of several blocks write `exclusive = \"GROUP\"`";
            cx.push(
                w.at(entry.node.span)
                    .help(help)
                    .code("no-effect")
                    .once("max_parallel"),
            );
        }
        let mut groups: Vec<Group> = exclusive.into_iter().map(Group::exclusive).collect();
        if let (Some(most), Some(_), Some(entry)) = (
            own_limit.or_else(|| layers().find_map(|d| d.max_parallel)),
            variables,
            table.get("name"),
        ) && let Value::Str(block) = &entry.node.value
        {
            groups.push(Group::block(block.clone(), most));
        }
        let needs = needs
            .or_else(|| layers().find_map(|d| Some(d.needs.as_ref()?.0.clone())))
            .filter(|text| !text.is_empty());

        let mut labels = BTreeMap::new();
        for layer in self.layers {
            labels.extend(layer.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        if let Some(entry) = table.get("labels") {
            read_labels(&entry.node, &mut labels, &owner, cx, |cx, node| {
                expand("labels", node, variables, &owner, cx)
            });
        }

        // Shown on the public page, in this group: a label, so that whatever knows labels knows it.
        if let Some(group) = field("public", cx).and_then(|n| cx.text("public", &n, owner)) {
            labels.insert(PUBLIC_LABEL.to_owned(), group);
        }

        let secrets = match self.plugin {
            Plugin::Usable(..) if enabled => Secrets::Read,
            _ => Secrets::Leave,
        };
        let Options { config, shown } = self.plan.as_mut()?.fill(variables, secrets, &owner, cx)?;
        let unusable = match self.plugin {
            Plugin::Usable(..) | Plugin::Unjudged => None,
            Plugin::Unusable(reason) => Some(reason.clone()),
            Plugin::Wrong => return None,
        };
        Some(CheckSpec {
            name: name?.to_owned(),
            title: title.unwrap_or_default(),
            plugin: self.plugin_name.to_owned(),
            interval,
            timeout,
            retry_interval,
            attempts,
            enabled,
            timeout_status,
            groups,
            // As it is written; names of checks take its place.
            needs: needs.into_iter().collect(),
            labels,
            alerts,
            probe: self.probe,
            slo,
            config,
            shown_config: shown,
            unusable,
            source: self.source.clone(),
            from: Arc::clone(&self.from),
        })
    }

    fn name(
        &self,
        variables: Option<Variables<'_>>,
        cx: &mut Reading<'_>,
    ) -> Option<(String, Span)> {
        let owner = Owner::Block(&self.block.label);
        let entry = self.block.table.get("name")?;
        let span = entry.node.span;
        let name = match (&self.name_template, variables) {
            (Name::Wrong, _) => return None,
            (Name::Template(template), Some(v)) => match template.fill(v.cells, v.names) {
                Ok(Filled::Text(text)) => text,
                Ok(Filled::Int(n)) => n.to_string(),
                Ok(Filled::Node(node)) => match scalar(&node.value) {
                    Some(text) => text,
                    None => {
                        let e = error(format!("`name` of {owner} would be {}", node.kind()));
                        cx.push(
                            e.at(span)
                                .help("a name is made of texts and numbers")
                                .once("name"),
                        );
                        return None;
                    }
                },
                Err(e) => {
                    cx.push(template_error(e, "`name`", &owner).at(span));
                    return None;
                }
            },
            _ => match &entry.node.value {
                Value::Str(text) => text.clone(),
                _ => return cx.wrong_type("name", &entry.node, owner, "a string", "\"web\""),
            },
        };
        let refused = |c: char| is_unsafe(c) || "*?[]{}".contains(c);
        let finding = if name.is_empty() {
            error(format!("`name` of {owner} is empty")).help("give the check a name")
        } else if let Some(bad) = name.chars().find(|c| refused(*c)) {
            error(format!(
                "the name `{}` holds {}",
                shortened(&name),
                spoken(bad)
            ))
            .help(match bad {
                '{' | '}' if variables.is_none() => {
                    "placeholders need a `for_each` in the same check"
                }
                '*' | '?' | '[' | ']' => {
                    "`healthctl` chooses checks by patterns, in which it stands for other characters"
                }
                _ => "write the name in letters, digits, blanks and punctuation",
            })
        } else if name.trim() != name {
            error(format!(
                "the name `{}` begins or ends with a blank",
                shortened(&name)
            ))
            .help(format!("write `{}`", shortened(name.trim())))
        } else if name.len() > NAME_MAX {
            error(format!(
                "the name `{}` is {} bytes long",
                shortened(&name),
                name.len()
            ))
            .help(format!("a name has at most {NAME_MAX} bytes"))
        } else {
            return Some((name, span));
        };
        cx.push(finding.at(span).code("bad-name").once("name"));
        None
    }
}

/// What people call a check: one line, of any characters that can be seen.
fn title(node: &Node, owner: &dyn fmt::Display, cx: &mut Reading<'_>) -> Option<String> {
    let text = match &node.value {
        Value::Str(text) => text.trim().to_owned(),
        Value::Int(n) => n.to_string(),
        _ => return cx.wrong_type("title", node, owner, "a string", "\"The shop: front page\""),
    };
    let finding = if let Some(bad) = text.chars().find(|c| is_unsafe(*c)) {
        error(format!("`title` of {owner} holds {}", spoken(bad)))
            .help("a title is one line of text")
    } else if text.len() > NAME_MAX {
        error(format!("`title` of {owner} is {} bytes long", text.len()))
            .help(format!("a title has at most {NAME_MAX} bytes"))
    } else {
        return Some(text);
    };
    cx.push(finding.at(node.span).once("title"));
    None
}

fn spoken(c: char) -> String {
    match c {
        c if is_unsafe(c) => format!("a control character (U+{:04X})", c as u32),
        c => format!("`{c}`"),
    }
}

/// A value of the block with its placeholders filled in.
fn expand<'n>(
    key: &str,
    node: &'n Node,
    variables: Option<Variables<'_>>,
    owner: &dyn fmt::Display,
    cx: &mut Reading<'_>,
) -> Option<Cow<'n, Node>> {
    let (Value::Str(text), Some(v)) = (&node.value, variables) else {
        return Some(Cow::Borrowed(node));
    };
    let filled = match Template::parse(text, v.names) {
        Ok(None) => return Some(Cow::Borrowed(node)),
        Ok(Some(template)) => template.fill(v.cells, v.names),
        Err(e) => Err(e),
    };
    let value = match filled {
        Ok(Filled::Text(s)) => Value::Str(s),
        Ok(Filled::Int(n)) => Value::Int(n),
        Ok(Filled::Node(found)) => found.value.clone(),
        Err(e) => {
            cx.push(template_error(e, &format!("`{key}`"), owner).at(node.span));
            return None;
        }
    };
    Some(Cow::Owned(Node {
        span: node.span,
        value,
    }))
}

/// The same of all that is in it.
fn expand_all<'n>(
    key: &str,
    node: &'n Node,
    variables: Option<Variables<'_>>,
    owner: &dyn fmt::Display,
    cx: &mut Reading<'_>,
) -> Option<Cow<'n, Node>> {
    let mut each = |node: &Node| {
        let filled = expand_all(key, node, variables, owner, cx)?;
        Some(filled.into_owned())
    };
    let value = match &node.value {
        _ if variables.is_none() => return Some(Cow::Borrowed(node)),
        Value::Array(items) => Value::Array(items.iter().map(each).collect::<Option<_>>()?),
        Value::Table(table) => {
            let mut table = table.clone();
            for entry in &mut table.entries {
                entry.node = each(&entry.node)?;
            }
            Value::Table(table)
        }
        _ => return expand(key, node, variables, owner, cx),
    };
    Some(Cow::Owned(Node {
        span: node.span,
        value,
    }))
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_RETRY: Duration = Duration::from_secs(10);
const DEFAULT_ATTEMPTS: u32 = 3;
/// Where the plugin has none, and until it is known.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
