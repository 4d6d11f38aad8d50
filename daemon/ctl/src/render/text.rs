//! Text from elsewhere, made safe and made to fit.
//!
//! A plugin or a monitored server writes these messages. Raw, an escape sequence in one could retitle
//! the terminal, hide a line, or worse; so nothing from a peer reaches a terminal unescaped.

use healthd_core::config::thousands;
use healthd_core::text::is_plain;
pub use healthd_core::text::is_unsafe;
use std::borrow::Cow;
use std::fmt::Write;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line without anything unsafe.
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_escaped(&mut safe, c);
    }
    Cow::Owned(safe)
}

/// Several lines: line ends stay, tabs become blanks.
pub fn escape_lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for line in text.lines() {
        for c in line.chars() {
            match c {
                '\t' => safe.push_str("    "),
                c => push_escaped(&mut safe, c),
            }
        }
        safe.push('\n');
    }
    safe
}

fn push_escaped(out: &mut String, c: char) {
    let written = match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if !is_unsafe(c) => out.write_char(c),
        c if c.is_ascii() => write!(out, "\\x{:02x}", c as u32),
        c => write!(out, "\\u{{{:x}}}", c as u32),
    };
    written.expect("a String takes all");
}

/// Columns on a terminal.
pub fn width(text: &str) -> usize {
    match is_plain(text) {
        true => text.len(),
        false => text.width(),
    }
}

/// At most `max` columns; what is cut ends in `…`.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    // Bytes bound columns from above, so a short text is not measured.
    if text.len() <= max || width(text) <= max {
        return Cow::Borrowed(text);
    }
    let Some(room) = max.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let mut used = 0;
    let end = text
        .char_indices()
        .find(|(_, c)| {
            used += c.width().unwrap_or(0);
            used > room
        })
        .map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!("{}…", text[..end].trim_end()))
}

/// In lines of at most `max` columns, broken at blanks where there are some.
pub fn wrap(text: &str, max: usize) -> Vec<String> {
    let max = max.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let wide = width(word.trim_end());
        if used > 0 && used + wide > max {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.last_mut().expect("there is one");
        if wide <= max {
            line.push_str(word);
            used += width(word);
            continue;
        }
        // A word that is longer than a line is broken where the line ends.
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > max && c == ' ' {
                continue;
            }
            if used + wide > max && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            lines.last_mut().expect("there is one").push(c);
            used += wide;
        }
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

/// "1 check", "10,000 checks".
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Texts of all kinds, alone and within others.
    pub fn odd() -> Vec<String> {
        let odd = [
            "",
            " ",
            "~",
            "two words ",
            "äöü",
            "漢字",
            "e\u{301}",
            "\u{301}",
            "\u{1f469}\u{200d}\u{1f4bb}",
            "\u{1f1e9}\u{1f1ea}",
            "\u{2764}\u{fe0f}",
            "\u{ad}",
            "\u{200b}",
            "\u{202e}fed",
            "\u{e0001}",
            "\u{9b}31m",
            "\x1b[2J",
            "a\tb\r\nc",
            "\0",
            "\x1f",
            "\x7f",
            &"long ".repeat(60),
        ];
        let within = odd.map(|text| format!("web-1 {text} and more"));
        odd.map(str::to_owned).into_iter().chain(within).collect()
    }

    #[test]
    fn plain_text_is_escaped_and_measured_as_any_other() {
        for text in odd() {
            let mut slow = String::new();
            text.chars().for_each(|c| push_escaped(&mut slow, c));
            assert_eq!(escape(&text), slow);
            assert_eq!(width(&slow), UnicodeWidthStr::width(&*slow), "{slow:?}");
        }
    }

    #[test]
    fn escape_sequences_become_text() {
        assert_eq!(escape("plain äöü 漢字"), "plain äöü 漢字");
        assert_eq!(escape("\x1b]0;owned\x07"), "\\x1b]0;owned\\x07");
        assert_eq!(escape("a\nb\tc\rd\x7f"), "a\\nb\\tc\\rd\\x7f");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escape("abc\u{202e}fed"), "abc\\u{202e}fed");
        assert_eq!(
            escape_lines("one\r\ntwo\t\x1b[2J"),
            "one\ntwo    \\x1b[2J\n"
        );
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 80), ["one two three"]);
        assert_eq!(wrap("a abcdefgh b", 4), ["a", "abcd", "efgh", "b"]);
        assert_eq!(wrap("漢字漢字", 4), ["漢字", "漢字"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn cut_by_columns_not_bytes() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello!", 5), "hell…");
        assert_eq!(cut("äöüäöü", 6), "äöüäöü");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("漢字漢字", 4), "漢…");
        assert_eq!(cut("one two", 5), "one…");
        assert_eq!(cut("x", 0), "");
    }
}
