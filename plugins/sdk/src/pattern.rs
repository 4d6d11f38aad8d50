//! A regular expression of the config with a bound on what it may cost: a pattern of many states on a long text takes
//! their product in steps, whatever the text says.

pub use regex_lite;
use regex_lite::{Regex, RegexBuilder};
use std::fmt;

/// Steps at most, some twenty seconds in the worst case; real patterns need a hundredth of what the product says.
const MOST_STEPS: usize = 1 << 31;
/// So many may be made within a step of the event loop.
const FEW_STEPS: usize = 1 << 24;
/// Bytes that a state takes, about.
const STATE: usize = 32;
/// What a compiled pattern may take: regex-lite's own bound.
const LARGEST: usize = 10 << 20;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// States that it has at most.
    states: usize,
}

impl Pattern {
    /// The error says where in the text it is wrong.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let fits = |limit: usize| RegexBuilder::new(text).size_limit(limit).build();
        // regex-lite does not say how large it is.
        let small = (0..5).map(|n| (16 << 10) << (2 * n)).find_map(|limit| {
            let regex = fits(limit).ok()?;
            Some((regex, limit))
        });
        let (regex, limit) = match small {
            Some(found) => found,
            None => (fits(LARGEST).map_err(|e| e.to_string())?, LARGEST),
        };
        Ok(Pattern {
            regex,
            states: limit / STATE,
        })
    }

    /// Of a text that is not [too long](Self::is_too_much).
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Why a text of so many bytes cannot be searched for it.
    pub fn is_too_much(&self, bytes: usize) -> Option<String> {
        let most = MOST_STEPS / self.states;
        (bytes > most).then(|| {
            format!("the pattern is too large for a text of {bytes} bytes: {most} can be searched")
        })
    }

    /// Whether so many bytes are more than the event loop can bear.
    pub fn is_slow_on(&self, bytes: usize) -> bool {
        bytes > FEW_STEPS / self.states
    }

    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.regex.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_patterns_are_for_short_texts() {
        let small = Pattern::new("(status|health).*(ok|up)$").expect("a pattern");
        assert!(!small.is_slow_on(16 << 10) && small.is_slow_on(64 << 10));
        assert!(small.is_match("status up"));
        assert!(!small.is_match(&"status ".repeat(100_000)));
        assert_eq!(small.is_too_much(1 << 20), None);
        let large = Pattern::new("(((ab?){1,20}){1,20}){1,20}c").expect("a pattern");
        assert!(large.is_slow_on(16 << 10));
        assert!(large.is_match("abac"));
        let why = large.is_too_much(1 << 20).expect("it is too long");
        assert!(why.starts_with("the pattern is too large for a text of 1048576 bytes: "));
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("((((a{9}){9}){9}){9}){9}{9}{9}{9}").is_err());
    }
}
