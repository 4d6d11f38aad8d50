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
    Byte(u8),
    /// One of these, a bit each.
    Class(Box<[u64; 4]>),
    One,
    Any,
}

impl Glob {
    pub fn new(pattern: &str) -> Glob {
        let pattern = pattern.as_bytes();
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(&byte) = pattern.get(at) {
            let (token, used) = match byte {
                b'*' => (Token::Any, 1),
                b'?' => (Token::One, 1),
                b'[' => match class(&pattern[at..]) {
                    Some((members, used)) => (Token::Class(Box::new(members)), used),
                    // A `[` that nothing closes stands for itself.
                    None => (Token::Byte(byte), 1),
                },
                _ => (Token::Byte(byte), 1),
            };
            at += used;
            if token != Token::Any || tokens.last() != Some(&Token::Any) {
                tokens.push(token);
            }
        }
        Glob(tokens)
    }

    pub fn matches(&self, name: &str) -> bool {
        let (tokens, name) = (&self.0, name.as_bytes());
        let (mut t, mut n) = (0, 0);
        // Where to go on when a later part fails: after the last `*`, which then takes one byte more.
        let mut retry: Option<(usize, usize)> = None;
        while n < name.len() {
            let fits = match tokens.get(t) {
                Some(Token::Any) => {
                    retry = Some((t + 1, n));
                    t += 1;
                    continue;
                }
                Some(Token::One) => true,
                Some(Token::Byte(byte)) => *byte == name[n],
                Some(Token::Class(members)) => holds(members, name[n]),
                None => false,
            };
            match (fits, retry) {
                (true, _) => {
                    t += 1;
                    n += 1;
                }
                (false, Some((after_star, start))) => {
                    t = after_star;
                    n = start + 1;
                    retry = Some((after_star, start + 1));
                }
                (false, None) => return false,
            }
        }
        tokens[t..].iter().all(|token| *token == Token::Any)
    }
}

fn holds(members: &[u64; 4], byte: u8) -> bool {
    members[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
}

/// The class at the start of `pattern`, and its length; None: it has no end.
fn class(pattern: &[u8]) -> Option<([u64; 4], usize)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let mut at = first;
    let mut members = [0; 4];
    let mut add = |byte: u8| members[usize::from(byte / 64)] |= 1 << (byte % 64);
    loop {
        let low = *pattern.get(at)?;
        // `]` in the first place stands for itself, as in a shell.
        if low == b']' && at > first {
            break;
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                (low..=*high).for_each(&mut add);
                at += 3;
            }
            _ => {
                add(low);
                at += 1;
            }
        }
    }
    if negated {
        members = members.map(|bits| !bits);
    }
    Some((members, at + 1))
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
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = format!("{}b", "a*".repeat(2_000));
        assert!(!matches(&pattern, &"a".repeat(64)));
        let pattern = format!("{}b", "*[a-z]".repeat(2_000));
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }
}
