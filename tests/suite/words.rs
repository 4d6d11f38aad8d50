//! What a user reads is in the words of the field: no word of this house's own in help, man pages, README, docs, the
//! pages of plugins, and whatever the programs and plugins may say: log, errors, messages, options.

use crate::harness::ctl::say;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A word of ours, and that of the field. With a blank at its end: only as a word of its own; else as a beginning too.
const WORDS: [(&str, &str); 21] = [
    ("judge", "evaluate, check"),
    ("judging", "evaluating, checking"),
    ("judgement", "verdict"),
    ("reactor", "event loop"),
    ("accounts ", "counters"),
    ("dearest", "most expensive"),
    ("jail", "solo worker"),
    ("prisoner", "the check that runs alone"),
    ("rap ", "crash history"),
    ("ghost", "result without a run"),
    ("condemn", "killed, replaced"),
    ("turnstile", "limit"),
    ("take force", "come into effect"),
    ("takes force", "comes into effect"),
    ("petted", "systemd's watchdog is told"),
    ("rubbish", "what cannot be read"),
    ("convict", "found to be the cause"),
    ("serves on", "stays in use"),
    ("new bytes", "a new build"),
    ("old bytes", "the old build"),
    ("bytes from before", "the build before"),
];

#[test]
fn what_a_user_reads_has_no_word_of_ours() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<(String, String)> = Vec::new();
    let mut page = |path: &Path| {
        let text = fs::read_to_string(path).expect("shipped");
        texts.push((path.display().to_string(), prose(&text)));
    };
    for file in [
        "README.md",
        "plugins/README.md",
        "daemon/PROTOCOL.md",
        "etc/healthd.toml",
        // The help of each command, which a test there holds to the program.
        "daemon/ctl/tests/expect/help.txt",
    ] {
        page(&tree.join(file));
    }
    // Of configs: what mistakes in them say.
    for folder in [
        "daemon/docs",
        "etc/man",
        "etc/examples",
        "tests/configs/bad",
    ] {
        for entry in fs::read_dir(tree.join(folder)).expect("shipped").flatten() {
            let path = entry.path();
            let is_text = path
                .extension()
                .is_some_and(|e| e != "svg" && e != "toml" || folder.starts_with("etc"));
            // For who changes healthd, in the words of the code.
            let is_internal = path.ends_with("internals.md");
            if path.is_file() && is_text && !is_internal {
                page(&path);
            }
        }
    }
    for folder in fs::read_dir(tree.join("plugins"))
        .expect("shipped")
        .flatten()
    {
        let Ok(pages) = fs::read_dir(folder.path()) else {
            continue;
        };
        for path in pages.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|e| e == "md") {
                page(&path);
            }
        }
    }
    for program in [
        env!("CARGO_BIN_EXE_healthd"),
        env!("CARGO_BIN_EXE_healthctl"),
    ] {
        let said = say(Command::new(program).arg("--help"));
        texts.push((format!("{program} --help"), prose(&said.out)));
    }
    let found = ours(&texts);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(texts.len() > 70, "only {} texts", texts.len());
}

/// Each text in the source of the programs and plugins: log, errors, help, messages; and what options mean.
#[test]
fn what_the_programs_say_has_no_word_of_ours() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for folder in ["daemon", "plugins"] {
        sources(&tree.join(folder), &mut texts);
    }
    let lines: usize = texts.iter().map(|(_, text)| text.lines().count()).sum();
    let found = ours(&texts);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(lines > 2000, "only {lines} texts");
}

/// Adds a text for each source file below: one line for each text in it.
fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("our own tree").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_shipped =
            !["tests", "testing", "examples", "histories", "mock", "fuzz"].contains(&name.as_ref());
        if path.is_dir() && is_shipped {
            sources(&path, into);
        } else if name.ends_with(".rs") && !["tests.rs", "mock.rs", "models.rs"].contains(&&*name) {
            let source = fs::read_to_string(&path).expect("our own tree");
            into.push((path.display().to_string(), said_by(&source)));
        }
    }
}

/// What a source can say: its texts of more than one word, and the comments that explain options.
fn said_by(source: &str) -> String {
    // Tests stand last.
    let end = [
        "\n#[cfg(test)]\nmod tests {",
        "\n#[cfg(test)]\npub mod tests {",
    ]
    .iter()
    .filter_map(|begin| source.find(begin))
    .min();
    let source = &source[..end.unwrap_or(source.len())];
    let (mut said, mut in_options) = (String::new(), false);
    let mut code = String::new();
    for line in source.lines() {
        let trimmed = line.trim_start();
        in_options = line.starts_with("options! {") || in_options && line != "}";
        match trimmed.starts_with("//") {
            true if in_options => said += &format!("{trimmed}\n"),
            true => {}
            false => code += &format!("{line}\n"),
        }
    }
    // A quote alone begins no text.
    let code = code.replace("'\"'", "").replace("'\\\"'", "");
    let mut rest = code.as_str();
    while let Some((_, after)) = rest.split_once('"') {
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else { break };
        let text = after[..end].replace('\n', " ");
        if text.contains(' ') {
            said += &format!("{}\n", prose(&text));
        }
        rest = &after[end + 1..];
    }
    said
}

/// Where a word of ours stands.
fn ours(texts: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, text) in texts {
        for (n, line) in text.lines().enumerate() {
            let plain: String = line
                .chars()
                .map(|c| {
                    if c.is_alphanumeric() {
                        c.to_ascii_lowercase()
                    } else {
                        ' '
                    }
                })
                .collect();
            for (ours, theirs) in WORDS {
                if format!(" {plain} ").contains(&format!(" {ours}")) {
                    found.push(format!("{place}:{}: `{ours}` is: {theirs}: {line}", n + 1));
                }
            }
        }
    }
    found
}

/// Without what is quoted as code: names of the protocol stay what they are.
fn prose(text: &str) -> String {
    let mut in_block = false;
    let lines = text.lines().map(|line| {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        match in_block {
            true => String::new(),
            false => line.split('`').step_by(2).collect::<Vec<_>>().join(" "),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
