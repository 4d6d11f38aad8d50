//! The part of JSON Schema 2020-12 that a plugin's options are held to.
//!
//! Keywords: type, properties, required, additionalProperties, enum, const, minimum, maximum,
//! exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern, minItems, maxItems, items,
//! anyOf, oneOf, allOf, $ref to a place in the same schema, and `format` if it is `duration`,
//! `size`, `amount`, `rate` or `ip` (as `healthd-units` reads them). `title`, `description` and `default`
//! are for people: a default is filled in by the plugin. Any other keyword is ignored, as the
//! standard wants it, and told: at load, and by `plugins verify`. `x-bad` is our own: see `limits`.
//!
//! One thing is stricter than the standard: `1.0` is no integer, as no typed plugin would take it.
//!
//! A schema comes from a plugin, so it is checked in full before it is used: a broken one is an
//! error on that plugin, and neither a loop of `$ref`s nor a bomb of `anyOf`s can hold us up.

mod compile;
mod judge;
mod limits;

use std::fmt;

use regex_lite::Regex;
use serde_json::Value;

use super::raw::bare;
pub use limits::Swallowed;

#[derive(Debug)]
pub struct Schema {
    rules: Vec<Rule>,
    root: RuleId,
    ignored: Vec<Ignored>,
}

/// A keyword that no value is held to: the plugin's author may believe that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    pub pointer: String,
    pub keyword: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = match self.pointer.as_str() {
            "" => "/",
            pointer => pointer,
        };
        write!(f, "`{}` at {pointer}", self.keyword)
    }
}

impl Schema {
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }
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
    /// `format`: held to if it is one of ours, else only a word for messages.
    format: Option<String>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    items: Option<RuleId>,
    all_of: Vec<RuleId>,
    any_of: Vec<RuleId>,
    one_of: Vec<RuleId>,
    reference: Option<RuleId>,
    pairs: Vec<limits::Pair>,
    description: Option<String>,
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

impl Schema {
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

    /// How a value at `path` is written: with dots for what only its author knows.
    pub fn example(&self, path: &[Step]) -> String {
        let rules = self.at(path);
        let first = |id: &RuleId| {
            let rule = &self.rules[*id];
            let word = rule.allowed.as_ref().and_then(|words| words.first());
            word.map(ToString::to_string).or_else(|| {
                Some(match rule.types.as_ref()?.first()? {
                    Type::Null => return None,
                    Type::Boolean => "true".to_owned(),
                    Type::Integer | Type::Number => {
                        rule.minimum.map_or(1, |n| n as i64).to_string()
                    }
                    Type::String => "\"...\"".to_owned(),
                    Type::Array => {
                        let mut item = path.to_vec();
                        item.push(Step::Index(0));
                        format!("[{}]", self.example(&item))
                    }
                    Type::Object => "{ ... }".to_owned(),
                })
            })
        };
        // A list of lists without end is not a list that anyone writes.
        match path.len() < 4 {
            true => rules
                .iter()
                .find_map(first)
                .unwrap_or_else(|| "\"...\"".into()),
            false => "...".into(),
        }
    }

    /// The options that have to be there, as they are written.
    pub fn required_example(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for id in self.spread(vec![self.root]) {
            for name in &self.rules[id].required {
                let value = self.example(&[Step::Key(name.clone())]);
                let part = format!("{} = {value}", bare(name));
                if !parts.contains(&part) {
                    parts.push(part);
                }
            }
        }
        match parts.is_empty() {
            true => "{}".into(),
            false => format!("{{ {} }}", parts.join(", ")),
        }
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

/// `a.b[2]`
pub fn dotted(path: &[Step], last: Option<&str>) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&bare(key));
            }
            Step::Index(i) => out.push_str(&format!("[{i}]")),
        }
    }
    if let Some(key) = last {
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(&bare(key));
    }
    out
}

fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
