//! What /proc says of the daemon's processes.

use std::fs;
use std::path::Path;

/// The children of a process, by pid.
pub fn children(parent: u32) -> Vec<u32> {
    everybody()
        .filter(|pid| stat(*pid).is_some_and(|s| s.1 == parent))
        .collect()
}

/// The process and all below it.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        all.extend(children(all[at]));
        at += 1;
    }
    all
}

/// R, S, T, Z ... None: there is no such process.
pub fn state(pid: u32) -> Option<char> {
    stat(pid).map(|s| s.0)
}

/// The role of a process of the daemon: "manager", "worker io" ...
pub fn role(pid: u32) -> Option<String> {
    let args = arguments(pid)?;
    let after = |name: &str| {
        let at = args.iter().position(|a| a == name)?;
        args.get(at + 1).cloned()
    };
    let role = after("--role")?;
    Some(match after("--class") {
        Some(class) => format!("{role} {class}"),
        None => role,
    })
}

/// Processes that are still there and have a path below `dir` in their arguments.
pub fn in_directory(dir: &Path) -> Vec<u32> {
    // With the slash, or the directory of test 11 would be one of test 1.
    let below = format!("{}/", dir.display());
    everybody()
        .filter(|pid| *pid != std::process::id() && state(*pid) != Some('Z'))
        .filter(|pid| arguments(*pid).is_some_and(|args| args.iter().any(|a| a.contains(&below))))
        .collect()
}

fn everybody() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// State and parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn arguments(pid: u32) -> Option<Vec<String>> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(
        text.split(|b| *b == 0)
            .map(|a| String::from_utf8_lossy(a).into_owned())
            .collect(),
    )
}
