//! `[template.NAME]` and `use`: keys that many checks share, laid below each before anything is judged.
//!
//! ```toml
//! [template.base]
//! interval = "30s"
//! [template.ping]
//! use = "base"                                  # or a list, the strongest last
//! plugin = "ping"
//! config = { host = "{address}" }
//! ```
//! A template may stand in any file, and before or after its use. It is judged where it is used.

use std::collections::HashMap;
use std::rc::Rc;

use super::hosts;
use super::laid::Laid;
use super::model::Source;
use super::raw::{Node, RawCheck, RawFile, RawTemplate, Value, shortened};
use super::reading::Reading;
use super::report::{error, warning};
use super::source::Span;
use super::words::did_you_mean;

/// Lays templates below the checks, and makes checks of the hosts.
pub fn apply(files: &mut [RawFile], cx: &mut Reading<'_>) {
    let list = files
        .iter_mut()
        .flat_map(|f| std::mem::take(&mut f.templates));
    let mut templates = Templates::new(list.collect(), cx);
    for n in 0..templates.list.len() {
        templates.laid(n, 0, cx);
    }
    let mut hosts = hosts::Hosts::default();
    for file in files.iter_mut() {
        for check in &mut file.checks {
            templates.lay_below(check, cx);
        }
        for host in std::mem::take(&mut file.hosts) {
            hosts.add(host, &mut templates, &mut file.checks, file.torn, cx);
        }
    }
    templates.tell_unused(cx);
}

pub struct Templates {
    list: Vec<RawTemplate>,
    by_name: HashMap<String, usize>,
    laid: Vec<State>,
    used: Vec<bool>,
    spent: usize,
    full: bool,
}

#[derive(Clone)]
enum State {
    New,
    Begun,
    Done(Rc<Laid>),
    /// Reported.
    Wrong,
}

impl Templates {
    fn new(list: Vec<RawTemplate>, cx: &mut Reading<'_>) -> Templates {
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for (n, template) in list.iter().enumerate() {
            let Some(first) = by_name.get(&template.name) else {
                by_name.insert(template.name.clone(), n);
                continue;
            };
            let first = list[*first].block.span;
            let e = error(format!(
                "the template `{}` is already defined",
                shortened(&template.name)
            ));
            cx.push(
                e.at(template.block.span)
                    .code("duplicate-name")
                    .help("give one of them another name; a template may lie over another by `use`")
                    .related(first, "the first"),
            );
        }
        Templates {
            laid: vec![State::New; list.len()],
            used: vec![false; list.len()],
            list,
            by_name,
            spent: 0,
            full: false,
        }
    }

    /// What stands in a template and in those that it uses; `None` after what is wrong was reported.
    fn laid(&mut self, n: usize, depth: usize, cx: &mut Reading<'_>) -> Option<Rc<Laid>> {
        match &self.laid[n] {
            State::Done(laid) => return Some(Rc::clone(laid)),
            State::Wrong => return None,
            State::Begun | State::New => {}
        }
        self.laid[n] = State::Begun;
        let block = &self.list[n].block;
        let (label, span) = (block.label.clone(), block.span);
        let used = block.table.get("use").map(|e| e.node.clone());
        let mut laid = Laid::default();
        let mut fine = true;
        if let Some(used) = used {
            fine = self.take(&used, &label, depth, &mut laid, cx);
        }
        if self.costs(&laid, span, cx).is_none() || !fine {
            self.laid[n] = State::Wrong;
            return None;
        }
        let RawTemplate { name, block } = &self.list[n];
        let what = format!("template `{}`", shortened(name));
        laid.lay(&block.table, Some((what, source(span, cx))));
        laid.unknown.extend(block.unknown.iter().cloned());
        let laid = Rc::new(laid);
        self.laid[n] = State::Done(Rc::clone(&laid));
        Some(laid)
    }

    /// Lays all that a `use` names; `false` after what is wrong was reported.
    fn take(
        &mut self,
        node: &Node,
        owner: &str,
        depth: usize,
        laid: &mut Laid,
        cx: &mut Reading<'_>,
    ) -> bool {
        let nodes = match &node.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if nodes.len() > USE_MAX {
            let e = error(format!("`use` of {owner} names {} templates", nodes.len()));
            cx.push(e.at(node.span).help(format!("at most {USE_MAX}")));
            return false;
        }
        let mut fine = true;
        for node in nodes {
            fine &= self.take_one(node, owner, depth, laid, cx).is_some();
        }
        fine
    }

    fn take_one(
        &mut self,
        node: &Node,
        owner: &str,
        depth: usize,
        laid: &mut Laid,
        cx: &mut Reading<'_>,
    ) -> Option<()> {
        let Value::Str(name) = &node.value else {
            let example = "\"NAME\"` or `use = [\"ONE\", \"OTHER\"]";
            return cx.wrong_type("use", node, owner, "the name of a template", example);
        };
        let n = self.find(name, node.span, owner, cx)?;
        let finding = match &self.laid[n] {
            State::Begun => error(format!(
                "template `{}` uses itself, by way of {owner}",
                shortened(name)
            ))
            .help("take the `use` away from one of them"),
            State::New if depth >= DEPTH_MAX => {
                error(format!("{owner} lies over more than {DEPTH_MAX} templates"))
                    .help("let it use them side by side: `use = [\"ONE\", \"OTHER\"]`")
            }
            _ => {
                laid.lay_all(&*self.laid(n, depth + 1, cx)?);
                return Some(());
            }
        };
        cx.push(finding.at(node.span).code("template"));
        None
    }

    fn find(&mut self, name: &str, span: Span, owner: &str, cx: &mut Reading<'_>) -> Option<usize> {
        if let Some(n) = self.by_name.get(name) {
            self.used[*n] = true;
            return Some(*n);
        }
        let e = error(format!(
            "there is no template `{}` for {owner}",
            shortened(name)
        ));
        // In an order that is the same each time.
        let names = self.list.iter().map(|t| t.name.as_str());
        let e = match did_you_mean(name, names) {
            Some(near) => e.help(format!("a template with a similar name exists: `{near}`")),
            None => e.help(format!(
                "write it: `[template.{}]`, and its keys below it",
                super::raw::bare(name)
            )),
        };
        cx.push(e.at(span).code("template").once("no template"));
        None
    }

    /// All that the templates of `used` say; `None` after what is wrong was reported.
    pub fn of(&mut self, used: &Node, owner: &str, cx: &mut Reading<'_>) -> Option<Laid> {
        let mut laid = Laid::default();
        let fine = self.take(used, owner, 0, &mut laid, cx);
        self.costs(&laid, used.span, cx)?;
        fine.then_some(laid)
    }

    /// `None`: all copies of templates together are too large; reported.
    pub fn costs(&mut self, laid: &Laid, span: Span, cx: &mut Reading<'_>) -> Option<()> {
        self.spent += laid.bytes();
        if self.spent <= BYTES_MAX {
            return Some(());
        }
        if !std::mem::replace(&mut self.full, true) {
            let e = error(format!(
                "what checks have from templates is together larger than {} MiB",
                BYTES_MAX >> 20
            ));
            cx.push(
                e.at(span)
                    .code("too-large")
                    .help("use `for_each`, or let the plugins read large data from files"),
            );
        }
        None
    }

    /// What a `[[check]]` uses.
    fn lay_below(&mut self, check: &mut RawCheck, cx: &mut Reading<'_>) {
        let Some(used) = check.table.get("use").map(|e| e.node.clone()) else {
            return;
        };
        let Some(mut laid) = self.of(&used, &check.label, cx) else {
            check.torn = true;
            return;
        };
        if laid.table.get("checks").is_some() {
            let e = error(format!(
                "{} uses a template that is for hosts: it has `checks`",
                check.label
            ));
            let help = "write `[[host]]`, or name a template of one check";
            cx.push(e.at(used.span).help(help).code("template"));
            check.torn = true;
            laid.table.entries.retain(|e| e.key != "checks");
        }
        laid.lay(&check.table, None);
        if check.table.get("for_each").is_none() {
            for (what, node) in laid.inherited() {
                if let Some(word) = of_a_host(node) {
                    let e = error(format!(
                        "{what} has `{word}`, which only a host puts in; {} is of none",
                        check.label
                    ));
                    let help = "write the option in the check itself, or make it one of the `checks` of a `[[host]]`";
                    cx.push(
                        e.at(node.span)
                            .help(help)
                            .code("template")
                            .related(used.span, "used here")
                            .once("of a host"),
                    );
                }
            }
        }
        check.from = laid.told();
        check.unknown.append(&mut laid.unknown);
        check.table = laid.table;
    }

    fn tell_unused(&self, cx: &mut Reading<'_>) {
        if cx.report.has_errors() {
            // What is wrong may be what would use it.
            return;
        }
        for (n, template) in self.list.iter().enumerate() {
            // The second of a name was told already.
            if !self.used[n] && self.by_name.get(&template.name) == Some(&n) {
                let w = warning(format!(
                    "nothing uses the template `{}`",
                    shortened(&template.name)
                ));
                let help = format!(
                    "write `use = \"{}\"` in a check, or take the template away",
                    shortened(&template.name)
                );
                cx.push(w.at(template.block.span).help(help).code("no-effect"));
            }
        }
    }
}

/// The first placeholder of a host in it.
fn of_a_host(node: &Node) -> Option<&'static str> {
    match &node.value {
        Value::Str(text) => hosts::PLACEHOLDERS
            .into_iter()
            .find(|word| text.contains(word)),
        Value::Array(items) => items.iter().find_map(of_a_host),
        Value::Table(table) => table.entries.iter().find_map(|e| of_a_host(&e.node)),
        _ => None,
    }
}

/// The line on which a block begins.
pub fn source(span: Span, cx: &Reading<'_>) -> Source {
    Source {
        file: cx.sources.name(span.source).to_owned(),
        line: cx.sources.line(span),
    }
}

const USE_MAX: usize = 16;
/// Templates above each other.
const DEPTH_MAX: usize = 8;
/// Of all copies of templates, as they are written.
const BYTES_MAX: usize = 64 << 20;
