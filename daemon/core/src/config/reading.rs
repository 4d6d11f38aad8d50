//! One reading of a config: what its parts share, and how they take a value in the type they want.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use healthd_units::{duration, size};

use super::diagnostic::Diagnostics;
use super::files::Files;
use super::raw::{Node, Value, shortened};
use super::report::{Finding, Report, error};
use super::secrets::SecretCache;
use super::source::{Sources, Span};
use super::words::{did_you_mean, one_of};

/// One reading of a config: the texts, what was found in them, and the way outside.
pub struct Reading<'a> {
    pub files: &'a dyn Files,
    /// The folder of the main file: relative paths start here.
    base: PathBuf,
    pub sources: Sources,
    pub report: Report,
    pub secrets: SecretCache,
    /// Those that stand in the config itself: they are not shown either.
    pub open_secrets: HashSet<String>,
    /// Each file that was one, in the order in which they were asked for.
    pub secret_files: Vec<PathBuf>,
}

impl<'a> Reading<'a> {
    pub fn new(main: &Path, files: &'a dyn Files) -> Self {
        Reading {
            files,
            base: main.parent().unwrap_or(Path::new("")).to_owned(),
            sources: Sources::default(),
            report: Report::default(),
            secrets: HashMap::new(),
            open_secrets: HashSet::new(),
            secret_files: Vec::new(),
        }
    }

    pub fn push(&mut self, finding: Finding) {
        self.report.push(&self.sources, finding);
    }

    /// All that was found, for who wants to know.
    pub fn told(report: Report, open_secrets: HashSet<String>) -> Diagnostics {
        let mut told = report.finish();
        let secrets: Vec<String> = open_secrets.into_iter().collect();
        told.hide(&secrets);
        told
    }

    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    pub fn source(&mut self, path: &Path, dir: Option<&Path>) -> Option<u32> {
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(e) => {
                let help = match (e.kind(), dir) {
                    (io::ErrorKind::NotFound, None) => {
                        "give the path with --config FILE".to_owned()
                    }
                    (io::ErrorKind::PermissionDenied, _) => {
                        "the daemon's user has to be able to read it".to_owned()
                    }
                    (io::ErrorKind::FileTooLarge, _) => TOO_LONG.to_owned(),
                    (_, Some(dir)) => format!("correct it, or move it out of {}", dir.display()),
                    _ => "a config is a plain text file".to_owned(),
                };
                let e = error(format!("cannot read {}: {}", path.display(), io_reason(&e)));
                self.push(e.code("unreadable").help(help));
                return None;
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(self.sources.add(path, text)),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                let utf16 = [[0xff, 0xfe], [0xfe, 0xff]];
                let what = match utf16.iter().any(|mark| e.as_bytes().starts_with(mark)) {
                    true => "this file is UTF-16, as editors on Windows may save it",
                    false => "this file is no UTF-8 text: here is a byte that stands for no letter",
                };
                let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
                let source = self.sources.add(path, text);
                let span = Span {
                    source,
                    start: at as u32,
                    end: at as u32 + 1,
                };
                let e = error(what).at(span);
                self.push(e.code("unreadable").help("save it as UTF-8"));
                None
            }
        }
    }
}

/// From, to; both included.
pub type DurationLimits = (Duration, Duration);

/// A value of one key, in the type the key wants; `None` after it was reported.
impl Reading<'_> {
    pub fn text(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
    ) -> Option<String> {
        match &node.value {
            Value::Str(s) if !s.trim().is_empty() && !s.contains('\0') => Some(s.clone()),
            Value::Str(s) => {
                let what = if s.contains('\0') {
                    "has a NUL byte in it"
                } else {
                    "is empty"
                };
                let e = error(format!("`{key}` of {owner} {what}"));
                self.push(
                    e.at(node.span)
                        .help("write a text, or leave the key out")
                        .once(key),
                );
                None
            }
            _ => self.wrong_type(key, node, owner, "a string", "\"...\""),
        }
    }

    pub fn duration(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        (least, most): DurationLimits,
    ) -> Option<Duration> {
        let text = match &node.value {
            Value::Str(s) => s,
            Value::Int(n) => {
                return self.wrong_type(key, node, owner, "a duration", &format!("\"{n}s\""));
            }
            Value::Float(n) => {
                return self.wrong_type(key, node, owner, "a duration", &format!("\"{n}s\""));
            }
            _ => return self.wrong_type(key, node, owner, "a duration", "\"10s\""),
        };
        let finding = match duration::parse(text) {
            Ok(d) if d < least => error(format!(
                "`{key}` of {owner} is too short: {}",
                duration::show(d)
            ))
            .help(format!("the shortest is {}", duration::show(least))),
            Ok(d) if d > most => error(format!(
                "`{key}` of {owner} is too long: {}",
                duration::show(d)
            ))
            .help(format!("the longest is {}", duration::show(most))),
            Ok(d) => return Some(d),
            Err(e) => error(format!("`{key}` of {owner} {e}")).help(e.help()),
        };
        self.push(finding.at(node.span).code("bad-value").once(key));
        None
    }

    pub fn integer(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        least: i64,
        most: i64,
    ) -> Option<i64> {
        match &node.value {
            Value::Int(n) if (least..=most).contains(n) => Some(*n),
            Value::Int(n) => {
                let e = error(format!(
                    "`{key}` of {owner} has to be from {least} to {most}, is {n}"
                ));
                let help = format!("write a number from {least} to {most}");
                self.push(e.at(node.span).code("bad-value").help(help).once(key));
                None
            }
            Value::Str(s) if s.parse::<i64>().is_ok() => {
                self.wrong_type(key, node, owner, "an integer", s)
            }
            _ => self.wrong_type(key, node, owner, "an integer", &least.max(1).to_string()),
        }
    }

    /// Bytes.
    pub fn size(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        least: u64,
    ) -> Option<u64> {
        let text = match &node.value {
            Value::Str(s) => s,
            Value::Int(0) => return Some(0),
            Value::Int(n) => {
                return self.wrong_type(key, node, owner, "a size", &format!("\"{n}MiB\""));
            }
            _ => return self.wrong_type(key, node, owner, "a size", "\"256MiB\""),
        };
        let finding = match size::parse(text) {
            Ok(n) if n == 0 || n >= least => return Some(n),
            Ok(n) => error(format!(
                "`{key}` of {owner} is too small: {}",
                size::show(n)
            ))
            .help(format!(
                "the smallest is {}, and 0 is no limit",
                size::show(least)
            )),
            Err(e) => error(format!("`{key}` of {owner} {e}")).help(e.help()),
        };
        self.push(finding.at(node.span).code("bad-value").once(key));
        None
    }

    pub fn boolean(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
    ) -> Option<bool> {
        match &node.value {
            Value::Bool(b) => Some(*b),
            Value::Str(s) if matches!(s.to_ascii_lowercase().as_str(), "false" | "no" | "off") => {
                self.wrong_type(key, node, owner, "true or false", "false")
            }
            _ => self.wrong_type(key, node, owner, "true or false", "true"),
        }
    }

    /// One of these words.
    pub fn word(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let Value::Str(text) = &node.value else {
            let example = format!("\"{}\"", words[0]);
            return self.wrong_type(key, node, owner, "a string", &example);
        };
        let word = words.iter().find(|word| *word == text);
        if word.is_none() {
            let help = match did_you_mean(text, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write {}", one_of(words, "or")),
            };
            let e = unknown_value(key, owner, text).at(node.span).help(help);
            self.push(e.once(key));
        }
        word.copied()
    }

    pub fn wrong_type<T>(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        wanted: &str,
        example: &str,
    ) -> Option<T> {
        if !matches!(node.value, Value::Broken) {
            let e = error(format!(
                "`{key}` of {owner} has to be {wanted}, not {}",
                node.kind()
            ));
            self.push(
                e.at(node.span)
                    .code("wrong-type")
                    .help(format!("write `{key} = {example}`"))
                    .once(key),
            );
        }
        None
    }
}

pub fn unknown_value(key: &str, owner: impl std::fmt::Display, text: &str) -> Finding {
    let text = shortened(text);
    error(format!("`{key}` of {owner} has an unknown value `{text}`")).code("bad-value")
}

/// Why a file could not be read, in few words.
pub fn io_reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        _ => {
            let text = e.to_string();
            match text.find(" (os error") {
                Some(at) => text[..at].to_lowercase(),
                None => text,
            }
        }
    }
}

/// The way out of a file that is larger than [`Files`] takes.
const TOO_LONG: &str = "split it into several files in checks.d, or let one block stand for many checks: `for_each`, or a \
                        `[template.NAME]` and `[[host]]` blocks that use it";
