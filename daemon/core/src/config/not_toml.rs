//! Files that are no TOML at all: of other tools, or in another encoding. One message says so, in place of one a line.

/// What a text that is no TOML is instead, and what to do.
pub fn format_of(text: &str) -> Option<(&'static str, &'static str)> {
    const BLOCK: &str = "write each check as a block `[[check]]` with lines `key = value` below it; `healthctl add` writes one";
    const NAGIOS: &str = "write each check as a block `[[check]]`; its plugins run as they are, by `plugin = \"exec\"`; `healthctl add` writes a block";
    // Every other byte of plain letters.
    if text.bytes().filter(|b| *b == 0).count() * 3 > text.len() {
        return Some(("UTF-16", "save it as UTF-8"));
    }
    let mut lines = text.lines().map(str::trim_start).filter(|l| !l.is_empty());
    let first = lines.next()?;
    if first.starts_with("{\"") || first == "{" || first.starts_with("[{") {
        return Some(("JSON", BLOCK));
    }
    if first.starts_with("<?xml") || first.starts_with("<!") || first.starts_with("<html") {
        return Some(("XML or HTML", BLOCK));
    }
    let lines = || {
        let lines = text.lines().map(str::trim);
        lines.filter(|l| !l.is_empty() && !l.starts_with('#'))
    };
    let begins = |line: &str, words: &[&str]| {
        let mut parts = line.split_whitespace();
        parts.next().is_some_and(|w| words.contains(&w)) && parts.next().is_some()
    };
    if lines().any(|l| begins(l, &["define"]) && l.ends_with('{')) {
        return Some(("a configuration of Nagios", NAGIOS));
    }
    if lines().any(|l| begins(l, &["object", "apply", "template"]) && l.ends_with('{')) {
        return Some(("a configuration of Icinga", NAGIOS));
    }
    const MONIT: [&str; 9] = [
        "process",
        "host",
        "file",
        "filesystem",
        "directory",
        "system",
        "program",
        "network",
        "fifo",
    ];
    let of_monit = |l: &str| l.strip_prefix("check ").is_some_and(|l| begins(l, &MONIT));
    if lines().any(of_monit) {
        return Some(("a configuration of monit", BLOCK));
    }
    let is_yaml = |l: &str| {
        let l = l.strip_prefix("- ").unwrap_or(l);
        let key = l.split_once(':');
        key.is_some_and(|(key, rest)| {
            !key.is_empty()
                && key
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_-.\"'".contains(c))
                && (rest.is_empty() || rest.starts_with(' '))
        })
    };
    let opens = |l: &str| l.starts_with("- ") || l.ends_with(':') || l == "---";
    let (all, of_yaml) = lines().fold((0, 0), |(all, of_yaml), l| {
        (all + 1, of_yaml + usize::from(is_yaml(l) || l == "---"))
    });
    (of_yaml >= 2 && of_yaml * 2 > all && lines().any(opens)).then_some(("YAML", BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_known_and_toml_is_none() {
        for (text, what) in [
            ("{\"check\":[]}", Some("JSON")),
            ("{\n \"a\": 1\n}", Some("JSON")),
            ("check:\n  - name: a\n    plugin: exec\n", Some("YAML")),
            (
                "---\nendpoints:\n  - name: x\n    url: \"http://x/\"\n",
                Some("YAML"),
            ),
            (
                "define service {\n  use x\n}",
                Some("a configuration of Nagios"),
            ),
            (
                "define host{\n  address 10.0.0.1\n}",
                Some("a configuration of Nagios"),
            ),
            (
                "object Service \"x\" {\n}",
                Some("a configuration of Icinga"),
            ),
            (
                "set daemon 30\ncheck process x with pidfile /y\n",
                Some("a configuration of monit"),
            ),
            ("<!DOCTYPE html>\n<html>", Some("XML or HTML")),
            ("[\0c\0h\0", Some("UTF-16")),
            ("[[check]]\n\0name = 1\n", None),
            ("name: a\n", None),
            ("[[check]]\nname: a\nplugin = \"b\"\ninterval = 5\n", None),
            ("[web]\nlisten = \"unix:a\"\n", None),
            ("", None),
        ] {
            assert_eq!(format_of(text).map(|(what, _)| what), what, "{text:?}");
        }
    }
}
