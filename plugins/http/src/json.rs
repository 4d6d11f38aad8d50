//! What the JSON of a body must say: one rule for each place in it.

use crate::expect::Quoted;
use crate::failed::Failed;
use crate::options::{JsonRule, Options, Quantity};
use crate::places::{Places, Unread};
use healthd_plugin::options::{Scalar, Thresholds};
use healthd_plugin::pattern::Pattern;
use healthd_plugin::serde_json::Value;
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
    Regex(Pattern),
    NotRegex(Pattern),
}

/// All rules of a config; `json_path` and `json_equals` are a short way to write one.
pub fn rules(o: &Options) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    match (&o.json_path, &o.json_equals) {
        (Some(path), equals) => rules.push(Rule {
            path: parsed(path).map_err(|why| format!("json_path: {why}"))?,
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

/// Places that the paths of a config may come to in one body, and comparisons of each place with all others.
const MOST_PLACES: usize = 1 << 20;
const MOST_COMPARED: usize = 100_000_000;

/// Why one of the paths would cost too much in this body: with several `..` a place is come to once for each of its parents, and a
/// `$` within a filter begins anew for each place.
pub fn too_much(rules: &[Rule], json: &Value) -> Option<String> {
    let mut costly = rules.iter().filter(|rule| rule.is_costly()).peekable();
    costly.peek()?;
    let (places, depth) = extent(json);
    costly.find_map(|rule| {
        let more = u32::try_from(rule.descents().max(1) - 1).unwrap_or(u32::MAX);
        let all = places.saturating_mul(depth.saturating_pow(more));
        let compared = match rule.begins_anew() {
            true => all.saturating_mul(places),
            false => 0,
        };
        (all > MOST_PLACES || compared > MOST_COMPARED).then(|| {
            format!(
                "{} would come to too many places in this body of {places} values",
                rule.text
            )
        })
    })
}

/// How many values there are, and how deep they are in each other.
fn extent(json: &Value) -> (usize, usize) {
    let inside = |values: &mut dyn Iterator<Item = &Value>| {
        values.fold((1, 1), |(count, depth), value| {
            let (more, below) = extent(value);
            (count + more, depth.max(below + 1))
        })
    };
    match json {
        Value::Array(list) => inside(&mut list.iter()),
        Value::Object(members) => inside(&mut members.values()),
        _ => (1, 1),
    }
}

/// What other tools take without its beginning is shown with it.
fn parsed(text: &str) -> Result<JsonPath, String> {
    JsonPath::parse(text).map_err(|e| {
        let whole = match text.chars().next() {
            Some('.' | '[') => format!("${text}"),
            _ => format!("$.{text}"),
        };
        match JsonPath::parse(&whole) {
            Ok(_) => format!("a JSONPath begins with $: write `{whole}`"),
            Err(_) => e.to_string(),
        }
    })
}

impl Rule {
    fn new(o: &JsonRule) -> Result<Rule, String> {
        let regex = |name: &str, text: &Option<String>| {
            let text = text.as_ref();
            text.map(|t| Pattern::new(t).map_err(|e| format!("{name}: {e}")))
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
            path: parsed(&o.path).map_err(|why| format!("path: {why}"))?,
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

    /// What it costs may grow with the square of the body.
    pub fn is_costly(&self) -> bool {
        self.descents() > 1 || self.begins_anew()
    }

    fn descents(&self) -> usize {
        self.text.matches("..").count()
    }

    fn begins_anew(&self) -> bool {
        self.text.matches('$').count() > 1
    }

    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.tests.iter().filter_map(|test| match test {
            Test::Regex(p) | Test::NotRegex(p) => Some(p),
            _ => None,
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

/// Of the body's JSON what the rules can come to, in `most` bytes.
pub fn read(text: &str, cut: bool, places: &Places, most: usize) -> Result<Value, Failed> {
    let text = text.trim_start_matches('\u{feff}');
    // JSON allows more than serde_json can hold.
    let read = places.read(text, most).or_else(|unread| match unread {
        Unread::NoJson(_) => places.read(&held(text).ok_or(unread)?, most),
        Unread::TooLarge(_) => Err(unread),
    });
    read.map_err(|unread| match unread {
        Unread::TooLarge(most) => Failed::unknown(format!(
            "what the JSON paths come to in this body takes more than {} MiB: narrower paths, or a larger max_body, with which this bound grows",
            most >> 20
        )),
        Unread::NoJson(_) if cut => {
            Failed::critical("body is longer than max_body, so its JSON is cut".into())
        }
        Unread::NoJson(e) => Failed::critical(format!("body is no JSON: {e}")),
    })
}

/// The text with what no `Value` can hold as the nearest that one can: a number beyond all is the largest one, half a
/// character of UTF-16 is U+FFFD. None: there is nothing of that kind in it.
fn held(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        out += &rest[..at];
        rest = &rest[at..];
        let (piece, instead) = match rest.strip_prefix('"') {
            Some(inside) => {
                let end = 1 + string_length(inside)?;
                (&rest[..end], whole_characters(&rest[..end]))
            }
            None => {
                let odd = |c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c));
                let number = &rest[..rest.find(odd).unwrap_or(rest.len())];
                let beyond = number.parse::<f64>().is_ok_and(f64::is_infinite);
                let largest = match number.starts_with('-') {
                    true => "-1.7976931348623157e308",
                    false => "1.7976931348623157e308",
                };
                (number, beyond.then(|| largest.to_owned()))
            }
        };
        changed |= instead.is_some();
        out += instead.as_deref().unwrap_or(piece);
        rest = &rest[piece.len()..];
    }
    out += rest;
    changed.then_some(out)
}

/// Up to the quote that ends it, and with it. None: it has no end.
fn string_length(inside: &str) -> Option<usize> {
    let mut escaped = false;
    let end = inside.bytes().position(|b| {
        let is_end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        is_end
    });
    end.map(|at| at + 1)
}

/// None: each half of a character (`\uD83D`) has its other half.
fn whole_characters(string: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = string.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::new();
    let (mut at, mut kept) = (0, 0);
    while let Some(found) = string[at..].find('\\') {
        at += found;
        let (first, second) = (unit(at), unit(at + 6));
        match (first, second) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 12,
            (Some(0xD800..=0xDFFF), _) => {
                out += &string[kept..at];
                out += "\\ufffd";
                at += 6;
                kept = at;
            }
            // One more, whatever it is: it is no start of another escape.
            _ => at += 1 + string[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    (kept > 0).then(|| out + &string[kept..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_plugin::Options as _;
    use healthd_plugin::serde_json::json;

    const BODY: &str = r#"{"n": 5, "s": "up", "t": "7.5", "l": [1, 2, 30], "o": {"a": null}, "d": [{"v": 1}, {"v": 9}], "e": ""}"#;

    fn whole(text: &str) -> Result<Value, Failed> {
        read(text, false, &Places::of(["$"].into_iter()), 1 << 20)
    }

    fn judge(rule: Value) -> Result<(), String> {
        let o = json!({"url": "http://x", "json": [rule]});
        let rules = rules(&Options::parse(o.to_string().as_bytes())?)?;
        rules[0].judge(&whole(BODY).map_err(|failed| failed.why)?)
    }

    #[test]
    fn what_no_value_can_hold_is_json_all_the_same() {
        for (text, expected) in [
            (
                r#"{"a": 1e400, "b": -1E+999}"#,
                json!({"a": f64::MAX, "b": f64::MIN}),
            ),
            (
                r#"["\ud83d", "\ud83d\ude00 \udc00x", "\\ud83d \""]"#,
                json!(["\u{fffd}", "\u{1f600} \u{fffd}x", "\\ud83d \""]),
            ),
            (
                r#"{"1e999": [1e999, "-1e999"]}"#,
                json!({"1e999": [f64::MAX, "-1e999"]}),
            ),
        ] {
            assert_eq!(whole(text).expect(text), expected, "{text}");
        }
        for bad in [
            "",
            "{",
            "[1e999",
            r#"["\ud83d]"#,
            "NaN",
            "[1,]",
            "1e999x",
            r#""\"#,
        ] {
            let e = whole(bad).unwrap_err();
            assert!(e.why.starts_with("body is no JSON: "), "{bad}: {e}");
        }
    }

    #[test]
    fn paths_that_would_come_to_too_much_are_not_followed() {
        let rules = |path: &str| {
            let o = json!({"url": "http://x", "json_path": path});
            rules(&Options::parse(o.to_string().as_bytes()).expect("options")).expect("a path")
        };
        let small = json!({"a": [{"b": 1}, {"b": [2]}]});
        let mut deep = json!(vec![json!([]); 20_000]);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert_eq!(extent(&small), (7, 5));
        for (path, small_too, deep_too) in [
            ("$.a[*].b", false, false),
            ("$..b", false, false),
            ("$..*..*", false, true),
            ("$[?count($..*) > 1]", false, true),
            ("$[?@.b == 'a..b']", false, false),
        ] {
            let rules = rules(path);
            assert_eq!(too_much(&rules, &small).is_some(), small_too, "{path}");
            assert_eq!(too_much(&rules, &deep).is_some(), deep_too, "{path}");
        }
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
            (
                json!({"path": "a.b[0]"}),
                "json[0].path: a JSONPath begins with $: write `$.a.b[0]`",
            ),
            (
                json!({"path": ".a"}),
                "json[0].path: a JSONPath begins with $: write `$.a`",
            ),
            (json!({"path": "$", "regex": "("}), "json[0].regex: "),
        ] {
            let got = judge(rule.clone()).unwrap_err();
            assert!(got.starts_with(why), "{rule}: {got}");
        }
    }
}
