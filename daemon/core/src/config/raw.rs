//! What the file says: its tables and values, each with the bytes it stands in, unknown keys
//! denied. Nothing here looks outside the file, and no value is judged yet.

use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::elsewhere;
use super::keys::{Grammar, Section};
use super::model::Layer;
use super::not_toml;
use super::report::{Finding, Report, error};
use super::source::{Sources, Span};
use super::syntax::{WITHOUT_QUOTES, syntax, without_quotes};
use super::values::Values;
use super::words::{did_you_mean, one_of};

#[derive(Clone, Debug)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// A TOML date or time, as it is written.
    Date(String),
    Array(Vec<Node>),
    Table(Table),
    /// Already reported; whoever meets it says nothing more.
    Broken,
}

impl Node {
    /// `a string`, `an integer`, ... for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Str(_) => "a string",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Bool(_) => "a boolean",
            Value::Date(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Broken => "a broken value",
        }
    }
}

/// Entries in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }
}

/// One file. Every table in it holds known keys only; the rest is reported.
#[derive(Debug, Default)]
pub struct RawFile {
    /// The sections that are one table, each with the place of its name.
    tables: BTreeMap<Section, (Span, Table)>,
    /// `notify` and `maintenance`, which another crate reads.
    pub alerts: Vec<Entry>,
    /// Workers that somebody has grouped by hand, by name.
    pub pool_groups: Vec<(Entry, Table)>,
    pub checks: Vec<RawCheck>,
    pub templates: Vec<RawTemplate>,
    /// `[[host]]` blocks; `templates` makes checks of them.
    pub hosts: Vec<RawCheck>,
    /// The file does not parse: what seems to be missing may only have been skipped.
    pub torn: bool,
}

impl RawFile {
    /// None: there is no such section.
    pub fn section(&self, section: Section) -> Option<(Span, Values<'_>)> {
        let (span, table) = self.tables.get(&section)?;
        Some((*span, Values::of(section, table)))
    }

    /// What the section says, which is nothing if there is none.
    pub fn values(&self, section: Section) -> Values<'_> {
        static NOTHING: Table = Table {
            entries: Vec::new(),
        };
        let table = self.tables.get(&section).map(|(_, table)| table);
        Values::of(section, table.unwrap_or(&NOTHING))
    }
}

#[derive(Debug)]
pub struct RawCheck {
    /// The `[[check]]` itself.
    pub span: Span,
    pub table: Table,
    /// `check `web``, or `check number 3` when it has no name that can be read.
    pub label: String,
    /// Keys that were reported as unknown: an option that is missed may be among them.
    pub unknown: Vec<String>,
    /// What of its table comes from templates and hosts.
    pub from: Vec<Layer>,
    /// Something of it is wrong and reported, so that what seems to be missing may be there.
    pub torn: bool,
}

/// A `[template.NAME]`.
#[derive(Debug)]
pub struct RawTemplate {
    pub name: String,
    pub block: RawCheck,
}

/// Which of the two kinds of file this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The file given by `--config`.
    Main,
    /// One of `checks.d`: no `[daemon]` and no `[pool]`.
    Checks,
}

impl Role {
    fn sections(self) -> impl Iterator<Item = Section> {
        let all = Section::ON_TOP.into_iter();
        all.filter(move |section| self == Role::Main || section.is_of_checks())
    }
}

/// Reads the text of one source; what is wrong goes to `report`.
pub fn read(sources: &Sources, source: u32, role: Role, report: &mut Report) -> RawFile {
    let mut reader = Reader {
        sources,
        source,
        report,
    };
    let root = reader.parse();
    reader.file(root, role)
}

/// All that stands in a text, whatever its keys; what does not parse goes to `report`.
pub fn table(sources: &Sources, source: u32, report: &mut Report) -> Table {
    let mut reader = Reader {
        sources,
        source,
        report,
    };
    reader.parse()
}

struct Reader<'a> {
    sources: &'a Sources,
    source: u32,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn parse(&mut self) -> Table {
        let (root, errors) = DeTable::parse_recoverable(self.sources.text(self.source));
        let text = self.sources.text(self.source);
        if let Some(first) = errors.first()
            && let Some((what, help)) = not_toml::format_of(text)
        {
            let e = error(format!("this file is no TOML: it looks like {what}"));
            let span = self.span(first.span().unwrap_or(0..0));
            let e = e.code("syntax").help(help);
            self.report.push_syntax(self.sources, span, e);
            return Table::default();
        }
        for e in errors.iter().take(SYNTAX_ERRORS_MAX) {
            let span = e.span().unwrap_or(0..0);
            let (message, help, span) = match without_quotes(e.message(), text, span.start) {
                Some((help, word)) => (WITHOUT_QUOTES.into(), Some(help), self.span(word)),
                None => {
                    let span = self.span(span);
                    let (message, help) = syntax(e.message(), text, span);
                    (message, help, span)
                }
            };
            self.report.push_syntax(
                self.sources,
                span,
                error(message).code("syntax").maybe_help(help),
            );
        }
        if let Some(next) = errors.get(SYNTAX_ERRORS_MAX) {
            let span = self.span(next.span().unwrap_or(0..0));
            let message = format!(
                "not valid TOML, {} times more",
                errors.len() - SYNTAX_ERRORS_MAX
            );
            let e = error(message)
                .code("syntax")
                .help("is this a TOML file at all?");
            self.report.push_syntax(self.sources, span, e);
        }
        self.table(root.into_inner(), 0)
    }

    fn span(&self, range: Range<usize>) -> Span {
        let cap = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            source: self.source,
            start: cap(range.start),
            end: cap(range.end),
        }
    }

    fn table(&mut self, table: DeTable<'_>, depth: u32) -> Table {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| Entry {
                key_span: self.span(key.span()),
                key: key.into_inner().into_owned(),
                node: self.node(value, depth + 1),
            })
            .collect();
        entries.sort_by_key(|e| e.key_span);
        Table { entries }
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>, depth: u32) -> Node {
        let span = self.span(value.span());
        if depth > DEPTH_MAX {
            let help = format!("a config may nest {DEPTH_MAX} levels deep");
            self.report.push(
                self.sources,
                error("too many tables in tables").at(span).help(help),
            );
            return Node {
                span,
                value: Value::Broken,
            };
        }
        let value = match value.into_inner() {
            DeValue::String(s) => Value::Str(s.into_owned()),
            DeValue::Boolean(b) => Value::Bool(b),
            DeValue::Datetime(d) => Value::Date(d.to_string()),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => Value::Int(n),
                Err(_) => self.broken(span, TOO_LARGE, "whole numbers go from -2^63 to 2^63-1"),
            },
            DeValue::Float(n) => match n.as_str().parse::<f64>() {
                Ok(n) if n.is_finite() => Value::Float(n),
                _ if n.as_str().contains(|c: char| c.is_ascii_digit()) => {
                    self.broken(span, TOO_LARGE, "fractions go up to 1.7e308")
                }
                _ => self.broken(
                    span,
                    "infinity and nan have no use here",
                    "write a plain number",
                ),
            },
            DeValue::Array(items) => {
                Value::Array(items.into_iter().map(|v| self.node(v, depth + 1)).collect())
            }
            DeValue::Table(t) => Value::Table(self.table(t, depth)),
        };
        Node { span, value }
    }

    fn broken(&mut self, span: Span, message: &str, help: &str) -> Value {
        self.report
            .push(self.sources, error(message).at(span).help(help));
        Value::Broken
    }

    fn file(&mut self, root: Table, role: Role) -> RawFile {
        let mut file = RawFile {
            torn: self.report.is_torn(self.source),
            ..RawFile::default()
        };
        for entry in root.entries {
            match Section::called(&entry.key) {
                Some(section) if role == Role::Checks && !section.is_of_checks() => {
                    let message = format!("`{}` may stand in the main file only", entry.key);
                    let headers: Vec<&str> = role.sections().map(Section::header).collect();
                    let help = format!("files in checks.d hold {}", one_of(&headers, "and"));
                    self.push(entry.key_span, error(message).help(help));
                }
                Some(Section::Check) => file.checks = self.blocks(entry, Section::Check),
                Some(Section::Host) => file.hosts = self.blocks(entry, Section::Host),
                Some(Section::Template) => file.templates = self.templates(entry),
                Some(Section::Notify | Section::Maintenance) => file.alerts.push(entry),
                Some(Section::Pool) => self.pool(entry, &mut file),
                Some(section) => self.one_table(entry, section, &mut file),
                // Below a header that does not parse, keys land where they were not written.
                None if file.torn && home_of(&entry.key).is_some() => {}
                None => self.unknown_section(&entry.key, entry.key_span, &entry.node, role),
            }
        }
        file
    }

    fn one_table(&mut self, entry: Entry, section: Section, file: &mut RawFile) {
        let span = entry.key_span;
        let table = self.section(entry, section);
        file.tables.insert(section, (span, table));
    }

    /// `[pool]`: its keys, the classes of workers, and groups of any other name.
    fn pool(&mut self, pool: Entry, file: &mut RawFile) {
        let (groups, pool) = groups_of(pool);
        for (key, group) in groups {
            let owner = format!("[pool.{}]", bare(&key.key));
            let table = self.known_only(group, &owner, Section::PoolGroup);
            file.pool_groups.push((key, table));
        }
        let span = pool.key_span;
        let mut own = self.section(pool, Section::Pool);
        for part in std::mem::take(&mut own.entries) {
            match Section::Pool.row(&part.key).map(|row| row.grammar) {
                Some(Grammar::Section(class)) => self.one_table(part, class, file),
                _ => own.entries.push(part),
            }
        }
        file.tables.insert(Section::Pool, (span, own));
    }

    /// `[[check]]` or `[[host]]`.
    fn blocks(&mut self, entry: Entry, section: Section) -> Vec<RawCheck> {
        let what = section.word();
        let blocks = match entry.node.value {
            Value::Array(blocks) => blocks,
            Value::Broken => return Vec::new(),
            Value::Table(_) => {
                let e = error(format!("`[{what}]` has to be written `[[{what}]]`")).help(format!(
                    "each {what} is one block of a list: use two brackets"
                ));
                self.push(entry.key_span, e);
                return Vec::new();
            }
            _ => {
                let e = error(format!(
                    "`{what}` is a list of blocks, not {}",
                    entry.node.kind()
                ))
                .help(format!("write a line `[[{what}]]` and its keys below it"));
                self.push(entry.node.span, e);
                return Vec::new();
            }
        };
        let mut list = Vec::with_capacity(blocks.len());
        for (i, block) in blocks.into_iter().enumerate() {
            let kind = block.kind();
            match block.value {
                Value::Table(table) => {
                    let label = match table.get("name").map(|e| &e.node.value) {
                        Some(Value::Str(name)) if !name.is_empty() => {
                            format!("{what} `{}`", shortened(name))
                        }
                        _ => format!("{what} number {}", i + 1),
                    };
                    list.push(self.block(block.span, table, label, section));
                }
                Value::Broken => {}
                _ => {
                    let e = error(format!("a {what} is a table, not {kind}"))
                        .help(format!("write a line `[[{what}]]` and its keys below it"));
                    self.push(block.span, e);
                }
            }
        }
        list
    }

    fn block(&mut self, span: Span, table: Table, label: String, section: Section) -> RawCheck {
        let all = table.entries.iter().map(|e| e.key.clone());
        let unknown = all.filter(|k| !section.has(k)).collect();
        let mut table = self.known_only(table, &label, section);
        if section.has("checks") {
            self.host_checks(&mut table, &label);
        }
        RawCheck {
            span,
            table,
            label,
            unknown,
            from: Vec::new(),
            torn: false,
        }
    }

    /// The tables in a list of `checks`.
    fn host_checks(&mut self, table: &mut Table, label: &str) {
        let entry = table.entries.iter_mut().find(|e| e.key == "checks");
        if let Some(Value::Array(items)) = entry.map(|e| &mut e.node.value) {
            for item in items {
                if let Value::Table(table) = &mut item.value {
                    let owner = format!("a check of {label}");
                    *table = self.known_only(std::mem::take(table), &owner, Section::HostCheck);
                }
            }
        }
    }

    fn templates(&mut self, entry: Entry) -> Vec<RawTemplate> {
        let named = "write a line `[template.NAME]` and its keys below it";
        let Value::Table(table) = entry.node.value else {
            if !matches!(entry.node.value, Value::Broken) {
                let e = error(format!(
                    "`template` has to be a table of templates, not {}",
                    entry.node.kind()
                ));
                self.push(entry.key_span, e.help(named));
            }
            return Vec::new();
        };
        let mut list = Vec::with_capacity(table.entries.len());
        for template in table.entries {
            let kind = template.node.kind();
            match template.node.value {
                Value::Table(table) => {
                    let label = format!("[template.{}]", bare(&template.key));
                    list.push(RawTemplate {
                        block: self.block(template.key_span, table, label, Section::Template),
                        name: template.key,
                    });
                }
                Value::Broken => {}
                _ => {
                    let e = error(format!(
                        "a template is a table, and `{}` is {kind}",
                        shortened(&template.key)
                    ));
                    self.push(template.key_span, e.help(named));
                }
            }
        }
        list
    }

    fn section(&mut self, entry: Entry, section: Section) -> Table {
        let (kind, name) = (entry.node.kind(), section.header());
        match entry.node.value {
            Value::Table(table) => self.known_only(table, name, section),
            Value::Broken => Table::default(),
            Value::Array(_) => {
                let e = error(format!("`{name}` has to be one table, not a list")).help(format!(
                    "write a line `{name}` with one pair of brackets, once"
                ));
                self.push(entry.key_span, e);
                Table::default()
            }
            _ => {
                let e = error(format!("`{}` has to be a table, not {kind}", entry.key))
                    .help(format!("write a line `{name}` and its keys below it"));
                self.push(entry.node.span, e);
                Table::default()
            }
        }
    }

    fn known_only(&mut self, mut table: Table, owner: &str, section: Section) -> Table {
        let has_config = table.get("config").is_some();
        table.entries.retain(|entry| {
            if section.has(&entry.key) {
                return true;
            }
            let e = error(format!(
                "unknown key `{}` in {owner}",
                shortened(&entry.key)
            ))
            .code("unknown-key");
            if let Some(help) = elsewhere::key(&entry.key, section) {
                self.push(entry.key_span, e.help(help));
                return false;
            }
            let e = match did_you_mean(&entry.key, section.keys()) {
                Some(near) => e.help(format!("a key with a similar name exists: `{near}`")),
                None if section.has("config") && section.has("plugin") => e
                    .help(match has_config {
                        // It may be an inline table, to which no line below it can add.
                        true => format!(
                            "the plugin's options go inside `config`: move `{}` into it",
                            bare(&entry.key)
                        ),
                        false => format!(
                            "the plugin's options go inside `config`: `config.{}`",
                            bare(&entry.key)
                        ),
                    })
                    .note(format!(
                        "keys of a {}: {}",
                        match section {
                            Section::Template => "template",
                            _ => "check",
                        },
                        section.keys().join(", ")
                    )),
                None => e.help(format!("known keys: {}", section.keys().join(", "))),
            };
            self.push(entry.key_span, e);
            false
        });
        table
    }

    fn unknown_section(&mut self, key: &str, span: Span, node: &Node, role: Role) {
        let what = if matches!(node.value, Value::Table(_) | Value::Array(_)) {
            "section"
        } else {
            "key"
        };
        let e = error(format!("unknown {what} `{}`", shortened(key))).code("unknown-key");
        if home_of(key).is_none()
            && let Some(help) = elsewhere::section(key)
        {
            return self.push(span, e.help(help));
        }
        let near = did_you_mean(key, role.sections().map(Section::word));
        let e = match (near.and_then(Section::called), home_of(key)) {
            (Some(Section::Check), _) => e.help("checks are written `[[check]]`"),
            (Some(Section::Host), _) => e.help("hosts are written `[[host]]`"),
            (Some(near), _) if near.is_list() => {
                e.help(format!("it is written `{}`", near.header()))
            }
            (Some(near), _) => e.help(format!(
                "a section with a similar name exists: `{}`",
                near.header()
            )),
            (None, Some(sections)) => e.help(format!("`{key}` belongs below {sections}")),
            (None, None) => {
                let list: Vec<&str> = role.sections().map(Section::header).collect();
                e.help(format!("this file may hold {}", one_of(&list, "and")))
            }
        };
        self.push(span, e);
    }

    fn push(&mut self, span: Span, finding: Finding) {
        self.report.push(self.sources, finding.at(span));
    }
}

/// Tables of `[pool]` that are no class of workers, and the rest of it.
fn groups_of(mut pool: Entry) -> (Vec<(Entry, Table)>, Entry) {
    let Value::Table(table) = &mut pool.node.value else {
        return (Vec::new(), pool);
    };
    let mut groups = Vec::new();
    for mut entry in std::mem::take(&mut table.entries) {
        match &mut entry.node.value {
            Value::Table(of_group) if !Section::Pool.has(&entry.key) => {
                let of_group = std::mem::take(of_group);
                groups.push((entry, of_group));
            }
            _ => table.entries.push(entry),
        }
    }
    (groups, pool)
}

/// The sections that a lost key belongs to.
fn home_of(key: &str) -> Option<String> {
    use Section::{Check, CpuPool, Daemon, Defaults, ExecPool, IoPool, Pool};
    let homes: [&[Section]; 3] = [
        &[Daemon],
        &[Check, Defaults],
        &[Pool, IoPool, CpuPool, ExecPool],
    ];
    let homes = homes.into_iter().map(|sections| {
        let of = sections.iter().filter(|section| section.has(key));
        of.map(|section| section.header()).collect::<Vec<_>>()
    });
    let mut homes = homes.filter(|headers| !headers.is_empty());
    Some(one_of(&homes.next()?, "or"))
}

/// A key as it can be written in TOML without quotes, or with them.
pub fn bare(key: &str) -> String {
    if is_bare(key) {
        key.to_owned()
    } else {
        format!("{:?}", shortened(key))
    }
}

pub fn is_bare(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// Text from a file, cut for a message.
pub fn shortened(text: &str) -> String {
    const MAX: usize = 80;
    match text.char_indices().nth(MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}...", &text[..at]),
    }
}

const TOO_LARGE: &str = "this number is too large";
/// Deeper than anyone writes, and far from the end of the stack.
const DEPTH_MAX: u32 = 64;
/// In a file that is no TOML at all, the first few say it.
const SYNTAX_ERRORS_MAX: usize = 20;
