//! A client's filter, made ready to be asked of 100,000 checks.
//!
//! Anybody who may read writes filters, so what one costs is bounded: plain names are looked up, and of
//! patterns there may be only so much.

use super::client::error;
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::control::{ControlError, ErrorCode, Filter};
use healthd_core::wire::glob;
use std::collections::HashSet;

/// Bytes of all patterns in a filter: each is compared with every check.
const MAX_PATTERNS: usize = 1024;

pub struct Sieve {
    names: Words,
    plugins: Words,
    /// One bit a verdict; 0: all.
    verdicts: u8,
}

impl Sieve {
    pub fn new(filter: Filter) -> Result<Sieve, ControlError> {
        let sieve = Sieve {
            names: Words::new(filter.names),
            plugins: Words::new(filter.plugins),
            verdicts: filter.verdicts.iter().fold(0, |bits, v| bits | bit(*v)),
        };
        if sieve.names.pattern_bytes() + sieve.plugins.pattern_bytes() > MAX_PATTERNS {
            return Err(error(
                ErrorCode::BadRequest,
                format!("patterns of more than {MAX_PATTERNS} bytes in all"),
                "use fewer or shorter ones; plain names do not count",
            ));
        }
        Ok(sieve)
    }

    pub fn matches(&self, name: &str, plugin: &str, verdict: Verdict) -> bool {
        (self.verdicts == 0 || self.verdicts & bit(verdict) != 0)
            && self.plugins.matches(plugin)
            && self.names.matches(name)
    }

    /// Names that are no patterns: each must exist.
    pub fn plain_names(&self) -> impl Iterator<Item = &str> {
        self.names.plain.iter().map(String::as_str)
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
    patterns: Vec<String>,
}

impl Words {
    fn new(words: Vec<String>) -> Words {
        let (patterns, plain) = words.into_iter().partition(|w| glob::is_pattern(w));
        Words {
            plain: HashSet::from_iter::<Vec<String>>(plain),
            patterns,
        }
    }

    fn matches(&self, text: &str) -> bool {
        (self.plain.is_empty() && self.patterns.is_empty())
            || self.plain.contains(text)
            || self.patterns.iter().any(|p| glob::matches(p, text))
    }

    fn pattern_bytes(&self) -> usize {
        self.patterns.iter().map(String::len).sum()
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
                    let sieve =
                        Sieve::new(filter.clone()).unwrap_or_else(|_| panic!("short enough"));
                    for name in ["web-1", "web-2", "db", "x"] {
                        for plugin in ["web-1", "db", "http"] {
                            for v in [Verdict::Ok, Verdict::Critical, Verdict::Pending] {
                                assert_eq!(
                                    sieve.matches(name, plugin, v),
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
        assert!(Sieve::new(names(many.clone())).is_ok());
        let patterns = many.iter().map(|n| format!("{n}*")).collect();
        assert!(Sieve::new(names(patterns)).is_err());
    }
}
