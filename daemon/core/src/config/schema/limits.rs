//! Pairs of limits of which the warning can never be given: whatever is beyond it is beyond the critical one too.
//!
//! A pair is two options whose names differ in `warn` and `crit` only. On which side a value is bad, the schema says with
//! the warning limit: `"x-bad": "above"` or `"below"`. Of two ranges (`"format": "range"`) it is known.

use healthd_units::duration;
use healthd_units::range::Range;
use healthd_units::size::Size;
use serde_json::{Map, Value};

use super::{RuleId, Schema, Step};

/// Two limits of one table.
#[derive(Debug)]
pub(super) struct Pair {
    warn: String,
    crit: String,
    bad: Bad,
    crit_default: Option<Value>,
}

#[derive(Clone, Copy, Debug)]
enum Bad {
    Above,
    Below,
    Outside,
}

/// A warning that can never be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swallowed {
    /// The way to the warning limit.
    pub path: Vec<Step>,
    pub warn: String,
    /// Name and value of the critical limit.
    pub crit: (String, String),
    /// It is the plugin's own: nobody has written it.
    pub is_default: bool,
}

/// The pairs among the properties of a table.
pub(super) fn pairs(properties: &Map<String, Value>) -> Vec<Pair> {
    let pair = |(name, schema): (&String, &Value)| {
        let crit = name
            .contains("warn")
            .then(|| name.replace("warn", "crit"))?;
        let bad = match schema.get("x-bad").and_then(Value::as_str) {
            Some("above") => Bad::Above,
            Some("below") => Bad::Below,
            _ if is_range(schema) => Bad::Outside,
            _ => return None,
        };
        Some(Pair {
            warn: name.clone(),
            crit_default: properties.get(&crit)?.get("default").cloned(),
            crit,
            bad,
        })
    };
    properties.iter().filter_map(pair).collect()
}

fn is_range(schema: &Value) -> bool {
    let of = |s: &Value| s.get("format").and_then(Value::as_str) == Some("range");
    let forms = schema.get("anyOf").and_then(Value::as_array);
    of(schema) || forms.is_some_and(|forms| forms.iter().any(of))
}

impl Schema {
    /// The warnings of a value that can never be given. A limit that nobody wrote swallows, and is not swallowed.
    pub fn swallowed(&self, value: &Value) -> Vec<Swallowed> {
        let mut out = Vec::new();
        self.look(vec![self.root], value, &mut Vec::new(), &mut out);
        out
    }

    fn look(
        &self,
        rules: Vec<RuleId>,
        value: &Value,
        path: &mut Vec<Step>,
        out: &mut Vec<Swallowed>,
    ) {
        let rules = self.spread(rules);
        let steps: Vec<(Step, &Value)> = match value {
            Value::Object(map) => {
                let pairs = rules.iter().flat_map(|id| &self.rules[*id].pairs);
                out.extend(pairs.filter_map(|pair| pair.swallowed(map, path)));
                let named = |(key, value)| (Step::Key(String::clone(key)), value);
                map.iter().map(named).collect()
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, v)| (Step::Index(i), v))
                .collect(),
            _ => return,
        };
        for (step, inner) in steps {
            if !inner.is_object() && !inner.is_array() {
                continue;
            }
            let below = rules
                .iter()
                .filter_map(|id| self.below(*id, &step))
                .collect();
            path.push(step);
            self.look(below, inner, path, out);
            path.pop();
        }
    }
}

impl Pair {
    fn swallowed(&self, table: &Map<String, Value>, path: &[Step]) -> Option<Swallowed> {
        let warn = table.get(&self.warn)?;
        let own = table.get(&self.crit);
        let crit = own.or(self.crit_default.as_ref())?;
        let swallows = match self.bad {
            Bad::Above => compared(warn, crit)?.is_gt(),
            Bad::Below => compared(warn, crit)?.is_lt(),
            Bad::Outside => {
                let (warn, crit) = (range(warn)?, range(crit)?);
                crit.is_within(&warn) && !warn.is_within(&crit) && warn.bound().is_some()
            }
        };
        swallows.then(|| Swallowed {
            path: path
                .iter()
                .cloned()
                .chain([Step::Key(self.warn.clone())])
                .collect(),
            warn: shown(warn),
            crit: (self.crit.clone(), shown(crit)),
            is_default: own.is_none(),
        })
    }
}

fn range(value: &Value) -> Option<Range> {
    shown(value).parse().ok()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Without the `.0` of what a plugin has as a float.
        other => other
            .as_f64()
            .map_or_else(|| other.to_string(), |n| n.to_string()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    /// A number says in no unit what its option counts.
    None,
    Percent,
    Seconds,
    Bytes,
}

/// `None`: the two cannot be compared, as 5 % and 20 GiB.
fn compared(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    let ((one, a), (other, b)) = (measure(a)?, measure(b)?);
    let fits = one == other || one == Unit::None || other == Unit::None;
    a.partial_cmp(&b).filter(|_| fits)
}

fn measure(value: &Value) -> Option<(Unit, f64)> {
    let text = match value {
        Value::Number(n) => return Some((Unit::None, n.as_f64()?)),
        other => other.as_str()?,
    };
    if let Some(share) = text.strip_suffix('%') {
        return Some((Unit::Percent, share.trim().parse().ok()?));
    }
    if let Ok(time) = duration::parse(text) {
        return Some((Unit::Seconds, time.as_secs_f64()));
    }
    let size = Size::parse(text).ok()?;
    Some((Unit::Bytes, size.0 as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(value: Value) -> Vec<String> {
        let range = json!({"anyOf": [{"type": "number"}, {"type": "string", "format": "range"}]});
        let schema = json!({"properties": {
            "latency_warn": {"format": "duration", "x-bad": "above"},
            "latency_crit": {"format": "duration"},
            "count_warn": {"x-bad": "above"},
            "count_crit": {"default": 0},
            "days_warn": {"x-bad": "below", "default": 21},
            "days_crit": {"default": 7},
            "free_warn": {"format": "amount", "x-bad": "below"},
            "free_crit": {"format": "amount", "default": "5%"},
            "size_warn": {"x-bad": "above"},
            "size_crit": {},
            "warn": range, "crit": range,
            // Of no pair, and of one that says nothing of its sides.
            "other_warn": {"x-bad": "above"},
            "plain_warn": {}, "plain_crit": {},
            "of": {"additionalProperties": {"$ref": "#"}},
            "list": {"items": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}},
        }});
        let swallowed = Schema::compile(&schema).unwrap().swallowed(&value);
        let text = |s: Swallowed| {
            let default = if s.is_default { " by default" } else { "" };
            let path = super::super::dotted(&s.path, None);
            format!("{path} {}: {} {}{default}", s.warn, s.crit.0, s.crit.1)
        };
        swallowed.into_iter().map(text).collect()
    }

    #[test]
    fn a_warning_behind_the_critical_limit_is_told() {
        for (value, text) in [
            (
                json!({"latency_warn": "2s", "latency_crit": "1500ms"}),
                "latency_warn 2s: latency_crit 1500ms",
            ),
            (
                json!({"count_warn": 5}),
                "count_warn 5: count_crit 0 by default",
            ),
            (
                json!({"days_warn": 3}),
                "days_warn 3: days_crit 7 by default",
            ),
            (
                json!({"days_warn": 14, "days_crit": 30}),
                "days_warn 14: days_crit 30",
            ),
            (
                json!({"free_warn": "2%"}),
                "free_warn 2%: free_crit 5% by default",
            ),
            (
                json!({"size_warn": "1GiB", "size_crit": 5000}),
                "size_warn 1GiB: size_crit 5000",
            ),
            (json!({"warn": 20, "crit": "10"}), "warn 20: crit 10"),
            (json!({"warn": "5:", "crit": "10:"}), "warn 5:: crit 10:"),
            (
                json!({"of": {"x": {"warn": 20, "crit": 10}}}),
                "of.x.warn 20: crit 10",
            ),
            (
                json!({"list": [{"warn": 20, "crit": 10}]}),
                "list[0].warn 20: crit 10",
            ),
        ] {
            assert_eq!(said(value), [text]);
        }
    }

    #[test]
    fn what_is_in_order_or_cannot_be_compared_is_not() {
        for value in [
            json!({"latency_warn": "1s", "latency_crit": "2s"}),
            json!({"latency_warn": "60s", "latency_crit": "1m"}),
            json!({"latency_warn": "1s"}),
            // The default of the warning was not written.
            json!({"days_crit": 30}),
            json!({"free_warn": "20GiB"}),
            json!({"warn": "~:", "crit": 5}),
            json!({"warn": 5, "crit": 5}),
            json!({"warn": "5:", "crit": 10}),
            json!({"warn": "nonsense", "crit": 5}),
            json!({"latency_warn": "?", "latency_crit": "1s"}),
            json!({"other_warn": 5, "plain_warn": 9, "plain_crit": 1}),
            json!("text"),
        ] {
            assert_eq!(said(value.clone()), [""; 0], "{value}");
        }
    }
}
