//! Name patterns of the control protocol: `*`, `?`, `[a-z]`, `[!a-z]`; the whole name must match.
//!
//! A client writes the pattern, so the time is bounded: at most pattern x name steps of the same cost, no recursion.

/// Whether the text is a pattern at all; a plain name must exist, a pattern may match nothing.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// For once; who asks it of many names makes a `Glob`.
pub fn matches(pattern: &str, name: &str) -> bool {
    Glob::new(pattern).matches(name)
}

/// A pattern made ready: each step costs the same, however long its classes are.
#[derive(Clone, Debug)]
pub struct Glob(Vec<Token>);

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Char(char),
    Class(Box<Class>),
    One,
    Any,
}

impl Glob {
    pub fn new(pattern: &str) -> Glob {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let token = match c {
                '*' => Token::Any,
                '?' => Token::One,
                '[' => match Class::read(rest) {
                    Some((class, behind)) => {
                        rest = behind;
                        Token::Class(Box::new(class))
                    }
                    // A `[` that nothing closes stands for itself.
                    None => Token::Char(c),
                },
                _ => Token::Char(c),
            };
            if token != Token::Any || tokens.last() != Some(&Token::Any) {
                tokens.push(token);
            }
        }
        Glob(tokens)
    }

    pub fn matches(&self, name: &str) -> bool {
        let tokens = &self.0;
        let (mut t, mut rest) = (0, name);
        // Where to go on when a later part fails: after the last `*`, which then takes one character more.
        let mut retry: Option<(usize, &str)> = None;
        while let Some(c) = rest.chars().next() {
            let behind = &rest[c.len_utf8()..];
            let fits = match tokens.get(t) {
                Some(Token::Any) => {
                    t += 1;
                    retry = Some((t, behind));
                    continue;
                }
                Some(Token::One) => true,
                Some(Token::Char(wanted)) => *wanted == c,
                Some(Token::Class(class)) => class.holds(c),
                None => false,
            };
            match (fits, &mut retry) {
                (true, _) => {
                    t += 1;
                    rest = behind;
                }
                (false, Some((after_star, from))) => {
                    t = *after_star;
                    rest = *from;
                    *from = rest.chars().next().map_or("", |c| &rest[c.len_utf8()..]);
                }
                (false, None) => return false,
            }
        }
        tokens[t..].iter().all(|token| *token == Token::Any)
    }
}

/// One of these characters.
#[derive(Clone, Debug, PartialEq)]
struct Class {
    negated: bool,
    /// A bit each.
    ascii: u128,
    /// The others, sorted, no two of which touch.
    others: Vec<(char, char)>,
}

impl Class {
    /// What stands behind its `[`, and the rest of the pattern; None: it has no end.
    fn read(text: &str) -> Option<(Class, &str)> {
        let negated = text.starts_with(['!', '^']);
        let text = if negated { &text[1..] } else { text };
        let mut chars = text.char_indices().peekable();
        let mut ranges: Vec<(char, char)> = Vec::new();
        let end = loop {
            let (at, low) = chars.next()?;
            // `]` in the first place stands for itself, as in a shell.
            if low == ']' && at > 0 {
                break at + 1;
            }
            let mut ahead = chars.clone();
            match (ahead.next(), ahead.next()) {
                (Some((_, '-')), Some((_, high))) if high != ']' => {
                    ranges.push((low, high));
                    chars = ahead;
                }
                _ => ranges.push((low, low)),
            }
        };
        Some((Class::new(negated, ranges), &text[end..]))
    }

    fn new(negated: bool, mut ranges: Vec<(char, char)>) -> Class {
        let mut ascii = 0;
        for (low, high) in &ranges {
            for c in 0..128u8 {
                if (*low..=*high).contains(&char::from(c)) {
                    ascii |= 1 << c;
                }
            }
        }
        ranges.retain(|(low, high)| low <= high && !high.is_ascii());
        ranges.sort_unstable();
        let mut others: Vec<(char, char)> = Vec::new();
        for (low, high) in ranges {
            match others.last_mut() {
                Some((_, before)) if low <= *before => *before = high.max(*before),
                _ => others.push((low, high)),
            }
        }
        Class {
            negated,
            ascii,
            others,
        }
    }

    fn holds(&self, c: char) -> bool {
        let found = match c.is_ascii() {
            true => self.ascii >> (c as u32) & 1 == 1,
            false => {
                let behind = self.others.partition_point(|(low, _)| *low <= c);
                behind > 0 && c <= self.others[behind - 1].1
            }
        };
        found != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("web", "web", true),
            ("web", "web-1", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything/at:all", true),
            ("web-*", "web-", true),
            ("web-*", "web", false),
            ("*-db-*", "eu-db-1", true),
            ("*-db-*", "eu-db", false),
            ("**a", "bca", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("web-?", "web-1", true),
            ("web-?", "web-12", false),
            ("web-[0-3]", "web-2", true),
            ("web-[0-3]", "web-4", false),
            ("web-[!0-3]", "web-4", true),
            ("web-[!0-3]", "web-1", false),
            ("web-[ab]*", "web-b2", true),
            ("x[]]", "x]", true),
            ("x[a-]", "x-", true),
            ("x[a", "x[a", true),
            ("x[a", "xa", false),
            ("Büro ?", "Büro ü", true),
            ("Büro ?", "Büro xx", false),
            ("[ä-ü]ber", "über", true),
            ("[ä-öx-zü]ber", "über", true),
            ("[!ä]ber", "äber", false),
            ("[!a-z]ber", "über", true),
            ("[a-ü]x", "mx", true),
            ("[ü-ä]x", "üx", false),
            ("*漢?*", "das 漢字 da", true),
            ("*é", "ée\u{301}é", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = format!("{}b", "a*".repeat(2_000));
        assert!(!matches(&pattern, &"a".repeat(64)));
        let class: String = ('à'..='ỹ').step_by(2).collect();
        let pattern = format!("{}b", format!("*[{class}]").repeat(20));
        assert!(!matches(&pattern, &"ỹ".repeat(10_000)));
        let pattern = format!("{}b", "*[a-z]".repeat(2_000));
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }
}
