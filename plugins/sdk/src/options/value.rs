//! The types an option may have.

use healthd_units::{Wrong, duration};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bounds of one option; they are checked and shown in the schema. A list or an `Option` hands those of its elements
/// down to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub min_items: Option<usize>,
    pub max_items: Option<usize>,
    /// A regular expression. It stands in the schema, which the daemon checks; [`OptionValue::from_json`] does not.
    pub pattern: Option<&'static str>,
    /// The schema's `format`: a hint for people and editors.
    pub format: Option<&'static str>,
    /// Of the warning limit of a pair, whose names differ in `warn` and `crit` only. The daemon then tells of a warning
    /// that can never be given, since the critical limit is passed first.
    pub bad: Option<Bad>,
}

/// On which side of a limit a value is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Above,
    Below,
}

impl Bad {
    pub(super) fn word(self) -> &'static str {
        match self {
            Bad::Above => "above",
            Bad::Below => "below",
        }
    }
}

impl Limits {
    pub const NONE: Limits = Limits {
        min: None,
        max: None,
        min_length: None,
        max_length: None,
        min_items: None,
        max_items: None,
        pattern: None,
        format: None,
        bad: None,
    };

    pub fn min(self, bound: impl Into<f64>) -> Self {
        Limits {
            min: Some(bound.into()),
            ..self
        }
    }

    pub fn max(self, bound: impl Into<f64>) -> Self {
        Limits {
            max: Some(bound.into()),
            ..self
        }
    }

    pub fn min_length(self, characters: usize) -> Self {
        Limits {
            min_length: Some(characters),
            ..self
        }
    }

    pub fn max_length(self, characters: usize) -> Self {
        Limits {
            max_length: Some(characters),
            ..self
        }
    }

    pub fn min_items(self, entries: usize) -> Self {
        Limits {
            min_items: Some(entries),
            ..self
        }
    }

    pub fn max_items(self, entries: usize) -> Self {
        Limits {
            max_items: Some(entries),
            ..self
        }
    }

    pub fn pattern(self, regex: &'static str) -> Self {
        Limits {
            pattern: Some(regex),
            ..self
        }
    }

    pub fn format(self, name: &'static str) -> Self {
        Limits {
            format: Some(name),
            ..self
        }
    }

    pub fn bad(self, side: Bad) -> Self {
        Limits {
            bad: Some(side),
            ..self
        }
    }
}

/// A type an option may have. Implement it for your own: the schema is the inside of a JSON object, without braces.
pub trait OptionValue: Sized {
    fn schema(limits: &Limits) -> String;

    /// The error does not name the option: whoever calls knows where it stands.
    fn from_json(value: Value, limits: &Limits) -> Result<Self, String>;

    fn to_json(&self) -> Value;

    /// What an absent option is; None: it is required.
    fn if_missing() -> Option<Self> {
        None
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

/// `a`, and `b: missing` inside it, is `a.b: missing`; `[1]: ...` inside it is `a[1]: ...`.
pub(super) fn inside(name: &str, error: &str) -> String {
    let path_goes_on = error.split_once(": ").is_some_and(|(path, _)| {
        path.starts_with('[') || (!path.contains([' ', '"']) && !path.is_empty())
    });
    match path_goes_on {
        true if error.starts_with('[') => format!("{name}{error}"),
        true => format!("{name}.{error}"),
        false => format!("{name}: {error}"),
    }
}

fn expected(value: &Value, what: &str) -> String {
    format!("{} where {what} is expected", kind(value))
}

fn bounds(schema: &mut String, names: [&str; 2], low: Option<f64>, high: Option<f64>) {
    for (name, bound) in names.into_iter().zip([low, high]) {
        if let Some(bound) = bound {
            *schema += &format!(r#","{name}":{bound}"#);
        }
    }
}

fn check_bounds(value: f64, low: Option<f64>, high: Option<f64>) -> Result<(), String> {
    match (low, high) {
        (Some(low), _) if value < low => Err(format!("{value} is below {low}")),
        (_, Some(high)) if value > high => Err(format!("{value} is above {high}")),
        _ => Ok(()),
    }
}

impl OptionValue for String {
    fn schema(limits: &Limits) -> String {
        let mut s = String::from(r#""type":"string""#);
        bounds(
            &mut s,
            ["minLength", "maxLength"],
            limits.min_length.map(|n| n as f64),
            limits.max_length.map(|n| n as f64),
        );
        for (name, text) in [("pattern", limits.pattern), ("format", limits.format)] {
            if let Some(text) = text {
                s += &format!(r#","{name}":{}"#, Value::from(text));
            }
        }
        s
    }

    fn from_json(value: Value, limits: &Limits) -> Result<Self, String> {
        let Value::String(s) = value else {
            return Err(expected(&value, "a string"));
        };
        let length = s.chars().count();
        match (limits.min_length, limits.max_length) {
            (Some(1), _) if length == 0 => Err("must not be empty".into()),
            (Some(min), _) if length < min => Err(format!("shorter than {min} characters")),
            (_, Some(max)) if length > max => Err(format!("longer than {max} characters")),
            _ => Ok(s),
        }
    }

    fn to_json(&self) -> Value {
        self.as_str().into()
    }
}

impl OptionValue for bool {
    fn schema(_: &Limits) -> String {
        r#""type":"boolean""#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| expected(&value, "true or false"))
    }

    fn to_json(&self) -> Value {
        (*self).into()
    }
}

impl OptionValue for f64 {
    fn schema(limits: &Limits) -> String {
        let mut s = String::from(r#""type":"number""#);
        bounds(&mut s, ["minimum", "maximum"], limits.min, limits.max);
        s
    }

    fn from_json(value: Value, limits: &Limits) -> Result<Self, String> {
        let n = value.as_f64().ok_or_else(|| expected(&value, "a number"))?;
        check_bounds(n, limits.min, limits.max)?;
        Ok(n)
    }

    fn to_json(&self) -> Value {
        (*self).into()
    }
}

macro_rules! integers {
    ($($ty:ident: $low:expr, $high:expr;)+) => { $(
        impl OptionValue for $ty {
            fn schema(limits: &Limits) -> String {
                let mut s = String::from(r#""type":"integer""#);
                bounds(&mut s, ["minimum", "maximum"], limits.min.or($low), limits.max.or($high));
                s
            }

            fn from_json(value: Value, limits: &Limits) -> Result<Self, String> {
                let n = value.as_f64().ok_or_else(|| expected(&value, "a whole number"))?;
                check_bounds(n, limits.min.or($low), limits.max.or($high))?;
                let exact = value.as_u64().map(i128::from).or(value.as_i64().map(i128::from));
                // "5.0" is an integer to JSON Schema.
                let exact = exact.or((n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i128));
                exact.and_then(|n| $ty::try_from(n).ok()).ok_or_else(|| format!("{value} is not a whole number"))
            }

            fn to_json(&self) -> Value {
                (*self).into()
            }
        }
    )+ };
}

// Beyond 2^53 a bound has no exact number in JSON; the type's own check is enough there.
integers! {
    u8: Some(0.0), Some(255.0);
    u16: Some(0.0), Some(65535.0);
    u32: Some(0.0), Some(4294967295.0);
    u64: Some(0.0), None;
    usize: Some(0.0), None;
    i32: Some(-2147483648.0), Some(2147483647.0);
    i64: None, None;
}

impl<T: OptionValue> OptionValue for Option<T> {
    fn schema(limits: &Limits) -> String {
        T::schema(limits)
    }

    fn from_json(value: Value, limits: &Limits) -> Result<Self, String> {
        T::from_json(value, limits).map(Some)
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }

    fn if_missing() -> Option<Self> {
        Some(None)
    }
}

impl<T: OptionValue> OptionValue for Vec<T> {
    fn schema(limits: &Limits) -> String {
        let mut s = format!(r#""type":"array","items":{{{}}}"#, T::schema(limits));
        bounds(
            &mut s,
            ["minItems", "maxItems"],
            limits.min_items.map(|n| n as f64),
            limits.max_items.map(|n| n as f64),
        );
        s
    }

    fn from_json(value: Value, limits: &Limits) -> Result<Self, String> {
        let Value::Array(items) = value else {
            return Err(expected(&value, "an array"));
        };
        match (limits.min_items, limits.max_items) {
            (Some(min), _) if items.len() < min => return Err(format!("at least {min} entries")),
            (_, Some(max)) if items.len() > max => return Err(format!("at most {max} entries")),
            _ => {}
        }
        let one = |(i, item)| T::from_json(item, limits).map_err(|e| inside(&format!("[{i}]"), &e));
        items.into_iter().enumerate().map(one).collect()
    }

    fn to_json(&self) -> Value {
        self.iter().map(T::to_json).collect()
    }
}

impl<T: OptionValue> OptionValue for BTreeMap<String, T> {
    fn schema(limits: &Limits) -> String {
        format!(
            r#""type":"object","additionalProperties":{{{}}}"#,
            T::schema(limits)
        )
    }

    fn from_json(value: Value, limits: &Limits) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return Err(expected(&value, "a table"));
        };
        let one = |(key, item): (String, Value)| match T::from_json(item, limits) {
            Ok(item) => Ok((key, item)),
            Err(e) => Err(inside(&key, &e)),
        };
        map.into_iter().map(one).collect()
    }

    fn to_json(&self) -> Value {
        Value::Object(self.iter().map(|(k, v)| (k.clone(), v.to_json())).collect())
    }
}

/// "250ms", "1.5s", "5m", "1h30m".
impl OptionValue for Duration {
    fn schema(_: &Limits) -> String {
        r#""type":"string","format":"duration""#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        let text = value
            .as_str()
            .ok_or_else(|| expected(&value, "a duration like \"10s\""))?;
        duration::parse(text).map_err(|e| refused(&value, &e))
    }

    fn to_json(&self) -> Value {
        duration::show(*self).into()
    }
}

/// `"5" has no unit after `5`: write `5s` or `5ms``
pub(crate) fn refused(value: &Value, e: &Wrong) -> String {
    format!("{value} {e}: {}", e.help())
}

/// Reads "250ms", "1.5s", "5m", "1h30m".
pub fn parse_duration(text: &str) -> Option<Duration> {
    duration::parse(text).ok()
}

/// As it would be written in a config.
pub fn duration_text(d: Duration) -> String {
    duration::show(d)
}
