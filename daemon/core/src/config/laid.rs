//! Tables laid over each other, the strongest last. Each key remembers from which it is.
//!
//! `config` and `labels` are laid key by key, `checks` add up, everything else is replaced. A value keeps the place
//! where it is written, so that a mistake in a template is shown in the template.

use std::collections::BTreeMap;

use super::model::{Layer, Source};
use super::raw::{Entry, Node, Table, Value};

#[derive(Clone, Debug, Default)]
pub struct Laid {
    pub table: Table,
    /// Keys that were reported as unknown.
    pub unknown: Vec<String>,
    layers: Vec<(String, Source)>,
    /// `interval`, `config.port` -> place in `layers`; what is not in it is the block's own.
    origin: BTreeMap<String, usize>,
}

impl Laid {
    /// Lays a table over what is there. `what`: how the layer is called; `None`: the block itself.
    pub fn lay(&mut self, table: &Table, what: Option<(String, Source)>) {
        let layer = what.map(|what| {
            self.layers.push(what);
            self.layers.len() - 1
        });
        for entry in &table.entries {
            self.put(entry, &|_| layer);
        }
    }

    /// Lays a whole stack over what is there.
    pub fn lay_all(&mut self, other: &Laid) {
        let below = self.layers.len();
        self.layers.extend(other.layers.iter().cloned());
        self.unknown.extend(other.unknown.iter().cloned());
        for entry in &other.table.entries {
            self.put(entry, &|key| other.origin.get(key).map(|n| n + below));
        }
    }

    fn put(&mut self, entry: &Entry, layer: &dyn Fn(&str) -> Option<usize>) {
        let key = &entry.key;
        match (key.as_str(), &entry.node.value) {
            ("use", _) => {}
            ("config" | "labels", Value::Table(new)) => {
                let at = self.place_of(entry);
                let there = &mut self.table.entries[at];
                there.key_span = entry.key_span;
                there.node.span = entry.node.span;
                if !matches!(there.node.value, Value::Table(_)) {
                    there.node.value = Value::Table(Table::default());
                }
                if let Value::Table(old) = &mut there.node.value {
                    for inner in &new.entries {
                        replace(old, inner);
                    }
                }
                self.origin.remove(key);
                for inner in &new.entries {
                    let path = format!("{key}.{}", inner.key);
                    let from = layer(&path);
                    self.came(path, from);
                }
            }
            ("checks", Value::Array(new)) => {
                let at = self.place_of(entry);
                let there = &mut self.table.entries[at];
                match &mut there.node.value {
                    Value::Array(old) => old.extend(new.iter().cloned()),
                    other => *other = Value::Array(new.clone()),
                }
                there.node.span = entry.node.span;
                self.came(key.clone(), layer(key));
            }
            _ => {
                replace(&mut self.table, entry);
                self.came(key.clone(), layer(key));
            }
        }
    }

    fn place_of(&mut self, entry: &Entry) -> usize {
        let entries = &mut self.table.entries;
        let there = entries.iter().position(|e| e.key == entry.key);
        there.unwrap_or_else(|| {
            entries.push(Entry {
                key: entry.key.clone(),
                key_span: entry.key_span,
                node: Node {
                    span: entry.node.span,
                    value: Value::Broken,
                },
            });
            entries.len() - 1
        })
    }

    fn came(&mut self, path: String, from: Option<usize>) {
        match from {
            Some(layer) => drop(self.origin.insert(path, layer)),
            None => drop(self.origin.remove(&path)),
        }
    }

    /// What is not the block's own.
    pub fn inherited(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.origin.iter().filter_map(|(path, layer)| {
            let node = match path.split_once('.') {
                None => &self.table.get(path)?.node,
                Some((key, inner)) => match &self.table.get(key)?.node.value {
                    Value::Table(table) => &table.get(inner)?.node,
                    _ => return None,
                },
            };
            Some((self.layers[*layer].0.as_str(), node))
        })
    }

    /// The layers of which something is in force.
    pub fn told(&self) -> Vec<Layer> {
        let keys = |n: usize| {
            let of = self.origin.iter().filter(move |(_, layer)| **layer == n);
            of.map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        let layers = self.layers.iter().enumerate().rev();
        let told = layers.map(|(n, (what, source))| Layer {
            what: what.clone(),
            source: source.clone(),
            keys: keys(n),
        });
        told.filter(|layer| !layer.keys.is_empty()).collect()
    }

    /// As long as it is written: what a copy of it costs.
    pub fn bytes(&self) -> usize {
        let of = |e: &Entry| (e.node.span.end - e.node.span.start) as usize + e.key.len();
        let entries = self.table.entries.iter();
        entries
            .map(|e| match &e.node.value {
                // Its parts are from several places.
                Value::Table(table) => table.entries.iter().map(of).sum(),
                Value::Array(items) => items
                    .iter()
                    .map(|n| (n.span.end - n.span.start) as usize)
                    .sum(),
                _ => of(e),
            })
            .sum()
    }
}

fn replace(table: &mut Table, entry: &Entry) {
    match table.entries.iter_mut().find(|e| e.key == entry.key) {
        Some(there) => *there = entry.clone(),
        None => table.entries.push(entry.clone()),
    }
}
