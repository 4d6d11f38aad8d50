//! The texts a config was read from, and the way from a byte in one of them to its line.

use std::path::Path;

use super::diagnostic::Place;
use super::model::Fnv;

/// Bytes of one source. Small, as every key and value of a config carries one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub source: u32,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<SourceText>,
}

#[derive(Debug)]
struct SourceText {
    name: String,
    text: String,
    /// The byte at which each line starts.
    lines: Vec<u32>,
}

impl Sources {
    /// The caller has made sure that `text` is below 4 GiB.
    pub fn add(&mut self, path: &Path, text: String) -> u32 {
        let mut lines = vec![0];
        lines.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(i, _)| i as u32 + 1),
        );
        self.list.push(SourceText {
            name: path.display().to_string(),
            text,
            lines,
        });
        self.list.len() as u32 - 1
    }

    /// A number that changes with any of the texts.
    pub fn digest(&self) -> u64 {
        let mut h = Fnv::new();
        for source in &self.list {
            h.text(&source.name);
            h.text(&source.text);
        }
        h.0
    }

    pub fn name(&self, source: u32) -> &str {
        &self.list[source as usize].name
    }

    pub fn text(&self, source: u32) -> &str {
        &self.list[source as usize].text
    }

    /// The number of the line a span starts in, from 1.
    pub fn line(&self, span: Span) -> u32 {
        self.list[span.source as usize]
            .lines
            .partition_point(|start| *start <= span.start) as u32
    }

    pub fn place(&self, span: Span) -> Place {
        let source = &self.list[span.source as usize];
        let line = self.line(span);
        let line_start = source.lines[line as usize - 1] as usize;
        let line_end = source
            .lines
            .get(line as usize)
            .map_or(source.text.len(), |n| *n as usize - 1);
        let text = &source.text[line_start..line_end];
        let text = text.strip_suffix('\r').unwrap_or(text);

        // A span may run over several lines, or lie behind the last letter: keep to this line.
        let from = floor_char(text, (span.start as usize).saturating_sub(line_start));
        let to = floor_char(text, (span.end as usize).saturating_sub(line_start)).max(from);
        let column = text[..from].chars().count() as u32;
        let width = (text[from..to].chars().take(SNIPPET).count() as u32).max(1);

        let (snippet, offset) = window(text, from, column, width);
        Place {
            file: source.name.clone(),
            line,
            column: column + 1,
            width,
            snippet,
            offset,
        }
    }
}

/// The line, or what is around byte `from` in a line too long to show; and where in it, in
/// characters, `from` is. Works outwards from `from`, as the line may be the whole file.
fn window(text: &str, from: usize, column: u32, width: u32) -> (String, u32) {
    if text.len() <= SNIPPET || (text.len() <= SNIPPET * 4 && text.chars().count() <= SNIPPET) {
        return (text.to_owned(), column);
    }
    let lead = (SNIPPET * 3 / 4).saturating_sub(width as usize);
    let before = text[..from].char_indices().rev().take(lead);
    let (start, lead) = before
        .enumerate()
        .last()
        .map_or((from, 0), |(n, (at, _))| (at, n as u32 + 1));
    let end = text[start..]
        .char_indices()
        .nth(SNIPPET)
        .map(|(at, _)| start + at);
    let mut snippet = text[start..end.unwrap_or(text.len())].to_owned();
    if end.is_some() {
        snippet.push_str(" ...");
    }
    if start == 0 {
        return (snippet, lead);
    }
    (format!("... {snippet}"), lead + 4)
}

fn floor_char(text: &str, at: usize) -> usize {
    crate::text::cut(text, at).len()
}

/// Longer lines are cut around what is meant.
const SNIPPET: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, start: usize, end: usize) -> Place {
        let mut sources = Sources::default();
        sources.add(Path::new("a.toml"), String::new());
        let source = sources.add(Path::new("b.toml"), text.into());
        sources.place(Span {
            source,
            start: start as u32,
            end: end as u32,
        })
    }

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let p = place("a = 1\nß = 2\r\n", 6, 8);
        assert_eq!(
            (p.file.as_str(), p.line, p.column, p.width),
            ("b.toml", 2, 1, 1)
        );
        assert_eq!(p.snippet, "ß = 2");
        let p = place("a = 1\nß = 2\r\n", 11, 12);
        assert_eq!((p.line, p.column), (2, 5));
    }

    #[test]
    fn any_span_has_a_place() {
        for text in ["", "\n", "é", "a\nb", "a\r\n"] {
            for start in 0..6 {
                for end in 0..6 {
                    let p = place(text, start, end);
                    assert!(p.line >= 1 && p.width >= 1);
                }
            }
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}BAD{}", "x".repeat(5_000), "y".repeat(5_000));
        let p = place(&text, 5_000, 5_003);
        assert_eq!(p.column, 5_001);
        assert!(p.snippet.chars().count() < 130);
        let shown: String = p
            .snippet
            .chars()
            .skip(p.offset as usize)
            .take(p.width as usize)
            .collect();
        assert_eq!(shown, "BAD");
    }
}
