//! What the file says: its tables and values, each with the bytes it stands in, unknown keys
//! denied. Nothing here looks outside the file, and no value is judged yet.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::elsewhere;
use super::model::Layer;
use super::not_toml;
use super::readers::{HISTORY_KEYS, WEB_KEYS};
use super::report::{Finding, Report, error};
use super::source::{Sources, Span};
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
    pub daemon: Table,
    /// `notify` and `maintenance`, whose keys others know.
    pub alerts: Vec<Entry>,
    pub pool_io: Table,
    pub pool_cpu: Table,
    pub pool_exec: Table,
    /// What `[pool]` has besides tables.
    pub pool: Table,
    /// Workers that somebody has grouped by hand, by name.
    pub pool_groups: Vec<(Entry, Table)>,
    pub users: Table,
    /// None: there is no such section.
    pub web: Option<(Span, Table)>,
    pub history: Option<(Span, Table)>,
    pub defaults: Table,
    pub checks: Vec<RawCheck>,
    pub templates: Vec<RawTemplate>,
    /// `[[host]]` blocks; `templates` makes checks of them.
    pub hosts: Vec<RawCheck>,
    /// The file does not parse: what seems to be missing may only have been skipped.
    pub torn: bool,
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

pub const DAEMON_KEYS: [&str; 11] = [
    "plugin_dir",
    "runtime_dir",
    "state_dir",
    "user",
    "control_group",
    "stop_grace",
    "start_spread",
    "plugin_watch",
    "plugin_trial",
    "require_sandbox",
    "log",
];
pub const DEFAULTS_KEYS: [&str; 11] = [
    "interval",
    "timeout",
    "attempts",
    "retry_interval",
    "enabled",
    "timeout_status",
    "exclusive",
    "max_parallel",
    "needs",
    "labels",
    "config",
];
pub const CHECK_KEYS: [&str; 25] = [
    "name",
    "use",
    "title",
    "plugin",
    "interval",
    "timeout",
    "attempts",
    "retry_interval",
    "enabled",
    "timeout_status",
    "exclusive",
    "max_parallel",
    "needs",
    "labels",
    "config",
    "for_each",
    "recover",
    "flap",
    "invert",
    "public",
    "runbook",
    "probe",
    "on_change",
    "restart",
    "slo",
];

/// Classes of workers that may have a user of their own.
pub const USERS_KEYS: [&str; 2] = ["worker", "exec"];
pub const POOL_KEYS: [&str; 4] = ["isolate", "io", "cpu", "exec"];
/// Of `[pool.NAME]`.
pub const POOL_GROUP_KEYS: [&str; 1] = ["plugins"];
/// A template's: those of a check that many can share, and the `checks` of a host.
pub const TEMPLATE_KEYS: [&str; 23] = [
    "use",
    "title",
    "plugin",
    "interval",
    "timeout",
    "attempts",
    "retry_interval",
    "enabled",
    "timeout_status",
    "exclusive",
    "max_parallel",
    "needs",
    "labels",
    "config",
    "checks",
    "recover",
    "flap",
    "invert",
    "public",
    "runbook",
    "on_change",
    "restart",
    "slo",
];
/// What stands below `checks` and for all of them: no plugin, and nothing of one.
pub const HOST_KEYS: [&str; 22] = [
    "name",
    "address",
    "use",
    "checks",
    "for_each",
    "interval",
    "timeout",
    "attempts",
    "retry_interval",
    "enabled",
    "timeout_status",
    "exclusive",
    "needs",
    "labels",
    "recover",
    "flap",
    "invert",
    "public",
    "runbook",
    "on_change",
    "restart",
    "slo",
];
/// Of one of a host's `checks`, where it is written as a table.
pub const HOST_CHECK_KEYS: [&str; 23] = [
    "name",
    "use",
    "title",
    "plugin",
    "interval",
    "timeout",
    "attempts",
    "retry_interval",
    "enabled",
    "timeout_status",
    "exclusive",
    "max_parallel",
    "needs",
    "labels",
    "config",
    "recover",
    "flap",
    "invert",
    "public",
    "runbook",
    "on_change",
    "restart",
    "slo",
];

/// The keys of one pool: its own, and those of every pool.
macro_rules! pool_keys {
    ($($own:literal),*) => { [$($own,)* "sandbox", "max_rss", "max_fds", "max_runs"] };
}
pub const IO_KEYS: [&str; 6] = pool_keys!("workers", "threads");
pub const CPU_KEYS: [&str; 5] = pool_keys!("workers");
pub const EXEC_KEYS: [&str; 5] = pool_keys!("max_parallel");

/// What may stand in the main file.
pub const MAIN_SECTIONS: [&str; 11] = [
    "daemon",
    "users",
    "pool",
    "web",
    "history",
    "defaults",
    "template",
    "host",
    "check",
    "notify",
    "maintenance",
];

/// Which of the two kinds of file this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The file given by `--config`.
    Main,
    /// One of `checks.d`: no `[daemon]` and no `[pool]`.
    Checks,
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
            match (entry.key.as_str(), role) {
                ("check", _) => file.checks = self.blocks(entry, "check", &CHECK_KEYS),
                ("host", _) => file.hosts = self.blocks(entry, "host", &HOST_KEYS),
                ("template", _) => file.templates = self.templates(entry),
                ("notify" | "maintenance", _) => file.alerts.push(entry),
                ("defaults", _) => {
                    file.defaults = self.section(entry, "[defaults]", &DEFAULTS_KEYS);
                }
                ("daemon", Role::Main) => {
                    file.daemon = self.section(entry, "[daemon]", &DAEMON_KEYS);
                }
                ("users", Role::Main) => {
                    file.users = self.section(entry, "[users]", &USERS_KEYS);
                }
                ("web", Role::Main) => {
                    file.web = Some((entry.key_span, self.section(entry, "[web]", &WEB_KEYS)));
                }
                ("history", Role::Main) => {
                    let span = entry.key_span;
                    file.history = Some((span, self.section(entry, "[history]", &HISTORY_KEYS)));
                }
                ("pool", Role::Main) => {
                    let (groups, entry) = groups_of(entry);
                    for (key, group) in groups {
                        let owner = format!("[pool.{}]", bare(&key.key));
                        let table = self.known_only(group, &owner, &POOL_GROUP_KEYS);
                        file.pool_groups.push((key, table));
                    }
                    for part in self.section(entry, "[pool]", &POOL_KEYS).entries {
                        match part.key.as_str() {
                            "isolate" => file.pool.entries.push(part),
                            "io" => file.pool_io = self.section(part, "[pool.io]", &IO_KEYS),
                            "cpu" => file.pool_cpu = self.section(part, "[pool.cpu]", &CPU_KEYS),
                            _ => file.pool_exec = self.section(part, "[pool.exec]", &EXEC_KEYS),
                        }
                    }
                }
                ("daemon" | "users" | "pool" | "web" | "history", Role::Checks) => {
                    let message = format!("`{}` may stand in the main file only", entry.key);
                    let help = "files in checks.d hold `[[check]]`, `[[host]]`, `[template.NAME]` and `[defaults]`";
                    self.push(entry.key_span, error(message).help(help));
                }
                // Below a header that does not parse, keys land where they were not written.
                (key, _) if file.torn && home_of(key).is_some() => {}
                (key, _) => self.unknown_section(key, entry.key_span, &entry.node, role),
            }
        }
        file
    }

    /// `[[check]]` or `[[host]]`.
    fn blocks(&mut self, entry: Entry, what: &str, keys: &[&str]) -> Vec<RawCheck> {
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
                    list.push(self.block(block.span, table, label, keys));
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

    fn block(&mut self, span: Span, table: Table, label: String, keys: &[&str]) -> RawCheck {
        let all = table.entries.iter().map(|e| e.key.clone());
        let unknown = all.filter(|k| !keys.contains(&k.as_str())).collect();
        let mut table = self.known_only(table, &label, keys);
        if keys.contains(&"checks") {
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
                    *table = self.known_only(std::mem::take(table), &owner, &HOST_CHECK_KEYS);
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
                        block: self.block(template.key_span, table, label, &TEMPLATE_KEYS),
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

    fn section(&mut self, entry: Entry, name: &str, keys: &[&str]) -> Table {
        let kind = entry.node.kind();
        match entry.node.value {
            Value::Table(table) => self.known_only(table, name, keys),
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

    fn known_only(&mut self, mut table: Table, owner: &str, keys: &[&str]) -> Table {
        let has_config = table.get("config").is_some();
        table.entries.retain(|entry| {
            if keys.contains(&entry.key.as_str()) {
                return true;
            }
            let e = error(format!(
                "unknown key `{}` in {owner}",
                shortened(&entry.key)
            ))
            .code("unknown-key");
            if let Some(help) = elsewhere::key(&entry.key, owner, keys) {
                self.push(entry.key_span, e.help(help));
                return false;
            }
            let e = match did_you_mean(&entry.key, keys.iter().copied()) {
                Some(near) => e.help(format!("a key with a similar name exists: `{near}`")),
                None if keys.contains(&"config") && keys.contains(&"plugin") => e
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
                        match keys.contains(&"checks") {
                            true => "template",
                            false => "check",
                        },
                        keys.join(", ")
                    )),
                None => e.help(format!("known keys: {}", keys.join(", "))),
            };
            self.push(entry.key_span, e);
            false
        });
        table
    }

    fn unknown_section(&mut self, key: &str, span: Span, node: &Node, role: Role) {
        let known: &[&str] = match role {
            Role::Main => &MAIN_SECTIONS,
            Role::Checks => &[
                "defaults",
                "template",
                "host",
                "check",
                "notify",
                "maintenance",
            ],
        };
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
        let near = did_you_mean(key, known.iter().copied());
        let e = match near {
            Some("check") => e.help("checks are written `[[check]]`"),
            Some("host") => e.help("hosts are written `[[host]]`"),
            Some(near @ ("notify" | "maintenance")) => {
                e.help(format!("it is written `{}`", header(near)))
            }
            Some(near) => e.help(format!(
                "a section with a similar name exists: `{}`",
                header(near)
            )),
            None => match home_of(key) {
                Some(section) => e.help(format!("`{key}` belongs below `{section}`")),
                None => {
                    let list: Vec<String> = known.iter().map(|name| header(name)).collect();
                    e.help(format!("this file may hold {}", one_of(&list, "and")))
                }
            },
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
            Value::Table(of_group) if !POOL_KEYS.contains(&entry.key.as_str()) => {
                let of_group = std::mem::take(of_group);
                groups.push((entry, of_group));
            }
            _ => table.entries.push(entry),
        }
    }
    (groups, pool)
}

fn header(section: &str) -> String {
    match section {
        "check" | "host" | "notify" | "maintenance" => format!("[[{section}]]"),
        "template" => "[template.NAME]".into(),
        _ => format!("[{section}]"),
    }
}

/// The section a lost key belongs to.
fn home_of(key: &str) -> Option<&'static str> {
    if DAEMON_KEYS.contains(&key) {
        Some("[daemon]")
    } else if CHECK_KEYS.contains(&key) {
        Some("[[check]]` or `[defaults]")
    } else if matches!(key, "workers" | "threads") {
        Some("[pool.io]")
    } else if key == "isolate" {
        Some("[pool]")
    } else if key == "max_parallel" {
        Some("[pool.exec]")
    } else if matches!(key, "sandbox" | "max_rss" | "max_fds" | "max_runs") {
        Some("[pool.io]`, `[pool.cpu]` or `[pool.exec]")
    } else {
        None
    }
}

/// A key as it can be written in TOML without quotes, or with them.
pub fn bare(key: &str) -> String {
    if is_bare(key) {
        key.to_owned()
    } else {
        format!("{:?}", shortened(key))
    }
}

fn is_bare(key: &str) -> bool {
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

/// The parser's words made plainer, with a hint for the slips that happen most.
fn syntax(message: &str, text: &str, span: Span) -> (String, Option<String>) {
    let at = (span.start as usize).min(text.len());
    let start = text
        .get(..at)
        .and_then(|t| t.rfind('\n'))
        .map_or(0, |n| n + 1);
    let line = text.get(start..).unwrap_or("").lines().next().unwrap_or("");
    let here = text.get(at..).unwrap_or("");

    let (what, help) = if here.starts_with(|c: char| c.is_control() && !c.is_whitespace()) {
        let help = "remove it; inside a string write it as `\\uXXXX`";
        ("a control character", Some(help.to_owned()))
    } else if let Some(sign) = here.chars().next().filter(|c| BLANKS.contains(c)) {
        let what = "a sign that looks like a blank and is none";
        let help = format!("write a plain blank in place of U+{:04X}", sign as u32);
        (what, Some(help))
    } else if here.starts_with(CURLY) {
        let what = "quotes of a word processor";
        (what, Some("write plain quotes: `\"`".into()))
    } else if message.starts_with("carriage return must be followed by newline") {
        let what = "a carriage return that ends no line";
        (
            what,
            Some("save it with line ends of Unix (LF) or Windows (CRLF)".into()),
        )
    } else if ["<<<<<<<", "=======", ">>>>>>>"]
        .iter()
        .any(|m| line.starts_with(m))
    {
        let what = "a merge conflict that nobody has resolved";
        let help = "take one side, and remove the lines `<<<<<<<`, `=======` and `>>>>>>>`";
        (what, Some(help.into()))
    } else if message.starts_with("duplicate key") && line.trim_start().starts_with('[') {
        let name = line.trim().trim_matches(['[', ']']);
        let is_list = ["check", "host", "notify", "maintenance"].contains(&name);
        let help = match is_list && !line.trim_start().starts_with("[[") {
            true => format!("each is one block of a list: write `[[{name}]]`"),
            false => "put its keys below the first one".into(),
        };
        ("this table stands twice", Some(help))
    } else if message.starts_with("duplicate key") {
        (
            "this key stands twice in its table",
            Some("remove one of the two".into()),
        )
    } else if message.starts_with("missing escaped value") {
        let help = "between single quotes a backslash is itself: `'\\d+'`; between double quotes it is written `\\\\`";
        ("a backslash that begins no escape", Some(help.into()))
    } else if message.starts_with("missing comma") {
        let what = "something else than a comma between two values";
        (what, Some("write a comma".into()))
    } else if message.starts_with("missing assignment") {
        let what = "a key without its `=`";
        (what, Some("write `=` between a key and its value".into()))
    } else if message.starts_with("unexpected key or value") {
        let help = match here.starts_with(',') {
            true => "remove the comma: lines have none at their end",
            false => "write one `key = value` a line, and a text in quotes",
        };
        ("something behind the value", Some(help.into()))
    } else if message.starts_with("cannot recurse further") {
        ("nested too deep", None)
    } else if message.starts_with("invalid basic string, expected `\"`")
        || message.starts_with("invalid literal string, expected `'`")
    {
        let help = "write the quote at the string's end; a quote within it is `\\\"`";
        ("a string without its closing quote", Some(help.into()))
    } else if message.starts_with("key with no value") {
        let is_comment = [";", "/", "--", "%"]
            .iter()
            .any(|sign| line.trim_start().starts_with(sign));
        let help = if is_comment {
            "a comment starts with `#`".into()
        } else if let Some((key, value)) =
            line.split_once([':', ' ']).filter(|(key, _)| is_bare(key))
        {
            // `key : "value"`: the sign is not of the value, and what has quotes needs no more.
            let value = value.trim_start_matches([':', ' ', '\t']).trim_end();
            let as_it_is = value.starts_with(['"', '\'', '[', '{'])
                || value.parse::<f64>().is_ok()
                || ["true", "false"].contains(&value);
            match as_it_is {
                true => format!("write `{key} = {}`", shortened(value)),
                false => format!("write `{key} = \"{}\"`", shortened(value)),
            }
        } else {
            "a line is `key = value`, `[section]` or `# comment`".into()
        };
        ("a key without a value", Some(help))
    } else if message.starts_with("unclosed") {
        let closing = message
            .rsplit_once("expected ")
            .map_or("`]`", |(_, sign)| sign);
        let line = if closing == "`}`" {
            ", on the same line"
        } else {
            ""
        };
        let help = format!("write the {closing} that closes it{line}");
        (message, Some(help))
    } else {
        (message, None)
    };
    (format!("not valid TOML: {what}"), help)
}

/// No-break, zero-width and other blanks, and the mark of a text's beginning.
const BLANKS: [char; 6] = [
    '\u{a0}', '\u{2009}', '\u{200b}', '\u{202f}', '\u{3000}', '\u{feff}',
];
const CURLY: [char; 7] = [
    '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}', '\u{bb}',
];

const WITHOUT_QUOTES: &str = "not valid TOML: text has to stand in quotes";

/// A text that somebody wrote as it is, where the parser sees a number, a boolean or a date that is none: how to write
/// it, and where it stands.
fn without_quotes(message: &str, text: &str, at: usize) -> Option<(String, Range<usize>)> {
    let about_a_word = [
        "string values must be quoted",
        "invalid boolean",
        "invalid float",
        "invalid integer number",
        "invalid mantissa",
        "invalid fraction",
        "invalid date-time",
    ];
    if !about_a_word.iter().any(|begin| message.starts_with(begin)) {
        return None;
    }
    let before = text.get(..at)?;
    let begin = before.rfind(['=', '[', ',', '\n'])? + 1;
    let rest = text.get(begin..)?;
    let end = rest.find([',', ']', '}', '#', '\n']).unwrap_or(rest.len());
    let begin = begin + rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let word = rest.get(..end)?.trim();
    let first = word.starts_with(|c: char| c.is_alphanumeric() || "/~.*".contains(c));
    let help = match word.to_ascii_lowercase().as_str() {
        _ if !first || word.contains('"') => return None,
        "true" | "yes" | "on" => "write `true`".into(),
        "false" | "no" | "off" => "write `false`".into(),
        "none" | "null" | "nil" | "undefined" => "there is no empty value: remove the line".into(),
        _ => format!("write `\"{}\"`", shortened(word)),
    };
    Some((help, begin..begin + word.len()))
}

const TOO_LARGE: &str = "this number is too large";
/// Deeper than anyone writes, and far from the end of the stack.
const DEPTH_MAX: u32 = 64;
/// In a file that is no TOML at all, the first few say it.
const SYNTAX_ERRORS_MAX: usize = 20;
