//! The whole config as a JSON Schema (2020-12), for editors: the table of keys, each with its type and meaning, and the
//! options of each plugin as its own schema has them.
//!
//! An editor sees one file, and neither templates nor `[defaults]` in another one. So nothing is required here that may
//! come from there, and a value may be a placeholder or name a secret wherever it may be one in the config. What a
//! reload would refuse beyond that is told by `validate`.

use serde_json::{Map, Value, json};

use super::catalog::{Class, PluginInfo};
use super::keys::{Grammar, Key, Section};

/// Of a config file, the main one or one of `checks.d`.
pub fn of_config(plugins: &[PluginInfo]) -> Value {
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
    let mut check = with_options(Section::Check);
    check["required"] = json!(["name"]);
    check["anyOf"] = json!([{ "required": ["plugin"] }, { "required": ["use"] }]);
    let mut host = with_options(Section::Host);
    host["required"] = json!(["name"]);
    let mut notify = with_options(Section::Notify);
    notify["required"] = json!(["plugin"]);
    let mut maintenance = with_options(Section::Maintenance);
    maintenance["required"] = json!(["match", "when"]);
    defs.insert("host-check".into(), with_options(Section::HostCheck));
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

    let mut defaults = table(Section::Defaults);
    let of_plugins: Map<String, Value> = (plugins.iter())
        .map(|p| (p.name.clone(), options_of(&p.name)))
        .collect();
    let config = &mut defaults["properties"]["config"];
    config["properties"] = of_plugins.into();
    config["additionalProperties"] = false.into();
    let mut pool = table(Section::Pool);
    pool["additionalProperties"] = table(Section::PoolGroup);

    let mut sections = Map::new();
    for section in Section::ON_TOP {
        let rule = match section {
            Section::Pool => pool.take(),
            Section::Defaults => defaults.take(),
            Section::Check => list(
                check.take(),
                "One block for each check, or for each list of checks.",
            ),
            Section::Host => list(
                host.take(),
                "Makes a check of each of its `checks`, called HOST/NAME.",
            ),
            Section::Template => json!({
                "type": "object",
                "additionalProperties": with_options(section),
                "description": "Keys that checks share; they take them with `use`.",
            }),
            Section::Notify => list(notify.take(), "Who is told of problems and of their end."),
            Section::Maintenance => list(maintenance.take(), "Planned times without alerts."),
            _ => table(section),
        };
        sections.insert(section.word().to_owned(), rule);
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

/// Whether strings of the section may have placeholders.
fn is_filled(section: Section) -> bool {
    matches!(
        section,
        Section::Check | Section::Host | Section::HostCheck | Section::Template
    )
}

fn table(section: Section) -> Value {
    let as_written = ["name", "plugin", "use", "checks", "for_each"];
    let property = |key: &'static Key| {
        let mut rule = rule(key.grammar);
        if is_filled(section) && !as_written.contains(&key.name) {
            rule = or_placeholder(rule);
        }
        rule["description"] = key.described().into();
        (key.name.to_owned(), rule)
    };
    let properties: Map<String, Value> = section.rows().map(property).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A block that may name its plugin: `config` is what that takes.
fn with_options(section: Section) -> Value {
    let mut block = table(section);
    let Some(plugin) = section.row("plugin") else {
        return block;
    };
    let (names, options) = match section {
        Section::Notify => ("notifiers", "of-notifiers"),
        _ => ("plugins", "of-plugins"),
    };
    let place = |name: &str| json!(format!("#/$defs/{name}"));
    block["properties"]["plugin"] = json!({ "$ref": place(names), "description": plugin.about });
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

fn texts() -> Value {
    json!({ "type": "array", "items": text() })
}

fn any_of(ways: impl Into<Vec<Value>>) -> Value {
    json!({ "anyOf": ways.into() })
}

fn integer(least: i64, most: i64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn rule(grammar: Grammar) -> Value {
    let duration = || json!({ "type": "string", "pattern": DURATION });
    let rate = || json!({ "type": "string", "pattern": "^[0-9]+/[0-9]*(s|m|h|d)$" });
    let only = |word: &str| json!({ "const": word });
    let none = || json!({ "const": 0 });
    match grammar {
        Grammar::Text | Grammar::Path => text(),
        Grammar::Texts => texts(),
        Grammar::TextOrTexts => any_of([text(), texts()]),
        Grammar::TextByName => json!({ "type": "object", "additionalProperties": text() }),
        Grammar::Boolean => json!({ "type": "boolean" }),
        Grammar::Integer(least, most) => integer(least, most),
        Grammar::IntegerOrAuto(least, most) => any_of([only("auto"), integer(least, most)]),
        Grammar::Count(least) => any_of([none(), json!({ "type": "integer", "minimum": least })]),
        Grammar::Duration(..) | Grammar::AnyDuration => duration(),
        Grammar::DurationOrNever => any_of([only("never"), duration()]),
        Grammar::Size(_) => any_of([none(), text()]),
        Grammar::Rate => rate(),
        Grammar::RateOrNever => any_of([only("never"), rate()]),
        Grammar::Share => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
        Grammar::Word(words) => json!({ "enum": words }),
        Grammar::WordOrWords(words) => {
            let word = json!({ "enum": words });
            any_of([word.clone(), json!({ "type": "array", "items": word })])
        }
        Grammar::Secret => secret(),
        Grammar::Options | Grammar::OptionsByPlugin => json!({ "type": "object" }),
        Grammar::Section(section) => table(section),
        Grammar::HostChecks => {
            let items = any_of([text(), json!({ "$ref": "#/$defs/host-check" })]);
            json!({ "type": "array", "items": items })
        }
        Grammar::ForEach => json!({ "type": ["string", "array", "object"] }),
        Grammar::Action => any_of([texts(), json!({ "type": "object" })]),
    }
}

/// `1m30s`, `1.5h`.
const DURATION: &str = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plugin(name: &str, class: Class, schema: Value) -> PluginInfo {
        PluginInfo {
            name: name.into(),
            version: "1".into(),
            summary: format!("the {name}"),
            file: name.into(),
            class,
            default_timeout: Duration::ZERO,
            schema: schema.into(),
        }
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
        let whole = of_config(&[plugin("web", Class::Io, schema)]);
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
        let whole = of_config(&[
            plugin("web", Class::Io, json!({})),
            plugin("mail", Class::Notify, json!({})),
        ]);
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
