//! The records that begin in a stretch of a file, and the number of each.
//!
//! A chunk does not know what lies before it. It takes the first line end (or, in JSON, the first comma) for the end of a
//! record, and says where that was. Whoever has all parts sees whether each began where the one before it ended; if one
//! did not (a line end inside of quotes), the guess was wrong, and the file is read again in one piece.

use crate::stream::{Stream, Wrong};
use healthd_plugin::serde_json::{self, Value};
use regex::bytes::Regex;
use std::fs::File;
use std::ops::Range;

/// What a record looks like.
pub enum Shape {
    Csv {
        separator: u8,
        header: bool,
    },
    /// `field`: each element is an object, and the number is in there.
    Json {
        field: Option<String>,
    },
    Log(Regex),
}

/// Of a stretch.
#[derive(Debug, Default)]
pub struct Found {
    pub start: u64,
    pub stop: u64,
    pub bad: u64,
    /// Lines of a log in which the pattern was not found.
    pub unmatched: u64,
    pub values: Vec<f64>,
}

/// The array has ended: nothing behind it counts.
pub const END: u64 = u64::MAX;
/// What was read makes no sense: the guess about its beginning was wrong.
pub const MISFIT: u64 = u64::MAX - 1;

/// What a chunk is to do.
pub struct Stretch<'s> {
    pub file: &'s File,
    pub range: Range<u64>,
    /// The end of what may be read for the last record.
    pub end: u64,
    /// Csv: the column, from 0 on. Json: where the first element begins.
    pub place: u64,
    pub most: usize,
    pub cancelled: &'s dyn Fn() -> bool,
}

/// Numbers come in thousands; the flag is looked at now and then.
const LOOK_EVERY: usize = 4096;

impl Shape {
    pub fn find(&self, stretch: &Stretch<'_>) -> Result<Found, Wrong> {
        let guessed = match self {
            Shape::Json { .. } => stretch.range.start > stretch.place,
            Shape::Csv { .. } | Shape::Log(_) => stretch.range.start > 0,
        };
        match self.find_here(stretch, guessed) {
            Err(Wrong::TooLong { .. } | Wrong::Syntax { .. }) if guessed => Ok(Found {
                start: MISFIT,
                stop: MISFIT,
                ..Found::default()
            }),
            other => other,
        }
    }

    fn find_here(&self, stretch: &Stretch<'_>, guessed: bool) -> Result<Found, Wrong> {
        let from = match self {
            Shape::Json { .. } if !guessed => stretch.place,
            _ => stretch.range.start.saturating_sub(u64::from(guessed)),
        };
        let mut found = Found {
            start: from,
            stop: from,
            ..Found::default()
        };
        let mut stream = Stream::new(stretch.file, from, stretch.end);
        if guessed && !self.skip_to_record(&mut stream)? {
            let nowhere = match self {
                Shape::Json { .. } => END,
                _ => stretch.end,
            };
            (found.start, found.stop) = (nowhere, nowhere);
            return Ok(found);
        }
        found.start = stream.at();
        found.stop = stream.at();
        if let Shape::Csv { header: true, .. } = self
            && !guessed
        {
            let end = self.whole(&mut stream, |b, eof| {
                csv_record(b, b',', 0, eof).map(|r| r.0)
            })?;
            stream.advance(end);
            found.stop = stream.at();
        }
        let mut looked = 0;
        while found.stop < stretch.range.end {
            looked += 1;
            if looked % LOOK_EVERY == 0 && (stretch.cancelled)() {
                return Err(Wrong::Cancelled);
            }
            if !self.one(&mut stream, stretch.place as usize, &mut found)? {
                break;
            }
            if found.values.len() > stretch.most {
                return Err(Wrong::TooMany);
            }
        }
        Ok(found)
    }

    /// To the first byte behind what looks like the end of a record. False: there is none.
    fn skip_to_record(&self, stream: &mut Stream<'_>) -> Result<bool, Wrong> {
        loop {
            let rest = stream.rest();
            let behind = match self {
                Shape::Csv { .. } | Shape::Log(_) => find(rest, b'\n').map(|at| at + 1),
                Shape::Json { field: None } => find(rest, b',').map(|at| at + 1),
                Shape::Json { field: Some(_) } => between_objects(rest),
            };
            if let Some(behind) = behind {
                stream.advance(behind);
                return Ok(true);
            }
            // Of a gap between objects the beginning may be at hand already.
            let keep = match self {
                Shape::Json { field: Some(_) } => rest.len().min(256),
                _ => 0,
            };
            let pass = rest.len() - keep;
            stream.advance(pass);
            if !stream.more()? {
                return Ok(false);
            }
        }
    }

    /// The length of a whole record, as `measure` finds it: (bytes, is this the file's end?).
    fn whole(
        &self,
        stream: &mut Stream<'_>,
        mut measure: impl FnMut(&[u8], bool) -> Option<usize>,
    ) -> Result<usize, Wrong> {
        loop {
            if let Some(length) = measure(stream.rest(), stream.is_last()) {
                return Ok(length);
            }
            if !stream.more()? {
                let at = stream.at();
                return Err(Wrong::Syntax {
                    at,
                    what: "the file ends inside a value",
                });
            }
        }
    }

    /// One record. False: there are no more.
    fn one(
        &self,
        stream: &mut Stream<'_>,
        column: usize,
        found: &mut Found,
    ) -> Result<bool, Wrong> {
        if stream.rest().is_empty() && !stream.more()? {
            return self.ended(stream, found);
        }
        let number = match self {
            Shape::Csv { separator, .. } => {
                let mut cell = None;
                let length = self.whole(stream, |b, eof| {
                    let (length, at) = csv_record(b, *separator, column, eof)?;
                    cell = at;
                    Some(length)
                })?;
                let record = &stream.rest()[..length];
                let blank = record.iter().all(u8::is_ascii_whitespace);
                let number = cell.and_then(|at| number(unquoted(&record[at])));
                stream.advance(length);
                // An empty line is no record.
                if blank { None } else { Some(number) }
            }
            Shape::Log(pattern) => {
                let length = self.whole(stream, |b, eof| match find(b, b'\n') {
                    Some(at) => Some(at + 1),
                    None => eof.then_some(b.len()),
                })?;
                let line = &stream.rest()[..length];
                let captured = pattern.captures(line).map(|c| {
                    let value = c.name("value").or_else(|| c.get(1)).or_else(|| c.get(0));
                    value.and_then(|m| number(m.as_bytes()))
                });
                found.unmatched += u64::from(captured.is_none());
                stream.advance(length);
                captured
            }
            Shape::Json { field } => return json_element(self, stream, field.as_deref(), found),
        };
        found.count(number);
        found.stop = stream.at();
        Ok(true)
    }

    fn ended(&self, stream: &Stream<'_>, found: &mut Found) -> Result<bool, Wrong> {
        match self {
            Shape::Json { .. } => Err(Wrong::Syntax {
                at: stream.at(),
                what: "the file ends inside the array",
            }),
            _ => {
                found.stop = stream.at();
                Ok(false)
            }
        }
    }
}

impl Found {
    /// None: no record. Some(None): one without a number.
    fn count(&mut self, number: Option<Option<f64>>) {
        match number {
            Some(Some(number)) => self.values.push(number),
            Some(None) => self.bad += 1,
            None => {}
        }
    }
}

fn json_element(
    shape: &Shape,
    stream: &mut Stream<'_>,
    field: Option<&str>,
    found: &mut Found,
) -> Result<bool, Wrong> {
    skip_blanks(stream)?;
    let first = stream.peek()?;
    if first == Some(b']') {
        found.stop = END;
        return Ok(false);
    }
    let length = shape.whole(stream, json_value)?;
    let element = &stream.rest()[..length];
    let number = match field {
        None => number(element).filter(|_| first != Some(b'"')),
        Some(field) => serde_json::from_slice::<Value>(element)
            .ok()
            .and_then(|v| v.pointer(field)?.as_f64()),
    };
    let at = stream.at();
    stream.advance(length);
    skip_blanks(stream)?;
    match stream.peek()? {
        Some(b',') if length > 0 => stream.advance(1),
        Some(b']') if length > 0 => {
            found.count(Some(number));
            found.stop = END;
            return Ok(false);
        }
        None => return shape.ended(stream, found),
        Some(_) => {
            let what = "a comma or the end of the array is missing";
            return Err(Wrong::Syntax { at, what });
        }
    }
    found.count(Some(number));
    found.stop = stream.at();
    Ok(true)
}

pub fn skip_blanks(stream: &mut Stream<'_>) -> Result<(), Wrong> {
    while stream.peek()?.is_some_and(|b| b.is_ascii_whitespace()) {
        stream.advance(1);
    }
    Ok(())
}

fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    bytes.iter().position(|b| *b == byte)
}

/// Behind the comma of `}, {`.
fn between_objects(bytes: &[u8]) -> Option<usize> {
    let skip = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let mut from = 0;
    loop {
        let brace = from + find(&bytes[from..], b'}')?;
        let comma = skip(brace + 1);
        if bytes.get(comma) == Some(&b',') && bytes.get(skip(comma + 1)) == Some(&b'{') {
            return Some(comma + 1);
        }
        from = brace + 1;
    }
}

/// The length of the value that begins here; None: its end is not at hand.
pub fn json_value(bytes: &[u8], eof: bool) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    loop {
        match bytes.get(at) {
            None => return (eof && depth == 0 && at > 0).then_some(at),
            Some(b'"') => {
                at += 1;
                loop {
                    match bytes.get(at)? {
                        b'"' => break,
                        b'\\' => at += 2,
                        _ => at += 1,
                    }
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            Some(b'{' | b'[') => {
                depth += 1;
                at += 1;
            }
            Some(b'}' | b']') => {
                if depth <= 1 {
                    // The end of what holds it, or of itself.
                    return Some(if depth == 0 { at } else { at + 1 });
                }
                depth -= 1;
                at += 1;
            }
            Some(b) if depth == 0 && (*b == b',' || b.is_ascii_whitespace()) => return Some(at),
            Some(_) => at += 1,
        }
    }
}

/// RFC 4180: the length of the record that begins here and where its cell is; None: its end is not at hand.
pub fn csv_record(
    bytes: &[u8],
    separator: u8,
    column: usize,
    eof: bool,
) -> Option<(usize, Option<Range<usize>>)> {
    let (mut at, mut here, mut cell) = (0, 0, None);
    loop {
        let begin = at;
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                at += find(bytes.get(at..)?, b'"')? + 1;
                match bytes.get(at) {
                    Some(b'"') => at += 1,
                    None if !eof => return None,
                    _ => break,
                }
            }
        }
        let rest = &bytes[at.min(bytes.len())..];
        match rest.iter().position(|b| *b == separator || *b == b'\n') {
            Some(more) => at += more,
            None if eof => at = bytes.len(),
            None => return None,
        }
        if here == column {
            cell = Some(begin..at);
        }
        match bytes.get(at) {
            Some(b'\n') => return Some((at + 1, cell)),
            None => return Some((at, cell)),
            Some(_) => at += 1,
        }
        here += 1;
    }
}

/// A cell without its quotes; doubled quotes inside do not matter to a number.
pub fn unquoted(cell: &[u8]) -> &[u8] {
    let cell = cell.trim_ascii();
    let inner = cell.strip_prefix(b"\"").and_then(|c| c.strip_suffix(b"\""));
    inner.unwrap_or(cell)
}

/// A finite number as people and programs write it.
fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    text.parse::<f64>().ok().filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_rfc_4180() {
        let line = b"a,\"b,\"\"c\"\"\nd\",3.5\r\nnext";
        let (length, cell) = csv_record(line, b',', 2, false).expect("a whole record");
        assert_eq!(&line[length..], b"next");
        assert_eq!(number(&line[cell.expect("three cells")]), Some(3.5));
        let (_, cell) = csv_record(line, b',', 1, false).expect("a whole record");
        assert_eq!(
            unquoted(&line[cell.expect("three cells")]),
            b"b,\"\"c\"\"\nd"
        );
        for cut in 0..length {
            assert_eq!(
                csv_record(&line[..cut], b',', 2, false),
                None,
                "cut at {cut}"
            );
        }
        assert_eq!(csv_record(b"1;2", b';', 5, true), Some((3, None)));
        assert_eq!(csv_record(b"\"never closed", b',', 0, true), None);
    }

    #[test]
    fn values_of_json() {
        for (text, length) in [
            ("12.5, 3", Some(4)),
            ("\"a\\\"]\",1", Some(6)),
            ("{\"a\":[1,\"}\"]} ,", Some(13)),
            ("[1,[2]]]", Some(7)),
            ("]", Some(0)),
            ("12", None),
            ("[1,", None),
            ("\"ab", None),
        ] {
            assert_eq!(json_value(text.as_bytes(), false), length, "{text}");
        }
        assert_eq!(json_value(b"12", true), Some(2));
        assert_eq!(between_objects(b"1, {\"a\":1} ,\n {"), Some(12));
        assert_eq!(between_objects(b"{\"a\":{\"b\":1}, \"c\":2}"), None);
    }

    #[test]
    fn only_finite_numbers_count() {
        for (text, expected) in [
            (" 1e3 ", Some(1000.0)),
            ("-.5", Some(-0.5)),
            ("nan", None),
            ("inf", None),
            ("1,5", None),
            ("", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }
}
