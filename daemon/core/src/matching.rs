//! `match`: which checks a command, a route, a silence or a maintenance speaks of.
//!
//! ```text
//! match = term { "," term }      one of the terms
//! term  = item { " " item }      all of its items
//! item  = [ "!" ] ( GLOB | KEY "=" GLOB )
//! ```
//! A GLOB with a blank or a comma in it stands in quotes, of one kind or the other. A GLOB alone is the check's name, KEY the name of a label; globs are those of the control protocol. A label that
//! a check does not have fits no glob.

use crate::wire::glob::{self, Glob};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Match {
    text: String,
    terms: Vec<Vec<Item>>,
}

#[derive(Clone, Debug)]
struct Item {
    negated: bool,
    /// None: the name.
    label: Option<String>,
    text: String,
    glob: Glob,
}

/// One item that a check can only fit by being there: not negated, and no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain<'a> {
    Name(&'a str),
    Label {
        key: &'a str,
        /// None: a pattern.
        value: Option<&'a str>,
    },
}

/// Where in the text it cannot be read, why, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongMatch {
    /// Bytes from the start.
    pub at: usize,
    pub what: String,
    pub help: String,
}

impl fmt::Display for WrongMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Match {
    pub fn parse(text: &str) -> Result<Match, WrongMatch> {
        if text.len() > TEXT_MAX {
            return Err(wrong(
                TEXT_MAX,
                "is too long",
                format!("at most {TEXT_MAX} bytes; name a label that the checks have"),
            ));
        }
        let terms = terms(text)?;
        Ok(Match {
            text: text.to_owned(),
            terms,
        })
    }

    /// Everything.
    pub fn all() -> Match {
        Match {
            text: "*".to_owned(),
            terms: vec![vec![Item::new(false, None, "*")]],
        }
    }

    /// Whether a word of a command line is meant as one: a name and a glob hold no `=` and no comma, and no word of them
    /// begins with `!`. Where a check has just this name, that check is meant.
    pub fn is_meant(word: &str) -> bool {
        word.contains(['=', ',']) || word.starts_with('!') || word.contains(" !")
    }

    /// The check of that name, and no other: no name has what globs are made of.
    pub fn name(name: &str) -> Match {
        Match {
            text: name.to_owned(),
            terms: vec![vec![Item::new(false, None, name)]],
        }
    }

    /// What must be there, or it is a slip.
    pub fn plain(&self) -> impl Iterator<Item = Plain<'_>> {
        let items = self.terms.iter().flatten().filter(|item| !item.negated);
        items.filter_map(|item| {
            let value = Some(item.text.as_str()).filter(|text| !glob::is_pattern(text));
            match &item.label {
                None => value.map(Plain::Name),
                Some(key) => Some(Plain::Label { key, value }),
            }
        })
    }

    pub fn fits(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.fits_by(name, |key| labels.get(key).map(String::as_str))
    }

    /// `label` tells the value of a label, wherever it is kept.
    pub fn fits_by<'a>(&self, name: &'a str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let item = |item: &Item| {
            let text = match &item.label {
                None => Some(name),
                Some(key) => label(key),
            };
            text.is_some_and(|text| item.glob.matches(text)) != item.negated
        };
        self.terms.iter().any(|term| term.iter().all(item))
    }

    /// Whether it fits whatever there is.
    pub fn is_all(&self) -> bool {
        self.text.trim() == "*"
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<Match> for String {
    fn from(matches: Match) -> String {
        matches.text
    }
}

impl TryFrom<String> for Match {
    type Error = WrongMatch;

    fn try_from(text: String) -> Result<Match, WrongMatch> {
        Match::parse(&text)
    }
}

impl PartialEq for Match {
    fn eq(&self, other: &Match) -> bool {
        self.text == other.text
    }
}

fn terms(text: &str) -> Result<Vec<Vec<Item>>, WrongMatch> {
    let mut terms = vec![Vec::new()];
    let mut begun = 0;
    let mut rest = text.char_indices().peekable();
    let empty = |at| {
        let what = if text.trim().is_empty() {
            "is empty"
        } else {
            "has nothing on one side of a comma"
        };
        let help = "write names and labels, as in `web-*, team=db`, or `*` for all".to_owned();
        Err(wrong(at, what, help))
    };
    while let Some((at, c)) = rest.peek().copied() {
        match c {
            ' ' => drop(rest.next()),
            ',' => {
                rest.next();
                if terms.last().is_some_and(Vec::is_empty) {
                    return empty(begun);
                }
                terms.push(Vec::new());
                begun = at + 1;
            }
            _ => {
                let end = word_end(text, at)?;
                while rest.next_if(|(i, _)| *i < end).is_some() {}
                if let Some(term) = terms.last_mut() {
                    term.push(item(at, &text[at..end])?);
                }
            }
        }
    }
    match terms.last().is_some_and(Vec::is_empty) {
        true => empty(begun),
        false => Ok(terms),
    }
}

/// Where the item ends that begins at `at`. A blank or a comma in quotes is part of it.
fn word_end(text: &str, at: usize) -> Result<usize, WrongMatch> {
    let mut quote = None;
    let mut before = '!';
    for (i, c) in text[at..].char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if is_quote(c) && (before == '!' || before == '=') => quote = Some(c),
            None if c == ' ' || c == ',' => return Ok(at + i),
            None => {}
        }
        before = c;
    }
    match quote {
        Some(open) => {
            let help = "quotes go around the whole, as in `'web shop'` or `team='a b'`".to_owned();
            Err(wrong(at, format!("has a {open} that nothing closes"), help))
        }
        None => Ok(text.len()),
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"')
}

fn item(at: usize, word: &str) -> Result<Item, WrongMatch> {
    let (negated, rest) = match word.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    if let Some(name) = unquoted(rest) {
        return Ok(Item::new(negated, None, name));
    }
    // `KEY!=GLOB` is how others write it.
    if let Some((key, glob)) = rest.split_once("!=") {
        let meant = format!("!{key}={glob}");
        let help = match item(0, &meant) {
            Ok(_) => format!("write `{meant}`"),
            Err(e) => e.help,
        };
        return Err(wrong(at, "has `!=` in an item", help));
    }
    let (label, glob) = match rest.split_once('=') {
        Some((key, glob)) => (Some(key), glob),
        None => (None, rest),
    };
    let bare_wrong = glob.is_empty() || glob.starts_with('!') || glob.contains(['=', '"', '\'']);
    let glob_wrong = unquoted(glob).is_none() && bare_wrong;
    let key_wrong = label.is_some_and(|key| {
        key.is_empty()
            || !key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    });
    if glob_wrong || key_wrong || word.chars().any(char::is_control) {
        let help =
            "an item is a name or a label, as in `web-*`, `!web-1`, `'web shop'` or `team=db`"
                .to_owned();
        let what = format!(
            "has an item `{}` that is neither a name nor a label",
            word.escape_debug()
        );
        return Err(wrong(at, what, help));
    }
    Ok(Item::new(negated, label, unquoted(glob).unwrap_or(glob)))
}

impl Item {
    fn new(negated: bool, label: Option<&str>, text: &str) -> Item {
        Item {
            negated,
            label: label.map(str::to_owned),
            text: text.to_owned(),
            glob: Glob::new(text),
        }
    }
}

/// What stands in quotes, if all of it does, and there is something.
fn unquoted(text: &str) -> Option<&str> {
    let open = text.chars().next().filter(|c| is_quote(*c))?;
    let inner = text.strip_prefix(open)?.strip_suffix(open)?;
    let plain = !inner.is_empty() && !inner.contains(open) && !inner.chars().any(char::is_control);
    plain.then_some(inner)
}

fn wrong(at: usize, what: impl Into<String>, help: String) -> WrongMatch {
    WrongMatch {
        at,
        what: what.into(),
        help,
    }
}

/// A client writes it, too.
const TEXT_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(text: &str, name: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Match::parse(text)
            .expect(text)
            .fits(name, &labels.collect())
    }

    #[test]
    fn names_labels_and_both() {
        let web: &[(&str, &str)] = &[("team", "web"), ("tier", "1")];
        for (text, name, labels, expected) in [
            ("*", "shop/db", &[][..], true),
            ("shop/*", "shop/db", &[], true),
            ("shop/*", "api", &[], false),
            ("team=web", "api", web, true),
            ("team=db", "api", web, false),
            ("team=web, shop/*", "shop/db", &[], true),
            ("team=web,shop/*", "api", web, true),
            ("team=web tier=1", "api", web, true),
            ("team=web tier=2", "api", web, false),
            ("team=web !api", "api", web, false),
            ("!team=web", "api", web, false),
            ("!team=web", "api", &[], true),
            ("team=*", "api", &[], false),
            ("team=", "api", &[("team", "")], false),
            ("a, b  c ,d", "d", &[], true),
            ("db-[0-3]", "db-2", &[], true),
            ("'web shop, *'", "web shop, front", &[], true),
            ("!'web shop' \"größe *\"", "größe 2", &[], true),
            ("team='web' x, tier=\"1\"", "api", web, true),
            ("'a=b'", "a=b", &[], true),
            ("it's", "x", &[], false),
        ] {
            if matches!(text, "team=" | "it's") {
                assert!(Match::parse(text).is_err());
                continue;
            }
            assert_eq!(fits(text, name, labels), expected, "{text} on {name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_a_way_out() {
        for (text, at, help) in [
            ("", 0, "`*`"),
            ("  ", 0, "`*`"),
            ("web,,db", 4, "`web-*, team=db`"),
            ("web,", 4, "`web-*, team=db`"),
            ("a b team!=web", 4, "`!team=web`"),
            ("web =db", 4, "`team=db`"),
            ("!", 0, "`!web-1`"),
            ("!!web", 0, "`!web-1`"),
            ("team=a=b", 0, "`team=db`"),
            ("team=\"web", 0, "`team='a b'`"),
            ("a, 'web shop", 3, "`'web shop'`"),
            ("a ''", 2, "`'web shop'`"),
            ("'a'b", 0, "`'web shop'`"),
            ("te am=web te\u{7}m=x", 10, "`team=db`"),
        ] {
            let e = Match::parse(text).expect_err(text);
            assert_eq!(e.at, at, "{text}: {e}");
            assert!(e.help.contains(help), "{text}: {}", e.help);
        }
        assert!(Match::parse(&"a".repeat(2_000)).is_err());
    }

    #[test]
    fn what_is_meant_as_a_match_and_what_must_be_there() {
        for (word, meant) in [
            ("web-*", false),
            ("web shop", false),
            ("[!a]b", false),
            ("team=web", true),
            ("!web", true),
            ("a,b", true),
        ] {
            assert_eq!(Match::is_meant(word), meant, "{word}");
        }
        let label = |key, value| Plain::Label { key, value };
        let of = Match::parse("web team=db !api tier=[12], 'x y' z* !a=b").expect("a match");
        assert_eq!(
            of.plain().collect::<Vec<_>>(),
            [
                Plain::Name("web"),
                label("team", Some("db")),
                label("tier", None),
                Plain::Name("x y")
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c*?!=, '\"\\[\\]-]{0,20}", name in "[a-c]{0,3}") {
            match Match::parse(&text) {
                Ok(m) => {
                    // A term more can only let more through; an item more only less.
                    let none = BTreeMap::new();
                    let fits = m.fits(&name, &none);
                    let wider = Match::parse(&format!("{text},zz")).expect("one more term");
                    prop_assert_eq!(wider.fits(&name, &none), fits);
                    let all = Match::parse(&format!("{text},*")).expect("one more term");
                    prop_assert!(all.fits(&name, &none));
                }
                Err(e) => {
                    prop_assert!(e.at <= text.len());
                    prop_assert!(!e.help.is_empty());
                    for example in e.help.split('`').skip(1).step_by(2) {
                        prop_assert!(Match::parse(example).is_ok(), "{}", example);
                    }
                }
            }
        }
    }
}
