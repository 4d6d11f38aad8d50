//! What a user reads is in the words of the field: no word of this house's own in help, man pages, README and docs.

use crate::harness::ctl::say;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A word of ours, and that of the field. With a blank at its end: only as a word of its own; else as a beginning too.
const WORDS: [(&str, &str); 12] = [
    ("judge", "evaluate, check"),
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
    for program in [
        env!("CARGO_BIN_EXE_healthd"),
        env!("CARGO_BIN_EXE_healthctl"),
    ] {
        let said = say(Command::new(program).arg("--help"));
        texts.push((format!("{program} --help"), prose(&said.out)));
    }
    let mut found = Vec::new();
    for (place, text) in &texts {
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
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(texts.len() > 40, "only {} texts", texts.len());
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
