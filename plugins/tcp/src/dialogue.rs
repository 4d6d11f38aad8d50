//! What is said and awaited, step by step, and what the peer's words are matched with.

use crate::MAX_ANSWER;
use crate::escape::unescape;
use crate::options::Options;
use healthd_plugin::pattern::Pattern;
use healthd_plugin::pattern::regex_lite::{Captures, Regex};
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Step {
    /// With `%{NAME}` for what was captured.
    send: Vec<Piece>,
    pub expect: Option<Pattern>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Bytes(Vec<u8>),
    Captured(String),
}

/// What has been captured by name.
pub type Captured = BTreeMap<String, Vec<u8>>;

/// `send` and `expect` are the first step.
pub fn steps(o: &Options) -> Result<Vec<Step>, String> {
    let mut all = Vec::new();
    let mut known = Vec::new();
    if o.send.is_some() || o.expect.is_some() {
        all.push(step(
            "",
            o.send.as_deref(),
            o.expect.as_deref(),
            &mut known,
        )?);
    }
    for (n, s) in o.steps.iter().enumerate() {
        let place = format!("steps[{n}].");
        if s.send.is_none() && s.expect.is_none() {
            return Err(format!("{place}send: neither send nor expect"));
        }
        all.push(step(
            &place,
            s.send.as_deref(),
            s.expect.as_deref(),
            &mut known,
        )?);
    }
    Ok(all)
}

fn step(
    place: &str,
    send: Option<&str>,
    expect: Option<&str>,
    known: &mut Vec<String>,
) -> Result<Step, String> {
    let send = pieces(send.unwrap_or_default()).map_err(|e| format!("{place}send: {e}"))?;
    for piece in &send {
        if let Piece::Captured(name) = piece
            && !known.contains(name)
        {
            return Err(format!("{place}send: no earlier expect captures `{name}`"));
        }
    }
    let expect = expect.map(Pattern::new).transpose();
    let expect = expect.map_err(|e| format!("{place}expect: {e}"))?;
    // Looked for in the step lane, again and again while the answer comes.
    if expect.as_ref().is_some_and(|p| p.is_slow_on(MAX_ANSWER)) {
        return Err(format!(
            "{place}expect: too large a pattern for an answer of {} KiB",
            MAX_ANSWER >> 10
        ));
    }
    let names = expect.iter().map(Pattern::regex);
    let names = names.flat_map(|r| r.capture_names()).flatten();
    known.extend(names.map(str::to_owned));
    Ok(Step { send, expect })
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("%{") {
        let (name, after) = after.split_once('}').ok_or("a %{ without a }")?;
        pieces.push(Piece::Bytes(unescape(before)?));
        pieces.push(Piece::Captured(name.into()));
        rest = after;
    }
    pieces.push(Piece::Bytes(unescape(rest)?));
    pieces.retain(|p| *p != Piece::Bytes(Vec::new()));
    Ok(pieces)
}

impl Step {
    pub fn words(&self, captured: &Captured) -> Vec<u8> {
        let mut words = Vec::new();
        for piece in &self.send {
            match piece {
                Piece::Bytes(bytes) => words.extend(bytes),
                Piece::Captured(name) => {
                    words.extend(captured.get(name).map_or(&[][..], Vec::as_slice));
                }
            }
        }
        words
    }
}

/// Looks for the pattern: as text, and if that is nothing byte by byte, where \\xFF is the byte 255. Some: so many bytes
/// are used up.
pub fn matched(pattern: &Pattern, bytes: &[u8], captured: &mut Captured) -> Option<usize> {
    let pattern = pattern.regex();
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(found) = pattern.captures(text)
    {
        keep(pattern, &found, captured, |s| s.as_bytes().to_vec());
        return found.get(0).map(|m| m.end());
    }
    let text: String = bytes.iter().map(|b| char::from(*b)).collect();
    let found = pattern.captures(&text)?;
    keep(pattern, &found, captured, |s| {
        s.chars().map(|c| c as u8).collect()
    });
    found.get(0).map(|m| text[..m.end()].chars().count())
}

fn keep(
    pattern: &Regex,
    found: &Captures<'_>,
    captured: &mut Captured,
    bytes: impl Fn(&str) -> Vec<u8>,
) {
    for name in pattern.capture_names().flatten() {
        if let Some(part) = found.name(name) {
            captured.insert(name.into(), bytes(part.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_kinds_are_matched_and_captured() {
        let look = |pattern: &str, bytes: &[u8]| {
            let mut captured = Captured::new();
            let used = matched(&Pattern::new(pattern).unwrap(), bytes, &mut captured);
            (used, captured.into_values().next())
        };
        assert_eq!(
            look("^220 (?<a>\\S+)", b"220 x y"),
            (Some(5), Some(b"x".to_vec()))
        );
        assert_eq!(look("k\u{e4}se", "k\u{e4}se".as_bytes()).0, Some(5));
        assert_eq!(
            look(r"^\xff\x00(?<a>.)", b"\xff\x00\xfe!"),
            (Some(3), Some(b"\xfe".to_vec()))
        );
        assert_eq!(look(r"\xff", b"\x00").0, None);
    }

    #[test]
    fn captured_words_are_said() {
        let mut known = Vec::new();
        step("", None, Some("(?<id>[0-9]+)"), &mut known).unwrap();
        let s = step("", Some(r"GET %{id}\r\n"), None, &mut known).unwrap();
        let captured = [("id".to_string(), b"42".to_vec())].into();
        assert_eq!(s.words(&captured), b"GET 42\r\n");
        let e = step("steps[1].", Some("%{no}"), None, &mut known).unwrap_err();
        assert_eq!(e, "steps[1].send: no earlier expect captures `no`");
        assert!(step("", Some("%{no"), None, &mut known).is_err());
        let huge = "(((ab?){1,20}){1,20}){1,20}c";
        let e = step("steps[1].", None, Some(huge), &mut known).unwrap_err();
        assert_eq!(
            e,
            "steps[1].expect: too large a pattern for an answer of 16 KiB"
        );
    }
}
