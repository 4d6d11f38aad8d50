//! What is wrong with a config, in the form a person reads and in the form a program reads.
//!
//! ```text
//! error: unknown key `intervall` in check `web`
//!   --> etc/checks.d/web.toml:4:1
//! 4 | intervall = "10s"
//!   | ^^^^^^^^^ help: a key with a similar name exists: `interval`
//! ```
//!
//! A diagnostic owns all it shows, so it outlives the files. Text from a file is shown with its
//! control characters made visible: a config cannot steer the terminal of its reader.

use std::fmt::{self, Write as _};

use super::sensitive;
use crate::scrub::{MASK, SHORTEST, Scrubber};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// The kind of mistake, for programs: it stays when the words change.
    pub code: &'static str,
    pub message: String,
    pub place: Option<Place>,
    /// The way out.
    pub help: Option<String>,
    /// Facts that help to decide.
    pub notes: Vec<String>,
    /// Another place that has to do with it, and what it is.
    pub related: Option<(Place, String)>,
}

/// A stretch of one line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// How many characters are meant, at least 1.
    pub width: u32,
    /// The line, or the part of a long one around what is meant.
    pub snippet: String,
    /// Where in `snippet` it starts, in characters from 0.
    pub offset: u32,
}

/// All diagnostics of one reading, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    pub items: Vec<Diagnostic>,
}

impl Diagnostics {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn errors(&self) -> usize {
        self.items
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count()
    }

    pub fn warnings(&self) -> usize {
        self.items.len() - self.errors()
    }

    /// `2 errors, 1 warning`
    pub fn summary(&self) -> String {
        let count = |n: usize, what: &str| match n {
            0 => None,
            1 => Some(format!("1 {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let parts: Vec<String> = [
            count(self.errors(), "error"),
            count(self.warnings(), "warning"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            "no mistakes".into()
        } else {
            parts.join(", ")
        }
    }

    /// Takes secrets that stand in the config out of what is shown of it.
    pub(super) fn hide(&mut self, secrets: &[String]) {
        let scrubber = Scrubber::new(secrets);
        for d in &mut self.items {
            let texts = d.help.iter_mut().chain(&mut d.notes);
            texts
                .chain(std::iter::once(&mut d.message))
                .for_each(|text| scrubber.scrub_string(text));
            let places = d
                .place
                .iter_mut()
                .chain(d.related.iter_mut().map(|(place, _)| place));
            places.for_each(|place| place.hide(secrets));
        }
    }

    /// All of them as text, an empty line between two. `colour` adds ANSI colours.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (i, d) in self.items.iter().enumerate() {
            if i > 0 {
                out.push('\n');
            }
            d.render(&mut out, &Paint { on: colour });
        }
        out
    }
}

/// As [`Diagnostics::render`] without colour.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A list of `{severity, code, file, line, column, message, help, text}`; what is not known is null, and `text` is the whole
/// as people see it.
impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.items)
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut help: Vec<&str> = self.help.as_deref().into_iter().collect();
        help.extend(self.notes.iter().map(String::as_str));
        let mut s = serializer.serialize_struct("Diagnostic", 8)?;
        let mut text = String::new();
        self.render(&mut text, &Paint { on: false });
        s.serialize_field("severity", &self.severity)?;
        s.serialize_field("code", self.code)?;
        s.serialize_field("file", &self.place.as_ref().map(|p| &p.file))?;
        s.serialize_field("line", &self.place.as_ref().map(|p| p.line))?;
        s.serialize_field("column", &self.place.as_ref().map(|p| p.column))?;
        s.serialize_field("message", &self.message)?;
        s.serialize_field("help", &(!help.is_empty()).then(|| help.join("; ")))?;
        s.serialize_field("text", text.trim_end())?;
        s.end()
    }
}

impl Diagnostic {
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Diagnostic {
            severity,
            code: "bad-value",
            message: message.into(),
            place: None,
            help: None,
            notes: Vec::new(),
            related: None,
        }
    }

    fn render(&self, out: &mut String, paint: &Paint) {
        let tint = match self.severity {
            Severity::Error => Tint::Red,
            Severity::Warning => Tint::Yellow,
        };
        paint.put(out, tint, self.severity.name());
        paint.put(out, Tint::Bold, &format!(": {}", clean(&self.message)));
        out.push('\n');

        let lines = [self.place.as_ref(), self.related.as_ref().map(|(p, _)| p)];
        let gutter = lines
            .iter()
            .flatten()
            .map(|p| digits(p.line))
            .max()
            .unwrap_or(1);
        let pad = " ".repeat(gutter);

        let mut help = self.help.as_deref();
        if let Some(place) = &self.place {
            // A short help stands beside the caret; a long one would be lost off the screen's edge.
            let beside = help.filter(|h| h.chars().count() + place.offset as usize <= INLINE_HELP);
            if beside.is_some() {
                help = None;
            }
            let label = beside.map(|h| ("help: ", h));
            place.render(out, paint, "-->", gutter, ('^', tint), label);
        }
        if let Some((place, what)) = &self.related {
            place.render(
                out,
                paint,
                ":::",
                gutter,
                ('-', Tint::Blue),
                Some(("", what)),
            );
        }
        if let Some(help) = help {
            self.footer(out, paint, &pad, "help", help);
        }
        for note in &self.notes {
            self.footer(out, paint, &pad, "note", note);
        }
    }

    fn footer(&self, out: &mut String, paint: &Paint, pad: &str, what: &str, text: &str) {
        out.push_str(pad);
        paint.put(out, Tint::Blue, " = ");
        paint.put(out, Tint::Bold, what);
        let _ = writeln!(out, ": {}", clean(text));
    }
}

impl Place {
    /// Takes these values, and what is a secret by where it stands, out of the line.
    fn hide(&mut self, secrets: &[String]) {
        let line = &self.snippet;
        let mut ranges = sensitive::in_line(line);
        for secret in secrets.iter().filter(|s| s.chars().count() >= SHORTEST) {
            ranges.extend(
                line.match_indices(secret.as_str())
                    .map(|(at, _)| at..at + secret.len()),
            );
        }
        ranges.sort_unstable_by_key(|r| (r.start, std::cmp::Reverse(r.end)));
        // Where what is meant begins and ends, in bytes of the old line and in characters of the new.
        let byte = |n: u32| {
            line.char_indices()
                .nth(n as usize)
                .map_or(line.len(), |(at, _)| at)
        };
        let (from, to) = (byte(self.offset), byte(self.offset + self.width));
        let mut shown = String::new();
        let (mut offset, mut end) = (None, None);
        let mut done = 0;
        for range in ranges
            .into_iter()
            .chain(std::iter::once(line.len()..line.len()))
        {
            if range.start < done {
                continue;
            }
            for (place, new) in [(from, &mut offset), (to, &mut end)] {
                if new.is_none() && place <= range.start {
                    *new =
                        Some(shown.chars().count() + line[done..place.max(done)].chars().count());
                }
            }
            shown += &line[done..range.start];
            if !range.is_empty() {
                shown += MASK;
            }
            done = range.end;
        }
        let length = shown.chars().count();
        let (offset, end) = (offset.unwrap_or(length), end.unwrap_or(length));
        self.offset = offset as u32;
        self.width = (end.saturating_sub(offset) as u32).max(1);
        self.snippet = shown;
    }

    fn render(
        &self,
        out: &mut String,
        paint: &Paint,
        arrow: &str,
        gutter: usize,
        (mark, tint): (char, Tint),
        label: Option<(&str, &str)>,
    ) {
        out.push_str(&" ".repeat(gutter + 1));
        paint.put(out, Tint::Blue, arrow);
        let _ = writeln!(out, " {}:{}:{}", clean(&self.file), self.line, self.column);
        paint.put(out, Tint::Blue, &format!("{:>gutter$} |", self.line));
        let shown = clean(&self.snippet);
        if !shown.is_empty() {
            let _ = write!(out, " {shown}");
        }
        out.push('\n');
        out.push_str(&" ".repeat(gutter));
        paint.put(out, Tint::Blue, " | ");

        let mut chars = self.snippet.chars();
        let indent: usize = chars.by_ref().take(self.offset as usize).map(columns).sum();
        let width: usize = chars.take(self.width as usize).map(columns).sum();
        out.push_str(&" ".repeat(indent));
        let mut marks: String = std::iter::repeat_n(mark, width.max(1)).collect();
        if let Some((lead, text)) = label {
            let _ = write!(marks, " {lead}{}", clean(text));
        }
        paint.put(out, tint, &marks);
        out.push('\n');
    }
}

/// Control characters, and those that turn the direction of writing, made visible or harmless.
fn clean(text: &str) -> String {
    if !text.contains(crate::text::is_unsafe) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if matches!(c, '\t' | '\n') {
                ' '
            } else if crate::text::is_unsafe(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// How many columns of a terminal a character takes. The wide ranges of East Asian scripts and
/// emoji, roughly: being off by one only moves a caret.
fn columns(c: char) -> usize {
    match c {
        '\u{0300}'..='\u{036f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

fn digits(n: u32) -> usize {
    n.checked_ilog10().map_or(1, |d| d as usize + 1)
}

#[derive(Clone, Copy)]
enum Tint {
    Red,
    Yellow,
    Blue,
    Bold,
}

struct Paint {
    on: bool,
}

impl Paint {
    fn put(&self, out: &mut String, tint: Tint, text: &str) {
        if !self.on {
            out.push_str(text);
            return;
        }
        let code = match tint {
            Tint::Red => "1;31",
            Tint::Yellow => "1;33",
            Tint::Blue => "1;34",
            Tint::Bold => "1",
        };
        let _ = write!(out, "\x1b[{code}m{text}\x1b[0m");
    }
}

/// Up to this column a help stands on the caret's line.
const INLINE_HELP: usize = 76;
#[cfg(test)]
mod tests {
    use super::*;

    fn place(snippet: &str, offset: u32, width: u32) -> Place {
        Place {
            file: "etc/checks.d/web.toml".into(),
            line: 4,
            column: offset + 1,
            width,
            snippet: snippet.into(),
            offset,
        }
    }

    #[test]
    fn looks_as_the_style_guide_shows_it() {
        let mut d = Diagnostic::new(Severity::Error, "unknown key `intervall` in check `web`");
        d.place = Some(place("intervall = \"10s\"", 0, 9));
        d.help = Some("a key with a similar name exists: `interval`".into());
        let all = Diagnostics { items: vec![d] };
        assert_eq!(
            all.render(false),
            "error: unknown key `intervall` in check `web`\n  \
               --> etc/checks.d/web.toml:4:1\n\
             4 | intervall = \"10s\"\n  \
               | ^^^^^^^^^ help: a key with a similar name exists: `interval`\n"
        );
        assert!(all.render(true).contains("\x1b[1;31merror\x1b[0m"));
        assert_eq!(
            serde_json::to_value(&all).expect("plain data"),
            serde_json::json!([{
                "severity": "error", "code": "bad-value", "text": all.render(false).trim_end(), "file": "etc/checks.d/web.toml", "line": 4, "column": 1,
                "message": "unknown key `intervall` in check `web`",
                "help": "a key with a similar name exists: `interval`",
            }])
        );
        assert_eq!(all.summary(), "1 error");
    }

    #[test]
    fn a_secret_in_the_line_is_not_shown_and_the_marks_stay() {
        let line = r#"config = { password = "s3cret", url = "http://u:p@h/", n = 0, k = "other" }"#;
        let at = |what: &str| line.find(what).expect("it is in it") as u32;
        for (offset, width, marked) in [
            (at("n = 0"), 5, "n = 0"),
            (at("\"s3cret\""), 8, "\"***\""),
            (at("\"http"), 15, "\"http://***@h/\""),
            (0, 6, "config"),
        ] {
            let mut d = Diagnostic::new(Severity::Error, "value is `other`");
            d.place = Some(place(line, offset, width));
            let mut all = Diagnostics { items: vec![d] };
            all.hide(&["other".into()]);
            let text = all.render(false);
            assert!(
                !text.contains("s3cret") && !text.contains("u:p") && !text.contains("other"),
                "{text}"
            );
            let place = all.items[0].place.as_ref().expect("it has one");
            let shown = place.snippet.chars().skip(place.offset as usize);
            assert_eq!(shown.take(place.width as usize).collect::<String>(), marked);
        }
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        let mut d = Diagnostic::new(Severity::Error, "unknown key `\x1b[2J`");
        d.place = Some(place("\"\x1b[2J\u{202e}\t\" = 1", 0, 7));
        let text = Diagnostics { items: vec![d] }.render(false);
        assert!(
            !text.contains('\x1b') && !text.contains('\u{202e}') && !text.contains('\t'),
            "{text}"
        );
    }

    #[test]
    fn the_caret_stands_under_wide_letters() {
        let mut d = Diagnostic::new(Severity::Warning, "w");
        d.place = Some(place("名前 = 1", 5, 1));
        let text = Diagnostics { items: vec![d] }.render(false);
        assert!(text.contains("\n  |        ^\n"), "{text}");
    }
}
