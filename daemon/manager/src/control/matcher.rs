//! A client's filter, made ready to be asked of 100,000 checks.
//!
//! Anybody who may read writes filters, so what one costs is bounded: plain names are looked up, and of
//! patterns there may be only so much.

use super::client::error;
use healthd_core::check::outcome::Verdict;
use healthd_core::matching::{Match, Plain};
use healthd_core::wire::control::{ControlError, ErrorCode, Filter};
use healthd_core::wire::glob::{self, Glob};
use std::collections::{BTreeMap, HashSet};

/// Bytes of all patterns in a filter: each is compared with every check.
const MAX_PATTERNS: usize = 1024;

pub struct Matcher {
    names: Words,
    plugins: Words,
    /// One bit a verdict; 0: all.
    verdicts: u8,
    /// The words are names or plugins.
    either: bool,
}

impl Matcher {
    /// `is_check`: whether one has just this name; then it is no `match`.
    pub fn new(filter: Filter, is_check: impl Fn(&str) -> bool) -> Result<Matcher, ControlError> {
        let matcher = Matcher {
            names: Words::with_matches(filter.names, is_check)?,
            plugins: Words::new(filter.plugins),
            verdicts: filter.verdicts.iter().fold(0, |bits, v| bits | bit(*v)),
            either: false,
        };
        matcher.bounded()
    }

    /// Checks by their name, or by their plugin's.
    pub fn of_names_or_plugins(
        words: Vec<String>,
        is_check: impl Fn(&str) -> bool,
    ) -> Result<Matcher, ControlError> {
        let matcher = Matcher {
            names: Words::with_matches(words.clone(), is_check)?,
            plugins: Words::new(words),
            verdicts: 0,
            either: true,
        };
        matcher.bounded()
    }

    fn bounded(self) -> Result<Matcher, ControlError> {
        let matcher = self;
        if matcher.names.pattern_bytes + matcher.plugins.pattern_bytes > MAX_PATTERNS {
            return Err(error(
                ErrorCode::BadRequest,
                format!("patterns of more than {MAX_PATTERNS} bytes in all"),
                "use fewer or shorter ones; plain names do not count",
            ));
        }
        Ok(matcher)
    }

    /// Whether it is one of its checks, whatever that one's verdict is.
    pub fn means(&self, name: &str, plugin: &str, labels: &BTreeMap<String, String>) -> bool {
        match self.either {
            true => self.names.fits(name, labels) || self.plugins.matches(plugin),
            false => self.plugins.matches(plugin) && self.names.fits(name, labels),
        }
    }

    /// A reload may change what it says of a check.
    pub fn asks_labels(&self) -> bool {
        !self.names.matches.is_empty()
    }

    /// What a `match` names and no pattern stands for: each must exist.
    pub fn plain(&self) -> impl Iterator<Item = Plain<'_>> {
        self.names.matches.iter().flat_map(Match::plain)
    }

    pub fn shows(&self, verdict: Verdict) -> bool {
        self.verdicts == 0 || self.verdicts & bit(verdict) != 0
    }

    /// Names that are no patterns: each must exist.
    pub fn required_names(&self) -> impl Iterator<Item = &str> {
        // Some of these are plugins'.
        let names = (!self.either).then_some(&self.names.plain);
        names.into_iter().flatten().map(String::as_str)
    }

    /// It names this one check and says nothing else.
    pub fn names_only(&self, name: &str) -> bool {
        self.names.patterns.is_empty()
            && self.names.matches.is_empty()
            && self.names.plain.len() == 1
            && self.names.plain.contains(name)
    }
}

fn bit(verdict: Verdict) -> u8 {
    1 << verdict.code()
}

/// One list of a filter.
struct Words {
    plain: HashSet<String>,
    patterns: Vec<Glob>,
    matches: Vec<Match>,
    pattern_bytes: usize,
}

impl Words {
    fn new(words: Vec<String>) -> Words {
        let (patterns, plain): (Vec<String>, Vec<String>) =
            words.into_iter().partition(|w| glob::is_pattern(w));
        let pattern_bytes = patterns.iter().map(String::len).sum();
        let short_enough = pattern_bytes <= MAX_PATTERNS;
        Words {
            plain: plain.into_iter().collect(),
            matches: Vec::new(),
            patterns: patterns
                .iter()
                .filter(|_| short_enough)
                .map(|p| Glob::new(p))
                .collect(),
            pattern_bytes,
        }
    }

    /// Some of them may be a `match`.
    fn with_matches(
        words: Vec<String>,
        is_check: impl Fn(&str) -> bool,
    ) -> Result<Words, ControlError> {
        let (matches, names): (Vec<String>, Vec<String>) = words
            .into_iter()
            .partition(|w| Match::is_meant(w) && !is_check(w));
        let mut words = Words::new(names);
        words.pattern_bytes += matches.iter().map(String::len).sum::<usize>();
        if words.pattern_bytes <= MAX_PATTERNS {
            for text in &matches {
                let read = Match::parse(text)
                    .map_err(|e| error(ErrorCode::BadRequest, format!("`{text}` {e}"), e.help));
                words.matches.push(read?);
            }
        }
        Ok(words)
    }

    fn fits(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self.matches.is_empty() {
            true => self.matches(name),
            false => self.is_named(name) || self.matches.iter().any(|m| m.fits(name, labels)),
        }
    }

    fn matches(&self, text: &str) -> bool {
        (self.plain.is_empty() && self.patterns.is_empty()) || self.is_named(text)
    }

    fn is_named(&self, text: &str) -> bool {
        self.plain.contains(text) || self.patterns.iter().any(|p| p.matches(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(names: &[&str], plugins: &[&str], verdicts: &[Verdict]) -> Filter {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Filter {
            names: owned(names),
            plugins: owned(plugins),
            verdicts: verdicts.to_vec(),
        }
    }

    #[test]
    fn says_the_same_as_the_filter() {
        let lists: [&[&str]; 6] = [
            &[],
            &["web-1"],
            &["web-*", "db"],
            &["*"],
            &["team=web"],
            &["db", "team=* !web-2, x"],
        ];
        let label = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
        let labels = [BTreeMap::new(), label("web"), label("db")];
        let verdicts: [&[Verdict]; 3] = [
            &[],
            &[Verdict::Critical],
            &[Verdict::Pending, Verdict::Ok, Verdict::Ok],
        ];
        for names in lists {
            for plugins in &lists[..4] {
                for verdicts in verdicts {
                    let filter = filter(names, plugins, verdicts);
                    let matcher = Matcher::new(filter.clone(), |_| false)
                        .unwrap_or_else(|_| panic!("short enough"));
                    for (name, plugin, labels) in ["web-1", "web-2", "db", "x"]
                        .iter()
                        .flat_map(|name| ["web-1", "db", "http"].map(|plugin| (name, plugin)))
                        .flat_map(|(name, plugin)| labels.iter().map(move |l| (name, plugin, l)))
                    {
                        for v in [Verdict::Ok, Verdict::Critical, Verdict::Pending] {
                            assert_eq!(
                                matcher.means(name, plugin, labels) && matcher.shows(v),
                                filter.matches(name, plugin, labels, Some(v)),
                                "{filter:?} {name} {plugin} {labels:?} {v}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_filter_that_would_cost_much_is_refused() {
        let many: Vec<String> = (0..9_000).map(|i| format!("web-{i}")).collect();
        let names = |names: Vec<String>| Filter {
            names,
            ..Filter::default()
        };
        assert!(Matcher::new(names(many.clone()), |_| false).is_ok());
        let patterns = many.iter().map(|n| format!("{n}*")).collect();
        assert!(Matcher::new(names(patterns), |_| false).is_err());
        let matches = many.iter().map(|n| format!("team={n}")).collect();
        assert!(Matcher::new(names(matches), |_| false).is_err());
        // A check may be called like that.
        let odd = || names(vec!["a=b=c".into()]);
        assert!(Matcher::new(odd(), |_| false).is_err());
        assert!(Matcher::new(odd(), |name| name == "a=b=c").is_ok());
    }
}
