//! Strings with placeholders, in a block with `for_each`: taken apart once, filled in for each check.

use super::raw::{Node, Value, shortened};
use super::words::did_you_mean;

/// A string with placeholders, taken apart once and filled in for each check.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Variable { index: usize, width: usize },
}

/// The value of one variable in one check.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    Int(i64),
    Node(&'a Node),
    /// This row has no such value.
    Absent,
}

/// What became of a template.
#[derive(Debug)]
pub enum Filled<'a> {
    Text(String),
    /// The whole string was one placeholder: its value as it is.
    Int(i64),
    Node(&'a Node),
}

/// Why a string could not be taken apart or filled in.
#[derive(Debug)]
pub struct TemplateError {
    pub message: String,
    pub help: String,
}

impl Template {
    /// `None`: the string has no brace in it and stays as it is.
    pub fn parse(text: &str, names: &[String]) -> Result<Option<Template>, TemplateError> {
        if !text.contains(['{', '}']) {
            return Ok(None);
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            let after = &rest[at + 1..];
            if after.starts_with(brace) {
                plain.push_str(brace);
                rest = &after[1..];
                continue;
            }
            if brace == "}" {
                return Err(TemplateError {
                    message: "a `}` without its `{`".into(),
                    help: "in a block with `for_each`, write a plain brace twice: `}}`".into(),
                });
            }
            let inner = after
                .find('}')
                .map(|end| (&after[..end], &after[end + 1..]));
            let Some((inner, tail)) = inner else {
                return Err(TemplateError {
                    message: "a `{` without its `}`".into(),
                    help: "in a block with `for_each`, write a plain brace twice: `{{`".into(),
                });
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(variable(inner, names)?);
            rest = tail;
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Some(Template { parts }))
    }

    pub fn has_variable(&self) -> bool {
        self.parts
            .iter()
            .any(|p| matches!(p, Part::Variable { .. }))
    }

    pub fn fill<'a>(
        &self,
        cells: &[Cell<'a>],
        names: &[String],
    ) -> Result<Filled<'a>, TemplateError> {
        if let [Part::Variable { index, width: 0 }] = self.parts[..] {
            return match cells[index] {
                Cell::Int(n) => Ok(Filled::Int(n)),
                Cell::Node(node) => Ok(Filled::Node(node)),
                Cell::Absent => Err(absent(&names[index])),
            };
        }
        let mut out = String::with_capacity(32);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable { index, width } => {
                    match cells[*index] {
                        Cell::Int(n) => number(&mut out, n, *width),
                        Cell::Absent => return Err(absent(&names[*index])),
                        Cell::Node(node) => match &node.value {
                            Value::Int(n) => number(&mut out, *n, *width),
                            other => match scalar(other) {
                                Some(text) => out.push_str(&text),
                                None => {
                                    return Err(TemplateError {
                                    message: format!("`{{{}}}` is {} and cannot be part of a text", names[*index], node.kind()),
                                    help: "use it alone: the whole string has to be the placeholder".into(),
                                });
                                }
                            },
                        },
                    }
                }
            }
        }
        Ok(Filled::Text(out))
    }
}

fn number(out: &mut String, n: i64, width: usize) {
    use std::fmt::Write as _;
    let _ = write!(out, "{n:0width$}");
}

fn absent(name: &str) -> TemplateError {
    TemplateError {
        message: format!("`{{{name}}}` has no value in one row of `for_each`"),
        help: format!("give `{name}` in every row, or do not use it"),
    }
}

/// A value as text; `None` for lists and tables.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Str(s) | Value::Date(s) => Some(s.clone()),
        Value::Int(n) => Some(n.to_string()),
        Value::Float(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Array(_) | Value::Table(_) | Value::Broken => None,
    }
}

fn variable(inner: &str, names: &[String]) -> Result<Part, TemplateError> {
    let (name, format) = match inner.split_once(':') {
        Some((name, format)) => (name, Some(format)),
        None => (inner, None),
    };
    let Some(index) = names.iter().position(|n| n == name) else {
        let listed: Vec<String> = names.iter().map(|n| format!("{{{n}}}")).collect();
        let last = name.rsplit('.').next().unwrap_or(name);
        let help = if last != name && names.iter().any(|n| n == last) {
            format!("write `{{{last}}}`: each key of a row is a placeholder")
        } else if !is_variable(name) {
            "a plain brace is written twice in a block with `for_each`: `{{` and `}}`".into()
        } else if let Some(near) = did_you_mean(name, names.iter().map(String::as_str)) {
            format!("a placeholder with a similar name exists: `{{{near}}}`")
        } else {
            format!("`for_each` gives {}", listed.join(", "))
        };
        return Err(TemplateError {
            message: format!("unknown placeholder `{{{}}}`", shortened(inner)),
            help,
        });
    };
    let width = match format {
        None => 0,
        Some(f) => match f.strip_prefix('0').and_then(|w| w.parse::<usize>().ok()) {
            Some(width) if (1..=20).contains(&width) => width,
            _ => {
                return Err(TemplateError {
                    message: format!("unknown format `:{}` of a placeholder", shortened(f)),
                    help: format!("`{{{name}:03}}` writes a number with three digits"),
                });
            }
        },
    };
    Ok(Part::Variable { index, width })
}

pub fn is_variable(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, cells: &[(&str, i64)]) -> String {
        let names: Vec<String> = cells.iter().map(|(n, _)| (*n).to_owned()).collect();
        let cells: Vec<Cell<'_>> = cells.iter().map(|(_, v)| Cell::Int(*v)).collect();
        match Template::parse(text, &names) {
            Ok(None) => format!("as it is: {text}"),
            Ok(Some(template)) => match template.fill(&cells, &names) {
                Ok(Filled::Text(s)) => s,
                Ok(Filled::Int(n)) => format!("number {n}"),
                Ok(Filled::Node(_)) => "node".into(),
                Err(e) => e.message,
            },
            Err(e) => e.message,
        }
    }

    #[test]
    fn fills_in_and_keeps_a_lone_value_as_it_is() {
        let cells = [("a", 7), ("b", -3)];
        for (text, is) in [
            ("", "as it is: "),
            ("x", "as it is: x"),
            ("{a}", "number 7"),
            ("{a}{b}", "7-3"),
            ("x{a}y", "x7y"),
            ("{a:03}", "007"),
            ("{b:03}", "-03"),
            ("{{}}", "{}"),
            ("{{{a}}}", "{7}"),
            ("{{a}}", "{a}"),
            ("ä{a}ö", "ä7ö"),
            ("{c}", "unknown placeholder `{c}`"),
            ("{}", "unknown placeholder `{}`"),
            ("{ a }", "unknown placeholder `{ a }`"),
            ("{a", "a `{` without its `}`"),
            ("a}", "a `}` without its `{`"),
            ("{a:3}", "unknown format `:3` of a placeholder"),
            (
                "{a:099999999999}",
                "unknown format `:099999999999` of a placeholder",
            ),
        ] {
            assert_eq!(fill(text, &cells), is, "{text}");
        }
    }
}
