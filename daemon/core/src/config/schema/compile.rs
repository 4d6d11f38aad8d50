//! JSON -> [`Schema`], or why it is broken.

use std::collections::HashMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::{Additional, Ignored, Rule, RuleId, Schema, SchemaError, Type, limits};

impl Schema {
    pub fn compile(schema: &Value) -> Result<Schema, SchemaError> {
        let mut compiler = Compiler {
            root: schema,
            rules: Vec::new(),
            known: HashMap::new(),
            depth: 0,
            ignored: Vec::new(),
        };
        let root = compiler.rule(schema, "")?;
        let schema = Schema {
            rules: compiler.rules,
            root,
            ignored: compiler.ignored,
        };
        schema.refuse_loops()?;
        Ok(schema)
    }

    /// A rule that leads back to itself without going into the value would never end.
    fn refuse_loops(&self) -> Result<(), SchemaError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.rules.len()];
        for start in 0..self.rules.len() {
            // By hand instead of by recursion: a chain of `$ref`s may be as long as the schema.
            let mut stack = vec![(start, 0)];
            while let Some((id, next)) = stack.pop() {
                if next == 0 {
                    if marks[id] != Mark::New {
                        continue;
                    }
                    marks[id] = Mark::Open;
                }
                match self.rules[id].same_value().nth(next) {
                    None => marks[id] = Mark::Done,
                    Some(child) => {
                        stack.push((id, next + 1));
                        match marks[child] {
                            Mark::New => stack.push((child, 0)),
                            Mark::Done => {}
                            Mark::Open => {
                                return Err(SchemaError {
                                    pointer: String::new(),
                                    reason: "a `$ref` leads back to itself".into(),
                                });
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

struct Compiler<'a> {
    root: &'a Value,
    rules: Vec<Rule>,
    /// The rules made so far, by JSON pointer.
    known: HashMap<String, RuleId>,
    depth: u32,
    ignored: Vec<Ignored>,
}

impl Compiler<'_> {
    fn rule(&mut self, schema: &Value, pointer: &str) -> Result<RuleId, SchemaError> {
        if let Some(id) = self.known.get(pointer) {
            return Ok(*id);
        }
        if self.rules.len() >= RULES_MAX {
            return Err(broken(
                pointer,
                format!("the schema has more than {RULES_MAX} parts"),
            ));
        }
        let id = self.rules.len();
        self.rules.push(Rule::default());
        self.known.insert(pointer.to_owned(), id);
        // Every `$ref` may lead one level deeper, so the JSON's own depth is no limit.
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(broken(
                pointer,
                format!("the schema nests more than {DEPTH_MAX} levels deep"),
            ));
        }
        let rule = match schema {
            Value::Bool(fine) => Rule {
                never: !fine,
                ..Rule::default()
            },
            Value::Object(map) => self.object(map, pointer)?,
            other => {
                return Err(broken(
                    pointer,
                    format!("a schema is a table or a boolean, not {}", Type::of(other)),
                ));
            }
        };
        self.depth -= 1;
        self.rules[id] = rule;
        Ok(id)
    }

    fn object(&mut self, map: &Map<String, Value>, at: &str) -> Result<Rule, SchemaError> {
        self.note_ignored(map, at);
        let mut rule = Rule {
            minimum: number(map, "minimum", at)?,
            maximum: number(map, "maximum", at)?,
            above: number(map, "exclusiveMinimum", at)?,
            below: number(map, "exclusiveMaximum", at)?,
            min_length: count(map, "minLength", at)?,
            max_length: count(map, "maxLength", at)?,
            min_items: count(map, "minItems", at)?,
            max_items: count(map, "maxItems", at)?,
            description: map
                .get("description")
                .and_then(Value::as_str)
                .map(str::to_owned),
            format: map.get("format").and_then(Value::as_str).map(str::to_owned),
            ..Rule::default()
        };
        if let Some(v) = map.get("type") {
            rule.types = Some(types(v, at)?);
        }
        if let Some(v) = map.get("enum") {
            let values = v
                .as_array()
                .ok_or_else(|| broken(at, "`enum` is no array".into()))?;
            rule.allowed = Some(values.clone());
        }
        if let Some(v) = map.get("const") {
            rule.allowed = Some(vec![v.clone()]);
        }
        if let Some(v) = map.get("pattern") {
            let text = v
                .as_str()
                .ok_or_else(|| broken(at, "`pattern` is no string".into()))?;
            let regex = Regex::new(text)
                .map_err(|e| broken(at, format!("`pattern` is no regular expression: {e}")))?;
            rule.pattern = Some(regex);
        }
        if let Some(v) = map.get("required") {
            let names = v
                .as_array()
                .map(|a| a.iter().map(|n| n.as_str().map(str::to_owned)).collect());
            rule.required = names
                .flatten()
                .ok_or_else(|| broken(at, "`required` is no array of strings".into()))?;
        }
        if let Some(v) = map.get("properties") {
            let table = v
                .as_object()
                .ok_or_else(|| broken(at, "`properties` is no table".into()))?;
            for (name, schema) in table {
                let id = self.rule(schema, &format!("{at}/properties/{}", escape(name)))?;
                rule.properties.push((name.clone(), id));
            }
            rule.pairs = limits::pairs(table);
        }
        rule.additional = match map.get("additionalProperties") {
            None => Additional::Unsaid,
            Some(Value::Bool(false)) => Additional::Denied,
            Some(schema) => {
                Additional::Allowed(self.rule(schema, &format!("{at}/additionalProperties"))?)
            }
        };
        if let Some(schema) = map.get("items") {
            rule.items = Some(self.rule(schema, &format!("{at}/items"))?);
        }
        rule.all_of = self.list(map, "allOf", at)?;
        rule.any_of = self.list(map, "anyOf", at)?;
        rule.one_of = self.list(map, "oneOf", at)?;
        if let Some(v) = map.get("$ref") {
            let text = v
                .as_str()
                .ok_or_else(|| broken(at, "`$ref` is no string".into()))?;
            let pointer = text
                .strip_prefix('#')
                .filter(|p| p.is_empty() || p.starts_with('/'))
                .ok_or_else(|| {
                    broken(
                        at,
                        format!(
                            "`$ref` \"{text}\" leads out of the schema; only \"#/...\" is supported"
                        ),
                    )
                })?;
            let root = self.root;
            let target = root
                .pointer(pointer)
                .ok_or_else(|| broken(at, format!("`$ref` \"{text}\" leads to nothing")))?;
            rule.reference = Some(self.rule(target, pointer)?);
        }
        Ok(rule)
    }

    /// The standard has more keywords than we know, and a slip in one is none of them.
    fn note_ignored(&mut self, map: &Map<String, Value>, at: &str) {
        for (key, value) in map {
            let keyword = match (key.as_str(), value) {
                ("format", Value::String(name))
                    if healthd_units::check_format(name, "").is_none() =>
                {
                    // With a pattern it is a word for messages.
                    match map.contains_key("pattern") {
                        true => continue,
                        false => format!("format: {name}"),
                    }
                }
                (key, _)
                    if JUDGED.contains(&key)
                        || FOR_PEOPLE.contains(&key)
                        || key.starts_with("x-") =>
                {
                    continue;
                }
                (key, _) => key.to_owned(),
            };
            self.ignored.push(Ignored {
                pointer: at.to_owned(),
                keyword,
            });
        }
    }

    fn list(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        at: &str,
    ) -> Result<Vec<RuleId>, SchemaError> {
        let Some(v) = map.get(key) else {
            return Ok(Vec::new());
        };
        let schemas = v
            .as_array()
            .filter(|a| !a.is_empty())
            .ok_or_else(|| broken(at, format!("`{key}` is no array with schemas in it")))?;
        schemas
            .iter()
            .enumerate()
            .map(|(i, s)| self.rule(s, &format!("{at}/{key}/{i}")))
            .collect()
    }
}

fn broken(pointer: &str, reason: String) -> SchemaError {
    SchemaError {
        pointer: pointer.to_owned(),
        reason,
    }
}

fn number(map: &Map<String, Value>, key: &str, at: &str) -> Result<Option<f64>, SchemaError> {
    match map.get(key) {
        None => Ok(None),
        Some(v) => v
            .as_f64()
            .map(Some)
            .ok_or_else(|| broken(at, format!("`{key}` is no number"))),
    }
}

fn count(map: &Map<String, Value>, key: &str, at: &str) -> Result<Option<usize>, SchemaError> {
    match map.get(key) {
        None => Ok(None),
        Some(v) => v
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .map(Some)
            .ok_or_else(|| broken(at, format!("`{key}` is no whole number from 0"))),
    }
}

fn types(v: &Value, at: &str) -> Result<Vec<Type>, SchemaError> {
    let one = |v: &Value| {
        let name = v
            .as_str()
            .ok_or_else(|| broken(at, "`type` is no string".into()))?;
        Type::from_name(name).ok_or_else(|| broken(at, format!("`type` \"{name}\" does not exist")))
    };
    match v {
        Value::Array(names) if !names.is_empty() => names.iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

/// A name as one part of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// What values are held to.
const JUDGED: [&str; 21] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "items",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "format",
];
/// What says nothing about values; `$defs` is where a `$ref` leads to.
const FOR_PEOPLE: [&str; 12] = [
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
];
/// More parts than any honest plugin has.
const RULES_MAX: usize = 10_000;
/// How deep its parts may lead into each other.
const DEPTH_MAX: u32 = 128;
