//! `--help` of each command, the man page and the completions, held to the files in the tree.

mod support;

use std::path::Path;
use support::{Dir, ctl, expect_file, expect_path};

const COMMANDS: [&str; 26] = [
    "status",
    "list",
    "show",
    "run",
    "watch",
    "why",
    "workers",
    "events",
    "history",
    "report",
    "calibrate",
    "objects",
    "plugins",
    "try",
    "add",
    "init",
    "doctor",
    "schema",
    "pause",
    "resume",
    "reload",
    "validate",
    "stop",
    "bench",
    "version",
    "completions",
];

#[test]
fn help_of_each_command() {
    let dir = Dir::new();
    let mut all = ctl(&dir.socket(), "--help", None).out;
    for command in COMMANDS {
        let ran = ctl(&dir.socket(), &format!("{command} --help"), None);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{command}");
        all += &format!("\n=== healthctl {command} --help\n{}", ran.out);
        assert!(
            ran.out.lines().all(|line| line.chars().count() <= 100),
            "{command}"
        );
    }
    all += &format!(
        "\n=== healthctl plugins verify --help\n{}",
        ctl(&dir.socket(), "plugins verify --help", None).out
    );
    expect_file("help.txt", &all);
}

#[test]
fn a_wrong_command_line_is_3_not_critical() {
    let dir = Dir::new();
    for line in [
        "",
        "stauts",
        "status --nope",
        "run",
        "show",
        "try",
        "status --timeout 5",
        "completions nosh",
        "plugins x",
    ] {
        let ran = ctl(&dir.socket(), line, None);
        assert_eq!((ran.code, &*ran.out), (3, ""), "{line}");
        assert!(!ran.err.is_empty(), "{line}");
    }
    assert!(
        ctl(&dir.socket(), "stauts", None).err.contains("status"),
        "a hint"
    );
}

#[test]
fn colour_of_usage_errors_follows_the_option() {
    let dir = Dir::new();
    assert!(!ctl(&dir.socket(), "stauts", None).err.contains('\x1b'));
    assert!(
        ctl(&dir.socket(), "--color always stauts", None)
            .err
            .contains('\x1b')
    );
    assert!(
        !ctl(&dir.socket(), "--color=never stauts", None)
            .err
            .contains('\x1b')
    );
}

#[test]
fn the_man_page_in_the_tree_is_current() {
    let dir = Dir::new();
    let ran = ctl(&dir.socket(), "man", None);
    assert_eq!(ran.code, 0);
    for command in COMMANDS {
        assert!(ran.out.contains(&format!(".SS {command}\n")), "{command}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/man/healthctl.1");
    expect_path(&path, &ran.out);
}

#[test]
fn completions_for_each_shell() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = ctl(&dir.socket(), &format!("completions {shell}"), None);
        assert_eq!(ran.code, 0, "{shell}");
        assert!(
            ran.out.contains("healthctl") && ran.out.contains("HEALTHCTL_COMPLETE"),
            "{shell}"
        );
    }
}

/// What stands over a table is explained in the command's help.
#[test]
fn each_column_of_each_table_is_explained() {
    use support::Fake;
    use support::replies::*;
    let dir = Dir::new();
    for (line, replies) in [
        ("status", &ALL[..]),
        ("list --long", &ALL),
        ("show web/frontpage", &[DETAIL]),
        ("why web/frontpage", &[WHY]),
        ("events", &EVENTS),
        ("workers", &WORKERS),
        ("objects", &OBJECTS),
        ("plugins", &PLUGINS),
        ("plugins --cost", &PLUGINS),
    ] {
        let shown = Fake::lines(replies).ctl(line).out;
        let head = shown
            .lines()
            .find(|l| l.contains("  ") && !l.contains(|c: char| c.is_lowercase()));
        let head = head.unwrap_or_else(|| panic!("{line} has no head: {shown}"));
        let command = line.split(' ').next().expect("a command");
        let help = ctl(&dir.socket(), &format!("{command} --help"), None).out;
        for title in head.split("  ").map(str::trim).filter(|t| !t.is_empty()) {
            assert!(help.contains(&format!("\n  {title}  ")), "{line}: {title}");
        }
    }
}
