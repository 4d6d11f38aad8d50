//! `[pool.NAME]`: plugins that somebody has grouped by hand, as they may share workers or must not.

use std::collections::HashMap;

use super::catalog::Catalog;
use super::model::PoolGroup;
use super::raw::{Node, RawFile, Value, bare, shortened};
use super::reading::Reading;
use super::report::{error, warning};
use super::words::did_you_mean;

pub fn read(file: &RawFile, catalog: Option<&Catalog>, cx: &mut Reading<'_>) -> Vec<PoolGroup> {
    let mut groups = Vec::new();
    let mut taken: HashMap<String, String> = HashMap::new();
    for (entry, table) in &file.pool_groups {
        let owner = format!("[pool.{}]", bare(&entry.key));
        let nodes: &[Node] = match table.get("plugins").map(|e| &e.node) {
            None => {
                let e = error(format!("{owner} names no plugins"));
                let help = "write `plugins = [\"NAME\", ...]`: they run in workers of their own";
                cx.push(e.at(entry.key_span).help(help));
                continue;
            }
            Some(node) => match &node.value {
                Value::Array(nodes) => nodes,
                _ => {
                    let wanted = "a list of names";
                    cx.wrong_type::<()>("plugins", node, &owner, wanted, "[\"mine\"]");
                    continue;
                }
            },
        };
        let mut plugins = Vec::new();
        for node in nodes {
            let Some(name) = cx.text("plugins", node, &owner) else {
                continue;
            };
            if let Some(other) = taken.insert(name.clone(), owner.clone()) {
                let name = shortened(&name);
                let e = error(format!("plugin `{name}` is in {other} and in {owner}"));
                let help = "one group runs it: take it out of the other";
                cx.push(e.at(node.span).help(help));
                continue;
            }
            tell_unknown(&name, &owner, node, catalog, cx);
            plugins.push(name);
        }
        let name = entry.key.clone();
        groups.push(PoolGroup { name, plugins });
    }
    groups
}

/// It may come later, so it is no mistake. A file that was refused may hold it.
fn tell_unknown(
    name: &str,
    owner: &str,
    node: &Node,
    catalog: Option<&Catalog>,
    cx: &mut Reading<'_>,
) {
    let Some(catalog) = catalog.filter(|c| c.refused.is_empty() && c.plugin(name).is_none()) else {
        return;
    };
    let name = shortened(name);
    let w = warning(format!(
        "no file in `plugin_dir` has the plugin `{name}`, which {owner} names"
    ));
    let names = catalog.plugins.iter().map(|p| p.name.as_str());
    let w = match did_you_mean(&name, names) {
        Some(near) => w.help(format!("a plugin with a similar name exists: `{near}`")),
        None => w.help("`healthctl plugins` lists those that there are"),
    };
    cx.push(w.at(node.span));
}
