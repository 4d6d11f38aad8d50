//! `[[check]]` blocks -> checks: the defaults below each, one or many by `for_each`, its plugin,
//! and the rules that hold between checks.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use super::catalog::{Catalog, Class, PluginInfo};
use super::defaults::Defaults;
use super::elsewhere;
use super::for_each::ForEach;
use super::keys::Section;
use super::model::{CHECKS_MAX, CheckSpec, Daemon, Layer, Source};
use super::needs::{self, Written};
use super::notifiers::{self, ReadAlerts};
use super::on_change::RUN_BY;
use super::one_check::{Made, Name, OneCheck};
use super::options::{Plan, PlanInput, Variables, template_error};
use super::probes;
use super::raw::{Entry, RawCheck, RawFile, Table, Value, shortened};
use super::reading::Reading;
use super::report::{Finding, error, warning};
use super::schema::Schema;
use super::source::Span;
use super::template::Template;
use super::templates;
use super::words::{did_you_mean, thousands};

pub fn resolve(
    files: &[RawFile],
    daemon: &Daemon,
    catalog: Option<&Catalog>,
    alerts: Option<&dyn ReadAlerts>,
    cx: &mut Reading<'_>,
) -> Resolved {
    let mut maker = Maker {
        daemon,
        catalog,
        schemas: HashMap::new(),
        warned: HashSet::new(),
        used: HashSet::new(),
        checks: Vec::new(),
        blocks: Vec::new(),
        names: Vec::new(),
        needs: Vec::new(),
        full: false,
        size: 0,
    };
    let main = Defaults::read(files[0].values(Section::Defaults).table, cx);
    let locals: Vec<Defaults> = files[1..]
        .iter()
        .map(|f| Defaults::read(f.values(Section::Defaults).table, cx))
        .collect();
    for (i, file) in files.iter().enumerate() {
        let local = i.checked_sub(1).map(|i| &locals[i]);
        let layers: Vec<&Defaults> = std::iter::once(&main).chain(local).collect();
        for (n, block) in file.checks.iter().enumerate() {
            maker.block(block, &layers, file.torn || block.torn, cx);
            maker
                .blocks
                .resize(maker.checks.len(), Block { file: i, n });
        }
    }
    let (notifiers, alerts) = match alerts {
        Some(reader) => maker.notifiers(reader, files, &main, cx),
        None => Default::default(),
    };
    for defaults in std::iter::once(&main).chain(&locals) {
        maker.unused_options(defaults, cx);
    }
    maker.refuse_doubles(cx);
    maker.refuse_actions(cx);
    let names = maker.names.iter().filter_map(|(given, _)| match given {
        Given::To(_) => None,
        Given::Lost(name) => Some(name.as_str()),
    });
    needs::resolve(&mut maker.checks, &maker.needs, names, cx);
    Resolved {
        checks: maker.checks,
        blocks: maker.blocks,
        notifiers,
        alerts,
    }
}

/// The checks, and the `[[check]]` that each was made of.
pub struct Resolved {
    pub checks: Vec<CheckSpec>,
    pub blocks: Vec<Block>,
    pub notifiers: notifiers::Made,
    pub alerts: serde_json::Value,
}

/// A `[[check]]`: the number of its file, and its number there.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub file: usize,
    pub n: usize,
}

pub(super) struct Maker<'a> {
    daemon: &'a Daemon,
    catalog: Option<&'a Catalog>,
    /// Compiled once a plugin; `Err` is why it cannot be used.
    schemas: HashMap<&'a str, Result<Rc<Schema>, String>>,
    /// Plugins whose refusal was already said.
    warned: HashSet<String>,
    /// Plugins that some check uses.
    used: HashSet<String>,
    pub(super) checks: Vec<CheckSpec>,
    blocks: Vec<Block>,
    /// Every name that was given, in the order of the files, also to checks with a mistake.
    names: Vec<(Given, Span)>,
    /// Checks that need another, and where that is written.
    needs: Vec<(usize, Written)>,
    /// A cap was reached and reported.
    full: bool,
    /// The options of all checks so far, in bytes.
    size: usize,
}

/// A name in [`Maker::names`].
enum Given {
    /// That of `checks[i]`.
    To(usize),
    /// That of a check with a mistake in it.
    Lost(String),
}

/// What became of a check's `plugin`.
pub enum Plugin<'a> {
    Usable(&'a PluginInfo, Rc<Schema>),
    /// The file is there, but no worker will load it.
    Unusable(String),
    /// No catalog is at hand: not judged.
    Unjudged,
    /// Reported.
    Wrong,
}

/// A check in messages: by its name as soon as it has one.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    Block(&'a str),
    Check(&'a str),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Block(label) => f.write_str(label),
            Owner::Check(name) => write!(f, "check `{}`", shortened(name)),
        }
    }
}

impl<'a> Maker<'a> {
    fn block(
        &mut self,
        block: &RawCheck,
        layers: &[&Defaults<'_>],
        torn: bool,
        cx: &mut Reading<'_>,
    ) {
        let owner = Owner::Block(&block.label);
        for key in ["name", "plugin"] {
            // One slip, one message: it may be there by another name.
            let unknown = &mut block.unknown.iter();
            let is_meant = unknown.any(|word| elsewhere::means(word, key));
            // In a file that does not parse, the key may be in the part that was skipped.
            if block.table.get(key).is_none() && !torn && !is_meant {
                let e = error(format!("{owner} has no `{key}`")).code("missing-key");
                let example = match key {
                    "name" => "name = \"web\"".to_owned(),
                    _ => format!(
                        "plugin = \"{}\"",
                        self.plugin_for(block.table.get("config"))
                    ),
                };
                cx.push(e.at(block.span).help(format!("add `{example}`")));
            }
        }
        let plugin_name = block
            .table
            .get("plugin")
            .and_then(|e| self.plugin_name(e, block, owner, cx));
        let plugin = match &plugin_name {
            Some((name, span)) => match self.plugin(name, *span, owner, cx) {
                Plugin::Usable(info, _) if info.class == Class::Notify => {
                    let e = error(format!(
                        "plugin `{name}` of {owner} checks nothing: it tells people"
                    ));
                    cx.push(e.at(*span).code("unknown-plugin").help(format!(
                        "write it as `[[notify]]` with `plugin = \"{name}\"`"
                    )));
                    Plugin::Wrong
                }
                plugin => plugin,
            },
            None => Plugin::Wrong,
        };
        let plugin_name = plugin_name.map(|(name, _)| name).unwrap_or_default();
        self.used.insert(plugin_name.clone());

        let each = match block.table.get("for_each") {
            None => None,
            Some(entry) => match ForEach::read(entry, &block.label, cx) {
                Some(each) => Some(each),
                None => return,
            },
        };
        let total = each.as_ref().map_or(1, ForEach::total) + self.names.len() as u128;
        if total > CHECKS_MAX as u128 {
            if !self.full {
                self.full = true;
                let e = error(format!(
                    "too many checks: with {owner} there are {}, a config may hold {}",
                    thousands(total),
                    thousands(CHECKS_MAX as u128),
                ));
                let at = each.as_ref().map_or(block.span, |each| each.span);
                cx.push(
                    e.at(at)
                        .code("too-large")
                        .help("shorten the lists, or spread the checks over several daemons"),
                );
            }
            return;
        }

        let schema = match &plugin {
            Plugin::Usable(_, schema) => Some(Rc::clone(schema)),
            _ => None,
        };
        let tables: Vec<&Table> = layers
            .iter()
            .filter_map(|d| d.options(&plugin_name))
            .collect();
        let names = each.as_ref().map(|each| each.names.as_slice());
        let of_schema = match &plugin {
            Plugin::Usable(info, _) => Some(&*info.schema),
            _ => None,
        };
        let (probe, aimed) = probes::prepare(block, of_schema, owner, cx).unzip();
        let input = PlanInput {
            own: aimed.as_ref().or_else(|| block.table.get("config")),
            layers: &tables,
            names,
            plugin: &plugin_name,
            schema,
            block: block.span,
            torn,
            beside: &block.unknown,
        };
        let plan = Plan::new(input, &owner, cx);
        let line = cx.sources.line(block.span);
        let source = Source {
            file: cx.sources.name(block.span.source).to_owned(),
            line,
        };
        let name = block.table.get("name");
        let name_template = match (name.map(|e| &e.node.value), names) {
            (Some(Value::Str(text)), Some(names)) => match Template::parse(text, names) {
                Ok(None) => Name::Plain,
                Ok(Some(template)) => Name::Template(template),
                Err(e) => {
                    let span = name.map_or(block.span, |e| e.node.span);
                    cx.push(template_error(e, "`name`", &owner).at(span));
                    Name::Wrong
                }
            },
            _ => Name::Plain,
        };
        let mut one = OneCheck {
            block,
            layers,
            plugin: &plugin,
            plugin_name: &plugin_name,
            plan,
            source,
            name_template,
            from: from(block, layers, &plugin_name, cx).into(),
            probe,
        };
        match &each {
            None => {
                self.add(one.make(None, cx), cx);
            }
            Some(each) => {
                let more = usize::try_from(each.total()).unwrap_or(0);
                self.checks.reserve(more);
                self.names.reserve(more);
                each.each(|cells| {
                    let variables = Variables {
                        names: &each.names,
                        cells,
                    };
                    if !self.full {
                        self.add(one.make(Some(variables), cx), cx);
                    }
                })
            }
        }
    }

    /// A plugin that knows these options, for an example.
    fn plugin_for(&self, config: Option<&Entry>) -> &str {
        let Some(Value::Table(options)) = config.map(|e| &e.node.value) else {
            return "http";
        };
        let keys: Vec<&str> = options.entries.iter().map(|e| e.key.as_str()).collect();
        plugin_with(self.catalog, &keys)
    }

    fn add(&mut self, made: Made, cx: &mut Reading<'_>) {
        let (check, span, needs) = match made {
            Made::Check(check, span, needs) => (check, span, needs),
            Made::Wrong(name) => {
                self.names
                    .extend(name.map(|(name, span)| (Given::Lost(name), span)));
                return;
            }
        };
        self.size += check.config.len();
        if self.size > OPTIONS_MAX {
            if !self.full {
                self.full = true;
                let size = OPTIONS_MAX >> 20;
                let e = error(format!(
                    "the options of all checks together are larger than {size} MiB"
                ));
                cx.push(
                    e.at(span)
                        .code("too-large")
                        .help("let the plugins read large data from files"),
                );
            }
            return;
        }
        self.names.push((Given::To(self.checks.len()), span));
        if let (Some(written), true) = (needs, !check.needs.is_empty()) {
            self.needs.push((self.checks.len(), written));
        }
        self.checks.push(*check);
    }

    fn plugin_name(
        &self,
        entry: &Entry,
        block: &RawCheck,
        owner: Owner<'_>,
        cx: &mut Reading<'_>,
    ) -> Option<(String, Span)> {
        let name = cx.text("plugin", &entry.node, owner)?;
        if block.table.get("for_each").is_some() && name.contains(['{', '}']) {
            let e = error(format!("`plugin` of {owner} may not depend on `for_each`"));
            cx.push(
                e.at(entry.node.span)
                    .help("write one block for each plugin"),
            );
            return None;
        }
        Some((name, entry.node.span))
    }

    pub(super) fn plugin(
        &mut self,
        name: &str,
        span: Span,
        owner: Owner<'_>,
        cx: &mut Reading<'_>,
    ) -> Plugin<'a> {
        let Some(catalog) = self.catalog else {
            return Plugin::Unjudged;
        };
        let reason = match (catalog.plugin(name), catalog.refused(name)) {
            (Some(info), _) => match self.schema(info) {
                Ok(schema) => {
                    self.tell_ignored(info, &schema, cx);
                    return Plugin::Usable(info, schema);
                }
                Err(reason) => reason,
            },
            (None, Some(refused)) => {
                let file = refused.file.display().to_string();
                if refused.reason.starts_with(&file) {
                    format!("plugin `{name}` was refused: {}", refused.reason)
                } else {
                    format!("plugin `{name}` was refused: {file}: {}", refused.reason)
                }
            }
            (None, None) => {
                // It may be in a file that was refused: no mistake in the config, and nobody else is kept from running.
                if let Some(reason) = maybe_refused(name, catalog, &self.daemon.plugin_dir) {
                    return self.unusable(name, span, reason, cx);
                }
                let e = error(format!(
                    "there is no plugin `{}` for {owner}",
                    shortened(name)
                ));
                let e = e.code("unknown-plugin");
                cx.push(self.which_there_are(e, name, catalog).at(span));
                return Plugin::Wrong;
            }
        };
        self.unusable(name, span, reason, cx)
    }

    fn unusable(
        &mut self,
        name: &str,
        span: Span,
        reason: String,
        cx: &mut Reading<'_>,
    ) -> Plugin<'a> {
        if self.warned.insert(name.to_owned()) {
            let w = warning(reason.clone());
            cx.push(
                w.at(span)
                    .code("plugin-refused")
                    .help("until it is mended, checks that use it are UNKNOWN"),
            );
        }
        Plugin::Unusable(reason)
    }

    /// Its options are judged where they are used.
    pub(super) fn use_plugin(&mut self, name: &str) {
        self.used.insert(name.to_owned());
    }

    pub(super) fn names_of(&self, class: Class) -> Vec<&'a str> {
        let plugins = self.catalog.into_iter().flat_map(|c| &c.plugins);
        let of_class = plugins.filter(|info| info.class == class);
        of_class.map(|info| info.name.as_str()).collect()
    }

    /// What a plugin's author asks of its options and nobody checks.
    fn tell_ignored(&mut self, info: &PluginInfo, schema: &Schema, cx: &mut Reading<'_>) {
        if schema.ignored().is_empty() || !self.warned.insert(info.name.clone()) {
            return;
        }
        let all: Vec<String> = schema.ignored().iter().map(ToString::to_string).collect();
        let w = warning(format!(
            "the schema of plugin `{}` has what healthd does not check: {}",
            info.name,
            all.join(", ")
        ));
        let w = w.code("schema-ignored");
        cx.push(w.help("the plugin itself has to refuse what it forbids; `healthctl plugins verify` lists the same"));
    }

    fn which_there_are(&self, e: Finding, name: &str, catalog: &Catalog) -> Finding {
        let mut known: Vec<&str> = catalog.plugins.iter().map(|p| p.name.as_str()).collect();
        known.sort_unstable();
        let mut refused = catalog.refused.iter();
        if let Some(folder) = refused.find(|r| r.file == self.daemon.plugin_dir) {
            let reason = &folder.reason;
            let e = e.note(format!(
                "`plugin_dir` holds nothing that is loaded: {reason}"
            ));
            return e.help(
                "mend that, or name the folder with the plugins by `plugin_dir` in [daemon]",
            );
        }
        let dir = self.daemon.plugin_dir.display();
        if let Some(help) = elsewhere::plugin(name, &known) {
            // The list of all would only hide it.
            return e.help(help);
        }
        let e = e.help(format!("put its .so into {dir}, or correct the name"));
        if known.is_empty() {
            e.note(format!("{dir} (`plugin_dir`) holds no plugin"))
        } else {
            e.note(format!("plugins in {dir}: {}", known.join(", ")))
        }
    }

    fn schema(&mut self, info: &'a PluginInfo) -> Result<Rc<Schema>, String> {
        self.schemas
            .entry(&info.name)
            .or_insert_with(|| {
                Schema::compile(&info.schema).map(Rc::new).map_err(|e| {
                    format!(
                        "plugin `{}` ({}) has a broken config schema: {e}",
                        info.name,
                        info.file.display()
                    )
                })
            })
            .clone()
    }

    /// Judges `[defaults.config.X]` that no check has judged by using it.
    fn unused_options(&mut self, defaults: &Defaults<'_>, cx: &mut Reading<'_>) {
        let Some(catalog) = self.catalog else { return };
        for (entry, table) in &defaults.options {
            if let Some(info) = catalog.plugin(&entry.key) {
                if self.used.contains(&entry.key) {
                    continue;
                }
                let owner = format!("[defaults.config.{}]", super::raw::bare(&entry.key));
                let schema = self.schema(info).ok();
                let input = PlanInput {
                    own: None,
                    layers: &[table],
                    names: None,
                    plugin: &entry.key,
                    schema,
                    block: entry.key_span,
                    torn: false,
                    beside: &[],
                };
                if let Some(mut plan) = Plan::new(input, &owner, cx) {
                    plan.judge_alone(&owner, cx);
                }
            } else if catalog.refused(&entry.key).is_none() {
                let e = error(format!(
                    "[defaults.config] names a plugin `{}` that is not there",
                    shortened(&entry.key)
                ));
                let e = e.code("unknown-plugin");
                cx.push(
                    self.which_there_are(e, &entry.key, catalog)
                        .at(entry.key_span),
                );
            }
        }
    }

    /// What is run when a check changes is run by a plugin, which has to be there.
    fn refuse_actions(&self, cx: &mut Reading<'_>) {
        let acts = |c: &&CheckSpec| c.enabled && !c.alerts.actions.is_empty();
        let (Some(check), Some(catalog)) = (self.checks.iter().find(acts), self.catalog) else {
            return;
        };
        if catalog.plugin(RUN_BY).is_some() {
            return;
        }
        let e = error(format!(
            "what check `{}` asks for when it changes cannot be run: there is no plugin `{RUN_BY}`",
            check.name
        ));
        let e = self.which_there_are(e, RUN_BY, catalog);
        cx.push(e.code("unknown-plugin"));
    }

    fn refuse_doubles(&self, cx: &mut Reading<'_>) {
        let mut seen: HashMap<&str, Span> = HashMap::with_capacity(self.names.len());
        for (given, span) in &self.names {
            let name = match given {
                Given::To(check) => self.checks[*check].name.as_str(),
                Given::Lost(name) => name,
            };
            let Some(first) = seen.get(name) else {
                seen.insert(name, *span);
                continue;
            };
            if first == span {
                let e = error(format!("`for_each` makes the name `{name}` more than once"));
                let help = "use every placeholder that differs in `name`, as in `web-{item}`";
                cx.push(e.at(*span).help(help).code("duplicate-name").once("double"));
            } else {
                let place = cx.sources.place(*first);
                let e = error(format!(
                    "the check `{name}` is already defined at {}:{}:{}",
                    place.file, place.line, place.column
                ));
                cx.push(
                    e.at(*span)
                        .code("duplicate-name")
                        .help("give one of them another name")
                        .related(*first, "the first")
                        .once("double"),
                );
            }
        }
    }
}

/// What the block has from elsewhere: from templates and its host, and below them from the defaults.
fn from(block: &RawCheck, layers: &[&Defaults<'_>], plugin: &str, cx: &Reading<'_>) -> Vec<Layer> {
    let mut from = block.from.clone();
    let has = |path: &str, layers: &[Layer]| {
        let own = match path.split_once('.') {
            None => block.table.get(path).is_some(),
            Some((key, inner)) => match block.table.get(key).map(|e| &e.node.value) {
                Some(Value::Table(table)) => table.get(inner).is_some(),
                _ => false,
            },
        };
        own || layers.iter().any(|l| l.keys.iter().any(|k| k == path))
    };
    for defaults in layers.iter().rev() {
        let keys = defaults.keys(plugin);
        let Some((_, first)) = keys.first() else {
            continue;
        };
        let source = templates::source(*first, cx);
        let keys = keys.into_iter().map(|(path, _)| path);
        let keys: Vec<String> = keys.filter(|path| !has(path, &from)).collect();
        if !keys.is_empty() {
            from.push(Layer {
                what: "[defaults]".into(),
                source,
                keys,
            });
        }
    }
    from
}

/// Why a plugin that no file has may be missing: files that say nothing of themselves. A name that is like one that is
/// there is a slip.
fn maybe_refused(name: &str, catalog: &Catalog, dir: &Path) -> Option<String> {
    let known = catalog.plugins.iter().map(|p| p.name.as_str());
    if did_you_mean(name, known).is_some() {
        return None;
    }
    // Of a folder that cannot be read nothing is known.
    let files = catalog
        .refused
        .iter()
        .filter(|r| r.name.is_none() && r.file != dir);
    let mut reasons = files.map(|r| {
        let file = r.file.display().to_string();
        match r.reason.starts_with(&file) {
            true => r.reason.clone(),
            false => format!("{file}: {}", r.reason),
        }
    });
    let first = reasons.next()?;
    let more = match reasons.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    let name = shortened(name);
    Some(format!(
        "no file holds plugin `{name}`; it may be in one that was refused: {first}{more}"
    ))
}

/// The plugin that knows all of these options and needs no other, else one that knows them, else just one.
fn plugin_with<'c>(catalog: Option<&'c Catalog>, keys: &[&str]) -> &'c str {
    let plugins = || catalog.into_iter().flat_map(|c| &c.plugins);
    let knows = |info: &&PluginInfo| {
        let known = &info.schema["properties"];
        keys.iter().all(|key| known.get(key).is_some())
    };
    let enough = |info: &&PluginInfo| {
        let needed = info.schema["required"].as_array().into_iter().flatten();
        let mut needed = needed.filter_map(|name| name.as_str());
        needed.all(|name| keys.contains(&name))
    };
    let fits = plugins().filter(knows).find(enough);
    let fits = fits.or_else(|| plugins().find(knows));
    fits.map_or("http", |info| info.name.as_str())
}

/// All checks' options together: they are in memory twice, once with secrets and once without.
const OPTIONS_MAX: usize = 128 << 20;
