//! `exclusive` and `max_parallel`: which checks may not run beside which.

use std::borrow::Cow;
use std::fmt;

use super::model::GROUP_NAME_MAX;
use super::raw::{Node, Value, shortened};
use super::reading::Reading;
use super::report::error;

/// The groups of `exclusive`, sorted: a name, or a list of names.
pub fn exclusive<'n>(
    node: &'n Node,
    owner: &dyn fmt::Display,
    cx: &mut Reading<'_>,
    mut expand: impl FnMut(&mut Reading<'_>, &'n Node) -> Option<Cow<'n, Node>>,
) -> Option<Vec<String>> {
    let nodes = match &node.value {
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut names = Vec::new();
    for node in nodes {
        let node = expand(cx, node)?;
        let filled = matches!(node, Cow::Owned(_));
        names.push(group_name(&node, filled, owner, cx)?);
    }
    names.sort_unstable();
    names.dedup();
    if names.len() > GROUPS_MAX {
        let e = error(format!(
            "`exclusive` of {owner} names {} groups",
            names.len()
        ));
        let help = format!("a check may be in at most {GROUPS_MAX}");
        cx.push(e.at(node.span).help(help).once("exclusive"));
        return None;
    }
    Some(names)
}

fn group_name(
    node: &Node,
    filled: bool,
    owner: &dyn fmt::Display,
    cx: &mut Reading<'_>,
) -> Option<String> {
    let text = match &node.value {
        Value::Str(text) => text.clone(),
        // A number is welcome where it comes out of a placeholder.
        Value::Int(n) if filled => n.to_string(),
        _ => {
            let example = "\"database\"` or `exclusive = [\"database\", \"disk\"]";
            return cx.wrong_type("exclusive", node, owner, "the name of a group", example);
        }
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
    if !text.is_empty() && text.len() <= GROUP_NAME_MAX && text.chars().all(allowed) {
        return Some(text);
    }
    let e = error(format!(
        "`{}` cannot be a group of {owner}",
        shortened(&text)
    ));
    let help = format!("use letters a-z, digits and . _ : / -, at most {GROUP_NAME_MAX} bytes");
    cx.push(e.at(node.span).help(help).once("exclusive"));
    None
}

const GROUPS_MAX: usize = 8;
