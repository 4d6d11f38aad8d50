//! Texts that are cut to size, and what no text of a person may hold.

use std::borrow::Cow;

/// Characters that move, hide or reorder what a terminal shows: controls (C0, DEL, C1), line separators,
/// directional marks and overrides (as in CVE-2021-42574), tags.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether all of it is printable ASCII: each byte is a column, and none is unsafe.
pub fn is_plain(text: &str) -> bool {
    // Without a way out before the end, so that the compiler takes many bytes in one step.
    let plain = |b: u8| b.wrapping_sub(b' ') <= b'~' - b' ';
    text.bytes().fold(true, |all, b| all & plain(b))
}

/// As a value of a line of the log: in quotes where it would not be one word.
pub fn field(text: &str) -> Cow<'_, str> {
    let splits = |c: char| c.is_whitespace() || c == '"' || c == '=' || is_unsafe(c);
    match text.is_empty() || text.contains(splits) {
        true => format!("{text:?}").into(),
        false => text.into(),
    }
}

/// No more than `most` bytes of it, up to the border of a character.
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// As a word of a command that a person may paste into a shell.
pub fn word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "._:/-+,@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', "'\\''")).into(),
    }
}

/// Puts `text` in the place of `kept`, where there is room for it already. What a text that was much longer has taken is
/// given back.
pub fn keep(kept: &mut String, text: &str) {
    const SPARE: usize = 128;
    if kept == text {
        return;
    }
    if kept.capacity() > 2 * text.len() + SPARE {
        *kept = text.to_owned();
        return;
    }
    kept.clear();
    kept.reserve_exact(text.len());
    kept.push_str(text);
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_takes_the_room_of_the_one_before_it_and_no_more_than_it_needs() {
        let mut kept = String::new();
        super::keep(&mut kept, "open in 12 ms");
        assert_eq!((kept.as_str(), kept.capacity()), ("open in 12 ms", 13));
        let room = kept.as_ptr();
        for text in ["open in 7 ms", "", "open in 31 ms"] {
            super::keep(&mut kept, text);
            assert_eq!((kept.as_str(), kept.as_ptr()), (text, room));
        }
        let long = "x".repeat(4096);
        super::keep(&mut kept, &long);
        assert_eq!((kept.as_str(), kept.capacity()), (long.as_str(), 4096));
        super::keep(&mut kept, "open in 9 ms");
        assert_eq!((kept.as_str(), kept.capacity()), ("open in 9 ms", 12));
    }

    #[test]
    fn plain_is_what_ascii_prints() {
        for c in ('\0'..='\u{ff}').chain(['\u{202e}', '漢', '\u{1f600}']) {
            let plain = c == ' ' || c.is_ascii_graphic();
            assert_eq!(
                super::is_plain(&format!("one {c} of many more")),
                plain,
                "{c:?}"
            );
        }
        assert!(super::is_plain(""));
    }

    #[test]
    fn a_word_is_one_word_for_a_shell() {
        for (text, word) in [
            ("web/a", "web/a"),
            ("Büro", "Büro"),
            ("the shop", "'the shop'"),
            ("it's", "'it'\\''s'"),
            ("$(id)", "'$(id)'"),
            ("", "''"),
        ] {
            assert_eq!(super::word(text), word);
        }
    }

    #[test]
    fn a_field_is_one_word_or_stands_in_quotes() {
        for (text, field) in [
            ("web/a", "web/a"),
            ("Büro", "Büro"),
            ("the shop", "\"the shop\""),
            ("a\"b", "\"a\\\"b\""),
            ("a=b", "\"a=b\""),
            ("", "\"\""),
            ("a\u{1b}[2J", "\"a\\u{1b}[2J\""),
        ] {
            assert_eq!(super::field(text), field);
        }
    }
}
