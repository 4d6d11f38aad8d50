//! The head of a response, read as browsers and curl read it: folded lines, control characters, blanks before a
//! colon and lines without one are no reason to refuse an answer. What a value holds is kept as it came.

use std::borrow::Cow;

/// A line of the head. Its value is bytes: servers send UTF-8, Latin-1 and worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub name: String,
    pub value: Vec<u8>,
}

impl Header {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    pub fn text(&self) -> Cow<'_, str> {
        text(&self.value)
    }
}

/// UTF-8, else Latin-1.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
    }
}

#[derive(Debug, PartialEq)]
pub struct StatusLine {
    pub status: u16,
    pub minor_version: u8,
}

/// `HTTP/1.1 200 OK`. More than one blank, no reason and any version are fine; three digits must be there.
pub fn status_line(line: &[u8]) -> Option<StatusLine> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let blank = rest.iter().position(|b| matches!(b, b' ' | b'\t'))?;
    let (version, rest) = rest.split_at(blank);
    if version.is_empty() || !version.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let (digits, after) = rest.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || after.first().is_some_and(|b| !is_blank(*b)) {
        return None;
    }
    let status = digits.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0'));
    let minor_version = u8::from(version != b"1.0");
    (status >= 100).then_some(StatusLine {
        status,
        minor_version,
    })
}

/// Each header of a head after its status line, folds replaced by a blank. A line without a colon is left out.
pub fn each_header<'h>(lines: &'h [u8], mut take: impl FnMut(&'h [u8], Cow<'h, [u8]>)) {
    let mut current: Option<(&[u8], Cow<[u8]>)> = None;
    for line in lines.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first().is_some_and(|b| is_blank(*b)) {
            if let Some((_, value)) = &mut current {
                let more = line.trim_ascii();
                let value = value.to_mut();
                if !more.is_empty() && !value.is_empty() {
                    value.push(b' ');
                }
                value.extend_from_slice(more);
            }
            continue;
        }
        if let Some((name, value)) = current.take() {
            take(name, value);
        }
        if let Some(colon) = line.iter().position(|b| *b == b':') {
            let (name, value) = (line[..colon].trim_ascii_end(), &line[colon + 1..]);
            if !name.is_empty() {
                current = Some((name, value.trim_ascii().into()));
            }
        }
    }
    if let Some((name, value)) = current {
        take(name, value);
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let read = |line: &[u8]| status_line(line).map(|s| (s.status, s.minor_version));
        for (line, expected) in [
            (&b"HTTP/1.1 200 OK"[..], Some((200, 1))),
            (b"HTTP/1.0 200", Some((200, 0))),
            (b"HTTP/1.1   404   Not Found", Some((404, 1))),
            (b"HTTP/1.1 200 D\xe9plac\xe9", Some((200, 1))),
            (b"HTTP/2 999 x", Some((999, 1))),
            (b"HTTP/1.1 20", None),
            (b"HTTP/1.1 2000 x", None),
            (b"HTTP/1.1 099 x", None),
            (b"HTTP/x 200 OK", None),
            (b"HTTP/ 200 OK", None),
            (b"HTTP/1.1", None),
            (b"ICY 200 OK", None),
        ] {
            assert_eq!(read(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn header_lines_of_the_real_web() {
        let read = |lines: &[u8]| {
            let mut out = Vec::new();
            each_header(lines, |n, v| {
                out.push(format!("{}={}", text(n), v.escape_ascii()));
            });
            out.join("|")
        };
        for (lines, expected) in [
            (&b"A: b\r\nc:d\r\n\r\n"[..], "A=b|c=d"),
            (
                b"A: one\r\n two\r\n\t three\r\nB: x\r\n",
                "A=one two three|B=x",
            ),
            (b"A:\r\n b\r\n", "A=b"),
            (b" lost\r\nA: b\r\n", "A=b"),
            (b"A : b\r\n", "A=b"),
            (b"A: a\x01b\x00\r\n", "A=a\\x01b\\x00"),
            (b"no colon\r\nA: b:c\n", "A=b:c"),
            (b": x\r\nA: \xe9\n", "A=\\xe9"),
            (b"A: a\rb\r\n", "A=a\\rb"),
        ] {
            assert_eq!(read(lines), expected);
        }
    }
}
