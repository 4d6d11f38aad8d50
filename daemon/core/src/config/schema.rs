//! The part of JSON Schema 2020-12 that a plugin's options are held to.
//!
//! Keywords: type, properties, required, additionalProperties, enum, const, minimum, maximum,
//! exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern, minItems, maxItems, items,
//! anyOf, oneOf, allOf, $ref to a place in the same schema, and `format: "duration"` (as
//! `duration.rs` reads it). `title`, `description` and `default` are for people: a default is
//! filled in by the plugin. Any other keyword is ignored, as the standard wants it.
//!
//! One thing is stricter than the standard: `1.0` is no integer, as no typed plugin would take it.
//!
//! A schema comes from a plugin, so it is checked in full before it is used: a broken one is an
//! error on that plugin, and neither a loop of `$ref`s nor a bomb of `anyOf`s can hold us up.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::diagnostic::{did_you_mean, one_of};
use super::duration;

#[derive(Debug)]
pub struct Schema {
    rules: Vec<Rule>,
    root: RuleId,
}

/// A broken schema: where in it, as a JSON pointer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    pub pointer: String,
    pub reason: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() {
            "/"
        } else {
            &self.pointer
        };
        write!(f, "{} at {pointer}", self.reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// A value that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The way to the value, or to the table that has a key too many or too few.
    pub path: Vec<Step>,
    pub what: What,
    pub help: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The table at `path` has a key that is unknown there.
    Unknown(String),
    /// The table at `path` lacks this key.
    Missing(String),
    /// The value at `path`: `has to be an integer, not a string`.
    Rule(String),
}

/// `option `a.b` has to be an integer, not a string`
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Unknown(key) => write!(f, "unknown option `{}`", dotted(&self.path, Some(key))),
            What::Missing(key) => {
                write!(f, "option `{}` is missing", dotted(&self.path, Some(key)))
            }
            What::Rule(rule) if self.path.is_empty() => write!(f, "`config` {rule}"),
            What::Rule(rule) => write!(f, "option `{}` {rule}", dotted(&self.path, None)),
        }
    }
}

/// How a value may be spoken of in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Plain,
    /// A secret: judged, but never shown.
    Secret,
    /// A secret that was not read: known to be a string, and nothing more.
    Unread,
}

/// Which values are secrets, by their path.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    pub paths: Vec<(Vec<Step>, Sight)>,
}

impl Masks {
    fn sight(&self, path: &[Hop<'_>]) -> Sight {
        self.paths
            .iter()
            .find(|(masked, _)| {
                masked.len() == path.len() && path.iter().zip(masked).all(|(a, b)| a.is(b))
            })
            .map_or(Sight::Plain, |(_, sight)| *sight)
    }

    /// Whether something at or below `path` is a secret.
    fn covers(&self, path: &[Hop<'_>]) -> bool {
        self.paths.iter().any(|(masked, _)| {
            masked.len() >= path.len() && path.iter().zip(masked).all(|(a, b)| a.is(b))
        })
    }
}

type RuleId = usize;

/// One subschema, taken apart.
#[derive(Debug, Default)]
struct Rule {
    /// Set for the schema `false`: nothing is right.
    never: bool,
    types: Option<Vec<Type>>,
    properties: Vec<(String, RuleId)>,
    required: Vec<String>,
    additional: Additional,
    allowed: Option<Vec<Value>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    pattern: Option<Regex>,
    /// `format`: held to if it is `duration`, else only a word for messages.
    format: Option<String>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    items: Option<RuleId>,
    all_of: Vec<RuleId>,
    any_of: Vec<RuleId>,
    one_of: Vec<RuleId>,
    reference: Option<RuleId>,
    description: Option<String>,
}

#[derive(Debug, Default)]
enum Additional {
    #[default]
    Unsaid,
    Denied,
    Allowed(RuleId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Type {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// With its article, in the words of TOML.
    fn noun(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "a table",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null)
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::String, Value::String(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => true,
            (Self::Integer, Value::Number(n)) => !n.is_f64(),
            _ => false,
        }
    }

    fn of(value: &Value) -> &'static str {
        match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(n) if n.is_f64() => "a number with a fraction",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "a table",
        }
    }
}

// ------------------------------------------------------------------------------- reading a schema

impl Schema {
    pub fn compile(schema: &Value) -> Result<Schema, SchemaError> {
        let mut compiler = Compiler {
            root: schema,
            rules: Vec::new(),
            known: HashMap::new(),
        };
        let root = compiler.rule(schema, "")?;
        let schema = Schema {
            rules: compiler.rules,
            root,
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

impl Rule {
    /// The rules that judge the same value as this one.
    fn same_value(&self) -> impl Iterator<Item = RuleId> + '_ {
        self.reference
            .into_iter()
            .chain(self.all_of.iter().copied())
            .chain(self.any_of.iter().copied())
            .chain(self.one_of.iter().copied())
    }
}

struct Compiler<'a> {
    root: &'a Value,
    rules: Vec<Rule>,
    /// The rules made so far, by JSON pointer.
    known: HashMap<String, RuleId>,
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
        self.rules[id] = rule;
        Ok(id)
    }

    fn object(&mut self, map: &Map<String, Value>, at: &str) -> Result<Rule, SchemaError> {
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

// -------------------------------------------------------------------------------- judging a value

/// A borrowed [`Step`]: nothing is allocated unless there is something to say.
#[derive(Clone, Copy)]
enum Hop<'a> {
    Key(&'a str),
    Index(usize),
}

impl Hop<'_> {
    fn is(self, step: &Step) -> bool {
        match (self, step) {
            (Hop::Key(a), Step::Key(b)) => a == b,
            (Hop::Index(a), Step::Index(b)) => a == *b,
            _ => false,
        }
    }

    fn owned(self) -> Step {
        match self {
            Hop::Key(k) => Step::Key(k.to_owned()),
            Hop::Index(i) => Step::Index(i),
        }
    }
}

impl Schema {
    /// Every rule that `value` breaks.
    pub fn validate(&self, value: &Value, masks: &Masks) -> Vec<Violation> {
        let judge = Judge {
            schema: self,
            masks,
            steps_left: Cell::new(STEPS_MAX),
        };
        let mut out = Vec::new();
        judge.judge(self.root, value, &mut Vec::new(), &mut out);
        if judge.steps_left.get() == 0 {
            out = vec![Violation {
                path: Vec::new(),
                what: What::Rule("is too much work to judge by the plugin's schema".into()),
                help: Some(
                    "the schema's `anyOf` and `oneOf` multiply: tell the plugin's author".into(),
                ),
            }];
        }
        // The same rule may be reached on two ways.
        let mut unique: Vec<Violation> = Vec::with_capacity(out.len());
        for violation in out {
            if !unique.contains(&violation) {
                unique.push(violation);
            }
        }
        unique
    }

    /// Whether the schema itself takes a table with the key `key` at `path`. Then `{ env = ".." }`
    /// there is meant for the plugin and is no secret.
    pub fn takes_table_with(&self, path: &[Step], key: &str) -> bool {
        let rules = self.at(path);
        rules.iter().any(|id| {
            let rule = &self.rules[*id];
            let table = rule
                .types
                .as_ref()
                .is_none_or(|t| t.contains(&Type::Object));
            let named = rule.properties.iter().any(|(name, _)| name == key);
            let any_key = match rule.additional {
                Additional::Denied => false,
                Additional::Allowed(id) => !self.rules[id].never,
                Additional::Unsaid => rule.types.is_some() && rule.properties.is_empty(),
            };
            table && (named || any_key)
        })
    }

    /// Whether a value at `path` has to be a string. Then a number from a list is meant as one.
    pub fn wants_text(&self, path: &[Step]) -> bool {
        let rules = self.at(path);
        let has = |wanted: &[Type]| {
            let types = rules.iter().filter_map(|id| self.rules[*id].types.as_ref());
            types.flatten().any(|t| wanted.contains(t))
        };
        has(&[Type::String]) && !has(&[Type::Integer, Type::Number, Type::Boolean])
    }

    /// What the schema says about the value at `path`: the first sentence of its description.
    pub fn described(&self, path: &[Step]) -> Option<String> {
        let rules = self.at(path);
        rules
            .iter()
            .find_map(|id| self.rules[*id].description.as_deref())
            .map(first_sentence)
    }

    /// The options of the outermost table: name and description, for lists and examples.
    pub fn options(&self) -> Vec<(&str, Option<&str>)> {
        let mut out: Vec<(&str, Option<&str>)> = Vec::new();
        for id in self.spread(vec![self.root]) {
            for (name, rule) in &self.rules[id].properties {
                if !out.iter().any(|(known, _)| known == name) {
                    out.push((name, self.rules[*rule].description.as_deref()));
                }
            }
        }
        out
    }

    /// All rules for a value at `path`.
    fn at(&self, path: &[Step]) -> Vec<RuleId> {
        let mut rules = self.spread(vec![self.root]);
        for step in path {
            let next = rules.iter().flat_map(|id| self.below(*id, step)).collect();
            rules = self.spread(next);
        }
        rules
    }

    /// The rules and all others that judge the same value.
    fn spread(&self, mut rules: Vec<RuleId>) -> Vec<RuleId> {
        let mut i = 0;
        while i < rules.len() {
            for child in self.rules[rules[i]].same_value() {
                if !rules.contains(&child) {
                    rules.push(child);
                }
            }
            i += 1;
        }
        rules
    }

    fn below(&self, id: RuleId, step: &Step) -> Option<RuleId> {
        let rule = &self.rules[id];
        match step {
            Step::Index(_) => rule.items,
            Step::Key(key) => match rule.properties.iter().find(|(name, _)| name == key) {
                Some((_, id)) => Some(*id),
                None => match rule.additional {
                    Additional::Allowed(id) => Some(id),
                    _ => None,
                },
            },
        }
    }
}

struct Judge<'a> {
    schema: &'a Schema,
    masks: &'a Masks,
    steps_left: Cell<u32>,
}

impl<'a> Judge<'a> {
    fn judge(
        &self,
        id: RuleId,
        value: &'a Value,
        path: &mut Vec<Hop<'a>>,
        out: &mut Vec<Violation>,
    ) {
        match self.steps_left.get().checked_sub(1) {
            None => return,
            Some(n) => self.steps_left.set(n),
        }
        let rule = &self.schema.rules[id];
        if rule.never {
            self.say(path, "is not allowed here".into(), None, out);
            return;
        }
        if let Some(types) = &rule.types
            && !types.iter().any(|t| t.fits(value))
        {
            self.wrong_type(types, value, path, out);
            return;
        }
        if let Some(allowed) = &rule.allowed {
            self.allowed(allowed, value, path, out);
        }
        match value {
            Value::Number(n) => self.number(rule, n, path, out),
            Value::String(s) => self.string(rule, s, path, out),
            Value::Array(items) => self.array(rule, items, path, out),
            Value::Object(map) => self.object(rule, map, path, out),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(id) = rule.reference {
            self.judge(id, value, path, out);
        }
        for id in &rule.all_of {
            self.judge(*id, value, path, out);
        }
        if !rule.any_of.is_empty() {
            self.alternatives(&rule.any_of, false, value, path, out);
        }
        if !rule.one_of.is_empty() {
            self.alternatives(&rule.one_of, true, value, path, out);
        }
    }

    fn say(&self, path: &[Hop<'a>], rule: String, help: Option<String>, out: &mut Vec<Violation>) {
        let path = path.iter().map(|h| h.owned()).collect();
        out.push(Violation {
            path,
            what: What::Rule(rule),
            help,
        });
    }

    /// `, is 7`, unless it is a secret.
    fn shown(&self, value: &Value, path: &[Hop<'a>]) -> String {
        if self.masks.covers(path) || matches!(value, Value::Object(_) | Value::Array(_)) {
            return String::new();
        }
        format!(", is `{}`", brief(value))
    }

    fn wrong_type(
        &self,
        types: &[Type],
        value: &Value,
        path: &[Hop<'a>],
        out: &mut Vec<Violation>,
    ) {
        let secret = self.masks.sight(path) != Sight::Plain;
        let wanted: Vec<&str> = types
            .iter()
            .filter(|t| **t != Type::Null)
            .map(|t| t.noun())
            .collect();
        let wanted = if wanted.is_empty() {
            "left out".to_owned()
        } else {
            wanted.join(" or ")
        };
        let help = match value {
            _ if secret => Some("a secret is always a string".into()),
            Value::String(s)
                if types
                    .iter()
                    .any(|t| matches!(t, Type::Integer | Type::Number)) =>
            {
                s.parse::<i64>()
                    .ok()
                    .map(|n| format!("write it without quotes: `{n}`"))
            }
            Value::String(s) if types.contains(&Type::Boolean) && (s == "true" || s == "false") => {
                Some(format!("write it without quotes: `{s}`"))
            }
            Value::Object(_) if types.contains(&Type::String) => Some(
                "a secret is written `{ env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ credential = \"NAME\" }`"
                    .into(),
            ),
            Value::String(_) | Value::Number(_) if types.contains(&Type::Array) => {
                Some(format!("put it into brackets: `[{}]`", super::raw::shortened(&value.to_string())))
            }
            Value::Number(n) if n.is_f64() && types.contains(&Type::Integer) => n
                .as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() < 1e15)
                .map(|f| format!("write it without the fraction: `{f:.0}`")),
            Value::Number(_) | Value::Bool(_) if types.contains(&Type::String) => {
                Some(format!("write it in quotes: `\"{}\"`", brief(value)))
            }
            _ => None,
        };
        self.say(
            path,
            format!("has to be {wanted}, not {}", Type::of(value)),
            help,
            out,
        );
    }

    fn allowed(
        &self,
        allowed: &[Value],
        value: &Value,
        path: &[Hop<'a>],
        out: &mut Vec<Violation>,
    ) {
        if allowed.contains(value) || self.masks.sight(path) == Sight::Unread {
            return;
        }
        let names: Vec<String> = allowed.iter().map(brief).collect();
        let help = match (value, self.masks.covers(path)) {
            (Value::String(s), false) => did_you_mean(s, allowed.iter().filter_map(Value::as_str))
                .map(|near| format!("did you mean `\"{near}\"`?")),
            _ => None,
        };
        self.say(
            path,
            format!(
                "has to be {}{}",
                one_of(&names, "or"),
                self.shown(value, path)
            ),
            help,
            out,
        );
    }

    fn number(
        &self,
        rule: &Rule,
        n: &serde_json::Number,
        path: &[Hop<'a>],
        out: &mut Vec<Violation>,
    ) {
        let Some(v) = n.as_f64() else { return };
        let value = Value::Number(n.clone());
        let mut check = |broken: bool, rule: String| {
            if broken {
                self.say(
                    path,
                    format!("{rule}{}", self.shown(&value, path)),
                    None,
                    out,
                );
            }
        };
        if let (Some(low), Some(high)) = (rule.minimum, rule.maximum) {
            check(
                v < low || v > high,
                format!("has to be from {low} to {high}"),
            );
        } else {
            check(
                rule.minimum.is_some_and(|m| v < m),
                format!("has to be at least {}", rule.minimum.unwrap_or(0.0)),
            );
            check(
                rule.maximum.is_some_and(|m| v > m),
                format!("has to be at most {}", rule.maximum.unwrap_or(0.0)),
            );
        }
        check(
            rule.above.is_some_and(|m| v <= m),
            format!("has to be above {}", rule.above.unwrap_or(0.0)),
        );
        check(
            rule.below.is_some_and(|m| v >= m),
            format!("has to be below {}", rule.below.unwrap_or(0.0)),
        );
    }

    fn string(&self, rule: &Rule, s: &str, path: &[Hop<'a>], out: &mut Vec<Violation>) {
        if self.masks.sight(path) == Sight::Unread {
            return;
        }
        let letters = |n: usize| {
            if n == 1 {
                "1 character".into()
            } else {
                format!("{n} characters")
            }
        };
        if rule.min_length.is_some() || rule.max_length.is_some() {
            let length = s.chars().count();
            match (rule.min_length, rule.max_length) {
                (Some(1), _) if length == 0 => self.say(path, "may not be empty".into(), None, out),
                (Some(min), _) if length < min => {
                    self.say(
                        path,
                        format!("needs at least {}, has {length}", letters(min)),
                        None,
                        out,
                    );
                }
                (_, Some(max)) if length > max => {
                    self.say(
                        path,
                        format!("may have at most {}, has {length}", letters(max)),
                        None,
                        out,
                    );
                }
                _ => {}
            }
        }
        let shown = || self.shown(&Value::String(s.to_owned()), path);
        if let Some(pattern) = &rule.pattern
            && !pattern.is_match(s)
        {
            let wanted = match &rule.format {
                Some(name) => format!("is no valid {name}{}", shown()),
                None => format!("has to match `{}`{}", pattern.as_str(), shown()),
            };
            self.say(path, wanted, None, out);
        }
        if rule.format.as_deref() == Some("duration")
            && let Err(e) = duration::parse(s)
        {
            // The error's words may quote the text.
            let secret = self.masks.covers(path);
            let what = if secret {
                "is no duration".to_owned()
            } else {
                e.to_string()
            };
            self.say(path, what, (!secret).then(|| e.help()), out);
        }
    }

    fn array(
        &self,
        rule: &Rule,
        items: &'a [Value],
        path: &mut Vec<Hop<'a>>,
        out: &mut Vec<Violation>,
    ) {
        let entries = |n: usize| {
            if n == 1 {
                "1 entry".into()
            } else {
                format!("{n} entries")
            }
        };
        match (rule.min_items, rule.max_items) {
            (Some(1), _) if items.is_empty() => {
                self.say(path, "may not be empty".into(), None, out)
            }
            (Some(min), _) if items.len() < min => {
                self.say(
                    path,
                    format!("needs at least {}, has {}", entries(min), items.len()),
                    None,
                    out,
                );
            }
            (_, Some(max)) if items.len() > max => {
                self.say(
                    path,
                    format!("may have at most {}, has {}", entries(max), items.len()),
                    None,
                    out,
                );
            }
            _ => {}
        }
        if let Some(id) = rule.items {
            for (i, item) in items.iter().enumerate() {
                path.push(Hop::Index(i));
                self.judge(id, item, path, out);
                path.pop();
            }
        }
    }

    fn object(
        &self,
        rule: &Rule,
        map: &'a Map<String, Value>,
        path: &mut Vec<Hop<'a>>,
        out: &mut Vec<Violation>,
    ) {
        let mut unknown: Vec<&str> = Vec::new();
        for (key, value) in map {
            let id = match rule.properties.iter().find(|(name, _)| name == key) {
                Some((_, id)) => *id,
                None => match rule.additional {
                    Additional::Unsaid => continue,
                    Additional::Allowed(id) => id,
                    Additional::Denied => {
                        unknown.push(key);
                        continue;
                    }
                },
            };
            path.push(Hop::Key(key));
            self.judge(id, value, path, out);
            path.pop();
        }
        let steps = |path: &[Hop<'a>]| path.iter().map(|h| h.owned()).collect::<Vec<_>>();
        let mut missing: Vec<&String> = rule
            .required
            .iter()
            .filter(|name| !map.contains_key(*name))
            .collect();
        for key in &unknown {
            let names: Vec<&str> = rule
                .properties
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            let near = did_you_mean(
                key,
                names
                    .iter()
                    .copied()
                    .filter(|name| !map.contains_key(*name)),
            )
            .or_else(|| did_you_mean(key, names.iter().copied()));
            let help = match near {
                Some(near) => {
                    // One slip, one message: the misspelt key is the missing one.
                    missing.retain(|name| name.as_str() != near);
                    format!("an option with a similar name exists: `{near}`")
                }
                None if names.is_empty() => "no option is known here".into(),
                None => format!("known options: {}", names.join(", ")),
            };
            out.push(Violation {
                path: steps(path),
                what: What::Unknown((*key).to_owned()),
                help: Some(help),
            });
        }
        for name in missing {
            let described = rule
                .properties
                .iter()
                .find(|(known, _)| known == name)
                .and_then(|(_, id)| self.schema.rules[*id].description.as_ref());
            let help = described.map(|d| first_sentence(d));
            out.push(Violation {
                path: steps(path),
                what: What::Missing(name.clone()),
                help,
            });
        }
    }

    fn alternatives(
        &self,
        forms: &[RuleId],
        exactly_one: bool,
        value: &'a Value,
        path: &mut Vec<Hop<'a>>,
        out: &mut Vec<Violation>,
    ) {
        let mut failed: Vec<(RuleId, Vec<Violation>)> = Vec::with_capacity(forms.len());
        let mut fits: Vec<RuleId> = Vec::new();
        for id in forms {
            let mut wrong = Vec::new();
            self.judge(*id, value, path, &mut wrong);
            if !wrong.is_empty() {
                failed.push((*id, wrong));
            } else if exactly_one {
                fits.push(*id);
            } else {
                return;
            }
        }
        // Nobody knows what an unread secret will be: let the real value decide.
        if self.masks.sight(path) == Sight::Unread {
            return;
        }
        match fits.len() {
            0 => self.no_form_fits(failed, value, path, out),
            1 => {}
            _ => {
                let keys: Vec<String> = fits
                    .iter()
                    .flat_map(|id| self.schema.rules[*id].required.iter().cloned())
                    .collect();
                let rule = if keys.len() == fits.len() {
                    format!("may have only one of {}", one_of(&keys, "and"))
                } else {
                    format!("fits {} of the forms that exclude each other", fits.len())
                };
                self.say(path, rule, None, out);
            }
        }
    }

    fn no_form_fits(
        &self,
        mut failed: Vec<(RuleId, Vec<Violation>)>,
        value: &Value,
        path: &[Hop<'a>],
        out: &mut Vec<Violation>,
    ) {
        // All forms only lack one key each: `host` or `unix`.
        let lacks = |v: &[Violation]| match v {
            [
                Violation {
                    path: p,
                    what: What::Missing(name),
                    ..
                },
            ] if p.len() == path.len() => Some(name.clone()),
            _ => None,
        };
        let missing: Option<Vec<String>> = failed.iter().map(|(_, v)| lacks(v)).collect();
        if let Some(mut names) = missing {
            names.dedup();
            self.say(path, format!("needs {}", one_of(&names, "or")), None, out);
            return;
        }
        // The forms whose type fits are those that were meant.
        let right_type = |id: RuleId| {
            self.schema.spread(vec![id]).iter().all(|id| {
                let rule = &self.schema.rules[*id];
                rule.types
                    .as_ref()
                    .is_none_or(|t| t.iter().any(|t| t.fits(value)))
            })
        };
        let types: Vec<Type> = failed
            .iter()
            .flat_map(|(id, _)| self.schema.spread(vec![*id]))
            .filter_map(|id| self.schema.rules[id].types.as_ref())
            .flatten()
            .copied()
            .fold(Vec::new(), |mut seen, t| {
                if !seen.contains(&t) {
                    seen.push(t);
                }
                seen
            });
        failed.retain(|(id, _)| right_type(*id));
        if failed.is_empty() {
            self.wrong_type(&types, value, path, out);
            return;
        }
        // Constants one by one, as schema generators write an enum with described values.
        let constants: Option<Vec<Value>> = failed
            .iter()
            .map(|(id, _)| self.schema.rules[*id].allowed.clone())
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.concat());
        if let Some(values) = constants {
            self.allowed(&values, value, path, out);
            return;
        }
        // Else the form with the fewest mistakes is the one to mend; the first of several.
        if let Some((_, wrong)) = failed.into_iter().min_by_key(|(_, wrong)| wrong.len()) {
            out.extend(wrong);
        }
    }
}

/// `a.b[2]`
pub fn dotted(path: &[Step], last: Option<&str>) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&super::raw::bare(key));
            }
            Step::Index(i) => out.push_str(&format!("[{i}]")),
        }
    }
    if let Some(key) = last {
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(&super::raw::bare(key));
    }
    out
}

/// A value as a message shows it.
fn brief(value: &Value) -> String {
    match value {
        Value::String(s) => super::raw::shortened(s),
        other => super::raw::shortened(&other.to_string()),
    }
}

fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim_end_matches('.').to_owned()
}

/// More parts than any honest plugin has.
const RULES_MAX: usize = 10_000;
/// How many rules may be tried on one config. An honest one needs a few hundred.
const STEPS_MAX: u32 = 1_000_000;
