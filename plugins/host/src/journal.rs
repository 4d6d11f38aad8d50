//! `journal`: which new entries of the journal match?
//!
//! `journalctl` reads on from a cursor, which is kept as the place in a log file is. In an exec worker, as it starts a program.

use crate::matching::{Limits, Patterns, Seen, Window, now};
use crate::place::Place;
use crate::program;
use crate::report::Report;
use healthd_plugin::options::Bad::Above;
use healthd_plugin::serde_json::{self, Value, json};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, ExecOutput, Status, options};
use std::time::Duration;

options! {
    /// Follows the systemd journal and counts the entries that match.
    pub struct Options {
        /// Only entries of these units, or patterns of units.
        units: Vec<String> = Vec::new(),
        /// Only entries of these identifiers (the programs' names in front of messages).
        identifiers: Vec<String> = Vec::new(),
        /// Only entries of this priority and graver ones.
        priority: Option<Priority>,
        /// Only entries with these fields, as in `_UID=0`.
        fields: Vec<String> { pattern: "^[A-Z_][A-Z0-9_]*=" } = Vec::new(),
        /// Regular expressions: an entry counts if one of them matches somewhere in its message. Without any, every one does.
        pattern: Vec<String> = Vec::new(),
        /// Regular expressions: an entry does not count if one of them matches.
        ignore: Vec<String> = Vec::new(),
        /// Warning if more entries matched within `window`.
        count_warn: Option<u64> { bad: Above },
        /// Critical, likewise.
        count_crit: Option<u64> = Some(0),
        /// The time in which matches are counted.
        window: Duration = Duration::from_secs(300),
        /// The program.
        journalctl: String { min_length: 1 } = "journalctl".into(),
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Priority {
        Emerg = "emerg", Alert = "alert", Crit = "crit", Err = "err", Warning = "warning", Notice = "notice",
        Info = "info", Debug = "debug",
    }
}

pub struct Journal {
    options: Options,
    patterns: Patterns,
    arguments: Vec<String>,
    place: Place,
}

/// So much is read in one run; the next one goes on there.
const MOST: u32 = 8 << 20;
/// What the next run must know.
#[derive(Debug, Default, PartialEq)]
struct State {
    cursor: Option<String>,
    window: Window,
}

/// What journalctl has printed.
#[derive(Debug, Default)]
struct Entries {
    seen: Seen,
    cursor: Option<String>,
    /// An entry that was too long to be read.
    skipped: bool,
}

impl Check for Journal {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        use healthd_plugin::options::OptionValue;
        let mut arguments = Vec::new();
        arguments.extend(o.units.iter().map(|u| format!("--unit={u}")));
        arguments.extend(o.identifiers.iter().map(|i| format!("--identifier={i}")));
        arguments.extend(
            o.priority
                .map(|p| format!("--priority={}", p.to_json().as_str().unwrap_or_default())),
        );
        arguments.extend(o.fields.iter().cloned());
        Ok(Journal {
            patterns: Patterns::new(&o.pattern, &o.ignore)?,
            options: o,
            arguments,
            place: Place::default(),
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let before = match self.place.read_waiting(cx).await {
            Ok(value) => State::from_json(value.as_ref(), &self.arguments),
            Err(e) => return cx.unknown(format_args!("where the last run stopped: {e}")),
        };
        cx.phase("journalctl");
        let asked = match &before.cursor {
            Some(cursor) => vec!["--all".into(), format!("--after-cursor={cursor}")],
            // The last entry there is: what comes after it is new.
            None => vec!["--lines=1".into()],
        };
        let filter = if before.cursor.is_some() {
            &self.arguments[..]
        } else {
            &[]
        };
        let output = match self.run(cx, &[&asked, filter].concat()).await {
            Ok(output) => output,
            Err(why) => return cx.unknown(why),
        };
        let mut entries = Entries::read(&output, &self.patterns);
        let is_first = before.cursor.is_none();
        if is_first {
            entries.seen = Seen::default();
        }
        let mut state = State {
            cursor: entries.cursor.take().or(before.cursor),
            window: before.window,
        };
        if state.cursor.is_none() {
            return cx.unknown("the journal has no entry that this daemon may see");
        }
        state
            .window
            .add(now(), self.options.window, entries.seen.matches);
        let mut report = Report::new(cx);
        match self
            .place
            .write_waiting(cx, &state.to_json(&self.arguments))
            .await
        {
            Ok(true) => {}
            Ok(false) => return cx.ok("another run has counted these entries"),
            Err(e) => report.add(
                Status::Unknown,
                format!("where this run stopped is not kept: {e}"),
            ),
        }
        self.judge(cx, &state, &entries, &mut report);
        if output.out_truncated {
            report.say("there is more for the next run");
        }
        if is_first {
            report.say("first run: begins at the end of the journal");
        }
        report.end()
    }
}

impl Journal {
    async fn run(&self, cx: Cx<'_>, arguments: &[String]) -> Result<ExecOutput, String> {
        let program = &self.options.journalctl;
        let mut argv = vec![program.clone()];
        argv.extend(["--no-pager", "--output=json", "--output-fields=MESSAGE"].map(String::from));
        argv.extend_from_slice(arguments);
        let output = program::run(cx, &argv, MOST).await?;
        let said = String::from_utf8_lossy(&output.err);
        let first = said
            .lines()
            .find(|l| !l.trim().is_empty())
            .unwrap_or_default();
        let is_blind = ["not seeing messages from", "insufficient permissions"];
        if is_blind.iter().any(|words| said.contains(words)) {
            return Err(format!(
                "cannot see the journal: {first} (SupplementaryGroups=systemd-journal in the unit lets it)"
            ));
        }
        match output.exit_code {
            Some(0) => Ok(output),
            _ => Err(program::failure(program, &output)),
        }
    }

    fn judge(&self, cx: Cx<'_>, state: &State, entries: &Entries, report: &mut Report<'_>) {
        let o = &self.options;
        let count = |n: Option<u64>| n.map(|n| n as f64);
        let limits = Limits {
            count: Upper {
                warn: count(o.count_warn),
                crit: count(o.count_crit),
            },
            window: o.window,
        };
        limits.judge(cx, &state.window, &entries.seen, report);
        if entries.skipped {
            report.add(
                Status::Unknown,
                "an entry is too long to be read, and was left out",
            );
        }
    }
}

impl Entries {
    fn read(output: &ExecOutput, patterns: &Patterns) -> Entries {
        let mut entries = Entries::default();
        let text = String::from_utf8_lossy(&output.out);
        let whole = match text.rfind('\n') {
            Some(end) => &text[..end + 1],
            None => "",
        };
        for line in whole.lines() {
            let Ok(entry) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if let Some(cursor) = entry["__CURSOR"].as_str() {
                entries.cursor = Some(cursor.to_owned());
            }
            entries.seen.line(patterns, &message(&entry["MESSAGE"]));
        }
        // One entry alone is more than a run may read: without this nothing after it would ever be.
        if entries.cursor.is_none() && output.out_truncated {
            entries.cursor = cursor_of_half_an_entry(&text);
            entries.skipped = entries.cursor.is_some();
        }
        entries
    }
}

/// A text, or bytes where it is none, or several of either.
fn message(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> = items
                .iter()
                .map(|b| b.as_u64().and_then(|b| u8::try_from(b).ok()))
                .collect();
            match bytes {
                Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                None => items.iter().map(message).collect::<Vec<_>>().join("\n"),
            }
        }
        _ => String::new(),
    }
}

/// `{"__CURSOR" : "s=...", "MESSAGE" : "...` without an end.
fn cursor_of_half_an_entry(text: &str) -> Option<String> {
    let rest = text.split_once("\"__CURSOR\"")?.1;
    let rest = rest.trim_start_matches([' ', ':']).strip_prefix('"')?;
    rest.split_once('"').map(|(cursor, _)| cursor.to_owned())
}

impl State {
    fn to_json(&self, arguments: &[String]) -> Value {
        json!({
            "arguments": arguments.join(" "),
            "cursor": self.cursor,
            "window": self.window.to_json(),
        })
    }

    fn from_json(value: Option<&Value>, arguments: &[String]) -> State {
        // Of another question: the check was changed.
        let Some(value) = value.filter(|v| v["arguments"] == arguments.join(" ")) else {
            return State::default();
        };
        State {
            cursor: value["cursor"].as_str().map(str::to_owned),
            window: Window::from_json(&value["window"]).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{LONG, create};
    use healthd_testing::Folder;
    use std::os::unix::fs::PermissionsExt;

    fn read(out: &str, out_truncated: bool) -> Entries {
        let output = ExecOutput {
            out: out.into(),
            out_truncated,
            ..ExecOutput::default()
        };
        Entries::read(&output, &Patterns::new(&["error".into()], &[]).unwrap())
    }

    #[test]
    fn entries_of_all_kinds() {
        let e = read(
            "{\"__CURSOR\":\"a\",\"MESSAGE\":\"an error\"}\n\
             {\"__CURSOR\":\"b\",\"MESSAGE\":[101,114,114,111,114,255]}\n\
             {\"__CURSOR\":\"c\",\"MESSAGE\":null}\n\
             {\"__CURSOR\":\"d\",\"MESSAGE\":[\"x\",\"error\"]}\nnonsense\n",
            false,
        );
        assert_eq!(
            (e.seen.lines, e.seen.matches, e.cursor.as_deref()),
            (4, 3, Some("d"))
        );
        // The last one is cut: the next run begins with it.
        let e = read(
            "{\"__CURSOR\":\"a\",\"MESSAGE\":\"error\"}\n{\"__CURSOR\":\"b\",\"MESS",
            true,
        );
        assert_eq!(
            (e.seen.lines, e.cursor.as_deref(), e.skipped),
            (1, Some("a"), false)
        );
        let e = read("{\"__CURSOR\" : \"b\", \"MESSAGE\" : \"xxx", true);
        assert_eq!(
            (e.seen.lines, e.cursor.as_deref(), e.skipped),
            (0, Some("b"), true)
        );
    }

    #[test]
    fn what_journalctl_says_of_itself() {
        let folder = Folder::new();
        let program = folder.file("journalctl");
        for (script, why) in [
            (
                "echo 'Hint: You are currently not seeing messages from other users and the system.' >&2",
                "cannot see the journal: Hint:",
            ),
            (
                "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
                "cannot see the journal: No journal",
            ),
            (
                "echo 'Failed to parse priority' >&2; exit 1",
                "ended with 1: Failed to parse priority",
            ),
            ("kill -9 $$", "was killed by signal 9"),
            ("true", "no entry that this daemon may see"),
        ] {
            // Written by another process: one that this process has open for writing cannot be run.
            let done = std::process::Command::new("sh")
                .args([
                    "-c",
                    "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\"",
                    "sh",
                    script,
                ])
                .arg(&program)
                .status();
            assert!(done.unwrap().success());
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            let it = create("journal", &json!({"journalctl": program})).unwrap();
            let o = it.run(LONG);
            assert_eq!(o.status, Status::Unknown, "{o:?}");
            assert!(o.message.contains(why), "{o:?}");
        }
        let it = create("journal", &json!({"journalctl": "/no/such/program"})).unwrap();
        assert_eq!(it.run(LONG).status, Status::Unknown);
    }

    #[test]
    fn the_question() {
        let options = json!({"units": ["a", "b*"], "priority": "err", "fields": ["_UID=0"], "identifiers": ["x"]});
        let o: Options = healthd_plugin::Options::parse(options.to_string().as_bytes()).unwrap();
        assert_eq!(o.priority, Some(Priority::Err));
        let state = State {
            cursor: Some("s=1".into()),
            window: Window::default(),
        };
        let arguments = ["--unit=a".to_owned()];
        let kept = state.to_json(&arguments);
        assert_eq!(State::from_json(Some(&kept), &arguments), state);
        assert_eq!(State::from_json(Some(&kept), &[]), State::default());
    }
}
