//! JSON for programs. Valid JSON may still hold a raw CSI (U+009B) or a direction override inside a
//! string; those leave as `\uXXXX`, which means the same to a program and nothing to a terminal.

use super::text::is_unsafe;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// One value on one line, without the line end.
pub fn line(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, SafeStrings))
        .expect("our own types always serialize");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// One array, one element a line: `jq` reads it as a whole, `grep` row by row.
pub fn array(rows: &[impl Serialize]) -> String {
    let mut out = String::from("[");
    for (i, row) in rows.iter().enumerate() {
        out.push_str(if i == 0 { "\n" } else { ",\n" });
        out.push_str(&line(row));
    }
    out.push_str(if rows.is_empty() { "]\n" } else { "\n]\n" });
    out
}

struct SafeStrings;

impl Formatter for SafeStrings {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_escaped_and_mean_the_same() {
        let text = "a\x1b[2J\u{9b}31m\u{202e}\u{7f}\u{e0001}\n\"ä";
        let json = line(&text);
        assert_eq!(
            json,
            r#""a\u001b[2J\u009b31m\u202e\u007f\udb40\udc01\n\"ä""#
        );
        assert_eq!(serde_json::from_str::<String>(&json).expect("valid"), text);
    }

    #[test]
    fn arrays_have_one_row_a_line() {
        assert_eq!(array(&[1, 2]), "[\n1,\n2\n]\n");
        assert_eq!(array(&[0; 0]), "[]\n");
    }
}
