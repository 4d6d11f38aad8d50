//! A client's filter, made ready to be asked of 100,000 checks.
//!
//! Anybody who may read writes filters, so what one costs is bounded: plain names are looked up, and of
//! patterns there may be only so much.

use super::client::error;
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::control::{ControlError, ErrorCode, Filter};
use healthd_core::wire::glob::{self, Glob};
use std::collections::HashSet;

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
    pub fn new(filter: Filter) -> Result<Matcher, ControlError> {
        let matcher = Matcher {
            names: Words::new(filter.names),
            plugins: Words::new(filter.plugins),
            verdicts: filter.verdicts.iter().fold(0, |bits, v| bits | bit(*v)),
            either: false,
        };
        matcher.bounded()
    }

    /// Checks by their name, or by their plugin's.
    pub fn of_names_or_plugins(words: Vec<String>) -> Result<Matcher, ControlError> {
        let matcher = Matcher {
            names: Words::new(words.clone()),
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
    pub fn means(&self, name: &str, plugin: &str) -> bool {
        match self.either {
            true => self.names.matches(name) || self.plugins.matches(plugin),
            false => self.plugins.matches(plugin) && self.names.matches(name),
        }
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
            patterns: patterns
                .iter()
                .filter(|_| short_enough)
                .map(|p| Glob::new(p))
                .collect(),
            pattern_bytes,
        }
    }

    fn matches(&self, text: &str) -> bool {
        (self.plain.is_empty() && self.patterns.is_empty())
            || self.plain.contains(text)
            || self.patterns.iter().any(|p| p.matches(text))
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
        let lists: [&[&str]; 4] = [&[], &["web-1"], &["web-*", "db"], &["*"]];
        let verdicts: [&[Verdict]; 3] = [
            &[],
            &[Verdict::Critical],
            &[Verdict::Pending, Verdict::Ok, Verdict::Ok],
        ];
        for names in lists {
            for plugins in lists {
                for verdicts in verdicts {
                    let filter = filter(names, plugins, verdicts);
                    let matcher =
                        Matcher::new(filter.clone()).unwrap_or_else(|_| panic!("short enough"));
                    for name in ["web-1", "web-2", "db", "x"] {
                        for plugin in ["web-1", "db", "http"] {
                            for v in [Verdict::Ok, Verdict::Critical, Verdict::Pending] {
                                assert_eq!(
                                    matcher.means(name, plugin) && matcher.shows(v),
                                    filter.matches(name, plugin, Some(v)),
                                    "{filter:?} {name} {plugin} {v}"
                                );
                            }
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
        assert!(Matcher::new(names(many.clone())).is_ok());
        let patterns = many.iter().map(|n| format!("{n}*")).collect();
        assert!(Matcher::new(names(patterns)).is_err());
    }
}
