//! What a Nagios plugin printed, taken apart: message, long output and performance data.
//!
//! The guidelines: the first line is `text | perfdata`; further lines are long output up to a `|`, and from there on
//! all is performance data. Some plugins have a bar in each line.

use crate::perfdata::Perfdata;

#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// The text of the first line; empty if there is none.
    pub message: String,
    pub long: String,
    pub perfdata: Perfdata,
    /// The bytes were no UTF-8; each bad one is shown as U+FFFD.
    pub not_utf8: bool,
}

impl Output {
    pub fn parse(bytes: &[u8]) -> Output {
        let (text, not_utf8) = readable(bytes);
        let mut out = Output {
            not_utf8,
            ..Output::default()
        };
        let (first, rest) = split(&text, '\n');
        let (message, perfdata) = split(first, '|');
        out.message = message.trim().into();
        out.perfdata.read(perfdata);
        let (long, perfdata) = split(rest, '|');
        let mut long = long.trim_end().to_string();
        // Line by line: an entry never spans two. A line with a bar of its own has its text before it, as on the first.
        for line in perfdata.lines() {
            match line.split_once('|').filter(|(text, _)| !text.contains('=')) {
                Some((text, numbers)) => {
                    long.push('\n');
                    long += text.trim_end();
                    out.perfdata.read(numbers);
                }
                None => out.perfdata.read(line),
            }
        }
        out.long = long.trim_end().into();
        out
    }
}

/// The line of stderr that says why: its first, or the last of what Python says of an exception.
pub fn telling_line(bytes: &[u8]) -> String {
    let (text, _) = readable(bytes);
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or_default();
    match first.starts_with("Traceback (most recent call last)") {
        true => lines.next_back().unwrap_or(first).into(),
        false => first.into(),
    }
}

/// As text for people: whatever is no UTF-8 is replaced, and so are control characters, which could move the cursor
/// of a terminal. Leading empty lines are left out. True: it was no UTF-8.
pub fn readable(bytes: &[u8]) -> (String, bool) {
    let text = String::from_utf8_lossy(bytes);
    let not_utf8 = matches!(text, std::borrow::Cow::Owned(_));
    let text = without_colours(text.trim_start()).replace("\r\n", "\n");
    let clean = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => ' ',
        c => c,
    };
    (text.chars().map(clean).collect(), not_utf8)
}

/// Without the sequences that steer a terminal (ECMA-48, 5.4): `ESC [`, parameters, and a letter.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(' '..='?').contains(&c));
        let rest = end.and_then(|at| part.get(at..));
        match rest.filter(|rest| rest.starts_with(|c: char| ('@'..='~').contains(&c))) {
            Some(rest) => out += &rest[1..],
            None => {
                out += "\x1b[";
                out += part;
            }
        }
    }
    out
}

fn split(text: &str, at: char) -> (&str, &str) {
    text.split_once(at).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_guidelines() {
        let out = Output::parse(
            b"DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n\
              / 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n\
              /var/log 819 MB (84%); | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n\
              /var/log=818MB;970;975;0;980\n",
        );
        assert_eq!(out.message, "DISK OK - free space: / 3326 MB (56%);");
        assert_eq!(
            out.long,
            "/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n/var/log 819 MB (84%);"
        );
        let labels: Vec<_> = out.perfdata.entries.iter().map(|e| &*e.label).collect();
        assert_eq!(labels, ["/", "/boot", "/home", "/var/log"]);
        assert_eq!(out.perfdata.refused, [""; 0]);
        assert!(!out.not_utf8);
    }

    #[test]
    fn odd_outputs() {
        for (bytes, message, long) in [
            (&b""[..], "", ""),
            (b"\n\n  OK \r\nmore\r\n", "OK", "more"),
            (b"| a=1", "", ""),
            (b"\x1b[1;31mred\x1b[0m\x07", "red", ""),
            (b"\x1b[31", "[31", ""),
            (b"a|b=1|c=2", "a", ""),
            (b"a|b=1\nsda|c=2\nsdb|d=3\n", "a", "sda\nsdb"),
        ] {
            let out = Output::parse(bytes);
            assert_eq!((&*out.message, &*out.long), (message, long));
        }
        let out = Output::parse(b"caf\xe9 | a=1");
        assert_eq!((&*out.message, out.not_utf8), ("caf\u{fffd}", true));
        assert_eq!(out.perfdata.entries.len(), 1);
    }

    #[test]
    fn the_line_that_tells_why() {
        for (err, line) in [
            ("\n  boom\nmore\n", "boom"),
            (
                "Traceback (most recent call last):\n  File \"x\", line 1\nImportError: no x\n\n",
                "ImportError: no x",
            ),
            (
                "Traceback (most recent call last):",
                "Traceback (most recent call last):",
            ),
            ("", ""),
        ] {
            assert_eq!(telling_line(err.as_bytes()), line);
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in any::<Vec<u8>>()) {
            let out = Output::parse(&bytes);
            prop_assert!(!out.message.contains(['\n', '|', '\x1b']));
            let _ = telling_line(&bytes);
        }

        #[test]
        fn never_panics_on_lines_and_bars(text in "([ a-z|'=;0-9\n\r]|\u{fffd}|é){0,80}") {
            let out = Output::parse(text.as_bytes());
            prop_assert!(!out.long.contains('|'));
        }
    }
}
