//! A check's `config`: what it inherits, its placeholders, its secrets, and its plugin's schema;
//! in the end two JSON texts, one for the plugin and one for everybody else.
//!
//! A plan is made once for each `[[check]]`; a check of a `for_each` then only fills in what
//! differs.

use std::collections::HashSet;
use std::fmt::Display;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::meant;
use super::model::CONFIG_JSON_MAX;
use super::raw::{Entry, Node, Table, Value};
use super::reading::Reading;
use super::report::{Finding, error, warning};
use super::schema::{Masks, Schema, Sight, Step, Swallowed, Violation, What, dotted};
use super::secrets::SecretKind;
use super::sensitive;
use super::source::Span;
use super::template::{Cell, Filled, Template, TemplateError};
use super::words::thousands;
use crate::scrub::{MASK, secrets_of};

/// The options of one block, ready to be filled in.
#[derive(Debug)]
pub struct Plan<'a> {
    entries: Vec<&'a Entry>,
    /// What stands for the whole: the key `config`, or the block that has none.
    span: Span,
    value: Json,
    slots: Vec<Slot>,
    schema: Option<Rc<Schema>>,
    plugin: &'a str,
    torn: bool,
    beside: &'a [String],
    /// The block has the key `config`.
    has_config: bool,
    /// One check's options were too large; so are those of the next, and each costs time.
    too_large: bool,
}

/// What a plan is made of.
#[derive(Debug)]
pub struct PlanInput<'a, 'b> {
    /// The key `config` of the block.
    pub own: Option<&'a Entry>,
    /// The defaults, the strongest last. Their strings are taken as they are.
    pub layers: &'b [&'a Table],
    /// The variables that the block's own strings may use.
    pub names: Option<&'b [String]>,
    pub plugin: &'a str,
    /// `None`: nothing can be judged.
    pub schema: Option<Rc<Schema>>,
    pub block: Span,
    /// The file does not parse: an option that is missing may have been skipped.
    pub torn: bool,
    /// Keys that stand beside `config` and were reported: an option that is missing may be meant.
    pub beside: &'a [String],
}

/// A value that is not known before a check is made.
#[derive(Clone, Debug)]
struct Slot {
    path: Vec<Step>,
    span: Span,
    kind: SlotKind,
}

#[derive(Clone, Debug)]
enum SlotKind {
    /// `plain`: the plugin wants a string, so a lone number becomes one.
    Text {
        template: Template,
        plain: bool,
    },
    Secret(SecretKind, SecretName),
}

#[derive(Clone, Debug)]
enum SecretName {
    Plain(String),
    Template(Template),
}

/// Whether secrets are needed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    Read,
    /// The check will not run: it must not fail for a secret, nor hold one.
    Leave,
}

#[derive(Debug)]
pub struct Options {
    pub config: String,
    pub shown: String,
}

/// The variables of the block's `for_each`, and their values in one check.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    pub names: &'a [String],
    pub cells: &'a [Cell<'a>],
}

impl<'a> Plan<'a> {
    pub fn new(
        from: PlanInput<'a, '_>,
        owner: &dyn Display,
        cx: &mut Reading<'_>,
    ) -> Option<Plan<'a>> {
        let PlanInput {
            own,
            layers,
            names,
            plugin,
            schema,
            block,
            torn,
            beside,
        } = from;
        let mut entries: Vec<(&Entry, bool)> = Vec::new();
        let mut lay = |table: &'a Table, is_own: bool| {
            let keys: HashSet<&str> = table.entries.iter().map(|e| e.key.as_str()).collect();
            entries.retain(|(e, _)| !keys.contains(e.key.as_str()));
            entries.extend(table.entries.iter().map(|e| (e, is_own)));
        };
        for table in layers {
            lay(table, false);
        }
        let span = own.map_or(block, |e| e.key_span);
        match own.map(|e| &e.node) {
            None => {}
            Some(Node {
                value: Value::Table(table),
                ..
            }) => lay(table, true),
            Some(node) => {
                let example =
                    schema.map_or("{ option = \"value\" }".into(), |s| s.required_example());
                return cx.wrong_type("config", node, owner, "a table", &example);
            }
        }
        let mut builder = Builder {
            names: None,
            schema: schema.as_deref(),
            slots: Vec::new(),
            fine: true,
            owner,
            cx,
        };
        let mut map = Map::new();
        for (entry, is_own) in &entries {
            builder.names = names.filter(|_| *is_own);
            let mut path = vec![Step::Key(entry.key.clone())];
            map.insert(entry.key.clone(), builder.build(&entry.node, &mut path));
        }
        let Builder { slots, fine, .. } = builder;
        meant::tell(entries.iter().map(|(e, _)| *e), owner, cx);
        fine.then(|| Plan {
            entries: entries.into_iter().map(|(e, _)| e).collect(),
            span,
            value: Json::Object(map),
            slots,
            schema,
            plugin,
            torn,
            beside,
            has_config: own.is_some(),
            too_large: false,
        })
    }

    /// The options of one check; `None` after what is wrong was reported.
    pub fn fill(
        &mut self,
        variables: Option<Variables<'_>>,
        secrets: Secrets,
        owner: &dyn Display,
        cx: &mut Reading<'_>,
    ) -> Option<Options> {
        if self.too_large {
            return None;
        }
        let mut found: Vec<(Vec<Step>, Span, SecretKind, String)> = Vec::new();
        for slot in &self.slots {
            match fill_slot(slot, variables) {
                Ok(New::Value(v)) => put(&mut self.value, &slot.path, v),
                Ok(New::Secret(kind, name)) => {
                    found.push((slot.path.clone(), slot.span, kind, name))
                }
                Ok(New::Node(node)) => {
                    // A list or table from a row of `for_each`; it may hold secrets of its own.
                    let mut builder = Builder {
                        names: None,
                        schema: self.schema.as_deref(),
                        slots: Vec::new(),
                        fine: true,
                        owner,
                        cx,
                    };
                    let value = builder.build(node, &mut slot.path.clone());
                    let Builder { slots, fine, .. } = builder;
                    if !fine {
                        return None;
                    }
                    put(&mut self.value, &slot.path, value);
                    for inner in slots {
                        if let SlotKind::Secret(kind, SecretName::Plain(name)) = inner.kind {
                            found.push((inner.path, slot.span, kind, name));
                        }
                    }
                }
                Err(e) => {
                    let option = dotted(&slot.path, None);
                    cx.push(template_error(e, &format!("option `{option}`"), owner).at(slot.span));
                    return None;
                }
            }
        }

        let read: Vec<Vec<Step>> = found.iter().map(|(path, ..)| path.clone()).collect();
        let mut masks = Masks::default();
        for (path, ..) in &found {
            put(&mut self.value, path, Json::String(MASK.into()));
        }
        let sensitive = sensitive::masked(&self.value);
        let mut shown = sensitive.as_ref().map(|(shown, _)| canonical(shown));
        if let Some(shown) = &shown {
            cx.open_secrets
                .extend(secrets_of(&canonical(&self.value), shown));
        }
        if !found.is_empty() {
            shown.get_or_insert_with(|| canonical(&self.value));
            let mut all_there = true;
            for (path, span, kind, name) in found {
                if secrets == Secrets::Leave {
                    masks.paths.push((path, Sight::Unread));
                    continue;
                }
                match cx.secret(kind, &name) {
                    Ok(secret) => {
                        put(&mut self.value, &path, Json::String(secret.to_string()));
                        masks.paths.push((path, Sight::Secret));
                    }
                    Err(unread) => {
                        let option = dotted(&path, None);
                        let e = error(format!("option `{option}` of {owner}: {}", unread.message));
                        cx.push(
                            e.at(span)
                                .help(unread.help)
                                .code("secret-unread")
                                .once(&name),
                        );
                        masks.paths.push((path, Sight::Unread));
                        all_there = false;
                    }
                }
            }
            let fits = self.judge(&masks, false, owner, cx);
            if !(fits && all_there) {
                return None;
            }
        } else if !self.judge(&masks, false, owner, cx) {
            return None;
        }

        self.tell_swallowed(owner, cx);
        for (path, place) in sensitive.into_iter().flat_map(|(_, places)| places) {
            self.tell_open_secret(&path, place, owner, cx);
        }
        for path in read.iter().filter(|path| on_command_line(path)) {
            self.tell_command_line(path, owner, cx);
        }
        let config = canonical(&self.value);
        if config.len() > CONFIG_JSON_MAX {
            self.too_large = true;
            let e = error(format!(
                "the options of {owner} are too large: {} bytes as JSON, {} are allowed",
                thousands(config.len() as u128),
                thousands(CONFIG_JSON_MAX as u128),
            ));
            let e = e
                .at(self.span)
                .help("let the plugin read large data from a file");
            cx.push(e.code("too-large").once("large"));
            return None;
        }
        let shown = shown.unwrap_or_else(|| config.clone());
        Some(Options { config, shown })
    }

    /// Limits in the wrong order: a warning that can never be given.
    fn tell_swallowed(&self, owner: &dyn Display, cx: &mut Reading<'_>) {
        let swallowed = self.schema.iter().flat_map(|s| s.swallowed(&self.value));
        for Swallowed {
            path,
            warn,
            crit: (crit, value),
            is_default,
        } in swallowed
        {
            let option = dotted(&path, None);
            let crit = dotted(&path[..path.len() - 1], Some(&crit));
            let w = warning(format!(
                "option `{option}` ({warn}) of {owner} can never warn: whatever is beyond it is beyond `{crit}` ({value}) too"
            ));
            let help = match is_default {
                true => format!("`{crit}` is {value} unless you set it: set it too"),
                false => format!("swap the two, or leave `{option}` out"),
            };
            cx.push(
                w.at(self.locate(&path, None))
                    .help(help)
                    .code("limits-swapped")
                    .once(&format!("swapped {option}")),
            );
        }
    }

    /// A secret that stands in the config, where everybody reads it who may read that.
    fn tell_open_secret(
        &self,
        path: &[Step],
        place: sensitive::Place,
        owner: &dyn Display,
        cx: &mut Reading<'_>,
    ) {
        // What fills a placeholder may come from anywhere, and what is within a text may be meant otherwise.
        if matches!(place, sensitive::Place::Within | sensitive::Place::User)
            || self.schema.is_none()
        {
            return;
        }
        // A file would not help: what comes from it stands there as well.
        if on_command_line(path) {
            return self.tell_command_line(path, owner, cx);
        }
        let option = dotted(path, None);
        let what = match place {
            sensitive::Place::Url => "user and password in its URL",
            sensitive::Place::Query => "a secret in the query of its URL",
            _ => "a secret in clear text",
        };
        let w = warning(format!("option `{option}` of {owner} holds {what}"));
        let key = match path.last() {
            Some(Step::Key(key)) => format!("{} = ", super::raw::bare(key)),
            _ => String::new(),
        };
        let help = format!(
            "write the value into a file that only the daemon's user can read, and here `{key}{{ file = \"PATH\" }}`; \
             a credential of systemd is `{key}{{ credential = \"NAME\" }}`"
        );
        cx.push(
            w.at(self.locate(path, None))
                .help(help)
                .code("open-secret")
                .once("open"),
        );
    }

    /// A secret that every user of the machine sees while the program runs.
    fn tell_command_line(&self, path: &[Step], owner: &dyn Display, cx: &mut Reading<'_>) {
        let option = dotted(path, None);
        let w = warning(format!(
            "option `{option}` of {owner} puts a secret on its program's command line, where every user of this machine sees it"
        ));
        cx.push(
            w.at(self.locate(path, None))
                .help(
                    "hand it over in `env = { NAME = { file = \"PATH\" } }`, in `stdin`, or in a file of the program's own",
                )
                .code("secret-on-command-line")
                .once("command line"),
        );
    }

    /// Judges options that no check inherits yet: what is there has to be right, what is missing
    /// may come from a check.
    pub fn judge_alone(&mut self, owner: &dyn Display, cx: &mut Reading<'_>) {
        let mut masks = Masks::default();
        for slot in &self.slots {
            put(&mut self.value, &slot.path, Json::String(MASK.into()));
            masks.paths.push((slot.path.clone(), Sight::Unread));
        }
        self.judge(&masks, true, owner, cx);
    }

    fn judge(
        &self,
        masks: &Masks,
        partly: bool,
        owner: &dyn Display,
        cx: &mut Reading<'_>,
    ) -> bool {
        let Some(schema) = &self.schema else {
            return true;
        };
        let wrong = schema.validate(&self.value, masks);
        let fine = wrong.is_empty();
        for violation in wrong {
            if partly && violation.path.is_empty() && !matches!(violation.what, What::Unknown(_)) {
                continue;
            }
            if let What::Missing(name) = &violation.what
                && (self.torn || self.beside.contains(name))
            {
                continue;
            }
            cx.push(self.finding(violation, owner));
        }
        fine
    }

    fn finding(&self, violation: Violation, owner: &dyn Display) -> Finding {
        let Violation {
            path,
            what,
            mut help,
        } = violation;
        if help.is_none() && !path.is_empty() {
            // Of what holds it, where nothing is said of itself.
            let above = (1..=path.len()).rev().map(|n| &path[..n]);
            let schema = self.schema.as_ref();
            let described = above
                .filter_map(|path| Some((path, schema?.described(path)?)))
                .next();
            help =
                described.map(|(path, d)| format!("`{}`: {}", dotted(path, None), lower_first(&d)));
        }
        let plugin = self.plugin;
        let (e, span, key) = match &what {
            What::Unknown(name) => {
                let option = dotted(&path, Some(name));
                let e = error(format!(
                    "unknown option `{option}` for plugin `{plugin}` in {owner}"
                ));
                (
                    e.code("unknown-option"),
                    self.locate(&path, Some(name)),
                    format!("unknown {option}"),
                )
            }
            What::Missing(name) => {
                let option = dotted(&path, Some(name));
                let e = error(format!(
                    "{owner} lacks option `{option}`, which plugin `{plugin}` needs"
                ));
                let bare = super::raw::bare(name);
                // In a block without `config` the option alone would be an unknown key.
                let add = match &self.schema {
                    Some(schema) if !self.has_config && path.is_empty() => {
                        format!("add `config = {}`", schema.required_example())
                    }
                    _ => format!("add `{bare}`"),
                };
                let help = match help {
                    Some(what) if self.has_config => format!("{add}: {}", lower_first(&what)),
                    Some(what) => format!("{add}; `{bare}`: {}", lower_first(&what)),
                    None => add,
                };
                return e
                    .at(self.locate(&path, None))
                    .help(help)
                    .code("missing-option")
                    .once(&format!("missing {option}"));
            }
            What::Rule(rule) => {
                let subject = match path.as_slice() {
                    [] => "`config`".to_owned(),
                    path => format!("option `{}`", dotted(path, None)),
                };
                // The value differs from check to check; the mistake does not.
                let key = format!("{subject} {}", rule.split(", ").next().unwrap_or(rule));
                (
                    error(format!("{subject} of {owner} {rule}")).code("option-value"),
                    self.locate(&path, None),
                    key,
                )
            }
        };
        e.at(span).maybe_help(help).once(&key)
    }

    /// The place of a value, or of the key `key` in it; of what holds it if it has none.
    fn locate(&self, path: &[Step], key: Option<&str>) -> Span {
        let keyed = |e: &&&Entry, name: &str| e.key == name;
        let mut steps = path.iter();
        let mut node = match (steps.next(), key) {
            (None, None) => return self.span,
            (None, Some(name)) => {
                return self
                    .entries
                    .iter()
                    .find(|e| keyed(e, name))
                    .map_or(self.span, |e| e.key_span);
            }
            (Some(Step::Key(name)), _) => match self.entries.iter().find(|e| keyed(e, name)) {
                Some(entry) => &entry.node,
                None => return self.span,
            },
            (Some(Step::Index(_)), _) => return self.span,
        };
        for step in steps {
            let inner = match (step, &node.value) {
                (Step::Key(name), Value::Table(table)) => table.get(name).map(|e| &e.node),
                (Step::Index(i), Value::Array(items)) => items.get(*i),
                _ => None,
            };
            match inner {
                Some(inner) => node = inner,
                None => return node.span,
            }
        }
        match (key, &node.value) {
            (Some(name), Value::Table(table)) => table.get(name).map_or(node.span, |e| e.key_span),
            _ => node.span,
        }
    }
}

enum New<'a> {
    Value(Json),
    Node(&'a Node),
    Secret(SecretKind, String),
}

fn fill_slot<'a>(slot: &Slot, variables: Option<Variables<'a>>) -> Result<New<'a>, TemplateError> {
    let none = Variables {
        names: &[],
        cells: &[],
    };
    let Variables { names, cells } = variables.unwrap_or(none);
    match &slot.kind {
        SlotKind::Text { template, plain } => Ok(match template.fill(cells, names)? {
            Filled::Text(s) => New::Value(Json::String(s)),
            Filled::Int(n) if *plain => New::Value(Json::String(n.to_string())),
            Filled::Int(n) => New::Value(n.into()),
            Filled::Node(Node {
                value: value @ (Value::Int(_) | Value::Bool(_)),
                ..
            }) if *plain => {
                New::Value(super::template::scalar(value).map_or(Json::Null, Json::String))
            }
            Filled::Node(node) => match &node.value {
                Value::Str(s) | Value::Date(s) => New::Value(Json::String(s.clone())),
                Value::Int(n) => New::Value((*n).into()),
                Value::Bool(b) => New::Value((*b).into()),
                _ => New::Node(node),
            },
        }),
        SlotKind::Secret(kind, SecretName::Plain(name)) => Ok(New::Secret(*kind, name.clone())),
        SlotKind::Secret(kind, SecretName::Template(template)) => {
            let name = match template.fill(cells, names)? {
                Filled::Text(s) => Some(s),
                Filled::Int(n) => Some(n.to_string()),
                Filled::Node(node) => super::template::scalar(&node.value),
            };
            match name {
                Some(name) => Ok(New::Secret(*kind, name)),
                None => Err(TemplateError {
                    message: "a list or table cannot name a secret".into(),
                    help: "use a text".into(),
                }),
            }
        }
    }
}

/// Turns a value of the file into JSON, with a slot for all that is filled in later.
struct Builder<'b, 'c> {
    names: Option<&'b [String]>,
    schema: Option<&'b Schema>,
    slots: Vec<Slot>,
    fine: bool,
    owner: &'b dyn Display,
    cx: &'b mut Reading<'c>,
}

impl Builder<'_, '_> {
    fn build(&mut self, node: &Node, path: &mut Vec<Step>) -> Json {
        match &node.value {
            Value::Str(s) => match self.template(s, node.span, path) {
                Some(template) => {
                    let plain = self.schema.is_some_and(|s| s.wants_text(path));
                    let kind = SlotKind::Text { template, plain };
                    self.slots.push(Slot {
                        path: path.clone(),
                        span: node.span,
                        kind,
                    });
                    Json::Null
                }
                None => Json::String(self.unescaped(s)),
            },
            Value::Date(s) => Json::String(s.clone()),
            Value::Int(n) => (*n).into(),
            Value::Float(n) => serde_json::Number::from_f64(*n).map_or(Json::Null, Json::Number),
            Value::Bool(b) => (*b).into(),
            Value::Array(items) => Json::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| {
                        path.push(Step::Index(i));
                        let value = self.build(item, path);
                        path.pop();
                        value
                    })
                    .collect(),
            ),
            Value::Table(table) => {
                if let Some(kind) = self.secret(table, node.span, path) {
                    self.slots.push(Slot {
                        path: path.clone(),
                        span: node.span,
                        kind,
                    });
                    return Json::Null;
                }
                let mut map = Map::new();
                for entry in &table.entries {
                    path.push(Step::Key(entry.key.clone()));
                    let value = self.build(&entry.node, path);
                    path.pop();
                    map.insert(entry.key.clone(), value);
                }
                Json::Object(map)
            }
            Value::Broken => {
                self.fine = false;
                Json::Null
            }
        }
    }

    /// Some: the string differs from check to check.
    fn template(&mut self, text: &str, span: Span, path: &[Step]) -> Option<Template> {
        match Template::parse(text, self.names?) {
            Ok(template) => template.filter(Template::has_variable),
            Err(e) => {
                self.fine = false;
                let what = format!("option `{}`", dotted(path, None));
                self.cx.push(template_error(e, &what, self.owner).at(span));
                None
            }
        }
    }

    /// A string without variables, its doubled braces made single where they had to be doubled.
    fn unescaped(&self, text: &str) -> String {
        match self.names.map(|names| Template::parse(text, names)) {
            Some(Ok(Some(template))) => match template.fill(&[], &[]) {
                Ok(Filled::Text(s)) => s,
                _ => text.to_owned(),
            },
            _ => text.to_owned(),
        }
    }

    /// A table of one key `env`, `file` or `credential` is a secret, unless the plugin itself
    /// takes such a table there.
    fn secret(&mut self, table: &Table, span: Span, path: &[Step]) -> Option<SlotKind> {
        let [entry] = table.entries.as_slice() else {
            return None;
        };
        let kind = match entry.key.as_str() {
            "env" => SecretKind::Env,
            "file" => SecretKind::File,
            "credential" => SecretKind::Credential,
            _ => return None,
        };
        let Value::Str(name) = &entry.node.value else {
            return None;
        };
        if self
            .schema
            .is_some_and(|s| s.takes_table_with(path, &entry.key))
        {
            return None;
        }
        let name = match self.template(name, span, path) {
            Some(template) => SecretName::Template(template),
            None => SecretName::Plain(self.unescaped(name)),
        };
        Some(SlotKind::Secret(kind, name))
    }
}

pub fn template_error(e: TemplateError, what: &str, owner: &dyn Display) -> Finding {
    let key = e.message.clone();
    error(format!("{} in {what} of {owner}", e.message))
        .help(e.help)
        .code("placeholder")
        .once(&key)
}

pub(super) fn put(value: &mut Json, path: &[Step], new: Json) {
    let mut at = value;
    for step in path {
        let inner = match step {
            Step::Key(key) => at.get_mut(key.as_str()),
            Step::Index(i) => at.get_mut(*i),
        };
        match inner {
            Some(inner) => at = inner,
            None => return, // every slot's path was built together with the value
        }
    }
    *at = new;
}

/// Sorted keys, no spaces: the same options are the same text, whatever order the map keeps.
pub fn canonical(value: &Json) -> String {
    let mut out = Vec::with_capacity(64);
    write_canonical(value, &mut out);
    // serde_json writes UTF-8 only.
    String::from_utf8(out).unwrap_or_default()
}

fn write_canonical(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<(&String, &Json)> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_scalar(key, out);
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Json::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    // A `Vec` takes every write, and a string, number or boolean has no way to fail.
    let _ = serde_json::to_writer(out, value);
}

pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        // An abbreviation such as URL stays as it is.
        (Some(a), Some(b)) if a.is_uppercase() && b.is_lowercase() => {
            a.to_lowercase().collect::<String>() + &text[a.len_utf8()..]
        }
        _ => text.to_owned(),
    }
}

/// Whatever plugin starts programs calls their words so.
fn on_command_line(path: &[Step]) -> bool {
    matches!(path.first(), Some(Step::Key(key)) if key == "argv")
}
