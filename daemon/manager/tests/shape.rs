//! The shape of the manager: how many fields a type has, in how many files it is written, and which files need each
//! other in a circle. `cargo test -p healthd-manager --test shape -- --nocapture` prints the figures.
//!
//! The bounds here only ever go down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// More fields than that are a room that was not found yet. Rows of one table have as many as it has columns.
const FIELDS: usize = 12;
/// Those that still have more, and how many: none may grow.
const WIDE: [(&str, usize); 3] = [("Client", 14), ("Last", 20), ("SavedCheck", 18)];
/// Files in which the director is written. Each room's part of it is what it still does with others' state.
const DIRECTOR_FILES: usize = 35;
/// Calls of the director's methods from one room to another: what is not yet a value that is handed back.
const CALLS: usize = 187;
/// The most files that need each other in a circle by what they `use`.
const CIRCLE: usize = 3;

/// A file without comments and tests, by its path below `src`.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("our own folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("our own file");
                let name = path.strip_prefix(&root).expect("below it");
                files.insert(name.to_string_lossy().into_owned(), code_of(&text));
            }
        }
    }
    files
}

fn code_of(text: &str) -> String {
    let lines = text.lines().take_while(|l| *l != "#[cfg(test)]");
    let code = lines.filter(|l| !l.trim_start().starts_with("//"));
    code.map(|l| format!("{l}\n")).collect()
}

/// "fleet" of "fleet/slots.rs"; a file on top is a room of its own.
fn room_of(file: &str) -> &str {
    file.split_once('/').map_or(file, |(room, _)| room)
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Fields of each type with names.
fn fields(files: &BTreeMap<String, String>) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for text in files.values() {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(name) = line.trim_start_matches("pub ").strip_prefix("struct ") else {
                continue;
            };
            if !line.ends_with('{') {
                continue;
            }
            let body = lines.by_ref().take_while(|l| *l != "}");
            let is_field = |l: &&str| {
                let l = l.strip_prefix("    ").unwrap_or_default();
                let l = match l.strip_prefix("pub(") {
                    Some(rest) => rest.split_once(") ").map_or("", |(_, l)| l),
                    None => l.trim_start_matches("pub "),
                };
                !word(l).is_empty() && l[word(l).len()..].starts_with(": ")
            };
            // Of several of one name the widest.
            let fields = body.filter(is_field).count();
            let most = found.entry(word(name).to_owned()).or_default();
            *most = fields.max(*most);
        }
    }
    found
}

/// In which files there is an `impl` of each type.
fn impls(files: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<&str>> {
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (file, text) in files {
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("impl ")
                && !line.contains(" for ")
            {
                found.entry(word(name).to_owned()).or_default().insert(file);
            }
        }
    }
    found
}

/// Which file each file needs by a path that it writes, `crate::...` and `super::...`.
fn uses(files: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found = BTreeMap::new();
    for (file, text) in files {
        let mut needs = BTreeSet::new();
        let parent: PathBuf = match file.ends_with("mod.rs") {
            true => Path::new(file).parent().and_then(Path::parent),
            false => Path::new(file).parent(),
        }
        .unwrap_or(Path::new(""))
        .to_owned();
        for (from, prefix) in [(PathBuf::new(), "crate::"), (parent, "super::")] {
            for (at, _) in text.match_indices(prefix) {
                let path = &text[at + prefix.len()..];
                if let Some(to) = file_of(files, &from, path) {
                    needs.insert(to);
                }
            }
        }
        needs.remove(file.as_str());
        found.insert(file.as_str(), needs);
    }
    found
}

/// The deepest module that a path names.
fn file_of<'a>(files: &'a BTreeMap<String, String>, from: &Path, path: &str) -> Option<&'a str> {
    let mut at = from.to_owned();
    let mut found = None;
    let mut rest = path;
    loop {
        at.push(word(rest));
        let name = at.to_string_lossy().into_owned();
        for candidate in [format!("{name}.rs"), format!("{name}/mod.rs")] {
            if let Some((file, _)) = files.get_key_value(&candidate) {
                found = Some(file.as_str());
            }
        }
        match rest[word(rest).len()..].strip_prefix("::") {
            Some(more) if !word(more).is_empty() => rest = more,
            _ => return found,
        }
    }
}

/// The largest set of which each reaches each other.
fn largest_circle<'a>(needs: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let reach = |from: &'a str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            for to in needs.get(at).into_iter().flatten() {
                if seen.insert(*to) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = needs.keys().map(|f| (*f, reach(f))).collect();
    let circle = |f: &&'a str| -> BTreeSet<&'a str> {
        let of_it = reached[*f].iter().filter(|t| reached[**t].contains(*f));
        of_it.copied().collect()
    };
    let circles = needs.keys().map(circle);
    circles.max_by_key(BTreeSet::len).unwrap_or_default()
}

/// Calls of the director's methods from a room to a file of another one.
fn calls_between_rooms(files: &BTreeMap<String, String>) -> usize {
    let mut home: BTreeMap<&str, &str> = BTreeMap::new();
    for (file, text) in files {
        for block in text.split("\nimpl Manager {\n").skip(1) {
            let block = block.split("\n}\n").next().unwrap_or_default();
            for (at, _) in block.match_indices("fn ") {
                home.insert(word(&block[at + 3..]), file);
            }
        }
    }
    let mut calls = 0;
    for (file, text) in files {
        for (at, _) in text.match_indices("self.") {
            let method = word(&text[at + 5..]);
            let is_call = text[at + 5 + method.len()..].starts_with('(');
            let to = home.get(method).filter(|_| is_call);
            calls += usize::from(to.is_some_and(|to| room_of(to) != room_of(file)));
        }
    }
    calls
}

#[test]
fn no_type_is_all_of_it_and_no_circle_grows() {
    let files = sources();
    let lines: usize = files.values().map(|t| t.lines().count()).sum();
    let mut by_room: BTreeMap<&str, usize> = BTreeMap::new();
    for (file, text) in &files {
        *by_room.entry(room_of(file)).or_default() += text.lines().count();
    }
    let wide: Vec<(String, usize)> = fields(&files)
        .into_iter()
        .filter(|(_, n)| *n > FIELDS)
        .collect();
    let impls = impls(&files);
    let spread: Vec<(&str, usize)> = impls
        .iter()
        .filter(|(_, files)| files.len() > 3)
        .map(|(name, files)| (name.as_str(), files.len()))
        .collect();
    let needs = uses(&files);
    let circle = largest_circle(&needs);
    let mut rooms: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, to) in &needs {
        let to = to.iter().map(|t| room_of(t));
        let others = to.filter(|t| *t != room_of(file));
        rooms.entry(room_of(file)).or_default().extend(others);
    }
    let room_circle = largest_circle(&rooms);
    let calls = calls_between_rooms(&files);
    println!("lines of code by room, {lines} in all: {by_room:?}");
    println!("types with more than {FIELDS} fields: {wide:?}");
    println!("types written in more than three files: {spread:?}");
    println!(
        "largest circle of files by `use`: {} {circle:?}",
        circle.len()
    );
    println!(
        "largest circle of rooms by `use`: {} {room_circle:?}",
        room_circle.len()
    );
    println!("calls of the director from room to room: {calls}");
    for (name, fields) in &wide {
        let known = WIDE.iter().find(|(known, _)| known == name);
        assert!(
            known.is_some_and(|(_, most)| fields <= most),
            "{name} has {fields} fields"
        );
    }
    for (name, files) in spread {
        assert!(
            name == "Manager" && files <= DIRECTOR_FILES,
            "{name} is written in {files} files"
        );
    }
    assert!(circle.len() <= CIRCLE, "a circle of {} files", circle.len());
    assert!(calls <= CALLS, "{calls} calls from room to room");
}
