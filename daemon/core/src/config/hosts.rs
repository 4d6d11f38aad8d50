//! `[[host]]`: one block, a check for each of its `checks`.
//!
//! ```toml
//! [[host]]
//! name = "web1"
//! address = "10.0.0.1"                          # default: the name
//! checks = ["ping", { use = "disk", config = { free_warn = "5%" } }]
//! labels = { team = "web" }
//! ```
//! makes `web1/ping` and `web1/disk`: the template, over it what the host says for all of its checks, over that what
//! stands in the item itself. Each has the label `host`. In all their strings `{host}` and `{address}` stand for the
//! host's; with `for_each` one block makes many hosts, and its variables may be used as well.

use std::collections::HashMap;

use super::checks::Owner;
use super::for_each::ForEach;
use super::laid::Laid;
use super::model::CHECKS_MAX;
use super::options::template_error;
use super::raw::{Entry, Node, RawCheck, Table, Value, shortened};
use super::reading::Reading;
use super::report::{error, warning};
use super::source::Span;
use super::template::{Cell, Filled, Template, scalar};
use super::templates::{Templates, source};
use super::words::thousands;

pub const PLACEHOLDERS: [&str; 2] = ["{host}", "{address}"];

#[derive(Default)]
pub struct Hosts {
    /// Where each was defined.
    seen: HashMap<String, Span>,
    made: usize,
    full: bool,
}

/// One of the `checks` of a host.
struct Item {
    /// Behind the host's name.
    name: String,
    span: Span,
    table: Table,
    used: Option<Node>,
}

impl Hosts {
    /// Appends the checks of one block to `checks`.
    pub fn add(
        &mut self,
        host: RawCheck,
        templates: &mut Templates,
        checks: &mut Vec<RawCheck>,
        torn: bool,
        cx: &mut Reading<'_>,
    ) {
        let label = host.label.clone();
        let Some(name) = host.table.get("name").map(|e| e.node.clone()) else {
            if !torn {
                let e = error(format!("{label} has no `name`")).code("missing-key");
                cx.push(e.at(host.span).help("add `name = \"web1\"`"));
            }
            return;
        };
        let mut below = Laid::default();
        if let Some(used) = host.table.get("use").map(|e| e.node.clone()) {
            match templates.of(&used, &label, cx) {
                Some(laid) => below = laid,
                None => return,
            }
            let of_a_check = ["plugin", "config", "title", "max_parallel"]
                .into_iter()
                .find(|key| below.table.get(key).is_some());
            if let Some(key) = of_a_check {
                let e = error(format!(
                    "{label} uses a template that is for one check: it has `{key}`"
                ));
                let help = "name it in `checks`, as in `checks = [\"NAME\"]`";
                cx.push(e.at(used.span).help(help).code("template"));
                return;
            }
        }
        let what = label.clone();
        below.lay(&host.table, Some((what, source(host.span, cx))));
        let Some(items) = items(&below.table, &host, torn, cx) else {
            return;
        };
        let each = match below.table.get("for_each") {
            None => None,
            Some(entry) => match ForEach::read(entry, &label, cx) {
                Some(each) => Some(each),
                None => return,
            },
        };
        let total = each.as_ref().map_or(1, ForEach::total) * items.len() as u128;
        self.made += usize::try_from(total).unwrap_or(CHECKS_MAX + 1);
        if self.made > CHECKS_MAX {
            if !std::mem::replace(&mut self.full, true) {
                let e = error(format!(
                    "too many checks: with {label} the hosts have {}, a config may hold {}",
                    thousands(self.made as u128),
                    thousands(CHECKS_MAX as u128),
                ));
                let help = "shorten the lists, or spread the hosts over several daemons";
                cx.push(e.at(host.span).code("too-large").help(help));
            }
            return;
        }
        let Some(rows) = self.rows(&below.table, &name, each.as_ref(), &host, cx) else {
            return;
        };
        // These say which hosts and which checks there are, and are of no check.
        below
            .table
            .entries
            .retain(|e| !["name", "address", "checks", "for_each"].contains(&e.key.as_str()));
        for item in items {
            let check = one(item, &below, &rows, &name, &host, templates, cx);
            checks.extend(check);
        }
    }

    /// The hosts of the block: a table each, with `host`, `address` and the variables of its `for_each`.
    fn rows(
        &mut self,
        table: &Table,
        name: &Node,
        each: Option<&ForEach>,
        host: &RawCheck,
        cx: &mut Reading<'_>,
    ) -> Option<Vec<Node>> {
        let address = table.get("address").map_or(name, |e| &e.node);
        let mut rows = Vec::new();
        let mut fine = true;
        let mut row = |cells: &[Cell<'_>], names: &[String], cx: &mut Reading<'_>| {
            let name = text("name", name, cells, names, &host.label, cx)?;
            let address = text("address", address, cells, names, &host.label, cx)?;
            let Value::Str(called) = &name.value else {
                return None;
            };
            if let Some(first) = self.seen.get(called) {
                let called = shortened(called);
                let e = match first == &name.span {
                    true => error(format!(
                        "`for_each` makes the host `{called}` more than once"
                    ))
                    .help("use every placeholder that differs in `name`, as in `web-{item}`"),
                    false => error(format!("the host `{called}` is already defined"))
                        .help("write its `checks` in one block")
                        .related(*first, "the first"),
                };
                cx.push(e.at(name.span).code("duplicate-name").once("double host"));
                return None;
            }
            self.seen.insert(called.clone(), name.span);
            let mut entries = vec![entry("host", name), entry("address", address)];
            for (variable, cell) in names.iter().zip(cells) {
                let node = match cell {
                    Cell::Int(n) => Node {
                        span: host.span,
                        value: Value::Int(*n),
                    },
                    Cell::Node(node) => (*node).clone(),
                    Cell::Absent => continue,
                };
                if !entries.iter().any(|e| &e.key == variable) {
                    entries.push(entry(variable, node));
                }
            }
            Some(Node {
                span: host.span,
                value: Value::Table(Table { entries }),
            })
        };
        match each {
            None => rows.push(row(&[], &[], cx)?),
            Some(each) => each.each(|cells| match row(cells, &each.names, cx) {
                Some(node) => rows.push(node),
                None => fine = false,
            }),
        }
        (fine || !rows.is_empty()).then_some(rows)
    }
}

/// A name or an address, its placeholders filled in.
fn text(
    key: &str,
    node: &Node,
    cells: &[Cell<'_>],
    names: &[String],
    label: &str,
    cx: &mut Reading<'_>,
) -> Option<Node> {
    let written = cx.text(key, node, label)?;
    let filled = match names.is_empty() {
        true => Ok(None),
        false => Template::parse(&written, names),
    };
    let filled = match filled {
        Ok(None) => Ok(written),
        Ok(Some(template)) => match template.fill(cells, names) {
            Ok(Filled::Text(text)) => Ok(text),
            Ok(Filled::Int(n)) => Ok(n.to_string()),
            Ok(Filled::Node(node)) => match scalar(&node.value) {
                Some(text) => Ok(text),
                None => {
                    let e = error(format!("`{key}` of {label} would be {}", node.kind()));
                    let help = "it is made of texts and numbers";
                    cx.push(e.at(node.span).help(help).once(key));
                    return None;
                }
            },
            Err(e) => Err(e),
        },
        Err(e) => Err(e),
    };
    match filled {
        Ok(text) => Some(Node {
            span: node.span,
            value: Value::Str(text),
        }),
        Err(e) => {
            let owner = Owner::Block(label);
            cx.push(template_error(e, &format!("`{key}`"), &owner).at(node.span));
            None
        }
    }
}

/// What `checks` lists; of several of one name the last.
fn items(table: &Table, host: &RawCheck, torn: bool, cx: &mut Reading<'_>) -> Option<Vec<Item>> {
    let label = &host.label;
    let Some(list) = table.get("checks") else {
        if !torn && !host.unknown.iter().any(|key| key == "check") {
            let e = error(format!("{label} has no `checks`")).code("missing-key");
            let help = "add `checks = [\"ping\"]`, with the names of templates";
            cx.push(e.at(host.span).help(help));
        }
        return None;
    };
    let Value::Array(nodes) = &list.node.value else {
        let example = "[\"ping\"]";
        return cx.wrong_type("checks", &list.node, label, "a list", example);
    };
    if nodes.is_empty() {
        let w = warning(format!("{label} has no checks: its list is empty"));
        let help = "name a template, or take the host away";
        cx.push(w.at(list.node.span).help(help).code("no-effect"));
    }
    let own = host.table.get("checks").map(|e| e.node.span);
    let is_own = |span: Span| {
        own.is_some_and(|own| {
            own.source == span.source && own.start <= span.start && span.end <= own.end
        })
    };
    let mut items: Vec<Item> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(item) = item(node, label, cx) else {
            continue;
        };
        let Some(there) = items.iter_mut().find(|there| there.name == item.name) else {
            items.push(item);
            continue;
        };
        if is_own(there.span) && is_own(item.span) {
            let e = error(format!(
                "{label} has two checks `{}`",
                shortened(&item.name)
            ));
            cx.push(
                e.at(item.span)
                    .code("duplicate-name")
                    .help("give one of them a name: `{ use = \"disk\", name = \"disk-var\" }`")
                    .related(there.span, "the first"),
            );
            continue;
        }
        *there = item;
    }
    Some(items)
}

fn item(node: &Node, label: &str, cx: &mut Reading<'_>) -> Option<Item> {
    match &node.value {
        Value::Str(name) => Some(Item {
            name: name.clone(),
            span: node.span,
            table: Table::default(),
            used: Some(node.clone()),
        }),
        Value::Table(table) => {
            let used = table.get("use").map(|e| e.node.clone());
            let named = match (table.get("name").map(|e| &e.node), &used) {
                (Some(name), _) => cx.text("name", name, format!("a check of {label}"))?,
                (
                    None,
                    Some(Node {
                        value: Value::Str(name),
                        ..
                    }),
                ) => name.clone(),
                (None, _) => {
                    let e = error(format!("a check of {label} has no `name`"));
                    let help = "add `name = \"disk\"`: it comes behind the host's name";
                    cx.push(e.at(node.span).code("missing-key").help(help));
                    return None;
                }
            };
            Some(Item {
                name: named,
                span: node.span,
                table: table.clone(),
                used,
            })
        }
        _ => {
            let wanted = "a list of templates' names, or of tables";
            cx.wrong_type("checks", node, label, wanted, "[\"ping\"]")
        }
    }
}

/// One check of all hosts of the block.
fn one(
    item: Item,
    below: &Laid,
    rows: &[Node],
    name: &Node,
    host: &RawCheck,
    templates: &mut Templates,
    cx: &mut Reading<'_>,
) -> Option<RawCheck> {
    let owner = format!("check `{}` of {}", shortened(&item.name), host.label);
    let mut laid = Laid::default();
    let mut torn = false;
    if let Some(used) = &item.used {
        match templates.of(used, &owner, cx) {
            Some(of) => laid = of,
            None => torn = true,
        }
    }
    if laid.table.get("checks").is_some() {
        let e = error(format!("{owner} is a template for hosts: it has `checks`"));
        let help = "let the host use it: `use = \"NAME\"`";
        cx.push(e.at(item.span).help(help).code("template").once("nested"));
        return None;
    }
    laid.lay_all(below);
    let mut own = item.table;
    own.entries.retain(|e| e.key != "name");
    laid.lay(&own, None);
    templates.costs(&laid, item.span, cx)?;
    let from = laid.told();
    let mut table = laid.table;
    let labelled = |table: &Table| match table.get("labels").map(|e| &e.node.value) {
        Some(Value::Table(labels)) => labels.get("host").is_some(),
        // It is wrong, and said to be.
        Some(_) => true,
        None => false,
    };
    if !labelled(&table) {
        let host_label = entry(
            "host",
            Node {
                span: name.span,
                value: Value::Str(PLACEHOLDERS[0].into()),
            },
        );
        match table.entries.iter_mut().find(|e| e.key == "labels") {
            Some(labels) => {
                if let Value::Table(labels) = &mut labels.node.value {
                    labels.entries.push(host_label);
                }
            }
            None => table.entries.push(entry(
                "labels",
                Node {
                    span: name.span,
                    value: Value::Table(Table {
                        entries: vec![host_label],
                    }),
                },
            )),
        }
    }
    table.entries.push(entry(
        "name",
        Node {
            span: name.span,
            value: Value::Str(format!("{}/{}", PLACEHOLDERS[0], item.name)),
        },
    ));
    table.entries.push(entry(
        "for_each",
        Node {
            span: name.span,
            value: Value::Array(rows.to_vec()),
        },
    ));
    let mut unknown = laid.unknown;
    unknown.extend(host.unknown.iter().cloned());
    Some(RawCheck {
        span: host.span,
        table,
        label: owner,
        unknown,
        from,
        torn,
    })
}

fn entry(key: &str, node: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        key_span: node.span,
        node,
    }
}
