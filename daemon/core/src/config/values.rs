//! What one section says, each key read as its row in the table of keys has it: its type, its bounds, its default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use healthd_units::{duration, size};

use super::keys::{Grammar, Section};
use super::raw::{Entry, Node, Table, Value};
use super::reading::{DurationLimits, Reading, unknown_value};
use super::report::error;

/// A section with its table. What is wrong with a value is told, and the default stands in for it.
#[derive(Clone, Copy)]
pub struct Values<'t> {
    pub section: Section,
    pub table: &'t Table,
}

impl<'t> Values<'t> {
    pub fn of(section: Section, table: &'t Table) -> Values<'t> {
        Values { section, table }
    }

    pub fn get(&self, key: &str) -> Option<&'t Entry> {
        self.table.get(key)
    }

    fn node(&self, key: &str) -> Option<&'t Node> {
        self.get(key).map(|entry| &entry.node)
    }

    pub fn text(&self, key: &str, cx: &mut Reading<'_>) -> Option<String> {
        cx.text(key, self.node(key)?, self.section.header())
    }

    pub fn path(&self, key: &str, cx: &mut Reading<'_>) -> Option<PathBuf> {
        let text = self.text(key, cx)?;
        Some(cx.absolute(Path::new(&text)))
    }

    pub fn boolean(&self, key: &str, cx: &mut Reading<'_>) -> bool {
        let given = self.node(key);
        let given = given.and_then(|node| cx.boolean(key, node, self.section.header()));
        given.unwrap_or(self.section.default_of(key) == "true")
    }

    pub fn duration(&self, key: &str, cx: &mut Reading<'_>) -> Duration {
        let limits = self.section.durations(key);
        let given = self.node(key);
        let given = given.and_then(|node| cx.duration(key, node, self.section.header(), limits));
        given.unwrap_or_else(|| time(self.section.default_of(key)))
    }

    /// A number of anything. 0: it is `auto`, no limit, or not there and has no default.
    pub fn number<T: TryFrom<i64> + Default>(&self, key: &str, cx: &mut Reading<'_>) -> T {
        let given = self.node(key).and_then(|node| self.whole(key, node, cx));
        let number = given.or_else(|| self.section.default_of(key).parse().ok());
        number.and_then(|n| T::try_from(n).ok()).unwrap_or_default()
    }

    fn whole(&self, key: &str, node: &Node, cx: &mut Reading<'_>) -> Option<i64> {
        let owner = self.section.header();
        match (self.section.grammar(key), &node.value) {
            (Grammar::IntegerOrAuto(..), Value::Str(word)) if word == "auto" => Some(0),
            (Grammar::IntegerOrAuto(..), Value::Str(word)) if word.parse::<u16>().is_err() => {
                let help = format!("write `{key} = \"auto\"`, or a number");
                cx.push(unknown_value(key, owner, word).help(help).at(node.span));
                None
            }
            (Grammar::Integer(least, most) | Grammar::IntegerOrAuto(least, most), _) => {
                cx.integer(key, node, owner, least, most)
            }
            (Grammar::Count(least), _) => {
                // What lies between 0 and the least would replace workers all the time.
                let n = cx.integer(key, node, owner, 0, COUNT_MAX)?;
                if n != 0 && n < least {
                    let e = error(format!("`{key}` of {owner} is too small: {n}"));
                    let help = format!("the smallest is {least}, and 0 is no limit");
                    cx.push(e.at(node.span).help(help));
                    return None;
                }
                Some(n)
            }
            (other, _) => unreachable!("`{key}` of {owner} is {other:?}"),
        }
    }

    /// Above 0, and at most 1.
    pub fn share(&self, key: &str, cx: &mut Reading<'_>) -> f64 {
        let owner = self.section.header();
        let given = self.node(key).and_then(|node| {
            let share = match node.value {
                Value::Float(share) => share,
                Value::Int(share) => share as f64,
                _ => return cx.wrong_type(key, node, owner, "a number", "0.1"),
            };
            if share > 0.0 && share <= 1.0 {
                return Some(share);
            }
            let e = error(format!("`{key}` of {owner} is no share: {share}"));
            let help = "write a number above 0, and at most 1: `0.1` is one in ten";
            cx.push(e.at(node.span).code("bad-value").help(help));
            None
        });
        given
            .or_else(|| self.section.default_of(key).parse().ok())
            .unwrap_or(1.0)
    }

    /// Bytes; 0 is no limit.
    pub fn size(&self, key: &str, cx: &mut Reading<'_>) -> u64 {
        let Grammar::Size(least) = self.section.grammar(key) else {
            unreachable!("`{key}` is no size");
        };
        let bytes = |text| size::parse(text).expect("a size of the table");
        let given = self.node(key);
        let given = given.and_then(|n| cx.size(key, n, self.section.header(), bytes(least)));
        given.unwrap_or_else(|| bytes(self.section.default_of(key)))
    }

    /// One of the words that it may be; empty: it is not there, and has no default.
    pub fn word(&self, key: &str, cx: &mut Reading<'_>) -> &'static str {
        let Grammar::Word(words) = self.section.grammar(key) else {
            unreachable!("`{key}` is no word");
        };
        let given = self.node(key);
        let given = given.and_then(|node| cx.word(key, node, self.section.header(), words));
        given.unwrap_or(self.section.default_of(key))
    }

    /// What is no text is told.
    pub fn texts(&self, key: &str, example: &str, cx: &mut Reading<'_>) -> Vec<String> {
        let owner = self.section.header();
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &node.value else {
            let none = cx.wrong_type(key, node, owner, "a list of texts", example);
            return none.unwrap_or_default();
        };
        let texts = items.iter().map(|item| cx.text(key, item, owner));
        texts.flatten().collect()
    }
}

impl Section {
    fn grammar(self, key: &str) -> Grammar {
        let row = self.row(key);
        row.unwrap_or_else(|| panic!("{self:?} has no key `{key}`"))
            .grammar
    }

    pub fn default_of(self, key: &str) -> &'static str {
        self.row(key).map_or("", |row| row.default)
    }

    /// The bounds of a whole number.
    pub fn integers(self, key: &str) -> (i64, i64) {
        match self.grammar(key) {
            Grammar::Integer(least, most) => (least, most),
            other => unreachable!("`{key}` is {other:?}"),
        }
    }

    /// The bounds of a duration.
    pub fn durations(self, key: &str) -> DurationLimits {
        match self.grammar(key) {
            Grammar::Duration(least, most) => (time(least), time(most)),
            other => unreachable!("`{key}` is {other:?}"),
        }
    }
}

fn time(text: &str) -> Duration {
    duration::parse(text).expect("a duration of the table")
}

const COUNT_MAX: i64 = 1_000_000_000_000;
