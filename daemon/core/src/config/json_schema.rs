//! The whole config as a JSON Schema (2020-12), for editors: the keys of `raw`, each with its type and meaning, and the
//! options of each plugin as its own schema has them.
//!
//! An editor sees one file, and neither templates nor `[defaults]` in another one. So nothing is required here that may
//! come from there, and a value may be a placeholder or name a secret wherever it may be one in the config. What a
//! reload would refuse beyond that is told by `validate`.

use serde_json::{Map, Value, json};

use super::catalog::{Class, PluginInfo};
use super::push::PUSH_KEYS;
use super::raw;
use super::readers::{HISTORY_KEYS, WEB_KEYS};

/// The keys that the crate of alerts knows.
#[derive(Clone, Copy, Debug)]
pub struct AlertKeys<'a> {
    pub notify: &'a [&'a str],
    pub maintenance: &'a [&'a str],
}

/// Of a config file, the main one or one of `checks.d`.
pub fn of_config(plugins: &[PluginInfo], alerts: AlertKeys<'_>) -> Value {
    let (notifiers, checks): (Vec<&PluginInfo>, Vec<&PluginInfo>) =
        plugins.iter().partition(|p| p.class == Class::Notify);
    let mut defs = Map::new();
    for plugin in plugins {
        let place = format!("options-{}", plugin.name);
        let root = format!("#/$defs/{place}");
        let mut options = taken(&plugin.schema, &root);
        if let Some(object) = options.as_object_mut() {
            object.insert("description".into(), plugin.summary.clone().into());
        }
        defs.insert(place, options);
    }
    let mut check = with_options(&raw::CHECK_KEYS, Section::Check);
    check["required"] = json!(["name"]);
    check["anyOf"] = json!([{ "required": ["plugin"] }, { "required": ["use"] }]);
    let of_host = with_options(&raw::HOST_CHECK_KEYS, Section::HostCheck);
    let mut host = with_options(&raw::HOST_KEYS, Section::Host);
    host["required"] = json!(["name"]);
    let template = with_options(&raw::TEMPLATE_KEYS, Section::Template);
    let mut notify = with_options(alerts.notify, Section::Notify);
    notify["required"] = json!(["plugin"]);
    let mut maintenance = table(alerts.maintenance, Section::Maintenance);
    maintenance["required"] = json!(["match", "when"]);
    defs.insert("host-check".into(), of_host);
    for (plugins, names, options) in [
        (&checks, "plugins", "of-plugins"),
        (&notifiers, "notifiers", "of-notifiers"),
    ] {
        let (known, each) = by_name(plugins);
        defs.insert(names.into(), known);
        defs.insert(options.into(), each);
    }
    defs.extend(shared().map(|(name, rule)| (name.to_owned(), rule)));
    let list =
        |of: Value, about: &str| json!({ "type": "array", "items": of, "description": about });

    let mut defaults = table(&raw::DEFAULTS_KEYS, Section::Defaults);
    let of_plugins: Map<String, Value> = (plugins.iter())
        .map(|p| (p.name.clone(), options_of(&p.name)))
        .collect();
    defaults["properties"]["config"] = json!({
        "type": "object",
        "properties": of_plugins,
        "additionalProperties": false,
        "description": meaning(Section::Defaults, "config").1,
    });
    let mut pool = table(&raw::POOL_KEYS, Section::Pool);
    for (name, keys, section) in [
        ("io", &raw::IO_KEYS[..], Section::IoPool),
        ("cpu", &raw::CPU_KEYS, Section::CpuPool),
        ("exec", &raw::EXEC_KEYS, Section::ExecPool),
    ] {
        pool["properties"][name] = table(keys, section);
    }
    pool["additionalProperties"] = table(&raw::POOL_GROUP_KEYS, Section::PoolGroup);

    let mut sections = json!({
        "daemon": table(&raw::DAEMON_KEYS, Section::Daemon),
        "users": table(&raw::USERS_KEYS, Section::Users),
        "pool": pool,
        "web": table(&WEB_KEYS, Section::Web),
        "push": table(&PUSH_KEYS, Section::Push),
        "history": table(&HISTORY_KEYS, Section::History),
        "defaults": defaults,
        "check": list(check, "One block for each check, or for each list of checks."),
        "host": list(host, "Makes a check of each of its `checks`, called HOST/NAME."),
        "template": {
            "type": "object",
            "additionalProperties": template,
            "description": "Keys that checks share; they take them with `use`.",
        },
        "notify": list(notify, "Who is told of problems and of their end."),
        "maintenance": list(maintenance, "Planned times without alerts."),
    });
    // One that nobody has described here may hold anything.
    for section in raw::MAIN_SECTIONS {
        if sections[section].is_null() {
            sections[section] = json!({});
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "healthd",
        "description": "The configuration of healthd: healthd.toml, and checks.d/*.toml beside it.",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
        "$defs": defs,
    })
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Daemon,
    Users,
    Pool,
    PoolGroup,
    IoPool,
    CpuPool,
    ExecPool,
    Web,
    Push,
    History,
    Defaults,
    Check,
    Host,
    HostCheck,
    Template,
    Notify,
    Maintenance,
}

impl Section {
    /// Whether its strings may have placeholders.
    fn is_filled(self) -> bool {
        matches!(
            self,
            Section::Check | Section::Host | Section::HostCheck | Section::Template
        )
    }
}

fn table(keys: &[&str], section: Section) -> Value {
    let properties: Map<String, Value> = (keys.iter())
        .map(|key| {
            let (rule, about) = meaning(section, key);
            let filled = section.is_filled() && !["name", "plugin", "use", "checks"].contains(key);
            let mut rule = match filled && *key != "for_each" {
                true => or_placeholder(rule),
                false => rule,
            };
            if let (Some(object), false) = (rule.as_object_mut(), about.is_empty()) {
                object.insert("description".into(), about.into());
            }
            ((*key).to_owned(), rule)
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A block that names its plugin: `config` is what that takes.
fn with_options(keys: &[&str], section: Section) -> Value {
    let mut block = table(keys, section);
    if !keys.contains(&"plugin") {
        return block;
    }
    let about = meaning(section, "plugin").1;
    let (names, options) = match section {
        Section::Notify => ("notifiers", "of-notifiers"),
        _ => ("plugins", "of-plugins"),
    };
    let place = |name: &str| json!(format!("#/$defs/{name}"));
    block["properties"]["plugin"] = json!({ "$ref": place(names), "description": about });
    block["allOf"] = json!([{ "$ref": place(options) }]);
    block
}

/// Their names, and which options go with which name.
fn by_name(plugins: &[&PluginInfo]) -> (Value, Value) {
    let names: Vec<Value> = (plugins.iter())
        .map(|p| json!({ "const": p.name, "description": p.summary }))
        .collect();
    let options: Vec<Value> = (plugins.iter())
        .map(|p| {
            json!({
                "if": { "properties": { "plugin": { "const": p.name } }, "required": ["plugin"] },
                "then": { "properties": { "config": options_of(&p.name) } },
            })
        })
        .collect();
    (json!({ "oneOf": names }), json!({ "allOf": options }))
}

fn options_of(plugin: &str) -> Value {
    json!({ "$ref": format!("#/$defs/options-{plugin}") })
}

/// A plugin's schema as an editor may hold a file against it; `root`: where it stands.
fn taken(schema: &Value, root: &str) -> Value {
    let Value::Object(from) = schema else {
        return schema.clone();
    };
    let mut to = Map::new();
    for (key, value) in from {
        let value = match (key.as_str(), value) {
            // May come from [defaults], or from a template.
            ("required", _) => continue,
            ("$ref", Value::String(place)) => place.replacen('#', root, 1).into(),
            ("properties" | "$defs", Value::Object(parts)) => (parts.iter())
                .map(|(name, part)| (name.clone(), taken(part, root)))
                .collect::<Map<_, _>>()
                .into(),
            ("items" | "additionalProperties", part) => taken(part, root),
            // What is filled in later may fit several.
            ("oneOf" | "anyOf", Value::Array(parts)) => {
                let parts: Vec<Value> = parts.iter().map(|part| taken(part, root)).collect();
                to.insert("anyOf".into(), parts.into());
                continue;
            }
            ("allOf", Value::Array(parts)) => (parts.iter())
                .map(|part| taken(part, root))
                .collect::<Vec<_>>()
                .into(),
            (_, value) => value.clone(),
        };
        to.insert(key.clone(), value);
    }
    let is_leaf = !["properties", "$ref", "anyOf", "allOf", "items"]
        .iter()
        .any(|key| to.contains_key(*key));
    let is_table = from.get("type") == Some(&json!("object"));
    if !is_leaf || is_table || from.is_empty() {
        return to.into();
    }
    // `description` and `default` are told of the whole, the rest is one of the ways to write it.
    let mut whole = Map::new();
    for key in ["description", "title", "default"] {
        whole.extend(to.remove(key).map(|value| (key.to_owned(), value)));
    }
    if to.get("format") == Some(&json!("duration")) {
        to.insert("pattern".into(), DURATION.into());
    }
    let mut ways = vec![Value::Object(to), placeholder()];
    if may_be_text(from) {
        ways.push(secret());
    }
    whole.insert("anyOf".into(), ways.into());
    whole.into()
}

fn may_be_text(leaf: &Map<String, Value>) -> bool {
    match leaf.get("type") {
        Some(Value::String(one)) => one == "string",
        Some(Value::Array(several)) => several.contains(&json!("string")),
        _ => false,
    }
}

fn or_placeholder(rule: Value) -> Value {
    // Where any string goes, one with placeholders does.
    if rule == text() || rule == json!({}) {
        return rule;
    }
    json!({ "anyOf": [rule, placeholder()] })
}

fn placeholder() -> Value {
    json!({ "$ref": "#/$defs/placeholder" })
}

/// `{ credential = "NAME" }` and its like.
fn secret() -> Value {
    json!({ "$ref": "#/$defs/secret" })
}

/// What many places name.
fn shared() -> [(&'static str, Value); 2] {
    let ways: Map<String, Value> = ["credential", "file", "env"]
        .map(|kind| (kind.to_owned(), text()))
        .into_iter()
        .collect();
    let placeholder = json!({ "type": "string", "pattern": "\\{.+\\}" });
    let secret = json!({
        "type": "object",
        "properties": ways,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    [("placeholder", placeholder), ("secret", secret)]
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn integer(least: i64, most: i64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn word(words: &[&str]) -> Value {
    json!({ "enum": words })
}

fn texts() -> Value {
    json!({ "type": "array", "items": text() })
}

fn text_or_texts() -> Value {
    json!({ "anyOf": [text(), texts()] })
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": DURATION })
}

fn duration_or(other: &str) -> Value {
    json!({ "anyOf": [{ "const": other }, duration()] })
}

fn size() -> Value {
    json!({ "anyOf": [{ "const": 0 }, { "type": "string" }] })
}

fn rate() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+/[0-9]*(s|m|h|d)$" })
}

fn any_table() -> Value {
    json!({ "type": "object" })
}

fn strings() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}

/// `1m30s`, `1.5h`.
const DURATION: &str = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$";
const TIMEOUT_STATUS: [&str; 3] = ["critical", "warning", "unknown"];
const VERDICTS: [&str; 3] = ["warning", "critical", "unknown"];

/// The type of a key and what it means. One that is not named here may have any value.
fn meaning(section: Section, key: &str) -> (Value, &'static str) {
    use Section as S;
    match (section, key) {
        (S::Daemon, "plugin_dir") => (text(), "Where the plugins (*.so) are."),
        (S::Daemon, "runtime_dir") => (text(), "Where the control socket and the status maps are."),
        (S::Daemon, "state_dir") => (text(), "What outlives a restart."),
        (S::Daemon, "user") => (text(), "Whom to become when started as root."),
        (S::Daemon, "control_group") => (
            text(),
            "Members of this group may change things through the control socket.",
        ),
        (S::Daemon, "stop_grace") => (
            duration(),
            "How long running checks may go on after a stop was asked for. Default 10s.",
        ),
        (S::Daemon, "start_spread") => (
            duration(),
            "First runs are spread over this time, or over a check's interval if that is shorter. Default 60s.",
        ),
        (S::Daemon, "plugin_watch") => (
            boolean(),
            "Take plugins that are copied, replaced or deleted as it happens. Default true.",
        ),
        (S::Daemon, "plugin_trial") => (
            duration(),
            "For how long a new build of a plugin has to prove itself. Default 30s; 0s: no trial.",
        ),
        (S::Daemon, "require_sandbox") => (
            boolean(),
            "Plugins of others that do not say that they can do with a sandbox are not used. Default false.",
        ),
        (S::Daemon, "log") => (
            text(),
            "off, error, warn, info, debug or trace; also by part: info,healthd_manager=debug.",
        ),
        (S::Users, "worker") => (
            text(),
            "The user of workers, instead of the daemon's own; it takes root.",
        ),
        (S::Users, "exec") => (
            text(),
            "The user of programs that checks run, instead of the daemon's own; it takes root.",
        ),
        (S::Pool, "isolate") => (
            boolean(),
            "Each plugin file that did not come with healthd has workers of its own. Default true.",
        ),
        (S::PoolGroup, "plugins") => (texts(), "These plugins share workers, which run no others."),
        (S::IoPool, "workers") => (integer(1, 64), "Processes for checks that wait. Default 2."),
        (S::IoPool, "threads") => (
            integer(1, 1024),
            "The most threads of one such process, for plugins whose library blocks. Default 64.",
        ),
        (S::CpuPool, "workers") => (
            integer(1, 256),
            "Processes for checks that compute. Default: the number of processors.",
        ),
        (S::ExecPool, "max_parallel") => (
            json!({ "anyOf": [{ "const": "auto" }, integer(1, 4096)] }),
            "The most programs that run at one time. Default auto.",
        ),
        (S::IoPool | S::CpuPool | S::ExecPool, "sandbox") => (
            word(&["on", "off", "auto"]),
            "Workers give up what their checks do not need, as far as the kernel can. Default auto.",
        ),
        (S::IoPool | S::CpuPool | S::ExecPool, "max_rss") => (
            size(),
            "Resident memory at which a worker is replaced. Default 512MiB; 0 is no limit.",
        ),
        (S::IoPool | S::CpuPool | S::ExecPool, "max_fds") => (
            integer(0, i64::from(u32::MAX)),
            "Open descriptors at which a worker is replaced. 0: what the system lets a process have.",
        ),
        (S::IoPool | S::CpuPool | S::ExecPool, "max_runs") => (
            integer(0, i64::MAX),
            "Runs after which a worker is replaced. 0 is no limit.",
        ),
        (S::Web, "listen") => (
            text(),
            "An address with its port, or unix:PATH. Default 127.0.0.1:8420.",
        ),
        (S::Web, "token") => (
            secret(),
            "A bearer token, by where it is: { file = \"PATH\" }, { credential = \"NAME\" } or { env = \"NAME\" }.",
        ),
        (S::Web, "read") => (
            word(&["open", "token"]),
            "token: nobody reads without it. Default open.",
        ),
        (S::Web, "labels") => (
            texts(),
            "Labels of checks that become labels of their metrics.",
        ),
        (S::Web, "max_series") => (
            integer(0, 10_000_000),
            "The most series of plugins' own metrics. Default 100000.",
        ),
        (S::Push, "url") => (
            text(),
            "Where metrics are sent: an http:// or https:// URL. What ends in /v1/metrics takes OTLP, any other remote write.",
        ),
        (S::Push, "format") => (
            word(&["remote-write", "otlp"]),
            "What the receiver takes, where its path does not say so.",
        ),
        (S::Push, "interval") => (duration(), "Between two pictures. Default 15s."),
        (S::Push, "token") => (
            secret(),
            "Sent as a bearer token, or as the password of `user`, by where it is: { file = \"PATH\" }, { credential = \"NAME\" } or { env = \"NAME\" }.",
        ),
        (S::Push, "user") => (text(), "Sent with the token as its password."),
        (S::Push, "ca") => (
            text(),
            "A file with the certificates that are trusted. Default: the machine's.",
        ),
        (S::Push, "labels") => (
            json!({ "type": "object", "additionalProperties": text() }),
            "Of each series, beside its own. Default job = healthd, instance = the host's name.",
        ),
        (S::Push, "traces") => (
            text(),
            "Where some of the runs are sent as traces, as OTLP: an http:// or https:// URL. Without it none is traced.",
        ),
        (S::Push, "sample") => (
            json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
            "Share of the runs that are traced. Default 0.1: one in ten.",
        ),
        (S::History, "max_size") => (
            size(),
            "What the file and its log may have together. Default 1GiB; 0 is no limit.",
        ),
        (S::History, "keep") => (
            texts(),
            "Globs over the metrics of plugins whose values are kept.",
        ),
        (S::Maintenance, "match") | (S::Notify, "match") => (
            text(),
            "Which checks: globs over names, KEY=GLOB over labels; a blank is and, a comma or, ! not.",
        ),
        (S::Maintenance, "when") => (
            text(),
            "Planned times, as in sun 02:00-04:00 Europe/Berlin.",
        ),
        (S::Maintenance, "reason") => (text(), "Why: shown by `alerts`."),
        (S::Notify, "name") => (
            text(),
            "What the route is called; by default as its plugin.",
        ),
        (S::Notify, "plugin") => (text(), "By what it is told."),
        (S::Notify, "enabled") => (
            boolean(),
            "A route that is not enabled tells of no new problem. Default true.",
        ),
        (S::Notify, "on") => (
            json!({ "anyOf": [word(&VERDICTS), { "type": "array", "items": word(&VERDICTS) }] }),
            "Which verdicts are a problem here.",
        ),
        (S::Notify, "wait") => (
            duration(),
            "Problems are collected for so long, and are one message. Default 10s.",
        ),
        (S::Notify, "after") => (
            duration(),
            "Only what is still bad, and not acknowledged, after so long. Default 0s.",
        ),
        (S::Notify, "repeat") => (duration_or("never"), "Told again so often. Default never."),
        (S::Notify, "when") => (
            text(),
            "Times at which it speaks, as in mon-fri 08:00-18:00 Europe/Berlin.",
        ),
        (S::Notify, "by") => (
            text(),
            "check: each has a message of its own; or the name of a label. Default none.",
        ),
        (S::Notify, "limit") => (
            rate(),
            "As 20/10m: what is beyond that joins the next message.",
        ),
        (S::Notify, "backup") => (
            text(),
            "Another route, told as well if this one has failed for 5 minutes.",
        ),
        (S::Notify, "alive") => (
            duration_or("never"),
            "A sign of life, sent so often while no message is overdue.",
        ),
        (S::Notify, "title") => (text(), "Template of the title."),
        (S::Notify, "text") => (text(), "Template of the text."),
        (S::Notify, "config") => (any_table(), "The plugin's options."),
        (S::Host, "name") => (text(), "The host's name."),
        (S::Host, "address") => (text(), "Where it is; the default is its name."),
        (S::Host | S::Template, "checks") => (
            json!({
                "type": "array",
                "items": { "anyOf": [text(), { "$ref": "#/$defs/host-check" }] },
            }),
            "Templates by name, and tables with the keys of a check.",
        ),
        (_, "name") => (
            text(),
            "1 to 255 bytes; no two checks have the same name. As in shop/front page.",
        ),
        (_, "use") => (
            text_or_texts(),
            "The name of a template, or a list of them, the strongest last.",
        ),
        (_, "title") => (text(), "What people call it, shown beside its name."),
        (_, "plugin") => (text(), "What runs it; `healthctl plugins` lists them."),
        (_, "interval") => (
            duration(),
            "From the start of one run to the start of the next. Default 60s.",
        ),
        (_, "timeout") => (
            duration(),
            "How long one run may take. The default is the plugin's own.",
        ),
        (_, "timeout_status") => (
            word(&TIMEOUT_STATUS),
            "What it means that the target did not answer in time. Default critical.",
        ),
        (_, "attempts") => (
            integer(1, 1000),
            "So many results in a row that are not ok turn the verdict. Default 3.",
        ),
        (_, "retry_interval") => (
            duration(),
            "The time to the next run while results speak against the verdict. Default: the interval, at most 10s.",
        ),
        (_, "enabled") => (
            boolean(),
            "One that is not enabled is known and shown, but not run. Default true.",
        ),
        (_, "exclusive") => (
            text_or_texts(),
            "A group, or a list of at most 8: no two checks of a group run at the same time.",
        ),
        (_, "max_parallel") => (
            integer(1, 100_000),
            "At most so many of the checks that this block makes with for_each run at the same time.",
        ),
        (_, "needs") => (
            text(),
            "A check that must be ok for problems of this one to count: the one that watches the uplink.",
        ),
        (_, "labels") => (
            strings(),
            "For people and for what reads the results, and to choose checks by.",
        ),
        (S::Defaults, "config") => (
            any_table(),
            "Options that all checks of one plugin share, by plugin.",
        ),
        (_, "config") => (
            any_table(),
            "The plugin's options; `healthctl plugins show NAME` explains them.",
        ),
        (_, "for_each") => (
            json!({ "type": ["string", "array", "object"] }),
            "Makes many of this block: a list, a range as \"1..10\", a table of lists, or { file = \"hosts.txt\" }.",
        ),
        (_, "recover") => (
            integer(1, 1000),
            "So many oks in a row until a problem is over. Default 1.",
        ),
        (_, "flap") => (
            json!({ "anyOf": [{ "const": "never" }, rate()] }),
            "After so many flips a recovery is believed later in alerts. Default 5/30m.",
        ),
        (_, "invert") => (
            boolean(),
            "It is well while its target is not. Default false.",
        ),
        (_, "runbook") => (
            text(),
            "Where it is written what to do; sent with each alert.",
        ),
        (_, "on_change") => (
            json!({ "anyOf": [texts(), any_table()] }),
            "A program that is run when the verdict changes: a list of words, or a table with argv, on, soft, limit, timeout.",
        ),
        (_, "restart") => (
            text(),
            "A unit of systemd that is restarted when it becomes critical.",
        ),
        (_, "probe") => (
            boolean(),
            "It runs once for each request of /probe, with {target} in its options. Default false.",
        ),
        (S::History, "slo") => (
            strings(),
            "Objectives of several checks together, by match: { \"team=web\" = \"99.9% 30d\" }.",
        ),
        (_, "slo") => (
            text(),
            "How much of which time it should be up, as 99.9% 30d.",
        ),
        (_, "public") => (
            text(),
            "A group of the page /public, which is for everybody.",
        ),
        (S::Notify, "budget") => (
            integer(1, 10_000),
            "So many messages a week are enough: beyond that an event names the noisiest checks.",
        ),
        (S::Web, "targets") => (texts(), "Globs over what /probe may be asked to look at."),
        _ => (json!({}), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ALERTS: AlertKeys<'static> = AlertKeys {
        notify: &["name", "plugin", "config"],
        maintenance: &["match", "when"],
    };

    fn plugin(name: &str, class: Class, schema: Value) -> PluginInfo {
        PluginInfo {
            name: name.into(),
            version: "1".into(),
            summary: format!("the {name}"),
            file: name.into(),
            class,
            default_timeout: Duration::ZERO,
            schema,
        }
    }

    /// Whoever adds a key says here what it means.
    #[test]
    fn each_key_has_a_meaning() {
        let own = [
            (Section::Daemon, &raw::DAEMON_KEYS[..]),
            (Section::Users, &raw::USERS_KEYS),
            (Section::Defaults, &raw::DEFAULTS_KEYS),
            (Section::Check, &raw::CHECK_KEYS),
            (Section::Host, &raw::HOST_KEYS),
            (Section::HostCheck, &raw::HOST_CHECK_KEYS),
            (Section::Template, &raw::TEMPLATE_KEYS),
            (Section::PoolGroup, &raw::POOL_GROUP_KEYS),
            (Section::IoPool, &raw::IO_KEYS),
            (Section::CpuPool, &raw::CPU_KEYS),
            (Section::ExecPool, &raw::EXEC_KEYS),
            (Section::Web, &WEB_KEYS),
            (Section::Push, &PUSH_KEYS),
            (Section::History, &HISTORY_KEYS),
        ];
        let missing: Vec<String> = own
            .into_iter()
            .flat_map(|(section, keys)| keys.iter().map(move |key| (section, *key)))
            .filter(|(section, key)| meaning(*section, key).1.is_empty())
            .map(|(section, key)| format!("{section:?}: {key}"))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn options_may_be_placeholders_and_secrets_and_come_from_elsewhere() {
        let schema = json!({
            "type": "object",
            "required": ["url"],
            "additionalProperties": false,
            "properties": {
                "url": { "type": "string", "minLength": 1, "description": "where" },
                "port": { "type": "integer", "maximum": 65535 },
                "way": { "$ref": "#/$defs/way" },
                "wait": { "type": "string", "format": "duration" },
            },
            "$defs": { "way": { "oneOf": [{ "const": 1 }, { "const": 2 }] } },
        });
        let whole = of_config(&[plugin("web", Class::Io, schema)], ALERTS);
        let options = &whole["$defs"]["options-web"];
        assert_eq!(options["description"], "the web");
        assert!(options.get("required").is_none());
        assert_eq!(options["additionalProperties"], false);
        let url = &options["properties"]["url"];
        assert_eq!(url["description"], "where");
        assert_eq!(
            url["anyOf"],
            json!([{ "type": "string", "minLength": 1 }, placeholder(), secret()])
        );
        let ways = options["properties"]["port"]["anyOf"].as_array();
        assert_eq!(ways.expect("ways to write it").len(), 2);
        assert_eq!(
            options["properties"]["way"]["$ref"],
            "#/$defs/options-web/$defs/way"
        );
        assert_eq!(
            options["properties"]["wait"]["anyOf"][0]["pattern"],
            DURATION
        );
    }

    #[test]
    fn a_route_takes_notifiers_and_a_check_takes_the_others() {
        let whole = of_config(
            &[
                plugin("web", Class::Io, json!({})),
                plugin("mail", Class::Notify, json!({})),
            ],
            ALERTS,
        );
        let names = |names: &str| {
            whole["$defs"][names]["oneOf"].as_array().map(|all| {
                all.iter()
                    .map(|one| one["const"].clone())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(names("plugins"), Some(vec![json!("web")]));
        assert_eq!(names("notifiers"), Some(vec![json!("mail")]));
        let each = &whole["$defs"]["of-plugins"]["allOf"];
        assert_eq!(each[0]["if"]["properties"]["plugin"]["const"], "web");
        let route = &whole["properties"]["notify"]["items"];
        assert_eq!(route["allOf"][0]["$ref"], "#/$defs/of-notifiers");
        let defaults = &whole["properties"]["defaults"]["properties"]["config"];
        assert_eq!(defaults["additionalProperties"], false);
        assert!(defaults["properties"]["web"].is_object());
    }
}
