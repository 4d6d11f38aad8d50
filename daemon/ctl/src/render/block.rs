//! A `[[check]]` block as a person would write it, and the name of its file.

use jiff::Timestamp;
use std::fmt::Write;
use toml::{Table, Value};

/// A block with what was given, and the keys that are asked for next as comments.
pub fn check(
    name: &str,
    title: Option<&str>,
    plugin: &str,
    interval: Option<&str>,
    options: &Table,
    now: Timestamp,
) -> String {
    let mut out = format!(
        "# Made by `healthctl add` on {}. All options of `{plugin}`: healthctl plugins show {plugin}\n\
         [[check]]\nname = {}\n",
        now.strftime("%Y-%m-%d"),
        text(name),
    );
    if let Some(title) = title {
        let _ = writeln!(out, "title = {}", text(title));
    }
    let _ = writeln!(out, "plugin = {}", text(plugin));
    match interval {
        Some(interval) => {
            let _ = writeln!(out, "interval = {}", text(interval));
        }
        None => out.push_str("#interval = \"60s\"  # how often; unset: what [defaults] says\n"),
    }
    out.push_str(
        "#timeout = \"10s\"   # unset: the plugin's own\n\
         #attempts = 3      # so many results in a row that are not ok turn the verdict\n",
    );
    if !options.is_empty() {
        out.push_str("\n[check.config]\n");
        for (key, value) in options {
            let _ = writeln!(out, "{} = {value}", bare(key));
        }
    }
    out
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn bare(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => text(key).to_string(),
    }
}

/// `web-shop.toml`; the second of that name `web-shop-2.toml`.
pub fn file_name(name: &str, n: u32) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
        _ => '-',
    };
    // Far below the 255 bytes that a file's name has.
    let stem: String = name.chars().map(plain).take(80).collect();
    // One that starts with a dot would be passed over.
    let stem = match stem.trim_matches(['-', '.']) {
        "" => "check",
        stem => stem,
    };
    match n {
        1 => format!("{stem}.toml"),
        n => format!("{stem}-{n}.toml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::config::pairs;

    #[test]
    fn what_is_written_reads_as_what_was_given() {
        let options = pairs::table(&[
            "url=https://a/?q=\"x\"\\",
            "status=[200]",
            "headers.X-A b=1",
            "headers.Host=a",
        ])
        .expect("reads");
        let now = "2026-11-22T10:00:00Z".parse().expect("a time");
        let text = check(
            "a \"b\"\n/ä",
            Some("The \"A\""),
            "http",
            Some("5s"),
            &options,
            now,
        );
        let read: Table = text.parse().unwrap_or_else(|e| panic!("{e}: {text}"));
        let block = &read["check"][0];
        assert_eq!(block["name"].as_str(), Some("a \"b\"\n/ä"));
        assert_eq!(block["title"].as_str(), Some("The \"A\""));
        assert_eq!(block["interval"].as_str(), Some("5s"));
        assert_eq!(block["config"], Value::Table(options));
        assert!(check("a", None, "cpu", None, &Table::new(), now).ends_with("turn the verdict\n"));
    }

    #[test]
    fn names_of_files() {
        for (name, n, file) in [
            ("web/shop", 1, "web-shop.toml"),
            ("web/shop", 2, "web-shop-2.toml"),
            ("../x", 1, "x.toml"),
            ("Größe im Büro", 1, "Gr--e-im-B-ro.toml"),
            ("äöü", 1, "check.toml"),
        ] {
            assert_eq!(file_name(name, n), file);
        }
        assert!(file_name(&"x".repeat(255), 1).len() < 100);
    }
}
