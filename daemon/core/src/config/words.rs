//! Small things that make messages read well: the likely word, lists, large numbers.

/// The name in `known` that `word` was most likely meant to be.
///
/// Clients ask this with names of theirs: of many known words only the first are looked at, and each only as long as it
/// may still be the nearest.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut plain = Vec::new();
    plain_chars(word, &mut plain);
    let word = plain;
    // A third of the word may be wrong, as in rustc; beyond that a guess misleads.
    let mut limit = (word.len().max(3) / 3).min(4);
    let mut there = Vec::new();
    let mut nearest = None;
    for k in known.into_iter().take(KNOWN_MOST) {
        if word.len().abs_diff(k.chars().count()) > limit {
            continue;
        }
        plain_chars(k, &mut there);
        let Some(distance) = edit_distance(&word, &there, limit) else {
            continue;
        };
        nearest = Some(k);
        if distance == 0 {
            break;
        }
        // From here on only a nearer one counts.
        limit = distance - 1;
    }
    nearest
}

fn plain_chars(word: &str, out: &mut Vec<char>) {
    out.clear();
    let plain = |c| if c == '-' { '_' } else { c };
    if word.is_ascii() {
        out.extend(word.bytes().map(|b| plain(b.to_ascii_lowercase().into())));
    } else {
        out.extend(word.chars().flat_map(char::to_lowercase).map(plain));
    }
}

/// How many letters must be added, dropped, changed or swapped with their neighbour;
/// `None` when it is more than `limit`.
fn edit_distance(a: &[char], b: &[char], limit: usize) -> Option<usize> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    let ends = a.iter().rev().zip(b.iter().rev());
    let same = ends.take_while(|(a, b)| a == b).count();
    let a = &a[..(a.len() - same).min(WORD_MAX)];
    let b = &b[..(b.len() - same).min(WORD_MAX)];
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before = [0; WORD_MAX + 1];
    let mut above: [usize; WORD_MAX + 1] = std::array::from_fn(|n| n);
    let mut row = above;
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        // No later row can have less than the least of this one.
        if row[..=b.len()].iter().all(|d| *d > limit) {
            return None;
        }
        before = above;
        above = row;
    }
    Some(above[b.len()]).filter(|d| *d <= limit)
}

/// `a`, `b` or `c`
pub fn one_of<S: AsRef<str>>(names: &[S], last: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((only, [])) => only.clone(),
        Some((end, others)) => format!("{} {last} {end}", others.join(", ")),
    }
}

/// A number as people read it: 100,000.
pub fn thousands(n: impl Into<u128>) -> String {
    let digits = n.into().to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Longer words are compared by their beginning: the cost grows with the square.
const WORD_MAX: usize = 64;
/// So many known words are looked at.
const KNOWN_MOST: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_only_what_is_near() {
        let known = ["interval", "timeout", "labels", "plugin", "config"];
        assert_eq!(did_you_mean("intervall", known), Some("interval"));
        assert_eq!(did_you_mean("Interval", known), Some("interval"));
        assert_eq!(did_you_mean("timout", known), Some("timeout"));
        assert_eq!(did_you_mean("lables", known), Some("labels"));
        assert_eq!(
            did_you_mean("retry-interval", ["retry_interval"]),
            Some("retry_interval")
        );
        assert_eq!(did_you_mean("xyz", known), None);
        assert_eq!(did_you_mean("", known), None);
        assert_eq!(did_you_mean("htp", ["http", "tcp"]), Some("http"));
        assert_eq!(did_you_mean(&"x".repeat(100_000), known), None);
        let many: Vec<String> = (0..9_999).map(|n| format!("host-{n:04}/tcp")).collect();
        let many = || many.iter().map(String::as_str);
        assert_eq!(did_you_mean("host-77x7/tcp", many()), Some("host-7707/tcp"));
        assert_eq!(did_you_mean("host-4321/tpc", many()), Some("host-4321/tcp"));
        assert_eq!(
            did_you_mean("host-1x2y3/tcp", many()),
            Some("host-1023/tcp")
        );
    }

    #[test]
    fn numbers_and_lists_read_well() {
        assert_eq!(thousands(0_u64), "0");
        assert_eq!(thousands(999_u64), "999");
        assert_eq!(thousands(100_000_u64), "100,000");
        assert_eq!(thousands(1_234_567_u64), "1,234,567");
        assert_eq!(one_of(&["a"], "or"), "`a`");
        assert_eq!(one_of(&["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
