//! Reads of a JSON text only what JSONPaths can come to: how much memory that takes is no matter of how long the text is, and has
//! a bound.
//!
//! What no path comes to is left out of objects, and is null in lists, so that names and numbers of places are as they were. A
//! place that a path ends at is kept whole. So is one at which the path goes on with what is not looked at here: a filter.

use healthd_plugin::serde_json::{self, Map, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;

/// Steps of all paths together; with more the whole text is kept.
const MOST_STEPS: usize = 128;
/// What a node of a map takes, and how many members are in one that is half full.
const NODE: usize = 640;
const IN_NODE: usize = 6;

/// The steps of all paths, one after the other. A set of those that come next is one bit for each.
#[derive(Debug, Default)]
pub struct Places {
    steps: Vec<Step>,
    first: Set,
    /// A path is about the whole text.
    all: bool,
    /// A path counts from the end of a list, or may.
    from_end: bool,
}

type Set = u128;

#[derive(Debug)]
struct Step {
    /// It may also be made further down (`..`).
    below: bool,
    picks: Vec<Pick>,
    /// The path ends with it, as far as it is followed here.
    is_last: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Pick {
    Any,
    /// Or a number from the end: it is not known while the list is read.
    Slice,
    Name(String),
    Index(usize),
}

/// Why there is no value.
#[derive(Debug)]
pub enum Unread {
    NoJson(serde_json::Error),
    /// It would take more than so many bytes.
    TooLarge(usize),
}

impl Places {
    pub fn of<'p>(paths: impl Iterator<Item = &'p str>) -> Places {
        let mut places = Places::default();
        for path in paths {
            let steps = steps(path);
            places.all |= steps.is_empty();
            let mut picks = steps.iter().flat_map(|step| &step.picks);
            places.from_end |= picks.any(|pick| *pick == Pick::Slice);
            if !steps.is_empty() {
                places.first |= 1_u128.checked_shl(places.steps.len() as u32).unwrap_or(0);
            }
            places.steps.extend(steps);
        }
        places.all |= places.steps.len() > MOST_STEPS;
        places
    }

    /// What the paths can come to; null: nothing.
    pub fn read(&self, text: &str, most: usize) -> Result<Value, Unread> {
        let left = Cell::new(Some(most));
        let seed = Seed {
            places: self,
            at: match self.all {
                true => At::Whole,
                false => At::Steps(self.first),
            },
            left: &left,
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let read = seed.deserialize(&mut json);
        let read = read.and_then(|value| json.end().map(|()| value));
        read.map(Option::unwrap_or_default)
            .map_err(|e| match left.get() {
                None => Unread::TooLarge(most),
                Some(_) => Unread::NoJson(e),
            })
    }

    /// Where the paths are in a member or element, if they are here with these steps to make.
    fn next(&self, at: At, takes: impl Fn(&Pick) -> bool) -> At {
        let At::Steps(set) = at else { return at };
        let mut next = 0;
        let mut rest = set;
        while rest != 0 {
            let n = rest.trailing_zeros();
            let bit = 1 << n;
            rest &= !bit;
            let step = &self.steps[n as usize];
            if step.below {
                next |= bit;
            }
            if step.picks.iter().any(&takes) {
                match step.is_last {
                    true => return At::Whole,
                    false => next |= bit << 1,
                }
            }
        }
        At::Steps(next)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// A path ends here, or above.
    Whole,
    Steps(Set),
}

const NOWHERE: At = At::Steps(0);

/// None: there is nothing in it that a path comes to.
#[derive(Clone, Copy)]
struct Seed<'p> {
    places: &'p Places,
    at: At,
    /// Bytes that may still be taken; None: they did not suffice.
    left: &'p Cell<Option<usize>>,
}

impl Seed<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().and_then(|left| left.checked_sub(bytes));
        self.left.set(left);
        left.map(drop).ok_or_else(|| E::custom("too large"))
    }

    fn leaf<E: Error>(self, value: impl Into<Value>) -> Result<Option<Value>, E> {
        Ok((self.at == At::Whole).then(|| value.into()))
    }

    fn push<E: Error>(self, list: &mut Vec<Value>, value: Value) -> Result<(), E> {
        if list.len() == list.capacity() {
            self.take(list.capacity().max(4) * size_of::<Value>())?;
        }
        list.push(value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Value>, D::Error> {
        match self.at {
            NOWHERE => json.deserialize_ignored_any(IgnoredAny).map(|_| None),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Value>, E> {
        self.leaf(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Value>, E> {
        self.leaf(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<Value>, E> {
        self.leaf(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<Value>, E> {
        self.leaf(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<Value>, E> {
        self.leaf(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Option<Value>, E> {
        if self.at == At::Whole {
            self.take(value.len())?;
        }
        self.leaf(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Value>, A::Error> {
        let mut list = Vec::new();
        let mut is_kept = self.at == At::Whole;
        for n in 0.. {
            let at = self.places.next(self.at, |pick| {
                matches!(pick, Pick::Any | Pick::Slice) || *pick == Pick::Index(n)
            });
            let Some(found) = seq.next_element_seed(Seed { at, ..self })? else {
                while is_kept && self.places.from_end && list.len() < n {
                    self.push(&mut list, Value::Null)?;
                }
                break;
            };
            let Some(found) = found else { continue };
            is_kept = true;
            while list.len() < n {
                self.push(&mut list, Value::Null)?;
            }
            self.push(&mut list, found)?;
        }
        Ok(is_kept.then_some(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let at = self.places.next(self.at, |pick| match pick {
                Pick::Any => true,
                Pick::Name(wanted) => *wanted == name,
                Pick::Slice | Pick::Index(_) => false,
            });
            match map.next_value_seed(Seed { at, ..self })? {
                Some(value) => {
                    let node = match members.len() % IN_NODE {
                        0 => NODE,
                        _ => 0,
                    };
                    self.take(node + name.len())?;
                    members.insert(name, value);
                }
                // Of two of this name the last one counts.
                None => drop(members.remove(&name)),
            }
        }
        let is_kept = self.at == At::Whole || !members.is_empty();
        Ok(is_kept.then_some(Value::Object(members)))
    }
}

/// The steps of a path that is one, up to the first that is not followed here.
fn steps(path: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut rest = path.trim().strip_prefix('$').unwrap_or_default();
    while let Some((step, after)) = step(rest) {
        steps.push(step);
        rest = after;
    }
    if let Some(last) = steps.last_mut() {
        last.is_last = true;
    }
    steps
}

fn step(path: &str) -> Option<(Step, &str)> {
    let path = path.trim_start();
    let (below, inside) = match path.strip_prefix("..") {
        Some(inside) => (true, inside),
        None => (false, path),
    };
    let (picks, rest) = match inside.strip_prefix('[') {
        Some(list) => picks(list)?,
        None => {
            let name = match below {
                true => inside,
                false => inside.strip_prefix('.')?,
            };
            let is_end = |c: char| !(c.is_alphanumeric() || c == '_' || !c.is_ascii());
            match name.strip_prefix('*') {
                Some(rest) => (vec![Pick::Any], rest),
                None => {
                    let (name, rest) = name.split_at(name.find(is_end).unwrap_or(name.len()));
                    if name.is_empty() {
                        return None;
                    }
                    (vec![Pick::Name(name.into())], rest)
                }
            }
        }
    };
    let is_last = false;
    let step = Step {
        below,
        picks,
        is_last,
    };
    Some((step, rest))
}

/// `'name', 2]`, and what follows. None: there is a filter in it.
fn picks(list: &str) -> Option<(Vec<Pick>, &str)> {
    let mut picks = Vec::new();
    let mut rest = list.trim_start();
    loop {
        let (pick, after) = match rest.chars().next()? {
            quote @ ('\'' | '"') => {
                let inside = &rest[1..];
                let end = inside.find([quote, '\\'])?;
                // A name with an escape in it.
                if inside[end..].starts_with('\\') {
                    return None;
                }
                (Pick::Name(inside[..end].into()), &inside[end + 1..])
            }
            '?' => return None,
            _ => {
                let (word, after) = rest.split_at(rest.find([',', ']'])?);
                let pick = match word.trim_end() {
                    "*" => Pick::Any,
                    number => number.parse().map_or(Pick::Slice, Pick::Index),
                };
                (pick, after)
            }
        };
        picks.push(pick);
        let after = after.trim_start();
        match after.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return Some((picks, after.strip_prefix(']')?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_plugin::serde_json::json;
    use serde_json_path::JsonPath;

    const LOTS: usize = 1 << 20;

    fn kept(paths: &[&str], text: &str) -> Value {
        let places = Places::of(paths.iter().copied());
        places.read(text, LOTS).expect("JSON")
    }

    #[test]
    fn what_no_path_comes_to_is_not_kept() {
        let text = r#"{"a": [{"x": 1, "y": {"x": 2}}, 7, {"y": 3}], "b": {"c": [1, 2]}, "d": "t"}"#;
        for (paths, is) in [
            (&["$.d"][..], json!({"d": "t"})),
            (&["$.a[1]"], json!({"a": [null, 7]})),
            (
                &["$.a[-2]"],
                json!({"a": [{"x": 1, "y": {"x": 2}}, 7, {"y": 3}]}),
            ),
            (&["$..x[-1]"], json!(null)),
            (&["$.a[0].x", "$.d"], json!({"a": [{"x": 1}], "d": "t"})),
            (&["$..x"], json!({"a": [{"x": 1, "y": {"x": 2}}]})),
            (
                &["$.a[0].x", "$.b.c[-1]"],
                json!({"a": [{"x": 1}, null, null], "b": {"c": [1, 2]}}),
            ),
            (&["$.b['c']"], json!({"b": {"c": [1, 2]}})),
            (&["$.b.c[1:]"], json!({"b": {"c": [1, 2]}})),
            (&["$.none", "$..none"], json!(null)),
            (&["$"], serde_json::from_str(text).expect("JSON")),
            (&["$[?@.c].c"], serde_json::from_str(text).expect("JSON")),
            (&["$.b[?@ > 1]"], json!({"b": {"c": [1, 2]}})),
        ] {
            assert_eq!(kept(paths, text), is, "{paths:?}");
        }
        let twice = r#"{"a": {"b": 1}, "a": 2}"#;
        assert_eq!(kept(&["$.a.b"], twice), json!(null));
        let places = Places::of(["$.a"].into_iter());
        for bad in ["", "{", r#"{"b": tru}"#, "{} {}", r#"{"a": [1,]}"#] {
            assert!(
                matches!(places.read(bad, LOTS), Err(Unread::NoJson(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_path_finds_what_it_finds_in_the_whole() {
        let texts = [
            r#"{"a": [{"x": 1, "y": {"x": 2}}, 7, {"y": 3, "a": [[0, 5], null]}], "b": {"c": [1, 2], "x": "t"}, "*": 4, "a b": {"x": [8]}}"#,
            r#"[[1, 2, [3, {"a": {"b": null}}]], {"a": true, "x": [], "\u00e9": {}}, "s", 1.5, -3, 1e30, 18446744073709551615]"#,
            "7",
            "[]",
        ];
        let paths = [
            "$",
            "$.a",
            "$.a[*]",
            "$.a[0].x",
            "$.a[-1]",
            "$.a[1:]",
            "$.a[::2].y",
            "$..x",
            "$..x[0]",
            "$..a..x",
            "$..*",
            "$.*.*",
            "$[*]",
            "$[0][2][1].a.b",
            "$['a b'].x",
            "$[\"a\", 'b']",
            "$['*']",
            "$[0, 1]",
            "$..[0]",
            "$..[-1]",
            "$..a[?@.y]",
            "$.a[?@.x == 1].y",
            "$[?count(@.*) > 1]",
            "$['\\u0061']",
            "$.\u{e9}",
            "$..['a', 'x']",
            "$[-2:]",
            "$.b.c[0]",
            "$..[?@ == $.b.c[0]]",
            "$.none.x",
        ];
        let together = Places::of(paths[1..7].iter().copied());
        for text in texts {
            let whole: Value = serde_json::from_str(text).expect("JSON");
            for path in paths {
                let query = JsonPath::parse(path).unwrap_or_else(|e| panic!("{path}: {e}"));
                let alone = kept(&[path], text);
                assert_eq!(
                    query.query(&alone).all(),
                    query.query(&whole).all(),
                    "{path} in {text}"
                );
            }
            let part = together.read(text, LOTS).expect("JSON");
            for path in &paths[1..7] {
                let query = JsonPath::parse(path).expect("a path");
                assert_eq!(
                    query.query(&part).all(),
                    query.query(&whole).all(),
                    "{path} in {text}"
                );
            }
        }
        let many: Vec<String> = (0..200).map(|n| format!("$.a.b.c{n}")).collect();
        let places = Places::of(many.iter().map(String::as_str));
        let text = r#"{"a": {"b": {"c199": 1}}}"#;
        assert_eq!(
            places.read(text, LOTS).expect("JSON"),
            json!({"a": {"b": {"c199": 1}}})
        );
    }

    #[test]
    fn memory_has_a_bound_and_what_is_not_kept_needs_none() {
        let wide = format!("[{}{{}}]", r#"{"a":[1,2,3]},"#.repeat(70_000));
        let read = |path: &str| Places::of([path].into_iter()).read(&wide, LOTS);
        assert!(matches!(read("$..status"), Ok(Value::Null)));
        assert!(matches!(read("$[9].a"), Ok(Value::Array(list)) if list.len() == 10));
        assert!(matches!(read("$[-9].a"), Err(Unread::TooLarge(LOTS))));
        assert!(matches!(read("$..a"), Err(Unread::TooLarge(LOTS))));
        assert!(matches!(read("$..*"), Err(Unread::TooLarge(LOTS))));
    }
}
