//! Holds a value to a schema and says each rule it breaks, in words for the one who wrote it.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::super::elsewhere;
use super::super::raw::shortened;
use super::super::words::{did_you_mean, one_of};
use super::{
    Additional, Masks, Rule, RuleId, Schema, Sight, Step, Type, Violation, What, first_sentence,
};
use healthd_units::duration;

impl Schema {
    /// Every rule that `value` breaks.
    pub fn validate(&self, value: &Value, masks: &Masks) -> Vec<Violation> {
        let judge = Judge {
            schema: self,
            masks,
            steps_left: Cell::new(STEPS_MAX),
            depth: Cell::new(0),
        };
        let mut out = Vec::new();
        judge.judge(self.root, value, &mut Vec::new(), &mut out);
        if judge.steps_left.get() == 0 {
            out = vec![Violation {
                path: Vec::new(),
                what: What::Rule("is too much to check against the plugin's schema".into()),
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
}

struct Judge<'a> {
    schema: &'a Schema,
    masks: &'a Masks,
    steps_left: Cell<u32>,
    depth: Cell<u32>,
}

impl<'a> Judge<'a> {
    fn judge(
        &self,
        id: RuleId,
        value: &'a Value,
        path: &mut Vec<Hop<'a>>,
        out: &mut Vec<Violation>,
    ) {
        // A chain of `$ref`s may be as long as the schema: too deep counts as too much work.
        let steps = if self.depth.get() >= DEPTH_MAX {
            None
        } else {
            self.steps_left.get().checked_sub(1)
        };
        let Some(steps) = steps else {
            self.steps_left.set(0);
            return;
        };
        if out.len() >= SAID_MAX {
            return;
        }
        self.steps_left.set(steps);
        self.depth.set(self.depth.get() + 1);
        self.judge_by(&self.schema.rules[id], value, path, out);
        self.depth.set(self.depth.get() - 1);
    }

    fn judge_by(
        &self,
        rule: &'a Rule,
        value: &'a Value,
        path: &mut Vec<Hop<'a>>,
        out: &mut Vec<Violation>,
    ) {
        if rule.never {
            self.say(path, "is not allowed here".into(), None, out);
            return;
        }
        if let Some(types) = &rule.types
            && !types.iter().any(|t| t.fits(value))
        {
            self.wrong_type(rule.format.as_deref(), types, value, path, out);
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
        format: Option<&str>,
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
                Some(format!("put it into brackets: `[{}]`", shortened(&value.to_string())))
            }
            Value::Number(n) if n.is_f64() && types.contains(&Type::Integer) => n
                .as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() < 1e15)
                .map(|f| format!("write it without the fraction: `{f:.0}`")),
            Value::Number(_) | Value::Bool(_) if types.contains(&Type::String) => {
                let text = brief(value);
                // In quotes it would still lack its unit.
                match format.and_then(|name| healthd_units::check_format(name, &text)) {
                    Some(Err(e)) => Some(in_quotes(e.help())),
                    _ => Some(format!("write it in quotes: `\"{text}\"`")),
                }
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
        // The text is made only for what is wrong: this runs for each number of each check.
        let wrong = match rule {
            Rule {
                minimum: Some(low),
                maximum: Some(high),
                ..
            } if v < *low || v > *high => {
                format!("has to be from {low} to {high}")
            }
            Rule {
                minimum: Some(low), ..
            } if v < *low => format!("has to be at least {low}"),
            Rule {
                maximum: Some(high),
                ..
            } if v > *high => format!("has to be at most {high}"),
            Rule {
                above: Some(low), ..
            } if v <= *low => format!("has to be above {low}"),
            Rule {
                below: Some(high), ..
            } if v >= *high => format!("has to be below {high}"),
            _ => return,
        };
        let shown = self.shown(&Value::Number(n.clone()), path);
        self.say(path, wrong + &shown, None, out);
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
        let format = rule.format.as_deref();
        if let Some(Err(e)) = format.and_then(|name| healthd_units::check_format(name, s)) {
            // The error's words may quote the text.
            let secret = self.masks.covers(path);
            let what = match (secret, format) {
                (true, Some(name)) => format!("is no {name}"),
                _ => e.to_string(),
            };
            self.say(path, what, (!secret).then(|| e.help().to_owned()), out);
            return;
        }
        if let Some(pattern) = &rule.pattern
            && !pattern.is_match(s)
        {
            let wanted = match format {
                Some(name) => format!("is no valid {name}{}", shown()),
                None => format!("has to match `{}`{}", pattern.as_str(), shown()),
            };
            // A plugin that was built when durations had one unit.
            let one_unit = (format == Some("duration") && !self.masks.covers(path))
                .then(|| duration::parse(s).ok().map(duration::show_one_unit))
                .flatten()
                .filter(|text| pattern.is_match(text));
            let help = match format {
                Some("path") => Some("write a full path, from / on".into()),
                Some("range") => Some(
                    "write `10` (0 to 10), `10:`, `~:10`, `10:20` or `@10:20` (not within)".into(),
                ),
                _ => one_unit.map(|text| format!("this plugin takes one unit: write `{text}`")),
            };
            self.say(path, wanted, help, out);
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
        for key in unknown.iter().take(SAID_MAX) {
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
            let elsewhere = elsewhere::option(key, &names, path.is_empty());
            let meant = elsewhere.as_ref().map_or(near, |(_, meant)| *meant);
            // One slip, one message: the misspelt key is the missing one.
            missing.retain(|name| Some(name.as_str()) != meant);
            let help = match near {
                _ if elsewhere.is_some() => elsewhere.map(|(help, _)| help).unwrap_or_default(),
                Some(near) => format!("an option with a similar name exists: `{near}`"),
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
            self.wrong_type(None, &types, value, path, out);
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

/// A value as a message shows it.
fn brief(value: &Value) -> String {
    match value {
        Value::String(s) => shortened(s),
        other => shortened(&other.to_string()),
    }
}

/// How many rules may be tried on one config. An honest one needs a few hundred.
const STEPS_MAX: u32 = 1_000_000;
/// How deep rules may lead into each other while one value is judged.
const DEPTH_MAX: u32 = 500;
/// More mistakes in one check are not looked for.
const SAID_MAX: usize = 1_000;

/// A help whose texts stand between backquotes, for one who wrote a number: they need quotes as well.
fn in_quotes(help: &str) -> String {
    let pieces = help.split('`').enumerate();
    pieces
        .map(|(n, piece)| match n % 2 {
            0 => piece.to_owned(),
            _ => format!("`\"{piece}\"`"),
        })
        .collect()
}
