//! What the JSON of a body must say: one rule for each place in it.

use crate::expect::Quoted;
use crate::options::{JsonRule, Options, Quantity};
use healthd_plugin::options::{Scalar, Thresholds};
use healthd_plugin::serde_json::{self, Value};
use regex_lite::Regex;
use serde_json_path::JsonPath;

#[derive(Debug)]
pub struct Rule {
    path: JsonPath,
    /// As it stands in the config.
    text: String,
    tests: Vec<Test>,
    /// Whether something must be found, or nothing.
    exists: bool,
    quantity: Quantity,
    pub thresholds: Thresholds,
    /// The name of the metric that is made of the first number found.
    pub metric: Option<String>,
}

/// What a find must be like.
#[derive(Debug)]
enum Test {
    Equals(Scalar),
    NotEquals(Scalar),
    Above(f64),
    Below(f64),
    Min(f64),
    Max(f64),
    MinLength(usize),
    MaxLength(usize),
    Regex(Regex),
    NotRegex(Regex),
}

/// All rules of a config; `json_path` and `json_equals` are a short way to write one.
pub fn rules(o: &Options) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    match (&o.json_path, &o.json_equals) {
        (Some(path), equals) => rules.push(Rule {
            path: JsonPath::parse(path).map_err(|e| format!("json_path: {e}"))?,
            text: path.clone(),
            tests: equals.iter().cloned().map(Test::Equals).collect(),
            exists: true,
            quantity: Quantity::Any,
            thresholds: Thresholds::default(),
            metric: None,
        }),
        (None, Some(_)) => return Err("json_equals: needs json_path".into()),
        (None, None) => {}
    }
    for (i, rule) in o.json.iter().enumerate() {
        rules.push(Rule::new(rule).map_err(|e| format!("json[{i}].{e}"))?);
    }
    Ok(rules)
}

impl Rule {
    fn new(o: &JsonRule) -> Result<Rule, String> {
        let regex = |name: &str, text: &Option<String>| {
            let text = text.as_ref();
            text.map(|t| Regex::new(t).map_err(|e| format!("{name}: {e}")))
                .transpose()
        };
        let tests: Vec<Test> = [
            o.equals.clone().map(Test::Equals),
            o.not_equals.clone().map(Test::NotEquals),
            o.above.map(Test::Above),
            o.below.map(Test::Below),
            o.min.map(Test::Min),
            o.max.map(Test::Max),
            o.min_length.map(Test::MinLength),
            o.max_length.map(Test::MaxLength),
            regex("regex", &o.regex)?.map(Test::Regex),
            regex("not_regex", &o.not_regex)?.map(Test::NotRegex),
        ]
        .into_iter()
        .flatten()
        .collect();
        let has_range = o.warn.is_some() || o.crit.is_some();
        if !o.exists && (!tests.is_empty() || has_range || o.metric.is_some()) {
            return Err("exists: with `false` there is nothing that could be compared".into());
        }
        Ok(Rule {
            path: JsonPath::parse(&o.path).map_err(|e| format!("path: {e}"))?,
            text: o.path.clone(),
            tests,
            exists: o.exists,
            quantity: o.of,
            thresholds: Thresholds {
                warn: o.warn,
                crit: o.crit,
            },
            metric: match (&o.metric, has_range) {
                (None, true) => Some("value".into()),
                (name, _) => name.clone(),
            },
        })
    }

    /// What is not as it must be.
    pub fn judge(&self, json: &Value) -> Result<(), String> {
        let found = self.path.query(json);
        let path = &self.text;
        let Some(first) = found.first() else {
            return match self.exists {
                true => Err(format!("{path} finds nothing")),
                false => Ok(()),
            };
        };
        if !self.exists {
            let first = Shown(first);
            return Err(format!("{path} is {first}, and must not be there"));
        }
        // The same find must pass all tests.
        let failed = |value: &Value| self.tests.iter().find_map(|t| t.fails(value));
        let mut wrong = None;
        for value in found.iter() {
            match (failed(value), self.quantity) {
                (None, Quantity::Any) => return Ok(()),
                (Some(why), Quantity::All) => {
                    return Err(format!("{path} is {}, {why}", Shown(value)));
                }
                (Some(why), Quantity::Any) => {
                    wrong.get_or_insert((value, why));
                }
                (None, Quantity::All) => {}
            }
        }
        match wrong {
            Some((value, why)) => Err(format!("{path} is {}, {why}", Shown(value))),
            None => Ok(()),
        }
    }

    /// The first number found, for the rule's metric and its ranges.
    pub fn number(&self, json: &Value) -> Result<f64, String> {
        let found = self.path.query(json);
        let first = found.first();
        first.and_then(number).ok_or_else(|| match first {
            Some(value) => format!("{} is {}, which is no number", self.text, Shown(value)),
            None => format!("{} finds nothing", self.text),
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Test {
    /// What `value` is not.
    fn fails(&self, value: &Value) -> Option<String> {
        let no_number = || Some("which is no number".to_owned());
        let compare = |good: fn(f64, f64) -> bool, limit: f64, words: &str| match number(value) {
            None => no_number(),
            Some(n) if good(n, limit) => None,
            Some(_) => Some(format!("not {words} {limit}")),
        };
        match self {
            Test::Equals(wanted) if wanted.equals(value) => None,
            Test::Equals(wanted) => Some(format!("not {wanted}")),
            Test::NotEquals(other) if other.equals(value) => {
                Some(format!("and must not be {other}"))
            }
            Test::NotEquals(_) => None,
            Test::Above(limit) => compare(|n, l| n > l, *limit, "above"),
            Test::Below(limit) => compare(|n, l| n < l, *limit, "below"),
            Test::Min(limit) => compare(|n, l| n >= l, *limit, "at least"),
            Test::Max(limit) => compare(|n, l| n <= l, *limit, "at most"),
            Test::MinLength(least) => match length(value) {
                None => Some("which has no length".into()),
                Some(n) if n >= *least => None,
                Some(n) => Some(format!("whose length {n} is below {least}")),
            },
            Test::MaxLength(most) => match length(value) {
                None => Some("which has no length".into()),
                Some(n) if n <= *most => None,
                Some(n) => Some(format!("whose length {n} is above {most}")),
            },
            Test::Regex(regex) if regex.is_match(&plain(value)) => None,
            Test::Regex(regex) => Some(format!("which does not match {regex}")),
            Test::NotRegex(regex) if regex.is_match(&plain(value)) => {
                Some(format!("which matches {regex}"))
            }
            Test::NotRegex(_) => None,
        }
    }
}

/// A number, or a text that is one.
fn number(value: &Value) -> Option<f64> {
    let n = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    n.filter(|n| n.is_finite())
}

/// Characters of a text, elements of a list, members of an object.
fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.chars().count()),
        Value::Array(list) => Some(list.len()),
        Value::Object(members) => Some(members.len()),
        _ => None,
    }
}

/// A text without its quotes, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

struct Shown<'v>(&'v Value);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::String(text) => Quoted(text).fmt(f),
            other => {
                const MAX: usize = 60;
                let text = other.to_string();
                match text.char_indices().nth(MAX) {
                    Some((at, _)) => write!(f, "{}...", &text[..at]),
                    None => f.write_str(&text),
                }
            }
        }
    }
}

/// The body's JSON.
pub fn read(text: &str, cut: bool) -> Result<Value, String> {
    match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(value) => Ok(value),
        Err(_) if cut => Err("body is longer than max_body, so its JSON is cut".into()),
        Err(e) => Err(format!("body is no JSON: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_plugin::Options as _;
    use healthd_plugin::serde_json::json;

    const BODY: &str = r#"{"n": 5, "s": "up", "t": "7.5", "l": [1, 2, 30], "o": {"a": null}, "d": [{"v": 1}, {"v": 9}], "e": ""}"#;

    fn judge(rule: Value) -> Result<(), String> {
        let o = json!({"url": "http://x", "json": [rule]});
        let rules = rules(&Options::parse(o.to_string().as_bytes())?)?;
        rules[0].judge(&read(BODY, false)?)
    }

    #[test]
    fn good_rules() {
        for rule in [
            json!({"path": "$.n"}),
            json!({"path": "$.n", "above": 4, "below": 6, "min": 5, "max": 5}),
            json!({"path": "$.n", "not_equals": 6}),
            json!({"path": "$.n", "not_equals": "5"}),
            json!({"path": "$.t", "above": 7}),
            json!({"path": "$.s", "regex": "^u", "not_regex": "down"}),
            json!({"path": "$.s", "min_length": 2, "max_length": 2}),
            json!({"path": "$.l", "min_length": 3, "max_length": 3}),
            json!({"path": "$.o", "max_length": 1}),
            json!({"path": "$.l[*]", "above": 20}),
            json!({"path": "$.l[*]", "of": "all", "above": 0}),
            json!({"path": "$.d[*].v", "of": "all", "min": 1, "max": 9}),
            json!({"path": "$.gone", "exists": false}),
            json!({"path": "$.o.a"}),
            json!({"path": "$.e", "max_length": 0}),
        ] {
            assert_eq!(judge(rule.clone()), Ok(()), "{rule}");
        }
    }

    #[test]
    fn bad_ones_say_why() {
        for (rule, why) in [
            (json!({"path": "$.n", "above": 5}), "$.n is 5, not above 5"),
            (json!({"path": "$.n", "below": 5}), "$.n is 5, not below 5"),
            (
                json!({"path": "$.n", "min": 5.5}),
                "$.n is 5, not at least 5.5",
            ),
            (json!({"path": "$.n", "max": 4}), "$.n is 5, not at most 4"),
            (
                json!({"path": "$.s", "max": 4}),
                "$.s is \"up\", which is no number",
            ),
            (
                json!({"path": "$.n", "not_equals": 5.0}),
                "$.n is 5, and must not be 5.0",
            ),
            (
                json!({"path": "$.s", "equals": "down"}),
                "$.s is \"up\", not \"down\"",
            ),
            (
                json!({"path": "$.s", "not_regex": "u"}),
                "$.s is \"up\", which matches u",
            ),
            (
                json!({"path": "$.s", "min_length": 3}),
                "$.s is \"up\", whose length 2 is below 3",
            ),
            (
                json!({"path": "$.l", "max_length": 2}),
                "$.l is [1,2,30], whose length 3 is above 2",
            ),
            (
                json!({"path": "$.n", "max_length": 2}),
                "$.n is 5, which has no length",
            ),
            (
                json!({"path": "$.l[*]", "of": "all", "below": 30}),
                "$.l[*] is 30, not below 30",
            ),
            (
                json!({"path": "$.l[*]", "above": 30}),
                "$.l[*] is 1, not above 30",
            ),
            // No find passes both.
            (
                json!({"path": "$.l[*]", "above": 2, "below": 3}),
                "$.l[*] is 1, not above 2",
            ),
            (json!({"path": "$.gone"}), "$.gone finds nothing"),
            (
                json!({"path": "$.n", "exists": false}),
                "$.n is 5, and must not be there",
            ),
            (
                json!({"path": "$.n", "exists": false, "min": 1}),
                "json[0].exists: with `false`",
            ),
            (json!({"path": "$.["}), "json[0].path: "),
            (json!({"path": "$", "regex": "("}), "json[0].regex: "),
        ] {
            let got = judge(rule.clone()).unwrap_err();
            assert!(got.starts_with(why), "{rule}: {got}");
        }
    }
}
