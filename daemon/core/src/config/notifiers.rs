//! `[[notify]]`, as far as plugins are concerned: each route has one, with options as a check has them. Who is told of
//! what, and when, is read by whoever knows it ([`ReadAlerts`]); here it is only kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::alert_keys::CheckAlerts;
use super::catalog::Class;
use super::checks::{Maker, Owner, Plugin};
use super::defaults::Defaults;
use super::model::{CheckSpec, Source, TimeoutStatus};
use super::options::{Options, Plan, PlanInput, Secrets};
use super::raw::{Entry, Node, RawFile, Table, Value};
use super::reading::Reading;
use super::report::error;
use super::source::Span;

/// Knows the keys of `[[notify]]` and `[[maintenance]]`.
pub trait ReadAlerts {
    /// `entries`: the two keys of each file, in their order. What is wrong goes to `cx`.
    fn read(&self, entries: &[&Entry], checks: &[CheckSpec], cx: &mut Reading<'_>) -> Alerts;
}

/// What was read.
#[derive(Debug, Default)]
pub struct Alerts {
    /// For whoever acts by it.
    pub rules: serde_json::Value,
    pub notifiers: Vec<Notifier>,
}

/// What one route is told by.
#[derive(Clone, Debug)]
pub struct Notifier {
    pub route: String,
    /// What it is called in messages.
    pub label: String,
    pub plugin: String,
    pub plugin_at: Span,
    /// The key `config`.
    pub config: Option<Entry>,
    /// `title`, `text` and `body`, which are options of its plugin.
    pub templates: Vec<Entry>,
    pub block: Span,
}

/// Those that can be used, and where each is written.
pub type Made = (Vec<CheckSpec>, Vec<Span>);

impl Maker<'_> {
    pub(super) fn notifiers(
        &mut self,
        reader: &dyn ReadAlerts,
        files: &[RawFile],
        main: &Defaults<'_>,
        cx: &mut Reading<'_>,
    ) -> (Made, serde_json::Value) {
        let entries: Vec<&Entry> = files.iter().flat_map(|f| &f.alerts).collect();
        if entries.is_empty() {
            return (Made::default(), serde_json::Value::Null);
        }
        let Alerts { rules, notifiers } = reader.read(&entries, &self.checks, cx);
        let mut made = Made::default();
        for notifier in &notifiers {
            let torn = files
                .iter()
                .any(|f| f.torn && f.alerts.iter().any(|e| has(&e.node, notifier.block)));
            if let Some(spec) = self.notifier(notifier, main, torn, cx) {
                made.0.push(spec);
                made.1.push(notifier.block);
            }
        }
        (made, rules)
    }

    fn notifier(
        &mut self,
        notifier: &Notifier,
        main: &Defaults<'_>,
        torn: bool,
        cx: &mut Reading<'_>,
    ) -> Option<CheckSpec> {
        let owner = Owner::Block(&notifier.label);
        let name = &notifier.plugin;
        let (schema, unusable, timeout) = match self.plugin(name, notifier.plugin_at, owner, cx) {
            Plugin::Usable(info, _) if info.class != Class::Notify => {
                let mut known = self.names_of(Class::Notify);
                known.sort_unstable();
                let e = error(format!(
                    "plugin `{name}` of {owner} is for checks, and tells nobody"
                ));
                let help = match known.is_empty() {
                    true => "the plugin folder holds no notifier, such as `mail` or `webhook`"
                        .to_owned(),
                    false => format!("plugins that tell somebody: {}", known.join(", ")),
                };
                cx.push(e.at(notifier.plugin_at).help(help).code("unknown-plugin"));
                return None;
            }
            Plugin::Usable(info, schema) => (Some(schema), None, info.default_timeout),
            Plugin::Unusable(reason) => (None, Some(reason), Duration::ZERO),
            Plugin::Unjudged => (None, None, Duration::ZERO),
            Plugin::Wrong => return None,
        };
        self.use_plugin(name);
        let own = with_templates(notifier);
        let layers: Vec<&Table> = main.options(name).into_iter().collect();
        // Also of a route that is not enabled: it ends what it has told, and it may be a backup.
        let secrets = match &schema {
            Some(_) => Secrets::Read,
            None => Secrets::Leave,
        };
        let input = PlanInput {
            own: own.as_ref(),
            layers: &layers,
            names: None,
            plugin: name,
            schema,
            block: notifier.block,
            torn,
            beside: &[],
        };
        let mut plan = Plan::new(input, &owner, cx)?;
        let Options { config, shown } = plan.fill(None, secrets, &owner, cx)?;
        Some(CheckSpec {
            name: notifier.route.clone(),
            title: String::new(),
            plugin: name.clone(),
            interval: HOUR,
            timeout: match timeout.is_zero() {
                true => DEFAULT_TIMEOUT,
                false => timeout,
            },
            retry_interval: HOUR,
            attempts: 1,
            enabled: true,
            timeout_status: TimeoutStatus::Unknown,
            groups: Vec::new(),
            needs: Vec::new(),
            labels: BTreeMap::new(),
            alerts: CheckAlerts::default(),
            probe: None,
            slo: None,
            config,
            shown_config: shown,
            unusable,
            source: Source {
                file: cx.sources.name(notifier.block.source).to_owned(),
                line: cx.sources.line(notifier.block),
            },
            from: Arc::default(),
        })
    }
}

/// The options as its plugin takes them: its templates are some of them.
fn with_templates(notifier: &Notifier) -> Option<Entry> {
    if notifier.templates.is_empty() {
        return notifier.config.clone();
    }
    let mut entry = notifier.config.clone().unwrap_or_else(|| Entry {
        key: "config".to_owned(),
        key_span: notifier.block,
        node: Node {
            span: notifier.block,
            value: Value::Table(Table::default()),
        },
    });
    if let Value::Table(options) = &mut entry.node.value {
        let own = |key: &str| notifier.templates.iter().any(|t| t.key == key);
        options.entries.retain(|e| !own(&e.key));
        options.entries.extend(notifier.templates.iter().cloned());
    }
    Some(entry)
}

fn has(node: &Node, place: Span) -> bool {
    node.span.source == place.source
}

const HOUR: Duration = Duration::from_secs(3_600);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
