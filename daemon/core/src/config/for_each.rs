//! `for_each`: one block, many checks.
//!
//! ```toml
//! for_each = ["a", "b"]                                # {item}
//! for_each = "0..100"                                  # {item}, 0 to 99; "0..=100" takes 100 in
//! for_each = [{ host = "a", port = 1 }]                # {host}, {port}
//! for_each = { file = "hosts.txt" }                    # {item}, a line each
//! for_each = { file = "hosts.txt", columns = ["host", "port"] }
//! for_each = { a = "0..40", b = "1..251" }             # each {a} with each {b}: 10,000 checks
//! ```
//! In the strings of such a block `{name}` stands for the value; `{name:03}` fills a number with
//! zeros; `{{` and `}}` are plain braces. A string that is one placeholder and nothing else takes
//! the value as it is, so that `port = "{port}"` is a number.

use std::io;
use std::path::PathBuf;

use super::model::CHECKS_MAX;
use super::raw::{Entry, Node, Table, Value, shortened};
use super::reading::{Reading, io_reason};
use super::report::{error, warning};
use super::source::Span;
use super::template::{Cell, is_variable};
use super::words::thousands;

/// What `for_each` ranges over, before it is multiplied out.
#[derive(Debug)]
pub struct ForEach {
    pub span: Span,
    pub names: Vec<String>,
    axes: Vec<Axis>,
}

/// One factor of the product; it may fill several columns.
#[derive(Debug)]
enum Axis {
    Range {
        first: i64,
        len: u64,
    },
    /// Each row has a cell for each of the axis's columns; `None` where a row lacks one.
    List {
        rows: Vec<Vec<Option<Node>>>,
    },
}

impl Axis {
    fn len(&self) -> u64 {
        match self {
            Axis::Range { len, .. } => *len,
            Axis::List { rows, .. } => rows.len() as u64,
        }
    }
}

impl ForEach {
    pub fn read(entry: &Entry, owner: &str, cx: &mut Reading<'_>) -> Option<ForEach> {
        let span = entry.node.span;
        let mut each = ForEach {
            span,
            names: Vec::new(),
            axes: Vec::new(),
        };
        match &entry.node.value {
            Value::Table(table) if table.get("file").is_some() => {
                let (columns, axis) = from_file(table, span, cx)?;
                each.names = columns.unwrap_or_else(|| vec![ITEM.into()]);
                each.axes.push(axis);
            }
            Value::Table(table) => {
                if table.entries.is_empty() {
                    let e = error(format!("`for_each` of {owner} names no variable"));
                    cx.push(
                        e.at(span)
                            .help("write `for_each = { i = \"0..10\" }` and use `{i}`"),
                    );
                    return None;
                }
                for variable in &table.entries {
                    each.axis(variable, cx)?;
                }
            }
            Value::Array(rows) if rows.iter().any(|r| matches!(r.value, Value::Table(_))) => {
                each.table_rows(rows, cx)?;
            }
            Value::Array(items) => {
                each.names.push(ITEM.into());
                each.axes.push(list_of(items));
            }
            Value::Str(text) => {
                each.names.push(ITEM.into());
                each.axes.push(range(text, span, cx)?);
            }
            Value::Broken => return None,
            _ => {
                let e = error(format!(
                    "`for_each` of {owner} has to be a list, a range or a table, not {}",
                    entry.node.kind()
                ));
                cx.push(
                    e.at(span)
                        .help("for example `[\"a\", \"b\"]`, `\"0..100\"` or `{ i = \"0..100\" }`"),
                );
                return None;
            }
        }
        let total = each.total();
        if total > CHECKS_MAX as u128 {
            let e = error(format!(
                "`for_each` of {owner} makes {} checks; a config may hold {}",
                thousands(total),
                thousands(CHECKS_MAX as u128),
            ));
            cx.push(
                e.at(span)
                    .help("shorten the lists, or spread the checks over several daemons"),
            );
            return None;
        }
        if total == 0 {
            let e = warning(format!("`for_each` of {owner} is empty: it makes no check"));
            cx.push(
                e.at(span)
                    .code("for-each")
                    .help("add a value, or remove the block"),
            );
        }
        Some(each)
    }

    pub fn total(&self) -> u128 {
        // Two factors of up to 2^63 fit; a third may saturate, which is as much too large.
        self.axes
            .iter()
            .fold(1, |n: u128, axis| n.saturating_mul(u128::from(axis.len())))
    }

    /// Calls `f` with the cells of each check, the last variable turning fastest.
    pub fn each<'a>(&'a self, mut f: impl FnMut(&[Cell<'a>])) {
        if self.total() == 0 {
            return;
        }
        let mut at = vec![0u64; self.axes.len()];
        let mut cells: Vec<Cell<'a>> = Vec::with_capacity(self.names.len());
        loop {
            cells.clear();
            for (axis, i) in self.axes.iter().zip(&at) {
                match axis {
                    Axis::Range { first, .. } => {
                        cells.push(Cell::Int(first.wrapping_add_unsigned(*i)))
                    }
                    Axis::List { rows, .. } => cells.extend(
                        rows[*i as usize]
                            .iter()
                            .map(|c| c.as_ref().map_or(Cell::Absent, Cell::Node)),
                    ),
                }
            }
            f(&cells);
            let mut turning = self.axes.len();
            loop {
                let Some(axis) = turning.checked_sub(1) else {
                    return;
                };
                at[axis] += 1;
                if at[axis] < self.axes[axis].len() {
                    break;
                }
                at[axis] = 0;
                turning = axis;
            }
        }
    }

    fn axis(&mut self, variable: &Entry, cx: &mut Reading<'_>) -> Option<()> {
        self.name(&variable.key, variable.key_span, cx)?;
        let node = &variable.node;
        let axis = match &node.value {
            Value::Str(text) => range(text, node.span, cx)?,
            Value::Array(items) => list_of(items),
            Value::Table(table) if table.get("file").is_some() => {
                let (columns, axis) = from_file(table, node.span, cx)?;
                if columns.is_some() {
                    let e =
                        error("`columns` may stand only where the file is the whole of `for_each`");
                    cx.push(
                        e.at(node.span)
                            .help("write `for_each = { file = \"...\", columns = [...] }`"),
                    );
                    return None;
                }
                axis
            }
            Value::Broken => return None,
            _ => {
                let e = error(format!(
                    "the variable `{}` has to be a range, a list or a file, not {}",
                    shortened(&variable.key),
                    node.kind()
                ));
                cx.push(
                    e.at(node.span).help(
                        "for example `\"0..100\"`, `[80, 443]` or `{ file = \"hosts.txt\" }`",
                    ),
                );
                return None;
            }
        };
        self.axes.push(axis);
        Some(())
    }

    fn table_rows(&mut self, rows: &[Node], cx: &mut Reading<'_>) -> Option<()> {
        let mut fine = true;
        for row in rows {
            match &row.value {
                Value::Table(table) => {
                    for cell in &table.entries {
                        if !self.names.contains(&cell.key) {
                            fine &= self.name(&cell.key, cell.key_span, cx).is_some();
                        }
                    }
                }
                Value::Broken => fine = false,
                _ => {
                    let e = error(format!(
                        "this list holds tables, but here is {}",
                        row.kind()
                    ));
                    cx.push(e.at(row.span).help("make every entry a table, or none"));
                    fine = false;
                }
            }
        }
        let names = &self.names;
        let rows = rows
            .iter()
            .filter_map(|row| match &row.value {
                Value::Table(table) => Some(
                    names
                        .iter()
                        .map(|n| table.get(n).map(|e| e.node.clone()))
                        .collect(),
                ),
                _ => None,
            })
            .collect();
        self.axes.push(Axis::List { rows });
        fine.then_some(())
    }

    fn name(&mut self, name: &str, span: Span, cx: &mut Reading<'_>) -> Option<()> {
        if !is_variable(name) {
            let e = error(format!(
                "`{}` cannot be the name of a variable",
                shortened(name)
            ));
            cx.push(
                e.at(span)
                    .help("use letters, digits and `_`, a letter first"),
            );
            return None;
        }
        if self.names.len() == VARIABLES_MAX {
            let e = error(format!(
                "`for_each` has more than {VARIABLES_MAX} variables"
            ));
            cx.push(
                e.at(self.span)
                    .help("give each row only what the check uses")
                    .once("variables"),
            );
            return None;
        }
        self.names.push(name.to_owned());
        Some(())
    }
}

fn list_of(items: &[Node]) -> Axis {
    Axis::List {
        rows: items.iter().map(|item| vec![Some(item.clone())]).collect(),
    }
}

/// `0..10` without, `0..=10` with its end.
fn range(text: &str, span: Span, cx: &mut Reading<'_>) -> Option<Axis> {
    let parts = text
        .split_once("..")
        .map(|(first, end)| match end.strip_prefix('=') {
            Some(end) => (first, end, true),
            None => (first, end, false),
        });
    let number = |s: &str| s.trim().parse::<i64>().ok();
    let Some((Some(first), Some(end), closed)) = parts.map(|(a, b, c)| (number(a), number(b), c))
    else {
        let e = error(format!("`{}` is no range of numbers", shortened(text)));
        cx.push(
            e.at(span)
                .help("write `\"0..10\"` for 0 to 9, or a list: `[\"a\", \"b\"]`"),
        );
        return None;
    };
    let len = i128::from(end) - i128::from(first) + i128::from(closed);
    if len < 0 {
        let e = error(format!("the range `{}` runs backwards", shortened(text)));
        cx.push(e.at(span).help(format!("write `\"{end}..{first}\"`")));
        return None;
    }
    Some(Axis::Range {
        first,
        len: u64::try_from(len).unwrap_or(u64::MAX),
    })
}

/// A list from a text file: a line an entry, `#` starts a comment; with `columns`, words.
fn from_file(
    table: &Table,
    span: Span,
    cx: &mut Reading<'_>,
) -> Option<(Option<Vec<String>>, Axis)> {
    let mut columns = None;
    let mut path = None;
    for entry in &table.entries {
        match (entry.key.as_str(), &entry.node.value) {
            ("file", Value::Str(p)) if !p.is_empty() => {
                path = Some((PathBuf::from(p), entry.node.span))
            }
            ("file", Value::Broken) => return None,
            ("file", _) => {
                let e = error("`file` has to be the path of a text file");
                cx.push(
                    e.at(entry.node.span)
                        .help("write `{ file = \"hosts.txt\" }`"),
                );
                return None;
            }
            ("columns", Value::Array(names)) if !names.is_empty() => {
                let mut list: Vec<String> = Vec::new();
                for name in names {
                    match &name.value {
                        Value::Str(s)
                            if is_variable(s)
                                && !list.contains(s)
                                && list.len() < VARIABLES_MAX =>
                        {
                            list.push(s.clone())
                        }
                        _ => {
                            let e =
                                error("`columns` holds the names of the file's columns, each once");
                            cx.push(
                                e.at(name.span)
                                    .help("write `columns = [\"host\", \"port\"]`"),
                            );
                            return None;
                        }
                    }
                }
                columns = Some(list);
            }
            ("columns", _) => {
                let e = error("`columns` has to be a list of names");
                cx.push(
                    e.at(entry.node.span)
                        .help("write `columns = [\"host\", \"port\"]`"),
                );
                return None;
            }
            (other, _) => {
                let e = error(format!("unknown key `{}` beside `file`", shortened(other)));
                cx.push(
                    e.at(entry.key_span)
                        .help("a file takes `file` and `columns`"),
                );
                return None;
            }
        }
    }
    let (path, path_span) = path?;
    let full = cx.absolute(&path);
    let text = match cx.files.read(&full).map(String::from_utf8) {
        Ok(Ok(text)) if !text.contains('\0') => text,
        Ok(_) => {
            let e = error(format!("{} is no text in UTF-8", full.display()));
            cx.push(
                e.at(path_span)
                    .help("`for_each` reads text files: a line a check"),
            );
            return None;
        }
        Err(e) => {
            let help = match e.kind() {
                io::ErrorKind::FileTooLarge => "split it into several, each with its own block",
                _ => "a relative path starts at the folder of the main file",
            };
            let e = error(format!(
                "cannot read the list {}: {}",
                full.display(),
                io_reason(&e)
            ));
            cx.push(e.at(path_span).help(help));
            return None;
        }
    };
    let source = cx.sources.add(&full, text);
    let width = columns.as_ref().map_or(1, Vec::len);
    let mut rows: Vec<Vec<Option<Node>>> = Vec::new();
    let mut wrong = Vec::new();
    let text = cx.sources.text(source);
    // Editors of another system begin a file with a byte order mark.
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let offset = line.as_ptr() as usize - text.as_ptr() as usize;
        // A `#` inside a word is part of it: URLs have fragments.
        let end = if line.starts_with('#') {
            0
        } else {
            line.find(" #")
                .or_else(|| line.find("\t#"))
                .unwrap_or(line.len())
        };
        let content = line[..end].trim();
        if content.is_empty() {
            continue;
        }
        let cell = |word: &str| {
            let start = offset + (word.as_ptr() as usize - line.as_ptr() as usize);
            let span = Span {
                source,
                start: start as u32,
                end: (start + word.len()) as u32,
            };
            Some(Node {
                span,
                value: typed(word),
            })
        };
        let row: Vec<Option<Node>> = match columns {
            None => vec![cell(content)],
            Some(_) => content.split_whitespace().map(cell).collect(),
        };
        if row.len() == width {
            rows.push(row);
        } else {
            let start = offset as u32;
            wrong.push((
                Span {
                    source,
                    start,
                    end: start + end as u32,
                },
                row.len(),
            ));
        }
        if rows.len() > CHECKS_MAX {
            break; // the caller says so
        }
    }
    for (at, count) in &wrong {
        let e = error(format!(
            "this line holds {count} words where `columns` names {width}"
        ));
        cx.push(e.at(*at).related(span, "asked for here").once("columns"));
    }
    wrong.is_empty().then_some((columns, Axis::List { rows }))
}

/// A word that is written exactly as a number is one.
fn typed(word: &str) -> Value {
    match word.parse::<i64>() {
        Ok(n) if n.to_string() == word => Value::Int(n),
        _ => Value::Str(word.to_owned()),
    }
}

/// The variable of a plain list.
const ITEM: &str = "item";
/// Each row has a cell for each variable: this bounds the table.
const VARIABLES_MAX: usize = 64;
