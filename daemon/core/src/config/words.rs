//! Small things that make messages read well: the likely word, lists, large numbers.

/// The name in `known` that `word` was most likely meant to be.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word may be wrong, as in rustc; beyond that a guess misleads.
    let limit = (word.chars().count().max(3) / 3).min(4);
    let plain = |s: &str| s.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .into_iter()
        .filter_map(|k| {
            let there = plain(k);
            let mut distance = edit_distance(&word, &there, limit)?;
            if distance > 0 && sorted_chars(&word) == sorted_chars(&there) {
                distance = 1; // a permutation is a slip of the fingers
            }
            Some((distance, k))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour;
/// `None` when it is more than `limit`.
fn edit_distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let a: Vec<char> = a.chars().take(WORD_MAX).collect();
    let b: Vec<char> = b.chars().take(WORD_MAX).collect();
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut row = above.clone();
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    Some(above[b.len()]).filter(|d| *d <= limit)
}

fn sorted_chars(s: &str) -> Vec<char> {
    let mut chars: Vec<char> = s.chars().take(WORD_MAX).collect();
    chars.sort_unstable();
    chars
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
