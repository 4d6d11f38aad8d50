//! The file of checks that `init` writes: as a person would, with what was seen in comments.

use super::Tried;
use jiff::Timestamp;
use std::fmt::Write;
use toml::Value;

pub struct Head<'a> {
    /// Of an installation, for editors.
    pub schema: Option<&'a str>,
    pub now: Timestamp,
    /// Whom to tell of problems.
    pub mail: Option<&'a str>,
}

pub fn text(head: &Head<'_>, checks: &[Tried]) -> String {
    let mut out = String::new();
    if let Some(schema) = head.schema {
        let _ = writeln!(out, "#:schema file://{schema}");
    }
    let date = head.now.strftime("%Y-%m-%d");
    let _ = writeln!(
        out,
        "# What `healthctl init` found on this machine on {date}; yours to change.\n\
         # `healthctl reload` applies it. `healthctl plugins show NAME` has all options of a plugin."
    );
    if let Some(mail) = head.mail {
        let _ = write!(
            out,
            "\n# Who is told of problems and of their end. `healthctl alerts test mail` sends a message.\n\
             [[notify]]\nplugin = \"mail\"\nconfig = {{ to = {} }}\n",
            quoted(mail)
        );
    }
    for Tried {
        candidate,
        way,
        said,
    } in checks
    {
        let _ = write!(
            out,
            "\n# {}. {}\n",
            one_line(&candidate.found),
            one_line(said)
        );
        if let Some(hint) = way.hint {
            let _ = writeln!(out, "# More: {hint}");
        }
        let _ = write!(
            out,
            "[[check]]\nname = {}\nplugin = {}\n",
            quoted(&candidate.name),
            quoted(way.plugin)
        );
        if !way.options.is_empty() {
            let _ = writeln!(out, "config = {}", Value::Table(way.options.clone()));
        }
    }
    out
}

fn quoted(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// What a server said cannot end a comment.
fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Candidate, Way};
    use super::*;

    #[test]
    fn what_is_written_reads_as_what_was_found() {
        let options = "host = \"localhost\"\nport = 80".parse().expect("a table");
        let way = Way {
            plugin: "tcp",
            options,
            hint: Some("more"),
        };
        let tried = Tried {
            candidate: Candidate {
                name: "nginx/80".into(),
                found: "nginx listens on port 80".into(),
                ways: vec![way.clone()],
                is_machine: false,
            },
            way,
            said: "ok: a\nplugin = \"exec\"".into(),
        };
        let head = Head {
            schema: Some("/usr/share/x.json"),
            now: "2026-11-22T10:00:00Z".parse().expect("a time"),
            mail: Some("ops@example.org"),
        };
        let text = text(&head, &[tried]);
        assert!(
            text.starts_with("#:schema file:///usr/share/x.json\n"),
            "{text}"
        );
        let read: toml::Table = text.parse().unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(
            read["notify"][0]["config"]["to"].as_str(),
            Some("ops@example.org")
        );
        assert_eq!(read["check"][0]["plugin"].as_str(), Some("tcp"));
        assert_eq!(read["check"][0]["config"]["port"].as_integer(), Some(80));
    }
}
