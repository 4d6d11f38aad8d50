//! Collects what is found while a config is read, and puts it in order.

use std::collections::{HashMap, HashSet};

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::source::{Sources, Span};
use super::words::thousands;

/// Collects diagnostics while a config is read.
#[derive(Debug, Default)]
pub struct Report {
    items: Vec<(Option<Span>, Diagnostic)>,
    /// What was already said, and how often it came up since.
    said: HashMap<(Span, u64), (usize, u64)>,
    /// Lines that do not parse, by source: what follows from it there is no news.
    torn: HashSet<(u32, u32)>,
    errors: Count,
    warnings: Count,
}

/// How many there were, and how many of them are kept.
#[derive(Debug, Default)]
struct Count {
    found: u64,
    kept: u64,
}

/// One diagnostic on its way into the report.
#[derive(Debug)]
pub struct Finding {
    diagnostic: Diagnostic,
    span: Option<Span>,
    related: Option<(Span, String)>,
    /// Set for what can come up many times in one place: in the checks of one `for_each`, or in
    /// a default that many checks inherit. It is said once and counted.
    repeats: Option<u64>,
}

pub fn error(message: impl Into<String>) -> Finding {
    Finding::new(Severity::Error, message)
}

pub fn warning(message: impl Into<String>) -> Finding {
    Finding::new(Severity::Warning, message)
}

impl Finding {
    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Finding {
            diagnostic: Diagnostic::new(severity, message),
            span: None,
            related: None,
            repeats: None,
        }
    }

    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.diagnostic.help = Some(help.into());
        self
    }

    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.diagnostic.help = help;
        self
    }

    pub fn code(mut self, code: &'static str) -> Self {
        self.diagnostic.code = code;
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.diagnostic.notes.push(note.into());
        self
    }

    pub fn related(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related = Some((span, what.into()));
        self
    }

    /// Says this once for each `(place, what)`, whatever the message's details.
    pub fn once(mut self, what: &str) -> Self {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut h = DefaultHasher::new();
        what.hash(&mut h);
        self.repeats = Some(h.finish());
        self
    }
}

impl Report {
    /// A line that does not parse. One slip often brings several errors; the first is the one to
    /// mend, and it is the only one shown.
    pub fn push_syntax(&mut self, sources: &Sources, span: Span, finding: Finding) {
        if !self.torn.contains(&(span.source, sources.line(span))) {
            self.push(sources, finding.at(span));
            self.torn.insert((span.source, sources.line(span)));
        }
    }

    pub fn is_torn(&self, source: u32) -> bool {
        self.torn.iter().any(|(torn, _)| *torn == source)
    }

    pub fn push(&mut self, sources: &Sources, finding: Finding) {
        if let Some(span) = finding.span
            && !self.torn.is_empty()
            && self.torn.contains(&(span.source, sources.line(span)))
        {
            return;
        }
        let repeats = finding.span.zip(finding.repeats);
        if let Some(key) = repeats
            && let Some((_, more)) = self.said.get_mut(&key)
        {
            *more += 1;
            return;
        }
        let count = match finding.diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        count.found += 1;
        if count.found > KEPT_MAX {
            return;
        }
        count.kept += 1;
        if let Some(key) = repeats {
            self.said.insert(key, (self.items.len(), 0));
        }
        let mut d = finding.diagnostic;
        d.place = finding.span.map(|s| sources.place(s));
        d.related = finding.related.map(|(s, what)| (sources.place(s), what));
        self.items.push((finding.span, d));
    }

    pub fn has_errors(&self) -> bool {
        self.errors.found > 0
    }

    /// In the order of the files; what has no place comes first.
    pub fn finish(mut self) -> Diagnostics {
        for (index, more) in self.said.into_values() {
            let note = match more {
                0 => continue,
                1 => "the same in 1 more check".to_owned(),
                n => {
                    format!("the same in {} more checks", thousands(u128::from(n)))
                }
            };
            self.items[index].1.notes.push(note);
        }
        self.items.sort_by_key(|(span, _)| *span);
        let mut items: Vec<Diagnostic> = self.items.into_iter().map(|(_, d)| d).collect();
        for (severity, count) in [
            (Severity::Error, self.errors),
            (Severity::Warning, self.warnings),
        ] {
            let hidden = count.found - count.kept;
            if hidden > 0 {
                let more = format!(
                    "{} more of this kind are not shown",
                    thousands(u128::from(hidden))
                );
                items.push(Diagnostic::new(severity, more));
            }
        }
        Diagnostics { items }
    }
}

/// Nobody reads more; and a place in a file of one long line takes time to find.
const KEPT_MAX: u64 = 1_000;
