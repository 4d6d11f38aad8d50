//! Texts that look as if something were to be put in their place, which healthd does not do: `${NAME}` of shells and of
//! other tools, `$HOSTADDRESS$` of Nagios.

use super::raw::{Entry, Node, Value, shortened};
use super::reading::Reading;
use super::report::warning;
use std::fmt::Display;

/// Looks through the options of a block.
pub fn tell<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    owner: &dyn Display,
    cx: &mut Reading<'_>,
) {
    for entry in entries {
        look(&entry.node, owner, cx);
    }
}

fn look(node: &Node, owner: &dyn Display, cx: &mut Reading<'_>) {
    match &node.value {
        Value::Str(text) => {
            let Some((what, help)) = placeholder(text) else {
                return;
            };
            let w = warning(format!(
                "`{}` in the options of {owner} stays as it is: healthd puts nothing in its place",
                shortened(what)
            ));
            cx.push(
                w.at(node.span)
                    .help(help)
                    .code("not-replaced")
                    .once("meant"),
            );
        }
        Value::Array(items) => {
            let mut before = None;
            for item in items {
                // `sh -c SCRIPT`: a shell puts it in.
                if !before.is_some_and(takes_script) {
                    look(item, owner, cx);
                }
                before = match &item.value {
                    Value::Str(text) => Some(text.as_str()),
                    _ => None,
                };
            }
        }
        Value::Table(table) => tell(table.entries.iter(), owner, cx),
        _ => {}
    }
}

/// `-c`, `-ec`, `-lc`
fn takes_script(word: &str) -> bool {
    word.len() <= 5
        && word.starts_with('-')
        && !word.starts_with("--")
        && word.ends_with(['c', 'e'])
}

/// What it is, and the way out.
fn placeholder(text: &str) -> Option<(&str, String)> {
    if let Some(at) = text.find("${")
        && let Some(end) = text[at..].find('}')
    {
        let name = &text[at + 2..at + end];
        if is_name(name) {
            let whole = &text[at..=at + end];
            return Some((
                whole,
                format!(
                    "the whole value may come from the environment: `{{ env = \"{name}\" }}`; \
                     from a file it is `{{ file = \"PATH\" }}`; a variable of `for_each` is `{{{name}}}`"
                ),
            ));
        }
    }
    let mut from = 0;
    while let Some(at) = text[from..].find('$').map(|n| from + n) {
        let behind = &text[at + 1..];
        let end = behind.find('$')?;
        let name = &behind[..end];
        let macro_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        if is_name(name) && name.len() > 2 && name.chars().all(macro_name) {
            return Some((
                &text[at..at + end + 2],
                "macros of Nagios are not known here: write the value itself, or a variable of `for_each`".into(),
            ));
        }
        from = at + 1;
    }
    None
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_placeholder() {
        for (text, what) in [
            ("https://${HOST}/", Some("${HOST}")),
            ("Bearer ${TOKEN}", Some("${TOKEN}")),
            ("$USER1$/check_ping", Some("$USER1$")),
            ("a $ARG1$ b", Some("$ARG1$")),
            ("costs 5$ or 6$", None),
            ("^a$|^B$", None),
            ("^AB$|^CD$", None),
            ("${", None),
            ("${1+x}", None),
            ("$$", None),
            ("{item}", None),
        ] {
            assert_eq!(placeholder(text).map(|(what, _)| what), what, "{text}");
        }
        assert!(
            takes_script("-c") && takes_script("-lc") && !takes_script("--c") && !takes_script("c")
        );
    }
}
