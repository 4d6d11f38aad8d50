//! `daemon/docs/SECURITY.md`: each line of the threat table names tests, and there they are.

use std::fs;
use std::path::{Path, PathBuf};

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files of a folder and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|e| Some(e.ok()?.path()));
    let of = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    let mut all: Vec<PathBuf> = paths.flat_map(of).collect();
    all.retain(|path| path.extension().is_some_and(|e| e == "rs"));
    all
}

/// The names of the tests in a file.
fn tests(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let after = text.split("#[test]").skip(1);
    let name = |text: &str| {
        let name = text.split_once("fn ")?.1.split_once('(')?.0;
        Some(name.trim().to_owned())
    };
    after.filter_map(name).collect()
}

/// `users::`, `strangers::a_check_that_blocks`: of this suite, or of the crate that is named before.
fn is_there(krate: Option<&str>, named: &str) -> bool {
    let (module, test) = named.split_once("::").unwrap_or((named, ""));
    let folders = match krate {
        None => vec![tree().join("tests/suite")],
        Some(name) => {
            let name = match name {
                "healthd-plugin" => "sdk",
                other => other.trim_start_matches("healthd-"),
            };
            let crates = ["daemon", "plugins"].map(|group| tree().join(group).join(name));
            let parts = |c: &PathBuf| [c.join("src"), c.join("tests")];
            crates.iter().flat_map(parts).collect()
        }
    };
    let mut files: Vec<PathBuf> = folders.iter().flat_map(|f| files(f)).collect();
    files.retain(|file| file.file_stem().is_some_and(|stem| stem == module));
    files
        .iter()
        .any(|file| tests(file).iter().any(|name| name.starts_with(test)))
}

#[test]
fn each_line_of_the_threat_table_names_tests_that_exist() {
    let text = fs::read_to_string(tree().join("daemon/docs/SECURITY.md")).expect("shipped");
    let table = text
        .split("\n## ")
        .find(|part| part.starts_with("Who may what"));
    let rows = table.expect("the table").lines();
    let rows: Vec<&str> = rows.filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 12, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [.., named] = cells.as_slice() else {
            panic!("{row}")
        };
        assert_eq!(cells.len(), 4, "{row}");
        let mut krate = None;
        let mut found = 0;
        for name in named.split('`').skip(1).step_by(2) {
            if name.starts_with("healthd-") {
                krate = Some(name);
                continue;
            }
            assert!(is_there(krate.take(), name), "no test {name}: {row}");
            found += 1;
        }
        assert!(found > 0, "no test: {row}");
    }
    assert!(!is_there(None, "users::nobody_has_written_this"));
    assert!(!is_there(Some("healthd-ctl"), "nowhere"));
}

/// How many acts the page says are tried in each class is how many `tests/plugins/forbidden.c` has.
#[test]
fn as_many_forbidden_acts_are_tried_as_the_page_says() {
    let read = |file: &str| fs::read_to_string(tree().join(file)).expect("shipped");
    let fixture = read("tests/plugins/forbidden.c");
    let table = fixture.split_once("acts[] = {").expect("the acts").1;
    let table = table.split_once("\n};").expect("its end").0;
    let whose: Vec<&str> = table
        .split("{ \"")
        .skip(1)
        .filter_map(|act| act.split(", ").nth(2))
        .collect();
    let tried = |class: &str| {
        let all = if class == "EXEC" {
            &["ALL"][..]
        } else {
            &["ALL", "LIGHT"]
        };
        let in_it = |who: &&&str| **who == class || all.contains(*who);
        whose.iter().filter(in_it).count()
    };
    let said = format!(
        "with {} forbidden acts in io, {} in cpu, {} in exec (on x86-64)",
        tried("IO"),
        tried("CPU"),
        tried("EXEC")
    );
    let page = read("daemon/docs/SECURITY.md");
    assert!(page.contains(&said), "the fixture has: {said}");
}
