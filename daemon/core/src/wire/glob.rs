//! Name patterns of the control protocol: `*`, `?`, `[a-z]`, `[!a-z]`; the whole name must match.
//!
//! A client writes the pattern, so the time is bounded: at most pattern x name steps, no recursion.

/// Whether the text is a pattern at all; a plain name must exist, a pattern may match nothing.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when a later part fails: after the last `*`, which then takes one byte more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(b'?') => Some(p + 1),
            Some(b'[') => match class(&pattern[p..], name[n]) {
                Some((true, used)) => Some(p + used),
                Some((false, _)) => None,
                // A `[` that nothing closes stands for itself.
                None => (name[n] == b'[').then_some(p + 1),
            },
            Some(byte) => (*byte == name[n]).then_some(p + 1),
            None => None,
        };
        match (step, retry) {
            (Some(next), _) => {
                p = next;
                n += 1;
            }
            (None, Some((after_star, start))) => {
                p = after_star;
                n = start + 1;
                retry = Some((after_star, start + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether the class at the start of `pattern` holds `byte`, and its length; None: it has no end.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let mut at = first;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        // `]` in the first place stands for itself, as in a shell.
        if low == b']' && at > first {
            return Some((found != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                found |= (low..=*high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
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
