//! The man page of a plugin, made of what the plugin says of itself.

use super::plugins::{default_of, kind_of, meaning_of, properties};
use super::{text, time};
use crate::healthd::Probed;
use std::fmt::Write;

/// healthd-NAME(7), in man(7).
pub fn page(plugin: &Probed) -> String {
    let title = format!("healthd-{}", plugin.name);
    let mut out = format!(
        ".TH {} 7 \"\" \"healthd plugin {} {}\" \"healthd plugins\"\n.ad l\n\
         .SH NAME\n{} \\- {}\n",
        roff(&title.to_uppercase()),
        roff(&plugin.name),
        roff(&plugin.version),
        roff(&title),
        roff(&plugin.summary)
    );
    let _ = write!(
        out,
        ".SH SYNOPSIS\n.nf\n[[check]]\nname = \"example\"\nplugin = \"{}\"\nconfig = {{ {} }}\n.fi\n",
        roff(&plugin.name),
        roff(&required(plugin).join(", "))
    );
    let mut facts = Vec::new();
    if !plugin.workload.is_empty() {
        facts.push(format!("Its runs are of class {}.", plugin.workload));
    }
    if let Some(ms) = plugin.default_timeout_ms.filter(|ms| *ms > 0) {
        facts.push(format!(
            "A run may take {} unless `timeout` says otherwise.",
            time::duration(ms)
        ));
    }
    if !plugin.license.is_empty() {
        facts.push(format!("License: {}.", plugin.license));
    }
    if !facts.is_empty() {
        let _ = write!(out, ".SH DESCRIPTION\n{}\n", roff(&facts.join(" ")));
    }
    let options = properties(&plugin.schema);
    if !options.is_empty() {
        out.push_str(".SH OPTIONS\n");
    }
    for (name, property) in options {
        let default = default_of(&plugin.schema, name, property);
        let default = match default.as_str() {
            "" => String::new(),
            "(required)" => ", required".to_owned(),
            value => format!(", default {value}"),
        };
        let about = roff(&format!("({}{default})", kind_of(property)));
        let meaning = meaning_of(property);
        let _ = write!(out, ".TP\n\\fB{}\\fR", roff(name));
        // A head is one line; a long list of values goes below it, and may be broken behind each.
        let _ = match about.len() {
            0..40 => writeln!(out, " {about}\n{}", roff(&meaning)),
            _ => writeln!(
                out,
                "\n{}\n.br\n{}",
                about.replace('|', "|\\:"),
                roff(&meaning)
            ),
        };
    }
    out.push_str(".SH \"SEE ALSO\"\nhealthctl(1), healthd.toml(5), healthd(8)\n");
    out
}

fn required(plugin: &Probed) -> Vec<String> {
    let wanted = properties(&plugin.schema)
        .into_iter()
        .filter(|(name, property)| default_of(&plugin.schema, name, property) == "(required)");
    wanted
        .map(|(name, property)| match kind_of(property).as_str() {
            "integer" | "number" => format!("{name} = 1"),
            "boolean" => format!("{name} = true"),
            "array" => format!("{name} = [...]"),
            "object" => format!("{name} = {{ ... }}"),
            _ => format!("{name} = \"...\""),
        })
        .collect()
}

/// A plugin's words cannot be requests to the formatter.
fn roff(words: &str) -> String {
    let words = text::escape(words)
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\n', " ");
    match words.starts_with(['.', '\'']) {
        true => format!("\\&{words}"),
        false => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_options_and_no_request_of_the_plugin() {
        let plugin = Probed {
            name: "http".into(),
            version: "1.0".into(),
            summary: "asks\n.so /etc/passwd".into(),
            schema: serde_json::json!({
                "required": ["url"],
                "properties": {
                    "url": { "type": "string", "description": ".the address" },
                    "limit": { "type": "integer", "default": 5 }
                }
            }),
            ..Probed::default()
        };
        let page = page(&plugin);
        assert!(
            page.contains(".SH NAME\nhealthd\\-http \\- asks\\en.so"),
            "{page}"
        );
        assert!(page.contains("config = { url = \"...\" }"), "{page}");
        assert!(
            page.contains("\\fBurl\\fR (string, required)\n\\&.the address\n"),
            "{page}"
        );
        assert!(
            page.contains("\\fBlimit\\fR (integer, default 5)\n"),
            "{page}"
        );
    }
}
