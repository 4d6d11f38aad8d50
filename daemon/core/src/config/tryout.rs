//! What a plugin itself says of options that its schema let pass: a regular expression that is none, a file that
//! cannot be read. The core has no plugins; whoever has them brings a [`TryOut`].

use super::catalog::Catalog;
use super::checks::Block;
use super::diagnostic::Severity;
use super::keys::Section;
use super::model::{CheckSpec, Daemon};
use super::options::lower_first;
use super::raw::{Entry, Node, RawFile, Table, Value};
use super::report::{Finding, error, warning};
use super::schema::{Schema, Step};
use super::source::Span;

/// Has plugins make instances of checks, and throws them away.
pub trait TryOut {
    /// Only what is wrong is told. Plugins do not see `secret_variables` of the environment.
    fn try_out(
        &self,
        daemon: &Daemon,
        secret_variables: &[String],
        checks: &[CheckSpec],
    ) -> Vec<Complaint>;
}

/// What is wrong with the options of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Its place in the list of checks.
    pub check: usize,
    pub severity: Severity,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// In the plugin's words, which begin with the option that is meant: `url: no host`.
    Options(String),
    /// The plugin did something else than to judge them; with the way out.
    Plugin { text: String, help: String },
}

pub(super) fn finding(
    files: &[RawFile],
    checks: &[CheckSpec],
    blocks: &[Block],
    catalog: Option<&Catalog>,
    complaint: Complaint,
) -> Finding {
    let check = &checks[complaint.check];
    let Block { file, n } = blocks[complaint.check];
    let of = |text: String| match complaint.severity {
        Severity::Error => error(text),
        Severity::Warning => warning(text),
    };
    let block = &files[file].checks[n];
    let config = block.table.get("config");
    let whole = config.map_or(block.span, |e| e.key_span);
    match complaint.what {
        What::Plugin { text, help } => {
            let at = block
                .table
                .get("plugin")
                .map_or(block.span, |e| e.node.span);
            of(text)
                .at(at)
                .help(help)
                .code("plugin-failed")
                .once("tried")
        }
        What::Options(said) => {
            let mut tables: Vec<&Table> = Vec::new();
            if let Some(Value::Table(own)) = config.map(|e| &e.node.value) {
                tables.push(own);
            }
            // As they lie below each other: this file's defaults, then the main file's.
            tables.extend(defaults(&files[file], &check.plugin));
            tables.extend(defaults(&files[0], &check.plugin));
            let found = tables.iter().find_map(|table| meant(table, &said));
            let (path, at) = found.unwrap_or((Vec::new(), whole));
            let schema = catalog
                .and_then(|c| c.plugin(&check.plugin))
                .and_then(|info| Schema::compile(&info.schema).ok());
            // Of an entry of a table or list what is said of the whole.
            let help = schema.and_then(|schema| {
                let mut outwards = (1..=path.len()).rev().map(|n| &path[..n]);
                outwards.find_map(|path| {
                    let described = lower_first(&schema.described(path)?);
                    Some(format!(
                        "`{}`: {described}",
                        super::schema::dotted(path, None)
                    ))
                })
            });
            let option = super::schema::dotted(&path, None);
            of(format!("check `{}`: {said}", check.name))
                .at(at)
                .maybe_help(help)
                .code("options-refused")
                .once(&format!("tried {option}"))
        }
    }
}

/// What the plugin of a route says of its options.
pub(super) fn of_notifier(spec: &CheckSpec, place: Span, complaint: Complaint) -> Finding {
    let (said, help) = match complaint.what {
        What::Options(said) => (said, String::new()),
        What::Plugin { text, help } => (text, help),
    };
    let text = format!("route `{}`: {said}", spec.name);
    let finding = match complaint.severity {
        Severity::Error => error(text),
        Severity::Warning => warning(text),
    };
    finding
        .at(place)
        .maybe_help(Some(help).filter(|help| !help.is_empty()))
        .code("options-refused")
}

fn defaults<'f>(file: &'f RawFile, plugin: &str) -> Option<&'f Table> {
    let Value::Table(plugins) = &file
        .values(Section::Defaults)
        .table
        .get("config")?
        .node
        .value
    else {
        return None;
    };
    match &plugins.get(plugin)?.node.value {
        Value::Table(options) => Some(options),
        _ => None,
    }
}

/// The option with which the words begin, or the first that they name between backticks, or whose value they quote, or
/// that holds a path which they name; as deep as they say it (`steps[1].expect: ...`), and its place.
fn meant(table: &Table, said: &str) -> Option<(Vec<Step>, Span)> {
    let begins = |key: &str| {
        let rest = said.strip_prefix(key)?;
        rest.starts_with([':', '[', '.', ' ']).then_some(rest)
    };
    // The longest: `body` begins what `body_regex` begins.
    let led = table.entries.iter().filter(|e| begins(&e.key).is_some());
    let entry = match led.max_by_key(|e| e.key.len()) {
        Some(entry) => entry,
        None => {
            let named = |e: &&Entry| said.contains(&format!("`{}`", e.key));
            let quoted = |e: &&Entry| match &e.node.value {
                Value::Str(text) => text.len() >= 3 && said.contains(text.as_str()),
                _ => false,
            };
            let entries = || table.entries.iter();
            let paths = || {
                said.split([' ', ':'])
                    .filter(|w| w.len() > 3 && w.starts_with('/'))
            };
            let holds = |e: &&Entry| match &e.node.value {
                Value::Str(text) => paths().any(|path| text.contains(path)),
                _ => false,
            };
            let found = entries().find(named).or_else(|| entries().find(quoted));
            found.or_else(|| entries().find(holds))?
        }
    };
    let mut path = vec![Step::Key(entry.key.clone())];
    let mut node = &entry.node;
    let mut rest = begins(&entry.key).unwrap_or_default();
    while let Some((step, inner, after)) = next(node, rest) {
        path.push(step);
        (node, rest) = (inner, after);
    }
    if let Some((step, span)) = quoted_in(node, rest) {
        path.push(step);
        return Some((path, span));
    }
    Some((path, node.span))
}

/// The place in a list or table that the words quote: an entry's text, or its key.
fn quoted_in(node: &Node, said: &str) -> Option<(Step, Span)> {
    let quotes = |text: &str| said.contains(&format!("{text:?}"));
    let is_quoted = |node: &Node| matches!(&node.value, Value::Str(text) if quotes(text));
    match &node.value {
        Value::Array(items) => {
            let at = items.iter().position(is_quoted)?;
            Some((Step::Index(at), items[at].span))
        }
        Value::Table(table) => {
            let mut all = table.entries.iter();
            let entry = all.find(|e| quotes(&e.key) || is_quoted(&e.node))?;
            let span = match quotes(&entry.key) {
                true => entry.key_span,
                false => entry.node.span,
            };
            Some((Step::Key(entry.key.clone()), span))
        }
        _ => None,
    }
}

/// One step deeper: `[1]` in a list, `.key` in a table.
fn next<'n, 't>(node: &'n Node, rest: &'t str) -> Option<(Step, &'n Node, &'t str)> {
    match &node.value {
        Value::Array(items) => {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            let index: usize = index.parse().ok()?;
            Some((Step::Index(index), items.get(index)?, after))
        }
        Value::Table(table) => {
            let rest = rest.strip_prefix('.')?;
            let fits = table.entries.iter().filter(|e| rest.starts_with(&e.key));
            let entry = fits.max_by_key(|e| e.key.len())?;
            let step = Step::Key(entry.key.clone());
            Some((step, &entry.node, &rest[entry.key.len()..]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::{Role, read};
    use crate::config::report::Report;
    use crate::config::source::Sources;
    use std::path::Path;

    #[test]
    fn the_option_that_is_meant_is_found() {
        let text = "[[check]]\nname = \"a\"\nplugin = \"p\"\n\
            config = { body = \"x\", body_regex = \"(\", steps = [{ send = \"a\" }, { expect = \"b\" }], headers = { A = \"c\", \"X Y\" = \"d\" }, ca = \"/etc/x\", url = \"pg://h?cert=/etc/y\", hosts = [\"a\", \"b c\"] }\n";
        let mut sources = Sources::default();
        let source = sources.add(Path::new("a.toml"), text.into());
        let file = read(&sources, source, Role::Main, &mut Report::default());
        let Some(Value::Table(config)) = file.checks[0].table.get("config").map(|e| &e.node.value)
        else {
            panic!("a table");
        };
        for (said, place) in [
            ("body: too short", Some("\"x\"")),
            ("body_regex: unclosed group", Some("\"(\"")),
            ("steps[1].expect: unclosed", Some("\"b\"")),
            (
                "steps[7]: there is none",
                Some("[{ send = \"a\" }, { expect = \"b\" }]"),
            ),
            ("headers.A: a control character", Some("\"c\"")),
            ("it goes not with `body`", Some("\"x\"")),
            ("/etc/x: no such file", Some("\"/etc/x\"")),
            ("TLS: /etc/y: no such file", Some("\"pg://h?cert=/etc/y\"")),
            ("hosts: \"b c\" is no host", Some("\"b c\"")),
            ("headers: \"X Y\" is no name", Some("\"X Y\"")),
            ("headers: \"d\" is no value", Some("\"d\"")),
            ("nothing of that name", None),
        ] {
            let at =
                meant(config, said).map(|(_, span)| &text[span.start as usize..span.end as usize]);
            assert_eq!(at, place, "{said}");
        }
    }
}
