//! Patterns of names, as shells write them: `*` is any text, `?` one character, `[a-c]` one of these, `[!a]` none of them.

/// Does the whole name match? `*` also matches `/`: whoever wants whole components matches them one by one.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` is, and up to where it has matched: on a mistake it takes one more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match one(&pattern[p..], name[n]) {
            Some(used) => {
                p += used;
                n += 1;
            }
            None if pattern.get(p) == Some(&'*') => {
                star = Some((p, n));
                p += 1;
            }
            None => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Is it a pattern at all?
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// How much of the pattern this character used; None: it does not match.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match *pattern.first()? {
        '*' => None,
        '?' => Some(1),
        '[' => match set(pattern, c) {
            Some((used, inside)) => inside.then_some(used),
            None => (c == '[').then_some(1),
        },
        plain => (plain == c).then_some(1),
    }
}

/// `[...]` at the beginning: its length, and whether the character is in it. None: it has no end.
fn set(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if negated { 2 } else { 1 };
    let (mut at, mut inside) = (first, false);
    loop {
        let low = *pattern.get(at)?;
        if low == ']' && at > first {
            return Some((at + 1, inside != negated));
        }
        let range = pattern.get(at + 1) == Some(&'-') && *pattern.get(at + 2)? != ']';
        let high = if range { pattern[at + 2] } else { low };
        inside |= (low..=high).contains(&c);
        at += if range { 3 } else { 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("eth*", "eth0", "xeth0"),
            ("*", "", "-"),
            ("a?c", "abc", "ac"),
            ("/var/*/log", "/var/lib/x/log", "/var/log"),
            ("[a-c]x", "bx", "dx"),
            ("[!a-c]x", "dx", "bx"),
            ("[]]x", "]x", "[x"),
            ("[x", "[x", "x"),
            ("*.log*", "a.log.1", "a.lo"),
            ("ü*", "über", "uber"),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(pattern == "*" || !matches(pattern, no), "{pattern} {no}");
        }
        // No backtracking without end.
        let long = "a".repeat(2000);
        assert!(!matches(&format!("{}b", "*a".repeat(30)), &long));
    }
}
